"""Closed months as files, the nightly copy of what is newer, and the way back from both: whole, or as it was."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from station import months
from station.backup import check, copies, restore, take
from station.capacity import capacity
from station.config import Loaded, load
from station.doctor import of_months
from station.host import Room
from station.model import Average, Kind, Mark, Reading, Record, Report, StoreError
from station.months import FOLDER, Month, brought, checked, close, digest_of, files, recorded
from station.salvage import recover
from station.seal import Key, verify
from station.sealing import give_key, seal_due
from station.status import sizes
from station.store import SEQUENCE_BITS, Event, Miss, Reason, Series, Store, connect, rows_of
from tests.station.commands import Here, configure, daemon

ZONE = timezone(timedelta(hours=8))
FIRST, NOW = datetime(2025, 12, 20, tzinfo=UTC), datetime(2026, 3, 10, 4, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = bytes(range(32))
SERIES = {("dust", one): Series("dust", "site", one) for one in ("pm25", "pm10")}
CLOSED = ["2025-12", "2026-01", "2026-02"]
TABLES = (
    "boot", "clock", "series", "reading", "missed", "average", "platform", "message", "rollup", "span", "schedule",
    "setting", "seen", "tick", "late", "event", "record", "seal", "waiting", "waiting_record",
)  # fmt: skip


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder for copies."""
    folder = tmp_path / "usb"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of a station that ran for eighty days, sealed with KEY."""
    loaded = load(configure(tmp_path_factory.mktemp("made") / "s"))
    loaded.data_folder.mkdir()
    with closing(Store.open(loaded.database)) as store:
        store.begin_boot("a boot")
        with store.transaction() as db:
            store.add_clock(5.0, FIRST, "ntp")
            give_key(store, KEY)
            for number, name in enumerate(("city", "district"), 1):
                db.execute("INSERT INTO platform VALUES (?, ?, ?, 0, 0, 0, 0, 0, 0)", (number, name, 0))
            db.execute("INSERT INTO rollup VALUES ('city', '2025-12', '[]')")
            db.execute("INSERT INTO span VALUES (1, ?, ?, 1, -1, 0, 0, '', 0)", ((1 << SEQUENCE_BITS) + 7, 9))
            store.schedule(1, "site", Kind.HOUR, FIRST, 3600)
        lived(store, FIRST, NOW)
    return loaded.data_folder


def lived(store: Store, first: datetime, until: datetime) -> None:
    """Readings, averages and messages every six hours, event, record, miss and late reading; a block each 12 h."""
    start = first
    with store.transaction():
        store.register(SERIES.values())
    while start < until:
        for half in (0, 12):
            with store.transaction() as db:
                for hour in range(half, half + 12, 6):
                    at = start + timedelta(hours=hour)
                    store.tick(int(at.timestamp()) // 3600)
                    store.add_readings(
                        [Reading("dust", "site", one, at, hour + 0.5, hour + 0.5, Mark.N) for one in ("pm25", "pm10")],
                        SERIES,
                    )
                    store.add_average(Report(Kind.HOUR, "site", at, (Average("pm25", 1.0, 1.0, 1.0, Mark.N, 1, 1, 1),)))
                    store.add_messages([(one, Kind.HOUR, "site", at, 1, f"text {at}") for one in (1, 2)])
                store.add_readings([Reading("dust", "site", "pm25", start - DAY, 9.0, 9.5, Mark.N)], SERIES)  # late
                store.add_events([Event(start, "start", {"version": "1"})])
                store.add_records([Record("noise", start, {"levels": {"leq": 50}}, "site")])
                store.add_missed([Miss("dust", Reason.NO_REPLY, start, start, 2)])
                store.remember("city", {"realtime_seconds": "60"}, start, "city")
                db.execute(
                    "INSERT INTO waiting(series, mono_ms, raw, mark) VALUES (1, ?, 1.0, 0)", (start.timestamp(),)
                )
                seal_due(store, start + timedelta(hours=half + 11))
        start += DAY


@pytest.fixture
def loaded(made: Path, tmp_path: Path) -> Loaded:
    """A copy of it for one test."""
    found = load(configure(tmp_path / "s"))
    shutil.copytree(made, found.data_folder)
    return found


def keeper(loaded: Loaded) -> Callable[[Mapping[str, Any]], None]:
    """Puts a closed month on record, as a station that stands does."""

    def keep(body: Mapping[str, Any]) -> None:
        with closing(Store.open(loaded.database)) as store, store.transaction():
            store.add_records([Record("month", NOW, body)])

    return keep


def all_closed(loaded: Loaded, now: datetime = NOW) -> list[Month]:
    return close(loaded.database, now, ZONE, keeper(loaded))[0]


def night(loaded: Loaded, shelf: Path, now: datetime = NOW) -> Any:
    """What `station backup` does."""
    found = all_closed(loaded, now)
    brought(loaded.data_folder / FOLDER, shelf / FOLDER, found)
    return take(loaded.database, shelf, now, months=found)[0]


def everything(database: Path) -> dict[str, list[Any]]:
    """All rows of the database, and the state of its seals but for their key."""
    with closing(connect(database, read_only=True)) as db:
        found = {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}
        return found | {"sealing": db.execute("SELECT epoch, upto, head FROM sealing").fetchall()}


def months_of(database: Path) -> list[Month]:
    with closing(connect(database, read_only=True)) as db:
        return recorded(partial(rows_of, db, str(database)))


# -- closing


def test_a_month_is_closed_when_it_is_over_and_settled(loaded: Loaded) -> None:
    """By the station's zone, a day behind its end; again and again nothing new."""
    end = datetime(2026, 1, 1, tzinfo=ZONE)
    assert all_closed(loaded, end + timedelta(hours=23)) == []
    assert [one.piece.month for one in all_closed(loaded, end + DAY)] == ["2025-12"]
    assert [one.piece.month for one in all_closed(loaded)] == CLOSED
    known, new = close(loaded.database, NOW, ZONE, keeper(loaded))
    assert ([one.piece.month for one in known], new) == (CLOSED, [])


