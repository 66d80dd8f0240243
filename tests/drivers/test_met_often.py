"""Instruments often met in a cabinet, by words set up by hand: what they are worth, and what gives a wrong one away."""

import struct

import pytest

from drivers.base import ProfileError
from drivers.emulated import EmulatedUnit
from drivers.frames import sealed
from drivers.line import Line
from drivers.profile import load, parse
from drivers.registers import decode
from station.model import Mark
from tests.drivers.fakes import NOON, THERMOMETER
from tests.drivers.test_by_hand import holding, inputs, value

METERS = ("chint-dtsu666", "chint-dtsu666-ct", "chint-ddsu666", "acrel-adw300")
CHANNELS = ("open-channel-m3h", "open-channel-ocfm")
PIPES = ("em-flow-meter",)
GAUGES = ("rs485-rain-gauge", "xunchip-xm9505", "lambrecht-rain-e", "renke-yl")
OTHERS = ("endress-liquiline", "renke-ws")
SOURCES = {
    **dict.fromkeys(("endress-liquiline", "lambrecht-rain-e", "xunchip-xm9505"), "A"),
    **dict.fromkeys(("chint-dtsu666", "chint-ddsu666", "renke-ws", *PIPES), "B"),
    **dict.fromkeys(("chint-dtsu666-ct", "acrel-adw300", *CHANNELS, "rs485-rain-gauge"), "C"),
    "renke-yl": "D",
}


def f32(number: float) -> tuple[int, ...]:
    return struct.unpack(">2H", struct.pack(">f", number))


def f64(number: float) -> tuple[int, ...]:
    return struct.unpack(">4H", struct.pack(">d", number))


@pytest.mark.parametrize("name", [*METERS, *CHANNELS, *PIPES, *GAUGES, *OTHERS])
def test_each_says_how_sure_it_is_and_what_it_is_called_in_both_languages(name):
    profile = load(name)
    assert profile.grade == SOURCES[name]
    assert bool(profile.uncertain) == (profile.grade in "CD")
    assert any("\u4e00" <= letter <= "\u9fff" for letter in profile.title_zh)


DTSU = holding(6, 1, 10) | holding(0x2006, *f32(2305)) | holding(0x200C, *f32(10_000)) | holding(0x2014, *f32(23_050))

PIPE = inputs(0x1010, *f32(36)) | inputs(0x1018, 0, 0x7071, 0x3F00, 0) | inputs(0x1020, 5, 1)


