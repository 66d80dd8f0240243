"""The file of a profile: what it may say, and every fault of it at once, each with its line."""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from drivers.base import ProfileError
from drivers.line import FUNCTION, TABLE, crc16
from drivers.profile import (
    GIVEN,
    NUMBERS_GIVEN,
    OWN_VERBS,
    TYPED,
    VERBS,
    WRITE_COIL,
    WRITE_MANY,
    WRITE_ONE,
    Absent,
    Action,
    Coefficients,
    Condition,
    Frame,
    Given,
    Profile,
    Step,
    Variant,
)
from drivers.registers import (
    FLOATS,
    MOST_REGISTERS,
    TEXTS,
    TIMES,
    TYPES,
    Meaning,
    Operand,
    Place,
    Quality,
    Register,
    Status,
    orders,
)
from station.model import Mark, dataclass, did_you_mean, fields, line_in, replace

LONGEST_PATIENCE_MS = 20_000  # the bus thread has to show within 60 s that it lives
MOST_WRITTEN = 123  # registers in one write (Modbus application protocol V1.1b3, 6.12)
LONGEST_ACTION = 15.0  # seconds of waits in one action: whoever commands it waits no longer than 20
STAGES = ("begin", "point", "end", "cancel")  # of a calibration that the instrument does over several standards
LARGEST_COUNT = 10**9  # of a number a value is multiplied with: more is a register read wrong


@lru_cache(maxsize=32)  # the station checks its configuration with the profiles it then runs on
def parse(text: str, name: str, source: str = "") -> Profile:
    """The profile written in *text*; *source* is where it stands, for messages."""
    where = source or name
    try:
        raw = tomllib.loads(text)
    except ValueError as error:  # not TOML, or a number of more digits than Python reads
        raise ProfileError(f"{where}: not TOML: {error}") from error
    except RecursionError as error:
        raise ProfileError(f"{where}: not a profile: lists or tables lie too deep in one another") from error
    faults: list[str] = []
    profile = _profile(name, raw, faults)
    if faults or profile is None:
        raise ProfileError("\n".join(_placed(fault, text, where) for fault in faults))
    return profile


def _placed(fault: str, text: str, source: str) -> str:
    """*fault*, which begins with its place in the file, behind the file's name and the line."""
    line = line_in(text, fault.partition(": ")[0])
    return f"{source}:{line}: {fault}" if line else f"{source}: {fault}"


# -- what a file may say

_REQUIRED: Any = object()
_INFINITE = math.inf
_MOST = sys.float_info.max


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
_NUMBERS = tuple(TYPES)
_WHOLE = tuple(name for name in TYPES if name not in FLOATS)
_ALL_ORDERS = tuple(dict.fromkeys(order for name in TYPES for order in orders(name)))

