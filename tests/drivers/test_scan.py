"""In which order a line is searched, and which profiles an answer may belong to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from drivers.asking import Answer, Ask, answer_of, ask_of
from drivers.emulated import EmulatedUnit
from drivers.line import read_request
from drivers.loopback import Result, verdict
from drivers.port import Speed
from drivers.profile import SHIPPED, Profile, load, parse
from drivers.scan import Fit, best, fit, functions, layouts, numbers_in, profiles, question, seconds, settings, tries

NOW = datetime(2026, 6, 18, tzinfo=UTC)


def test_the_lines_own_setting_comes_first_and_none_twice() -> None:
    """Then every speed without parity, then with it."""
    found = settings(Speed(19200, "E"), (9600, 19200), ("N1", "E1"))
    assert [str(one) for one in found] == ["19200 8E1", "9600 8N1", "19200 8N1", "9600 8E1"]


def test_usual_addresses_are_tried_at_every_speed_before_unusual_ones_at_the_first() -> None:
    """Who leaves an instrument as it came has found it within a minute."""
    order = [(one.setting.baudrate, one.unit_id) for one in tries([Speed(9600), Speed(4800)], [1, 2, 199, 200])]
    assert order[:4] == [(9600, 1), (9600, 2), (4800, 1), (4800, 2)]
    assert set(order) == {(rate, unit) for rate in (9600, 4800) for unit in (1, 2, 199, 200)}
    assert len(order) == 8


def test_the_time_it_takes_grows_with_addresses_patience_and_slowness() -> None:
    """An upper bound: every address silent."""
    assert seconds([Speed(2400)], 100, 0.2) > seconds([Speed(9600)], 100, 0.2) > seconds([Speed(9600)], 50, 0.2)
    assert seconds([Speed(9600)], 100, 0.2) > 100 * 0.2


def test_input_registers_are_asked_for_at_usual_addresses() -> None:
    """Some instruments have no holding register at all."""
    assert functions(1, False) == (3, 4)
    assert functions(99, False) == (3,)
    assert functions(99, True) == (3, 4)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_instrument_is_recognised_by_its_own_answer(path: object) -> None:
    """By one layout at least, with most of its values believed; unless it has to be started first."""
    profile = load(path.stem)  # type: ignore[attr-defined]
    for variant, layout in layouts(profile):
        request = question(layout, Speed(layout.baudrate, layout.parity, layout.stopbits))
        if request is None:
            continue
        answer = EmulatedUnit(profile, variant=variant).answer(
            read_request(layout.unit_id, request.table, request.address, request.count)
        )
        if answer is None or answer[1] & 0x80 or layout.steps or layout.crc_high_first:
            continue
        found = fit(layout, variant, request, answer[3:-2], NOW)
        assert found is not None
        assert (found.profile, found.variant) == (profile.name, variant)
        assert found.good >= found.asked / 2


def humidity(extra: str = "") -> Profile:
    """Two values, one of them within 0 to 100."""
    return parse(
        f"""
title = "two"
baudrate = 9600
unit_id = 1
[[register]]
parameter = "humidity"
table = "holding"
address = 0
type = "u16"
scale = 0.1
unit = "%"
range = [0, 100]
example = 50
[[register]]
parameter = "noise"
table = "holding"
address = 1
type = "u16"
scale = 0.1
unit = "dB"
no_value = [300]
example = 50
{extra}""",
        "two",
    )


@pytest.mark.parametrize(
    ("payload", "good"),
    [
        ("01 F4 01 F4", 2),
        ("01 F4 01 2C", 1),  # the microphone's word for "none"
        ("00 00 00 00", None),  # an empty map says nothing
        ("FF FF 01 F4", None),  # a humidity of 6553.5 % is another instrument's register
    ],
)
def test_a_profile_fits_when_its_values_can_be(payload: str, good: int | None) -> None:
    """Sentinels and empty registers are no witnesses; what is above its range speaks against it."""
    profile = humidity()
    request = question(profile, Speed(9600))
    assert request is not None
    found = fit(profile, None, request, bytes.fromhex(payload), NOW)
    assert (found.good if found else None) == good


def test_of_several_fits_the_one_with_most_to_show_comes_first() -> None:
    """One a profile, its best layout."""
    fits = [Fit("a", None, "", 1, 1), Fit("b", "x", "", 3, 6), Fit("b", "y", "", 6, 6), Fit("c", None, "", 2, 4)]
    assert [(one.profile, one.variant) for one in best(fits)] == [("b", "y"), ("a", None), ("c", None)]


def test_own_profiles_are_searched_and_broken_ones_passed_over(tmp_path: object) -> None:
    """A file that is being written is no reason to find nothing."""
    (tmp_path / "broken.toml").write_text("title = ")  # type: ignore[operator]
    (tmp_path / "mine.toml").write_text("title = 'mine'\nbaudrate = 9600\nunit_id = 9\n[[register]]\n")  # type: ignore[operator]
    names = [profile.name for profile in profiles([tmp_path])]  # type: ignore[list-item]
    assert "broken" not in names
    assert len(names) >= len(list(SHIPPED.glob("*.toml")))


@pytest.mark.parametrize("text", ["", "a", "5-", "9-5", "0x1FFFF", "-1"])
def test_spans_that_are_none_are_refused(text: str) -> None:
    """With what is said of them."""
    with pytest.raises(ValueError, match=r"registers are 0 to 65535$"):
        numbers_in(text, 0, 0xFFFF, "registers are 0 to 65535")


def test_questions_and_answers_survive_the_control_socket() -> None:
    """And what is no question is refused there."""
    question_ = Ask(17, 0x42, b"\x01\x02", Speed(4800, "E"), 0.5, 3)
    assert ask_of(question_.as_dict()) == question_
    assert ask_of(Ask(1, 3, b"").as_dict()) == Ask(1, 3, b"")
    answer = Answer("exception", b"", 2, "exception 2")
    assert answer_of(answer.as_dict()) == answer
    for raw in ({}, {"unit_id": 1, "function": 200, "data": ""}, {"unit_id": 1, "function": 3, "data": "zz"}):
        with pytest.raises(ValueError, match=r"not a question|unit_id is|hexadecimal"):
            ask_of(raw)


def result(baudrate: int, right: int, received: int, latency: float | None = 1.0) -> Result:
    """256 bytes at *baudrate*."""
    return Result(Speed(baudrate), 256, right, received, latency)


@pytest.mark.parametrize(
    ("results", "two", "said"),
    [
        ([result(9600, 256, 256), result(115200, 256, 256)], False, "clean"),
        ([result(9600, 256, 256, 16.0), result(115200, 256, 256, 17.0)], False, "held"),
        ([result(9600, 0, 0, None), result(115200, 0, 0, None)], False, "nothing"),
        ([result(9600, 0, 0, None), result(115200, 0, 0, None)], True, "other_side"),
        ([result(9600, 256, 256), result(115200, 90, 250)], True, "fails_fast"),
        ([result(9600, 200, 256), result(115200, 256, 256)], False, "damaged"),
        ([result(9600, 256, 260), result(115200, 256, 256)], False, "damaged"),
    ],
)
def test_a_loopback_says_what_it_means(results: list[Result], two: bool, said: str) -> None:
    """From the bytes that came, and when."""
    assert verdict(results, two) == said
