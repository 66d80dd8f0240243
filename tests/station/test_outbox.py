"""What a platform is owed: cursor, spans, lanes, numbers; held against a row-per-message truth."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.clock import ManualClock, to_ms
from station.model import Kind, Lane, Message, StoreError
from station.outbox import MOST_ASIDE, MOST_REFUSALS, PlatformOutbox, State
from station.store import Store, connect

START = datetime(2026, 3, 1, tzinfo=UTC)


class Rig:
    """A store, a clock and one platform's outbox."""

    def __init__(self, path: Path, **more: object) -> None:
        self.path = path
        self.clock = ManualClock(START)
        self.store = Store.open(path)
        self.more = more
        self.outbox = self.open("district", **more)

    def open(self, name: str, **more: object) -> PlatformOutbox:
        outbox = PlatformOutbox(
            name, self.store, lambda: connect(self.path, read_only=True), now=self.clock.now, **more
        )  # type: ignore[arg-type]
        outbox.write_now()
        return outbox

    def commit(self, *kinds: Kind, pins: int = 0) -> None:
        with self.store.transaction() as db:
            self.store.add_messages((self.outbox.id, kind, "site", self.clock.now(), 1, kind.name) for kind in kinds)
            self.outbox.write(db)
        self.outbox.committed(pins=pins)

    def restart(self) -> None:
        self.outbox.close()
        self.outbox = self.open("district", **self.more)

    def close(self) -> None:
        self.outbox.close()
        self.store.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "station.db")
    yield made
    made.close()


def sequence(messages: list[Message] | tuple[Message, ...]) -> list[int]:
    return [m.id & 0xFFFFFF for m in messages]


def test_nothing_is_seen_before_its_commit(rig: Rig) -> None:
    """A message in an open transaction does not exist for the sender."""
    rig.outbox.connected()
    with rig.store.transaction() as db:
        rig.store.add_messages([(rig.outbox.id, Kind.MINUTE, "site", START, 1, "text")])
        rig.outbox.write(db)
        assert rig.outbox.next(Lane.LIVE, 8) == []
    rig.outbox.committed()
    assert sequence(rig.outbox.next(Lane.LIVE, 8)) == [1]


def test_a_file_that_cannot_be_read_is_the_stores_fault_and_waited_for(rig: Rig) -> None:
    """The sender backs off at a StoreError; what SQLite itself raises would end the station."""

    class Failing:
        def execute(self, sql: str, parameters: object = ()) -> object:
            raise sqlite3.OperationalError("disk I/O error")

        def close(self) -> None:
            pass

    rig.commit(Kind.MINUTE)
    rig.outbox._make_reader = Failing
    rig.outbox.connected()
    with pytest.raises(StoreError, match=r"station\.db: disk I/O error"):
        rig.outbox.next(Lane.HISTORY, 8)
    kept, rig.store._connection = rig.store._connection, Failing()  # type: ignore[assignment]
    with pytest.raises(StoreError, match=r"station\.db: disk I/O error"):
        rig.store.query("SELECT 1")
    rig.store._connection = kept


def test_what_waited_is_history_and_what_comes_is_live(rig: Rig) -> None:
    """When the link comes up the backlog becomes one span, marked as re-supply."""
    rig.commit(Kind.MINUTE, Kind.MINUTE)
    rig.outbox.connected()
    rig.commit(Kind.MINUTE)
    assert sequence(rig.outbox.next(Lane.LIVE, 8)) == [3]
    history = rig.outbox.next(Lane.HISTORY, 8)
    assert sequence(history) == [1, 2]
    assert [m.resupply for m in history] == [True, True]


def test_an_answer_in_the_middle_of_the_backlog_splits_its_span(rig: Rig) -> None:
    """Answers may come in any order."""
    rig.commit(*[Kind.MINUTE] * 5)
    rig.outbox.connected()
    history = rig.outbox.next(Lane.HISTORY, 5)
    rig.outbox.answered([history[2].id])
    assert [(s.first & 0xFF, s.last & 0xFF) for s in rig.outbox.spans] == [(1, 2), (4, 5)]
    assert rig.outbox.depth().owed == 4


