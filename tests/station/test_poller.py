"""One line and its devices: who is asked when, and what a lost port does to all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

from drivers.base import BadReply, DeviceBusy, DeviceSettings, LineStuck, PortLost
from station.clock import ManualClock
from station.model import Reason
from station.poller import Poller, Task
from station.recorder import Recorder
from tests.station.conftest import FakeInstrument

START = datetime(2026, 3, 1, tzinfo=UTC)


class Line:
    """Instruments a, b and c on one line, polled every 5 s."""

    def __init__(self, polled: float = 5, reopen: Callable[[], None] | None = None) -> None:
        self.clock, self.recorder, self.stop = ManualClock(START), Recorder(), Event()
        self.instruments = [FakeInstrument(name, self.clock, ph="") for name in "abc"]
        for instrument in self.instruments:
            instrument.show(ph=7.0)
        settings = [DeviceSettings(name=name, point="p", poll_seconds=polled) for name in "abc"]
        self.poller = Poller(
            "line",
            list(zip(self.instruments, settings, strict=True)),
            self.recorder,
            self.clock,
            self.stop,
            lambda: None,
            reopen=reopen,
        )

    def run(self, seconds: int) -> None:
        """Let the poller do what is due, second by second."""
        for _ in range(seconds):
            while any(task.due <= self.clock.monotonic() for task in self.poller.tasks):
                self.poller.turn()
            if self.poller.retry_due():
                self.poller.turn()
            self.clock.advance(1)

    def missed(self) -> dict[tuple[str, Reason], int]:
        """Missed polls by device and reason."""
        return {(m.device, m.reason): m.count for m in self.recorder.take().misses}


def test_every_device_keeps_its_interval() -> None:
    """A minute at 5 s: twelve readings each."""
    line = Line()
    line.run(60)
    assert [i.asked for i in line.instruments] == [12, 12, 12]


def test_a_lost_port_is_the_loss_of_every_device_on_it() -> None:
    """All three miss their polls for that reason; the port is tried every other second, not thrice."""
    line = Line()
    line.run(5)
    for instrument in line.instruments:
        instrument.go_silent(error=PortLost("/dev/ttyUSB0: cannot be opened: No such file or directory"))
    before = sum(i.asked for i in line.instruments)
    line.run(60)
    assert sum(i.asked for i in line.instruments) - before <= 30
    counts = line.missed()
    assert {device for device, reason in counts if reason is Reason.PORT_LOST} == {"a", "b", "c"}
    assert {counts[device, Reason.PORT_LOST] for device in "abc"} == {12}
    assert [line.recorder.state(name).failures > 0 for name in "abc"] == [True] * 3
    for instrument in line.instruments:
        instrument.come_back()
    line.run(10)
    assert [line.recorder.state(name).failures for name in "abc"] == [0, 0, 0]
    assert [e.code for e in line.recorder.take().events] == ["port_back"]


def test_a_dead_unit_leaves_the_others_their_interval() -> None:
    """One of three is silent for ten minutes; the others are read as before."""
    line = Line()
    line.instruments[0].go_silent()
    line.run(600)
    assert [i.asked for i in line.instruments[1:]] == [120, 120]
    assert line.instruments[0].asked < 20


def test_a_unit_that_answers_rubbish_is_retried_once_and_not_twice_as_often_for_ever() -> None:
    """The first bad reply is tried again at once; while it goes on, one try a poll."""
    line = Line()
    line.instruments[0].go_silent(error=BadReply("a: noise"))
    line.run(60)
    assert line.instruments[0].asked == 13


def test_an_errand_is_done_between_two_polls() -> None:
    """Tools borrow the line from the thread that owns it."""
    line, done = Line(), []
    line.poller.submit(lambda: done.append(line.poller.read_now("b")[0].value))
    line.poller.turn()
    assert done == [7.0]


def test_what_a_slow_instrument_brings_a_tool_is_recorded_too() -> None:
    """Its value comes once; a technician who looks must not take it away."""
    line, done = Line(), []
    line.instruments[1].every_seconds = 3600.0
    for name in ("a", "b"):
        line.poller.submit(lambda name=name: done.append(line.poller.read_now(name)))
        line.poller.turn()
    assert [r.device for r in line.recorder.take().readings] == ["b"]


def test_no_retry_holds_up_a_stop() -> None:
    """Stopping within ten seconds matters more than one reading."""
    line = Line()
    line.instruments[0].go_silent()
    line.stop.set()
    line.poller.poll(line.poller.tasks[0])
    assert line.instruments[0].asked == 1


class PacedLine(Line):
    """The same line, on which every poll takes *poll* seconds and somebody scans in steps of *step* seconds."""

    def __init__(self, poll: float, step: float) -> None:
        super().__init__()
        self.step, self.scanned, self.late = step, 0, list[float]()
        for instrument, task in zip(self.instruments, self.poller.tasks, strict=True):
            instrument.read = self._paced(instrument.read, poll, task)  # type: ignore[method-assign]

    def _paced(self, read: Any, poll: float, task: Task) -> Any:
        def paced() -> Any:
            self.late.append(self.clock.monotonic() - (task.due - task.settings.poll_seconds))
            self.clock.advance(poll)
            return read()

        return paced

    def scan(self) -> None:
        """Ask for the line, and again as soon as it was had: one short errand after the other."""
        self.poller.lend(self._one_try, self.step)

    def _one_try(self) -> None:
        self.clock.advance(self.step)
        self.scanned += 1
        self.scan()

    def go_on(self, seconds: float) -> list[int]:
        """Turn until *seconds* have passed, waiting as the thread would; how often each instrument was read."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            due = min(task.due for task in self.poller.tasks)
            loan = max(self.poller._loans[0][2] + 1.0, self.poller._loan_again) if self.poller._loans else due
            if self.poller._loans and due - self.clock.monotonic() < self.step:
                self.clock.advance(max(0.0, min(due, loan) - self.clock.monotonic()))
            elif not self.poller._loans:
                if due >= end:
                    break
                self.clock.advance(max(0.0, due - self.clock.monotonic()))
            self.poller.turn()
        return [instrument.asked for instrument in self.instruments]


