"""station.toml: every fault at once, each with its place; nothing is coerced, nothing starts on half."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from station.config import load, parse_zone
from station.model import ConfigError
from station.places import line_of, locate

EXAMPLE = Path(__file__).parents[2] / "station" / "example" / "station.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "district.password").write_text("123456")
    (tmp_path / "district.password").chmod(0o600)
    return tmp_path


def example(folder: Path, *changes: tuple[str, str]) -> Path:
    """The example's station.toml with each (old, new) text changed once."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path) -> list[str]:
    """The faults of *path*, without its folder."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [line.replace(f"{path.parent}/", "") for line in str(caught.value).splitlines()]


def line(path: Path, text: str) -> int:
    """The number of the line that holds *text*."""
    return next(n for n, one in enumerate(path.read_text().splitlines(), 1) if text in one)


def test_the_example_has_no_faults(folder: Path) -> None:
    """It warns only of the ports that are not there."""
    loaded = load(example(folder))
    assert [d.name for bus in loaded.config.bus for d in bus.device] == [
        "weather", "sonde", "collector", "meter", "dust",
    ]  # fmt: skip
    assert [w for w in loaded.warnings if "is not there now" not in w] == [
        f"{folder / 'station.toml'}:{line(folder / 'station.toml', '[[uplink]]')}: uplink[0].codes: rain, orp, "
        "chlorophyll, blue_green_algae, collector_mass: no factor code, so not sent; give them one here if wanted"
    ]


@pytest.mark.parametrize(
    ("key", "written", "place"),
    [
        ('name = "Niutang demo"', r'name = "\u001b[2J"', "station.name"),
        ('data_folder = "data"', r'data_folder = "a\u0000b"', "station.data_folder"),
        ('port = "ports/water"', r'port = "ports/water\n"', "bus[0].port"),
        ('name = "weather"', r'name = "wea\tther"', "bus[0].device[0].name"),
        ('host = "127.0.0.1"', r'host = "127.0.0.1\u0085"', "uplink[0].host"),
    ],
)
def test_a_text_with_a_control_character_is_a_fault(folder: Path, key: str, written: str, place: str) -> None:
    """No file can be called so, and no terminal or frame should be sent it."""
    path = example(folder, (key, written))
    (fault,) = faults(path)
    assert fault.startswith(f"station.toml:{line(path, written)}: {place}: holds the control character U+00")


def test_a_control_character_in_a_key_is_shown_and_not_sent(folder: Path) -> None:
    """A sentence about it must not clear the terminal."""
    path = example(folder, ("commit_seconds = 60", r'"\u001b[2J" = 60'))
    (fault,) = faults(path)
    assert fault.endswith(r"station.\x1b[2J: unknown key")


@pytest.mark.parametrize("value", ["[" * 5000 + "]" * 5000, "{a = " * 5000 + "1" + "}" * 5000])
def test_tables_too_deep_in_one_another_are_refused(folder: Path, value: str) -> None:
    path = example(folder, ("commit_seconds = 60", f"commit_seconds = {value}"))
    assert faults(path) == ["station.toml: not a configuration: lists or tables lie too deep in one another"]


@pytest.mark.parametrize("value", [f"1{'0' * 400}", f"-1{'0' * 400}", "inf", "nan"])
def test_a_number_that_cannot_be_reckoned_with_is_a_fault(folder: Path, value: str) -> None:
    """Where there are no bounds, too."""
    path = example(
        folder,
        ('profile = "deltaohm-pmsense"', f'profile = "deltaohm-pmsense"\ncalibration = {{ pm25 = [{value}, 0] }}'),
    )
    (fault,) = faults(path)
    assert fault.startswith(f"station.toml:{line(path, 'calibration')}: bus[1].device[0].calibration.pm25[0]: ")
    assert fault.endswith(" is not a number that can be used")


def test_a_number_of_too_many_digits_is_refused_as_a_whole(folder: Path) -> None:
    path = example(folder, ("commit_seconds = 60", f"commit_seconds = 1{'0' * 5000}"))
    (fault,) = faults(path)
    assert fault.startswith("station.toml: not TOML: Exceeds the limit (4300 digits)")


def test_very_long_dotted_keys_are_unknown_keys(folder: Path) -> None:
    path = example(folder, ("commit_seconds = 60", f"commit_seconds{'.a' * 5000} = 1"))
    assert faults(path) == [f"station.toml:{line(path, '.a.a')}: station.commit_seconds: this is a table, not a number"]


def test_faults_of_an_own_profile_carry_the_line_of_its_file(folder: Path) -> None:
    path = example(folder, ('profile = "deltaohm-pmsense"', 'profile = "mine"'))
    (folder / "profiles").mkdir()
    (folder / "profiles" / "mine.toml").write_text('title = "x"\nbaudrate = 9600\nunit_id = 1\nparity = "X"\n')
    table = line(path, 'profile = "mine"') - 2
    assert faults(path) == [
        f'station.toml:{table}: bus[1].device[0]: profiles/mine.toml:4: parity: "X" is not one of N, E, O'
    ]


def test_what_does_not_fit_together_is_named_beside_wrong_values(folder: Path) -> None:
    """In one pass, each at its own line; a table with a wrong value is not blamed for more than that."""
    path = example(
        folder,
        ('name = "weather"', "name = 5"),  # left out of what follows: the others keep their numbers
        ("unit_id = 4", "unit_id = 3"),
        ('poll_seconds = 10\npoint = "site"', 'poll_seconds = 10\npoint = "sight"'),
        ('name = "dust"\nprofile', 'name = "meter"\nprofile'),
        ('password_file = "district.password"', 'password_file = "no.password"'),
    )
    assert faults(path) == [
        f"station.toml:{line(path, 'name = 5')}: bus[0].device[0].name: "
        '5 is a whole number, not a text; put it in quotes: "5"',
        f'station.toml:{line(path, "sight")}: bus[0].device[2].point: there is no point "sight"; did you mean site?',
        f'station.toml:{line(path, "unit_id = 3") + 7}: bus[0].device[3].unit_id: 3 is already "collector" on this bus',
        f'station.toml:{line(path, "parity") + 3}: bus[1].device[0].name: "meter" is already bus[0].device[3]',
        f"station.toml:{line(path, 'no.password')}: uplink[0].password_file: there is no file no.password; "
        "make it: printf '%s' PASSWORD > no.password && chmod 600 no.password",
    ]


def test_a_point_with_a_wrong_value_is_not_said_to_be_missing(folder: Path) -> None:
    """Nor is anything said of a [station] or an [[uplink]] that has faults already."""
    path = example(
        folder,
        ("longitude = 119.93", "longitude = 1199.3"),
        ('timezone = "+08:00"', 'timezone = "+8"\ncolour = "red"'),
        ('password_file = "district.password"', 'password_file = "no.password"\nack = "maybe"'),
        ('st = "44"', 'st = "444"'),
    )
    assert [fault.split(": ")[1] for fault in faults(path)] == [
        "station.colour", "point[1].longitude", "point[2].st", "uplink[0].ack",
    ]  # fmt: skip


def test_no_point_at_all_and_no_list_of_tables_is_one_fault(folder: Path) -> None:
    path = folder / "station.toml"
    path.write_text('bus = 3\n[station]\nname = "x"\ndata_folder = "data"\n[[point]]\ncode = 1\n')
    assert faults(path)[0] == "station.toml:1: bus: 3 is a whole number, not a list"
    path.write_text('[station]\nname = "x"\ndata_folder = "data"\n')
    assert faults(path) == ["station.toml: point: is missing"]


def test_every_fault_is_named_at_once_with_its_line(folder: Path) -> None:
    """Structure, ranges and types in one go."""
    path = example(
        folder,
        ("baudrate = 9600", "buadrate = 9600"),
        ("unit_id = 3", "unit_id = 300"),
        ("poll_seconds = 10", 'poll_seconds = "10"'),
        ("port = 9212", "port = true"),
        ('standard = "2017"', 'standard = "2016"'),
    )
    ten = line(path, 'poll_seconds = "10"')
    assert faults(path) == [
        f"station.toml:{line(path, 'buadrate')}: bus[0].buadrate: unknown key; did you mean baudrate?",
        f"station.toml:{line(path, 'unit_id = 300')}: bus[0].device[2].unit_id: 300 is above 255",
        f'station.toml:{ten}: bus[0].device[2].poll_seconds: "10" is text, not a number',
        f'station.toml:{line(path, "2016")}: uplink[0].standard: "2016" is not one of 2005, 2017, 2025; did you '
        "mean 2017?",
        f"station.toml:{line(path, 'port = true')}: uplink[0].port: true is true/false, not a whole number",
    ]


def test_a_missing_key_is_named_at_its_table(folder: Path) -> None:
    """With what it is for."""
    path = example(folder, ("unit_id = 2\n", ""))
    where = line(path, 'name = "sonde"') - 1
    assert faults(path) == [f"station.toml:{where}: bus[0].device[1].unit_id: is missing (its Modbus address)"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("unit_id = 2", "unit_id = 1", 'bus[0].device[1].unit_id: 1 is already "weather" on this bus'),
        ('name = "sonde"', 'name = "weather"', 'bus[0].device[1].name: "weather" is already bus[0].device[0]'),
        ('point = "river"\n\n[[bus.dev', 'point = "rivr"\n\n[[bus.dev',
         'bus[0].device[1].point: there is no point "rivr"; did you mean river?'),
        ('name = "dust"\nport', 'name = "water"\nport', 'bus[1].name: "water" is already bus[0]'),
        ('point = "site"\nmn', 'point = "sit"\nmn',
         'uplink[0].point[1].point: there is no point "sit"; did you mean site?'),
        ('st = "39"', 'st = "site"', 'point[1].st: "site" is not two characters 0-9 A-Z (HJ 212 part 6)'),
        ('timezone = "+08:00"', 'timezone = "Asia"', 'station.timezone: "Asia" is not an offset such as +08:00'),
        ('poll_seconds = 10\npoint = "power"', 'poll_seconds = 10\npoint = "power"\nrange = { frequency = [60, 40] }',
         "bus[0].device[3].range.frequency: 60 is not below 40"),
        ('"district.password"', '"nowhere"', "uplink[0].password_file: there is no file nowhere"),
        ('protocol = "hj212"', 'protocol = "hj213"',
         'uplink[0]: protocol: "hj213" is not one of hj212, http, mqtt; did you mean hj212?'),
        ('profile = "laumas-tlb"', 'profile = "laumas-tlc"', "did you mean laumas-tlb"),
        ('variant = "tenths-pm" ', '# ', "tenths-pm"),
        ('port = "ports/dust"', 'port = "ports/water"', "is already bus[0]"),
        ("longitude = 119.93", "longitude = 190.0", "point[1].longitude: 190.0 is above 180"),
    ],
)  # fmt: skip
def test_faults_between_tables_say_where_and_what(folder: Path, old: str, new: str, fault: str) -> None:
    """Each is one sentence with its place and, where there is one, the likely word."""
    path = example(folder, (old, new))
    found = faults(path)
    assert len(found) == 1
    assert fault in found[0]


def test_a_device_set_otherwise_than_its_line_is_mentioned(folder: Path) -> None:
    """It works, and costs every other device on the line a pause."""
    path = example(folder, ('name = "sonde"', 'name = "sonde"\nbaudrate = 19200\nparity = "O"'))
    assert [w.rpartition(": bus[0]")[2] for w in load(path).warnings if "switches" in w] == [
        ".device[1]: is spoken to with 19200 8O1 on a line of 9600 8N1: each of its polls switches the port"
    ]


def test_two_names_of_one_adapter_are_one_port(folder: Path) -> None:
    """By path and by number: two masters would speak on one line."""
    (folder / "ttyUSB0").touch()
    (folder / "by-path").symlink_to("ttyUSB0")
    path = example(folder, ('port = "ports/water"', 'port = "by-path"'), ('port = "ports/dust"', 'port = "ttyUSB0"'))
    assert faults(path) == [
        f"station.toml:{line(path, 'ttyUSB0')}: bus[1].port: ttyUSB0 leads to ttyUSB0, as bus[0].port does"
    ]


def test_one_factor_at_one_point_has_one_source(folder: Path) -> None:
    """Two instruments that both measure PM at the same point are asked apart by `parameters`."""
    path = example(folder, ("parameters = [", "# "))
    found = faults(path)
    assert [f.partition(": ")[2] for f in found] == [
        'bus[1].device[0]: pm25 at point "site" already comes from "weather"',
        'bus[1].device[0]: pm10 at point "site" already comes from "weather"',
    ]


@pytest.mark.parametrize("password", ["", "123;45", "a b\x07", "\n"])
def test_a_password_no_frame_could_carry_is_a_fault(folder: Path, password: str) -> None:
    """Found by check, not by the platform's silence; tools that need no secret do not mind."""
    path = example(folder)
    (folder / "district.password").write_text(password)
    (found,) = faults(path)
    assert "district.password holds no usable password: 1 to 6 printable characters without ;,=&#" in found
    assert load(path, secrets=False).config.station.name == "Niutang demo"


