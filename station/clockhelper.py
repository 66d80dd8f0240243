"""Sets the host's clock for the station, whose own user may not: a helper of its own, and how it is asked.

`python -m station.clockhelper` is started by systemd when somebody speaks on its socket (systemd/clock-helper.socket),
with CAP_SYS_TIME and no other right.  One line of JSON in, `{"time": ISO 8601, "trusted": bool}`, one line out,
`{"error": ""}` or why not.  It believes nobody: every limit that the command desk enforces is enforced here again.
Standard library only, and nothing else of ours.

* To no time before 2026, nor before the last time that was known to be right.
* By ten minutes at most once the clock is trusted: by the asker's word, by a time server, or set by us since the boot.
* Once an hour.
* Not by more than 30 s while a time server is heard; within them the clock is right, and is left alone.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
LARGEST_STEP = timedelta(minutes=10)
AGREES = timedelta(seconds=30)
PAUSE_SECONDS = 3600.0
ASK_SECONDS = 5.0  # one exchange
IDLE_SECONDS = 60.0  # then the helper ends; the socket starts it again
LONGEST = 1024  # bytes of a request or an answer
FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)
RTC = Path("/dev/rtc0")
RTC_SET_TIME = 0x4024700A  # _IOW('p', 0x0a, struct rtc_time), nine ints (linux/rtc.h)


class Helper:
    """Judges and carries out what is asked; everything it touches is handed in.

    *path* is where it remembers what must hold over its own restarts; *boot* identifies the boot, *uptime* is in
    seconds and goes on during sleep, *synchronised* says whether a time server is heard.
    """

    def __init__(
        self,
        path: Path,
        *,
        set_clock: Callable[[datetime], None],
        now: Callable[[], datetime],
        uptime: Callable[[], float],
        boot: str,
        synchronised: Callable[[], bool],
    ) -> None:
        self._path, self._set_clock, self._now, self._uptime = path, set_clock, now, uptime
        self._boot, self._synchronised = boot, synchronised

    def answer(self, line: bytes, who: str = "") -> bytes:
        """The answer to one request, a line each; every try is logged."""
        try:
            asked = json.loads(line)
            to = datetime.fromisoformat(asked["time"])
            error = self.set(to, trusted=bool(asked.get("trusted", True)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            error = "the request is not understood"
        except OSError as failure:
            error = f"the clock cannot be set ({failure.strerror})"
        log.warning(
            "%s asks for %s: %s", who or "somebody", line[:80].decode("ascii", "replace").strip(), error or "done"
        )
        return json.dumps({"error": error}).encode() + b"\n"

    def set(self, to: datetime, *, trusted: bool) -> str:
        """Set the clock to *to*, or say why not."""
        if to.tzinfo is None:
            return "the time has no offset from UTC"
        before, now, synchronised = self._remembered(), self._now(), self._synchronised()
        ours = before.get("boot") == self._boot
        why_not = self._why_not(to, now, synchronised, trusted or ours, before, ours=ours)
        if why_not:
            return why_not
        if synchronised:
            self._remember({**before, "right": now.isoformat()})
            return ""
        # Remembered first: who crashes in between has used up the hour, not gained a second try.
        self._remember({"boot": self._boot, "uptime": self._uptime(), "right": to.isoformat()})
        self._set_clock(to)
        return ""

    def _why_not(
        self, to: datetime, now: datetime, synchronised: bool, trusted: bool, before: Mapping[str, Any], *, ours: bool
    ) -> str:
        if synchronised and abs(to - now) > AGREES:
            return f"a time server is heard, and disagrees by {abs(to - now).total_seconds():.0f} s"
        if trusted and abs(to - now) > LARGEST_STEP:
            return "the clock is trusted, and would move more than 600 s"
        if synchronised:
            return ""  # nothing is set; and what was remembered by a wrong clock is forgotten
        floor = max(EARLIEST, datetime.fromisoformat(before["right"]) if "right" in before else EARLIEST)
        if not floor <= to < LATEST:
            return f"time was {floor.isoformat(timespec='seconds')} before"
        if ours and self._uptime() - float(before["uptime"]) < PAUSE_SECONDS:
            return "the clock was set less than an hour ago"
        return ""

    def _remembered(self) -> dict[str, Any]:
        """What was written last; nothing where that cannot be read, which loosens no limit for longer than a boot."""
        try:
            found = json.loads(self._path.read_text(encoding="ascii"))
            datetime.fromisoformat(found.get("right", EARLIEST.isoformat()))
            float(found.get("uptime", 0))
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
        return found if isinstance(found, dict) else {}

    def _remember(self, values: Mapping[str, Any]) -> None:
        new = self._path.with_suffix(".new")
        with new.open("w", encoding="ascii") as file:
            json.dump(dict(values), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


def serve(listener: socket.socket, helper: Helper, idle_seconds: float = IDLE_SECONDS) -> None:
    """Answer one request a connection until nobody has asked for *idle_seconds*."""
    listener.settimeout(idle_seconds)
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        with connection:
            connection.settimeout(ASK_SECONDS)
            try:
                line = _line(connection)
                connection.sendall(helper.answer(line, _peer(connection)))
            except OSError as error:  # gone, or silent: the next one is served
                log.warning("a request was not finished (%s)", error)


def _line(connection: socket.socket) -> bytes:
    """Up to a line end, the far end's, or LONGEST bytes."""
    line = b""
    end = time.monotonic() + ASK_SECONDS
    while b"\n" not in line and len(line) < LONGEST and time.monotonic() < end:
        some = connection.recv(LONGEST)
        if not some:
            break
        line += some
    return line


