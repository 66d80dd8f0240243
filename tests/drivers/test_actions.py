"""What an instrument can be told to do: written once, checked by its reply, never by a poll."""

from __future__ import annotations

import pytest

from drivers.base import BadReply, DeviceError, DeviceException, NoReply, ProfileError
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.line import crc16
from drivers.modbus import ModbusDevice, ModbusSettings
from drivers.profile import Action, Profile, load, parse
from station.model import replace
from tests.drivers.fakes import NOON, THERMOMETER, FakePort, FakeTime, bus_with

ACTIONS = """
[[action]]
verb = "calibrate"
type = "zero"
parameters = ["humidity"]
function = 6
address = 100
values = [1]
[[action]]
verb = "calibrate"
type = "span"
parameters = ["humidity"]
address = 101
values = [2, 3]
[[action]]
verb = "sample_now"
address = 7
values = [1]
"""


def rig(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, echo: bool = False
) -> tuple[ModbusDevice, FakePort, EmulatedUnit]:
    """A device over a port at whose end an emulated unit answers (and an adapter that may echo)."""
    time, unit = FakeTime(), EmulatedUnit(profile)

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        reply = unit.answer(request)
        said = [(0.02, reply)] if reply is not None else []
        return [(0.0, request), *said] if echo else said

    port = FakePort(time, answer)
    bus: Bus = bus_with(port, time)
    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    settings = ModbusSettings(name="probe", point="p", profile=profile.name, unit_id=profile.unit_id)
    return ModbusDevice(settings, bus, (), lambda: NOON), port, unit


def test_the_wiper_of_a_sonde_starts_on_a_write_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """0x2F00 with no registers; the sonde answers with what was asked."""
    device, port, unit = rig(load("yosemitech-y4000"), monkeypatch)
    assert set(device.actions) == {"clean", "read_identity"}
    assert device.act("clean", {"parameter": "turbidity"}) == {}
    body = bytes.fromhex("01 10 2F 00 00 00 00")
    assert [frame for _, frame in port.written] == [body + crc16(body)]
    assert unit.acted == ["clean"]
    assert device.act("read_identity", {})["serial"] == "YL3819040001"


@pytest.mark.parametrize("echo", [False, True])
def test_each_half_of_a_calibration_has_its_registers(monkeypatch: pytest.MonkeyPatch, echo: bool) -> None:
    """Function 6 for zero, 16 for span, also through an adapter that echoes; polls before and after are sound."""
    device, _, unit = rig(parse(THERMOMETER + ACTIONS, "thermometer"), monkeypatch, echo)
    device.read()
    device.act("calibrate", {"parameter": "humidity", "type": "zero"})
    device.act("calibrate", {"parameter": "humidity", "type": "span"})
    device.act("sample_now", {"parameter": "air_temperature"})
    assert unit.acted == ["calibrate", "calibrate", "sample_now"]
    assert [sample.value for sample in device.read()] == [21.5, 56.3]
    assert device.actions == {
        "calibrate": ("humidity",),
        "sample_now": ("air_temperature", "humidity"),
    }


def test_a_poll_never_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading is functions 3 and 4, whatever the profile can do."""
    device, port, _ = rig(parse(THERMOMETER + ACTIONS, "thermometer"), monkeypatch)
    for _ in range(50):
        device.read()
    assert {frame[1] for _, frame in port.written} <= {3, 4}


def test_what_the_instrument_cannot_do_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another parameter than the one it concerns, or half a calibration that is not named."""
    device, port, _ = rig(parse(THERMOMETER + ACTIONS, "thermometer"), monkeypatch)
    with pytest.raises(DeviceError, match="probe: has no way to calibrate air_temperature zero"):
        device.act("calibrate", {"parameter": "air_temperature", "type": "zero"})
    with pytest.raises(DeviceError, match="probe: has no way to calibrate humidity"):
        device.act("calibrate", {"parameter": "humidity"})
    assert port.written == []


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", NoReply),
        (bytes.fromhex("01 90 02"), DeviceException),
        (bytes.fromhex("01 10 00 08 00 01"), BadReply),
    ],
)
def test_a_write_that_fails_is_not_repeated(reply: bytes, error: type[Exception]) -> None:
    """Silence, an exception, or the reply to another write; the station does not know, and does not try again."""
    time = FakeTime()
    port = FakePort(time, lambda request: [(0.02, reply + crc16(reply))] if reply else [])
    profile = replace(parse(THERMOMETER, "thermometer"), worst_reply_ms=100)
    with pytest.raises(error):
        bus_with(port, time).write(1, Action(verb="sample_now", address=7, values=(1,)), profile)
    assert len(port.written) == 1


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ('verb = "dance"\naddress = 1', 'action[0].verb: "dance" is not one of'),
        ('verb = "clean"\naddress = 1\nfunction = 6', "action[0].values: function 6 writes one register"),
        ('verb = "clean"\naddress = 1\nvalues = [65536]', "action[0].values: [65536] is not a list of numbers"),
        ('verb = "clean"\naddress = 1\ntype = "zero"', "action[0].type: only calibrate has a type"),
        ('verb = "clean"\naddress = 1\nparameters = ["cod"]', "action[0].parameters: no register gives 'cod'"),
    ],
)
def test_an_action_that_cannot_be_is_a_fault_of_the_profile(lines: str, fault: str) -> None:
    """In its place, in a sentence."""
    with pytest.raises(ProfileError) as caught:
        parse(f"{THERMOMETER}\n[[action]]\n{lines}\n", "thermometer")
    assert fault in str(caught.value)
