"""Frames as printed in documents, as bytes, through driver and emulator."""

import pytest

from drivers.emulated import EmulatedUnit
from drivers.line import Line, bits_per_character, crc16, read_request
from drivers.profile import SHIPPED, Action, Frame, Profile, Step, Write, load, parse
from drivers.registers import decode, plan_reads
from tests.drivers.fakes import NOON, FakePort, FakeTime, bus_with
from tests.frames import NOTE, completed, computed, lacking

NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


def layouts() -> list[Profile]:
    profiles = [load(name) for name in NAMES]
    return [p.chosen(v) for p in profiles for v in ([v.name for v in p.variants] or [None])]


def told(profile: Profile) -> dict[bytes, Step]:
    """The steps of polls, locks and actions that send something, by the bytes between unit and CRC."""
    steps = (
        *profile.steps,
        *profile.unlock,
        *profile.lock,
        *(step for action in profile.actions for step in action.sequence),
    )
    return {step.request: step for step in steps if step.request}


LAYOUTS = layouts()
ALL = [(p, f) for p in LAYOUTS for f in p.frames]
FRAMES = [pytest.param(p, f, id=f"{p.name}-{f.variant}-{f.request[:6].hex()}") for p, f in ALL]
READS = [param for param in FRAMES if param.values[1].request[1:-2] not in told(param.values[0])]
TOLD = [param for param in FRAMES if param not in READS]


def planned(profile: Profile):
    """What is sent for all parameters, for who the instrument is, for each parameter alone, and by the steps."""
    line = Line(profile.baudrate, bits_per_character(profile.parity, profile.stopbits))
    alone = [request for parameter in profile.parameters for request in profile.plan(line, [parameter])]
    asked = [step.asked for step in profile.steps if step.place is not None]
    return [*profile.plan(line), *profile.plan_identity(line), *alone, *asked]


def request_of(profile: Profile, frame: Frame):
    for request in planned(profile):
        if read_request(frame.request[0], request.table, request.address, request.count) == frame.request:
            return request
    raise AssertionError(f"{profile.name} never sends {frame.request.hex(' ')}")


@pytest.mark.parametrize(("profile", "frame"), READS)
def test_the_driver_sends_the_request_and_reads_the_values(profile, frame):
    request = request_of(profile, frame)
    port = FakePort(FakeTime(), lambda sent: [(0.02, frame.response)] if sent == frame.request else [])
    payload = bus_with(port, port.time).read(frame.request[0], request, profile)
    assert {s.parameter: s.value for s in decode(request, payload, NOON)} == pytest.approx(dict(frame.values))


def whole(action: Action) -> list[bytes]:
    """The requests of *action*: one of several does nothing by itself."""
    return [step.request for step in action.sequence if step.request]


@pytest.mark.parametrize(("profile", "frame"), TOLD)
def test_the_driver_tells_the_instrument_what_the_frame_says_and_takes_its_answer(profile, frame):
    step, unit_id = told(profile)[frame.request[1:-2]], frame.request[0]
    port = FakePort(FakeTime(), lambda sent: [(0.02, frame.response)] if sent == frame.request else [])
    bus = bus_with(port, port.time)
    if step.do == "write":
        bus.write(unit_id, step, profile)
    else:
        answer = bus.raw(unit_id, step.function, step.request[1:], profile, answer_bytes=step.answer_bytes)
        assert answer == frame.response[2:-2]
    assert [sent for _, sent in port.written] == [frame.request]


@pytest.mark.parametrize(("profile", "frame"), READS)
def test_the_emulator_answers_the_bytes_when_given_the_values(profile, frame):
    unit = EmulatedUnit(profile, frame.request[0], values=frame.values)
    unit.measuring = True
    unit.answer(frame.request)  # one that sleeps is awake now
    assert unit.answer(frame.request) == frame.response


@pytest.mark.parametrize(("profile", "frame"), TOLD)
def test_the_emulator_is_told_by_the_frame_and_answers_it(profile, frame):
    unit = EmulatedUnit(profile, frame.request[0])
    unit.unlocked = True
    assert unit.answer(frame.request) == frame.response
    acts = [action.verb for action in profile.actions if whole(action) == [frame.request[1:-2]]]
    assert unit.acted == acts


@pytest.mark.parametrize("profile", LAYOUTS, ids=lambda p: p.name)
def test_what_a_shipped_instrument_is_told_stands_in_a_frame(profile):
    assert {frame.request[1:-2] for frame in profile.frames} >= told(profile).keys()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_computed_from_a_map_is_what_its_frames_say(name):
    """The bytes are made anew in tests/frames.py; mend what lacks with: python -m tests.frames FILE"""
    profile = load(name)
    assert lacking(profile) == []
    own = {(f.variant, f.request): f for f in profile.frames if f.note == NOTE}
    compared = [frame for frame in computed(profile) if (frame.variant, frame.request) in own]
    for frame in compared:
        assert own[frame.variant, frame.request].response == frame.response
        assert own[frame.variant, frame.request].values == pytest.approx(frame.values)


