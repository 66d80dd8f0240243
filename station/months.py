"""Closed months as files of their own: sealed, read-only, written once, copied once; the nightly copy is what is newer.

A month file, `archive/2026-11.db` beside the database, holds what the sealed blocks of a month hold, these blocks, and
what explains them (boots, series, clock): it is verified on its own, and its blocks go on from those of the month
before.  It is cut at the first block that was sealed behind the month's end, once that is a day old; rows that come
later (a late value, a later version) lie in the month they came in.  Since rows are never changed, nothing ever has to
be written into a month file again.  Its hash, counts and head are a record of kind `month`, which the next block seals.

The rows stay in the open database for as long as [retention] keeps them there.  It was weighed to let them leave with
the closing: recall, reports, `explain`, alarms and a platform that is owed something reach back for months, so each
reader of the service would have had to look into up to sixty files, and what deletes and what reads would have met in
the one place where a fault costs data.  What was wanted of it, bytes a night that do not grow with the years, comes of
the copies instead: a nightly copy holds what no month file has, at most two months, and `station restore` puts the
month files and it together again, and verifies the chain.  Where the disk is too small, readings leave as before
(`station disk release`), and then the copies of the month files are what has them.

A cut of the power at any step leaves the month open or closed: the file appears under its name when it was written,
read back and flushed; a file without its record is read again and recorded by the next run, or put aside where it is
of another past (a database that was restored).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

from station.clock import from_ms, to_ms
from station.model import StoreError, StoreVersionError, dataclass, replace
from station.seal import Origin, Query, blocks_of, verify
from station.store import (
    PAGE_SIZE,
    SCHEMA,
    SCHEMA_VERSION,
    SEALS,
    SEQUENCE_BITS,
    WAITING,
    connect,
    quoted,
    rows_of,
)

log = logging.getLogger(__name__)

KIND = "month"  # of the record that says that a month was closed
FOLDER = "archive"  # beside the database, and beside the copies
NAMED = re.compile(r"\d{4}-\d{2}\.db")
SETTLED = timedelta(days=1)  # behind a month's end, before it is closed
EARLIEST = to_ms(datetime(2020, 1, 1, tzinfo=UTC))  # blocks of an older date were sealed by a clock nobody vouched for
CHUNK = 1 << 20
NUMBERED = ("setting", "event", "record", "average", "reading", "waiting", "waiting_record")  # in one piece each
EXPLAINS = ("boot", "series", "clock", "platform", "schedule")  # small, and in every piece
PIECE = """
CREATE TABLE piece(month TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, head_before BLOB NOT NULL,
  head BLOB NOT NULL, upto_before TEXT NOT NULL, upto TEXT NOT NULL, missed_before INTEGER NOT NULL,
  missed INTEGER NOT NULL, released INTEGER NOT NULL, kept_from_ms INTEGER NOT NULL, bad INTEGER NOT NULL)
