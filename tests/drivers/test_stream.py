"""An instrument alone on its line: what one poll brings, when it is dated, and how it fails."""

from datetime import timedelta

import pytest

from drivers.base import BadReply, DeviceError, NoReply, PortLost, ProfileError
from drivers.bus import Bus
from drivers.stream import ONLY_UNIT, StreamDevice, StreamSettings
from station.model import Mark, Reason
from tests.drivers import fakes
from tests.drivers.fakes import NOON, FakePort, FakeTime
from tests.drivers.test_records import AQT, ES, PMS


def instrument(profile, answer=lambda _: [], *, baudrate=9600, **keys) -> tuple[StreamDevice, FakePort]:
    time = FakeTime()
    port = FakePort(time, answer, 0.0001)
    bus = Bus(fakes.settings(baudrate=baudrate), lambda _: port, time.monotonic, time.sleep)
    settings = StreamSettings(name="it", driver="stream", point="p", profile=profile, **keys)
    return StreamDevice(settings, bus, (), lambda: NOON + timedelta(seconds=time.now - 100)), port


def test_the_record_completed_while_listening_is_taken_and_dated_then():
    device, port = instrument("plantower-pms5003")
    port.put(PMS, 0.7)
    samples = device.read()
    assert {s.parameter: (s.value, s.mark) for s in samples} == dict.fromkeys(("pm25", "pm10"), (4, Mark.N)) | {
        "pm1": (3, Mark.N)
    }
    (time,) = {s.time for s in samples}
    assert (time - NOON).total_seconds() == pytest.approx(0.7032)


def test_what_waited_in_the_port_at_the_first_poll_is_stale():
    device, port = instrument("plantower-pms5003")
    port.put(PMS.replace(b"\x00\x04", b"\x00\x09"), -50)
    with pytest.raises(BadReply):  # its sum is wrong, and it would be stale anyway
        device.read()
    port.put(PMS, 0.5)
    assert device.read()[0].value == 3


def test_no_record_is_delivered_twice():
    device, port = instrument("plantower-pms5003")
    port.put(PMS, 0.5)
    device.read()
    with pytest.raises(NoReply, match=r"^/dev/ttyUSB0: no record of it within 2.5 s$"):
        device.read()
    assert device.statistics.requests == 2


def test_a_record_older_than_the_instrument_s_period_waits_no_longer():
    """The stream stopped after it: nobody can say when it came."""
    device, port = instrument("plantower-pms5003")
    port.put(PMS, 0.5)
    device.read()
    port.put(PMS, 1)
    port.time.now += 60
    with pytest.raises(BadReply):
        device.read()


def test_of_several_records_the_newest_counts():
    device, port = instrument("metone-es642", variant="pm10")
    port.put(ES, 0.1)
    port.put(ES, 0.2)
    device.read()
    old, new = (b"000.%03d,2.0,+25.1,043,1013.2,00," % n for n in (40, 41))
    port.put(b"".join(line + b"*%05d\r\n" % sum(line) for line in (old, new)), 0.1)
    port.time.now += 0.5
    assert device.read()[0].value == 41


def test_units_are_the_catalogue_s():
    device, port = instrument("metone-es642", variant="tsp")
    port.put(b"\n" + ES, 0.1)
    assert {s.parameter: s.value for s in device.read()} == {
        "tsp": 12.0, "air_temperature": 25.1, "air_pressure": 101.32,
    }  # fmt: skip
    assert device.units == {"tsp": "µg/m³", "air_temperature": "°C", "air_pressure": "kPa"}


def test_gases_come_in_milligrams_at_25_degrees():
    """NO2: 0.020 ppm × 46.0055 g/mol ÷ 24.465 L/mol."""
    device, port = instrument("vaisala-aqt530", baudrate=115200)
    port.put(b"\n" + AQT, 0.1)
    values = {s.parameter: s.value for s in device.read()}
    assert values["no2"] == pytest.approx(0.0376092, rel=1e-5)
    assert values["co"] == pytest.approx(0.170 * 28.010 / 24.465)
    assert (values["air_pressure"], values["pm25"], values["o3"] < 0) == (98.41, 0.5, True)


