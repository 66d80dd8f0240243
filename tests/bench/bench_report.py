"""How long the reports of a month and of a day take on a store of one year and twenty parameters.

python tests/bench/bench_report.py [--days 365] [--folder FOLDER]

The store is filled directly, without a station: a reading a minute of each parameter, minutes, hours and days in
their stored form, a platform that was due all three and answered, some of it marked.  In FOLDER it is kept and found
again, so that the second run starts at once.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from station.cli_report import gathered, written
from station.clock import to_ms
from station.config import Loaded, load
from station.model import Average, Kind, Mark, Reason
from station.report import span_of
from station.store import SEQUENCE_BITS, Series, Store, pack_averages, pack_mark

ZONE = timezone(timedelta(hours=8))
FIRST = datetime(2025, 1, 1, tzinfo=ZONE)
PARAMETERS = (
    "air_temperature", "humidity", "air_pressure", "wind_speed", "wind_direction", "rain", "tsp", "pm10", "pm25",
    "so2", "no2", "co", "o3", "noise", "noise_leq", "noise_l10", "noise_l50", "noise_l90", "supply_voltage",
    "cabinet_temperature",
)  # fmt: skip
CONFIG = """
[station]
name = "One year"
data_folder = "data"
[[point]]
code = "air"
name = "Air"
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
point = "air"
"""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def bodies(parts: int, readings: int) -> list[str]:
    """Stored averages of some two dozen different periods; every eleventh has a parameter that does not hold."""
    made = []
    for n in range(24):
        some = []
        for number, parameter in enumerate(PARAMETERS):
            value, bad = 20 + number + 5 * math.sin(n / 4), n == 11 and number == 7
            mark, held = (Mark.D, parts // 2) if bad else (Mark.N, parts)
            some.append(Average(parameter, value, value - 2, value + 3, mark, readings, readings, readings, held))
        made.append(pack_averages(some))
    return made


def fill(store: Store, days: int) -> None:
    """Everything that a year leaves behind."""
    first, end = to_ms(FIRST), to_ms(FIRST) + days * DAY
    store.begin_boot("bench")
    with store.transaction() as db:
        series = [Series("dust", "air", parameter) for parameter in PARAMETERS]
        store.register(series)
        store.add_clock(0.0, FIRST, "ntp")
        db.execute("INSERT INTO platform VALUES (1, 'district', ?, ?, ?, 0, 0, 0, 0)", [1 << 60] * 3)
        for kind, seconds in ((Kind.MINUTE, 60), (Kind.HOUR, 3600), (Kind.DAY, 86400)):
            store.schedule(1, "air", kind, FIRST, seconds)
        odd = {7: pack_mark(Mark.N, Reason.HUMID), 8: pack_mark(Mark.B, Reason.NO_REPLY)}
        marks = [0 if n % 10 else odd.get(n % 9, 0) for n in range(len(PARAMETERS) * 60)]
        for day in range(days):
            at = first + day * DAY
            db.executemany(
                "INSERT INTO tick VALUES (?, ?, 0)",
                [((at + h * HOUR) // HOUR, (day * 24 + h) * 60 * len(series)) for h in range(24)],
            )
            db.executemany(
                "INSERT INTO reading(series, at_ms, raw, value, mark) VALUES (?, ?, ?, NULL, ?)",
                [
                    (number + 1, at + m * MINUTE, 20.5, marks[(m % 60) * len(series) + number])
                    for m in range(1440)
                    for number in range(len(series))
                ],
            )
        for kind, step, parts, readings in (
            (Kind.MINUTE, MINUTE, 0, 1),
            (Kind.HOUR, HOUR, 60, 60),
            (Kind.DAY, DAY, 24, 1440),
        ):
            texts = bodies(parts, readings)
            db.executemany(
                "INSERT INTO average(point, kind, start_ms, version, body) VALUES ('air', ?, ?, 1, ?)",
                ((int(kind), at, texts[at // step % 24]) for at in range(first, end, step)),
            )
        due = sorted(
            (at + step, int(kind), at)
            for kind, step in ((Kind.MINUTE, MINUTE), (Kind.HOUR, HOUR), (Kind.DAY, DAY))
            for at in range(first, end, step)
        )
        db.executemany(
            "INSERT INTO message VALUES (?, ?, 'air', ?, 1, 'text')",
            (((1 << SEQUENCE_BITS) + n + 1, kind, at) for n, (_, kind, at) in enumerate(due)),
        )


def prepared(folder: Path, days: int) -> Loaded:
    """The station in *folder*, its store filled if it was not."""
    (folder / "station.toml").write_text(CONFIG, encoding="utf-8")
    loaded = load(folder / "station.toml")
    if not loaded.database.exists():
        began = time.perf_counter()
        store = Store.open(loaded.database)
        fill(store, days)
        store.close()
        size = loaded.database.stat().st_size / 2**20
        print(
            f"store of {days} days, {len(PARAMETERS)} parameters: {size:.0f} MiB, {time.perf_counter() - began:.0f} s"
        )
    return loaded


def main() -> None:
    """One row a report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        folder = given.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        loaded = prepared(folder, given.days)
        now = FIRST + timedelta(days=given.days)
        middle = FIRST + timedelta(days=given.days // 2)
        for word, which in (("month", f"{middle:%Y-%m}"), ("month", ""), ("day", f"{middle:%Y-%m-%d}")):
            began = time.perf_counter()
            found = gathered(loaded, span_of(word, which, now, ZONE))
            read = time.perf_counter() - began
            written(found, folder / "out", loaded.zone)
            whole = time.perf_counter() - began
            valid = sum(row["is_valid"] for point in found["points"] for row in point["parameters"])
            print(
                f"{word} {found['period']}: {whole:.2f} s, of them {read:.2f} s to read; {valid} of {len(PARAMETERS)}"
                f" figures hold, {sum(row['expected'] for row in found['platforms'])} messages were due"
            )


if __name__ == "__main__":
    main()
