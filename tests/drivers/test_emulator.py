"""The emulated line: real frames over a pseudo-terminal, faults, and the master's manners."""

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers import modbus
from drivers.base import (
    BadReply,
    BusSettings,
    DeviceBusy,
    DeviceException,
    LineStuck,
    NoReply,
    PortLost,
    ProfileError,
)
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus, emulated_bus
from drivers.faults import UNIT_FAULTS
from drivers.line import crc16, read_request
from drivers.modbus import ModbusDevice
from drivers.port import Speed
from drivers.profile import SHIPPED, load, parse
from drivers.registers import TEXTS
from station.model import Mark
from tests.drivers.fakes import settings, thermometer

LAYOUTS = [
    (path.stem, variant)
    for path in sorted(SHIPPED.glob("*.toml"))
    for variant in ([v.name for v in load(path.stem).variants] or [None])
]
FAST = thermometer("worst_reply_ms = 40\nreply_delay_ms = 1\n")


def frame(*body: int) -> bytes:
    return bytes(body) + crc16(bytes(body))


def fast_line(**options) -> EmulatedBus:
    return EmulatedBus(115200, 10, [EmulatedUnit(FAST, 3), EmulatedUnit(FAST, 4)], chunk=8, **options)


def master(line: EmulatedBus) -> Bus:
    return Bus(settings(line.path, line.line.baudrate, gap_ms=0))


def read(bus: Bus, unit_id: int = 3) -> tuple[float, ...]:
    (request,) = FAST.plan(bus.line)
    return tuple(raw / 10 for raw in request.raws(bus.read(unit_id, request, FAST)))


AT_ONCE = [(n, v) for n, v in LAYOUTS if not load(n).steps and load(n).average_reads == 1]  # the rest: test_shipped.py


@pytest.mark.parametrize(("name", "variant"), AT_ONCE)
def test_a_shipped_profile_reads_its_own_examples_over_an_emulated_line(name, variant):
    profile = load(name).chosen(variant)
    line = BusSettings(name="b", port="", baudrate=115200, parity=profile.parity, gap_ms=0)
    device = modbus.ModbusSettings(
        name="it", point="p", profile=name, unit_id=7, variant=variant, confirmed=True,
        start_address=profile.start_address,
    )  # fmt: skip
    with emulated_bus(line, [device], pace=False) as emulated:
        bus = Bus(BusSettings(name="b", port=emulated.path, baudrate=115200, parity=profile.parity, gap_ms=0))
        samples = ModbusDevice(device, bus, (), lambda: datetime.now(UTC)).read()
        bus.close()
    wanted = {r.parameter: r.example for r in profile.registers if r.type not in TEXTS}
    assert {s.parameter: s.value for s in samples} == pytest.approx(wanted)
    assert {s.mark for s in samples} == {Mark.N}


def test_the_master_keeps_its_silence_after_replies_exceptions_and_timeouts():
    with fast_line() as line:
        bus = master(line)
        for fault in (None, "exception", "silent", None):
            line.units[4].fault = fault
            for _ in range(3):
                read(bus, 3)
                if fault:
                    with pytest.raises((DeviceException, NoReply)):
                        read(bus, 4)
        bus.close()
    assert line.statistics.requests > 15
    assert line.statistics.violations == 0


def test_a_reply_takes_its_time_on_the_wire():
    with fast_line() as line:
        bus = master(line)
        for _ in range(5):
            read(bus)
        bus.close()
    assert line.statistics.request_bytes == 5 * 8
    assert line.statistics.reply_bytes == 5 * 9
    assert line.statistics.wire_seconds == pytest.approx(5 * line.line.exchange(2, 0.001))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("silent", NoReply),
        ("exception", DeviceException),
        ("late", NoReply),
        ("noise", (BadReply, NoReply)),
        ("wrong-unit", BadReply),
        ("wrong-function", BadReply),
        ("wrong-length", BadReply),
        ("truncated", BadReply),
        ("busy", DeviceBusy),
    ],
)
def test_a_fault_is_seen_as_what_it_is_and_ends(fault, error):
    assert fault in UNIT_FAULTS
    with fast_line(seed=2) as line:
        bus = master(line)
        assert read(bus) == (21.5, 56.3)
        line.units[3].fail(fault)
        with pytest.raises(error):
            read(bus)
        assert _soon(bus, 4) == (21.5, 56.3)
        line.units[3].recover()
        assert _soon(bus) == (21.5, 56.3)
        bus.close()


