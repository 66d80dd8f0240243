"""What a poll does beside reading: steps, waits, wipers, sleep, means and locks, driver against emulated instrument."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import BusSettings, DeviceError, DeviceException, NoReply, NotReady, ProfileError
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus
from drivers.line import crc16
from drivers.modbus import ModbusDevice, ModbusSettings, Window
from drivers.profile import SHIPPED, Profile, load, parse
from station.model import Mark, Reason, Sample, replace
from tests.drivers import fakes
from tests.drivers.fakes import NOON, THERMOMETER, FakePort, FakeTime
from tests.drivers.test_modbus import DirectBus, marks
from tests.drivers.test_profile import faults


def framed(text: str) -> bytes:
    body = bytes.fromhex(text)
    return body + crc16(body)


def rig(
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Profile], Profile] = lambda profile: profile,
    **keys: object,
) -> tuple[ModbusDevice, DirectBus]:
    """The profile *text* as an emulated unit on a bus without a line, both with one clock that only sleeping moves."""
    profile = change(parse(text, "mine"))
    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    bus = DirectBus(EmulatedUnit(profile, 1))
    bus.unit._monotonic = bus.time.monotonic
    settings = ModbusSettings(name="it", point="p", profile="mine", unit_id=1, **keys)
    return ModbusDevice(settings, bus, (), lambda: NOON + timedelta(seconds=bus.time.now)), bus


def until_values(device: ModbusDevice, bus: DirectBus, most: int = 50) -> list[Sample]:
    """Call read as a poller does that comes back when the instrument wants it."""
    for _ in range(most):
        if samples := device.read():
            return samples
        assert device.pending_seconds is not None
        bus.time.now += device.pending_seconds
    raise AssertionError("no values")


AQUALABO = """
title = "digital probe"
baudrate = 9600
stopbits = 2
unit_id = 30
[[register]]
parameter = "water_temperature"
table = "holding"
address = 0x0053
type = "f32"
unit = "°C"
example = 17.625
[[register]]
parameter = "conductivity"
table = "holding"
address = 0x0055
type = "f32"
unit = "µS/cm"
example = 437.5
[[step]]
do = "write"
when = "before"
function = 6
address = 0x0001
values = [0x1F]
[[step]]
do = "wait"
when = "before"
address = 0x00A4
times = 2
example = 400
"""


def test_a_probe_that_tells_its_own_waiting_time_is_written_to_waited_for_and_read(monkeypatch):
    device, bus = rig(AQUALABO, monkeypatch)
    assert device.read() == []
    assert device.pending_seconds == pytest.approx(0.8)
    assert [s.value for s in until_values(device, bus)] == [17.625, 437.5]
    assert bus.sent == [bytes.fromhex("01 06 00 01 00 1F")]


def test_the_line_is_free_while_a_probe_measures(monkeypatch):
    """A wait of 0.8 s is not slept: read comes back at once, and goes on when it is called after the wait."""
    device, bus = rig(AQUALABO, monkeypatch)
    before = bus.time.now
    assert device.read() == []
    assert bus.time.now == before
    asked = bus.asked
    assert device.read() == []
    assert bus.asked == asked


def test_a_probe_that_was_not_told_to_measure_has_no_values():
    unit = EmulatedUnit(parse(AQUALABO, "probe"), 30)
    told = framed("1E 06 00 01 00 1F")
    assert told == bytes.fromhex("1E 06 00 01 00 1F 9B AD")
    read = bytes.fromhex("1E 03 00 53 00 04 B6 17")
    assert unit.answer(read) == framed("1E 03 08" + " 00" * 8)
    assert unit.answer(told) == told
    assert unit.answer(read) == framed("1E 03 08 41 8D 00 00 43 DA C0 00")


YOSEMITECH = """
title = "probe with start and stop"
baudrate = 9600
unit_id = 1
bridge_gaps = false
[[register]]
parameter = "water_temperature"
table = "holding"
address = 0x2600
type = "f32"
order = "DCBA"
unit = "°C"
example = 17.625
[[register]]
parameter = "turbidity"
table = "holding"
address = 0x2602
type = "f32"
order = "DCBA"
unit = "NTU"
example = 17.625
[[status]]
table = "holding"
address = 0x2604
mask = 0xFF00
value = 0xFF00
mark = "D"
reason = "wiper in the wrong place"
[[step]]
do = "read"
when = "start"
address = 0x2500
count = 0
[[action]]
verb = "clean"
address = 0x3100
parameters = ["turbidity"]
hold_seconds = 20
"""


def test_the_older_start_of_a_probe_reads_no_registers_and_is_answered_with_no_bytes():
    profile = parse(YOSEMITECH, "probe")
    time, unit = FakeTime(), EmulatedUnit(profile)
    port = FakePort(time, lambda request: [(0.02, unit.answer(request))])
    bus = fakes.bus_with(port, time)
    (start,) = profile.steps
    assert bus.raw(1, start.function, start.request[1:], profile) == b"\0"
    assert port.written[0][1] == bytes.fromhex("01 03 25 00 00 00 4E C6")
    assert unit.answer(port.written[0][1]) == bytes.fromhex("01 03 00 20 F0")


@pytest.mark.parametrize("filler", ["01 03 00", "01 03 02 00 00", "01 03 04 01 02 03 04"])
def test_a_start_may_be_answered_with_any_filler(filler):
    time = FakeTime()
    port = FakePort(time, lambda request: [(0.02, framed(filler))])
    bus, profile = fakes.bus_with(port, time), parse(YOSEMITECH, "probe")
    assert bus.raw(1, 3, bytes.fromhex("25 00 00 01"), profile) == bytes.fromhex(filler)[2:]


def test_a_probe_is_started_once_and_again_after_it_was_silent(monkeypatch):
    device, bus = rig(YOSEMITECH, monkeypatch)
    start = bytes.fromhex("01 03 25 00 00 00")
    for _ in range(3):
        assert [s.value for s in device.read()] == [17.625, 17.625]
    assert bus.sent == [start]
    bus.unit.fail("silent")
    for _ in range(2):
        with pytest.raises(NoReply):
            device.read()
    bus.unit.recover()
    bus.unit.power_cycle()
    assert [s.value for s in device.read()] == [17.625, 17.625]
    assert bus.sent == [start, start]


def test_values_are_not_read_while_the_wiper_spoils_them_and_carry_no_mark(monkeypatch):
    device, bus = rig(YOSEMITECH, monkeypatch)
    device.read()
    device.act("clean", {})
    assert bus.sent[-1] == bytes.fromhex("01 10 31 00 00 00 00")
    assert bus.unit.answer(framed("01 03 26 00 00 04")) == framed("01 03 08 00 00 8D 41 00 E0 18 43")
    bus.time.now += 19.9
    assert {s.parameter: s.mark for s in device.read()} == {"water_temperature": Mark.N}
    bus.time.now += 0.2
    assert [(s.value, s.mark) for s in device.read()] == [(17.625, Mark.N)] * 2
    assert device.patience_seconds == 20 + 2 * 5


def test_what_can_happen_to_an_emulated_instrument_is_seen_and_undone(monkeypatch):
    device, bus = rig(YOSEMITECH, monkeypatch)
    device.read()
    bus.unit.happen("wiper")
    assert [s.value for s in device.read()] == [17.625, 152.875]  # the station does not know, and so no mark
    bus.time.now += 20
    bus.unit.happen("trouble")
    assert device.read()
    assert device.conditions == ("wiper in the wrong place",)
    bus.unit.recover()
    assert device.read()
    assert device.conditions == ()
    bus.unit.happen("power-cycle")
    assert not bus.unit.measuring


def test_a_wiper_that_is_stuck_is_a_mark(monkeypatch):
    device, bus = rig(YOSEMITECH, monkeypatch)
    bus.unit.report("wiper in the wrong place")
    assert marks(device.read()) == {(Mark.D, Reason.STATUS)}


def test_the_station_starts_the_wiper_itself_where_it_is_told_how_often(monkeypatch):
    device, bus = rig(YOSEMITECH, monkeypatch, clean_minutes=30)
    assert device.read() == []
    assert bus.unit.acted == ["clean"]
    bus.time.now += 21
    assert len(device.read()) == 2
    bus.time.now += 1800
    assert device.read() == []
    assert bus.unit.acted == ["clean", "clean"]


OWN = YOSEMITECH + 'interval = { address = 0x3200, order = "BA", example = 30 }\n'


def test_a_wiper_that_runs_by_its_own_clock_as_well_is_said_once(monkeypatch, caplog):
    """Yosemitech 0x3200, minutes, the low byte first; without clean_minutes it is nobody's business."""
    asked = framed("01 03 32 00 00 01")
    assert EmulatedUnit(parse(OWN, "probe")).answer(asked) == bytes.fromhex("01 03 02 1E 00 B1 E4")
    device, bus = rig(OWN, monkeypatch, clean_minutes=30)
    for _ in range(3):
        device.read()
        bus.time.now += 21
    said = "its wiper runs every 30 min by its own clock too, and spoils readings unseen"
    assert device.hints == (said,)
    assert caplog.messages.count(f"device it: {said}") == 1
    device, _ = rig(OWN, monkeypatch)
    device.read()
    assert device.hints == ()


