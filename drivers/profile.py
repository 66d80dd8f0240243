"""Device profiles: an instrument described by a TOML file, read and checked here.

An operator's folder is searched before the profiles that ship.  Every fault of a file is reported at once.
"""

from __future__ import annotations

import math
import struct
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from drivers.base import ProfileError
from drivers.line import REQUEST_BYTES, Line, crc16
from drivers.registers import (
    MOST_REGISTERS,
    ORDERS,
    TYPES,
    Place,
    Register,
    Request,
    Status,
    decode,
    encode,
    plan_reads,
)
from station.model import Mark, dataclass, did_you_mean, fields, line_in, replace

__all__ = [
    "Action",
    "Frame",
    "Profile",
    "Register",
    "Request",
    "Status",
    "Variant",
    "decode",
    "encode",
    "load",
    "plan_reads",
]

SHIPPED = Path(__file__).with_name("profiles")

VERBS = ("calibrate", "start_check", "sample_now", "compare_sample", "keep_sample", "clean")
MOST_WRITTEN = 123  # registers in one write (Modbus application protocol V1.1b3, 6.12)
MARGIN_SECONDS = 0.02  # for this machine and its adapter: timers, USB


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of several layouts under one model name: registers that replace or join the profile's own."""

    name: str
    title: str = ""
    alone: bool = False
    registers: tuple[Register, ...] = ()
    status: tuple[Status, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A request and its reply as bytes, with the values they carry: from a document, a device, or computed."""

    request: bytes
    response: bytes
    values: Mapping[str, float]
    variant: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something the instrument does when registers are written: *verb* of station/commands.py, never a poll's.

    *type* narrows it to the zero or span of a calibration; *parameters* are those it concerns, all when empty.

    >>> Action(verb="clean", function=16, address=0x2F00).body.hex(" ")
    '2f 00 00 00 00'
    """

    verb: str
    address: int
    function: int = 16
    values: tuple[int, ...] = ()
    type: str = ""
    parameters: tuple[str, ...] = ()
    reply_bytes: int = REQUEST_BYTES

    @property
    def body(self) -> bytes:
        """The request between function and CRC (Modbus application protocol V1.1b3, 6.6 and 6.12)."""
        words = b"".join(value.to_bytes(2, "big") for value in self.values)
        if self.function == 6:
            return self.address.to_bytes(2, "big") + words
        return struct.pack(">HHB", self.address, len(self.values), len(words)) + words

    @property
    def text(self) -> str:
        """What is written, for messages."""
        return f"writing {len(self.values)} registers from {self.address} ({self.verb})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An instrument as data.  *baudrate*, *parity*, *stopbits* and *unit_id* are as the maker ships it."""

    name: str
    title: str
    baudrate: int
    unit_id: int
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
    max_registers: int = MOST_REGISTERS
    bridge_gaps: bool = True
    holes: tuple[tuple[int, int], ...] = ()
    registers: tuple[Register, ...] = ()
    status: tuple[Status, ...] = ()
    actions: tuple[Action, ...] = ()
    variants: tuple[Variant, ...] = ()
    default_variant: str | None = None
    frames: tuple[Frame, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """What it measures, in the order of the file."""
        return tuple(r.parameter for r in self.registers if r.type != "ascii")

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
        samples = [r for r in self.registers if r.parameter in wanted and r.type != "ascii"]
        conditions = [s for s in self.status if any(s.concerns(p) for p in wanted)]
        return self._reads([*samples, *conditions], line, gap_ms)

    def plan_identity(self, line: Line) -> tuple[Request, ...]:
        """The reads that fetch the texts by which the instrument identifies itself."""
        return self._reads([r for r in self.registers if r.type == "ascii"], line, None)

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
        )

    def timeout_seconds(self, line: Line, request: Request | Action) -> float:
        """From the first byte of a request to the time when its reply would be complete at the latest.

        Giving up before *worst_reply_ms* would gain nothing: the line has to stay quiet until then anyway,
        or the late reply meets the next request.
        """
        wire = (REQUEST_BYTES + request.reply_bytes) * line.character
        return wire + self.worst_reply_ms / 1000 + MARGIN_SECONDS


def load(name: str, folders: Sequence[Path] = ()) -> Profile:
    """The profile *name*, from the first of *folders* that has it, else the one that ships."""
    searched = [*folders, SHIPPED]
    for folder in searched:
        path = folder / f"{name}.toml"
        if Path(name).name == name and path.is_file():
            return read(path)
    known = {p.stem for folder in searched for p in folder.glob("*.toml")}
    places = ", ".join(str(folder) for folder in searched)
    raise ProfileError(f"no profile {name!r}{did_you_mean(name, sorted(known))} (searched {places})")


def read(path: Path) -> Profile:
    """The profile in the file at *path*."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: cannot be read: {error}") from error
    return parse(text, path.stem, str(path))


@lru_cache(maxsize=32)  # the station checks its configuration with the profiles it then runs on
def parse(text: str, name: str, source: str = "") -> Profile:
    """The profile written in *text*; *source* is where it stands, for messages."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{source or name}: not TOML: {error}") from error
    except RecursionError as error:
        raise ProfileError(f"{source or name}: not a profile: lists or tables lie too deep in one another") from error
    faults: list[str] = []
    profile = _profile(name, raw, faults)
    if faults or profile is None:
        raise ProfileError("\n".join(_placed(fault, text, source or name) for fault in faults))
    return profile


