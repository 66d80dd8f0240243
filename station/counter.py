"""Counters over meter exchanges and roll-overs: what a register rose by, no step lost and none invented.

A roll-over is declared for a parameter of an instrument: the value at which its register is 0 again.  An exchange is
declared by hand, with a name, a reason, the last reading of the old meter and the first of the new one: what was used
is then what the old one still counted and what the new one has counted since.  Stored readings stay as they are.
A fall that neither explains is the counter beginning anew, as before (arithmetic, high; the half is ours).  But a
single 0 between two stands of which the second is not below the first is a bad reading: it counts as the first (ours).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from station.clock import EPOCH
from station.loader import Fault
from station.model import Averaging, Record, WrongArgument, dataclass, did_you_mean, replace
from station.parameters import catalogue

if TYPE_CHECKING:
    from station.config import Config
    from station.store import Store

KIND = "meter"
UNITS = ("kWh", "m³")  # of totals that are registers
LONGEST = timedelta(days=62)  # as marks by hand
NEAR = timedelta(days=2)  # within which the readings on both sides of an exchange are looked at
Stand = tuple[datetime, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A meter taken away at *at* with *old* on its register, and one put in its place that began at *new*."""

    name: str
    point: str
    parameter: str
    at: datetime
    old: float
    new: float
    user: str
    reason: str
    withdrawn: str = ""


class Exchanges:
    """All exchanges, as their records leave them."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Exchange] = {}
        for record in sorted(records, key=lambda r: r.id):
            self.take(record)

    def take(self, record: Record) -> Exchange | None:
        """Enter *record*; the exchange it is about, None where that is past its retention and gone."""
        body = record.body
        if body["do"] == "exchange":
            made = Exchange(
                name=body["name"], point=record.point, parameter=body["parameter"], at=record.at,
                old=body["old"], new=body["new"], user=body["user"], reason=body["reason"],
            )  # fmt: skip
        elif (before := self._by_name.get(body["name"])) is None:
            return None
        else:
            made = replace(before, withdrawn=body["reason"])
        self._by_name[made.name] = made
        return made

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def next_number(self) -> int:
        """The number of the next one: names are never used twice."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def of(self, point: str, parameter: str) -> list[Exchange]:
        """Those that count of *parameter* at *point*, in the order of their times."""
        mine = [
            one
            for one in list(self._by_name.values())
            if (one.point, one.parameter) == (point, parameter) and not one.withdrawn
        ]
        return sorted(mine, key=lambda one: one.at)


def is_counter(parameter: str) -> bool:
    """Whether *parameter* is a register that only rises.

    >>> [is_counter(one) for one in ("energy_total", "rain", "water_total", "power_total", "made_up")]
    [True, True, True, False, False]
    """
    known = catalogue().get(parameter)
    if known is None:
        return False
    return known.averaging is Averaging.SUM or (known.averaging is Averaging.LAST and known.unit in UNITS)


def steady(stands: Sequence[Stand], exchanges: Sequence[Exchange] = (), rollover: float | None = None) -> list[Stand]:
    """*stands* of a register, in the order of their times, as one that was never exchanged and never full.

    A fall is a roll-over when the rise it then means is less than half of *rollover*.  A single 0 that is none, and is
    no new meter's, stands as what was before it.

    >>> from datetime import UTC
    >>> at = [datetime(2026, 3, 1, n, tzinfo=UTC) for n in range(4)]
    >>> [value for _, value in steady(list(zip(at, [9990.0, 9999.0, 4.0, 10.0])), rollover=10_000.0)]
    [9990.0, 9999.0, 10004.0, 10010.0]
    """
    waiting, added = list(exchanges), 0.0
    last: float | None = None
    found: list[Stand] = []
    for at, value in without_noughts(stands, exchanges):
        while waiting and at >= waiting[0].at and _is_of_new(value, last, waiting[0]):
            added += waiting[0].old - waiting[0].new
            last = waiting.pop(0).new
        if rollover is not None and last is not None and value < last and value + rollover - last < rollover / 2:
            added += rollover
        found.append((at, value + added))
        last = value
    return found


def without_noughts(stands: Sequence[Stand], exchanges: Sequence[Exchange] = ()) -> list[Stand]:
    """*stands* with the one before in the place of each single 0 from which the register came back to where it was.

    Whoever began anew at 0 stays there for more than one reading, or comes back below what he had counted.

    >>> from datetime import UTC
    >>> at = [datetime(2026, 3, 1, n, tzinfo=UTC) for n in range(4)]
    >>> [value for _, value in without_noughts(list(zip(at, [7.0, 0.0, 7.5, 0.0])))]
    [7.0, 7.0, 7.5, 0.0]
    """
    found = list(stands)
    for number in range(1, len(found) - 1):
        (earlier, before), (at, value), (later, after) = found[number - 1 : number + 2]
        if any(earlier < one.at <= at for one in exchanges):
            continue  # the 0 may be a new meter's
        after = next((one.old for one in exchanges if at < one.at <= later), after)
        if value == 0.0 < before <= after:
            found[number] = (at, before)
    return found


def _is_of_new(value: float, last: float | None, exchange: Exchange) -> bool:
    """Whether a register behind an exchange is the new meter's: an hour's last reading may still be the old one's."""
    if last is None or value < last or value > exchange.old:
        return True
    return value >= exchange.new >= last  # it fits both: the new one's when that lies nearer


def first_of_new(stands: Sequence[Stand], last: float | None, exchange: Exchange) -> datetime | None:
    """When the new meter is seen first in *stands* behind an *exchange*, before which the register stood at *last*."""
    for at, value in stands:
        if at >= exchange.at and _is_of_new(value, last, exchange):
            return at
        last = value
    return None


