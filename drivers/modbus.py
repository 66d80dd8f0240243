"""An instrument described by a profile, read over a bus."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from drivers.base import (
    BAUDRATES,
    BusSettings,
    DeviceError,
    DeviceException,
    DeviceSettings,
    DriverError,
    NoReply,
    NotReady,
    ProfileError,
)
from drivers.bus import Bus
from drivers.port import Speed
from drivers.profile import Action, Profile, Status, Step, load
from drivers.registers import TEXTS, Found, Register, Request, judged, marked, raws_in, text_in
from drivers.statistics import Statistics
from station.model import Mark, Reason, Sample, dataclass, did_you_mean, field, replace, setting

if TYPE_CHECKING:
    from drivers.calibrating import Hands

log = logging.getLogger(__name__)

SILENT_POLLS = 2  # one reply may get lost; an instrument that was switched off misses the second try too
LONGEST_NAP = 0.5  # seconds a read keeps the line for its waits; longer ones are left to the other instruments
LAST_MODBUS_ID = 247
LONGEST_WIPER_MINUTES = 1440  # a probe set to wipe less often was told to leave it to the station
STALE_SECONDS = 60.0  # reads so old do not enter a mean with new ones, nor is a measurement so overdue gone on with

T = TypeVar("T")
Cycle = Generator[float, None, list[Sample]]  # yields the seconds it waits, returns what it read


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSettings(DeviceSettings):
    """The keys of an instrument with a Modbus address."""

    unit_id: int = setting(low=1, high=255, text="its Modbus address")
    baudrate: int | None = setting(None, choices=BAUDRATES, text="bit/s, where it cannot be set as the line is")
    parity: str | None = setting(None, choices=("N", "E", "O"), text="parity, where it is not the line's")
    stopbits: int | None = setting(None, choices=(1, 2), text="stop bits, where they are not the line's")

    def speed(self, bus: BusSettings) -> Speed:
        """How it is spoken to on *bus*."""
        return Speed(self.baudrate or bus.baudrate, self.parity or bus.parity, self.stopbits or bus.stopbits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSettings(UnitSettings):
    """The keys of a [[bus.device]] table whose driver is "modbus"."""

    profile: str = setting(text="which instrument it is: a file of drivers/profiles or of your own folder")
    variant: str | None = setting(None, text="which layout of the profile, where it has several")
    confirmed: bool = setting(False, text="the uncertain parts of the profile were checked on this instrument")
    start_address: int | None = setting(
        None, low=0, high=0xFFFF, text="where its values begin, of a profile that does not know; from the maker's list"
    )
    clean_minutes: float | None = setting(
        None, low=1, high=10080, text="how often the station starts its wiper; without it the probe's own clock does"
    )


class ModbusDevice:
    """An instrument on *bus*, as its profile says.

    An instrument that comes back after *SILENT_POLLS* polls without a reply was switched off: for the profile's
    warm-up its samples carry Mark.M (Reason.WARMING_UP), for it works but does not measure yet, which
    is neither a fault nor a value to average.  A start of the station does not count as silence.

    A poll is the profile's steps before, the reads, and the steps after.  Where it has to wait longer than a
    moment, read returns nothing and *pending_seconds* says when the next call goes on.
    """

    Settings = ModbusSettings
    hints: Sequence[str] = ()  # what somebody who sets the station up, or looks at it, ought to know

    def __init__(
        self, settings: ModbusSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]
    ) -> None:
        profile = load(settings.profile, folders, frames=False).chosen(settings.variant)
        _usable(settings, profile)
        profile = profile.starting_at(settings.start_address)
        self._begin(settings, profile, bus, now)
        self._clean_seconds = 60 * (settings.clean_minutes or 0)
        if profile.uncertain:
            said = f"{profile.name} is a template of grade {profile.grade}, confirmed here: {profile.uncertain}"
            self.hints = (said,)

    def _begin(self, settings: UnitSettings, profile: Profile, bus: Bus, now: Callable[[], datetime]) -> None:
        self.name = settings.name
        self.parameters = _selected(settings, profile)
        self.units: Mapping[str, str] = {
            r.parameter: r.unit for r in profile.registers if r.parameter in self.parameters
        }
        waits = sum(step.seconds for step in profile.steps if step.do == "wait" and step.when != "start")
        self.poll_minimum_seconds = max(profile.poll_minimum_seconds, waits)
        self.general_address = profile.general_address
        self.conditions: tuple[str, ...] = ()  # what the instrument says of itself, in words
        self.held: tuple[str, ...] = ()
        self.patience_seconds = _patience(settings, profile)
        self._unit_id, self._profile, self._bus, self._now = settings.unit_id, profile, bus, now
        self.speed = settings.speed(bus.settings)
        self.hints: tuple[str, ...] = ()  # what is no fault and yet unusual
        own = Speed(bus.settings.baudrate, bus.settings.parity, bus.settings.stopbits)
        if self.speed != own:
            bus.speeds[settings.unit_id] = self.speed
            self.hints = (f"is spoken to with {self.speed} on a line of {own}: each of its polls switches the port",)
        self._requests = profile.plan(self.speed.line, self.parameters, bus.settings.gap_ms)
        self.actions = self._all_actions()
        self._unanswered = 0
        self._warm_at = 0.0  # on the bus's monotonic clock, as all that follows
        self._asked_at = -math.inf
        self._held_until: dict[str, float] = {}  # by parameter: after a wiper
        self._clean_seconds = self._clean_at = 0.0
        self._started = False  # whether the steps of its start are done
        self._cycle: Cycle | None = None
        self._pending_at: float | None = None
        self._absent = [0] * len(profile.absent)  # polls in a row that read so
        self._window = Window(profile.average_reads, profile.average_seconds, self.units)
        # Polls that are far apart have a mean each; where they are not, each adds one read to those before it.
        self._anew = settings.poll_seconds >= profile.average_reads * profile.average_seconds
        self._gathering = False

    def read(self) -> list[Sample]:
        """One set of samples, all of the same time; what was had before a failure is in the error's *samples*."""
        now = self._bus.monotonic()
        if self._pending_at is not None and now < self._pending_at:
            return []
        if self._cycle is None and self._clean_seconds and now >= self._clean_at:
            self._clean_at = now + self._clean_seconds
            self.act("clean", {})
            self.held = tuple(p for p in self.parameters if self._held_until.get(p, 0.0) > now)
            return []
        self.held = tuple(p for p in self.parameters if self._held_until.get(p, 0.0) > now)
        if len(self.held) == len(self.parameters):
            return []
        if self._pending_at is not None and now > self._pending_at + STALE_SECONDS:
            self._cycle = None  # the line was lost meanwhile
        cycle, self._cycle, self._pending_at = self._cycle or self._poll(), None, None
        napped = 0.0
        while True:
            try:
                pause = next(cycle)
            except StopIteration as done:
                return self._averaged(done.value)
            napped += pause
            if napped > LONGEST_NAP:
                self._cycle, self._pending_at = cycle, self._bus.monotonic() + pause
                return []
            self._bus.sleep(pause)

    @property
    def pending_seconds(self) -> float | None:
        """In how many seconds a read that was begun goes on; None when none is under way."""
        return None if self._pending_at is None else max(0.0, self._pending_at - self._bus.monotonic())

    def identify(self) -> dict[str, str]:
        """The texts by which the instrument names itself, such as its serial number."""
        texts: dict[str, str] = {}
        for request in self._profile.plan_identity(self._bus.line):
            try:
                payload = self._asked(request)
            except DeviceException:
                if any(place.type == "ascii" for place in request.places):
                    raise
                continue  # some firmware does not tell its version
            for register, raw in zip(request.places, request.raws(payload), strict=True):
                texts[getattr(register, "parameter", "")] = text_in(register, raw)
        return texts

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Do what the profile's actions of *verb* say, or read who the instrument is; raise DriverError."""
        if verb == "read_identity":
            texts = self.identify()
            names = [r.parameter for r in self._profile.registers if r.type == "ascii" and texts.get(r.parameter)]
            return texts | {"serial": texts.get("serial_number") or (texts[names[0]] if names else "")}
        if verb.endswith("_coefficients"):
            from drivers.calibrating import carry_out

            self._anew_from_here()
            return carry_out(self._hands(), verb, arguments)
        parameter, half = arguments.get("parameter"), arguments.get("type", "")
        fitting = self._fitting(verb, arguments)
        if not fitting:
            raise DeviceError(f"{self.name}: has no way to {verb} {parameter or ''} {half}".rstrip())
        last = arguments.get("last") != "no"
        bound = [self._bound(action, arguments) for action in fitting]  # before anything is written
        for action in bound:
            log.warning("device %s: %s", self.name, action.text)
            self._act(action, last=last)
        return {}

    def calibrating(self, parameter: str) -> Mapping[str, Any]:
        """How the instrument itself can be calibrated for *parameter* (drivers/calibrating.py says what is in it)."""
        from drivers.calibrating import ways

        return ways(self._profile, parameter) if parameter in self.parameters else {}

    def can(self, verb: str, parameter: str, half: str = "") -> bool:
        """Whether it has an action of *verb* for *parameter*, of a zero or a span where *half* says so."""
        return bool(self._fitting(verb, {"parameter": parameter, "type": half}))

    def concerned(self, verb: str, parameter: str, half: str = "") -> tuple[str, ...]:
        """All of its parameters that are under way with *parameter* when it does *verb*; *parameter* itself first."""
        found = [parameter]
        for action in self._fitting(verb, {"parameter": parameter, "type": half}):
            found += [one for one in self.parameters if not action.parameters or one in action.parameters]
        return tuple(dict.fromkeys(found))

    def _fitting(self, verb: str, arguments: Mapping[str, str]) -> list[Action]:
        parameter, half, number = (arguments.get(key, "") for key in ("parameter", "type", "number"))
        return [
            action
            for action in self._profile.actions
            if action.verb == verb
            and (not parameter or parameter in (action.parameters or self.parameters))
            and (action.type == half or (not action.type and half in ("zero", "span")))
            and str(action.number or number) == number
        ]

    def _bound(self, action: Action, arguments: Mapping[str, str]) -> Action:
        """*action* with what whoever commands it brings."""
        if not any(step.given for step in action.sequence):
            return action
        from drivers.calibrating import bound

        return bound(self._hands(), action, arguments)

    def _hands(self) -> Hands:
        from drivers.calibrating import Hands

        self._wake()
        return Hands(
            name=self.name,
            profile=self._profile,
            ask=self._asked,
            write=lambda write: self._bus.write(self._unit_id, write, self._profile),
            through=self._through,
        )

    def close(self) -> None:
        """Nothing: the port belongs to the bus."""

    # -- one poll

    def _poll(self) -> Cycle:
        """The steps before, the reads, the steps after; the last are done after a failure too, if it still answers."""
        failure: DriverError | None = None
        samples: list[Sample] = []
        reading = False  # the reads judge by themselves whether it was heard
        try:
            if not self._started:
                yield from self._polled("start")
                self._look_at_wiper()
                self._started = True
            yield from self._polled("before")
            reading = True
            samples, failure = self._read()
        except DriverError as error:
            failure = error
        if not isinstance(failure, NoReply):
            try:
                yield from self._polled("after")
            except DriverError as error:
                failure = failure or error
        if failure is not None:
            if not reading:
                self._heard(failure)
            failure.samples = samples
            raise failure
        return samples

    def _read(self) -> tuple[list[Sample], DriverError | None]:
        """What all reads brought, and the first thing that went wrong."""
        time = self._now()
        found: Found = {}
        failure: DriverError | None = None
        for request in self._requests:
            try:
                payload = self._asked(request)
            except DriverError as error:
                failure = failure or error
                if isinstance(error, DeviceException):
                    continue  # it is there, and refuses these registers only
                break
            found |= raws_in(request, payload)
        places = [place for request in self._requests for place in request.places]
        samples, conditions = judged(places, found, time)
        self._heard(failure)
        self._note(conditions, complete=failure is None)
        samples = self._fitted(samples, places, found)
        return self._held(self._warming(marked(samples, conditions))), failure

    def _polled(self, when: str) -> Iterator[float]:
        for step in self._profile.at(when):
            if refusal := self._profile.refusal(step):  # the profile's check says so first
                raise ProfileError(f"{self.name}: {refusal}")
            try:
                yield from self._do(step)
            except DeviceError as error:
                if not step.optional:
                    raise
                log.info("device %s: a step is passed over: %s", self.name, error)

    def _look_at_wiper(self) -> None:
        """Where the station starts the wiper: say so when the probe's own clock does as well."""
        for action in self._profile.actions if self._clean_seconds else ():
            if action.interval is None:
                continue
            place = action.interval
            try:
                payload = self._asked(Request(place.table, place.address, place.width, (place,)))
            except DeviceException:
                continue  # this one has no such register
            (raw,) = Request(place.table, place.address, place.width, (place,)).raws(payload)
            minutes = place.number(raw) or 0
            if 0 < minutes < LONGEST_WIPER_MINUTES:
                said = f"its wiper runs every {minutes:g} min by its own clock too, and spoils readings unseen"
                if said not in self.hints:
                    log.warning("device %s: %s", self.name, said)
                    self.hints = (*self.hints, said)

    def _do(self, step: Step) -> Iterator[float]:
        """Do *step*; yields the seconds it waits."""
        match step.do:
            case "write":
                self._awake(lambda: self._bus.write(self._unit_id, step, self._profile))
            case "wait" if step.place is None:
                yield step.seconds
            case "wait":
                (told,) = step.asked.raws(self._asked(step.asked))
                yield min(told * step.times / 1000, 60.0)  # a register that says more says nonsense
            case "until":
                yield from self._until(step)
            case _:
                # The start of some probes is a read whose answer has no bytes, or some that mean nothing.
                data, answer = step.request[1:], step.answer_bytes
                self._awake(
                    lambda: self._bus.raw(self._unit_id, step.function, data, self._profile, answer_bytes=answer)
                )

    def _until(self, step: Step) -> Iterator[float]:
        deadline = self._bus.monotonic() + step.seconds
        while True:
            (raw,) = step.asked.raws(self._asked(step.asked))
            if raw & step.mask == step.value:
                return
            if self._bus.monotonic() >= deadline:
                raise NotReady(
                    f"{self.name}: {step.asked.text} reads {raw}, and was not {step.value} within {step.seconds:g} s"
                )
            yield step.every_seconds

    def _asked(self, request: Request) -> bytes:
        return self._awake(lambda: self._bus.read(self._unit_id, request, self._profile))

    def _awake(self, exchange: Callable[[], T]) -> T:
        """*exchange*, once more when its first request only woke an instrument that slept."""
        idle = self._bus.monotonic() - self._asked_at
        asleep = 0 < self._profile.sleep_seconds <= idle
        try:
            return exchange()
        except NoReply:
            if not asleep:
                raise
            self._bus.excuse(self._unit_id)
            return exchange()
        finally:
            self._asked_at = self._bus.monotonic()

    def _wake(self) -> None:
        """Have an instrument that sleeps lose a read and not a write, of which nobody could tell if it was done."""
        idle = self._bus.monotonic() - self._asked_at
        if 0 < self._profile.sleep_seconds <= idle and self._requests:
            with suppress(DeviceException):
                self._asked(self._requests[0])

    # -- an action

    def _act(self, action: Action, last: bool = True) -> None:
        """Unlock where the profile wants it, write, compare, lock again whatever happened.

        Of a calibration, *last* says whether its standards are all told.
        """
        self._wake()
        locked = bool(self._profile.unlock) and any(self._profile.protects(write) for write in action.writes)
        try:
            if locked:
                self._through(self._profile.unlock)
            self._through(action.sequence, last)
            if action.verify:
                self._compare(action)
        finally:
            if locked:
                self._lock()
        if action.hold_seconds:
            until = self._bus.monotonic() + action.hold_seconds
            self._held_until |= dict.fromkeys(action.parameters or self.parameters, until)
        if action.hold_seconds or action.verb == "calibrate":
            self._anew_from_here()

    def _lock(self) -> None:
        try:
            self._through(self._profile.lock)
        except NoReply:
            self._through(self._profile.lock)  # a reply that is lost once leaves nothing open

    def _anew_from_here(self) -> None:
        """What was read before is of another instrument, as it were: no mean takes it in, no measurement goes on."""
        self._cycle, self._pending_at = None, None
        self._window.clear()

    def _through(self, steps: Iterable[Step], last: bool = True) -> None:
        for step in steps:
            if step.do == "expect":
                from drivers.calibrating import expect

                expect(self.name, step, self._asked(step.asked), last)
                continue
            for pause in self._do(step):
                self._bus.sleep(pause)

    def _compare(self, action: Action) -> None:
        for write in action.writes:
            if not write.values or write.function not in (6, 16):
                continue
            request = Request("holding", write.address, len(write.values), ())
            payload = self._asked(request)
            written = b"".join(value.to_bytes(2, "big") for value in write.values)
            if payload != written:
                raise DeviceError(
                    f"{self.name}: {request.text} reads {payload.hex(' ').upper()}"
                    f" after {written.hex(' ').upper()} was written"
                )

    def _all_actions(self) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        for action in self._profile.actions:
            concerned = [p for p in self.parameters if not action.parameters or p in action.parameters]
            found[action.verb] = tuple(dict.fromkeys([*found.get(action.verb, ()), *concerned]))
        if any(register.type in TEXTS for register in self._profile.registers):
            found["read_identity"] = self.parameters
        return found

    @property
    def statistics(self) -> Statistics:
        """What it has been asked and how it answered."""
        return self._bus.statistics[self._unit_id]

    # -- what the samples are worth

    def _heard(self, failure: DriverError | None) -> None:
        if isinstance(failure, NoReply):
            self._unanswered += 1
            if self._unanswered >= SILENT_POLLS:
                self._started = False  # it may have been switched off
                self._window.clear()
        elif failure is None or isinstance(failure, DeviceException):
            if self._unanswered >= SILENT_POLLS:
                self._warm_at = self._bus.monotonic() + self._profile.warm_up_seconds
            self._unanswered = 0

    def _warming(self, samples: list[Sample]) -> list[Sample]:
        if self._bus.monotonic() >= self._warm_at:
            return samples
        return [
            sample if sample.mark > Mark.M else replace(sample, mark=Mark.M, reason=Reason.WARMING_UP)
            for sample in samples
        ]

    def _held(self, samples: list[Sample]) -> list[Sample]:
        """Without what a wiper spoils: it says nothing, so it is neither a value nor a fault."""
        return [sample for sample in samples if sample.parameter not in self.held]

    def _fitted(self, samples: list[Sample], places: Iterable[object], found: Found) -> list[Sample]:
        """*samples* with no value where several registers together say that the element is not fitted."""
        if not self._absent:
            return samples
        raws = {p.parameter: found[id(p)] for p in places if isinstance(p, Register) and id(p) in found}
        missing: set[str] = set()
        for i, rule in enumerate(self._profile.absent):
            asked = [(raws.get(name), raw) for name, raw in zip(rule.parameters, rule.raws, strict=True)]
            self._absent[i] = self._absent[i] + 1 if all(_same(got, raw) for got, raw in asked) else 0
            if self._absent[i] >= rule.polls:
                missing |= {*rule.parameters}
        return [
            replace(sample, value=None, mark=Mark.D, reason=Reason.NO_VALUE) if sample.parameter in missing else sample
            for sample in samples
        ]

    def _averaged(self, samples: list[Sample]) -> list[Sample]:
        """The means the maker asks for; nothing until there are enough reads, and when the next one is due."""
        if self._window.reads == 1:
            return samples
        if self._anew and not self._gathering:
            self._window.clear()
        means, whole = self._window.add(samples, self._bus.monotonic())
        self._gathering = not whole
        if self._gathering:
            self._pending_at = self._bus.monotonic() + self._window.seconds
            return []
        return means

    def _note(self, conditions: Iterable[Status], *, complete: bool) -> None:
        """Keep what the instrument reports of itself, and log it when it changes."""
        texts = tuple(dict.fromkeys(condition.reason for condition in conditions))
        if texts == self.conditions or not (texts or complete):
            return
        self.conditions = texts
        log.warning("device %s: reports %s", self.name, "; ".join(texts) or "no fault any more")


