"""Entries of a calibration, checked against what is on record: begun, a standard taken, finished, given up, taken back.

What is wrong is said in one sentence, and nothing is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from station.calibrate import IDENTITY, KIND, Coefficients
from station.calibration_figures import Rule, signal
from station.calibration_limits import AS_FOUND
from station.calibration_outcome import outcome, written_by
from station.calibration_run import PROCEDURES, WHERE, Book, Place, Run, read_book
from station.calibration_standard import Standard, number, standard_in
from station.model import Record, WrongArgument, asdict, did_you_mean

__all__ = [
    "PROCEDURES", "Book", "Place", "Rule", "Run", "Standard", "outcome", "read_book", "signal", "standard_in",
    "written_by",
]  # fmt: skip

MOST_READINGS = 500  # of one step
FEWEST_PAIRS, MOST_PAIRS = 10, 400  # of a reference series: ours; fewer hours say little, more are another series
TAIL = timedelta(minutes=2)  # ours: how long values stay marked C after a run, until the sample is back
LONGEST_TAIL = timedelta(hours=24)
SAME_STANDARD = 0.005  # a standard the instrument knows, as it is typed


def where(place: Place, procedure: str, into: str = "") -> str:
    """Where the coefficients of *procedure* go: as asked, else into the instrument where it has registers for them."""
    if into and into not in WHERE:
        raise WrongArgument(f'"{into}" is neither station nor instrument')
    if not PROCEDURES[procedure].sets:
        if into:
            raise WrongArgument(f"{procedure} leaves no coefficients that could go into the {into}")
        return "station"
    if into == "instrument" and not place.keeps(procedure):
        raise WrongArgument(
            f"the profile of {place.device} names no registers in which {place.parameter} keeps what {procedure} sets"
        )
    return into or ("instrument" if place.keeps(procedure) else "station")


def begin(
    book: Book, place: Place, procedure: str, standards: Sequence[Standard], *, user: str, now: datetime, today: date,
    mark: str, full_scale: float | None = None, rule: Rule | None = None, note: str = "", override: str = "",
    trust: str = "", into: str = "", unattended: bool = False, kept: Mapping[str, str] | None = None,
    instrument: Mapping[str, str] | None = None, photos: Sequence[Mapping[str, Any]] = (),
    also_marks: Sequence[str] = (), environment: str = "",
) -> Record:  # fmt: skip
    """Begin *procedure*; from here on its standards and their order are fixed."""
    who = _who(user)
    if procedure not in PROCEDURES:
        raise WrongArgument(
            f'there is no procedure "{procedure}"{did_you_mean(procedure, PROCEDURES)}; known: {", ".join(PROCEDURES)}'
        )
    if (other := book.open_at(place.device)) is not None:
        raise WrongArgument(
            f"{place.device} is being calibrated by {other.user} since {other.begun.isoformat(timespec='minutes')}"
            f" ({other.name}, {other.parameter}); finish or cancel it first"
        )
    before = book.in_force[place.device, place.parameter][0] if _has(book, place) else place.configured
    target = where(place, procedure, into)
    _allowed(place, procedure, target, before)
    if unattended:
        _alone(place, procedure, len(standards))
    _fitting(procedure, standards, today, override)
    _known(place, procedure, standards)
    if full_scale is not None and not 0 < full_scale < math.inf:
        raise WrongArgument(f"a full scale of {full_scale:g} is not above 0, or is no number")
    body = {
        "do": "begin",
        "name": f"K{book.next_number}",
        "parameter": place.parameter,
        "procedure": procedure,
        "standards": [one.plain() for one in standards],
        "rule": asdict(_rule(rule or Rule(), unattended)),
        "full_scale": full_scale,
        "before": list(before),
        "mark": mark,
        "also_marks": [*also_marks],
        "environment": environment,
        "user": who,
        "trust": trust,
        "into": target,
        "unattended": unattended,
        "stages": list(place.ways.get("stages", ())) if PROCEDURES[procedure].acts == "point" else [],
        "kept": dict(kept or {}),
        "instrument": _said(**(instrument or {})),
        "photos": [dict(one) for one in photos],
        **_said(note=note, override=override),
    }
    return Record(KIND, now, body, place.point, place.device)


def _has(book: Book, place: Place) -> bool:
    return (place.device, place.parameter) in book.in_force


def _alone(place: Place, procedure: str, standards: int) -> None:
    """Raise WrongArgument where somebody has to be there."""
    if not place.cyclic:
        raise WrongArgument(
            f"{place.device} is read at every poll: its calibration takes minutes and wants somebody there"
        )
    if PROCEDURES[procedure].acts not in ("zero", "span") and (procedure, standards) != ("check", 1):
        raise WrongArgument(
            f"{procedure} wants somebody there: unattended run instrument-zero, instrument-span, or a check with one"
            " standard"
        )


def _rule(rule: Rule, unattended: bool) -> Rule:
    if unattended:
        return Rule(readings=1)  # of an analyser, a result
    if not 3 <= rule.readings <= MOST_READINGS or not (0 < rule.noise_percent <= 100 and 0 < rule.drift_percent <= 100):
        raise WrongArgument(f"a rule of stability takes 3 to {MOST_READINGS} readings, and limits above 0, to 100 %")
    if not 0 <= rule.seconds <= 3600:
        raise WrongArgument(f"a stay of {rule.seconds:g} s in a standard is not between 0 and an hour")
    return rule


def _allowed(place: Place, procedure: str, into: str, before: Coefficients) -> None:
    """Raise WrongArgument where *procedure* would change what is not to be changed, or what cannot be."""
    known = PROCEDURES[procedure]
    if known.sets and into == "station" and place.locked:
        raise WrongArgument(
            f"{place.point} reports as ST={place.system}: instrument, station and platform show one number, so the"
            " station's coefficients stay 1 and 0; calibrate in the instrument, and check it here"
        )
    if into == "instrument" and before != IDENTITY:
        raise WrongArgument(
            f"the station's own slope and intercept of {place.parameter} are {before[0]:g} and {before[1]:g}; to"
            " calibrate in the instrument they have to be 1 and 0 first (station calibrate revert, or station.toml)"
        )
    if known.acts == "point" and place.ways.get("points") is None:
        raise WrongArgument(
            f"the profile of {place.device} has no calibration of {place.parameter} over several standards"
        )
    if known.acts in ("zero", "span"):
        halves = place.ways.get("halves")
        if not place.acts or (halves is not None and known.acts not in halves):
            raise WrongArgument(f"the profile of {place.device} has no action that calibrates {place.parameter}")


def offered(book: Book, place: Place) -> list[str]:
    """The procedures that can be begun at *place*, where nobody is at it."""
    before = book.in_force[place.device, place.parameter][0] if _has(book, place) else place.configured
    found = []
    for name, known in PROCEDURES.items():
        count = place.ways.get("points") or 0
        if known.acts == "point" and count and not known.fewest <= count <= known.most:
            continue
        try:
            _allowed(place, name, where(place, name, ""), before)
        except WrongArgument:
            continue
        found.append(name)
    return found


def _known(place: Place, procedure: str, standards: Sequence[Standard]) -> None:
    """Raise WrongArgument where the instrument goes through other standards."""
    if PROCEDURES[procedure].acts != "point":
        return
    known, count = place.ways.get("standards") or [], place.ways.get("points") or 0
    if count and len(standards) != count:
        raise WrongArgument(f"{place.device} goes through {count} standards; {len(standards)} given")
    if known and any(abs(one.value - value) > SAME_STANDARD for one, value in zip(standards, known, strict=False)):
        raise WrongArgument(
            f"{place.device} knows the standards {', '.join(f'{one:g}' for one in known)}, in this order: "
            + ", ".join(f"{one.value:g}" for one in standards)
        )


def _fitting(procedure: str, standards: Sequence[Standard], today: date, override: str) -> None:
    """Raise WrongArgument where *standards* are too few, out of order, or past their day without a reason."""
    wants = PROCEDURES[procedure]
    if not wants.fewest <= len(standards) <= wants.most:
        many = f"{wants.fewest}" if wants.fewest == wants.most else f"{wants.fewest} to {wants.most}"
        raise WrongArgument(f"{procedure} takes {many} standard(s); {len(standards)} given")
    values = [one.value for one in standards]
    ordered = wants.sets == "line" or wants.acts == "point"
    if ordered and any(a >= b for a, b in pairwise(values)):
        raise WrongArgument(
            "standards go from the lowest to the highest, each once: " + ", ".join(f"{one:g}" for one in values)
        )
    if wants.repeats and (len(set(values)) > 1 or values[0] == 0):
        raise WrongArgument(f"{procedure} takes one standard above zero, again and again")
    if wants.source == "typed" and any(value <= 0 for value in values):
        raise WrongArgument(f"{procedure} compares with a reference above zero")
    for one in standards:
        if one.expired(today) and not override.strip():
            raise WrongArgument(
                f"the standard {one.value:g} ({one.certificate or 'no certificate'}) expired on {one.expires};"
                " use one in date, or give --override with the reason"
            )


# -- what is taken, and what the instrument is told


def step(
    run: Run, index: int, readings: Sequence[Sequence[Any]], *, user: str, now: datetime, override: str = ""
) -> Record:
    """The instrument's readings (time, raw value) in the standard number *index* of *run*."""
    _same(run, user)
    if run.next is None:
        raise WrongArgument(f"{run.name}: all {len(run.wanted)} standards are taken; finish it")
    if run.must_act:
        raise WrongArgument(f"{run.name}: first {run.device} is told {_to_do(run)}")
    if index != len(run.steps):
        raise WrongArgument(
            f"{run.name}: standard {index + 1} is out of turn; the next one is number {len(run.steps) + 1}"
            f" ({run.next.value:g})"
        )
    if not 1 <= len(readings) <= MOST_READINGS:
        raise WrongArgument(f"{len(readings)} readings; a standard takes 1 to {MOST_READINGS}")
    series = [(_time(one[0]), number(one[1], "a reading")) for one in readings]
    if any(a >= b for (a, _), (b, _) in pairwise(series)):
        raise WrongArgument("the readings are not in the order of their time")
    typed = run.procedure_of.source == "typed"
    found = signal(series, Rule(readings=len(series)) if typed else run.rule, run.scale)
    if not (typed or found.stable) and not override.strip():
        raise WrongArgument(
            f"the signal is not stable: noise {found.noise:.3g} (limit {found.noise_limit:.3g}), drift"
            f" {found.drift:.3g} (limit {found.drift_limit:.3g}) over {found.count} of {run.rule.readings} readings"
            f"{_stay(run.rule)}; wait, or give --override with the reason"
        )
    body = {
        "do": "step",
        "name": run.name,
        "index": index,
        "raw": found.mean,
        "noise": found.noise,
        "drift": found.drift,
        "stable": found.stable or typed,
        "readings": [[str(one[0]), float(one[1])] for one in readings],
        "user": user.strip(),
        **({"typed": True} if typed else {}),
        **_said(override=override),
    }
    return Record(KIND, now, body, run.point, run.device)