def test_the_power_on_report_is_first_and_live_whatever_waits(rig: Rig) -> None:
    """Sent once at each start, ahead of the backlog, and never marked as re-supply."""
    rig.commit(*[Kind.MINUTE] * 3)
    rig.commit(Kind.POWER_ON, pins=1)
    rig.outbox.connected()
    first = rig.outbox.next(Lane.LIVE, 1)
    assert [(m.kind, m.resupply) for m in first] == [(Kind.POWER_ON, False)]
    rig.outbox.answered([first[0].id])
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1, 2, 3]


def test_messages_in_flight_come_again_after_the_link_broke(rig: Rig) -> None:
    """No answer, no delivery."""
    rig.outbox.connected()
    rig.commit(Kind.MINUTE, Kind.MINUTE)
    assert sequence(rig.outbox.next(Lane.LIVE, 8)) == [1, 2]
    rig.outbox.disconnected()
    rig.outbox.connected()
    assert rig.outbox.next(Lane.LIVE, 8) == []
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1, 2]


def test_an_answer_is_lost_by_a_crash_only_until_the_next_commit(rig: Rig) -> None:
    """Answered but not committed: sent again with the same identity; committed: never again."""
    rig.outbox.connected()
    rig.commit(Kind.MINUTE, Kind.MINUTE)
    rig.outbox.answered([m.id for m in rig.outbox.next(Lane.LIVE, 8)])
    rig.restart()  # a crash: the state in memory is gone
    assert rig.outbox.depth().owed == 2
    rig.outbox.connected()
    rig.outbox.answered([m.id for m in rig.outbox.next(Lane.HISTORY, 8)])
    rig.commit()
    rig.restart()
    assert rig.outbox.depth().owed == 0


def test_an_answer_from_before_a_reconnect_still_counts(rig: Rig) -> None:
    """Live answers above a gap are not forgotten when the rest becomes backlog."""
    rig.outbox.connected()
    rig.commit(*[Kind.MINUTE] * 4)
    live = rig.outbox.next(Lane.LIVE, 4)
    rig.outbox.answered([live[1].id, live[3].id])
    rig.outbox.disconnected()
    rig.outbox.connected()
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1, 3]


def test_a_message_refused_while_others_are_taken_is_parked_in_the_end(rig: Rig) -> None:
    """Poison is shown with its reason; the rest flows; `resend` takes it up again."""
    rig.outbox.connected()
    rig.commit(Kind.MINUTE)
    (poison,) = rig.outbox.next(Lane.LIVE, 2)
    rig.outbox.refused(poison.id, "QnRtn=2")
    for attempt in range(MOST_REFUSALS - 1):
        assert rig.outbox.next(Lane.HISTORY, 8) == []
        rig.commit(Kind.MINUTE)
        rig.outbox.answered([m.id for m in rig.outbox.next(Lane.LIVE, 8)])
        rig.clock.advance(60 * 2**attempt)
        assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1]
        rig.outbox.refused(poison.id, "QnRtn=2")
    assert [(s.state, s.reason) for s in rig.outbox.spans if s.state is State.PARKED] == [(State.PARKED, "QnRtn=2")]
    assert rig.outbox.complaint == "QnRtn=2"
    depth = rig.outbox.depth()
    assert (depth.owed, depth.parked, depth.answered) == (0, 1, MOST_REFUSALS - 1)
    assert rig.outbox.resend(START, START + timedelta(minutes=1), [Kind.MINUTE]) == 2
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1, 2]