@dataclass(slots=True)
class Window:
    """The last *reads* reads, *seconds* apart or more, of each parameter in *units*: their mean is the value.

    The mean of directions is that of their vectors, the mean of sound levels that of their energies.
    """

    reads: int
    seconds: float
    units: Mapping[str, str]
    _kept: dict[str, deque[float]] = field(default_factory=dict)
    _added: float = field(default=-math.inf)

    def clear(self) -> None:
        """Begin anew."""
        self._kept.clear()

    def add(self, samples: Iterable[Sample], now: float) -> tuple[list[Sample], bool]:
        """What *samples*, read at *now*, bring, and whether every parameter has its mean or a mark instead.

        What is marked passes as it is and enters no mean; the reads before it do not either.
        """
        if now - self._added > STALE_SECONDS + 3 * self.seconds:
            self.clear()
        self._added = now
        made, whole = [], True
        for sample in samples:
            kept = self._kept.setdefault(sample.parameter, deque(maxlen=self.reads))
            if sample.mark is not Mark.N or sample.value is None:
                kept.clear()
                made.append(sample)
                continue
            kept.append(sample.value)
            whole = whole and len(kept) == self.reads
            made.append(replace(sample, value=_mean(kept, self.units.get(sample.parameter, ""))))
        return made, whole


