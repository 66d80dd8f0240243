"""Dispatch orders (调度令): who had to use how much less, from when to when, and whether each line did.

A line is a point with an energy register.  What it used is the difference of its register, so a meter that was silent
in between loses nothing; exchanges and roll-overs that are declared are reckoned with (station/counter.py), any other
fall is not guessed at.  Held against the mean of the last production days before the order: that method is a choice of
this project, the order's own text decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

from station import counter
from station.clock import period_start
from station.model import Kind, Record, WrongArgument, dataclass, did_you_mean, replace
from station.store import Store

KIND = "order"
REGISTERS = ("energy_total", "energy_import")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LOOK_BACK_DAYS = 30  # for production days
PRODUCTION_SHARE = 0.1  # of the largest day: with less nothing was produced (ours)
LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order, from *first* to before *last* (None: still on), for the lines at *points*."""

    name: str
    first: datetime
    last: datetime | None
    points: tuple[str, ...]
    percent: float
    baseline_days: int
    user: str
    reason: str
    withdrawn: str = ""


class Orders:
    """All orders, as their records leave them."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Order] = {}
        for record in sorted(records, key=lambda r: r.id):
            self._take(record)

    def _take(self, record: Record) -> None:
        body = record.body
        if body["do"] == "add":
            self._by_name[body["name"]] = Order(
                name=body["name"],
                first=record.at,
                last=datetime.fromisoformat(body["last"]) if body["last"] else None,
                points=tuple(body["points"]),
                percent=body["percent"],
                baseline_days=body["baseline_days"],
                user=body["user"],
                reason=body["reason"],
            )
            return
        before = self._by_name.get(body["name"])
        if before is None:
            return  # it was given longer ago than records are kept
        new = replace(before, last=record.at) if body["do"] == "end" else replace(before, withdrawn=body["reason"])
        self._by_name[body["name"]] = new

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def next_number(self) -> int:
        """The number of the next order: names are never used twice, though the first ones may be gone."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def named(self, name: str) -> Order:
        """The one called *name*; raise WrongArgument."""
        if name not in self._by_name:
            raise WrongArgument(
                f'there is no order "{name}"{did_you_mean(name, self._by_name)}; see station order list'
            )
        return self._by_name[name]


# -- entering one


def enter(book: Orders, fields: Mapping[str, Any], points: Mapping[str, Any], now: datetime, number: int = 0) -> Record:
    """The record of an entry: do (add, end, withdraw) and what it needs; raise WrongArgument, and nothing is kept."""
    do, user, reason = (str(fields.get(key) or "").strip() for key in ("do", "user", "reason"))
    if not user or not user.isprintable():
        raise WrongArgument("an order needs the name of who enters it (--user)")
    if not reason or not reason.isprintable():
        raise WrongArgument("an order needs a reason, such as its number and level (--reason)")
    who = {"user": user, "reason": reason, "entered": now.isoformat(timespec="seconds")}
    if do == "add":
        return _added(fields, points, who, number or book.next_number)
    if do not in ("end", "withdraw"):
        raise WrongArgument(f"{do!r} is no entry of orders")
    one = book.named(str(fields.get("name") or ""))
    if one.withdrawn:
        raise WrongArgument(f"{one.name} was withdrawn: {one.withdrawn}")
    at = (_moment(fields, "to") or now) if do == "end" else now
    if do == "end" and one.last is not None and one.last <= at:
        raise WrongArgument(f"{one.name} ended at {one.last.isoformat()}")
    if do == "end" and at <= one.first:
        raise WrongArgument(f"{one.name} begins at {one.first.isoformat()}; withdraw it instead")
    return Record(KIND, at, {"do": do, "name": one.name, **who})


