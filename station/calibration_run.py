"""Runs of a procedure as their records leave them: what was taken, what the instrument was told, whose turn it is.

A run is a sequence of records of one kind (begin, step, act, then done or cancel), so it goes on at the same step after
a power cut, and one that is cancelled has changed nothing.  Only `done` may bring coefficients; a `revert` brings
former ones back.  Nothing stored is rewritten: readings keep the coefficients they were made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from station.calibrate import IDENTITY, LOCKED, Coefficients
from station.calibration_figures import Rule
from station.calibration_standard import Standard, standard_of
from station.model import Record, WrongArgument, dataclass, did_you_mean, field, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """How many standards a procedure takes, what it sets, what it tells the instrument, and where its values come from.

    *acts* is zero, span or point: what the instrument is told to calibrate in itself.  *source* is the signal that is
    watched, what is typed from a display, or a series of a reference instrument beside the station's own hours.
    """

    fewest: int
    most: int
    sets: str = ""  # intercept, slope, line, factor, or nothing
    acts: str = ""
    source: str = "signal"
    repeats: bool = False  # one standard, over and over


PROCEDURES: Mapping[str, Procedure] = {
    "zero": Procedure(fewest=1, most=1, sets="intercept"),
    "span": Procedure(fewest=1, most=1, sets="slope"),
    "two-point": Procedure(fewest=2, most=2, sets="line"),
    "multi-point": Procedure(fewest=3, most=10, sets="line"),
    "weights": Procedure(fewest=2, most=10, sets="line"),
    "k-factor": Procedure(fewest=0, most=0, sets="factor", source="series"),
    "check": Procedure(fewest=1, most=10),
    "repeat-check": Procedure(fewest=3, most=10, repeats=True),
    "flow-check": Procedure(fewest=1, most=10, source="typed"),
    "ph-buffers": Procedure(fewest=3, most=3, acts="point"),
    "instrument-zero": Procedure(fewest=1, most=1, acts="zero"),
    "instrument-span": Procedure(fewest=1, most=1, acts="span"),
    "instrument-points": Procedure(fewest=1, most=10, acts="point"),
}
WHERE = ("station", "instrument")  # where new coefficients go


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is calibrated: a parameter of an instrument, as configured.

    *ways* is how the instrument can be calibrated in itself (drivers/calibrating.py).
    """

    device: str
    parameter: str
    point: str
    system: str
    configured: Coefficients = IDENTITY
    full_scale: float | None = None  # the upper end of its configured range
    acts: bool = False  # whether the instrument can be told to calibrate it
    ways: Mapping[str, Any] = field(default_factory=dict)
    cyclic: bool = False  # whether it brings results at its own pace, each worth a cycle
    tells_serial: bool = False
    companions: Sequence[tuple[str, str]] = ()  # point and parameter of what is spoilt with it (companions.py)

    @property
    def locked(self) -> bool:
        """Whether station coefficients stay 1 and 0 here."""
        return self.system in LOCKED

    def keeps(self, procedure: str) -> bool:
        """Whether the instrument has registers for what *procedure* sets."""
        wants = {"intercept": {"intercept"}, "slope": {"slope"}, "line": {"slope", "intercept"}}
        needed = wants.get(PROCEDURES[procedure].sets)
        return needed is not None and needed <= set(self.ways.get("writes", ()))


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
    typed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What the instrument was told, and what its registers held afterwards."""

    type: str  # zero, span, point or write
    at: datetime
    after: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One procedure at one parameter of an instrument: open until it is done, cancelled, or failed unattended."""

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
    also_marks: Sequence[str] = ()  # those of what stands in the same sample
    note: str = ""
    override: str = ""
    trust: str = ""
    into: str = "station"
    unattended: bool = False
    stages: Sequence[str] = ()  # begin, end and cancel, where the instrument is told
    kept: Mapping[str, str] = field(default_factory=dict)  # its registers of coefficients at the beginning
    instrument: Mapping[str, str] = field(default_factory=dict)  # serial, firmware
    environment: str = ""  # temperature, humidity and the like, as typed or as the station measured them
    photos: Sequence[Mapping[str, Any]] = ()
    steps: Sequence[Step] = ()
    acts: Sequence[Act] = ()
    wrote: Mapping[str, Any] | None = None  # coefficients that are about to go into the instrument, or have gone
    tell_at: datetime | None = None  # since when
    telling: int = 0  # how many times it was about to be told, or has been, to calibrate itself
    pairs: Sequence[Sequence[Any]] = ()  # hour, reference, raw
    told_at: datetime | None = None  # unattended: when the instrument was told to measure the next standard
    told_after: str = ""  # and the time of its result before that
    state: str = "open"
    result: Mapping[str, Any] = field(default_factory=dict)
    ended: datetime | None = None
    reverted: datetime | None = None
    taken_back: Mapping[str, Any] = field(default_factory=dict)  # by whom and why, where it was

    @property
    def procedure_of(self) -> Procedure:
        """What its procedure takes and does."""
        return PROCEDURES[self.procedure]

    @property
    def turns(self) -> tuple[tuple[str, int], ...]:
        """What has its turn one after another: take standard number i, act in it, or the series."""
        known, count = self.procedure_of, len(self.standards)
        takes = tuple(("take", i) for i in range(count))
        if known.source == "series":
            return (("series", 0),)
        if known.acts == "point":
            each = [turn for i in range(count) for turn in (("take", i), ("act", i))]
            return (*each, ("take", count - 1))
        if known.acts:
            return (*takes, ("act", 0), *takes)
        return (*takes, ("act", 0), ("take", count - 1)) if self.into == "instrument" else takes

    @property
    def turn(self) -> tuple[str, int] | None:
        """Whose turn it is; None where all is there."""
        return self.turns[self._past] if self._past < len(self.turns) else None

    @property
    def wanted(self) -> Sequence[Standard]:
        """Every standard to be taken, in order; again behind what the instrument is told, as left."""
        return tuple(self.standards[i] for kind, i in self.turns if kind == "take")

    @property
    def place(self) -> tuple[int, int]:
        """Which standard is being dealt with, from 1, and of how many, as they stand on the bench.

        Looking at one again behind what the instrument was told makes it no further one.
        """
        count = max(1, len(self.standards))
        return (count if self.turn is None else self.turn[1] + 1), count

    @property
    def looks_again(self) -> bool:
        """Whether the next standard is looked at once more, behind what the instrument was told."""
        return self.turn is not None and self.turn[0] == "take" and self.turn in self.turns[: self._past]

    @property
    def _past(self) -> int:
        return len(self.steps) + len(self.acts) + bool(self.pairs)

    @property
    def must_act(self) -> bool:
        """Whether it is the instrument's turn."""
        return self.turn is not None and self.turn[0] == "act"

    @property
    def tells(self) -> str:
        """What the instrument is told: zero, span, point, write, or nothing."""
        return self.procedure_of.acts or ("write" if self.into == "instrument" else "")

    @property
    def next(self) -> Standard | None:
        """The standard that is to be taken next."""
        return self.wanted[len(self.steps)] if len(self.steps) < len(self.wanted) else None

    @property
    def awaits_signature(self) -> bool:
        """Whether it ran unattended to its end, and nobody has signed it."""
        return self.unattended and self.state == "open" and self.turn is None

    @property
    def shown_state(self) -> str:
        """Its state as it is told."""
        return "ready" if self.awaits_signature else self.state

    @property
    def touched(self) -> bool:
        """Whether the instrument was told, or may have been told, something that a cancelling has to undo."""
        return bool(self.acts) or self.wrote is not None or self.telling > 0

    @property
    def left_in_instrument(self) -> bool:
        """Whether it left coefficients in registers of the instrument that can be put back."""
        return bool(self.kept) and bool(self.acts)

    @property
    def scale(self) -> float:
        """What noise and drift are shares of: full scale where it is known, else the largest standard."""
        return self.full_scale or max((abs(one.value) for one in self.standards), default=0.0) or 1.0

    def taken(self, kind: str) -> dict[int, Step]:
        """The step of each standard, by its number: those before the instrument was told (found), or after (left)."""
        takes = [i for i, turn in enumerate(self.turns) if turn[0] == "take"]
        last_act = max((i for i, turn in enumerate(self.turns) if turn[0] == "act"), default=-1)
        pairs = [(at, self.turns[at][1], step) for at, step in zip(takes, self.steps, strict=False)]
        if kind == "found":
            return {number: step for at, number, step in reversed(pairs) if last_act < 0 or at < last_act}
        return {number: step for at, number, step in pairs if 0 <= last_act < at}


