"""One connection to one platform: what is in flight, what is asked, what is answered, in one selector loop.

Rules of interaction are those of HJ 212-2017 (read in full) and of practice (B) where it is silent.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import sys
import termios
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from socket import socket
from threading import Event, Lock
from typing import TYPE_CHECKING

from station.model import Command, Lane, Message, Outcome, Result
from uplink.base import Commands, Context, LinkDown, NotAcknowledged, Outbox
from uplink.hj212.frame import ANSWER_BIT, CHUNK, FrameError, FrameReader, FrameTooLong, Segment, encode, fence
from uplink.hj212.messages import (
    ACCEPTED,
    ANSWERS,
    EXE_RTN,
    INTERACTION,
    OUTCOMES,
    QN_RTN,
    RESUPPLIED,
    UPLOADS,
    Dialect,
    Row,
    Wording,
    field_of,
    request,
    split,
    timestamp,
)

if TYPE_CHECKING:
    from uplink.hj212.link import Hj212Settings, PointSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TURN_SECONDS = 0.5  # longest sleep, and so the thread's heartbeat and most of the time stop takes
TCP_POLL_SECONDS = 0.05  # how often the kernel is asked what it still holds, ack = "none"
FRAME_SECONDS = 5.0  # a frame begun must be there by then
NOISE_LIMIT = 64 * 1024  # bytes without one frame before the connection is dropped
HISTORY_TURN = 5  # history goes first every fifth time: 20 % when both lanes have work
URGENT_LIMIT = 64  # answers waiting to be written; above it nothing more is read
PENDING_LIMIT = 16  # commands being carried out; above it they are refused

_ANY_QN = "9" * 17
_EMPTY_CP = len("CP=&&&&")


def qn_of(number: int, zone: tzinfo) -> str:
    """The 17 digits of a QN: milliseconds since 1970 UTC as local time of *zone*.

    >>> from datetime import timezone
    >>> qn_of(1772323200007, timezone(timedelta(hours=8)))
    '20260301080000007'
    """
    return f"{timestamp(EPOCH + timedelta(milliseconds=number), zone)}{number % 1000:03d}"


def same(left: str, right: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ.

    hmac.compare_digest would do, but its module loads hashlib: 3.6 MiB in a process that must stay small.

    >>> same("123456", "123456"), same("123456", "12345"), same("", "1")
    (True, False, False)
    """
    given, kept = left.encode("utf-8", "surrogateescape"), right.encode("utf-8", "surrogateescape")
    difference = len(given) ^ len(kept)
    for index, byte in enumerate(given):
        difference |= byte ^ (kept[index % len(kept)] if kept else 0)
    return difference == 0


def unacknowledged(connection: socket) -> int:
    """Bytes written that the far end's TCP has not acknowledged yet (Linux: SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


class Mailbox:
    """Results of commands on their way from any thread to the session's; once closed it swallows them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._bell: int | None = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._results: deque[tuple[Segment, Row, Result]] = deque()

    def post(self, segment: Segment, row: Row, result: Result) -> None:
        """Leave *result* and wake the session."""
        with self._lock:
            if self._bell is not None:
                self._results.append((segment, row, result))
                os.eventfd_write(self._bell, 1)

    def take(self) -> Iterator[tuple[Segment, Row, Result]]:
        """What was left since the last time."""
        with self._lock:
            if self._results and self._bell is not None:
                os.eventfd_read(self._bell)
            taken, self._results = self._results, deque()
        yield from taken

    def fileno(self) -> int:
        """Readable while something waits."""
        assert self._bell is not None
        return self._bell

    def close(self) -> None:
        """Swallow what comes from now on."""
        with self._lock:
            if self._bell is not None:
                os.close(self._bell)
            self._bell = None


