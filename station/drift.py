"""Drift correction between two calibrations: a series of its own beside the record, never over it.

What the later calibration found, against what the earlier one left, is taken to have come about evenly in time
(practice in hydrology and gas analysis; confidence medium, no clause was read).  An instrument that left at y = x and
is found at y = gain · x + offset has, at the share f of the time between, the gain 1 + f · (gain - 1) and the offset
f · offset, which a value is freed of.  One standard says one of the two, two or more say both.

Where that cannot be said, it is said why: of one calibration nothing follows, nor across a change of coefficients that
no calibration explains, another instrument, or a calibration that was taken back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from station.calibrate import Coefficients
from station.calibration_figures import SMALLEST_SLOPE, line_through
from station.calibration_run import PROCEDURES, Run
from station.model import dataclass, field

MODELS = ("auto", "offset", "gain")  # what one standard is taken to say; auto: a zero an offset, another one a gain
TOGETHER = timedelta(hours=2)  # ours: a zero and a span so near to one another are one calibration in two runs
SAME = 1e-9  # of coefficients: nearer ones are one


# -- the arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What an instrument shows of a true value x: gain · x + offset."""

    gain: float = 1.0
    offset: float = 0.0


def response(pairs: Sequence[tuple[float, float]], model: str = "auto") -> Response | None:
    """The response that *pairs* of (as left, as found) say, None where they can be of no instrument.

    One pair says an offset, or a gain (*model*); several are a straight line (least squares).

    >>> response([(0.0, 2.0), (100.0, 107.0)])
    Response(gain=1.05, offset=2.0)
    >>> response([(100.0, 104.0)]), response([(100.0, 104.0)], "offset")
    (Response(gain=1.04, offset=0.0), Response(gain=1.0, offset=4.0))
    """
    if len(pairs) > 1:
        line = line_through([left for left, _ in pairs], [found for _, found in pairs])
        made = None if line is None else Response(gain=line[0], offset=line[1])
    else:
        ((left, found),) = pairs
        if model == "offset" or (model == "auto" and abs(left) < SMALLEST_SLOPE):
            made = Response(offset=found - left)
        else:
            made = None if abs(left) < SMALLEST_SLOPE else Response(gain=found / left)
    return made if made is not None and made.gain > SMALLEST_SLOPE and math.isfinite(made.gain) else None


def corrected(value: float, share: float, end: Response) -> float:
    """*value* without the drift there was at *share* (0 to 1) of the way to the response *end*.

    >>> end = Response(gain=1.05, offset=2.0)
    >>> [round(corrected(60.0, share, end), 3) for share in (0, 0.5, 1)]
    [60.0, 57.561, 55.238]
    """
    return (value - share * end.offset) / (1 + share * (end.gain - 1))


# -- from the record of calibrations to spans of time


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Calibrations of one parameter that belong together, as found before the first and as left by the last."""

    names: tuple[str, ...]
    at: datetime  # from here on what it left holds
    found_at: datetime  # when it was begun: up to here what it found had come about
    found: Mapping[float, float]  # by standard
    left: Mapping[float, float]
    before: Coefficients
    after: Coefficients
    adjusts: bool  # whether it changed anything, in the station or in the instrument

    @property
    def name(self) -> str:
        """Its calibrations, as commands name them."""
        return "+".join(self.names)


@dataclass(frozen=True, slots=True)
class Why:
    """Why there is no drift to be had: a word of WHYS, and what it is about."""

    code: str
    about: Mapping[str, str] = field(default_factory=dict)


WHYS = (
    "none", "only_checks", "none_before", "none_after", "none_after_check", "under_way", "clock", "reverted",
    "exchanged", "failed_check", "coefficients", "response", "no_value", "other_coefficients",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Something after which the earlier calibration says nothing of the values."""

    at: datetime
    why: Why
    until: datetime | None = None  # where it is over by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From one calibration to the next: the drift between them, or *because* of what there is none to be had."""

    start: datetime | None
    end: datetime | None
    earlier: str = ""
    later: str = ""
    model: str = ""
    response: Response | None = None
    coefficients: Coefficients | None = None  # under which alone its values were made
    pairs: Sequence[tuple[float, float]] = ()
    because: Why | None = None
    holds: Sequence[Break] = field(default=())  # stretches of it that are left out

    def covers(self, at: datetime) -> bool:
        """Whether *at* lies in it."""
        return (self.start is None or self.start <= at) and (self.end is None or at < self.end)

    def share(self, at: datetime) -> float:
        """How far *at* lies on the way from its beginning to its end."""
        assert self.start is not None
        assert self.end is not None
        return (at - self.start) / (self.end - self.start)


