"""How automatic checks stand, as plain rows for screens, alarms and the control socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from station.checks import Book, Check, CheckSettings, interval, next_slot
from station.parameters import catalogue

if TYPE_CHECKING:
    from station.config import Config


def alarm_rows(
    settings: list[CheckSettings], book: Book, point_of: Callable[[CheckSettings], str]
) -> list[dict[str, Any]]:
    """Each of *settings* in the words of `station alarms`."""
    rows = []
    for one in settings:
        locked, seen = book.locked_by(one.name), book.judged(one.name)
        cause = "check_failed" if locked else "check_passed" if seen else "not_checked"
        known = catalogue()[one.parameter]
        rows.append({
            "name": one.name, "rule": "qc", "point": point_of(one), "parameter": one.parameter, "period": one.check,
            "value": seen[-1].result["value"] if seen else None, "unit": known.unit, "beside": one.value,
            "count": 0, "state": "alarm" if locked else "normal" if seen else "undetermined", "cause": cause,
            "since": (locked or seen[-1]).ended.isoformat() if seen else None,  # type: ignore[union-attr]
            "episode": locked.name if locked else "", "acknowledged": _word_of(locked), "limit": None,
        })  # fmt: skip
    return rows


def point_of(config: Config, one: CheckSettings) -> str:
    """The point whose value a check concerns."""
    device = next(device for bus in config.bus for device in bus.device if device.name == one.device)
    return str(device.points.get(one.parameter, device.point))


def _word_of(check: Check | None) -> dict[str, str]:
    if check is None or not check.word:
        return {}
    return {"user": check.word["user"], "note": check.word["reason"], "at": check.word["at"]}


def due_rows(
    settings: list[CheckSettings], book: Book, now: datetime, zone: Any, works: Mapping[str, tuple[str, str]],
    waiting: Mapping[str, str],
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each of *settings*: the newest check, the last pass, the lock, and when the next one is due."""
    rows = []
    for one in settings:
        seen = book.of(one.name)
        passed, locked = book.last_pass(one.name), book.locked_by(one.name)
        due = next_slot(one, book.seen_to.get(one.name, now), zone)
        overdue = passed is not None and passed.ended is not None and now - passed.ended > interval(one) + one.longest
        under_way = works.get(one.name)
        rows.append({
            "check": one.name, "device": one.device, "parameter": one.parameter, "type": one.check,
            "standard": one.value, "last": seen[-1].name if seen else None,
            "state": seen[-1].state if seen else "never", "outcome": seen[-1].outcome if seen else "",
            "last_at": seen[-1].begun.isoformat() if seen else None,
            "last_pass": passed.ended.isoformat() if passed and passed.ended else None,
            "locked_since": locked.ended.isoformat() if locked and locked.ended else None,
            "due": due.isoformat(), "expires": one.expires, "overdue": overdue,
            "phase": under_way[1] if under_way else "", "waiting": waiting.get(one.name, ""),
        })  # fmt: skip
    return rows