def test_an_instrument_at_its_wiper_refuses_to_be_told_more(monkeypatch):
    device, bus = rig(YOSEMITECH, monkeypatch)
    device.act("clean", {})
    with pytest.raises(DeviceException, match="exception 6"):
        device.act("clean", {})
    bus.time.now += 21
    device.act("clean", {})
    assert bus.unit.acted == ["clean", "clean"]


PARTICLES = """
title = "particles with a mode"
baudrate = 9600
unit_id = 1
[[register]]
parameter = "pm25"
table = "input"
address = 8
type = "u16"
unit = "µg/m³"
example = 41
[[step]]
do = "write"
when = "before"
address = 0
function = 6
values = [2]
[[step]]
do = "until"
when = "before"
table = "input"
address = 4
mask = 0x0F
value = 2
seconds = 5
every_seconds = 1
example = 2500
[[step]]
do = "write"
when = "after"
address = 0
function = 6
values = [4]
"""


def test_a_state_is_asked_for_until_it_is_there_and_the_instrument_is_stopped_again(monkeypatch):
    device, bus = rig(PARTICLES, monkeypatch)
    began = bus.time.now
    assert [s.value for s in until_values(device, bus)] == [41]
    assert bus.time.now - began == 3
    assert [body[-1] for body in bus.sent] == [2, 4]
    assert not bus.unit.measuring