def test_a_scan_takes_the_pauses_of_the_line_and_no_poll_waits_for_it() -> None:
    """Ten minutes, three instruments every 5 s, a scan in steps of 0.3 s: as many polls as without it, none later."""
    alone, scanned = PacedLine(0.2, 0.3), PacedLine(0.2, 0.3)
    scanned.scan()
    assert scanned.go_on(598) == alone.go_on(598) == [120, 120, 120]
    assert scanned.scanned > 1500  # the pauses together are 528 s
    assert max(scanned.late) <= max(alone.late) + 1e-6


def test_on_a_line_without_pauses_a_scan_takes_a_tenth_of_the_time_and_goes_on() -> None:
    """Polls of 1.8 s each, three every 5 s: nothing is ever idle, yet nobody starves."""
    alone, scanned = PacedLine(1.8, 0.3), PacedLine(1.8, 0.3)
    scanned.scan()
    without, polls = sum(alone.go_on(600)), sum(scanned.go_on(600))
    assert polls >= 0.88 * without
    assert 100 <= scanned.scanned <= 210


def test_on_an_empty_line_a_scan_never_waits() -> None:
    """A line that is configured and has no instrument yet."""
    line = Line()
    line.poller.tasks.clear()
    done: list[int] = []
    for number in range(5):
        line.poller.lend(lambda number=number: done.append(number), 0.5)  # type: ignore[misc]
        line.poller.turn()
    assert done == [0, 1, 2, 3, 4]


def test_a_measurement_that_takes_its_time_leaves_the_line_and_goes_on_when_it_is_ready() -> None:
    """It is asked again after the seconds it names, and then keeps its own interval; the others keep theirs."""
    line = Line()
    slow = line.instruments[0]
    waits = [2.0, None]
    asked: list[float] = []
    began = line.clock.monotonic()
    read = slow.read

    def step() -> Any:
        asked.append(line.clock.monotonic() - began)
        slow.pending_seconds = waits[len(asked) % 2 - 1]
        return [] if slow.pending_seconds is not None else read()

    slow.read = step  # type: ignore[method-assign]
    line.run(15)
    assert asked == [0, 2, 5, 7, 10, 12]
    assert [i.asked for i in line.instruments] == [3, 3, 3]


def test_what_a_wiper_costs_is_remembered_by_parameter() -> None:
    """The polls in which nothing could be had; a period asks for those within it."""
    line = Line()
    line.instruments[0].held = ("ph",)
    line.run(20)
    line.instruments[0].held = ()
    line.run(20)
    task = line.poller.tasks[0]
    assert task.spared_between("ph", START, START + timedelta(minutes=1)) == 4
    assert task.spared_between("ph", START + timedelta(seconds=10), START + timedelta(minutes=1)) == 2
    assert task.spared_between("turbidity", START, START + timedelta(minutes=1)) == 0


def test_the_silent_and_those_at_another_speed_let_the_others_go_first() -> None:
    """All are due at once: the healthy ones of the line's speed, then those a switch is needed for."""
    line = Line()
    order: list[str] = []
    for instrument in line.instruments:
        instrument.read = lambda i=instrument, read=instrument.read: order.append(i.name) or read()  # type: ignore[method-assign]
    for task, speed in zip(line.poller.tasks, (9600, 19200, 9600), strict=True):
        task.device.speed = speed  # type: ignore[attr-defined]
    line.run(10)
    assert order == ["a", "c", "b", "b", "a", "c"]
    line.instruments[1].go_silent()
    line.run(5)
    order.clear()
    line.run(5)
    assert order == ["a", "c", "b"]


