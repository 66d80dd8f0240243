"""Instruments calibrated in themselves: coefficients in registers, values in commands, and the former ones back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from drivers.base import DeviceError, DeviceException, NoReply, ProfileError
from drivers.calibrating import NotRestored, NotTaken
from drivers.emulated import EmulatedUnit
from drivers.line import crc16
from drivers.modbus import ModbusDevice, ModbusSettings
from drivers.profile import SHIPPED, Profile, load, parse
from tests.drivers.fakes import NOON, THERMOMETER, FakePort, FakeTime, bus_with

KB = [
    ("yosemitech-y504", "oxygen_saturation"), ("yosemitech-y511", "turbidity"), ("yosemitech-y513", "blue_green_algae"),
    ("yosemitech-y514", "chlorophyll"), ("yosemitech-y520", "conductivity"), ("yosemitech-y533", "orp"),
    ("yosemitech-y551", "cod"), ("yosemitech-y560", "ammonium"), ("yosemitech-y560", "ammonia_nitrogen"),
    ("yosemitech-y560", "ph"),
]  # fmt: skip
HERE = {"operator": "Wang Fang", "date": "2026-11-30"}


class Line:
    """An instrument of *profile* at the end of a line; *lose* decides which requests never arrive."""

    def __init__(self, profile: Profile, **values: float) -> None:
        self.time = FakeTime()
        self.values: dict[str, float | None] = dict(values)
        self.unit = EmulatedUnit(profile, values=lambda: self.values, monotonic=self.time.monotonic)
        self.lose: Callable[[bytes], bool] = lambda _: False
        self.port = FakePort(self.time, self._answer)
        settings = ModbusSettings(
            name="probe", point="p", profile=profile.name, unit_id=profile.unit_id, confirmed=True
        )
        self.device = ModbusDevice(settings, bus_with(self.port, self.time), (), lambda: NOON)

    def _answer(self, request: bytes) -> list[tuple[float, bytes]]:
        reply = None if self.lose(request) else self.unit.answer(request)
        return [(0.02, reply)] if reply is not None else []

    def shows(self, parameter: str) -> float:
        """What it shows, once its mean is whole."""
        for _ in range(50):
            self.time.now += max(self.device.pending_seconds or 0, 1.0)
            for sample in self.device.read():
                if sample.parameter == parameter and sample.value is not None:
                    return float(sample.value)
        raise AssertionError(f"{parameter} never came")

    def written(self) -> list[str]:
        """Function and address of every request that wrote."""
        return [f"{f[1]:02X} {f[2:4].hex().upper()}" for _, f in self.port.written if f[1] in (5, 6, 16)]

    def tell(self, verb: str = "calibrate", **arguments: Any) -> dict[str, str]:
        return dict(self.device.act(verb, {key: str(value) for key, value in arguments.items()}))


@pytest.mark.parametrize(("name", "parameter"), KB)
def test_slope_and_intercept_go_into_the_instrument_and_what_it_shows_follows(name: str, parameter: str) -> None:
    """K and B of the Yosemitech family: one write of four registers, read back; the value is K · raw + B at once."""
    line = Line(load(name))
    before = line.shows(parameter)
    found = line.tell("read_coefficients", parameter=parameter)
    assert (float(found["slope"]), float(found["intercept"])) == (1.0, 0.0)
    told = line.tell("write_coefficients", parameter=parameter, slope=1.5, intercept=2.5, words=found["words"])
    assert (float(told["slope"]), float(told["intercept"])) == pytest.approx((1.5, 2.5))  # 32-bit floats
    assert line.shows(parameter) == pytest.approx(1.5 * before + 2.5)
    (write,) = [f for _, f in line.port.written if f[1] == 16 and f[2] in (0x11, 0x34, 0x36)]
    assert write[4:7] == bytes((0, 4, 8))
    line.unit.power_cycle()
    line.unit.set_up()
    line.time.now += 100
    assert line.shows(parameter) == pytest.approx(1.5 * before + 2.5)
    line.tell("restore_coefficients", parameter=parameter, words=found["words"])
    assert line.shows(parameter) == pytest.approx(before)


def test_the_frame_of_k_and_b_is_the_printed_one() -> None:
    line = Line(load("yosemitech-y551"))
    line.tell("read_coefficients", parameter="cod")
    assert line.port.written[-1][1] == bytes.fromhex("01 03 11 00 00 04 41 35")
    assert line.unit.answer(bytes.fromhex("01 03 11 00 00 04 41 35")) == bytes.fromhex(
        "01 03 08 00 00 80 3F 00 00 00 00 9E 12"
    )


def test_what_is_there_already_is_not_written_again() -> None:
    """A station that lost its power behind the write finds it done."""
    line = Line(load("yosemitech-y551"))
    words = line.tell("read_coefficients", parameter="cod")["words"]
    line.tell("write_coefficients", parameter="cod", slope=2, intercept=1, words=words)
    assert line.tell("write_coefficients", parameter="cod", slope=2, intercept=1, words=words)["slope"] == "2.0"
    assert line.written().count("10 1100") == 1


def test_coefficients_that_somebody_changed_meanwhile_are_left_alone() -> None:
    line = Line(load("yosemitech-y551"))
    words = line.tell("read_coefficients", parameter="cod")["words"]
    line.tell("write_coefficients", parameter="cod", slope=3, intercept=0, words=words)
    with pytest.raises(
        NotTaken, match=r"are not those of the beginning of this calibration.*cancel it and begin again"
    ):
        line.tell("write_coefficients", parameter="cod", slope=2, intercept=1, words=words)
    assert line.tell("read_coefficients", parameter="cod")["slope"] == "3.0"


@pytest.mark.parametrize("event", ["stubborn", "refuses"])
def test_an_instrument_that_does_not_take_them_keeps_the_former_ones(event: str) -> None:
    """It acknowledges and reads back another value, or refuses: one sentence, and K and B are what they were."""
    line = Line(load("yosemitech-y551"))
    before = line.shows("cod")
    words = line.tell("read_coefficients", parameter="cod")["words"]
    line.unit.happen(event)
    said = r"probe: does not take 1.25, -3 \(.*\); its former coefficients 1, 0 are in force"
    with pytest.raises(NotTaken, match=said):
        line.tell("write_coefficients", parameter="cod", slope=1.25, intercept=-3, words=words)
    line.unit.recover()
    assert line.tell("read_coefficients", parameter="cod")["words"] == words
    assert line.shows("cod") == pytest.approx(before)


def test_another_number_read_back_is_replaced_by_the_former_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument takes half of what was written: it is put back, and said."""
    line = Line(load("yosemitech-y551"))
    words = line.tell("read_coefficients", parameter="cod")["words"]
    taken = line.unit._write

    def clumsy(request: bytes) -> bytes:
        reply = taken(request)
        if struct.unpack("<f", request[7:11])[0] == 1.25:
            line.unit._written[0x1102], line.unit._written[0x1103] = 0, 0x8040  # 4.0
        return reply

    monkeypatch.setattr(line.unit, "_write", clumsy)
    with pytest.raises(NotTaken, match=r"reads back 1.25, 4\); its former coefficients 1, 0 are in force"):
        line.tell("write_coefficients", parameter="cod", slope=1.25, intercept=-3, words=words)
    assert line.tell("read_coefficients", parameter="cod")["words"] == words


