"""Nothing is dated by a clock that nobody vouches for, and nothing that was measured meanwhile is lost."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest

from station import chrony, clock, status, timekeeping
from station import engine as engine_module
from station.clock import floor_to, from_ms
from station.engine import Engine
from station.ledger import silences
from station.migrations import migrate
from station.model import Command, Kind, Outcome, Record, Result, StoreError
from station.platformclock import MOST_EVENTS
from station.seal import verify
from station.store import SCHEMA_VERSION, connect
from tests.station.conftest import START, FakeLine, Rig

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
PRIME = 9973  # what no step of hours, days or years is a multiple of
BEGINNING = datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC)


class Lost(Rig):
    """A station whose host says *says* at the start, while it is *truth*; the instrument shows the true second."""

    def __init__(
        self, folder: Path, says: datetime = BEGINNING, truth: datetime = START, config: str | None = None
    ) -> None:
        self.truth_at_zero, self.first_trust = truth, "none"
        self.rtc: datetime | None = None
        self.boot = "boot-1"
        super().__init__(folder, config, now=says)

    def start(self) -> Engine:
        self.trust = self.first_trust
        return Engine(
            self.loaded,
            self.open_store(),
            self.clock,
            buses=[(self.loaded.config.bus[0], [self.instrument], FakeLine())],
            uplinks=[(self.loaded.config.uplink[0], self.uplink)],
            reader=self.reader,
            clock_setter=self.clock_setter,
            trusted=lambda: self.trust,
            rtc=lambda: self.rtc,
        )

    @property
    def truth(self) -> datetime:
        """What time it really is."""
        return self.truth_at_zero + timedelta(seconds=self.clock.monotonic())

    def run(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(round(seconds / step)):
            shown = self.truth.timestamp() % PRIME
            self.instrument.show(pm25=shown, pm10=shown)
            super().run(step, step)

    def set_right(self, by: str = "ntp") -> None:
        """A time server is heard: it steps the clock and vouches for it then."""
        self.clock.step((self.truth - self.clock.now()).total_seconds())
        self.trust = by

    def periods(self, kind: Kind = Kind.MINUTE) -> list[tuple[datetime, int]]:
        """Start and version of every period stored, in their order."""
        rows = self.engine.store.query(
            "SELECT start_ms, version FROM average WHERE kind = ? ORDER BY start_ms, version", (int(kind),)
        )
        return [(from_ms(at), version) for at, version in rows]

    def sent(self) -> list[tuple[Kind, datetime, int]]:
        """What the platform was made: kind, start and version."""
        rows = self.engine.store.query("SELECT kind, start_ms, version FROM message ORDER BY id")
        return [(Kind(kind), from_ms(at), version) for kind, at, version in rows]

    def wrongly_dated(self) -> list[Any]:
        """Readings and real-time data whose value, which is the true second (modulo PRIME), is not their time."""
        rows = self.engine.store.query("SELECT id, at_ms, raw FROM reading WHERE raw IS NOT NULL")
        found: list[Any] = [row for row in rows if abs(row[1] / 1000 % PRIME - row[2]) > 1.0]
        told = self.engine.store.query("SELECT start_ms, text FROM message WHERE kind = ?", (int(Kind.REALTIME),))
        for at, text in told:
            shown = re.search(r"pm25=([0-9.]+)N", text)
            if shown and 60 < (float(shown[1]) - at / 1000) % PRIME < PRIME - 60:
                found.append((at, text))
        return found

    def missing_minutes(self) -> set[datetime]:
        """Minutes between the first and the last that are not closed."""
        found = {at for at, _ in self.periods()}
        whole = {min(found) + n * MINUTE for n in range(int((max(found) - min(found)) / MINUTE))}
        return whole - found

    def waiting(self) -> int:
        """How many readings are not dated."""
        return self.engine.waiting.count() if self.engine.waiting else 0


def minutes(first: datetime, count: int) -> list[tuple[datetime, int]]:
    return [(first + n * MINUTE, 1) for n in range(count)]


def test_a_boot_at_1970_waits_and_is_dated_when_a_time_server_is_heard(tmp_path: Path) -> None:
    """Sampling goes on, nothing is dated, closed or told; then all of it is, as if the time had been known."""
    rig = Lost(tmp_path)
    rig.run(600)
    assert (rig.engine.store.newest("reading"), rig.sent(), rig.periods()) == (0, [], [])
    assert rig.waiting() > 50
    assert {"clock_waits", "start"} <= set(rig.events())
    rig.set_right()
    rig.run(120)
    assert rig.wrongly_dated() == []
    assert rig.waiting() == 0
    assert rig.periods() == minutes(MIDNIGHT, 12)
    assert [at for kind, at, _ in rig.sent() if kind is Kind.MINUTE] == [at for at, _ in rig.periods()]
    assert [at for kind, at, _ in rig.sent() if kind is Kind.POWER_ON] == [START]
    assert "clock_trusted" in rig.events()
    assert silences(rig.engine.store) == []


@pytest.mark.parametrize("wrong", [HOUR, -HOUR, 365 * 24 * HOUR, -365 * 24 * HOUR])
def test_the_step_that_brings_trust_neither_loses_nor_doubles_a_period(tmp_path: Path, wrong: timedelta) -> None:
    """An hour or a year, in both directions, in the middle of a minute."""
    rig = Lost(tmp_path, says=START + wrong)
    rig.run(400)
    rig.set_right()
    rig.run(200)
    assert rig.wrongly_dated() == []
    assert rig.periods() == minutes(MIDNIGHT, 10)
    told = [(at, version) for kind, at, version in rig.sent() if kind is Kind.MINUTE]
    assert told == rig.periods()


def test_readings_wait_over_a_restart_of_the_program_and_are_dated_by_the_same_boot(tmp_path: Path) -> None:
    """The monotonic clock of the boot goes on; the second start knows what the first one left."""
    rig = Lost(tmp_path)
    rig.run(130)
    rig.engine.shut_down()
    rig.engine = rig.start()
    rig.run(130)
    rig.set_right()
    rig.run(120)
    assert rig.wrongly_dated() == []
    assert rig.periods() == minutes(MIDNIGHT, 6)


def test_a_trusted_start_dates_what_the_same_boot_left_behind(tmp_path: Path) -> None:
    """The program was off when the time server was heard."""
    rig = Lost(tmp_path)
    rig.run(130)
    rig.engine.shut_down()
    rig.set_right()
    rig.first_trust = "ntp"
    rig.engine = rig.start()
    rig.run(120)
    assert rig.wrongly_dated() == []
    assert rig.periods() == minutes(MIDNIGHT, 4)
    assert rig.waiting() == 0


def test_what_a_boot_measured_that_never_knew_the_time_is_kept_counted_and_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut before anybody vouched: no later clock can say when that was."""
    rig = Lost(tmp_path)
    rig.run(130)
    rig.engine.shut_down()
    (left,) = rig.open_store().query("SELECT count(*) FROM waiting")[0]
    monkeypatch.setattr(engine_module, "boot_id", lambda: "another boot")
    rig.first_trust = "ntp"
    rig.clock.step((rig.truth - rig.clock.now()).total_seconds())
    rig.engine = rig.start()
    rig.run(120)
    assert rig.wrongly_dated() == []
    (event,) = rig.engine.store.query("SELECT arguments FROM event WHERE code = 'undatable'")
    assert event == (f'{{"readings": {left}}}',)
    assert rig.engine.store.query("SELECT count(*) FROM waiting") == [(left,)]
    assert rig.periods()[0][0] >= MIDNIGHT + 2 * MINUTE


