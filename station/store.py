"""The station's SQLite file: readings, averages, reported texts, delivery state, events.

Readings, averages, messages and events are appended and never updated; what is learnt later stands
beside them.  All writes go through `Store.transaction`.  Only `execute`, `executemany` and explicit
BEGIN/COMMIT are used on the connection, so that a test may hand in one that cuts the power.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock
from typing import Any

from station.clock import from_ms, to_ms
from station.model import (
    Average,
    Command,
    Kind,
    Mark,
    Message,
    Reading,
    Reason,
    Record,
    Report,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreVersionError,
    dataclass,
)

log = logging.getLogger(__name__)

BUSY_MS = 5000  # how long one connection waits for another
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
UNSURE = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)  # the file is opened anew after these
GROWING = ("reading", "average", "event", "record", "message", "missed", "clock", "schedule", "setting", "seen")
FULL = ": the disk is full; free some space, nothing stored is lost"
SHARED_MEMORY = 65536  # bytes; a reader of a write-ahead log makes its index of blocks of 32 KiB
SCHEMA_VERSION = 5
PAGE_SIZE = 1024  # measured with the whole flow: tests/bench/bench_store.py prints both sizes
PURGE_CHUNK = 5000
SEALING = "SELECT id, epoch, CAST(upto AS BLOB), head, key FROM sealing"  # as bytes: damage there stops no commit
READ_BACK = 1000  # newest rows of each table that are read after an I/O error, before anything is written
# Records that outlive [retention]: coefficients in force would be those of station.toml again, and what lies in the
# files of closed months could not be told (station/months.py).  What lies in bottles is evidence, for as long as it is.
KEPT = "'calibration', 'month', 'released', 'resiting', 'bottle', 'kept_sample', 'bottles_collected'"
MOST_SEEN = 1024  # identities of commands kept for each platform
LONGEST_WALK = 50_000  # messages looked through for one of a kind: more than lie between two days' reports
LATE_HOURS = 3  # a reading stored so many hours behind its own is listed apart, so that the others have a last id
NO_CEILING = 1 << 62
NEAR = timedelta(hours=2)  # how far back a value that was stored late is looked for
LATEST_MANY = 10_000  # readings: more than come in the minute that a step of the clock cuts off
LATEST_FEW = 8  # of a series: the newest by time is among the last few stored, late ones included
SEQUENCE_BITS = 40  # a message's id is platform << 40 | sequence, so one platform's ids are contiguous

# One statement a line of thought; integers throughout, since a reading has 30 bytes to live in.
SCHEMA = """
CREATE TABLE boot(id INTEGER PRIMARY KEY, kernel TEXT NOT NULL UNIQUE);
CREATE TABLE clock(id INTEGER PRIMARY KEY, boot INTEGER NOT NULL, mono_ms INTEGER NOT NULL,
  offset_ms INTEGER NOT NULL, trust TEXT NOT NULL, first_reading INTEGER NOT NULL);
CREATE TABLE series(id INTEGER PRIMARY KEY, boot INTEGER NOT NULL, device TEXT NOT NULL, point TEXT NOT NULL,
  parameter TEXT NOT NULL, coefficients TEXT NOT NULL, config TEXT NOT NULL,
  UNIQUE(boot, device, point, parameter, coefficients, config));
CREATE TABLE reading(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  raw REAL, value REAL, mark INTEGER NOT NULL);
CREATE TABLE missed(id INTEGER PRIMARY KEY, device TEXT NOT NULL, reason INTEGER NOT NULL,
  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, count INTEGER NOT NULL);
CREATE TABLE average(id INTEGER PRIMARY KEY, point TEXT NOT NULL, kind INTEGER NOT NULL, start_ms INTEGER NOT NULL,
  version INTEGER NOT NULL, body TEXT NOT NULL, UNIQUE(point, kind, start_ms, version));
CREATE TABLE platform(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, live INTEGER NOT NULL,
  tried INTEGER NOT NULL, reserved INTEGER NOT NULL, answered INTEGER NOT NULL, unconfirmed INTEGER NOT NULL,
  resupplied INTEGER NOT NULL, dropped INTEGER NOT NULL);
