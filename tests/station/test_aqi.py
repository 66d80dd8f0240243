"""The air quality index: the standard's rules with worked numbers."""

from __future__ import annotations

import math
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station import aqi
from station.aqi import DAILY, INDEX, Aqi, iaqi

NEW, OLD = date(2026, 3, 1), date(2026, 2, 28)
DIGEST = Path(__file__).parents[3] / "shared" / "reference" / "limits.toml"
CLEAN = {"so2": 10.0, "no2": 20.0, "co": 0.6, "o3": 80.0, "pm10": 40.0, "pm25": 20.0}


def test_the_digests_worked_example_comes_out_in_both_editions() -> None:
    """P4: day means of 75 (PM2.5) and 150 (PM10): 114 and 112 from 2026-03-01, 100 and 100 before."""
    assert [iaqi(p, "24h", v, NEW) for p, v in (("pm25", 75), ("pm10", 150))] == [114, 112]
    assert [iaqi(p, "24h", v, OLD) for p, v in (("pm25", 75), ("pm10", 150))] == [100, 100]


@pytest.mark.parametrize(
    ("parameter", "period", "value", "index"),
    [
        ("so2", "1h", 801, 200),  # above 800 the hour gives 200, the day decides beyond
        ("o3", "8h", 801, 300),
        ("pm25", "24h", 900, 500),
        ("pm25", "24h", 3.4e38, 500),  # a float read in the wrong order
        ("co", "24h", 1e27, 500),
        ("co", "24h", 4.04, 100),  # one decimal first
        ("co", "24h", 4.05, 100),  # half to even
        ("co", "24h", 4.06, 101),  # the index always goes up
        ("no2", "24h", 40.5, 50),
        ("no2", "24h", 41.5, 53),
        ("pm10", "24h", 0, 0),
    ],
)
def test_the_concentration_is_rounded_first_and_the_index_goes_up(
    parameter: str, period: str, value: float, index: int
) -> None:
    """HJ 633-2026, 4.2.2 and 4.2.6."""
    assert iaqi(parameter, period, value, NEW) == index


@given(
    st.sampled_from([(p, period) for p, period in DAILY.items()]),
    st.floats(0, 3000, allow_nan=False),
    st.floats(0, 3000, allow_nan=False),
)
def test_more_is_never_a_smaller_index(which: tuple[str, str], one: float, other: float) -> None:
    low, high = sorted((one, other))
    indices = iaqi(*which, low, NEW), iaqi(*which, high, NEW)
    assert 0 <= indices[0] <= indices[1] <= INDEX[-1]


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_what_is_no_concentration_has_no_index(value: float) -> None:
    with pytest.raises(ValueError, match="is no concentration"):
        iaqi("pm25", "24h", value, NEW)
    found = aqi.aqi({**CLEAN, "pm25": value}, NEW)
    assert (found.index, found.why) == (None, "no valid value of pm25")


def test_the_largest_sub_index_is_the_index_and_ties_are_named_together() -> None:
    """5.2: primary pollutants only above 50."""
    assert aqi.aqi(CLEAN, NEW) == Aqi(40, {"so2": 10, "no2": 25, "co": 15, "o3": 40, "pm10": 40, "pm25": 29})
    found = aqi.aqi({**CLEAN, "pm10": 120.0, "pm25": 60.0}, NEW)
    assert (found.index, found.primary, found.level) == (100, ("pm10", "pm25"), "good")


def test_with_one_missing_the_index_is_published_above_100_only() -> None:
    """5.3: NA otherwise."""
    polluted = aqi.aqi({**CLEAN, "so2": None, "pm25": 80.0}, NEW)
    assert (polluted.index, polluted.primary, polluted.why) == (119, ("pm25",), "no valid value of so2")
    assert aqi.aqi({**CLEAN, "so2": None}, NEW).index is None


def test_a_station_with_particulates_alone_publishes_no_index() -> None:
    found = aqi.aqi({"pm25": 300.0, "pm10": 400.0}, NEW)
    assert (found.index, found.level, found.why) == (None, None, "not measured here: so2, no2, co, o3")
    assert found.indices == {"pm25": 350, "pm10": 272}


def test_hours_use_the_day_columns_for_particulates() -> None:
    found = aqi.aqi({**CLEAN, "pm25": 60.0}, NEW, hourly=True)
    assert (found.index, found.indices["o3"]) == (100, 25)


@pytest.mark.skipif(not DIGEST.exists(), reason="the digest lies beside a developer's checkout only")
def test_the_knots_are_those_of_the_digest() -> None:
    table = tomllib.loads(DIGEST.read_text(encoding="utf-8"))["aqi"]
    for edition, on in (("from_2026_03_01", NEW), ("before_2026_03_01", OLD)):
        for name, knots in table[edition].items():
            parameter, period = name.lower().split("_")
            reached = [iaqi(parameter, period, knot, on) for knot in knots]
            assert reached == list(INDEX[: len(knots)]), name
