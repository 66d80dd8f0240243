"""`station decode`: what a captured exchange means, for every shipped profile, and how broken ones are refused."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drivers.captured import FAULTS, meaning
from drivers.emulated import EmulatedUnit
from drivers.frames import sealed, to_hex
from drivers.line import Line, read_request
from drivers.profile import SHIPPED, Frame, Profile, load, parse
from drivers.registers import decode
from station.model import Mark
from tests.station.commands import Done, Here

NOW = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)
SHIPPED_FRAMES = [
    pytest.param(load(path.stem), frame, id=f"{path.stem}-{number}")
    for path in sorted(SHIPPED.glob("*.toml"))
    for number, frame in enumerate(load(path.stem).frames)
]
OWN = """
title = "probe"
baudrate = 9600
unit_id = 3
[[register]]
parameter = "ph"
table = "holding"
address = 16
type = "i16"
scale = 0.01
range = [0, 14]
no_value = [32767]
example = 7.0
[[register]]
parameter = "turbidity"
table = "holding"
address = 17
type = "f32"
order = "CDAB"
unit = "NTU"
no_value = ["nan"]
example = 17.625
[[register]]
parameter = "serial_number"
table = "holding"
address = 32
type = "ascii"
length = 3
example = "A1B2"
[[register]]
parameter = "water_temperature"
table = "input"
address = 16
type = "i16"
scale = 0.1
unit = "°C"
example = 20.0
[[status]]
table = "holding"
address = 19
mask = 0x01
mark = "M"
reason = "cleaning"
parameters = ["turbidity"]
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    """`station` in this process, in a folder with a profile of the operator's own."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "probe.toml").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return Here(monkeypatch, capfd)


def hexed(body: str) -> str:
    """The frame of *body*, its CRC added."""
    return to_hex(sealed(bytes.fromhex(body)))


def decoded(run: Here, request: str, response: str, *more: object, profile: str = "probe") -> tuple[int, Any]:
    """Exit code and object of `station decode --json`."""
    done = run("decode", profile, "--request", request, "--response", response, "--json", *more)
    assert done.err == ""
    return done.code, json.loads(done.out)


ALL = hexed("03 03 00 10 00 04")


@pytest.mark.parametrize(("profile", "frame"), SHIPPED_FRAMES)
def test_every_golden_frame_of_every_shipped_profile_means_what_it_says(profile: Profile, frame: Frame) -> None:
    """As the driver would take it; the unit is the catalogue's."""
    found = meaning(profile, frame.request, frame.response, NOW, variant=frame.variant)
    assert found.faults == ()
    values = {value.parameter: value for value in found.values}
    units = {register.parameter: register.unit for register in profile.chosen(frame.variant).registers}
    assert {name: values[name].value for name in frame.values} == pytest.approx(dict(frame.values))
    assert {name: values[name].unit for name in frame.values} == {name: units[name] for name in frame.values}


@pytest.mark.parametrize(("profile", "frame"), SHIPPED_FRAMES)
def test_no_damaged_reply_is_believed(profile: Profile, frame: Frame) -> None:
    """A flipped bit, a cut, a byte too many: named, and no value."""
    chance = random.Random(len(frame.response))
    for _ in range(50):
        bit = chance.randrange(8 * len(frame.response))
        number = int.from_bytes(frame.response, "big") ^ 1 << bit
        damaged = number.to_bytes(len(frame.response), "big")
        cut = frame.response[: chance.randrange(1, len(frame.response))]
        for response in (damaged, cut, frame.response + b"\0"):
            found = meaning(profile, frame.request, response, NOW, variant=frame.variant)
            assert {fault.name for fault in found.faults} & {"crc", "length"}
            assert found.values == ()