CREATE TABLE message(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, point TEXT NOT NULL, start_ms INTEGER NOT NULL,
  version INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX message_later ON message(start_ms) WHERE version > 1;
CREATE TABLE rollup(platform TEXT NOT NULL, month TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY(platform, month));
CREATE TABLE span(platform INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, state INTEGER NOT NULL,
  kinds INTEGER NOT NULL, tries INTEGER NOT NULL, next_try_ms INTEGER NOT NULL, reason TEXT NOT NULL,
  sent INTEGER NOT NULL);
CREATE TABLE schedule(id INTEGER PRIMARY KEY, platform INTEGER NOT NULL, point TEXT NOT NULL, kind INTEGER NOT NULL,
  from_ms INTEGER NOT NULL, interval_seconds INTEGER NOT NULL);
CREATE TABLE setting(id INTEGER PRIMARY KEY, platform TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
  at_ms INTEGER NOT NULL, who TEXT NOT NULL);
CREATE TABLE seen(id INTEGER PRIMARY KEY, platform TEXT NOT NULL, point TEXT NOT NULL, verb TEXT NOT NULL,
  subject TEXT NOT NULL, identity TEXT NOT NULL, issued_ms INTEGER, at_ms INTEGER NOT NULL);
CREATE TABLE tick(hour INTEGER PRIMARY KEY, reading INTEGER NOT NULL, average INTEGER NOT NULL);
CREATE TABLE late(at_ms INTEGER NOT NULL, reading INTEGER NOT NULL, PRIMARY KEY(at_ms, reading)) WITHOUT ROWID;
CREATE TABLE event(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, code TEXT NOT NULL, arguments TEXT NOT NULL);
CREATE TABLE record(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_ms INTEGER NOT NULL, point TEXT NOT NULL,
  device TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX record_kind ON record(kind, at_ms);
"""
SEALS = """
CREATE TABLE seal(epoch INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, more TEXT NOT NULL, digest BLOB NOT NULL,
  tag BLOB NOT NULL);
CREATE TABLE sealing(id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, upto TEXT NOT NULL,
  head BLOB NOT NULL, key BLOB);
"""

# What is measured while nobody knows the time: on the monotonic clock of its boot, until the clock table says more.
WAITING = """
CREATE TABLE waiting(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, mono_ms INTEGER NOT NULL,
  raw REAL, value REAL, mark INTEGER NOT NULL);
CREATE TABLE waiting_record(id INTEGER PRIMARY KEY, boot INTEGER NOT NULL, mono_ms INTEGER NOT NULL,
  kind TEXT NOT NULL, point TEXT NOT NULL, device TEXT NOT NULL, body TEXT NOT NULL);
"""

Query = Callable[[str, Sequence[Any]], Sequence[Any]]

NOTHING_RARE: tuple[Any, ...] = (0, 0, None, None)  # of an average: parts, indicative, load, converted
# The points that have averages, found by steps through the index: a query by kind alone would walk through all of it.
POINTS = """(WITH RECURSIVE p(point) AS (SELECT min(point) FROM average UNION ALL
  SELECT (SELECT min(point) FROM average WHERE point > p.point) FROM p WHERE p.point IS NOT NULL)
  SELECT point FROM p WHERE point IS NOT NULL)"""
TRUSTED = "trust NOT IN ('none', 'rtc')"  # of rows of the clock table: by somebody else's clock
READING = "INSERT INTO reading(series, at_ms, raw, value, mark) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Series:
    """What a reading's small integer stands for."""

    device: str
    point: str
    parameter: str
    coefficients: tuple[float, float] = (1.0, 0.0)
    config: str = ""  # digest of the settings that shaped the readings


@dataclass(frozen=True, slots=True)
class Miss:
    """Polls of one device that gave nothing, for one reason, in one commit interval."""

    device: str
    reason: Reason
    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, by code; the words an operator reads are made from code and arguments."""

    at: datetime
    code: str
    arguments: Mapping[str, Any]


def connect(
    path: Path, *, read_only: bool = False, damaged: bool = False, immutable: bool = False
) -> sqlite3.Connection:
    """A connection to the database at *path*, in autocommit mode, with a small cache.

    With *damaged* also one to a file that is shorter than it says of itself; with *immutable* to one that nobody
    writes and that has no log, in a folder where no index can be made.
    """
    uri = f"file:{quoted(path)}?mode={'ro' if read_only else 'rwc'}{'&immutable=1' if immutable else ''}"
    try:
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000
        )
        if damaged:
            connection.execute("PRAGMA writable_schema=ON")  # else SQLite reads no page of such a file
        connection.execute("PRAGMA cache_size=-256")
        if read_only:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        raise refused(path, error) from error
    return connection


def suspect(database: Path) -> Path:
    """The file whose presence says that a station met damage in *database*."""
    return database.with_name(f"{database.name}.suspect")


def unclean(database: Path) -> Path:
    """The file that stands beside *database* from its opening until it was closed in order."""
    return database.with_name(f"{database.name}.open")


def quoted(path: Path) -> str:
    """*path* as it stands in a URI."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def refused(path: Path, error: Exception) -> StoreError:
    """What SQLite's *error* means: StoreDamaged where the file is not what it was, StoreFull where there is no room."""
    code, advice = getattr(error, "sqlite_errorcode", 0) & 0xFF, _advice(path, error)
    if code in DAMAGED:
        return StoreDamaged(advice)
    return StoreFull(advice) if code == sqlite3.SQLITE_FULL or advice.endswith(FULL) else StoreError(advice)


def _advice(path: Path, error: Exception) -> str:
    """One sentence that says what could not be done, where, and what to do."""
    said = str(error)
    if "full" in said or ("disk I/O" in said and _is_full(path.parent)):
        return f"{path}{FULL}"
    if "readonly" in said or "read-only" in said:
        return f"{path}: is read-only; remount the data folder writable and check who owns it"
    if "unable to open" in said:
        return f"{path}: cannot be opened; the folder must exist and be writable for this user"
    if "not a database" in said or "malformed" in said:
        return f"{path}: is damaged ({said}); keep the file, restore the newest backup"
    return f"{path}: {said}"


def _is_full(folder: Path) -> bool:
    """Whether there is not even room for the page of shared memory that every reader needs."""
    try:
        return os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize < SHARED_MEMORY
    except OSError:
        return False


def _json(said: Mapping[str, Any]) -> str:
    """*said* as it is stored; bytes that were no text as escapes, for SQLite refuses them."""
    text = json.dumps(dict(said), ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(dict(said), default=str)
    return text


def rows_of(connection: Any, where: str, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Rows of a SELECT by any connection to the database at *where*; StoreError where they cannot be had."""
    try:
        return list(connection.execute(sql, parameters))
    except sqlite3.Error as error:
        raise refused(Path(where), error) from error


def check_folder(folder: Path) -> None:
    """Raise StoreError unless *folder* exists (it is made if need be) and can be written."""
    probe = folder / ".write-test"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(8192))
        probe.unlink()
    except OSError as error:
        probe.unlink(missing_ok=True) if error.errno == errno.ENOSPC else None
        what = {errno.ENOSPC: "is full; free some space", errno.EROFS: "is read-only; remount it writable"}
        advice = what.get(error.errno or 0, f"cannot be written ({error.strerror}); check who owns it")
        raise StoreError(f"{folder}: the data folder {advice}") from error


class Store:
    """The database, through one connection and one lock.

    *connection* is injected; *where* names it in messages.  *opener* makes another one: after an error of
    reading, writing or syncing nothing goes on through the connection that met it.
    """

    def __init__(
        self,
        connection: Any,
        where: str = "store",
        *,
        page_size: int = PAGE_SIZE,
        opener: Callable[[], Any] | None = None,
    ) -> None:
        self._connection, self._opener = connection, opener
        self._unsure = False  # an I/O error came: what the file holds is looked at before the next write
        self._committed: tuple[int, ...] = ()  # last ids of GROWING that are known to be durable
        self._sealing: list[Any] = []  # and the state of the seals
        self._marker: Path | None = None
        self._lock = RLock()
        self.where = where
        self._series: dict[Series, int] = {}
        self._names: dict[int, Series] = {}
        self.boot = 0
        try:
            self._prepare(page_size)
            self._committed, self._sealing = self._ends(), list(self._connection.execute(SEALING))
        except sqlite3.Error as error:
            raise refused(Path(where), error) from error

    @classmethod
    def open(cls, path: Path) -> Store:
        """The store in the file at *path*, made if it is not there."""
        check_folder(path.parent)
        log_missing = unclean(path).exists() and path.exists() and not path.with_name(f"{path.name}-wal").exists()
        store = cls(connect(path), str(path), opener=lambda: connect(path))
        if log_missing:
            store.say_log_is_missing()
        with suppress(OSError):  # a full disk keeps nobody from opening it
            unclean(path).touch()
            store._marker = unclean(path)
        return store

    def say_log_is_missing(self) -> None:
        """On record: nobody let go of the file in order, and the log that he left behind is not there."""
        log.error(
            "%s: was not closed in order and its log (%s-wal) is missing: what was committed last may be gone; where"
            " the file was copied from elsewhere, copy the log with it",
            self.where, Path(self.where).name,
        )  # fmt: skip
        newest = self.newest_time()
        said = {"file": Path(self.where).name, "newest": newest.isoformat() if newest else None}
        with self.transaction():
            self.add_events([Event(datetime.now(UTC), "log_missing", said)])

    def _prepare(self, page_size: int) -> None:
        """Fix page size, journal and sync on a new file; on any file read them back and refuse others."""
        version = self._one("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise StoreVersionError(
                f"{self.where}: was written by a newer version (schema {version}, this one knows "
                f"{SCHEMA_VERSION}); install that version again, the file is unchanged"
            )
        new = version == 0 and self._one("SELECT count(*) FROM sqlite_schema") == 0
        if version < SCHEMA_VERSION and not new:
            raise StoreVersionError(
                f"{self.where}: was written by an older version (schema {version}); "
                "run: station migrate --config station.toml"
            )
        if not new and self._one("PRAGMA query_only"):
            return  # nothing will be written through it, however the file is kept
        if new:
            self._connection.execute(f"PRAGMA page_size={page_size}")
        self._connection.execute("PRAGMA journal_mode=WAL").fetchall()
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA secure_delete=ON").fetchall()  # an erased key of the seals is gone
        self._connection.execute("PRAGMA journal_size_limit=4194304").fetchall()
        journal, synchronous = self._one("PRAGMA journal_mode"), self._one("PRAGMA synchronous")
        if journal != "wal" or synchronous != 2:
            raise StoreError(
                f"{self.where}: needs journal_mode=wal and synchronous=2 (FULL), has {journal} and {synchronous}; "
                "put the data folder on a local disk"
            )
        if new:
            with self.transaction():
                for statement in (SCHEMA.strip() + SEALS.rstrip() + WAITING.rstrip()).split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        rows = rows_of(self._connection, self.where, sql, parameters)
        return rows[0][0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """The one way to write: this process's lock, then SQLite's, then all or nothing."""
        with self._lock:
            try:
                if self._unsure and self._opener is not None:
                    self._open_anew(self._opener())
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    ends, sealing = self._ends(), list(self._connection.execute(SEALING))
                except BaseException:
                    self._rollback()
                    raise
                try:
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._rollback()
                    raise
                self._committed, self._sealing = ends, sealing
            except (sqlite3.Error, StoreError) as error:
                cause = error if isinstance(error, sqlite3.Error) else error.__cause__
                self._unsure = self._unsure or getattr(cause, "sqlite_errorcode", 0) & 0xFF in UNSURE
                if isinstance(error, StoreError):
                    raise
                raise refused(Path(self.where), error) from error

    @contextmanager
    def transaction_open(self) -> Iterator[Any]:
        """The connection inside a transaction that is open already; raise StoreError without one."""
        with self._lock:
            if not self._connection.in_transaction:
                raise StoreError(f"{self.where}: nothing is written outside a transaction")
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise refused(Path(self.where), error) from error

    def _ends(self) -> tuple[int, ...]:
        """The last ids of the tables that grow, as the transaction leaves them."""
        return tuple(self._one(f"SELECT max(id) FROM {table}") or 0 for table in GROWING)

    def _open_anew(self, connection: Any) -> None:
        """Go on through *connection* if the file can be written and holds what was committed; else raise.

        After a sync that failed nobody knows what of the last writes is on the disk: that sync is never
        asked for again.  A transaction whose end failed may be found whole in the log: it was reported as
        failed and will be tried again, so it is taken back.  Until the file can be written the former
        connection stays, for reading.
        """
        former, self._connection = self._connection, connection
        try:
            self._prepare(PAGE_SIZE)
            connection.execute("BEGIN IMMEDIATE")
            ends = dict(zip(GROWING, zip(self._committed, self._ends(), strict=True), strict=True))
            for table in GROWING:
                connection.execute(f"SELECT * FROM {table} ORDER BY id DESC LIMIT {READ_BACK}").fetchall()
            for table, (told, found) in ends.items():
                if found > told:
                    connection.execute(f"DELETE FROM {table} WHERE id > ?", (told,))
            connection.execute("DELETE FROM late WHERE reading > ?", (ends["reading"][0],))
            self._take_back_seals(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._connection = former
            with suppress(sqlite3.Error):
                connection.close()
            raise
        with suppress(sqlite3.Error):
            former.close()
        self._unsure = False
        missing = {table: told - found for table, (told, found) in ends.items() if found < told}
        if missing:
            raise StoreDamaged(f"{self.where}: after an I/O error rows are gone that were committed: {missing}")

    def _take_back_seals(self, connection: Any) -> None:
        """Inside a transaction: no block beyond the last one that is durable, and the key of the one behind it."""
        if list(connection.execute(SEALING)) != self._sealing:
            connection.execute("DELETE FROM seal WHERE epoch > ?", (self._sealing[0][1] if self._sealing else 0,))
            connection.execute("DELETE FROM sealing")
            connection.executemany(
                "INSERT INTO sealing(id, epoch, upto, head, key) VALUES (?, ?, CAST(? AS TEXT), ?, ?)", self._sealing
            )

    def _rollback(self) -> None:
        # After a full disk or an I/O error SQLite has rolled back by itself; the cause is on its way up.
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows of a SELECT, read under this process's lock."""
        with self._lock:
            return rows_of(self._connection, self.where, sql, parameters)

    def fold_log(self) -> None:
        """Put the write-ahead log into the file and cut it off; another time where somebody reads from it just now."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.execute("PRAGMA busy_timeout=0").fetchall()  # nobody waits for it
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout={BUSY_MS}").fetchall()

    def close(self) -> None:
        """Check the log in and let go of the file."""
        with self._lock:
            self._connection.close()
            if self._marker is not None:
                with suppress(OSError):
                    self._marker.unlink(missing_ok=True)

    # -- what a start leaves behind

    def begin_boot(self, kernel: str) -> int:
        """The number of the kernel's boot *kernel*; readings of one boot share a monotonic clock."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO boot(kernel) VALUES (?)", (kernel,))
            self.boot = self._one("SELECT id FROM boot WHERE kernel = ?", (kernel,))
        return self.boot

    def last_clock(self, boot: int) -> tuple[str, float]:
        """What the clock was last known by in this *boot*, and its offset to the monotonic one in seconds.

        ("none", 0.0) where nothing was noted yet.
        """
        rows = self.query("SELECT trust, offset_ms FROM clock WHERE boot = ? ORDER BY id DESC LIMIT 1", (boot,))
        return (str(rows[0][0]), rows[0][1] / 1000) if rows else ("none", 0.0)

    def add_clock(self, monotonic: float, now: datetime, trust: str) -> None:
        """Inside a transaction: from the next reading on, wall time is monotonic time plus this offset."""
        mono_ms = round(monotonic * 1000)
        self._connection.execute(
            "INSERT INTO clock(boot, mono_ms, offset_ms, trust, first_reading) VALUES (?, ?, ?, ?, ?)",
            (self.boot, mono_ms, to_ms(now) - mono_ms, trust, self.newest("reading") + 1),
        )

    def register(self, series: Iterable[Series]) -> None:
        """Give every one of *series* its small integer; inside a transaction."""
        with self._lock:
            for one in series:
                if one in self._series:
                    continue
                key = (self.boot, one.device, one.point, one.parameter, json.dumps(one.coefficients), one.config)
                where = "boot = ? AND device = ? AND point = ? AND parameter = ? AND coefficients = ? AND config = ?"
                number = self._one(f"SELECT id FROM series WHERE {where}", key)
                if number is None:
                    self._connection.execute(
                        "INSERT INTO series(boot, device, point, parameter, coefficients, config)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        key,
                    )
                    number = self._one(f"SELECT id FROM series WHERE {where}", key)
                self._series[one] = number
                self._names[number] = one

    def unregister(self, series: Iterable[Series]) -> None:
        """The transaction that registered *series* failed: their integers are void."""
        for one in series:
            self._names.pop(self._series.pop(one, 0), None)

    # -- readings

    def add_readings(self, readings: Iterable[Reading], series: Mapping[tuple[str, str], Series]) -> None:
        """Inside a transaction: append *readings*; *series* names each (device, parameter)."""
        ids = self.numbers(series)
        self.append([(ids[r.device, r.parameter], to_ms(r.time), *measured(r)) for r in readings])

    def numbers(self, series: Mapping[tuple[str, str], Series]) -> dict[tuple[str, str], int]:
        """The small integer of each of the registered *series*."""
        return {key: self._series[one] for key, one in series.items()}

    def append(self, rows: Sequence[Sequence[Any]]) -> None:
        """Inside a transaction: append *rows* of readings: series, at in ms, raw, value (None for raw), mark."""
        first, hour = self.newest("reading") + 1, int(self._one("SELECT max(hour) FROM tick") or 0)
        self._connection.executemany(READING, rows)
        late_before = (hour - LATE_HOURS + 1) * 3_600_000
        self._connection.executemany(
            "INSERT INTO late(at_ms, reading) VALUES (?, ?)",
            [(row[1], number) for number, row in enumerate(rows, first) if row[1] < late_before],
        )

    def add_missed(self, misses: Iterable[Miss]) -> None:
        """Inside a transaction: append what could not be had, with its reason."""
        self._connection.executemany(
            "INSERT INTO missed(device, reason, first_ms, last_ms, count) VALUES (?, ?, ?, ?, ?)",
            [(m.device, int(m.reason), to_ms(m.first), to_ms(m.last), m.count) for m in misses],
        )

    def add_events(self, events: Iterable[Event]) -> None:
        """Inside a transaction: append *events*."""
        self._connection.executemany(
            "INSERT INTO event(at_ms, code, arguments) VALUES (?, ?, ?)",
            [(to_ms(e.at), e.code, _json(e.arguments)) for e in events],
        )

    def add_records(self, records: Iterable[Record]) -> None:
        """Inside a transaction: append *records*."""
        self._connection.executemany(
            "INSERT INTO record(kind, at_ms, point, device, body) VALUES (?, ?, ?, ?, ?)",
            [(r.kind, to_ms(r.at), r.point, r.device, _json(r.body)) for r in records],
        )

    def noted(self, code: str) -> bool:
        """Whether there is any event of *code*."""
        return bool(self.query("SELECT 1 FROM event WHERE code = ? LIMIT 1", (code,)))

    def records(
        self, kind: str, start: datetime, end: datetime, *, point: str | None = None, device: str | None = None
    ) -> list[Record]:
        """Records of *kind* with start <= at < end, oldest first, of one *point* or *device* where named."""
        chosen = {"point": point, "device": device}
        wanted = {column: value for column, value in chosen.items() if value is not None}
        rows = self.query(
            "SELECT id, at_ms, point, device, body FROM record WHERE kind = ? AND at_ms >= ? AND at_ms < ?"
            + "".join(f" AND {column} = ?" for column in wanted)
            + " ORDER BY at_ms, id",
            (kind, to_ms(start), to_ms(end), *wanted.values()),
        )
        return [Record(kind, from_ms(at), json.loads(body), where, who, one) for one, at, where, who, body in rows]

    def kept(self, *kinds: str) -> bool:
        """Whether there is any record of *kinds*."""
        places = ", ".join("?" * len(kinds))
        return bool(self.query(f"SELECT 1 FROM record WHERE kind IN ({places}) LIMIT 1", kinds))

    def newest_records(self, kind: str, *by: str) -> list[Record]:
        """The newest record of *kind* for each value of *by*: columns, or paths into the body such as "$.item"."""
        groups = ", ".join(f"json_extract(body, '{one}')" if one.startswith("$") else one for one in by)
        rows = self.query(
            "SELECT id, at_ms, point, device, body FROM record WHERE id IN"
            f" (SELECT max(id) FROM record WHERE kind = ? GROUP BY {groups}) ORDER BY id",
            (kind,),
        )
        return [Record(kind, from_ms(at), json.loads(body), where, who, one) for one, at, where, who, body in rows]

    def has_newer(self, record: int, kinds: Iterable[str]) -> bool:
        """Whether a record with an id above *record* is of one of *kinds*."""
        wanted = list(kinds)
        places = ", ".join("?" * len(wanted))
        query = f"SELECT 1 FROM record WHERE id > ? AND +kind IN ({places}) LIMIT 1"  # by id: the newest are few
        return bool(self.query(query, (record, *wanted)))

    def newest_record(self, kind: str) -> int:
        """The largest id among records of *kind*, 0 where there is none."""
        return int(self._one("SELECT max(id) FROM record WHERE kind = ?", (kind,)) or 0)

    def readings(self, start: datetime, end: datetime, after_id: int = 0) -> list[Reading]:
        """Readings with start <= time < end among those with id > *after_id*, in the order stored."""
        rows = self._dated("series, at_ms, raw, value, mark", start, end, after_id)
        return [self.reading_of(*row[1:]) for row in rows]

    def _dated(
        self, columns: str, start: datetime, end: datetime, after_id: int, chosen: str = "", *more: Any
    ) -> list[Any]:
        """Id and *columns* of readings with start <= time < end and id > *after_id*, by id, where *chosen* holds.

        Up to the ceiling all of them lie among their neighbours in time; behind it only those listed as late do.
        """
        first, last = to_ms(start), to_ms(end)
        ceiling = self.reading_ceiling(end)
        wanted = f"SELECT id, {columns} FROM reading WHERE at_ms >= ? AND at_ms < ? {chosen}"
        rows = self.query(f"{wanted} AND id > ? AND id <= ? ORDER BY id", (first, last, *more, after_id, ceiling))
        if ceiling < NO_CEILING:
            late = "id IN (SELECT reading FROM late WHERE at_ms >= ? AND at_ms < ? AND reading > ?)"
            rows += self.query(
                f"{wanted} AND {late} ORDER BY id", (first, last, *more, first, last, max(after_id, ceiling))
            )
        return rows

    def readings_by_id(self, first: int, last: int) -> list[Reading]:
        """Readings first..last, both included."""
        rows = self.query("SELECT series, at_ms, raw, value, mark FROM reading WHERE id BETWEEN ? AND ?", (first, last))
        return [self.reading_of(*row) for row in rows]

    def last_stand(
        self, device: str, parameter: str, before: datetime, look_back: int = 20000
    ) -> tuple[datetime, float] | None:
        """The newest normal value of a series before a moment, with its time; within *look_back* readings of all."""
        ceiling = min(self.reading_ceiling(before), self.newest("reading"))
        floor = min(self.reading_floor(before), ceiling) - look_back
        rows = self.query(
            "SELECT at_ms, coalesce(value, raw) FROM reading WHERE id > ? AND id <= ? AND at_ms < ? AND mark & 7 = 0"
            " AND series IN (SELECT id FROM series WHERE device = ? AND parameter = ?) ORDER BY id DESC LIMIT ?",
            (floor, ceiling, to_ms(before), device, parameter, LATEST_FEW),
        )
        mine = "AND mark & 7 = 0 AND series IN (SELECT id FROM series WHERE device = ? AND parameter = ?)"
        late = self._dated("at_ms, coalesce(value, raw)", before - NEAR, before, ceiling, mine, device, parameter)
        rows += [(at, value) for _, at, value in late]
        at, value = max(rows, key=lambda row: row[0]) if rows else (0, None)
        return None if value is None else (from_ms(at), value)

    def last_time(self, device: str, since: datetime) -> datetime | None:
        """The time of the newest value of *device* among what was stored after *since*."""
        rows = self.query(
            "SELECT max(at_ms) FROM reading WHERE id > ? AND raw IS NOT NULL"
            " AND series IN (SELECT id FROM series WHERE device = ?)",
            (self.reading_floor(since), device),
        )
        return from_ms(rows[0][0]) if rows[0][0] is not None else None

    def silence_at_end(self, device: str, since: datetime) -> dict[str, Any] | None:
        """How long and over how many polls *device* had given no reply when the record ends; None where it had."""
        last = self.last_time(device, since)
        rows = self.query(
            "SELECT reason, first_ms, last_ms FROM missed WHERE device = ? AND last_ms >= ? ORDER BY id DESC LIMIT 1",
            (device, to_ms(since)),
        )
        reason, first, until = rows[0] if rows else (None, 0, 0)
        heard = to_ms(last) if last else first
        if reason != Reason.NO_REPLY or until <= heard:
            return None
        ((polls,),) = self.query("SELECT sum(count) FROM missed WHERE device = ? AND last_ms > ?", (device, heard))
        return {"seconds": round((until - heard) / 1000, 1), "polls": polls}

    def normal_values(
        self, point: str, parameter: str, start: datetime, end: datetime, after_id: int = 0
    ) -> list[tuple[datetime, float]]:
        """Times and normal values of *parameter* at *point*, start <= time < end, of readings with id > *after_id*."""
        mine = "AND mark & 7 = 0 AND series IN (SELECT id FROM series WHERE point = ? AND parameter = ?)"
        rows = self._dated("at_ms, coalesce(value, raw)", start, end, after_id, mine, point, parameter)
        return [(from_ms(at), value) for _, at, value in rows if value is not None]

    def last_reading(self, device: str, parameter: str, look_back: int = 500_000) -> Reading | None:
        """The newest normal reading of a series, among the last *look_back* of all."""
        rows = self.query(
            "SELECT id FROM reading WHERE id > ? AND mark & 7 = 0"
            " AND series IN (SELECT id FROM series WHERE device = ? AND parameter = ?) ORDER BY id DESC LIMIT 1",
            (self.newest("reading") - look_back, device, parameter),
        )
        return self.readings_by_id(rows[0][0], rows[0][0])[0] if rows else None

    def reading_of(self, series: int, at_ms: int, raw: float | None, value: float | None, packed: int) -> Reading:
        """The reading that a row says."""
        one = self.series(series)
        mark, reason = unpack_mark(packed)
        value = raw if value is None else value
        return Reading(one.device, one.point, one.parameter, from_ms(at_ms), raw, value, mark, reason)

    def series(self, number: int) -> Series:
        """What the small integer *number* stands for."""
        if number not in self._names:
            row = self.query(
                "SELECT device, point, parameter, coefficients, config FROM series WHERE id = ?", (number,)
            )[0]
            slope, intercept = json.loads(row[3])
            self._names[number] = Series(row[0], row[1], row[2], (slope, intercept), row[4])
        return self._names[number]

    def newest(self, table: str) -> int:
        """The largest id of *table*, 0 when it is empty."""
        with self._lock:  # while a commit is under way its rows are not there yet
            return int(self._one(f"SELECT max(id) FROM {table}") or 0)

    def tick(self, hour: int) -> None:
        """Inside a transaction: note where *hour* (hours since 1970) begins among the ids, once."""
        self._connection.execute(
            "INSERT OR IGNORE INTO tick(hour, reading, average) VALUES (?, ?, ?)",
            (hour, self.newest("reading"), self.newest("average")),
        )

    def reading_floor(self, moment: datetime) -> int:
        """An id below which no reading is as young as *moment* (the tick of its hour, or 0)."""
        row = self._one(
            "SELECT reading FROM tick WHERE hour <= ? ORDER BY hour DESC LIMIT 1", (to_ms(moment) // 3_600_000,)
        )
        return int(row or 0)

    def reading_ceiling(self, moment: datetime) -> int:
        """An id above which no reading is dated before *moment*, but those that `late` lists."""
        hour = to_ms(moment) // 3_600_000 + LATE_HOURS
        row = self._one("SELECT reading FROM tick WHERE hour >= ? ORDER BY hour LIMIT 1", (hour,))
        return NO_CEILING if row is None else int(row)

    # -- averages

    def add_average(self, report: Report) -> None:
        """Inside a transaction: append the averages of one point and period."""
        self._connection.execute(
            "INSERT INTO average(point, kind, start_ms, version, body) VALUES (?, ?, ?, ?, ?)",
            (report.point, int(report.kind), to_ms(report.start), report.version, pack_averages(report.averages)),
        )

    def averages(self, kind: Kind, start: datetime, end: datetime, point: str | None = None) -> list[Report]:
        """The newest version of each period with start <= its start < end, oldest first."""
        where = f"point IN {POINTS}" if point is None else "point = ?"
        rows = self.query(
            f"SELECT point, start_ms, max(version), body FROM average WHERE {where} AND kind = ?"
            " AND start_ms >= ? AND start_ms < ? GROUP BY point, start_ms ORDER BY start_ms, point",
            (*([] if point is None else [point]), int(kind), to_ms(start), to_ms(end)),
        )
        return [Report(kind, r[0], from_ms(r[1]), unpack_averages(r[3]), r[2]) for r in rows]

    def average(self, kind: Kind, point: str, start: datetime) -> Report | None:
        """The newest version of one period, if it was closed."""
        found = self.averages(kind, start, start + timedelta(milliseconds=1), point)
        return found[0] if found else None

    def last_period(self, kind: Kind, point: str) -> datetime | None:
        """Start of the newest closed period of *kind* at *point*."""
        at = self._one("SELECT max(start_ms) FROM average WHERE point = ? AND kind = ?", (point, int(kind)))
        return None if at is None else from_ms(at)

    def oldest_period(self, kind: Kind) -> datetime | None:
        """Start of the oldest period of *kind* that is kept."""
        first = "(SELECT min(start_ms) FROM average WHERE point = p.point AND kind = ?)"
        sql = f"SELECT min(first) FROM (SELECT {first} AS first FROM {POINTS} AS p)"
        at = self._one(sql, (int(kind),))
        return None if at is None else from_ms(at)

    def oldest_reading(self) -> datetime | None:
        """When the oldest reading that is kept was taken."""
        at = self._one("SELECT at_ms FROM reading ORDER BY id LIMIT 1")
        return None if at is None else from_ms(at)

    def newest_time(self) -> datetime | None:
        """When the newest reading was taken."""
        at = self._one("SELECT at_ms FROM reading ORDER BY id DESC LIMIT 1")
        return None if at is None else from_ms(at)

    def first_reading_since(self, moment: datetime) -> datetime | None:
        """When the first reading at or after *moment* was taken.

        Their order tells, and of the newest LATEST_MANY their times: a clock that was set back has put young ones
        behind older ones.
        """
        since = to_ms(moment)
        first = self._one(
            "SELECT at_ms FROM reading WHERE id > ? AND at_ms >= ? ORDER BY id LIMIT 1",
            (self.reading_floor(moment), since),
        )
        latest = "SELECT at_ms FROM reading ORDER BY id DESC LIMIT ?"
        young = self._one(f"SELECT min(at_ms) FROM ({latest}) WHERE at_ms >= ?", (LATEST_MANY, since))
        return min((from_ms(at) for at in (first, young) if at is not None), default=None)

    def first_average(self, kind: Kind, since: datetime, points: Iterable[str]) -> datetime | None:
        """Start of the first period of *kind* at any of *points* that starts at *since* or later."""
        sql = "SELECT min(start_ms) FROM average WHERE point = ? AND kind = ? AND start_ms >= ?"
        found = [self._one(sql, (point, int(kind), to_ms(since))) for point in points]
        return min((from_ms(at) for at in found if at is not None), default=None)

    def schedule(self, platform: int, point: str, kind: Kind, since: datetime, interval_seconds: int) -> None:
        """Inside a transaction: from *since* on, *platform* is due this kind so often, 0 for no more; noted once."""
        last = self._one(
            "SELECT interval_seconds FROM schedule WHERE platform = ? AND point = ? AND kind = ? ORDER BY id DESC",
            (platform, point, int(kind)),
        )
        if last != interval_seconds and (last is not None or interval_seconds):
            self._connection.execute(
                "INSERT INTO schedule(platform, point, kind, from_ms, interval_seconds) VALUES (?, ?, ?, ?, ?)",
                (platform, point, int(kind), to_ms(since), interval_seconds),
            )

    def schedules(self, platform: int) -> list[tuple[str, Kind, int, int]]:
        """Every (point, kind, from in ms, interval in seconds) of *platform*, oldest first; 0 means not due."""
        rows = self.query(
            "SELECT point, kind, from_ms, interval_seconds FROM schedule WHERE platform = ? ORDER BY id", (platform,)
        )
        return [(point, Kind(kind), since, interval) for point, kind, since, interval in rows]

    # -- what platforms set, and the commands they sent

    def remember(self, platform: str, values: Mapping[str, str], now: datetime, who: str) -> None:
        """Inside a transaction: append settings of *platform*; the newest of a key counts."""
        self._connection.executemany(
            "INSERT INTO setting(platform, key, value, at_ms, who) VALUES (?, ?, ?, ?, ?)",
            [(platform, key, value, to_ms(now), who) for key, value in values.items()],
        )

    def remembered(self, platform: str, *, beside: bool = False) -> dict[str, str]:
        """The settings of *platform* that count; with what was configured *beside* them if that is wanted too."""
        rows = self.query("SELECT key, value FROM setting WHERE platform = ? ORDER BY id", (platform,))
        return {key: value for key, value in rows if beside or not key.endswith(".configured")}

    def last_trusted(self) -> datetime | None:
        """The last time known to be right: that of the newest reading dated by a trusted clock, or of that clock."""
        rows = self.query(f"SELECT id, mono_ms + offset_ms FROM clock WHERE {TRUSTED} ORDER BY id DESC LIMIT 1")
        if not rows:
            return None
        (number, at), *_ = rows
        later = self.query("SELECT first_reading FROM clock WHERE id > ? ORDER BY id LIMIT 1", (number,))
        last = later[0][0] - 1 if later else self.newest("reading")
        found = self.query("SELECT at_ms FROM reading WHERE id = ?", (last,))
        return from_ms(max(at, found[0][0] if found else at))

    def take_command(self, command: Command, subject: str, now: datetime) -> None:
        """Inside a transaction: *command* is about to be carried out, about *subject*; the oldest ones are forgotten.

        The newest of each verb stays whatever comes, for a later one must be younger.
        """
        issued = None if command.issued is None else to_ms(command.issued)
        platform, point = command.platform, command.point or ""
        self._connection.execute(
            "INSERT INTO seen(platform, point, verb, subject, identity, issued_ms, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (platform, point, command.verb, subject, command.identity, issued, to_ms(now)),
        )
        self._connection.execute(
            "DELETE FROM seen WHERE platform = ? AND id NOT IN"
            " (SELECT id FROM seen WHERE platform = ? ORDER BY id DESC LIMIT ?)"
            " AND id NOT IN (SELECT max(id) FROM seen WHERE platform = ? GROUP BY point, verb)",
            (platform, platform, MOST_SEEN, platform),
        )

    def was_taken(self, command: Command) -> bool:
        """Whether a command with this identity was carried out for this platform and point."""
        return bool(
            self.query(
                "SELECT 1 FROM seen WHERE platform = ? AND point = ? AND identity = ? LIMIT 1",
                (command.platform, command.point or "", command.identity),
            )
        )

    def last_issued(self, command: Command, until: datetime) -> datetime | None:
        """When the youngest *command* of its verb that was carried out was issued, those after *until* left aside."""
        rows = self.query(
            "SELECT max(issued_ms) FROM seen WHERE platform = ? AND point = ? AND verb = ? AND issued_ms <= ?",
            (command.platform, command.point or "", command.verb, to_ms(until)),
        )
        return None if rows[0][0] is None else from_ms(rows[0][0])

    def taken_within(self, command: Command, subject: str, now: datetime, seconds: int) -> int:
        """How many *command*s of its verb about *subject* were carried out within *seconds* of *now*."""
        at = to_ms(now)
        rows = self.query(
            "SELECT count(*) FROM seen WHERE platform = ? AND point = ? AND verb = ? AND subject = ?"
            " AND at_ms > ? AND at_ms < ?",
            (command.platform, command.point or "", command.verb, subject, at - seconds * 1000, at + seconds * 1000),
        )
        return int(rows[0][0])

    # -- messages

    def add_messages(self, rows: Iterable[tuple[int, Kind, str, datetime, int, str]]) -> None:
        """Inside a transaction: append (platform, kind, point, start, version, text)."""
        for platform, kind, point, start, version, text in rows:
            self._connection.execute(
                "INSERT INTO message(id, kind, point, start_ms, version, text) VALUES (?, ?, ?, ?, ?, ?)",
                (self.newest_message(platform) + 1, int(kind), point, to_ms(start), version, text),
            )

    def newest_message(self, platform: int) -> int:
        """The largest message id of *platform*; `platform << SEQUENCE_BITS` when it has none."""
        low = platform << SEQUENCE_BITS
        return (
            self._one("SELECT max(id) FROM message WHERE id >= ? AND id < ?", (low, low + (1 << SEQUENCE_BITS))) or low
        )

    def last_message(self, platform: int, kind: Kind) -> datetime | None:
        """Start of the newest message of *kind* to *platform*, among the last LONGEST_WALK."""
        newest = self.newest_message(platform)
        at = self._one(
            "SELECT start_ms FROM message WHERE id > ? AND id <= ? AND kind = ? ORDER BY id DESC LIMIT 1",
            (max(platform << SEQUENCE_BITS, newest - LONGEST_WALK), newest, int(kind)),
        )
        return None if at is None else from_ms(at)

    # -- retention

    def purge(self, table: str, before: datetime, now: datetime, ids: tuple[int, int] = (0, 1 << 62)) -> int:
        """Delete rows of *table* older than *before* with an id in *ids* (first, behind the last), one chunk.

        Returns how many went.  Rows lie in the order of their ids and nearly of their times, so the
        scan stops at the first young row; rows dated after *now* (by a clock that was wrong) stay and
        stop nothing.
        """
        spared = "" if table != "record" else f" AND kind NOT IN ({KEPT})"
        column = {"reading": "at_ms", "event": "at_ms", "record": "at_ms", "missed": "last_ms"}.get(table, "start_ms")
        limit, last, count = to_ms(before), None, 0
        with self.transaction() as db:
            rows = db.execute(
                f"SELECT id, {column} FROM {table} WHERE id >= ? AND id < ? AND {column} <= ?{spared}"
                " ORDER BY id LIMIT ?",
                (*ids, to_ms(now), PURGE_CHUNK),
            ).fetchall()
            for number, at in rows:
                if at >= limit:
                    break
                last, count = number, count + 1
            if last is not None:
                gone = f"DELETE FROM {table} WHERE id >= ? AND id <= ? AND {column} < ?{spared}"
                db.execute(gone, (rows[0][0], last, limit))
            if table == "reading":
                db.execute("DELETE FROM late WHERE at_ms < ?", (limit,))
        return count


def find_message(query: Query, platform: int, kind: Kind, at_ms: int) -> int:
    """The id from which on *platform*'s messages of *kind* start at *at_ms* or later: a binary search.

    The ids of a platform are contiguous, and the periods of one kind rise with them: first versions are looked at,
    for later ones come when they come.  A clock set back may make real-time data run back: search with some slack.
    """
    base = platform << SEQUENCE_BITS
    ends = "SELECT {}(id) FROM message WHERE id > ? AND id < ?"
    first, newest = (query(ends.format(end), (base, base + (1 << SEQUENCE_BITS)))[0][0] for end in ("min", "max"))
    if first is None:
        return base + 1
    low, high = int(first), int(newest) + 1
    while low < high:
        middle = (low + high) // 2
        found = query(
            "SELECT id, start_ms FROM message WHERE id >= ? AND id < ? AND kind = ? AND version = 1"
            " ORDER BY id LIMIT 1",
            (middle, min(high, middle + LONGEST_WALK), int(kind)),
        ) or query("SELECT id, start_ms FROM message WHERE id >= ? ORDER BY id LIMIT 1", (middle,))
        number, start = found[0]
        if start < at_ms and number < high:
            low = number + 1
        else:
            high = middle
    return low


def later_versions(query: Query, platform: int, kind: Kind, start_ms: int, end_ms: int) -> Sequence[Any]:
    """(id, point, start in ms) of later versions of periods from *start_ms* to before *end_ms*, in the order made."""
    base = platform << SEQUENCE_BITS
    return query(
        "SELECT id, point, start_ms FROM message INDEXED BY message_later WHERE version > 1"
        " AND start_ms >= ? AND start_ms < ? AND id > ? AND id < ? AND kind = ? ORDER BY id",
        (start_ms, end_ms, base, base + (1 << SEQUENCE_BITS), int(kind)),
    )


def measured(reading: Reading) -> tuple[float | None, float | None, int]:
    """Raw value, value and packed mark of a *reading* as stored: a value that is the raw one costs nothing."""
    value = None if reading.value == reading.raw else reading.value
    return reading.raw, value, pack_mark(reading.mark, reading.reason)


def message_of(row: Sequence[Any], *, resupply: bool = False) -> Message:
    """A Message from a row (id, kind, point, start_ms, version, text)."""
    return Message(row[0], Kind(row[1]), row[2], from_ms(row[3]), row[4], row[5], resupply)


def pack_mark(mark: Mark, reason: Reason) -> int:
    """Mark and reason in one small integer: a normal reading costs no byte.

    >>> pack_mark(Mark.N, Reason.NONE), unpack_mark(pack_mark(Mark.T, Reason.ABOVE_RANGE))
    (0, (<Mark.T: 2>, <Reason.ABOVE_RANGE: 1>))
    """
    return int(mark) | int(reason) << 3


def unpack_mark(packed: int) -> tuple[Mark, Reason]:
    """The mark and reason in *packed*."""
    return Mark(packed & 7), Reason(packed >> 3)


def pack_averages(averages: Iterable[Average]) -> str:
    """The averages of one period as stored: parameter → mean, min, max, mark, valid, total, expected, and
    parts, indicative, load in kg, mean at reference oxygen; what is missing at the end is left out.

    >>> pack_averages([Average("ph", 7.1, 7.0, 7.2, Mark.N, 12, 12, 12)])
    '{"ph":[7.1,7.0,7.2,"N",12,12,12]}'
    """
    body = {a.parameter: _packed(a) for a in averages}
    return json.dumps(body, separators=(",", ":"))


def _packed(a: Average) -> list[Any]:
    row = [a.mean, a.minimum, a.maximum, a.mark.name, a.valid, a.total, a.expected]
    rare = [a.parts, int(a.indicative), a.load_kg, a.converted]
    for nothing in (None, None, 0, 0):
        if rare[-1] != nothing:
            break
        rare.pop()
    return row + rare


def unpack_averages(body: str) -> tuple[Average, ...]:
    """The averages in a stored *body*.

    >>> unpack_averages('{"ph":[7.1,7.0,7.2,"N",12,12,12]}')[0].mean
    7.1
    """
    found = []
    for parameter, row in json.loads(body).items():
        mean, low, high, mark, valid, total, expected = row[:7]
        rare: list[Any] = row[7:]
        parts, indicative, load_kg, converted = [*rare, *NOTHING_RARE[len(rare) :]]
        found.append(
            Average(
                parameter=parameter,
                mean=mean,
                minimum=low,
                maximum=high,
                mark=Mark[mark],
                valid=valid,
                total=total,
                expected=expected,
                parts=parts,
                indicative=bool(indicative),
                load_kg=load_kg,
                converted=converted,
            )
        )
    return tuple(found)
