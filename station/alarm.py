"""Alarms: from what a closed period comes to, to a state; pure functions, each rule with its reason.

A period is judged by its unrounded mean, and only where that holds by the capture rule of its point: what does not
hold, or hangs on the city's air that nobody told, is *undetermined*, never normal.  States follow from the periods in
the order of their time, whatever the order they came in.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from station.limits import City, Limit, Verdict, find, of_station
from station.loader import Fault
from station.model import WrongArgument, dataclass, did_you_mean, replace, setting
from station.parameters import catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from station.config import Config

# The periods an alarm may look at: how long, and by which names the limits know them.  Five and fifteen minutes are
# counted from the full hour; the largest mean over eight hours grows hour by hour.
LENGTHS = {
    "1min": timedelta(minutes=1),
    "5min": timedelta(minutes=5),
    "15min": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "8h-max": timedelta(hours=1),
    "day": timedelta(days=1),
}
NAMES = {"day": ("day", "24h", "day-time", "night")}
OFFSETS = ("", "city-pm10", "city-aqi")
OWN = "own"  # the standard of a limit that station.toml sets
WINDOW_8H, FEWEST_OF_8, FEWEST_WINDOWS = 8, 6, 14  # GB 3095-2026 3.8 and table 4 (high); HJ 663 (medium)
BELOW_ZERO = 0.1  # of the limit: a mean further below zero says that the instrument drifted (ours)
CONCENTRATIONS = ("µg/m³", "mg/m³", "µg/L", "mg/L")


class State(enum.StrEnum):
    """How things stand with an alarm."""

    NORMAL = "normal"
    PRE_ALARM = "pre_alarm"
    ALARM = "alarm"
    UNDETERMINED = "undetermined"
    STALE = "stale"  # no period was closed for long


class Cause(enum.StrEnum):
    """Why a state is what it is."""

    NOT_YET = "not_yet"  # no period has ended since the alarm was set up
    WITHIN = "within"
    LIMIT = "limit"
    PRE_LEVEL = "pre_level"
    ALLOWED = "allowed"  # past the limit, and a day may have so many
    BRIEF = "brief"  # past the limit, and not yet long enough
    HYSTERESIS = "hysteresis"  # within the limit, and not yet far enough
    NO_VALUE = "no_value"  # too little was measured, or none of it can be believed
    NEGATIVE = "negative"
    NO_LIMIT = "no_limit"  # none holds on that day
    CITY = "city"  # the city's air decides, and is not known
    TEMPERATURE = "temperature"  # the water's temperature decides, and is not known
    NOT_CLOSED = "not_closed"
    IDLE = "idle"
    TREATED = "treated"
    GRACE = "grace"
    UNTREATED = "untreated"
    PRODUCTION_SILENT = "production_silent"
    TREATMENT_SILENT = "treatment_silent"
    WET = "wet"
    NO_FLOW = "no_flow"
    DRY_FLOW = "dry_flow"
    FLOW_SILENT = "flow_silent"
    RAIN_UNKNOWN = "rain_unknown"
    USED_UP = "used_up"  # a permit
    PROJECTED = "projected"  # it will be, this year
    LASTS = "lasts"
    TOO_FEW_DAYS = "too_few_days"
    TEST = "test"  # of a commissioning: nothing was measured that would be one
    NO_LOAD = "no_load"
    CHECK_FAILED = "check_failed"  # of a [[qc]]
    CHECK_PASSED = "check_passed"
    NOT_CHECKED = "not_checked"


# -- settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSettings:
    """One [[alarm]] table: a limit of a standard by the day it is held against, or one of the station's own."""

    name: str = setting(text="what it is called in events, on screens and by rules")
    point: str = setting(text="point of the value it looks at")
    parameter: str = setting(text="parameter it looks at")
    period: str = setting(text="what is held against the limit: the mean over so long", choices=tuple(LENGTHS))
    standard: str = setting("", text="standard of station/limits.toml; its limit of the day holds")
    limit_class: str = setting("", text="class of that standard, such as grade-2; may be left out where it has one")
    above: float | None = setting(None, text="instead of a standard: more than this is an alarm")
    below: float | None = setting(None, text="instead of a standard: less than this is an alarm")
    allowed_per_day: int = setting(0, low=0, high=1440, text="of above or below: so many times a day are no alarm")
    offset: str = setting("", choices=OFFSETS, text="of above: what the city's air takes off the value first")
    pre_alarm: float | None = setting(None, text="level of the pre-alarm, in the parameter's unit")
    pre_alarm_share: float | None = setting(
        None, low=0.01, high=10, text="level of the pre-alarm as a share of the limit, such as 0.8"
    )
    hysteresis: float = setting(0.0, low=0, text="an alarm ends when the value is so far within the limit")
    in_a_row: int = setting(1, low=1, high=1440, text="so many periods in a row must be past the limit")


