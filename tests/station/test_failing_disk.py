"""A disk that fails: what the store and the station do, and that they go on by themselves when it works again."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from station import room as module
from station.clock import EPOCH, from_ms
from station.model import Kind, StoreDamaged, StoreError, StoreFull
from station.resumption import FOREVER
from station.room import Room
from station.seal import Key, verify
from station.sealing import give_key
from station.store import Event, Store, connect, unclean
from tests.failing import FailingDisk, FailingVfs
from tests.station.commands import daemon, until
from tests.station.conftest import CONFIG, START, Rig
from tests.station.test_service import QUICK, configure, count, instruments

KEY = bytes(range(32))
NAMES = (f"failing-{number}" for number in itertools.count())


class FailingRig(Rig):
    """The real engine over a disk that fails when it is told to."""

    def open_store(self) -> Store:
        self.vfs = FailingVfs(next(NAMES))
        self.loaded.data_folder.mkdir(exist_ok=True)
        self.disk = FailingDisk(self.loaded.database, self.vfs)
        return Store(self.disk.connect(), str(self.loaded.database), opener=self.disk.connect)

    def reader(self) -> object:
        rig = self

        class Reader:
            """Whatever connection is open now."""

            def execute(self, sql: str, parameters: Any = ()) -> Any:
                assert rig.disk.connection is not None
                return rig.disk.connection.execute(sql, parameters)

            def close(self) -> None:
                """Not ours to close."""

        return Reader()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[FailingRig]:
    """A station on such a disk, whose record is sealed with a key."""
    made = FailingRig(tmp_path)
    with made.engine.store.transaction():
        give_key(made.engine.store, KEY)
    made.run(60)
    yield made
    made.vfs.fail("")
    made.engine.shut_down()


def times(rig: Rig) -> list[datetime]:
    readings = rig.engine.store.readings(START, START + timedelta(days=2))
    return [reading.time for reading in readings if reading.parameter == "pm25"]


@pytest.mark.parametrize("fault", ["read-only", "write", "sync"])
def test_after_an_error_of_the_disk_the_file_is_opened_anew_and_no_reading_is_missing(
    rig: FailingRig, fault: str
) -> None:
    """Nothing goes on through the connection that met it; when the disk works again nobody has to do anything."""
    rig.vfs.fail(fault)
    rig.run(600)
    assert rig.engine.store_error
    assert rig.disk.opened > 1
    rig.vfs.fail("")
    rig.run(30)
    assert rig.engine.store_error == ""
    rig.run(60)
    found = times(rig)
    assert len(found) >= 120
    assert {(b - a).total_seconds() for a, b in itertools.pairwise(found)} == {5.0}
    assert "store_back" in rig.events()
    rig.run(300)
    sealed = verify(rig.engine.store.query, key=Key(1, KEY))
    assert sealed.sound, sealed
    assert sealed.keyed >= 2


def test_a_sync_that_failed_is_never_asked_for_again(rig: FailingRig) -> None:
    """One failure: the next commit goes through another connection, which has read back what was committed."""
    opened = rig.disk.opened
    rig.vfs.fail("sync")
    with pytest.raises(StoreError), rig.engine.store.transaction():
        rig.engine.store.add_events([Event(START, "test", {})])
    rig.vfs.fail("")
    with rig.engine.store.transaction():
        rig.engine.store.add_events([Event(START, "test", {})])
    assert rig.disk.opened == opened + 1
    assert rig.events().count("test") == 1


def test_an_error_of_reading_within_a_transaction_has_the_file_opened_anew_too(rig: FailingRig) -> None:
    opened, store = rig.disk.opened, rig.engine.store

    def read() -> None:
        with store.transaction():
            store.query("PRAGMA shrink_memory")  # nothing is at hand any more
            rig.vfs.fail("read")
            store.query("SELECT * FROM reading")

    with pytest.raises(StoreError):
        read()
    rig.vfs.fail("")
    with store.transaction():
        store.add_events([Event(START, "test", {})])
    assert rig.disk.opened == opened + 1


def test_rows_that_are_gone_after_an_error_of_the_disk_are_damage(rig: FailingRig) -> None:
    """What was told to be committed and is not there any more: the process ends, and its next start looks closely."""
    store = rig.engine.store
    rig.vfs.fail("sync")
    with pytest.raises(StoreError), store.transaction():
        store.add_events([Event(START, "test", {})])
    rig.vfs.fail("")
    assert rig.disk.connection is not None
    rig.disk.connection.execute("DELETE FROM reading WHERE id > 2")
    words = r"after an I/O error rows are gone that were committed: \{'reading': \d+\}"
    with pytest.raises(StoreDamaged, match=words), store.transaction():
        pytest.fail("nothing may be written")


def test_while_the_disk_refuses_what_is_stored_can_still_be_read(tmp_path: Path) -> None:
    """The connection that met the error stays for reading until another one can write."""
    refusing = True
    path = tmp_path / "s.db"

    def opener() -> sqlite3.Connection:
        if refusing:
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
        return connect(path)

    with closing(Store(connect(path), str(path), opener=opener)) as store:
        with store.transaction():
            store.add_events([Event(START, "before", {})])
        store.query("PRAGMA query_only=ON")
        for _ in range(2):
            with pytest.raises(StoreError, match="is read-only"), store.transaction():
                store.add_events([Event(START, "meanwhile", {})])
        assert store.query("SELECT code FROM event") == [("before",)]
        refusing = False
        with store.transaction():
            store.add_events([Event(START, "after", {})])
        assert store.query("SELECT code FROM event") == [("before",), ("after",)]


# -- room


def narrow(monkeypatch: pytest.MonkeyPatch, free: list[int]) -> None:
    """The disk has *free*[0] bytes."""
    monkeypatch.setattr(module.os, "statvfs", lambda _: SimpleNamespace(f_bavail=free[0], f_frsize=1))


def test_a_reserve_is_made_where_there_is_room_and_has_real_blocks(rig: FailingRig) -> None:
    reserve = rig.loaded.data_folder / "station.reserve"
    assert reserve.stat().st_size == 8 << 20
    assert reserve.stat().st_blocks * 512 >= 8 << 20


def test_no_reserve_is_made_where_it_would_be_the_last_room(rig: FailingRig, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = rig.loaded.data_folder / "station.reserve"
    reserve.unlink()
    narrow(monkeypatch, [40 << 20])
    rig.run(60)
    assert not reserve.exists()


def test_there_is_an_alarm_before_the_disk_is_full_and_none_when_there_is_room_again(
    rig: FailingRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a minute, once."""
    free = [10_000_000]
    narrow(monkeypatch, free)
    rig.run(60)
    assert rig.events().count("disk_low") == 1
    free[0] = 1 << 30
    rig.run(120)
    assert (rig.events().count("disk_low"), rig.events().count("disk_room")) == (1, 1)


