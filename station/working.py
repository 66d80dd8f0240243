"""Working conditions: production with its treatment, flow in dry weather, and loads against what is permitted.

A meter that is silent is silent, never zero power: what hangs on it is undetermined.  Thresholds are the operator's;
the rules are those of the township's working-condition duties (power as a stand-in for running: practice, medium).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from station.alarm import BEGINNING, Cause, Seen, Standing, State, in_order, unmeasured
from station.loader import Fault
from station.model import Kind, dataclass, did_you_mean, replace, setting

if TYPE_CHECKING:
    from station.alarming import Sources
    from station.bands import Bands
    from station.config import Config
    from station.store import Store

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DISCHARGES = ("31", "32")


# -- settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """One [[pair]] table: production, and the treatment that has to run with it."""

    name: str = setting(text="what it is called in events, on screens and by rules")
    point: str = setting(text="point of the production's value")
    production: str = setting("power_total", text="parameter by which production is known to run")
    production_above: float = setting(low=0, text="it runs above this, in the parameter's unit")
    treatment_point: str = setting("", text="point of the treatment's value; point when empty")
    treatment: str = setting("power_total", text="parameter by which treatment is known to run")
    treatment_above: float = setting(low=0, text="it runs above this, in the parameter's unit")
    grace_minutes: int = setting(10, low=0, high=1440, text="treatment may be off so long while producing")


@dataclass(frozen=True, slots=True, kw_only=True)
class DryFlowSettings:
    """One [[dry_flow]] table: an outfall that has to be dry in dry weather."""

    name: str = setting(text="what it is called in events, on screens and by rules")
    point: str = setting(text="point of the outfall")
    parameter: str = setting("flow_water", text="parameter that tells flow; a level works too")
    above: float = setting(low=0, text="it flows above this, in the parameter's unit")
    rain_point: str = setting(text="point where rain is measured")
    dry_hours: int = setting(48, low=1, high=240, text="so long without rain is dry weather")
    dry_mm: float = setting(0.0, low=0, high=50, text="rain of that time that counts as none, mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitSettings:
    """One [[permit]] table: what a discharge may carry in a calendar year."""

    name: str = setting(text="what it is called on screens")
    point: str = setting(text="point of the discharge; its system code is 31 or 32")
    parameter: str = setting(text="pollutant")
    tonnes: float = setting(low=0.000001, text="permitted in a year, t")


# -- production and treatment


def pair_step(settings: PairSettings, before: Standing, seen: Seen) -> Standing:
    """Where a pair stands behind one minute: *value* is the production's, *beside* the treatment's.

    A minute that follows a gap begins the grace anew; a silent treatment neither adds to it nor ends it.
    """
    in_order(before, seen)
    run = before.run if before.seen is not None and seen.start - before.seen.start <= MINUTE else 0
    producing, treating = _runs(seen.value, settings.production_above), _runs(seen.beside, settings.treatment_above)
    if producing is None:
        return _standing(before, seen, State.UNDETERMINED, Cause.PRODUCTION_SILENT, run)
    if not producing:
        return _standing(before, seen, State.NORMAL, Cause.IDLE)
    if treating is None:
        return _standing(before, seen, State.UNDETERMINED, Cause.TREATMENT_SILENT, run)
    if treating:
        return _standing(before, seen, State.NORMAL, Cause.TREATED)
    if run + 1 > settings.grace_minutes:
        return _standing(before, seen, State.ALARM, Cause.UNTREATED, run + 1, over=True)
    return _standing(before, seen, State.PRE_ALARM, Cause.GRACE, run + 1)


def _runs(value: float | None, above: float) -> bool | None:
    return None if value is None or not math.isfinite(value) else value > above


def _standing(
    before: Standing, seen: Seen, state: State, cause: Cause, run: int = 0, *, over: bool = False
) -> Standing:
    level = before.level if state is State.UNDETERMINED else state
    return replace(BEGINNING, state=state, cause=cause, level=level, run=run, over=over, seen=seen)


# -- an outfall in dry weather


def rain_of(hours: Sequence[float | None], dry_mm: float) -> float | None:
    """Rain of *hours* in mm; None where hours are missing and the others do not make it wet anyway.

    >>> rain_of([0.0, 0.2], 0.0), rain_of([0.0, None], 0.0), rain_of([None, 0.2], 0.0)
    (0.2, None, 0.2)
    """
    known = math.fsum(h for h in hours if h is not None)
    return known if known > dry_mm or None not in hours else None


def dry_flow_step(settings: DryFlowSettings, before: Standing, seen: Seen) -> Standing:
    """Where an outfall stands behind one hour: *value* is its flow, *beside* the rain of the hours up to it."""
    in_order(before, seen)
    flows = _runs(seen.value, settings.above)
    if flows is None:
        return _standing(before, seen, State.UNDETERMINED, Cause.FLOW_SILENT)
    if not flows:
        return _standing(before, seen, State.NORMAL, Cause.NO_FLOW)
    wet = _runs(seen.beside, settings.dry_mm)
    if wet is None:
        return _standing(before, seen, State.UNDETERMINED, Cause.RAIN_UNKNOWN)
    if wet:
        return _standing(before, seen, State.NORMAL, Cause.WET)
    return _standing(before, seen, State.ALARM, Cause.DRY_FLOW, before.run + 1, over=True)


# -- as the alarms' runner asks for them


class PairRule:
    """A [[pair]], minute by minute."""

    table, kind, length, reach, period = "pair", Kind.MINUTE, MINUTE, timedelta(0), "1min"

    def __init__(self, settings: PairSettings) -> None:
        self.settings = settings
        self.bands: Bands | None = None  # what people have confirmed, where a store is at hand
        self.judged: datetime | None = None  # the minute that was judged last
        self.name, self.point, self.parameter = settings.name, settings.point, settings.production
        self.beside_point = settings.treatment_point or settings.point
        self.points: Sequence[str] = tuple(dict.fromkeys((settings.point, self.beside_point)))
        self.look_back = settings.grace_minutes + 1

    def in_force(self, at: datetime) -> PairSettings:
        """The settings with the levels of bands that a person had confirmed by *at*."""
        if self.bands is None:
            return self.settings
        sees = {"production": (self.point, self.parameter), "treatment": (self.beside_point, self.settings.treatment)}
        production, treatment = (self.bands.level(self.name, role, at, of) for role, of in sees.items())
        return replace(
            self.settings,
            production_above=self.settings.production_above if production is None else production,
            treatment_above=self.settings.treatment_above if treatment is None else treatment,
        )

    @property
    def terms(self) -> Mapping[str, Any]:
        """What else events and screens say of it: the levels are those in force now."""
        settings = self.in_force(datetime.now(UTC) if self.judged is None else self.judged)
        return {
            "production_above": settings.production_above,
            "treatment": settings.treatment,
            "treatment_point": self.beside_point,
            "treatment_above": settings.treatment_above,
            "grace_minutes": settings.grace_minutes,
        }

    def seen(self, sources: Sources, start: datetime) -> Seen:
        """Both values of the minute."""
        one = self.settings
        return Seen(
            start=start,
            day=start.astimezone(sources.zone).date(),
            value=sources.value(one.point, one.production, self.period, start),
            beside=sources.value(self.beside_point, one.treatment, self.period, start),
        )

    def step(self, before: Standing, seen: Seen) -> Standing:
        """By both meters."""
        self.judged = seen.start
        return pair_step(self.in_force(seen.start), before, seen)


class DryFlowRule:
    """A [[dry_flow]], hour by hour."""

    table, kind, length, period = "dry_flow", Kind.HOUR, HOUR, "1h"

    def __init__(self, settings: DryFlowSettings) -> None:
        self.settings = settings
        self.name, self.point, self.parameter = settings.name, settings.point, settings.parameter
        self.points: Sequence[str] = tuple(dict.fromkeys((settings.point, settings.rain_point)))
        self.reach, self.look_back = settings.dry_hours * HOUR, 1
        self.terms: Mapping[str, Any] = {
            "above": settings.above,
            "rain_point": settings.rain_point,
            "dry_hours": settings.dry_hours,
            "dry_mm": settings.dry_mm,
        }

    def seen(self, sources: Sources, start: datetime) -> Seen:
        """The hour's flow, and the rain of so many hours up to its end."""
        one = self.settings
        first = start - (one.dry_hours - 1) * HOUR
        hours = [sources.value(one.rain_point, "rain", "1h", first + n * HOUR) for n in range(one.dry_hours)]
        return Seen(
            start=start,
            day=start.astimezone(sources.zone).date(),
            value=sources.value(one.point, one.parameter, "1h", start),
            beside=rain_of(hours, one.dry_mm),
        )

    def step(self, before: Standing, seen: Seen) -> Standing:
        """By flow and rain."""
        return dry_flow_step(self.settings, before, seen)


