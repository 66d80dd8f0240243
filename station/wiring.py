"""What only shows when inputs, outputs and rules are held against each other, the points and the board."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from station.loader import Fault
from station.model import Averaging, did_you_mean
from station.parameters import catalogue
from station.rules import SampleRule, SignalRule, SprayRule, hours_fault

if TYPE_CHECKING:
    from station.config import Config

# What the settings in hardware/boot/config.txt give to others, on or ready to be switched on (hardware/README.md).
TAKEN = {
    2: "the clock's I2C",
    3: "the clock's I2C",
    14: "the serial line",
    15: "the serial line",
    **dict.fromkeys((7, 8, 9, 10, 11), "SPI0 of a HAT"),
    **dict.fromkeys((18, 19, 20, 21, 24), "SPI1 of a serial HAT (sc16is752)"),
}
PULLED_UP_AT_BOOT = range(9)  # 0 to 8; 9 to 27 are pulled down (grade B)
LONGEST_NAME = 200
COUNTED = (Averaging.SUM, Averaging.LAST)


def faults(config: Config, owners: dict[tuple[str, str], str], names: Mapping[str, str]) -> Iterator[Fault]:
    """What cannot be; *owners* says which device measures what, *names* where each device's name is taken."""
    points = {point.code: None for point in config.point}
    taken = dict(names)
    pins: dict[int, str] = {}
    for table, items in (("input", config.input), ("output", config.output)):
        for index, item in enumerate(items):
            place = f"{table}[{index}]"
            if item.name in taken:
                yield Fault(f"{place}.name", f'"{item.name}" is already {taken[item.name]}')
            taken.setdefault(item.name, place)
            if item.pin is None and not item.module:
                yield Fault(f"{place}.pin", "is missing: a GPIO number, or a module and a channel instead of it")
            if item.pin in pins:
                yield Fault(f"{place}.pin", f"GPIO {item.pin} is already {pins[item.pin]}")
            if item.pin is not None:
                pins.setdefault(item.pin, f'"{item.name}"')
            yield from _input_faults(place, item, points, owners) if table == "input" else ()
            yield from _maintenance_faults(place, item, points, names) if hasattr(item, "covers_device") else ()
            for point in getattr(item, "affects", ()):
                if point not in points:
                    yield Fault(f"{place}.affects", f'there is no point "{point}"{did_you_mean(point, points)}')
    if any(item.module or item.channel for item in (*config.input, *config.output)):
        from station import module_faults  # only who has one pays for it

        yield from module_faults.faults(config)
    yield from _equipment_faults(config, points)
    yield from _rule_faults(config, owners)


def _maintenance_faults(place: str, item: Any, points: Mapping[str, None], names: Mapping[str, str]) -> Iterator[Fault]:
    point, device = item.covers_point, item.covers_device
    if point and device:
        yield Fault(f"{place}.covers_device", "stands beside covers_point; name one of them")
    if point and point not in points:
        yield Fault(f"{place}.covers_point", f'there is no point "{point}"{did_you_mean(point, points)}')
    if device and device not in names:
        yield Fault(f"{place}.covers_device", f'there is no device "{device}"{did_you_mean(device, names)}')
    if item.person != item.person.strip() or not item.person.isprintable() or len(item.person) > LONGEST_NAME:
        yield Fault(f"{place}.person", f"is no name of up to {LONGEST_NAME} characters")


def equipment(item: Any, points: Collection[str]) -> tuple[str, str]:
    """The point whose equipment *item* is, "" where that cannot be told, and its number."""
    sole = next(iter(points)) if len(points) == 1 else ""
    return item.equipment_point or next(iter(item.affects), sole), item.equipment.removeprefix("SB")


def _equipment_faults(config: Config, points: Mapping[str, None]) -> Iterator[Fault]:
    seen: dict[tuple[str, str], str] = {}
    for table, items in (("input", config.input), ("output", config.output)):
        for index, item in enumerate(items):
            place = f"{table}[{index}].equipment"
            if not getattr(item, "equipment", ""):
                continue
            if not re.fullmatch(r"SB[1-9]\d{0,2}", item.equipment):
                yield Fault(place, f'"{item.equipment}" is not a name such as SB1')
            point, number = equipment(item, points)
            if point not in points:
                yield Fault(f"{place}_point", f'there is no point "{point}"{did_you_mean(point, points)}')
            if (point, number) in seen:
                yield Fault(place, f'{item.equipment} at point "{point}" is already "{seen[point, number]}"')
            seen.setdefault((point, number), item.name)


