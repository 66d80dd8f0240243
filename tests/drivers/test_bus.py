"""The bus on a fake port and a fake clock: what is sent, waited for, dropped and counted."""

import errno
import itertools
import logging
import re
import struct
import termios
from contextlib import nullcontext, suppress

import minimalmodbus
import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import BadReply, BusSettings, DeviceBusy, DeviceException, DriverError, LineStuck, NoReply, PortLost
from drivers.bus import Bus
from drivers.line import crc16
from drivers.port import Speed, open_port
from drivers.profile import Profile, Write, parse
from drivers.registers import Request, decode
from station.model import replace
from tests.drivers import fakes
from tests.drivers.fakes import NOON, FakePort, FakeTime, bus_with, thermometer

CHARACTER = 10 / 9600
SILENCE = 3.5 * CHARACTER


def frame(*body: int) -> bytes:
    return bytes(body) + crc16(bytes(body))


PROFILE = thermometer()
(REQUEST,) = PROFILE.plan(fakes.Bus(fakes.settings()).line)
ASKED = frame(3, 4, 0, 1, 0, 2)
PROBE = frame(3, 4, 0, 1, 0, 1)
REPLY = frame(3, 4, 4, 0, 215, 2, 51)  # 21.5 °C, 56.3 %
PROBED = frame(3, 4, 2, 0, 215)


def line(*pieces: tuple[float, bytes], gap_ms: float | None = 0) -> tuple[Bus, FakePort]:
    """A bus whose port answers each read of the two registers with *pieces*, and a probe properly."""
    port = FakePort(FakeTime(), lambda sent: [(0.02, PROBED)] if sent == PROBE else list(pieces))
    return bus_with(port, port.time, gap_ms), port


def read(bus: Bus, profile: Profile = PROFILE) -> list[float | None]:
    return [s.value for s in decode(REQUEST, bus.read(3, REQUEST, profile), NOON)]


def test_a_reply_gives_its_values():
    bus, port = line((0.02, REPLY))
    assert read(bus) == [21.5, 56.3]
    assert [sent for _, sent in port.written] == [ASKED]


def test_a_mocked_serial_port_can_be_handed_in(mocker):
    port = mocker.MagicMock(spec=serial.Serial)
    arriving = bytearray()
    port.write.side_effect = lambda sent: arriving.extend(REPLY)
    port.read.side_effect = lambda size=1: bytes(arriving.pop(0) for _ in range(min(size, len(arriving))))
    type(port).in_waiting = mocker.PropertyMock(side_effect=lambda: len(arriving))
    bus = Bus(fakes.settings(gap_ms=0), lambda _: port)
    assert read(bus) == [21.5, 56.3]
    bus.close()
    port.close.assert_called_once_with()


def test_a_transaction_wakes_the_processor_about_four_times():
    bus, port = line((0.02, REPLY))
    read(bus)
    port.time.sleeps.clear()
    port.reads = 0
    read(bus)
    blocking = 1  # the first byte is waited for; all others are slept through
    assert len(port.time.sleeps) + blocking <= 5
    assert port.reads <= 4


def test_an_exception_does_not_wait_out_the_timeout():
    bus, port = line((0.02, frame(3, 0x84, 2)))
    before = port.time.now
    with pytest.raises(DeviceException, match=r"^/dev/ttyUSB0 unit 3: exception 2 \(illegal data address\) to input"):
        read(bus)
    assert port.time.now - before < 0.05
    assert bus.statistics[3].exceptions == 1


def test_exception_5_is_an_exception_although_the_library_lets_it_pass():
    bus, _ = line((0.02, frame(3, 0x84, 5)))
    with pytest.raises(DeviceException, match="exception 5"):
        read(bus)


def test_silence_is_no_reply_after_the_computed_timeout():
    bus, port = line()
    before = port.time.now
    with pytest.raises(NoReply) as caught:
        read(bus)
    assert str(caught.value) == "/dev/ttyUSB0 unit 3: no reply to input registers 1–2 within 0.54 s"
    assert port.time.now - before == pytest.approx(0.5 + 0.02 + (8 + 9) * CHARACTER + SILENCE, abs=0.002)
    assert bus.statistics[3].timeouts == 1


def test_the_timeout_grows_with_the_reply_and_the_slowness_of_the_line():
    def timeout(count: int, baudrate: int) -> float:
        return PROFILE.timeout_seconds(Bus(fakes.settings(baudrate=baudrate)).line, Request("input", 0, count, ()))

    assert timeout(100, 9600) - timeout(1, 9600) == pytest.approx(198 * CHARACTER)
    assert timeout(1, 1200) - timeout(1, 9600) == pytest.approx(15 * (10 / 1200 - CHARACTER))