# -- loads against a permit

RECENT_DAYS, FEWEST_DAYS = 30, 7  # of which the projection is made (ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a year has carried so far; *exhausted* is the day by which the permit is used up at the recent pace."""

    permitted_kg: float
    used_kg: float
    days: int  # that have a load
    missing: int  # days so far that have none
    per_day_kg: float | None
    exhausted: date | None
    why: str  # a word of WHYS

    @property
    def share(self) -> float:
        """How much of the permit is used, 1 being all."""
        return self.used_kg / self.permitted_kg


WHYS = ("used_up", "projected", "lasts", "too_few_days", "no_load")


def quota(loads: Mapping[date, float | None], permitted_kg: float, today: date) -> Quota:
    """What the *loads* in kg of a year's days up to *today* come to; a day is None, NaN or negative: not known.

    The projection is the mean of the known days among the last 30, for what is left; fewer than 7 make none.  Days
    that are not known are counted and carry nothing: nothing is filled in here.

    >>> days = {date(2026, 1, n): 10.0 for n in range(1, 11)}
    >>> found = quota(days, 200.0, date(2026, 1, 10))
    >>> found.used_kg, found.exhausted, found.why
    (100.0, datetime.date(2026, 1, 20), 'projected')
    """
    first = date(today.year, 1, 1)
    span = [first + timedelta(days=n) for n in range((today - first).days + 1)]
    known: dict[date, float] = {}
    for day in span:
        load = loads.get(day)
        if load is not None and math.isfinite(load) and load >= 0:
            known[day] = load
    used = math.fsum(known.values())
    recent = [load for day, load in known.items() if (today - day).days < RECENT_DAYS]
    pace = math.fsum(recent) / len(recent) if len(recent) >= FEWEST_DAYS else None
    made = Quota(
        permitted_kg=permitted_kg, used_kg=used, days=len(known), missing=len(span) - len(known), per_day_kg=pace,
        exhausted=None, why="no_load" if not known else "too_few_days",
    )  # fmt: skip
    if used >= permitted_kg:
        return replace(made, exhausted=_used_up(known, permitted_kg), why="used_up")
    if pace is None:
        return made
    left = math.ceil((permitted_kg - used) / pace - 1e-9) if pace > 0 else 10_000
    on = today + timedelta(days=min(left, 10_000))
    return replace(made, exhausted=on, why="projected") if on.year == today.year else replace(made, why="lasts")


