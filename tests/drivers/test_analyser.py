"""The cyclic analyser: a result a cycle, once, dated to its sampling; what it says while there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drivers.analyser import Analyser, AnalyserSettings, CommandSettings, PlaceSettings
from drivers.base import BusSettings, DeviceBusy, ProfileError
from drivers.bus import Bus
from drivers.emulated_analyser import CYCLE_MINUTES, EmulatedAnalyser
from drivers.emulator import emulated_bus
from drivers.registers import TIMES, moment, moment_words
from station.config import load as load_config
from station.model import Mark, Reason, Sample, replace
from tests.drivers import fakes
from tests.drivers.fakes import FakePort, FakeTime

NOON = datetime(2026, 6, 18, 4, 0, tzinfo=UTC)  # in China
MINUTE = 60.0


def keys(**changes: Any) -> AnalyserSettings:
    """An analyser of ammonia nitrogen that measures by its own clock, a result an hour."""
    return AnalyserSettings(
        **{
            "name": "nh3n",
            "driver": "analyser",
            "point": "outlet",
            "unit_id": 5,
            "results": {"ammonia_nitrogen": PlaceSettings(address=10, type="f32", order="CDAB", range=(0.0, 50.0))},
            "result_time": PlaceSettings(address=20, type="time_words"),
            "state": PlaceSettings(address=1),
            "states": {"idle": (0,), "measuring": (1, 2), "calibrating": (3,), "cleaning": (4,), "fault": (9,)},
            "data_mark": PlaceSettings(address=12),
            "marks": {"N": (0,), "D": (7,)},
            "alarm": PlaceSettings(address=2),
            "alarms": {"no reagent": 1, "leak": 8},
            "commands": {
                "sample_now": CommandSettings(address=100, values=(1,)),
                "calibrate_zero": CommandSettings(address=100, values=(2,)),
                "clean": CommandSettings(address=100, values=(4,)),
            },
            "confirmed": True,
        }
        | changes
    )


class Rig:
    """The station's side and the emulated analyser, on one clock that is moved by hand."""

    def __init__(self, settings: AnalyserSettings | None = None) -> None:
        self.time, self.settings = FakeTime(), settings or keys()
        began = self.time.now
        self.now = lambda: NOON + timedelta(seconds=self.time.now - began)
        self.unit = EmulatedAnalyser(self.settings, {"ammonia_nitrogen": 1.25}, self.time.monotonic, self.now)
        self.port = FakePort(self.time, self.answer)
        self.device = self.driver()

    def driver(self) -> Analyser:
        return Analyser(self.settings, fakes.bus_with(self.port, self.time), (), self.now)

    def answer(self, request: bytes) -> list[tuple[float, bytes]]:
        reply = self.unit.answer(request)
        return [] if reply is None else [(0.02, reply)]

    def poll(self, minutes: int) -> list[tuple[int, Sample]]:
        """A poll a minute; what it brought, with the minute."""
        found = []
        for minute in range(minutes):
            found += [(minute, sample) for sample in self.device.read()]
            self.time.now += MINUTE
        return found


