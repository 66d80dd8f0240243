"""Inputs, outputs and rules in a station whose pins are gpiozero's stand-ins and whose clock is moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gpiozero.pins.mock import MockFactory

from drivers.gpio import Pins
from station.clock import EPOCH, ManualClock
from station.conditions import Conditions
from station.engine import Engine
from station.linkage import OutputRefused
from station.model import Command, Kind, Mark, Outcome, Reading, Reason, WrongArgument
from station.resumption import FOREVER
from tests.station.conftest import CONFIG, START, Rig

WIRED = (
    CONFIG
    + """
[[input]]
name = "rain"
kind = "rain"
pin = 12
point = "site"
mm_per_tip = 0.2

[[input]]
name = "door"
kind = "door"
pin = 13
affects = ["site"]

[[input]]
name = "mains"
kind = "mains"
pin = 26

[[input]]
name = "filled"
kind = "contact"
pin = 16

[[input]]
name = "full"
kind = "contact"
pin = 17
equipment = "SB2"

[[output]]
name = "cannon"
kind = "relay"
pin = 5
active_high = false
minimum_off_seconds = 20
affects = ["site"]
affects_seconds_after = 30
equipment = "SB1"

[[output]]
name = "sampler"
kind = "relay"
pin = 6
active_high = false

[[output]]
name = "lamp"
kind = "lamp"
pin = 23
blink_seconds = 1

[[rule]]
name = "dust"
kind = "spray"
output = "cannon"
point = "site"
parameter = "pm10"
start = 150
stop = 100
minimum_run_seconds = 60
cool_down_seconds = 120
daily_maximum_seconds = 600
rain_hours = 1

[[rule]]
name = "over"
kind = "sample"
output = "sampler"
point = "site"
parameter = "pm25"
start = 75
stop = 60
cool_down_seconds = 10
bottles = 2
acknowledge = "filled"
acknowledge_seconds = 20
full = "full"

