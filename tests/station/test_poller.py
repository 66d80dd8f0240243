"""One line and its devices: who is asked when, and what a lost port does to all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

from drivers.base import BadReply, DeviceSettings, PortLost
from station.clock import ManualClock
from station.model import Reason
from station.poller import Poller, Task
from station.recorder import Recorder
from tests.station.conftest import FakeInstrument

START = datetime(2026, 3, 1, tzinfo=UTC)


class Line:
    """Instruments a, b and c on one line, polled every 5 s."""

    def __init__(self) -> None:
        self.clock, self.recorder, self.stop = ManualClock(START), Recorder(), Event()
        self.instruments = [FakeInstrument(name, self.clock, ph="") for name in "abc"]
        for instrument in self.instruments:
            instrument.show(ph=7.0)
        settings = [DeviceSettings(name=name, point="p", poll_seconds=5) for name in "abc"]
        self.poller = Poller(
            "line",
            list(zip(self.instruments, settings, strict=True)),
            self.recorder,
            self.clock,
            self.stop,
            lambda: None,
        )

    def run(self, seconds: int) -> None:
        """Let the poller do what is due, second by second."""
        for _ in range(seconds):
            while any(task.due <= self.clock.monotonic() for task in self.poller.tasks):
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
            loan = self.poller._loans[0][2] + 10 * self.step if self.poller._loans else due
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
