"""Room on the disk: an alarm before there is none, a reserve that is given up then, what may leave where wanted.

A full disk never costs what a platform is still owed.  When it comes, the reserve goes first, so that alarms, answers
and readings can still be written.  Then readings wait in memory, as many as it holds, and each that is dropped is
counted.  With `[retention] when_full = "answered"` the oldest raw readings make room in the file before that: only
such whose messages every platform has answered for.  What left is an event, and a record of kind `released` written
with their deletion: `station verify` takes it for the reason that they are missing, as it does a person's release.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from station.clock import Clock, from_ms
from station.model import Record, StoreError
from station.outbox import PlatformOutbox
from station.store import SEQUENCE_BITS, Store

log = logging.getLogger(__name__)

LOW = 4  # times the reserve: with less room than this there is an alarm
LEAST_LOW = 32 << 20  # bytes; the same where no reserve is wanted
SHARE = 0.05  # of the readings that leave in one go
BETWEEN = 600.0  # seconds between two goes: a disk that others fill does not empty the file
RELEASED = "released"  # as station/capacity.py, which this need not load
YOUNG = timedelta(days=2)  # averages, checks and screens still look at these


class Room:
    """The disk of *folder*, where *store* lies, with a reserve of *size* bytes; *note* records an event by its code.

    *left* is told before when raw readings have left: nothing is closed anew of what is older.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        size: int,
        outboxes: Iterable[PlatformOutbox],
        clock: Clock,
        note: Callable[..., None],
        *,
        may_leave: bool = False,
        left: Callable[[datetime], None] = lambda before: None,
    ) -> None:
        self._store, self._folder, self._size, self._clock, self._note = store, folder, size, clock, note
        self._outboxes, self._may_leave, self._left = tuple(outboxes), may_leave, left
        self.reserve = folder / "station.reserve"
        self._low_bytes = LOW * size or LEAST_LOW
        self._next = 0.0
        self.low = False

    @property
    def free(self) -> int | None:
        """Bytes this user may still write on the disk; None where nobody can say."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize

    def look(self) -> None:
        """Now and then: an alarm when room runs short, the reserve made where there is enough of it."""
        free = self.free
        if free is None:
            return
        if self._size and free > self._low_bytes + 2 * self._size and not self.reserve.exists():
            self._make()
        if free < self._low_bytes and not self.low:
            log.warning("%s: %.1f MB are free on this disk; make room", self._folder, free / 1e6)
            self._note("disk_low", urgent=True, free_mb=round(free / 1e6, 1))
            self.low = True
        elif free > self._low_bytes + self._size and self.low:
            self._note("disk_room", free_mb=round(free / 1e6, 1))
            self.low = False

    def _make(self) -> None:
        """Real blocks, not a hole: what is reserved must be there."""
        try:
            with self.reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError as error:
            log.warning("%s: cannot be made (%s)", self.reserve, error.strerror)
            with suppress(OSError):
                self.reserve.unlink(missing_ok=True)

    def make_some(self) -> bool:
        """The disk is full: give up the reserve, or else readings that may leave; whether there is room now."""
        try:
            if self.reserve.exists():
                self.reserve.unlink()
                log.error("%s: the disk is full; the reserve of %.0f MB is given up", self._folder, self._size / 1e6)
                self._note("disk_full", urgent=True, given_up="reserve", mb=round(self._size / 1e6, 1))
                return True
        except OSError as error:
            log.warning("%s: cannot be given up (%s)", self.reserve, error.strerror)
        monotonic = self._clock.monotonic()
        if not self._may_leave or monotonic < self._next:
            return False
        self._next = monotonic + BETWEEN
        return self._let_readings_go()

    def _let_readings_go(self) -> bool:
        (first, newest), *_ = self._store.query("SELECT min(id), max(id) FROM reading")
        last = self.answered_until()
        if first is None or last < first:
            return False
        last = min(last, first + max(1, round((newest - first) * SHARE)))
        ((rows, until),) = self._store.query("SELECT count(*), max(at_ms) FROM reading WHERE id <= ?", (last,))
        before = from_ms(until).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        body = {"before": before.isoformat(), "rows": rows, "first": first, "last": last, "user": "station",
                "reason": '[retention] when_full = "answered"', "copy": None, "sha256": None}  # fmt: skip
        try:
            with self._store.transaction() as db:
                pages = self._free_pages()
                db.execute("DELETE FROM reading WHERE id <= ?", (last,))
                db.execute("DELETE FROM late WHERE reading <= ?", (last,))
                body["bytes"] = (self._free_pages() - pages) * self._store.query("PRAGMA page_size")[0][0]
                self._store.add_records([Record(RELEASED, self._clock.now(), body)])  # in the room they left
        except StoreError:
            return False  # there is not even room for what a deletion writes
        self._left(before)
        log.error("%s: the disk is full; readings %d to %d left, every platform has answered for them", self._folder,
                  first, last)  # fmt: skip
        said = {"rows": rows, "first": first, "last": last, "mb": round(body["bytes"] / 1e6, 1)}
        self._note("disk_full", urgent=True, given_up="readings", **said)
        return True

    def _free_pages(self) -> int:
        return int(self._store.query("PRAGMA freelist_count")[0][0])

    def answered_until(self) -> int:
        """The last reading (by id) that is neither young nor of a period whose message a platform still waits for."""
        until = self._clock.now() - YOUNG
        for outbox in self._outboxes:
            owed = self._owed_since(outbox)
            until = until if owed is None else min(until, owed)
        return self._store.reading_floor(until)  # by whole hours

    def _owed_since(self, outbox: PlatformOutbox) -> datetime | None:
        """When the oldest period begins that *outbox* still owes its message of."""
        behind = (outbox.id + 1) << SEQUENCE_BITS
        rows = self._store.query(
            "SELECT min(start_ms) FROM message WHERE id >= ? AND id < ?", (outbox.keep_from(), behind)
        )
        return None if rows[0][0] is None else from_ms(rows[0][0])