def test_a_state_that_does_not_come_in_time_is_said_and_the_instrument_is_stopped(monkeypatch):
    device, bus = rig(PARTICLES.replace("example = 2500", "example = 60000"), monkeypatch)
    with pytest.raises(NotReady, match=r"^it: input register 4 reads 3, and was not 2 within 5 s$") as caught:
        until_values(device, bus)
    assert caught.value.reason is Reason.NOT_READY
    assert bus.sent[-1][-1] == 4


def test_a_state_that_is_asked_for_often_does_not_keep_the_line_from_the_others(monkeypatch):
    """However short the pauses, a read gives the line back after half a second of them."""
    often = PARTICLES.replace("every_seconds = 1\n", "every_seconds = 0.5\n")
    for before, after in (("seconds = 5\n", "seconds = 3600\n"), ("example = 2500", "example = 600000")):
        often = often.replace(before, after)
    device, bus = rig(often, monkeypatch)
    began = bus.time.now
    assert device.read() == []
    assert bus.time.now - began <= 0.5
    assert device.pending_seconds == 0.5


def test_a_measurement_that_was_begun_before_the_line_was_lost_for_long_is_begun_anew(monkeypatch):
    device, bus = rig(PARTICLES, monkeypatch)
    assert device.read() == []
    bus.time.now += 7200  # the port is gone, and comes back
    bus.sent.clear()
    assert [s.value for s in until_values(device, bus)] == [41]
    assert [body[-1] for body in bus.sent] == [2, 4]


LOCKED = """
title = "load cell"
baudrate = 9600
unit_id = 1
protected = [[38, 49], [84, 104]]
[[register]]
parameter = "collector_mass"
table = "holding"
address = 30
type = "i32"
unit = "g"
decimals = { address = 8, example = 2 }
example = 3.54
[[unlock]]
do = "write"
address = 5
values = [0x5AA5]
[[lock]]
do = "write"
address = 5
values = [0]
[[action]]
verb = "calibrate"
type = "zero"
address = 38
values = [0, 0]
verify = true
"""


def test_a_protected_register_is_written_between_unlock_and_lock_and_read_back(monkeypatch):
    device, bus = rig(LOCKED, monkeypatch)
    assert [s.value for s in device.read()] == [3.54]
    device.act("calibrate", {"type": "zero"})
    assert [framed(body.hex()).hex(" ").upper() for body in bus.sent[:2]] == [
        "01 10 00 05 00 01 02 5A A5 5C DE",
        "01 10 00 26 00 02 04 00 00 00 00 71 9D",
    ]
    assert bus.sent[2] == bytes.fromhex("01 10 00 05 00 01 02 00 00")
    assert bus.unit.acted == ["calibrate"]
    assert not bus.unit.unlocked


def test_an_emulated_instrument_refuses_what_is_protected_until_it_is_unlocked():
    unit = EmulatedUnit(parse(LOCKED, "cell"))
    zero, unlock = framed("01 10 00 26 00 02 04 00 00 00 00"), framed("01 10 00 05 00 01 02 5A A5")
    refused = framed("01 90 02")
    assert unit.answer(zero) == refused
    assert unit.answer(framed("01 06 00 5E 00 01")) == framed("01 86 02")
    assert unit.answer(unlock) == bytes.fromhex("01 10 00 05 00 01 11 C8")
    assert unit.answer(zero) == bytes.fromhex("01 10 00 26 00 02 A0 03")
    unit.power_cycle()
    assert unit.answer(zero) == refused


def test_what_reads_back_differently_is_said_and_the_instrument_is_locked_all_the_same(monkeypatch):
    device, bus = rig(LOCKED, monkeypatch)
    bus.read = lambda unit_id, request, profile: bytes(3) + b"\7"
    with pytest.raises(
        DeviceError, match="it: holding registers 38–39 reads 00 00 00 07 after 00 00 00 00 was written"
    ):
        device.act("calibrate", {"type": "zero"})
    assert not bus.unit.unlocked