def test_a_power_cut_while_what_waited_is_dated_loses_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The boot that waited had got its offset: the next boot goes on with it."""
    monkeypatch.setattr("station.waiting.CHUNK", 7)
    rig = Lost(tmp_path)
    rig.run(300)
    rig.set_right()
    rig.run(3)
    assert rig.waiting() > 7
    monkeypatch.setattr(engine_module, "boot_id", lambda: "another boot")
    rig.first_trust = "ntp"
    rig.restart()
    rig.run(120)
    assert rig.wrongly_dated() == []
    assert rig.waiting() == 0
    assert rig.periods() == minutes(MIDNIGHT, 7)
    rows = rig.engine.store.query("SELECT at_ms, series FROM reading")
    assert len(rows) == len(set(rows))


def test_a_step_that_nobody_vouches_for_makes_data_wait_again(tmp_path: Path) -> None:
    """The time server is gone and somebody sets the clock by hand: the old offset holds for what was stored."""
    rig = Lost(tmp_path, says=START)
    rig.set_right()
    rig.run(100)
    rig.trust = "none"
    rig.run(100)
    assert len(rig.periods()) == 3
    rig.clock.step(3600)
    rig.run(200)
    assert len(rig.periods()) == 3
    rig.set_right()
    rig.run(100)
    assert rig.wrongly_dated() == []
    assert rig.periods() == minutes(MIDNIGHT, 8)


def test_after_half_an_hour_the_real_time_clock_will_do(tmp_path: Path) -> None:
    """One that was right within ninety days, and that the wall clock goes by; it is an event."""
    rig = Lost(tmp_path, says=START, truth=START)
    rig.set_right()
    rig.run(120)
    rig.engine.shut_down()
    rig.clock.advance(89 * 86400)
    rig.clock.step(40)  # the host lost its time and has it from the RTC again, which is 40 s fast by now
    rig.rtc = rig.clock.now()
    rig.engine = rig.start()
    for _ in range(29):
        rig.rtc = rig.clock.now()
        rig.run(60)
    assert rig.engine.time.waits
    for _ in range(3):
        rig.rtc = rig.clock.now()
        rig.run(60)
    assert not rig.engine.time.waits
    assert rig.engine.trust() == "rtc"
    assert "clock_by_rtc" in rig.events()
    assert len(rig.periods()) >= 3 + 30
    rig.restart()
    assert (rig.engine.time.waits, rig.engine.trust()) == (False, "rtc")


@pytest.mark.parametrize("days", [91, -1])
def test_a_real_time_clock_that_may_be_wrong_will_not_do(tmp_path: Path, days: int) -> None:
    """Not set for three months, or before what was known already."""
    rig = Lost(tmp_path, says=START, truth=START)
    rig.set_right()
    rig.run(120)
    rig.engine.shut_down()
    rig.clock.step(days * 86400)
    rig.engine = rig.start()
    for _ in range(33):
        rig.rtc = rig.clock.now()
        rig.run(60)
    assert rig.engine.time.waits
    assert len(rig.periods()) == 2


def test_without_a_real_time_clock_data_wait_for_as_long_as_it_takes(tmp_path: Path) -> None:
    """Two hours and a half; then the hours are closed, too."""
    rig = Lost(tmp_path)
    rig.run(9000, step=10)
    assert rig.sent() == []
    rig.set_right()
    rig.run(120)
    assert rig.wrongly_dated() == []
    assert rig.periods() == minutes(MIDNIGHT, 152)
    assert rig.periods(Kind.HOUR) == [(MIDNIGHT, 1), (MIDNIGHT + HOUR, 1)]


def test_midnight_passes_while_nobody_knows(tmp_path: Path) -> None:
    """23:59:59 in the station's zone, with a clock of the year before: the day that ended is closed once."""
    eve = datetime(2026, 3, 1, 15, 58, 30, tzinfo=UTC)
    rig = Lost(tmp_path, says=eve.replace(year=2025), truth=eve)
    rig.run(89)
    rig.set_right()
    rig.run(3700, step=2)
    assert rig.wrongly_dated() == []
    assert rig.periods(Kind.DAY) == [(datetime(2026, 2, 28, 16, tzinfo=UTC), 1)]


