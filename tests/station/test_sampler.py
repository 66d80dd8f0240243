"""A sampler beside the station: one bottle an event, on record before it moves, and what goes wrong with it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import BusSettings, Device, DeviceBusy, DeviceException, NoReply
from drivers.bus import Bus
from drivers.emulated_sampler import EmulatedSampler
from drivers.line import crc16
from drivers.profile import Write
from drivers.sampler import profile_of
from station import verbs
from station.bottles import custody, kept_by
from station.clock import EPOCH
from station.config import BusConfig, load
from station.engine import Engine
from station.model import Command, ConfigError, Kind, Outcome, Result, WrongArgument
from station.purge import Purge
from station.resumption import FOREVER
from station.sampler import Sampler, SampleRefused
from tests.station.conftest import CONFIG, Rig
from tests.station.test_alarming import DUST, NOON
from uplink.hj212.emulator import Platform

ALLOWED = CONFIG.replace(
    "realtime_seconds = 30",
    'realtime_seconds = 30\nallow = ["sample"]\nkinds = ["realtime", "minute", "hour", "day", "kept_sample"]',
)
MINUTE = DUST.replace("5min", "1min")
SAMPLER = """
[[sampler]]
name = "outlet"
point = "site"
bottles = 3
bus = "line"
unit_id = 9
profile = "dahu-24"
confirmed = true
fill_seconds = 300

[[rule]]
name = "over"
kind = "sample"
sampler = "outlet"
alarm = "dust"
cool_down_seconds = 60
"""


class Straight(Bus):
    """A line without a wire: requests reach *unit* at once, so that minutes of the moved clock cost no time.

    tests/drivers/test_sampler.py has the same sampler on a pseudo-terminal.
    """

    def __init__(self, settings: BusSettings, unit: EmulatedSampler) -> None:
        super().__init__(settings)
        self.unit = unit

    def _exchange(self, unit_id: int, request: Any, profile: Any) -> bytes:
        asked = request.body if isinstance(request, Write) else struct.pack(">HH", request.address, request.count)
        frame = bytes((unit_id, request.function)) + asked
        reply = None if self.unit.fault == "silent" else self.unit.answer(frame + crc16(frame))
        if reply is None:
            raise NoReply(f"unit {unit_id}: no reply to {request.text}")
        if reply[1] & 0x80:
            kind = DeviceBusy if reply[2] in (5, 6) else DeviceException
            raise kind(f"unit {unit_id}: exception {reply[2]}", reply[2])
        return reply[3:-2]


class SamplerRig(Rig):
    """The rig with an emulated sampler on its line; bus and sampler take their turns with the clock."""

    def __init__(self, folder: Path, config: str = ALLOWED + MINUTE + SAMPLER) -> None:
        self.unit: EmulatedSampler | None = None
        super().__init__(folder, config, NOON - timedelta(seconds=30))

    def start(self) -> Engine:
        if self.unit is None:
            profile = profile_of("dahu-24")
            self.unit = EmulatedSampler(profile, 9, fill_seconds=10, monotonic=self.clock.monotonic)
        self.bus = Straight(BusSettings(name="line", port="none"), self.unit)
        buses: list[tuple[BusConfig, Sequence[Device], Any]] = [
            (self.loaded.config.bus[0], [self.instrument], self.bus)
        ]
        engine = Engine(
            self.loaded, self.open_store(), self.clock, buses=buses, uplinks=self.uplinks(), reader=self.reader,
            trusted=lambda: self.trust,
        )  # fmt: skip
        engine.committed = lambda patience=5.0: engine.commit() or True  # type: ignore[method-assign, assignment, func-returns-value]
        return engine

    def uplinks(self) -> Any:
        return [(self.loaded.config.uplink[0], self.uplink)]

    @property
    def sampler(self) -> Sampler:
        (one,) = self.engine.beside
        assert isinstance(one, Sampler)
        return one

    @property
    def device(self) -> EmulatedSampler:
        assert self.unit is not None
        return self.unit

    def work(self) -> None:
        """The bus does what waits for it, and the sampler's thread takes its turns."""
        for _ in range(3):
            for poller in self.engine.pollers:
                while not poller._errands.empty():
                    poller.turn()
            self.sampler._one_turn()

    def run(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(round(seconds / step)):
            super().run(step, step)
            self.work()

    def ready(self) -> None:
        """The sampler was heard."""
        self.run(2)
        assert self.sampler.state()["reachable"]

    def ring(self) -> None:
        self.instrument.show(pm10=120.0)
        self.run(130, 5.0)

    def rest(self) -> None:
        self.instrument.show(pm10=20.0)
        self.run(130, 5.0)

    def said(self, code: str) -> list[dict[str, Any]]:
        self.engine.commit()
        rows = self.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
        return [json.loads(text) for (text,) in rows]

    def kept(self) -> list[dict[str, Any]]:
        self.engine.commit()
        records = self.engine.store.records("kept_sample", EPOCH, FOREVER, device="outlet")
        return [dict(one.body) for one in sorted(records, key=lambda record: record.id)]

    def states(self) -> dict[int, str]:
        return {row["bottle"]: row["state"] for row in self.sampler.state()["bottles"]}

    def command(self, verb: str, qn: str, **arguments: str) -> Command:
        return Command(verb, "district", "site", arguments, identity=qn, issued=self.clock.now())

    def asked(self, verb: str, qn: str = "", **arguments: str) -> list[Result]:
        """What the desk answers to a platform; nothing yet while the sampler has not taken the order."""
        results: list[Result] = []
        self.engine.desk.submit(self.command(verb, qn or f"Q{self.clock.now()}", **arguments), results.append)
        return results

    def verb(self, **request: Any) -> Any:
        return verbs.Verbs(self.engine).sampler(request)

    def stop(self) -> None:
        self.engine.shut_down()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., SamplerRig]]:
    made: list[SamplerRig] = []

    def one(*changes: tuple[str, str]) -> SamplerRig:
        config = ALLOWED + MINUTE + SAMPLER
        for old, new in changes:
            assert old in config
            config = config.replace(old, new)
        made.append(SamplerRig(tmp_path, config))
        return made[-1]

    yield one
    for rig in made:
        rig.stop()


