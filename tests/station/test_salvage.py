"""A damaged database: put aside, replaced, filled up; shown on files with pages overwritten, cut off or missing."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station import salvage as module
from station.backup import restore, take
from station.model import StoreDamaged
from station.salvage import APPENDED, Salvaged, begun, is_sound, parted, put_aside, recover, salvage
from station.store import PAGE_SIZE, SCHEMA_VERSION, Store, connect, suspect
from tests.station.commands import Here, configure, daemon, served, until
from tests.station.conftest import CONFIG, Rig
from tests.station.test_service import QUICK, count, instruments

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
Rows = dict[str, dict[int, tuple[object, ...]]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of two hours of the station's own writing, with its log folded in."""
    folder = tmp_path_factory.mktemp("whole")
    rig = Rig(folder)
    rig.run(7200)
    rig.engine.shut_down()
    return rig.loaded.database


def contents(path: Path) -> Rows:
    """Every row of every appended table, by its number."""
    with closing(connect(path, read_only=True)) as db:
        return {table: {row[0]: row[1:] for row in db.execute(f"SELECT rowid, * FROM {table}")} for table in APPENDED}


def with_pages_overwritten(path: Path, pages: Sequence[int], rng: random.Random) -> None:
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE_SIZE)
            file.write(rng.randbytes(PAGE_SIZE))


def into_new(damaged: Path, folder: Path) -> tuple[Rows, Salvaged]:
    """What comes over into an empty store."""
    with closing(Store.open(folder / "new" / "station.db")) as store:
        found = salvage(damaged, store, NOW)
    return contents(folder / "new" / "station.db"), found


def test_all_of_a_sound_database_comes_over(whole: Path, tmp_path: Path) -> None:
    rows, found = into_new(whole, tmp_path)
    assert rows == contents(whole)
    assert (found.lost, found.unfinished) == ({}, False)
    state = ("boot", "clock", "series", "tick", "platform", "span", "schedule")
    for table in state:
        with closing(connect(whole)) as old, closing(connect(tmp_path / "new" / "station.db")) as new:
            assert list(new.execute(f"SELECT * FROM {table}")) == list(old.execute(f"SELECT * FROM {table}")), table


@pytest.mark.parametrize("seed", range(40))
def test_of_a_file_with_lost_pages_every_row_that_comes_over_is_true(whole: Path, tmp_path: Path, seed: int) -> None:
    """One to four pages of rubbish anywhere behind the schema: nothing altered, nothing invented."""
    rng = random.Random(seed)
    damaged = tmp_path / "station.db.bad"
    shutil.copy(whole, damaged)
    pages = whole.stat().st_size // PAGE_SIZE
    with closing(connect(whole, read_only=True)) as db:
        roots = {row[0] for row in db.execute("SELECT rootpage FROM sqlite_schema")}
    first = max(roots)  # the schema and the roots: what is lost with them is shown below
    with_pages_overwritten(damaged, rng.sample(range(first, pages), rng.randint(1, 4)), rng)
    true = contents(whole)
    rows, _ = into_new(damaged, tmp_path)
    for table in APPENDED:
        assert {n: row for n, row in rows[table].items() if true[table].get(n) != row} == {}, table
    assert len(rows["reading"]) >= len(true["reading"]) // 4


def test_one_lost_leaf_costs_its_rows_alone_and_they_are_counted(whole: Path, tmp_path: Path) -> None:
    damaged, page = tmp_path / "station.db.bad", leaf_of_readings(whole)
    shutil.copy(whole, damaged)
    with_pages_overwritten(damaged, [page], random.Random(1))
    true = contents(whole)
    rows, found = into_new(damaged, tmp_path)
    gone = sorted(set(true["reading"]) - set(rows["reading"]))
    assert 0 < len(gone) < 80
    assert gone == list(range(gone[0], gone[-1] + 1))
    assert found.lost == {"reading": len(gone)}
    assert {t: rows[t] for t in APPENDED if t != "reading"} == {t: true[t] for t in APPENDED if t != "reading"}


