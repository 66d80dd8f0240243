"""One parameter at one point over a span, thinned by SQLite to what a screen can show: at most some 800 buckets.

A bucket has the mean, the smallest and the largest of its normal values, how many they were, and apart from them those
of the values that carry a mark, with the worst mark.  Nothing is drawn where nothing was measured: two buckets between
which a value was due have an empty one between them.  Readings are read for short spans, else the averages that the
station closed itself, in their newest version; marks by hand are applied to readings here, and are in averages already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from station.clock import EPOCH, from_ms, period_length, to_ms
from station.marks import KIND as MARK_RECORDS
from station.marks import HandMarks
from station.model import Averaging, Kind, Mark, WrongArgument, dataclass, field, replace
from station.parameters import catalogue

if TYPE_CHECKING:
    from station.store import Store

MOST = 800
"""Buckets of a series, whatever its span."""
KINDS: Mapping[str, Kind | None] = {"readings": None, "minute": Kind.MINUTE, "hour": Kind.HOUR, "day": Kind.DAY}
LONGEST = {
    "readings": timedelta(days=3),
    "minute": timedelta(days=62),
    "hour": timedelta(days=800),
    "day": timedelta(days=36500),
}
"""The longest span each kind is read for: about a second's work of a Raspberry Pi at the most (ours)."""
CHOSEN = {"readings": timedelta(hours=6), "minute": timedelta(hours=50), "hour": timedelta(days=100)}
"""Up to which span each kind is taken by itself, days beyond."""
WIDTHS = (
    *(1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 300, 600, 900, 1200, 1800, 3600),
    *(7200, 10800, 14400, 21600, 28800, 43200, 86400, 2 * 86400, 4 * 86400, 7 * 86400, 14 * 86400, 28 * 86400),
)
"""Widths of buckets in seconds."""
GAP = 2.5
"""Times the usual distance of two values: farther apart, something is missing between them."""
MARKS = "".join(mark.name for mark in Mark)  # in the order of their numbers, as SQL looks them up
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A thinned series, column by column; *at* are milliseconds since 1970, None in a column is nothing.

    *kind* is a word of KINDS, *width_ms* the width of a bucket, *count* how many values are behind them all.  *flagged*
    has the means of the values that carry a mark, *flags* how many these were, *marks* the worst mark in the bucket.
    """

    kind: str
    width_ms: int
    count: int = 0
    at: list[int] = field(default_factory=list)
    mean: list[float | None] = field(default_factory=list)
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    valid: list[int] = field(default_factory=list)
    flagged: list[float | None] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)


def bucket_seconds(span: timedelta, least: float = 1.0, most: int = MOST) -> int:
    """The smallest width of WIDTHS of *least* seconds or more that cuts *span* into *most* buckets or fewer.

    >>> bucket_seconds(timedelta(hours=1)), bucket_seconds(timedelta(days=30), 60), bucket_seconds(timedelta(days=365))
    (5, 3600, 43200)
    """
    needed = max(least, span.total_seconds() / most)
    return next((width for width in WIDTHS if width >= needed), math.ceil(needed / 86400) * 86400)


def kind_for(store: Store, start: datetime, end: datetime, now: datetime) -> str:
    """What a span is shown by where nobody chose: by its length, as far as there is a record of it."""
    began = (store.oldest_reading(), store.oldest_period(Kind.HOUR), store.oldest_period(Kind.DAY))
    oldest = [moment for moment in began if moment is not None]
    there = min(end, now) - max(start, min(oldest, default=start))
    return next((kind for kind, longest in CHOSEN.items() if there <= longest), "day")


def check(parameter: str, kind: str, start: datetime, end: datetime) -> None:
    """Raise WrongArgument for what cannot be read or would take too long."""
    if parameter not in catalogue():
        raise WrongArgument(f'there is no parameter "{parameter[:40]}"')
    if kind not in KINDS:
        raise WrongArgument(f'"{kind[:40]}" is not one of {", ".join(KINDS)}')
    if not start < end:
        raise WrongArgument("a span ends after it has begun")
    if end - start > LONGEST[kind]:
        what = kind if KINDS[kind] is None else f"{kind} averages"
        raise WrongArgument(f"{what} are shown for {LONGEST[kind].days} days at the most; choose longer averages")


def line(
    store: Store, kind: str, point: str, parameter: str, start: datetime, end: datetime, zone: tzinfo, most: int = MOST
) -> Line:
    """*parameter* at *point* with start <= time < end, in some *most* buckets, which begin with the hours of *zone*."""
    check(parameter, kind, start, end)
    period = KINDS[kind]
    least = 1.0 if period is None else period_length(period).total_seconds()
    cut = _Cut(to_ms(start), to_ms(end), bucket_seconds(end - start, least, most) * 1000, _offset(zone))
    averaging = catalogue()[parameter].averaging
    if period is None:
        rows = _of_readings(store, point, parameter, averaging, cut)
    else:
        rows = _of_averages(store, point, parameter, averaging, period, cut)
    return _line(kind, cut, rows, _usual(rows, cut.width) if period is None else None)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A span in milliseconds, and how it is cut: buckets of *width*, which begin *offset* beside those of UTC."""

    first: int
    last: int
    width: int
    offset: int

    @property
    def bucket(self) -> str:
        """SQL for the number of the bucket of a time."""
        return f"(at_ms + {self.offset}) / {self.width} AS bucket"

    def start(self, bucket: int) -> int:
        """When *bucket* begins."""
        return bucket * self.width - self.offset