[[rule]]
name = "open"
kind = "signal"
output = "lamp"
input = "door"
"""
)
PIN = {"rain": 12, "door": 13, "mains": 26, "filled": 16, "full": 17, "cannon": 5, "sampler": 6, "lamp": 23}


class PinRig(Rig):
    """The rig with wires: contacts at rest, a clock that goes on by tenths of a second where it must."""

    def start(self) -> Engine:
        self.factory = MockFactory()
        for name in ("door", "mains"):  # wired: held low
            self.factory.pin(PIN[name])
        store = self.open_store()
        engine = Engine(
            self.loaded,
            store,
            self.clock,
            buses=[(self.loaded.config.bus[0], [self.instrument], _Line())],
            uplinks=[(self.loaded.config.uplink[0], self.uplink)],
            reader=self.reader,
            pins=Pins(self.factory),
        )
        for name in ("door", "mains"):
            self.wire(name, False)
        return engine

    def wire(self, name: str, high: bool) -> None:
        pin = self.factory.pin(PIN[name])
        pin.drive_high() if high else pin.drive_low()

    def tip(self, times: int = 1) -> None:
        for _ in range(times):
            self.wire("rain", False)
            self.wire("rain", True)
            self.clock.advance(0.2)

    def run(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(round(seconds / step)):
            for poller in self.engine.pollers:
                for task in poller.tasks:
                    if task.due <= self.clock.monotonic():
                        poller.poll(task)
            self.linkage.turn()
            self.engine.tick()
            self.clock.advance(step)

    def restart(self) -> None:
        """Kill the station: its pins are let go of, nothing in memory survives."""
        self.factory.close()
        super().restart()

    @property
    def linkage(self) -> Any:
        return self.engine.linkage

    def on(self, name: str) -> bool:
        """What the wire of an output says."""
        high = bool(self.factory.pin(PIN[name]).state)
        return high if name == "lamp" else not high

    def said(self, code: str) -> list[dict[str, Any]]:
        """Arguments of the events of one code, those not yet committed included."""
        self.engine.commit()
        rows = self.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
        return [json.loads(text) for (text,) in rows]

    def records(self, kind: str, **where: str) -> list[Any]:
        self.engine.commit()
        return self.engine.store.records(kind, EPOCH, FOREVER, **where)

    def readings(self, parameter: str) -> list[Reading]:
        self.engine.commit()
        return [r for r in self.engine.store.readings(EPOCH, FOREVER) if r.parameter == parameter]


class _Line:
    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., PinRig]]:
    made: list[PinRig] = []

    def rig(*changes: tuple[str, str]) -> PinRig:
        text = WIRED
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        made.append(PinRig(tmp_path, text))
        return made[-1]

    yield rig
    for one in made:
        one.engine.shut_down()


@pytest.fixture
def rig(make: Callable[..., PinRig]) -> PinRig:
    return make()


# -- rain


def test_rain_is_counted_into_the_minute_as_what_fell_in_it(rig: PinRig) -> None:
    """Three tips in the first minute, two in the next; the total is what is stored, the minute holds the rise."""
    rig.run(12)
    rig.tip(3)
    rig.run(30)
    rig.tip(2)
    rig.run(70)
    rain = [a.mean for r in rig.engine.store.averages(Kind.MINUTE, EPOCH, FOREVER) for a in r.averages
            if a.parameter == "rain"]  # fmt: skip
    assert rain == [0.6, 0.4]
    assert rig.readings("rain")[-1].value == 1.0


def test_the_count_goes_on_after_a_restart_and_says_how_long_it_was_down(rig: PinRig) -> None:
    """What fell since the last commit is lost, and nothing else: at most commit_seconds."""
    rig.run(12)
    rig.tip(5)
    rig.run(10)
    rig.engine.commit()
    stored = rig.readings("rain")[-1]
    rig.tip(1)  # after the last commit
    rig.run(3)
    rig.clock.advance(600)
    rig.restart()
    (resumed,) = rig.said("counting_resumed")
    assert resumed == {
        "input": "rain", "total": 1.0,
        "down_seconds": round((rig.clock.now() - stored.time).total_seconds(), 1),
    }  # fmt: skip
    rig.tip(2)
    rig.run(12)
    assert rig.readings("rain")[-1].value == 1.4


def test_an_orderly_stop_loses_no_tip(rig: PinRig) -> None:
    rig.run(12)
    rig.tip(4)
    rig.engine.shut_down()
    rig.engine = rig.start()
    assert rig.said("counting_resumed")[0]["total"] == 0.8


# -- contacts and reasons


def test_a_door_is_an_event_and_a_reason_beside_readings_that_stay_normal(rig: PinRig) -> None:
    """The minute's mean holds the readings taken with the door open."""
    rig.run(32)
    rig.wire("door", True)
    rig.run(30)
    rig.wire("door", False)
    rig.run(30)
    (opened,), (closed,) = rig.said("door_open"), rig.said("door_closed")
    assert opened == {"input": "door"}
    assert closed["lasted_seconds"] == 30.0
    found = rig.readings("pm10")
    assert {r.mark for r in found} == {Mark.N}
    beside = [r.time for r in found if r.reason is Reason.DOOR_OPEN]
    assert len(beside) == 6
    assert [r.reason for r in found if r.time < beside[0]] == [Reason.NONE] * 7
    minute = rig.engine.store.averages(Kind.MINUTE, START, FOREVER)[-1]
    pm10 = next(a for a in minute.averages if a.parameter == "pm10")
    assert (pm10.mark, pm10.mean, pm10.valid) == (Mark.N, 60.0, 12)
    began, ended = rig.records("condition", device="door")
    assert (began.point, began.body) == ("site", {"state": "began", "reason": "door_open"})
    assert (ended.body["state"], ended.body["lasted_seconds"], ended.at - began.at) == (
        "ended", 30.0, timedelta(seconds=30),
    )  # fmt: skip


def test_a_door_that_rattles_within_its_debounce_time_is_no_event(rig: PinRig) -> None:
    rig.run(2)
    for _ in range(10):
        rig.wire("door", True)
        rig.run(0.4, 0.2)
        rig.wire("door", False)
        rig.run(0.4, 0.2)
    assert rig.said("door_open") == []


def test_a_change_is_dated_to_its_beginning_not_to_the_end_of_the_debounce(rig: PinRig) -> None:
    rig.run(2)
    at = rig.clock.now()
    rig.wire("door", True)
    rig.run(2, 0.1)
    rig.engine.commit()
    ((ms,),) = rig.engine.store.query("SELECT at_ms FROM event WHERE code = 'door_open'")
    assert ms == (at - EPOCH) // timedelta(milliseconds=1)


