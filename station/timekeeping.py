"""What the station dates by: the monotonic clock and an offset to it that somebody vouches for, or nothing yet.

Without trust everything is measured and nothing is dated (engineering.md part 5, "Time"): it waits in the store on
the monotonic clock of its boot (station/waiting.py) until a time server, a platform, GNSS or, after half an hour, a
real-time clock that was right within ninety days gives the offset.  Once there is one it holds for the boot: the
monotonic clock does not step.  A wall clock that is stepped while nobody vouches for it makes new readings wait again,
and so does a time server that others contradict (station/clockdoubt.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from station.clock import Clock, from_ms
from station.model import dataclass
from station.store import Store

if TYPE_CHECKING:
    from station.clockdoubt import Doubt

log = logging.getLogger(__name__)

STEP_SECONDS = 2.0  # a wall clock that moves this far against the monotonic one was stepped
RTC = Path("/sys/class/rtc/rtc0/since_epoch")
RTC_DAYS = timedelta(days=90)  # an RTC that was not set for longer may be minutes off (DS3231: 2 ppm, grade D)
RTC_AGREES = timedelta(seconds=5)  # the wall clock with the RTC that it was set by
RTC_PAUSE = 60.0  # seconds between two looks at the RTC: it is asked over I2C
READINGS, RECORDS = "dated_readings", "dated_records"  # settings of no platform: what waited is handed on up to here
SETTERS = ("platform", "gnss", "network")  # who may set it; "network" is the operator's time from a modem
DOUBT = "clock_doubt"  # another: whom the time server contradicts, or nothing


@dataclass(frozen=True, slots=True)
class Turn:
    """What came to pass with the clock: it was stepped by *step* seconds, and now or still things can be dated.

    *by* is who vouches for it; *seconds* is how far the offset moved since things were dated last, None where they
    never were since the start.
    """

    step: float = 0.0
    by: str = ""
    seconds: float | None = 0.0


def rtc_time() -> datetime | None:
    """What the host's real-time clock says, which keeps UTC; None where there is none that can be read."""
    try:
        return from_ms(int(RTC.read_text(encoding="ascii")) * 1000)
    except (OSError, ValueError):
        return None


