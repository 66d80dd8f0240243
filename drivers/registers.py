"""Registers as values: types and byte orders, scaling, marks, and which registers are read together."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from operator import itemgetter
from typing import Any

from drivers.line import FUNCTION, OVERHEAD_BYTES, Line
from station.model import Mark, Reason, Sample, dataclass, field, replace

MOST_REGISTERS = 125  # in one read (Modbus application protocol V1.1b3, 6.3)

# type: struct code, registers, lowest and highest raw number
TYPES: Mapping[str, tuple[str, int, float, float]] = {
    "u8": ("B", 1, 0, 0xFF),
    "i8": ("b", 1, -0x80, 0x7F),
    "u16": ("H", 1, 0, 0xFFFF),
    "i16": ("h", 1, -0x8000, 0x7FFF),
    "u32": ("I", 2, 0, 0xFFFFFFFF),
    "i32": ("i", 2, -0x80000000, 0x7FFFFFFF),
    "u64": ("Q", 4, 0, 0xFFFFFFFFFFFFFFFF),
    "i64": ("q", 4, -0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
    "f32": ("f", 2, -3.4028234663852886e38, 3.4028234663852886e38),
    "f64": ("d", 4, -1.7976931348623157e308, 1.7976931348623157e308),
    "bcd16": ("H", 1, 0, 9999),
    "bcd32": ("I", 2, 0, 99999999),
}
FLOATS = ("f32", "f64")
BCD = ("bcd16", "bcd32")
# Times, by the registers they take: year, month … second in six words, packed in BCD, or seconds since 1970.
TIMES: Mapping[str, int] = {"time_words": 6, "time_bcd": 3, "time_unix": 2}
# Texts by which an instrument identifies itself: letters, or a version as two numbers, one in each half of a register.
TEXTS = ("ascii", "version")
ORDERS: Mapping[int, tuple[str, ...]] = {
    1: ("AB", "BA"),
    2: ("ABCD", "DCBA", "BADC", "CDAB"),
    4: ("ABCDEFGH", "HGFEDCBA", "BADCFEHG", "GHEFCDAB"),
}
LETTERS = "ABCDEFGH"

Raw = int | float


def orders(kind: str) -> tuple[str, ...]:
    """The byte orders a number of type *kind* may have; of a byte, which half of its register it is.

    >>> orders("u8"), orders("u16")
    (('A', 'B'), ('AB', 'BA'))
    """
    if kind in TIMES or kind in TEXTS:
        return ()
    return ("A", "B") if kind in ("u8", "i8") else ORDERS[TYPES[kind][1]]


def _from_bcd(raw: int) -> float:
    """The number whose decimal digits stand in *raw*, four bits each; nan where they are none.

    >>> _from_bcd(0x2026), _from_bcd(0x20A6)
    (2026, nan)
    """
    try:
        return int(f"{raw:x}")
    except ValueError:
        return math.nan


def moment(kind: str, data: bytes, zone: tzinfo) -> datetime | None:
    """The time of type *kind* written in *data*, in the instrument's *zone*; None where it is none.

    >>> from datetime import UTC
    >>> moment("time_bcd", bytes.fromhex("26 06 18 11 40 05"), UTC)
    datetime.datetime(2026, 6, 18, 11, 40, 5, tzinfo=datetime.timezone.utc)
    """
    try:
        if kind == "time_unix":
            return datetime.fromtimestamp(int.from_bytes(data, "big"), zone)
        if kind == "time_bcd":
            year, month, day, hour, minute, second = (int(f"{byte:x}") for byte in data)
        else:
            year, month, day, hour, minute, second = struct.unpack(">6H", data)
        return datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second, tzinfo=zone)
    except (ValueError, OverflowError, OSError):
        return None


def moment_words(kind: str, at: datetime) -> list[int]:
    """The registers in which *at* stands as type *kind*, in its own zone.

    >>> from datetime import UTC
    >>> [f"{word:04x}" for word in moment_words("time_bcd", datetime(2026, 6, 18, 11, 40, 5, tzinfo=UTC))]
    ['2606', '1811', '4005']
    """
    if kind == "time_unix":
        seconds = int(at.timestamp())
        return [seconds >> 16, seconds & 0xFFFF]
    six = [at.year, at.month, at.day, at.hour, at.minute, at.second]
    if kind == "time_words":
        return six
    digits = bytes(int(str(number % 100), 16) for number in six)
    return [word for (word,) in struct.iter_unpack(">H", digits)]


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
        if self.type == "version":
            return 1
        return self.length or TIMES.get(self.type) or TYPES[self.type][1]

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.width

    @property
    def is_number(self) -> bool:
        """Whether it is a number, and not a text or a time."""
        return self.type in TYPES

    def gather(self, start: int) -> list[int]:
        """Where its bytes stand in a payload that begins at register *start*, most significant first.

        >>> Place(table="input", address=12, type="f32", order="CDAB").gather(10)
        [6, 7, 4, 5]
        >>> Place(table="input", address=12, type="u8", order="B").gather(10)
        [5]
        """
        first = 2 * (self.address - start)
        if self.type in ("u8", "i8"):
            return [first + (self.order == "B")]
        if not self.order:
            return list(range(first, first + 2 * self.width))
        return [first + self.order.index(letter) for letter in LETTERS[: 2 * self.width]]

    def words(self, raw: Raw) -> list[int]:
        """The registers that hold *raw*, as unsigned words; what else stands in them is 0."""
        if self.type in BCD:
            raw = int(str(int(raw)), 16)
        big = struct.pack(">" + TYPES[self.type][0], raw)
        if len(big) == 1:
            big = b"\0" + big if self.order == "B" else big + b"\0"
        elif self.order:
            big = bytes(big[LETTERS.index(letter)] for letter in self.order)
        return [word for (word,) in struct.iter_unpack(">H", big)]

    def bits(self) -> list[int]:
        """Which bits of its registers are its own."""
        return [0xFF if self.order == "B" else 0xFF00] if self.type in ("u8", "i8") else [0xFFFF] * self.width


def _shift(mask: int | None) -> int:
    """How far the bits of *mask* stand from the right end."""
    return (mask & -mask).bit_length() - 1 if mask else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand(Place):
    """A number beside a value that the value is computed with: raw × *scale* + *offset*, believed within *range*.

    Of a number with a *mask* only those bits are taken, moved to the right end.
    """

    mask: int | None = None
    scale: float = 1
    offset: float = 0
    range: tuple[float, float] = (-math.inf, math.inf)
    example: float = 0

    def number(self, raw: Raw) -> float | None:
        """What *raw* means, or None where it cannot be meant.

        >>> Operand(table="input", address=8, type="u16", range=(0, 9)).number(99) is None
        True
        >>> Operand(table="input", address=8, type="u16", mask=0x07, range=(0, 9)).number(0x0822)
        2
        """
        if self.mask is not None:
            raw = (int(raw) & self.mask) >> _shift(self.mask)
        number = (_from_bcd(int(raw)) if self.type in BCD else raw) * self.scale + self.offset
        return number if self.range[0] <= number <= self.range[1] else None

    def raw(self, number: float) -> Raw:
        """The raw number that means *number*."""
        raw = (number - self.offset) / self.scale
        return raw if self.type in FLOATS else round(raw) << _shift(self.mask)

    def bits(self) -> list[int]:
        """Which bits of its registers are its own."""
        return self.words(self.mask) if self.mask else Place.bits(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What the *values* of a quality word say of a value: its *mark*, why, and whether the value is kept."""

    values: tuple[int, ...] = ()
    mark: Mark = Mark.N
    reason: str = ""
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality(Place):
    """A register whose number says whether one value may be used."""

    meanings: tuple[Meaning, ...] = ()

    def meaning(self, raw: int) -> Meaning:
        """What *raw* says; a number nobody explained is no leave to use the value."""
        known = next((m for m in self.meanings if raw in m.values), None)
        return known or Meaning(mark=Mark.D, reason=f"quality {raw}, which the profile does not explain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(Place):
    """One value of an instrument: value = (raw × *scale* + *offset* + *plus* …) × *scale_by* … × 10^-*decimals*.

    A value outside *range* is marked and kept; a raw number in *no_value* means the instrument has none.
    Of a number with a *mask* only those bits are taken, moved to the right end.
    Texts (type "ascii", "version") and times identify and date, and are never samples.
    """

    parameter: str
    unit: str = ""
    scale: float = 1
    offset: float = 0
    range: tuple[float, float] = (-math.inf, math.inf)
    no_value: tuple[float, ...] = ()
    mask: int | None = None
    plus: tuple[Operand, ...] = ()
    scale_by: tuple[Operand, ...] = ()
    decimals: Operand | None = None
    quality: Quality | None = None
    example: float | str = 0
    ratio: tuple[float, float, float] = field(default=(1, 0, 1), init=False, repr=False, compare=False)
    is_plain: bool = field(default=True, init=False, repr=False, compare=False)  # nothing beside it, all its bits

    def __post_init__(self) -> None:
        plain = self.mask is None and self.type not in BCD and self.is_number and not self.beside
        object.__setattr__(self, "is_plain", plain)
        object.__setattr__(self, "ratio", _ratio(self.scale, self.offset))
        if self.type == "f32":  # -9999.9 arrives as the nearest 32-bit float, and is compared as such
            near = struct.unpack(f">{len(self.no_value)}f", struct.pack(f">{len(self.no_value)}f", *self.no_value))
            object.__setattr__(self, "no_value", near)

    @property
    def operands(self) -> tuple[Operand, ...]:
        """The numbers beside it that its value is computed with."""
        return (*self.plus, *self.scale_by, *((self.decimals,) if self.decimals else ()))

    @property
    def beside(self) -> tuple[Place, ...]:
        """What else has to be read for its value."""
        return (*self.operands, *((self.quality,) if self.quality else ()))

    @property
    def shift(self) -> int:
        """How far its bits stand from the right end of its number."""
        return _shift(self.mask)

    def bits(self) -> list[int]:
        """Which bits of its registers are its own."""
        return self.words(self.mask) if self.mask else Place.bits(self)

    def number(self, raw: Raw) -> Raw:
        """*raw* as a number: its own bits, its decimal digits; nan where they are none."""
        if self.mask is not None:
            raw = (int(raw) & self.mask) >> self.shift
        return _from_bcd(int(raw)) if self.type in BCD else raw

    def value(self, raw: Raw, operands: Sequence[float] = ()) -> float:
        """*raw* in the register's unit, with the numbers of its *operands*.

        >>> Register(parameter="humidity", table="holding", address=504, type="u16", scale=0.1).value(237)
        23.7
        """
        times, plus, over = self.ratio
        if not operands:
            return (raw * times + plus) / over
        added, factor, places = self.parts(operands)
        value = ((raw * times + plus) / over + added) * factor
        return value / 10.0**places

    def parts(self, operands: Sequence[float]) -> tuple[float, float, int]:
        """What is added, what it is multiplied with, and how many decimals it has."""
        plus, by = len(self.plus), len(self.scale_by)
        places = int(operands[-1]) if self.decimals else 0
        return math.fsum(operands[:plus]), math.prod(operands[plus : plus + by]), places

    def raw(self, value: float, operands: Sequence[float] = ()) -> Raw:
        """The raw number nearest to *value*, at the end of the type's span where it does not fit."""
        if operands:
            added, factor, places = self.parts(operands)
            value = value * 10.0**places / factor - added
        times, plus, over = self.ratio
        _, _, low, high = TYPES[self.type]
        if self.mask is not None:
            high = min(high, self.mask >> self.shift)
        raw = min(high, max(low, (value * over - plus) / times))
        if self.type in FLOATS:
            return raw
        return round(raw) << self.shift

    def is_no_value(self, raw: Raw) -> bool:
        """Whether *raw* is one of the instrument's ways to say that it has no value."""
        return raw in self.no_value or (raw != raw and any(word != word for word in self.no_value))

    def sample(self, raw: Raw, time: datetime, operands: Sequence[float | None] = ()) -> Sample:
        """What *raw* says beside its *operands* (None is one that cannot be), and whether it can be believed."""
        if not self.is_plain:
            raw = self.number(raw)
        if self.is_no_value(raw):
            return Sample(self.parameter, time, None, Mark.D, Reason.NO_VALUE)
        if not math.isfinite(raw):
            return Sample(self.parameter, time, None, Mark.D, Reason.NOT_A_NUMBER)
        if self.is_plain:
            times, plus, over = self.ratio
            value = (raw * times + plus) / over
        else:
            numbers = [number for number in operands if number is not None]
            if len(numbers) < len(operands):
                return Sample(self.parameter, time, None, Mark.D, Reason.NOT_A_NUMBER)
            value = self.value(raw, numbers)
        if not math.isfinite(value):
            return Sample(self.parameter, time, None, Mark.D, Reason.NOT_A_NUMBER)
        low, high = self.range
        if value > high:
            return Sample(self.parameter, time, value, Mark.T, Reason.ABOVE_RANGE)
        if value < low:
            return Sample(self.parameter, time, value, Mark.D, Reason.BELOW_RANGE)
        return Sample(self.parameter, time, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Place):
    """A condition the instrument reports: bits of *mask* are set, equal *value*, or are anything *other_than* this.

    While it holds, *parameters* (all, when empty) carry *mark*; *reason* says why to a person.
    """

    mark: Mark
    reason: str
    mask: int = 0xFFFFFFFF
    value: int | None = None
    other_than: int | None = None
    parameters: tuple[str, ...] = ()
    example: int = 0

    def bits(self) -> list[int]:
        """Which bits of its registers are its own."""
        return self.words(self.mask & int(TYPES[self.type][3]))

    def holds(self, raw: int) -> bool:
        """Whether the instrument reports the condition.

        >>> flag = Status(table="holding", address=6, type="u16", mask=0x0C, mark=Mark.T, reason="overloaded")
        >>> flag.holds(0x0804), flag.holds(0x0800)
        (True, False)
        >>> unit = Status(table="input", address=3, type="u16", other_than=53, mark=Mark.D, reason="its unit is not pH")
        >>> unit.holds(47), unit.holds(53)
        (True, False)
        """
        masked = raw & self.mask
        if self.other_than is not None:
            return masked != self.other_than
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
        gather = itemgetter(*order, order[0]) if len(order) == 1 else itemgetter(*order) if order else None
        object.__setattr__(self, "_gather", None if straight else gather)
        codes = [TYPES[p.type][0] if p.is_number else f"{2 * p.width}s" for p in self.places]
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
        if self.count <= 1:
            return f"{self.table} register {self.address}"
        return f"{self.table} registers {self.address}–{self.address + self.count - 1}"

    def raws(self, payload: bytes) -> tuple[Any, ...]:
        """The raw number (or text, as bytes) of each place, unpacked in one step."""
        if self._gather is None:
            return self._format.unpack(payload)
        return self._format.unpack_from(bytes(self._gather(payload)))  # of a single byte two were gathered


def decode(request: Request, payload: bytes, time: datetime) -> list[Sample]:
    """The samples in *payload*, the register bytes of the reply to *request*, marked by what stands beside them."""
    samples, conditions = samples_and_conditions(request, payload, time)
    return marked(samples, conditions)


def samples_and_conditions(request: Request, payload: bytes, time: datetime) -> tuple[list[Sample], list[Status]]:
    """The samples in *payload* and the conditions the instrument reports there, not yet applied."""
    return judged(request.places, raws_in(request, payload), time)


Found = dict[int, Any]  # raw numbers, texts and times as bytes, by id() of their place


def raws_in(request: Request, payload: bytes) -> Found:
    """What *payload* brought for each place of *request*."""
    return {id(place): raw for place, raw in zip(request.places, request.raws(payload), strict=True)}


def judged(places: Iterable[Place], found: Found, time: datetime) -> tuple[list[Sample], list[Status]]:
    """The samples of *places* and the conditions reported beside them, those not yet applied.

    A value of which a part was not had is left out, and so is one whose quality is not known.
    """
    samples: list[Sample] = []
    conditions: list[Status] = []
    for place in places:
        raw = found.get(id(place))
        if raw is None:
            continue
        if isinstance(place, Register):
            if place.is_plain:
                samples.append(place.sample(raw, time))
            elif place.is_number and all(id(other) in found for other in place.beside):
                sample, condition = _judged_beside(place, found, time)
                samples.append(sample)
                conditions += condition
        elif isinstance(place, Status) and place.holds(raw):
            conditions.append(place)
    return samples, conditions


def _judged_beside(register: Register, found: Found, time: datetime) -> tuple[Sample, list[Status]]:
    """The sample of a *register* that is computed with others or judged by a quality word."""
    numbers = [operand.number(found[id(operand)]) for operand in register.operands]
    sample = register.sample(found[id(register)], time, numbers)
    word = register.quality
    if word is None:
        return sample, []
    meaning = word.meaning(found[id(word)])
    if meaning.mark is Mark.N:
        return sample, []
    if not meaning.keep:
        sample = Sample(register.parameter, time, None, meaning.mark, Reason.NO_VALUE)
    said = f"{register.parameter}: {meaning.reason}"
    condition = Status(
        table=word.table,
        address=word.address,
        type=word.type,
        mark=meaning.mark,
        reason=said,
        parameters=(register.parameter,),
    )
    return sample, [condition]


def marked(samples: Iterable[Sample], conditions: Sequence[Status]) -> list[Sample]:
    """*samples* with the marks of *conditions*; of several marks the worst stays."""
    return [_marked(sample, conditions) for sample in samples] if conditions else list(samples)


def _marked(sample: Sample, conditions: Sequence[Status]) -> Sample:
    worst = max((c.mark for c in conditions if c.concerns(sample.parameter)), default=Mark.N)
    return sample if worst <= sample.mark else replace(sample, mark=worst, reason=Reason.STATUS)


def text_in(place: Place, raw: bytes) -> str:
    """The text of TEXTS that the registers of *place* hold.

    >>> text_in(Place(table="holding", address=0x0700, type="version"), bytes.fromhex("01 0A"))
    '1.10'
    """
    if place.type == "version":
        return f"{raw[0]}.{raw[1]}"
    return raw.decode("ascii", "backslashreplace").strip("\0 ")


def encode(place: Place, value: float | str | None, operands: Sequence[float] = ()) -> list[int] | None:
    """The registers an instrument would show for *value*; None for a missing value it has no word for.

    *operands* are the numbers it shows beside it.

    >>> encode(Register(parameter="ph", table="holding", address=0, type="f32", order="DCBA"), 17.625)
    [0, 36161]
    """
    if place.type == "version":
        major, _, minor = str(value or "0.0").partition(".")
        return [int(major) << 8 | int(minor)]
    if place.type == "ascii":
        text = str(value or "").encode("ascii", "replace").ljust(2 * place.width, b"\0")[: 2 * place.width]
        return [word for (word,) in struct.iter_unpack(">H", text)]
    if isinstance(place, Status | Quality):
        return place.words(int(value or 0))
    if isinstance(place, Operand):
        return place.words(place.raw(float(value or 0)))
    assert isinstance(place, Register)
    if value is not None:
        return place.words(place.raw(float(value), operands))
    return place.words(_shifted(place)) if place.no_value else None


def _shifted(place: Register) -> Raw:
    word = place.no_value[0]
    return int(word) << place.shift if place.mask else word


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
    pairs: bool = False,
) -> tuple[Request, ...]:
    """The fewest-seconds reads that fetch *places*: neighbours together, across gaps where that is faster.

    A value is never split, nor are the parts it is added up from and its quality word read apart from it where
    one read may hold them; a read never touches a hole (first and last address) nor exceeds *max_registers*.
    With *pairs* it begins and ends between pairs of registers.
    """
    line = Line(baudrate, bits)
    widest = line.widest_gap(reply_delay_ms / 1000, gap_ms / 1000) if bridge_gaps else 0
    runs: list[_Run] = []
    pieces = (piece for place in places for piece in _pieces(place, max_registers, holes, bridge_gaps, pairs))
    for piece in sorted(pieces, key=lambda p: (p.table, p.start, p.end)):
        if runs and runs[-1].joins(piece, widest, max_registers, holes):
            runs[-1] = runs[-1].with_(piece)
        else:
            runs.append(piece)
    return tuple(Request(run.table, run.start, run.end - run.start, run.places) for run in runs)


