"""Late replies: none is ever taken for the answer to another request, and the reads between them stay good."""

import pytest

from tests.drivers.stale import run

LATENESS = [(0.001, 0.02), (0.01, 0.12), (0.2, 1.5)]


@pytest.mark.parametrize("by", LATENESS, ids=str)
@pytest.mark.parametrize("mode", ["queue", "drop"])
@pytest.mark.parametrize("name", ["neighbours", "pairs", "single"])
def test_a_tenth_of_late_replies_makes_no_value_wrong_and_costs_hardly_more_than_itself(name, mode, by):
    found = run(name, mode, 2000, 0.1, by)
    assert found["late"] > 150
    assert found["wrong"] == 0
    assert found["good"] >= 0.88 * 2000


@pytest.mark.parametrize("by", LATENESS, ids=str)
def test_replies_that_overtake_each_other_are_told_apart_by_their_length(by):
    found = run("neighbours", "apart", 2000, 0.1, by)
    assert found["wrong"] == 0
    assert found["good"] >= 0.89 * 2000


def test_most_replies_late_still_makes_nothing_wrong():
    for mode in ("queue", "drop"):
        found = run("neighbours", mode, 1000, 0.6, (0.01, 0.12))
        assert found["wrong"] == 0
        assert found["good"] > 300


@pytest.mark.parametrize("by", LATENESS, ids=str)
@pytest.mark.parametrize("mode", ["queue", "drop"])
@pytest.mark.parametrize("name", ["neighbours", "pairs", "single"])
def test_a_unit_that_is_late_and_busy_makes_no_value_wrong_and_is_not_taken_for_a_slow_one(name, mode, by):
    """An exception does not say to which request it is, so some requests stay owed that were answered long ago."""
    found = run(name, mode, 2000, 0.2, by, busy=0.05)
    assert found["wrong"] == 0
    assert found["good"] >= 0.7 * 2000
    lost = 2 * (0.054 + by[1])  # what a late reply costs the line: twice the longest time that was seen
    assert found["milliseconds"] / 1000 <= 2000 * 0.06 + 2 * 400 * lost
