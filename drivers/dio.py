"""Modules of switched inputs and outputs (8DI/8DO): levels, counters and coils over Modbus.

The thread that owns the line polls the module; contacts, counters and outputs look at what it saw last.  An output
is switched by that thread too: the order is queued, waited for within WAIT seconds, and the coil read back.

Whatever an output is to be, off is what it falls back to: an order to switch on that is not confirmed in time is
taken back, a coil that is found on and should not be is switched off with every poll, and a stop of the line switches
all of them off.  What the module does when nobody speaks to it any more is its own watchdog's, where it has one.

Sources: ADAM-4150's registers stand in the maker's user manual (ADAM-4100 series, appendix B, read as a scan: B), its
coils in a gateway's published point list and in another author's frames (B); the others are templates (C).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Condition
from typing import Any, NamedTuple

from drivers.base import BadReply, DeviceError, DriverError, NoReply, ProfileError
from drivers.bus import Bus
from drivers.modbus import LAST_MODBUS_ID, UnitSettings
from drivers.port import Speed
from drivers.profile import Profile, Write
from drivers.registers import Request
from drivers.statistics import Statistics
from station.model import Sample, dataclass, setting

log = logging.getLogger(__name__)

WAIT = 2.0  # seconds whoever orders an output waits for the line's thread
RETRY = 10.0  # seconds until an output that did not follow is tried again
SETTINGS_SECONDS = 60.0  # between two looks at how the module is set
MODE_BITS, COUNTING = 0x07, 1
WORST_REPLY_MS = 250
READ_COILS, READ_INPUTS, WRITE_COIL = 1, 2, 5
FUNCTIONS = {"coil": READ_COILS, "discrete": READ_INPUTS}
TWO_WORDS = 1 << 32


class Bits(NamedTuple):
    """A row of levels: the function that reads them, the address of the first one, how many."""

    function: int
    first: int
    size: int


class Counters(NamedTuple):
    """32-bit counters, one an input, the low word first: holding register of the first, and pulses a second at most.

    From holding register *modes* on stands what each input is set to; it counts where the low three bits are 1.
    """

    first: int
    most_hertz: float
    modes: int


class Map(NamedTuple):
    """A make: where its inputs, outputs, counters and the flags of its watchdog stand."""

    title: str
    grade: str
    source: str
    inputs: Bits
    outputs: Bits
    counters: Counters | None = None
    watchdog: int | None = None  # holding register: 1 where it is on; the next one: 1 where it has tripped


MAPS: Mapping[str, Map] = {
    "adam-4150": Map(
        "Advantech ADAM-4150", "B",
        "the maker's register table as a scan, a gateway's point list and another author's frames",
        Bits(READ_COILS, 0, 7), Bits(READ_COILS, 16, 8), Counters(0, 3000.0, 78), 214,
    ),
    "adam-4055": Map(
        "Advantech ADAM-4055", "C",
        "inferred from the maker's tables of its neighbours; a public reader of it agrees on eight inputs and outputs",
        Bits(READ_COILS, 0, 8), Bits(READ_COILS, 16, 8), None, 214,
    ),
    "waveshare-io8": Map(
        "Waveshare Modbus RTU IO 8CH and Relay 8CH with inputs", "C",
        "a public register file and public drivers of the relay boards",
        Bits(READ_INPUTS, 0, 8), Bits(READ_COILS, 0, 8),
    ),
}  # fmt: skip
OTHER = "other"


class Unfollowed(DeviceError):
    """Error raised when an output does not do as it was told, or nobody can know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DioSettings(UnitSettings):
    """The keys of a [[bus.device]] table whose driver is "dio"."""

    module: str = setting(choices=(*MAPS, OTHER), text="the make; other for one that is not in the list")
    poll_seconds: float = setting(0.5, low=0.05, high=60, text="seconds from one look at its inputs to the next")
    stale_seconds: float = setting(5.0, low=1, high=120, text="levels older than this are no levels any more")
    confirmed: bool = setting(False, text="an input and an output were compared with what the module shows")
    inputs: int | None = setting(None, low=0, high=64, text="of another make: how many inputs it has")
    inputs_from: int = setting(0, low=0, high=0xFFFF, text="of another make: address of the first one, from 0")
    inputs_table: str = setting(
        "discrete", choices=tuple(FUNCTIONS), text="of another make: inputs are read with function 2 or 1"
    )
    outputs: int | None = setting(None, low=0, high=64, text="of another make: how many outputs it has")
    outputs_from: int = setting(0, low=0, high=0xFFFF, text="of another make: coil of the first one, from 0")

    @property
    def map(self) -> Map:
        """Where things stand in the module."""
        if self.module in MAPS:
            return MAPS[self.module]
        inputs = Bits(FUNCTIONS[self.inputs_table], self.inputs_from, self.inputs or 0)
        outputs = Bits(READ_COILS, self.outputs_from, self.outputs or 0)
        return Map("module of inputs and outputs", "D", "the operator's", inputs, outputs)

    @property
    def channels(self) -> tuple[int, int]:
        """How many inputs and outputs it has."""
        return self.map.inputs.size, self.map.outputs.size

    @property
    def counts(self) -> bool:
        """Whether it counts pulses by itself."""
        return self.map.counters is not None


