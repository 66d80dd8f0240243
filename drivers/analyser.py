"""A cyclic analyser (COD, ammonia nitrogen, phosphorus, nitrogen): one result a cycle, dated to its sampling.

No public register map of a Chinese make was found: maps come with the contract.  So the addresses stand in
station.toml, and what is common to such instruments (devices.md 1.5, grade D, a model and not a map) stands here: a
state of work, a result with its time and perhaps a flag or a mark, alarm bits, and commands that are refused while
it is at work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from drivers.base import BadReply, DeviceBusy, NotReady, ProfileError, closing_delay
from drivers.bus import Bus
from drivers.modbus import LAST_MODBUS_ID, ModbusDevice, UnitSettings
from drivers.profile import TYPED, VERBS, WRITE_COIL, Action, Profile, Step
from drivers.registers import (
    FLOATS,
    TIMES,
    TYPES,
    Found,
    Place,
    Register,
    Request,
    judged,
    moment,
    orders,
    plan_reads,
    raws_in,
)
from station.model import Mark, Reason, Sample, dataclass, did_you_mean, field, replace, setting

log = logging.getLogger(__name__)

AHEAD = timedelta(minutes=10)  # a clock may be ahead so far; a result dated later has no time one could believe
# What a state of work means for a result that is due: the words of station.toml, each with its mark.
STATES: Mapping[str, Mark] = {
    "idle": Mark.N,
    "measuring": Mark.N,
    "calibrating": Mark.C,
    "cleaning": Mark.M,
    "maintenance": Mark.M,
    "fault": Mark.D,
    "stopped": Mark.F,
}
FREE = ("idle",)  # the states in which it takes a command
START_CHECK, READ_CHECK, END_CHECK = "start_check", "read_check", "end_check"
HALVES = ("zero", "span")
COMMANDS = (
    *(f"{verb}_{half}" for verb in TYPED for half in HALVES),
    *(verb for verb in VERBS if verb != "calibrate"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceSettings:
    """Where a number of the analyser stands, as its register list says."""

    address: int = setting(low=0, high=0xFFFF, text="address on the wire, from 0")
    table: str = setting("holding", choices=("holding", "input"), text="function 3 or 4")
    type: str = setting("u16", choices=(*TYPES, *TIMES), text="how it is written")
    order: str = setting("", text="byte order; big end first without it")
    scale: float = setting(1.0, text="of a result: value = raw × scale")
    unit: str = setting("mg/L", text="of a result: its unit, as in station/parameters.toml")
    range: tuple[float, float] = setting((0.0, 1e9), text="of a result: what can be believed; outside is marked")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """What is written to have the analyser do something."""

    address: int = setting(low=0, high=0xFFFF, text="register, from 0")
    values: tuple[int, ...] = setting(text="one number a register")
    function: int = setting(6, choices=(5, 6, 16), text="6 one register, 16 several, 5 a coil")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyserSettings(UnitSettings):
    """The keys of a [[bus.device]] table whose driver is "analyser"."""

    results: Mapping[str, PlaceSettings] = field(
        metadata={"text": 'parameter = where its result stands: { address = 10, type = "f32", order = "CDAB" }'}
    )
    result_time: PlaceSettings | None = field(
        default=None, metadata={"text": "when the result was had: six words, BCD or seconds since 1970"}
    )
    ready: PlaceSettings | None = field(default=None, metadata={"text": "a flag that says that there is a new result"})
    ready_mask: int = setting(0xFFFF, low=1, high=0xFFFFFFFF, text="its bits")
    ready_value: int = setting(1, low=0, high=0xFFFFFFFF, text="what they are then")
    state: PlaceSettings | None = field(default=None, metadata={"text": "what it is doing"})
    states: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict, metadata={"text": f"{', '.join(STATES)} = the numbers that say so"}
    )
    data_mark: PlaceSettings | None = field(default=None, metadata={"text": "a word that judges the result"})
    marks: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict, metadata={"text": "N, C, M, D, T, F = the numbers that mean it; others are D"}
    )
    alarm: PlaceSettings | None = field(default=None, metadata={"text": "a word of alarm bits"})
    alarms: Mapping[str, int] = field(
        default_factory=dict, metadata={"text": 'what each bit says: { "no reagent" = 0x01 }; a result beside it is D'}
    )
    commands: Mapping[str, CommandSettings] = field(
        default_factory=dict, metadata={"text": f"{', '.join(COMMANDS)} = what is written"}
    )
    check_results: Mapping[str, PlaceSettings] = field(
        default_factory=dict, metadata={"text": "parameter = where the result of its own standard check stands"}
    )
    start_minutes: float | None = setting(
        None, low=5, high=1440, text="how often the station starts a measurement (sample_now); it starts itself without"
    )
    every_minutes: float = setting(60.0, low=1, high=1440, text="from one result to the next")
    sampling_minutes: float = setting(
        0.0, low=0, high=240, text="from the sampling to the time the result bears: values are dated so much earlier"
    )
    timezone: str = setting("+08:00", text="what its clock is set to, as an offset from UTC")
    confirmed: bool = setting(False, text="the addresses were checked on this instrument")


class Analyser(ModbusDevice):
    """A cyclic analyser on *bus*: a result once, dated to its sampling.

    A result that is due and does not come because the analyser calibrates, cleans or is broken is a sample
    without a value that carries the mark of that state, once a cycle.
    """

    Settings = AnalyserSettings  # type: ignore[assignment]

    def __init__(
        self, settings: AnalyserSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]
    ) -> None:
        _check(settings)
        profile = profile_of(settings)
        self._begin(settings, profile, bus, now)
        self.every_seconds = 60 * settings.every_minutes
        self.closing_seconds = closing_delay(self.every_seconds)
        self.poll_minimum_seconds = 5.0
        self._at_work = False  # since it was told to begin a check
        self.state = ""  # the word of STATES, or the number nobody explained
        self._keys, self._zone = settings, zone(settings.timezone)
        places = {name: _place(getattr(settings, name)) for name in PLACES if getattr(settings, name) is not None}
        self._beside: Mapping[str, Place] = places
        registers = [r for r in profile.registers if r.parameter in self.parameters]
        gap_ms = profile.gap_ms if bus.settings.gap_ms is None else bus.settings.gap_ms
        wanted = [*registers, *places.values()]
        self._requests = plan_reads(
            wanted, self.speed.line.baudrate, self.speed.line.bits, profile.reply_delay_ms, gap_ms=gap_ms
        )
        self._last: datetime | None = None  # what the result delivered last is dated to
        self._began: datetime | None = None  # when the station had it begin last
        # A flag that stands at the start says nothing: its result is of a time nobody knows, or delivered already.
        self._was_ready, self._was_odd = True, b""
        self._looked_at: object = None  # the time of the result that was judged last, as it stands there
        self._told = bus.monotonic()  # when there was a sample last
        self._start_at = bus.monotonic()
        self._checks = {parameter: check_register(parameter, one) for parameter, one in settings.check_results.items()}
        if concerned := tuple(p for p in self._checks if p in self.parameters):
            self.actions = {**self.actions, READ_CHECK: concerned}

    def resume(self, last: datetime | None) -> None:
        """The station's newest reading of this instrument, from before it was started: delivered already."""
        self._last = last

    def read(self) -> list[Sample]:
        """A result that is new, or the mark of why none can come; nothing at most polls."""
        found, raw = self._look()
        self._heard(None)
        self._see(raw)
        self._begin_a_cycle()
        if len(self._requests) > 1 and self._is_new(raw):
            # It may have come between two reads, its time in the later one: by now its value is there as well.
            time = raw.get("result_time")
            found, raw = self._look()
            if raw.get("result_time") != time:
                return []
        samples = self._result(found, raw) or self._excuse()
        if samples:
            self._told = self._bus.monotonic()
        return samples

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Do *verb*; an analyser at work is not told to do something else."""
        if "state" in self._beside and verb != END_CHECK:
            self._see(self._look()[1])
            if self.state not in FREE:
                raise DeviceBusy(f"{self.name}: is {self.state}, and takes no command")
        if verb == READ_CHECK:
            return self._checked(arguments.get("parameter", ""))
        done = super().act(verb, arguments)
        if verb == START_CHECK:
            self._at_work = False
        if verb == "sample_now":
            self._began = self._now()
        return done

    def doing(self) -> str:
        """What it says it is doing, a word of STATES or a number nobody explained; "" where it has no such register."""
        if "state" not in self._beside:
            return ""
        self._see(self._look()[1])
        return self.state

    def _checked(self, parameter: str) -> Mapping[str, str]:
        """The result of its own standard check, once it is idle again; before it was at it, that is the last one's."""
        if not self._at_work:
            raise NotReady(f"{self.name}: was told to begin a check and has not been at it")
        register = self._checks[parameter]
        request = Request(register.table, register.address, register.width, (register,))
        samples, _ = judged([register], raws_in(request, self._asked(request)), self._now())
        sample = samples[0] if samples else None
        if sample is None or sample.value is None or sample.mark not in (Mark.N, Mark.T):
            raise BadReply(f"{self.name}: its check brought no value of {parameter}")
        return {"value": repr(sample.value)}

    # -- what it says

    def _look(self) -> tuple[Found, dict[str, int]]:
        """All its registers, and those beside the results by their name in PLACES."""
        found: Found = {}
        for request in self._requests:
            found |= raws_in(request, self._asked(request))
        return found, {name: found[id(place)] for name, place in self._beside.items()}

    def _is_ready(self, raw: Mapping[str, int]) -> bool:
        return "ready" not in raw or raw["ready"] & self._keys.ready_mask == self._keys.ready_value

    def _is_new(self, raw: Mapping[str, int]) -> bool:
        """Whether there may be a result that was not judged yet."""
        new = raw["result_time"] != self._looked_at if "result_time" in raw else not self._was_ready
        return self._is_ready(raw) and new

    def _see(self, raw: Mapping[str, int]) -> None:
        """Keep its state and alarms in words, and log them when they change."""
        if "state" in raw:
            named = (name for name, numbers in self._keys.states.items() if raw["state"] in numbers)
            self.state = next(named, f"state {raw['state']}")
            self._at_work = self._at_work or self.state not in FREE
        alarms = [text for text, bit in self._keys.alarms.items() if raw.get("alarm", 0) & bit]
        odd = [self.state] if self.state and STATES.get(self.state, Mark.D) is not Mark.N else []
        texts = tuple([*odd, *alarms])
        if texts != self.conditions:
            self.conditions = texts
            log.warning("device %s: reports %s", self.name, "; ".join(texts) or "no fault any more")

    def _result(self, found: Found, raw: Mapping[str, int]) -> list[Sample]:
        """The samples of a result that was not delivered yet, dated to its sampling."""
        ready, dated = self._is_ready(raw), "result_time" in raw
        fresh = ready and (dated or not self._was_ready)
        self._was_ready, self._looked_at = ready, raw.get("result_time")
        time = self._sampled(raw) if fresh else None
        if time is None or (dated and self._last is not None and time <= self._last):
            return []
        self._last = time
        samples, _ = judged(self._registers(), found, time)
        mark = self._mark(raw)
        if mark is Mark.N:
            return samples
        return [s if s.mark >= mark else replace(s, mark=mark, reason=Reason.STATUS) for s in samples]

    def _registers(self) -> Iterator[Register]:
        for request in self._requests:
            yield from (place for place in request.places if isinstance(place, Register))

    def _sampled(self, raw: Mapping[str, int]) -> datetime | None:
        """When the sample of the present result was taken, or None where its time cannot be."""
        back = timedelta(minutes=self._keys.sampling_minutes)
        now = self._now()
        if "result_time" not in raw:
            began, self._began = self._began, None
            return began or now - back
        kind = self._beside["result_time"].type
        data: bytes = raw["result_time"]  # type: ignore[assignment]  # of a time its bytes
        if not data.strip(b"\0") or not data.strip(b"\xff"):
            return None  # there was no result yet
        at = moment(kind, data, self._zone)
        if at is not None and at - now <= AHEAD:
            return min(at, now).astimezone(now.tzinfo) - back
        if self._was_odd != data:
            said = "is ahead of ours" if at is not None else "is no time"
            log.warning("device %s: its result is not taken: the time %s %s", self.name, data.hex(" "), said)
        self._was_odd = data
        return None

    def _mark(self, raw: Mapping[str, int]) -> Mark:
        """The worst of what the data mark and the alarms say of a result."""
        found = Mark.N
        if "data_mark" in raw:
            known = (Mark[name] for name, numbers in self._keys.marks.items() if raw["data_mark"] in numbers)
            found = next(known, Mark.D)
        alarmed = any(raw.get("alarm", 0) & bit for bit in self._keys.alarms.values())
        return max(found, Mark.D) if alarmed else found

    def _excuse(self) -> list[Sample]:
        """When a result is due and the state says why there is none: no value, and the mark of that state."""
        mark = STATES.get(self.state, Mark.D) if self.state else Mark.N
        if mark is Mark.N or self._bus.monotonic() - self._told < self.every_seconds:
            return []
        now = self._now()
        return [Sample(parameter, now, None, mark, Reason.STATUS) for parameter in self.parameters]

    def _begin_a_cycle(self) -> None:
        """Start a measurement when the station is to do so and the analyser is free; else at the next poll."""
        every = self._keys.start_minutes
        now = self._bus.monotonic()
        if every is None or now < self._start_at or (self.state and self.state not in FREE):
            return
        self._start_at = max(self._start_at + 60 * every, now)
        try:
            super().act("sample_now", {})
        except DeviceBusy as error:
            log.warning("device %s: did not begin: %s", self.name, error)
        else:
            self._began = self._now()


