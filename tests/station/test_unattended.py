"""A calibration of an analyser that nobody attends: started, left, led by the station, signed by a named person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.analyser import Analyser
from drivers.base import BusSettings
from drivers.bus import Bus
from drivers.emulated_analyser import EmulatedAnalyser
from station import unattended
from station.calibrate import KIND
from station.calibration_entry import Hands, calibration_book, enter_calibration
from station.calibration_run import Run
from station.clock import ManualClock
from station.config import load
from station.engine import Engine
from station.fieldbook import BEGINNING, END
from station.model import WrongArgument
from station.store import Store
from tests.drivers.fakes import FakePort
from tests.station.commands import Here, daemon
from tests.station.conftest import START

CONFIG = """
[station]
name = "test"
data_folder = "data"

[[point]]
code = "out"
name = "Outlet"
st = "32"

[[bus]]
name = "line"
port = "port"

[[bus.device]]
name = "nh3n"
driver = "analyser"
point = "out"
unit_id = 5
poll_seconds = 30
every_minutes = 1440
confirmed = true
results = { ammonia_nitrogen = { address = 10, type = "f32", range = [0, 50] } }
result_time = { address = 20, type = "time_words" }
state = { address = 1 }
states = { idle = [0], measuring = [1], calibrating = [3], cleaning = [4], fault = [9] }
commands = { sample_now = { address = 100, values = [1] }, calibrate_span = { address = 100, values = [3] } }
"""
BEGIN = {"do": "begin", "device": "nh3n", "parameter": "ammonia_nitrogen", "procedure": "instrument-span",
         "standards": [{"value": 2.0, "certificate": "GSB-05"}], "user": "Wang Fang", "unattended": True,
         "full_scale": 10.0}  # fmt: skip


class WireTime:
    """The time of the wire, which is the station's clock: what a byte takes passes there too."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    @property
    def now(self) -> float:
        return self._clock.monotonic()

    @now.setter
    def now(self, value: float) -> None:
        self._clock.advance(max(0.0, value - self._clock.monotonic()))

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._clock.advance(seconds)


class Outlet:
    """A station over one emulated ammonia analyser that drifted to 1.7 in a standard of 2, until it calibrates."""

    def __init__(self, folder: Path) -> None:
        (folder / "station.toml").write_text(CONFIG, encoding="utf-8")
        self.loaded = load(folder / "station.toml")
        self.clock = ManualClock(START)
        settings: Any = self.loaded.config.bus[0].device[0]
        self.unit = EmulatedAnalyser(settings, self._values, self.clock.monotonic, self.clock.now)
        self.deaf = False
        self.engine = self.start()

    def _values(self) -> dict[str, float]:
        return {"ammonia_nitrogen": 2.01 if "calibrate" in self.unit.acted else 1.7}

    def start(self) -> Engine:
        time: Any = WireTime(self.clock)
        port = FakePort(time, self._answer)
        (bus,) = self.loaded.config.bus
        line = Bus(BusSettings(name="line", port="port", gap_ms=0), lambda _: port, time.monotonic, time.sleep)
        settings: Any = bus.device[0]
        device = Analyser(settings, line, (), self.clock.now)
        store = Store.open(self.loaded.database)
        return Engine(self.loaded, store, self.clock, buses=[(bus, [device], line)], uplinks=[], trusted=lambda: "ntp")

    def _answer(self, request: bytes) -> list[tuple[float, bytes]]:
        reply = None if self.deaf else self.unit.answer(request)
        return [(0.02, reply)] if reply is not None else []

    def run(self, minutes: float, restart_every: int = 0) -> None:
        """Let time pass: polls, errands, commits; with a power cut every so many half minutes."""
        end, turns = self.clock.now() + timedelta(minutes=minutes), 0
        while self.clock.now() < end:
            (poller,) = self.engine.pollers
            while not poller._errands.empty():
                errand = poller._errands.get_nowait()
                if errand is not None:
                    errand()
            for task in poller.tasks:
                if task.due <= self.clock.monotonic():
                    poller.poll(task)
            self.engine.tick()
            self.clock.advance(30)
            turns += 1
            if restart_every and turns % restart_every == 0:
                self.engine.store.close()
                self.engine = self.start()

    def enter(self, **fields: Any) -> dict[str, Any]:
        def nobody(device: str, verb: str, arguments: Any) -> dict[str, str]:
            return {}

        made = enter_calibration(
            self.engine.store, self.loaded, {"user": "Wang Fang"} | fields, self.clock.now(), "ntp",
            hands=Hands(talk=nobody),
        )  # fmt: skip
        self.engine.keep(*made, urgent=True)
        assert self.engine.commit()
        return dict(made[0].body)

    @property
    def k1(self) -> Run:
        return calibration_book(self.engine.store).named("K1")

    def told(self) -> list[Any]:
        rows = self.engine.store.query("SELECT body FROM event WHERE code = 'calibration' ORDER BY id")
        return [row[0] for row in rows]


