"""One serial line: the port, the silence between frames, and what is asked and answered on it."""

from __future__ import annotations

import logging
import os
import struct
import termios
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import minimalmodbus  # type: ignore[import-untyped]
import serial

from drivers.base import BadReply, BusSettings, DeviceError, DeviceException, NoReply, PortLost
from drivers.line import OVERHEAD_BYTES, REQUEST_BYTES, Line, bits_per_character, crc16
from drivers.profile import Action, Profile
from drivers.registers import Request
from station.model import dataclass, replace

log = logging.getLogger(__name__)

EXCEPTIONS = {  # Modbus application protocol V1.1b3, 7
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still at work",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target does not answer",
}
EXCEPTION_BIT = 0x80
WRITES = (6, 16)  # their replies repeat the request's first bytes, and have no byte count
STALLED_SECONDS = 0.05  # no byte for so long inside a frame: the rest will not come (USB adapters hold 16 ms)
LATEST_SECONDS = 0.25  # a unit that missed its worst time is left alone for at least so long
MOST_AT_ONCE = 4096  # bytes taken from a stream in one go
NOISE_SECONDS = 1.0  # a line that does not fall silent for so long is not waited for


class Port(Protocol):
    """What is used of a serial port: pyserial's, a fake, or a mock."""

    timeout: float | None

    @property
    def in_waiting(self) -> int: ...

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, data: bytes, /) -> Any: ...

    def reset_input_buffer(self) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Statistics:
    """What one unit has been asked and how it answered, since the station started."""

    requests: int = 0
    timeouts: int = 0
    bad_replies: int = 0
    exceptions: int = 0
    echoes: int = 0
    leftover_bytes: int = 0


def open_port(settings: BusSettings) -> Port:
    """The serial port of *settings*, for this process alone."""
    # A pseudo-terminal takes a parity once, and refuses the next change of any setting (errno 22).
    pseudo = str(Path(settings.port).resolve()).startswith("/dev/pts/")
    port = serial.Serial(
        settings.port,
        settings.baudrate,
        parity="N" if pseudo else settings.parity,
        stopbits=1 if pseudo else settings.stopbits,
        timeout=1,
        write_timeout=2,
        exclusive=True,
    )
    if not pseudo:
        _hurry(port)
    return port


def _hurry(port: serial.Serial) -> None:
    """Have the adapter hand over bytes as they come; some collect them for 16 ms, 7 % of a line at 9600 baud."""
    try:
        port.set_low_latency_mode(True)
    except (ValueError, OSError, AttributeError, NotImplementedError):
        log.info("%s: no low-latency mode; a USB adapter may delay each reply by up to 16 ms", port.name)