@dataclass(frozen=True, slots=True)
class _Run:
    """Places that one read fetches, from register *start* up to *end*."""

    table: str
    start: int
    end: int
    places: tuple[Place, ...]

    def joins(self, other: _Run, widest: float, most: int, holes: Sequence[tuple[int, int]]) -> bool:
        """Whether *other*, which begins no earlier, is fetched by the same read."""
        return (
            other.table == self.table
            and other.start - self.end <= widest
            and max(self.end, other.end) - self.start <= most
            and not any(first < other.start and last >= self.end for first, last in holes)
        )

    def with_(self, other: _Run) -> _Run:
        return _Run(self.table, self.start, max(self.end, other.end), (*self.places, *other.places))


def _pieces(
    place: Place, most: int, holes: Sequence[tuple[int, int]], bridge_gaps: bool, pairs: bool
) -> Iterator[_Run]:
    """*place* and what is read beside it, in as few pieces as have to stay whole."""
    close = (*place.plus, *((place.quality,) if place.quality else ())) if isinstance(place, Register) else ()
    own = _run([place], pairs)
    for other in close:
        run = _run([other], pairs)
        first, last = sorted((own, run), key=lambda r: (r.start, r.end))
        if first.joins(last, most if bridge_gaps else 0, most, holes):
            own = _Run(own.table, first.start, max(first.end, last.end), (*own.places, other))
        else:
            yield run
    yield own
    if isinstance(place, Register):
        yield from (_run([other], pairs) for other in place.beside if other not in close)


def _run(places: Sequence[Place], pairs: bool) -> _Run:
    start, end = places[0].address, places[-1].end
    if pairs:
        start, end = start - start % 2, end + end % 2
    return _Run(places[0].table, start, end, tuple(places))


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
