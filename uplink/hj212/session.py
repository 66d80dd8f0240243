"""One connection to one platform: bytes in, bytes out, and who is told of them, in one selector loop."""

from __future__ import annotations

import fcntl
import selectors
import sys
import termios
from collections import deque
from collections.abc import Callable, Mapping
from socket import socket
from threading import Event

from station.model import dataclass
from uplink.base import Commands, LinkDown, NotAcknowledged, Outbox
from uplink.hj212.frame import CHUNK, FrameError, FrameReader, Segment
from uplink.hj212.joining import Joiner
from uplink.hj212.keys import KeyRing
from uplink.hj212.messages import EXE_RTN, QN_RTN, tells_time, timestamp
from uplink.hj212.requests import Requests
from uplink.hj212.uploads import TURN_SECONDS, Uploads
from uplink.hj212.voice import Terms, Voice

TCP_POLL_SECONDS = 0.05  # how often the kernel is asked what it still holds, ack = "none"
FRAME_SECONDS = 5.0  # a frame begun must be there by then
ASK_SECONDS = 600.0  # between two questions for the time, while nobody vouches for it
NOISE_LIMIT = 64 * 1024  # bytes without one frame before the connection is dropped
URGENT_LIMIT = 64  # answers waiting to be written; above it nothing more is read


