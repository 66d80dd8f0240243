"""Maintenance: who works where, why and until when; while it lasts, the values it covers are marked M.

The mark is a firm's own mark and so names its user (Order 820 Art. 25(5) and the marking rules as digested, high).
A key switch or a platform names nobody: what they begin is marked in the name the configuration gives for them, or
stands beside the values unmarked until a person signs for it, for all of its time.  Every span has an end from its
beginning on, so that it ends though nobody is there and nothing runs; how long it may be is ours, no text says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from station import marks
from station.model import Record, WrongArgument, dataclass, did_you_mean, replace

if TYPE_CHECKING:
    from station.config import Loaded

KIND = "maintenance"
USUAL = timedelta(hours=4)  # where nothing is said
LONGEST = timedelta(hours=72)  # at once: who needs longer says so again, with a name
WARNING = timedelta(minutes=10)  # before the end
SIGNABLE = timedelta(days=31)  # a span nobody has signed for may still be signed
LONGEST_TEXT = 200  # characters of a name or a reason: a platform's log has room for it
BY_HAND, SWITCH, PLATFORM = "hand", "switch", "platform"  # how a span began
Place = tuple[str, str]  # a point and a parameter of it, or "" for all


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One maintenance, from *first* to *over*, at the latest to *last*; *user* is "" until somebody signs."""

    name: str
    scope: str  # "station", "point" or "device"
    what: str  # the point's code, the device's name, or ""
    places: tuple[Place, ...]
    first: datetime
    last: datetime
    over: datetime | None = None
    user: str = ""
    reason: str = ""
    by: str = BY_HAND
    source: str = ""  # the switch or platform that began it
    marks: tuple[str, ...] = ()  # by which names the marks M stand
    warned: bool = False
    why: str = ""  # what ended it: hand, switch, platform, time

    @property
    def signed(self) -> bool:
        """Whether a person answers for it, so that its values are marked."""
        return bool(self.user)

    @property
    def end(self) -> datetime:
        """When it was over, or will be."""
        return self.over or self.last

    def on(self, now: datetime) -> bool:
        """Whether it lasts at *now*."""
        return self.over is None and now < self.last

    def covers(self, place: Place) -> bool:
        """Whether *place* lies in it."""
        return place in self.places or (place[0], "") in self.places


class Book:
    """Every maintenance, as its records leave it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._by_name: dict[str, Span] = {}
        for record in sorted(records, key=lambda r: r.id):
            self.take(record)

    def take(self, record: Record) -> None:
        """Enter *record*; of a span whose beginning is past its retention nothing is kept."""
        body = record.body
        if body["do"] == "on":
            self._by_name[body["name"]] = Span(
                name=body["name"],
                scope=body["scope"],
                what=body["what"],
                places=tuple((point, parameter) for point, parameter in body["places"]),
                first=record.at,
                last=datetime.fromisoformat(body["last"]),
                user=body["user"],
                reason=body["reason"],
                by=body["by"],
                source=body["source"],
                marks=tuple(body["marks"]),
            )
            return
        before = self._by_name.get(body["name"])
        if before is None:
            return
        if body["do"] == "off":
            changed = replace(before, over=record.at, why=body["why"])
        elif body["do"] == "sign":
            changed = replace(before, user=body["user"], reason=body["reason"], marks=tuple(body["marks"]))
        else:
            changed = replace(before, warned=True)
        self._by_name[body["name"]] = changed

    def __iter__(self) -> Iterator[Span]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def next_number(self) -> int:
        """The number of the next one: names are never used twice, though the first ones may be gone."""
        return 1 + max((int(name[1:]) for name in list(self._by_name)), default=0)

    def named(self, name: str) -> Span:
        """The one called *name*; raise WrongArgument."""
        if name not in self._by_name:
            hint = did_you_mean(name, self._by_name)
            raise WrongArgument(f'there is no maintenance "{name}"{hint}; see station maintenance list')
        return self._by_name[name]

    def running(self) -> list[Span]:
        """Those that no record has ended."""
        return [one for one in self if one.over is None]

    def last_of(self, by: str, source: str) -> Span | None:
        """The newest one that the switch or platform *source* began."""
        return next((one for one in reversed(list(self)) if (one.by, one.source) == (by, source)), None)


# -- what a scope covers


def scope_of(loaded: Loaded, fields: Mapping[str, Any]) -> tuple[str, str, tuple[Place, ...]]:
    """The scope, its name and its places that an entry's *device* or *point* say; raise WrongArgument."""
    device, point = str(fields.get("device") or ""), str(fields.get("point") or "")
    if device and point:
        raise WrongArgument("maintenance is of a device or of a point; name one, or neither for the whole station")
    points = [one.code for one in loaded.config.point]
    if point:
        if point not in points:
            raise WrongArgument(f'there is no point "{point}"{did_you_mean(point, points)}; known: {", ".join(points)}')
        return "point", point, ((point, ""),)
    if device:
        return "device", device, places_of(loaded, device)
    return "station", "", tuple((code, "") for code in points)