@dataclass(slots=True)
class Book:
    """All runs, and the coefficients that calibrations left, by device and parameter."""

    runs: dict[str, Run] = field(default_factory=dict)
    in_force: dict[tuple[str, str], tuple[Coefficients, Record]] = field(default_factory=dict)
    left: dict[tuple[str, str], list[Record]] = field(default_factory=dict)  # those done that changed anything

    def left_at(self, device: str, parameter: str, standard: float) -> float | None:
        """What the last calibration left at *standard*, here or in the instrument; None where it did not use it.

        A check leaves what it finds, so it is none, and neither is one that was taken back.
        """
        made = self.left.get((device, parameter))
        rows = made[-1].body.get("rows", ()) if made else ()
        left = [row["as_left"] for row in rows if row["standard"] == standard and row["as_left"] is not None]
        return float(left[0]) if left else None

    def open_at(self, device: str) -> Run | None:
        """The run that is under way at *device*; one that only waits for its signature is in nobody's way."""
        found = (run for run in self.runs.values() if run.device == device and run.state == "open")
        return next((run for run in found if not run.awaits_signature), None)

    @property
    def next_number(self) -> int:
        """The number of the next one: names are never used twice, though the first ones may be past their retention."""
        return 1 + max((int(name[1:]) for name in self.runs), default=0)

    def named(self, name: str) -> Run:
        """The run called *name*; raise WrongArgument."""
        if name not in self.runs:
            hint = did_you_mean(name, self.runs)
            raise WrongArgument(f'there is no calibration "{name}"{hint}; see station calibrate list')
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
    if run is None and body["do"] == "begin":
        book.runs[name] = _begun(record)
    elif run is not None and run.state == "open":
        book.runs[name] = _gone_on(run, record)
    elif run is not None and body["do"] == "revert":
        book.runs[name] = replace(run, state="reverted", reverted=record.at, taken_back=body)
    if body["do"] == "done" and body.get("valid_from"):
        book.left.setdefault((record.device, body["parameter"]), []).append(record)
    if body["do"] == "revert":
        for made in book.left.values():
            made[:] = [one for one in made if one.body["name"] != name]
    if body.get("changes"):
        slope, intercept = body["coefficients"]
        book.in_force[record.device, body["parameter"]] = (slope, intercept), record