def test_a_leap_second_is_no_step(tmp_path: Path) -> None:
    """A second lived twice moves no period: what is closed stays closed."""
    before = datetime(2026, 6, 30, 23, 58, 30, tzinfo=UTC)
    rig = Lost(tmp_path, says=before, truth=before)
    rig.set_right()
    rig.run(90)
    rig.clock.step(-1)
    rig.run(200)
    assert "clock_step" not in rig.events()
    assert {version for _, version in rig.periods()} == {1}
    assert len(rig.periods()) == 5


def test_what_waits_is_sealed(tmp_path: Path) -> None:
    """And a change to it is seen."""
    rig = Lost(tmp_path)
    rig.run(400)
    rig.engine.shut_down()
    store = rig.open_store()
    assert verify(store.query).sound
    with store.transaction() as db:
        db.execute("UPDATE waiting SET raw = 1 WHERE id = 3")
    assert verify(store.query).why == "rows"
    store.close()


class Wandering(Lost):
    """Steps, restarts, power cuts and time servers in any order; it keeps what has to have come of them."""

    def __init__(self, folder: Path, chance: Random) -> None:
        self.chance = chance
        self.spells: list[tuple[datetime, datetime, str]] = []  # truly measured from, until, in which boot
        self.boots, self.knowing = 0, set[str]()
        super().__init__(folder, says=START + chance.choice(WRONG))

    def start(self) -> Engine:
        engine_module.boot_id = lambda: self.boot  # type: ignore[assignment]
        self.since = self.truth if hasattr(self, "clock") else START
        return super().start()

    def turn(self) -> None:
        """Let something happen, and some time pass."""
        getattr(self, self.chance.choice(TURNS))()
        self.run(self.chance.randrange(5, 200))
        if not self.engine.time.waits:
            self.knowing.add(self.boot)

    def a_step(self) -> None:
        if self.first_trust == "none" and self.trust == "none":
            self.clock.step(self.chance.choice(WRONG).total_seconds() + self.chance.random())

    def a_time_server(self) -> None:
        self.set_right()

    def it_goes(self) -> None:
        self.trust = "none"

    def nothing(self) -> None:
        """Time passes."""

    def a_restart(self) -> None:
        self.first_trust = self.trust
        self._end(lost=0)
        self.engine.shut_down()
        self.engine = self.start()
        self.first_trust = "none"

    def a_kill(self) -> None:
        self.first_trust = self.trust
        self._end(lost=62)
        self.restart()
        self.first_trust = "none"

    def a_power_cut(self) -> None:
        """The monotonic clock begins anew, the host's has any time."""
        self._end(lost=62)
        self.boots += 1
        self.boot = f"boot {self.boots}"
        off = self.chance.randrange(5, 4000)
        self.truth_at_zero = self.truth + timedelta(seconds=off)
        self.clock._monotonic = 0.0
        for poller in self.engine.pollers:
            poller.tasks.clear()
        wrong = self.chance.choice(WRONG).total_seconds()
        self.clock.step((self.truth - self.clock.now()).total_seconds() + wrong)
        self.restart()

    def _end(self, lost: float) -> None:
        self.spells.append((self.since, self.truth - timedelta(seconds=lost), self.boot))

    def finish(self) -> None:
        """A time server is heard at last, and everything is worked through."""
        self.set_right()
        self.run(150)
        self.knowing.add(self.boot)
        self.spells.append((self.since, self.truth - timedelta(seconds=70), self.boot))

    def missing(self) -> set[datetime]:
        """Minutes that were measured from end to end in a boot that came to know the time, and are not closed."""
        due = {
            floor_to(first, 60) + n * MINUTE
            for first, last, boot in self.spells
            if boot in self.knowing
            for n in range(1, int((last - floor_to(first, 60)) / MINUTE))
        }
        return due - {at for at, _ in self.periods()}


