"""Dust-fall by the manual method (HJ 1221-2021): exposures, weighings, blanks, and what they come to in a month.

The method's figures were read in two copies of the standard's text (regulations digest B3, high); what this
project chose itself is said where it stands.  Masses are in grams, lengths in centimetres, dust-fall in
t/(km²·30d).  What is entered is kept as records of kind "dustfall" and never changed: a second weighing or a
withdrawal is an entry of its own, with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from station.model import Record, WrongArgument, dataclass, did_you_mean, field, replace

KIND = "dustfall"
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)  # nothing entered is older
DETECTION_LIMIT = 0.3  # t/(km²·30d), HJ 1221-2021 clause 1
DETERMINATION_LIMIT = 1.2  # lower limit of determination, the same
CONSTANT_MG = Decimal("0.4")  # two weighings this near to each other, or farther, are no constant weight
FEWEST_DIAMETERS = 3  # of a cylinder, each read to 0.1 cm
USUAL_DAYS = (28, 32)  # 30 ± 2 d (practice, medium): outside it is said, not refused
DIAMETER_CM = (5.0, 60.0)  # ours: what is outside was typed in another unit
SPREAD_CM = 1.0  # ours: a mouth that differs by more is not round, or a digit is wrong
HEAVIEST_G = 2000.0  # ours: the largest mass believed
MOST_BLANK_G = 0.05  # ours: what glycol leaves is some milligrams
MOST_RESIDUE_G = 2.0  # ours: 113 t/(km²·30d) in a jar of 15 cm
LIGHTER_G = 0.001  # ours: a jar may weigh so much less than its blank by the balance's own doubt


def mouth_area(diameters_cm: Sequence[float]) -> float:
    """Area of a cylinder's mouth in cm², from the mean of its inner diameters in cm.

    >>> round(mouth_area([15.0, 15.0, 15.0]), 4)
    176.7146
    """
    mean = math.fsum(diameters_cm) / len(diameters_cm)
    return math.pi * mean**2 / 4


def dustfall(net_g: float, area_days: float) -> float:
    """Dust-fall M in t/(km²·30d) from *net_g* = m1 - m0 - m2 and *area_days* = S·n in cm²·d (HJ 1221-2021).

    10⁴ turns g/cm² into t/km²; the 10⁶ of some copies is wrong.

    >>> round(dustfall(0.0954, mouth_area([15.0] * 3) * 30.0), 4)
    5.3985
    """
    return net_g / area_days * 30 * 1e4


def to_days(time: timedelta) -> float:
    """*time* in days, to 0.1 d as the method wants the days of an exposure.

    >>> to_days(timedelta(days=30, hours=1, minutes=10)), to_days(timedelta(hours=1))
    (30.0, 0.0)
    """
    return float((Decimal(time.total_seconds()) / 86400).quantize(Decimal("0.1"), ROUND_HALF_EVEN))


def reported(value: float) -> str:
    """*value* with one decimal, rounded once and half to even (GB/T 8170); below the detection limit it says so.

    One decimal is practice (medium).

    >>> reported(5.3985), reported(0.25), reported(-0.1), reported(0.3)
    ('5.4', '<0.3', '<0.3', '0.3')
    """
    if value < DETECTION_LIMIT:
        return f"<{DETECTION_LIMIT:g}"
    return str(Decimal(repr(value)).quantize(Decimal("0.1"), ROUND_HALF_EVEN))


# -- what was entered


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """A crucible weighed empty and with its residue, each to constant weight; the last of each series counts."""

    crucible_g: Sequence[float]
    residue_g: Sequence[float]
    at: datetime
    user: str
    balance: str = ""
    blank: str = ""

    @property
    def residue(self) -> float:
        """Residue in g: m1 - m0, or m2 of a blank."""
        return float(_exact(self.residue_g[-1]) - _exact(self.crucible_g[-1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A cylinder set out at a point: its *name* is point/jar/day it was set out."""

    name: str
    point: str
    jar: str
    diameters_cm: Sequence[float]
    started: datetime
    started_by: str
    stopped: datetime | None = None
    stopped_by: str = ""
    weighing: Weighing | None = None
    void: str = ""
    notes: Sequence[str] = ()

    @property
    def area_cm2(self) -> float:
        """Area of its mouth."""
        return mouth_area(self.diameters_cm)

    @property
    def days(self) -> float | None:
        """Days exposed, to 0.1 d, once it has come in."""
        return None if self.stopped is None else to_days(self.stopped - self.started)

    @property
    def state(self) -> str:
        """out, in, weighed or void."""
        if self.void:
            return "void"
        if self.weighing is not None:
            return "weighed"
        return "out" if self.stopped is None else "in"


