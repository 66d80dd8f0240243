"""What a platform is told while nothing can be stored: messages in memory, before all others, numbered below 0.

Only word of the disk itself goes this way (station/unstored.py).  A message lives until it was answered, refused or the
process ends; what became of it is an event, which is stored when the disk can be written again.
"""

from __future__ import annotations

from datetime import datetime

from station.model import Kind, Message

MOST = 8  # at once; the oldest gives way


class Volatile:
    """One platform's messages that no store holds; the outbox calls under its lock."""

    def __init__(self) -> None:
        self._count = 0
        self._messages: dict[int, Message] = {}
        self._flying: set[int] = set()
        self._aside: dict[int, int] = {}  # until when each that was not answered lets others pass, ms

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, kind: Kind, point: str, start: datetime, text: str) -> None:
        """One more to tell."""
        self._count -= 1
        self._messages[self._count] = Message(self._count, kind, point, start, 1, text)
        if len(self._messages) > MOST:
            self.settle(next(iter(self._messages)))

    def next(self, room: int, now_ms: int) -> list[Message]:
        """At most *room* that are not in flight nor aside at *now_ms*, oldest first."""
        found = [
            one for number, one in self._messages.items()
            if number not in self._flying and self._aside.get(number, now_ms) <= now_ms
        ][:room]  # fmt: skip
        self._flying.update(one.id for one in found)
        return found

    def settle(self, number: int) -> Message | None:
        """The platform has said something about *number*: it is not told again; None where that is not known."""
        self._flying.discard(number)
        self._aside.pop(number, None)
        return self._messages.pop(number, None)

    def step_aside(self, number: int, until_ms: int) -> None:
        """*number* was not taken: others pass it until then."""
        self._flying.discard(number)
        if number in self._messages:
            self._aside[number] = until_ms

    def back_to_earth(self) -> None:
        """The link is down or up anew: nothing is in flight."""
        self._flying.clear()
