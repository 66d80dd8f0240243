"""Emulated stream instruments: their bytes, and driver and emulator over a pseudo-terminal."""

import pytest

from drivers.base import BadReply, BusSettings, NoReply, PortLost
from drivers.bus import Bus
from drivers.emulated_stream import FAULTS, WRITERS, EmulatedInstrument, EmulatedStream
from drivers.records import FORMATS, Records
from drivers.stream import StreamDevice, StreamSettings
from station.model import Mark, replace
from tests.drivers.fakes import NOON
from tests.drivers.test_records import AQT, ES, PMS


def emulated(profile, values=None, **keys) -> EmulatedInstrument:
    return EmulatedInstrument(settings(profile, **keys), values)


def settings(profile, **keys) -> StreamSettings:
    if FORMATS[profile].variants:
        keys.setdefault("variant", "pm10")
    return StreamSettings(name="it", driver="stream", point="p", profile=profile, **keys)


def device(stream: EmulatedStream, **keys) -> StreamDevice:
    name = next(n for n, f in FORMATS.items() if f.read is stream.instrument.format.read)
    line = BusSettings(name="line", port=stream.path, baudrate=stream.line.baudrate)
    return StreamDevice(settings(name, **keys), Bus(line), (), lambda: NOON)


def test_every_format_has_an_emulator():
    assert set(WRITERS) == set(FORMATS)


@pytest.mark.parametrize("profile", FORMATS)
def test_what_the_emulator_writes_the_driver_reads(profile):
    """Every parameter at its example, within the digits the record has."""
    instrument = emulated(profile)
    reader = Records(instrument.format)
    (record,) = reader.feed(b"" if instrument.format.ask or instrument.format.begins else b"\n") + reader.feed(
        instrument.record()
    )
    for field in instrument.format.fields:
        if field.parameter not in instrument.format.optional:
            assert record.values[field.name] * field.scale == pytest.approx(field.example, rel=0.02, abs=0.06)


def test_the_captured_plantower_frame_comes_back_byte_by_byte():
    assert emulated("plantower-pms5003", {"pm1": 3, "pm25": 4, "pm10": 4}).record() == PMS


def test_the_captured_aqt530_line_comes_back_but_for_its_clock():
    line = emulated("vaisala-aqt530").record()
    assert line.split(b",")[1:-1] == AQT.split(b",")[1:-1]


def test_a_line_of_the_es642_has_forty_characters():
    values = {"pm10": 12.0, "air_temperature": 25.1, "air_pressure": 101.32}
    assert emulated("metone-es642", values).record() == ES
    assert len(emulated("metone-es642", {"air_temperature": -5.0}).record()) == 40


@pytest.mark.parametrize("profile", ["plantower-pms5003", "nova-sds011", "metone-es642"])
def test_driver_and_emulator_over_a_pseudo_terminal(profile):
    with EmulatedStream(emulated(profile, {"pm25": 61.0, "pm10": 87.0}), every_seconds=0.05) as stream:
        reading = device(stream)
        for _ in range(3):
            values = {s.parameter: s.value for s in reading.read()}
            assert values["pm10"] == 87.0
        assert reading.statistics.bad_replies == 0
        reading._bus.close()


def test_a_balance_answers_and_is_tared():
    with EmulatedStream(emulated("mtsics-balance", {"collector_mass": 1042.3817})) as stream:
        balance = device(stream)
        assert [s.value for s in balance.read()] == [1042.3817]
        balance.act("tare", {})
        assert stream.instrument.done == ["tare"]
        stream.instrument.fail("status")
        (sample,) = balance.read()
        assert (sample.value, sample.mark, balance.condition) == (None, Mark.D, "weight not stable")
        balance._bus.close()


@pytest.mark.parametrize(
    ("fault", "error"), [("silent", NoReply), ("noise", BadReply), ("half", BadReply), ("late", NoReply)]
)
def test_a_fault_of_the_stream_is_an_error_and_never_a_value(fault, error):
    with EmulatedStream(emulated("mtsics-balance"), seed=3) as stream:
        stream.instrument.fail(fault)
        balance = device(stream)
        with pytest.raises(error):
            balance.read()
        stream.instrument.recover()
        assert [s.value for s in balance.read()] == [1042.3817]
        balance._bus.close()


def test_a_fault_of_the_instrument_marks_its_values():
    with EmulatedStream(emulated("plantower-pms5003"), every_seconds=0.05) as stream:
        stream.instrument.fail("status")
        reading = device(stream)
        assert {s.mark for s in reading.read()} == {Mark.D}
        assert reading.condition == "error code 1"
        reading._bus.close()


def test_an_adapter_pulled_out_is_a_lost_port_and_found_again(tmp_path):
    with EmulatedStream(emulated("nova-sds011"), every_seconds=0.05, link=tmp_path / "port") as stream:
        reading = device(stream)
        reading.read()
        stream.unplug()
        with pytest.raises(PortLost, match="the port is lost"):
            reading.read()
        with pytest.raises(PortLost, match="cannot be opened: No such file or directory"):
            reading.read()
        stream.plug_in()
        assert [s.value for s in reading.read()] == [12.3, 26.1]
        reading._bus.close()


def test_a_missing_value_is_silence_from_a_sensor_and_no_stable_weight_from_a_balance():
    assert emulated("nova-sds011", {"pm10": None}).record() is None
    assert emulated("sbi-balance", {"collector_mass": None}).record() == b"+    0.000    \r\n"


def test_faults_come_at_their_rates_and_none_becomes_a_value():
    """200 polls of a balance, a tenth of whose answers is spoilt and a tenth breaks off: the weight, or an error."""
    with EmulatedStream(emulated("mtsics-balance"), seed=5, pace=False) as stream:
        balance = device(stream)
        balance._format = replace(balance._format, reply_seconds=0.03)
        stream.instrument.fail("noise:0.1,half:0.1")
        values = []
        for _ in range(200):
            try:
                values += [s.value for s in balance.read()]
            except (BadReply, NoReply):
                continue
        assert len(values) > 100
        assert max(abs(value - 1042.3817) for value in values) <= 0.01
        balance._bus.close()


def test_an_unknown_fault_names_the_nearest():
    with pytest.raises(
        ValueError, match=f"^no fault 'silence'; did you mean silent\\?; there are {', '.join(FAULTS)}$"
    ):
        emulated("nova-sds011").fail("silence")
