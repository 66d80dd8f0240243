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
from pathlib import Path
from typing import Self

from drivers import faults, modbus
from drivers.analyser import AnalyserSettings
from drivers.base import BusSettings, ProfileError
from drivers.bus import SWITCH_SECONDS
from drivers.current import CurrentSettings
from drivers.dio import DioSettings
from drivers.emulated import BUSY, DEVICE_FAILURE, WRITE_MANY, EmulatedUnit, Values, number_at
from drivers.emulated_analyser import EmulatedAnalyser
from drivers.emulated_current import EmulatedCurrents
from drivers.emulated_dio import EmulatedDio
from drivers.faults import LINE_FAULTS
from drivers.line import TABLE, Line, bits_per_character, crc16
from drivers.port import Speed, seen_speed
from drivers.profile import load
from drivers.registers import MOST_REGISTERS, Request
from station.model import dataclass

LATE_SECONDS = 0.03  # how long after the master's time-out a late reply begins
STALE_SECONDS = 0.25  # half a request older than this is noise


@dataclass(slots=True)
class LineStatistics:
    """What the emulated line has seen; *wire_seconds* is the least time its exchanges could have taken."""

    requests: int = 0
    replies: int = 0
    request_bytes: int = 0
    reply_bytes: int = 0
    bad_frames: int = 0
    misheard: int = 0  # requests a unit could not make out, being set to another speed
    switches: int = 0  # changes of the master's speed
    violations: int = 0  # of the silence before a request, or around a change of speed
    shortest_silence: float = float("inf")
    wire_seconds: float = 0.0


class EmulatedBus:
    """Instruments on one line, behind the pseudo-terminal at *path*.

    A request occupies the wire for its characters, the instrument thinks, and its reply comes *chunk* bytes at
    a time at line speed; with *pace* off it comes at once.  *link* is a symbolic link kept on the terminal,
    which has another name after each plug_in.  Where *speeds* says how a unit is set, it hears noise when the
    master speaks otherwise, and says nothing.  *seed* begins the chance by which faults show.
    """

    faults: Mapping[str, str] = LINE_FAULTS

    def __init__(
        self,
        baudrate: int = 9600,
        bits: int = 10,
        units: Sequence[EmulatedUnit] = (),
        *,
        pace: bool = True,
        chunk: int = 1,
        link: Path | None = None,
        speeds: Mapping[int, Speed] | None = None,
        seed: int = 0,
    ) -> None:
        self.line = Line(baudrate, bits)
        self.units = {unit.unit_id: unit for unit in units}
        if len(self.units) < len(units):
            raise ValueError("two units have the same unit_id")
        self.statistics = LineStatistics()
        self.pace, self.chunk, self.link = pace, chunk, link
        self.speeds: Mapping[int, Speed] = speeds or {}
        self.fault: str | None = None
        self._spoken: Speed | None = None  # what the master has set
        self._flood_until, self._flooding = 0.0, -1
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

    def fail(self, fault: str) -> None:
        """Show *fault* on the line itself until recover: one of LINE_FAULTS, or several with their rates."""
        self.fault = faults.checked(fault, LINE_FAULTS)
        if self.fault == "flood":
            self._have_done(self._begin_flood)

    def recover(self) -> None:
        """Be a good line again."""
        self.fault, self._flood_until = None, 0.0

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
        self._listen_in(now)
        fault = faults.drawn(self.fault, self._random)
        if fault in ("echo", "short-echo"):
            self._write(data[fault == "short-echo" :])
        while len(self._received) >= 4:
            size = self._size()
            if len(self._received) < size:
                return
            request, self._received = self._received[:size], self._received[size:]
            self._requested(request, now)
            if fault == "crackle":
                self._write(self._random.randbytes(self._random.randint(1, 3)))
            elif fault == "flood":
                self._begin_flood()
            elif fault == "foreign":
                self._ask_as_another()

    def _size(self) -> int:
        """How long the request is that begins with what was received; of a unit's own codes it knows the frames."""
        unit = self.units.get(self._received[0])
        for frame in unit.frames if unit else ():
            if self._received[: len(frame)] == frame:
                return len(frame)
        if self._received[1] != WRITE_MANY or len(self._received) < 8:
            return 8
        return 9 + self._received[6]

    def _requested(self, request: bytes, now: float) -> None:
        """Note *request*, which began at *now*, and schedule what answers it."""
        self._judge_silence(now)
        statistics, character = self.statistics, self.line.character
        statistics.requests += 1
        statistics.request_bytes += len(request)
        end = now + len(request) * character
        self._busy_until = max(self._busy_until, end)
        unit = self.units.get(request[0])
        known = unit is not None and request in unit.frames
        if not known and crc16(request[:-2]) != request[-2:]:
            statistics.bad_frames += 1
            self._received = b""  # an instrument waits for the next silence
            return
        if unit is not None and self._spoken not in (None, self.speeds.get(unit.unit_id, self._spoken)):
            statistics.misheard += 1
            return
        fault = faults.drawn(unit.fault, self._random) if unit else None
        reply = self._reply(unit, request, fault) if unit else None
        if unit is None or reply is None:
            return
        delay = max(self.line.silence, unit.profile.reply_delay_ms / 1000)
        statistics.replies += 1
        statistics.reply_bytes += len(reply)
        statistics.wire_seconds += (len(request) + len(reply)) * character + delay + self.line.silence
        begins = end + delay if self.pace else now
        if fault == "late":
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

    def _reply(self, unit: EmulatedUnit, request: bytes, fault: str | None) -> bytes | None:
        if fault == "silent":
            return None
        if fault in ("exception", "busy"):
            return unit._exception(request[1], BUSY if fault == "busy" else DEVICE_FAILURE)
        reply = unit.answer(request)
        damage = faults.DAMAGE.get(fault or "")
        return reply if reply is None or damage is None else damage(reply, self._random)

    def _spoilt(self, reply: bytes) -> bytes:
        return faults.spoilt(reply, self._random)

    def _listen_in(self, now: float) -> None:
        """Note how the master speaks; a change needs silence before it, as a request does."""
        if not self.speeds or self._terminal is None:
            return
        spoken = seen_speed(self._terminal[0])
        if self._spoken not in (None, spoken):
            self.statistics.switches += 1
            self.statistics.violations += now - self._busy_until < 0.9 * SWITCH_SECONDS
        self._spoken, self.line = spoken, spoken.line

    def _begin_flood(self) -> None:
        """Bytes at the speed of the line: a while, or without end where that is the whole fault."""
        self._flood_until = float("inf") if self.fault == "flood" else time.monotonic() + faults.FLOOD_SECONDS
        self._flood()

    def _flood(self) -> None:
        now = time.monotonic()
        if now < self._flood_until:
            seconds = self.line.silence / 2
            piece = self._random.randbytes(max(1, round(seconds / self.line.character)))
            self._order += 1
            heapq.heappush(self._pending, (now + seconds, self._order, piece))
            self._flooding = self._order

    def _ask_as_another(self) -> None:
        """Another master's exchange, behind the present one."""
        asked, answered = faults.foreign_exchange(self._random.choice(list(self.units)), self._random)
        ends = self._schedule(asked, self._busy_until + faults.FOREIGN_SECONDS)
        self._schedule(answered, ends + max(self.line.silence, faults.FOREIGN_SECONDS))

    def _patience(self, unit: EmulatedUnit, request: bytes) -> float:
        count = number_at(request, 4) if request[1] in TABLE else 1
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
            _, order, piece = heapq.heappop(self._pending)
            self._write(piece)
            if order == self._flooding:
                self._flood()

    def _write(self, data: bytes) -> None:
        if self._terminal is not None:
            with contextlib.suppress(BlockingIOError):  # nobody listens: the bytes are gone, as on a wire
                os.write(self._terminal[0], data)


