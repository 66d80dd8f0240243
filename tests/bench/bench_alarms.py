"""What closing an hour costs with 20 parameters and 10 alarms: one commit, its minutes already closed.

    .venv/bin/python tests/bench/bench_alarms.py [--hours 12]

A station at a manual clock: one instrument with 20 parameters is read each 10 s, every commit is timed.  Printed are
commits that close a minute, and those that close an hour as well; of both the share that is the alarms'.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))

from station.clock import ManualClock
from station.config import load
from station.engine import Engine
from station.parameters import catalogue
from station.store import Store, connect
from station.suspicion import median
from tests.station.conftest import CONFIG, FakeInstrument, FakeLine, FakeUplink

PARAMETERS = [key for key, one in catalogue().items() if one.averaging == "mean"][:20]
PERIODS = ("1h", "1h", "1h", "1h", "15min", "15min", "5min", "5min", "day", "1h")
GOAL_MS = 20.0
PROFILE = """
title = "Many"
maker = "bench"
source = "none"
grade = "D"
baudrate = 9600
parity = "N"
stopbits = 1
unit_id = 1
"""
REGISTER = """
[[register]]
parameter = "{key}"
table = "input"
address = {address}
type = "f32"
unit = "{unit}"
example = 1.0
"""


def alarms() -> str:
    """Ten alarms over the periods there are."""
    tables = []
    for number, period in enumerate(PERIODS):
        tables.append(
            f'[[alarm]]\nname = "a{number}"\npoint = "site"\nparameter = "{PARAMETERS[number]}"\nperiod = "{period}"\n'
            f"above = 100.0\npre_alarm_share = 0.8\nhysteresis = 5.0\nallowed_per_day = {number % 3}\n"
        )
    return "\n".join(tables)


class Timed:
    """Stands for `Alarms.turn`, and says how long it took."""

    def __init__(self, engine: Engine) -> None:
        assert engine.alarms is not None
        self._turn, self.seconds = engine.alarms.turn, 0.0
        engine.alarms.turn = self  # type: ignore[method-assign, assignment]

    def __call__(self, *arguments):  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        try:
            return self._turn(*arguments)
        finally:
            self.seconds += time.perf_counter() - began


def run(hours: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(commit, alarms) in ms, of commits that closed a minute and of those that closed an hour."""
    units = {key: catalogue()[key].unit for key in PARAMETERS}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "station.toml"
        path.with_name("password").write_text("123456")
        text = CONFIG.replace('profile = "deltaohm-pmsense"', 'profile = "many"')
        registers = "".join(
            REGISTER.format(key=key, address=2 * number, unit=units[key]) for number, key in enumerate(PARAMETERS)
        )
        (Path(folder) / "profiles").mkdir()
        (Path(folder) / "profiles" / "many.toml").write_text(PROFILE + registers, encoding="utf-8")
        text = text.replace('parameters = ["pm25", "pm10"]', "").replace("poll_seconds = 5", "poll_seconds = 10")
        path.write_text(text + alarms(), encoding="utf-8")
        loaded = load(path)
        clock = ManualClock(datetime(2026, 3, 1, 0, 59, 50, tzinfo=UTC))
        instrument = FakeInstrument("dust", clock, **units)
        instrument.show(**dict.fromkeys(PARAMETERS, 50.0))
        engine = Engine(
            loaded, Store.open(loaded.database), clock,
            buses=[(loaded.config.bus[0], [instrument], FakeLine())],
            uplinks=[(loaded.config.uplink[0], FakeUplink())],
            reader=lambda: connect(loaded.database, read_only=True),
        )  # fmt: skip
        timed = Timed(engine)
        minutes, hourly = [], []
        for second in range(0, hours * 3600 + 30, 5):
            if second % 10 == 0:
                (poller,) = engine.pollers
                poller.poll(poller.tasks[0])
            before, timed.seconds = engine.periods.next.copy(), 0.0
            began = time.perf_counter()
            engine.tick()
            took = (1000 * (time.perf_counter() - began), 1000 * timed.seconds)
            closed = [kind.name for kind, at in engine.periods.next.items() if at != before[kind]]
            if "HOUR" in closed:
                hourly.append(took)
            elif "MINUTE" in closed:
                minutes.append(took)
            clock.advance(5)
        engine.shut_down()
    return minutes, hourly


def main() -> None:
    """Print both medians and the worst."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=int, default=12)
    minutes, hourly = run(parser.parse_args().hours)
    print(f"{len(PARAMETERS)} parameters, {len(PERIODS)} alarms")
    for name, found in (("closing a minute", minutes), ("closing an hour", hourly)):
        commits, watched = [c for c, _ in found], [a for _, a in found]
        print(
            f"{name:17} {len(found):4} commits: median {median(commits):6.1f} ms, worst {max(commits):6.1f} ms; "
            f"of it the alarms {median(watched):5.1f} ms, worst {max(watched):5.1f} ms"
        )
    print(f"goal: an hour within {GOAL_MS:g} ms")


if __name__ == "__main__":
    main()
