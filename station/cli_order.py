"""`station order` and `station load`: dispatch orders with who kept to them, and permits with when they are used up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, moment_in, point_code, print_json, read_config
from station.i18n import t
from station.model import asdict
from station.texts import Command, Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.config import Loaded


@click.group("order", cls=Group, help="help.order")
@lang_option
def order() -> None:
    """Dispatch orders."""


_user = option("--user", key="user", required=True)
_reason = option("--reason", key="reason", required=True)


@order.command("add", help="help.order_add")
@option("--from", "start", key="from", required=True)
@option("--to", "end", key="to")
@option("--scope", "points", key="scope", multiple=True, required=True)
@option("--percent", key="percent", type=float, required=True)
@option("--baseline-days", key="baseline_days", type=int, default=7, show_default=True)
@_user
@_reason
@config_option
@json_option
@lang_option
def add(
    start: str, end: str | None, points: tuple[str, ...], percent: float, baseline_days: int, user: str, reason: str,
    config: Path, as_json: bool,
) -> None:  # fmt: skip
    """So much less, from when on, for which lines."""
    loaded = read_config(config)
    scope = [point_code(loaded, point) for point in points]
    fields = {"do": "add", "points": scope, "percent": percent, "baseline_days": baseline_days}
    _enter(config, as_json, fields | {"user": user, "reason": reason}, start=start, end=end)


@order.command("end", help="help.order_end")
@click.argument("name")
@option("--to", "end", key="to")
@_user
@_reason
@config_option
@json_option
@lang_option
def end_order(name: str, end: str | None, user: str, reason: str, config: Path, as_json: bool) -> None:
    """An order that is on is over."""
    _enter(config, as_json, {"do": "end", "name": name, "user": user, "reason": reason}, end=end)


@order.command("withdraw", help="help.order_withdraw")
@click.argument("name")
@_user
@_reason
@config_option
@json_option
@lang_option
def withdraw(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """An order entered by mistake."""
    _enter(config, as_json, {"do": "withdraw", "name": name, "user": user, "reason": reason})


@order.command("list", help="help.order_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Every order, and how each of its lines kept to it."""
    from station.cli_marks import _store
    from station.counter import rollovers
    from station.orders import lines

    loaded = read_config(config)
    ask_station(loaded, "commit")
    now = datetime.now(UTC)
    with closing(_store(loaded)) as store:
        full = rollovers(loaded.config)
        found = [(one, [] if one.withdrawn else lines(store, one, now, loaded.zone, full)) for one in _book(store)]
    if as_json:
        print_json({"orders": [_as_json(one) | {"lines": [asdict(line) for line in kept]} for one, kept in found]})
        return
    if not found:
        print(t("order.none"))
        return
    from station.screen import show_rows

    columns = ("name", "time", "percent", "point", "used", "allowed", "verdict")
    rows = [row for one, kept in found for row in _rows(one, kept, loaded)]
    show_rows([(c, t(f"order.{c}")) for c in columns], rows)


def _as_json(one: Any) -> dict[str, Any]:
    last = one.last.isoformat() if one.last else None
    return asdict(one) | {"first": one.first.isoformat(), "last": last, "points": list(one.points)}


def _rows(one: Any, kept: Any, loaded: Loaded) -> list[dict[str, str]]:
    first, last = wall(one.first, loaded.zone), wall(one.last, loaded.zone) if one.last else t("order.on")
    said = {"name": one.name, "time": f"{first} – {last}", "percent": f"{one.percent:g} %"}
    if one.withdrawn:
        verdict = t("order.withdrawn", why=one.withdrawn)
        return [said | {"point": " ".join(one.points), "used": "", "allowed": "", "verdict": verdict}]
    return [
        said
        | {
            "point": line.point,
            "used": _kwh(line.used_kwh),
            "allowed": _kwh(line.allowed_kwh),
            "verdict": f"{t(f'order_verdict.{line.verdict}')}: {t(f'order_why.{line.why}')}",
        }
        for line in kept
    ]


def _kwh(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} kWh"


def _book(store: Any) -> Any:
    from station.fieldbook import BEGINNING, END
    from station.orders import KIND, Orders

    return Orders(store.records(KIND, BEGINNING, END))


def _enter(
    config: Path, as_json: bool, fields: Mapping[str, Any], *, start: str | None = None, end: str | None = None
) -> None:
    loaded = read_config(config)
    first, last = moment_in(start, loaded.zone), moment_in(end, loaded.zone)
    given = {**fields, "from": first.isoformat() if first else None, "to": last.isoformat() if last else None}
    body = ask_station(loaded, "order", fields=given)
    if body is None:
        body = _enter_alone(loaded, given)
    if as_json:
        print_json(body)
    else:
        print(t(f"ordered.{body['do']}", name=body["name"]))


def _enter_alone(loaded: Loaded, fields: Mapping[str, Any]) -> dict[str, Any]:
    from station.orders import enter
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    points = {point.code: point for point in loaded.config.point}
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        record = enter(_book(store), fields, points, datetime.now(UTC))
        with store.transaction():
            store.add_records([record])
        return dict(record.body)


@click.command("load", cls=Command, help="help.load")
@config_option
@json_option
@lang_option
def load(config: Path, as_json: bool) -> None:
    """Each permit: carried so far this year, and when it is used up at the pace of the last month."""
    from station.cli_marks import _store
    from station.working import year_of

    loaded = read_config(config)
    ask_station(loaded, "commit")
    today = datetime.now(UTC).astimezone(loaded.zone).date()
    with closing(_store(loaded)) as store:
        found = [(one, year_of(store, one, today, loaded.zone)) for one in loaded.config.permit]
    if as_json:
        print_json({"permits": [asdict(one) | asdict(used) | {"share": used.share} for one, used in found]})
        return
    if not found:
        print(t("load.none"))
        return
    from station.screen import show_rows

    rows = [
        {
            "name": one.name,
            "point": one.point,
            "used": f"{used.used_kg / 1000:.4g} / {one.tonnes:g} t ({used.share:.1%})",
            "days": t("load.counted", known=used.days, missing=used.missing),
            "until": t(f"load_why.{used.why}", day=used.exhausted),
        }
        for one, used in found
    ]
    show_rows([(c, t(f"load.{c}")) for c in ("name", "point", "used", "days", "until")], rows)
