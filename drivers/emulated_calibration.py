"""How an emulated instrument is calibrated: its coefficients, what it was told in which standard, what comes of it."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

from drivers.profile import Action, Coefficients, Given, Profile, Step
from drivers.registers import Operand, Request

Line = tuple[float, float]  # slope, intercept
SAME_STANDARD = 0.005  # a buffer it knows, as it is told


class Calibrator:
    """The calibration of an instrument of *profile*: value = slope · what its element gives + intercept.

    *written* are the registers that somebody wrote, *element* tells what its element gives for a parameter.  All of it
    outlives a power cut but what it was told of a calibration that is not over.  While it is *stubborn* it acknowledges
    new coefficients and keeps what it had.  *verdict* is what it says of the next calibration, whatever it was.
    """

    def __init__(self, profile: Profile, written: dict[int, int], element: Callable[[str], float | None]) -> None:
        self.profile = profile
        self.stubborn = False
        self.verdict: int | None = None
        self._written, self._element = written, element
        self._lines: dict[str, Line] = {}  # of parameters whose coefficients stand in no register
        self._given: dict[str, float] = {}  # what the action under way was told
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._said: dict[str, int] = {}

    def value(self, parameter: str, element: float) -> float:
        """What it shows where its element gives *element*."""
        slope, intercept = self._line(parameter)
        return slope * element + intercept

    def forget(self) -> None:
        """A power cut: the standards of a calibration that was under way."""
        self._given.clear()
        self._points.clear()

    def keeps(self, address: int) -> bool:
        """Whether *address* holds a coefficient."""
        return any(first <= address <= last for first, last in self.profile.coefficient_spans)

    def hear(self, step: Step, body: bytes) -> None:
        """Take what the write *body* brings for *step*."""
        given = step.given
        if given is None or given.type == "ascii":
            return
        words = body[3:] if step.function == 6 else body[6:]
        self._given[given.name] = _number(given, words[: 2 * given.width])

    def acted(self, action: Action) -> None:
        """*action*, of a calibration, is done."""
        standard = self._given.pop("standard", action.standards[0] if action.standards else None)
        for parameter in action.parameters or self.profile.parameters:
            match action.type:
                case "begin" | "cancel":
                    self._points[parameter] = []
                case "point" if standard is not None:
                    self._point(action, parameter, standard)
                case "end":
                    self._fit(parameter)
                case "zero" if standard is not None:
                    self._shift(parameter, standard)
                case "span" if standard is not None:
                    self._stretch(parameter, standard)

    def says(self, step: Step) -> int:
        """What the register that *step* looks at says of its calibration."""
        if self.verdict is not None:
            return self.verdict
        parameter = next((p for p, s in self._said.items() if s is not None), "")
        return self._said.get(parameter, step.value)

    # -- what it does with a standard

    def _point(self, action: Action, parameter: str, standard: float) -> None:
        step = next((s for s in action.sequence if s.do == "expect"), None)
        known = action.standards
        if known and not any(abs(standard - one) < SAME_STANDARD for one in known):
            self._said[parameter] = min(step.says, default=1) if step is not None else 0
            return
        points = self._points.setdefault(parameter, [])
        element = self._element(parameter)
        if element is not None:
            points[:] = [*(one for one in points if one[1] != standard), (element, standard)]
        done = bool(known) and len(points) >= len(known)
        if done and self.verdict is None:
            self._fit(parameter)
        if step is not None:
            self._said[parameter] = step.value if done or step.partial is None else step.partial

    def _fit(self, parameter: str) -> None:
        """The straight line through its points, which it forgets."""
        points = self._points.pop(parameter, [])
        if not points:
            return
        if len(points) == 1:
            slope = self._line(parameter)[0]
            self._set(parameter, (slope, points[0][1] - slope * points[0][0]))
            return
        x, y = (math.fsum(side) / len(points) for side in zip(*points, strict=True))
        spread = math.fsum((a - x) ** 2 for a, _ in points)
        if spread:
            slope = math.fsum((a - x) * (b - y) for a, b in points) / spread
            self._set(parameter, (slope, y - slope * x))

    def _shift(self, parameter: str, standard: float) -> None:
        element, slope = self._element(parameter), self._line(parameter)[0]
        if element is not None:
            self._set(parameter, (slope, standard - slope * element))

    def _stretch(self, parameter: str, standard: float) -> None:
        element, intercept = self._element(parameter), self._line(parameter)[1]
        if element:
            self._set(parameter, ((standard - intercept) / element, intercept))

    # -- where it keeps it

    def _line(self, parameter: str) -> Line:
        coefficients = self.profile.coefficients_of(parameter)
        if coefficients is None:
            return self._lines.get(parameter, (1.0, 0.0))
        slope, intercept = coefficients.line
        over = slope.example if slope is not None and coefficients.saved else 1.0
        under = intercept.example if intercept is not None and coefficients.saved else 0.0
        return (self._held(slope) / over if slope else 1.0), (self._held(intercept) - under if intercept else 0.0)

    def _set(self, parameter: str, line: Line) -> None:
        if self.stubborn:
            return
        coefficients = self.profile.coefficients_of(parameter)
        if coefficients is None:
            self._lines[parameter] = line
            return
        for place, number in zip(coefficients.line, self._scaled(coefficients, line), strict=True):
            if place is not None:
                self._written.update(enumerate(place.words(place.raw(number)), place.address))

    def _scaled(self, coefficients: Coefficients, line: Line) -> Sequence[float]:
        """*line* as it stands in the registers: those it only saves begin with numbers of their own."""
        slope, intercept = coefficients.line
        if not coefficients.saved or slope is None or intercept is None:
            return line
        return line[0] * slope.example, line[1] + intercept.example

    def _held(self, place: Operand) -> float:
        if place.address not in self._written:
            return place.example
        words = [self._written.get(address, 0) for address in range(place.address, place.end)]
        raw = _unpacked(place, struct.pack(f">{len(words)}H", *words))
        number = place.number(raw)
        return math.nan if number is None else number


def _number(given: Given, words: bytes) -> float:
    scale = given.scale if given.decimals is None else 10.0**-given.decimals.example
    return _unpacked(given, words) * scale


def _unpacked(place: Operand | Given, payload: bytes) -> float:
    (raw,) = Request("holding", place.address, place.width, (place,)).raws(payload)
    return float(raw)
