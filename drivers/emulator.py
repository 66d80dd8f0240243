"""Emulated instruments: profiles served on a pseudo-terminal at the speed of a real line, faults included."""

from __future__ import annotations

import contextlib
import heapq
import os
import queue
import random
import select
import threading
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from drivers import modbus
from drivers.base import BusSettings, ProfileError
from drivers.line import FUNCTION, TABLE, Line, bits_per_character, crc16
from drivers.profile import Profile, load
from drivers.registers import MOST_REGISTERS, Place, Register, Request, Status, encode
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
LATE_SECONDS = 0.03  # how long after the master's time-out a late reply begins
STALE_SECONDS = 0.25  # half a request older than this is noise


class EmulatedUnit:
    """An instrument that answers as its profile says.

    *values* holds the present value of each parameter, or is called for them at each request; what it leaves
    out comes from the profile's examples.  None is a missing value: the unit sends its "no value" word, or
    does not answer where it has none.
    """

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
        address, count = _number(request, 2), _number(request, 4)
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
        function, address = request[1], _number(request, 2)
        many = function == WRITE_MANY
        words = [_number(request, i) for i in (range(7, len(request) - 2, 2) if many else (4,))]
        if many and not (1 <= len(words) <= MOST_WRITTEN and len(words) == _number(request, 4)):
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


@dataclass(slots=True)
class LineStatistics:
    """What the emulated line has seen; *wire_seconds* is the least time its exchanges could have taken."""

    requests: int = 0
    replies: int = 0
    request_bytes: int = 0
    reply_bytes: int = 0
    bad_frames: int = 0
    violations: int = 0
    shortest_silence: float = float("inf")
    wire_seconds: float = 0.0