def test_a_result_comes_once_and_is_dated_to_its_sampling():
    rig = Rig(keys(sampling_minutes=40.0))
    found = rig.poll(180)
    assert [minute for minute, _ in found] == [45, 105, 165]
    assert [s.value for _, s in found] == [1.25] * 3
    assert [(s.time - NOON).total_seconds() // 60 for _, s in found] == [0, 60, 120]
    assert {(s.parameter, s.mark) for _, s in found} == {("ammonia_nitrogen", Mark.N)}
    assert rig.device.every_seconds == 3600
    assert rig.device.closing_seconds == 75 * 60  # its cycle and 15 minutes


def test_a_result_that_is_stored_is_not_delivered_again_after_a_restart():
    rig = Rig()
    (_, first), *_ = rig.poll(50)
    again = rig.driver()
    again.resume(first.time)
    assert again.read() == []
    fresh = rig.driver()
    assert [s.time for s in fresh.read()] == [first.time]


@pytest.mark.parametrize("kind", TIMES)
def test_each_way_to_write_a_time_is_read(kind):
    rig = Rig(keys(result_time=PlaceSettings(address=20, type=kind)))
    (_, sample), *_ = rig.poll(50)
    assert sample.time == NOON
    at = datetime(2031, 12, 31, 23, 59, 58, tzinfo=UTC)
    data = b"".join(word.to_bytes(2, "big") for word in moment_words(kind, at))
    assert moment(kind, data, UTC) == at


def test_a_flag_alone_tells_a_new_result_which_is_dated_to_the_command_that_began_it():
    rig = Rig(keys(result_time=None, ready=PlaceSettings(address=3), start_minutes=60.0))
    found = rig.poll(125)
    assert [minute for minute, _ in found] == [45, 105]
    assert [(s.time - NOON).total_seconds() // 60 for _, s in found] == [0, 60]


def test_a_flag_that_stands_already_at_a_start_tells_no_new_result():
    """Nobody knows when that result was had, and the run before may have delivered it."""
    rig = Rig(keys(result_time=None, ready=PlaceSettings(address=3), start_minutes=60.0))
    (_, first), *_ = rig.poll(50)
    again = rig.driver()
    again.resume(first.time)
    again._start_at = rig.time.now + 70 * MINUTE
    assert again.read() == []
    assert again.read() == []


def test_a_result_that_comes_between_two_reads_is_not_taken_for_the_one_before():
    """Time and value stand in two tables, and so in two reads: the new time must not bring the old value."""
    rig = Rig(
        keys(
            results={"ammonia_nitrogen": PlaceSettings(address=10, type="f32", order="CDAB", range=(0.0, 50.0))},
            result_time=PlaceSettings(address=20, table="input", type="time_words"),
        )
    )
    rig.poll(46)
    rig.unit.values = {"ammonia_nitrogen": 7.5}

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        """A result that is due within the minute is there between the two reads of a poll."""
        if request[1] == 4 and rig.unit._errand is not None:
            _, since, lasts = rig.unit._errand
            if 0 < since + lasts - rig.time.now / MINUTE < 1:
                rig.time.now = (since + lasts) * MINUTE + 0.001
        return rig.answer(request)

    rig.port.answer = answer
    found = [sample for _, sample in rig.poll(70)]
    assert [s.value for s in found] == [7.5]


def test_a_time_that_is_none_dates_nothing(caplog):
    rig = Rig()
    rig.poll(45)
    rig.unit.show(21, 13)  # the thirteenth month
    assert rig.poll(15) == []
    assert len(caplog.messages) == 1
    assert "its result is not taken: the time" in caplog.messages[0]
    assert caplog.messages[0].endswith("is no time")


def test_a_clock_that_is_ahead_is_said_and_its_result_not_taken(caplog):
    rig = Rig(keys(timezone="+00:00"))
    rig.unit.settings = keys(timezone="+08:00")
    assert rig.poll(60) == []
    assert caplog.messages[0].endswith("is ahead of ours")


@pytest.mark.parametrize(
    ("verb", "arguments", "mark"),
    [("calibrate", {"type": "zero"}, Mark.C), ("clean", {}, Mark.M)],
)
def test_a_result_that_is_due_while_the_analyser_does_something_else_carries_that_mark(verb, arguments, mark):
    rig = Rig(keys(every_minutes=1.0))
    rig.unit._own_next = 1e9
    rig.device.act(verb, arguments)
    found = rig.poll(10)
    assert {(s.value, s.mark, s.reason) for _, s in found} == {(None, mark, Reason.STATUS)}
    assert rig.device.conditions == ({"calibrate": "calibrating", "clean": "cleaning"}[verb],)


def test_an_analyser_in_order_that_has_no_result_yet_says_nothing():
    rig = Rig()
    assert rig.poll(45) == []


def test_a_broken_analyser_is_d_once_a_cycle():
    rig = Rig()
    rig.unit.broken = True
    found = rig.poll(121)
    assert [minute for minute, _ in found] == [60, 120]
    assert {(s.value, s.mark) for _, s in found} == {(None, Mark.D)}


def test_what_can_happen_to_an_emulated_analyser_shows_in_its_words():
    rig = Rig()
    for event, said in (("trouble", ("no reagent", "leak")), ("broken", ("fault",)), ("wiper", ("cleaning",))):
        rig.unit.happen(event)
        rig.device.read()
        assert rig.device.conditions == said
        rig.unit.recover()
    assert set(rig.unit.events) == {"power-cycle", "wiper", "trouble", "broken"}


def test_a_state_nobody_explained_is_no_leave_to_call_it_normal():
    rig = Rig(keys(states={"idle": (0,), "measuring": (2,)}))
    rig.unit.show(1, 77)
    rig.unit._own_next = 1e9
    found = rig.poll(61)
    assert [s.mark for _, s in found][-1] is Mark.D
    assert rig.device.conditions == ("state 77",)


@pytest.mark.parametrize(("word", "mark"), [(0, Mark.N), (7, Mark.D), (55, Mark.D)])
def test_the_data_mark_judges_the_result_and_an_unknown_one_is_d(word, mark):
    rig = Rig()
    rig.unit.show(12, word)
    (_, sample), *_ = rig.poll(50)
    assert (sample.value, sample.mark) == (1.25, mark)


def test_an_alarm_is_said_in_words_and_the_result_beside_it_is_d(caplog):
    rig = Rig()
    rig.unit.raise_alarm("no reagent")
    (_, sample), *_ = rig.poll(50)
    assert (sample.mark, sample.reason) == (Mark.D, Reason.STATUS)
    assert rig.device.conditions == ("no reagent",)
    assert caplog.messages == ["device nh3n: reports no reagent"]
    rig.unit.alarms.clear()
    rig.device.read()
    assert rig.device.conditions == ()


def test_a_result_above_its_range_is_marked_and_kept():
    rig = Rig()
    rig.unit.values = {"ammonia_nitrogen": 51.0}
    rig.unit._own_next = rig.unit._minutes()
    (_, sample), *_ = rig.poll(50)
    assert (sample.value, sample.mark) == (51.0, Mark.T)


def test_an_analyser_at_work_takes_no_command_and_is_not_asked_to():
    rig = Rig()
    rig.poll(1)
    written = len([frame for _, frame in rig.port.written if frame[1] == 6])
    with pytest.raises(DeviceBusy, match="nh3n: is measuring, and takes no command"):
        rig.device.act("sample_now", {})
    assert len([frame for _, frame in rig.port.written if frame[1] == 6]) == written


def test_without_a_state_the_analyser_itself_refuses_and_the_station_says_so():
    rig = Rig(keys(state=None, states={}))
    rig.poll(1)
    with pytest.raises(DeviceBusy, match=r"exception 6 \(device busy\)"):
        rig.device.act("sample_now", {})


def test_the_station_starts_the_cycle_when_it_is_told_to_and_waits_while_the_analyser_calibrates():
    rig = Rig(keys(start_minutes=60.0))
    rig.device.act("calibrate", {"type": "zero"})
    found = rig.poll(80)
    assert [minute for minute, s in found if s.value is not None] == [15 + int(CYCLE_MINUTES)]
    commands = [frame[5] for _, frame in rig.port.written if frame[1] == 6]
    assert commands == [2, 1, 1]


def test_polls_write_nothing_unless_the_station_starts_the_cycle():
    rig = Rig()
    rig.poll(200)
    assert {frame[1] for _, frame in rig.port.written} == {3}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"confirmed": False}, "the addresses of an analyser come with its contract"),
        ({"result_time": None}, "result_time or ready: one of them has to tell a new result from an old one"),
        (
            {"result_time": PlaceSettings(address=20)},
            "result_time.type: u16 is no time; time_words, time_bcd, time_unix",
        ),
        ({"states": {"idel": (0,)}}, "states.idel: is not one of idle, measuring, calibrating, cleaning,"),
        ({"state": None}, "state: its address and what its numbers mean belong together"),
        ({"timezone": "Beijing"}, 'timezone: "Beijing" is not an offset such as +08:00'),
        ({"marks": {"B": (1,)}}, "marks.B: is not one of N, S, T, D, C, M, F"),
        ({"start_minutes": 60.0, "commands": {}}, "start_minutes: commands.sample_now is missing"),
        (
            {"commands": {"dance": CommandSettings(address=1, values=(1,))}},
            "commands.dance: is not one of calibrate_zero",
        ),
        (
            {"commands": {"clean": CommandSettings(address=1, values=(1, 2))}},
            "commands.clean.values: function 6 writes",
        ),
        (
            {
                "commands": {
                    "sample_now": CommandSettings(address=1, values=(1,)),
                    "calibrate_zero": CommandSettings(address=1, values=(1,)),
                }
            },
            "commands.calibrate_zero: is what sample_now writes; a measurement that is started must not calibrate",
        ),
        (
            {
                "commands": {
                    "sample_now": CommandSettings(address=1, values=(1,), function=16),
                    "calibrate_zero": CommandSettings(address=1, values=(1,)),
                }
            },
            "commands.calibrate_zero: is what sample_now writes; a measurement that is started must not calibrate",
        ),
        ({"check_results": {"cod": PlaceSettings(address=30)}}, "check_results.cod: it has no result of that"),
        (
            {"check_results": {"ammonia_nitrogen": PlaceSettings(address=30)}},
            "check_results: commands.start_check is missing, so no check is ever begun",
        ),
        (
            {"check_results": {"ammonia_nitrogen": PlaceSettings(address=30)}, "state": None, "states": {}},
            "check_results: state is missing; without it nobody can tell when a check is over",
        ),
        ({"alarm": PlaceSettings(address=2, type="f32")}, "alarm.type: f32 has no bits"),
        ({"ready": PlaceSettings(address=3, type="f32")}, "ready.type: f32 has no bits"),
        (
            {"results": {"cod": PlaceSettings(address=1, type="f32", order="AB")}},
            "cod.order: f32 has ABCD, DCBA, BADC, CDAB",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_named(changes, fault):
    with pytest.raises(ProfileError) as caught:
        Rig(keys(**changes))
    assert any(line.startswith(fault) for line in str(caught.value).splitlines()), str(caught.value)


TOML = """
[station]
name = "s"
data_folder = "d"
[[point]]
code = "outlet"
name = "Outlet"
st = "32"
[[bus]]
name = "water"
port = "line"
[[bus.device]]
name = "nh3n"
driver = "analyser"
unit_id = 5
poll_seconds = 60
point = "outlet"
confirmed = true
results = { ammonia_nitrogen = { address = 10, type = "f32", order = "CDAB", range = [0, 50] } }
result_time = { address = 20, type = "time_words" }
state = { address = 1 }
states = { idle = [0], measuring = [1, 2], calibrating = [3], fault = [9] }
[bus.device.commands]
sample_now = { address = 100, values = [1] }
"""


def test_an_analyser_is_configured_in_station_toml_and_served_on_an_emulated_line_that_runs_fast(tmp_path):
    (tmp_path / "station.toml").write_text(TOML)
    (bus,) = load_config(tmp_path / "station.toml").config.bus
    (device,) = bus.device
    with emulated_bus(bus, [device], pace=False, speed=1e6) as line:
        link = Bus(BusSettings(name="b", port=line.path, gap_ms=0))
        analyser = Analyser(replace(device, sampling_minutes=0.0), link, (), lambda: datetime.now(UTC))
        found: list[Sample] = []
        for _ in range(100):
            found = analyser.read()
            if found:
                break
        link.close()
    assert [(s.parameter, s.value, s.mark) for s in found] == [("ammonia_nitrogen", 1.0, Mark.N)]


def test_an_unconfirmed_analyser_is_refused_by_the_check_with_its_sentence(tmp_path):
    (tmp_path / "station.toml").write_text(TOML.replace("confirmed = true\n", ""))
    with pytest.raises(ValueError, match="come with its contract and no two makes agree"):
        load_config(tmp_path / "station.toml")
