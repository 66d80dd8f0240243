"""Meters of DL/T 645-2007: frames as public code has them, one line, late answers and refusals."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import BadReply, BusSettings, DeviceException, NoReply, ProfileError
from drivers.bus import Bus
from drivers.dlt645 import ANSWER, ITEMS, LEAST_FRAME, Meter, MeterSettings, digits_of, frame, frames_in, number_of
from drivers.emulated_meter import EmulatedMeter, EmulatedMeters
from station.config import load
from station.model import ConfigError, Mark
from tests.station.commands import configure, served, station, until

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ADDRESS = "202411110002"


def settings(address: str = ADDRESS, **more: object) -> MeterSettings:
    return MeterSettings(**({"name": "meter", "point": "p", "driver": "dlt645", "address": address} | more))  # type: ignore[arg-type]


def meter(line: EmulatedMeters, **more: object) -> Meter:
    bus = Bus(BusSettings(name="line", port=line.path, baudrate=2400, parity="E"))
    return Meter(settings(**more), bus, (), lambda: NOW)


def test_a_request_is_the_frame_that_code_of_others_sends() -> None:
    """Total energy of meter 202411110002."""
    asked = frame(ADDRESS, 0x11, bytes.fromhex("00000000"))
    assert asked.hex().upper() == "6802001111242068110433333333" + f"{sum(asked[:-2]) & 0xFF:02X}" + "16"


@given(st.sampled_from(sorted(ITEMS)), st.floats(0, 1))
def test_what_is_written_is_read_again(name: str, share: float) -> None:
    item = ITEMS[name]
    most = 10 ** (2 * item.size - item.decimals) * (0.79 if item.signed else 0.99)
    value = round(share * most, item.decimals)
    assert number_of(digits_of(value, item), item) == pytest.approx(value, abs=10.0**-item.decimals)
    if item.signed and value:
        assert number_of(digits_of(-value, item), item) == pytest.approx(-value, abs=10.0**-item.decimals)


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_a_frame_is_found_in_whatever_stands_around_it(before: bytes, data: bytes) -> None:
    whole = frame(ADDRESS, ANSWER, data)
    found = list(frames_in(before.replace(b"\x68", b"") + whole + b"\xfe\x68"))
    assert [(one.address, one.control, one.data) for one in found] == [(ADDRESS, ANSWER, data)]


@given(st.integers(0, LEAST_FRAME + 4 + 3 - 1), st.integers(1, 255))
def test_a_flipped_byte_is_no_answer(place: int, bits: int) -> None:
    whole = bytearray(frame(ADDRESS, ANSWER, bytes.fromhex("00000302") + bytes(3)))
    whole[place] ^= bits
    assert [one for one in frames_in(bytes(whole)) if one.data == bytes.fromhex("00000302") + bytes(3)] == []


@pytest.mark.parametrize("data", ["ffff", "05a2", "0f22"])
def test_what_is_no_decimal_is_no_value(data: str) -> None:
    assert number_of(bytes.fromhex(data), ITEMS["voltage_l1"]) is None


def test_two_meters_on_one_line_give_their_own_values() -> None:
    meters = [EmulatedMeter(settings(a), {"power_total": -v}) for a, v in ((ADDRESS, 1.25), ("000000000007", 2.5))]
    with EmulatedMeters(meters, pace=False) as line:
        first, second = meter(line), meter(line, address="000000000007")
        assert {s.parameter: s.value for s in first.read()}["power_total"] == -1.25
        first._bus.close()
        assert {s.parameter: s.value for s in second.read()}["power_total"] == -2.5
        second._bus.close()


def test_every_item_is_read_at_the_pace_of_a_real_line() -> None:
    with EmulatedMeters([EmulatedMeter(settings(parameters=("energy_import", "current_l2")))]) as line:
        one = meter(line, parameters=("energy_import", "current_l2"))
        assert [(s.parameter, s.value, s.mark) for s in one.read()] == [
            ("energy_import", 12345.67, Mark.N), ("current_l2", 10.25, Mark.N),
        ]  # fmt: skip
        assert one.statistics.requests == 2
        one._bus.close()


def test_a_late_answer_is_never_another_items_value() -> None:
    emulated = EmulatedMeter(settings(parameters=("voltage_l1", "voltage_l2", "voltage_l3")))
    with EmulatedMeters([emulated], pace=False) as line:
        one = meter(line, parameters=("voltage_l1", "voltage_l2", "voltage_l3"))
        emulated.fail("late")
        with pytest.raises(NoReply):
            one.read()
        emulated.recover()
        for _ in range(5):
            assert [s.value for s in one.read()] == [230.0, 231.0, 232.0]
        one._bus.close()


@pytest.mark.parametrize(("fault", "error"), [("silent", NoReply), ("noise", (BadReply, NoReply)), ("half", BadReply)])
def test_what_a_meter_does_wrong_is_said(fault: str, error: type[Exception]) -> None:
    emulated = EmulatedMeter(settings())
    with EmulatedMeters([emulated], pace=False) as line:
        one = meter(line)
        emulated.fail(fault)
        with pytest.raises(error):
            one.read()
        one._bus.close()


def test_what_a_meter_lacks_is_marked_and_not_asked_again_and_again() -> None:
    emulated = EmulatedMeter(settings(parameters=("voltage_l1",)))
    with EmulatedMeters([emulated], pace=False) as line:
        one = meter(line, parameters=("voltage_l1", "voltage_l2"))
        for _ in range(3):
            assert [(s.value, s.mark) for s in one.read()] == [(230.0, Mark.N), (None, Mark.D)]
        assert one.statistics.requests == 4
        emulated.fail("blank")
        assert [s.mark for s in one.read()] == [Mark.D, Mark.D]
        one._bus.close()


def test_what_a_meter_once_refused_is_asked_again_after_an_hour() -> None:
    emulated = EmulatedMeter(settings(parameters=("voltage_l1", "voltage_l2")))
    with EmulatedMeters([emulated], pace=False) as line:
        one = meter(line, parameters=("voltage_l1", "voltage_l2"))
        one.read()
        clock, ahead = one._bus.monotonic, [0.0]
        one._bus.monotonic = lambda: clock() + ahead[0]  # type: ignore[method-assign]
        emulated.parameters = ("voltage_l1",)
        assert [s.mark for s in one.read()] == [Mark.N, Mark.D]
        emulated.parameters = ("voltage_l1", "voltage_l2")
        assert [s.mark for s in one.read()] == [Mark.N, Mark.D]
        ahead[0] = 3700.0
        assert [s.mark for s in one.read()] == [Mark.N, Mark.N]
        one._bus.close()


def test_a_refusal_for_another_reason_is_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.emulated_meter.NO_SUCH_DATA", b"\x04")
    emulated = EmulatedMeter(settings())
    with EmulatedMeters([emulated], pace=False) as line:
        one = meter(line)
        emulated.fail("lacks")
        with pytest.raises(DeviceException, match=r"refuses energy_import \(password or authority\)"):
            one.read()
        one._bus.close()


SECOND = '[[bus.device]]\nname = "m2"\npoint = "site"\n'
TABLE = (
    ("baudrate = 19200", "baudrate = 2400"),
    ('profile = "deltaohm-pmsense"\nunit_id = 1', f'driver = "dlt645"\naddress = "{ADDRESS}"'),
    ('parameters = ["pm25", "pm10"]', 'parameters = ["voltage_l1", "energy_import"]'),
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((ADDRESS, "12345"), '"12345" is not the twelve digits of a meter'),
        (("voltage_l1", "pm25"), 'no meter gives "pm25"'),
        (('[[uplink]]', f'{SECOND}driver = "dlt645"\naddress = "{ADDRESS}"\n[[uplink]]'),
         f'{ADDRESS} is already "dust" on this bus'),
        (('[[uplink]]', f'{SECOND}profile = "md02"\nunit_id = 3\n[[uplink]]'),
         "need a line each"),
        (('port = "port"', 'port = "tcp://10.0.0.9"'), "speaks no Modbus"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(configure(tmp_path, *TABLE, change))
    assert said in str(refused.value)


def test_a_wrong_address_is_a_profile_error() -> None:
    with pytest.raises(ProfileError):
        Meter(settings("x"), Bus(BusSettings(name="l", port="x", baudrate=2400)), (), lambda: NOW)


def test_a_meter_is_emulated_and_read_by_the_commands(tmp_path: Path) -> None:
    config = configure(tmp_path, *TABLE)
    with served("emulate", "bus", config):
        read = until(lambda: (done := station("read", "dust", "--config", config)).code == 0 and done, 20)
    assert "230.0" in read.out
    assert "12345.67" in read.out
