"""`station visit` and `station parts`: who was on site and what for; what was changed and what is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from station.cli_field import book, enter, photo
from station.command_line import point_code, print_json, read_config
from station.i18n import t
from station.model import WrongArgument
from station.texts import Group, config_option, json_option, lang_option, option, wall


@click.group("visit", cls=Group, help="help.visit")
@lang_option
def visit() -> None:
    """The site visit log."""


@visit.command("start", help="help.visit_start")
@option("--user", key="user", default="")
@option("--purpose", key="visit_purpose", default="")
@option("--company", key="visit_company", default="")
@option("--contract", key="visit_contract", default="")
@option("--point", key="visit_point")
@config_option
@json_option
@lang_option
def start(user: str, purpose: str, company: str, contract: str, point: str | None, config: Path, as_json: bool) -> None:
    """Somebody came."""
    loaded = read_config(config)
    code = None if point is None else point_code(loaded, point)
    said = {"user": user, "purpose": purpose, "company": company, "contract": contract, "point": code}
    _said(enter(loaded, "visit", "start", **said)[0], as_json, "visited.start")


@visit.command("note", help="help.visit_note")
@click.argument("text", required=False, default="")
@option("--photo", "photos", key="photo", multiple=True, type=click.Path(path_type=Path))
@option("--part", "parts_used", key="visit_part", multiple=True)
@option("--used", key="visit_used", multiple=True)
@option("--user", key="user", default="")
@config_option
@json_option
@lang_option
def note(
    text: str, photos: tuple[Path, ...], parts_used: tuple[str, ...], used: tuple[str, ...], user: str, config: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """What was found, done or used; of photos the hashes."""
    loaded, pictures = read_config(config), [photo(path) for path in photos]
    said: dict[str, Any] = {"text": text, "photos": pictures, "parts": list(parts_used), "used": list(used)}
    _said(enter(loaded, "visit", "note", **said, user=user)[0], as_json, "visited.note")


@visit.command("end", help="help.visit_end")
@option("--result", key="visit_result", default="")
@option("--user", key="user", default="")
@config_option
@json_option
@lang_option
def end(result: str, user: str, config: Path, as_json: bool) -> None:
    """They left."""
    body, _ = enter(read_config(config), "visit", "end", result=result, user=user)
    _said(body, as_json, "visited.end")


@visit.command("list", help="help.visit_list")
@config_option
@json_option
@lang_option
def visits(config: Path, as_json: bool) -> None:
    """Every visit with its notes."""
    loaded = read_config(config)
    rows = [one.plain() for one in book(loaded, "visit")]
    if as_json:
        print_json({"visits": rows})
        return
    if not rows:
        print(t("visit.none"))
    for row in rows:
        ended = wall(row["ended"], loaded.zone) if row["ended"] else t("visit.open")
        who = ", ".join(filter(None, (row["person"], row["company"], row["contract"])))
        print(t("visit.line", name=row["name"], first=wall(row["started"], loaded.zone), last=ended, who=who))
        print("  " + t("visit.purpose", text=row["purpose"]))
        for one in row["notes"]:
            print("  " + _note(one, loaded))
        if row["result"]:
            print("  " + t("visit.result", text=row["result"]))


def _note(one: dict[str, Any], loaded: Any) -> str:
    more = [one["text"], *one["used"], *one["parts"]]
    more += [f"{picture['name']} SHA-256 {picture['sha256']}" for picture in one["photos"]]
    return t("visit.note", time=wall(one["at"], loaded.zone), user=one["user"], text="; ".join(filter(None, more)))


def _said(body: dict[str, Any], as_json: bool, key: str) -> None:
    if as_json:
        print_json(body)
    else:
        print(t(key, name=body["name"]))


# -- parts


@click.group("parts", cls=Group, help="help.parts")
@lang_option
def parts() -> None:
    """Spare parts and consumables."""


@parts.command("add", help="help.parts_add")
@option("--part", key="part", default="")
@option("--device", key="part_device")
@option("--interval", "days", key="part_interval", type=int, required=True)
@option("--replaced", key="part_replaced")
@option("--user", key="user", default="")
@config_option
@json_option
@lang_option
def add(part: str, device: str | None, days: int, replaced: str | None, user: str, config: Path, as_json: bool) -> None:
    """A part that is watched from now on."""
    said = {"part": part, "device": device, "days": days, "replaced": replaced, "user": user}
    _said(enter(read_config(config), "part", "add", **said)[0], as_json, "parted.add")


@parts.command("replace", help="help.parts_replace")
@click.argument("name")
@option("--replaced", key="part_replaced")
@option("--note", key="calibration_note", default="")
@option("--user", key="user", default="")
@config_option
@json_option
@lang_option
def renew(name: str, replaced: str | None, note: str, user: str, config: Path, as_json: bool) -> None:
    """It was changed; the next is due an interval later."""
    said = {"name": name, "replaced": replaced, "note": note, "user": user}
    _said(enter(read_config(config), "part", "replace", **said)[0], as_json, "parted.replace")


@parts.command("drop", help="help.parts_drop")
@click.argument("name")
@option("--reason", key="reason", default="")
@option("--user", key="user", default="")
@config_option
@json_option
@lang_option
def drop(name: str, reason: str, user: str, config: Path, as_json: bool) -> None:
    """It is watched no more."""
    body, _ = enter(read_config(config), "part", "drop", name=name, reason=reason, user=user)
    _said(body, as_json, "parted.drop")


@parts.command("list", help="help.parts_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Every part with the day it is due."""
    loaded = read_config(config)
    _show([one for one in book(loaded, "part") if not one.dropped], loaded, as_json)


@parts.command("due", help="help.parts_due")
@option("--within", "days", key="parts_within", type=int, default=14, show_default=True)
@config_option
@json_option
@lang_option
def due(days: int, config: Path, as_json: bool) -> int:
    """What is due within so many days; 1 when anything is overdue, else 0."""
    loaded = read_config(config)
    if not 0 <= days <= 3650:
        raise WrongArgument(f"{days} days: 0 to 3650 can be looked ahead")
    today = datetime.now(UTC).astimezone(loaded.zone).date()
    found = book(loaded, "part").due(today + timedelta(days=days))
    _show(found, loaded, as_json)
    return 1 if any(one.overdue(today) for one in found) else 0


def _show(found: list[Any], loaded: Any, as_json: bool) -> None:
    today = datetime.now(UTC).astimezone(loaded.zone).date()
    rows = [one.plain(today) for one in found]
    if as_json:
        print_json({"parts": rows})
        return
    if not rows:
        print(t("parts.none"))
        return
    from station.screen import show_rows

    columns = ("name", "device", "part", "interval", "replaced", "due", "left")
    show_rows([(c, t(f"parts.{c}")) for c in columns], [_worded(row) for row in rows])


def _worded(row: dict[str, Any]) -> dict[str, str]:
    days = row["left_days"]
    return {
        **{key: str(row[key]) for key in ("name", "part", "replaced", "due")},
        "device": row["device"] or t("maintenance.station"),
        "interval": t("parts.days", days=row["interval_days"]),
        "left": t("parts.overdue", days=-days) if days < 0 else t("parts.days", days=days),
    }
