"""Who was on site, what for, what they found, did and used: the site visit log.

Maintenance records name who, when and what was done (HJ 355/75 annex forms as digested, high).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from station.maintenance import text_in
from station.model import Record, WrongArgument, dataclass, did_you_mean, replace

KIND = "visit"
LONG = timedelta(hours=24)  # after which a visit that nobody ended is shown as forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One visit; *notes* in the order they were made, each as its entry has it."""

    name: str
    person: str
    company: str
    contract: str
    purpose: str
    point: str
    started: datetime
    ended: datetime | None = None
    notes: tuple[Mapping[str, Any], ...] = ()
    result: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON carries it."""
        return {
            "name": self.name,
            "person": self.person,
            "company": self.company,
            "contract": self.contract,
            "purpose": self.purpose,
            "point": self.point,
            "started": self.started.isoformat(),
            "ended": self.ended.isoformat() if self.ended else None,
            "notes": [dict(one) for one in self.notes],
            "result": self.result,
        }


class Book:
    """Every visit, as its records leave it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Visit] = {}
        for record in sorted(records, key=lambda r: r.id):
            self.take(record)

    def take(self, record: Record) -> None:
        """Enter *record*; of a visit whose beginning is past its retention nothing is kept."""
        body = record.body
        if body["do"] == "start":
            said = {key: body[key] for key in ("name", "person", "company", "contract", "purpose")}
            self._by_name[body["name"]] = Visit(**said, point=record.point, started=record.at)
            return
        before = self._by_name.get(body["name"])
        if before is None:
            return
        if body["do"] == "note":
            note = {key: value for key, value in body.items() if key not in ("do", "name")}
            changed = replace(before, notes=(*before.notes, {"at": record.at.isoformat(), **note}))
        else:
            changed = replace(before, ended=record.at, result=body["result"])
        self._by_name[body["name"]] = changed

    def __iter__(self) -> Iterator[Visit]:
        return iter(list(self._by_name.values()))

    @property
    def next_number(self) -> int:
        """The number of the next visit."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def open(self) -> Visit | None:
        """The visit that is under way."""
        return next((one for one in self if one.ended is None), None)

    def named(self, name: str) -> Visit:
        """The one called *name*; raise WrongArgument."""
        if name not in self._by_name:
            raise WrongArgument(
                f'there is no visit "{name}"{did_you_mean(name, self._by_name)}; see station visit list'
            )
        return self._by_name[name]


# -- entries


def start(book: Book, points: Iterable[str], fields: Mapping[str, Any], now: datetime, number: int) -> Record:
    """The record that begins visit *number*; raise WrongArgument, and nothing is kept."""
    person = text_in(fields, "user", "a visit needs the name of who came (--user)")
    purpose = text_in(fields, "purpose", "a visit needs its purpose (--purpose)")
    point, known = str(fields.get("point") or ""), dict.fromkeys(points)
    if point and point not in known:
        raise WrongArgument(f'there is no point "{point}"{did_you_mean(point, known)}; known: {", ".join(known)}')
    under_way = book.open()
    if under_way is not None:
        raise WrongArgument(
            f"{under_way.name} of {under_way.person} is under way since {under_way.started.isoformat()};"
            " end it first: station visit end"
        )
    body = {
        "do": "start",
        "name": f"V{number}",
        "person": person,
        "company": text_in(fields, "company"),
        "contract": text_in(fields, "contract"),
        "purpose": purpose,
    }
    return Record(KIND, now, body, point)


def note(book: Book, fields: Mapping[str, Any], now: datetime) -> Record:
    """The record of something found or done on the visit under way, with the hashes of photos; raise WrongArgument."""
    one = _under_way(book)
    text, photos = text_in(fields, "text"), [photo_of(each) for each in fields.get("photos") or ()]
    used = [text_in({"used": each}, "used") for each in fields.get("used") or ()]
    parts = [str(each) for each in fields.get("parts") or ()]
    if not (text or photos or used or parts):
        raise WrongArgument("a note needs a text, a photo or a part that was used")
    body = {"do": "note", "name": one.name, "user": text_in(fields, "user") or one.person, "text": text}
    return Record(KIND, now, {**body, "photos": photos, "used": used, "parts": parts}, one.point)


def end(book: Book, fields: Mapping[str, Any], now: datetime) -> Record:
    """The record that ends the visit under way; raise WrongArgument."""
    one = _under_way(book)
    said = {"user": text_in(fields, "user") or one.person, "result": text_in(fields, "result")}
    return Record(KIND, max(now, one.started), {"do": "end", "name": one.name, **said}, one.point)


def _under_way(book: Book) -> Visit:
    one = book.open()
    if one is None:
        raise WrongArgument("no visit is under way; begin one: station visit start --user NAME --purpose TEXT")
    return one


def photo_of(given: Any) -> dict[str, Any]:
    """A photo as the record has it: the file's name, its bytes and the SHA-256 of them; raise WrongArgument.

    The picture itself stays with who took it: the hash shows later that it is the one.
    """
    if not isinstance(given, Mapping) or not re.fullmatch(r"[0-9a-f]{64}", str(given.get("sha256"))):
        raise WrongArgument("a photo is its name, its size and the SHA-256 of its bytes")
    size = given.get("bytes")
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        raise WrongArgument("a photo has bytes")
    return {"name": text_in(given, "name", "a photo has a name"), "bytes": size, "sha256": given["sha256"]}
