"""Commands about the board's pins: what outputs do and why, a person's orders for them, mock wires."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from drivers.bus import Bus
from station.command_line import ask_station, print_json, read_config, whole_seconds
from station.config import Loaded
from station.i18n import t
from station.model import StationError
from station.texts import Command, Group, config_option, json_option, lang_option, option

_F = TypeVar("_F", bound=Callable[..., Any])


class NoStation(StationError):
    """Error raised when only a running station could do what was asked."""

    exit_code = 69


class OutputsMayRun(StationError):
    """Error raised when an output that hangs on a module could not be switched off."""

    exit_code = 69


@click.group("output", cls=Group, help="help.output")
@lang_option
def output() -> None:
    """Relays, lamps and buzzers."""


@output.command("list", help="help.output_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Inputs, outputs and rules, as they are right now."""
    found, zone = _ask(config, "output", action="list"), read_config(config).zone
    if as_json:
        print_json(found)
        return
    from station.screen import console, show_pins

    show_pins(console(), found, zone)


def _hold(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    return None if value is None else whole_seconds(ctx, parameter, value)


def _order(command: _F) -> _F:
    """The options of a person's order."""
    more = (option("--reason", key="reason", default=""), option("--user", key="user"), config_option, json_option)
    for one in (lang_option, *reversed(more)):
        command = one(command)
    return click.argument("name")(command)


hold_option = option("--for", "seconds", key="hold", callback=_hold)


@output.command("on", help="help.output_on")
@hold_option
@_order
def on(name: str, seconds: int | None, reason: str, user: str | None, config: Path, as_json: bool) -> None:
    """On by hand; locks and limits hold all the same."""
    _give("on", name, seconds, reason, user or getpass.getuser(), config, as_json)


@output.command("off", help="help.output_off")
@hold_option
@_order
def off(name: str, seconds: int | None, reason: str, user: str | None, config: Path, as_json: bool) -> None:
    """Off by hand, at once."""
    _give("off", name, seconds, reason, user or getpass.getuser(), config, as_json)


@output.command("lock", help="help.output_lock")
@hold_option
@_order
def lock(name: str, seconds: int | None, reason: str, user: str | None, config: Path, as_json: bool) -> None:
    """Off and locked; a person answers for it."""
    _give("lock", name, seconds, reason, user or "", config, as_json)


@output.command("unlock", help="help.output_unlock")
@_order
def unlock(name: str, reason: str, user: str | None, config: Path, as_json: bool) -> None:
    """Open to its rules again."""
    _give("unlock", name, None, reason, user or "", config, as_json)


@output.command("emptied", help="help.output_emptied")
@_order
def emptied(name: str, reason: str, user: str | None, config: Path, as_json: bool) -> None:
    """A sampler's bottles were changed: numbers begin at 1 again."""
    _give("emptied", name, None, reason, user or "", config, as_json)


def _give(action: str, name: str, seconds: int | None, reason: str, user: str, config: Path, as_json: bool) -> None:
    found = _ask(
        config, "output", action=action, name=name, seconds=seconds, reason=reason, person=user, user=""
    )  # the kernel says which account
    if as_json:
        print_json(found)
    else:
        print(t("output.now", name=name, state=_state(found), why=t(f"why.{found['why']}")))


def _state(found: Mapping[str, Any]) -> str:
    return t("output.on") if found["on"] else t("output.off")


@output.command("safe", help="help.output_safe")
@config_option
@lang_option
def safe(config: Path) -> None:
    """What ExecStopPost= calls: whatever ended the station, its outputs are off."""
    from station.service import own_folder

    loaded = read_config(config)
    if not loaded.config.output:
        print(t("output.none"))
        return
    with own_folder(loaded.data_folder):
        failed = _modules_safe(loaded)
        if any(settings.pin is not None for settings in loaded.config.output):
            pins = loaded.pins()
            try:
                for settings in loaded.config.output:
                    if settings.pin is not None:
                        pins.output(settings)
            finally:
                pins.close()
    if failed:
        raise OutputsMayRun("; ".join(failed))
    print(t("output.safe", count=len(loaded.config.output)))


def _modules_safe(loaded: Loaded) -> list[str]:
    """Switch off the outputs that hang on modules; what is wrong with those that may still be on."""
    failed: list[str] = []
    named = {one.module for one in loaded.config.output if one.module}
    for bus in loaded.config.bus if named else ():
        if not any(device.name in named for device in bus.device):
            continue
        line = Bus(bus)
        try:
            for module in loaded.devices(bus, line):
                mine = [one for one in loaded.config.output if one.module == module.name]
                made = [module.output(one, lambda errand: errand()) for one in mine]  # type: ignore[attr-defined]
                if made:
                    module.leave()  # type: ignore[attr-defined]
                for one in made:
                    failed += _fault_of(one)
        finally:
            line.close()
    return failed


def _fault_of(made: Any) -> list[str]:
    try:
        made.look()
    except StationError as error:
        return [str(error)]
    return []


@click.command("pin", cls=Command, help="help.emulate_pin")
@click.argument("name")
@click.argument("action", type=click.Choice(["active", "inactive", "tip"]))
@config_option
@lang_option
def emulate_pin(name: str, action: str, config: Path) -> None:
    """What an input's wire would do, on the mock pins of a running station."""
    found = _ask(config, "pin", name=name, action=action)
    print(t("emulate.pin", name=name, pin=found["pin"], action=action))


def _ask(config: Path, verb: str, **arguments: Any) -> Any:
    found = ask_station(read_config(config), verb, **arguments)
    if found is None:
        raise NoStation(
            "no station is running here, and only the running one reads inputs and switches outputs;"
            " start it first: station run --config FILE"
        )
    return found
