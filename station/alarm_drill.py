"""The test alarm of a commissioning: it goes the way of a real one, to screens, events and the rules that follow it.

It is marked as a test wherever it is shown, makes no record of an alarm (so no platform and no report is told of one)
and ends by itself after LONGEST, or with the station.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from station.commissioning import KIND
from station.model import Record, dataclass

LONGEST = timedelta(minutes=5)  # a horn that nobody clears is quiet again by then


@dataclass(frozen=True, slots=True)
class Drill:
    """A test of the alarm *name*, on until *until* at the latest."""

    name: str
    until: datetime
    user: str


def changed(drill: Drill | None, records: Iterable[Record], now: datetime) -> Drill | None:
    """What *records* of a commissioning, and the time, make of *drill*."""
    if drill is not None and now >= drill.until:
        drill = None
    for record in records:
        if record.kind != KIND:
            continue
        match record.body["do"]:
            case "raise_test":
                drill = Drill(str(record.body["alarm"]), now + LONGEST, str(record.body["user"]))
            case "clear_test" | "done" | "cancel":
                drill = None
    return drill


def told(before: Drill | None, after: Drill | None) -> Iterator[tuple[bool, Drill]]:
    """What begins and ends: whether it is on, and the drill."""
    if before != after:
        if before is not None:
            yield False, before
        if after is not None:
            yield True, after


def shown(row: dict[str, Any], drill: Drill | None) -> dict[str, Any]:
    """A row of `Alarms.states` while *drill* is on: an alarm, for no measured reason."""
    if drill is None or row["name"] != drill.name:
        return row
    return row | {"state": "alarm", "cause": "test", "test": True}
