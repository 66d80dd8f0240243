"""How long the local page takes to thin a year, a month of minutes and an hour of readings, and a browser to draw it.

python tests/bench/bench_trends.py [--folder FOLDER] [--browser chromium]

The store is filled directly, without a station: of twenty parameters minutes, hours and days of one year in the order
in which a station writes them, and readings every ten seconds of the last days.  In FOLDER it is kept and found again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_report import CONFIG, DAY, FIRST, HOUR, MINUTE, PARAMETERS, ZONE, bodies

from station.clock import to_ms
from station.config import Loaded, load
from station.model import Kind, Mark, Reason
from station.page.series import line
from station.store import Series, Store, connect, pack_mark

DAYS, READING_DAYS, POLL = 365, 4, 10_000


def fill(store: Store) -> None:
    """Averages of a year, readings of its last days."""
    first, end = to_ms(FIRST), to_ms(FIRST) + DAYS * DAY
    texts = {Kind.MINUTE: bodies(0, 6), Kind.HOUR: bodies(60, 360), Kind.DAY: bodies(24, 8640)}
    steps = {Kind.MINUTE: MINUTE, Kind.HOUR: HOUR, Kind.DAY: DAY}
    store.begin_boot("bench")
    with store.transaction() as db:
        series = [Series("dust", "air", parameter) for parameter in PARAMETERS]
        store.register(series)
        store.add_clock(0.0, FIRST, "ntp")
        for hour in range(first, end, HOUR):
            rows = [
                (int(kind), start, texts[kind][start // step % 24])
                for at in range(hour, hour + HOUR, MINUTE)
                for kind, step in steps.items()
                if (start := at + MINUTE - step) % step == (first % step) and start >= first
            ]
            db.executemany("INSERT INTO average(point, kind, start_ms, version, body) VALUES ('air', ?, ?, 1, ?)", rows)
        begin, bad = end - READING_DAYS * DAY, pack_mark(Mark.B, Reason.NO_REPLY)
        for hour in range(begin, end, HOUR):
            db.execute("INSERT INTO tick VALUES (?, ?, 0)", (hour // HOUR, store.newest("reading")))
            db.executemany(
                "INSERT INTO reading(series, at_ms, raw, value, mark) VALUES (?, ?, ?, NULL, ?)",
                [
                    (number + 1, at, None if at % HOUR < 5 * MINUTE else 20.5 + at % 7, at % HOUR < 5 * MINUTE and bad)
                    for at in range(hour, hour + HOUR, POLL)
                    for number in range(len(series))
                ],
            )


def prepared(folder: Path) -> Loaded:
    """The station in *folder*, its store filled if it was not."""
    (folder / "station.toml").write_text(f"{CONFIG}[page]\nopen_view = true\n", encoding="utf-8")
    loaded = load(folder / "station.toml")
    if not loaded.database.exists():
        store = Store.open(loaded.database)
        fill(store)
        store.close()
    return loaded


CASES = (
    ("an hour of readings", "readings", timedelta(hours=1)),
    ("six hours of readings", "readings", timedelta(hours=6)),
    ("three days of readings", "readings", timedelta(days=3)),
    ("two days of minutes", "minute", timedelta(days=2)),
    ("a month of minutes", "minute", timedelta(days=30)),
    ("three months of hours", "hour", timedelta(days=90)),
    ("a year of hours", "hour", timedelta(days=365)),
    ("a year of days", "day", timedelta(days=365)),
)


MONTH = "s=air:pm25&kind=minute&span=30d"
TOLD = """() => Object.fromEntries(performance.getEntriesByType('measure').map((one) => [one.name, one.duration]))"""


def drawn(loaded: Loaded, end: datetime, browser: str) -> None:
    """A month of minutes in a *browser*: from asking to the answer, and from the answer to the painted chart."""
    from playwright.sync_api import sync_playwright

    from station.page.source import Source
    from tests.page.filled import served

    source = Source(loaded, now=lambda: end)
    with tempfile.TemporaryDirectory() as profile, served(source) as url, sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            profile, executable_path=shutil.which(browser) or browser, args=["--no-sandbox", "--disable-gpu"],
            viewport={"width": 390, "height": 844},
        )  # fmt: skip
        page = context.new_page()
        for _ in range(5):
            page.goto(f"{url}/trends?{MONTH}")
            page.wait_for_function("() => performance.getEntriesByName('trends-draw').length")
            took = page.evaluate(TOLD)
            print(f"a month of minutes in {browser}: asked and sent {took['trends-fetch']:.0f} ms,"
                  f" read and drawn {took['trends-draw']:.0f} ms")  # fmt: skip
        context.close()


def main() -> None:
    """One row a span: the first time after opening, and the best of five."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--browser")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        folder = given.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        loaded = prepared(folder)
        end: datetime = FIRST + timedelta(days=DAYS)
        print(f"store: {loaded.database.stat().st_size / 2**20:.0f} MiB, {len(PARAMETERS)} parameters")
        for name, kind, span in CASES:
            took = []
            store = Store(connect(loaded.database, read_only=True), str(loaded.database))
            for _ in range(5):
                began = time.perf_counter()
                found = line(store, kind, "air", "pm25", end - span, end, ZONE)
                took.append(time.perf_counter() - began)
            store.close()
            print(f"{name}: {found.count} values, {len(found.at)} buckets: first {took[0] * 1000:.0f} ms,"
                  f" best {min(took) * 1000:.0f} ms")  # fmt: skip
        if given.browser:
            drawn(loaded, end, given.browser)


if __name__ == "__main__":
    main()