@dataclass(slots=True)
class _Channel:
    """An output: what it is to be, what it was seen to be, what is wrong with it."""

    name: str
    wanted: bool = False
    actual: bool | None = None
    refused: bool | None = None  # the state it did not take
    fault: str = ""
    again: float = 0.0  # when it is tried again
    done: int = 0  # orders carried out, well or not


class DioModule:
    """A module on *bus*.  It delivers no samples of its own; what hangs on it is asked by contacts and counters."""

    Settings = DioSettings
    units: Mapping[str, str] = {}
    poll_minimum_seconds = 0.0
    general_address: int | None = None
    actions: Mapping[str, Sequence[str]] = {}

    def __init__(self, settings: DioSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]) -> None:
        if faults := list(_faults(settings)):
            raise ProfileError("\n".join(faults))
        self.name, self._settings, self._map, self._bus = settings.name, settings, settings.map, bus
        self._profile = Profile(
            name="io-module", title=self._map.title, grade=self._map.grade, baudrate=9600,
            unit_id=settings.unit_id, registers=(), worst_reply_ms=WORST_REPLY_MS,
        )  # fmt: skip
        self.speed = settings.speed(bus.settings)
        if self.speed != Speed(bus.settings.baudrate, bus.settings.parity, bus.settings.stopbits):
            bus.speeds[settings.unit_id] = self.speed
        self.hints = tuple(_hints(settings))
        self.conditions: tuple[str, ...] = ()
        self.stale_seconds = max(settings.stale_seconds, 3 * settings.poll_seconds)
        self._changed = Condition()
        self._outputs: dict[int, _Channel] = {}
        self._counted: list[int] = []  # inputs
        self._began = bus.monotonic()
        self._seen_at: float | None = None
        self._levels: Sequence[bool] = ()
        self._counts: Sequence[int] = ()
        self._looked_at = float("-inf")
        self._slow_until = 0.0
        self._left = False

    @property
    def statistics(self) -> Statistics:
        """What it has been asked and how it answered."""
        return self._bus.statistics[self._settings.unit_id]

    # -- what hangs on it

    def contact(self, settings: Any) -> ModuleContact:
        """The contact at an input, as *settings* of an [[input]] say."""
        return ModuleContact(self, settings.channel, settings.active == "high")

    def output(self, settings: Any, submit: Callable[[Callable[[], None]], None]) -> ModuleOutput:
        """The output of an [[output]]; *submit* has something done by the line's thread."""
        self._outputs[settings.channel] = _Channel(settings.name)
        return ModuleOutput(self, settings.channel, submit)

    def counter(self, settings: Any, unit: str, now: Callable[[], datetime]) -> ModuleCounter:
        """The counter of an input."""
        self._counted.append(settings.channel)
        assert self._map.counters is not None
        return ModuleCounter(self, settings, unit, now, self._map.counters.most_hertz)

    def level(self, channel: int) -> bool | None:
        """The level of input *channel*, from 1; None before the first poll, NoReply where it is too old."""
        with self._changed:
            return self._levels[channel - 1] if self._known() else None

    def count(self, channel: int) -> tuple[int, float] | None:
        """The counter of input *channel* and when it was read; None before that, NoReply where it is too old."""
        with self._changed:
            if not self._known() or self._seen_at is None or not self._counts:
                return None
            return self._counts[channel - 1], self._seen_at

    def _known(self) -> bool:
        """Whether its levels are known; false for a moment after the start only, NoReply when they are too old."""
        age = self._bus.monotonic() - (self._began if self._seen_at is None else self._seen_at)
        if age > self.stale_seconds:
            raise NoReply(f"module {self.name}: has not answered for {age:.0f} s, its levels are not known")
        return self._seen_at is not None

    # -- what the line's thread does

    def read(self) -> Sequence[Sample]:
        """Look at levels, counters and coils; switch off what is on and should not be.  No samples come of it."""
        levels = self._bits(self._map.inputs) if self._map.inputs.size else ()
        counts = self._counters() if self._counted else ()
        coils = self._bits(self._map.outputs) if self._outputs else ()
        with self._changed:
            first, self._seen_at = self._seen_at is None, self._bus.monotonic()
            self._levels, self._counts = levels, counts
        for number, one in self._outputs.items():
            if first and coils[number - 1]:
                log.warning("output %s: was on when the station began to look", one.name)
                self._bus.note("output_found_on", output=one.name, module=self.name)
            self._seen(number, one, coils[number - 1])
        self._look_at_settings()
        return ()

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing: its outputs belong to the rules."""
        raise DeviceError(f"{self.name}: a module of inputs and outputs has no way to {verb}")

    def leave(self) -> None:
        """The line's thread ends: everything off.  What fails is on record as the output's fault."""
        with self._changed:
            self._left = True
            for one in self._outputs.values():
                one.wanted = False
        for number in self._running():
            self._carry_out(number)

    def _running(self) -> Sequence[int]:
        """The outputs that are on, or may be."""
        try:
            coils = self._bits(self._map.outputs) if self._outputs else ()
        except DriverError:
            return [*self._outputs]
        with self._changed:
            for number, one in self._outputs.items():
                one.actual = coils[number - 1]
                one.done += not one.actual  # else it is done when it was switched off
            self._changed.notify_all()
        return [number for number, one in self._outputs.items() if one.actual]

    def close(self) -> None:
        """Nothing: the port belongs to the bus."""

    def _bits(self, row: Bits) -> Sequence[bool]:
        """The levels of *row*; read twice where an older reply is owed, for those of inputs and coils look alike."""
        doubtful = bool(self._bus.owed.get(self._settings.unit_id))
        levels = self._asked(row)
        if doubtful and self._asked(row) != levels:
            raise BadReply(f"{self.name}: two looks at the same levels differ, one may be a late reply to another")
        return levels

    def _asked(self, row: Bits) -> Sequence[bool]:
        asked = row.first.to_bytes(2, "big") + row.size.to_bytes(2, "big")
        answer = self._bus.raw(self._settings.unit_id, row.function, asked, self._profile)
        length = (row.size + 7) // 8
        if len(answer) != 1 + length or answer[0] != length:
            raise BadReply(f"{self.name}: {answer.hex(' ').upper()} is not the {row.size} levels asked for")
        return [bool(answer[1 + n // 8] >> n % 8 & 1) for n in range(row.size)]

    def _counters(self) -> Sequence[int]:
        assert self._map.counters is not None
        words = self._words(self._map.counters.first, 2 * self._map.inputs.size)
        return [low + (high << 16) for low, high in zip(words[::2], words[1::2], strict=True)]

    def _seen(self, number: int, one: _Channel, on: bool) -> None:
        """A poll saw the coil *on* or off."""
        with self._changed:
            before, one.actual = one.actual, on
            if one.refused in (None, on):
                one.refused, one.fault = None, ""
            if one.wanted and before and not on:  # where it was not on before, its order is still under way
                one.wanted, one.refused = False, True
                one.again = self._bus.monotonic() + RETRY
                one.fault = f"module {self.name}: output {number} was on and is found off"
            follow = on and not one.wanted
        if follow:
            self._carry_out(number)

    def _carry_out(self, number: int) -> None:
        """Have the coil as it is wanted now, and read it back; what comes of it is in the channel."""
        one = self._outputs[number]
        try:
            while self._switched(number, one) is not one.wanted:
                pass  # the order was taken back meanwhile
            fault = ""
        except DriverError as error:
            fault = str(error)
        with self._changed:
            one.done += 1
            if fault:
                one.fault = fault
                one.again = self._bus.monotonic() + RETRY
            self._changed.notify_all()

    def _switched(self, number: int, one: _Channel) -> bool:
        """What the coil was told to be, and is; Unfollowed where it is not."""
        wanted, row = one.wanted, self._map.outputs
        coil = Write(address=row.first + number - 1, function=WRITE_COIL, values=(int(wanted),))
        self._bus.write(self._settings.unit_id, coil, self._profile)
        coils = self._bits(row)
        with self._changed:
            one.actual = coils[number - 1]
            if one.actual is wanted:
                one.fault, one.refused = ("", None) if one.refused in (None, wanted) else (one.fault, one.refused)
                return wanted
            if one.wanted is wanted:
                one.refused = wanted
        word = ("off", "on")[wanted]
        raise Unfollowed(f"module {self.name}: output {number} was switched {word} and does not follow")

    def _look_at_settings(self) -> None:
        """What the module's own settings leave to be wished for: its watchdog, and inputs that do not count."""
        now = self._bus.monotonic()
        if now < self._looked_at + SETTINGS_SECONDS:
            return
        self._looked_at = now
        try:
            found = (*self._watchdog(), *self._modes())
        except DeviceError as error:
            log.info("module %s: its settings cannot be looked at: %s", self.name, error)
            return
        if found != self.conditions:
            self.conditions = found
            log.warning("module %s: %s", self.name, "; ".join(found) or "its settings are as they should be")

    def _watchdog(self) -> Iterator[str]:
        if self._map.watchdog is None or not self._outputs:
            return
        enabled, tripped = self._words(self._map.watchdog, 2)
        if not enabled:
            yield "its communication watchdog is off: outputs stay as they are when the line fails"
        if tripped:
            yield "its communication watchdog has tripped"

    def _modes(self) -> Iterator[str]:
        if self._map.counters is None or not self._counted:
            return
        modes = self._words(self._map.counters.modes, self._map.inputs.size)
        for number in self._counted:
            if modes[number - 1] & MODE_BITS != COUNTING:
                yield f"input {number} is not set to count in the module: no pulse of it is seen"

    def _words(self, first: int, count: int) -> Sequence[int]:
        data = self._bus.read(self._settings.unit_id, Request("holding", first, count, ()), self._profile)
        return [int.from_bytes(data[n : n + 2], "big") for n in range(0, 2 * count, 2)]

    # -- what whoever switches an output does

    def order(self, number: int, on: bool, submit: Callable[[Callable[[], None]], None]) -> None:
        """Have output *number* switched by the line's thread, and wait for it, WAIT seconds at most.

        An order to switch on that is not confirmed is taken back; one to switch off stands until it is followed.
        """
        one = self._outputs[number]
        with self._changed:
            if one.wanted is on and one.actual is on:
                return
            one.wanted = one.wanted and on  # off at once, whatever comes of it
            if not self._known() and on:
                raise Unfollowed(f"module {self.name}: output {number} has not been looked at yet")
            now = self._bus.monotonic()
            if self._left and not on:
                self._changed.wait_for(lambda: one.actual is False or one.fault, WAIT)
            if now < max(one.again, self._slow_until) or self._left:
                if one.actual is on:
                    return
                raise Unfollowed(one.fault or f"module {self.name}: output {number} was not switched in time")
            one.wanted, before = on, one.done
        submit(lambda: self._carry_out(number))
        with self._changed:
            self._changed.wait_for(lambda: one.done > before, WAIT)
            if one.actual is on and one.done > before:
                return
            if one.done == before:
                self._slow_until = self._bus.monotonic() + RETRY
                one.fault = f"module {self.name}: output {number} was not switched within {WAIT:g} s"
            said, one.wanted = one.fault, False
        if on:
            submit(lambda: self._carry_out(number))  # whatever became of it is taken back
        raise Unfollowed(said)

    def look(self, number: int) -> None:
        """Raise DriverError where output *number* does not follow, or its module does not answer."""
        with self._changed:
            self._known()
            if fault := self._outputs[number].fault:
                raise Unfollowed(fault)

    def ready(self, number: int) -> bool:
        """Whether the real state of output *number* has been read since the start."""
        return self._outputs[number].actual is not None


