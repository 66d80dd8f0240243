"""Odd values: a reason beside them, no mark, and they stay in every mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.model import Kind, Mark, Reading, Reason
from station.suspicion import Checks, Suspicion
from tests.station.conftest import Rig

START = datetime(2026, 3, 1, tzinfo=UTC)


def reading(seconds: float, mark: Mark = Mark.N, **values: float | None) -> Reading:
    ((parameter, value),) = values.items()
    at = START + timedelta(seconds=seconds)
    return Reading("unit", "site", parameter, at, value, value, mark, Reason.NONE, heard=1000 + seconds)


def reasons(suspicion: Suspicion, *readings: Reading) -> list[Reason]:
    """What is found of *readings*, each a poll of its own."""
    return [made.reason for one in readings for made in suspicion.judge([one])]


def test_a_stuck_value_is_suspect_after_an_hour() -> None:
    """Particulates: the value stays N and what it was."""
    suspicion = Suspicion({})
    polls = [suspicion.judge([reading(60 * minute, pm10=42.0)])[0] for minute in range(62)]
    assert [p.reason for p in polls[:60]] == [Reason.NONE] * 60
    assert [(p.reason, p.mark, p.value) for p in polls[60:]] == [(Reason.CONSTANT, Mark.N, 42.0)] * 2
    assert reasons(suspicion, reading(3800, pm10=42.1)) == [Reason.NONE]


def test_standing_still_is_odd_only_where_a_value_ought_to_move() -> None:
    """Rain and wind may stand at zero; an instrument's own setting goes before, 0 switches the check off."""
    suspicion = Suspicion({"unit": Checks(constant_minutes={"pm25": 0, "rain": 10})})
    for parameter, odd in (("wind_speed", False), ("pm25", False), ("rain", True)):
        found = [reasons(suspicion, reading(60 * minute, **{parameter: 0.0}))[0] for minute in range(70)]
        assert (Reason.CONSTANT in found) is odd, parameter


def test_a_change_faster_than_believable_is_suspect_whatever_the_interval() -> None:
    """30 a minute: 25 in 30 s is too fast, 25 in a minute is not."""
    checks = {"unit": Checks(rate={"pm10": 30.0})}
    assert reasons(Suspicion(checks), reading(0, pm10=50.0), reading(30, pm10=75.0)) == [Reason.NONE, Reason.RATE]
    assert reasons(Suspicion(checks), reading(0, pm10=50.0), reading(60, pm10=75.0)) == [Reason.NONE] * 2


def test_a_spike_is_far_from_the_scatter_of_the_last_values() -> None:
    suspicion = Suspicion({"unit": Checks(spike={"noise": 8.0})})
    usual = [reading(5 * n, noise=50.0 + n % 3) for n in range(12)]
    assert reasons(suspicion, *usual, reading(60, noise=58.0), reading(65, noise=90.0)) == [
        *[Reason.NONE] * 13,
        Reason.SPIKE,
    ]


@pytest.mark.parametrize(
    ("values", "odd"),
    [
        ({"pm25": 62.0, "pm10": 50.0}, {"pm25", "pm10"}),
        ({"pm25": 60.0, "pm10": 50.0}, set()),  # within a tenth and 5 µg/m³
        ({"pm25": 30.0, "pm10": 50.0, "tsp": 40.0}, {"pm10", "tsp"}),
        ({"ammonia_nitrogen": 2.0, "total_nitrogen": 1.5}, {"ammonia_nitrogen", "total_nitrogen"}),
        ({"noise_l10": 50.0, "noise_l50": 51.0, "noise_l90": 40.0}, {"noise_l10", "noise_l50"}),
        ({"pm25": 95.0, "humidity": 95.0}, {"pm25"}),
        ({"pm25": 95.0, "humidity": 90.0}, set()),
        ({"pm25": -0.4, "air_temperature": -3.0}, {"pm25"}),
    ],
)
def test_values_that_contradict_each_other_are_both_suspect(values: dict[str, float], odd: set[str]) -> None:
    """Whichever came last in the poll."""
    for order in (list(values), list(values)[::-1]):
        judged = Suspicion({}).judge([reading(0, **{p: values[p]}) for p in order])
        assert {r.parameter for r in judged if r.reason is not Reason.NONE} == odd


def test_what_was_measured_long_ago_contradicts_nothing() -> None:
    assert reasons(Suspicion({}), reading(0, pm10=20.0), reading(121, pm25=80.0)) == [Reason.NONE] * 2


def test_what_carries_a_mark_or_a_reason_is_not_judged() -> None:
    """A fault is said already, and contradicts nobody."""
    suspicion = Suspicion({})
    assert reasons(suspicion, reading(0, Mark.D, pm10=1.0), reading(1, pm25=80.0)) == [Reason.NONE] * 2


@given(st.lists(st.tuples(st.sampled_from(["pm25", "pm10", "humidity"]), st.floats(0, 500)), max_size=60))
def test_no_judgement_changes_a_value_or_its_mark(polls: list[tuple[str, float]]) -> None:
    suspicion = Suspicion({"unit": Checks(rate={"pm10": 1.0}, spike={"pm25": 2.0}, constant_minutes={"pm10": 1})})
    for number, (parameter, value) in enumerate(polls):
        (made,) = suspicion.judge([reading(5 * number, **{parameter: value})])
        assert (made.value, made.raw, made.mark) == (value, value, Mark.N)


def test_a_suspect_value_is_stored_with_its_reason_and_stays_in_the_mean(rig: Rig) -> None:
    """PM2.5 of twice PM10: every reading says so, the minute is N and counts them."""
    rig.instrument.show(pm25=120.0)
    rig.run(95)
    minute = rig.engine.store.averages(Kind.MINUTE, START + timedelta(minutes=1), START + timedelta(minutes=2))
    assert [(a.parameter, a.mean, a.mark) for a in minute[0].averages] == [
        ("pm10", 60.0, Mark.N),
        ("pm25", 120.0, Mark.N),
    ]
    stored = rig.engine.store.readings(START + timedelta(minutes=1), START + timedelta(minutes=2))
    assert {(r.reason, r.mark) for r in stored} == {(Reason.PM_ORDER, Mark.N)}
