"""Five-minute means of furnace temperatures, for the platforms that take them (CN 2111 of HJ 212-2025, B).

Rolled up from the stored minutes, as minute records of several minutes are, and not stored by themselves: what was
told is frozen with the message, and what late readings change is reckoned anew.  Loaded only where it is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from station.clock import period_start
from station.model import Kind, Report, replace
from station.periods import Periods
from station.poller import Task
from station.store import Store

PARAMETER = "furnace_temperature"
LENGTH = timedelta(minutes=5)


def measured_at(tasks: Mapping[str, Task]) -> set[str]:
    """The points where a furnace's temperature is measured."""
    return {task.point(PARAMETER) for task in tasks.values() if PARAMETER in task.device.units}


class FurnaceMeans:
    """Makes the means of *points*, from the one that has the next minute to be closed on."""

    def __init__(self, store: Store, periods: Periods, zone: tzinfo, points: Iterable[str]) -> None:
        self._store, self._periods, self._zone, self._points = store, periods, zone, sorted(points)
        self.begin()

    def begin(self) -> None:
        """Go on where the minutes do."""
        self._next = self._proposed = self._aligned(self._periods.next[Kind.MINUTE])

    def _aligned(self, moment: datetime) -> datetime:
        """Start of the five minutes of the station's day that *moment* lies in."""
        midnight = period_start(Kind.DAY, moment, self._zone)
        return midnight + (moment - midnight) // LENGTH * LENGTH

    def clock_went_back(self, now: datetime) -> None:
        """Go on with the five minutes of now; what is closed for the second time becomes a new version."""
        self._next = min(self._next, self._aligned(now))

    def closed(self, until: datetime) -> Iterator[Report]:
        """Inside a transaction: what ended by *until*, the end of the minutes that are closed."""
        start = self._next
        while start + LENGTH <= until:
            reports = self._means(start)
            yield from reports
            start += LENGTH
            if not reports:  # after days without a disk, or switched off: jumped over, not walked through
                first = self._store.first_average(Kind.MINUTE, start, self._points)
                start = max(start, self._aligned(min(first or until, until)))
        self._proposed = start

    def committed(self) -> None:
        """What was closed last is durable."""
        self._next = self._proposed

    def revised(self, late: Iterable[Report]) -> Iterator[tuple[Report, bool]]:
        """Inside a transaction: later versions for the *late* minutes, and whether nothing was known of them before."""
        changed: dict[tuple[datetime, str], list[Report]] = {}
        for report in late:
            hot = any(one.parameter == PARAMETER for one in report.averages)
            if hot and report.kind is Kind.MINUTE and report.point in self._points:
                changed.setdefault((self._aligned(report.start), report.point), []).append(report)
        for (start, point), minutes in sorted(changed.items(), key=lambda item: item[0]):
            if start + LENGTH > self._next:
                continue
            stored = self._store.averages(Kind.MINUTE, start, start + LENGTH, point)
            news = len(stored) == len(minutes) and all(report.version == 1 for report in minutes)
            for report in self._means(start, (point,)):
                yield replace(report, version=max(2, report.version)), news

    def _means(self, start: datetime, points: Sequence[str] = ()) -> list[Report]:
        found = []
        for report in self._periods.rolled(Kind.MINUTE, Kind.MINUTE, start, LENGTH):
            averages = tuple(one for one in report.averages if one.parameter == PARAMETER)
            if averages and report.point in (points or self._points):
                found.append(Report(Kind.FURNACE, report.point, start, averages, report.version))
        return found