def test_an_exchange_becomes_one_object(run: Here) -> None:
    """Scaled, in its byte order, with unit and mark; the status word by its address."""
    code, found = decoded(run, ALL, hexed("03 03 08 02 C6 00 00 41 8D 00 00"))
    assert code == 0
    assert found == {
        "ok": True,
        "faults": [],
        "values": [
            {"parameter": "ph", "value": 7.1, "unit": "", "mark": "N"},
            {"parameter": "turbidity", "value": 17.625, "unit": "NTU", "mark": "N"},
            {"register": 19, "value": 0, "unit": "", "mark": "N"},
        ],
    }


@pytest.mark.parametrize(
    "form", [str.lower, lambda text: text.replace(" ", ""), lambda text: "0x" + text.replace(" ", " 0x")]
)
def test_hex_is_taken_in_any_dress(run: Here, form: Any) -> None:
    """Lower case, without spaces, with 0x."""
    code, found = decoded(run, form(ALL), form(hexed("03 03 08 02 C6 00 00 41 8D 00 00")))
    assert (code, found["values"][0]["value"]) == (0, 7.1)


@pytest.mark.parametrize(
    ("registers", "marks"),
    [
        ("02 C6 00 00 41 8D 00 01", {"ph": (7.1, "N"), "turbidity": (17.625, "M"), 19: (1, "M")}),
        ("7F FF 00 00 41 8D 00 00", {"ph": (None, "D"), "turbidity": (17.625, "N"), 19: (0, "N")}),
        ("02 C6 00 00 7F C0 00 00", {"ph": (7.1, "N"), "turbidity": (None, "D"), 19: (0, "N")}),
        ("05 DC 00 00 7F 80 00 00", {"ph": (15.0, "T"), "turbidity": (None, "D"), 19: (0, "N")}),
        ("FF 9C 00 00 41 8D 00 00", {"ph": (-1.0, "D"), "turbidity": (17.625, "N"), 19: (0, "N")}),
    ],
)
def test_sentinels_status_bits_and_ranges_become_marks(run: Here, registers: str, marks: dict[Any, Any]) -> None:
    """The same as the driver's; a sentinel is no value."""
    code, found = decoded(run, ALL, hexed(f"03 03 08 {registers}"))
    shown = {
        value.get("parameter", value.get("register")): (value["value"], value["mark"]) for value in found["values"]
    }
    assert (code, shown) == (0, marks)


def test_a_read_of_a_part_gives_that_part(run: Here) -> None:
    """One register of many, a text, the other table."""
    _, ph = decoded(run, hexed("03 03 00 10 00 01"), hexed("03 03 02 02 C6"))
    assert [value["parameter"] for value in ph["values"]] == ["ph"]
    _, text = decoded(run, hexed("03 03 00 20 00 03"), hexed("03 03 06 41 31 42 32 00 00"))
    assert text["values"] == [{"parameter": "serial_number", "value": "A1B2", "unit": "", "mark": "N"}]
    _, warm = decoded(run, hexed("03 04 00 10 00 01"), hexed("03 04 02 FF 38"))
    assert warm["values"] == [{"parameter": "water_temperature", "value": -20.0, "unit": "°C", "mark": "N"}]


def test_a_write_is_read_by_the_same_map(run: Here) -> None:
    """Functions 6 and 16; what the profile does not name stays a number without a mark."""
    _, one = decoded(run, hexed("03 06 00 10 02 C6"), hexed("03 06 00 10 02 C6"))
    assert one["values"] == [{"parameter": "ph", "value": 7.1, "unit": "", "mark": "N"}]
    _, many = decoded(run, hexed("03 10 00 30 00 02 04 00 05 00 06"), hexed("03 10 00 30 00 02"))
    assert many["values"] == [
        {"register": 48, "value": 5, "unit": "", "mark": ""},
        {"register": 49, "value": 6, "unit": "", "mark": ""},
    ]