def test_a_slow_stream_has_nothing_new_at_most_polls_and_is_silent_only_after_its_own_time():
    device, port = instrument("vaisala-aqt530", baudrate=115200)
    assert device.every_seconds == 60
    port.put(b"\n" + AQT, 42)
    brought = [len(device.read()) for _ in range(12)]  # each listens for five seconds
    assert brought == [0] * 8 + [10] + [0] * 3
    while port.time.now - 100 < 42 + 145:
        assert device.read() == []
    with pytest.raises(NoReply, match="within 150 s"):
        device.read()


def test_an_instrument_that_was_set_to_another_pace_is_waited_for_accordingly():
    device, _ = instrument("vaisala-aqt530", baudrate=115200, every_seconds=10)
    assert device.every_seconds == 10
    assert [device.read() for _ in range(4)] == [[]] * 4
    with pytest.raises(NoReply, match="within 25 s"):
        device.read()


def test_a_field_that_was_asked_for_and_is_not_named_has_no_value():
    device, port = instrument("vaisala-aqt530", baudrate=115200, parameters=("so2", "pm25"))
    port.put(b"\n" + AQT, 0.1)
    assert {s.parameter: (s.value, s.mark, s.reason) for s in device.read()} == {
        "so2": (None, Mark.D, Reason.NO_VALUE), "pm25": (0.5, Mark.N, Reason.NONE),
    }  # fmt: skip


def test_what_the_instrument_says_of_itself_marks_the_record_and_is_logged_once(caplog):
    device, port = instrument("metone-es642", variant="pm10")
    bad = b"000.012,2.0,+25.1,043,1013.2,04,*01530\r\n"
    for line in (b"\n" + bad, bad, ES):
        port.put(line, 0.1)
        last = device.read()
        assert (last[0].value, last[0].reason is Reason.STATUS) == (12.0, line.endswith(bad))
    assert caplog.messages == ["device it: reports status 04", "device it: reports no fault any more"]


def test_a_line_at_another_speed_is_named_as_the_likely_cause():
    device, port = instrument("plantower-pms5003", baudrate=19200)
    port.put(bytes(range(64)) * 2, 0.1)
    with pytest.raises(BadReply) as caught:
        device.read()
    assert str(caught.value) == (
        "/dev/ttyUSB0: 128 bytes and no record of it within 2.5 s; "
        "the line is set to 19200 8N1, the instrument is shipped with 9600 8N1"
    )


def test_spoilt_records_are_counted_with_the_line():
    device, port = instrument("metone-es642", variant="pm10")
    port.put(b"\n" + ES.replace(b"012", b"013"), 0.1)
    with pytest.raises(BadReply, match="1 were none, the last for checksum 01526 where the characters sum to 01527"):
        device.read()
    assert (device.statistics.bad_replies, device.statistics.leftover_bytes) == (1, 40)


def test_what_comes_after_a_silence_begins_a_record():
    """A slow stream's first line counts, and half a line spoils no other."""
    device, port = instrument("vaisala-aqt530", baudrate=115200)
    port.put(AQT, 1.0)
    assert len(device.read()) == 10
    port.put(AQT[:40], 3.0)
    assert device.read() == []
    port.put(AQT, 2.0)
    assert len(device.read()) == 10
    assert device.statistics.leftover_bytes == 40


def test_half_a_record_held_when_the_port_was_lost_is_forgotten():
    device, port = instrument("metone-es642", variant="pm10")
    port.put(b"\n" + ES + ES[:20], 0.1)
    device.read()
    sound, device._bus._open_port = port.read, lambda _: port

    def gone(size=1):
        raise OSError(5, "Input/output error")

    port.read = gone
    with pytest.raises(PortLost):
        device.read()
    port.read = sound
    port.put(ES + ES, 0.1)
    assert device.read()[0].value == 12.0
    assert device.statistics.bad_replies == 0


def test_silence_and_rubbish_are_counted():
    device, port = instrument("plantower-pms5003")
    with pytest.raises(NoReply):
        device.read()
    port.put(b"rubbish", 0.1)
    with pytest.raises(BadReply):
        device.read()
    assert (device.statistics.timeouts, device.statistics.bad_replies) == (1, 1)