def test_a_month_file_is_read_only_verifies_on_its_own_and_goes_on_from_its_neighbour(loaded: Loaded) -> None:
    found = all_closed(loaded)
    paths = files(loaded.data_folder / FOLDER)
    assert [path.stem for path in paths] == CLOSED
    before = None
    for month, path in zip(found, paths, strict=True):
        assert path.stat().st_mode & 0o777 == 0o440
        piece = checked(path)
        assert (month.sha256, month.size) == (digest_of(path), path.stat().st_size)
        assert (piece.before.epoch, piece.before.head) == (before.epoch, before.head) if before else (0, bytes(32))
        assert (piece.after.epoch, piece.after.head) == (month.piece.after.epoch, month.piece.after.head)
        with closing(connect(path, read_only=True)) as db:
            query = partial(rows_of, db, str(path))
            verdict = verify(query, origin=piece.before, key=Key(1, KEY), head=piece.after.head[:8])
            assert (verdict.sound, verdict.anchored) == (True, piece.after.epoch)
            assert verdict.keyed == piece.after.epoch - piece.before.epoch
            assert db.execute("SELECT count(*) FROM sealing").fetchone() == (0,), "no key"
        before = piece.after


def test_what_is_recorded_is_sealed_with_hash_and_counts(loaded: Loaded) -> None:
    all_closed(loaded)
    with closing(Store.open(loaded.database)) as store:
        with store.transaction():
            seal_due(store, NOW)
        (first, *_) = store.records("month", FIRST, NOW + DAY)
        assert first.body["rows"]["reading"] == first.body["upto"]["reading"]
        assert first.body["sha256"] == digest_of(loaded.data_folder / FOLDER / "2025-12.db")
        assert verify(store.query).sound
        with store.transaction() as db:
            db.execute("UPDATE record SET body = json_set(body, '$.sha256', '00') WHERE kind = 'month'")
        assert verify(store.query).why == "rows"


