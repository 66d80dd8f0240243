"""One serial line: the silence between frames, what is asked and answered on it, and what is none of the two."""

from __future__ import annotations

import logging
import struct
import termios
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import minimalmodbus  # type: ignore[import-untyped]

from drivers import port as ports
from drivers.base import (
    BadReply,
    BusSettings,
    DeviceBusy,
    DeviceError,
    DeviceException,
    LineStuck,
    NoReply,
    PortLost,
)
from drivers.line import OVERHEAD_BYTES, REQUEST_BYTES, TABLE, Line, crc16, frames_in, is_request
from drivers.port import Port, Speed, open_port
from drivers.profile import Profile, Write
from drivers.registers import Request
from drivers.statistics import Statistics
from station.model import dataclass, replace

if TYPE_CHECKING:
    from drivers.tap import Tap

log = logging.getLogger(__name__)

EXCEPTIONS = {  # Modbus application protocol V1.1b3, 7
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still at work",
    6: "device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target does not answer",
}
BUSY = (5, 6)
REFUSALS = (1, 2, 3)  # of what was asked, and not of the moment
EXCEPTION_BIT = 0x80
ECHOED = (5, 6)  # of these the reply is the whole request
STALLED_SECONDS = 0.05  # no byte for so long inside a frame: the rest will not come (USB adapters hold 16 ms)
LATEST_SECONDS = 0.25  # a unit that missed its worst time, or cannot be asked otherwise, is left alone for so long more
MOST_AT_ONCE = 4096  # bytes taken from a stream in one go
NOISE_SECONDS = 1.0  # a line that does not fall silent for so long is stuck
LONGEST_QUIET = 5.0  # seconds a line is kept quiet for one unit's sake, however slow it was seen to be
OWED_SECONDS = 10.0  # a reply that has not come for so long will not
SWITCH_SECONDS = 0.05  # silence on both sides of a change of speed, so that nobody hears half a character
WIDEST = 16  # registers read along at most to give a request another length
FOREIGN_FRAMES = 3  # sound frames nobody here asked for, until another master is spoken of
MOST_STRAY = 300  # bytes looked into for frames at once; the longest frame has 256
STRAY_NAP = 0.02  # seconds in which more of a stray frame may come: an adapter holds bytes for 16 ms
MOST_CONFIRMED = 3  # replies owed, up to which a unit is asked so often that one more is its own


class Raw(NamedTuple):
    """A request of any *function* with *data*, whose answer has *answer_bytes* bytes or counts them itself."""

    function: int
    data: bytes
    answer_bytes: int | None = None
    crc_high_first: bool = False

    @property
    def reply_bytes(self) -> int:
        """Length of the whole reply frame, or the least it can be."""
        return 4 + (1 if self.answer_bytes is None else self.answer_bytes)

    @property
    def text(self) -> str:
        """What is asked, for messages."""
        return f"function {self.function} {self.data.hex(' ').upper()}".rstrip()


@dataclass(slots=True)
class Owed:
    """A request that was given up; its reply is likely to come until *until*, if it comes at all."""

    shape: tuple[int, int]  # the function and the length of the reply, which is all that tells one from another
    sent_at: float
    until: float
    silent: bool = False  # nothing at all came to it