def test_mains_failure_is_committed_at_once_and_often_from_then_on(rig: PinRig) -> None:
    """Debounced by five seconds; then every ten, since nobody knows when the battery ends."""
    rig.run(2)
    rig.wire("mains", True)
    rig.run(5)
    before = rig.engine.store.newest("reading")
    assert "mains_lost" not in rig.events()
    rig.run(1)
    assert "mains_lost" in rig.events()
    assert rig.engine.store.newest("reading") > before
    stored = rig.engine.store.newest("reading")
    rig.run(11)
    assert rig.engine.store.newest("reading") > stored
    rig.wire("mains", False)
    rig.run(7)
    assert [(r.point, r.body["value"]) for r in rig.records("site_info")] == [
        ("site", "mains power lost, on battery"),
        ("site", "mains power is back"),
    ]
    (back,) = rig.said("mains_back")
    assert back["lasted_seconds"] == 17.0


def test_a_contact_named_as_equipment_is_kept_at_each_change(rig: PinRig) -> None:
    rig.run(1)
    rig.wire("full", False)
    rig.run(2)
    rig.wire("full", True)
    rig.run(2)
    found = rig.records("equipment")
    assert [(r.point, r.body["states"]) for r in found] == [
        ("site", {"2": "off", "1": "off"}),
        ("site", {"2": "running"}),
        ("site", {"2": "off"}),
    ]


def test_a_platform_that_takes_equipment_is_told_of_a_cannon(make: Callable[..., PinRig]) -> None:
    """At the start, and at each change."""
    rig = make(("realtime_seconds = 30", 'realtime_seconds = 30\nkinds = ["realtime", "minute", "equipment"]'))
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(6)
    rig.engine.commit()
    assert len(rig.texts("EQUIPMENT site")) == 2


def test_of_two_reasons_one_stands_beside_the_reading_and_both_are_on_record(rig: PinRig) -> None:
    """The cannon weighs more than the door."""
    rig.wire("door", True)
    rig.run(3)
    rig.instrument.show(pm10=200.0)
    rig.run(20)
    assert rig.on("cannon")
    assert rig.readings("pm10")[-1].reason is Reason.SPRAYING
    assert {r.body["reason"] for r in rig.records("condition", point="site")} == {"door_open", "spraying"}


def test_the_reason_of_a_mark_goes_before_what_stands_beside(rig: PinRig) -> None:
    rig.wire("door", True)
    rig.run(3)
    rig.instrument.show(mark=Mark.T, reason=Reason.ABOVE_RANGE, pm10=9000.0)
    rig.run(10)
    last = rig.readings("pm10")[-1]
    assert (last.mark, last.reason) == (Mark.T, Reason.ABOVE_RANGE)


def test_a_value_dated_back_carries_the_reason_of_its_sampling() -> None:
    """An analyser's result comes half an hour after its sample was taken."""
    clock = ManualClock(START)
    conditions = Conditions(clock.now)
    clock.advance(100)
    conditions.begin("site", "door", Reason.DOOR_OPEN, clock.monotonic())
    clock.advance(100)
    conditions.end("site", "door", clock.monotonic())
    clock.advance(1800)

    def reason(seconds_ago: float) -> Reason:
        at = clock.now() - timedelta(seconds=seconds_ago)
        return conditions.beside(Reading("cod", "site", "cod", at, 1.0, 1.0, heard=clock.monotonic())).reason

    assert [reason(ago) for ago in (0, 1799, 1850, 1901)] == [
        Reason.NONE, Reason.NONE, Reason.DOOR_OPEN, Reason.NONE,
    ]  # fmt: skip
    clock.step(-7200)
    assert reason(1850) is Reason.DOOR_OPEN


# -- the cannon


