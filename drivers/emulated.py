"""An emulated instrument: what it answers to a request, as its profile says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.line import FUNCTION, TABLE, crc16
from drivers.profile import Profile
from drivers.registers import Place, Register, Status, encode
from station.model import did_you_mean

Values = Mapping[str, float | None]

FAULTS: Mapping[str, str] = {
    "silent": "does not answer",
    "exception": "answers every request with exception 4, device failure",
    "late": "answers when the master has given up",
    "noise": "its replies arrive with flipped bits, cut short, or as garbage",
    "wrong-unit": "answers under the next unit's address",
}
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE = 1, 2, 3, 4
WRITE_ONE, WRITE_MANY = 6, 16
MOST_WRITTEN = 123  # registers in one write (Modbus application protocol V1.1b3, 6.12)


class EmulatedUnit:
    """An instrument that answers as its profile says.

    *values* holds the present value of each parameter, or is called for them at each request; what it leaves
    out comes from the profile's examples.  None is a missing value: the unit sends its "no value" word, or
    does not answer where it has none.
    """

    faults = FAULTS

    def __init__(
        self,
        profile: Profile,
        unit_id: int | None = None,
        variant: str | None = None,
        values: Values | Callable[[], Values] | None = None,
    ) -> None:
        self.profile = profile.chosen(variant)
        self.unit_id = profile.unit_id if unit_id is None else unit_id
        self.values: Values | Callable[[], Values] = {} if values is None else values
        self.conditions: set[str] = set()
        self.fault: str | None = None
        self.acted: list[str] = []  # the actions it was told to do
        self._written: dict[int, int] = {}
        self._places = {table: self._of(table) for table in FUNCTION}
        self._readable = {table: self._addresses(table) for table in FUNCTION}

    def fail(self, fault: str) -> None:
        """Show *fault*, one of FAULTS, until recover."""
        if fault not in FAULTS:
            raise ValueError(f"no fault {fault!r}{did_you_mean(fault, FAULTS)}; there are {', '.join(FAULTS)}")
        self.fault = fault

    def recover(self) -> None:
        """Answer properly again."""
        self.fault = None

    def report(self, reason: str) -> None:
        """Set the status bits of the condition whose reason this is."""
        reasons = [s.reason for s in self.profile.status]
        if reason not in reasons:
            raise ValueError(f"{self.profile.name} reports no {reason!r}{did_you_mean(reason, reasons)}")
        self.conditions.add(reason)

    def clear(self, reason: str) -> None:
        """Take the condition back."""
        self.conditions.discard(reason)

    def answer(self, request: bytes) -> bytes | None:
        """The reply to a sound *request* for this unit, or None where the instrument would say nothing."""
        function = request[1]
        for action in self.profile.actions:
            if request[1:-2] == bytes((action.function,)) + action.body:
                self.acted.append(action.verb)
                return self._frame(request[1:6])
        if function in TABLE:
            return self._read(TABLE[function], request)
        if function in (WRITE_ONE, WRITE_MANY) and self._readable["holding"]:
            return self._write(request)
        return self._exception(function, ILLEGAL_FUNCTION)

    def _read(self, table: str, request: bytes) -> bytes | None:
        address, count = number_at(request, 2), number_at(request, 4)
        if not self._readable[table]:
            return self._exception(request[1], ILLEGAL_FUNCTION)
        if not 1 <= count <= self.profile.max_registers:
            return self._exception(request[1], ILLEGAL_VALUE)
        wanted = range(address, address + count)
        if not self._readable[table].issuperset(wanted):
            return self._exception(request[1], ILLEGAL_ADDRESS)
        words = self._words(table, wanted)
        if words is None:
            return None
        data = b"".join(word.to_bytes(2, "big") for word in words)
        return self._frame(bytes((request[1], len(data))) + data)

    def _write(self, request: bytes) -> bytes:
        function, address = request[1], number_at(request, 2)
        many = function == WRITE_MANY
        words = [number_at(request, i) for i in (range(7, len(request) - 2, 2) if many else (4,))]
        if many and not (1 <= len(words) <= MOST_WRITTEN and len(words) == number_at(request, 4)):
            return self._exception(function, ILLEGAL_VALUE)
        if not self._readable["holding"].issuperset(range(address, address + len(words))):
            return self._exception(function, ILLEGAL_ADDRESS)
        self._written.update(enumerate(words, address))
        return self._frame(request[1:6])

    def _exception(self, function: int, code: int) -> bytes:
        return self._frame(bytes((function | 0x80, code)))

    def _frame(self, body: bytes) -> bytes:
        frame = bytes((self.unit_id,)) + body
        return frame + crc16(frame)

    def _of(self, table: str) -> list[Place]:
        return [p for p in (*self.profile.registers, *self.profile.status) if p.table == table]

    def _addresses(self, table: str) -> set[int]:
        """What can be read: the map's registers, and the unused ones between them unless the profile forbids."""
        mapped = {a for place in self._places[table] for a in range(place.address, place.end)}
        if mapped and self.profile.bridge_gaps:
            mapped.update(range(min(mapped), max(mapped) + 1))
        return mapped.difference(*(range(first, last + 1) for first, last in self.profile.holes))

    def _words(self, table: str, wanted: range) -> list[int] | None:
        """The registers *wanted*, or None where one of them has no word for a missing value."""
        values = self.values() if callable(self.values) else self.values
        words: dict[int, int] = {}
        for place in self._places[table]:
            if place.end <= wanted.start or place.address >= wanted.stop:
                continue
            shown = encode(place, self._value(place, values))
            if shown is None:
                return None
            words.update(enumerate(shown, place.address))
        if table == "holding":
            words |= self._written
        return [words.get(address, 0) for address in wanted]

    def _value(self, place: Place, values: Values) -> float | str | None:
        if isinstance(place, Register):
            return values.get(place.parameter, place.example)
        raw = 0
        for status in self.profile.status:  # several conditions share a register
            if (status.table, status.address) == (place.table, place.address):
                raw |= status.example
        for status in self.profile.status:
            if (status.table, status.address) == (place.table, place.address) and status.reason in self.conditions:
                raw = _set(raw, status)
        return raw


def number_at(frame: bytes, at: int) -> int:
    """The big-endian word at byte *at* of *frame*."""
    return int.from_bytes(frame[at : at + 2], "big")


def _set(raw: int, status: Status) -> int:
    """*raw* with the bits of *status* as they are while it holds."""
    return raw | status.mask & 0xFFFF if status.value is None else raw & ~status.mask | status.value
