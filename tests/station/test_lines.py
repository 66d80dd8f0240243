"""What the station knows of its lines: shown while it runs, kept when it stops, over an emulated line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drivers.emulator import emulated_bus
from station.clock import SystemClock
from station.config import load
from station.engine import Engine
from station.screen import show_status
from station.status import live
from station.store import Store

CONFIG = """
[station]
name = "lines"
data_folder = "data"

[[point]]
code = "river"
name = "River"
st = "21"

[[bus]]
name = "water"
port = "water"
baudrate = 115200
gap_ms = 0

[[bus.device]]
name = "scale"
profile = "laumas-tlb"
unit_id = 1
point = "river"

[[bus.device]]
name = "dust"
profile = "deltaohm-pmsense"
unit_id = 2
point = "river"
baudrate = 57600
parity = "E"
"""


def test_each_devices_exchanges_are_shown_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two devices at two speeds, one of which refuses: counts by status, and one record each when it stops."""
    (tmp_path / "station.toml").write_text(CONFIG)
    loaded = load(tmp_path / "station.toml")
    (bus,) = loaded.config.bus
    loaded.data_folder.mkdir()
    with emulated_bus(bus, bus.device, link=Path(bus.port)) as line:  # type: ignore[arg-type]
        engine = Engine(loaded, Store.open(loaded.database), SystemClock())
        (poller,) = engine.pollers
        for task in poller.tasks:
            poller.poll(task)
        line.units[1].fail("exception")
        for task in poller.tasks:
            poller.poll(task)
        found = live(engine)
        counted = {device["name"]: device["line"] for device in found["devices"]}
        show_status(found, {}, UTC)
        engine.stop.set()
        poller.run()
        engine.shut_down()
    assert (counted["scale"]["requests"], counted["scale"]["codes"]) == (2, {"4": 1})
    assert (counted["dust"]["requests"], sum(counted["dust"]["latency"]), counted["dust"]["timeouts"]) == (2, 2, 0)
    assert line.statistics.switches == 3
    assert line.statistics.violations == 0
    shown = [" ".join(text.split()) for text in capsys.readouterr().out.splitlines()]
    assert f"scale 2 0 0 1 0 {round(counted['scale']['worst_ms'])}" in shown
    day = timedelta(days=1)
    store = Store.open(loaded.database)
    kept = store.records("line", datetime.now(UTC) - day, datetime.now(UTC) + day)
    store.close()
    assert [(r.device, r.body["bus"], r.body["requests"], r.body["exceptions"]) for r in kept] == [
        ("scale", "water", 2, 1),
        ("dust", "water", 2, 0),
    ]