class ModuleContact:
    """A level of a module, as it was seen last."""

    def __init__(self, module: DioModule, channel: int, high: bool) -> None:
        self._module, self._channel, self._high = module, channel, high

    @property
    def active(self) -> bool | None:
        """Whether it is active; None before the module was first read, NoReply when it does not answer any more."""
        level = self._module.level(self._channel)
        return None if level is None else level is self._high


class ModuleOutput:
    """An output of a module, for the thread that asks the rules."""

    def __init__(self, module: DioModule, channel: int, submit: Callable[[Callable[[], None]], None]) -> None:
        self._module, self._channel, self._submit = module, channel, submit

    def drive(self, on: bool) -> None:
        """Switch it; DriverError where that is not confirmed."""
        self._module.order(self._channel, on, self._submit)

    def look(self) -> None:
        """Raise DriverError where it is not as it should be, or that is not known."""
        self._module.look(self._channel)

    @property
    def ready(self) -> bool:
        """Whether its real state was read."""
        return self._module.ready(self._channel)


class ModuleCounter:
    """A counter of a module: a device whose reading is the total so far, in the parameter's unit.

    The module counts; the station adds up its rises, over the roll-over at 2³².  A count that rose faster than the
    module can is believed when the next one goes on from it: then the module has begun anew.
    """

    poll_minimum_seconds = 0.0
    actions: Mapping[str, Sequence[str]] = {}

    def __init__(
        self, module: DioModule, settings: Any, unit: str, now: Callable[[], datetime], most_hertz: float
    ) -> None:
        self.name = settings.name
        self._module, self._channel, self._now, self._most = module, settings.channel, now, most_hertz
        self._parameter, self._per_pulse = settings.counted
        self.units: Mapping[str, str] = {self._parameter: unit}
        self._base = 0.0
        self._last: tuple[int, float] | None = None
        self._odd: tuple[int, float] | None = None  # a count that cannot be, until the next one says whether it is
        self.pulses = 0

    def begin(self, total: float) -> None:
        """Count on from *total*."""
        self._base = total

    def read(self) -> Sequence[Sample]:
        """The total; none before the module was first read, NoReply while it does not answer."""
        found = self._module.count(self._channel)
        if found is None:
            return []
        if self._last is None:
            self._last = found
        elif found[1] > self._last[1] and (self._odd is None or found[1] > self._odd[1]):
            self._take(found)
        return [Sample(self._parameter, self._now(), round(self._base + self.pulses * self._per_pulse, 9))]

    def _take(self, found: tuple[int, float]) -> None:
        assert self._last is not None
        rise = self._rise(self._last, found)
        if rise is None and self._odd is not None:
            rise = self._rise(self._odd, found)
            if rise is not None:
                log.warning("input %s: its counter began anew, from %d to %d", self.name, self._last[0], self._odd[0])
                # What it counted since, and only where it began at zero a moment ago.
                rise += self._odd[0] if self._rise((0, self._last[1]), self._odd) is not None else 0
        elif rise is not None and self._odd is not None:
            log.warning("input %s: %d is no count, passed over", self.name, self._odd[0])
        if rise is None:
            self._odd = found
            return
        self.pulses += rise
        self._last, self._odd = found, None

    def _rise(self, before: tuple[int, float], now: tuple[int, float]) -> int | None:
        rise = (now[0] - before[0]) % TWO_WORDS
        return rise if rise <= self._most * (now[1] - before[1] + 1.0) else None

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing can be asked of a counter."""
        raise DeviceError(f"{self.name}: a counter cannot do {verb}")

    def close(self) -> None:
        """Nothing: the module belongs to its line."""


def _faults(settings: DioSettings) -> Iterator[str]:
    if settings.unit_id > LAST_MODBUS_ID:
        yield f"unit_id: {settings.unit_id} is above {LAST_MODBUS_ID}"
    if settings.parameters or settings.points:
        yield "parameters: a module measures nothing by itself; an [[input]] names it with module and channel"
    found = MAPS.get(settings.module)
    if found is None:
        yield from _other_faults(settings)
    else:
        given = [key for key in ("inputs", "outputs") if getattr(settings, key) is not None]
        yield from (f"{key}: is for another make; of {settings.module} it is known" for key in given)
        if found.grade not in ("A", "B") and not settings.confirmed:
            yield (
                f"module: {settings.module} is a template of grade {found.grade} ({found.source}); switch an output,"
                " bridge an input, compare both with the module, then write confirmed = true"
            )


def _other_faults(settings: DioSettings) -> Iterator[str]:
    for key in ("inputs", "outputs"):
        if getattr(settings, key) is None:
            yield f"{key}: is missing; write 0 where the module has none"
    if not settings.confirmed:
        yield (
            "module: of another make nothing is known; switch an output, bridge an input, compare both with the"
            " module, then write confirmed = true"
        )


def _hints(settings: DioSettings) -> Iterator[str]:
    if settings.map.outputs.size and settings.map.watchdog is None:
        yield (
            "no watchdog of this module is known: when the line or the host fails while an output is on, it stays on;"
            " put nothing on it that must not run on"
        )
