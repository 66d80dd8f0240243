"""What goes on beside the measuring: an open door, a running cannon.  A reason beside a value, never a mark."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from station.model import Reading, Reason, dataclass, replace

KEPT_SECONDS = 4 * 3600.0  # an analyser's value may be dated back to its sampling, hours ago


@dataclass(frozen=True, slots=True)
class Span:
    """How long one *source* lent its reason to a point, in seconds of the clock that never steps."""

    source: str
    reason: Reason
    since: float
    until: float | None = None


class Conditions:
    """Which reasons hold where and when.  One thread begins and ends them, every bus thread asks."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._spans: dict[str, tuple[Span, ...]] = {}  # by point; a tuple is replaced, never changed

    def begin(self, point: str, source: str, reason: Reason, at: float) -> bool:
        """From *at* on, *source* lends readings of *point* its *reason*; false if it does so already."""
        spans = self._spans.get(point, ())
        if any(s.source == source and s.until is None for s in spans):
            return False
        kept = tuple(s for s in spans if s.until is None or at - s.until < KEPT_SECONDS)
        self._spans[point] = (*kept, Span(source, reason, at))
        return True

    def end(self, point: str, source: str, at: float) -> float | None:
        """At *at* it is over; how long it lasted, or None if nothing had begun."""
        spans = self._spans.get(point, ())
        since = next((s.since for s in spans if s.source == source and s.until is None), None)
        if since is None:
            return None
        self._spans[point] = tuple(replace(s, until=at) if s.source == source and s.until is None else s for s in spans)
        return at - since

    def beside(self, reading: Reading) -> Reading:
        """*reading* with the reason that held when it was taken; one that explains its mark goes before."""
        spans = self._spans.get(reading.point)
        if not spans or reading.reason is not Reason.NONE:
            return reading
        taken = reading.heard - max(0.0, (self._now() - reading.time).total_seconds())
        reasons = [s.reason for s in spans if s.since <= taken and (s.until is None or taken < s.until)]
        return replace(reading, reason=max(reasons)) if reasons else reading
