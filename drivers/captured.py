"""What a captured exchange means: every fault of its frames by name, else the values as the driver would take them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from drivers.frames import ALONE, EXCEPTION_BIT, READS, SHORTEST, WRITES, is_sound, reply_length, request_length
from drivers.line import TABLE, crc16
from drivers.profile import Condition, Profile, Step
from drivers.registers import (
    TEXTS,
    Found,
    Place,
    Quality,
    Register,
    Request,
    Status,
    judged,
    marked,
    moment,
    raws_in,
    text_in,
)
from station.model import Mark, Reason, dataclass

# Every name a fault can have, and what it says.  drivers/README.md lists them, station/locale words them.
FAULTS = {
    "hex": "not pairs of hexadecimal digits",
    "length": "bytes are missing, or there are too many",
    "crc": "the CRC at the end is not that of the bytes before it",
    "glued": "a whole reply, and the bytes of another frame behind it",
    "unit": "another unit answered than was asked, or than --unit names",
    "function": "the reply is to another function",
    "echo": "the reply is the request over again: the adapter hears itself, and the instrument said nothing",
    "byte-count": "a reply carries another number of bytes than it says, or than was asked for; or so does a write",
    "confirmation": "the instrument confirms another write than was sent",
    "exception-N": "the instrument refuses, with Modbus exception N",
    "function-not-in-profile": "the profile's instrument does not know this function",
    "alone": "a request without a reply, or a reply without a request (in a log)",
}
# The exchange is sound, and the profile cannot say what its registers mean.
NOTES = {
    "address-not-in-profile": "no register of the profile is among those read or written",
    "split-value": "only a part of a value was read: it needs all its registers in one read",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an exchange; *figures* fill in its sentence."""

    name: str
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """What the *register* at an address says: a *parameter* of the profile, or (None) its bare number.

    A bare number that nothing is known of has no *mark*.
    """

    parameter: str | None
    register: int
    value: float | str | None
    unit: str = ""
    mark: str = Mark.N.name
    reason: str = ""
    width: int = 1  # registers it takes
    raw: float | None = None  # the number that stands there

    def as_dict(self) -> dict[str, Any]:
        """The value for programs."""
        name = {"parameter": self.parameter} if self.parameter is not None else {"register": self.register}
        return {**name, "value": self.value, "unit": self.unit, "mark": self.mark}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What became of an exchange: *faults*, or *values*; *notes* where these are bare numbers to the profile.

    *layouts* names the variants that fit and disagree; the registers in question are then bare numbers.
    """

    faults: tuple[Fault, ...]
    values: tuple[Value, ...] = ()
    layouts: tuple[str, ...] = ()
    notes: tuple[Fault, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the exchange can be believed."""
        return not self.faults

    @property
    def known(self) -> bool:
        """Whether the profile says what stands there."""
        return not self.faults and not self.notes

    def as_dict(self) -> dict[str, Any]:
        """The meaning for programs."""
        names = list(dict.fromkeys(fault.name for fault in self.faults))
        values = [value.as_dict() for value in self.values]
        notes = {"notes": [note.name for note in self.notes]} if self.notes else {}
        return {"ok": self.ok, "faults": names, "values": values, **notes}


def meaning(
    profile: Profile,
    request: bytes,
    response: bytes,
    time: datetime,
    *,
    unit_id: int | None = None,
    variant: str | None = None,
) -> Meaning:
    """What *response*, the reply to *request*, says of the instrument that *profile* describes.

    Without a *variant* of a profile that has several, those that cannot be believed (a value outside its range)
    are left aside; what the rest disagree about is given as bare numbers, for nobody can tell which is right.
    """
    if len(response) > len(request) >= SHORTEST and response.startswith(request):
        response = response[len(request) :]  # the adapter's echo stands before the reply
    step = next((one for one in _steps(profile) if one.request and one.request == request[1:-2]), None)
    faults = tuple(_frame_faults(request, response, unit_id, step, high_first=profile.crc_high_first))
    if faults:
        return Meaning(faults)
    profile = _where_asked(profile, request)
    if variant is not None or profile.default_variant is not None or not profile.variants:
        found = _content(profile.chosen(variant), request, response, time)
        if found.known or variant is not None or not profile.variants:
            return found
    return _unnamed(profile, request, response, time)


