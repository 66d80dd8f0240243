"""What people enter on site: checked against what is there, kept by the running station or, alone, in its database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from station import dustfall
from station.dustfall import Book
from station.model import Record, WrongArgument, did_you_mean
from station.store import Store

BEGINNING, END = dustfall.BEGINNING, datetime(2100, 1, 1, tzinfo=UTC)


def dustfall_book(store: Store) -> Book:
    """All dust-fall entries in *store*."""
    return dustfall.read_book(dustfall_entries(store))


def dustfall_entries(store: Store) -> list[Record]:
    """Every dust-fall entry in *store*, in the order they were made."""
    return sorted(store.records(dustfall.KIND, BEGINNING, END), key=lambda record: record.id)


def enter_dustfall(
    store: Store,
    keep: Callable[[Record], None],
    fields: Mapping[str, Any],
    points: Iterable[str],
    now: datetime,
    zone: tzinfo,
) -> Record:
    """Check an entry of *fields* ("do" and the arguments of dustfall.py) against *store*, and *keep* it.

    Raise WrongArgument, in which case nothing was kept.
    """
    try:
        made = _ENTRIES[fields["do"]](dustfall_book(store), fields, list(points), now, zone)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, WrongArgument):
            raise
        raise WrongArgument(f"not an entry of dust-fall: {error}") from error
    keep(made)
    return made


def _who(fields: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {"user": str(fields["user"]), "note": str(fields.get("note") or ""), "now": now}


def _at(fields: Mapping[str, Any], now: datetime) -> datetime:
    at = datetime.fromisoformat(fields["at"]) if fields.get("at") else now
    if at.tzinfo is None:
        raise WrongArgument(f"{fields['at']} needs its offset from UTC")
    return at


def _start(book: Book, fields: Mapping[str, Any], points: list[str], now: datetime, zone: tzinfo) -> Record:
    point = str(fields["point"])
    if point not in points:
        raise WrongArgument(f'there is no point "{point}"{did_you_mean(point, points)}; known: {", ".join(points)}')
    diameters = [float(one) for one in fields["diameters_cm"]]
    return dustfall.start(
        book, point, str(fields["jar"]), diameters, at=_at(fields, now), zone=zone, **_who(fields, now)
    )


def _stop(book: Book, fields: Mapping[str, Any], points: list[str], now: datetime, zone: tzinfo) -> Record:
    return dustfall.stop(book, str(fields["name"]), at=_at(fields, now), **_who(fields, now))


def _masses(fields: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    return [float(one) for one in fields["crucible_g"]], [float(one) for one in fields["residue_g"]]


def _weigh(book: Book, fields: Mapping[str, Any], points: list[str], now: datetime, zone: tzinfo) -> Record:
    more = {"balance": str(fields.get("balance") or ""), "at": _at(fields, now), **_who(fields, now)}
    return dustfall.weigh(book, str(fields["name"]), *_masses(fields), blank=str(fields["blank"]), **more)


def _blank(book: Book, fields: Mapping[str, Any], points: list[str], now: datetime, zone: tzinfo) -> Record:
    more = {"balance": str(fields.get("balance") or ""), "at": _at(fields, now), **_who(fields, now)}
    return dustfall.blank(book, str(fields["name"]), *_masses(fields), **more)


def _void(book: Book, fields: Mapping[str, Any], points: list[str], now: datetime, zone: tzinfo) -> Record:
    return dustfall.void(book, str(fields["name"]), **_who(fields, now))


_Entry = Callable[[Book, Mapping[str, Any], list[str], datetime, tzinfo], Record]
_ENTRIES: Mapping[str, _Entry] = {"start": _start, "stop": _stop, "weigh": _weigh, "blank": _blank, "void": _void}
