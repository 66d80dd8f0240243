"""What a reading costs on disk, with the whole flow, and how long the next batch of a backlog takes.

Run by hand; asserts nothing.

    python tests/bench/bench_store.py [--hours 6] [--millions 10] [--only flow|backlog]

Flow: the real engine, store and outbox on a clock that is moved by hand, instruments that show a random
walk, real HJ 212 texts, a platform that answers at once; readings, averages, messages, delivery state
and events, committed each 60 s.  Each row is one page size and rate:

    B/reading    bytes in xWrite (log and database, checkpoints included), by an SQLite VFS in Python
    flushes/h    calls of xSync, same VFS (a commit in WAL mode with synchronous=FULL is one)
    block B      the same in whole 4 KiB blocks of the file system, each once between two flushes: what
                 reaches a card, without the file system's own journal
    plain B      the same hours through the standard library's sqlite3: wchar of /proc/self/io
    file B       bytes per reading of the reading table alone, by dbstat

Backlog: PlatformOutbox.next(HISTORY, 100) with 1 and with --millions million messages waiting; the median
of 200 batches, the two files in turn.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import apsw

from drivers.base import Device, DeviceSettings
from station.clock import ManualClock, to_ms
from station.config import Loaded, load, resolve
from station.engine import Engine
from station.model import Kind, Lane, Sample
from station.outbox import PlatformOutbox, sqlite_reader
from station.parameters import catalogue
from station.poller import Poller
from station.store import SEQUENCE_BITS, Store, connect
from tests.bench.rig import factors, write_profile, write_station
from uplink import UPLINKS
from uplink.base import Commands, Context, Outbox

START = datetime(2026, 3, 1, tzinfo=UTC)
EACH = 5  # parameters of an instrument, and seconds between two polls
BLOCK = 4096
TEXT = "DataTime=20260301080000;a01001-Avg=21.5,a01001-Flag=N"


class CountingFile(apsw.VFSFile):
    """Counts what is written and flushed."""

    def __init__(self, vfs: CountingVfs, name: Any, flags: list[int]) -> None:
        self._vfs = vfs
        self._dirty: set[int] = set()
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._vfs.written += len(data)
        self._dirty.update(range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._vfs.flushes += 1
        self._vfs.blocks += len(self._dirty)
        self._dirty.clear()


class CountingVfs(apsw.VFS):
    """The real file system with counters; nothing is flushed, a flush is only counted."""

    def __init__(self, name: str) -> None:
        self.name, self.written, self.blocks, self.flushes = name, 0, 0, 0
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> CountingFile:
        return CountingFile(self, name, flags)

    def connect(self, path: Path) -> Any:
        """A connection as station.store.connect makes it; without shared memory WAL needs exclusive locking."""
        connection = apsw.Connection(str(path), vfs=self.name)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        connection.execute("PRAGMA cache_size=-256").fetchall()
        return connection


class Walk:
    """An instrument whose values walk at random, one decimal."""

    poll_minimum_seconds = 0.0

    def __init__(self, settings: DeviceSettings, parameters: Sequence[str], clock: ManualClock) -> None:
        self.name = settings.name
        self.units = {key: catalogue()[key].unit for key in parameters}
        self._clock, self._chance = clock, random.Random(self.name)
        self._values = dict.fromkeys(parameters, 20.0)

    def read(self) -> Sequence[Sample]:
        """One step of each walk."""
        now = self._clock.now()
        for key, value in self._values.items():
            self._values[key] = round(value + self._chance.uniform(-0.5, 0.5), 1)
        return [Sample(key, now, value) for key, value in self._values.items()]

    def close(self) -> None:
        """Nothing."""


class Line:
    """A line that needs no closing."""

    def close(self) -> None:
        """Nothing."""


class Answering:
    """Words reports as HJ 212 does and has no connection: the bench answers in its stead."""

    def __init__(self, real: Any) -> None:
        self.compose = real.compose

    def run(self, outbox: Outbox, commands: Commands, stop: Event) -> None:
        """Never started."""


def make_engine(loaded: Loaded, connection: Any, page_size: int, clock: ManualClock) -> Engine:
    """The real engine over *connection*."""
    groups = [factors(EACH * (n + 1))[EACH * n :] for n in range(len(loaded.config.bus[0].device))]
    devices: list[Device] = [
        Walk(settings, keys, clock) for settings, keys in zip(loaded.config.bus[0].device, groups, strict=True)
    ]
    settings = loaded.config.uplink[0]
    context = Context(
        catalogue=catalogue(),
        zone=loaded.zone,
        now=clock.now,
        monotonic=clock.monotonic,
        secret=loaded.secret,
        started=START,
    )
    real = resolve(UPLINKS[settings.protocol])(settings, context, loaded.systems)
    return Engine(
        loaded,
        Store(connection, str(loaded.database), page_size=page_size),
        clock,
        buses=[(loaded.config.bus[0], devices, Line())],
        uplinks=[(settings, Answering(real))],
        reader=lambda: connection,
    )


def live(engine: Engine, clock: ManualClock, hours: float) -> None:
    """Let *hours* pass, second by second; every message is answered when it was committed."""
    outbox = engine.senders[0].outbox
    outbox.connected()
    for _ in range(round(3600 * hours)):
        poll_due(engine.pollers, clock)
        engine.tick()
        for message in (*outbox.next(Lane.LIVE, 100), *outbox.next(Lane.HISTORY, 100)):
            outbox.number(to_ms(clock.now()))
            outbox.answered([message.id])
        clock.advance(1)


def poll_due(pollers: Sequence[Poller], clock: ManualClock) -> None:
    """Read what is due."""
    for poller in pollers:
        for task in poller.tasks:
            if task.due <= clock.monotonic():
                poller.poll(task)


def characters_written() -> int:
    """What this process has handed to write calls so far."""
    return int(Path("/proc/self/io").read_text().split("wchar:")[1].split()[0])


def run_flow(folder: Path, rate: int, page_size: int, hours: float, opened: Callable[[Path], Any]) -> tuple[int, float]:
    """*hours* of the flow at *rate* readings/s: how many readings, and their bytes each in the file."""
    folder.mkdir()
    for n in range(rate):
        write_profile(folder, f"bench{n}", factors(EACH * (n + 1))[EACH * n :])
    devices = [(f"bench{n}", "site") for n in range(rate)]
    loaded = load(write_station(folder, devices, port=9, baudrate=9600, poll_seconds=EACH, realtime=60))
    loaded.data_folder.mkdir()
    connection, clock = opened(loaded.database), ManualClock(START)
    engine = make_engine(loaded, connection, page_size, clock)
    live(engine, clock, hours)
    engine.shut_down()
    with closing(sqlite3.connect(loaded.database)) as plain:
        count = plain.execute("SELECT count(*) FROM reading").fetchone()[0]
        size = plain.execute("SELECT sum(pgsize) FROM dbstat WHERE name = 'reading'").fetchone()[0]
    return count, size / count


def flow(folder: Path, hours: float) -> None:
    """Print the table of page sizes."""
    heads = "".join(f"{head:>11}" for head in ("page", "B/reading", "block B", "flushes/h", "plain B", "file B"))
    print(f"{f'whole flow, {hours:g} h':24}{heads}")
    for rate in (1, 4):
        for page_size in (1024, 2048, 4096):
            name = f"{rate}-{page_size}"
            vfs = CountingVfs(name)
            count, _ = run_flow(folder / name, rate, page_size, hours, vfs.connect)
            before = characters_written()
            _, size = run_flow(folder / f"{name}-plain", rate, page_size, hours, connect)
            plain = characters_written() - before
            row = (vfs.written / count, BLOCK * vfs.blocks / count, vfs.flushes / hours, plain / count)
            figures = "".join(f"{figure:11.0f}" for figure in row)
            print(f"{f'{rate} a second':24}{page_size:11}{figures}{size:11.1f}", flush=True)


def filled(path: Path, count: int) -> PlatformOutbox:
    """An outbox whose platform is owed *count* messages."""
    store = Store.open(path)
    outbox = PlatformOutbox("district", store, sqlite_reader(str(path)), now=lambda: START)
    store.query("PRAGMA synchronous=OFF")
    with store.transaction() as db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO message SELECT ? + i, ?, 'site', ? + 60000 * i, 1, ? FROM n",
            (count, outbox.id << SEQUENCE_BITS, int(Kind.MINUTE), to_ms(START), TEXT),
        )
    outbox.write_now()
    outbox.connected()
    return outbox


def backlog(folder: Path, millions: int) -> None:
    """Print how long a batch takes at 1 and at *millions* million messages."""
    sizes = (1, millions)
    outboxes = {size: filled(folder / f"backlog-{size}.db", size * 1_000_000) for size in sizes}
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(200):
        for size, outbox in outboxes.items():
            began = time.perf_counter()
            batch = outbox.next(Lane.HISTORY, 100)
            times[size].append(1e6 * (time.perf_counter() - began))
            outbox.answered([message.id for message in batch])
    print(f"\n{'next batch of 100':24}{'median µs':>12}{'min':>8}{'max':>8}{'depth() µs':>12}")
    for size, outbox in outboxes.items():
        began = time.perf_counter()
        outbox.depth()
        depth = 1e6 * (time.perf_counter() - began)
        some = times[size]
        print(f"{f'{size} M messages':24}{statistics.median(some):12.0f}{min(some):8.0f}{max(some):8.0f}{depth:12.0f}")
    print(f"{'ratio':24}{statistics.median(times[millions]) / statistics.median(times[1]):12.2f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--millions", type=int, default=10)
    parser.add_argument("--only", choices=("flow", "backlog"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-store-") as name:
        if options.only != "backlog":
            flow(Path(name), options.hours)
        if options.only != "flow":
            backlog(Path(name), options.millions)


if __name__ == "__main__":
    main()
