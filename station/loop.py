"""The two-point check of a 4–20 mA loop: a person feeds known currents in place of the transmitter.

Each step is a record, so that a check goes on after a pause or a power cut.  Of each point the station takes the
module's last readings: what it measured is compared with what was fed, in percent of the span of 16 mA.  The limit and
what counts as steady are ours; a loop's own accuracy is in the papers of the transmitter and the module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from station.maintenance import KIND as MAINTENANCE
from station.maintenance import text_in
from station.model import Record, WrongArgument, dataclass, did_you_mean, replace

if TYPE_CHECKING:
    from station.config import Loaded
    from station.fieldwork import Desk

KIND = "loop"
LOW, SPAN = 4.0, 16.0  # mA
READINGS = 3  # of a point
POLLS = READINGS + 2  # in so many polls they have to have come
STEADY_PERCENT = 0.5  # of the span: further apart, the current still moves
LEAST_FED, MOST_FED = 3.8, 20.5  # mA: outside it a reading is a fault, not a value (NE 43)
APART = 8.0  # mA between the two points, at least
LIMIT_PERCENT = 0.5  # of the span, where none is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A current that was fed, what was measured, mA and in the parameter's unit, and the error in % of the span."""

    fed: float
    measured: float
    expected: float
    value: float
    error: float
    at: datetime

    def plain(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {key: getattr(self, key) for key in ("fed", "measured", "expected", "value", "error")} | {
            "at": self.at.isoformat()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check of the loop of *parameter* at *device*; *verdict* is "", passed, failed or cancelled."""

    name: str
    device: str
    point: str
    parameter: str
    user: str
    calibrator: str
    limit: float
    unit: str
    began: datetime
    points: tuple[Point, ...] = ()
    verdict: str = ""
    note: str = ""
    ended: datetime | None = None

    @property
    def worst(self) -> float | None:
        """The largest error, in % of the span."""
        return max((abs(one.error) for one in self.points), default=None)

    @property
    def trouble(self) -> str:
        """Why it cannot be ended yet, "" where it can."""
        fed = [one.fed for one in self.points]
        if len(fed) < 2 or max(fed) - min(fed) < APART:
            return f"two currents are needed, {APART:g} mA apart or more; feed another one: station loop point"
        return ""

    def plain(self) -> dict[str, Any]:
        """As JSON carries it."""
        keys = ("name", "device", "point", "parameter", "user", "calibrator", "limit", "unit", "verdict", "note")
        return {key: getattr(self, key) for key in keys} | {
            "began": self.began.isoformat(),
            "ended": self.ended.isoformat() if self.ended else None,
            "points": [one.plain() for one in self.points],
            "worst": self.worst,
        }


class Book:
    """Every check, as its records leave it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Check] = {}
        for record in sorted(records, key=lambda r: r.id):
            self._take(record)

    def _take(self, record: Record) -> None:
        body = record.body
        name = str(body["name"])
        if body["do"] == "begin":
            said = {key: body[key] for key in ("name", "parameter", "user", "calibrator", "limit", "unit")}
            self._by_name[name] = Check(**said, device=record.device, point=record.point, began=record.at)
        elif (before := self._by_name.get(name)) is None:
            return
        elif body["do"] == "point":
            figures = {key: body[key] for key in ("fed", "measured", "expected", "value", "error")}
            kept = tuple(one for one in before.points if one.fed != body["fed"])  # fed once more, it counts anew
            self._by_name[name] = replace(before, points=(*kept, Point(**figures, at=record.at)))
        else:
            verdict = str(body.get("verdict") or "cancelled")
            note = str(body.get("note") or body.get("reason") or "")
            self._by_name[name] = replace(before, verdict=verdict, note=note, ended=record.at)

    def __iter__(self) -> Iterator[Check]:
        return iter(list(self._by_name.values()))

    @property
    def next_number(self) -> int:
        """The number of the next check."""
        return 1 + max((int(name[1:]) for name in self._by_name), default=0)

    def named(self, name: str) -> Check:
        """The one called *name*, or with "" the one under way; raise WrongArgument."""
        under_way = [one for one in self if not one.verdict]
        if not name and len(under_way) == 1:
            return under_way[0]
        if not name:
            many = ", ".join(one.name for one in under_way)
            raise WrongArgument(
                f"several checks are under way, say which: {many}" if many else
                "no loop check is under way; begin one: station loop begin"
            )  # fmt: skip
        if name not in self._by_name:
            raise WrongArgument(
                f'there is no loop check "{name}"{did_you_mean(name, self._by_name)}; see station loop list'
            )
        return self._by_name[name]

    def open(self, name: str) -> Check:
        """As `named`; raise WrongArgument where it is over."""
        one = self.named(name)
        if one.verdict:
            raise WrongArgument(f"{one.name} is over ({one.verdict}); begin a new one: station loop begin")
        return one


def channel_of(loaded: Loaded, device: str, parameter: str) -> tuple[Any, Any]:
    """Settings of the module *device* and of the channel that *parameter* hangs on; raise WrongArgument."""
    modules = {d.name: d for bus in loaded.config.bus for d in bus.device if d.driver == "current"}
    if device not in modules:
        known = f"; known: {', '.join(modules)}" if modules else ""
        raise WrongArgument(f'there is no module of 4–20 mA "{device}"{did_you_mean(device, modules)}{known}')
    found: Any = modules[device]
    if parameter not in found.channels:
        hint = did_you_mean(parameter, found.channels)
        raise WrongArgument(
            f'on no channel of "{device}" hangs {parameter or "that"}{hint}; known: {", ".join(found.channels)}'
        )
    return found, found.channels[parameter]


# -- entries


def _book(desk: Desk) -> Book:
    return Book(desk.records(KIND))


def _begin(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    user = text_in(fields, "user", "a loop check needs the name of who does it (--user)")
    calibrator = text_in(fields, "calibrator", "a loop check needs the current source and its number (--calibrator)")
    device, parameter = str(fields.get("device") or ""), str(fields.get("parameter") or "")
    settings, one = channel_of(desk.loaded, device, parameter)
    limit = _number(fields.get("limit", LIMIT_PERCENT), "limit")
    if not 0 < limit <= 100:
        raise WrongArgument(f"limit: {limit:g} is no share of the span, 0 to 100 %")
    point = str(settings.points.get(parameter, settings.point))
    book = _book(desk)
    for other in book:
        if not other.verdict and (other.device, other.parameter) == (device, parameter):
            raise WrongArgument(f"{other.name} of {other.user} is under way for it; go on with station loop point")
    _must_be_maintained(desk, (point, parameter))
    body = {
        "do": "begin", "name": f"L{desk.number(book)}", "parameter": parameter, "channel": one.channel, "user": user,
        "calibrator": calibrator, "limit": limit, "unit": one.unit,
    }  # fmt: skip
    return [Record(KIND, desk.now, body, point, device)]


def _must_be_maintained(desk: Desk, place: tuple[str, str]) -> None:
    """What is fed is no measurement: unless its readings are marked M it would go to the platforms as one."""
    if not any(span.on(desk.now) and span.signed and span.covers(place) for span in desk.book(MAINTENANCE)):
        raise WrongArgument(
            f"{place[1]} at {place[0]} is not under maintenance, so that what is fed would count as measured;"
            " begin with station maintenance on"
        )


def _point(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    check = _book(desk).open(str(fields.get("name") or ""))
    user = text_in(fields, "user") or check.user
    fed = _number(fields.get("fed"), "fed")
    if not LEAST_FED <= fed <= MOST_FED:
        raise WrongArgument(f"{fed:g} mA: feed {LEAST_FED:g} to {MOST_FED:g}; beyond that a current is a fault")
    settings, one = channel_of(desk.loaded, check.device, check.parameter)
    _must_be_maintained(desk, (check.point, check.parameter))
    per = (one.high - one.low) / SPAN
    raws = _last(desk, check, settings.poll_seconds)
    if (max(raws) - min(raws)) / abs(per) / SPAN * 100 > STEADY_PERCENT:
        spread = (max(raws) - min(raws)) / abs(per)
        raise WrongArgument(f"the current is not steady, the last {READINGS} readings are {spread:.3f} mA apart; wait")
    value = math.fsum(raws) / len(raws)
    measured = LOW + (value - one.low) / per
    body = {
        "do": "point", "name": check.name, "user": user, "fed": fed, "measured": round(measured, 4),
        "expected": one.low + (fed - LOW) * per, "value": value, "error": round((measured - fed) / SPAN * 100, 3),
    }  # fmt: skip
    return [Record(KIND, desk.now, body, check.point, check.device)]


def _last(desk: Desk, check: Check, poll_seconds: float) -> list[float]:
    """The module's own last readings, before any coefficient of the station."""
    since = max(check.began, desk.now - timedelta(seconds=POLLS * poll_seconds))
    mine = [
        r
        for r in desk.store.readings(since, desk.now + timedelta(seconds=1))
        if (r.device, r.parameter) == (check.device, check.parameter)
    ]
    last = [r.raw for r in mine[-READINGS:] if r.raw is not None]
    if len(last) < READINGS:
        why = f" (the newest: {mine[-1].reason.name.lower()})" if mine and mine[-1].raw is None else ""
        raise WrongArgument(
            f"{check.device} has {len(last)} readings of {check.parameter}, {READINGS} are needed{why}; keep the"
            f" current on for {READINGS * poll_seconds:g} s and ask again"
        )
    return last


def _end(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    check = _book(desk).open(str(fields.get("name") or ""))
    if check.trouble:
        raise WrongArgument(f"{check.name}: {check.trouble}")
    worst = check.worst or 0.0
    body = {
        "do": "end", "name": check.name, "user": text_in(fields, "user") or check.user,
        "verdict": "passed" if worst <= check.limit else "failed", "worst": worst, "limit": check.limit,
        "note": text_in(fields, "note"),
    }  # fmt: skip
    return [Record(KIND, desk.now, body, check.point, check.device)]


def _cancel(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    check = _book(desk).open(str(fields.get("name") or ""))
    reason = text_in(fields, "reason", "say why it is cancelled (--reason)")
    body = {"do": "cancel", "name": check.name, "user": text_in(fields, "user") or check.user, "reason": reason}
    return [Record(KIND, desk.now, body, check.point, check.device)]


def _number(given: Any, key: str) -> float:
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise WrongArgument(f"{key}: {given!r} is no number")
    return number


ENTRIES: Mapping[str, Any] = {"begin": _begin, "point": _point, "end": _end, "cancel": _cancel}
