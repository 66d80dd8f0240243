"""Profile files: what they may say, and how each fault is named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.base import ProfileError
from drivers.line import Line
from drivers.profile import SHIPPED, load, parse, read
from drivers.registers import TEXTS, Register
from station.model import Mark, replace
from station.parameters import catalogue
from tests.drivers.fakes import THERMOMETER, thermometer

NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


def faults(text: str) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        parse(text, "mine", "mine.toml")
    return [re.sub(r"^mine\.toml(:\d+)?: ", "", line) for line in str(caught.value).splitlines()]


def changed(old: str, new: str) -> str:
    assert old in THERMOMETER
    return THERMOMETER.replace(old, new, 1)


def test_each_fault_of_a_file_names_its_line():
    """The nearest line there is: the key's, else its table's."""
    text = """title = "x"
baudrate = 9600
unit_id = 1
gap = 5

[[register]]
parameter = "ph"
table = "holding"
address = 70000
type = "u16"
example = 7

[[variant]]
name = "v"

[[variant.register]]
parameter = "ph"
table = "holding"
type = "f16"
address = 1
example = 7
"""
    with pytest.raises(ProfileError) as caught:
        parse(text, "mine", "mine.toml")
    assert str(caught.value).splitlines() == [
        "mine.toml:4: gap: unknown key; did you mean gap_ms?",
        "mine.toml:9: register[0].address: 70000 is above 65535",
        'mine.toml:19: variant[0].register[0].type: "f16" is not one of u8, i8, u16, i16, u32, i32, u64, i64, '
        "f32, f64, bcd16, bcd32, time_words, time_bcd, time_unix, ascii, version; did you mean u16?",
    ]


def test_a_text_has_no_byte_order():
    text = '\n[[register]]\nparameter = "serial"\ntable = "holding"\naddress = 9\ntype = "ascii"\nlength = 3\n'
    assert faults(THERMOMETER + text + 'example = "S1"\norder = "DCBA"\n') == [
        f"register[{THERMOMETER.count('[[register]]')}].order: a text or a time has none"
    ]


def test_numbers_beyond_reckoning_are_faults():
    (fault,) = faults(changed("scale = 0.1", f"scale = 1{'0' * 400}"))
    assert fault.startswith("register[0].scale: 1000")
    assert faults(changed("scale = 0.1", f"scale = 1{'0' * 5000}"))[0].startswith("not TOML: Exceeds the limit")


@pytest.mark.parametrize("value", ["[" * 3000 + "]" * 3000, "{a=" * 3000 + "1" + "}" * 3000])
def test_a_file_with_tables_too_deep_in_one_another_is_refused(value):
    with pytest.raises(ProfileError, match=r"^mine\.toml: not a profile: lists or tables lie too deep in one another$"):
        parse(f"a = {value}", "mine", "mine.toml")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_names_its_source_and_speaks_the_catalogues_units(name):
    profile = load(name)
    assert profile.maker
    assert profile.source
    for layout in [profile.chosen(v.name) for v in profile.variants] or [profile]:
        for register in layout.registers:
            if register.type not in TEXTS:
                assert register.unit == catalogue()[register.parameter].unit


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("unit_id = 1", 'unit_id = "1"', 'unit_id: "1" is not a whole number'),
        ("unit_id = 1", "unit_id = true", "unit_id: true is not a whole number"),
        ("unit_id = 1", "unit_id = 300", "unit_id: 300 is above 247"),
        ("unit_id = 1", "", "unit_id: missing"),
        ("baudrate = 9600", "buadrate = 9600\nbaudrate = 9600", "buadrate: unknown key; did you mean baudrate?"),
        ("scale = 0.1", "scale = 0", "register[0].scale: 0 leaves no value"),
        ("scale = 0.1", "scale = nan", "register[0].scale: nan is not a number"),
        (
            'type = "i16"',
            'type = "i17"',
            'register[0].type: "i17" is not one of u8, i8, u16, i16, u32, i32, u64, i64,',
        ),
        ('type = "i16"', 'type = "i16"\norder = "ABCD"', "register[0].order: i16 has AB, BA"),
        ('type = "i16"', 'type = "i16"\nno_value = [65535]', "register[0].no_value: 65535 is no i16"),
        ('type = "i16"', 'type = "i16"\nno_value = ["nan"]', "register[0].no_value: nan is no i16"),
        ('type = "i16"', 'type = "ascii"', "register[0].length: missing; a text takes a number of registers"),
        ("example = 21.5", "", "register[0].example: missing"),
        ("example = 21.5", "example = 21.5\nrange = [80, -40]", "register[0].range: [80, -40] is not two numbers, the"),
        ('"humidity"', '"air_temperature"', "register[1].parameter: air_temperature is there twice"),
        ("gap_ms = 0", "holes = [[2, 3]]", "register[1].address: lies in the hole 2–3"),
        ("gap_ms = 0", "worst_reply_ms = 5", "worst_reply_ms: is below reply_delay_ms"),
        ("gap_ms = 0", 'default_variant = "x"', "default_variant: no variant 'x'"),
    ],
)
def test_a_fault_is_named_with_its_place(old, new, fault):
    found = faults(changed(old, new))
    assert any(line.startswith(fault) for line in found), found


def test_every_fault_of_a_file_is_reported_at_once():
    text = changed("unit_id = 1", 'unit_id = "1"').replace('"i16"', '"i17"').replace("address = 2", "address = -2")
    assert len(faults(text + "[[status]]\n[[frame]]\nrequest = '01'\n")) >= 3 + 4 + 2


def test_a_frame_with_a_wrong_crc_is_told_the_right_one():
    text = THERMOMETER + '[[frame]]\nrequest = "01 04 00 01 00 02 FF FF"\nresponse = "01 84 02 C2 C1"\n'
    assert faults(text) == ["frame[0].request: the CRC should be 20 0B"]


def test_a_condition_needs_a_mask_or_a_value_and_a_known_parameter():
    row = '[[status]]\ntable = "input"\naddress = 9\nmark = "D"\nreason = "r"\n'
    assert faults(THERMOMETER + row) == ["status[0].mask: missing; a mask or a value is needed"]
    assert faults(THERMOMETER + row + 'mask = 1\nparameters = ["humidty"]\n') == [
        "status[0].parameters: no register gives 'humidty'; did you mean humidity?"
    ]


def test_a_file_that_is_not_toml_says_where():
    assert "line 1" in faults("title = \nunit_id = 1\n")[0]


def test_an_unknown_profile_names_the_nearest_and_where_was_looked(tmp_path):
    with pytest.raises(ProfileError) as caught:
        load("laumas-tbl", [tmp_path])
    assert str(caught.value) == (f"no profile 'laumas-tbl'; did you mean laumas-tlb? (searched {tmp_path}, {SHIPPED})")


def test_a_profile_name_is_not_a_way_out_of_the_folder(tmp_path):
    (tmp_path / "x.toml").write_text(THERMOMETER)
    with pytest.raises(ProfileError, match="no profile"):
        load("../x", [tmp_path / "sub"])


def test_an_operators_profile_wins_over_the_shipped_one(tmp_path):
    (tmp_path / "laumas-tlb.toml").write_text(THERMOMETER)
    assert load("laumas-tlb", [tmp_path]).title == "thermometer"
    assert load("laumas-tlb").maker == "Laumas"


def test_an_unreadable_profile_is_a_profile_error(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="cannot be read"):
        load("x", [tmp_path])


def test_defaults_follow_the_speed():
    fast, slow = thermometer(), parse(THERMOMETER.replace("9600", "4800").replace("gap_ms = 0\n", ""), "slow")
    assert (fast.worst_reply_ms, slow.worst_reply_ms) == (500, 1000)
    assert slow.gap_ms == 200
    assert parse(THERMOMETER.replace("gap_ms = 0\n", ""), "fast").gap_ms == 50


def test_a_profile_with_variants_and_no_default_wants_a_choice():
    with pytest.raises(ProfileError, match=r"^profile renke-fsxcs: a variant must be chosen: tenths-pm, tenths-co2, "):
        load("renke-fsxcs").chosen()


def test_an_unknown_variant_names_the_nearest():
    with pytest.raises(ProfileError, match=r"no variant 'tenth-pm'; did you mean tenths-pm\?"):
        load("renke-fsxcs").chosen("tenth-pm")


def test_a_variant_replaces_and_adds_registers():
    base, wind = load("renke-fsxcs"), load("renke-fsxcs").chosen("wind-only")
    hundredths = base.chosen("hundredths-pm")
    assert wind.parameters == ("wind_speed", "wind_direction")
    assert {r.parameter: r.scale for r in hundredths.registers}["wind_speed"] == 0.01
    assert "pm25" not in base.chosen("hundredths-co2").parameters


def test_a_default_variant_is_taken_when_none_is_named():
    (register,) = load("laumas-tlb").chosen().registers
    assert register.scale == 0.1


def test_the_sonde_reports_a_stuck_wiper_only_for_its_optical_probes():
    wiper = load("yosemitech-y4000").status[0]
    assert wiper.mark is Mark.D
    assert wiper.concerns("turbidity")
    assert not wiper.concerns("ph")


def test_a_plan_for_one_parameter_reads_what_concerns_it():
    reads = load("yosemitech-y4000").plan(Line(9600), ["ph"])
    assert [(r.address, r.count) for r in reads] == [(0x0800, 1), (0x2607, 2)]
    assert all(isinstance(p, Register) for p in reads[1].places)


def test_the_service_modules_load_nothing_heavy():
    code = (
        "import sys, drivers.modbus;"
        "print(sorted({'difflib','decimal','ctypes','fractions','hashlib','click','asyncio','csv'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.strip() == "[]"


def test_the_bits_of_a_number_beside_a_value_are_of_a_whole_number():
    text = changed("scale = 0.1", 'decimals = { address = 8, type = "i16", mask = 7 }')
    assert faults(text) == ["register[0].decimals.mask: 0x7 takes no bits of i16"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_of_one_source_or_of_memory_is_a_template(name):
    """It says what is uncertain, and is refused until somebody has confirmed it."""
    profile = load(name)
    assert profile.grade in "AB" or len(profile.uncertain) > 20


def test_only_a_step_of_a_poll_may_be_optional():
    row = "[[action]]\nverb = 'clean'\n[[action.step]]\ndo = 'read'\naddress = 1\noptional = true\n"
    assert faults(THERMOMETER + row) == ["action[0].step[0].optional: only a step of a poll may be"]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_the_frames_of_a_profile_that_ships_come_last(path: Path) -> None:
    """So that a start can leave them out, and nothing else."""
    whole, short = read(path), load(path.stem, frames=False)
    assert whole.frames
    assert short.frames == ()
    assert repr(replace(whole, frames=())) == repr(short)  # "nan" as a no-value word equals nothing
