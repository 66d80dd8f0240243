"""Readings without their drift: the spans that the record of calibrations makes, and every value in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from station.calibration_entry import calibration_book
from station.clock import EPOCH, from_ms, to_ms
from station.drift import Break, Corrected, Span, Why, correct, spans
from station.fieldbook import BEGINNING, END
from station.i18n import t
from station.marks import KIND as MARKS
from station.marks import HandMarks
from station.model import WrongArgument, did_you_mean
from station.store import Store, unpack_mark

if TYPE_CHECKING:
    from station.checks import Check

COLUMNS = (
    "time", "point", "device", "parameter", "name", "unit", "value", "corrected", "drift", "effective_mark",
    "from_calibration", "to_calibration", "model", "because", "why",
)  # fmt: skip


def series_of(store: Store) -> list[tuple[str, str]]:
    """Every (device, parameter) that has readings."""
    return [(device, parameter) for device, parameter in store.query(
        "SELECT DISTINCT device, parameter FROM series ORDER BY device, parameter"
    )]  # fmt: skip


def known_series(store: Store, device: str, parameter: str) -> None:
    """Raise WrongArgument where nothing is on record of *parameter* of *device*."""
    known = series_of(store)
    if device not in {name for name, _ in known}:
        raise WrongArgument(f'there is nothing on record of "{device}"{did_you_mean(device, {n for n, _ in known})}')
    if (device, parameter) not in known:
        mine = [one for name, one in known if name == device]
        hint = did_you_mean(parameter, mine)
        raise WrongArgument(f'{device} has no "{parameter}" on record{hint}; it has {", ".join(mine)}')


def spans_of(store: Store, device: str, parameter: str, *, model: str = "auto") -> list[Span]:
    """The spans of one series, from its calibrations and from what else happened to its instrument."""
    runs = [r for r in calibration_book(store).runs.values() if (r.device, r.parameter) == (device, parameter)]
    return spans(runs, [*_exchanges(store, device), *_locks(store, device, parameter)], model=model)


def _exchanges(store: Store, device: str) -> Iterator[Break]:
    """When another instrument answered in the place of *device*."""
    for record in store.records("identity", BEGINNING, END, device=device):
        if before := record.body.get("before"):
            yield Break(
                at=record.at, why=Why("exchanged", {"serial": str(record.body["serial"]), "before": str(before)})
            )


def _locks(store: Store, device: str, parameter: str) -> Iterator[Break]:
    """From each check that failed to the next one of its kind that passed: the trend is locked."""
    if not store.kept("qc"):
        return
    from station.checks import KIND, read_book  # most stations check nothing by themselves

    book = read_book(store.records(KIND, BEGINNING, END, device=device))
    for check in {one.check for one in book.checks.values() if one.parameter == parameter}:
        failed = None
        for one in book.judged(check):
            if one.state == "failed":
                failed = failed or one
            elif failed is not None:
                yield _lock(failed, one.ended or one.begun)
                failed = None
        if failed is not None:
            yield _lock(failed, END)


def _lock(failed: Check, until: datetime) -> Break:
    return Break(at=failed.begun, until=until, why=Why("failed_check", {"name": failed.name}))


def rows(
    store: Store, device: str, parameter: str, zone: tzinfo, *, start: datetime | None = None,
    end: datetime | None = None, model: str = "auto", point: str | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Every reading of a series from *start* to before *end*, beside its value without drift, or why there is none."""
    from station.export import named

    found = spans_of(store, device, parameter, model=model)
    by_hand = HandMarks(store.records(MARKS, BEGINNING, END))
    for at_ms, where, coefficients, value, packed in _readings(store, start, end, device, parameter):
        if point not in (None, where):
            continue
        at, (slope, intercept) = from_ms(at_ms), json.loads(coefficients)
        made = correct(found, at, value, (slope, intercept))
        mark, _ = unpack_mark(packed)
        yield {
            "time": at.astimezone(zone).isoformat(timespec="seconds"),
            "point": where,
            "device": device,
            **named(parameter),
            "value": value,
            **_plain(made, value),
            "effective_mark": by_hand.mark(where, parameter, at, mark).name,
        }


_CHUNK = 5000  # rows read at once: years of them are more than the memory holds
_READINGS = """
    SELECT reading.id, at_ms, point, coefficients, coalesce(value, raw), mark
    FROM reading JOIN series ON series.id = reading.series
    WHERE reading.id > ? AND at_ms >= ? AND at_ms < ? AND device = ? AND parameter = ? ORDER BY reading.id LIMIT ?"""


def _readings(
    store: Store, start: datetime | None, end: datetime | None, device: str, parameter: str
) -> Iterator[tuple[Any, ...]]:
    after, bounds = 0, (to_ms(start or EPOCH), to_ms(end) if end else 1 << 62)
    while found := store.query(_READINGS, (after, *bounds, device, parameter, _CHUNK)):
        after = found[-1][0]
        yield from (row[1:] for row in found)


def _plain(made: Corrected, value: float | None) -> dict[str, Any]:
    clean = made.value
    return {
        "corrected": None if clean is None else float(f"{clean:.9g}"),
        "drift": None if clean is None or value is None else float(f"{value - clean:.6g}"),
        "from_calibration": made.span.earlier,
        "to_calibration": made.span.later,
        "model": made.span.model,
        **_worded(made.because),
    }


def _worded(why: Why | None) -> dict[str, str]:
    """A reason as a word for programs, and as a sentence in the language in use."""
    return {"because": why.code, "why": t(f"drift_why.{why.code}", **why.about)} if why else {"because": "", "why": ""}


def plain_span(span: Span, zone: tzinfo) -> dict[str, Any]:
    """A span as JSON carries it."""
    found = span.response

    def local(moment: datetime | None) -> str | None:
        return None if moment is None or moment == END else moment.astimezone(zone).isoformat(timespec="seconds")

    return {
        "from": local(span.start),
        "to": local(span.end),
        "from_calibration": span.earlier,
        "to_calibration": span.later,
        "model": span.model,
        "gain": None if found is None else found.gain,
        "offset": None if found is None else found.offset,
        "pairs": [list(pair) for pair in span.pairs],
        **_worded(span.because),
        "left_out": [{"from": local(one.at), "to": local(one.until), **_worded(one.why)} for one in span.holds],
    }


def sentences(span: Mapping[str, Any]) -> list[str]:
    """A span of `plain_span` in words, with what it rests on."""
    start, end = _spoken(span["from"]), _spoken(span["to"])
    if span["because"]:
        return [t("drift.not_computable", start=start, end=end, why=span["why"])]
    said = t(
        "drift.span",
        start=start,
        end=end,
        earlier=span["from_calibration"],
        later=span["to_calibration"],
        model=t(f"drift_model.{span['model']}"),
        gain=f"{span['gain']:.6g}",
        offset=f"{span['offset']:.6g}",
        pairs=", ".join(f"{left:g} → {found:g}" for left, found in span["pairs"]),
    )
    out = [(_spoken(one["from"]), _spoken(one["to"]), one["why"]) for one in span["left_out"]]
    return [said, *("  " + t("drift.left_out", start=first, end=last, why=why) for first, last, why in out)]


def _spoken(moment: str | None) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M}" if moment else "…"


def touching(found: Sequence[Span], start: datetime | None, end: datetime | None) -> list[Span]:
    """Those of *found* that lie within *start* and *end* by any part."""
    return [
        one
        for one in found
        if (end is None or one.start is None or one.start < end)
        and (start is None or one.end is None or one.end > start)
    ]