_REGISTER = {
    "parameter": Key("text", "a key of station/parameters.toml; for texts and times a name of your own"),
    "table": Key("text", "input (function 4) or holding (function 3)", choices=_TABLES),
    "address": Key("integer", "address on the wire, from 0", low=0, high=0xFFFF),
    "type": Key("text", "how the number is written", choices=(*TYPES, *TIMES, *TEXTS)),
    "order": Key(
        "text",
        "byte order; big end first without it. Of u8 and i8: A the high byte, B the low one",
        "",
        choices=("", *_ALL_ORDERS),
    ),
    "length": Key("integer", "registers of an ascii text", 0, low=0, high=MOST_REGISTERS),
    "mask": Key("integer", "the bits taken of a whole number, moved to the right end", None, low=1),
    "scale": Key("number", "value = raw × scale + offset", 1),
    "offset": Key("number", "value = raw × scale + offset", 0),
    "plus": Key("operands", "numbers from other registers that are added, such as the decimals of a total", ()),
    "scale_by": Key("operands", "numbers from other registers that it is multiplied with, such as a ratio", ()),
    "decimals": Key("operand", "the register that says how many decimals the value has", None),
    "quality": Key("place", "the word that says whether the value may be used; `[[quality]]` explains it", None),
    "unit": Key("text", "unit of the value, as in station/parameters.toml", ""),
    "range": Key("range", "lowest and highest believable value; outside it is marked and kept", None),
    "no_value": Key("raws", 'raw numbers (or "nan") that mean the instrument has no value', ()),
    "example": Key("example", "what the emulator serves and the tests expect"),
}
_PLACE = {
    "table": Key("text", "input or holding; that of the value without it", "", choices=("", *_TABLES)),
    "address": _REGISTER["address"],
    "type": Key("text", "how the number is written", "u16", choices=_NUMBERS),
    "order": _REGISTER["order"],
}
_OPERAND = _PLACE | {
    "mask": _REGISTER["mask"],
    "scale": _REGISTER["scale"],
    "offset": _REGISTER["offset"],
    "range": Key("range", "what can be meant: decimals 0 to 9, factors above 0; else there is no value", None),
    "example": Key("number", "what the emulator serves; 0, of a factor 1", None),
}
_STATUS = {
    "table": _REGISTER["table"],
    "address": _REGISTER["address"],
    "type": Key("text", "how the status is written", "u16", choices=("u16", "u32")),
    "order": Key("text", "byte order; big end first without it", "", choices=("", *_ALL_ORDERS)),
    "mask": Key("integer", "the bits looked at; all without it", 0xFFFFFFFF, low=1, high=0xFFFFFFFF),
    "value": Key("integer", "holds when the masked bits equal this; without it when any is set", None, low=0),
    "other_than": Key("integer", "holds when the masked bits are anything but this, such as a wrong unit", None, low=0),
    "mark": Key("text", "mark the values carry while it holds", choices=_MARKS),
    "reason": Key("text", "why, in words for a person"),
    "parameters": Key("texts", "which parameters are marked; all when absent", ()),
    "example": Key("integer", "raw status the emulator serves", 0, low=0, high=0xFFFFFFFF),
}
_QUALITY = {
    "values": Key("numbers", "the numbers that say this; one that no row has marks the value D"),
    "mark": Key("text", "mark the value carries then; N for good", choices=_MARKS),
    "reason": Key("text", "why, in words for a person", ""),
    "keep": Key("flag", "the value stays beside its mark; without it there is none", False),
}
_ABSENT = {
    "parameters": Key("texts", "what is not fitted when all of these read so at once"),
    "raws": Key("raws", "raw number of each, in the same order"),
    "polls": Key("integer", "only after so many polls in a row, where one alone may be true", 1, low=1, high=100),
}
_STEP = {
    "do": Key("text", "what is done", choices=("write", "read", "wait", "until", "raw", "expect")),
    "when": Key(
        "text",
        "before or after the reads of each poll, or at the start: of the station, and after a silence",
        "",
        choices=("", "start", "before", "after"),
    ),
    "function": Key(
        "integer", "write: 16 and 6 registers, 5 a coil; read: 3 or 4; raw: any code", None, low=1, high=127
    ),
    "table": Key("text", "until, expect, wait: input or holding", "holding", choices=_TABLES),
    "address": Key(
        "integer", "register or coil, from 0; wait: the register that tells the ms", None, low=0, high=0xFFFF
    ),
    "type": Key(
        "text", "until, expect, wait, and what is given: how the number is written", "u16", choices=(*TYPES, "ascii")
    ),
    "order": _STATUS["order"],
    "values": Key("words", "write: one number a register; some instruments want none", ()),
    "given": Key(
        "text",
        "write, in an action: what whoever commands it brings, instead of values; a bottle to a sampler",
        "",
        choices=("", *GIVEN),
    ),
    "length": Key("integer", "given: registers of an ascii text", 0, low=0, high=MOST_REGISTERS),
    "scale": Key("number", "given: what is written is the number divided by this", 1),
    "then": Key("words", "given: further registers in the same write, behind it", ()),
    "decimals": Key("operand", "given: the register that says with how many decimals it is written", None),
    "count": Key("integer", "read: registers asked for; some instruments want 0", 1, low=0, high=MOST_REGISTERS),
    "mask": _STATUS["mask"],
    "value": Key("integer", "until, expect: what the masked bits are to equal", None, low=0, high=0xFFFFFFFF),
    "partial": Key(
        "integer", "expect: or this, while standards of the calibration are to follow", None, low=0, high=0xFFFFFFFF
    ),
    "says": Key("sayings", "expect: what other numbers mean, in words for a person", {}),
    "seconds": Key("number", "wait: how long; until: how long at most", 0, low=0, high=3600),
    "every_seconds": Key("number", "until: how often it is asked", 0.5, low=0.05, high=600),
    "times": Key("number", "wait: so many times what the register tells", 1, low=0.1, high=10),
    "data": Key("hex", "raw: bytes between function and CRC", ""),
    "answer_bytes": Key(
        "integer",
        "raw: bytes between function and CRC of the answer; without it the first one tells",
        None,
        low=0,
        high=250,
    ),
    "optional": Key(
        "flag", "of a poll: a refusal or no reply is passed over, as some firmware does not know it", False
    ),
    "example": Key(
        "example", "wait, until: what the emulator serves; until: how many ms it takes to get there; given: as such", 0
    ),
}
_COEFFICIENTS = {
    "parameters": Key("texts", "which parameters the instrument computes with them"),
    "slope": Key("operand", "the register of the slope: value = slope × raw + intercept", None),
    "intercept": Key("operand", "the register of the intercept", None),
    "saved": Key(
        "operands",
        "of an instrument that computes them by itself: registers put back when its calibration fails;"
        " emulated, the first two are slope and intercept",
        (),
    ),
    "function": Key("integer", "16 writes registers, 6 one register", WRITE_MANY, choices=(6, 16)),
}
_ACTION = {
    "verb": Key("text", "what it is told to do", choices=(*VERBS, *OWN_VERBS)),
    "type": Key(
        "text",
        "only this part of a calibration or check: zero, span; over several standards begin, each point, end, cancel",
        "",
        choices=("", "zero", "span", *STAGES),
    ),
    "number": Key("integer", "point: only of this standard, from 1; without it of every one", 0, low=0, high=10),
    "standards": Key("levels", "the standards it knows, in order; zero, span: what it then shows", ()),
    "settle_seconds": Key("number", "how long the value is watched in the standard before it", 0, low=0, high=3600),
    "parameters": Key("texts", "which parameters it concerns; all when absent", ()),
    "function": Key("integer", "16 writes registers, 6 one register, 5 a coil", WRITE_MANY, choices=(5, 6, 16)),
    "address": Key(
        "integer", "register or coil written first, from 0; none where there are steps", None, low=0, high=0xFFFF
    ),
    "values": Key("words", "what is written, one number a register; some instruments want none", ()),
    "verify": Key("flag", "what was written is read back and compared", False),
    "hold_seconds": Key("number", "how long after it the values are not read, as after a wiper", 0, low=0, high=3600),
    "interval": Key("operand", "register that says how often it does so by its own clock, minutes", None),
    "step": Key("tables", "steps instead of one write, as `[[step]]` without `when`", ()),
}
_FRAME = {
    "request": Key("frame", "bytes of the request, CRC included"),
    "response": Key("frame", "bytes of the reply, CRC included"),
    "values": Key("values", "the values the reply carries, by parameter", {}),
    "variant": Key("text", "the variant it belongs to; every one without it", None),
    "note": Key("text", "where the bytes come from", ""),
}
_CONDITION = {
    "table": _REGISTER["table"],
    "address": _REGISTER["address"],
    "type": Key("text", "how the number is written", "u16", choices=_NUMBERS),
    "order": _REGISTER["order"],
    "scale": Key("number", "number = raw × scale", 1),
    "range": Key("range", "where the number lies when this is the right variant"),
    "text": Key("text", "what the register is, for a person", ""),
}
_VARIANT = {
    "name": Key("text", "what station.toml calls it"),
    "title": Key("text", "what it is, for a person", ""),
    "alone": Key("flag", "the profile's own registers are not taken", False),
    "register": Key("tables", "registers that replace or join the profile's own", ()),
    "status": Key("tables", "conditions that join the profile's own", ()),
    "condition": Key("tables", "what registers read when it is the right one; `station profile probe` looks", ()),
}
_PROFILE = {
    "title": Key("text", "name of the instrument"),
    "title_zh": Key("text", "the same in Chinese, for those who read it so", ""),
    "maker": Key("text", "who makes it", ""),
    "source": Key("text", "the document or driver these facts come from", ""),
    "grade": Key("text", "A maker's document, B working drivers, C one source, D recalled", "D", choices=tuple("ABCD")),
    "uncertain": Key("text", "what is not known for sure; station.toml must then confirm it (`confirmed = true`)", ""),
    "baudrate": Key("integer", "bit/s as shipped", low=300, high=921600),
    "parity": Key("text", "N, E or O as shipped", "N", choices=("N", "E", "O")),
    "stopbits": Key("integer", "stop bits as shipped", 1, choices=(1, 2)),
    "unit_id": Key("integer", "Modbus address as shipped", low=1, high=247),
    "general_address": Key(
        "integer",
        "the address every such instrument answers to: only where it is alone on the line",
        None,
        low=0,
        high=255,
    ),
    "start_address": Key(
        "integer",
        "where its values begin is in no source: the addresses of `[[register]]`s count from here, which is an example;"
        " station.toml says where they do",
        None,
        low=0,
        high=0xFFFF,
    ),
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
    "sleep_seconds": Key(
        "number",
        "idle time after which it sleeps and loses the first request; 0: it does not sleep",
        0,
        low=0,
        high=86400,
    ),
    "average_reads": Key(
        "integer", "a value is the mean of so many reads, where the maker asks for it", 1, low=1, high=100
    ),
    "average_seconds": Key(
        "number", "seconds between those reads; others use the line meanwhile", 1, low=0.1, high=600
    ),
    "max_registers": Key("integer", "most registers in one read", MOST_REGISTERS, low=1, high=MOST_REGISTERS),
    "bridge_gaps": Key("flag", "false where unused registers between two values must not be read along", True),
    "pairs": Key("flag", "true where a read must begin at an even address and hold whole values", False),
    "crc_high_first": Key("flag", "true where the CRC of raw exchanges has its high byte first", False),
    "holes": Key("spans", "first and last address of registers that must not be read", ()),
    "protected": Key("spans", "first and last address of registers that only an action may write", ()),
    "default_variant": Key("text", "the variant taken when station.toml names none", None),
    "register": Key("tables", "the values of the instrument", ()),
    "status": Key("tables", "conditions it reports about itself", ()),
    "quality": Key("tables", "what the numbers of its quality words mean", ()),
    "absent": Key("tables", "what elements that are not fitted read", ()),
    "step": Key("tables", "what a poll does beside reading", ()),
    "unlock": Key("tables", "steps before an action writes what is protected", ()),
    "lock": Key("tables", "steps after it", ()),
    "action": Key("tables", "what it can be told to do", ()),
    "coefficients": Key("tables", "registers with which it computes its values", ()),
    "variant": Key("tables", "layouts under the same model name", ()),
    "frame": Key("tables", "example frames; the tests hold driver and emulator to them", ()),
}
KEYS: Mapping[str, Mapping[str, Key]] = {
    "profile": _PROFILE,
    "register": _REGISTER,
    "operand": _OPERAND,
    "status": _STATUS,
    "quality": _QUALITY,
    "absent": _ABSENT,
    "step": _STEP,
    "action": _ACTION,
    "coefficients": _COEFFICIENTS,
    "variant": _VARIANT,
    "condition": _CONDITION,
    "frame": _FRAME,
}


