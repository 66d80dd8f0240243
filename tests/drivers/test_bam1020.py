"""The BAM-1020: an hour's value once, dated to its hour, by the columns its own header names."""

from datetime import UTC, datetime, timedelta

import pytest

from drivers.bam1020 import Bam1020, BamSettings
from drivers.base import BadReply, DeviceError, NoReply, ProfileError
from drivers.bus import Bus
from drivers.emulated_stream import EmulatedBam, EmulatedStream
from station.model import Mark, Reason
from tests.drivers import fakes
from tests.drivers.fakes import FakePort, FakeTime

NOW = datetime(2026, 6, 18, 6, 20, tzinfo=UTC)  # 14:20 in China
COLUMNS = {"pm10": "Conc(mg/m3)", "air_temperature": "AT(C)", "air_pressure": "BP(mmHg)"}
HEADER = b"Time,Conc(mg/m3),Qtot(m3),AT(C),BP(mmHg)\r\n"
RECORD = b"06/18/26 14:00,  0.068,  0.834,   25.1, 759.97\r\n"


def monitor(answers: dict[bytes, bytes] | None = None, **keys) -> tuple[Bam1020, FakePort]:
    replies = {b"\x1bQCH\r": HEADER, b"\x1bQC\r": RECORD} | (answers or {})
    time = FakeTime()
    port = FakePort(time, lambda asked: [(0.05, replies[asked])])
    bus = Bus(fakes.settings(), lambda _: port, time.monotonic, time.sleep)
    settings = BamSettings(**{"name": "bam", "driver": "bam1020", "point": "p", "columns": COLUMNS} | keys)
    return Bam1020(settings, bus, (), lambda: NOW), port


def test_an_hour_s_record_is_dated_to_the_start_of_its_hour_in_the_catalogue_s_units():
    device, _ = monitor()
    samples = device.read()
    assert {s.parameter: s.value for s in samples} == {
        "pm10": 68.0, "air_temperature": 25.1, "air_pressure": pytest.approx(101.321, abs=0.001),
    }  # fmt: skip
    assert {s.time for s in samples} == {datetime(2026, 6, 18, 5, tzinfo=UTC)}
    assert device.units == {"pm10": "µg/m³", "air_temperature": "°C", "air_pressure": "kPa"}


def test_a_record_is_delivered_once():
    device, port = monitor()
    assert [len(device.read()) for _ in range(3)] == [3, 0, 0]
    new = 2  # one is asked for twice, and one each is found to be known
    assert [asked for _, asked in port.written] == [b"\x1bQCH\r", *[b"\x1bQC\r"] * (new + 2)]
    assert (device.statistics.requests, sum(device.statistics.latency), device.statistics.timeouts) == (5, 5, 0)


def test_an_hour_is_closed_a_quarter_of_an_hour_behind_its_end():
    """Its record is there when the hour is over; an analyser's result takes its whole cycle."""
    device, _ = monitor()
    assert (device.every_seconds, device.closing_seconds) == (3600, 900)


def test_a_digit_that_the_line_spoilt_makes_no_value_of_an_hour():
    """The lines have no checksum, so a new record has to come the same twice."""
    device, port = monitor()
    lines = [HEADER, RECORD.replace(b"0.068", b"8.068"), RECORD, RECORD, RECORD]
    port.answer = lambda asked: [(0.05, lines.pop(0))]
    with pytest.raises(BadReply, match="asked twice, it says two things"):
        device.read()
    lines.insert(0, HEADER)
    assert {s.parameter: s.value for s in device.read()}["pm10"] == 68.0


def test_a_record_that_was_stored_before_the_station_was_started_is_not_delivered_again():
    device, _ = monitor()
    device.resume(datetime(2026, 6, 18, 5, tzinfo=UTC))
    assert device.read() == []


def test_a_stamp_may_name_the_start_of_the_hour():
    device, _ = monitor({b"\x1bQC\r": RECORD.replace(b"14:00", b"13:00")}, stamp="start")
    assert device.read()[0].time == datetime(2026, 6, 18, 5, tzinfo=UTC)


def test_a_record_of_an_hour_that_is_not_over_is_refused():
    """Its clock, the timezone or the stamp is wrong; a reading dated to the future would be worse."""
    device, _ = monitor({b"\x1bQC\r": RECORD.replace(b"14:00", b"15:00")})
    with pytest.raises(BadReply, match="its hour is not over yet; set its clock, or timezone and stamp here"):
        device.read()


