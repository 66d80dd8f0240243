"""`station report`: a day or a month as a page to print and a table to reckon with, from what is stored."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, point_code, print_json, read_config
from station.i18n import t
from station.model import StoreError
from station.texts import Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded


@click.group("report", cls=Group, help="help.report")
@lang_option
def report() -> None:
    """What was measured, what of it holds, and why the rest does not."""


_output = option("--output", key="report_output", type=click.Path(path_type=Path), default=".")
_point = option("--point", key="report_point")
_xlsx = option("--xlsx", key="report_xlsx", is_flag=True)


@report.command("day", help="help.report_day")
@click.argument("date", metavar="[YYYY-MM-DD]", default="")
@_output
@_point
@_xlsx
@config_option
@json_option
@lang_option
def day(date: str, output: Path, point: str | None, xlsx: bool, config: Path, as_json: bool) -> None:
    """One day by its hours."""
    _report("day", date, output, point, config, as_json, xlsx)


@report.command("month", help="help.report_month")
@click.argument("which", metavar="[YYYY-MM]", default="")
@_output
@_point
@_xlsx
@config_option
@json_option
@lang_option
def month(which: str, output: Path, point: str | None, xlsx: bool, config: Path, as_json: bool) -> None:
    """One month by its days."""
    _report("month", which, output, point, config, as_json, xlsx)


def _report(
    word: str, which: str, output: Path, point: str | None, config: Path, as_json: bool, xlsx: bool
) -> None:  # fmt: skip
    """Gather, and print as JSON or write page and table, and the workbook if it is wanted."""
    from station.report import span_of

    loaded = read_config(config)
    point = None if point is None else point_code(loaded, point)
    span = span_of(word, which, datetime.now(UTC), loaded.zone)
    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    ask_station(loaded, "commit")
    found = gathered(loaded, span, point)
    if as_json:
        print_json(found)
        return
    for path in written(found, output, loaded.zone, point, xlsx=xlsx):
        print(t("report.written", path=path))


def gathered(loaded: Loaded, span: Any, point: str | None = None) -> dict[str, Any]:
    """The report of *span*, read through a connection that cannot write."""
    from station.report import gather
    from station.store import Store, connect

    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        found = gather(store, loaded, span, point)
    return dict(found)


def written(
    found: dict[str, Any], folder: Path, zone: tzinfo, point: str | None = None, *, xlsx: bool = False
) -> list[Path]:
    """The files of a report, written to *folder*: page, table, and with *xlsx* a workbook."""
    from station.export import write_csv
    from station.report_page import page
    from station.report_table import COLUMNS, rows

    which = "-" + re.sub(r"[^\w-]", "_", point) if point else ""
    name = f"report-{found['period']}{which}"
    html, table = folder / f"{name}.html", folder / f"{name}.csv"
    text = page(found)
    book = None
    if xlsx:
        from station.report_xlsx import workbook

        book = workbook(found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        html.write_text(text, encoding="utf-8")
        with table.open("w", encoding="utf-8", newline="") as file:
            write_csv(rows(found), file, COLUMNS, zone)
        if book is not None:
            book.save(table.with_suffix(".xlsx"))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror})") from error
    return [html, table, *([table.with_suffix(".xlsx")] if book is not None else [])]
