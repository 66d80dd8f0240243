"""Recorded series through the running station's own code, at full speed, into a fresh store: for auditors and tests.

What is replaced is the instrument, the clock and the link; calibration, marks, averages, limits and messages are the
code that runs in the field.  Rules for series that are not as they ought to be: rows are taken in the order of their
times (those out of order are counted), of rows with one time the first counts (the others are counted), an empty cell
or NA is no reading, a cell that is no number is a reading without value, marked D.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from station.clock import ManualClock, period_start
from station.config import Loaded, make_device, resolve
from station.engine import Engine
from station.model import Kind, Mark, Reason, Sample, StoreError, WrongArgument, dataclass, did_you_mean, field, replace
from station.parameters import catalogue
from station.store import Store, check_folder
from uplink import UPLINKS
from uplink.base import Context

GAP = ("", "NA", "N/A", "NaN", "nan", "-", "--")
POINTS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
COMPASS = {name: 22.5 * i for i, name in enumerate(POINTS)}  # where the wind comes from, degrees
MINGUO = 1911  # year 106 is 2017
MINUTE = timedelta(minutes=1)
AWAKE = timedelta(hours=23)  # how long the station goes on behind a row when the next one is farther away


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Which *name*d column of a series is *parameter* of *device*, and the factor that brings it to our unit."""

    device: str
    parameter: str
    name: str
    factor: float = 1.0


@dataclass(slots=True)
class Series:
    """The rows of a file in the order of their times; what was odd about them is counted."""

    rows: list[tuple[datetime, dict[str, str]]]
    columns: list[str]
    unordered: int = 0
    repeated: int = 0

    @property
    def spacing(self) -> float:
        """Usual seconds between two rows."""
        gaps = [(b[0] - a[0]).total_seconds() for a, b in pairwise(self.rows)]
        return median(gaps) if gaps else 60.0


def read_series(path: Path, zone: tzinfo, where: Mapping[str, str] | None = None) -> Series:
    """The series in the CSV file at *path*, of rows whose columns read as *where* says; raise WrongArgument.

    A row is dated by `time` (ISO 8601), by year, month, day, hour, by Date (M/D/Y) and Time, or by ym of the Minguo
    calendar; without an offset in the station's *zone*.  A second heading with units is passed over.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongArgument(f"{path}: cannot be read as CSV ({error})") from error
    for name in where or {}:
        if name not in columns:
            raise WrongArgument(f'{path}: has no column "{name}"{did_you_mean(name, columns)}')
    chosen = [row for row in rows if all(row[name] == value for name, value in (where or {}).items())]
    if chosen and not any(letter.isdigit() for letter in "".join(_dating(chosen[0], path))):
        chosen = chosen[1:]
    if not chosen:
        raise WrongArgument(f"{path}: has no rows to replay")
    return _in_order([(_moment(row, path, zone), row) for row in chosen], columns)


def _in_order(dated: list[tuple[datetime, dict[str, str]]], columns: list[str]) -> Series:
    unordered = sum(later[0] < earlier[0] for earlier, later in pairwise(dated))
    kept: dict[datetime, dict[str, str]] = {}
    for moment, row in dated:
        kept.setdefault(moment, row)
    return Series(sorted(kept.items(), key=lambda item: item[0]), columns, unordered, len(dated) - len(kept))


def _dating(row: Mapping[str, str], path: Path) -> list[str]:
    """The cells that date a row."""
    for names in (("time",), ("year", "month", "day", "hour"), ("Date", "Time"), ("ym",)):
        if all(name in row for name in names):
            return [str(row[name]) for name in names]
    raise WrongArgument(f"{path}: a row needs time, or year, month, day and hour, or Date and Time, or ym")


def _moment(row: Mapping[str, str], path: Path, zone: tzinfo) -> datetime:
    cells = _dating(row, path)
    try:
        if len(cells) == 4:
            year, month, day, hour = map(int, cells)
            moment = datetime(year, month, day, hour, tzinfo=zone)
        elif len(cells) == 2:
            moment = datetime.strptime(" ".join(cells), "%m/%d/%Y %H:%M:%S").replace(tzinfo=zone)
        elif "ym" in row and "time" not in row:
            moment = datetime(int(cells[0][:-2]) + MINGUO, int(cells[0][-2:]), 1, tzinfo=zone)
        else:
            moment = datetime.fromisoformat(cells[0])
    except ValueError as error:
        raise WrongArgument(f'{path}: "{" ".join(cells)}" is no time') from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


# -- instruments that say what was recorded


@dataclass(slots=True)
class Recorded:
    """An instrument of the configuration whose values come from a series."""

    name: str
    units: Mapping[str, str]
    clock: ManualClock
    every_seconds: float
    ranges: Mapping[str, tuple[float, float]]
    rows: Iterator[tuple[datetime, Mapping[str, float | None]]]
    poll_minimum_seconds: float = 0.0
    actions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ahead: tuple[datetime, Mapping[str, float | None]] | None = None

    def read(self) -> Sequence[Sample]:
        """What was recorded since the last read, until now."""
        samples: list[Sample] = []
        while (row := self.ahead or next(self.rows, None)) is not None:
            if row[0] > self.clock.now():
                self.ahead = row
                break
            self.ahead = None
            samples += [self._sample(parameter, row[0], value) for parameter, value in row[1].items()]
        return samples

    def _sample(self, parameter: str, moment: datetime, value: float | None) -> Sample:
        if value is None:
            return Sample(parameter, moment, None, Mark.D, Reason.NO_VALUE)
        low, high = self.ranges.get(parameter, (-math.inf, math.inf))
        if value > high:
            return Sample(parameter, moment, value, Mark.T, Reason.ABOVE_RANGE)
        return Sample(parameter, moment, value, *((Mark.D, Reason.BELOW_RANGE) if value < low else ()))

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing can be done to a record."""
        raise WrongArgument("a recorded series cannot be told anything")

    def close(self) -> None:
        """Nothing to let go of."""


