"""What stands in the same sample as what is calibrated."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.calibration_entry import place_of
from station.companions import companions
from station.config import load
from tests.station.commands import configure

UV = ["water_temperature", "cod", "turbidity"]


@pytest.mark.parametrize(
    ("parameter", "delivered", "shared"),
    [
        ("cod", UV, ["water_temperature", "turbidity"]),
        ("turbidity", UV, ["water_temperature", "cod"]),
        ("water_temperature", UV, ["cod", "turbidity"]),
        ("sac254", ["sac254", "cod", "toc"], ["cod", "toc"]),
        ("cod", ["cod"], []),
        # Analysers of one box have a sample each, and so has one beside probes in its flow cell.
        ("cod", ["cod", "ammonia_nitrogen"], []),
        ("cod", ["cod", "turbidity", "ammonia_nitrogen"], []),
        ("turbidity", ["cod", "turbidity", "ph"], ["ph"]),
    ],
)
def test_a_uv_probe_is_in_the_standard_with_all_it_measures(
    parameter: str, delivered: list[str], shared: list[str]
) -> None:
    """COD from absorption, the turbidity that is taken off it, and the temperature."""
    assert companions("32", parameter, delivered) == shared


def test_the_shipped_uv_probe_marks_its_turbidity_with_its_cod(tmp_path: Path) -> None:
    """Yosemitech Y551, as configured."""
    config = configure(
        tmp_path, ('profile = "deltaohm-pmsense"', 'profile = "yosemitech-y551"'), ('st = "39"', 'st = "32"'),
        ('parameters = ["pm25", "pm10"]\n', 'parameters = ["cod", "turbidity"]\n'),
        ('baudrate = 19200\nparity = "E"', "baudrate = 9600"),
    )  # fmt: skip
    place = place_of(load(config, secrets=False), "dust", "cod")
    assert place.companions == [("site", "turbidity")]
