"""Events a page at a time, the newest first, by day, by what they are about, or by code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from datetime import time as clock_time
from typing import Any, NamedTuple

from station.clock import from_ms, to_ms
from station.events import Told, about, read_arguments, title
from station.i18n import language
from station.store import Store

ON_A_PAGE = 40
# What a person looks for: beginnings of codes.  The rest is found under all.
GROUPS: Mapping[str, Sequence[str]] = {
    "alarm": ("alarm", "pre_alarm"),
    "device": ("device_", "port_", "line_", "bus_", "instrument_", "foreign_", "second_logger"),
    "uplink": ("link_", "platform_", "message_", "command", "key_", "clock_error", "request_", "setting_"),
    "quality": ("calibration", "qc_", "mark_by_hand", "comparison_", "commissioning_"),
    "field": ("maintenance_", "visit_", "part_", "door_", "mains_", "output", "dustfall", "meter_"),
    "station": ("start", "stop", "clock_", "store_", "disk_", "database_", "purge", "readings_", "seal_", "restored"),
    "page": ("page",),
}
BAD = (
    "alarm", "device_lost", "port_lost", "link_down", "qc_failed", "disk_full", "database_damaged", "mains_lost",
    "message_parked", "platform_refuses",
)  # fmt: skip
WARN = (
    "pre_alarm", "alarm_stale", "disk_low", "clock_waits", "qc_stopped", "qc_missed", "maintenance_on", "line_stuck",
    "command_refused", "part_overdue",
)  # fmt: skip
GOOD = ("alarm_over", "device_back", "port_back", "store_back", "qc_passed", "disk_room", "mains_back", "clock_trusted")


class Line(NamedTuple):
    """One event in the language in use."""

    id: int
    at: datetime
    code: str
    title: str
    about: str
    level: str


def page(
    store: Store, zone: tzinfo, *, group: str = "", code: str = "", day: date | None = None, before: int | None = None
) -> tuple[list[Line], int | None]:
    """The newest events below the number *before*, and the number to ask with for what is older, if there is more."""
    where, values = ["id < ?"], list[Any]([before or 1 << 62])
    if code:
        where.append("code = ?")
        values.append(code)
    elif group in GROUPS:
        where.append("(" + " OR ".join(["code GLOB ?"] * len(GROUPS[group])) + ")")
        values += [f"{beginning}*" for beginning in GROUPS[group]]
    if day is not None:
        first = datetime.combine(day, clock_time(), zone)
        where.append("at_ms >= ? AND at_ms < ?")
        values += [to_ms(first), to_ms(first + timedelta(days=1))]
    rows = store.query(
        f"SELECT id, at_ms, code, arguments FROM event WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
        (*values, ON_A_PAGE + 1),
    )
    found = [Told(number, from_ms(at), str(word), read_arguments(text)) for number, at, word, text in rows[:ON_A_PAGE]]
    lines = [_line(one, zone) for one in found]
    return lines, lines[-1].id if len(rows) > ON_A_PAGE else None


def _line(one: Told, zone: tzinfo) -> Line:
    level = "bad" if one.code in BAD else "warn" if one.code in WARN else "good" if one.code in GOOD else "idle"
    spoken = language()
    return Line(one.id, one.at, one.code, title(one.code, spoken), about(one.arguments, spoken, zone), level)
