"""Automatic checks against a standard: what is due when, what a check comes to, and what follows from one that failed.

A check is a sequence of records of one kind (begin, then done or stopped, then back), so that a power cut at any step
leaves a check that is known to have been interrupted, and an instrument that is known not to be back at its sample.
What a failed check casts doubt on, everything since the last one that passed, is proposed and never marked by itself:
a person confirms or dismisses it (HJ 356-2019 as recalled, medium, calls that span invalid).

While the newest verdict of a check is that it failed, the *trend* of its series is locked, which we read so: nothing
is reckoned from it.  The limits of its control chart stay where they were, and no drift is corrected, until a check
passes.  Values, means and reports go on as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from typing import Any

from station import marks
from station.calibration_figures import drift_percent
from station.calibration_limits import LIMITS, Judgement
from station.model import Record, WrongArgument, dataclass, did_you_mean, field, replace, setting

KIND = "qc"
TYPES = ("standard", "zero", "span")
START, READ, STOP = "start_check", "read_check", "end_check"  # what the instrument is told
RULE_READINGS = 6  # ours, as of a calibration: so many steady ones are its value
MONDAY = datetime(1970, 1, 5)  # noqa: DTZ001 - of the station's own time: from here every n hours are counted
DAY = timedelta(days=1)
PROMPTLY = timedelta(minutes=1)  # nobody comes to it in the very moment it is due
MOST_SLOTS = 10_000  # that are counted one by one; more were missed by a clock that was years wrong
WATER_HOURS = 24  # HJ 355-2019 ch. 8, recalled (medium): a standard check at least so often
OUTCOMES = (  # how a check ends that has no verdict
    "interrupted", "no_reply", "refused", "busy", "not_ready", "unstable", "cancelled",
)  # fmt: skip
MISSED = ("off", "clock", "waited", "expired")  # why one that was due was not begun


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """One [[qc]] table: a standard that an instrument is given by itself, when, and how near it has to come."""

    name: str = setting(text="what the check is called in events, on screens and by rules")
    device: str = setting(text="the instrument; its profile or commands say how the check is started and ended")
    parameter: str = setting(text="parameter that is checked")
    check: str = setting("standard", choices=TYPES, text="a standard sample, zero or span: which action is meant")
    standard: float | None = setting(None, text="value of the standard in the parameter's unit; 0 of a zero")
    certificate: str = setting("", text="number of the standard's certificate")
    expires: str = setting("", text="last day of the standard, such as 2027-06-30; later checks are not begun")
    at: tuple[str, ...] = setting((), text="times of day, such as 03:00; with every_hours one, from which is counted")
    every_hours: int | None = setting(None, low=1, high=744, text="every so many hours, from Monday at 00:00 or at")
    settle_seconds: float = setting(60.0, low=0, high=7200, text="after the start, readings count from here on")
    readings: int | None = setting(
        None, low=1, high=100, text="so many steady readings are its value: 6, of a cyclic analyser 1 (without rule)"
    )
    noise_percent: float = setting(1.0, low=0.01, high=100, text="steady: noise within this share of the scale")
    drift_percent: float = setting(1.0, low=0.01, high=100, text="steady: drift within this share of the scale")
    longest_minutes: float = setting(30.0, low=1, high=720, text="a check that has no value by then is given up")
    tail_seconds: float = setting(120.0, low=0, high=86400, text="values stay marked C so long after it")
    wait_minutes: float = setting(120.0, low=0, high=1440, text="a due check waits so long for what speaks against it")
    full_scale: float | None = setting(None, low=1e-9, text="R of zero and span drift; else the end of its range")
    limit: float | None = setting(None, low=0, text="accepted error, in the parameter's unit")
    limit_percent: float | None = setting(None, low=0, text="accepted error, % of the standard")
    limit_drift_percent: float | None = setting(None, low=0, text="accepted zero or span drift, % of full scale")

    @property
    def value(self) -> float:
        """The standard's value."""
        return 0.0 if self.standard is None else self.standard

    @property
    def longest(self) -> timedelta:
        """How long it may be late."""
        return timedelta(minutes=self.wait_minutes)

    def expired(self, day: date) -> bool:
        """Whether its standard is past its last day on *day*."""
        return bool(self.expires) and day > date.fromisoformat(self.expires)


# -- when it is due: moments of the station's own time, whatever was on or off


