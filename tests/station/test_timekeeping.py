"""Nothing is dated by a clock that nobody vouches for, and nothing that was measured meanwhile is lost."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from station import engine as engine_module
from station.clock import floor_to, from_ms
from station.engine import Engine
from station.ledger import silences
from station.model import Kind
from station.seal import verify
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
