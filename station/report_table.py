"""A report as CSV rows that spreadsheets open: of each parameter the whole period first, then its days or hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from station.report_page import name_of, shown

COLUMNS = (
    "period", "start", "point", "parameter", "name", "unit", "value", "minimum", "maximum", "valid", "mark",
    "valid_parts", "due_parts", "needed_parts", "captured", "indicative", "load_kg", "converted", "rise", "version",
    "made_of", "why",
)  # fmt: skip


def rows(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a report; values with the decimals of the catalogue, rounded once."""
    for point in found["points"]:
        for row in point["parameters"]:
            key, parts = row["parameter"], row["parts"]
            what = {"point": point["point"], "parameter": key, "name": name_of(key), "unit": row["unit"]}
            yield (
                what
                | _values(row, key)
                | {
                    "period": found["report"],
                    "start": found["start"],
                    "valid_parts": parts["valid"],
                    "due_parts": parts["due"],
                    "needed_parts": parts["needed"],
                    "captured": "" if row["captured"] is None else round(row["captured"], 4),
                    "indicative": int(row["indicative"]),
                    "rise": _number(row["rise"], key),
                    "version": "",
                    "made_of": row["made_of"],
                    "why": row["why"],
                }
            )
            for dot in row["series"]:
                yield (
                    what
                    | _values(dot, key)
                    | {
                        "period": parts["kind"],
                        "start": dot["start"],
                        "version": dot["version"],
                    }
                )


def _values(one: Mapping[str, Any], key: str) -> dict[str, Any]:
    load = one["load_kg"]
    return {
        **{name: _number(one[name], key) for name in ("value", "minimum", "maximum", "converted")},
        "valid": "" if one["is_valid"] is None else int(one["is_valid"]),
        "mark": one["mark"],
        "load_kg": "" if load is None else float(f"{load:.6g}"),
    }


def _number(value: float | None, key: str) -> str:
    return "" if value is None else shown(value, key)
