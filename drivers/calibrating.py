"""An instrument calibrated in itself: what it can do, coefficients in its registers, what it is told beside a command.

Coefficients are read, and written behind the profile's unlocking, read back and compared.  An instrument that refuses,
falls silent or reads back something else gets the former ones again, in the same breath; where even that fails, the
sentence says what belongs there.  Nothing here is ever done by a poll.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from drivers.base import DeviceError, DeviceException, DriverError
from drivers.profile import Action, Coefficients, Given, Profile, Step, Write
from drivers.registers import Operand, Request
from station.model import dataclass, replace


class NotTaken(DeviceError):
    """Error raised when an instrument does not take coefficients; the former ones are in force again."""


class NotRestored(DeviceError):
    """Error raised when the former coefficients could not be put back either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """An instrument as it is touched here: one question, one write, or steps."""

    name: str
    profile: Profile
    ask: Callable[[Request], bytes]
    write: Callable[[Write], None]
    through: Callable[[Iterable[Step]], None]


def ways(profile: Profile, parameter: str) -> dict[str, Any]:
    """How an instrument of *profile* can be calibrated in itself for *parameter*, as plain values.

    `halves` are zero and span where it takes them, `wants_value` those of them that are told the standard's value;
    `points` is how many standards it goes through by itself (0: any number up to ten; None: it does not), `standards`
    the values it knows, `writes` which of slope and intercept it keeps in registers, `saved` whether former
    coefficients can be put back, `settle_seconds` how long it wants to stay in a standard.
    """
    own = [
        action
        for action in profile.actions
        if action.verb == "calibrate" and (not action.parameters or parameter in action.parameters)
    ]
    points = [action for action in own if action.type == "point"]
    known = next((action.standards for action in points if action.standards), ())
    coefficients = profile.coefficients_of(parameter)
    halves = [half for half in ("zero", "span") if any(action.type in ("", half) for action in own)]
    return {
        "halves": halves,
        "wants_value": [
            half for half in halves if any(a.type == half and any(step.given for step in a.sequence) for a in own)
        ],
        "points": (max(len(known), len(points) if points[0].number else 0)) if points else None,
        "standards": list(known),
        "stages": sorted({action.type for action in own if action.type in ("begin", "end", "cancel")}),
        "writes": [name for name in ("slope", "intercept") if coefficients and getattr(coefficients, name)],
        "saved": coefficients is not None,
        "settle_seconds": max((action.settle_seconds for action in own), default=0.0),
    }


# -- what an action is given


def bound(hands: Hands, action: Action, arguments: Mapping[str, str]) -> Action:
    """*action* with the numbers and texts of *arguments* in its writes; raise DeviceError where one is missing."""
    steps = tuple(
        step if step.given is None else replace(step, values=(*_words(hands, step.given, arguments), *step.given.then))
        for step in action.sequence
    )
    return replace(action, steps=steps)


def _words(hands: Hands, given: Given, arguments: Mapping[str, str]) -> tuple[int, ...]:
    text = arguments.get(given.name, "")
    if not text:
        what = "sample" if given.name == "bottle" else "calibration"
        raise DeviceError(f"{hands.name}: is told the {given.name} of a {what}, and none was given")
    decimals = 0.0
    if given.decimals is not None:
        found = given.decimals.number(_raw(hands, given.decimals))
        if found is None:
            raise DeviceError(f"{hands.name}: its number of decimals cannot be; nothing was written")
        decimals = found
    try:
        return given.words_for(text if given.type == "ascii" else float(text), decimals)
    except (ValueError, struct.error) as error:
        raise DeviceError(f"{hands.name}: {given.name} {text} cannot be written: {error}") from error


def _raw(hands: Hands, place: Operand) -> float:
    request = Request(place.table, place.address, place.width, (place,))
    (raw,) = request.raws(hands.ask(request))
    return float(raw)


def expect(name: str, step: Step, payload: bytes, last: bool) -> None:
    """Raise NotTaken where the instrument says of a calibration what *step* does not expect."""
    (raw,) = step.asked.raws(payload)
    if raw & step.mask == step.value or (not last and raw == step.partial):
        return
    told = step.says.get(int(raw)) or (f"{step.value:g} would be good")
    raise NotTaken(f"{name}: says {raw} of its calibration: {told}; its former calibration is in force")


# -- coefficients in registers


