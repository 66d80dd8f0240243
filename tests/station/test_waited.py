"""What waited for its date leaves when the readings made of it are past their time: counted, and never too early."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from station import engine as engine_module
from station import waited
from station.seal import verify
from tests.station.test_timekeeping import Lost

FOREVER = 1 << 60


def waits_and_is_dated(folder: Path) -> Lost:
    """Seven minutes without the time, then as many with it."""
    rig = Lost(folder)
    rig.run(420)
    rig.set_right()
    rig.run(420)
    return rig


def count(rig: Lost, table: str = "waiting") -> int:
    (found,) = rig.engine.store.query(f"SELECT count(*) FROM {table}")[0]
    return int(found)


def test_nothing_leaves_before_its_time_or_before_it_was_handed_on(tmp_path: Path) -> None:
    rig = Lost(tmp_path)
    rig.run(120)
    assert waited.purge(rig.engine.store, "waiting", rig.truth + timedelta(days=9)) == 0
    rig.set_right()
    rig.run(120)
    assert waited.purge(rig.engine.store, "waiting", rig.truth - timedelta(days=1)) == 0


def test_what_is_past_its_time_leaves_oldest_first_and_the_chain_stays_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunk by chunk, a cut within a block among them; the newest row stays, so that no number is given twice."""
    monkeypatch.setattr(waited, "PURGE_CHUNK", 17)
    rig = waits_and_is_dated(tmp_path)
    store, before, gone = rig.engine.store, count(rig), 0
    newest = store.newest("waiting")
    while more := waited.purge(store, "waiting", rig.truth + timedelta(days=1)):
        gone += more
        assert verify(store.query, kept_from_ms=FOREVER).sound
        assert verify(store.query).why == "rows", "what is young by retention is missed"
    assert (count(rig), gone, store.newest("waiting")) == (1, before - 1, newest)
    assert waited.tables(store) == []


def test_a_row_out_of_the_middle_is_missed_however_old(tmp_path: Path) -> None:
    rig = waits_and_is_dated(tmp_path)
    with rig.engine.store.transaction() as db:
        db.execute("DELETE FROM waiting WHERE id = 5")
    assert verify(rig.engine.store.query, kept_from_ms=FOREVER).why == "rows"


def test_what_can_never_be_dated_leaves_when_the_next_time_known_is_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Lost(tmp_path)
    rig.run(130)
    rig.engine.shut_down()
    monkeypatch.setattr(engine_module, "boot_id", lambda: "another boot")
    rig.first_trust = "ntp"
    rig.clock.step((rig.truth - rig.clock.now()).total_seconds())
    rig.engine = rig.start()
    known = rig.truth
    rig.run(60)
    assert waited.purge(rig.engine.store, "waiting", known - timedelta(seconds=1)) == 0
    left = count(rig)
    assert waited.purge(rig.engine.store, "waiting", known + timedelta(seconds=1)) == left - 1


def test_the_station_s_own_retention_takes_them_along_and_counts_them(tmp_path: Path) -> None:
    rig = waits_and_is_dated(tmp_path)
    before = count(rig)
    rig.clock.step(86400 * 365 * 6)
    rig.truth_at_zero += timedelta(days=365 * 6)
    rig.engine.purge._believed = lambda: "ntp"
    rig.run(3700, 10)
    (event,) = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'purged'")
    assert f'"waiting": {before - 1}' in event[0]
    assert count(rig) == 1
