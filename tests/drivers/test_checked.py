"""Instruments that are given a standard: what tells them so, what the emulated ones show, an analyser's own check."""

from __future__ import annotations

from datetime import timedelta

import pytest

from drivers.analyser import CommandSettings, PlaceSettings
from drivers.base import BadReply, DeviceBusy, DeviceError, NotReady
from drivers.emulated import EmulatedUnit
from drivers.profile import parse
from tests.drivers.fakes import THERMOMETER
from tests.drivers.test_analyser import MINUTE, Rig, keys
from tests.drivers.test_steps import rig

VALVED = THERMOMETER + "".join(
    f'[[action]]\nverb = "{verb}"\n{half}address = 100\nfunction = 6\nvalues = [{value}]\n'
    for verb, half, value in (
        ("start_check", 'type = "zero"\n', 1), ("start_check", 'type = "span"\n', 2), ("end_check", "", 0),
    )
)  # fmt: skip


def test_an_instrument_shows_its_standard_from_the_start_of_a_check_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    device, bus = rig(VALVED, monkeypatch)
    bus.unit.values = {"air_temperature": 12.0}
    bus.unit.standards[("span", "air_temperature")] = 40.5
    shown = []
    for verb, half in (("", ""), ("start_check", "span"), ("start_check", "zero"), ("end_check", "zero")):
        if verb:
            device.act(verb, {"parameter": "air_temperature", "type": half})
        shown.append(device.read()[0].value)
    assert shown == pytest.approx([12.0, 40.5, 0.0, 12.0])
    assert bus.unit.acted == ["start_check", "start_check", "end_check"]


def test_it_is_known_which_standards_an_instrument_has(monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = rig(VALVED, monkeypatch)
    assert [device.can("start_check", "humidity", half) for half in ("", "zero", "span")] == [False, True, True]
    assert device.can("end_check", "humidity")
    assert not device.can("start_check", "cod", "zero")
    with pytest.raises(DeviceError, match="it: has no way to start_check humidity"):
        device.act("start_check", {"parameter": "humidity", "type": ""})


def test_an_instrument_that_was_off_is_at_its_sample() -> None:
    unit = EmulatedUnit(parse(VALVED, "mine"))
    unit.checking = "span"
    unit.power_cycle()
    assert unit.checking is None


def checks_itself(**more: object) -> Rig:
    commands = {
        "start_check": CommandSettings(address=100, values=(7,)),
        "end_check": CommandSettings(address=100, values=(8,)),
        "sample_now": CommandSettings(address=100, values=(1,)),
    }
    place = PlaceSettings(address=30, type="f32", order="CDAB", range=(0.0, 50.0))
    made = Rig(keys(commands=commands, check_results={"ammonia_nitrogen": place}, start_minutes=600.0, **more))
    made.device.read()  # its first measurement
    made.time.now += 60 * MINUTE
    return made


ASKED = {"parameter": "ammonia_nitrogen"}


def test_an_analyser_is_asked_for_the_result_of_its_own_check() -> None:
    made = checks_itself()
    made.unit.standards[("", "ammonia_nitrogen")] = 1.53
    assert made.device.actions["read_check"] == ("ammonia_nitrogen",)
    made.device.act("start_check", ASKED)
    with pytest.raises(DeviceBusy, match="is calibrating, and takes no command"):
        made.device.act("read_check", ASKED)
    assert [s.value for s in made.device.read()] == [1.25]  # the polls go on with the results of samples
    made.time.now += 16 * MINUTE
    assert float(made.device.act("read_check", ASKED)["value"]) == pytest.approx(1.53)
    assert made.device.read() == []


def test_a_check_is_ended_while_the_analyser_is_at_it() -> None:
    made = checks_itself()
    made.device.act("start_check", ASKED)
    made.device.act("end_check", ASKED)
    made.device.act("sample_now", {})
    assert made.unit.acted[-3:] == ["start_check", "end_check", "sample_now"]
    assert made.unit.state == "measuring"


def test_a_result_that_cannot_be_is_none() -> None:
    made = checks_itself()
    made.unit.standards[("", "ammonia_nitrogen")] = float("nan")
    made.device.act("start_check", ASKED)
    made.device.read()
    made.time.now += 16 * MINUTE
    with pytest.raises(BadReply, match="nh3n: its check brought no value of ammonia_nitrogen"):
        made.device.act("read_check", ASKED)


def test_the_result_of_a_check_before_is_not_taken_for_one_that_was_never_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes the command and does nothing, as one in local mode: its register still has the last check's result."""
    made = checks_itself()
    made.unit.standards[("", "ammonia_nitrogen")] = 1.53
    for ignored in (False, True):
        monkeypatch.setattr(made.unit, "_begin", (lambda verb: None) if ignored else made.unit._begin)
        made.device.act("start_check", ASKED)
        made.device.read()
        made.time.now += 16 * MINUTE
        if not ignored:
            assert float(made.device.act("read_check", ASKED)["value"]) == pytest.approx(1.53)
    with pytest.raises(NotReady, match="nh3n: was told to begin a check and has not been at it"):
        made.device.act("read_check", ASKED)


def test_the_time_of_a_check_is_no_result_of_a_sample() -> None:
    made = checks_itself()
    first = [s.time for s in made.device.read()]
    made.device.act("start_check", ASKED)
    made.time.now += 20 * MINUTE
    assert made.device.read() == []
    assert len(first) == 1
    assert made.now() - first[0] > timedelta(minutes=20)
