"""One thread per bus: which device is due, read it, hand on what it said."""

from __future__ import annotations

import json
import logging
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from drivers.base import (
    Device,
    DeviceBusy,
    DeviceException,
    DeviceSettings,
    DriverError,
    LineStuck,
    NoReply,
    PortLost,
)
from station import calibrate, qc
from station.calibrate import IDENTITY, Coefficients
from station.clock import Clock, floor_to
from station.model import Reason, Record, Sample, asdict, dataclass, field
from station.recorder import Recorder
from station.store import Series

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 60.0  # seconds between two probes of a unit that does not answer
PORT_RETRY = 2.0  # seconds between two tries to open a port that is not there
LONGEST_YIELD = 10.0  # seconds a device that would hold the others up lets them go first
BUSY_RETRY = 1.0  # seconds until an instrument that said it was busy is asked again
MOST_BUSY = 3  # times in a row, until its poll is missed
MOST_SPARED = 5000  # polls remembered that a wiper spoilt: two hours of them at a second's interval
LOAN_SHARE = 10  # a line that is never idle for long enough is lent for one part in so many
LOAN_PATIENCE = 1.0  # seconds somebody who borrows the line waits for a pause that is long enough
MOVED = 1.0  # seconds; a wall clock that moves this far while an instrument is read was stepped
TURN = 1.0  # seconds a poller sleeps at most before it shows that it lives


@dataclass(slots=True)
class Task:
    """One device and when it is due, in monotonic seconds."""

    device: Device
    settings: DeviceSettings
    due: float
    last: float = field(default=0.0)
    failures: int = 0  # polls in a row without any reply
    faulty: bool = False  # the last poll gave nothing, or not everything
    busy: int = 0  # times in a row that it said so
    counted: dict[str, Any] = field(default_factory=dict)  # its line's statistics at the last account
    resumes: float | None = None  # a measurement is under way: when the poll after it is due
    spared: dict[str, deque[datetime]] = field(default_factory=dict)  # polls without a value for a wiper's sake

    @property
    def patience_seconds(self) -> float:
        """How long no value may come while all is well, where the instrument says more than its pace does."""
        return float(getattr(self.device, "patience_seconds", 0.0))

    def spared_between(self, parameter: str, start: datetime, end: datetime) -> int:
        """How many polls in a period had no value of *parameter* because none could be had: a wiper, not a fault."""
        return sum(start <= at < end for at in self.spared.get(parameter, ()))

    @property
    def pace_seconds(self) -> float:
        """Seconds from one value to the next: the poll interval, or the instrument's own pace if that is slower."""
        return max(self.settings.poll_seconds, getattr(self.device, "every_seconds", 0.0))

    @property
    def closing_seconds(self) -> float:
        """How long behind the end of a period its results may come: as configured, else as the instrument says."""
        minutes = getattr(self.settings, "closing_delay_minutes", None)  # the board's pins have none
        return float(getattr(self.device, "closing_seconds", 0.0)) if minutes is None else 60 * minutes

    def turn_at(self, speed: Any) -> float:
        """When it is its turn on a line that speaks with *speed*, in monotonic seconds.

        One that is silent, or for whom the port must be switched, lets the others go first for one interval of its
        own, LONGEST_YIELD at most.
        """
        yields = self.failures or getattr(self.device, "speed", speed) != speed
        return self.due + min(self.settings.poll_seconds, LONGEST_YIELD) if yields else self.due

    def line(self) -> dict[str, Any] | None:
        """How it answered since the start, and how long it is left alone now; None where nothing is counted."""
        statistics = getattr(self.device, "statistics", None)
        if statistics is None:
            return None
        backing_off = backoff(self.failures) if self.failures else 0.0
        return {**statistics.so_far(), "backoff_seconds": backing_off}

    def point(self, parameter: str) -> str:
        """The measuring point *parameter* belongs to."""
        return self.settings.points.get(parameter, self.settings.point)

    def coefficients(self, parameter: str) -> Coefficients:
        """The station's slope and intercept for *parameter*."""
        return self.settings.calibration.get(parameter, IDENTITY)