@pytest.fixture
def rig(make: Callable[..., SamplerRig]) -> SamplerRig:
    made = make()
    made.ready()
    return made


# -- by a rule


def test_an_exceedance_takes_one_bottle_however_long_it_lasts_and_the_next_one_the_next(rig: SamplerRig) -> None:
    rig.ring()
    rig.ring()
    assert rig.device.filled == {1: 1}
    (kept,) = rig.kept()
    assert kept == {
        "vase": 1, "asked": 1, "cause": {"what": "rule", "rule": "over", "alarm": "dust"}, "confirmed": True,
        "volume": 500.0, "temperature": 3.5,
    }  # fmt: skip
    rig.rest()
    rig.ring()
    assert rig.device.filled == {1: 1, 2: 1}
    assert [one["vase"] for one in rig.kept()] == [1, 2]


def test_a_restart_within_an_exceedance_takes_no_second_bottle(rig: SamplerRig) -> None:
    rig.ring()
    rig.engine.commit()
    rig.restart()
    rig.ring()
    assert rig.device.filled == {1: 1}


def test_an_exceedance_that_finds_the_door_open_is_told_once_and_sampled_when_it_is_closed(rig: SamplerRig) -> None:
    rig.device.trouble("door")
    rig.ring()
    assert rig.device.filled == {}
    assert [one["reason"] for one in rig.said("sample_refused")] == ["outlet: its door is open"]
    assert [one["sampler"] for one in rig.said("sampler_door_open")] == ["outlet"]
    rig.device.trouble()
    rig.run(120)
    assert rig.device.filled == {1: 1}
    assert len(rig.said("sampler_door_closed")) == 1


# -- by a person and by a platform


def test_two_events_at_once_take_two_bottles_in_order(rig: SamplerRig) -> None:
    assert rig.verb(action="take", by="Li", reason="inspection") == {"sampler": "outlet", "bottle": 1}
    (result,) = rig.asked("keep_sample")
    assert (result.outcome, result.values["vase"]) == (Outcome.DONE, "2")
    assert rig.states() == {1: "reserved", 2: "reserved"}
    rig.run(200)
    assert rig.device.filled == {1: 1, 2: 1}
    assert [(one["vase"], one["cause"]["what"]) for one in rig.kept()] == [(1, "person"), (2, "platform")]
    assert [one.get("user") or one["platform"] for one in rig.said("sample_asked")] == ["Li", "district"]


