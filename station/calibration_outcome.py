"""What a run comes to: rows as found and as left, figures, what rules say of them, and the coefficients it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from station.calibrate import IDENTITY, Coefficients
from station.calibration_figures import coefficients_for, correlation, drift_percent, line_through, scatter
from station.calibration_limits import AS_FOUND, judge, verdict
from station.calibration_run import Book, Place, Run
from station.model import WrongArgument, asdict


def outcome(book: Book, run: Run, place: Place) -> dict[str, Any]:
    """What *run* comes to, as plain values: a row for each standard, line, drifts, judgements, coefficients."""
    known = run.procedure_of
    after = run.before
    if known.source == "series":
        values, raws = [one[1] for one in run.pairs], [one[2] for one in run.pairs]
    else:
        found, values = run.taken("found"), [one.value for one in run.standards]
        raws = [found[i].raw for i in range(len(values))]
    if known.sets and run.into == "station":
        after = coefficients_for(known.sets, values, raws, run.before)
    rows = _rows(run, values, raws, after)
    response = line_through(values, raws) if len(set(values)) > 1 else None
    figures = _figures(book, run, rows, values, raws)
    judgements = judge(place.system, run.parameter, figures)
    return {
        "rows": rows,
        "response": None if response is None else {"slope": response[0], "intercept": response[1]},
        **figures,
        "before": list(run.before),
        "coefficients": list(after),
        "changes": bool(known.sets) and run.into == "station",
        "instrument_before": dict(run.kept),
        "instrument_after": dict(run.acts[-1].after) if run.acts else {},
        "judgements": [asdict(one) for one in judgements],
        "accepted": all(one.passed for one in judgements if one.what not in AS_FOUND),
        "verdict": verdict(judgements),
    }


def _rows(run: Run, values: Sequence[float], raws: Sequence[float], after: Coefficients) -> list[dict[str, Any]]:
    """As found and as left in each standard; as left is measured where it was taken again, else computed."""
    again = {number: one.raw for number, one in run.taken("left").items()}
    rows, line = [], None
    if run.into == "instrument":
        line = _line(run)
    for i, (standard, raw) in enumerate(zip(values, raws, strict=True)):
        found = run.before[0] * raw + run.before[1]
        if i in again:
            left: float | None = after[0] * again[i] + after[1]
        elif line is not None:
            left = line[0] * raw + line[1]
        elif run.procedure_of.acts == "point":
            left = None  # the instrument alone knows
        else:
            left = after[0] * raw + after[1]
        rows.append(
            {
                "standard": standard,
                "raw": raw,
                "as_found": found,
                "found_error": found - standard,
                "as_left": left,
                "left_error": None if left is None else left - standard,
                "measured": i in again,
            }
        )
    return rows


def _figures(
    book: Book, run: Run, rows: Sequence[Mapping[str, Any]], values: Sequence[float], raws: Sequence[float]
) -> dict[str, float | None]:
    """Whatever of errors, drifts, r, scatter and factor this procedure tells."""
    known = run.procedure_of
    held = "left_error" if known.sets or known.acts else "found_error"
    counted = [row for row in rows if row[held] is not None]
    figures: dict[str, float | None] = dict.fromkeys(
        ("zero_drift", "span_drift", "r", "error", "error_percent", "mean_percent", "rsd", "flow_percent", "factor",
         "series_percent", "full_scale_percent")
    )  # fmt: skip
    if known.source == "series":
        mean = sum(values) / len(values)
        off = sum(abs(row["left_error"]) for row in rows) / len(rows)
        factor = coefficients_for("factor", values, raws, run.before)[0]
        return figures | {"r": correlation(values, raws), "factor": factor, "series_percent": off / mean * 100}
    shares = [row[held] / row["standard"] * 100 for row in counted if row["standard"]]
    worst = max(shares, key=abs) if shares else None
    if known.repeats:
        error, deviation = scatter([row["as_found"] for row in rows], values[0])
        return figures | {"mean_percent": error, "rsd": deviation}
    figures |= {"error": max((row[held] for row in counted), key=abs), "error_percent": worst}
    if known.source == "typed":
        return figures | {"flow_percent": worst}
    if run.procedure == "weights" and run.full_scale:
        figures["full_scale_percent"] = (figures["error"] or 0.0) / run.full_scale * 100
    return {**figures, **_drifts(book, run, rows), "r": correlation(values, raws)}


def _drifts(book: Book, run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Zero and span drift of the values as found, against what the last calibration left at the same standards."""
    scale = run.full_scale
    drifts: dict[str, float | None] = {"zero_drift": None, "span_drift": None}
    if scale is None:
        return drifts
    for row in rows:
        reference = book.left_at(run.device, run.parameter, row["standard"])
        drift = drift_percent(row["as_found"], row["standard"] if reference is None else reference, scale)
        if row["standard"] == 0:
            drifts["zero_drift"] = drift
        elif row is rows[-1]:
            drifts["span_drift"] = drift
    return drifts


def written_by(run: Run) -> Coefficients:
    """The instrument's own slope and intercept under which it shows the standards of *run*.

    What it said already came through the ones it has: K' = a·K and B' = a·B + b for the line a, b from said to true.
    """
    slope, intercept = _line(run)
    own, zero = float(run.kept.get("slope", 1.0)), float(run.kept.get("intercept", 0.0))
    if not (math.isfinite(own) and math.isfinite(zero) and own):
        raise WrongArgument(
            f"{run.device} holds the slope {own:g} and the intercept {zero:g}, of which no new ones can be made: write"
            " 1 and 0 there first (station bus poke)"
        )
    return slope * own, slope * zero + intercept


def _line(run: Run) -> Coefficients:
    """The line from what was said, as found, to the standards."""
    found = run.taken("found")
    raws = [found[i].raw for i in range(len(run.standards))]
    return coefficients_for(run.procedure_of.sets, [one.value for one in run.standards], raws, IDENTITY)
