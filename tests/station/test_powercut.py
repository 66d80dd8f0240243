"""A power cut at every write of the real store: nothing acknowledged is lost, nothing half there."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.clock import ManualClock, to_ms
from station.model import Average, Kind, Lane, Mark, Reading, Report, StoreVersionError
from station.outbox import PlatformOutbox
from station.store import Series, Store, connect
from tests.powercut import PowerCutVfs, cuts
from tests.station.conftest import Rig

START = datetime(2026, 3, 1, tzinfo=UTC)
SERIES = {("dust", "pm25"): Series("dust", "site", "pm25")}
PER_COMMIT = 5


def value(number: int) -> float:
    return number + 0.1


def run_station(path: Path, vfs: PowerCutVfs, commits: int, synchronous: str = "FULL") -> None:
    """The real store and outbox through *commits* commits, with answers out of order and an outage."""
    connection = vfs.connect(path)
    store = Store(connection, "rig")
    if synchronous != "FULL":
        connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint=12").fetchall()
    clock = ManualClock(START)
    store.begin_boot("boot")
    with store.transaction():
        store.register(SERIES.values())
        store.add_clock(0, START, "ntp")
    outbox = PlatformOutbox("district", store, lambda: connection, now=clock.now, horizon_seconds=0.05)
    vfs.note(("ready",))
    count = 0
    for commit in range(1, commits + 1):
        clock.advance(60)
        with store.transaction() as db:
            readings = []
            for _ in range(PER_COMMIT):
                count += 1
                readings.append(Reading("dust", "site", "pm25", clock.now(), value(count), value(count)))
            store.add_readings(readings, SERIES)
            report = Report(Kind.MINUTE, "site", clock.now(), (Average("pm25", value(count), mark=Mark.N),))
            store.add_average(report)
            store.add_messages([(outbox.id, Kind.MINUTE, "site", clock.now(), 1, f"text {commit}")])
            outbox.write(db)
        outbox.committed()
        vfs.note(("committed", commit))
        if commit % 7 == 1:
            outbox.connected()
        if commit % 7 in (4, 5):
            outbox.disconnected()
            continue
        for lane in (Lane.LIVE, Lane.HISTORY):
            batch = outbox.next(lane, 3)
            for message in reversed(batch):  # the platform answers out of order
                vfs.note(("sent", message.id, message.text, outbox.number(to_ms(clock.now()))))
                if message.id % 11:
                    outbox.answered([message.id])
    connection.close()


def verdicts(folder: Path, notes: list[tuple[object, ...]]) -> set[str]:
    """What is wrong with an image, judged by a fresh start of the real code on plain SQLite."""
    acknowledged = max((n[1] for n in notes if n[0] == "committed"), default=0)
    sent = [n for n in notes if n[0] == "sent"]
    path = folder / "s.db"
    try:
        if not path.exists() or path.stat().st_size == 0:
            return {"lost"} if acknowledged else set()
        plain = sqlite3.connect(path)
        whole = plain.execute("PRAGMA integrity_check").fetchone()[0]
        plain.close()
        if whole != "ok":
            return {"corrupt"}
        store = Store(connect(path), str(path))
    except sqlite3.Error:
        return {"corrupt"}
    bad = set()
    try:
        values = [row[0] for row in store.query("SELECT raw FROM reading ORDER BY id")]
        commits, rest = divmod(len(values), PER_COMMIT)
        texts = dict(store.query("SELECT id, text FROM message"))
        if rest or values != [value(n) for n in range(1, len(values) + 1)] or len(texts) != commits:
            bad.add("partial")
        if commits < acknowledged:
            bad.add("lost")
        if any(texts.get(number) != text for _, number, text, _ in sent):
            bad.add("ghost")
        if sent:
            outbox = PlatformOutbox("district", store, lambda: connect(path), now=lambda: START, horizon_seconds=0.05)
            outbox.write_now()
            if outbox.number(0) <= max(n[3] for n in sent):
                bad.add("reused")
            outbox.close()
        return bad
    finally:
        store.close()


def judge(
    tmp_path: Path, commits: int, draws: int, synchronous: str = "FULL", *, torn: bool = False
) -> tuple[int, Counter[str]]:
    """Images judged and what was found wrong, over every cut of a run."""
    work, image = tmp_path / "work", tmp_path / "image"
    work.mkdir()
    image.mkdir()
    vfs = PowerCutVfs(f"cut-{synchronous}-{commits}")
    run_station(work / "s.db", vfs, commits, synchronous)
    chance = random.Random(20260301)
    found: Counter[str] = Counter()
    images = 0
    for disk, notes in cuts(vfs.log):
        states = [
            disk.image(None),
            disk.image(None, everything=True),
            *(disk.image(chance, torn=torn) for _ in range(draws)),
        ]
        for files in states:
            for old in image.iterdir():
                old.unlink()
            for name, content in files.items():
                if not name.endswith("-shm"):
                    (image / name).write_bytes(content)
            images += 1
            found.update(verdicts(image, notes))
    return images, found


def test_a_power_cut_at_any_write_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Every write of the real store, each with several images of what the disk could hold."""
    images, found = judge(tmp_path, commits=24, draws=4)
    assert images > 1500
    assert found == Counter()


class CutRig(Rig):
    """The real engine over a disk that loses power; its uplink answers whatever it is given."""

    vfs: PowerCutVfs

    def open_store(self) -> Store:
        self.connection = self.vfs.connect(self.loaded.database)
        self.connection.execute("PRAGMA wal_autocheckpoint=16").fetchall()
        return Store(self.connection, "rig")

    def reader(self) -> object:
        return self.connection

    def serve(self) -> None:
        """Take what there is, note it as sent, answer all of it but every fifth."""
        outbox = self.engine.senders[0].outbox
        for lane in Lane:
            for message in outbox.next(lane, 4):
                self.vfs.note(("sent", message.id, message.text, outbox.number(to_ms(self.clock.now()))))
                if message.id % 5:
                    outbox.answered([message.id])


