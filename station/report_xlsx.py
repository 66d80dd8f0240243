"""A report as a workbook in the shape of agencies' sheets: a sheet a point, a row an hour or a day, figures as numbers.

Below the rows stand mean, largest, smallest and number of the valid ones, loads summed up, and the lines to sign.  The
shape is that of the daily and monthly sheets which agencies ask for (as in use; HJ 75-2017 appendix D was not read:
confidence C); what an agency dictates beyond it is entered by hand.  Values that do not hold stand in grey italics and
are in no mean; the marks of a row that has any other than N stand in its last column.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.i18n import language, t, use
from station.model import StationError, dataclass
from station.parameters import catalogue
from station.report_page import name_of
from station.rounding import rounded

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

HEAD_ROW = 5
LONGEST_TITLE = 31  # characters of a sheet's name
UPRIGHT = 4  # so many columns of figures stand on an upright A4
FONT = "Microsoft YaHei"
_NO_TITLE = re.compile(r"[\[\]:*?/\\]")
_NO_CELL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # XML has no way to write them


class NoWorkbooks(StationError):
    """Error raised when the library that writes workbooks is not installed."""

    exit_code = 69  # EX_UNAVAILABLE


class NotMade(StationError):
    """Error raised when a workbook took too long, too much memory, or failed otherwise."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One figure of a parameter: its mean, that at reference oxygen, or its load."""

    parameter: str
    what: str  # a key of a dot: "value", "converted", "load_kg"
    unit: str

    @property
    def decimals(self) -> int | None:
        return None if self.what == "load_kg" else catalogue()[self.parameter].decimals


def workbook(found: Mapping[str, Any]) -> Workbook:
    """The workbook of a report (station/report.py), in the language in use.

    Raises NoWorkbooks where openpyxl is missing.
    """
    try:
        from openpyxl import Workbook
    except ImportError as error:
        raise NoWorkbooks(
            "workbooks need the library openpyxl, which is not installed: pip install 'niutang-station[tables]'; "
            "the CSV table opens in WPS and Excel, too"
        ) from error
    book = Workbook()
    book.remove(book.active)
    for point in found["points"]:
        _Sheet(book.create_sheet(_title(point, book.sheetnames)), found, point).write()
    book.properties.title = t(f"xlsx.title_{found['report']}", period=found["period"])
    book.properties.language = "zh-CN" if language() == "zh" else "en"
    return book


def _title(point: Mapping[str, Any], taken: Sequence[str]) -> str:
    """A sheet's name as spreadsheets allow it, unlike those that are *taken*."""
    plain = _NO_TITLE.sub("_", _clean(f"{point['point']} {point['name']}")).strip("' ")[:LONGEST_TITLE] or "-"
    lower = {one.lower() for one in taken}
    tries = (plain, *(f"{plain[: LONGEST_TITLE - 3]} {number}" for number in range(2, 100)))
    return next(one for one in tries if one.lower() not in lower)


def _clean(text: str) -> str:
    return _NO_CELL.sub("", text)