def test_a_platform_that_refuses_everything_parks_nothing(rig: Rig) -> None:
    """The MN was registered two days late: all is owed, in few spans, and all arrives."""
    rig.outbox.connected()
    for _ in range(200):
        rig.commit(Kind.MINUTE)
        for message in [*rig.outbox.next(Lane.LIVE, 8), *rig.outbox.next(Lane.HISTORY, 8)]:
            rig.outbox.refused(message.id, "QnRtn=4: MN wrong")
        rig.clock.advance(60)
    depth = rig.outbox.depth()
    assert (depth.owed, depth.parked) == (200, 0)
    assert len(rig.outbox.spans) <= 65
    rig.clock.advance(3600)
    found: list[int] = []
    while batch := rig.outbox.next(Lane.HISTORY, 50):
        found += [m.id for m in batch]
        rig.outbox.answered(found[-len(batch) :])
    assert (len(found), rig.outbox.depth().owed, rig.outbox.complaint) == (200, 0, "")


def test_a_refused_message_above_a_gap_survives_a_reconnect(rig: Rig) -> None:
    """Refused while an older one had no answer yet: owed before, owed after."""
    rig.outbox.connected()
    rig.commit(*[Kind.MINUTE] * 3)
    flying = rig.outbox.next(Lane.LIVE, 3)
    rig.outbox.refused(flying[1].id, "QnRtn=2")
    rig.outbox.disconnected()
    rig.outbox.connected()
    assert rig.outbox.depth().owed == 3
    rig.clock.advance(3600)
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1, 2, 3]


def test_a_message_the_platform_ignores_steps_aside_for_the_rest(rig: Rig) -> None:
    """The link ends over it twice; the third time the others go first, and it is tried again later."""
    rig.commit(*[Kind.MINUTE] * 3)
    for _ in range(2):
        rig.outbox.connected()
        (first,) = rig.outbox.next(Lane.HISTORY, 1)
        assert first.id & 0xFF == 1
        rig.outbox.unanswered(first.id)
        rig.outbox.disconnected()
    rig.outbox.connected()
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [2, 3]
    assert rig.outbox.depth().owed == 3
    rig.clock.advance(61)
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1]


def test_a_platform_that_answers_nothing_does_not_scatter_its_backlog(rig: Rig) -> None:
    """Only a handful may step aside; an outage of days stays one span."""
    rig.commit(*[Kind.MINUTE] * 100)
    for _ in range(60):
        rig.outbox.connected()
        (first,) = rig.outbox.next(Lane.HISTORY, 1)
        rig.outbox.unanswered(first.id)
        rig.outbox.disconnected()
    assert len(rig.outbox.spans) <= 2 * MOST_ASIDE + 2
    assert rig.outbox.depth().owed == 100


def test_screens_and_commits_never_wait_for_each_other(tmp_path: Path) -> None:
    """The commit holds the store and asks the outbox; a screen holds the outbox and must not ask the store."""
    rig = Rig(tmp_path / "station.db", backlog_kinds=[Kind.MINUTE])
    over = threading.Event()

    def screen() -> None:
        while not over.is_set():
            rig.outbox.depth()

    def uplink() -> None:
        while not over.is_set():
            rig.outbox.connected()
            rig.outbox.disconnected()

    threads = [threading.Thread(target=target, daemon=True) for target in (screen, screen, uplink)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        rig.commit(Kind.MINUTE, Kind.REALTIME)
    over.set()
    for thread in threads:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in threads)
    rig.close()


def test_a_stray_answer_changes_nothing(rig: Rig) -> None:
    """A second answer, or one to a message that is not there."""
    rig.outbox.connected()
    rig.commit(Kind.MINUTE)
    (message,) = rig.outbox.next(Lane.LIVE, 8)
    rig.outbox.answered([message.id, message.id, message.id + 5])
    assert rig.outbox.depth().answered == 1


def test_unconfirmed_deliveries_are_counted_apart(rig: Rig) -> None:
    """A platform that never answers: its bytes were acknowledged by TCP, no more."""
    rig.outbox.connected()
    rig.commit(Kind.MINUTE)
    rig.outbox.answered([m.id for m in rig.outbox.next(Lane.LIVE, 8)], confirmed=False)
    depth = rig.outbox.depth()
    assert (depth.owed, depth.answered, depth.unconfirmed) == (0, 0, 1)