WRONG = [timedelta(), 3 * SECOND, -3 * SECOND, 40 * SECOND, -70 * SECOND, HOUR, -HOUR, timedelta(days=1),
         timedelta(days=365), -timedelta(days=365), BEGINNING - START]  # fmt: skip
TURNS = ["a_step", "a_step", "a_time_server", "it_goes", "nothing", "a_restart", "a_kill", "a_power_cut"]


def wander(folder: Path, seed: int) -> tuple[list[Any], list[Any], set[datetime], int]:
    """Wrongly dated readings, doubled periods, missing minutes and the minutes there are after a random life."""
    boot_id = engine_module.boot_id
    try:
        rig = Wandering(folder, Random(seed))
        for _ in range(rig.chance.randrange(4, 12)):
            rig.turn()
        rig.finish()
        told = [(at, kind) for kind, at, _ in rig.sent() if kind in (Kind.MINUTE, Kind.HOUR, Kind.DAY)]
        doubled = [one for one, count in Counter(told).items() if count > 1]
        doubled += [one for one in rig.periods() if one[1] > 1]
        found = rig.wrongly_dated(), doubled, rig.missing(), len(rig.periods())
        for sender in rig.engine.senders:
            sender.outbox.close()
        rig.engine.store.close()
        return found
    finally:
        engine_module.boot_id = boot_id


