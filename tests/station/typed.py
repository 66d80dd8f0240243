"""A person at `station calibrate`: real processes on a pseudo-terminal, questions met by their text, cut anywhere."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from station.config import load
from tests.station.commands import ROOT, answer, environment, until

SCREEN = (200, 60)  # columns and rows: no question is folded
PATIENCE = 20.0
ENDS = ": "  # of a question
QUESTIONS = (
    "ask_user", "ask_procedure", "ask_standard", "ask_further", "ask_serial", "put_in", "ask_unstable", "ask_failed",
    "ask_write", "ask_why", "ask_refused",
    "ask_shown", "ask_reference", "ask_instrument", "ask_expired", "ask_no_result",
)  # fmt: skip


@cache
def texts(language: str) -> Mapping[str, str]:
    """What `station calibrate` says in *language*, by key."""
    found = tomllib.loads((ROOT / "station" / "locale" / f"{language}.toml").read_text(encoding="utf-8"))
    return {key: text for key, text in found["calibrate"].items() if isinstance(text, str)}


@cache
def patterns(language: str) -> Mapping[str, re.Pattern[str]]:
    """How each question looks on a screen, with what it names and what it would take for granted."""
    return {key: re.compile(f"{_pattern(texts(language)[key])}(?: \\[.*\\])?: ") for key in QUESTIONS}


def _pattern(text: str) -> str:
    """*text* as a regular expression with a group for each placeholder."""
    parts = re.split(r"\{(\w+)\}", text)
    return "".join(f"(?P<{part}>.*?)" if n % 2 else re.escape(part) for n, part in enumerate(parts))


class Processes:
    """Commands forked off one process that has everything loaded (typing_server.py)."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.station.typing_server"], env=environment(), cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._ended: dict[int, int] = {}
        self._told = b""
        self._next()

    def _next(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """The next thing it tells."""
        assert self._server.stdout is not None
        while b"\n" not in self._told:
            ready = select.select([self._server.stdout], [], [], seconds)[0]
            assert ready, "the server says nothing"
            data = os.read(self._server.stdout.fileno(), 65536)
            assert data, "the server is gone"
            self._told += data
        line, self._told = self._told.split(b"\n", 1)
        body: dict[str, Any] = json.loads(line)
        if "ended" in body:
            self._ended[body["ended"]] = body["code"]
        return body

    def begin(self, *words: object, terminal: str = "", output: Path | None = None) -> int:
        """Begin `station` with *words*; the number of its process."""
        asked = {"words": [*map(str, words)], "terminal": terminal, "output": str(output or os.devnull)}
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(asked).encode() + b"\n")
        self._server.stdin.flush()
        while "begun" not in (body := self._next()):
            pass
        return int(body["begun"])

    def ended(self, process: int, seconds: float = PATIENCE) -> int:
        """How *process* ended, waited for."""
        while process not in self._ended:
            self._next(seconds)
        return self._ended[process]

    def close(self) -> None:
        """End it."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(5)
        self._server.stdout.close()


class Typed:
    """`station calibrate` with *words* on a terminal, and somebody who reads what it asks."""

    def __init__(self, processes: Processes, *words: object, language: str = "en") -> None:
        self._processes, self.language = processes, language
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", SCREEN[1], SCREEN[0], 0, 0))
        name = os.ttyname(slave)
        self.process = processes.begin("calibrate", *words, "--lang", language, terminal=name)
        self._slave = slave  # kept: a terminal stays where its program has ended
        self.text = ""
        self._rest = b""
        self.asked = 0  # questions that were answered
        self._seen = 0  # of the text, up to the last answer

    def read(self, seconds: float) -> bool:
        """Take in what it writes within *seconds*; False when nothing came."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        data = self._rest + os.read(self.master, 65536)
        whole = data.decode(errors="ignore")
        self._rest = data[len(whole.encode()) :]
        self.text += whole.replace("\r\n", "\n")
        return True

    def question(self) -> tuple[str, re.Match[str]] | None:
        """The key of the question that it asks next, and what is in it; None where it has ended."""
        end = time.monotonic() + PATIENCE
        while True:
            found = self._on_screen()
            if found is not None:
                return found
            if not self.read(0.02):
                assert time.monotonic() < end, f"neither asks nor ends:\n{self.text}"
                if self._is_over() and not self.read(0.0):
                    return self._on_screen()

    def _on_screen(self) -> tuple[str, re.Match[str]] | None:
        line = self.text[self._seen :].rpartition("\n")[2]
        if not line.endswith(ENDS):
            return None
        for key, pattern in patterns(self.language).items():
            if (found := pattern.fullmatch(line)) is not None:
                return key, found
        return None

    def _is_over(self) -> bool:
        return self._processes._ended.get(self.process) is not None or not _alive(self.process)

    def says(self, words: str, seconds: float = PATIENCE) -> None:
        """Wait until it has said *words*."""
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, f"never said {words!r}:\n{self.text}"
            if not self.read(0.02) and self._is_over() and not self.read(0.0):
                raise AssertionError(f"ended without {words!r}:\n{self.text}")

    def type(self, line: str) -> None:
        """Answer it."""
        self._seen = len(self.text)
        self.asked += 1
        os.write(self.master, line.encode() + b"\n")

    def interrupt(self) -> int:
        """Press Ctrl-C, and again where it came in the moment before the question was waited at; its exit code."""
        end = time.monotonic() + PATIENCE
        while not self._is_over():
            assert time.monotonic() < end, f"Ctrl-C does not end it:\n{self.text}"
            os.write(self.master, b"\x03")
            patience = time.monotonic() + 0.3
            while not self._is_over() and time.monotonic() < patience:
                self.read(0.02)
        return self.ended()

    def kill(self) -> None:
        """SIGKILL: as a power cut ends it."""
        os.kill(self.process, signal.SIGKILL)
        self._processes.ended(self.process)

    def hang_up(self) -> None:
        """The connection that the terminal hangs on is lost."""
        os.close(self._slave)
        os.close(self.master)
        self.master = self._slave = -1
        self._processes.ended(self.process)

    def ended(self) -> int:
        """Its exit code, with all that it said."""
        while not self._is_over():
            self.read(0.02)
        while self.read(0.0):
            pass
        return self._processes.ended(self.process)

    @property
    def lines(self) -> list[str]:
        """All it has said, line by line."""
        return self.text.splitlines()

    def close(self) -> None:
        """Whatever it does."""
        if not self._is_over():
            self.kill()
        for descriptor in (self.master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Service:
    """`station run` on *config*, forked too."""

    def __init__(self, processes: Processes, config: Path) -> None:
        self._processes = processes
        self.process = processes.begin("run", "--config", config, output=config.parent / "service.log")
        self._log = config.parent / "service.log"
        self.socket = load(config).control_socket
        until(lambda: answer(self.socket) is not None, PATIENCE, lambda: self._log.read_text(encoding="utf-8"))

    def kill(self) -> None:
        """Pull its plug."""
        if self._processes._ended.get(self.process) is None:
            os.kill(self.process, signal.SIGKILL)
            self._processes.ended(self.process)

    def shown(self, parameter: str) -> float | None:
        """What it shows of *parameter*; None while there is nothing."""
        status = answer(self.socket)
        values = [one for device in status["devices"] for one in device["values"] if one["parameter"] == parameter]
        return values[0]["value"] if values else None


@contextmanager
def service(processes: Processes, config: Path) -> Iterator[Service]:
    """The station on *config*, once it answers; its plug is pulled in the end."""
    made = Service(processes, config)
    try:
        yield made
    finally:
        made.kill()


@contextmanager
def typed(processes: Processes, *words: object, language: str = "en") -> Iterator[Typed]:
    """`station calibrate` with *words*, until the block ends."""
    made = Typed(processes, *words, language=language)
    try:
        yield made
    finally:
        made.close()
