"""Where the live screen has its figures from: the running station, else its database; in a thread of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from station.command_line import ask_station
from station.control import ControlRefused
from station.i18n import t
from station.model import StationError, StoreError, dataclass

if TYPE_CHECKING:
    from station.config import Loaded

PATIENCE = 5.0  # seconds that a running station may take to say how it is
ACTION_PATIENCE = 30.0  # seconds for what has to be committed, or read from an instrument
STORED_EVERY = 10.0  # seconds; while no station runs its database says nothing new


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look brought: what was found, or why nothing new was."""

    found: Mapping[str, Any] | None
    trouble: str
    at: float  # monotonic, s


@dataclass(frozen=True, slots=True)
class Done:
    """What came of something a person asked for, in a sentence or several; *samples* of a reading."""

    text: str
    samples: list[dict[str, Any]] | None = None


class Source:
    """Asks the station of *loaded*; while none runs, reads its database, at most every STORED_EVERY seconds."""

    def __init__(self, loaded: Loaded, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._loaded, self._monotonic = loaded, monotonic
        self._stored: Looked | None = None

    def look(self) -> Looked:
        """How the station stands; an error of ours is a trouble that is shown, since the next look may do better."""
        try:
            found = ask_station(self._loaded, "status", timeout=PATIENCE)
        except ControlRefused as error:
            return Looked(None, str(error), self._monotonic())
        if found is not None:
            self._stored = None
            return Looked(found, "", self._monotonic())
        if self._stored is None or self._monotonic() - self._stored.at >= STORED_EVERY:
            self._stored = self._read()
        return self._stored

    def _read(self) -> Looked:
        from station.status import stored
        from station.store import Store, connect

        path = self._loaded.database
        if not path.exists():
            return Looked(None, t("live.nothing_yet", path=path), self._monotonic())
        try:
            with closing(Store(connect(path, read_only=True), str(path))) as store:
                found = stored(store, datetime.now(UTC)) | self._alarms(store)
        except StoreError as error:
            return Looked(None, str(error), self._monotonic())
        return Looked(found, "", self._monotonic())

    def _alarms(self, store: Any) -> dict[str, Any]:
        from station.alarming import as_left

        rows = as_left(store, self._loaded.config, self._loaded.folder)
        return {"alarms": rows} if rows else {}

    def ask(self, verb: str, say: Callable[[Any], Done], **arguments: Any) -> Done:
        """Have the running station do something; what it refuses is said in its words."""
        try:
            answer = ask_station(self._loaded, verb, timeout=ACTION_PATIENCE, **arguments)
        except StationError as error:
            return Done(str(error))
        return Done(t("live.not_running")) if answer is None else say(answer)


class Desk:
    """Looks every so many seconds and does what is asked in between, so that no key is ever kept waiting."""

    def __init__(self, look: Callable[[], Looked], every: float, wake: Callable[[], None]) -> None:
        self._look, self._every, self._wake = look, every, wake
        self._jobs: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self.outcomes: deque[Looked | Done | Exception] = deque()
        self._thread = Thread(target=self._work, name="live", daemon=True)  # a station that hangs is not waited for

    def start(self) -> None:
        """Begin with a look."""
        self._thread.start()

    def do(self, job: Callable[[], Done]) -> None:
        """Have *job* done next, and a look after it."""
        self._jobs.put(job)

    def _work(self) -> None:
        due = time.monotonic()
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, due - time.monotonic()))
                due = 0.0
            except Empty:
                job, due = self._look, time.monotonic() + self._every
            try:
                self.outcomes.append(job())
            except Exception as error:  # noqa: BLE001 - the screen raises it, with the terminal put right
                self.outcomes.append(error)
            self._wake()
