"""Marks that people set afterwards or ahead: a row beside the readings, with name and reason; the effective mark is
the worse of both.

Order 820 Art. 25(5) as digested: a firm's own marks are evidence and name user and time.  Nothing marks a value N:
what an instrument or the line said of it stays said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from station.model import Mark, Record, WrongArgument, dataclass, did_you_mean, replace
from station.parameters import catalogue

KIND = "mark"
BY_HAND = ("M", "C", "D", "F", "S")  # T and B are what instruments and lines say
HOUR, MOST_HOURS = 3600, 256  # seconds; hours whose marks are kept at hand
LONGEST = timedelta(days=62)  # of a spell that is over: every minute of it is closed again


@dataclass(frozen=True, slots=True, kw_only=True)
class HandMark:
    """One mark by hand, from *first* to before *last* (None: still on), for one parameter or all ("")."""

    name: str
    point: str
    parameter: str
    first: datetime
    last: datetime | None
    mark: Mark
    reason: str
    user: str
    withdrawn: str = ""
    quiet: bool = False  # what it changes is not told again to platforms by itself

    def covers(self, point: str, parameter: str, at: datetime) -> bool:
        """Whether it speaks of *parameter* at *point* and *at*."""
        return (
            not self.withdrawn
            and self.point == point
            and self.parameter in ("", parameter)
            and self.first <= at
            and (self.last is None or at < self.last)
        )


class HandMarks:
    """All marks by hand, as their records leave them."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, HandMark] = {}
        self._quiet: set[str] = set()  # the names of the quiet ones, which are few
        self._hours: dict[tuple[str, int], tuple[HandMark, ...]] = {}  # those that concern an hour at a point
        for record in sorted(records, key=lambda r: r.id):
            self.take(record)

    def take(self, record: Record) -> tuple[datetime, datetime | None]:
        """Enter *record*; from when to when (None: on and on) effective marks may have changed.  Twice is as once.

        What ends or withdraws a mark that is past its retention and gone changes nothing any more.
        """
        body = record.body
        self._hours.clear()
        if body["do"] == "mark":
            made = HandMark(
                name=body["name"],
                point=record.point,
                parameter=body["parameter"],
                first=record.at,
                last=datetime.fromisoformat(body["last"]) if body["last"] else None,
                mark=Mark[body["mark"]],
                reason=body["reason"],
                user=body["user"],
                quiet=bool(body.get("quiet")),
            )
            self._by_name[made.name] = made
            if made.quiet:
                self._quiet.add(made.name)
            return made.first, made.last
        before = self._by_name.get(body["name"])
        if before is None:
            return record.at, record.at
        if body["do"] == "end":
            self._by_name[before.name] = replace(before, last=record.at)
            return min(record.at, before.last or record.at), before.last
        self._by_name[before.name] = replace(before, withdrawn=body["reason"])
        return before.first, before.last

    def forget(self, record: Record) -> None:
        """Of a commit that failed and is not tried again: the mark that *record* set was never kept."""
        if record.body["do"] == "mark":
            self._hours.clear()
            self._quiet.discard(record.body["name"])
            self._by_name.pop(record.body["name"], None)

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def next_number(self) -> int:
        """The number of the next mark: names are never used twice, though the first ones may be gone."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def named(self, name: str) -> HandMark:
        """The one called *name*; raise WrongArgument."""
        if name not in self._by_name:
            raise WrongArgument(f'there is no mark "{name}"{did_you_mean(name, self._by_name)}; see station marks list')
        return self._by_name[name]

    def is_quiet(self, point: str, start: datetime, end: datetime) -> bool:
        """Whether a quiet mark, withdrawn or not, lies in a period at *point*: its later versions stay here."""
        found = [self._by_name[name] for name in list(self._quiet)]
        return any(one.point == point and one.first < end and (one.last is None or start < one.last) for one in found)

    def at(self, point: str, parameter: str, moment: datetime) -> list[HandMark]:
        """Those that speak of *parameter* at *point* and *moment*."""
        return [one for one in self._near(point, moment) if one.covers(point, parameter, moment)]

    def _near(self, point: str, moment: datetime) -> tuple[HandMark, ...]:
        """Those that may speak of *moment*: a few, for values are asked in runs and marks gather over years."""
        key = point, int(moment.timestamp() // HOUR)
        found = self._hours.get(key)
        if found is None:
            if len(self._hours) >= MOST_HOURS:
                self._hours.clear()
            begin, end = (datetime.fromtimestamp((key[1] + n) * HOUR, UTC) for n in (0, 1))
            found = self._hours[key] = tuple(
                one
                for one in list(self._by_name.values())
                if one.point == point and one.first < end and (one.last is None or begin < one.last)
            )
        return found

    def mark(self, point: str, parameter: str, moment: datetime, mark: Mark) -> Mark:
        """The effective mark of a value that was stored with *mark*."""
        if not self._by_name:
            return mark
        return max([mark, *(one.mark for one in self.at(point, parameter, moment))])


# -- entering one: what is wrong is said in one sentence, and nothing is kept


def enter(
    book: HandMarks, fields: Mapping[str, Any], points: Mapping[str, Any], now: datetime, number: int = 0
) -> Record:
    """The record of an entry: do (mark, end, withdraw) and what it needs; a new mark is the *number*th.

    Raise WrongArgument, in which case nothing was kept.
    """
    do, user, reason = (str(fields.get(key) or "").strip() for key in ("do", "user", "reason"))
    if not user.isprintable() or not user:
        raise WrongArgument("a mark by hand needs a name (--user)")
    if not reason.isprintable() or not reason:
        raise WrongArgument("a mark by hand needs a reason (--reason)")
    who = {"user": user, "reason": reason, "entered": now.isoformat(timespec="seconds")}
    if do == "mark":
        return _mark(fields, points, now, who, number or book.next_number)
    if do in ("end", "withdraw"):
        return _end(book, fields, now, do, who)
    raise WrongArgument(f"{do!r} is no entry of marks")


def _mark(
    fields: Mapping[str, Any], points: Mapping[str, Any], now: datetime, who: Mapping[str, str], number: int
) -> Record:
    point, parameter = str(fields.get("point") or ""), str(fields.get("parameter") or "")
    if point not in points:
        raise WrongArgument(f'there is no point "{point}"{did_you_mean(point, points)}')
    if parameter and parameter not in catalogue():
        raise WrongArgument(f'there is no parameter "{parameter}"{did_you_mean(parameter, catalogue())}')
    mark = str(fields.get("mark") or "")
    if mark not in BY_HAND:
        raise WrongArgument(f'"{mark}" is not a mark that people set: {", ".join(BY_HAND)}')
    first, last = _moment(fields, "from") or now, _moment(fields, "to")
    if last is not None and not first < last:
        raise WrongArgument(f"{first.isoformat()} is not before {last.isoformat()}")
    if (last or now) - first > LONGEST:
        raise WrongArgument(f"more than {LONGEST.days} days at once; mark them in portions")
    body = {
        "do": "mark",
        "name": f"M{number}",
        "parameter": parameter,
        "last": last.isoformat() if last else None,
        "mark": mark,
        **who,
        **({"quiet": True} if fields.get("quiet") else {}),
    }
    return Record(KIND, first, body, point)


def _end(book: HandMarks, fields: Mapping[str, Any], now: datetime, do: str, who: Mapping[str, str]) -> Record:
    one = book.named(str(fields.get("name") or ""))
    if one.withdrawn:
        raise WrongArgument(f"{one.name} was withdrawn: {one.withdrawn}")
    at = now if do == "withdraw" else _moment(fields, "to") or now
    if do == "end" and one.last is not None and one.last <= at:
        raise WrongArgument(f"{one.name} ended at {one.last.isoformat()}")
    if do == "end" and at <= one.first:
        raise WrongArgument(f"{one.name} begins at {one.first.isoformat()}; withdraw it instead")
    return Record(KIND, at, {"do": do, "name": one.name, **who}, one.point)


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
