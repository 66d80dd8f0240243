""" "The display says 23.7": which registers, type, byte order, scale and offset fit, and go on fitting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from drivers.guess import guesses
from drivers.registers import Register
from station.model import dataclass, replace

SCALES = ("1", "0.1", "0.01", "0.001", "0.0001", "10", "100")
OFFSETS = ("0", "-40", "-50", "-100", "-20", "-273.15")
LIKELY = {"1": 0, "0.1": 0, "0.01": 1, "0.001": 2, "10": 3, "100": 4, "0.0001": 4}  # how unusual a scale is
DRIFT_DIGITS = 1  # of the last digit shown: the display and the registers are not read at one moment
UNSIGNED, SIGNED = "u16", "i16"
BELOW_ZERO = ("temperature", "orp", "dew_point")  # words of parameters whose values can be negative


@dataclass(frozen=True, slots=True)
class Shown:
    """What a display showed, as it was typed, and the registers by their address, as they were read meanwhile."""

    text: str
    reads: tuple[Mapping[int, int], ...]

    @property
    def value(self) -> Decimal:
        """The number shown."""
        return number(self.text)

    @property
    def digit(self) -> Decimal:
        """What one step of its last digit is worth.

        >>> Shown("23.7", ()).digit, Shown("180", ()).digit
        (Decimal('0.1'), Decimal('1'))
        """
        return Decimal(1).scaleb(int(self.value.as_tuple().exponent))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to get what was shown: value = raw × *scale* + *offset*; *rank* is lower for likelier ones."""

    table: str
    address: int
    type: str
    order: str
    scale: str
    offset: str
    value: float  # what it reads now
    rank: tuple[float, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """What it is, whatever it reads."""
        return (self.table, str(self.address), self.type, self.order, self.scale, self.offset)

    def as_dict(self) -> dict[str, Any]:
        """The candidate for programs, in the words of a profile."""
        return {
            "table": self.table,
            "address": self.address,
            "type": self.type,
            "order": self.order,
            "scale": float(self.scale),
            "offset": float(self.offset),
            "value": self.value,
        }


def number(text: str) -> Decimal:
    """The number in *text*; ValueError where there is none.

    >>> number("23,7"), number("-4.50")
    (Decimal('23.7'), Decimal('-4.50'))
    """
    try:
        found = Decimal(text.strip().replace(",", "."))
    except InvalidOperation as error:
        raise ValueError(f'"{text}" is not a number such as 23.7') from error
    if not found.is_finite() or int(found.as_tuple().exponent) > 0:
        raise ValueError(f'"{text}" is not a number such as 23.7')
    return found


def candidates(shown: Sequence[Shown], table: str) -> list[Candidate]:
    """What fits every one of *shown*, the likeliest first; registers are of *table*.

    A number fits when it is what was shown, rounded or cut to the digits shown, give or take one of the last.
    """
    if not shown:
        return []
    keys: set[tuple[str, ...]] | None = None
    found: dict[tuple[str, ...], Candidate] = {}
    for one in shown:
        fitting = {c.key: c for read in one.reads for c in _fitting(one, read, table)}
        keys = set(fitting) if keys is None else keys & set(fitting)
        found |= fitting
    ranked = [_ranked(found[key], shown) for key in keys or ()]
    return _without_twins(sorted(ranked, key=lambda c: (c.rank, c.type != UNSIGNED, c.key)))


def _fitting(shown: Shown, words: Mapping[int, int], table: str) -> Iterator[Candidate]:
    slack = shown.digit * DRIFT_DIGITS
    for guess in guesses(words):
        if guess.type == "f32" and not guess.plausible and guess.raw != 0:
            continue
        raw = Decimal(repr(guess.raw)) if guess.type != "f32" else Decimal(f"{guess.raw:.7g}")
        if not raw.is_finite():
            continue
        scales = SCALES if guess.type != "f32" else ("1", "0.001", "1000")
        offsets = OFFSETS if guess.width == 1 else ("0",)
        for scale in scales:
            if guess.type != "f32" and Decimal(scale) > shown.digit:
                continue  # steps wider than the display's: it could not have shown this
            for offset in offsets:
                value = raw * Decimal(scale) + Decimal(offset)
                if abs(value - shown.value) <= slack:
                    yield Candidate(table, guess.address, guess.type, guess.order, scale, offset, float(value))


def _ranked(candidate: Candidate, shown: Sequence[Shown]) -> Candidate:
    """*candidate* with how likely it is: exactness first, then what instruments usually do."""
    last = shown[-1]
    off = abs(Decimal(repr(candidate.value)) - last.value)
    digits = float(off / last.digit)
    exact = 0.0 if digits <= 0.5 else 1.0
    unusual = float(LIKELY.get(candidate.scale, 5))
    shifted = float(OFFSETS.index(candidate.offset)) * 3
    swapped = {"AB": 0.0, "BA": 3.0, "ABCD": 0.0, "CDAB": 0.5, "DCBA": 0.5, "BADC": 1.5}[candidate.order]
    wide = {"f32": -2.0 if candidate.scale == "1" else 2.0, "u32": 1.0, "i32": 1.0}.get(candidate.type, 0.0)
    raw = (Decimal(repr(candidate.value)) - Decimal(candidate.offset)) / Decimal(candidate.scale)
    wide += 4.0 if candidate.type in ("u32", "i32") and abs(raw) < 0x8000 else 0.0  # one register would do
    coarse = 0.0 if candidate.type == "f32" or Decimal(candidate.scale) == last.digit else 1.0
    rank = (exact, unusual + shifted + swapped + wide + coarse, candidate.address, round(digits, 3))
    return replace(candidate, rank=rank)


def _without_twins(ranked: Sequence[Candidate]) -> list[Candidate]:
    """One of each pair that no reading so far can tell apart: signed and unsigned, a word and its empty neighbour."""
    kept: list[Candidate] = []
    for one in ranked:
        twins = (k for k in kept if (k.scale, k.offset, k.value) == (one.scale, one.offset, one.value))
        if not any(_overlap(one, twin) for twin in twins):
            kept.append(one)
    return kept


def _overlap(one: Candidate, other: Candidate) -> bool:
    width = {"u16": 1, "i16": 1}
    ends = [(c.address, c.address + width.get(c.type, 2)) for c in (one, other)]
    return ends[0][0] < ends[1][1] and ends[1][0] < ends[0][1] and "f32" not in (one.type, other.type)


def register(candidate: Candidate, parameter: str, unit: str, example: float) -> Register:
    """The register of a profile that *candidate* describes.

    A 16-bit number is written as signed where the parameter's values can be negative; both read the same so far.
    """
    straight = {"AB", "ABCD"}
    signed = candidate.type == UNSIGNED and any(word in parameter for word in BELOW_ZERO)
    return Register(
        parameter=parameter,
        table=candidate.table,
        address=candidate.address,
        type=SIGNED if signed else candidate.type,
        order="" if candidate.order in straight else candidate.order,
        scale=float(candidate.scale),
        offset=float(candidate.offset),
        unit=unit,
        example=example,
    )


def written(found: Register, comment: str = "") -> str:
    """*found* as a table of a profile file.

    >>> found = Register(parameter="ph", table="holding", address=4, type="u16", scale=0.01, example=7.1)
    >>> print(written(found), end="")
    [[register]]
    parameter = "ph"
    table = "holding"
    address = 4
    type = "u16"
    scale = 0.01
    example = 7.1
    """
    lines = ["[[register]]"] if not comment else [f"# {comment}", "[[register]]"]
    lines += [f'parameter = "{found.parameter}"', f'table = "{found.table}"', f"address = {found.address}"]
    lines.append(f'type = "{found.type}"')
    if found.order:
        lines.append(f'order = "{found.order}"')
    if found.scale != 1:
        lines.append(f"scale = {found.scale:g}")
    if found.offset:
        lines.append(f"offset = {found.offset:g}")
    if found.unit:
        lines.append(f'unit = "{found.unit}"')
    lines.append(f"example = {float(found.example):g}")
    return "\n".join(lines) + "\n"
