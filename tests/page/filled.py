"""A station with a year behind it, for what draws and hands out its record: filled directly, at a fixed time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Thread
from typing import Any

from station.clock import to_ms
from station.config import Loaded, load
from station.model import Average, Kind, Mark, Reason
from station.page.accounts import Accounts
from station.page.app import create_app
from station.page.serve import make_server
from station.page.source import Source
from station.store import Series, Store, pack_averages, pack_mark

ZONE = timezone(timedelta(hours=8))
NOW = datetime(2026, 3, 1, 10, 0, 20, tzinfo=ZONE)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STEPS = {Kind.MINUTE: MINUTE, Kind.HOUR: HOUR, Kind.DAY: DAY}
BACK = {Kind.MINUTE: 2 * DAY, Kind.HOUR: 95 * DAY, Kind.DAY: 380 * DAY}
PARAMETERS = ("pm25", "pm10", "air_temperature", "wind_direction", "rain", "noise_leq")
CONFIG = """
[station]
name = "Lakeside park"
data_folder = "data"
clock = "host"
health_file = "health.json"
[[point]]
code = "gate"
name = "West gate"
st = "22"
[[point]]
code = "roof"
name = "<img src=x onerror=alert(1)>"
st = "22"
[[bus]]
name = "line"
port = "port"
baudrate = 19200
parity = "E"
[[bus.device]]
name = "dust"
profile = "deltaohm-pmsense"
unit_id = 1
point = "gate"
[[alarm]]
name = "PM2.5 of an hour"
point = "gate"
parameter = "pm25"
period = "1h"
above = 75
pre_alarm = 60
[page]
open_view = true
"""


def value(parameter: str, at: int) -> float:
    """What is measured at *at* ms: a day's course and some unrest, the same each time."""
    day, unrest = math.sin(at / DAY * 2 * math.pi), math.sin(at / 7_777_777) + math.sin(at / 1_234_567)
    plain = {"pm25": 42 + 14 * day + 6 * unrest, "pm10": 80 + 30 * day + 9 * unrest, "air_temperature": 12 - 6 * day}
    more = {"wind_direction": (300 + 80 * unrest) % 360, "rain": max(0.0, unrest - 1), "noise_leq": 52 + 3 * unrest}
    return round((plain | more)[parameter], 2)


def mark(at: int) -> Mark:
    """Maintenance for half an hour a day before the end, a fault for an hour ten days before it."""
    back = to_ms(NOW) - at
    if 26 * HOUR < back < 26.5 * HOUR or 2.4 * HOUR < back < 2.6 * HOUR:
        return Mark.M
    return Mark.D if 10 * DAY < back < 10 * DAY + 2 * HOUR else Mark.N


def is_gap(at: int) -> bool:
    """Whether nothing was measured then: for two hours in the night before, and four days in the month before."""
    back = to_ms(NOW) - at
    return 7 * HOUR < back < 9 * HOUR or 40 * DAY < back < 44 * DAY


def fill(store: Store) -> None:
    """Averages of a year and readings of the last hours, marks and gaps among them."""
    end = to_ms(NOW)
    store.begin_boot("filled")
    with store.transaction() as db:
        store.add_clock(0.0, NOW - timedelta(days=400), "ntp")
        for kind, step in STEPS.items():
            first = (end - BACK[kind] + 8 * HOUR) // step * step - 8 * HOUR
            rows = []
            for at in range(first, end - step, step):
                if is_gap(at + step // 2):
                    continue
                found = mark(at + step // 2)
                some = [
                    Average(key, v, v if key == "rain" else v - 2, v + 3, found, 6, 6, 6, 60)
                    for key in PARAMETERS
                    for v in [value(key, at)]
                ]
                bodies = {"gate": pack_averages(some), "roof": pack_averages(some[:2])}
                rows += [(point, int(kind), at, body) for point, body in bodies.items()]
            db.executemany("INSERT INTO average(point, kind, start_ms, version, body) VALUES (?, ?, ?, 1, ?)", rows)
        series = [Series("dust", "gate", key) for key in ("pm25", "pm10", "air_temperature")]
        store.register(series)
        begin = (end - 7 * HOUR) // HOUR * HOUR
        for hour in range(begin, end, HOUR):
            db.execute("INSERT INTO tick VALUES (?, ?, 0)", (hour // HOUR, store.newest("reading")))
            db.executemany(
                "INSERT INTO reading(series, at_ms, raw, value, mark) VALUES (?, ?, ?, NULL, ?)",
                [
                    (number + 1, at, value(one.parameter, at), pack_mark(mark(at), Reason.NONE))
                    for at in range(hour, min(hour + HOUR, end), 10_000)
                    if not is_gap(at)
                    for number, one in enumerate(series)
                ],
            )


def station(folder: Path, config: str = CONFIG, *, filled: bool = True) -> Loaded:
    """The station in *folder*, with its record, or with an empty one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "station.toml").write_text(config, encoding="utf-8")
    loaded = load(folder / "station.toml")
    store = Store.open(loaded.database)
    if filled:
        fill(store)
    store.close()
    return loaded


class FixedSource(Source):
    """The source of a station at which it is always NOW; what it tells is kept in *told*, *live* is its status."""

    def __init__(self, loaded: Loaded, live: Mapping[str, Any] | None = None) -> None:
        super().__init__(loaded, now=lambda: NOW)
        self.live, self.told = live, list[dict[str, Any]]()

    def status(self) -> dict[str, Any]:
        """What a running station would say, where the test gave one."""
        return dict(self.live) if self.live is not None else super().status()

    def tell(self, do: str, person: str, **more: Any) -> bool:
        """Keep it."""
        self.told.append({"do": do, "user": person, **more})
        return True


@contextmanager
def served(source: Source) -> Iterator[str]:
    """The page of *source* on a free port of this machine; its address."""
    app = create_app(source.loaded, source, Accounts(source.loaded.data_folder / "page", source.settings))
    server = make_server(app, source.settings, port=0)
    thread = Thread(target=server.run, name="page")
    thread.start()
    try:
        yield f"http://localhost:{server.effective_port}"
    finally:
        server.close()
        thread.join(10)
        server.task_dispatcher.shutdown()
