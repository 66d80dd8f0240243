"""AT commands on a serial port: one at a time, each bounded in time and size, with echoes and URCs sorted out.

Commands: 3GPP TS 27.007 and 27.005 as retold by makers' manuals (confidence B); the vendors' commands C.  Nothing
that a modem says is trusted: an answer that is too long, is no text or never ends is an error in one sentence.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from station.model import StationError

MOST_BYTES = 8192  # of an answer, URCs between included
LONGEST_LINE = 1024
READ_SECONDS = 0.1  # a read of the port takes no longer, so that a stop is seen
SYNC_TRIES = 3
URCS = ("RING", "NO CARRIER", "BUSY", "RDY", "SMS READY", "CALL READY", "PB DONE", "POWERED DOWN")


class ModemError(StationError):
    """Error raised when the modem could not be asked or told something."""


class NoAnswer(ModemError, TimeoutError):
    """Error raised when the modem does not answer in time."""


class BadAnswer(ModemError):
    """Error raised when what the modem says is no answer."""


class PortGone(ModemError, OSError):
    """Error raised when the modem's port is not there, or went away."""


class Refused(ModemError):
    """Error raised when the modem answers ERROR; *code* is that of +CME ERROR or +CMS ERROR, -1 without one."""

    def __init__(self, text: str, code: int = -1, kind: str = "") -> None:
        super().__init__(text)
        self.code, self.kind = code, kind


class Port(Protocol):
    """What is used of a serial port."""

    @property
    def in_waiting(self) -> int: ...

    def read(self, size: int) -> bytes: ...

    def write(self, data: bytes) -> int | None: ...

    def close(self) -> None: ...


