"""Sound levels: equivalent and percentile levels, day, night and the day-night level (GB 3096-2008 clause 3, high).

Levels are in dB(A).  What is made of a transmitter's slow readings is *indicative*: the standard wants a class 1
meter's own Leq, of which these functions make no claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo

from station.average import leq

DAY_HOURS, NIGHT_HOURS = 16, 8
DAY_BEGINS, NIGHT_BEGINS = 6, 22  # local authorities may move them; the station's setting decides
NIGHT_PENALTY = 10.0
STATISTICS = {"noise_l5": 5, "noise_l10": 10, "noise_l50": 50, "noise_l90": 90, "noise_l95": 95}
FEWEST_LEVELS = 20  # of which the loudest is L5; fewer tell no percentile (ours)


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


def statistics(levels: Sequence[float]) -> dict[str, float]:
    """Leq, the percentile levels and the extremes of short *levels*, by parameter; none of too few levels.

    >>> found = statistics([50.0] * 54 + [70.0] * 6)
    >>> round(found["noise_leq"], 1), found["noise_l10"], found["noise_l50"], found["noise_lmax"]
    (60.4, 70.0, 50.0, 70.0)
    """
    if len(levels) < FEWEST_LEVELS:
        return {}
    found = {name: exceeded(levels, percent) for name, percent in STATISTICS.items()}
    return {"noise_leq": leq(levels), **found, "noise_lmax": max(levels), "noise_lmin": min(levels)}


def is_day(moment: datetime, zone: tzinfo) -> bool:
    """Whether *moment* is day, 06:00 to 22:00 of the station's time.

    >>> from datetime import UTC
    >>> is_day(datetime(2026, 3, 2, 5, 59, tzinfo=UTC), UTC), is_day(datetime(2026, 3, 2, 21, 59, tzinfo=UTC), UTC)
    (False, True)
    """
    return DAY_BEGINS <= moment.astimezone(zone).hour < NIGHT_BEGINS


def by_halves(hours: Mapping[datetime, float], zone: tzinfo) -> dict[str, float]:
    """Ld, Ln and Ldn from Leq of a date's *hours* by their starts; what has no hour at all is left out.

    One night belongs to two dates: here Ln of a date is made of that date's own hours, 00 to 06 and 22 to 24, so
    that a day's record can be closed at midnight (the standard leaves the rule open; it has to be printed).
    """
    day = [level for start, level in hours.items() if is_day(start, zone)]
    night = [level for start, level in hours.items() if not is_day(start, zone)]
    found = {name: leq(levels) for name, levels in (("noise_ld", day), ("noise_ln", night)) if levels}
    return found | ({"noise_ldn": day_night(found["noise_ld"], found["noise_ln"])} if len(found) == 2 else {})