def _where_asked(profile: Profile, request: bytes) -> Profile:
    """*profile*, which may not know where its values begin: a read of just as many registers begins there."""
    if profile.start_address is None or request[1] not in TABLE:
        return profile
    address, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    first, end = min(r.address for r in profile.registers), max(r.end for r in profile.registers)
    fixed = any(p.address < address + count and p.end > address for p in profile.status)
    return profile if fixed or count != end - first else profile.starting_at(address - first + profile.start_address)


def _unnamed(profile: Profile, request: bytes, response: bytes, time: datetime) -> Meaning:
    """What *response* says where nobody named a variant of *profile*, or its default one does not know it."""
    likely = [one for one in profile.variants if _may_be(one.conditions, request, response)] or profile.variants
    found = {one.name: _content(profile.chosen(one.name), request, response, time) for one in likely}
    fitting = {name: one for name, one in found.items() if one.known} or found
    fitting = {name: one for name, one in fitting.items() if not _doubtful(one)} or fitting
    if len(fitting) == 1 or not all(one.known for one in fitting.values()):
        return next(iter(fitting.values()))
    return _agreed(fitting, int.from_bytes(request[2:4], "big"), _registers(request, response))


def _registers(request: bytes, response: bytes) -> bytes:
    """The register bytes of an exchange: what a write sent, what a read brought."""
    return {6: request[4:6], 16: request[7:-2]}.get(request[1], response[3:-2])


def _may_be(conditions: Sequence[Condition], request: bytes, response: bytes) -> bool:
    """Whether the registers in *response* say nothing against a layout with these *conditions*."""
    if request[1] not in TABLE:
        return True
    table, address, data = TABLE[request[1]], int.from_bytes(request[2:4], "big"), response[3:-2]
    end = address + len(data) // 2
    seen = tuple(c for c in conditions if c.table == table and c.address >= address and c.end <= end)
    if not seen:
        return True
    raws = raws_in(Request(table, address, end - address, seen), data)
    return all(one.range[0] <= raws[id(one)] * one.scale <= one.range[1] for one in seen)


def _agreed(found: Mapping[str, Meaning], first: int, data: bytes) -> Meaning:
    """What the layouts in *found* have in common, and the bare registers where they differ."""
    claims: dict[str | int, set[Value]] = {}
    names: dict[int, set[str | None]] = {}
    for value in (value for one in found.values() for value in one.values):
        claims.setdefault(value.parameter or value.register, set()).add(value)
        names.setdefault(value.register, set()).add(value.parameter)
    disputed = {v for values in claims.values() if len(values) > 1 for v in values}
    disputed |= {v for values in claims.values() for v in values if len(names[v.register]) > 1}
    agreed = [v for values in claims.values() for v in values if v not in disputed]
    bare = [one for value in disputed for one in _undecided(value, disputed, first, data)]
    bare = list({one.register: one for one in bare}.values())
    values = tuple(sorted([*agreed, *bare], key=lambda value: value.register))
    return Meaning((), values, tuple(found) if bare else ())


def _undecided(value: Value, disputed: set[Value], first: int, data: bytes) -> list[Value]:
    """The register of *value* as the number all layouts see there, or word by word where they see different ones."""
    numbers = {(other.raw, other.width) for other in disputed if other.register == value.register}
    if len(numbers) == 1 and value.raw is not None:
        return [Value(None, value.register, value.raw, mark="", width=value.width)]
    at = 2 * (value.register - first)
    return list(_bare(value.register, data[max(0, at) : at + 2 * value.width]))


def _doubtful(one: Meaning) -> bool:
    return any(value.reason in (Reason.ABOVE_RANGE.name, Reason.BELOW_RANGE.name) for value in one.values)


# -- the frames


