"""What a station has to tell: live data, recalled records and backlog share one window and one connection.

Rules of interaction are those of HJ 212-2017 (read in full) and of practice (B) where it is silent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from station.model import Lane, Message, StationError, dataclass, field
from uplink.base import NotAcknowledged, Outbox
from uplink.hj212.frame import FrameTooLong, Segment
from uplink.hj212.messages import ACCEPTED, RESUPPLIED, UPLOADS, field_of, split
from uplink.hj212.voice import Terms, Voice

TURN_SECONDS = 0.5  # how long a lane that was found empty is left alone, unless something is committed
HISTORY_TURN = 5  # what is not live goes first every fifth time: 20 % when both have work

ALARM_EVENT = "2072"

_ANY_QN = "9" * 17
_EMPTY_CP = len("CP=&&&&")


@dataclass(slots=True, eq=False)
class Recall:
    """Records a platform asked for; *over* is called with the outcome as ExeRtn has it."""

    asked: Segment
    point: str
    records: Iterator[Message | None]
    answered: bool  # each record waits for its 9014
    over: Callable[[int], None]
    flying: bool = False
    sent: int = 0


_END: Any = object()  # behind the last record of a recall
DONE, TIMED_OUT, FAULT, NO_DATA = 1, 4, 6, 100  # ExeRtn at the end of a recall


@dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way: *parts* frames have no answer yet."""

    message_id: int | None  # None for what was recalled
    recall: Recall | None
    parts: int = 0


@dataclass(slots=True, eq=False)
class Exchange:
    """One upload frame that awaits its answer, or needs none."""

    qn: str
    mn: str
    frame: bytes
    delivery: Delivery
    answered: bool = True
    key: bytes | None = field(default=None, repr=False)  # it was sealed with
    deadline: float = 0.0
    sends: int = 0
    notice: bool = False  # a 9013 answers it, too
    end: int = 0  # how many bytes the connection has carried when this frame is through


