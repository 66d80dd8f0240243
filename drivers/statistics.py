"""What a line's traffic looked like, unit by unit: the numbers that tell a bad cable from a slow instrument."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

BUCKETS_MS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # upper bounds; a last bucket takes what is longer
HOUR = 3600.0
COUNTS: Mapping[str, str] = {
    "requests": "requests sent",
    "timeouts": "requests nothing came back to",
    "bad_replies": "requests something came back to that was not the answer",
    "crc_errors": "of these, those without a sound frame",
    "wrong_unit": "sound frames of another unit while this one was waited for",
    "exceptions": "Modbus exceptions",
    "busy": "of these, codes 5 and 6: to be asked again later",
    "late": "replies that came after they had been given up",
    "unasked": "sound replies where none was owed: two units with one address, a repeater, another master",
    "echoes": "requests the adapter handed back",
    "woken": "first requests an instrument slept through, which are no time-outs",
    "leftover_bytes": "bytes on the line before a request, asked for by nobody",
}


class Statistics:
    """What one unit has been asked and how it answered, since the station started.

    *latency* counts replies by BUCKETS_MS, *codes* exceptions by code, *worst_ms* is the longest reply seen, late
    ones included: from the first byte of the request to the last of the reply.
    """

    __slots__ = (*COUNTS, "_lately", "_since", "codes", "latency", "worst_ms")

    requests: int
    timeouts: int
    bad_replies: int
    crc_errors: int
    wrong_unit: int
    exceptions: int
    busy: int
    late: int
    unasked: int
    echoes: int
    woken: int
    leftover_bytes: int

    def __init__(self) -> None:
        for name in COUNTS:
            setattr(self, name, 0)
        self.codes: dict[int, int] = {}
        self.latency = [0] * (len(BUCKETS_MS) + 1)
        self.worst_ms = 0.0
        self._since: float | None = None
        self._lately = [0.0, 0.0]  # slowest reply of this hour and of the one before

    def answered(self, seconds: float) -> None:
        """Count a reply that took *seconds*."""
        milliseconds = 1000 * seconds
        self.latency[bisect_left(BUCKETS_MS, milliseconds)] += 1
        self._slow(seconds)

    def came_late(self, seconds: float) -> None:
        """Count a reply that came *seconds* after its request, when it had been given up."""
        self.late += 1
        self._slow(seconds)

    def _slow(self, seconds: float) -> None:
        self.worst_ms = max(self.worst_ms, 1000 * seconds)
        self._lately[0] = max(self._lately[0], seconds)

    def slowest(self, now: float) -> float:
        """Seconds the slowest reply took in the last hour or two before *now*: one odd reply is not held against it."""
        if self._since is None:
            self._since = now
        elif now - self._since > HOUR:
            self._lately, self._since = [0.0, self._lately[0]], now
        return max(self._lately)

    def refused(self, code: int) -> None:
        """Count an exception."""
        self.exceptions += 1
        self.codes[code] = self.codes.get(code, 0) + 1

    def so_far(self) -> dict[str, Any]:
        """Everything as plain data: counts by name, *codes*, *latency*, *worst_ms*."""
        return {name: getattr(self, name) for name in COUNTS} | {
            "codes": {str(code): count for code, count in sorted(self.codes.items())},
            "latency": list(self.latency),
            "worst_ms": round(self.worst_ms, 1),
        }

    def since(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """What was added since *before*, an earlier so_far; *worst_ms* stays that of the whole time.

        >>> line = Statistics()
        >>> before = line.so_far()
        >>> line.refused(2)
        >>> line.since(before)["codes"], line.since(line.so_far())["codes"], line.since({})["exceptions"]
        ({'2': 1}, {}, 1)
        """
        now = self.so_far()
        codes, latency = before.get("codes", {}), before.get("latency", [0] * len(self.latency))
        return {name: now[name] - before.get(name, 0) for name in COUNTS} | {
            "codes": {k: n - codes.get(k, 0) for k, n in now["codes"].items() if n != codes.get(k, 0)},
            "latency": [n - k for n, k in zip(now["latency"], latency, strict=True)],
            "worst_ms": now["worst_ms"],
        }