def slots(one: CheckSettings, after: datetime, zone: tzinfo) -> Iterator[datetime]:
    """The moments a check is due at, those after *after*, without end.

    >>> from itertools import islice
    >>> settings = CheckSettings(name="c", device="d", parameter="cod", at=("03:00", "15:00"))
    >>> [f"{slot:%d %H:%M}" for slot in islice(slots(settings, datetime(2026, 3, 1, 4, tzinfo=UTC), UTC), 3)]
    ['01 15:00', '02 03:00', '02 15:00']
    """
    local = after.astimezone(zone).replace(tzinfo=None)
    if one.every_hours is not None:
        step = timedelta(hours=one.every_hours)
        first = MONDAY + _of_day(one.at[0] if one.at else "00:00")
        due = first + ((local - first) // step + 1) * step
        while True:
            yield due.replace(tzinfo=zone).astimezone(UTC)
            due += step
    times = sorted(_of_day(text) for text in one.at)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0)
    while times:
        yield from ((day + at).replace(tzinfo=zone).astimezone(UTC) for at in times if day + at > local)
        day += DAY


def next_slot(one: CheckSettings, after: datetime, zone: tzinfo) -> datetime:
    """The first moment after *after* it is due at."""
    return next(slots(one, after, zone))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done about a check at a moment."""

    due: datetime | None = None  # it is begun for this moment
    missed: tuple[datetime, datetime, int] | None = None  # the first, the last and how many had nothing begun
    ahead: datetime | None = None  # the clock stands before what was seen to: the next one is due then
    restarts: bool = False  # that would be too long: it is due from now on instead


def plan(one: CheckSettings, seen_to: datetime, now: datetime, zone: tzinfo, *, settled: bool = True) -> Plan:
    """What is due *now*, where all up to *seen_to* is seen to; *settled* says whether the clock can be believed."""
    if now < seen_to:
        following = next_slot(one, seen_to, zone)
        return Plan(ahead=following, restarts=settled and following - now > 2 * interval(one))
    found = list(islice(takewhile(lambda slot: slot <= now, slots(one, seen_to, zone)), MOST_SLOTS))
    if not found:
        return Plan()
    late = now - found[-1] > max(one.longest, PROMPTLY)
    missed = found if late else found[:-1]
    return Plan(
        due=None if late else found[-1], missed=(missed[0], missed[-1], len(missed)) if missed else None
    )  # fmt: skip


def interval(one: CheckSettings) -> timedelta:
    """How long at most from one check to the next."""
    return max(gaps(one))


def gaps(one: CheckSettings) -> list[timedelta]:
    """How long it is from each to the next."""
    if one.every_hours is not None:
        return [timedelta(hours=one.every_hours)]
    times = sorted(_of_day(text) for text in one.at)
    return [b - a for a, b in zip(times, [*times[1:], times[0] + DAY], strict=True)]


def _of_day(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


# -- what it comes to


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An acceptance limit of a check: of *what* figure, how far, and by what."""

    what: str  # error, error_percent, zero_drift or span_drift
    limit: float
    confidence: str
    source: str


# Not a failure: from here on the instrument is to be calibrated (digest B5: HJ 75-2017, recalled, medium).
ADJUST: Sequence[tuple[tuple[str, ...], float]] = (
    (("so2", "nox", "no", "no2", "co", "o3"), 2.5),
    (("smoke_dust",), 2.0),
)


def accepted(one: CheckSettings, system: str) -> list[Accepted]:
    """The limits a check is held to: those of station.toml, else what rules are known for its point's *system*.

    >>> [(a.what, a.limit, a.confidence) for a in accepted(CheckSettings(name="c", device="d", parameter="cod"), "32")]
    [('error_percent', 10, 'medium')]
    """
    drift = "zero_drift" if one.check == "zero" else "span_drift"
    own = {"error": one.limit, "error_percent": one.limit_percent, drift: one.limit_drift_percent}
    if any(limit is not None for limit in own.values()):
        return [
            Accepted(what=what, limit=limit, confidence="own", source="station.toml")
            for what, limit in own.items()
            if limit is not None
        ]
    wanted = ("zero_drift",) if one.check == "zero" else ("error", "error_percent", "span_drift")
    return [
        Accepted(what=rule.what, limit=rule.limit, confidence=rule.confidence, source=rule.source)
        for rule in LIMITS
        if rule.concerns(system, one.parameter)
        and (rule.what in wanted or (rule.what == "error" and one.check == "zero"))
        and not (rule.what == "span_drift" and one.check == "standard")
    ]


def scale_of(one: CheckSettings, device: Any) -> float | None:
    """R, the full scale: the check's own, else the upper end of the range configured for *device*."""
    low_high = device.range.get(one.parameter)
    return one.full_scale or (low_high[1] if low_high and low_high[1] > 0 else None)


def half_of(check: str) -> str:
    """Which half of an action a type of check means: a standard neither."""
    return "" if check == "standard" else check


