"""Where the station stands, by gpsd: kept when it changes, an alarm when it was moved, and a clock where none is heard.

Only fixes with height, a small estimated error and a small dilution count, and of those the median of the last ones:
a receiver under a roof wanders by hundreds of metres without.  GNSS vouches for the time only where nobody else does
(station/timekeeping.py), from seconds that go on evenly, and never from a year that is 1024 weeks off.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from station.beside import Beside
from station.clockhelper import EARLIEST, LATEST
from station.gpsd import Fix, Gpsd, NoGpsd, Sky, metres, parse
from station.loader import Fault
from station.model import Record, dataclass, setting

if TYPE_CHECKING:
    from station.commands import ClockSetter
    from station.config import Config
    from station.engine import Engine

log = logging.getLogger(__name__)

KIND = "position"
GNSS = "gnss"
WAIT_SECONDS = 1.0  # for lines, in one turn
PAUSE_SECONDS = 0.1  # whatever gpsd pours out
SILENT_SECONDS = 60.0
MOST_RUBBISH = 20  # lines in a row that are none of gpsd
MEDIAN_OF = 15  # fixes
HOME_AFTER = 60.0  # seconds of good fixes before the first position counts as the place
KEEP_SECONDS = 60.0  # at most one record in so long
OVER_SHARE = 0.7  # of moved_metres: nearer than that it is back
STALE_SECONDS = 30.0  # then a fix is none
EVEN_FIXES, EVEN_SECONDS = 10, 0.5  # seconds that go on evenly: so many, and so far from one another at most
AGREES_SECONDS = 2.0  # a TPV comes up to a second late
ROLLOVER, ROLLOVER_NEAR = timedelta(weeks=1024), timedelta(days=400)  # near: since the last time that was right
AGAIN_SECONDS = 600.0  # between two tries to set the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionSettings:
    """The [position] table: gpsd on this machine, and when the station counts as moved."""

    host: str = setting("127.0.0.1", text="where gpsd listens: an address of this machine")
    port: int = setting(2947, low=1, high=65535, text="its port")
    latitude: float | None = setting(None, low=-90, high=90, text="degrees north of the place; else the first position")
    longitude: float | None = setting(None, low=-180, high=180, text="degrees east of it")
    keep_metres: float = setting(50.0, low=5, high=10000, text="a position so far from the last one kept is kept")
    moved_metres: float = setting(200.0, low=30, high=100000, text="so far from its place the station was moved")
    moved_minutes: float = setting(5.0, low=0.5, high=1440, text="for so long before it counts, and before it is over")
    most_error_metres: float = setting(
        30.0, low=1, high=1000, text="a fix with a larger estimated error counts for nothing"
    )
    most_hdop: float = setting(4.0, low=0.5, high=50, text="nor one with a larger dilution")
    clock: bool = setting(True, text="whether GNSS may give the time where no time server and no platform does")


def faults(config: Config, folder: Path) -> Iterator[Fault]:
    """What is wrong in [position]."""
    one: PositionSettings = config.position
    try:
        local = ip_address(one.host).is_loopback
    except ValueError:
        local = False
    if not local:
        yield Fault("position.host", f'"{one.host}" is not an address of this machine such as 127.0.0.1')
    if (one.latitude is None) is not (one.longitude is None):
        yield Fault("position.latitude", "and longitude belong together")
    if one.keep_metres > one.moved_metres:
        yield Fault("position.keep_metres", f"{one.keep_metres:g} m are more than moved_metres ({one.moved_metres:g})")


def make(engine: Engine) -> list[Beside]:
    """The thread that listens to gpsd."""
    return [Position(engine)]


class Position(Beside):
    """Where the station stands, whether it was moved, and what GNSS says of the time."""

    def __init__(self, engine: Engine, setter: ClockSetter | None = None) -> None:
        super().__init__(engine, "position", "gpsd")
        self.settings: PositionSettings = engine.config.position
        self._gpsd: Gpsd | None = None
        self._heard, self._rubbish = 0.0, 0
        self._good: deque[tuple[float, float]] = deque(maxlen=MEDIAN_OF)
        self._good_since: float | None = None
        self._fixed_at, self.mode, self._hdop = -1e9, 0, math.inf  # no dilution was told yet
        self.home: tuple[float, float] | None = None
        self.at: tuple[float, float] | None = None
        self._kept: tuple[float, float] | None = None
        self._kept_at = -1e9
        self.moved = False
        self._turned: float | None = None  # since when it is where it would count as moved, or as back
        self._resumed = False
        self.time = GnssClock(engine, setter) if self.settings.clock else None

    def turn(self) -> float:
        """Hear what has come, and judge it."""
        if not self._resumed:
            self._resume()
        if self._gpsd is None:
            self._gpsd = Gpsd(self.settings.host, self.settings.port)
            self._heard, self._rubbish = self.engine.clock.monotonic(), 0
        try:
            for line in self._gpsd.lines(WAIT_SECONDS):
                self._hear(line)
            silent = self.engine.clock.monotonic() - self._heard
            if silent > SILENT_SECONDS:
                raise NoGpsd(f"gpsd says nothing of a position for {silent:.0f} s; is the receiver connected?")
        except NoGpsd:
            self.close()
            raise
        if self.time is not None:
            self.time.turn()
        return PAUSE_SECONDS

    def close(self) -> None:
        """Hang up."""
        if self._gpsd is not None:
            self._gpsd.close()
            self._gpsd = None

    def _hear(self, line: bytes) -> None:
        try:
            said = parse(line)
        except ValueError as error:
            self._rubbish += 1
            if self._rubbish >= MOST_RUBBISH:
                raise NoGpsd("gpsd says what is no report of gpsd; does another program listen there?") from error
            return
        self._rubbish = 0
        if isinstance(said, Sky):
            self._hdop = said.hdop
        if isinstance(said, Fix):
            self._heard = self.engine.clock.monotonic()
            self._take(said)

    def _take(self, fix: Fix) -> None:
        now = self.engine.clock.monotonic()
        self.mode = fix.mode
        if self.time is not None:
            self.time.hear(fix)
        if not self._is_good(fix) or fix.latitude is None or fix.longitude is None:
            self._turned = None  # who does not know where it is was not moved for so long
            return
        if now - self._fixed_at > STALE_SECONDS:
            self._good.clear()
            self._good_since = now
        self._fixed_at = now
        self._good.append((fix.latitude, fix.longitude))
        if len(self._good) < MEDIAN_OF:
            return
        self.at = median(north for north, _ in self._good), _median_east([east for _, east in self._good])
        self._settle(now, fix)
        self._judge(now)
        self._keep_changed(now, fix)

    def _is_good(self, fix: Fix) -> bool:
        """With height, near enough, and of enough satellites; an error that is not told is taken for a large one."""
        return (
            fix.mode == 3
            and fix.error_m is not None
            and fix.error_m <= self.settings.most_error_metres
            and self._hdop <= self.settings.most_hdop
        )

    # -- the place

    def _resume(self) -> None:
        """What is on record: the place, the last position, and whether it was moved."""
        newest = {str(one.body.get("what")): one for one in self.engine.store.newest_records(KIND, "$.what")}
        settings = self.settings
        if settings.latitude is not None and settings.longitude is not None:
            self.home = settings.latitude, settings.longitude
        elif "home" in newest:
            self.home = _where(newest["home"].body)
        if "at" in newest:
            self._kept = _where(newest["at"].body)
        states = [newest[what] for what in ("moved", "back") if what in newest]
        self.moved = bool(states) and max(states, key=lambda one: one.id).body["what"] == "moved"
        self._resumed = True

    def _settle(self, now: float, fix: Fix) -> None:
        """The first position that has stood for a while is the place."""
        if self.home is None and self.at and self._good_since is not None and now - self._good_since >= HOME_AFTER:
            self.home = self.at
            self._record("home", fix)
            self.engine.note("position_first", urgent=True, **_words(self.at))

    def _judge(self, now: float) -> None:
        if self.home is None or self.at is None:
            return
        away = metres(self.home, self.at)
        limit = self.settings.moved_metres
        turned = away < OVER_SHARE * limit if self.moved else away > limit
        if not turned:
            self._turned = None
            return
        if self._turned is None:
            self._turned = now
        if now - self._turned < 60 * self.settings.moved_minutes:
            return
        self.moved, self._turned = not self.moved, None
        self._record("moved" if self.moved else "back")
        said = {"metres": round(away), **_words(self.at)}
        if self.moved:
            log.warning("position: the station is %.0f m from its place", away)
            self.engine.note("position_moved", urgent=True, **said)
            self._tell(f"station moved by {away:.0f} m to {self.at[0]:.5f},{self.at[1]:.5f}")
        else:
            self.engine.note("position_back", urgent=True, **said)
            self._tell("station is back in its place")

    def _keep_changed(self, now: float, fix: Fix) -> None:
        """A record of a position that is another one, so often at most."""
        if self.at is None or now - self._kept_at < KEEP_SECONDS:
            return
        if self._kept is None or metres(self._kept, self.at) >= self.settings.keep_metres:
            self._kept, self._kept_at = self.at, now
            self._record("at", fix)

    def _record(self, what: str, fix: Fix | None = None) -> None:
        assert self.at is not None
        body: dict[str, Any] = {"what": what, "latitude": round(self.at[0], 6), "longitude": round(self.at[1], 6)}
        if fix is not None:
            body |= {"error_m": fix.error_m, "hdop": self._hdop}
        self.engine.keep(Record(KIND, self.engine.time.now(), body), urgent=what != "at")

    def _tell(self, text: str) -> None:
        """A log text to who takes site information: what was read of HJ 212 has no field for a position."""
        at = self.engine.time.now()
        for point in self.engine.config.point:
            self.engine.keep(Record("site_info", at, {"item": "logger_log", "value": text}, point.code), urgent=True)

    def more(self) -> dict[str, Any]:
        """Whether there is a fix, where, and how far from its place."""
        fixed = self.engine.clock.monotonic() - self._fixed_at <= STALE_SECONDS
        words: dict[str, str] = {"position_fix": f"{self.mode}D"} if fixed else {"position_no_fix": f"{self.mode}"}
        away = metres(self.home, self.at) if self.home and self.at else None
        if self.at and fixed:
            words["position_at"] = f"{self.at[0]:.5f}, {self.at[1]:.5f}"
        if self.moved and away is not None:
            words["position_moved"] = f"{away:.0f}"
        return {
            "fix": fixed, "mode": self.mode, "moved": self.moved, "away_m": None if away is None else round(away, 1),
            "latitude": self.at[0] if self.at else None, "longitude": self.at[1] if self.at else None, "words": words,
        }  # fmt: skip


class GnssClock:
    """What GNSS says of the time, and whether it counts."""

    def __init__(self, engine: Engine, setter: ClockSetter | None) -> None:
        self._engine, self._setter = engine, setter
        self._even: deque[float] = deque(maxlen=EVEN_FIXES)  # UTC less monotonic, seconds
        self._last: datetime | None = None
        self._last_heard = -1e9
        self._refused = self._contradicts = self._failed = ""
        self._again = -1e9

    def hear(self, fix: Fix) -> None:
        """Take the second of a fix with height; what does not go on evenly begins anew."""
        if fix.mode != 3 or fix.time is None:
            self._even.clear()
            return
        if self._last is not None and fix.time <= self._last and self._even:
            self._even.clear()  # a receiver that stands still, or went back
        self._last, self._last_heard = fix.time, self._engine.clock.monotonic()
        offset = fix.time.timestamp() - self._last_heard
        if self._even and abs(offset - median(self._even)) > EVEN_SECONDS:
            self._even.clear()
        self._even.append(offset)

    @property
    def offset(self) -> float | None:
        """UTC less monotonic, seconds, once it is known: of the fix that came with the least delay."""
        if len(self._even) < EVEN_FIXES or self._engine.clock.monotonic() - self._last_heard > STALE_SECONDS:
            return None
        return max(self._even)

    def turn(self) -> None:
        """Hold it against what is known; vouch for the time where nobody else does."""
        engine, offset = self._engine, self.offset
        if offset is None:
            return
        monotonic = engine.clock.monotonic()
        time = datetime.fromtimestamp(offset + monotonic, UTC)
        if reason := self._why_not(time):
            if not self._refused:
                log.error("position: the time of GNSS is not believed: %s", reason)
                engine.note("gnss_refused", urgent=True, reason=reason)
            self._refused = reason
            return
        self._refused = ""
        engine.time.doubt.hear(GNSS, time)
        apart = (engine.clock.now() - time).total_seconds()
        trust = engine.trust()
        if trust in ("ntp", "host", "platform"):
            self._compare(apart, trust)
        elif not engine.time.against and (trust != GNSS or abs(apart) > AGREES_SECONDS) and monotonic >= self._again:
            self._vouch(time, apart, trust)

    def _why_not(self, time: datetime) -> str:
        """Why *time* cannot be, in a sentence; nothing where it can."""
        known = self._engine.store.last_trusted() or EARLIEST
        turns = round((time - known) / ROLLOVER)
        said = time.isoformat(timespec="seconds")
        if turns and abs(time - known - turns * ROLLOVER) < ROLLOVER_NEAR:
            return f"{said} is {abs(turns)} x 1024 weeks off: the receiver's week counter has rolled over"
        if turns > 0:
            return f"{said} is years after what is stored ({known.isoformat(timespec='seconds')})"
        if not EARLIEST <= time < LATEST:
            return f"{said} cannot be"
        if time < known - timedelta(seconds=60):
            return f"{said} is before what is stored ({known.isoformat(timespec='seconds')})"
        return ""

    def _compare(self, apart: float, trust: str) -> None:
        """Another clock is trusted: a GNSS that says otherwise is told of, once, and not followed."""
        if abs(apart) > 2 * AGREES_SECONDS and not self._contradicts:
            self._contradicts = trust
            self._engine.note("gnss_contradicts", urgent=True, seconds=round(-apart, 1), trust=trust)
        elif abs(apart) <= AGREES_SECONDS and self._contradicts:
            self._contradicts = ""
            self._engine.note("gnss_agrees", trust=trust)

    def _vouch(self, time: datetime, apart: float, trust: str) -> None:
        if abs(apart) > AGREES_SECONDS:
            self._again = self._engine.clock.monotonic() + AGAIN_SECONDS
            if self._setter is None:
                from station.clockhelper import HelperClock

                self._setter = HelperClock(Path(self._engine.config.station.clock_socket))
            if reason := self._setter.set(time, trusted=trust == GNSS):
                if not self._failed:
                    self._engine.note("gnss_clock_not_set", urgent=True, seconds=round(-apart, 1), reason=reason)
                self._failed = reason
                return
        self._failed = ""
        self._engine.clock_was_set(GNSS)


def _where(body: Mapping[str, Any]) -> tuple[float, float]:
    return float(body["latitude"]), float(body["longitude"])


def _words(at: tuple[float, float]) -> dict[str, str]:
    return {"latitude": f"{at[0]:.5f}", "longitude": f"{at[1]:.5f}"}


def _median_east(values: list[float]) -> float:
    """The median of longitudes, also across the date line."""
    near = [value - 360 * round((value - values[0]) / 360) for value in values]
    return (median(near) + 180) % 360 - 180
