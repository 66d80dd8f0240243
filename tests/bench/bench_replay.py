"""How fast a year of minutes goes through the station's code, and what closing an hour takes: printed, not asserted.

.venv/bin/python tests/bench/bench_replay.py --days 7
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from station.config import load
from station.periods import Periods
from station.poller import Task
from station.replay import Column, read_series, replay

ZONE = timezone(timedelta(hours=8))
UNITS, PARAMETERS = 2, 10
CONFIG = """
[station]
name = "bench"
data_folder = "data"

[[point]]
code = "air"
name = "Air"
st = "39"
"""
DEVICE = """
[[bus]]
name = "b{n}"
port = "p{n}"
[[bus.device]]
name = "u{n}"
profile = "wide{n}"
unit_id = 1
point = "air"
"""
KEYS = (
    "pm25", "pm10", "tsp", "pm1", "air_temperature", "humidity", "air_pressure", "wind_speed", "wind_direction",
    "noise",
    "so2", "no2", "co", "o3", "no", "nox", "voltage_l1", "current_l1", "power_total", "illuminance",
)  # fmt: skip


def profile(number: int) -> str:
    from station.parameters import catalogue

    text = 'title = "Wide"\ngrade = "A"\nbaudrate = 9600\nunit_id = 1\n'
    for place, key in enumerate(KEYS[number * PARAMETERS : (number + 1) * PARAMETERS]):
        text += (
            f'[[register]]\nparameter = "{key}"\ntable = "input"\naddress = {2 * place}\ntype = "f32"\n'
            f'unit = "{catalogue()[key].unit}"\nexample = 1\n'
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--slow", action="store_true", help="half of the parameters close 75 minutes later")
    arguments = parser.parse_args()
    days = arguments.days
    folder = Path(tempfile.mkdtemp())
    (folder / "profiles").mkdir()
    for number in range(UNITS):
        (folder / "profiles" / f"wide{number}.toml").write_text(profile(number), encoding="utf-8")
    config = CONFIG + "".join(DEVICE.format(n=n) for n in range(UNITS))
    (folder / "station.toml").write_text(config, encoding="utf-8")
    start = datetime(2026, 3, 1, tzinfo=ZONE)
    rows = [",".join(["time", *KEYS])]
    for minute in range(days * 1440):
        values = (f"{20 + (minute * 7 + place * 13) % 50}" for place in range(len(KEYS)))
        rows.append(",".join([(start + timedelta(minutes=minute)).isoformat(), *values]))
    (folder / "series.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    columns = [Column(device=f"u{n // PARAMETERS}", parameter=key, name=key) for n, key in enumerate(KEYS)]
    hours: list[float] = []
    cpu_hours: list[float] = []
    closed = Periods._closed

    def timed(self: Periods, kind: Any, at: datetime) -> Any:
        began, cpu = time.perf_counter(), time.thread_time()
        try:
            return closed(self, kind, at)
        finally:
            if kind.name == "HOUR":
                hours.append(time.perf_counter() - began)
                cpu_hours.append(time.thread_time() - cpu)

    Periods._closed = timed  # type: ignore[method-assign]
    if arguments.slow:
        Task.closing_seconds = property(lambda task: 4500.0 * (task.device.name == "u1"))  # type: ignore[assignment]
    loaded = load(folder / "station.toml", secrets=False)
    series = read_series(folder / "series.csv", ZONE)
    began, cpu = time.perf_counter(), time.process_time()
    outcome = replay(loaded, series, columns, folder / "out")
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    hours.sort()
    cpu_hours.sort()
    middle, largest = (one * 1000 for one in (hours[len(hours) // 2], hours[-1]))
    print(f"{days} days of minutes, {len(KEYS)} parameters: {outcome.readings} readings")
    print(f"replay: {seconds:.1f} s ({cpu:.1f} s CPU), {outcome.simulated_seconds / seconds:.0f} times as fast as life")
    print("   (goal: 5000 times on one core)")
    print(f"closing an hour: median {middle:.1f} ms, largest {largest:.1f} ms (goal: 20 ms)")
    middle, largest = (one * 1000 for one in (cpu_hours[len(cpu_hours) // 2], cpu_hours[-1]))
    print(f"   of CPU: median {middle:.1f} ms, largest {largest:.1f} ms")


if __name__ == "__main__":
    main()
