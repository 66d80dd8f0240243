"""Readings and averages as rows for people's tables: CSV that WPS and Excel open, or JSON."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, tzinfo  # noqa: F401 - UTC is of an example
from pathlib import Path
from typing import Any, TextIO

from sqlite_utils import Database

from station.clock import from_ms, to_ms
from station.i18n import language, t
from station.marks import KIND as MARK_RECORDS
from station.marks import HandMarks
from station.model import Kind, Mark, Record, StoreError, StoreVersionError
from station.parameters import catalogue
from station.store import LATE_HOURS, NO_CEILING, SCHEMA_VERSION, connect, unpack_averages, unpack_mark

KINDS = {"readings": None, "minute": Kind.MINUTE, "hour": Kind.HOUR, "day": Kind.DAY}
BOM = "\ufeff"
TIMES = ("time", "start")
HOUR_MS = 3_600_000

READING = (
    "time", "point", "device", "parameter", "name", "unit", "value", "raw", "mark", "reason", "effective_mark",
    "marked_by",
)  # fmt: skip
AVERAGE = (
    "start", "point", "parameter", "name", "unit", "average", "minimum", "maximum", "mark", "valid", "total",
    "valid_share", "valid_parts", "load_kg", "at_reference_oxygen", "indicative", "version",
)  # fmt: skip


def columns(kind: str) -> Sequence[str]:
    """The headings of a table of *kind*, which it has without rows, too."""
    if kind == "drift":
        from station.drifting import COLUMNS  # only who wants it pays for it

        return COLUMNS
    return READING if KINDS[kind] is None else AVERAGE


def check_version(database: Path) -> None:
    """Raise StoreVersionError unless the file at *database* is of this version."""
    with closing(connect(database, read_only=True)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise StoreVersionError(
            f"{database}: has schema {version}, this version exports {SCHEMA_VERSION}; "
            "an older file is brought up by station migrate, a newer one needs its own version"
        )


def rows(
    database: Path,
    kind: str,
    zone: tzinfo,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    point: str | None = None,
    parameter: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of *kind* with start <= time < end, oldest first; times in *zone*."""
    with closing(connect(database, read_only=True)) as connection:
        yield from rows_through(
            connection, database, kind, zone, start=start, end=end, point=point, parameter=parameter
        )