@pytest.fixture
def outlet(tmp_path: Path) -> Iterator[Outlet]:
    made = Outlet(tmp_path)
    yield made
    made.engine.shut_down()


def test_it_is_led_from_the_beginning_to_its_signature(outlet: Outlet) -> None:
    """Measured (1.7 in 2), told to calibrate, measured again (2.01): ready after three errands of the analyser."""
    outlet.enter(**BEGIN)
    assert outlet.k1.shown_state == "open"
    outlet.run(180)
    run = outlet.k1
    assert run.shown_state == "ready"
    assert [step.raw for step in run.steps] == pytest.approx([1.7, 2.01])
    assert outlet.unit.acted == ["sample_now", "calibrate", "sample_now"]
    assert outlet.engine.periods.marks.named("M1").last is not None  # values count again before it is signed
    with pytest.raises(WrongArgument, match="the person's name"):
        outlet.enter(do="done", name="K1", user="")
    done = outlet.enter(do="done", name="K1", user="Li Wei", note="looked at the curve")
    assert (done["user"], done["verdict"], done["rows"][0]["found_error"]) == ("Li Wei", "passed", pytest.approx(-0.3))
    assert outlet.k1.user == "Wang Fang"
    with pytest.raises(WrongArgument, match="K1 is done already"):
        outlet.enter(do="done", name="K1", user="Li Wei")


def test_an_event_tells_that_it_is_through(outlet: Outlet) -> None:
    outlet.enter(**BEGIN)
    outlet.run(180)
    codes = outlet.engine.store.query("SELECT code, arguments FROM event WHERE code = 'calibration' ORDER BY id")
    assert ['"do": "step"' in row[1] or '"do":"step"' in row[1] for row in codes] == [True, False, False]
    assert "ready" in codes[-1][1]


@pytest.mark.parametrize("every", [2, 7, 40])
def test_it_survives_restarts_at_any_step(outlet: Outlet, every: int) -> None:
    """A power cut every minute, every minute and a half …: the analyser goes on, and so does the run where it was."""
    outlet.enter(**BEGIN)
    outlet.run(300, restart_every=every)
    run = outlet.k1
    assert run.shown_state == "ready"
    assert [step.raw for step in run.steps] == pytest.approx([1.7, 2.01])
    assert outlet.unit.acted.count("calibrate") == 1


def until_act(outlet: Outlet) -> None:
    """To where it is on record that the analyser is about to be told, and no further."""
    outlet.enter(**BEGIN)
    for _ in range(400):
        outlet.run(0.5)
        if outlet.k1.telling:
            break
    assert (outlet.k1.telling, outlet.k1.acts, outlet.unit.acted) == (True, (), ["sample_now"])


def cut(outlet: Outlet) -> None:
    outlet.engine.store.close()
    outlet.engine = outlet.start()


def test_a_cut_before_it_was_told_has_it_told_once(outlet: Outlet) -> None:
    """It is idle a moment later, so it was not told."""
    until_act(outlet)
    cut(outlet)
    outlet.run(180)
    assert (outlet.k1.shown_state, outlet.unit.acted.count("calibrate")) == ("ready", 1)


