"""A database that is damaged: put aside as it is, replaced by the newest copy, filled up with what can still be read.

Rows keep their numbers, so a copy and the damaged file fit into one another.  Reading goes by ranges of numbers,
halved where they cannot be read, newest first; each number that cannot be read is counted.  SQLite's own `.recover`
is missing from the shells of some distributions (Debian 12), and no command of theirs runs in a cabinet at night.
SQLite keeps no checksums: bytes that changed within a page and still make a row are not noticed here.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.clock import to_ms
from station.model import StoreError, asdict, dataclass, field
from station.sealing import forget_key
from station.store import PAGE_SIZE, SEQUENCE_BITS, Event, Store, connect, suspect, unclean
from station.timekeeping import READINGS as DATED_READINGS
from station.timekeeping import RECORDS as DATED_RECORDS

if TYPE_CHECKING:
    from station.config import Loaded

log = logging.getLogger(__name__)

STATE = (
    "boot", "clock", "series", "rollup", "schedule", "setting", "seen", "tick", "late", "platform", "span", "seal",
    "sealing",
)  # fmt: skip
IN_PIECES = ("setting", "tick", "late", "seal")  # of STATE: a month file has its own rows of these
# The smaller ones first.
APPENDED = ("message", "average", "record", "event", "missed", "waiting_record", "waiting", "reading")
BLOCK = 5000  # numbers read at once
LEAPS = tuple(1 << power for power in range(32, -1, -1))  # how far apart rows are looked for behind a lost page
SECONDS = 30.0  # that a start may spend on it: the station is to measure again within a minute
OWED_AGAIN = timedelta(days=31)  # what platforms get once more when it cannot be read what they are owed
TEXTS = ("body", "arguments", "coefficients")  # columns of JSON
TYPES: dict[str, tuple[type, ...]] = {"INTEGER": (int,), "TEXT": (str,), "REAL": (int, float), "BLOB": (bytes,)}


@dataclass(slots=True)
class Salvaged:
    """What came over, by table: rows written, numbers that could not be read, rows that were there already."""

    rows: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    there: dict[str, int] = field(default_factory=dict)
    open_ended: list[str] = field(default_factory=list)  # tables whose end cannot be read: what came there is not known
    renumbered: dict[str, int] = field(default_factory=dict)  # events that had the number of another: the new one
    unfinished: bool = False  # the time was over before the oldest numbers


def is_sound(database: Path) -> bool:
    """Whether the whole of *database* can be read; takes about a minute a GB on an SD card (not measured on a Pi)."""
    try:
        with closing(connect(database, read_only=True)) as db:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except (StoreError, sqlite3.Error):
        return False


def recover(loaded: Loaded, now: datetime, monotonic: Callable[[], float] = time.monotonic) -> Path:
    """Replace the damaged database of *loaded*; where it lies now.  Whoever calls this owns the data folder.

    The newest copy in `[backup] folder` that reads back and has the same past takes its place, or an empty database;
    rows of the damaged one follow for SECONDS.  What came of it is an event.  What it is about to do stands in the
    file `suspect` first, so that a cut at any step is gone on with.  Raise StoreError when the disk refuses.
    """
    database = loaded.database
    damaged, copy = begun(database)
    if damaged is None:
        damaged = _bad_name(database, now)
        _note(database, damaged.name)
    if not damaged.exists():
        put_aside(database, damaged)
        log.error("%s: is damaged; kept as %s", database, damaged.name)
    elif database.exists() and not is_sound(database):
        put_aside(database, _bad_name(database, now))  # what the cut left of the new one
    if not database.exists():
        copy = _newest_copy(loaded, damaged, now)
    with closing(Store.open(database)) as store:
        found = salvage(damaged, store, now, deadline=monotonic() + SECONDS, monotonic=monotonic)
        months = [] if copy else _from_months(loaded, store, now, found, monotonic() + SECONDS, monotonic)
        said: dict[str, Any] = {"file": damaged.name, "copy": copy, **plain(found)}
        said |= {"months": months} if months else {}
        with store.transaction():
            store.add_events([Event(now, "database_damaged", said)])
    forget_key(damaged)
    suspect(database).unlink()
    log.error(
        "%s: goes on with %s; %d rows came over, %d could not be read%s",
        database, f"the copy {copy}" if copy else "an empty database", sum(found.rows.values()),
        sum(found.lost.values()),
        f"; older ones are left: stop the station and run: station salvage {damaged}" if found.unfinished else "",
    )  # fmt: skip
    return damaged


def _from_months(
    loaded: Loaded, store: Store, now: datetime, found: Salvaged, deadline: float, monotonic: Callable[[], float]
) -> list[str]:
    """Where there is no copy: what the files of closed months beside the database have and *store* lacks, newest first.

    Their names; *found* says where the time was over.  Read are those whose blocks hold, of the same past.
    """
    from station.months import FOLDER, checked, files

    names = []
    for path in reversed(files(loaded.data_folder / FOLDER)):
        if monotonic() > deadline:
            found.unfinished = True
            break
        try:
            checked(path)
            if parted(path, loaded.database):
                log.warning("%s: went another way than the database; not used", path)
                continue
        except StoreError as error:
            log.warning("%s", error)
            continue
        brought = salvage(path, store, now, deadline=deadline, monotonic=monotonic)
        with closing(connect(path, read_only=True)) as db:
            for table in IN_PIECES:
                _bring(db, store, table, brought)
        for table, count in brought.rows.items():
            found.rows[table] = found.rows.get(table, 0) + count
        names.append(path.stem)
    return names


def begun(database: Path) -> tuple[Path | None, str | None]:
    """Where a recovery of *database* that was cut short puts the damaged file, and the copy it took."""
    try:
        name, _, copy = suspect(database).read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        name = copy = ""
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{suspect(database)}: cannot be read ({error}); remove it and start again") from error
    ours = name.startswith(f"{database.name}.bad-") and "/" not in name
    return (database.with_name(name) if ours else None), copy or None


def _note(database: Path, damaged: str, copy: str = "") -> None:
    """Have it on the disk what is about to be done."""
    from station.backup import synced

    note = suspect(database)
    new = note.with_name(f"{note.name}.new")
    try:
        new.write_text(f"{damaged}\n{copy}", encoding="utf-8")
        synced(new)
        new.replace(note)
        synced(note.parent)
    except OSError as error:
        raise StoreError(f"{note}: cannot be written ({error.strerror}); the damaged database is as it was") from error


def _bad_name(database: Path, now: datetime) -> Path:
    return database.with_name(f"{database.name}.bad-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")


def put_aside(database: Path, bad: Path) -> None:
    """Rename *database* and its log to *bad*."""
    try:
        for suffix in ("-wal", "-shm", ""):  # the log first: it must not meet a new database
            part = database.with_name(database.name + suffix)
            if part.exists():
                part.rename(bad.with_name(bad.name + suffix))
        unclean(database).unlink(missing_ok=True)  # what takes its place has no log to miss
    except OSError as error:
        raise StoreError(f"{database}: is damaged and cannot be put aside ({error.strerror})") from error


def _newest_copy(loaded: Loaded, damaged: Path, now: datetime) -> str | None:
    """Put the newest copy that fits in the place of the database; its name, None where there is none."""
    from station.backup import check, copies, restore

    if not loaded.config.backup.folder:
        return None
    for path in reversed(copies(loaded.folder / loaded.config.backup.folder)):
        try:
            copy = check(path)
            if parted(damaged, path):
                log.warning("%s: went another way than %s; not used", path, damaged.name)
                continue
            _note(loaded.database, damaged.name, path.name)
            restore(copy, loaded.database, now)
        except (StoreError, OSError) as error:
            log.warning("%s", error)
        else:
            return path.name
    _note(loaded.database, damaged.name)
    return None


def parted(damaged: Path, other: Path) -> bool:
    """Whether the two files went different ways: rows of one number that are different ones.

    Looked at are all series, and the newest reading and average that both can have, as far as they can be read: where
    a station went on from an older copy, they are others.
    """
    try:
        old = connect(damaged, read_only=True, damaged=True)
    except StoreError:
        return False  # of a file without a schema nothing comes over
    with closing(old), closing(connect(other, read_only=True)) as new:
        return _series_differ(old, new) or any(_newest_differ(old, new, one) for one in ("reading", "average"))


def _series_differ(old: sqlite3.Connection, new: sqlite3.Connection) -> bool:
    known = {row[0]: tuple(row) for row in new.execute("SELECT * FROM series")}
    rows: list[Any] = []
    for number in known:
        with suppress(sqlite3.Error, UnicodeDecodeError):
            rows += old.execute("SELECT * FROM series WHERE id = ?", (number,)).fetchall()
    return any(known[row[0]] != tuple(row) for row in rows)


def _newest_differ(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> bool:
    (last,) = new.execute(f"SELECT max(id) FROM {table}").fetchone()
    ask = f"SELECT * FROM {table} WHERE id <= ? ORDER BY id DESC LIMIT 1"
    with suppress(sqlite3.Error, UnicodeDecodeError):
        row = old.execute(ask, (last or 0,)).fetchone()
        here = row and new.execute(f"SELECT * FROM {table} WHERE id = ?", (row[0],)).fetchone()
        return bool(here) and tuple(here) != tuple(row)
    return False


def salvage(
    damaged: Path,
    store: Store,
    now: datetime,
    *,
    deadline: float = float("inf"),
    monotonic: Callable[[], float] = time.monotonic,
) -> Salvaged:
    """Bring over into *store* what it lacks and *damaged* still holds, newest first, until *deadline*.

    State (what platforms are owed, settings) is only taken into a store that is not ahead of the damaged one.
    """
    found = Salvaged()
    _whole_pages(damaged)
    try:
        source = connect(damaged, read_only=True, damaged=True)
    except StoreError as error:
        log.warning("%s", error)
        found.lost["database"] = 1
        return found
    with closing(source) as db:
        behind = store.newest("reading") <= _last(db, "reading", 0)[0]
        for table in STATE if behind else ("boot", "clock", "series"):
            _bring(db, store, table, found, replace=behind)
        for table in APPENDED:
            for low in _floors(db, table):
                _bring(db, store, table, found, low=low, late=lambda: monotonic() > deadline, sealed=behind)
    unknown = {*found.lost, *found.open_ended}
    if behind and unknown & {"span", "platform"}:
        _owe_again(store, now)
    if behind and "setting" in unknown:  # how far what waited was dated is not known: nothing is dated twice
        with store.transaction():
            done = {DATED_READINGS: store.newest("waiting"), DATED_RECORDS: store.newest("waiting_record")}
            store.remember("", {key: str(number) for key, number in done.items()}, now, "salvage")
    return found


def _whole_pages(damaged: Path) -> None:
    """Half a page at the end would be read as one of zeros: it goes into a file of its own."""
    if not damaged.exists():
        return  # somebody took it away; that nothing can be read of it is said below
    size = damaged.stat().st_size
    if rest := size % PAGE_SIZE:
        with damaged.open("r+b") as file:
            file.seek(size - rest)
            damaged.with_name(f"{damaged.name}-tail").write_bytes(file.read())
            file.truncate(size - rest)


def _bring(
    db: sqlite3.Connection, store: Store, table: str, found: Salvaged, *, low: int = 0, replace: bool = False,
    late: Callable[[], bool] = lambda: False, sealed: bool = True,
) -> None:  # fmt: skip
    """Rows of *table* numbered from *low* on, one transaction a block; *sealed* if the seals came over too."""
    shape = store.query(f"PRAGMA table_info({table})")
    keyed = table != "late"  # the one table without numbers
    columns = (["rowid"] if keyed and not any(row[5] and row[1] == "id" for row in shape) else []) + [
        r[1] for r in shape
    ]
    if table == "span" and replace:
        with store.transaction() as new:
            new.execute("DELETE FROM span")
    how = "REPLACE" if replace else "IGNORE"
    put = f"INSERT OR {how} INTO {table}({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    if keyed and not _last(db, table, low)[1] and table not in found.open_ended:
        found.open_ended.append(table)
    rows = _rows(db, table, columns, low) if keyed else _all(db, table, columns)
    for block, lost in rows:
        sound = [row for row in block if _plausible(row, columns, shape)]
        with store.transaction() as new:
            before = new.execute("SELECT total_changes()").fetchone()[0]
            new.executemany(put, sound)
            written = new.execute("SELECT total_changes()").fetchone()[0] - before
            if table == "event" and written < len(sound):
                written += _keep_both(db, new, sound, found, sealed=sealed)
        for counts, more in (
            (found.rows, written), (found.lost, lost + len(block) - len(sound)), (found.there, len(sound) - written),
        ):  # fmt: skip
            if more > 0:
                counts[table] = counts.get(table, 0) + more
        if late():
            found.unfinished = True
            return


def _keep_both(
    db: sqlite3.Connection, new: Any, events: Sequence[tuple[Any, ...]], found: Salvaged, *, sealed: bool
) -> int:
    """Inside a transaction: of two events with one number one is told again under a new number; how many came over.

    A copy that was restored has an event of that, under the number of what came in the former file behind the copy.
    The one whose number is in the seals that hold now keeps it: the damaged file's if they came over from there.
    """
    low, high = min(row[0] for row in events), max(row[0] for row in events)
    here = {row[0]: tuple(row) for row in new.execute("SELECT * FROM event WHERE id BETWEEN ? AND ?", (low, high))}
    came = 0
    for row in events:
        if (own := here.get(row[0], row)) == row:
            continue
        if new.execute("SELECT 1 FROM event WHERE (at_ms, code, arguments) = (?, ?, ?)", row[1:]).fetchone():
            continue  # it was brought over before
        number = 1 + max(new.execute("SELECT max(id) FROM event").fetchone()[0], _last(db, "event", 0)[0])
        moved = own if sealed else row
        if sealed:
            new.execute("UPDATE event SET at_ms = ?, code = ?, arguments = ? WHERE id = ?", (*row[1:], row[0]))
        new.execute("INSERT INTO event(id, at_ms, code, arguments) VALUES (?, ?, ?, ?)", (number, *moved[1:]))
        found.renumbered[f"{moved[2]} {row[0]}"] = number
        came += 1
    return came


def _rows(
    db: sqlite3.Connection, table: str, columns: Sequence[str], low: int
) -> Iterator[tuple[list[tuple[Any, ...]], int]]:
    """Blocks of rows of *table* with numbers from *low* on (a platform's messages: its own), newest first.

    With each block comes how many numbers could not be read since the one before.
    """
    names, number = ", ".join(columns), columns[0]
    ask = f"SELECT {names} FROM {table} WHERE {number} BETWEEN ? AND ? ORDER BY {number} DESC"
    last, _ = _last(db, table, low)
    waiting, lost = [(low, last)], 0
    while waiting:
        first, last = waiting.pop()
        half = (first + last) // 2
        if last - first >= BLOCK:
            waiting += [(first, last - BLOCK), (last - BLOCK + 1, last)]
            continue
        try:
            block = [tuple(row) for row in db.execute(ask, (first, last))]
        except (sqlite3.Error, UnicodeDecodeError):
            if first < last:
                waiting += [(first, half), (half + 1, last)]
            else:
                lost += 1
            continue
        if block or lost:
            yield block, lost
            lost = 0
    if lost:
        yield [], lost


def _all(db: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[tuple[list[tuple[Any, ...]], int]]:
    """The rows of a small table without numbers, or one lost."""
    try:
        yield [tuple(row) for row in db.execute(f"SELECT {', '.join(columns)} FROM {table}")], 0
    except (sqlite3.Error, UnicodeDecodeError):
        yield [], 1


def _floors(db: sqlite3.Connection, table: str) -> list[int]:
    """Where the numbers of *table* begin: once, and for messages once a platform, newest platform first."""
    if table != "message":
        return [0]
    found, floor = [], 0
    with suppress(sqlite3.Error):
        while (row := db.execute("SELECT min(id) FROM message WHERE id >= ?", (floor,)).fetchone()) and row[0]:
            platform = row[0] >> SEQUENCE_BITS
            found.append(platform << SEQUENCE_BITS)
            floor = (platform + 1) << SEQUENCE_BITS
    return found[::-1]


def _last(db: sqlite3.Connection, table: str, low: int) -> tuple[int, bool]:
    """The largest number of *table* that can be read, *low* or above, and whether the table ends there.

    Of messages only those of one platform, whose first number is *low*.
    """
    high = low + (1 << SEQUENCE_BITS) - 1
    with suppress(sqlite3.Error):
        found = db.execute(f"SELECT max(rowid) FROM {table} WHERE rowid BETWEEN ? AND ?", (low, high)).fetchone()[0]
        return (low if found is None else int(found)), True
    known = low  # the end cannot be read: leap as far as something can, then in shorter leaps
    ask = f"SELECT max(rowid) FROM (SELECT rowid FROM {table} WHERE rowid BETWEEN ? AND ? LIMIT 1)"
    while True:
        for leap in LEAPS:
            with suppress(sqlite3.Error):
                found = db.execute(ask, (known + leap, high)).fetchone()[0]
                if found is not None:
                    known = int(found)
                    break
        else:
            return known, False


def _plausible(row: Sequence[Any], columns: Sequence[str], shape: Sequence[Sequence[Any]]) -> bool:
    """Whether every value is of the type that its column was written with."""
    kinds = {name: (kind, bool(must) or bool(key)) for _, name, kind, must, _, key in shape}
    for name, value in zip(columns, row, strict=True):
        kind, must = kinds.get(name, ("INTEGER", True))
        if value is None:
            if must:
                return False
            continue
        if not isinstance(value, TYPES[kind]):
            return False
        if isinstance(value, str) and "\0" in value:
            return False
        if name in TEXTS:
            try:
                json.loads(str(value))
            except ValueError:
                return False
    return True


def _owe_again(store: Store, now: datetime) -> None:
    """Nobody knows what platforms are owed: the messages of the last OWED_AGAIN go once more, with their identity."""
    since = to_ms(now - OWED_AGAIN)
    with store.transaction() as db:
        for number, live in db.execute("SELECT id, live FROM platform").fetchall():
            low = number << SEQUENCE_BITS
            first = db.execute(
                "SELECT min(id) FROM message WHERE id BETWEEN ? AND ? AND start_ms >= ?",
                (low, low + (1 << SEQUENCE_BITS) - 1, since),
            ).fetchone()[0]
            if first is not None and first <= live:
                db.execute("UPDATE platform SET live = ? WHERE id = ?", (first - 1, number))


def plain(found: Salvaged) -> dict[str, Any]:
    """*found* for an event or a table."""
    return asdict(found)
