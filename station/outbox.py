"""What one platform is owed: a live cursor, and spans of older messages (design: cursor and spans).

Messages of a platform have contiguous ids.  Everything up to `live` has been dealt with, except what
lies in a span; everything above it is live.  Answers wait in memory for the next commit: after a
crash a message may be sent again with the same identity, never forgotten.

*Sent* means handed out to the uplink at least once: every id up to `tried` was, except what lies in a
span that says otherwise (BACKLOG, RESEND or DROPPED with *sent* false).  A crash may take back what was
handed out since the last commit, never add to it.
"""

from __future__ import annotations

import enum
import logging
import os
import select
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Condition, RLock
from typing import TYPE_CHECKING, Any

from station.clock import from_ms, to_ms
from station.model import Kind, Lane, Message, StoreError, dataclass, replace
from station.store import SEQUENCE_BITS, Store, find_message, later_versions, message_of, rows_of

if TYPE_CHECKING:
    from station.volatile import Volatile

log = logging.getLogger(__name__)

ALL_KINDS = sum(1 << kind for kind in Kind)
MOST_REFUSALS = 5
NO_ANSWER = "no answer"
HOLD = "rests: "  # how the reason begins for which a whole platform is left alone
LONGEST_HOLD = 86_400.0
MOST_ASIDE = 8
LONGEST_RETRY_MS = 3_600_000
REFUSED_ALL_MS = 600_000  # a platform that refuses everything is tried again at these marks
RETRY_MS = 60_000  # after a refusal; doubles with each one
FETCH = 100
SLACK_MS = 3_600_000  # looked at before and behind a range: real-time data may run backwards with the clock
RESERVE_PATIENCE = 5  # seconds to wait for a durable reserve; a disk that fails must not silence the uplink
SPARE = 10_000  # numbers at the end of a reserve, for a disk that fails: given one by one, not by the clock


class State(enum.IntEnum):
    """Why a span of messages stands apart."""

    BACKLOG = 1  # owed, oldest first
    RESEND = 2  # refused, or asked for again: owed from its next_try on
    PARKED = 3  # given up after too many refusals
    DROPPED = 4  # kinds this platform does not want re-supplied
    UNCONFIRMED = 5  # delivered as far as TCP tells (ack = "none")


OWED = (State.BACKLOG, State.RESEND)


@dataclass(frozen=True, slots=True)
class Span:
    """Messages first..last (inclusive) of the *kinds* in a bit mask, and what is to become of them."""

    first: int
    last: int
    state: State
    kinds: int = ALL_KINDS
    tries: int = 0
    next_try_ms: int = 0
    reason: str = ""
    sent: bool = False  # handed out at least once since it was queued


@dataclass(frozen=True, slots=True)
class Depth:
    """How much a platform is owed, and what was given up."""

    owed: int
    oldest: datetime | None
    parked: int
    dropped: int
    answered: int
    unconfirmed: int
    resupplied: int  # of these, how many came through the history lane


def split(spans: Sequence[Span], number: int) -> list[Span]:
    """*spans* without message *number*.

    >>> [(s.first, s.last) for s in split([Span(1, 9, State.BACKLOG)], 4)]
    [(1, 3), (5, 9)]
    """
    result: list[Span] = []
    for span in spans:
        if not span.first <= number <= span.last:
            result.append(span)
            continue
        if span.first < number:
            result.append(replace(span, last=number - 1))
        if number < span.last:
            result.append(replace(span, first=number + 1))
    return result


def without(span: Span, other: Span) -> list[Span]:
    """What of *span* lies outside *other*, by ids and kinds.

    >>> [(s.first, s.last) for s in without(Span(1, 9, State.RESEND), Span(4, 20, State.BACKLOG))]
    [(1, 3)]
    """
    first, last = max(span.first, other.first), min(span.last, other.last)
    if first > last or not span.kinds & other.kinds:
        return [span]
    parts = (
        replace(span, last=first - 1),
        replace(span, first=first, last=last, kinds=span.kinds & ~other.kinds),
        replace(span, first=last + 1),
    )
    return [part for part in parts if part.first <= part.last and part.kinds]


