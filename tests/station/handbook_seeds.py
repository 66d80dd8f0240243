"""What a handbook's station lived through before a chapter: hours of it in a moment, by the station's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
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


OUTLET = """
[station]
name = "outlet"
data_folder = "data"

[[point]]
code = "outlet"
name = "Outlet 3"
st = "32"

[[bus]]
name = "probes"
port = "ports/probes"
baudrate = 9600

[[bus.device]]
name = "ph"
profile = "yosemitech-y532"
unit_id = 1
point = "outlet"
parameters = ["ph"]
"""


def outlet_probe(folder: Path) -> None:
    """The configuration of an outlet with a pH probe that is calibrated in itself."""
    (folder / "outlet").mkdir()
    (folder / "outlet" / "station.toml").write_text(OUTLET, encoding="utf-8")


def checked_analyser(folder: Path) -> None:
    """A stack's analyser that passed a span check and failed the next one, at a station that stands still."""
    from tests.station.checked import Bench
    from tests.station.test_checking import over, tomorrow

    (folder / "stack").mkdir()
    bench = Bench(folder / "stack")
    bench.unit.standards[("span", "so2")] = 404.0
    over(bench)
    tomorrow(bench)
    bench.unit.standards[("span", "so2")] = 460.0
    over(bench, 2)
    bench.run(200)
    bench.engine.shut_down()


def laboratory_table(folder: Path) -> None:
    """A table as a laboratory sends it, of a sample taken an hour ago."""
    at = datetime.now(timezone(timedelta(hours=8))) - timedelta(hours=1)
    for place in (folder, folder / "site"):
        (place / "results.csv").write_text(
            f"point,parameter,sampled,value,unit\nsite,pm10,{at:%Y-%m-%d %H:%M},0.182,mg/m³\n", encoding="utf-8"
        )


def unattended_analyser(folder: Path) -> None:
    """An ammonia analyser at an outlet that the station has led through its own span, and that nobody has signed."""
    from tests.station.test_unattended import BEGIN, Outlet

    (folder / "nh3n").mkdir()
    outlet = Outlet(folder / "nh3n")
    outlet.enter(**BEGIN | {"user": "Wang Wei"})
    outlet.run(240)
    assert outlet.k1.awaits_signature
    outlet.engine.shut_down()


def filled_bottles(folder: Path) -> None:
    """An outfall whose sampler kept one bottle of an exceedance, which was collected, and one by hand."""
    from tests.station.test_sampler import SamplerRig

    (folder / "outfall").mkdir()
    rig = SamplerRig(folder / "outfall")
    rig.ready()
    rig.ring()
    rig.verb(action="empty", by="Wang Wei", laboratory={"1": "W26-0117"})
    rig.verb(action="take", by="Li Na", reason="inspection")
    rig.run(30)
    rig.stop()


METERED = """
[station]
name = "works"
data_folder = "data"

[[point]]
code = "line1"
name = "Production line 1"
st = "99"

[[bus]]
name = "meters"
port = "ports/meters"
baudrate = 9600

[[bus.device]]
name = "meter"
profile = "eastron-sdm630"
unit_id = 1
point = "line1"
parameters = ["power_total", "energy_total"]
"""


def metered_line(folder: Path) -> None:
    """The configuration of a production line with an energy meter."""
    (folder / "works").mkdir()
    (folder / "works" / "station.toml").write_text(METERED, encoding="utf-8")


PREPARATIONS: Mapping[str, Callable[[Path], None]] = {
    "dusty_hour": dusty_hour,
    "checked_analyser": checked_analyser,
    "filled_bottles": filled_bottles,
    "metered_line": metered_line,
    "outlet_probe": outlet_probe,
    "laboratory_table": laboratory_table,
    "unattended_analyser": unattended_analyser,
}
