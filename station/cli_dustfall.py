"""`station dustfall`: the manual method, from setting a jar out to the month's certificate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, moment_in, print_json, read_config
from station.i18n import t
from station.model import StoreError, WrongArgument
from station.texts import Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded
    from station.dustfall import Book
    from station.model import Record


@click.group("dustfall", cls=Group, help="help.dustfall")
@lang_option
def dustfall() -> None:
    """What a technician does with jars, crucibles and a balance."""


_at = option("--at", key="at")
_user = option("--user", key="user", required=True)
_note = option("--note", key="note", default="")
_crucible = option("--crucible", "crucible", key="crucible", required=True)
_residue = option("--residue", "residue", key="residue", required=True)
_balance = option("--balance", key="balance", default="")


@dustfall.command("start", help="help.dustfall_start")
@click.argument("point")
@option("--jar", key="jar", required=True)
@option("--diameters", key="diameters", required=True)
@_user
@_at
@_note
@config_option
@json_option
@lang_option
def start(
    point: str, jar: str, diameters: str, user: str, at: str | None, note: str, config: Path, as_json: bool
) -> None:
    """A jar goes out."""
    fields = {"point": point, "jar": jar, "diameters_cm": _numbers(diameters, "--diameters")}
    _enter(config, as_json, "start", at, user=user, note=note, **fields)


@dustfall.command("stop", help="help.dustfall_stop")
@click.argument("exposure")
@_user
@_at
@_note
@config_option
@json_option
@lang_option
def stop(exposure: str, user: str, at: str | None, note: str, config: Path, as_json: bool) -> None:
    """A jar comes in."""
    _enter(config, as_json, "stop", at, name=exposure, user=user, note=note)


@dustfall.command("blank", help="help.dustfall_blank")
@click.argument("blank_name", metavar="BLANK")
@_crucible
@_residue
@_balance
@_user
@_at
@_note
@config_option
@json_option
@lang_option
def blank(
    blank_name: str, crucible: str, residue: str, balance: str, user: str, at: str | None, note: str, config: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """The glycol's own residue."""
    masses = {"crucible_g": _numbers(crucible, "--crucible"), "residue_g": _numbers(residue, "--residue")}
    _enter(config, as_json, "blank", at, name=blank_name, user=user, note=note, balance=balance, **masses)


@dustfall.command("weigh", help="help.dustfall_weigh")
@click.argument("exposure")
@_crucible
@_residue
@option("--blank", key="blank", required=True)
@_balance
@_user
@_at
@_note
@config_option
@json_option
@lang_option
def weigh(
    exposure: str, crucible: str, residue: str, blank: str, balance: str, user: str, at: str | None, note: str,
    config: Path, as_json: bool,
) -> None:  # fmt: skip
    """What the jar caught."""
    masses = {"crucible_g": _numbers(crucible, "--crucible"), "residue_g": _numbers(residue, "--residue")}
    _enter(config, as_json, "weigh", at, name=exposure, user=user, note=note, blank=blank, balance=balance, **masses)


@dustfall.command("void", help="help.dustfall_void")
@click.argument("name")
@option("--reason", "note", key="reason", required=True)
@_user
@config_option
@json_option
@lang_option
def void(name: str, note: str, user: str, config: Path, as_json: bool) -> None:
    """An exposure or a blank counts no more."""
    _enter(config, as_json, "void", None, name=name, user=user, note=note)


@dustfall.command("list", help="help.dustfall_list")
@option("--all", "everything", key="all_exposures", is_flag=True)
@config_option
@json_option
@lang_option
def show(everything: bool, config: Path, as_json: bool) -> None:
    """Exposures and where they stand."""
    from station.dustfall_sheet import exposure_row

    loaded = read_config(config)
    book, _ = _book(loaded)
    rows = [
        exposure_row(book, e.name, loaded) for e in book.exposures.values() if everything or e.state in ("out", "in")
    ]
    if as_json:
        blanks = {name: {"residue_g": one.residue, "at": one.at.isoformat()} for name, one in book.blanks.items()}
        print_json({"exposures": rows, "blanks": blanks})
        return
    if not rows:
        print(t("dustfall.no_exposures"))
        return
    from station.screen import show_rows

    columns = ("name", "state", "started", "stopped", "days", "net_mg", "value")
    show_rows([(c, t(f"dustfall.{c}")) for c in columns], [_worded(row) for row in rows])