def test_the_cannon_follows_the_dust_and_each_step_is_an_event_with_its_reason(rig: PinRig) -> None:
    rig.run(10)
    assert not rig.on("cannon")
    rig.instrument.show(pm10=200.0)
    rig.run(6)
    assert rig.on("cannon")
    (started,) = rig.said("output_on")
    assert started == {
        "output": "cannon", "rule": "dust", "point": "site", "parameter": "pm10",
        "start": 150.0, "stop": 100.0, "value": 200.0, "why": "level",
    }  # fmt: skip
    rig.instrument.show(pm10=50.0)
    rig.run(30)
    assert rig.on("cannon")
    (held,) = rig.said("rule_held")
    assert (held["would"], held["cause"], held["why"], held["value"]) == ("stop", "below", "minimum_run", 50.0)
    rig.run(30)
    assert not rig.on("cannon")
    (stopped,) = rig.said("output_off")
    assert (stopped["why"], stopped["ran_seconds"]) == ("below", 60.0)
    assert [r.body["states"] for r in rig.records("equipment", device="cannon")] == [{"1": "running"}, {"1": "off"}]


def test_readings_under_the_cannon_carry_the_reason_and_stay_in_the_mean(rig: PinRig) -> None:
    """During the run and for half a minute after it."""
    rig.run(31)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    rig.instrument.show(pm10=50.0)
    rig.run(140)
    found = rig.readings("pm10")
    sprayed = [r for r in found if r.reason is Reason.SPRAYING]
    assert {r.mark for r in found} == {Mark.N}
    began, ended = rig.records("condition", device="cannon")
    assert ended.at - began.at == timedelta(seconds=90)
    assert len(sprayed) == 18
    assert all(began.at < r.time <= ended.at for r in sprayed)
    minutes = rig.engine.store.averages(Kind.MINUTE, START, FOREVER)
    assert [(a.mark, a.valid) for m in minutes for a in m.averages if a.parameter == "pm10"] == [(Mark.N, 12)] * 2


def test_an_exceedance_under_a_lock_is_an_event_that_names_the_lock_once(rig: PinRig) -> None:
    """It rained a moment ago."""
    rig.run(12)
    rig.tip()
    rig.run(12)
    rig.instrument.show(pm10=200.0)
    rig.run(60)
    assert not rig.on("cannon")
    (held,) = rig.said("rule_held")
    assert (held["rule"], held["would"], held["why"], held["value"]) == ("dust", "start", "rain", 200.0)
    rig.instrument.show(pm10=50.0)
    rig.run(10)
    rig.instrument.show(pm10=210.0)
    rig.run(10)
    assert [e["value"] for e in rig.said("rule_held")] == [200.0, 210.0]


def test_rain_before_a_restart_still_locks(rig: PinRig) -> None:
    """From the minutes that are stored."""
    rig.run(12)
    rig.tip()
    rig.run(60)
    rig.restart()
    rig.instrument.show(pm10=200.0)
    rig.run(30)
    assert not rig.on("cannon")
    assert [e["why"] for e in rig.said("rule_held")] == ["rain"]
    rig.clock.advance(3600)
    rig.run(5)
    assert rig.on("cannon")


def test_a_silent_instrument_stops_the_cannon_and_does_not_start_it(rig: PinRig) -> None:
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    rig.instrument.go_silent()
    rig.run(80)
    assert rig.on("cannon")  # the last value is not yet old, and then there is a grace
    rig.run(30)
    assert not rig.on("cannon")
    assert rig.said("output_off")[-1]["why"] == "no_value"
    rig.run(600)
    assert not rig.on("cannon")


def test_run_time_and_rest_survive_a_restart(rig: PinRig) -> None:
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(5)
    rig.instrument.show(pm10=50.0)
    rig.run(60)
    assert not rig.on("cannon")
    used = rig.linkage.live()["outputs"][0]["used_today_seconds"]
    rig.engine.shut_down()
    rig.engine = rig.start()
    assert rig.linkage.live()["outputs"][0]["used_today_seconds"] == used == 60.0
    rig.instrument.show(pm10=200.0)
    rig.run(30)
    assert not rig.on("cannon")
    assert rig.said("rule_held")[-1]["why"] == "cool_down"
    rig.run(100)
    assert rig.on("cannon")