def test_kinds_outside_backlog_kinds_are_dropped_and_counted(tmp_path: Path) -> None:
    """A platform that wants no old real-time data still gets its old minutes."""
    rig = Rig(tmp_path / "station.db", backlog_kinds=[Kind.MINUTE])
    rig.commit(Kind.REALTIME, Kind.MINUTE, Kind.REALTIME, Kind.REALTIME)
    rig.outbox.connected()
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [2]
    depth = rig.outbox.depth()
    assert (depth.owed, depth.dropped) == (1, 3)
    rig.close()


def test_two_platforms_do_not_see_each_other(rig: Rig) -> None:
    """Ids of one platform are contiguous, whatever others get."""
    other = rig.open("town")
    with rig.store.transaction() as db:
        for _ in range(3):
            rig.store.add_messages(
                (number, Kind.MINUTE, "site", START, 1, "text") for number in (rig.outbox.id, other.id)
            )
        other.write(db)
    rig.commit()
    other.committed()
    other.connected()
    assert sequence(other.next(Lane.HISTORY, 8)) == [1, 2, 3]
    assert rig.outbox.depth().owed == 3
    other.close()


def test_waiting_ends_when_something_is_committed(rig: Rig) -> None:
    """The sender's thread sleeps until the commit rings."""
    rig.outbox.wait(0)
    heard = []
    thread = threading.Thread(target=lambda: heard.append(rig.outbox.wait(10)))
    thread.start()
    rig.commit(Kind.MINUTE)
    thread.join(timeout=5)
    assert heard == [True]
    assert rig.outbox.wait(0) is False


def test_numbers_grow_beyond_the_reserve_by_asking_for_a_commit(tmp_path: Path) -> None:
    """A burst that uses up the reserve gets a durable one first."""
    asked = []

    def urgent() -> None:
        asked.append(True)
        rig.outbox.write_now()

    rig = Rig(tmp_path / "station.db", horizon_seconds=0.01, urgent=urgent)
    numbers = [rig.outbox.number(to_ms(START)) for _ in range(50)]
    assert numbers == sorted(set(numbers))
    assert asked
    reserved = rig.store.query("SELECT reserved FROM platform")[0][0]
    assert reserved >= numbers[-1]
    rig.close()