def test_an_action_of_the_profile_is_a_sound_exchange_without_values(run: Here) -> None:
    """The Y4000's wiper: function 16 with no registers."""
    start, done = hexed("01 10 2F 00 00 00 00"), hexed("01 10 2F 00 00 00")
    code, found = decoded(run, start, done, profile="yosemitech-y4000")
    assert (code, found) == (0, {"ok": True, "faults": [], "values": []})


GOOD = hexed("03 03 02 02 C6")
ONE = hexed("03 03 00 10 00 01")
BROKEN = {
    "a reply with a flipped bit": (ONE, "03 03 02 02 C7 40 A6", ["crc"]),
    "a request with a flipped bit": ("03 03 00 11" + ONE[11:], GOOD, ["crc"]),
    "half a reply": (ONE, GOOD[:14], ["length", "crc"]),
    "a byte too many": (ONE, GOOD + " 55", ["length", "crc"]),
    "two replies glued together": (ONE, f"{GOOD} {GOOD}", ["length", "crc", "glued"]),
    "a reply and half of another": (ONE, f"{GOOD} {GOOD[:11]}", ["length", "crc", "glued"]),
    "a reply that says it is longer": (ONE, hexed("03 03 04 02 C6"), ["length", "byte-count"]),
    "a reply that says it is shorter": (ALL, hexed("03 03 06 02 C6 00 00 41 8D 00 00"), ["length", "byte-count"]),
    "an odd number of bytes": (ONE, hexed("03 03 03 02 C6 00"), ["byte-count"]),
    "a write that is not what it says": (
        hexed("03 10 00 10 00 02 02 02 C6"), hexed("03 10 00 10 00 02"), ["byte-count"]
    ),
    "an exception to something else": (ONE, hexed("03 84 02"), ["function"]),
    "an exception with a wrong CRC": (ONE, "03 83 02 00 00", ["crc"]),
    "another unit and another number of bytes": (ONE, hexed("04 03 04 02 C6 00 00"), ["unit", "byte-count"]),
    "no reply at all": (ONE, " ", ["length"]),
    "no request": ("", GOOD, ["length"]),
    "no reply to speak of": (ONE, "03", ["length"]),
    "no hexadecimal digits": (ONE, "no reply", ["hex"]),
    "half a byte": (ONE[:-1], GOOD, ["hex"]),
    "another unit": (ONE, hexed("04 03 02 02 C6"), ["unit"]),
    "another function": (ONE, hexed("03 04 02 02 C6"), ["function"]),
    "an exception": (ONE, hexed("03 83 02"), ["exception-2"]),
    "more registers than asked for": (ONE, hexed("03 03 04 02 C6 00 00"), ["byte-count"]),
    "the adapter's echo": (ONE, ONE, ["echo"]),
    "another write confirmed": (hexed("03 06 00 10 00 01"), hexed("03 06 00 10 00 02"), ["confirmation"]),
    "coils": (hexed("03 01 00 10 00 01"), hexed("03 01 01 01"), ["function-not-in-profile"]),
}
# Sound exchanges about what the profile does not know: the numbers that stand there, and why they are no values.
BARE = {
    "registers nobody knows": (hexed("03 03 00 80 00 01"), GOOD, "address-not-in-profile"),
    "the other table": (hexed("03 04 00 11 00 01"), hexed("03 04 02 02 C6"), "address-not-in-profile"),
    "half a value": (hexed("03 03 00 11 00 01"), GOOD, "split-value"),
}


def address(request: str) -> int:
    """The register a request names."""
    return int(request.replace(" ", "")[4:8], 16)


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_believed_is_refused_by_name(run: Here, case: str) -> None:
    """Exit 1, no value, the same name on the screen."""
    request, response, names = BROKEN[case]
    code, found = decoded(run, request, response)
    assert (code, found["ok"], found["faults"]) == (1, False, names)
    assert (found.get("notes"), found["values"]) == (None, [])
    for language in ("en", "zh"):
        shown = run("decode", "probe", "--request", request, "--response", response, "--lang", language)
        assert (shown.code, [line.partition(":")[0] for line in shown.out.splitlines()][: len(names)]) == (1, names)