NOWHERE = Span(start=None, end=None, because=Why("clock", {"earlier": "", "later": ""}))


def occasions(runs: Iterable[Run]) -> list[Occasion]:
    """What the calibrations *runs* of one parameter found and left, in the order of their time.

    A plain check among them changes nothing; it may end a span and begins none.
    """
    done = sorted((r for r in runs if r.state == "done" and r.ended and _whole(r)), key=lambda r: r.begun)
    found: list[Occasion] = []
    for run in done:
        made = _occasion(run)
        if found and _together(found[-1], made):
            found[-1] = _joined(found[-1], made, run)
        else:
            found.append(made)
    return found


def _whole(run: Run) -> list[Mapping[str, float]]:
    """The standards of which it is known how they were found and how they were left."""
    if PROCEDURES[run.procedure].source != "signal":
        return []  # a flow, or a series: neither says what it shows in a standard
    rows: Sequence[Mapping[str, float | None]] = run.result.get("rows", ())
    known = ("standard", "raw", "as_found", "as_left")
    return [row for row in rows if all(row.get(key) is not None for key in known)]  # type: ignore[misc]


def _occasion(run: Run) -> Occasion:
    rows = _whole(run)
    adjusts = bool(PROCEDURES[run.procedure].sets or run.tells)
    slope, intercept = run.result["coefficients"]
    assert run.ended is not None
    return Occasion(
        names=(run.name,),
        at=run.ended,
        found_at=run.begun,
        found={row["standard"]: row["as_found"] for row in rows},
        left={row["standard"]: row["as_left"] for row in rows},
        before=run.before,
        after=(slope, intercept),
        adjusts=adjusts,
    )


def _together(earlier: Occasion, later: Occasion) -> bool:
    both = earlier.adjusts and later.adjusts and _same(earlier.after, later.before)
    return both and timedelta() <= later.found_at - earlier.at <= TOGETHER


def _joined(earlier: Occasion, later: Occasion, run: Run) -> Occasion:
    """A zero and then a span: what the second found is reckoned with the coefficients before the first.

    Raw values allow that; where the instrument itself was set in between they do not, and stay as they are.
    """
    slope, intercept = earlier.before
    again = {row["standard"]: slope * row["raw"] + intercept for row in _whole(run)}
    own = _same(earlier.before, earlier.after)
    left = dict(earlier.left) if own else _remade(earlier.left, earlier.after, later.after)
    return Occasion(
        names=(*earlier.names, *later.names),
        at=later.at,
        found_at=earlier.found_at,
        found={**(later.found if own else again), **earlier.found},
        left=left | dict(later.left),
        before=earlier.before,
        after=later.after,
        adjusts=True,
    )


def _remade(values: Mapping[float, float], before: Coefficients, after: Coefficients) -> dict[float, float]:
    """*values* made with the coefficients *before*, as those *after* make them."""
    return {key: after[0] * (value - before[1]) / before[0] + after[1] for key, value in values.items()}


def _same(one: Coefficients, other: Coefficients) -> bool:
    return all(math.isclose(a, b, rel_tol=SAME, abs_tol=SAME) for a, b in zip(one, other, strict=True))


