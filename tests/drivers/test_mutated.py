"""Spoilt replies: nothing is accepted without a sound CRC, and no value outside its range goes unmarked."""

from tests.drivers.mutated import run


def test_ten_thousand_spoilt_replies_bring_no_unsound_and_no_unmarked_value():
    found = run(10_000)
    assert found["refused"] > 5000
    assert found["accepted"] > 1000
    assert (found["unsound"], found["unmarked"]) == (0, 0)
