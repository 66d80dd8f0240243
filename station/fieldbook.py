"""What people enter on site: checked against what is there, kept by the running station or, alone, in its database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from station import calibration, dustfall, marks
from station.calibrate import IDENTITY
from station.calibrate import KIND as CALIBRATION
from station.calibration import Place, Rule, Run
from station.dustfall import Book
from station.model import Record, WrongArgument, did_you_mean
from station.store import Store

if TYPE_CHECKING:
    from station.config import Loaded

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


# -- calibrations


def calibration_book(store: Store) -> calibration.Book:
    """All calibrations in *store*."""
    return calibration.read_book(store.records(CALIBRATION, BEGINNING, END))


def place_of(loaded: Loaded, device: str, parameter: str) -> Place:
    """What *parameter* of *device* is, as configured; raise WrongArgument where there is none."""
    settings = {one.name: one for bus in loaded.config.bus for one in bus.device}
    if device not in settings:
        known = ", ".join(settings)
        raise WrongArgument(f'there is no device "{device}"{did_you_mean(device, settings)}; known: {known}')
    one, instrument = settings[device], loaded.instrument(device)
    assert instrument is not None
    units = instrument.units
    if parameter not in units:
        raise WrongArgument(
            f'{device} does not deliver "{parameter}"{did_you_mean(parameter, units)}; it does: {", ".join(units)}'
        )
    point = one.points.get(parameter, one.point)
    low_high = one.range.get(parameter)
    return Place(
        device=device,
        parameter=parameter,
        point=point,
        system=loaded.systems[point],
        configured=one.calibration.get(parameter, IDENTITY),
        full_scale=low_high[1] if low_high and low_high[1] > 0 else None,
        acts=parameter in instrument.actions.get("calibrate", ()),
    )


def enter_calibration(
    store: Store, loaded: Loaded, fields: Mapping[str, Any], now: datetime, trust: str, number: int = 0
) -> list[Record]:
    """The records of an entry of *fields* ("do" and the arguments of calibration.py), the calibration's own first.

    Beginning marks the values C, the *number*th mark by hand; an end ends that mark after a tail.  Raise
    WrongArgument, in which case there is nothing to keep.
    """
    try:
        return _CALIBRATIONS[fields["do"]](store, loaded, fields, now, trust, number)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, WrongArgument):
            raise
        raise WrongArgument(f"not an entry of calibrations: {error}") from error


def _texts(fields: Mapping[str, Any], *names: str) -> dict[str, str]:
    return {name: str(fields.get(name) or "") for name in names}


def _hand_marks(store: Store) -> marks.HandMarks:
    return marks.HandMarks(store.records(marks.KIND, BEGINNING, END))


def _begin_calibration(
    store: Store, loaded: Loaded, fields: Mapping[str, Any], now: datetime, trust: str, number: int
) -> list[Record]:
    book = calibration_book(store)
    place = place_of(loaded, str(fields["device"]), str(fields["parameter"]))
    said, hand = _texts(fields, "user", "note", "override"), _hand_marks(store)
    full_scale = fields.get("full_scale")
    number = number or hand.next_number
    made = calibration.begin(
        book,
        place,
        str(fields["procedure"]),
        [calibration.standard_of(one) for one in fields["standards"]],
        now=now,
        today=now.astimezone(loaded.zone).date(),
        mark=f"M{number}",
        full_scale=place.full_scale if full_scale is None else float(full_scale),
        rule=Rule(**(fields.get("rule") or {})),
        trust=trust,
        **said,
    )
    marked = {
        "do": "mark",
        "point": place.point,
        "parameter": place.parameter,
        "mark": "C",
        "user": made.body["user"],
        "reason": f"calibration {made.body['name']}: {made.body['procedure']}",
    }
    points = {point.code: point for point in loaded.config.point}
    return [made, marks.enter(hand, marked, points, now, number)]


def _step_calibration(
    store: Store, loaded: Loaded, fields: Mapping[str, Any], now: datetime, trust: str, number: int
) -> list[Record]:
    run = calibration_book(store).named(str(fields["name"]))
    said = _texts(fields, "user", "override")
    return [calibration.step(run, int(fields["index"]), fields["readings"], now=now, **said)]


def _act_calibration(
    store: Store, loaded: Loaded, fields: Mapping[str, Any], now: datetime, trust: str, number: int
) -> list[Record]:
    run = calibration_book(store).named(str(fields["name"]))
    return [calibration.act(run, now=now, **_texts(fields, "user"))]


def told_to_act(store: Store, record: Record) -> tuple[str, dict[str, str]]:
    """The instrument that the entry *record* tells to calibrate itself, and with which arguments."""
    run = calibration_book(store).named(str(record.body["name"]))
    return run.device, {"parameter": run.parameter, "type": run.acts}


def _finish_calibration(
    store: Store, loaded: Loaded, fields: Mapping[str, Any], now: datetime, trust: str, number: int
) -> list[Record]:
    book = calibration_book(store)
    run = book.named(str(fields["name"]))
    place = place_of(loaded, run.device, run.parameter)
    said = _texts(fields, "user", "note", "override")
    made = calibration.finish(book, run, place, now=now, trust=trust, **said)
    return [made, *_unmark(store, run, fields, now, said["user"])]


def _cancel_calibration(
    store: Store, loaded: Loaded, fields: Mapping[str, Any], now: datetime, trust: str, number: int
) -> list[Record]:
    run = calibration_book(store).named(str(fields["name"]))
    said = _texts(fields, "user", "reason")
    return [calibration.cancel(run, now=now, **said), *_unmark(store, run, fields, now, said["user"])]


def _revert_calibration(
    store: Store, loaded: Loaded, fields: Mapping[str, Any], now: datetime, trust: str, number: int
) -> list[Record]:
    book = calibration_book(store)
    return [calibration.revert(book, book.named(str(fields["name"])), now=now, **_texts(fields, "user", "reason"))]


def _unmark(store: Store, run: Run, fields: Mapping[str, Any], now: datetime, user: str) -> list[Record]:
    """The end of the mark that *run* has set, after a tail; nothing where a person has ended it."""
    seconds = fields.get("tail_seconds")
    tail = calibration.TAIL if seconds is None else timedelta(seconds=float(seconds))
    if not timedelta() <= tail <= calibration.LONGEST_TAIL:
        raise WrongArgument(f"a tail of {tail.total_seconds():g} s is not between 0 and 24 hours")
    hand = _hand_marks(store)
    if not any(one.name == run.mark and one.last is None and not one.withdrawn for one in hand):
        return []
    ended = {
        "do": "end",
        "name": run.mark,
        "to": (now + tail).isoformat(),
        "user": user,
        "reason": f"end of {run.name}",
    }
    return [marks.enter(hand, ended, {}, now)]


_CalibrationEntry = Callable[[Store, "Loaded", Mapping[str, Any], datetime, str, int], list[Record]]
_CALIBRATIONS: Mapping[str, _CalibrationEntry] = {
    "begin": _begin_calibration,
    "step": _step_calibration,
    "act": _act_calibration,
    "done": _finish_calibration,
    "cancel": _cancel_calibration,
    "revert": _revert_calibration,
}
