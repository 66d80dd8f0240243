"""What bare registers may mean: every type and byte order at once, the plausible ones told apart."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence

from drivers.registers import ORDERS, TYPES
from station.model import dataclass

KINDS = ("u16", "i16", "u32", "i32", "f32")  # what is looked for; the profile language knows more
SMALLEST, LARGEST = 1e-3, 1e7  # of a measured value as a float; what random bits give lies mostly outside
LARGEST_COUNT = 10**9  # of a counter in 32 bits; what random bits give is mostly above
LARGEST_WORD = 10_000  # of a measured value in 16 bits; instruments keep away from the end of the span
SHORTEST_TEXT = 3  # printable characters in a row


@dataclass(frozen=True, slots=True)
class Guess:
    """The number at *address*, read as *type* in byte *order*; *plausible* when an instrument might mean it."""

    address: int
    type: str
    order: str
    raw: float
    plausible: bool

    @property
    def width(self) -> int:
        """How many registers it takes."""
        return TYPES[self.type][1]


def guesses(words: Mapping[int, int]) -> Iterator[Guess]:
    """Every way to read a number out of *words*, registers by their address.

    >>> [(g.order, g.raw) for g in guesses({0: 0x0000, 1: 0x418D}) if g.type == "f32" and g.plausible]
    [('CDAB', 17.625)]
    """
    for address in sorted(words):
        for type_ in KINDS:
            code, width, _, _ = TYPES[type_]
            if any(address + i not in words for i in range(width)):
                continue
            wire = b"".join(words[address + i].to_bytes(2, "big") for i in range(width))
            for order in ORDERS[width]:
                big = bytes(wire[order.index(letter)] for letter in "ABCD"[: 2 * width])
                (raw,) = struct.unpack(f">{code}", big)
                yield Guess(address, type_, order, raw, _plausible(type_, order, raw))


def _plausible(type_: str, order: str, raw: float) -> bool:
    match type_:
        case "f32":
            return math.isfinite(raw) and SMALLEST <= abs(raw) <= LARGEST
        case "u16":
            return order == "AB" and 0 < raw <= LARGEST_WORD
        case "i16":
            return order == "AB" and -LARGEST_WORD <= raw < 0
        case "u32":
            return order in ("ABCD", "CDAB") and 0xFFFF < raw <= LARGEST_COUNT and int(raw) & 0xFFFF != 0
        case _:
            return order in ("ABCD", "CDAB") and -LARGEST_COUNT <= raw < -0x8000


def bcd(word: int) -> int | None:
    """The number whose decimal digits are the four half bytes of *word*; None where one is no digit.

    >>> bcd(0x2370), bcd(0x23A0)
    (2370, None)
    """
    text = f"{word:04x}"
    return int(text) if text.isdecimal() else None


def text(words: Sequence[int]) -> str:
    """*words* as characters, a dot for what cannot be printed.

    >>> text([0x4132, 0x3000])
    'A20.'
    """
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for word in words for byte in word.to_bytes(2, "big"))


def texts(words: Mapping[int, int]) -> list[tuple[int, str]]:
    """Stretches of printable characters that could be a name or a serial number, each with its register.

    >>> texts({32: 0x4131, 33: 0x4232, 34: 0x0000, 35: 0x0041})
    [(32, 'A1B2')]
    """
    found: list[tuple[int, str]] = []
    run, start = "", 0
    for address in [*sorted(words), -1]:
        shown = text([words[address]]) if address in words else ".."
        follows = run and address == start + (len(run) + 1) // 2
        if "." not in shown and (follows or not run):
            run, start = run + shown, start if run else address
            continue
        whole = run + (shown[0] if follows and shown[0] != "." else "")
        if len(whole) >= SHORTEST_TEXT and any(letter.isalnum() for letter in whole):
            found.append((start, whole))
        run = "" if "." in shown else shown
        start = address
    return found