def test_the_line_is_silent_for_3_5_characters_after_a_reply():
    bus, port = line((0.02, REPLY))
    read(bus)
    ended = port.time.now
    read(bus)
    assert port.written[1][0] - ended >= SILENCE - 1e-9


def test_the_line_is_silent_for_3_5_characters_after_a_timeout():
    bus, port = line()
    with pytest.raises(NoReply):
        read(bus)
    ended = port.time.now
    with pytest.raises(NoReply):
        read(bus)
    assert port.written[1][0] - ended >= SILENCE - 1e-9


def test_the_profiles_gap_is_kept_unless_the_bus_has_its_own():
    profile = replace(PROFILE, gap_ms=80)
    for gap_ms, wanted in ((None, 0.08), (0, SILENCE), (10, 0.01)):
        bus, port = line((0.02, REPLY), gap_ms=gap_ms)
        read(bus, profile)
        ended = port.time.now
        read(bus, profile)
        assert port.written[1][0] - ended == pytest.approx(wanted)


def test_stale_bytes_are_dropped_before_the_next_request_and_counted():
    bus, port = line((0.02, REPLY))
    read(bus)
    port.put(b"\xff\xff\xff")
    assert read(bus) == [21.5, 56.3]
    assert bus.statistics[3].leftover_bytes == 3
    assert port.resets == 1


def test_a_line_that_never_falls_silent_is_given_up():
    bus, port = line((0.02, REPLY))
    read(bus)
    port.put(b"\x55" * 2000)
    before = port.time.now
    with pytest.raises(LineStuck, match="does not fall silent"):
        read(bus)
    assert port.time.now - before < 2
    assert port.closed  # the next request opens it again


def test_an_echo_of_the_request_is_dropped():
    bus, _ = line((-8 * CHARACTER, ASKED), (0.02, REPLY))
    assert read(bus) == [21.5, 56.3]
    assert bus.statistics[3].echoes == 1


def test_an_echo_of_a_request_for_one_register_is_told_from_its_reply():
    request = Request("holding", 0x0200, 1, PROFILE.registers[:1])
    asked, reply = frame(3, 3, 2, 0, 0, 1), frame(3, 3, 2, 0, 0)
    assert asked[:5] == reply[:5]
    for pieces, echoes in (([(0.02, reply)], 0), ([(-8 * CHARACTER, asked), (0.02, reply)], 1)):
        port = FakePort(FakeTime(), lambda _, pieces=pieces: pieces)
        bus = bus_with(port, port.time)
        assert bus.read(3, request, PROFILE) == b"\0\0"
        assert bus.statistics[3].echoes == echoes


@pytest.mark.parametrize(
    "foreign", [frame(4, 4, 4, 1, 1, 1, 1), frame(3, 3, 4, 1, 1, 1, 1), frame(3, 4, 6, 1, 1, 1, 1, 1, 1)]
)
def test_a_sound_frame_that_answers_something_else_is_dropped_and_the_wait_goes_on(foreign):
    bus, _ = line((0.02, foreign), (0.1, REPLY))
    assert read(bus) == [21.5, 56.3]


def test_a_reply_of_another_unit_alone_is_a_bad_reply():
    bus, _ = line((0.02, frame(4, 4, 4, 0, 215, 2, 51)))
    with pytest.raises(BadReply, match=r"04 04 04 00 D7 02 33 .* is not the reply to input registers 1–2"):
        read(bus)
    assert bus.statistics[3].bad_replies == 1


def test_a_flipped_bit_is_a_bad_reply_and_one_request_later_all_is_well():
    spoilt = bytes((*REPLY[:4], REPLY[4] ^ 1, *REPLY[5:]))
    bus, port = line((0.02, spoilt))
    with pytest.raises(BadReply):
        read(bus)
    port.answer = lambda sent: [(0.02, PROBED if sent == PROBE else REPLY)]
    assert read(bus) == [21.5, 56.3]


def test_after_a_failure_the_line_stays_quiet_until_the_reply_cannot_come_any_more():
    bus, port = line((0.02, REPLY[:-1]))
    with pytest.raises(BadReply):
        read(bus)
    with pytest.raises(BadReply):
        read(bus)
    assert port.written[1][0] - port.written[0][0] >= 0.5


def after_a_late_reply(seconds: float) -> tuple[Bus, FakePort]:
    """A bus whose first read failed, its reply being under way: it comes *seconds* after the request."""
    late = {"by": seconds}

    def answer(sent: bytes) -> list[tuple[float, bytes]]:
        if sent == PROBE:
            return [(0.02, PROBED)]
        return [(late.pop("by"), frame(3, 4, 4, 0, 1, 0, 1))] if late else [(0.02, REPLY)]

    port = FakePort(FakeTime(), answer)
    bus = bus_with(port, port.time)
    with pytest.raises(NoReply):
        read(bus)
    return bus, port