class Bus:
    """A serial line with its one master; belongs to one thread.

    The port opens at the first use, and again after it was lost.
    """

    def __init__(
        self,
        settings: BusSettings,
        open_port: Callable[[BusSettings], Port] = open_port,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.line = Line(settings.baudrate, bits_per_character(settings.parity, settings.stopbits))
        self.statistics: defaultdict[int, Statistics] = defaultdict(Statistics)
        self.monotonic = monotonic
        self._open_port, self._sleep = open_port, sleep
        self._wire: _Wire | None = None
        self._late: dict[int, float] = {}  # until when a unit's reply to a given-up request may still come

    def read(self, unit_id: int, request: Request, profile: Profile) -> bytes:
        """The register bytes of *unit_id*'s reply to *request*, within the times *profile* gives.

        A Modbus reply does not say which registers it carries.  So after a failure the line stays quiet for as
        long as the instrument may take, the unit itself is left alone for as long again, and is then first asked
        something of another length, which tells a reply that is later still from the one waited for.
        """
        if unit_id in self._late:
            wait = self._late.pop(unit_id) - self.monotonic()
            if wait > 0:
                self._sleep(wait)
            self._probe(unit_id, request, profile)
        return self._exchange(unit_id, request, profile)

    def write(self, unit_id: int, action: Action, profile: Profile) -> None:
        """Have *unit_id* do *action*: write its registers, once; whoever gets no reply does not know whether it did."""
        wait = self._late.get(unit_id, 0.0) - self.monotonic()
        if wait > 0:
            self._sleep(wait)
        self._exchange(unit_id, action, profile)
        if action.function == 6 and self._wire is not None:
            # The reply is the request over again, so this may have been an adapter's echo, and the reply yet to come.
            self._wire.keep_quiet(profile.timeout_seconds(self.line, action))

    def listen(self, patience: float) -> bytes:
        """What came on a line that belongs to one instrument; waits up to *patience* seconds for the first byte."""
        wire = self._opened()
        try:
            return wire.listen(patience)
        except (OSError, termios.error) as error:
            raise self._lost(error) from error

    def say(self, request: bytes) -> None:
        """Send *request* on a line that belongs to one instrument; what had come before is dropped."""
        wire = self._opened()
        try:
            wire.say(request)
        except (OSError, termios.error) as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Let go of the port; the next read opens it again."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _probe(self, unit_id: int, request: Request, profile: Profile) -> None:
        if request.count == 1 and (profile.holes or not profile.bridge_gaps):
            return
        width = request.places[0].width if request.places else 1
        other = next(count for count in (width, 1, 2) if count != request.count)
        try:
            self._exchange(unit_id, replace(request, count=other, places=()), profile)
        except DeviceException:
            return  # an answer all the same
        except DeviceError:
            self._late.pop(unit_id, None)  # some instruments answer only what is usual: the next try asks that
            raise

    def _exchange(self, unit_id: int, request: Request | Action, profile: Profile) -> bytes:
        statistics = self.statistics[unit_id]
        timeout = profile.timeout_seconds(self.line, request)
        where = f"{self.settings.port} unit {unit_id}"
        wire = self._opened()
        try:
            wire.await_silence(self._gap(profile), where)
            statistics.requests += 1
            payload = wire.command(unit_id, request, timeout, statistics)
        except minimalmodbus.ModbusException as error:
            raise self._failed(unit_id, error, request, timeout, statistics) from error
        except (OSError, termios.error) as error:
            raise self._lost(error) from error
        return payload

    def _lost(self, error: OSError | termios.error) -> PortLost:
        """The port let go of, and why."""
        self.close()
        return PortLost(f"{self.settings.port}: the port is lost: {_cause(error)}")

    def _gap(self, profile: Profile) -> float:
        gap_ms = profile.gap_ms if self.settings.gap_ms is None else self.settings.gap_ms
        return max(self.line.silence, gap_ms / 1000)

    def _opened(self) -> _Wire:
        if self._wire is None:
            try:
                port = self._open_port(self.settings)
            except (OSError, termios.error, ValueError) as error:
                raise PortLost(f"{self.settings.port}: cannot be opened: {_cause(error)}") from error
            self._wire = _Wire(port, self.settings.port, self.line, self.monotonic, self._sleep)
        return self._wire

    def _failed(
        self, unit_id: int, error: Exception, request: Request | Action, timeout: float, statistics: Statistics
    ) -> DeviceError:
        """The library's *error* in our words; told by the frame that came, not by the library's text."""
        assert self._wire is not None
        frame = self._wire.frame
        where = f"{self.settings.port} unit {unit_id}"
        if _is_exception(frame, unit_id, request.function):
            statistics.exceptions += 1
            code = frame[2]
            text = EXCEPTIONS.get(code, "not in the standard")
            return DeviceException(f"{where}: exception {code} ({text}) to {request.text}")
        self._late[unit_id] = self._wire.keep_quiet(timeout) + max(timeout, LATEST_SECONDS)
        if not frame:
            statistics.timeouts += 1
            return NoReply(f"{where}: no reply to {request.text} within {timeout:.2g} s")
        statistics.bad_replies += 1
        return BadReply(f"{where}: {frame.hex(' ').upper()} is not the reply to {request.text}")


class _Wire:
    """An open port, as minimalmodbus wants it: what it reads is one whole reply frame."""

    is_open = True
    # The library's own silence counts 11 bits a character whatever the line has; ours is kept before it is
    # called (await_silence), so it is told of a line so fast that its rule is always met already.
    baudrate = 10**9
    timeout = None

    def __init__(
        self,
        port: Port,
        name: str,
        line: Line,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._port, self._line, self._monotonic, self._sleep = port, line, monotonic, sleep
        self.port = name
        self.frame = b""  # the last thing that came: a reply, or what was taken for none
        self._request = b""
        self._timeout = self._sent_at = 0.0
        self._quiet_since = monotonic()
        self._blocked_until = 0.0
        self._statistics = Statistics()
        self._instrument = minimalmodbus.Instrument(self, 1)
        self._instrument.clear_buffers_before_each_transaction = False  # await_silence does, and counts

    def command(self, unit_id: int, request: Request | Action, timeout: float, statistics: Statistics) -> bytes:
        """The register bytes of the reply to *request*.

        The library's public calls turn each register into a checked int, 80 % of their time at 100 registers;
        its private _perform_command gives the bytes with CRC, unit and function checked.  A test holds it to that.
        """
        self.frame, self._timeout, self._statistics = b"", timeout, statistics
        self._instrument.address = unit_id
        asked = request.body if isinstance(request, Action) else struct.pack(">HH", request.address, request.count)
        try:
            payload: bytes = self._instrument._perform_command(request.function, asked)
        finally:
            self._quiet_since = self._monotonic()
        if isinstance(request, Action):
            if payload != asked[:4]:
                raise minimalmodbus.InvalidResponseError("something else was written")
            return b""
        if len(payload) != 1 + 2 * request.count or payload[0] != 2 * request.count:
            raise minimalmodbus.InvalidResponseError("wrong byte count")
        return payload[1:]

    def await_silence(self, gap: float, where: str) -> None:
        """Wait until nothing has been on the line for *gap* seconds; what still comes is dropped and counted."""
        give_up = self._monotonic() + NOISE_SECONDS
        while True:
            free_at = max(self._quiet_since + gap, self._blocked_until)
            now = self._monotonic()
            if free_at > now:
                self._sleep(free_at - now)
            stale = self._port.in_waiting
            if not stale:
                return
            self._statistics.leftover_bytes += stale
            self._port.reset_input_buffer()
            self._quiet_since = now = self._monotonic()
            if now > max(give_up, self._blocked_until + NOISE_SECONDS):
                raise BadReply(f"{where}: not asked, the line does not fall silent")

    def keep_quiet(self, seconds: float) -> float:
        """Send nothing until *seconds* after the last request, for its reply may still come; returns when."""
        self._blocked_until = self._sent_at + seconds
        return self._blocked_until

    def listen(self, patience: float) -> bytes:
        """What has come, at most MOST_AT_ONCE bytes of it; waits up to *patience* seconds for the first."""
        if self._port.timeout != patience:
            self._port.timeout = patience
        first = bytes(self._port.read(1))
        waiting = min(self._port.in_waiting, MOST_AT_ONCE - 1) if first else 0
        return first + bytes(self._port.read(waiting)) if waiting else first

    def say(self, request: bytes) -> None:
        """Drop what has come and send *request*."""
        self._port.reset_input_buffer()
        self._port.write(request)

    # -- the port minimalmodbus sees

    def open(self) -> None:
        """Nothing: the bus opens and closes."""

    def close(self) -> None:
        """Let go of the port, whatever state it is in."""
        try:
            self._port.close()
        except (OSError, termios.error):
            log.debug("%s: closing failed", self.port)

    def write(self, request: bytes) -> None:
        """Send *request*."""
        self._request, self._sent_at = request, self._monotonic()
        self._port.write(request)

    def read(self, size: int) -> bytes:
        """The reply frame of *size* bytes, or an exception's five, or what came instead; nothing after the timeout.

        Echoes and sound frames that answer something else are dropped, and the wait goes on.
        """
        deadline = self._sent_at + self._timeout
        patience = self._timeout
        while patience > 0:
            frame = self._first_bytes(patience)
            if frame and frame == self._request[: len(frame)]:
                frame = self._unless_echo(frame, size)
                if not frame:
                    patience = deadline - self._monotonic()
                    continue
            if len(frame) < OVERHEAD_BYTES:
                self.frame = frame or self.frame
                return frame
            self.frame = frame = self._rest(frame, size)
            if self._answers(frame, size) or crc16(frame[:-2]) != frame[-2:]:
                return frame
            patience = deadline - self._monotonic()
        return b""

    def _first_bytes(self, patience: float) -> bytes:
        """The first five bytes of a frame: enough to tell an exception from a reply."""
        if self._port.timeout != patience:  # setting it costs system calls
            self._port.timeout = patience
        first = bytes(self._port.read(1))
        return self._take(first, OVERHEAD_BYTES) if first else b""

    def _unless_echo(self, frame: bytes, size: int) -> bytes:
        """*frame* and what followed it, or nothing if that is our own request come back from the adapter."""
        frame = self._take(frame, min(size, REQUEST_BYTES))
        if len(frame) == size and self._answers(frame, size) and crc16(frame[:-2]) == frame[-2:]:
            return frame
        frame = self._take(frame, len(self._request))
        if frame != self._request:
            return frame
        self._statistics.echoes += 1
        return b""

    def _rest(self, frame: bytes, size: int) -> bytes:
        """The whole frame that begins with *frame*, by the length it states itself."""
        if frame[1] & EXCEPTION_BIT:
            return frame
        if frame[:2] == self._request[:2] and (frame[1] in WRITES or frame[2] == size - OVERHEAD_BYTES):
            return self._take(frame, size)
        return self._take(frame, OVERHEAD_BYTES + frame[2])

    def _take(self, begun: bytes, size: int) -> bytes:
        """*begun* made up to *size* bytes: sleeps while they are on the wire, stops when no more come."""
        waited = 0.0
        while (missing := size - len(begun)) > 0 and waited < STALLED_SECONDS + missing * self._line.character:
            waiting = self._port.in_waiting
            if waiting:
                begun += bytes(self._port.read(min(waiting, missing)))
                waited = 0.0
            else:
                nap = max(missing * self._line.character, waited)
                self._sleep(nap)
                waited += nap
        return begun

    def _answers(self, frame: bytes, size: int) -> bool:
        """Whether *frame* has the unit, the function and the length of the reply waited for."""
        if frame[0] != self._request[0] or frame[1] & ~EXCEPTION_BIT != self._request[1]:
            return False
        return bool(frame[1] & EXCEPTION_BIT) or len(frame) == size


def _is_exception(frame: bytes, unit_id: int, function: int) -> bool:
    head = bytes((unit_id, function | EXCEPTION_BIT))
    return len(frame) == OVERHEAD_BYTES and frame[:2] == head and crc16(frame[:-2]) == frame[-2:]


def _cause(error: BaseException) -> str:
    """What the system said, without the repetitions pyserial adds."""
    number = getattr(error, "errno", None) or (error.args[0] if error.args else None)
    return os.strerror(number) if isinstance(number, int) else str(error)
