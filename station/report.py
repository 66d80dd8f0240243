"""What a day or a month came to, as plain values: every figure with what it is made of, or why there is none.

Only hours and days are read of a month, in their newest versions, and what single readings were marked with is
counted without looking at their values.  Rules of a month: a mean is that of its valid days (GB 3095-2026 table 4,
which asks for 27 days, 25 in February: high; HJ 76-2017 appendix B, 25 and 23: high; waste and surface water 75 % of
the days, HJ 356-2019 as digested: medium).  At a discharge with a flow it is weighted by the flow, sound and wind are
reckoned from hours, rain is summed up, of a counter the rise is told.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from station import average, counter, noise
from station.average import Use
from station.clock import period_length, to_ms
from station.model import Average, Averaging, Kind, Report, WrongArgument, dataclass, field
from station.parameters import catalogue
from station.periods import DISCHARGES, USE_OF, WATER
from station.store import Store, unpack_mark
from station.wind import CALM, mean_wind

if TYPE_CHECKING:
    from station.config import Loaded, PointSettings

MONTH_DAYS: Mapping[str, tuple[int, int]] = {  # by use: valid days of a month, and of a February
    "air": (27, 25),
    "site-dust": (27, 25),  # as for air (house rule)
    "site-dust-shanghai": (27, 25),
    "flue-gas": (25, 23),
}
WATER_DAYS = 0.75
LATE = timedelta(hours=4)  # an analyser's reading is dated back to its sampling
MINUTES, HOURS = 60, 24
HOUR = timedelta(hours=1)
# What a value can be made of, and why there is none or none that holds: keys of texts.
MADE_OF = (
    "halves", "vector", "energy", "sum_day", "sum_hour", "flow_day", "flow_hour", "mean_day", "mean_hour",
    "last", "max", "min",
)  # fmt: skip
WHYS = ("nothing_closed", "no_valid_part", "not_over", "too_few")
HALVES = ("noise_ld", "noise_ln", "noise_ldn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a report is about: the day or month (*word*) called *title*, as it stands at *now*."""

    word: str
    title: str
    start: datetime
    end: datetime
    now: datetime

    @property
    def over(self) -> bool:
        """Whether nothing of it is still to come."""
        return self.end <= self.now

    @property
    def parts(self) -> Kind:
        """What it is made of: a month of days, a day of hours."""
        return Kind.DAY if self.word == "month" else Kind.HOUR

    def due(self, kind: Kind) -> int:
        """How many periods of *kind* are over."""
        return max(0, (min(self.end, self.now) - self.start) // period_length(kind))


def span_of(word: str, text: str, now: datetime, zone: tzinfo) -> Span:
    """The day or month that *text* names (2026-03-01, 2026-03); the last one that is over when it is empty.

    >>> from datetime import UTC
    >>> now = datetime(2026, 3, 5, 8, tzinfo=UTC)
    >>> span_of("month", "", now, UTC).title, span_of("day", "", now, UTC).title
    ('2026-02', '2026-03-04')
    """
    form, example = ("%Y-%m", "2026-03") if word == "month" else ("%Y-%m-%d", "2026-03-01")
    if text:
        try:
            start = datetime.strptime(text, form).replace(tzinfo=zone)
        except ValueError as error:
            raise WrongArgument(f'"{text}" is not a {word} such as {example}') from error
    else:
        today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        start = today - timedelta(days=1)
        if word == "month":
            start = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    if start > now:
        raise WrongArgument(f"{start:{form}} has not begun")
    end = start + timedelta(days=1)
    if word == "month":
        end = (start + timedelta(days=32)).replace(day=1)
    return Span(word=word, title=f"{start:{form}}", start=start, end=end, now=now)


def use_name(point: PointSettings) -> str:
    """What the data of *point* are used for: a word of average.USES."""
    return point.use or USE_OF.get(point.st, "water" if point.st in WATER else "air")


def days_needed(use: str, start: datetime, days: int) -> int:
    """How many valid days a month of *days* that begins at *start* needs.

    >>> from datetime import UTC
    >>> [days_needed(u, datetime(2026, 2, 1, tzinfo=UTC), 28) for u in ("air", "flue-gas", "water")]
    [25, 23, 21]
    """
    if use not in MONTH_DAYS:
        return math.ceil(WATER_DAYS * days)
    return MONTH_DAYS[use][start.month == 2]


def gather(store: Store, loaded: Loaded, span: Span, point: str | None = None) -> dict[str, Any]:
    """Everything a report of *span* shows, of every point or of one *point*, as values that JSON can carry."""
    from station import report_beside as beside
    from station.sealing import shown

    codes = [one for one in loaded.config.point if point in (None, one.code) and not _gone(one, span, loaded.zone)]
    readings = _readings(store, span)
    made = {
        "report": span.word,
        "period": span.title,
        "start": _iso(span.start, loaded.zone),
        "end": _iso(span.end, loaded.zone),
        "over": span.over,
        "made": _iso(span.now, loaded.zone),
        "station": loaded.config.station.name,
        "points": [_point(store, loaded, one, span, readings) for one in codes],
    }
    names = {one.code for one in codes}
    return made | {
        "hand_marks": beside.hand_marks(store, span, names, loaded.zone),
        "laboratory": beside.laboratory(store, span, names, loaded.zone),
        "exchanges": beside.exchanges(store, span, names, loaded.zone),
        "coefficients": [c for c in readings.coefficients if c["point"] in names],
        "samples": beside.samples(store, span, names, loaded.zone),
        "checks": beside.checks(store, span, names, loaded.zone),
        "calibrations": beside.calibrations(store, span, names, loaded.zone),
        "drift": beside.drift(store, span, names, loaded.zone),
        "permits": beside.permits(store, loaded, span, names),
        "orders": beside.orders(store, span, names, loaded.zone, counter.rollovers(loaded.config)),
        "boundaries": beside.boundaries(store, loaded, span, names),
        "alarms": beside.alarms(store, span, names, loaded.zone),
        "snapshots": beside.snapshots(store, span, names, loaded.zone),
        "platforms": beside.platforms(store, span, names, loaded.zone),
        "dustfall": beside.dustfall(store, loaded, span, names),
        "silences": beside.silences(store, span, loaded.zone),
        "missed": beside.missed(store, loaded, span, names),
        "events": beside.events(store, span, loaded.zone),
        "seal": shown(store),
    }


def _gone(point: PointSettings, span: Span, zone: tzinfo) -> bool:
    """Whether *point* was closed before *span*."""
    if not point.closed:
        return False
    from station.resiting import closed_at

    at = closed_at(point, zone)
    return at is not None and at < span.start


def _iso(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).isoformat(timespec="minutes")


# -- what single readings were marked with


@dataclass(slots=True)
class _Readings:
    marks: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    reasons: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)  # beside normal values
    mark_reasons: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)  # of the others
    coefficients: list[dict[str, Any]] = field(default_factory=list)


