"""Copies of the database and the way back: beside a running station, with faults at every step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station import backup
from station.backup import check, copies, restore, take
from station.model import StoreError
from station.store import Store, connect
from tests.station.commands import Here, configure, daemon, station, until
from tests.station.conftest import Rig

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder for copies."""
    folder = tmp_path / "usb"
    folder.mkdir()
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def rows(path: Path) -> list[tuple[object, ...]]:
    """Every reading in the database at *path*."""
    with closing(connect(path, read_only=True)) as db:
        return db.execute("SELECT id, at_ms, raw, mark FROM reading ORDER BY id").fetchall()


def codes(path: Path) -> list[tuple[str, dict[str, object]]]:
    with closing(connect(path, read_only=True)) as db:
        found = db.execute("SELECT code, arguments FROM event ORDER BY id").fetchall()
    return [(code, json.loads(arguments)) for code, arguments in found]


# -- a copy


def test_a_copy_holds_what_was_committed_when_it_began_and_is_one_file(rig: Rig, shelf: Path) -> None:
    rig.run(120)
    before = rows(rig.loaded.database)
    copy, removed = take(rig.loaded.database, shelf, NOW)
    assert (copy.path.name, removed) == ("station-20261130T120000Z.db", [])
    assert rows(copy.path) == before != []
    assert sorted(one.name for one in shelf.iterdir()) == [copy.path.name, f"{copy.path.name}.sha256"]
    digest = hashlib.sha256(copy.path.read_bytes()).hexdigest()
    assert (copy.path.parent / f"{copy.path.name}.sha256").read_text() == f"{digest}  {copy.path.name}\n"
    assert copy.newest == rig.engine.store.newest_time()
    rig.run(120)
    assert len(rows(rig.loaded.database)) > len(before)
    assert rows(copy.path) == before
    assert check(copy.path) == copy