def test_a_profile_without_frames_gets_them_all():
    text = SHIPPED.joinpath("aqualabo-c4e.toml").read_text(encoding="utf-8")
    bare = parse(completed(text.partition("[[frame]]")[0], "aqualabo-c4e"), "aqualabo-c4e")
    assert {f.request: f.response for f in bare.frames} == {f.request: f.response for f in load("aqualabo-c4e").frames}


@pytest.mark.parametrize("profile", LAYOUTS, ids=lambda p: p.name)
def test_every_read_of_a_shipped_profile_has_its_frame(profile):
    shown = {frame.request for frame in profile.frames}
    line = Line(profile.baudrate, bits_per_character(profile.parity, profile.stopbits))
    for r in profile.plan(line):
        assert read_request(profile.unit_id, r.table, r.address, r.count) in shown


def values_of_one_read(profile: Profile) -> set[str]:
    """What is whole in one read, and not computed from several."""
    read = [request.places for request in planned(profile)]
    numbers = [register for register in profile.registers if register.is_number]
    return {r.parameter for r in numbers if any({r, *r.beside} <= {*places} for places in read)}


@pytest.mark.parametrize("profile", LAYOUTS, ids=lambda p: p.name)
def test_every_value_of_a_shipped_profile_is_in_one_of_its_frames(profile):
    shown = {parameter for frame in profile.frames for parameter in frame.values}
    assert shown == values_of_one_read(profile)


def test_there_are_profiles_for_two_dozen_instruments():
    assert len(NAMES) >= 24
    assert {param.values[0].name for param in FRAMES} == set(NAMES)


def test_the_printed_request_of_the_renke_station():
    sent = [f.request.hex(" ").upper() for f in load("renke-fsxcs").chosen("tenths-pm").frames]
    assert sent == ["01 03 01 F4 00 10 04 08"]


# Printed for probes of the Yosemitech family (values, wiper interval, coefficients, version), a load-cell transmitter,
# a wind sensor, a thermo-hygrometer's address, a dust monitor's run state; captured from an energy meter and, as to
# the four bytes of its value, from a flow meter: request, reply, register rows, values.
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
    ("01 03 00 08 00 01 05 C8", "01 03 02 08 02 3E 45", [(8, "u16", "", 1)], [0x0802]),
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
    (
        "01 03 07 00 00 02 C5 7F",
        "01 03 04 01 00 01 00 FA 5F",
        [(0x0700, "u16", "", 1), (0x0701, "u16", "", 1)],
        [256, 256],
    ),
    ("01 03 01 01 00 01 D4 36", "01 03 02 00 01 79 84", [(0x0101, "u16", "", 1)], [1]),
    ("01 03 00 21 00 01 D4 00", "01 03 02 00 01 79 84", [(33, "u16", "", 1)], [1]),
    ("01 03 00 20 00 02 C5 C1", "01 03 04 80 6B 42 12 12 82", [(32, "f32", "CDAB", 1)], [36.62540817260742]),
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


# Printed for the Yosemitech family (address, a pH standard) and the load-cell transmitter (zero, tare, manual zero,
# address): request, reply, register, words.
WRITES = [
    ("01 10 30 00 00 01 02 14 00 99 53", "01 10 30 00 00 01 0E C9", 0x3000, [0x1400]),
    ("01 10 23 00 00 02 04 00 00 80 40 1E AE", "01 10 23 00 00 02 4A 4C", 0x2300, [0x0000, 0x8040]),
    ("01 10 00 26 00 02 04 00 00 00 00 71 9D", "01 10 00 26 00 02 A0 03", 38, [0, 0]),
    ("01 10 00 54 00 02 04 00 00 00 64 F6 8B", "01 10 00 54 00 02 00 18", 84, [0, 100]),
    ("01 10 00 5E 00 01 02 00 01 6A EE", "01 10 00 5E 00 01 60 1B", 94, [1]),
    ("01 10 00 00 00 01 02 00 02 27 91", "01 10 00 00 00 01 01 C9", 0, [2]),
]


@pytest.mark.parametrize(("request_hex", "response_hex", "address", "words"), WRITES, ids=[case[0] for case in WRITES])
def test_a_printed_write_is_what_the_driver_sends_and_its_reply_is_taken(request_hex, response_hex, address, words):
    asked, answered = bytes.fromhex(request_hex), bytes.fromhex(response_hex)
    port = FakePort(FakeTime(), lambda sent: [(0.02, answered)] if sent == asked else [])
    bus_with(port, port.time).write(1, Write(address=address, values=tuple(words)), load("yosemitech-y532"))
    assert [sent for _, sent in port.written] == [asked]


def test_the_crc_of_every_frame_is_right():
    for _, frame in (param.values for param in FRAMES):
        assert crc16(frame.request[:-2]) == frame.request[-2:]
        assert crc16(frame.response[:-2]) == frame.response[-2:]