def test_a_platform_is_answered_when_the_sampler_has_taken_the_order_and_told_of_the_bottle_when_it_is_full(
    rig: SamplerRig,
) -> None:
    results = rig.asked("keep_sample")
    assert results == []
    rig.run(5)
    (result,) = results
    assert (result.outcome, result.values["vase"]) == (Outcome.DONE, "1")
    assert rig.kept() == []
    rig.run(70)
    assert [one["vase"] for one in rig.kept()] == [1]
    rows = rig.engine.store.query("SELECT count(*) FROM message WHERE kind = ?", (int(Kind.KEPT_SAMPLE),))
    assert rows == [(1,)]


def test_a_sample_now_takes_a_bottle_where_no_instrument_samples_by_itself(rig: SamplerRig) -> None:
    results = rig.asked("sample_now", parameter="pm10")
    rig.run(5)
    assert [one.outcome for one in results] == [Outcome.DONE]
    rig.instrument.actions = {"sample_now": ("pm10",)}
    own = rig.asked("sample_now", parameter="pm10")
    rig.run(5)
    assert [one.outcome for one in own] == [Outcome.DONE]
    assert rig.instrument.acted[-1][0] == "sample_now"
    assert len(rig.said("sample_asked")) == 1


def test_the_same_qn_takes_no_second_bottle(rig: SamplerRig) -> None:
    first = rig.asked("keep_sample", "Q1")
    rig.run(100)
    again = rig.asked("keep_sample", "Q1")
    rig.run(100)
    assert (first[0].outcome, again[0].outcome) == (Outcome.DONE, Outcome.REFUSED)
    assert rig.device.filled == {1: 1}


def test_a_platform_that_may_not_sample_takes_no_bottle(make: Callable[..., SamplerRig]) -> None:
    rig = make(('allow = ["sample"]\n', ""))
    rig.ready()
    (result,) = rig.asked("keep_sample")
    assert result.outcome is Outcome.REFUSED
    rig.run(100)
    assert rig.device.filled == {}


def test_a_bottle_may_be_named_if_it_is_free(rig: SamplerRig) -> None:
    assert rig.verb(action="take", by="Li", bottles=[3])["bottle"] == 3
    with pytest.raises(SampleRefused, match="bottle 3 is reserved"):
        rig.verb(action="take", by="Li", bottles=[3])
    with pytest.raises(WrongArgument, match="numbered from 1 to 3"):
        rig.verb(action="take", by="Li", bottles=[4])
    rig.run(100)
    assert rig.device.filled == {3: 1}
    assert rig.verb(action="take", by="Li")["bottle"] == 1


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"action": "take", "by": " "}, "a bottle needs a person"),
        ({"action": "take", "by": "Li\n"}, None),
        ({"action": "take", "by": "L\ni"}, "a bottle needs a person"),
        ({"action": "take", "by": "Li", "name": "inlet"}, 'there is no sampler "inlet"; known: outlet'),
        ({"action": "drink", "by": "Li"}, '"drink" is not one of status, take, empty'),
        ({"action": "take", "by": "Li", "bottles": ["x"]}, '"x" is no number of a bottle'),
        ({"action": "empty", "by": "Li"}, "no bottle is used"),
        ({"action": "empty", "by": "Li", "bottles": [2]}, "bottle 2 is free, so there is nothing to collect"),
        ({"action": "empty", "by": "Li", "bottles": [77]}, "bottle 77 is not there"),
    ],
)
def test_what_a_person_asks_for_in_vain_is_said(rig: SamplerRig, request_: dict[str, Any], said: str | None) -> None:
    if said is None:
        assert rig.verb(**request_)["bottle"] == 1
        return
    with pytest.raises(WrongArgument, match=said):
        rig.verb(**request_)


# -- all bottles used, and collected


