"""Inputs, outputs and rules in station.toml: every fault at once, and what may not be meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from station.config import load
from station.model import ConfigError
from tests.station.commands import ROOT
from tests.station.conftest import CONFIG
from tests.station.test_linkage import WIRED

LAMP = 'kind = "lamp"\nminimum_on_seconds = 5'


def write(folder: Path, *changes: tuple[str, str], more: str = "") -> Path:
    """The wired station with each (old, new) changed once, and *more* behind it."""
    text = WIRED
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    (folder / "password").write_text("123456")
    (folder / "password").chmod(0o600)
    path = folder / "station.toml"
    path.write_text(text + more, encoding="utf-8")
    return path


def faults(path: Path) -> list[str]:
    """The faults of *path*, without file and line."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [said.split(": ", 1)[1] for said in str(caught.value).splitlines()]


def warnings(path: Path) -> list[str]:
    """What *path* is warned of, its absent port apart."""
    return [said.split(": ", 1)[1] for said in load(path).warnings if "is not there now" not in said]


def test_a_wired_station_has_no_faults_and_a_cannon_without_a_frost_lock_a_warning(tmp_path):
    path = write(tmp_path)
    assert [w for w in warnings(path) if w.startswith(("input", "output", "rule"))] == [
        "rule[0]: has no frost_below: it will spray in frost, too"
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "rain"', 'kind = "snow"',
         'input[0]: kind: "snow" is not one of rain, pulse, door, mains, level, maintenance, contact'),
        ("pin = 12", "pin = 28", "input[0].pin: 28 is above 27"),
        ("pin = 12", "pin = 1", "input[0].pin: 1 is below 2"),
        ("pin = 12", 'pin = "GPIO12"', 'input[0].pin: "GPIO12" is text, not a whole number'),
        ("pin = 26", "pin = 12", 'input[2].pin: GPIO 12 is already "rain"'),
        ("pin = 6\n", "pin = 12\n", 'output[1].pin: GPIO 12 is already "rain"'),
        ("mm_per_tip = 0.2", "mm_per_tips = 0.2", "input[0].mm_per_tips: unknown key; did you mean mm_per_tip?"),
        ('name = "rain"\nkind', 'name = "dust"\nkind', 'input[0].name: "dust" is already bus[0].device[0]'),
        ('point = "site"\nmm', 'point = "sight"\nmm', 'input[0].point: there is no point "sight"; did you mean site?'),
        ('affects = ["site"]', 'affects = ["gate"]', 'input[1].affects: there is no point "gate"'),
        ('kind = "mains"', 'kind = "mains"\nbounce_seconds = 1', "input[2].bounce_seconds: 1 is below 3"),
        ("pin = 13", 'pin = 2\npull = "down"', "input[1].pull: GPIO 2 has a resistor of its own that pulls up"),
        ('kind = "lamp"', LAMP, "output[2].minimum_on_seconds: unknown key; did you mean blink_seconds?"),
        ('equipment = "SB1"', 'equipment = "cannon"', 'output[0].equipment: "cannon" is not a name such as SB1'),
        ('equipment = "SB1"', 'equipment = "SB2"', 'output[0].equipment: SB2 at point "site" is already "full"'),
        ('equipment = "SB1"', 'equipment = "SB1"\nequipment_point = "gate"',
         'output[0].equipment_point: there is no point "gate"'),
        ('output = "cannon"', 'output = "canon"', 'rule[0].output: there is no output "canon"; did you mean cannon?'),
        ('output = "sampler"', 'output = "cannon"', 'rule[1].output: "cannon" already follows "dust"'),
        ('output = "lamp"', 'output = "cannon"', 'rule[2].output: "cannon" already follows "dust"'),
        ('parameter = "pm10"', 'parameter = "pm1o"',
         'rule[0].parameter: nothing measures pm1o at point "site"; did you mean pm10?'),
        ("stop = 100", "stop = 150", "rule[0].stop: 150 is the start level, too"),
        ("stop = 100", "stop = 151", "rule[0].stop: 151 is not below start 150"),
        ("stop = 60\n", "", "rule[1].stop: is missing"),
        ("daily_maximum_seconds = 600", "daily_maximum_seconds = 59",
         "rule[0].daily_maximum_seconds: has no room for one run of 60"),
        ("minimum_off_seconds = 20", "maximum_on_seconds = 59",
         "rule[0].minimum_run_seconds: 60 is more than maximum_on_seconds 59 of its output"),
        ("rain_hours = 1", "frost_below = 3", 'rule[0].frost_below: nothing measures air_temperature at point "site"'),
        ("rain_hours = 1", 'hours = "6-22"', 'rule[0].hours: "6-22" is not hours such as 06:00-22:00'),
        ('full = "full"', 'full = "ful"', 'rule[1].full: there is no contact "ful"; did you mean full?'),
        ('acknowledge = "filled"', 'acknowledge = "rain"',
         'rule[1].acknowledge: "rain" is counted, a contact is needed'),
        ('input = "door"', 'input = "door"\nstart = 3', "rule[2].start: has no meaning beside input"),
        ('input = "door"', 'point = "site"', "rule[2].parameter: is missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(tmp_path, old, new, said):
    assert said in faults(write(tmp_path, (old, new)))


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_example_of_the_readme_can_be_used(tmp_path, page):
    """Behind a station that measures PM10 at the point it names."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (example,) = [block for block in re.findall(r"```toml\n(.*?)```", text, flags=re.S) if "[[rule]]" in block]
    path = write(tmp_path)
    path.write_text(CONFIG + example, encoding="utf-8")
    config = load(path).config
    assert [len(config.input), len(config.output), len(config.rule)] == [2, 1, 1]


def test_rain_that_a_platform_has_no_code_for_is_said(tmp_path):
    """The catalogue has no factor code for rain."""
    said = "uplink[0].codes: rain: no factor code, so not sent; give them one here if wanted"
    assert said in warnings(write(tmp_path))


def test_every_fault_of_the_pins_comes_at_once(tmp_path):
    path = write(tmp_path, ("pin = 26", "pin = 12"), ("stop = 100", "stop = 150"), ('full = "full"', 'full = "ful"'))
    assert len(faults(path)) == 3


def test_two_sources_of_one_rain_are_named(tmp_path):
    second = '\n[[input]]\nname = "rain2"\nkind = "rain"\npin = 22\npoint = "site"\nmm_per_tip = 0.5\n'
    assert faults(write(tmp_path, more=second)) == ['input[5]: rain at point "site" already comes from "rain"']


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("pm10", "input[5].parameter: pm10 is no total and no sum: pulses cannot be counted into it"),
        ("flow_totel", 'input[5].parameter: "flow_totel" is not in the catalogue; did you mean flow_water?'),
    ],
)
def test_pulses_are_counted_into_a_total_alone(tmp_path, parameter, said):
    meter = '\n[[input]]\nname = "m"\nkind = "pulse"\npin = 22\npoint = "site"\nper_pulse = 1\n'
    meter += f'parameter = "{parameter}"\n'
    assert said in faults(write(tmp_path, more=meter))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pin = 26", "pin = 3", "input[2].pin: GPIO 3 is for the clock's I2C (hardware/README.md)"),
        ("pin = 26", "pin = 14", "input[2].pin: GPIO 14 is for the serial line (hardware/README.md)"),
        ("pin = 26", "pin = 10", "input[2].pin: GPIO 10 is for SPI0 of a HAT (hardware/README.md)"),
        ("pin = 26", "pin = 24", "input[2].pin: GPIO 24 is for SPI1 of a serial HAT (sc16is752) (hardware/README.md)"),
        ("pin = 6\n", "pin = 22\n",
         "output[1].pin: GPIO 22 is pulled down at boot, and this output is on when low: "
         "it may be on from power-on until the station runs (hardware/README.md)"),
        ("pin = 23", "pin = 4",
         "output[2].pin: GPIO 4 is pulled up at boot, and this output is on when high: "
         "it may be on from power-on until the station runs (hardware/README.md)"),
    ],
)  # fmt: skip
def test_what_may_not_be_meant_is_a_warning(tmp_path, old, new, said):
    assert said in warnings(write(tmp_path, (old, new)))