def test_a_balance_is_asked_and_its_stable_weight_is_the_mass():
    device, port = instrument("mtsics-balance", lambda _: [(0.05, b"S S    1042.3817 g\r\n")])
    (mass,) = device.read()
    assert (mass.parameter, mass.value, mass.mark) == ("collector_mass", 1042.3817, Mark.N)
    assert [asked for _, asked in port.written] == [b"SI\r\n"] * 2
    assert (device.statistics.requests, sum(device.statistics.latency)) == (2, 2)


def test_a_digit_that_was_flipped_on_the_line_is_outvoted():
    """No answer of a balance carries a checksum."""
    answers = iter([b"1042.3817", b"1042.3867"])
    device, port = instrument("mtsics-balance", lambda _: [(0.05, b"S S    " + next(answers) + b" g\r\n")])
    assert device.read()[0].value == 1042.3867  # five milligrams apart may be the weight itself
    answers = iter([b"1.0", b"2.0", b"3.0"])
    with pytest.raises(BadReply, match=r"of 3 answers of it no two agree: 1\.0, 2\.0, 3\.0$"):
        device.read()
    answers = iter([b"1042.3817", b"1052.3817", b"1042.3818"])
    assert device.read()[0].value == 1042.3818
    assert len(port.written) == 2 + 3 + 3


def test_an_unstable_weight_is_no_mass():
    device, _ = instrument("sbi-balance", lambda _: [(0.05, b"+ 1042.38     \r\n")])
    (mass,) = device.read()
    assert (mass.value, mass.mark, mass.reason) == (None, Mark.D, Reason.STATUS)
    assert device.condition == "weight not stable"


def test_a_late_answer_is_not_taken_for_the_next_one():
    answers = iter([[(3.0, b"S S    1.0000 g\r\n")], *[[(0.05, b"S S    2.0000 g\r\n")]] * 2])
    device, port = instrument("mtsics-balance", lambda _: next(answers))
    with pytest.raises(NoReply, match=r"no record of it to the question within 1 s"):
        device.read()
    port.time.now += 5
    assert device.read()[0].value == 2.0


def test_a_tare_is_done_when_the_balance_says_so():
    device, port = instrument("mtsics-balance", lambda _: [(0.5, b"T S    1042.3817 g\r\n")])
    assert device.act("tare", {}) == {}
    assert port.written[0][1] == b"T\r\n"


def test_a_tare_that_was_refused_is_said():
    device, _ = instrument("mtsics-balance", lambda _: [(0.5, b"T I\r\n")])
    with pytest.raises(DeviceError, match=r"^it: tare was not done, the answer is 'T I'$"):
        device.act("tare", {})
    with pytest.raises(DeviceError, match=r"^it: has no way to clean$"):
        device.act("clean", {})


def test_a_port_that_vanishes_is_lost_and_opened_again():
    device, port = instrument("plantower-pms5003")
    sound = port.read

    def gone(size=1):
        raise OSError(5, "Input/output error")

    port.read = gone
    with pytest.raises(PortLost, match=r"^/dev/ttyUSB0: the port is lost: Input/output error$"):
        device.read()
    assert port.closed
    port.read = sound
    port.put(PMS, 0.2)
    assert len(device.read()) == 3
    assert device._bus.statistics[ONLY_UNIT].requests == 2


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"profile": "plantower-pms"},
         "there is no stream instrument 'plantower-pms'; did you mean plantower-pms5003?"),
        ({"profile": "metone-es642"}, "metone-es642: variant is one of tsp, pm10, pm25, pm1"),
        ({"profile": "metone-es642", "variant": "pm2.5"},
         "metone-es642: variant is one of tsp, pm10, pm25, pm1; did you mean pm25?"),
        ({"profile": "sbi-balance", "every_seconds": 5},
         "sbi-balance: is asked at each poll; every_seconds is for what sends by itself"),
        ({"profile": "nova-sds011", "variant": "pm10"}, "nova-sds011: it has no variants"),
        ({"profile": "nova-sds011", "parameters": ("pm1",)},
         "nova-sds011: does not measure 'pm1'; did you mean pm10?; it has pm25, pm10"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_what_there_is(keys, fault):
    with pytest.raises(ProfileError) as caught:
        StreamDevice(StreamSettings(name="it", point="p", **keys), Bus(fakes.settings()), (), lambda: NOON)
    assert str(caught.value) == fault