PLACES = ("result_time", "ready", "state", "data_mark", "alarm")


def zone(text: str) -> tzinfo:
    """The offset from UTC written as ±hh:mm; raise ValueError where it is none.

    >>> zone("+08:00")
    datetime.timezone(datetime.timedelta(seconds=28800))
    """
    found = datetime.strptime(text, "%z").tzinfo
    assert found is not None
    return found


def check_register(parameter: str, one: PlaceSettings) -> Register:
    """Where the result of a check stands, as a register that is read when it is asked for."""
    return Register(
        parameter=parameter, table=one.table, address=one.address, type=one.type, order=one.order, scale=one.scale,
        unit=one.unit, range=one.range,
    )  # fmt: skip


def _place(settings: PlaceSettings) -> Place:
    return Place(table=settings.table, address=settings.address, type=settings.type, order=settings.order)


def profile_of(settings: AnalyserSettings) -> Profile:
    """The analyser as a profile: its results as registers, its commands as actions."""
    registers = tuple(
        Register(
            parameter=parameter,
            table=one.table,
            address=one.address,
            type=one.type,
            order=one.order,
            scale=one.scale,
            unit=one.unit,
            range=one.range,
        )
        for parameter, one in settings.results.items()
    )
    actions = []
    for name, command in settings.commands.items():
        verb, _, half = name.rpartition("_")
        verb, half = (verb, half) if half in HALVES and verb in TYPED else (name, "")
        write = Step(do="write", address=command.address, function=command.function, values=command.values)
        actions.append(Action(verb=verb, type=half, steps=(write,)))
    return Profile(
        name="cyclic-analyser",
        title="cyclic analyser",
        baudrate=9600,
        unit_id=settings.unit_id,
        registers=registers,
        actions=tuple(actions),
    )


