"""Recall: exactly the text first reported, found by searching contiguous ids, in bounded memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.clock import to_ms
from station.config import load
from station.model import Command, Kind, Lane, Message, Outcome, Result
from station.outbox import FETCH, PlatformOutbox
from station.store import Store, connect, find_message
from tests.station.conftest import CONFIG, Rig

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "station.db")
    yield made
    made.close()


def outbox(store: Store) -> PlatformOutbox:
    made = PlatformOutbox("district", store, lambda: connect(Path(store.where), read_only=True), now=lambda: START)
    made.write_now()
    return made


def fill(store: Store, platform: int, minutes: int, chance: random.Random) -> list[tuple[Kind, datetime]]:
    """Messages as a station makes them: real-time twice a minute, minutes, hours, days, some left out, some late."""
    made: list[tuple[Kind, datetime]] = []
    for n in range(minutes):
        end = START + (n + 1) * MINUTE
        made += [(Kind.REALTIME, end - MINUTE / 2), (Kind.REALTIME, end)]
        made += [(Kind.MINUTE, end - MINUTE)] if chance.random() < 0.9 else []
        made += [(Kind.HOUR, end - 60 * MINUTE)] if end.minute == 0 else []
        made += [(Kind.DAY, end - 1440 * MINUTE)] if end.minute == end.hour == 0 else []
        made += [(Kind.POWER_ON, end)] if chance.random() < 0.001 else []
    with store.transaction():
        store.add_messages((platform, kind, "site", at, 1, f"{kind.name} {at}") for kind, at in made)
    return made


def ask(rig: Rig, kind: str, first: datetime, last: datetime, point: str | None = "site") -> Result:
    """What the desk answers to a recall."""
    results: list[Result] = []
    arguments = {"kind": kind, "from": first.isoformat(), "to": last.isoformat()}
    identity = f"{kind} {rig.clock.now()}"
    rig.engine.desk.submit(Command("recall", "district", point, arguments, identity, rig.clock.now()), results.append)
    rig.clock.advance(1)
    return results[0]


def test_the_digits_recalled_are_those_first_sent(tmp_path: Path) -> None:
    """Text by text, after a restart and under another calibration."""
    rig = Rig(tmp_path)
    sent: list[Message] = []
    rig.engine.outboxes["district"].connected()
    for level in range(20):
        rig.instrument.show(pm25=35.123456 + level / 7)
        rig.run(60)
        sent += rig.engine.outboxes["district"].next(Lane.LIVE, 100)
    rig.engine.shut_down()
    path = rig.folder / "station.toml"
    path.write_text(CONFIG.replace('parameters = ["pm25", "pm10"]', "calibration = { pm25 = [2.0, 1.0] }"))
    rig.loaded = load(path)
    rig.engine = rig.start()
    minutes = [m for m in sent if m.kind is Kind.MINUTE]
    result = ask(rig, "minute", minutes[0].start, minutes[-1].start)
    assert result.outcome is Outcome.DONE
    assert [(m.id, m.start, m.text) for m in result.records] == [(m.id, m.start, m.text) for m in minutes]
    realtime = [m for m in sent if m.kind is Kind.REALTIME]
    again = ask(rig, "realtime", realtime[3].start, realtime[7].start)
    assert [m.text for m in again.records] == [m.text for m in realtime[3:8]]
    rig.engine.shut_down()


def test_both_ends_are_included_and_equal_bounds_give_one_record(tmp_path: Path) -> None:
    """As the standard's examples ask."""
    rig = Rig(tmp_path)
    rig.run(600)
    at = START + 3 * MINUTE
    assert [m.start for m in ask(rig, "minute", at, at).records] == [at]
    assert [m.start for m in ask(rig, "minute", at, at + 2 * MINUTE).records] == [at + n * MINUTE for n in range(3)]
    rig.engine.shut_down()


