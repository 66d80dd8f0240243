"""What outputs are to do and why: pure functions from readings, locks and the past to a decision.

A rule says what it wishes; `decide` holds the wish against people's orders and the output's own limits.
Times are seconds of the clock that never steps, except hours of the day, which are the station's legal time.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from datetime import time

from station.average import Input, close
from station.model import Averaging, Mark, Reading, dataclass, replace, setting

GRACE_SECONDS = 30.0  # a running cannon outlives a bad value by so much, and by its minimum run
NEVER = float("-inf")
ENOUGH = 0.75  # of the readings due, for a mean to be acted on: the share a normal minute needs


class Why(enum.StrEnum):
    """Why an output is as it is, or is not as its rule would have it."""

    IDLE = "idle"  # nothing asks for it
    LEVEL = "level"  # the value has passed the start level
    ALARM = "alarm"  # the alarm it follows is on
    INPUT = "input"  # the input is active
    BELOW = "below"  # the value is back at the stop level
    BY_HAND = "by_hand"
    HELD_OFF = "held_off"  # a person switched it off, and that still holds
    LOCKED = "locked"
    HOURS = "hours"
    FROST = "frost"
    RAIN = "rain"
    WIND = "wind"
    UNKNOWN = "unknown"  # what a lock looks at is stale or marked
    NO_VALUE = "no_value"  # missing or stale
    WINDOW = "window"  # there are values, and not yet a whole averaging window of them
    MARKED = "marked"
    MINIMUM_RUN = "minimum_run"
    MINIMUM_OFF = "minimum_off"
    COOL_DOWN = "cool_down"
    DAILY_MAXIMUM = "daily_maximum"
    MAXIMUM_RUN = "maximum_run"
    PULSE = "pulse"  # a sampler's pulse is over
    BOTTLE_FULL = "bottle_full"
    NO_BOTTLE = "no_bottle"
    FILLING = "filling"  # the sampler has not acknowledged its last bottle
    FAULT = "fault"
    LOST = "lost"  # its module, or the contact that must allow it, does not answer or does not follow
    STOPPED = "stopped"  # the station stops
    HUNG = "hung"  # a thread of the station stands still


# -- settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """The keys every [[rule]] table has."""

    name: str = setting(text="what it is called in events and on screens")
    kind: str = setting(text="spray, sample or signal")
    output: str = setting("", text="name of the output it switches")
    point: str = setting("", text="point of the value it looks at")
    parameter: str = setting("", text="parameter it looks at")
    start: float | None = setting(None, text="level at which it starts; above stop: values too high, below: too low")
    stop: float | None = setting(None, text="level at which it stops")
    average_seconds: float = setting(0.0, low=0, high=3600, text="mean over so long; 0: the latest value")
    start_after_seconds: float = setting(0.0, low=0, high=7200, text="how long the level must have been passed")
    stale_seconds: float | None = setting(
        None, low=1, high=86400, text="an older value counts as missing; three polls, at least 60, when empty"
    )
    hours: str = setting("", text="when it may start, such as 06:00-22:00; always when empty")

    alarm: str = setting("", text="alarm to follow instead of a value: [[alarm]], [[pair]], [[dry_flow]] or [[permit]]")
    from_pre_alarm: bool = setting(False, text="true: it follows the pre-alarm of that, too")

    @property
    def levels(self) -> tuple[float, float]:
        """Where it starts and where it stops: an alarm is 1 or 0; the configuration was checked to have both else."""
        return (1.0, 0.0) if self.alarm else (self.start or 0.0, self.stop or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SprayRule(RuleSettings):
    """A fog cannon or sprinkler that follows a dust level."""

    minimum_run_seconds: float = setting(120.0, low=0, high=3600, text="it runs at least so long")
    cool_down_seconds: float = setting(600.0, low=0, high=86400, text="it rests at least so long")
    daily_maximum_seconds: float = setting(7200.0, low=1, high=86400, text="it runs at most so long a day")
    frost_below: float | None = setting(None, low=-40, high=40, text="no start at or below this air_temperature, °C")
    rain_hours: float | None = setting(None, low=0.1, high=72, text="no start so long after rain")
    wind_above: float | None = setting(None, low=0, high=60, text="no start above this wind_speed, m/s")
    weather_point: str = setting("", text="point of air_temperature, rain and wind_speed; the rule's own when empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRule(RuleSettings):
    """An automatic sampler that keeps one bottle of each exceedance (超标留样)."""

    sampler: str = setting("", text="the [[sampler]] that is asked, instead of an output: it follows an alarm then")
    pulse_seconds: float = setting(0.8, low=0.1, high=10, text="length of the pulse; most samplers want 0.5 to 1 s")
    cool_down_seconds: float = setting(1800.0, low=0, high=86400, text="no second bottle sooner")
    bottles: int = setting(24, low=1, high=99, text="bottles in the sampler; then it waits for station output emptied")
    acknowledge: str = setting("", text="input the sampler closes when a bottle is filled")
    acknowledge_seconds: float = setting(300.0, low=1, high=3600, text="how long that may take")
    full: str = setting("", text="input that says that all bottles are full")
    fault: str = setting("", text="input that says that the sampler has a fault")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRule(RuleSettings):
    """A lamp or buzzer that follows a level or an input; outside of its hours it is quiet."""

    input: str = setting("", text="input to follow instead of a value")


# -- what is known


@dataclass(frozen=True, slots=True)
class Level:
    """The value a rule looks at; *trouble* says why it cannot be acted on."""

    value: float | None
    trouble: Why | None = None


@dataclass(frozen=True, slots=True)
class Weather:
    """What the locks of a cannon look at; None where it is not known."""

    temperature: float | None = None
    wind: float | None = None
    dry_seconds: float | None = None  # since the last rain


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for an output whatever asks for it, and for a rule's own runs."""

    minimum_on: float = 0.0
    minimum_off: float = 0.0
    maximum_on: float = float("inf")
    minimum_run: float = 0.0
    cool_down: float = 0.0
    daily_maximum: float = float("inf")