def test_no_number_returns_though_the_disk_fails_longer_than_the_reserve_and_the_clock_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers fall behind the clock instead of passing what is durable; a crash and a step back find them all given."""
    monkeypatch.setattr("station.outbox.RESERVE_PATIENCE", 0)
    rig = Rig(tmp_path / "station.db")
    rig.outbox.write_now()
    reserved = rig.store.query("SELECT reserved FROM platform")[0][0]
    late = to_ms(START + timedelta(minutes=10))  # no commit since
    given = [rig.outbox.number(to_ms(START)), *(rig.outbox.number(late + n) for n in range(500))]
    assert given == sorted(set(given))
    assert max(given) <= reserved
    rig.restart()
    assert rig.outbox.number(to_ms(START - timedelta(days=1))) > max(given)
    rig.close()


def test_when_no_number_is_sure_to_be_new_the_link_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.outbox.RESERVE_PATIENCE", 0)
    monkeypatch.setattr("station.outbox.SPARE", 3)
    rig = Rig(tmp_path / "station.db")
    rig.outbox.write_now()
    late = to_ms(START + timedelta(minutes=10))
    rig.outbox.number(to_ms(START + timedelta(seconds=74.999)))
    given = [rig.outbox.number(late) for _ in range(4)]
    with pytest.raises(StoreError, match="no number is left that is sure to be new"):
        rig.outbox.number(late)
    rig.outbox.write_now()  # the disk is back
    assert rig.outbox.number(to_ms(START)) > max(given)
    rig.close()


@pytest.mark.parametrize("seed", range(6))
def test_spans_agree_with_a_row_per_message(tmp_path: Path, seed: int) -> None:
    """Outages, reordered answers, refusals and crashes: the owed set equals the truth at every step."""
    chance = random.Random(seed)
    rig = Rig(tmp_path / "station.db")
    owed: set[int] = set()  # as the disk knows them
    answered_since: set[int] = set()
    flying: list[Message] = []
    most_spans = 0
    for step in range(400):
        action = chance.random()
        if action < 0.35:
            before = rig.store.newest_message(rig.outbox.id)
            rig.commit(*chance.choices([Kind.REALTIME, Kind.MINUTE], k=chance.randint(1, 3)))
            owed |= set(range(before + 1, rig.store.newest_message(rig.outbox.id) + 1))
            owed -= answered_since
            answered_since.clear()
        elif action < 0.45:
            rig.outbox.disconnected()
            rig.outbox.connected()
            flying = []
        elif action < 0.48:
            rig.restart()
            answered_since.clear()
            rig.outbox.connected()
            flying = []
        elif action < 0.75:
            flying += rig.outbox.next(chance.choice(list(Lane)), chance.randint(1, 8))
        elif flying and action < 0.8:
            rig.outbox.refused(flying.pop(chance.randrange(len(flying))).id, "QnRtn=2")
        elif flying and action < 0.83:
            rig.outbox.unanswered(flying.pop(chance.randrange(len(flying))).id)
        elif flying:
            done = [flying.pop(chance.randrange(len(flying))).id for _ in range(min(len(flying), 3))]
            rig.outbox.answered(done)
            answered_since |= set(done)
        rig.clock.advance(1)
        parked = rig.outbox.depth().parked
        most_spans = max(most_spans, len(rig.outbox.spans))
        assert rig.outbox.depth().owed + parked == len(owed - answered_since), f"step {step}"
    rig.outbox.disconnected()
    rig.outbox.connected()
    rig.clock.advance(86400)
    left = []
    while batch := [*rig.outbox.next(Lane.LIVE, 50), *rig.outbox.next(Lane.HISTORY, 50)]:
        left += [m.id for m in batch]
    given_up = {n for s in rig.outbox.spans if s.state is State.PARKED for n in range(s.first, s.last + 1)}
    assert sorted(left) == sorted(owed - answered_since - given_up)
    assert most_spans <= 65
    rig.close()


def test_answered_messages_are_sent_again_when_asked_for(rig: Rig) -> None:
    """Exactly those of the kinds and times named, marked as re-supply, durable with the next commit."""
    rig.outbox.connected()
    for _ in range(6):
        rig.commit(Kind.REALTIME, Kind.MINUTE)
        rig.clock.advance(60)
    rig.outbox.answered([m.id for m in rig.outbox.next(Lane.LIVE, 99)])
    minute = timedelta(minutes=1)
    assert rig.outbox.resend(START + minute, START + 4 * minute, [Kind.MINUTE]) == 3
    assert rig.outbox.resend(START + minute, START + 4 * minute, [Kind.MINUTE]) == 0
    rig.commit()
    rig.restart()
    assert rig.outbox.depth().owed == 3
    rig.outbox.connected()
    again = rig.outbox.next(Lane.HISTORY, 99)
    assert [(m.kind, m.start, m.resupply) for m in again] == [
        (Kind.MINUTE, START + n * minute, True) for n in (1, 2, 3)
    ]
    rig.outbox.answered([m.id for m in again])
    assert (rig.outbox.depth().owed, rig.outbox.spans) == (0, ())


def test_what_was_given_up_can_be_sent_again(tmp_path: Path) -> None:
    """Dropped, parked and unconfirmed messages are owed once more, what is owed already stays as it is."""
    rig = Rig(tmp_path / "station.db", backlog_kinds=[Kind.MINUTE])
    rig.commit(Kind.REALTIME, Kind.MINUTE, Kind.REALTIME, Kind.MINUTE, Kind.MINUTE)
    rig.outbox.connected()
    first, second, _ = rig.outbox.next(Lane.HISTORY, 9)
    rig.outbox.answered([first.id], confirmed=False)
    for _ in range(MOST_REFUSALS):
        rig.outbox.refused(second.id, "QnRtn=9")
        rig.outbox.progress += 1  # others are taken meanwhile
    assert (rig.outbox.depth().owed, rig.outbox.depth().parked, rig.outbox.depth().dropped) == (1, 1, 2)
    assert rig.outbox.resend(START, START + timedelta(seconds=1), [Kind.REALTIME, Kind.MINUTE]) == 4
    depth = rig.outbox.depth()
    assert (depth.owed, depth.parked, depth.dropped) == (5, 0, 0)
    rig.outbox.disconnected()
    rig.outbox.connected()
    assert sorted(sequence(rig.outbox.next(Lane.HISTORY, 9))) == [1, 2, 3, 4, 5]
    rig.close()


def test_a_message_refused_while_another_is_in_flight_is_settled_by_its_answer(rig: Rig) -> None:
    """It lies above the live cursor and in a span of its own."""
    rig.outbox.connected()
    rig.commit(Kind.MINUTE, Kind.MINUTE)
    _, refused = rig.outbox.next(Lane.LIVE, 2)
    rig.outbox.refused(refused.id, "QnRtn=2")
    rig.clock.advance(60)
    (again,) = rig.outbox.next(Lane.HISTORY, 8)
    rig.outbox.answered([again.id])
    assert (again.id, rig.outbox.depth().owed, rig.outbox.spans) == (refused.id, 1, ())


@pytest.mark.parametrize("seed", range(4))
def test_any_range_is_sent_again_exactly(tmp_path: Path, seed: int) -> None:
    """Random ranges and kinds over answered, owed and refused messages: each of them comes once."""
    chance = random.Random(seed)
    rig = Rig(tmp_path / "station.db")
    kinds = [Kind.REALTIME, Kind.MINUTE, Kind.HOUR]
    rig.outbox.connected()
    for _ in range(200):
        rig.commit(*chance.choices(kinds, k=2))
        rig.clock.advance(60)
        for message in rig.outbox.next(Lane.LIVE, chance.randint(0, 4)):
            if chance.random() < 0.8:
                rig.outbox.answered([message.id])
    rig.outbox.disconnected()
    rig.outbox.connected()
    rows = {r[0]: (r[1], r[2]) for r in rig.store.query("SELECT id, kind, start_ms FROM message")}
    owed = {n for n in rows if any(s.first <= n <= s.last for s in rig.outbox.spans)}
    for _ in range(10):
        some = chance.sample(kinds, chance.randint(1, 3))
        first, last = sorted(START + timedelta(minutes=chance.randint(-5, 205)) for _ in range(2))
        asked = {n for n, (kind, at) in rows.items() if kind in some and to_ms(first) <= at < to_ms(last)}
        assert rig.outbox.resend(first, last, some) == len(asked - owed)
        owed |= asked
        assert rig.outbox.depth().owed == len(owed)
    rig.commit()
    rig.restart()
    rig.outbox.connected()
    found = [m.id for m in rig.outbox.next(Lane.HISTORY, 1000)]
    while more := rig.outbox.next(Lane.HISTORY, 1000):
        found += [m.id for m in more]
    assert sorted(found) == sorted(owed)
    rig.outbox.answered(found)
    assert rig.outbox.spans == ()
    rig.close()


# -- a platform that says for how long it wants to be left alone (uplink/http)


def test_what_is_put_off_comes_when_its_time_has_come_and_a_restart_keeps_the_time(rig: Rig) -> None:
    """No try is counted, nothing is parked however often."""
    rig.commit(*[Kind.MINUTE] * 4)
    rig.outbox.connected()
    for _ in range(2 * MOST_REFUSALS):
        rig.outbox.later([m.id for m in rig.outbox.next(Lane.HISTORY, 3)], 600, "answered 500")
        rig.commit()
        rig.restart()
        rig.outbox.connected()
        assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [4]
        rig.outbox.disconnected()
        rig.clock.advance(601)
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1, 2, 3, 4]
    assert rig.outbox.depth().parked == 0
    assert rig.outbox.held() == 0


def test_put_off_records_make_few_spans(rig: Rig) -> None:
    """A hundred at once are one span, not a hundred."""
    rig.commit(*[Kind.MINUTE] * 200)
    rig.outbox.connected()
    rig.outbox.later([m.id for m in rig.outbox.next(Lane.HISTORY, 100)], 600, "answered 500")
    assert len(rig.outbox.spans) == 2


def test_a_whole_platform_rests_until_the_time_it_named_also_after_a_restart(rig: Rig) -> None:
    rig.commit(Kind.MINUTE, Kind.HOUR)
    rig.outbox.connected()
    rig.outbox.later([m.id for m in rig.outbox.next(Lane.HISTORY, 1)], 3600, "asks to come again", hold=True)
    rig.commit()
    rig.clock.advance(600)
    rig.restart()
    assert rig.outbox.held() == 3000
    rig.clock.advance(3001)
    assert rig.outbox.held() == 0
    assert rig.outbox.depth().owed == 2


def test_a_clock_that_was_set_back_does_not_make_a_platform_rest_for_years(rig: Rig) -> None:
    rig.commit(Kind.MINUTE)
    rig.outbox.connected()
    rig.outbox.later([m.id for m in rig.outbox.next(Lane.HISTORY, 1)], 60, "asks to come again", hold=True)
    rig.clock.step(-300 * 86400)
    assert rig.outbox.held() == 0


def test_a_live_record_that_is_put_off_comes_again_as_history(rig: Rig) -> None:
    rig.outbox.connected()
    rig.commit(Kind.MINUTE, Kind.MINUTE)
    first, _ = rig.outbox.next(Lane.LIVE, 8)
    rig.outbox.later([first.id], 60, "400 Bad Request", refused=True)
    assert rig.outbox.complaint == "400 Bad Request"
    assert rig.outbox.next(Lane.HISTORY, 8) == []
    rig.clock.advance(61)
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1]


def test_what_is_parked_is_counted_told_and_queued_again_by_resend(rig: Rig) -> None:
    """With its reason, and not handed out until somebody asks."""
    rig.outbox.connected()
    rig.commit(Kind.MINUTE, Kind.MINUTE)
    first, second = rig.outbox.next(Lane.LIVE, 8)
    rig.outbox.park(first.id, "400 Bad Request: no such device")
    rig.outbox.park(first.id, "again")  # it is parked already
    rig.outbox.answered([second.id])
    rig.commit()
    rig.restart()
    rig.outbox.connected()
    assert rig.outbox.depth().parked == 1
    assert rig.outbox.complaint == "400 Bad Request: no such device"
    assert rig.outbox.next(Lane.HISTORY, 8) == []
    assert rig.outbox.resend(START, START + timedelta(hours=1), [Kind.MINUTE]) == 2
    assert sequence(rig.outbox.next(Lane.HISTORY, 8)) == [1, 2]


def test_what_is_answered_cannot_be_put_off_or_parked(rig: Rig) -> None:
    rig.outbox.connected()
    rig.commit(Kind.MINUTE)
    (only,) = rig.outbox.next(Lane.LIVE, 8)
    rig.outbox.answered([only.id])
    rig.outbox.later([only.id], 60, "late")
    rig.outbox.park(only.id, "late")
    assert (rig.outbox.depth().owed, rig.outbox.depth().parked, rig.outbox.spans) == (0, 0, ())