class _Sheet:
    def __init__(self, sheet: Worksheet, found: Mapping[str, Any], point: Mapping[str, Any]) -> None:
        self._sheet, self._found, self._point = sheet, found, point
        self._columns = list(_columns(point))
        self._last = len(self._columns) + 2  # time in front, marks behind

    def write(self) -> None:
        """All of the sheet."""
        self._head()
        dots = _dots(self._point)
        for number, (start, row) in enumerate(sorted(dots.items()), HEAD_ROW + 2):
            self._row(number, start, row)
        end = HEAD_ROW + 2 + len(dots)
        self._foot(end, dots)
        self._look(end)

    def _put(self, row: int, column: int, value: Any, *, digits: int | None = None, look: str = "") -> None:
        from openpyxl.styles import Alignment, Border, Font, Side

        cell = self._sheet.cell(row, column)
        if isinstance(value, str) and value:
            cell.value = _clean(value)
            cell.data_type = "s"  # text that begins with = is no formula
        elif value != "":
            cell.value = value
        if digits is not None:
            cell.number_format = "0." + "0" * digits if digits else "0"
        grey = "FF808080" if look == "void" else "FF000000"
        bold, size = look in ("title", "head", "foot"), 14 if look == "title" else 10
        cell.font = Font(name=FONT, size=size, bold=bold, italic=look == "void", color=grey)
        if look == "line":
            return
        cell.alignment = Alignment(horizontal="center" if look else None, vertical="center", wrap_text=look == "head")
        if look != "title":
            thin = Side(style="thin", color="FF999999")
            cell.border = Border(top=thin, bottom=thin, left=thin, right=thin)

    def _head(self) -> None:
        found, point = self._found, self._point
        self._put(1, 1, t(f"xlsx.title_{found['report']}", period=found["period"]), look="title")
        self._sheet.merge_cells(start_row=1, end_row=1, start_column=1, end_column=max(self._last, 4))
        self._put(2, 1, t("xlsx.station", name=found["station"]), look="line")
        self._put(3, 1, t("xlsx.point", name=point["name"], code=point["point"], st=point["st"]), look="line")
        made = f"{datetime.fromisoformat(found['made']):%Y-%m-%d %H:%M}"
        self._put(4, 1, t("xlsx.made", time=made, zone=found["made"][-6:]), look="line")
        self._put(HEAD_ROW, 1, t(f"xlsx.time_{found['report']}"), look="head")
        self._put(HEAD_ROW + 1, 1, "", look="head")
        for number, column in enumerate(self._columns, 2):
            name = name_of(column.parameter)
            head = name if column.what == "value" else t(f"xlsx.column_{column.what}", name=name)
            self._put(HEAD_ROW, number, head, look="head")
            self._put(HEAD_ROW + 1, number, column.unit, look="head")
        self._put(HEAD_ROW, self._last, t("xlsx.marks"), look="head")
        self._put(HEAD_ROW + 1, self._last, "", look="head")

    def _row(self, number: int, start: str, row: Mapping[str, Mapping[str, Any]]) -> None:
        form = "%Y-%m-%d" if self._found["report"] == "month" else "%Y-%m-%d %H:%M"
        self._put(number, 1, f"{datetime.fromisoformat(start):{form}}", look="cell")
        for place, column in enumerate(self._columns, 2):
            dot = row.get(column.parameter)
            value = None if dot is None else _figure(dot[column.what], column)
            look = "" if dot is None or dot["is_valid"] else "void"
            self._put(number, place, value, digits=column.decimals if value is not None else None, look=look)
        marks = "; ".join(f"{name_of(key)} {dot['mark']}" for key, dot in row.items() if dot["mark"] != "N")
        self._put(number, self._last, marks)

    def _foot(self, end: int, dots: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        for offset, word in enumerate(("mean", "maximum", "minimum", "valid", "total")):
            self._put(end + offset, 1, t(f"xlsx.{word}"), look="foot")
            for place, column in enumerate(self._columns, 2):
                self._put(end + offset, place, *self._statistic(word, column, dots))
            self._put(end + offset, self._last, "")
        self._put(end + 5, 1, t("xlsx.legend"), look="line")
        self._put(end + 7, 1, t("xlsx.sign"), look="line")

    def _statistic(
        self, word: str, column: _Column, dots: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> tuple[float | int | None]:
        rows = (row[column.parameter] for _, row in sorted(dots.items()) if column.parameter in row)
        held = [dot[column.what] for dot in rows if dot["is_valid"] and dot[column.what] is not None]
        if word == "valid":
            return (len(held),)
        if column.what == "load_kg":
            return (_figure(sum(held), column) if held and word == "total" else None,)
        if not held or word == "total":
            return (None,)
        if word == "mean":
            return (_figure(self._mean(column), column),)
        return (_figure(max(held) if word == "maximum" else min(held), column),)

    def _mean(self, column: _Column) -> float | None:
        """The figure of the whole period as the report has it, which may be weighted or no mean at all."""
        row = next(one for one in self._point["parameters"] if one["parameter"] == column.parameter)
        return row[column.what]  # type: ignore[no-any-return]

    def _look(self, end: int) -> None:
        from openpyxl.utils import get_column_letter

        sheet = self._sheet
        sheet.freeze_panes = sheet.cell(HEAD_ROW + 2, 2)
        sheet.row_dimensions[HEAD_ROW].height = 32
        sheet.column_dimensions["A"].width = 18
        for number in range(2, self._last):
            sheet.column_dimensions[get_column_letter(number)].width = 13
        sheet.column_dimensions[get_column_letter(self._last)].width = 28
        sheet.page_setup.orientation = "portrait" if len(self._columns) <= UPRIGHT else "landscape"
        sheet.page_setup.paperSize = sheet.PAPERSIZE_A4
        sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1, 0
        sheet.sheet_properties.pageSetUpPr.fitToPage = True
        sheet.print_title_rows = f"{HEAD_ROW}:{HEAD_ROW + 1}"
        sheet.print_area = f"A1:{get_column_letter(max(self._last, 4))}{end + 7}"
        sheet.oddFooter.center.text = "&P / &N"


def _columns(point: Mapping[str, Any]) -> Iterator[_Column]:
    """What is told of each parameter: its value, and what any of its parts has beside."""
    for row in point["parameters"]:
        if not row["series"]:
            continue
        for what, unit in (("value", row["unit"]), ("converted", row["unit"]), ("load_kg", "kg")):
            if what == "value" or any(dot[what] is not None for dot in row["series"]):
                yield _Column(row["parameter"], what, unit)


def _dots(point: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """By start of an hour or day: the part of each parameter."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in point["parameters"]:
        for dot in row["series"]:
            found.setdefault(dot["start"], {})[row["parameter"]] = dot
    return found


def _figure(value: float | None, column: _Column) -> float | None:
    """A number as it is shown elsewhere, rounded once; loads to six figures."""
    if value is None:
        return None
    return float(f"{value:.6g}") if column.decimals is None else float(rounded(value, column.decimals))


def made_apart(found: Mapping[str, Any], seconds: float = 60.0) -> bytes:
    """The workbook of a report as a file's bytes, made by a process of its own in the language in use.

    A process that serves for months does not carry the library and its sheets in its memory.
    Raises NoWorkbooks where openpyxl is missing, NotMade when it takes more than *seconds* or fails.
    """
    try:
        made = subprocess.run(
            [sys.executable, "-m", __name__, language()],
            input=json.dumps(found).encode(), capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NotMade(f"the workbook was not ready within {seconds:g} s; take the CSV table, or one point") from error
    except OSError as error:
        raise NotMade(f"the workbook could not be made ({error.strerror or error}); take the CSV table") from error
    if made.returncode < 0:  # by the kernel, which takes it first where memory runs short
        raise NotMade("the workbook was given up half made, as memory ran short; take the CSV table, or one point")
    if made.returncode == NoWorkbooks.exit_code:
        raise NoWorkbooks(made.stderr.decode("utf-8", "replace").strip())
    if made.returncode:
        last = made.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise NotMade(f"the workbook could not be made ({last[:200]})")
    return made.stdout


def _apart(speaks: str) -> int:
    with suppress(OSError):  # where memory runs short it is this that ends, not the page that asked for it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    use(speaks)
    try:
        book = workbook(json.load(sys.stdin.buffer))
    except NoWorkbooks as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    book.save(sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(_apart(sys.argv[1]))