def test_a_file_from_windows_says_what_to_do(folder: Path) -> None:
    """A byte-order mark is taken; GBK and curly quotes are named with their line and the remedy."""
    path = example(folder)
    text = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8-sig")
    assert load(path).config.station.name == "Niutang demo"
    path.write_bytes(text.replace("Niutang demo", "牛塘").encode("gbk", "replace"))
    assert faults(path) == ["station.toml:6: is not UTF-8 text; save the file as UTF-8 (not GBK)"]
    path.write_text(text.replace('"Niutang demo"', "“牛塘”"), encoding="utf-8")
    (found,) = faults(path)
    assert found.endswith('write straight quotes "…" instead of “…”')


def test_text_that_is_not_toml_names_its_line(folder: Path) -> None:
    """Half a file: the previous good one is what runs on."""
    path = example(folder)
    path.write_text("[station]\nname = \n")
    assert faults(path) == ["station.toml:2: not TOML: Invalid value"]


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """The whole path and the reason."""
    assert faults(tmp_path / "station.toml") == ["station.toml: cannot be read (No such file or directory)"]


def test_relative_names_start_at_the_configuration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the service's working folder is."""
    monkeypatch.chdir("/")
    loaded = load(example(folder))
    assert loaded.database == folder / "data" / "station.db"
    assert loaded.config.bus[0].port == str(folder / "ports" / "water")


