"""A signal may come at any moment, and be it the one in which the thread that it ends begins to wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from station.clock import Wake
from station.command_line import stop_signal
from tests.station.conftest import Rig


@contextmanager
def not_for_ever(seconds: int = 20) -> Iterator[None]:
    """What hangs in the block fails: a lock that is waited for gives way to a signal whose handler raises."""

    def give_up(*_: object) -> None:
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def interrupted(work: Callable[[], Any], nth: int, then: Callable[[], None]) -> bool:
    """Whether *work* came as far as its *nth* step (instructions of Python); *then* is done there, in its thread."""
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        if event == "opcode":
            steps += 1
            if steps == nth:
                then()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps >= nth


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of this process are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_wherever_a_signal_falls_a_wait_for_it_ends() -> None:
    """`station emulate bus` outlived a SIGTERM that came as it began to wait."""
    tried = 0
    with not_for_ever():
        while True:
            stop = stop_signal()
            late = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM))  # for a wait that has begun to sleep
            late.start()
            came = interrupted(stop.wait, tried + 1, lambda: signal.raise_signal(signal.SIGTERM))
            late.cancel()
            assert stop.is_set()
            if not came:
                break
            tried += 1
    assert tried > 10


@pytest.mark.usefixtures("handlers")
def test_a_second_signal_within_the_first_ends_it_as_well() -> None:
    """Whoever presses Ctrl-C twice."""
    tried = 0
    with not_for_ever():
        while True:
            stop = stop_signal()
            if not interrupted(stop.set, tried + 1, lambda: signal.raise_signal(signal.SIGINT)):
                break
            assert stop.wait(0)
            tried += 1
    assert tried > 3


def test_wherever_a_signal_falls_a_station_stops(rig: Rig) -> None:
    """The daemon's main thread waits between two ticks, and forgets what woke it."""
    engine = rig.engine
    engine.start = engine.tick = engine.shut_down = lambda: None  # type: ignore[method-assign]
    engine._pause = lambda: 0.001  # type: ignore[method-assign]
    for nth in range(1, 120):
        engine._asked = False
        with not_for_ever():
            assert interrupted(engine.run, nth, engine.ask_to_stop)
    assert not engine.stop.is_set()  # that one is an Event, and set by shut_down


def test_a_wake_is_set_until_it_is_cleared() -> None:
    """As an Event of threading is."""
    wake = Wake()
    assert not wake.is_set()
    assert not wake.wait(0)
    wake.set()
    wake.set()
    assert wake.wait(0)
    assert wake.wait()
    assert wake.is_set()
    wake.clear()
    assert not wake.wait(0)
    threading.Timer(0.01, wake.set).start()
    assert wake.wait(10)