@pytest.mark.parametrize(
    ("profile", "variant", "words", "parameter", "wanted", "mark"),
    [
        ("chint-dtsu666", "energy-101e", DTSU, "voltage_l1", 230.5, Mark.N),
        ("chint-dtsu666", "energy-101e", DTSU, "current_l1", 10, Mark.N),
        ("chint-dtsu666", "energy-101e", DTSU, "power_l1", 2.305, Mark.N),
        ("chint-dtsu666", "energy-101e", DTSU | holding(0x2012, *f32(-900)), "power_total", -0.09, Mark.N),
        ("chint-dtsu666", "energy-101e", DTSU | holding(0x202A, *f32(-985)), "power_factor", -0.985, Mark.N),
        # 4999 is how a public emulation of the meter has 49.99 Hz.
        ("chint-dtsu666", "energy-101e", DTSU | holding(0x2044, *f32(4999)), "frequency", 49.99, Mark.N),
        ("chint-dtsu666", "energy-101e", DTSU | holding(0x101E, *f32(1234.5)), "energy_import", 1234.5, Mark.N),
        ("chint-dtsu666", "energy-401e", DTSU | holding(0x4028, *f32(10.25)), "energy_export", 10.25, Mark.N),
        # A meter behind transformers gives itself away.
        ("chint-dtsu666", "energy-101e", DTSU | holding(6, 40), "power_l1", 2.305, Mark.D),
        ("chint-dtsu666", "energy-101e", DTSU | holding(6, 40), "voltage_l1", 230.5, Mark.N),
        ("chint-dtsu666", "energy-101e", DTSU | holding(7, 100), "voltage_l1", 230.5, Mark.D),
        ("chint-dtsu666-ct", "energy-101e", DTSU | holding(6, 40), "current_l1", 400, Mark.N),
        ("chint-dtsu666-ct", "energy-101e", DTSU | holding(6, 40), "voltage_l1", 230.5, Mark.N),
        ("chint-dtsu666-ct", "energy-101e", DTSU | holding(6, 40, 100), "voltage_l1", 2305, Mark.N),
        ("chint-dtsu666-ct", "energy-101e", DTSU | holding(6, 40, 100), "power_l1", 922, Mark.N),
        ("chint-dtsu666-ct", "energy-101e", DTSU | holding(6, 0), "power_l1", None, Mark.D),
        ("chint-ddsu666", None, holding(0x2004, *f32(0.9220)), "power_total", 0.922, Mark.N),
        ("chint-ddsu666", None, holding(0x200E, *f32(50.02)), "frequency", 50.02, Mark.N),
        ("acrel-adw300", None, holding(36, 0xFFFF, 0xFC18), "power_total", -1, Mark.N),
        ("acrel-adw300", None, holding(62, 0x0012, 0xD680), "energy_import", 12_345.6, Mark.N),
        ("open-channel-m3h", None, holding(8, *f32(36)), "flow_water", 10, Mark.N),
        ("open-channel-m3h", None, holding(10, *f32(8421.375)), "water_total", 8421.375, Mark.N),
        ("open-channel-ocfm", None, holding(1, 285), "water_level", 0.285, Mark.N),
        ("open-channel-ocfm", None, holding(4, *f32(45)) | holding(259, 4), "flow_water", 12.5, Mark.N),
        ("open-channel-ocfm", None, holding(4, *f32(45)) | holding(259, 1), "flow_water", 12.5, Mark.D),
        ("open-channel-ocfm", None, holding(6, *f64(20_000_000.25)), "water_total", 20_000_000.25, Mark.N),
        ("em-flow-meter", None, PIPE, "flow_water", 10, Mark.N),
        ("em-flow-meter", None, PIPE, "water_total", 28785.5, Mark.N),
        ("em-flow-meter", None, PIPE | inputs(0x1020, 0), "flow_water", 10, Mark.D),
        ("em-flow-meter", None, PIPE | inputs(0x1021, 0), "water_total", 28785.5, Mark.D),
        ("em-flow-meter", None, PIPE | inputs(0x1024, 1), "flow_water", 10, Mark.D),
        ("em-flow-meter", None, PIPE | inputs(0x1024, 1), "water_total", 28785.5, Mark.N),
        ("renke-ws", None, holding(0, 658, 0xFF9B), "air_temperature", -10.1, Mark.N),
        ("rs485-rain-gauge", "tipping-bucket", holding(0, 0x05A1, 8, 0xBA), "rain", 144.1, Mark.N),
        ("xunchip-xm9505", None, holding(0, 0x0218), "rain", 53.6, Mark.N),
        ("lambrecht-rain-e", None, inputs(31101, 0, 12345), "rain", 12.345, Mark.N),
        ("lambrecht-rain-e", None, inputs(31101, 0xFF67, 0x6981), "rain", None, Mark.D),
        ("lambrecht-16131", None, inputs(30001, 0xD8F1), "wind_speed", None, Mark.D),
    ],
)
def test_a_word_is_worth_what_the_sources_say(profile, variant, words, parameter, wanted, mark):
    got, marked_as = value(profile, variant, words, parameter)
    assert (None if got is None else pytest.approx(got, rel=1e-6)) == wanted
    assert marked_as is mark


def test_the_examples_of_a_meter_are_a_power_that_its_volts_and_amperes_can_be():
    """A factor of ten or a thousand between them would show here."""
    for name in METERS:
        profile = load(name)
        chosen = profile.chosen(profile.variants[0].name if profile.variants else None)
        examples = {r.parameter: float(r.example) for r in chosen.registers}
        phases = ("",) if "voltage" in examples else ("_l1", "_l2", "_l3")
        apparent = [examples[f"voltage{p}"] * examples[f"current{p}"] / 1000 for p in phases]
        power = [examples[f"power{p}" if p else "power_total"] for p in phases]
        assert all(0.5 * s < p <= s for p, s in zip(power, apparent, strict=True)), name
        assert examples["power_total"] == pytest.approx(sum(power)), name