@dataclass(frozen=True, slots=True)
class Past:
    """What an output has done and what people asked of it."""

    on: bool = False
    since: float = NEVER  # when it was last switched
    by_hand: bool = False  # this run was started by a person
    used: float = 0.0  # seconds on today in runs that are over
    day_began: float = NEVER
    locked: bool = False
    on_until: float = NEVER  # a person wants it on until then
    off_until: float = NEVER  # a person wants it off until then

    def used_at(self, now: float) -> float:
        """Seconds on today, the present run included."""
        return self.used + (now - max(self.since, self.day_began) if self.on else 0.0)

    def switched(self, on: bool, now: float, *, by_hand: bool = False) -> Past:
        """After it was switched at *now*."""
        if on is self.on:
            return self
        on_until = self.on_until if on else NEVER  # what was cut short is not taken up again
        return replace(self, on=on, since=now, by_hand=by_hand, used=self.used_at(now), on_until=on_until)

    def next_day(self, now: float) -> Past:
        """A new day begins at *now*."""
        return replace(self, used=0.0, day_began=now)


@dataclass(frozen=True, slots=True)
class Watch:
    """How long a rule's value has been past its start level, and how long it could not be acted on."""

    past_since: float | None = None
    bad_since: float | None = None
    armed: bool = True  # a sampler: this exceedance has no bottle yet


@dataclass(frozen=True, slots=True)
class Wish:
    """What a rule wants: to start, unless *block*; to go on, unless *stop*."""

    start: Why | None = None
    block: Why | None = None
    stop: Why | None = Why.IDLE


@dataclass(frozen=True, slots=True)
class Decision:
    """On or off and why; *held* says why it is not what the rule would have."""

    on: bool
    why: Why
    held: Why | None = None


# -- from readings to a level