def leaf_of_readings(path: Path) -> int:
    """The number (from 0) of a page in the middle of the file that holds readings and nothing else."""
    with closing(connect(path, read_only=True)) as db:
        (at,) = db.execute("SELECT at_ms FROM reading WHERE id = (SELECT max(id) / 2 FROM reading)").fetchone()
    return path.read_bytes().index(at.to_bytes(6, "big")) // PAGE_SIZE


@pytest.mark.parametrize("share", [0.45, 0.6, 0.95])
def test_a_file_that_is_cut_off_gives_what_stands_before_the_cut(whole: Path, tmp_path: Path, share: float) -> None:
    damaged = tmp_path / "station.db.bad"
    damaged.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    true = contents(whole)
    rows, found = into_new(damaged, tmp_path)
    for table in APPENDED:
        assert all(true[table].get(number) == row for number, row in rows[table].items()), table
    assert len(rows["reading"]) > len(true["reading"]) * (share - 0.25)  # a quarter of this small file is no rows
    assert {"reading", "message"} <= set(found.open_ended)
    assert (tmp_path / "station.db.bad-tail").exists() == bool(int(whole.stat().st_size * share) % PAGE_SIZE)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"\xa5" * 4096])
def test_of_a_file_without_a_schema_nothing_comes_over_and_that_is_said(tmp_path: Path, content: bytes) -> None:
    damaged = tmp_path / "station.db.bad"
    damaged.write_bytes(content)
    rows, found = into_new(damaged, tmp_path)
    assert not any(rows.values())
    assert found.lost


def test_when_nobody_knows_what_is_owed_the_last_month_goes_again(whole: Path, tmp_path: Path) -> None:
    """The page of the spans is lost: messages within OWED_AGAIN are owed, whatever was answered."""
    damaged = tmp_path / "station.db.bad"
    shutil.copy(whole, damaged)
    with closing(connect(damaged)) as db:
        db.execute("UPDATE platform SET live = (SELECT max(id) FROM message)")
        db.execute("INSERT INTO span VALUES (1, 1, 1, 1, -1, 0, 0, '', 0)")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'span'").fetchone()
    with_pages_overwritten(damaged, [root - 1], random.Random(2))
    with closing(connect(whole, read_only=True)) as db:
        (start,) = db.execute("SELECT max(start_ms) FROM message").fetchone()
    with closing(Store.open(tmp_path / "new" / "station.db")) as store:
        found = salvage(damaged, store, datetime.fromtimestamp(start / 1000, UTC) + timedelta(days=30))
        assert "span" in found.open_ended
        ((live,),) = store.query("SELECT live FROM platform")
        ((first,),) = store.query("SELECT min(id) FROM message")
    assert live == first - 1


def test_a_copy_and_the_damaged_file_fit_into_one_another(rig: Rig, tmp_path: Path) -> None:
    """The copy is old; what came after it comes from the damaged file, and what the file lost from the copy."""
    rig.run(3600)
    take(rig.loaded.database, shelf(rig), NOW)
    copied = contents(rig.loaded.database)
    rig.run(1800)
    rig.engine.store.close()
    true = contents(rig.loaded.database)
    with_pages_overwritten(rig.loaded.database, [leaf_of_readings(rig.loaded.database)], random.Random(3))
    bad = recover(rig.loaded, NOW)
    rows = contents(rig.loaded.database)
    assert set(copied["reading"]) < set(rows["reading"]) == set(true["reading"])
    for table in ("reading", "average", "message"):
        assert rows[table] == true[table], table
    assert bad.name == "station.db.bad-20261130T120000Z"
    (event,) = [row for row in rows["event"].values() if row[2] == "database_damaged"]
    body = json.loads(str(event[3]))
    assert (body["file"], body["copy"]) == (bad.name, "station-20261130T120000Z.db")
    assert body["lost"]["reading"] > 0
    rig.engine = rig.start()
    rig.run(120)
    assert max(contents(rig.loaded.database)["reading"]) > max(true["reading"])


