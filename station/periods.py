"""Which minutes, hours and days are over, and what their readings come to.

A period is closed once; readings that come late, or a clock that was set back, close it again as a
new version beside the first (design rule 6).  Everything is a query over what is stored, so what a
crash left open is closed by the next start.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from station import average
from station.average import Input
from station.clock import period_length, period_start
from station.config import PointSettings
from station.model import Average, Averaging, Kind, Reading, Report, replace
from station.parameters import catalogue
from station.poller import Task
from station.store import Store

log = logging.getLogger(__name__)

KINDS = (Kind.MINUTE, Kind.HOUR, Kind.DAY)
BELOW = {Kind.HOUR: Kind.MINUTE, Kind.DAY: Kind.HOUR}
WATER = ("21", "24", "26", "32", "33", "52")  # system codes whose roll-up is strict
MOST_PERIODS = 120  # closed in one commit; after days without a disk the next commits close the rest
MOST_REOPENED = 60  # minutes closed again in one commit
EMPTY_SPELL = timedelta(hours=2)  # a longer one is jumped over, not walked through


class Periods:
    """Closes the periods of *points* over *store*; *tasks* tell how many readings were due."""

    def __init__(
        self,
        store: Store,
        points: Sequence[PointSettings],
        zone: tzinfo,
        tasks: Mapping[str, Task],
        started: datetime,
    ) -> None:
        self._store, self._points, self._zone, self._tasks = store, points, zone, tasks
        self._paces = {
            (task.point(parameter), parameter): task.pace_seconds
            for task in tasks.values()
            for parameter in task.device.units
        }
        self._floors: deque[tuple[datetime, int]] = deque(maxlen=256)
        self.next = {kind: self._first(kind, started) for kind in KINDS}

    def _first(self, kind: Kind, started: datetime) -> datetime:
        """The period to close next: behind the newest closed one, or behind the oldest unclosed reading.

        Periods closed under a clock that ran ahead do not hold up the present.
        """
        last = [t for p in self._points if (t := self._store.last_period(kind, p.code)) is not None]
        present = period_start(kind, started, self._zone)
        if last:
            return min(max(last) + period_length(kind), present)
        lower = BELOW.get(kind)
        oldest = self._store.oldest_period(lower) if lower else self._store.oldest_reading()
        return min(period_start(kind, oldest, self._zone), present) if oldest else present

    def due(self, ready: datetime) -> bool:
        """Whether a minute ended by *ready*."""
        return self.next[Kind.MINUTE] + period_length(Kind.MINUTE) <= ready

    def clock_went_back(self, now: datetime) -> None:
        """Go on with the present period; what is closed for the second time becomes a new version."""
        self.next = {kind: min(at, period_start(kind, now, self._zone)) for kind, at in self.next.items()}

    def committed(self, upto: Mapping[Kind, datetime], now: datetime, readings: Iterable[Reading]) -> None:
        """After the commit that held *readings*: *upto* is closed."""
        self.next = {**self.next, **upto}
        youngest = max((r.time for r in readings), default=now)
        self._floors.append((max(now, youngest), self._store.newest("reading")))

    def close(self, ready: datetime) -> tuple[list[Report], dict[Kind, datetime]]:
        """Inside a transaction: close what ended by *ready*; the reports stored, and what is to be closed next."""
        reports: list[Report] = []
        upto: dict[Kind, datetime] = {}
        for kind in KINDS:
            start, length = self.next[kind], period_length(kind)
            if kind is Kind.MINUTE:
                start = self._skip_empty(start, ready)
            until = min(ready, start + MOST_PERIODS * length, upto.get(BELOW.get(kind, kind), ready))
            while start + length <= until:
                reports += self._store_new(self._closed(kind, start))
                start += length
            upto[kind] = start
        return reports, upto

    def reopen(self, readings: Iterable[Reading]) -> list[Report]:
        """Inside a transaction: close again what *readings* came too late for; the new versions."""
        minutes = {period_start(Kind.MINUTE, r.time, self._zone) for r in readings}
        late = sorted(start for start in minutes if start < self.next[Kind.MINUTE])[:MOST_REOPENED]
        reports: list[Report] = []
        for kind in KINDS:
            starts = {period_start(kind, start, self._zone) for start in late}
            for start in sorted(s for s in starts if s < self.next[kind]):
                reports += self._store_new(self._closed(kind, start))
        return reports

    def _store_new(self, reports: Iterable[Report]) -> list[Report]:
        """Append *reports* as first or next versions; what is stored already word for word is left out."""
        stored = []
        for report in reports:
            known = self._store.average(report.kind, report.point, report.start)
            if known is not None and known.averages == report.averages:
                continue
            new = report if known is None else replace(report, version=known.version + 1)
            self._store.add_average(new)
            stored.append(new)
        return stored

    def _skip_empty(self, start: datetime, ready: datetime) -> datetime:
        """Jump over the minutes in which the station was off: nothing was measured, nothing is reported."""
        if ready - start < EMPTY_SPELL:
            return start
        after = self._store.first_reading_since(start)
        return period_start(Kind.MINUTE, min(after or ready, ready), self._zone)

    def _closed(self, kind: Kind, start: datetime) -> list[Report]:
        if kind is Kind.MINUTE:
            return self._minute(start)
        return self.rolled(kind, BELOW[kind], start, period_length(kind))

    def rolled(self, kind: Kind, below: Kind, start: datetime, length: timedelta) -> list[Report]:
        """The report of each point over *length* from *start*, from its averages of *below*."""
        reports = []
        for point in self._points:
            parts: dict[str, list[Average]] = {}
            version = 1
            for report in self._store.averages(below, start, start + length, point.code):
                version = max(version, report.version)
                for one in report.averages:
                    parts.setdefault(one.parameter, []).append(one)
            averages = [
                average.roll_up(
                    parameter,
                    catalogue()[parameter].averaging,
                    some,
                    expected_inputs=self._due(below, length, point.code, parameter),
                    strict=point.st in WATER,
                )
                for parameter, some in sorted(parts.items())
            ]
            if averages:
                same = kind is below  # several minutes made one
                minutes = length // period_length(Kind.MINUTE) if same else 1
                found = Report(kind, point.code, start, tuple(averages), version if same else 1, minutes=minutes)
                reports.append(found)
        return reports

    def _due(self, below: Kind, length: timedelta, point: str, parameter: str) -> int:
        """How many periods of *below* in *length* have a value: not every one where the instrument is slower."""
        whole = length // period_length(below)
        slow = self._paces.get((point, parameter), 0.0)
        return min(whole, max(1, int(length.total_seconds() // slow))) if slow else whole

    def _minute(self, start: datetime) -> list[Report]:
        found: dict[str, dict[str, list[Reading]]] = {}
        for reading in self._store.readings(start, start + period_length(Kind.MINUTE), self._floor(start)):
            if reading.parameter in catalogue():
                found.setdefault(reading.point, {}).setdefault(reading.parameter, []).append(reading)
        return [
            Report(
                Kind.MINUTE,
                point.code,
                start,
                tuple(
                    self._minute_average(parameter, readings, start, point.st)
                    for parameter, readings in sorted(found[point.code].items())
                ),
            )
            for point in self._points
            if point.code in found
        ]

    def _minute_average(self, parameter: str, readings: Sequence[Reading], start: datetime, st: str) -> Average:
        rule = catalogue()[parameter].averaging
        device = readings[-1].device
        task = self._tasks.get(device)
        # Rounded down: an interval that does not divide the minute gives now one reading more, now one less.
        expected = max(1, int(60 // task.pace_seconds)) if task else len(readings)
        if task:  # a wiper takes nothing out of a mean
            expected = max(1, expected - task.spared_between(parameter, start, start + period_length(Kind.MINUTE)))
        return average.close(
            parameter,
            rule,
            [Input(r.value, r.mark) for r in sorted(readings, key=lambda r: r.time)],
            expected_inputs=expected,  # a reading that was due and is not there is no normal one
            expected=expected,
            strict=st in WATER,
            before=self._store.last_value(device, parameter, start) if rule is Averaging.SUM else None,
        )

    def _floor(self, start: datetime) -> int:
        """An id below which no reading is as young as *start*."""
        known = [number for at, number in self._floors if at < start]
        return max(known) if known else self._store.reading_floor(start)