def level(
    readings: Sequence[Reading],
    now: float,
    *,
    average_seconds: float,
    poll_seconds: float,
    stale_seconds: float,
    averaging: Averaging = Averaging.MEAN,
) -> Level:
    """What *readings* of one series, oldest first, say at *now*; a stale or marked value is said to be one."""
    if not readings or now - readings[-1].heard > stale_seconds:
        return Level(None, Why.NO_VALUE)
    newest = readings[-1]
    if not average_seconds:
        good = newest.mark is Mark.N and newest.value is not None
        return Level(newest.value, None if good else Why.MARKED)
    within = [r for r in readings if r.heard > now - average_seconds]
    due = max(1, int(average_seconds // poll_seconds))
    inputs = [Input(r.value, r.mark) for r in within]
    made = close(newest.parameter, averaging, inputs, expected_inputs=due, expected=due)
    if made.mark is Mark.N and made.mean is not None:
        return Level(made.mean)
    if len(within) >= ENOUGH * due:
        return Level(made.mean, Why.MARKED)
    if not within:
        return Level(None, Why.NO_VALUE)
    since_first = (now - within[0].heard) // poll_seconds + 1
    return Level(made.mean, Why.WINDOW if len(within) >= ENOUGH * since_first else Why.NO_VALUE)


# -- from a level to a wish


def passed(rule: RuleSettings, value: float) -> bool:
    """Whether *value* is at or past the start level."""
    start, stop = rule.levels
    return value >= start if start > stop else value <= start


def returned(rule: RuleSettings, value: float) -> bool:
    """Whether *value* is back at the stop level."""
    start, stop = rule.levels
    return value <= stop if start > stop else value >= stop


def watched(rule: RuleSettings, watch: Watch, seen: Level, now: float) -> Watch:
    """*watch* after *seen*; an exceedance ends when the value is back at the stop level."""
    if seen.trouble is not None or seen.value is None:
        bad_since = now if watch.bad_since is None else watch.bad_since
        return replace(watch, past_since=None, bad_since=bad_since)
    if not passed(rule, seen.value):
        return Watch(None, None, watch.armed or returned(rule, seen.value))
    return Watch(now if watch.past_since is None else watch.past_since, None, watch.armed)


def spray(rule: SprayRule, watch: Watch, seen: Level, locks: Iterable[Why], now: float) -> Wish:
    """A cannon starts on a good value past its level and outside of every lock; locks end a run, too."""
    block = next(iter(locks), None)
    return Wish(_start(rule, watch, now), block, block or _ending(rule, watch, seen, now))


def signal(rule: SignalRule, watch: Watch, seen: Level, active: bool, hour: time, now: float) -> Wish:
    """A lamp or buzzer while its input is active, or its value past the level."""
    quiet = None if in_hours(rule.hours, hour) else Why.HOURS
    if rule.input:
        return Wish(Why.INPUT if active else None, quiet, quiet or (None if active else Why.IDLE))
    return Wish(_start(rule, watch, now), quiet, quiet or _ending(rule, watch, seen, now))


def sample(rule: SampleRule, watch: Watch, past: Past, contacts: Iterable[Why], hour: time, now: float) -> Wish:
    """A sampler gets one pulse an exceedance; *contacts* are what the sampler itself says against it."""
    start = _start(rule, watch, now)
    block = next(iter(contacts), None)
    if start and not watch.armed:
        start = None
    if block is None and not in_hours(rule.hours, hour):
        block = Why.HOURS
    return Wish(start, block, Why.PULSE if now - past.since >= rule.pulse_seconds else None)


def _start(rule: RuleSettings, watch: Watch, now: float) -> Why | None:
    since = watch.past_since
    if since is None or now - since < rule.start_after_seconds:
        return None
    return Why.ALARM if rule.alarm else Why.LEVEL


def _ending(rule: RuleSettings, watch: Watch, seen: Level, now: float) -> Why | None:
    if watch.bad_since is not None:
        return (seen.trouble or Why.NO_VALUE) if now - watch.bad_since >= GRACE_SECONDS else None
    return Why.BELOW if seen.value is not None and returned(rule, seen.value) else None


def weather_locks(rule: SprayRule, weather: Weather, hour: time) -> list[Why]:
    """What forbids spraying now; what a lock looks at and does not know forbids it, too."""
    found = [] if in_hours(rule.hours, hour) else [Why.HOURS]
    if rule.frost_below is not None and weather.temperature is not None and weather.temperature <= rule.frost_below:
        found.append(Why.FROST)
    if rule.rain_hours is not None and weather.dry_seconds is not None and weather.dry_seconds < rule.rain_hours * 3600:
        found.append(Why.RAIN)
    if rule.wind_above is not None and weather.wind is not None and weather.wind > rule.wind_above:
        found.append(Why.WIND)
    asked = (
        (rule.frost_below, weather.temperature),
        (rule.rain_hours, weather.dry_seconds),
        (rule.wind_above, weather.wind),
    )
    if any(limit is not None and value is None for limit, value in asked):
        found.append(Why.UNKNOWN)
    return found


_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")


def hours_fault(text: str) -> str | None:
    """What is wrong with *text* as hours of the day, or None.

    >>> hours_fault("06:00-22:00"), hours_fault("6-22")
    (None, '"6-22" is not hours such as 06:00-22:00')
    """
    good = not text or _HOURS.fullmatch(text)
    return None if good else f'"{text}" is not hours such as 06:00-22:00'


def in_hours(text: str, hour: time) -> bool:
    """Whether *hour* lies in *text*, which may go past midnight.

    >>> in_hours("22:00-06:00", time(23)), in_hours("22:00-06:00", time(6)), in_hours("", time(6))
    (True, False, True)
    """
    match = _HOURS.fullmatch(text)
    if match is None:
        return True
    begin = time(int(match[1]), int(match[2]))
    end = time(int(match[3]), int(match[4])) if match[3] else time.max
    return begin <= hour < end if begin < end else hour >= begin or hour < end


# -- from wishes to a decision


def merged(wishes: Sequence[Wish]) -> Wish:
    """The wish of several rules for one output: on as long as any of them wants it."""
    if not wishes:
        return Wish()
    starting = next((w for w in wishes if w.start and not w.block), None) or next((w for w in wishes if w.start), None)
    going = next((w for w in wishes if w.stop is None), wishes[0])
    return replace(starting or wishes[0], stop=going.stop)


def decide(limits: Limits, past: Past, wish: Wish, now: float) -> Decision:
    """On or off.  In this order: the lock, a person's word, the limits of the output, the rule."""
    if past.locked:
        return Decision(False, Why.LOCKED, Why.LOCKED if wish.start else None)
    return _running(limits, past, wish, now) if past.on else _resting(limits, past, wish, now)


def _running(limits: Limits, past: Past, wish: Wish, now: float) -> Decision:
    run = now - past.since
    if now < past.off_until:
        return Decision(False, Why.HELD_OFF)
    if run >= limits.maximum_on:
        return Decision(False, Why.MAXIMUM_RUN)
    if past.used_at(now) >= limits.daily_maximum:
        return Decision(False, Why.DAILY_MAXIMUM)
    if now < past.on_until:
        return Decision(True, Why.BY_HAND)
    stop = wish.stop
    if past.by_hand and wish.start is None:
        stop = stop or Why.IDLE  # a rule that would not have begun does not carry it on
    if stop is None:
        return Decision(True, wish.start or Why.LEVEL)
    least = limits.minimum_on if past.by_hand else max(limits.minimum_on, limits.minimum_run)
    if run < least:
        return Decision(True, Why.MINIMUM_RUN, stop)
    return Decision(False, stop)


def _resting(limits: Limits, past: Past, wish: Wish, now: float) -> Decision:
    by_hand = now < past.on_until
    if not by_hand and wish.start is None:
        return Decision(False, Why.HELD_OFF if now < past.off_until else Why.IDLE)
    rest, least = now - past.since, limits.minimum_on
    if not by_hand:
        least = max(least, limits.minimum_run)
        if now < past.off_until:
            return Decision(False, Why.HELD_OFF, Why.HELD_OFF)
        if wish.block is not None:
            return Decision(False, wish.block, wish.block)
        if rest < limits.cool_down:
            return Decision(False, Why.COOL_DOWN, Why.COOL_DOWN)
    if rest < limits.minimum_off:
        return Decision(False, Why.MINIMUM_OFF, Why.MINIMUM_OFF)
    # A run that the day has no room for is not begun: it would have to be cut short.
    left = limits.daily_maximum - past.used_at(now)
    if left <= 0 or left < least:
        return Decision(False, Why.DAILY_MAXIMUM, Why.DAILY_MAXIMUM)
    return Decision(True, Why.BY_HAND if by_hand else wish.start or Why.LEVEL)
