"""Registers as values: types and byte orders, scaling, marks, and which registers are read together."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from drivers.line import FUNCTION, OVERHEAD_BYTES, Line
from station.model import Mark, Reason, Sample, dataclass, field, replace

MOST_REGISTERS = 125  # in one read (Modbus application protocol V1.1b3, 6.3)

# type: struct code, registers, lowest and highest raw number
TYPES: Mapping[str, tuple[str, int, float, float]] = {
    "u16": ("H", 1, 0, 0xFFFF),
    "i16": ("h", 1, -0x8000, 0x7FFF),
    "u32": ("I", 2, 0, 0xFFFFFFFF),
    "i32": ("i", 2, -0x80000000, 0x7FFFFFFF),
    "f32": ("f", 2, -3.4028234663852886e38, 3.4028234663852886e38),
}
ORDERS: Mapping[int, tuple[str, ...]] = {1: ("AB", "BA"), 2: ("ABCD", "DCBA", "BADC", "CDAB")}

Raw = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a number stands: *table* "input" or "holding", *address* from 0, its *type* and byte *order*."""

    table: str
    address: int
    type: str
    order: str = ""
    length: int = 0  # of an ascii text, in registers

    @property
    def width(self) -> int:
        """How many registers it takes."""
        return self.length or TYPES[self.type][1]

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.width

    def gather(self, start: int) -> list[int]:
        """Where its bytes stand in a payload that begins at register *start*, most significant first.

        >>> Place(table="input", address=12, type="f32", order="CDAB").gather(10)
        [6, 7, 4, 5]
        """
        first = 2 * (self.address - start)
        if not self.order:
            return list(range(first, first + 2 * self.width))
        return [first + self.order.index(letter) for letter in "ABCD"[: 2 * self.width]]

    def words(self, raw: Raw) -> list[int]:
        """The registers that hold *raw*, as unsigned words."""
        big = struct.pack(">" + TYPES[self.type][0], raw)
        wire = bytes(big["ABCD".index(letter)] for letter in self.order) if self.order else big
        return [word for (word,) in struct.iter_unpack(">H", wire)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(Place):
    """One value of an instrument: value = raw × *scale* + *offset*, in *unit*.

    A value outside *range* is marked and kept; a raw number in *no_value* means the instrument has none.
    Text (type "ascii") identifies the instrument and is never a sample.
    """

    parameter: str
    unit: str = ""
    scale: float = 1
    offset: float = 0
    range: tuple[float, float] = (-math.inf, math.inf)
    no_value: tuple[float, ...] = ()
    example: float | str = 0
    ratio: tuple[float, float, float] = field(default=(1, 0, 1), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", _ratio(self.scale, self.offset))
        if self.type == "f32":  # -9999.9 arrives as the nearest 32-bit float, and is compared as such
            near = struct.unpack(f">{len(self.no_value)}f", struct.pack(f">{len(self.no_value)}f", *self.no_value))
            object.__setattr__(self, "no_value", near)

    def value(self, raw: Raw) -> float:
        """*raw* in the register's unit.

        >>> Register(parameter="humidity", table="holding", address=504, type="u16", scale=0.1).value(237)
        23.7
        """
        times, plus, over = self.ratio
        return (raw * times + plus) / over

    def raw(self, value: float) -> Raw:
        """The raw number nearest to *value*, at the end of the type's span where it does not fit."""
        times, plus, over = self.ratio
        _, _, low, high = TYPES[self.type]
        raw = min(high, max(low, (value * over - plus) / times))
        return raw if self.type == "f32" else round(raw)

    def is_no_value(self, raw: Raw) -> bool:
        """Whether *raw* is one of the instrument's ways to say that it has no value."""
        return raw in self.no_value or (raw != raw and any(word != word for word in self.no_value))

    def sample(self, raw: Raw, time: datetime) -> Sample:
        """What *raw* says, and whether it can be believed."""
        if self.is_no_value(raw):
            return Sample(self.parameter, time, None, Mark.D, Reason.NO_VALUE)
        if not math.isfinite(raw):
            return Sample(self.parameter, time, None, Mark.D, Reason.NOT_A_NUMBER)
        value = self.value(raw)
        low, high = self.range
        if value > high:
            return Sample(self.parameter, time, value, Mark.T, Reason.ABOVE_RANGE)
        if value < low:
            return Sample(self.parameter, time, value, Mark.D, Reason.BELOW_RANGE)
        return Sample(self.parameter, time, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Place):
    """A condition the instrument reports: bits of *mask* are set, or equal *value*.

    While it holds, *parameters* (all, when empty) carry *mark*; *reason* says why to a person.
    """

    mark: Mark
    reason: str
    mask: int = 0xFFFFFFFF
    value: int | None = None
    parameters: tuple[str, ...] = ()
    example: int = 0

    def holds(self, raw: int) -> bool:
        """Whether the instrument reports the condition.

        >>> flag = Status(table="holding", address=6, type="u16", mask=0x0C, mark=Mark.T, reason="overloaded")
        >>> flag.holds(0x0804), flag.holds(0x0800)
        (True, False)
        """
        masked = raw & self.mask
        return masked != 0 if self.value is None else masked == self.value

    def concerns(self, parameter: str) -> bool:
        """Whether *parameter* is marked while the condition holds."""
        return not self.parameters or parameter in self.parameters


@dataclass(frozen=True, slots=True)
class Request:
    """One read: *count* registers of *table* from *address*, and the *places* wanted among them."""

    table: str
    address: int
    count: int
    places: tuple[Place, ...]
    _gather: Callable[[bytes], Any] | None = field(init=False, repr=False, compare=False)
    _format: struct.Struct = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        order = [i for place in self.places for i in place.gather(self.address)]
        straight = not order or order == list(range(2 * self.count))
        object.__setattr__(self, "_gather", None if straight else itemgetter(*order))
        codes = [f"{2 * p.width}s" if p.type == "ascii" else TYPES[p.type][0] for p in self.places]
        object.__setattr__(self, "_format", struct.Struct(">" + "".join(codes)))

    @property
    def function(self) -> int:
        """The Modbus function code."""
        return FUNCTION[self.table]

    @property
    def reply_bytes(self) -> int:
        """Length of the whole reply frame."""
        return OVERHEAD_BYTES + 2 * self.count

    @property
    def text(self) -> str:
        """The request in words.

        >>> Request("input", 1, 2, ()).text, Request("holding", 6, 1, ()).text
        ('input registers 1–2', 'holding register 6')
        """
        if self.count == 1:
            return f"{self.table} register {self.address}"
        return f"{self.table} registers {self.address}–{self.address + self.count - 1}"

    def raws(self, payload: bytes) -> tuple[Any, ...]:
        """The raw number (or text, as bytes) of each place, unpacked in one step."""
        return self._format.unpack(payload if self._gather is None else bytes(self._gather(payload)))


def decode(request: Request, payload: bytes, time: datetime) -> list[Sample]:
    """The samples in *payload*, the register bytes of the reply to *request*, marked by what stands beside them."""
    samples, conditions = samples_and_conditions(request, payload, time)
    return marked(samples, conditions)


def samples_and_conditions(request: Request, payload: bytes, time: datetime) -> tuple[list[Sample], list[Status]]:
    """The samples in *payload* and the conditions the instrument reports there, not yet applied."""
    samples, conditions = [], []
    for place, raw in zip(request.places, request.raws(payload), strict=True):
        if isinstance(place, Status):
            if place.holds(raw):
                conditions.append(place)
        elif isinstance(place, Register) and place.type != "ascii":
            samples.append(place.sample(raw, time))
    return samples, conditions


def marked(samples: Iterable[Sample], conditions: Sequence[Status]) -> list[Sample]:
    """*samples* with the marks of *conditions*; of several marks the worst stays."""
    return [_marked(sample, conditions) for sample in samples] if conditions else list(samples)


def _marked(sample: Sample, conditions: Sequence[Status]) -> Sample:
    worst = max((c.mark for c in conditions if c.concerns(sample.parameter)), default=Mark.N)
    return sample if worst <= sample.mark else replace(sample, mark=worst, reason=Reason.STATUS)


def encode(place: Place, value: float | str | None) -> list[int] | None:
    """The registers an instrument would show for *value*; None for a missing value it has no word for.

    >>> encode(Register(parameter="ph", table="holding", address=0, type="f32", order="DCBA"), 17.625)
    [0, 36161]
    """
    if place.type == "ascii":
        text = str(value or "").encode("ascii", "replace").ljust(2 * place.width, b"\0")[: 2 * place.width]
        return [word for (word,) in struct.iter_unpack(">H", text)]
    if isinstance(place, Status):
        return place.words(int(value or 0))
    assert isinstance(place, Register)
    if value is not None:
        return place.words(place.raw(float(value)))
    return place.words(place.no_value[0]) if place.no_value else None


def plan_reads(
    places: Iterable[Place],
    baudrate: int,
    bits: int,
    reply_delay_ms: float,
    *,
    gap_ms: float = 0,
    max_registers: int = MOST_REGISTERS,
    holes: Sequence[tuple[int, int]] = (),
    bridge_gaps: bool = True,
) -> tuple[Request, ...]:
    """The fewest-seconds reads that fetch *places*: neighbours together, across gaps where that is faster.

    A value is never split, a read never touches a hole (first and last address) nor exceeds *max_registers*.
    """
    line = Line(baudrate, bits)
    widest = line.widest_gap(reply_delay_ms / 1000, gap_ms / 1000) if bridge_gaps else 0
    runs: list[list[Place]] = []
    for place in sorted(places, key=lambda p: (p.table, p.address, p.end)):
        if runs and _joins(runs[-1], place, widest, max_registers, holes):
            runs[-1].append(place)
        else:
            runs.append([place])
    return tuple(_request(run) for run in runs)


def _joins(run: Sequence[Place], place: Place, widest: float, most: int, holes: Sequence[tuple[int, int]]) -> bool:
    end = max(p.end for p in run)
    return (
        place.table == run[0].table
        and place.address - end <= widest
        and max(end, place.end) - run[0].address <= most
        and not any(first < place.address and last >= end for first, last in holes)
    )


def _request(run: Sequence[Place]) -> Request:
    start = run[0].address
    return Request(run[0].table, start, max(p.end for p in run) - start, tuple(run))


def _ratio(scale: float, offset: float) -> tuple[float, float, float]:
    """*scale* and *offset* over one power of ten, so that 237 × 0.1 is 23.7: dividing integers rounds once.

    >>> _ratio(0.1, -40), _ratio(1000, 0)
    ((1, -400, 10), (1000, 0, 1))
    """
    for over in (10**places for places in range(13)):
        times, plus = round(scale * over), round(offset * over)
        if times / over == scale and plus / over == offset:
            return times, plus, over
    return scale, offset, 1