@dataclass(slots=True)
class Book:
    """All exposures and blanks as the entries leave them."""

    exposures: dict[str, Exposure] = field(default_factory=dict)
    blanks: dict[str, Weighing] = field(default_factory=dict)
    void_blanks: dict[str, str] = field(default_factory=dict)

    def state(self, exposure: Exposure) -> str:
        """out, in, weighed, no_blank (its blank was withdrawn since) or void."""
        blankless = exposure.weighing is not None and exposure.weighing.blank not in self.blanks
        return "no_blank" if exposure.state == "weighed" and blankless else exposure.state

    def net_g(self, exposure: Exposure) -> float | None:
        """m1 - m0 - m2 of *exposure*, once it and its blank are weighed."""
        if exposure.weighing is None or exposure.weighing.blank not in self.blanks:
            return None
        own, blank = exposure.weighing, self.blanks[exposure.weighing.blank]
        return float(_exact(own.residue) - _exact(blank.residue))

    def value(self, exposure: Exposure) -> float | None:
        """Dust-fall of *exposure* alone, unrounded."""
        net = self.net_g(exposure)
        return None if net is None or not exposure.days else dustfall(net, exposure.area_cm2 * exposure.days)


def read_book(records: Iterable[Record]) -> Book:
    """The book that *records* of KIND make, in the order they were entered."""
    book = Book()
    for record in sorted(records, key=lambda r: r.id):
        _enter(book, record)
    return book


def _enter(book: Book, record: Record) -> None:
    body, name = record.body, str(record.body["name"])
    if body["do"] in ("stop", "weigh") and name not in book.exposures:
        return  # it went out longer ago than records are kept
    match body["do"]:
        case "start":
            book.exposures[name] = Exposure(
                name=name,
                point=record.point,
                jar=body["jar"],
                diameters_cm=body["diameters_cm"],
                started=record.at,
                started_by=body["user"],
                notes=_notes((), body),
            )
        case "stop":
            old = book.exposures[name]
            book.exposures[name] = replace(
                old, stopped=record.at, stopped_by=body["user"], notes=_notes(old.notes, body)
            )
        case "weigh":
            old = book.exposures[name]
            book.exposures[name] = replace(old, weighing=_weighing(record), notes=_notes(old.notes, body))
        case "blank":
            book.blanks[name] = _weighing(record)
        case "void" if name in book.exposures:
            book.exposures[name] = replace(book.exposures[name], void=body["note"])
        case "void":
            book.void_blanks[name] = body["note"]
            book.blanks.pop(name, None)


def _notes(before: Sequence[str], body: Mapping[str, Any]) -> Sequence[str]:
    return (*before, body["note"]) if body.get("note") else before


def _weighing(record: Record) -> Weighing:
    body = record.body
    return Weighing(
        crucible_g=body["crucible_g"],
        residue_g=body["residue_g"],
        at=record.at,
        user=body["user"],
        balance=body.get("balance", ""),
        blank=body.get("blank", ""),
    )


def _exact(mass: float) -> Decimal:
    """The decimal a person typed: 32.1042 - 32.1038 is 0.4 mg, and not a little less."""
    return Decimal(repr(float(mass))).quantize(Decimal("0.0000001"))


