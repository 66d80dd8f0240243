"""The command `station` as a process of its own, and a folder for it to work in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from station import cli, i18n
from station.config import load
from station.control import ControlRefused, NotRunning, ask
from tests.station.conftest import CONFIG

ROOT = Path(__file__).parents[2]
DOCUMENTED = {0, 1, 2, 65, 69, 70, 74, 75, 78}  # README.md, exit codes


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """Its sentences on standard error."""
        return self.err.splitlines()


def configure(folder: Path, *changes: tuple[str, str]) -> Path:
    """The fakes' station.toml in *folder*, each (old, new) text changed once, with its password."""
    text = CONFIG
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    folder.mkdir(exist_ok=True)
    (folder / "station.toml").write_text(text, encoding="utf-8")
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text("123456")
    return folder / "station.toml"


def environment(**more: str) -> dict[str, str]:
    """An environment that speaks English and finds this checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "COV_"))}
    return kept | {"LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


def words_of(*words: object) -> list[str]:
    """The command line that runs `station` with *words*."""
    return [sys.executable, "-m", "station.entry", *map(str, words)]


def station(*words: object, timeout: float = 30, **more: Any) -> Done:
    """Run `station` with *words* in a process of its own."""
    env = environment(**more.pop("env", {}))
    done = subprocess.run(
        words_of(*words), env=env, capture_output=True, text=True, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL, **more,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


class Here:
    """`station` with words in this process, in English unless told otherwise: as `command` of test_cli.py does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = monkeypatch, capfd
        for name in ("LC_ALL", "LC_MESSAGES", "STATION_CONFIG"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("LANG", "C.UTF-8")

    def __call__(self, *words: object) -> Done:
        """Run it; how it ended."""
        self._patch.setattr(sys, "argv", ["station", *map(str, words)])
        try:
            with pytest.raises(SystemExit) as ended:
                cli.main()
        finally:
            i18n.use("en")
        out, err = self._capture.readouterr()
        return Done(int(ended.value.code or 0), out, err)


class Served:
    """A command that goes on until it is told to stop; its lines are collected as they come."""

    def __init__(
        self, *words: object, env: Mapping[str, str] | None = None, within: Sequence[str] = (), **more: Any
    ) -> None:  # *within* is a command that runs the words behind it, such as ip netns exec
        self.process = subprocess.Popen(
            [*within, *words_of(*words)], env=environment(**(env or {})), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        """Everything it has said."""
        return "\n".join(self.lines)

    def says(self, words: str, seconds: float = 10) -> str:
        """The first line with *words* in it, waited for."""
        until(lambda: words in self.text or self.process.poll() is not None, seconds, lambda: self.text)
        return next((line for line in [*self.lines] if words in line), f"never said: {self.text}")

    def type(self, words: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def stop(self, seconds: float = 10) -> int:
        """SIGTERM, the end, the exit code."""
        self.process.terminate()
        return self.ended(seconds)

    def ended(self, seconds: float = 10) -> int:
        """The exit code, waited for."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def put_away(self) -> None:
        """End it whatever it does, and close its pipes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        self._reader.join(5)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def served(*words: object, env: Mapping[str, str] | None = None, **more: Any) -> Iterator[Served]:
    """`station` with *words*, running until the block ends."""
    process = Served(*words, env=env, **more)
    try:
        yield process
    finally:
        process.put_away()


@contextmanager
def daemon(config: Path, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`station run` on *config*, once it answers on its socket."""
    socket = load(config).control_socket
    with served("run", "--config", config, env=env) as process:
        until(lambda: answer(socket) is not None, 15, lambda: process.text)
        yield process


def answer(socket: Path, verb: str = "status", **arguments: Any) -> Any:
    """What the station at *socket* says, or None."""
    try:
        return ask(socket, verb, timeout=5, **arguments)
    except (NotRunning, ControlRefused):
        return None


def until(holds: Callable[[], Any], seconds: float = 10, why: Callable[[], object] = lambda: "") -> Any:
    """What *holds* returns, as soon as that is true; fail after *seconds*."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"did not come true within {seconds:g} s {why()}")
        time.sleep(0.02)
    return found


@contextmanager
def answering(rig: Any) -> Iterator[Any]:
    """The station of *rig* on its socket, committing when it is asked to."""
    from threading import Event

    from station.control import ControlServer
    from station.verbs import verbs

    server, stop = ControlServer(rig.loaded.control_socket), Event()

    def main_thread() -> None:
        while not stop.wait(0.01):
            rig.engine.tick()

    thread = Thread(target=main_thread)
    thread.start()
    server.start(verbs(rig.engine))
    try:
        yield rig
    finally:
        server.close()
        stop.set()
        thread.join()
