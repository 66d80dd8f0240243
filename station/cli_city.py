"""`station city`: the city's air by the hour, entered by hand where no feed has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, moment_in, print_json, read_config
from station.i18n import t
from station.model import StoreError, WrongArgument
from station.texts import Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded


@click.group("city", cls=Group, help="help.city")
@lang_option
def city() -> None:
    """What limits take off a value."""


@city.command("set", help="help.city_set")
@option("--time", "at", key="time", required=True)
@option("--pm10", key="pm10")
@option("--aqi", key="aqi")
@option("--primary", key="primary", default="")
@option("--user", key="user", required=True)
@config_option
@json_option
@lang_option
def set_hour(at: str, pm10: str | None, aqi: str | None, primary: str, user: str, config: Path, as_json: bool) -> None:
    """One hour."""
    _enter(config, as_json, [{"time": at, "pm10": pm10, "aqi": aqi, "primary": primary}], user)


@city.command("load", help="help.city_load")
@click.argument("file", type=click.Path(path_type=Path))
@option("--user", key="user", required=True)
@config_option
@json_option
@lang_option
def load_table(file: Path, user: str, config: Path, as_json: bool) -> None:
    """A table of hours."""
    from station.city import read_table

    loaded = read_config(config)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StoreError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise WrongArgument(f"{file}: is not UTF-8 text") from error
    hours, refused = read_table(text, loaded.zone, datetime.now(UTC))
    if refused:
        raise WrongArgument(f"{file}: {'; '.join(refused)}")
    rows = [
        {"time": one.start.isoformat(), "pm10": one.pm10, "aqi": one.aqi, "primary": list(one.primary)} for one in hours
    ]
    _enter(config, as_json, rows, user)


@city.command("list", help="help.city_list")
@option("--from", "start", key="from")
@option("--to", "end", key="to")
@config_option
@json_option
@lang_option
def show(start: str | None, end: str | None, config: Path, as_json: bool) -> None:
    """What was said last of each hour; the last two days unless said otherwise."""
    from station.city import KIND
    from station.cli_marks import _store

    loaded = read_config(config)
    until = moment_in(end, loaded.zone) or datetime.now(UTC)
    first = moment_in(start, loaded.zone) or until - timedelta(days=2)
    ask_station(loaded, "commit")
    with closing(_store(loaded)) as store:
        hours = {record.at: record for record in sorted(store.records(KIND, first, until), key=lambda r: r.id)}
    rows = [{"time": at.astimezone(loaded.zone).isoformat(), **hours[at].body} for at in sorted(hours)]
    if as_json:
        print_json({"hours": rows})
        return
    if not rows:
        print(t("city.none"))
        return
    from station.screen import show_rows

    columns = ("time", "pm10", "aqi", "primary", "source")
    show_rows([(c, t(f"city.{c}")) for c in columns], [_worded(row) for row in rows])


def _worded(row: Mapping[str, Any]) -> dict[str, str]:
    said = {key: "-" if row[key] is None else f"{row[key]:g}" for key in ("pm10", "aqi")}
    source = t("city.by_hand", user=row["user"]) if row["source"] == "by hand" else t("city.feed")
    return {"time": row["time"][:16].replace("T", " "), "primary": " ".join(row["primary"]), "source": source, **said}


def _enter(config: Path, as_json: bool, rows: Sequence[Mapping[str, Any]], user: str) -> None:
    loaded = read_config(config)
    done = ask_station(loaded, "city", rows=rows, person=user)
    if done is None:
        done = _enter_alone(loaded, rows, user)
    if as_json:
        print_json(done)
    else:
        print(t("city.kept", count=done["kept"]))


def _enter_alone(loaded: Loaded, rows: Sequence[Mapping[str, Any]], user: str) -> dict[str, Any]:
    from station.city import by_hand
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        made = by_hand(store, rows, user, loaded.zone, datetime.now(UTC))
        with store.transaction():
            store.add_records(made)
    return {"kept": len(made)}
