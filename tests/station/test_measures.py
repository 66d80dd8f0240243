"""Levels, winds and loads: the digest's worked examples and the edges of each rule."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.average import leq
from station.emission import at_reference_oxygen, flow_weighted, gas_load, water_load
from station.noise import by_halves, day_night, exceeded, is_day, statistics
from station.rounding import rounded
from station.wind import mean_wind
from uplink.hj212.messages import digits

ZONE = timezone(timedelta(hours=8))
ROUNDINGS = {"screens and reports": rounded, "frames": digits}
LEVELS = st.lists(st.floats(20, 140), min_size=1, max_size=60)


@pytest.mark.parametrize("where", ROUNDINGS)
@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(2.5, 0, "2"), (3.5, 0, "4"), (60.5, 0, "60"), (0.045, 2, "0.04"), (7.349, 1, "7.3"), (0.15, 1, "0.2")],
)
def test_the_digests_examples_of_rounding_come_out(where: str, value: float, decimals: int, text: str) -> None:
    """P1: once, half to even, on decimal digits (GB/T 8170): 0.15 is what was meant, not 0.1499999."""
    assert ROUNDINGS[where](value, decimals) == text


@given(st.integers(-10_000_000, 10_000_000), st.integers(0, 4), st.integers(0, 3))
def test_screens_and_frames_show_one_number(mantissa: int, places: int, decimals: int) -> None:
    """Whatever decimal number an instrument meant."""
    value = mantissa / 10**places
    assert rounded(value, decimals) == digits(value, decimals)


@pytest.mark.parametrize("value", [1e26, -3.4e38, 1.7e308])
def test_a_float_read_in_the_wrong_order_stops_no_screen_and_no_report(value: float) -> None:
    """Of two swapped words a huge number is made as easily as a small one."""
    assert float(rounded(value, 3)) == pytest.approx(value)
    assert rounded(value, 3).endswith(".000")


def test_two_equal_times_of_60_and_70_db_are_67_4() -> None:
    """P5; the plain mean of 65 is wrong."""
    assert round(leq([60.0, 70.0]), 1) == 67.4


@given(LEVELS)
def test_the_equivalent_level_lies_between_the_mean_and_the_loudest(levels: list[float]) -> None:
    assert math.fsum(levels) / len(levels) - 1e-9 <= leq(levels) <= max(levels) + 1e-9


@given(LEVELS)
def test_levels_exceeded_more_rarely_are_higher(levels: list[float]) -> None:
    """L5 ≥ L10 ≥ L50 ≥ L90 ≥ L95, all of them levels that were there."""
    found = [exceeded(levels, n) for n in (5, 10, 50, 90, 95)]
    assert found == sorted(found, reverse=True)
    assert set(found) <= set(levels)


def test_day_is_from_six_to_ten_in_the_stations_time() -> None:
    moments = [datetime(2026, 3, 1, hour, minute, tzinfo=ZONE) for hour, minute in ((5, 59), (6, 0), (21, 59), (22, 0))]
    assert [is_day(moment.astimezone(UTC), ZONE) for moment in moments] == [False, True, True, False]


def test_day_night_and_day_night_level_of_a_date() -> None:
    """60 dB by day and 50 by night weigh alike, for the night is 10 dB heavier."""
    midnight = datetime(2026, 3, 1, tzinfo=ZONE)
    hours = {midnight + timedelta(hours=n): 60.0 if 6 <= n < 22 else 50.0 for n in range(24)}
    found = by_halves(hours, ZONE)
    assert {name: round(level, 6) for name, level in found.items()} == {
        "noise_ld": 60.0,
        "noise_ln": 50.0,
        "noise_ldn": 60.0,
    }
    assert set(by_halves({midnight: 41.0}, ZONE)) == {"noise_ln"}
    assert round(day_night(70.0, 70.0), 2) == 76.02


def test_too_few_levels_tell_no_percentile() -> None:
    assert statistics([60.0] * 19) == {}
    assert statistics([60.0] * 20)["noise_l5"] == 60.0


def test_the_mean_of_two_winds_around_north() -> None:
    """P6: 350° and 20° at 3 m/s: 5.0°, vector 2.898, scalar 3.0 m/s."""
    found = mean_wind([3.0, 3.0], [350.0, 20.0])
    assert found.direction is not None
    assert (round(found.direction, 1), round(found.vector_speed, 3), found.scalar_speed) == (5.0, 2.898, 3.0)


def test_a_calm_has_no_direction_and_lowers_the_speed() -> None:
    found = mean_wind([0.1, 4.0], [90.0, 180.0])
    assert found.direction is not None
    assert (round(found.direction, 6), round(found.vector_speed, 6)) == (180.0, 2.0)
    assert mean_wind([0.1, 0.2], [10.0, 20.0]).direction is None
    assert mean_wind([2.0, 2.0], [0.0, 180.0]).direction is None


def test_weighted_winds_follow_the_stronger_one() -> None:
    pairs = [1.0, 3.0], [0.0, 90.0]
    weighted, alike = mean_wind(*pairs).direction, mean_wind(*pairs, weighted=False).direction
    assert weighted is not None
    assert alike is not None
    assert (round(weighted, 1), round(alike, 1)) == (71.6, 45.0)
    with pytest.raises(ValueError, match="2 speeds and 1 directions are no pairs"):
        mean_wind([1.0, 2.0], [0.0])


@pytest.mark.parametrize("oxygen", [20.9, 21.0, 25.0, -0.1, math.nan])
def test_near_the_oxygen_of_air_nothing_is_converted(oxygen: float) -> None:
    """GB 13271-2014: no huge number."""
    assert at_reference_oxygen(40.0, oxygen, 3.5) is None


def test_at_reference_oxygen_the_value_is_the_one_measured() -> None:
    assert at_reference_oxygen(47.0, 3.5, 3.5) == 47.0
    assert at_reference_oxygen(50.0, 15.0, 9.0) == 100.0


def test_means_and_loads_of_a_discharge() -> None:
    """Without flow a concentration counts for nothing; without concentration a flow is no known load."""
    assert flow_weighted([50.0, None, 80.0], [10.0, 5.0, 30.0]) == 72.5
    assert flow_weighted([None], [5.0]) is None
    assert water_load([50.0, None, 7.0], [10.0, 5.0, 0.0]) == 0.5
    assert water_load([None], [0.0]) == 0.0
    assert water_load([None], [5.0]) is None
    assert gas_load([35.0, 35.0], [60_000.0, 60_000.0]) == pytest.approx(4.2)