class _Line:
    def close(self) -> None:
        """Nothing to let go of."""


@dataclass(slots=True)
class Outcome:
    """What a replay came to."""

    rows: int = 0
    unordered: int = 0
    repeated: int = 0
    unreadable: int = 0
    readings: int = 0
    marks: dict[str, int] = field(default_factory=dict)
    averages: dict[str, int] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    begin: str = ""
    end: str = ""
    simulated_seconds: float = 0.0


def replay(loaded: Loaded, series: Series, columns: Sequence[Column], folder: Path) -> Outcome:
    """Run *series* through the station of *loaded* into a new store in *folder*; raise WrongArgument, StoreError."""
    check_folder(folder)
    if (folder / "station.db").exists():
        raise StoreError(f"{folder / 'station.db'}: is there already; a replay wants a folder of its own")
    config = loaded.config
    station = replace(config.station, data_folder=str(folder.resolve()))
    here = replace(loaded, config=replace(config, station=station))
    first, last = series.rows[0][0], series.rows[-1][0]
    outcome = Outcome(rows=len(series.rows), unordered=series.unordered, repeated=series.repeated)
    clock = ManualClock(period_start(Kind.MINUTE, first, loaded.zone))
    buses = _buses(here, series, columns, clock, outcome)
    store = Store.open(here.database)
    engine = Engine(here, store, clock, buses=buses, uplinks=_uplinks(here, clock), trusted=lambda: "host")
    _run(engine, clock, [moment for moment, _ in series.rows], timedelta(seconds=series.spacing))
    _count(store, engine, outcome)
    outcome.begin, outcome.end = (m.astimezone(loaded.zone).isoformat() for m in (first, last))
    outcome.simulated_seconds = (clock.now() - first).total_seconds()
    engine.shut_down()
    return outcome