def test_commits_made_while_a_copy_is_under_way_are_not_in_it_and_not_lost(
    rig: Rig, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step of a copy is made one page, and a commit falls between any two of its first ones."""
    rig.run(120)
    before, commits = rows(rig.loaded.database), 0
    monkeypatch.setattr(backup, "PAGES_A_STEP", 1)

    class Slow(sqlite3.Connection):
        def backup(self, target: sqlite3.Connection, *, pages: int = -1, **more: object) -> None:  # type: ignore[override]
            def between(*_: int) -> None:
                nonlocal commits
                if commits < 5:
                    commits += 1
                    rig.run(60)

            super().backup(target, pages=pages, progress=between)

    plain = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *words, **more: plain(*words, factory=Slow, **more))
    copy, _ = take(rig.loaded.database, shelf, NOW)
    assert commits == 5
    assert rows(copy.path) == before
    assert len(rows(rig.loaded.database)) > len(before)


def test_the_oldest_copies_go_and_nothing_else(rig: Rig, shelf: Path) -> None:
    rig.run(60)
    kept = [shelf / "station-mine.db", shelf / "station-20200101T000000Z.db.txt", shelf / "notes"]
    for one in kept:
        one.write_text("mine")
    made = [take(rig.loaded.database, shelf, NOW + timedelta(days=day), keep=2) for day in range(4)]
    assert copies(shelf) == [copy.path for copy, _ in made[2:]]
    assert [removed for _, removed in made] == [[], [], [made[0][0].path], [made[1][0].path]]
    assert sorted(shelf.iterdir()) == sorted([*kept, *copies(shelf), *(backup._sum_of(one) for one in copies(shelf))])


def test_a_clock_that_is_years_behind_costs_no_new_copy(rig: Rig, shelf: Path) -> None:
    """Copies go by their names: one of a station that does not know the time yet is not the oldest to be removed."""
    for day in range(2):
        take(rig.loaded.database, shelf, NOW + timedelta(days=day))
    copy, removed = take(rig.loaded.database, shelf, datetime(1970, 1, 1, tzinfo=UTC), keep=2)
    assert copy.path.exists()
    assert [path.name for path in removed] == ["station-20261130T120000Z.db"]
    assert len(copies(shelf)) == 2


def test_a_copy_that_cannot_be_read_is_one_sentence(rig: Rig, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, _ = take(rig.loaded.database, shelf, NOW)

    def broken(*_: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(backup, "_digest", broken)
    with pytest.raises(StoreError, match=r"cannot be read \(Input/output error\); take another copy"):
        check(copy.path)


def test_a_second_copy_of_the_same_second_is_refused(rig: Rig, shelf: Path) -> None:
    rig.run(60)
    take(rig.loaded.database, shelf, NOW)
    with pytest.raises(StoreError, match="is there already"):
        take(rig.loaded.database, shelf, NOW)


def test_without_room_no_copy_begins_and_older_ones_stay(rig: Rig, shelf: Path) -> None:
    rig.run(60)
    take(rig.loaded.database, shelf, NOW, keep=1)
    size = rig.loaded.database.stat().st_size
    os.truncate(rig.loaded.database, 2 * shutil.disk_usage(shelf).free)  # all of it a hole
    with pytest.raises(StoreError, match=r"a copy needs \d+ MB and \d+ MB are free; older copies stay"):
        take(rig.loaded.database, shelf, NOW + timedelta(days=1), keep=1)
    os.truncate(rig.loaded.database, size)
    assert [one.name for one in copies(shelf)] == ["station-20261130T120000Z.db"]


def test_a_damaged_database_gives_no_copy_and_costs_no_older_one(rig: Rig, shelf: Path) -> None:
    rig.run(600)
    take(rig.loaded.database, shelf, NOW, keep=1)
    rig.engine.store.close()
    damage(rig.loaded.database)
    with pytest.raises(StoreError, match="damaged"):
        take(rig.loaded.database, shelf, NOW + timedelta(days=1), keep=1)
    assert [one.name for one in shelf.iterdir() if not one.name.endswith(".sha256")] == ["station-20261130T120000Z.db"]


def damage(path: Path) -> None:
    """Overwrite a page in the middle of the file at *path*."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 1024 * 1024)
        file.write(b"\xa5" * 1024)


# -- reading back


@pytest.mark.parametrize("beside", [True, False])
def test_a_changed_copy_is_told_from_a_sound_one(rig: Rig, shelf: Path, beside: bool) -> None:
    rig.run(600)
    copy, _ = take(rig.loaded.database, shelf, NOW)
    if not beside:
        backup._sum_of(copy.path).unlink()
    damage(copy.path)
    with pytest.raises(StoreError, match="SHA-256 differs" if beside else "is damaged"):
        check(copy.path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not there"),
        (b"", "has schema 0"),
        (b"rubbish" * 1000, "is damaged"),
        (b"SQLite format 3\0", "damaged"),
    ],
)
def test_what_is_no_copy_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "station-20261130T120000Z.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=said):
        check(path)


# -- the way back


def test_a_restored_database_is_the_copy_and_the_former_one_is_kept_with_its_log(rig: Rig, shelf: Path) -> None:
    rig.run(120)
    copy, _ = take(rig.loaded.database, shelf, NOW)
    rig.run(300)
    later = rows(rig.loaded.database)
    held = connect(rig.loaded.database, read_only=True)  # keeps the log from being folded in when the store closes
    rig.engine.store.close()
    former = restore(copy, rig.loaded.database, NOW)
    held.close()
    assert former is not None
    assert rows(former) == later
    assert rows(rig.loaded.database) == rows(copy.path) != later
    assert not rig.loaded.database.with_name("station.db-wal").exists()


def test_a_damaged_database_gives_way_to_its_copy(rig: Rig, shelf: Path) -> None:
    rig.run(600)
    copy, _ = take(rig.loaded.database, shelf, NOW)
    rig.engine.store.close()
    rig.loaded.database.write_bytes(b"nothing of use")
    former = restore(copy, rig.loaded.database, NOW)
    assert former is not None
    assert former.read_bytes() == b"nothing of use"
    assert rows(rig.loaded.database) == rows(copy.path)


