"""Lets the host power off when the station says that its battery ends: a helper of its own, and how it is asked.

`python -I -m station.poweroff FILE` is run by supply-poweroff.service when the station has written FILE (a path unit
sees that; systemd/README.md).  It has no right at all: it judges, and ends with 0 where the host may power off, which
systemd then does (`SuccessAction=poweroff`); every other end, a signal included, leaves the host alone.  FILE holds
the boot and its seconds, so one of an earlier boot or an old one counts for nothing.  It believes nobody: not before
*--least* seconds of the boot, so that whoever logs in can stop a machine that would go off after each start, and not
when the request is taken back while it looks (the mains came back).  Standard library only.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

REFUSED = 77  # EX_NOPERM
LEAST_SECONDS = 180.0  # of the boot
OLDEST_SECONDS = 120.0  # of a request
AGAIN_SECONDS = 3.0  # between the two looks at it
LONGEST = 128  # bytes of a request
BOOT = Path("/proc/sys/kernel/random/boot_id")
REQUEST = re.compile(r"([0-9a-f-]{36}) ([0-9]{1,10})\n?")


def boot_seconds() -> float:
    """Seconds since the machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def request(path: Path, boot: str, uptime: float) -> None:
    """Ask for the host to be powered off; whole or not at all."""
    path.parent.mkdir(mode=0o750, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(f"{boot} {int(uptime)}\n", encoding="ascii")
    new.chmod(0o640)
    new.replace(path)


def why_not(path: Path, boot: str, uptime: float, least: float = LEAST_SECONDS) -> str:
    """Why the host is not powered off by what the file at *path* says; nothing where it may be."""
    try:
        with path.open("rb") as file:
            found = REQUEST.fullmatch(file.read(LONGEST).decode("ascii", "replace"))
    except FileNotFoundError:
        return "there is no request, or it was taken back"
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"
    if found is None:
        return "the request is not understood"
    if found[1] != boot:
        return "the request is of another boot"
    if not 0 <= uptime - int(found[2]) <= OLDEST_SECONDS:
        return f"the request is not of the last {OLDEST_SECONDS:.0f} s"
    if uptime < least:
        return f"the machine started less than {least:.0f} s ago"
    return ""


def judge(
    path: Path, boot: str, least: float, uptime: Callable[[], float], sleep: Callable[[float], None] = time.sleep
) -> int:
    """The exit code: 0 where the host is to power off, by two looks."""
    for pause in (AGAIN_SECONDS, 0.0):
        if reason := why_not(path, boot, uptime(), least):
            print(f"the host stays on: {reason}", file=sys.stderr)  # noqa: T201 - a program of its own
            return REFUSED
        sleep(pause)
    print("the battery ends: the host is powered off", file=sys.stderr)  # noqa: T201
    return 0


def main(words: Sequence[str]) -> int:
    """Judge the request that the command line names."""
    parser = argparse.ArgumentParser(prog="station.poweroff")
    parser.add_argument("file", type=Path)
    parser.add_argument("--least", type=float, default=LEAST_SECONDS)
    known = parser.parse_args(words)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # by default systemd takes these for success
        signal.signal(number, lambda *_: os._exit(REFUSED))
    boot = BOOT.read_text(encoding="ascii").strip()
    return judge(known.file, boot, max(known.least, 60.0), boot_seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
