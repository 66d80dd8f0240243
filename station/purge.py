"""Retention: what is past its time goes, a chunk a turn, and never on the word of a clock that may be wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, tzinfo

from station.clock import Clock, trust
from station.config import RetentionSettings
from station.outbox import PlatformOutbox
from station.store import SEQUENCE_BITS, Store

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
BELIEVABLE_GAP = timedelta(days=90)  # a station that seems to have been off for longer may have a wrong clock
AFTER_STEP_SECONDS = 86400.0  # how long a stepped clock is not believed
Work = tuple[str, datetime, tuple[int, int]]  # table, older than, ids first and behind the last
ALL_IDS = (0, 1 << 62)


class Purge:
    """Deletes from *store* what *settings* no longer keep and no platform is owed."""

    def __init__(
        self,
        store: Store,
        settings: RetentionSettings,
        clock: Clock,
        zone: tzinfo,
        outboxes: Iterable[PlatformOutbox],
        note: Callable[..., None],
        believed: Callable[[], str] = trust,
    ) -> None:
        self._store, self._settings, self._clock, self._note = store, settings, clock, note
        self._zone, self._outboxes, self._believed = zone, tuple(outboxes), believed
        self._before_start = store.newest_time()
        self._next = clock.monotonic() + EVERY_SECONDS
        self._stepped_until = 0.0
        self._work: list[Work] = []
        self._gone: dict[str, int] = {}
        self._doubted = False

    def clock_was_stepped(self) -> None:
        """Do not believe the wall clock for a day, unless a time server vouches for it."""
        self._stepped_until = self._clock.monotonic() + AFTER_STEP_SECONDS

    def turn(self) -> None:
        """Delete one chunk if anything is due; raise StoreError when the disk refuses."""
        monotonic = self._clock.monotonic()
        if monotonic >= self._next and not self._work:
            self._next = monotonic + EVERY_SECONDS
            self._work = list(self._due()) if self._believable() else []
        if not self._work:
            return
        table, before, ids = self._work[-1]
        count = self._purge(table, before, ids)
        if count:
            self._gone[table] = self._gone.get(table, 0) + count
            return
        self._work.pop()
        if not self._work and self._gone:
            self._note("purged", rows=self._gone)
            self._gone = {}

    def _purge(self, table: str, before: datetime, ids: tuple[int, int]) -> int:
        if not table.startswith("waiting"):
            return self._store.purge(table, before, self._clock.now(), ids)
        from station import waited  # hardly any station ever waited

        return waited.purge(self._store, table, before)

    def _due(self) -> Iterator[Work]:
        from station.ledger import roll_up  # once an hour: the service does without it otherwise

        now, keep = self._clock.now(), self._settings
        for table, days in (
            ("reading", keep.readings_days),
            ("missed", keep.readings_days),
            ("average", keep.averages_days),
            ("event", keep.events_days),
            ("record", keep.records_days),
        ):
            yield table, now - timedelta(days=days), ALL_IDS
        if self._store.newest("waiting") or self._store.newest("waiting_record"):
            from station import waited

            for table in waited.tables(self._store):
                yield table, now - timedelta(days=keep.readings_days), ALL_IDS
        before = now - timedelta(days=keep.messages_days)
        for outbox in self._outboxes:
            roll_up(self._store, outbox.name, before, now, self._zone)
            ids = (outbox.id << SEQUENCE_BITS, outbox.keep_from())
            yield "message", before, ids

    def _believable(self) -> bool:
        """Whether the wall clock may decide what is old: five years of records hang on it."""
        gap = self._clock.now() - (self._before_start or self._clock.now())
        stepped = self._clock.monotonic() < self._stepped_until
        believable = self._believed() == "ntp" or (gap < BELIEVABLE_GAP and not stepped)
        if not believable and not self._doubted:
            why = "it was stepped" if stepped else f"{gap.days} days seem to have passed since the last reading"
            log.warning("retention waits: the clock is not trusted and %s", why)
            self._note("purge_waits", reason=why)
        self._doubted = not believable
        return believable