def test_a_field_that_holds_no_number_is_no_value():
    device, _ = monitor({b"\x1bQC\r": RECORD.replace(b"  0.068", b"       ")})
    first = device.read()[0]
    assert (first.value, first.mark, first.reason) == (None, Mark.D, Reason.NO_VALUE)


def test_silence_and_half_an_answer_are_errors():
    device, _ = monitor({b"\x1bQC\r": b""})
    with pytest.raises(NoReply, match=r"no answer of bam to ESC QC in 3 s$"):
        device.read()
    device, _ = monitor({b"\x1bQC\r": RECORD[:30]})
    with pytest.raises(BadReply, match="no line of 5 comma fields"):
        device.read()
    with pytest.raises(DeviceError, match="has no way to clean"):
        device.act("clean", {})


def test_a_header_without_the_configured_column_is_named():
    device, _ = monitor({b"\x1bQCH\r": b"Time,Conc(ug/m3),Qtot(m3),AT(C),BP(mmHg)\r\n"})
    with pytest.raises(BadReply) as caught:
        device.read()
    assert str(caught.value) == (
        "/dev/ttyUSB0: bam: its header has no column 'Conc(mg/m3)'; did you mean conc(ug/m3)?; "
        "there is 'time, conc(ug/m3), qtot(m3), at(c), bp(mmhg)'"
    )


def test_a_record_with_another_number_of_fields_has_the_header_read_again():
    device, port = monitor({b"\x1bQC\r": b"06/18/26 14:00,  0.068\r\n"})
    with pytest.raises(BadReply, match=r"no line of 5 comma fields in answer to ESC QC; there is '06/18/26 14:00"):
        device.read()
    with pytest.raises(BadReply):
        device.read()
    assert [asked for _, asked in port.written].count(b"\x1bQCH\r") == 2


def test_an_echo_of_the_command_before_the_record_does_no_harm():
    device, _ = monitor({b"\x1bQC\r": b"QC\r\n\r\n" + RECORD})
    assert device.read()[0].value == 68.0


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"columns": {"pm10": "Conc"}}, 'columns.pm10: "Conc" names no unit; say it in column_units'),
        ({"columns": {"pm10": "Conc(ppm)"}}, 'column_units.pm10: "ppm" is none of mg/m3, ug/m3, µg/m3'),
        ({"columns": {"pm2.5": "Conc(mg/m3)"}}, "columns.pm2.5: is none of tsp, pm10, pm25, pm1, air_temperature, "
         "humidity, air_pressure, wind_speed, wind_direction; did you mean pm25?"),
        ({"timezone": "Asia"}, 'timezone: "Asia" is not an offset such as +08:00'),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named(keys, fault):
    with pytest.raises(ProfileError) as caught:
        monitor(**keys)
    assert str(caught.value) == fault


def test_driver_and_emulator_over_a_pseudo_terminal():
    settings = BamSettings(name="bam", point="p", columns=COLUMNS)
    moment = [NOW]
    emulated = EmulatedBam(settings, {"pm10": 87.0}, now=lambda: moment[0])
    with EmulatedStream(emulated) as stream:
        device = Bam1020(settings, Bus(fakes.settings(stream.path)), (), lambda: moment[0])
        assert {s.parameter: s.value for s in device.read()}["pm10"] == 87.0
        assert device.read() == []
        moment[0] += timedelta(hours=1)
        assert {s.time for s in device.read()} == {datetime(2026, 6, 18, 6, tzinfo=UTC)}
        device._bus.close()


def test_an_emulated_record_stays_what_it_is_for_its_hour_whatever_the_air_does():
    air = iter([{"pm10": 68.0}, {"pm10": 69.0}, {"pm10": 70.0}])
    settings = BamSettings(name="bam", driver="bam1020", point="p", columns={"pm10": "Conc(mg/m3)"})
    moment = [NOW]
    unit = EmulatedBam(settings, lambda: next(air), lambda: moment[0])
    assert unit.record() == unit.record() == b"06/18/26 14:00,  0.068\r\n"
    moment[0] += timedelta(hours=1)
    assert unit.record() == b"06/18/26 15:00,  0.069\r\n"
