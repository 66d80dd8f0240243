"""A station's end of a link, run in a thread against whatever listens."""

import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from threading import Event, Thread

import pytest

from station.model import ConfigError
from station.parameters import catalogue
from uplink.base import Context, UplinkError
from uplink.hj212.link import Hj212Settings, Hj212Uplink, PointSettings
from uplink.memory import MemoryCommands, MemoryOutbox

MN = "0A1B2C3D4E5F60718293A4B5"
SECRETS = {"pw": "123456\n"}  # what credential files hold
BEIJING = timezone(timedelta(hours=8))


class Files(dict):
    """Credential files; one that is missing is a ConfigError, as in the station."""

    def __missing__(self, name):
        raise ConfigError(f"there is no file {name}")


class Link:
    """One uplink with its outbox and its desk; `up()` serves in a thread, as station/sender.py does."""

    def __init__(self, port, systems=None, folder=None, trusted=True, **changes):
        self.trusted = trusted
        defaults = {
            "name": "city",
            "standard": "2017",
            "host": "127.0.0.1",
            "password_file": "pw",
            "point": (PointSettings(point="P1", mn=MN),),
            "spacing_seconds": 0.0,
            "timeout_seconds": 0.3,
            "resends": 2,
        }
        self.settings = Hj212Settings(**{**defaults, "port": port, **changes})
        context = Context(
            catalogue=catalogue(),
            zone=BEIJING,
            now=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            secret=Files(SECRETS).__getitem__,
            started=datetime(2026, 3, 1, tzinfo=UTC),
            folder=folder,
            trusted=lambda: self.trusted,
        )
        self.uplink = Hj212Uplink(self.settings, context, systems or {"P1": "22", "P2": "32"})
        self.outbox, self.commands = MemoryOutbox(), MemoryCommands()
        self.errors = []

    def add(self, count=1, first=0, **rest):
        """Commit minute records, one for each DataTime."""
        return [
            self.outbox.add(f"DataTime=202603010{8 + n // 60}{n % 60:02d}00;a01001-Avg=21.5,a01001-Flag=N", **rest)
            for n in range(first, first + count)
        ]

    @contextmanager
    def up(self, again=True):
        """Serve; after an error connect again at once, or not."""
        stop, end = Event(), time.monotonic() + 30

        def serve():
            while not stop.is_set() and time.monotonic() < end:
                try:
                    self.uplink.run(self.outbox, self.commands, stop)
                except UplinkError as error:
                    self.errors.append(error)
                    if not again:
                        return
                    stop.wait(0.02)

        thread = Thread(target=serve)
        thread.start()
        try:
            yield thread
        finally:
            stop.set()
            self.outbox.ring()
            thread.join(5)
            assert not thread.is_alive()

    def wait(self, holds, seconds=5):
        """Wait until *holds* is true, and say whether it came to be."""
        end = time.monotonic() + seconds
        while not (true := holds()) and time.monotonic() < end:
            time.sleep(0.005)
        return bool(true)

    def drained(self, seconds=5):
        return self.wait(lambda: not self.outbox.owed, seconds)


@pytest.fixture
def link():
    """A maker of links, whose outboxes are closed afterwards."""
    made = []

    def make(port, **changes):
        made.append(Link(port, **changes))
        return made[-1]

    yield make
    for each in made:
        each.outbox.close()
