"""Entries of a calibration as people and the station make them: with their instrument, their mark, their readings.

An entry checks everything, does with the instrument what has to be done, and returns the records to keep.  What is
about to be written into an instrument is kept before it is written, so that a power cut in between can be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from station import calibration, marks
from station.calibrate import IDENTITY, KIND
from station.calibration_figures import Rule
from station.calibration_run import PROCEDURES, Book, Place, Run, read_book
from station.calibration_standard import standard_of
from station.clock import to_ms
from station.companions import companions
from station.fieldbook import BEGINNING, END
from station.model import Mark, Record, StationError, WrongArgument, dataclass, did_you_mean
from station.parameters import catalogue
from station.store import Store

if TYPE_CHECKING:
    from station.config import Loaded

HOUR = timedelta(hours=1)
CYCLE_SECONDS = 300.0  # an instrument that brings a result no more often works in cycles
FULL_HOUR = 0.75  # of the polls of an hour that a mean beside a reference wants, as 45 minutes (digest B1)
Talk = Callable[[str, str, Mapping[str, str]], Mapping[str, str]]  # device, verb, arguments: what it brought


def _nobody(device: str, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
    raise WrongArgument(f"{device}: nobody is there to speak to the instrument")


def _nothing(*records: Record) -> None:
    """Nothing is kept ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """How the instrument is spoken to, and how a record is made durable before that."""

    talk: Talk = _nobody
    keep: Callable[..., None] = _nothing
    number: Callable[[], int] | None = None  # of the next mark by hand, where others set marks meanwhile


SURROUNDINGS = ("air_temperature", "humidity", "air_pressure")
FRESH = timedelta(minutes=10)


def calibration_book(store: Store) -> Book:
    """All calibrations in *store*."""
    return read_book(store.records(KIND, BEGINNING, END))


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
    ways = getattr(instrument, "calibrating", None)
    shared = companions(loaded.systems[point], parameter, units)
    return Place(
        device=device,
        parameter=parameter,
        point=point,
        system=loaded.systems[point],
        configured=one.calibration.get(parameter, IDENTITY),
        full_scale=low_high[1] if low_high and low_high[1] > 0 else None,
        acts=parameter in instrument.actions.get("calibrate", ()),
        ways=ways(parameter) if ways is not None else {},
        cyclic=getattr(instrument, "every_seconds", 0.0) >= CYCLE_SECONDS,
        tells_serial="read_identity" in instrument.actions,
        companions=[(one.points.get(other, one.point), other) for other in shared],
    )


def enter_calibration(
    store: Store, loaded: Loaded, fields: Mapping[str, Any], now: datetime, trust: str, number: int = 0,
    hands: Hands | None = None,
) -> list[Record]:  # fmt: skip
    """The records of an entry of *fields* ("do" and the arguments of calibration.py), the calibration's own first.

    Beginning marks the values C, the *number*th mark by hand, and those of the same sample; an end ends them after a
    tail.  Raise WrongArgument, or what the instrument has against it, in which case there is nothing to keep.
    """
    desk = _Desk(store, loaded, now, trust, number, hands or Hands())
    try:
        return _ENTRIES[fields["do"]](desk, fields)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, StationError):
            raise
        raise WrongArgument(f"not an entry of calibrations: {error}") from error


@dataclass(frozen=True, slots=True)
class _Desk:
    """What every entry needs."""

    store: Store
    loaded: Loaded
    now: datetime
    trust: str
    number: int
    hands: Hands

    @property
    def book(self) -> Book:
        return calibration_book(self.store)

    def run(self, fields: Mapping[str, Any]) -> Run:
        return self.book.named(str(fields["name"]))

    def place(self, run: Run) -> Place:
        return place_of(self.loaded, run.device, run.parameter)

    def talk(self, run: Run, verb: str, **arguments: str) -> dict[str, str]:
        """What the instrument of *run* says to *verb*."""
        return dict(self.hands.talk(run.device, verb, {"parameter": run.parameter, **arguments}))

    def hand_marks(self) -> marks.HandMarks:
        return marks.HandMarks(self.store.records(marks.KIND, BEGINNING, END))


def _texts(fields: Mapping[str, Any], *names: str) -> dict[str, str]:
    return {name: str(fields.get(name) or "") for name in names}


