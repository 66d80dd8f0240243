"""Power bands: where a line or its treatment runs, learned from the station's own minutes, confirmed by a person.

What is learned is a proposal with its figures.  It decides nothing before a person has confirmed it, and then from that
moment on: a pair looks at the band in place of its configured levels.  The method is this project's (ours): the level
that parts the minutes best into two kinds (Otsu's), of which each must be there often enough and lie well apart.
Figures of a reading's noise are not learned; power as a stand-in for running is practice (medium).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from station.clock import EPOCH
from station.model import Kind, Record, WrongArgument, dataclass, did_you_mean, replace

if TYPE_CHECKING:
    from station.store import Store
    from station.working import PairSettings

KIND = "band"
ROLES = ("production", "treatment")
FEWEST_MINUTES = 1440  # a day of them
FEWEST_SHARE = 0.05  # of the minutes of each kind
LEAST_RATIO = 2.0  # running begins at so many times what standing still ends at
LONGEST = timedelta(days=31)
STEPS = 256  # levels that are tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What *minutes* of power come to, in the parameter's unit: still up to *still_high*, running from *low* to *high*.

    *above* parts them, halfway between the two.
    """

    minutes: int
    running: int
    still_high: float
    low: float
    median: float
    high: float
    above: float


def learned(values: Iterable[float | None]) -> Figures:
    """The figures of the minutes *values*; None and what is no number is left out; raise WrongArgument where they
    do not show two kinds.

    >>> found = learned([0.0] * 900 + [2.0] * 900)
    >>> found.running, found.still_high, found.low, found.above
    (900, 0.0, 2.0, 1.0)
    """
    known = sorted(value for value in values if value is not None and math.isfinite(value) and value >= 0)
    if len(known) < FEWEST_MINUTES:
        raise WrongArgument(f"{len(known)} minutes have a value, {FEWEST_MINUTES} are needed: take a longer span")
    cut = _parting(known)
    still, running = known[:cut], known[cut:]
    if min(len(still), len(running)) < FEWEST_SHARE * len(known):
        raise WrongArgument(
            "it did not both stand still and run in one minute of twenty at least: take a span with both"
        )
    still_high, low = _percentile(still, 0.99), _percentile(running, 0.01)
    if low < LEAST_RATIO * still_high or low <= still_high:
        raise WrongArgument(
            f"standing still ends at {still_high:g} and running begins at {low:g}: that is not well apart; "
            "set the levels by hand"
        )
    return Figures(
        minutes=len(known), running=len(running), still_high=still_high, low=low, median=_percentile(running, 0.5),
        high=_percentile(running, 0.99), above=(still_high + low) / 2,
    )  # fmt: skip


def _parting(known: Sequence[float]) -> int:
    """How many of *known*, in order, lie below the level that parts them best: the two means farthest apart."""
    least, span, whole, count = known[0], known[-1] - known[0], math.fsum(known), len(known)
    best, found, below, number = -1.0, 0, 0.0, 0
    for step in range(1, STEPS):
        level = least + span * step / STEPS
        while number < count and known[number] <= level:
            below += known[number]
            number += 1
        if 0 < number < count:
            apart = below / number - (whole - below) / (count - number)
            between = number * (count - number) * apart * apart
            if between > best:
                best, found = between, number
    return found


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A band of a pair's *role*; *confirmed* (None: nobody has) is from when on it decides, to before *ended*."""

    name: str
    pair: str
    role: str
    first: datetime
    last: datetime
    figures: Figures
    user: str
    of: tuple[str, str]  # the point and the parameter it was learned from
    confirmed: datetime | None = None
    confirmed_by: str = ""
    ended: datetime | None = None
    reason: str = ""

    @property
    def level(self) -> float:
        """Above it the role is taken to run: production by the parting level, treatment from its band's low end on."""
        return self.figures.above if self.role == "production" else math.nextafter(self.figures.low, -math.inf)

    def in_force(self, at: datetime) -> bool:
        """Whether it decides at *at*."""
        return self.confirmed is not None and self.confirmed <= at and (self.ended is None or at < self.ended)


class Bands:
    """All bands, as their records leave them."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Band] = {}
        for record in sorted(records, key=lambda r: r.id):
            self.take(record)

    def take(self, record: Record) -> None:
        """Enter *record*; twice is as once, and what concerns a band that is gone changes nothing."""
        body = record.body
        if body["do"] == "learn":
            self._by_name.setdefault(
                body["name"],
                Band(
                    name=body["name"], pair=record.device, role=body["role"], figures=Figures(**body["figures"]),
                    first=datetime.fromisoformat(body["from"]), last=datetime.fromisoformat(body["to"]),
                    user=body["user"], of=(record.point, body["parameter"]),
                ),
            )  # fmt: skip
        elif (before := self._by_name.get(body["name"])) is not None:
            if body["do"] == "confirm":
                new = replace(before, confirmed=record.at, confirmed_by=body["user"], reason=body["reason"])
            else:
                new = replace(before, ended=record.at, reason=body["reason"])
            self._by_name[before.name] = new

    def __iter__(self) -> Any:
        return iter(list(self._by_name.values()))

    @property
    def next_number(self) -> int:
        """The number of the next one: names are never used twice."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def named(self, name: str) -> Band:
        """The one called *name*; raise WrongArgument."""
        if name not in self._by_name:
            raise WrongArgument(f'there is no band "{name}"{did_you_mean(name, self._by_name)}; see station band list')
        return self._by_name[name]

    def level(self, pair: str, role: str, at: datetime, of: tuple[str, str] | None = None) -> float | None:
        """The level that decides about a pair's *role* at *at*, by the band confirmed last; None without one.

        Where *of* says at which point and parameter the pair looks now, a band of something else decides nothing.
        """
        held = [one for one in self if (one.pair, one.role) == (pair, role) and of in (None, one.of)]
        held = [one for one in held if one.in_force(at)]
        return max(held, key=lambda one: one.confirmed or EPOCH).level if held else None


