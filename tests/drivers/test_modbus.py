"""An instrument as the poller sees it: samples, partial failures, warm-up, conditions."""

from datetime import timedelta

import pytest

from drivers import modbus
from drivers.base import BadReply, DeviceException, NoReply, ProfileError
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.line import Line, crc16, read_request
from drivers.modbus import ModbusDevice
from drivers.profile import load
from station.model import Mark, Reason
from tests.drivers import fakes
from tests.drivers.fakes import NOON, FakeTime


class DirectBus:
    """A bus without a line: an emulated unit answers the driver's requests directly."""

    def __init__(self, unit: EmulatedUnit) -> None:
        self.unit, self.time = unit, FakeTime()
        self.settings, self.line, self.monotonic = fakes.settings(gap_ms=0), Line(9600), self.time.monotonic
        self.refused: set[int] = set()
        self.asked = self.excused = 0
        self.sent: list[bytes] = []

    def read(self, unit_id, request, profile) -> bytes:
        self.asked += 1
        if request.address in self.refused:
            raise DeviceException("exception 2")
        if self.unit.fault == "noise":
            raise BadReply("noise")
        reply = self.unit.answer(read_request(unit_id, request.table, request.address, request.count))
        if reply is None or self.unit.fault == "silent":
            raise NoReply("no reply")
        return reply[3:-2]

    def write(self, unit_id, write, profile) -> None:
        self._sent(bytes((unit_id, write.function)) + write.body)

    def raw(self, unit_id, function, data, profile, *, answer_bytes=None) -> bytes:
        return self._sent(bytes((unit_id, function)) + data)[2:-2]

    def sleep(self, seconds) -> None:
        self.time.sleep(seconds)

    def excuse(self, unit_id) -> None:
        self.excused += 1

    def _sent(self, body: bytes) -> bytes:
        self.asked += 1
        self.sent.append(body)
        reply = self.unit.answer(body + crc16(body))
        if reply is None:
            raise NoReply("no reply")
        if reply[1] & 0x80:
            raise DeviceException(f"exception {reply[2]}")
        return reply


def instrument(profile: str, **keys) -> tuple[ModbusDevice, DirectBus]:
    settings = modbus.ModbusSettings(name="it", point="p", profile=profile, unit_id=1, **keys)
    bus = DirectBus(EmulatedUnit(load(profile), 1, settings.variant))
    bus.unit._monotonic = bus.time.monotonic
    return ModbusDevice(settings, bus, (), lambda: NOON + timedelta(seconds=bus.time.now)), bus


def marks(samples) -> set[tuple[Mark, Reason]]:
    return {(s.mark, s.reason) for s in samples}


def test_one_read_gives_every_parameter_at_one_time():
    device, _ = instrument("deltaohm-pmsense")
    samples = device.read()
    assert {s.parameter: s.value for s in samples} == {"pm1": 23.7, "pm25": 41.2, "pm10": 68.9}
    assert len({s.time for s in samples}) == 1
    assert device.units == dict.fromkeys(("pm1", "pm25", "pm10"), "µg/m³")
    assert device.poll_minimum_seconds == 1


def test_only_the_selected_parameters_are_read():
    device, bus = instrument("acrel-adl400", parameters=("frequency", "voltage_l1"))
    assert device.parameters == ("voltage_l1", "frequency")
    assert [s.parameter for s in device.read()] == ["voltage_l1", "frequency"]
    assert bus.asked == 2


def test_an_unknown_parameter_names_the_nearest():
    with pytest.raises(ProfileError, match=r"does not measure 'pm2.5'; did you mean pm25\?"):
        instrument("deltaohm-pmsense", parameters=("pm2.5",))


def test_an_exception_to_one_request_does_not_stop_the_others():
    device, bus = instrument("acrel-adl400")
    bus.refused = {0x080C}
    with pytest.raises(DeviceException) as caught:
        device.read()
    had = [s.parameter for s in caught.value.samples]
    assert len(had) == 10
    assert "current_l1" not in had