def test_when_every_bottle_is_used_nobody_gets_one_until_they_are_collected(rig: SamplerRig) -> None:
    for _ in range(3):
        rig.verb(action="take", by="Li")
    rig.run(250)
    assert rig.device.filled == {1: 1, 2: 1, 3: 1}
    (result,) = rig.asked("keep_sample")
    assert result.outcome is Outcome.CONDITIONS
    assert "all 3 bottles are used" in result.reason
    with pytest.raises(SampleRefused, match="station sampler empty outlet --by NAME"):
        rig.verb(action="take", by="Li")
    rig.ring()
    assert [one["rule"] for one in rig.said("sample_refused") if "rule" in one] == ["over"]
    made = rig.verb(action="empty", by="Zhao", bottles=[1, 3], laboratory={"3": "W26-0117"})
    assert [(row["bottle"], row["laboratory"], row["why"]["user"]) for row in made["bottles"]] == [
        (1, "", "Li"),
        (3, "W26-0117", "Li"),
    ]
    rig.run(120)
    assert rig.device.filled == {1: 2, 2: 1, 3: 1}, "the exceedance that goes on has the first one that is free"
    rows = custody("outlet", kept_by(rig.engine.store, "outlet", EPOCH, FOREVER))
    assert [(r["bottle"], r["why"]["what"], r["by"], r["laboratory"]) for r in rows] == [
        (1, "person", "Zhao", ""),
        (2, "person", "", ""),
        (3, "person", "Zhao", "W26-0117"),
        (1, "rule", "", ""),
    ]
    assert [one["user"] for one in rig.said("bottles_collected")] == ["Zhao"]


def test_what_lies_in_bottles_outlives_retention(rig: SamplerRig) -> None:
    rig.verb(action="take", by="Li")
    rig.run(100)
    rig.engine.commit()
    purge: Purge = rig.engine.purge
    later = rig.clock.now() + timedelta(days=40000)
    purge._store.purge("record", later, later)
    assert [one["vase"] for one in rig.kept()] == [1]
    rig.restart()
    assert rig.states() == {1: "kept"}


# -- what goes wrong


def test_a_power_cut_while_a_bottle_is_filled_leaves_it_uncertain_and_unfilled_again(rig: SamplerRig) -> None:
    rig.verb(action="take", by="Li")
    rig.run(10)
    assert rig.states() == {1: "filling"}
    rig.restart()
    assert rig.states() == {1: "uncertain"}
    rig.run(100)
    assert rig.kept() == []
    assert [one["bottle"] for one in rig.said("sample_late")] == [1]
    assert [one["reason"] for one in rig.said("sample_uncertain")] == ["the station ended while it was being filled"]
    assert rig.verb(action="take", by="Li")["bottle"] == 2


def test_a_power_cut_before_the_order_was_sent_takes_the_promised_bottle_after_it(rig: SamplerRig) -> None:
    rig.verb(action="take", by="Li")
    rig.restart()
    rig.run(100)
    assert rig.device.filled == {1: 1}
    assert [one["vase"] for one in rig.kept()] == [1]


def test_what_was_promised_before_a_long_power_cut_is_not_sampled_any_more(rig: SamplerRig) -> None:
    rig.verb(action="take", by="Li")
    rig.engine.commit()
    rig.clock.advance(3600)
    rig.restart()
    rig.run(100)
    assert rig.device.filled == {}
    assert rig.states() == {}
    assert [one["reason"] for one in rig.said("sample_refused")] == ["the station was off and it is too late"]


def test_nothing_is_sent_until_the_order_is_on_the_disk(rig: SamplerRig) -> None:
    rig.sampler.by_person("Li", "", None)
    rig.work()
    rig.work()
    assert rig.device.acted == []
    rig.run(5)
    assert rig.device.acted == ["keep_sample"]


def test_an_order_that_cannot_be_put_on_record_is_called_off(rig: SamplerRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.engine, "made", lambda commit: False)
    results = rig.asked("keep_sample")
    rig.run(70)
    assert [(one.outcome, one.reason) for one in results] == [(Outcome.FAULT, "it could not be put on record")]
    assert (rig.device.acted, rig.states()) == ([], {})


def test_a_sampler_that_does_not_answer_is_told_once_refused_and_comes_back(make: Callable[..., SamplerRig]) -> None:
    rig = make()
    rig.device.fail("silent")
    rig.run(3)
    (result,) = rig.asked("keep_sample")
    assert result.outcome is Outcome.TIMED_OUT
    assert "outlet: cannot be reached" in result.reason
    rig.run(30)
    assert [one["what"] for one in rig.said("beside_failed")] == ["sampler outlet"]
    assert rig.engine.store.query("SELECT count(*) FROM reading") > [(0,)], "the instruments on its line go on"
    rig.device.recover()
    rig.run(12)
    assert len(rig.said("beside_well")) == 1
    rig.verb(action="take", by="Li")


