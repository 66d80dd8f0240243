"""Frames of a profile, computed from its map: `python -m tests.frames FILE…` appends what a file lacks.

The bytes are made here anew and not by drivers/registers.py, so that a mistake there shows: a test compares.
Whoever has the maker's document puts its printed frames into the file first, and those are then not computed.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from drivers.line import Line, bits_per_character, crc16, read_request
from drivers.profile import Profile, Step, parse
from drivers.registers import Operand, Place, Quality, Register, Request, Status
from station.model import Mark, dataclass

CODES = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f", "f64": "d"}
NOTE = "Computed from the map."


@dataclass(frozen=True, slots=True)
class Computed:
    """A frame as the map has it: the reply carries the examples."""

    variant: str | None
    request: bytes
    response: bytes
    values: Mapping[str, float]

    @property
    def toml(self) -> str:
        """The frame as a table of a profile file."""
        lines = ["", "[[frame]]"]
        if self.variant is not None:
            lines.append(f'variant = "{self.variant}"')
        lines += [f'{key} = "{getattr(self, key).hex(" ").upper()}"' for key in ("request", "response")]
        if self.values:
            lines.append(f"values = {{ {', '.join(f'{name} = {value}' for name, value in self.values.items())} }}")
        return "\n".join([*lines, f'note = "{NOTE}"', ""])


def computed(profile: Profile) -> Iterator[Computed]:
    """The frames of every layout of *profile*: of its reads, of who it is, of what it is told and asked by steps."""
    for variant in [v.name for v in profile.variants] or [None]:
        layout = profile.chosen(variant)
        line = Line(layout.baudrate, bits_per_character(layout.parity, layout.stopbits))
        for request in (*layout.plan(line), *layout.plan_identity(line)):
            yield _read(layout, variant, request)
        yield from _told(layout, variant)


def _read(layout: Profile, variant: str | None, request: Request) -> Computed:
    data = bytearray(2 * request.count)
    for place in request.places:
        at = 2 * (place.address - request.address)
        for i, byte in enumerate(_bytes(place), at):
            data[i] |= byte
    registers = [p for p in request.places if isinstance(p, Register) and p.is_number]
    values = {r.parameter: float(r.example) for r in registers if {*r.beside} <= {*request.places}}
    return _frame(layout, variant, request, bytes(data), values)


def _told(layout: Profile, variant: str | None) -> Iterator[Computed]:
    """Of a step that writes, or reads what means nothing, and of the register that tells how long to wait."""
    sequences = (layout.steps, layout.unlock, layout.lock, *(action.sequence for action in layout.actions))
    for step in (step for steps in sequences for step in steps):
        if step.do == "write":
            asked = step.request
            yield Computed(variant, _sealed(layout, asked), _sealed(layout, asked[:5]), {})
        elif step.do == "read":
            filler = bytes((step.function, 2 * step.count)) + bytes(2 * step.count)
            yield Computed(variant, _sealed(layout, step.request), _sealed(layout, filler), {})
        elif step.do == "wait" and step.place is not None:
            yield _frame(layout, variant, step.asked, _waited(step), {})


def _waited(step: Step) -> bytes:
    assert step.place is not None
    return _ordered(step.place, struct.pack(">" + CODES[step.place.type], step.example))


def _frame(
    layout: Profile, variant: str | None, request: Request, data: bytes, values: Mapping[str, float]
) -> Computed:
    asked = read_request(layout.unit_id, request.table, request.address, request.count)
    return Computed(variant, asked, _sealed(layout, bytes((request.function, len(data))) + data), values)


def _sealed(layout: Profile, body: bytes) -> bytes:
    frame = bytes((layout.unit_id,)) + body
    return frame + crc16(frame)


def _bytes(place: Place) -> bytes:
    """What stands at *place* when the instrument measures its examples and finds no fault."""
    if place.type == "ascii":
        assert isinstance(place, Register)
        return str(place.example).encode().ljust(2 * place.length, b"\0")
    if place.type == "version":
        assert isinstance(place, Register)
        return bytes(map(int, str(place.example).split(".")))
    raw = _raw(place)
    return _ordered(place, struct.pack(">" + CODES[place.type], raw if place.type in ("f32", "f64") else round(raw)))


def _raw(place: Place) -> float:
    match place:
        case Status():
            return place.example
        case Quality():
            return next(meaning.values[0] for meaning in place.meanings if meaning.mark is Mark.N)
        case Operand():
            return _shifted((place.example - place.offset) / place.scale, place.mask)
        case Register():
            value = float(place.example)
            value *= 10 ** int(place.decimals.example) if place.decimals else 1
            for factor in place.scale_by:
                value /= factor.example
            return _shifted((value - sum(o.example for o in place.plus) - place.offset) / place.scale, place.mask)
    raise TypeError(f"{place}: no such place")


def _shifted(raw: float, mask: int | None) -> float:
    return raw if mask is None else round(raw) * (mask & -mask)


def _ordered(place: Place, big: bytes) -> bytes:
    if len(big) == 1:
        return b"\0" + big if place.order == "B" else big + b"\0"
    return bytes(big["ABCDEFGH".index(letter)] for letter in place.order or "ABCDEFGH"[: len(big)])


def lacking(profile: Profile) -> list[Computed]:
    """Those of its computed frames whose request stands in none of its own."""
    had = {(v, f.request) for f in profile.frames for v in (f.variant, *([] if f.variant else _names(profile)))}
    found: dict[tuple[str | None, bytes], Computed] = {}
    for frame in computed(profile):
        if (frame.variant, frame.request) not in had:
            found.setdefault((frame.variant, frame.request), frame)
    return list(found.values())


def completed(text: str, name: str) -> str:
    """The profile written in *text* with the frames it lacks."""
    return text.rstrip() + "\n" + "".join(frame.toml for frame in lacking(parse(text, name)))


def _names(profile: Profile) -> list[str]:
    return [variant.name for variant in profile.variants]


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        text = path.read_text(encoding="utf-8")
        path.write_text(completed(text, path.stem), encoding="utf-8")
