"""Alarms as pure functions: worked tables of periods, each with the state that follows and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from typing import Any

import pytest

from station.alarm import (
    BEGINNING,
    OWN,
    AlarmSettings,
    Cause,
    Seen,
    Standing,
    State,
    daily_max_8h,
    limits_on,
    step,
)
from station.limits import City

DAY = date(2026, 4, 1)
MIDNIGHT = datetime(2026, 4, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def alarm(**keys: Any) -> AlarmSettings:
    """An own limit of 100 over 15 minutes, or what *keys* say."""
    given = {"name": "dust", "point": "site", "parameter": "pm10", "period": "15min", "above": 100.0}
    if "standard" in keys or "below" in keys:
        given.pop("above")
    return AlarmSettings(**(given | keys))


def seen(number: int, value: float | None, day: date = DAY, **more: Any) -> Seen:
    """The *number*th quarter of an hour of the day."""
    start = MIDNIGHT + (day - DAY) + number * QUARTER
    return Seen(start=start, day=day, value=value, **more)


def after(settings: AlarmSettings, values: Sequence[float | None]) -> list[Standing]:
    """Where the alarm stands behind each of *values*."""
    standing, found = BEGINNING, []
    for number, value in enumerate(values):
        standing = step(settings, standing, seen(number, value))
        found.append(standing)
    return found


def states(settings: AlarmSettings, *values: float | None) -> list[tuple[str, str]]:
    return [(str(one.state), str(one.cause)) for one in after(settings, values)]


def test_a_value_at_the_limit_complies_and_one_above_it_is_an_alarm() -> None:
    assert states(alarm(), 100.0, 100.0001, 99.0) == [
        ("normal", "within"),
        ("alarm", "limit"),
        ("normal", "within"),
    ]


def test_below_a_limit_that_must_be_reached_is_an_alarm() -> None:
    """Dissolved oxygen: at least so much."""
    oxygen = alarm(parameter="dissolved_oxygen", below=5.0, pre_alarm_share=1.2)
    assert states(oxygen, 7.0, 5.9, 5.0, 4.9) == [
        ("normal", "within"),
        ("pre_alarm", "pre_level"),
        ("pre_alarm", "pre_level"),
        ("alarm", "limit"),
    ]


def test_an_alarm_ends_only_when_the_value_is_past_the_hysteresis() -> None:
    dust = alarm(hysteresis=10.0)
    assert states(dust, 95.0, 101.0, 95.0, 90.0, 95.0) == [
        ("normal", "within"),
        ("alarm", "limit"),
        ("alarm", "hysteresis"),
        ("normal", "within"),
        ("normal", "within"),
    ]


def test_a_pre_alarm_has_the_same_hysteresis() -> None:
    dust = alarm(pre_alarm=80.0, hysteresis=10.0)
    assert states(dust, 75.0, 85.0, 75.0, 70.0) == [
        ("normal", "within"),
        ("pre_alarm", "pre_level"),
        ("pre_alarm", "hysteresis"),
        ("normal", "within"),
    ]


def test_so_many_periods_in_a_row_make_an_alarm_and_a_gap_begins_anew() -> None:
    dust = alarm(in_a_row=2)
    assert states(dust, 120.0, 120.0, 90.0, 120.0, None, 120.0, 120.0) == [
        ("pre_alarm", "brief"),
        ("alarm", "limit"),
        ("normal", "within"),
        ("pre_alarm", "brief"),
        ("undetermined", "no_value"),
        ("pre_alarm", "brief"),
        ("alarm", "limit"),
    ]


def test_a_period_that_does_not_hold_is_undetermined_and_does_not_end_the_hysteresis() -> None:
    dust = alarm(hysteresis=10.0)
    assert states(dust, 120.0, None, 95.0)[1:] == [("undetermined", "no_value"), ("alarm", "hysteresis")]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_undetermined(value: float) -> None:
    assert states(alarm(), value) == [("undetermined", "no_value")]


def test_a_mean_far_below_zero_is_undetermined_and_one_just_below_complies() -> None:
    """A tenth of the limit below zero an analyser has drifted; less than that is its zero noise."""
    assert states(alarm(), -9.9, -10.1) == [("normal", "within"), ("undetermined", "negative")]
    cold = alarm(parameter="air_temperature", above=30.0)
    assert states(cold, -20.0) == [("normal", "within")]


def test_a_period_that_is_not_younger_is_refused() -> None:
    standing = step(alarm(), BEGINNING, seen(3, 50.0))
    with pytest.raises(ValueError, match="is not after"):
        step(alarm(), standing, seen(3, 50.0))


def test_shanghai_allows_one_mean_above_two_and_six_above_one_milligram_a_day() -> None:
    """DB31/964-2016: 2.0 mg/m³ at most once a day, 1.0 at most six times (medium)."""
    site = alarm(parameter="tsp", standard="DB31/964-2016")
    assert [str(s) for s, _ in map(lambda one: (one.state, one.cause), after(site, [1500.0] * 7))] == (
        ["pre_alarm"] * 6 + ["alarm"]
    )
    twice = after(site, [2500.0, 900.0, 2500.0])
    assert [(str(one.state), str(one.cause)) for one in twice] == [
        ("pre_alarm", "allowed"),
        ("normal", "within"),
        ("alarm", "limit"),
    ]
    assert twice[-1].limit is not None
    assert (twice[-1].limit.value, twice[-1].limit.per_day) == (2000.0, 1)
    tomorrow = step(site, twice[-1], seen(0, 2500.0, date(2026, 4, 2)))
    assert (tomorrow.state, tomorrow.counts) == (State.PRE_ALARM, (1, 1))


def test_hebei_allows_two_hours_a_day_above_the_county() -> None:
    """DB13/2934-2019: PM10 80 µg/m³ above the county's mean, twice a day (medium)."""
    site = alarm(period="1h", standard="DB13/2934-2019")
    standing, found = BEGINNING, []
    for number in range(3):
        standing = step(site, standing, seen(4 * number, 200.0, city=City(pm10=100.0)))
        found.append((standing.state, standing.cause))
    assert found == [
        (State.PRE_ALARM, Cause.ALLOWED),
        (State.PRE_ALARM, Cause.ALLOWED),
        (State.ALARM, Cause.LIMIT),
    ]