def places_of(loaded: Loaded, device: str) -> tuple[Place, ...]:
    """Where each parameter of *device* belongs; raise WrongArgument where there is no such device."""
    settings = {one.name: one for bus in loaded.config.bus for one in bus.device}
    counted = {one.name: one for one in loaded.config.input if hasattr(one, "counted")}
    if device in counted:
        return tuple((counted[device].point, parameter) for parameter in counted[device].parameters)
    if device not in settings:
        known = {**settings, **counted}
        raise WrongArgument(
            f'there is no device "{device}"{did_you_mean(device, known)}; known: {", ".join(known) or "none"}'
        )
    one, instrument = settings[device], loaded.instrument(device)
    assert instrument is not None
    return tuple((one.points.get(parameter, one.point), parameter) for parameter in instrument.units)


# -- entries: what is wrong is said in one sentence, and nothing is kept


def text_in(fields: Mapping[str, Any], key: str, missing: str = "") -> str:
    """The text *key* of an entry; raise WrongArgument with *missing* where there is none, or where it is no text."""
    text = str(fields.get(key) or "").strip()
    if not text and missing:
        raise WrongArgument(missing)
    if text and not text.isprintable():
        raise WrongArgument(f"{key} holds characters that cannot be printed")
    if len(text) > LONGEST_TEXT:
        raise WrongArgument(f"{key} has {len(text)} characters; {LONGEST_TEXT} are enough")
    return text


def begin(
    book: Book, loaded: Loaded, fields: Mapping[str, Any], now: datetime, number: int, mark: Callable[[], int]
) -> list[Record]:
    """The records that begin maintenance *number*, its marks behind its own; *mark* gives each its number.

    Without a *by* in *fields* a person begins it and is named; raise WrongArgument.
    """
    by, source = str(fields.get("by") or BY_HAND), str(fields.get("source") or "")
    needed = by == BY_HAND
    user = text_in(fields, "user", "maintenance needs the name of who does it (--user)" if needed else "")
    reason = text_in(fields, "reason", "maintenance needs a reason (--reason)" if needed else "")
    scope, what, places = scope_of(loaded, fields)
    first = _moment(fields, "first") or now
    last = _last(fields, first, now)
    for one in book.running():
        if one.on(now) and all(one.covers(place) for place in places):
            whose = f" of {one.user}" if one.user else ""
            raise WrongArgument(
                f"{what or 'the station'} is under maintenance already: {one.name}{whose} until {one.last.isoformat()};"
                f" end it first: station maintenance off {one.name}"
            )
    marked = _marks(places, loaded, first, last, user, reason, f"W{number}", now, mark) if user else []
    body = {
        "do": "on",
        "name": f"W{number}",
        "scope": scope,
        "what": what,
        "places": [list(place) for place in places],
        "last": last.isoformat(),
        "user": user,
        "reason": reason,
        "by": by,
        "source": source,
        "marks": [one.body["name"] for one in marked],
        "entered": now.isoformat(timespec="seconds"),
    }
    return [Record(KIND, first, body, what if scope == "point" else "", what if scope == "device" else ""), *marked]


def _last(fields: Mapping[str, Any], first: datetime, now: datetime) -> datetime:
    to, seconds = _moment(fields, "to"), fields.get("seconds")
    if to is not None and seconds is not None:
        raise WrongArgument("say when it ends (--to) or how long it may take (--for), not both")
    last = to or first + (USUAL if seconds is None else timedelta(seconds=_seconds(seconds)))
    if last <= first or last <= now:
        raise WrongArgument(f"the end {last.isoformat()} is not behind the beginning {max(first, now).isoformat()}")
    if last - first > LONGEST:
        hours = LONGEST / timedelta(hours=1)
        raise WrongArgument(
            f"maintenance until {last.isoformat()} is more than {hours:g} hours, and would hide what is measured;"
            f" begin with at most {hours:g} hours and say so again when they are not enough"
        )
    return last


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e8:
        raise WrongArgument(f'"{value}" is no number of seconds above 0')
    return float(value)