def test_a_coil_is_the_key_of_some_instruments(monkeypatch):
    text = LOCKED.replace("address = 5\nvalues = [0x5AA5]", "function = 5\naddress = 1\nvalues = [1]")
    device, bus = rig(text.replace("address = 5\nvalues = [0]", "function = 5\naddress = 1\nvalues = [0]"), monkeypatch)
    device.act("calibrate", {"type": "zero"})
    assert bus.sent[0] == bytes.fromhex("01 05 00 01 FF 00")
    assert bus.sent[2] == bytes.fromhex("01 05 00 01 00 00")


def test_no_poll_ever_writes_what_is_protected(monkeypatch):
    """The profile's check refuses it; a driver that was given such a profile all the same refuses too."""
    step = '[[step]]\ndo = "write"\nwhen = "before"\naddress = 40\nvalues = [1]\n'
    said = "step[0].address: a poll would write register 40, which only an action may"
    assert faults(LOCKED + step) == [said]
    calibrated = LOCKED.replace("protected = [[38, 49], [84, 104]]", "")
    assert faults(calibrated + step.replace("40", "39")) == [said.replace("40", "39")]
    assert faults(LOCKED + step.replace("40", "5")) == [
        "step[0].address: a poll would write 5, which unlocks the instrument"
    ]
    careless = LOCKED + step.replace("40", "20")
    device, bus = rig(careless, monkeypatch, lambda profile: replace(profile, protected=((20, 20),)))
    with pytest.raises(ProfileError, match="it: a poll would write register 20, which only an action may"):
        device.read()
    assert bus.sent == []


@pytest.mark.parametrize(
    ("action", "step", "fault"),
    [
        (
            "function = 5\naddress = 7\nvalues = [1]\n",
            'do = "write"\nfunction = 5\naddress = 7\nvalues = [1]\n',
            "step[0].address: a poll would write coil 7, which only an action may",
        ),
        (
            '[[action.step]]\ndo = "raw"\nfunction = 0x41\ndata = "37 21"\nanswer_bytes = 2\n',
            'do = "raw"\nfunction = 0x41\ndata = "37 21"\nanswer_bytes = 2\n',
            "step[0].function: a poll would send function 65, which only an action may",
        ),
    ],
)
def test_no_poll_does_by_a_coil_or_a_code_of_its_own_what_calibrates(action, step, fault, monkeypatch):
    calibrated = THERMOMETER + f'[[action]]\nverb = "calibrate"\ntype = "zero"\n{action}'
    assert faults(f'{calibrated}[[step]]\nwhen = "before"\n{step}') == [fault]
    harmless = calibrated.replace('"calibrate"\ntype = "zero"', '"start_check"')
    careless = f'{harmless}[[step]]\nwhen = "before"\n{step}'

    def calibrate(profile: Profile) -> Profile:
        return replace(profile, actions=tuple(replace(one, verb="calibrate") for one in profile.actions))

    device, bus = rig(careless, monkeypatch, calibrate)
    with pytest.raises(ProfileError, match=fault.partition(": ")[2]):
        device.read()
    assert bus.sent == []
    cleaned = calibrated + f'[[action]]\nverb = "clean"\n{action}'
    with pytest.raises(ProfileError, match="cleaning writes protected registers, which no poll may"):
        rig(cleaned, monkeypatch, clean_minutes=30)


def test_a_coil_or_a_read_of_nothing_is_no_protected_register():
    profile = parse(LOCKED, "cell")
    assert not profile.protects(profile.unlock[0])
    assert profile.protects(profile.actions[0].writes[0])


# -- sleep


SLEEPER = "sleep_seconds = 5\n" + THERMOMETER


def test_the_first_request_after_an_idle_time_is_repeated_and_no_failure(monkeypatch):
    device, bus = rig(SLEEPER, monkeypatch)
    assert len(device.read()) == 2
    assert bus.excused == 1
    bus.time.now += 4
    device.read()
    assert bus.excused == 1
    bus.time.now += 6
    device.read()
    assert bus.excused == 2


def test_an_instrument_that_stays_silent_is_woken_once_and_then_missed(monkeypatch):
    device, bus = rig(SLEEPER, monkeypatch)
    bus.unit.fail("silent")
    with pytest.raises(NoReply):
        device.read()
    assert bus.asked == 2


def test_an_instrument_is_woken_by_a_read_so_that_no_write_is_sent_twice(monkeypatch):
    """Of a write without a reply nobody knows whether it was done; a calibration is not done twice for a nap."""
    action = '[[action]]\nverb = "clean"\naddress = 9\nvalues = [1]\n'
    device, bus = rig(SLEEPER + action, monkeypatch)
    device.read()
    bus.time.now += 60
    device.act("clean", {})
    assert bus.sent == [bytes.fromhex("01 10 00 09 00 01 02 00 01")]
    assert bus.unit.acted == ["clean"]


