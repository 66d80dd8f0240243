"""What the bus threads brought since the last commit, the commit made of it, and what every instrument says now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from station.model import Kind, Reading, Reason, Record, dataclass, field
from station.store import Event, Miss, Series

if TYPE_CHECKING:
    from station.commands import Terms

MOST_PENDING = 50_000  # readings kept in memory while the disk refuses writes; older ones are dropped, counted
MOST_EVENTS = 10_000  # events likewise; of a flood the beginning tells most: later ones are dropped, counted


@dataclass(slots=True)
class Switch:
    """From reading number *position* of its batch on, these series stand for what they were made with."""

    position: int
    series: Mapping[tuple[str, str], Series]


@dataclass(slots=True)
class Batch:
    """What one commit makes durable."""

    readings: list[Reading] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Change:
    """Settings a platform made, to be in force from the next commit on; *done* is told what went wrong, or ""."""

    platform: str
    values: Mapping[str, str]
    who: str
    done: Callable[[str], None]


@dataclass(slots=True)
class Turn:
    """The commit made at *now*, of periods that ended by *ready*; what stands below is found on its way."""

    now: datetime
    ready: datetime
    batch: Batch
    changes: Sequence[Change]
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    candidates: list[Reading] = field(default_factory=list)
    latest: dict[tuple[str, str], Reading] = field(default_factory=dict)
    pins: Counter[int] = field(default_factory=Counter)
    fired: dict[str, datetime] = field(default_factory=dict)  # when each platform's real-time data are due next
    minutes: dict[str, datetime] = field(default_factory=dict)  # each platform's next minute record
    again: dict[str, datetime] = field(default_factory=dict)  # when each was told of all equipment
    closed: dict[Kind, datetime] = field(default_factory=dict)
    progress: dict[str, str] = field(default_factory=dict)
    changed: dict[str, Terms] = field(default_factory=dict)
    waits: bool = False  # nothing of it can be dated
    rows: list[tuple[Any, ...]] | None = None  # of readings that waited and are dated now, as stored
    more: bool = False  # of those follows in the next commit
    sealed: float = 0.0  # when the next block is sealed, on monotonic time


@dataclass(slots=True)
class DeviceState:
    """How one instrument is doing."""

    last_reply: datetime | None = None
    failures: int = 0  # polls in a row that gave nothing
    missed: int = 0  # polls that gave nothing since the start
    reason: Reason = Reason.NONE
    error: str = ""


class Recorder:
    """Collects from all bus threads; the main thread takes the batch."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._batch = Batch()
        self._misses: dict[tuple[str, Reason], Miss] = {}
        self.urgent = False
        self.dropped = self.events_dropped = 0
        self.taken = 0  # readings since the start, stored or not
        self.current: dict[tuple[str, str], Reading] = {}
        self.heard: dict[tuple[str, str], float] = {}  # when each was last read, on the clock that never steps
        self.devices: dict[str, DeviceState] = {}
        self.judge: Callable[[Iterable[Reading]], list[Reading]] | None = None  # puts a reason beside odd values
        self.beside: Callable[[Reading], Reading] | None = None  # puts a reason beside a reading, never a mark
        self.listen: Callable[[Sequence[Reading]], None] | None = None  # hears of each poll's readings

    def add(self, readings: Iterable[Reading], monotonic: float) -> None:
        """Take the readings of one poll, whole; *monotonic* is when it was done, in seconds."""
        readings = list(readings if self.beside is None else map(self.beside, readings))
        with self._lock:
            readings = list(readings) if self.judge is None else self.judge(readings)
            self._batch.readings += readings
            self.taken += len(readings)
            for reading in readings:
                self.current[reading.device, reading.parameter] = reading
                self.heard[reading.device, reading.parameter] = monotonic
            self._bound()
        if self.listen is not None:
            self.listen(readings)

    def miss(self, device: str, reason: Reason, at: datetime, count: int = 1) -> None:
        """Count polls of *device* that gave nothing."""
        with self._lock:
            known = self._misses.get((device, reason))
            first, before = (known.first, known.count) if known else (at, 0)
            self._misses[device, reason] = Miss(device, reason, first, at, before + count)
            self.state(device).missed += count

    def event(self, at: datetime, code: str, *, urgent: bool = False, **arguments: object) -> None:
        """Note that something happened; *urgent* events are committed at once."""
        with self._lock:
            if len(self._batch.events) < MOST_EVENTS * (1 + urgent):
                self._batch.events.append(Event(at, code, arguments))
            else:
                self.events_dropped += 1
            self.urgent = self.urgent or urgent

    def record(self, *records: Record, urgent: bool = False) -> None:
        """Keep *records*, all with one commit; *urgent* ones are committed at once."""
        with self._lock:
            self._batch.records += records
            self.urgent = self.urgent or urgent

    def switch(self, series: Mapping[tuple[str, str], Series]) -> None:
        """From the next reading on *series* are made with other coefficients; only from their bus's thread."""
        with self._lock:
            self._batch.switches.append(Switch(len(self._batch.readings), series))

    def withdraw(self, records: Sequence[Record]) -> bool:
        """Take *records* back that no commit has taken yet; false, with nothing taken back, when one has."""
        with self._lock:
            waiting = [one for one in self._batch.records if any(one is record for record in records)]
            if len(waiting) < len(records):
                return False
            self._batch.records = [one for one in self._batch.records if not any(one is r for r in records)]
            return True

    def state(self, device: str) -> DeviceState:
        """How *device* is doing; written by its bus thread alone."""
        return self.devices.setdefault(device, DeviceState())

    def take(self) -> Batch:
        """Everything since the last take; put it back if the commit fails."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
            batch.misses += self._misses.values()
            self._misses = {}
            self.urgent = False
            return batch

    def put_back(self, batch: Batch) -> None:
        """The commit failed: keep *batch* in front of what came since."""
        with self._lock:
            for later in self._batch.switches:
                later.position += len(batch.readings)
            batch.switches += self._batch.switches
            batch.readings += self._batch.readings
            self._count_again(batch.misses)
            batch.misses = []
            batch.events += self._batch.events
            batch.records += self._batch.records
            self._batch = batch
            self._bound()

    def _count_again(self, misses: Iterable[Miss]) -> None:
        """Misses that could not be written, with those since: one row for each device and reason, however long."""
        for miss in misses:
            key = miss.device, miss.reason
            later = self._misses.get(key, Miss(miss.device, miss.reason, miss.last, miss.last, 0))
            self._misses[key] = Miss(*key, miss.first, later.last, miss.count + later.count)

    def _bound(self) -> None:
        excess = len(self._batch.readings) - MOST_PENDING
        if excess > 0:
            del self._batch.readings[:excess]
            for switch in self._batch.switches:
                switch.position = max(0, switch.position - excess)
            self.dropped += excess