@pytest.mark.parametrize("case", BARE)
def test_a_sound_exchange_about_what_the_profile_lacks_gives_bare_numbers(run: Here, case: str) -> None:
    request, response, name = BARE[case]
    code, found = decoded(run, request, response)
    assert (code, found["ok"], found["faults"], found["notes"]) == (0, True, [], [name])
    assert found["values"] == [{"register": address(request), "value": 710, "unit": "", "mark": ""}]
    for language in ("en", "zh"):
        shown = run("decode", "probe", "--request", request, "--response", response, "--lang", language)
        assert (shown.code, shown.out.splitlines()[0].partition(":")[0]) == (0, name)
        assert "710" in shown.out


def random_exchange(chance: random.Random, profile: Profile) -> tuple[bytes, bytes]:
    """A request about the registers of *profile* and a reply to it, sound in their CRC and often in nothing else."""
    layouts = (profile, *profile.variants)
    places = [place for layout in layouts for place in (*layout.registers, *layout.status)]
    start = min(0xFFFF, max(0, chance.choice(places).address + chance.randint(-3, 3)))
    count, function = chance.randint(0, 20), chance.choice((3, 3, 4, 4, 5, 6, 15, 16, 0x42, chance.randint(1, 127)))
    words = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FC0, 0x7F80, 0xFF80, 300, 0x418D)
    data = b"".join(chance.choice(words).to_bytes(2, "big") for _ in range(chance.choice((count, count, 3))))
    head = bytes((1, function)) + start.to_bytes(2, "big") + count.to_bytes(2, "big")
    if function in (3, 4):
        return sealed(head), sealed(bytes((1, function, chance.choice((len(data), len(data), 7)))) + data)
    asked = sealed(head[: chance.randint(2, 6)] + bytes((len(data),)) * (function in (15, 16)) + data)
    return asked, chance.choice((asked, sealed(head), sealed(bytes((1, function | 0x80, 4))), sealed(head[:2])))


def test_whatever_is_sound_becomes_one_object_of_plain_json() -> None:
    """4,000 exchanges with every shipped profile among them: no traceback, no infinity, a fault or a mark."""
    chance = random.Random(4)
    profiles = [load(path.stem) for path in sorted(SHIPPED.glob("*.toml"))]
    for number in range(4000):
        profile = profiles[number % len(profiles)]
        asked, answered = random_exchange(chance, profile)
        found = meaning(profile, asked, answered, NOW)
        json.dumps(found.as_dict(), allow_nan=False)
        for value in found.values:
            assert value.parameter is None or value.value is not None or value.mark not in ("", "N")


def test_the_broken_cases_show_every_fault_there_is() -> None:
    """A name that nothing leads to would be an empty promise ("alone" is a log's)."""
    shown = {name.replace("-2", "-N") for _, _, names in BROKEN.values() for name in names}
    assert shown | {"alone"} == set(FAULTS)


def test_the_start_of_a_probe_is_sound_whatever_comes_to_it(run: Here) -> None:
    """devices.md 1.1: an answer of no bytes, or filler to ignore; the driver drops it, and so does this."""
    for asked, answered in (("01 03 25 00 00 01", "01 03 00"), ("01 03 25 00 00 01", "01 03 02 00 00")):
        code, found = decoded(run, hexed(asked), hexed(answered), profile="yosemitech-y504")
        assert (code, found["faults"]) == (0, [])


def test_a_code_of_the_makers_own_is_measured_by_the_profile(run: Here) -> None:
    """PZEM: the answer repeats the request, a refusal is 0xC2, and anything else is not its answer."""
    ask = hexed("01 42")
    for answer, faults in ((ask, []), (hexed("01 C2 04"), ["exception-4"]), (hexed("01 42 00"), ["length"])):
        code, found = decoded(run, ask, answer, profile="pzem-016")
        assert (code, found["faults"], found["values"]) == (int(bool(faults)), faults, [])