def test_a_lost_first_request_is_no_time_out_of_the_unit(monkeypatch):
    profile = parse(SLEEPER, "mine")
    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    time = FakeTime()
    unit = EmulatedUnit(profile, monotonic=time.monotonic)

    def answers(request: bytes) -> list[tuple[float, bytes]]:
        reply = unit.answer(request)
        return [] if reply is None else [(0.02, reply)]

    bus = fakes.bus_with(FakePort(time, answers), time)
    device = ModbusDevice(ModbusSettings(name="it", point="p", profile="mine", unit_id=1), bus, (), lambda: NOON)
    assert len(device.read()) == 2
    assert (bus.statistics[1].timeouts, bus.statistics[1].woken) == (0, 1)


# -- means


TEN = "average_reads = 10\naverage_seconds = 1\n" + THERMOMETER


def test_a_value_is_the_mean_of_ten_reads_a_second_apart(monkeypatch):
    """Polls closer than that add a read each to those before; after a long pause the reads begin anew."""
    device, bus = rig(TEN, monkeypatch, poll_seconds=5)
    values = iter(range(100))
    bus.unit.values = lambda: {"air_temperature": float(next(values)), "humidity": 50.0}
    began = bus.time.now
    samples = until_values(device, bus)
    assert [s.value for s in samples] == [4.5, 50.0]
    assert bus.time.now - began == 9
    bus.time.now += 5
    assert device.read()[0].value == 5.5
    bus.time.now += 70
    assert device.read() == []


def test_polls_that_are_far_apart_have_a_mean_of_their_own_each(monkeypatch):
    device, bus = rig(TEN, monkeypatch, poll_seconds=30)
    values = iter(range(100))
    bus.unit.values = lambda: {"air_temperature": float(next(values)), "humidity": 50.0}
    found = []
    for _ in range(3):
        found.append(until_values(device, bus)[0].value)
        bus.time.now += 21
    assert found == [4.5, 14.5, 24.5]


def test_a_parameter_that_is_always_marked_does_not_hold_up_the_others(monkeypatch):
    text = TEN.replace("example = 56.3", "no_value = [0]\nexample = 56.3")
    device, bus = rig(text, monkeypatch, poll_seconds=30)
    bus.unit.values = {"humidity": None}
    temperature, humidity = until_values(device, bus)
    assert (temperature.value, temperature.mark) == (pytest.approx(21.5), Mark.N)
    assert (humidity.value, humidity.reason) == (None, Reason.NO_VALUE)


def test_the_mean_of_directions_goes_over_north_and_that_of_levels_is_of_energies():
    window = Window(2, 1, {"wind_direction": "°", "noise": "dB"})
    assert not window.add([Sample("wind_direction", NOON, 350.0), Sample("noise", NOON, 60.0)], 0)[1]
    (direction, noise), whole = window.add([Sample("wind_direction", NOON, 20.0), Sample("noise", NOON, 70.0)], 1)
    assert whole
    assert (round(direction.value, 9), round(noise.value, 2)) == (5.0, 67.4)


def test_a_marked_value_passes_by_itself_and_a_mean_never_holds_one():
    window = Window(2, 1, {})
    assert not window.add([Sample("x", NOON, 1.0)], 0)[1]
    bad = Sample("x", NOON, 99.0, Mark.T, Reason.ABOVE_RANGE)
    assert window.add([bad], 1) == ([bad], True)
    assert not window.add([Sample("x", NOON, 3.0)], 2)[1]
    (mean,), whole = window.add([Sample("x", NOON, 5.0)], 3)
    assert (mean.value, whole) == (4.0, True)


# -- raw exchanges


PZEM = """
title = "meter"
baudrate = 9600
unit_id = 1
[[register]]
parameter = "voltage_l1"
table = "input"
address = 0
type = "u16"
scale = 0.1
unit = "V"
example = 225.7
[[action]]
verb = "start_check"
[[action.step]]
do = "raw"
function = 0x42
answer_bytes = 0
"""
KELLER_BUS = (
    PZEM.replace("unit_id = 1", "unit_id = 1\ngeneral_address = 250\ncrc_high_first = true")
    .replace("0x42", "73")
    .replace("answer_bytes = 0", 'data = "01"\nanswer_bytes = 5')
)


def line_to(answers: dict[str, str]) -> tuple[Bus, FakePort]:
    time = FakeTime()
    known = {bytes.fromhex(asked): bytes.fromhex(said) for asked, said in answers.items()}
    port = FakePort(time, lambda request: [(0.02, known[request])])
    return fakes.bus_with(port, time), port