# -- what is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one period comes to; *value* is None where it holds nothing, *cause* says why."""

    start: datetime
    day: date  # the station's own
    value: float | None
    cause: Cause = Cause.NO_VALUE
    city: City | None = None
    temperature: float | None = None  # of the water, where a limit depends on it
    beside: float | None = None  # the second value of a rule that has two


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an alarm stands behind a period; *level* is the last state that could be told, for the hysteresis."""

    state: State = State.UNDETERMINED
    cause: Cause = Cause.NOT_YET
    level: State = State.NORMAL
    run: int = 0  # how many periods in a row were past a limit
    counts: tuple[int, ...] = ()  # how many today were past each
    over: bool = False  # whether this one was
    limit: Limit | None = None
    seen: Seen | None = None


BEGINNING = Standing()


# -- from a period to a state


def limits_on(settings: AlarmSettings, day: date, rows: Sequence[Limit] | None = None) -> tuple[Limit, ...]:
    """The limits that hold on *day*, of *rows* or the shipped ones; several where a standard sets more than one."""
    if not settings.standard:
        sense, value = ("most", settings.above) if settings.above is not None else ("least", settings.below)
        assert value is not None
        return (
            Limit(
                parameter=settings.parameter, value=value, sense=sense, standard=OWN, medium=OWN, class_="",
                period=settings.period, offset=settings.offset, per_day=settings.allowed_per_day, confidence=OWN,
                source="station.toml",
            ),
        )  # fmt: skip
    found = find(settings.parameter, day, settings.standard, settings.limit_class, rows=rows)
    return tuple(one for one in found if one.period in names_of(settings.period))


def names_of(period: str) -> tuple[str, ...]:
    """How limits name an alarm's *period*.

    >>> names_of("15min"), names_of("day")
    (('15min',), ('day', '24h', 'day-time', 'night'))
    """
    return NAMES.get(period, (period,))


def step(settings: AlarmSettings, before: Standing, seen: Seen, held: Sequence[Limit] | None = None) -> Standing:
    """Where the alarm stands behind *seen*, the period that follows the one of *before*; *held* are the day's limits.

    Raise ValueError for a period that is not younger: whoever has a later version folds anew (see `folded`).
    """
    in_order(before, seen)
    counts = before.counts if before.seen is not None and before.seen.day == seen.day else ()
    nothing = replace(before, state=State.UNDETERMINED, run=0, counts=counts, over=False, seen=seen, limit=None)
    if seen.value is None or not math.isfinite(seen.value):
        return replace(nothing, cause=seen.cause)
    held = limits_on(settings, seen.day) if held is None else held
    chosen = _for_temperature(held, seen.temperature)
    if not chosen:
        return replace(nothing, cause=Cause.NO_LIMIT)
    if any(_far_below_zero(one, seen.value) for one in chosen):
        return replace(nothing, cause=Cause.NEGATIVE)
    verdicts = [one.verdict(seen.value, seen.city) for one in chosen]
    past = [verdict is Verdict.EXCEEDS for verdict in verdicts]
    if len({*verdicts}) > 1 and len(held) > 1 and _hangs_on_temperature(held, seen.temperature):
        return replace(nothing, cause=Cause.TEMPERATURE, limit=chosen[0])
    counts = tuple((counts[n] if n < len(counts) else 0) + over for n, over in enumerate(past))
    run = before.run + 1 if any(past) else 0
    found = [(*_against(settings, one, verdicts[n], counts[n], run, before, seen), one) for n, one in enumerate(chosen)]
    state, cause, limit = max(found, key=lambda one: _GRAVITY[one[0]])
    level = before.level if state is State.UNDETERMINED else state
    return Standing(
        state=state, cause=cause, level=level, run=run, counts=counts, over=any(past), limit=limit, seen=seen
    )


_GRAVITY = {State.NORMAL: 0, State.PRE_ALARM: 1, State.UNDETERMINED: 2, State.ALARM: 3}


def in_order(before: Standing, seen: Seen) -> None:
    """Raise ValueError for a period that is not younger than the one before."""
    if before.seen is not None and seen.start <= before.seen.start:
        raise ValueError(f"{seen.start.isoformat()} is not after {before.seen.start.isoformat()}")


def _against(
    settings: AlarmSettings, limit: Limit, verdict: Verdict, count: int, run: int, before: Standing, seen: Seen
) -> tuple[State, Cause]:
    """The state by one of the limits."""
    assert seen.value is not None
    if verdict is Verdict.UNDETERMINED:
        return State.UNDETERMINED, Cause.CITY
    if verdict is Verdict.EXCEEDS:
        if count <= limit.per_day:
            return State.PRE_ALARM, Cause.ALLOWED
        return (State.ALARM, Cause.LIMIT) if run >= settings.in_a_row else (State.PRE_ALARM, Cause.BRIEF)
    if before.level is State.ALARM and _beyond(limit, _tightened(limit, settings.hysteresis), seen):
        return State.ALARM, Cause.HYSTERESIS
    level = _pre_level(settings, limit)
    if level is not None:
        if _beyond(limit, level, seen):
            return State.PRE_ALARM, Cause.PRE_LEVEL
        eased = replace(limit, value=level)
        if before.level is State.PRE_ALARM and _beyond(limit, _tightened(eased, settings.hysteresis), seen):
            return State.PRE_ALARM, Cause.HYSTERESIS
    return State.NORMAL, Cause.WITHIN


def _beyond(limit: Limit, level: float, seen: Seen) -> bool:
    """Whether the value is past *level* in the sense of *limit*, by as much as is known of the city's air."""
    assert seen.value is not None
    return replace(limit, value=level).verdict(seen.value, seen.city) is not Verdict.COMPLIES