def test_what_an_action_knows_is_read_in_its_byte_order(run: Here) -> None:
    """How often a wiper runs by its own clock: 30 minutes, the low byte first."""
    code, found = decoded(run, hexed("01 03 32 00 00 01"), hexed("01 03 02 1E 00"), profile="yosemitech-y511")
    assert (code, found["values"]) == (0, [{"register": 0x3200, "value": 30, "unit": "", "mark": ""}])


@pytest.mark.parametrize("words", ["7F 80 00 00", "FF 80 00 00", "7F C0 00 00"])
def test_what_is_no_number_is_never_one_in_the_object(run: Here, words: str) -> None:
    """A value without the quality word that belongs to it is bare, and JSON has no infinity."""
    done = run("decode", "insitu-aquatroll", "--request", hexed("01 03 00 25 00 02"), "--response",
               hexed(f"01 03 04 {words}"), "--json")  # fmt: skip
    assert not {"Infinity", "NaN"} & {*done.out.replace(",", " ").split()}
    assert json.loads(done.out)["values"] == [{"register": 37, "value": None, "unit": "", "mark": ""}]


def test_the_unit_may_be_named(run: Here) -> None:
    """An instrument at another address than the maker's is fine, one at another than was said is not."""
    request, response = hexed("09 03 00 10 00 01"), hexed("09 03 02 02 C6")
    assert decoded(run, request, response)[0] == 0
    assert decoded(run, request, response, "--unit", 9)[0] == 0
    assert decoded(run, request, response, "--unit", 3)[1]["faults"] == ["unit"]


def test_an_echo_before_the_reply_is_taken_off(run: Here) -> None:
    """Some adapters hear themselves first."""
    assert decoded(run, ONE, f"{ONE} {GOOD}")[1]["values"][0]["value"] == 7.1


def test_the_answer_to_a_general_address_comes_from_whoever_is_there(run: Here) -> None:
    """Address 255 finds one lonely instrument (devices.md part 0, 4)."""
    assert decoded(run, hexed("FF 03 00 10 00 01"), GOOD)[1]["ok"] is True


def test_a_number_on_the_screen_has_name_unit_and_mark(run: Here) -> None:
    """In the language that is spoken."""
    words = ("decode", "probe", "--request", ALL, "--response", hexed("03 03 08 02 C6 00 00 41 8D 00 01"))
    english = [line.split() for line in run(*words).out.splitlines()]
    assert ["Turbidity", "17", "17.625", "NTU", "M", "maintenance"] in english
    chinese = [line.split() for line in run(*words, "--lang", "zh").out.splitlines()]
    assert ["浊度", "17", "17.625", "NTU", "M", "维护"] in chinese


def test_layouts_that_disagree_leave_a_bare_number(run: Here) -> None:
    """Tenths or hundredths of a metre per second: the map does not tell, so nobody does."""
    (frame,) = (one for one in load("renke-fsxcs").frames if one.variant == "tenths-pm")
    words = ("decode", "renke-fsxcs", "--request", to_hex(frame.request), "--response", to_hex(frame.response))
    found = json.loads(run(*words, "--json").out)
    assert found["ok"] is True
    assert found["values"][0] == {"register": 500, "value": 37, "unit": "", "mark": ""}
    assert {"parameter": "humidity", "value": 56.3, "unit": "%", "mark": "N"} in found["values"]
    assert "name one with --variant" in run(*words).out
    named = json.loads(run(*words, "--json", "--variant", "tenths-pm").out)
    assert named["values"][0] == {"parameter": "wind_speed", "value": 3.7, "unit": "m/s", "mark": "N"}


