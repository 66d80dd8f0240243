"""Firmware that an instrument tells as bytes: read with who it is, never in the way of it."""

import pytest

from drivers.base import DeviceException, ProfileError
from drivers.emulated import EmulatedUnit
from drivers.frames import sealed
from drivers.modbus import ModbusDevice, ModbusSettings
from drivers.profile import Profile, load, parse
from tests.drivers.fakes import NOON, THERMOMETER, FakePort, FakeTime, bus_with

VERSION = '\n[[register]]\nparameter = "firmware"\ntable = "input"\naddress = 9\ntype = "version"\nexample = "2.13"\n'


def rig(profile: Profile, monkeypatch: pytest.MonkeyPatch, refused: bytes = b"none") -> ModbusDevice:
    """A device at whose end an emulated unit answers, which refuses what begins with the bytes *refused*."""
    time, unit = FakeTime(), EmulatedUnit(profile)
    unit.set_up()

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        if request[1:].startswith(refused):
            return [(0.02, sealed(bytes((request[0], request[1] | 0x80, 2))))]
        reply = unit.answer(request)
        return [(0.02, reply)] if reply is not None else []

    monkeypatch.setattr("drivers.modbus.load", lambda name, folders, **_: profile)
    settings = ModbusSettings(name="probe", point="p", profile=profile.name, unit_id=profile.unit_id)
    return ModbusDevice(settings, bus_with(FakePort(time, answer), time), (), lambda: NOON)


def test_a_probe_tells_its_serial_number_and_both_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """01 00 01 00 is version 1.0 of the hardware and 1.0 of the software, as the manuals print it."""
    told = rig(load("yosemitech-y511"), monkeypatch).act("read_identity", {})
    assert (told["hardware_version"], told["software_version"]) == ("1.0", "1.0")
    assert told["serial"] == told["serial_number"]
    assert told["serial"].startswith("YL")


def test_a_probe_that_refuses_its_version_still_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = rig(load("yosemitech-y511"), monkeypatch, bytes.fromhex("03 07 00")).act("read_identity", {})
    assert "software_version" not in told
    assert told["serial"].startswith("YL")


def test_a_probe_that_refuses_its_serial_number_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceException):
        rig(load("yosemitech-y511"), monkeypatch, bytes.fromhex("03 09 00")).act("read_identity", {})


def test_a_version_is_no_serial_number_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else new firmware would be another instrument."""
    device = rig(parse(THERMOMETER + VERSION, "thermometer"), monkeypatch)
    assert device.act("read_identity", {}) == {"firmware": "2.13", "serial": ""}
    assert {sample.parameter for sample in device.read()} == {"air_temperature", "humidity"}


@pytest.mark.parametrize("example", ["1", "1.256", "1.2.3", "1.x", ""])
def test_what_is_no_version_is_a_fault(example: str) -> None:
    with pytest.raises(ProfileError, match=r'example: .* is no version such as "1\.10", two numbers up to 255'):
        parse(THERMOMETER + VERSION.replace("2.13", example), "thermometer")
