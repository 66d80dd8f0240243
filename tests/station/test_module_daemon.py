"""A station with a module on a real line: one command switches, a kill leaves its output on, the next word ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from drivers.emulated_dio import EmulatedDio
from drivers.emulator import emulated_bus
from station.config import load
from tests.station.commands import answer, configure, daemon, station, until

WIRED = """
[[bus]]
name = "signals"
port = "signals"
baudrate = 115200

[[bus.device]]
name = "io"
driver = "dio"
module = "adam-4150"
unit_id = 3
point = "site"
poll_seconds = 0.1

[[input]]
name = "door"
kind = "door"
module = "io"
channel = 2

[[output]]
name = "pump"
kind = "relay"
module = "io"
channel = 8
"""


def wired(folder: Path) -> Path:
    path = configure(folder, ('data_folder = "data"', 'data_folder = "data"\ncommit_seconds = 1\nclock = "host"'))
    path.write_text(path.read_text() + WIRED)
    return path


@contextmanager
def lines(path: Path) -> Iterator[EmulatedDio]:
    """Both lines of *path*, and the module."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(emulated_bus(bus, bus.device, link=Path(bus.port), pace=False))  # type: ignore[arg-type]
            for bus in load(path).config.bus
        ]
        unit = made[1].units[3]
        assert isinstance(unit, EmulatedDio)
        yield unit


def pins(path: Path) -> Any:
    return answer(load(path).control_socket)["pins"]


def test_a_hand_switches_a_module_and_a_kill_leaves_it_to_the_next_word(tmp_path: Path) -> None:
    path = wired(tmp_path)
    where = ("--config", path)
    with lines(path) as module:
        with daemon(path) as process:
            until(lambda: pins(path)["inputs"][0]["known"])
            module.bridge(2, True)
            until(lambda: pins(path)["inputs"][0]["active"])
            on = station("output", "on", "pump", "--reason", "test", "--user", "Li", *where)
            assert on.code == 0, on.err
            assert module.coils[7]
            shown = station("output", "list", *where).out
            assert "io 8" in shown
            assert "io 2" in shown
            process.process.kill()
        assert module.coils[7]  # nobody said anything to it
        safe = station("output", "safe", *where)
        assert (safe.code, safe.out) == (0, "Outputs off and let go of: 1\n")
        assert not module.coils[7]
        module.coils[7] = True
        with daemon(path) as process:
            until(lambda: not module.coils[7])
            station("output", "on", "pump", "--reason", "test", "--user", "Li", *where)
            assert module.coils[7]
            assert process.stop() == 0
        assert not module.coils[7]
        codes = [row["code"] for row in json.loads(station("events", "--json", *where).out)["events"]]
        assert "output_found_on" in codes
        assert codes.count("output_cut") == 1
        assert codes.count("output_off") == 1  # of the orderly stop, which knew that it is off


def test_safe_says_when_a_module_could_not_be_told(tmp_path: Path) -> None:
    path = wired(tmp_path)
    (tmp_path / "data").mkdir()
    with lines(path) as module:
        module.coils[7] = True
        module.fail("silent")
        safe = station("output", "safe", "--config", path)
        assert safe.code == 69
        assert "signals" in safe.err
        assert module.coils[7]
