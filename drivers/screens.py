"""Text screens beside the station (LED 显示屏): what one can be told, plain text, and the ways to one.

A screen is a class made with (settings, way), where *settings* is a [[screen]] table and *way* a Way:

* show(lines)       have exactly these lines on it, top to bottom; every row it has is given, padded with spaces
* close()           let go of the way
* faults(settings)  a static method, where there is one: (key, sentence) of what is wrong in its table

It raises ScreenError for what fails: the station tells it once and tries again with growing pauses.  The registry is
drivers.SCREENS; a class from elsewhere is named as "module:Class" (station/README.md has an example).

* ScreenError
  * ScreenLost      the port or the connection is not there
  * ScreenSilent    a screen that should acknowledge did not
  * ScreenRefused   it answered, and said no
"""

from __future__ import annotations

import re
import socket
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from drivers.base import BusSettings, PortLost
from drivers.port import cause, open_port
from station.model import StationError

LONGEST_ANSWER = 4096  # bytes looked into for an answer
ADDRESS = re.compile(r"(tcp|udp)://(?:\[([0-9a-fA-F:.%\w]+)\]|([0-9.]+)):(\d{1,5})/?")


class ScreenError(StationError):
    """Base of what goes wrong between the station and a screen."""

    exit_code = 69


class ScreenLost(ScreenError, ConnectionError):
    """Error raised when a screen's port or connection is not there."""


class ScreenSilent(ScreenError, TimeoutError):
    """Error raised when a screen did not acknowledge what it was sent."""


class ScreenRefused(ScreenError):
    """Error raised when a screen answered and said no."""


class Screen(Protocol):
    """What shows lines of text."""

    def show(self, lines: Sequence[str]) -> None: ...

    def close(self) -> None: ...


class Way(Protocol):
    """Bytes to a screen; opened by the first use, and again after it was lost.  Every call is bounded in time."""

    def send(self, data: bytes) -> None:
        """Send *data*; raise ScreenLost."""

    def ask(self, data: bytes, answer: Callable[[bytes], Any]) -> Any:
        """Send *data*, and what *answer* makes of the bytes that come once it is not None; raise ScreenSilent."""

    def close(self) -> None: ...


def way_to(settings: Any) -> Way:
    """The way that the *port* of a [[screen]] table names: a serial port, tcp://ADDRESS:PORT or udp://ADDRESS:PORT."""
    if "://" not in settings.port:
        return SerialWay(settings)
    scheme, host, port = address_of(settings.port)
    return SocketWay(settings.port, host, port, scheme == "udp", settings.timeout_seconds)


def address_of(port: str) -> tuple[str, str, int]:
    """Scheme, address and port number in *port*; ValueError with a sentence where it is none.

    >>> address_of("udp://192.168.1.30:5005")
    ('udp', '192.168.1.30', 5005)
    """
    found = ADDRESS.fullmatch(port)
    if found is None or not 1 <= int(found[4]) <= 65535:
        raise ValueError(
            f"{port} is no address such as tcp://192.168.1.30:5005 or udp://192.168.1.30:5005, with an IP address"
        )
    return found[1], found[2] or found[3], int(found[4])


class SerialWay:
    """A serial port of the screen's own: RS-232 or RS-485."""

    def __init__(self, settings: Any, opener: Callable[[BusSettings], Any] = open_port) -> None:
        self._name, self._timeout = settings.port, settings.timeout_seconds
        self._settings = BusSettings(
            name=settings.name, port=settings.port, baudrate=settings.baudrate, parity=settings.parity,
            stopbits=settings.stopbits, rs485=settings.rs485,
        )  # fmt: skip
        self._opener = opener
        self._port: Any = None

    def send(self, data: bytes) -> None:
        """Send *data* after dropping what had come before."""
        try:
            if self._port is None:
                self._port = self._opener(self._settings)
            self._port.reset_input_buffer()
            self._port.write(data)
        except PortLost as error:
            self.close()
            raise ScreenLost(str(error)) from error
        except (OSError, ValueError, termios.error) as error:
            self.close()
            raise ScreenLost(f"{self._name}: the screen's port cannot be used: {cause(error)}") from error

    def ask(self, data: bytes, answer: Callable[[bytes], Any]) -> Any:
        """Send *data* and wait for what *answer* recognises."""
        self.send(data)
        return _wait(self._name, self._timeout, self._read, answer)

    def _read(self, seconds: float) -> bytes:
        try:
            assert self._port is not None
            self._port.timeout = seconds
            return bytes(self._port.read(max(1, min(self._port.in_waiting, LONGEST_ANSWER))))
        except (OSError, termios.error, TypeError) as error:  # pyserial: TypeError where it was closed meanwhile
            self.close()
            raise ScreenLost(f"{self._name}: the screen's port is lost: {cause(error)}") from error

    def close(self) -> None:
        """Let go of the port."""
        port, self._port = self._port, None
        if port is not None:
            port.close()