def _input_faults(
    place: str, item: Any, points: Mapping[str, None], owners: dict[tuple[str, str], str]
) -> Iterator[Fault]:
    if item.pin in (2, 3) and item.pull != "up":
        yield Fault(f"{place}.pull", f"GPIO {item.pin} has a resistor of its own that pulls up")
    if not hasattr(item, "counted"):
        return
    parameter, _ = item.counted
    known = catalogue().get(parameter)
    if known is None:
        hint = did_you_mean(parameter, catalogue())
        yield Fault(f"{place}.parameter", f'"{parameter}" is not in the catalogue{hint}')
    elif known.averaging not in COUNTED:
        yield Fault(f"{place}.parameter", f"{parameter} is no total and no sum: pulses cannot be counted into it")
    if item.point not in points:
        yield Fault(f"{place}.point", f'there is no point "{item.point}"{did_you_mean(item.point, points)}')
    if (item.point, parameter) in owners:
        owner = owners[item.point, parameter]
        yield Fault(place, f'{parameter} at point "{item.point}" already comes from "{owner}"')
    owners.setdefault((item.point, parameter), item.name)


def _rule_faults(config: Config, owners: Mapping[tuple[str, str], str]) -> Iterator[Fault]:
    outputs = {output.name: output for output in config.output}
    contacts = {item.name: None for item in config.input if hasattr(item, "codes")}
    counted = {item.name for item in config.input} - set(contacts)
    alarms = {one.name: one.point for one in config.alarms} | {one.name: _checked_at(config, one) for one in config.qc}
    seen: dict[str, str] = {}
    for index, rule in enumerate(config.rule):
        place = f"rule[{index}]"
        if rule.name in seen:
            yield Fault(f"{place}.name", f'"{rule.name}" is already {seen[rule.name]}')
        seen.setdefault(rule.name, place)
        if getattr(rule, "sampler", ""):
            if not config.sampler:
                yield Fault(f"{place}.sampler", f'there is no sampler "{rule.sampler}"')
            continue  # station/sampler_settings.py looks at it
        if not rule.output:
            yield Fault(f"{place}.output", "is missing")
        elif rule.output not in outputs:
            hint = did_you_mean(rule.output, outputs)
            yield Fault(f"{place}.output", f'there is no output "{rule.output}"{hint}')
        else:
            yield from _output_faults(place, rule, outputs[rule.output])
        sharing = [other for other in config.rule[: index + 1] if other.output == rule.output]
        if len(sharing) > 1 and not all(isinstance(other, SignalRule) for other in sharing):
            yield Fault(f"{place}.output", f'"{rule.output}" already follows "{sharing[0].name}"')
        if text := hours_fault(rule.hours):
            yield Fault(f"{place}.hours", text)
        yield from _value_faults(place, rule, owners, alarms)
        for key in ("input", "acknowledge", "full", "fault"):
            name = getattr(rule, key, "")
            if name in counted:
                yield Fault(f"{place}.{key}", f'"{name}" is counted, a contact is needed')
            elif name and name not in contacts:
                yield Fault(f"{place}.{key}", f'there is no contact "{name}"{did_you_mean(name, contacts)}')


def _output_faults(place: str, rule: Any, output: Any) -> Iterator[Fault]:
    least = max(output.minimum_on_seconds, getattr(rule, "minimum_run_seconds", 0.0))
    if least > output.maximum_on_seconds:
        said = f"{output.maximum_on_seconds:g} of its output"
        yield Fault(f"{place}.minimum_run_seconds", f"{least:g} is more than maximum_on_seconds {said}")
    if isinstance(rule, SprayRule) and least > rule.daily_maximum_seconds:
        yield Fault(f"{place}.daily_maximum_seconds", f"has no room for one run of {least:g}")
    if isinstance(rule, SampleRule) and output.minimum_on_seconds > rule.pulse_seconds:
        yield Fault(f"{place}.pulse_seconds", "is shorter than minimum_on_seconds of its output")