def _used_up(known: Mapping[date, float], permitted_kg: float) -> date | None:
    used = 0.0
    for day in sorted(known):
        used += known[day]
        if used >= permitted_kg * (1 - 1e-12):
            return day
    return None


def permit_step(settings: PermitSettings, before: Standing, seen: Seen) -> Standing:
    """Where a permit stands behind one day: *value* is what the year has carried in t, *cause* what that comes to."""
    in_order(before, seen)
    states = {
        Cause.USED_UP: State.ALARM,
        Cause.PROJECTED: State.PRE_ALARM,
        Cause.LASTS: State.NORMAL,
        Cause.TOO_FEW_DAYS: State.UNDETERMINED,
        Cause.NO_LOAD: State.UNDETERMINED,
    }
    state = states[seen.cause]
    return _standing(before, seen, state, seen.cause, over=state is State.ALARM)


class PermitRule:
    """A [[permit]], day by day."""

    table, kind, length, period = "permit", Kind.DAY, timedelta(days=1), "day"
    reach, look_back = timedelta(days=366), 1

    def __init__(self, settings: PermitSettings) -> None:
        self.settings = settings
        self.name, self.point, self.parameter = settings.name, settings.point, settings.parameter
        self.points: Sequence[str] = (settings.point,)
        self.terms: Mapping[str, Any] = {"permitted_tonnes": settings.tonnes, "unit": "t"}

    def seen(self, sources: Sources, start: datetime) -> Seen:
        """What the year has carried by the end of the day, t, beside what is permitted."""
        day = start.astimezone(sources.zone).date()
        found = quota(sources.loads(self.point, self.parameter, day.year), self.settings.tonnes * 1000, day)
        return Seen(
            start=start, day=day, value=found.used_kg / 1000, beside=self.settings.tonnes, cause=Cause(found.why)
        )

    def step(self, before: Standing, seen: Seen) -> Standing:
        """By the year so far."""
        return permit_step(self.settings, before, seen)


