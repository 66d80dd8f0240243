"""Three-way check: the instrument's display, the station and the platform side by side for each factor.

An inspector's first question is whether the three show one number.  How far they may differ: acquisition and transfer
1 ‰ of the value (HJ 477-2009, recalled: medium to low), and never less than one unit of the last digit shown, for a
display rounds or cuts off.  Whoever works by another rule gives its per mille; it stands on the record and the sheet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from station.maintenance import places_of, scope_of, text_in
from station.model import Record, WrongArgument, dataclass, did_you_mean, field, replace
from station.visits import photo_of

if TYPE_CHECKING:
    from station.fieldwork import Desk

KIND = "comparison"
PER_MILLE = 1.0  # of the value: HJ 477-2009 as recalled
MOST_PER_MILLE = 200.0
MOST_SHIFT = 12  # powers of ten between two units
TROUBLES = ("no_station", "no_value", "silent")
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{1,9})?")


def typed(text: str) -> tuple[float, float]:
    """The number in *text* and what one unit of its last digit is; raise WrongArgument.

    >>> typed("12.30"), typed("-7")
    ((12.3, 0.01), (-7.0, 1.0))
    >>> typed("12,3")
    Traceback (most recent call last):
    station.model.WrongArgument: "12,3" is not a number; write it as on the display, with a point, such as 12.3
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        hint = text.replace(",", ".").replace("，", ".")
        such = hint if _NUMBER.fullmatch(hint) else "35.2"
        raise WrongArgument(f'"{text}" is not a number; write it as on the display, with a point, such as {such}')
    return float(text), 10.0 ** -len(text.partition(".")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One factor: what each of the three shows, as texts and values, each with its time; "" or None where nothing.

    *then* is what the station had when the platform's value was made.
    """

    parameter: str
    point: str
    display: str = ""
    photo: Mapping[str, Any] = field(default_factory=dict)
    station: float | None = None
    station_at: str = ""
    mark: str = ""
    platform: str = ""
    unit_shift: int = 0  # the platform's unit is the catalogue's times 10 to so much
    platform_at: str = ""
    how: str = ""  # typed, or sent: answered, unconfirmed
    then: float | None = None
    trouble: str = ""  # why there is no value of the station: a word of TROUBLES

    def platform_value(self) -> tuple[float, float] | None:
        """The platform's number and the unit of its last digit, in the catalogue's unit."""
        if not self.platform:
            return None
        value, unit = typed(self.platform)
        return value / 10**self.unit_shift, unit / 10**self.unit_shift

    def judged(self, per_mille: float) -> dict[str, Any]:
        """Both differences, what is allowed of each, and the verdict: agrees, differs or incomplete."""
        shown = typed(self.display) if self.display else None
        found: dict[str, Any] = {"display": _held(shown, self.station, per_mille)}
        found["platform"] = _held(self.platform_value(), self.station if self.then is None else self.then, per_mille)
        verdicts = [one["agrees"] for one in found.values() if one is not None]
        if False in verdicts:
            return found | {"verdict": "differs"}
        return found | {"verdict": "agrees" if len(verdicts) == 2 else "incomplete"}


def _held(one: tuple[float, float] | None, station: float | None, per_mille: float) -> dict[str, Any] | None:
    """A value with its last digit held against the station's; None where one of both is not there."""
    if one is None or station is None:
        return None
    value, unit = one
    allowed = max(abs(station) * per_mille / 1000, unit)
    difference = value - station
    agrees = abs(difference) <= allowed or math.isclose(abs(difference), allowed, rel_tol=1e-9)
    return {"difference": difference, "allowed": allowed, "agrees": agrees}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One three-way check; a factor typed again counts as typed last."""

    name: str
    scope: str
    what: str
    places: tuple[tuple[str, str], ...]
    user: str
    per_mille: float
    platform: str
    begun: datetime
    rows: Mapping[str, Row] = field(default_factory=dict)
    done: datetime | None = None
    verdict: str = ""
    cancelled: str = ""
    note: str = ""

    @property
    def open(self) -> bool:
        """Whether it is under way."""
        return self.done is None and not self.cancelled

    @property
    def left(self) -> list[tuple[str, str]]:
        """The places nothing was typed of yet."""
        return [place for place in self.places if _key(*place) not in self.rows]

    def overall(self) -> str:
        """differs where any factor does, incomplete where any is, else agrees."""
        verdicts = {row.judged(self.per_mille)["verdict"] for row in self.rows.values()}
        if self.left or not verdicts:
            verdicts.add("incomplete")
        return next(one for one in ("differs", "incomplete", "agrees") if one in verdicts)


def _key(point: str, parameter: str) -> str:
    return f"{point}/{parameter}"


class Book:
    """Every three-way check, as its records leave it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Check] = {}
        for record in sorted(records, key=lambda r: r.id):
            self._take(record)

    def _take(self, record: Record) -> None:
        body = record.body
        if body["do"] == "begin":
            said = {key: body[key] for key in ("name", "scope", "what", "user", "per_mille", "platform")}
            places = tuple((point, parameter) for point, parameter in body["places"])
            self._by_name[body["name"]] = Check(**said, places=places, begun=record.at)
            return
        before = self._by_name.get(body["name"])
        if before is None:
            return  # begun longer ago than records are kept
        if body["do"] == "row":
            row = Row(**body["row"])
            changed = replace(before, rows={**before.rows, _key(row.point, row.parameter): row})
        elif body["do"] == "done":
            changed = replace(before, done=record.at, verdict=body["verdict"], note=body["note"])
        else:
            changed = replace(before, cancelled=body["reason"])
        self._by_name[body["name"]] = changed

    def __iter__(self) -> Iterator[Check]:
        return iter(list(self._by_name.values()))

    @property
    def next_number(self) -> int:
        """The number of the next one."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def named(self, name: str) -> Check:
        """The one called *name*; raise WrongArgument."""
        if name not in self._by_name:
            raise WrongArgument(
                f'there is no three-way check "{name}"{did_you_mean(name, self._by_name)}; see station comparisons list'
            )
        return self._by_name[name]

    def open(self, scope: str, what: str) -> Check | None:
        """The one under way of a device or a point."""
        return next((one for one in self if one.open and (one.scope, one.what) == (scope, what)), None)


# -- entries


def _book(desk: Desk) -> Book:
    return Book(desk.records(KIND))


def _begin(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    user = text_in(fields, "user", "a three-way check needs the name of who does it (--user)")
    scope, what, places = scope_of(desk.loaded, fields)
    book, platform = _book(desk), str(fields.get("platform") or "")
    known = [one.name for one in desk.loaded.config.uplink]
    if platform and platform not in known:
        raise WrongArgument(f'there is no platform "{platform}"{did_you_mean(platform, known)}')
    if scope == "point":
        all_places = (place for device in _devices(desk) for place in places_of(desk.loaded, device))
        places = tuple(place for place in all_places if place[0] == what)
    if scope == "station" or not places:
        raise WrongArgument("a three-way check is of one device or one point")
    under_way = book.open(scope, what)
    if under_way is not None:
        raise WrongArgument(f"{under_way.name} of {under_way.user} is under way for {what}; it goes on")
    body = {
        "do": "begin",
        "name": f"T{desk.number(book)}",
        "scope": scope,
        "what": what,
        "places": [list(place) for place in places],
        "user": user,
        "per_mille": _per_mille(fields.get("per_mille")),
        "platform": platform,
    }
    return [Record(KIND, desk.now, body, what if scope == "point" else "", what if scope == "device" else "")]


def _devices(desk: Desk) -> Sequence[str]:
    from station.fieldwork import devices

    return devices(desk.loaded)


def _per_mille(given: Any) -> float:
    if given is None:
        return PER_MILLE
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MOST_PER_MILLE:
        raise WrongArgument(f"a tolerance is 0 to {MOST_PER_MILLE:g} per mille of the value, not {given}")
    return float(given)


def _row(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    one = _open(desk, fields)
    given = dict(fields["row"])
    row = _row_of(given)
    if (row.point, row.parameter) not in one.places:
        known = [parameter for _, parameter in one.places]
        raise WrongArgument(f"{row.parameter} is not measured there{did_you_mean(row.parameter, known)}")
    if row.photo:
        given["photo"] = photo_of(row.photo)
    if row.trouble not in ("", *TROUBLES):
        raise WrongArgument(f'"{row.trouble[:20]}" is not one of {", ".join(TROUBLES)}')
    if not (row.display or row.photo or row.platform):
        raise WrongArgument(f"{row.parameter}: type what the display shows, or name a photo of it")
    for text in filter(None, (row.display, row.platform)):
        typed(text)
    return [_of(one, desk, "row", row=given)]


def _row_of(given: Mapping[str, Any]) -> Row:
    """*given* as a row; raise WrongArgument: what is on record can be read as long as the record is kept."""
    row = Row(**given)
    for key in ("parameter", "point", "display", "station_at", "mark", "platform", "platform_at", "how", "trouble"):
        if not isinstance(getattr(row, key), str):
            raise WrongArgument(f"{key} is a text")
    for key in ("station", "then"):
        value = getattr(row, key)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and abs(value) < 1e15):
            raise WrongArgument(f"{key} is a number, or nothing")
    if isinstance(row.unit_shift, bool) or not isinstance(row.unit_shift, int) or abs(row.unit_shift) > MOST_SHIFT:
        raise WrongArgument(f"unit_shift is a whole number up to {MOST_SHIFT}")
    return row


def _done(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    one = _open(desk, fields)
    if not one.rows:
        raise WrongArgument(f"{one.name}: nothing was typed yet; station compare goes on, or --cancel ends it")
    user = text_in(fields, "user") or one.user
    said = {"verdict": one.overall(), "user": user, "note": text_in(fields, "note")}
    return [_of(one, desk, "done", **said, summary="; ".join(_short(one, row) for row in one.rows.values()))]


def _short(one: Check, row: Row) -> str:
    """A factor in a platform's log: display, station, platform."""
    station = "-" if row.station is None else f"{row.station:.6g}"
    three = f"{row.display or '-'}/{station}/{row.platform or '-'}"
    return f"{row.parameter} {three} {row.judged(one.per_mille)['verdict']}"


