"""What the page may know: the database, read only, and what the running station answers.

Nothing here can write: the file is opened with mode=ro and the connection is query_only.  What a person does goes
through the station's control socket, which checks it and keeps it as from any other tool.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from sqlite3 import Connection
from threading import Lock
from typing import Any

from station.command_line import SYSTEM_SOCKET
from station.config import Loaded
from station.control import ControlRefused, NotRunning, ask
from station.model import StoreError
from station.page.settings import PageSettings
from station.store import Store, connect
from station.texts import SYSTEM_CONFIG

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0  # several people who look at once are told the same
PATIENCE = 10.0  # seconds that a page waits for the station's answer
LONGEST_NOTE = 200  # characters of a text in an event of the page


class Source:
    """The station *loaded*, for whoever makes a view of it; safe to use from several threads."""

    def __init__(
        self, loaded: Loaded, sockets: tuple[Path, ...] = (), now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.loaded, self.now = loaded, now
        self.settings: PageSettings = loaded.config.page or PageSettings()
        self.zone: tzinfo = loaded.zone
        # The page's unit has a runtime folder of its own, if any: that of the station's unit is known by name.
        self._sockets = sockets or (loaded.control_socket, *[SYSTEM_SOCKET] * (loaded.path == SYSTEM_CONFIG))
        self._lock = Lock()
        self._status: tuple[float, dict[str, Any]] | None = None
        self.point_names = {point.code: point.name for point in loaded.config.point}

    @property
    def sockets(self) -> tuple[Path, ...]:
        """Where a running station may listen, in the order in which it is asked for."""
        return self._sockets

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A read-only connection of its own to the database; raise StoreError where there is none.

        Hold it for one answer and no longer: the station cannot fold its log past an open transaction.
        """
        if not self.loaded.database.exists():
            raise StoreError(f"{self.loaded.database}: is not there yet; start the station first: station run --config")
        with closing(self._open()) as db:
            db.execute("PRAGMA query_only=1")
            yield db

    def _open(self) -> Connection:
        """Through the log's index where the folder may not be written; after a stop in order there is no log at all."""
        database = self.loaded.database
        try:
            return connect(database, read_only=True)
        except StoreError:
            if database.with_name(f"{database.name}-wal").exists():
                raise
            return connect(database, read_only=True, immutable=True)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The same as a Store, for what reads through one."""
        with self.connection() as db:
            yield Store(db, str(self.loaded.database))

    def ask(self, verb: str, **arguments: Any) -> Any:
        """What the running station answers; raise NotRunning or ControlRefused."""
        for socket in self._sockets[:-1]:
            try:
                return ask(socket, verb, timeout=PATIENCE, **arguments)
            except NotRunning:
                continue
        return ask(self._sockets[-1], verb, timeout=PATIENCE, **arguments)

    def status(self) -> dict[str, Any]:
        """How the station is, at most a second old: from the running one, else what the database says.

        What took long to come is good for as long: else each who asks would wait for a station that hangs, one after
        the other, until nobody is served.
        """
        with self._lock:
            if self._status is None or time.monotonic() > self._status[0]:
                began = time.monotonic()
                found, now = self._look(), time.monotonic()
                self._status = (now + max(FRESH_SECONDS, now - began), found)
            return self._status[1]

    def forget_status(self) -> None:
        """Look anew the next time: something was just done."""
        with self._lock:
            self._status = None

    def _look(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.ask("status")
        except (NotRunning, ControlRefused) as error:
            from station.status import stored

            with self.store() as store:
                found = stored(store, self.now())
            found |= {"station": self.loaded.config.station.name, "why": str(error)}
        return found

    def tell(self, do: str, person: str, **more: Any) -> bool:
        """Put on record that *person* did *do* at the page (an event); False where no station runs that keeps it."""
        fields: Mapping[str, Any] = {key: str(value)[:LONGEST_NOTE] for key, value in more.items()}
        try:
            self.ask("page", fields={**fields, "do": do, "user": person})
        except (NotRunning, ControlRefused) as error:
            log.warning("%s by %s is not on record: %s", do, person, error)
            return False
        return True