def _stay(rule: Rule) -> str:
    return f", {rule.seconds:g} s in the standard at least" if rule.seconds else ""


def _to_do(run: Run) -> str:
    if run.tells == "write":
        return "its new coefficients"
    return "its standard" if run.tells == "point" else f"to calibrate its {run.tells}"


def write(run: Run, *, user: str, now: datetime) -> Record:
    """What is about to be written into the instrument; kept before, so that a power cut in between can be undone."""
    _same(run, user)
    if not run.must_act or run.tells != "write":
        raise WrongArgument(f"{run.name}: it is not the instrument's turn to take coefficients")
    slope, intercept = written_by(run)
    body = {
        "do": "write",
        "name": run.name,
        "before": dict(run.kept),
        "slope": slope,
        "intercept": intercept,
        "user": user.strip(),
    }
    return Record(KIND, now, body, run.point, run.device)


def tell(run: Run, *, user: str, now: datetime) -> Record:
    """That the instrument is about to be told; kept before, so that giving up after a power cut undoes it."""
    _same(run, user)
    if not run.must_act:
        raise WrongArgument(f"{run.name}: it is not the instrument's turn to calibrate itself")
    body = {"do": "tell", "name": run.name, "type": run.tells, "index": len(run.acts), "user": user.strip()}
    return Record(KIND, now, body, run.point, run.device)


