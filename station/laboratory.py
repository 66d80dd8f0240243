"""Results of laboratories and measurements by hand: entered from a table, marked S, kept beside the record.

Each row of a CSV or xlsx table is one result: point, parameter, when it was sampled, value, unit, and what is known of
method, person and report.  A table is entered whole or not at all; a result entered by mistake is withdrawn and stays
on record.  Nothing of it enters a mean or goes to a platform: a value by hand in the place of a missing one is for the
regulator's own rules to allow (HJ 356-2019 as digested, medium), and its row, name and report number stand here.
Below the detection limit a value is written "<0.02" or "0.02L", as reports of laboratories have it (practice, medium).
"""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.clock import EPOCH
from station.model import Kind, Mark, Record, StationError, WrongArgument, dataclass, did_you_mean, replace
from station.parameters import catalogue

if TYPE_CHECKING:
    from station.store import Store

KIND = "laboratory"
MARK = Mark.S
MOST_BYTES, MOST_ROWS = 4 << 20, 2000  # of one table
LONGEST = timedelta(days=1827)  # as long as raw records are kept
COLUMNS: Mapping[str, Sequence[str]] = {  # what a heading may be called, lower case
    "point": ("point", "点位", "点位代码", "监测点位", "排放口"),
    "parameter": ("parameter", "项目", "监测项目", "监测因子", "因子"),
    "sampled": ("sampled", "time", "采样时间", "监测时间", "时间"),
    "value": ("value", "result", "结果", "监测结果", "检测结果", "数值"),
    "unit": ("unit", "单位"),
    "method": ("method", "方法", "分析方法", "检测方法"),
    "person": ("person", "采样人", "监测人", "检测人"),
    "report": ("report", "报告编号", "报告号"),
    "remark": ("remark", "note", "备注"),
}
NEEDED = ("point", "parameter", "sampled", "value", "unit")
TEXTS = ("method", "person", "report", "remark")
LONGEST_TEXT = 200
_SAMPLED = re.compile(
    r"(\d{4})[-/.年](\d\d?)[-/.月](\d\d?)日?[ T]?\s*"
    r"(\d\d?)[:：时](\d\d)(?:[:：](\d\d)(?:\.0+)?)?分?\s*(Z|[+-]\d\d:\d\d)?"
)
# Of one unit in another: what a value is multiplied by.
FACTORS: Mapping[tuple[str, str], float] = {
    ("mg/L", "µg/L"): 1000.0, ("µg/L", "mg/L"): 0.001, ("mg/m³", "µg/m³"): 1000.0, ("µg/m³", "mg/m³"): 0.001,
    ("g/L", "mg/L"): 1000.0, ("mS/cm", "µS/cm"): 1000.0, ("µS/cm", "mS/cm"): 0.001, ("ng/L", "µg/L"): 0.001,
    ("m³/h", "L/s"): 1 / 3.6, ("L/s", "m³/h"): 3.6,
}  # fmt: skip
NO_UNIT = ("无量纲", "pH")  # as reports write it beside a pH
# What openpyxl raises at files that are none, or broken ones.
UNREADABLE = (
    zipfile.BadZipFile, KeyError, ValueError, TypeError, IndexError, AttributeError, SyntaxError, OSError,
)  # fmt: skip
_BELOW = re.compile(r"<\s*(\S+)|(\S+?)\s*[lL]")


