"""While the disk refuses, platforms are told so all the same: by messages that no store holds.

A message is a row of the store before it is sent (station/outbox.py), so a station whose disk is full, read-only or
fails could say nothing of it until it works again.  This one thing goes past the store: that it refuses, with the
first commit that fails (within a minute: closing one is a commit), and that it takes again.  Each platform gets it in
the form it takes: an alarm named `store` where `alarm` is among its `kinds` and it has words for one, else a log text
of the logger where `site_info` is.  It has a number of its own from the reserve, as every message has.  What each
platform answered is an event, kept in memory with the readings and stored with them; sampling goes on meanwhile
(station/recorder.py).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from station.model import Kind, Record, Report

if TYPE_CHECKING:
    from datetime import datetime

    from station.engine import Engine
    from station.sender import Sender

log = logging.getLogger(__name__)

LONGEST = 200  # characters of the reason


class Unstored:
    """Tells the platforms of *engine* what it cannot store; loaded while the disk still works."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told = False
        for sender in self._takers():
            self._worded(sender, engine.clock.now(), "refuses", "")  # what words it is loaded now, not from a bad disk

    def refuses(self, error: str) -> None:
        """A commit failed, the first one or one more."""
        if not self._told:
            self._told = True
            self._tell("refuses", error)

    def works(self, error: str) -> None:
        """A commit was made again, after *error*."""
        if self._told:
            self._told = False
            self._tell("works", error)

    def _takers(self) -> list[Sender]:
        return [one for one in self._engine.senders if one in self._engine.serving("alarm", "site_info")]

    def _tell(self, state: str, error: str) -> None:
        now = self._engine.time.now()
        for sender in self._takers():
            made = self._worded(sender, now, state, error)
            if made is not None:
                sender.outbox.tell_unstored(*made)
                self._engine.note("told_unstored", platform=sender.outbox.name, state=state, error=error[:LONGEST])

    def _worded(self, sender: Sender, now: datetime, state: str, error: str) -> tuple[Kind, str, datetime, str] | None:
        """Kind, point, moment and text of the message for one platform; None where it has no words for it."""
        name, said = sender.outbox.name, error[:LONGEST]
        begins = state == "refuses"
        alarm: dict[str, Any] = {
            "name": "store", "rule": "store", "state": "alarm" if begins else "normal",
            "before": "normal" if begins else "alarm", "cause": said, "parameter": "", "value": None,
        }  # fmt: skip
        text: dict[str, Any] = {"item": "logger_log", "value": f"store {state}: {said}", "parameters": [""]}
        for kind, body in ((Kind.ALARM, alarm), (Kind.SITE_INFO, text)):
            if sender not in self._engine.serving(kind.name.lower()):
                continue
            for point in self._engine.points_of(name)[:1]:
                record = self._engine.apart(Record(kind.name.lower(), now, body, point))
                made = sender.uplink.compose(Report(kind, point, record.at, record=record))
                if made is not None:
                    return kind, point, record.at, made
        return None