def _added(fields: Mapping[str, Any], points: Mapping[str, Any], who: Mapping[str, str], number: int) -> Record:
    first, last = _moment(fields, "from"), _moment(fields, "to")
    if first is None:
        raise WrongArgument("an order needs its beginning (--from)")
    if last is not None and not first < last:
        raise WrongArgument(f"{first.isoformat()} is not before {last.isoformat()}")
    if last is not None and last - first > LONGEST:
        raise WrongArgument(f"more than {LONGEST.days} days at once")
    scope = list(dict.fromkeys(str(one) for one in fields.get("points") or ()))
    if not scope:
        raise WrongArgument("an order needs its lines (--scope POINT, once for each)")
    for point in scope:
        if point not in points:
            raise WrongArgument(f'there is no point "{point}"{did_you_mean(point, points)}')
    percent, days = _number(fields, "percent", 0, 100), _number(fields, "baseline_days", 1, LOOK_BACK_DAYS)
    body = {
        "do": "add",
        "name": f"O{number}",
        "last": last.isoformat() if last else None,
        "points": scope,
        "percent": percent,
        "baseline_days": int(days),
        **who,
    }
    return Record(KIND, first, body)


def _number(fields: Mapping[str, Any], key: str, low: float, high: float) -> float:
    try:
        value = float(fields.get(key) or 0)
    except (TypeError, ValueError) as error:
        raise WrongArgument(f'{key}: "{fields.get(key)}" is not a number') from error
    if not low <= value <= high or (key == "percent" and value == 0):
        raise WrongArgument(f"{key}: {value:g} is not between {low:g} and {high:g}")
    return value


def _moment(fields: Mapping[str, Any], name: str) -> datetime | None:
    text = fields.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a time') from error
    if moment.tzinfo is None:
        raise WrongArgument(f"{text} needs its offset from UTC")
    return moment


# -- whether a line kept to it


@dataclass(frozen=True, slots=True)
class Energy:
    """What a register says was used between two moments: at *least* so much, at *most* so much; None: it says nothing.

    The two are the same where the register is known at both moments.  *fell* counts how often it fell, in which case
    no most is known.
    """

    least: float | None
    most: float | None
    fell: int = 0

    @property
    def whole(self) -> bool:
        """Whether it is just what was used."""
        return self.least is not None and self.most is not None and math.isclose(self.least, self.most, abs_tol=1e-9)


def energy(registers: Sequence[tuple[datetime, float | None]], start: datetime, end: datetime) -> Energy:
    """What was used from *start* to *end* by *registers*, (moment, kWh); of two of one moment the last holds.

    A register that fell begins anew: what was used across the fall is not known and counts nothing.

    >>> from datetime import UTC
    >>> at = [datetime(2026, 1, 1, n, tzinfo=UTC) for n in range(4)]
    >>> energy([(at[0], 10.0), (at[1], 14.0), (at[2], 1.0), (at[3], 3.0)], at[0], at[3])
    Energy(least=6.0, most=None, fell=1)
    >>> energy([(at[0], 10.0), (at[1], None), (at[3], 18.0)], at[0], at[2])
    Energy(least=None, most=8.0, fell=0)
    """
    known = [
        (at, value)
        for at, value in sorted(dict(registers).items())
        if value is not None and math.isfinite(value) and value >= 0
    ]
    first = next((n for n in range(len(known) - 1, -1, -1) if known[n][0] <= start), None)
    last = next((n for n, (at, _) in enumerate(known) if at >= end), None)
    inside = [value for at, value in known if start <= at <= end]
    around = [value for _, value in known[first or 0 : None if last is None else last + 1]]
    fell = _falls(around)
    least = _rise(inside) if len(inside) > 1 else None
    most = _rise(around) if first is not None and last is not None and not fell else None
    return Energy(least, most, fell)


def _rise(values: Sequence[float]) -> float:
    return math.fsum(max(0.0, after - before) for before, after in pairwise(values))


