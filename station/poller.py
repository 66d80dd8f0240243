"""One thread per bus: which device is due, read it, hand on what it said."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Event, Thread

from drivers.base import Device, DeviceException, DeviceSettings, DriverError, NoReply, PortLost
from station import calibrate, qc
from station.calibrate import IDENTITY, Coefficients
from station.clock import Clock
from station.model import Reason, Sample, dataclass, field
from station.recorder import Recorder

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 60.0  # seconds between two probes of a unit that does not answer
PORT_RETRY = 2.0  # seconds between two tries to open a port that is not there
LOAN_SHARE = 10  # a line that is never idle is lent for one part in so many
MOST_SPARED = 5000  # polls remembered that a wiper spoilt: two hours of them at a second's interval
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

    def point(self, parameter: str) -> str:
        """The measuring point *parameter* belongs to."""
        return self.settings.points.get(parameter, self.settings.point)

    def coefficients(self, parameter: str) -> Coefficients:
        """The station's slope and intercept for *parameter*."""
        return self.settings.calibration.get(parameter, IDENTITY)


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
    ) -> None:
        super().__init__(name=f"bus-{name}", daemon=True)  # a line that hangs must not keep the process
        start = clock.monotonic()
        self.bus_name = name
        self.tasks = [Task(device, settings, start) for device, settings in devices]
        self._recorder, self._clock, self._stopping, self._beat, self._close = recorder, clock, stop, beat, close
        self._errands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._loans: deque[tuple[Callable[[], None], float, float]] = deque()  # errand, its seconds, asked for when
        self._port_error: PortLost | None = None
        self._port_again = 0.0  # when the port is tried again
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Poll until stopped; anything unforeseen is kept for the main thread, which ends the process."""
        try:
            while not self._stopping.is_set():
                self.turn()
        except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
            self.failed = error
        finally:
            self._close()

    def turn(self) -> None:
        """One round: an errand if there is one, else the device that is due, else a short wait."""
        self._beat()
        task = min(self.tasks, key=lambda t: t.due, default=None)
        wait = TURN if task is None else task.due - self._clock.monotonic()
        if self._loans and self._may_lend(wait if task else float("inf")):
            self._loans.popleft()[0]()
            return
        try:
            errand = self._errands.get(timeout=min(wait, TURN)) if wait > 0 else self._errands.get_nowait()
        except Empty:
            if wait <= 0 and task is not None:
                self.poll(task)
            return
        if errand is not None:
            errand()

    def submit(self, errand: Callable[[], None]) -> None:
        """Have *errand* done by this bus's thread, between two polls."""
        self._errands.put(errand)

    def lend(self, errand: Callable[[], None], seconds: float) -> None:
        """Have *errand*, which takes *seconds* at most, done where no poll has to wait for it.

        On a line that is never idle for so long it is done all the same, but such errands together take
        one part in LOAN_SHARE of the time, so that nobody loses the cadence.
        """
        self._loans.append((errand, seconds, self._clock.monotonic()))
        self._errands.put(None)

    def _may_lend(self, wait: float) -> bool:
        _, seconds, since = self._loans[0]
        return wait >= seconds or self._clock.monotonic() - since >= LOAN_SHARE * seconds

    def wake(self) -> None:
        """End the present wait, so that a stop is seen at once."""
        self._errands.put(None)

    def read_now(self, name: str) -> Sequence[Sample]:
        """Read device *name* once, outside its schedule; only from this bus's thread.

        What an instrument slower than its polls brings comes once, so it is recorded, whoever asked.
        """
        task = next(t for t in self.tasks if t.device.name == name)
        samples = task.device.read()
        if task.pace_seconds > task.settings.poll_seconds:
            self._record(task, samples)
        return samples

    def poll(self, task: Task) -> None:
        """Read *task*'s device; a missed poll is tried again at once, a silent unit ever more rarely."""
        began = self._clock.monotonic()
        task.due = max(task.due + task.settings.poll_seconds, began) if task.resumes is None else task.resumes
        task.resumes = None
        try:
            if self._port_error is not None and began < self._port_again:
                raise self._port_error
            samples = self._read(task)
        except PortLost as error:
            self._miss(task, error, began)
            self._lose_port(error)
        except DriverError as error:
            self._record(task, error.samples)
            self._miss(task, error, began)
            self._find_port()
            if isinstance(error, NoReply):
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
        name, heard = task.device.name, self._clock.monotonic()
        readings = []
        for sample in samples:
            key = sample.parameter
            made = calibrate.reading(sample, name, task.point(key), task.coefficients(key), heard)
            readings.append(qc.mark(made, task.settings.range.get(key)))
        if readings:
            self._recorder.add(readings, heard)
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
        task.failures, task.faulty = 0, False
        state = self._recorder.state(task.device.name)
        if state.failures:
            if state.reason is not Reason.PORT_LOST:
                log.warning("device %s: answers again after %d missed polls", task.device.name, state.failures)
                self._recorder.event(self._clock.now(), "device_back", device=task.device.name, missed=state.failures)
            state.failures, state.reason, state.error = 0, Reason.NONE, ""

    def _find_port(self) -> None:
        if self._port_error is not None:
            self._port_error = None
            log.warning("bus %s: the port is back", self.bus_name)
            self._recorder.event(self._clock.now(), "port_back", bus=self.bus_name)

    def _lose_port(self, error: PortLost) -> None:
        """Every device of the line misses its polls until the port is there; it is tried once in a while."""
        now = self._clock.monotonic()
        if now < self._port_again:
            return
        self._port_again = now + PORT_RETRY
        if self._port_error is None:
            log.warning("bus %s: %s; trying again every %g s", self.bus_name, error, PORT_RETRY)
            self._recorder.event(self._clock.now(), "port_lost", bus=self.bus_name, error=str(error))
        self._port_error = error
