"""How long each piece of equipment ran in a day, from the records of its states."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from station.clock import from_ms
from station.ledger import silences
from station.model import Record
from station.store import Store

LOOK_BACK = timedelta(days=2)  # for the state a day begins with; states are kept at every start


def hours(store: Store, start: datetime, end: datetime) -> Iterator[Record]:
    """For each point with equipment, the hours each ran from *start* to *end*, once.

    A state holds until the next one of that equipment, but not while the station was off: what nobody saw is not
    counted as running.
    """
    states: dict[str, dict[str, list[tuple[datetime, bool]]]] = {}
    for record in store.records("equipment", start - LOOK_BACK, end):
        for number, state in (record.body.get("states") or {}).items():
            known = states.setdefault(record.point, {}).setdefault(number, [])
            known.append((record.at, state == "running"))
    if not states:
        return
    off = [(from_ms(since), from_ms(until)) for since, until, why in silences(store) if why == "off"]
    for point, equipment in sorted(states.items()):
        if store.records("equipment_hours", start, start + timedelta(milliseconds=1), point=point):
            continue
        ran = {number: _hours(known, off, start, end) for number, known in sorted(equipment.items())}
        yield Record("equipment_hours", start, {"hours": ran}, point)


def _hours(
    known: list[tuple[datetime, bool]], off: list[tuple[datetime, datetime]], start: datetime, end: datetime
) -> float:
    total = timedelta()
    for (since, running), (until, _) in zip(known, [*known[1:], (end, False)], strict=True):
        if running:
            total += _overlap(since, until, start, end)
            total -= sum((_overlap(max(a, since), min(b, until), start, end) for a, b in off), timedelta())
    return round(total / timedelta(hours=1), 4)


def _overlap(since: datetime, until: datetime, start: datetime, end: datetime) -> timedelta:
    return max(min(until, end) - max(since, start), timedelta())