def _falls(values: Sequence[float]) -> int:
    return sum(after < before for before, after in pairwise(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How one line kept to an order so far; *verdict* is complies, exceeds or undetermined, *why* a word of WHYS."""

    point: str
    verdict: str
    why: str
    used_kwh: float | None = None
    allowed_kwh: float | None = None
    baseline_kwh: float | None = None  # a day
    baseline_days: int = 0
    fell: int = 0
    hours: float = 0.0


WHYS = ("within", "above", "silent", "gap", "register_fell", "no_baseline", "not_begun", "no_register")


def compliance(
    order: Order, point: str, registers: Sequence[tuple[datetime, float | None]], now: datetime, zone: tzinfo
) -> Line:
    """How the line at *point* kept to *order* by *now*; what is not whole proves what it can prove."""
    end = min(order.last or now, now)
    if end <= order.first:
        return Line(point=point, verdict="undetermined", why="not_begun")
    used = energy(registers, order.first, end)
    hours = (end - order.first) / HOUR
    days = _production_days(order, registers, zone)
    made = Line(
        point=point, verdict="undetermined", why="no_baseline", fell=used.fell, hours=hours, baseline_days=len(days),
        used_kwh=used.least if used.most is None else used.most,
    )  # fmt: skip
    if not any(value is not None for _, value in registers):
        return replace(made, why="no_register")
    if not days:
        return made
    baseline = math.fsum(days) / len(days)
    allowed = baseline * (1 - order.percent / 100) * hours / 24
    made = replace(made, baseline_kwh=baseline, allowed_kwh=allowed)
    if used.least is not None and used.least > allowed + 1e-9:
        return replace(made, verdict="exceeds", why="above", used_kwh=used.least)
    if used.most is not None and used.most <= allowed + 1e-9:
        return replace(made, verdict="complies", why="within")
    return replace(made, why="register_fell" if used.fell else "silent" if used.least is None else "gap")


def _production_days(order: Order, registers: Sequence[tuple[datetime, float | None]], zone: tzinfo) -> list[float]:
    """What was used in each of the last production days before the order that are known whole."""
    last = period_start(Kind.DAY, order.first, zone)
    days = [energy(registers, last - (n + 1) * DAY, last - n * DAY) for n in range(LOOK_BACK_DAYS)]
    known = [one.most for one in days if one.most is not None and one.whole]
    largest = max(known, default=0.0)
    return [kwh for kwh in known if kwh > PRODUCTION_SHARE * largest][: order.baseline_days]


def registers_of(
    store: Store, point: str, start: datetime, end: datetime, rollovers: Mapping[tuple[str, str], float] | None = None
) -> list[tuple[datetime, float | None]]:
    """The energy register of *point* at the end of each hour; the first kind it has.

    As one meter that was never exchanged and never full (station/counter.py).
    """
    reports = store.averages(Kind.HOUR, start, end, point)
    measured = {average.parameter for report in reports for average in report.averages}
    register = next((one for one in REGISTERS if one in measured), None)
    if register is None:
        return []
    stands = [
        (report.start + HOUR, average.mean)
        for report in reports
        for average in report.averages
        if average.parameter == register
    ]
    known = [(at, value) for at, value in stands if value is not None]
    put_right = counter.steady(
        known, counter.in_store(store).of(point, register), (rollovers or {}).get((point, register))
    )
    return sorted({**dict(stands), **dict(put_right)}.items())


def lines(
    store: Store, order: Order, now: datetime, zone: tzinfo, rollovers: Mapping[tuple[str, str], float] | None = None
) -> list[Line]:
    """How each line in the scope of *order* kept to it by *now*, from what *store* has."""
    first = period_start(Kind.DAY, order.first, zone) - (LOOK_BACK_DAYS + 1) * DAY
    end = min(order.last or now, now) + HOUR
    hours = {point: registers_of(store, point, first, end, rollovers) for point in order.points}
    # An hour that goes on has no register yet: an order that is on is looked at up to its last full hour.
    until = now if order.last and order.last <= now else period_start(Kind.HOUR, now, zone)
    return [compliance(order, point, hours[point], until, zone) for point in order.points]
