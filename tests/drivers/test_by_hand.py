"""Values worked out by hand from the reference's tables and captured bytes, not from the profiles' own frames."""

import pytest

from drivers.line import Line
from drivers.profile import load
from drivers.registers import Found, judged, marked, raws_in
from station.model import Mark
from tests.drivers.fakes import NOON

Words = dict[tuple[str, int], int]


def holding(address: int, *words: int) -> Words:
    return {("holding", address + i): word for i, word in enumerate(words)}


def inputs(address: int, *words: int) -> Words:
    return {("input", address + i): word for i, word in enumerate(words)}


def value(profile: str, variant: str | None, words: Words, parameter: str) -> tuple[float | None, Mark]:
    """What *parameter* is where the instrument's registers hold *words*, and nothing else."""
    requests = load(profile).chosen(variant).plan(Line(9600))
    found: Found = {}
    for r in requests:
        held = (words.get((r.table, a), 0) for a in range(r.address, r.address + r.count))
        found |= raws_in(r, b"".join(word.to_bytes(2, "big") for word in held))
    samples, conditions = judged([place for r in requests for place in r.places], found, NOON)
    return next((s.value, s.mark) for s in marked(samples, conditions) if s.parameter == parameter)


@pytest.mark.parametrize(
    ("profile", "variant", "words", "parameter", "wanted", "mark"),
    [
        ("yosemitech-y511", None, holding(0x2602, 0x0000, 0x8D41), "turbidity", 17.625, Mark.N),
        ("yosemitech-y511", None, holding(0x2602, 0x0000, 0x8D41, 0xFF00), "turbidity", 17.625, Mark.D),
        ("yosemitech-y504", None, holding(0x2602, 0x0000, 0x603F), "oxygen_saturation", 87.5, Mark.N),
        ("keller-30", "pressure", holding(2, 0x3F75, 0xF07B), "water_pressure", 96.0701, Mark.N),
        ("insitu-aquatroll", None, holding(40, 117, 7), "dissolved_oxygen", None, Mark.D),
        ("tuf-2000", "flow-and-temperature", holding(32, 0x806B, 0x4212), "water_temperature", 36.6254, Mark.N),
        ("deltaohm-pmsense", None, inputs(3, 237), "pm1", 23.7, Mark.N),
        ("rs485-load-cell", None, holding(8, 0x0802) | holding(30, 0, 354), "collector_mass", 3.54, Mark.N),
        ("rs485-load-cell", None, holding(8, 0x0822) | holding(30, 0, 354), "collector_mass", 3.54, Mark.D),
        ("laumas-tlb", "0.1g", holding(6, 0x0800) | holding(9, 0, 12345), "collector_mass", 1234.5, Mark.N),
        ("vaisala-wxt530", None, inputs(0x1F, 0xFFD3), "air_temperature", -4.5, Mark.N),
        ("vaisala-wxt530", None, inputs(0x12, 0xFFFF), "wind_direction", None, Mark.D),
        ("renke-fsxcs", "tenths-pm", holding(510, 1, 4464), "illuminance", 70_000, Mark.N),
        ("renke-fsxcs", "tenths-pm", holding(506, 300), "noise", None, Mark.D),
        ("renke-fsjt", None, holding(0, 0x56), "wind_speed", 8.6, Mark.N),
        ("gill-maximet-gmx600", "relative", holding(4, 0x7FFF, 0xFFFF), "wind_speed", None, Mark.D),
        ("xy-md02", "tenths", inputs(1, 0x131, 563), "air_temperature", 30.5, Mark.N),
        ("md02", "air", inputs(2, 0x1554), "humidity", 54.6, Mark.N),
        ("lambrecht-16131", None, inputs(31101, 0, 12345), "rain", 12.345, Mark.N),
        # 70 A: published sketches that join the words with << 8 read 4.46 A here.
        ("pzem-016", None, inputs(1, 0x1170, 1), "current", 70.0, Mark.N),
        ("pzem-017", None, inputs(2, 439, 0), "power_total", 0.0439, Mark.N),
        ("eastron-sdm630", None, inputs(0, 0x4366, 0x3334), "voltage_l1", 230.2, Mark.N),
        ("acrel-adl400", "tariffs", holding(4, 0, 10804) | holding(0x8D, 1, 40), "energy_peak", 4321.6, Mark.N),
    ],
)
def test_a_value_is_what_the_document_says_it_is(profile, variant, words, parameter, wanted, mark):
    got, marked_as = value(profile, variant, words, parameter)
    assert (None if got is None else pytest.approx(got, rel=1e-5)) == wanted
    assert marked_as is mark
