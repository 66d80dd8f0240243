"""Retention of what waited for its date: it was handed on to the readings, and leaves when those are past their time.

Loaded by a purge alone, and only where something ever waited.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from station.clock import to_ms
from station.store import PURGE_CHUNK, TRUSTED, Store
from station.timekeeping import READINGS, RECORDS

TABLES = {"waiting": READINGS, "waiting_record": RECORDS}  # and the setting that says up to where it was handed on
BOOT = {"waiting": "(SELECT boot FROM series WHERE id = w.series)", "waiting_record": "w.boot"}


def tables(store: Store) -> list[str]:
    """The tables in which more than one row lies: the newest one stays, its number must not be given again."""
    return [table for table in TABLES if len(store.query(f"SELECT 1 FROM {table} LIMIT 2")) > 1]


def purge(store: Store, table: str, before: datetime) -> int:
    """Delete one chunk of *table* that was handed on and is older than *before*; how many rows went.

    The first row that is young, or that still waits, stops it.
    """
    done = min(int(store.remembered("").get(TABLES[table], 0)), store.newest(table) - 1)
    rows = store.query(
        f"SELECT w.id, {BOOT[table]}, w.mono_ms FROM {table} w WHERE w.id <= ? ORDER BY w.id LIMIT ?",
        (done, PURGE_CHUNK),
    )
    limit, last, count = to_ms(before), None, 0
    vouched: dict[int, Sequence[Any]] = {}
    for number, boot, mono_ms in rows:
        at = _at(store, boot, mono_ms, vouched)
        if at is None or at >= limit:
            break
        last, count = number, count + 1
    if last is not None:
        with store.transaction() as db:
            db.execute(f"DELETE FROM {table} WHERE id <= ?", (last,))
    return count


def _at(store: Store, boot: int, mono_ms: int, vouched: dict[int, Sequence[Any]]) -> int | None:
    """When a row was taken, in ms: by who vouched for the clock next, of its boot or else of a later one."""
    if boot not in vouched:
        vouched[boot] = store.query(
            f"SELECT mono_ms, offset_ms FROM clock WHERE boot = ? AND ({TRUSTED} OR trust = 'rtc') ORDER BY id", (boot,)
        )
    if rows := vouched[boot]:
        return mono_ms + int(next((row for row in rows if row[0] >= mono_ms), rows[-1])[1])
    later = store.query(
        f"SELECT mono_ms + offset_ms FROM clock WHERE boot > ? AND ({TRUSTED} OR trust = 'rtc') ORDER BY id LIMIT 1",
        (boot,),
    )
    return int(later[0][0]) if later else None
