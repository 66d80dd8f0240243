"""Modules of eight current inputs on the bus: transmitters of 4–20 mA, each channel with a scale of its own.

A transmitter that follows NAMUR NE 43 measures between 3.8 and 20.5 mA and reports its own failure below 3.6 or above
21 mA (recalled, grade B).  So a current below 3.6 or above 21 mA is a broken loop or a failed transmitter and no value;
between those limits and 3.8 and 20.5 mA the value is kept, marked as outside the measuring range.

What a channel is set to stands in the module, and is read with every poll: on ±10 V, or on another current range than
station.toml says, a channel has no value.  The station never sets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from drivers.base import BadReply, DriverError, ProfileError
from drivers.bus import Bus
from drivers.modbus import LAST_MODBUS_ID, ModbusDevice, UnitSettings
from drivers.profile import Profile
from drivers.registers import Found, Meaning, Place, Quality, Register
from station.model import Mark, Reason, Sample, dataclass, did_you_mean, field, replace, setting

LOW, HIGH, SPAN = 4.0, 20.0, 16.0  # mA
BROKEN_BELOW, FAILED_ABOVE = 3.6, 21.0  # mA: no value (NE 43)
LEAST, MOST = 3.8, 20.5  # mA: the measuring range with its margins (NE 43)
CHANNELS = 8
READ_COILS = 1
CURRENT = "loop_current_"  # followed by the channel: its current as a parameter


class Range(NamedTuple):
    """A current range a channel can be set to: its code in the module, and the currents of the raw numbers' ends."""

    code: int
    low: float
    high: float


class Module(NamedTuple):
    """A make: where its raw numbers stand, where each channel's range code, and what the codes mean."""

    title: str
    grade: str
    source: str
    table: str
    codes_at: int  # holding register of channel 1's range code
    raw: tuple[int, int] | None  # the raw numbers at the ends of a range; None: microamperes
    ranges: Mapping[str, Range]
    others: Mapping[int, str]  # codes of ranges that are no current
    burn_out: bool = False  # whether coils 0 to 7 say that a loop of the range 4–20 mA is broken


VOLTS = {
    0x00: "±15 mV", 0x01: "±50 mV", 0x02: "±100 mV", 0x03: "±500 mV", 0x04: "±1 V", 0x05: "±2.5 V", 0x08: "±10 V",
    0x09: "±5 V", 0x0A: "±1 V", 0x0B: "±500 mV", 0x0C: "±150 mV", 0x0E: "thermocouple J", 0x0F: "thermocouple K",
}  # fmt: skip
MODULES: Mapping[str, Module] = {
    "adam-4117": Module(
        "Advantech ADAM-4117 (ADAM-4118 with current inputs)", "B",
        "two public code bases, one of them with a module's own registers; the maker's Modbus table was not read",
        "holding", 200, (0, 0xFFFF),
        {"4-20": Range(0x07, 4, 20), "±20": Range(0x0D, -20, 20)}, VOLTS | {0x06: "±20 mA (code 06)"}, burn_out=True,
    ),
    "waveshare-ai8": Module(
        "Waveshare Modbus RTU Analog Input 8CH and 8CH (B)", "C",
        "range codes from a public driver; that raw numbers are microamperes is recalled",
        "input", 0x1000, None,
        {"0-20": Range(2, 0, 20), "4-20": Range(3, 4, 20)},
        {0: "0–5 V or 0–10 V", 1: "1–5 V or 2–10 V", 4: "raw codes"},
    ),
}  # fmt: skip
OTHER = "other"  # a make that is not here: where its currents stand is the operator's to confirm


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """What hangs on a channel."""

    channel: int = setting(low=1, high=CHANNELS, text="its number, the first one 1 (ADAM modules print 0 there)")
    low: float = setting(text="the value at 4 mA")
    high: float = setting(text="the value at 20 mA")
    unit: str = setting(text="their unit, as in station/parameters.toml")
    range: str = setting("4-20", choices=("4-20", "0-20", "±20"), text="what the channel is set to in the module, mA")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentSettings(UnitSettings):
    """The keys of a [[bus.device]] table whose driver is "current"."""

    module: str = setting(choices=(*MODULES, OTHER), text="the make; other for one that is not in the list")
    channels: Mapping[str, ChannelSettings] = field(
        metadata={"text": 'parameter = its channel: { channel = 1, low = 0, high = 500, unit = "mg/L" }'}
    )
    currents: bool = setting(False, text="keep each channel's current, too, as loop_current_1 to loop_current_8")
    first: int | None = setting(None, low=0, high=0xFFF0, text="of another make: register of channel 1, from 0")
    table: str = setting("input", choices=("input", "holding"), text="of another make: function 4 or 3")
    raw_low: float | None = setting(None, text="of another make: raw number at the low end of the range")
    raw_high: float | None = setting(None, text="of another make: raw number at its high end")
    confirmed: bool = setting(False, text="the currents were compared with a meter in the loop")


