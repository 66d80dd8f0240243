"""Rows 9, 10, 12, 13, 16 to 19: a disk that is full, read-only or faulty, and what is read back from it."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from station import recorder as recording
from station.backup import check, take
from station.model import StoreDamaged
from station.room import LOW
from station.store import Store, connect
from tests.bench.bench_store import CountingVfs, run_flow
from tests.faults.outcome import CannotRun, Outcome
from tests.station.conftest import CONFIG, START, Rig
from tests.station.test_failing_disk import FailingRig, cut_off, events
from tests.station.test_service import fill

TAKES = '["realtime", "minute", "hour", "day", "site_info"]'  # a platform that takes log texts
ALARM_SECONDS = 60.0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of *size* at *folder*/data."""
    data = folder / "data"
    data.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(data)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        raise CannotRun("this user may not mount a small tmpfs to be filled; run as root")
    try:
        yield data
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


def made_image(path: Path) -> Path:
    """A file with an empty ext4 of 16 MiB in it."""
    with path.open("wb") as file:
        file.truncate(16 << 20)
    _as_root("mkfs.ext4", "-q", "-F", str(path))
    return path


@contextmanager
def mounted(image: Path, place: Path, *options: str) -> Iterator[Path]:
    """The file system in *image* at *place*."""
    place.mkdir(exist_ok=True)
    _as_root("mount", "-o", ",".join(("loop", *options)), str(image), str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _as_root(*words: str) -> None:
    if shutil.which(words[0]) is None or subprocess.run(words, capture_output=True, check=False).returncode:
        raise CannotRun(f"{words[0]} of a file system in a file does not work here; it needs root and loop devices")


def polled(rig: Rig) -> int:
    """Readings that were taken since the first start."""
    return 2 * rig.instrument.asked


def stored(rig: Rig) -> tuple[int, int]:
    """Readings that are stored, and how many of them are there twice."""
    sql = "SELECT count(*), count(*) - count(DISTINCT series || ' ' || at_ms) FROM reading WHERE raw IS NOT NULL"
    (row,) = rig.engine.store.query(sql)
    return row[0], row[1]


def until_said(rig: Rig, seconds: float = 600) -> float:
    """How long until an event or the status says that something is wrong with the disk, in the station's seconds."""
    began = rig.clock.monotonic()
    while not rig.engine.store_error and not {"disk_full", "disk_low"} & set(rig.events()):
        rig.run(1)
        if rig.clock.monotonic() - began > seconds:
            raise AssertionError("nobody said that the disk is full")
    return rig.clock.monotonic() - began


def until_well(rig: Rig, seconds: float = 600) -> float:
    """How long until commits work again, in the station's seconds."""
    began = rig.clock.monotonic()
    rig.run(1)
    while rig.engine.store_error:
        rig.run(1)
        if rig.clock.monotonic() - began > seconds:
            raise AssertionError(rig.engine.store_error)
    return rig.clock.monotonic() - began


def full(folder: Path, runs: int) -> Outcome:
    """Row 9: other files take the whole disk; there is an alarm, the reserve, and room again after a while."""
    lost = doubled = 0
    alarms, backs, reserves, chance = list[float](), list[float](), 0, random.Random(9)
    config = CONFIG.replace('name = "test"', 'name = "test"\nreserve_mb = 1', 1)
    for number in range(runs):
        with small_disk(folder / str(number), "8m") as data:
            rig = Rig(folder / str(number), config)
            rig.run(chance.randrange(60, 180))
            filler = fill(data)
            alarms.append(until_said(rig))
            rig.run(chance.randrange(300, 900))
            assert filler.exists()
            reserves += "disk_full" in rig.events()
            fill_again = data / "filler-2"
            fill(data).rename(fill_again)  # now the reserve's room is gone as well
            rig.run(chance.randrange(300, 900))
            filler.unlink(missing_ok=True)
            fill_again.unlink()
            backs.append(until_well(rig))
            rig.run(61)
            rig.engine.commit()
            count, twice = stored(rig)
            lost, doubled = lost + polled(rig) - count, doubled + twice
            rig.engine.shut_down()
    figure = (
        f"alarm after {max(alarms):.0f} s at most (goal {ALARM_SECONDS:.0f}), the reserve used {reserves} times; alarms"
        f" begin at {LOW} times the reserve; times are the station's own"
    )
    held = max(alarms) <= ALARM_SECONDS and max(backs) <= 60
    return Outcome(runs, figure, held, lost, doubled, 0, max(backs))


def full_of_unsent(folder: Path, runs: int) -> Outcome:
    """Row 10: no room for longer than memory holds; every reading that is dropped is counted and told."""
    uncounted = doubled = dropped = owed = 0
    usual, recording.MOST_PENDING = recording.MOST_PENDING, 400
    try:
        for number in range(runs):
            with small_disk(folder / str(number), "1m") as data:
                rig = Rig(folder / str(number), CONFIG.replace('name = "test"', 'name = "test"\nreserve_mb = 0', 1))
                rig.run(120)
                filler = fill(data)
                rig.run(1500)
                kept = rig.engine.outboxes["district"].depth().owed
                filler.unlink()
                until_well(rig)
                rig.run(61)
                rig.engine.commit()
                (told,) = rig.engine.store.query(
                    "SELECT sum(json_extract(arguments, '$.dropped')) FROM event WHERE code = 'store_back'"
                )
                count, twice = stored(rig)
                dropped, doubled = dropped + told[0], doubled + twice
                uncounted += abs(polled(rig) - count - told[0])
                owed += rig.engine.outboxes["district"].depth().owed < kept
                rig.engine.shut_down()
    finally:
        recording.MOST_PENDING = usual
    figure = (
        f"{dropped} readings dropped behind a memory of 400 (shipped: {usual}), {dropped} counted in the event;"
        f" messages owed to the platform fewer afterwards: {owed} times"
    )
    return Outcome(runs, figure, dropped > 0 and not owed, uncounted, doubled, 0)


def read_only(folder: Path, runs: int) -> Outcome:
    """Row 12: every write is refused and later taken again; and a real ext4 that remounts itself read-only."""
    found = _faulty(folder, runs, ("read-only",), 12)
    times, said, gone, kept = max(1, runs // 10), 0, 0, 0
    try:
        for number in range(times):
            told, missing, waiting = _emergency(folder / f"ext4-{number}")
            said, gone, kept = said + told, gone + missing, kept + waiting
    except CannotRun as why:
        return replace(found, figure=f"{found.figure}; not on a real ext4: {why}")
    words = (
        f"a real ext4 that an error of its own made read-only, {times} times: said {said} times, of what was committed"
        f" {gone} lost; sampling goes on, but that kernel wants an unmount (a reboot) before it writes again: what is"
        f" in memory by then is lost ({kept / times:.0f} readings each)"
    )
    return replace(found, figure=f"{found.figure}; {words}", held=found.held and said == times and not gone)


def _emergency(folder: Path) -> tuple[bool, int, int]:
    """Whether the station said so, committed readings that were missing afterwards, and readings in memory."""
    folder.mkdir()
    with mounted(made_image(folder / "image"), folder / "mounted", "errors=remount-ro") as place:
        source = subprocess.run(["findmnt", "-no", "SOURCE", str(place)], capture_output=True, text=True, check=True)
        trigger = Path("/sys/fs/ext4") / Path(source.stdout.strip()).name / "trigger_fs_error"
        rig = Rig(place, CONFIG.replace('name = "test"', 'name = "test"\nreserve_mb = 1', 1))
        rig.run(300)
        rig.engine.commit()
        committed = rig.engine.store.query("SELECT * FROM reading ORDER BY id")
        trigger.write_text("1", encoding="ascii")
        rig.run(300)
        said, waiting = "is read-only" in rig.engine.store_error, len(rig.engine.recorder.take().readings)
        rig.engine.store.close()
        for outbox in rig.engine.outboxes.values():
            outbox.close()
    subprocess.run(["e2fsck", "-p", str(folder / "image")], capture_output=True, check=False)
    with mounted(folder / "image", folder / "mounted") as place:
        db = connect(place / "data" / "station.db", read_only=True)
        rows = set(db.execute("SELECT * FROM reading"))
        db.close()
    return said, sum(row not in rows for row in committed), waiting


def io_errors(folder: Path, runs: int) -> Outcome:
    """Row 13: errors of writing, syncing and reading, at 0.1 to 5 % of the calls and at all of them."""
    return _faulty(folder, runs, ("write", "sync", "read"), 13)


def _faulty(folder: Path, runs: int, faults: tuple[str, ...], seed: int) -> Outcome:
    lost = doubled = struck = ends = opened = 0
    alarms, told, backs, chance = list[float](), list[float](), list[float](), random.Random(seed)
    longest = 0
    config = CONFIG.replace("realtime_seconds = 30", f"realtime_seconds = 30\nkinds = {TAKES}")
    for number in range(runs):
        where = folder / str(number)
        where.mkdir()
        rig = FailingRig(where, config)
        rig.run(chance.randrange(60, 180))
        fault = faults[number % len(faults)]
        rate = 1.0 if len(faults) == 1 or number % 2 else chance.choice((0.001, 0.01, 0.05))
        dead = 0
        rig.vfs.fail(fault, rate)
        began, said, heard = rig.clock.monotonic(), None, None
        down = chance.randrange(120, 1200)
        try:
            while rig.clock.monotonic() - began < down:
                rig.run(1)
                if rig.engine.store_error and said is None:
                    said = rig.clock.monotonic() - began
                if heard is None and rig.engine.outboxes["district"].unstored:
                    heard = rig.clock.monotonic() - began
        except StoreDamaged:  # damage is for the next start, which looks at all of it
            ends, dead = ends + 1, len(rig.engine.recorder.take().readings)
        struck, opened, longest = struck + rig.vfs.struck, opened + rig.disk.opened - 1, max(longest, down)
        rig.vfs.fail("")
        if dead:
            rig.disk.connection and rig.disk.connection.close()
            rig = FailingRig(where, config, now=rig.clock.now())
        backs.append(until_well(rig))
        if rate == 1.0 and fault != "read" and said is not None:
            alarms.append(said)
            told.append(down if heard is None else heard)
        rig.run(61)
        rig.engine.commit()
        count, twice = stored(rig)
        lost, doubled = lost + (0 if dead else polled(rig) - count), doubled + twice
        assert rig.engine.store.query("PRAGMA integrity_check") == [("ok",)]
        rig.engine.shut_down()
    rate_a_minute = 24  # of the rig: two parameters every 5 s
    figure = (
        f"{struck} calls failed, the file opened anew {opened} times, {ends} ends of the process; seen in the status"
        f" after {max(alarms, default=0):.0f} s and handed to the uplink past the store after"
        f" {max(told, default=0):.0f} s at most (goal {ALARM_SECONDS:.0f}); up to {longest / 60:.0f} min in memory"
        f" (room for {recording.MOST_PENDING // rate_a_minute} min at {rate_a_minute} readings a minute); the fault is"
        " put into SQLite's file layer, not into a real disk"
    )
    held = max([*alarms, *told], default=0) <= ALARM_SECONDS and max(backs) <= 60
    return Outcome(runs, figure, held, lost, doubled, 0, max(backs))


def without_log(folder: Path, runs: int) -> Outcome:
    """Row 16: the log or the index beside it is gone when the station starts, or the file came alone."""
    said = quiet = 0
    for number in range(runs):
        where = folder / str(number)
        where.mkdir()
        path = cut_off(where)
        log, index = path.with_name("station.db-wal"), path.with_name("station.db-shm")
        if number % 2:
            index.write_bytes(random.Random(number).randbytes(32768))  # rubbish in the index, or none: made anew
            Store.open(path).close()
            quiet += events(path) == ["first", "second"]
        else:
            log.unlink()
            Store.open(path).close()
            said += events(path) == ["first", "log_missing"]
    right = (said, quiet) == ((runs + 1) // 2, runs // 2)
    figure = (
        f"log gone: says so at the start, {said} of {(runs + 1) // 2}; index rubbish: all there {quiet} of {runs // 2}"
    )
    return Outcome(runs, figure, right, 0, 0, 0)


def backup_under_load(folder: Path, runs: int) -> Outcome:
    """Row 17: copies are taken while a station commits as fast as it can."""
    rig = Rig(folder)
    rig.run(600)
    shelf = folder / "shelf"
    shelf.mkdir()
    stop, failed = threading.Event(), list[BaseException]()

    def load() -> None:
        try:
            while not stop.is_set():
                rig.run(5)
                rig.engine.commit()
        except BaseException as error:  # noqa: BLE001 - shown by the row
            failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    sound = partial = 0
    began, before = time.monotonic(), rig.engine.store.newest("reading")
    try:
        for number in range(runs):
            copy, _ = take(rig.loaded.database, shelf, START.replace(year=2000 + number // 12, month=1 + number % 12))
            sound += check(copy.path).last_ids == copy.last_ids
            with closing(connect(copy.path, read_only=True)) as db:
                rows = db.execute("SELECT count(*), max(id) - min(id) + 1 FROM reading").fetchone()
                partial += rows[0] != rows[1]
    finally:
        stop.set()
        thread.join()
    took = time.monotonic() - began
    commits = (rig.engine.store.newest("reading") - before) / took
    rig.engine.shut_down()
    figure = f"{sound} of {runs} verify, {partial} not whole; {commits:.0f} readings/s came in meanwhile"
    return Outcome(runs, figure, sound == runs and not failed and commits > 0, 0, 0, partial)


def wear(folder: Path, hours: int) -> Outcome:
    """Row 18: bytes handed to the file layer in *hours* of 20 parameters each 5 s, 4 kB blocks between two flushes."""
    vfs = CountingVfs("wear")
    count, size = run_flow(folder / "flow", 4, 1024, hours, vfs.connect)
    day = 24 / hours / 1e6
    blocks = 4096 * vfs.blocks
    figure = (
        f"{vfs.written * day:.0f} MB/day written, {blocks * day:.0f} MB/day in 4 kB blocks (goal 150), at 20 parameters"
        f" each 5 s; amplification {blocks / (count * size):.1f} of {count} readings of {size:.0f} B; not on a card"
    )
    return Outcome(hours, figure, blocks * day <= 150)


def versions(folder: Path, runs: int) -> Outcome:
    """Row 19: a newer and an older file are refused in words and left as they are."""
    from station.model import StoreVersionError
    from station.store import SCHEMA_VERSION

    refused = same = 0
    for number in range(runs):
        path = folder / f"{number}.db"
        Store.open(path).close()
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1 + number if number % 2 else SCHEMA_VERSION - 1}")
            db.execute("PRAGMA journal_mode=DELETE")
        before = path.read_bytes()
        try:
            Store.open(path)
        except StoreVersionError:
            refused += 1
        same += path.read_bytes() == before
    figure = f"refused {refused}, unchanged {same} of {runs}; there is no migration to cut before 0.1"
    return Outcome(runs, figure, refused == same == runs, 0, 0, runs - same)