def shelf(rig: Rig) -> Path:
    folder = rig.folder / "usb"
    folder.mkdir()
    (rig.folder / "station.toml").write_text(CONFIG + '\n[backup]\nfolder = "usb"\n', encoding="utf-8")
    from station.config import load

    rig.loaded = load(rig.folder / "station.toml")
    return folder


def test_what_the_time_does_not_suffice_for_is_left_and_brought_over_later(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    """Newest first; the rest comes with `station salvage` while the station is stopped."""
    monkeypatch.setattr(module, "BLOCK", 100)
    config = configure(tmp_path / "site")
    damaged = tmp_path / "site" / "station.db.bad"
    shutil.copy(whole, damaged)
    true, clock = contents(whole), iter(range(1000))
    database = tmp_path / "site" / "data" / "station.db"
    with closing(Store.open(database)) as store:
        found = salvage(damaged, store, NOW, deadline=15, monotonic=lambda: float(next(clock)))
    some = contents(database)["reading"]
    assert found.unfinished
    assert 0 < len(some) < len(true["reading"])
    assert min(some) > min(true["reading"])
    assert max(some) == max(true["reading"])
    done = here("salvage", damaged, "--config", config, "--json")
    assert done.code == 0, done.err
    assert contents(database)["reading"] == true["reading"]
    assert json.loads(done.out)["there"]["reading"] == len(some)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def test_salvage_says_what_came_in_both_languages(whole: Path, tmp_path: Path, here: Here) -> None:
    config = configure(tmp_path / "site")
    done = here("salvage", whole, "--config", config)
    assert done.code == 0, done.err
    assert done.out.split()[:6] == ["table", "brought", "over", "there", "already", "not"]
    assert "原已有" in here("salvage", whole, "--config", config, "--lang", "zh").out
    missing = here("salvage", tmp_path / "none", "--config", config)
    assert (missing.code, missing.err) == (74, f"{tmp_path}/none: is not there\n")
    own = here("salvage", tmp_path / "site" / "data" / "station.db", "--config", config)
    assert own.code == 2


# -- cut short, and other ways


class Cut(BaseException):
    """The power goes."""


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("at", ["log alone renamed", "put_aside", "_newest_copy", "salvage", "_plausible", "plain"])
def test_a_recovery_that_is_cut_at_any_step_is_gone_on_with(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, at: str, copied: bool
) -> None:
    """The next start neither begins an empty record nor loses what stood in the log or the damaged file alone."""
    rig.run(1800)
    if copied:
        take(rig.loaded.database, shelf(rig), NOW)
    rig.run(600)
    database = rig.loaded.database
    shutil.copy(database, rig.folder / "kept.db")
    shutil.copy(f"{database}-wal", rig.folder / "kept.db-wal")  # as after a cut: the log is not folded in
    rig.engine.store.close()
    shutil.copy(rig.folder / "kept.db", database)
    shutil.copy(rig.folder / "kept.db-wal", f"{database}-wal")
    true = contents(rig.folder / "kept.db")

    def cut(*_: object, **__: object) -> None:
        raise Cut

    calls = iter(range(10**6))
    if at == "log alone renamed":
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda one, to: rename(one, to) if next(calls) < 1 else cut())
    elif at == "_plausible":
        monkeypatch.setattr(module, "_plausible", lambda *_: next(calls) < 300 or cut())
    else:
        monkeypatch.setattr(module, at, cut)
    with pytest.raises(Cut):
        recover(rig.loaded, NOW)
    monkeypatch.undo()
    damaged, _ = begun(database)
    assert suspect(database).exists()
    assert damaged is not None
    bad = recover(rig.loaded, NOW + timedelta(minutes=1))
    assert bad == damaged
    rows = contents(database)
    for table in ("reading", "average", "message"):
        assert rows[table] == true[table], table
    (event,) = [row for row in rows["event"].values() if row[2] == "database_damaged"]
    assert json.loads(str(event[3]))["copy"] == ("station-20261130T120000Z.db" if copied else None)
    assert not suspect(database).exists()
    assert [path.name for path in database.parent.glob("*.bad-*Z")] == [bad.name]


