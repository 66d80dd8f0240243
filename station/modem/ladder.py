"""Which step helps a modem next, and when: redial, reset, power-cycle, with growing pauses and a daily maximum.

Every step is a record before it is taken, so that a station that dies on the way goes on behind it, and a SIM card
without money or a dead platform cannot make a loop: pauses double up to four hours, and a day has a maximum.  After
a platform has answered again for half an hour the ladder begins anew; the day's steps still count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from station.model import Record, dataclass

KIND = "modem"  # of records: steps, and that the link was well again
WELL = "well"
STEPS = ("redial", "reset", "power")
LONGEST_PAUSE = 4 * 3600.0
WELL_SECONDS = 1800.0
DAY = timedelta(hours=24)
HELPLESS = ("sim_pin", "sim_puk")  # no step opens a lock, and each try may cost one of three


@dataclass(frozen=True, slots=True)
class Past:
    """What was done so far: steps since it was well, when the last one was, and how many in the last 24 hours."""

    count: int = 0
    last: datetime | None = None
    today: int = 0


def past(records: Iterable[Record], now: datetime) -> Past:
    """What *records* of KIND say; steps of people reset nothing and count for nothing."""
    count, last, today = 0, None, 0
    for record in sorted(records, key=lambda one: one.id or 0):
        if record.body.get("do") == WELL:
            count = 0
        elif record.body.get("do") in STEPS and not record.body.get("user"):
            count, last = count + 1, record.at
            today += now - record.at < DAY
    return Past(count, last, today)


def pause(count: int, minutes: float) -> float:
    """Seconds to wait after step number *count*, counted from 1.

    >>> [pause(n, 10) / 60 for n in (0, 1, 2, 3, 6, 40)]
    [0.0, 10.0, 20.0, 40.0, 240.0, 240.0]
    """
    return 0.0 if count < 1 else min(60.0 * minutes * 2 ** min(count - 1, 20), LONGEST_PAUSE)


def step(ladder: Sequence[str], count: int) -> str:
    """The step after *count* others; "" where there is none to take.

    >>> [step(STEPS, n) for n in range(4)], step((), 0)
    (['redial', 'reset', 'power', 'redial'], '')
    """
    return ladder[count % len(ladder)] if ladder else ""
