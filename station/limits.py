"""Limits: which one holds for a parameter, a day and a class, and what a value means by it.

The rows are station/limits.toml, and those of a limits.toml beside station.toml in their place; values and limits are
in the catalogue's unit.  Comparison is by the full value, not a rounded one (GB/T 8170 leaves the choice; this is the
stricter).
"""

from __future__ import annotations

import enum
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from station.model import WrongArgument, dataclass, did_you_mean
from station.parameters import catalogue

PERIODS = ("5min", "15min", "1h", "8h-max", "24h", "day", "day-time", "night", "month", "year", "sample")
_GRAMS = {"g/m³": 1.0, "mg/m³": 1e-3, "µg/m³": 1e-6}
CITY_AQI_RANGE = (200, 300)
CITY_AQI_OFFSET = 200.0  # µg/m³ off TSP while the city's air is in that range by particulates (DB32/4437, medium)


class Verdict(enum.StrEnum):
    """What a value means by a limit."""

    COMPLIES = "complies"
    EXCEEDS = "exceeds"
    UNDETERMINED = "undetermined"  # what the city's air would take off decides, and is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class City:
    """What a feed says of the city's air in the same hour: PM10 in µg/m³, the index and its primary pollutants."""

    pm10: float | None = None
    aqi: int | None = None
    primary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit; *value* is compared as *sense* says ("most", "below", "least")."""

    parameter: str
    value: float
    sense: str
    standard: str
    medium: str
    class_: str
    period: str
    since: date | None = None
    until: date | None = None
    offset: str = ""
    per_day: int = 0
    condition: str = ""
    status: str = "in-force"
    confidence: str = "low"
    source: str = ""

    def holds(self, on: date) -> bool:
        """Whether the limit is that of day *on*."""
        return (self.since is None or self.since <= on) and (self.until is None or on <= self.until)

    def verdict(self, value: float, city: City | None = None) -> Verdict:
        """What *value* means, *city* being the same hour's feed where the rule takes something off.

        Without the feed the verdict is open only where what is taken off could turn it.

        >>> tsp = find("tsp", date(2026, 4, 1), "DB32/4437-2022")[0]
        >>> [str(tsp.verdict(v)) for v in (500.0, 501.0, 701.0)]
        ['complies', 'undetermined', 'exceeds']
        """
        if not math.isfinite(value):
            raise ValueError(f"{value} is no value")
        low, high = self._taken_off(city)
        least, most = self._meets(value - low), self._meets(value - high)
        if least == most:
            return Verdict.COMPLIES if most else Verdict.EXCEEDS
        return Verdict.UNDETERMINED

    def _meets(self, value: float) -> bool:
        if self.sense == "most":
            return value <= self.value
        return value < self.value if self.sense == "below" else value >= self.value

    def _taken_off(self, city: City | None) -> tuple[float, float]:
        """The least and the most that is taken off a value; the same where the feed tells."""
        if self.offset == "city-aqi":
            if city is None or city.aqi is None:
                return 0.0, CITY_AQI_OFFSET
            dusty = CITY_AQI_RANGE[0] <= city.aqi <= CITY_AQI_RANGE[1] and {"pm10", "pm25"} & set(city.primary)
            return (CITY_AQI_OFFSET,) * 2 if dusty else (0.0, 0.0)
        if self.offset in ("city-pm10", "county-pm10"):
            return (0.0, math.inf) if city is None or city.pm10 is None else (city.pm10, city.pm10)
        return 0.0, 0.0


@cache
def limits() -> tuple[Limit, ...]:
    """Every limit there is."""
    path = Path(__file__).with_name("limits.toml")
    return tuple(_read(tomllib.loads(path.read_text(encoding="utf-8"))["limit"]))


OWN_FILE = "limits.toml"  # beside station.toml
KEYS = (
    "standard", "medium", "class", "period", "from", "until", "unit", *("most", "below", "least"), "offset", "per_day",
    "condition", "status", "confidence", "source",
)  # fmt: skip
OFFSETS = ("", "city-pm10", "county-pm10", "city-aqi")
CONFIDENCES = ("high", "medium", "low")


def of_station(folder: Path) -> tuple[tuple[Limit, ...], list[str]]:
    """Every limit that holds at the station of *folder*, and what is wrong in its own file.

    A limit of the own file stands in the place of the shipped ones of its standard, class, parameter and period.
    """
    path = folder / OWN_FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return limits(), []
    except (OSError, UnicodeDecodeError) as error:
        return limits(), [f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8 text'})"]
    own, wrong = read_own(text)
    instead = {_place(one) for one in own}
    return (*own, *(one for one in limits() if _place(one) not in instead)), [f"{path}: {one}" for one in wrong]


def _place(one: Limit) -> tuple[str, str, str, str]:
    return one.standard, one.class_, one.parameter, one.period


def read_own(text: str) -> tuple[list[Limit], list[str]]:
    """The limits of a limits.toml an operator wrote, and every fault of it; a row with faults is left out.

    >>> read_own('[[limit]]\\nstandard = "permit 12"')[1]
    ['limit[0].period: is missing', 'limit[0].source: is missing', 'limit[0]: needs one of most, below, least']
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [], [f"not TOML: {error}"]
    rows = table.get("limit", [])
    wrong = [f"{key}: unknown key{did_you_mean(key, ['limit'])}" for key in table if key != "limit"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return [], [*wrong, "limit: is no list of tables ([[limit]])"]
    found: list[Limit] = []
    for number, row in enumerate(rows):
        faults = [f"limit[{number}]{said}" for said in _row_faults(row)]
        wrong += faults
        if not faults:
            common = {"medium": "own", "class": "", "unit": "", "confidence": "low"}
            found += _read([common | row])
    return found, wrong


def _row_faults(row: Mapping[str, Any]) -> Iterator[str]:
    for key in row:
        if key not in KEYS:
            yield f".{key}: unknown key{did_you_mean(key, KEYS)}"
    for key in ("standard", "period", "source"):
        if not row.get(key):
            yield f".{key}: is missing"
    words = {"period": PERIODS, "offset": OFFSETS, "confidence": CONFIDENCES}
    for key, known in words.items():
        if row.get(key) and row[key] not in known:
            yield f".{key}: {row[key]!r} is not one of {', '.join(filter(None, known))}"
    for key in ("standard", "medium", "class", "unit", "condition", "status", "source"):
        if not isinstance(row.get(key, ""), str):
            yield f".{key}: is no text"
    for key in ("from", "until"):
        if key in row and type(row[key]) is not date:
            yield f".{key}: is no day such as 2026-03-01"
    if isinstance(row.get("from"), date) and isinstance(row.get("until"), date) and row["until"] < row["from"]:
        yield ".until: is before from"
    per_day = row.get("per_day", 0)
    if not isinstance(per_day, int) or isinstance(per_day, bool) or per_day < 0:
        yield ".per_day: is no whole number from 0 on"
    if not any(row.get(sense) for sense in SENSES):
        yield f": needs one of {', '.join(SENSES)}"
    for sense in SENSES:
        values = row.get(sense, {})
        if not isinstance(values, dict):
            yield f".{sense}: is no table such as {{ pm10 = 80 }}"
            continue
        for parameter, value in values.items():
            yield from _value_faults(f".{sense}.{parameter}", parameter, value, row.get("unit", ""))


SENSES = ("most", "below", "least")


def _value_faults(place: str, parameter: str, value: Any, unit: Any) -> Iterator[str]:
    known = catalogue().get(parameter)
    if known is None:
        yield f"{place}: is not in the catalogue{did_you_mean(parameter, catalogue())}"
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        yield f"{place}: {value} is no number"
    if unit != known.unit and not (isinstance(unit, str) and {unit, known.unit} <= set(_GRAMS)):
        yield f'{place}: comes in "{unit}", the catalogue has "{known.unit}"'


def find(
    parameter: str,
    on: date,
    standard: str,
    class_: str = "",
    period: str = "",
    rows: Iterable[Limit] | None = None,
) -> list[Limit]:
    """The limits of *standard* for *parameter* on day *on*, narrowed by *class_* and *period* where given.

    *rows* are those of a station, the shipped ones when not given.

    Raise WrongArgument for a standard, class or parameter that has none at all.

    >>> [one.value for one in find("pm25", date(2026, 4, 1), "GB 3095-2026", "grade-2", "24h")]
    [60]
    """
    rows = limits() if rows is None else tuple(rows)
    of_standard = [one for one in rows if one.standard == standard]
    if not of_standard:
        known = sorted({one.standard for one in rows})
        raise WrongArgument(f'there is no standard "{standard}"{did_you_mean(standard, known)}')
    of_class = [one for one in of_standard if class_ in ("", one.class_)]
    if not of_class:
        known = sorted({one.class_ for one in of_standard})
        raise WrongArgument(
            f'{standard} has no class "{class_}"{did_you_mean(class_, known)}; it has {", ".join(known)}'
        )
    of_parameter = [one for one in of_class if one.parameter == parameter]
    if not of_parameter:
        known = sorted({one.parameter for one in of_class})
        raise WrongArgument(f'{standard} has no limit for "{parameter}"{did_you_mean(parameter, known)}')
    return [one for one in of_parameter if one.holds(on) and period in ("", one.period)]


def _read(rows: list[dict[str, Any]]) -> Iterator[Limit]:
    for row in rows:
        common = {
            "standard": row["standard"],
            "medium": row["medium"],
            "class_": row["class"],
            "period": row["period"],
            "since": row.get("from"),
            "until": row.get("until"),
            "offset": row.get("offset", ""),
            "per_day": row.get("per_day", 0),
            "condition": row.get("condition", ""),
            "status": row.get("status", "in-force"),
            "confidence": row["confidence"],
            "source": row["source"],
        }
        for sense in SENSES:
            for parameter, value in row.get(sense, {}).items():
                yield Limit(parameter=parameter, value=_in_unit(parameter, value, row["unit"]), sense=sense, **common)


def _in_unit(parameter: str, value: float, unit: str) -> float:
    """*value* of *unit* in the catalogue's unit of *parameter*.

    >>> _in_unit("so2", 150, "µg/m³"), _in_unit("tsp", 2.0, "mg/m³"), _in_unit("ph", 9, "")
    (0.15, 2000.0, 9)
    """
    wanted = catalogue()[parameter].unit
    return value if wanted == unit else round(value * _GRAMS[unit] / _GRAMS[wanted], 9)
