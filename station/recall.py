"""What a platform asks for that is no period: records, raw readings, logs; worded then as it would be told.

What was told already comes as it was worded then.  Read piece by piece as it is sent, in the uplink's thread.
"""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from station.clock import from_ms, to_ms
from station.model import Average, Kind, Message, Reading, Record, Report

if TYPE_CHECKING:
    from station.engine import Engine
    from station.sender import Sender

WINDOW = timedelta(minutes=10)  # of readings in memory at once
PAUSE_WINDOWS = 16  # looked at in one go: a few tenths of a second
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # there was no station before
DAYS = timedelta(days=7)  # of records
LATE = timedelta(days=1)  # a record may be made so long after the moment it is dated by
CHUNK = 200  # events in memory at once
PAUSE_CHUNKS = 20  # looked at in one go
SECOND = timedelta(seconds=1)
LOOK_BACK = timedelta(minutes=2)  # how far texts before a recall may reach into it
MOST_DATED = 600  # seconds remembered as taken: what a clock set back by as much could bring again


def recalled(
    engine: Engine, platform: str, kind: Kind, point: str | None, first: datetime, last: datetime
) -> Iterator[Message | None]:
    """Records of *kind* from *first* to *last*, both included, oldest first; raw ones with the readings stored.

    A None now and then where there is nothing for long: the uplink's thread has more to do.
    """
    told = _in_order(engine.outboxes[platform].recall(kind, point, first, last))
    reports = _records(engine, kind, point, first, last)
    if kind is Kind.RAW:
        reports = heapq.merge(reports, _readings(engine, point, first, last), key=_start)
    both: Iterator[Message | Report] = heapq.merge(told, reports, key=_start)
    looked = 0
    for _, some in groupby(both, key=_start):
        known: set[str] = set()
        for one in some:
            if isinstance(one, Report) and not (one.averages or one.record):
                looked += 1
                if looked % PAUSE_WINDOWS == 0:
                    yield None
                continue
            if isinstance(one, Message):
                known.add(one.point)
                yield one
            elif one.point not in known:
                yield from _worded(engine, platform, one)


def _in_order(told: Iterable[Message]) -> Iterator[Message]:
    """*told* by their starts: they come in the order made, and a result that took its time was made late."""
    waiting: list[tuple[datetime, int, Message]] = []
    for one in told:
        heapq.heappush(waiting, (one.start, one.id, one))
        while waiting[0][0] < one.start - LATE:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _start(one: Message | Report) -> datetime:
    return one.start


def _records(engine: Engine, kind: Kind, point: str | None, first: datetime, last: datetime) -> Iterator[Report]:
    at, end = max(first, EARLIEST), min(last, engine.clock.now()) + SECOND
    while at < end:
        until = min(at + DAYS, end)
        for record in engine.store.records(kind.name.lower(), at, until, point=point):
            yield Report(kind, record.point, record.at, record=record, asked=True)
        at = until


def _worded(engine: Engine, platform: str, report: Report) -> Iterator[Message]:
    """*report* as a message of no number, if it concerns *platform* and can be said to it."""
    if report.record is not None and report.record.body.get("platform", platform) != platform:
        return
    text = _sender(engine, platform).uplink.compose(report)
    if text is not None:
        yield Message(0, report.kind, report.point, report.start, report.version, text)


def _sender(engine: Engine, platform: str) -> Sender:
    return next(sender for sender in engine.senders if sender.outbox.name == platform)


# -- raw readings


def _readings(engine: Engine, point: str | None, first: datetime, last: datetime) -> Iterator[Report]:
    """What was read in each second, as the instruments gave it and the station calibrated it.

    What is polled more than once a second goes out once, by its last reading: a platform knows it by its second.
    """
    at, end = first, min(last, engine.clock.now()) + SECOND
    while (begin := engine.store.first_reading_since(at)) is not None and begin < end:
        at, until = max(at, begin), min(max(at, begin) + WINDOW, end)
        found = engine.store.readings(at, until, engine.store.reading_floor(at))
        mine = sorted((r for r in found if point in (None, r.point)), key=lambda r: (r.time, r.point))
        for (second, where), some in groupby(mine, key=lambda r: (r.time.replace(microsecond=0), r.point)):
            yield Report(Kind.RAW, where, second, _newest(some), asked=True)
        yield Report(Kind.RAW, "", until, asked=True)  # that far, and perhaps nothing was there
        at = until


def _newest(readings: Iterable[Reading]) -> tuple[Average, ...]:
    newest = {r.parameter: Average(r.parameter, r.value, mark=r.mark) for r in readings}
    return tuple(newest[parameter] for parameter in sorted(newest))


# -- logs


def logged(
    engine: Engine,
    platform: str,
    point: str | None,
    item: str,
    parameter: str | None,
    first: datetime,
    last: datetime,
) -> Iterator[Message | None]:
    """Events from *first* to *last* as log texts: all of them, or those of the instrument that measures *parameter*.

    A platform knows a text by its second: one that needs several frames goes on in the seconds behind it, and what
    stood there behind that.  So that neighbouring recalls agree, texts are dated from LOOK_BACK before *first*, and a
    second that is not over is left for the next one.  A None now and then where many concern others.

    What concerns another platform (its name, its address, what it asked) is none of this one's business.
    """
    devices = {
        task.device.name
        for task in engine.tasks.values()
        if parameter in task.device.units and point in (None, task.point(str(parameter)))
    }
    where = point or engine.config.point[0].code
    last = min(last, engine.clock.now().replace(microsecond=0) - SECOND)
    events = _events(engine, platform, first - LOOK_BACK, last, devices if item == "instrument_log" else None)
    cut = getattr(_sender(engine, platform).uplink, "pieces", lambda text: [text])
    dated: deque[datetime] = deque(maxlen=MOST_DATED)
    for second, texts in groupby(events, key=lambda event: event[0].replace(microsecond=0)):
        value = "; ".join(filter(None, (text for _, text in texts)))
        if not value:
            yield None
            continue
        for text in cut(value):
            at = _free(second, dated)
            if first <= at <= last:
                body = {"item": item, "value": text, "parameters": [parameter or ""]}
                record = Record("site_info", at, body)
                yield from _worded(engine, platform, Report(Kind.SITE_INFO, where, at, record=record, asked=True))


def _free(second: datetime, dated: deque[datetime]) -> datetime:
    """*second*, or the next one that is not among those *dated*, where it is noted."""
    while second in dated:
        second += SECOND
    dated.append(second)
    return second


def _events(
    engine: Engine, platform: str, first: datetime, last: datetime, devices: set[str] | None
) -> Iterator[tuple[datetime, str]]:
    after = looked = 0
    while rows := engine.store.query(
        "SELECT id, at_ms, code, arguments FROM event WHERE id > ? AND at_ms >= ? AND at_ms < ? ORDER BY id LIMIT ?",
        (after, to_ms(first), to_ms(last + SECOND), CHUNK),
    ):
        after = rows[-1][0]
        for _, at_ms, code, text in rows:
            arguments = json.loads(text)
            mine = arguments.get("platform", platform) == platform
            if mine and (devices is None or arguments.get("device") in devices):
                said = " ".join(f"{key} {value}" for key, value in arguments.items() if value not in ("", None))
                yield from_ms(at_ms), f"{code} {said}".strip()
        looked += 1
        if looked % PAUSE_CHUNKS == 0:
            yield from_ms(rows[-1][1]), ""  # that far, and perhaps nothing was there