def test_an_order_without_an_answer_leaves_the_bottle_uncertain(rig: SamplerRig) -> None:
    results = rig.asked("keep_sample")
    rig.sampler._one_turn()
    rig.engine.tick()
    rig.device.fail("silent")
    rig.work()
    rig.run(3)
    assert [one.outcome for one in results] == [Outcome.TIMED_OUT]
    assert rig.states() == {1: "uncertain"}
    rig.device.recover()
    rig.run(60)
    assert rig.verb(action="take", by="Li")["bottle"] == 2


def test_a_jammed_turntable_leaves_the_bottle_uncertain_and_a_fault_that_refuses_the_next(rig: SamplerRig) -> None:
    rig.device.trouble("jammed")
    rig.verb(action="take", by="Li")
    rig.run(80)
    assert rig.states() == {1: "uncertain"}
    assert [one["reason"] for one in rig.said("sample_uncertain")] == ["the sampler says that it failed"]
    assert [one["reason"] for one in rig.said("sampler_fault")] == ["fault 3"]
    (result,) = rig.asked("keep_sample")
    assert result.outcome is Outcome.FAULT
    rig.device.trouble()
    rig.run(20)
    assert [one["reason"] for one in rig.said("sampler_fault_over")] == ["fault 3"]


def test_a_persons_reason_and_the_samplers_stand_apart(rig: SamplerRig) -> None:
    rig.verb(action="take", by="Li", reason="inspection")
    rig.device.trouble("door")
    rig.run(20)
    assert rig.states() == {1: "uncertain"}
    (said,) = rig.said("sample_uncertain")
    assert (said["user"], said["wanted_for"]) == ("Li", "inspection")
    assert "exception 4" in said["reason"]


def test_a_sampler_that_never_says_that_it_is_done_leaves_the_bottle_uncertain(rig: SamplerRig) -> None:
    rig.device.trouble("stuck")
    rig.verb(action="take", by="Li")
    rig.run(310, 2.0)
    assert rig.states() == {1: "uncertain"}
    assert rig.said("sample_uncertain")[0]["reason"] == "it did not say that it was done within 300 s"


def test_a_full_sampler_refuses(rig: SamplerRig) -> None:
    rig.device.trouble("full")
    rig.run(20)
    assert rig.sampler.seen is not None
    results = rig.asked("keep_sample")
    rig.run(20)
    # The list Dahu has no word for it: the refusal of the order is all there is, and what moved nobody knows.
    assert [one.outcome for one in results] == [Outcome.FAILED]
    assert rig.states() == {1: "uncertain"}


def test_another_bottle_than_asked_for_is_reported_as_the_sampler_says(rig: SamplerRig) -> None:
    rig.device.trouble("wrong-bottle")
    rig.verb(action="take", by="Li")
    rig.run(80)
    assert rig.states() == {1: "uncertain", 2: "kept"}
    assert [(one["vase"], one["asked"]) for one in rig.kept()] == [(2, 1)]
    (said,) = rig.said("sample_elsewhere")
    assert (said["bottle"], said["vase"], said["before"]) == (1, 2, "free")


def test_a_bottle_that_was_filled_twice_is_no_sample(rig: SamplerRig) -> None:
    rig.verb(action="take", by="Li", bottles=[2])
    rig.run(80)
    rig.device.trouble("wrong-bottle")
    rig.verb(action="take", by="Li", bottles=[1])
    rig.run(80)
    assert rig.states() == {1: "uncertain", 2: "uncertain"}
    assert [one["vase"] for one in rig.kept()] == [2]


def test_a_sample_nobody_asked_for_is_told_and_its_bottle_is_used(rig: SamplerRig) -> None:
    rig.device.by_panel(1)
    rig.run(20)
    assert rig.states() == {1: "foreign"}
    assert [one["bottle"] for one in rig.said("sample_foreign")] == [1]
    assert rig.kept() == []
    assert rig.verb(action="take", by="Li")["bottle"] == 2


