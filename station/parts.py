"""Spare parts and consumables: what is in which instrument, when it was changed last, and when it is due.

Due tasks: overdue is said, and makes no value invalid by itself (practice, medium).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from station.maintenance import text_in
from station.model import Record, WrongArgument, dataclass, did_you_mean, replace

KIND = "part"
LONGEST_DAYS = 1800  # what is kept five years still knows of it when it is due


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of *device* ("": of the station itself), good for *days*; *told* is the due day that was told of."""

    name: str
    device: str
    part: str
    days: int
    replaced: date
    count: int = 0  # how often it was replaced
    dropped: str = ""
    told: date | None = None

    @property
    def due(self) -> date:
        """The last day it is good for."""
        return self.replaced + timedelta(days=self.days)

    def overdue(self, today: date) -> bool:
        """Whether its day is over."""
        return not self.dropped and today > self.due

    def plain(self, today: date) -> dict[str, Any]:
        """As JSON carries it; *left_days* below 0 are days overdue."""
        return {
            "name": self.name,
            "device": self.device,
            "part": self.part,
            "interval_days": self.days,
            "replaced": self.replaced.isoformat(),
            "due": self.due.isoformat(),
            "left_days": (self.due - today).days,
            "overdue": self.overdue(today),
            "dropped": self.dropped,
        }


class Book:
    """Every part, as its records leave it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Part] = {}
        for record in sorted(records, key=lambda r: r.id):
            self.take(record)

    def take(self, record: Record) -> None:
        """Enter *record*."""
        body = record.body
        if body["do"] == "add":
            self._by_name[body["name"]] = Part(
                name=body["name"],
                device=record.device,
                part=body["part"],
                days=body["days"],
                replaced=date.fromisoformat(body["replaced"]),
            )
            return
        before = self._by_name.get(body["name"])
        if before is None:
            before = _from_later(record)  # its first record is past its retention; what is known of it goes on
        if body["do"] == "replace":
            changed = replace(before, replaced=date.fromisoformat(body["replaced"]), count=before.count + 1, told=None)
        elif body["do"] == "overdue":
            changed = replace(before, told=date.fromisoformat(body["due"]))
        else:
            changed = replace(before, dropped=body["reason"])
        self._by_name[body["name"]] = changed

    def __iter__(self) -> Iterator[Part]:
        return iter(list(self._by_name.values()))

    @property
    def next_number(self) -> int:
        """The number of the next part."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def named(self, name: str) -> Part:
        """The one called *name* that is still in use; raise WrongArgument."""
        if name not in self._by_name:
            raise WrongArgument(f'there is no part "{name}"{did_you_mean(name, self._by_name)}; see station parts list')
        one = self._by_name[name]
        if one.dropped:
            raise WrongArgument(f"{name} is used no more: {one.dropped}")
        return one

    def due(self, day: date) -> list[Part]:
        """Those whose last day is *day* or before, the longest overdue first."""
        return sorted((one for one in self if not one.dropped and one.due <= day), key=lambda one: one.due)


def _from_later(record: Record) -> Part:
    body = record.body
    replaced = date.fromisoformat(body["replaced"])
    return Part(name=body["name"], device=record.device, part=body["part"], days=body["days"], replaced=replaced)


# -- entries


def add(
    book: Book, devices: Iterable[str], fields: Mapping[str, Any], now: datetime, zone: tzinfo, number: int
) -> Record:
    """The record of a part that is watched from now on; raise WrongArgument, and nothing is kept."""
    user = text_in(fields, "user", "a part needs the name of who enters it (--user)")
    part = text_in(fields, "part", "say what part it is (--part)")
    device, known = str(fields.get("device") or ""), dict.fromkeys(devices)
    if device and device not in known:
        raise WrongArgument(f'there is no device "{device}"{did_you_mean(device, known)}; known: {", ".join(known)}')
    for one in book:
        if not one.dropped and (one.device, one.part.casefold()) == (device, part.casefold()):
            raise WrongArgument(f"{one.name} is that part already; station parts replace {one.name} renews it")
    days = fields.get("days")
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= LONGEST_DAYS:
        raise WrongArgument(f"a part is good for 1 to {LONGEST_DAYS} days (--interval)")
    replaced = _day(fields, now, zone)
    body = {"do": "add", "name": f"P{number}", "part": part, "days": days, "replaced": replaced.isoformat()}
    return Record(KIND, now, {**body, "user": user}, "", device)


def renew(book: Book, fields: Mapping[str, Any], now: datetime, zone: tzinfo, visit: str = "") -> Record:
    """The record that a part was replaced; raise WrongArgument."""
    user = text_in(fields, "user", "who replaced it needs a name (--user)")
    one = book.named(str(fields.get("name") or ""))
    replaced = _day(fields, now, zone)
    if replaced < one.replaced:
        raise WrongArgument(f"{one.name} was replaced on {one.replaced}, which is behind {replaced}")
    return _of(one, now, do="replace", user=user, replaced=replaced, note=text_in(fields, "note"), visit=visit)


def drop(book: Book, fields: Mapping[str, Any], now: datetime) -> Record:
    """The record that a part is watched no more; raise WrongArgument."""
    user = text_in(fields, "user", "who drops a part needs a name (--user)")
    reason = text_in(fields, "reason", "a part is dropped for a reason (--reason)")
    return _of(book.named(str(fields.get("name") or "")), now, do="drop", user=user, reason=reason)


def tell(one: Part, now: datetime) -> Record:
    """The record that it was said that *one* is overdue."""
    return _of(one, now, do="overdue", due=one.due.isoformat())


def _of(one: Part, now: datetime, *, replaced: date | None = None, **said: Any) -> Record:
    """A record of *one* that can stand alone: a part outlives what is kept of its beginning."""
    day = (replaced or one.replaced).isoformat()
    body = {"name": one.name, "part": one.part, "days": one.days, "replaced": day, **said}
    return Record(KIND, now, body, "", one.device)


def _day(fields: Mapping[str, Any], now: datetime, zone: tzinfo) -> date:
    today, text = now.astimezone(zone).date(), fields.get("replaced")
    try:
        day = date.fromisoformat(str(text)) if text else today
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a day such as 2027-06-30') from error
    if day > today:
        raise WrongArgument(f"{day} is still to come")
    return day
