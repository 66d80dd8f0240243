"""`station screen`: what the screens beside the station show, and a pattern to see that they do; an emulated one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from station.command_line import ask_station, must_be_known, print_json, read_config, say, stop_signal
from station.i18n import t
from station.model import StationError, WrongArgument
from station.texts import Command, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from drivers.emulated_screen import EmulatedScreen


FAULTS = ("silent", "refuse", "rubbish", "drip", "deaf")  # of drivers/emulated_screen.py


class NoStation(StationError):
    """Error raised when no station runs whose screens could be asked."""

    exit_code = 69


@click.command("screen", cls=Command, help="help.screen")
@option("--test", key="screen_test", metavar="NAME")
@option("--user", key="user")
@option("--seconds", key="screen_seconds", type=click.IntRange(1, 600), default=30)
@config_option
@json_option
@lang_option
def screen(test: str | None, user: str | None, seconds: int, config: Path, as_json: bool) -> int:
    """Each screen with its lines; 1 where one fails."""
    loaded = read_config(config)
    asked = {} if test is None else {"test": test, "person": user or "", "seconds": seconds}
    screens = ask_station(loaded, "screen", **asked)
    if screens is None:
        raise NoStation("no station runs here, and screens show what a running one uploads; start it first")
    if as_json:
        print_json(screens)
    for one in () if as_json else screens:
        state = t("beside.fails", reason=one["error"]) if one["error"] else t("beside.well")
        print(t("screens.head", name=one["name"], protocol=one["protocol"], port=one["port"], state=state))
        for line in one["lines"]:
            print(f"    | {line}")
        if one["testing"]:
            print(t("screens.testing"))
    return 1 if any(one["error"] for one in screens) else 0


@click.command("screen", cls=Command, help="help.emulate_screen")
@click.argument("name")
@option("--svg", key="screen_svg", type=click.Path(path_type=Path))
@option("--fault", key="screen_fault", type=click.Choice(FAULTS))
@config_option
@lang_option
def emulate_screen(name: str, svg: Path | None, fault: str | None, config: Path) -> None:
    """The screen *name* of station.toml, at its port on this machine, until stopped; each change is printed."""
    from drivers.emulated_screen import EmulatedScreen, at_port

    loaded = read_config(config)
    found = {one.name: one for one in loaded.config.screen}
    must_be_known(name, set(found), "screen")
    emulated, stop = EmulatedScreen(found[name]), stop_signal()
    emulated.fault = fault or ""
    try:
        with at_port(emulated) as where:
            say(t("screens.served", name=name, where=where))
            shown: list[str] = []
            while not stop.wait(0.2):
                if emulated.lines != shown:
                    shown = emulated.lines
                    _tell(emulated, svg)
    except (ValueError, OSError) as error:
        raise WrongArgument(str(error)) from error


def _tell(emulated: EmulatedScreen, svg: Path | None) -> None:
    for line in emulated.lines:
        say(f"    | {line}")
    say("")
    if svg is not None:
        svg.write_text(emulated.svg(), encoding="utf-8")