def test_a_run_that_a_crash_cut_short_counts_and_is_said(rig: PinRig) -> None:
    """Up to the last reading on record; the rest begins with the new start."""
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(40)
    rig.engine.commit()
    rig.restart()
    assert not rig.on("cannon")
    (cut,) = rig.said("output_cut")
    assert cut["output"] == "cannon"
    assert 30 <= cut["ran_seconds"] <= 40
    assert rig.linkage.live()["outputs"][0]["used_today_seconds"] == cut["ran_seconds"]
    rig.run(60)
    assert not rig.on("cannon")
    rig.restart()
    assert len(rig.said("output_cut")) == 1


@pytest.mark.parametrize("step", [-7200, 7200])
def test_run_time_is_counted_right_after_a_restart_though_the_clock_was_set_within_a_run(
    rig: PinRig, step: float
) -> None:
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(5)
    rig.clock.step(step)
    rig.instrument.show(pm10=50.0)
    rig.run(60)
    assert not rig.on("cannon")
    used = rig.linkage.live()["outputs"][0]["used_today_seconds"]
    assert used >= 60
    rig.engine.shut_down()
    rig.engine = rig.start()
    assert rig.linkage.live()["outputs"][0]["used_today_seconds"] == used


def test_a_new_day_has_its_own_run_time(make: Callable[..., PinRig]) -> None:
    """The station's day, not that of UTC."""
    rig = make(
        ("daily_maximum_seconds = 600", "daily_maximum_seconds = 60"),
        ("cool_down_seconds = 120", "cool_down_seconds = 0"),
    )
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(120)
    assert not rig.on("cannon")
    assert rig.said("rule_held")[-1]["why"] == "daily_maximum"
    rig.clock.advance(15 * 3600 + 57 * 60)  # 08:02:36 there; now past midnight
    rig.clock.advance(120)
    rig.run(5)
    assert rig.on("cannon")


# -- off, whatever happens


def test_a_stop_of_the_station_switches_off_first_and_says_so(rig: PinRig) -> None:
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    assert rig.on("cannon")
    rig.engine.shut_down()
    wire = rig.factory.pin(PIN["cannon"])
    assert [state.state for state in wire.states][-1] is True
    store = rig.open_store()
    (last,) = store.records("output", EPOCH, FOREVER, device="cannon")[-1:]
    store.close()
    assert (last.body["state"], last.body["why"]) == ("off", "stopped")
    rig.engine = rig.start()


def test_what_stands_beside_readings_ends_on_record_with_the_station(rig: PinRig) -> None:
    """And begins again with the next start, if the door is still open."""
    rig.wire("door", True)
    rig.run(10)
    rig.engine.shut_down()
    rig.engine = rig.start()
    assert [r.body["state"] for r in rig.records("condition", device="door")] == ["began", "ended"]
    rig.wire("door", True)
    rig.run(3)
    assert [r.body["state"] for r in rig.records("condition", device="door")] == ["began", "ended", "began"]


def test_a_main_thread_that_stands_still_has_its_outputs_switched_off(rig: PinRig) -> None:
    """The pins' own thread sees it; when the main thread moves again, the rule's rest holds."""
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    assert rig.on("cannon")
    rig.clock.advance(31)
    rig.linkage.turn()
    assert not rig.on("cannon")
    rig.engine.tick()
    rig.linkage.turn()
    assert not rig.on("cannon")
    assert rig.said("output_off")[-1]["why"] == "hung"
    assert len(rig.said("outputs_forced_off")) == 1


def test_a_pin_thread_that_stands_still_has_its_outputs_switched_off_by_the_main_thread(rig: PinRig) -> None:
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    rig.clock.advance(11)
    rig.engine.tick()
    assert not rig.on("cannon")


def test_a_pin_that_fails_is_said_once_and_stops_neither_the_station_nor_the_other_pins(rig: PinRig) -> None:
    """As when another program has taken the line."""
    wire = rig.factory.pin(PIN["cannon"])
    works = type(wire)._set_state

    def fail(value: float) -> None:
        raise OSError("GPIO busy")

    wire._set_state = fail
    rig.instrument.show(pm10=200.0)
    rig.wire("door", True)
    rig.run(20)
    assert rig.on("lamp") or rig.linkage.live()["outputs"][2]["on"]
    assert not rig.linkage.live()["outputs"][0]["on"]
    (lost,) = rig.said("pin_lost")
    assert lost["name"] == "cannon"
    assert lost["error"].endswith("cannot be used (GPIO busy)")
    assert rig.linkage.live()["outputs"][0]["error"] == lost["error"]
    wire._set_state = lambda value: works(wire, value)
    rig.run(2)
    assert rig.on("cannon")
    assert len(rig.said("pin_back")) == 1


