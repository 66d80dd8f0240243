"""Records of stream instruments: captured bytes, and everything that is none."""

import contextlib
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.records import FORMATS, MOST_HELD, NotARecord, Records, aqt530, es642, number, plantower, sbi, sics
from station.model import Mark
from station.parameters import catalogue

PMS = bytes.fromhex(
    "42 4D 00 1C 00 03 00 04 00 04 00 03 00 04 00 04 02 16 00 A6 00 1C 00 02 00 00 00 00 97 00 02 34"
)  # captured (devices.md 3.8)
AQT = (
    b"2023-04-28T21:35:32,22.2,24.9,984.1,0.020,0.170,-0.001,0.004,0.3,0.5,0.6,"
    b"T:H:P:NO2:CO:O3:NO:PM1:PM2.5:PM10,20328\r\n"
)  # captured (devices.md 3.8)
ES = b"000.012,2.0,+25.1,043,1013.2,00,*01526\r\n"


def test_the_captured_plantower_frame_is_read():
    assert plantower(PMS).values == {"pm1": 3, "pm25": 4, "pm10": 4}


def test_the_captured_aqt530_line_names_its_own_fields():
    values = aqt530(AQT).values
    assert values == {
        "T": 22.2, "H": 24.9, "P": 984.1, "NO2": 0.020, "CO": 0.170, "O3": -0.001, "NO": 0.004,
        "PM1": 0.3, "PM2.5": 0.5, "PM10": 0.6,
    }  # fmt: skip


def test_an_aqt530_with_other_gas_cells_is_read_by_the_names_it_gives():
    line = b"2022-01-22T07:37:38,22.3,24.1,999.3,0.182,T:H:P:SO2,3185\r\n"
    assert aqt530(line).values == {"T": 22.3, "H": 24.1, "P": 999.3, "SO2": 0.182}


def test_the_maker_s_checksum_example_holds():
    """ES-405 manual rev A p. 29: the characters of the answer sum to 01278."""
    assert sum(b"ES-405, 83904, R1.2.0.0a") == 1278


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (ES.replace(b"012", b"013"), "checksum 01526 where the characters sum to 01527"),
        (b"000.012,2.0,+25.1,043,1013.2,*01526\r\n", "not seven fields with the checksum last"),
        (b"nan.012,2.0,+25.1,043,1013.2,00,*01699\r\n", "'nan.012' is no number"),
    ],
)
def test_a_spoilt_line_of_the_es642_is_named(line, fault):
    with pytest.raises(NotARecord) as caught:
        es642(line)
    assert str(caught.value) == fault


def test_the_checksum_can_be_left_unproved():
    assert es642(ES.replace(b"*01526", b"*00000"), checksum=False).values["concentration"] == 0.012


def test_a_status_of_the_es642_marks_the_record():
    record = es642(b"000.012,2.0,+25.1,043,1013.2,04,*01530\r\n")
    assert (record.mark, record.condition) == (Mark.D, "status 04")


@pytest.mark.parametrize(
    ("line", "mark", "condition"),
    [
        (b"S D      99.8731 g\r\n", Mark.D, "weight not stable"),
        (b"S I\r\n", Mark.D, "busy, or no stable weight in time"),
        (b"S +\r\n", Mark.T, "overloaded"),
        (b"S -\r\n", Mark.D, "underloaded: the pan or the jar is missing"),
    ],
)
def test_a_balance_without_a_stable_weight_has_no_mass(line, mark, condition):
    record = sics(line)
    assert (record.values, record.mark, record.condition) == ({"mass": None}, mark, condition)


@pytest.mark.parametrize(
    ("line", "mass"),
    [(b"S S     100.0000 g\r\n", 100.0), (b"S S    -0.0012 g\r\n", -0.0012), (b"S S   250.3 mg\r\n", 0.2503)],
)
def test_a_stable_weight_is_in_grams(line, mass):
    assert sics(line).values["mass"] == pytest.approx(mass)


