"""A running station's eye on field work: switches that begin maintenance, spans that end, parts that are due.

Loaded with the first such switch or entry.  Only the main thread turns it; whoever enters something holds the
engine's lock for entries, and the turn waits for nobody: it comes again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from station import fieldwork, maintenance, parts, visits
from station.clock import to_ms
from station.model import Record, StationError, dataclass, field, replace

if TYPE_CHECKING:
    from station.engine import Engine

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
PARTS_SECONDS = 60.0
PATIENCE = 5.0  # seconds a platform's word waits for somebody's entry; its session stands still meanwhile
FLAPPING, FLAP_SECONDS = 8, 600.0  # so many changes of a switch within so long: somebody should look at its wire


class EntryBusy(StationError):
    """Error raised when the entry of somebody else takes too long."""


@dataclass(slots=True)
class _Switch:
    """A maintenance switch: what it said last, since when it is off, how often it changed of late."""

    settings: Any
    off_since: float  # a start sees a switch as off until its level has stood for a while
    active: bool = False
    spent: bool = False  # its span was ended by time or by hand: it begins nothing before it was off
    beside: bool = False  # what it covers is under maintenance already; it begins when that is over
    told: bool = False  # that it flaps
    changes: deque[float] = field(default_factory=lambda: deque(maxlen=FLAPPING))


class Maintaining:
    """The books of *engine*'s maintenance, parts and visits, and what follows from them by itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        store = engine.store
        self.issued: dict[str, int] = {}  # names given so far, also those that wait for a commit
        read = {kind: store.records(kind, fieldwork.BEGINNING, fieldwork.END) for kind in fieldwork.KINDS}
        self.spans, self.parts = maintenance.Book(read[maintenance.KIND]), parts.Book(read[parts.KIND])
        self.visit = visits.Book(read.pop(visits.KIND)).open()  # the others stay in the database
        self._books: Mapping[str, Any] = {maintenance.KIND: self.spans, parts.KIND: self.parts}
        self._switches = {
            one.name: _Switch(one, engine.clock.monotonic())
            for one in engine.config.input
            if getattr(one, "maintains", False)
        }
        for name, switch in self._switches.items():
            last = self.spans.last_of(maintenance.SWITCH, name)
            switch.spent = last is not None and last.over is not None and last.why != maintenance.SWITCH
        self._next_look = self._next_parts = engine.clock.monotonic()

    # -- entries

    def made(self, what: str, fields: Mapping[str, Any]) -> list[Record]:
        """The records of an entry, nothing of it kept yet; the caller holds the lock."""
        engine = self._engine
        first = self.issued.get(what, 0) + 1
        desk = fieldwork.Desk(
            store=engine.store,
            loaded=engine.loaded,
            now=engine.clock.now(),
            trust=engine.trust(),
            first=first,
            mark=engine.next_mark,
            books=self._books,
        )
        return fieldwork.enter(desk, what, fields)

    def take(self, made: list[Record]) -> None:
        """*made* is, or will be, on record: names in it are given, and it is told to whom it concerns."""
        for record in made:
            if record.kind in self._books:
                self._books[record.kind].take(record)
        own = made[0]
        number = str(own.body.get("name", ""))[1:]
        if number.isdecimal():
            self.issued[own.kind] = max(self.issued.get(own.kind, 0), int(number))
        self._spend(own)
        if own.kind == visits.KIND:
            self.visit = self._visit_behind(own)
        if own.body.get("do") not in fieldwork.QUIET:
            self.tell(own)

    def _visit_behind(self, own: Record) -> visits.Visit | None:
        """The visit under way once *own* is on record, which it may not be yet."""
        kept = self._engine.store.records(visits.KIND, fieldwork.BEGINNING, fieldwork.END)
        known = any((to_ms(one.at), one.body) == (to_ms(own.at), own.body) for one in kept)
        return visits.Book(kept if known else [*kept, replace(own, id=1 << 62)]).open()

    def _spend(self, own: Record) -> None:
        """A switch whose span was ended by hand begins nothing before it was off."""
        if own.kind == maintenance.KIND and own.body["do"] == "off":
            one = self.spans.named(own.body["name"])
            if one.by == maintenance.SWITCH and one.why != maintenance.SWITCH and one.source in self._switches:
                self._switches[one.source].spent = True

    def tell(self, own: Record, *, level: int = logging.INFO) -> None:
        """An event of *own*, a line in the log, and a word to the platforms that take site information."""
        code, said = fieldwork.event(own)
        self._engine.note(code, urgent=True, **said)
        log.log(level, "%s", fieldwork.sentence(own))
        if fieldwork.telling(self._engine.loaded):
            self._engine.keep(*fieldwork.log_records(own, self._engine.loaded, self._engine.clock.now()), urgent=True)

    def enter(self, what: str, **fields: Any) -> list[Record]:
        """Keep an entry that nobody waits for; the caller holds the lock."""
        made = self.made(what, fields)
        self._engine.keep(*made, urgent=True)
        self.take(made)
        return made

    # -- what follows by itself

    def turn(self) -> None:
        """Look, if it is time; only the main thread."""
        now = self._engine.clock.monotonic()
        if now < self._next_look or not self._engine.one_entry.acquire(blocking=False):
            return
        try:
            self._next_look = now + LOOK_SECONDS
            for switch in self._switches.values():
                self._look_at(switch, now)
            self._end_what_is_over(self._engine.clock.now())
            if now >= self._next_parts:
                self._next_parts = now + PARTS_SECONDS
                self._tell_of_parts()
        finally:
            self._engine.one_entry.release()

    def _end_what_is_over(self, now: datetime) -> None:
        for one in self.spans.running():
            if now >= one.last:
                made = self._kept(maintenance.end(self.spans, {"name": one.name, "by": "time"}, now))
                self._spend(made)
                self.tell(made, level=logging.WARNING)
            elif not one.warned and now >= one.last - min(maintenance.WARNING, (one.last - one.first) / 2):
                self.tell(self._kept([maintenance.warn(one, now)]), level=logging.WARNING)

    def _kept(self, made: list[Record]) -> Record:
        self._engine.keep(*made, urgent=True)
        for record in made:
            if record.kind in self._books:
                self._books[record.kind].take(record)
        return made[0]

    def _tell_of_parts(self) -> None:
        now = self._engine.clock.now()
        today = now.astimezone(self._engine.loaded.zone).date()
        for one in self.parts:
            if one.overdue(today) and one.told != one.due:
                self.tell(self._kept([parts.tell(one, now)]), level=logging.WARNING)

    # -- switches

    def _look_at(self, switch: _Switch, now: float) -> None:
        settings, linkage = switch.settings, self._engine.linkage
        seen = None if linkage is None else linkage.contact(settings.name)
        if seen is None:
            return  # its pin cannot be read, which is on record: things stay as they are
        active, since = seen
        if active is not switch.active:
            switch.active = active
            switch.changes.append(now)
            switch.off_since = now
            self._flaps(switch, now)
        span = self.spans.last_of(maintenance.SWITCH, settings.name)
        running = span is not None and span.over is None
        rested = not active and now - switch.off_since >= settings.release_seconds
        switch.beside = switch.beside and any(one.on(self._engine.clock.now()) for one in self.spans.running())
        if active and not running and not (switch.spent or switch.beside):
            self._begin(switch, since)
        elif rested and running and span is not None:
            self.enter("maintenance", do="off", name=span.name, by=maintenance.SWITCH, source=settings.name)
        elif rested:
            switch.spent = False

    def _flaps(self, switch: _Switch, now: float) -> None:
        """A switch that changes all the time is said once until it has rested; its span goes on meanwhile."""
        many = len(switch.changes) == FLAPPING and now - switch.changes[0] <= FLAP_SECONDS
        if many and not switch.told:
            log.warning("input %s: changes all the time; look at the switch and its wire", switch.settings.name)
            self._engine.note(
                "maintenance_switch_flaps", urgent=True, input=switch.settings.name, changes=FLAPPING,
                seconds=round(now - switch.changes[0]),
            )  # fmt: skip
        switch.told = many

    def _begin(self, switch: _Switch, since: datetime | None) -> None:
        settings, now = switch.settings, self._engine.clock.now()
        first = since if since is not None and now - since < timedelta(minutes=5) else now
        where = {"device": settings.covers_device, "point": settings.covers_point}
        try:
            self.enter(
                "maintenance",
                do="on",
                by=maintenance.SWITCH,
                source=settings.name,
                user=settings.person,
                reason=f"switch {settings.name}" if settings.person else "",
                first=first.isoformat(),
                seconds=settings.longest_hours * 3600.0,
                **where,
            )
        except StationError as error:  # somebody has begun it by hand: that one counts
            log.info("input %s: begins no maintenance (%s)", settings.name, error)
            switch.beside = True

    # -- platforms

    def by_platform(self, platform: str, point: str | None, device: str, on: bool) -> str:
        """A platform begins or ends maintenance at *point* or of *device*; what speaks against it, or "".

        Raise EntryBusy when somebody else's entry is not done within PATIENCE: the platform's other messages wait.
        """
        settings = next(one for one in self._engine.loaded.config.uplink if one.name == platform)
        person = settings.maintenance_person
        if not self._engine.one_entry.acquire(timeout=PATIENCE):
            raise EntryBusy(f"another entry at the station was not done within {PATIENCE:g} s; ask again")
        try:
            where = {"device": device} if device else {"point": point} if point else {}
            try:
                scope, what, _ = maintenance.scope_of(self._engine.loaded, where)
                span = next(
                    (one for one in self.spans.running() if (one.by, one.source, one.scope, one.what) ==
                     (maintenance.PLATFORM, platform, scope, what)), None,
                )  # fmt: skip
                if on:
                    reason = f"asked for by platform {platform}"
                    self.enter(
                        "maintenance", do="on", by=maintenance.PLATFORM, source=platform, user=person,
                        reason=reason if person else "", **where,
                    )  # fmt: skip
                elif span is None:
                    return f"no maintenance that {platform} began is under way"
                else:
                    self.enter("maintenance", do="off", name=span.name, by=maintenance.PLATFORM, source=platform)
            except StationError as error:
                return str(error)
        finally:
            self._engine.one_entry.release()
        return ""

    # -- what is shown

    def live(self) -> dict[str, Any]:
        """How things stand, for status."""
        now = self._engine.clock.now()
        return fieldwork.standing(self.spans, self.parts, self.visit, now, self._engine.loaded.zone)

    @property
    def whole(self) -> bool:
        """Whether the whole station is under maintenance that a person answers for."""
        now = self._engine.clock.now()
        return any(one.scope == "station" and one.signed and one.on(now) for one in self.spans.running())
