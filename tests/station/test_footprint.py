"""What a running station loads: the daemon is a process of its own, over an emulated line and platform."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial

import station
from drivers.emulator import emulated_bus
from station.config import Loaded, load
from station.control import ask
from uplink.hj212.emulator import Platform

CONFIG = """
[station]
name = "footprint"
clock = "host"
data_folder = "data"
closing_delay_seconds = 0

[[point]]
code = "site"
name = "Site"
st = "39"

[[bus]]
name = "line"
port = "line"
baudrate = 19200
parity = "E"

[[bus.device]]
name = "dust"
profile = "deltaohm-pmsense"
unit_id = 1
poll_seconds = 1
point = "site"

[[uplink]]
name = "district"
standard = "2025"
host = "127.0.0.1"
port = PORT
password_file = "password"
realtime_seconds = 5

[[uplink.point]]
point = "site"
mn = "M1"
"""

OURS = """
drivers drivers.base drivers.bus drivers.line drivers.modbus drivers.port drivers.profile drivers.profile_file
drivers.registers drivers.statistics
station station.average station.calibrate station.clock station.commands station.config station.control station.engine
station.entry station.lastgood station.loader station.marks station.model station.outbox station.parameters
station.periods station.places
station.poller station.purge station.qc station.recorder station.records station.seal station.sealing
station.sender station.service station.status
station.store station.suspicion station.timekeeping
station.values station.verbs station.version station.watchdog station.written
uplink uplink.base uplink.hj212 uplink.hj212.dialects uplink.hj212.frame uplink.hj212.joining uplink.hj212.keys
uplink.hj212.link uplink.hj212.messages uplink.hj212.requests uplink.hj212.session uplink.hj212.sm4 uplink.hj212.tap
uplink.hj212.uploads uplink.hj212.verbs uplink.hj212.voice
"""

HEAVY = (
    "click", "rich", "requests", "urllib3", "gpiozero", "sqlite_utils", "cryptography", "ssl", "hashlib",
    "asyncio", "cattrs", "dataclasses", "difflib", "importlib.metadata", "inspect",
)  # fmt: skip

# `python -X importtime` would not show what importlib.import_module loads: drivers and uplinks.
STATION = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep="\\n"))
from station.entry import main
main()
"""


@contextmanager
def running_station(loaded: Loaded) -> Iterator[subprocess.Popen[str]]:
    """The daemon, from READY=1 on, without the modules that a virtual environment loads by itself."""
    packages = [Path(str(module.__file__)).parents[1] for module in (station, serial)]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, packages)),
        "NOTIFY_SOCKET": str(loaded.folder / "notify"),
    }
    command = [sys.executable, "-S", "-c", STATION, "run", "--config", str(loaded.path)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(environment["NOTIFY_SOCKET"])
        listener.settimeout(30)
        with (loaded.folder / "modules").open("w") as out:
            process = subprocess.Popen(command, cwd=loaded.folder, env=environment, stdout=out, text=True)
        try:
            while listener.recv(4096) != b"READY=1":
                pass
            yield process
        finally:
            process.terminate()
            process.wait(15)


@pytest.fixture(scope="module")
def loaded_modules(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Everything a station has imported from its start to its stop, real-time data and a tool's question between."""
    folder = tmp_path_factory.mktemp("s")
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text("123456")
    with Platform() as platform:
        (folder / "station.toml").write_text(CONFIG.replace("PORT", str(platform.port)))
        loaded = load(folder / "station.toml")
        (bus,) = loaded.config.bus
        with emulated_bus(bus, bus.device, link=Path(bus.port)), running_station(loaded) as process:  # type: ignore[arg-type]
            assert platform.wait_until(lambda: any(record.cn == "2011" for record in platform.records()), 30)
            assert ask(loaded.control_socket, "status")["running"]
        assert process.returncode == 0
    return set((folder / "modules").read_text().splitlines())


def test_a_station_that_speaks_hj212_loads_these_modules_of_ours_and_no_other(loaded_modules: set[str]) -> None:
    """Whoever adds one adds it to OURS, or imports it where it is needed."""
    ours = {name for name in loaded_modules if name.partition(".")[0] in ("station", "drivers", "uplink")}

    assert sorted(ours) == sorted(OURS.split())


@pytest.mark.parametrize("name", HEAVY)
def test_a_station_that_speaks_hj212_leaves_heavy_modules_alone(loaded_modules: set[str], name: str) -> None:
    """Memory and start-up belong to those who need them."""
    assert not {found for found in loaded_modules if found == name or found.startswith(f"{name}.")}