def _cancel(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    one = _open(desk, fields)
    reason = text_in(fields, "reason", "a three-way check is given up for a reason")
    return [_of(one, desk, "cancel", reason=reason, user=text_in(fields, "user") or one.user)]


def _open(desk: Desk, fields: Mapping[str, Any]) -> Check:
    one = _book(desk).named(str(fields.get("name") or ""))
    if not one.open:
        raise WrongArgument(f"{one.name} is over; begin a new one")
    return one


def _of(one: Check, desk: Desk, do: str, **said: Any) -> Record:
    point, device = (one.what if one.scope == scope else "" for scope in ("point", "device"))
    return Record(KIND, desk.now, {"do": do, "name": one.name, **said}, point, device)


ENTRIES: Mapping[str, Any] = {"begin": _begin, "row": _row, "done": _done, "cancel": _cancel}


def plain(one: Check) -> dict[str, Any]:
    """*one* with its verdicts as JSON carries it."""
    rows = [
        {key: getattr(row, key) for key in _FIELDS} | {"photo": dict(row.photo)} | row.judged(one.per_mille)
        | {"shown": row.display, "platform_text": row.platform}
        for row in one.rows.values()
    ]  # fmt: skip
    return {
        "name": one.name,
        "what": one.what,
        "user": one.user,
        "per_mille": one.per_mille,
        "platform": one.platform,
        "begun": one.begun.isoformat(),
        "done": one.done.isoformat() if one.done else None,
        "cancelled": one.cancelled,
        "verdict": one.verdict or (one.overall() if one.open else ""),
        "left": [parameter for _, parameter in one.left],
        "rows": rows,
        "note": one.note,
    }


_FIELDS = ("parameter", "point", "station", "station_at", "mark", "platform_at", "how", "then", "trouble")