def test_a_meter_clears_its_energy_by_a_code_of_its_own_and_repeats_it():
    bus, port = line_to({"01 42 80 11": "01 42 80 11"})
    assert bus.raw(1, 0x42, b"", parse(PZEM, "meter"), answer_bytes=0) == b""
    assert len(port.written) == 1


def test_the_error_of_a_code_of_its_own_is_an_exception():
    bus, _ = line_to({"01 42 80 11": framed("01 C2 04").hex()})
    with pytest.raises(DeviceException, match=r"exception 4 \(device failure\) to function 66"):
        bus.raw(1, 0x42, b"", parse(PZEM, "meter"), answer_bytes=0)


@pytest.mark.parametrize(
    ("data", "asked", "said"),
    [
        ("01", "FA 49 01 A1 A7", "FA 49 3F 6D BA AC 00 1A 1B"),
        ("04", "FA 49 04 A2 67", "FA 49 41 C9 B8 00 00 E0 CC"),
    ],
)
def test_the_keller_bus_has_the_high_byte_of_its_crc_first(data, asked, said):
    bus, port = line_to({asked: said})
    profile = parse(KELLER_BUS, "level")
    answer = bus.raw(250, 73, bytes.fromhex(data), profile, answer_bytes=5)
    assert answer == bytes.fromhex(said)[2:-2]
    assert port.written[0][1] == bytes.fromhex(asked)


def test_a_raw_reply_with_a_wrong_crc_is_refused():
    bus, _ = line_to({"01 42 80 11": "01 42 80 12"})
    with pytest.raises(DeviceError, match="01 42 80 12 is not the reply to function 66"):
        bus.raw(1, 0x42, b"", parse(PZEM, "meter"), answer_bytes=0)


@pytest.mark.parametrize("text", [PZEM, KELLER_BUS], ids=["pzem", "keller"])
def test_an_emulated_line_serves_codes_of_the_makers_own(text, monkeypatch):
    """The whole way: action, raw exchange, pseudo-terminal, emulated unit."""
    profile: Profile = parse(text, "mine")
    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    unit = EmulatedUnit(profile)
    with EmulatedBus(115200, 10, [unit], pace=False) as line:
        bus = Bus(BusSettings(name="b", port=line.path, baudrate=115200, gap_ms=0))
        device = ModbusDevice(ModbusSettings(name="it", point="p", profile="mine", unit_id=1), bus, (), lambda: NOON)
        device.act("start_check", {})
        assert [s.value for s in device.read()] == [225.7]
        bus.close()
    assert unit.acted == ["start_check"]


# -- steps that contradict themselves


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ('do = "write"\nwhen = "before"', "step[0].address: missing; write needs it"),
        ('do = "wait"\nwhen = "before"', "step[0].seconds: a wait has either seconds or the address"),
        ('do = "wait"\nwhen = "before"\nseconds = 1\naddress = 5', "step[0].seconds: a wait has either"),
        ('do = "wait"\nwhen = "before"\nseconds = 1\nvalues = [1]', "step[0].values: wait has none"),
        ('do = "wait"\nseconds = 1', "step[0].when: missing; a step of a poll is at its start"),
        ('do = "until"\nwhen = "before"\naddress = 5', "step[0].value: missing; until needs it"),
        (
            'do = "until"\nwhen = "before"\naddress = 5\nmask = 1\nvalue = 2\nseconds = 1',
            "step[0].value: 2 has bits that the mask leaves out, and never comes",
        ),
        ('do = "raw"\nwhen = "before"\nfunction = 6', 'step[0].function: 6 is of the standard; do = "read"'),
        ('do = "read"\nwhen = "before"\naddress = 5\nfunction = 6', "step[0].function: 6 reads no registers"),
        ('do = "write"\nwhen = "before"\naddress = 5\nfunction = 7', "step[0].function: 7 writes nothing here"),
        ('do = "write"\nwhen = "before"\naddress = 5\nfunction = 5\nvalues = [2]', "step[0].values: function 5"),
        ('do = "jump"\nwhen = "before"', 'step[0].do: "jump" is not one of write, read, wait, until, raw'),
    ],
)
def test_a_step_that_contradicts_itself_is_named(lines, fault):
    found = faults(f"{THERMOMETER}[[step]]\n{lines}\n")
    assert any(line.startswith(fault) for line in found), found


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        ('[[unlock]]\ndo = "write"\naddress = 5\nvalues = [1]\n', "unlock: no action writes a protected register"),
        ('[[lock]]\ndo = "write"\naddress = 5\nvalues = [1]\n', "lock: there is no unlock before it"),
        (
            '[[unlock]]\ndo = "write"\nwhen = "before"\naddress = 5\n',
            "unlock[0].when: only the steps of a poll say when",
        ),
        ('[[action]]\nverb = "clean"\n', "action[0].address: missing; an action writes something, or has steps"),
        (
            '[[action]]\nverb = "clean"\naddress = 1\n[[action.step]]\ndo = "wait"\nseconds = 1\n',
            "action[0].address: an action has steps or one write, not both",
        ),
        (
            '[[action]]\nverb = "clean"\n[[action.step]]\ndo = "wait"\nseconds = 16\n',
            "action[0].step: its waits add up to more than 15 s",
        ),
    ],
)
def test_locks_and_actions_that_contradict_themselves_are_named(extra, fault):
    assert any(line.startswith(fault) for line in faults(THERMOMETER + extra)), faults(THERMOMETER + extra)