# -- entering something: what is wrong is said in one sentence, and nothing is kept


def start(
    book: Book, point: str, jar: str, diameters_cm: Sequence[float], *, at: datetime, user: str, note: str = "",
    now: datetime, zone: tzinfo,
) -> Record:  # fmt: skip
    """Set cylinder *jar* out at *point* from *at* on."""
    _check_entry(at, user, now)
    _printable("the jar's name", jar)
    if "/" in jar:
        raise WrongArgument(f'"{jar}" cannot name a jar: it has a slash in it')
    if len(diameters_cm) < FEWEST_DIAMETERS:
        raise WrongArgument(f"{len(diameters_cm)} diameters were given; HJ 1221 takes the mean of at least three")
    for one in diameters_cm:
        if not DIAMETER_CM[0] <= one <= DIAMETER_CM[1]:
            raise WrongArgument(f"a mouth of {one:g} cm is not believed; give inner diameters in centimetres")
    if max(diameters_cm) - min(diameters_cm) > SPREAD_CM:
        raise WrongArgument(f"the diameters differ by more than {SPREAD_CM:g} cm; measure the mouth again")
    for other in book.exposures.values():
        if other.jar == jar and not other.void and (other.stopped is None or other.stopped > at):
            until = "is out" if other.stopped is None else f"was out until {other.stopped.isoformat()}"
            raise WrongArgument(f"jar {jar} {until} as {other.name}; stop it first, or name another jar")
    day = name = f"{point}/{jar}/{at.astimezone(zone):%Y-%m-%d}"
    number = 1
    while name in book.exposures:
        if not book.exposures[name].void:
            raise WrongArgument(f"{name} is there already; one jar is set out once a day")
        number += 1
        name = f"{day}-{number}"  # entered again in place of one that was withdrawn
    body = {"jar": jar, "diameters_cm": [round(float(one), 2) for one in diameters_cm]}
    return _record("start", name, at, user, note, now, point=point, **body)


def stop(book: Book, name: str, *, at: datetime, user: str, note: str = "", now: datetime) -> Record:
    """Take an exposure in at *at*."""
    exposure = _exposure(book, name)
    _check_entry(at, user, now)
    if exposure.stopped is not None:
        raise WrongArgument(f"{name} came in at {exposure.stopped.isoformat()} already")
    if to_days(at - exposure.started) <= 0:
        raise WrongArgument(f"{name} went out at {exposure.started.isoformat()}, which is not 0.1 d before")
    return _record("stop", name, at, user, note, now, point=exposure.point)


def weigh(
    book: Book, name: str, crucible_g: Sequence[float], residue_g: Sequence[float], *, blank: str, at: datetime,
    user: str, balance: str = "", note: str = "", now: datetime,
) -> Record:  # fmt: skip
    """The residue of an exposure, weighed to constant weight; a second time only with a reason in *note*."""
    exposure = _exposure(book, name)
    _check_entry(at, user, now)
    if exposure.stopped is None:
        raise WrongArgument(f"{name} is still out; stop it first")
    if at < exposure.stopped:
        raise WrongArgument(f"{name} came in at {exposure.stopped.isoformat()}, after it is said to have been weighed")
    if blank not in book.blanks:
        why = f" (withdrawn: {book.void_blanks[blank]})" if blank in book.void_blanks else ""
        hint = did_you_mean(blank, book.blanks)
        raise WrongArgument(f'there is no blank "{blank}"{why}{hint}; enter it first: station dustfall blank')
    if exposure.weighing is not None and not note:
        raise WrongArgument(f"{name} was weighed already; a second weighing needs --note with the reason")
    body: dict[str, Any] = {**_masses(crucible_g, residue_g), "blank": blank, "balance": balance}
    residue = float(_exact(residue_g[-1]) - _exact(crucible_g[-1]))
    if residue > MOST_RESIDUE_G and not note:
        raise WrongArgument(f"a residue of {residue:g} g is not believed; if it is so, say why with --note")
    lighter = book.blanks[blank].residue - residue
    if lighter > LIGHTER_G:
        raise WrongArgument(
            f"the jar left {lighter * 1000:.1f} mg less than blank {blank}; check the figures of both,"
            " or withdraw the blank and weigh another"
        )
    return _record("weigh", name, at, user, note, now, point=exposure.point, **body)


