"""What a night costs in year 5: closing a month, its copy, the nightly copy of what is newer, and the way back.

    python -m tests.bench.bench_months [--months 60] [--factors 20] [--folder /tmp]

The two newest months are of the full rate (factors a minute, a minute record for one platform, a block each five
minutes); older ones stand for time alone and are thin (an hour's worth each hour), for a night does not read them.
A thread commits beside all of it, as a station does, and says how long it had to wait.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from station.backup import check, restore, take
from station.clock import to_ms
from station.model import Kind, Record
from station.months import FOLDER, brought, close
from station.sealing import seal_due
from station.store import SEQUENCE_BITS, Event, Series, Store

END = datetime(2031, 12, 3, 3, tzinfo=UTC)  # the night on which November is closed
AVERAGE = "INSERT INTO average(point, kind, start_ms, version, body) VALUES ('site', ?, ?, 1, ?)"
FULL = datetime(2031, 10, 1, tzinfo=UTC)


def written() -> int:
    """Bytes that this process has had written to a medium."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


def fill(store: Store, first: datetime, until: datetime, factors: int, step: timedelta, blocks: timedelta) -> None:
    """Readings, one average and one message each *step*, a block each *blocks*."""
    series = {("dust", f"p{n}"): Series("dust", "site", f"p{n}") for n in range(factors)}
    with store.transaction():
        store.register(series.values())
    numbers = list(store.numbers(series).values())
    body = '{' + ",".join(f'"p{n}":[35.125,34.5,36.0,"N",12,12,12]' for n in range(factors)) + "}"
    text = "##0600QN=20311101000000000;ST=39;CN=2051;" + ";".join(f"p{n}-Avg=35.1,p{n}-Flag=N" for n in range(factors))
    at, message = first, store.newest_message(1)
    while at < until:
        end = min(at + blocks, until)
        with store.transaction() as db:
            readings, averages, messages = list[Any](), list[Any](), list[Any]()
            while at < end:
                ms = to_ms(at)
                readings += [(number, ms, 35.0 + number / 8, None, 0) for number in numbers]
                message += 1
                averages.append((int(Kind.MINUTE), ms, body))
                messages.append((message, int(Kind.MINUTE), ms, text))
                at += step
            store.tick(to_ms(at) // 3_600_000)
            store.append(readings)
            db.executemany(AVERAGE, averages)
            db.executemany("INSERT INTO message VALUES (?, ?, 'site', ?, 1, ?)", messages)
            seal_due(store, end)


@contextmanager
def beside(store: Store) -> Iterator[Callable[[], float]]:
    """A station that commits every 50 ms meanwhile; the longest it had to wait, in ms."""
    over, waits = threading.Event(), [0.0]

    def commits() -> None:
        while not over.wait(0.05):
            began = time.perf_counter()
            with store.transaction():
                store.add_events([Event(END, "start", {})])
            waits.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=commits)
    thread.start()
    try:
        yield lambda: max(waits)
    finally:
        over.set()
        thread.join()


def said(what: str, began: float, bytes_before: int, more: str = "") -> None:
    seconds, megabytes = time.perf_counter() - began, (written() - bytes_before) / 1e6
    print(f"{what:44} {seconds:7.1f} s  {megabytes:8.1f} MB written  {more}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--months", type=int, default=60)
    parser.add_argument("--factors", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as where:
        run(Path(where), options.months, options.factors)


def run(where: Path, count: int, factors: int) -> None:
    data, shelf = where / "data", where / "usb"
    shelf.mkdir(parents=True)
    database = data / "station.db"
    store = Store.open(database)

    def keep(body: Mapping[str, Any]) -> None:
        with store.transaction():
            store.add_records([Record("month", END, body)])

    def night(now: datetime, what: str) -> Any:
        began, before = time.perf_counter(), written()
        with beside(store) as longest:
            months, new = close(database, now, UTC, keep)
            closed = time.perf_counter() - began
            brought(data / FOLDER, shelf / FOLDER, months)
            copy, _ = take(database, shelf, now, months=months)
        more = f"tail {copy.size / 1e6:6.1f} MB; a commit beside it waited {longest():.0f} ms at most"
        if new:
            more = f"month {new[-1].size / 1e6:.1f} MB closed in {closed:.1f} s; {more}"
        said(what, began, before, more)
        return copy

    with closing(store):
        store.begin_boot("a boot")
        with store.transaction() as db:
            db.execute("INSERT INTO platform VALUES (1, 'city', ?, 0, 0, 0, 0, 0, 0)", (1 << SEQUENCE_BITS,))
        first = FULL - timedelta(days=30.44 * (count - 2))
        began, before = time.perf_counter(), written()
        fill(store, first, FULL, factors, timedelta(hours=1), timedelta(days=1))
        fill(store, FULL, datetime(2031, 11, 2, tzinfo=UTC), factors, timedelta(minutes=1), timedelta(minutes=5))
        said(f"{count - 1} months made", began, before, f"database {database.stat().st_size / 1e6:.0f} MB")
        months, _ = close(database, datetime(2031, 10, 20, tzinfo=UTC), UTC, keep)
        brought(data / FOLDER, shelf / FOLDER, months)
        night(datetime(2031, 11, 2, 3, tzinfo=UTC), "night that closes a month (October)")
        night(datetime(2031, 11, 2, 4, tzinfo=UTC), "night of day 1")
        fill(store, datetime(2031, 11, 2, tzinfo=UTC), datetime(2031, 11, 16, tzinfo=UTC), factors,
             timedelta(minutes=1), timedelta(minutes=5))  # fmt: skip
        night(datetime(2031, 11, 16, 3, tzinfo=UTC), "night of day 15")
        fill(store, datetime(2031, 11, 16, tzinfo=UTC), datetime(2031, 12, 2, tzinfo=UTC), factors,
             timedelta(minutes=1), timedelta(minutes=5))  # fmt: skip
        night(datetime(2031, 12, 1, 3, tzinfo=UTC), "night of day 30")
        copy = night(END, "night that closes a month (November)")
        began, before = time.perf_counter(), written()
        whole, _ = take(database, shelf, END + timedelta(hours=1), keep=9)
        said("the whole database copied instead", began, before, f"{whole.size / 1e6:.0f} MB")
    month = (data / FOLDER / "2031-11.db").stat().st_size / 1e6
    print(f"(with {count} months of the full rate the whole would be about {month * count:.0f} MB a night)")
    os.sync()
    began, before = time.perf_counter(), written()
    restore(check(copy.path), database, END)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    said("restore from the tail and its months", began, before, f"database {database.stat().st_size / 1e6:.0f} MB")
    print(f"(most memory of this process, which also made the readings: {peak:.0f} MiB)")


if __name__ == "__main__":
    main()