class Uploads:
    """Gives the connection one frame after another, and matches the answers."""

    def __init__(self, terms: Terms, voice: Voice, outbox: Outbox) -> None:
        self._terms, self._settings, self._dialect = terms, terms.settings, terms.dialect
        self._voice, self._outbox = voice, outbox
        self._now = terms.context.monotonic
        self._fetched: dict[Lane, deque[Message]] = {lane: deque() for lane in Lane}
        self._empty_until: dict[Lane, float] = {}
        self._turn = 1
        self._ready: deque[Exchange] = deque()
        self._flying: list[Exchange] = []
        self._recalls: deque[Recall] = deque()

    # -- what goes out

    def wake(self) -> None:
        """Something was committed: look again at once."""
        self._empty_until.clear()

    def recall(self, recall: Recall) -> None:
        """Send the records of *recall* between live data, and report when that is over."""
        self._recalls.append(recall)

    def close(self) -> None:
        """The connection is gone: let go of what the recalls hold."""
        for recall in self._recalls:
            if close := getattr(recall.records, "close", None):
                close()
        self._recalls.clear()

    @property
    def flying(self) -> bool:
        """Whether anything awaits an answer."""
        return bool(self._flying)

    def deadlines(self) -> Iterator[float]:
        """When each answer is overdue."""
        return (exchange.deadline for exchange in self._flying)

    def frame(self, now: float, written: int) -> bytes:
        """The next frame, b"" if there is none now; *written* bytes went out before it."""
        exchange = self._overdue(now) or self._fresh()
        if exchange is None:
            return b""
        self._terms.counts["resent" if exchange.sends else "sent"] += 1
        exchange.sends += 1
        # TCP itself resends where no answer is expected: one deadline covers all tries.
        timing, unanswered = self._terms.timing, self._dialect.ack == "none"
        exchange.deadline = now + (timing.tries_seconds if unanswered else timing.timeout_seconds)
        exchange.end = written + len(exchange.frame)
        if not exchange.answered and not unanswered:
            self._done(exchange, confirmed=False)
        elif exchange.sends == 1:
            self._flying.append(exchange)
        return exchange.frame

    def _overdue(self, now: float) -> Exchange | None:
        # One at a time: what ends a recall takes its other packets off the list.
        while late := next((exchange for exchange in self._flying if exchange.deadline <= now), None):
            given_up = self._dialect.ack == "none" or late.sends > self._terms.timing.resends
            if not given_up:
                return late
            if late.delivery.message_id is not None:
                self._outbox.unanswered(late.delivery.message_id)
                raise NotAcknowledged(f"{self._terms.place}: no answer to QN {late.qn} after {late.sends} tries")
            # Examples of 2017 answer a recall with Flag=4: who does not answer records is still there.
            assert late.delivery.recall is not None
            self._end(late.delivery.recall, TIMED_OUT)
        return None

    def _fresh(self) -> Exchange | None:
        if len(self._flying) >= self._settings.window:
            return None
        while not self._ready:
            if not self._take():
                return None
        return self._ready.popleft()

    def _take(self) -> bool:
        """Prepare the next message: live before the rest, but the rest first every HISTORY_TURN."""
        live: tuple[Callable[[], bool], ...] = (self._take_live,)
        rest = (self._take_recalled, self._take_history)
        rest = rest if self._turn % 2 else rest[::-1]
        for take in (*rest, *live) if self._turn % HISTORY_TURN == 0 else (*live, *rest):
            if take():
                self._turn += 1
                return True
        return False

    def _take_live(self) -> bool:
        return self._from_lane(Lane.LIVE)

    def _take_history(self) -> bool:
        return self._from_lane(Lane.HISTORY)

    def _from_lane(self, lane: Lane) -> bool:
        fetched, now = self._fetched[lane], self._now()
        if not fetched and now >= self._empty_until.get(lane, now):
            fetched.extend(self._outbox.next(lane, self._settings.window))
            self._empty_until[lane] = now if fetched else now + TURN_SECONDS
        if not fetched:
            return False
        message = fetched.popleft()
        if reason := self._prepare(message, Delivery(message.id, None)):
            self._outbox.refused(message.id, reason)
        return True

    def _take_recalled(self) -> bool:
        """The next record of the recall that is first in line, unless its last one still waits for 9014.

        Where none is found for long (None), the rest has its turn, and the search goes on in the next one.
        """
        recall = self._recalls[0] if self._recalls else None
        if recall is None or recall.flying:
            return False
        try:
            record = next(recall.records, _END)
        except StationError:
            record, recall.sent = _END, -1
        if record is None:
            return False
        if record is _END:
            self._end(recall, {0: NO_DATA, -1: FAULT}.get(recall.sent, DONE))
            return True
        recall.sent += 1
        recall.flying = not self._prepare(record, Delivery(None, recall))
        return True

    def _end(self, recall: Recall, code: int) -> None:
        self._recalls.remove(recall)
        self._ready = deque(e for e in self._ready if e.delivery.recall is not recall)
        self._flying = [e for e in self._flying if e.delivery.recall is not recall]
        if close := getattr(recall.records, "close", None):
            close()
        recall.over(code)

    def _prepare(self, message: Message, delivery: Delivery) -> str:
        """Make the frames of *message* ready; why that cannot be, or ""."""
        try:
            exchanges = list(self._exchanges(message, delivery))
        except (FrameTooLong, KeyError) as error:
            return str(error) if isinstance(error, FrameTooLong) else f'no MN for point "{message.point}"'
        delivery.parts = len(exchanges)
        self._ready.extend(exchanges)
        return ""

    def _exchanges(self, message: Message, delivery: Delivery) -> Iterator[Exchange]:
        """The frames of *message*: one, or several with PNUM and PNO."""
        recall, width = delivery.recall, self._dialect.split_digits
        point = self._terms.points[recall.point if recall else message.point]
        cn = recall.asked.cn if recall else UPLOADS[message.kind]
        answer = self._dialect.ack != "none" and (recall is None or recall.answered)
        # RF marks what is re-supplied on the station's own account, never what was asked for (2025, B).
        rf = "1" if recall is None and message.resupply and self._dialect.resupply and cn in RESUPPLIED else ""

        def build(qn: str, data: str, *numbers: str) -> Segment:
            return self._voice.own(point, cn, data, qn=qn, answer=answer, numbers=numbers, rf=rf)

        head = len(build(_ANY_QN, "").build()) - _EMPTY_CP
        split_head = len(build(_ANY_QN, "", "9" * width, "9" * width).build()) - _EMPTY_CP
        parts = split(message.text, head, split_head, width)
        qn = ""
        for index, data in enumerate(parts, 1):
            numbers = (str(len(parts)), str(index)) if len(parts) > 1 else ()
            qn = qn if qn and self._dialect.one_qn else self._voice.number()
            frame = self._voice.frame(build(qn, data, *numbers))
            yield Exchange(qn, point.mn, frame, delivery, answer, self._voice.key, notice=cn == ALARM_EVENT)

    # -- what comes back

    def acknowledged(self, segment: Segment) -> None:
        """A 9014 came."""
        exchange = self._answered_by(segment)
        if exchange is None:
            self._terms.counts["stray answers"] += 1
        else:
            self._done(exchange, confirmed=True)

    def noticed(self, segment: Segment) -> bool:
        """Whether a 9013 is the answer to something told: one code base takes 2072 of 2005 for a notice (C)."""
        exchange = self._exchange_of(segment)
        if exchange is None or not exchange.notice:
            return False
        self._done(exchange, confirmed=True)
        return True

    def _answered_by(self, segment: Segment) -> Exchange | None:
        """The exchange that a 9014 is about, as strictly as the settings ask."""
        if self._dialect.ack == "any":
            return next((e for e in self._flying if e.mn == segment.mn), None)
        return self._exchange_of(segment) if self._dialect.ack == "strict" else None

    def _exchange_of(self, segment: Segment) -> Exchange | None:
        qn = segment.qn or field_of(segment.data, "QN")  # 2005 answers carry it inside CP
        return next((e for e in self._flying if e.qn == qn and e.mn == segment.mn), None)

    def _done(self, exchange: Exchange, *, confirmed: bool) -> None:
        if exchange in self._flying:
            self._flying.remove(exchange)
        if confirmed and self._voice.ring and exchange.key == self._voice.key:
            self._voice.ring.confirm()
        delivery = exchange.delivery
        delivery.parts -= 1
        if delivery.parts:
            return
        if delivery.recall:
            delivery.recall.flying = False
        if delivery.message_id is not None:
            self._terms.counts["answered"] += 1
            self._outbox.answered([delivery.message_id], confirmed=confirmed)

    def verdict(self, segment: Segment, name: str, words: Mapping[int, str]) -> None:
        """A platform's 9011 or 9012 to an upload: anything but 1 refuses the whole message."""
        exchange, code = self._exchange_of(segment), field_of(segment.data, name)
        if exchange is None or code == str(ACCEPTED):
            self._terms.counts["stray answers"] += 1
            return
        self._terms.counts["refused"] += 1
        if exchange.delivery.recall:
            self._end(exchange.delivery.recall, TIMED_OUT)
            return
        meaning = words.get(int(code), "no code of the standard") if code.isdecimal() and len(code) < 4 else "no code"
        self._forget(exchange.delivery)
        assert exchange.delivery.message_id is not None
        reason = f"{segment.cn} {name}={ascii(code)[1:-1][:8]}: {meaning}"
        self._outbox.refused(exchange.delivery.message_id, reason)

    def _forget(self, delivery: Delivery) -> None:
        self._ready = deque(e for e in self._ready if e.delivery is not delivery)
        self._flying = [e for e in self._flying if e.delivery is not delivery]

    def through(self, acknowledged: int) -> None:
        """TCP has acknowledged so many bytes: where no answer is expected, that is as good as it gets."""
        for exchange in [e for e in self._flying if e.end <= acknowledged]:
            self._done(exchange, confirmed=False)
