"""systemd is fed only while every thread lives, and told what is going on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.clock import ManualClock
from station.watchdog import Watchdog, notify
from tests.station.conftest import START


@pytest.fixture
def clock() -> ManualClock:
    """Time that the test moves."""
    return ManualClock(START)


@pytest.fixture
def fed(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> tuple[Watchdog, list[str]]:
    """A watchdog of 60 s, and what it told systemd."""
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    told: list[str] = []
    return Watchdog(clock.monotonic, told.append), told


def test_it_is_fed_at_a_third_of_systemds_time(clock: ManualClock, fed: tuple[Watchdog, list[str]]) -> None:
    """Not at every tick."""
    watchdog, told = fed
    heart = watchdog.heart("main", 30)
    for _ in range(120):
        clock.advance(0.5)
        heart.beat()
        watchdog.feed()
    assert told == ["WATCHDOG=1"] * 3


def test_one_silent_thread_is_enough_to_starve_it(clock: ManualClock, fed: tuple[Watchdog, list[str]]) -> None:
    """The others may beat as they like; it is fed again when the thread comes back."""
    watchdog, told = fed
    main, bus = watchdog.heart("main", 30), watchdog.heart("bus water", 60)
    for _ in range(100):
        clock.advance(1)
        main.beat()
        watchdog.feed()
    assert told == ["WATCHDOG=1"] * 3  # at 20, 40 and 60 s
    assert watchdog.silent() == ["bus water"]
    assert watchdog.feed() is False
    bus.beat()
    assert watchdog.silent() == []
    assert watchdog.feed() is True


def test_a_thread_may_be_silent_up_to_its_limit(clock: ManualClock, fed: tuple[Watchdog, list[str]]) -> None:
    """Sixty seconds are in time, a little more are not."""
    watchdog, _ = fed
    heart = watchdog.heart("bus water", 60)
    clock.advance(60)
    assert (watchdog.silent(), heart.silent_seconds) == ([], 60)
    clock.advance(0.1)
    assert watchdog.silent() == ["bus water"]


@pytest.mark.parametrize("value", [None, "", "0"])
def test_without_systemds_watchdog_nothing_is_sent(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """Started by hand, or WatchdogSec=0."""
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if value is not None:
        monkeypatch.setenv("WATCHDOG_USEC", value)
    told: list[str] = []
    watchdog = Watchdog(clock.monotonic, told.append)
    clock.advance(1000)
    assert watchdog.feed() is False
    assert told == []


@pytest.fixture(params=["path", "abstract"])
def supervisor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The far end of NOTIFY_SOCKET, in the file system or in the abstract name space."""
    address = str(tmp_path / "notify")
    if request.param == "abstract":
        address = "@" + address
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        listening.bind(address.replace("@", "\0", 1))
        yield listening


def test_states_arrive_one_datagram_each(supervisor: socket.socket) -> None:
    """As sd_notify(3) says, in UTF-8."""
    notify("READY=1")
    notify("STATUS=5 of 5 devices answer, 点位")
    assert supervisor.recv(1000) == b"READY=1"
    assert supervisor.recv(1000).decode() == "STATUS=5 of 5 devices answer, 点位"


def test_a_supervisor_that_went_away_is_no_error(supervisor: socket.socket) -> None:
    """It will see that by itself."""
    supervisor.close()
    notify("READY=1")
    with pytest.raises(OSError, match="Bad file descriptor"):
        supervisor.recv(1)


def test_without_a_supervisor_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket is even opened."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    opened: list[object] = []
    monkeypatch.setattr(socket, "socket", lambda *args: opened.append(args))
    notify("READY=1")
    assert opened == []
