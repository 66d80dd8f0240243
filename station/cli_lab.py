"""`station lab`: results of laboratories and measurements by hand, entered from a table, beside the station's own."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, parameter_key, point_code, print_json, read_config
from station.i18n import t
from station.texts import Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.config import Loaded

SHOWN = ("name", "point", "parameter", "sampled", "result", "own", "difference", "person", "report", "remark")


@click.group("lab", cls=Group, help="help.lab")
@lang_option
def lab() -> None:
    """What others measured of the same water and air."""


_user = option("--user", key="user", required=True)


@lab.command("import", help="help.lab_import")
@click.argument("table", type=click.Path(path_type=Path))
@_user
@option("--report", key="lab_report", default="")
@option("--laboratory", key="laboratory", default="")
@option("--dry-run", key="lab_dry_run", is_flag=True)
@config_option
@json_option
@lang_option
def bring(
    table: Path, user: str, report: str, laboratory: str, dry_run: bool, config: Path, as_json: bool
) -> None:  # fmt: skip
    """A table of results, whole or not at all."""
    from station.laboratory import NoTable, read_table

    loaded = read_config(config)
    try:
        rows, digest = read_table(table)
        fields = {
            "do": "import", "rows": rows, "user": user, "report": report, "laboratory": laboratory,
            "file": table.name, "sha256": digest, "dry_run": dry_run,
        }  # fmt: skip
        body = ask_station(loaded, "laboratory", fields=fields)
        alone = body is None
        if body is None:
            body = _enter_alone(loaded, fields)
        if body.get("faults"):
            raise NoTable(body["error"], body["faults"])
    except NoTable as error:
        for fault in error.faults:
            click.echo(f"{table}: {fault}", err=True)
        raise
    if as_json:
        print_json(body)
        return
    key = "tried" if dry_run else "imported"
    print(t(f"lab.{key}", count=len(body["names"]), first=body["names"][0], last=body["names"][-1]))
    if alone and not dry_run:
        print(t("lab.alone"))


@lab.command("withdraw", help="help.lab_withdraw")
@click.argument("name")
@_user
@option("--reason", key="reason", required=True)
@config_option
@json_option
@lang_option
def withdraw(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """A result entered by mistake; it stays on record."""
    loaded = read_config(config)
    fields = {"do": "withdraw", "name": name, "user": user, "reason": reason}
    body = ask_station(loaded, "laboratory", fields=fields)
    if body is None:
        body = _enter_alone(loaded, fields)
    if as_json:
        print_json(body)
        return
    print(t("lab.taken_back", name=name))


@lab.command("list", help="help.lab_list")
@option("--point", key="report_point")
@option("--parameter", key="parameter")
@config_option
@json_option
@lang_option
def show(point: str | None, parameter: str | None, config: Path, as_json: bool) -> None:
    """Every result, with the hour of the station's own around it."""
    from station.cli_marks import _store
    from station.laboratory import beside, in_store

    loaded = read_config(config)
    point = None if point is None else point_code(loaded, point)
    parameter = None if parameter is None else parameter_key(parameter)
    ask_station(loaded, "commit")
    with closing(_store(loaded)) as store:
        found = [
            (one, *beside(store, one))
            for one in sorted(in_store(store), key=lambda r: (r.sampled, r.name))
            if point in (None, one.point) and parameter in (None, one.parameter)
        ]
    if as_json:
        from station.model import asdict

        print_json({"results": [
            asdict(one) | {"sampled": one.sampled.isoformat(), "mark": "S", "own_hour": own, "own_mark": mark}
            for one, own, mark in found
        ]})  # fmt: skip
        return
    if not found:
        print(t("lab.none"))
        return
    from station.screen import show_rows

    show_rows([(c, t(f"lab.{c}")) for c in SHOWN], [_row(one, own, mark, loaded) for one, own, mark in found])
    print(t("lab.note"))


def _row(one: Any, own: float | None, mark: str, loaded: Loaded) -> dict[str, str]:
    from station.parameters import catalogue
    from station.report_page import name_of, shown

    unit = catalogue()[one.parameter].unit
    value = f"<{one.below:g}" if one.value is None else f"{one.value:g}"
    remark = t("marks.withdrawn", reason=one.remark or "-", why=one.withdrawn) if one.withdrawn else one.remark
    return {
        "name": one.name, "point": one.point, "parameter": name_of(one.parameter),
        "sampled": wall(one.sampled, loaded.zone), "result": f"{value} {unit} S".replace("  ", " "),
        "own": "-" if own is None else f"{shown(own, one.parameter)} {mark}",
        "difference": _difference(one.value, own, mark), "person": one.person, "report": one.report, "remark": remark,
    }  # fmt: skip


def _difference(value: float | None, own: float | None, mark: str) -> str:
    """How far the station's own hour is from the result, in percent of the result; nothing against a doubtful hour."""
    if not value or own is None or mark != "N":
        return "-"
    return f"{100 * (own - value) / abs(value):+.1f} %"


def _enter_alone(loaded: Loaded, fields: dict[str, Any]) -> dict[str, Any]:
    from station.laboratory import enter, in_store
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    points = {point.code: point.name for point in loaded.config.point}
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        records = enter(in_store(store), fields, points, datetime.now(UTC), loaded.zone)
        if not fields.get("dry_run"):
            with store.transaction():
                store.add_records(records)
    return {"do": fields["do"], "names": [record.body["name"] for record in records]}