@dataclass(slots=True, eq=False)
class Exchange:
    """One upload frame that awaits its answer; the parts of a split message share *message_id*."""

    qn: str
    mn: str
    frame: bytes
    message_id: int
    deadline: float = 0.0
    sends: int = 0
    end: int = 0  # how many bytes the connection has carried when this frame is through


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every session of one uplink shares."""

    settings: Hj212Settings
    context: Context
    dialect: Dialect
    wording: Wording
    points: Mapping[str, PointSettings]  # by point code, ST filled in
    counts: Counter[str]
    devices: Mapping[str, PointSettings]  # the same by MN
    changed: Callable[[str, str, str], None]  # topic, state, words: logged when the state is new


class Session:
    """Serves one open, non-blocking *connection* until it breaks or the station stops."""

    def __init__(self, terms: Terms, connection: socket, outbox: Outbox, commands: Commands, password: str) -> None:
        self._terms, self._settings, self._dialect = terms, terms.settings, terms.dialect
        self._connection, self._outbox, self._commands = connection, outbox, commands
        self._password = password
        self._now = terms.context.monotonic
        self._reader = FrameReader(terms.settings.receive_ceiling)
        self._begun: float | None = None  # when the frame being received began
        self._quiet_from = 0  # the reader's noise at the last good frame
        self._lanes: dict[Lane, deque[Message]] = {lane: deque() for lane in Lane}
        self._empty_until: dict[Lane, float] = {}
        self._turn = 1
        self._ready: deque[Exchange] = deque()
        self._flying: dict[str, Exchange] = {}
        self._parts: Counter[int] = Counter()  # of each message: frames without an answer
        self._urgent: deque[bytes] = deque()
        self._pending = 0
        self._unsent = bytearray()
        self._written = 0
        self._next_frame_at = self._next_heartbeat = self._now()
        self._stuck_at = self._now() + self._tries_seconds()

    def serve(self, stop: Event) -> None:
        """Turn until *stop*; raise LinkDown when the connection is of no more use."""
        mailbox = self._mailbox = Mailbox()
        with selectors.DefaultSelector() as selector:
            selector.register(self._outbox.fileno(), selectors.EVENT_READ)
            selector.register(mailbox.fileno(), selectors.EVENT_READ)
            selector.register(self._connection, selectors.EVENT_READ, self._on_ready)
            try:
                while not stop.is_set():
                    self._one_turn(selector)
            finally:
                mailbox.close()

    def _one_turn(self, selector: selectors.BaseSelector) -> None:
        if self._outbox.wait(0):
            self._empty_until.clear()
        for segment, row, result in self._mailbox.take():
            self._pending -= 1
            self._on_result(segment, row, result)
        self._confirm_by_tcp()
        self._give_up_frame()
        self._beat()
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
            due += [max(exchange.deadline, self._next_frame_at) for exchange in self._flying.values()]
        if self._flying and self._settings.ack == "none":
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
            frame = self._urgent.popleft() if self._urgent else self._upload(now)
            if not frame:
                return
            self._unsent += frame
            self._next_frame_at = now + self._settings.spacing_seconds
            self._flush()
        if self._unsent and now >= self._stuck_at:
            raise NotAcknowledged(f"{self._place()}: takes no more bytes since {self._tries_seconds():g} s")

    def _flush(self) -> None:
        try:
            while self._unsent:
                count = self._connection.send(self._unsent)
                self._written += count
                self._stuck_at = self._now() + self._tries_seconds()
                del self._unsent[:count]
        except BlockingIOError:
            return
        except OSError as error:
            raise self._down(f"the connection broke ({error.strerror})") from error

    def _upload(self, now: float) -> bytes:
        """The frame of an exchange to be sent again, or of a new one while the window has room."""
        exchange = self._overdue(now) or self._fresh()
        if exchange is None:
            return b""
        self._terms.counts["resent" if exchange.sends else "sent"] += 1
        exchange.sends += 1
        # TCP itself resends where no answer is expected: one deadline covers all tries.
        unanswered = self._settings.ack == "none"
        exchange.deadline = now + (self._tries_seconds() if unanswered else self._settings.timeout_seconds)
        exchange.end = self._written + len(exchange.frame)
        self._flying[exchange.qn] = exchange
        return exchange.frame

    def _tries_seconds(self) -> float:
        """How long a platform may be silent before the link counts as broken."""
        return self._settings.timeout_seconds * (1 + self._settings.resends)

    def _overdue(self, now: float) -> Exchange | None:
        late = next((exchange for exchange in self._flying.values() if exchange.deadline <= now), None)
        if late and (self._settings.ack == "none" or late.sends > self._settings.resends):
            raise NotAcknowledged(f"{self._place()}: no answer to QN {late.qn} after {late.sends} tries")
        return late

    def _fresh(self) -> Exchange | None:
        if len(self._flying) >= self._settings.window:
            return None
        while not self._ready:
            message = self._take()
            if message is None:
                return None
            self._prepare(message)
        return self._ready.popleft()

    def _take(self) -> Message | None:
        """The next message: live before history, but history first every HISTORY_TURN."""
        history_first = self._turn % HISTORY_TURN == 0
        for lane in sorted(Lane, reverse=history_first):
            if message := self._from_lane(lane):
                self._turn += 1
                return message
        return None

    def _from_lane(self, lane: Lane) -> Message | None:
        fetched, now = self._lanes[lane], self._now()
        if not fetched and now >= self._empty_until.get(lane, now):
            fetched.extend(self._outbox.next(lane, self._settings.window))
            self._empty_until[lane] = now if fetched else now + TURN_SECONDS
        return fetched.popleft() if fetched else None

    def _prepare(self, message: Message) -> None:
        try:
            exchanges = list(self._exchanges(message))
        except (FrameTooLong, KeyError) as error:
            reason = str(error) if isinstance(error, FrameTooLong) else f'no MN for point "{message.point}"'
            self._outbox.refused(message.id, reason)
            return
        self._parts[message.id] = len(exchanges)
        self._ready.extend(exchanges)

    def _exchanges(self, message: Message) -> Iterator[Exchange]:
        """The frames of *message*: one, or several with PNUM and PNO, each with a QN of its own."""
        point, width = self._terms.points[message.point], self._dialect.split_digits
        build = partial(self._segment, message, point)
        head = len(build(_ANY_QN, "").build()) - _EMPTY_CP
        split_head = len(build(_ANY_QN, "", "9" * width, "9" * width).build()) - _EMPTY_CP
        parts = split(message.text, head, split_head, width)
        for index, data in enumerate(parts, 1):
            numbers = (str(len(parts)), str(index)) if len(parts) > 1 else ()
            qn = self._number()
            yield Exchange(qn, point.mn, encode(build(qn, data, *numbers).build()), message.id)

    def _segment(
        self, message: Message, point: PointSettings, qn: str, data: str, pnum: str = "", pno: str = ""
    ) -> Segment:
        cn, answer = UPLOADS[message.kind], self._settings.ack != "none"
        bare = self._dialect.bare and not answer and not pnum
        return Segment(
            qn="" if bare else qn,
            st=point.st,
            cn=cn,
            pw=self._password,
            mn=point.mn,
            flag="" if bare else self._dialect.flag(answer=answer, split=bool(pnum)),
            pnum=pnum,
            pno=pno,
            rf="1" if message.resupply and self._dialect.resupply and cn in RESUPPLIED else "",
            cp=fence(data),
        )

    def _number(self) -> str:
        milliseconds = (self._terms.context.now() - EPOCH) // timedelta(milliseconds=1)
        return qn_of(self._outbox.number(milliseconds), self._terms.context.zone)

    def _beat(self) -> None:
        """9015 for every MN (2025, B; many send it before); it asks for no answer, so none can be missed."""
        now, pause = self._now(), self._settings.heartbeat_seconds
        if not pause or now < self._next_heartbeat:
            return
        self._next_heartbeat = now + pause
        for point in self._terms.points.values():
            flag = self._dialect.flag(answer=False)
            segment = Segment(
                qn=self._number(), st=point.st, cn="9015", pw=self._password, mn=point.mn, flag=flag, cp=fence("")
            )
            self._urgent.append(encode(segment.build()))

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
        try:
            segment = Segment.parse(raw)
        except FrameError as fault:
            self._fault(fault)
            return
        self._quiet_from = self._reader.noise
        self._terms.changed("stream", "frames", "")
        _HANDLERS.get(segment.cn, Session._on_request)(self, segment)

    def _on_acknowledged(self, segment: Segment) -> None:
        exchange = self._answered_by(segment)
        if exchange is None:
            self._terms.counts["stray answers"] += 1
        else:
            self._done(exchange, confirmed=True)

    def _answered_by(self, segment: Segment) -> Exchange | None:
        """The exchange that a 9014 is about, as strictly as the settings ask."""
        if self._settings.ack == "any":
            return next((e for e in self._flying.values() if e.mn == segment.mn), None)
        return self._exchange_of(segment) if self._settings.ack == "strict" else None

    def _exchange_of(self, segment: Segment) -> Exchange | None:
        qn = segment.qn or field_of(segment.data, "QN")  # 2005 answers carry it inside CP
        exchange = self._flying.get(qn)
        return exchange if exchange and exchange.mn == segment.mn else None

    def _done(self, exchange: Exchange, *, confirmed: bool) -> None:
        del self._flying[exchange.qn]
        self._parts[exchange.message_id] -= 1
        if not self._parts[exchange.message_id]:
            del self._parts[exchange.message_id]
            self._terms.counts["answered"] += 1
            self._outbox.answered([exchange.message_id], confirmed=confirmed)

    def _on_verdict(self, segment: Segment, name: str, words: Mapping[int, str]) -> None:
        """A platform's 9011 or 9012 to an upload: anything but 1 refuses the whole message."""
        exchange, code = self._exchange_of(segment), field_of(segment.data, name)
        if exchange is None or code == str(ACCEPTED):
            self._terms.counts["stray answers"] += 1
            return
        meaning = words.get(int(code), "no code of the standard") if code.isdecimal() else "no code"
        self._forget(exchange.message_id)
        self._terms.counts["refused"] += 1
        self._outbox.refused(exchange.message_id, f"{segment.cn} {name}={ascii(code)[1:-1][:8]}: {meaning}")

    def _forget(self, message_id: int) -> None:
        self._ready = deque(e for e in self._ready if e.message_id != message_id)
        self._flying = {qn: e for qn, e in self._flying.items() if e.message_id != message_id}
        del self._parts[message_id]

    def _on_notice_answer(self, segment: Segment) -> None:
        self._terms.counts["stray answers"] += 1

    def _confirm_by_tcp(self) -> None:
        """Where no answer is expected, a frame counts as sent once TCP has acknowledged its bytes."""
        if self._settings.ack != "none" or not self._flying:
            return
        through = self._written - unacknowledged(self._connection)
        for exchange in [e for e in self._flying.values() if e.end <= through]:
            self._done(exchange, confirmed=False)

    # -- requests of the platform

    def _on_request(self, segment: Segment) -> None:
        """9011, the work, the answer if there is one, 9012; without the answer bit nothing is done."""
        flags = 1 if segment.flag == "" and self._dialect.bare else segment.flags
        if not flags or not flags & ANSWER_BIT:
            self._terms.counts["ignored requests"] += 1
            return
        row = request(segment.cn, self._dialect.standard)
        code = self._judge(segment, row)
        command = self._command(segment, row) if row and code == ACCEPTED else None
        if command and (self._pending >= PENDING_LIMIT or self._commands.refusal(command)):
            code = 2
        self._answer(segment, "9011", f"QnRtn={code if code in self._dialect.qn_rtn else 2}")
        self._terms.counts["requests" if code == ACCEPTED else "refused requests"] += 1
        if command and row and code == ACCEPTED:
            self._pending += 1
            self._commands.submit(command, partial(self._mailbox.post, segment, row))

    def _judge(self, segment: Segment, row: Row | None) -> int:
        """QnRtn for a request, the first fault found."""
        faults = {
            4: segment.mn not in self._terms.devices,
            3: not same(segment.pw, self._password),
            7: not segment.qn,
            8: row is None,
            # No verb reads one instrument yet, and the station's own clock would be a false answer.
            2: row is not None and (not row.verb or bool(field_of(segment.data, "PolId"))),
        }
        return next((code for code, found in faults.items() if found), ACCEPTED)

    def _command(self, segment: Segment, row: Row) -> Command:
        return Command(row.verb, self._settings.name, self._terms.devices[segment.mn].point)

    def _on_result(self, segment: Segment, row: Row, result: Result) -> None:
        outcome = result.outcome
        if outcome is Outcome.DONE and row.verb in ANSWERS:
            try:
                data = self._direct(row, result)
            except (KeyError, ValueError):
                outcome = Outcome.FAILED
            else:
                self._answer(segment, segment.cn, data, st=self._terms.devices[segment.mn].st)
        code = OUTCOMES[outcome]
        self._answer(segment, "9012", f"ExeRtn={code if code in self._dialect.exe_rtn else 2}")

    def _direct(self, row: Row, result: Result) -> str:
        """The data area that answers a request at once."""
        name, key = ANSWERS[row.verb]
        value = result.values[key]
        if key == "time":
            value = timestamp(datetime.fromisoformat(value), self._terms.context.zone)
        return f"{name}={value}"

    def _answer(self, asked: Segment, cn: str, data: str, st: str = INTERACTION) -> None:
        """An answer repeats QN, PW and MN as they came: our own password never answers a wrong one."""
        inside = f"QN={asked.qn};" if self._dialect.qn_inside and st == INTERACTION else ""
        flag = self._dialect.flag(answer=False)
        answer = Segment(qn=asked.qn, st=st, cn=cn, pw=asked.pw, mn=asked.mn, flag=flag, cp=fence(inside + data))
        try:
            self._urgent.append(encode(answer.build()))
        except FrameTooLong:  # fields as long as a frame were echoed: nobody honest waits for this
            self._terms.counts["ignored requests"] += 1

    # -- words

    def _place(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _down(self, reason: str) -> LinkDown:
        return LinkDown(f"{self._place()}: {reason}")


_HANDLERS: Mapping[str, Callable[[Session, Segment], None]] = {
    "9011": partial(Session._on_verdict, name="QnRtn", words=QN_RTN),
    "9012": partial(Session._on_verdict, name="ExeRtn", words=EXE_RTN),
    "9013": Session._on_notice_answer,
    "9014": Session._on_acknowledged,
}
