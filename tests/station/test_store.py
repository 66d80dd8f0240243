"""The store: fixed settings, round trips, sizes, refusals."""

from __future__ import annotations

import json
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.model import Average, Kind, Mark, Reading, Reason, Record, Report, StoreError, StoreVersionError
from station.recorder import Recorder
from station.store import PAGE_SIZE, SCHEMA_VERSION, Event, Series, Store, connect, pack_mark, unpack_mark

START = datetime(2026, 3, 1, tzinfo=UTC)
SERIES = {("dust", p): Series("dust", "site", p) for p in ("pm25", "pm10")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "station.db")
    made.begin_boot("boot-1")
    with made.transaction():
        made.register(SERIES.values())
    yield made
    made.close()


def reading(seconds: float = 0, value: float | None = 35.2, parameter: str = "pm25", **more: object) -> Reading:
    given = {"raw": value, "value": value} | more
    return Reading("dust", "site", parameter, START + timedelta(seconds=seconds), **given)  # type: ignore[arg-type]


def test_a_new_file_has_its_page_size_journal_and_sync_fixed(store: Store) -> None:
    """What the promise of part 9 of the design rests on is read back from the file."""
    settings = [store.query(f"PRAGMA {name}")[0][0] for name in ("page_size", "journal_mode", "synchronous")]
    assert settings == [PAGE_SIZE, "wal", 2]


def test_a_file_that_cannot_sync_is_refused() -> None:
    """A memory database has no WAL, so nothing would survive: the store says so and does not start."""
    with pytest.raises(StoreError, match="needs journal_mode=wal and synchronous=2"):
        Store(sqlite3.connect(":memory:", isolation_level=None))


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """The message says which versions meet and what to do."""
    path = tmp_path / "station.db"
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(StoreVersionError, match=r"was written by a newer version \(schema 6, this one knows 5\)"):
        Store.open(path)
    assert path.read_bytes() == before


def test_an_older_file_names_the_command_that_brings_it_up(tmp_path: Path) -> None:
    """The service has no migration library; it names the command that does."""
    path = tmp_path / "station.db"
    with sqlite3.connect(path) as older:
        older.execute("CREATE TABLE reading(id INTEGER PRIMARY KEY)")
    older.close()
    with pytest.raises(StoreVersionError, match="station migrate --config"):
        Store.open(path)


def test_readings_come_back_as_they_went_in(store: Store) -> None:
    """Raw beside value, marks and reasons, missing values: all survive."""
    given = [
        reading(0),
        reading(1, 41.0, raw=35.0),
        reading(2, None, mark=Mark.B, reason=Reason.NO_REPLY),
        reading(3, 1200.0, parameter="pm10", mark=Mark.T, reason=Reason.ABOVE_RANGE),
    ]
    with store.transaction():
        store.add_readings(given, SERIES)
    assert store.readings(START, START + timedelta(seconds=4)) == given


def test_mark_and_reason_fit_one_small_integer() -> None:
    """Every pair unpacks to itself."""
    pairs = [(mark, reason) for mark in Mark for reason in Reason]
    assert [unpack_mark(pack_mark(*pair)) for pair in pairs] == pairs


