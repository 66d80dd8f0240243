"""`station sampler`: a sampler and its bottles, a sample by hand, bottles collected, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_field import reader
from station.clock import EPOCH
from station.command_line import ask_station, print_json, read_config
from station.i18n import t
from station.model import StationError, WrongArgument
from station.texts import Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.config import Loaded

BOTTLES = ("bottle", "state", "at", "why", "temperature", "volume")
CUSTODY = ("bottle", "at", "why", "state", "collected", "by", "laboratory")


class NoStation(StationError):
    """Error raised when only a running station could do what was asked."""

    exit_code = 69


@click.group("sampler", cls=Group, help="help.sampler")
@lang_option
def sampler() -> None:
    """Samplers and their bottles."""


@sampler.command("status", help="help.sampler_status")
@click.argument("name", required=False, default="")
@config_option
@json_option
@lang_option
def show(name: str, config: Path, as_json: bool) -> None:
    """How each sampler and its bottles stand."""
    loaded = read_config(config)
    found = _ask(loaded, action="status", name=name)
    if as_json:
        print_json(found)
        return
    from station.screen import show_rows

    for one in found:
        print(t("sampler.is", name=one["name"], point=one["point"], used=one["used"], free=one["free"]))
        for word in _said(one):
            print(f"  {word}")
        if one["bottles"]:
            show_rows(_heads(BOTTLES), [_row(row, BOTTLES, loaded) for row in one["bottles"]])


def _said(one: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, and the box."""
    found = [] if one["reachable"] else [t("sampler.unreachable", error=one["error"] or "-")]
    found += [] if one["temperature"] is None else [t("sampler.box", temperature=f"{one['temperature']:.1f}")]
    found += [t("sampler.door")] if one["door"] else []
    found += [t("sampler.full")] if one["full"] else []
    found += [t("sampler.fault", fault=one["fault"])] if one["fault"] else []
    return found


@sampler.command("take", help="help.sampler_take")
@click.argument("name", required=False, default="")
@option("--by", key="by", required=True)
@option("--reason", key="reason", default="")
@option("--bottle", key="bottle", type=click.IntRange(1, 99))
@config_option
@json_option
@lang_option
def take(name: str, by: str, reason: str, bottle: int | None, config: Path, as_json: bool) -> None:
    """A sample by hand."""
    bottles = [] if bottle is None else [bottle]
    made = _ask(read_config(config), action="take", name=name, by=by, user="", reason=reason, bottles=bottles)
    if as_json:
        print_json(made)
    else:
        print(t("sampler.taken", name=made["sampler"], bottle=made["bottle"]))


@sampler.command("empty", help="help.sampler_empty")
@click.argument("name", required=False, default="")
@option("--by", key="by", required=True)
@option("--reason", key="reason", default="")
@option("--bottle", "bottles", key="bottle_collected", multiple=True, type=click.IntRange(1, 99))
@option("--lab", "numbers", key="bottle_lab", multiple=True)
@config_option
@json_option
@lang_option
def empty(
    name: str, by: str, reason: str, bottles: tuple[int, ...], numbers: tuple[str, ...], config: Path, as_json: bool
) -> None:
    """Bottles were taken out."""
    loaded, laboratory = read_config(config), {}
    for text in numbers:
        number, sign, code = text.partition("=")
        if not (number.isdecimal() and sign and code.strip()):
            raise WrongArgument(f'"{text}" is not BOTTLE=NUMBER, such as 3=W26-0117')
        laboratory[number] = code.strip()
    made = _ask(
        loaded, action="empty", name=name, by=by, user="", reason=reason, bottles=list(bottles), laboratory=laboratory
    )
    if as_json:
        print_json(made)
        return
    from station.screen import show_rows

    print(t("sampler.emptied", name=made["sampler"], by=made["user"], count=len(made["bottles"])))
    heads = ("bottle", "at", "why", "state", "laboratory")
    show_rows(_heads(heads), [_row(row, heads, loaded) for row in made["bottles"]])


@sampler.command("list", help="help.sampler_list")
@click.argument("name", required=False, default="")
@config_option
@json_option
@lang_option
def record(name: str, config: Path, as_json: bool) -> None:
    """Every bottle that was ever used: when and why it was filled, who collected it."""
    loaded = read_config(config)
    names = [one.name for one in loaded.config.sampler if name in ("", one.name)]
    if not names:
        raise WrongArgument(f'there is no sampler "{name}"' if name else "there is no [[sampler]] in station.toml")
    rows = [row for one in names for row in _custody(loaded, one)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        print(t("sampler.none"))
        return
    from station.screen import show_rows

    show_rows(_heads(CUSTODY), [_row(row, CUSTODY, loaded) for row in rows])


def _custody(loaded: Loaded, name: str) -> list[dict[str, Any]]:
    from station.bottles import custody, kept_by
    from station.resumption import FOREVER

    with reader(loaded) as store:
        return custody(name, kept_by(store, name, EPOCH, FOREVER))


def _heads(keys: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, t(f"sampler_column.{key}")) for key in keys]


def _row(row: Mapping[str, Any], keys: Sequence[str], loaded: Loaded) -> dict[str, str]:
    from station.bottles import why

    shown = {key: "-" if row.get(key) in (None, "") else str(row[key]) for key in keys}
    for key in ("at", "collected"):
        if row.get(key):
            shown[key] = wall(row[key], loaded.zone)
    shown["state"] = t(f"bottle_state.{row['state']}")
    shown["why"] = why(row["why"])
    return {key: shown[key] for key in keys}


def _ask(loaded: Loaded, **arguments: Any) -> Any:
    found = ask_station(loaded, "sampler", **arguments)
    if found is None:
        raise NoStation("no station is running here, and only the running one knows its sampler; start it first")
    return found