def test_a_line_that_dies_in_the_write_is_said_with_what_belongs_there() -> None:
    """Nobody knows whether it was taken; when it answers again, cancelling puts the former ones back."""
    line = Line(load("yosemitech-y551"))
    words = line.tell("read_coefficients", parameter="cod")["words"]
    dead: list[bytes] = []

    def cut(request: bytes) -> bool:
        if request[1] == 16:
            line.unit.answer(request)  # it arrives, and its reply does not
            dead.append(request)
        return bool(dead)

    line.lose = cut
    with pytest.raises(NotRestored, match=r"it is not known whether the former ones are in force.*1, 0 belong there"):
        line.tell("write_coefficients", parameter="cod", slope=1.25, intercept=-3, words=words)
    line.lose = lambda _: False
    line.time.now += 30
    assert line.tell("read_coefficients", parameter="cod")["slope"] == "1.25"
    assert line.tell("restore_coefficients", parameter="cod", words=words)["slope"] == "1.0"


def test_a_reply_that_is_lost_alone_leaves_the_former_ones() -> None:
    line = Line(load("yosemitech-y551"))
    words = line.tell("read_coefficients", parameter="cod")["words"]
    lost: list[bytes] = []

    def once(request: bytes) -> bool:
        if request[1] == 16 and not lost:
            line.unit.answer(request)
            lost.append(request)
            return True
        return False

    line.lose = once
    with pytest.raises(NotTaken, match="its former coefficients 1, 0 are in force"):
        line.tell("write_coefficients", parameter="cod", slope=1.25, intercept=-3, words=words)
    assert line.tell("read_coefficients", parameter="cod")["words"] == words


