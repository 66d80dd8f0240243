"""`station meter`: exchanges of meters, declared with name and reason."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, moment_in, parameter_key, point_code, print_json, read_config
from station.i18n import t
from station.texts import Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded


@click.group("meter", cls=Group, help="help.meter")
@lang_option
def meter() -> None:
    """Exchanges of meters."""


_user = option("--user", key="user", required=True)
_reason = option("--reason", key="reason", required=True)


@meter.command("exchange", help="help.meter_exchange")
@click.argument("point")
@click.argument("parameter")
@option("--old", key="old_meter", type=float, required=True)
@option("--new", key="new_meter", type=float, required=True)
@option("--at", key="exchanged_at")
@_user
@_reason
@config_option
@json_option
@lang_option
def exchange(
    point: str, parameter: str, old: float, new: float, at: str | None, user: str, reason: str, config: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """A meter was taken away and another put in its place."""
    loaded = read_config(config)
    moment = moment_in(at, loaded.zone)
    fields = {
        "do": "exchange", "point": point_code(loaded, point), "parameter": parameter_key(parameter),
        "old": old, "new": new, "at": moment.isoformat() if moment else None, "user": user, "reason": reason,
    }  # fmt: skip
    _enter(loaded, as_json, fields)


@meter.command("withdraw", help="help.meter_withdraw")
@click.argument("name")
@_user
@_reason
@config_option
@json_option
@lang_option
def withdraw(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """An exchange declared by mistake counts no more; it stays on record."""
    _enter(read_config(config), as_json, {"do": "withdraw", "name": name, "user": user, "reason": reason})


@meter.command("list", help="help.meter_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Every exchange."""
    from station.cli_marks import _local, _store
    from station.counter import in_store

    loaded = read_config(config)
    ask_station(loaded, "commit")
    with closing(_store(loaded)) as store:
        book = list(in_store(store))
    keys = ("name", "point", "parameter", "old", "new", "user", "reason", "withdrawn")
    rows = [{key: getattr(one, key) for key in keys} | {"at": one.at.isoformat()} for one in book]
    if as_json:
        print_json({"exchanges": rows})
        return
    if not rows:
        print(t("meter.none"))
        return
    from station.screen import show_rows

    columns = ("name", "point", "parameter", "at", "old", "new", "user", "reason")
    for row in rows:
        row["at"] = _local(row["at"], loaded)
        row["old"], row["new"] = f"{row['old']:g}", f"{row['new']:g}"
        if row["withdrawn"]:
            row["reason"] = t("marks.withdrawn", reason=row["reason"], why=row["withdrawn"])
    show_rows([(c, t(f"meter.{c}")) for c in columns], rows)


def _enter(loaded: Loaded, as_json: bool, fields: dict[str, Any]) -> None:
    """Have an entry kept by the running station, or, when none runs, in its database for the next start."""
    body = ask_station(loaded, "meter", fields=fields)
    alone = body is None
    if body is None:
        body = _enter_alone(loaded, fields)
    if as_json:
        print_json(body)
        return
    print(t(f"metered.{body['do']}", name=body["name"]))
    if alone:
        print(t("meter.at_next_start"))


def _enter_alone(loaded: Loaded, fields: dict[str, Any]) -> dict[str, Any]:
    from station.counter import enter, in_store
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    points = [point.code for point in loaded.config.point]
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        record = enter(in_store(store), store, fields, points, datetime.now(UTC))
        with store.transaction():
            store.add_records([record])
        return dict(record.body)
