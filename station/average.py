"""Readings of one period into an Average: pure functions, over values marked N only, unrounded.

Two rules stand side by side.  The *mark* of a period is HJ 212's and becomes its Flag (rolled_mark).  Its *validity*
is the capture rule of what the point is used for (Use): how much of the period was measured at all.  A longer period
is made of the shorter ones that are valid, whatever their marks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from station.model import Average, Averaging, Kind, Mark, dataclass, replace

NORMAL_SHARE = 0.75  # HJ 212-2017 table 8 as digested: gas, 75 % normal inputs give N, else D


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a point's data are used for: the share of an hour's minutes and of a day's hours that have to be valid.

    *strict*: one abnormal input makes the result abnormal, HJ 212's rule for water.
    """

    hour: float = 0.75
    day: float = 20 / 24
    strict: bool = False

    def needed(self, kind: Kind, due: int) -> int:
        """How many of the *due* shorter periods a period of *kind* needs.

        >>> [USES["air"].needed(Kind.HOUR, 60), USES["air"].needed(Kind.DAY, 24), USES["water"].needed(Kind.DAY, 12)]
        [45, 20, 9]
        """
        return math.ceil((self.hour if kind is Kind.HOUR else self.day) * due - 1e-9)

    def valid(self, average: Average, kind: Kind, due: int) -> bool:
        """Whether *average* over a period of *kind*, of which *due* shorter ones were due, holds by the capture rule.

        A minute holds with three quarters of its readings (ours: no rule was found).
        """
        if average.mean is None:
            return False
        if kind is Kind.MINUTE:
            return average.valid >= NORMAL_SHARE * average.expected
        return average.parts >= self.needed(kind, due)


USES = {
    "air": Use(),  # GB 3095-2026 table 4: 45 min, 20 h (high; for PM hours a house rule, medium)
    "site-dust": Use(),
    "site-dust-shanghai": Use(hour=54 / 60, day=21 / 24),  # 90 % and 21 h (medium); no default elsewhere
    "flue-gas": Use(),  # HJ 76-2017 appendix B: 45 min, 20 h (high)
    "water": Use(day=0.75, strict=True),  # HJ 355/356-2019: 75 % of what was due (medium)
}


@dataclass(frozen=True, slots=True)
class Input:
    """One value that goes into an average: a reading, or the average of a shorter period.

    *weight* is how much it counts in a mean of directions, or of concentrations by their flow; *counts* overrules
    what the mark says of entering.
    """

    value: float | None
    mark: Mark
    minimum: float | None = None
    maximum: float | None = None
    valid: int = 1
    total: int = 1
    weight: float = 1.0
    counts: bool | None = None

    @property
    def enters(self) -> bool:
        """Whether the value enters the mean."""
        return self.value is not None and (self.mark is Mark.N if self.counts is None else self.counts)


def rolled_mark(marks: Sequence[Mark], expected: int, *, strict: bool) -> Mark:
    """The mark of a period from the *marks* of its inputs, of which *expected* were due.

    Gas and air: at least 75 % normal gives N, otherwise D.  Water (*strict*): one abnormal input
    makes the result abnormal (HJ 212-2017 table 8, as digested).  Inputs that all carry one
    abnormal mark give that mark: the table would say D, which hides a line that was dead throughout.

    >>> rolled_mark([Mark.N] * 3 + [Mark.T], 4, strict=False).name
    'N'
    >>> rolled_mark([Mark.N] * 3 + [Mark.T], 4, strict=True).name
    'T'
    >>> rolled_mark([Mark.B] * 4, 4, strict=False).name
    'B'
    """
    abnormal = [mark for mark in marks if mark is not Mark.N]
    if not marks:
        return Mark.B
    if len(abnormal) == len(marks):
        return abnormal[0] if len(set(abnormal)) == 1 else max(abnormal)
    if strict and abnormal:
        return max(abnormal)
    normal = len(marks) - len(abnormal)
    return Mark.N if normal >= NORMAL_SHARE * max(expected, len(marks)) else Mark.D


def close(
    parameter: str,
    averaging: Averaging,
    inputs: Sequence[Input],
    *,
    expected_inputs: int,
    expected: int,
    strict: bool = False,
    before: float | None = None,
) -> Average:
    """The average of *inputs* over a period in which *expected_inputs* of them were due.

    *expected* is the number of readings the poll interval promised for the whole period.  *before*
    is the last counter value ahead of the period, for increments (Averaging.SUM of readings).
    """
    normal = [i for i in inputs if i.enters]
    mark = rolled_mark([i.mark for i in inputs], expected_inputs, strict=strict)
    try:
        mean = _mean_of(averaging, normal, before) if normal else None
    except ArithmeticError:  # values no instrument can mean; one parameter must not stop the others
        mean, mark = None, max(mark, Mark.D)
    # What has no weight in a mean, such as what was measured without flow, is no extreme of it either.
    counted = [i for i in normal if i.weight > 0] if averaging is Averaging.MEAN else normal
    low, high = (None, None) if averaging is Averaging.SUM else _extremes(counted)
    return Average(
        parameter=parameter,
        mean=mean,
        minimum=low,
        maximum=high,
        mark=mark,
        valid=sum(i.valid for i in normal),
        total=sum(i.total for i in inputs),
        expected=expected,
    )