# -- reading it, with every fault in its place


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -_MOST <= value <= _MOST


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[0] <= value[1]


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _table_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _table(value: Any) -> bool:
    return isinstance(value, dict)


def _sayings(value: Any) -> bool:
    return isinstance(value, dict) and all(key.isdecimal() and _text(text) for key, text in value.items())


def _hex(value: Any) -> bool:
    try:
        bytes.fromhex(value)
    except (TypeError, ValueError):
        return False
    return True


# kind: what it is called in a message, and the check
_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", _text),
    "integer": ("a whole number", lambda value: type(value) is int),
    "number": ("a number", _number),
    "flag": ("true or false", lambda value: type(value) is bool),
    "example": ("a number or a text", lambda value: _number(value) or _text(value)),
    "range": ("two numbers, the lower one first", _pair),
    "raws": ('a list of numbers or "nan"', _list_of(lambda value: _number(value) or value == "nan")),
    "numbers": ("a list of whole numbers from 0", _list_of(lambda value: type(value) is int and value >= 0)),
    "texts": ("a list of texts", _list_of(_text)),
    "levels": ("a list of numbers", _list_of(_number)),
    "sayings": ('a table such as { 1 = "no such standard" }', _sayings),
    "words": ("a list of numbers from 0 to 65535", _list_of(lambda value: type(value) is int and 0 <= value <= 0xFFFF)),
    "spans": ("a list of pairs, the lower address first", _list_of(_pair)),
    "hex": ("bytes in hex", _hex),
    "frame": ("a frame in hex", lambda value: _hex(value) and len(bytes.fromhex(value)) >= 4),
    "values": ("a table of numbers", _table_of(_number)),
    "tables": ("a list of tables", _list_of(_table)),
    "place": ("a table such as { address = 42 }", _table),
    "operand": ("a table such as { address = 42, example = 2 }", _table),
    "operands": ("a list of tables such as { address = 42, example = 2 }", _list_of(_table)),
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
    meanings = _meanings(raw, faults)
    registers = _registers(raw, "", meanings, faults)
    status = _all_status(raw, "", faults)
    absent = [_absent(table, place, faults) for table, place in _each(raw, "absent")]
    sequences = {key: _steps(raw, key, "", faults) for key in ("step", "unlock", "lock")}
    actions = [_action(table, place, faults) for table, place in _each(raw, "action")]
    coefficients = [_coefficients(table, place, faults) for table, place in _each(raw, "coefficients")]
    variants = [_variant(table, place, meanings, faults) for table, place in _each(raw, "variant")]
    frames = [_frame(table, place, faults) for table, place in _each(raw, "frame")]
    if faults or checked is None:
        return None
    slow = checked["baudrate"] <= 4800
    checked["gap_ms"] = _default(checked["gap_ms"], 200 if slow else 50)
    patience = min(max(1000 if slow else 500, 4 * checked["reply_delay_ms"]), LONGEST_PATIENCE_MS)
    checked["worst_reply_ms"] = _default(checked["worst_reply_ms"], patience)
    for spans in ("holes", "protected"):
        checked[spans] = tuple((first, last) for first, last in checked[spans])
    own = {key: checked[key] for key in checked.keys() & {f.name for f in fields(Profile)}}
    own |= {"registers": tuple(registers), "status": tuple(status), "absent": tuple(a for a in absent if a)}
    own |= {"steps": sequences["step"], "unlock": sequences["unlock"], "lock": sequences["lock"]}
    own |= {"actions": tuple(a for a in actions if a), "coefficients": tuple(c for c in coefficients if c)}
    own |= {"variants": tuple(v for v in variants if v), "frames": tuple(f for f in frames if f)}
    if (start := own["start_address"]) is not None:
        own["registers"] = tuple(replace(one, address=start + one.address) for one in registers)
    profile = Profile(name=name, **own)
    faults += _contradictions(profile)
    return profile