def rise(stands: Sequence[Stand], exchanges: Sequence[Exchange] = (), rollover: float | None = None) -> float | None:
    """What a register rose over *stands*; one that fell and neither was exchanged nor full began at 0.

    >>> from datetime import UTC
    >>> at = [datetime(2026, 3, 1, n, tzinfo=UTC) for n in range(4)]
    >>> rise(list(zip(at, [9990.0, 9999.0, 4.0])), rollover=10_000.0), rise(list(zip(at, [7.0])))
    (14.0, None)
    """
    if len(stands) < 2:
        return None
    values = [value for _, value in steady(stands, exchanges, rollover)]
    stands = without_noughts(stands, exchanges)
    pairs = zip(pairwise(values), stands[1:], strict=True)
    return round(math.fsum(b - a if b >= a else shown for (a, b), (_, shown) in pairs), 9)


def rollover_faults(place: str, rollover: Mapping[str, float]) -> Iterator[Fault]:
    """What is wrong in an instrument's *rollover*."""
    for parameter, value in rollover.items():
        if not is_counter(parameter):
            yield Fault(f"{place}.rollover.{parameter}", "is no counter: nothing rolls over")
        elif not (math.isfinite(value) and value > 0):
            yield Fault(f"{place}.rollover.{parameter}", f"{value:g} is no value a register could be 0 again at")


def rollovers(config: Config) -> dict[tuple[str, str], float]:
    """Where each register of *config* is 0 again, by point and parameter."""
    return {
        (device.points.get(parameter, device.point), parameter): value
        for bus in config.bus
        for device in bus.device
        for parameter, value in device.rollover.items()
    }


def in_store(store: Store) -> Exchanges:
    """Every exchange that is declared in *store*."""
    return Exchanges(store.records(KIND, EPOCH, datetime.max.replace(tzinfo=UTC)))


# -- entering one: what is wrong is said in one sentence, and nothing is kept


def enter(
    book: Exchanges, store: Store, fields: Mapping[str, Any], points: Iterable[str], now: datetime, number: int = 0
) -> Record:
    """The record of an entry: do (exchange, withdraw) and what it needs; raise WrongArgument, and nothing is kept."""
    do, user, reason = (str(fields.get(key) or "").strip() for key in ("do", "user", "reason"))
    if not user or not user.isprintable():
        raise WrongArgument("a meter exchange needs the name of who declares it (--user)")
    if not reason or not reason.isprintable():
        raise WrongArgument("a meter exchange needs a reason, such as the numbers of both meters (--reason)")
    who = {"user": user, "reason": reason, "entered": now.isoformat(timespec="seconds")}
    if do == "withdraw":
        name = str(fields.get("name") or "")
        known = {one.name: one for one in book}
        if name not in known:
            raise WrongArgument(f'there is no exchange "{name}"{did_you_mean(name, known)}; see station meter list')
        if known[name].withdrawn:
            raise WrongArgument(f"{name} was withdrawn: {known[name].withdrawn}")
        return Record(KIND, now, {"do": do, "name": name, **who}, known[name].point)
    if do != "exchange":
        raise WrongArgument(f"{do!r} is no entry of meters")
    return _exchanged(book, store, fields, list(points), now, who, number or book.next_number)


def _exchanged(
    book: Exchanges, store: Store, fields: Mapping[str, Any], points: Sequence[str], now: datetime,
    who: Mapping[str, str], number: int,
) -> Record:  # fmt: skip
    point, parameter = str(fields.get("point") or ""), str(fields.get("parameter") or "")
    if point not in points:
        raise WrongArgument(f'there is no point "{point}"{did_you_mean(point, points)}')
    if not is_counter(parameter):
        counters = [key for key in catalogue() if is_counter(key)]
        raise WrongArgument(f'"{parameter}" is no counter{did_you_mean(parameter, counters)}')
    at = _moment(fields.get("at")) or now
    if at > now:
        raise WrongArgument(f"{at.isoformat()} is not over yet; declare an exchange when it is done")
    if now - at > LONGEST:
        raise WrongArgument(f"more than {LONGEST.days} days ago; that month is closed")
    if any(one.at == at for one in book.of(point, parameter)):
        raise WrongArgument(f"an exchange of {parameter} at {at.isoformat()} is declared already")
    old, new = _register(fields, "old"), _register(fields, "new")
    before = store.normal_values(point, parameter, at - NEAR, at, store.reading_floor(at - NEAR))
    until = min(at + NEAR, now + timedelta(seconds=1))
    after = store.normal_values(point, parameter, at, until, store.reading_floor(at))
    if before and (last := max(before))[1] > old:
        said = f"the old meter stood at {last[1]:g} at {last[0].isoformat()} already"
        raise WrongArgument(f"{said}: its last reading cannot be {old:g}")
    if after and (first := min(after))[1] < new:
        said = f"the new meter stood at {first[1]:g} at {first[0].isoformat()}"
        raise WrongArgument(f"{said}: its first reading cannot be {new:g}")
    body = {"do": "exchange", "name": f"X{number}", "parameter": parameter, "old": old, "new": new, **who}
    return Record(KIND, at, body, point)


def _register(fields: Mapping[str, Any], key: str) -> float:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise WrongArgument(f"a meter exchange needs --{key}, what the {key} meter's register stood at")
    try:
        number = float(value)
    except ValueError as error:
        raise WrongArgument(f'--{key}: "{value}" is not a number') from error
    if not math.isfinite(number) or number < 0:
        raise WrongArgument(f"--{key}: {number:g} is no stand of a register")
    return number


def _moment(text: Any) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a time') from error
    if moment.tzinfo is None:
        raise WrongArgument(f"{text} needs its offset from UTC")
    return moment
