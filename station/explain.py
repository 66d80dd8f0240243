"""Why a value carries its mark: everything that is on record about one value, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from station.average import Use
from station.clock import from_ms, period_length, period_start, to_ms
from station.marks import HandMark, HandMarks
from station.model import Kind, WrongArgument, replace
from station.periods import BELOW, due, use_of
from station.store import Store, unpack_averages, unpack_mark

if TYPE_CHECKING:
    from station.config import Loaded

NEAR = timedelta(hours=3)  # a slow instrument's value belongs to a moment so far behind it


def explain(
    store: Store, marks: HandMarks, loaded: Loaded, point: str, parameter: str, at: datetime,
    instrument: tuple[str, float],
) -> dict[str, Any]:  # fmt: skip
    """What is on record of *parameter* at *point* at the moment *at*; raise WrongArgument where nothing is.

    *instrument* is the one that measures it now, with the seconds from one value to the next.
    """
    reading = _reading(store, point, parameter, at)
    use = use_of(next(p for p in loaded.config.point if p.code == point))
    periods = [
        _period(store, kind, point, parameter, at, loaded, use, instrument[1])
        for kind in (Kind.MINUTE, Kind.HOUR, Kind.DAY)
    ]
    if reading is None and not any(period["versions"] for period in periods):
        raise WrongArgument(f"there is no {parameter} at {point} near {at.isoformat()}")
    when = from_ms(reading["at_ms"]) if reading else at
    by_hand = [_hand(one) for one in marks if replace(one, withdrawn="").covers(point, parameter, when)]
    device = reading["device"] if reading else instrument[0]
    minute = period_start(Kind.MINUTE, at, loaded.zone)
    return {
        "point": point,
        "parameter": parameter,
        "at": at.isoformat(),
        "reading": None if reading is None else _shown(reading, marks, point, parameter),
        "by_hand": by_hand,
        "missed": list(_missed(store, device, minute)),
        "periods": periods,
        "events": list(_events(store, device, point, at)),
    }


def _reading(store: Store, point: str, parameter: str, at: datetime) -> dict[str, Any] | None:
    """The reading taken at *at*, or the last before it."""
    rows = store.query(
        "SELECT reading.at_ms, device, coefficients, raw, coalesce(value, raw), mark FROM reading"
        " JOIN series ON series.id = reading.series"
        " WHERE reading.id > ? AND point = ? AND parameter = ? AND at_ms <= ? AND at_ms > ?"
        " ORDER BY at_ms DESC, reading.id DESC LIMIT 1",
        (store.reading_floor(at - NEAR), point, parameter, to_ms(at), to_ms(at - NEAR)),
    )
    names = ("at_ms", "device", "coefficients", "raw", "value", "packed")
    return dict(zip(names, rows[0], strict=True)) if rows else None


def _shown(reading: dict[str, Any], marks: HandMarks, point: str, parameter: str) -> dict[str, Any]:
    mark, reason = unpack_mark(reading["packed"])
    at = from_ms(reading["at_ms"])
    return {
        "time": at.isoformat(),
        "device": reading["device"],
        "raw": reading["raw"],
        "value": reading["value"],
        "coefficients": reading["coefficients"],
        "mark": mark.name,
        "reason": reason.name.lower() if reason else "",
        "effective_mark": marks.mark(point, parameter, at, mark).name,
    }


def _hand(one: HandMark) -> dict[str, Any]:
    return {
        "name": one.name,
        "mark": one.mark.name,
        "from": one.first.isoformat(),
        "to": one.last.isoformat() if one.last else None,
        "reason": one.reason,
        "user": one.user,
        "withdrawn": one.withdrawn,
    }


def _period(
    store: Store, kind: Kind, point: str, parameter: str, at: datetime, loaded: Loaded, use: Use, pace_seconds: float
) -> dict[str, Any]:
    number = due(BELOW[kind], period_length(kind), pace_seconds) if kind in BELOW else None
    start = period_start(kind, at, loaded.zone)
    rows = store.query(
        "SELECT version, body FROM average WHERE point = ? AND kind = ? AND start_ms = ? ORDER BY version",
        (point, int(kind), to_ms(start)),
    )
    versions = []
    for version, body in rows:
        found = next((a for a in unpack_averages(body) if a.parameter == parameter), None)
        if found is not None:
            versions.append(
                {
                    "version": version,
                    "mean": found.mean,
                    "mark": found.mark.name,
                    "valid": found.valid,
                    "total": found.total,
                    "expected": found.expected,
                    "parts": found.parts,
                    "is_valid": use.valid(found, kind, number or 1),
                }
            )
    return {
        "kind": kind.name.lower(),
        "start": start.isoformat(),
        "needed": None if number is None else use.needed(kind, number),
        "due": number,
        "strict": use.strict,
        "versions": versions,
    }


def _missed(store: Store, device: str, minute: datetime) -> Iterator[dict[str, Any]]:
    from station.model import Reason

    rows = store.query(
        "SELECT reason, sum(count) FROM missed WHERE device = ? AND first_ms < ? AND last_ms >= ? GROUP BY reason",
        (device, to_ms(minute + period_length(Kind.MINUTE)), to_ms(minute)),
    )
    for reason, count in rows:
        yield {"reason": Reason(reason).name.lower(), "count": count}


def _events(store: Store, device: str, point: str, at: datetime) -> Iterator[dict[str, Any]]:
    """Events about the instrument or the point within an hour of *at*."""
    near = timedelta(hours=1)
    rows = store.query(
        "SELECT at_ms, code, arguments FROM event WHERE at_ms BETWEEN ? AND ?"
        " AND (arguments LIKE ? OR arguments LIKE ?) ORDER BY at_ms LIMIT 50",
        (to_ms(at - near), to_ms(at + near), f'%"device": "{device}"%', f'%"point": "{point}"%'),
    )
    for at_ms, code, arguments in rows:
        yield {"at": from_ms(at_ms).isoformat(), "code": code, "arguments": arguments}
