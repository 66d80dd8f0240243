"""When the hours and days of slow instruments are closed: behind their own delay, beside those of all others.

An analyser dates its result to its sampling and has it an hour later.  So the hours and days of what it measures are
closed when a result of theirs can no longer come (drivers/base.py, closing_delay); everything else at its point is
closed at once, without it.  Nothing of this is stored: which periods wait is told by the stored ones, and a period
that is closed again as it was makes no version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from station.model import Average, Kind, Report, replace
from station.periods import LONGER, made_of
from station.poller import Task

NONE = timedelta(0)


class Delays:
    """How long each (point, parameter) of *tasks* waits, and how far the periods of each delay are closed."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._of: dict[tuple[str, str], timedelta] = {}
        for task in tasks:
            if task.closing_seconds:
                delay = timedelta(seconds=task.closing_seconds)
                self._of |= {(task.point(parameter), parameter): delay for parameter in task.device.units}
        self._points = {point for point, _ in self._of}
        self._next: dict[timedelta, dict[Kind, datetime]] = {delay: {} for delay in sorted(set(self._of.values()))}
        self._proposed: dict[timedelta, dict[Kind, datetime]] = {}

    def __iter__(self) -> Iterator[timedelta]:
        return iter(self._next)

    def of(self, series: Iterable[tuple[str, str]]) -> timedelta:
        """The longest delay among *series*, each a point and a parameter."""
        return max((self._of.get(one, NONE) for one in series), default=NONE)

    def begin(self, delay: timedelta, kind: Kind, start: datetime) -> None:
        """The periods of *kind* that wait for *delay* are closed up to *start*."""
        self._next[delay][kind] = start

    def following(self, delay: timedelta, kind: Kind) -> datetime:
        """The period of *kind* that is closed next behind *delay*; inside a commit as that commit leaves it."""
        return self._proposed.get(delay, self._next[delay]).get(kind, self._next[delay][kind])

    def propose(self, delay: timedelta, upto: Mapping[Kind, datetime]) -> None:
        """What the commit under way closes; in force when it is durable."""
        self._proposed[delay] = dict(upto)

    def forget(self) -> None:
        """What was proposed came to nothing: the commit is made anew."""
        self._proposed = {}

    def committed(self) -> None:
        """What was proposed is durable."""
        for delay, upto in self._proposed.items():
            self._next[delay] |= upto
        self._proposed = {}

    def went_back(self, present: Mapping[Kind, datetime]) -> None:
        """The clock was set back: go on with the *present* periods."""
        for upto in self._next.values():
            upto |= {kind: min(at, present[kind]) for kind, at in upto.items()}

    def without_waiting(self, report: Report, known: Report | None, end: datetime, ready: datetime) -> Report:
        """*report* of a period that ended at *end*; what still waits at *ready* stays as it is *known*, if it is."""
        if report.kind not in LONGER or report.point not in self._points:
            return report
        late = {
            parameter for (point, parameter), delay in self._of.items() if point == report.point and end + delay > ready
        }
        late |= {a.parameter for a in report.averages if made_of(a.parameter) in late}
        if not late:
            return report
        kept = [a for a in (known.averages if known else ()) if a.parameter in late]
        averages: list[Average] = [a for a in report.averages if a.parameter not in late] + kept
        return replace(report, averages=tuple(sorted(averages, key=lambda a: a.parameter)))
