"""What is on the line of a running station, for as long as somebody looks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from drivers.frames import is_sound
from drivers.port import Port

LOOK_SECONDS = 10.0  # without another look the tap closes
MOST_SEEN = 400


class Seen(NamedTuple):
    """Bytes in one go: *way* is "out" or "in", *at* is when they began, in seconds of the monotonic clock."""

    number: int
    at: float
    way: str
    data: bytes


class Tap:
    """Keeps the newest bytes between two looks; what came in one after the other is one.

    >>> now = [0.0]
    >>> tap = Tap(lambda: now[0])
    >>> tap.note("out", b"dropped: nobody looks")
    >>> tap.look(0)
    []
    >>> for way, data in (("out", b"ask"), ("in", b"an"), ("in", b"swer")):
    ...     tap.note(way, data)
    >>> [(seen.way, seen.data) for seen in tap.look(0)]
    [('out', b'ask')]
    >>> now[0] += 1; [(seen.way, seen.data) for seen in tap.look(1)]
    [('in', b'answer')]
    """

    def __init__(self, monotonic: Callable[[], float], idle: Callable[[], None] = lambda: None) -> None:
        self._monotonic, self._until = monotonic, float("-inf")
        self._idle = idle  # told, in the thread of whoever notes, that nobody looks any more
        self._seen: deque[Seen] = deque(maxlen=MOST_SEEN)
        self._count = 0
        self._last = float("-inf")  # when the newest bytes came

    @property
    def wanted(self) -> bool:
        """Whether somebody still looks."""
        return self._monotonic() <= self._until

    def note(self, way: str, data: bytes) -> None:
        """*data* went *way*; dropped unless somebody looks."""
        now = self._monotonic()
        if now > self._until:
            self._seen.clear()
            self._idle()
            return
        newest = self._seen[-1] if self._seen else None
        self._last = now
        if newest is not None and way == "in" == newest.way and not is_sound(newest.data):
            self._seen[-1] = newest._replace(data=newest.data + data)
            return
        self._count += 1
        self._seen.append(Seen(self._count, now, way, data))

    def look(self, after: int) -> list[Seen]:
        """What is numbered above *after* and whole by now; and go on noting."""
        now = self._monotonic()
        self._until = now + LOOK_SECONDS
        whole = list(self._seen)
        if whole and whole[-1].way == "in" and not is_sound(whole[-1].data) and now - self._last < 0.3:
            whole.pop()  # more may come
        return [seen for seen in whole if seen.number > after]


class TappedPort:
    """A port whose bytes are noted as they go through; everything else is *port*'s own affair."""

    def __init__(self, port: Port, note: Callable[[str, bytes], None]) -> None:
        self.__dict__.update(tapped=port, note=note)

    def read(self, size: int = 1, /) -> bytes:
        """Read, and note what came."""
        data = bytes(self.tapped.read(size))
        if data:
            self.note("in", data)
        return data

    def write(self, data: bytes, /) -> Any:
        """Note, and write."""
        self.note("out", bytes(data))
        return self.tapped.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tapped, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.tapped, name, value)