def _default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _registers(raw: Mapping[str, Any], place: str, meanings: tuple[Meaning, ...], faults: list[str]) -> list[Register]:
    found: list[Register] = []
    for table, where in _each(raw, "register", place):
        register = _register(table, where, meanings, faults)
        if register is None:
            continue
        if any(register.parameter == other.parameter for other in found):
            faults.append(f"{where}parameter: {register.parameter} is there twice")
        found.append(register)
    return found


def _register(raw: Mapping[str, Any], place: str, meanings: tuple[Meaning, ...], faults: list[str]) -> Register | None:
    checked = _checked(raw, _REGISTER, place, faults)
    if checked is None:
        return None
    before = len(faults)
    faults += (f"{place}{fault}" for fault in _register_faults(checked))
    table = checked["table"]
    for name in ("plus", "scale_by"):
        some = [_operand(one, f"{place}{name}.", table, name, faults) for one in checked[name]]
        checked[name] = tuple(one for one in some if one)
    if checked["decimals"] is not None:
        checked["decimals"] = _operand(checked["decimals"], f"{place}decimals.", table, "decimals", faults)
    if checked["quality"] is not None:
        checked["quality"] = _quality(checked["quality"], f"{place}quality", table, meanings, faults)
    if len(faults) > before:
        return None
    checked["range"] = tuple(_default(checked["range"], (-_INFINITE, _INFINITE)))
    checked["no_value"] = tuple(math.nan if raw == "nan" else raw for raw in checked["no_value"])
    return Register(**checked)


def _register_faults(register: Mapping[str, Any]) -> Iterator[str]:
    kind, example = register["type"], register["example"]
    beside = [key for key in ("mask", "plus", "scale_by", "decimals", "quality") if register[key]]
    if kind not in TYPES:
        if kind == "ascii" and not register["length"]:
            yield "length: missing; a text takes a number of registers"
        if not isinstance(example, str):
            yield "example: a text is wanted"
        elif kind == "version" and not _is_version(example):
            yield f'example: {_shown(example)} is no version such as "1.10", two numbers up to 255'
        yield from (f"{key}: a text or a time has none" for key in ("order", *beside) if register[key])
        return
    _, width, low, high = TYPES[kind]
    yield from _place_faults(register, width)
    if register["length"]:
        yield f"length: {kind} has its own length"
    if register["scale"] == 0:
        yield "scale: 0 leaves no value"
    if isinstance(example, str):
        yield f"example: {_shown(example)} is not a number"
    yield from _mask_faults(register)
    for raw in register["no_value"]:
        if kind not in FLOATS and (type(raw) is not int or not low <= raw <= high):
            yield f"no_value: {raw} is no {kind}"