def emulated_bus(
    settings: BusSettings,
    devices: Sequence[modbus.ModbusSettings | AnalyserSettings | CurrentSettings | DioSettings],
    folders: Sequence[Path] = (),
    values: Mapping[str, Values | Callable[[], Values]] | None = None,
    *,
    link: Path | None = None,
    pace: bool = True,
    seed: int = 0,
    speed: float = 1.0,
) -> EmulatedBus:
    """The line of *settings* with its *devices* on it; *values* holds a replay by device name.

    Analysers work *speed* times as fast as they would.
    """
    given = values or {}
    units = [_emulated(device, folders, given.get(device.name), speed) for device in devices]
    bits = bits_per_character(settings.parity, settings.stopbits)
    speeds = {d.unit_id: d.speed(settings) for d in devices}
    try:
        return EmulatedBus(settings.baudrate, bits, units, link=link, pace=pace, speeds=speeds, seed=seed)
    except ValueError as error:
        raise ProfileError(f"bus {settings.name}: {error}") from error


def _emulated(
    device: modbus.ModbusSettings | AnalyserSettings | CurrentSettings | DioSettings,
    folders: Sequence[Path],
    values: Values | Callable[[], Values] | None,
    speed: float,
) -> EmulatedUnit:
    if isinstance(device, AnalyserSettings):
        return EmulatedAnalyser(device, values, speed=speed)
    if isinstance(device, CurrentSettings):
        return EmulatedCurrents(device, values)
    if isinstance(device, DioSettings):
        return EmulatedDio(device)
    profile = load(device.profile, folders).starting_at(device.start_address)
    return EmulatedUnit(profile, device.unit_id, device.variant, values)


def _sharpen_timers() -> None:
    """Have this thread woken on time: Linux lets timers slip by 50 µs unless told otherwise (prctl 29)."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)
