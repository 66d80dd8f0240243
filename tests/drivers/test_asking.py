"""What a tool asks of a line: at a speed of its own, and without a trace in what the line knows of its units."""

from __future__ import annotations

from typing import Any

from drivers.asking import EXCEPTION, NOTHING, REPLY, Ask, perform
from drivers.base import BusSettings
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.port import Speed
from drivers.profile import load
from tests.drivers.fakes import FakePort, FakeTime

ASK = Ask(17, 3, b"\0\0\0\1", None, 0.1)
SLOW = Speed(4800, "E")


class SpeedyPort(FakePort):
    """A port whose speed is remembered."""

    baudrate = 9600

    def apply_settings(self, settings: dict[str, Any]) -> None:
        """As pyserial has it."""
        self.baudrate = settings["baudrate"]


def line(answers: dict[int, bytes | None]) -> tuple[Bus, SpeedyPort]:
    """A line of 9600 8N1 on which unit 17 says *answers* by the speed it is asked at."""
    time = FakeTime()
    port = SpeedyPort(time, lambda _: [(0.01, reply)] if (reply := answers.get(port.baudrate)) else [])
    return Bus(BusSettings(name="line", port="port"), lambda _: port, time.monotonic, time.sleep), port


def refusal() -> bytes:
    """Exception 2 of unit 17."""
    return EmulatedUnit(load("laumas-tlb"), 17)._exception(3, 2)


def test_a_reply_owed_at_one_speed_is_not_waited_for_at_another() -> None:
    """A scan tries every speed; who is set to another heard noise, and what was asked so is answered by nobody."""
    answers: dict[int, bytes | None] = {4800: refusal()}
    bus, port = line(answers)
    assert perform(bus, ASK).state == NOTHING
    assert [len(owed) for owed in bus.owed.values()] == [1]
    began = port.time.now
    for _ in range(20):
        assert perform(bus, ASK._replace(speed=SLOW)).state == EXCEPTION
    assert port.time.now - began < 20 * 0.1
    assert [len(owed) for owed in bus.owed.values()] == [1]  # at the line's own speed it may come yet


def test_what_is_owed_at_another_speed_is_waited_for_there() -> None:
    """The next question at that speed is not answered by the reply to the one before it."""
    answers: dict[int, bytes | None] = {}
    bus, port = line(answers)
    slow = ASK._replace(speed=SLOW)
    assert perform(bus, slow).state == NOTHING
    assert bus.owed == {}
    asked = len(port.written)
    began = port.time.now
    answers[4800] = refusal()
    assert perform(bus, slow).state == EXCEPTION
    assert port.time.now - began > 0.1
    assert len(port.written) > asked
    assert perform(bus, ASK).state == NOTHING


def test_what_a_tool_asks_is_in_no_statistics() -> None:
    """A scan would fill them with units that are not there."""
    bus, _ = line({9600: refusal()})
    assert perform(bus, ASK).state == EXCEPTION
    assert dict(bus.statistics) == {}
    assert perform(bus, ASK._replace(function=4)).state != REPLY