def test_a_cut_behind_it_does_not_have_it_told_again(outlet: Outlet) -> None:
    """Told, and cut before that was on record: it says that it calibrates."""
    until_act(outlet)
    task = outlet.engine.tasks["nh3n"]
    task.device.act("calibrate", {"parameter": "ammonia_nitrogen", "type": "span", "standard": "2.0"})
    cut(outlet)
    outlet.run(180)
    assert (outlet.k1.shown_state, outlet.unit.acted.count("calibrate")) == ("ready", 1)
    assert [step.raw for step in outlet.k1.steps] == pytest.approx([1.7, 2.01])


@pytest.mark.parametrize("told", [True, False])
def test_a_long_cut_leaves_it_to_a_person(outlet: Outlet, told: bool) -> None:
    """A day later it is idle either way: it is not told again, and somebody is asked to look."""
    until_act(outlet)
    if told:
        task = outlet.engine.tasks["nh3n"]
        task.device.act("calibrate", {"parameter": "ammonia_nitrogen", "type": "span", "standard": "2.0"})
    outlet.engine.store.close()
    outlet.clock.advance(2 * 3600)
    outlet.engine = outlet.start()
    outlet.run(30)
    assert outlet.unit.acted.count("calibrate") == told
    assert outlet.k1.state == "failed"
    assert outlet.k1.result["reason"] == "nobody knows whether nh3n was told to calibrate its span"
    assert outlet.engine.periods.marks.named("M1").last is not None  # values count again


def test_a_reply_that_got_lost_does_not_have_it_told_again(outlet: Outlet) -> None:
    """It obeyed, and its answer was not heard."""
    until_act(outlet)
    answer = outlet.unit.answer

    def lost(request: bytes) -> bytes | None:
        reply = answer(request)
        return None if "calibrate" in outlet.unit.acted and outlet.unit.answer is lost and _back() else reply

    def _back() -> bool:
        outlet.unit.answer = answer  # type: ignore[method-assign]
        return True

    outlet.unit.answer = lost  # type: ignore[method-assign]
    outlet.run(180)
    assert (outlet.k1.shown_state, outlet.unit.acted.count("calibrate")) == ("ready", 1)


def test_a_broken_analyser_ends_it_and_values_count_again(outlet: Outlet) -> None:
    outlet.unit.broken = True
    outlet.enter(**BEGIN)
    outlet.run(200)
    run = outlet.k1
    assert (run.state, run.steps) == ("failed", ())
    assert run.result["reason"] == "nh3n was not told within 3 h: nh3n: is fault, and takes no command"
    assert outlet.engine.periods.marks.named("M1").last is not None
    assert outlet.engine._calibrating.unattended is None
    with pytest.raises(WrongArgument, match="K1 is failed already"):
        outlet.enter(do="done", name="K1")


def test_one_that_falls_silent_in_the_middle_ends_it(outlet: Outlet) -> None:
    outlet.enter(**BEGIN)
    outlet.run(100)
    assert len(outlet.k1.steps) == 1
    outlet.deaf = True
    outlet.run(300)
    assert (outlet.k1.state, "within 3 h" in outlet.k1.result["reason"]) == ("failed", True)


@pytest.mark.parametrize("step", [4.0, -0.5])
def test_its_three_hours_are_of_the_clock_that_never_steps(outlet: Outlet, step: float) -> None:
    outlet.unit.broken = True
    outlet.enter(**BEGIN)
    outlet.run(60)
    outlet.clock.step(3600 * step)
    outlet.run(110)
    assert outlet.k1.state == "open"
    outlet.run(30)
    assert outlet.k1.state == "failed"


def test_it_can_be_given_up_meanwhile(outlet: Outlet) -> None:
    outlet.enter(**BEGIN)
    outlet.run(20)
    outlet.enter(do="cancel", name="K1", reason="the bottle is needed", user="Li Wei")
    told = list(outlet.unit.acted)
    outlet.run(120)
    assert (outlet.k1.state, outlet.unit.acted) == ("cancelled", told)