# -- people


def test_a_lock_needs_a_person_and_a_reason_switches_off_and_survives_a_restart(rig: PinRig) -> None:
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    with pytest.raises(WrongArgument, match="lock needs a person and a reason"):
        rig.linkage.order("lock", "cannon", None, "", "Wang")
    state = rig.linkage.order("lock", "cannon", None, "hose changed", "Wang")
    assert (state["on"], state["locked"], state["lock"]["user"]) == (False, True, "Wang")
    assert not rig.on("cannon")
    with pytest.raises(OutputRefused, match=r"^cannon: stays off \(locked\)$"):
        rig.linkage.order("on", "cannon", None, "", "Li")
    rig.engine.commit()
    rig.restart()
    rig.run(200)
    assert not rig.on("cannon")
    rig.linkage.order("unlock", "cannon", None, "hose is on", "Wang")
    rig.run(2)
    assert rig.on("cannon")
    assert [(e["user"], e["reason"]) for e in rig.said("output_unlocked")] == [("Wang", "hose is on")]


def test_a_lock_given_under_a_wrong_clock_is_not_stronger_than_its_unlocking(rig: PinRig) -> None:
    """The later entry holds, whatever the clock said."""
    rig.run(2)
    rig.clock.step(86400)
    rig.linkage.order("lock", "cannon", None, "visitors", "Wang")
    rig.clock.step(-86400)
    rig.linkage.order("unlock", "cannon", None, "gone", "Wang")
    rig.engine.commit()
    rig.restart()
    assert rig.linkage.live()["outputs"][0]["locked"] is False


def test_a_lock_with_an_end_opens_by_itself(rig: PinRig) -> None:
    rig.linkage.order("lock", "cannon", 60, "visitors", "Wang")
    rig.instrument.show(pm10=200.0)
    rig.run(60)
    assert not rig.on("cannon")
    rig.run(5)
    assert rig.on("cannon")


def test_a_person_switches_on_for_a_time_and_off_for_a_time(rig: PinRig) -> None:
    rig.run(2)
    assert rig.linkage.order("on", "cannon", 30, "test", "Li")["why"] == "by_hand"
    rig.run(29)
    assert rig.on("cannon")
    rig.run(2)
    assert not rig.on("cannon")
    with pytest.raises(OutputRefused, match=r"cannon: stays off \(minimum_off\)"):
        rig.linkage.order("on", "cannon", 30, "test", "Li")
    rig.run(200)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    rig.linkage.order("off", "cannon", 300, "too loud", "Li")
    assert not rig.on("cannon")
    rig.run(290)
    assert not rig.on("cannon")
    rig.run(20)
    assert rig.on("cannon")
    assert [(e["order"], e["user"]) for e in rig.said("output_by_hand")] == [("on", "Li"), ("off", "Li")]


def test_an_output_or_order_that_is_not_known_is_named(rig: PinRig) -> None:
    with pytest.raises(WrongArgument, match='there is no output "canon"; did you mean cannon'):
        rig.linkage.order("on", "canon", None, "", "")
    with pytest.raises(WrongArgument, match='"blow" is not one of'):
        rig.linkage.order("blow", "cannon", None, "", "")


# -- the sampler


def over(rig: PinRig) -> None:
    """An exceedance begins, and the sampler gets its pulse."""
    rig.instrument.show(pm25=80.0)
    rig.run(6)


def acknowledge(rig: PinRig) -> None:
    rig.wire("filled", False)
    rig.run(1, 0.2)
    rig.wire("filled", True)
    rig.run(1, 0.2)


def under(rig: PinRig) -> None:
    rig.instrument.show(pm25=30.0)
    rig.run(20)