def _checked_at(config: Config, check: Any) -> str:
    """The point whose value a check concerns."""
    known = (one for bus in config.bus for one in bus.device if one.name == check.device)
    return next((str(one.points.get(check.parameter, one.point)) for one in known), "")


def _alarm_faults(place: str, rule: Any, alarms: Mapping[str, str]) -> Iterator[Fault]:
    if rule.alarm not in alarms:
        hint = did_you_mean(rule.alarm, alarms)
        yield Fault(f"{place}.alarm", f'there is no alarm "{rule.alarm}"{hint}')
    if isinstance(rule, SampleRule) and not rule.point:
        yield Fault(f"{place}.point", "is missing: bottles belong to a point")


def _value_faults(
    place: str, rule: Any, owners: Mapping[tuple[str, str], str], alarms: Mapping[str, str]
) -> Iterator[Fault]:
    """A value to look at with both its levels, or an input, or an alarm, not two of them."""
    keys = ("point", "parameter", "start", "stop")
    given = [key for key in keys if getattr(rule, key) not in ("", None)]
    instead = [key for key in ("input", "alarm") if getattr(rule, key, "")]
    if instead:
        beside = [*(key for key in given if key != "point" or instead == ["input"]), *instead[1:]]
        yield from (Fault(f"{place}.{key}", f"has no meaning beside {instead[0]}") for key in beside)
        yield from _alarm_faults(place, rule, alarms) if rule.alarm else ()
        yield from _weather_faults(place, rule, owners)
        return
    missing = [key for key in keys if key not in given]
    yield from (Fault(f"{place}.{key}", "is missing") for key in missing)
    if missing:
        return
    start, stop = rule.levels
    if start == stop:
        yield Fault(f"{place}.stop", f"{stop:g} is the start level, too")
    elif isinstance(rule, SprayRule) and start < stop:
        yield Fault(f"{place}.stop", f"{stop:g} is not below start {start:g}")
    yield from _measured(f"{place}.parameter", rule.point, rule.parameter, owners)
    yield from _weather_faults(place, rule, owners)


def _weather_faults(place: str, rule: Any, owners: Mapping[tuple[str, str], str]) -> Iterator[Fault]:
    """Locks of a cannon that look at what nothing measures."""
    if isinstance(rule, SprayRule):
        where = rule.weather_point or rule.point
        locks = (("frost_below", "air_temperature"), ("rain_hours", "rain"), ("wind_above", "wind_speed"))
        for key, parameter in locks:
            if getattr(rule, key) is not None:
                yield from _measured(f"{place}.{key}", where, parameter, owners)


def _measured(place: str, point: str, parameter: str, owners: Mapping[tuple[str, str], str]) -> Iterator[Fault]:
    if (point, parameter) not in owners:
        here = [known for where, known in owners if where == point]
        hint = did_you_mean(parameter, here)
        yield Fault(place, f'nothing measures {parameter} at point "{point}"{hint}')


def warnings(config: Config) -> Iterator[Fault]:
    """What will work and may not be meant."""
    for table, items in (("input", config.input), ("output", config.output)):
        for index, item in enumerate(items):
            if item.pin in TAKEN:
                yield Fault(f"{table}[{index}].pin", f"GPIO {item.pin} is for {TAKEN[item.pin]} (hardware/README.md)")
    for index, output in enumerate(config.output):
        if output.pin is None:
            continue
        pulled_up = output.pin in PULLED_UP_AT_BOOT
        if output.active_high is pulled_up:
            said = "pulled up" if pulled_up else "pulled down"
            level = "high" if output.active_high else "low"
            yield Fault(
                f"output[{index}].pin",
                f"GPIO {output.pin} is {said} at boot, and this output is on when {level}: "
                "it may be on from power-on until the station runs (hardware/README.md)",
            )
    if any(item.module for item in config.input):
        from station import module_faults

        yield from module_faults.hints(config)
    for index, rule in enumerate(config.rule):
        if isinstance(rule, SprayRule) and rule.frost_below is None:
            yield Fault(f"rule[{index}]", "has no frost_below: it will spray in frost, too")