def blank(
    book: Book, name: str, crucible_g: Sequence[float], residue_g: Sequence[float], *, at: datetime, user: str,
    balance: str = "", note: str = "", now: datetime,
) -> Record:  # fmt: skip
    """The residue m2 of a blank: the same amount of glycol from the same bottle, dried in a crucible."""
    _check_entry(at, user, now)
    _printable("the blank's name", name)
    if "/" in name:
        raise WrongArgument(f'"{name}" cannot name a blank: it has a slash in it')
    if (name in book.blanks or name in book.void_blanks) and not note:
        raise WrongArgument(f"blank {name} is there already; weighing it again needs --note with the reason")
    masses: dict[str, Any] = _masses(crucible_g, residue_g)
    residue = float(_exact(residue_g[-1]) - _exact(crucible_g[-1]))
    if residue > MOST_BLANK_G and not note:
        raise WrongArgument(f"a blank of {residue * 1000:g} mg is not believed; if it is so, say why with --note")
    return _record("blank", name, at, user, note, now, **masses, balance=balance)


def void(book: Book, name: str, *, user: str, note: str, now: datetime) -> Record:
    """Withdraw an exposure or a blank, with the reason in *note*; its entries stay."""
    _check_entry(now, user, now)
    if not note:
        raise WrongArgument("withdrawing needs a reason")
    if name in book.blanks:
        return _record("void", name, now, user, note, now)
    return _record("void", name, now, user, note, now, point=_exposure(book, name).point)


def _exposure(book: Book, name: str) -> Exposure:
    if name not in book.exposures:
        known = list(book.exposures)
        raise WrongArgument(f'there is no exposure "{name}"{did_you_mean(name, known)}; see station dustfall list')
    exposure = book.exposures[name]
    if exposure.void:
        raise WrongArgument(f"{name} was withdrawn: {exposure.void}")
    return exposure


def _check_entry(at: datetime, user: str, now: datetime) -> None:
    _printable("the person's name (--user)", user)
    if at < BEGINNING:
        raise WrongArgument(f"{at.isoformat()} is not believed; the method is younger")
    if at > now + timedelta(minutes=1):
        raise WrongArgument(f"{at.isoformat()} is not over yet")


def _printable(what: str, text: str) -> None:
    if not text.strip() or not text.isprintable():
        raise WrongArgument(f"{what} is missing or not printable")


def _masses(crucible_g: Sequence[float], residue_g: Sequence[float]) -> dict[str, list[float]]:
    for what, series in (("crucible", crucible_g), ("residue", residue_g)):
        if len(series) < 2:
            raise WrongArgument(f"{what}: constant weight takes two weighings or more, such as 32.1040,32.1042")
        for one in series:
            if not 0 < one <= HEAVIEST_G:
                raise WrongArgument(f"{what}: {one:g} g is not believed; give grams")
        apart = abs(_exact(series[-1]) - _exact(series[-2])) * 1000
        if apart >= CONSTANT_MG:
            raise WrongArgument(
                f"{what}: the last two weighings are {apart.normalize():f} mg apart, constant weight is under 0.4 mg;"
                " dry, cool and weigh again"
            )
    if _exact(residue_g[-1]) < _exact(crucible_g[-1]):
        raise WrongArgument("the crucible with its residue weighs less than the empty one; check the figures")
    return {"crucible_g": list(map(float, crucible_g)), "residue_g": list(map(float, residue_g))}