def _is_version(text: str) -> bool:
    numbers = text.split(".")
    return len(numbers) == 2 and all(n.isascii() and n.isdigit() and int(n) <= 0xFF for n in numbers)


def _mask_faults(place: Mapping[str, Any]) -> Iterator[str]:
    kind, mask = place["type"], place["mask"]
    if mask is not None and (kind not in ("u8", "u16", "u32", "u64") or mask > TYPES[kind][3]):
        yield f"mask: {mask:#x} takes no bits of {kind}"


def _place_faults(place: Mapping[str, Any], width: int) -> Iterator[str]:
    if place["order"] and place["order"] not in orders(place["type"]):
        yield f"order: {place['type']} has {', '.join(orders(place['type']))}"
    if place["address"] + width > 0x10000:
        yield "address: the value ends above 65535"


_BELIEVED: Mapping[str, tuple[float, float]] = {
    "plus": (-_INFINITE, _INFINITE),
    "scale_by": (1 / LARGEST_COUNT, LARGEST_COUNT),
    "decimals": (0, 9),
    "interval": (0, 0xFFFF),
    "slope": (-_INFINITE, _INFINITE),
    "intercept": (-_INFINITE, _INFINITE),
    "saved": (-_INFINITE, _INFINITE),
}


def _operand(raw: Mapping[str, Any], place: str, table: str, name: str, faults: list[str]) -> Operand | None:
    checked = _checked(raw, _OPERAND, place, faults)
    if checked is None:
        return None
    wrong = list(_place_faults(checked, TYPES[checked["type"]][1]))
    if checked["scale"] == 0:
        wrong.append("scale: 0 leaves no number")
    checked["table"] = checked["table"] or table
    checked["example"] = _default(checked["example"], int(name in ("scale_by", "slope")))
    low, high = checked["range"] = tuple(_default(checked["range"], _BELIEVED[name]))
    if not low <= checked["example"] <= high:
        wrong.append(f"example: {checked['example']} is outside {low:g} to {high:g}")
    elif checked["scale"] and not _holds(checked["type"], (checked["example"] - checked["offset"]) / checked["scale"]):
        wrong.append(f"example: {checked['example']} is more than {checked['type']} holds")
    wrong += _mask_faults(checked)
    if name == "decimals" and checked["type"] in FLOATS:
        wrong.append("type: decimals are a whole number")
    faults += (f"{place}{fault}" for fault in wrong)
    return None if wrong else Operand(**checked)


def _holds(kind: str, raw: float) -> bool:
    return TYPES[kind][2] <= raw <= TYPES[kind][3]


def _quality(
    raw: Mapping[str, Any], place: str, table: str, meanings: tuple[Meaning, ...], faults: list[str]
) -> Quality | None:
    checked = _checked(raw, _PLACE, f"{place}.", faults)
    if checked is None:
        return None
    if not any(meaning.mark is Mark.N for meaning in meanings):
        faults.append(f'{place}: no [[quality]] with mark = "N" says which numbers are good')
    if checked["type"] in FLOATS:
        faults.append(f"{place}.type: a quality is a whole number")
    checked["table"] = checked["table"] or table
    return Quality(**checked, meanings=meanings)


def _meanings(raw: Mapping[str, Any], faults: list[str]) -> tuple[Meaning, ...]:
    found: list[Meaning] = []
    for table, place in _each(raw, "quality"):
        checked = _checked(table, _QUALITY, place, faults)
        if checked is None:
            continue
        twice = [v for v in checked["values"] if any(v in other.values for other in found)]
        faults += (f"{place}values: {value} is there twice" for value in twice)
        mark = Mark[checked["mark"]]
        if mark is not Mark.N and not checked["reason"]:
            faults.append(f"{place}reason: missing; a mark wants one")
        found.append(Meaning(**checked | {"mark": mark, "values": tuple(checked["values"])}))
    return tuple(found)


def _absent(raw: Mapping[str, Any], place: str, faults: list[str]) -> Absent | None:
    checked = _checked(raw, _ABSENT, place, faults)
    if checked is None:
        return None
    if len(checked["parameters"]) != len(checked["raws"]) or not checked["parameters"]:
        faults.append(f"{place}raws: one number for each of the parameters is wanted")
    raws = tuple(math.nan if raw == "nan" else raw for raw in checked["raws"])
    return Absent(parameters=tuple(checked["parameters"]), raws=raws, polls=checked["polls"])


def _all_status(raw: Mapping[str, Any], place: str, faults: list[str]) -> list[Status]:
    found = (_one_status(table, where, faults) for table, where in _each(raw, "status", place))
    return [status for status in found if status]