def _peer(connection: socket.socket) -> str:
    process, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"process {process} of user {user}"


def set_system_clock(to: datetime) -> None:
    """Set the system's clock, and the real-time clock where there is one: it may be all there is after a power cut."""
    time.clock_settime(time.CLOCK_REALTIME, to.timestamp())
    if RTC.exists():
        set_rtc(RTC, to, fcntl.ioctl)


def set_rtc(path: Path, to: datetime, ioctl: Callable[[int, int, bytes], Any]) -> None:
    """Set a real-time clock, which keeps UTC; one that cannot be set is logged, for the system's clock is right."""
    utc = to.astimezone(UTC)
    fields = (utc.second, utc.minute, utc.hour, utc.day, utc.month - 1, utc.year - 1900, 0, 0, 0)
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            ioctl(descriptor, RTC_SET_TIME, struct.pack("9i", *fields))
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("%s: cannot be set (%s)", path, error.strerror)


def main() -> int:
    """Serve on the socket that systemd hands over."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        log.error("the clock helper is started by systemd, with clock-helper.socket")
        return 64  # EX_USAGE
    folder = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/niutang-clock"))
    helper = Helper(
        folder / "clock.json",
        set_clock=set_system_clock,
        now=lambda: datetime.now(UTC),
        uptime=lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        boot=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        synchronised=Path("/run/systemd/timesync/synchronized").exists,
    )
    with socket.socket(fileno=FIRST_DESCRIPTOR) as listener:
        serve(listener, helper)
    return 0


# -- the station's end


class HelperClock:
    """Asks the helper at *path*; `station.commands.ClockSetter`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def set(self, moment: datetime, *, trusted: bool) -> str | None:
        """Have the clock set to *moment*, or say in one sentence why not."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(ASK_SECONDS)
                connection.connect(str(self._path))
                request = json.dumps({"time": moment.isoformat(), "trusted": trusted})
                connection.sendall(request.encode("ascii") + b"\n")
                error = json.loads(_line(connection))["error"]
        except FileNotFoundError:
            return "there is no clock helper on this host"
        except OSError as failure:
            return f"the clock helper cannot be reached ({failure.strerror or failure})"
        except (ValueError, KeyError, TypeError):
            return "the clock helper answered with nonsense"
        return str(error) or None


if __name__ == "__main__":
    sys.exit(main())
