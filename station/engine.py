"""Where drivers, uplinks and store meet: start, tick, stop.

The main thread owns every commit.  One commit holds, in this order: the readings since the last one,
the averages of periods that ended, the messages made of both, and every platform's delivery state.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from math import lcm
from threading import Condition, Event, Lock
from typing import TYPE_CHECKING, Any

from drivers.base import Device
from drivers.bus import Bus
from station import calibrate, marks
from station.clock import EPOCH, Clock, Wake, boot_id, floor_to, from_ms, period_length, period_start, to_ms, trust
from station.commands import ClockSetter, CommandDesk, Terms, overruled, with_configured
from station.config import BusConfig, Loaded, resolve
from station.model import (
    Average,
    Kind,
    Mark,
    Message,
    Reading,
    Reason,
    Record,
    Report,
    StoreDamaged,
    StoreError,
    StoreFull,
    replace,
)
from station.outbox import Depth, PlatformOutbox, sqlite_reader
from station.parameters import catalogue
from station.periods import DISCHARGES, Periods
from station.poller import Poller, Task, series_of
from station.purge import Purge
from station.recorder import Batch, Change, Recorder, Turn
from station.records import FIELD, TOLD
from station.sender import Sender
from station.store import Series, Store
from station.suspicion import Checks, Suspicion
from station.timekeeping import Timekeeper, rtc_time, waits
from station.version import VERSION
from station.watchdog import Heartbeat, Watchdog, notify
from uplink import UPLINKS
from uplink.base import Backoff, Context, Uplink, UplinkSettings

if TYPE_CHECKING:
    from station.alarming import Alarms
    from station.beside import Beside
    from station.calibrated import AtWork
    from station.capacity import Watch
    from station.checking import Checking
    from station.city import CityFeed
    from station.collecting import Collectors
    from station.furnace import FurnaceMeans
    from station.linkage import Linkage
    from station.maintaining import Maintaining
    from station.room import Room
    from station.site import Site
    from station.telling import Telling
    from station.unstored import Unstored
    from station.waiting import Waiting

log = logging.getLogger(__name__)

TURN = 1.0  # the main thread comes round at least this often
ROOM_SECONDS = 30.0  # between two looks at the room on the disk
RETRY_SECONDS = 10.0  # after a commit that failed
STOP_SECONDS = 7.0  # all threads together; the last commit still has to fit into ten
RESUMED = timedelta(days=2)  # how far back an instrument's last result is looked for at the start
RESUMED_READINGS = 100_000  # and among so many readings of all: a start must not wait for it
HEALTH_SECONDS = 30.0  # between two signs of life for monitoring; the first one soon after a start
FIRST_HEALTH_SECONDS = 5.0
FIRST_SEAL_SECONDS = 300.0  # after a start; a station that stops in order seals what it has
LATE_HOURS = "late_hours"  # hours that readings came too late for and that are not closed again yet
PINS, LINKAGE_SECONDS = "pins", 10.0  # the line of the counted pins; the longest a turn of the outputs may take
METER = "meter"  # records of exchanges (station/counter.py)
MARKS_DONE = "marks_done"  # up to which record marks set by hand are worked in
FURNACE = timedelta(minutes=5)  # of one mean of a furnace
LONGEST_MINUTES = timedelta(minutes=30)  # of one minute record (2017, read)
STALE_POLLS = 2  # a slow instrument counts as silent after this many of its own intervals


class Engine:
    """A running station.

    *store* and *clock* are injected; *buses* and *uplinks* replace the configured ones in tests.
    *trusted* says what the host's clock is known by, *rtc* what its real-time clock says, *clock_setter* may set
    it.  *pins* are the board's own (drivers.gpio.Pins), where the configuration has any.
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
        clock_setter: ClockSetter | None = None,
        trusted: Callable[[], str] | None = None,
        rtc: Callable[[], datetime | None] = rtc_time,
        pins: Any = None,
    ) -> None:
        self.loaded, self.config, self.store, self.clock = loaded, loaded.config, store, clock
        self.started, self._started_monotonic = clock.now(), clock.monotonic()
        self.stop = Event()
        self._wake, self._asked = Wake(), False
        self.marks_issued, self._naming = 0, Lock()
        self._commit_done, self._commits_begun, self._commits = Condition(), 0, 0
        self.recorder = Recorder()
        self.watchdog = Watchdog(clock.monotonic, notify)
        self._heart = self.watchdog.heart("main", 30)
        self._zone = loaded.zone
        self._latest: dict[tuple[str, str], Reading] = {}  # committed, by (point, parameter)
        self._reported: dict[str, datetime] = {}  # newest moment of the real-time data of each platform
        self._progress = {MARKS_DONE: "0", LATE_HOURS: ""}  # how far closing again has come, as committed
        self._young: list[Reading] = []  # committed, but younger than what is reported yet
        self._dated: dict[tuple[str, str], deque[datetime]] = {}  # seconds taken by records that platforms are told
        self._dating = Lock()
        self._equipment: dict[str, dict[str, str]] = {}  # states as last told of, by point and number
        self._equipment_told: dict[str, datetime] = {}  # when each platform was last told of all of them
        self.one_entry = Lock()  # two technicians at once: the second is checked against what the first has entered
        self.maintaining: Maintaining | None = None
        self._loading = Lock()
        self._stepped = self._power_on_due = False
        self._store_error = ""
        self._retry_at = 0.0
        self._next_seal = self._started_monotonic + FIRST_SEAL_SECONDS
        self.room: Room | None = None
        self.unstored: Unstored | None = None  # who tells platforms that the disk refuses
        self._next_room = clock.monotonic() + ROOM_SECONDS
        self._next_health, self._health_error = self._started_monotonic + FIRST_HEALTH_SECONDS, ""
        self.time = Timekeeper(
            clock,
            store,
            trusted or partial(trust, self.config.station.clock),
            self.note,
            rtc_after_seconds=60.0 * self.config.station.rtc_after_minutes,
            rtc=rtc,
        )
        self.waiting: Waiting | None = None  # what was measured and is not dated yet, or not handed on
        self.lines: dict[str, Any] = {}
        lines = tuple(self._buses() if buses is None else buses)
        self._pins = pins = self._wires(pins, lines)
        counted = () if pins is None else self._counted(pins)
        self.pollers = [self._poller(*bus) for bus in (*lines, *counted)]
        if hasattr(pins, "reach"):
            pins.reach(self.pollers)
        self.tasks: dict[str, Task] = {t.device.name: t for p in self.pollers for t in p.tasks}
        if store.kept(calibrate.KIND):
            from station.calibrated import in_force

            in_force(store, self.tasks, loaded.systems)
        self.recorder.judge = self._suspicion().judge
        self.series = {key: one for task in self.tasks.values() for key, one in series_of(task).items()}
        self._forget_overruled([s for s, _ in uplinks] if uplinks is not None else self.config.uplink)
        uplinks = self._uplinks() if uplinks is None else uplinks
        self._settings = {settings.name: settings for settings, _ in uplinks}
        self._changes: deque[Change] = deque()
        self.terms = {settings.name: self._terms(settings) for settings, _ in uplinks}
        self._apply_terms()
        self.desk = CommandDesk(
            self,
            {settings.name: settings.allow for settings, _ in uplinks},
            clock_setter=clock_setter,
            credentials=self._write_credential,
            trusted=self.time.trust,
        )
        self.senders = [self._sender(settings, uplink, reader) for settings, uplink in uplinks]
        self.outboxes = {sender.outbox.name: sender.outbox for sender in self.senders}
        outboxes = [sender.outbox for sender in self.senders]
        self.purge = Purge(store, self.config.retention, clock, self._zone, outboxes, self.note)
        self._calibrating: AtWork | None = self._at_work() if store.kept(calibrate.KIND) else None
        self._site = self._site_watched()
        self._closed = self._closed_points()
        self._register()
        self.linkage = None if pins is None else self._linkage(pins)
        self.city = self._city_feed()
        self.telling = self._telling()
        self.beside = self._beside()
        helpers = (self.linkage, self.city, self.telling, *self.beside)
        self.helpers: tuple[Linkage | CityFeed | Telling | Beside, ...] = tuple(h for h in helpers if h is not None)

    # -- making the parts

    def _buses(self) -> Sequence[tuple[BusConfig, Sequence[Device], Any]]:
        made: list[tuple[BusConfig, Sequence[Device], Bus]] = []
        for settings in self.config.bus:
            line = Bus(settings, note=self.note)
            made.append((settings, self.loaded.devices(settings, line), line))
        return made

    def _suspicion(self) -> Suspicion:
        checks = {
            name: Checks(
                constant_minutes=task.settings.constant_minutes, rate=task.settings.rate, spike=task.settings.spike
            )
            for name, task in self.tasks.items()
        }
        return Suspicion(checks)

    def _wires(self, pins: Any, lines: Iterable[tuple[BusConfig, Sequence[Device], Any]]) -> Any:
        """The board's *pins*, and what hangs on modules of *lines*."""
        if not any(one.module for one in (*self.config.input, *self.config.output)):
            return pins
        from station.wires import wires  # only who has a module pays for it

        return wires(self.config, pins, [device for _, devices, _ in lines for device in devices])

    def _counted(self, pins: Any) -> Iterable[tuple[BusConfig, Sequence[Device], Any]]:
        """The pins that are counted, as a line of their own; each goes on from what the store has."""
        settings = tuple(one for one in self.config.input if hasattr(one, "counted"))
        devices = []
        for one in settings:
            parameter, _ = one.counted
            made = pins.counter(one, catalogue()[parameter].unit, self.clock.now, self.clock.monotonic)
            last = self.store.last_reading(one.name, parameter)
            if last is not None and last.value is not None:
                made.begin(last.value)
                down = (self.clock.now() - last.time).total_seconds()
                self.note("counting_resumed", input=one.name, total=last.value, down_seconds=round(down, 1))
            devices.append(made)
        if devices:
            yield BusConfig(name=PINS, port="", device=settings), devices, pins.line()

    def _linkage(self, pins: Any) -> Linkage:
        """The thread that owns contacts and outputs."""
        from station.linkage import Linkage  # only who has pins pays for it

        heart = self.watchdog.heart("pins", LINKAGE_SECONDS)
        made = Linkage(self, pins, heart.beat, lambda: self._heart.silent_seconds > self._heart.limit_seconds)
        self._linkage_heart = heart
        self.recorder.beside, self.recorder.listen = made.conditions.beside, made.seen
        return made

    def _poller(self, settings: BusConfig, devices: Sequence[Device], line: Any) -> Poller:
        heart = self.watchdog.heart(f"bus {settings.name}", 60)
        if isinstance(line, Bus):
            line.beat = heart.beat
        pairs = list(zip(devices, settings.device, strict=True))
        self.lines[settings.name] = line
        return Poller(
            settings.name,
            pairs,
            self.recorder,
            self.clock,
            self.stop,
            heart.beat,
            line.close,
            getattr(line, "open", None),
        )

    def _uplinks(self) -> list[tuple[UplinkSettings, Uplink]]:
        context = Context(
            catalogue=catalogue(),
            zone=self._zone,
            now=self.time.now,
            monotonic=self.clock.monotonic,
            trusted=lambda: not self.time.waits,
            secret=self.loaded.secret,
            started=self.started,
            note=self.note,
            remembered=self.store.remembered,
            where=self.loaded.file,
            still=self._still,
        )
        made = []
        for settings in self.config.uplink:
            made.append((settings, resolve(UPLINKS[settings.protocol])(settings, context, self.loaded.systems)))
        return made

    def _still(self, file: str, sha256: str) -> bytes:
        """A picture of a camera as it is on record, for an uplink."""
        from station.snapshots import FOLDER, by_name

        return by_name(self.loaded.data_folder / FOLDER, file, sha256)

    def _forget_overruled(self, uplinks: Iterable[UplinkSettings]) -> None:
        """Let go of what platforms had set where station.toml was changed since."""
        for settings in uplinks:
            stored = self.store.remembered(settings.name, beside=True)
            now = overruled(stored, settings)
            for key, value in now.items():
                log.warning("platform %s: %s is %s again, as configured", settings.name, key, value)
                self.note("setting_overruled", platform=settings.name, key=key, was=stored[key], value=value)
            if now:
                with self.store.transaction():
                    values = with_configured(now, settings)
                    self.store.remember(settings.name, values, self.clock.now(), "station.toml")

    def _sender(self, settings: UplinkSettings, uplink: Uplink, reader: Any) -> Sender:
        heart: Heartbeat = self.watchdog.heart(f"uplink {settings.name}", 60)
        outbox = PlatformOutbox(
            settings.name,
            self.store,
            reader or sqlite_reader(self.store.where),
            now=self.time.now,
            urgent=self.hurry,
            beat=heart.beat,
            backlog_kinds=[Kind[kind.upper()] for kind in settings.backlog_kinds],
            horizon_seconds=self.config.station.commit_seconds + 15,
            note=self.note,
            additive=not settings.revisions,
        )
        backoff = Backoff(longest=settings.reconnect_seconds)
        return Sender(uplink, outbox, self.desk, self.stop, heart.beat, self.note, backoff)

    def _site_watched(self) -> Site | None:
        """Who looks at instruments and links, where a platform wants to know of changes."""
        if not any({"identity", "site_info"} & set(settings.kinds) for settings in self._settings.values()):
            return None
        from station.site import Site

        return Site(self)

    def _terms(self, settings: UplinkSettings) -> Terms:
        """How a platform is reported to: as configured, and as it has set since."""
        return Terms(realtime_seconds=settings.realtime_seconds).changed(self.store.remembered(settings.name))

    def _apply_terms(self) -> None:
        self.realtime = {name: terms.realtime_seconds for name, terms in self.terms.items() if terms.realtime}
        self._shortest = min(self.realtime.values(), default=round(self.config.station.commit_seconds))
        self.commit_seconds = min([self.config.station.commit_seconds, *map(float, self.realtime.values())])

    def _write_credential(self, platform: str, which: str, text: str) -> str | None:
        """Replace a secret shared with *platform*, or say why not; loaded only when one is to change."""
        from station.credentials import replace

        return replace(self._settings[platform], self.loaded.folder, which, text)

    def _add_readings(self, batch: Batch) -> dict[tuple[str, str], Series]:
        """Inside a transaction: each reading with what it was made with; the series in force behind them."""
        series, start = self.series, 0
        add = self.store.add_readings if self.waiting is None else self.waiting.add
        for switch in batch.switches:
            add(batch.readings[start : switch.position], series)
            self.store.register(switch.series.values())
            series, start = {**series, **switch.series}, switch.position
        add(batch.readings[start:], series)
        return series

    def _register(self) -> None:
        """Write what this start is: boot, clock, series, schedules, the power-on report."""
        self.time.begin(self.store.begin_boot(boot_id()))
        with self.store.transaction():
            self.store.add_clock(self.clock.monotonic(), self.clock.now(), self.time.dates_by())
            self.store.register(self.series.values())
            if not self.time.waits:
                self._register_schedules()
        if self.time.waits or waits(self.store):
            self._make_wait()
        self._resume()
        self.periods = Periods(
            self.store,
            self.config.point,
            self._zone,
            self.tasks,
            self.started,
            wind_mean=self.config.station.wind_mean,
        )
        if self.store.kept(METER):
            self.periods.load_exchanges(self.started)
        self._load_marks()
        self.collectors = self._collectors()
        self.alarms = self._alarms()
        self.furnace = self._furnace_means()
        self.capacity = self._capacity_watched()
        if self.store.kept(*FIELD) or any(getattr(one, "maintains", False) for one in self.config.input):
            self.field_work()
        self.checking = self._checking()
        self._plan(self.started)
        self._next_silence = self.clock.monotonic() + self._shortest
        self._next_commit = self.clock.monotonic() + self.commit_seconds
        self.note("start", version=VERSION, trust=self.time.trust())
        self._say_what_it_is()
        if self._closed:
            from station.resiting import note_closed

            note_closed(self)
        self.commit(power_on=not self.time.waits)

    def _plan(self, since: datetime) -> None:
        """What each platform is due from *since* on."""
        self._next_realtime = self._realtime_after(since)
        self._minute_plans = {sender.outbox.name: self._minute_plan(sender) for sender in self.senders}
        self._next_minutes = {sender.outbox.name: self._first_minutes(sender) for sender in self.senders}

    def _resume(self) -> None:
        """What was measured before the start and still holds: an analyser's last result, until its next."""
        for name, task in self.tasks.items():
            # An instrument that repeats its last result until the next is told which one is stored.
            if (resume := getattr(task.device, "resume", None)) is not None:
                resume(self.store.last_time(name, self.started - RESUMED))
            for parameter in task.device.units if task.closing_seconds else ():
                last = self.store.last_reading(name, parameter, RESUMED_READINGS)
                if last is not None and last.time <= self.started:
                    age = (self.started - last.time).total_seconds()
                    heard = self._started_monotonic - age
                    self._latest[last.point, parameter] = replace(last, heard=heard)

    def _say_what_it_is(self) -> None:
        """At the first start with a stack or an outfall: what the law wants is reported by another logger."""
        points = [point.code for point in self.config.point if point.st in DISCHARGES]
        if points and not self.store.noted("second_logger"):
            self.note("second_logger", points=points)
            log.warning(
                "points %s: this station is a second, read-only logger and not a type-approved 数采仪 (HJ 477)",
                ", ".join(points),
            )

    def _capacity_watched(self) -> Watch | None:
        """Who looks at the room on the disk, where a budget or a floor is configured; and what has left already."""
        watched = self.config.disk.watched
        if not watched and not self.store.kept("released"):
            return None
        from station import capacity  # most stations have neither

        self.periods.raw_from = capacity.raw_from(self.store)
        return capacity.Watch(self.store, self.loaded, self.clock, self.note) if watched else None

    def _collectors(self) -> Collectors | None:
        """The weighing collectors, where any are configured; loaded only then."""
        if not self.config.collector:
            return None
        from station.collecting import Collectors

        return Collectors(self.config, self.store, self.recorder.event, self.recorder.record, self.started)

    def _alarms(self) -> Alarms | None:
        """What watches limits and working conditions, where any are configured; loaded only then."""
        if not self.config.watched:
            return None
        from station.alarming import Alarms

        return Alarms(self.config, self.loaded.folder, self.store, self.periods, self._zone, self.keep, self.note)

    def field_work(self) -> Maintaining:
        """What looks after maintenance, parts and visits; loaded when first there is any."""
        with self._loading:
            if self.maintaining is None:
                from station.maintaining import Maintaining

                self.maintaining = Maintaining(self)
            return self.maintaining

    def _checking(self) -> Checking | None:
        """What checks instruments by itself, where any [[qc]] is configured; loaded only then."""
        if not self.config.qc:
            return None
        from station.checking import Checking

        return Checking(self)

    def _telling(self) -> Telling | None:
        """What tells people of alarms."""
        if not self.config.notify:
            return None
        from station.config import secret_path
        from station.people import secrets_of
        from station.telling import PATIENCE, Means, NotTold, Telling
        from uplink.http.transport import Stopped, Transport
        from uplink.trust import Trust

        def connect(base: str, one: Any) -> Transport:
            heart.beat()
            return Transport(
                base, Trust(), seconds=one.timeout_seconds, connect_seconds=one.timeout_seconds, proxy="",
                alive=lambda: not self.stop.is_set(), now=lambda: self.clock.now().isoformat(timespec="seconds"),
                monotonic=self.clock.monotonic,
            )  # fmt: skip

        heart = self.watchdog.heart("telling", PATIENCE)
        secrets = {
            one.name: secrets_of(one, lambda name: secret_path(name, self.loaded.folder)) for one in self.config.notify
        }

        def text(number: str, words: str) -> None:
            heart.beat()
            modem = next((one for one in self.beside if hasattr(one, "text")), None)
            if modem is None:
                raise NotTold("there is no modem to send a text message by ([modem] in station.toml)")
            modem.text(number, words)

        return Telling(self, self.config.notify, secrets, Means(connect, Stopped, text), heart.beat)

    def _beside(self) -> tuple[Beside, ...]:
        """Modem, screen, sampler and the like, where station.toml has them."""
        if not self.config.beside:
            return ()
        from station.beside import make

        return make(self)

    def _city_feed(self) -> CityFeed | None:
        """The thread that pulls the city's air, where there is an address to pull it from."""
        if self.config.city is None or not self.config.city.url:
            return None
        from station.city import PATIENCE, CityFeed

        return CityFeed(self, self.config.city, self.watchdog.heart("city", PATIENCE).beat)

    def _realtime_after(self, moment: datetime) -> dict[str, datetime]:
        """When each platform's next real-time data are due."""
        return {name: floor_to(moment, n) + timedelta(seconds=n) for name, n in self.realtime.items()}

    def _closed_points(self) -> dict[str, datetime]:
        """Since when nothing is due of the points that were closed."""
        if not any(point.closed for point in self.config.point):
            return {}
        from station.resiting import since  # most stations stay where they are

        found = {point.code: since(point, self._zone, self.started) for point in self.config.point}
        return {code: at for code, at in found.items() if at is not None}

    def _register_schedules(self) -> None:
        """What each platform is due, from when on, so that completeness can be reckoned by subtraction."""
        for sender in self.senders:
            for kind in (Kind.REALTIME, Kind.MINUTE, Kind.HOUR, Kind.DAY, Kind.FURNACE):
                self._schedule(sender, kind, self.started, self.terms[sender.outbox.name])

    def _schedule(self, sender: Sender, kind: Kind, since: datetime, terms: Terms) -> None:
        """Inside a transaction: note how often *kind* is due under *terms*, if that is new."""
        settings = self._settings[sender.outbox.name]
        seconds = {
            Kind.REALTIME: terms.realtime_seconds * terms.realtime,
            Kind.MINUTE: terms.minute_minutes * 60,
            Kind.HOUR: 3600,
            Kind.DAY: 86400,
            Kind.FURNACE: 300,
        }[kind] * (kind.name.lower() in settings.kinds)
        hot = self._furnace_points() if kind is Kind.FURNACE and seconds else set()
        for point in getattr(settings, "point", ()):
            due = kind is not Kind.FURNACE or point.point in hot
            closed = self._closed.get(point.point)
            self.store.schedule(sender.outbox.id, point.point, kind, closed or since, seconds * (due and not closed))

    def _furnace_points(self) -> set[str]:
        from station.furnace import measured_at  # most stations have no furnace

        return measured_at(self.tasks)

    def _furnace_means(self) -> FurnaceMeans | None:
        """What makes the five-minute means, where a platform takes them."""
        if not self.serving("furnace"):
            return None
        from station.furnace import FurnaceMeans

        return FurnaceMeans(self.store, self.periods, self._zone, self._furnace_points())

    def _minute_plan(self, sender: Sender) -> list[tuple[datetime, int]]:
        """From when on a platform's minute records span how many minutes; the schedule says so."""
        rows = self.store.schedules(sender.outbox.id)
        plan = {at: seconds // 60 for _, kind, at, seconds in rows if kind is Kind.MINUTE and seconds}
        return [(from_ms(at), minutes) for at, minutes in plan.items()] or [(self.started, 1)]

    def _first_minutes(self, sender: Sender) -> datetime:
        """Start of a platform's next minute record: behind its last one, else with the next minute that is closed."""
        name, last = sender.outbox.name, self.store.last_message(sender.outbox.id, Kind.MINUTE)
        fresh = self._aligned(self.periods.next[Kind.MINUTE], self._minutes_at(name, self.periods.next[Kind.MINUTE]))
        if last is None or last > self.started:  # one made by a clock that ran ahead does not hold up the present
            return fresh
        return max(fresh, last + self._minutes_at(name, last))

    def _minutes_at(self, platform: str, start: datetime) -> timedelta:
        """How long *platform*'s minute record that starts at *start* is."""
        plan = self._minute_plans[platform]
        return timedelta(minutes=next((n for since, n in reversed(plan) if since <= start), plan[0][1]))

    def _aligned(self, moment: datetime, length: timedelta) -> datetime:
        """The last multiple of *length* in the station's day at or before *moment*."""
        midnight = period_start(Kind.DAY, moment, self._zone)
        return midnight + (moment - midnight) // length * length

    # -- running

    def start(self) -> None:
        """Start the threads; the station is ready when it measures, whether or not a platform is there."""
        for helper in self.helpers:
            helper.start()
        for poller in self.pollers:
            poller.start()
        notify("READY=1")
        for sender in self.senders:
            sender.start()

    def run(self) -> None:
        """Tick until stopped, then make everything durable."""
        self.start()
        try:
            while not (self._asked or self.stop.is_set()):
                self.tick()
                self._wake.wait(self._pause())
                self._wake.clear()
        finally:
            self.shut_down()

    def ask_to_stop(self) -> None:
        """Stop soon; safe in a signal handler, which must not touch an Event (see Wake)."""
        self._asked = True
        self._wake.set()

    def committed(self, patience: float = 5.0) -> bool:
        """From another thread: have everything taken so far committed; false if that takes too long."""
        with self._commit_done:
            target = self._commits_begun + 1
            self.hurry()
            # A commit that had begun may have answered our hurry with a batch taken too early: ask again behind it.
            return self._commit_done.wait_for(lambda: self._commits >= target or self.hurry(), patience)

    def behind(self) -> int:
        """The commit that will hold all that was taken so far; for `made`, from another thread that cannot wait."""
        with self._commit_done:
            return self._commits_begun + 1

    def made(self, commit: int) -> bool:
        """Whether *commit*, as `behind` named it, is on the disk."""
        return self._commits >= commit

    def change(self, platform: str, values: Mapping[str, str], who: str, done: Callable[[str], None]) -> None:
        """From another thread: have settings of *platform* remembered and in force with a commit made at once."""
        if self._store_error:
            done(self._store_error)
            return
        self._changes.append(Change(platform, values, who, done))
        self.hurry()

    def minutes_ended(self, platform: str, point: str | None, first: datetime, last: datetime) -> Iterator[Message]:
        """*platform*'s minute records that ended from *first* to *last*, both included; for its uplink's thread."""
        for message in self.outboxes[platform].recall(Kind.MINUTE, point, first - LONGEST_MINUTES, last):
            if first <= message.start + self._minutes_at(platform, message.start) <= last:
                yield message

    def hurry(self) -> bool:
        """Ask for a commit at once; from any thread.  Never true: nothing is committed yet."""
        self.recorder.urgent = True
        self._wake.set()
        return False

    def note(self, code: str, *, urgent: bool = False, **arguments: object) -> None:
        """Record an event; an urgent one is committed at once."""
        self.recorder.event(self.time.now(), code, urgent=urgent, **arguments)
        if urgent:
            self._wake.set()

    def keep(self, *records: Record, urgent: bool = False) -> None:
        """Keep *records* together with the next commit, urgent ones at once; from any thread."""
        self.recorder.record(*(self.apart(one) if one.kind in TOLD else one for one in records), urgent=urgent)
        if urgent:
            self._wake.set()

    def withdraw(self, records: Sequence[Record]) -> bool:
        """Take *records* back that no commit has made durable; false, with nothing taken back, when one is at it."""
        if not self.recorder.withdraw(records):
            return False
        for record in records:
            if record.kind == marks.KIND:  # a commit that failed may have entered it
                self.periods.marks.forget(record)
        return True

    def apart(self, record: Record) -> Record:
        """*record* in a second of its own: platforms know what they are told by kind, point and second."""
        with self._dating:
            kind = "site_info" if record.kind == "seal_head" else record.kind  # both are log texts of HJ 212
            taken = self._dated.setdefault((kind, record.point), deque(maxlen=64))
            at = record.at
            while (second := at.replace(microsecond=0)) in taken:
                at = second + timedelta(seconds=1)
            taken.append(second)
        return record if at == record.at else replace(record, at=at)

    def next_mark(self) -> int:
        """The number of the next mark by hand, never given twice; from any thread."""
        with self._naming:
            self.marks_issued = max(self.marks_issued + 1, self.periods.marks.next_number)
            return self.marks_issued

    def trust(self) -> str:
        """What the clock is known by: "ntp", "host", "platform", "gnss", "network", "rtc" or "none"."""
        return self.time.trust()

    def clock_was_set(self, by: str = "platform") -> None:
        """From another thread: a platform, GNSS or the operator's time ("network") has set the clock."""
        self.time.was_set(by)
        self._wake.set()

    def _pause(self) -> float:
        return 0.05 if self.recorder.urgent else TURN / 4

    def tick(self) -> None:
        """Do what is due; raise what a thread could not handle."""
        self._heart.beat()
        for failed in [thread.failed for thread in (*self.pollers, *self.senders, *self.helpers)]:
            if failed is not None:
                raise failed
        if self.linkage is not None and self._linkage_heart.silent_seconds > LINKAGE_SECONDS:
            self.linkage.force_off()  # nobody would switch off what runs
        if self.watchdog.feed():
            notify(f"STATUS={self._status_line()}")
        self._watch_clock()
        self.desk.expire()
        if self._site:
            self._site.turn()
        if self.maintaining is not None:
            self.maintaining.turn()
        if self.checking is not None:
            self.checking.turn()
        if self._calibrating is not None:
            self._calibrating.turn()
        now, monotonic = self.clock.now(), self.clock.monotonic()
        if monotonic >= self._next_room:
            self._next_room = monotonic + ROOM_SECONDS
            self._room().look()
        if self.capacity is not None:
            self.capacity.turn()
        if monotonic >= self._next_health:
            self._next_health = monotonic + HEALTH_SECONDS
            self._give_sign()
        if monotonic < self._retry_at:
            return
        if (self.recorder.urgent or monotonic >= self._next_commit or self._due(now)) and not self.commit():
            return
        if self.time.waits:
            return  # nothing is old by a clock that nobody vouches for
        try:
            self.purge.turn()
        except StoreError as error:
            self._refused(error)

    def _give_sign(self) -> None:
        """Say how the station is, for monitoring, where there is a place for it."""
        path = self.loaded.health_file
        if path is None:
            return
        from station import health  # a few seconds after a start: it is ready without

        try:
            health.write(path, health.of(self))
        except OSError as error:
            if not self._health_error:
                log.warning("%s: cannot be written (%s); monitoring will take the station for dead", path, error)
            self._health_error = str(error)
        else:
            self._health_error = ""

    def _due(self, now: datetime) -> bool:
        if self.time.waits:
            return False
        ready = now - timedelta(seconds=self.config.station.closing_delay_seconds)
        if any(at <= ready for at in self._next_realtime.values()):
            return True
        return self.periods.behind or self.periods.due(ready)

    def _watch_clock(self) -> None:
        """Note a stepped wall clock, and go on from where it stands now; or wait until somebody vouches for it."""
        turn = self.time.watch()
        if turn is None:
            return
        if turn.step:
            self.purge.clock_was_stepped()
            if self.checking is not None:
                self.checking.clock_was_stepped(turn.step)
        if self.time.waits and self.waiting is None:
            self._make_wait()
        if not turn.by:
            self._stepped = True
            self.hurry()
            return
        try:
            if self.waiting is not None and self.time.waits:
                self.waiting.begin(self, turn)
            elif turn.seconds:
                self.follow(turn.seconds)
        except StoreError as error:
            self._refused(error)
            return
        self._stepped = self._stepped or not self.time.waits
        self.time.dated(turn.by)
        self.hurry()

    def _make_wait(self) -> None:
        from station.waiting import Waiting  # hardly ever needed

        self.waiting = Waiting(self.store, self.clock)

    def follow(self, step: float) -> None:
        """Go on with the present by a clock that moved by *step* seconds against what was dated last."""
        now = self.clock.now()
        self._next_realtime = self._realtime_after(now)
        if step < 0:
            back = now - timedelta(seconds=self.time.waiting_seconds)
            self.periods.clock_went_back(back)
            if self.furnace is not None:
                self.furnace.clock_went_back(back)
            for name, at in self._next_minutes.items():
                self._next_minutes[name] = min(at, self._aligned(back, self._minutes_at(name, back)))

    # -- one commit

    def commit(self, *, power_on: bool = False, last: bool = False) -> bool:
        """Make durable what is due; false when the disk refused, in which case nothing is lost yet."""
        self._commits_begun += 1
        self.desk.tell()
        now = self.clock.now()
        ready = now - timedelta(seconds=self.config.station.closing_delay_seconds)
        changes = [self._changes.popleft() for _ in range(len(self._changes))]
        taken = self.recorder.take()
        turn = Turn(now, ready, taken, changes)
        self._add_silence(taken, ready)
        try:
            with self.store.transaction() as db:
                if self.waiting is not None:
                    self.waiting.pass_through(self, turn)
                if not turn.waits:
                    self._write(turn, power_on=power_on or self._power_on_due)
                for sender in self.senders:
                    sender.outbox.write(db, last=last)
                turn.sealed = self._sealed(now, last=last)
        except StoreError as error:
            self._forget_series(taken)
            self.recorder.put_back(taken)
            self._refused(error)
            for change in changes:
                change.done(str(error))
            return False
        except BaseException:
            self.recorder.put_back(taken)  # for the commit of the shutdown that follows
            raise
        if self._power_on_due and not turn.waits:
            self._power_on_due = False
        self._take_over(turn)
        return True

    def _write(self, turn: Turn, *, power_on: bool) -> None:
        """Inside a transaction: what *turn* brings, what it closes, and what platforms are told of both."""
        batch, ready, now = turn.batch, turn.ready, turn.now
        self.store.tick(to_ms(now) // 3_600_000)
        if turn.rows is None:
            turn.series = self._add_readings(batch)
        else:
            self.store.append(turn.rows)
        if self._stepped:  # what was taken before the step keeps its offset
            self.store.add_clock(self.clock.monotonic(), self.clock.now(), self.time.dates_by())
        self.store.add_missed(batch.misses)
        self.store.add_events(batch.events)
        self.store.add_records(batch.records)
        messages = list(self._power_on()) if power_on else []
        turn.pins = Counter(row[0] for row in messages)
        turn.candidates = self._young + batch.readings
        turn.latest = self._latest | {(r.point, r.parameter): r for r in turn.candidates if r.time <= ready}
        messages += self._realtime(ready, turn.latest, turn.fired)
        self._take_marks(batch.records)
        late = self.periods.reopen(batch.readings, ready)
        turn.progress = self._note_progress()
        messages += [*self._revised(late), *self._longer(late, late=True)]
        reports, turn.closed = self.periods.close(ready)
        messages += [*self._minutes(turn.closed[Kind.MINUTE], turn.minutes), *self._longer(reports)]
        waited = self.periods.close_waiting(ready, turn.closed)
        messages += self._longer(waited, late=True)
        messages += self._of_furnaces(turn.closed[Kind.MINUTE], late)
        messages += self._told([*batch.records, *self._equipment_hours(turn.closed[Kind.DAY])])
        messages += self._equipment_again(batch.records, ready, turn.again)
        messages += self._told(self._watch_limits(turn.closed, [*late, *reports, *waited], batch.records, now))
        self.store.add_messages(messages)
        turn.changed = self._remember(turn.changes, max(ready, self.started))

    def _at_work(self) -> AtWork:
        from station.calibrated import AtWork  # only a station where somebody calibrates pays for it

        return AtWork(self)

    def calibrated_by(self, device: str) -> str:
        """The name of the calibration that somebody is at with *device*; empty where nobody is."""
        return "" if self._calibrating is None else self._calibrating.by(device)

    def _take_over(self, turn: Turn) -> None:
        """*turn* is durable: go on from there, and tell who waited for it."""
        self.series = turn.series
        if any(record.kind == calibrate.KIND for record in turn.batch.records):
            from station.calibrated import hand_over

            hand_over(turn.batch.records, self.pollers, self.tasks, self.recorder)
            self._calibrating = self._calibrating or self._at_work()
            self._calibrating.note(turn.batch.records)
        if not turn.waits:
            self._go_on(turn)
        self._stepped = False
        if turn.sealed != self._next_seal:
            self._next_seal = turn.sealed
            from station.sealing import forget_past

            forget_past(self.store)
            if self.serving("seal_head"):
                from station.heading import tell

                tell(self)
        if turn.changed:
            self._put_in_force(turn.changed, max(turn.ready, self.started))
        self._next_commit = self.clock.monotonic() + self.commit_seconds
        for sender in self.senders:
            sender.outbox.committed(pins=turn.pins[sender.outbox.id])
        self._recovered()
        if self.collectors is not None:
            self.collectors.take(turn.batch.readings)
        with self._commit_done:
            self._commits = self._commits_begun
            self._commit_done.notify_all()
        for change in turn.changes:
            change.done("")

    def _go_on(self, turn: Turn) -> None:
        """Periods, reports and alarms go on behind *turn*."""
        self._latest, self._young = turn.latest, [r for r in turn.candidates if r.time > turn.ready]
        self.periods.committed(turn.closed, turn.now, turn.batch.readings)
        self._progress |= turn.progress
        if self.alarms is not None:
            self.alarms.committed()
        if self.furnace is not None:
            self.furnace.committed()
        self._next_realtime |= turn.fired
        for name, following in turn.fired.items():
            at = following - timedelta(seconds=self.realtime[name])
            self._reported[name] = max(at, self._reported.get(name, EPOCH))
        self._next_minutes |= turn.minutes
        self._equipment_told |= turn.again
        if self.waiting is not None:
            self.waiting.committed()
            if turn.more:
                self.hurry()
            else:
                self.waiting = None

    def _sealed(self, now: datetime, *, last: bool) -> float:
        """Inside a transaction: seal when it is time, and at the end; when the next block is due, on monotonic time."""
        monotonic = self.clock.monotonic()
        if monotonic < self._next_seal and not last:
            return self._next_seal
        from station.sealing import seal_due  # five minutes after a start: it is ready without

        return monotonic + seal_due(self.store, now)

    def _forget_series(self, batch: Batch) -> None:
        """The commit failed: series that it registered first have no number yet."""
        known = set(self.series.values())
        self.store.unregister(one for switch in batch.switches for one in switch.series.values() if one not in known)

    def _watch_limits(
        self, closed: Mapping[Kind, datetime], reports: Iterable[Report], records: Iterable[Record], now: datetime
    ) -> list[Record]:
        """Inside a transaction: keep what the closed periods change about alarms; so each is on record at once."""
        if self.alarms is None:
            return []
        events, made = self.alarms.turn(closed, reports, records, now)
        made = [self.apart(one) if one.kind in TOLD else one for one in made]
        self.store.add_events(events)
        self.store.add_records(made)
        return made

    def _take_marks(self, records: Iterable[Record]) -> None:
        """Enter marks set by hand and exchanges of meters; what they change is closed again."""
        for record in records:
            if record.kind == marks.KIND:
                self.periods.touch(*self.periods.marks.take(record))
            elif record.kind == METER:
                self.periods.take_exchange(record)

    def _note_progress(self) -> dict[str, str]:
        """Inside a transaction: note what is left to be closed again, where that is news, for the next start."""
        hours, marked = self.periods.left
        progress = {}
        noted = set(self._progress[LATE_HOURS].split())
        left = {str(to_ms(hour)) for hour in hours}
        if not left <= noted or (noted and not left and not marked):
            progress[LATE_HOURS] = " ".join(sorted(left))
        if not marked and len(self.periods.marks):
            progress[MARKS_DONE] = str(self.store.newest_record(marks.KIND))
        progress = {key: value for key, value in progress.items() if value != self._progress[key]}
        self.store.remember("", progress, self.clock.now(), "station")
        return progress

    def _load_marks(self) -> None:
        """Marks set by hand; those that a crash kept from being worked in are worked in now, as late readings are."""
        found = self.store.records(marks.KIND, EPOCH, datetime.max.replace(tzinfo=UTC))
        noted = self.store.remembered("")
        self._progress = {key: noted.get(key, value) for key, value in self._progress.items()}
        for record in sorted(found, key=lambda r: r.id):
            changed = self.periods.marks.take(record)
            if record.id > int(self._progress[MARKS_DONE]):
                self.periods.touch(*changed)
        self.periods.came_late(from_ms(int(hour)) for hour in self._progress[LATE_HOURS].split())

    def _remember(self, changes: Iterable[Change], since: datetime, *, due: bool = True) -> dict[str, Terms]:
        """Inside a transaction: write settings and the schedules they make, if *due*; the terms that become new."""
        changed: dict[str, Terms] = {}
        for change in changes:
            values = with_configured(change.values, self._settings[change.platform])
            self.store.remember(change.platform, values, self.time.now(), change.who)
            before = changed.get(change.platform, self.terms[change.platform])
            changed[change.platform] = before.changed(change.values)
        for sender in self.senders:
            name = sender.outbox.name
            if name in changed and due:
                self._schedule(sender, Kind.REALTIME, since, changed[name])
                boundary = self._minute_boundary(name, changed[name].minute_minutes)
                self._schedule(sender, Kind.MINUTE, boundary, changed[name])
        return changed

    def _minute_boundary(self, platform: str, minutes: int) -> datetime:
        """Where a record of the old length ends and one of the new begins, at most an hour on: nothing is lost."""
        since, before = self._minute_plans[platform][-1]
        length = timedelta(minutes=lcm(before, minutes))
        earliest = max(since, self._next_minutes[platform])
        at = self._aligned(earliest, length)
        return at if at == earliest else at + length

    def _put_in_force(self, changed: Mapping[str, Terms], since: datetime) -> None:
        self.terms |= changed
        self._apply_terms()
        after = self._realtime_after(since)
        for sender in self.senders:
            name = sender.outbox.name
            if name in changed:
                self._minute_plans[name] = self._minute_plan(sender)
                self._next_realtime.pop(name, None)
                if name in after:
                    self._next_realtime[name] = after[name]

    def _refused(self, error: StoreError) -> None:
        """Try again later; a damaged file does not mend itself: it ends the process, the next start deals with it."""
        if isinstance(error, StoreDamaged):
            raise error
        if isinstance(error, StoreFull) and self._room().make_some():
            self.hurry()  # there is room again: at once
            return
        self._retry_at = self.clock.monotonic() + RETRY_SECONDS
        if not self._store_error:
            log.error("%s; readings are kept in memory until it works again", error)
        self._store_error = str(error)
        self._room()
        if self.unstored is not None:
            self.unstored.refuses(self._store_error)

    def _room(self) -> Room:
        """Who looks after the room on the disk; loaded with its first turn."""
        if self.room is None:
            from station.room import Room

            size, may_leave = self.config.station.reserve_mb << 20, self.config.retention.when_full == "answered"
            outboxes, folder = self.outboxes.values(), self.loaded.data_folder
            told = partial(setattr, self.periods, "raw_from")
            self.room = Room(self.store, folder, size, outboxes, self.clock, self.note, may_leave=may_leave, left=told)
            if self.serving("alarm", "site_info"):
                from station.unstored import Unstored

                self.unstored = Unstored(self)
        return self.room

    def _recovered(self) -> None:
        if self._store_error:
            log.warning("%s: can be written again", self.store.where)
            took = self.recorder
            self.note("store_back", error=self._store_error, dropped=took.dropped, events_dropped=took.events_dropped)
            if self.unstored is not None:
                self.unstored.works(self._store_error)
            self._store_error, took.dropped, took.events_dropped = "", 0, 0
        self._retry_at = 0.0

    def _add_silence(self, batch: Batch, ready: datetime) -> None:
        """Mark B for every series that had no good reply in a whole real-time interval (design rule)."""
        monotonic = self.clock.monotonic()
        if monotonic < self._next_silence:
            return
        self._next_silence = monotonic + self._shortest
        for (device, parameter), series in self.series.items():
            if self._silent_seconds(device, parameter) >= self._patience(device, self._shortest):
                reason = self.recorder.state(device).reason or Reason.NO_REPLY
                batch.readings.append(Reading(device, series.point, parameter, ready, None, None, Mark.B, reason))

    def is_current(self, device: str, parameter: str) -> bool:
        """Whether the newest value of a series still says how things are, as the B of a report would be reckoned."""
        return self._silent_seconds(device, parameter) < self._patience(device, self._shortest)

    def _silent_seconds(self, device: str, parameter: str) -> float:
        """Since when a series had no good reply, on the clock that never steps."""
        return self.clock.monotonic() - self.recorder.heard.get((device, parameter), self._started_monotonic)

    def _patience(self, device: str, interval: float) -> float:
        """How long *device* may be silent before its values are no longer current, in seconds."""
        task = self.tasks[device]
        return max(interval, STALE_POLLS * task.pace_seconds, task.patience_seconds)

    def _power_on(self) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        for sender in self.senders:
            for point in (one for one in self.config.point if one.code not in self._closed):
                again = Record("restart", self.started, {}, point.code)
                text = sender.uplink.compose(Report(Kind.POWER_ON, point.code, self.started, record=again))
                if text is not None:
                    yield sender.outbox.id, Kind.POWER_ON, point.code, self.started, 1, text

    def _realtime(
        self, ready: datetime, latest: Mapping[tuple[str, str], Reading], fired: dict[str, datetime]
    ) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """The newest reading of every parameter, for the platforms whose interval has passed."""
        made: list[tuple[int, Kind, str, datetime, int, str]] = []
        for sender in self.serving("realtime"):
            name = sender.outbox.name
            at = self._next_realtime.get(name)
            if at is None or at > ready:
                continue
            step = timedelta(seconds=self.realtime[name])
            at += (ready - at) // step * step  # intervals slept through (a suspended host) are not made up
            fired[name] = at + step
            if at == self._reported.get(name):
                continue  # the clock was set back by less than an interval: this moment is reported
            version = 1 if at > self._reported.get(name, EPOCH) else 2
            for point in self.config.point:
                report = Report(Kind.REALTIME, point.code, at, self._newest_values(point.code, step, latest))
                if report.averages and (text := sender.uplink.compose(report)) is not None:
                    made.append((sender.outbox.id, Kind.REALTIME, point.code, at, version, text))
        return made

    def _newest_values(
        self, point: str, step: timedelta, latest: Mapping[tuple[str, str], Reading]
    ) -> tuple[Average, ...]:
        """What was read last at *point*; a series that went silent is reported as such, never by its last value."""
        now = self.clock.monotonic() - self.config.station.closing_delay_seconds
        values = []
        for (where, parameter), reading in latest.items():
            if where != point:
                continue
            patience = self._patience(reading.device, step.total_seconds())
            current = reading.mark is Mark.B or now - reading.heard <= patience
            value, mark = (reading.value, reading.mark) if current else (None, Mark.B)
            mark = self.periods.marks.mark(where, parameter, reading.time, mark)
            task = self.tasks.get(reading.device)
            sampled = reading.time if task and task.closing_seconds and value is not None else None
            values.append(Average(parameter, value, mark=mark, valid=1, total=1, expected=1, sampled=sampled))
        return tuple(sorted(self.periods.beside(point, values), key=lambda a: a.parameter))

    def points_of(self, platform: str) -> list[str]:
        """The points that *platform* is told of."""
        return [one.point for one in getattr(self._settings[platform], "point", ())]

    def serving(self, *kinds: str) -> list[Sender]:
        """The senders whose platform takes records of any of *kinds*."""
        return [s for s in self.senders if not {*kinds}.isdisjoint(self._settings[s.outbox.name].kinds)]

    def _told(self, records: Iterable[Record]) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """What happened, for the platforms that take records of its kind."""
        for record in records:
            if (kind := TOLD.get(record.kind)) is None:
                continue
            for sender in self.serving(record.kind):
                name = sender.outbox.name
                wanted = kind is not Kind.EQUIPMENT or self.terms[name].equipment
                if wanted and record.body.get("platform", name) == name:
                    yield from self._worded(sender, Report(kind, record.point, record.at, record=record))

    def _equipment_again(
        self, records: Iterable[Record], ready: datetime, told: dict[str, datetime]
    ) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """All states once more, for the platforms that want them at an interval; *told* from the commit on."""
        for record in records:
            if record.kind == "equipment":
                self._equipment.setdefault(record.point, {}).update(record.body.get("states") or {})
        for sender in self.serving("equipment"):
            name = sender.outbox.name
            seconds = self._settings[name].equipment_seconds
            if not (seconds and self.terms[name].equipment and self._equipment):
                continue
            at = floor_to(ready, seconds)
            if at == self._equipment_told.setdefault(name, at):
                continue
            told[name] = at
            for point, states in self._equipment.items():
                record = self.apart(Record("equipment", at, {"states": dict(sorted(states.items()))}, point))
                yield from self._worded(sender, Report(Kind.EQUIPMENT, point, record.at, record=record))

    def _equipment_hours(self, until: datetime) -> list[Record]:
        """Inside a transaction: how long equipment ran in each day that ended, kept."""
        found: list[Record] = []
        start = self.periods.next[Kind.DAY]
        while start < until and self.store.kept("equipment"):
            from station.equipment import hours  # most stations watch none

            found += hours(self.store, start, start + period_length(Kind.DAY))
            start += period_length(Kind.DAY)
        self.store.add_records(found)
        return found

    def _longer(
        self, reports: Iterable[Report], *, late: bool = False
    ) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """Hours, days and their later versions, for the platforms that take them."""
        for report in reports:
            if report.kind is not Kind.MINUTE:
                for sender in self.serving(report.kind.name.lower()):
                    told: Report | None = report
                    if late or report.version > 1:
                        from station.revisions import to_tell

                        length = period_length(report.kind)
                        revisions = self._is_revised(sender, report.point, report.start, length)
                        told = to_tell(report, revisions=revisions, late=late)
                    if told is not None:
                        yield from self._worded(sender, told)

    def _of_furnaces(
        self, until: datetime, late: Iterable[Report]
    ) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """Five-minute means that ended by *until*, and later versions of those that *late* minutes change."""
        if self.furnace is None:
            return
        for report, news in [*self.furnace.revised(late), *((one, True) for one in self.furnace.closed(until))]:
            for sender in self.serving("furnace"):
                if news or self._is_revised(sender, report.point, report.start, FURNACE):
                    yield from self._worded(sender, report)

    def _revised(self, reports: Iterable[Report]) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """Minute records whose time is over and that now have a later version, or have something to say at last."""
        late = [report for report in reports if report.kind is Kind.MINUTE]
        if not late:
            return
        from station.revisions import behind_others, news, only

        for sender in self.serving("minute"):
            name = sender.outbox.name
            records: dict[tuple[datetime, timedelta], list[Report]] = {}
            for report in late:
                length = self._minutes_at(name, report.start)
                records.setdefault((self._aligned(report.start, length), length), []).append(report)
            for (first, length), changed in sorted(records.items(), key=lambda item: item[0]):
                if first + length > self._next_minutes[name]:
                    continue
                for report in self._minute_reports(first, length):
                    mine = [one for one in changed if one.point == report.point]
                    if mine and self._is_revised(sender, report.point, first, length):
                        yield from self._worded(sender, behind_others(report))
                    elif mine:
                        stored = self.store.averages(Kind.MINUTE, first, first + length, report.point)
                        if parameters := news(stored, mine):
                            yield from self._worded(sender, behind_others(only(report, parameters)))

    def _is_revised(self, sender: Sender, point: str, start: datetime, length: timedelta) -> bool:
        """Whether a platform gets later versions of a period: where it takes them, and no person has kept them here."""
        wanted = self._settings[sender.outbox.name].revisions
        return wanted and not self.periods.marks.is_quiet(point, start, start + length)

    def _for(self, sender: Sender, report: Report) -> Report:
        """*report* as a platform gets it: what is only indicative goes where it is wanted."""
        if self._settings[sender.outbox.name].indicative or not any(a.indicative for a in report.averages):
            return report
        return replace(report, averages=tuple(a for a in report.averages if not a.indicative))

    def _worded(self, sender: Sender, report: Report) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        text = sender.uplink.compose(self._for(sender, report))
        if text is not None:
            yield sender.outbox.id, report.kind, report.point, report.start, report.version, text

    def _minutes(
        self, until: datetime, moved: dict[str, datetime]
    ) -> Iterable[tuple[int, Kind, str, datetime, int, str]]:
        """Every platform's minute records that ended by *until*, as long as it wants them, from the minutes stored."""
        messages: list[tuple[int, Kind, str, datetime, int, str]] = []
        for sender in self.serving("minute"):
            name = sender.outbox.name
            start = self._next_minutes[name]
            while start + (length := self._minutes_at(name, start)) <= until:
                reports = self._minute_reports(start, length)
                for report in reports:
                    messages += self._worded(sender, report)
                start = start + length if reports else self._behind_nothing(name, start + length, until)
            moved[name] = start
        return messages

    def _behind_nothing(self, platform: str, start: datetime, until: datetime) -> datetime:
        """The record from *start* on that has a first minute, or the one *until* lies in."""
        points = [point.code for point in self.config.point]
        first = min(self.store.first_average(Kind.MINUTE, start, points) or until, until)
        return max(start, self._aligned(first, self._minutes_at(platform, first)))

    def _minute_reports(self, start: datetime, length: timedelta) -> list[Report]:
        """A minute as it is stored, or several rolled up."""
        if length == period_length(Kind.MINUTE):
            return self.store.averages(Kind.MINUTE, start, start + length)
        return self.periods.rolled(Kind.MINUTE, Kind.MINUTE, start, length)

    # -- housekeeping

    def shut_down(self) -> None:
        """Stop the threads and commit what they brought."""
        notify("STOPPING=1")
        self.stop.set()
        if self.linkage is not None:
            self.linkage.finish()  # first of all: what runs goes off
        for helper in self.helpers:
            helper.wake()
        for poller in self.pollers:
            poller.wake()
        for sender in self.senders:
            sender.outbox.ring()
        deadline = self.clock.monotonic() + STOP_SECONDS
        for thread in (*self.pollers, *self.senders, *self.helpers):
            if thread.is_alive():
                thread.join(timeout=max(0.1, deadline - self.clock.monotonic()))
        for poller in self.pollers:
            if poller.bus_name == PINS and self._pins is not None:
                for task in poller.tasks:
                    poller.poll(task)  # what came since its last turn
        if self.checking is not None:
            self.checking.finish()
        self.note("stop")
        if self._site:
            self._site.stop()
        try:
            durable = self.commit(last=True)
        except StoreDamaged as error:
            self._store_error, durable = str(error), False
        if not durable:
            log.error("%s", self._store_error)
        for sender in self.senders:
            if not sender.is_alive():
                sender.outbox.close()
        self.store.close()
        if (sign := self.loaded.health_file) is not None:
            with suppress(OSError):
                sign.unlink(missing_ok=True)
        if self._pins is not None:
            self._pins.close()

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
