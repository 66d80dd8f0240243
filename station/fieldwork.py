"""What technicians do on site, as entries: maintenance, visits, parts, three-way checks, commissioning.

Each entry is checked against what is in the store and becomes records that go into one commit, whether the running
station keeps them or, alone, a command.  A platform that takes kind "site_info" is told of each as a log text (CN 3020,
i21001 or i11001: items of 2017, read; that 2025 keeps them, B); the events beside them answer a query for logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from station import maintenance, parts, visits
from station.model import Record, WrongArgument, dataclass, field

if TYPE_CHECKING:
    from station.config import Loaded
    from station.store import Store

BEGINNING, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
QUIET = ("row",)  # entries that stand in the one that ends them
NOT_TOLD = ("do", "places", "marks", "entered", "facts", "rows")
PIECE_BYTES = 800  # of a log text: what a frame has room for (uplink/hj212/events.py has 840)
BOOKS: Mapping[str, Any] = {maintenance.KIND: maintenance.Book, parts.KIND: parts.Book, visits.KIND: visits.Book}
KINDS = tuple(BOOKS)  # what a running station looks after by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What an entry is checked against; *first* is the number its name gets, *mark* gives marks by hand theirs."""

    store: Store
    loaded: Loaded
    now: datetime
    trust: str
    mark: Callable[[], int]
    first: int = 1
    books: Mapping[str, Any] = field(default_factory=dict)  # as a running station has them, pending entries included

    def records(self, kind: str) -> list[Record]:
        """Everything kept of *kind*."""
        return self.store.records(kind, BEGINNING, END)

    def book(self, kind: str) -> Any:
        """Everything of *kind* as its records leave it."""
        return self.books[kind] if kind in self.books else BOOKS[kind](self.records(kind))

    def number(self, book: Any) -> int:
        """The number of the next name of *book*."""
        return max(self.first, int(book.next_number))


Entry = Callable[[Desk, Mapping[str, Any]], list[Record]]


def enter(desk: Desk, what: str, fields: Mapping[str, Any]) -> list[Record]:
    """The records of an entry about *what*, its own first; raise WrongArgument, in which case nothing is to be kept."""
    do = str(fields.get("do") or "")
    table = entries(what)
    if do not in table:
        raise WrongArgument(f'"{what}" has no entry "{do}"; known: {", ".join(table or [*ENTRIES, *LATER])}')
    try:
        return table[do](desk, fields)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, WrongArgument):
            raise
        raise WrongArgument(f"not an entry of {what}: {error}") from error


def entries(what: str) -> Mapping[str, Entry]:
    """The entries there are about *what*, none where it is no field work; loaded with the first of its kind."""
    if what in LATER:
        module, _, name = LATER[what].partition(":")
        found: Mapping[str, Entry] = getattr(import_module(module), name)
        return found
    return ENTRIES.get(what, {})