def _run(engine: Engine, clock: ManualClock, rows: Sequence[datetime], spacing: timedelta) -> None:
    """Every row at its time and every minute closed when it is over, until the last row's own time is.

    Rows a day or more apart are results and no running measurement: the station sleeps between them.
    """
    delay = timedelta(seconds=engine.config.station.closing_delay_seconds)
    minute = period_start(Kind.MINUTE, rows[0], engine.loaded.zone) + MINUTE
    end = rows[-1] + min(spacing, AWAKE) + delay
    tasks = [(poller, task) for poller in engine.pollers for task in poller.tasks]
    number = 0
    while minute + delay <= end:
        while number < len(rows) and rows[number] < minute:
            clock.advance(max(0.0, (rows[number] - clock.now()).total_seconds()))
            for poller, task in tasks:
                poller.poll(task)
            number += 1
        clock.advance((minute + delay - clock.now()).total_seconds())
        engine.tick()
        minute += MINUTE
        if spacing > AWAKE and number < len(rows) and minute > rows[number - 1] + AWAKE:
            minute = period_start(Kind.MINUTE, rows[number], engine.loaded.zone) + MINUTE


def _buses(
    loaded: Loaded, series: Series, columns: Sequence[Column], clock: ManualClock, outcome: Outcome
) -> list[tuple[Any, list[Recorded], _Line]]:
    from drivers.bus import Bus

    known = {device.name: device for bus in loaded.config.bus for device in bus.device}
    for column in columns:
        if column.device not in known:
            raise WrongArgument(f'there is no device "{column.device}"{did_you_mean(column.device, known)}')
        if column.name not in series.columns:
            raise WrongArgument(f'the series has no column "{column.name}"{did_you_mean(column.name, series.columns)}')
    buses = []
    for bus in loaded.config.bus:
        line, made = Bus(bus), []
        for settings in bus.device:
            real = make_device(settings, line, loaded.profile_folders)
            chosen = {c.parameter: c for c in columns if c.device == settings.name}
            for parameter in chosen:
                if parameter not in real.units:
                    hint = did_you_mean(parameter, real.units)
                    raise WrongArgument(f'"{settings.name}" does not measure {parameter}{hint}')
            rows = _values(series, chosen, outcome)
            units = {parameter: real.units[parameter] for parameter in chosen}
            made.append(Recorded(settings.name, units, clock, series.spacing, _ranges(real), rows))
        punctual = tuple(replace(one, closing_delay_minutes=0.0) for one in bus.device)  # nothing of a record is late
        buses.append((replace(bus, device=punctual), made, _Line()))
    return buses


def _ranges(device: Any) -> dict[str, tuple[float, float]]:
    """What the instrument's profile believes, where it has one."""
    registers = getattr(getattr(device, "_profile", None), "registers", ())
    return {r.parameter: tuple(r.range) for r in registers if getattr(r, "range", None)}


def _values(
    series: Series, columns: Mapping[str, Column], outcome: Outcome
) -> Iterator[tuple[datetime, Mapping[str, float | None]]]:
    for moment, row in series.rows:
        found: dict[str, float | None] = {}
        for parameter, column in columns.items():
            text = (row[column.name] or "").strip()
            if text in GAP:
                continue
            value = COMPASS.get(text)
            try:
                found[parameter] = float(text) * column.factor if value is None else value
            except ValueError:
                outcome.unreadable += 1
                found[parameter] = None
        yield moment, found


def _uplinks(loaded: Loaded, clock: ManualClock) -> list[tuple[Any, Any]]:
    """The configured platforms, which word their messages and are never connected to."""
    context = Context(
        catalogue=catalogue(),
        zone=loaded.zone,
        now=clock.now,
        monotonic=clock.monotonic,
        secret=lambda name: "000000",
        started=clock.now(),
        where=loaded.file,
    )
    return [(s, resolve(UPLINKS[s.protocol])(s, context, loaded.systems)) for s in loaded.config.uplink]


def _count(store: Store, engine: Engine, outcome: Outcome) -> None:
    outcome.readings = store.newest("reading")
    rows = store.query("SELECT mark & 7, count(*) FROM reading GROUP BY mark & 7")
    outcome.marks = {Mark(mark).name: count for mark, count in rows}
    rows = store.query("SELECT kind, count(*) FROM average GROUP BY kind")
    outcome.averages = {Kind(kind).name.lower(): count for kind, count in rows}
    outcome.messages = dict(Counter({s.outbox.name: s.outbox.depth().owed for s in engine.senders}))
