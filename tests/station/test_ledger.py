"""The completeness ledger against what a test knows of every period, through outages, refusals and restarts."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.clock import from_ms, to_ms
from station.ledger import GRACE_MS, Gap, Row, completeness, gaps, kept, monthly, roll_up, silences
from station.model import Command, Kind, Lane, Mark, Outcome, Result, StoreError, WrongArgument, replace
from station.outbox import MOST_REFUSALS
from station.store import Store
from tests.station.conftest import CONFIG, START, Rig

SETTINGS = 'realtime_seconds = 30\nallow = ["set_interval", "reporting"]\nbacklog_kinds = ["minute", "hour", "day"]'
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
STEPS = {Kind.MINUTE: 60_000, Kind.HOUR: 3_600_000, Kind.DAY: 86_400_000}


class Watched(Rig):
    """A station whose platform's view of every message is kept, a row a message."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CONFIG.replace("realtime_seconds = 30", SETTINGS))
        self.intervals = [(to_ms(self.clock.now()), 30_000)]
        self.fate: dict[int, str] = {}
        self.refusals: dict[int, int] = {}
        self.handed: set[int] = set()
        self.kept: set[int] = set()
        self.flying: list[int] = []

    @property
    def outbox(self):  # type: ignore[no-untyped-def]
        """The outbox of the one platform."""
        return self.engine.outboxes["district"]

    def tell(self, verb: str, **arguments: str) -> Outcome:
        """Have the desk do *verb*; note from when on what is due, in ms."""
        results: list[Result] = []
        command = Command(verb, "district", "site", arguments, f"{verb}{self.clock.now()}", self.clock.now())
        self.engine.desk.submit(command, results.append)
        since = max(to_ms(self.clock.now()) - 2000, to_ms(self.engine.started))
        self.engine.tick()
        self.clock.advance(5)
        if results[0].outcome is Outcome.DONE:
            terms = self.engine.terms["district"]
            self.intervals.append((since, terms.realtime_seconds * 1000 * terms.realtime))
        return results[0].outcome

    def connect(self) -> None:
        """The link comes up: what waits of kinds that are not re-supplied is dropped."""
        self.outbox.disconnected()
        self.outbox.connected()
        self.flying.clear()
        for number, kind in self.engine.store.query("SELECT id, kind FROM message"):
            if kind == Kind.REALTIME and number not in self.fate and number not in self.kept:
                self.fate[number] = "dropped"

    def crash(self, seconds: float) -> None:
        """Down for a while; what was in flight below an answer is owed to the next start, whatever its kind."""
        self.engine.commit()
        self.clock.advance(seconds)
        self.restart()
        settled = max((number for number, fate in self.fate.items() if fate != "dropped"), default=0)
        rows = self.engine.store.query("SELECT id FROM message WHERE id < ?", (settled,))
        self.kept |= {number for (number,) in rows if number not in self.fate}
        self.engine.tick()
        self.connect()

    def deliver(self, chance: random.Random, most: int) -> None:
        """Hand out up to *most* of each lane; some are answered, refused, or left in flight."""
        for lane in Lane:
            found = [message.id for message in self.outbox.next(lane, most)]
            self.handed.update(found)
            self.flying += found
        chance.shuffle(self.flying)
        while self.flying and chance.random() < 0.95:
            self.settle(self.flying.pop(), chance.choices(("answered", "unconfirmed", "refused"), (90, 5, 5))[0])

    def settle(self, number: int, how: str) -> None:
        """The platform answers *number*."""
        if how == "refused":
            self.refusals[number] = self.refusals.get(number, 0) + 1
            self.fate[number] = "parked" if self.refusals[number] == MOST_REFUSALS else "refused"
            self.outbox.refused(number, "QnRtn=9")
        else:
            self.fate[number] = how
            self.outbox.answered([number], confirmed=how == "answered")

    def due(self, kind: Kind, start: int, end: int) -> list[int]:
        """Every period of *kind* that is due in the range, found by looking at each 5 s of it."""
        until = to_ms(self.clock.now()) - GRACE_MS
        began = self.intervals[0][0]
        found = []
        for at in range(start, end, 5000):
            if kind is Kind.REALTIME:
                interval = [step for since, step in self.intervals if since < at][-1:]
                fits = bool(interval and interval[0] and at % interval[0] == 0 and at <= until)
            else:
                step = STEPS[kind]
                fits = (at + 8 * 3_600_000) % step == 0 and at >= began and at + step <= until
            found += [at] if fits else []
        return found

    def truth(self, start: int, end: int) -> dict[Kind, dict[str, int]]:
        """What the ledger ought to say."""
        rows = self.engine.store.query("SELECT kind, start_ms, id FROM message WHERE version = 1 ORDER BY id")
        numbers = {(kind, at): number for kind, at, number in rows}
        told = {}
        for kind in (Kind.REALTIME, *STEPS):
            due = self.due(kind, start, end)
            there = [numbers[kind, at] for at in due if (kind, at) in numbers]
            told[kind] = {"expected": len(due), "stored": len(there), "sent": len(self.handed.intersection(there))}
            for fate in ("answered", "unconfirmed", "refused", "parked", "dropped", "owed"):
                told[kind][fate] = sum(self.fate.get(number, "owed") == fate for number in there)
        return told


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.engine.shut_down()


