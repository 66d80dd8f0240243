"""What the records of earlier runs say of an output at a start: run time, rest, lock, bottles, rain.

Records are read in the order they were kept, not in that of their times: a clock may have been wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from station.clock import EPOCH, floor_to
from station.model import Kind, Record, dataclass
from station.store import Store

LOOK_BACK = timedelta(days=2)  # for the runs that count into today and into a cool-down
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an output did: seconds on in today's runs, its last switch, and the begin of a run that nobody ended."""

    used: float
    switched: datetime | None
    cut: datetime | None
    ran: float  # seconds of that run, as far as there are readings
    armed: bool  # a sampler: the last exceedance is over


def earlier(store: Store, output: str, day: datetime, now: datetime) -> Earlier:
    """What *output* did since *day* began, from its records; a run cut by a crash counts up to the last reading."""
    used, ran = 0.0, 0.0
    switched = began = None
    armed = True
    for record in _kept(store, "output", output, now - LOOK_BACK):
        state = record.body["state"]
        if state == "armed":
            armed = True
            continue
        switched = record.at
        if state == "on":
            began, armed = record.at, False
        elif began is not None:
            ran_for = record.body.get("ran_seconds")  # measured: the clock may have been set within the run
            used += _within(began if ran_for is None else record.at - timedelta(seconds=ran_for), record.at, day)
            began = None
    if began is not None:
        end = max(began, min(now, store.newest_time() or now))
        ran, used = (end - began).total_seconds(), used + _within(began, end, day)
    return Earlier(used, switched, began, ran, armed)


def _within(began: datetime, ended: datetime, day: datetime) -> float:
    return max(0.0, (ended - max(began, day)).total_seconds())


def lock(store: Store, output: str) -> Record | None:
    """The record of the lock that was left on *output*, if one was."""
    records = _kept(store, "lock", output)
    return records[-1] if records and records[-1].body["state"] == "locked" else None


def last_bottle(store: Store, output: str) -> int:
    """The bottle a sampler filled last, 0 after it was emptied."""
    emptied = _kept(store, "bottles_emptied", output)
    since = emptied[-1].id if emptied else 0
    return max((int(r.body["vase"]) for r in _kept(store, "kept_sample", output) if r.id > since), default=0)


def last_rain(store: Store, point: str, hours: float, now: datetime) -> datetime:
    """The last minute with rain at *point* within *hours*; their begin if there was none."""
    since = now - timedelta(hours=hours)
    wet = [
        report.start
        for report in store.averages(Kind.MINUTE, floor_to(since, 60), now, point)
        for one in report.averages
        if one.parameter == "rain" and one.mean
    ]
    return max(wet, default=since)


def _kept(store: Store, kind: str, output: str, since: datetime = EPOCH) -> Sequence[Record]:
    return sorted(store.records(kind, since, FOREVER, device=output), key=lambda record: record.id)
