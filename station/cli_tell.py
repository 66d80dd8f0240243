"""`station bus tell`: an instrument does what its profile says it can be told, for a person and never for a poll."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_bus import bus as bus_tools
from station.cli_decode import parameter_name
from station.cli_line import LOAN_PATIENCE, remember
from station.command_line import ask_station, print_json, read_config
from station.i18n import t
from station.texts import config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded


@bus_tools.command("tell", help="help.bus_tell")
@click.argument("device")
@click.argument("verb", required=False)
@option("--yes", key="tell_yes", is_flag=True)
@config_option
@json_option
@lang_option
def tell(device: str, verb: str | None, yes: bool, config: Path, as_json: bool) -> int:
    """Have *device* do *verb* once its name was typed again; without one, list what it can be told."""
    from station.lend import refuse_untold, tellable
    from station.status import NoSuchDevice

    loaded = read_config(config)
    instrument = loaded.instrument(device)
    if instrument is None:
        known = ", ".join(d.name for bus in loaded.config.bus for d in bus.device)
        raise NoSuchDevice(f'there is no device "{device}"; known: {known}')
    if verb is None:
        can = list(tellable(instrument))
        if as_json:
            print_json({"device": device, "verbs": can})
        else:
            print(t("tell.can" if can else "tell.nothing", name=device), *can)
        return 0
    refuse_untold(instrument, verb)
    totals = instrument.actions[verb] if verb == "clear_total" else ()
    before = _read(loaded, device, totals)
    if not as_json:
        for said in _said(before):
            print(t("tell.clear_total", **said))
    if not yes and not _confirmed(device, verb):
        print(t("tell.not_done"), file=sys.stderr)
        return 1
    _told(loaded, device, verb)
    after = _read(loaded, device, totals)
    if as_json:
        print_json({"device": device, "verb": verb, "before": _bare(before), "after": _bare(after)})
    else:
        print(t("tell.done", name=device, verb=verb))
        for said in _said(after):
            print(t("tell.now", **said))
    return 0


def _bare(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: one["value"] for name, one in values.items()}


def _said(values: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for name, one in values.items():
        value = t("status.unknown") if one["value"] is None else f"{one['value']:.7g}"
        yield {"parameter": parameter_name(name), "value": value, "unit": one["unit"]}


def _confirmed(device: str, verb: str) -> bool:
    """Whether the instrument's name is typed once more; whoever types it has looked at it."""
    print(t("tell.confirm", verb=verb), end=" ", file=sys.stderr, flush=True)
    return bool(sys.stdin is not None and sys.stdin.readline().strip() == device)


def _read(loaded: Loaded, device: str, totals: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """What the *totals* of *device* read now, by parameter."""
    if not totals:
        return {}
    samples = ask_station(loaded, "read", device=device)
    if samples is None:
        from station.status import sample

        with _instrument(loaded, device) as instrument:
            samples = [sample(one) for one in instrument.read()]
    return {one["parameter"]: one for one in samples if one["parameter"] in totals}


def _told(loaded: Loaded, device: str, verb: str) -> None:
    """Have the running station tell it, or do it here; either way it is remembered, done or not."""
    if ask_station(loaded, "tell", timeout=LOAN_PATIENCE, device=device, action=verb, user=0) is not None:
        return
    with _instrument(loaded, device) as instrument, _remembered(loaded, device, verb):
        instrument.act(verb, {})


@contextmanager
def _instrument(loaded: Loaded, name: str) -> Iterator[Any]:
    """The instrument *name* on a port of our own."""
    from drivers.bus import Bus
    from station.config import make_device

    bus, settings = next((bus, one) for bus in loaded.config.bus for one in bus.device if one.name == name)
    line = Bus(bus)
    try:
        yield make_device(settings, line, loaded.profile_folders)
    finally:
        line.close()


@contextmanager
def _remembered(loaded: Loaded, device: str, verb: str) -> Iterator[None]:
    """Keep what became of it in the database, where there is one."""
    from drivers.base import DriverError
    from station.lend import user_name

    told, state = {"device": device, "verb": verb, "user": user_name(os.getuid())}, "done"
    try:
        yield
    except DriverError as error:
        state = str(error)
        raise
    finally:
        if loaded.database.exists():
            remember(loaded, "instrument_told", told | {"state": state})