def _soon(bus: Bus, unit_id: int = 3) -> tuple[float, ...]:
    try:
        return read(bus, unit_id)
    except (NoReply, BadReply):
        return read(bus, unit_id)


@pytest.mark.parametrize("fault", ["glued", "twice"])
def test_what_comes_behind_a_reply_does_no_harm(fault):
    with fast_line() as line:
        bus = master(line)
        line.units[3].fail(fault)
        for _ in range(5):
            assert read(bus) == (21.5, 56.3)
        assert read(bus, 4) == (21.5, 56.3)
        assert bus.statistics[3].leftover_bytes > 0
        bus.close()
    assert line.statistics.violations == 0


def test_every_fault_is_tested():
    (cases,) = [m.args[1] for m in test_a_fault_is_seen_as_what_it_is_and_ends.pytestmark]
    assert {name for name, _ in cases} | {"glued", "twice"} == set(UNIT_FAULTS)


def test_faults_are_mixed_at_their_rates_from_a_seed():
    def outcomes(seed: int) -> list[str]:
        with fast_line(pace=False, seed=seed) as line:
            bus = master(line)
            line.units[3].fail("exception:0.3,busy:0.2")
            found = []
            for _ in range(200):
                try:
                    read(bus)
                except DeviceException as error:
                    found.append(type(error).__name__)
                else:
                    found.append("")
            bus.close()
        return found

    found = outcomes(3)
    assert 40 <= found.count("DeviceException") <= 80
    assert 20 <= found.count("DeviceBusy") <= 60
    assert outcomes(3) == found


@pytest.mark.parametrize(
    ("mix", "said"),
    [
        ("late:0.1,nose:0.2", r"no fault 'nose'; did you mean noise\?"),
        ("late:1.5", "late:1.5: the rate is not a number from 0 to 1, as in late:0.1"),
        ("late:often", "late:often: the rate is not a number"),
    ],
)
def test_a_mix_that_cannot_be_is_named(mix, said):
    with pytest.raises(ValueError, match=said):
        EmulatedUnit(FAST).fail(mix)


# -- the line itself


@pytest.mark.parametrize("fault", ["echo", "short-echo"])
def test_an_adapter_that_hears_itself_does_no_harm(fault):
    with fast_line() as line:
        line.fail(fault)
        bus = master(line)
        for _ in range(5):
            assert read(bus) == (21.5, 56.3)
        assert bus.statistics[3].echoes == 5
        bus.close()
    assert line.statistics.violations == 0


def test_a_reply_is_found_behind_bytes_that_an_adapter_invented():
    with fast_line(seed=5) as line:
        line.fail("crackle")
        bus = master(line)
        for _ in range(10):
            assert read(bus) == (21.5, 56.3)
        bus.close()
    assert line.statistics.violations == 0


def test_a_flooded_line_is_given_up_and_works_when_the_flood_ends():
    with fast_line() as line:
        bus = master(line)
        assert read(bus) == (21.5, 56.3)
        line.fail("flood")
        with pytest.raises(LineStuck, match="does not fall silent"):
            _until_stuck(bus)
        line.recover()
        assert _soon(bus) == (21.5, 56.3)
        bus.close()