def test_without_the_citys_air_a_verdict_is_open_only_where_the_offset_decides() -> None:
    """DB32/4437-2022: TSP 500 over 15 min, 200 off while the city's index is 200 to 300 by dust (medium)."""
    site = alarm(parameter="tsp", standard="DB32/4437-2022")
    assert states(site, 500.0, 501.0, 700.0, 701.0) == [
        ("normal", "within"),
        ("undetermined", "city"),
        ("undetermined", "city"),
        ("alarm", "limit"),
    ]
    dusty = City(aqi=250, primary=("pm10",))
    known = [step(site, BEGINNING, seen(0, 650.0, city=city)).state for city in (dusty, City(aqi=120))]
    assert known == [State.NORMAL, State.ALARM]


def test_the_limit_is_that_of_the_day() -> None:
    """PM2.5 of a day: 75 by GB 3095-2012 until 2026-02-28, 60 by GB 3095-2026 from then, 50 from 2031."""
    new = alarm(parameter="pm25", period="day", standard="GB 3095-2026", limit_class="grade-2")
    days = (date(2026, 2, 28), date(2026, 3, 1), date(2030, 12, 31), date(2031, 1, 1))
    assert [[one.value for one in limits_on(new, day)] for day in days] == [[], [60], [60], [50]]
    assert step(new, BEGINNING, seen(0, 70.0, date(2026, 2, 28))).cause is Cause.NO_LIMIT
    assert step(new, BEGINNING, seen(0, 55.0, date(2031, 1, 1))).state is State.ALARM


def test_ammonia_is_held_against_the_limit_of_the_waters_temperature() -> None:
    """GB 18918-2002 table 1: 5 mg/L above 12 °C, 8 up to it; between them an unknown temperature decides."""
    plant = alarm(parameter="ammonia_nitrogen", period="day", standard="GB 18918-2002", limit_class="1A")
    found = [
        (str(one.state), str(one.cause))
        for value, celsius in ((6.0, 15.0), (6.0, 10.0), (6.0, None), (4.0, None), (9.0, None))
        for one in [step(plant, BEGINNING, seen(0, value, temperature=celsius))]
    ]
    assert found == [
        ("alarm", "limit"),
        ("normal", "within"),
        ("undetermined", "temperature"),
        ("normal", "within"),
        ("alarm", "limit"),
    ]


def test_an_own_limit_says_that_it_is_one() -> None:
    (own,) = limits_on(alarm(), DAY)
    assert (own.standard, own.confidence, own.source) == (OWN, OWN, "station.toml")


# -- the largest mean over eight hours


def test_six_of_eight_hours_make_a_mean_and_five_do_not() -> None:
    six = daily_max_8h([120.0] * 6 + [None] * 2)
    five = daily_max_8h([120.0] * 5 + [None] * 3)
    assert (six.value, six.windows, six.holds) == (120.0, 1, True)
    assert (five.value, five.holds) == (None, False)


def test_before_the_eighth_hour_there_is_nothing_to_say() -> None:
    assert daily_max_8h([500.0] * 7).value is None


def test_the_day_needs_fourteen_means_unless_one_is_above_the_limit() -> None:
    """Hours 0 to 20 are there, 21 to 23 not; then hours 0 to 8 alone."""
    hours: list[float | None] = [100.0] * 24
    assert daily_max_8h(hours).windows == 17
    thirteen: list[float | None] = [100.0] * 18 + [None] * 6
    found = daily_max_8h(thirteen, limit=160.0)
    assert (found.windows, found.holds) == (13, False)
    above = daily_max_8h([170.0, *thirteen[1:8], *[None] * 16], limit=100.0)
    assert (above.value, above.holds) == (108.75, True)


def test_states_fold_to_the_same_end_whatever_is_asked_first() -> None:
    """A fold over the sorted periods is the definition; step by step is only cheaper."""
    values = [50.0, 120.0, None, 95.0, 101.0, 80.0]
    dust = alarm(hysteresis=10.0, pre_alarm_share=0.9)
    folded = reduce(lambda s, one: step(dust, s, one), [seen(n, v) for n, v in enumerate(values)], BEGINNING)
    assert folded == after(dust, values)[-1]