def act(run: Run, *, user: str, now: datetime, after: Mapping[str, str] | None = None) -> Record:
    """That the instrument was told what it is told; kept once it has obeyed, with its registers *after* it."""
    _same(run, user)
    if not run.must_act:
        raise WrongArgument(f"{run.name}: it is not the instrument's turn to calibrate itself")
    body = {
        "do": "act",
        "name": run.name,
        "type": run.tells,
        "index": len(run.acts),
        "after": dict(after or {}),
        "user": user.strip(),
    }
    return Record(KIND, now, body, run.point, run.device)


def told(run: Run, *, now: datetime, after: str) -> Record:
    """That the instrument was told to measure the next standard of *run*; its result is younger than *after*."""
    if run.state != "open" or not run.unattended or run.turn is None:
        raise WrongArgument(f"{run.name} does not run unattended")
    body = {"do": "told", "name": run.name, "turn": len(run.steps) + len(run.acts), "after": after, "user": run.user}
    return Record(KIND, now, body, run.point, run.device)


def pairs(run: Run, rows: Sequence[Sequence[Any]], *, user: str, now: datetime) -> Record:
    """Hours of a reference instrument beside the raw means of this one: time, reference, raw."""
    _same(run, user)
    if run.turn != ("series", 0):
        raise WrongArgument(f"{run.name}: takes no reference series, or has one")
    if not FEWEST_PAIRS <= len(rows) <= MOST_PAIRS:
        raise WrongArgument(
            f"{len(rows)} hours have both a reference and a mean of {run.device}; {FEWEST_PAIRS} to {MOST_PAIRS} are"
            " wanted"
        )
    made = [[str(at), number(reference, "a reference"), number(raw, "a mean")] for at, reference, raw in rows]
    if any(_time(a[0]) >= _time(b[0]) for a, b in pairwise(made)):
        raise WrongArgument("the hours of the reference series are not in their order, each once")
    body = {"do": "pairs", "name": run.name, "pairs": made, "user": user.strip()}
    return Record(KIND, now, body, run.point, run.device)


