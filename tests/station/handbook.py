"""The technician's handbook, played: every command of its console blocks is run, and what it shows is compared.

A block ```console is typed line by line behind "$ "; ```console NAME is a second terminal of that name, which goes on
until ^C; ```console live is a screen.  A line that ends with ⏎ is what a person types, behind the question it answers.
Numbers, times and runs of spaces are taken as equal; … stands for anything, alone on a line for any lines.
<!-- test: NAME --> calls the preparation of that name: what takes a station hours and the test no time.

`python -m tests.station.handbook` writes what is shown into the blocks that differ.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from station import cli, i18n
from station.cli_calibrate import calibrate
from tests.station.commands import ROOT, Served
from tests.station.terminal import on_terminal

BOOKS = {"en": ROOT / "station" / "handbook.md", "zh": ROOT / "station" / "handbook.zh.md"}
HOME = "/home/pi"  # where the handbook's person works
PORT = "9212"  # what the recipe and the handbook say; a test takes a free one
TYPED, ANYTHING, STOP = "⏎", "…", "^C"
FENCE = re.compile(r"^```console *(\S*)\n(.*?)^```$|^<!-- test: (\w+) -->$", flags=re.M | re.S)
PATIENCE = 20.0
HURRY = ("--every", "0.02", "--stay", "0")  # a calibration in a test waits for nobody
# What only looks may be run again until it shows what it ought to: values, links and commits take their time.
LOOKS = {
    *("status", "live", "gaps", "list", "show", "test", "explain", "export", "due", "chart"),
    *("read", "scan", "peek", "sniff", "doctor"),
}


@dataclass
class Command:
    """One line behind "$ " (or ^C), with what is shown after it."""

    words: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Block:
    """One fenced block, or a preparation (*prepare*)."""

    line: int
    terminal: str
    commands: list[Command]
    prepare: str = ""
    span: tuple[int, int] = (0, 0)  # of what stands between the fences


def blocks(text: str) -> Iterator[Block]:
    """What of a handbook is played, in order."""
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found[3]:
            yield Block(line, "", [], found[3])
            continue
        commands: list[Command] = []
        for one in found[2].splitlines():
            if one.startswith("$ ") or one == STOP:
                commands.append(Command(one.removeprefix("$ ")))
            elif commands:
                commands[-1].shown.append(one)
            else:  # more of what a terminal shows that is already on
                commands.append(Command("", [one]))
        yield Block(line, found[1], commands, span=found.span(2))


def alike(text: str) -> str:
    """*text* with every number as # and every run of spaces as one."""
    text = re.sub(r"\b[0-9a-f]{16,}\b", "#", text)
    text = re.sub(r"\d+(?:[.,:-]\d+)*", "#", text)
    return re.sub(r"[ \t]+", " ", text).strip()


def fits(expected: list[str], shown: str) -> bool:
    """Whether *shown* is what is *expected*, line by line; empty lines count for nothing."""
    pattern = ""
    for line in filter(str.strip, expected):
        if line.strip() == ANYTHING:
            pattern += r"(?:.*\n)*?"
        elif line.endswith(TYPED):
            pattern += re.escape(alike(_question(line))).replace(ANYTHING, ".*") + " *"
        else:
            pattern += re.escape(alike(line)).replace(ANYTHING, ".*") + r"\n"
    given = "".join(f"{line}\n" for line in map(alike, shown.splitlines()) if line)
    return re.fullmatch(pattern, given) is not None


def _question(line: str) -> str:
    """What stands before the answer a person typed: all up to the last colon."""
    text = line.removesuffix(TYPED)
    at = max(text.rfind(": "), text.rfind(":")) + 1
    return text[:at]


def _answer(line: str) -> str:
    return line.removesuffix(TYPED)[len(_question(line)) :].strip()


