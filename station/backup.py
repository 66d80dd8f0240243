"""Copies of the database that can be relied on: taken beside the running station, checked, named by their moment.

A copy is one file, `station-20261130T120000Z.db`, with its SHA-256 beside it as `sha256sum` writes it.  It holds
everything that was committed when it began; once months are closed (station/months.py), everything that their files
do not hold, and is called `station-20261130T120000Z.since-2026-10.db` (station/tail.py).  Nothing is called a copy
before it was read back whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from station.clock import from_ms
from station.model import StoreError, dataclass
from station.store import SCHEMA_VERSION, connect, rows_of, unclean

if TYPE_CHECKING:
    from station.months import Month

KIND = "backup"  # of the record that says a copy was taken
NAMED = re.compile(r"station-\d{8}T\d{6}Z(\.since-\d{4}-\d{2})?\.db")
PAGES_A_STEP = 2048  # 2 MiB; between two steps whoever else wants the disk gets it
ROOM = 1.1  # times the size of the database that has to be free
CHUNK = 1 << 20
STALE = 86400.0  # seconds, after which nobody is at a copy any more
APPENDED = ("reading", "average", "message", "event", "record")  # tables whose last id says how far a copy reaches


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that was read back: where it is, how large (bytes), its SHA-256, and the newest reading in it.

    *months* are those whose files it rests on, *kept_from_ms* says what may have left before it was taken.
    """

    path: Path
    size: int
    sha256: str
    newest: datetime | None
    last_ids: dict[str, int]
    months: Sequence[Month] = ()
    kept_from_ms: int = 0


def take(
    database: Path,
    folder: Path,
    now: datetime,
    *,
    keep: int = 2,
    held: Container[str] = (),
    months: Sequence[Month] = (),
    kept_from_ms: int = 0,
) -> tuple[Copy, list[Path]]:
    """Copy *database* into *folder* and read the copy back; the copy, and older ones beyond *keep* that were removed.

    Copies whose names are *held* stay whatever their age: nothing else has what they have.  Of *months*, whose files
    lie in `archive` in *folder*, nothing is copied; *kept_from_ms* is when retention begins.

    The station may run meanwhile.  Raise StoreError when there is no room, the disk refuses, or what was
    written is not what was read; older copies then stay.
    """
    _check_room(database, folder, months)
    since = f".since-{months[-1].piece.month}" if months else ""
    target = folder / f"station-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}{since}.db"
    part = target.with_suffix(".part")
    if target.exists():
        raise StoreError(f"{target}: is there already; wait a second and try again")
    for old in folder.glob("station-*.part"):
        with suppress(OSError):  # what a cut has left; a younger one may be another run's
            if time.time() - old.stat().st_mtime > STALE:
                old.unlink()
    try:
        with _written(part):
            ids = _copied(database, part) if not months else _tail(database, part, months, kept_from_ms)
            part.chmod(0o640)
            found = check(part, read_months=False)
            if found.last_ids != ids:
                raise StoreError(f"{part}: does not end where the database did; nothing was kept, try again")
            _with_sum(target, found.sha256)
            synced(part)
            part.rename(target)
            synced(folder)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{folder}: the copy failed ({error}); older copies are untouched") from error
    removed = []
    others = [one for one in copies(folder) if one != target and one.name not in held]  # never this one, nor those
    for old in others[: max(0, len(others) + 1 - keep)]:
        with suppress(OSError):  # one that cannot go is tried again with the next copy
            old.unlink()
            removed.append(old)
            _sum_of(old).unlink(missing_ok=True)
    return Copy(target, found.size, found.sha256, found.newest, ids, months, kept_from_ms), removed


def copies(folder: Path) -> list[Path]:
    """The copies in *folder*, oldest first; other files are none of ours."""
    return sorted(path for path in folder.glob("station-*.db") if NAMED.fullmatch(path.name))


def check(path: Path, *others: Path, read_months: bool = True) -> Copy:
    """Read the copy at *path* whole; raise StoreError for one that cannot be restored as it is.

    The files of months that it rests on are read too, beside it or in *others*, unless *read_months* is false.
    """
    if not path.is_file():
        raise StoreError(f"{path}: is not there")
    beside = _sum_of(path)
    try:
        digest = _digest(path)
        noted = beside.read_text(encoding="ascii", errors="replace").split()[:1] if beside.exists() else [digest]
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); take another copy") from error
    if noted != [digest]:
        raise StoreError(
            f"{path}: is not as it was written (its SHA-256 differs from {beside.name}); take another copy"
        )
    with closing(connect(path, read_only=True)) as db:
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise StoreError(
                    f"{path}: has schema {version}, this version needs {SCHEMA_VERSION}; use the version that made it"
                )
            said = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if said != "ok":
                raise StoreError(f"{path}: is damaged ({said}); take another copy")
            row = db.execute("SELECT at_ms FROM reading ORDER BY id DESC LIMIT 1").fetchone()
            ids, months, kept_from_ms = _ids_and_months(db, path, others, read_months=read_months)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: is damaged ({error}); take another copy") from error
    newest = from_ms(row[0]) if row else None
    return Copy(path, path.stat().st_size, digest, newest, ids, months, kept_from_ms)