def test_a_late_reply_is_dropped_while_another_length_is_waited_for():
    bus, port = after_a_late_reply(1.08)
    assert read(bus) == [21.5, 56.3]
    assert [sent for _, sent in port.written] == [ASKED, PROBE, ASKED]


@given(st.floats(0.531, 1.04))
def test_a_late_reply_is_never_taken_for_the_next_one(seconds):
    bus, _ = after_a_late_reply(seconds)
    for _ in range(4):
        try:
            values = read(bus)
        except DriverError:
            continue
        assert values == [21.5, 56.3]


def test_an_instrument_that_answers_no_probe_is_asked_as_usual_the_time_after():
    answers = iter(([], [], [(0.02, REPLY)], [(0.02, REPLY)]))
    port = FakePort(FakeTime(), lambda _: next(answers))
    bus = bus_with(port, port.time)
    for _ in range(2):
        with pytest.raises(NoReply):
            read(bus)
    assert read(bus) == [21.5, 56.3]
    assert [sent for _, sent in port.written] == [ASKED, PROBE, ASKED, ASKED]  # twice, and both agree


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=20),
        st.tuples(st.integers(0, len(REPLY) - 1), st.integers(1, 255)).map(
            lambda change: bytes((*REPLY[: change[0]], REPLY[change[0]] ^ change[1], *REPLY[change[0] + 1 :]))
        ),
        st.integers(0, len(REPLY) - 1).map(lambda cut: REPLY[:cut]),
        st.binary(min_size=1, max_size=4).map(lambda junk: junk + REPLY),
        st.binary(min_size=1, max_size=4).map(lambda junk: REPLY + junk),
    )
)
def test_whatever_comes_back_is_a_driver_error_or_a_reply_with_a_sound_crc(reply):
    bus, _ = line((0.02, reply))
    try:
        payload = bus.read(3, REQUEST, PROFILE)
    except DriverError:
        return
    whole = bytes((3, 4, 4)) + payload
    assert whole + crc16(whole) in reply


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "gone"), termios.error(5, "gone"), serial.SerialException("gone")]
)
@pytest.mark.parametrize("call", ["write", "read", "in_waiting"])
def test_a_port_that_vanishes_is_lost_closed_and_opened_again(error, call, mocker):
    bad, good = line((0.02, REPLY))[1], line((0.02, REPLY))[1]
    good.time = bad.time
    ports = [bad, good]
    bus = Bus(fakes.settings(gap_ms=0), lambda _: ports.pop(0), bad.time.monotonic, bad.time.sleep)
    broken = mocker.PropertyMock(side_effect=error) if call == "in_waiting" else mocker.Mock(side_effect=error)
    mocker.patch.object(type(bad) if call == "in_waiting" else bad, call, broken)
    with pytest.raises(PortLost, match=r"^/dev/ttyUSB0: the port is lost: "):
        read(bus)
    assert bad.closed
    mocker.stopall()
    assert read(bus) == [21.5, 56.3]


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "x"), termios.error(22, "x"), ValueError("x")])
def test_a_port_that_cannot_be_opened_is_lost(error):
    def refuse(_):
        raise error

    with pytest.raises(PortLost, match=r"^/dev/ttyUSB0: cannot be opened: "):
        Bus(fakes.settings(), refuse).read(3, REQUEST, PROFILE)


def test_a_missing_port_is_named_with_the_systems_words():
    with pytest.raises(PortLost, match=r"^/dev/nowhere: cannot be opened: No such file or directory$"):
        Bus(fakes.settings("/dev/nowhere")).read(3, REQUEST, PROFILE)


def test_a_port_without_low_latency_is_reported_once_it_opens(mocker, caplog):
    opened = mocker.patch("serial.Serial")
    opened.return_value.set_low_latency_mode.side_effect = ValueError
    with caplog.at_level(logging.INFO):
        open_port(fakes.settings("/dev/ttyUSB7"))
    assert "no low-latency mode" in caplog.text
    assert opened.call_args.kwargs["exclusive"] is True


def test_minimalmodbus_still_does_what_the_bus_relies_on():
    """_perform_command is private: an upgrade that changes it has to fail here, not in the field."""
    port = FakePort(FakeTime(), lambda sent: [])
    port.open, port.is_open, port.port, port.baudrate = None, True, "pinned", 10**9  # type: ignore[attr-defined]
    taken = []

    def answering(reply):
        port.read = lambda size=1: taken.append(size) or reply  # type: ignore[method-assign]
        instrument = minimalmodbus.Instrument(port, 3)
        instrument.clear_buffers_before_each_transaction = False
        return lambda: instrument._perform_command(4, b"\0\1\0\2")

    assert answering(REPLY)() == REPLY[2:-2]  # byte count and registers
    assert port.written[-1][1] == ASKED
    assert taken == [len(REPLY)]  # one read, of the whole reply
    assert port.resets == 0
    with pytest.raises(minimalmodbus.NoResponseError):
        answering(b"")()
    with pytest.raises(minimalmodbus.SlaveReportedException):
        answering(frame(3, 0x84, 2))()
    for bad in (REPLY[:-1], frame(4, 4, 4, 0, 0, 0, 0), frame(3, 3, 4, 0, 0, 0, 0), frame(3, 0x84, 5), b"\1"):
        with pytest.raises(minimalmodbus.InvalidResponseError):
            answering(bad)()
    assert issubclass(minimalmodbus.InvalidResponseError, minimalmodbus.ModbusException)
    assert issubclass(minimalmodbus.ModbusException, OSError)