def _photos(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, SHA-256 and size of each photo; the pictures themselves stay where they are."""
    found = []
    for one in fields.get("photos") or ():
        name, digest, size = str(one["name"]), str(one["sha256"]), int(one["bytes"])
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or not name.isprintable():
            raise WrongArgument("a photo wants its name and its SHA-256")
        found.append({"name": name[:120], "sha256": digest, "bytes": size})
    return found


# -- begun


def _begin(desk: _Desk, fields: Mapping[str, Any]) -> list[Record]:
    place = place_of(desk.loaded, str(fields["device"]), str(fields["parameter"]))
    hand = desk.hand_marks()
    full_scale, procedure = fields.get("full_scale"), str(fields["procedure"])
    number = desk.number or hand.next_number
    spoilt = [(place.point, place.parameter, number)]
    for i, (point, parameter) in enumerate(place.companions, 1):
        spoilt.append((point, parameter, desk.hands.number() if desk.hands.number else number + i))
    marked = procedure not in PROCEDURES or PROCEDURES[procedure].source != "series"
    more: dict[str, Any] = {
        "now": desk.now,
        "today": desk.now.astimezone(desk.loaded.zone).date(),
        "mark": f"M{number}" if marked else "",
        "also_marks": [f"M{one}" for _, _, one in spoilt[1:]] if marked else [],
        "full_scale": place.full_scale if full_scale is None else float(full_scale),
        "rule": _rule(place, procedure, dict(fields.get("rule") or {})),
        "trust": desk.trust,
        "unattended": bool(fields.get("unattended")),
        "photos": _photos(fields),
        "environment": _texts(fields, "environment")["environment"] or _measured(desk),
        **_texts(fields, "user", "note", "override", "into"),
    }
    standards = [standard_of(one) for one in fields["standards"]]
    book = desk.book
    calibration.begin(book, place, procedure, standards, **more)  # before anybody speaks to the instrument
    made = calibration.begin(
        book, place, procedure, standards, **more,
        kept=_kept(desk, place, procedure, more["into"]), instrument=_instrument(desk, book, place, fields),
    )  # fmt: skip
    if not marked:
        return [made]
    mark = {
        "do": "mark",
        "mark": "C",
        "user": made.body["user"],
        "reason": f"calibration {made.body['name']}: {made.body['procedure']}",
    }
    points = {point.code: point for point in desk.loaded.config.point}
    set_ = [
        marks.enter(hand, {**mark, "point": point, "parameter": parameter}, points, desk.now, one)
        for point, parameter, one in spoilt
    ]
    return [made, *set_]


def _rule(place: Place, procedure: str, rule: dict[str, Any]) -> Rule:
    """The rule of stability, with the stay in a standard that the instrument asks for unless another is given."""
    if rule.get("seconds") is None:
        told = procedure in PROCEDURES and PROCEDURES[procedure].acts == "point"
        rule["seconds"] = float(place.ways.get("settle_seconds", 0.0)) if told else 0.0
    return Rule(**rule)


def _kept(desk: _Desk, place: Place, procedure: str, into: str) -> dict[str, str]:
    """The instrument's own coefficients at the beginning, where this procedure is going to change them."""
    told = calibration.where(place, procedure, into) == "instrument" or PROCEDURES[procedure].acts == "point"
    if not (told and place.ways.get("saved")):
        return {}
    return dict(desk.hands.talk(place.device, "read_coefficients", {"parameter": place.parameter}))


def _measured(desk: _Desk) -> str:
    """What the station itself measures of the air around it, of the last minutes; "" where it does not."""
    from station.status import last_readings

    found: dict[str, float] = {}
    for one in last_readings(desk.store):
        if one.value is not None and one.mark is Mark.N and abs(desk.now - one.time) <= FRESH:
            found.setdefault(one.parameter, one.value)
    known = catalogue()
    shown = (f"{found[one]:.{known[one].decimals}f} {known[one].unit}" for one in SURROUNDINGS if one in found)
    return ", ".join(shown)


def _instrument(desk: _Desk, book: Book, place: Place, fields: Mapping[str, Any]) -> dict[str, str]:
    """Serial number and firmware: as typed, else as the instrument tells them, else as they were last time."""
    typed = {key: text for key, text in _texts(fields, "serial", "firmware").items() if text}
    told: dict[str, str] = {}
    if place.tells_serial and desk.hands.talk is not _nobody:
        try:
            told = dict(desk.hands.talk(place.device, "read_identity", {}))
        except StationError:
            told = {}  # it is calibrated without its name
    before = [run.instrument for run in book.runs.values() if run.device == place.device and run.instrument]
    if not typed and not told and before:
        return dict(before[-1])
    said = {key: told[key] for key in ("serial", "firmware") if told.get(key, "").isprintable() and told.get(key)}
    return said | typed


# -- gone on with


def _step(desk: _Desk, fields: Mapping[str, Any]) -> list[Record]:
    run = desk.run(fields)
    said = _texts(fields, "user", "override")
    made = calibration.step(run, int(fields["index"]), fields["readings"], now=desk.now, **said)
    if run.unattended and len(run.steps) + len(run.acts) + 1 == len(run.turns):  # from here on it waits for a name
        return [made, *_unmark(desk, run, fields, said["user"])]
    return [made]


def _act(desk: _Desk, fields: Mapping[str, Any]) -> list[Record]:
    run, user = desk.run(fields), str(fields.get("user") or "")
    calibration.act(run, user=user, now=desk.now)  # whether it may
    after: dict[str, str] = {}
    if run.tells == "write":
        if run.wrote is None:
            desk.hands.keep(calibration.write(run, user=user, now=desk.now))
        slope, intercept = calibration.written_by(run)
        wanted = {"slope": repr(slope), "intercept": repr(intercept)}
        writes = desk.place(run).ways.get("writes", ())
        told = {name: text for name, text in wanted.items() if name in writes}
        after = desk.talk(run, "write_coefficients", words=run.kept["words"], **told)
    elif run.tells == "point":
        if not _has_fitted(desk, run):
            _about_to_tell(desk, run, user)
            _tell_point(desk, run, user)
        after = desk.talk(run, "read_coefficients") if run.kept else {}
    else:
        _about_to_tell(desk, run, user)
        desk.talk(run, "calibrate", type=run.tells, standard=repr(run.standards[0].value))
    return [calibration.act(run, user=user, now=desk.now, after=after)]


def _has_fitted(desk: _Desk, run: Run) -> bool:
    """Whether the instrument was told its last standard before a cut, and has new coefficients of it."""
    if not (run.kept and run.telling == len(run.standards)):
        return False
    return bool(desk.talk(run, "read_coefficients")["words"] != run.kept["words"])


def _about_to_tell(desk: _Desk, run: Run, user: str) -> None:
    if run.telling == len(run.acts):
        desk.hands.keep(calibration.tell(run, user=user, now=desk.now))


def _tell_point(desk: _Desk, run: Run, user: str) -> None:
    """Tell the instrument the standard it is in, at the first one that it begins, behind the last that it ends."""
    number, last = len(run.acts) + 1, len(run.acts) + 1 == len(run.standards)
    if number == 1 and "begin" in run.stages:
        desk.talk(run, "calibrate", type="begin")
    standard = repr(run.standards[number - 1].value)
    desk.talk(run, "calibrate", type="point", number=str(number), standard=standard, last="yes" if last else "no")
    if last and "end" in run.stages:
        who = user if user.isascii() else run.name  # its registers take no other letters
        day = f"{desk.now.astimezone(desk.loaded.zone):%Y-%m-%d}"
        desk.talk(run, "calibrate", type="end", operator=who, date=day)


def _pairs(desk: _Desk, fields: Mapping[str, Any]) -> list[Record]:
    run = desk.run(fields)
    rows = paired(desk, run, fields["rows"])
    return [calibration.pairs(run, rows, now=desk.now, **_texts(fields, "user"))]


def paired(desk: _Desk, run: Run, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Hours (start, reference) with the mean of the raw values in them: of hours three quarters full, and unmarked."""
    wanted: dict[datetime, Any] = {}
    for at, reference in rows:
        start = datetime.fromisoformat(str(at))
        if start.tzinfo is None:
            raise WrongArgument(f"{at} needs its offset from UTC")
        if start.minute or start.second or start.microsecond:
            raise WrongArgument(f"{at} is not the beginning of an hour")
        if start in wanted:
            raise WrongArgument(f"{at} is there twice")
        wanted[start] = reference
    if not wanted:
        return []
    means = _hour_means(desk, run, min(wanted), max(wanted) + HOUR)
    excused = [one for one in desk.hand_marks() if one.point == run.point and not one.withdrawn]
    return [
        [start.isoformat(), reference, means[start]]
        for start, reference in sorted(wanted.items())
        if start in means and not any(_spoils(one, run.parameter, start) for one in excused)
    ]


def _spoils(mark: marks.HandMark, parameter: str, start: datetime) -> bool:
    """Whether a mark by hand lies on the hour from *start*."""
    concerned = mark.parameter in ("", parameter)
    return concerned and mark.first < start + HOUR and (mark.last is None or mark.last > start)


def _hour_means(desk: _Desk, run: Run, start: datetime, end: datetime) -> dict[datetime, float]:
    """Mean raw value of each hour that is full enough."""
    every = next(one.poll_seconds for bus in desk.loaded.config.bus for one in bus.device if one.name == run.device)
    rows = desk.store.query(
        "SELECT at_ms / 3600000, avg(raw), count(*) FROM reading JOIN series ON series.id = reading.series"
        " WHERE device = ? AND parameter = ? AND mark = ? AND raw IS NOT NULL AND at_ms >= ? AND at_ms < ?"
        " GROUP BY 1",
        (run.device, run.parameter, int(Mark.N), to_ms(start), to_ms(end)),
    )
    least = FULL_HOUR * 3600 / max(every, 1.0)
    return {datetime.fromtimestamp(hour * 3600, start.tzinfo): mean for hour, mean, count in rows if count >= least}


# -- ended


def _finish(desk: _Desk, fields: Mapping[str, Any]) -> list[Record]:
    book = desk.book
    run = book.named(str(fields["name"]))
    said = _texts(fields, "user", "note", "override")
    made = calibration.finish(
        book, run, desk.place(run), now=desk.now, trust=desk.trust, photos=_photos(fields), **said
    )
    return [made, *_unmark(desk, run, fields, said["user"])]


def _cancel(desk: _Desk, fields: Mapping[str, Any]) -> list[Record]:
    run, (user, reason) = desk.run(fields), _texts(fields, "user", "reason").values()
    calibration.cancel(run, user=user, reason=reason, now=desk.now)  # whether it may
    restored = _undo(desk, run, str(fields.get("override") or "")) if run.touched else {}
    made = calibration.cancel(run, user=user, reason=reason, now=desk.now, restored=restored)
    return [made, *_unmark(desk, run, fields, user)]


def _undo(desk: _Desk, run: Run, override: str) -> dict[str, str]:
    """Have the instrument be as it was before *run*; what cannot be undone is on record with the *override*."""
    try:
        if "cancel" in run.stages:
            desk.talk(run, "calibrate", type="cancel")
        if run.kept:
            return desk.talk(run, "restore_coefficients", words=run.kept["words"])
        if "cancel" in run.stages and run.telling < len(run.standards):  # what it has confirmed is not given up
            return {"told": "cancel"}
    except StationError as error:
        if not override.strip():
            raise
        return {"not_restored": str(error), "override": override.strip()}
    return {"stays": run.tells}  # it names no way back: what it made of its standard stays in it


def _halt(desk: _Desk, fields: Mapping[str, Any]) -> list[Record]:
    run = desk.run(fields)
    made = calibration.halt(run, reason=str(fields["reason"]), now=desk.now)
    return [made, *_unmark(desk, run, fields, run.user)]


def _revert(desk: _Desk, fields: Mapping[str, Any]) -> list[Record]:
    book = desk.book
    run, (user, reason) = book.named(str(fields["name"])), _texts(fields, "user", "reason").values()
    made = calibration.revert(book, run, user=user, reason=reason, now=desk.now)  # whether it may
    if not run.left_in_instrument:
        return [made]
    there = desk.talk(run, "read_coefficients")
    left = run.acts[-1].after
    if there["words"] not in (left.get("words"), run.kept["words"]):  # a cut may have come behind the writing
        raise WrongArgument(
            f"{run.device} holds {there['numbers']}, which {run.name} did not leave ({left.get('numbers')}):"
            " take the newest calibration back first"
        )
    restored = desk.talk(run, "restore_coefficients", words=run.kept["words"])
    return [calibration.revert(book, run, user=user, reason=reason, now=desk.now, restored=restored)]


def _unmark(desk: _Desk, run: Run, fields: Mapping[str, Any], user: str) -> list[Record]:
    """The end of the marks that *run* has set, after a tail; nothing where a person has ended it."""
    seconds = fields.get("tail_seconds")
    tail = calibration.TAIL if seconds is None else timedelta(seconds=float(seconds))
    if not timedelta() <= tail <= calibration.LONGEST_TAIL:
        raise WrongArgument(f"a tail of {tail.total_seconds():g} s is not between 0 and 24 hours")
    hand, own = desk.hand_marks(), {run.mark, *run.also_marks}
    still = [one.name for one in hand if one.name in own and one.last is None and not one.withdrawn]
    end = {"do": "end", "to": (desk.now + tail).isoformat(), "user": user, "reason": f"end of {run.name}"}
    return [marks.enter(hand, {**end, "name": name}, {}, desk.now) for name in still]


_Entry = Callable[[_Desk, Mapping[str, Any]], list[Record]]
_ENTRIES: Mapping[str, _Entry] = {
    "begin": _begin,
    "step": _step,
    "act": _act,
    "pairs": _pairs,
    "done": _finish,
    "cancel": _cancel,
    "halt": _halt,
    "revert": _revert,
}