def in_store(store: Store) -> Bands:
    """Every band in *store*."""
    return Bands(store.records(KIND, EPOCH, datetime.max.replace(tzinfo=UTC)))


# -- entering one: what is wrong is said in one sentence, and nothing is kept


def enter(
    book: Bands, store: Store, fields: Mapping[str, Any], pairs: Mapping[str, PairSettings], now: datetime,
    number: int = 0,
) -> Record:  # fmt: skip
    """The record of an entry: do (learn, confirm, withdraw) and what it needs; raise WrongArgument."""
    do, user, reason = (str(fields.get(key) or "").strip() for key in ("do", "user", "reason"))
    if not user or not user.isprintable():
        raise WrongArgument("a power band needs a name (--user)")
    who = {"user": user, "entered": now.isoformat(timespec="seconds")}
    if do == "learn":
        return _learned(store, fields, pairs, now, who, number or book.next_number)
    if not reason or not reason.isprintable():
        raise WrongArgument("to confirm or withdraw a power band needs a reason (--reason)")
    if do not in ("confirm", "withdraw"):
        raise WrongArgument(f"{do!r} is no entry of power bands")
    one = book.named(str(fields.get("name") or ""))
    if one.ended is not None:
        raise WrongArgument(f"{one.name} was withdrawn: {one.reason}")
    if do == "confirm" and one.confirmed is not None:
        raise WrongArgument(f"{one.name} was confirmed by {one.confirmed_by} at {one.confirmed.isoformat()}")
    if do == "confirm" and one.pair in pairs and (looks := looks_at(pairs[one.pair], one.role)) != one.of:
        (point, parameter), (there, now_is) = one.of, looks
        raise WrongArgument(
            f"{one.name} was learned from {parameter} at {point}, and {one.pair} looks at {now_is} at {there} now: "
            "learn it anew"
        )
    return Record(KIND, now, {"do": do, "name": one.name, "reason": reason, **who}, device=one.pair)


def _learned(
    store: Store, fields: Mapping[str, Any], pairs: Mapping[str, PairSettings], now: datetime,
    who: Mapping[str, str], number: int,
) -> Record:  # fmt: skip
    name, role = str(fields.get("pair") or ""), str(fields.get("role") or "")
    if name not in pairs:
        raise WrongArgument(f'there is no [[pair]] "{name}"{did_you_mean(name, pairs)}')
    if role not in ROLES:
        raise WrongArgument(f'"{role}" is not one of {", ".join(ROLES)}{did_you_mean(role, ROLES)}')
    first, last = _moment(fields, "from"), _moment(fields, "to")
    if not first < last:
        raise WrongArgument(f"{first.isoformat()} is not before {last.isoformat()}")
    if last - first > LONGEST:
        raise WrongArgument(f"more than {LONGEST.days} days at once")
    if last > now:
        raise WrongArgument(f"{last.isoformat()} is not over yet")
    point, parameter = looks_at(pairs[name], role)
    figures = learned(minutes_of(store, point, parameter, first, last))
    body = {
        "do": "learn", "name": f"B{number}", "role": role, "from": first.isoformat(), "to": last.isoformat(),
        "parameter": parameter, "figures": {key: getattr(figures, key) for key in FIGURES}, **who,
    }  # fmt: skip
    return Record(KIND, now, body, point, name)


def looks_at(pair: PairSettings, role: str) -> tuple[str, str]:
    """The point and the parameter by which *pair* knows whether its *role* runs."""
    if role == "production":
        return pair.point, pair.production
    return pair.treatment_point or pair.point, pair.treatment


FIGURES = ("minutes", "running", "still_high", "low", "median", "high", "above")


def minutes_of(store: Store, point: str, parameter: str, first: datetime, last: datetime) -> list[float | None]:
    """The minutes of *parameter* at *point* that are normal, a day of them at a time."""
    found: list[float | None] = []
    while first < last:
        until = min(first + timedelta(days=1), last)
        for report in store.averages(Kind.MINUTE, first, until, point):
            found += [a.mean for a in report.averages if a.parameter == parameter and a.mark == 0]
        first = until
    return found


def _moment(fields: Mapping[str, Any], key: str) -> datetime:
    text = fields.get(key)
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise WrongArgument(f"a span needs its beginning and its end (--from, --to): {text!r} is no time") from error
    if moment.tzinfo is None:
        raise WrongArgument(f"{text} needs its offset from UTC")
    return moment