def rows_through(
    connection: sqlite3.Connection,
    database: Path,
    kind: str,
    zone: tzinfo,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    point: str | None = None,
    parameter: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The same through a *connection* to *database* that is the caller's."""
    limits = (to_ms(start) if start else 0, to_ms(end) if end else 1 << 62)
    period = KINDS[kind]
    try:
        db = Database(connection)
        made = _readings(db, zone, limits, _hand_marks(db)) if period is None else _averages(db, period, zone, limits)
        for row in made:
            if point in (None, row["point"]) and parameter in (None, row["parameter"]):
                yield row
    except sqlite3.Error as error:
        raise StoreError(f"{database}: cannot be read to the end ({error}); the rows so far are good") from error


def _hand_marks(db: Database) -> HandMarks:
    """Marks that people set, beside what is stored."""
    sql = "SELECT kind, at_ms, body, point, device, id FROM record WHERE kind = ?"
    return HandMarks(
        Record(row["kind"], from_ms(row["at_ms"]), json.loads(row["body"]), row["point"], row["device"], row["id"])
        for row in db.query(sql, (MARK_RECORDS,))
    )


def _readings(db: Database, zone: tzinfo, limits: tuple[int, int], by_hand: HandMarks) -> Iterator[dict[str, Any]]:
    for row in _stored(db, limits):
        mark, reason = unpack_mark(row["mark"])
        yield {
            "time": _local(row["at_ms"], zone),
            "point": row["point"],
            "device": row["device"],
            **named(row["parameter"]),
            "value": row["value"],
            "raw": row["raw"],
            "mark": mark.name,
            "reason": reason.name.lower() if reason else "",
            **_effective(by_hand, row, mark),
        }


def _stored(db: Database, limits: tuple[int, int]) -> Iterator[Mapping[str, Any]]:
    """Readings of *limits* in the order stored: those among their neighbours in time, then those listed as late.

    As `Store.readings` finds them, which lead to few rows in a record of years.
    """
    sql = """
        SELECT at_ms, device, point, parameter, raw, coalesce(value, raw) AS value, mark
        FROM reading JOIN series ON series.id = reading.series
        WHERE at_ms >= ? AND at_ms < ? AND reading.id > ? AND reading.id <= ? {} ORDER BY reading.id"""
    floor = "SELECT reading FROM tick WHERE hour <= ? ORDER BY hour DESC LIMIT 1"
    ceiling = "SELECT reading FROM tick WHERE hour >= ? ORDER BY hour LIMIT 1"
    first, last = limits
    begin = next((row["reading"] for row in db.query(floor, (first // HOUR_MS,))), 0)
    end = next((row["reading"] for row in db.query(ceiling, (last // HOUR_MS + LATE_HOURS,))), NO_CEILING)
    yield from db.query(sql.format(""), (*limits, begin, end))
    late = "AND reading.id IN (SELECT reading FROM late WHERE at_ms >= ? AND at_ms < ?)"
    yield from db.query(sql.format(late), (*limits, max(begin, end), NO_CEILING, *limits))


def _effective(by_hand: HandMarks, row: Mapping[str, Any], mark: Mark) -> dict[str, str]:
    """The mark that counts, and who set it why where a person did."""
    at = from_ms(row["at_ms"])
    found = by_hand.at(row["point"], row["parameter"], at)
    counts = by_hand.mark(row["point"], row["parameter"], at, mark)
    said = "; ".join(f"{one.name} {one.mark.name} {one.user}: {one.reason}" for one in found)
    return {"effective_mark": counts.name, "marked_by": said}


def _averages(db: Database, kind: Kind, zone: tzinfo, limits: tuple[int, int]) -> Iterator[dict[str, Any]]:
    sql = """
        SELECT start_ms, point, max(version) AS version, body FROM average
        WHERE kind = ? AND start_ms >= ? AND start_ms < ? GROUP BY start_ms, point ORDER BY start_ms, point"""
    for row in db.query(sql, (int(kind), *limits)):
        for one in unpack_averages(row["body"]):
            yield {
                "start": _local(row["start_ms"], zone),
                "point": row["point"],
                **named(one.parameter),
                "average": _plain(one.mean),
                "minimum": _plain(one.minimum),
                "maximum": _plain(one.maximum),
                "mark": one.mark.name,
                "valid": one.valid,
                "total": one.total,
                "valid_share": round(one.share, 4),
                "valid_parts": one.parts,
                "load_kg": _plain(one.load_kg),
                "at_reference_oxygen": _plain(one.converted),
                "indicative": int(one.indicative),
                "version": row["version"],
            }


def _plain(value: float | None) -> float | None:
    """*value* without the tail that binary arithmetic leaves behind; the store keeps every digit.

    >>> _plain(3.7000000000000006), _plain(None)
    (3.7, None)
    """
    return None if value is None else float(f"{value:.12g}")


def named(parameter: str) -> dict[str, str]:
    """Key, name and unit of *parameter*, as every table has them."""
    known = catalogue().get(parameter)
    name, unit = (known.name(language()), known.unit) if known else (parameter, "")
    return {"parameter": parameter, "name": name, "unit": unit}


def _local(milliseconds: int, zone: tzinfo) -> str:
    return from_ms(milliseconds).astimezone(zone).isoformat(timespec="seconds")


def headings(columns: Sequence[str], zone: tzinfo) -> dict[str, str]:
    """What stands above each of *columns* in the operator's language; above a time its zone, too.

    >>> headings(("time", "point"), UTC)
    {'time': 'time (UTC)', 'point': 'point'}
    """
    return {key: t(f"export_column.{key}") + (f" ({zone})" if key in TIMES else "") for key in columns}


def write_csv(found: Iterator[dict[str, Any]], file: TextIO, columns: Sequence[str], zone: tzinfo) -> int:
    """Write *found* with a byte-order mark, so that spreadsheets take it for UTF-8; how many rows.

    Times, which are in *zone*, lose their offset and the T: only so they become dates in Excel and WPS.
    """
    write_head(file, columns, zone)
    return write_rows(found, file, columns)


def write_head(file: TextIO, columns: Sequence[str], zone: tzinfo) -> None:
    """Write the byte-order mark and the line of headings."""
    file.write(BOM)
    csv.DictWriter(file, columns).writerow(headings(columns, zone))


def write_rows(found: Iterable[dict[str, Any]], file: TextIO, columns: Sequence[str]) -> int:
    """Write *found* without headings; how many rows."""
    count, writer = 0, csv.DictWriter(file, columns)
    for row in found:
        writer.writerow({key: _unarmed(_shown(key, value)) for key, value in row.items()})
        count += 1
    return count


def _shown(key: str, value: Any) -> Any:
    """A value of a JSON row as a CSV has it: times without offset; a Chinese one has its reasons in words."""
    if key in TIMES:
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S}"
    return t(f"reason.{value}") if key == "reason" and value and language() == "zh" else value


def _unarmed(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula, with a quote in front.

    >>> _unarmed("=1+1"), _unarmed("pm25"), _unarmed(-3.5)
    ("'=1+1", 'pm25', -3.5)
    """
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value


def write_json(found: Iterator[dict[str, Any]], file: TextIO) -> int:
    """Write *found* as one JSON list, a row a line; how many rows."""
    count = 0
    file.write("[")
    for row in found:
        file.write(("," if count else "") + "\n" + json.dumps(row, ensure_ascii=False))
        count += 1
    file.write("\n]\n")
    return count
