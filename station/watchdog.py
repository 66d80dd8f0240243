"""Heartbeats: systemd is told that the station lives only while every one of its threads does."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from threading import Lock


class Heartbeat:
    """One thread's sign of life; *limit_seconds* is the longest it may be silent."""

    def __init__(self, name: str, limit_seconds: float, monotonic: Callable[[], float]) -> None:
        self.name, self.limit_seconds = name, limit_seconds
        self._monotonic = monotonic
        self._last = monotonic()

    def beat(self) -> None:
        """Say that the thread has come round."""
        self._last = self._monotonic()

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last beat."""
        return self._monotonic() - self._last


class Watchdog:
    """Feeds systemd's watchdog while all heartbeats are in time."""

    def __init__(self, monotonic: Callable[[], float], notify: Callable[[str], None]) -> None:
        self._monotonic, self._notify = monotonic, notify
        self._hearts: list[Heartbeat] = []
        self._lock = Lock()
        self._last_fed = monotonic()
        usec = int(os.environ.get("WATCHDOG_USEC", "0") or 0)
        self._every = usec / 1e6 / 3 if usec else None

    def heart(self, name: str, limit_seconds: float) -> Heartbeat:
        """A heartbeat for the thread *name*."""
        heart = Heartbeat(name, limit_seconds, self._monotonic)
        with self._lock:
            self._hearts.append(heart)
        return heart

    def silent(self) -> list[str]:
        """Names of the threads that are over their limit."""
        with self._lock:
            return [h.name for h in self._hearts if h.silent_seconds > h.limit_seconds]

    def feed(self) -> bool:
        """Tell systemd that all is well, if it is and a third of its time has passed; true if told."""
        if self._every is None or self.silent():
            return False
        now = self._monotonic()
        if now - self._last_fed < self._every:
            return False
        self._last_fed = now
        self._notify("WATCHDOG=1")
        return True


def notify(state: str) -> None:
    """Send *state* to systemd's notification socket, if there is one (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return  # the supervisor went away; it will see that by itself