def _offset(zone: tzinfo) -> int:
    return (zone.utcoffset(None) or timedelta(0)) // timedelta(milliseconds=1)


# -- in SQL


def _mean(averaging: Averaging, which: str, *, stands: bool) -> str:
    """SQL for the middle of a bucket's values *v* where *which* holds; *stands*: a counter's, not its rises."""
    only = f"FILTER (WHERE {which})"
    if averaging is Averaging.VECTOR:  # unit vectors; winds that cancel have no direction
        east, north = f"avg(sin(radians(v))) {only}", f"avg(cos(radians(v))) {only}"
        return f"CASE WHEN abs({east}) + abs({north}) > 1e-6 THEN mod(degrees(atan2({east}, {north})) + 360, 360) END"
    if averaging is Averaging.ENERGY:
        return f"10 * log10(avg(pow(10, v / 10)) {only})"
    if averaging is Averaging.SUM and not stands:
        return f"sum(v) {only}"
    if averaging in (Averaging.LAST, Averaging.MAX, Averaging.SUM):  # a total rises: the last is the largest
        return f"max(v) {only}"
    return f"min(v) {only}" if averaging is Averaging.MIN else f"avg(v) {only}"


def _grouped(part: str, averaging: Averaging, *, stands: bool = False) -> str:
    """The buckets of *part*, which has the columns bucket, at, v, low, high, mark; their columns are those of _line."""
    normal, marked = "mark = 0 AND v IS NOT NULL", "mark > 0 AND v IS NOT NULL"
    extremes = averaging not in (Averaging.VECTOR, Averaging.SUM)
    low, high = (f"{f} FILTER (WHERE {normal})" if extremes else "NULL" for f in ("min(low)", "max(high)"))
    return (
        f"SELECT bucket, count(*), min(at), {_mean(averaging, normal, stands=stands)}, {low}, {high},"
        f" count(*) FILTER (WHERE {normal}), {_mean(averaging, marked, stands=stands)},"
        f" count(*) FILTER (WHERE mark > 0), max(mark) FROM ({part}) GROUP BY bucket ORDER BY bucket"
    )


def _of_averages(
    store: Store, point: str, parameter: str, averaging: Averaging, kind: Kind, cut: _Cut
) -> list[Row]:
    """Buckets of closed periods; the body of a period is read once, in its newest version (LIMIT keeps it apart)."""
    path = f"$.{parameter}"  # of the catalogue: letters, digits and _
    newest = (
        "SELECT start_ms AS at_ms, max(version), body FROM average"
        " WHERE point = ? AND kind = ? AND start_ms >= ? AND start_ms < ? GROUP BY start_ms"
    )
    part = (
        f"SELECT {cut.bucket}, at_ms AS at, json_extract(body, '{path}[0]') AS v,"
        f" json_extract(body, '{path}[1]') AS low, json_extract(body, '{path}[2]') AS high,"
        f" instr('{MARKS}', json_extract(body, '{path}[3]')) - 1 AS mark"
        f" FROM ({newest}) WHERE mark >= 0 LIMIT -1"
    )
    return list(store.query(_grouped(part, averaging), (point, int(kind), cut.first, cut.last)))


