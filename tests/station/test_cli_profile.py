"""`station profile` as typed: faults with their lines, registers shown, variants tried, a first profile written."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest

from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus
from drivers.line import crc16
from drivers.profile import SHIPPED, load, read
from station.cli_profile import faults_of
from tests.drivers.fakes import THERMOMETER
from tests.station.commands import Done, Here


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(monkeypatch, capfd)


def write(folder: Path, text: str) -> Path:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return folder / "mine.toml"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_no_shipped_profile_has_a_fault(path: Path) -> None:
    """Alone, against the catalogue, and its frames against its map."""
    assert faults_of(path) == []


def test_a_good_profile_is_said_to_be_good(command: Here, tmp_path: Path) -> None:
    done = command("profile", "check", write(tmp_path, THERMOMETER))
    assert (done.code, done.out) == (0, f"{tmp_path}/mine.toml: no faults (2 registers, 0 example frames hold)\n")


def test_every_fault_has_its_line(command: Here, tmp_path: Path) -> None:
    text = THERMOMETER.replace("unit_id = 1", "unit_id = 300").replace('type = "i16"', 'type = "i17"')
    path = write(tmp_path, text)
    done = command("profile", "check", path)
    assert done.code == 1
    assert [line.partition(" is ")[0] for line in done.out.splitlines()] == [
        f"{path}:4: unit_id: 300",
        f'{path}:10: register[0].type: "i17"',
    ]
    assert done.said == ["2 faults found; the station will not use this profile"]


@pytest.mark.parametrize(
    ("old", "new", "line", "fault"),
    [
        (
            '"humidity"',
            '"humidty"',
            15,
            "register[1].parameter: humidty is not in the catalogue; did you mean humidity?",
        ),
        ('unit = "%"', 'unit = "g/m³"', 20, 'register[1].unit: "g/m³" is not the catalogue\'s "%"'),
    ],
)
def test_what_the_catalogue_does_not_know_is_a_fault(
    command: Here, tmp_path: Path, old: str, new: str, line: int, fault: str
) -> None:
    path = write(tmp_path, THERMOMETER.replace(old, new))
    found = json.loads(command("profile", "check", path, "--json").out)
    assert found == {"ok": False, "faults": [f"{path}:{line}: {fault}"]}


def test_a_frame_that_the_map_does_not_give_is_a_fault(command: Here, tmp_path: Path) -> None:
    asked, said = bytes.fromhex("01 04 00 01 00 01"), bytes.fromhex("01 04 02 00 D8")
    frame = f'[[frame]]\nrequest = "{(asked + crc16(asked)).hex()}"\nresponse = "{(said + crc16(said)).hex()}"\n'
    path = write(tmp_path, THERMOMETER + frame + "values = { air_temperature = 21.5 }\n")
    done = command("profile", "check", path)
    assert done.out.startswith(
        f"{path}:24: frame[0].response: by the map and the values the reply would be 01 04 02 00 D7"
    )


def test_a_template_is_said_to_be_one(command: Here, tmp_path: Path) -> None:
    path = write(tmp_path, 'grade = "C"\nuncertain = "the byte order"\n' + THERMOMETER)
    assert command("profile", "check", path).out.splitlines()[-1] == (
        "template of grade C, to be confirmed on the instrument: the byte order"
    )


def test_the_registers_of_a_profile_are_shown(command: Here) -> None:
    done = command("profile", "show", "deltaohm-pmsense")
    assert done.out.splitlines()[0] == "Delta OHM PMsense / PM[B]sense particulate monitor"
    assert re.search(r"pm25 +input +4 \(0x0004\) +u16 +0\.1 +µg/m³", done.out)
    found = json.loads(command("profile", "show", "renke-fsxcs", "--variant", "wind-only", "--json").out)
    assert [row["parameter"] for row in found["layouts"]["wind-only"]] == ["wind_speed", "wind_direction"]
    assert "can be told to clean" in command("profile", "show", "yosemitech-y4000").out


def test_an_instrument_is_shown_by_its_name_in_the_readers_language(command: Here) -> None:
    assert command("profile", "show", "chint-ddsu666").out.startswith("Chint DDSU666 energy meter, single phase\n")
    assert command("profile", "show", "chint-ddsu666", "--lang", "zh").out.startswith("正泰 DDSU666 单相电能表\n")


VARIANTS = """
title = "thermo-hygrometer"
baudrate = 9600
unit_id = 1
worst_reply_ms = 100
[[variant]]
name = "tenths"
title = "÷10"
[[variant.register]]
parameter = "humidity"
table = "input"
address = 2
type = "u16"
scale = 0.1
unit = "%"
range = [0, 100]
example = 54.6
[[variant]]
name = "hundredths"
[[variant.register]]
parameter = "humidity"
table = "input"
address = 2
type = "u16"
scale = 0.01
unit = "%"
range = [0, 100]
example = 54.6
[[variant.condition]]
table = "input"
address = 9
range = [0, 3]
text = "the map's version"
[[variant]]
name = "other"
[[variant.register]]
parameter = "humidity"
table = "holding"
address = 700
type = "u16"
unit = "%"
example = 54
"""


def probed(command: Here, folder: Path, variant: str, *words: str) -> Done:
    """`station profile probe` on an emulated instrument that is the *variant*."""
    path = write(folder, VARIANTS)
    with EmulatedBus(9600, 10, [EmulatedUnit(read(path), variant=variant)], pace=False) as line:
        return command("profile", "probe", path, "--port", line.path, *words)


def test_variants_are_held_against_the_instrument_and_none_is_chosen(command: Here, tmp_path: Path) -> None:
    done = probed(command, tmp_path, "tenths")
    assert done.code == 0
    assert done.out.splitlines() == [
        "tenths: plausible",
        "  humidity 54.6 %",
        "hundredths: not plausible",
        "  - refuses input register 9",
        "  humidity 5.46 %",
        "other: not plausible",
        "  - refuses holding register 700",
        "  ",
        "Compare the values with the display, then write the variant into station.toml; nothing was chosen.",
    ]


def test_a_variant_says_what_it_would_read_too_high(command: Here, tmp_path: Path) -> None:
    found = json.loads(probed(command, tmp_path, "hundredths", "--json").out)["variants"]
    assert found[0] == {
        "variant": "tenths",
        "plausible": False,
        "against": ["humidity would be 546, not 0 to 100"],
        "values": {"humidity": 546.0},
    }
    assert found[1]["plausible"]
    assert found[1]["values"] == {"humidity": 54.6}


def test_an_instrument_that_does_not_answer_is_no_variant_of_anything(command: Here, tmp_path: Path) -> None:
    done = probed(command, tmp_path, "tenths", "--unit", "7")
    assert done.code == 69
    assert "unit 7: no reply to input register 2" in done.err


def test_a_map_without_a_start_is_held_against_nothing(command: Here) -> None:
    """Any six registers would fit it."""
    done = command("profile", "probe", "hcu-dust", "--port", "/dev/none")
    assert (done.code, len(done.said)) == (2, 1)
    assert done.err.startswith("hcu-dust: where its values begin is in no source")
    assert "where its three counts begin" in command("profile", "show", "hcu-dust").out


NEW = (
    "profile", "new", "ph-probe", "--title", "pH probe", "--maker", "Someone", "--unit", "3",
    "--register", "parameter=ph,address=0x2800,type=f32,order=DCBA,range=0..14,example=7.6",
    "--register", "parameter=water_temperature,table=input,address=3,type=i16,scale=0.1,example=17.5",
)  # fmt: skip


def test_a_profile_is_written_from_options_and_can_be_used_at_once(command: Here, tmp_path: Path) -> None:
    done = command(*NEW)
    path = tmp_path / "profiles" / "ph-probe.toml"
    assert (done.code, done.err) == (0, "")
    assert done.out == f'{path} written; use it with profile = "ph-probe"\n'
    found = load("ph-probe", [tmp_path / "profiles"])
    assert (found.title, found.unit_id, found.baudrate) == ("pH probe", 3, 9600)
    asked, answered = "03 03 28 00 00 02", "03 03 04 33 33 F3 40"
    reply = EmulatedUnit(found, values={"ph": 7.6}).answer(framed(asked))
    assert reply == framed(answered)
    assert "address = 0x2800" in path.read_text()
    assert faults_of(path) == []


def framed(text: str) -> bytes:
    return bytes.fromhex(text) + crc16(bytes.fromhex(text))


def test_a_profile_is_never_written_over(command: Here) -> None:
    assert command(*NEW).code == 0
    done = command(*NEW)
    assert done.code == 2
    assert "ph-probe.toml: is there already" in done.err


@pytest.mark.parametrize(
    ("register", "said"),
    [
        ("parameter=ph,address=x,example=7", "address: 'x' is no integer"),
        ("parameter=ph,adress=1,example=7", '"adress" is no key of a register; did you mean address?'),
        ("parameter ph,address=1", '"parameter ph" is not key=value'),
        ("parameter=ph,address=70000,example=7", "register[0].address: 70000 is above 65535"),
        ("parameter=phh,address=1,example=7", "register[0].parameter: phh is not in the catalogue; did you mean ph?"),
    ],
)
def test_an_option_that_means_nothing_writes_nothing(command: Here, tmp_path: Path, register: str, said: str) -> None:
    done = command("profile", "new", "x", "--register", register)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "profiles" / "x.toml").exists()


def test_a_profile_is_asked_for_line_by_line_and_each_answer_checked(
    command: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Chinese, with two answers that are none, and a parameter by its name."""
    answers = ["温湿度计", "某厂", "9600", "X", "N", "1", "1", "温渡", "气温", "input", "0x0001", "i16", "", "0.1"]
    answers += ["", "-40..80", "21.5", ""]
    monkeypatch.setattr("sys.stdin", StringIO("\n".join(answers) + "\n"))
    done = command("profile", "new", "th", "--lang", "zh")
    assert (done.code, done.err) == (0, ""), done.out
    assert '不可用:"X" is not one of N, E, O' in done.out
    assert "温渡 不在因子目录中" in done.out
    (register,) = read(tmp_path / "profiles" / "th.toml").registers
    assert (register.parameter, register.address, register.type, register.unit) == ("air_temperature", 1, "i16", "°C")
    assert (register.scale, register.range, register.example) == (0.1, (-40, 80), 21.5)
