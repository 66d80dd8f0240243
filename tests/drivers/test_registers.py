"""Types, orders, scales, marks, and the plan of reads."""

import math
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.line import Line
from drivers.registers import (
    FLOATS,
    TIMES,
    TYPES,
    Meaning,
    Operand,
    Quality,
    Register,
    Request,
    Status,
    decode,
    encode,
    judged,
    marked,
    moment,
    moment_words,
    orders,
    plan_reads,
    raws_in,
)
from station.model import Mark, Reason, Sample
from tests.drivers.fakes import NOON

KINDS = [(kind, order) for kind in TYPES for order in ("", *orders(kind))]
SCALES = (1, 0.1, 0.01, 0.001, 0.5, 0.05, 2, 10, 1000)


def register(kind="u16", order="", address=0, **keys):
    return Register(
        parameter=keys.pop("parameter", "x"), table="holding", address=address, type=kind, order=order, **keys
    )


def payload(words):
    return b"".join(word.to_bytes(2, "big") for word in words)


def value_of(place, words):
    (sample,) = decode(Request("holding", place.address, place.width, (place,)), payload(words), NOON)
    return sample


@st.composite
def registers_and_raws(draw):
    kind, order = draw(st.sampled_from(KINDS))
    _, _, low, high = TYPES[kind]
    floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
    raw = draw(floats if kind in FLOATS else st.integers(max(low, -(2**52)), min(high, 2**52)))
    scale = 1 if kind in ("u64", "i64", "f64") else draw(st.sampled_from(SCALES))
    offset = 0 if kind in (*FLOATS, "u64", "i64") else draw(st.sampled_from((0, -40, 0.5)))
    return register(kind, order, scale=scale, offset=offset), raw


@given(registers_and_raws())
def test_what_is_encoded_decodes_to_the_same_and_back(case):
    place, raw = case
    words = place.words(raw)
    sample = value_of(place, words)
    assert sample.value is not None
    assert math.isclose(sample.value, raw * place.scale + place.offset, rel_tol=1e-12, abs_tol=1e-9)
    again = encode(place, sample.value)
    assert struct.pack(f">{len(words)}H", *again) == struct.pack(f">{len(words)}H", *words) or raw == 0


@given(st.integers(-32768, 32767), st.sampled_from((1, 2, 3, 4)))
def test_scaling_by_a_power_of_ten_gives_the_shortest_decimal(raw, places):
    scale = float(f"1e-{places}")
    assert register("i16", scale=scale).value(raw) == float(f"{raw}e-{places}")


def test_237_tenths_are_23_point_7():
    assert register(scale=0.1).value(237) == 23.7
    assert register(scale=0.1, offset=-40).value(637) == 23.7


@pytest.mark.parametrize(
    ("order", "wire"),
    [("ABCD", "41 8D 00 00"), ("DCBA", "00 00 8D 41"), ("BADC", "8D 41 00 00"), ("CDAB", "00 00 41 8D")],
)
def test_the_four_byte_orders_of_17_625(order, wire):
    assert payload(register("f32", order).words(17.625)) == bytes.fromhex(wire)


def test_the_wiper_interval_has_its_low_byte_first():
    assert value_of(register("u16", "BA"), [0x1E00]).value == 30


def test_a_value_above_its_range_is_marked_t_and_kept():
    sample = value_of(register(range=(0, 100)), [101])
    assert (sample.value, sample.mark, sample.reason) == (101, Mark.T, Reason.ABOVE_RANGE)


def test_a_value_below_its_range_is_marked_d_and_kept():
    sample = value_of(register("i16", range=(0, 100)), [0xFFFF])
    assert (sample.value, sample.mark, sample.reason) == (-1, Mark.D, Reason.BELOW_RANGE)


@pytest.mark.parametrize(
    ("kind", "no_value", "words"),
    [
        ("u16", 65535, [65535]),
        ("i16", 32767, [0x7FFF]),
        ("i32", 0x7FFFFFFF, [0x7FFF, 0xFFFF]),
        ("f32", math.nan, [0x7FC0, 1]),
        ("f32", -9999.9, [0xC61C, 0x3F9A]),
    ],
)
def test_a_sentinel_is_no_value(kind, no_value, words):
    sample = value_of(register(kind, no_value=(no_value,)), words)
    assert (sample.value, sample.mark, sample.reason) == (None, Mark.D, Reason.NO_VALUE)