def test_silence_stops_the_read_at_once():
    device, bus = instrument("acrel-adl400")
    bus.unit.fail("silent")
    with pytest.raises(NoReply) as caught:
        device.read()
    assert (bus.asked, list(caught.value.samples)) == (1, [])


def test_an_instrument_back_from_silence_warms_up():
    device, bus = instrument("deltaohm-pmsense")
    bus.unit.fail("silent")
    for _ in range(2):
        with pytest.raises(NoReply):
            device.read()
    bus.unit.recover()
    assert marks(device.read()) == {(Mark.M, Reason.WARMING_UP)}
    bus.time.sleep(9.9)
    assert marks(device.read()) == {(Mark.M, Reason.WARMING_UP)}
    bus.time.sleep(0.2)
    assert marks(device.read()) == {(Mark.N, Reason.NONE)}


def test_one_lost_reply_is_not_a_power_cut():
    device, bus = instrument("deltaohm-pmsense")
    bus.unit.fail("silent")
    with pytest.raises(NoReply):
        device.read()
    bus.unit.recover()
    assert marks(device.read()) == {(Mark.N, Reason.NONE)}


def test_a_start_of_the_station_is_not_a_warm_up():
    device, _ = instrument("deltaohm-pmsense")
    assert marks(device.read()) == {(Mark.N, Reason.NONE)}


def test_a_counter_is_delivered_as_it_stands():
    """Its rises are added up by the station, which keeps the total it saw last over restarts."""
    device, bus = instrument("renke-fsxcs", variant="tenths-pm")
    bus.unit.values = {"rain": 12.4}
    assert {s.parameter: s.value for s in device.read()}["rain"] == 12.4


def test_a_condition_in_one_read_marks_the_values_of_another(caplog):
    device, bus = instrument("yosemitech-y4000")
    bus.unit.report("wiper in the wrong place")
    samples = {s.parameter: s for s in device.read()}
    device.read()
    assert (samples["turbidity"].value, samples["turbidity"].mark) == (17.625, Mark.D)
    assert samples["turbidity"].reason is Reason.STATUS
    assert samples["ph"].mark is Mark.N
    assert device.conditions == ("wiper in the wrong place",)
    bus.unit.clear("wiper in the wrong place")
    device.read()
    assert device.conditions == ()
    assert caplog.messages == [
        "device it: reports wiper in the wrong place",
        "device it: reports no fault any more",
    ]


def test_a_scale_that_moves_is_marked():
    device, bus = instrument("laumas-tlb")
    assert marks(device.read()) == {(Mark.N, Reason.NONE)}
    bus.unit.report("weight not stable")
    assert marks(device.read()) == {(Mark.D, Reason.STATUS)}
    bus.unit.clear("weight not stable")
    bus.unit.report("overloaded")
    assert marks(device.read()) == {(Mark.T, Reason.STATUS)}


def test_a_probe_that_is_not_fitted_has_no_value():
    device, bus = instrument("yosemitech-y4000", parameters=("ph", "orp"))
    bus.unit.values = {"orp": None}
    ph, orp = device.read()
    assert (ph.value, ph.mark) == (7.625, Mark.N)
    assert (orp.value, orp.mark, orp.reason) == (None, Mark.D, Reason.NO_VALUE)


def test_an_instrument_says_who_it_is():
    device, _ = instrument("yosemitech-y4000")
    assert device.identify() == {"serial_number": "YL3819040001"}


def test_a_device_can_be_made_without_opening_its_port():
    settings = modbus.ModbusSettings(name="it", point="p", profile="laumas-tlb", unit_id=1)
    device = ModbusDevice(settings, Bus(fakes.settings("/dev/nowhere")), (), lambda: NOON)
    device.close()
    assert device.parameters == ("collector_mass",)