def unacknowledged(connection: socket) -> int:
    """Bytes written that the far end's TCP has not acknowledged yet (Linux: SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


@dataclass(slots=True)
class Notice:
    """A frame that awaits its 9013; nobody is worse off when none comes."""

    frame: bytes
    deadline: float
    sends: int = 1


class Session:
    """Serves one open, non-blocking *connection* until it breaks or the station stops."""

    def __init__(
        self,
        terms: Terms,
        connection: socket,
        outbox: Outbox,
        commands: Commands,
        password: str,
        ring: KeyRing | None = None,
    ) -> None:
        self._terms, self._settings, self._dialect = terms, terms.settings, terms.dialect
        self._connection, self._outbox = connection, outbox
        self._now = terms.context.monotonic
        self._voice = Voice(terms, outbox, password, ring)
        self._reader = FrameReader(terms.settings.receive_ceiling, terms.dialect.crc, self._voice.envelope)
        self._joiner = Joiner()
        self._begun: float | None = None  # when the frame being received began
        self._quiet_from = 0  # the reader's noise at the last good frame
        self._urgent: deque[bytes] = deque()
        self._uploads = Uploads(terms, self._voice, outbox)
        self._requests = Requests(terms, self._voice, commands, self._uploads, self._urgent.append)
        self._notices: dict[str, Notice] = {}
        self._unsent = bytearray()
        self._written = 0
        self._next_frame_at = self._next_heartbeat = self._next_asking = self._now()
        self._stuck_at = self._now() + terms.timing.tries_seconds

    def serve(self, stop: Event) -> None:
        """Turn until *stop*; raise LinkDown when the connection is of no more use."""
        self._ask()
        mailbox = self._requests.mailbox
        with selectors.DefaultSelector() as selector:
            selector.register(self._outbox.fileno(), selectors.EVENT_READ)
            selector.register(mailbox.fileno(), selectors.EVENT_READ)
            selector.register(self._connection, selectors.EVENT_READ, self._on_ready)
            try:
                while not stop.is_set():
                    self._one_turn(selector)
            finally:
                self._requests.results()  # nobody hears them, but who asks again will
                self._requests.tell(now=True)
                mailbox.close()
                self._uploads.close()

    def _one_turn(self, selector: selectors.BaseSelector) -> None:
        if self._outbox.wait(0):
            self._uploads.wake()
        self._requests.results()
        self._requests.tell()
        if self._dialect.ack == "none" and self._uploads.flying:
            self._uploads.through(self._written - unacknowledged(self._connection))
        self._give_up_frame()
        self._beat()
        self._ask_the_time()
        self._repeat_notices()
        self._send()
        selector.modify(self._connection, self._events(), self._on_ready)
        for key, events in selector.select(self._sleep()):
            if key.data:
                key.data(events)

    def _events(self) -> int:
        reading = len(self._urgent) < URGENT_LIMIT
        return selectors.EVENT_READ * reading | selectors.EVENT_WRITE * (bool(self._unsent) or not reading)

    def _sleep(self) -> float:
        """Until the next thing is due, never longer than a turn."""
        now = self._now()
        due = [now + TURN_SECONDS]
        if self._next_frame_at > now:
            due.append(self._next_frame_at)
        if not self._unsent:
            waiting = [*self._uploads.deadlines(), *(notice.deadline for notice in self._notices.values())]
            due += [max(deadline, self._next_frame_at) for deadline in waiting]
        if self._uploads.flying and self._dialect.ack == "none":
            due.append(now + TCP_POLL_SECONDS)
        return max(0.0, min(due) - now)

    def _on_ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ:
            self._receive()

    # -- sending

    def _send(self) -> None:
        """Frames as long as spacing and the socket allow: answers, then resends, then new uploads."""
        now = self._now()
        while not self._unsent and now >= self._next_frame_at:
            frame = self._urgent.popleft() if self._urgent else self._uploads.frame(now, self._written)
            if not frame:
                return
            tap = self._terms.tap
            tap.note("out", self._voice.in_plain(frame) if tap.watched else frame)
            self._unsent += frame
            self._next_frame_at = now + self._settings.spacing_seconds
            self._flush()
        if self._unsent and now >= self._stuck_at:
            seconds = self._terms.timing.tries_seconds
            raise NotAcknowledged(f"{self._terms.place}: takes no more bytes since {seconds:g} s")

    def _flush(self) -> None:
        try:
            while self._unsent:
                count = self._connection.send(self._unsent)
                self._written += count
                self._stuck_at = self._now() + self._terms.timing.tries_seconds
                del self._unsent[:count]
        except BlockingIOError:
            return
        except OSError as error:
            raise self._down(f"the connection broke ({error.strerror})") from error

    # -- of its own accord

    def _ask(self) -> None:
        """After connecting: for the clock (1013) where that is wanted, for a new key (1014) where it is due."""
        point, ring = next(iter(self._terms.points.values())), self._voice.ring
        if self._settings.ask_clock and self._terms.context.trusted():
            self._notice("1013", "", point.mn)
        if ring and ring.created and ring.old(self._terms.context.now()):
            self._terms.counts["old keys"] += 1
            self._terms.note("key_old", platform=self._settings.name, created=ring.created.isoformat())
            self._notice("1014", f"SKCreateTime={timestamp(ring.created, self._terms.context.zone)}", point.mn)

    def _ask_the_time(self) -> None:
        """While nobody vouches for the time: on a private network the platform's may be the only clock there is."""
        now = self._now()
        if now < self._next_asking or self._terms.context.trusted():
            return
        self._next_asking = now + ASK_SECONDS
        if tells_time(self._settings.standard):
            self._notice("1013", "", next(iter(self._terms.points.values())).mn)

    def _notice(self, cn: str, data: str, mn: str) -> None:
        """Queue a notice; it is sent again until its 9013 comes, and then given up without harm."""
        qn = self._voice.number()
        segment = self._voice.own(self._terms.devices[mn], cn, data, qn=qn, answer=True)
        frame = self._voice.frame(segment)
        self._notices[qn] = Notice(frame, self._now() + self._terms.timing.timeout_seconds)
        self._urgent.append(frame)

    def _repeat_notices(self) -> None:
        timing = self._terms.timing
        for qn, notice in list(self._notices.items()):
            if self._now() < notice.deadline:
                continue
            if notice.sends > timing.resends:
                del self._notices[qn]
                self._terms.counts["unanswered notices"] += 1
                continue
            notice.sends += 1
            notice.deadline = self._now() + timing.timeout_seconds
            self._urgent.append(notice.frame)

    def _beat(self) -> None:
        """9015 for every MN (2025, B; many send it before); it asks for no answer, so none can be missed."""
        now, pause = self._now(), self._dialect.heartbeat_seconds
        if not pause or now < self._next_heartbeat:
            return
        self._next_heartbeat = now + pause
        for point in self._terms.points.values():
            segment = self._voice.own(point, "9015", "", qn=self._voice.number(), answer=False)
            self._urgent.append(self._voice.frame(segment))

    # -- receiving

    def _receive(self) -> None:
        try:
            data = self._connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._down(f"the connection broke ({error.strerror})") from error
        if not data:
            raise self._down("the platform closed the connection")
        self._read(self._reader.feed(data))
        if self._reader.noise - self._quiet_from > NOISE_LIMIT:
            raise self._down(f"{self._reader.noise - self._quiet_from} bytes without a frame")

    def _read(self, items: list[bytes | FrameError]) -> None:
        for item in items:
            if isinstance(item, FrameError):
                self._fault(item)
            else:
                self._understand(item)
        if not self._reader.unfinished:
            self._begun = None
        elif items or self._begun is None:
            self._begun = self._now()

    def _give_up_frame(self) -> None:
        if self._begun is not None and self._now() - self._begun > FRAME_SECONDS:
            self._begun = None
            self._read(self._reader.give_up())

    def _fault(self, fault: FrameError) -> None:
        self._terms.counts["faults"] += 1
        self._terms.changed("stream", "rubbish", f"{self._settings.name} sends what is no frame: {fault}")

    def _understand(self, raw: bytes) -> None:
        self._terms.tap.note("in", raw)
        try:
            segment = Segment.parse(raw)
        except FrameError as fault:
            self._fault(fault)
            return
        self._quiet_from = self._reader.noise
        self._terms.changed("stream", "frames", "")
        whole = self._joiner.add(segment)
        if whole is not None:
            _HANDLERS.get(whole.cn, Session._on_request)(self, whole)

    def _on_acknowledged(self, segment: Segment) -> None:
        self._uploads.acknowledged(segment)

    def _on_accepted(self, segment: Segment) -> None:
        self._uploads.verdict(segment, "QnRtn", QN_RTN)

    def _on_executed(self, segment: Segment) -> None:
        self._uploads.verdict(segment, "ExeRtn", EXE_RTN)

    def _on_notice_answer(self, segment: Segment) -> None:
        if self._notices.pop(segment.qn, None) is None and not self._uploads.noticed(segment):
            self._terms.counts["stray answers"] += 1

    def _on_request(self, segment: Segment) -> None:
        self._requests.asked(segment)

    def _down(self, reason: str) -> LinkDown:
        return LinkDown(f"{self._terms.place}: {reason}")


_HANDLERS: Mapping[str, Callable[[Session, Segment], None]] = {
    "9011": Session._on_accepted,
    "9012": Session._on_executed,
    "9013": Session._on_notice_answer,
    "9014": Session._on_acknowledged,
}