# -- replies that were given up


def three_registers() -> Profile:
    """The thermometer with a third value beside its two."""
    third = '[[register]]\nparameter = "dew_point"\ntable = "input"\naddress = 3\ntype = "u16"\nexample = 1\n'
    return parse(fakes.THERMOMETER + third, "wide")


def registers_of(sent: bytes) -> bytes:
    """A reply whose registers hold their address."""
    address, count = int.from_bytes(sent[2:4], "big"), int.from_bytes(sent[4:6], "big")
    return frame(*sent[:2], 2 * count, *b"".join(a.to_bytes(2, "big") for a in range(address, address + count)))


def test_after_a_failure_the_request_has_another_length_where_the_map_allows_it():
    profile, answers = three_registers(), iter(([], None, None))

    def answer(sent: bytes) -> list[tuple[float, bytes]]:
        return [] if next(answers) is not None else [(0.02, registers_of(sent))]

    port = FakePort(FakeTime(), answer)
    bus = bus_with(port, port.time)
    request = Request("input", 1, 2, ())
    with pytest.raises(NoReply):
        bus.read(3, request, profile)
    assert bus.read(3, request, profile) == b"\0\1\0\2"
    assert [sent[5] for _, sent in port.written] == [2, 3]  # a neighbour is read along and cut away


def test_a_neighbour_before_the_request_is_read_along_too():
    port = FakePort(FakeTime(), lambda sent: [(0.02, registers_of(sent))] if len(port.written) > 1 else [])
    bus = bus_with(port, port.time)
    request = Request("input", 2, 2, ())
    with pytest.raises(NoReply):
        bus.read(3, request, three_registers())
    assert bus.read(3, request, three_registers()) == b"\0\2\0\3"
    assert port.written[1][1][2:6] == b"\0\1\0\3"


def test_a_unit_that_refuses_to_be_read_along_is_not_asked_so_again():
    def answer(sent: bytes) -> list[tuple[float, bytes]]:
        if len(port.written) in (1, 5):
            return []
        return [(0.02, frame(3, 0x84, 2) if sent[5] == 3 else registers_of(sent))]

    port = FakePort(FakeTime(), answer)
    bus = bus_with(port, port.time)
    request = Request("input", 1, 2, ())
    for _ in range(2):
        with pytest.raises(NoReply):
            bus.read(3, request, three_registers())
        assert bus.read(3, request, three_registers()) == b"\0\1\0\2"
    assert [sent[5] for _, sent in port.written] == [2, 3, 1, 2, 2, 1, 2]


def test_the_line_stays_quiet_for_twice_the_longest_reply_a_unit_was_seen_to_take():
    delays = iter((1.2, 0.4, 0.4, 9, 0.02))
    port = FakePort(FakeTime(), lambda sent: [(next(delays), registers_of(sent))])
    bus = bus_with(port, port.time)
    request = Request("input", 1, 2, ())
    for wanted in (NoReply, None, None, NoReply, None):
        with pytest.raises(wanted) if wanted else nullcontext():
            bus.read(3, request, three_registers())
    sent_at = [at for at, _ in port.written]
    assert sent_at[1] - sent_at[0] == pytest.approx(0.54, abs=0.01)  # nothing is known of it yet
    assert sent_at[4] - sent_at[3] == pytest.approx(2 * 1.2, abs=0.1)  # the first was heard while the third was due
    assert (bus.statistics[3].late, bus.statistics[3].timeouts) == (1, 2)


def test_one_odd_reply_is_forgotten_after_two_hours():
    port = FakePort(FakeTime(), lambda sent: [])
    bus = bus_with(port, port.time)
    bus.statistics[3].came_late(2)
    waits = []
    for _ in range(4):
        with pytest.raises(NoReply):
            bus.read(3, REQUEST, PROFILE)
        bus.owed.clear()
        before = port.written[-1][0]
        with pytest.raises(NoReply):
            bus.read(3, REQUEST, PROFILE)
        bus.owed.clear()
        waits.append(port.written[-1][0] - before)
        port.time.now += 3601
    assert waits == pytest.approx([4, 4, 0.54, 0.54], abs=0.02)


