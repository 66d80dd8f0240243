"""Where drivers, uplinks and store meet: start, tick, stop.

The main thread owns every commit.  One commit holds, in this order: the readings since the last one,
the averages of periods that ended, the messages made of both, and every platform's delivery state.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from threading import Condition, Event
from typing import Any

from drivers.base import Device
from drivers.bus import Bus
from station import average
from station.average import Input
from station.clock import Clock, boot_id, floor_to, period_length, period_start, to_ms, trust
from station.commands import CommandDesk
from station.config import BusConfig, Loaded, resolve
from station.model import Average, Averaging, Kind, Mark, Reading, Reason, Report, StoreError
from station.outbox import Depth, PlatformOutbox, sqlite_reader
from station.parameters import catalogue
from station.poller import Poller, Task
from station.recorder import Batch, Recorder
from station.sender import Sender
from station.store import SEQUENCE_BITS, Series, Store
from station.version import VERSION
from station.watchdog import Heartbeat, Watchdog, notify
from uplink import UPLINKS
from uplink.base import Backoff, Context, Uplink, UplinkSettings

log = logging.getLogger(__name__)

TURN = 1.0  # the main thread comes round at least this often
STEP_SECONDS = 2.0  # a wall clock that moves this far against the monotonic one was stepped
RETRY_SECONDS = 10.0  # after a commit that failed
PURGE_HOUR_SECONDS = 3600.0
BELOW = {Kind.HOUR: Kind.MINUTE, Kind.DAY: Kind.HOUR}
WATER = ("21", "24", "26", "32", "33", "52")  # system codes whose roll-up is strict
MOST_PERIODS = 120  # closed in one commit; after days without a disk the next commits close the rest
STOP_SECONDS = 7.0  # all threads together; the last commit still has to fit into ten
STALE_POLLS = 2  # a slow instrument counts as silent after this many of its own intervals


class Engine:
    """A running station.

    *store* and *clock* are injected; *buses* and *uplinks* replace the configured ones in tests.
    """

    def __init__(
        self,
        loaded: Loaded,
        store: Store,
        clock: Clock,
        *,
        buses: Sequence[tuple[BusConfig, Sequence[Device], Any]] | None = None,
        uplinks: Sequence[tuple[UplinkSettings, Uplink]] | None = None,
        reader: Any = None,
    ) -> None:
        self.loaded, self.config, self.store, self.clock = loaded, loaded.config, store, clock
        self.started = clock.now()
        self.stop = Event()
        self._wake = Event()
        self._commit_done, self._commits_begun, self._commits = Condition(), 0, 0
        self.recorder = Recorder()
        self.watchdog = Watchdog(clock.monotonic, notify)
        self._heart = self.watchdog.heart("main", 30)
        self._zone = loaded.zone
        self._latest: dict[tuple[str, str], Reading] = {}  # committed, by (point, parameter)
        self._young: list[Reading] = []  # committed, but younger than what is reported yet
        self._floors: deque[tuple[datetime, int]] = deque(maxlen=256)
        self._next: dict[Kind, datetime] = {}
        self._store_error = ""
        self._retry_at = 0.0
        self._purged_at = clock.monotonic()
        self._offset, self._stepped = self._wall_offset(), False
        self.pollers = [self._poller(*bus) for bus in (self._buses() if buses is None else buses)]
        self.tasks: dict[str, Task] = {t.device.name: t for p in self.pollers for t in p.tasks}
        self.series = self._all_series()
        uplinks = self._uplinks() if uplinks is None else uplinks
        self._settings = {settings.name: settings for settings, _ in uplinks}
        self.realtime = {settings.name: settings.realtime_seconds for settings, _ in uplinks}
        self.desk = CommandDesk(clock, self.realtime, self.note)
        self.senders = [self._sender(settings, uplink, reader) for settings, uplink in uplinks]
        self.commit_seconds = min([self.config.station.commit_seconds, *map(float, self.realtime.values())])
        self._register()

    # -- making the parts

    def _buses(self) -> Sequence[tuple[BusConfig, Sequence[Device], Any]]:
        made: list[tuple[BusConfig, Sequence[Device], Bus]] = []
        for settings in self.config.bus:
            line = Bus(settings)
            made.append((settings, self.loaded.devices(settings, line), line))
        return made

    def _poller(self, settings: BusConfig, devices: Sequence[Device], line: Any) -> Poller:
        heart = self.watchdog.heart(f"bus {settings.name}", 60)
        pairs = list(zip(devices, settings.device, strict=True))
        return Poller(settings.name, pairs, self.recorder, self.clock, self.stop, heart.beat, line.close)

    def _uplinks(self) -> list[tuple[UplinkSettings, Uplink]]:
        context = Context(
            catalogue=catalogue(),
            zone=self._zone,
            now=self.clock.now,
            monotonic=self.clock.monotonic,
            secret=self.loaded.secret,
            started=self.started,
        )
        made = []
        for settings in self.config.uplink:
            made.append((settings, resolve(UPLINKS[settings.protocol])(settings, context, self.loaded.systems)))
        return made

    def _sender(self, settings: UplinkSettings, uplink: Uplink, reader: Any) -> Sender:
        heart: Heartbeat = self.watchdog.heart(f"uplink {settings.name}", 60)
        outbox = PlatformOutbox(
            settings.name,
            self.store,
            reader or sqlite_reader(self.store.where),
            now=self.clock.now,
            urgent=self.hurry,
            beat=heart.beat,
            backlog_kinds=[Kind[kind.upper()] for kind in settings.backlog_kinds],
            horizon_seconds=self.config.station.commit_seconds + 15,
        )
        backoff = Backoff(longest=settings.reconnect_seconds)
        return Sender(uplink, outbox, self.desk, self.stop, heart.beat, self.note, backoff)

    def _all_series(self) -> dict[tuple[str, str], Series]:
        series = {}
        for name, task in self.tasks.items():
            shaped_by = json.dumps(asdict(task.settings), default=dict, sort_keys=True)
            digest = f"{zlib.crc32(shaped_by.encode()):08x}"
            for parameter in task.device.units:
                coefficients = task.coefficients(parameter)
                series[name, parameter] = Series(name, task.point(parameter), parameter, coefficients, digest)
        return series

    def _register(self) -> None:
        """Write what this start is: boot, clock, series, schedules, the power-on report."""
        self.store.begin_boot(boot_id())
        with self.store.transaction():
            self.store.add_clock(self.clock.monotonic(), self.clock.now(), trust())
            self.store.register(self.series.values())
            self._register_schedules()
        for kind in (Kind.MINUTE, Kind.HOUR, Kind.DAY):
            self._next[kind] = self._first_period(kind)
        self._next_realtime = self._realtime_after(self.started)
        self._shortest = min(self.realtime.values(), default=round(self.config.station.commit_seconds))
        self._next_silence = self.clock.monotonic() + self._shortest
        self._next_commit = self.clock.monotonic() + self.commit_seconds
        self.note("start", version=VERSION, trust=trust())
        self.commit(power_on=True)

    def _realtime_after(self, moment: datetime) -> dict[str, datetime]:
        """When each platform's next real-time data are due."""
        return {name: floor_to(moment, n) + timedelta(seconds=n) for name, n in self.realtime.items()}

    def _register_schedules(self) -> None:
        """What each platform is due, from when on, so that completeness can be reckoned by subtraction."""
        lengths = {"minute": 60, "hour": 3600, "day": 86400}
        for sender in self.senders:
            settings = self._settings[sender.outbox.name]
            for kind in settings.kinds:
                interval = lengths.get(kind, settings.realtime_seconds)
                for point in getattr(settings, "point", ()):
                    self.store.schedule(sender.outbox.id, point.point, Kind[kind.upper()], self.started, interval)

    def _first_period(self, kind: Kind) -> datetime:
        """The period to close next: behind the newest closed one, or behind the oldest unclosed reading."""
        last = [t for p in self.config.point if (t := self.store.last_period(kind, p.code)) is not None]
        if last:
            return max(last) + period_length(kind)
        lower = BELOW.get(kind)
        oldest = self.store.oldest_period(lower) if lower else self.store.oldest_reading()
        return period_start(kind, oldest or self.started, self._zone)

    # -- running

    def start(self) -> None:
        """Start the threads."""
        for thread in (*self.pollers, *self.senders):
            thread.start()
        notify("READY=1")

    def run(self) -> None:
        """Tick until stopped, then make everything durable."""
        self.start()
        try:
            while not self.stop.is_set():
                self.tick()
                self._wake.wait(self._pause())
                self._wake.clear()
        finally:
            self.shut_down()

    def ask_to_stop(self) -> None:
        """Stop soon; safe in a signal handler."""
        self.stop.set()
        self._wake.set()

    def committed(self, patience: float = 5.0) -> bool:
        """From another thread: have everything taken so far committed; false if that takes too long."""
        with self._commit_done:
            target = self._commits_begun + 1
            self.hurry()
            return self._commit_done.wait_for(lambda: self._commits >= target, patience)

    def hurry(self) -> None:
        """Ask for a commit at once; from any thread."""
        self.recorder.urgent = True
        self._wake.set()

    def note(self, code: str, *, urgent: bool = False, **arguments: object) -> None:
        """Record an event; an urgent one is committed at once."""
        self.recorder.event(self.clock.now(), code, urgent=urgent, **arguments)
        if urgent:
            self._wake.set()

    def _pause(self) -> float:
        return 0.05 if self.recorder.urgent else TURN / 4

    def tick(self) -> None:
        """Do what is due; raise what a thread could not handle."""
        self._heart.beat()
        for failed in (*[p.failed for p in self.pollers], *[s.failed for s in self.senders]):
            if failed is not None:
                raise failed
        if self.watchdog.feed():
            notify(f"STATUS={self._status_line()}")
        self._watch_clock()
        now, monotonic = self.clock.now(), self.clock.monotonic()
        if monotonic < self._retry_at:
            return
        if self.recorder.urgent or monotonic >= self._next_commit or self._due(now):
            self.commit()
        if monotonic - self._purged_at >= PURGE_HOUR_SECONDS:
            self._purged_at = monotonic
            self.purge()

    def _due(self, now: datetime) -> bool:
        ready = now - timedelta(seconds=self.config.station.closing_delay_seconds)
        if any(at <= ready for at in self._next_realtime.values()):
            return True
        return self._next[Kind.MINUTE] + period_length(Kind.MINUTE) <= ready

    def _wall_offset(self) -> float:
        return self.clock.now().timestamp() - self.clock.monotonic()

    def _watch_clock(self) -> None:
        """Note a stepped wall clock: periods already closed stay closed, real-time data go on at once."""
        offset = self._wall_offset()
        step = offset - self._offset
        if abs(step) < STEP_SECONDS:
            return
        self._offset = offset
        log.warning("clock: the wall clock was stepped by %+.1f s", step)
        self.note("clock_step", urgent=True, seconds=round(step, 3), trust=trust())
        self._stepped = True
        self._next_realtime = self._realtime_after(self.clock.now())

    # -- one commit

    def commit(self, *, power_on: bool = False, last: bool = False) -> bool:
        """Make durable what is due; false when the disk refused, in which case nothing is lost yet."""
        now = self.clock.now()
        self._commits_begun += 1
        batch = self.recorder.take()
        ready = now - timedelta(seconds=self.config.station.closing_delay_seconds)
        self._add_silence(batch, ready)
        closed: dict[Kind, datetime] = {}
        fired: dict[str, datetime] = {}
        try:
            with self.store.transaction() as db:
                if self._stepped:
                    self.store.add_clock(self.clock.monotonic(), now, trust())
                self.store.add_readings(batch.readings, self.series)
                self.store.add_missed(batch.misses)
                self.store.add_events(batch.events)
                self.store.tick(to_ms(now) // 3_600_000)
                messages = list(self._power_on()) if power_on else []
                pins = Counter(row[0] for row in messages)
                candidates = self._young + batch.readings
                latest = self._latest | {(r.point, r.parameter): r for r in candidates if r.time <= ready}
                messages += self._realtime(ready, latest, fired)
                messages += self._periods(ready, closed)
                self.store.add_messages(messages)
                for sender in self.senders:
                    sender.outbox.write(db, last=last)
        except StoreError as error:
            self.recorder.put_back(batch)
            self._refused(error)
            return False
        self._latest, self._young = latest, [r for r in candidates if r.time > ready]
        self._next |= closed
        self._next_realtime |= fired
        self._stepped = False
        youngest = max((r.time for r in batch.readings), default=now)
        self._floors.append((max(now, youngest), self.store.newest("reading")))
        self._next_commit = self.clock.monotonic() + self.commit_seconds
        for sender in self.senders:
            sender.outbox.committed(pins=pins[sender.outbox.id])
        self._recovered()
        with self._commit_done:
            self._commits = self._commits_begun
            self._commit_done.notify_all()
        return True

    def _refused(self, error: StoreError) -> None:
        self._retry_at = self.clock.monotonic() + RETRY_SECONDS
        if not self._store_error:
            log.error("%s; readings are kept in memory until it works again", error)
        self._store_error = str(error)

    def _recovered(self) -> None:
        if self._store_error:
            log.warning("%s: can be written again", self.store.where)
            self.note("store_back", error=self._store_error, dropped=self.recorder.dropped)
            self._store_error, self.recorder.dropped = "", 0
        self._retry_at = 0.0

    def _add_silence(self, batch: Batch, ready: datetime) -> None:
        """Mark B for every series that had no good reply in a whole real-time interval (design rule)."""
        monotonic = self.clock.monotonic()
        if monotonic < self._next_silence:
            return
        self._next_silence = monotonic + self._shortest
        for (device, parameter), series in self.series.items():
            task = self.tasks[device]
            patience = max(float(self._shortest), STALE_POLLS * task.settings.poll_seconds)
            state = self.recorder.state(device)
            since = state.last_reply or self.started
            if (ready - since).total_seconds() >= patience:
                batch.readings.append(
                    Reading(device, series.point, parameter, ready, None, None, Mark.B, state.reason or Reason.NO_REPLY)
                )

    def _power_on(self) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        for sender in self.senders:
            for point in self.config.point:
                text = sender.uplink.compose(Report(Kind.POWER_ON, point.code, self.started))
                if text is not None:
                    yield sender.outbox.id, Kind.POWER_ON, point.code, self.started, 1, text

    def _realtime(
        self, ready: datetime, latest: Mapping[tuple[str, str], Reading], fired: dict[str, datetime]
    ) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """The newest reading of every parameter, for the platforms whose interval has passed."""
        made: list[tuple[int, Kind, str, datetime, int, str]] = []
        for sender in self._serving("realtime"):
            name, step = sender.outbox.name, timedelta(seconds=self.realtime[sender.outbox.name])
            at = self._next_realtime[name]
            if at > ready:
                continue
            at += (ready - at) // step * step  # intervals slept through (a suspended host) are not made up
            fired[name] = at + step
            for point in self.config.point:
                report = Report(Kind.REALTIME, point.code, at, self._newest_values(point.code, at, step, latest))
                if report.averages and (text := sender.uplink.compose(report)) is not None:
                    made.append((sender.outbox.id, Kind.REALTIME, point.code, at, 1, text))
        return made

    def _newest_values(
        self, point: str, at: datetime, step: timedelta, latest: Mapping[tuple[str, str], Reading]
    ) -> tuple[Average, ...]:
        """What was read last at *point*, unless it is older than its instrument's patience."""
        values = []
        for (where, parameter), reading in latest.items():
            if where != point:
                continue
            patience = max(step, STALE_POLLS * timedelta(seconds=self.tasks[reading.device].settings.poll_seconds))
            if at - patience < reading.time:
                values.append(Average(parameter, reading.value, mark=reading.mark, valid=1, total=1, expected=1))
        return tuple(sorted(values, key=lambda a: a.parameter))

    def _serving(self, kind: str) -> list[Sender]:
        """The senders whose platform takes records of *kind*."""
        return [s for s in self.senders if kind in self._settings[s.outbox.name].kinds]

    def _periods(
        self, ready: datetime, closed: dict[Kind, datetime]
    ) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """Close every minute, hour and day that ended; the averages are stored, the messages returned."""
        messages: list[tuple[int, Kind, str, datetime, int, str]] = []
        for kind in (Kind.MINUTE, Kind.HOUR, Kind.DAY):
            start, length = self._next[kind], period_length(kind)
            if kind is Kind.MINUTE:
                start = self._skip_empty(start, ready)
            until = min(ready, start + MOST_PERIODS * length, closed.get(BELOW.get(kind, kind), ready))
            while start + length <= until:
                for report in self._close(kind, start):
                    self.store.add_average(report)
                    for sender in self._serving(kind.name.lower()):
                        text = sender.uplink.compose(report)
                        if text is not None:
                            messages.append((sender.outbox.id, kind, report.point, start, report.version, text))
                start += length
            closed[kind] = start
        return messages

    def _skip_empty(self, start: datetime, ready: datetime) -> datetime:
        """Jump over the minutes in which the station was off: nothing was measured, nothing is reported."""
        if ready - start < timedelta(hours=2):
            return start
        after = self.store.first_reading_since(start)
        return period_start(Kind.MINUTE, min(after or ready, ready), self._zone)

    def _close(self, kind: Kind, start: datetime) -> list[Report]:
        if kind is Kind.MINUTE:
            return self._close_minute(start)
        end, below = start + period_length(kind), BELOW[kind]
        due = period_length(kind) // period_length(below)
        reports = []
        for point in self.config.point:
            parts: dict[str, list[Average]] = {}
            for report in self.store.averages(below, start, end, point.code):
                for one in report.averages:
                    parts.setdefault(one.parameter, []).append(one)
            averages = [
                average.roll_up(
                    parameter, catalogue()[parameter].averaging, some, expected_inputs=due, strict=point.st in WATER
                )
                for parameter, some in sorted(parts.items())
            ]
            if averages:
                reports.append(Report(kind, point.code, start, tuple(averages)))
        return reports

    def _close_minute(self, start: datetime) -> list[Report]:
        end = start + period_length(Kind.MINUTE)
        found: dict[tuple[str, str], list[Reading]] = {}
        for reading in self.store.readings(start, end, self._floor(start)):
            found.setdefault((reading.point, reading.parameter), []).append(reading)
        reports = []
        for point in self.config.point:
            averages = [
                self._minute_average(parameter, readings, start, point.st)
                for (code, parameter), readings in sorted(found.items())
                if code == point.code and parameter in catalogue()
            ]
            if averages:
                reports.append(Report(Kind.MINUTE, point.code, start, tuple(averages)))
        return reports

    def _minute_average(self, parameter: str, readings: Sequence[Reading], start: datetime, st: str) -> Average:
        rule = catalogue()[parameter].averaging
        device = readings[-1].device
        task = self.tasks.get(device)
        expected = max(1, round(60 / task.settings.poll_seconds)) if task else len(readings)
        before = None
        if rule is Averaging.SUM:
            before = self.store.last_value(device, parameter, start)
        return average.close(
            parameter,
            rule,
            [Input(r.value, r.mark) for r in sorted(readings, key=lambda r: r.time)],
            expected_inputs=0,  # a minute is judged by what was read; missed polls show in its share
            expected=expected,
            strict=st in WATER,
            before=before,
        )

    def _floor(self, start: datetime) -> int:
        """An id below which no reading is as young as *start*."""
        known = [number for at, number in self._floors if at < start]
        return max(known) if known else self.store.reading_floor(start)

    # -- housekeeping

    def purge(self) -> None:
        """Delete what is past retention and answered by every platform, in chunks."""
        now, keep = self.clock.now(), self.config.retention
        days = {
            "reading": keep.readings_days,
            "missed": keep.readings_days,
            "average": keep.averages_days,
            "event": keep.events_days,
        }
        gone = {table: self._purge(table, now - timedelta(days=limit)) for table, limit in days.items()}
        before = now - timedelta(days=keep.messages_days)
        gone["message"] = sum(
            self._purge("message", before, (s.outbox.id << SEQUENCE_BITS, s.outbox.keep_from())) for s in self.senders
        )
        if any(gone.values()):
            self.note("purged", rows={table: count for table, count in gone.items() if count})

    def _purge(self, table: str, before: datetime, ids: tuple[int, int] = (0, 1 << 62)) -> int:
        total = 0
        while (count := self.store.purge(table, before, ids)) and not self.stop.is_set():
            total += count
            self._heart.beat()
        return total

    def shut_down(self) -> None:
        """Stop the threads and commit what they brought."""
        notify("STOPPING=1")
        self.stop.set()
        for poller in self.pollers:
            poller.wake()
        for sender in self.senders:
            sender.outbox.ring()
        deadline = self.clock.monotonic() + STOP_SECONDS
        for thread in (*self.pollers, *self.senders):
            if thread.is_alive():
                thread.join(timeout=max(0.1, deadline - self.clock.monotonic()))
        self.note("stop")
        if not self.commit(last=True):
            log.error("%s", self._store_error)
        for sender in self.senders:
            if not sender.is_alive():
                sender.outbox.close()
        self.store.close()

    def _status_line(self) -> str:
        lost = [name for name, state in self.recorder.devices.items() if state.failures]
        owed = sum(sender.outbox.depth().owed for sender in self.senders)
        return f"{len(self.tasks) - len(lost)} of {len(self.tasks)} devices answer, {owed} messages owed"

    def depths(self) -> dict[str, Depth]:
        """What each platform is owed."""
        return {sender.outbox.name: sender.outbox.depth() for sender in self.senders}

    @property
    def store_error(self) -> str:
        """Why the last commit failed, or nothing."""
        return self._store_error