def _mean(values: Collection[float], unit: str) -> float:
    """The mean of *values*: of vectors for degrees, of energies for decibels.

    >>> round(_mean([350, 20], "°"), 9), round(_mean([60.0, 70.0], "dB"), 2), _mean([1.0, 2.0], "mg/L")
    (5.0, 67.4, 1.5)
    """
    if unit == "°":
        east = math.fsum(math.sin(math.radians(v)) for v in values)
        north = math.fsum(math.cos(math.radians(v)) for v in values)
        if math.hypot(east, north) < 1e-9 * len(values):
            return next(iter(values))
        return math.degrees(math.atan2(east, north)) % 360 % 360
    if unit.startswith("dB"):
        loudest = max(values)
        return loudest + 10 * math.log10(math.fsum(10 ** ((v - loudest) / 10) for v in values) / len(values))
    return math.fsum(values) / len(values)


def _same(got: float | None, raw: float) -> bool:
    return got is not None and (got == raw or (got != got and raw != raw))


def _patience(settings: DeviceSettings, profile: Profile) -> float:
    """How long no value may come while all is well: waits of a measurement, a wiper, the reads of a mean."""
    waits = sum(step.seconds for step in profile.steps)
    hold = max((action.hold_seconds for action in profile.actions), default=0.0)
    mean = profile.average_reads * profile.average_seconds if profile.average_reads > 1 else 0.0
    slow = waits + hold + mean
    return slow + 2 * settings.poll_seconds if slow else 0.0