def _until_stuck(bus: Bus) -> None:
    """A busy machine may leave pauses in the flood, as many as it likes."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(BadReply, NoReply):
            read(bus, 4)


def test_another_master_is_noticed_and_its_replies_are_not_taken():
    with fast_line(seed=1) as line:
        line.fail("foreign")
        bus = master(line)
        good = 0
        for _ in range(60):
            try:
                assert read(bus) == (21.5, 56.3)
            except (BadReply, NoReply):
                continue
            good += 1
        assert bus.foreign >= 3
        assert good >= 10
        bus.close()


def test_a_fault_of_the_line_is_known_by_its_name():
    with pytest.raises(ValueError, match=r"no fault 'flod'; did you mean flood\?"):
        EmulatedBus().fail("flod")


# -- several serial settings on one line


def test_a_unit_that_is_set_otherwise_hears_noise_and_says_nothing():
    slow = Speed(19200, "E")
    with fast_line(speeds={3: Speed(115200), 4: slow}) as line:
        bus = master(line)
        assert read(bus, 3) == (21.5, 56.3)
        with pytest.raises(NoReply):
            read(bus, 4)
        assert line.statistics.misheard == 1
        bus.speeds[4] = slow
        for _ in range(2):
            assert _soon(bus, 4) == (21.5, 56.3)
            assert read(bus, 3) == (21.5, 56.3)
        with bus.speaking(Speed(19200, "O")), pytest.raises(NoReply):
            read(bus, 3)
        assert read(bus, 3) == (21.5, 56.3)
        bus.close()
    assert line.statistics.switches >= 5
    assert line.statistics.violations == 0


def test_a_device_with_settings_of_its_own_is_spoken_to_as_it_is_set():
    settings = BusSettings(name="b", port="", baudrate=9600, gap_ms=0)
    devices = [
        modbus.ModbusSettings(name="a", point="p", profile="laumas-tlb", unit_id=1),
        modbus.ModbusSettings(name="b", point="p", profile="acrel-adl400", unit_id=2, baudrate=19200, parity="E"),
    ]
    with emulated_bus(settings, devices) as line:
        bus = Bus(BusSettings(name="b", port=line.path, baudrate=9600, gap_ms=0))
        made = [ModbusDevice(device, bus, (), lambda: datetime.now(UTC)) for device in devices]
        for _ in range(2):
            for device in made:
                assert {s.mark for s in device.read()} == {Mark.N}
        bus.close()
    assert (line.statistics.misheard, line.statistics.switches, line.statistics.violations) == (0, 3, 0)


def test_an_unknown_fault_names_the_nearest():
    with pytest.raises(ValueError, match=r"no fault 'silnet'; did you mean silent\?"):
        EmulatedUnit(FAST).fail("silnet")


def test_late_replies_never_become_wrong_values():
    """Registers whose value is their address: a reply that belongs to another request shows at once."""
    text = 'title = "t"\nbaudrate = 115200\nunit_id = 1\ngap_ms = 0\nreply_delay_ms = 0\nworst_reply_ms = 4\n'
    row = '[[register]]\nparameter = "p{0}"\ntable = "holding"\naddress = {0}\ntype = "u16"\nexample = {0}\n'
    profile = parse(text + "bridge_gaps = true\n" + "".join(row.format(i) for i in range(80)), "late")
    with EmulatedBus(115200, 10, [EmulatedUnit(profile)], pace=False) as line:
        bus = master(line)
        wrong = good = 0
        for turn in range(24):
            line.units[1].fault = "late" if turn % 4 == 1 else None
            first = 10 * (turn % 7)
            (request,) = profile.plan(bus.line, [f"p{first}", f"p{first + 1}"])
            try:
                values = request.raws(bus.read(1, request, profile))
            except (NoReply, BadReply):
                continue
            good += 1
            wrong += values != (first, first + 1)
        bus.close()
    assert wrong == 0
    assert good >= 16  # this machine's time allows; test_stale.py counts all 18 by a clock of its own


def test_bytes_nobody_asked_for_are_dropped():
    with fast_line() as line:
        bus = master(line)
        read(bus)
        line.inject(b"\x00\xff\x00")
        assert read(bus) == (21.5, 56.3)
        assert bus.statistics[3].leftover_bytes == 3
        bus.close()


def test_an_adapter_pulled_out_and_put_back_under_another_name_is_found_again_and_leaves_nothing_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    names = set()
    with fast_line(link=tmp_path / "tty", pace=False) as line:
        bus = master(line)
        for _ in range(30):
            assert read(bus) == (21.5, 56.3)
            names.add((tmp_path / "tty").resolve())
            line.unplug()
            with pytest.raises(PortLost, match="the port is lost"):
                read(bus)
            taken = os.openpty()  # its old number is another device's now
            with pytest.raises(PortLost, match="cannot be opened"):
                read(bus)
            line.plug_in()
            for side in taken:
                os.close(side)
        assert read(bus) == (21.5, 56.3)
        bus.close()
    assert len(names) > 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_port_belongs_to_one_process():
    with fast_line() as line:
        first, second = master(line), master(line)
        read(first)
        with pytest.raises(PortLost, match=r"cannot be opened: .* another program has it, and a line has one master"):
            read(second)
        first.close()
        assert read(second) == (21.5, 56.3)
        second.close()


def test_a_pseudo_terminal_takes_any_parity_and_paces_with_its_bits():
    with EmulatedBus(115200, 11, [EmulatedUnit(FAST, 3)], chunk=8) as line:
        bus = Bus(BusSettings(name="b", port=line.path, baudrate=115200, parity="E", gap_ms=0))
        assert bus.line.bits == 11
        assert read(bus) == (21.5, 56.3)
        assert read(bus) == (21.5, 56.3)
        bus.close()


# -- one unit, without a line


def test_a_unit_refuses_what_it_does_not_have():
    unit = EmulatedUnit(FAST, 3)
    assert unit.answer(read_request(3, "holding", 1, 1)) == frame(3, 0x83, 1)
    assert unit.answer(frame(3, 0x2B, 0, 0, 0, 0)) == frame(3, 0xAB, 1)
    assert unit.answer(read_request(3, "input", 0, 1)) == frame(3, 0x84, 2)
    assert unit.answer(read_request(3, "input", 1, 0)) == frame(3, 0x84, 3)
    assert unit.answer(read_request(3, "input", 1, 126)) == frame(3, 0x84, 3)


def test_the_scale_refuses_more_than_32_registers():
    assert EmulatedUnit(load("laumas-tlb")).answer(read_request(1, "holding", 6, 33)) == frame(1, 0x83, 3)


def test_a_meter_refuses_registers_between_its_blocks():
    assert EmulatedUnit(load("acrel-adl400")).answer(read_request(1, "holding", 0x0804, 4)) == frame(1, 0x83, 2)


def test_unused_registers_between_values_read_as_zero():
    unit = EmulatedUnit(load("renke-fsxcs"), variant="tenths-pm")
    assert unit.answer(read_request(1, "holding", 501, 2)) == frame(1, 3, 4, 0, 0, 0, 0)


def test_what_is_written_is_read_back():
    unit = EmulatedUnit(load("laumas-tlb"))
    one, many = frame(1, 6, 0, 9, 0, 1), frame(1, 16, 0, 9, 0, 2, 4, 0, 0, 1, 0)
    assert unit.answer(one) == one
    assert unit.answer(many) == frame(1, 16, 0, 9, 0, 2)
    assert unit.answer(read_request(1, "holding", 9, 2)) == frame(1, 3, 4, 0, 0, 1, 0)
    assert unit.answer(frame(1, 6, 1, 0, 0, 1)) == frame(1, 0x86, 2)
    assert unit.answer(frame(1, 16, 0, 9, 0, 3, 4, 0, 0, 1, 0)) == frame(1, 0x90, 3)


def test_a_missing_value_without_a_word_for_it_is_silence():
    unit = EmulatedUnit(FAST, values={"humidity": None})
    assert unit.answer(read_request(1, "input", 1, 2)) is None
    assert unit.answer(read_request(1, "input", 1, 1)) == frame(1, 4, 2, 0, 215)


def test_a_unit_hears_only_sound_requests_of_its_own():
    with fast_line(pace=False) as line:
        port = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
        for junk in (read_request(9, "input", 1, 1), b"\3\4\0\1\0\1\0\0", b"\3\4\0"):
            os.write(port, junk)
        line.inject(b"!")  # the line's thread has taken what came before
        assert os.read(port, 99) == b"!"
        os.close(port)
    assert line.statistics.replies == 0


def test_two_devices_with_one_unit_id_are_refused():
    device = modbus.ModbusSettings(name="it", point="p", profile="laumas-tlb", unit_id=7)
    with pytest.raises(ProfileError, match="two units have the same unit_id"):
        emulated_bus(BusSettings(name="b", port=""), [device, device])