@pytest.mark.parametrize("words", [[0x7FC0, 0], [0x7F80, 0], [0xFF80, 0]])
def test_nan_and_infinity_without_a_sentinel_are_not_a_number(words):
    sample = value_of(register("f32"), words)
    assert (sample.value, sample.mark, sample.reason) == (None, Mark.D, Reason.NOT_A_NUMBER)


def test_a_missing_value_is_encoded_as_the_sentinel_or_not_at_all():
    assert encode(register(no_value=(65535,)), None) == [65535]
    assert encode(register(), None) is None


def test_a_value_too_large_for_its_type_stops_at_the_end_of_the_span():
    assert encode(register("u16", scale=0.1), 10_000) == [65535]
    assert encode(register("i16"), -1e9) == [0x8000]


def test_text_is_cut_and_padded_to_its_registers():
    assert encode(register("ascii", length=2), "ABCDE") == [0x4142, 0x4344]
    assert encode(register("ascii", length=2), "A") == [0x4100, 0]


def status(**keys):
    return Status(table="holding", address=9, type="u16", mark=Mark.D, reason="broken", **keys)


def test_a_condition_marks_the_values_it_concerns():
    place, flag = register(address=8), status(mask=0x0002, parameters=("x",))
    request = Request("holding", 8, 2, (place, flag))
    (sample,) = decode(request, payload([5, 2]), NOON)
    assert (sample.value, sample.mark, sample.reason) == (5, Mark.D, Reason.STATUS)
    (sample,) = decode(request, payload([5, 1]), NOON)
    assert sample.mark is Mark.N


def test_a_condition_leaves_other_parameters_alone():
    sample = Sample("y", NOON, 1.0)
    assert marked([sample], [status(mask=1, parameters=("x",))]) == [sample]


def test_a_worse_mark_is_not_replaced():
    sample = Sample("x", NOON, None, Mark.D, Reason.NO_VALUE)
    assert marked([sample], [status(mask=1)]) == [sample]


def test_a_condition_without_a_value_holds_when_any_masked_bit_is_set():
    assert [status(mask=0x0C).holds(raw) for raw in (0, 4, 8, 3)] == [False, True, True, False]


def test_a_condition_with_a_value_holds_when_the_masked_bits_equal_it():
    assert [status(mask=0x0800, value=0).holds(raw) for raw in (0x0800, 0, 1)] == [False, True, True]


# -- the plan


def spread(*addresses, kind="u16"):
    return [register(kind, address=a, parameter=f"p{a}") for a in addresses]


def spans(requests):
    return [(r.address, r.count) for r in requests]


@pytest.mark.parametrize(
    ("baudrate", "bits", "delay_ms", "widest"),
    [(9600, 10, 0, 10), (9600, 10, 20, 18), (9600, 10, 50, 32), (9600, 11, 20, 17), (19200, 11, 20, 26)],
)
def test_registers_join_across_a_gap_up_to_the_break_even(baudrate, bits, delay_ms, widest):
    limit = int(Line(baudrate, bits).widest_gap(delay_ms / 1000))
    assert abs(limit - widest) <= 1  # the table rounds
    joined = plan_reads(spread(0, limit + 1), baudrate, bits, delay_ms)
    apart = plan_reads(spread(0, limit + 2), baudrate, bits, delay_ms)
    assert (len(joined), len(apart)) == (1, 2)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True),
    st.sampled_from((1200, 9600, 115200)),
    st.sampled_from((2, 3, 32, 125)),
    st.booleans(),
)
def test_every_value_is_read_once_whole_and_within_the_limits(addresses, baudrate, most, bridge):
    places = spread(*(2 * a for a in addresses), kind="f32")
    requests = plan_reads(places, baudrate, 10, 20, max_registers=most, bridge_gaps=bridge)
    assert sorted(p.address for r in requests for p in r.places) == sorted(2 * a for a in addresses)
    for request in requests:
        assert request.count <= most
        assert all(request.address <= p.address and p.end <= request.address + request.count for p in request.places)
        if not bridge:
            assert request.count == 2 * len(request.places)


def test_functions_are_never_mixed():
    places = [*spread(0), Register(parameter="y", table="input", address=1, type="u16")]
    assert [(r.table, r.function) for r in plan_reads(places, 9600, 10, 20)] == [("holding", 3), ("input", 4)]


def test_a_hole_is_never_read_across():
    assert spans(plan_reads(spread(0, 4), 9600, 10, 20, holes=[(2, 2)])) == [(0, 1), (4, 1)]
    assert spans(plan_reads(spread(0, 4), 9600, 10, 20, holes=[(5, 9)])) == [(0, 5)]


