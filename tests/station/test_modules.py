"""Inputs and outputs on a module of a line: rules, doors, mains, rain, and what a module that fails does to them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.base import BusSettings, DeviceException, NoReply
from drivers.dio import DioModule
from drivers.emulated_dio import EmulatedDio
from drivers.line import crc16
from drivers.statistics import Statistics
from station.clock import EPOCH, ManualClock
from station.config import load
from station.engine import Engine
from station.linkage import OutputRefused
from station.model import ConfigError, Reading
from station.resumption import FOREVER
from station.supply import Supply
from tests.station.conftest import CONFIG, FakeLine, Rig

MODULE = """
[[bus]]
name = "signals"
port = "signals"

[[bus.device]]
name = "io"
driver = "dio"
module = "adam-4150"
unit_id = 3
point = "site"
"""
WIRED = (
    CONFIG
    + MODULE
    + """
[[input]]
name = "door"
kind = "door"
module = "io"
channel = 1
affects = ["site"]

[[input]]
name = "mains"
kind = "mains"
module = "io"
channel = 2

[[input]]
name = "rain"
kind = "rain"
module = "io"
channel = 3
point = "site"
mm_per_tip = 0.2

[[input]]
name = "fault"
kind = "contact"
module = "io"
channel = 4
active = "high"

[[output]]
name = "cannon"
kind = "relay"
module = "io"
channel = 1
affects = ["site"]
affects_seconds_after = 0
equipment = "SB1"

[[output]]
name = "sampler"
kind = "relay"
module = "io"
channel = 2

[[output]]
name = "lamp"
kind = "lamp"
module = "io"
channel = 3

[[rule]]
name = "dust"
kind = "spray"
output = "cannon"
point = "site"
parameter = "pm10"
start = 150
stop = 100
minimum_run_seconds = 3
cool_down_seconds = 10

[[rule]]
name = "over"
kind = "sample"
output = "sampler"
point = "site"
parameter = "pm25"
start = 75
stop = 60
bottles = 2
fault = "fault"

[[rule]]
name = "open"
kind = "signal"
output = "lamp"
input = "door"

