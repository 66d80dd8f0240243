"""Holds a tunnel up for as long as the station wants one; what the tunnel's units run.

    python -I -m station.tunnelhold --until FILE --state FILE [--most HOURS] run -- COMMAND…
    python -I -m station.tunnelhold --until FILE --state FILE [--most HOURS] between -- UP… -- DOWN…

`run` keeps a command running (ssh -N …) and starts it again, with growing pauses, when it ends; `between` does UP
once and DOWN at the end (wg-quick).  FILE of --until holds the boot and its seconds (station/tunnel.py); a file of
another boot, none, or a damaged one means that no tunnel is wanted.  Nothing the station writes makes it longer than
--most hours, and SIGTERM closes it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

LOOK_SECONDS = 1.0
SETTLED_SECONDS = 10.0  # a command that ran so long has its connection
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
STOP_SECONDS = 10.0
COMMAND_SECONDS = 60.0
BOOT = Path("/proc/sys/kernel/random/boot_id")


def seconds_left(path: Path) -> float:
    """Seconds a tunnel is still wanted by the file at *path*; 0.0 for one that says nothing of this boot."""
    try:
        boot, _, until = path.read_text(encoding="ascii").strip().partition(" ")
        if boot != BOOT.read_text(encoding="ascii").strip():
            return 0.0
        return max(0.0, int(until) - time.clock_gettime(time.CLOCK_BOOTTIME))
    except (OSError, ValueError):
        return 0.0


class Hold:
    """One tunnel, from wanted to not wanted."""

    def __init__(self, until: Path, state: Path, most_hours: float, settled: float = SETTLED_SECONDS) -> None:
        self._until, self._state, self._settled = until, state, settled
        self._end = time.monotonic() + 3600 * most_hours
        self._stopped, self._said = False, ""

    def stop(self, *_: object) -> None:
        """End soon; a signal's handler."""
        self._stopped = True

    @property
    def wanted(self) -> bool:
        """Whether it is to stay."""
        return not self._stopped and time.monotonic() < self._end and seconds_left(self._until) > 0

    def say(self, state: str, reason: str = "") -> None:
        """Tell the station."""
        if f"{state} {reason}" == self._said:
            return
        self._said = f"{state} {reason}"
        new = self._state.with_suffix(".new")
        new.write_text(json.dumps({"state": state, "reason": reason[-200:], "since": round(time.time())}))
        new.chmod(0o644)
        new.replace(self._state)

    def run(self, command: Sequence[str]) -> None:
        """Keep *command* running."""
        pause = FIRST_PAUSE
        while self.wanted:
            self.say("trying", self._said.partition(" ")[2])
            with tempfile.TemporaryFile() as complaint:
                began = time.monotonic()
                child = self._child(command, complaint)
                while child is not None and child.poll() is None and self.wanted:
                    if time.monotonic() - began >= self._settled:
                        self.say("up")
                        pause = FIRST_PAUSE
                    time.sleep(LOOK_SECONDS)
                self._finish(child)
                if self.wanted:
                    self.say("trying", _last_line(complaint) or "it ended")
            again = time.monotonic() + pause
            pause = min(2 * pause, LONGEST_PAUSE)
            while self.wanted and time.monotonic() < again:
                time.sleep(LOOK_SECONDS)
        self.say("down")

    def between(self, up: Sequence[str], down: Sequence[str]) -> None:
        """Do *up*, and *down* at the end; *down* also after an *up* that failed half-way."""
        try:
            if self.wanted:
                self.say("trying")
                done = subprocess.run(up, capture_output=True, timeout=COMMAND_SECONDS, check=False)
                if done.returncode:
                    last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
                    raise OSError(f"{up[0]}: {last or f'exit code {done.returncode}'}")
                self.say("up")
            while self.wanted:
                time.sleep(LOOK_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.say("trying", str(error))
            raise
        finally:
            subprocess.run(down, capture_output=True, timeout=COMMAND_SECONDS, check=False)
            if self._said.startswith("up"):
                self.say("down")

    def _child(self, command: Sequence[str], complaint: IO[bytes]) -> subprocess.Popen[bytes] | None:
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaint, start_new_session=True
            )
        except OSError as error:
            complaint.write(str(error).encode())
            return None

    @staticmethod
    def _finish(child: subprocess.Popen[bytes] | None) -> None:
        if child is None or child.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(child.pid, number)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return


def _last_line(complaint: IO[bytes]) -> str:
    size = complaint.seek(0, os.SEEK_END)
    complaint.seek(max(0, size - 2000))
    text = complaint.read().decode("utf-8", "replace").strip()
    return text.rpartition("\n")[2]


def main(words: Sequence[str]) -> int:
    """Hold a tunnel as the command line says; the exit code."""
    read = argparse.ArgumentParser(prog="tunnelhold", description="hold a tunnel up while the station wants one")
    read.add_argument("--until", type=Path, required=True)
    read.add_argument("--state", type=Path, required=True)
    read.add_argument("--most", type=float, default=72.0, metavar="HOURS")
    read.add_argument("how", choices=("run", "between"))
    head, *commands = _parted(words)
    given = read.parse_args(head)
    if len(commands) != (1 if given.how == "run" else 2) or not all(commands):
        read.error("run wants one command behind --, between wants two")
    hold = Hold(given.until, given.state, given.most)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hold.stop)
    try:
        getattr(hold, given.how)(*commands)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parted(words: Sequence[str]) -> list[list[str]]:
    """*words* parted at each "--".

    >>> _parted(["run", "--", "ssh", "-N"])
    [['run'], ['ssh', '-N']]
    """
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