def test_a_full_disk_gets_the_reserve_and_the_alarm_is_stored_at_once(rig: FailingRig) -> None:
    """Nothing waits in memory: the same second everything is committed again."""
    reserve, vfs = rig.loaded.data_folder / "station.reserve", rig.vfs
    strikes = vfs.strikes
    vfs.fail("full")
    vfs.strikes = lambda kind: reserve.exists() and strikes(kind)  # type: ignore[method-assign]
    before = rig.clock.monotonic()
    while "disk_full" not in rig.events():
        rig.run(1)
    assert rig.clock.monotonic() - before < 60
    assert rig.engine.store_error == ""
    (said,) = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'disk_full'")
    assert said == ('{"given_up": "reserve", "mb": 8.4}',)


def test_a_disk_that_stays_full_costs_nothing_that_is_stored_unless_somebody_has_said_so(rig: FailingRig) -> None:
    stored = len(times(rig))
    rig.vfs.fail("full")
    rig.run(900)
    assert isinstance(rig.engine.store_error, str)
    assert "the disk is full" in rig.engine.store_error
    assert len(times(rig)) == stored
    rig.vfs.fail("")
    rig.run(60)
    assert len(times(rig)) >= 190


class Days(Rig):
    """Four days on file; the disk has no more room, and old readings may leave."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CONFIG + '\n[retention]\nwhen_full = "answered"\n')
        self.engine.store.query("PRAGMA synchronous=OFF")
        self.run(4 * 86400, 60)
        self.outbox = self.engine.senders[0].outbox

    def answer(self, share: float) -> None:
        """The platform has answered the first *share* of what it is owed."""
        self.outbox.connected()
        from station.model import Lane

        owed = self.outbox.depth().owed
        while self.outbox.depth().owed > owed * (1 - share) and (
            found := [m for lane in Lane for m in self.outbox.next(lane, 100)]
        ):
            self.outbox.answered(message.id for message in found)

    def room(self, **more: Any) -> Room:
        store, noted = self.engine.store, self.engine.note
        return Room(store, self.folder / "none", 0, [self.outbox], self.clock, noted, **more)


def test_only_readings_leave_that_every_platform_has_answered_for(tmp_path: Path) -> None:
    """A share of them, the oldest first, never the last two days; what is owed keeps its readings; it is an event."""
    rig = Days(tmp_path)
    first = lambda: rig.engine.store.query("SELECT min(id), max(id) FROM reading")[0]  # noqa: E731 - asked three times
    whole = first()
    assert not rig.room(may_leave=True).make_some()  # nothing is answered yet
    rig.answer(0.3)
    assert not rig.room().make_some()  # nobody has said that anything may leave
    room = rig.room(may_leave=True)
    assert room.make_some()
    left = first()
    assert left == (whole[0] + 1 + round((whole[1] - whole[0]) * module.SHARE), whole[1])
    assert not room.make_some()  # not again at once
    rig.clock.advance(700)
    assert room.make_some()
    owed = rig.engine.store.query("SELECT min(start_ms) FROM message WHERE id >= ?", (rig.outbox.keep_from(),))[0][0]
    last = room.answered_until()
    assert rig.engine.store.query("SELECT count(*) FROM reading WHERE id <= ? AND at_ms >= ?", (last, owed)) == [(0,)]
    rig.engine.commit()
    assert verify(rig.engine.store.query).sound  # they left, and nobody changed anything
    kept = rig.engine.store.records("released", EPOCH, FOREVER)
    assert [r.body["first"] for r in kept] == [whole[0], left[0]]
    assert sum(r.body["rows"] for r in kept) == first()[0] - whole[0]
    assert all(r.body["bytes"] > 0 and r.body["user"] == "station" and not r.body["copy"] for r in kept)
    ((oldest,),) = rig.engine.store.query("SELECT min(at_ms) FROM reading")
    assert datetime.fromisoformat(kept[-1].body["before"]) - from_ms(oldest) <= timedelta(hours=1)
    rig.engine.store.query("UPDATE record SET kind = 'reseased' WHERE kind = 'released' AND id = ?", (kept[-1].id,))
    assert not verify(rig.engine.store.query).sound  # an event alone explains nothing
    rig.engine.store.query("UPDATE record SET kind = 'released' WHERE id = ?", (kept[-1].id,))
    told = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'disk_full' ORDER BY id")
    assert ['"given_up": "readings"' in text for (text,) in told] == [True, True]
    own = rig.engine._room()  # the engine's own one tells the periods what they cannot be closed of again
    own.reserve.unlink(missing_ok=True)
    rig.clock.advance(700)
    assert own.make_some()
    newest = rig.engine.store.newest_records("released", "kind")[0]
    assert rig.engine.periods.raw_from == datetime.fromisoformat(newest.body["before"])
    rig.answer(1.0)
    young = room.answered_until()
    at = rig.engine.store.query("SELECT max(at_ms) FROM reading WHERE id <= ?", (young,))[0][0]
    assert at / 1000 <= rig.clock.now().timestamp() - 2 * 86400
    rig.engine.shut_down()


def test_full_is_told_from_other_errors(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    store.query(f"PRAGMA max_page_count={store.query('PRAGMA page_count')[0][0]}")
    with pytest.raises(StoreFull, match="the disk is full"), store.transaction():
        store.add_messages([(1, Kind.MINUTE, "site", START, 1, "x" * 5000)])
    store.close()


# -- a log that is gone


def cut_off(folder: Path) -> Path:
    """A database whose writer was killed: its log holds what was committed last."""
    path = folder / "data" / "station.db"
    (folder / "data").mkdir()
    with closing(Store.open(folder / "work" / "station.db")) as store:
        with store.transaction():
            store.add_events([Event(START, "first", {})])
        store.query("PRAGMA wal_checkpoint(TRUNCATE)")
        with store.transaction():
            store.add_events([Event(START, "second", {})])
        for suffix in ("", "-wal", ".open"):
            old = folder / "work" / f"station.db{suffix}"
            path.with_name(f"station.db{suffix}").write_bytes(old.read_bytes())
    return path


def events(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [code for (code,) in db.execute("SELECT code FROM event ORDER BY id")]


def test_a_log_that_is_gone_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = cut_off(tmp_path)
    path.with_name("station.db-wal").unlink()
    Store.open(path).close()
    assert events(path) == ["first", "log_missing"]
    assert "was not closed in order and its log (station.db-wal) is missing" in caplog.text
    Store.open(path).close()
    assert events(path).count("log_missing") == 1


def test_a_log_that_is_there_is_taken_in_without_a_word(tmp_path: Path) -> None:
    path = cut_off(tmp_path)
    Store.open(path).close()
    assert events(path) == ["first", "second"]
    assert not unclean(path).exists()


def test_a_file_without_a_log_that_was_closed_in_order_misses_nothing(tmp_path: Path) -> None:
    Store.open(tmp_path / "s.db").close()
    Store.open(tmp_path / "s.db").close()
    assert events(tmp_path / "s.db") == []


def test_a_killed_station_whose_log_is_deleted_starts_and_says_so(tmp_path: Path) -> None:
    path = configure(tmp_path / "site", *QUICK)
    database = tmp_path / "site" / "data" / "station.db"
    with instruments(path):
        with daemon(path) as process:
            until(lambda: count(path) >= 2)
            with closing(connect(database)) as db:
                db.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
            process.process.kill()
            process.ended()
        for suffix in ("-wal", "-shm"):
            database.with_name(f"station.db{suffix}").unlink()
        with daemon(path) as process:
            until(lambda: "log_missing" in events(database))
            assert process.stop() == 0
    assert "is missing: what was committed last may be gone" in process.text


# -- a host that is short of descriptors


def test_a_control_socket_without_descriptors_answers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accept() that fails for want of a descriptor is no closed socket."""
    import errno

    from station import control
    from station.control import ControlServer, ask

    monkeypatch.setattr(control, "AGAIN", 0.01)
    server = ControlServer(tmp_path / "c.sock")
    accept, failures = server._listener.accept, iter([errno.EMFILE, errno.ENFILE])

    class Listener:
        """Fails twice."""

        def accept(self) -> Any:
            for number in failures:
                raise OSError(number, os.strerror(number))
            return accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    real, server._listener = server._listener, Listener()  # type: ignore[assignment]
    verbs: Mapping[str, Any] = {"status": lambda request: {"fine": True}}
    server.start(verbs)
    assert ask(tmp_path / "c.sock", "status", timeout=5) == {"fine": True}
    server.close()