def spans(runs: Iterable[Run], breaks: Iterable[Break] = (), *, model: str = "auto") -> list[Span]:
    """The whole of time in spans: before the first calibration, from each to the next, and after the last.

    *runs* are those of one parameter, *breaks* what else happened: another instrument, a failed check.
    """
    runs = list(runs)
    known, happened = occasions(runs), sorted([*breaks, *_reverts(runs)], key=lambda one: one.at)
    ends = [one for one in known if one.adjusts]
    if not ends:
        return [Span(start=None, end=None, because=Why("only_checks" if known else "none"))]
    last_checks = [one for one in known if not one.adjusts and one.found_at > ends[-1].at]
    found = [Span(start=None, end=ends[0].at, because=Why("none_before", {"later": ends[0].name}))]
    marks = [*ends, *last_checks[-1:]]
    for earlier, later in pairwise(marks):
        found.append(_between(earlier, later, happened, model))
        if later.found_at < later.at:
            why = Why("under_way", {"later": later.name})
            found.append(Span(start=later.found_at, end=later.at, later=later.name, because=why))
    end = marks[-1]
    code = "none_after_check" if last_checks else "none_after"
    why = Why(code, {"earlier": ends[-1].name, "check": end.name})
    found.append(Span(start=end.at, end=None, earlier=end.name, because=why))
    return found


def _reverts(runs: Iterable[Run]) -> Iterator[Break]:
    for run in runs:
        if run.reverted is not None:
            yield Break(at=run.reverted, why=Why("reverted", {"name": run.name}))


def _between(earlier: Occasion, later: Occasion, happened: Sequence[Break], model: str) -> Span:
    between: dict[str, Any] = {
        "start": earlier.at, "end": later.found_at, "earlier": earlier.name, "later": later.name,
    }  # fmt: skip
    names = {"earlier": earlier.name, "later": later.name}
    if later.found_at <= earlier.at:
        return Span(**between, because=Why("clock", names))
    for one in happened:
        if one.until is None and earlier.at < one.at < later.at:
            return Span(**between, because=one.why)
    if not _same(earlier.after, later.before):
        about = {**names, "left": _pair(earlier.after), "met": _pair(later.before)}
        return Span(**between, because=Why("coefficients", about))
    pairs = [(earlier.left.get(standard, standard), value) for standard, value in sorted(later.found.items())]
    found = response(pairs, model)
    if found is None:
        return Span(**between, because=Why("response", {"later": later.name, "pairs": _listed(pairs)}))
    held = [one for one in happened if one.until is not None and one.at < later.found_at and one.until > earlier.at]
    kind = "two_point" if len(pairs) > 1 else "one_point_offset" if found.gain == 1.0 else "one_point_gain"
    return Span(
        **between, model=kind, response=found, coefficients=earlier.after, pairs=pairs, holds=tuple(held)
    )  # fmt: skip


def _pair(coefficients: Coefficients) -> str:
    return " / ".join(f"{one:.6g}" for one in coefficients)


def _listed(pairs: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{left:g} → {found:g}" for left, found in pairs)


# -- one value


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A value without the drift of its span, or *because* of what there is none."""

    span: Span
    value: float | None
    because: Why | None = None


def correct(found: Sequence[Span], at: datetime, value: float | None, coefficients: Coefficients) -> Corrected:
    """*value* as it was kept *at* a moment, made with *coefficients*, freed of the drift of the span it lies in."""
    span = next((one for one in found if one.covers(at)), NOWHERE)
    if span.response is None:
        return Corrected(span=span, value=None, because=span.because)
    for one in span.holds:
        if one.at <= at and (one.until is None or at < one.until):
            return Corrected(span=span, value=None, because=one.why)
    if value is None or not math.isfinite(value):
        return Corrected(span=span, value=None, because=Why("no_value"))
    assert span.coefficients is not None
    if not _same(span.coefficients, coefficients):
        about = {"earlier": span.earlier, "left": _pair(span.coefficients), "made": _pair(coefficients)}
        return Corrected(span=span, value=None, because=Why("other_coefficients", about))
    return Corrected(span=span, value=corrected(value, span.share(at), span.response))
