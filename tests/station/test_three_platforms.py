"""One station, three platforms of three generations at once, each with an outage of its own: the verdict of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from drivers.base import Device
from station import ledger
from station.config import BusConfig
from station.engine import Engine
from tests.station.conftest import CONFIG, FakeLine, Rig
from uplink.hj212.emulator import Platform

KEY = b"k3J9-xQ2m7Zp0sWd"
GENERATIONS = {"old": "2005", "present": "2017", "coming": "2025"}
HEAD = CONFIG.split("[[uplink]]")[0]
UPLINK = """
[[uplink]]
name = "{name}"
standard = "{standard}"
host = "127.0.0.1"
port = {port}
password_file = "password"
realtime_seconds = 30
reconnect_seconds = 1
timeout_seconds = 0.5
resends = 2
spacing_seconds = 0
{more}
[[uplink.point]]
point = "site"
mn = "0A1B2C3D4E5F60718293A4B5"
"""
SCRIPT = """
seconds = 10

[[step]]
cn = "1011"
expect = {{ accepted = 1, result = 1, data = "SystemTime=" }}

[[step]]
cn = "2051"
data = "BeginTime={first};EndTime={last}"
expect = {{ accepted = 1, result = 1, records = {count} }}

[[step]]
cn = "1062"
data = "RtdInterval=60"
expect = {{ accepted = 2 }}
"""


class Three(Rig):
    """A station with the uplinks of its configuration, whose threads run while the clock is moved by hand."""

    def start(self) -> Engine:
        self.trust = "host"
        buses: list[tuple[BusConfig, Sequence[Device], FakeLine]] = [
            (self.loaded.config.bus[0], [self.instrument], FakeLine())
        ]
        engine = Engine(
            self.loaded, self.open_store(), self.clock, buses=buses, reader=self.reader, trusted=lambda: self.trust
        )
        self.trust = "none"  # the platforms' clock is the true one, ours is ahead
        for sender in engine.senders:
            sender.start()
        return engine

    def until(self, holds: Callable[[], bool], seconds: float = 30) -> bool:
        """Let the engine commit what is asked for until *holds*."""
        end = time.monotonic() + seconds
        while not (true := holds()) and time.monotonic() < end:
            self.engine.tick()
            time.sleep(0.01)
        return true

    def owed(self) -> int:
        return sum(depth.owed for depth in self.engine.depths().values())


def test_three_generations_at_once_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    """2005, 2017 and an encrypted 2025 over the real store: down, deaf and an answer lost, each while others go on."""
    pytest.importorskip("cryptography", reason="the extra [sm4] is not installed")
    platforms = {name: Platform(key=KEY).start() for name in GENERATIONS}
    more = {"old": "", "present": "window = 8", "coming": 'window = 4\nencrypt = "always"\nkey_file = "key"'}
    config = HEAD + "".join(
        UPLINK.format(name=name, standard=standard, port=platforms[name].port, more=more[name])
        for name, standard in GENERATIONS.items()
    )
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(KEY.decode())
    station = Three(tmp_path, config)
    try:
        assert station.until(lambda: all(outbox.connected_at for outbox in station.engine.outboxes.values()))
        for name, fault in zip(GENERATIONS, ("down", "silent", "lost"), strict=True):
            platforms[name].fault(fault)
            station.run(180)
            others = [other for other in GENERATIONS if other != name]
            assert station.until(lambda others=others: not any(station.engine.depths()[o].owed for o in others))
            platforms[name].fault(None)
        station.run(65)
        assert station.until(lambda: station.owed() == 0)
        verify(station, platforms, tmp_path)
    finally:
        station.engine.shut_down()
        for platform in platforms.values():
            platform.stop()


def verify(station: Three, platforms: dict[str, Platform], folder: Path) -> None:
    now = station.clock.now()
    for name, platform in platforms.items():
        minutes = sorted(record.datatime for record in platform.records() if record.cn == "2051")
        script = folder / f"{name}.toml"
        script.write_text(SCRIPT.format(first=minutes[0], last=minutes[-1], count=len(set(minutes))))
        done = station_verdict(station, platform, script)
        assert done.passed, (name, done)
        summary = platform.summary()
        assert (summary["contradictions"], set(summary["missing"].values())) == (0, {0}), name
        assert summary["unique"] >= 10 + 20, name
        for row in ledger.completeness(
            station.engine.store, name, station.engine.started, now, now, station.loaded.zone
        ):
            assert row.answered == row.expected == row.stored, (name, row)
    assert platforms["coming"].summary()["enciphered"] >= 30
    assert platforms["present"].summary()["enciphered"] == 0


def station_verdict(station: Three, platform: Platform, script: Path) -> object:
    """Have the platform judge while the station's main thread goes round."""
    from threading import Thread

    verdicts: list[object] = []
    thread = Thread(target=lambda: verdicts.append(platform.run_script(script)))
    thread.start()
    assert station.until(lambda: not thread.is_alive())
    return verdicts[0]