def _tightened(limit: Limit, by: float) -> float:
    return limit.value + by if limit.sense == "least" else limit.value - by


def _pre_level(settings: AlarmSettings, limit: Limit) -> float | None:
    if settings.pre_alarm is not None:
        return settings.pre_alarm
    return None if settings.pre_alarm_share is None else settings.pre_alarm_share * limit.value


def _far_below_zero(limit: Limit, value: float) -> bool:
    known = catalogue().get(limit.parameter)
    return known is not None and known.unit in CONCENTRATIONS and value < -BELOW_ZERO * abs(limit.value)


_CONDITION = re.compile(r"water (above|up to) (\d+) °C")


def _for_temperature(held: Sequence[Limit], celsius: float | None) -> list[Limit]:
    """Those of *held* whose condition is met; all of them where the temperature is not known.

    >>> rows = find("ammonia_nitrogen", date(2026, 4, 1), "GB 18918-2002", "1A")
    >>> [[one.value for one in _for_temperature(rows, t)] for t in (12.0, 12.1, None)]
    [[8], [5], [5, 8]]
    """
    if celsius is None:
        return list(held)
    chosen = []
    for one in held:
        match = _CONDITION.fullmatch(one.condition)
        if match is None or (celsius > float(match[2])) is (match[1] == "above"):
            chosen.append(one)
    return chosen