@pytest.mark.parametrize(
    ("status", "unit", "wanted", "mark"),
    [
        (0, 53, 7.25, Mark.N),
        (1, 53, 7.25, Mark.D),
        (2, 53, None, Mark.D),
        (3, 0, None, Mark.D),
        (0x80, 53, None, Mark.D),
        (0, 110, 7.25, Mark.D),
    ],
    ids=["good", "uncertain", "bad", "not assigned", "a status of another edition", "millivolts"],
)
def test_a_place_of_the_transmitter_is_taken_by_its_status_and_its_unit(status, unit, wanted, mark):
    words = inputs(0, *f32(7.25), status, unit)
    assert value("endress-liquiline", "high-word-first", words, "ph") == (wanted, mark)


def test_the_order_of_the_transmitters_words_is_told_by_its_temperature():
    profile = load("endress-liquiline")
    high, low = (variant.conditions[0] for variant in profile.variants)
    assert high.range == low.range == (0.1, 80)
    words = inputs(4, *reversed(f32(17.625)), 0, 89)
    assert value("endress-liquiline", "low-word-first", words, "water_temperature") == (17.625, Mark.N)
    got, _ = value("endress-liquiline", "high-word-first", words, "water_temperature")
    assert got is None or not 0.1 <= got <= 80


def test_the_printed_reply_of_the_piezo_gauge_is_rain_and_its_rate():
    """6.32 mm a minute is 379.2 mm an hour; the event's rain and its duration between them are not taken."""
    (request,) = load("rs485-rain-gauge").chosen("piezo").plan(Line(9600))
    printed = bytes.fromhex("02 03 08 04 D4 02 4A 00 8A 02 78 B7 E9")
    assert sealed(printed[:-2]) == printed
    assert {s.parameter: s.value for s in decode(request, printed[3:-2], NOON)} == pytest.approx(
        {"rain": 12.36, "rain_rate": 379.2}
    )


@pytest.mark.parametrize(("name", "first"), [("lambrecht-rain-e", 31101), ("lambrecht-16131", 30001)])
def test_a_lambrecht_number_goes_on_the_wire_as_it_is_printed(name, first):
    """As the maker's frames have it: 01 04 75 34 00 01 asks for 30004, 03 04 79 19 00 01 for 31001; each by itself."""
    profile = load(name)
    reads = profile.plan(Line(19200, 11))
    assert reads[0].address == first
    assert all(len(request.places) == 1 for request in reads)


def test_a_register_that_has_to_read_one_thing_is_a_condition_when_it_reads_another():
    row = '[[status]]\ntable = "input"\naddress = 9\nmask = 0xFF\nother_than = 53\nmark = "D"\nreason = "not in pH"\n'
    profile = parse(THERMOMETER + row, "thermometer")
    (status,) = profile.status
    assert (status.holds(0x0135), status.holds(0x0136)) == (False, True)
    assert status.example == 53
    unit = EmulatedUnit(profile)
    request = sealed(bytes((1, 4, 0, 9, 0, 1)))
    assert unit.answer(request) == sealed(bytes((1, 4, 2, 0, 53)))
    unit.report("not in pH")
    assert status.holds(unit.answer(request)[4])


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ("mask = 0x0F\nother_than = 53", "other_than: 53 has bits that the mask leaves out, and always holds"),
        ("value = 1\nother_than = 53", "other_than: beside value; one of them says when it holds"),
    ],
)
def test_a_condition_that_would_always_hold_or_has_two_meanings_is_a_fault(keys, fault):
    row = f'[[status]]\ntable = "input"\naddress = 9\n{keys}\nmark = "D"\nreason = "r"\n'
    with pytest.raises(ProfileError, match=fault.replace("(", r"\(")):
        parse(THERMOMETER + row, "thermometer")
