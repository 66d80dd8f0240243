"""Frames as printed in documents, as bytes, through driver and emulator."""

import pytest

from drivers.emulated import EmulatedUnit
from drivers.line import Line, bits_per_character, crc16, read_request
from drivers.profile import SHIPPED, Frame, Profile, load, parse
from drivers.registers import decode, plan_reads
from tests.drivers.fakes import NOON, FakePort, FakeTime, bus_with

NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


def layouts() -> list[Profile]:
    profiles = [load(name) for name in NAMES]
    return [p.chosen(v) for p in profiles for v in ([v.name for v in p.variants] or [None])]


LAYOUTS = layouts()
FRAMES = [pytest.param(p, f, id=f"{p.name}-{f.variant}-{f.request[:6].hex()}") for p in LAYOUTS for f in p.frames]


def planned(profile: Profile):
    """What is sent for all parameters, for who the instrument is, and for each parameter taken alone."""
    line = Line(profile.baudrate, bits_per_character(profile.parity, profile.stopbits))
    alone = [request for parameter in profile.parameters for request in profile.plan(line, [parameter])]
    return [*profile.plan(line), *profile.plan_identity(line), *alone]


def request_of(profile: Profile, frame: Frame):
    for request in planned(profile):
        if read_request(frame.request[0], request.table, request.address, request.count) == frame.request:
            return request
    raise AssertionError(f"{profile.name} never sends {frame.request.hex(' ')}")


@pytest.mark.parametrize(("profile", "frame"), FRAMES)
def test_the_driver_sends_the_request_and_reads_the_values(profile, frame):
    request = request_of(profile, frame)
    port = FakePort(FakeTime(), lambda sent: [(0.02, frame.response)] if sent == frame.request else [])
    payload = bus_with(port, port.time).read(frame.request[0], request, profile)
    assert {s.parameter: s.value for s in decode(request, payload, NOON)} == pytest.approx(dict(frame.values))


@pytest.mark.parametrize(("profile", "frame"), FRAMES)
def test_the_emulator_answers_the_bytes_when_given_the_values(profile, frame):
    assert EmulatedUnit(profile, frame.request[0], values=frame.values).answer(frame.request) == frame.response


@pytest.mark.parametrize("profile", LAYOUTS, ids=lambda p: p.name)
def test_every_read_of_a_shipped_profile_has_its_frame(profile):
    shown = {frame.request for frame in profile.frames}
    line = Line(profile.baudrate, bits_per_character(profile.parity, profile.stopbits))
    for r in profile.plan(line):
        assert read_request(profile.unit_id, r.table, r.address, r.count) in shown


@pytest.mark.parametrize("profile", LAYOUTS, ids=lambda p: p.name)
def test_every_value_of_a_shipped_profile_is_in_one_of_its_frames(profile):
    assert {parameter for frame in profile.frames for parameter in frame.values} == set(profile.parameters)


def test_there_are_profiles_for_two_dozen_instruments():
    assert len(NAMES) >= 24
    assert {param.values[0].name for param in FRAMES} == set(NAMES)


def test_the_printed_request_of_the_renke_station():
    sent = [f.request.hex(" ").upper() for f in load("renke-fsxcs").chosen("tenths-pm").frames]
    assert sent == ["01 03 01 F4 00 10 04 08"]


# Printed for other probes of the Yosemitech family (Y511, Y504, Y532, Y560, Y511's wiper), and for a
# load-cell transmitter, a wind sensor and an energy meter: request, reply, register rows, values.
FAMILY = [
    (
        "01 03 26 00 00 05 8E 81",
        "01 03 0A 00 00 8D 41 00 00 8D 41 00 00 C7 33",
        [(0x2600, "f32", "DCBA", 1), (0x2602, "f32", "DCBA", 1), (0x2604, "u16", "", 1)],
        [17.625, 17.625, 0],
    ),
    (
        "01 03 28 00 00 06 CC 68",
        "01 03 0C 33 33 F3 40 00 00 80 3F 66 66 A6 40 6C 7D",
        [(0x2800, "f32", "DCBA", 1), (0x2802, "f32", "DCBA", 1), (0x2804, "f32", "DCBA", 1)],
        [7.6, 1.0, 5.2],
    ),
    ("01 03 28 00 00 02 CD AB", "01 03 04 33 33 F3 40 40 78", [(0x2800, "f32", "DCBA", 1)], [7.6]),
    ("01 03 32 00 00 01 8A B2", "01 03 02 1E 00 B1 E4", [(0x3200, "u16", "BA", 1)], [30]),
    (
        "01 03 11 00 00 04 41 35",
        "01 03 08 00 00 80 3F 00 00 00 00 9E 12",
        [(0x1100, "f32", "DCBA", 1), (0x1102, "f32", "DCBA", 1)],
        [1, 0],
    ),
    ("01 03 00 1E 00 02 A4 0D", "01 03 04 00 00 01 62 7A 4A", [(30, "i32", "ABCD", 0.01)], [3.54]),
    ("01 03 00 00 00 01 84 0A", "01 03 02 00 56 38 7A", [(0, "u16", "", 0.1)], [8.6]),
    (
        "01 04 00 00 00 0A 70 0D",
        "01 04 14 08 D1 00 6C 00 00 00 F4 00 00 00 26 00 00 01 F4 00 64 00 00 51 34",
        [
            (0, "u16", "", 0.1),
            (1, "u32", "CDAB", 0.001),
            (3, "u32", "CDAB", 0.1),
            (5, "u32", "CDAB", 1),
            (7, "u16", "", 0.1),
            (8, "u16", "", 0.01),
            (9, "u16", "", 1),
        ],
        [225.7, 0.108, 24.4, 38, 50.0, 1.0, 0],
    ),
]
ROW = '[[register]]\nparameter = "p{i}"\ntable = "{table}"\naddress = {a}\ntype = "{t}"\norder = "{o}"\nscale = {s}\n'


@pytest.mark.parametrize(("request_hex", "response_hex", "rows", "values"), FAMILY, ids=[case[0] for case in FAMILY])
def test_a_printed_frame_of_another_instrument(request_hex, response_hex, rows, values):
    asked, answered = bytes.fromhex(request_hex), bytes.fromhex(response_hex)
    table = "input" if asked[1] == 4 else "holding"
    text = 'title = "t"\nbaudrate = 9600\nunit_id = 1\n' + "".join(
        ROW.format(i=i, table=table, a=a, t=t, o=o, s=s) + f"example = {value}\n"
        for i, ((a, t, o, s), value) in enumerate(zip(rows, values, strict=True))
    )
    profile = parse(text, "family")
    (request,) = plan_reads(profile.registers, 9600, 10, 20)
    assert read_request(1, request.table, request.address, request.count) == asked
    assert [s.value for s in decode(request, answered[3:-2], NOON)] == pytest.approx(values)
    assert EmulatedUnit(profile).answer(asked) == answered


def test_the_crc_of_every_frame_is_right():
    for _, frame in (param.values for param in FRAMES):
        assert crc16(frame.request[:-2]) == frame.request[-2:]
        assert crc16(frame.response[:-2]) == frame.response[-2:]