@dustfall.command("month", help="help.dustfall_month")
@click.argument("which", metavar="[YYYY-MM]", default="")
@config_option
@json_option
@lang_option
def month(which: str, config: Path, as_json: bool) -> None:
    """What a month comes to, point by point, and in the township."""
    from station.dustfall_sheet import point_row, summary, verdict

    loaded = read_config(config)
    which = _month(which, loaded)
    book, _ = _book(loaded)
    found = summary(book, which, loaded)
    if as_json:
        print_json(found)
        return
    if not found["points"]:
        print(t("dustfall.no_month", month=which))
        return
    from station.screen import show_rows

    columns = ("point", "jars", "days", "value", "remark")
    print(t("dustfall.month_title", month=which))
    show_rows([(c, t(f"dustfall.{c}")) for c in columns], [point_row(one) for one in found["points"]])
    print(verdict(found))


@dustfall.command("certificate", help="help.dustfall_certificate")
@click.argument("which", metavar="YYYY-MM")
@option("--output", key="output", type=click.Path(path_type=Path), default="-")
@config_option
@lang_option
def certificate(which: str, output: Path, config: Path) -> None:
    """A sheet to print and sign: the month's results, every weighing behind them, and the method."""
    from station.dustfall_sheet import sheet, summary

    loaded = read_config(config)
    which = _month(which, loaded)
    book, entries = _book(loaded)
    found = summary(book, which, loaded)
    if not found["points"] and not found["withdrawn"]:
        raise WrongArgument(t("dustfall.no_month", month=which))
    names = {e["name"] for point in found["points"] for e in point["exposures"]}
    names |= {e["name"] for e in found["withdrawn"]}
    text = sheet(found, book, [r for r in entries if _concerns(r, names, book)], loaded)
    if str(output) == "-":
        print(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})") from error
    print(t("dustfall.written", path=output))


def _concerns(record: Record, names: set[str], book: Book) -> bool:
    """Whether *record* is about one of the exposures *names* or a blank they were held against."""
    blanks = {w.blank for name in names if (w := book.exposures[name].weighing)}
    return record.body["name"] in names | blanks


def _worded(row: dict[str, Any]) -> dict[str, str]:
    from station.dustfall import reported

    def short(moment: str | None) -> str:
        return "" if moment is None else moment[:16].replace("T", " ")

    return {
        "name": row["name"],
        "state": t(f"dustfall_state.{row['state']}"),
        "started": short(row["started"]),
        "stopped": short(row["stopped"]),
        "days": "" if row["days"] is None else f"{row['days']:.1f}",
        "net_mg": "" if row["net_mg"] is None else f"{row['net_mg']:.1f}",
        "value": "" if row["value"] is None else reported(row["value"]),
    }


def _month(text: str, loaded: Loaded) -> str:
    """*text* as 2026-03; the last month that is over when it is empty."""
    now = datetime.now(UTC).astimezone(loaded.zone)
    if not text:
        first = now.replace(day=1)
        return f"{first.year - (first.month == 1)}-{(first.month - 2) % 12 + 1:02}"
    try:
        return f"{datetime.strptime(text, '%Y-%m').replace(tzinfo=loaded.zone):%Y-%m}"
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a month such as 2026-03') from error


def _numbers(text: str, name: str) -> list[float]:
    """Numbers with commas between them.

    >>> _numbers("15.0, 15.1", "--diameters")
    [15.0, 15.1]
    """
    try:
        return [float(one) for one in text.replace("，", ",").split(",")]
    except ValueError as error:
        raise WrongArgument(
            f'{name}: "{text}" is not numbers with commas between them, such as 15.0,15.1,15.0'
        ) from error


def _book(loaded: Loaded) -> tuple[Book, Sequence[Record]]:
    """All entries: what the running station has taken is committed first."""
    from station.dustfall import read_book
    from station.fieldbook import dustfall_entries
    from station.store import Store, connect

    ask_station(loaded, "commit")
    if not loaded.database.exists():
        return read_book([]), []
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        entries = dustfall_entries(store)
    return read_book(entries), entries


def _enter(config: Path, as_json: bool, do: str, at: str | None, **fields: Any) -> None:
    """Have an entry kept by the running station, or, when none runs, in its database."""
    loaded = read_config(config)
    moment = moment_in(at, loaded.zone)
    fields |= {"do": do, "at": moment.isoformat() if moment else None}
    body = ask_station(loaded, "dustfall", fields=fields)
    if body is None:
        body = _enter_alone(loaded, fields)
    if as_json:
        print_json(body)
    else:
        print(t(f"dustfall.{do}", name=body["name"]))


def _enter_alone(loaded: Loaded, fields: dict[str, Any]) -> dict[str, Any]:
    from station.fieldbook import enter_dustfall
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    points = [point.code for point in loaded.config.point]
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:

        def keep(record: Record) -> None:
            with store.transaction():
                store.add_records([record])

        return dict(enter_dustfall(store, keep, fields, points, datetime.now(UTC), loaded.zone).body)