@pytest.mark.parametrize("seed", range(25))
def test_no_sequence_of_steps_dates_wrongly_doubles_or_loses_a_period(tmp_path: Path, seed: int) -> None:
    """The quick set; tests/bench/bench_clock.py does a thousand."""
    wrong, doubled, missing, closed = wander(tmp_path, seed)
    assert (wrong, doubled, missing) == ([], [], set())
    assert closed > 2


# -- what vouches for the time


def tracking(
    leap: int = 0, stratum: int = 3, reference: int = 0x0A000001, correction: int = 0, sequence: int = 7
) -> bytes:
    """What chronyd answers to `tracking`."""
    head = struct.pack(">BBxxHHHxxxxxxIxxxxxxxx", 6, 2, 33, 5, 0, sequence)
    return head + struct.pack(">I20xHH12xi32x", reference, stratum, leap, correction)


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (tracking(), True),
        (tracking(leap=3), False),
        (tracking(stratum=0), False),
        (tracking(reference=0x7F7F0101, stratum=10), False),
        (tracking(correction=0x04C00000), False),  # 1.5 s are still to be made up
        (tracking(sequence=8), False),
        (tracking()[:60], False),
        (b"", False),
    ],
)  # fmt: skip
def test_chronyd_is_believed_where_it_follows_a_server(answer: bytes, good: bool) -> None:
    """Not while it is unsynchronised, goes by itself or has most of the way to go; and nonsense is no."""
    assert chrony.tracks(answer, 7) is good


def test_chronyd_is_asked_once_in_a_while() -> None:
    """A datagram with the right length, the same sequence back; silence is no."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(5)
        now = 0.0
        asked = chrony.Chronyd(daemon.getsockname(), lambda: now)
        found: list[bool] = []
        thread = Thread(target=lambda: found.append(asked.synchronised()))
        thread.start()
        request, who = daemon.recvfrom(1024)
        version, kind, command, _, sequence = struct.unpack_from(">BBxxHHI", request)
        daemon.sendto(tracking(sequence=sequence), who)
        thread.join()
        assert (len(request), version, kind, command, found) == (104, 6, 1, 33, [True])
        now = 9.0
        assert asked.synchronised()
    now = 11.0
    assert not asked.synchronised()


def test_the_host_says_what_its_clock_is_known_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timesyncd, else chronyd, else the setting; a host without systemd cannot say and is believed."""
    marker, chronys, systemd = tmp_path / "synchronized", tmp_path / "chrony", tmp_path / "systemd"
    monkeypatch.setattr(clock, "SYNCHRONISED", marker)
    monkeypatch.setattr(clock, "CHRONY", (chronys,))
    monkeypatch.setattr(clock, "SYSTEMD", systemd)
    assert clock.trust() == "host"
    systemd.mkdir()
    assert (clock.trust(), clock.trust("host")) == ("none", "host")
    marker.touch()
    assert clock.trust() == "ntp"
    marker.unlink()
    chronys.mkdir()
    says = chrony.Chronyd()
    monkeypatch.setattr(chrony, "CHRONYD", says)
    for heard, word in ((True, "ntp"), (False, "none")):
        monkeypatch.setattr(says, "synchronised", lambda heard=heard: heard)
        assert clock.trust() == word