class Player:
    """A person at the handbook, in a folder of their own."""

    def __init__(self, folder: Path, language: str, preparations: Mapping[str, Callable[[Path], None]]) -> None:
        self.folder, self.language, self._preparations = folder, language, preparations
        self.port = _free_port()
        self._terminals: dict[str, tuple[Served, int]] = {}
        self._exported: dict[str, str] = {}
        self.writing = False  # what is shown is wanted as it stands, so nothing is waited for that is not there

    def play(self, block: Block) -> Iterator[tuple[Command, str, bool]]:
        """Each command of *block*, what it showed, and whether that is what the handbook says."""
        if block.prepare:
            self._preparations[block.prepare](self.folder)
        for command in block.commands:
            if block.terminal == "live":
                shown, good = self._on_screen(command)
            elif block.terminal:
                shown, good = self._in_terminal(block.terminal, command)
            else:
                with self._there_and_then():
                    shown, good = self._here(command)
            yield command, shown, good

    @contextmanager
    def _there_and_then(self) -> Iterator[None]:
        """In the person's folder and language, with what was exported; as it was before afterwards."""
        before = Path.cwd()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "STATION_"))}
        with mock.patch.dict(os.environ, kept | self.environment, clear=True):
            os.chdir(self.folder)
            try:
                yield
            finally:
                os.chdir(before)

    def _words(self, command: Command) -> list[str]:
        words = shlex.split(self._there(command.words))
        assert words[0] == "station", f"{command.words}: not a command that is played"
        words = [found for word in words[1:] for found in _files(word)]
        hurry = words[0] == "calibrate" and words[1] not in calibrate.commands.keys() - {"run"}
        return [*words, *HURRY] if hurry else words

    def _there(self, text: str) -> str:
        return text.replace(HOME, str(self.folder)).replace(PORT, str(self.port))

    def _told(self, text: str) -> str:
        """*text* as the handbook's person would see it."""
        return text.replace(str(self.folder), HOME).replace(str(self.port), PORT)

    def _here(self, command: Command) -> tuple[str, bool]:
        if command.words.startswith(("export ", "mkdir ")):
            return "", self._prepared(*shlex.split(self._there(command.words)))
        words = self._words(command)
        answers = "".join(_answer(line) + "\n" for line in command.shown if line.endswith(TYPED))
        end = time.monotonic() + (PATIENCE if LOOKS & set(words) and not self.writing else 0)
        while True:
            shown = self._told(self._run(words, answers))
            good = fits(command.shown, shown)
            if good or time.monotonic() > end:
                break
            time.sleep(0.1)
        if words[0] == "init":
            self._other_port(self.folder / words[words.index("--output") + 1] / "station.toml")
        return shown, good

    def _prepared(self, command: str, word: str) -> bool:
        """What a shell does without the station: a folder, a variable for the rest of the handbook."""
        if command == "mkdir":
            Path(word).mkdir()
        else:
            name, _, value = word.partition("=")
            self._exported[name] = value
        return True

    def _other_port(self, path: Path) -> None:
        """What `station init` wrote, with the platform on a port that is free here, and told without pauses."""
        text = path.read_text(encoding="utf-8")
        text = text.replace(f"port = {PORT}", f"port = {self.port}\nspacing_seconds = 0\nreconnect_seconds = 1")
        path.write_text(text, encoding="utf-8")

    def _quicken(self, path: Path) -> None:
        """A station that polls and commits often, since nobody waits for a test."""
        text = re.sub(r"poll_seconds = \d+", "poll_seconds = 1", path.read_text(encoding="utf-8"))
        path.write_text(text.replace("commit_seconds = 60", "commit_seconds = 1"), encoding="utf-8")

    def _run(self, words: list[str], answers: str) -> str:
        """`station` in this process; what it says on both streams, in order."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        typed = io.TextIOWrapper(io.BytesIO(answers.encode()), encoding="utf-8")
        streams = {"stdout": out, "stderr": out, "stdin": typed, "argv": ["station", *words]}
        enough = mock.patch("drivers.doctor.ENOUGH", 4)  # requests; a real line is judged after more of them
        with mock.patch.multiple(sys, **streams), enough:
            try:
                cli.main()
            except SystemExit:
                pass
            finally:
                i18n.use("en")
        out.seek(0)
        return out.read()

    def _in_terminal(self, name: str, command: Command) -> tuple[str, bool]:
        if command.words == STOP:
            served, seen = self._terminals.pop(name)
            served.process.send_signal(2)
            served.ended(PATIENCE)
            shown = self._told("\n".join(served.lines[seen:]) + "\n")
            served.put_away()
            return shown, fits(command.shown, shown)
        if command.words:
            if (words := self._words(command))[0] == "run":
                self._quicken(self.folder / words[words.index("--config") + 1])
            self._terminals[name] = Served(*self._words(command), env=self.environment, cwd=self.folder), 0
        served, seen = self._terminals[name]
        for line in command.shown:
            if line.endswith(TYPED):
                served.type(_answer(line))

        def there() -> bool:
            return fits(command.shown, self._told("\n".join(served.lines[seen:]) + "\n"))

        end = time.monotonic() + (3.0 if self.writing else PATIENCE)
        while not (good := there() and not self.writing) and time.monotonic() < end and served.process.poll() is None:
            time.sleep(0.02)
        good = there()
        shown = self._told("\n".join(served.lines[seen:]) + "\n")
        self._terminals[name] = served, len(served.lines)
        return shown, good

    def _on_screen(self, command: Command) -> tuple[str, bool]:
        with on_terminal(*self._words(command), size=(80, 40), cwd=self.folder, **self.environment) as terminal:

            def there() -> bool:
                return not self.writing and fits(command.shown, self._told(terminal.screen.text))

            end = time.monotonic() + (3.0 if self.writing else PATIENCE)
            while not (good := there()) and time.monotonic() < end:
                terminal.read()
            shown = self._told(terminal.screen.text)
            return shown, good or fits(command.shown, shown)

    @property
    def environment(self) -> dict[str, str]:
        """What makes the station speak the handbook's language."""
        language = "zh_CN.UTF-8" if self.language == "zh" else "C.UTF-8"
        return {"LANG": language, "GPIOZERO_PIN_FACTORY": "mock", **self._exported}

    def close(self) -> None:
        """End what still runs."""
        for served, _ in self._terminals.values():
            served.put_away()


