"""`station alarms`: what is held against limits and conditions, how it stands, and a person's word that it was seen."""

from __future__ import annotations

from collections.abc import Mapping
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


@click.group("alarms", cls=Group, help="help.alarms")
@lang_option
def alarms() -> None:
    """Limits and conditions, and how they stand."""


@alarms.command("list", help="help.alarms_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Every alarm of the running station, else as the database left it."""
    loaded = read_config(config)
    rows = ask_station(loaded, "alarms", action="list")
    alone = rows is None
    if rows is None:
        rows = _stored(loaded)
    if as_json:
        print_json({"alarms": rows, "running": not alone})
        return
    if not rows:
        print(t("alarms.none"))
        return
    from station.screen import show_alarms

    if alone:
        print(t("alarms.as_left"))
    show_alarms(rows, loaded.zone)


@alarms.command("ack", help="help.alarms_ack")
@click.argument("name")
@option("--user", key="user", required=True)
@option("--note", key="seen_note", default="")
@config_option
@json_option
@lang_option
def acknowledge(name: str, user: str, note: str, config: Path, as_json: bool) -> None:
    """Somebody has seen it; it goes on until the value says otherwise."""
    loaded = read_config(config)
    fields = {"name": name, "user": user, "note": note}
    body = ask_station(loaded, "alarms", action="ack", fields=fields)
    if body is None:
        body = _acknowledge_alone(loaded, fields)
    if as_json:
        print_json(body)
    else:
        print(t("alarms.acknowledged", name=name, user=user))


def _stored(loaded: Loaded) -> list[dict[str, Any]]:
    """What was last told of each alarm that is configured; of those that were not told yet, nothing."""
    from station.alarming import as_left
    from station.cli_marks import _store

    with closing(_store(loaded)) as store:
        rows = as_left(store, loaded.config, loaded.folder)
        if loaded.config.qc:
            from station.check_rows import alarm_rows, point_of
            from station.cli_qc import read

            rows += alarm_rows(list(loaded.config.qc), read(store), lambda one: point_of(loaded.config, one))
    return rows


def _acknowledge_alone(loaded: Loaded, fields: Mapping[str, Any]) -> dict[str, Any]:
    from station.alarming import acknowledgement, stored
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        told = {name: told for name, (told, _) in stored(store).items()}
        record = acknowledgement(told, fields, datetime.now(UTC))
        with store.transaction():
            store.add_records([record])
        return {"name": record.device, **record.body}