def test_an_operators_own_profile_lies_beside_the_configuration(folder: Path) -> None:
    """profiles/NAME.toml, no Python."""
    (folder / "profiles").mkdir()
    (folder / "profiles" / "thermo.toml").write_text(
        'title = "Thermometer"\nmaker = "Own"\nsource = "label"\ngrade = "C"\nbaudrate = 9600\nunit_id = 1\n'
        '[[register]]\nparameter = "air_temperature"\ntable = "input"\naddress = 1\ntype = "i16"\nscale = 0.1\n'
        'unit = "°C"\nexample = 21.5\n'
    )
    path = example(folder, ('profile = "laumas-tlb"\nvariant = "0.1g"', 'profile = "thermo"'),
                   ('"air_temperature", ', ""))  # fmt: skip
    assert load(path).config.bus[0].device[2].name == "collector"


def test_a_secret_comes_from_systemd_before_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LoadCredential= puts it into a folder that only the service sees."""
    loaded = load(example(folder))
    assert loaded.secret("district.password") == "123456"
    credentials = folder / "credentials"
    credentials.mkdir()
    (credentials / "district.password").write_text("654321\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert loaded.secret("district.password") == "654321"


def test_a_password_that_others_can_read_is_warned_of(folder: Path) -> None:
    """With the command that mends it."""
    (folder / "district.password").chmod(0o644)
    warnings = load(example(folder)).warnings
    assert any("can be read by others; chmod 600 it" in warning for warning in warnings)


def test_shorter_retention_than_the_law_asks_for_is_warned_of(folder: Path) -> None:
    """It may be wanted (an export is elsewhere), so it is not refused."""
    path = example(folder, ("[[point]]", "[retention]\nreadings_days = 30\n\n[[point]]"))
    (warning,) = [w for w in load(path).warnings if ": retention." in w]
    assert "30 days are less than the 5 years Order 820 asks for" in warning


def test_a_place_inside_a_value_falls_back_to_what_is_around_it() -> None:
    """The lines of inline tables and list items are not known; their key's line is."""
    lines = locate("[station]\nname = 'x'\n[[bus]]\n[[bus.device]]\nrange = { ph = [0] }\n")
    assert line_of("bus[0].device[0].range.ph[0]", lines) == 5
    assert line_of("bus[0].device[0].unit_id", lines) == 4
    assert line_of("nowhere", lines) is None