def test_a_balance_that_shows_ounces_is_refused():
    with pytest.raises(NotARecord, match=r"^a weight in ozt; set the balance to g$"):
        sics(b"S S    3.2151 ozt\r\n")


@pytest.mark.parametrize(
    ("line", "mass", "condition"),
    [
        (b"+   1255.7 g  \r\n", 1255.7, ""),
        (b"N     -  12.3456 g  \r\n", -12.3456, ""),
        (b"+   1255.7    \r\n", None, "weight not stable"),
        (b"      H       \r\n", None, "overloaded"),
        (b"Stat        L       \r\n", None, "underloaded: the pan or the jar is missing"),
        (b"   Err  54    \r\n", None, "error 54"),
    ],
)
def test_a_print_line_of_a_sartorius_balance(line, mass, condition):
    record = sbi(line)
    assert (record.values["mass"], record.condition) == (mass, condition)


@pytest.mark.parametrize("pieces", [1, 3, 7, 1000])
def test_records_are_cut_the_same_however_the_bytes_come(pieces):
    records, data, found = Records(FORMATS["plantower-pms5003"]), b"\x00\x42" + PMS[5:] + PMS * 3 + PMS[:9], []
    for i in range(0, len(data), pieces):
        found += records.feed(data[i : i + pieces])
    assert [r.values["pm10"] for r in found] == [4, 4, 4]
    assert (records.bad, records.dropped_bytes) == (0, 2 + len(PMS) - 5)


def test_the_half_line_after_opening_is_dropped_and_no_fault():
    records = Records(FORMATS["metone-es642"])
    assert [r.values["concentration"] for r in records.feed(ES[17:] + ES + ES[:10])] == [0.012]
    assert (records.bad, records.dropped_bytes) == (0, 0)


def test_a_line_of_another_length_is_dropped_and_counted():
    records = Records(FORMATS["metone-es642"])
    records.feed(b"\n")
    assert len(records.feed(ES[:-3] + b"\r\n" + ES)) == 1
    assert (records.bad, records.last_fault) == (1, "39 characters instead of 40")


def test_a_frame_that_begins_inside_a_bad_one_is_found():
    """A lost byte costs one frame, not two."""
    records = Records(FORMATS["plantower-pms5003"])
    assert len(records.feed(PMS[:12] + PMS[13:] + PMS)) == 1
    assert records.bad >= 1


def test_what_is_held_is_bounded():
    for name in FORMATS:
        records = Records(FORMATS[name])
        for _ in range(50):
            assert records.feed(b"x" * 1000) == []
        assert len(records._held) <= MOST_HELD + 1000, name


def test_a_flipped_bit_gives_no_false_record():
    """Behind the begin of a checked record each single flip changes its sum."""
    chance = random.Random(1)
    for name, sound in (("plantower-pms5003", PMS), ("metone-es642", ES)):
        records = Records(FORMATS[name])
        records.feed(b"\n")
        for _ in range(2000):
            bit = chance.randrange(8 * (len(sound) - 2))
            spoilt = (int.from_bytes(sound, "big") ^ 1 << (bit + 16)).to_bytes(len(sound), "big")
            assert records.feed(spoilt + b"\n") == [], (name, spoilt)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_delivers_in_the_catalogue_s_units(name):
    form = FORMATS[name]
    for field in form.fields:
        for parameter in [field.parameter] if field.parameter else form.variants:
            assert catalogue()[parameter].unit == field.unit
    assert form.grade in "ABCD"


@given(st.from_regex(r"[+\-. ]{0,3}[0-9]{0,3}[+\-. ]{0,2}[0-9]{0,2}", fullmatch=True))
def test_whatever_noise_makes_of_digits_and_signs_is_a_number_or_no_record(text):
    """Anything else would end the bus's thread, and the station with it."""
    with contextlib.suppress(NotARecord):
        assert math.isfinite(number(text))


def test_a_doubled_sign_is_no_record_of_a_balance():
    records = Records(FORMATS["sbi-balance"])
    assert records.feed(b"+-  1255.7 g  \r\n") == []
    assert (records.bad, records.last_fault) == (1, "'+-1255.7' is no number")