def open_port(path: str, baudrate: int) -> Port:
    """The serial port *path*, for us alone; raise PortGone where it cannot be had."""
    import serial  # only who has a modem asks it

    try:
        made: Port = serial.Serial(
            path, baudrate, timeout=READ_SECONDS, write_timeout=2.0, exclusive=True, rtscts=False, dsrdtr=False
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is it there, and free?"
        raise PortGone(f"{path}: the modem's port cannot be opened ({why})") from error
    return made


class Modem:
    """A modem that is asked by AT commands at *path*; the port is opened with the first and after each loss."""

    def __init__(
        self, path: str, baudrate: int, *, answer_seconds: float = 5.0, running: Callable[[], bool] = lambda: True,
        opener: Callable[[str, int], Port] = open_port,
    ) -> None:  # fmt: skip
        self.path, self._baudrate, self.answer_seconds = path, baudrate, answer_seconds
        self._running, self._opener = running, opener
        self._port: Port | None = None
        self._rest = b""

    def close(self) -> None:
        """Let go of the port."""
        port, self._port, self._rest = self._port, None, b""
        if port is not None:
            with suppress(OSError):  # it went with the modem
                port.close()

    def ask(self, command: str, prefix: str = "", *, seconds: float = 0.0, after: bytes = b"") -> list[str]:
        """The lines of the answer to *command* that begin with *prefix*, without it; all of them without one.

        With *after* the modem is given these bytes where it asks for them with "> ".  Raise a ModemError.
        """
        if self._port is None:
            self._begin()
        return self._exchange(command, prefix, seconds or self.answer_seconds, after)

    def _begin(self) -> None:
        self._port = self._opener(self.path, self._baudrate)
        for attempt in range(1, SYNC_TRIES + 1):
            try:
                self._exchange("AT", "", min(2.0, self.answer_seconds), b"")
                break
            except (NoAnswer, BadAnswer, Refused):
                if attempt == SYNC_TRIES:
                    raise
                self._port = self._port or self._opener(self.path, self._baudrate)
                self._write(b"\x1b\r")  # it may stand in the middle of a message
        for command in ("ATE0", "AT+CMEE=1"):
            with suppress(Refused):  # echoes are known by themselves; without numbers errors say less
                self._exchange(command, "", self.answer_seconds, b"")

    def _exchange(self, command: str, prefix: str, seconds: float, after: bytes) -> list[str]:
        try:
            return self._exchanged(command, prefix, seconds, after)
        except (NoAnswer, BadAnswer):
            self.close()  # whatever comes late belongs to nobody
            raise

    def _exchanged(self, command: str, prefix: str, seconds: float, after: bytes) -> list[str]:
        self._drain()
        self._write(command.encode("ascii") + b"\r")
        deadline, budget, lines = time.monotonic() + seconds, MOST_BYTES, list[str]()
        echo = {command, after.decode("ascii", "replace").rstrip("\x1a")}
        while True:
            while (line := self._line()) is not None:
                if line == ">":
                    self._write(after)
                    after = b""
                if line in (*echo, "", ">"):
                    continue
                if (ended := self._ended(line, command)) is not None:
                    if isinstance(ended, ModemError):
                        raise ended
                    return lines
                if prefix and line.startswith(prefix):
                    lines.append(line[len(prefix) :].lstrip(": "))
                elif not prefix and not line.startswith(("+", "^", "$", "%", "*")) and line.upper() not in URCS:
                    lines.append(line)
            if after and self._rest.startswith(b">"):  # it waits behind this, without an end of line
                self._rest = b""
                self._write(after)
                after = b""
            got = self._io(lambda port: port.read(max(1, min(512, port.in_waiting))))
            budget -= len(got)
            self._rest += got
            if budget < 0 or len(self._rest) > LONGEST_LINE:
                raise BadAnswer(f"{self.path}: {command}: the modem sends without end; is this its AT port?")
            if time.monotonic() >= deadline:
                raise NoAnswer(f"{self.path}: {command}: no answer within {seconds:g} s")

    def _line(self) -> str | None:
        found = re.search(rb"[\r\n]", self._rest)
        if found is None:
            return None
        line, self._rest = self._rest[: found.start()], self._rest[found.end() :]
        text = line.decode("ascii", "replace").strip()
        return text if text.isprintable() else re.sub(r"[^ -~]", "\ufffd", text)

    def _ended(self, line: str, command: str) -> ModemError | str | None:
        """None while the answer goes on, "" for a good end, else the error it ends with."""
        if line == "OK":
            return ""
        found = re.fullmatch(r"\+(CM[ES]) ERROR: ?(.{0,60})", line)
        if found is None and line != "ERROR":
            return None
        if found is None:
            return Refused(f"{self.path}: {command}: refused (ERROR)")
        code = int(found[2]) if found[2].isdecimal() else -1
        return Refused(f"{self.path}: {command}: refused ({line})", code, found[1])

    def _drain(self) -> None:
        """Throw away what came unasked, as much as a busy modem may have said."""
        self._rest, left = b"", MOST_BYTES
        while self._io(lambda port: port.in_waiting):
            left -= len(self._io(lambda port: port.read(min(512, port.in_waiting))))
            if left < 0:
                raise BadAnswer(f"{self.path}: the modem sends without end; is this its AT port?")

    def _write(self, data: bytes) -> None:
        self._io(lambda port: port.write(data))

    def _io(self, act: Callable[[Any], Any]) -> Any:
        if not self._running():
            self.close()
            raise InterruptedError("the station stops")
        if self._port is None:
            raise PortGone(f"{self.path}: the modem's port is closed")
        try:
            return act(self._port)
        except InterruptedError:
            raise
        except (OSError, TypeError, AttributeError) as error:  # pyserial's own, of a port closed under a read
            self.close()
            why = getattr(error, "strerror", None) or str(error) or "read failed"
            raise PortGone(f"{self.path}: the modem's port is gone ({why})") from error


def fields(line: str) -> list[str]:
    """The values of an answer, quotes taken off.

    >>> fields('0,0,"CHINA MOBILE, GSM",7')
    ['0', '0', 'CHINA MOBILE, GSM', '7']
    """
    return [quoted or plain.strip() for quoted, plain in re.findall(r'(?:^|,)\s*(?:"([^"]*)"|([^,"]*))', line)]


def number(values: Sequence[str], index: int) -> int | None:
    """Value *index* as a number; None where it is not there or none."""
    text = values[index] if index < len(values) else ""
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else None
