"""[[sampler]]: an automatic sampler on an RS-485 line or behind a dry contact, and what cannot be about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from station.loader import Fault
from station.model import StationError, did_you_mean, setting
from station.model import dataclass as settings_class

if TYPE_CHECKING:
    from station.config import Config

# Keys of a [[rule]] that speak of an output's pulse; a sampler of its own knows these things itself.
NOT_OF_A_RULE = (
    "output", "parameter", "start", "stop", "acknowledge", "full", "fault", "average_seconds", "start_after_seconds",
)  # fmt: skip


@settings_class(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """One [[sampler]] table.

    The box: 0 to 4 °C is what the project asks for refrigerated samples; HJ/T 372 and HJ 493 were not read for it (C).
    """

    name: str = setting(text="what it is called in events and on screens")
    point: str = setting(text="code of the point whose water it takes")
    bottles: int = setting(24, low=1, high=99, text="bottles in it; VaseNo of HJ 212 has two digits")
    bus: str = setting("", text="RS-485: the line it is on")
    unit_id: int = setting(1, low=1, high=247, text="RS-485: its Modbus address")
    profile: str = setting("", text="RS-485: its registers: a file of drivers/samplers or of your own folder")
    confirmed: bool = setting(False, text="RS-485: the uncertain parts of the profile were checked on this sampler")
    output: str = setting("", text="dry contact: the output whose pulse takes a sample")
    pulse_seconds: float = setting(0.8, low=0.2, high=10, text="dry contact: length of the pulse, up to 0.2 s longer")
    done: str = setting("", text="dry contact: input the sampler closes when a bottle is filled")
    full: str = setting("", text="dry contact: input that says that all bottles are full")
    fault: str = setting("", text="dry contact: input that says that the sampler has a fault")
    door: str = setting("", text="input that says that its door is open")
    poll_seconds: float = setting(10.0, low=1, high=600, text="how often it is looked at")
    fill_seconds: float = setting(900.0, low=5, high=7200, text="longest time from the order to a full bottle")
    box_low: float = setting(0.0, low=-20, high=20, text="lowest temperature of the box, °C")
    box_high: float = setting(4.0, low=-20, high=20, text="highest temperature of the box, °C")
    box_minutes: float = setting(30.0, low=0, high=1440, text="how long it may be outside before that is told")


def faults(config: Config, folders: Any) -> Iterator[Fault]:
    """What is wrong in the [[sampler]] tables of *config*, whose profiles lie in *folders* or ship."""
    names: set[str] = set()
    for index, one in enumerate(config.sampler):
        place = f"sampler[{index}]"
        if one.name in names:
            yield Fault(f"{place}.name", f'"{one.name}" is already there')
        names.add(one.name)
        points = [point.code for point in config.point]
        if one.point not in points:
            yield Fault(f"{place}.point", f'there is no point "{one.point}"{did_you_mean(one.point, points)}')
        if one.box_low >= one.box_high:
            yield Fault(f"{place}.box_high", f"{one.box_high:g} is not above box_low {one.box_low:g}")
        if bool(one.bus) == bool(one.output):
            yield Fault(place, "is reached by a bus with its profile, or by an output: write one of the two")
        elif one.bus:
            yield from _line_faults(config, place, one, folders)
        else:
            yield from _output_faults(config, place, one)
        yield from _contact_faults(config, place, one)
    yield from _rule_faults(config)


def _line_faults(config: Config, place: str, one: SamplerSettings, folders: Any) -> Iterator[Fault]:
    from station.config import SAMPLER_PROFILE, resolve

    lines = {bus.name: bus for bus in config.bus}
    if one.bus not in lines:
        yield Fault(f"{place}.bus", f'there is no bus "{one.bus}"{did_you_mean(one.bus, lines)}')
    else:
        devices = lines[one.bus].device
        if any(device.alone for device in devices):
            yield Fault(f"{place}.bus", f'"{one.bus}" has an instrument that needs a line of its own')
        for device in devices:
            if getattr(device, "unit_id", None) == one.unit_id:
                yield Fault(f"{place}.unit_id", f'{one.unit_id} is already "{device.name}" on this line')
        for other in config.sampler:
            if other is not one and (other.bus, other.unit_id) == (one.bus, one.unit_id):
                yield Fault(f"{place}.unit_id", f'{one.unit_id} is already "{other.name}" on this line')
    for key in ("done", "full", "fault"):
        if getattr(one, key):
            yield Fault(f"{place}.{key}", "has no meaning beside bus: the sampler says so itself")
    if not one.profile:
        yield Fault(f"{place}.profile", "is missing")
        return
    try:
        found = resolve(SAMPLER_PROFILE)(one.profile, folders)
    except StationError as error:
        yield Fault(f"{place}.profile", str(error))
        return
    if found.uncertain and not one.confirmed:
        yield Fault(
            f"{place}.confirmed",
            f"profile {found.name} is of grade {found.grade}, for {found.uncertain.rstrip('.')};"
            " check that on the sampler with an empty bottle, then write confirmed = true",
        )


def _output_faults(config: Config, place: str, one: SamplerSettings) -> Iterator[Fault]:
    outputs = {output.name: output for output in config.output}
    if one.output not in outputs:
        yield Fault(f"{place}.output", f'there is no output "{one.output}"{did_you_mean(one.output, outputs)}')
    elif outputs[one.output].maximum_on_seconds < one.pulse_seconds:
        yield Fault(f"{place}.pulse_seconds", "is longer than maximum_on_seconds of its output")
    elif outputs[one.output].minimum_on_seconds > one.pulse_seconds:
        yield Fault(f"{place}.pulse_seconds", "is shorter than minimum_on_seconds of its output")
    for rule in config.rule:
        if rule.output == one.output:
            yield Fault(
                f"{place}.output",
                f'"{one.output}" already follows the rule "{rule.name}"; let that name sampler = "{one.name}" instead',
            )
    if any(other is not one and other.output == one.output for other in config.sampler):
        yield Fault(f"{place}.output", f'"{one.output}" is the output of two samplers')
    if one.profile:
        yield Fault(f"{place}.profile", "has no meaning beside output")


def _contact_faults(config: Config, place: str, one: SamplerSettings) -> Iterator[Fault]:
    contacts = [item.name for item in config.input if hasattr(item, "codes")]
    for key in ("done", "full", "fault", "door"):
        name = getattr(one, key)
        if name and name not in contacts:
            yield Fault(f"{place}.{key}", f'there is no contact "{name}"{did_you_mean(name, contacts)}')


def _rule_faults(config: Config) -> Iterator[Fault]:
    """What is wrong in the [[rule]] tables that ask a sampler."""
    samplers = {one.name: one for one in config.sampler}
    alarms = [one.name for one in (*config.alarms, *config.qc)]
    for index, rule in enumerate(config.rule):
        place, name = f"rule[{index}]", getattr(rule, "sampler", "")
        if not name:
            continue
        if name not in samplers:
            yield Fault(f"{place}.sampler", f'there is no sampler "{name}"{did_you_mean(name, samplers)}')
        if not rule.alarm:
            yield Fault(f"{place}.alarm", "is missing: a sampler follows an alarm; write an [[alarm]] for the level")
        elif rule.alarm not in alarms:
            yield Fault(f"{place}.alarm", f'there is no alarm "{rule.alarm}"{did_you_mean(rule.alarm, alarms)}')
        for key in NOT_OF_A_RULE:
            if getattr(rule, key) not in ("", None, 0.0):
                yield Fault(f"{place}.{key}", "has no meaning beside sampler")
