"""Device profiles: an instrument as data, and where its file is found (drivers/profile_file.py reads it).

An operator's folder is searched before the profiles that ship.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from drivers.base import ProfileError
from drivers.line import REQUEST_BYTES, Line
from drivers.registers import (
    FLOATS,
    MOST_REGISTERS,
    TEXTS,
    TYPES,
    Operand,
    Place,
    Register,
    Request,
    Status,
    decode,
    encode,
    plan_reads,
)
from station.model import dataclass, did_you_mean, field, replace

__all__ = [
    "Absent",
    "Action",
    "Coefficients",
    "Condition",
    "Frame",
    "Given",
    "Profile",
    "Register",
    "Request",
    "Status",
    "Step",
    "Variant",
    "Write",
    "decode",
    "encode",
    "load",
    "parse",
    "plan_reads",
    "read",
]

SHIPPED = Path(__file__).with_name("profiles")

VERBS = ("calibrate", "start_check", "end_check", "sample_now", "compare_sample", "keep_sample", "clean")
TYPED = ("calibrate", "start_check")  # the verbs that may be of a zero or a span alone
OWN_VERBS = ("clear_total",)  # told by a person at the station alone: no platform has a command for them
PRIVATE = ("calibrate", *OWN_VERBS)  # what they write or send is never a poll's
WRITE_COIL, WRITE_ONE, WRITE_MANY = 5, 6, 16
MARGIN_SECONDS = 0.02  # for this machine and its adapter: timers, USB


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition(Place):
    """What a register reads when a variant is the right one: raw × *scale* lies within *range*."""

    scale: float = 1
    range: tuple[float, float]
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of several layouts under one model name: registers that replace or join the profile's own."""

    name: str
    title: str = ""
    alone: bool = False
    registers: tuple[Register, ...] = ()
    status: tuple[Status, ...] = ()
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """What an element that is not fitted reads: *parameters* have no value when all of them read *raws*.

    Only after *polls* polls in a row, where a single reading of that kind may be true.
    """

    parameters: tuple[str, ...]
    raws: tuple[float, ...]
    polls: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A request and its reply as bytes, with the values they carry: from a document, a device, or computed."""

    request: bytes
    response: bytes
    values: Mapping[str, float]
    variant: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Registers (function 6 or 16) or a coil (function 5) that are written.

    >>> Write(function=16, address=0x2F00).body.hex(" "), Write(function=5, address=1, values=(1,)).body.hex(" ")
    ('2f 00 00 00 00', '00 01 ff 00')
    """

    address: int = 0
    function: int = WRITE_MANY
    values: tuple[int, ...] = ()
    reply_bytes: int = REQUEST_BYTES

    @property
    def body(self) -> bytes:
        """The request between function and CRC (Modbus application protocol V1.1b3, 6.5, 6.6 and 6.12)."""
        if self.function == WRITE_COIL:
            return struct.pack(">HH", self.address, 0xFF00 if self.values[0] else 0)
        words = b"".join(value.to_bytes(2, "big") for value in self.values)
        if self.function == WRITE_ONE:
            return self.address.to_bytes(2, "big") + words
        return struct.pack(">HHB", self.address, len(self.values), len(words)) + words

    @property
    def text(self) -> str:
        """What is written, for messages."""
        if self.function == WRITE_COIL:
            return f"writing coil {self.address}"
        return f"writing {len(self.values)} registers from {self.address}"

    def touches(self, spans: Iterable[tuple[int, int]]) -> bool:
        """Whether it writes a register within *spans*, first and last address each.

        A write of no registers is a command, and touches its address.
        """
        first, last = self.span
        return self.function != WRITE_COIL and any(first <= end and last >= start for start, end in spans)

    @property
    def span(self) -> tuple[int, int]:
        """First and last address it writes."""
        return self.address, self.address + max(1, len(self.values)) - 1