def test_a_real_time_clock_is_read_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds since 1970, or nothing."""
    monkeypatch.setattr(timekeeping, "RTC", tmp_path / "since_epoch")
    assert timekeeping.rtc_time() is None
    (tmp_path / "since_epoch").write_text("1772323230\n")
    assert timekeeping.rtc_time() == START
    (tmp_path / "since_epoch").write_text("soon\n")
    assert timekeeping.rtc_time() is None


# -- platforms


class SettingPlatform:
    """A helper that sets the rig's clock."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def set(self, moment: datetime, *, trusted: bool) -> str | None:
        self.rig.clock.step((moment - self.rig.clock.now()).total_seconds())
        return None


def set_clock(rig: Rig, to: datetime) -> Result:
    """What comes of a platform's 1012."""
    answers: list[Result] = []
    command = Command("set_clock", "district", "site", {"time": to.isoformat()}, identity=str(to), issued=to)
    rig.engine.desk.submit(command, answers.append)
    rig.engine.tick()
    return answers[0]


def test_a_platform_that_sets_the_clock_ends_the_waiting(tmp_path: Path) -> None:
    """On a private network with the clock at 1970: 1012 is taken, absurd ones are not, and what waited is dated."""
    rig = Lost(tmp_path)
    rig.engine.desk._clock_setter = SettingPlatform(rig)
    rig.run(130)
    absurd = set_clock(rig, datetime(2025, 12, 31, tzinfo=UTC))
    assert (absurd.outcome, absurd.reason) == (Outcome.REFUSED, "time was 2026-01-01T00:00:00+00:00 before")
    assert rig.engine.time.waits
    assert set_clock(rig, rig.truth).outcome is Outcome.DONE
    assert set_clock(rig, rig.truth + SECOND).outcome is Outcome.REFUSED
    rig.run(60)
    assert (rig.engine.time.waits, rig.engine.trust()) == (False, "platform")
    assert rig.wrongly_dated() == []
    assert rig.periods() == minutes(MIDNIGHT, 3)


def test_numbers_and_events_of_a_station_that_waits_go_on_from_the_last_time_known(tmp_path: Path) -> None:
    """A host a year ahead gives no QN of next year, and events stand in their order."""
    rig = Lost(tmp_path, says=START, truth=START)
    rig.set_right()
    rig.run(60)
    rig.engine.shut_down()
    rig.clock.step(365 * 86400)
    rig.engine = rig.start()
    rig.run(60)
    assert timedelta() < rig.engine.time.now() - START < 3 * MINUTE
    (last,) = rig.engine.store.query("SELECT max(at_ms) FROM event")[0]
    assert from_ms(last) - START < 3 * MINUTE


def test_the_clock_error_against_a_platform_is_recorded_with_its_confidence(tmp_path: Path) -> None:
    """By the QN of a command, or by 1012; an event where it is beyond 30 s and news; nothing is known while we wait."""
    rig = Lost(tmp_path, says=START)
    numbers = count()

    def hear(seconds: float) -> None:
        issued = rig.clock.now() + timedelta(seconds=seconds)
        rig.engine.desk.refusal(Command("read_clock", "district", "site", {}, str(next(numbers)), issued))

    def events() -> list[Any]:
        rig.engine.commit()
        wanted = "SELECT code, json_extract(arguments, '$.seconds') FROM event WHERE code LIKE 'clock_error%'"
        return rig.engine.store.query(wanted)

    hear(900)
    assert status.live(rig.engine)["clock"]["platforms"] == {}
    rig.set_right()
    rig.run(20)
    for seconds in (2, 45, 50, -400, 3):
        hear(seconds)
    assert events() == [("clock_error", 45.0), ("clock_error", -400.0), ("clock_error_over", 3.0)]
    set_clock(rig, rig.clock.now() + 12 * SECOND)
    shown = status.live(rig.engine)["clock"]
    error = shown["platforms"]["district"]
    assert (error["seconds"], error["confidence"], error["large"]) == (12.0, "medium", False)
    assert (shown["trust"], shown["waits"], shown["waiting"]) == ("ntp", False, 0)
    for number in range(40):
        hear(100 * (number % 2) + 100)
    assert len(events()) == MOST_EVENTS