def _of_readings(store: Store, point: str, parameter: str, averaging: Averaging, cut: _Cut) -> list[Row]:
    """Buckets of readings: those among their neighbours in time, and those that are listed as late."""
    mine = "series IN (SELECT id FROM series WHERE point = ? AND parameter = ?) AND at_ms >= ? AND at_ms < ?"
    columns = "at_ms, coalesce(value, raw) AS v, mark & 7 AS mark"
    found = (
        f"SELECT {columns} FROM reading WHERE {mine} AND id > ? AND id <= ? UNION ALL SELECT {columns} FROM reading"
        f" WHERE {mine} AND id > ? AND id IN (SELECT reading FROM late WHERE at_ms >= ? AND at_ms < ?)"
    )
    mark, spells = "mark", _by_hand(store, point, parameter, cut)
    if spells:
        hand = f"SELECT max(column3) FROM (VALUES {spells}) WHERE at_ms >= column1 AND at_ms < column2"
        mark = f"max(mark, coalesce(({hand}), 0))"
    part = f"SELECT {cut.bucket}, at_ms AS at, v, v AS low, v AS high, {mark} AS mark FROM ({found}) LIMIT -1"
    span = (point, parameter, cut.first, cut.last)
    floor, ceiling = store.reading_floor(from_ms(cut.first)), store.reading_ceiling(from_ms(cut.last))
    arguments = (*span, floor, ceiling, *span, ceiling, cut.first, cut.last)
    return list(store.query(_grouped(part, averaging, stands=True), arguments))


def _by_hand(store: Store, point: str, parameter: str, cut: _Cut) -> str:
    """The spells of marks by hand, as rows of SQL: from, to before (ms), number of the mark."""
    rows = []
    for one in HandMarks(store.records(MARK_RECORDS, EPOCH, datetime.max.replace(tzinfo=UTC))):
        if not one.withdrawn and one.point == point and one.parameter in ("", parameter):
            begin, end = to_ms(one.first), cut.last if one.last is None else to_ms(one.last)
            rows += [f"({begin}, {end}, {int(one.mark)})"] if begin < cut.last and end > cut.first else []
    return ", ".join(rows)


# -- from rows to columns


def _usual(rows: Sequence[Row], width: int) -> int:
    """The median distance of two values of *rows*, ms; the *width* of a bucket where they are closer than that."""
    times = [row[2] for row in rows]
    apart = sorted(b - a for a, b in pairwise(times))
    return max(width, apart[len(apart) // 2]) if len(apart) > 1 else width


def _line(kind: str, cut: _Cut, rows: Iterable[Row], usual: int | None) -> Line:
    """Columns of *rows*, with an empty bucket wherever something is missing; *usual* is the distance of readings."""
    made, before, last, count = Line(kind, cut.width), None, 0, 0
    for bucket, behind, first, mean, low, high, valid, flagged, flags, mark in rows:
        at = first if behind == 1 else cut.start(bucket)  # a value that stands alone stands where it was measured
        if before is not None:
            if usual is None and bucket > before + 1:
                _append(made, cut.start(before + 1))
            elif usual is not None and at - last > GAP * usual:
                _append(made, last + usual)
        _append(made, at, mean, low, high, valid, flagged, flags, MARKS[mark] if mark else "")
        before, last, count = bucket, at, count + behind
    return replace(made, count=count)


def _append(
    to: Line,
    at: int,
    mean: float | None = None,
    low: float | None = None,
    high: float | None = None,
    valid: int = 0,
    flagged: float | None = None,
    flags: int = 0,
    mark: str = "",
) -> None:
    to.at.append(at)
    to.mean.append(_figure(mean))
    to.low.append(_figure(low))
    to.high.append(_figure(high))
    to.valid.append(valid)
    to.flagged.append(_figure(flagged))
    to.flags.append(flags)
    to.marks.append(mark)


def _figure(value: float | None) -> float | None:
    """*value* as it travels: nine digits, which is more than any instrument has; what is no number is nothing.

    >>> _figure(3.7000000000000006), _figure(float("inf")), _figure(None)
    (3.7, None, None)
    """
    return float(f"{value:.9g}") if value is not None and math.isfinite(value) else None