def test_a_layout_whose_values_cannot_be_is_left_aside() -> None:
    """One reads -999 where the other reads a humidity."""
    text = """
title = "two layouts"
baudrate = 9600
unit_id = 1
[[variant]]
name = "tenths"
[[variant.register]]
parameter = "humidity"
table = "holding"
address = 0
type = "u16"
scale = 0.1
unit = "%"
range = [0, 100]
example = 50
[[variant]]
name = "hundredths"
[[variant.register]]
parameter = "humidity"
table = "holding"
address = 0
type = "u16"
scale = 0.01
unit = "%"
range = [0, 100]
example = 50
"""
    request, response = sealed(bytes.fromhex("01 03 00 00 00 01")), sealed(bytes.fromhex("01 03 02 13 88"))
    found = meaning(parse(text, "two"), request, response, NOW)
    assert [(value.parameter, value.value, value.mark) for value in found.values] == [("humidity", 50.0, Mark.N.name)]
    assert found.layouts == ()


def test_unknown_profiles_and_variants_are_one_sentence(run: Here) -> None:
    """Exit 2, with what there is."""
    for words in (("decode", "prob"), ("decode", "probe", "--variant", "x"), ("decode", "probe")):
        done: Done = run(*words, "--request" if len(words) > 3 else "--unit", 3)
        assert (done.code, len(done.said)) == (2, 1)
    assert "no profile 'prob'; did you mean probe?" in run("decode", "prob").err


def test_a_log_is_decoded_exchange_by_exchange(run: Here, tmp_path: Path) -> None:
    """With directions or without, other lines passed over; 1 when one exchange is not whole."""
    log = tmp_path / "log"
    log.write_text(f"# sniffed\n12:00:00.000 > {ONE}\n12:00:00.020 < {GOOD}\n", encoding="utf-8")
    done = run("decode", "probe", "--log", log, "--json")
    assert (done.code, json.loads(done.out)["values"][0]["value"]) == (0, 7.1)
    log.write_text(f"{ONE}\n{GOOD}\n{ONE}\n", encoding="utf-8")
    done = run("decode", "probe", "--log", log, "--json")
    assert done.code == 1
    assert [json.loads(line)["faults"] for line in done.out.splitlines()] == [[], ["alone"]]
    assert run("decode", "probe", "--log", log, "--unit", 9).code == 1
    assert "no exchange was found" in run("decode", "probe", "--log", log, "--unit", 9).err
    assert run("decode", "probe", "--log", tmp_path / "none").code == 74


LANGUAGE = """
title = "grown-up"
baudrate = 9600
unit_id = 1
[[register]]
parameter = "ph"
table = "holding"
address = 0
type = "f32"
example = 7.5
quality = { address = 2 }
[[register]]
parameter = "turbidity"
table = "holding"
address = 10
type = "u16"
unit = "NTU"
example = 12.5
decimals = { address = 11, range = [0, 4], example = 1 }
[[register]]
parameter = "air_temperature"
table = "holding"
address = 20
type = "i16"
unit = "°C"
example = 20
[[register]]
parameter = "humidity"
table = "holding"
address = 21
type = "u16"
unit = "%"
example = 50
[[absent]]
parameters = ["air_temperature", "humidity"]
raws = [0, 0]
[[quality]]
values = [0]
mark = "N"
reason = "good"
[[quality]]
values = [3]
mark = "M"
reason = "probe in its cap"
"""


