"""Late replies: none is ever taken for the answer to another request, and the reads between them stay good."""

import errno
import itertools

import minimalmodbus
import pytest

from drivers.base import BadReply, NoReply, PortLost
from drivers.bus import LATEST_SECONDS
from tests.drivers.stale import Slave, bus_of, profile_of, requests_of, run

LATENESS = [(0.001, 0.02), (0.01, 0.12), (0.2, 1.5)]


@pytest.mark.parametrize("by", LATENESS, ids=str)
@pytest.mark.parametrize("mode", ["queue", "drop"])
@pytest.mark.parametrize("name", ["neighbours", "pairs", "single"])
def test_a_tenth_of_late_replies_makes_no_value_wrong_and_costs_hardly_more_than_itself(name, mode, by):
    found = run(name, mode, 2000, 0.1, by)
    assert found["late"] > 150
    assert found["wrong"] == 0
    assert found["good"] >= 0.88 * 2000


@pytest.mark.parametrize("by", LATENESS, ids=str)
def test_replies_that_overtake_each_other_are_told_apart_by_their_length(by):
    found = run("neighbours", "apart", 2000, 0.1, by)
    assert found["wrong"] == 0
    assert found["good"] >= 0.89 * 2000


def test_most_replies_late_still_makes_nothing_wrong():
    for mode in ("queue", "drop"):
        found = run("neighbours", mode, 1000, 0.6, (0.01, 0.12))
        assert found["wrong"] == 0
        assert found["good"] > 300


@pytest.mark.parametrize("by", LATENESS, ids=str)
@pytest.mark.parametrize("mode", ["queue", "drop"])
@pytest.mark.parametrize("name", ["neighbours", "pairs", "single"])
def test_a_unit_that_is_late_and_busy_makes_no_value_wrong_and_is_not_taken_for_a_slow_one(name, mode, by):
    """An exception does not say to which request it is, so some requests stay owed that were answered long ago."""
    found = run(name, mode, 2000, 0.2, by, busy=0.05)
    assert found["wrong"] == 0
    assert found["good"] >= 0.7 * 2000
    lost = 2 * (0.054 + by[1])  # what a late reply costs the line: twice the longest time that was seen
    assert found["milliseconds"] / 1000 <= 2000 * 0.06 + 2 * 400 * lost


class Rig:
    """A unit of one map that is late, or silent, when it is told to."""

    def __init__(self, name: str, mode: str, by: float) -> None:
        self.slave = Slave(mode, 0.0, (by, by), 7)
        self._profile, self._requests = profile_of(name), itertools.cycle(requests_of(name))
        self.bus = bus_of(self.slave, self._profile, next(self._requests))

    @property
    def timeout(self) -> float:
        return self.slave.timeout

    def read(self, *, late: bool = False) -> float:
        """The next place, whose value has to be its own; returns when the first request was sent."""
        minimalmodbus._latest_read_times.clear()  # the library's own silence is in real time
        self.slave.late = float(late)
        request, sent = next(self._requests), len(self.slave.port.written)
        try:
            payload = self.bus.read(1, request, self._profile)
        finally:
            self.slave.late = 0.0
        assert payload[:2] == (1000 + request.address).to_bytes(2, "big")
        return self.slave.port.written[sent][0]

    def miss(self) -> float:
        """A read whose reply is late; returns when it was sent."""
        sent = len(self.slave.port.written)
        with pytest.raises(NoReply):
            self.read(late=True)
        return self.slave.port.written[sent][0]


@pytest.mark.parametrize("by", [0.001, 0.03, 0.2])
@pytest.mark.parametrize("mode", ["queue", "drop", "apart"])
@pytest.mark.parametrize("name", ["neighbours", "pairs", "single"])
def test_a_late_reply_costs_its_own_read_and_no_other_the_first_one_too(name, mode, by):
    rig = Rig(name, mode, by)
    for _ in range(6):
        rig.read()
        rig.miss()
        rig.read()
        rig.read()
    assert rig.bus.statistics[1].late == rig.bus.statistics[1].timeouts == 6


def test_a_unit_that_was_never_late_is_asked_again_as_soon_as_its_late_reply_is_there():
    rig = Rig("neighbours", "queue", 0.1)
    rig.read()
    sent = rig.miss()
    assert rig.timeout + 0.1 < rig.read() - sent < rig.timeout + 0.15


def test_a_unit_that_was_there_and_is_silent_is_waited_for_once():
    rig = Rig("neighbours", "drop", 1000)
    rig.read()
    sent = rig.miss()
    again = rig.miss()
    assert again - sent == pytest.approx(rig.timeout + LATEST_SECONDS, abs=0.01)
    assert rig.miss() - again == pytest.approx(rig.timeout, abs=0.01)


def test_a_unit_that_never_answered_or_has_slept_is_not_waited_for():
    rig = Rig("neighbours", "drop", 1000)
    sent = rig.miss()
    assert rig.miss() - sent == pytest.approx(rig.timeout, abs=0.01)
    rig = Rig("neighbours", "apart", 1000)
    rig.read()
    sent = rig.miss()
    rig.bus.excuse(1)
    assert rig.read() - sent == pytest.approx(rig.timeout, abs=0.01)


def test_a_reply_that_came_and_was_spoilt_is_not_waited_for():
    rig = Rig("neighbours", "queue", 0.0)
    rig.read()
    port = rig.slave.port
    port.answer = lambda sent: [(0.002, bytes((1, 3, 4, 0, 0, 0, 0, 0, 0)))]
    with pytest.raises(BadReply):
        rig.read()
    sent, port.answer = port.written[-1][0], rig.slave
    assert rig.read() - sent < rig.timeout + LATEST_SECONDS / 2


@pytest.mark.parametrize("misses", [1, 2])
@pytest.mark.parametrize("name", ["neighbours", "pairs", "single"])
def test_a_port_that_is_lost_while_a_late_reply_is_waited_for_is_said_to_be_lost(name, misses, mocker):
    rig = Rig(name, "queue", 0.4)
    rig.read()
    for _ in range(misses):
        rig.miss()
    mocker.patch.object(rig.slave.port, "read", side_effect=OSError(errno.EIO, "Input/output error"))
    with pytest.raises(PortLost, match="the port is lost: Input/output error"):
        rig.read()
    assert rig.slave.port.closed


@pytest.mark.parametrize(("idle", "known"), [(0.1, True), (30, False)])
def test_a_late_reply_that_nobody_listened_for_tells_how_late_its_unit_is_if_it_cannot_have_come_long_ago(idle, known):
    rig = Rig("neighbours", "queue", 0.03)
    rig.read()
    for _ in range(2):
        rig.miss()
        rig.slave.port.time.now += idle
        rig.read()
    slowest = rig.bus.statistics[1].slowest(rig.slave.port.time.now)
    assert (slowest >= rig.timeout + 0.03) is known
    assert slowest < rig.timeout + 0.03 + idle