def test_on_a_line_that_is_never_idle_the_silent_one_has_its_turn_all_the_same() -> None:
    """It waits one interval, not for ever."""
    line = Line()
    line.instruments[0].go_silent()
    asked = []
    for _ in range(200):
        line.poller.turn()
        line.clock.advance(3)  # three devices at 5 s would need 9
        asked.append(line.instruments[0].asked)
    assert 5 < asked[-1] < 40
    assert line.instruments[1].asked > 60


def test_a_busy_instrument_is_asked_again_and_misses_nothing() -> None:
    """Codes 5 and 6 are no failure of the line, and no loss of the instrument."""
    line = Line()
    line.instruments[0].go_silent(3, DeviceBusy("a: exception 6 (device busy) to holding register 1"))
    line.run(5)
    assert line.instruments[0].asked == 4
    assert line.recorder.state("a").failures == 0
    batch = line.recorder.take()
    assert (batch.misses, batch.events) == ([], [])
    assert [r.device for r in batch.readings] == ["b", "c", "a"]
    line.run(5)
    assert line.instruments[0].asked == 5  # in its old rhythm


def test_an_instrument_that_is_always_busy_misses_its_polls() -> None:
    """One miss for four requests, with its reason."""
    line = Line()
    line.instruments[0].go_silent(error=DeviceBusy("a: exception 6 (device busy) to holding register 1"))
    line.run(10)
    assert line.missed() == {("a", Reason.EXCEPTION): 2}


def test_a_stuck_line_is_an_event_of_its_own() -> None:
    """Bytes without end are another errand than an adapter that is gone."""
    line = Line()
    line.instruments[0].go_silent(1, LineStuck("/dev/ttyUSB0: the line does not fall silent"))
    line.run(20)
    assert [i.asked for i in line.instruments] == [4, 3, 3]  # the others are not asked on a line that is stuck
    assert [(e.code, e.arguments.get("error")) for e in line.recorder.take().events] == [
        ("line_stuck", "/dev/ttyUSB0: the line does not fall silent"),
        ("port_back", None),
    ]


class Adapter:
    """A port that is there or not."""

    def __init__(self) -> None:
        self.there, self.opened = False, 0

    def open(self) -> None:
        """Come up, or say what is wrong."""
        self.opened += 1
        if not self.there:
            raise PortLost("/dev/ttyUSB0: cannot be opened: No such file or directory")


def test_a_port_is_tried_every_other_second_however_rarely_its_devices_are_polled() -> None:
    """Back after a minute of absence, it is open within two seconds, and every device is asked at once."""
    adapter = Adapter()
    line = Line(polled=600, reopen=adapter.open)
    line.run(600)
    for instrument in line.instruments:
        instrument.go_silent(error=PortLost("/dev/ttyUSB0: the port is lost: Input/output error"))
    line.run(60)
    assert 25 <= adapter.opened <= 31
    before = sum(i.asked for i in line.instruments)
    adapter.there = True
    for instrument in line.instruments:
        instrument.come_back()
    line.run(3)
    assert sum(i.asked for i in line.instruments) - before == 3
    assert [e.code for e in line.recorder.take().events] == ["port_lost", "port_back"]


class Counts:
    """Statistics as a bus keeps them, of one kind."""

    def __init__(self) -> None:
        self.requests = 0

    def so_far(self) -> dict[str, Any]:
        """Everything."""
        return {"requests": self.requests, "leftover_bytes": 0, "worst_ms": 20.5}

    def since(self, before: dict[str, Any]) -> dict[str, Any]:
        """What was added."""
        return self.so_far() | {"requests": self.requests - before.get("requests", 0)}


def test_each_hour_of_a_device_is_kept_as_a_record_and_the_rest_at_a_stop() -> None:
    """One row for the hour it was counted in; nothing where nothing was asked."""
    line = Line()
    counts = Counts()
    line.poller.tasks[0].device.statistics = counts  # type: ignore[attr-defined]
    line.clock.advance(1800)
    counts.requests = 360
    line.poller.turn()
    assert line.recorder.take().records == []
    line.clock.advance(1800)
    counts.requests = 720
    line.poller.turn()
    line.poller.tasks[0].failures = 3
    line.clock.advance(600)
    counts.requests = 840
    line.stop.set()
    line.poller.run()
    kept = line.recorder.take().records
    assert [(r.kind, r.device, r.at - START) for r in kept] == [
        ("line", "a", timedelta(0)),
        ("line", "a", timedelta(hours=1)),
    ]
    assert [(r.body["seconds"], r.body["requests"], r.body["backoff_seconds"]) for r in kept] == [
        (3600, 720, 0.0),
        (600, 120, 4.0),
    ]
    assert {r.body["bus"] for r in kept} == {"line"}