def _on(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    book = desk.book(maintenance.KIND)
    return maintenance.begin(book, desk.loaded, fields, desk.now, desk.number(book), desk.mark)


def _off(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    return maintenance.end(desk.book(maintenance.KIND), fields, desk.now)


def _sign(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    return maintenance.sign(desk.book(maintenance.KIND), desk.loaded, fields, desk.now, desk.mark)


def _start_visit(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    book = desk.book(visits.KIND)
    points = [point.code for point in desk.loaded.config.point]
    return [visits.start(book, points, fields, desk.now, desk.number(book))]


def _note_visit(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    """A note, and a replacement of each part it names."""
    made = visits.note(desk.book(visits.KIND), fields, desk.now)
    book, zone = desk.book(parts.KIND), desk.loaded.zone
    user, visit = made.body["user"], made.body["name"]
    said = ({"name": part, "user": user} for part in made.body["parts"])
    return [made, *(parts.renew(book, one, desk.now, zone, visit) for one in said)]


def _end_visit(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    return [visits.end(desk.book(visits.KIND), fields, desk.now)]


def _add_part(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    book = desk.book(parts.KIND)
    return [parts.add(book, devices(desk.loaded), fields, desk.now, desk.loaded.zone, desk.number(book))]


def _replace_part(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    visit = desk.book(visits.KIND).open()
    book = desk.book(parts.KIND)
    return [parts.renew(book, fields, desk.now, desk.loaded.zone, visit.name if visit else "")]


def _drop_part(desk: Desk, fields: Mapping[str, Any]) -> list[Record]:
    return [parts.drop(desk.book(parts.KIND), fields, desk.now)]


ENTRIES: Mapping[str, Mapping[str, Entry]] = {
    "maintenance": {"on": _on, "off": _off, "sign": _sign},
    "visit": {"start": _start_visit, "note": _note_visit, "end": _end_visit},
    "part": {"add": _add_part, "replace": _replace_part, "drop": _drop_part},
}
LATER = {
    "comparison": "station.comparison:ENTRIES",
    "commissioning": "station.commissioning:ENTRIES",
    "loop": "station.loop:ENTRIES",
}


def devices(loaded: Loaded) -> list[str]:
    """The names of all instruments, counted pins included."""
    counted = [one.name for one in loaded.config.input if hasattr(one, "counted")]
    return [*(one.name for bus in loaded.config.bus for one in bus.device), *counted]


# -- what is told of an entry


def event(record: Record) -> tuple[str, dict[str, Any]]:
    """Code and arguments of the event of an entry's own *record*."""
    body = record.body
    said = {key: value for key, value in body.items() if key not in NOT_TOLD}
    more = {key: value for key, value in (("point", record.point), ("device", record.device)) if value}
    return f"{record.kind}_{body['do']}", said | more


def sentence(record: Record) -> str:
    """What a platform's log says of *record*: English, names as they were entered (hj212.md: keep log text ASCII)."""
    code, said = event(record)
    more = "; ".join(f"{key} {_plain(value)}" for key, value in said.items() if value not in ("", None, [], {}))
    return f"{code.replace('_', ' ')}: {more}" if more else code.replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_plain(one)}" for key, one in value.items())
    return str(value)


def log_records(record: Record, loaded: Loaded, now: datetime) -> list[Record]:
    """*record* as site information, for each point that it concerns: a platform knows every point by an MN of its own.

    Of an instrument it is the instrument's log, else the logger's.
    """
    points, device = [point.code for point in loaded.config.point], record.device
    more: dict[str, Any] = {"item": "logger_log"}
    if device in devices(loaded):
        places = maintenance.places_of(loaded, device)
        points = sorted({point for point, _ in places})
        more = {"item": "instrument_log", "parameters": [parameter for _, parameter in places]}
    elif record.point:
        points, device = [record.point], ""
    else:
        device = ""
    return [
        Record("site_info", now, {**more, "value": text}, point, device)
        for point in points
        for text in pieces(sentence(record))
    ]


def pieces(text: str) -> list[str]:
    """*text* in pieces that a frame has room for.

    >>> [len(one) for one in pieces("x" * 1000)], [len(one) for one in pieces("清" * 300)]
    ([800, 200], [266, 34])
    """
    found, size = [""], 0
    for character in text:
        width = len(character.encode("utf-8", "replace"))
        if size + width > PIECE_BYTES:
            found.append("")
            size = 0
        found[-1] += character
        size += width
    return found


def telling(loaded: Loaded) -> bool:
    """Whether any platform is told of what happens on site."""
    return any("site_info" in uplink.kinds for uplink in loaded.config.uplink)


# -- how things stand, from the records alone


def standing(
    maintained: Iterable[maintenance.Span], watched: Iterable[parts.Part], visit: visits.Visit | None, now: datetime,
    zone: Any,
) -> dict[str, Any]:  # fmt: skip
    """What status shows: maintenance under way or unsigned, the visit under way, parts that are overdue."""
    today = now.astimezone(zone).date()
    spans: Sequence[maintenance.Span] = list(maintained)
    shown = [one for one in spans if one.on(now)]
    unsigned = [one for one in spans if not one.signed and now - one.first <= maintenance.SIGNABLE and one not in shown]
    return {
        "maintenance": [maintenance.plain(one, now) for one in shown],
        "unsigned": [maintenance.plain(one, now) for one in unsigned],
        "visit": visit.plain() if visit else None,
        "visit_forgotten": bool(visit and now - visit.started > visits.LONG),
        "parts_overdue": [one.plain(today) for one in watched if one.overdue(today)],
    }


def stored(store: Store, loaded: Loaded, now: datetime) -> dict[str, Any]:
    """`standing` as the database alone has it; nothing where nothing was ever entered."""
    if not any(store.kept(kind) for kind in KINDS):
        return {}
    read = {kind: store.records(kind, BEGINNING, END) for kind in KINDS}
    spans, watched = maintenance.Book(read[maintenance.KIND]), parts.Book(read[parts.KIND])
    return {"field": standing(spans, watched, visits.Book(read[visits.KIND]).open(), now, loaded.zone)}