def test_a_reading_takes_at_most_thirty_bytes_of_file(store: Store) -> None:
    """100,000 readings of 20 series with fractions, counted in the file itself."""
    many = {("dust", f"p{n}"): Series("dust", "site", f"p{n}") for n in range(20)}
    with store.transaction():
        store.register(many.values())
    empty = store.query("PRAGMA page_count")[0][0]
    with store.transaction():
        store.add_readings(
            (
                Reading("dust", "site", f"p{n % 20}", START + timedelta(seconds=n // 4), n + 0.1, n + 0.1)
                for n in range(100_000)
            ),
            many,
        )
    pages = store.query("PRAGMA page_count")[0][0] - empty
    assert pages * PAGE_SIZE / 100_000 <= 30


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    """All or nothing: the reading before the failure is gone too."""

    def fail_half_way() -> None:
        with store.transaction():
            store.add_readings([reading()], SERIES)
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert store.newest("reading") == 0


def test_a_full_disk_is_one_sentence_and_loses_nothing(store: Store) -> None:
    """The batch that could not be written is put back and goes in when there is room again."""
    recorder = Recorder()
    recorder.add([reading(n) for n in range(2000)], 0)
    batch = recorder.take()
    store.query(f"PRAGMA max_page_count={store.query('PRAGMA page_count')[0][0] + 2}")
    with pytest.raises(StoreError, match=r"station.db: the disk is full; free some space"), store.transaction():
        store.add_readings(batch.readings, SERIES)
    recorder.put_back(batch)
    recorder.add([reading(2000)], 0)
    store.query("PRAGMA max_page_count=100000")
    with store.transaction():
        store.add_readings(recorder.take().readings, SERIES)
    assert store.newest("reading") == 2001


def test_a_read_only_database_is_one_sentence(store: Store, tmp_path: Path) -> None:
    """The message says where and what to do."""
    read_only = connect(tmp_path / "station.db", read_only=True)
    store._connection, writable = read_only, store._connection
    with pytest.raises(StoreError, match="is read-only; remount the data folder writable"), store.transaction():
        store.add_events([Event(START, "start", {})])
    store._connection = writable
    read_only.close()


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    """Nothing is overwritten: the file is kept for salvage."""
    path = tmp_path / "station.db"
    path.write_bytes(b"this is no database, but it is long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=r"is damaged .*keep the file, restore the newest backup"):
        Store.open(path)
    assert path.read_bytes().startswith(b"this is no database")


def test_a_data_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(StoreError, match="data: the data folder cannot be written"):
        Store.open(tmp_path / "data" / "station.db")


def test_memory_holds_a_bounded_number_of_readings_and_counts_the_rest() -> None:
    """While the disk refuses writes for days, the oldest go first and are counted."""
    recorder = Recorder()
    recorder.add([reading(n) for n in range(50_010)], 0)
    assert len(recorder.take().readings) == 50_000
    assert recorder.dropped == 10


def test_the_newest_version_of_a_period_is_the_one_read(store: Store) -> None:
    """A later version stands beside the first; both are kept."""
    for version, mean in ((1, 7.0), (2, 7.5)):
        with store.transaction():
            store.add_average(Report(Kind.MINUTE, "site", START, (Average("pm25", mean),), version))
    found = store.averages(Kind.MINUTE, START, START + timedelta(minutes=1))
    assert [(r.version, r.averages[0].mean) for r in found] == [(2, 7.5)]
    assert store.newest("average") == 2


def test_a_period_cannot_be_stored_twice_under_one_version(store: Store) -> None:
    """Closing a period again after a crash cannot double it."""
    report = Report(Kind.MINUTE, "site", START, (Average("pm25", 1.0),))
    with store.transaction():
        store.add_average(report)
    with pytest.raises(StoreError, match="UNIQUE"), store.transaction():
        store.add_average(report)


def test_purge_takes_old_rows_in_chunks_and_stops_at_young_ones(store: Store) -> None:
    """12,000 old readings go in three chunks, the ten young ones stay."""
    with store.transaction():
        store.add_readings((reading(n / 1000) for n in range(12_000)), SERIES)
        store.add_readings((reading(3600 + n) for n in range(10)), SERIES)
    limit = START + timedelta(hours=1)
    gone = [store.purge("reading", limit, limit + timedelta(days=1)) for _ in range(4)]
    assert gone == [5000, 5000, 2000, 0]
    assert len(store.readings(START, START + timedelta(days=1))) == 10


def test_rows_dated_in_the_future_neither_go_nor_stop_the_purge(store: Store) -> None:
    """A batch written while the clock stood in 2036 must not keep everything behind it until 2041."""
    with store.transaction():
        store.add_readings([reading(10 * 365 * 86400)], SERIES)
        store.add_readings((reading(n) for n in range(10)), SERIES)
    now = START + timedelta(days=1)
    assert store.purge("reading", now, now) == 10
    assert store.newest("reading") == 1


def test_a_reader_connection_cannot_write(store: Store, tmp_path: Path) -> None:
    """Uplink threads get such a connection."""
    reader = connect(tmp_path / "station.db", read_only=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM reading")
    reader.close()


def test_a_second_start_finds_its_series_and_boot_again(store: Store, tmp_path: Path) -> None:
    """The small integers are stable within one boot of the kernel and new in the next."""
    first = store.query("SELECT id FROM series ORDER BY id")
    store.begin_boot("boot-1")
    with store.transaction():
        store.register(SERIES.values())
    assert store.query("SELECT id FROM series ORDER BY id") == first
    other = Store.open(tmp_path / "station.db")
    other.begin_boot("boot-2")
    with other.transaction():
        other.register(SERIES.values())
    assert len(other.query("SELECT id FROM series")) == 2 * len(first)
    other.close()


def test_a_record_is_kept_as_it_was_made_and_found_by_kind_point_and_device(store: Store) -> None:
    def later(seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    made = [
        Record("exposure", START, {"jar": 3, "mass_mg": 12.5, "note": "雨后"}, point="site"),
        Record("line", later(60), {"requests": 720}, device="dust"),
        Record("exposure", later(120), {"jar": 4}, point="yard"),
    ]
    with store.transaction():
        store.add_records(made)
    found = store.records("exposure", START, later(120))
    assert [(r.body, r.point, r.at) for r in found] == [(made[0].body, "site", START)]
    assert [r.body for r in store.records("exposure", START, later(121), point="yard")] == [{"jar": 4}]
    assert [r.device for r in store.records("line", START, later(61), device="dust")] == ["dust"]
    assert store.records("line", START, later(61), device="meter") == []


def dated(at: datetime, value: float) -> Reading:
    return reading((at - START).total_seconds(), value)


def test_readings_are_found_by_their_time_whenever_they_were_stored(store: Store) -> None:
    """Late by days, dated ahead of a clock that was set back, under hours noted in any order: none is overlooked."""
    chance, given, now = random.Random(4), [], START
    for _ in range(200):
        now += timedelta(minutes=chance.choice((1, 20, 90, 400, -300, -2000)))
        batch = [
            dated(now - timedelta(hours=chance.choice((0, 0, 0, 1, 2, 3, 5, 49))), float(len(given) + n))
            for n in range(3)
        ]
        given += batch
        with store.transaction():
            store.tick(int(now.timestamp()) // 3600)
            store.add_readings(batch, SERIES)
    met = 0
    for _ in range(100):
        start = chance.choice(given).time - timedelta(minutes=chance.choice((0, 1, 59)))
        end = start + timedelta(minutes=chance.choice((1, 60, 1440)))
        found = store.readings(start, end)
        assert found == [r for r in given if start <= r.time < end]
        met += len(found)
        assert store.normal_values("site", "pm25", start, end) == [(r.time, r.value) for r in found]
    assert met > 100


def test_what_is_asked_of_an_old_hour_is_answered_from_its_own_rows(store: Store) -> None:
    """Behind it years of readings may lie: a minute that is closed again must not walk through them."""
    for hour in range(10):
        at = START + timedelta(hours=hour)
        with store.transaction():
            store.tick(int(at.timestamp()) // 3600)
            store.add_readings([dated(at, float(n)) for n in range(5)], SERIES)
    assert store.reading_ceiling(START + timedelta(hours=2)) == 25
    with store.transaction():
        store.add_readings([dated(START, 99.0)], SERIES)
    assert [r.value for r in store.readings(START, START + timedelta(hours=1))] == [0.0, 1.0, 2.0, 3.0, 4.0, 99.0]


def test_a_counter_is_held_against_what_it_was_then_however_long_ago(store: Store) -> None:
    """The last value ahead of an old moment, with 36,000 readings behind it, 24,000 of them near; and a late one."""
    for hour in range(7):
        at = START + timedelta(hours=hour)
        with store.transaction():
            store.tick(int(at.timestamp()) // 3600)
            store.add_readings(
                [dated(at + timedelta(seconds=n / 10), hour * 10_000.0 + n) for n in range(6000)], SERIES
            )
    assert (store.last_stand("dust", "pm25", START + timedelta(minutes=30)) or (0, 0))[1] == 5999.0
    with store.transaction():
        store.add_readings([dated(START + timedelta(minutes=29), 6001.0)], SERIES)
    assert (store.last_stand("dust", "pm25", START + timedelta(minutes=30)) or (0, 0))[1] == 6001.0
    with store.transaction():
        store.add_readings([dated(START + timedelta(hours=6, seconds=1), 1.0)], SERIES)
    assert (store.last_stand("dust", "pm25", START + timedelta(hours=8)) or (0, 0))[1] == 65_999.0


def test_no_question_about_averages_walks_through_all_of_them(store: Store) -> None:
    """One of any point is found by its index; the oldest of several points is the oldest of all."""
    made = [
        Report(Kind.MINUTE, point, START + timedelta(minutes=n), (Average("pm25", 1.0),))
        for n, point in enumerate(("yard", "gate", "site"))
    ]
    assert store.averages(Kind.MINUTE, START, START + timedelta(hours=1)) == []
    assert store.oldest_period(Kind.MINUTE) is None
    asked: list[str] = []
    with store.transaction() as db:
        for report in made:
            store.add_average(report)
    db.set_trace_callback(asked.append)
    assert [r.point for r in store.averages(Kind.MINUTE, START, START + timedelta(hours=1))] == ["yard", "gate", "site"]
    assert store.oldest_period(Kind.MINUTE) == START
    assert store.oldest_period(Kind.HOUR) is None
    db.set_trace_callback(None)
    plans = [row[3] for sql in asked for row in store.query(f"EXPLAIN QUERY PLAN {sql}")]
    assert [plan for plan in plans if plan.startswith("SCAN average")] == []
    assert any(plan.startswith("SEARCH average") for plan in plans)


def test_bytes_that_were_no_text_stop_no_commit(store: Store) -> None:
    """A commit that cannot be made ends the station, with every reading that was to be stored with it."""
    half, now = "\udcc7 清", datetime(2026, 3, 1, tzinfo=UTC)
    with store.transaction():
        store.add_events([Event(now, "noted", {"said": half})])
        store.add_records([Record("log", now, {"said": half})])
    assert store.records("log", now, now + timedelta(seconds=1))[0].body == {"said": half}
    assert [json.loads(row[0]) for row in store.query("SELECT arguments FROM event")] == [{"said": half}]
