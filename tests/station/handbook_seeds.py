"""What a handbook's station lived through before a chapter: hours of it in a moment, by the station's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drivers.base import Device
from station.clock import ManualClock
from station.config import BusConfig, load
from station.engine import Engine
from station.parameters import catalogue
from station.store import Store, connect
from tests.station.conftest import FakeInstrument, FakeLine

CLEAN_MINUTES, DUSTY_MINUTES = 20, 31
STEP_SECONDS = 10.0
WEATHER = {
    "wind_speed": 2.1, "wind_direction": 90.0, "air_temperature": 21.5, "humidity": 60.0, "air_pressure": 101.3,
    "noise": 58.0,
}  # fmt: skip


def dusty_hour(folder: Path) -> None:
    """The site's last fifty minutes up to now: clean air, then half an hour of dust above the alarm's limit."""
    loaded = load(folder / "site" / "station.toml")
    clock = ManualClock(datetime.now(UTC) - timedelta(minutes=CLEAN_MINUTES + DUSTY_MINUTES))
    buses: list[tuple[BusConfig, Sequence[Device], FakeLine]] = []
    made: dict[str, FakeInstrument] = {}
    for bus in loaded.config.bus:
        for device in bus.device:
            names = getattr(device, "parameters", ())
            made[device.name] = FakeInstrument(device.name, clock, **{name: catalogue()[name].unit for name in names})
        buses.append((bus, [made[device.name] for device in bus.device], FakeLine()))
    made["weather"].show(**WEATHER)
    engine = Engine(
        loaded,
        Store.open(loaded.database),
        clock,
        buses=buses,
        reader=lambda: connect(loaded.database, read_only=True),
        trusted=lambda: "ntp",
    )
    for minutes, pm10 in ((CLEAN_MINUTES, 60.0), (DUSTY_MINUTES, 210.0)):
        made["dust"].show(pm10=pm10, pm25=pm10 / 2)
        for _ in range(round(minutes * 60 / STEP_SECONDS)):
            for poller in engine.pollers:
                for task in poller.tasks:
                    poller.poll(task)
            engine.tick()
            clock.advance(STEP_SECONDS)
    engine.shut_down()


PREPARATIONS: Mapping[str, Callable[[Path], None]] = {"dusty_hour": dusty_hour}
