"""Lines of a screen from a template: placeholders between braces, and how many columns they take.

{pm25.value:>6}      a parameter of the only point: value, unit, name, mark or time
{site.pm25.value}    of the point with that code
{site.name}          the point's name
{station} {date} {time}   the station's name, today and now

A width (6, <6, >6 or ^6) counts half-width columns.  What is wider than its width is shown as ###, never cut: a number
without its first digit is another number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from station.model import dataclass, did_you_mean

WHATS = ("value", "unit", "name", "mark", "time")
PLAIN = {"station": "", "date": "2026-11-30", "time": "00:00"}  # and how wide they are, from an example
PLACE = re.compile(r"\{([^{}:]*)(?::([<>^]?)(\d{1,2}))?\}")
WIDEST_VALUE = 7  # columns a value without a width is taken to need
FULL = "#"
# What Chinese character sets lack, and what stands for it on a screen: the micro sign, raised figures.
STAND_INS = str.maketrans({"µ": "μ", "²": "2", "³": "3", "¹": "1", "⁻": "-", "–": "-", "₂": "2", "₃": "3", "·": "."})


def plain(text: str, encoding: str) -> str:
    """*text* with signs that *encoding* lacks written by others.

    >>> plain("35 µg/m³", "gb2312"), plain("35 µg/m³", "utf-8")
    ('35 μg/m3', '35 µg/m³')
    """
    return text if encoding == "utf-8" else text.translate(STAND_INS)


def columns(text: str) -> int:
    """How many half-width characters wide *text* is: all that GBK writes in two bytes are two.

    >>> columns("PM10 维护"), columns("35μg")
    (9, 5)
    """
    return sum(1 if sign.isascii() else 2 for sign in text)


@dataclass(frozen=True, slots=True)
class Place:
    """One placeholder: *what* of *parameter* at *point*; both "" for those of PLAIN, the second for a point's name."""

    what: str
    point: str = ""
    parameter: str = ""
    side: str = ""
    width: int = 0

    def fitted(self, text: str) -> str:
        """*text* at the width of the placeholder; ### where it does not fit."""
        if not self.width:
            return text
        room = self.width - columns(text)
        if room < 0:
            return FULL * self.width
        side = self.side or (">" if self.what == "value" else "<")
        left = room if side == ">" else room // 2 if side == "^" else 0
        return " " * left + text + " " * (room - left)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page: texts and placeholders in turn."""

    parts: Sequence[str | Place]

    @property
    def places(self) -> Iterator[Place]:
        """The placeholders of the line."""
        return (part for part in self.parts if not isinstance(part, str))

    def joined(self, said: Callable[[Place], str]) -> str:
        """The line as long as it comes."""
        return "".join(part if isinstance(part, str) else part.fitted(said(part)) for part in self.parts)

    def filled(self, said: Callable[[Place], str], width: int) -> str:
        """The line at exactly *width* columns; ### all along where it does not fit."""
        text = self.joined(said)
        room = width - columns(text)
        return text + " " * room if room >= 0 else FULL * width


class Wrong(ValueError):
    """Error raised when a template cannot be used; says why."""


def parse(template: str, points: Sequence[str], parameters: Mapping[str, Any]) -> Line:
    """The line that *template* is; raise Wrong with a sentence where it is none."""
    parts: list[str | Place] = []
    at = 0
    for found in PLACE.finditer(template):
        parts.append(template[at : found.start()])
        parts.append(_place(found, points, parameters))
        at = found.end()
    parts.append(template[at:])
    loose = next((sign for part in parts if isinstance(part, str) for sign in part if sign in "{}"), None)
    if loose:
        raise Wrong(f'"{template}" has a {loose} that belongs to no placeholder such as {{pm25.value:>6}}')
    return Line(tuple(part for part in parts if part))


def _place(found: re.Match[str], points: Sequence[str], parameters: Mapping[str, Any]) -> Place:
    name, side, width = found[1], found[2] or "", int(found[3] or 0)
    words = name.split(".")
    if len(words) == 1:
        if name not in PLAIN:
            hint = did_you_mean(name, dict.fromkeys([*PLAIN, *(f"{one}.value" for one in parameters)]))
            raise Wrong(f"{{{name}}} is not known; {', '.join(PLAIN)} stand alone, values are {{pm25.value}}{hint}")
        return Place(name, side=side, width=width)
    if len(words) == 2 and words[1] == "name" and words[0] in points:
        return Place("name", words[0], side=side, width=width)
    if len(words) == 2:
        if len(points) > 1 and words[0] in parameters:
            raise Wrong(f"{{{name}}}: the platform is told of several points; write one before it: {points[0]}.{name}")
        words = [*points[:1], *words]
    if len(words) != 3:
        raise Wrong(f"{{{name}}} is not known; values are written {{pm25.value}} or {{point.pm25.value}}")
    point, parameter, what = words
    for word, known, of in ((point, points, "point"), (parameter, parameters, "parameter"), (what, WHATS, "word")):
        if word not in known:
            some = f"; known: {', '.join(known)}" if of != "parameter" else ""
            raise Wrong(f'{{{name}}}: there is no {of} "{word}"{did_you_mean(word, dict.fromkeys(known))}{some}')
    return Place(what, point, parameter, side, width)
