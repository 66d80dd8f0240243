"""`station clock`: what the time is known by, and a person's word where the time server is doubted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from station.command_line import ask_station, print_json, read_config
from station.i18n import t
from station.model import StationError, WrongArgument
from station.screen import clock_lines
from station.texts import Command, Group, config_option, json_option, lang_option, option, wall


class NoStation(StationError):
    """Error raised when no station runs that could be asked."""

    exit_code = 69


@click.group("clock", cls=Group, help="help.clock")
@lang_option
def clock() -> None:
    """The time, and who vouches for it."""


@clock.command("show", cls=Command, help="help.clock_show")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """What the running station dates by."""
    loaded = read_config(config)
    found = _asked(config, "status")
    if as_json:
        print_json({"time": found["time"], **found["clock"]})
        return
    print(t("clock.line", now=wall(found["time"], loaded.zone), trust=t(f"certificate_clock.{found['trust']}")))
    for line in clock_lines(found["clock"]):
        print(line)


@clock.command("confirm", cls=Command, help="help.clock_confirm")
@option("--user", key="user", required=True)
@option("--reason", key="reason", required=True)
@config_option
@json_option
@lang_option
def confirm(user: str, reason: str, config: Path, as_json: bool) -> None:
    """The wall clock is right as it stands: what waits is dated by it."""
    if not user.strip() or not reason.strip():
        raise WrongArgument(
            "that a clock is right is on record with a person and a reason: --user NAME --reason TEXT"
        )
    found = _asked(config, "clock", person=user.strip(), reason=reason.strip())
    if as_json:
        print_json(found)
        return
    print(t("clock.confirmed"))


def _asked(config: Path, verb: str, **arguments: Any) -> dict[str, Any]:
    found = ask_station(read_config(config), verb, **arguments)
    if found is None:
        raise NoStation(t("clock.no_station"))
    return dict(found)