GIVEN = ("standard", "operator", "date", "bottle")  # what whoever commands an action may bring for its writes
NUMBERS_GIVEN = ("standard", "bottle")  # the others are texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Given(Place):
    """What is written that no profile can know: the *name* of GIVEN that whoever commands the action brings.

    A number is written as value / *scale*, or with as many decimals as the register *decimals* says; the words of
    *then* follow it in the same write.
    """

    name: str
    scale: float = 1
    decimals: Operand | None = None
    example: float | str = 0
    then: tuple[int, ...] = ()

    def words_for(self, value: float | str, decimals: float = 0) -> tuple[int, ...]:
        """The registers that hold *value*; raise ValueError where it does not fit.

        >>> Given(table="holding", address=0x2300, type="f32", order="DCBA", name="standard").words_for(4.0)
        (0, 32832)
        >>> Given(table="holding", address=0, type="ascii", length=2, name="operator").words_for("Wu")
        (22389, 8224)
        """
        if self.type == "ascii":
            text = str(value).encode("ascii", "replace")[: 2 * self.width].ljust(2 * self.width)
            return tuple(word for (word,) in struct.iter_unpack(">H", text))
        number = float(value) * 10**decimals / self.scale
        _, _, low, high = TYPES[self.type]
        raw = number if self.type in FLOATS else round(number)
        if not low <= raw <= high:
            raise ValueError(f"{value} is more than {self.type} holds")
        return tuple(self.words(raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """What the instrument computes the value of *parameters* with: *slope* · raw + *intercept*, both in registers.

    One that computes them by itself has neither and *saved* instead: what is put back when its calibration fails.
    They are written with *function*, behind the profile's unlocking, and read back.
    """

    parameters: tuple[str, ...]
    slope: Operand | None = None
    intercept: Operand | None = None
    saved: tuple[Operand, ...] = ()
    function: int = WRITE_MANY

    @property
    def places(self) -> tuple[Operand, ...]:
        """Its registers, in the order of their addresses."""
        found = [place for place in (self.slope, self.intercept, *self.saved) if place is not None]
        return tuple(sorted(found, key=lambda place: place.address))

    @property
    def line(self) -> tuple[Operand | None, Operand | None]:
        """The registers of slope and intercept; of an instrument that computes them, the first two it saves."""
        return (self.slope, self.intercept) if not self.saved else (self.saved[0], self.saved[1])

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First and last address of each run of registers.

        >>> f32 = {"table": "holding", "type": "f32"}
        >>> slope, intercept = Operand(address=0x1100, **f32), Operand(address=0x1102, **f32)
        >>> Coefficients(parameters=("cod",), slope=slope, intercept=intercept).spans
        ((4352, 4355),)
        """
        found: list[tuple[int, int]] = []
        for place in self.places:
            if found and place.address <= found[-1][1] + 1:
                found[-1] = found[-1][0], place.end - 1
            else:
                found.append((place.address, place.end - 1))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Write):
    """One thing of a sequence: *do* it, "write", "read", "wait", "until", "expect" or "raw".

    *place* is the register that is asked until its bits of *mask* equal *value*, that tells how many
    milliseconds to wait (*times* as long as it says), or that has to read *value* (or *partial* where further
    standards follow; *says* what else it means).  *seconds* is the wait, or the longest one.  One that is
    *optional* may be refused or not answered: some firmware does not know it.  Of a write, *given* is what whoever
    commands the action brings; *values* are then those of its example.
    """

    do: str
    when: str = ""  # of a poll: start, before or after its reads
    place: Place | None = None
    count: int = 1
    mask: int = 0xFFFFFFFF
    value: int = 0
    seconds: float = 0
    every_seconds: float = 0.5
    times: float = 1
    data: bytes = b""  # of a raw exchange, between function and CRC
    answer_bytes: int | None = None
    optional: bool = False
    example: float | str = 0
    given: Given | None = None
    partial: int | None = None
    says: Mapping[int, str] = field(default_factory=dict)

    def asks(self, body: bytes) -> bool:
        """Whether the request *body* is this step, whatever is given."""
        if self.given is None:
            return body == self.request
        mine, head = self.request, 3 if self.function == WRITE_ONE else 6
        return len(body) == len(mine) and body[:head] == mine[:head]

    @property
    def request(self) -> bytes:
        """What it sends, from the function to before the CRC; nothing where it sends nothing."""
        if self.do == "write":
            return bytes((self.function,)) + self.body
        if self.do == "read":
            return bytes((self.function,)) + struct.pack(">HH", self.address, self.count)
        return bytes((self.function,)) + self.data if self.do == "raw" else b""

    @property
    def asked(self) -> Request:
        """The read of its *place*."""
        assert self.place is not None
        return Request(self.place.table, self.place.address, self.place.width, (self.place,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Write):
    """Something the instrument does when told: *verb* of station/commands.py, never a poll's.

    *type* narrows it to the zero or span of a calibration or a check, or to a calibration's begin, one point (of
    standard *number*, every one when 0), end or cancel; *parameters* are those it concerns, all when empty.
    *standards* are the values it knows, in order.  It is one write, or *steps*.  With *verify* what was written is read
    back.  The values of its parameters are worth nothing for *hold_seconds* after it, and are not read; before it they
    have to be watched in the standard for *settle_seconds*.
    """

    verb: str
    type: str = ""
    parameters: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    verify: bool = False
    hold_seconds: float = 0
    interval: Operand | None = None  # of a wiper: how often it runs by its own clock, in minutes
    number: int = 0
    standards: tuple[float, ...] = ()
    settle_seconds: float = 0

    @property
    def sequence(self) -> tuple[Step, ...]:
        """Its steps, the single write being one."""
        one = Step(do="write", function=self.function, address=self.address, values=self.values)
        return self.steps or (one,)

    @property
    def writes(self) -> tuple[Step, ...]:
        """Those of its steps that write."""
        return tuple(step for step in self.sequence if step.do == "write")

    @property
    def text(self) -> str:
        """What is done, for messages."""
        sent = [f"sending function {step.function}" for step in self.sequence if step.do == "raw"]
        return f"{', '.join([*(step.text for step in self.writes), *sent])} ({self.verb})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An instrument as data.  *baudrate*, *parity*, *stopbits* and *unit_id* are as the maker ships it."""

    name: str
    title: str
    baudrate: int
    unit_id: int
    title_zh: str = ""
    maker: str = ""
    source: str = ""
    grade: str = "D"
    parity: str = "N"
    stopbits: int = 1
    reply_delay_ms: float = 20
    worst_reply_ms: float = 500
    gap_ms: float = 50
    poll_minimum_seconds: float = 1
    warm_up_seconds: float = 0
    sleep_seconds: float = 0
    average_reads: int = 1
    average_seconds: float = 1
    max_registers: int = MOST_REGISTERS
    bridge_gaps: bool = True
    pairs: bool = False
    crc_high_first: bool = False
    holes: tuple[tuple[int, int], ...] = ()
    protected: tuple[tuple[int, int], ...] = ()
    general_address: int | None = None
    start_address: int | None = None  # where the registers begin, as an example: station.toml says it
    uncertain: str = ""
    registers: tuple[Register, ...] = ()
    status: tuple[Status, ...] = ()
    absent: tuple[Absent, ...] = ()
    steps: tuple[Step, ...] = ()
    unlock: tuple[Step, ...] = ()
    lock: tuple[Step, ...] = ()
    actions: tuple[Action, ...] = ()
    coefficients: tuple[Coefficients, ...] = ()
    variants: tuple[Variant, ...] = ()
    default_variant: str | None = None
    frames: tuple[Frame, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """What it measures, in the order of the file."""
        return tuple(r.parameter for r in self.registers if r.is_number)

    def at(self, when: str) -> tuple[Step, ...]:
        """The steps of a poll at *when*: start, before or after its reads."""
        return tuple(step for step in self.steps if step.when == when)

    def protects(self, step: Write) -> bool:
        """Whether *step* changes what only an action may: protected registers, all that calibrates or clears a total.

        What does so may be a register, a coil, or a code of the maker's own.
        """
        told = [own for action in self.actions if action.verb in PRIVATE for own in action.sequence]
        if isinstance(step, Step) and step.do == "raw":
            return any(own.do == "raw" and own.function == step.function for own in told)
        writes = [own for own in told if own.do == "write"]
        if step.function == WRITE_COIL:
            return any(own.function == WRITE_COIL and own.address == step.address for own in writes)
        return step.touches(
            [*self.protected, *self.coefficient_spans, *(own.span for own in writes if own.function != WRITE_COIL)]
        )

    @property
    def coefficient_spans(self) -> tuple[tuple[int, int], ...]:
        """First and last address of all registers that hold coefficients."""
        return tuple(span for one in self.coefficients for span in one.spans)

    def coefficients_of(self, parameter: str) -> Coefficients | None:
        """What the instrument computes *parameter* with, where it can be told."""
        return next((one for one in self.coefficients if parameter in one.parameters), None)

    def refusal(self, step: Step) -> str | None:
        """Why *step* is none for a poll, in words; None where it is one."""
        if step.do not in ("write", "raw") or not self.protects(step):
            return None
        what = f"write {'coil' if step.function == WRITE_COIL else 'register'} {step.address}"
        return (
            f"a poll would {what if step.do == 'write' else f'send function {step.function}'}, which only an action may"
        )

    def starting_at(self, address: int | None) -> Profile:
        """The profile with its values from *address* on, where it says only how they lie to one another."""
        if self.start_address is None or address is None:
            return self
        by = address - self.start_address
        moved = tuple(replace(register, address=register.address + by) for register in self.registers)
        return replace(self, registers=moved, start_address=address)

    def chosen(self, variant: str | None = None) -> Profile:
        """The profile with *variant* worked in, or its default one; it then has no variants any more."""
        name = variant or self.default_variant
        names = [v.name for v in self.variants]
        if name is None and not names:
            return self
        if name is None:
            raise ProfileError(f"profile {self.name}: a variant must be chosen: {', '.join(names)}")
        if name not in names:
            raise ProfileError(
                f"profile {self.name}: no variant {name!r}{did_you_mean(name, names)};"
                f" it has {', '.join(names) or 'none'}"
            )
        return self._with(self.variants[names.index(name)])

    def _with(self, variant: Variant) -> Profile:
        own = {} if variant.alone else {r.parameter: r for r in self.registers}
        merged = own | {r.parameter: r for r in variant.registers}
        return replace(
            self,
            registers=tuple(merged.values()),
            status=(() if variant.alone else self.status) + variant.status,
            frames=tuple(f for f in self.frames if f.variant in (None, variant.name)),
            variants=(),
            default_variant=None,
        )

    def plan(self, line: Line, parameters: Sequence[str] = (), gap_ms: float | None = None) -> tuple[Request, ...]:
        """The reads that fetch *parameters* (all, when empty) and the conditions that concern them."""
        wanted = parameters or self.parameters
        samples = [r for r in self.registers if r.parameter in wanted and r.is_number]
        conditions = [s for s in self.status if any(s.concerns(p) for p in wanted)]
        return self._reads([*samples, *conditions], line, gap_ms)

    def plan_identity(self, line: Line) -> tuple[Request, ...]:
        """The reads that fetch the texts by which the instrument identifies itself."""
        return self._reads([r for r in self.registers if r.type in TEXTS], line, None)

    def _reads(self, places: Iterable[Place], line: Line, gap_ms: float | None) -> tuple[Request, ...]:
        return plan_reads(
            places,
            line.baudrate,
            line.bits,
            self.reply_delay_ms,
            gap_ms=self.gap_ms if gap_ms is None else gap_ms,
            max_registers=self.max_registers,
            holes=self.holes,
            bridge_gaps=self.bridge_gaps,
            pairs=self.pairs,
        )

    def timeout_seconds(self, line: Line, request: Sized) -> float:
        """From the first byte of a request to the time when its reply would be complete at the latest.

        Giving up before *worst_reply_ms* would gain nothing: the line has to stay quiet until then anyway,
        or the late reply meets the next request.
        """
        wire = (REQUEST_BYTES + request.reply_bytes) * line.character
        return wire + self.worst_reply_ms / 1000 + MARGIN_SECONDS


class Sized(Protocol):
    """A request whose reply has a known length."""

    @property
    def reply_bytes(self) -> int: ...


def load(name: str, folders: Sequence[Path] = (), *, frames: bool = True) -> Profile:
    """The profile *name*, from the first of *folders* that has it, else the one that ships.

    Without *frames* the example frames of one that ships are left out: they are a third of its text, they come last,
    and only tests and tools look at them.
    """
    searched = [*folders, SHIPPED]
    for folder in searched:
        path = folder / f"{name}.toml"
        if Path(name).name == name and os.path.isfile(path):  # noqa: PTH113 (is_file raises: name too long)
            return read(path, frames=frames or folder is not SHIPPED)
    known = {p.stem for folder in searched for p in folder.glob("*.toml")}
    places = ", ".join(str(folder) for folder in searched)
    raise ProfileError(f"no profile {name!r}{did_you_mean(name, sorted(known))} (searched {places})")


def read(path: Path, *, frames: bool = True) -> Profile:
    """The profile in the file at *path*, without its example *frames* if they are not wanted."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: cannot be read: {error}") from error
    return parse(text if frames else text.partition("\n[[frame]]")[0], path.stem, str(path))


def parse(text: str, name: str, source: str = "") -> Profile:
    """The profile written in *text*; *source* is where it stands, for messages."""
    from drivers.profile_file import parse as parsed  # it makes profiles, and so needs this module whole

    return parsed(text, name, source)