def test_a_sampler_that_was_switched_off_and_counts_anew_has_kept_nothing(rig: SamplerRig) -> None:
    rig.verb(action="take", by="Li")
    rig.run(30)
    rig.device._sampled = rig.device._bottle = 0
    rig.run(20)
    assert rig.said("sample_foreign") == []
    assert rig.states() == {1: "kept"}


def test_a_power_cut_of_the_sampler_while_it_fills_leaves_the_bottle_uncertain(rig: SamplerRig) -> None:
    rig.verb(action="take", by="Li")
    rig.run(80)
    rig.verb(action="take", by="Li")
    rig.run(5)
    rig.device._sampled = rig.device._bottle = 0
    rig.device._at_work = None
    rig.run(5)
    assert rig.states() == {1: "kept", 2: "uncertain"}
    assert [one["vase"] for one in rig.kept()] == [1]


def test_a_warm_box_is_told_after_its_delay_and_when_it_is_over(rig: SamplerRig) -> None:
    rig.device.trouble("warm")
    rig.run(25 * 60, 5.0)
    assert rig.said("sampler_box_warm") == []
    rig.run(6 * 60, 5.0)
    (said,) = rig.said("sampler_box_warm")
    assert (said["temperature"], said["bottles"]) == (12.0, 0)
    rig.device.trouble()
    rig.run(20)
    assert [one["temperature"] for one in rig.said("sampler_box_well")] == [3.5]


def test_a_bus_that_does_not_come_round_is_said_and_the_order_never_sent(rig: SamplerRig) -> None:
    results = rig.asked("keep_sample")
    for _ in range(120):
        rig.engine.tick()
        rig.sampler._one_turn()  # the bus does nothing
        rig.clock.advance(1)
    assert [one.outcome for one in results] == [Outcome.TIMED_OUT]
    rig.run(30)
    assert rig.device.acted == []
    assert rig.states() == {}


def test_status_says_how_the_sampler_stands(rig: SamplerRig) -> None:
    rig.device.trouble("door")
    rig.run(12)
    (row,) = rig.verb(action="status")
    assert (row["name"], row["door"], row["temperature"], row["free"], row["used"]) == ("outlet", True, 3.5, 3, 0)
    shown = rig.sampler.shown()["words"]
    assert shown == {"bottles_used": "0/3", "box_temperature": "3.5", "door_open": "!"}


# -- the configuration


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('point = "site"\nbottles', 'point = "sight"\nbottles', 'sampler[0].point: there is no point "sight"'),
        ('bus = "line"\nunit_id = 9', 'bus = "lime"\nunit_id = 9', 'sampler[0].bus: there is no bus "lime"'),
        ("unit_id = 9", "unit_id = 1", 'sampler[0].unit_id: 1 is already "dust" on this line'),
        ('"dahu-24"', '"dahu-25"', "no profile 'dahu-25'; did you mean dahu-24"),
        ('"dahu-24"', '"md02"', "has no action keep_sample"),
        ("confirmed = true", "confirmed = false", "check that on the sampler with an empty bottle"),
        ('bus = "line"\nunit_id = 9', "unit_id = 9", "write one of the two"),
        ("fill_seconds = 300", "box_high = -1", "sampler[0].box_high: -1 is not above box_low 0"),
        ("fill_seconds = 300", 'full = "x"', "sampler[0].full: has no meaning beside bus"),
        ("fill_seconds = 300", 'door = "x"', 'sampler[0].door: there is no contact "x"'),
        ('sampler = "outlet"', 'sampler = "inlet"', 'rule[0].sampler: there is no sampler "inlet"'),
        ('alarm = "dust"\ncool', 'alarm = "dusk"\ncool', 'rule[0].alarm: there is no alarm "dusk"'),
        ('alarm = "dust"\ncool', "cool", "rule[0].alarm: is missing: a sampler follows an alarm"),
        ("cool_down_seconds = 60", 'full = "x"', "rule[0].full: has no meaning beside sampler"),
        ("bottles = 3", "bottles = 100", "sampler[0].bottles"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    config = ALLOWED + MINUTE + SAMPLER
    assert old in config
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "station.toml").write_text(config.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "station.toml")
    assert said in str(error.value)


def test_a_sampler_may_have_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    own = '[[bus]]\nname = "wet"\nport = "wet"\ndevice = []\n' + SAMPLER.replace('bus = "line"', 'bus = "wet"')
    (tmp_path / "station.toml").write_text(ALLOWED + MINUTE + own, encoding="utf-8")
    assert [bus.name for bus in load(tmp_path / "station.toml").config.bus] == ["line", "wet"]


