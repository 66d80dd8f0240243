"""Points around a yard or a park: which is upwind in which hour, what lies between them, and what comes from where.

No clause was found for automatic points: the hour of an upwind and a downwind point, calm hours and winds along the
line between them left out, is the practice of fugitive-dust surveys (ours; indicative).  Only hours count that hold by
the capture rule of their point, wind included; nothing is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from station.loader import Fault
from station.model import Averaging, Kind, dataclass, did_you_mean, field, setting
from station.parameters import catalogue
from station.wind import CALM

if TYPE_CHECKING:
    from station.average import Use
    from station.config import Config, Loaded
    from station.store import Store

MINUTES = 60  # of an hour: no more were due, and no more than readings
SECTORS = 8  # north, north-east, …: each 45° wide


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundarySettings:
    """One [[boundary]] table: points that lie around something."""

    name: str = setting(text="what lies between the points")
    parameter: str = setting(text="what is compared")
    bearings: Mapping[str, float] = field(
        metadata={"text": "point = where it lies, seen from the middle: degrees clockwise from north"}
    )
    wind_point: str = setting(text="point of the wind's speed and direction")
    half_width: float = setting(45.0, low=5, high=90, text="a point is upwind while the wind comes from so near it, °")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One hour: the wind, None where it does not hold, and the valid means of the points that have one."""

    start: datetime
    speed: float | None
    direction: float | None
    means: Mapping[str, float]


def apart(one: float, other: float) -> float:
    """The angle between two directions, degrees.

    >>> apart(350.0, 20.0), apart(0.0, 180.0)
    (30.0, 180.0)
    """
    return abs((one - other + 180) % 360 - 180)


def side(direction: float, bearing: float, half_width: float) -> str:
    """Whether a point at *bearing* lies "upwind" or "downwind" of the middle, or on neither side ("").

    >>> side(350.0, 0.0, 45.0), side(350.0, 180.0, 45.0), side(350.0, 90.0, 45.0)
    ('upwind', 'downwind', '')
    """
    if apart(direction, bearing) <= half_width:
        return "upwind"
    return "downwind" if apart(direction, bearing + 180) <= half_width else ""


def compare(settings: BoundarySettings, hours: Sequence[Hour]) -> dict[str, Any]:
    """What *hours* say: of the pairs of a point upwind and one downwind, and of each point by the wind's sector."""
    counts = dict.fromkeys(("hours", "paired", "calm", "across", "unknown"), 0)
    pairs: list[tuple[datetime, float, float]] = []
    sectors: dict[str, list[list[float]]] = {point: [[] for _ in range(SECTORS)] for point in settings.bearings}
    for hour in hours:
        counts["hours"] += 1
        if hour.speed is None or (hour.direction is None and hour.speed >= CALM):
            counts["unknown"] += 1
            continue
        if hour.speed < CALM or hour.direction is None:
            counts["calm"] += 1
            continue
        for point, mean in hour.means.items():
            sectors[point][round(hour.direction / (360 / SECTORS)) % SECTORS].append(mean)
        word, pair = _paired(settings, hour.direction, hour.means)
        counts[word] += 1
        if pair is not None:
            pairs.append((hour.start, *pair))
    rises = [(down - up, start) for start, up, down in pairs]
    largest = max(rises, key=lambda one: one[0], default=None)
    return {
        **counts,
        "upwind": _mean([up for _, up, _ in pairs]),
        "downwind": _mean([down for _, _, down in pairs]),
        "difference": _mean([rise for rise, _ in rises]),
        "hours_above": sum(rise > 0 for rise, _ in rises),
        "largest": None if largest is None else {"start": largest[1], "value": largest[0]},
        "sectors": {
            point: [{"hours": len(some), "mean": _mean(some)} for some in of_sectors]
            for point, of_sectors in sectors.items()
        },
    }


