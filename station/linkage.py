"""One thread between readings, contacts and outputs: it watches the inputs, asks the rules, drives the pins.

It never waits for the disk or for a line: what it finds goes to the recorder, as the bus threads' readings do.
When the main thread stands still, or the station ends, every output goes off.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from threading import RLock, Thread
from typing import TYPE_CHECKING, Any

from station import resumption
from station.clock import period_start
from station.conditions import Conditions
from station.model import (
    Averaging,
    Kind,
    Mark,
    Reading,
    Reason,
    Record,
    StationError,
    WrongArgument,
    dataclass,
    did_you_mean,
    field,
    replace,
)
from station.parameters import catalogue
from station.rules import (
    NEVER,
    Decision,
    Level,
    Limits,
    Past,
    SampleRule,
    SprayRule,
    Watch,
    Weather,
    Why,
    Wish,
    decide,
    level,
    merged,
    returned,
    sample,
    signal,
    spray,
    watched,
    weather_locks,
)
from station.wiring import equipment

if TYPE_CHECKING:
    from station.engine import Engine

log = logging.getLogger(__name__)

TURN = 0.2  # seconds between two looks at the pins; a change of a pin or a reading comes at once
BATTERY_COMMIT_SECONDS = 10.0  # while the mains is gone, so much is lost at most when the battery ends
DAY_TOLERANCE = 3600.0  # seconds by which a day may be longer or shorter and end all the same
PATIENCE = 2.0  # seconds that whoever stops the station waits for a turn to end
HAND_SECONDS = 600.0  # how long a person's word holds unless said otherwise
STALE_POLLS, STALE_SECONDS = 3, 60.0
IDLE = Decision(False, Why.IDLE)


class OutputRefused(StationError):
    """Error raised when an output may not be switched as asked."""


@dataclass(slots=True)
class _Input:
    """A contact: its state, and since when its level is another."""

    settings: Any
    contact: Any
    active: bool = False
    since: datetime | None = None  # when it last changed
    stands_since: float = NEVER  # the same on the clock that never steps
    turned: tuple[float, datetime] | None = None  # monotonic and wall time of a change that has not stood yet


@dataclass(slots=True)
class _Output:
    """An output with its rules and its past."""

    settings: Any
    pin: Any
    rules: Sequence[Any]
    limits: Limits
    past: Past = field(default_factory=Past)
    watches: dict[str, Watch] = field(default_factory=dict)
    levels: dict[str, Level] = field(default_factory=dict)
    decision: Decision = IDLE
    told: set[Why] = field(default_factory=set)  # what held it back and is on record since it last changed
    lingers_until: float | None = None  # how long its reason stands beside readings after a run
    lock_ends: float = math.inf  # on the clock that never steps
    lock: Mapping[str, Any] = field(default_factory=dict)
    who: Mapping[str, Any] = field(default_factory=dict)  # who asked by hand, and why
    bottle: int = 0  # the last one filled
    pulse: dict[str, Any] | None = None  # a sample that waits for the sampler's acknowledgement
    pulse_ends: float = NEVER
    lost: bool = False  # its module did not answer or follow within this run

    @property
    def sampler(self) -> SampleRule | None:
        """The rule that makes it a sampler."""
        return next((rule for rule in self.rules if isinstance(rule, SampleRule)), None)


class Linkage(Thread):
    """Owns the contacts and outputs of *engine*'s *pins*."""

    def __init__(self, engine: Engine, pins: Any, beat: Callable[[], None], main_is_silent: Callable[[], bool]) -> None:
        super().__init__(name="pins", daemon=True)
        self._engine, self._clock, self._pins = engine, engine.clock, pins
        self._beat, self._main_is_silent = beat, main_is_silent
        self._zone = engine.loaded.zone
        self._lock = RLock()
        self._queue: SimpleQueue[Sequence[Reading] | None] = SimpleQueue()
        self._over = False
        self._forced = False
        self._battery_commit = NEVER
        self._unknown: set[str] = set()  # inputs whose level is not known now
        self._faults: dict[str, str] = {}  # pins that cannot be read or switched, by the name of what hangs on them
        self.failed: BaseException | None = None
        self.conditions = Conditions(self._clock.now)
        config = engine.config
        self._points = [point.code for point in config.point]
        self._inputs = {
            s.name: _Input(s, pins.contact(s, lambda: self._queue.put(None)))
            for s in config.input
            if hasattr(s, "codes")
        }
        self._outputs = {
            s.name: _output(s, pins.output(s), [r for r in config.rule if r.output == s.name]) for s in config.output
        }
        self._series = {
            (task.point(p), p): task for task in engine.tasks.values() for p in task.device.units
        }  # who measures what
        self._windows: dict[tuple[str, str], deque[Reading]] = {key: deque() for key in self._wanted()}
        self._longest = max([STALE_SECONDS, *(r.average_seconds for r in config.rule)]) + 1.0
        self._rain: dict[str, tuple[float, float]] = {}  # by point: the last total, and when it last rose
        self._day = period_start(Kind.DAY, self._clock.now(), self._zone)
        self._day_since = self._clock.monotonic() - (self._clock.now() - self._day).total_seconds()
        self._restore()

    def _wanted(self) -> Iterator[tuple[str, str]]:
        """Every (point, parameter) a rule looks at."""
        for rule in self._engine.config.rule:
            if rule.parameter:
                yield rule.point, rule.parameter
            if isinstance(rule, SprayRule):
                where = rule.weather_point or rule.point
                yield from ((where, parameter) for parameter in ("air_temperature", "wind_speed", "rain"))

    # -- what a start takes up

    def _restore(self) -> None:
        now, mono = self._clock.now(), self._clock.monotonic()
        for one in self._outputs.values():
            self._restore_output(one, now, mono)
        self._keep_all_equipment()
        for rule in self._engine.config.rule:
            if isinstance(rule, SprayRule) and rule.rain_hours is not None:
                point = rule.weather_point or rule.point
                rained = resumption.last_rain(self._engine.store, point, rule.rain_hours, now)
                _, known = self._rain.get(point, (0.0, NEVER))
                self._rain[point] = (float("nan"), max(known, mono - (now - rained).total_seconds()))

    def _restore_output(self, one: _Output, now: datetime, mono: float) -> None:
        name, store = one.settings.name, self._engine.store
        was = resumption.earlier(store, name, self._day, now)
        since = NEVER if was.switched is None else min(mono, mono - (now - was.switched).total_seconds())
        if was.cut is not None:
            since = mono
            self._note("output_cut", output=name, began=was.cut.isoformat(), ran_seconds=round(was.ran, 1))
            self._keep("output", name, state="off", why=Why.STOPPED, ran_seconds=round(was.ran, 1))
        one.past = Past(since=since, used=was.used, day_began=mono - (now - self._day).total_seconds())
        if one.sampler is not None:
            one.watches[one.sampler.name] = Watch(armed=was.armed)
            one.bottle = resumption.last_bottle(store, name)
        if locked := resumption.lock(store, name):
            one.lock, one.lock_ends = locked.body, mono + self._lock_left(locked.body, now)
            one.past = replace(one.past, locked=True)

    def _lock_left(self, lock: Mapping[str, Any], now: datetime) -> float:
        """Seconds that a lock of an earlier start goes on; all of them where nobody vouches for the clock."""
        if not lock.get("until"):
            return math.inf
        left = (datetime.fromisoformat(lock["until"]) - now).total_seconds()
        whole = float(lock.get("seconds") or left)
        return whole if self._engine.time.waits else max(0.0, min(left, whole))

    # -- the thread

    def run(self) -> None:
        """Turn until stopped; anything unforeseen is kept for the main thread, which ends the process."""
        try:
            while not self._engine.stop.is_set():
                come = self._wait()
                with self._lock:
                    self._take(come)
                self.turn()
        except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
            self.failed = error
        finally:
            self.finish()

    def _wait(self) -> Sequence[Reading] | None:
        """Until readings come, which are returned, or a pin changes, or it is time for the next turn."""
        now = self._clock.monotonic()
        pulses = [one.pulse_ends - now for one in self._outputs.values() if one.past.on and one.sampler]
        try:
            return self._queue.get(timeout=max(0.001, min([TURN, *pulses])))
        except Empty:
            return None

    def seen(self, readings: Sequence[Reading]) -> None:
        """From a bus thread: *readings* have come."""
        wanted = [r for r in readings if (r.point, r.parameter) in self._windows]
        if wanted:
            self._queue.put(wanted)

    def turn(self) -> None:
        """Look at every contact, ask every rule, drive what has to be driven."""
        self._beat()
        with self._lock:
            if self._over:
                return
            while not self._queue.empty():
                self._take(self._queue.get())
            now = self._clock.monotonic()
            for item in self._inputs.values():
                self._look(item, now)
            if self._main_is_silent():
                self._force_off(now)
                return
            self._forced = False
            self._new_day(now)
            for one in self._outputs.values():
                self._decide(one, now)
                self._linger(one, now)
                self._await_bottle(one, now)
            self._hurry(now)

    def _take(self, readings: Sequence[Reading] | None) -> None:
        for reading in readings or ():
            key = (reading.point, reading.parameter)
            window = self._windows[key]
            window.append(reading)
            while len(window) > 1 and window[0].heard < reading.heard - self._longest:
                window.popleft()
            if reading.parameter == "rain" and reading.mark is Mark.N and reading.value is not None:
                total, rose = self._rain.get(reading.point, (float("nan"), NEVER))
                if reading.value > total:
                    rose = reading.heard
                self._rain[reading.point] = (reading.value, rose)

    def wake(self) -> None:
        """End the present wait, so that a stop is seen at once."""
        self._queue.put(None)

    def _new_day(self, now: float) -> None:
        """At midnight what each ran that day is forgotten; a clock that is stepped over one ends no day."""
        wall = self._clock.now()
        day = period_start(Kind.DAY, wall, self._zone)
        lasted, since = now - self._day_since, now - (wall - day).total_seconds()
        came = day > self._day and abs(lasted - (day - self._day).total_seconds()) < DAY_TOLERANCE
        self._day, self._day_since = day, since
        if came:
            for one in self._outputs.values():
                one.past = one.past.next_day(now)

    def _hurry(self, now: float) -> None:
        """While the mains is gone, commit often."""
        if any(i.active and i.settings.urgent for i in self._inputs.values()) and now >= self._battery_commit:
            self._battery_commit = now + BATTERY_COMMIT_SECONDS
            self._engine.hurry()

    # -- contacts

    def _look(self, item: _Input, now: float) -> None:
        """A level counts once it has stood for the debounce time; the change is dated to its beginning."""
        name = item.settings.name
        try:
            active = item.contact.active
        except StationError as error:
            self._unknown.add(name)
            item.turned = None
            self._broken(name, error)
            return
        if active is None:  # a module that was not read yet
            self._unknown.add(name)
            return
        self._unknown.discard(name)
        self._mended(name)
        if active is item.active:
            item.turned = None
            return
        began, at = item.turned = item.turned or (now, self._clock.now())
        if now - began < item.settings.bounce_seconds:
            return
        lasted = began - item.stands_since if item.since and not active else None
        item.active, item.since, item.stands_since, item.turned = active, at, began, None
        settings = item.settings
        code = settings.codes[0 if active else 1]
        said = {} if lasted is None else {"lasted_seconds": round(lasted, 1)}
        log.warning("input %s: %s", settings.name, code.replace("_", " "))
        self._engine.recorder.event(at, code, urgent=settings.urgent, input=settings.name, **said)
        self._keep_equipment(settings, active, at)
        for point in settings.affects:
            self._condition(point, settings.name, settings.reason, active, began, at)
        if settings.urgent:
            self._tell_of_mains(active, at)
            self._battery_commit = now + BATTERY_COMMIT_SECONDS

    def contact(self, name: str) -> tuple[bool, datetime | None] | None:
        """Whether contact *name* is active, and since when; None where its pin cannot be read."""
        item = self._inputs[name]
        return None if name in self._unknown else (item.active, item.since)

    def _tell_of_mains(self, gone: bool, at: datetime) -> None:
        """A last word to the platforms that take site information, before the battery ends; and one when it is over."""
        for point in self._points:
            text = "mains power lost, on battery" if gone else "mains power is back"
            self._keep("site_info", "", point=point, at=at, urgent=True, item="logger_log", value=text)

    def _condition(self, point: str, source: str, reason: Reason, active: bool, mono: float, at: datetime) -> None:
        """Begin or end what stands beside the readings of *point*; all are on record, though a reading holds one."""
        said: dict[str, Any] = {"reason": reason.name.lower()}
        if active:
            if self.conditions.begin(point, source, reason, mono):
                self._keep("condition", source, point=point, at=at, state="began", **said)
            return
        lasted = self.conditions.end(point, source, mono)
        if lasted is not None:
            since = at - timedelta(seconds=lasted)
            self._keep(
                "condition", source, point=point, at=at, state="ended", since=since.isoformat(),
                lasted_seconds=round(lasted, 1), **said,
            )  # fmt: skip

    def _keep_equipment(self, settings: Any, running: bool, at: datetime | None = None) -> None:
        """Treatment equipment begins or stops to run (station/records.py)."""
        if getattr(settings, "equipment", ""):
            point, number = equipment(settings, self._points)
            state = "running" if running else "off"
            self._keep("equipment", settings.name, point=point, at=at, urgent=True, states={number: state})

    def _keep_all_equipment(self) -> None:
        """The states a start begins with, one record a point."""
        states: dict[str, dict[str, str]] = {}
        for item in (*self._engine.config.input, *self._engine.config.output):
            if getattr(item, "equipment", ""):
                point, number = equipment(item, self._points)
                states.setdefault(point, {})[number] = "off"
        for point, known in states.items():
            self._keep("equipment", "", point=point, states=known)

    # -- outputs

    def _decide(self, one: _Output, now: float) -> None:
        if one.past.locked and now >= one.lock_ends:
            self._unlock(one, {"user": "", "reason": "its time is over"})
        wish = merged([self._wish(one, rule, now) for rule in one.rules])
        decision = self._possible(one, decide(one.limits, one.past, wish, now))
        if decision.held is not None and decision.held not in one.told:
            one.told.add(decision.held)
            would, cause, why = (
                ("stop", decision.held, decision.why)
                if decision.on
                else ("start", wish.start or Why.BY_HAND, decision.held)
            )
            self._note("rule_held", **self._subject(one), would=would, cause=cause, why=why)
        if decision.on is not one.past.on:
            self._switch(one, decision, now)
        one.decision = decision
        if one.settings.blink_seconds and one.past.on:
            self._drive(one, int((now - one.past.since) / one.settings.blink_seconds) % 2 == 0)

    def _possible(self, one: _Output, decision: Decision) -> Decision:
        """*decision*, or off where the output hangs on a module that does not do as it was told."""
        if not hasattr(one.pin, "look"):
            return decision
        name = one.settings.name
        try:
            one.pin.look()
        except StationError as error:
            self._broken(name, error)
        else:
            self._mended(name)
        if decision.on and not one.pin.ready:
            return Decision(False, Why.LOST)
        # A run that is lost is over, though its end is on record only when the module has confirmed it.
        one.lost = one.past.on and (one.lost or name in self._faults)
        return Decision(False, Why.LOST, Why.LOST) if decision.on and one.lost else decision

    def _drive(self, one: _Output, on: bool) -> bool:
        """Switch the pin; false if it cannot be switched, which is said once and stops nothing else."""
        try:
            one.pin.drive(on)
        except StationError as error:
            self._broken(one.settings.name, error)
            return False
        if not hasattr(one.pin, "look"):
            self._mended(one.settings.name)
        return True

    def _broken(self, name: str, error: StationError) -> None:
        if name not in self._faults:
            self._faults[name] = str(error)
            log.error("%s: %s", name, error)
            self._note("pin_lost", urgent=True, name=name, error=str(error))

    def _mended(self, name: str) -> None:
        if self._faults.pop(name, None) is not None:
            log.warning("%s: the pin works again", name)
            self._note("pin_back", name=name)

    def _wish(self, one: _Output, rule: Any, now: float) -> Wish:
        hour = self._clock.now().astimezone(self._zone).time()
        seen = self._level(rule, now)
        before = one.watches.get(rule.name, Watch())
        watch = before
        if rule.parameter or rule.alarm:
            one.levels[rule.name] = seen
            watch = one.watches[rule.name] = watched(rule, before, seen, now)
            if seen.trouble is None and seen.value is not None and returned(rule, seen.value) and not one.past.on:
                one.told.clear()
        if isinstance(rule, SprayRule):
            return spray(rule, watch, seen, weather_locks(rule, self._weather(rule, now), hour), now)
        if isinstance(rule, SampleRule):
            if watch.armed and not before.armed:
                self._keep("output", one.settings.name, state="armed", rule=rule.name)
            return sample(rule, watch, one.past, self._sampler_says(one, rule), hour, now)
        if rule.input in self._unknown:
            return Wish(None, Why.LOST, Why.LOST)
        active = bool(rule.input) and self._inputs[rule.input].active
        if rule.input and not active and not one.past.on:
            one.told.clear()
        return signal(rule, watch, seen, active, hour, now)

    def _level(self, rule: Any, now: float) -> Level:
        """What a rule's value, or the alarm it follows, comes to."""
        checking = self._engine.checking
        if rule.alarm and checking is not None and rule.alarm in checking.names:
            return checking.level(rule.alarm)
        if rule.alarm and self._engine.alarms is not None:
            return self._engine.alarms.level(rule.alarm, pre_alarm=rule.from_pre_alarm)
        if not rule.parameter:
            return Level(None)
        known = catalogue().get(rule.parameter)
        return level(
            list(self._windows[rule.point, rule.parameter]),
            now,
            average_seconds=rule.average_seconds,
            poll_seconds=self._poll_seconds(rule.point, rule.parameter),
            stale_seconds=self._stale_seconds(rule, rule.point, rule.parameter),
            averaging=known.averaging if known else Averaging.MEAN,
        )

    def _poll_seconds(self, point: str, parameter: str) -> float:
        task = self._series.get((point, parameter))
        return float(task.settings.poll_seconds) if task is not None else STALE_SECONDS

    def _stale_seconds(self, rule: Any, point: str, parameter: str) -> float:
        return float(rule.stale_seconds or max(STALE_SECONDS, STALE_POLLS * self._poll_seconds(point, parameter)))

    def _weather(self, rule: SprayRule, now: float) -> Weather:
        """The last good values, none of them stale."""
        point = rule.weather_point or rule.point

        def last(parameter: str) -> float | None:
            oldest = now - self._stale_seconds(rule, point, parameter)
            good = (
                r.value for r in reversed(self._windows[point, parameter]) if r.mark is Mark.N and r.heard >= oldest
            )
            return next((value for value in good if value is not None), None)

        dry = None if last("rain") is None else now - self._rain[point][1]
        return Weather(last("air_temperature"), last("wind_speed"), dry)

    def _sampler_says(self, one: _Output, rule: SampleRule) -> list[Why]:
        found = [Why.LOST] if any(name in self._unknown for name in (rule.fault, rule.full, rule.acknowledge)) else []
        found += [Why.FAULT] if rule.fault and self._closed(rule.fault) else []
        found += [Why.BOTTLE_FULL] if rule.full and self._closed(rule.full) else []
        found += [Why.FILLING] if one.pulse is not None or one.past.on else []
        return found + ([Why.NO_BOTTLE] if one.bottle >= rule.bottles else [])

    def _closed(self, name: str) -> bool:
        """Whether contact *name* is active; one that cannot be read asks for nothing."""
        return self._inputs[name].active and name not in self._unknown

    def _subject(self, one: _Output) -> dict[str, Any]:
        """What an event says about an output, its rule and the value that was looked at."""
        said: dict[str, Any] = {"output": one.settings.name}
        if one.rules:
            rule = next((r for r in one.rules if one.watches.get(r.name, Watch()).past_since is not None), one.rules[0])
            said["rule"] = rule.name
            if rule.parameter:
                said |= {"point": rule.point, "parameter": rule.parameter, "start": rule.start, "stop": rule.stop}
                said["value"] = one.levels.get(rule.name, Level(None)).value
            elif rule.alarm:
                said["alarm"] = rule.alarm
            elif getattr(rule, "input", ""):
                said["input"] = rule.input
        return said

    def _switch(self, one: _Output, decision: Decision, now: float) -> None:
        """Drive the pin first; then say so."""
        ran, settings = now - one.past.since, one.settings
        if not self._drive(one, decision.on):
            return  # tried again with the next turn
        one.past = one.past.switched(decision.on, now, by_hand=decision.why is Why.BY_HAND)
        one.decision = decision
        one.told.clear()
        said = {**self._subject(one), "why": decision.why, **(one.who if decision.why is Why.BY_HAND else {})}
        if not decision.on:
            said["ran_seconds"] = round(ran, 1)
        relay = not settings.blink_seconds and settings.kind == "relay"
        word = "on" if decision.on else "off"
        log.warning("output %s: %s (%s)", settings.name, word, decision.why)
        self._note(f"output_{word}", urgent=relay, **said)
        self._keep(
            "output", settings.name, urgent=relay, state=word, **{k: v for k, v in said.items() if k != "output"}
        )
        self._keep_equipment(settings, decision.on)
        if decision.on:
            one.lingers_until = None
            for point in settings.affects:
                self._condition(point, settings.name, Reason.SPRAYING, True, now, self._clock.now())
            self._begin_pulse(one, said, now)
        else:
            one.lingers_until = now + settings.affects_seconds_after
            self._linger(one, now)

    def _linger(self, one: _Output, now: float) -> None:
        """The reason of a run stands for a while after it."""
        if one.lingers_until is not None and now >= one.lingers_until:
            one.lingers_until = None
            for point in one.settings.affects:
                self._condition(point, one.settings.name, Reason.SPRAYING, False, now, self._clock.now())

    # -- bottles

    def _begin_pulse(self, one: _Output, said: Mapping[str, Any], now: float) -> None:
        rule = one.sampler
        if rule is None:
            return
        one.watches[rule.name] = replace(one.watches.get(rule.name, Watch()), armed=False)
        one.pulse_ends = now + rule.pulse_seconds
        one.pulse = {
            "vase": one.bottle + 1,
            "rule": rule.name,
            "parameter": rule.parameter,
            "value": said.get("value"),
            "limit": rule.start,
            "why": said["why"],
            "began": now,
            "at": self._clock.now(),
        }

    def _await_bottle(self, one: _Output, now: float) -> None:
        """A bottle counts when the sampler says so, or with the pulse where it says nothing."""
        rule, pulse = one.sampler, one.pulse
        if rule is None or pulse is None:
            return
        contact = self._inputs.get(rule.acknowledge)
        acknowledged = contact is not None and contact.active and contact.stands_since >= pulse["began"]
        if rule.acknowledge and not acknowledged:
            if now - pulse["began"] >= rule.acknowledge_seconds:
                one.pulse = None
                log.warning("output %s: the sampler did not acknowledge", one.settings.name)
                self._note("sample_failed", urgent=True, output=one.settings.name, rule=rule.name, vase=pulse["vase"])
            return
        one.pulse, one.bottle = None, pulse["vase"]
        body = {key: value for key, value in pulse.items() if key not in ("began", "at")}
        self._note("sample_kept", urgent=True, output=one.settings.name, acknowledged=acknowledged, **body)
        self._keep(
            "kept_sample", one.settings.name, point=rule.point, at=pulse["at"], urgent=True,
            acknowledged=acknowledged, **body,
        )  # fmt: skip

    # -- off, whatever happens

    def _force_off(self, now: float) -> None:
        """The main thread stands still: nothing would be kept of what runs on."""
        for one in self._outputs.values():
            if one.past.on:
                self._switch(one, Decision(False, Why.HUNG), now)
        if not self._forced:
            self._forced = True
            log.error("pins: the main thread stands still; every output is off")
            self._note("outputs_forced_off", why=Why.HUNG)

    def force_off(self) -> None:
        """From the main thread, when this one stands still: off, without its lock or its word."""
        for one in self._outputs.values():
            self._drive(one, False)

    def finish(self) -> None:
        """Every output off, on record for the last commit; nothing is switched after that."""
        if not self._lock.acquire(timeout=PATIENCE):
            self.force_off()
            return
        try:
            if self._over:
                return
            self._over = True
            now = self._clock.monotonic()
            for one in self._outputs.values():
                if one.past.on:
                    self._switch(one, Decision(False, Why.STOPPED), now)
                self._drive(one, False)
                self._end_conditions(one.settings, Reason.SPRAYING, now)
            for item in self._inputs.values():
                self._end_conditions(item.settings, item.settings.reason, now)
        finally:
            self._lock.release()

    def _end_conditions(self, settings: Any, reason: Reason, now: float) -> None:
        """What stood beside readings ends with the station; it begins again with the next start if it still holds."""
        for point in settings.affects:
            self._condition(point, settings.name, reason, False, now, self._clock.now())

    # -- what people ask

    def order(
        self, action: str, name: str, seconds: float | None, reason: str, user: str, uid: object = None
    ) -> dict[str, Any]:
        """Carry out a person's on, off, lock, unlock or emptied for output *name*; its state then.

        *user* is who they say they are, *uid* the account as the kernel knows it.
        """
        one = self._outputs.get(name)
        if one is None:
            hint = did_you_mean(name, self._outputs)
            raise WrongArgument(f'there is no output "{name}"{hint}; known: {", ".join(self._outputs) or "none"}')
        orders: dict[str, Callable[[_Output, float | None, dict[str, Any]], None]] = {
            "on": self._on_by_hand,
            "off": self._off_by_hand,
            "lock": self._lock_by_hand,
            "unlock": self._unlock_by_hand,
            "emptied": self._emptied,
        }
        if action not in orders:
            raise WrongArgument(f'"{action}" is not one of list, {", ".join(orders)}')
        if action in ("lock", "unlock", "emptied") and not (user.strip() and reason.strip()):
            raise WrongArgument(f"{action} needs a person and a reason: --user NAME --reason TEXT")
        with self._lock:
            if self._over:
                raise OutputRefused(f"{name}: the station stops")
            orders[action](one, seconds, {"user": user, "reason": reason} | ({} if uid is None else {"uid": uid}))
            return self._live_output(one, self._clock.monotonic())

    def keep_sample(self, point: str | None, parameter: str | None, user: str) -> dict[str, str] | None:
        """For a platform: a pulse for the sampler of *point* now, with its time and bottle; None if there is none."""
        for one in self._outputs.values():
            rule = one.sampler
            if rule is not None and point in (None, rule.point) and parameter in (None, rule.parameter):
                with self._lock:
                    if self._over:
                        raise OutputRefused(f"{one.settings.name}: the station stops")
                    self._on_by_hand(one, None, {"user": user, "reason": "asked for by the platform"})
                    return {"time": self._clock.now().isoformat(), "vase": str(one.bottle + 1)}
        return None

    def _on_by_hand(self, one: _Output, seconds: float | None, who: dict[str, Any]) -> None:
        now, rule = self._clock.monotonic(), one.sampler
        most = rule.pulse_seconds if rule is not None else one.limits.maximum_on
        if rule is not None and (says := self._sampler_says(one, rule)):
            raise OutputRefused(f"{one.settings.name}: stays off ({says[0]})")
        one.who = who
        one.past = replace(one.past, on_until=now + min(seconds or HAND_SECONDS, most), off_until=NEVER)
        self._decide(one, now)
        if not one.past.on:
            one.past = replace(one.past, on_until=NEVER)
            why = self._faults.get(one.settings.name) or one.decision.why
            raise OutputRefused(f"{one.settings.name}: stays off ({why})")
        self._note("output_by_hand", urgent=True, output=one.settings.name, order="on", **who)

    def _off_by_hand(self, one: _Output, seconds: float | None, who: dict[str, Any]) -> None:
        now = self._clock.monotonic()
        one.past = replace(one.past, on_until=NEVER, off_until=now + (seconds or HAND_SECONDS))
        self._note("output_by_hand", urgent=True, output=one.settings.name, order="off", **who)
        self._decide(one, now)

    def _lock_by_hand(self, one: _Output, seconds: float | None, who: dict[str, Any]) -> None:
        now = self._clock.monotonic()
        one.lock_ends = now + seconds if seconds else math.inf
        until = (self._clock.now() + timedelta(seconds=seconds)).isoformat() if seconds else None
        one.lock = {"state": "locked", **who, "until": until, **({"seconds": seconds} if seconds else {})}
        one.past = replace(one.past, locked=True, on_until=NEVER)
        log.warning("output %s: locked by %s (%s)", one.settings.name, who["user"], who["reason"])
        self._note("output_locked", urgent=True, output=one.settings.name, until=until, **who)
        self._keep("lock", one.settings.name, urgent=True, **one.lock)
        self._decide(one, now)

    def _unlock_by_hand(self, one: _Output, seconds: float | None, who: dict[str, Any]) -> None:
        if not one.past.locked:
            raise OutputRefused(f"{one.settings.name}: is not locked")
        self._unlock(one, who)

    def _unlock(self, one: _Output, who: dict[str, Any]) -> None:
        one.past, one.lock, one.lock_ends = replace(one.past, locked=False), {}, math.inf
        one.told.clear()
        log.warning("output %s: unlocked (%s)", one.settings.name, who["reason"])
        self._note("output_unlocked", urgent=True, output=one.settings.name, **who)
        self._keep("lock", one.settings.name, urgent=True, state="unlocked", **who)

    def _emptied(self, one: _Output, seconds: float | None, who: dict[str, Any]) -> None:
        if one.sampler is None:
            raise OutputRefused(f"{one.settings.name}: no rule makes it a sampler")
        filled, one.bottle = one.bottle, 0
        one.told.clear()
        self._note("bottles_emptied", urgent=True, output=one.settings.name, bottles=filled, **who)
        self._keep("bottles_emptied", one.settings.name, urgent=True, bottles=filled, **who)

    def drive(self, name: str, action: str) -> dict[str, Any]:
        """Do to mock input *name* what its wire would: become active or inactive, or tip."""
        if not self._pins.mock:
            raise OutputRefused("these pins are real: only GPIOZERO_PIN_FACTORY=mock has pins that can be driven")
        found = {item.name: item for item in self._engine.config.input}
        if name not in found:
            raise WrongArgument(f'there is no input "{name}"{did_you_mean(name, found)}; known: {", ".join(found)}')
        if action not in ("active", "inactive", "tip"):
            raise WrongArgument(f'"{action}" is not one of active, inactive, tip')
        if found[name].module:
            raise OutputRefused(f"{name}: hangs on module {found[name].module}, which is real")
        active = found[name].active == "high"
        levels = {"active": (active,), "inactive": (not active,), "tip": (active, not active)}[action]
        for high in levels:
            self._pins.drive(found[name].pin, high)
        return {"name": name, "pin": found[name].pin, "action": action}

    # -- what is shown

    def live(self) -> dict[str, Any]:
        """Inputs, outputs and rules with their state and why, for status and for tools."""
        with self._lock:
            now = self._clock.monotonic()
            return {
                "library": self._pins.library,
                "mock": self._pins.mock,
                "inputs": [
                    {
                        "name": i.settings.name,
                        "kind": i.settings.kind,
                        "pin": i.settings.pin,
                        "module": i.settings.module,
                        "channel": i.settings.channel,
                        "known": i.settings.name not in self._unknown,
                        "active": i.active,
                        "state": i.settings.codes[0 if i.active else 1],
                        "since": i.since.isoformat() if i.since else None,
                        "error": self._faults.get(i.settings.name, ""),
                    }
                    for i in self._inputs.values()
                ],
                "outputs": [self._live_output(one, now) for one in self._outputs.values()],
            }

    def _live_output(self, one: _Output, now: float) -> dict[str, Any]:
        past = one.past
        return {
            "name": one.settings.name,
            "kind": one.settings.kind,
            "pin": one.settings.pin,
            "module": one.settings.module,
            "channel": one.settings.channel,
            "on": past.on,
            "why": str(one.decision.why),
            "held": str(one.decision.held) if one.decision.held else "",
            "seconds": round(now - past.since, 1) if past.since > NEVER else None,
            "used_today_seconds": round(past.used_at(now), 1),
            "locked": past.locked,
            "lock": {k: v for k, v in one.lock.items() if k != "state"} if past.locked else None,
            "bottle": one.bottle if one.sampler else None,
            "error": self._faults.get(one.settings.name, ""),
            "rules": [
                {
                    "name": rule.name,
                    "kind": rule.kind,
                    "point": rule.point,
                    "parameter": rule.parameter,
                    "value": one.levels.get(rule.name, Level(None)).value,
                    "trouble": str(one.levels.get(rule.name, Level(None)).trouble or ""),
                    "start": rule.start,
                    "stop": rule.stop,
                    "alarm": rule.alarm,
                }
                for rule in one.rules
            ],
        }

    def _note(self, code: str, *, urgent: bool = False, **arguments: object) -> None:
        self._engine.note(code, urgent=urgent, **arguments)

    def _keep(
        self, kind: str, device: str, *, point: str = "", at: datetime | None = None, urgent: bool = False, **body: Any
    ) -> None:
        self._engine.keep(Record(kind, at or self._clock.now(), body, point, device), urgent=urgent)


def _output(settings: Any, pin: Any, rules: Sequence[Any]) -> _Output:
    """An output with the limits of its own and of the rule that runs it."""
    limits = Limits(settings.minimum_on_seconds, settings.minimum_off_seconds, settings.maximum_on_seconds)
    for rule in rules:
        if isinstance(rule, SprayRule):
            limits = replace(
                limits,
                minimum_run=rule.minimum_run_seconds,
                cool_down=rule.cool_down_seconds,
                daily_maximum=rule.daily_maximum_seconds,
            )
        elif isinstance(rule, SampleRule):
            limits = replace(limits, cool_down=rule.cool_down_seconds)
    return _Output(settings, pin, rules, limits)