def test_no_month_is_closed_by_blocks_of_a_clock_that_nobody_vouched_for(loaded: Loaded) -> None:
    with closing(Store.open(loaded.database)) as store, store.transaction() as db:
        db.execute("UPDATE seal SET at_ms = 20000 WHERE epoch < 5")
        db.execute("UPDATE seal SET at_ms = at_ms + 86400000 * 3650 WHERE epoch BETWEEN 5 AND 8")
    with closing(connect(loaded.database, read_only=True)) as db:
        query = partial(rows_of, db, "")
        piece = months.due(query, None, NOW, ZONE)
    assert piece is None  # the first one that has a date has one of the future; the next night may know better


def test_months_in_which_the_station_was_off_have_no_file(tmp_path: Path) -> None:
    loaded = load(configure(tmp_path / "s"))
    loaded.data_folder.mkdir()
    with closing(Store.open(loaded.database)) as store:
        store.begin_boot("a boot")
        lived(store, datetime(2025, 10, 10, tzinfo=UTC), datetime(2025, 10, 20, tzinfo=UTC))
        lived(store, datetime(2026, 1, 10, tzinfo=UTC), datetime(2026, 2, 10, tzinfo=UTC))
    assert [one.piece.month for one in all_closed(loaded)] == ["2025-10", "2026-01"]


@pytest.mark.parametrize("harm", ["bit", "row", "block", "cut"])
def test_a_month_file_that_was_changed_is_named(loaded: Loaded, harm: str) -> None:
    all_closed(loaded)
    path = loaded.data_folder / FOLDER / "2026-01.db"
    path.chmod(0o640)
    if harm == "bit":
        data = bytearray(path.read_bytes())
        data[data.index(b"text 2026-01-20") + 3] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-3000])
    else:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute({"row": "UPDATE reading SET raw = 1 WHERE id = (SELECT max(id) - 3 FROM reading)",
                        "block": "DELETE FROM seal WHERE epoch = (SELECT max(epoch) FROM seal)"}[harm])  # fmt: skip
    with pytest.raises(StoreError, match=r"2026-01\.db"):
        checked(path)
    assert not months.is_whole(path, months_of(loaded.database)[1], read=True)


# -- the copy of a night, and the way back


def test_a_tail_and_its_months_are_the_database_again(loaded: Loaded, shelf: Path) -> None:
    """Every row of every table; no key; and the station goes on with it."""
    copy = night(loaded, shelf)
    assert copy.path.name == "station-20260310T040000Z.since-2026-02.db"
    assert copies(shelf) == [copy.path]
    whole = everything(loaded.database)
    assert copy.size < loaded.database.stat().st_size / 3
    assert copy.last_ids["reading"] == max(row[0] for row in whole["reading"])
    shutil.rmtree(loaded.data_folder)
    loaded.data_folder.mkdir()
    restore(check(copy.path), loaded.database, NOW)
    assert everything(loaded.database) == whole
    with closing(Store.open(loaded.database)) as store:
        assert verify(store.query).sound
        assert store.query("SELECT key FROM sealing") == [(None,)]
        lived(store, NOW, NOW + DAY)
        assert verify(store.query).sound


def test_months_may_lie_beside_the_database_alone(loaded: Loaded, shelf: Path) -> None:
    copy = night(loaded, shelf)
    whole = everything(loaded.database)
    shutil.rmtree(shelf / FOLDER)
    with pytest.raises(StoreError, match=r"rests on .*2025-12\.db, which is not there whole; take another copy"):
        check(copy.path)
    restore(check(copy.path, loaded.data_folder / FOLDER), loaded.database, NOW)
    assert everything(loaded.database) == whole


def test_a_tail_verifies_behind_its_months(loaded: Loaded, shelf: Path, here: Here) -> None:
    copy = night(loaded, shelf)
    for path in (copy.path, shelf / FOLDER / "2026-01.db"):
        done = here("verify", "--database", path, "--config", loaded.path, "--json")
        assert (done.code, json.loads(done.out)["ok"]) == (0, True), done