"""
OF_RECORDS = f"SELECT body FROM record WHERE kind = '{KIND}' ORDER BY id"
COLUMNS = "month, first, last, head_before, head, upto_before, upto, missed_before, missed, released, kept_from_ms, bad"


@dataclass(frozen=True, slots=True)
class Piece:
    """What a month file holds: blocks behind *before* up to *after*, and misses from *missed_before* to *missed*.

    *kept_from_ms* and *after.released* say what had left the database before it was written, by retention and
    records.  *bad* is the first block whose rows were not as they were sealed in the database itself, after a damage
    for example; 0 where all were.
    """

    month: str
    before: Origin
    after: Origin
    missed_before: int
    missed: int
    kept_from_ms: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Month:
    """A closed month as recorded: its *piece*, and the size (bytes) and SHA-256 of its file."""

    piece: Piece
    size: int
    sha256: str

    @property
    def file(self) -> str:
        """Its name in either folder."""
        return f"{self.piece.month}.db"


def body_of(month: Month, counts: Mapping[str, int]) -> dict[str, Any]:
    """What the record says of *month*."""
    one = month.piece
    return {
        "month": one.month, "file": month.file, "bytes": month.size, "sha256": month.sha256, "rows": dict(counts),
        "first": one.before.epoch + 1, "last": one.after.epoch, "head": one.after.head.hex(),
        "upto": dict(one.after.upto), "missed": one.missed, "released": one.after.released,
        "kept_from_ms": one.kept_from_ms, "bad": one.bad,
    }  # fmt: skip


def recorded(query: Query) -> list[Month]:
    """The closed months by their records, oldest first."""
    return of_bodies(json.loads(text) for (text,) in query(OF_RECORDS, ()))


def of_bodies(bodies: Iterable[Mapping[str, Any]]) -> list[Month]:
    """The months of the *bodies* of their records."""
    found: list[Month] = []
    before, missed = Origin(), 0
    for said in bodies:
        after = Origin(said["last"], bytes.fromhex(said["head"]), said["upto"], said["released"])
        piece = Piece(said["month"], before, after, missed, said["missed"], said["kept_from_ms"], said["bad"])
        found.append(Month(piece, said["bytes"], said["sha256"]))
        before, missed = after, piece.missed
    return found


# -- closing


def close(
    database: Path, now: datetime, zone: tzinfo, keep: Callable[[Mapping[str, Any]], None], kept_from_ms: int = 0
) -> tuple[list[Month], list[Month]]:
    """Close the months that are over; all closed ones, and those that are new.  *keep* has a body put on record.

    What is older than *kept_from_ms* may have left by retention.  The station may run meanwhile.  Raise StoreError when
    the disk refuses or what was written is not what was read: the month is then open as before.
    """
    folder = database.parent / FOLDER
    with closing(connect(database, read_only=True)) as db:
        query = partial(rows_of, db, str(database))
        _readable(query, database)
        known = recorded(query)
        new: list[Month] = []
        while (piece := due(query, known[-1].piece if known else None, now, zone)) is not None:
            piece = replace(piece, kept_from_ms=max(piece.kept_from_ms, kept_from_ms))
            piece = replace(piece, bad=_bad_block(query, piece))
            path = folder / f"{piece.month}.db"
            if path.exists() and not _is(path, piece):
                aside = path.with_name(f"{path.name}.other-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
                log.warning("%s: is of another past than the database; kept as %s", path, aside.name)
                path.rename(aside)
            if not path.exists():
                write(database, path, piece)
            month = Month(piece, path.stat().st_size, digest_of(path))
            keep(body_of(month, _counts(path)))
            known.append(month)
            new.append(month)
    return known, new


def due(query: Query, last: Piece | None, now: datetime, zone: tzinfo) -> Piece | None:
    """The next month to close behind *last*, if it is over by *now* and a block was sealed behind its end."""
    before = last.after if last else Origin()
    first, wanted, head = None, 0, before.head
    name = ""
    for block in blocks_of(query, before):
        head = block.head(head)
        if first is None:
            if block.at_ms < EARLIEST:
                continue
            first = block
            start = _begins(from_ms(block.at_ms).astimezone(zone))
            if last is not None and f"{start:%Y-%m}" <= last.month:
                start = _behind(datetime.strptime(last.month, "%Y-%m").replace(tzinfo=zone))
            if (end := _behind(start)) + SETTLED > now:
                return None
            name, wanted = f"{start:%Y-%m}", to_ms(end)
        if block.at_ms >= wanted and from_ms(block.at_ms) <= now:
            low = last.missed if last else 0
            ((missed,),) = query("SELECT max(id) FROM missed WHERE last_ms <= ?", (block.at_ms,))
            after = Origin(block.epoch, head, dict(block.upto), _released(query))
            return Piece(name, before, after, low, max(low, missed or 0))
    return None


def _begins(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _behind(month: datetime) -> datetime:
    return _begins(month + timedelta(days=32))


def _released(query: Query) -> int:
    """The last reading that has left, by the records of `station disk release`."""
    ((last,),) = query("SELECT max(json_extract(body, '$.last')) FROM record WHERE kind = 'released'", ())
    return int(last or 0)


def _bad_block(query: Query, piece: Piece) -> int:
    """The first block of *piece* that the database itself does not have as it was sealed, 0 where there is none."""
    found = verify(query, kept_from_ms=piece.kept_from_ms, origin=piece.before, last=piece.after.epoch)
    if found.bad is not None:
        log.warning("block %d is not as it was sealed; the month %s is closed as it is", found.bad, piece.month)
    return found.bad or 0


def write(database: Path, path: Path, piece: Piece) -> None:
    """The month file of *piece* at *path*: written, read back, flushed, and read-only when it gets its name."""
    try:
        path.parent.mkdir(exist_ok=True)
        synced(path.parent.parent)
        with built(database, path.with_suffix(".part")) as (part, db):
            fill(db, piece)
            _put_piece(db, piece)
            db.execute("COMMIT")
            db.execute("DETACH DATABASE live")
            db.close()
            checked(part)
            synced(part)
            part.chmod(0o440)
            part.rename(path)
            synced(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: cannot be written ({error}); the month stays open") from error


@contextmanager
def built(database: Path, part: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A new, empty file at *part* with the tables of a database, and *database* as `live` beside it, for reading.

    Nothing half-written is left behind at *part*.
    """
    removed(part)
    db = connect(part)
    try:
        db.execute(f"PRAGMA page_size={PAGE_SIZE}")
        db.execute("PRAGMA journal_mode=OFF").fetchall()  # a part that is cut short is thrown away
        db.execute("PRAGMA synchronous=OFF")
        db.execute("ATTACH DATABASE ? AS live", (f"file:{quoted(database)}?mode=ro",))
        db.execute("BEGIN")
        for statement in (SCHEMA.strip() + SEALS.rstrip() + WAITING.rstrip()).removesuffix(";").split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        yield part, db
    except BaseException:
        db.close()
        removed(part)
        raise
    db.close()