def _readings(store: Store, span: Span) -> _Readings:
    """Readings of *span* counted by mark and by reason, and the coefficients other than 1 and 0 behind them."""
    rows = store.query(
        "SELECT series, mark, count(*) FROM reading WHERE id > ? AND id <= ? AND at_ms >= ? AND at_ms < ?"
        " GROUP BY series, mark",
        (store.reading_floor(span.start), _ceiling(store, span), to_ms(span.start), to_ms(span.end)),
    )
    found, seen = _Readings(), set()
    for number, packed, count in rows:
        one, (mark, reason) = store.series(number), unpack_mark(packed)
        key = (one.point, one.parameter)
        found.marks.setdefault(key, Counter())[mark.name] += count
        if reason:
            where = found.mark_reasons if mark else found.reasons
            where.setdefault(key, Counter())[reason.name.lower()] += count
        what = (one.point, one.parameter, one.device, one.coefficients)
        if one.coefficients != (1.0, 0.0) and what not in seen:
            seen.add(what)
            slope, intercept = one.coefficients
            names = {"point": one.point, "parameter": one.parameter, "device": one.device}
            found.coefficients.append({**names, "slope": slope, "intercept": intercept})
    return found


def _ceiling(store: Store, span: Span) -> int:
    """An id behind which no reading is of *span*: the tick some hours later, unless a clock was set back since."""
    last = to_ms(span.end + LATE)
    rows = store.query("SELECT reading FROM tick WHERE hour >= ? ORDER BY hour LIMIT 1", (-(-last // 3_600_000),))
    if not rows:
        return store.newest("reading")
    back = store.query(
        "SELECT 1 FROM clock WHERE first_reading > ? AND mono_ms + offset_ms < ? LIMIT 1", (rows[0][0], last)
    )
    return store.newest("reading") if back else int(rows[0][0])


# -- a point


def _revisions(store: Store, reports: Sequence[Report]) -> int:
    """How many later versions of *reports* say something else of a parameter: an analyser's result is no correction."""
    found = 0
    for report in (one for one in reports if one.version > 1):
        rows = store.query(
            "SELECT body FROM average WHERE point = ? AND kind = ? AND start_ms = ? ORDER BY version",
            (report.point, int(report.kind), to_ms(report.start)),
        )
        said = [json.loads(body) for (body,) in rows]
        found += sum(any(after.get(key) != value for key, value in before.items()) for before, after in pairwise(said))
    return found


def _point(store: Store, loaded: Loaded, point: PointSettings, span: Span, readings: _Readings) -> dict[str, Any]:
    from station import report_beside as beside

    hours = store.averages(Kind.HOUR, span.start, span.end, point.code)
    days = store.averages(Kind.DAY, span.start, span.end, point.code)
    before = store.averages(Kind.HOUR, span.start - counter.NEAR, span.start, point.code)
    reckoner = _Reckoner(point, span, loaded, hours, days, before, counter.in_store(store))
    order = list(catalogue())
    keys = {one.parameter for report in (*hours, *days) for one in report.averages}
    keys |= {parameter for code, parameter in readings.marks if code == point.code}
    rows = [reckoner.row(key) for key in sorted(keys & set(order), key=order.index)]
    for row in rows:
        key = (point.code, row["parameter"])
        row["readings_by_mark"] = dict(readings.marks.get(key, {}))
        row["reasons"] = dict(readings.reasons.get(key, {}))
        row["mark_reasons"] = dict(readings.mark_reasons.get(key, {}))
    use = use_name(point)
    return {
        "point": point.code,
        "name": point.name,
        "st": point.st,
        "use": use,
        "hour_needs": average.USES[use].needed(Kind.HOUR, MINUTES),
        "day_needs": average.USES[use].needed(Kind.DAY, HOURS),
        "month_needs": days_needed(use, span.start, (span.end - span.start).days) if span.word == "month" else None,
        "reference_oxygen": point.reference_oxygen,
        "later_versions": _revisions(store, (*hours, *days)),
        "parameters": rows,
        "wind": reckoner.wind(),
        "index": beside.index(store, loaded, point, span, (*hours, *days)),
    }


Dated = Sequence[tuple[datetime, Average, int]]  # start, average, version


class _Reckoner:
    """One point's figures, from the hours and days that are stored."""

    def __init__(
        self, point: PointSettings, span: Span, loaded: Loaded,
        hours: Sequence[Report], days: Sequence[Report], before: Sequence[Report], exchanges: counter.Exchanges,
    ) -> None:  # fmt: skip
        self._point, self._span, self._zone = point, span, loaded.zone
        self._weighted = loaded.config.station.wind_mean == "weighted"
        self._use: Use = average.USES[use_name(point)]
        self._hours, self._days = _by_parameter(hours), _by_parameter(days)
        self._before = _by_parameter(before)
        self._exchanges, self._rollovers = exchanges, counter.rollovers(loaded.config)
        self._parts = days if span.word == "month" else hours

    def row(self, parameter: str) -> dict[str, Any]:
        """What is told of *parameter*."""
        known, month = catalogue()[parameter], self._span.word == "month"
        hours, days = self._hours.get(parameter, ()), self._days.get(parameter, ())
        parts = days if month else hours
        valid = [one for one in parts if self.holds(one[1])]
        stored = None if month or not days else days[0][1]
        made_of, value = self._value(parameter, stored, valid)
        needed, due = self._needed(days), self._due(days)
        counts = {"kind": self._span.parts.name.lower(), "valid": len(valid), "there": len(parts), "due": due}
        holds = len(valid) >= needed if stored is None else self._use.valid(stored, Kind.DAY, self._hours_due(days))
        marks = [one.mark for _, one, _ in parts]
        mark = stored.mark if stored else average.rolled_mark(marks, due, strict=self._use.strict)
        highest = max(valid, key=lambda one: one[1].mean or 0.0, default=None)
        return {
            "parameter": parameter,
            "unit": known.unit,
            "averaging": str(known.averaging),
            "value": value,
            "made_of": made_of,
            **dict(zip(("minimum", "maximum"), _extremes(hours), strict=True)),
            "highest": None if highest is None else {"start": self._at(highest[0]), "value": highest[1].mean},
            "rise": self._rise(parameter),
            "parts": counts | {"needed": needed},
            "is_valid": holds if self._span.over else None,
            "why": self._why(value, bool(hours or days), holds),
            "mark": mark.name,
            "captured": self._captured(hours, days),
            "hours_by_mark": dict(Counter(one.mark.name for _, one, _ in hours)),
            "hours_missing": 0 if parameter in HALVES else max(0, self._all_hours(days) - len(hours)),
            "indicative": any(one.indicative for _, one, _ in (*hours, *days)),
            "load_kg": _sum(one.load_kg for _, one, _ in (days if days else hours)),
            "converted": stored.converted if stored else _mean(one.converted for _, one, _ in valid),
            "series": [self._dot(*one) for one in parts],
        }

    def holds(self, one: Average) -> bool:
        """Whether a part is valid; no more shorter periods were due in it than readings."""
        most = HOURS if self._span.parts is Kind.DAY else MINUTES
        return self._use.valid(one, self._span.parts, min(most, one.expected))

    def _dot(self, start: datetime, one: Average, version: int) -> dict[str, Any]:
        return {
            "start": self._at(start),
            "value": one.mean,
            "minimum": one.minimum,
            "maximum": one.maximum,
            "mark": one.mark.name,
            "is_valid": self.holds(one),
            "load_kg": one.load_kg,
            "converted": one.converted,
            "version": version,
        }

    def _at(self, moment: datetime) -> str:
        return _iso(moment, self._zone)

    # -- the value

    def _value(self, parameter: str, stored: Average | None, valid: Dated) -> tuple[str, float | None]:
        """What the period's own value is made of, and the value: as it was closed, or reckoned from its parts."""
        rule, kind = catalogue()[parameter].averaging, self._span.parts.name.lower()
        reckon: Callable[[], float | None]
        if parameter in HALVES:
            word, reckon = "halves", lambda: self._halves().get(parameter)
        elif rule is Averaging.VECTOR:
            word, reckon = "vector", lambda: (self.wind() or {}).get("direction")
        elif rule is Averaging.ENERGY:
            word, reckon = "energy", lambda: self._leq(parameter)
        elif rule is Averaging.SUM:
            parts = self._days if self._span.word == "month" else self._hours
            word, reckon = f"sum_{kind}", lambda: _sum(one.mean for _, one, _ in parts.get(parameter, ()))
        elif rule in _OF_VALUES:
            word, reckon = str(rule), lambda: _of_values(rule, valid)
        elif (weights := self._weights(parameter)) is not None:
            word, reckon = f"flow_{kind}", lambda: _weighted(valid, weights)
        else:
            word, reckon = f"mean_{kind}", lambda: _mean(one.mean for _, one, _ in valid)
        return word, reckon() if stored is None else stored.mean

    def _weights(self, parameter: str) -> Mapping[datetime, float] | None:
        """The volume of each part, for what a discharge weighs by its flow; None where nothing is weighted."""
        if self._point.st not in DISCHARGES or not self._parts:
            return None
        from station import discharge

        weigh = discharge.weigher(self._point, self._parts, period_length(self._span.parts), {})
        weights = {report.start: weigh(parameter, number) for number, report in enumerate(self._parts)}
        return None if all(weight == 1.0 for weight in weights.values()) else weights

    def _leq(self, parameter: str) -> float | None:
        levels = [one.mean for _, one in self._valid_hours(parameter) if one.mean is not None]
        return average.leq(levels) if levels else None

    def _halves(self) -> Mapping[str, float]:
        """Ld, Ln and Ldn over all valid hours of the period."""
        hours = {start: one.mean for start, one in self._valid_hours("noise_leq") if one.mean is not None}
        return noise.by_halves(hours, self._zone)

    def _valid_hours(self, parameter: str) -> list[tuple[datetime, Average]]:
        return [
            (start, one)
            for start, one, _ in self._hours.get(parameter, ())
            if self._use.valid(one, Kind.HOUR, min(MINUTES, one.expected))
        ]

    def wind(self) -> dict[str, Any] | None:
        """The mean wind of the hours with a valid speed and direction, and how often it came from where."""
        speeds = dict(self._valid_hours("wind_speed"))
        pairs = [
            (speed, one.mean)
            for start, one in self._valid_hours("wind_direction")
            if start in speeds and (speed := speeds[start].mean) is not None and one.mean is not None
        ]
        if not pairs:
            return None
        found = mean_wind([speed for speed, _ in pairs], [at for _, at in pairs], weighted=self._weighted)
        calm = sum(speed < CALM for speed, _ in pairs)
        rose = Counter(round(at / 22.5) % 16 for speed, at in pairs if speed >= CALM)
        return {
            "direction": found.direction,
            "vector_speed": found.vector_speed,
            "scalar_speed": found.scalar_speed,
            "hours": len(pairs),
            "calm_hours": calm,
            "rose": [rose[sector] for sector in range(16)],
        }

    def _rise(self, parameter: str) -> float | None:
        """What a counter advanced from its last hour before the period to the last one in it.

        Over exchanges and roll-overs; what it counted while it was silent is of the period it is read in again.
        """
        known = catalogue()[parameter]
        if known.averaging is not Averaging.LAST or not counter.is_counter(parameter):
            return None
        before, hours = self._before.get(parameter, ()), self._hours.get(parameter, ())
        earlier, stands = (
            [(start + HOUR, one.mean) for start, one, _ in some if one.mean is not None] for some in (before, hours)
        )
        single = len(earlier) > 1 and earlier[-1][1] == 0.0  # it may be a bad reading: the one before tells
        stands = [*earlier[-2 if single else -1 :], *stands]
        key = (self._point.code, parameter)
        return counter.rise(stands, self._exchanges.of(*key), self._rollovers.get(key))

    # -- how far it can be trusted

    def _needed(self, days: Dated) -> int:
        if self._span.word == "month":
            return days_needed(use_name(self._point), self._span.start, (self._span.end - self._span.start).days)
        return self._use.needed(Kind.DAY, self._hours_due(days))

    def _due(self, days: Dated) -> int:
        if self._span.word == "month":
            return self._span.due(Kind.DAY)
        return min(self._span.due(Kind.HOUR), self._hours_due(days))

    def _hours_due(self, days: Dated) -> int:
        """How many hours of a day have a value: fewer than 24 of an instrument slower than an hour."""
        return min(HOURS, max((one.expected for _, one, _ in days), default=HOURS)) or HOURS

    def _all_hours(self, days: Dated) -> int:
        return self._hours_due(days) * self._span.due(Kind.HOUR) // HOURS

    def _captured(self, hours: Dated, days: Dated) -> float | None:
        """Valid readings of those due, hours without any included."""
        due = self._all_hours(days)
        if not hours or not due:
            return None
        expected = math.fsum(one.expected for _, one, _ in hours) / len(hours) * max(due, len(hours))
        return min(1.0, sum(one.valid for _, one, _ in hours) / expected) if expected else None

    def _why(self, value: float | None, there: bool, holds: bool) -> str:
        """Why there is no value or none that holds; empty where all is well."""
        if not there:
            return "nothing_closed"
        if value is None:
            return "no_valid_part"
        if not self._span.over:
            return "not_over"
        return "" if holds else "too_few"


_OF_VALUES: Mapping[Averaging, Callable[[list[float]], float]] = {
    Averaging.LAST: lambda values: values[-1],
    Averaging.MAX: max,
    Averaging.MIN: min,
}


def _of_values(rule: Averaging, valid: Dated) -> float | None:
    values = [one.mean for _, one, _ in valid if one.mean is not None]
    return _OF_VALUES[rule](values) if values else None


def _weighted(valid: Dated, weights: Mapping[datetime, float]) -> float | None:
    """Σ(C·Q)/ΣQ; None where nothing flowed."""
    pairs = [(one.mean, weights[start]) for start, one, _ in valid if one.mean is not None]
    whole = math.fsum(weight for _, weight in pairs)
    return math.fsum(value * weight for value, weight in pairs) / whole if whole > 0 else None


def _by_parameter(reports: Iterable[Report]) -> dict[str, Dated]:
    found: dict[str, list[tuple[datetime, Average, int]]] = {}
    for report in reports:
        for one in report.averages:
            found.setdefault(one.parameter, []).append((report.start, one, report.version))
    return dict(found)


def _extremes(hours: Dated) -> tuple[float | None, float | None]:
    """The smallest and largest normal reading."""
    lows = [one.minimum for _, one, _ in hours if one.minimum is not None]
    highs = [one.maximum for _, one, _ in hours if one.maximum is not None]
    return min(lows, default=None), max(highs, default=None)


def _sum(values: Iterable[float | None]) -> float | None:
    some = [value for value in values if value is not None]
    return math.fsum(some) if some else None


def _mean(values: Iterable[float | None]) -> float | None:
    some = [value for value in values if value is not None]
    return math.fsum(some) / len(some) if some else None