def test_a_database_that_somebody_took_away_is_begun_anew(rig: Rig) -> None:
    rig.run(60)
    rig.engine.store.close()
    for path in rig.loaded.data_folder.glob("station.db*"):
        path.unlink()
    suspect(rig.loaded.database).touch()
    recover(rig.loaded, NOW)
    (event,) = [row for row in contents(rig.loaded.database)["event"].values() if row[2] == "database_damaged"]
    assert json.loads(str(event[3]))["lost"] == {"database": 1}


def test_a_file_that_went_another_way_is_not_mixed_in(rig: Rig, here: Here) -> None:
    """A station that ran on from an older copy gave the same numbers to other rows."""
    rig.run(1800)
    copy, _ = take(rig.loaded.database, shelf(rig), NOW)
    rig.run(900)
    take(rig.loaded.database, rig.folder / "usb", NOW + timedelta(hours=1))
    rig.engine.store.close()
    former = restore(copy, rig.loaded.database, NOW)
    assert former is not None
    assert not parted(former, rig.loaded.database)  # nothing ran on it yet: what it lacks can follow
    rig.clock.step(5)
    rig.engine = rig.start()
    rig.run(600)
    rig.engine.store.close()
    before = contents(rig.loaded.database)
    done = here("salvage", former, "--config", rig.folder / "station.toml")
    assert done.code == 74
    assert "went on from an older copy; nothing was brought over" in done.err
    assert contents(rig.loaded.database) == before
    with_pages_overwritten(rig.loaded.database, [leaf_of_readings(rig.loaded.database)], random.Random(3))
    recover(rig.loaded, NOW + timedelta(hours=2))  # the newest copy is of the other way
    rows = contents(rig.loaded.database)
    assert {n: row for n, row in rows["reading"].items() if before["reading"].get(n) != row} == {}
    assert set(rows["reading"]) == set(before["reading"])  # the older copy fits
    (event,) = [row for row in rows["event"].values() if row[2] == "database_damaged"]
    assert json.loads(str(event[3]))["copy"] == copy.path.name


def test_two_events_of_one_number_are_both_kept(rig: Rig, here: Here) -> None:
    """That of a restored copy, and that of the former file, whose seals come over with it."""
    rig.run(1800)
    copy, _ = take(rig.loaded.database, shelf(rig), NOW)
    rig.run(900)
    rig.engine.note("stop")
    rig.engine.commit(last=True)
    rig.engine.store.close()
    config = ("--config", rig.folder / "station.toml")
    back = here("restore", copy.path, *config, "--user", "Wang Fang", "--reason", "the card", "--json")
    assert back.code == 0, back.err
    former = Path(json.loads(back.out)["former"])
    was = contents(former)["event"]
    (number, restored), *more = [(n, one) for n, one in contents(rig.loaded.database)["event"].items() if n in was
                                 and one != was[n]]  # fmt: skip
    assert (restored[2], more) == ("restored", [])
    done = here("salvage", former, *config, "--json")
    assert done.code == 0, done.err
    rows = contents(rig.loaded.database)["event"]
    assert {n: row for n, row in was.items() if rows[n] != row} == {}
    (again,) = [n for n, row in rows.items() if row[2] == "restored"]
    assert rows[again][1:] == (again, *restored[1:])[1:]
    assert again == max(was) + 1
    assert json.loads(done.out)["renumbered"] == {f"restored {number}": again}
    assert here("verify", *config).code == 0
    count = len(rows)
    assert json.loads(here("salvage", former, *config, "--json").out)["renumbered"] == {}
    assert len(contents(rig.loaded.database)["event"]) == count + 1  # that of the second salvage
    assert f"got another number: restored {number} {again}" in here("events", *config, "--code", "salvaged").out


