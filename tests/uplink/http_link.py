"""A station's end of an HTTPS uplink, run in a thread against the emulated receiver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread
from typing import Any

from station.model import Average, ConfigError, Kind, Mark, Report
from station.parameters import catalogue
from uplink.base import Context, UplinkError
from uplink.http.link import HttpSettings, HttpUplink, PointSettings
from uplink.memory import MemoryCommands, MemoryOutbox

BEIJING = timezone(timedelta(hours=8))
START = datetime(2026, 3, 1, tzinfo=UTC)
SECRETS = {
    "access": "t0ken-of-the-site",
    "app_secret": "s3cret/of=the&site",
    "aes": "0123456789abcdef",
    "iv": "fedcba9876543210",
    "hmac": "sign-with-this",
    "proxy": "me:pr0xy-word",
}


def minute(number: int = 0, value: float = 35.04, kind: Kind = Kind.MINUTE) -> Report:
    """The *number*th minute of a point."""
    dust = Average("pm25", value, 30.0, 40.06, Mark.N, 12, 12, 12)
    values = (dust, Average("wind_speed", None, mark=Mark.B, expected=12))
    return Report(kind, "P1", START + timedelta(minutes=number), values)


class HttpLink:
    """One uplink with its outbox; `up()` serves in a thread, as station/sender.py does."""

    def __init__(self, url: str, folder: Path | None = None, files: dict[str, str] = SECRETS, **changes: Any):
        defaults: dict[str, Any] = {
            "name": "city",
            "protocol": "http",
            "plain": True,
            "point": (PointSettings(point="P1", device="D-1"),),
            "timeout_seconds": 5.0,
            "connect_seconds": 2.0,
        }
        self.settings = HttpSettings(**{**defaults, "url": url, **changes})

        def secret(name: str) -> str:
            if name not in files:
                raise ConfigError(f"{name}: the credential cannot be read (No such file or directory)")
            return files[name]

        self.context = Context(
            catalogue=catalogue(), zone=BEIJING, now=lambda: datetime.now(UTC), monotonic=time.monotonic,
            secret=secret, started=START, where=lambda name: (folder or Path()) / name,
        )  # fmt: skip
        self.outbox, self.errors = MemoryOutbox(), list[UplinkError]()
        self.start()

    def start(self) -> None:
        """An uplink that remembers nothing, as after a restart."""
        self.uplink = HttpUplink(self.settings, self.context, {})

    def add(self, count: int = 1, first: int = 0, value: float = 35.04) -> list[int]:
        """Commit minute records, one for each minute."""
        made = []
        for number in range(first, first + count):
            report = minute(number, value)
            text = self.uplink.compose(report)
            assert text is not None
            made.append(self.outbox.add(text, kind=report.kind, point=report.point, start=report.start))
        return made

    @contextmanager
    def up(self, again: bool = True) -> Iterator[Thread]:
        """Serve; after an error connect again at once, or not."""
        stop, end = Event(), time.monotonic() + 60

        def serve() -> None:
            while not stop.is_set() and time.monotonic() < end:
                try:
                    self.uplink.run(self.outbox, MemoryCommands(), stop)
                except (UplinkError, ConfigError) as error:
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
            thread.join(10)
            assert not thread.is_alive()

    def wait(self, holds: Any, seconds: float = 10) -> bool:
        """Wait until *holds* is true, and say whether it came to be."""
        end = time.monotonic() + seconds
        while not (true := holds()) and time.monotonic() < end:
            time.sleep(0.005)
        return bool(true)

    def drained(self, seconds: float = 10) -> bool:
        """Wait until nothing is owed."""
        return self.wait(lambda: not self.outbox.owed, seconds)

    def failed(self, seconds: float = 10) -> str:
        """The first error, waited for."""
        assert self.wait(lambda: self.errors, seconds)
        return str(self.errors[0])