# -- what it comes to


def finish(
    book: Book, run: Run, place: Place, *, user: str, now: datetime, note: str = "", override: str = "",
    trust: str = "", photos: Sequence[Mapping[str, Any]] = (),
) -> Record:  # fmt: skip
    """The result of *run*: figures, what the rules say of them, and the coefficients it leaves."""
    if not run.unattended:  # what ran unattended is signed by whoever has looked at it
        _same(run, user)
    who = _who(user)
    if run.state != "open":
        raise WrongArgument(f"{run.name} is {run.state} already")
    _all_there(run)
    found = outcome(book, run, place)
    leaves = found["changes"] or run.touched
    if leaves and not found["accepted"] and not override.strip():
        worst = next(one for one in found["judgements"] if not one["passed"] and one["what"] not in AS_FOUND)
        what = f"{run.name}: {worst['what']} is {worst['value']:.4g} against {worst['limit']:g} ({worst['source']})"
        if run.touched:
            raise WrongArgument(
                f"{what}; cancel it to have the former calibration back in the instrument, or give --override with the"
                " reason"
            )
        raise WrongArgument(
            f"{what}; the former coefficients stay in force; take it again, or give --override with the reason"
        )
    body = {
        "do": "done",
        "name": run.name,
        "parameter": run.parameter,
        "procedure": run.procedure,
        **found,
        "configured": list(place.configured),
        "user": who,
        "trust": trust,
        "photos": [dict(one) for one in photos],
        **({"valid_from": now.isoformat()} if leaves else {}),
        **_said(note=note, override=override),
    }
    return Record(KIND, now, body, run.point, run.device)


