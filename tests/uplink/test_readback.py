"""What a screen reads back from a text is what stands there, in every generation and variant."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from station.model import Average, Kind, Mark, Report
from station.parameters import catalogue
from uplink.base import Context
from uplink.hj212.dialects import DIALECTS, VARIANTS
from uplink.hj212.link import Hj212Settings, Hj212Uplink, PointSettings

START = datetime(2026, 3, 1, 0, 10, tzinfo=UTC)
SPOKEN = [(standard, None) for standard in DIALECTS] + [
    (standard, name) for name, variant in VARIANTS.items() for standard in variant.standards
]


def uplink(standard="2017", variant=None, **changes):
    """A platform's words, without a connection."""
    settings = Hj212Settings(
        name="city", standard=standard, dialect=variant, host="127.0.0.1", port=9, password_file="pw",
        point=(PointSettings(point="P1", mn="A1"),), **changes,
    )  # fmt: skip
    context = Context(
        catalogue=catalogue(), zone=timezone(timedelta(hours=8)), now=lambda: START, monotonic=lambda: 0.0,
        secret=lambda name: "123456", started=START,
    )  # fmt: skip
    return Hj212Uplink(settings, context, {"P1": "22"})


def report(kind, *averages):
    """One record of P1."""
    return Report(kind, "P1", START, averages, minutes=10 if kind is Kind.MINUTE else 1)


@pytest.mark.parametrize(("standard", "variant"), SPOKEN)
@pytest.mark.parametrize("kind", [Kind.REALTIME, Kind.MINUTE, Kind.HOUR])
def test_every_parameter_is_read_back_as_it_was_written(standard, variant, kind):
    """One at a time: the digits read back stand in the text, beside the code that the platform knows."""
    platform = uplink(standard, variant)
    read = 0
    for key in catalogue():
        text = platform.compose(report(kind, Average(key, 12.34567, 11.1, 13.3)))
        if text is None:
            continue
        said = platform.told(kind, text)
        digits, mark, _ = said[key]
        assert f"={digits}," in f"{text},".replace(";", ","), (key, text)
        assert mark is Mark.N
        assert said["DataTime"].digits[:8] == "20260301"
        read += 1
    assert read > 5


@pytest.mark.parametrize(("standard", "variant"), SPOKEN)
@pytest.mark.parametrize("mark", [mark for mark in Mark if mark is not Mark.N])
def test_no_mark_is_read_back_as_normal(standard, variant, mark):
    platform = uplink(standard, variant)
    text = platform.compose(report(Kind.REALTIME, Average("pm25", 35.0, mark=mark)))
    digits, read, _ = platform.told(Kind.REALTIME, text)["pm25"]
    letter = platform.dialect.marks[mark]
    alike = [one for one, written in platform.dialect.marks.items() if written == letter]
    assert digits in ("35", "35.0", "0.035", "35.00", "0.0350")
    assert read is min(alike)
    assert read is not Mark.N or letter == platform.dialect.marks[Mark.N]


def test_a_platforms_unit_comes_with_the_digits():
    platform = uplink(units={"pm25": "mg/m³"})
    text = platform.compose(report(Kind.REALTIME, Average("pm25", 35.4)))
    assert platform.told(Kind.REALTIME, text)["pm25"] == ("0.0354", Mark.N, "mg/m³")


def test_what_a_text_does_not_say_is_not_read():
    platform = uplink()
    said = platform.told(Kind.REALTIME, "DataTime=20260301081000;a34004-Rtd=35,a34004-Flag=N")
    assert set(said) == {"DataTime", "pm25"}
    assert platform.told(Kind.REALTIME, "DataTime=20260301081000;a34004-Flag=B")["pm25"] == ("", Mark.B, "")


@pytest.mark.parametrize("letter", ["X", "?", ""])
def test_a_mark_nobody_knows_is_a_fault(letter):
    said = uplink().told(Kind.REALTIME, f"DataTime=20260301081000;a34004-Rtd=35,a34004-Flag={letter}")
    assert said["pm25"][1] is Mark.D