def test_another_one_may_begin_while_it_waits_for_its_signature(outlet: Outlet) -> None:
    outlet.enter(**BEGIN)
    with pytest.raises(WrongArgument, match="nh3n is being calibrated by Wang Fang"):
        outlet.enter(**BEGIN)
    outlet.run(180)
    assert outlet.enter(**BEGIN | {"procedure": "check"})["name"] == "K2"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"procedure": "two-point", "standards": [{"value": 0.0}, {"value": 2.0}]}, "stay 1 and 0"),
        ({"procedure": "check", "standards": [{"value": 1.0}, {"value": 2.0}]}, "check wants somebody there"),
        ({"procedure": "repeat-check", "standards": [{"value": 2.0}] * 3}, "repeat-check wants somebody there"),
        ({"standards": [{"value": 2.0, "expires": "2026-01-01"}]}, "expired on 2026-01-01"),
        ({"procedure": "instrument-zero", "standards": [{"value": 0.0}]}, "has no action that calibrates"),
    ],
)
def test_what_wants_somebody_there_does_not_begin(outlet: Outlet, change: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongArgument, match=said):
        outlet.enter(**BEGIN | change)
    assert outlet.engine.store.records(KIND, BEGINNING, END) == []


def test_as_typed_it_is_left_listed_and_signed_when_it_is_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command comes back at once; list and status tell how it stands, and who signs has to wait for its end."""
    command, config = Here(monkeypatch, capfd), tmp_path / "station.toml"
    config.write_text(CONFIG, encoding="utf-8")
    with daemon(config):
        words = ("--procedure", "instrument-span", "--standard", "2,GSB-05", "--user", "Wang Fang", "--unattended")
        begun = command("calibrate", "nh3n", "ammonia_nitrogen", *words, "--config", config)
        assert begun.out.splitlines() == [
            "K1: begun; values are marked C from now on",
            "K1: nh3n is led by the station from here on; when it is through: station calibrate sign K1",
        ]
        assert "under way" in command("calibrate", "list", "--config", config).out
        status = command("status", "--config", config).out
        assert "K1 at nh3n is under way by itself (Wang Fang began it)" in status
        early = command("calibrate", "sign", "K1", "--user", "Li Wei", "--config", config)
        assert (early.code, "K1: the standard 2 (1 of 2) is not taken" in early.err) == (2, True), early.err


def test_what_waits_for_its_signature_is_told_everywhere(
    outlet: Outlet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the list, in the status, in its own record; signed, it has a certificate with both names."""
    outlet.enter(**BEGIN)
    outlet.run(180)
    outlet.engine.shut_down()
    command, config = Here(monkeypatch, capfd), outlet.loaded.path
    told = "K1 at nh3n is through and awaits a signature: station calibrate sign K1 --user NAME"
    for words in (("calibrate", "list"), ("status",), ("calibrate", "show", "K1")):
        assert told in command(*words, "--config", config).out.splitlines()
    assert "待签认" in command("calibrate", "list", "--config", config, "--lang", "zh").out
    signed = command("calibrate", "sign", "K1", "--user", "Li Wei", "--config", config)
    assert signed.out.splitlines()[-1] == "K1: signed by Li Wei"
    printed = command("calibrate", "certificate", "K1", "--config", config)
    page = printed.out
    assert printed.code == 0, printed.err
    assert "Wang Fang; signed by Li Wei" in page
    outlet.engine = outlet.start()


def test_a_platform_does_not_command_an_analyser_that_is_calibrated_unattended(outlet: Outlet) -> None:
    """A sample it asks for would be taken for the standard's."""
    outlet.enter(**BEGIN)
    outlet.run(20)
    assert outlet.engine.calibrated_by("nh3n") == "K1"
    outlet.enter(do="cancel", name="K1", reason="no gas")
    outlet.run(20)
    assert outlet.engine.calibrated_by("nh3n") == ""


def test_a_station_without_one_leads_nothing(outlet: Outlet) -> None:
    assert outlet.engine._calibrating is None
    outlet.enter(**BEGIN | {"unattended": False, "procedure": "check"})
    assert outlet.engine._calibrating.unattended is None
    assert timedelta(hours=3) == unattended.LIMIT
