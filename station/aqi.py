"""Air quality index: sub-indices (IAQI), the index, and when there is none to publish.

HJ 633-2026 for data from 2026-03-01 on (clauses 4.2 to 5.3, tables 3 to 5: read, high), HJ 633-2012 before, of
which only the PM columns differ as far as was found.  Concentrations are in µg/m³, CO in mg/m³.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

from station.model import dataclass

EDITION_2026 = date(2026, 3, 1)
INDEX = (0, 50, 100, 150, 200, 300, 400, 500)
Knots = tuple[float, ...]

# (parameter, averaging time) → the concentrations at which the index has the values of INDEX (tables 3 and 4).
_KNOTS: Mapping[tuple[str, str], Knots] = {
    ("so2", "24h"): (0, 50, 150, 475, 800, 1600, 2100, 2620),
    ("so2", "1h"): (0, 150, 500, 650, 800),
    ("no2", "24h"): (0, 40, 80, 180, 280, 565, 750, 940),
    ("no2", "1h"): (0, 100, 200, 700, 1200, 2340, 3090, 3840),
    ("co", "24h"): (0, 2, 4, 14, 24, 36, 48, 60),
    ("co", "1h"): (0, 5, 10, 35, 60, 90, 120, 150),
    ("o3", "8h"): (0, 100, 160, 215, 265, 800),
    ("o3", "1h"): (0, 160, 200, 300, 400, 800, 1000, 1200),
    ("pm10", "24h"): (0, 50, 120, 250, 350, 420, 500, 600),
    ("pm25", "24h"): (0, 35, 60, 115, 150, 250, 350, 500),
}
_KNOTS_2012 = {
    **_KNOTS,
    ("pm10", "24h"): (0, 50, 150, 250, 350, 420, 500, 600),
    ("pm25", "24h"): (0, 35, 75, 115, 150, 250, 350, 500),
}
DAILY = {"so2": "24h", "no2": "24h", "co": "24h", "o3": "8h", "pm10": "24h", "pm25": "24h"}
HOURLY = {"so2": "1h", "no2": "1h", "co": "1h", "o3": "1h", "pm10": "24h", "pm25": "24h"}  # PM hours use day columns
BEYOND = 1e6  # far above the last knot of each: a decimal of more has no room for its digits
LEVELS = ("excellent", "good", "light", "moderate", "heavy", "severe")  # keys of texts; 0-50, -100, -150, -200, -300


@dataclass(frozen=True, slots=True)
class Aqi:
    """An index, or None with the reason; *indices* hold every IAQI that could be had.

    *primary* are the pollutants with the largest IAQI where it is above 50, ties together (5.2).
    """

    index: int | None
    indices: Mapping[str, int]
    primary: tuple[str, ...] = ()
    why: str = ""

    @property
    def level(self) -> str | None:
        """The level's key, None without an index."""
        return None if self.index is None else level(self.index)


def level(index: int) -> str:
    """The level an *index* belongs to.

    >>> level(50), level(51), level(301)
    ('excellent', 'good', 'severe')
    """
    return LEVELS[sum(index > top for top in (50, 100, 150, 200, 300))]


def iaqi(parameter: str, period: str, concentration: float, on: date) -> int:
    """The sub-index of a *concentration* averaged over *period* ("1h", "8h", "24h").

    The concentration is rounded first (CO to one decimal, the others to integers, half to even), the index always
    up (4.2.2, 4.2.6).  Above the last knot it is the last index: 200 for SO2 over an hour, 300 for O3 over eight.

    >>> iaqi("pm25", "24h", 75, date(2026, 4, 1)), iaqi("pm25", "24h", 75, date(2025, 4, 1))
    (114, 100)
    """
    if not (math.isfinite(concentration) and concentration >= 0):
        raise ValueError(f"{parameter}: {concentration} is no concentration")
    knots = (_KNOTS if on >= EDITION_2026 else _KNOTS_2012)[parameter, period]
    places = Decimal("0.1") if parameter == "co" else Decimal(1)
    value = Decimal(repr(min(float(concentration), BEYOND))).quantize(places, ROUND_HALF_EVEN)
    for number, (low, high) in enumerate(pairwise(knots)):
        if value <= high:
            below, above = INDEX[number], INDEX[number + 1]
            return math.ceil(below + (above - below) * (value - Decimal(low)) / (Decimal(high) - Decimal(low)))
    return INDEX[len(knots) - 1]


def aqi(concentrations: Mapping[str, float | None], on: date, *, hourly: bool = False) -> Aqi:
    """The index of a day (24 h means, O3 the largest 8 h mean) or, *hourly*, of an hour.

    *concentrations* holds the pollutants the station measures; None is a value that is missing.  With one missing
    the index is published only above 100 (5.3), and a station without all six publishes none at all: a PM-only
    station has concentrations and sub-indices.

    >>> found = aqi({"pm25": 75.0, "pm10": 150.0}, date(2026, 4, 1))
    >>> found.index, dict(found.indices), found.why
    (None, {'pm25': 114, 'pm10': 112}, 'not measured here: so2, no2, co, o3')
    """
    periods = HOURLY if hourly else DAILY
    indices = {
        parameter: iaqi(parameter, periods[parameter], value, on)
        for parameter, value in concentrations.items()
        if parameter in periods and value is not None and math.isfinite(value) and value >= 0
    }
    absent = [parameter for parameter in periods if parameter not in concentrations]
    if absent:
        return Aqi(None, indices, why=f"not measured here: {', '.join(absent)}")
    missing = [parameter for parameter in periods if parameter not in indices]
    largest = max(indices.values(), default=0)
    if missing and largest <= 100:
        return Aqi(None, indices, why=f"no valid value of {', '.join(missing)}")
    primary = tuple(p for p, value in indices.items() if value == largest) if largest > 50 else ()
    return Aqi(largest, indices, primary, f"no valid value of {', '.join(missing)}" if missing else "")
