"""The nightly copy beside month files: what came since the newest of them, what platforms are owed, and a list of them.

A tail, `station-20261130T120000Z.since-2026-10.db`, names each month file that it rests on with its hash; these lie in
`archive` beside it, or beside the database.  Put together, they are the database as it was.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from station.model import StoreError
from station.months import (
    EXPLAINS,
    FOLDER,
    NUMBERED,
    Month,
    Piece,
    body_of,
    built,
    fill,
    is_whole,
    of_bodies,
)
from station.seal import Origin, Query, verify
from station.store import PAGE_SIZE, SCHEMA, SCHEMA_VERSION, SEALS, SEQUENCE_BITS, WAITING, connect, quoted, rows_of

if TYPE_CHECKING:
    from station.backup import Copy

log = logging.getLogger(__name__)

BASE = "CREATE TABLE base(number INTEGER PRIMARY KEY, body TEXT NOT NULL)"  # 0 for the tail itself, then the months
STATE = ("rollup", "span", "seen")  # whole in a tail, and in it alone
PIECES = (*NUMBERED, "message", "missed", "late", "seal")


def write(
    database: Path, part: Path, months: Sequence[Month], kept_from_ms: int, tables: Sequence[str]
) -> dict[str, int]:
    """What *database* has beyond *months*, as it is committed now, into *part*; the last id of each of *tables*.

    Raise StoreError or sqlite3.Error where it cannot be had.
    """
    last = months[-1].piece
    open_piece = Piece("", last.after, Origin(), last.missed, 0)
    with built(database, part) as (_, db):
        ids = {one: int(db.execute(f"SELECT max(id) FROM live.{one}").fetchone()[0] or 0) for one in tables}
        fill(db, open_piece, open_end=True)
        for table in STATE:
            db.execute(f"INSERT INTO main.{table} SELECT * FROM live.{table}")
        db.execute("INSERT INTO main.sealing SELECT id, epoch, upto, head, NULL FROM live.sealing")  # never its key
        db.execute(BASE)
        released = "SELECT max(json_extract(body, '$.last')) FROM live.record WHERE kind = 'released'"
        (left,) = db.execute(released).fetchone()
        said = [{"kept_from_ms": kept_from_ms, "released": int(left or 0)}, *(body_of(one, {}) for one in months)]
        db.executemany("INSERT INTO base(number, body) VALUES (?, ?)", enumerate(map(json.dumps, said)))
        db.execute("COMMIT")
        db.execute("DETACH DATABASE live")
    return ids


def rests_on(query: Query) -> tuple[list[Month], Origin, int]:
    """The months that a file rests on, where its own blocks begin, and what may have left before (ms).

    Of a whole copy none, the beginning, and 0.
    """
    if not query("SELECT 1 FROM sqlite_schema WHERE name = 'base'", ()):
        return [], Origin(), 0
    own, *bodies = (json.loads(body) for (body,) in query("SELECT body FROM base ORDER BY number", ()))
    months = of_bodies(bodies)
    after = months[-1].piece.after
    return months, Origin(after.epoch, after.head, after.upto, own["released"]), int(own["kept_from_ms"])


def ends(upto: Mapping[str, int]) -> dict[str, int]:
    """The last id of each table of the record up to a block that goes to *upto*."""
    found = {table: last for table, last in upto.items() if " " not in table}
    platforms = [(int(name.partition(" ")[2]), last) for name, last in upto.items() if " " in name]
    found["message"] = max((((number << SEQUENCE_BITS) + last) for number, last in platforms if last), default=0)
    return found


def places(tail: Path, months: Sequence[Month], *others: Path, read: bool) -> list[Path]:
    """Where the files of *months* lie whole, beside *tail* or in *others*; raise StoreError for one that is nowhere."""
    found = []
    for month in months:
        paths = [folder / month.file for folder in (tail.parent / FOLDER, *others)]
        path = next((one for one in paths if is_whole(one, month, read=read)), None)
        if path is None:
            raise StoreError(f"{tail}: rests on {paths[0]}, which is not there whole; take another copy")
        found.append(path)
    return found


def pieces(copy: Copy) -> list[tuple[Path, int, int]]:
    """The files that *copy* is, each with the readings that are in it: behind the first number up to the second."""
    found, done = list[tuple[Path, int, int]](), 0
    for month in copy.months:
        last = month.piece.after.upto.get("reading", 0)
        found.append((copy.path.parent / FOLDER / month.file, done, last))
        done = last
    return [*found, (copy.path, done, copy.last_ids["reading"])]


def put_together(tail: Path, months: Sequence[Path], new: Path, kept_from_ms: int, known: Sequence[Month]) -> None:
    """The database that *tail* and the files of *months* are, at *new*, its blocks walked through; else StoreError.

    A block that was bad in the database already is no reason to have nothing: it is said.
    """
    try:
        with closing(connect(new)) as db:
            db.execute(f"PRAGMA page_size={PAGE_SIZE}")
            db.execute("PRAGMA journal_mode=OFF").fetchall()
            db.execute("PRAGMA synchronous=OFF")
            for statement in (SCHEMA.strip() + SEALS.rstrip() + WAITING.rstrip()).removesuffix(";").split(";\n"):
                db.execute(statement)
            for path in (*months, tail):
                _added(db, path, newest=path == tail)
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        with closing(connect(new, read_only=True)) as db:
            query = partial(rows_of, db, str(new))
            said, found = query("PRAGMA integrity_check(1)", ())[0][0], verify(query, kept_from_ms=kept_from_ms)
    except sqlite3.Error as error:
        raise StoreError(f"{new}: cannot be put together ({error}); the database is as it was") from error
    inherited = found.bad is not None and (found.bad > known[-1].piece.after.epoch or _was_bad(known, found.bad))
    if said != "ok" or not (found.sound or inherited):
        raise StoreError(
            f"{tail}: with its months does not make the record that was sealed (block {found.bad}, {said}); "
            "the database is as it was, take another copy"
        )
    if inherited:
        log.warning("%s: block %s was not as it was sealed when the copy was taken; station verify says more", tail,
                    found.bad)  # fmt: skip


def _was_bad(known: Sequence[Month], block: int) -> bool:
    return any(month.piece.bad == block for month in known)


def _added(db: sqlite3.Connection, path: Path, *, newest: bool) -> None:
    db.execute("ATTACH DATABASE ? AS one", (f"file:{quoted(path)}?mode=ro&immutable=1",))
    db.execute("BEGIN")
    if db.execute("PRAGMA one.user_version").fetchone()[0] != SCHEMA_VERSION:
        raise StoreError(f"{path}: is of another version than this one; restore it with the version that made it")
    for table in EXPLAINS:
        db.execute(f"INSERT OR REPLACE INTO main.{table} SELECT * FROM one.{table}")
    for table in (*PIECES, *(STATE if newest else ())):
        db.execute(f"INSERT INTO main.{table} SELECT * FROM one.{table}")
    db.execute("INSERT OR IGNORE INTO main.tick SELECT * FROM one.tick")
    db.execute("INSERT INTO main.sealing SELECT * FROM one.sealing")
    db.execute("COMMIT")
    db.execute("DETACH DATABASE one")