def test_a_rule_without_output_and_one_that_asks_no_sampler_there_is_are_faults(tmp_path: Path) -> None:
    rule = '[[rule]]\nname = "r"\nkind = "sample"\npoint = "site"\nparameter = "pm10"\nstart = 9\nstop = 8\n'
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    for more, said in (("", "rule[0].output: is missing"), ('sampler = "s"\n', 'there is no sampler "s"')):
        (tmp_path / "station.toml").write_text(CONFIG + rule + more, encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            load(tmp_path / "station.toml")
        assert said in str(error.value)


# -- over the wire of HJ 212


class Asked(SamplerRig):
    """The rig with the uplink of its configuration, whose thread runs while the clock is moved by hand."""

    def uplinks(self) -> Any:
        return None

    def start(self) -> Engine:
        self.trust = "host"
        engine = super().start()
        self.trust = "none"  # the platform's clock is the true one
        for sender in engine.senders:
            sender.start()
        return engine

    def until(self, holds: Callable[[], object], seconds: float = 30) -> bool:
        """Let everything go on until *holds*."""
        end = time.monotonic() + seconds
        while not (true := bool(holds())) and time.monotonic() < end:
            self.engine.tick()
            self.work()
            self.clock.advance(0.2)
            time.sleep(0.005)
        return true


@pytest.mark.parametrize(
    ("standard", "cn", "data", "accepted", "answered"),
    [
        ("2017", "3012", "PolId=a34004", True, ""),
        ("2017", "3015", "", True, "VaseNo=1"),
        ("2017", "3022", "PolId=a34004", False, ""),
        ("2025", "3012", "PolId=a34004", True, ""),
        ("2025", "3015", "", True, "VaseNo=1"),
        ("2025", "3022", "PolId=a34004", True, ""),
        ("2005", "3012", "PolId=107", True, ""),
        ("2005", "3015", "", False, ""),
        ("2005", "3022", "PolId=107", False, ""),
    ],
)
def test_a_platform_of_each_generation_gets_a_bottle_by_the_commands_it_has(
    tmp_path: Path, standard: str, cn: str, data: str, accepted: bool, answered: str
) -> None:
    with Platform() as platform:
        config = ALLOWED.replace("port = 9\n", f"port = {platform.port}\n")
        config = config.replace('standard = "2017"', f'standard = "{standard}"')
        if standard == "2005":
            config = config.replace(', "kept_sample"', "")
        rig = Asked(tmp_path, config + MINUTE + SAMPLER)
        try:
            assert rig.until(lambda: rig.sampler.state()["reachable"] and platform.summary()["records"])
            told = platform.send("M1", cn, data)
            if not accepted:
                assert rig.until(lambda: told.accepted)
                # 2005 knows 1, 2 and 3 alone (B); later generations say that there is no such command
                assert (told.accepted, told.result) == ("2" if standard == "2005" else "8", "")
                assert rig.device.filled == {}
                return
            assert rig.until(lambda: told.result)
            assert (told.accepted, told.result) == ("1", "1")
            assert answered in "".join(one.data for one in told.answers)
            assert rig.until(lambda: rig.device.filled == {1: 1})
            if standard != "2005":
                assert rig.until(lambda: any(one.cn == "3015" and "VaseNo=1" in one.data for one in platform.records()))
        finally:
            rig.stop()


def test_a_platform_is_told_why_there_is_no_bottle(tmp_path: Path) -> None:
    with Platform() as platform:
        rig = Asked(tmp_path, ALLOWED.replace("port = 9\n", f"port = {platform.port}\n") + MINUTE + SAMPLER)
        try:
            assert rig.until(lambda: rig.sampler.state()["reachable"] and platform.summary()["records"])
            rig.device.trouble("door")
            assert rig.until(lambda: rig.sampler.state()["door"])
            told = platform.send("M1", "3015")
            assert rig.until(lambda: told.result)
            assert (told.accepted, told.result) == ("1", "3")
            told = platform.send("M1", "3017", "PolId=a34004")
            assert rig.until(lambda: told.result)
            assert told.result == "3", "a sampler has no sampling period"
        finally:
            rig.stop()