LOCKED = """
[[unlock]]
do = "write"
address = 5
values = [0x5AA5]
[[lock]]
do = "write"
address = 5
values = [0]
[[coefficients]]
parameters = ["humidity"]
function = 6
intercept = { address = 20, type = "i16", scale = 0.1 }
"""


def test_registers_behind_a_lock_are_unlocked_written_and_locked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when they are refused; an intercept alone, in tenths, with function 6."""
    profile = parse(THERMOMETER + LOCKED, "thermometer")
    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    line = Line(profile)
    line.tell("write_coefficients", parameter="humidity", intercept=-1.5)
    assert line.written() == ["10 0005", "06 0014", "10 0005"]
    assert (line.shows("humidity"), line.unit.unlocked) == (pytest.approx(54.8), False)
    line.unit.happen("refuses")
    with pytest.raises(NotTaken, match="exception 4"):
        line.tell("write_coefficients", parameter="humidity", intercept=2)
    assert (line.unit.unlocked, line.written()[-1]) == (False, "10 0005")
    with pytest.raises(DeviceError, match="intercept 99999 does not fit its register"):
        line.tell("write_coefficients", parameter="humidity", intercept=99999)
    with pytest.raises(DeviceError, match="keeps no coefficients of air_temperature in registers"):
        line.tell("write_coefficients", parameter="air_temperature", intercept=1)
    with pytest.raises(DeviceError, match="do not fit its registers; nothing was written"):
        line.tell("restore_coefficients", parameter="humidity", words="00")


def test_a_lock_that_is_lost_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument refuses what is written, and its lock does not arrive: it is locked before anybody is told."""
    profile = parse(THERMOMETER + LOCKED, "thermometer")
    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    line = Line(profile)
    lost: list[bytes] = []

    def first_lock(request: bytes) -> bool:
        if request[1] == 16 and request[-4:-2] == b"\x00\x00" and not lost:
            lost.append(request)
            return True
        return False

    answered = line.unit.answer

    def refusing(request: bytes) -> bytes | None:
        if request[1] != 6:
            return answered(request)
        refusal = bytes((request[0], 0x86, 4))
        return refusal + crc16(refusal)

    monkeypatch.setattr(line.unit, "answer", refusing)
    line.lose = first_lock
    with pytest.raises(NotTaken):
        line.tell("write_coefficients", parameter="humidity", intercept=2)
    assert (len(lost), line.unit.unlocked) == (1, False)


