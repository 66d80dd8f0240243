"""An outbox and a command desk in memory, for trying an uplink without a station (fakes ship)."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock

from station.model import Command, Kind, Lane, Message, Outcome, Result, dataclass, field, replace

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Entry:
    message: Message
    lane: Lane = Lane.LIVE
    handed_out: bool = False


class MemoryOutbox:
    """What one platform is owed, kept in memory: `add` is the commit, the rest is uplink.base.Outbox.

    >>> outbox = MemoryOutbox()
    >>> first = outbox.add("DataTime=20260301080000;a01001-Rtd=21.5,a01001-Flag=N")
    >>> outbox.connected()
    >>> [message.resupply for message in outbox.next(Lane.HISTORY, 8)], outbox.next(Lane.LIVE, 8)
    ([True], [])
    >>> outbox.answered([first]); outbox.owed
    []
    >>> outbox.close()
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._entries: dict[int, _Entry] = {}
        self._count = 0
        self._number = 0
        self.acknowledged: list[int] = []
        self.unconfirmed: list[int] = []
        self.given_up: list[int] = []  # messages over which a link ended
        self.refusals: list[tuple[int, str]] = []  # put aside until the link comes up again
        self.parked: list[tuple[int, str]] = []
        self.postponed: list[tuple[list[int], float, str, bool]] = []  # ids, seconds, reason, whether all rests
        self.beats = 0  # how often the uplink showed that it lives

    def add(
        self,
        text: str,
        *,
        kind: Kind = Kind.REALTIME,
        point: str = "P1",
        start: datetime = EPOCH,
        version: int = 1,
    ) -> int:
        """Commit a message as live, and ring."""
        with self._lock:
            self._count += 1
            self._entries[self._count] = _Entry(Message(self._count, kind, point, start, version, text))
            self.ring()
            return self._count

    def ring(self) -> None:
        """Wake whoever waits, as a commit does."""
        os.eventfd_write(self._bell, 1)

    @property
    def owed(self) -> list[int]:
        """Ids that await an answer."""
        with self._lock:
            return sorted(self._entries)

    def connected(self) -> None:
        """What waits is backlog from here on."""
        with self._lock:
            for entry in self._entries.values():
                entry.lane, entry.handed_out = Lane.HISTORY, False

    def next(self, lane: Lane, room: int) -> Sequence[Message]:
        """At most *room* messages of *lane*, oldest first."""
        with self._lock:
            waiting = (e for e in self._entries.values() if e.lane is lane and not e.handed_out)
            chosen = [entry for entry, _ in zip(waiting, range(room), strict=False)]
            for entry in chosen:
                entry.handed_out = True
            return [replace(entry.message, resupply=lane is Lane.HISTORY) for entry in chosen]

    def answered(self, ids: Iterable[int], *, confirmed: bool = True) -> None:
        """Forget *ids*, and note how they were answered."""
        with self._lock:
            for number in ids:
                if self._entries.pop(number, None):
                    (self.acknowledged if confirmed else self.unconfirmed).append(number)

    def refused(self, message_id: int, reason: str) -> None:
        """Note the reason; the message is handed out again after the next connection."""
        with self._lock:
            self.refusals.append((message_id, reason))

    def unanswered(self, message_id: int) -> None:
        """Remember over which message the link was given up."""
        self.given_up.append(message_id)

    def park(self, message_id: int, reason: str) -> None:
        """Give the message up, and note why."""
        with self._lock:
            if self._entries.pop(message_id, None):
                self.parked.append((message_id, reason))

    def later(
        self, ids: Sequence[int], seconds: float, reason: str, *, hold: bool = False, refused: bool = False
    ) -> None:
        """Note it; the messages are handed out again after the next connection."""
        self.postponed.append((list(ids), seconds, reason, hold))

    def held(self) -> float:
        """Nobody waits here."""
        return 0.0

    def number(self, at_least: int) -> int:
        """A number not below *at_least* that was never given."""
        with self._lock:
            self._number = max(at_least, self._number + 1)
            return self._number

    def wait(self, seconds: float) -> bool:
        """Wait for a commit, at most *seconds*."""
        self.beats += 1
        ready, _, _ = select.select([self._bell], [], [], seconds)
        if ready:
            os.eventfd_read(self._bell)
        return bool(ready)

    def fileno(self) -> int:
        """Readable after a commit."""
        return self._bell

    def close(self) -> None:
        """Let go of the bell."""
        os.close(self._bell)


@dataclass(slots=True)
class MemoryCommands:
    """Answers the verbs in *results* at once and refuses the rest; a verb in *held* waits for `release`.

    >>> desk = MemoryCommands({"read_clock": Result(Outcome.DONE, {"time": "2026-03-01T08:00:00+08:00"})})
    >>> desk.refusal(Command("read_clock", "city")), desk.refusal(Command("set_clock", "city"))
    (None, 'set_clock is not carried out here')
    """

    results: Mapping[str, Result] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    asked: list[Command] = field(default_factory=list)
    waiting: list[Callable[[Result], None]] = field(default_factory=list)

    def refusal(self, command: Command) -> str | None:
        """Why *command* is not carried out, or None."""
        known = command.verb in self.results or command.verb in self.held
        return None if known else f"{command.verb} is not carried out here"

    def submit(self, command: Command, answer: Callable[[Result], None]) -> None:
        """Note *command*; answer it now, or keep its answer for `release`."""
        self.asked.append(command)
        if command.verb in self.held:
            self.waiting.append(answer)
        else:
            answer(self.results[command.verb])

    def release(self, result: Result | None = None) -> None:
        """Answer everything held, from the caller's thread."""
        while self.waiting:
            self.waiting.pop(0)(result or Result(Outcome.DONE))
