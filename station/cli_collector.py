"""`station collector`: what jars that weigh themselves have to say, and what a person decides about them."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, print_json, read_config
from station.i18n import t
from station.texts import Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded

COLUMNS = ("name", "tared", "days", "mass_mg", "value", "held")


@click.group("collector", cls=Group, help="help.collector")
@lang_option
def collector() -> None:
    """Jars on balances."""


@collector.command("show", help="help.collector_show")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """From the running station, else as last kept."""
    loaded = read_config(config)
    found = ask_station(loaded, "collector")
    if found is None:
        found = _kept(loaded)
    if as_json:
        print_json(found)
        return
    if not found:
        print(t("collector.none"))
        return
    from station.screen import show_rows

    show_rows([(c, t(f"collector.{c}")) for c in COLUMNS], [_worded(row, loaded) for row in found])
    print(t("collector.screening"))


@collector.command("decide", help="help.collector_decide")
@click.argument("name")
@click.argument("verb", type=click.Choice(("tare", "keep", "exclude")))
@option("--user", key="user", required=True)
@config_option
@lang_option
def decide(name: str, verb: str, user: str, config: Path) -> None:
    """A person looked into the jar; only a running station can be told."""
    from station.control import ask

    loaded = read_config(config)
    ask(loaded.control_socket, "collector", name=name, decision=verb, by=user)
    print(t(f"collector.{verb}", name=name))


def _kept(loaded: Loaded) -> list[dict[str, Any]]:
    """The newest record of each configured collector."""
    from station.collecting import last_record
    from station.store import Store, connect

    if not loaded.database.exists():
        return []
    now = datetime.now(UTC)
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        records = [last_record(store, settings.name, now) for settings in loaded.config.collector]
    return [{"name": r.device, "at": r.at.isoformat(), **r.body["result"]} for r in records if r is not None]


def _worded(row: dict[str, Any], loaded: Loaded) -> dict[str, str]:
    from station.dustfall import reported

    tared = datetime.fromisoformat(row["tared"]).astimezone(loaded.zone) if row["tared"] else None
    value = "" if row["value"] is None else reported(row["value"])
    if row["doubt"] is not None:
        value += f" ±{row['doubt']:.1f}"
    return {
        "name": row["name"],
        "tared": f"{tared:%Y-%m-%d %H:%M}" if tared else "",
        "days": "" if row["days"] is None else f"{row['days']:.1f}",
        "mass_mg": "" if row["mass_mg"] is None else f"{row['mass_mg']:.1f}",
        "value": value,
        "held": t(f"collector_held.{row['held']}", **row["figures"]) if row["held"] else "",
    }