def test_an_instrument_that_a_power_cut_left_unlocked_is_locked_when_it_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is left to write, or to put back: it is locked all the same."""
    profile = parse(THERMOMETER + LOCKED, "thermometer")
    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    line = Line(profile)
    words = line.tell("read_coefficients", parameter="humidity")["words"]
    for verb, more in (("restore_coefficients", {}), ("write_coefficients", {"intercept": 0.0})):
        line.unit.unlocked = True
        line.tell(verb, parameter="humidity", words=words, **more)
        assert line.unit.unlocked is False


def test_an_action_whose_lock_is_lost_is_locked_by_a_second_try() -> None:
    line = Line(load("rs485-load-cell"))
    lost: list[bytes] = []

    def first_lock(request: bytes) -> bool:
        if request == bytes.fromhex("01 10 00 05 00 01 02 00 00 A6 05") and not lost:
            lost.append(request)
            return True
        return False

    line.lose = first_lock
    line.tell(type="zero", parameter="collector_mass", standard=0)
    assert (len(lost), line.unit.unlocked) == (1, False)


def test_a_number_that_is_none_is_never_written() -> None:
    line = Line(load("yosemitech-y551"))
    with pytest.raises(DeviceError, match="slope nan does not fit its register"):
        line.tell("write_coefficients", parameter="cod", slope="nan", intercept=0)
    assert "10 1100" not in line.written()


def test_a_locked_instrument_takes_nothing_from_whoever_does_not_unlock_it() -> None:
    profile = parse(THERMOMETER + LOCKED, "thermometer")
    unit = EmulatedUnit(profile)
    body = bytes.fromhex("01 06 00 14 00 05")
    assert unit.answer(body + crc16(body)) == bytes.fromhex("01 86 02 C3 A1")


def test_three_buffers_calibrate_a_ph_probe_in_itself() -> None:
    """4.00, 6.86, 9.18: after the first two it says that there are fewer than three, after the last that it is done."""
    line = Line(load("yosemitech-y532"), ph=3.6)
    kept = line.tell("read_coefficients", parameter="ph")
    assert kept["numbers"] == "6.86 -6.72 0.04 6.86 -6.56 -1.04"
    for number, (shown, buffer) in enumerate([(3.6, 4.00), (6.46, 6.86), (8.78, 9.18)], 1):
        line.values["ph"] = shown
        line.tell(parameter="ph", type="point", number=number, standard=buffer, last="yes" if number == 3 else "no")
    assert line.shows("ph") == pytest.approx(9.18)
    line.values["ph"] = 6.46
    assert line.shows("ph") == pytest.approx(6.86, abs=1e-6)
    assert line.tell("read_coefficients", parameter="ph")["words"] != kept["words"]
    line.tell("restore_coefficients", parameter="ph", words=kept["words"])
    assert line.shows("ph") == pytest.approx(6.46, abs=1e-6)


@pytest.mark.parametrize(
    ("standard", "verdict", "said"),
    [
        (5.0, None, "probe: says 1 of its calibration: no such standard; its former calibration is in force"),
        (4.0, 4, "probe: says 4 of its calibration: coefficients out of range; its former calibration is in force"),
        (4.0, 7, "probe: says 7 of its calibration: 0 would be good; its former calibration is in force"),
        (4.0, None, "probe: says 2 of its calibration: fewer than three points; its former calibration is in force"),
    ],
)
def test_what_a_probe_says_against_a_buffer_is_said(standard: float, verdict: int | None, said: str) -> None:
    line = Line(load("yosemitech-y532"), ph=3.6)
    line.unit.calibrator.verdict = verdict
    with pytest.raises(DeviceError) as caught:
        line.tell(parameter="ph", type="point", number=3, standard=standard, last="yes")
    assert str(caught.value) == said
    assert line.shows("ph") == pytest.approx(3.6)


@pytest.mark.parametrize(("name", "parameter"), [("aqualabo-pheht", "ph"), ("aqualabo-optod", "oxygen_saturation")])
def test_an_aqualabo_probe_goes_through_its_steps(name: str, parameter: str) -> None:
    """Clear, average 25, offset and its bit, slope and its bit, confirmed with person and date; nothing before that."""
    line = Line(load(name), **{parameter: 4.4})
    line.tell(parameter=parameter, type="begin")
    line.tell(parameter=parameter, type="point", number=1, standard=4.0)
    line.values[parameter] = 9.4
    line.tell(parameter=parameter, type="point", number=2, standard=10.0)
    assert line.shows(parameter) == pytest.approx(9.4)
    del line.port.written[:]
    line.tell(parameter=parameter, type="end", **HERE)
    assert line.written() == ["10 028E", "10 0296", "10 014C", "06 004C", "06 00AA"]
    assert line.port.written[0][1][7:23] == b"Wang Fang       "
    assert line.shows(parameter) == pytest.approx(10.0)
    line.values[parameter] = 4.4
    assert line.shows(parameter) == pytest.approx(4.0)


def test_an_aqualabo_probe_that_is_cancelled_stays_as_it_was() -> None:
    line = Line(load("aqualabo-pheht"), ph=4.4)
    line.tell(parameter="ph", type="begin")
    line.tell(parameter="ph", type="point", number=1, standard=4.0)
    line.tell(parameter="ph", type="cancel")
    line.tell(parameter="ph", type="end", **HERE)
    assert line.shows("ph") == pytest.approx(4.4)
    with pytest.raises(DeviceError, match="is told the operator of a calibration, and none was given"):
        line.tell(parameter="ph", type="end")


def test_the_weight_on_a_load_cell_is_told_with_its_decimals() -> None:
    """100 g are 10000 in hundredths; an empty pan first, and what lies there then shows 100."""
    line = Line(load("rs485-load-cell"), collector_mass=3.0)
    line.tell(parameter="collector_mass", type="zero")
    assert line.shows("collector_mass") == 0
    line.values["collector_mass"] = 83.0
    line.tell(parameter="collector_mass", type="span", standard=100)
    told = next(f for _, f in line.port.written if f[1] == 16 and f[2:4] == b"\0\x2a")
    assert told[7:11] == (10000).to_bytes(4, "big")
    assert line.shows("collector_mass") == pytest.approx(100, abs=0.01)
    assert not line.unit.unlocked


@pytest.mark.parametrize("standard", ["", "much", "1e12"])
def test_a_value_that_cannot_be_told_is_not_written(standard: str) -> None:
    line = Line(load("rs485-load-cell"))
    with pytest.raises(DeviceError, match=r"cannot be written|none was given"):
        line.tell(parameter="collector_mass", type="span", standard=standard)
    assert line.written() == []


def test_a_platforms_command_reaches_no_point_and_no_coefficient() -> None:
    """Its types are zero and span; a span that wants a value is refused before anything is written."""
    line = Line(load("yosemitech-y532"))
    for half in ("", "zero", "span"):
        with pytest.raises(DeviceError, match="has no way to calibrate"):
            line.tell(parameter="ph", **({"type": half} if half else {}))
    cell = Line(load("rs485-load-cell"))
    with pytest.raises(DeviceError, match="is told the standard of a calibration, and none was given"):
        cell.tell(parameter="collector_mass", type="span")
    assert (line.written(), cell.written()) == ([], [])


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.toml")))
def test_no_poll_writes_what_calibrates(name: str) -> None:
    """Registers of coefficients and whatever an action calibrates with are protected from every poll."""
    profile = load(name)
    for step in profile.steps:
        assert profile.refusal(step) is None
    for first, last in profile.coefficient_spans:
        text = f'\n[[step]]\ndo = "write"\nwhen = "before"\naddress = {last}\nvalues = [0]\n'
        source = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").partition("\n[[frame]]")[0]
        with pytest.raises(ProfileError, match="which only an action may"):
            parse(source + text, name)
        assert first <= last


def test_polls_of_an_instrument_that_can_be_calibrated_write_nothing() -> None:
    line = Line(load("yosemitech-y551"))
    for _ in range(5):
        line.shows("cod")
    assert line.written() == []


def test_silence_and_refusal_in_a_point_are_passed_on() -> None:
    line = Line(load("yosemitech-y532"))
    line.unit.happen("refuses")
    with pytest.raises(DeviceException, match="exception 4"):
        line.tell(parameter="ph", type="point", number=1, standard=4.0, last="no")
    line.lose = lambda _: True
    with pytest.raises(NoReply):
        line.tell("read_coefficients", parameter="ph")


def test_what_an_instrument_can_be_told_is_known_without_asking_it() -> None:
    ph = Line(load("yosemitech-y532")).device.calibrating("ph")
    assert (ph["points"], ph["standards"], ph["settle_seconds"], ph["saved"]) == (3, [4.0, 6.86, 9.18], 60, True)
    assert Line(load("yosemitech-y551")).device.calibrating("cod")["writes"] == ["slope", "intercept"]
    assert Line(load("yosemitech-y551")).device.calibrating("so2") == {}
    aqualabo = Line(load("aqualabo-pheht")).device.calibrating("ph")
    assert (aqualabo["points"], aqualabo["stages"]) == (2, ["begin", "cancel", "end"])
    cell = Line(load("rs485-load-cell")).device.calibrating("collector_mass")
    assert (cell["halves"], cell["wants_value"], cell["points"]) == (["zero", "span"], ["span"], None)


POINT = '[[action]]\nverb = "calibrate"\ntype = "point"\nparameters = ["humidity"]\n'


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (POINT + 'address = 1\nvalues = [1]\nnumber = 2', "action[0].number: points are numbered from 1"),
        ('[[action]]\nverb = "calibrate"\ntype = "begin"\naddress = 1\nvalues = [1]', "action[0].type: begin wants a"),
        ('[[action]]\nverb = "clean"\nnumber = 1\naddress = 1', "action[0].number: only a point has one"),
        (POINT + 'step = [{ do = "write", address = 1, given = "name" }]', 'action[0].step[0].given: "name" is not'),
        (POINT + 'step = [{ do = "write", address = 1, given = "standard", values = [1] }]', "values: either values"),
        (POINT + 'step = [{ do = "write", address = 1, given = "operator" }]', "type: operator is a text (ascii)"),
        (POINT + 'step = [{ do = "write", address = 1, given = "standard", type = "ascii" }]', "standard is a number"),
        (POINT + 'step = [{ do = "write", address = 1, given = "operator", type = "ascii" }]', "length: missing"),
        (POINT + 'step = [{ do = "write", address = 1, given = "standard", type = "f32", function = 6 }]',
         "function: 6 does not write 2 register(s)"),
        (POINT + 'step = [{ do = "write", address = 1, given = "standard", example = 70000 }]', "more than u16 holds"),
        (POINT + 'step = [{ do = "expect", address = 1 }]', "value: missing; expect needs it"),
        (POINT + 'step = [{ do = "expect", address = 1, value = 0, says = { no = "x" } }]', "is not a table such as"),
        ('[[action]]\nverb = "clean"\nstep = [{ do = "expect", address = 1, value = 0 }]', "only calibrate is given"),
        ('[[step]]\ndo = "expect"\nwhen = "before"\naddress = 1\nvalue = 0', "do: only a step of an action expects"),
        ('[[step]]\ndo = "write"\nwhen = "before"\naddress = 1\ngiven = "standard"', "given: only a step of an action"),
        ('[[coefficients]]\nparameters = ["humidity"]', "coefficients[0].slope: missing"),
        ('[[coefficients]]\nparameters = ["cod"]\nslope = { address = 9 }', "no register gives 'cod'"),
        ('[[coefficients]]\nparameters = ["humidity"]\nslope = { address = 9, table = "input" }', "whole holding"),
        ('[[coefficients]]\nparameters = ["humidity"]\nslope = { address = 9, type = "f32" }\nfunction = 6',
         "6 writes one register, f32 takes 2"),
        ('[[coefficients]]\nparameters = ["humidity"]\nslope = { address = 9, type = "f32" }\n'
         'intercept = { address = 10 }', "its registers overlap"),
        ('[[coefficients]]\nparameters = ["humidity"]\nslope = { address = 9 }\nsaved = [{ address = 11 }]',
         "saved: only of an instrument that computes"),
        ('[[coefficients]]\nparameters = ["humidity"]\nslope = { address = 9 }\n'
         '[[coefficients]]\nparameters = ["humidity"]\nslope = { address = 12 }', "humidity has some already"),
    ],
)  # fmt: skip
def test_a_calibration_that_cannot_be_is_a_fault_of_the_profile(lines: str, fault: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse(f"{THERMOMETER}\n{lines}\n", "thermometer")
    assert fault in str(caught.value)