def test_nothing_found_is_no_data(tmp_path: Path) -> None:
    """Another time, another point, kinds the station does not keep; and a range the wrong way round."""
    rig = Rig(tmp_path)
    rig.run(300)
    later = START + timedelta(days=9)
    assert ask(rig, "minute", later, later) == Result(Outcome.NO_DATA)
    assert ask(rig, "minute", START, later, "elsewhere") == Result(Outcome.NO_DATA)
    for kind in ("hour", "day", "equipment_hours", "noise", "check"):
        assert ask(rig, kind, START, later) == Result(Outcome.NO_DATA)
    assert ask(rig, "minute", later, START) == Result(Outcome.CONDITIONS, reason="from is after to")
    rig.engine.shut_down()


def test_a_recall_reads_as_it_is_sent(store: Store) -> None:
    """Not more than a portion ahead, whatever was asked for."""
    box = outbox(store)
    fill(store, box.id, 1440, random.Random(1))
    records = box.recall(Kind.REALTIME, "site", START, START + timedelta(days=1))
    read = box._reader = Counting(connect(Path(store.where), read_only=True))
    next(records)
    assert read.rows <= FETCH + 50
    assert sum(1 for _ in records) == 2 * 1440 - 1
    box.close()


class Counting:
    """A connection that counts the rows it gives."""

    def __init__(self, connection: object) -> None:
        self._connection, self.rows = connection, 0

    def execute(self, sql: str, parameters: object) -> list[object]:
        found = list(self._connection.execute(sql, parameters))  # type: ignore[attr-defined]
        self.rows += len(found)
        return found

    def close(self) -> None:
        self._connection.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(4))
def test_any_range_of_any_kind_is_found(store: Store, seed: int) -> None:
    """Against the list of all messages, with another platform's beside them and the oldest purged."""
    chance = random.Random(seed)
    box, other = outbox(store), PlatformOutbox("town", store, lambda: None, now=lambda: START)
    fill(store, other.id, 300, chance)
    made = fill(store, box.id, 3000, chance)
    gone = chance.randrange(2000)
    store.purge(
        "message", START + timedelta(days=9), START + timedelta(days=9), ((box.id << 40), (box.id << 40) + gone)
    )
    kept = [(kind, at) for n, (kind, at) in enumerate(made, 1) if n >= gone]
    for _ in range(60):
        kind = chance.choice([Kind.REALTIME, Kind.MINUTE, Kind.HOUR, Kind.DAY])
        first = START + chance.randrange(-60, 3060) * MINUTE / 2
        last = first + chance.randrange(200) * MINUTE
        found = [m.start for m in box.recall(kind, "site", first, last)]
        assert found == [at for each, at in kept if each is kind and first <= at <= last]
    box.close()
    other.close()


def test_a_clock_set_back_hides_nothing(tmp_path: Path) -> None:
    """Ten minutes back: each instant once, as it was reported last."""
    rig = Rig(tmp_path)
    rig.run(3600)
    rig.clock.step(-600)
    rig.run(1200)
    first, last = START + 52 * MINUTE, START + 58 * MINUTE
    rows = rig.engine.store.query(
        "SELECT start_ms, max(id) FROM message WHERE kind = 1 AND start_ms BETWEEN ? AND ? GROUP BY start_ms",
        (to_ms(first), to_ms(last)),
    )
    found = list(ask(rig, "realtime", first, last).records)
    assert [(to_ms(m.start), m.id) for m in found] == [tuple(row) for row in rows]
    assert (len(found), {m.version for m in found}) == (13, {2})
    rig.engine.shut_down()


def test_a_search_among_many_takes_few_steps(store: Store) -> None:
    """A month of messages: a few dozen rows looked at, not thousands."""
    box = outbox(store)
    fill(store, box.id, 30 * 1440, random.Random(2))
    asked: list[str] = []

    def query(sql: str, parameters: object) -> list[object]:
        asked.append(sql)
        return store.query(sql, parameters)  # type: ignore[arg-type]

    number = find_message(query, box.id, Kind.HOUR, to_ms(START + timedelta(days=13)))
    assert store.query("SELECT kind, start_ms FROM message WHERE id >= ? AND kind = 3 LIMIT 1", (number,)) == [
        (Kind.HOUR, to_ms(START + timedelta(days=13)))
    ]
    assert len(asked) < 40
    box.close()
