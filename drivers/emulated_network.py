"""An emulated gateway: an emulated line reached over TCP, as Modbus TCP or byte by byte through a serial server."""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Self, cast

import serial

from drivers.base import BusSettings
from drivers.emulator import EmulatedBus
from drivers.line import OVERHEAD_BYTES, crc16
from drivers.network import HEADER, MOST_BEHIND
from drivers.port import Speed, open_port

log = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds the gateway waits for an instrument
NO_TARGET = 11  # exception: gateway target does not answer (Modbus application protocol V1.1b3, 7)


class EmulatedGateway:
    """Serves *bus* on loopback; *numbered* is Modbus TCP, else the bytes go through as they are.

    The line is set to *speed*, its own baudrate and 8N1 without it.  *hold* is asked for the seconds by which each
    answer is kept back; *sever* hangs up.
    """

    def __init__(
        self,
        bus: EmulatedBus,
        *,
        numbered: bool = True,
        port: int = 0,
        hold: Callable[[], float] = lambda: 0.0,
        speed: Speed | None = None,
    ) -> None:
        self._bus, self._numbered, self._hold = bus, numbered, hold
        self._speed = speed or Speed(bus.line.baudrate)
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = self._server.getsockname()[1]
        self.connections = 0
        self._stop = threading.Event()
        self._peer: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="emulated-gateway", daemon=True)

    @property
    def address(self) -> str:
        """What stands as port in station.toml."""
        return f"{'tcp' if self._numbered else 'rtu+tcp'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self.sever()
        self._server.close()
        self._thread.join(5)

    def sever(self) -> None:
        """Hang up on whoever is connected; the next one is served."""
        peer = self._peer
        if peer is not None:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("hung up already")

    def _run(self) -> None:
        self._server.settimeout(0.1)
        while not self._stop.is_set():
            try:
                peer, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            with peer, self._opened() as line:
                self._peer = peer
                try:
                    (self._serve_numbered if self._numbered else self._serve_bytes)(peer, line)
                except OSError as error:
                    log.debug("gateway: %s", error)
                finally:
                    self._peer = None

    def _opened(self) -> serial.Serial:
        baudrate, parity, stopbits = self._speed
        settings = BusSettings(name="gateway", port=self._bus.path, baudrate=baudrate, parity=parity, stopbits=stopbits)
        line = open_port(settings)
        line.timeout = 0
        return cast(serial.Serial, line)

    def _serve_bytes(self, peer: socket.socket, line: serial.Serial) -> None:
        while not self._stop.is_set():
            both: list[socket.socket | serial.Serial] = [peer, line]
            ready = select.select(both, [], [], 0.1)[0]
            if peer in ready:
                data = peer.recv(4096)
                if not data:
                    return
                line.write(data)
            if line in ready and (data := line.read(4096)):
                time.sleep(self._hold())
                peer.sendall(data)

    def _serve_numbered(self, peer: socket.socket, line: serial.Serial) -> None:
        held = b""
        while not self._stop.is_set():
            if not select.select([peer], [], [], 0.1)[0]:
                continue
            data = peer.recv(4096)
            if not data:
                return
            held += data
            while len(held) >= HEADER.size:
                transaction, _, behind, unit = HEADER.unpack_from(held)
                end = HEADER.size - 1 + min(behind, MOST_BEHIND)
                if len(held) < end:
                    break
                request, held = bytes((unit,)) + held[HEADER.size : end], held[end:]
                body = self._asked(request, line)
                time.sleep(self._hold())
                peer.sendall(HEADER.pack(transaction, 0, 1 + len(body), unit) + body)

    def _asked(self, request: bytes, line: serial.Serial) -> bytes:
        """What the line answers, without unit and CRC; the gateway's own exception where nothing sound comes."""
        line.reset_input_buffer()
        line.write(request + crc16(request))
        reply, deadline = b"", time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            if select.select([line], [], [], left)[0]:
                reply += line.read(4096)
            if len(reply) >= OVERHEAD_BYTES and reply[0] == request[0] and crc16(reply[:-2]) == reply[-2:]:
                return reply[1:-2]
        return bytes((request[1] | 0x80, NO_TARGET))
