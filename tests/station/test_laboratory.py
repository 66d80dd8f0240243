"""Results of laboratories: tables read as people make them, entered whole or not at all, in no mean of the record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from station import i18n
from station.config import load
from station.laboratory import KIND, NoTable, Result, Results, beside, enter, in_store, read_table
from station.model import Average, Kind, Report, WrongArgument
from station.report import gather, span_of
from station.report_page import page
from station.store import Store, connect
from tests.station.commands import configure, daemon, station

ZONE = timezone(timedelta(hours=8))
NOW = datetime(2026, 3, 10, tzinfo=UTC)
POINTS = {"river": "Qianxi outlet", "site": "North fence"}
HEAD = "点位,项目,采样时间,结果(mg/L),单位,报告编号\n"


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    i18n.use("en")
    yield
    i18n.use("en")


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "results.csv"
    path.write_bytes(text.encode(encoding))
    return path


def wall(*parts: int) -> datetime:
    """A moment as a workbook has it: without a zone."""
    return datetime(*parts, tzinfo=ZONE).replace(tzinfo=None)  # type: ignore[arg-type, misc]


def entered(rows: list[dict[str, Any]], book: Results | None = None, **fields: Any) -> list[Result]:
    kept = enter(book or Results(), {"do": "import", "rows": rows, "user": "Li"} | fields, POINTS, NOW, ZONE)
    return list(Results(kept))


def row(**changes: Any) -> dict[str, Any]:
    return {
        "line": 2, "point": "river", "parameter": "cod", "sampled": "2026-03-01 09:30", "value": "23.4",
        "unit": "mg/L", "report": "R-1",
    } | changes  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_table_is_read_as_wps_and_excel_save_it(tmp_path: Path, encoding: str) -> None:
    text = "某检测公司\n" + HEAD + "river,化学需氧量,2026/3/1 9:30,23.4,mg/L,HJ-001\n,,,,,\n"
    rows, digest = read_table(table(tmp_path, text, encoding))
    assert rows == [
        {"point": "river", "parameter": "化学需氧量", "sampled": "2026/3/1 9:30", "value": "23.4", "unit": "mg/L",
         "report": "HJ-001", "line": 3}
    ]  # fmt: skip
    assert len(digest) == 64
    (one,) = entered(rows, laboratory="某检测公司")
    assert (one.name, one.parameter, one.value, one.report) == ("L1", "cod", 23.4, "HJ-001")
    assert one.sampled == datetime(2026, 3, 1, 1, 30, tzinfo=UTC)


def test_a_workbook_gives_the_same_rows_as_text(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["point", "parameter", "sampled", "value", "unit", "report"])
    book.active.append(["river", "cod", wall(2026, 3, 1, 9, 30), 23.4, "mg/L", 17])
    book.active.append(["river", "cod", wall(2026, 3, 2), 23.4, "mg/L", 17])
    book.active["C3"].number_format = "yyyy-mm-dd"
    book.save(tmp_path / "results.xlsx")
    rows, _ = read_table(tmp_path / "results.xlsx")
    assert [r["sampled"] for r in rows] == ["2026-03-01 09:30:00", "2026-03-02"]
    (one,) = entered(rows[:1])
    assert (one.value, one.report, one.written) == (23.4, "17", "23.4 mg/L")
    with pytest.raises(NoTable) as refused:
        entered(rows)
    assert refused.value.faults == ['line 3: "2026-03-02" is no time of sampling such as 2026-03-01 09:30']


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no line of headings"),
        ("点位,项目,结果\nriver,cod,1\n", "no column sampled, unit"),
        (HEAD, "no row below the headings"),
        ("\x00\x01,\x02\n", "no table of text"),
        (HEAD + 'river,"cod,2026-03-01', "no CSV table"),
        (HEAD + "river,cod,2026-03-01 09:30,1,mg/L,R\n" * 2001, "at most 2000"),
        ("PK\x03\x04 broken", "no workbook"),
        ("x" * (5 << 20), "more than 4 MiB"),
    ],
)
def test_what_is_no_table_of_results_is_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(NoTable, match=said):
        read_table(table(tmp_path, text))
    with pytest.raises(NoTable, match="cannot be read"):
        read_table(tmp_path / "nowhere.csv")


def test_neither_encoding_is_said(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(b"\xff\xfe\xff\xff")
    with pytest.raises(NoTable, match="neither UTF-8 nor GB 18030"):
        read_table(path)


@pytest.mark.parametrize(
    ("written", "unit", "value", "below"),
    [
        ("0.5", "mg/L", 0.5, None),
        (0.5, "mg/l", 0.5, None),
        ("500", "ug/L", 0.5, None),
        ("500", "μg/L", 0.5, None),
        ("<0.02", "mg/L", None, 0.02),
        ("0.02L", "mg/L", None, 0.02),
        ("< 20", "µg/L", None, 0.02),
    ],
)
def test_values_are_kept_in_the_unit_of_the_catalogue(
    written: object, unit: str, value: float | None, below: float | None
) -> None:
    (one,) = entered([row(value=written, unit=unit, parameter="ammonia_nitrogen")])
    assert (one.value, one.below) == (value, below)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"point": "lake"}, 'there is no point "lake"'),
        ({"parameter": "gold"}, '"gold" is not in the catalogue'),
        ({"value": "n.d."}, '"n.d." is no value such as'),
        ({"value": "nan"}, "is no value such as"),
        ({"value": "<0"}, "is no value such as"),
        ({"value": None}, "is no value such as"),
        ({"value": "-1"}, "a concentration is not below 0"),
        ({"unit": "%"}, 'kept in mg/L, and "%" cannot be made into it'),
        ({"sampled": "2026-03-01"}, "no time of sampling"),
        ({"sampled": "2026-02-30 09:30"}, "no time of sampling"),
        ({"sampled": "2026-04-01 09:30"}, "has not come yet"),
        ({"sampled": "2016-04-01 09:30"}, "more than five years ago"),
        ({"report": ""}, "no number of a report"),
        ({"person": "x" * 201}, "no text of at most 200"),
    ],
)
def test_each_wrong_row_is_named_and_nothing_is_entered(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(NoTable, match="1 of 2 rows") as refused:
        entered([row(), row(line=7, sampled="2026-03-02 09:30") | changes])
    (fault,) = refused.value.faults
    assert fault.startswith("line 7: ")
    assert said in fault


def test_a_result_is_entered_once_and_corrected_by_withdrawing_it() -> None:
    records = enter(Results(), {"do": "import", "rows": [row()], "user": "Li"}, POINTS, NOW, ZONE)
    book = Results(records)
    for value, said in (("23.4", "L1 is that result already"), ("24", "L1 has 23.4 mg/L for the same sample")):
        with pytest.raises(NoTable) as refused:
            entered([row(value=value)], book)
        assert refused.value.faults[0].startswith(f"line 2: {said}")
    with pytest.raises(WrongArgument, match="needs a reason"):
        enter(book, {"do": "withdraw", "name": "L1", "user": "Li"}, POINTS, NOW, ZONE)
    with pytest.raises(WrongArgument, match='there is no result "L2"'):
        enter(book, {"do": "withdraw", "name": "L2", "user": "Li", "reason": "typo"}, POINTS, NOW, ZONE)
    (taken,) = enter(book, {"do": "withdraw", "name": "L1", "user": "Li", "reason": "typo"}, POINTS, NOW, ZONE)
    book.take(taken)
    assert book.get("L1").withdrawn == "typo"  # type: ignore[union-attr]
    (again,) = entered([row(value="24")], book)
    assert again.name == "L2"


@pytest.mark.parametrize("unit", ["", "无量纲", "pH"])
def test_a_ph_is_entered_with_the_words_that_reports_write_for_no_unit(unit: str) -> None:
    assert entered([row(parameter="ph", value="7.2", unit=unit)])[0].value == 7.2


def test_names_and_codes_are_understood_beside_keys() -> None:
    rows = [
        row(point="Qianxi outlet"),
        row(parameter="化学需氧量", report="R-2"),
        row(parameter="w01018", report="R-3"),
    ]
    assert {(one.point, one.parameter) for one in entered(rows)} == {("river", "cod")}


def test_a_result_enters_no_mean_and_stands_beside_the_hour(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "station.db")
    start = datetime(2026, 3, 1, 1, tzinfo=UTC)
    mean = Average("cod", 25.0, 24.0, 26.0, valid=60, total=60, expected=60, parts=60)
    with closing(store), store.transaction():
        store.add_average(Report(Kind.HOUR, "river", start, (mean,)))
        store.add_records(enter(Results(), {"do": "import", "rows": [row()], "user": "Li"}, POINTS, NOW, ZONE))
        (one,) = in_store(store)
        assert beside(store, one) == (25.0, "N")
        (report,) = store.averages(Kind.HOUR, start, start + timedelta(hours=1))
        assert report.averages == (mean,)
        (kept,) = store.records(KIND, start - timedelta(days=9), NOW)
        assert kept.body["mark"] == "S"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_table_goes_through_the_running_station_and_is_listed(tmp_path: Path, lang: str) -> None:
    config = configure(tmp_path)
    days = [f"{datetime.now(ZONE) - timedelta(days=n):%Y-%m-%d %H:%M}" for n in (3, 2)]
    text = f"point,parameter,sampled,value,unit\nsite,pm10,{days[0]},80,ug/m3\nsite,pm10,{days[1]},0.09,mg/m3\n"
    path = table(tmp_path, text)
    with daemon(config):
        words = ("--lang", lang, "lab", "import", path, "--user", "Li", "--config", config)
        assert "--report" in station(*words).err or "报告" in station(*words).err
        done = station(*words, "--report", "R-9", "--dry-run")
        assert done.code == 0, done.err
        assert station(*words, "--report", "R-9", "--json").out.strip().startswith("{")
        again = station(*words, "--report", "R-9")
        assert again.code == 65
        assert "L1 is that result already" in again.err
        listed = json.loads(station("lab", "list", "--config", config, "--json").out)["results"]
        assert [(one["value"], one["mark"]) for one in listed] == [(80.0, "S"), (90.0, "S")]
        taken = station("lab", "withdraw", "L1", "--user", "Li", "--reason", "typo", "--config", config)
        assert taken.code == 0, taken.err
        shown = station("--lang", lang, "lab", "list", "--config", config)
        assert "typo" in shown.out
    with closing(Store(connect(tmp_path / "data" / "station.db", read_only=True), "")) as store:
        codes = [code for (code,) in store.query("SELECT code FROM event WHERE code = 'laboratory'")]
    assert len(codes) == 2


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_month_report_has_the_results_beside_the_hours(tmp_path: Path, lang: str) -> None:
    loaded = load(configure(tmp_path))
    now = datetime(2026, 4, 2, tzinfo=ZONE)
    rows = [row(point="site", parameter="pm10", unit="µg/m³", sampled=f"2026-03-0{n} 09:30", value=v, remark="<b>")
            for n, v in ((1, "80"), (2, "<5"))]  # fmt: skip
    store = Store.open(loaded.database)
    with closing(store):
        with store.transaction():
            fields = {"do": "import", "rows": rows, "user": "Li"}
            store.add_records(enter(Results(), fields, {"site": "Site"}, now, ZONE))
            mean = Average("pm10", 88.0, 80.0, 90.0, valid=60, total=60, expected=60, parts=60)
            store.add_average(Report(Kind.HOUR, "site", datetime(2026, 3, 1, 1, tzinfo=UTC), (mean,)))
        found = gather(store, loaded, span_of("month", "2026-03", now, ZONE))
    assert [(one["value"], one["below"], one["own_hour"]) for one in found["laboratory"]] == [
        (80.0, None, 88.0), (None, 5.0, None),
    ]  # fmt: skip
    i18n.use(lang)
    text = page(found)
    assert "80 µg/m³ S" in text
    assert "&lt;5 µg/m³ S" in text
    assert "<b>" not in text
    (pm10,) = found["points"][0]["parameters"]
    assert pm10["parts"]["there"] == 0  # the results are no part of it