class NoTable(StationError, ValueError):
    """Error raised when a table cannot be entered; *faults* are all that is wrong in it, a sentence each."""

    exit_code = 65  # EX_DATAERR

    def __init__(self, said: str, faults: Sequence[str] = ()) -> None:
        super().__init__(said)
        self.faults = list(faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One result: *value* in the catalogue's unit; None with the detection limit in *below*."""

    name: str
    point: str
    parameter: str
    sampled: datetime
    value: float | None
    below: float | None
    written: str  # the value and unit as the table had them
    person: str
    report: str
    laboratory: str
    method: str
    remark: str
    file: str
    sha256: str
    entered_by: str
    withdrawn: str = ""

    @property
    def key(self) -> tuple[str, str, datetime, str]:
        """What makes two rows the same result."""
        return (self.point, self.parameter, self.sampled, self.report)


class Results:
    """All results, as their records leave them."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Result] = {}
        for record in sorted(records, key=lambda r: r.id):
            self.take(record)

    def take(self, record: Record) -> None:
        """Enter *record*; a withdrawal of what is past its retention says nothing any more."""
        body = record.body
        if body["do"] == "result":
            kept = {key: body[key] for key in (
                "name", "parameter", "value", "below", "written", "person", "report", "laboratory", "method", "remark",
                "file", "sha256", "entered_by",
            )}  # fmt: skip
            self._by_name[body["name"]] = Result(point=record.point, sampled=record.at, **kept)
        elif (before := self._by_name.get(body["name"])) is not None:
            self._by_name[body["name"]] = replace(before, withdrawn=body["reason"])

    def __iter__(self) -> Iterator[Result]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Result | None:
        """The result called *name*."""
        return self._by_name.get(name)

    @property
    def next_number(self) -> int:
        """The number of the next one: names are never used twice."""
        return 1 + max((int(name[1:]) for name in self._by_name), default=0)


def in_store(store: Store) -> Results:
    """Every result in *store*."""
    return Results(store.records(KIND, EPOCH, datetime.max.replace(tzinfo=UTC)))


# -- reading a table


def read_table(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of the CSV or xlsx file at *path* by the names of COLUMNS, each with its line, and the file's SHA-256.

    Raises NoTable: no such file, neither form, columns missing, too long.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise NoTable(f"{path}: has more than {MOST_BYTES >> 20} MiB; enter a table, not a book of all")
        content = path.read_bytes()
    except OSError as error:
        raise NoTable(f"{path}: cannot be read ({error.strerror})") from error
    lines = list(_of_xlsx(path, content) if content[:2] == b"PK" else _of_csv(path, content))
    head = next((n for n, line in enumerate(lines) if len(_headings(line)) >= 2), None)
    if head is None:
        raise NoTable(f"{path}: no line of headings; it needs {', '.join(NEEDED)} (点位, 项目, 采样时间, 结果, 单位)")
    places = _headings(lines[head])
    missing = [name for name in NEEDED if name not in places]
    if missing:
        raise NoTable(f"{path}: line {head + 1}: no column {', '.join(missing)}; there are {', '.join(places)}")
    rows = []
    for number, line in enumerate(lines[head + 1 :], head + 2):
        row = {name: line[place] if place < len(line) else None for name, place in places.items()}
        if any(value not in (None, "") for value in row.values()):
            rows.append(row | {"line": number})
    if not rows:
        raise NoTable(f"{path}: no row below the headings")
    if len(rows) > MOST_ROWS:
        raise NoTable(f"{path}: {len(rows)} rows; enter at most {MOST_ROWS} at once")
    return rows, sha256(content).hexdigest()


def _headings(line: Sequence[Any]) -> dict[str, int]:
    """Which column stands where in a line of headings; of "结果(mg/L)" and "value *" the beginning counts."""
    called = {name: key for key, names in COLUMNS.items() for name in names}
    found: dict[str, int] = {}
    for place, cell in enumerate(line):
        plain = re.split(r"[(（*]", str(cell or "").strip().lower().lstrip("\ufeff"))[0].strip()
        if plain in called:
            found.setdefault(called[plain], place)
    return found


def _of_csv(path: Path, content: bytes) -> Iterator[list[Any]]:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        break
    else:
        raise NoTable(f"{path}: is neither UTF-8 nor GB 18030 text, nor an xlsx workbook")
    if "\x00" in text:
        raise NoTable(f"{path}: is no table of text; save it as CSV or xlsx")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    except csv.Error as error:
        raise NoTable(f"{path}: is no CSV table ({error})") from error


def _of_xlsx(path: Path, content: bytes) -> Iterator[list[Any]]:
    try:
        import openpyxl
    except ImportError as error:
        raise NoTable(
            f"{path}: workbooks need the library openpyxl (pip install 'niutang-station[tables]'); or save it as CSV"
        ) from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(one.file_size for one in packed.infolist()) > 16 * MOST_BYTES:
                raise NoTable(f"{path}: unpacks to more than {16 * MOST_BYTES >> 20} MiB")
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        for number, line in enumerate(book.worksheets[0].iter_rows()):
            if number > 2 * MOST_ROWS:
                raise NoTable(f"{path}: more than {2 * MOST_ROWS} lines")
            yield [_plain_cell(cell) for cell in line]
    except NoTable:
        raise
    except UNREADABLE as error:
        raise NoTable(f"{path}: is no workbook that can be read ({error})") from error


def _plain_cell(cell: Any) -> Any:
    """What a cell says; a date without a time of day stays one."""
    value = cell.value
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" if "h" in str(cell.number_format).lower() else f"{value:%Y-%m-%d}"
    return value if value is None or isinstance(value, int | float | str) else str(value)


# -- entering


def enter(
    book: Results, fields: Mapping[str, Any], points: Mapping[str, str], now: datetime, zone: tzinfo, number: int = 0
) -> list[Record]:
    """The records of an entry: do (import, withdraw) and what it needs.

    Raises NoTable or WrongArgument, and nothing is kept.  *points* are names by code,
    *number* is that of the first new result.
    """
    do, user = (str(fields.get(key) or "").strip() for key in ("do", "user"))
    if not user or not user.isprintable():
        raise WrongArgument("an entry of results needs the name of who makes it (--user)")
    if do == "withdraw":
        return [_withdrawal(book, fields, user, now)]
    if do != "import":
        raise WrongArgument(f"{do!r} is no entry of results")
    rows = fields.get("rows")
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not all(isinstance(row, Mapping) for row in rows):
        raise WrongArgument("the rows of a table are names with values")
    if not 0 < len(rows) <= MOST_ROWS:
        raise WrongArgument(f"a table has 1 to {MOST_ROWS} rows")
    common = {key: _text(fields.get(key)) for key in ("report", "laboratory", "file", "sha256")} | {"entered_by": user}
    known = {one.key: one for one in book if not one.withdrawn}
    made: list[Record] = []
    faults: list[str] = []
    first = number or book.next_number
    for row in rows:
        try:
            one = _result(row, common, points, now, zone, f"L{first + len(made)}")
            if (before := known.get(one.key)) is not None:
                same = (before.value, before.below) == (one.value, one.below)
                raise ValueError(
                    f"{before.name} is that result already" if same
                    else f"{before.name} has {before.written} for the same sample; withdraw it first"
                )  # fmt: skip
        except ValueError as error:
            faults.append(f"line {row.get('line', '?')}: {error}")
            continue
        known[one.key] = one
        made.append(_record(one))
    if faults:
        raise NoTable(f"{len(faults)} of {len(rows)} rows cannot be entered, so none was", faults)
    return made


def _withdrawal(book: Results, fields: Mapping[str, Any], user: str, now: datetime) -> Record:
    name, reason = (str(fields.get(key) or "").strip() for key in ("name", "reason"))
    one = book.get(name)
    if one is None:
        raise WrongArgument(
            f'there is no result "{name}"{did_you_mean(name, [r.name for r in book])}; see station lab list'
        )
    if one.withdrawn:
        raise WrongArgument(f"{name} was withdrawn: {one.withdrawn}")
    if not reason or not reason.isprintable():
        raise WrongArgument("a withdrawal needs a reason (--reason)")
    return Record(KIND, now, {"do": "withdraw", "name": name, "user": user, "reason": reason}, one.point)


def _record(one: Result) -> Record:
    names = (
        "name", "parameter", "value", "below", "written", "person", "report", "laboratory", "method", "remark", "file",
        "sha256", "entered_by",
    )  # fmt: skip
    body = {"do": "result", "mark": MARK.name} | {key: getattr(one, key) for key in names}
    return Record(KIND, one.sampled, body, one.point)


def _result(
    row: Mapping[str, Any], common: Mapping[str, str], points: Mapping[str, str], now: datetime, zone: tzinfo, name: str
) -> Result:
    texts = {key: _text(row.get(key)) for key in TEXTS}
    texts["report"] = texts["report"] or common["report"]
    texts["person"] = texts["person"] or common["entered_by"]
    if not texts["report"]:
        raise ValueError("no number of a report, neither in the row nor by --report")
    parameter = _parameter(_text(row.get("parameter")))
    unit = _text(row.get("unit"))
    value, below = _value(row.get("value"), parameter, unit)
    return Result(
        name=name, point=_point(_text(row.get("point")), points), parameter=parameter, value=value, below=below,
        sampled=_sampled(row.get("sampled"), now, zone), written=f"{_text(row.get('value'))} {unit}".strip(),
        **texts, **{key: common[key] for key in ("laboratory", "file", "sha256", "entered_by")},
    )  # fmt: skip


def _text(value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str("" if value is None else value)
    text = " ".join(text.split())
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise ValueError(f'"{text[:30]}" is no text of at most {LONGEST_TEXT} characters')
    return text


def _point(text: str, points: Mapping[str, str]) -> str:
    if text in points:
        return text
    named = [code for code, name in points.items() if name == text]
    if len(named) == 1:
        return named[0]
    raise ValueError(f'there is no point "{text}"{did_you_mean(text, [*points, *points.values()])}')


def _parameter(text: str) -> str:
    """The key of what is called *text*: key, name in either language, or code of HJ 212."""
    known = catalogue()
    if text in known:
        return text
    said = text.casefold()
    named = [
        key for key, one in known.items() if said in (one.zh.casefold(), one.en.casefold(), (one.code or "").casefold())
    ]
    if len(named) == 1 and said:
        return named[0]
    raise ValueError(f'"{text}" is not in the catalogue{did_you_mean(text, known)}; see station/parameters.toml')


def _value(cell: Any, parameter: str, unit: str) -> tuple[float | None, float | None]:
    """Value and detection limit in the catalogue's unit, one of them None."""
    own = catalogue()[parameter].unit
    said = unit.replace("μ", "µ").replace("u", "µ", 1) if unit[:1] in ("u", "μ") else unit
    said = re.sub(r"m3\b|m\^3", "m³", said).replace("l", "L") if said not in (own, "") else said
    factor = 1.0 if said == own or (not own and said in NO_UNIT) else FACTORS.get((said, own))
    if factor is None:
        raise ValueError(f'{parameter} is kept in {own or "no unit"}, and "{unit}" cannot be made into it')
    text = _text(cell)
    below = _BELOW.fullmatch(text)
    number = (below[1] or below[2]) if below else text
    try:
        value = float(number)
    except ValueError as error:
        raise ValueError(f'"{text}" is no value such as 12.3, <0.02 or 0.02L') from error
    if not math.isfinite(value) or (below and value <= 0):
        raise ValueError(f'"{text}" is no value such as 12.3, <0.02 or 0.02L')
    value = float(f"{value * factor:.12g}")
    if value < 0 and own in ("mg/L", "µg/L", "mg/m³", "µg/m³"):
        raise ValueError(f"{text}: a concentration is not below 0")
    return (None, value) if below else (value, None)


def _sampled(cell: Any, now: datetime, zone: tzinfo) -> datetime:
    text = _text(cell)
    found = _SAMPLED.fullmatch(text)
    try:
        if found is None:
            raise ValueError("no time of day, or no date")
        moment = datetime.fromisoformat("{}-{:0>2}-{:0>2}T{:0>2}:{}".format(*found.group(1, 2, 3, 4, 5)))
        offset = datetime.fromisoformat(f"2000-01-01T00:00{found[7]}").tzinfo if found[7] else zone
        moment = moment.replace(second=int(found[6] or 0), tzinfo=offset).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f'"{text}" is no time of sampling such as 2026-03-01 09:30') from error
    if moment > now:
        raise ValueError(f"{text}: has not come yet")
    if now - moment > LONGEST:
        raise ValueError(f"{text}: is more than five years ago")
    return moment


# -- beside the station's own


def beside(store: Store, one: Result) -> tuple[float | None, str]:
    """The station's own hour around the sampling of *one*: its mean and mark; None and "" where there is none."""
    start = one.sampled.replace(minute=0, second=0)
    for report in store.averages(Kind.HOUR, start, start + timedelta(hours=1), one.point):
        for average in report.averages:
            if average.parameter == one.parameter:
                return average.mean, average.mark.name
    return None, ""