def _all_there(run: Run) -> None:
    if run.turn is None:
        return
    if run.turn[0] == "series":
        raise WrongArgument(f"{run.name}: the reference series is missing")
    if run.next is None or (run.must_act and run.tells != "zero" and run.tells != "span"):
        raise WrongArgument(f"{run.name}: first {run.device} is told {_to_do(run)}")
    raise WrongArgument(
        f"{run.name}: the standard {run.next.value:g} ({len(run.steps) + 1} of {len(run.wanted)}) is not taken"
    )


# -- given up, failed unattended, taken back


def cancel(run: Run, *, user: str, reason: str, now: datetime, restored: Mapping[str, str] | None = None) -> Record:
    """Give *run* up: the coefficients stay what they were, in the instrument they were *restored*."""
    who = _who(user)
    if run.state != "open":
        raise WrongArgument(f"{run.name} is {run.state} already")
    if not reason.strip() or not reason.isprintable():
        raise WrongArgument("cancelling needs a reason")
    body = {"do": "cancel", "name": run.name, "user": who, "reason": reason.strip()}
    return Record(KIND, now, body | ({"restored": dict(restored)} if restored else {}), run.point, run.device)


def halt(run: Run, *, reason: str, now: datetime) -> Record:
    """That *run*, which nobody attends, cannot go on; the former calibration is in force."""
    if run.state != "open" or not run.unattended:
        raise WrongArgument(f"{run.name} does not run unattended")
    printable = "".join(letter if letter.isprintable() else " " for letter in reason)
    body = {"do": "halt", "name": run.name, "user": run.user, "reason": printable}
    return Record(KIND, now, body, run.point, run.device)


def revert(
    book: Book, run: Run, *, user: str, reason: str, now: datetime, restored: Mapping[str, str] | None = None
) -> Record:
    """Put the coefficients back that were in force before *run*, from now on."""
    who = _who(user)
    in_instrument = run.left_in_instrument
    if run.state != "done" or not (run.result.get("changes") or in_instrument):
        raise WrongArgument(f"{run.name} has left no coefficients that could be taken back")
    if not reason.strip() or not reason.isprintable():
        raise WrongArgument("taking a calibration back needs a reason")
    if not in_instrument:
        newest, by = book.in_force[run.device, run.parameter]
        if newest != tuple(run.result["coefficients"]):
            raise WrongArgument(f"the coefficients of {run.name} are not in force; those of {by.body['name']} are")
    body = {
        "do": "revert",
        "name": run.name,
        "parameter": run.parameter,
        "changes": not in_instrument,
        "before": list(run.result["coefficients"]),
        "coefficients": list(run.before),
        "valid_from": now.isoformat(),
        "user": who,
        "reason": reason.strip(),
        **({"restored": dict(restored)} if restored else {}),
    }
    return Record(KIND, now, body, run.point, run.device)


def _who(user: str) -> str:
    if not user.strip() or not user.isprintable():
        raise WrongArgument("the person's name (--user) is missing or not printable")
    return user.strip()


def _same(run: Run, user: str) -> None:
    who = _who(user)
    if run.state != "open":
        raise WrongArgument(f"{run.name} is {run.state} already")
    if who != run.user:
        raise WrongArgument(
            f"{run.name} was begun by {run.user}; who begins a calibration finishes it, anybody may cancel it"
        )


def _said(**texts: str) -> dict[str, str]:
    for name, text in texts.items():
        if not str(text).isprintable():
            raise WrongArgument(f"the {name} is not printable")
    return {name: str(text).strip() for name, text in texts.items() if str(text).strip()}


def _time(text: Any) -> float:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a time') from error
    if moment.tzinfo is None:
        raise WrongArgument(f"{text} needs its offset from UTC")
    return moment.timestamp()
