"""Which minutes, hours and days are over, and what their readings come to.

A period is closed once; readings that come late, or a clock that was set back, close it again as a
new version beside the first (design rule 6).  Everything is a query over what is stored, so what a
crash left open is closed by the next start.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from station import average
from station.average import Input, Use
from station.clock import EPOCH, period_length, period_start
from station.config import PointSettings
from station.marks import HandMarks
from station.model import Average, Averaging, Kind, Mark, Reading, Record, Report, replace
from station.parameters import catalogue
from station.poller import Task
from station.store import Store

if TYPE_CHECKING:
    from station.closing import Delays
    from station.counter import Exchange, Exchanges

log = logging.getLogger(__name__)

KINDS = (Kind.MINUTE, Kind.HOUR, Kind.DAY)
LONGER = (Kind.HOUR, Kind.DAY)  # a minute takes a slow result when it comes
BELOW = {Kind.HOUR: Kind.MINUTE, Kind.DAY: Kind.HOUR}
USE_OF = {"22": "air", "31": "flue-gas", "39": "site-dust"}  # by system code, where the configuration names none
WATER = ("21", "24", "26", "32", "33", "52")
DISCHARGES = ("31", "32")  # flue gas, waste water: station/discharge.py
CALM = 0.3  # m/s: below it a vane tells nothing; 0.2 to 0.3 in practice (medium)
MOST_PERIODS = 120  # closed in one commit; after days without a disk the next commits close the rest
EPOCH_END = datetime.max.replace(tzinfo=UTC)
NEXT_VALUE = timedelta(hours=2)  # within which a counter's next value is looked for behind one that came late
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
        *,
        wind_mean: str = "weighted",
    ) -> None:
        self._store, self._points, self._zone, self._tasks = store, points, zone, tasks
        self._uses = {point.code: use_of(point) for point in points}
        self._references = {point.code: point.reference_oxygen for point in points}
        self._wind_mean = wind_mean
        self.marks = HandMarks()  # set by people, beside what instruments and lines say
        self._exchanges: Exchanges | None = None  # of meters, declared by people
        self._late: set[datetime] = set()  # starts of minutes that readings came too late for
        self._touched: list[tuple[datetime, datetime]] = []  # spells of minutes whose marks have changed
        self.raw_from: datetime | None = None  # raw readings from before this have left: nothing is closed anew of them
        self._reopened: datetime | None = None  # up to where minutes are closed again in the commit under way
        self._paces = {
            (task.point(parameter), parameter): task.pace_seconds
            for task in tasks.values()
            for parameter in task.device.units
        }
        self._floors: deque[tuple[datetime, int]] = deque(maxlen=256)
        self.begin(started)

    def begin(self, started: datetime) -> None:
        """Go on behind what is stored; once more when it is known at last when the station *started*."""
        self.next = {kind: self._first(kind, started) for kind in KINDS}
        self._delays = self._slow()

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

    def _slow(self) -> Delays | None:
        """When the hours and days of slow instruments are closed, where there are any; loaded only then."""
        if not any(task.closing_seconds for task in self._tasks.values()):
            return None
        from station.closing import Delays

        made = Delays(self._tasks.values())
        for delay in made:
            for kind in LONGER:  # the oldest period that may have waited for its results when the station was stopped
                start = period_start(kind, self.next[kind] - delay, self._zone)
                made.begin(delay, kind, min(self.next[kind], start))
        return made

    def due(self, ready: datetime) -> bool:
        """Whether a minute ended by *ready*."""
        return self.next[Kind.MINUTE] + period_length(Kind.MINUTE) <= ready

    def clock_went_back(self, now: datetime) -> None:
        """Go on with the present period; what is closed for the second time becomes a new version."""
        present = {kind: period_start(kind, now, self._zone) for kind in KINDS}
        self.next = {kind: min(at, present[kind]) for kind, at in self.next.items()}
        if self._delays is not None:
            self._delays.went_back(present)

    def touch(self, first: datetime, last: datetime | None) -> None:
        """What is closed from *first* to before *last* is to be closed again: its marks have changed."""
        oldest = max(filter(None, (self._store.oldest_period(Kind.MINUTE), self.raw_from)), default=None)
        end = min(last or EPOCH_END, self.next[Kind.MINUTE])
        if oldest is not None and (start := max(period_start(Kind.MINUTE, first, self._zone), oldest)) < end:
            self._touched.append((start, end))

    def came_late(self, hours: Iterable[datetime]) -> None:
        """Readings came too late for these *hours* before the start, which were not closed again yet."""
        for hour in hours:
            self.touch(hour, hour + period_length(Kind.HOUR))

    def load_exchanges(self, started: datetime) -> None:
        """Take the exchanges of meters there are; one declared while no station ran is worked in now."""
        from station.counter import LONGEST, in_store

        self._exchanges = in_store(self._store)
        for one in self._exchanges:
            if started - one.at < LONGEST:
                self._exchanged(one)

    def take_exchange(self, record: Record) -> None:
        """Enter an exchange of meters or its withdrawal; what it changes is closed again."""
        from station.counter import Exchanges

        if self._exchanges is None:
            self._exchanges = Exchanges()
        if (one := self._exchanges.take(record)) is not None:
            self._exchanged(one)

    def _exchanged(self, one: Exchange) -> None:
        """The minute in which the new meter of *one* was read first is to be closed again, where it is closed."""
        from station.counter import NEAR, first_of_new

        end = min(one.at + NEAR, self.next[Kind.MINUTE])
        if catalogue()[one.parameter].averaging is Averaging.SUM and one.at < end:
            since = one.at - NEAR
            before = self._store.normal_values(one.point, one.parameter, since, one.at, self._floor(since))
            found = sorted(self._store.normal_values(one.point, one.parameter, one.at, end, self._floor(one.at)))
            last = max(before)[1] if before else None
            if found:
                seen = first_of_new(found, last, one) or found[0][0]
                self._late.add(period_start(Kind.MINUTE, seen, self._zone))

    @property
    def behind(self) -> bool:
        """Whether minutes wait to be closed again."""
        return bool(self._late or self._touched)

    @property
    def left(self) -> tuple[list[datetime], bool]:
        """What the commit under way leaves: hours that readings came too late for, and whether marks wait, too."""
        done = self._reopened or EPOCH
        late = {period_start(Kind.HOUR, start, self._zone) for start in self._late if start >= done}
        return sorted(late), any(last > done for _, last in self._touched)

    def committed(self, upto: Mapping[Kind, datetime], now: datetime, readings: Iterable[Reading]) -> None:
        """After the commit that held *readings*: *upto* is closed."""
        self.next = {**self.next, **upto}
        if self._delays is not None:
            self._delays.committed()
        if (done := self._reopened) is not None:
            self._late = {start for start in self._late if start >= done}
            self._touched = [(max(first, done), last) for first, last in self._touched if last > done]
            self._reopened = None
        youngest = max((r.time for r in readings), default=now)
        before = self._floors[-1][0] if self._floors else now  # a clock set back makes nothing younger older
        self._floors.append((max(now, youngest, before), self._store.newest("reading")))

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
                reports += self._store_new(self._closed(kind, start), ready)
                start += length
            upto[kind] = start
        return reports, upto

    def close_waiting(self, ready: datetime, upto: Mapping[Kind, datetime]) -> list[Report]:
        """Inside a transaction, behind `close`, which came *upto*: hours and days whose slow results are in."""
        if self._delays is None:
            return []
        reports: list[Report] = []
        self._delays.forget()
        for delay in self._delays:
            done: dict[Kind, datetime] = {}
            for kind in LONGER:
                start, length = self._delays.following(delay, kind), period_length(kind)
                until = min(ready - delay, start + MOST_PERIODS * length, upto[kind], done.get(BELOW[kind], ready))
                while start + length <= until:
                    reports += self._store_new(self._closed(kind, start), ready)
                    start += length
                done[kind] = start
            self._delays.propose(delay, done)
        return reports

    def closed_for(self, kind: Kind, series: Iterable[tuple[str, str]], upto: Mapping[Kind, datetime]) -> datetime:
        """Up to where periods of *kind* are closed for *series* (points and parameters); for all others *upto*."""
        delay = self.delay(series) if kind in LONGER else None
        return min(upto[kind], self._delays.following(delay, kind)) if delay and self._delays else upto[kind]

    def delay(self, series: Iterable[tuple[str, str]]) -> timedelta:
        """How much later than others hours and days of *series* (points and parameters) are closed."""
        return timedelta() if self._delays is None else self._delays.of(series)

    def reopen(self, readings: Iterable[Reading], ready: datetime) -> list[Report]:
        """Inside a transaction: close again what *readings* came too late for, and what was touched; the new versions.

        An hour's minutes at a time, and a day once all of its minutes are done: each gets one new version.
        """
        minute, self._reopened = period_length(Kind.MINUTE), None
        self._late.update(self._too_late(readings))
        earliest = min([*self._late, *(first for first, _ in self._touched)], default=None)
        if earliest is None:
            return []
        hour = period_start(Kind.HOUR, earliest, self._zone)
        end = self._reopened = hour + period_length(Kind.HOUR)
        late = {start for start in self._late if start < end}
        for first, last in self._touched:
            late.update(start for n in range(60) if first <= (start := hour + n * minute) < last)
        day = period_start(Kind.DAY, hour, self._zone)
        tomorrow = day + period_length(Kind.DAY)
        rest = any(end <= start < tomorrow for start in self._late)
        rest = rest or any(first < tomorrow and last > end for first, last in self._touched)
        found: dict[datetime, list[Reading]] = {}
        first, behind = min(late), max(late) + minute
        for reading in self._store.readings(first, behind, self._floor(first)):  # once for all of its minutes
            found.setdefault(period_start(Kind.MINUTE, reading.time, self._zone), []).append(reading)
        reports: list[Report] = []
        for start in sorted(late):
            if start < self.next[Kind.MINUTE]:
                reports += self._store_new(self._minute(start, found.get(start, ())), ready)
        for kind, starts in ((Kind.HOUR, [hour]), (Kind.DAY, [] if rest else [day])):
            for start in (s for s in starts if s < self.next[kind]):
                reports += self._store_new(self._closed(kind, start), ready)
        return reports

    def _too_late(self, readings: Iterable[Reading]) -> set[datetime]:
        """Closed minutes that *readings* belong to, and where a counter was read, the minute its next value is in:

        what it rose since is less than was thought.
        """
        late: set[datetime] = set()
        counters: dict[tuple[str, str], set[datetime]] = {}
        for reading in readings:
            start = period_start(Kind.MINUTE, reading.time, self._zone)
            if start >= self.next[Kind.MINUTE]:
                continue
            late.add(start)
            known = catalogue().get(reading.parameter)
            if known is not None and known.averaging is Averaging.SUM:
                counters.setdefault((reading.point, reading.parameter), set()).add(start)
        for (point, parameter), starts in counters.items():
            for start in starts:
                after = start + period_length(Kind.MINUTE)
                found = self._store.normal_values(point, parameter, after, after + NEXT_VALUE, self._floor(after))
                following = period_start(Kind.MINUTE, min(at for at, _ in found), self._zone) if found else after
                if following < self.next[Kind.MINUTE]:
                    late.add(following)
        return late

    def _store_new(self, reports: Iterable[Report], ready: datetime) -> list[Report]:
        """Append *reports* as first or next versions; what is stored already word for word is left out.

        So is what still waits for slow results at *ready*, where nothing is known of it yet.
        """
        stored = []
        for made in reports:
            known = self._store.average(made.kind, made.point, made.start)
            report = made
            if self._delays is not None:
                report = self._delays.without_waiting(made, known, made.start + period_length(made.kind), ready)
            if not report.averages or (known is not None and known.averages == report.averages):
                continue
            new = report
            if known is not None:
                from station.revisions import added

                new = replace(report, version=known.version + 1, added=added(report, known))
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
            return self._minute(start, self._store.readings(start, start + period_length(kind), self._floor(start)))
        return self.rolled(kind, BELOW[kind], start, period_length(kind))

    def rolled(self, kind: Kind, below: Kind, start: datetime, length: timedelta) -> list[Report]:
        """The report of each point over *length* from *start*, from its averages of *below*."""
        reports = []
        for point in self._points:
            shorter = self._store.averages(below, start, start + length, point.code)
            averages = self._rolled(point, below, shorter, length)
            if kind is not below:
                averages += self._derived(kind, point.code, start, length, shorter, averages)
            averages = self._discharged(point, kind, averages, start, length, shorter)
            if averages:
                same = kind is below  # several minutes made one
                minutes = length // period_length(Kind.MINUTE) if same else 1
                version = max(report.version for report in shorter) if same else 1
                ordered = tuple(sorted(averages, key=lambda a: a.parameter))
                reports.append(Report(kind, point.code, start, ordered, version, minutes=minutes))
        return reports

    def _rolled(self, point: PointSettings, below: Kind, shorter: Sequence[Report], length: timedelta) -> list[Average]:
        parts: dict[str, list[tuple[Average, float]]] = {}
        by_flow = self._by_flow(point, below, shorter)
        for number, report in enumerate(shorter):
            speeds = [a.mean for a in report.averages if a.parameter == "wind_speed"]
            for one in report.averages:
                weight = self._weight(one.parameter, speeds) * by_flow(one.parameter, number)
                parts.setdefault(one.parameter, []).append((one, weight))
        made = []
        for parameter, some in parts.items():
            rolled = average.roll_up(
                parameter,
                catalogue()[parameter].averaging,
                [one for one, _ in some],
                expected_inputs=self._due(below, length, point.code, parameter),
                strict=self._uses[point.code].strict,
                valid=self._validity(point.code, parameter, below),
                weights=[weight for _, weight in some],
            )
            made.append(rolled)
        return made

    def _by_flow(self, point: PointSettings, below: Kind, shorter: Sequence[Report]) -> Callable[[str, int], float]:
        """How much each of *shorter* counts for a parameter: by its flow, at a discharge that has one."""
        if point.st not in DISCHARGES:
            return lambda parameter, part: 1.0
        from station import discharge  # only at outfalls and stacks

        cycles = self._cycles(point.code) if below is Kind.HOUR else {}
        return discharge.weigher(point, shorter, period_length(below), cycles)

    def _cycles(self, point: str) -> dict[str, timedelta]:
        """How long a result of the instruments at *point* that have no more than one an hour holds."""
        return {
            parameter: timedelta(seconds=pace)
            for (where, parameter), pace in self._paces.items()
            if where == point and pace >= period_length(Kind.HOUR).total_seconds()
        }

    def _discharged(
        self, point: PointSettings, kind: Kind, averages: list[Average],
        start: datetime, length: timedelta, shorter: Sequence[Report],
    ) -> list[Average]:  # fmt: skip
        """*averages* with loads and values at reference oxygen, at a discharge."""
        if point.st not in DISCHARGES or not averages:
            return averages
        from station import discharge

        parts: Sequence[Sequence[Average]] = [report.averages for report in shorter]
        if kind is Kind.DAY and (cycles := self._cycles(point.code)):
            before = self._store.averages(Kind.HOUR, start - max(cycles.values()), start, point.code)
            parts = discharge.held_loads(point, [*before, *shorter], start, cycles)
        averages = discharge.with_loads(point, kind, averages, length, parts)
        if not parts:
            return discharge.converted(point, averages)
        below = BELOW.get(kind, Kind.MINUTE)
        return discharge.rolled(averages, parts, lambda one: self._validity(point.code, one.parameter, below)(one))

    def _validity(self, point: str, parameter: str, kind: Kind) -> Callable[[Average], bool]:
        """Whether an average over a period of *kind* may enter a longer one."""
        use, due = self._uses[point], self._due(Kind.MINUTE, period_length(kind), point, parameter)
        return lambda one: use.valid(one, kind, due)

    def holds(self, one: Average, point: str, length: timedelta) -> bool:
        """Whether *one*, over *length* at *point*, holds by the point's capture rule."""
        use, minute = self._uses[point], period_length(Kind.MINUTE)
        if length <= minute:
            return use.valid(one, Kind.MINUTE, 1)
        kind = Kind.HOUR if length <= period_length(Kind.HOUR) else Kind.DAY
        return use.valid(one, kind, self._due(BELOW[kind], length, point, one.parameter))

    def _weight(self, parameter: str, speeds: Sequence[float | None]) -> float:
        """How much a direction counts beside the wind speed of its time: nothing in a calm; others count alike."""
        if parameter != "wind_direction" or not speeds or speeds[0] is None:
            return 1.0
        return 0.0 if speeds[0] < CALM else speeds[0] if self._wind_mean == "weighted" else 1.0

    def _derived(
        self, kind: Kind, point: str, start: datetime, length: timedelta, shorter: Sequence[Report],
        averages: Sequence[Average],
    ) -> list[Average]:  # fmt: skip
        """Statistics of sound that the instrument does not deliver itself: of an hour's levels, of a day's hours."""
        found = {a.parameter: a for a in averages}
        base = found.get("noise") if kind is Kind.HOUR else found.get("noise_leq")
        if base is None:
            return []
        from station import noise  # only where sound is measured

        if kind is Kind.HOUR:
            levels = self._store.normal_values(point, "noise", start, start + length, self._floor(start))
            normal = [v for at, v in levels if self.marks.mark(point, "noise", at, Mark.N) is Mark.N]
            values = noise.statistics(normal)
        else:
            valid = self._validity(point, "noise_leq", Kind.HOUR)
            hours = {r.start: a for r in shorter for a in r.averages if a.parameter == "noise_leq" and valid(a)}
            values = noise.by_halves({at: a.mean for at, a in hours.items() if a.mean is not None}, self._zone)
        indicative = kind is Kind.HOUR or base.indicative
        return [
            replace(base, parameter=name, mean=value, minimum=None, maximum=None, indicative=indicative)
            for name, value in values.items()
            if name not in found
        ]

    def _due(self, below: Kind, length: timedelta, point: str, parameter: str) -> int:
        """How many periods of *below* in *length* have a value: not every one where the instrument is slower."""
        slow = self._paces.get((point, parameter), self._paces.get((point, made_of(parameter)), 0.0))
        return due(below, length, slow)

    def _minute(self, start: datetime, readings: Iterable[Reading]) -> list[Report]:
        found: dict[str, dict[str, list[Reading]]] = {}
        for reading in readings:
            if reading.parameter in catalogue():
                found.setdefault(reading.point, {}).setdefault(reading.parameter, []).append(reading)
        return [
            Report(
                Kind.MINUTE,
                point.code,
                start,
                tuple(self._minute_averages(point, found[point.code], start)),
            )
            for point in self._points
            if point.code in found
        ]

    def beside(self, point: str, values: Sequence[Average]) -> Sequence[Average]:
        """The newest *values* of *point* with what belongs beside them: concentrations at reference oxygen."""
        if self._references.get(point) is None:
            return values
        from station import discharge

        return discharge.converted(next(p for p in self._points if p.code == point), values)

    def _minute_averages(
        self, point: PointSettings, found: Mapping[str, Sequence[Reading]], start: datetime
    ) -> list[Average]:
        averages = [self._minute_average(parameter, found, start, point.code) for parameter in sorted(found)]
        return self._discharged(point, Kind.MINUTE, averages, start, period_length(Kind.MINUTE), ())

    def _minute_average(
        self, parameter: str, found: Mapping[str, Sequence[Reading]], start: datetime, point: str
    ) -> Average:
        rule, readings = catalogue()[parameter].averaging, sorted(found[parameter], key=lambda r: r.time)
        device = readings[-1].device
        task = self._tasks.get(device)
        # Rounded down: an interval that does not divide the minute gives now one reading more, now one less.
        expected = max(1, int(60 // task.pace_seconds)) if task else len(readings)
        if task:  # a wiper takes nothing out of a mean
            expected = max(1, expected - task.spared_between(parameter, start, start + period_length(Kind.MINUTE)))
        vector = rule is Averaging.VECTOR
        speed = _speeds([r for r in found.get("wind_speed", ()) if self._mark(r) is Mark.N] if vector else [])
        normal = [(r.time, r.value) for r in readings if r.value is not None and self._mark(r) is Mark.N]
        made = average.close(
            parameter,
            rule,
            [Input(r.value, self._mark(r), weight=self._weight(parameter, speed(r.time))) for r in readings],
            expected_inputs=expected,  # a reading that was due and is not there is no normal one
            expected=expected,
            strict=self._uses[point].strict,
            before=self._stand_before(device, parameter, start, normal) if rule is Averaging.SUM else None,
        )
        if rule is not Averaging.SUM or made.mean is None:
            return made
        counted = self._counted(point, parameter, device, normal, start)
        return made if counted is None else replace(made, mean=counted)

    def _stand_before(
        self, device: str, parameter: str, start: datetime, stands: Sequence[tuple[datetime, float]]
    ) -> float | None:
        """The last value of a counter ahead of the *stands* of a minute; a single 0 is passed over (counter.py)."""
        known = self._known_before(device, parameter, start)
        if len(known) == 2 and stands and stands[0][1] >= known[0][1]:
            return known[0][1]
        return known[-1][1] if known else None

    def _known_before(self, device: str, parameter: str, start: datetime) -> list[tuple[datetime, float]]:
        """The last stand of a counter ahead of *start*; where that is 0 the one before it, too."""
        last = self._store.last_stand(device, parameter, start)
        if last is None:
            return []
        earlier = self._store.last_stand(device, parameter, last[0]) if last[1] == 0.0 else None
        return [last] if earlier is None else [earlier, last]

    def _counted(
        self, point: str, parameter: str, device: str, stands: list[tuple[datetime, float]], start: datetime
    ) -> float | None:
        """What a counter rose over exchanges and roll-overs; None where it has neither."""
        exchanges = [] if self._exchanges is None else self._exchanges.of(point, parameter)
        task = self._tasks.get(device)
        rollover = getattr(task.settings, "rollover", {}).get(parameter) if task else None
        if not exchanges and rollover is None:
            return None
        from station.counter import NEAR, rise

        known = self._known_before(device, parameter, start)
        before = known[-1] if known else None
        if before is None and exchanges:  # the new meter may have another name here
            since = start - NEAR
            found = self._store.normal_values(point, parameter, since, start, self._floor(since))
            before = max(found, default=None)
            known = [] if before is None else [before]
        recent = [one.at for one in exchanges if before is not None and one.at <= before[0] < one.at + NEAR]
        if recent and (old := self._store.last_stand(device, parameter, min(recent))) is not None:
            known = [old, *known]  # it tells whether what was read behind an exchange is the new meter's yet
        counted = rise(known, exchanges, rollover) or 0.0
        return round((rise([*known, *stands], exchanges, rollover) or 0.0) - counted, 9)

    def _mark(self, reading: Reading) -> Mark:
        """The effective mark of *reading*."""
        return self.marks.mark(reading.point, reading.parameter, reading.time, reading.mark)

    def _floor(self, start: datetime) -> int:
        """An id below which no reading is as young as *start*."""
        known = [number for at, number in self._floors if at < start]
        return max(known) if known else self._store.reading_floor(start)


def _speeds(readings: Sequence[Reading]) -> Callable[[datetime], Sequence[float | None]]:
    """The wind's speed of a moment within a minute's *readings*: that of the same read, else the nearest in time."""
    at = {reading.time: reading.value for reading in readings}

    def speed(moment: datetime) -> Sequence[float | None]:
        if not at:
            return ()
        return (at[moment if moment in at else min(at, key=lambda known: abs(known - moment))],)

    return speed


def due(below: Kind, length: timedelta, pace_seconds: float) -> int:
    """How many periods of *below* in *length* have a value, of an instrument that has one every *pace_seconds*.

    >>> [due(Kind.MINUTE, timedelta(hours=1), pace) for pace in (0.0, 5.0, 120.0, 3600.0, 7200.0)]
    [60, 60, 30, 1, 1]
    """
    whole = length // period_length(below)
    return min(whole, max(1, int(length.total_seconds() // pace_seconds))) if pace_seconds else whole


def made_of(parameter: str) -> str:
    """What *parameter* is reckoned from where no instrument delivers it.

    >>> made_of("noise_l90"), made_of("cod")
    ('noise', 'cod')
    """
    return "noise" if parameter.startswith("noise_") else parameter


def use_of(point: PointSettings) -> Use:
    """The rule of validity of *point*: its own, else that of its system code.

    >>> use_of(PointSettings(code="out", name="Outfall", st="32")) is average.USES["water"]
    True
    """
    return average.USES[point.use or USE_OF.get(point.st, "water" if point.st in WATER else "air")]
