"""An emulated gpsd on a loopback port, with what receivers and daemons do wrong."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Condition, Thread
from typing import Any

ROLLOVER = timedelta(weeks=1024)
FAULTS = ("", "silent", "rubbish", "huge_line", "no_fix", "two_d", "week_rollover", "jump")
BANNER = {"class": "VERSION", "release": "3.22", "rev": "3.22", "proto_major": 3, "proto_minor": 14}
FAR_DEGREES = 0.5


class EmulatedGpsd:
    """Says on `report()` where it is and when; *fault* is one of FAULTS from the next report on."""

    def __init__(self, latitude: float = 31.2304, longitude: float = 121.4737, port: int = 0) -> None:
        self.latitude, self.longitude, self.error_m, self.hdop = latitude, longitude, 4.0, 0.9
        self.fault = ""
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._peers: list[socket.socket] = []
        self._changed = Condition()
        Thread(target=self._serve, daemon=True).start()

    def report(self, time: datetime) -> None:
        """One SKY and one TPV to everybody who watches, as of *time*."""
        if self.fault == "silent":
            return
        if self.fault == "rubbish":
            self._send(b'\xff\x00{"class":\n[]\n{"class":"TPV","mode":"3"}\n')
            return
        if self.fault == "huge_line":
            self._send(b"x" * 100_000)
            return
        self._send(_line({"class": "SKY", "hdop": self.hdop}) + _line(self._tpv(time)))

    def _tpv(self, time: datetime) -> dict[str, Any]:
        if self.fault == "week_rollover":
            time -= ROLLOVER
        mode = {"no_fix": 1, "two_d": 2}.get(self.fault, 3)
        said: dict[str, Any] = {"class": "TPV", "device": "/dev/ttyAMA0", "mode": mode}
        said["time"] = time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if mode > 1:
            far = FAR_DEGREES if self.fault == "jump" else 0.0
            said |= {"lat": self.latitude + far, "lon": self.longitude, "eph": self.error_m}
        return said

    def watched(self, seconds: float = 5.0) -> bool:
        """Wait until somebody watches."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._peers), seconds)

    def restart(self) -> None:
        """Hang up on everybody, as gpsd does when it is started again."""
        with self._changed:
            for peer in self._peers:
                peer.close()
            self._peers = []

    def close(self) -> None:
        """End."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.restart()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
                peer.settimeout(5)
                peer.sendall(_line(BANNER))
                peer.recv(1024)  # ?WATCH
            except OSError:
                if self._listener.fileno() < 0:
                    return
                continue
            with self._changed:
                self._peers.append(peer)
                self._changed.notify_all()

    def _send(self, some: bytes) -> None:
        with self._changed:
            for peer in list(self._peers):
                try:
                    peer.sendall(some)
                except OSError:
                    peer.close()
                    self._peers.remove(peer)


def _line(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode("ascii") + b"\r\n"
