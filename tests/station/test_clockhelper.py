"""The clock helper: its own limits, its own memory, its socket.  No clock is ever set here."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from station.clockhelper import LONGEST, RTC_SET_TIME, Helper, HelperClock, serve, set_rtc
from station.commands import LARGEST_STEP, NTP_AGREES
from station.model import Outcome
from tests.station.conftest import START
from tests.station.test_allow_list import Besieged
from tests.station.test_commands import Allowed
from uplink.hj212.frame import Segment, decode, fence

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Host:
    """A host's clocks, and a helper for it."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.uptime, self.boot, self.synchronised = NOW, 1000.0, "boot-1", False
        self.path = folder / "clock.json"
        self.moved: list[datetime] = []
        self.failure: OSError | None = None

    @property
    def helper(self) -> Helper:
        """One that was just started: what it knows is in its file."""
        return Helper(
            self.path, set_clock=self.move, now=lambda: self.clock, uptime=lambda: self.uptime, boot=self.boot,
            synchronised=lambda: self.synchronised,
        )  # fmt: skip

    def move(self, to: datetime) -> None:
        if self.failure is not None:
            raise self.failure
        self.moved.append(to)
        self.clock = to

    def passes(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)
        self.uptime += seconds


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_clock_nobody_vouches_for_is_set_to_any_time_of_this_century(host: Host) -> None:
    far = NOW + timedelta(days=400)
    assert host.helper.set(far, trusted=False) == ""
    assert host.moved == [far]


def test_a_time_server_corrects_what_was_remembered_by_a_wrong_clock(host: Host) -> None:
    """A platform that set a year far ahead must not keep the clock from ever being set again."""
    assert host.helper.set(NOW.replace(year=2099), trusted=False) == ""
    host.clock, host.synchronised = NOW + timedelta(days=1), True
    assert host.helper.set(host.clock + 5 * SECOND, trusted=True) == ""
    assert host.moved == [NOW.replace(year=2099)]
    host.boot, host.synchronised = "boot-2", False
    assert host.helper.set(NOW + timedelta(hours=12), trusted=False).startswith("time was 2026-03-02")
    assert host.helper.set(NOW + timedelta(days=2), trusted=False) == ""


@pytest.mark.parametrize(
    ("seconds", "error"),
    [(600, ""), (-600, ""), (601, "the clock is trusted, and would move more than 600 s"),
     (-601, "the clock is trusted, and would move more than 600 s")],
)  # fmt: skip
def test_a_clock_that_is_trusted_moves_ten_minutes_at_most(host: Host, seconds: int, error: str) -> None:
    assert host.helper.set(NOW + seconds * SECOND, trusted=True) == error
    assert len(host.moved) == (not error)


def test_what_was_set_since_the_boot_is_trusted_whatever_the_asker_says(host: Host) -> None:
    assert host.helper.set(NOW + timedelta(days=1), trusted=False) == ""
    host.passes(3600)
    assert (
        host.helper.set(NOW + timedelta(days=9), trusted=False)
        == "the clock is trusted, and would move more than 600 s"
    )
    host.boot, host.uptime = "boot-2", 5.0
    assert host.helper.set(NOW + timedelta(days=9), trusted=False) == ""


def test_it_is_set_once_an_hour(host: Host) -> None:
    """By a clock that goes on during sleep and is not the one that is set."""
    assert host.helper.set(NOW + SECOND, trusted=True) == ""
    host.passes(3599)
    assert host.helper.set(host.clock + SECOND, trusted=True) == "the clock was set less than an hour ago"
    host.passes(1)
    assert host.helper.set(host.clock + SECOND, trusted=True) == ""


@pytest.mark.parametrize(("seconds", "error"), [(30, ""), (31, "a time server is heard, and disagrees by 31 s")])
def test_a_time_server_is_not_overruled_and_not_disturbed(host: Host, seconds: int, error: str) -> None:
    """Within 30 s the clock is right: done, and not moved."""
    host.synchronised = True
    assert host.helper.set(NOW - seconds * SECOND, trusted=True) == error
    assert host.moved == []


def test_it_is_never_set_back_before_what_was_known_to_be_right(host: Host) -> None:
    host.synchronised = True
    assert host.helper.set(NOW, trusted=True) == ""
    host.synchronised, host.boot, host.clock = False, "boot-2", NOW - timedelta(days=90)
    assert host.helper.set(NOW - SECOND, trusted=False) == "time was 2026-03-01T08:00:00+00:00 before"
    assert host.helper.set(NOW + SECOND, trusted=False) == ""
    host.boot = "boot-3"
    assert host.helper.set(NOW, trusted=False) == "time was 2026-03-01T08:00:01+00:00 before"