def _placed(fault: str, text: str, source: str) -> str:
    """*fault*, which begins with its place in the file, behind the file's name and the line."""
    line = line_in(text, fault.partition(": ")[0])
    return f"{source}:{line}: {fault}" if line else f"{source}: {fault}"


# -- what a file may say

_REQUIRED: Any = object()
_INFINITE = math.inf


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a profile file: its *kind*, what it means, and what it may be."""

    kind: str
    text: str
    default: Any = _REQUIRED
    low: float = -_INFINITE
    high: float = _INFINITE
    choices: tuple[Any, ...] = ()

    @property
    def required(self) -> bool:
        """Whether the key must be there."""
        return self.default is _REQUIRED


_TABLES = ("input", "holding")
_MARKS = tuple(mark.name for mark in Mark)
_ALL_ORDERS = tuple(order for orders in ORDERS.values() for order in orders)

_REGISTER = {
    "parameter": Key("text", "a key of station/parameters.toml; for ascii a name of your own"),
    "table": Key("text", "input (function 4) or holding (function 3)", choices=_TABLES),
    "address": Key("integer", "address on the wire, from 0", low=0, high=0xFFFF),
    "type": Key("text", "how the number is written", choices=(*TYPES, "ascii")),
    "order": Key("text", "byte order; big end first without it", "", choices=("", *_ALL_ORDERS)),
    "length": Key("integer", "registers of an ascii text", 0, low=0, high=MOST_REGISTERS),
    "scale": Key("number", "value = raw × scale + offset", 1),
    "offset": Key("number", "value = raw × scale + offset", 0),
    "unit": Key("text", "unit of the value, as in station/parameters.toml", ""),
    "range": Key("range", "lowest and highest believable value; outside it is marked and kept", None),
    "no_value": Key("raws", 'raw numbers (or "nan") that mean the instrument has no value', ()),
    "example": Key("example", "what the emulator serves and the tests expect"),
}
_STATUS = {
    "table": _REGISTER["table"],
    "address": _REGISTER["address"],
    "type": Key("text", "how the status is written", "u16", choices=("u16", "u32")),
    "order": _REGISTER["order"],
    "mask": Key("integer", "the bits looked at; all without it", 0xFFFFFFFF, low=1, high=0xFFFFFFFF),
    "value": Key("integer", "holds when the masked bits equal this; without it when any is set", None, low=0),
    "mark": Key("text", "mark the values carry while it holds", choices=_MARKS),
    "reason": Key("text", "why, in words for a person"),
    "parameters": Key("texts", "which parameters are marked; all when absent", ()),
    "example": Key("integer", "raw status the emulator serves", 0, low=0, high=0xFFFFFFFF),
}
_ACTION = {
    "verb": Key("text", "what it is told to do", choices=VERBS),
    "type": Key("text", "only this half of a calibration", "", choices=("", "zero", "span")),
    "parameters": Key("texts", "which parameters it concerns; all when absent", ()),
    "function": Key("integer", "16 writes registers, 6 one register", 16, choices=(6, 16)),
    "address": Key("integer", "holding register written first, from 0", low=0, high=0xFFFF),
    "values": Key("words", "what is written, one number a register; some instruments want none", ()),
}
_FRAME = {
    "request": Key("hex", "bytes of the request, CRC included"),
    "response": Key("hex", "bytes of the reply, CRC included"),
    "values": Key("values", "the values the reply carries, by parameter", {}),
    "variant": Key("text", "the variant it belongs to; every one without it", None),
    "note": Key("text", "where the bytes come from", ""),
}
_VARIANT = {
    "name": Key("text", "what station.toml calls it"),
    "title": Key("text", "what it is, for a person", ""),
    "alone": Key("flag", "the profile's own registers are not taken", False),
    "register": Key("tables", "registers that replace or join the profile's own", ()),
    "status": Key("tables", "conditions that join the profile's own", ()),
}
_PROFILE = {
    "title": Key("text", "name of the instrument"),
    "maker": Key("text", "who makes it", ""),
    "source": Key("text", "the document or driver these facts come from", ""),
    "grade": Key("text", "A maker's document, B working drivers, C one source, D recalled", "D", choices=tuple("ABCD")),
    "baudrate": Key("integer", "bit/s as shipped", low=300, high=921600),
    "parity": Key("text", "N, E or O as shipped", "N", choices=("N", "E", "O")),
    "stopbits": Key("integer", "stop bits as shipped", 1, choices=(1, 2)),
    "unit_id": Key("integer", "Modbus address as shipped", low=1, high=247),
    "reply_delay_ms": Key("number", "usual time from request to reply; the emulator keeps it", 20, low=0, high=10000),
    "worst_reply_ms": Key(
        "number",
        "longest time from request to reply; 500, at 4800 baud or slower 1000, or 4 reply delays",
        None,
        low=1,
        high=5000,
    ),
    "gap_ms": Key("number", "silence wanted before a request; 50, at 4800 baud or slower 200", None, low=0, high=10000),
    "poll_minimum_seconds": Key("number", "shortest sensible poll interval", 1, low=0, high=86400),
    "warm_up_seconds": Key("number", "how long values are not valid after power-on", 0, low=0, high=86400),
    "max_registers": Key("integer", "most registers in one read", MOST_REGISTERS, low=1, high=MOST_REGISTERS),
    "bridge_gaps": Key("flag", "false where unused registers between two values must not be read along", True),
    "holes": Key("spans", "first and last address of registers that must not be read", ()),
    "default_variant": Key("text", "the variant taken when station.toml names none", None),
    "register": Key("tables", "the values of the instrument", ()),
    "status": Key("tables", "conditions it reports about itself", ()),
    "action": Key("tables", "what it can be told to do", ()),
    "variant": Key("tables", "layouts under the same model name", ()),
    "frame": Key("tables", "example frames; the tests hold driver and emulator to them", ()),
}
KEYS: Mapping[str, Mapping[str, Key]] = {
    "profile": _PROFILE,
    "register": _REGISTER,
    "status": _STATUS,
    "action": _ACTION,
    "variant": _VARIANT,
    "frame": _FRAME,
}


# -- reading it, with every fault in its place


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[0] <= value[1]


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _table_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _hex(value: Any) -> bool:
    try:
        return len(bytes.fromhex(value)) >= 4
    except (TypeError, ValueError):
        return False


# kind: what it is called in a message, and the check
_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", _text),
    "integer": ("a whole number", lambda value: type(value) is int),
    "number": ("a number", _number),
    "flag": ("true or false", lambda value: type(value) is bool),
    "example": ("a number or a text", lambda value: _number(value) or _text(value)),
    "range": ("two numbers, the lower one first", _pair),
    "raws": ('a list of numbers or "nan"', _list_of(lambda value: _number(value) or value == "nan")),
    "texts": ("a list of texts", _list_of(_text)),
    "words": ("a list of numbers from 0 to 65535", _list_of(lambda value: type(value) is int and 0 <= value <= 0xFFFF)),
    "spans": ("a list of pairs, the lower address first", _list_of(_pair)),
    "hex": ("a frame in hex", _hex),
    "values": ("a table of numbers", _table_of(_number)),
    "tables": ("a list of tables", _list_of(lambda value: isinstance(value, dict))),
}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _fault(value: Any, key: Key) -> str | None:
    """What is wrong with *value*, or None."""
    kind, check = _KINDS[key.kind]
    if not check(value):
        return f"{_shown(value)} is not {kind}"
    if key.choices and value not in key.choices:
        choices = [str(choice) for choice in key.choices if choice != ""]
        return f"{_shown(value)} is not one of {', '.join(choices)}{did_you_mean(str(value), choices)}"
    if key.kind in ("integer", "number") and value < key.low:
        return f"{value} is below {key.low:g}"
    if key.kind in ("integer", "number") and value > key.high:
        return f"{value} is above {key.high:g}"
    return None


def _checked(raw: Mapping[str, Any], keys: Mapping[str, Key], place: str, faults: list[str]) -> dict[str, Any] | None:
    """The table *raw* with defaults filled in, or None where a fault makes it useless."""
    before = len(faults)
    for name in raw.keys() - keys.keys():
        faults.append(f"{place}{name}: unknown key{did_you_mean(name, keys)}")
    for name, key in keys.items():
        if name not in raw:
            if key.required:
                faults.append(f"{place}{name}: missing")
        elif fault := _fault(raw[name], key):
            faults.append(f"{place}{name}: {fault}")
    if len(faults) > before:
        return None
    return {name: raw.get(name, key.default) for name, key in keys.items()}


def _each(raw: Any, name: str, place: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """The tables of the array *name*, each with its place."""
    tables = raw.get(name, ())
    if isinstance(tables, list):
        for i, table in enumerate(tables):
            if isinstance(table, dict):
                yield table, f"{place}{name}[{i}]."


def _profile(name: str, raw: Mapping[str, Any], faults: list[str]) -> Profile | None:
    checked = _checked(raw, _PROFILE, "", faults)
    registers = _registers(raw, "", faults)
    status = _all_status(raw, "", faults)
    actions = [_action(table, place, faults) for table, place in _each(raw, "action")]
    variants = [_variant(table, place, faults) for table, place in _each(raw, "variant")]
    frames = [_frame(table, place, faults) for table, place in _each(raw, "frame")]
    if faults or checked is None:
        return None
    slow = checked["baudrate"] <= 4800
    checked["gap_ms"] = _default(checked["gap_ms"], 200 if slow else 50)
    patience = max(1000 if slow else 500, 4 * checked["reply_delay_ms"])
    checked["worst_reply_ms"] = _default(checked["worst_reply_ms"], patience)
    checked["holes"] = tuple((first, last) for first, last in checked["holes"])
    own = {key: checked[key] for key in checked.keys() & {f.name for f in fields(Profile)}}
    own |= {"registers": tuple(registers), "status": tuple(status)}
    own |= {"actions": tuple(a for a in actions if a)}
    own |= {"variants": tuple(v for v in variants if v), "frames": tuple(f for f in frames if f)}
    profile = Profile(name=name, **own)
    faults += _contradictions(profile)
    return profile


def _default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _registers(raw: Mapping[str, Any], place: str, faults: list[str]) -> list[Register]:
    found: list[Register] = []
    for table, where in _each(raw, "register", place):
        register = _register(table, where, faults)
        if register is None:
            continue
        if any(register.parameter == other.parameter for other in found):
            faults.append(f"{where}parameter: {register.parameter} is there twice")
        found.append(register)
    return found


def _register(raw: Mapping[str, Any], place: str, faults: list[str]) -> Register | None:
    checked = _checked(raw, _REGISTER, place, faults)
    if checked is None:
        return None
    before = len(faults)
    faults += (f"{place}{fault}" for fault in _register_faults(checked))
    if len(faults) > before:
        return None
    checked["range"] = tuple(_default(checked["range"], (-_INFINITE, _INFINITE)))
    checked["no_value"] = tuple(math.nan if raw == "nan" else raw for raw in checked["no_value"])
    return Register(**checked)


def _register_faults(register: Mapping[str, Any]) -> Iterator[str]:
    if register["type"] == "ascii":
        if not register["length"]:
            yield "length: missing; a text takes a number of registers"
        if not isinstance(register["example"], str):
            yield "example: a text is wanted"
        return
    _, width, low, high = TYPES[register["type"]]
    yield from _place_faults(register, width)
    if register["length"]:
        yield f"length: {register['type']} has its own length"
    if register["scale"] == 0:
        yield "scale: 0 leaves no value"
    if isinstance(register["example"], str):
        yield f"example: {_shown(register['example'])} is not a number"
    for raw in register["no_value"]:
        if register["type"] == "f32":
            continue
        if type(raw) is not int or not low <= raw <= high:
            yield f"no_value: {raw} is no {register['type']}"


def _place_faults(place: Mapping[str, Any], width: int) -> Iterator[str]:
    if place["order"] and place["order"] not in ORDERS[width]:
        yield f"order: {place['type']} has {', '.join(ORDERS[width])}"
    if place["address"] + width > 0x10000:
        yield "address: the value ends above 65535"


def _all_status(raw: Mapping[str, Any], place: str, faults: list[str]) -> list[Status]:
    found = (_one_status(table, where, faults) for table, where in _each(raw, "status", place))
    return [status for status in found if status]


def _one_status(raw: Mapping[str, Any], place: str, faults: list[str]) -> Status | None:
    checked = _checked(raw, _STATUS, place, faults)
    if checked is None:
        return None
    wrong = list(_place_faults(checked, TYPES[checked["type"]][1]))
    if "mask" not in raw and "value" not in raw:
        wrong.append("mask: missing; a mask or a value is needed")
    if checked["example"] > TYPES[checked["type"]][3]:
        wrong.append(f"example: {checked['example']} is no {checked['type']}")
    faults += (f"{place}{fault}" for fault in wrong)
    checked |= {"mark": Mark[checked["mark"]], "parameters": tuple(checked["parameters"])}
    return None if wrong else Status(**checked)


def _variant(raw: Mapping[str, Any], place: str, faults: list[str]) -> Variant | None:
    checked = _checked(raw, _VARIANT, place, faults)
    registers = _registers(raw, place, faults)
    status = _all_status(raw, place, faults)
    if checked is None:
        return None
    return Variant(
        name=checked["name"],
        title=checked["title"],
        alone=checked["alone"],
        registers=tuple(registers),
        status=tuple(status),
    )


def _action(raw: Mapping[str, Any], place: str, faults: list[str]) -> Action | None:
    checked = _checked(raw, _ACTION, place, faults)
    if checked is None:
        return None
    if checked["function"] == 6 and len(checked["values"]) != 1:
        faults.append(f"{place}values: function 6 writes one register")
    if len(checked["values"]) > MOST_WRITTEN:
        faults.append(f"{place}values: one write has at most {MOST_WRITTEN} registers")
    if checked["type"] and checked["verb"] != "calibrate":
        faults.append(f"{place}type: only calibrate has a type")
    return Action(**checked | {"values": tuple(checked["values"]), "parameters": tuple(checked["parameters"])})


def _frame(raw: Mapping[str, Any], place: str, faults: list[str]) -> Frame | None:
    checked = _checked(raw, _FRAME, place, faults)
    if checked is None:
        return None
    for name in ("request", "response"):
        checked[name] = frame = bytes.fromhex(checked[name])
        if crc16(frame[:-2]) != frame[-2:]:
            faults.append(f"{place}{name}: the CRC should be {crc16(frame[:-2]).hex(' ').upper()}")
    return Frame(**checked)


def _contradictions(profile: Profile) -> Iterator[str]:
    """What is wrong between the parts of a profile, each part being right in itself."""
    names = [v.name for v in profile.variants]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield f"variant[{i}].name: {name} is there twice"
    if profile.default_variant is not None and profile.default_variant not in names:
        yield f"default_variant: no variant {profile.default_variant!r}{did_you_mean(profile.default_variant, names)}"
    for i, frame in enumerate(profile.frames):
        if frame.variant is not None and frame.variant not in names:
            yield f"frame[{i}].variant: no variant {frame.variant!r}{did_you_mean(frame.variant, names)}"
    if profile.worst_reply_ms < profile.reply_delay_ms:
        yield "worst_reply_ms: is below reply_delay_ms"
    if not profile.parameters and not any(v.registers for v in profile.variants):
        yield "register: missing; a profile needs at least one value"
    for where, places in _places(profile):
        for i, place in enumerate(places):
            yield from (f"{where}[{i}].{fault}" for fault in _misplaced(place, profile))
    for where, found in (("", profile.status), *((f"variant[{i}].", v.status) for i, v in enumerate(profile.variants))):
        for i, status in enumerate(found):
            yield from (f"{where}status[{i}].{fault}" for fault in _unknown_parameters(status, profile))
    for i, action in enumerate(profile.actions):
        yield from (f"action[{i}].{fault}" for fault in _unknown_parameters(action, profile))


def _places(profile: Profile) -> Iterator[tuple[str, Sequence[Place]]]:
    yield "register", profile.registers
    yield "status", profile.status
    for i, variant in enumerate(profile.variants):
        yield f"variant[{i}].register", variant.registers
        yield f"variant[{i}].status", variant.status


def _misplaced(place: Place, profile: Profile) -> Iterator[str]:
    if place.width > profile.max_registers:
        yield f"type: takes {place.width} registers, one read has at most {profile.max_registers}"
    for first, last in profile.holes:
        if place.address <= last and place.end > first:
            yield f"address: lies in the hole {first}–{last}"


def _unknown_parameters(status: Status | Action, profile: Profile) -> Iterator[str]:
    known = {*profile.parameters, *(r.parameter for v in profile.variants for r in v.registers)}
    for parameter in status.parameters:
        if parameter not in known:
            yield f"parameters: no register gives {parameter!r}{did_you_mean(parameter, sorted(known))}"
