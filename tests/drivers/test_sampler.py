"""A sampler on its line: what it says, the order with its bottle, and an emulated one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers.base import BusSettings, DeviceBusy, DeviceException, NoReply, ProfileError
from drivers.bus import Bus
from drivers.emulated_sampler import TROUBLES, EmulatedSampler
from drivers.emulator import EmulatedBus
from drivers.profile_file import parse
from drivers.sampler import SAMPLERS, WORDS, SamplerUnit, profile_of
from station.sampler_seen import Seen, seen


def look(unit: SamplerUnit) -> Seen:
    """What the station makes of what it says."""
    return seen(unit.read(), unit.conditions)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def device(clock: Clock) -> EmulatedSampler:
    return EmulatedSampler(profile_of("dahu-24"), 9, monotonic=clock)


@pytest.fixture
def unit(device: EmulatedSampler) -> Iterator[SamplerUnit]:
    with EmulatedBus(9600, 10, [device], pace=False) as line:
        bus = Bus(BusSettings(name="line", port=line.path))
        yield SamplerUnit("outlet", 9, "dahu-24", bus, (), lambda: datetime.now(UTC), confirmed=True)
        bus.close()


def test_a_bottle_is_filled_when_it_was_asked_for_and_its_time_is_over(
    unit: SamplerUnit, device: EmulatedSampler, clock: Clock
) -> None:
    before = look(unit)
    assert before == Seen(
        temperature=3.5, door=False, full=None, fault="", sampled=0, bottle=0, good=True, volume=500.0
    )
    unit.take(5)
    assert (look(unit).sampled, device.filled) == (0, {})
    with pytest.raises(DeviceBusy):
        unit.take(6)
    clock.now = 60.0
    found = look(unit)
    assert (found.sampled, found.bottle, found.good, device.filled) == (1, 5, True, {5: 1})


def test_every_trouble_shows_as_what_it_is(unit: SamplerUnit, device: EmulatedSampler, clock: Clock) -> None:
    assert set(TROUBLES) == {"jammed", "stuck", "full", "warm", "door", "wrong-bottle"}
    device.trouble("warm", "door")
    assert (look(unit).temperature, look(unit).door) == (12.0, True)
    with pytest.raises(DeviceException, match="exception 4"):
        unit.take(1)
    device.trouble("wrong-bottle")
    unit.take(1)
    clock.now = 60.0
    assert look(unit).bottle == 2
    device.trouble("jammed")
    unit.take(3)
    clock.now = 120.0
    assert (look(unit).good, look(unit).fault, device.filled) == (False, "fault 3", {2: 1})
    device.trouble("stuck")
    unit.take(4)
    clock.now = 999.0
    assert look(unit).sampled == 2
    with pytest.raises(ValueError, match="is not one of jammed"):
        device.trouble("wet")


def test_an_order_that_nobody_answers_is_sent_once(unit: SamplerUnit, device: EmulatedSampler) -> None:
    device.fail("silent")
    with pytest.raises(NoReply):
        unit.take(1)
    device.recover()
    assert device.acted == []


def test_every_shipped_sampler_says_what_a_sampler_says() -> None:
    names = [path.stem for path in SAMPLERS.glob("*.toml")]
    assert names
    for name in names:
        profile = profile_of(name)
        assert {*profile.parameters} <= {*WORDS}
        assert profile.grade in "AB" or profile.uncertain


ORDER = """
title = "t"
baudrate = 9600
unit_id = 1
[[register]]
parameter = "sampled"
table = "holding"
address = 0
type = "u16"
example = 0
[[action]]
verb = "{verb}"
[[action.step]]
do = "write"
address = 7
{given}
"""


@pytest.mark.parametrize(
    ("verb", "given", "said"),
    [
        ("keep_sample", 'given = "standard"\nexample = 1', "only calibrate is given something"),
        ("calibrate", 'given = "bottle"\nexample = 1', "only keep_sample a bottle"),
        ("clean", 'given = "bottle"\nexample = 1', "only keep_sample a bottle"),
        ("keep_sample", 'given = "bottle"\ntype = "ascii"\nlength = 2\nexample = "A"', "bottle is a number"),
        ("keep_sample", 'given = "bottle"\nfunction = 6\nthen = [1]\nexample = 1', r"6 does not write 2 register"),
        ("keep_sample", "values = [1]\nthen = [1]", "then: "),
    ],
)
def test_what_an_order_cannot_be_given_is_a_fault(verb: str, given: str, said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        parse(ORDER.format(verb=verb, given=given), "own")


def test_the_order_is_one_write_of_the_bottle_and_what_follows(tmp_path: Path) -> None:
    text = ORDER.format(verb="keep_sample", given='given = "bottle"\nthen = [1, 4]\nexample = 3')
    (step,) = parse(text, "own").actions[0].sequence
    assert step.request.hex(" ") == "10 00 07 00 03 06 00 03 00 01 00 04"
    (tmp_path / "own.toml").write_text(text)
    assert profile_of("own", (tmp_path,)).title == "t"
    (tmp_path / "odd.toml").write_text(text.replace("sampled", "cod"))
    with pytest.raises(ProfileError, match="cod is nothing a sampler says"):
        profile_of("odd", (tmp_path,))