class SocketWay:
    """A screen, or a serial server before it, on the network."""

    def __init__(self, name: str, host: str, port: int, datagrams: bool, timeout: float) -> None:
        self._name, self._where, self._timeout = name, (host, port), timeout
        self._datagrams = datagrams
        self._socket: socket.socket | None = None

    def send(self, data: bytes) -> None:
        """Send *data*, connecting first where need be."""
        try:
            opened = self._socket or self._open()
            while self._drop(opened):
                pass
            opened.settimeout(self._timeout)
            opened.sendall(data)
        except OSError as error:
            self.close()
            raise ScreenLost(f"{self._name}: the screen cannot be reached: {error.strerror or error}") from error

    def _open(self) -> socket.socket:
        if self._datagrams:
            family = socket.AF_INET6 if ":" in self._where[0] else socket.AF_INET
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.connect(self._where)
        else:
            self._socket = socket.create_connection(self._where, self._timeout)
        return self._socket

    def _drop(self, opened: socket.socket) -> bool:
        """Take what came unasked; a connection that the screen has closed is made anew."""
        opened.setblocking(False)
        try:
            if opened.recv(LONGEST_ANSWER) or self._datagrams:
                return True
        except BlockingIOError:
            return False
        raise ConnectionResetError("it closed the connection")

    def ask(self, data: bytes, answer: Callable[[bytes], Any]) -> Any:
        """Send *data* and wait for what *answer* recognises."""
        self.send(data)
        return _wait(self._name, self._timeout, self._read, answer)

    def _read(self, seconds: float) -> bytes:
        assert self._socket is not None
        self._socket.settimeout(seconds)
        try:
            got = self._socket.recv(LONGEST_ANSWER)
        except TimeoutError:
            return b""
        except OSError as error:
            self.close()
            raise ScreenLost(f"{self._name}: the screen is lost: {error.strerror or error}") from error
        if not got and not self._datagrams:
            self.close()
            raise ScreenLost(f"{self._name}: the screen closed the connection")
        return got

    def close(self) -> None:
        """Let go of the connection."""
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()


def _wait(name: str, timeout: float, read: Callable[[float], bytes], answer: Callable[[bytes], Any]) -> Any:
    """What *answer* makes of what is read within *timeout* seconds, however slowly and much comes."""
    end, got = time.monotonic() + timeout, b""
    while (left := end - time.monotonic()) > 0 and len(got) < LONGEST_ANSWER:
        got += read(left)
        if (made := answer(got)) is not None:
            return made
    what = f"{len(got)} bytes that are no answer" if got else "nothing"
    raise ScreenSilent(f"{name}: the screen did not acknowledge within {timeout:g} s; it sent {what}")


class TextScreen:
    """Plain text: each line with a prefix and a line end, all rows in one go; nothing is acknowledged.

    Prefix and line end may hold {row} (from 1) and {address}.  A datagram holds all rows.
    """

    def __init__(self, settings: Any, way: Way) -> None:
        self._settings, self._way = settings, way

    @staticmethod
    def faults(settings: Any) -> Iterator[tuple[str, str]]:
        """A prefix or a line end that is no bytes."""
        for key in ("prefix", "line_end"):
            try:
                _around(getattr(settings, key), 1, settings.address)
            except ValueError:
                yield key, f'"{getattr(settings, key)}" is neither ASCII nor hexadecimal bytes such as hex:0D0A'

    def show(self, lines: Sequence[str]) -> None:
        """Send all of *lines*."""
        said = self._settings
        self._way.send(
            b"".join(
                _around(said.prefix, row, said.address)
                + line.encode(said.encoding)
                + _around(said.line_end, row, said.address)
                for row, line in enumerate(lines, 1)
            )
        )

    def close(self) -> None:
        """Let go of the way."""
        self._way.close()


def _around(text: str, row: int, address: int) -> bytes:
    """The bytes of a prefix or a line end: ASCII, or hexadecimal behind "hex:", where numbers have two digits.

    >>> _around("@{address}{row} ", 1, 12), _around("hex:02 {address} {row}", 1, 12).hex()
    (b'@121 ', '020c01')
    """
    if text.startswith("hex:"):
        return bytes.fromhex(text[4:].replace("{row}", f"{row:02x}").replace("{address}", f"{address & 0xFF:02x}"))
    return text.replace("{row}", str(row)).replace("{address}", str(address)).encode("ascii")