def _mean_of(averaging: Averaging, inputs: Sequence[Input], before: float | None) -> float | None:
    values = [i.value for i in inputs if i.value is not None]
    weights = [i.weight for i in inputs]
    if averaging is Averaging.VECTOR:
        return _vector(values, weights)
    if averaging is Averaging.MEAN and any(weight != 1.0 for weight in weights):
        return _weighted(values, weights)
    return _RULES[averaging](values, before)


def _extremes(normal: Sequence[Input]) -> tuple[float | None, float | None]:
    """The smallest and the largest of what entered; a counter has none, since its rise is what counts."""
    lows = [i.value if i.minimum is None else i.minimum for i in normal]
    highs = [i.value if i.maximum is None else i.maximum for i in normal]
    return min((v for v in lows if v is not None), default=None), max((v for v in highs if v is not None), default=None)


def roll_up(
    parameter: str,
    averaging: Averaging,
    parts: Iterable[Average],
    *,
    expected_inputs: int,
    strict: bool,
    valid: Callable[[Average], bool] | None = None,
    weights: Sequence[float] | None = None,
) -> Average:
    """The average of a longer period from the averages of shorter ones (hour from minutes, day from hours).

    Parts that are *valid* enter (those marked N when not given); *weights* go with the parts of a direction.
    """
    parts = list(parts)
    expected = round(sum(p.expected for p in parts) / len(parts) * expected_inputs) if parts else 0
    inputs = [
        Input(p.mean, p.mark, p.minimum, p.maximum, p.valid, p.total, weight, valid(p) if valid else None)
        for p, weight in zip(parts, weights or [1.0] * len(parts), strict=True)
    ]
    entered = sum(i.enters for i in inputs)
    if averaging is Averaging.SUM:  # the parts are rises already, true whatever their marks
        done = close(
            parameter, Averaging.LAST, inputs, expected_inputs=expected_inputs, expected=expected, strict=strict
        )
        rises = [p.mean for p in parts if p.mean is not None]
        return replace(done, mean=math.fsum(rises) if rises else None, minimum=None, maximum=None, parts=entered)
    done = close(parameter, averaging, inputs, expected_inputs=expected_inputs, expected=expected, strict=strict)
    return replace(done, parts=entered, indicative=any(p.indicative for p in parts))


def _mean(values: Sequence[float], before: float | None) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float | None:
    """Mean of *values* by *weights*; None where nothing has any weight.

    >>> _weighted([50.0, 80.0, 500.0], [10.0, 30.0, 0.0]), _weighted([50.0], [0.0])
    (72.5, None)
    """
    total = math.fsum(weights)
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / total if total > 0 else None


def _vector(values: Sequence[float], weights: Sequence[float]) -> float:
    """Direction of the sum of vectors as long as *weights*, degrees.

    Calm counts for nothing beside wind (weight 0); calm throughout, the vane's unit vectors are all there is.
    Opposite winds that cancel give the last one.

    >>> round(_vector([350.0, 10.0], [1.0, 1.0]), 6) % 360, round(_vector([0.0, 90.0], [0.0, 2.0]), 6)
    (0.0, 90.0)
    """
    if not any(weights):
        weights = [1.0] * len(values)
    east = math.fsum(w * math.sin(math.radians(v)) for v, w in zip(values, weights, strict=True))
    north = math.fsum(w * math.cos(math.radians(v)) for v, w in zip(values, weights, strict=True))
    if math.hypot(east, north) < 1e-9 * math.fsum(weights):
        return values[-1]
    return math.degrees(math.atan2(east, north)) % 360 % 360  # a hair below 0 would round to 360


def leq(levels: Sequence[float]) -> float:
    """Equivalent level of sound *levels* in dB over equal times: 10·lg of the mean of 10^(L/10) (GB 3096-2008, 3).

    >>> round(leq([60.0, 70.0]), 3)
    67.404
    """
    loudest = max(levels)  # taken out of the sum, so that no level is too high for it
    return loudest + 10 * math.log10(math.fsum(10 ** ((v - loudest) / 10) for v in levels) / len(levels))


def _energy(values: Sequence[float], before: float | None) -> float:
    """Equivalent level."""
    return leq(values)


def _increments(values: Sequence[float], before: float | None) -> float:
    """What a counter advanced, its resets to zero allowed for.

    A single 0 between two stands that fit each other is a bad reading: no register goes there and back.

    >>> _increments([10.2, 10.4, 0.2], before=10.0), _increments([10.2, 0.0, 10.4], before=10.0)
    (0.6, 0.4)
    """
    total, last = 0.0, values[0] if before is None else before
    for value, following in zip(values, [*values[1:], -math.inf], strict=True):
        if value == 0.0 < last <= following:
            continue
        total += value - last if value >= last else value
        last = value
    return round(total, 9)


def _last(values: Sequence[float], before: float | None) -> float:
    """A total as it stands at the end."""
    return values[-1]


_RULES: dict[Averaging, Callable[[Sequence[float], float | None], float]] = {
    Averaging.MEAN: _mean,
    Averaging.ENERGY: _energy,
    Averaging.SUM: _increments,
    Averaging.LAST: _last,
    Averaging.MAX: lambda values, before: max(values),
    Averaging.MIN: lambda values, before: min(values),
}