def test_a_line_is_kept_quiet_for_five_seconds_at_most_however_slow_a_unit_was():
    port = FakePort(FakeTime(), lambda sent: [])
    bus = bus_with(port, port.time)
    bus.statistics[3].came_late(60)
    for _ in range(2):
        with pytest.raises(NoReply):
            bus.read(3, REQUEST, PROFILE)
        bus.owed.clear()
    assert port.written[1][0] - port.written[0][0] == pytest.approx(5, abs=0.1)


def test_a_unit_with_one_length_only_has_to_say_the_same_twice():
    """One register, nothing beside it: a late reply of another register would come first and differ."""
    text = fakes.THERMOMETER.replace("gap_ms = 0", "gap_ms = 0\nbridge_gaps = false").replace(
        "address = 2", "address = 9"
    )
    profile = parse(text, "lonely")
    second = [b"\0\x09", b"\0\x08", b"\0\x08"]

    def answer(sent: bytes) -> list[tuple[float, bytes]]:
        return [(0.02, frame(3, 4, 2, *second.pop(0)))] if len(port.written) > 1 else []

    port = FakePort(FakeTime(), answer)
    bus = bus_with(port, port.time)
    request = Request("input", 9, 1, ())
    with pytest.raises(NoReply):
        bus.read(3, request, profile)
    second[:] = [b"\0\x05", b"\0\x09", b"\0\x09", b"\0\x09"]
    with pytest.raises(BadReply, match="input register 9 cannot be told from older replies that may come"):
        bus.read(3, request, profile)
    assert bus.read(3, request, profile) == b"\0\x09"


# -- a line in trouble


@pytest.mark.parametrize("code", range(1, 12))
def test_every_exception_is_counted_by_its_code_and_leaves_the_line_at_work(code):
    bus, port = line((0.02, frame(3, 0x84, code)))
    with pytest.raises(DeviceException, match=rf"exception {code} \(") as caught:
        read(bus)
    assert isinstance(caught.value, DeviceBusy) == (code in (5, 6))
    assert bus.statistics[3].codes == {code: 1}
    assert bus.statistics[3].busy == (code in (5, 6))
    port.answer = lambda sent: [(0.02, REPLY)]
    before = port.time.now
    assert read(bus) == [21.5, 56.3]
    assert port.time.now - before < 0.1


@pytest.mark.parametrize("echo", [ASKED, ASKED[1:], ASKED[:-1]], ids=["whole", "first byte lost", "last byte lost"])
def test_an_echo_is_dropped_even_when_the_adapter_lost_a_byte_of_it(echo):
    bus, _ = line((-8 * CHARACTER, echo), (0.02, REPLY))
    assert read(bus) == [21.5, 56.3]
    assert bus.statistics[3].echoes == 1


def test_a_reply_glued_to_the_next_frame_is_taken_and_the_rest_dropped():
    bus, _ = line((0.02, REPLY + frame(9, 4, 2, 0, 1)))
    for _ in range(2):
        assert read(bus) == [21.5, 56.3]
    assert bus.statistics[3].leftover_bytes == 7


def test_a_line_that_is_stuck_is_opened_again_and_costs_little_time_of_the_processor():
    bus, port = line((0.02, REPLY))
    read(bus)
    port.put(b"\x55" * 100_000)
    port.time.sleeps.clear()
    with pytest.raises(LineStuck, match=r"^/dev/ttyUSB0: the line does not fall silent"):
        read(bus)
    assert port.closed
    assert len(port.time.sleeps) < 100
    port.arriving.clear()
    assert read(bus) == [21.5, 56.3]


def test_what_went_wrong_is_counted_by_kind():
    bus, _ = line((0.02, frame(4, 4, 4, 1, 1, 1, 1)), (0.1, REPLY))
    read(bus)
    bus.statistics[3].answered(0.004)
    spoilt, _ = line((0.02, REPLY[:-1] + b"!"))
    with pytest.raises(BadReply):
        read(spoilt)
    counted, noisy = bus.statistics[3].so_far(), spoilt.statistics[3].so_far()
    assert (counted["requests"], counted["wrong_unit"], counted["crc_errors"]) == (1, 1, 0)
    assert (noisy["bad_replies"], noisy["crc_errors"]) == (1, 1)
    assert counted["latency"] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]  # up to 5 ms, up to 200 ms
    assert counted["worst_ms"] == pytest.approx(1000 * (0.1 + 17 * CHARACTER), abs=2)


# -- two masters


FOREIGN_ASKS, FOREIGN_HAS = frame(3, 4, 0, 60, 0, 2), frame(3, 4, 4, 9, 9, 9, 9)