def figures(one: CheckSettings, value: float, reference: float, full_scale: float | None) -> dict[str, float | None]:
    """Error, relative error and drift of *value* in the standard; *reference* is what its last calibration left there.

    >>> one = CheckSettings(name="c", device="d", parameter="so2", check="span", standard=200.0)
    >>> figures(one, 204.0, 201.0, 500.0)
    {'error': 4.0, 'error_percent': 2.0, 'zero_drift': None, 'span_drift': 0.6}
    """
    error = value - one.value
    drift = None if full_scale is None else drift_percent(value, reference, full_scale)
    found = {
        "error": error,
        "error_percent": error / one.value * 100 if one.value else None,
        "zero_drift": drift if one.check == "zero" else None,
        "span_drift": drift if one.check == "span" else None,
    }
    return {key: None if figure is None else round(figure, 9) for key, figure in found.items()}


def judged(limits: Iterable[Accepted], found: Mapping[str, float | None]) -> list[Judgement]:
    """Each of *limits* that says something of the figures *found*."""
    return [
        Judgement(
            what=one.what, value=value, limit=one.limit, passed=abs(value) <= one.limit, confidence=one.confidence,
            source=one.source,
        )
        for one in limits
        if (value := found.get(one.what)) is not None
    ]  # fmt: skip


def wants_adjusting(one: CheckSettings, system: str, found: Mapping[str, float | None]) -> bool:
    """Whether a gas or dust analyser of a stack has drifted so far that it is to be adjusted."""
    drift = found["zero_drift"] if one.check == "zero" else found["span_drift"]
    known = next((limit for parameters, limit in ADJUST if one.parameter in parameters), None)
    return system == "31" and drift is not None and known is not None and abs(drift) > known


# -- the book of checks, as their records leave it


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: open until it has a verdict (passed, failed) or is stopped; *back* once the sample is measured."""

    name: str
    check: str
    device: str
    parameter: str
    point: str
    type: str
    standard: float
    begun: datetime
    by: str
    mark: str
    slot: datetime | None = None
    state: str = "open"
    outcome: str = ""
    ended: datetime | None = None
    back: datetime | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    word: Mapping[str, Any] = field(default_factory=dict)  # confirm or dismiss, who, why

    @property
    def number(self) -> int:
        """Its number: names are never used twice."""
        return int(self.name[1:])


@dataclass(slots=True)
class Book:
    """All checks by name, and up to which moment each [[qc]] was seen to."""

    checks: dict[str, Check] = field(default_factory=dict)
    seen_to: dict[str, datetime] = field(default_factory=dict)
    missed: list[Record] = field(default_factory=list)

    def every(self) -> list[Check]:
        """All of them at one moment: a client's thread may enter one meanwhile."""
        return list(self.checks.values())

    @property
    def next_number(self) -> int:
        """The number of the next check."""
        return 1 + max((one.number for one in self.every()), default=0)

    def named(self, name: str) -> Check:
        """The check called *name*; raise WrongArgument."""
        if name not in self.checks:
            hint = did_you_mean(name, list(self.checks))
            raise WrongArgument(f'there is no check "{name}" on record{hint}; see station qc list')
        return self.checks[name]

    def of(self, check: str) -> list[Check]:
        """Those of the [[qc]] called *check*, the oldest first."""
        return sorted((one for one in self.every() if one.check == check), key=lambda one: one.number)

    def judged(self, check: str) -> list[Check]:
        """Those with a verdict."""
        return [one for one in self.of(check) if one.state in ("passed", "failed")]

    def last_pass(self, check: str, before: Check | None = None) -> Check | None:
        """The newest one that passed, *before* another one where that is said."""
        found = [one for one in self.judged(check) if one.state == "passed"]
        return next((one for one in reversed(found) if before is None or one.number < before.number), None)

    def locked_by(self, check: str) -> Check | None:
        """The failed check since which the trend is locked: the first one after the last that passed."""
        last = self.last_pass(check)
        failed = [one for one in self.judged(check) if last is None or one.number > last.number]
        return failed[0] if failed else None

    def take(self, record: Record) -> None:
        """Enter *record*; twice is as once."""
        body = record.body
        do = body["do"]
        if do in ("schedule", "missed"):
            self.seen_to[body["check"]] = datetime.fromisoformat(body["to"])
            if do == "missed":
                self.missed.append(record)
            return
        known = self.checks.get(body["name"]) or _begun(record)
        if seen_to := body.get("seen_to") or body.get("slot"):
            self.seen_to[body["check"]] = datetime.fromisoformat(seen_to)
        self.checks[known.name] = _after(known, record)


def _begun(record: Record) -> Check:
    """The check of which every record says enough to stand for it: older ones may be purged, or not asked for."""
    body, slot = record.body, record.body.get("slot")
    return Check(
        name=body["name"], check=body["check"], device=record.device, parameter=body["parameter"], point=record.point,
        type=body["type"], standard=body["standard"], begun=datetime.fromisoformat(body["begun"]), by=body["by"],
        mark=body["mark"], slot=datetime.fromisoformat(slot) if slot else None,
    )  # fmt: skip