# -- the host's zone


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Chatham", "Asia/Kathmandu"])
def test_the_zone_of_the_host_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """UTC in the store, the station's own offset in its days."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        eve = datetime(2026, 3, 1, 15, 58, 30, tzinfo=UTC)
        rig = Lost(tmp_path, says=BEGINNING, truth=eve)
        rig.run(60)
        rig.set_right()
        rig.run(3700, step=5)
        assert rig.wrongly_dated() == []
        assert rig.periods(Kind.DAY) == [(datetime(2026, 2, 28, 16, tzinfo=UTC), 1)]
    finally:
        monkeypatch.undo()
        time.tzset()


# -- the file


def test_a_file_of_the_schema_before_is_brought_up_and_waits_as_a_new_one_does(tmp_path: Path) -> None:
    """4 knew nothing of waiting; what it holds stays as it is."""
    rig = Lost(tmp_path, says=START)
    rig.set_right()
    rig.run(130)
    rig.engine.shut_down()
    with closing(connect(rig.loaded.database)) as before:
        for table in ("waiting", "waiting_record"):
            before.execute(f"DROP TABLE {table}")
        before.execute("PRAGMA user_version=4")
    assert migrate(rig.loaded.database) == (4, SCHEMA_VERSION)
    rig.clock.step(7200)
    rig.engine = rig.start()
    rig.run(100)
    assert rig.waiting() > 5
    rig.set_right()
    rig.run(100)
    assert rig.wrongly_dated() == []
    assert rig.missing_minutes() == set()


def test_a_disk_that_refuses_while_data_wait_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is about to wait nor what is about to be dated."""
    rig = Lost(tmp_path)
    real, full = rig.engine.store.transaction, False

    @contextmanager
    def transaction() -> Iterator[Any]:
        with real() as db:
            yield db
            if full:
                raise StoreError("the disk is full")

    monkeypatch.setattr(rig.engine.store, "transaction", transaction)
    rig.run(100)
    full = True
    rig.run(100)
    assert rig.engine.store_error
    full = False
    rig.run(100)
    full = True
    rig.set_right()
    rig.run(60)
    assert rig.engine.time.waits
    full = False
    rig.run(100)
    assert not rig.engine.time.waits
    assert rig.wrongly_dated() == []
    assert rig.missing_minutes() == set()
    rows = rig.engine.store.query("SELECT at_ms, series FROM reading")
    assert len(rows) == len(set(rows))
    assert {version for _, version in rig.periods()} == {1}


def test_what_is_told_waits_with_the_readings_and_what_people_enter_does_not(tmp_path: Path) -> None:
    """An instrument's state is dated with the boot; a mark by hand has its own dates and is kept at once."""
    rig = Lost(tmp_path)
    rig.run(50)
    rig.engine.keep(Record("equipment", rig.clock.now(), {"states": {"1": "running"}}, "site"))
    rig.engine.keep(Record("note", rig.clock.now(), {"text": "by hand"}, "site"))
    at = rig.truth
    rig.run(70)
    assert [row[0] for row in rig.engine.store.query("SELECT kind FROM record")] == ["note"]
    rig.instrument.go_silent()
    rig.run(20)
    rig.instrument.come_back()
    rig.set_right()
    rig.run(30)
    (kept,) = rig.engine.store.records("equipment", MIDNIGHT, MIDNIGHT + HOUR)
    assert (kept.body, abs(kept.at - at) < SECOND) == ({"states": {"1": "running"}}, True)
    (missed,) = {from_ms(row[0]) for row in rig.engine.store.query("SELECT min(first_ms) FROM missed")}
    assert timedelta() <= missed - MIDNIGHT - timedelta(seconds=150) < 12 * SECOND