[supply]
source = "input"
input = "mains"
stop_minutes = 1
uplink_seconds = 0
settle_minutes = 3
"""
)
CHANNEL = {"cannon": 1, "sampler": 2, "lamp": 3, "door": 1, "mains": 2, "rain": 3, "fault": 4}


class DirectBus:
    """A line on which *unit* answers at once, by the clock of the test."""

    def __init__(self, unit: EmulatedDio, clock: ManualClock) -> None:
        self.settings = BusSettings(name="signals", port="signals")
        self.statistics: defaultdict[int, Statistics] = defaultdict(Statistics)
        self.speeds: dict[int, Any] = {}
        self.owed: dict[int, Any] = {}
        self.monotonic = clock.monotonic
        self.note: Callable[..., None] = lambda code, **said: None
        self._unit = unit

    def raw(self, unit_id: int, function: int, data: bytes, profile: object) -> bytes:
        body = bytes((unit_id, function)) + data
        answer = None if self._unit.fault == "silent" else self._unit.answer(body + crc16(body))
        if answer is None:
            raise NoReply("no reply within 0.3 s")
        if answer[1] & 0x80:
            raise DeviceException(f"exception {answer[2]}", answer[2])
        return answer[2:-2]

    def read(self, unit_id: int, request: Any, profile: object) -> bytes:
        asked = request.address.to_bytes(2, "big") + request.count.to_bytes(2, "big")
        return self.raw(unit_id, request.function, asked, profile)[1:]

    def write(self, unit_id: int, write: Any, profile: object) -> None:
        self.raw(unit_id, write.function, write.body, profile)


class ModuleRig(Rig):
    """The rig with a module on a line of its own, and no pin at all."""

    emulated: EmulatedDio | None = None

    def start(self) -> Engine:
        settings: Any = self.loaded.config.bus[1].device[0]
        if self.emulated is None:
            self.emulated = EmulatedDio(settings, self.clock.monotonic)
            self.emulated.levels[:2] = [False, False]  # shut, and mains there
        line = DirectBus(self.emulated, self.clock)
        module = DioModule(settings, line, (), self.clock.now)  # type: ignore[arg-type]
        engine = Engine(
            self.loaded,
            self.open_store(),
            self.clock,
            buses=[
                (self.loaded.config.bus[0], [self.instrument], FakeLine()),
                (self.loaded.config.bus[1], [module], FakeLine()),
            ],
            uplinks=[(self.loaded.config.uplink[0], self.uplink)],
            reader=self.reader,
            trusted=lambda: self.trust,
        )
        line.note = engine.note
        for poller in engine.pollers:
            poller.submit = lambda errand: errand()  # type: ignore[method-assign]
        engine.committed = lambda patience=5.0: engine.commit()  # type: ignore[method-assign]
        return engine

    def run(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(round(seconds / step)):
            for poller in self.engine.pollers:
                for task in poller.tasks:
                    if task.due <= self.clock.monotonic():
                        poller.poll(task)
            self.linkage.turn()
            self.engine.tick()
            self.clock.advance(step)

    @property
    def linkage(self) -> Any:
        return self.engine.linkage

    @property
    def module(self) -> EmulatedDio:
        assert self.emulated is not None
        return self.emulated

    def bridge(self, name: str, level: bool) -> None:
        self.module.bridge(CHANNEL[name], level)

    def on(self, name: str) -> bool:
        return self.module.coils[CHANNEL[name] - 1]

    def said(self, code: str) -> list[dict[str, Any]]:
        self.engine.commit()
        rows = self.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
        return [json.loads(text) for (text,) in rows]

    def records(self, kind: str, name: str) -> list[Any]:
        self.engine.commit()
        return self.engine.store.records(kind, EPOCH, FOREVER, device=name)

    def readings(self, parameter: str) -> list[Reading]:
        self.engine.commit()
        return [r for r in self.engine.store.readings(EPOCH, FOREVER) if r.parameter == parameter]

    def output(self, name: str) -> dict[str, Any]:
        return next(one for one in self.linkage.live()["outputs"] if one["name"] == name)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ModuleRig]:
    made = ModuleRig(tmp_path, WIRED)
    yield made
    made.engine.shut_down()


# -- what works as pins do


def test_dust_switches_the_cannon_of_a_module_and_its_end_switches_it_off(rig: ModuleRig) -> None:
    rig.run(10)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    assert rig.on("cannon")
    assert rig.output("cannon")["module"] == "io"
    rig.instrument.show(pm10=80.0)
    rig.run(10)
    assert not rig.on("cannon")
    assert [record.body["state"] for record in rig.records("output", "cannon")] == ["on", "off"]
    assert rig.said("pin_lost") == rig.said("rule_held") == []


def test_a_door_of_a_module_is_an_event_a_reason_and_a_lamp(rig: ModuleRig) -> None:
    rig.run(10)
    rig.bridge("door", True)
    rig.run(5)
    assert rig.on("lamp")
    rig.bridge("door", False)
    rig.run(5)
    assert not rig.on("lamp")
    assert rig.said("door_open") == [{"input": "door"}]
    assert rig.said("door_closed")[0]["lasted_seconds"] == 5.0
    assert len(rig.records("condition", "door")) == 2


def test_mains_at_a_module_stops_the_station_as_a_pin_does(rig: ModuleRig) -> None:
    supply = next(one for one in rig.engine.beside if isinstance(one, Supply))

    def pass_time(seconds: int) -> None:
        for _ in range(seconds):
            rig.run(1)
            supply._one_turn()

    pass_time(200)
    rig.bridge("mains", True)
    pass_time(10)
    assert supply.gone
    assert len(rig.said("mains_lost")) == 1
    pass_time(65)
    assert supply.path.exists()


def test_a_silent_module_says_nothing_of_the_mains(rig: ModuleRig) -> None:
    supply = next(one for one in rig.engine.beside if isinstance(one, Supply))
    rig.run(10)
    supply._one_turn()
    assert supply.seen.online is True
    rig.module.fail("silent")
    rig.run(10)
    supply._one_turn()
    assert supply.seen.online is None
    assert not supply.gone


def test_rain_is_counted_by_the_module_and_goes_on_after_a_restart(rig: ModuleRig) -> None:
    rig.module.counts[2] = 70000
    rig.run(12)
    rig.module.pulse(3, 4)
    rig.run(12)
    assert rig.readings("rain")[-1].value == 0.8
    rig.restart()
    assert rig.said("counting_resumed")[0]["total"] == 0.8
    rig.run(12)
    rig.module.pulse(3)
    rig.run(12)
    assert rig.readings("rain")[-1].value == 1.0


def test_a_person_switches_and_locks_an_output_of_a_module(rig: ModuleRig) -> None:
    rig.run(2)
    assert rig.linkage.order("on", "cannon", 30, "test", "Li")["why"] == "by_hand"
    assert rig.on("cannon")
    rig.linkage.order("lock", "cannon", None, "hose", "Li")
    assert not rig.on("cannon")


# -- what fails


def test_a_module_that_falls_silent_is_told_once_and_takes_the_lamp_with_it(rig: ModuleRig) -> None:
    """An open door of which nothing is known any more lights no lamp; it is off as soon as it can be told to be."""
    rig.run(10)
    rig.bridge("door", True)
    rig.run(5)
    assert rig.on("lamp")
    rig.module.fail("silent")
    rig.run(30)
    lost = [one["name"] for one in rig.said("pin_lost")]
    assert sorted(lost) == ["cannon", "door", "fault", "lamp", "mains", "sampler"]
    assert rig.linkage.contact("door") is None
    shown = next(one for one in rig.linkage.live()["inputs"] if one["name"] == "door")
    assert (shown["known"], "has not answered" in shown["error"]) == (False, True)
    assert rig.output("lamp")["why"] == "lost"
    assert rig.said("device_lost")[0]["device"] == "io"
    rig.module.recover()
    rig.run(70)
    assert len(rig.said("pin_lost")) == len(rig.said("pin_back")) == 6
    states = [(record.body["state"], record.body["why"]) for record in rig.records("output", "lamp")]
    assert states == [("on", "input"), ("off", "lost"), ("on", "input")]
    assert rig.on("lamp")
    assert len(rig.said("door_open")) == 1  # it was open all the time


def test_a_cannon_whose_module_fell_silent_is_off_on_record_when_it_is_back(rig: ModuleRig) -> None:
    rig.run(10)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    rig.module.fail("silent")
    rig.run(20)
    assert rig.output("cannon")["on"]  # nobody knows better
    assert rig.output("cannon")["error"]
    rig.instrument.show(pm10=80.0)
    rig.module.recover()
    rig.run(70)
    assert not rig.on("cannon")
    assert [record.body["state"] for record in rig.records("output", "cannon")] == ["on", "off"]


def test_an_output_that_does_not_follow_never_counts_as_on(rig: ModuleRig) -> None:
    rig.run(10)
    rig.module.stick(1, on=False)
    rig.instrument.show(pm10=200.0)
    rig.run(30)
    (lost,) = rig.said("pin_lost")
    assert lost == {"name": "cannon", "error": "module io: output 1 was switched on and does not follow"}
    assert rig.records("output", "cannon") == []
    with pytest.raises(OutputRefused, match=r"stays off \(module io: output 1 was switched on and does not follow\)"):
        rig.linkage.order("on", "cannon", 30, "test", "Li")
    rig.module.stuck.clear()
    rig.run(15)
    assert rig.on("cannon")
    assert len(rig.said("pin_back")) == 1


def test_an_output_that_went_off_by_itself_is_off_on_record_and_started_anew_by_its_rule(rig: ModuleRig) -> None:
    rig.run(10)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    rig.module.power_cycle()
    rig.run(3)
    assert [(r.body["state"], r.body["why"]) for r in rig.records("output", "cannon")][-1] == ("off", "lost")
    rig.run(20)
    assert rig.on("cannon")


def test_a_sampler_whose_fault_contact_is_not_known_takes_no_bottle(rig: ModuleRig) -> None:
    rig.run(10)
    rig.linkage._inputs["fault"].contact._module.level = lambda channel: (_ for _ in ()).throw(NoReply("gone"))
    rig.instrument.show(pm25=90.0)
    rig.run(10)
    assert not rig.on("sampler")
    assert rig.said("rule_held")[0]["why"] == "lost"


def test_a_restart_reads_the_outputs_first_and_tells_of_one_that_is_on(rig: ModuleRig) -> None:
    rig.run(10)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    rig.engine.commit()
    rig.instrument.show(pm10=80.0)
    rig.restart()
    assert rig.on("cannon")  # it was killed, and the module knows nothing of that
    rig.run(2)
    assert not rig.on("cannon")
    assert rig.said("output_found_on") == [{"output": "cannon", "module": "io"}]
    assert rig.said("output_cut")[0]["output"] == "cannon"


def test_an_orderly_stop_switches_off(rig: ModuleRig) -> None:
    rig.run(10)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    rig.linkage.finish()
    assert not rig.on("cannon")


def test_the_end_of_the_lines_thread_switches_off_whatever_ended_it(rig: ModuleRig) -> None:
    rig.run(10)
    rig.instrument.show(pm10=200.0)
    rig.run(10)
    assert rig.on("cannon")
    rig.engine.stop.set()
    rig.engine.pollers[1].run()
    assert not rig.on("cannon")


# -- what cannot be


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('module = "io"\nchannel = 1\naffects = ["site"]\n\n[[input]]', '\n[[input]]', "input[0].pin: is missing"),
        ('name = "door"', 'name = "door"\npin = 5', "input[0].pin: stands beside module; name one of them"),
        ('name = "door"', 'name = "door"\npull = "none"', "input[0].pull: has no meaning beside module"),
        ('kind = "door"\nmodule = "io"', 'kind = "door"\nmodule = "oi"', 'no module "oi" (a device with'),
        ('kind = "door"\nmodule = "io"', 'kind = "door"\nmodule = "dust"', 'no module "dust" (a device with'),
        ('kind = "mains"\nmodule = "io"\nchannel = 2', 'kind = "mains"\nmodule = "io"\nchannel = 1', 'already "door"'),
        ('kind = "mains"\nmodule = "io"\nchannel = 2', 'kind = "mains"\nmodule = "io"\nchannel = 8', "no number 8"),
        ('kind = "mains"\nmodule = "io"\nchannel = 2', 'kind = "mains"\nmodule = "io"', "input[1].channel: is missing"),
        ('kind = "lamp"', 'kind = "lamp"\nblink_seconds = 0.5', "blink_seconds: is below 1"),
        ('kind = "lamp"', 'kind = "lamp"\nactive_high = false', "a module's output is off when its coil is off"),
        ('module = "adam-4150"', 'module = "adam-4055"', "is a template of grade C"),
        ('module = "adam-4150"', 'module = "adam-4055"\nconfirmed = true', '"io" counts no pulses'),
    ],
)  # fmt: skip
def test_check_says_what_cannot_be(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in WIRED
    (tmp_path / "station.toml").write_text(WIRED.replace(before, after, 1))
    (tmp_path / "password").write_text("123456")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "station.toml")
    assert said in str(caught.value)


def test_a_fault_of_a_module_is_not_one_of_all_that_hangs_on_it(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(WIRED.replace('module = "adam-4150"', 'module = "adam-4151"'))
    (tmp_path / "password").write_text("123456")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "station.toml")
    (said,) = str(caught.value).splitlines()
    assert "did you mean adam-4150?" in said


def test_check_hints_at_what_polls_cannot_see(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(WIRED)
    (tmp_path / "password").write_text("123456")
    said = "\n".join(load(tmp_path / "station.toml").warnings)
    assert 'input[3].bounce_seconds: 0.1 is shorter than the 0.5 s from one poll of "io" to the next' in said