class Bus:
    """A serial line with its one master; belongs to one thread.

    The port opens at the first use, and again after it was lost; a link is followed anew each time.  *note* is
    told what the station should remember: a code and its arguments (station.engine.Engine.note).

    Whoever borrows the line between two polls asks through *read*, as instruments do, and inside *speaking* with
    serial settings of its own; the next one to ask finds the line as the configuration has it:

        with bus.speaking(Speed(19200, "E")):
            bus.read(7, Request("holding", 0, 1, ()), profile)

    *statistics* holds what each unit has been asked and answered, *owed* what it may still answer, *foreign* how
    many sound frames were on the line that nobody here asked for.
    """

    def __init__(
        self,
        settings: BusSettings,
        open_port: Callable[[BusSettings], Port] = open_port,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        note: Callable[..., None] = lambda code, **arguments: None,
    ) -> None:
        self.settings = settings
        self.own_speed = Speed(settings.baudrate, settings.parity, settings.stopbits)
        self.line = self.own_speed.line
        self.speeds: dict[int, Speed] = {}  # of the units that cannot be set as the line is
        self.statistics: defaultdict[int, Statistics] = defaultdict(Statistics)
        self.owed: dict[int, list[Owed]] = {}
        self.foreign = 0
        self.beat: Callable[[], None] = lambda: None  # called before each exchange, none of which blocks for long
        self.tap: Tap | None = None
        self.monotonic = monotonic
        self._open_port, self._sleep, self._note = open_port, sleep, note
        self.note = note
        self._wire: _Wire | None = None
        self._borrowed: Speed | None = None
        self._refuses_more: set[int] = set()  # units that answer an exception when registers are read along
        self._answers_no_probe: set[int] = set()

    @contextmanager
    def speaking(self, speed: Speed | None) -> Iterator[None]:
        """Have what is asked inside sent with *speed* (None: the line's own); the port switches when it has to.

        Between two speeds the line is silent for SWITCH_SECONDS before and after; who listens at another speed
        hears noise and has to pass over it.
        """
        before = self._borrowed, self.line
        if speed is not None:
            self._borrowed, self.line = speed, speed.line
        try:
            yield
        finally:
            self._borrowed, self.line = before

    def speed_of(self, unit_id: int) -> Speed:
        """How *unit_id* is spoken to now."""
        return self._borrowed or self.speeds.get(unit_id, self.own_speed)

    def watch(self, tap: Tap | None) -> None:
        """Have every byte that goes through the port noted by *tap*; None ends that.  Only from this bus's thread."""
        self.tap = tap
        if self._wire is not None:
            self._wire.watch(tap)

    def open(self) -> None:
        """Have the port open; raise PortLost where that is not possible."""
        self._opened()

    def read(self, unit_id: int, request: Request, profile: Profile) -> bytes:
        """The register bytes of *unit_id*'s reply to *request*, within the times *profile* gives.

        A Modbus reply does not say which registers it carries.  So after a failure the line stays quiet for as
        long as the unit was lately seen to take, twice, and then it is asked something of another length, which
        tells a reply that is later still from the one waited for: some registers more where the profile has
        them, a few less where it has not.  Where neither is possible it is asked twice, and both have to agree.
        """
        owed = self._still_owed(unit_id)
        self._await_first_late(unit_id, owed, request, profile)
        shapes = {one.shape for one in owed}
        if _shape(request) not in shapes:
            return self._exchange(unit_id, request, profile)
        if unit_id not in self._refuses_more:
            for wider in _wider(request, profile):
                if _shape(wider) not in shapes:
                    payload = self._read_along(unit_id, wider, profile)
                    if payload is None:
                        break
                    first = 2 * (request.address - wider.address)
                    return payload[first : first + 2 * request.count]
        self._leave_alone(owed)
        if not self.owed.get(unit_id) or self._probe(unit_id, request, profile):
            return self._exchange(unit_id, request, profile)
        return self._confirmed(unit_id, request, profile)

    def write(self, unit_id: int, write: Write, profile: Profile) -> None:
        """Have *unit_id* do *write*, once; whoever gets no reply does not know whether it did."""
        self._leave_alone(self._still_owed(unit_id))
        self._exchange(unit_id, write, profile)
        if write.function in ECHOED and self._wire is not None:
            # The reply is the request over again, so this may have been an adapter's echo, and the reply yet to come.
            self._wire.keep_quiet(profile.timeout_seconds(self._wire.line, write))

    def raw(
        self, unit_id: int, function: int, data: bytes, profile: Profile, *, answer_bytes: int | None = None
    ) -> bytes:
        """What *unit_id* answers to any *function* with *data*: the bytes between function and CRC.

        For what the library refuses: codes of the maker's own, reads of no registers, other CRCs (the profile's
        *crc_high_first*).  The answer has *answer_bytes* bytes, or its first byte says how many follow.
        """
        request = Raw(function, data, answer_bytes, profile.crc_high_first)
        self._leave_alone(self._still_owed(unit_id))
        answer = self._exchange(unit_id, request, profile)
        if self._wire is not None and any(one.shape[0] == function for one in self._still_owed(unit_id)):
            patience = profile.timeout_seconds(self._wire.line, request)
            self._owe(unit_id, request, patience, answered=True)  # this may have been another's
        if answer == data and self._wire is not None:  # or its echo
            self._wire.keep_quiet(profile.timeout_seconds(self._wire.line, request))
        return answer

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass; nobody else speaks on the line meanwhile."""
        end = self.monotonic() + seconds
        while (left := end - self.monotonic()) > 0:
            self.beat()
            self._sleep(min(left, LONGEST_QUIET))

    def excuse(self, unit_id: int) -> None:
        """The last time-out of *unit_id* was none: it slept, and the first request of such an instrument is lost."""
        statistics = self.statistics[unit_id]
        statistics.timeouts -= 1
        statistics.woken += 1
        for one in self.owed.get(unit_id, ()):
            one.silent = False

    def listen(self, patience: float) -> bytes:
        """What came on a line that belongs to one instrument; waits up to *patience* seconds for the first byte."""
        wire = self._opened()
        try:
            wire.speak(self._borrowed or self.own_speed)
            return wire.listen(patience)
        except (OSError, termios.error) as error:
            raise self._lost(error) from error

    def say(self, request: bytes, *, keep: bool = False) -> None:
        """Send *request* on a line that belongs to one instrument; what had come before is dropped unless *keep*."""
        wire = self._opened()
        try:
            wire.speak(self._borrowed or self.own_speed)
            wire.say(request, keep)
        except (OSError, termios.error) as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Let go of the port; the next read opens it again."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    # -- replies that may still come

    def _still_owed(self, unit_id: int) -> list[Owed]:
        owed = self.owed.get(unit_id)
        if not owed:
            return []
        now = self.monotonic()
        owed[:] = [one for one in owed if now < one.sent_at + OWED_SECONDS]
        return owed

    def _leave_alone(self, owed: list[Owed]) -> None:
        """Give the replies *owed* as long again to come as they were waited for, the more of them the longer."""
        if not owed:
            return
        last = owed[-1]
        patience = max(last.until - last.sent_at, LATEST_SECONDS) * 2 ** (len(owed) - 1)
        self._listen_until(last.until + min(patience, LONGEST_QUIET))

    def _await_first_late(self, unit_id: int, owed: list[Owed], request: Request, profile: Profile) -> None:
        """Give a unit that had answered, and never late, a little longer when it misses its time for the first time.

        How late it is going to be is not known yet; and one that does one thing after the other would answer
        *request* no sooner than behind the reply that is out, and be late again.
        """
        if not owed or not owed[0].silent or owed[-1].sent_at != owed[0].sent_at:
            return
        statistics, timeout = self.statistics[unit_id], profile.timeout_seconds(self.speed_of(unit_id).line, request)
        if statistics.worst_ms and statistics.slowest(self.monotonic()) <= timeout:
            self._listen_until(owed[0].until + LATEST_SECONDS, lambda: not owed)

    def _listen_until(self, moment: float, enough: Callable[[], bool] = lambda: False) -> None:
        if self._wire is None:
            return
        self.beat()
        try:
            self._wire.listen_until(moment, enough)
        except (OSError, termios.error) as error:
            raise self._lost(error) from error

    def _read_along(self, unit_id: int, wider: Request, profile: Profile) -> bytes | None:
        """What *wider* brings, or None when the unit does not want to be asked that."""
        try:
            return self._exchange(unit_id, wider, profile)
        except DeviceBusy:
            raise
        except DeviceException as error:
            if error.code in REFUSALS:
                self._refuses_more.add(unit_id)
            return None

    def _probe(self, unit_id: int, request: Request, profile: Profile) -> bool:
        """Whether the unit has answered something of another length, after which nothing older can come."""
        if unit_id in self._answers_no_probe or (request.count == 1 and (profile.holes or not profile.bridge_gaps)):
            return False
        width = request.places[0].width if request.places else 1
        shapes = {one.shape for one in self.owed[unit_id]}
        others = [replace(request, count=n, places=()) for n in dict.fromkeys((width, 1, 2)) if n != request.count]
        other = next((o for o in others if _shape(o) not in shapes and o.count <= profile.max_registers), None)
        older = sum(one.shape[0] == request.function for one in self.owed[unit_id])
        if other is None or older > MOST_CONFIRMED:
            return False
        for _ in range(older + 1):
            try:
                self._exchange(unit_id, other, profile)
                break
            except DeviceException:
                continue  # an answer all the same, if not to an older request: so many of them and one more is
            except DeviceError:
                if not self.statistics[unit_id].late:
                    self._answers_no_probe.add(unit_id)  # some instruments answer only what is usual
                raise
        self._answers_no_probe.discard(unit_id)
        self.owed[unit_id] = [one for one in self.owed[unit_id] if one.shape == _shape(other)]
        return True

    def _confirmed(self, unit_id: int, request: Request, profile: Profile) -> bytes:
        """The answer to *request*, come once more than replies are owed: older ones would come first, and differ."""
        owed = sum(one.shape == _shape(request) for one in self.owed[unit_id])
        answers = set()
        if owed <= MOST_CONFIRMED:
            answers = {self._exchange(unit_id, request, profile) for _ in range(owed + 1)}
        if len(answers) != 1:
            raise BadReply(
                f"{self.settings.port} unit {unit_id}: {request.text} cannot be told from older replies that may come"
            )
        self.owed.pop(unit_id, None)
        return answers.pop()

    def _heard(self, frame: bytes, at: float | None, listening: bool) -> bool:
        """Make out a sound *frame* that was not waited for; whether it is another master's request.

        It came *at* that moment, or (None) some time since the last request; *listening* for an answer, or later.
        """
        assert self._wire is not None
        unit_id, shape = frame[0], (frame[1] & ~EXCEPTION_BIT, len(frame))
        refusal, owed = frame[1] & EXCEPTION_BIT, self.owed.get(unit_id, [])
        if due := [one for one in owed if one.shape == shape or (refusal and one.shape[0] == shape[0])]:
            owed.remove(due[0])
            # An older one may have been answered by an exception long ago: the unit is not taken for slower than it is.
            self.statistics[unit_id].came_late(0.0 if at is None else at - due[-1].sent_at)
            self._answers_no_probe.discard(unit_id)
            return False
        if frame == self._wire.request:
            self.statistics[unit_id].echoes += 1
            return False
        asks = is_request(frame)
        if not asks and (unit_id in self.statistics or listening):  # an answer to us, if a wrong one
            if unit_id in self.statistics:
                self.statistics[unit_id].unasked += 1
            return False
        self.foreign += 1
        if self.foreign == FOREIGN_FRAMES:
            log.warning(
                "bus %s: another master speaks on this line (%s was asked by nobody here); a line has one master",
                self.settings.name,
                frame.hex(" ").upper(),
            )
            self._note("foreign_traffic", bus=self.settings.name, frame=frame.hex(" ").upper())
        return asks

    # -- one exchange

    def _exchange(self, unit_id: int, request: Request | Write | Raw, profile: Profile) -> bytes:
        statistics = self.statistics[unit_id]
        timeout = 0.0
        self.beat()
        wire = self._opened()
        try:
            line = wire.speak(self.speed_of(unit_id))
            timeout = profile.timeout_seconds(line, request) + wire.slack
            wire.await_silence(self._gap(profile, line), timeout, statistics)
            statistics.requests += 1
            payload = wire.command(unit_id, request, timeout, statistics)
        except minimalmodbus.ModbusException as error:
            raise self._failed(unit_id, error, request, timeout, statistics) from error
        except LineStuck:
            self.close()
            raise
        except (OSError, termios.error) as error:
            self._owe(unit_id, request, timeout)
            raise self._lost(error) from error
        return payload

    def _lost(self, error: OSError | termios.error) -> PortLost:
        """The port let go of, and why."""
        self.close()
        return PortLost(f"{self.settings.port}: the port is lost: {ports.cause(error)}")

    def _gap(self, profile: Profile, line: Line) -> float:
        gap_ms = profile.gap_ms if self.settings.gap_ms is None else self.settings.gap_ms
        return max(line.silence, gap_ms / 1000)

    def _opened(self) -> _Wire:
        if self._wire is None:
            try:
                port = self._open_port(self.settings)
            except PortLost:
                raise
            except (OSError, termios.error, ValueError) as error:
                raise PortLost(f"{self.settings.port}: cannot be opened: {ports.cause(error)}") from error
            self._wire = _Wire(port, self.settings.port, self.own_speed, self.monotonic, self._sleep, self._heard)
            self._wire.watch(self.tap)
        return self._wire

    def _failed(
        self, unit_id: int, error: Exception, request: Request | Write | Raw, timeout: float, statistics: Statistics
    ) -> DeviceError:
        """The library's *error* in our words; told by the frame that came, not by the library's text."""
        assert self._wire is not None
        wire, frame = self._wire, self._wire.frame
        where = f"{self.settings.port} unit {unit_id}"
        if _is_exception(frame, unit_id, request.function, wire.crc):
            code = frame[2]
            statistics.refused(code)
            if any(one.shape[0] == request.function for one in self._still_owed(unit_id)):
                self._owe(unit_id, request, timeout, answered=True)  # it does not say to which request it is
            text = f"{where}: exception {code} ({EXCEPTIONS.get(code, 'not in the standard')}) to {request.text}"
            if code in BUSY:
                statistics.busy += 1
                return DeviceBusy(text, code)
            return DeviceException(text, code)
        self._owe(unit_id, request, timeout)
        if not frame:
            statistics.timeouts += 1
            return NoReply(f"{where}: no reply to {request.text} within {timeout:.2g} s")
        statistics.bad_replies += 1
        if len(frame) < OVERHEAD_BYTES or wire.crc(frame[:-2]) != frame[-2:]:
            statistics.crc_errors += 1
        return BadReply(f"{where}: {frame.hex(' ').upper()} is not the reply to {request.text}")

    def _owe(self, unit_id: int, request: Request | Write | Raw, timeout: float, *, answered: bool = False) -> None:
        """Remember that the reply to *request* may still come, and keep the line quiet as long as it is likely to.

        *answered*: something came, which may have been an older request's.  One reply is out then, as before, and is
        waited for as long as the older one was: a unit that answers exceptions all the time owes nothing for ever.
        """
        assert self._wire is not None
        slow = 2 * self.statistics[unit_id].slowest(self.monotonic())
        until = self._wire.keep_quiet(min(max(timeout, slow), max(timeout, LONGEST_QUIET)))
        owed = self.owed.setdefault(unit_id, [])
        older = [one.sent_at for one in owed if one.shape[0] == request.function] if answered else []
        sent_at = min(older, default=self._wire.sent_at)
        known = {one.shape for one in owed if one.sent_at == sent_at}
        silent = not self._wire.frame
        owed += [Owed(shape, sent_at, until, silent) for shape in _shapes(request) if shape not in known]


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
        speed: Speed,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        heard: Callable[[bytes, float | None, bool], bool],
    ) -> None:
        self._port, self._monotonic, self._sleep, self._heard = port, monotonic, sleep, heard
        self._speed, self.line = speed, speed.line
        self.port = name
        self.frame = b""  # the last thing that came: a reply, or what was taken for none
        self.request = b""  # the last one sent
        self._counted = False  # the reply's length is what its own first byte says
        self._echoes = self._echoed = False  # the adapter handed the last request back; it did so with this one
        self.crc: Callable[[bytes], bytes] = crc16
        self._timeout = self.sent_at = 0.0
        self._quiet_since = monotonic()
        self._stall = getattr(port, "stall_seconds", STALLED_SECONDS)
        self.slack = getattr(port, "slack_seconds", 0.0)  # seconds that a network may take beside the line
        self._blocked_until = 0.0
        self._foreign_unit, self._foreign_until = -1, 0.0  # whose reply to another master is due, and until when
        self._statistics = Statistics()
        self._instrument = minimalmodbus.Instrument(self, 1)
        self._instrument.clear_buffers_before_each_transaction = False  # await_silence does, and counts

    def watch(self, tap: Tap | None) -> None:
        """Have *tap* note what goes through the port, or nobody."""
        plain = getattr(self._port, "tapped", self._port)
        if tap is not None:
            from drivers.tap import TappedPort

            plain = TappedPort(plain, tap.note)
        self._port = plain

    def command(self, unit_id: int, request: Request | Write | Raw, timeout: float, statistics: Statistics) -> bytes:
        """The register bytes of the reply to *request*.

        The library's public calls turn each register into a checked int, 80 % of their time at 100 registers;
        its private _perform_command gives the bytes with CRC, unit and function checked.  A test holds it to that.
        """
        self.frame, self._timeout, self._statistics = b"", timeout, statistics
        self._counted, self.crc = False, crc16
        if isinstance(request, Raw):
            return self._raw(unit_id, request)
        self._instrument.address = unit_id
        asked = request.body if isinstance(request, Write) else struct.pack(">HH", request.address, request.count)
        try:
            payload: bytes = self._instrument._perform_command(request.function, asked)
        finally:
            self._quiet_since = self._monotonic()
        if isinstance(request, Write):
            if payload != asked[:4]:
                raise minimalmodbus.InvalidResponseError("something else was written")
            payload = b""
        elif len(payload) != 1 + 2 * request.count or payload[0] != 2 * request.count:
            raise minimalmodbus.InvalidResponseError("wrong byte count")
        statistics.answered(self._quiet_since - self.sent_at)
        return payload[1:]

    def _raw(self, unit_id: int, request: Raw) -> bytes:
        """What comes between function and CRC; what is no answer raises the library's error, as the rest does."""
        self.crc = _crc16_high_first if request.crc_high_first else crc16
        self._counted = request.answer_bytes is None
        head = bytes((unit_id, request.function))
        asked = head + request.data
        try:
            self.write(asked + self.crc(asked))
            frame = self.read(request.reply_bytes)
        finally:
            self._quiet_since = self._monotonic()
        if not frame:
            raise minimalmodbus.NoResponseError("no reply")
        if frame[:2] != head or not self._answers(frame, request.reply_bytes) or self.crc(frame[:-2]) != frame[-2:]:
            raise minimalmodbus.InvalidResponseError("not the reply")
        self._statistics.answered(self._quiet_since - self.sent_at)
        return frame[2:-2]

    def speak(self, speed: Speed) -> Line:
        """Change to *speed* if the port has another one, with silence before and after; the line as it is then."""
        if speed == self._speed:
            return self.line
        self.listen_until(max(self._blocked_until, self._quiet_since + SWITCH_SECONDS))
        ports.change_speed(self._port, self.port, speed)
        self._speed, self.line = speed, speed.line
        self._quiet_since = now = self._monotonic()
        self._blocked_until = max(self._blocked_until, now + SWITCH_SECONDS)
        return self.line

    def await_silence(self, gap: float, patience: float, statistics: Statistics) -> None:
        """Wait until nothing has been on the line for *gap* seconds; what still comes is looked at, dropped, counted.

        Behind another master's request its reply is waited for, *patience* seconds: it could be of the length ours
        is going to be.
        """
        give_up, self._timeout = self._monotonic() + NOISE_SECONDS, patience
        while True:
            if (free_at := max(self._blocked_until, self._foreign_until)) > self._monotonic():
                statistics.leftover_bytes += self.listen_until(free_at)
                if self._monotonic() > give_up + 2 * LONGEST_QUIET:
                    raise self._stuck()
                continue
            free_at = self._quiet_since + gap
            now = self._monotonic()
            if free_at > now:
                self._sleep(free_at - now)
            if not self._port.in_waiting:
                return
            statistics.leftover_bytes += self._take_strays(gap)
            now = self._monotonic()
            if now > give_up + LONGEST_QUIET or (now > give_up and now > self._blocked_until + NOISE_SECONDS):
                raise self._stuck()

    def _stuck(self) -> LineStuck:
        return LineStuck(f"{self.port}: the line does not fall silent, so nobody on it can be asked")

    def listen_until(self, moment: float, enough: Callable[[], bool] = lambda: False) -> int:
        """Send nothing until *moment*, or *enough* came; make out what comes, and return how many bytes that were."""
        heard = 0
        began = self._monotonic()
        while (left := moment - self._monotonic()) > 0 and not enough():
            self._set_timeout(left)
            first = bytes(self._port.read(1))
            if not first:
                continue  # the time is over, or a little is left
            heard += self._take_strays(self.line.silence, first)
            if self._monotonic() > began + LONGEST_QUIET + NOISE_SECONDS:
                break
        return heard

    def _take_strays(self, gap: float, begun: bytes = b"") -> int:
        """Take what is on the line until it falls silent for *gap*, and make it out; its length."""
        data, dropped, nap = begun, 0, max(gap, STRAY_NAP)
        now = self._monotonic()
        lately = begun or now - self._quiet_since <= LATEST_SECONDS  # else it may have come long ago
        if begun:
            self._sleep(nap)
        until = self._monotonic() + NOISE_SECONDS
        while (waiting := self._port.in_waiting) and self._monotonic() < until:
            room = MOST_STRAY - len(data)
            if room > 0:
                data += bytes(self._port.read(min(waiting, room)))
            else:
                dropped += waiting
                self._port.reset_input_buffer()
            self._sleep(nap)
        self._quiet_since = self._monotonic()
        self._port.reset_input_buffer()
        for frame in frames_in(data):
            self._made_out(frame, now if lately else None, listening=bool(begun))
        return len(data) + dropped

    def _made_out(self, frame: bytes, at: float | None, *, listening: bool = True) -> bool:
        """Whether *frame* is another master's request; the line is its own then, until the reply is here or overdue."""
        asks = self._heard(frame, at, listening)
        if asks:
            self._foreign_unit = frame[0]
            self._foreign_until = self._monotonic() + min(self._timeout, LONGEST_QUIET)
        elif frame[0] == self._foreign_unit:
            self._foreign_until = 0.0
        return asks

    def keep_quiet(self, seconds: float) -> float:
        """Send nothing until *seconds* after the last request, for its reply may still come; returns when."""
        self._blocked_until = self.sent_at + seconds
        return self._blocked_until

    def listen(self, patience: float) -> bytes:
        """What has come, at most MOST_AT_ONCE bytes of it; waits up to *patience* seconds for the first."""
        self._set_timeout(patience)
        first = bytes(self._port.read(1))
        waiting = min(self._port.in_waiting, MOST_AT_ONCE - 1) if first else 0
        return first + bytes(self._port.read(waiting)) if waiting else first

    def say(self, request: bytes, keep: bool) -> None:
        """Drop what has come, unless *keep*, and send *request*."""
        if not keep:
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
        self.request, self.sent_at = request, self._monotonic()
        self._port.write(request)

    def read(self, size: int) -> bytes:
        """The reply frame of *size* bytes, or an exception's five, or what came instead; nothing after the timeout.

        Echoes and sound frames that answer something else are dropped, and the wait goes on.
        """
        deadline = self.sent_at + self._timeout
        patience, self._echoed = self._timeout, False
        while patience > 0:
            frame = self._first_bytes(patience)
            if frame and frame in (self.request[: len(frame)], self.request[1 : len(frame) + 1]):
                frame = self._unless_echo(frame, size)
                if not frame:
                    patience = deadline - self._monotonic()
                    continue
            if len(frame) < OVERHEAD_BYTES:
                self.frame = frame or self.frame
                return frame
            self.frame = frame = self._rest(frame, size)
            if self.crc(frame[:-2]) != frame[-2:]:
                self.frame = frame = self._sought(frame, size)
                return frame
            if self._answers(frame, size):
                self._echoes = self._echoed
                return frame
            self._statistics.wrong_unit += frame[0] != self.request[0]
            if self._made_out(frame, self._monotonic()):
                return frame  # another master asks: whatever comes next may be for it
            patience = deadline - self._monotonic()
        return b""

    def _set_timeout(self, seconds: float) -> None:
        if self._port.timeout != seconds:  # setting it costs system calls
            self._port.timeout = seconds

    def _first_bytes(self, patience: float) -> bytes:
        """The first five bytes of a frame: enough to tell an exception from a reply."""
        self._set_timeout(patience)
        first = bytes(self._port.read(1))
        return self._take(first, OVERHEAD_BYTES) if first else b""

    def _unless_echo(self, frame: bytes, size: int) -> bytes:
        """*frame* and what followed it, or without our own request if that came back from the adapter.

        Some adapters lose a byte of it, at its beginning or its end, while they turn from sending to receiving.
        A reply that is the request over again comes second where the adapter is known to echo.
        """
        request, whole_reply = self.request, self._echoed or not self._echoes
        if frame != request[: len(frame)]:  # then it is request[1:], or this had not been called
            frame = self._take(frame, len(request) - 1)
            if frame != request[1:]:
                return frame
            self._note_echo()
            return b""
        frame = self._take(frame, min(size, REQUEST_BYTES))
        sound = len(frame) == size and self.crc(frame[:-2]) == frame[-2:]
        if sound and self._answers(frame, size) and (whole_reply or frame != request):
            return frame
        frame = self._take(frame, len(request))
        if frame[:-1] != request[:-1] and frame != request[:-1]:
            return frame
        self._note_echo()
        kept = frame[len(request) - 1 :]
        return b"" if kept == request[-1:] else self._take(kept, OVERHEAD_BYTES) if kept else b""

    def _note_echo(self) -> None:
        self._statistics.echoes += 1
        self._echoes = self._echoed = True

    def _rest(self, frame: bytes, size: int) -> bytes:
        """The whole frame that begins with *frame*, by the length it states itself."""
        if frame[1] & EXCEPTION_BIT:
            return frame
        own = frame[:2] == self.request[:2]
        if own and not self._counted and (frame[1] not in TABLE or frame[2] == size - OVERHEAD_BYTES):
            return self._take(frame, size)
        whole = self._take(frame, OVERHEAD_BYTES + frame[2])
        if len(whole) < REQUEST_BYTES and crc16(whole[:-2]) != whole[-2:]:
            whole = self._take(whole, REQUEST_BYTES)  # it may be another master's request, which has no byte count
        return whole

    def _sought(self, begun: bytes, size: int) -> bytes:
        """The reply in what began with *begun* and has no sound frame at its beginning, or all of it where none is in.

        An adapter that turns round by itself may put a byte or two before the reply.
        """
        if self.crc is not crc16:
            return begun
        data = self._take(begun, len(begun) + REQUEST_BYTES)
        while self._port.in_waiting and len(data) < MOST_STRAY:
            data = self._take(data, len(data) + size)
        frames = frames_in(data)
        if any(is_request(frame) and frame != self.request and len(frame) != size for frame in frames):
            return data  # another master's
        return next((frame for frame in frames if self._answers(frame, size)), data)

    def _take(self, begun: bytes, size: int) -> bytes:
        """*begun* made up to *size* bytes: sleeps while they are on the wire, stops when no more come."""
        waited = 0.0
        while (missing := size - len(begun)) > 0 and waited < self._stall + missing * self.line.character:
            waiting = self._port.in_waiting
            if waiting:
                begun += bytes(self._port.read(min(waiting, missing)))
                waited = 0.0
            else:
                nap = max(missing * self.line.character, waited)
                self._sleep(nap)
                waited += nap
        return begun

    def _answers(self, frame: bytes, size: int) -> bool:
        """Whether *frame* has the unit, the function and the length of the reply waited for."""
        if frame[0] != self.request[0] or frame[1] & ~EXCEPTION_BIT != self.request[1]:
            return False
        if frame[1] & EXCEPTION_BIT:
            return True
        return len(frame) == (OVERHEAD_BYTES + frame[2] if self._counted and len(frame) > 2 else size)