def _usable(settings: ModbusSettings, profile: Profile) -> None:
    """Raise ProfileError where *settings* ask of *profile* what it cannot promise."""
    if profile.uncertain and not settings.confirmed:
        raise ProfileError(
            f"profile {profile.name}: is a template of grade {profile.grade}, for {profile.uncertain.rstrip('.')};"
            " check that on the instrument, then write confirmed = true"
        )
    if profile.start_address is not None and settings.start_address is None:
        raise ProfileError(
            f"profile {profile.name}: where its values begin is in no source; take the address from the maker's list,"
            " compare what station bus peek shows there with the display, and write start_address = N"
        )
    if profile.start_address is None and settings.start_address is not None:
        raise ProfileError(f"profile {profile.name}: has addresses of its own, so start_address has no use")
    if not 1 <= settings.unit_id <= LAST_MODBUS_ID and settings.unit_id != profile.general_address:
        raise ProfileError(f"profile {profile.name}: unit_id {settings.unit_id} is not between 1 and {LAST_MODBUS_ID}")
    if settings.clean_minutes is not None:
        cleaning = [action for action in profile.actions if action.verb == "clean"]
        if not cleaning:
            raise ProfileError(f"profile {profile.name}: has no action to clean, so clean_minutes has no use")
        if any(profile.refusal(step) for action in cleaning for step in action.sequence):
            raise ProfileError(f"profile {profile.name}: cleaning writes protected registers, which no poll may")


def _selected(settings: DeviceSettings, profile: Profile) -> tuple[str, ...]:
    for parameter in settings.parameters:
        if parameter not in profile.parameters:
            raise ProfileError(
                f"profile {profile.name}: does not measure {parameter!r}"
                f"{did_you_mean(parameter, profile.parameters)};"
                f" it has {', '.join(profile.parameters)}"
            )
    return tuple(p for p in profile.parameters if not settings.parameters or p in settings.parameters)
