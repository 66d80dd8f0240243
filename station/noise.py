"""Sound levels: equivalent and percentile levels, day, night and the day-night level (GB 3096-2008 clause 3, high).

Levels are in dB(A).  What is made of a transmitter's slow readings is *indicative*: the standard wants a class 1
meter's own Leq, of which these functions make no claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo

from station.average import leq

DAY_HOURS, NIGHT_HOURS = 16, 8
DAY_BEGINS, NIGHT_BEGINS = 6, 22  # local authorities may move them; the station's setting decides
NIGHT_PENALTY = 10.0
PERCENTILES = (5, 10, 50, 90, 95)


def exceeded(levels: Sequence[float], percent: float) -> float:
    """L*percent*: the level exceeded for *percent* of the time, so that L10 ≥ L90 (nearest rank, from above).

    >>> [exceeded(list(range(1, 101)), n) for n in (5, 10, 50, 90, 95)]
    [96, 91, 51, 11, 6]
    """
    if not 0 < percent < 100:
        raise ValueError(f"{percent} is not between 0 and 100")
    falling = sorted(levels, reverse=True)
    return falling[max(0, math.ceil(len(falling) * percent / 100) - 1)]


def day_night(day: float, night: float) -> float:
    """Ldn of Ld and Ln: 16 h of day and 8 h of night, the night 10 dB heavier.

    >>> round(day_night(60.0, 50.0), 2)
    60.0
    """
    day_part = DAY_HOURS * 10 ** (day / 10)
    night_part = NIGHT_HOURS * 10 ** ((night + NIGHT_PENALTY) / 10)
    return 10 * math.log10((day_part + night_part) / (DAY_HOURS + NIGHT_HOURS))


def half_of(moment: datetime, zone: tzinfo) -> tuple[str, date]:
    """Whether *moment* is day or night, and the date it counts for: a night belongs to the date it began on.

    One night has hours of two dates; this is the rule here, printed with the result (GB 3096-2008 leaves it open).

    >>> from datetime import UTC
    >>> half_of(datetime(2026, 3, 2, 5, 59, tzinfo=UTC), UTC)
    ('night', datetime.date(2026, 3, 1))
    """
    local = moment.astimezone(zone)
    if DAY_BEGINS <= local.hour < NIGHT_BEGINS:
        return "day", local.date()
    return "night", (local - timedelta(hours=DAY_BEGINS)).date()


def by_halves(hours: Mapping[datetime, float], on: date, zone: tzinfo) -> dict[str, float]:
    """Ld, Ln and Ldn of date *on* from Leq of *hours* by their starts; what has no hour at all is left out."""
    halves: dict[str, list[float]] = {"day": [], "night": []}
    for start, level in hours.items():
        half, belongs = half_of(start, zone)
        if belongs == on:
            halves[half].append(level)
    found = {name: leq(levels) for name, levels in (("ld", halves["day"]), ("ln", halves["night"])) if levels}
    return found | ({"ldn": day_night(found["ld"], found["ln"])} if len(found) == 2 else {})
