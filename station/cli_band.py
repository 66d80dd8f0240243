"""`station band`: where production and treatment run, learned from the station's own minutes, confirmed by a person."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, moment_in, print_json, read_config
from station.i18n import t
from station.texts import Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded


@click.group("band", cls=Group, help="help.band")
@lang_option
def band() -> None:
    """Power bands of pairs."""


_user = option("--user", key="user", required=True)
_reason = option("--reason", key="reason", required=True)


@band.command("learn", help="help.band_learn")
@click.argument("pair")
@click.argument("role", type=click.Choice(["production", "treatment"]))
@option("--from", "start", key="from", required=True)
@option("--to", "end", key="to", required=True)
@_user
@config_option
@json_option
@lang_option
def learn(pair: str, role: str, start: str, end: str, user: str, config: Path, as_json: bool) -> None:
    """A proposal with its figures; it decides nothing yet."""
    loaded = read_config(config)
    first, last = moment_in(start, loaded.zone), moment_in(end, loaded.zone)
    assert first is not None
    assert last is not None
    fields = {"do": "learn", "pair": pair, "role": role, "from": first.isoformat(), "to": last.isoformat()}
    body, alone = _enter(loaded, fields | {"user": user})
    if as_json:
        print_json(body)
        return
    print(t("banded.learn", name=body["name"], **_figures(body["figures"])))
    _say_alone(alone)


@band.command("confirm", help="help.band_confirm")
@click.argument("name")
@_user
@_reason
@config_option
@json_option
@lang_option
def confirm(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """From now on it decides."""
    _simple(config, as_json, {"do": "confirm", "name": name, "user": user, "reason": reason})


@band.command("withdraw", help="help.band_withdraw")
@click.argument("name")
@_user
@_reason
@config_option
@json_option
@lang_option
def withdraw(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """From now on it decides no more; it stays on record."""
    _simple(config, as_json, {"do": "withdraw", "name": name, "user": user, "reason": reason})


@band.command("list", help="help.band_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Every band with its figures, and who confirmed it."""
    from station.bands import in_store
    from station.cli_marks import _local, _store
    from station.model import asdict

    loaded = read_config(config)
    ask_station(loaded, "commit")
    with closing(_store(loaded)) as store:
        book = list(in_store(store))
    if as_json:
        print_json({"bands": [_plain(asdict(one)) for one in book]})
        return
    if not book:
        print(t("band.none"))
        return
    from station.screen import show_rows

    rows = []
    for one in book:
        state = "withdrawn" if one.ended else "confirmed" if one.confirmed else "proposed"
        span = f"{_local(one.first.isoformat(), loaded)} - {_local(one.last.isoformat(), loaded)}"
        figures = t("band.figures_of", **_figures(asdict(one.figures)))
        said = t(f"band_state.{state}", user=one.confirmed_by, reason=one.reason)
        rows.append({"name": one.name, "pair": one.pair, "role": t(f"band_role.{one.role}"), "span": span,
                     "figures": figures, "state": said})  # fmt: skip
    show_rows([(c, t(f"band.{c}")) for c in ("name", "pair", "role", "span", "figures", "state")], rows)


def _figures(figures: dict[str, Any]) -> dict[str, str]:
    """Counts and levels as they are said."""
    return {key: str(value) if isinstance(value, int) else f"{value:.4g}" for key, value in figures.items()}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}


def _simple(config: Path, as_json: bool, fields: dict[str, Any]) -> None:
    body, alone = _enter(read_config(config), fields)
    if as_json:
        print_json(body)
        return
    print(t(f"banded.{body['do']}", name=body["name"]))
    _say_alone(alone)


def _say_alone(alone: bool) -> None:
    if alone:
        print(t("band.at_next_start"))


def _enter(loaded: Loaded, fields: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Have an entry kept by the running station, or, when none runs, in its database for the next start."""
    body = ask_station(loaded, "band", fields=fields)
    return (_enter_alone(loaded, fields), True) if body is None else (body, False)


def _enter_alone(loaded: Loaded, fields: dict[str, Any]) -> dict[str, Any]:
    from station.bands import enter, in_store
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    pairs = {pair.name: pair for pair in loaded.config.pair}
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        record = enter(in_store(store), store, fields, pairs, datetime.now(UTC))
        with store.transaction():
            store.add_records([record])
        return dict(record.body)
