"""Recorded measurements played back, as what emulated instruments see."""

from __future__ import annotations

import bisect
import csv
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

GAP = ("", "NA", "NaN", "nan")
POINTS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
COMPASS = {name: 22.5 * i for i, name in enumerate(POINTS)}  # where the wind comes from, degrees


class Column(NamedTuple):
    """A column of the file, and the factor that brings it to the parameter's unit."""

    name: str
    factor: float = 1


class CsvReplay:
    """The values of a CSV file at the present moment; call it to have them.

    *columns* says which column is which parameter; without it every column is the parameter of its name.
    Rows carry a `time` (ISO 8601) or `year`, `month`, `day`, `hour`.  Play begins *start_seconds* into the
    file, runs *speed* times as fast as life, and starts over at the end.  Between two rows values are
    *interpolate*d or stay as they were; next to a gap there is nothing to interpolate, and in one no value.
    Compass points become degrees, and directions are never interpolated.
    """

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, str | Column] | None = None,
        *,
        interpolate: bool = True,
        start_seconds: float = 0,
        speed: float = 1,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            raise ValueError(f"{path}: has no rows")
        chosen = _columns(columns, rows[0])
        for column in chosen.values():
            if column.name not in rows[0]:
                raise ValueError(f"{path}: has no column {column.name!r}; it has {', '.join(rows[0])}")
        moments = [_moment(row, path) for row in rows]
        self._at = [(moment - moments[0]).total_seconds() for moment in moments]
        if any(later <= earlier for earlier, later in zip(self._at, self._at[1:], strict=False)):
            raise ValueError(f"{path}: its times do not rise")
        self._series = {p: [_value(row, column, path) for row in rows] for p, column in chosen.items()}
        self._stepped = {p for p, c in chosen.items() if any(row[c.name] in COMPASS for row in rows)}
        # The last row lasts as long as the one before it.
        self.length_seconds = self._at[-1] + (self._at[-1] - self._at[-2] if len(rows) > 1 else 1)
        self._interpolate, self._speed, self._monotonic = interpolate, speed, monotonic
        self._began = monotonic() - start_seconds / speed

    def __call__(self) -> dict[str, float | None]:
        """Every parameter's value now; None in a gap."""
        return self.at((self._monotonic() - self._began) * self._speed)

    def at(self, seconds: float) -> dict[str, float | None]:
        """Every parameter's value *seconds* into the file, which starts over at its end."""
        seconds %= self.length_seconds
        row = bisect.bisect_right(self._at, seconds) - 1
        return {parameter: self._between(parameter, row, seconds) for parameter in self._series}

    def _between(self, parameter: str, row: int, seconds: float) -> float | None:
        series = self._series[parameter]
        here = series[row]
        if not self._interpolate or parameter in self._stepped or row + 1 == len(series):
            return here
        there = series[row + 1]
        if here is None or there is None:
            return here
        share = (seconds - self._at[row]) / (self._at[row + 1] - self._at[row])
        return here + (there - here) * share


def _columns(columns: Mapping[str, str | Column] | None, row: Mapping[str, str]) -> dict[str, Column]:
    if columns is None:
        columns = {name: name for name in row if name != "time"}
    return {p: Column(c) if isinstance(c, str) else c for p, c in columns.items()}


def _moment(row: Mapping[str, str], path: Path) -> datetime:
    try:
        if "time" in row:
            return datetime.fromisoformat(row["time"])
        year, month, day, hour = (int(row[key]) for key in ("year", "month", "day", "hour"))
        return datetime(year, month, day, hour, tzinfo=UTC)  # only differences matter
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: a row needs time, or year, month, day and hour ({error})") from error


def _value(row: Mapping[str, str], column: Column, path: Path) -> float | None:
    text = (row[column.name] or "").strip()
    if text in GAP:
        return None
    if text in COMPASS:
        return COMPASS[text]
    try:
        return float(text) * column.factor
    except ValueError as error:
        raise ValueError(f"{path}: {text!r} in column {column.name} is not a number") from error
