"""The frames of a live link, for as long as somebody looks; passwords and keys are masked before they are kept."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

LOOK_SECONDS = 10.0  # without another look the tap closes
MOST_FRAMES = 200

SECRETS = ("PW", "NewPW", "NewSK")
# A password may hold a comma or an &, and senders put spaces around =.  In the data area a comma ends a value.
_SECRET = re.compile(r"\b(PW\s*=)[^;]*?(?=;|&&|$)|\b((?:NewPW|NewSK)\s*=).*?(?=[;,]|&&|$)", re.ASCII | re.DOTALL)


def mask(text: str) -> str:
    """*text* with *** for the passwords and keys of the frames in it.

    >>> mask("PW=123456;CP=&&NewPW=654321&&")
    'PW=***;CP=&&NewPW=***&&'
    >>> mask("PW = a,b&c;CP=&&SKCreateTime=20260301120000,NewSK=a&b+0123456789ab;x=1&&")
    'PW =***;CP=&&SKCreateTime=20260301120000,NewSK=***;x=1&&'
    """
    return _SECRET.sub(r"\1\2***", text)


def shown(text: str) -> str:
    """*text* as it may stand on a terminal: what a far end sends moves no cursor.

    >>> shown("重启\\x1b[2J\\r")
    '重启\\\\x1b[2J\\\\r'
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


class Seen(NamedTuple):
    """One frame: which way it went ("out" or "in") and its text, what is no text as \\xNN."""

    number: int
    way: str
    text: str


class Tap:
    """Keeps the newest frames between two looks.

    >>> tap = Tap(lambda: 0.0)
    >>> tap.note("out", b"PW=123456;CN=2011")  # nobody looks
    >>> tap.look(0)
    []
    >>> tap.note("out", b"PW=123456;CN=2011")
    >>> [(seen.way, seen.text) for seen in tap.look(0)]
    [('out', 'PW=***;CN=2011')]
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._until = monotonic, float("-inf")
        self._seen: deque[Seen] = deque(maxlen=MOST_FRAMES)
        self._count = 0

    @property
    def watched(self) -> bool:
        """Whether somebody looks."""
        return self._monotonic() <= self._until

    def note(self, way: str, frame: bytes) -> None:
        """A frame went *way*; dropped unless somebody looks."""
        if not self.watched:
            self._seen.clear()
            return
        self._count += 1
        text = frame.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
        self._seen.append(Seen(self._count, way, shown(mask(text))))

    def look(self, after: int) -> list[Seen]:
        """The frames numbered above *after*; and go on noting."""
        self._until = self._monotonic() + LOOK_SECONDS
        return [seen for seen in self._seen if seen.number > after]
