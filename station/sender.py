"""One thread per uplink: serve the platform, back off while it cannot be reached."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from station.model import SHORT, ConfigError, StationError, StoreDamaged
from station.outbox import PlatformOutbox
from uplink.base import Backoff, Commands, Uplink, UplinkError

log = logging.getLogger(__name__)

TURN = 1.0


class Sender(Thread):
    """Owns one uplink; *note* records an event by its code."""

    def __init__(
        self,
        uplink: Uplink,
        outbox: PlatformOutbox,
        commands: Commands,
        stop: Event,
        beat: Callable[[], None],
        note: Callable[..., None],
        backoff: Backoff,
    ) -> None:
        super().__init__(name=f"uplink-{outbox.name}")
        self.uplink, self.outbox = uplink, outbox
        self._commands, self._stopping, self._beat, self._note = commands, stop, beat, note
        self._backoff = backoff
        self._down = False
        self.error = ""
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Serve until stopped; anything unforeseen is kept for the main thread, which ends the process."""
        try:
            while not self._stopping.is_set():
                self.serve()
        except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
            self.failed = error

    def serve(self) -> None:
        """One connection, from its making to its end, and the wait after it."""
        before = self.outbox.progress
        try:
            self.uplink.run(self.outbox, self._commands, self._stopping)
        except StoreDamaged:
            raise
        except (UplinkError, ConfigError, OSError) as error:  # a credential or a disk may vanish, and come back
            if not isinstance(error, StationError) and error.errno not in SHORT:
                raise
            if self.outbox.progress > before:
                self._down = False  # it worked in between; a link that comes up and carries nothing is still down
            if not self._down:
                log.warning("platform %s: %s", self.outbox.name, error)
                self._note("link_down", platform=self.outbox.name, error=str(error))
            self._down, self.error = True, str(error)
        finally:
            self.outbox.disconnected()
        if self.outbox.progress > before:
            self._backoff.reset()
        self._rest(next(self._backoff))

    def _rest(self, seconds: float) -> None:
        while seconds > 0 and not self._stopping.is_set():
            self._beat()
            self._stopping.wait(min(TURN, seconds))
            seconds -= TURN