def test_a_reply_to_another_master_is_waited_for_and_never_taken():
    """It asks our instrument for as many registers just before we do."""
    bus, port = line((0.02, REPLY))
    read(bus)
    port.put(FOREIGN_ASKS)
    port.put(FOREIGN_HAS, 0.2)
    assert read(bus) == [21.5, 56.3]
    assert port.written[1][0] - port.written[0][0] > 0.2 + 17 * CHARACTER
    assert bus.foreign == 1


def test_another_masters_request_in_our_wait_makes_the_next_reply_nobodys():
    bus, port = line((0.02, FOREIGN_ASKS), (0.05, FOREIGN_HAS))
    with pytest.raises(BadReply, match=r"03 04 00 3C 00 02 .* is not the reply"):
        read(bus)
    port.answer = lambda sent: [(0.02, PROBED if sent == PROBE else REPLY)]
    assert read(bus) == [21.5, 56.3]


def test_a_reply_to_another_master_is_waited_for_beyond_our_own_time_out():
    bus, port = line((0.5, FOREIGN_ASKS), (0.75, FOREIGN_HAS))
    with pytest.raises(BadReply):
        read(bus)
    port.answer = lambda sent: [(0.02, PROBED if sent == PROBE else REPLY)]
    bus.owed.clear()  # so that the next request has the same length, as another instrument's may have
    assert read(bus) == [21.5, 56.3]
    assert port.written[1][0] - port.written[0][0] > 0.75


def test_another_master_that_never_pauses_is_not_waited_for_for_ever():
    bus, port = line((0.02, REPLY))
    read(bus)
    for number in range(200):
        port.put(FOREIGN_ASKS, 0.3 * number)
    before = port.time.now
    with pytest.raises(LineStuck):
        read(bus)
    assert port.time.now - before < 15
    assert bus.foreign > 10


def test_another_master_is_named_once_in_one_sentence(caplog):
    noted = []
    port = FakePort(FakeTime(), lambda sent: [(0.02, REPLY)])
    bus = Bus(
        fakes.settings(gap_ms=0),
        lambda _: port,
        port.time.monotonic,
        port.time.sleep,
        lambda *a, **k: noted.append((a, k)),
    )
    for _ in range(5):
        port.put(FOREIGN_ASKS)
        port.put(FOREIGN_HAS, 0.05)
        assert read(bus) == [21.5, 56.3]
    assert [record.message for record in caplog.records] == [
        "bus test: another master speaks on this line (03 04 00 3C 00 02 B0 25 was asked by nobody here);"
        " a line has one master"
    ]
    assert noted == [(("foreign_traffic",), {"bus": "test", "frame": "03 04 00 3C 00 02 B0 25"})]


def test_a_unit_that_answers_under_another_address_is_no_other_master():
    bus, _ = line((0.02, frame(9, 4, 4, 0, 215, 2, 51)))
    for _ in range(5):
        with pytest.raises(BadReply):
            read(bus)
    assert bus.foreign == 0
    assert bus.statistics[3].wrong_unit >= 5


# -- several serial settings on one line


class TunedPort(FakePort):
    """A port that remembers when which settings were made."""

    def apply_settings(self, settings):
        self.tuned = [*getattr(self, "tuned", []), (self.time.now, settings)]


def test_the_port_is_switched_between_two_silences_and_back():
    port = TunedPort(FakeTime(), lambda sent: [(0.02, REPLY)])
    bus = bus_with(port, port.time)
    read(bus)
    ended = port.time.now
    with bus.speaking(Speed(19200, "E")):
        assert bus.line.bits == 11
        assert read(bus) == [21.5, 56.3]
        read(bus)
    read(bus)
    (first, to), (_, back) = port.tuned
    assert to == {"baudrate": 19200, "parity": "E", "stopbits": 1}
    assert back == {"baudrate": 9600, "parity": "N", "stopbits": 1}
    assert first - ended >= 0.0499
    assert port.written[1][0] - first >= 0.0499


# -- opening


def test_a_port_somebody_has_is_named_with_what_to_do(mocker):
    mocker.patch("serial.Serial", side_effect=serial.SerialException(errno.EAGAIN, "Could not exclusively lock port"))
    with pytest.raises(PortLost) as caught:
        Bus(fakes.settings()).open()
    assert str(caught.value) == (
        "/dev/ttyUSB0: cannot be opened: Resource temporarily unavailable: another program has it, and a line has"
        " one master; stop that one (fuser -v names it)"
    )


def test_an_adapter_that_holds_bytes_back_is_told_not_to(mocker, tmp_path, caplog):
    mocker.patch("serial.Serial")
    mocker.patch("drivers.port.LATENCY_TIMERS", tmp_path)
    timer = tmp_path / "ttyUSB7" / "latency_timer"
    timer.parent.mkdir()
    timer.write_text("16\n")
    open_port(fakes.settings("/dev/ttyUSB7"))
    assert timer.read_text() == "1"
    timer.write_text("16\n")
    mocker.patch("pathlib.Path.write_text", side_effect=PermissionError)
    open_port(fakes.settings("/dev/ttyUSB7"))
    assert caplog.messages == [f"/dev/ttyUSB7: the adapter holds replies back for up to 16 ms; write 1 to {timer}"]