def carry_out(hands: Hands, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
    """Do read_, write_ or restore_coefficients; raise DeviceError.

    What they stand in is told as `words` (hex), and as `slope` and `intercept` where it has them.  A write brings
    these two, and the `words` it expects to find: registers that somebody else has changed are left alone.
    """
    parameter = arguments.get("parameter", "")
    coefficients = hands.profile.coefficients_of(parameter)
    if coefficients is None:
        raise DeviceError(f"{hands.name}: keeps no coefficients of {parameter} in registers")
    former = _read(hands, coefficients)
    if verb == "read_coefficients":
        return _told(coefficients, former)
    if verb == "restore_coefficients":
        wanted = _of_hex(hands, coefficients, arguments.get("words", ""))
    elif verb == "write_coefficients":
        wanted = _target(hands, coefficients, former, arguments)
        if former != wanted and arguments.get("words") and former != _of_hex(hands, coefficients, arguments["words"]):
            raise NotTaken(
                f"{hands.name}: its coefficients are not those of the beginning of this calibration"
                f" ({_said(coefficients, former)}): somebody changed them; cancel it and begin again"
            )
    else:
        raise DeviceError(f"{hands.name}: has no way to {verb}")
    if former != wanted:
        _change(hands, coefficients, former, wanted)
    else:
        _lock_if_open(hands)  # a power cut may have come between its unlocking and the write
    return _told(coefficients, wanted)


def _read(hands: Hands, coefficients: Coefficients) -> bytes:
    """All its registers, one run after another."""
    found = b""
    for first, last in coefficients.spans:
        found += hands.ask(Request("holding", first, last - first + 1, ()))
    return found


def _told(coefficients: Coefficients, words: bytes) -> dict[str, str]:
    numbers = _numbers(coefficients, words)
    named = {name: numbers.get(place) for name, place in zip(("slope", "intercept"), _own(coefficients), strict=True)}
    plain = {name: repr(number) for name, number in named.items() if number is not None}
    return {"words": words.hex(), "numbers": " ".join(f"{number:.6g}" for number in numbers.values())} | plain


def _own(coefficients: Coefficients) -> tuple[Operand | None, Operand | None]:
    return coefficients.slope, coefficients.intercept


def _numbers(coefficients: Coefficients, words: bytes) -> dict[Operand | None, float]:
    """What stands in each register; nan where it is no number."""
    found: dict[Operand | None, float] = {}
    for place, payload in _each(coefficients, words):
        (raw,) = Request("holding", place.address, place.width, (place,)).raws(payload)
        number = place.number(raw)
        found[place] = float("nan") if number is None else float(number)
    return found


def _each(coefficients: Coefficients, words: bytes) -> Iterable[tuple[Operand, bytes]]:
    starts, at = {}, 0
    for first, last in coefficients.spans:
        starts[first, last] = at
        at += 2 * (last - first + 1)
    for place in coefficients.places:
        (first, _), start = next((span, at) for span, at in starts.items() if span[0] <= place.address <= span[1])
        begin = start + 2 * (place.address - first)
        yield place, words[begin : begin + 2 * place.width]


def _said(coefficients: Coefficients, words: bytes) -> str:
    return ", ".join(f"{number:.6g}" for number in _numbers(coefficients, words).values())


def _of_hex(hands: Hands, coefficients: Coefficients, text: str) -> bytes:
    with suppress(ValueError):
        words = bytes.fromhex(text)
        if len(words) == sum(2 * (last - first + 1) for first, last in coefficients.spans):
            return words
    raise DeviceError(f"{hands.name}: the former coefficients on record do not fit its registers; nothing was written")


def _target(hands: Hands, coefficients: Coefficients, former: bytes, arguments: Mapping[str, str]) -> bytes:
    """*former* with slope and intercept as *arguments* have them."""
    wanted = b""
    for place, old in _each(coefficients, former):
        name = "slope" if place is coefficients.slope else "intercept" if place is coefficients.intercept else ""
        if name not in arguments:
            wanted += old
            continue
        try:
            number = float(arguments[name])
            if not math.isfinite(number):
                raise ValueError("it is no number")
            words = place.words(place.raw(number))
        except (ValueError, OverflowError, struct.error) as error:
            raise DeviceError(f"{hands.name}: {name} {arguments[name]} does not fit its register: {error}") from error
        wanted += b"".join(word.to_bytes(2, "big") for word in words)
    return wanted


def _change(hands: Hands, coefficients: Coefficients, former: bytes, wanted: bytes) -> None:
    """Write *wanted* and see it read back, or *former* again."""
    try:
        _write(hands, coefficients, wanted)
        got = _read(hands, coefficients)
        if got != wanted:
            raise DeviceError(f"{hands.name}: reads back {_said(coefficients, got)}")
    except DriverError as error:
        _put_back(hands, coefficients, former, error)
        raise NotTaken(
            f"{hands.name}: does not take {_said(coefficients, wanted)} ({_without(hands, error)});"
            f" its former coefficients {_said(coefficients, former)} are in force"
        ) from error


def _put_back(hands: Hands, coefficients: Coefficients, former: bytes, cause: DriverError) -> None:
    try:
        if _read(hands, coefficients) != former:
            _write(hands, coefficients, former)
            got = _read(hands, coefficients)
            if got != former:
                raise DeviceError(f"{hands.name}: reads back {_said(coefficients, got)}")
        else:
            _lock_if_open(hands)  # which may be what failed
    except DriverError as error:
        raise NotRestored(
            f"{hands.name}: did not take new coefficients ({_without(hands, cause)}), and it is not known whether the"
            f" former ones are in force ({_without(hands, error)}); {_said(coefficients, former)} belong there:"
            " cancel the calibration when it answers, which puts them back"
        ) from error


def _lock_if_open(hands: Hands) -> None:
    with suppress(DeviceException):  # one that is locked takes nothing, its lock neither
        hands.through(hands.profile.lock)


def _without(hands: Hands, error: DriverError) -> str:
    return str(error).removeprefix(f"{hands.name}: ")


def _write(hands: Hands, coefficients: Coefficients, words: bytes) -> None:
    """Unlock, write each run of registers, lock again whatever happened."""
    try:
        hands.through(hands.profile.unlock)
        at = 0
        for first, last in coefficients.spans:
            size = last - first + 1
            values = struct.unpack(f">{size}H", words[at : at + 2 * size])
            at += 2 * size
            if coefficients.function == 16:
                hands.write(Write(function=16, address=first, values=values))
            else:
                for address, value in enumerate(values, first):
                    hands.write(Write(function=6, address=address, values=(value,)))
    finally:
        hands.through(hands.profile.lock)
