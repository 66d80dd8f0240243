"""`station tunnel`: remote care, switched on by a technician or by a signed order, and off again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from station.command_line import ask_station, print_json, read_config
from station.i18n import t
from station.model import StationError
from station.texts import Group, config_option, json_option, lang_option, option, wall

LONGEST = 8192


class NoStation(StationError):
    """Error raised when no station runs that could switch a tunnel."""

    exit_code = 69


class NoOrder(StationError):
    """Error raised when a file that should hold an order cannot be read."""


@click.group("tunnel", cls=Group, help="help.tunnel")
@lang_option
def tunnel() -> None:
    """Remote care."""


@tunnel.command("status", help="help.tunnel_status")
@config_option
@json_option
@lang_option
def status(config: Path, as_json: bool) -> None:
    """Whether one is wanted, until when, and how it stands."""
    _ask(config, as_json, do="status")


@tunnel.command("on", help="help.tunnel_on")
@option("--by", key="tunnel_by", required=True)
@option("--hours", key="tunnel_hours", type=float)
@option("--reason", key="reason", default="")
@config_option
@json_option
@lang_option
def on(by: str, hours: float | None, reason: str, config: Path, as_json: bool) -> None:
    """A tunnel for some hours."""
    _ask(config, as_json, do="on", by=by, hours=hours, reason=reason)


@tunnel.command("off", help="help.tunnel_off")
@option("--by", key="tunnel_by", required=True)
@config_option
@json_option
@lang_option
def off(by: str, config: Path, as_json: bool) -> None:
    """Close it now."""
    _ask(config, as_json, do="off", by=by)


@tunnel.command("order", help="help.tunnel_order")
@click.argument("file", type=click.Path(path_type=Path))
@option("--signature", key="tunnel_signature", type=click.Path(path_type=Path))
@config_option
@json_option
@lang_option
def order(file: Path, signature: Path | None, config: Path, as_json: bool) -> None:
    """Do what a signed order in FILE says; its signature lies beside it as FILE.sig."""
    sig = signature or file.with_name(f"{file.name}.sig")
    _ask(config, as_json, do="order", order=_read(file), signature=_read(sig))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode("utf-8")
    except OSError as error:
        raise NoOrder(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise NoOrder(f"{path}: is no text in UTF-8") from error


def _ask(config: Path, as_json: bool, **fields: Any) -> None:
    loaded = read_config(config)
    found = ask_station(loaded, "tunnel", timeout=30, fields=fields)
    if found is None:
        raise NoStation("no station runs that could switch the tunnel; start it first: station run --config")
    if as_json:
        print_json(found)
        return
    if found["on"]:
        sys.stdout.write(t("tunnel.on", until=wall(found["until"], loaded.zone), by=found["by"]) + "\n")
    else:
        sys.stdout.write(t("tunnel.off") + "\n")
    sys.stdout.write(t(f"tunnel_state.{found['state']}", reason=found["why"] or "-") + "\n")