def test_an_exceedance_pulses_the_sampler_once_and_the_bottle_counts_when_it_is_acknowledged(rig: PinRig) -> None:
    rig.run(6)
    rig.instrument.show(pm25=80.0)
    rig.run(6, 0.1)
    assert [s.state for s in rig.factory.pin(PIN["sampler"]).states][1:] == [True, False, True]
    (pulse,) = [e for e in rig.said("output_off") if e["output"] == "sampler"]
    assert pulse["ran_seconds"] == pytest.approx(0.8, abs=0.11)
    assert rig.records("kept_sample") == []
    acknowledge(rig)
    rig.run(60)
    (kept,) = rig.records("kept_sample")
    assert (kept.device, kept.point) == ("sampler", "site")
    assert kept.body == {
        "acknowledged": True, "vase": 1, "rule": "over", "parameter": "pm25", "value": 80.0, "limit": 75.0,
        "why": "level",
    }  # fmt: skip


def test_a_sampler_that_does_not_acknowledge_has_filled_no_bottle(rig: PinRig) -> None:
    over(rig)
    rig.run(30)
    (failed,) = rig.said("sample_failed")
    assert (failed["output"], failed["vase"]) == ("sampler", 1)
    assert rig.records("kept_sample") == []


def test_bottles_are_numbered_until_they_are_used_up_and_begin_anew_when_emptied(rig: PinRig) -> None:
    for _ in range(2):
        over(rig)
        acknowledge(rig)
        under(rig)
    assert [r.body["vase"] for r in rig.records("kept_sample")] == [1, 2]
    over(rig)
    assert [e["why"] for e in rig.said("rule_held")] == ["no_bottle"]
    rig.engine.shut_down()
    rig.engine = rig.start()
    assert rig.linkage.live()["outputs"][1]["bottle"] == 2
    rig.linkage.order("emptied", "sampler", None, "collected", "Zhao")
    rig.run(6)
    acknowledge(rig)
    assert rig.records("kept_sample")[-1].body["vase"] == 1


def test_a_full_sampler_gets_no_pulse(rig: PinRig) -> None:
    rig.wire("full", False)
    rig.run(2)
    over(rig)
    assert [e["why"] for e in rig.said("rule_held")] == ["bottle_full"]
    with pytest.raises(OutputRefused, match="bottle_full"):
        rig.linkage.order("on", "sampler", None, "by hand", "Li")


def test_a_restart_within_an_exceedance_takes_no_second_bottle(rig: PinRig) -> None:
    over(rig)
    acknowledge(rig)
    rig.engine.commit()
    rig.restart()
    rig.run(60)
    assert len(rig.records("kept_sample")) == 1
    under(rig)
    rig.engine.commit()
    rig.restart()
    over(rig)
    acknowledge(rig)
    assert [r.body["vase"] for r in rig.records("kept_sample")] == [1, 2]


def test_a_sampler_that_still_fills_a_bottle_gets_no_second_pulse(rig: PinRig) -> None:
    """Neither by hand nor by its rule, whose rest is shorter."""
    over(rig)
    with pytest.raises(OutputRefused, match="filling"):
        rig.linkage.order("on", "sampler", None, "again", "Li")
    under(rig)  # and the 20 s of the acknowledgement are over
    over(rig)
    acknowledge(rig)
    assert [r.body["vase"] for r in rig.records("kept_sample")] == [1]
    assert len(rig.said("sample_failed")) == 1


def test_a_person_may_take_a_sample(rig: PinRig) -> None:
    rig.run(1)
    rig.linkage.order("on", "sampler", 60, "inspection", "Li")
    rig.run(1, 0.1)
    assert not rig.on("sampler")
    acknowledge(rig)
    (kept,) = rig.records("kept_sample")
    assert (kept.body["why"], kept.body["vase"]) == ("by_hand", 1)


def test_a_sampler_in_its_pulse_takes_no_second_order_for_a_bottle_it_would_not_fill(
    make: Callable[..., PinRig],
) -> None:
    rig = make(('acknowledge = "filled"\n', ""))
    rig.run(1)
    rig.linkage.order("on", "sampler", None, "inspection", "Li")
    rig.run(0.2, 0.1)
    with pytest.raises(OutputRefused, match=r"sampler: stays off \(filling\)"):
        rig.linkage.order("on", "sampler", None, "inspection", "Li")
    rig.run(2, 0.1)
    assert [r.body["vase"] for r in rig.records("kept_sample")] == [1]
    assert not rig.on("sampler")