def _one_status(raw: Mapping[str, Any], place: str, faults: list[str]) -> Status | None:
    checked = _checked(raw, _STATUS, place, faults)
    if checked is None:
        return None
    wrong = list(_place_faults(checked, TYPES[checked["type"]][1]))
    if not {"mask", "value", "other_than"} & raw.keys():
        wrong.append("mask: missing; a mask or a value is needed")
    if checked["value"] is not None and checked["value"] & ~checked["mask"]:
        wrong.append(f"value: {checked['value']} has bits that the mask leaves out, and never holds")
    if checked["other_than"] is not None and checked["other_than"] & ~checked["mask"]:
        wrong.append(f"other_than: {checked['other_than']} has bits that the mask leaves out, and always holds")
    if checked["value"] is not None and checked["other_than"] is not None:
        wrong.append("other_than: beside value; one of them says when it holds")
    if checked["other_than"] is not None and "example" not in raw:
        checked["example"] = checked["other_than"]
    if checked["example"] > TYPES[checked["type"]][3]:
        wrong.append(f"example: {checked['example']} is no {checked['type']}")
    faults += (f"{place}{fault}" for fault in wrong)
    checked |= {"mark": Mark[checked["mark"]], "parameters": tuple(checked["parameters"])}
    return None if wrong else Status(**checked)


def _variant(raw: Mapping[str, Any], place: str, meanings: tuple[Meaning, ...], faults: list[str]) -> Variant | None:
    checked = _checked(raw, _VARIANT, place, faults)
    registers = _registers(raw, place, meanings, faults)
    status = _all_status(raw, place, faults)
    conditions = [_condition(table, where, faults) for table, where in _each(raw, "condition", place)]
    if checked is None:
        return None
    return Variant(
        name=checked["name"],
        title=checked["title"],
        alone=checked["alone"],
        registers=tuple(registers),
        status=tuple(status),
        conditions=tuple(c for c in conditions if c),
    )


def _condition(raw: Mapping[str, Any], place: str, faults: list[str]) -> Condition | None:
    checked = _checked(raw, _CONDITION, place, faults)
    if checked is None:
        return None
    wrong = list(_place_faults(checked, TYPES[checked["type"]][1]))
    faults += (f"{place}{fault}" for fault in wrong)
    return None if wrong else Condition(**checked | {"range": tuple(checked["range"])})


def _steps(raw: Mapping[str, Any], key: str, place: str, faults: list[str]) -> tuple[Step, ...]:
    found = [_step(table, where, key == "step" and not place, faults) for table, where in _each(raw, key, place)]
    return tuple(step for step in found if step)


# What each kind of step needs beside "do", and what it may have; the rest contradicts it.
_WANTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "write": (("address",), ("function", "values", "given")),
    "read": (("address",), ("function", "count")),
    "wait": ((), ("seconds", "address", "table", "type", "order", "times", "example")),
    "until": (
        ("address", "value", "seconds"),
        ("table", "type", "order", "mask", "every_seconds", "example"),
    ),
    "expect": (("address", "value"), ("table", "type", "order", "mask", "partial", "says")),
    "raw": (("function",), ("data", "answer_bytes")),
}


def _step(raw: Mapping[str, Any], place: str, polled: bool, faults: list[str]) -> Step | None:
    """One step; *polled* is one of a poll, which says when."""
    checked = _checked(raw, _STEP, place, faults)
    if checked is None:
        return None
    wrong = list(_step_faults(raw, checked, polled))
    faults += (f"{place}{fault}" for fault in wrong)
    if wrong:
        return None
    do, asks = checked["do"], checked["do"] in ("until", "expect") or (checked["do"] == "wait" and "address" in raw)
    where = {key: checked[key] for key in ("table", "address", "type", "order")}
    given = None
    if checked["given"]:
        decimals, extra = checked["decimals"], {key: checked[key] for key in ("length", "scale", "example")}
        found = _operand(decimals, f"{place}decimals.", "holding", "decimals", faults) if decimals else None
        extra |= {"name": checked["given"], "then": tuple(checked["then"])}
        given = Given(**where | {"table": "holding"}, **extra, decimals=found)
        checked["values"] = (*given.words_for(given.example, found.example if found else 0), *given.then)
    return Step(
        do=do,
        when=checked["when"],
        function=_default(checked["function"], WRITE_MANY if do == "write" else FUNCTION["holding"]),
        address=_default(checked["address"], 0),
        values=tuple(checked["values"]),
        given=given,
        partial=checked["partial"],
        says={int(number): text for number, text in checked["says"].items()},
        place=Place(**where) if asks else None,
        data=bytes.fromhex(checked["data"]),
        **{
            key: _default(checked[key], 0)
            for key in ("count", "mask", "value", "seconds", "every_seconds", "times", "example")
        },
        answer_bytes=checked["answer_bytes"],
        optional=checked["optional"],
    )


