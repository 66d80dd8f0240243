"""`station migrate` runs before every start of the service, and so also on what a power cut left."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from station.migrations import migrate
from station.store import SCHEMA_VERSION, Event, Store, unclean


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A database as a power cut leaves it: with its log, and with what says that nobody closed it."""
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    store = Store.open(tmp_path / "before/station.db")
    with store.transaction():
        store.add_events([Event(datetime.now(UTC), "stored_last", {})])
    for file in (tmp_path / "before").iterdir():
        shutil.copy(file, tmp_path / "after")
    store.close()
    path = tmp_path / "after/station.db"
    assert unclean(path).exists()
    assert path.with_name("station.db-wal").stat().st_size
    return path


def codes(path: Path) -> list[str]:
    """The events in the database at *path*, opened as the station does."""
    store = Store.open(path)
    try:
        return [code for (code,) in store.query("SELECT code FROM event ORDER BY id")]
    finally:
        store.close()


def test_a_migration_that_is_not_needed_leaves_the_log_where_it_is(cut: Path) -> None:
    assert migrate(cut) == (SCHEMA_VERSION, SCHEMA_VERSION)
    assert cut.with_name("station.db-wal").exists()
    assert codes(cut) == ["stored_last"]


def test_a_migration_takes_the_log_in_and_nobody_misses_it(cut: Path) -> None:
    steps = {SCHEMA_VERSION: lambda database: database.execute("CREATE TABLE more (id INTEGER)")}
    assert migrate(cut, steps, SCHEMA_VERSION + 1) == (SCHEMA_VERSION, SCHEMA_VERSION + 1)
    assert not unclean(cut).exists()
    with sqlite3.connect(cut) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    assert codes(cut) == ["stored_last"]


def test_a_log_that_is_gone_is_still_missed(cut: Path) -> None:
    sqlite3.connect(cut).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    assert not cut.with_name("station.db-wal").exists()
    assert migrate(cut) == (SCHEMA_VERSION, SCHEMA_VERSION)
    assert "log_missing" in codes(cut)