@pytest.mark.parametrize("text", ["8", "+8:00", "+08:10", "+15:00", "UTC", ""])
def test_a_zone_is_an_offset(text: str) -> None:
    """The station's legal time has no daylight saving, so an offset says it all."""
    with pytest.raises(ValueError, match="is not an offset"):
        parse_zone(text)


STREAM = """
[[bus]]
name = "gate"
port = "gate"
baudrate = 19200
[[bus.device]]
name = "gate"
driver = "stream"
profile = "plantower-pms5003"
parameters = ["pm1"]
point = "power"
"""


def test_an_instrument_that_talks_by_itself_needs_a_line_of_its_own(folder: Path) -> None:
    """One sentence, at the instrument it is about."""
    path = example(folder)
    path.write_text(path.read_text() + STREAM + """
[[bus.device]]
name = "other"
profile = "acrel-adl400"
unit_id = 1
point = "river"
""", encoding="utf-8")  # fmt: skip
    number = line(path, 'driver = "stream"') - 2
    assert faults(path) == [
        f'station.toml:{number}: bus[2].device[0]: "gate" needs a line of its own, "other" cannot share it'
    ]


def test_a_speed_unlike_the_maker_s_is_mentioned_and_no_fault(folder: Path) -> None:
    """The technician may have changed it in the instrument, too."""
    path = example(folder)
    path.write_text(path.read_text() + STREAM, encoding="utf-8")
    assert [w.partition("bus[2]")[2] for w in load(path).warnings if "shipped" in w] == [
        ".device[0]: the line is set to 19200 8N1, the instrument is shipped with 9600 8N1"
    ]