def test_the_kernel_turns_the_transmitter_where_the_configuration_says_so(mocker):
    opened = mocker.patch("serial.Serial")
    settings = BusSettings(name="test", port="/dev/ttyAMA3", rs485="kernel")
    open_port(settings)
    assert opened.return_value.rs485_mode.rts_level_for_tx is True
    type(opened.return_value).rs485_mode = mocker.PropertyMock(side_effect=ValueError("Failed to set RS-485 mode: 25"))
    with pytest.raises(
        PortLost, match=re.escape('/dev/ttyAMA3: its driver has no RS-485 mode; set rs485 = "hardware"')
    ):
        Bus(settings).open()
    opened.return_value.close.assert_called_once_with()


def test_no_exchange_keeps_the_thread_from_its_heartbeat_for_longer_than_half_a_minute():
    """The slowest profile there can be, a unit seen slower still, a line with noise: 60 s is the watchdog's limit."""
    profile = replace(three_registers(), worst_reply_ms=20_000)
    time, beats = FakeTime(), [0.0]
    port = FakePort(time, lambda sent: [])
    bus = bus_with(port, time)
    bus.statistics[3].came_late(60)
    bus.beat = lambda: beats.append(time.now)
    beats[0] = time.now
    for _ in range(6):
        port.put(b"\x55" * 300)
        with pytest.raises(DriverError):
            bus.read(3, REQUEST, profile)
    beats.append(time.now)
    assert len(beats) > 7
    assert max(b - a for a, b in itertools.pairwise(beats)) < 30


def test_an_exception_that_may_be_an_older_requests_leaves_the_reply_to_this_one_owed():
    """A gateway says late that its target does not answer; what it then answers belongs to the request between."""
    late = [
        [(0.75, frame(3, 0x84, 11))],  # to a request of two registers, given up by then
        [(0.33, frame(3, 4, 2, 0, 9))],  # register 9, behind the exception
        [(0.3, frame(3, 4, 2, 0, 7))],  # register 7
    ]
    profile = parse(fakes.THERMOMETER.replace("gap_ms = 0", "gap_ms = 0\nbridge_gaps = false"), "behind a gateway")
    port = FakePort(FakeTime(), lambda sent: late.pop(0) if late else [(0.02, frame(3, 4, 2, 0, 7))])
    bus = bus_with(port, port.time)
    with pytest.raises(NoReply):
        bus.read(3, Request("input", 1, 2, ()), profile)
    with pytest.raises(DeviceException, match="exception 11"):
        bus.read(3, Request("input", 9, 1, ()), profile)
    try:
        got = bus.read(3, Request("input", 7, 1, ()), profile)
    except DriverError:
        got = b"\0\7"
    assert got == b"\0\7"
    assert bus.statistics[3].late == 1


def test_a_reply_that_was_due_when_the_port_was_lost_is_not_the_first_value_after_it():
    profile = parse(fakes.THERMOMETER.replace("gap_ms = 0", "gap_ms = 0\nbridge_gaps = false"), "replugged")
    lost = FakePort(FakeTime(), lambda sent: [])
    back = FakePort(lost.time, lambda sent: [(0.4, frame(3, 4, 2, 0, 7))])
    back.put(frame(3, 4, 2, 0, 9), 0.3)
    ports = [lost, back]

    def unplugged(size: int = 1) -> bytes:
        raise OSError(errno.EIO, "unplugged")

    lost.read = unplugged
    bus = Bus(fakes.settings(gap_ms=0), lambda _: ports.pop(0), lost.time.monotonic, lost.time.sleep)
    with pytest.raises(PortLost):
        bus.read(3, Request("input", 9, 1, ()), profile)
    try:
        got = bus.read(3, Request("input", 7, 1, ()), profile)
    except DriverError:
        got = b"\0\7"
    assert got == b"\0\7"


def test_a_wait_within_an_action_shows_the_thread_alive():
    bus, port = line((0.02, REPLY))
    shown: list[float] = []
    bus.beat = lambda: shown.append(port.time.now)
    began = port.time.now
    bus.sleep(60.0)
    assert port.time.now - began == pytest.approx(60)
    moments = [began, *shown, port.time.now]
    assert max(b - a for a, b in itertools.pairwise(moments)) <= 30


def echoing(*replies: bytes) -> tuple[Bus, FakePort]:
    """A bus whose adapter hands every request back, before the unit's *replies* in turn."""
    due = list(replies)
    port = FakePort(FakeTime(), lambda sent: [(0.0, sent), *([(0.03, reply)] if (reply := due.pop(0)) else [])])
    return bus_with(port, port.time), port