def _frame_faults(
    request: bytes, response: bytes, unit_id: int | None, step: Step | None, *, high_first: bool
) -> Iterator[Fault]:
    if is_sound(request) and response == request and request[1] in READS:
        yield Fault("echo", {})
        return
    whole = [*_unsound("request", request, request_length(request), high_first)]
    stated = _answer_length(step, request, response) or reply_length(response)
    whole += _unsound("response", response, stated, high_first)
    yield from whole
    if is_sound(request) and stated is not None:
        yield from _miscounted(request, response, stated)
    if whole:
        return  # what a broken frame says beyond that is nothing
    asked = unit_id if unit_id is not None else request[0]
    for frame, unit in (("request", request[0]), ("response", response[0])):
        if unit != asked and not (frame == "response" and request[0] >= ALONE and unit_id is None):
            yield Fault("unit", {"frame": frame, "unit": unit, "wanted": asked})
    function = request[1]
    if response[1] & ~EXCEPTION_BIT != function:
        yield Fault("function", {"function": response[1], "wanted": function})
    elif response[1] & EXCEPTION_BIT:
        yield Fault(f"exception-{response[2]}", {"code": response[2]})
    elif function in READS:
        if step is None:  # what comes to one is dropped, and be it nothing
            yield from _read_faults(request, response)
    elif function in (15, 16) and len(request) - 9 != _written(request):
        yield Fault("byte-count", {"count": max(0, len(request) - 9), "wanted": _written(request)})
    elif function in WRITES and response[2:6] != request[2:6]:
        yield Fault(
            "confirmation", {"confirmed": response[2:6].hex(" ").upper(), "sent": request[2:6].hex(" ").upper()}
        )


def _answer_length(step: Step | None, request: bytes, response: bytes) -> int | None:
    """How long the answer to *step* is, where it is a code of the maker's own and no refusal."""
    if step is None or step.do != "raw" or response[1:2] != request[1:2]:
        return None
    if step.answer_bytes is not None:
        return SHORTEST + step.answer_bytes
    return SHORTEST + 1 + response[2] if len(response) > 2 else None


def _miscounted(request: bytes, response: bytes, stated: int) -> Iterator[Fault]:
    """A reply whose bytes are not as many as it says, though its CRC holds or a whole frame stands before the rest."""
    if len(response) >= stated + 2 and is_sound(response[:stated]):
        yield Fault("glued", {"count": len(response), "wanted": stated})
    elif len(response) != stated and is_sound(response) and request[1] in READS and response[1] in READS:
        yield Fault("byte-count", {"count": len(response) - SHORTEST - 1, "wanted": stated - SHORTEST - 1})


def _written(request: bytes) -> int:
    """How many bytes a write of many registers or coils has to carry."""
    count = int.from_bytes(request[4:6], "big")
    return 2 * count if request[1] == 16 else (count + 7) // 8


def _unsound(name: str, frame: bytes, stated: int | None, high_first: bool) -> Iterator[Fault]:
    wanted = max(SHORTEST, stated or 0)
    if len(frame) < SHORTEST or (stated is not None and len(frame) != stated):
        yield Fault("length", {"frame": name, "count": len(frame), "wanted": wanted})
    right = crc16(frame[:-2])[::-1] if high_first else crc16(frame[:-2])
    if len(frame) >= SHORTEST and frame[-2:] != right:
        yield Fault("crc", {"frame": name, "crc": frame[-2:].hex(" ").upper(), "right": right.hex(" ").upper()})


def _read_faults(request: bytes, response: bytes) -> Iterator[Fault]:
    count = int.from_bytes(request[4:6], "big")
    wanted = (count + 7) // 8 if request[1] in (1, 2) else 2 * count
    if response[2] != wanted:
        yield Fault("byte-count", {"count": response[2], "wanted": wanted})


# -- what they carry


def _content(profile: Profile, request: bytes, response: bytes, time: datetime) -> Meaning:
    function, address = request[1], int.from_bytes(request[2:4], "big")
    if any(request[1:-2] == step.request for step in _steps(profile) if step.request):
        found = _read(profile, TABLE[function], address, response[3:-2], time) if function in TABLE else Meaning(())
        return Meaning((), found.values)
    if function in TABLE:
        return _read(profile, TABLE[function], address, response[3:-2], time)
    if function in (6, 16):
        return Meaning((), _read(profile, "holding", address, _registers(request, response), time).values)
    return Meaning((Fault("function-not-in-profile", {"function": function}),))


