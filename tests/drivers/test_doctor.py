"""Statistics become advice: each from figures of its own, and none from a line that is sound."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from drivers.base import BusSettings, DriverError
from drivers.bus import Bus
from drivers.doctor import ADVICE, Health, Silence, advice, asked_enough
from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus
from drivers.port import Speed
from drivers.registers import Request
from station.i18n import texts
from tests.drivers.fakes import thermometer

SOUND = {"requests": 1000, "latency": [0, 0, 0, 990, 10, 0, 0, 0, 0, 0, 0], "worst_ms": 80.0}


def unit(**changes: Any) -> dict[str, Any]:
    """A unit that was asked a thousand times and answered, but for *changes*."""
    return {**SOUND, **changes}


def broken(count: int, **more: Any) -> dict[str, Any]:
    """A unit of whose thousand replies *count* had no sound CRC."""
    return unit(crc_errors=count, bad_replies=count, **more)


DEAD = {"requests": 300, "timeouts": 300, "latency": [0] * 11, "worst_ms": 0.0}

CASES: dict[str, tuple[Health, dict[str, Any]]] = {
    "two_masters": (Health({1: unit()}, foreign=12), {"units": [], "figures": {"frames": 12}}),
    "flood": (
        Health({1: unit(leftover_bytes=90_000)}),
        {"units": [], "figures": {"bytes": 90_000, "requests": 1000}},
    ),
    "all_silent": (Health({1: DEAD, 2: DEAD}), {"units": [1, 2], "figures": {"requests": 600}}),
    "silent_now": (
        Health({1: unit(timeouts=7, requests=47)}, silent={1: Silence(61.2, 7)}),
        {"units": [1], "figures": {"seconds": 61, "polls": 7}},
    ),
    "settings": (
        Health({1: unit(), 2: broken(980)}),
        {"units": [2], "figures": {"broken": 980, "replies": 1000, "percent": 98.0}},
    ),
    "duplicate": (Health({3: unit(unasked=40)}), {"units": [3], "figures": {"unasked": 40, "replies": 1000}}),
    "dead": (Health({1: unit(), 9: DEAD}), {"units": [9], "figures": {"requests": 300}}),
    "rare": (
        Health({1: unit(timeouts=600), 2: unit()}),
        {"units": [1], "figures": {"timeouts": 600, "requests": 1000, "percent": 60.0}},
    ),
    "other_unit": (Health({1: unit(wrong_unit=7)}), {"units": [1], "figures": {"frames": 7, "requests": 1000}}),
    "termination": (
        Health({1: broken(30), 2: broken(50), 3: unit()}),
        {"units": [1, 2], "figures": {"broken": 80, "replies": 2000, "percent": 4.0}},
    ),
    "noise": (Health({1: broken(60)}), {"units": [1], "figures": {"broken": 60, "replies": 1000, "percent": 6.0}}),
    "branch": (
        Health({1: unit(), 2: broken(60), 3: unit()}),
        {"units": [2], "figures": {"broken": 60, "replies": 1000, "percent": 6.0}},
    ),
    "bias": (Health({1: unit(leftover_bytes=300)}), {"units": [], "figures": {"bytes": 300, "requests": 1000}}),
    "late": (
        Health({1: unit(late=5, timeouts=5, worst_ms=730.0)}),
        {"units": [1], "figures": {"late": 5, "worst": 730, "enough": 1100}},
    ),
    "slow": (
        Health({1: unit(latency=[0, 0, 0, 0, 0, 0, 900, 100, 0, 0, 0])}, patience_ms={1: 600.0}),
        {"units": [1], "figures": {"slow": 100, "replies": 1000, "patience": 600}},
    ),
    "gap": (
        Health({1: unit(timeouts=80), 2: unit()}),
        {"units": [1], "figures": {"timeouts": 80, "requests": 1000, "percent": 8.0}},
    ),
    "busy": (
        Health({1: unit(exceptions=50, busy=50, codes={"6": 50})}),
        {"units": [1], "figures": {"busy": 50, "requests": 1000}},
    ),
    "wrong_map": (
        Health({1: unit(exceptions=1000, codes={"2": 1000})}),
        {"units": [1], "figures": {"refused": 1000, "codes": "2"}},
    ),
    "failing": (
        Health({1: unit(exceptions=20, codes={"4": 20})}),
        {"units": [1], "figures": {"failures": 20, "codes": "4"}},
    ),
    "echo": (Health({1: unit(echoes=1000)}), {"units": [], "figures": {"echoes": 1000, "requests": 1000}}),
    "latency": (Health({1: unit()}, latency_ms=16), {"units": [], "figures": {"milliseconds": 16}}),
}


@pytest.mark.parametrize("key", CASES)
def test_each_illness_is_known_by_its_figures(key: str) -> None:
    """Alone, and with what it rests on."""
    health, expected = CASES[key]
    found = [one.as_dict() for one in advice(health)]
    assert found == [{"advice": key, **expected}]


def test_every_advice_has_a_case() -> None:
    """What nothing leads to would never be said."""
    assert list(CASES) == list(ADVICE)


def test_a_sound_line_gets_no_advice() -> None:
    """Nor one that loses a reply in a thousand."""
    assert advice(Health({1: unit(), 2: unit(timeouts=1), 3: broken(1)}, latency_ms=1)) == []


def test_a_few_requests_are_no_ground_for_advice() -> None:
    """Three time-outs of three may be an instrument that is warming up."""
    health = Health({1: {"requests": 3, "timeouts": 3}})
    assert advice(health) == []
    assert not asked_enough(health)
    assert asked_enough(Health({1: unit()}))


def test_several_illnesses_come_the_worst_first() -> None:
    """A second master explains the broken frames; a dead unit and a slow adapter it does not."""
    health = Health({1: broken(50), 2: broken(50), 9: DEAD}, foreign=5, latency_ms=16)
    assert [one.key for one in advice(health)] == ["two_masters", "dead", "latency"]


def test_the_only_unit_with_noise_is_a_matter_of_the_line() -> None:
    """There is no other to compare with."""
    assert [one.key for one in advice(Health({1: broken(50)}))] == ["noise"]


PROBE = thermometer("worst_reply_ms = 60\n")


def judged(faults: Mapping[int, str], line_fault: str | None = None, speeds: Mapping[int, Speed] | None = None) -> Any:
    """What is said of an emulated line of three units, after each was read 24 times (a silent one four)."""
    units = [EmulatedUnit(PROBE, unit_id) for unit_id in (1, 2, 3)]
    with TemporaryDirectory() as folder:
        line = EmulatedBus(9600, 10, units, pace=False, link=Path(folder) / "port", speeds=speeds, seed=3)
        for unit_id, fault in faults.items():
            line.units[unit_id].fail(fault)
        if line_fault is not None:
            line.fail(line_fault)
        bus = Bus(BusSettings(name="line", port=str(Path(folder) / "port")))
        with line:
            for number in range(24):
                for unit_id in (1, 2, 3):
                    mute = faults.get(unit_id) == "silent" or unit_id in (speeds or {})
                    if number < 4 or not mute:
                        with suppress(DriverError):
                            bus.read(unit_id, Request("input", 1, 2, ()), PROBE)
            bus.close()
        health = Health({unit_id: counts.so_far() for unit_id, counts in bus.statistics.items()}, bus.foreign)
    return [(one.key, one.units) for one in advice(health)]


@pytest.mark.parametrize(
    ("faults", "line_fault", "said"),
    [
        ({}, None, []),
        ({2: "silent"}, None, [("dead", (2,))]),
        ({1: "noise:0.2", 2: "noise:0.2"}, None, [("termination", (1, 2))]),
        ({2: "truncated:0.2"}, None, [("branch", (2,))]),
        ({2: "late:0.2"}, None, [("late", (2,))]),
        ({2: "twice"}, None, [("duplicate", (2,))]),
        ({2: "busy:0.3"}, None, [("busy", (2,))]),
        ({2: "exception"}, None, [("failing", (2,))]),
        ({}, "echo", [("echo", ())]),
        ({}, "foreign", [("two_masters", ())]),
    ],
    ids=["sound", "dead", "noise", "branch", "late", "twice", "busy", "failing", "echo", "masters"],
)
def test_an_emulated_illness_is_recognised(
    faults: dict[int, str], line_fault: str | None, said: list[tuple[str, tuple[int, ...]]]
) -> None:
    """From what the bus itself counts, with the faults that the emulator plays."""
    assert judged(faults, line_fault) == said


def test_a_unit_at_another_speed_is_one_that_never_answers() -> None:
    """It hears noise; station bus scan finds it."""
    assert judged({}, speeds={2: Speed(4800)}) == [("dead", (2,))]


def test_health_gone_by_does_not_hide_a_silence_now() -> None:
    """Noise and lost requests of the time before are not what to look at first."""
    found = advice(Health({1: broken(30, timeouts=7), 2: unit()}, silent={1: Silence(61.0, 7)}))
    assert [one.key for one in found] == ["silent_now"]
    assert [one.key for one in advice(Health({1: unit(timeouts=2)}, silent={1: Silence(2.0, 2)}))] == []


def test_nobody_is_told_to_change_times_for_an_instrument_that_hardly_answers() -> None:
    """More silence before a request mends some lost ones, never half of them."""
    for timeouts, key in ((499, "gap"), (500, "rare"), (990, "rare")):
        assert [one.key for one in advice(Health({1: unit(timeouts=timeouts), 2: unit()}))] == [key]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("key", ["all_silent", "silent_now", "dead"])
def test_what_is_said_of_a_silent_instrument_goes_by_likelihood(key: str, language: str) -> None:
    """Wiring, address, speed where it is no longer known, supply, A and B; and no time of station.toml."""
    text = texts(language)[f"advice.{key}"]
    words = {"en": ("plugs", "address", "supply", "A and B"), "zh": ("插头", "地址", "供电", "A")}[language]
    places = [text.index(word) if word != "A" else text.rindex("A") for word in words]
    assert places == sorted(places)
    assert "gap_ms" not in text
