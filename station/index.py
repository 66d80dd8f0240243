"""Indices and classes over what is stored: the air's (HJ 633), surface water's (GB 3838), black and odorous water.

Everything is made of closed averages that hold by their point's capture rule, unrounded; what does not suffice is not
computable, and the reason is said.  Reports call the same functions as the command does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from station.alarm import daily_max_8h
from station.aqi import DAILY, HOURLY, Aqi, aqi
from station.average import Use
from station.clock import period_length, period_start
from station.model import Average, Kind, Report, WrongArgument, dataclass
from station.parameters import catalogue
from station.periods import use_of
from station.store import Store
from station.water import Odour, WaterClass, black_odour, rural_black_odour, water_class

if TYPE_CHECKING:
    from station.config import Loaded, PointSettings

AIR, WATER = ("22", "39"), ("21",)  # system codes of points that have an index of the air, a class of the water
MICROGRAMS = {"µg/m³": 1.0, "mg/m³": 1000.0}
MILLIGRAMS = {"µg/m³": 0.001, "mg/m³": 1.0}  # the index wants CO in mg/m³
OZONE_LIMIT = 160.0  # µg/m³ over 8 h, grade 2 (GB 3095): above it fewer than 14 means tell a day (HJ 663, medium)
ODOROUS = ("transparency", "dissolved_oxygen", "orp", "ammonia_nitrogen")
CLASSED = (
    "ph", "dissolved_oxygen", "oxygen_saturation", "permanganate_index", "cod", "bod5", "ammonia_nitrogen",
    "total_phosphorus", "total_nitrogen",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AirIndex:
    """The air of one point over a day or an hour; *concentrations* are in µg/m³, of CO in mg/m³."""

    point: str
    start: datetime
    hourly: bool
    found: Aqi
    concentrations: Mapping[str, float | None]
    windows_8h: int = 0  # valid means over eight hours of ozone


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterIndex:
    """The water of one point over a day or a month; *days* says how many valid days each mean is made of."""

    point: str
    start: datetime
    monthly: bool
    found: WaterClass
    means: Mapping[str, float]
    days: Mapping[str, int]
    missing: tuple[str, ...]
    official: bool  # by monthly means that hold; else the class is an indication
    needed_days: int  # that a monthly mean needs to hold; 0 of a day
    odour: Odour | None  # by the urban guide, over the hours
    rural: tuple[str, ...] | None  # what makes it black and odorous by the rural one, where that is the point's


def short_of_days(one: WaterIndex) -> dict[str, int]:
    """The valid days of each parameter that a class asks for and that has too few of them."""
    return {p: days for p, days in one.days.items() if p in CLASSED and days < one.needed_days}


class Validity:
    """Which stored averages hold by the capture rules of *loaded*."""

    def __init__(self, loaded: Loaded) -> None:
        self._uses: dict[str, Use] = {point.code: use_of(point) for point in loaded.config.point}
        self._paces = loaded.paces()

    def holds(self, one: Average, point: str, kind: Kind) -> bool:
        """Whether *one* over an hour or a day does."""
        below = Kind.MINUTE if kind is Kind.HOUR else Kind.HOUR
        due = period_length(kind) // period_length(below)
        pace = self._paces.get((point, one.parameter), 0.0)
        if pace:
            due = min(due, max(1, int(period_length(kind).total_seconds() // pace)))
        return self._uses[point].valid(one, kind, due)

    def values(self, report: Report | None) -> dict[str, float]:
        """The means of *report* that hold, by parameter."""
        if report is None:
            return {}
        return {
            one.parameter: one.mean
            for one in report.averages
            if one.mean is not None and math.isfinite(one.mean) and self.holds(one, report.point, report.kind)
        }


def measured(store: Store, point: str, reports: Iterable[Report] = ()) -> set[str]:
    """What is measured at *point*: what the newest start of the station found there, and what *reports* hold."""
    rows = store.query(
        "SELECT DISTINCT parameter FROM series WHERE point = ? AND boot = (SELECT max(boot) FROM series)", (point,)
    )
    return {row[0] for row in rows} | {one.parameter for report in reports for one in report.averages}


# -- the air


def concentration(parameter: str, mean: float) -> float:
    """*mean* in the unit the index wants.

    >>> concentration("so2", 0.15), concentration("co", 1.2), concentration("pm25", 35.0)
    (150.0, 1.2, 35.0)
    """
    units = MILLIGRAMS if parameter == "co" else MICROGRAMS
    return round(mean * units[catalogue()[parameter].unit], 9)


def air_day(store: Store, validity: Validity, point: str, start: datetime, on: date) -> AirIndex:
    """The daily index of *point*: day means, ozone by its largest mean over 8 h of the day that begins at *start*."""
    report = store.average(Kind.DAY, point, start)
    hours = store.averages(Kind.HOUR, start, start + timedelta(days=1), point)
    known = measured(store, point, [*hours, *([report] if report else [])])
    values = validity.values(report)
    by_start = {hour.start: validity.values(hour).get("o3") for hour in hours}
    levels = [_micrograms("o3", by_start.get(start + n * timedelta(hours=1))) for n in range(24)]
    eight = daily_max_8h(levels, OZONE_LIMIT)
    found = {p: _wanted(p, values.get(p)) for p in DAILY if p in known and p != "o3"}
    if "o3" in known:
        found["o3"] = eight.value if eight.holds else None
    return AirIndex(
        point=point, start=start, hourly=False, found=aqi(found, on), concentrations=found, windows_8h=eight.windows
    )


def air_hour(store: Store, validity: Validity, point: str, start: datetime, on: date) -> AirIndex:
    """The hourly index of *point*."""
    report = store.average(Kind.HOUR, point, start)
    values, known = validity.values(report), measured(store, point, [report] if report else [])
    found = {p: _wanted(p, values.get(p)) for p in HOURLY if p in known}
    return AirIndex(point=point, start=start, hourly=True, found=aqi(found, on, hourly=True), concentrations=found)


def _wanted(parameter: str, mean: float | None) -> float | None:
    """A concentration the index can be made of; one below zero is none (station/README.md)."""
    return None if mean is None or mean < 0 else concentration(parameter, mean)


def _micrograms(parameter: str, mean: float | None) -> float | None:
    return None if mean is None else concentration(parameter, mean)


# -- the water


def water(
    store: Store, validity: Validity, point: PointSettings, start: datetime, end: datetime, *, monthly: bool
) -> WaterIndex:
    """The class of *point* by the means of its valid days from *start* to *end*, and whether it is black and odorous.

    The official class uses monthly means; a day gives an indication (GB 3838-2002).  So does a month of which no mean
    holds by the days it needs (75 %, HJ 356-2019 as digested: medium); where some do, only these are judged.
    """
    from station.report import days_needed, use_name  # what a month's figure needs to hold

    days = store.averages(Kind.DAY, start, end, point.code)
    hours = store.averages(Kind.HOUR, start, end, point.code)
    by_parameter: dict[str, list[float]] = {}
    for report in days:
        for parameter, mean in _believed(validity, report).items():
            by_parameter.setdefault(parameter, []).append(mean)
    means = {p: math.fsum(every) / len(every) for p, every in by_parameter.items()}
    known = measured(store, point.code, [*days, *hours]) & {*CLASSED, *ODOROUS}
    judged = {p: v for p, v in means.items() if p in CLASSED}
    lake, needed = point.water == "lake", days_needed(use_name(point), start, (end - start).days) if monthly else 0
    found = water_class({p: v for p, v in judged.items() if len(by_parameter[p]) >= needed}, lake=lake)
    official = monthly and found.grade is not None
    return WaterIndex(
        point=point.code,
        start=start,
        monthly=monthly,
        found=found if official else water_class(judged, lake=lake),
        means={p: means[p] for p in sorted(means) if p in known},
        days={p: len(by_parameter[p]) for p in sorted(by_parameter) if p in known},
        missing=tuple(sorted(known - set(means))),
        official=official,
        needed_days=needed,
        odour=_odour(validity, hours, point.depth_cm) if known & set(ODOROUS) else None,
        rural=rural_black_odour(means) if point.water == "rural" else None,
    )


def _believed(validity: Validity, report: Report) -> dict[str, float]:
    """The means of *report* that hold; below zero there is no concentration, only a potential or a temperature."""
    signed = ("orp", "water_temperature")
    return {p: mean for p, mean in validity.values(report).items() if mean >= 0 or p in signed}


def _odour(validity: Validity, hours: Sequence[Report], depth_cm: float | None) -> Odour:
    samples = [{p: v for p, v in _believed(validity, hour).items() if p in ODOROUS} for hour in hours]
    return black_odour(samples, depth_cm)


# -- all points of a station


def gather(
    store: Store, loaded: Loaded, points: Sequence[str], kind: str, start: datetime, end: datetime
) -> list[AirIndex | WaterIndex]:
    """The index or class of each of *points* over an hour, a day or a month; none for what has none."""
    validity, zone = Validity(loaded), loaded.zone
    found: list[AirIndex | WaterIndex] = []
    for point in loaded.config.point:
        if point.code not in points:
            continue
        if point.st in AIR and kind != "month":
            over = air_hour if kind == "hour" else air_day
            found.append(over(store, validity, point.code, start, start.astimezone(zone).date()))
        if point.st in WATER and kind != "hour":
            found.append(water(store, validity, point, start, end, monthly=kind == "month"))
    return found


def span(kind: str, text: str | None, now: datetime, zone: Any) -> tuple[datetime, datetime]:
    """From when to when an hour, day or month named by *text* lasts; the last one that is over where none is named.

    >>> from datetime import UTC
    >>> [one.isoformat() for one in span("month", "2026-02", datetime(2026, 4, 1, tzinfo=UTC), UTC)]
    ['2026-02-01T00:00:00+00:00', '2026-03-01T00:00:00+00:00']
    """
    if kind == "month":
        first = _month(text, now, zone)
        following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        return first, following
    length = period_length(Kind.HOUR if kind == "hour" else Kind.DAY)
    moment = _moment(text, zone) if text else now - length
    start = period_start(Kind.HOUR if kind == "hour" else Kind.DAY, moment, zone)
    return start, start + length


def _month(text: str | None, now: datetime, zone: Any) -> datetime:
    if text is None:
        first = now.astimezone(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return (first - timedelta(days=1)).replace(day=1)
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=zone)
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a month such as 2026-03') from error


def _moment(text: str, zone: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a time such as 2026-03-01 or 2026-03-01T08:00') from error
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def as_json(one: AirIndex | WaterIndex, zone: Any) -> dict[str, Any]:
    """*one* as plain data, its start in the station's time."""
    common = {"point": one.point, "start": one.start.astimezone(zone).isoformat()}
    if isinstance(one, AirIndex):
        return common | {
            "kind": "air",
            "period": "hour" if one.hourly else "day",
            "aqi": one.found.index,
            "level": one.found.level,
            "primary": list(one.found.primary),
            "iaqi": dict(one.found.indices),
            "concentrations": dict(one.concentrations),
            "windows_8h": one.windows_8h,
            "why": one.found.why,
        }
    return common | {
        "kind": "water",
        "period": "month" if one.monthly else "day",
        "class": one.found.grade,
        "official": one.official,
        "needed_days": one.needed_days,
        "short_of_days": short_of_days(one),
        "because": one.found.because,
        "deciding": list(one.found.deciding),
        "each": dict(one.found.each or {}),
        "means": dict(one.means),
        "days": dict(one.days),
        "missing": list(one.missing),
        "why": one.found.why,
        "black_odour": None if one.odour is None else one.odour.grade,
        "severe_share": {} if one.odour is None else dict(one.odour.severe),
        "black_odour_why": "" if one.odour is None else one.odour.why,
        "rural_black_odour": None if one.rural is None else list(one.rural),
    }