class CurrentModule(ModbusDevice):
    """A module on *bus*: for each channel a sample, and its current where that is wanted."""

    Settings = CurrentSettings  # type: ignore[assignment]

    def __init__(
        self, settings: CurrentSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]
    ) -> None:
        faults = list(_faults(settings))
        if faults:
            raise ProfileError("\n".join(faults))
        self._channels = settings.channels
        self._module = MODULES.get(settings.module)
        self._broken = frozenset[int]()  # channels, from 1, whose loop the module itself calls broken
        profile = profile_of(settings)
        self._begin(settings, profile, bus, now)
        narrow = any(one.range == "4-20" for one in settings.channels.values())
        self._wants_coils = narrow and self._module is not None and self._module.burn_out
        self.hints = (*self.hints, *_hints(settings))

    def _read(self) -> tuple[list[Sample], DriverError | None]:
        if self._wants_coils:
            try:
                self._broken = self._coils()
            except DriverError as error:
                self._heard(error)
                return [], error
        return super()._read()

    def _coils(self) -> frozenset[int]:
        """The channels whose loop the module calls broken."""
        answer = self._bus.raw(self._unit_id, READ_COILS, bytes((0, 0, 0, CHANNELS)), self._profile)
        if len(answer) != 2 or answer[0] != 1:
            raise BadReply(f"{self.name}: {answer.hex(' ').upper()} is not the eight burn-out flags")
        return frozenset(n + 1 for n in range(CHANNELS) if answer[1] >> n & 1)

    def _fitted(self, samples: list[Sample], places: Sequence[Place], found: Found) -> list[Sample]:  # type: ignore[override]
        """*samples* judged by their currents."""
        raws = {p.parameter: found[id(p)] for p in places if isinstance(p, Register) and id(p) in found}
        rows = {r.parameter: r for r in self._profile.registers}
        judged: list[Sample] = []
        named = {f"{CURRENT}{one.channel}": one for one in self._channels.values()}
        for sample in samples:
            one = self._channels.get(sample.parameter)
            itself = named.get(sample.parameter)
            if itself is not None and sample.mark is Mark.N and self._is_flagged(itself):  # it shows the low end
                judged.append(replace(sample, value=None, mark=Mark.D, reason=Reason.LOOP_BROKEN))
                continue
            if one is None or sample.mark is not Mark.N:
                judged.append(sample)
                continue
            raw = raws[sample.parameter]
            current = LOW + (rows[sample.parameter].value(raw) - one.low) / (one.high - one.low) * SPAN
            at_end = self._module is not None and self._module.raw is not None and raw == self._module.raw[1]
            judged.append(self._at(sample, one, current, at_end=at_end))
        return judged

    def _is_flagged(self, one: ChannelSettings) -> bool:
        return one.range == "4-20" and one.channel in self._broken

    def _at(self, sample: Sample, one: ChannelSettings, current: float, *, at_end: bool) -> Sample:
        """*sample* with the mark its *current*, in mA, asks for; *at_end* where its range ends, and shows no more."""
        # Of the range 4–20 mA the ends of the raw numbers are all that a module can show: the flag tells the rest.
        if self._is_flagged(one) or current < BROKEN_BELOW:
            return replace(sample, value=None, mark=Mark.D, reason=Reason.LOOP_BROKEN)
        if current > FAILED_ABOVE:
            return replace(sample, value=None, mark=Mark.D, reason=Reason.LOOP_HIGH)
        if current < LEAST:
            return replace(sample, mark=Mark.D, reason=Reason.BELOW_RANGE)
        if current > MOST or at_end:
            return replace(sample, mark=Mark.T, reason=Reason.ABOVE_RANGE)
        return sample


def line_of(settings: CurrentSettings, one: ChannelSettings) -> tuple[float, float]:
    """Slope and intercept from the raw number of a channel to its current, in mA.

    >>> one = ChannelSettings(channel=1, low=0, high=500, unit="mg/L")
    >>> keys = {"name": "ai", "point": "p", "driver": "current", "unit_id": 1, "channels": {"cod": one}}
    >>> slope, intercept = line_of(CurrentSettings(module="adam-4117", **keys), one)
    >>> round(0x8000 * slope + intercept, 3), 0xFFFF * slope + intercept
    (12.0, 20.0)
    """
    module = MODULES.get(settings.module)
    if module is not None and module.raw is None:
        return 0.001, 0.0
    if module is None:
        assert settings.raw_low is not None
        assert settings.raw_high is not None
        first, last = settings.raw_low, settings.raw_high
        low, high = {"4-20": (4.0, 20.0), "0-20": (0.0, 20.0), "±20": (-20.0, 20.0)}[one.range]
    else:
        assert module.raw is not None
        first, last = module.raw
        low, high = module.ranges[one.range][1:]
    slope = (high - low) / (last - first)
    return slope, low - first * slope


