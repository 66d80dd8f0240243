"""What stands beside measuring and reporting: a modem, a screen, a sampler, cameras, the supply, a position.

Each is a table of station.toml and a module that is loaded with the first of it, with a thread of its own.  None may
be in the way of acquisition or of a platform: what fails is told once, tried again with growing pauses and shown in
status; what is silent for long is shown as silent.  Neither ends the station, which is why none has a watchdog's heart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast

from station.config import BESIDE
from station.loader import Fault
from station.model import StationError

if TYPE_CHECKING:
    from station.config import Config
    from station.engine import Engine

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 600.0  # seconds between two tries of what fails
FLAPS, FLAP_SECONDS = 3, 3600.0  # told so often within so long, it comes and goes, and that is told once
STEADY_SECONDS = 600.0  # well for so long, it comes and goes no more


class Beside(Thread):
    """One thing beside the station; a subclass says what a *turn* is.

    *table* is its table of station.toml, *name* what it is called there.  Anything a turn raises is told as
    `beside_failed` once, with the reason, and `beside_well` when a turn succeeds again.
    """

    def __init__(self, engine: Engine, table: str, name: str) -> None:
        super().__init__(name=f"{table} {name}".strip(), daemon=True)
        self.engine, self.table, self.called = engine, table, name
        self.failed: BaseException | None = None  # never set: nothing here ends the station
        self.complaint, self.pause = "", 0.0
        self._over, self._asked = Event(), Event()
        self._turn_began: float | None = None
        self._fault_times: list[float] = []  # when a fault was told
        self._comes_and_goes, self._without_fault_since = False, cast("float | None", None)

    def turn(self) -> float:
        """Do what is due; seconds until the next look, unless asked before."""
        raise NotImplementedError

    def more(self) -> dict[str, Any]:
        """What status shows beside the name, the complaint and for how long a turn has been silent.

        *words* of it ({key: value}) stand on the screen, worded by beside_more.KEY of the locales.
        """
        return {}

    def close(self) -> None:
        """Give up what is held; called in the thread, at its end."""

    def run(self) -> None:
        """Take turns until stopped."""
        try:
            while self.running:
                wait = self._one_turn()
                self._asked.wait(wait)
                self._asked.clear()
        finally:
            self.close()

    def _one_turn(self) -> float:
        self._turn_began = self.engine.clock.monotonic()
        try:
            wait = self.turn()
        except Exception as error:  # noqa: BLE001 - nothing beside the station may end it
            if not self.running:
                return 0.0
            self.pause = min(max(FIRST_PAUSE, 2 * self.pause), LONGEST_PAUSE)
            if not self.complaint:
                self._tell_failed(error)
            self.complaint = str(error) or type(error).__name__
            return self.pause
        finally:
            self._turn_began = None
        self._tell_well()
        self.complaint, self.pause = "", 0.0
        return wait

    def _tell_failed(self, error: Exception) -> None:
        """The beginning of a fault, and at the third within an hour that it comes and goes."""
        self._without_fault_since = None
        if self._comes_and_goes:
            return
        now = self.engine.clock.monotonic()
        self._fault_times = [at for at in self._fault_times if now - at < FLAP_SECONDS] + [now]
        self._comes_and_goes = len(self._fault_times) >= FLAPS
        log.warning("%s: %s", self.name, error, exc_info=not isinstance(error, StationError | OSError))
        reason = f"{error} (it comes and goes)" if self._comes_and_goes else str(error)
        self.engine.note("beside_failed", what=self.name, reason=reason)

    def _tell_well(self) -> None:
        """The end of a fault; of what comes and goes only when it has been well for a while."""
        now = self.engine.clock.monotonic()
        if not self._comes_and_goes:
            if self.complaint:
                self.engine.note("beside_well", what=self.name)
            return
        if self._without_fault_since is None:
            self._without_fault_since = now
        elif now - self._without_fault_since >= STEADY_SECONDS:
            self._comes_and_goes, self._fault_times = False, []
            self.engine.note("beside_well", what=self.name)

    def ask(self) -> None:
        """Take the next turn now; from any thread, never blocks."""
        self._asked.set()

    def wake(self) -> None:
        """Stop soon."""
        self._over.set()
        self._asked.set()

    @property
    def running(self) -> bool:
        """Whether it is not to stop; a long turn looks now and then."""
        return not self._over.is_set()

    def sleep(self, seconds: float) -> bool:
        """Wait within a turn; whether it still runs."""
        return not self._over.wait(seconds)

    def shown(self) -> dict[str, Any]:
        """How it stands, for status."""
        began = self._turn_began
        silent = 0 if began is None else round(self.engine.clock.monotonic() - began)
        return {"table": self.table, "name": self.called, "error": self.complaint, "silent": silent, **self.more()}


def _configured(config: Config) -> Iterator[Any]:
    for table in config.beside:
        yield import_module(BESIDE[table])


def make(engine: Engine) -> tuple[Beside, ...]:
    """Everything beside the station that station.toml names."""
    return tuple(one for module in _configured(engine.config) for one in module.make(engine))


def faults(config: Config, folder: Any) -> Iterator[Fault]:
    """What is wrong across their tables."""
    for module in _configured(config):
        yield from module.faults(config, folder)