def _record(
    do: str, name: str, at: datetime, user: str, note: str, now: datetime, point: str = "", **more: Any
) -> Record:
    body = {"do": do, "name": name, "user": user.strip(), "entered": now.isoformat(timespec="seconds"), **more}
    return Record(KIND, at, body | ({"note": note.strip()} if note.strip() else {}), point)


# -- a month


@dataclass(frozen=True, slots=True, kw_only=True)
class PointMonth:
    """Dust-fall of one point in one month; *value* is unrounded, None until something was weighed.

    *open* names what belongs to the month and is not weighed: until it is, the value may change.  *blankless* names
    what lost its blank since, *doubtful* what weighs less than its blank: with one there is no value.
    """

    point: str
    exposures: Sequence[Exposure]
    days: float
    value: float | None
    open: Sequence[str] = ()
    blankless: Sequence[str] = ()
    doubtful: Sequence[str] = ()

    @property
    def usual(self) -> bool:
        """Whether the days are those of a usual month (30 ± 2 d)."""
        return USUAL_DAYS[0] <= self.days <= USUAL_DAYS[1]


def month_of(exposure: Exposure, now: datetime, zone: tzinfo) -> str:
    """The month an exposure counts for, as 2026-03: the one its middle lies in (our rule; the digest has none)."""
    middle = exposure.started + ((exposure.stopped or now) - exposure.started) / 2
    return f"{middle.astimezone(zone):%Y-%m}"


def month(book: Book, which: str, now: datetime, zone: tzinfo) -> list[PointMonth]:
    """Every point with an exposure in month *which* (2026-03).

    Several exposures, one after the other or jars side by side, are one measurement: masses are added, and the
    areas times days they were caught on.  *days* are those covered by at least one weighed jar.
    """
    found: dict[str, list[Exposure]] = {}
    for exposure in book.exposures.values():
        if not exposure.void and month_of(exposure, now, zone) == which:
            found.setdefault(exposure.point, []).append(exposure)
    return [_point_month(book, point, found[point]) for point in sorted(found)]


def _point_month(book: Book, point: str, exposures: Sequence[Exposure]) -> PointMonth:
    nets = {e.name: net for e in exposures if (net := book.net_g(e)) is not None}
    weighed = [e for e in exposures if e.name in nets]
    area_days = math.fsum(e.area_cm2 * (e.days or 0) for e in weighed)
    doubtful = [name for name, net in nets.items() if net < -LIGHTER_G]
    value = dustfall(math.fsum(nets.values()), area_days) if weighed and not doubtful else None
    by_state = {e.name: book.state(e) for e in exposures}
    return PointMonth(
        point=point,
        exposures=exposures,
        days=_covered(weighed),
        value=value,
        open=[name for name, state in by_state.items() if state in ("out", "in")],
        blankless=[name for name, state in by_state.items() if state == "no_blank"],
        doubtful=doubtful,
    )


def withdrawn(book: Book, which: str, now: datetime, zone: tzinfo) -> list[Exposure]:
    """What was withdrawn and would have counted for month *which*; what never came in, for the month it went out."""
    gone = [replace(e, stopped=e.stopped or e.started) for e in book.exposures.values() if e.void]
    return [book.exposures[e.name] for e in gone if month_of(e, now, zone) == which]


def _covered(exposures: Sequence[Exposure]) -> float:
    """Days on which at least one of *exposures* was out, to 0.1 d."""
    total, reach = timedelta(), None
    for begun, ended in sorted((e.started, e.stopped) for e in exposures if e.stopped is not None):
        since = begun if reach is None else max(begun, reach)
        total += max(ended - since, timedelta())
        reach = ended if reach is None else max(reach, ended)
    return to_days(total)


def township(points: Iterable[PointMonth]) -> float | None:
    """The mean over the points that have a value, from unrounded ones; None where none has.

    A point below the detection limit enters with its own figure, not below 0 (our rule; the digest has none).
    """
    values = [max(0.0, one.value) for one in points if one.value is not None]
    return math.fsum(values) / len(values) if values else None
