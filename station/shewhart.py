"""Control charts of checks: centre, warning and action limits, and the points that are out of them; pure functions.

The limits are the mean and the standard deviation (n - 1) of the checks they are made from: mean ± 2 s warn, ± 3 s act.
The rules are Shewhart's limit of three s and the four run rules of the Western Electric handbook (1956), from recall
(confidence low: neither it nor GB/T 17989, which treats such charts, was read; nothing is said to conform to either).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from station.model import dataclass

BASE = 20  # ours: the first so many checks that passed make the limits
FEWEST = 8  # ours: fewer make none
# (name, so many, of so many, beyond how many s on one side); Western Electric, recalled: low
RULES: Sequence[tuple[str, int, int, float]] = (
    ("one_beyond_3s", 1, 1, 3.0),
    ("two_of_three_beyond_2s", 2, 3, 2.0),
    ("four_of_five_beyond_1s", 4, 5, 1.0),
    ("eight_on_one_side", 8, 8, 0.0),
)
SOURCE, CONFIDENCE = "Western Electric 1956, recalled", "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One check: its *value*, whether it *passed*, whether it may make limits (not while the trend is locked)."""

    name: str
    at: str
    value: float
    passed: bool
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Centre and spread, and how many checks they are made of."""

    centre: float
    s: float
    count: int

    def line(self, times: float) -> float:
        """The line *times* s away from the centre."""
        return self.centre + times * self.s


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Points with their limits (None while there are too few), and by point the rules it breaks."""

    points: Sequence[Point]
    limits: Limits | None
    broken: Sequence[tuple[str, ...]]


def limits_of(points: Sequence[Point], base: int = BASE) -> Limits | None:
    """The limits that the first *base* of *points* make that passed and count; None of fewer than FEWEST.

    >>> points = [Point(name=f"Q{n}", at="", value=v, passed=True) for n, v in enumerate([9, 11] * 4)]
    >>> limits = limits_of(points)
    >>> limits.centre, round(limits.s, 4), limits.count
    (10.0, 1.069, 8)
    """
    values = [one.value for one in points if one.passed and one.counts][:base]
    if len(values) < FEWEST:
        return None
    centre = math.fsum(values) / len(values)
    s = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))
    return Limits(centre=centre, s=s, count=len(values))


def chart(points: Sequence[Point], base: int = BASE) -> Chart:
    """The control chart of *points*, oldest first."""
    limits = limits_of(points, base)
    if limits is None or limits.s == 0:
        return Chart(points=points, limits=limits, broken=[()] * len(points))
    scores = [(one.value - limits.centre) / limits.s for one in points]
    return Chart(points=points, limits=limits, broken=[_broken(scores[: n + 1]) for n in range(len(points))])


def _broken(scores: Sequence[float]) -> tuple[str, ...]:
    """The rules that the last of *scores* completes.

    >>> _broken([0.1, 3.2]), _broken([2.1, 0.0, 2.2]), _broken([1.1, 1.2, 0.0, 1.5, 1.3]), _broken([0.1] * 8)
    (('one_beyond_3s',), ('two_of_three_beyond_2s',), ('four_of_five_beyond_1s',), ('eight_on_one_side',))
    >>> _broken([2.1, 2.2, 0.0])
    ()
    """
    found = []
    for name, needed, of, beyond in RULES:
        window = scores[-of:]
        for sign in (1, -1):
            far = [sign * score > beyond for score in window]
            if len(window) >= needed and far[-1] and sum(far) >= needed:
                found.append(name)
    return tuple(found)


# -- on a terminal

WIDTH = 61
AXIS = 4.5  # s to each side of the centre: one far point does not press the others together


def ascii_chart(made: Chart, last: int = 30, width: int = WIDTH) -> list[str]:
    """*made* sideways, a line for each of the *last* points: o within, ! out of a rule, X failed.

    The columns are the limits: | centre, : ± 2 s, # ± 3 s.
    """
    low, high = _span(made)

    def column(value: float) -> int:
        return max(0, min(width - 1, round((value - low) / (high - low) * (width - 1))))

    rail = [" "] * width
    if made.limits is not None:
        for times, sign in ((0, "|"), (2, ":"), (-2, ":"), (3, "#"), (-3, "#")):
            rail[column(made.limits.line(times))] = sign
    lines = []
    for one, broken in list(zip(made.points, made.broken, strict=True))[-last:]:
        row = list(rail)
        row[column(one.value)] = "X" if not one.passed else "!" if broken else "o"
        lines.append(f"{one.at[:16].replace('T', ' '):16} {''.join(row)} {one.value:.5g}".rstrip())
    return lines


def _span(made: Chart) -> tuple[float, float]:
    """The axis: a little more than the action limits, at whose ends what is farther away stands; else every value."""
    if made.limits is not None and made.limits.s > 0:
        return made.limits.line(-AXIS), made.limits.line(AXIS)
    values = [one.value for one in made.points]
    low, high = min(values), max(values)
    margin = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


# -- as a picture

SVG_WIDTH, SVG_HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 56, 28, 40
STYLE = (
    "text{font:11px sans-serif;fill:#333}.centre{stroke:#2a6;stroke-width:1.4}"
    ".warn{stroke:#d90;stroke-dasharray:6 4}.act{stroke:#c22}.path{fill:none;stroke:#468;stroke-width:1}"
    ".in{fill:#468}.out{fill:#d90}.failed{fill:#c22}"
)


def svg_chart(made: Chart, title: str, note: str, last: int = 60) -> str:
    """*made* as an SVG: the *last* points over the lines of its limits, *title* above and *note* below."""
    shown = list(zip(made.points, made.broken, strict=True))[-last:]
    low, high = _span(made)

    def x(n: int) -> float:
        return round(LEFT + (n + 0.5) * (SVG_WIDTH - LEFT - RIGHT) / len(shown), 1)

    def y(value: float) -> float:
        share = max(0.0, min(1.0, (value - low) / (high - low)))
        return round(SVG_HEIGHT - BOTTOM - share * (SVG_HEIGHT - TOP - BOTTOM), 1)

    parts = [f'<text x="{LEFT}" y="16">{escape(title)}</text>']
    parts += [f'<text x="{LEFT}" y="{SVG_HEIGHT - 6}">{escape(note)}</text>']
    for times, kind in ((3, "act"), (2, "warn"), (0, "centre"), (-2, "warn"), (-3, "act")):
        if made.limits is None:
            break
        value = made.limits.line(times)
        label = "x̄" if times == 0 else f"{times:+d} s"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{SVG_WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text x="{SVG_WIDTH - RIGHT + 4}" y="{y(value) + 4}">{label}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{value:.5g}</text>')
    places = [(x(n), y(one.value)) for n, (one, _) in enumerate(shown)]
    parts.append(f'<polyline class="path" points="{" ".join(f"{a},{b}" for a, b in places)}"/>')
    for (a, b), (one, broken) in zip(places, shown, strict=True):
        kind = "failed" if not one.passed else "out" if broken else "in"
        said = f"{one.name} {one.at[:16].replace('T', ' ')}: {one.value:.6g}"
        parts.append(f'<circle class="{kind}" cx="{a}" cy="{b}" r="3.4"><title>{escape(said)}</title></circle>')
    for n in {0, len(shown) - 1}:
        parts.append(
            f'<text x="{x(n)}" y="{SVG_HEIGHT - 22}" text-anchor="middle">{escape(shown[n][0].at[:10])}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SVG_WIDTH} {SVG_HEIGHT}" role="img">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>"
    )
