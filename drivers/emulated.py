"""An emulated instrument: what it answers to a request, as its profile says, with its steps, wiper and sleep."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping

from drivers import faults
from drivers.emulated_calibration import Calibrator
from drivers.faults import UNIT_FAULTS
from drivers.line import FUNCTION, TABLE, crc16
from drivers.profile import Action, Condition, Profile, Step
from drivers.registers import FLOATS, Operand, Place, Quality, Register, Status, encode
from station.model import Mark, did_you_mean

Values = Mapping[str, float | None]

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE, BUSY = 1, 2, 3, 4, 6
WRITE_COIL, WRITE_ONE, WRITE_MANY = 5, 6, 16
WRITES = (WRITE_COIL, WRITE_ONE, WRITE_MANY)
MOST_WRITTEN = 123  # registers in one write (Modbus application protocol V1.1b3, 6.12)


EVENTS: Mapping[str, str] = {
    "power-cycle": "goes off and on again: it warms up, is locked, and measures when it is started",
    "wiper": "runs its wiper: values are wrong for as long as the profile's action to clean says",
    "trouble": "reports every condition of its `[[status]]`, or alarm, until it recovers",
    "stubborn": "acknowledges what it is calibrated with, and keeps what it had",
    "refuses": "answers exception 4 to whatever would calibrate it",
    "broken": "says that it is broken and has no results (analysers)",
}


class EmulatedUnit:
    """An instrument that answers as its profile says.

    *values* holds the present value of each parameter, or is called for them at each request; what it leaves
    out comes from the profile's examples.  None is a missing value: the unit sends its "no value" word, a
    quality word that says so, or does not answer where it has neither.

    Told to start a check it shows its *standards*, a zero as 0 and any other as its example where none is set, until
    it is told to end it.

    It measures only between the steps that start and stop it; while its wiper runs its values are wrong, and it
    refuses further actions as busy; after power_cycle it has no values while it warms up; after *sleep_seconds*
    of silence it loses the first request.  *monotonic* is its clock.
    """

    faults = UNIT_FAULTS
    events: Mapping[str, str] = {name: text for name, text in EVENTS.items() if name != "broken"}

    def __init__(
        self,
        profile: Profile,
        unit_id: int | None = None,
        variant: str | None = None,
        values: Values | Callable[[], Values] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.profile = profile.chosen(variant)
        self.unit_id = profile.unit_id if unit_id is None else unit_id
        self.values: Values | Callable[[], Values] = {} if values is None else values
        self.conditions: set[str] = set()
        self.quality: dict[str, int] = {}  # quality words by parameter; the first good one without
        self.fault: str | None = None
        self.acted: list[str] = []  # the actions it was told to do
        self.standards: dict[tuple[str, str], float] = {}  # what it shows of (type, parameter) while it is checked
        self.checking: str | None = None  # the standard it is given: "", zero or span
        self.unlocked = not self.profile.unlock
        self._monotonic = monotonic
        name = variant or profile.default_variant
        self._conditions = next((v.conditions for v in profile.variants if v.name == name), ())
        self._written: dict[int, int] = {}
        self._keys: list[bytes] = []  # the requests of an unlocking that have come
        starting = [step for step in (*self.profile.at("start"), *self.profile.at("before")) if step.request]
        self.measuring = not starting
        self._starting = {step.request for step in starting}
        self._stopping = {step.request for step in self.profile.at("after") if step.request}
        self._began = -math.inf  # when it was started last
        self._spoilt: dict[str, float] = {}  # until when the wiper spoils each parameter
        self._warm_at = self._heard_at = -math.inf
        self._cleared: dict[str, float] = {}  # what a total stood at when it was set to zero
        self._done = {action: 0 for action in range(len(self.profile.actions))}  # steps done of each action
        self.calibrator = Calibrator(self.profile, self._written, self._element)
        self.refuses = False  # whatever would calibrate it
        self._raws = frozenset(step.request for step in self._all_steps() if step.do == "raw")
        self._places = {table: self._of(table) for table in FUNCTION}
        self._readable = {table: self._addresses(table) for table in FUNCTION}

    # -- what happens to it

    def fail(self, fault: str) -> None:
        """Show *fault* until recover: one of UNIT_FAULTS, or several with their rates ("late:0.1,noise:0.02")."""
        self.fault = faults.checked(fault, UNIT_FAULTS)

    def recover(self) -> None:
        """Answer properly again."""
        self.fault = None
        self.conditions.clear()
        self.refuses = self.calibrator.stubborn = False

    def happen(self, event: str) -> None:
        """Let *event*, one of EVENTS, happen to it."""
        match event:
            case "power-cycle":
                self.power_cycle()
            case "wiper":
                for action in self.profile.actions:
                    if action.verb == "clean":
                        self._wipe(action)
            case "stubborn":
                self.calibrator.stubborn = True
            case "refuses":
                self.refuses = True
            case "trouble":
                self.conditions = {status.reason for status in self.profile.status}

    def _wipe(self, action: Action) -> None:
        until = self._monotonic() + action.hold_seconds
        concerned = action.parameters or self.profile.parameters
        self._spoilt |= dict.fromkeys(concerned if action.hold_seconds else (), until)

    def _clear_totals(self, action: Action) -> None:
        values = self.values() if callable(self.values) else self.values
        examples = {r.parameter: float(r.example) for r in self.profile.registers if r.is_number}
        for parameter in action.parameters:
            self._cleared[parameter] = values.get(parameter, examples[parameter]) or 0.0

    def report(self, reason: str) -> None:
        """Set the status bits of the condition whose reason this is."""
        reasons = [s.reason for s in self.profile.status]
        if reason not in reasons:
            raise ValueError(f"{self.profile.name} reports no {reason!r}{did_you_mean(reason, reasons)}")
        self.conditions.add(reason)

    def clear(self, reason: str) -> None:
        """Take the condition back."""
        self.conditions.discard(reason)

    def set_up(self) -> None:
        """Be as documents show it: awake, unlocked and measuring."""
        self.measuring = self.unlocked = True
        self._heard_at = self._monotonic()

    def power_cycle(self) -> None:
        """Off and on again: it warms up, is locked and does not measure until it is started."""
        self._warm_at = self._monotonic() + self.profile.warm_up_seconds
        self.unlocked, self._keys = not self.profile.unlock, []
        self.measuring = not self._starting
        self.checking = None
        self._spoilt.clear()
        self._done = dict.fromkeys(self._done, 0)
        self.calibrator.forget()

    @property
    def frames(self) -> frozenset[bytes]:
        """The requests, CRC included, whose length their function does not tell."""
        return frozenset(self._frame(body) for body in self._raws)

    # -- what it answers

    def answer(self, request: bytes) -> bytes | None:
        """The reply to a sound *request* for this unit, or None where the instrument would say nothing."""
        now = self._monotonic()
        idle, self._heard_at = now - self._heard_at, now
        if 0 < self.profile.sleep_seconds <= idle:
            return None
        body = request[1:-2]
        for step in self.profile.steps:
            if step.request == body and step.do in ("read", "raw"):
                self._stepped(body)
                return self._obeyed(step)
        if body[0] in WRITES or body in self._raws:
            return self._told(body, request)
        if body[0] in TABLE:
            return self._read(TABLE[body[0]], request)
        return self._exception(body[0], ILLEGAL_FUNCTION)

    def _all_steps(self) -> Iterable[Step]:
        yield from (*self.profile.steps, *self.profile.unlock, *self.profile.lock)
        for action in self.profile.actions:
            yield from action.sequence

    def _stepped(self, body: bytes) -> None:
        """A step of a poll starts or stops it."""
        if body in self._starting:
            self.measuring, self._began = True, self._monotonic()
        elif body in self._stopping:
            self.measuring = False

    def _obeyed(self, step: Step) -> bytes:
        """What a step that is no write is answered with: bytes that mean nothing, as many as are expected."""
        if step.do == "raw":
            size = len(step.data) if step.answer_bytes is None else step.answer_bytes
            filler = step.data[:size].ljust(size, b"\0")
            counted = bytes((len(filler),)) + filler if step.answer_bytes is None else filler
            return self._frame(bytes((step.function,)) + counted)
        return self._frame(bytes((step.function, 2 * step.count)) + bytes(2 * step.count))

    def _told(self, body: bytes, request: bytes) -> bytes:
        """A write, or a code of the maker's own: an action, a key, a step of the poll, or a setting."""
        self._stepped(body)
        if self.profile.unlock and self._turned(body):
            return self._frame(body[:5])
        for action in self.profile.actions:
            if not any(step.asks(body) for step in action.sequence if step.request):
                continue
            if self.refuses and action.verb == "calibrate":
                return self._exception(body[0], DEVICE_FAILURE)
            if any(until > self._monotonic() for until in self._spoilt.values()):
                return self._exception(body[0], BUSY)
            if not self.unlocked and any(self.profile.protects(write) for write in action.writes):
                return self._exception(body[0], ILLEGAL_ADDRESS)
            return self._acted(action, body)
        if any(step.request == body for step in self.profile.steps):
            return self._frame(body[:5])
        if body[0] in (WRITE_ONE, WRITE_MANY) and self._readable["holding"]:
            return self._write(request)
        return self._exception(body[0], ILLEGAL_FUNCTION)

    def _turned(self, body: bytes) -> bool:
        """Whether *body* is of an unlocking, which works in its order only, or of a locking."""
        wanted = [step.request for step in self.profile.unlock if step.request]
        if self.unlocked and body in [step.request for step in self.profile.lock]:
            self.unlocked, self._keys = False, []
            return True
        if body not in wanted:
            return False
        self._keys = [*self._keys, body][-len(wanted) :]
        self.unlocked = self.unlocked or self._keys == wanted
        return True

    def _acted(self, action: Action, body: bytes) -> bytes:
        """One request of an action; with the last of them it is done.

        Actions may have requests in common: of those that are whole the longest is what was meant.
        """
        whole: list[Action] = []
        for i, one in enumerate(self.profile.actions):
            steps = [step for step in one.sequence if step.request]
            if steps[self._done[i]].asks(body):
                self.calibrator.hear(steps[self._done[i]], body)
                self._done[i] += 1
            if self._done[i] == len(steps):
                self._done[i] = 0
                whole.append(one)
        if whole:
            self._done = dict.fromkeys(self._done, 0)
            done = max(whole, key=lambda one: len(one.sequence))
            self.acted.append(done.verb)
            if done.verb in ("start_check", "end_check"):
                self.checking = done.type if done.verb == "start_check" else None
            self._wipe(done)
            if done.verb == "clear_total":
                self._clear_totals(done)
            if done.verb == "calibrate":
                self.calibrator.acted(done)
        for step in action.sequence:
            if step.request == body and step.do != "write":
                return self._obeyed(step)
        if action.verify and body[0] in (WRITE_ONE, WRITE_MANY):
            first = number_at(body, 1)
            words = [number_at(body, at) for at in range(6 if body[0] == WRITE_MANY else 3, len(body), 2)]
            self._written.update(enumerate(words, first))
            self._readable["holding"].update(range(first, first + len(words)))
        return self._frame(body[:5])

    def _read(self, table: str, request: bytes) -> bytes | None:
        address, count = number_at(request, 2), number_at(request, 4)
        if not self._readable[table]:
            return self._exception(request[1], ILLEGAL_FUNCTION)
        if not 1 <= count <= self.profile.max_registers:
            return self._exception(request[1], ILLEGAL_VALUE)
        wanted = range(address, address + count)
        if not self._readable[table].issuperset(wanted) or (self.profile.pairs and self._cuts(table, wanted)):
            return self._exception(request[1], ILLEGAL_ADDRESS)
        words = self._words(table, wanted)
        if words is None:
            return None
        data = b"".join(word.to_bytes(2, "big") for word in words)
        return self._frame(bytes((request[1], len(data))) + data)

    def _cuts(self, table: str, wanted: range) -> bool:
        """Whether a read begins at an odd address or holds half a value."""
        halves = (p for p in self._places[table] if (p.address in wanted) != (p.end - 1 in wanted))
        return wanted.start % 2 != 0 or any(halves)

    def _write(self, request: bytes) -> bytes:
        function, address = request[1], number_at(request, 2)
        many = function == WRITE_MANY
        words = [number_at(request, i) for i in (range(7, len(request) - 2, 2) if many else (4,))]
        if many and not (1 <= len(words) <= MOST_WRITTEN and len(words) == number_at(request, 4)):
            return self._exception(function, ILLEGAL_VALUE)
        wanted = range(address, address + len(words))
        coefficients = all(map(self.calibrator.keeps, wanted))
        protected = any(a in wanted for first, last in self.profile.protected for a in range(first, last + 1))
        if coefficients and self.refuses:
            return self._exception(function, DEVICE_FAILURE)
        if (not self.unlocked if coefficients else protected) or not self._readable["holding"].issuperset(wanted):
            return self._exception(function, ILLEGAL_ADDRESS)
        if not (coefficients and self.calibrator.stubborn):
            self._written.update(enumerate(words, address))
        return self._frame(request[1:6])

    def _exception(self, function: int, code: int) -> bytes:
        return self._frame(bytes((function | 0x80, code)))

    def _frame(self, body: bytes) -> bytes:
        frame = bytes((self.unit_id,)) + body
        crc = crc16(frame)
        own = self.profile.crc_high_first and body[0] & 0x7F not in (*TABLE, *WRITES)
        return frame + (crc[::-1] if own else crc)

    # -- what its registers show

    def _of(self, table: str) -> list[Place]:
        registers = self.profile.registers
        beside = [place for register in registers for place in register.beside]
        asked = [step.place for step in self._all_steps() if step.place is not None]
        asked += [place for one in self.profile.coefficients for place in one.places]
        asked += [action.interval for action in self.profile.actions if action.interval is not None]
        places = [p for p in (*registers, *beside, *self.profile.status, *asked) if p.table == table]
        taken = {a for p in places for a in range(p.address, p.end)}
        told = [c for c in self._conditions if c.table == table and taken.isdisjoint(range(c.address, c.end))]
        return [*places, *told]

    def _addresses(self, table: str) -> set[int]:
        """What can be read: the map's registers, and the unused ones between them unless the profile forbids."""
        mapped = {a for place in self._places[table] for a in range(place.address, place.end)}
        if mapped and self.profile.bridge_gaps:
            mapped.update(range(min(mapped), max(mapped) + 1))
        elif self.profile.pairs:
            mapped.update({a ^ 1 for a in mapped})
        return mapped.difference(*(range(first, last + 1) for first, last in self.profile.holes))

    def _words(self, table: str, wanted: range) -> list[int] | None:
        """The registers *wanted*, or None where one of them has no word for a missing value."""
        values = self.values() if callable(self.values) else self.values
        words: dict[int, int] = {}
        for place in self._places[table]:
            if place.end <= wanted.start or place.address >= wanted.stop:
                continue
            shown = self._shown(place, values)
            if shown is None:
                return None
            for address, word, bits in zip(range(place.address, place.end), shown, place.bits(), strict=True):
                words[address] = words.get(address, 0) & ~bits | word & bits
        if table == "holding":
            words |= self._written
        return [words.get(address, 0) for address in wanted]

    def _shown(self, place: Place, values: Values) -> list[int] | None:
        """The registers of *place* as they stand now."""
        if isinstance(place, Register) and place.is_number:
            value = self._present(place, values)
            if value is None and not place.no_value and (place.quality or not self._ready()):
                return [0] * place.width
            operands = self._operands(place, values)
            return encode(place, value, operands)
        if isinstance(place, Register):
            return encode(place, place.example)
        if isinstance(place, Operand):
            return encode(place, self._operand(place, values))
        if isinstance(place, Quality):
            return encode(place, self._quality(place, values))
        if isinstance(place, Status):
            return place.words(self._status(place))
        if isinstance(place, Condition):
            return place.words(_within(place))
        return place.words(self._asked(place))

    def _ready(self) -> bool:
        return self.measuring and self._monotonic() >= self._warm_at

    def _present(self, register: Register, values: Values) -> float | None:
        """The value *register* shows: none while it does not measure, a wrong one while the wiper runs."""
        if not self._ready():
            return None
        value = values.get(register.parameter, float(register.example))
        if value is not None and register.parameter in self._cleared:
            value = max(0.0, value - self._cleared[register.parameter])
        if self.checking is not None:
            value = self._standard(register)
        if value is not None:
            value = self.calibrator.value(register.parameter, value)
        if value is None or self._spoilt.get(register.parameter, -math.inf) <= self._monotonic():
            return value
        return 3 * value + 100

    def _element(self, parameter: str) -> float | None:
        """What its element gives now for *parameter*, before any calibration."""
        register = next(r for r in self.profile.registers if r.parameter == parameter)
        if self.checking is not None:
            return self._standard(register)
        values = self.values() if callable(self.values) else self.values
        return values.get(parameter, float(register.example))

    def _standard(self, register: Register) -> float:
        """What its element gives for *register* in the standard that it is checked with."""
        plain = 0.0 if self.checking == "zero" else float(register.example)
        return self.standards.get((self.checking or "", register.parameter), plain)

    def _operands(self, register: Register, values: Values) -> list[float]:
        """The numbers beside *register*: their examples, but what its own whole number cannot hold as it stands."""
        numbers = [operand.example for operand in register.operands]
        value = self._present(register, values)
        if value is not None and register.plus and register.plus[0].type in FLOATS:
            plain = [0.0] * len(register.plus) + numbers[len(register.plus) :]
            _, factor, places = register.parts(plain)
            inner = value * 10.0**places / factor
            numbers[: len(register.plus)] = [inner % abs(register.scale), *plain[1 : len(register.plus)]]
        return numbers

    def _operand(self, place: Operand, values: Values) -> float:
        for register in (one for one in self.profile.registers if one.operands):
            for operand, number in zip(register.operands, self._operands(register, values), strict=True):
                if operand is place:
                    return number
        return place.example

    def _quality(self, place: Quality, values: Values) -> int:
        """What the quality word beside a value says: what it was told to, else that the value is good or missing."""
        register = next(r for r in self.profile.registers if r.quality is place)
        if register.parameter in self.quality:
            return self.quality[register.parameter]
        bad = self._present(register, values) is None
        fitting = (m.values[0] for m in place.meanings if m.values and (m.mark is not Mark.N and not m.keep) == bad)
        return next(fitting, 0)

    def _status(self, place: Status) -> int:
        raw = 0
        for status in self.profile.status:  # several conditions share a register
            if (status.table, status.address) == (place.table, place.address):
                raw |= status.example
        for status in self.profile.status:
            if (status.table, status.address) == (place.table, place.address) and status.reason in self.conditions:
                raw = _set(raw, status)
        return raw

    def _asked(self, place: Place) -> int:
        """What a register says that a step waits for: there after the step's *example* ms, before not yet."""
        step = next(s for s in self._all_steps() if s.place is not None and _as(s.place, place))
        if step.do == "expect":
            return self.calibrator.says(step)
        assert isinstance(step.example, int)
        if step.do == "wait":
            return step.example
        there = self._monotonic() - self._began >= step.example / 1000
        return step.value if there else step.value ^ (step.mask & -step.mask)


def _as(one: Place, other: Place) -> bool:
    return (one.table, one.address) == (other.table, other.address)


def _within(condition: Condition) -> float:
    """A raw number that fulfils *condition*."""
    low, high = (end / condition.scale for end in condition.range)
    raw = math.floor((low + high) / 2)
    return raw if low <= raw or condition.type in FLOATS else math.ceil(low)


def number_at(frame: bytes, at: int) -> int:
    """The big-endian word at byte *at* of *frame*."""
    return int.from_bytes(frame[at : at + 2], "big")


def _set(raw: int, status: Status) -> int:
    """*raw* with the bits of *status* as they are while it holds."""
    if status.other_than is not None:
        return raw & ~status.mask | status.other_than ^ (status.mask & -status.mask)
    return raw | status.mask & 0xFFFF if status.value is None else raw & ~status.mask | status.value
