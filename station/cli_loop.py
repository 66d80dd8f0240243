"""`station loop`: the two-point check of a 4–20 mA loop, step by step, and its printed record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_field import enter, reader
from station.command_line import print_json, read_config
from station.i18n import t
from station.texts import Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.config import Loaded
    from station.loop import Book

SHOWN = ("fed", "measured", "expected", "value", "error", "at")


@click.group("loop", cls=Group, help="help.loop")
@lang_option
def loop() -> None:
    """Loops of 4–20 mA."""


@loop.command("begin", help="help.loop_begin")
@click.argument("device")
@click.argument("parameter")
@option("--user", key="user", default="")
@option("--calibrator", key="loop_calibrator", default="")
@option("--limit", key="loop_limit", type=float, default=0.5, show_default=True)
@config_option
@json_option
@lang_option
def begin(
    device: str, parameter: str, user: str, calibrator: str, limit: float, config: Path, as_json: bool
) -> None:  # fmt: skip
    """A check that has no point yet."""
    said = {"device": device, "parameter": parameter, "user": user, "calibrator": calibrator, "limit": limit}
    body, _ = enter(read_config(config), "loop", "begin", **said)
    _said(body, as_json, "loop.began", name=body["name"])


@loop.command("point", help="help.loop_point")
@click.argument("fed", type=float)
@option("--name", key="loop_name", default="")
@option("--user", key="user", default="")
@config_option
@json_option
@lang_option
def point(fed: float, name: str, user: str, config: Path, as_json: bool) -> None:
    """A current that flows."""
    loaded = read_config(config)
    with reader(loaded):
        pass  # what was read so far is in the database now
    body, _ = enter(loaded, "loop", "point", fed=fed, name=name, user=user)
    figures = {key: f"{body[key]:.3f}" for key in ("fed", "measured", "expected", "value")}
    _said(body, as_json, "loop.fed", **figures, error=f"{body['error']:+.2f}")


@loop.command("end", help="help.loop_end")
@option("--name", key="loop_name", default="")
@option("--user", key="user", default="")
@option("--note", key="calibration_note", default="")
@config_option
@json_option
@lang_option
def end(name: str, user: str, note: str, config: Path, as_json: bool) -> int:
    """The verdict; 1 when it failed, else 0."""
    body, _ = enter(read_config(config), "loop", "end", name=name, user=user, note=note)
    _said(
        body, as_json, f"loop.{body['verdict']}", name=body["name"], worst=f"{body['worst']:.2f}", limit=body["limit"]
    )
    return 0 if body["verdict"] == "passed" else 1


@loop.command("cancel", help="help.loop_cancel")
@option("--name", key="loop_name", default="")
@option("--user", key="user", default="")
@option("--reason", key="reason", default="")
@config_option
@json_option
@lang_option
def cancel(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """Given up; it stays on record."""
    body, _ = enter(read_config(config), "loop", "cancel", name=name, user=user, reason=reason)
    _said(body, as_json, "loop.cancelled", name=body["name"])


@loop.command("show", help="help.loop_show")
@click.argument("name", required=False, default="")
@config_option
@json_option
@lang_option
def show(name: str, config: Path, as_json: bool) -> None:
    """One check, or every one."""
    loaded = read_config(config)
    book = _book(loaded)
    found = [book.named(name)] if name else list(book)
    if as_json:
        print_json({"loops": [one.plain() for one in found]})
        return
    if not found:
        print(t("loop.none"))
    for one in found:
        _print(one, loaded)


def _book(loaded: Loaded) -> Book:
    from station.fieldwork import BEGINNING, END
    from station.loop import KIND, Book

    with reader(loaded) as store:
        return Book(store.records(KIND, BEGINNING, END))


def _print(one: Any, loaded: Loaded) -> None:
    from station.report_page import name_of
    from station.screen import show_rows

    what = name_of(one.parameter)
    print(t("loop.head", name=one.name, device=one.device, what=what, point=one.point))
    print("  " + t("loop.who", user=one.user, calibrator=one.calibrator, time=wall(one.began, loaded.zone)))
    if one.points:
        rows = [
            {
                "fed": f"{p.fed:.3f} mA", "measured": f"{p.measured:.3f} mA",
                "expected": f"{p.expected:g} {one.unit}".rstrip(), "value": f"{p.value:.4g} {one.unit}".rstrip(),
                "error": f"{p.error:+.2f} %", "at": wall(p.at, loaded.zone),
            }
            for p in one.points
        ]  # fmt: skip
        show_rows([(c, t(f"loop_column.{c}")) for c in SHOWN], rows)
    ends = {"passed", "failed"}
    if one.verdict in ends:
        print("  " + t(f"loop.{one.verdict}", name=one.name, worst=f"{one.worst:.2f}", limit=one.limit))
    else:
        print("  " + t("loop.cancelled" if one.verdict else "loop.under_way", name=one.name))
    if one.note:
        print("  " + one.note)


def _said(body: dict[str, Any], as_json: bool, key: str, **more: Any) -> None:
    if as_json:
        print_json(body)
    else:
        print(t(key, **more))