def series_of(task: Task) -> dict[tuple[str, str], Series]:
    """What stands for the readings of *task*, with its settings and coefficients as they are now."""
    shaped_by = json.dumps(asdict(task.settings), default=dict, sort_keys=True)
    digest, name = f"{zlib.crc32(shaped_by.encode()):08x}", task.device.name
    return {
        (name, parameter): Series(name, task.point(parameter), parameter, task.coefficients(parameter), digest)
        for parameter in task.device.units
    }


def backoff(failures: int) -> float:
    """Seconds until a silent unit is probed again: 1, 2, 4 … up to LONGEST_BACKOFF.

    >>> [backoff(n) for n in (1, 2, 3, 7, 50)]
    [1.0, 2.0, 4.0, 60.0, 60.0]
    """
    return min(LONGEST_BACKOFF, 2.0 ** min(failures - 1, 10))


class Poller(Thread):
    """Owns one line; nobody else reads from its devices."""

    def __init__(
        self,
        name: str,
        devices: Sequence[tuple[Device, DeviceSettings]],
        recorder: Recorder,
        clock: Clock,
        stop: Event,
        beat: Callable[[], None],
        close: Callable[[], None] = lambda: None,
        reopen: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name=f"bus-{name}", daemon=True)  # a line that hangs must not keep the process
        start = clock.monotonic()
        self.bus_name = name
        self.tasks = [Task(device, settings, start) for device, settings in devices]
        self._recorder, self._clock, self._stopping, self._beat, self._close = recorder, clock, stop, beat, close
        self._errands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._loans: deque[tuple[Callable[[], None], float, float]] = deque()  # errand, its seconds, asked for when
        self._loan_again = 0.0  # when the line may be lent again although it is not idle for long enough
        self._port_error: PortLost | None = None
        self._port_again = 0.0  # when the port is tried again
        self._reopen = reopen  # opens it, or raises PortLost; without it the next poll does
        self._offset = clock.now().timestamp() - start  # wall clock against monotonic one, when a poll began
        self._speed: Any = None  # with which the line was spoken on last
        self._account_began, self._account_since = clock.now(), start
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Poll until stopped; anything unforeseen is kept for the main thread, which ends the process."""
        try:
            while not self._stopping.is_set():
                self.turn()
            self._account(last=True)
        except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
            self.failed = error
        finally:
            try:
                self._leave()
            finally:
                self._close()

    def _leave(self) -> None:
        """What switches something leaves it off, whatever ends this thread."""
        for task in self.tasks:
            leave = getattr(task.device, "leave", None)
            if leave is not None:
                leave()

    def turn(self) -> None:
        """One round: an errand if there is one, else the device that is due, else a short wait."""
        self._beat()
        self._account()
        now = self._clock.monotonic()
        task = self._next(now)
        wait = TURN if task is None else task.due - now
        if self.retry_due():
            self._try_port(now)
            return
        if self._port_error is not None:
            wait = min(wait, max(0.0, self._port_again - now)) if self._may_reopen() else wait
        if self._loans and self._lend_now(wait if task else float("inf")):
            return
        try:
            errand = self._errands.get(timeout=min(wait, TURN)) if wait > 0 else self._errands.get_nowait()
        except Empty:
            if task is not None and task.due <= now:
                self.poll(task)
            return
        if errand is not None:
            errand()

    def _next(self, now: float) -> Task | None:
        """Whose turn it is, or whose will be."""
        due = [task for task in self.tasks if task.due <= now]
        if due:
            return min(due, key=lambda task: task.turn_at(self._speed))
        return min(self.tasks, key=lambda task: task.due, default=None)

    def submit(self, errand: Callable[[], None]) -> None:
        """Have *errand* done by this bus's thread, between two polls."""
        self._errands.put(errand)

    def lend(self, errand: Callable[[], None], seconds: float) -> None:
        """Have *errand*, which takes *seconds* at most, done where no poll has to wait for it.

        On a line that is not idle for so long it is done all the same after a while, but such errands together
        take one part in LOAN_SHARE of the time, so that nobody loses the cadence.
        """
        self._loans.append((errand, seconds, self._clock.monotonic()))
        self._errands.put(None)

    def _lend_now(self, wait: float) -> bool:
        """Lend the line if that may be now, *wait* seconds before the next poll; whether it was lent."""
        errand, seconds, since = self._loans[0]
        began = self._clock.monotonic()
        fits = wait >= seconds
        if not fits and (began - since < LOAN_PATIENCE or began < self._loan_again):
            return False
        self._loans.popleft()
        errand()
        if not fits:
            ended = self._clock.monotonic()
            self._loan_again = ended + LOAN_SHARE * (ended - began)
        return True

    def wake(self) -> None:
        """End the present wait, so that a stop is seen at once."""
        self._errands.put(None)

    def read_now(self, name: str) -> Sequence[Sample]:
        """Read device *name* once, outside its schedule; only from this bus's thread.

        What an instrument slower than its polls brings comes once, so it is recorded, whoever asked.
        """
        task = next(t for t in self.tasks if t.device.name == name)
        self._offset = self._clock.now().timestamp() - self._clock.monotonic()
        samples = task.device.read()
        if task.pace_seconds > task.settings.poll_seconds:
            self._record(task, samples)
        return samples

    def poll(self, task: Task) -> None:
        """Read *task*'s device; a missed poll is tried again at once, a silent unit ever more rarely."""
        began = self._clock.monotonic()
        self._offset = self._clock.now().timestamp() - began
        task.due = max(task.due + task.settings.poll_seconds, began) if task.resumes is None else task.resumes
        task.resumes = None
        self._speed = getattr(task.device, "speed", self._speed)
        try:
            if self._port_error is not None and began < self._port_again:
                raise self._port_error
            samples = self._read(task)
        except PortLost as error:
            self._miss(task, error, began)
            self._lose_port(error)
        except DeviceBusy as error:
            self._find_port()
            self._ask_later(task, error, began)
        except DriverError as error:
            self._record(task, error.samples)
            self._miss(task, error, began)
            self._find_port()
            if isinstance(error, NoReply) and not getattr(task.device, "speaks", False):
                task.failures += 1
                task.due = max(task.due, began + backoff(task.failures))
            elif isinstance(error, DeviceException):
                task.failures = 0  # it is there
            task.faulty = True
        else:
            self._record(task, samples)
            self._find_port()
            self._found(task)
            self._put_off(task)
        task.last = began

    def _ask_later(self, task: Task, error: DeviceBusy, began: float) -> None:
        """It is there and at work; its poll is missed only when it goes on saying so."""
        task.failures, task.busy = 0, task.busy + 1
        if task.busy <= MOST_BUSY:
            task.resumes, task.due = task.due, began + BUSY_RETRY
            return
        task.busy, task.faulty = 0, True
        self._record(task, error.samples)
        self._miss(task, error, began)

    def _put_off(self, task: Task) -> None:
        """Go on when the instrument has measured; remember what a wiper cost."""
        pending = getattr(task.device, "pending_seconds", None)
        if pending is not None:
            task.resumes, task.due = task.due, self._clock.monotonic() + pending
        for parameter in getattr(task.device, "held", ()):
            task.spared.setdefault(parameter, deque(maxlen=MOST_SPARED)).append(self._clock.now())

    def _read(self, task: Task) -> Sequence[Sample]:
        """One poll; the first failure of a healthy unit is tried again at once, later ones wait for their turn."""
        try:
            return task.device.read()
        except PortLost:
            raise
        except DriverError as error:
            if task.faulty or isinstance(error, DeviceException) or self._stopping.is_set():
                raise
            self._recorder.miss(task.device.name, error.reason, self._clock.now())
            self._beat()
            return task.device.read()

    def _record(self, task: Task, samples: Sequence[Sample]) -> None:
        name, heard, wall = task.device.name, self._clock.monotonic(), self._clock.now()
        stepped = abs(wall.timestamp() - heard - self._offset) > MOVED
        readings = []
        for sample in samples:
            key = sample.parameter
            taken = heard if stepped else heard - max(0.0, (wall - sample.time).total_seconds())
            made = calibrate.reading(sample, name, task.point(key), task.coefficients(key), heard, taken)
            readings.append(qc.mark(made, task.settings.range.get(key)))
        if readings:
            self._recorder.add(readings, heard)
        if readings or not task.device.units:
            self._recorder.state(name).last_reply = self._clock.now()

    def _miss(self, task: Task, error: DriverError, began: float) -> None:
        name, now = task.device.name, self._clock.now()
        self._recorder.miss(name, error.reason, now)
        skipped = int((began - task.last) / task.settings.poll_seconds) - 1 if task.last else 0
        if task.failures and skipped > 0:
            self._recorder.miss(name, Reason.BACKING_OFF, now, skipped)
        state = self._recorder.state(name)
        state.failures += 1
        state.reason, state.error = error.reason, str(error)
        if state.failures == 1 and not isinstance(error, PortLost):
            log.warning("device %s: %s", name, error)
            self._recorder.event(now, "device_lost", device=name, reason=error.reason.name, error=str(error))

    def _found(self, task: Task) -> None:
        task.failures, task.faulty, task.busy = 0, False, 0
        state = self._recorder.state(task.device.name)
        if state.failures:
            if state.reason is not Reason.PORT_LOST:
                log.warning("device %s: answers again after %d missed polls", task.device.name, state.failures)
                self._recorder.event(self._clock.now(), "device_back", device=task.device.name, missed=state.failures)
            state.failures, state.reason, state.error = 0, Reason.NONE, ""

    def _find_port(self) -> None:
        if self._port_error is not None:
            stuck, self._port_error = isinstance(self._port_error, LineStuck), None
            log.warning("bus %s: %s", self.bus_name, "the line works again" if stuck else "the port is back")
            self._recorder.event(self._clock.now(), "port_back", bus=self.bus_name)

    def _lose_port(self, error: PortLost) -> None:
        """Every device of the line misses its polls until the port is there; it is tried once in a while."""
        now = self._clock.monotonic()
        if now < self._port_again:
            return
        self._port_again = now + PORT_RETRY
        if type(self._port_error) is not type(error):
            log.warning("bus %s: %s; trying again every %g s", self.bus_name, error, PORT_RETRY)
            self._recorder.event(self._clock.now(), error.event, bus=self.bus_name, error=str(error))
        self._port_error = error

    def retry_due(self) -> bool:
        """Whether the port is to be tried now, apart from any poll."""
        lost = self._port_error is not None and self._may_reopen()
        return lost and self._clock.monotonic() >= self._port_again

    def _may_reopen(self) -> bool:
        """Whether opening the port shows that the line works; a stuck one shows it only when it is asked."""
        return self._reopen is not None and not isinstance(self._port_error, LineStuck)

    def _try_port(self, now: float) -> None:
        """Open the port, whoever is due when; where it opens, all who missed their polls are due."""
        assert self._reopen is not None
        try:
            self._reopen()
        except PortLost as error:
            self._lose_port(error)
            return
        self._find_port()
        for task in self.tasks:
            if self._recorder.state(task.device.name).reason is Reason.PORT_LOST:
                task.due = min(task.due, now)

    def _account(self, *, last: bool = False) -> None:
        """Keep what each device's exchanges were like, hour by hour, and until a stop."""
        now, hour = self._clock.now(), 3600
        if floor_to(now, hour) == floor_to(self._account_began, hour) and not last:
            return
        began, since = self._account_began, self._account_since
        self._account_began, self._account_since = now, self._clock.monotonic()
        for task in self.tasks:
            counted = task.line()
            if counted is None:
                continue
            added = task.device.statistics.since(task.counted)  # type: ignore[attr-defined]
            task.counted = counted
            if added["requests"] or added["leftover_bytes"]:
                body = {"bus": self.bus_name, "seconds": round(self._account_since - since), **added}
                body["backoff_seconds"] = counted["backoff_seconds"]
                self._recorder.record(Record("line", began, body, device=task.device.name))