def run_engine(folder: Path, vfs: PowerCutVfs, seconds: int) -> None:
    """The whole flow: polls, minutes, messages, answers, an outage, a clock step, events."""
    CutRig.vfs = vfs
    rig = CutRig(folder)
    (folder / "data").mkdir(exist_ok=True)
    vfs.note(("ready",))
    for second in range(seconds):
        if second == 50:
            rig.instrument.go_silent()
        if second == 100:
            rig.instrument.come_back()
            rig.clock.step(-20)
        rig.run(1)
        store = rig.engine.store
        vfs.note(("committed", store.newest("reading"), store.newest("average"), store.newest("event")))
        if second % 40 == 0:
            rig.engine.senders[0].outbox.connected()
        if second % 40 < 25:
            rig.serve()
    rig.connection.close()


def engine_verdicts(folder: Path, notes: list[tuple[object, ...]], *, restart: bool) -> set[str]:
    """What is wrong with an image of the engine's disk, judged by plain SQLite and by a real restart."""
    told = [n for n in notes if n[0] == "committed"]
    sent = [n for n in notes if n[0] == "sent"]
    path = folder / "data" / "station.db"
    if not path.exists() or path.stat().st_size == 0:
        return {"lost"} if told else set()
    bad = set()
    try:
        store = Store(connect(path), str(path))
    except sqlite3.Error:
        return {"corrupt"}
    except StoreVersionError:
        return {"lost"} if told else set()  # cut before the schema was committed
    if store.query("PRAGMA integrity_check") != [("ok",)]:
        bad.add("corrupt")
    for index, table in enumerate(("reading", "average", "event"), 1):
        ids = [row[0] for row in store.query(f"SELECT id FROM {table} ORDER BY id")]
        if ids != list(range(1, len(ids) + 1)):
            bad.add("partial")
        if told and len(ids) < told[-1][index]:
            bad.add("lost")
    texts = dict(store.query("SELECT id, text FROM message"))
    if any(texts.get(number) != text for _, number, text, _ in sent):
        bad.add("ghost")
    store.close()
    return bad | (restarted_verdicts(folder, sent) if restart and not bad else set())


def restarted_verdicts(folder: Path, sent: list[tuple[object, ...]]) -> set[str]:
    """A station started on the image goes on: no period twice under one version, no number given twice."""
    rig = Rig(folder, now=START + timedelta(seconds=600))
    rig.run(70)
    outbox = rig.engine.senders[0].outbox
    reused = bool(sent) and outbox.number(0) <= max(n[3] for n in sent)
    periods = rig.engine.store.query("SELECT point, kind, start_ms, version FROM average")
    doubled = len(periods) != len(set(periods))
    rig.engine.shut_down()
    return {name for name, true in (("reused", reused), ("doubled", doubled)) if true}


def judge_engine(tmp_path: Path, seconds: int, draws: int = 2) -> tuple[int, int, Counter[str]]:
    """Images judged, stations started on them, and what was found wrong, over every cut of *seconds* of the engine."""
    work, image = tmp_path / "work", tmp_path / "image"
    (work / "data").mkdir(parents=True)
    (image / "data").mkdir(parents=True)
    vfs = PowerCutVfs("cut-engine")
    run_engine(work, vfs, seconds)
    chance = random.Random(20260302)
    found: Counter[str] = Counter()
    images = restarts = 0
    for disk, notes in cuts(vfs.log):
        states = [disk.image(None), disk.image(None, everything=True), *(disk.image(chance) for _ in range(draws))]
        for files in states:
            for old in (image / "data").iterdir():
                old.unlink()
            for name, content in files.items():
                if not name.endswith("-shm"):
                    (image / "data" / name).write_bytes(content)
            images += 1
            restart = images % 40 == 0
            restarts += restart
            found.update(engine_verdicts(image, notes, restart=restart))
    return images, restarts, found


def test_a_power_cut_at_any_write_of_the_running_engine_loses_nothing(tmp_path: Path) -> None:
    """Polls, averages, messages and delivery state in their real transactions; every tenth image is started again."""
    images, restarts, found = judge_engine(tmp_path, 500)
    assert images > 1500
    assert restarts > 25
    assert found == Counter()


@pytest.mark.parametrize("weaker", ["NORMAL", "OFF"])
def test_the_rig_sees_what_weaker_settings_lose(tmp_path: Path, weaker: str) -> None:
    """A check that cannot fail proves nothing: with synchronous=NORMAL or OFF commits are lost."""
    _, found = judge(tmp_path, commits=6, draws=1, synchronous=weaker)
    assert found["lost"] > 0


def test_the_wall_clock_may_jump_back_and_no_number_returns(tmp_path: Path) -> None:
    """QNs grow through a backward step and through a restart after it."""
    store = Store.open(tmp_path / "s.db")
    clock = ManualClock(START)
    outbox = PlatformOutbox("district", store, lambda: connect(tmp_path / "s.db"), now=clock.now)
    outbox.write_now()
    given = [outbox.number(to_ms(clock.now())) for _ in range(3)]
    clock.step(-timedelta(hours=1).total_seconds())
    given.append(outbox.number(to_ms(clock.now())))
    again = PlatformOutbox("district", store, lambda: connect(tmp_path / "s.db"), now=clock.now)
    again.write_now()
    given.append(again.number(to_ms(clock.now())))
    assert given == sorted(set(given))
    outbox.close()
    again.close()
    store.close()