def test_an_event_of_a_file_behind_the_seals_gets_a_number_of_its_own(rig: Rig, here: Here) -> None:
    """The store went on, so its own event keeps the number that is sealed; the other one follows, once."""
    rig.run(700)
    rig.engine.store.close()
    former = rig.folder / "former.db"
    shutil.copy(rig.loaded.database, former)
    with closing(sqlite3.connect(former)) as db, db:
        db.execute("UPDATE event SET arguments = '{\"other\": 1}' WHERE id = 1")
        db.execute("DELETE FROM reading WHERE id > 50")
    for times in range(2):
        with closing(Store.open(rig.loaded.database)) as store:
            before = contents(rig.loaded.database)["event"]
            found = salvage(former, store, NOW)
        rows = contents(rig.loaded.database)["event"]
        assert {n: row for n, row in before.items() if rows[n] != row} == {}
        assert len(rows) == len(before) + (times == 0)
        assert (len(found.renumbered), found.rows.get("event", 0)) == ((1, 1) if times == 0 else (0, 0))
    assert rows[max(rows)][3] == '{"other": 1}'


# -- a start


def test_only_damage_is_taken_for_damage(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "station.db"
    shutil.copy(whole, path)
    assert is_sound(path)
    with_pages_overwritten(path, [leaf_of_readings(path)], random.Random(4))
    assert not is_sound(path)
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(StoreDamaged, match="is damaged"):
        Store.open(path)
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(Exception, match="newer version") as refused:
        Store.open(tmp_path / "newer.db")
    assert not isinstance(refused.value, StoreDamaged)


def test_putting_aside_takes_the_log_along(tmp_path: Path) -> None:
    for name in ("station.db", "station.db-wal", "station.db-shm"):
        (tmp_path / name).write_text(name)
    bad = tmp_path / "station.db.bad-1"
    put_aside(tmp_path / "station.db", bad)
    assert sorted(path.name for path in tmp_path.iterdir()) == [bad.name, f"{bad.name}-shm", f"{bad.name}-wal"]


@pytest.mark.parametrize("how", ["header", "leaf"])
def test_a_station_on_a_damaged_database_measures_again_by_itself(tmp_path: Path, how: str) -> None:
    """A broken header shows at the start; a broken page ends the process, and its next start mends it."""
    config = configure(tmp_path / "site", *QUICK)
    database = tmp_path / "site" / "data" / "station.db"
    with instruments(config):
        with daemon(config) as process:
            until(lambda: count(config) >= 2)
            assert process.stop() == 0
        if how == "header":
            database.write_bytes(b"\xa5" * 4096 + database.read_bytes()[4096:])
        else:
            with closing(connect(database, read_only=True)) as db:
                (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'tick'").fetchone()
            with_pages_overwritten(database, [root - 1], random.Random(5))  # read by a commit, not by the opening
            with served("run", "--config", config) as process:
                assert process.ended(20) == 74, process.text
            assert suspect(database).exists()
        with daemon(config) as process:
            until(lambda: count(config) >= 2, 30, lambda: process.text)
            assert process.stop() == 0
    assert not suspect(database).exists()
    assert len(list(database.parent.glob("station.db.bad-*Z"))) == 1
    assert "is damaged; kept as station.db.bad-" in process.text
    with closing(connect(database, read_only=True)) as db:
        assert db.execute("SELECT count(*) FROM event WHERE code = 'database_damaged'").fetchone() == (1,)


def test_a_warning_that_proves_wrong_changes_nothing(tmp_path: Path) -> None:
    config = configure(tmp_path / "site")
    with daemon(config) as process:
        assert process.stop() == 0
    database = tmp_path / "site" / "data" / "station.db"
    suspect(database).touch()
    with daemon(config) as process:
        assert process.stop() == 0
    assert "was said to be damaged, and all of it can be read" in process.text
    assert not suspect(database).exists()
    assert list(database.parent.glob("station.db.bad-*Z")) == []