# -- what station.toml may ask of a profile


def test_a_template_wants_to_be_confirmed(monkeypatch):
    text = 'grade = "C"\nuncertain = "The byte order was seen in one driver only."\n' + THERMOMETER
    with pytest.raises(ProfileError) as caught:
        rig(text, monkeypatch)
    assert str(caught.value) == (
        "profile mine: is a template of grade C, for The byte order was seen in one driver only;"
        " check that on the instrument, then write confirmed = true"
    )
    device, _ = rig(text, monkeypatch, confirmed=True)
    assert len(device.read()) == 2


def test_an_address_above_247_is_only_that_of_all_instruments_of_a_kind(monkeypatch):
    profile = parse("general_address = 250\n" + THERMOMETER, "mine")
    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    bus = DirectBus(EmulatedUnit(profile, 250))
    settings = ModbusSettings(name="it", point="p", profile="mine", unit_id=250)
    assert len(ModbusDevice(settings, bus, (), lambda: NOON).read()) == 2
    with pytest.raises(ProfileError, match="profile mine: unit_id 251 is not between 1 and 247"):
        ModbusDevice(ModbusSettings(name="it", point="p", profile="mine", unit_id=251), bus, (), lambda: NOON)


def test_cleaning_by_the_station_needs_a_way_to_clean_that_is_not_protected(monkeypatch):
    with pytest.raises(ProfileError, match="has no action to clean, so clean_minutes has no use"):
        rig(THERMOMETER, monkeypatch, clean_minutes=30)
    text = "protected = [[1, 9]]\n" + THERMOMETER + '[[action]]\nverb = "clean"\naddress = 5\nvalues = [1]\n'
    with pytest.raises(ProfileError, match="cleaning writes protected registers, which no poll may"):
        rig(text, monkeypatch, clean_minutes=30)


def test_shipped_profiles_write_nothing_in_a_poll_that_is_protected():
    for path in SHIPPED.glob("*.toml"):
        profile = load(path.stem)
        assert not any(profile.protects(step) for step in profile.steps if step.do == "write")


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 20)), max_size=3),
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 5), st.sampled_from(("start", "before", "after"))), max_size=4
    ),
    st.integers(0, 200),
)
def test_no_profile_that_is_accepted_writes_a_protected_register_in_a_poll(spans, writes, calibrated):
    text = f"protected = {[[first, first + more] for first, more in spans]}\n" + THERMOMETER
    text += f'[[action]]\nverb = "calibrate"\ntype = "span"\naddress = {calibrated}\nvalues = [1, 2]\n'
    for address, count, when in writes:
        text += f'[[step]]\ndo = "write"\nwhen = "{when}"\naddress = {address}\nvalues = {[1] * count}\n'
    kept = {a for first, more in spans for a in range(first, first + more + 1)} | {calibrated, calibrated + 1}
    written = {a for address, count, _ in writes for a in range(address, address + max(1, count))}
    if kept & written:
        assert all("a poll would write register" in fault for fault in faults(text))
    else:
        parse(text, "mine")


# -- what stands beside a value


BESIDE = """
title = "sonde"
baudrate = 9600
unit_id = 1
[[register]]
parameter = "dissolved_oxygen"
table = "holding"
address = 37
type = "f32"
quality = { address = 41 }
unit = "mg/L"
example = 8.25
[[quality]]
values = [0]
mark = "N"
[[quality]]
values = [7]
mark = "D"
reason = "cap missing or probe unplugged"
"""


def test_a_sentinel_of_zero_is_known_by_its_quality_word_and_said_in_words(monkeypatch, caplog):
    """In-Situ: 0.0 with quality 7 is no value; 0.0 with quality 0 is one."""
    device, bus = rig(BESIDE, monkeypatch)
    bus.unit.values = {"dissolved_oxygen": 0.0}
    assert [(s.value, s.mark) for s in device.read()] == [(0.0, Mark.N)]
    bus.unit.values = {"dissolved_oxygen": None}
    assert [(s.value, s.mark, s.reason) for s in device.read()] == [(None, Mark.D, Reason.NO_VALUE)]
    assert device.conditions == ("dissolved_oxygen: cap missing or probe unplugged",)
    bus.unit.values, bus.unit.quality = {}, {"dissolved_oxygen": 99}
    assert [s.value for s in device.read()] == [None]
    assert caplog.messages[-1].endswith("quality 99, which the profile does not explain")