def _gone_on(run: Run, record: Record) -> Run:
    """*run*, which is open, with what *record* adds to it."""
    body = record.body
    match body["do"]:
        case "step" if body["index"] == len(run.steps):
            return replace(run, steps=(*run.steps, _step(record)), told_at=None, told_after="")
        case "write":
            return replace(run, wrote=body)
        case "tell":
            return replace(run, telling=1 + body.get("index", 0), tell_at=record.at)
        case "act" if body.get("index", 0) == len(run.acts):
            made = Act(type=body["type"], at=record.at, after=body.get("after", {}))
            return replace(run, acts=(*run.acts, made), told_at=None, told_after="")
        case "told" if body["turn"] == len(run.steps) + len(run.acts):
            return replace(run, told_at=record.at, told_after=body["after"])
        case "pairs":
            return replace(run, pairs=body["pairs"])
        case "done":
            return replace(run, state="done", result=body, ended=record.at)
        case "cancel":
            return replace(run, state="cancelled", result=body, ended=record.at)
        case "halt":
            return replace(run, state="failed", result=body, ended=record.at)
    return run


def _begun(record: Record) -> Run:
    body = record.body
    slope, intercept = body["before"]
    plain = {key: body[key] for key in ("note", "override", "trust", "into", "unattended", "stages", "kept",
                                        "instrument", "photos", "also_marks", "environment")
             if key in body}  # fmt: skip
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
        **plain,
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
        typed=body.get("typed", False),
    )
