"""What a platform has of one factor: the digits of the newest real-time record that it answered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from station.clock import from_ms, to_ms
from station.model import Kind, dataclass
from station.outbox import State
from station.store import SEQUENCE_BITS, Store

LOOKED_AT = 2000  # messages of a platform back from its newest
NEAR = timedelta(minutes=10)  # for a reading beside a moment


@dataclass(frozen=True, slots=True)
class Sent:
    """A frozen text that went to the platform, with when it is of and whether it was answered."""

    text: str
    at: datetime
    how: str  # "answered" or "unconfirmed"


def sent(store: Store, platform: str, point: str, until: datetime) -> Sent | None:
    """The newest real-time text of *point* up to *until* that *platform* answered, or took without a word."""
    rows = store.query("SELECT id, live FROM platform WHERE name = ?", (platform,))
    if not rows:
        return None
    number, live = rows[0]
    newest = store.newest_message(number)
    found = store.query(
        "SELECT id, start_ms, text FROM message WHERE id > ? AND id <= ? AND kind = ? AND point = ? AND start_ms <= ?"
        " ORDER BY id DESC LIMIT 100",
        (max(number << SEQUENCE_BITS, newest - LOOKED_AT), newest, int(Kind.REALTIME), point, to_ms(until)),
    )
    spans = store.query("SELECT first, last, state FROM span WHERE platform = ?", (number,))
    return next((Sent(text, from_ms(at), how) for key, at, text in found if (how := _how(key, live, spans))), None)


def _how(key: int, live: int, spans: list[Any]) -> str:
    """How message *key* fared: "" where it is owed or was given up."""
    states = [State(state) for first, last, state in spans if first <= key <= last]
    if key > live or any(state is not State.UNCONFIRMED for state in states):
        return ""
    return "unconfirmed" if states else "answered"


def near(store: Store, device: str, parameter: str, at: datetime, seconds: float) -> Any:
    """The reading of *parameter* of *device* nearest to *at* within *seconds* before or 10 s behind it, or None."""
    reach = timedelta(seconds=min(seconds, NEAR.total_seconds()))
    found = [
        reading
        for reading in store.readings(at - reach, at + timedelta(seconds=10), store.reading_floor(at - reach))
        if (reading.device, reading.parameter) == (device, parameter) and reading.value is not None
    ]
    return min(found, key=lambda reading: abs(reading.time - at), default=None)


def made_from(store: Store, device: str, parameter: str, at: datetime, seconds: float, value: float) -> float | None:
    """The stored value that a record of moment *at* was made from: of those it may be, the nearest to *value*."""
    reach = timedelta(seconds=min(max(seconds, 10.0), NEAR.total_seconds()))
    readings = store.readings(at - reach, at + timedelta(seconds=10), store.reading_floor(at - reach))
    mine = [r.value for r in readings if (r.device, r.parameter) == (device, parameter) and r.value is not None]
    return min(mine, key=lambda one: abs(one - value), default=None)