VALUES = [
    *("1", "-1", "0", "1e308", "1e-320", "nan", "-inf", "true", "9223372036854775808", "07:32:00", "1979-05-27"),
    *(
        '""',
        '"x"',
        r'"\u0000"',
        '"../../x"',
        '"/dev/null"',
        '"."',
        '"/"',
        '"站"',
        '"a/b"',
        '"+99:00"',
        f'"{"a" * 5000}"',
    ),
    *("[]", "[1]", '["a"]', "[[1]]", "{}", "{a = 1}", "{pm25 = 1}", "{pm25 = [nan, inf]}", '{pm25 = "x"}', "[{}]"),
]
KEYS = ["calibration", "range", "points", "allow", "units", "codes", "variant", "driver", "key_file", "ack", "gap_ms"]
TABLES = ["[[uplink.point]]", "[[point]]", "[[bus]]", "[[bus.device]]", "[station]", "[retention]", "[dustfall]"]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_can_be_written_makes_check_stumble(folder: Path, seed: int) -> None:
    """Values swapped, lines lost, doubled and put in: it can be used, or the faults are told."""
    chance = random.Random(seed)
    usable = 0
    for _ in range(200):
        lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
        for _ in range(chance.choice([1, 1, 2, 4])):
            at, how = chance.randrange(len(lines)), chance.random()
            if how < 0.6:
                key, equals, _ = lines[at].partition(" = ")
                lines[at] = f"{key} = {chance.choice(VALUES)}" if equals else lines[at]
            elif how < 0.7:
                lines.pop(at)
            elif how < 0.8:
                lines.insert(at, chance.choice(lines))
            else:
                lines.insert(at, chance.choice([f"{chance.choice(KEYS)} = {chance.choice(VALUES)}", *TABLES]))
        (folder / "station.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with suppress(ConfigError):
            load(folder / "station.toml")
            usable += 1
    assert 0 < usable < 200


TWO = """
[station]
name = "s"
data_folder = "d"
[[point]]
code = "river"
name = "River"
st = "21"
[[bus]]
name = "line"
port = "line"
[[bus.device]]
name = "well"
profile = "mine"
unit_id = 250
point = "river"
[[bus.device]]
name = "meter"
profile = "pzem-016"
unit_id = 2
point = "river"
parameters = ["voltage"]
"""
MINE = """
title = "t"
baudrate = 9600
unit_id = 1
general_address = 250
[[register]]
parameter = "water_temperature"
table = "holding"
address = 0
type = "f32"
unit = "°C"
example = 7
"""


def two(folder: Path, text: str = TWO, mine: str = MINE) -> Path:
    """Two instruments on a line, one of a profile of the operator's own."""
    (folder / "profiles").mkdir()
    (folder / "profiles" / "mine.toml").write_text(mine)
    (folder / "station.toml").write_text(text)
    return folder / "station.toml"


def test_an_address_that_all_instruments_of_a_kind_answer_to_wants_a_line_of_its_own(folder: Path) -> None:
    """On a shared line two would answer at once."""
    path = two(folder)
    assert faults(path) == [
        f"station.toml:{line(path, 'unit_id = 250')}: bus[0].device[0].unit_id: "
        "250 is answered by every instrument of a kind; it needs a line of its own"
    ]
    alone = TWO[: TWO.rindex("[[bus.device]]")]
    path.write_text(alone)
    assert load(path).config.bus[0].device[0].name == "well"


def test_a_template_is_refused_until_it_is_confirmed_and_then_said_to_be_one(folder: Path) -> None:
    """With the sentence that says what is uncertain."""
    uncertain = 'grade = "D"\nuncertain = "the order of the words"\n' + MINE
    alone = TWO[: TWO.rindex("[[bus.device]]")].replace("unit_id = 250", "unit_id = 3")
    path = two(folder, alone, uncertain)
    (fault,) = faults(path)
    assert fault.endswith(
        "profile mine: is a template of grade D, for the order of the words;"
        " check that on the instrument, then write confirmed = true"
    )
    path.write_text(alone + "confirmed = true\n")
    (warning, _) = load(path).warnings
    assert warning.endswith("mine is a template of grade D, confirmed here: the order of the words")


@pytest.mark.parametrize(
    ("right", "typed", "hint"),
    [
        ("= 4800", "＝4800", 'write a plain "=" instead of "＝"'),
        ("[[bus]]", "［［bus］］", 'write plain brackets "[" and "]" instead of full-width ones'),
        ("= 4800", "= 4800。", 'write a plain "." instead of "。"'),
        ("= 4800", "= [1，2]", 'write a plain comma "," instead of "，"'),
    ],
)
def test_full_width_signs_are_named(folder: Path, right: str, typed: str, hint: str) -> None:
    """What a Chinese keyboard leaves in the file, and what belongs there."""
    path = example(folder)
    text = path.read_text(encoding="utf-8")
    right = right if right in text else "= 9600"
    path.write_text(text.replace(right, typed, 1), encoding="utf-8")
    (found,) = faults(path)
    assert found.endswith(hint)


def test_one_bracket_where_two_belong_is_said(folder: Path) -> None:
    """By the place it stands in."""
    path = example(folder)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[[point]]", "[[bus2]]").replace("[[bus2]]", "[point]", 1), encoding="utf-8")
    assert any(fault.endswith("this is a table, not a list; write [[point]]") for fault in faults(path))


def test_an_unknown_profile_is_one_fault(folder: Path) -> None:
    """What it would have measured is not said to be missing as well."""
    path = example(folder, ('name = "dust"\nprofile = "', 'name = "dust"\nprofile = "no-such-'))
    text = path.read_text(encoding="utf-8")
    rule = '\n[[output]]\nname = "lamp"\nkind = "lamp"\npin = 5\n'
    rule += '[[rule]]\nname = "dusty"\nkind = "signal"\noutput = "lamp"\npoint = "site"\nparameter = "pm10"\n'
    path.write_text(text + rule + "start = 300\nstop = 200\n", encoding="utf-8")
    found = faults(path)
    assert any("no-such-" in fault for fault in found)
    assert not [fault for fault in found if "nothing measures" in fault]
