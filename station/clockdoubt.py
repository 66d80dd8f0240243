"""Whether a time server can be followed: it is held against platforms, a real-time clock and what is stored.

A time server that lies is believed by the host at once.  The station doubts it where it makes a trusted clock jump by
more than ten minutes while somebody else's clock, which agreed before, does not jump along; and where it begins a boot
before the last time that was known to be right.  While there is doubt nothing is dated and everything waits, as without
any trust (station/timekeeping.py), until a platform's clock agrees, the server takes its jump back, or a person
confirms it.  One source alone that contradicts nobody is followed: there is nothing to hold it against.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Event

from station.clock import Clock
from station.model import StoreError
from station.store import Store
from station.timekeeping import DOUBT

log = logging.getLogger(__name__)

JUMP_SECONDS = 600.0  # what a clock that is trusted may be moved by (station/clockhelper.py)
AGREE_SECONDS = 60.0  # between two clocks that say the same; a platform tells whole seconds, late
RECORDS, RTC = "records", "rtc"
PERSON, ITSELF = "person", "itself"


class Doubt:
    """What speaks against the host's time server; *note* records events.  Offsets are to the monotonic clock."""

    def __init__(
        self, clock: Clock, store: Store, note: Callable[..., None], rtc: Callable[[], datetime | None]
    ) -> None:
        self._clock, self._store, self._note, self._rtc = clock, store, note, rtc
        self._heard: dict[str, float] = {}
        self._confirmed = Event()
        self._kept = ""
        self._accepted: float | None = None  # what ended the last doubt is not doubted again
        self.against = ""  # whom the time server contradicts; nothing where it is believed

    def recall(self) -> None:
        """Take up a doubt that an earlier start had: neither a restart nor a reboot ends it."""
        self.against = self._kept = self._store.remembered("").get(DOUBT, "")

    # -- for other threads

    def hear(self, platform: str, time: datetime) -> None:
        """*platform* says that it is *time*."""
        self._heard[platform] = time.timestamp() - self._clock.monotonic()

    def confirm(self) -> None:
        """A person says that the wall clock is right as it stands."""
        self._confirmed.set()

    # -- the main thread

    def jumped(self, before: float, offset: float) -> bool:
        """The time server moved the clock from offset *before* to *offset*: whether somebody speaks against it."""
        if abs(offset - before) < JUMP_SECONDS or self._was_accepted(offset):
            return False
        others = self._others()
        if any(_agree(other, offset) for other in others.values()):
            return False
        against = [name for name, other in others.items() if _agree(other, before)]
        if against:
            self._begin(against[0], offset - before)
        return bool(against)

    def begins(self, offset: float) -> bool:
        """The time server gives a boot its first *offset*: whether that lies before what is stored."""
        right, now = self._store.last_trusted(), offset + self._clock.monotonic()
        if right is None or now > right.timestamp() - AGREE_SECONDS or self._was_accepted(offset):
            return False
        if any(_agree(other, offset) for other in list(self._heard.values())):
            return False
        self._begin(RECORDS, now - right.timestamp())
        return True

    def over(self, offset: float, dated_by: float | None) -> bool:
        """Whether the doubt ends: somebody agrees with *offset*, or it is again what things were *dated_by*."""
        agreed = [ITSELF] if dated_by is not None and _agree(dated_by, offset) else []
        agreed += [name for name, other in list(self._heard.items()) if _agree(other, offset)]
        if self._confirmed.is_set():
            agreed.append(PERSON)
        self._confirmed.clear()
        if not agreed:
            return False
        self.against, self._accepted = "", offset
        self.keep()
        log.warning("clock: the time server is believed again (%s)", agreed[0])
        self._note("clock_doubt_over", urgent=True, by=agreed[0])
        return True

    def keep(self) -> None:
        """Put down how it stands, so that a restart knows it; again at the next look where the disk refuses."""
        if self._kept == self.against:
            return
        try:
            with self._store.transaction():
                self._store.remember("", {DOUBT: self.against}, self._clock.now(), "station")
        except StoreError as error:
            log.error("clock: that the time server is doubted or not cannot be kept (%s)", error)
            return
        self._kept = self.against

    def _begin(self, against: str, seconds: float) -> None:
        self.against = against
        self._confirmed.clear()
        self.keep()
        log.error("clock: the time server contradicts %s by %+.0f s and is not followed", against, seconds)
        self._note("clock_doubted", urgent=True, against=against, seconds=round(seconds, 1))

    def _was_accepted(self, offset: float) -> bool:
        return self._accepted is not None and _agree(self._accepted, offset)

    def _others(self) -> Mapping[str, float]:
        """Everybody else's offset, as last heard."""
        said = self._rtc()
        rtc = {} if said is None else {RTC: said.timestamp() - self._clock.monotonic()}
        return dict(self._heard) | rtc


def _agree(one: float, other: float) -> bool:
    return abs(one - other) < AGREE_SECONDS