def _is_exception(frame: bytes, unit_id: int, function: int, crc: Callable[[bytes], bytes]) -> bool:
    head = bytes((unit_id, function | EXCEPTION_BIT))
    return len(frame) == OVERHEAD_BYTES and frame[:2] == head and crc(frame[:-2]) == frame[-2:]


def _crc16_high_first(frame: bytes) -> bytes:
    return crc16(frame)[::-1]


def _shape(request: Request | Write | Raw) -> tuple[int, int]:
    return request.function, request.reply_bytes


def _shapes(request: Request | Write | Raw) -> list[tuple[int, int]]:
    """What the reply to *request* may look like: a read that only starts a probe brings no bytes, or some or other."""
    if isinstance(request, Raw) and request.answer_bytes is None and request.function in TABLE:
        asked = OVERHEAD_BYTES + 2 * int.from_bytes(request.data[2:4], "big")
        return [(request.function, size) for size in sorted({OVERHEAD_BYTES, OVERHEAD_BYTES + 2, asked})]
    return [_shape(request)]


def _wider(request: Request, profile: Profile) -> list[Request]:
    """*request* with a few neighbours read along that the instrument has, each of another length.

    Values stay whole, holes are not touched.  Its places are those of *request*, whose bytes are cut out.
    """
    places = [p for p in (*profile.registers, *profile.status) if p.table == request.table]
    end = request.address + request.count
    spans = [(request.address, p.end) for p in sorted(places, key=lambda p: p.end) if p.end > end]
    spans += [(p.address, end) for p in sorted(places, key=lambda p: -p.address) if p.address < request.address]
    mapped = {a for p in places for a in range(p.address, p.end)}
    holes = {a for first, last in profile.holes for a in range(first, last + 1)}
    found: dict[int, Request] = {}
    for first, stop in spans:
        count, wanted = stop - first, set(range(first, stop))
        if count > min(request.count + WIDEST, profile.max_registers) or count in found:
            continue
        if wanted & holes or not (profile.bridge_gaps or wanted <= mapped) or (profile.pairs and (first | stop) & 1):
            continue
        if any(p.address < first < p.end or p.address < stop < p.end for p in places):
            continue
        found[count] = replace(request, address=first, count=count, places=())
    return list(found.values())