def test_without_bridging_only_neighbours_join():
    assert spans(plan_reads(spread(0, 1, 3), 9600, 10, 20, bridge_gaps=False)) == [(0, 2), (3, 1)]


def test_a_device_gap_makes_a_new_request_dearer():
    places = spread(0, 40)
    assert len(plan_reads(places, 9600, 10, 20)) == 2
    assert len(plan_reads(places, 9600, 10, 20, gap_ms=50)) == 1


def test_two_values_of_one_register_are_one_read():
    places = [register(address=3), register(address=3, parameter="y", scale=0.1)]
    (request,) = plan_reads(places, 9600, 10, 20)
    assert [s.value for s in decode(request, payload([237]), NOON)] == [237, 23.7]


# -- bytes, bits, digits, and numbers made of several registers


def numbers_of(registers, words):
    """The samples of *registers* in one read of *words* from address 0."""
    (request,) = plan_reads(registers, 9600, 10, 20)
    assert (request.address, request.count) == (0, len(words))
    return decode(request, payload(words), NOON)


def test_the_halves_of_a_register_are_two_numbers():
    """WXT530 has its model in the high byte and its software in the low one."""
    places = [register("u8", "A"), register("u8", "B", parameter="y"), register("i8", "B", parameter="z")]
    assert [s.value for s in numbers_of(places, [0x06FF])] == [6, 255, -1]


def test_the_bits_of_a_mask_are_moved_to_the_right_end():
    place = register(mask=0x0FF0, scale=0.1)
    assert value_of(place, [0xA23B]).value == 3.5
    assert encode(place, 3.5) == [0x0230]
    assert encode(place, 1000) == [0x0FF0]
    assert place.bits() == [0x0FF0]