@pytest.mark.parametrize("step", ["copyfile", "link", "replace", *(f"sync {n}" for n in (1, 2))])
def test_a_restore_that_fails_at_any_step_leaves_a_whole_database(
    rig: Rig, shelf: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    rig.run(120)
    copy, _ = take(rig.loaded.database, shelf, NOW)
    rig.run(300)
    rig.engine.store.close()
    later, asked = rows(rig.loaded.database), 0

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    def fail_at(nth: int) -> Callable[[Path], None]:
        def sync(_: Path) -> None:
            nonlocal asked
            asked += 1
            if asked == nth:
                fail()

        return sync

    target, name = {"copyfile": (backup.shutil, "copyfile"), "link": (os, "link"), "replace": (Path, "replace")}.get(
        step, (backup, "synced")
    )
    monkeypatch.setattr(target, name, fail_at(int(step[5:])) if step.startswith("sync") else fail)
    with pytest.raises(StoreError, match="cannot be put in its place"):
        restore(copy, rig.loaded.database, NOW)
    monkeypatch.undo()
    assert rows(rig.loaded.database) in (later, rows(copy.path))
    assert not list(rig.loaded.data_folder.glob("*.restoring*"))
    restore(copy, rig.loaded.database, NOW + timedelta(seconds=1))
    assert rows(rig.loaded.database) == rows(copy.path)


# -- as typed


def test_backup_and_restore_beside_a_running_station(tmp_path: Path, shelf: Path, here: Here) -> None:
    config = configure(tmp_path / "site", ("[[point]]", '[backup]\nfolder = "../usb"\nkeep = 1\n\n[[point]]'))
    with daemon(config) as running:
        done = here("backup", "--config", config)
        assert (done.code, done.err) == (0, ""), done
        (copy,) = copies(shelf)
        assert done.out.startswith(f"copied and read back: {copy} (")
        assert "on the same disk" in done.out
        status = json.loads(here("status", "--config", config, "--json").out)
        assert status["backup"]["path"] == str(copy)
        assert f"last backup 0 s ago: {copy}" in here("status", "--config", config).out.replace("\n", "")
        wanted = ("restore", copy, "--config", config)
        refused = here(*wanted, "--user", "王芳", "--reason", "card changed")
        assert (refused.code, refused.err.count("\n")) == (75, 1)
        assert "a station runs on it; stop it first" in refused.err
        nameless = here(*wanted)
        assert (nameless.code, "give --user NAME and --reason TEXT" in nameless.err) == (2, True)
        assert running.stop() == 0
    sound = here("restore", copy, "--check", "--config", config, "--lang", "zh")
    assert sound.out.startswith(f"{copy}:完好(")
    done = here(*wanted, "--user", "王芳", "--reason", "card changed")
    assert (done.code, done.err) == (0, "")
    (former,) = (tmp_path / "site" / "data").glob("station.db.replaced-*")
    assert f"the former database is kept: {former}" in done.out
    assert rows(tmp_path / "site" / "data" / "station.db") == rows(copy)
    (event,) = [said for code, said in codes(tmp_path / "site" / "data" / "station.db") if code == "restored"]
    assert (event["user"], event["reason"], event["copy"]) == ("王芳", "card changed", copy.name)
    assert event["former"] == former.name
    with daemon(config) as running:
        until(lambda: "INFO station" in running.text)


def test_backup_without_a_station_is_on_record_too(rig: Rig, shelf: Path, here: Here) -> None:
    rig.run(60)
    rig.engine.store.close()
    config = rig.folder / "station.toml"
    done = here("backup", "--to", shelf, "--config", config, "--json")
    assert done.code == 0, done.err
    body = json.loads(done.out)
    with closing(Store.open(rig.loaded.database)) as store:
        (kept,) = store.newest_records(backup.KIND, "kind")
    assert (kept.body["path"], kept.body["sha256"]) == (body["path"], body["sha256"])
    rig.engine = rig.start()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "where to? name a folder with --to, or [backup] folder in station.toml"),
        (("--to", "nowhere"), 74, "{cwd}/nowhere: is not a folder; make it, or plug in the disk it is on"),
    ],
)
def test_what_a_backup_lacks_is_one_sentence(
    rig: Rig, here: Here, words: tuple[str, ...], code: int, said: str
) -> None:
    done = here("backup", *words, "--config", rig.folder / "station.toml")
    assert (done.code, done.err, done.out) == (code, said.format(cwd=Path.cwd()) + "\n", "")


def test_before_the_first_start_there_is_nothing_to_copy(tmp_path: Path, shelf: Path) -> None:
    config = configure(tmp_path / "site")
    done = station("backup", "--to", shelf, "--config", config)
    assert (done.code, done.said[0].endswith("start the station first: station run --config")) == (74, True)
    assert list(shelf.iterdir()) == []
