"""When the next calibration or check of each parameter is due: by station.toml, else by what rules want (digest B5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from station.calibration_limits import INTERVALS, Interval, intervals_of
from station.calibration_run import Book, Run
from station.model import dataclass

SOON = 0.1  # of an interval, before its end
OWN = "station.toml"
WATCHED = {system for one in INTERVALS for system in one.systems}


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One parameter's next run of a *kind*: *state* is ok, soon, overdue, or never (nothing of it is on record)."""

    device: str
    parameter: str
    point: str
    kind: str
    days: float
    source: str
    confidence: str
    last: Run | None
    due: datetime | None
    state: str

    def plain(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {
            "device": self.device,
            "parameter": self.parameter,
            "point": self.point,
            "kind": self.kind,
            "days": self.days,
            "source": self.source,
            "confidence": self.confidence,
            "last": self.last.name if self.last else None,
            "last_at": self.last.ended.isoformat() if self.last and self.last.ended else None,
            "due": self.due.isoformat() if self.due else None,
            "state": self.state,
        }


def wanted(system: str, parameter: str, days: Mapping[str, float]) -> list[Interval]:
    """What is wanted of *parameter*: *days* of station.toml (0: nothing), else what rules say.

    >>> wanted("39", "pm10", {"pm10": 90})[0].days, wanted("32", "cod", {"cod": 0}), wanted("39", "pm10", {})
    (90, [], [])
    """
    if parameter not in days:
        return intervals_of(system, parameter)
    if days[parameter] == 0:
        return []
    return [Interval(kind="any", days=days[parameter], parameters=(parameter,), systems=(system,),
                     confidence="high", source=OWN)]  # fmt: skip


def tells(run: Run, kind: str) -> bool:
    """Whether *run* counts as one of *kind*: it is done, and was accepted or put in force with a reason."""
    if run.state != "done" or not (run.result.get("accepted") or run.result.get("override")):
        return False
    sets = bool(run.result.get("changes")) or run.touched
    flow = run.procedure == "flow-check"
    return {"any": True, "check": not flow, "calibration": sets, "flow": flow}[kind]


def due(book: Book, places: Iterable[tuple[str, str, str, str, Mapping[str, float]]], now: datetime) -> list[Due]:
    """What is due of *places* (device, parameter, point, system, days of station.toml), the most urgent first."""
    found = []
    for device, parameter, point, system, days in places:
        runs = [run for run in book.runs.values() if (run.device, run.parameter) == (device, parameter)]
        for interval in wanted(system, parameter, days):
            last = next((run for run in reversed(runs) if tells(run, interval.kind)), None)
            at = last.ended + timedelta(days=interval.days) if last and last.ended else None
            found.append(
                Due(
                    device=device, parameter=parameter, point=point, kind=interval.kind, days=interval.days,
                    source=interval.source, confidence=interval.confidence, last=last, due=at,
                    state=_state(at, interval.days, now),
                )
            )  # fmt: skip
    return sorted(found, key=lambda one: (one.due is not None, one.due or now))


def _state(at: datetime | None, days: float, now: datetime) -> str:
    if at is None:
        return "never"
    if at <= now:
        return "overdue"
    return "soon" if at - now <= timedelta(days=days * SOON) else "ok"
