"""Workbooks of reports: figures as numbers, what does not hold out of the means, text that is no formula."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from station import i18n
from station.cli_report import written
from station.report_xlsx import HEAD_ROW, NoWorkbooks, workbook

ZONE = timezone(timedelta(hours=8))
FIRST = HEAD_ROW + 2


@pytest.fixture(params=["en", "zh"])
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    i18n.use(request.param)
    yield request.param
    i18n.use("en")


def dot(day: int, value: float | None, *, mark: str = "N", valid: bool = True, **more: Any) -> dict[str, Any]:
    start = datetime(2026, 3, day, tzinfo=ZONE).isoformat(timespec="minutes")
    return {"start": start, "value": value, "mark": mark, "is_valid": valid, "converted": None, "load_kg": None} | more


def row(parameter: str, unit: str, value: float | None, *dots: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "parameter": parameter, "unit": unit, "value": value, "series": list(dots), "converted": None, "load_kg": None,
    } | more  # fmt: skip


def found(*points: dict[str, Any]) -> dict[str, Any]:
    return {
        "report": "month", "period": "2026-03", "station": "=cmd|' /C calc'!A1", "made": "2026-04-01T08:00+08:00",
        "points": list(points),
    }  # fmt: skip


def point(code: str, name: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"point": code, "name": name, "st": "31", "parameters": list(rows)}


STACK = point(
    "stack", "Boiler",
    row("so2", "mg/m³", 12.3445,
        dot(1, 10.0, converted=12.0, load_kg=1.25), dot(2, 900.0, mark="D", valid=False), dot(3, 14.6555, load_kg=2.5),
        converted=12.0, load_kg=3.75),
    row("gas_oxygen", "%", 8.0, dot(1, 8.0)),
)  # fmt: skip


def cells(sheet: Any, line: int) -> list[Any]:
    return [cell.value for cell in sheet[line]]


def test_figures_are_numbers_and_what_does_not_hold_is_in_no_statistic(language: str) -> None:
    sheet = workbook(found(STACK))["stack Boiler"]
    assert cells(sheet, FIRST) == ["2026-03-01", 10.0, 12.0, 1.25, 8.0, None]
    assert cells(sheet, FIRST + 1)[1:5] == [900.0, None, None, None]
    assert sheet.cell(FIRST + 1, 2).font.italic
    assert not sheet.cell(FIRST, 2).font.italic
    assert cells(sheet, FIRST + 1)[5] == ("Sulphur dioxide D" if language == "en" else "二氧化硫 D")
    mean, largest, smallest, valid, total = (cells(sheet, FIRST + 3 + n)[1:5] for n in range(5))
    assert mean == [12.344, 12.0, None, 8.0]  # the report's own, rounded once and half to even
    assert largest == [14.656, 12.0, None, 8.0]
    assert smallest == [10.0, 12.0, None, 8.0]
    assert valid == [2, 1, 2, 1]
    assert total == [None, None, 3.75, None]
    assert cells(sheet, HEAD_ROW + 1)[1:5] == ["mg/m³", "mg/m³", "kg", "%"]


def test_text_from_a_configuration_is_never_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    workbook(found(point("a", "=1+1\x07", row("pm10", "µg/m³", 1.0, dot(1, 1.0))))).save(path)
    sheet = openpyxl.load_workbook(path).worksheets[0]
    kinds = {cell.data_type for line in sheet.iter_rows() for cell in line if cell.value is not None}
    assert kinds == {"s", "n"}
    assert "=cmd|" in sheet["A2"].value
    assert "=1+1 (a)" in sheet["A3"].value


def test_sheets_have_names_that_spreadsheets_take_and_that_differ() -> None:
    long = "north:fence/" * 6
    book = workbook(found(*(point("p", long) for _ in range(3)), point("p", long.upper())))
    names = book.sheetnames
    assert len({name.lower() for name in names}) == 4
    assert all(len(name) <= 31 and not set(name) & set("[]:*?/\\") for name in names)


def test_the_workbook_lies_beside_page_and_table_only_when_asked_for(tmp_path: Path, mocker: Any) -> None:
    mocker.patch("station.report_page.page", return_value="<html>")
    mocker.patch("station.report_table.rows", return_value=iter(()))
    assert [path.suffix for path in written(found(STACK), tmp_path, ZONE)] == [".html", ".csv"]
    paths = written(found(STACK), tmp_path, ZONE, xlsx=True)
    assert paths[-1].name == "report-2026-03.xlsx"
    assert openpyxl.load_workbook(paths[-1]).sheetnames == ["stack Boiler"]


def test_without_the_library_the_sentence_says_what_to_do(mocker: Any) -> None:
    mocker.patch.dict("sys.modules", {"openpyxl": None})
    with pytest.raises(NoWorkbooks, match=r"niutang-station\[tables\]"):
        workbook(found(STACK))