def fill(db: sqlite3.Connection, piece: Piece, *, open_end: bool = False) -> None:
    """Copy the rows of *piece* from `live` into main; with *open_end* all behind it, and the delivery state."""
    reach, upto = piece.before.upto, piece.after.upto
    for table in EXPLAINS:
        limit = f" WHERE id <= {upto.get(table, 0)}" if table in ("series", "clock") and not open_end else ""
        db.execute(f"INSERT INTO main.{table} SELECT * FROM live.{table}{limit}")
    for table in NUMBERED:
        _copy(db, table, reach.get(table, 0), None if open_end else upto.get(table, 0))
    for (platform,) in db.execute("SELECT id FROM live.platform ORDER BY id").fetchall():
        low, name = platform << SEQUENCE_BITS, f"message {platform}"
        last = (1 << SEQUENCE_BITS) - 1 if open_end else upto.get(name, 0)
        _copy(db, "message", low + reach.get(name, 0), low + last)
    _copy(db, "missed", piece.missed_before, None if open_end else piece.missed)
    _copy(db, "seal", piece.before.epoch, None if open_end else piece.after.epoch, "epoch")
    first, last = reach.get("reading", 0), 1 << 62 if open_end else upto.get("reading", 0)
    db.execute("INSERT INTO main.late SELECT * FROM live.late WHERE reading > ? AND reading <= ?", (first, last))
    # An hour may begin behind the cut without a reading since: the last number belongs to the next piece.
    db.execute("INSERT INTO main.tick SELECT * FROM live.tick WHERE reading >= ? AND reading < ?", (first, last))


def _copy(db: sqlite3.Connection, table: str, first: int, last: int | None, column: str = "id") -> None:
    db.execute(
        f"INSERT INTO main.{table} SELECT * FROM live.{table} WHERE {column} > ? AND {column} <= ? ORDER BY {column}",
        (first, 1 << 62 if last is None else last),
    )


def _put_piece(db: sqlite3.Connection, piece: Piece) -> None:
    one = piece
    db.execute(PIECE)
    db.execute(
        f"INSERT INTO piece({COLUMNS}) VALUES ({', '.join('?' * 12)})",
        (one.month, one.before.epoch, one.after.epoch, one.before.head, one.after.head,
         json.dumps(dict(one.before.upto)), json.dumps(dict(one.after.upto)), one.missed_before, one.missed,
         one.after.released, one.kept_from_ms, one.bad),
    )  # fmt: skip


# -- looking at one


def piece_of(query: Query) -> Piece | None:
    """What a file says that it holds; None for one that is no month file."""
    if not query("SELECT 1 FROM sqlite_schema WHERE name = 'piece'", ()):
        return None
    ((month, first, last, head_before, head, before, upto, missed_before, missed, released, kept, bad),) = query(
        f"SELECT {COLUMNS} FROM piece", ()
    )
    start = Origin(int(first), bytes(head_before), json.loads(before), int(released))
    end = Origin(int(last), bytes(head), json.loads(upto), int(released))
    return Piece(str(month), start, end, int(missed_before), int(missed), int(kept), int(bad))