def _files(word: str) -> list[str]:
    """The files that a shell would put for *word*."""
    path = Path(word)
    return sorted(map(str, path.parent.glob(path.name))) if "*" in word else [word]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def write(path: Path, language: str) -> int:
    """Put what is shown into the blocks of *path* that differ; how many commands did."""
    from tests.station.handbook_seeds import PREPARATIONS

    text, made, at, changed = path.read_text(encoding="utf-8"), [], 0, 0
    with tempfile.TemporaryDirectory() as folder, closing(Player(Path(folder), language, PREPARATIONS)) as player:
        player.writing = True
        for block in list(blocks(text)):
            lines: list[str] = []
            for command, shown, good in player.play(block):
                sys.stdout.write(f"{path.name}:{block.line}: {'ok ' if good else 'NEW'} {command.words}\n")
                changed += not good
                first = [] if not command.words else [STOP if command.words == STOP else f"$ {command.words}"]
                typed = [line for line in command.shown if line.endswith(TYPED)]
                said = [line.rstrip() for line in shown.rstrip().splitlines()]
                lines += [*first, *(command.shown if good else [*typed, *said])]
            if not block.prepare:
                start, end = block.span
                made += [text[at:start], "\n".join([*lines, ""])]
                at = end
            path.write_text("".join([*made, text[at:]]), encoding="utf-8")
    return changed


if __name__ == "__main__":
    for language in sys.argv[1:] or BOOKS:
        sys.stdout.write(f"{write(BOOKS[language], language)} commands show something else now\n")