def _check(settings: AnalyserSettings) -> None:
    """Raise ProfileError with every fault of *settings*, one a line."""
    faults = list(_faults(settings))
    if faults:
        raise ProfileError("\n".join(faults))


def _faults(settings: AnalyserSettings) -> Iterator[str]:
    if not settings.confirmed:
        yield (
            "the addresses of an analyser come with its contract and no two makes agree;"
            " check state, result and time on the instrument, then write confirmed = true"
        )
    if settings.unit_id > LAST_MODBUS_ID:
        yield f"unit_id: {settings.unit_id} is above {LAST_MODBUS_ID}"
    if settings.result_time is None and settings.ready is None:
        yield "result_time or ready: one of them has to tell a new result from an old one"
    if settings.result_time is not None and settings.result_time.type not in TIMES:
        yield f"result_time.type: {settings.result_time.type} is no time; {', '.join(TIMES)} are"
    try:
        zone(settings.timezone)
    except ValueError:
        yield f'timezone: "{settings.timezone}" is not an offset such as +08:00'
    if not settings.results:
        yield "results: there is none"
    for parameter in settings.check_results:
        if parameter not in settings.results:
            yield f"check_results.{parameter}: it has no result of that{did_you_mean(parameter, settings.results)}"
    if settings.check_results and not {"start_check", "start_check_zero", "start_check_span"} & set(settings.commands):
        yield "check_results: commands.start_check is missing, so no check is ever begun"
    if settings.check_results and settings.state is None:
        yield "check_results: state is missing; without it nobody can tell when a check is over"
    placed = (settings.results, settings.check_results)
    for name, one in [*(i for each in placed for i in each.items()), *((n, getattr(settings, n)) for n in PLACES)]:
        if one is None:
            continue
        if name != "result_time" and one.type not in TYPES:
            yield f"{name}.type: {one.type} is no number"
        if one.order and one.order not in orders(one.type):
            yield f"{name}.order: {one.type} has {', '.join(orders(one.type)) or 'none'}"
        if one.scale == 0:
            yield f"{name}.scale: 0 leaves no value"
        if name in ("ready", "alarm") and one.type in FLOATS:
            yield f"{name}.type: {one.type} has no bits"
    yield from _unknown("states", settings.states, tuple(STATES))
    yield from _unknown("marks", settings.marks, tuple(mark.name for mark in Mark if mark is not Mark.B))
    yield from _unknown("commands", settings.commands, COMMANDS)
    for key, words in (("state", settings.states), ("data_mark", settings.marks), ("alarm", settings.alarms)):
        if bool(words) != (getattr(settings, key) is not None):
            yield f"{key}: its address and what its numbers mean belong together"
    for name, command in settings.commands.items():
        if command.function in (5, 6) and len(command.values) != 1:
            yield f"commands.{name}.values: function {command.function} writes one number"
        if any(not 0 <= value <= 0xFFFF for value in command.values):
            yield f"commands.{name}.values: numbers from 0 to 65535 are written"
    told = {name: (c.function == WRITE_COIL, c.address, c.values) for name, c in settings.commands.items()}
    for name in told.keys() & {"calibrate_zero", "calibrate_span"}:  # a check may well be a measurement
        if told[name] == told.get("sample_now"):
            yield f"commands.{name}: is what sample_now writes; a measurement that is started must not calibrate"
    if settings.start_minutes is not None and "sample_now" not in settings.commands:
        yield "start_minutes: commands.sample_now is missing, so no measurement can be started"


def _unknown(key: str, words: Mapping[str, object], known: tuple[str, ...]) -> Iterator[str]:
    for word in words:
        if word not in known:
            yield f"{key}.{word}: is not one of {', '.join(known)}{did_you_mean(word, known)}"