def checked(path: Path) -> Piece:
    """Read the month file at *path* whole and walk its blocks; raise StoreError where anything speaks against it.

    A block that was bad in the database already is no fault of the file; what lies behind it has its hash alone.
    """
    with closing(connect(path, read_only=True)) as db:
        query = partial(rows_of, db, str(path))
        _readable(query, path)
        piece = piece_of(query)
        if piece is None:
            raise StoreError(f"{path}: is no file of a closed month")
        said = query("PRAGMA integrity_check(1)", ())[0][0]
        found = verify(query, kept_from_ms=piece.kept_from_ms, origin=piece.before)
        ends = (found.blocks, found.head) == (piece.after.epoch, piece.after.head)
        if said != "ok" or (found.bad or 0) != piece.bad or not (ends or piece.bad):
            bad = found.bad or found.blocks
            raise StoreError(f"{path}: is not as it was sealed (block {bad}; {said}); take the other copy of it")
    return piece


def _readable(query: Query, path: Path) -> None:
    version = int(query("PRAGMA user_version", ())[0][0])
    if version != SCHEMA_VERSION:
        raise StoreVersionError(f"{path}: has schema {version}, this version needs {SCHEMA_VERSION}")


def _is(path: Path, piece: Piece) -> bool:
    """Whether the file at *path*, which is on no record, is that of *piece* and sound."""
    try:
        found = checked(path)
    except StoreError as error:
        log.warning("%s", error)
        return False
    return (found.before.head, found.after.head) == (piece.before.head, piece.after.head)


def _counts(path: Path) -> dict[str, int]:
    """How many rows of each table a month file has."""
    with closing(connect(path, read_only=True)) as db:
        tables = (*NUMBERED, "message", "missed", "seal")
        counted = {one: int(db.execute(f"SELECT count(*) FROM {one}").fetchone()[0]) for one in tables}
    return {table: count for table, count in counted.items() if count}


def is_whole(path: Path, month: Month, *, read: bool) -> bool:
    """Whether *path* is the file of *month*: by its size, and with *read* by its hash."""
    try:
        if path.stat().st_size != month.size:
            return False
        return not read or digest_of(path) == month.sha256
    except OSError:
        return False


# -- two places


def brought(source: Path, target: Path, months: Sequence[Month]) -> list[Month]:
    """Have every one of *months* in the folders *source* and *target*; those that were copied, into either.

    What is there is known by its size; what is copied is read back from the disk.  Raise StoreError where a month is
    whole in neither.
    """
    copied = []
    for month in months:
        here, there = source / month.file, target / month.file
        if not is_whole(there, month, read=False):
            copied.append(_copied(here, there, month))
        elif not is_whole(here, month, read=False):
            log.warning("%s: is not whole; taken from %s", here, there)
            copied.append(_copied(there, here, month))
    return copied


def _copied(source: Path, target: Path, month: Month) -> Month:
    if not is_whole(source, month, read=True):
        raise StoreError(f"{source}: is not the file that is on record, and {target} is not whole either")
    part = target.with_suffix(".part")
    try:
        target.parent.mkdir(exist_ok=True)
        removed(part)
        shutil.copyfile(source, part)
        synced(part)
        if digest_of(part) != month.sha256:
            raise StoreError(f"{part}: is not what was read from {source}; try again, or another disk")
        with suppress(OSError):  # a FAT stick knows no modes
            part.chmod(0o440)
        part.replace(target)
        synced(target.parent)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written ({error.strerror}); {source.name} is not copied") from error
    finally:
        removed(part)
    return month


def digest_of(path: Path) -> str:
    """The SHA-256 of the file at *path*, from the disk where it can be had from there."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def removed(part: Path) -> None:
    """Nothing is left at *part*."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):
            part.with_name(part.name + suffix).unlink()


def synced(path: Path) -> None:
    """Have *path*, a file or a folder, on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def files(folder: Path) -> list[Path]:
    """The month files in *folder*, oldest first."""
    return sorted(path for path in folder.glob("*.db") if NAMED.fullmatch(path.name)) if folder.is_dir() else []