ABSENT = THERMOMETER + '[[absent]]\nparameters = ["air_temperature", "humidity"]\nraws = [0, 0]\n'


def test_zeros_are_no_value_only_where_all_of_an_element_reads_zero(monkeypatch):
    device, bus = rig(ABSENT, monkeypatch)
    bus.unit.values = {"air_temperature": 0.0}
    assert [s.value for s in device.read()] == [0.0, 56.3]
    bus.unit.values = {"air_temperature": 0.0, "humidity": 0.0}
    assert [(s.value, s.mark, s.reason) for s in device.read()] == [(None, Mark.D, Reason.NO_VALUE)] * 2


def test_a_reading_that_may_be_true_once_is_no_value_from_the_second_time_on(monkeypatch):
    text = THERMOMETER + '[[absent]]\nparameters = ["humidity"]\nraws = [300]\npolls = 2\n'
    device, bus = rig(text, monkeypatch)
    bus.unit.values = {"humidity": 30.0}
    assert [device.read()[1].value for _ in range(3)] == [30.0, None, None]
    bus.unit.values = {"humidity": 31.0}
    assert device.read()[1].value == 31.0
    bus.unit.values = {"humidity": 30.0}
    assert device.read()[1].value == 30.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            BESIDE.replace('mark = "N"', 'mark = "D"\nreason = "r"'),
            'register[0].quality: no [[quality]] with mark = "N"',
        ),
        (BESIDE.replace("values = [7]", "values = [0, 7]"), "quality[1].values: 0 is there twice"),
        (
            BESIDE.replace('reason = "cap missing or probe unplugged"', ""),
            "quality[1].reason: missing; a mark wants one",
        ),
        (
            BESIDE.replace("address = 41", "adress = 41"),
            "register[0].quality.adress: unknown key; did you mean address?",
        ),
        (BESIDE.replace("{ address = 41 }", "41"), "register[0].quality: 41 is not a table such as { address = 42 }"),
        (ABSENT.replace("raws = [0, 0]", "raws = [0]"), "absent[0].raws: one number for each of the parameters"),
        (
            ABSENT.replace('"humidity"]', '"humidty"]'),
            "absent[0].parameters: no register gives 'humidty'; did you mean",
        ),
        (
            THERMOMETER.replace("scale = 0.1", "decimals = { address = 8, example = 12 }", 1),
            "register[0].decimals.example: 12 is outside 0 to 9",
        ),
        (
            THERMOMETER.replace("scale = 0.1", 'decimals = { address = 8, type = "f32" }', 1),
            "register[0].decimals.type: decimals are a whole number",
        ),
        (
            THERMOMETER.replace("scale = 0.1", "scale_by = [{ address = 8, scale = 0 }]", 1),
            "register[0].scale_by.scale: 0 leaves no number",
        ),
        (THERMOMETER.replace('type = "i16"', 'type = "i16"\nmask = 1'), "register[0].mask: 0x1 takes no bits of i16"),
        ("pairs = true\n" + THERMOMETER.replace('"i16"', '"f32"'), "register[0].address: 1 is odd; with pairs a value"),
        ("general_address = 1\n" + THERMOMETER, "general_address: 1 is its own unit_id"),
    ],
)
def test_what_stands_beside_a_value_may_not_contradict_it(text, fault):
    found = faults(text)
    assert any(line.startswith(fault) for line in found), found


PAIRS = """
title = "level"
baudrate = 9600
unit_id = 1
pairs = true
max_registers = 4
[[register]]
parameter = "water_temperature"
table = "holding"
address = 2
type = "f32"
unit = "°C"
example = 17.5
[[register]]
parameter = "turbidity"
table = "holding"
address = 4
type = "f32"
unit = "NTU"
example = 3.5
"""


@pytest.mark.parametrize(
    ("asked", "code"),
    [("00 03 00 02", 2), ("00 02 00 01", 2), ("00 02 00 03", 2), ("00 02 00 05", 3), ("00 06 00 02", 2)],
    ids=["odd start", "half a value", "a value and a half", "too many registers", "no such register"],
)
def test_an_instrument_that_keeps_values_whole_refuses_what_cuts_them(asked, code):
    unit = EmulatedUnit(parse(PAIRS, "level"))
    assert unit.answer(framed(f"01 03 {asked}")) == framed(f"01 83 0{code}")
    assert unit.answer(framed("01 03 00 02 00 04")) == framed("01 03 08 41 8C 00 00 40 60 00 00")


def test_an_instrument_that_warms_up_has_no_values_and_its_samples_are_marked_by_the_driver(monkeypatch):
    device, bus = rig("warm_up_seconds = 10\n" + BESIDE, monkeypatch)
    bus.unit.power_cycle()
    assert [s.value for s in device.read()] == [None]
    bus.time.now += 10
    assert [s.value for s in device.read()] == [8.25]