def loads_of(store: Store, point: str, parameter: str, year: int, zone: Any) -> dict[date, float | None]:
    """What each day of *year* that *store* has carried of *parameter* at *point*, kg."""
    first, end = datetime(year, 1, 1, tzinfo=zone), datetime(year + 1, 1, 1, tzinfo=zone)
    return {
        report.start.astimezone(zone).date(): one.load_kg
        for report in store.averages(Kind.DAY, first, end, point)
        for one in report.averages
        if one.parameter == parameter
    }


def year_of(store: Store, permit: PermitSettings, today: date, zone: Any) -> Quota:
    """What *store* says of *permit* in the year of *today*."""
    return quota(loads_of(store, permit.point, permit.parameter, today.year, zone), permit.tonnes * 1000, today)


# -- what a configuration may get wrong


def faults(config: Config, owners: Mapping[tuple[str, str], str]) -> Iterator[Fault]:
    """What is wrong in [[pair]], [[dry_flow]] and [[permit]] beside each key for itself."""
    points = {point.code: point for point in config.point}
    for index, pair in enumerate(config.pair):
        place, beside = f"pair[{index}]", pair.treatment_point or pair.point
        yield from _measured(place, "point", "production", pair.point, pair.production, points, owners)
        yield from _measured(place, "treatment_point", "treatment", beside, pair.treatment, points, owners)
        if (pair.point, pair.production) == (beside, pair.treatment):
            yield Fault(f"{place}.treatment", "is the production's value, too")
    for index, outfall in enumerate(config.dry_flow):
        place = f"dry_flow[{index}]"
        yield from _measured(place, "point", "parameter", outfall.point, outfall.parameter, points, owners)
        yield from _measured(place, "rain_point", "rain_point", outfall.rain_point, "rain", points, owners)
    for index, permit in enumerate(config.permit):
        place = f"permit[{index}]"
        yield from _measured(place, "point", "parameter", permit.point, permit.parameter, points, owners)
        if permit.point in points and points[permit.point].st not in DISCHARGES:
            yield Fault(f"{place}.point", f'"{permit.point}" is no discharge: its st is neither 31 nor 32')


def _measured(
    place: str, point_key: str, key: str, point: str, parameter: str, points: Mapping[str, Any],
    owners: Mapping[tuple[str, str], str],
) -> Iterator[Fault]:  # fmt: skip
    if point not in points:
        yield Fault(f"{place}.{point_key}", f'there is no point "{point}"{did_you_mean(point, points)}')
        return
    yield from unmeasured(f"{place}.{key}", point, parameter, owners)
