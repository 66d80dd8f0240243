"""Modules of 4–20 mA: scales, broken loops, ranges set wrong, configurations that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drivers.base import BadReply, BusSettings, DeviceException, NoReply, ProfileError
from drivers.bus import Bus
from drivers.current import ChannelSettings, CurrentModule, CurrentSettings
from drivers.emulated_current import EmulatedCurrents
from drivers.emulator import emulated_bus
from drivers.profile import load as load_profile
from station.config import load
from station.model import ConfigError, Mark, Reason
from station.parameters import catalogue
from tests.station.commands import configure, served, station, until

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def channel(number: int = 1, **more: Any) -> ChannelSettings:
    return ChannelSettings(**({"channel": number, "low": 0.0, "high": 500.0, "unit": "mg/L"} | more))


def settings(module: str = "adam-4117", **more: Any) -> CurrentSettings:
    keys = {"name": "ai", "point": "p", "driver": "current", "unit_id": 3, "channels": {"cod": channel()}}
    return CurrentSettings(**(keys | {"module": module} | more))


WAVESHARE = settings("waveshare-ai8", confirmed=True, channels={"cod": channel(range="0-20")})
OTHER = settings(
    "other",
    confirmed=True,
    first=16,
    table="holding",
    raw_low=0,
    raw_high=4000,
    channels={"cod": channel(range="0-20")},
)
BIPOLAR = settings(channels={"cod": channel(range="±20")})


@contextmanager
def wired(chosen: CurrentSettings) -> Iterator[tuple[CurrentModule, EmulatedCurrents]]:
    line = BusSettings(name="line", port="")
    with emulated_bus(line, [chosen], pace=False) as served_line:
        bus = Bus(BusSettings(name="line", port=served_line.path))
        try:
            emulated = served_line.units[chosen.unit_id]
            assert isinstance(emulated, EmulatedCurrents)
            yield CurrentModule(chosen, bus, (), lambda: NOW), emulated
        finally:
            bus.close()


@pytest.mark.parametrize("chosen", [settings(), BIPOLAR, WAVESHARE, OTHER], ids=["4-20", "±20", "waveshare", "other"])
@pytest.mark.parametrize(("current", "value"), [(4.1, 3.125), (8.0, 125.0), (12.0, 250.0), (19.9, 496.875)])
def test_a_current_is_the_value_its_scale_says(chosen: CurrentSettings, current: float, value: float) -> None:
    with wired(chosen) as (module, emulated):
        emulated.inject(1, current)
        (sample,) = module.read()
    assert (sample.mark, sample.reason) == (Mark.N, Reason.NONE)
    assert sample.value == pytest.approx(value, abs=0.16)  # 4000 steps on 20 mA


@pytest.mark.parametrize(
    ("current", "mark", "reason", "kept"),
    [
        (0.0, Mark.D, Reason.LOOP_BROKEN, False),
        (3.59, Mark.D, Reason.LOOP_BROKEN, False),
        (3.61, Mark.D, Reason.BELOW_RANGE, True),
        (3.79, Mark.D, Reason.BELOW_RANGE, True),
        (3.81, Mark.N, Reason.NONE, True),
        (20.49, Mark.N, Reason.NONE, True),
        (20.51, Mark.T, Reason.ABOVE_RANGE, True),
        (20.99, Mark.T, Reason.ABOVE_RANGE, True),
        (21.01, Mark.D, Reason.LOOP_HIGH, False),
    ],
)
def test_currents_outside_the_range_are_marked_as_ne_43_divides_them(
    current: float, mark: Mark, reason: Reason, kept: bool
) -> None:
    with wired(WAVESHARE) as (module, emulated):
        emulated.inject(1, current)
        (sample,) = module.read()
    assert (sample.mark, sample.reason, sample.value is not None) == (mark, reason, kept)


def test_in_the_range_of_4_to_20_the_burn_out_flag_tells_a_broken_loop() -> None:
    """The raw number of 0 mA and of 4 mA is the same: a zero is a value, a cut wire is not."""
    chosen = settings(channels={"cod": channel(1), "ph": channel(8, low=0.0, high=14.0, unit="")})
    with wired(chosen) as (module, emulated):
        emulated.inject(1, 4.0)
        emulated.inject(8, 0.0)
        zero, cut = module.read()
        assert (zero.value, zero.mark) == (0.0, Mark.N)
        assert (cut.value, cut.mark, cut.reason) == (None, Mark.D, Reason.LOOP_BROKEN)
        emulated.inject(8, 12.0)
        assert [s.mark for s in module.read()] == [Mark.N, Mark.N]
    assert any("burn-out flag alone" in hint for hint in module.hints)


def test_no_current_of_4_ma_is_made_of_a_loop_that_the_module_calls_broken() -> None:
    with wired(settings(currents=True)) as (module, emulated):
        emulated.inject(1, 0.0)
        value, current = module.read()
        assert (value.value, value.mark) == (None, Mark.D)
        assert (current.value, current.mark, current.reason) == (None, Mark.D, Reason.LOOP_BROKEN)
        emulated.inject(1, 4.0)
        assert module.read()[1].value == pytest.approx(4.0)


@pytest.mark.parametrize("chosen", [settings(), BIPOLAR], ids=["4-20", "±20"])
def test_where_a_range_ends_the_value_is_above_it(chosen: CurrentSettings) -> None:
    with wired(chosen) as (module, emulated):
        emulated.inject(1, 22.0)
        (sample,) = module.read()
    assert (sample.value, sample.mark, sample.reason) == (pytest.approx(500.0), Mark.T, Reason.ABOVE_RANGE)


@pytest.mark.parametrize(
    ("chosen", "code", "said"),
    [
        (settings(), 0x08, "channel 1 is set to ±10 V in the module, not to 4-20 mA"),
        (settings(), 0x0D, "channel 1 is set to ±20 mA in the module, not to 4-20 mA"),
        (settings(), 0x77, "quality 119, which the profile does not explain"),
        (WAVESHARE, 3, "channel 1 is set to 4-20 mA in the module, not to 0-20 mA"),
        (WAVESHARE, 0, "channel 1 is set to 0–5 V or 0–10 V in the module"),
    ],
)
def test_a_channel_set_to_another_range_has_no_value(chosen: CurrentSettings, code: int, said: str) -> None:
    with wired(chosen) as (module, emulated):
        emulated.set_range(1, code)
        (sample,) = module.read()
        assert (sample.value, sample.mark) == (None, Mark.D)
        assert said in "; ".join(module.conditions)
        emulated.quality.clear()
        assert [s.mark for s in module.read()] == [Mark.N]
        assert module.conditions == ()


def test_the_current_itself_is_kept_where_it_is_wanted() -> None:
    """It stays to be seen when the value is none."""
    with wired(settings("waveshare-ai8", confirmed=True, currents=True, channels=WAVESHARE.channels)) as (module, unit):
        unit.inject(1, 2.5)
        value, current = module.read()
    assert (value.value, value.mark) == (None, Mark.D)
    assert (current.parameter, current.value, current.mark) == ("loop_current_1", 2.5, Mark.N)
    assert module.units == {"cod": "mg/L", "loop_current_1": "mA"}


@pytest.mark.parametrize(
    ("fault", "error"),
    [("silent", NoReply), ("noise", BadReply), ("wrong-length", BadReply), ("exception", DeviceException)],
)
def test_a_module_that_does_not_answer_well_has_no_values(fault: str, error: type[Exception]) -> None:
    with wired(BIPOLAR) as (module, emulated):
        emulated.fail(fault)
        with pytest.raises(error):
            module.read()
        emulated.recover()
        assert [s.mark for s in module.read()] == [Mark.N]


def test_without_its_flags_a_range_of_4_to_20_has_no_values() -> None:
    """Nothing would tell a broken loop from the low end; a channel of ±20 mA needs no flag."""
    refused = settings(channels={"cod": channel(1), "ph": channel(2, low=0.0, high=14.0, unit="", range="±20")})
    with wired(refused) as (module, emulated):
        emulated.inject(1, 12.0)
        emulated.flags = False
        with pytest.raises(DeviceException, match="illegal function"):
            module.read()
    with wired(BIPOLAR) as (module, emulated):
        emulated.flags = False
        assert [s.mark for s in module.read()] == [Mark.N]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (settings(channels={}), "channels: is empty"),
        (settings(channels={"cod": channel(low=5, high=5)}), "channels.cod.high: 5 is the value at 4 mA, too"),
        (settings(channels={"cod": channel(low=500, high=0)}), "0 at 20 mA is below 500 at 4 mA; exchange them"),
        (settings(channels={"cod": channel(), "ph": channel()}), "channels.ph.channel: 1 is already cod's"),
        (settings(channels={"cod": channel(range="0-20")}), '"0-20" is no current range of adam-4117; it has 4-20'),
        (settings(unit_id=248), "unit_id: 248 is above 247"),
        (settings(first=3), "first: is for another make; of adam-4117 it is known"),
        (settings(parameters=("code",)), 'no channel gives "code"; did you mean cod?'),
        (settings("waveshare-ai8"), "is a template of grade C"),
        (settings("other"), "first: is missing; it stands in the module's register list"),
        (settings("other", first=0, raw_low=4, raw_high=4), "raw_high: 4 is raw_low, too"),
        (settings("other", first=0, raw_low=0, raw_high=4), "of another make nothing is known"),
    ],
)
def test_settings_that_cannot_be_are_refused(chosen: CurrentSettings, said: str) -> None:
    with pytest.raises(ProfileError) as refused:
        CurrentModule(chosen, Bus(BusSettings(name="line", port="x")), (), lambda: NOW)
    assert said in str(refused.value)


KEYS = 'driver = "current"\nmodule = "adam-4117"\nunit_id = 1\ncurrents = true'
TABLE = (
    ('profile = "deltaohm-pmsense"\nunit_id = 1', KEYS),
    (
        'parameters = ["pm25", "pm10"]',
        'channels = { pm25 = { channel = 1, low = 0, high = 1000, unit = "µg/m³" } }',
    ),
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("high = 1000", "high = -1"), "-1 at 20 mA is below 0 at 4 mA; exchange them"),
        (("channel = 1", "channel = 9"), "9 is above 8"),
        (('"adam-4117"', '"adam-4017"'), "adam-4017"),
        (('unit = "µg/m³"', 'unit = "mg/L"'), "mg/L"),
    ],
)
def test_station_check_says_where(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(configure(tmp_path, *TABLE, change))
    assert said in str(refused.value)


def test_a_module_is_emulated_and_read_by_the_commands(tmp_path: Path) -> None:
    config = configure(tmp_path, *TABLE)
    with served("emulate", "bus", config):
        read = until(lambda: (done := station("read", "dust", "--config", config)).code == 0 and done, 20)
    assert "500" in read.out
    assert "12.000" in read.out


def test_a_cabinet_reports_temperature_humidity_and_voltage_by_their_codes() -> None:
    """HJ 212 site information: i33101, i33102, i33103."""
    measured = [
        (r.parameter, r.unit)
        for profile, variant in (("xy-md02", "cabinet-tenths"), ("pzem-017", "cabinet"))
        for r in load_profile(profile).chosen(variant).registers
    ]
    assert measured == [("cabinet_temperature", "°C"), ("cabinet_humidity", "%"), ("cabinet_voltage", "V")]
    known = [catalogue()[parameter] for parameter, _ in measured]
    assert [(one.code, one.unit) for one in known] == [("i33101", "°C"), ("i33102", "%"), ("i33103", "V")]
