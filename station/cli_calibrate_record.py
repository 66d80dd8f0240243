"""What the commands of calibrations share: the record, an entry into it, and its figures in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from station.command_line import ask_station
from station.i18n import t

if TYPE_CHECKING:
    from station.calibration_run import Book
    from station.calibration_standard import Standard
    from station.config import Loaded
    from station.model import Record

PATIENCE = 120.0  # seconds: an instrument is told several things, on a line that is lent in turn


def entries(loaded: Loaded, *, committed: bool = True) -> list[Record]:
    """Every entry, in the order they were made; what the running station has taken is *committed* first."""
    from station.calibrate import KIND
    from station.fieldbook import BEGINNING, END
    from station.store import Store, connect

    if committed:
        ask_station(loaded, "commit")
    if not loaded.database.exists():
        return []
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        return sorted(store.records(KIND, BEGINNING, END), key=lambda record: record.id)


def read_all(loaded: Loaded, *, committed: bool = True) -> Book:
    """All calibrations; see entries."""
    from station.calibration_run import read_book

    return read_book(entries(loaded, committed=committed))


def enter(loaded: Loaded, fields: dict[str, Any], device: Any = None) -> dict[str, Any]:
    """Have an entry kept by the running station, or, when none runs, in its database for the next start.

    Alone, the instrument is spoken to as *device*, or its port is opened for what has to be said to it.
    """
    body: dict[str, Any] | None = ask_station(loaded, "calibrate", timeout=PATIENCE, fields=fields)
    return _enter_alone(loaded, fields, device) if body is None else body


def _enter_alone(loaded: Loaded, fields: dict[str, Any], device: Any) -> dict[str, Any]:
    from station.calibration_entry import Hands, enter_calibration
    from station.clock import trust
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:

        def keep(*records: Record) -> None:
            with store.transaction():
                store.add_records(list(records))

        def talk(name: str, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
            if device is not None:
                return dict(device.act(verb, arguments))
            with instrument(loaded, name) as found:
                return dict(found.act(verb, arguments))

        made = enter_calibration(store, loaded, fields, datetime.now(UTC), trust(), hands=Hands(talk=talk, keep=keep))
        keep(*made)
    return dict(made[0].body)


@contextmanager
def instrument(loaded: Loaded, name: str) -> Iterator[Any]:
    """The instrument called *name* on its own line, while no station runs that owns it."""
    from drivers.bus import Bus
    from station.config import make_device

    bus, settings = next((bus, one) for bus in loaded.config.bus for one in bus.device if one.name == name)
    line = Bus(bus)
    try:
        yield make_device(settings, line, loaded.profile_folders)
    finally:
        line.close()


# -- in words


def standard_text(one: Standard) -> str:
    """A standard as it is asked for."""
    text = f"{one.value:g}"
    return f"{text} ({one.certificate})" if one.certificate else text


def pair_text(coefficients: Any) -> str:
    """Slope and intercept."""
    return " / ".join(f"{one:.6g}" for one in coefficients)


ROWS_SHOWN = 12  # of a reference series there are many more


def result_lines(found: Mapping[str, Any], parameter: str) -> list[str]:
    """What a run came to, in sentences."""
    from station.parameters import catalogue

    unit = catalogue()[parameter].unit
    rows = found["rows"] if len(found["rows"]) <= ROWS_SHOWN else []
    lines = [_row_text(row, unit) for row in rows]
    if not rows:
        lines.append(t("calibrate.pairs", count=len(found["rows"])))
    if found["response"] is not None:
        slope, intercept = found["response"]["slope"], found["response"]["intercept"]
        lines.append(t("calibrate.response", slope=f"{slope:.5g}", intercept=f"{intercept:.5g}"))
    judged = {one["what"] for one in found["judgements"]}
    for key in FIGURES:
        if found.get(key) is not None and key not in judged:
            lines.append(f"{t(f'judged.{key}')} {figure(key, found[key])}")
    lines += [judged_line(one) for one in found["judgements"]]
    lines.append(t(f"calibration_verdict.{found['verdict']}"))
    if found["changes"]:
        before, after = (pair_text(found[key]) for key in ("before", "coefficients"))
        lines.append(t("calibrate.coefficients", before=before, after=after))
    if found.get("instrument_after"):
        before, after = (found[key].get("numbers", "?") for key in ("instrument_before", "instrument_after"))
        lines.append(t("calibrate.in_instrument", before=before, after=after))
    return lines


FIGURES = ("factor", "r", "zero_drift", "span_drift", "mean_percent", "rsd", "flow_percent", "series_percent")
PERCENT = ("zero_drift", "span_drift", "error_percent", "mean_percent", "rsd", "flow_percent", "series_percent",
           "full_scale_percent")  # fmt: skip


def _row_text(row: Mapping[str, Any], unit: str) -> str:
    left = row["as_left"] is not None
    return t(
        "calibrate.row",
        standard=f"{row['standard']:g}",
        raw=f"{row['raw']:.5g}",
        found=f"{row['as_found']:.5g}",
        found_error=f"{row['found_error']:+.4g}",
        left=f"{row['as_left']:.5g}" if left else "-",
        left_error=f"{round(row['left_error'], 9) + 0.0:+.4g}" if left else "-",
        unit=unit,
    )


def judged_line(one: Mapping[str, Any]) -> str:
    """One figure against its limit, with the limit's source and confidence."""
    sign = "≥" if one["what"] == "r" else "±"
    return t(
        "calibrate.judged",
        what=t(f"judged.{one['what']}"),
        value=figure(one["what"], one["value"]),
        limit=f"{sign}{one['limit']:g}",
        passed=t(f"calibration_verdict.{'passed' if one['passed'] else 'failed'}"),
        source=one["source"],
        confidence=t(f"confidence.{one['confidence']}"),
    )


def figure(what: str, value: float) -> str:
    """A figure with its sign, digits and unit."""
    if what in ("r", "factor"):
        return f"{value:.5f}"
    return f"{value:+.3g} %" if what in PERCENT else f"{value:+.4g}"