WRITTEN = frame(3, 6, 0, 5, 0, 1)


def test_an_echo_is_no_word_of_a_unit_that_did_not_do_what_was_written():
    """The reply to one register is the request over again: an adapter known to echo has to bring it twice."""
    bus, _ = echoing(REPLY, b"")
    assert read(bus) == [21.5, 56.3]
    with pytest.raises(NoReply, match="no reply to writing 1 registers from 5"):
        bus.write(3, Write(address=5, function=6, values=(1,)), PROFILE)


def test_a_write_over_an_adapter_that_echoes_is_done_when_the_unit_says_so():
    bus, _ = echoing(REPLY, WRITTEN, REPLY)
    assert read(bus) == [21.5, 56.3]
    bus.write(3, Write(address=5, function=6, values=(1,)), PROFILE)
    assert read(bus) == [21.5, 56.3]
    assert bus.statistics[3].echoes == 3


def test_an_adapter_that_stopped_to_echo_is_believed_again():
    bus, port = echoing(REPLY, REPLY, WRITTEN)
    assert read(bus) == [21.5, 56.3]
    port.answer = lambda sent: [(0.03, WRITTEN if sent == WRITTEN else REPLY)]
    assert read(bus) == [21.5, 56.3]
    bus.write(3, Write(address=5, function=6, values=(1,)), PROFILE)


def test_a_meter_that_keeps_values_whole_is_read_along_by_whole_values_only():
    text = fakes.THERMOMETER.replace("gap_ms = 0", "gap_ms = 0\npairs = true").replace("address = 1", "address = 4")
    text = text.replace("address = 2", "address = 6")
    profile = parse(text, "pairs")
    asked: list[tuple[int, int]] = []

    def answer(sent: bytes) -> list[tuple[float, bytes]]:
        asked.append(struct.unpack(">HH", sent[2:6]))
        return []

    port = FakePort(FakeTime(), answer)
    bus = bus_with(port, port.time)
    for _ in range(2):
        with pytest.raises(DriverError):
            bus.read(3, Request("input", 4, 2, ()), profile)
    assert len(asked) > 1
    assert (4, 3) not in asked


def test_a_late_answer_to_the_start_of_a_probe_is_no_value_of_one_register():
    """Such a start is a read as well, and what it brings back means nothing."""
    profile = parse(fakes.THERMOMETER.replace("gap_ms = 0", "gap_ms = 0\nbridge_gaps = false"), "started")
    start = bytes.fromhex("25 00 00 01")

    def answer(sent: bytes) -> list[tuple[float, bytes]]:
        filler = frame(3, 3, 2, 0, 0)
        return [(0.75, filler)] if sent[2:6] == start else [(0.3, frame(3, 3, 2, 0, 7))]

    port = FakePort(FakeTime(), answer)
    bus = bus_with(port, port.time)
    with pytest.raises(NoReply):
        bus.raw(3, 3, start, profile)
    got = b""
    with suppress(DriverError):
        got = bus.read(3, Request("holding", 9, 1, ()), profile)
    assert got in (b"", b"\0\7")
    port.time.now += 10
    assert bus.read(3, Request("holding", 9, 1, ()), profile) == b"\0\7"
    assert bus.statistics[3].late == 1


def test_an_unanswered_start_does_not_hold_up_reads_of_another_length():
    port = FakePort(FakeTime(), lambda sent: [(0.02, REPLY)] if sent == ASKED else [])
    bus = bus_with(port, port.time)
    with pytest.raises(NoReply):
        bus.raw(3, 4, bytes.fromhex("25 00 00 01"), PROFILE)
    assert read(bus) == [21.5, 56.3]
    assert len(port.written) == 2


def test_a_start_that_an_older_reply_may_have_answered_is_owed_its_own():
    profile = parse(fakes.THERMOMETER.replace("gap_ms = 0", "gap_ms = 0\nbridge_gaps = false"), "started")
    late = [
        [(1.35, frame(3, 3, 4, 0, 1, 0, 2))],  # to a read of two registers, given up by then
        [(0.6, frame(3, 3, 2, 0, 0))],  # to the start
    ]
    port = FakePort(FakeTime(), lambda sent: late.pop(0) if late else [(0.4, frame(3, 3, 2, 0, 7))])
    bus = bus_with(port, port.time)
    with pytest.raises(NoReply):
        bus.read(3, Request("holding", 1, 2, ()), profile)
    bus.raw(3, 3, bytes.fromhex("25 00 00 01"), profile)
    got = b"\0\7"
    with suppress(DriverError):
        got = bus.read(3, Request("holding", 9, 1, ()), profile)
    assert got == b"\0\7"