@pytest.mark.parametrize(
    ("first", "registers", "values"),
    [
        (0, "40 F0 00 00 00 00", [("ph", 7.5, "N"), (2, 0, "N")]),
        (0, "40 F0 00 00 00 03", [("ph", None, "M"), (2, 3, "M")]),
        (0, "40 F0 00 00 00 09", [("ph", None, "D"), (2, 9, "D")]),
        (0, "40 F0 00 00", [(0, 7.5, "")]),  # without its quality word nobody knows
        (10, "00 7D 00 01", [("turbidity", 12.5, "N"), (11, 1, "")]),
        (10, "00 7D 00 09", [("turbidity", None, "D"), (11, 9, "")]),
        (20, "00 00 00 00", [("air_temperature", None, "D"), ("humidity", None, "D")]),
        (20, "00 00 00 32", [("air_temperature", 0.0, "N"), ("humidity", 50.0, "N")]),
    ],
)
def test_what_stands_beside_a_value_is_heeded(first: int, registers: str, values: list[Any]) -> None:
    """Quality words, decimals, elements that are not fitted: as the driver does."""
    data = bytes.fromhex(registers)
    request = sealed(bytes((1, 3, 0, first, 0, len(data) // 2)))
    found = meaning(parse(LANGUAGE, "grown-up"), request, sealed(bytes((1, 3, len(data))) + data), NOW)
    assert found.faults == ()
    assert [(value.parameter or value.register, value.value, value.mark) for value in found.values] == values


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_an_instruments_answer_means_what_the_driver_takes_it_for(path: Path) -> None:
    """Every read of every layout, as the emulated instrument answers it: the same values, marks and units."""
    profile = load(path.stem)
    for variant in [one.name for one in profile.variants] or [None]:
        layout = profile.chosen(variant)
        unit = EmulatedUnit(profile, variant=variant)
        for request in layout.plan(Line(layout.baudrate)):
            asked = read_request(layout.unit_id, request.table, request.address, request.count)
            if layout.crc_high_first:
                asked = asked[:-2] + asked[:-3:-1]
            answer = unit.answer(asked)
            if answer is None or answer[1] & 0x80:
                continue  # it is measuring, or asleep
            found = meaning(profile, asked, answer, NOW, variant=variant)
            assert found.faults == ()
            taken = {one.parameter: (one.value, one.mark.name) for one in decode(request, answer[3:-2], NOW)}
            said = {one.parameter: (one.value, one.mark) for one in found.values if one.parameter in taken}
            absent = {name for rule in layout.absent for name in rule.parameters}
            assert {k: v for k, v in said.items() if k not in absent} == {
                k: v for k, v in taken.items() if k not in absent
            }


LAYOUTS = """
title = "several"
baudrate = 9600
unit_id = 1
default_variant = "level"
[[register]]
parameter = "water_temperature"
table = "holding"
address = 2
type = "i16"
scale = 0.1
unit = "°C"
example = 20.0
[[variant]]
name = "level"
[[variant.register]]
parameter = "water_level"
table = "holding"
address = 8
type = "f32"
unit = "m"
example = 1.5
[[variant]]
name = "old"
[[variant.register]]
parameter = "water_level"
table = "holding"
address = 0
type = "f32"
unit = "m"
example = 1.5
[[variant]]
name = "pressure"
[[variant.register]]
parameter = "air_pressure"
table = "holding"
address = 0
type = "f32"
unit = "kPa"
example = 101.3
"""


def test_what_the_default_layout_does_not_know_another_may() -> None:
    """Two layouts take the same number for different things: it stays bare, what they share does not."""
    profile = parse(LAYOUTS, "several")
    request = sealed(bytes.fromhex("01 03 00 00 00 02"))
    found = meaning(profile, request, sealed(bytes.fromhex("01 03 04 3F C0 00 00")), NOW)
    assert [(value.register, value.value, value.mark) for value in found.values] == [(0, 1.5, "")]
    assert found.layouts == ("old", "pressure")
    request = sealed(bytes.fromhex("01 03 00 00 00 03"))
    found = meaning(profile, request, sealed(bytes.fromhex("01 03 06 3F C0 00 00 00 C8")), NOW)
    assert [(value.parameter, value.value) for value in found.values] == [("water_temperature", 20.0)]  # the default's
    named = meaning(profile, request, sealed(bytes.fromhex("01 03 06 3F C0 00 00 00 C8")), NOW, variant="old")
    assert [(value.parameter, value.value) for value in named.values] == [
        ("water_level", 1.5),
        ("water_temperature", 20.0),
    ]