@pytest.mark.parametrize("where", ["closed", "open", "filed"])
def test_a_record_with_a_damage_goes_on_being_closed_copied_and_restored(
    loaded: Loaded, shelf: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is lost stays named by verify; what a month file has is there again."""
    if where == "filed":
        night(loaded, shelf)
    table, row = ("reading", {"closed": 300, "open": 790, "filed": 300}[where])
    with closing(Store.open(loaded.database)) as store:
        with store.transaction() as db:
            assert db.execute(f"DELETE FROM {table} WHERE id = ?", (row,)).rowcount == 1
        bad = verify(store.query).bad
    copy = night(loaded, shelf, NOW + DAY)
    found = months_of(loaded.database)
    assert [one.piece.month for one in found] == CLOSED
    assert [one.piece.bad for one in found] == ([0, bad, 0] if where == "closed" else [0, 0, 0])
    for path in files(loaded.data_folder / FOLDER):
        checked(path)
    restore(check(copy.path), loaded.database, NOW)
    with closing(Store.open(loaded.database)) as store:
        assert verify(store.query).bad == (None if where == "filed" else bad)
    assert ("was not as it was sealed when the copy was taken" in caplog.text) is (where != "filed")


def test_the_records_of_closed_months_outlive_retention(loaded: Loaded) -> None:
    all_closed(loaded)
    with closing(Store.open(loaded.database)) as store:
        while store.purge("record", NOW + DAY, NOW + DAY):
            pass
        assert [row[0] for row in store.query("SELECT DISTINCT kind FROM record")] == ["month"]


def test_an_hour_that_began_without_a_reading_is_lost_by_neither(loaded: Loaded, shelf: Path) -> None:
    """The index by hours is cut with the readings."""
    with closing(Store.open(loaded.database)) as store, store.transaction():
        store.tick(int(NOW.timestamp()) // 3600 + 5)
    copy, whole = night(loaded, shelf), everything(loaded.database)
    restore(check(copy.path), loaded.database, NOW)
    assert everything(loaded.database)["tick"] == whole["tick"]


def test_the_next_nights_copy_no_month_again(loaded: Loaded, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night(loaded, shelf)
    read: list[Path] = []
    real = months.digest_of
    monkeypatch.setattr(months, "digest_of", lambda path: (read.append(path), real(path))[1])
    stamps = {path: path.stat().st_mtime_ns for path in files(shelf / FOLDER)}
    night(loaded, shelf, NOW + DAY)
    assert read == []
    assert {path: path.stat().st_mtime_ns for path in files(shelf / FOLDER)} == stamps


def test_what_a_cut_left_of_an_old_copy_goes_with_the_next_one(loaded: Loaded, shelf: Path) -> None:
    """Not what another run is at just now."""
    old, young = shelf / "station-20260101T000000Z.part", shelf / "station-20260310T035900Z.part"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (1, 1))
    night(loaded, shelf)
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_month_that_is_gone_in_one_place_is_taken_from_the_other(loaded: Loaded, shelf: Path, where: str) -> None:
    night(loaded, shelf)
    folder = loaded.data_folder / FOLDER if where == "here" else shelf / FOLDER
    (folder / "2026-01.db").unlink()
    night(loaded, shelf, NOW + DAY)
    assert digest_of(folder / "2026-01.db") == months_of(loaded.database)[1].sha256


def test_a_month_that_is_whole_nowhere_makes_the_night_copy_all(
    loaded: Loaded, shelf: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(loaded, shelf)
    for folder in (loaded.data_folder / FOLDER, shelf / FOLDER):
        (folder / "2026-01.db").unlink()
    done = here("backup", "--to", shelf, "--config", loaded.path)
    assert done.code == 0
    assert "the month files cannot be had, the whole database is copied instead" in done.err
    assert "2026-01.db" in done.err
    newest = copies(shelf)[-1]
    assert ".since-" not in newest.name
    assert rows(newest, "reading") == rows(loaded.database, "reading")


def rows(database: Path, table: str) -> int:
    with closing(connect(database, read_only=True)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


# -- a cut at every step

ONE_OVER = datetime(2026, 1, 10, tzinfo=UTC)  # one month is closed: each step comes once


def steps(loaded: Loaded, shelf: Path, at: int) -> int:
    """Run a night in a process of its own that ends at its step *at*, cutting what it has not flushed; its exit."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = at

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                for part in (*shelf.rglob("*.part"), *loaded.data_folder.rglob("*.part")):
                    os.truncate(part, part.stat().st_size // 2)
                os._exit(9)
            return real(*arguments, **more)

        return call

    months.synced = counted(months.synced)
    Path.rename, Path.replace, Path.chmod = (counted(one) for one in (Path.rename, Path.replace, Path.chmod))  # type: ignore[method-assign]
    shutil.copyfile = counted(shutil.copyfile)  # type: ignore[assignment]
    keep = counted(keeper(loaded))
    try:
        found = close(loaded.database, ONE_OVER, ZONE, keep)[0]
        brought(loaded.data_folder / FOLDER, shelf / FOLDER, found)
        take(loaded.database, shelf, ONE_OVER, months=found)
    finally:
        os._exit(0)


def test_a_cut_at_any_step_leaves_the_old_state_or_the_new_one_and_the_next_night_goes_on(
    made: Path, tmp_path: Path
) -> None:
    """Nothing is closed twice, nothing is lost, and what a name promises is whole."""
    for at in range(200):
        folder = tmp_path / str(at)
        folder.mkdir()
        loaded = load(configure(folder / "s"))
        shutil.copytree(made, loaded.data_folder)
        shelf = folder / "usb"
        shelf.mkdir()
        ended = steps(loaded, shelf, at)
        for path in (*files(loaded.data_folder / FOLDER), *files(shelf / FOLDER)):
            checked(path)
        for copy in copies(shelf):
            check(copy)
        with closing(Store.open(loaded.database)) as store:
            assert verify(store.query).sound
        if ended == 0:
            break
        copy = night(loaded, shelf, ONE_OVER + timedelta(seconds=1))
        assert [one.piece.month for one in months_of(loaded.database)] == CLOSED[:1]
        whole = everything(loaded.database)
        restore(check(copy.path), loaded.database, NOW)
        assert everything(loaded.database) == whole
        assert not [*(shelf / FOLDER).glob("*.part"), *loaded.data_folder.rglob("*.part")]
        shutil.rmtree(folder)
    assert 12 < at < 199


def test_a_file_without_its_record_is_read_and_recorded_and_one_of_another_past_is_put_aside(loaded: Loaded) -> None:
    folder = loaded.data_folder / FOLDER

    def forgets(body: Mapping[str, Any]) -> None:
        raise StoreError("the power went")

    with pytest.raises(StoreError, match="the power went"):
        close(loaded.database, NOW, ZONE, forgets)
    stamp = (folder / "2025-12.db").stat().st_mtime_ns
    assert months_of(loaded.database) == []
    all_closed(loaded)
    assert (folder / "2025-12.db").stat().st_mtime_ns == stamp
    with closing(Store.open(loaded.database)) as store, store.transaction() as db:
        db.execute("DELETE FROM record WHERE kind = 'month' AND json_extract(body, '$.month') = '2026-02'")
    shutil.copyfile(folder / "2026-01.db", folder / "other")
    (folder / "2026-02.db").chmod(0o640)
    (folder / "other").replace(folder / "2026-02.db")
    all_closed(loaded)
    assert checked(folder / "2026-02.db").month == "2026-02"
    assert [path.name for path in folder.glob("*.other-*")] == ["2026-02.db.other-20260310T040000Z"]


# -- who looks at them


def test_verify_names_a_month_file_that_is_not_as_it_is_on_record(loaded: Loaded, here: Here) -> None:
    all_closed(loaded)
    assert here("verify", "--config", loaded.path).code == 0
    path = loaded.data_folder / FOLDER / "2026-01.db"
    path.unlink()
    done = here("verify", "--config", loaded.path)
    assert (done.code, f"CHANGED: {path} is missing or not as it is on record" in done.out) == (1, True)


def test_the_doctor_knows_what_is_closed_due_and_gone(loaded: Loaded) -> None:
    def looked(now: datetime) -> list[tuple[str, str, str]]:
        with closing(Store(connect(loaded.database, read_only=True))) as store:
            found = list(of_months(store, loaded.data_folder, now, ZONE))
        return [(one.code, one.level, str(one.figures.get("month") or one.figures.get("count"))) for one in found]

    assert looked(datetime(2026, 1, 3, tzinfo=UTC)) == []
    assert looked(NOW) == [("month_due", "warning", "2025-12")]
    all_closed(loaded)
    assert looked(NOW) == [("months", "good", "3")]
    (loaded.data_folder / FOLDER / "2026-01.db").unlink()
    assert [row[:2] for row in looked(NOW)] == [("month_gone", "bad"), ("months", "good")]


def test_month_files_count_as_room_that_is_taken(loaded: Loaded) -> None:
    all_closed(loaded)
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        found = sizes(store)
    assert found["archive"] == sum(path.stat().st_size for path in files(loaded.data_folder / FOLDER)) > 0
    room = Room(1 << 30, 1 << 31, read_only=False)
    with_archive, without = (
        capacity(one, room, loaded.config.disk) for one in (found, found | {"archive": 0})
    )
    assert with_archive is not None
    assert without is not None
    assert with_archive.used - without.used == found["archive"]
    assert (with_archive.growth or 0) > (without.growth or 0)


def test_a_damaged_database_without_a_copy_takes_back_its_months(loaded: Loaded) -> None:
    """What the new file begins with is the record up to the newest month, and its chain goes on."""
    all_closed(loaded)
    whole, last = everything(loaded.database), months_of(loaded.database)[-1].piece.after
    loaded.database.write_bytes(b"rubbish" * 5000)
    recover(loaded, NOW)
    found = everything(loaded.database)
    reached = last.upto["reading"]
    assert found["reading"] == [row for row in whole["reading"] if row[0] <= reached]
    assert found["seal"] == [row for row in whole["seal"] if row[0] <= last.epoch]
    with closing(Store.open(loaded.database)) as store:
        (said,) = [json.loads(body) for (body,) in store.query("SELECT arguments FROM event ORDER BY id DESC LIMIT 1")]
        assert said["months"] == CLOSED[::-1]
        lived(store, NOW, NOW + DAY)
        assert verify(store.query, head=last.head).sound


# -- as typed


def test_backup_closes_months_beside_a_running_station_and_restore_brings_them_back(
    made: Path, tmp_path: Path, shelf: Path, here: Here
) -> None:
    config = configure(tmp_path / "site", ("[[point]]", '[backup]\nfolder = "../usb"\n\n[[point]]'))
    loaded = load(config)
    shutil.copytree(made, loaded.data_folder)
    with daemon(config) as running:
        done = here("backup", "--config", config)
        assert (done.code, done.err) == (0, ""), done
        assert "month 2026-02 is closed: " in done.out
        assert "it rests on" in done.out
        status = json.loads(here("status", "--config", config, "--json").out)
        assert status["backup"]["since"] >= "2026-02"
        again = here("backup", "--config", config, "--whole")
        assert (again.code, "it rests on" in again.out) == (0, False)
        assert running.stop() == 0
    whole, tail = sorted(copies(shelf), key=lambda path: ".since-" in path.name)
    assert (".since-" in whole.name, ".since-" in tail.name) == (False, True)
    before = rows(loaded.database, "reading"), rows(loaded.database, "message")
    checked_only = here("restore", tail, "--check", "--config", config)
    assert (checked_only.code, checked_only.err) == (0, "")
    done = here("restore", tail, "--config", config, "--user", "王芳", "--reason", "a new card")
    assert (done.code, done.err) == (0, ""), done
    found = rows(loaded.database, "reading"), rows(loaded.database, "message")
    assert found[0] <= before[0]
    assert rows(loaded.database, "reading") >= 600
    assert here("verify", "--config", config).code == 0