def _hangs_on_temperature(held: Sequence[Limit], celsius: float | None) -> bool:
    return celsius is None and any(_CONDITION.fullmatch(one.condition) for one in held)


def needs_temperature(rows: Sequence[Limit]) -> bool:
    """Whether any of *rows* depends on the water's temperature."""
    return any(_CONDITION.fullmatch(one.condition) for one in rows)


def rows_of(settings: AlarmSettings, rows: Sequence[Limit]) -> list[Limit]:
    """Those of *rows* that are an alarm's, whatever the day."""
    if not settings.standard:
        return list(limits_on(settings, date.min))
    return [
        one
        for one in rows
        if one.standard == settings.standard
        and one.parameter == settings.parameter
        and settings.limit_class in ("", one.class_)
        and one.period in names_of(settings.period)
    ]


# -- the largest mean over eight hours


@dataclass(frozen=True, slots=True)
class Eight:
    """The largest running mean over eight hours of a day so far; *holds* by the rule, *windows* were valid."""

    value: float | None
    windows: int
    holds: bool


def daily_max_8h(hours: Sequence[float | None], limit: float | None = None) -> Eight:
    """The largest mean over 8 h of *hours* 0, 1, … of one day so far, None for an hour that does not hold.

    GB 3095-2026 3.8, 3.9 and table 4: 6 of 8 hours (high), the windows inside the natural day, and of a whole day 14
    of its 17 unless what there is is above the *limit* already (HJ 663, medium).  Of a day that goes on it holds as
    soon as the newest window does.

    >>> daily_max_8h([100.0] * 8), daily_max_8h([100.0] * 5 + [None] * 3).holds
    (Eight(value=100.0, windows=1, holds=True), False)
    """
    means = []
    for end in range(WINDOW_8H, len(hours) + 1):
        known = [h for h in hours[end - WINDOW_8H : end] if h is not None]
        means.append(math.fsum(known) / len(known) if len(known) >= FEWEST_OF_8 else None)
    valid = [m for m in means if m is not None]
    largest = max(valid, default=None)
    enough = len(valid) >= FEWEST_WINDOWS if len(hours) >= 24 else bool(means) and means[-1] is not None
    above = largest is not None and limit is not None and largest > limit
    return Eight(largest, len(valid), largest is not None and (enough or above))


# -- what a configuration may get wrong


def faults(config: Config, owners: Mapping[tuple[str, str], str], folder: Path) -> Iterator[Fault]:
    """What is wrong in the [[alarm]] tables, and in the limits of *folder*; *owners* says who measures what."""
    rows, wrong = of_station(folder) if config.alarm else ((), [])
    yield from (Fault("alarm", said) for said in wrong)
    points = {point.code: None for point in config.point}
    for index, one in enumerate(config.alarm):
        place = f"alarm[{index}]"
        if one.point not in points:
            yield Fault(f"{place}.point", f'there is no point "{one.point}"{did_you_mean(one.point, points)}')
        elif one.parameter not in catalogue():
            hint = did_you_mean(one.parameter, catalogue())
            yield Fault(f"{place}.parameter", f'"{one.parameter}" is not in the catalogue{hint}')
        else:
            yield from unmeasured(f"{place}.parameter", one.point, one.parameter, owners)
        yield from _limit_faults(place, one, rows)
        yield from _level_faults(place, one)


def named_twice(config: Config) -> Iterator[Fault]:
    """Two things that states are kept of may not share a name."""
    taken: dict[str, str] = {}
    for table in ("alarm", "pair", "dry_flow", "permit"):
        for index, one in enumerate(getattr(config, table, ())):
            if one.name in taken:
                yield Fault(f"{table}[{index}].name", f'"{one.name}" is already {taken[one.name]}')
            taken.setdefault(one.name, f"{table}[{index}]")


