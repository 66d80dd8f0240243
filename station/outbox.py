"""What one platform is owed: a live cursor, and spans of older messages (design: cursor and spans).

Messages of a platform have contiguous ids.  Everything up to `live` has been dealt with, except what
lies in a span; everything above it is live.  Answers wait in memory for the next commit: after a
crash a message may be sent again with the same identity, never forgotten.
"""

from __future__ import annotations

import enum
import os
import select
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Condition, RLock
from typing import Any

from station.clock import from_ms, to_ms
from station.model import Kind, Lane, Message
from station.store import SEQUENCE_BITS, Store, message_of

ALL_KINDS = sum(1 << kind for kind in Kind)
MOST_REFUSALS = 5
RETRY_MS = 60_000  # after a refusal; doubles with each one
FETCH = 100
RESERVE_PATIENCE = 5  # seconds to wait for a durable reserve; a disk that fails must not silence the uplink


class State(enum.IntEnum):
    """Why a span of messages stands apart."""

    BACKLOG = 1  # owed, oldest first
    RESEND = 2  # refused, or asked for again: owed from its next_try on
    PARKED = 3  # given up after too many refusals
    DROPPED = 4  # kinds this platform does not want re-supplied


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
        urgent: Callable[[], None] = lambda: None,
        beat: Callable[[], None] = lambda: None,
        backlog_kinds: Iterable[Kind] = tuple(Kind),
        horizon_seconds: float = 75.0,
    ) -> None:
        self.name = name
        self._store, self._make_reader = store, reader
        self._reader: Any = None
        self._now, self._urgent, self._beat = now, urgent, beat
        self._lock = RLock()
        self._reserve_grown = Condition(self._lock)
        self._wanted = sum(1 << kind for kind in backlog_kinds) | 1 << Kind.POWER_ON
        self._horizon_ms = round(horizon_seconds * 1000)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._flying: set[int] = set()
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
                "INSERT INTO platform(name, live, reserved, answered, unconfirmed, resupplied, dropped)"
                " SELECT ?, 0, 0, 0, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM platform WHERE name = ?)",
                (self.name, self.name),
            )
            row = db.execute(
                "SELECT id, live, reserved, answered, unconfirmed, resupplied, dropped FROM platform WHERE name = ?",
                (self.name,),
            ).fetchone()
        self.id = row[0]
        base = self.id << SEQUENCE_BITS
        self._live, self._reserved = max(int(row[1]), base), int(row[2])
        self._answered, self._unconfirmed, self._resupplied, self._dropped = row[3:7]
        self._number: int = self._reserved
        self._newest = self._store.newest_message(self.id)
        self._handed = self._live
        rows = self._store.query(
            "SELECT first, last, state, kinds, tries, next_try_ms, reason FROM span WHERE platform = ? ORDER BY first",
            (self.id,),
        )
        self._spans = [Span(r[0], r[1], State(r[2]), r[3], r[4], r[5], r[6]) for r in rows]
        self._written: tuple[Any, ...] | None = None

    def write(self, db: Any, *, last: bool = False) -> None:
        """Inside a transaction: make what is known so far durable; *last* on a clean stop."""
        with self._lock:
            reserved = self._number if last else max(self._number, to_ms(self._now())) + self._horizon_ms
            self._pending_reserve = max(reserved, self._number)
            live, spans = self._as_after_a_crash()
            state = (live, self._answered, self._unconfirmed, self._resupplied, self._dropped)
        db.execute(
            "UPDATE platform SET live = ?, reserved = ?, answered = ?, unconfirmed = ?, resupplied = ?, dropped = ?"
            " WHERE id = ?",
            (state[0], self._pending_reserve, *state[1:], self.id),
        )
        if spans != self._written:
            db.execute("DELETE FROM span WHERE platform = ?", (self.id,))
            db.executemany(
                "INSERT INTO span(platform, first, last, state, kinds, tries, next_try_ms, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(self.id, s.first, s.last, int(s.state), s.kinds, s.tries, s.next_try_ms, s.reason) for s in spans],
            )
        self._pending_written = spans

    def _as_after_a_crash(self) -> tuple[int, tuple[Span, ...]]:
        """Cursor and spans with the gaps below live answers as backlog: in flight now, owed to the next start."""
        if not self._done:
            return self._live, tuple(self._spans)
        gaps = [Span(self._live + 1, max(self._done), State.BACKLOG, self._wanted)]
        for number in self._done:
            gaps = split(gaps, number)
        return max(self._done), (*self._spans, *gaps)

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
        with self._lock:
            if pins:
                self._first = range(self._newest + 1, self._newest + 1 + pins)
                self._pinned.extend(self._first)
            self._reserved, self._written = self._pending_reserve, self._pending_written
            newest = self._store.newest_message(self.id)
            rung = newest > self._newest
            self._newest = newest
            self._reserve_grown.notify_all()
        if rung:
            self.ring()

    # -- uplink.base.Outbox

    def connected(self) -> None:
        """The link is up: what waits becomes one backlog span, and live jumps to the newest message."""
        with self._lock:
            self._back_to_earth()
            first, last = self._live + 1, self._newest
            if first <= last:
                self._live = last
                self._spans.append(Span(first, last, State.BACKLOG, self._wanted))
                if refused := ALL_KINDS & ~self._wanted:
                    self._spans.append(Span(first, last, State.DROPPED, refused, reason="not in backlog_kinds"))
                    self._dropped += self._count(first, last, refused)
                for number in self._done:
                    self._spans = split(self._spans, number)
                self._done.clear()
            self._handed = self._live
            self.connected_at = self._now()

    def disconnected(self) -> None:
        """The link is down: what was in flight is owed again."""
        with self._lock:
            self._back_to_earth()
            self.connected_at = None

    def _back_to_earth(self) -> None:
        self._flying.clear()
        self._fetched.clear()
        self._handed = self._live

    def next(self, lane: Lane, room: int) -> Sequence[Message]:
        """At most *room* messages of *lane* that are not in flight, oldest first."""
        self._beat()
        with self._lock:
            found = self._next_live(room) if lane is Lane.LIVE else self._next_history(room)
            self._flying.update(message.id for message in found)
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
        return found

    def _next_history(self, room: int) -> list[Message]:
        if not self._fetched:
            self._fetch()
        found: list[Message] = []
        while self._fetched and len(found) < room:
            message = self._fetched.popleft()
            if message.id not in self._flying and self._owed(message.id):
                found.append(message)
        return found

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
        if self._reader is None:
            self._reader = self._make_reader()
        return list(
            self._reader.execute(
                "SELECT id, kind, point, start_ms, version, text FROM message"
                " WHERE id BETWEEN ? AND ? AND (1 << kind) & ? ORDER BY id LIMIT ?",
                (first, last, kinds, limit),
            )
        )

    def _count(self, first: int, last: int, kinds: int) -> int:
        if kinds == ALL_KINDS:
            return last - first + 1
        rows = self._store.query(
            "SELECT count(*) FROM message WHERE id BETWEEN ? AND ? AND (1 << kind) & ?", (first, last, kinds)
        )
        return int(rows[0][0])

    def answered(self, ids: Iterable[int], *, confirmed: bool = True) -> None:
        """The platform has these, or TCP says that it got their bytes (*confirmed* false)."""
        with self._lock:
            for number in ids:
                old = number <= self._live and number not in self._first
                if not self._settle(number):
                    continue
                self._resupplied += old
                self.progress += 1
                if confirmed:
                    self._answered += 1
                else:
                    self._unconfirmed += 1

    def _settle(self, number: int) -> bool:
        """Take *number* out of what is owed; false if it was not owed."""
        self._flying.discard(number)
        if number > self._live:
            if number in self._done or number > self._newest:
                return False
            self._done.add(number)
            while self._live + 1 in self._done:
                self._live += 1
                self._done.discard(self._live)
            return True
        before = len(self._spans), sum(s.last - s.first for s in self._spans)
        owed = [s for s in self._spans if s.state in OWED]
        others = [s for s in self._spans if s.state not in OWED]
        self._spans = sorted([*split(owed, number), *others], key=lambda s: s.first)
        return before != (len(self._spans), sum(s.last - s.first for s in self._spans))

    def refused(self, message_id: int, reason: str) -> None:
        """The platform said no: tried again later, parked with its reason after MOST_REFUSALS."""
        with self._lock:
            tries = 1 + max((s.tries for s in self._spans if s.first <= message_id <= s.last), default=0)
            if not self._settle(message_id):
                return
            state = State.PARKED if tries >= MOST_REFUSALS else State.RESEND
            next_try = to_ms(self._now()) + RETRY_MS * 2 ** (tries - 1)
            self._spans.append(
                Span(message_id, message_id, state, tries=tries, next_try_ms=next_try, reason=reason[:200])
            )
            self._spans.sort(key=lambda s: s.first)

    def number(self, at_least: int) -> int:
        """A number never given before; a reserve is made durable ahead, so a crash jumps forward."""
        with self._lock:
            number = max(at_least, self._number + 1)
            self._number = number
            for _ in range(RESERVE_PATIENCE):
                if number <= self._reserved:
                    break
                self._urgent()
                self._beat()
                self._reserve_grown.wait(1.0)
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

    # -- for screens, purge and shutdown

    def depth(self) -> Depth:
        """What is owed and what was given up, now."""
        with self._lock:
            owed = [s for s in self._spans if s.state in OWED]
            count = sum(self._count(s.first, s.last, s.kinds) for s in owed)
            count += self._newest - self._live - len(self._done)
            parked = sum(s.last - s.first + 1 for s in self._spans if s.state is State.PARKED)
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
            rows = self._store.query(
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
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        os.close(self._bell)


def sqlite_reader(path: str) -> Callable[[], sqlite3.Connection]:
    """A maker of read-only connections to the database at *path*."""
    from pathlib import Path

    from station.store import connect

    return lambda: connect(Path(path), read_only=True)
