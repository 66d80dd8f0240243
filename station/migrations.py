"""Steps from the database of an earlier version to this one's; only `station migrate` loads this.

Each step is one transaction that also moves `user_version`, so a step that was cut short has not
happened.  Until version 0.1 is tagged not every earlier file has one: others are refused with their version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from station.model import StoreError, StoreVersionError
from station.store import SCHEMA_VERSION, SEALS, WAITING, connect, refused, unclean

Step = Callable[[Database], None]

def _seals(database: Database) -> None:
    """Schema 4: the sealed blocks; the first ones take in what was there before."""
    for statement in SEALS.strip().removesuffix(";").split(";\n"):
        database.execute(statement)


def _waiting(database: Database) -> None:
    """Schema 5: what is measured while nobody knows the time."""
    for statement in WAITING.strip().removesuffix(";").split(";\n"):
        database.execute(statement)


STEPS: Mapping[int, Step] = {3: _seals, 4: _waiting}  # schema version → what makes it the next one


def migrate(path: Path, steps: Mapping[int, Step] = STEPS, target: int = SCHEMA_VERSION) -> tuple[int, int]:
    """Bring the database at *path* to schema *target*; (version before, version now).

    Raise StoreVersionError for a newer file, or one that no step leads away from.
    """
    logged = path.with_name(f"{path.name}-wal").exists()
    before = version = _version(path, logged=logged)
    if version > target:
        raise StoreVersionError(
            f"{path}: was written by a newer version (schema {version}, this one knows {target}); "
            "install that version again, the file is unchanged"
        )
    if version == target:
        return before, version  # never opened for writing: closing it would take away the log that a power cut left
    connection = connect(path)
    try:
        while version < target:
            if version not in steps:
                raise StoreVersionError(
                    f"{path}: schema {version} cannot be brought to {target} by this version; keep the file and ask"
                )
            version = _step(connection, version, steps[version], path)
    finally:
        connection.close()
    if logged:
        unclean(path).unlink(missing_ok=True)  # the log that a power cut left was read and is in the file now
    return before, version


def _version(path: Path, *, logged: bool) -> int:
    """The schema of the file at *path*, a log beside it or not; refuses what is no database, and leaves no new file."""
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if logged else '&immutable=1'}"  # else SQLite makes an empty log
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise refused(path, error) from error


def _step(connection: sqlite3.Connection, version: int, step: Step, path: Path) -> int:
    connection.execute("BEGIN IMMEDIATE")
    try:
        step(Database(connection))
        connection.execute(f"PRAGMA user_version={version + 1}")
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"{path}: the step from schema {version} failed ({error}); nothing was changed") from error
        raise
    return version + 1