class EmulatedBus:
    """Instruments on one line, behind the pseudo-terminal at *path*.

    A request occupies the wire for its characters, the instrument thinks, and its reply comes *chunk* bytes at
    a time at line speed; with *pace* off it comes at once.  *link* is a symbolic link kept on the terminal,
    which has another name after each plug_in.  With *echo* the adapter hears itself.
    """

    def __init__(
        self,
        baudrate: int = 9600,
        bits: int = 10,
        units: Sequence[EmulatedUnit] = (),
        *,
        pace: bool = True,
        chunk: int = 1,
        link: Path | None = None,
        echo: bool = False,
        seed: int = 0,
    ) -> None:
        self.line = Line(baudrate, bits)
        self.units = {unit.unit_id: unit for unit in units}
        if len(self.units) < len(units):
            raise ValueError("two units have the same unit_id")
        self.statistics = LineStatistics()
        self.pace, self.chunk, self.link, self.echo = pace, chunk, link, echo
        self._random = random.Random(seed)
        self._terminal: tuple[int, int] | None = None  # master and slave side
        self._path = ""
        self._pending: list[tuple[float, int, bytes]] = []  # when, in which order, what
        self._order = 0
        self._received, self._received_at = b"", 0.0
        self._busy_until = 0.0
        self._answered: dict[int, float] = {}  # when each unit has sent its last reply
        self._errands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_reader, self._wake_writer = -1, -1
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def path(self) -> str:
        """The device file a master opens."""
        return str(self.link) if self.link else self._path

    def start(self) -> Self:
        """Come to life; returns itself."""
        self._wake_reader, self._wake_writer = os.pipe()
        self._stopping = False
        self._connect()
        self._thread = threading.Thread(target=self._run, name="emulated-bus", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Vanish."""
        if self._thread is None:
            return
        self._stopping = True
        os.write(self._wake_writer, b"x")
        self._thread.join(5)
        self._thread = None
        self._disconnect()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def unplug(self) -> None:
        """Pull the adapter out: the port vanishes under the master."""
        self._have_done(self._disconnect)

    def plug_in(self) -> None:
        """Put the adapter back; the system gives it another name, the *link* follows."""
        self._have_done(self._connect)

    def inject(self, noise: bytes) -> None:
        """Put bytes on the line that nobody asked for."""
        self._have_done(lambda: self._write(noise))

    # -- in the emulator's own thread

    def _have_done(self, errand: Callable[[], None]) -> None:
        done = threading.Event()
        self._errands.put(errand)
        self._errands.put(done.set)
        os.write(self._wake_writer, b"x")
        done.wait(5)

    def _connect(self) -> None:
        if self._terminal is not None:
            return
        master, slave = os.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._terminal, self._path = (master, slave), os.ttyname(slave)
        if self.link:
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(self._path)

    def _disconnect(self) -> None:
        if self._terminal is None:
            return
        for side in self._terminal:
            os.close(side)
        self._terminal = None
        self._pending.clear()
        if self.link:
            self.link.unlink(missing_ok=True)

    def _run(self) -> None:
        _sharpen_timers()
        while not self._stopping:
            master = self._terminal[0] if self._terminal else None
            sources = [self._wake_reader] if master is None else [self._wake_reader, master]
            wait = max(0.0, self._pending[0][0] - time.monotonic()) if self._pending else None
            ready, _, _ = select.select(sources, [], [], wait)
            if master is not None and master in ready:
                self._receive(os.read(master, 4096), time.monotonic())
            self._send_due()
            if self._wake_reader in ready:
                os.read(self._wake_reader, 64)
                while not self._errands.empty():
                    self._errands.get()()

    def _receive(self, data: bytes, now: float) -> None:
        if now - self._received_at > STALE_SECONDS:
            self._received = b""
        self._received, self._received_at = self._received + data, now
        if self.echo:
            self._write(data)
        while len(self._received) >= 8:
            size = 9 + self._received[6] if self._received[1] == WRITE_MANY else 8
            if len(self._received) < size:
                return
            request, self._received = self._received[:size], self._received[size:]
            self._requested(request, now)

    def _requested(self, request: bytes, now: float) -> None:
        """Note *request*, which began at *now*, and schedule what answers it."""
        self._judge_silence(now)
        statistics, character = self.statistics, self.line.character
        statistics.requests += 1
        statistics.request_bytes += len(request)
        end = now + len(request) * character
        self._busy_until = max(self._busy_until, end)
        if crc16(request[:-2]) != request[-2:]:
            statistics.bad_frames += 1
            self._received = b""  # an instrument waits for the next silence
            return
        unit = self.units.get(request[0])
        reply = self._reply(unit, request) if unit else None
        if unit is None or reply is None:
            return
        delay = max(self.line.silence, unit.profile.reply_delay_ms / 1000)
        statistics.replies += 1
        statistics.reply_bytes += len(reply)
        statistics.wire_seconds += (len(request) + len(reply)) * character + delay + self.line.silence
        begins = end + delay if self.pace else now
        if unit.fault == "late":
            begins = now + self._patience(unit, request) + LATE_SECONDS
        begins = max(begins, self._answered.get(unit.unit_id, 0.0))  # it does one thing after the other
        self._answered[unit.unit_id] = self._schedule(reply, begins)

    def _judge_silence(self, now: float) -> None:
        if not self.pace or not self._busy_until:
            return
        silence = now - self._busy_until
        self.statistics.shortest_silence = min(self.statistics.shortest_silence, silence)
        if silence < 0.9 * self.line.silence:  # a tenth is this machine's own inaccuracy
            self.statistics.violations += 1

    def _reply(self, unit: EmulatedUnit, request: bytes) -> bytes | None:
        match unit.fault:
            case "silent":
                return None
            case "exception":
                return unit._exception(request[1], DEVICE_FAILURE)
            case "noise":
                reply = unit.answer(request)
                return None if reply is None else self._spoilt(reply)
            case "wrong-unit":
                reply = unit.answer(request)
                return None if reply is None else _readdressed(reply)
        return unit.answer(request)

    def _spoilt(self, reply: bytes) -> bytes:
        damage = self._random.randrange(3)
        if damage == 0:
            bit = self._random.randrange(8 * len(reply))
            return (int.from_bytes(reply, "big") ^ 1 << bit).to_bytes(len(reply), "big")
        if damage == 1:
            return reply[: self._random.randrange(1, len(reply))]
        return self._random.randbytes(len(reply))

    def _patience(self, unit: EmulatedUnit, request: bytes) -> float:
        count = _number(request, 4) if request[1] in TABLE else 1
        asked = Request("holding", 0, min(count, MOST_REGISTERS), ())
        return unit.profile.timeout_seconds(self.line, asked)

    def _schedule(self, reply: bytes, begins: float) -> float:
        """Have *reply* begin at *begins*; returns when it ends."""
        character = self.line.character if self.pace else 0.0
        size = self.chunk if self.pace else len(reply)
        for i in range(0, len(reply), size):
            piece = reply[i : i + size]
            self._order += 1
            heapq.heappush(self._pending, (begins + (i + len(piece)) * character, self._order, piece))
        ends = begins + len(reply) * character
        self._busy_until = max(self._busy_until, ends)
        return ends

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._pending and self._pending[0][0] <= now:
            self._write(heapq.heappop(self._pending)[2])

    def _write(self, data: bytes) -> None:
        if self._terminal is not None:
            with contextlib.suppress(BlockingIOError):  # nobody listens: the bytes are gone, as on a wire
                os.write(self._terminal[0], data)


def emulated_bus(
    settings: BusSettings,
    devices: Sequence[modbus.ModbusSettings],
    folders: Sequence[Path] = (),
    values: Mapping[str, Values | Callable[[], Values]] | None = None,
    *,
    link: Path | None = None,
    pace: bool = True,
) -> EmulatedBus:
    """The line of *settings* with its *devices* on it; *values* holds a replay by device name."""
    given = values or {}
    units = [EmulatedUnit(load(d.profile, folders), d.unit_id, d.variant, given.get(d.name)) for d in devices]
    bits = bits_per_character(settings.parity, settings.stopbits)
    try:
        return EmulatedBus(settings.baudrate, bits, units, link=link, pace=pace)
    except ValueError as error:
        raise ProfileError(f"bus {settings.name}: {error}") from error


def _number(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 2], "big")


def _readdressed(reply: bytes) -> bytes:
    body = bytes((reply[0] % 247 + 1,)) + reply[1:-2]
    return body + crc16(body)


def _set(raw: int, status: Status) -> int:
    """*raw* with the bits of *status* as they are while it holds."""
    return raw | status.mask & 0xFFFF if status.value is None else raw & ~status.mask | status.value


def _sharpen_timers() -> None:
    """Have this thread woken on time: Linux lets timers slip by 50 µs unless told otherwise (prctl 29)."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)