def test_an_acknowledgement_that_stood_before_the_pulse_is_none(rig: PinRig) -> None:
    """A contact that sticks would else count bottles nobody filled."""
    rig.wire("filled", False)
    rig.run(6)
    over(rig)
    rig.run(30)
    assert rig.records("kept_sample") == []
    assert len(rig.said("sample_failed")) == 1


def ask(rig: PinRig, **arguments: str) -> Any:
    """What the desk answers to a platform's keep_sample."""
    results: list[Any] = []
    command = Command("keep_sample", "district", "site", arguments, identity=f"Q{arguments}", issued=rig.clock.now())
    assert rig.engine.desk.refusal(command) is None
    rig.engine.desk.submit(command, results.append)
    (result,) = results
    return result


def test_a_platform_may_have_a_sample_taken_and_is_told_time_and_bottle(make: Callable[..., PinRig]) -> None:
    """HJ 212's 3015, as far as the platform is allowed to sample."""
    rig = make(("realtime_seconds = 30", 'realtime_seconds = 30\nallow = ["sample"]'))
    rig.run(1)
    asked = rig.clock.now()
    result = ask(rig)
    assert (result.outcome, dict(result.values)) == (Outcome.DONE, {"time": asked.isoformat(), "vase": "1"})
    rig.run(1, 0.1)
    acknowledge(rig)
    (kept,) = rig.records("kept_sample")
    assert (kept.body["vase"], kept.body["why"], kept.at) == (1, "by_hand", asked)
    assert rig.said("output_by_hand")[0]["user"] == "district"


def test_a_platform_is_told_why_no_sample_can_be_taken(make: Callable[..., PinRig]) -> None:
    rig = make(("realtime_seconds = 30", 'realtime_seconds = 30\nallow = ["sample"]'))
    rig.wire("full", False)
    rig.run(2)
    result = ask(rig)
    assert (result.outcome, result.reason) == (Outcome.CONDITIONS, "sampler: stays off (bottle_full)")
    rig.clock.advance(1)
    assert ask(rig, parameter="pm10").reason == "no instrument of this point can do that"


# -- lamps


def test_a_lamp_blinks_while_the_door_is_open(rig: PinRig) -> None:
    rig.run(1)
    rig.wire("door", True)
    rig.run(1)
    seen = []
    for _ in range(6):
        rig.run(1)
        seen.append(rig.on("lamp"))
    assert sorted(seen) == [False] * 3 + [True] * 3
    rig.wire("door", False)
    rig.run(3)
    assert not rig.on("lamp")
    assert [e["input"] for e in rig.said("output_on")] == ["door"]


# -- what is shown


def test_what_is_shown_says_what_is_on_and_why(rig: PinRig) -> None:
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    rig.run(6)
    shown = rig.linkage.live()
    assert (shown["library"], shown["mock"]) == ("mock", True)
    assert {i["name"]: i["state"] for i in shown["inputs"]} == {
        "door": "door_closed", "mains": "mains_back", "filled": "contact_gone", "full": "contact_gone",
    }  # fmt: skip
    cannon = shown["outputs"][0]
    assert (cannon["on"], cannon["why"], cannon["rules"][0]["value"]) == (True, "level", 200.0)


def test_mock_pins_can_be_driven_by_name(rig: PinRig) -> None:
    rig.run(1)
    rig.linkage.drive("door", "active")
    rig.run(2)
    assert len(rig.said("door_open")) == 1
    rig.linkage.drive("rain", "tip")
    rig.run(12)
    assert rig.readings("rain")[-1].value == 0.2
    with pytest.raises(WrongArgument, match='"slam" is not one of active, inactive, tip'):
        rig.linkage.drive("door", "slam")


def test_the_thread_reacts_to_a_reading_without_waiting_for_a_commit(rig: PinRig) -> None:
    """Driven as a thread: the reading itself wakes it."""
    rig.run(6)
    rig.instrument.show(pm10=200.0)
    linkage = rig.linkage
    linkage.start()
    rig.clock.advance(5)
    rig.engine.pollers[0].poll(rig.engine.pollers[0].tasks[0])
    deadline = 200
    while not rig.on("cannon") and deadline:
        linkage.join(0.05)
        deadline -= 1
    assert rig.on("cannon")
    assert linkage.failed is None
