"""The arithmetic of a calibration: is a signal stable, lines and their r, drifts, factors, scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence

from station.calibrate import Coefficients
from station.model import WrongArgument, dataclass

SMALLEST_SLOPE = 1e-9  # ours: of a response that does not follow its standard


class NoLine(WrongArgument):
    """Error raised when no slope comes of what was taken; *reason* is flat, reversed, no_span or no_mean."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a signal counts as stable: over the last *readings*, noise and drift within their share of *scale*.

    Noise is the standard deviation about the straight line through them, drift what that line climbs from the first to
    the last.  It has to be watched for *seconds* at least, as the instrument wants to stay in a standard.  The defaults
    are ours; a maker's manual may ask for other ones.  A single reading is stable by itself: of an analyser, a result.
    """

    readings: int = 6
    noise_percent: float = 1.0
    drift_percent: float = 1.0
    seconds: float = 0.0


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
        stable=len(last) >= rule.readings
        and (seconds > 0 or rule.readings == 1)
        and series[-1][0] - series[0][0] >= rule.seconds
        and noise <= limits[0]
        and abs(drift) <= limits[1],
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
    sets: str, standards: Sequence[float], raws: Sequence[float], before: Coefficients
) -> Coefficients:
    """Slope and intercept under which *raws* show their *standards*; raise NoLine where no line can.

    *sets* the intercept moves it alone, and so does the slope.  With several standards the line is drawn through the
    response (raw on standard, whose error is the smaller one) and turned round, so r and residuals are those of the
    response.

    >>> coefficients_for("line", [0.0, 400.0], [2.0, 382.0], (1.0, 0.0))
    (1.0526315789473684, -2.1052631578947367)
    """
    slope, intercept = before
    if sets == "intercept":
        return slope, standards[0] - slope * raws[0]
    if sets == "factor":
        return factor(standards, raws), 0.0
    if sets == "slope":
        if abs(raws[0]) < SMALLEST_SLOPE or abs(standards[0] - intercept) < SMALLEST_SLOPE:
            raise NoLine("no_span", "a span of zero says nothing of the slope; use a standard well above zero")
        slope, intercept = (standards[0] - intercept) / raws[0], intercept
    elif sets == "line":
        response = line_through(standards, raws)
        if response is None or abs(response[0]) < SMALLEST_SLOPE:
            raise NoLine("flat", "the response has a slope of zero: the instrument does not follow the standards")
        slope, intercept = 1 / response[0], -response[1] / response[0]
    if slope <= 0:
        raise NoLine(
            "reversed", f"the slope would be {slope:.4g}: standards were mixed up, or the response is reversed"
        )
    return slope, intercept


def factor(references: Sequence[float], raws: Sequence[float]) -> float:
    """K of an optical instrument: mean of the reference over mean of its own, over paired hours (digest B5, medium).

    >>> factor([40.0, 60.0], [50.0, 75.0])
    0.8
    """
    own, mean = math.fsum(raws) / len(raws), math.fsum(references) / len(references)
    if own < SMALLEST_SLOPE or mean < SMALLEST_SLOPE:
        raise NoLine("no_mean", "the factor would be zero or below: one of the two series has no mean above zero")
    return mean / own


def scatter(values: Sequence[float], standard: float) -> tuple[float, float | None]:
    """Error of the mean of *values* in one *standard*, and their relative standard deviation, both in percent.

    >>> error, deviation = scatter([98.0, 100.0, 102.0], 100.0)
    >>> error, deviation
    (0.0, 2.0)
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2 or mean == 0:
        return (mean - standard) / standard * 100, None
    spread = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return (mean - standard) / standard * 100, math.sqrt(spread) / abs(mean) * 100


def drift_percent(value: float, reference: float, full_scale: float) -> float:
    """Zero or span drift by HJ 75-2017 (digest B5, high): (z - z0) / R · 100 %.

    >>> round(drift_percent(3.2, 0.7, 100.0), 6)
    2.5
    """
    return (value - reference) / full_scale * 100
