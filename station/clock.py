"""The one source of time: wall clock, monotonic clock and period boundaries, so that tests own all three."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from station.model import Kind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SYNCHRONISED = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd touches it when it has set the clock
CHRONY = (Path("/run/chrony"), Path("/run/chronyd"))  # of Debian and of others
SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_LENGTHS = {Kind.MINUTE: MINUTE, Kind.HOUR: timedelta(hours=1), Kind.DAY: timedelta(days=1)}


class Clock(Protocol):
    """What the station asks of time."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds since some start, never stepping; every interval is measured with it."""


class SystemClock:
    """The host's clocks."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved: for tests and replays.

    >>> clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    >>> clock.advance(90)
    >>> clock.now().isoformat(), clock.monotonic()
    ('2026-03-01T00:01:30+00:00', 90.0)
    >>> clock.step(-30)  # the wall clock alone, as a clock correction does
    >>> clock.now().isoformat(), clock.monotonic()
    ('2026-03-01T00:01:00+00:00', 90.0)
    """

    def __init__(self, now: datetime) -> None:
        self._now, self._monotonic = now, 0.0

    def now(self) -> datetime:
        """The wall clock as set."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass on both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Correct the wall clock by *seconds* while no time passes."""
        self._now += timedelta(seconds=seconds)


class Wake:
    """What one thread waits for and all others, signal handlers too, may set.

    An Event of threading does not bear that: a handler that interrupts the thread just as it begins to wait finds
    the Event's lock taken by the thread it interrupted, and neither ever goes on.  A SimpleQueue's put may come
    anywhere.
    """

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """End the wait, or the next one; from any thread and from a signal handler."""
        if self._rings.empty():
            self._rings.put(None)

    def is_set(self) -> bool:
        """Whether it was set and not cleared since."""
        return not self._rings.empty()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it is set, after *seconds* at most; without them it waits until it is."""
        try:
            self._rings.get(timeout=seconds)
        except Empty:
            return False
        self._rings.put(None)
        return True

    def clear(self) -> None:
        """Be not set again; only the thread that waits may say so."""
        while not self._rings.empty():
            self._rings.get()


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 UTC, as stored.

    >>> from datetime import timezone
    >>> to_ms(datetime(2026, 3, 1, 8, tzinfo=timezone(timedelta(hours=8))))
    1772323200000
    """
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """The aware UTC datetime of stored *milliseconds*.

    >>> from_ms(1772323200000).isoformat()
    '2026-03-01T00:00:00+00:00'
    """
    return EPOCH + timedelta(milliseconds=milliseconds)


def period_length(kind: Kind) -> timedelta:
    """How long a MINUTE, HOUR or DAY lasts (the station's zone has no daylight saving)."""
    return _LENGTHS[kind]


def period_start(kind: Kind, moment: datetime, zone: tzinfo) -> datetime:
    """Start (in UTC) of the minute, hour or day of *zone* that contains *moment*.

    >>> from datetime import timezone
    >>> beijing = timezone(timedelta(hours=8))
    >>> period_start(Kind.DAY, datetime(2026, 3, 1, 15, 59, tzinfo=UTC), beijing).isoformat()
    '2026-02-28T16:00:00+00:00'
    """
    local = moment.astimezone(zone).replace(second=0, microsecond=0)
    if kind >= Kind.HOUR:
        local = local.replace(minute=0)
    if kind >= Kind.DAY:
        local = local.replace(hour=0)
    return local.astimezone(UTC)


def floor_to(moment: datetime, seconds: int) -> datetime:
    """The last multiple of *seconds* since 1970 UTC at or before *moment*.

    >>> floor_to(datetime(2026, 3, 1, 0, 0, 59, tzinfo=UTC), 30).isoformat()
    '2026-03-01T00:00:30+00:00'
    """
    return from_ms(to_ms(moment) // (seconds * 1000) * seconds * 1000)


def boot_id() -> str:
    """The kernel's id of this boot; monotonic times of one boot can be compared."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


def trust(setting: str = "auto") -> str:
    """What the host's wall clock is known by: "ntp" where a time server is heard, "host", or "none".

    With the *setting* "auto" systemd-timesyncd is looked at, or chronyd where that keeps the clock.  The host's own
    word ("host") counts where the setting says so, and where nothing of the kind could be there: without systemd the
    clock is the business of whoever runs the container.
    """
    if setting == "host":
        return "host"
    if SYNCHRONISED.exists():
        return "ntp"
    if any(folder.exists() for folder in CHRONY):
        from station.chrony import CHRONYD  # only where it runs

        return "ntp" if CHRONYD.synchronised() else "none"
    return "none" if SYSTEMD.exists() else "host"
