"""What a discharge carries: loads beside concentrations, means weighted by flow, values at reference oxygen.

Waste water (ST 32) with a flow meter: C = Σ(Ci·Qi)/ΣQi over periods with flow; without flow a concentration counts
for nothing (HJ 356-2019 as digested, high; its chapter on zero flow, medium).  Load = mean × volume (HJ 212-2017
appendix D, high).  Flue gas (ST 31): loads by gas flow, means are arithmetic, conversion by GB 13271-2014.

An analyser slower than hourly has a result every few hours: its concentration holds until the next one, for its cycle
in whole hours at most (ours; HJ 355-2019 as digested wants a result an hour and says nothing of the hours between).
An hour in which a result was due and is marked, or whose instrument was silent, is one without: nothing is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from station.config import PointSettings
from station.emission import at_reference_oxygen
from station.model import Average, Kind, Report, dataclass, replace
from station.parameters import catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """How a discharge is reckoned: its flow, in so many m³/s a unit, and kg a unit of concentration and m³."""

    flow: str
    cubic_metres: float
    kilograms: Mapping[str, float]
    weighted: bool
    apart: tuple[str, ...] = ()  # concentrations that are no pollutant


MEDIA = {
    "32": Medium(
        flow="flow_water",
        cubic_metres=1e-3,
        kilograms={"mg/L": 1e-3, "µg/L": 1e-6},
        weighted=True,
        apart=("dissolved_oxygen", "salinity", "dissolved_solids"),
    ),
    "31": Medium(flow="gas_flow", cubic_metres=1.0, kilograms={"mg/m³": 1e-6, "µg/m³": 1e-9}, weighted=False),
}


def applies(point: PointSettings) -> bool:
    """Whether *point* is a discharge that anything here concerns."""
    return point.st in MEDIA


def volume(averages: Sequence[Average], medium: Medium, length: timedelta) -> float | None:
    """m³ that flowed in a period of *length*, as far as the flow was measured; None without a flow."""
    flow = next((a for a in averages if a.parameter == medium.flow), None)
    if flow is None or flow.mean is None:
        return None
    return max(0.0, flow.mean) * medium.cubic_metres * length.total_seconds() * flow.share


def governing(values: Sequence[tuple[datetime, Average | None]], cycle: timedelta) -> list[int | None]:
    """Of which of *values*, hours with what an analyser said in each, the concentration holds in each of them.

    Its own where it has one; where nothing was due, the last one's, for a *cycle*; None where there is none.

    >>> from datetime import UTC
    >>> at = [datetime(2026, 3, 1, n, tzinfo=UTC) for n in range(5)]
    >>> cod, silent = Average("cod", 50.0), Average("cod", None)
    >>> governing(list(zip(at, [cod, None, None, None, cod])), timedelta(hours=2))
    [0, 0, 0, None, 4]
    >>> governing(list(zip(at, [None, cod, silent, None, cod])), timedelta(hours=4))
    [None, 1, None, None, 4]
    """
    found: list[int | None] = []
    last: int | None = None
    for number, (start, average) in enumerate(values):
        if average is not None:
            last = None if average.mean is None else number
        holds = last is not None and start - values[last][0] <= cycle
        found.append(last if holds else None)
    return found


def weigher(
    point: PointSettings, shorter: Sequence[Report], length: timedelta, cycles: Mapping[str, timedelta]
) -> Callable[[str, int], float]:
    """The weight of each part of a longer period: its volume, for pollutants in water with a flow; else 1.

    Of a parameter that has a result every *cycle* only, the volume that its concentration holds for.  Where no part
    has a flow, the mean is arithmetic: there is nothing to weigh by.
    """
    medium = MEDIA[point.st]
    volumes = [volume(report.averages, medium, length) for report in shorter]
    if not medium.weighted or all(one is None for one in volumes):
        return lambda parameter, part: 1.0
    held: dict[str, list[float]] = {}
    for parameter, cycle in cycles.items():
        held[parameter] = [0.0] * len(shorter)
        for part, of in enumerate(governing(_said_of(parameter, shorter), cycle)):
            if of is not None:
                held[parameter][of] += volumes[part] or 0.0
    plain = [one or 0.0 for one in volumes]
    return lambda parameter, part: held.get(parameter, plain)[part] if _load_factor(parameter, medium) else 1.0


def _said_of(parameter: str, reports: Sequence[Report]) -> list[tuple[datetime, Average | None]]:
    return [(r.start, next((a for a in r.averages if a.parameter == parameter), None)) for r in reports]


def held_loads(
    point: PointSettings, hours: Sequence[Report], start: datetime, cycles: Mapping[str, timedelta]
) -> list[list[Average]]:
    """The averages of each of *hours* from *start* on, with the loads of hours between two results of slow analysers.

    *hours* begin a cycle before *start*, so that the last result of the day before is known.
    """
    medium = MEDIA[point.st]
    parts = [list(report.averages) for report in hours]
    for parameter, cycle in cycles.items():
        factor, said = _load_factor(parameter, medium), _said_of(parameter, hours)
        if factor is None:
            continue
        for part, of in enumerate(governing(said, cycle)):
            one = None if of is None or of == part else said[of][1]
            flowed = volume(hours[part].averages, medium, timedelta(hours=1))
            if one is not None and one.mean is not None and flowed is not None:
                parts[part].append(Average(parameter, None, load_kg=one.mean * flowed * factor))
    return [part for report, part in zip(hours, parts, strict=True) if report.start >= start]


def with_loads(
    point: PointSettings,
    kind: Kind,
    averages: Sequence[Average],
    length: timedelta,
    shorter: Sequence[Sequence[Average]],
) -> list[Average]:
    """*averages* of a period with the load of each pollutant: mean × volume, of a day the sum over its hours."""
    medium = MEDIA[point.st]
    if kind is Kind.DAY:
        loads: dict[str, list[float]] = {}
        for hour in shorter:
            for one in hour:
                if one.load_kg is not None:
                    loads.setdefault(one.parameter, []).append(one.load_kg)
        return [replace(a, load_kg=math.fsum(loads[a.parameter])) if a.parameter in loads else a for a in averages]
    flowed = volume(averages, medium, length)
    return [_loaded(average, medium, flowed) for average in averages]


def _loaded(average: Average, medium: Medium, flowed: float | None) -> Average:
    factor = _load_factor(average.parameter, medium)
    if factor is None or flowed is None:
        return average
    if flowed == 0:
        return replace(average, load_kg=0.0)
    return average if average.mean is None else replace(average, load_kg=average.mean * flowed * factor)


def _load_factor(parameter: str, medium: Medium) -> float | None:
    """kg in a m³ for each unit of *parameter*'s concentration; None for what is no pollutant's concentration."""
    known = catalogue().get(parameter)
    if known is None or parameter in medium.apart:
        return None
    return medium.kilograms.get(known.unit)


def converted(point: PointSettings, averages: Sequence[Average]) -> list[Average]:
    """*averages* of a minute or a moment, concentrations at the point's reference oxygen beside the measured ones."""
    oxygen = next((a.mean for a in averages if a.parameter == "gas_oxygen"), None)
    reference = point.reference_oxygen
    if reference is None or oxygen is None:
        return list(averages)
    return [
        replace(a, converted=at_reference_oxygen(a.mean, oxygen, reference))
        if a.mean is not None and _load_factor(a.parameter, MEDIA["31"]) is not None
        else a
        for a in averages
    ]


def rolled(
    averages: Sequence[Average], shorter: Sequence[Sequence[Average]], valid: Callable[[Average], bool]
) -> list[Average]:
    """*averages* of a longer period with the mean of what its *valid* parts came to at reference oxygen."""
    parts: dict[str, list[float]] = {}
    for one in (a for period in shorter for a in period):
        if one.converted is not None and valid(one):
            parts.setdefault(one.parameter, []).append(one.converted)
    return [
        replace(a, converted=math.fsum(parts[a.parameter]) / len(parts[a.parameter])) if a.parameter in parts else a
        for a in averages
    ]
