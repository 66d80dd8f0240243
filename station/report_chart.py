"""Charts as SVG, drawn for a page that is read on a telephone and printed on A4: no script, no font, no picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 420, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 12, 22
TICKS = 4
SECTORS = 16


def steps(low: float, high: float, most: int = TICKS) -> list[float]:
    """Round values from *low* or below to *high* or above, about *most* of them.

    >>> steps(0, 87.0), steps(6.9, 7.4), steps(5.0, 5.0)
    ([0.0, 25.0, 50.0, 75.0, 100.0], [6.8, 7.0, 7.2, 7.4], [4.5, 4.75, 5.0, 5.25, 5.5])
    """
    if high <= low:
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def plain(value: float) -> str:
    """A number on an axis.

    >>> plain(0.05), plain(1200.0), plain(250000.0)
    ('0.05', '1200', '250000')
    """
    return f"{value:.10g}" if abs(value) < 1e9 else f"{value:.3g}"


def chart(dots: Sequence[Mapping[str, Any]], slots: int, labels: Mapping[int, str], *, bars: bool, title: str) -> str:
    """The *dots* of a period (slot, value, minimum, maximum, is_valid, text) over its *slots*, as bars or a line.

    A hollow dot is not valid; a vertical line goes from the smallest to the largest reading; *labels* are by slot.
    """
    shown = [dot for dot in dots if dot["value"] is not None]
    if not shown:
        return ""
    low = min(min(dot["value"], _or(dot["minimum"], dot["value"])) for dot in shown)
    high = max(max(dot["value"], _or(dot["maximum"], dot["value"])) for dot in shown)
    if bars or 0 <= low < high * 0.6:
        low = min(low, 0.0)
    if bars and high <= low:
        high = low + 1.0  # a month without rain
    ticks = steps(low, high)

    def x(slot: float) -> float:
        return round(LEFT + (slot + 0.5) * (WIDTH - LEFT - RIGHT) / slots, 1)

    def y(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    parts = [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t)}" y2="{y(t)}"/>' for t in ticks]
    parts += [f'<text class="tick" x="{LEFT - 5}" y="{y(t) + 3.5}" text-anchor="end">{plain(t)}</text>' for t in ticks]
    parts += [
        f'<text class="tick" x="{x(slot)}" y="{HEIGHT - 7}" text-anchor="middle">{escape(text)}</text>'
        for slot, text in labels.items()
    ]
    if bars:
        parts += _bars(shown, x, y, ticks[0], slots)
    else:
        parts += _line(shown, x, y)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _bars(shown: Sequence[Mapping[str, Any]], x: Any, y: Any, base: float, slots: int) -> list[str]:
    width = round((WIDTH - LEFT - RIGHT) / slots * 0.7, 1)
    made = []
    for dot in shown:
        top, bottom = sorted((y(dot["value"]), y(max(base, 0.0))))
        name = "bar" if dot["is_valid"] else "bar hollow"
        made.append(
            f'<rect class="{name}" x="{round(x(dot["slot"]) - width / 2, 1)}" y="{top}" width="{width}"'
            f' height="{round(bottom - top, 1)}">{_tip(dot)}</rect>'
        )
    return made


def _line(shown: Sequence[Mapping[str, Any]], x: Any, y: Any) -> list[str]:
    made = [
        f'<line class="reach" x1="{x(d["slot"])}" x2="{x(d["slot"])}" y1="{y(d["minimum"])}" y2="{y(d["maximum"])}"/>'
        for d in shown
        if d["minimum"] is not None and d["maximum"] is not None
    ]
    runs: list[list[Mapping[str, Any]]] = []
    for dot in shown:
        if runs and runs[-1][-1]["slot"] == dot["slot"] - 1:
            runs[-1].append(dot)
        else:
            runs.append([dot])
    for run in runs:
        points = " ".join(f"{x(dot['slot'])},{y(dot['value'])}" for dot in run)
        made += [f'<polyline class="line" points="{points}"/>'] if len(run) > 1 else []
    made += [
        f'<circle class="{"dot" if d["is_valid"] else "dot hollow"}" cx="{x(d["slot"])}" cy="{y(d["value"])}" r="2.6">'
        f"{_tip(d)}</circle>"
        for d in shown
    ]
    return made


def _tip(dot: Mapping[str, Any]) -> str:
    return f"<title>{escape(dot['text'])}</title>"


def rose(counts: Sequence[int], calm: int, names: Sequence[str], *, title: str) -> str:
    """How often the wind came from each of 16 directions; *names* are those of north, east, south and west."""
    most, size, centre = max([*counts, 1]), 62.0, 85.0
    parts = [f'<circle class="grid" cx="{centre}" cy="{centre}" r="{size * share}"/>' for share in (0.5, 1.0)]
    for sector, count in enumerate(counts):
        if count:
            parts.append(_petal(sector, size * math.sqrt(count / most), centre, count))
    for name, angle in zip(names, (0, 90, 180, 270), strict=True):
        left, top = _at(angle, size + 12, centre)
        parts.append(f'<text class="tick" x="{left}" y="{top + 3.5}" text-anchor="middle">{escape(name)}</text>')
    return (
        f'<svg class="rose" viewBox="0 0 170 170" role="img"><title>{escape(title)} ({calm})</title>'
        + "".join(parts)
        + "</svg>"
    )


def _petal(sector: int, length: float, centre: float, count: int) -> str:
    half = 360 / SECTORS * 0.42
    corners = [_at(sector * 22.5 + turn, length, centre) for turn in (-half, -half / 2, 0, half / 2, half)]
    points = " ".join(f"{left},{top}" for left, top in [(centre, centre), *corners])
    return f'<polygon class="bar" points="{points}"><title>{sector * 22.5:g}°: {count} h</title></polygon>'


def _at(angle: float, radius: float, centre: float) -> tuple[float, float]:
    """The point so far from the centre in the direction *angle*, north up and clockwise."""
    turn = math.radians(angle)
    return round(centre + radius * math.sin(turn), 1), round(centre - radius * math.cos(turn), 1)