def _step_faults(raw: Mapping[str, Any], checked: Mapping[str, Any], polled: bool) -> Iterator[str]:
    do = checked["do"]
    needed, allowed = _WANTS[do]
    for key in needed:
        if key not in raw:
            yield f"{key}: missing; {do} needs it"
    if checked["given"]:
        allowed = (*allowed, "type", "order", "length", "scale", "decimals", "example", "then")
        yield from _given_faults(checked, polled)
    elif checked["type"] not in _WHOLE:
        yield f"type: {checked['type']} is no whole number"
    elif type(checked["example"]) is not int or checked["example"] < 0:
        yield f"example: {_shown(checked['example'])} is not a whole number from 0"
    for key in raw.keys() - {"do", "when", "optional", *needed, *allowed}:
        yield f"{key}: {do} has none"
    if polled and do == "expect":
        yield "do: only a step of an action expects something"
    if not polled and checked["optional"]:
        yield "optional: only a step of a poll may be"
    if polled and not checked["when"]:
        yield "when: missing; a step of a poll is at its start, before or after its reads"
    if not polled and checked["when"]:
        yield "when: only the steps of a poll say when"
    if do == "write" and not checked["given"]:
        yield from _write_faults(_default(checked["function"], WRITE_MANY), checked["values"])
    if do == "read" and _default(checked["function"], 3) not in TABLE:
        yield f"function: {checked['function']} reads no registers; 3 or 4 does"
    if do == "wait" and ("address" in raw) == ("seconds" in raw):
        yield "seconds: a wait has either seconds or the address of the register that tells them"
    if do == "raw" and checked["function"] in (*TABLE, WRITE_COIL, WRITE_ONE, 15, WRITE_MANY, 22, 23):
        yield f'function: {checked["function"]} is of the standard; do = "read" or "write" says what it does'
    if do in ("until", "expect", "wait") and "address" in raw and checked["type"] in TYPES:
        yield from _place_faults(checked, TYPES[checked["type"]][1])
    if do in ("until", "expect") and checked["value"] is not None and checked["value"] & ~checked["mask"]:
        yield f"value: {checked['value']} has bits that the mask leaves out, and never comes"


def _given_faults(checked: Mapping[str, Any], polled: bool) -> Iterator[str]:
    """Faults of a write whose number is given by whoever commands the action."""
    text, function = checked["type"] == "ascii", _default(checked["function"], WRITE_MANY)
    if polled:
        yield "given: only a step of an action is given something"
    if checked["values"]:
        yield "values: either values or what is given"
    if text != (checked["given"] not in NUMBERS_GIVEN):
        yield f"type: {checked['given']} is {'a number' if text else 'a text (ascii)'}"
    elif text and not checked["length"]:
        yield "length: missing; a text takes a number of registers"
    elif text != isinstance(checked["example"], str):
        yield f"example: {_shown(checked['example'])} is not {'a text' if text else 'a number'}"
    elif not text:
        yield from _place_faults(checked, TYPES[checked["type"]][1])
        if checked["scale"] == 0:
            yield "scale: 0 leaves no number"
        elif not _holds(checked["type"], checked["example"] / checked["scale"]):
            yield f"example: {checked['example']} is more than {checked['type']} holds"
    width = (checked["length"] if text else TYPES[checked["type"]][1]) + len(checked["then"])
    if function not in (WRITE_ONE, WRITE_MANY) or (function == WRITE_ONE and width != 1):
        yield f"function: {function} does not write {width} register(s)"


def _write_faults(function: int, values: Sequence[int]) -> Iterator[str]:
    if function not in (WRITE_COIL, WRITE_ONE, WRITE_MANY):
        yield f"function: {function} writes nothing here; 5, 6 or 16 does"
    if function == WRITE_ONE and len(values) != 1:
        yield "values: function 6 writes one register"
    if function == WRITE_COIL and list(values) not in ([0], [1]):
        yield "values: function 5 writes one coil, 0 or 1"
    if len(values) > MOST_WRITTEN:
        yield f"values: one write has at most {MOST_WRITTEN} registers"


def _action(raw: Mapping[str, Any], place: str, faults: list[str]) -> Action | None:
    checked = _checked(raw, _ACTION, place, faults)
    steps = _steps(raw, "step", place, faults)
    if checked is None:
        return None
    if not raw.get("step"):
        faults += (f"{place}{fault}" for fault in _write_faults(checked["function"], checked["values"]))
        if checked["address"] is None:
            faults.append(f"{place}address: missing; an action writes something, or has steps")
    elif checked["address"] is not None or checked["values"]:
        faults.append(f"{place}address: an action has steps or one write, not both")
    if checked["type"] and checked["verb"] not in TYPED:
        faults.append(f"{place}type: only calibrate has a type, and start_check")
    if checked["verb"] == "clear_total" and not checked["parameters"]:
        faults.append(f"{place}parameters: clear_total names the totals that it sets to zero")
    if checked["number"] and checked["type"] != "point":
        faults.append(f"{place}number: only a point has one")
    given = {step.given.name for step in steps if step.given}
    if checked["verb"] != "calibrate" and any(step.do == "expect" for step in steps):
        faults.append(f"{place}step: only calibrate is given something, or expects it")
    own = {"bottle"} if checked["verb"] == "keep_sample" else {*GIVEN} - {"bottle"}
    if given - own or (given and checked["verb"] not in ("calibrate", "keep_sample")):
        faults.append(f"{place}step: only calibrate is given something, and only keep_sample a bottle")
    if sum(step.seconds for step in steps) > LONGEST_ACTION:
        faults.append(f"{place}step: its waits add up to more than {LONGEST_ACTION:g} s")
    if checked["interval"] is not None:
        checked["interval"] = _operand(checked["interval"], f"{place}interval.", "holding", "interval", faults)
    del checked["step"]
    checked |= {key: tuple(checked[key]) for key in ("values", "parameters", "standards")}
    checked["address"] = _default(checked["address"], 0)
    return Action(**checked, steps=steps)


