"""A VT100 as a model, and a command behind it on a pseudo-terminal: what a person would see, as text."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from tests.station.commands import environment, words_of

SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Vt100:
    """Cells, a cursor, and the few sequences of a VT100; what it does not know is an error."""

    def __init__(self, columns: int, rows: int, encoding: str = "utf-8") -> None:
        self.columns, self.rows, self.encoding = columns, rows, encoding
        self.cells = [[" "] * columns for _ in range(rows)]
        self.loud = [[False] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.look = ""
        self.modes: dict[str, bool] = {}
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Show what a program wrote."""
        data, self._rest = self._rest + data, b""
        try:
            text = data.decode(self.encoding)
        except UnicodeDecodeError as error:
            if error.end < len(data) and len(data) - error.start > 4:
                raise
            text, self._rest = data[: error.start].decode(self.encoding), data[error.start :]
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = SEQUENCE.match(text, at)
                if found is None:
                    assert len(text) - at < 12, f"not a VT100's: {text[at : at + 12]!r}"
                    self._rest = text[at:].encode(self.encoding) + self._rest
                    return
                self._obey(found[1], found[2], found[3])
                at = found.end()
            else:
                self._put(text[at])
                at += 1

    def _obey(self, private: str, given: str, final: str) -> None:
        numbers = [int(n or 0) for n in given.split(";")] if given else []
        if private:
            assert final in "hl"
            assert numbers[0] in (25, 1049)
            self.modes[given] = final == "h"
        elif final == "H":
            row, column = (*numbers, 1, 1)[:2] if numbers else (1, 1)
            assert 1 <= row <= self.rows
            assert 1 <= column <= self.columns
            self.row, self.column = row - 1, column - 1
        elif final == "J":
            for row in range(self.row, self.rows):
                self._erase(row, self.column if row == self.row else 0)
        elif final == "K":
            self._erase(self.row, self.column)
        else:
            assert final == "m", f"CSI {given}{final}"
            assert set(numbers) <= {0, 1, 7}
            self.look = ";".join(map(str, numbers))

    def _erase(self, row: int, column: int) -> None:
        self.cells[row][column:] = [" "] * (self.columns - column)
        self.loud[row][column:] = [False] * (self.columns - column)

    def _put(self, char: str) -> None:
        if char == "\r":
            self.column = 0
            return
        if char == "\n":
            if self.row == self.rows - 1:
                self.cells, self.loud = (
                    [*self.cells[1:], [" "] * self.columns],
                    [*self.loud[1:], [False] * self.columns],
                )
            self.row = min(self.row + 1, self.rows - 1)
            return
        assert char.isprintable(), f"a control character: {char!r}"
        two = self.encoding == "gbk" and len(char.encode("gbk")) == 2
        width = 2 if two else cell_len(char)
        assert self.column + width <= self.columns, f"written past the edge: {char!r} in row {self.row}"
        for n in range(width):
            if self.cells[self.row][self.column + n] == "":  # the second half of what stood here
                self.cells[self.row][self.column + n - 1] = " "
        after = self.column + width
        if after < self.columns and self.cells[self.row][after] == "":
            self.cells[self.row][after] = " "
        self.cells[self.row][self.column] = char
        self.loud[self.row][self.column : after] = ["7" in self.look] * width
        if width == 2:
            self.cells[self.row][self.column + 1] = ""
        self.column = after

    @property
    def lines(self) -> list[str]:
        """What is shown, row by row."""
        return ["".join(row).rstrip() for row in self.cells]

    @property
    def text(self) -> str:
        """What is shown."""
        return "\n".join(self.lines)

    def stands_out(self, words: str) -> bool:
        """Whether *words* are shown in reverse."""
        for row, line in enumerate(self.cells):
            at = "".join(c or "\0" for c in line).replace("\0", "").find(words)
            if at >= 0:
                column = next(n for n in range(self.columns + 1) if len("".join(line[:n])) == at)
                while line[column] == "":
                    column += 1
                return self.loud[row][column]
        raise AssertionError(f"{words!r} is not shown:\n{self.text}")

    def resized(self, columns: int, rows: int) -> None:
        """The window has another size; what is cut is gone."""
        self.cells = [([*row, *" " * columns])[:columns] for row in [*self.cells, *[[] for _ in range(rows)]][:rows]]
        self.loud = [[False] * columns for _ in range(rows)]
        self.columns, self.rows = columns, rows
        self.row, self.column = min(self.row, rows - 1), min(self.column, columns - 1)


class OnTerminal:
    """A command whose controlling terminal is a model, with *size* columns and rows, and *told* to the program."""

    def __init__(
        self,
        command: Sequence[str],
        size: tuple[int, int],
        told: tuple[int, int],
        encoding: str,
        cwd: Path | None,
        env: Mapping[str, str],
    ) -> None:
        self.master, self.slave = pty.openpty()
        self.screen = Vt100(*size, encoding)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", told[1], told[0], 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.received = bytearray()
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            env=environment(**{"TERM": "vt100", "PYTHONIOENCODING": encoding, **env}),
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), cwd=cwd,
        )  # fmt: skip

    def resize(self, columns: int, rows: int) -> None:
        """Another size; the kernel tells the program."""
        self.screen.resized(columns, rows)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float = 0.05) -> bool:
        """Show what has come within *seconds*; False when nothing did."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the last one has closed it
            return False
        self.received += data
        self.screen.feed(data)
        return bool(data)

    def shows(self, *words: str, seconds: float = 20, gone: str = "") -> str:
        """The screen once it shows all *words* and not *gone*."""

        def there() -> bool:
            return all(word in self.screen.text for word in words) and not (gone and gone in self.screen.text)

        self.until(there, seconds, f"{words} without {gone!r}")
        return self.screen.text

    def until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Read on until *holds*."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"{what} did not come:\n{self.screen.text}"
            if not self.read() and self.process.poll() is not None and not self.read():
                assert holds(), f"{what} did not come before it ended ({self.process.returncode}):\n{self.screen.text}"

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode(self.screen.encoding))

    def ended(self, seconds: float = 10) -> int:
        """The exit code, with all that was said."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, f"does not end:\n{self.screen.text}"
            self.read()
        while self.read(0.0):
            pass
        return int(self.process.returncode)

    @property
    def mode(self) -> list[object]:
        """The terminal's settings as they are now."""
        return list(termios.tcgetattr(self.slave))

    def set_mode(self, mode: list[object]) -> None:
        """Have other settings in force, as a shell does."""
        termios.tcsetattr(self.slave, termios.TCSANOW, mode)  # type: ignore[arg-type]

    def close(self) -> None:
        """Whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(5)
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def terminal_of(
    command: Sequence[str],
    size: tuple[int, int] = (80, 24),
    told: tuple[int, int] | None = None,
    encoding: str = "utf-8",
    cwd: Path | None = None,
    **env: str,
) -> Iterator[OnTerminal]:
    """*command* on a terminal of *size* columns and rows."""
    made = OnTerminal(command, size, told or size, encoding, cwd, env)
    try:
        yield made
    finally:
        made.close()


def on_terminal(*words: object, **more: Any) -> AbstractContextManager[OnTerminal]:
    """`station` with *words* on a terminal."""
    return terminal_of(words_of(*words), **more)