@pytest.mark.parametrize("to", [datetime(2025, 12, 31, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)])
def test_no_time_from_before_this_station_or_after_this_century(host: Host, to: datetime) -> None:
    assert host.helper.set(to, trusted=False) == "time was 2026-01-01T00:00:00+00:00 before"
    assert host.moved == []


def test_a_crash_between_remembering_and_setting_uses_the_hour_up(host: Host) -> None:
    host.failure = OSError(errno.EPERM, "Operation not permitted")
    line = json.dumps({"time": (NOW + SECOND).isoformat(), "trusted": True}).encode()
    assert json.loads(host.helper.answer(line)) == {"error": "the clock cannot be set (Operation not permitted)"}
    host.failure = None
    assert host.helper.set(NOW + SECOND, trusted=True) == "the clock was set less than an hour ago"


@pytest.mark.parametrize(
    "rubbish", [b"", b"[]", b"{", b"\xff" * 40, b'{"boot": 1, "uptime": "x"}', b'{"right": "never"}']
)
def test_a_memory_that_cannot_be_read_is_none(host: Host, rubbish: bytes) -> None:
    host.path.write_bytes(rubbish)
    assert host.helper.set(NOW + SECOND, trusted=True) == ""
    assert json.loads(host.path.read_text())["right"] == (NOW + SECOND).isoformat()


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b'"x"', b"{" * 900, b"[" * 900, b"\xff\n", b'{"time": 5}', b'{"time": "today"}',
     b'{"time": "2026-03-01T08:00:00"}'],
)  # fmt: skip
def test_what_is_no_request_sets_nothing_and_is_logged(
    host: Host, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    error = json.loads(host.helper.answer(line, "process 7 of user 8"))["error"]
    assert error in ("the request is not understood", "the time has no offset from UTC")
    assert host.moved == []
    assert f"process 7 of user 8 asks for {line[:80].decode('ascii', 'replace').strip()}" in caplog.text


def test_a_request_that_does_not_say_is_taken_for_one_of_a_trusted_clock(host: Host) -> None:
    line = json.dumps({"time": (NOW + timedelta(days=1)).isoformat()}).encode()
    assert json.loads(host.helper.answer(line))["error"] == "the clock is trusted, and would move more than 600 s"


def test_both_ends_have_the_same_limits() -> None:
    from station import clockhelper

    assert (clockhelper.LARGEST_STEP, clockhelper.AGREES) == (LARGEST_STEP, NTP_AGREES)


def test_a_real_time_clock_is_given_utc(tmp_path: Path) -> None:
    (device := tmp_path / "rtc").touch()
    told: list[tuple[int, tuple[int, ...]]] = []
    set_rtc(device, NOW, lambda descriptor, code, data: told.append((code, struct.unpack("9i", data))))
    assert told == [(RTC_SET_TIME, (0, 0, 8, 1, 2, 126, 0, 0, 0))]


def test_a_real_time_clock_that_cannot_be_set_is_said_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_rtc(tmp_path / "none", NOW, lambda *_: None)
    assert "cannot be set (No such file or directory)" in caplog.text


# -- over its socket


@pytest.fixture
def served(host: Host, tmp_path: Path) -> Iterator[Callable[[], HelperClock]]:
    """A helper that listens until nobody has asked it for half a second."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = Thread(target=serve, args=(listener, host.helper, 0.5))
        thread.start()
        yield lambda: HelperClock(path)
        thread.join(10)
        assert not thread.is_alive()


def test_the_station_asks_over_the_socket(host: Host, served: Callable[[], HelperClock]) -> None:
    assert served().set(NOW + SECOND, trusted=True) is None
    assert served().set(NOW + SECOND, trusted=True) == "the clock was set less than an hour ago"
    assert host.moved == [NOW + SECOND]


def test_who_hangs_up_or_talks_without_end_does_not_keep_the_next_from_being_served(
    host: Host, served: Callable[[], HelperClock], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for said in (b"", b"x" * LONGEST * 3):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "s"))
            connection.sendall(said)
    assert served().set(NOW + SECOND, trusted=True) is None


def test_the_station_says_why_it_got_no_answer(tmp_path: Path) -> None:
    assert HelperClock(tmp_path / "none").set(NOW, trusted=True) == "there is no clock helper on this host"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        said = HelperClock(tmp_path / "s").set(NOW, trusted=True)
        assert said == "the clock helper cannot be reached (Connection refused)"
        listener.listen()

        def babble() -> None:
            connection, _ = listener.accept()
            connection.recv(LONGEST)
            connection.sendall(b"nonsense\n")
            connection.close()

        thread = Thread(target=babble)
        thread.start()
        assert HelperClock(tmp_path / "s").set(NOW, trusted=True) == "the clock helper answered with nonsense"
        thread.join(5)


def test_a_platform_sets_the_clock_through_desk_and_helper(
    host: Host, served: Callable[[], HelperClock], tmp_path: Path
) -> None:
    """Each try is an event of the station, and the refusal says whose it was."""
    (tmp_path / "station").mkdir()
    rig = Allowed(tmp_path / "station")
    rig.trust, rig.clock_setter = "none", served()
    rig.restart()
    host.clock = rig.clock.now()
    to = START + timedelta(days=3)
    assert rig.ask("set_clock", arguments={"time": to.isoformat()}).outcome is Outcome.DONE
    assert host.moved == [to]
    rig.clock.advance(3700)
    again = rig.ask("set_clock", arguments={"time": (rig.clock.now() + SECOND).isoformat()})
    assert (again.outcome, again.reason) == (Outcome.CONDITIONS, "the clock is trusted, and would move more than 600 s")
    told = rig.told("command")
    assert [(one["verb"], one["outcome"], one.get("reason", "")) for one in told] == [
        ("set_clock", "done", ""),
        ("set_clock", "conditions not met", "the clock is trusted, and would move more than 600 s"),
    ]
    rig.engine.shut_down()


def test_valid_absurd_and_replayed_times_move_the_clock_once(
    host: Host, served: Callable[[], HelperClock], tmp_path: Path
) -> None:
    """From the platform's frame to the clock: a refused one moves it by nothing."""
    (tmp_path / "station").mkdir()
    rig = Besieged(tmp_path / "station", ("set_clock",))
    rig.engine.desk._clock_setter = served()
    rig.trust = "none"
    host.clock = rig.clock.now()
    requests, flag, _ = rig.ends[1]

    def say(qn: str, data: str) -> list[str]:
        rig.said.clear()
        requests.asked(Segment(qn=qn, st="39", cn="1012", pw="123456", mn="M1", flag=flag, cp=fence(data)))
        rig.come_round()
        return [Segment.parse(decode(frame)).data for frame in rig.said]

    valid = ("20260301090000001", "SystemTime=20260301090000")
    assert say("20260301090000000", "SystemTime=20251231235959") == ["QnRtn=2"]  # from before there was this station
    assert say(*valid) == ["QnRtn=1", "ExeRtn=1"]
    assert host.moved == [datetime(2026, 3, 1, 1, tzinfo=UTC)]
    assert say(*valid) == ["QnRtn=1", "ExeRtn=1"]  # its answer got lost: answered again, not done again
    rig.clock.step(3570)  # the station's own clock follows the host's
    rig.clock.advance(4000)
    host.passes(4000)
    assert say(*valid) == ["QnRtn=2"]  # a recording
    now = rig.clock.now() + timedelta(hours=8)
    for number, to in enumerate(("20990101000000", f"{now + timedelta(seconds=700):%Y%m%d%H%M%S}", "nonsense")):
        assert say(f"{now:%Y%m%d%H%M%S}{number:03d}", f"SystemTime={to}")[0:1] in (["QnRtn=2"], ["QnRtn=1"])
    assert len(host.moved) == 1
    assert say(f"{now:%Y%m%d%H%M%S}009", f"SystemTime={now + timedelta(seconds=5):%Y%m%d%H%M%S}")[-1] == "ExeRtn=1"
    assert len(host.moved) == 2
    rig.close()


# -- as a program


def program(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", *words], capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **more},
    )  # fmt: skip


def test_it_runs_only_on_a_socket_of_systemd() -> None:
    done = program("import sys, station.clockhelper as c; sys.exit(c.main())", LISTEN_PID="1", LISTEN_FDS="1")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == "ERROR the clock helper is started by systemd, with clock-helper.socket\n"


def test_it_loads_nothing_but_the_standard_library_and_itself() -> None:
    done = program("import sys, station.clockhelper; print(*(m for m in sys.modules if m.split('.')[0] == 'station'))")
    assert done.stdout.split() == ["station", "station.clockhelper"]
    done = program("import sys, station.clockhelper; print(*sorted({m.split('.')[0] for m in sys.modules}))")
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) <= {"station", "__main__", "a1_coverage"} | {
        word for word in done.stdout.split() if word.startswith(("_", "coverage"))
    }