def _coefficients(raw: Mapping[str, Any], place: str, faults: list[str]) -> Coefficients | None:
    checked = _checked(raw, _COEFFICIENTS, place, faults)
    if checked is None:
        return None
    before = len(faults)
    for name in ("slope", "intercept"):
        if checked[name] is not None:
            checked[name] = _operand(checked[name], f"{place}{name}.", "holding", name, faults)
    saved = [_operand(one, f"{place}saved.", "holding", "saved", faults) for one in checked["saved"]]
    checked["saved"] = tuple(one for one in saved if one)
    if len(faults) > before:
        return None
    if (checked["slope"] or checked["intercept"]) is None and len(checked["saved"]) < 2:
        faults.append(f"{place}slope: missing; coefficients are a slope, an intercept, or two saved registers and more")
    if (checked["slope"] or checked["intercept"]) is not None and checked["saved"]:
        faults.append(f"{place}saved: only of an instrument that computes its coefficients by itself")
    found = Coefficients(**checked | {"parameters": tuple(checked["parameters"])})
    for one in found.places:
        if one.table != "holding" or one.mask is not None:
            faults.append(f"{place}slope: coefficients stand in whole holding registers")
        if found.function == WRITE_ONE and one.width != 1:
            faults.append(f"{place}function: 6 writes one register, {one.type} takes {one.width}")
    if any(a.end > b.address for a, b in pairwise(found.places)):
        faults.append(f"{place}intercept: its registers overlap with others")
    return found if len(faults) == before else None


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
    if profile.general_address == profile.unit_id:
        yield f"general_address: {profile.unit_id} is its own unit_id"
    if profile.start_address is not None and (profile.variants or any(r.beside for r in profile.registers)):
        yield "start_address: neither variants nor values with numbers beside them can be moved"
    if not profile.parameters and not any(v.registers for v in profile.variants):
        yield "register: missing; a profile needs at least one value"
    for where, places in _places(profile):
        for i, place in enumerate(places):
            yield from (f"{where}[{i}].{fault}" for fault in _misplaced(place, profile))
    for where, found in (("", profile.status), *((f"variant[{i}].", v.status) for i, v in enumerate(profile.variants))):
        for i, status in enumerate(found):
            yield from (f"{where}status[{i}].{fault}" for fault in _unknown_parameters(status.parameters, profile))
    for i, action in enumerate(profile.actions):
        yield from (f"action[{i}].{fault}" for fault in _unknown_parameters(action.parameters, profile))
    for i, one in enumerate(profile.coefficients):
        yield from (f"coefficients[{i}].{fault}" for fault in _unknown_parameters(one.parameters, profile))
        again = {p for other in profile.coefficients[:i] for p in other.parameters} & {*one.parameters}
        yield from (f"coefficients[{i}].parameters: {p} has some already" for p in sorted(again))
    yield from _wrong_points(profile)
    for i, absent in enumerate(profile.absent):
        yield from (f"absent[{i}].{fault}" for fault in _unknown_parameters(absent.parameters, profile))
    yield from _wrong_writes(profile)


def _wrong_writes(profile: Profile) -> Iterator[str]:
    """Steps of a poll that write what only an action may, and locks that lock nothing."""
    keys = {(step.function == WRITE_COIL, step.address) for step in (*profile.unlock, *profile.lock)}
    for i, step in enumerate(profile.steps):
        if refusal := profile.refusal(step):
            yield f"step[{i}].{'address' if step.do == 'write' else 'function'}: {refusal}"
        elif step.do == "write" and (step.function == WRITE_COIL, step.address) in keys:
            yield f"step[{i}].address: a poll would write {step.address}, which unlocks the instrument"
    written = any(profile.protects(write) for action in profile.actions for write in action.writes)
    if profile.unlock and not (written or profile.coefficients):
        yield "unlock: no action writes a protected register, so it is never used"
    if profile.lock and not profile.unlock:
        yield "lock: there is no unlock before it"


def _wrong_points(profile: Profile) -> Iterator[str]:
    """A begin, end or cancel without points, and points that are not counted from 1."""
    for i, action in enumerate(profile.actions):
        points = [a for a in profile.actions if a.type == "point" and {*a.parameters} == {*action.parameters}]
        if action.type in STAGES and not points:
            yield f"action[{i}].type: {action.type} wants a point of the same parameters"
        numbers = sorted(one.number for one in points)
        if action is next(iter(points), None) and numbers not in ([0], [*range(1, len(points) + 1)]):
            yield f"action[{i}].number: points are numbered from 1, each once, or there is one without a number"


def _places(profile: Profile) -> Iterator[tuple[str, Sequence[Place]]]:
    yield "register", profile.registers
    yield "status", profile.status
    for i, variant in enumerate(profile.variants):
        yield f"variant[{i}].register", variant.registers
        yield f"variant[{i}].status", variant.status


def _misplaced(place: Place, profile: Profile) -> Iterator[str]:
    if place.width > profile.max_registers:
        yield f"type: takes {place.width} registers, one read has at most {profile.max_registers}"
    for one, key in ((place, ""), *((p, "beside it: ") for p in getattr(place, "beside", ()))):
        for first, last in profile.holes:
            if one.address <= last and one.end > first:
                yield f"address: {key}lies in the hole {first}–{last}"
    if profile.pairs and place.width % 2 == 0 and place.address % 2:
        yield f"address: {place.address} is odd; with pairs a value begins at an even one"


def _unknown_parameters(parameters: Sequence[str], profile: Profile) -> Iterator[str]:
    known = {*profile.parameters, *(r.parameter for v in profile.variants for r in v.registers)}
    for parameter in parameters:
        if parameter not in known:
            yield f"parameters: no register gives {parameter!r}{did_you_mean(parameter, sorted(known))}"


def wrong_with(table: str, key: str, value: Any) -> str | None:
    """What is wrong with *value* as *key* of *table* (a name of KEYS), or None."""
    return _fault(value, KEYS[table][key])
