"""`station maintenance`: on, off, signed for, and what there was."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_field import book, enter
from station.command_line import moment_in, point_code, print_json, read_config, whole_seconds
from station.i18n import t
from station.own_reasons import worded as own_words
from station.texts import Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.config import Loaded


@click.group("maintenance", cls=Group, help="help.maintenance")
@lang_option
def maintenance() -> None:
    """Who works where, and until when."""


def _length(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    return None if value is None else whole_seconds(ctx, parameter, value)


@maintenance.command("on", help="help.maintenance_on")
@option("--device", key="maintenance_device")
@option("--point", key="maintenance_point")
@option("--to", "end", key="to")
@option("--for", "seconds", key="maintenance_for", callback=_length)
@option("--user", key="user", default="")
@option("--reason", key="reason", default="")
@config_option
@json_option
@lang_option
def on(
    device: str | None, point: str | None, end: str | None, seconds: int | None, user: str, reason: str, config: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Values are marked M from now on, in the name of who says so, until the end that is set with it."""
    loaded = read_config(config)
    last = moment_in(end, loaded.zone)
    code = None if point is None else point_code(loaded, point)
    to = None if last is None else last.isoformat()
    where = {"device": device, "point": code}
    body, alone = enter(loaded, "maintenance", "on", **where, to=to, seconds=seconds, user=user, reason=reason)
    runs = _calibrations(loaded, body)
    if as_json:
        print_json(body | {"calibrations": runs})
        return
    what = body["what"] or t("maintenance.station")
    print(t("maintained.on", name=body["name"], what=what, last=wall(body["last"], loaded.zone)))
    for reason in runs:
        print(t("maintenance.calibration", reason=own_words(reason)))
    _alone(alone)


def _calibrations(loaded: Loaded, body: dict[str, Any]) -> list[str]:
    """What calibrates right now where the mark of maintenance goes over its own, by the words of its mark."""
    from station.cli_field import reader
    from station.fieldwork import BEGINNING, END
    from station.marks import KIND, HandMarks
    from station.model import Mark

    with reader(loaded) as store:
        book = HandMarks(store.records(KIND, BEGINNING, END))
    places, now = {tuple(one) for one in body["places"]}, datetime.now(UTC)
    on = [one for one in book if one.mark is Mark.C and not one.withdrawn and (one.last is None or one.last > now)]
    over = [one for one in on if {(one.point, one.parameter), (one.point, "")} & places or not one.parameter]
    return [one.reason for one in over if one.point in {point for point, _ in places}]


@maintenance.command("off", help="help.maintenance_off")
@click.argument("name", required=False)
@option("--user", key="user", default="")
@option("--note", key="calibration_note", default="")
@config_option
@json_option
@lang_option
def off(name: str | None, user: str, note: str, config: Path, as_json: bool) -> None:
    """Over before its time."""
    loaded = read_config(config)
    body, alone = enter(loaded, "maintenance", "off", name=name, user=user, note=note)
    _said(body, "maintained.off", as_json, alone)


@maintenance.command("sign", help="help.maintenance_sign")
@click.argument("name")
@option("--user", key="user", default="")
@option("--reason", key="reason", default="")
@config_option
@json_option
@lang_option
def sign(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """A person answers for what a switch or a platform began: all of its time is marked M."""
    loaded = read_config(config)
    body, alone = enter(loaded, "maintenance", "sign", name=name, user=user, reason=reason)
    _said(body, "maintained.sign", as_json, alone)


def _said(body: dict[str, Any], key: str, as_json: bool, alone: bool) -> None:
    if as_json:
        print_json(body)
        return
    print(t(key, name=body["name"], user=body["user"]))
    _alone(alone)


def _alone(alone: bool) -> None:
    if alone:
        print(t("marks.at_next_start"))


@maintenance.command("list", help="help.maintenance_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Every maintenance, the newest last."""
    from station.maintenance import plain

    loaded, now = read_config(config), datetime.now(UTC)
    rows = [plain(one, now) for one in book(loaded, "maintenance")]
    if as_json:
        print_json({"maintenance": rows})
        return
    if not rows:
        print(t("maintenance.none"))
        return
    from station.screen import show_rows

    columns = ("name", "what", "first", "end", "user", "reason", "by", "why")
    show_rows([(c, t(f"maintenance.{c}")) for c in columns], [worded(row, loaded) for row in rows])


def worded(row: dict[str, Any], loaded: Loaded) -> dict[str, str]:
    """A row of the list in the operator's words."""
    ended = row["over"] or row["last"]
    return {
        "name": row["name"],
        "what": row["what"] or t("maintenance.station"),
        "first": wall(row["first"], loaded.zone),
        "end": t("maintenance.until", last=wall(ended, loaded.zone)) if row["on"] else wall(ended, loaded.zone),
        "user": row["user"] or t("maintenance.unsigned"),
        "reason": own_words(row["reason"]),
        "by": " ".join(filter(None, (t(f"maintenance_by.{row['by']}"), row["source"]))),
        "why": t("maintenance.is_on") if row["on"] else t(f"maintenance_by.{row['why']}"),
    }
