"""What is wrong with inputs and outputs that hang on a module; only who has one pays for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from station.loader import Fault
from station.model import did_you_mean

if TYPE_CHECKING:
    from station.config import Config

SHORTEST_BLINK = 1.0  # seconds; each change is an exchange on the line


def faults(config: Config) -> Iterator[Fault]:
    """Modules that are not there, channels they do not have or that are taken, pulses nobody counts."""
    modules: dict[str, Any] = {
        device.name: device for bus in config.bus for device in bus.device if device.driver == "dio"
    }
    for table, items in (("input", config.input), ("output", config.output)):
        taken: dict[tuple[str, int], str] = {}
        for index, item in enumerate(items):
            place = f"{table}[{index}]"
            if not item.module:
                yield from (Fault(f"{place}.channel", "has no meaning without module"),) if item.channel else ()
                continue
            if item.pin is not None:
                yield Fault(f"{place}.pin", "stands beside module; name one of them")
            if item.module not in modules:
                hint = did_you_mean(item.module, modules)
                yield Fault(f"{place}.module", f'there is no module "{item.module}" (a device with driver "dio"){hint}')
                continue
            if item.channel is None:
                yield Fault(f"{place}.channel", "is missing")
                continue
            has = modules[item.module].channels[table == "output"]
            if item.channel > has:
                yield Fault(f"{place}.channel", f'"{item.module}" has {has} {table}s, and no number {item.channel}')
            key = (item.module, item.channel)
            if key in taken:
                yield Fault(f"{place}.channel", f'{item.channel} of "{item.module}" is already "{taken[key]}"')
            taken.setdefault(key, item.name)
            yield from _input_faults(place, item, modules) if table == "input" else _output_faults(place, item)


def _input_faults(place: str, item: Any, modules: Mapping[str, Any]) -> Iterator[Fault]:
    if item.pull != "up":
        yield Fault(f"{place}.pull", "has no meaning beside module")
    if hasattr(item, "counted") and not modules[item.module].counts:
        yield Fault(
            f"{place}.module",
            f'"{item.module}" counts no pulses, and one between two polls would be lost; take a pin or a module'
            " with counters",
        )


def _output_faults(place: str, item: Any) -> Iterator[Fault]:
    if not item.active_high:
        yield Fault(f"{place}.active_high", "a module's output is off when its coil is off; wire it so")
    if 0 < getattr(item, "blink_seconds", 0.0) < SHORTEST_BLINK:
        yield Fault(f"{place}.blink_seconds", f"is below {SHORTEST_BLINK:g}, the shortest of a module's output")


def hints(config: Config) -> Iterator[Fault]:
    """What the polls of a module cannot hold."""
    polls = {device.name: device.poll_seconds for bus in config.bus for device in bus.device}
    for index, item in enumerate(config.input):
        pace = polls.get(item.module, 0.0) if item.module and hasattr(item, "codes") else 0.0
        if pace > item.bounce_seconds:
            yield Fault(
                f"input[{index}].bounce_seconds",
                f'{item.bounce_seconds:g} is shorter than the {pace:g} s from one poll of "{item.module}" to the next:'
                " a change shorter than a poll may not be seen at all",
            )