def joined(spans: Iterable[Span]) -> list[Span]:
    """*spans* by their first id, neighbours that say the same made one.

    >>> joined([Span(4, 5, State.PARKED), Span(1, 3, State.PARKED)]) == [Span(1, 5, State.PARKED)]
    True
    """
    result: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.state, s.kinds, s.tries, s.next_try_ms, s.reason, s.sent, s.first)):
        if (
            result
            and replace(result[-1], last=span.last) == replace(span, first=result[-1].first)
            and (result[-1].last + 1 == span.first)
        ):
            result[-1] = replace(result[-1], last=span.last)
        else:
            result.append(span)
    return sorted(result, key=lambda s: s.first)


class PlatformOutbox:
    """Implements uplink.base.Outbox for one platform over the store.

    *reader* makes a connection for the uplink's thread, *urgent* asks for a commit at once,
    *beat* tells the watchdog that the thread lives, *now* is the wall clock.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        reader: Callable[[], Any],
        *,
        now: Callable[[], datetime],
        urgent: Callable[[], object] = lambda: None,
        beat: Callable[[], None] = lambda: None,
        backlog_kinds: Iterable[Kind] = tuple(Kind),
        horizon_seconds: float = 75.0,
        note: Callable[..., None] = lambda code, **arguments: None,
        additive: bool = False,
    ) -> None:
        self.name = name
        self.additive = additive  # a later version holds only what was added (station/revisions.py)
        self._store, self._make_reader = store, reader
        self._reader: Any = None  # the uplink thread's own connection
        self._counter: Any = None  # ours, used under our lock alone
        self._now, self._urgent, self._beat, self._note = now, urgent, beat, note
        self._lock = RLock()
        self._reserve_grown = Condition(self._lock)
        # What happened is re-supplied like what was measured; only periods can be left out.
        self._wanted = sum(1 << kind for kind in {*backlog_kinds, *(k for k in Kind if k >= Kind.POWER_ON)})
        self._horizon_ms = round(horizon_seconds * 1000)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._flying: dict[int, Kind] = {}
        self._volatile: Volatile | None = None
        self._heads: set[int] = set()  # messages handed out that tell a head of the seals
        self._refused_at: dict[int, int] = {}  # refused messages, and how many others were answered by then
        self._refusing = False
        self._silences: dict[int, int] = {}  # messages over which the link was given up, and how often
        self._done: set[int] = set()  # answered live messages above a gap
        self._fetched: deque[Message] = deque()
        self._pinned: deque[int] = deque()
        self._first = range(0)  # the power-on reports of this start
        self.connected_at: datetime | None = None
        self.progress = 0  # answers in this process, for the caller's back-off
        self._load()

    # -- state in the store

    def _load(self) -> None:
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO platform(name, live, tried, reserved, answered, unconfirmed, resupplied, dropped)"
                " SELECT ?, 0, 0, 0, 0, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM platform WHERE name = ?)",
                (self.name, self.name),
            )
            row = db.execute(
                "SELECT id, live, reserved, answered, unconfirmed, resupplied, dropped, tried FROM platform"
                " WHERE name = ?",
                (self.name,),
            ).fetchone()
        self.id = row[0]
        base = self.id << SEQUENCE_BITS
        self._live, self._reserved = max(int(row[1]), base), int(row[2])
        self._answered, self._unconfirmed, self._resupplied, self._dropped = row[3:7]
        self._tried = max(int(row[7]), base)
        self._number: int = self._reserved
        self._patience = RESERVE_PATIENCE
        self._newest = self._store.newest_message(self.id)
        self._handed = self._live
        rows = self._store.query(
            "SELECT first, last, state, kinds, tries, next_try_ms, reason, sent FROM span WHERE platform = ?"
            " ORDER BY first",
            (self.id,),
        )
        self._spans = [Span(r[0], r[1], State(r[2]), r[3], r[4], r[5], r[6], bool(r[7])) for r in rows]
        self._written: tuple[Any, ...] | None = None

    def write(self, db: Any, *, last: bool = False) -> None:
        """Inside a transaction: make what is known so far durable; *last* on a clean stop."""
        with self._lock:
            reserved = self._number if last else max(self._number, to_ms(self._now())) + self._horizon_ms
            self._pending_reserve = max(reserved + SPARE * (not last), self._number)
            live, spans = self._as_after_a_crash()
            state = (live, self._tried, self._answered, self._unconfirmed, self._resupplied, self._dropped)
        db.execute(
            "UPDATE platform SET live = ?, tried = ?, answered = ?, unconfirmed = ?, resupplied = ?, dropped = ?,"
            " reserved = ? WHERE id = ?",
            (*state, self._pending_reserve, self.id),
        )
        if spans != self._written:
            db.execute("DELETE FROM span WHERE platform = ?", (self.id,))
            db.executemany(
                "INSERT INTO span(platform, first, last, state, kinds, tries, next_try_ms, reason, sent)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (self.id, s.first, s.last, int(s.state), s.kinds, s.tries, s.next_try_ms, s.reason, s.sent)
                    for s in spans
                ],
            )
        self._pending_written = spans

    def _as_after_a_crash(self) -> tuple[int, tuple[Span, ...]]:
        """Cursor and spans with the gaps below live answers as backlog: in flight now, owed to the next start."""
        if not self._done:
            return self._live, tuple(self._spans)
        gaps = self._waiting(self._live + 1, max(self._done), ALL_KINDS)
        return max(self._done), (*self._spans, *gaps)

    def _waiting(self, first: int, last: int, wanted: int) -> list[Span]:
        """What of the live messages *first*..*last* has no answer: backlog if its kind is *wanted*, else dropped."""
        tried = min(max(self._tried, first - 1), last)
        refused = ALL_KINDS & ~wanted
        spans = [
            span
            for start, end, sent in ((first, tried, True), (tried + 1, last, False))
            for span in (
                Span(start, end, State.BACKLOG, wanted, sent=sent),
                Span(start, end, State.DROPPED, refused, reason="not in backlog_kinds", sent=sent),
            )
            if start <= end and span.kinds
        ]
        for number in self._done:
            spans = split(spans, number)
        return spans

    def _set_aside(self, last: int, wanted: int) -> None:
        """Move the live cursor to *last*: what has no answer yet becomes spans."""
        if self._live >= last:
            return
        spans = self._waiting(self._live + 1, last, wanted)
        dropped = sum(self._count(s.first, s.last, s.kinds) for s in spans if s.state is State.DROPPED)
        kept = [s for s in spans if self._any(s)]  # whatever has to be read is, before anything is moved
        self._dropped += dropped
        self._live = last
        self._spans = joined([*self._spans, *kept])
        self._done = {number for number in self._done if number > last}

    def write_now(self) -> None:
        """A commit of this outbox alone, before its uplink is served for the first time."""
        with self._store.transaction() as db:
            self.write(db)
        self.committed()

    def committed(self, *, pins: int = 0) -> None:
        """After the commit: what was written counts, and new messages may be seen.

        The first *pins* of the new ones are served before all else, as live, whatever waits (the
        power-on reports of this start).
        """
        newest = self._store.newest_message(self.id)
        with self._lock:
            if pins:
                self._first = range(self._newest + 1, self._newest + 1 + pins)
                self._pinned.extend(self._first)
            self._reserved, self._written = self._pending_reserve, self._pending_written
            rung = newest > self._newest
            self._newest = newest
            self._patience = RESERVE_PATIENCE
            self._reserve_grown.notify_all()
        if rung:
            self.ring()

    # -- uplink.base.Outbox

    def connected(self) -> None:
        """The link is up: what waits becomes one backlog span, and live jumps to the newest message."""
        with self._lock:
            self._back_to_earth()
            with suppress(StoreError):  # a disk that cannot be read: the link serves what memory holds
                self._set_aside(self._newest, self._wanted)
            self._handed = self._live
            self.connected_at = self._now()

    def disconnected(self) -> None:
        """The link is down: what was in flight is owed again."""
        with self._lock:
            self._back_to_earth()
            self.connected_at = None

    def tell_unstored(self, kind: Kind, point: str, start: datetime, text: str) -> None:
        """From another thread: the platform gets *text* next of all, though nothing can be stored now."""
        from station.volatile import Volatile

        with self._lock:
            self._volatile = Volatile() if self._volatile is None else self._volatile
            self._volatile.add(kind, point, start, text)
        self.ring()

    @property
    def unstored(self) -> int:
        """How many messages past the store await an answer."""
        with self._lock:
            return 0 if self._volatile is None else len(self._volatile)

    def _settled_unstored(self, ids: Iterable[int], outcome: str) -> list[int]:
        """What of *ids* the store holds; of the others it is noted what became of them."""
        stored = []
        for number in ids:
            if number >= 0:
                stored.append(number)
            elif self._volatile is not None and self._volatile.settle(number) is not None:
                self._silences.pop(number, None)
                self._note("unstored_settled", platform=self.name, outcome=outcome)
                self.progress += 1
        return stored

    def _pass_by(self, number: int, wait_ms: int, *, free: int) -> None:
        """What no store holds was not taken: *free* times it is told again first, then others pass it for a while."""
        if self._volatile is not None and number < 0:
            rounds = self._silences[number] = self._silences.get(number, 0) + 1
            beyond = min(rounds - free, 16)
            wait = 0 if beyond <= 0 else min(wait_ms * 2 ** (beyond - 1), max(wait_ms, LONGEST_RETRY_MS))
            self._volatile.step_aside(number, to_ms(self._now()) + wait)

    def _back_to_earth(self) -> None:
        if self._volatile is not None:
            self._volatile.back_to_earth()
        self._flying.clear()
        self._fetched.clear()
        self._handed = self._live

    def next(self, lane: Lane, room: int) -> Sequence[Message]:
        """At most *room* messages of *lane* that are not in flight, oldest first."""
        self._beat()
        with self._lock:
            if self._volatile is not None and lane is Lane.LIVE:
                told = self._volatile.next(room, to_ms(self._now()))
                if told:
                    return told  # before anything has to be read from the disk
            found = self._next_live(room) if lane is Lane.LIVE else self._next_history(room)
            self._flying.update((message.id, message.kind) for message in found)
            self._heads.update(message.id for message in found if message.kind is Kind.SEAL_HEAD)
            return found

    def _next_live(self, room: int) -> list[Message]:
        found: list[Message] = []
        while self._pinned and self._pinned[0] <= self._live and len(found) < room:
            number = self._pinned.popleft()
            if self._owed(number):
                found += [message_of(row) for row in self._rows(number, number, ALL_KINDS, 1)]
        if self._handed < self._newest and room > len(found):
            fresh = self._rows(self._handed + 1, self._newest, ALL_KINDS, room - len(found))
            found += [message_of(row) for row in fresh]
            self._handed = found[-1].id if fresh else self._newest
            self._tried = max(self._tried, self._handed)
        return found

    def _next_history(self, room: int) -> list[Message]:
        if not self._fetched:
            self._fetch()
        found: list[Message] = []
        while self._fetched and len(found) < room:
            message = self._fetched.popleft()
            if message.id not in self._flying and self._owed(message.id):
                found.append(message)
        self._note_sent(found)
        return found

    def _note_sent(self, found: Sequence[Message]) -> None:
        """History is handed out from the front of its spans: split off the front of those that have begun."""
        spans, changed = list[Span](), False
        for span in self._spans:
            mine = [m.id for m in found if span.first <= m.id <= span.last and span.kinds >> m.kind & 1]
            if span.sent or span.state not in OWED or not mine:
                spans.append(span)
                continue
            changed = True
            spans.append(replace(span, last=max(mine), sent=True))
            if max(mine) < span.last and self._any(rest := replace(span, first=max(mine) + 1)):
                spans.append(rest)
            self._tried = max(self._tried, *mine)
        if changed:
            self._spans = joined(spans)

    def _fetch(self) -> None:
        now = to_ms(self._now())
        for span in sorted(self._spans, key=lambda s: s.first):
            if span.state not in OWED or span.next_try_ms > now:
                continue
            first = span.first
            while len(self._fetched) < FETCH and first <= span.last:
                rows = self._rows(first, span.last, span.kinds, FETCH)
                self._fetched.extend(
                    message_of(row, resupply=row[1] != Kind.POWER_ON) for row in rows if row[0] not in self._flying
                )
                if len(rows) < FETCH:
                    break
                first = rows[-1][0] + 1
            if len(self._fetched) >= FETCH:
                return

    def _owed(self, number: int) -> bool:
        return any(s.first <= number <= s.last and s.state in OWED for s in self._spans)

    def _rows(self, first: int, last: int, kinds: int, limit: int) -> list[Any]:
        return self._read(
            "SELECT id, kind, point, start_ms, version, text FROM message"
            " WHERE id BETWEEN ? AND ? AND (1 << kind) & ? ORDER BY id LIMIT ?",
            (first, last, kinds, limit),
        )

    def _read(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """Rows by the connection of the uplink's thread."""
        if self._reader is None:
            self._reader = self._make_reader()
        return rows_of(self._reader, self._store.where, sql, parameters)

    def _without(self, spans: Iterable[Span], number: int) -> Iterator[Span]:
        """*spans* without message *number*; of one cut in two, no part that has no message of its kinds."""
        for span in spans:
            cut = span.first <= number <= span.last
            yield from (part for part in split([span], number) if not cut or self._any(part))

    def _any(self, span: Span) -> bool:
        """Whether a span of some kinds holds any message at all."""
        return span.kinds == ALL_KINDS or bool(
            self._query(
                "SELECT 1 FROM message WHERE id BETWEEN ? AND ? AND (1 << kind) & ? LIMIT 1",
                (span.first, span.last, span.kinds),
            )
        )

    def _count(self, first: int, last: int, kinds: int) -> int:
        if kinds == ALL_KINDS:
            return last - first + 1
        rows = self._query(
            "SELECT count(*) FROM message WHERE id BETWEEN ? AND ? AND (1 << kind) & ?", (first, last, kinds)
        )
        return int(rows[0][0])

    def _query(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """Rows under our lock: never by the writer, whose lock a commit holds while it waits for ours."""
        if self._counter is None:
            self._counter = self._make_reader()
        return rows_of(self._counter, self._store.where, sql, parameters)

    def answered(self, ids: Iterable[int], *, confirmed: bool = True) -> None:
        """The platform has these, or TCP says that it got their bytes (*confirmed* false)."""
        with self._lock:
            ids = self._settled_unstored(ids, "answered" if confirmed else "unconfirmed")
            unconfirmed = []
            for number in ids:
                old = number <= self._live and number not in self._first
                if not self._settle(number):
                    continue
                self._silences.pop(number, None)
                self._refused_at.pop(number, None)
                self._refusing = False
                self._resupplied += old
                self.progress += 1
                if confirmed:
                    self._answered += 1
                else:
                    self._unconfirmed += 1
                    unconfirmed.append(Span(number, number, State.UNCONFIRMED, sent=True))
            if unconfirmed:
                self._spans = joined([*self._spans, *unconfirmed])
            told = self._heads.intersection(ids) if confirmed and self._heads else ()
        if told:
            self._head_acknowledged(sorted(told))

    def _head_acknowledged(self, ids: Sequence[int]) -> None:
        from station.heading import acknowledged  # once a day, for platforms that take heads

        self._heads.difference_update(ids)
        for said in acknowledged(self._read, self.name, ids):
            self._note("head_acknowledged", platform=self.name, **said)

    def _settle(self, number: int) -> bool:
        """Take *number* out of what is owed; false if it was not owed."""
        kind = self._flying.pop(number, None)
        kinds = ALL_KINDS if kind is None else 1 << kind
        if number > self._live and number not in self._done:  # refused before, it lies in a span of its own
            if number > self._newest:
                return False
            self._done.add(number)
            while self._live + 1 in self._done:
                self._live += 1
                self._done.discard(self._live)
            return True
        before = len(self._spans), sum(s.last - s.first for s in self._spans)
        owed = [s for s in self._spans if s.state in OWED and s.kinds & kinds]
        others = [s for s in self._spans if s.state not in OWED or not s.kinds & kinds]
        self._spans = sorted([*self._without(owed, number), *others], key=lambda s: s.first)
        return before != (len(self._spans), sum(s.last - s.first for s in self._spans))

    def refused(self, message_id: int, reason: str) -> None:
        """The platform said no: tried again later; parked when it goes on refusing this while it takes others.

        A platform that refuses everything (an MN not registered yet) parks nothing: all of it is tried again
        every ten minutes.
        """
        with self._lock:
            if not self._settled_unstored([message_id], "refused"):
                return
            before = max((s.tries for s in self._spans if s.first <= message_id <= s.last), default=0)
            since = self._refused_at.get(message_id)
            self._refused_at[message_id] = self.progress
            kind = self._flying.get(message_id)
            if not self._settle(message_id):
                return
            alone = since is not None and self.progress > since  # others were taken meanwhile
            tries = before + 1 if alone or not before else before
            now = to_ms(self._now())
            together = now // REFUSED_ALL_MS * REFUSED_ALL_MS + REFUSED_ALL_MS
            parked = tries >= MOST_REFUSALS
            span = Span(
                message_id,
                message_id,
                State.PARKED if parked else State.RESEND,
                ALL_KINDS if kind is None else 1 << kind,
                tries=tries,
                next_try_ms=0 if parked else now + RETRY_MS * 2 ** (tries - 1) if alone or since is None else together,
                reason=reason[:200],
                sent=True,
            )
            self._spans = joined([*self._spans, span])
        if not self._refusing or parked:
            self._refusing = True
            what = "parked, station resend queues it again" if parked else "tried again later"
            log.warning("platform %s refuses message %d: %s; %s", self.name, message_id & 0xFFFFFFFF, reason, what)
            self._note("message_parked" if parked else "platform_refuses", platform=self.name, reason=reason)

    def park(self, message_id: int, reason: str) -> None:
        """The platform will never take this as it is, and took others: given up at once, with the reason."""
        with self._lock:
            if not self._settled_unstored([message_id], "refused"):
                return
            kind = self._flying.get(message_id)
            if not self._settle(message_id):
                return
            kinds = ALL_KINDS if kind is None else 1 << kind
            span = Span(message_id, message_id, State.PARKED, kinds, 1, reason=reason[:200], sent=True)
            self._spans = joined([*self._spans, span])
        log.warning(
            "platform %s refuses message %d: %s; parked, station resend queues it again",
            self.name, message_id & 0xFFFFFFFF, reason,
        )  # fmt: skip
        self._note("message_parked", platform=self.name, reason=reason)

    def later(
        self, ids: Sequence[int], seconds: float, reason: str, *, hold: bool = False, refused: bool = False
    ) -> None:
        """These are owed again from *seconds* on, and a restart keeps the time.

        With *hold* the whole platform rests until then (`held`).  Only what was *refused* counts as a try.
        """
        with self._lock:
            if self._volatile is not None:
                for number in ids:
                    self._pass_by(number, round(seconds * 1000), free=2)
                ids = [number for number in ids if number >= 0]
            kept = [(number, self._flying.get(number), self._tries(number) + refused) for number in ids]
            at = to_ms(self._now()) + round(seconds * 1000)
            said = f"{HOLD}{reason}"[:200] if hold else reason[:200]
            spans = [
                Span(number, number, State.RESEND, ALL_KINDS if kind is None else 1 << kind, tries, at, said, True)
                for number, kind, tries in kept
                if self._settle(number)
            ]
            self._spans = joined([*self._spans, *spans])
        self._urgent()

    def _tries(self, number: int) -> int:
        return max((s.tries for s in self._spans if s.first <= number <= s.last), default=0)

    def held(self) -> float:
        """Seconds until the platform may be asked again, where it named a time; 0 where it may be now."""
        with self._lock:
            holding = (s for s in self._spans if s.state is State.RESEND and s.reason.startswith(HOLD))
            until = max((s.next_try_ms for s in holding), default=0)
        left = (until - to_ms(self._now())) / 1000
        return left if 0 < left <= LONGEST_HOLD else 0.0  # longer: the clock was set back since

    @property
    def complaint(self) -> str:
        """What the platform last said no to, if it still stands."""
        with self._lock:
            refused = [s for s in self._spans if s.tries and s.state in (State.RESEND, State.PARKED)]
            return refused[-1].reason if refused else ""

    @property
    def next_try(self) -> datetime | None:
        """When the first of the refused records is sent again; None where none is refused."""
        with self._lock:
            refused = [s.next_try_ms for s in self._spans if s.tries and s.state is State.RESEND]
            return from_ms(min(refused)) if refused else None

    def unanswered(self, message_id: int) -> None:
        """The link was given up over this message: the second time it steps aside, so that the rest goes on.

        A platform that answers nothing at all gets MOST_ASIDE such messages at the most.
        """
        with self._lock:
            if message_id < 0:
                self._pass_by(message_id, RETRY_MS, free=1)
                return
            rounds = self._silences[message_id] = self._silences.get(message_id, 0) + 1
            aside = [s for s in self._spans if s.reason == NO_ANSWER]
            if rounds < 2 or (len(aside) >= MOST_ASIDE and all(s.first != message_id for s in aside)):
                return
            kind = self._flying.get(message_id)
            if not self._settle(message_id):
                return
            wait = min(RETRY_MS * 2 ** (rounds - 2), LONGEST_RETRY_MS)
            span = Span(
                message_id,
                message_id,
                State.RESEND,
                ALL_KINDS if kind is None else 1 << kind,
                next_try_ms=to_ms(self._now()) + wait,
                reason=NO_ANSWER,
                sent=True,
            )
            self._spans = joined([*self._spans, span])

    def number(self, at_least: int) -> int:
        """A number never given before; a reserve is made durable ahead, so a crash jumps forward.

        While the disk fails for longer than the reserve reaches, numbers fall behind the clock and stay new.
        """
        with self._lock:
            number = max(at_least, self._number + 1)
            while number > self._reserved - SPARE and self._patience:
                self._patience -= 1
                self._urgent()
                self._beat()
                if number > self._reserved - SPARE:
                    self._reserve_grown.wait(1.0)
            if number > self._reserved - SPARE:
                number = self._number + 1
            if number > self._reserved:
                raise StoreError(f"{self._store.where}: fails, and no number is left that is sure to be new")
            self._number = number
            return number

    def wait(self, seconds: float) -> bool:
        """Wait until something was committed, at most *seconds*."""
        self._beat()
        ready, _, _ = select.select([self._bell], [], [], seconds)
        if ready:
            try:
                os.eventfd_read(self._bell)
            except BlockingIOError:
                return False
        return bool(ready)

    def fileno(self) -> int:
        """A descriptor that is readable when something was committed."""
        return self._bell

    def ring(self) -> None:
        """Wake whoever waits."""
        os.eventfd_write(self._bell, 1)

    # -- what is asked for again

    def recall(self, kind: Kind, point: str | None, first: datetime, last: datetime) -> Iterator[Message]:
        """Messages of *kind* whose period starts from *first* to *last*, both included, as they were worded then.

        The newest version of each; all of them where *additive*, since a later one holds only what was added.
        Only for the uplink's thread; at most FETCH of them are in memory.
        """
        later: dict[tuple[int, str], list[int]] = {}
        for number, where, at in later_versions(self._read, self.id, kind, to_ms(first), to_ms(last) + 1):
            if point in (None, where):
                some = later.setdefault((at, where), [])
                some[:] = [*some, number] if self.additive else [number]
        low = find_message(self._read, self.id, kind, to_ms(first) - SLACK_MS)
        high = find_message(self._read, self.id, kind, to_ms(last) + SLACK_MS)
        while low < high:
            rows = self._read(
                "SELECT id, kind, point, start_ms, version, text FROM message WHERE id >= ? AND id < ? AND kind = ?"
                " AND version = 1 AND start_ms BETWEEN ? AND ? AND point = coalesce(?, point) ORDER BY id LIMIT ?",
                (low, high, int(kind), to_ms(first), to_ms(last), point, FETCH),
            )
            for row in rows:
                others = later.pop((row[3], row[2]), ())
                if self.additive or not others:
                    yield message_of(row)
                yield from self._numbered(others)
            if len(rows) < FETCH:
                break
            low = rows[-1][0] + 1
        for others in later.values():
            yield from self._numbered(others)

    def _numbered(self, numbers: Iterable[int]) -> Iterator[Message]:
        for number in numbers:
            yield from map(message_of, self._rows(number, number, ALL_KINDS, 1))

    def resend(self, start: datetime, end: datetime, kinds: Iterable[Kind]) -> int:
        """Queue what starts from *start* to before *end* again, whatever became of it; how many messages that adds.

        What is owed already stays as it is; the rest is owed from the next commit on, marked as re-supply.
        """
        runs = [(kind, run) for kind in kinds for run in self._runs(kind, to_ms(start), to_ms(end))]
        with self._lock:
            self._set_aside(max(self._done, default=self._live), ALL_KINDS)
            asked: list[Span] = []
            for kind, (first, last) in runs:
                parts = [Span(first, min(last, self._live), State.RESEND, 1 << kind, reason="asked for again")]
                for owed in (s for s in self._spans if s.state in OWED):
                    parts = [rest for part in parts for rest in without(part, owed)]
                asked += [part for part in parts if part.first <= part.last and self._any(part)]
            kept = [s for s in self._spans if s.state in OWED]
            given_up = [s for s in self._spans if s.state not in OWED]
            before = self._dropped_in(given_up)
            for span in asked:
                given_up = [rest for one in given_up for rest in without(one, span)]
            self._dropped -= before - self._dropped_in(given_up)
            self._spans = joined([*kept, *filter(self._any, given_up), *asked])
            added = sum(self._count(span.first, span.last, span.kinds) for span in asked)
        self._urgent()
        self.ring()
        return added

    def _dropped_in(self, spans: Iterable[Span]) -> int:
        return sum(self._count(s.first, s.last, s.kinds) for s in spans if s.state is State.DROPPED)

    def _runs(self, kind: Kind, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
        """First and last id of each run of messages of *kind* that start in the range, the newest version of each."""
        found = later_versions(self._store.query, self.id, kind, start_ms, end_ms)
        later = {(point, at): number for number, point, at in found}
        for number in [number for number, _, _ in found] if self.additive else later.values():
            yield number, number
        at = find_message(self._store.query, self.id, kind, start_ms - SLACK_MS)
        high = find_message(self._store.query, self.id, kind, end_ms + SLACK_MS)
        first = last = 0
        while rows := self._store.query(
            "SELECT id, start_ms, point FROM message WHERE id >= ? AND id < ? AND kind = ? AND version = 1"
            " ORDER BY id LIMIT ?",
            (at, high, int(kind), 10 * FETCH),
        ):
            for number, at_ms, point in rows:
                if start_ms <= at_ms < end_ms and (self.additive or (point, at_ms) not in later):
                    first, last = first or number, number
                elif first:
                    yield first, last
                    first = 0
            at = rows[-1][0] + 1
        if first:
            yield first, last

    # -- for screens, purge and shutdown

    def depth(self) -> Depth:
        """What is owed and what was given up, now."""
        with self._lock:
            owed = [s for s in self._spans if s.state in OWED]
            count = sum(self._count(s.first, s.last, s.kinds) for s in owed)
            count += self._newest - self._live - len(self._done)
            parked = sum(self._count(s.first, s.last, s.kinds) for s in self._spans if s.state is State.PARKED)
            return Depth(
                int(count),
                self._oldest(owed),
                parked,
                self._dropped,
                self._answered,
                self._unconfirmed,
                self._resupplied,
            )

    def _oldest(self, owed: Sequence[Span]) -> datetime | None:
        for span in [*owed, Span(self._live + 1, self._newest, State.BACKLOG)]:
            rows = self._query(
                "SELECT start_ms FROM message WHERE id BETWEEN ? AND ? AND (1 << kind) & ? ORDER BY id LIMIT 1",
                (span.first, span.last, span.kinds),
            )
            if rows:
                return from_ms(rows[0][0])
        return None

    def keep_from(self) -> int:
        """The oldest message id still owed: purge stops here."""
        with self._lock:
            return min([s.first for s in self._spans if s.state in OWED], default=self._live + 1)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans as they stand."""
        with self._lock:
            return tuple(self._spans)

    def close(self) -> None:
        """Let go of the reader and the bell."""
        for connection in (self._reader, self._counter):
            if connection is not None:
                connection.close()
        self._reader = self._counter = None
        os.close(self._bell)


def sqlite_reader(path: str) -> Callable[[], sqlite3.Connection]:
    """A maker of read-only connections to the database at *path*."""
    from pathlib import Path

    from station.store import connect

    return lambda: connect(Path(path), read_only=True)