class Timekeeper:
    """Watches *clock*; *host_trust* says what the host knows it by, *note* records events.

    *rtc_after_seconds* without trust, the RTC will do; never where it is 0.
    """

    def __init__(
        self,
        clock: Clock,
        store: Store,
        host_trust: Callable[[], str],
        note: Callable[..., None],
        *,
        rtc_after_seconds: float = 1800.0,
        rtc: Callable[[], datetime | None] = rtc_time,
    ) -> None:
        self._clock, self._store, self._host_trust, self._note = clock, store, host_trust, note
        self._rtc_after, self._rtc = rtc_after_seconds, rtc
        self._offset = self.before = self.offset()  # now, and before the last step
        self._dated_by: float | None = None  # the offset of what was dated last
        self._by = "none"  # who vouched for it
        self._was_set, self._by_rtc = Event(), False
        self._setter = self._set_by = ""  # who of SETTERS has set the clock last, and who vouches for it
        self._since = clock.monotonic()  # when it began to wait
        self._rtc_again = 0.0
        self._known: datetime | None = None  # the last time known to be right, when it began to wait
        self.waits = False
        self._doubt: Doubt | None = None

    def offset(self) -> float:
        """Seconds from the monotonic clock to the wall clock, as they stand."""
        return self._clock.now().timestamp() - self._clock.monotonic()

    def begin(self, boot: int) -> None:
        """Find out whether anything can be dated at a start in *boot*: an offset vouched for in it still holds."""
        by, offset = self._store.last_clock(boot)
        self._set_by = by if by in SETTERS else ""
        if self._store.remembered("").get(DOUBT):
            self.doubt.recall()
        if self.trust() == "ntp":
            if by == "none" and self._is_behind():
                self.doubt.begins(self._offset)
            elif by != "none" and abs(offset - self._offset) >= STEP_SECONDS:
                self.doubt.jumped(offset, self._offset)
        if self.trust() == "none" and (by == "none" or abs(offset - self._offset) >= STEP_SECONDS):
            self._wait(self._store.last_trusted())
        else:
            self._by_rtc = by == "rtc"
            self._dated_by, self._by = self._offset, by

    @property
    def doubt(self) -> Doubt:
        """What speaks against the host's time server; made by who needs it, for hardly anybody does."""
        if self._doubt is None:
            from station.clockdoubt import Doubt

            self._doubt = Doubt(self._clock, self._store, self._note, self._rtc)
        return self._doubt

    @property
    def against(self) -> str:
        """Whom the time server contradicts: "records", "rtc" or a platform; nothing where it is believed."""
        return "" if self._doubt is None else self._doubt.against

    def _is_behind(self) -> bool:
        right = self._store.last_trusted()
        return right is not None and self._clock.now() < right

    def trust(self) -> str:
        """What the clock is known by: "ntp", "host", who of SETTERS set it in this boot, "rtc", "none"."""
        host = self._host_trust()
        if host != "none" and not (host == "ntp" and self.against):
            return host
        return self._set_by or ("rtc" if self._by_rtc else "none")

    def dates_by(self) -> str:
        """What the clock table says of what is stored now: who vouches for the time, or did, or "none"."""
        if self.waits:
            return "none"
        now = self.trust()
        return self._by if now == "none" else now

    def now(self) -> datetime:
        """The best time there is: the wall clock, or on from the last time known where nobody vouches for that."""
        if not self.waits or self._known is None:
            return self._clock.now()
        return self._known + timedelta(seconds=self._clock.monotonic() - self._since)

    def was_set(self, by: str = "platform") -> None:
        """From any thread: one of SETTERS has set the clock, which is as good as it gets without a time server."""
        self._setter = by
        self._was_set.set()
        self._set_by = by

    @property
    def waiting_seconds(self) -> float:
        """How long nothing could be dated."""
        return self._clock.monotonic() - self._since if self.waits else 0.0

    def watch(self) -> Turn | None:
        """What has changed since the last look; `dated` is to be called when what follows from it is durable."""
        was_set = self._was_set.is_set()
        if was_set:
            self._was_set.clear()
            self._set_by = self._setter
        trust = self.trust()  # asked before the clock is: a time server steps first and vouches then
        offset = self.offset()
        step = offset - self._offset
        stepped = abs(step) >= STEP_SECONDS
        step *= stepped
        if stepped:
            trust = self._stepped(offset, step, trust, was_set=was_set)
        trust = self._doubted(offset, trust, stepped=stepped)
        if self.waits:
            by = self._look_at_rtc() if trust == "none" else trust
            return Turn(step, by, self._moved()) if by != "none" else Turn(step) if stepped else None
        if stepped and trust == "none":
            before = from_ms(round(1000 * ((self._dated_by or 0.0) + self._clock.monotonic())))
            self._wait(before)
            return Turn(step)
        if stepped or was_set:
            return Turn(step, trust, self._moved())
        return None

    def _stepped(self, offset: float, step: float, trust: str, *, was_set: bool) -> str:
        """Note a step; what the clock is known by behind it: what held before says nothing about it."""
        self.before, self._offset = self._offset, offset
        self._by_rtc = False
        self._set_by = self._set_by if was_set else ""
        if trust in ("rtc", *SETTERS) and not was_set:
            trust = "none"
        log.warning("clock: the wall clock was stepped by %+.1f s", step)
        self._note("clock_step", urgent=True, seconds=round(step, 3), trust=trust)
        return trust

    def _doubted(self, offset: float, trust: str, *, stepped: bool) -> str:
        """What the clock is known by when the time server has been held against the others."""
        if self._doubt is not None:
            self._doubt.keep()
        if trust == "ntp":
            first = self.waits and self._dated_by is None
            if first:
                doubted = self._is_behind() and self.doubt.begins(offset)
            else:
                doubted = stepped and self.doubt.jumped(self.before, offset)
            return "none" if doubted else trust
        if not self.against or (host := self._host_trust()) not in ("ntp", "host"):
            return trust
        if host == "host":  # a person has said in station.toml that its word counts
            self.doubt.confirm()
        return self.trust() if self.doubt.over(offset, self._dated_by) else trust

    def _moved(self) -> float | None:
        return None if self._dated_by is None else self._offset - self._dated_by

    def dated(self, by: str) -> None:
        """From now on things are dated by the offset as it stands, which *by* vouches for."""
        self._dated_by, self._by = self._offset, by
        if self.waits:
            waited, self.waits = self.waiting_seconds, False
            log.warning("clock: trusted (%s) after %.0f s; what waited is dated now", by, waited)
            self._note("clock_trusted", urgent=True, trust=by, waited_seconds=round(waited))

    def _wait(self, known: datetime | None) -> None:
        self.waits, self._since, self._known = True, self._clock.monotonic(), known
        self._rtc_again = self._since + self._rtc_after
        log.warning("clock: nobody vouches for the time; what is measured waits, undated, until somebody does")
        self._note("clock_waits", urgent=True, last_known=known.isoformat(timespec="seconds") if known else None)

    def _look_at_rtc(self) -> str:
        """ "rtc" where nobody else came in time and the real-time clock was right lately, else "none"."""
        monotonic = self._clock.monotonic()
        if not self._rtc_after or monotonic < self._rtc_again or self.against:
            return "none"
        self._rtc_again = monotonic + RTC_PAUSE
        said, now, right = self._rtc(), self._clock.now(), self._store.last_trusted()
        if said is None or right is None or abs(said - now) > RTC_AGREES or not right <= now <= right + RTC_DAYS:
            return "none"
        self._by_rtc = True
        log.warning("clock: by the real-time clock, which was right %s ago", now - right)
        self._note("clock_by_rtc", urgent=True, set_seconds_ago=round((now - right).total_seconds()))
        return "rtc"


def waits(store: Store) -> bool:
    """Whether anything in *store* waits for its date; cheap, for every start asks."""
    noted = store.remembered("")
    done = int(noted.get(READINGS, 0)), int(noted.get(RECORDS, 0))
    return (store.newest("waiting"), store.newest("waiting_record")) > done