def _marks(
    places: Sequence[Place], loaded: Loaded, first: datetime, last: datetime, user: str, reason: str, name: str,
    now: datetime, number: Callable[[], int],
) -> list[Record]:  # fmt: skip
    """The marks M of a span, one a place: marks know when they end."""
    points = {point.code: point for point in loaded.config.point}
    fields = {"do": "mark", "mark": "M", "user": user, "reason": f"maintenance {name}: {reason}"}
    fields |= {"from": first.isoformat(), "to": last.isoformat()}
    return [
        marks.enter(marks.HandMarks(), {**fields, "point": point, "parameter": parameter}, points, now, number())
        for point, parameter in places
    ]


def end(book: Book, fields: Mapping[str, Any], now: datetime) -> list[Record]:
    """The records that end a maintenance, with the ends of its marks; raise WrongArgument."""
    by = str(fields.get("by") or BY_HAND)
    user = text_in(fields, "user", "the end of maintenance needs a name (--user)" if by == BY_HAND else "")
    one = chosen(book, str(fields.get("name") or ""), now)
    if one.over is not None:
        raise WrongArgument(f"{one.name} was over at {one.over.isoformat()}")
    at = min(now, one.last)
    if at <= one.first:
        at = one.first + timedelta(milliseconds=1)
    why = by if now < one.last else "time"
    said = {"user": user or one.user, "note": text_in(fields, "note"), "why": why}
    made = [_record(one, at, {"do": "off", "name": one.name, **said, "entered": now.isoformat(timespec="seconds")})]
    if at < one.last:
        made += [
            Record(
                marks.KIND,
                at,
                {
                    "do": "end",
                    "name": mark,
                    "user": said["user"],
                    "reason": f"end of {one.name}",
                    "entered": now.isoformat(timespec="seconds"),
                },
                point,
            )
            for mark, (point, _) in zip(one.marks, one.places, strict=False)
        ]
    return made


def chosen(book: Book, name: str, now: datetime) -> Span:
    """The span called *name*, or the only one that runs; raise WrongArgument."""
    if name:
        return book.named(name)
    running = book.running()
    if not running:
        raise WrongArgument("no maintenance is under way")
    if len(running) > 1:
        raise WrongArgument(f"several are under way: {', '.join(one.name for one in running)}; name one")
    return running[0]


def sign(book: Book, loaded: Loaded, fields: Mapping[str, Any], now: datetime, mark: Callable[[], int]) -> list[Record]:
    """The records by which a person answers for a span that a switch or platform began: its values become M."""
    user = text_in(fields, "user", "who signs for maintenance needs a name (--user)")
    reason = text_in(fields, "reason", "who signs for maintenance says what was done (--reason)")
    one = book.named(str(fields.get("name") or ""))
    if one.user:
        raise WrongArgument(f"{one.name} is signed by {one.user}")
    if now - one.first > SIGNABLE:
        raise WrongArgument(
            f"{one.name} began at {one.first.isoformat()}, more than {SIGNABLE.days} days ago; it was reported unmarked"
        )
    marked = _marks(one.places, loaded, one.first, one.end, user, reason, one.name, now, mark)
    names = [each.body["name"] for each in marked]
    body = {"do": "sign", "name": one.name, "user": user, "reason": reason, "marks": names}
    return [_record(one, now, body | {"entered": now.isoformat(timespec="seconds")}), *marked]


def warn(one: Span, now: datetime) -> Record:
    """The record that a person could have known of the near end of *one*."""
    return _record(one, now, {"do": "ends_soon", "name": one.name, "last": one.last.isoformat(), "user": one.user})


def _record(one: Span, at: datetime, body: Mapping[str, Any]) -> Record:
    point, device = (one.what if one.scope == scope else "" for scope in ("point", "device"))
    return Record(KIND, at, body, point, device)


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


def plain(one: Span, now: datetime) -> dict[str, Any]:
    """*one* as JSON carries it; *left_seconds* is None once it is over."""
    on = one.on(now)
    return {
        "name": one.name,
        "scope": one.scope,
        "what": one.what,
        "first": one.first.isoformat(),
        "last": one.last.isoformat(),
        "over": one.over.isoformat() if one.over else None,
        "on": on,
        "left_seconds": round((one.last - now).total_seconds()) if on else None,
        "user": one.user,
        "reason": one.reason,
        "by": one.by,
        "source": one.source,
        "signed": one.signed,
        "why": one.why or ("" if on else "time"),
        "marks": list(one.marks),
    }