def _steps(profile: Profile) -> Iterator[Step]:
    """Everything the profile knows to send beside its reads."""
    yield from (*profile.steps, *profile.unlock, *profile.lock)
    for action in profile.actions:
        yield from action.sequence


def _bare(address: int, data: bytes) -> tuple[Value, ...]:
    words = struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2])
    return tuple(Value(None, at, word, mark="") for at, word in enumerate(words, address))


def _places(profile: Profile) -> list[Place]:
    """Every place of the map, each once: values and what stands beside them, conditions, what steps look at."""
    found: list[Place] = []
    for register in profile.registers:
        found += [register, *register.beside]
    found += profile.status
    found += [step.place for step in _steps(profile) if step.place is not None]
    found += [action.interval for action in profile.actions if action.interval is not None]
    return list({id(place): place for place in found}.values())


def _read(profile: Profile, table: str, address: int, data: bytes, time: datetime) -> Meaning:
    """The values in *data*, registers of *table* from *address* on."""
    end = address + len(data) // 2
    touched = [place for place in _places(profile) if place.address < end and place.end > address]
    places = [place for place in touched if place.table == table]
    whole = sorted((p for p in places if p.address >= address and p.end <= end), key=lambda p: (p.address, p.end))
    if not whole and data:
        elsewhere = sorted({place.table for place in touched} - {table})
        figures = {"table": table, "first": address, "last": end - 1, "elsewhere": ", ".join(elsewhere)}
        note = Fault("split-value" if places else "address-not-in-profile", figures)
        return Meaning((), _bare(address, data), notes=(note,))
    request = Request(table, address, end - address, tuple(whole))
    return Meaning((), tuple(_values(profile, request, data, time)))


def _values(profile: Profile, request: Request, data: bytes, time: datetime) -> Iterator[Value]:
    found = raws_in(request, data)
    taken, conditions = judged(request.places, found, time)
    missing = _not_fitted(profile, request.places, found)
    samples = {sample.parameter: sample for sample in marked(taken, conditions)}
    said: set[int] = set()
    for place in request.places:
        raw = found[id(place)]
        if isinstance(place, Register) and not place.is_number:
            yield Value(place.parameter, place.address, _text(place, raw), place.unit, width=place.width)
        elif isinstance(place, Register) and place.parameter in missing:
            yield Value(
                place.parameter, place.address, None, place.unit, Mark.D.name, Reason.NO_VALUE.name, place.width
            )
        elif isinstance(place, Register) and place.parameter in samples:
            sample = samples[place.parameter]
            reason = sample.reason.name if sample.reason else ""
            mark = sample.mark.name
            number = place.number(raw)
            sure = number if math.isfinite(number) else None
            yield Value(place.parameter, place.address, sample.value, place.unit, mark, reason, place.width, sure)
        elif place.address not in said:  # a value without what it is computed with, a status, a word for steps
            said.add(place.address)
            yield _word(place, raw, [one for one in conditions if one.address == place.address])


def _text(place: Register, raw: bytes) -> str:
    """A text, or the instrument's own time, which knows no zone; what is no time as it stands."""
    if place.type in TEXTS:
        return text_in(place, raw)
    at = moment(place.type, raw, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}" if at is not None else raw.hex(" ").upper()


def _not_fitted(profile: Profile, places: Iterable[Place], found: Found) -> set[str]:
    """The parameters of elements that a single reading shows not to be there."""
    raws = {p.parameter: found[id(p)] for p in places if isinstance(p, Register)}
    missing: set[str] = set()
    for rule in profile.absent:
        asked = zip(rule.parameters, rule.raws, strict=True)
        if rule.polls == 1 and all(name in raws and raws[name] == raw for name, raw in asked):
            missing |= {*rule.parameters}
    return missing


def _word(place: Place, raw: Any, conditions: Sequence[Status]) -> Value:
    """A number that is no value of its own; only a condition or a quality word can be judged."""
    if isinstance(raw, float) and not math.isfinite(raw):
        raw = None
    if not isinstance(place, Status | Quality):
        return Value(None, place.address, raw, mark="")
    worst = max((condition.mark for condition in conditions), default=Mark.N)
    reasons = "; ".join(dict.fromkeys(condition.reason for condition in conditions))
    return Value(None, place.address, raw, "", worst.name, reasons)