def profile_of(settings: CurrentSettings) -> Profile:
    """The module as a profile: each channel a register, scaled, judged by what its channel is set to."""
    registers: list[Register] = []
    module = MODULES.get(settings.module)
    for parameter, one in settings.channels.items():
        slope, intercept = line_of(settings, one)
        per = (one.high - one.low) / SPAN
        table, first = (module.table, 0) if module else (settings.table, settings.first or 0)
        row = Register(
            parameter=parameter, table=table, address=first + one.channel - 1, type="u16", unit=one.unit,
            scale=slope * per, offset=one.low + (intercept - LOW) * per,
            example=one.low + 0.5 * (one.high - one.low), quality=_set_to(module, one) if module else None,
        )  # fmt: skip
        registers.append(row)
        if settings.currents:
            named = f"{CURRENT}{one.channel}"
            registers.append(
                replace(row, parameter=named, unit="mA", scale=slope, offset=intercept, example=LOW + SPAN / 2)
            )
    return Profile(
        name="current-module",
        title=module.title if module else "4–20 mA module",
        grade=module.grade if module else "D",
        baudrate=9600,
        unit_id=settings.unit_id,
        registers=tuple(registers),
    )


def _set_to(module: Module, one: ChannelSettings) -> Quality:
    """What the range code of a channel says of its value."""
    right = module.ranges[one.range]
    wrong = {r.code: f"{name} mA" for name, r in module.ranges.items() if name != one.range} | dict(module.others)
    told = tuple(
        Meaning(
            values=(code,),
            mark=Mark.D,
            reason=f"channel {one.channel} is set to {name} in the module, not to {one.range} mA",
        )
        for code, name in wrong.items()
    )
    return Quality(
        table="holding",
        address=module.codes_at + one.channel - 1,
        type="u16",
        meanings=(Meaning(values=(right.code,)), *told),
    )


def _faults(settings: CurrentSettings) -> Iterator[str]:
    module = MODULES.get(settings.module)
    if settings.unit_id > LAST_MODBUS_ID:
        yield f"unit_id: {settings.unit_id} is above {LAST_MODBUS_ID}"
    if not settings.channels:
        yield "channels: is empty: say what hangs on which channel"
    for parameter in settings.parameters:
        if parameter not in profile_parameters(settings):
            yield f'parameters: no channel gives "{parameter}"{did_you_mean(parameter, profile_parameters(settings))}'
    taken: dict[int, str] = {}
    for parameter, one in settings.channels.items():
        place = f"channels.{parameter}"
        if one.channel in taken:
            yield f"{place}.channel: {one.channel} is already {taken[one.channel]}'s"
        taken.setdefault(one.channel, parameter)
        if one.low == one.high:
            yield f"{place}.high: {one.high:g} is the value at 4 mA, too"
        elif one.low > one.high:
            yield f"{place}.high: {one.high:g} at 20 mA is below {one.low:g} at 4 mA; exchange them"
        if module and one.range not in module.ranges:
            has = ", ".join(module.ranges)
            yield f'{place}.range: "{one.range}" is no current range of {settings.module}; it has {has}'
    yield from _other_faults(settings) if module is None else _own_faults(settings, module)


def profile_parameters(settings: CurrentSettings) -> tuple[str, ...]:
    """What the module can deliver."""
    currents = (f"{CURRENT}{one.channel}" for one in settings.channels.values()) if settings.currents else ()
    return (*settings.channels, *currents)


def _own_faults(settings: CurrentSettings, module: Module) -> Iterator[str]:
    for key in ("first", "raw_low", "raw_high"):
        if getattr(settings, key) is not None:
            yield f"{key}: is for another make; of {settings.module} it is known"
    if module.grade not in ("A", "B") and not settings.confirmed:
        yield (
            f"module: {settings.module} is a template of grade {module.grade} ({module.source}); compare a current with"
            " a meter in the loop, then write confirmed = true"
        )


def _other_faults(settings: CurrentSettings) -> Iterator[str]:
    missing = [key for key in ("first", "raw_low", "raw_high") if getattr(settings, key) is None]
    yield from (f"{key}: is missing; it stands in the module's register list" for key in missing)
    if not missing and settings.raw_low == settings.raw_high:
        yield f"raw_high: {settings.raw_high:g} is raw_low, too"
    if not settings.confirmed:
        yield (
            "module: of another make nothing is known; compare a current with a meter in the loop, then write"
            " confirmed = true"
        )


def _hints(settings: CurrentSettings) -> Iterator[str]:
    blind = [p for p, one in settings.channels.items() if one.range == "4-20"]
    module = MODULES.get(settings.module)
    if not blind:
        return
    named = ", ".join(blind)
    if module is not None and module.burn_out:
        yield (
            f"{named}: in the range 4–20 mA the module shows no current below 4 mA, its burn-out flag alone tells a"
            ' broken loop; set the channel to ±20 mA and write range = "±20" to see the current itself'
        )
    else:
        yield (
            f"{named}: in the range 4–20 mA the module may show no current below 4 mA, so that a broken loop looks"
            " like the low end; set the channel to a range that begins at 0 where it has one"
        )