_MADE_OF = {  # what is derived, and from what
    **dict.fromkeys(("noise_leq", "noise_l5", "noise_l10", "noise_l50", "noise_l90", "noise_l95"), ("noise",)),
    **dict.fromkeys(("noise_lmax", "noise_lmin"), ("noise",)),
    **dict.fromkeys(("noise_ld", "noise_ln", "noise_ldn"), ("noise", "noise_leq")),
}


def unmeasured(place: str, point: str, parameter: str, owners: Mapping[tuple[str, str], str]) -> Iterator[Fault]:
    """A fault where nothing measures *parameter* at *point*, nor what it is made of."""
    here = [known for where, known in owners if where == point]
    if not {parameter, *_MADE_OF.get(parameter, ())} & set(here):
        yield Fault(place, f'nothing measures {parameter} at point "{point}"{did_you_mean(parameter, here)}')


def _limit_faults(place: str, one: AlarmSettings, every: Sequence[Limit]) -> Iterator[Fault]:
    given = [key for key in ("standard", "above", "below") if getattr(one, key) not in ("", None)]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given" if given else "none is given"
        yield Fault(f"{place}.standard", f"one of standard, above and below is needed, {said}")
        return
    if not one.standard:
        if one.limit_class:
            yield Fault(f"{place}.limit_class", "has no meaning without standard")
        if one.offset and one.above is None:
            yield Fault(f"{place}.offset", "has no meaning beside below")
        return
    for key in ("allowed_per_day", "offset"):
        if getattr(one, key):
            yield Fault(f"{place}.{key}", f"{one.standard} says it itself")
    try:
        find(one.parameter, date.min, one.standard, one.limit_class, rows=every)
    except WrongArgument as error:
        yield Fault(f"{place}.standard", str(error))
        return
    rows = [row for row in every if row.standard == one.standard and row.parameter == one.parameter]
    rows = [row for row in rows if one.limit_class in ("", row.class_)]
    of_period = [row for row in rows if row.period in names_of(one.period)]
    if not of_period:
        known = ", ".join(dict.fromkeys(row.period for row in rows))
        yield Fault(
            f"{place}.period", f"{one.standard} has no limit for {one.parameter} over {one.period}; it has {known}"
        )
    classes = list(dict.fromkeys(row.class_ for row in of_period))
    if len(classes) > 1:
        yield Fault(f"{place}.limit_class", f"is missing: {one.standard} has {', '.join(classes)}")


def _level_faults(place: str, one: AlarmSettings) -> Iterator[Fault]:
    if one.pre_alarm is not None and one.pre_alarm_share is not None:
        yield Fault(f"{place}.pre_alarm_share", "has no meaning beside pre_alarm")
    for key, sign in (("above", 1), ("below", -1)):
        limit = getattr(one, key)
        if limit is None:
            continue
        level = one.pre_alarm if one.pre_alarm is not None else None
        if one.pre_alarm_share is not None:
            level = one.pre_alarm_share * limit
        if level is not None and level * sign >= limit * sign:
            way = "below" if sign > 0 else "above"
            yield Fault(f"{place}.pre_alarm", f"{level:g} is not {way} the limit {limit:g}")
    if one.period == "8h-max" and one.parameter != "o3":
        yield Fault(f"{place}.period", "8h-max is a value of o3 alone (GB 3095-2026)")


def words(limit: Limit | None) -> dict[str, Any]:
    """What an event says of a limit: value, standard, class, averaging time, source and confidence."""
    if limit is None:
        return {}
    return {
        "limit": limit.value,
        "sense": limit.sense,
        "standard": limit.standard,
        "class": limit.class_,
        "clause": limit.source,
        "allowed_per_day": limit.per_day,
        "offset": limit.offset,
        "condition": limit.condition,
        "status": limit.status,
        "confidence": limit.confidence,
    }