def _after(one: Check, record: Record) -> Check:
    body, at = record.body, record.at
    match body["do"]:
        case "done" if one.state == "open":
            return replace(one, state=body["verdict"], ended=at, result=body)
        case "stopped" if one.state == "open":
            return replace(one, state="stopped", outcome=body["outcome"], ended=at, result=body)
        case "back" if one.back is None:
            return replace(one, back=at)
        case "confirm" | "dismiss" if not one.word:
            return replace(one, word={**body["said"], "do": body["do"], "at": at.isoformat(timespec="seconds")})
    return one


def read_book(records: Iterable[Record]) -> Book:
    """The book that *records* of KIND make, in the order they were kept."""
    book = Book()
    for record in sorted(records, key=lambda r: r.id):
        book.take(record)
    return book


def record_of(one: Check, do: str, at: datetime, **more: Any) -> Record:
    """A record about the check *one*."""
    body = {
        "do": do, "name": one.name, "check": one.check, "parameter": one.parameter, "type": one.type,
        "standard": one.standard, "begun": one.begun.isoformat(), "by": one.by, "mark": one.mark,
        "slot": one.slot.isoformat() if one.slot and do == "begin" else None, **more,
    }  # fmt: skip
    return Record(KIND, at, body, one.point, one.device)


# -- what a failed check casts doubt on, and a person's word about it


def doubted(book: Book, one: Check) -> tuple[datetime | None, datetime]:
    """From the last check that passed (None where there is none) to the failed check *one*."""
    last = book.last_pass(one.check, before=one)
    return (None if last is None else last.ended), one.begun


def proposals(book: Book) -> list[Check]:
    """Failed checks of which nobody has said yet what is to become of the values before them."""
    return [one for one in book.every() if one.state == "failed" and not one.word]


def named_person(user: str, reason: str) -> None:
    """Raise WrongArgument where *user* or *reason* is missing, or cannot be printed."""
    for text, what in ((user, "name (--user)"), (reason, "reason (--reason)")):
        if not text or not text.isprintable():
            raise WrongArgument(f"a word about a check needs a {what}")


def enter_word(
    book: Book, hand: marks.HandMarks, fields: Mapping[str, Any], points: Mapping[str, Any], now: datetime,
    number: Callable[[], int],
) -> list[Record]:  # fmt: skip
    """The records of a person's word about a failed check: its own, and the marks it sets; *number* numbers them.

    Raise WrongArgument, in which case there is nothing to keep.  What was sent before stays as it was sent.
    """
    do, user, reason = (str(fields.get(key) or "").strip() for key in ("do", "user", "reason"))
    if do not in ("confirm", "dismiss"):
        raise WrongArgument(f"{do!r} is no word about a check")
    named_person(user, reason)
    one = book.named(str(fields.get("name") or ""))
    if one.state != "failed":
        raise WrongArgument(f"{one.name} is {one.state}; only a check that failed casts doubt on values")
    if one.word:
        done = "confirmed" if one.word["do"] == "confirm" else "dismissed"
        raise WrongArgument(f"{one.name} was {done} by {one.word['user']} at {one.word['at']}")
    said: dict[str, Any] = {"user": user, "reason": reason}
    if do == "dismiss":
        return [record_of(one, do, now, said=said)]
    made = _marks(book, one, hand, fields, points, now, number, said)
    said |= {"marks": [record.body["name"] for record in made], "mark": made[0].body["mark"]}
    return [record_of(one, do, now, said=said), *made]


def _marks(
    book: Book, one: Check, hand: marks.HandMarks, fields: Mapping[str, Any], points: Mapping[str, Any], now: datetime,
    number: Callable[[], int], said: Mapping[str, Any],
) -> list[Record]:  # fmt: skip
    """The doubted span as marks by hand, in portions where it is long."""
    first, last = doubted(book, one)
    if text := fields.get("from"):
        try:
            first = datetime.fromisoformat(str(text))
        except ValueError as error:
            raise WrongArgument(f'"{text}" is not a time') from error
        if first.tzinfo is None:
            raise WrongArgument(f"{text} needs its offset from UTC")
    if first is None:
        raise WrongArgument(f"no check before {one.name} passed; say from when on the values are in doubt (--from)")
    if not first < last:
        raise WrongArgument(f"{first.isoformat()} is not before {one.name}, which began at {last.isoformat()}")
    found: list[Record] = []
    while first < last:
        until = min(last, first + marks.LONGEST)
        entry = {
            "do": "mark", "point": one.point, "parameter": one.parameter, "mark": str(fields.get("mark") or "D"),
            "from": first.isoformat(), "to": until.isoformat(), "user": said["user"],
            "reason": f"{one.name} failed: {said['reason']}", "quiet": not fields.get("report"),
        }  # fmt: skip
        found.append(marks.enter(hand, entry, points, now, number()))
        first = until
    return found
