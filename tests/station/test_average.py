"""Averages: what enters, by which rule, and which mark comes out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.average import Input, close, roll_up, rolled_mark
from station.model import Average, Averaging, Mark
from station.parameters import catalogue


def inputs(*values: float | None, mark: Mark = Mark.N) -> list[Input]:
    return [Input(value, mark) for value in values]


def test_a_mean_with_its_extremes_and_share() -> None:
    """Three of four readings came: the share is 75 %."""
    made = close("ph", Averaging.MEAN, inputs(7.0, 7.2, 7.1), expected_inputs=0, expected=4)
    assert (made.mean, made.minimum, made.maximum, made.share) == (pytest.approx(7.1), 7.0, 7.2, 0.75)


def test_values_that_are_not_normal_count_but_do_not_enter() -> None:
    """One reading over range among four."""
    some = [*inputs(10.0, 20.0, 30.0), *inputs(9999.0, mark=Mark.T)]
    made = close("pm25", Averaging.MEAN, some, expected_inputs=0, expected=4)
    assert (made.mean, made.maximum, made.valid, made.total, made.mark) == (20.0, 30.0, 3, 4, Mark.N)


def test_nothing_normal_gives_no_value() -> None:
    """A line that was dead throughout: no mean, mark B."""
    made = close("pm25", Averaging.MEAN, inputs(None, None, mark=Mark.B), expected_inputs=0, expected=2)
    assert (made.mean, made.minimum, made.maximum, made.mark, made.valid) == (None, None, None, Mark.B, 0)


@pytest.mark.parametrize(
    ("normal", "abnormal", "strict", "expected"),
    [
        (45, 15, False, Mark.N),  # exactly three quarters
        (44, 16, False, Mark.D),
        (59, 1, True, Mark.T),  # water: one abnormal input is enough
        (60, 0, True, Mark.N),
        (0, 60, False, Mark.T),
    ],
)
def test_the_mark_of_an_hour_follows_its_minutes(normal: int, abnormal: int, strict: bool, expected: Mark) -> None:
    """HJ 212-2017 table 8 as digested: gas by three quarters, water by any."""
    assert rolled_mark([Mark.N] * normal + [Mark.T] * abnormal, 60, strict=strict) is expected


def test_minutes_that_are_not_there_count_against_the_hour() -> None:
    """Forty normal minutes of sixty due are no normal hour."""
    assert rolled_mark([Mark.N] * 40, 60, strict=False) is Mark.D


def test_wind_is_averaged_as_a_direction() -> None:
    """350° and 20° meet at 5°, not at 185°."""
    made = close("wind_direction", Averaging.VECTOR, inputs(350.0, 20.0), expected_inputs=0, expected=2)
    assert made.mean == pytest.approx(5.0)


def test_winds_that_cancel_give_the_last_direction() -> None:
    """North and south have no mean direction."""
    made = close("wind_direction", Averaging.VECTOR, inputs(0.0, 180.0), expected_inputs=0, expected=2)
    assert made.mean == 180.0


def test_sound_is_averaged_by_its_energy() -> None:
    """60 dB for half of the time and 70 dB for the other half are 67.4 dB."""
    made = close("noise", Averaging.ENERGY, inputs(60.0, 70.0), expected_inputs=0, expected=2)
    assert made.mean == pytest.approx(10 * math.log10((1e6 + 1e7) / 2))


def test_rain_is_the_rise_of_its_counter_over_the_period() -> None:
    """From the last reading before the minute, resets allowed for."""
    made = close("rain", Averaging.SUM, inputs(10.2, 10.4, 0.2), expected_inputs=0, expected=3, before=10.0)
    assert made.mean == pytest.approx(0.6)


def test_the_rain_of_an_hour_is_the_sum_of_its_minutes() -> None:
    """A rise is true even where too few readings came for a normal minute."""
    parts = [Average("rain", v, None, None, m, 1, 1, 1) for v, m in ((0.2, Mark.N), (0.4, Mark.N), (5.0, Mark.D))]
    made = roll_up("rain", Averaging.SUM, parts, expected_inputs=60, strict=False)
    assert (made.mean, made.minimum, made.maximum) == (pytest.approx(5.6), None, None)


def test_a_counter_has_no_extremes() -> None:
    """Its total beside its rise would say nothing."""
    made = close("rain", Averaging.SUM, inputs(1234.0, 1234.2), expected_inputs=0, expected=2, before=1234.0)
    assert (made.mean, made.minimum, made.maximum) == (pytest.approx(0.2), None, None)


def test_a_level_no_instrument_can_mean_stops_nothing() -> None:
    """6553.5 dB is what a broken register gives: the energy of it is beyond any float."""
    made = close("noise", Averaging.ENERGY, inputs(60.0, 6553.5), expected_inputs=0, expected=2)
    assert made.mean == pytest.approx(6553.5 - 10 * math.log10(2))


def test_values_too_large_to_add_give_no_mean_and_a_mark() -> None:
    """Other parameters of the same minute are not concerned."""
    made = close("x", Averaging.MEAN, inputs(1.7e308, 1.7e308), expected_inputs=0, expected=2)
    assert (made.mean, made.mark) == (None, Mark.D)


def test_an_hour_takes_the_extremes_of_its_minutes_and_promises_sixty() -> None:
    """Expected readings of the missing minutes are still due."""
    parts = [Average("ph", 7.0, 6.5, 7.5, Mark.N, 12, 12, 12), Average("ph", 7.2, 7.1, 8.0, Mark.N, 12, 12, 12)]
    made = roll_up("ph", Averaging.MEAN, parts, expected_inputs=60, strict=True)
    assert (made.mean, made.minimum, made.maximum, made.expected) == (pytest.approx(7.1), 6.5, 8.0, 720)
    assert made.share == pytest.approx(24 / 720)


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=100))
def test_a_mean_lies_between_its_extremes(values: list[float]) -> None:
    """Whatever the values."""
    made = close("x", Averaging.MEAN, inputs(*values), expected_inputs=0, expected=len(values))
    assert made.minimum is not None
    assert made.maximum is not None
    assert made.mean is not None
    assert made.minimum - 1e-9 <= made.mean <= made.maximum + 1e-9


def test_the_catalogue_knows_every_kind_of_average() -> None:
    """Directions as vectors, sound by energy, totals as they stand."""
    kinds = {key: p.averaging for key, p in catalogue().items()}
    assert kinds["wind_direction"] is Averaging.VECTOR
    assert kinds["noise"] is Averaging.ENERGY
    assert kinds["energy_total"] is Averaging.LAST
    assert kinds["rain"] is Averaging.SUM
    assert set(kinds.values()) == set(Averaging)
