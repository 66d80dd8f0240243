"""A line behind a network: Modbus TCP, or the bytes of a serial line through a serial server.

`tcp://192.168.1.20:502` is Modbus TCP (Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1: high), an instrument
or a gateway; `rtu+tcp://192.168.1.30:4001` is a serial server that hands the bytes of an RS-485 line through.  Both
stand where a serial port stands: above them it is the same bus.  Modbus TCP numbers its requests, so what answers an
older one is dropped here and counted; the frames that the bus and its traces see are those of a serial line.

A host is given by its address: looking a name up may block for longer than a line may be kept.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import re
import select
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

from drivers.base import BusSettings
from drivers.line import crc16
from station.model import dataclass

log = logging.getLogger(__name__)

PATTERN = re.compile(r"(tcp|rtu\+tcp)://(?:\[([0-9a-fA-F:.%\w]+)\]|([^\[\]/:]+))(?::(\d{1,5}))?/?")
SCHEME = re.compile(r"[a-z][a-z+]*://")
DEFAULT_PORTS = {"tcp": 502}
CONNECT_SECONDS = 3.0
DEAD_SECONDS = 10.0  # without an acknowledgement of what was sent, the system gives the connection up
MOST_HELD = 8192  # bytes taken and not asked for yet
UNNUMBERED = ("stream", "bam1020", "dlt645")  # drivers that speak no Modbus
HEADER = struct.Struct(">HHHB")  # transaction, protocol, length behind it, unit
MOST_BEHIND = 254  # unit, function and 252 bytes (guide, 3.1.3: 260 in all)
STALL_SECONDS = 0.3  # a serial server may cut a frame in two, and a mobile link may take so long between them
SLACK_SECONDS = 0.5  # on the way there and back, beside what the instrument needs


@dataclass(frozen=True, slots=True)
class Address:
    """Where a line is: *numbered* is Modbus TCP, else the bytes of a serial line."""

    host: str
    port: int
    numbered: bool


def is_network(port: str) -> bool:
    """Whether *port* is written as something behind a network."""
    return SCHEME.match(port) is not None


def address_of(port: str) -> Address:
    """The address in *port*; ValueError with a sentence where it is none.

    >>> address_of("tcp://192.168.1.20"), address_of("rtu+tcp://[fe80::1]:4001").host
    (Address(host='192.168.1.20', port=502, numbered=True), 'fe80::1')
    """
    found = PATTERN.fullmatch(port)
    if found is None:
        raise ValueError(f"{port} is no address such as tcp://192.168.1.20:502 or rtu+tcp://192.168.1.30:4001")
    scheme, six, four, number = found.groups()
    host = six or four
    if not (_is_of(socket.AF_INET6, host.partition("%")[0]) if six else _is_of(socket.AF_INET, host)):
        raise ValueError(f"{port}: {host} is no IP address; write the address, a name may take too long to look up")
    if number is None and scheme not in DEFAULT_PORTS:
        raise ValueError(f"{port}: a serial server needs its port, such as rtu+tcp://{host}:4001")
    chosen = int(number) if number else DEFAULT_PORTS[scheme]
    if not 1 <= chosen <= 65535:
        raise ValueError(f"{port}: {chosen} is no TCP port")
    return Address(host, chosen, scheme == "tcp")


def faults(bus: Any) -> Iterator[tuple[str, str]]:
    """What is wrong in the [[bus]] table *bus*, whose port is behind a network: the key, and a sentence."""
    try:
        address = address_of(bus.port)
    except ValueError as error:
        yield "port", str(error)
        return
    if bus.rs485 == "kernel":
        yield "rs485", "is of a port of this machine; the serial server switches its transmitter"
    for number, device in enumerate(bus.device):
        if address.numbered and device.driver in UNNUMBERED:
            text = f'"{device.driver}" speaks no Modbus; its serial server is rtu+tcp://…, tcp:// is Modbus TCP'
            yield f"device[{number}].driver", text
        for key in ("baudrate", "parity", "stopbits"):
            if getattr(device, key, None) is not None:
                yield f"device[{number}].{key}", "is set where the line is, not from here"


def _is_of(family: socket.AddressFamily, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except OSError:
        return False
    return True


def open_network(settings: BusSettings) -> SocketPort:
    """The line of *settings* behind a network, connected; OSError where nobody is there."""
    address = address_of(settings.port)
    return (NumberedPort if address.numbered else SocketPort)(address)


class SocketPort:
    """A TCP connection that is used like a serial port (drivers/port.py, Port).

    A peer that closed while nothing was said is connected to again before the next request: gateways let go of
    connections that rest.  Inside an exchange a closed connection is an OSError.
    """

    stall_seconds = STALL_SECONDS
    slack_seconds = SLACK_SECONDS

    def __init__(self, address: Address, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.timeout: float | None = 1.0
        self.reconnected = 0
        self._address, self._monotonic = address, monotonic
        self._held = bytearray()
        self._socket = self._connected()

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once; that the peer has gone is said when something is wanted of it."""
        self._is_over()
        return len(self._held)

    def read(self, size: int = 1, /) -> bytes:
        """Up to *size* bytes, as soon as they are there or the timeout is over."""
        deadline = self._monotonic() + (self.timeout or 0.0)
        while len(self._held) < size and (left := deadline - self._monotonic()) > 0:
            self._pump(left)
        data = bytes(self._held[:size])
        del self._held[:size]
        return data

    def write(self, data: bytes, /) -> int:
        """Send all of *data*."""
        if self._is_over():
            self._socket.close()
            self._forget()
            self._socket = self._connected()
            self.reconnected += 1
        self._socket.sendall(self._sent(bytes(data)))
        return len(data)

    def reset_input_buffer(self) -> None:
        """Drop what has come."""
        self._is_over()
        self._held.clear()

    def close(self) -> None:
        """Let go of the connection."""
        self._socket.close()

    # -- what Modbus TCP does otherwise

    def _sent(self, data: bytes) -> bytes:
        """*data* as it goes over the network."""
        return data

    def _came(self, data: bytes) -> None:
        """Take *data* from the network."""
        self._held += data
        if len(self._held) > MOST_HELD:
            del self._held[:-MOST_HELD]  # the newest: what is older answers nothing any more

    def _forget(self) -> None:
        """Nothing that was under way comes any more."""
        self._held.clear()

    # -- the connection

    def _connected(self) -> socket.socket:
        made = socket.create_connection((self._address.host, self._address.port), CONNECT_SECONDS)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * DEAD_SECONDS))
            made.settimeout(CONNECT_SECONDS)
        except BaseException:
            made.close()
            raise
        return made

    def _is_over(self) -> bool:
        """Whether the peer has closed the connection; what it still sent is taken."""
        try:
            self._pump(0.0)
        except OSError:
            return True
        return False

    def _pump(self, seconds: float) -> None:
        """Take what comes within *seconds*; OSError when the peer is gone."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return
        waiting = bytearray(4)
        fcntl.ioctl(self._socket, termios.FIONREAD, waiting)
        data = self._socket.recv(max(1, min(int.from_bytes(waiting, "little"), MOST_HELD)))
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the peer closed the connection")
        self._came(data)


class NumberedPort(SocketPort):
    """Modbus TCP behind the face of a serial line: whole frames with their CRC, only those of the newest request."""

    def __init__(self, address: Address, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.stale = 0  # answers to requests that had been given up
        self._transaction = 0
        self._begun = bytearray()
        self._unit = -1
        super().__init__(address, monotonic)

    def _sent(self, data: bytes) -> bytes:
        self._transaction = self._transaction % 0xFFFF + 1
        self._unit = data[0]
        body = data[1:-2]
        return HEADER.pack(self._transaction, 0, 1 + len(body), self._unit) + body

    def _came(self, data: bytes) -> None:
        self._begun += data
        while len(self._begun) >= HEADER.size:
            transaction, protocol, behind, unit = HEADER.unpack_from(self._begun)
            if protocol != 0 or not 2 <= behind <= MOST_BEHIND:
                self._begun.clear()
                raise OSError(errno.EPROTO, "what came is no Modbus TCP")
            end = HEADER.size - 1 + behind
            if len(self._begun) < end:
                return
            body = bytes(self._begun[HEADER.size : end])
            del self._begun[:end]
            if transaction != self._transaction or unit != self._unit:
                self.stale += 1
                log.debug("%s: an answer to request %d of unit %d came late", self._address.host, transaction, unit)
                continue
            self._unit = -1  # one answer to each
            frame = bytes((unit,)) + body
            super()._came(frame + crc16(frame))

    def _forget(self) -> None:
        super()._forget()
        self._begun.clear()
        self._unit = -1