def _paired(
    settings: BoundarySettings, direction: float, means: Mapping[str, float]
) -> tuple[str, tuple[float, float] | None]:
    """A word of the counts, and the means upwind and downwind where both are known; of several points their mean."""
    sides: dict[str, list[float | None]] = {"upwind": [], "downwind": [], "": []}
    for point, bearing in settings.bearings.items():
        sides[side(direction, bearing, settings.half_width)].append(means.get(point))
    if not (sides["upwind"] and sides["downwind"]):
        return "across", None
    up, down = (_mean([one for one in sides[word] if one is not None]) for word in ("upwind", "downwind"))
    return ("unknown", None) if up is None or down is None else ("paired", (up, down))


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


# -- from the store


def compared(store: Store, loaded: Loaded, start: datetime, end: datetime, points: set[str]) -> list[dict[str, Any]]:
    """Every [[boundary]] with a point of *points*, over the hours from *start* to before *end*."""
    if not loaded.config.boundary:
        return []
    from station.periods import use_of

    uses = {point.code: use_of(point) for point in loaded.config.point}
    found = []
    for one in loaded.config.boundary:
        if not points & {*one.bearings, one.wind_point}:
            continue
        made = compare(one, _hours(store, one, start, end, uses))
        largest = made["largest"]
        if largest is not None:
            largest["start"] = largest["start"].astimezone(loaded.zone).isoformat(timespec="minutes")
        found.append({"name": one.name, "parameter": one.parameter, "bearings": dict(one.bearings), **made})
    return found


def _hours(
    store: Store, settings: BoundarySettings, start: datetime, end: datetime, uses: Mapping[str, Use]
) -> list[Hour]:
    wind: dict[datetime, dict[str, float]] = {}
    means: dict[datetime, dict[str, float]] = {}
    for point in dict.fromkeys((*settings.bearings, settings.wind_point)):
        for report in store.averages(Kind.HOUR, start, end, point):
            values = {
                a.parameter: a.mean
                for a in report.averages
                if a.mean is not None and uses[point].valid(a, Kind.HOUR, min(MINUTES, a.expected))
            }
            if point == settings.wind_point:
                wind[report.start] = values
            means.setdefault(report.start, {})
            if point in settings.bearings and settings.parameter in values:
                means[report.start][point] = values[settings.parameter]
    return [
        Hour(
            start=at, speed=wind.get(at, {}).get("wind_speed"), direction=wind.get(at, {}).get("wind_direction"),
            means=some,
        )
        for at, some in sorted(means.items())
    ]  # fmt: skip


# -- what is wrong in the table


def faults(config: Config, owners: Mapping[tuple[str, str], str]) -> Iterator[Fault]:
    """What is wrong in [[boundary]] beside each key for itself."""
    points = {point.code: point for point in config.point}
    for index, one in enumerate(config.boundary):
        place = f"boundary[{index}]"
        if one.parameter not in catalogue():
            hint = did_you_mean(one.parameter, catalogue())
            yield Fault(f"{place}.parameter", f'there is no parameter "{one.parameter}"{hint}')
            continue
        if catalogue()[one.parameter].averaging is not Averaging.MEAN:
            said = "has no plain mean: there is no difference of two to be had"
            yield Fault(f"{place}.parameter", f"{one.parameter} {said}")
        if not one.bearings:
            yield Fault(f"{place}.bearings", "names no point")
        for point, bearing in one.bearings.items():
            if point not in points:
                yield Fault(f"{place}.bearings", f'there is no point "{point}"{did_you_mean(point, points)}')
            elif (point, one.parameter) not in owners:
                yield Fault(f"{place}.bearings", f'nothing measures {one.parameter} at point "{point}"')
            if not 0 <= bearing < 360:
                yield Fault(f"{place}.bearings", f"{bearing:g} of {point} is not between 0 and 360 degrees")
        for parameter in ("wind_speed", "wind_direction"):
            if one.wind_point in points and (one.wind_point, parameter) not in owners:
                yield Fault(f"{place}.wind_point", f'nothing measures {parameter} at point "{one.wind_point}"')
        if one.wind_point not in points:
            hint = did_you_mean(one.wind_point, points)
            yield Fault(f"{place}.wind_point", f'there is no point "{one.wind_point}"{hint}')
