"""How far the clocks of platforms are from ours, as their commands show it; loaded with the first command.

A platform tells its time in two places (HJ 212-2017, read): the QN of what it sends, to the millisecond, and the
SystemTime of 1012, to the second.  What a QN shows is of low confidence: a command may have been held back on the
way, and platforms were seen that number it otherwise; 1012 is meant as the time, so what that shows is of medium
confidence.  Their answers repeat our own QN and tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from station.model import dataclass

LARGE = timedelta(seconds=30)  # from which on it is an event (engineering.md: within 30 s of Beijing time, grade S)
MOST_EVENTS = 12  # of one platform in an hour, whatever it sends
HOUR = timedelta(hours=1)
CONFIDENCE: Mapping[str, str] = {"QN": "low", "SystemTime": "medium"}


@dataclass(frozen=True, slots=True)
class ClockError:
    """A platform's clock against ours: positive *seconds* where it is ahead; *at* our time, *told* by which field."""

    seconds: float
    at: datetime
    told: str

    def shown(self) -> dict[str, Any]:
        """As plain data: seconds, at, told, confidence, large."""
        large = abs(self.seconds) > LARGE.total_seconds()
        at, confidence = self.at.isoformat(timespec="seconds"), CONFIDENCE[self.told]
        return {"seconds": self.seconds, "at": at, "told": self.told, "confidence": confidence, "large": large}


class PlatformClocks:
    """What each platform's clock was last; *note* records an event where that is far off and news."""

    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note
        self._found: dict[str, ClockError] = {}
        self._noted: dict[str, float] = {}
        self._events: dict[str, list[datetime]] = {}

    def told(self, platform: str, time: datetime, now: datetime, field: str) -> None:
        """*platform* said, in *field*, that it is *time* when it was *now* here by a clock that is trusted."""
        error = ClockError(round((time - now).total_seconds(), 1), now, field)
        self._found[platform] = error
        before = self._noted.get(platform, 0.0)
        large = LARGE.total_seconds()
        if abs(error.seconds) > large and abs(error.seconds - before) > large:
            self._noted[platform] = error.seconds
            self._tell("clock_error", platform, error)
        elif before and abs(error.seconds) <= large:
            del self._noted[platform]
            self._tell("clock_error_over", platform, error)

    def _tell(self, code: str, platform: str, error: ClockError) -> None:
        recent = [at for at in self._events.get(platform, ()) if abs(error.at - at) < HOUR]
        if len(recent) < MOST_EVENTS:
            self._events[platform] = [*recent, error.at]
            confidence = CONFIDENCE[error.told]
            self._note(code, platform=platform, seconds=error.seconds, told=error.told, confidence=confidence)

    def shown(self) -> dict[str, dict[str, Any]]:
        """The newest of each platform that was heard."""
        return {name: error.shown() for name, error in list(self._found.items())}