@given(st.integers(1, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_masked_number_comes_back(mask, raw):
    place = register(mask=mask)
    value = value_of(place, [raw]).value
    assert value == (raw & mask) >> ((mask & -mask).bit_length() - 1)
    (word,) = encode(place, value)
    assert word & mask == word
    assert value_of(place, [word]).value == value


@pytest.mark.parametrize(("kind", "words", "value"), [("bcd16", [0x2026], 2026), ("bcd32", [0x1234, 0x5678], 12345678)])
def test_digits_in_four_bits_each_are_a_number(kind, words, value):
    assert value_of(register(kind), words).value == value
    assert encode(register(kind), value) == words


@given(st.integers(0, 0xFFFF))
def test_what_is_no_digit_is_no_number(raw):
    sample = value_of(register("bcd16"), [raw])
    if f"{raw:x}".isdecimal():
        assert sample.value == int(f"{raw:x}")
    else:
        assert (sample.value, sample.mark, sample.reason) == (None, Mark.D, Reason.NOT_A_NUMBER)


@given(
    st.datetimes(
        datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis wants its bounds without a zone
        datetime(2099, 12, 31),  # noqa: DTZ001 - as above
        timezones=st.just(UTC),
    ).map(lambda at: at.replace(microsecond=0)),
    st.sampled_from(sorted(TIMES)),
)
def test_a_time_comes_back_however_it_is_written(at, kind):
    words = moment_words(kind, at)
    assert len(words) == TIMES[kind]
    assert moment(kind, payload(words), UTC) == at


@given(st.binary(min_size=12, max_size=12))
def test_bytes_that_are_no_time_are_none(data):
    at = moment("time_words", data, UTC)
    year, *rest = struct.unpack(">6H", data)
    assert at is None or (at.year in (year, year + 2000) and [*at.timetuple()[1:6]] == rest)


def total(**keys):
    """The positive total of a TUF-2000: a whole number and its fraction, with a multiplier beside them."""
    return register(
        "i32",
        "CDAB",
        plus=(Operand(table="holding", address=2, type="f32", order="CDAB"),),
        scale_by=(Operand(table="holding", address=4, type="u16", range=(1e-9, 1e9), example=1),),
        **keys,
    )


def test_a_total_is_its_whole_number_and_its_fraction_times_the_multiplier():
    words = [*total().words(1234), *register("f32", "CDAB").words(0.5), 10]
    (sample,) = numbers_of([total()], words)
    assert (sample.value, sample.mark) == (12345.0, Mark.N)


def test_a_multiplier_that_cannot_be_leaves_no_value():
    """A register that answers nonsense is not multiplied with."""
    (sample,) = numbers_of([total()], [*total().words(1234), 0, 0, 0])
    assert (sample.value, sample.mark, sample.reason) == (None, Mark.D, Reason.NOT_A_NUMBER)


@given(st.integers(0, 9), st.integers(-(2**31), 2**31 - 1))
def test_decimals_from_a_register_are_those_of_the_display(places, raw):
    """Load cell: 354 with two decimals is 3.54."""
    decimals = Operand(table="holding", address=2, type="u16", range=(0, 9))
    place = register("i32", decimals=decimals)
    (sample,) = numbers_of([place], [*place.words(raw), places])
    assert sample.value == float(f"{raw}e-{places}")
    assert encode(place, sample.value, [places]) == place.words(raw)


def test_ten_decimals_are_nonsense():
    place = register("i32", decimals=Operand(table="holding", address=2, type="u16", range=(0, 9)))
    (sample,) = numbers_of([place], [0, 354, 0xFFFF])
    assert (sample.value, sample.reason) == (None, Reason.NOT_A_NUMBER)


def test_a_value_of_which_a_part_was_not_had_is_left_out():
    place = total()
    found = raws_in(Request("holding", 0, 2, (place,)), payload(place.words(5)))
    assert judged([place], found, NOON) == ([], [])


MEANINGS = (
    Meaning(values=(0, 1)),
    Meaning(values=(3,), mark=Mark.D, reason="outside 0 to 14"),
    Meaning(values=(7,), mark=Mark.M, reason="calibration overdue", keep=True),
)


@pytest.mark.parametrize(
    ("word", "value", "mark", "reason", "said"),
    [
        (0, 7.5, Mark.N, Reason.NONE, []),
        (1, 7.5, Mark.N, Reason.NONE, []),
        (3, None, Mark.D, Reason.NO_VALUE, ["x: outside 0 to 14"]),
        (7, 7.5, Mark.M, Reason.STATUS, ["x: calibration overdue"]),
        (9, None, Mark.D, Reason.NO_VALUE, ["x: quality 9, which the profile does not explain"]),
    ],
)
def test_a_quality_word_says_whether_the_value_may_be_used(word, value, mark, reason, said):
    place = register("f32", quality=Quality(table="holding", address=2, type="u16", meanings=MEANINGS))
    (request,) = plan_reads([place], 9600, 10, 20)
    samples, conditions = judged(request.places, raws_in(request, payload([*place.words(7.5), word])), NOON)
    (sample,) = marked(samples, conditions)
    assert (sample.value, sample.mark, sample.reason) == (value, mark, reason)
    assert [condition.reason for condition in conditions] == said


def test_what_a_value_is_added_up_from_and_its_quality_are_read_with_it():
    """Across a gap that would be cheaper to skip: between two reads the total may have moved on."""
    far = Operand(table="holding", address=60, type="f32")
    place = register("i32", plus=(far,))
    assert spans(plan_reads([place], 9600, 10, 20)) == [(0, 62)]
    assert spans(plan_reads([place], 9600, 10, 20, bridge_gaps=False)) == [(0, 2), (60, 2)]
    assert spans(plan_reads([place], 9600, 10, 20, holes=[(30, 31)])) == [(0, 2), (60, 2)]
    assert spans(plan_reads([place], 9600, 10, 20, max_registers=32)) == [(0, 2), (60, 2)]


def test_with_pairs_a_read_begins_at_an_even_address_and_ends_before_one():
    places = [register(address=3), register("f32", address=8, parameter="y")]
    assert spans(plan_reads(places, 9600, 10, 20, pairs=True, bridge_gaps=False)) == [(2, 2), (8, 2)]


@given(st.sampled_from(KINDS), st.binary(min_size=8, max_size=8), st.tuples(st.floats(-1e6, 0), st.floats(0, 1e6)))
def test_whatever_bytes_come_no_value_outside_its_range_is_unmarked(case, data, limits):
    kind, order = case
    place = register(kind, order, range=limits, no_value=(0,))
    (sample,) = decode(Request("holding", 0, place.width, (place,)), data[: 2 * place.width], NOON)
    if sample.mark is Mark.N:
        assert sample.value is not None
        assert limits[0] <= sample.value <= limits[1]
    else:
        assert sample.reason is not Reason.NONE


def test_a_value_too_large_to_be_a_number_is_none():
    register = Register(
        parameter="turbidity", table="holding", address=0, type="f64", scale=1000, unit="NTU", range=(0, 4000)
    )
    (sample,) = decode(Request("holding", 0, 4, (register,)), struct.pack(">d", 1e308), NOON)
    assert (sample.value, sample.mark, sample.reason) == (None, Mark.D, Reason.NOT_A_NUMBER)
