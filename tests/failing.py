"""A disk that fails when it is told to: full, read-only, or with errors of reading, writing and syncing.

An SQLite VFS in Python; its connections speak as those of the standard library do, errors included.
"""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import apsw

FAULTS = ("full", "read-only", "read", "write", "sync")


class _Faulty(apsw.VFSFile):
    def __init__(self, vfs: FailingVfs, name: Any, flags: list[int]) -> None:
        self._vfs = vfs
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        if self._vfs.strikes("read"):
            raise apsw.IOError("disk I/O error")
        return bytes(super().xRead(amount, offset))

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._vfs.strikes("full"):
            raise apsw.FullError("database or disk is full")
        if self._vfs.strikes("read-only"):
            raise apsw.ReadOnlyError("attempt to write a readonly database")
        if self._vfs.strikes("write"):
            raise apsw.IOError("disk I/O error")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._vfs.strikes("sync"):
            raise apsw.IOError("disk I/O error")


class FailingVfs(apsw.VFS):
    """The real file system until *fault* is one of FAULTS; then each call fails with chance *rate*."""

    def __init__(self, name: str, seed: int = 1) -> None:
        self.name, self.fault, self.rate, self.struck = name, "", 1.0, 0
        self._chance = random.Random(seed)
        super().__init__(name, "")

    def strikes(self, kind: str) -> bool:
        """Whether this call fails; counted."""
        hit = self.fault == kind and self._chance.random() < self.rate
        self.struck += hit
        return hit

    def xOpen(self, name: Any, flags: list[int]) -> _Faulty:
        return _Faulty(self, name, flags)

    def fail(self, fault: str, rate: float = 1.0) -> None:
        """From now on fail so; with "" heal."""
        assert fault in ("", *FAULTS), fault
        self.fault, self.rate = fault, rate


class FailingDisk:
    """Connections to one file through *vfs*, one open at a time: without shared memory WAL needs exclusive locking."""

    def __init__(self, path: Path, vfs: FailingVfs) -> None:
        self.path, self.vfs, self.opened = path, vfs, 0
        self.connection: Translated | None = None

    def connect(self) -> Translated:
        """A new connection; the former one is let go of."""
        if self.connection is not None:
            self.connection.close()
        try:
            made = apsw.Connection(str(self.path), vfs=self.vfs.name)
            made.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        except apsw.Error as error:
            raise _translated(error) from error
        self.opened += 1
        self.connection = Translated(made)
        return self.connection


class Translated:
    """An apsw connection that fails as the standard library's does."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        """As sqlite3 says it."""
        return bool(self._connection.in_transaction)

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        """One statement, and its rows at once: an error shows here and not while they are walked through."""
        try:
            return _Rows(self._connection.execute(sql, parameters).fetchall())
        except apsw.Error as error:
            raise _translated(error) from error

    def executemany(self, sql: str, rows: Any) -> Any:
        """One statement with each of *rows*."""
        try:
            return _Rows(self._connection.executemany(sql, rows).fetchall())
        except apsw.Error as error:
            raise _translated(error) from error

    def close(self) -> None:
        """Let go of the file, whatever the disk says to it."""
        try:
            self._connection.close(True)
        except apsw.Error as error:
            raise _translated(error) from error


class _Rows(list[Any]):
    """Rows with the calls of a cursor that the store makes."""

    def fetchall(self) -> list[Any]:
        return list(self)

    def fetchone(self) -> Any:
        return self[0] if self else None


def _translated(error: apsw.Error) -> sqlite3.Error:
    made = sqlite3.OperationalError(str(error) or type(error).__name__)
    made.sqlite_errorcode = getattr(error, "result", apsw.SQLITE_IOERR)  # as Python sets it since 3.11
    return made
