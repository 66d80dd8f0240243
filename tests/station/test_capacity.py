"""Room on the disk: days left, alarms, and raw months that leave, each answered for, copied, counted and on record."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from station import capacity, cli_disk
from station.backup import take
from station.capacity import Capacity, Watch, covering, held, months, release
from station.config import DiskSettings, Loaded, load
from station.host import Host, Room
from station.model import Average, Kind, Mark, Reading, Record, Report, StoreError, WrongArgument
from station.seal import Verdict, verify
from station.sealing import seal_due
from station.status import sizes
from station.store import Series, Store, connect, rows_of
from tests.station.commands import Here, configure, daemon
from tests.station.conftest import CONFIG, Rig

DAYS, A_DAY = 130, 40  # of readings, and readings of each day
WHO = {"user": "Li", "reason": "the card is full"}
NOW = datetime(2026, 3, 20, 4, tzinfo=UTC)
ROOM = Room(4_000_000_000, 8_000_000_000, read_only=False)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder on another file system than the tests' own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def build(folder: Path, now: datetime, *changes: tuple[str, str]) -> Loaded:
    """A station with DAYS of readings up to *now*, sealed as they came; its newest periods are closed."""
    loaded = load(configure(folder, *changes))
    loaded.data_folder.mkdir(exist_ok=True)
    series = {("dust", "pm25"): Series("dust", "site", "pm25")}
    with closing(Store.open(loaded.database)) as store:
        store.begin_boot("a boot")
        with store.transaction():
            store.register(series.values())
        for day in range(DAYS, 0, -1):
            start = now - timedelta(days=day)
            with store.transaction():
                for n in range(A_DAY):
                    at = start + n * timedelta(minutes=30)
                    store.tick(int(at.timestamp()) // 3600)
                    store.add_readings([Reading("dust", "site", "pm25", at, float(n), float(n), Mark.N)], series)
                seal_due(store, start + timedelta(days=1))
        with store.transaction():
            for kind, length in ((Kind.MINUTE, 1), (Kind.HOUR, 60), (Kind.DAY, 1440)):
                start = now.replace(minute=0) - timedelta(minutes=length)
                store.add_average(Report(kind, "site", start, (Average("pm25", 1.0, 1.0, 1.0, Mark.N, 1, 1, 1),)))
    return loaded


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return build(tmp_path / "s", NOW)


@pytest.fixture
def store(loaded: Loaded) -> Iterator[Store]:
    with closing(Store.open(loaded.database)) as opened:
        yield opened


def readings(store: Store) -> int:
    return int(store.query("SELECT count(*) FROM reading")[0][0])


def checked(store: Store) -> Verdict:
    return verify(store.query, kept_from_ms=0)


def copied(store: Store, loaded: Loaded, shelf: Path, now: datetime = NOW) -> Path:
    """A copy that was read back, on record as station backup keeps it."""
    copy, _ = take(loaded.database, shelf, now)
    newest = copy.newest.isoformat() if copy.newest else None
    body = {"path": str(copy.path), "sha256": copy.sha256, "newest": newest, "last_ids": copy.last_ids}
    with store.transaction():
        store.add_records([Record("backup", now, body)])
    return copy.path


# -- how long it lasts


def told_of(free: int, used: int, inside: int, **settings: Any) -> Capacity:
    times = {"oldest": "2026-01-01T00:00:00+00:00", "newest": "2026-01-11T00:00:00+00:00"}
    found = capacity.capacity(
        {"bytes": used, "inside": inside, **times}, Room(free, 1 << 40, False), DiskSettings(**settings)
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("free", "used", "inside", "settings", "left", "low", "days"),
    [
        (900, 100, 0, {}, 900, False, 90.0),
        (900, 100, 50, {}, 950, False, 190.0),
        (900, 100, 0, {"floor_mb": 500}, 400, False, 40.0),
        (900, 100, 0, {"floor_mb": 1000}, -100, True, 0.0),
        (900, 100, 200, {"floor_mb": 1000}, 100, False, None),
        (900, 100, 0, {"budget_mb": 200}, 100, False, 10.0),
        (900, 100, 0, {"budget_mb": 90}, -10, True, 0.0),
        (50, 100, 0, {"budget_mb": 200, "floor_mb": 10}, 40, False, 4.0),
    ],
)
def test_days_left_follow_from_room_growth_budget_and_floor(
    free: int, used: int, inside: int, settings: dict[str, int], left: int, low: bool, days: float | None
) -> None:
    mb = 1_000_000
    found = told_of(free * mb, used * mb, inside * mb, **settings)
    assert (found.left, found.low) == (left * mb, low)
    if days is not None:
        assert found.days_left == pytest.approx(days)


def test_growth_is_not_known_before_a_day_of_readings(tmp_path: Path) -> None:
    day = {"bytes": 100, "inside": 0, "oldest": "2026-01-01T00:00:00+00:00", "newest": "2026-01-01T23:00:00+00:00"}
    for known in (day, {**day, "oldest": None, "newest": None}):
        found = capacity.capacity(known, ROOM, DiskSettings())
        assert found is not None
        assert (found.growth, found.days_left) == (None, None)
    assert capacity.capacity(day, None, DiskSettings()) is None


def test_wear_says_whose_count_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = told_of(10**9, 10**8, 0)
    told = capacity.told(found, Host(tmp_path), tmp_path)
    assert (told["written_by"], told["written_bytes_a_day"]) == ("database", 10**7)
    monkeypatch.setattr(Host, "written", lambda self, folder: type("W", (), {"a_day": 5e8})())
    told = capacity.told(found, Host(tmp_path), tmp_path)
    assert (told["written_by"], told["written_bytes_a_day"]) == ("kernel", 500_000_000)


class Disk(Host):
    """A disk with so much room as is said."""

    free = 4_000_000_000

    def room(self, folder: Path) -> Room | None:
        return Room(self.free, 8_000_000_000, read_only=False)


def test_the_floor_is_an_alarm_once_and_its_end_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = CONFIG.replace("\n[[point]]", "\n[disk]\nfloor_mb = 500\n\n[[point]]", 1)
    rig = Rig(tmp_path, config)
    watch, disk = rig.engine.capacity, Disk()
    assert isinstance(watch, Watch)
    watch._host = disk
    for free, seconds in ((4_000, 61), (400, 61), (300, 61), (501, 61), (600, 61)):
        disk.free = free * 1_000_000
        rig.run(seconds)
    rig.run(61)
    rows = rig.engine.store.query("SELECT code, arguments FROM event WHERE code LIKE 'capacity%' ORDER BY id")
    assert [code for code, _ in rows] == ["capacity_low", "capacity_back"]
    assert json.loads(rows[0][1])["free_mb"] == 400
    assert len([one for one in caplog.records if "its floor or budget is reached" in one.getMessage()]) == 1
    rig.engine.shut_down()


def test_without_a_table_nobody_looks(rig: Rig) -> None:
    assert rig.engine.capacity is None
    assert rig.engine.periods.raw_from is None


# -- what may leave


def test_whole_months_that_are_a_month_old_may_leave(loaded: Loaded, store: Store) -> None:
    ends = months(store, NOW, loaded.zone)
    assert [f"{end:%Y-%m-%d %H:%M %z}" for end in ends] == [
        "2025-12-01 00:00 +0800", "2026-01-01 00:00 +0800", "2026-02-01 00:00 +0800",
    ]  # fmt: skip
    assert months(store, NOW - timedelta(days=200), loaded.zone) == []


def owe(store: Store, at: datetime) -> None:
    """A platform that is owed a message of the period at *at*."""
    with store.transaction() as db:
        db.execute(
            "INSERT INTO platform(id, name, live, tried, reserved, answered, unconfirmed, resupplied, dropped)"
            " VALUES (1, 'district', ?, 0, 0, 0, 0, 0, 0)", (1 << 40,)
        )  # fmt: skip
        store.add_messages([(1, Kind.HOUR, "site", at, 1, "a text")])


def test_what_a_platform_is_owed_stays(loaded: Loaded, store: Store) -> None:
    owe(store, datetime(2026, 1, 10, tzinfo=UTC))
    assert [f"{end:%Y-%m}" for end in months(store, NOW, loaded.zone)] == ["2025-12", "2026-01"]
    end = capacity.month_in("2026-02", loaded.zone)
    with pytest.raises(WrongArgument, match=r"district is owed messages since 2026-01-10.*does not leave"):
        release(store, end, NOW, WHO, copied=False)
    assert readings(store) == DAYS * A_DAY


def test_young_months_and_months_that_are_gone_are_refused(loaded: Loaded, store: Store) -> None:
    for month, said in (("2026-03", "readings of the last 31 days stay"), ("2025-11", "no readings of months before")):
        with pytest.raises(WrongArgument, match=said):
            release(store, capacity.month_in(month, loaded.zone), NOW, WHO, copied=False)
    with pytest.raises(WrongArgument, match="is not a month such as"):
        capacity.month_in("2026-13", loaded.zone)


def test_nothing_leaves_for_a_copy_that_is_not_on_record_or_ends_too_early(
    loaded: Loaded, store: Store, shelf: Path
) -> None:
    end = capacity.month_in("2026-01", loaded.zone)
    with pytest.raises(WrongArgument, match="no copy on record holds these readings"):
        release(store, end, NOW, WHO, copied=True)
    early = {"path": "x", "sha256": "y", "newest": "2025-12-30T00:00:00+00:00", "last_ids": {"reading": 10}}
    with store.transaction():
        store.add_records([Record("backup", NOW, early), Record("backup", NOW, {"path": "of before", "sha256": "z"})])
    assert covering(store, store.reading_floor(end), end) is None


def test_what_leaves_is_counted_on_record_and_told_and_the_rest_is_untouched(
    loaded: Loaded, store: Store, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "CHUNK", 500)
    path, end = copied(store, loaded, shelf), capacity.month_in("2026-01", loaded.zone)
    rest = store.query("SELECT * FROM reading WHERE at_ms >= ? ORDER BY id", (round(end.timestamp() * 1000),))
    body = release(store, end, NOW, WHO, copied=True)
    assert body["rows"] == DAYS * A_DAY - readings(store) > 1500
    assert store.query("SELECT * FROM reading ORDER BY id")[-len(rest) :] == rest
    assert readings(store) - len(rest) <= A_DAY  # what shares an hour with the boundary stays
    (kept,) = store.newest_records("released", "kind")
    assert kept.body == body
    assert {**WHO, "copy": str(path), "first": 1, "last": body["rows"]}.items() <= body.items()
    ((arguments,),) = store.query("SELECT arguments FROM event WHERE code = 'readings_released'")
    assert json.loads(arguments)["rows"] == body["rows"]
    assert held(store) == {path.name}
    assert sizes(store)["inside"] > 0


def test_a_copy_that_differs_from_the_database_is_found_before_anything_leaves(
    loaded: Loaded, store: Store, shelf: Path
) -> None:
    path = copied(store, loaded, shelf)
    last = store.reading_floor(capacity.month_in("2026-01", loaded.zone))
    with closing(connect(path, read_only=True)) as copy:
        there = partial(rows_of, copy, "copy")
        assert capacity.compare(there, "copy", store.query, last) == last
        with store.transaction() as db:
            db.execute("UPDATE reading SET raw = raw + 1 WHERE id = 700")
        with pytest.raises(StoreError, match="copy: does not hold readings 1 to 2064 as the database does"):
            capacity.compare(there, "copy", store.query, last)


# -- and the seals


def test_verify_takes_what_a_sealed_record_says_has_left(loaded: Loaded, store: Store) -> None:
    assert checked(store).sound
    release(store, capacity.month_in("2026-01", loaded.zone), NOW, WHO, copied=False)
    unsealed = checked(store)
    assert (unsealed.sound, unsealed.bad, unsealed.why) == (False, 1, "rows")  # the record is in no block yet
    with store.transaction():
        seal_due(store, NOW)
    found = checked(store)
    assert found.sound
    assert found.gone > 10
    release(store, capacity.month_in("2026-02", loaded.zone), NOW + timedelta(days=1), WHO, copied=False)
    with store.transaction():
        seal_due(store, NOW + timedelta(days=1))
    assert checked(store).sound
    assert checked(store).gone > found.gone


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        ("DELETE FROM reading WHERE id = (SELECT max(id) - 500 FROM reading)", "rows"),
        ("DELETE FROM reading WHERE id = (SELECT min(id) FROM reading)", "rows"),
        ("DELETE FROM reading WHERE id <= (SELECT min(id) + 400 FROM reading)", "rows"),
        ("UPDATE reading SET raw = raw + 1 WHERE id = (SELECT max(id) - 500 FROM reading)", "rows"),
        ("UPDATE record SET body = json_set(body, '$.last', 99999) WHERE kind = 'released'", "rows"),
        ("DELETE FROM record WHERE kind = 'released'", "rows"),
    ],
)
def test_more_than_was_released_does_not_leave_unseen(loaded: Loaded, store: Store, attack: str, why: str) -> None:
    release(store, capacity.month_in("2026-01", loaded.zone), NOW, WHO, copied=False)
    with store.transaction():
        seal_due(store, NOW)
    assert checked(store).sound
    with store.transaction() as db:
        assert db.execute(attack).rowcount >= 1
    found = checked(store)
    assert (found.sound, found.why) == (False, why)


def test_a_forged_word_in_a_block_that_lacks_readings_explains_nothing(loaded: Loaded, store: Store) -> None:
    """Whoever turns an old record into one of a release breaks the block that it is in, and is not believed."""
    with store.transaction():
        store.add_records([Record("note", NOW, {"text": "an old record"})])
        seal_due(store, NOW)
    with store.transaction() as db:
        db.execute("UPDATE record SET kind = 'released', body = '{\"last\": 99999}' WHERE kind = 'note'")
        db.execute("DELETE FROM reading WHERE id <= 3000")
    assert not checked(store).sound


# -- beside it


def test_a_mark_by_hand_closes_nothing_anew_of_what_has_left(loaded: Loaded, tmp_path: Path, store: Store) -> None:
    release(store, capacity.month_in("2026-02", loaded.zone), NOW, WHO, copied=False)
    store.close()
    rig = Rig(tmp_path / "s", now=NOW)
    assert rig.engine.periods.raw_from == datetime(2026, 1, 31, 16, tzinfo=UTC)
    rig.engine.periods.touch(datetime(2026, 1, 10, tzinfo=UTC), datetime(2026, 1, 11, tzinfo=UTC))
    assert not rig.engine.periods.behind
    rig.engine.shut_down()


def test_a_copy_that_holds_what_has_left_is_never_rotated_away(loaded: Loaded, store: Store, shelf: Path) -> None:
    path = copied(store, loaded, shelf)
    release(store, capacity.month_in("2026-01", loaded.zone), NOW, WHO, copied=True)
    for day in range(1, 5):
        _, removed = take(loaded.database, shelf, NOW + timedelta(days=day), keep=1, held=held(store))
        assert path not in removed
    assert path.exists()
    assert len(list(shelf.glob("station-*.db"))) == 2


# -- the commands


def today() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def test_a_person_lets_months_leave_of_a_running_station(tmp_path: Path, here: Here, shelf: Path) -> None:
    loaded = build(tmp_path / "s", today())
    config, before = loaded.path, f"{today().astimezone(loaded.zone) - timedelta(days=65):%Y-%m}"
    who = ("--before", before, "--user", "Li", "--reason", "full", "--config", config)
    with daemon(config) as process:
        done = here("disk", "release", *who)
        assert (done.code, len(done.said)) == (2, 1)
        assert "no copy on record holds these readings" in done.err
        assert here("backup", "--to", shelf, "--config", config).code == 0
        shown = json.loads(here("disk", "show", "--json", "--config", config).out)
        assert {"before": before, "copied": True} in shown["may_leave"]
        assert shown["disk"]["days_left"] > 0
        done = here("disk", "release", *who, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["rows"] > 500
        assert process.stop() == 0
        assert "readings of months before" in process.text
    assert here("verify", "--config", config).code == 0
    done = here("status", "--config", config)
    assert "room for" in done.out
    assert "MB free" in done.out
    assert "readings_released" in here("events", "--config", config).out


def test_without_a_station_and_without_a_copy_a_person_says_so_himself(tmp_path: Path, here: Here) -> None:
    loaded = build(tmp_path / "s", today())
    before = f"{today().astimezone(loaded.zone) - timedelta(days=65):%Y-%m}"
    words = ("--before", before, "--reason", "full", "--config", loaded.path)
    assert here("disk", "release", *words, "--user", " ").code == 2
    done = here("disk", "release", *words, "--user", "Li", "--without-copy", "--lang", "zh")
    assert (done.code, "原始读数已移出" in done.out) == (0, True)
    assert "磁盘:数据库" in here("disk", "show", "--config", loaded.path, "--lang", "zh").out


def test_a_copy_that_was_changed_since_lets_nothing_leave(tmp_path: Path, here: Here, shelf: Path) -> None:
    loaded = build(tmp_path / "s", today())
    before = f"{today().astimezone(loaded.zone) - timedelta(days=65):%Y-%m}"
    assert here("backup", "--to", shelf, "--config", loaded.path).code == 0
    (copy,) = shelf.glob("*.db")
    with copy.open("r+b") as file:
        file.seek(50_000)
        file.write(b"\xff" * 8)
    done = here("disk", "release", "--before", before, "--user", "Li", "--reason", "full", "--config", loaded.path)
    assert (done.code, len(done.said)) == (74, 1)
    assert "is not as it was written" in done.err
    copy.unlink()
    done = here("disk", "release", "--before", before, "--user", "Li", "--reason", "full", "--config", loaded.path)
    assert (done.code, "is not there" in done.err) == (74, True)


BUDGET = ("\n[[point]]", '\n[disk]\nbudget_mb = 1\nrelease = "copied"\n\n[[point]]')


def test_the_nightly_copy_lets_the_older_half_leave_at_the_budget(
    tmp_path: Path, here: Here, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = build(tmp_path / "s", today(), BUDGET)
    monkeypatch.setattr(capacity, "MB", 10_000)  # a budget of 10 kB, which is reached
    (tmp_path / "here").mkdir()
    done = here("backup", "--to", tmp_path / "here", "--config", loaded.path)
    assert (done.code, "nothing leaves for a copy on the same disk" in done.err) == (0, True)
    done = here("backup", "--to", shelf, "--config", loaded.path, "--json")
    assert done.code == 0
    left = json.loads(done.out)["released"]
    assert (left["user"], left["rows"] > 0) == ("station backup", True)
    (copy,) = shelf.glob("*.db")
    assert left["copy"] == str(copy)
    monkeypatch.setattr(capacity, "MB", 1_000_000)  # and one that is not
    with closing(Store(connect(loaded.database, read_only=True))) as store:
        assert cli_disk.room(loaded, sizes(store)) is not None


def test_room_that_is_enough_lets_nothing_leave(tmp_path: Path, here: Here, shelf: Path) -> None:
    loaded = build(
        tmp_path / "s", today(), ("\n[[point]]", '\n[disk]\nbudget_mb = 500\nrelease = "copied"\n\n[[point]]')
    )
    done = here("backup", "--to", shelf, "--config", loaded.path, "--json")
    assert (done.code, "released" in json.loads(done.out)) == (0, False)