def rows(rig: Watched, start: datetime, end: datetime) -> dict[Kind, Row]:
    found = completeness(rig.engine.store, "district", start, end, rig.clock.now(), rig.loaded.zone)
    return {row.kind: row for row in found}


def reasons(rig: Watched, kind: Kind, start: datetime, end: datetime) -> list[tuple[datetime, int, str, str]]:
    found = gaps(rig.engine.store, "district", start, end, rig.clock.now(), rig.loaded.zone)
    return [(gap.first, gap.periods, gap.reason, gap.detail) for gap in found if gap.kind is kind]


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_equals_a_row_per_message(rig: Watched, seed: int) -> None:
    """Whatever a station goes through."""
    live_and_compare(rig, seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_ledger_equals_it_when_every_twentieth_write_fails(
    rig: Watched, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk delays what is written and loses none of it."""
    chance, run, write = random.Random(seed), rig.run, Store.transaction
    failed = 0

    @contextmanager
    def failing(store: Store) -> Iterator[sqlite3.Connection]:
        nonlocal failed
        if chance.random() < 0.05:
            failed += 1
            raise StoreError(f"{store.where}: the disk is full")
        with write(store) as connection:
            yield connection

    def run_with_failures(seconds: float, step: float = 1.0) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Store, "transaction", failing)
            run(seconds, step)

    monkeypatch.setattr(rig, "run", run_with_failures)
    live_and_compare(rig, seed)
    assert failed > 10


def live_and_compare(rig: Watched, seed: int) -> None:
    """Outages, answers in any order, refusals, drops, restarts, silence, changed intervals: every figure agrees."""
    chance = random.Random(seed)
    rig.outbox.connected()
    for _ in range(70):
        action = chance.random()
        if action < 0.08:
            rig.crash(5 * chance.choice([1, 30, 300, 3000]))
        elif action < 0.2:
            rig.connect()
        elif action < 0.27:
            rig.tell("set_realtime_interval", seconds=chance.choice(["30", "60", "300"]))
        elif action < 0.32:
            rig.tell(chance.choice(["stop_realtime", "start_realtime"]))
        elif action < 0.36:
            rig.instrument.go_silent(chance.choice([5, 100]))
        rig.run(5 * chance.choice([12, 60, 240]), step=5)
        if chance.random() < 0.7:
            rig.deliver(chance, chance.choice([5, 50, 500]))
    rig.engine.commit()
    now = to_ms(rig.clock.now()) // 5000 * 5000
    ranges = [(to_ms(START) - 30_000 - 3_600_000, now)]
    ranges += [(a, a + 5000 * chance.randrange(3000)) for a in (now - 5000 * chance.randrange(9000) for _ in range(6))]
    for start, end in ranges:
        told = rows(rig, from_ms(start), from_ms(end))
        for kind, truth in rig.truth(start, end).items():
            assert {name: getattr(told[kind], name) for name in truth} == truth, (kind, start, end)
        missing = {kind: told[kind].expected - told[kind].answered - told[kind].unconfirmed for kind in told}
        found = gaps(rig.engine.store, "district", from_ms(start), from_ms(end), rig.clock.now(), rig.loaded.zone)
        assert {kind: sum(gap.periods for gap in found if gap.kind is kind) for kind in told} == missing


def test_what_is_missing_says_why(rig: Watched) -> None:
    """Off, not measured, owed, refused, parked, dropped: each with its first period and how many."""
    rig.run(605, step=5)  # 00:00:30 – 00:10:35
    rig.engine.commit()
    rig.clock.advance(1200)  # – 00:30:35
    rig.restart()
    rig.run(600, step=5)  # – 00:40:35
    rig.connect()
    minutes = rig.outbox.next(Lane.HISTORY, 100)
    for message in minutes[:3]:
        rig.settle(message.id, "refused")
    for message in minutes[3:]:
        rig.settle(message.id, "answered")
    rig.run(600, step=5)  # – 00:50:35
    rig.engine.commit()
    zero = START.replace(second=0)
    told = reasons(rig, Kind.MINUTE, zero, zero + HOUR)
    refused = [m for m in minutes[:3] if m.kind is Kind.MINUTE and m.start > START]
    assert [entry for entry in told if entry[2] == "refused"] == [
        (refused[0].start, len(refused), "refused", "QnRtn=9")
    ]
    assert (zero + 11 * MINUTE, 19, "off", "") in told
    assert told[-1][1:] == (8, "owed", "")
    realtime = reasons(rig, Kind.REALTIME, zero, zero + HOUR)
    assert [entry[2] for entry in realtime] == ["dropped", "off", "dropped", "owed"]


def test_a_quick_restart_is_no_clock_that_jumped(rig: Watched) -> None:
    """Half a minute down after a kill, and the clock was not moved: the station was off."""
    rig.run(305, step=5)
    rig.engine.commit()
    rig.clock.advance(45)
    rig.restart()
    rig.run(300, step=5)
    rig.engine.commit()
    assert [why for _, _, why in silences(rig.engine.store)] == ["off"]
    assert "clock" not in [why for _, _, why, _ in reasons(rig, Kind.REALTIME, START, START + HOUR)]


def test_a_clock_that_was_set_forward_is_on_record(rig: Watched) -> None:
    """The time it jumped over was never there; the station was not off."""
    rig.run(305, step=5)
    rig.engine.commit()
    rig.clock.step(600)
    rig.engine.tick()
    rig.run(300, step=5)
    rig.engine.commit()
    assert [why for _, _, why in silences(rig.engine.store)] == ["clock"]
    assert "clock" in [why for _, _, why, _ in reasons(rig, Kind.REALTIME, START, START + HOUR)]


def test_a_day_without_an_instrument_was_not_measured(rig: Watched) -> None:
    """The station ran and has nothing to say."""
    rig.run(120, step=5)
    rig.engine.commit()
    for poller in rig.engine.pollers:
        poller.tasks.clear()
    rig.engine.series.clear()
    rig.run(900, step=5)
    zero = START.replace(second=0)
    assert reasons(rig, Kind.MINUTE, zero + 5 * MINUTE, zero + HOUR) == [(zero + 5 * MINUTE, 10, "not_measured", "")]


def test_capture_and_validity_are_two_figures(rig: Watched) -> None:
    """Everything answered, half of it not valid."""
    rig.outbox.connected()
    rig.run(330, step=5)
    rig.instrument.show(Mark.D, pm25=1.0, pm10=2.0)
    rig.run(450, step=5)
    for message in [*rig.outbox.next(Lane.LIVE, 500), *rig.outbox.next(Lane.HISTORY, 500)]:
        rig.settle(message.id, "answered")
    rig.engine.commit()
    row = rows(rig, START + MINUTE / 2, START + 10.5 * MINUTE)[Kind.MINUTE]
    assert (row.expected, row.capture_rate, row.validity) == (10, 1.0, 0.5)
    assert rows(rig, START + 9 * HOUR, START + 10 * HOUR)[Kind.MINUTE].capture_rate is None


def test_longer_minute_records_are_due_from_the_change_on(rig: Watched) -> None:
    """One-minute records up to a whole ten, ten-minute records behind it; all of them are there."""
    rig.run(210, step=5)
    assert rig.tell("set_minute_interval", minutes="10") is Outcome.DONE
    rig.run(3000, step=5)
    row = rows(rig, START, START + HOUR)[Kind.MINUTE]
    assert (row.expected, row.stored) == (9 + 4, 9 + 4)


def test_months_are_rolled_up_once_and_shown_when_their_messages_are_gone(rig: Watched) -> None:
    """Kept figures outlive the purge; a month that has not ended is not kept."""
    store, zone = rig.engine.store, rig.loaded.zone
    rig.run(7200, step=5)
    april = datetime(2026, 3, 31, 16, tzinfo=UTC)
    assert roll_up(store, "district", rig.clock.now(), rig.clock.now(), zone) == []
    rig.clock.advance(40 * 86400)
    now = rig.clock.now()
    before = completeness(store, "district", START, april, now, zone)
    assert roll_up(store, "district", april, now, zone) == ["2026-03"]
    assert roll_up(store, "district", april, now, zone) == []
    store.query("DELETE FROM message")
    months = monthly(store, "district", START, april, now, zone)
    assert {month for month, _ in months} == {"2026-03"}
    assert {row.kind: row.stored for _, row in months} == {row.kind: row.stored for row in before}
    assert kept(store, "district", "2026-03") == [row for _, row in months]


def test_an_unknown_platform_is_named(rig: Watched) -> None:
    """With those that are known."""
    with pytest.raises(WrongArgument, match='there is no platform "mars"; known: district'):
        completeness(rig.engine.store, "mars", START, START, START, UTC)


def test_a_gap_says_what_it_is() -> None:
    """Plain data, to be shown or dumped."""
    gap = Gap("district", "site", Kind.HOUR, START, START, 1, "parked", "QnRtn=9")
    assert replace(gap, periods=2).detail == "QnRtn=9"