def _ids_and_months(
    db: sqlite3.Connection, path: Path, others: Sequence[Path], *, read_months: bool
) -> tuple[dict[str, int], Sequence[Month], int]:
    ids = last_ids(db)
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'base'").fetchone():
        return ids, (), 0
    from station.tail import ends, places, rests_on

    months, origin, kept_from_ms = rests_on(partial(rows_of, db, str(path)))
    places(path, months, *others, read=read_months)
    before = ends(origin.upto)
    return {table: max(last, before.get(table, 0)) for table, last in ids.items()}, months, kept_from_ms


def _tail(database: Path, part: Path, months: Sequence[Month], kept_from_ms: int) -> dict[str, int]:
    from station.tail import write

    return write(database, part, months, kept_from_ms, APPENDED)


def restore(copy: Copy, database: Path, now: datetime) -> Path | None:
    """Put *copy* in the place of *database*; where the former one lies now, None when there was none.

    Whoever calls this owns the data folder.  A power cut leaves the former database or the copy, never neither.
    """
    from station.sealing import forget_key  # only a restore needs it

    former = None
    new = database.with_suffix(".restoring")
    try:
        with _written(new):
            _put(copy, new, database.parent)
            synced(new)
            if database.exists():
                former = database.with_name(f"{database.name}.replaced-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
                _folded_in(database, former)
                os.link(database, former)
            unclean(database).unlink(missing_ok=True)  # a copy is one file and has no log to miss
            new.replace(database)
            synced(database.parent)
            if former is not None:
                forget_key(former)
    except OSError as error:
        raise StoreError(
            f"{database}: the copy cannot be put in its place ({error}); the database is as it was"
        ) from error
    return former


def _put(copy: Copy, new: Path, data_folder: Path) -> None:
    """*copy* at *new*, whole: with the months that it rests on, beside it or in `archive` of *data_folder*."""
    if _digest(copy.path) != copy.sha256:
        raise StoreError(f"{copy.path}: is not what was read of it before; the database is as it was")
    if not copy.months:
        shutil.copyfile(copy.path, new)
        if _digest(new) != copy.sha256:
            raise StoreError(f"{new}: is not what was read from {copy.path}; the database is as it was")
        return
    from station.months import FOLDER
    from station.tail import places, put_together

    found = places(copy.path, copy.months, data_folder / FOLDER, read=True)
    put_together(copy.path, found, new, copy.kept_from_ms, copy.months)


def last_ids(db: sqlite3.Connection) -> dict[str, int]:
    """How far each appended table of *db* reaches."""
    return {table: int(db.execute(f"SELECT max(id) FROM {table}").fetchone()[0] or 0) for table in APPENDED}


def _copied(database: Path, part: Path) -> dict[str, int]:
    """Copy *database* as it is committed now into *part*, a single file without a log; where its tables end."""
    with closing(connect(database, read_only=True)) as source, closing(connect(part)) as target:
        source.execute("BEGIN")  # one snapshot, however often the station commits meanwhile
        ids = last_ids(source)
        source.backup(target, pages=PAGES_A_STEP)
        source.execute("ROLLBACK")
        target.execute("PRAGMA journal_mode=DELETE").fetchall()
        target.execute("PRAGMA secure_delete=ON").fetchall()
        target.execute("UPDATE sealing SET key = NULL")  # who finds a copy must not be able to seal with its key
    return ids


def _folded_in(database: Path, former: Path) -> None:
    """What still stands in the log of *database* goes into it; of one that cannot be read, the log goes along."""
    with suppress(StoreError, sqlite3.Error), closing(connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for suffix in ("-wal", "-shm"):
        log = database.with_name(database.name + suffix)
        if log.exists():
            log.rename(former.with_name(former.name + suffix))


def _check_room(database: Path, folder: Path, months: Sequence[Month] = ()) -> None:
    try:
        if months:  # not known before; twice the newest month and the tail before it are more than this one
            older = [one.stat().st_size for one in copies(folder)[-1:] if ".since-" in one.name]
            need, free = ROOM * max(2 * months[-1].size, *older, 0), shutil.disk_usage(folder).free
        else:
            need, free = database.stat().st_size * ROOM, shutil.disk_usage(folder).free
    except OSError as error:
        raise StoreError(f"{error.filename}: cannot be used ({error.strerror})") from error
    if free < need:
        raise StoreError(
            f"{folder}: a copy needs {need / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; older copies stay"
        )


@contextmanager
def _written(part: Path) -> Iterator[None]:
    """Nothing half-written is left behind at *part*."""
    try:
        part.unlink(missing_ok=True)
        yield
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                part.with_name(part.name + suffix).unlink()


def _with_sum(path: Path, digest: str) -> None:
    beside = _sum_of(path)
    beside.write_text(f"{digest}  {path.name}\n", encoding="ascii")
    synced(beside)


def _sum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def synced(path: Path) -> None:
    """Have *path*, a file or a folder, on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
