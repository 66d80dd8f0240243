"""Calibration on site: runs of a procedure kept step by step, their arithmetic, and what rules say of the result.

A run is a sequence of records of one kind (begin, step, then done or cancel), so it goes on at the same step after a
power cut, and one that is cancelled has changed nothing.  Only `done` may bring coefficients, in one record that holds
all it rests on; a `revert` brings former ones back.  Nothing stored is rewritten: readings keep the coefficients they
were made with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from station.calibrate import IDENTITY, KIND, LOCKED, Coefficients
from station.model import Record, WrongArgument, dataclass, did_you_mean, field, replace

MOST_READINGS = 500  # of one step
TAIL = timedelta(minutes=2)  # ours: how long values stay marked C after a run, until the sample is back
LONGEST_TAIL = timedelta(hours=24)
SMALLEST_SLOPE = 1e-9  # ours: of a response that does not follow its standard


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """How many standards a procedure takes, and what it does to slope and intercept."""

    fewest: int
    most: int
    sets: str  # intercept, slope, line, or nothing
    acts: str = ""  # zero or span: what the instrument is told to calibrate in itself


PROCEDURES: Mapping[str, Procedure] = {
    "zero": Procedure(fewest=1, most=1, sets="intercept"),
    "span": Procedure(fewest=1, most=1, sets="slope"),
    "two-point": Procedure(fewest=2, most=2, sets="line"),
    "multi-point": Procedure(fewest=3, most=10, sets="line"),
    "weights": Procedure(fewest=2, most=10, sets="line"),
    "check": Procedure(fewest=1, most=10, sets=""),
    "instrument-zero": Procedure(fewest=1, most=1, sets="", acts="zero"),
    "instrument-span": Procedure(fewest=1, most=1, sets="", acts="span"),
}


# -- standards


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """A gas bottle, a buffer, a weight: its *value* in the parameter's unit, and what its certificate says."""

    value: float
    certificate: str = ""
    uncertainty: float | None = None  # expanded, in the same unit
    expires: date | None = None

    def expired(self, day: date) -> bool:
        """Whether it is past its last day on *day*."""
        return self.expires is not None and day > self.expires

    def plain(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {
            "value": self.value,
            "certificate": self.certificate,
            "uncertainty": self.uncertainty,
            "expires": self.expires.isoformat() if self.expires else None,
        }


def standard_of(fields: Mapping[str, Any]) -> Standard:
    """The standard that plain *fields* describe; raise WrongArgument."""
    value = _number(fields.get("value"), "a standard's value")
    uncertainty = fields.get("uncertainty")
    if uncertainty is not None and _number(uncertainty, "a standard's uncertainty") < 0:
        raise WrongArgument("a standard's uncertainty is not below 0")
    certificate = str(fields.get("certificate") or "").strip()
    if not certificate.isprintable():
        raise WrongArgument("a certificate's number is not printable")
    expires = fields.get("expires")
    try:
        day = date.fromisoformat(str(expires)) if expires else None
    except ValueError as error:
        raise WrongArgument(f'"{expires}" is not a day such as 2027-06-30') from error
    return Standard(value=value, certificate=certificate, uncertainty=uncertainty, expires=day)


def standard_in(text: str) -> Standard:
    """A standard as typed: value, certificate, uncertainty, expiry, with commas between; the end may be left out.

    >>> standard_in("400, GBW-17, 4, 2027-06-30").expires
    datetime.date(2027, 6, 30)
    >>> standard_in("0").certificate
    ''
    """
    parts = [part.strip() for part in text.replace("，", ",").split(",")]
    if len(parts) > 4:
        raise WrongArgument(f'"{text}" has more than value, certificate, uncertainty, expiry')
    names = ("value", "certificate", "uncertainty", "expires")
    fields: dict[str, Any] = {name: part for name, part in zip(names, parts, strict=False) if part}
    for name in ("value", "uncertainty"):
        if name in fields:
            fields[name] = _number(fields[name], f"{name} of a standard")
    return standard_of(fields)


def _number(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise WrongArgument(f'{what}: "{value}" is not a number') from error
    if isinstance(value, bool) or not math.isfinite(number):
        raise WrongArgument(f'{what}: "{value}" is not a number')
    return number


# -- is it stable


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a signal counts as stable: over the last *readings*, noise and drift within their share of *scale*.

    Noise is the standard deviation about the straight line through them, drift what that line climbs from the first to
    the last.  The defaults are ours; a maker's manual may ask for other ones.
    """

    readings: int = 6
    noise_percent: float = 1.0
    drift_percent: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What the last readings of a series come to; *noise* and *drift* are in the parameter's unit."""

    mean: float
    noise: float
    drift: float
    count: int
    seconds: float
    stable: bool
    noise_limit: float
    drift_limit: float


def signal(series: Sequence[tuple[float, float]], rule: Rule, scale: float) -> Signal:
    """Noise, drift and mean of the last readings of *series* (seconds, value), held against *rule* for a *scale*.

    >>> flat = signal([(0, 10.0), (10, 10.0), (20, 10.0)], Rule(readings=3), 100)
    >>> flat.mean, flat.noise, flat.drift, flat.stable
    (10.0, 0.0, 0.0, True)
    >>> climbs = signal([(0, 10.0), (10, 12.0), (20, 14.0)], Rule(readings=3), 100)
    >>> climbs.noise, climbs.drift, climbs.stable
    (0.0, 4.0, False)
    """
    last = series[-rule.readings :]
    values, seconds = [value for _, value in last], last[-1][0] - last[0][0]
    mean = math.fsum(values) / len(values)
    line = line_through([time for time, _ in last], values) if seconds > 0 else None
    slope = 0.0 if line is None else line[0]
    middle = math.fsum(time for time, _ in last) / len(last)
    off = [value - mean - slope * (time - middle) for time, value in last]
    noise = math.sqrt(math.fsum(one * one for one in off) / max(1, len(off) - 2)) if len(off) > 2 else 0.0
    drift = slope * seconds
    limits = scale * rule.noise_percent / 100, scale * rule.drift_percent / 100
    return Signal(
        mean=mean,
        noise=noise,
        drift=drift,
        count=len(last),
        seconds=seconds,
        stable=len(last) >= rule.readings and seconds > 0 and noise <= limits[0] and abs(drift) <= limits[1],
        noise_limit=limits[0],
        drift_limit=limits[1],
    )


# -- lines


def line_through(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float] | None:
    """Slope and intercept of the least-squares line, None where all *xs* are one.

    >>> line_through([0, 1, 2], [1, 3, 5])
    (2.0, 1.0)
    """
    x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((one - x) ** 2 for one in xs)
    if spread == 0:
        return None
    slope = math.fsum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread
    return slope, y - slope * x


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's r; None where it says nothing: fewer than three pairs, or one side stands still.

    >>> correlation([0, 1, 2, 3], [0, 1, 2, 3])
    1.0
    """
    if len(xs) < 3:
        return None
    x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    across = math.fsum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    spreads = math.fsum((a - x) ** 2 for a in xs) * math.fsum((b - y) ** 2 for b in ys)
    return None if spreads == 0 else across / math.sqrt(spreads)


def coefficients_for(
    procedure: str, standards: Sequence[float], raws: Sequence[float], before: Coefficients
) -> Coefficients:
    """Slope and intercept under which *raws* show their *standards*; raise WrongArgument where no line can.

    A zero moves the intercept alone and a span the slope alone.  With several standards the line is drawn through the
    response (raw on standard, whose error is the smaller one) and turned round, so r and residuals are those of the
    response.

    >>> coefficients_for("two-point", [0.0, 400.0], [2.0, 382.0], (1.0, 0.0))
    (1.0526315789473684, -2.1052631578947367)
    """
    sets, (slope, intercept) = PROCEDURES[procedure].sets, before
    if sets == "intercept":
        return slope, standards[0] - slope * raws[0]
    if sets == "slope":
        if abs(raws[0]) < SMALLEST_SLOPE or abs(standards[0] - intercept) < SMALLEST_SLOPE:
            raise WrongArgument("a span of zero says nothing of the slope; use a standard well above zero")
        slope, intercept = (standards[0] - intercept) / raws[0], intercept
    elif sets == "line":
        response = line_through(standards, raws)
        if response is None or abs(response[0]) < SMALLEST_SLOPE:
            raise WrongArgument("the response has a slope of zero: the instrument does not follow the standards")
        slope, intercept = 1 / response[0], -response[1] / response[0]
    if slope <= 0:
        raise WrongArgument(f"the slope would be {slope:.4g}: standards were mixed up, or the response is reversed")
    return slope, intercept


def drift_percent(value: float, reference: float, full_scale: float) -> float:
    """Zero or span drift by HJ 75-2017 (digest B5, high): (z - z0) / R · 100 %.

    >>> round(drift_percent(3.2, 0.7, 100.0), 6)
    2.5
    """
    return (value - reference) / full_scale * 100


# -- what rules say: digest B5, each with what it is known by

WATER = ("cod", "ammonia_nitrogen", "total_phosphorus", "total_nitrogen")
GASES = ("so2", "nox", "no", "no2", "co", "o3")
PARTICLES = ("pm1", "pm25", "pm10", "tsp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One acceptance limit: of *what*, for which systems and parameters (all when empty)."""

    what: str  # error, error_percent, zero_drift, span_drift, or r
    limit: float
    parameters: tuple[str, ...]
    systems: tuple[str, ...] = ()
    confidence: str = "medium"
    source: str = ""

    def concerns(self, system: str, parameter: str) -> bool:
        """Whether it holds for *parameter* at a point of *system*."""
        return parameter in self.parameters and (not self.systems or system in self.systems)


_HJ355 = "HJ 355-2019 ch. 8, recalled"
_HJ355_1 = "HJ 355-2019 table 1, recalled"
_HJ75 = "HJ 75-2017, recalled"
LIMITS: Sequence[Limit] = (
    Limit(what="error_percent", limit=10, parameters=WATER, systems=("21", "32"), source=_HJ355),
    Limit(what="error", limit=0.5, parameters=("ph",), systems=("21", "32"), source=_HJ355_1),
    Limit(what="error", limit=0.5, parameters=("water_temperature",), systems=("21", "32"), source=_HJ355_1),
    Limit(what="error_percent", limit=10, parameters=("flow_water",), systems=("21", "32"), source=_HJ355_1),
    Limit(what="r", limit=0.995, parameters=WATER, source="HJ 355, recalled"),
    Limit(what="zero_drift", limit=5, parameters=GASES, systems=("31",), source=_HJ75),
    Limit(what="span_drift", limit=10, parameters=GASES, systems=("31",), source=_HJ75),
    Limit(what="zero_drift", limit=8, parameters=("smoke_dust",), systems=("31",), source=_HJ75),
    Limit(what="span_drift", limit=8, parameters=("smoke_dust",), systems=("31",), source=_HJ75),
    Limit(what="r", limit=0.999, parameters=GASES, source="HJ 818, recalled"),
    Limit(what="r", limit=0.90, parameters=PARTICLES, source="DB11, against a reference, recalled"),
    Limit(
        what="error", limit=0.5, parameters=("noise", "noise_leq"), confidence="high",
        source="GB 3096, acoustic calibrator",
    ),
)  # fmt: skip
AS_FOUND = ("zero_drift", "span_drift")  # how it was found says whether it was out of control, not whether it is now


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One figure held against one limit."""

    what: str
    value: float
    limit: float
    passed: bool
    confidence: str
    source: str


def judge(system: str, parameter: str, figures: Mapping[str, float | None]) -> list[Judgement]:
    """What the rules for *parameter* at a point of *system* say of *figures*; nothing where no rule is known.

    >>> [(one.what, one.passed) for one in judge("31", "so2", {"zero_drift": -5.1, "span_drift": 9.0, "r": None})]
    [('zero_drift', False), ('span_drift', True)]
    """
    found = []
    for rule in LIMITS:
        value = figures.get(rule.what)
        if value is None or not rule.concerns(system, parameter):
            continue
        passed = value >= rule.limit if rule.what == "r" else abs(value) <= rule.limit
        found.append(
            Judgement(
                what=rule.what, value=value, limit=rule.limit, passed=passed, confidence=rule.confidence,
                source=rule.source,
            )
        )  # fmt: skip
    return found


# -- runs, as their records leave them


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One standard and what the instrument said to it, before the station's coefficients."""

    raw: float
    noise: float
    drift: float
    stable: bool
    at: datetime
    readings: Sequence[Sequence[Any]]
    override: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One procedure at one parameter of an instrument: open until it is done or cancelled."""

    name: str
    device: str
    parameter: str
    point: str
    procedure: str
    standards: Sequence[Standard]
    rule: Rule
    full_scale: float | None
    before: Coefficients
    user: str
    begun: datetime
    mark: str = ""
    note: str = ""
    override: str = ""
    trust: str = ""
    steps: Sequence[Step] = ()
    acted: datetime | None = None  # when the instrument was told to calibrate itself
    state: str = "open"
    result: Mapping[str, Any] = field(default_factory=dict)
    ended: datetime | None = None
    reverted: datetime | None = None

    @property
    def acts(self) -> str:
        """What the instrument is told to calibrate in itself: zero, span or nothing."""
        return PROCEDURES[self.procedure].acts

    @property
    def wanted(self) -> Sequence[Standard]:
        """Every standard to be taken, in order; twice where the instrument calibrates itself: as found and as left."""
        return (*self.standards, *self.standards) if self.acts else self.standards

    @property
    def must_act(self) -> bool:
        """Whether it is the instrument's turn."""
        return bool(self.acts) and self.acted is None and len(self.steps) == len(self.standards)

    @property
    def next(self) -> Standard | None:
        """The standard whose turn it is."""
        return self.wanted[len(self.steps)] if len(self.steps) < len(self.wanted) else None

    @property
    def scale(self) -> float:
        """What noise and drift are shares of: full scale where it is known, else the largest standard."""
        return self.full_scale or max((abs(one.value) for one in self.standards), default=0.0) or 1.0


@dataclass(slots=True)
class Book:
    """All runs, and the coefficients that calibrations left, by device and parameter."""

    runs: dict[str, Run] = field(default_factory=dict)
    in_force: dict[tuple[str, str], tuple[Coefficients, Record]] = field(default_factory=dict)

    def open_at(self, device: str) -> Run | None:
        """The run that is under way at *device*."""
        return next((run for run in self.runs.values() if run.device == device and run.state == "open"), None)

    def named(self, name: str) -> Run:
        """The run called *name*; raise WrongArgument."""
        if name not in self.runs:
            hint = did_you_mean(name, self.runs)
            raise WrongArgument(f'there is no calibration "{name}"{hint}; see station calibrations list')
        return self.runs[name]


def read_book(records: Iterable[Record]) -> Book:
    """The book that *records* of KIND make, in the order they were kept; a repetition changes nothing."""
    book = Book()
    for record in sorted(records, key=lambda r: r.id):
        _enter(book, record)
    return book


def _enter(book: Book, record: Record) -> None:
    body, name = record.body, str(record.body["name"])
    run = book.runs.get(name)
    match body["do"]:
        case "begin" if run is None:
            book.runs[name] = _begun(record)
        case "step" if run is not None and run.state == "open" and body["index"] == len(run.steps):
            book.runs[name] = replace(run, steps=(*run.steps, _step(record)))
        case "act" if run is not None and run.state == "open":
            book.runs[name] = replace(run, acted=record.at)
        case "done" if run is not None and run.state == "open":
            book.runs[name] = replace(run, state="done", result=body, ended=record.at)
        case "cancel" if run is not None and run.state == "open":
            book.runs[name] = replace(run, state="cancelled", result=body, ended=record.at)
        case "revert" if run is not None:
            book.runs[name] = replace(run, state="reverted", reverted=record.at)
    if body.get("changes"):
        slope, intercept = body["coefficients"]
        book.in_force[record.device, body["parameter"]] = (slope, intercept), record


def _begun(record: Record) -> Run:
    body = record.body
    slope, intercept = body["before"]
    return Run(
        name=body["name"],
        device=record.device,
        parameter=body["parameter"],
        point=record.point,
        procedure=body["procedure"],
        standards=tuple(standard_of(one) for one in body["standards"]),
        rule=Rule(**body["rule"]),
        full_scale=body["full_scale"],
        before=(slope, intercept),
        user=body["user"],
        begun=record.at,
        mark=body["mark"],
        note=body.get("note", ""),
        override=body.get("override", ""),
        trust=body.get("trust", ""),
    )


def _step(record: Record) -> Step:
    body = record.body
    return Step(
        raw=body["raw"],
        noise=body["noise"],
        drift=body["drift"],
        stable=body["stable"],
        at=record.at,
        readings=body["readings"],
        override=body.get("override", ""),
    )


# -- entering something: what is wrong is said in one sentence, and nothing is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is calibrated: a parameter of an instrument, as configured."""

    device: str
    parameter: str
    point: str
    system: str
    configured: Coefficients = IDENTITY
    full_scale: float | None = None  # the upper end of its configured range
    acts: bool = False  # whether the instrument can be told to calibrate it

    @property
    def locked(self) -> bool:
        """Whether station coefficients stay 1 and 0 here."""
        return self.system in LOCKED


def begin(
    book: Book, place: Place, procedure: str, standards: Sequence[Standard], *, user: str, now: datetime, today: date,
    mark: str, full_scale: float | None = None, rule: Rule | None = None, note: str = "", override: str = "",
    trust: str = "",
) -> Record:  # fmt: skip
    """Begin *procedure*; from here on its standards and their order are fixed."""
    who = _who(user)
    if procedure not in PROCEDURES:
        raise WrongArgument(
            f'there is no procedure "{procedure}"{did_you_mean(procedure, PROCEDURES)}; known: {", ".join(PROCEDURES)}'
        )
    if (other := book.open_at(place.device)) is not None:
        raise WrongArgument(
            f"{place.device} is being calibrated by {other.user} since {other.begun.isoformat(timespec='minutes')}"
            f" ({other.name}, {other.parameter}); finish or cancel it first"
        )
    if PROCEDURES[procedure].sets and place.locked:
        raise WrongArgument(
            f"{place.point} reports as ST={place.system}: instrument, station and platform show one number, so the"
            " station's coefficients stay 1 and 0; calibrate in the instrument, and check it here"
        )
    if PROCEDURES[procedure].acts and not place.acts:
        raise WrongArgument(f"the profile of {place.device} has no action that calibrates {place.parameter}")
    _fitting(procedure, standards, today, override)
    if full_scale is not None and not full_scale > 0:
        raise WrongArgument(f"a full scale of {full_scale:g} is not above 0")
    rule = rule or Rule()
    if not 3 <= rule.readings <= MOST_READINGS or rule.noise_percent <= 0 or rule.drift_percent <= 0:
        raise WrongArgument(f"a rule of stability takes 3 to {MOST_READINGS} readings, and limits above 0")
    before = book.in_force[place.device, place.parameter][0] if _has(book, place) else place.configured
    body = {
        "do": "begin",
        "name": f"K{len(book.runs) + 1}",
        "parameter": place.parameter,
        "procedure": procedure,
        "standards": [one.plain() for one in standards],
        "rule": {
            "readings": rule.readings,
            "noise_percent": rule.noise_percent,
            "drift_percent": rule.drift_percent,
        },
        "full_scale": full_scale,
        "before": list(before),
        "mark": mark,
        "user": who,
        "trust": trust,
        **_said(note=note, override=override),
    }
    return Record(KIND, now, body, place.point, place.device)


def _has(book: Book, place: Place) -> bool:
    return (place.device, place.parameter) in book.in_force


def _fitting(procedure: str, standards: Sequence[Standard], today: date, override: str) -> None:
    """Raise WrongArgument where *standards* are too few, out of order, or past their day without a reason."""
    wants = PROCEDURES[procedure]
    if not wants.fewest <= len(standards) <= wants.most:
        many = f"{wants.fewest}" if wants.fewest == wants.most else f"{wants.fewest} to {wants.most}"
        raise WrongArgument(f"{procedure} takes {many} standard(s); {len(standards)} given")
    values = [one.value for one in standards]
    if wants.sets == "line" and any(a >= b for a, b in pairwise(values)):
        raise WrongArgument(
            "standards go from the lowest to the highest, each once: " + ", ".join(f"{one:g}" for one in values)
        )
    for one in standards:
        if one.expired(today) and not override.strip():
            raise WrongArgument(
                f"the standard {one.value:g} ({one.certificate or 'no certificate'}) expired on {one.expires};"
                " use one in date, or give --override with the reason"
            )


def step(
    run: Run, index: int, readings: Sequence[Sequence[Any]], *, user: str, now: datetime, override: str = ""
) -> Record:
    """The instrument's readings (time, raw value) in the standard number *index* of *run*."""
    _same(run, user)
    if run.next is None:
        raise WrongArgument(f"{run.name}: all {len(run.wanted)} standards are taken; finish it")
    if run.must_act:
        raise WrongArgument(f"{run.name}: first {run.device} is told to calibrate its {run.acts}")
    if index != len(run.steps):
        raise WrongArgument(
            f"{run.name}: standard {index + 1} is out of turn; the next one is number {len(run.steps) + 1}"
            f" ({run.next.value:g})"
        )
    if not 1 <= len(readings) <= MOST_READINGS:
        raise WrongArgument(f"{len(readings)} readings; a standard takes 1 to {MOST_READINGS}")
    series = [(_time(one[0]), _number(one[1], "a reading")) for one in readings]
    if any(a >= b for (a, _), (b, _) in pairwise(series)):
        raise WrongArgument("the readings are not in the order of their time")
    found = signal(series, run.rule, run.scale)
    if not found.stable and not override.strip():
        raise WrongArgument(
            f"the signal is not stable: noise {found.noise:.3g} (limit {found.noise_limit:.3g}), drift"
            f" {found.drift:.3g} (limit {found.drift_limit:.3g}) over {found.count} of {run.rule.readings} readings;"
            " wait, or give --override with the reason"
        )
    body = {
        "do": "step",
        "name": run.name,
        "index": index,
        "raw": found.mean,
        "noise": found.noise,
        "drift": found.drift,
        "stable": found.stable,
        "readings": [[str(one[0]), float(one[1])] for one in readings],
        "user": user.strip(),
        **_said(override=override),
    }
    return Record(KIND, now, body, run.point, run.device)


def act(run: Run, *, user: str, now: datetime) -> Record:
    """That the instrument was told to calibrate itself in the standard it has; kept once it has obeyed."""
    _same(run, user)
    if not run.must_act:
        raise WrongArgument(f"{run.name}: it is not the instrument's turn to calibrate itself")
    body = {"do": "act", "name": run.name, "type": run.acts, "user": user.strip()}
    return Record(KIND, now, body, run.point, run.device)


def finish(
    book: Book, run: Run, place: Place, *, user: str, now: datetime, note: str = "", override: str = "", trust: str = ""
) -> Record:
    """The result of *run*: figures, what the rules say of them, and the coefficients it leaves."""
    _same(run, user)
    if run.next is not None:
        raise WrongArgument(
            f"{run.name}: the standard {run.next.value:g} ({len(run.steps) + 1} of {len(run.wanted)}) is not taken"
        )
    found = outcome(book, run, place)
    if found["changes"] and not found["accepted"] and not override.strip():
        worst = next(one for one in found["judgements"] if not one["passed"] and one["what"] not in AS_FOUND)
        raise WrongArgument(
            f"{run.name}: {worst['what']} is {worst['value']:.4g} against {worst['limit']:g} ({worst['source']}); the"
            " former coefficients stay in force; take it again, or give --override with the reason"
        )
    body = {
        "do": "done",
        "name": run.name,
        "parameter": run.parameter,
        "procedure": run.procedure,
        **found,
        "configured": list(place.configured),
        "user": user.strip(),
        "trust": trust,
        **_said(note=note, override=override),
    }
    return Record(KIND, now, body, run.point, run.device)


def outcome(book: Book, run: Run, place: Place) -> dict[str, Any]:
    """What *run* comes to, as plain values: a row for each standard, line, drifts, judgements, coefficients."""
    values, raws = [one.value for one in run.standards], [one.raw for one in run.steps[: len(run.standards)]]
    left = [one.raw for one in run.steps[-len(run.standards) :]]  # the same ones, but where the instrument acted
    sets = PROCEDURES[run.procedure].sets
    after = coefficients_for(run.procedure, values, raws, run.before) if sets else run.before
    rows = [_row(*each, run.before, after) for each in zip(values, raws, left, strict=True)]
    response = line_through(values, raws) if len(values) > 1 else None
    figures = {**_drifts(book, run, rows), "r": correlation(values, raws)}
    held = "left_error" if sets or run.acts else "found_error"
    figures["error"] = max((row[held] for row in rows), key=abs)
    shares = [row[held] / row["standard"] * 100 for row in rows if row["standard"]]
    figures["error_percent"] = max(shares, key=abs) if shares else None
    judgements = judge(place.system, run.parameter, figures)
    now_judged = [one for one in judgements if one.what not in AS_FOUND]
    return {
        "rows": rows,
        "response": None if response is None else {"slope": response[0], "intercept": response[1]},
        **figures,
        "before": list(run.before),
        "coefficients": list(after),
        "changes": bool(sets),
        "judgements": [
            {name: getattr(one, name) for name in ("what", "value", "limit", "passed", "confidence", "source")}
            for one in judgements
        ],
        "accepted": all(one.passed for one in now_judged),
        "verdict": verdict(judgements),
    }


def verdict(judgements: Sequence[Judgement]) -> str:
    """passed, failed, or none where no rule is known."""
    if not judgements:
        return "none"
    return "passed" if all(one.passed for one in judgements) else "failed"


def _row(standard: float, raw: float, raw_left: float, before: Coefficients, after: Coefficients) -> dict[str, float]:
    found, left = before[0] * raw + before[1], after[0] * raw_left + after[1]
    return {
        "standard": standard,
        "raw": raw,
        "as_found": found,
        "found_error": found - standard,
        "as_left": left,
        "left_error": left - standard,
    }


def _drifts(book: Book, run: Run, rows: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Zero and span drift of the values as found, against what the last calibration left at the same standards."""
    scale = run.full_scale
    drifts: dict[str, float | None] = {"zero_drift": None, "span_drift": None}
    if scale is None:
        return drifts
    for row in rows:
        reference = _left(book, run, row["standard"])
        drift = drift_percent(row["as_found"], row["standard"] if reference is None else reference, scale)
        if row["standard"] == 0:
            drifts["zero_drift"] = drift
        elif row is rows[-1]:
            drifts["span_drift"] = drift
    return drifts


def _left(book: Book, run: Run, standard: float) -> float | None:
    """What the last calibration that changed this parameter left at *standard*; None where it did not use it."""
    last = book.in_force.get((run.device, run.parameter))
    rows = last[1].body.get("rows", ()) if last else ()
    return next((row["as_left"] for row in rows if row["standard"] == standard), None)


def cancel(run: Run, *, user: str, reason: str, now: datetime) -> Record:
    """Give *run* up: the coefficients stay what they were."""
    who = _who(user)
    if run.state != "open":
        raise WrongArgument(f"{run.name} is {run.state} already")
    if not reason.strip() or not reason.isprintable():
        raise WrongArgument("cancelling needs a reason")
    return Record(KIND, now, {"do": "cancel", "name": run.name, "user": who, "reason": reason.strip()},
                  run.point, run.device)  # fmt: skip


def revert(book: Book, run: Run, *, user: str, reason: str, now: datetime) -> Record:
    """Put the coefficients back that were in force before *run*, from now on."""
    who = _who(user)
    if run.state != "done" or not run.result.get("changes"):
        raise WrongArgument(f"{run.name} has left no coefficients that could be taken back")
    if not reason.strip() or not reason.isprintable():
        raise WrongArgument("taking a calibration back needs a reason")
    newest, by = book.in_force[run.device, run.parameter]
    if newest != tuple(run.result["coefficients"]):
        raise WrongArgument(f"the coefficients of {run.name} are not in force; those of {by.body['name']} are")
    body = {
        "do": "revert",
        "name": run.name,
        "parameter": run.parameter,
        "changes": True,
        "before": list(run.result["coefficients"]),
        "coefficients": list(run.before),
        "user": who,
        "reason": reason.strip(),
    }
    return Record(KIND, now, body, run.point, run.device)


def _who(user: str) -> str:
    if not user.strip() or not user.isprintable():
        raise WrongArgument("the person's name (--user) is missing or not printable")
    return user.strip()


def _same(run: Run, user: str) -> None:
    who = _who(user)
    if run.state != "open":
        raise WrongArgument(f"{run.name} is {run.state} already")
    if who != run.user:
        raise WrongArgument(
            f"{run.name} was begun by {run.user}; who begins a calibration finishes it, anybody may cancel it"
        )


def _said(**texts: str) -> dict[str, str]:
    for name, text in texts.items():
        if not text.isprintable():
            raise WrongArgument(f"the {name} is not printable")
    return {name: text.strip() for name, text in texts.items() if text.strip()}


def _time(text: Any) -> float:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a time') from error
    if moment.tzinfo is None:
        raise WrongArgument(f"{text} needs its offset from UTC")
    return moment.timestamp()
