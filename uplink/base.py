"""What every uplink promises, what it is given, and how the way to a platform fails.

* UplinkError
  * LinkDown               the connection cannot be made, or broke
    * NotAcknowledged      the platform stopped answering, so the link counts as broken
  * Refused                the platform answered and said no
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from threading import Event
from typing import Protocol

from station.model import Command, Lane, Message, Parameter, Report, Result, StationError, dataclass, setting


class UplinkError(StationError):
    """Base of what goes wrong between the station and a platform."""

    exit_code = 69  # EX_UNAVAILABLE


class LinkDown(UplinkError, ConnectionError):
    """Error raised when a platform cannot be reached, or the connection broke."""


class NotAcknowledged(LinkDown, TimeoutError):
    """Error raised when a platform stopped answering; the connection is given up."""


class Refused(UplinkError):
    """Error raised when a platform answered and said no."""


class Outbox(Protocol):
    """One platform's view of what awaits an answer.  Only committed messages are ever seen."""

    def connected(self) -> None:
        """Say that the link is up: what waits is backlog from here on, what is committed later is live."""

    def next(self, lane: Lane, room: int) -> Sequence[Message]:
        """At most *room* messages of *lane* that were not handed out since the link came up, oldest first."""

    def answered(self, ids: Iterable[int], *, confirmed: bool = True) -> None:
        """The platform has these; *confirmed* is false where only TCP said so (ack = "none")."""

    def refused(self, message_id: int, reason: str) -> None:
        """The platform said no; the message is tried again later, and parked after too many tries."""

    def unanswered(self, message_id: int) -> None:
        """The link is given up because this message got no answer; it may step aside for the rest."""

    def park(self, message_id: int, reason: str) -> None:
        """The platform will never take this message as it is: it is given up, counted, until somebody resends it."""

    def later(
        self, ids: Sequence[int], seconds: float, reason: str, *, hold: bool = False, refused: bool = False
    ) -> None:
        """These are owed again from *seconds* on, kept over a restart.

        With *hold* the whole platform rests until then; *refused* says that it said no to them, which status shows.
        """

    def held(self) -> float:
        """Seconds the whole platform rests still, 0 when it may be asked."""

    def number(self, at_least: int) -> int:
        """A number not below *at_least* that this platform was never given, also after a crash."""

    def wait(self, seconds: float) -> bool:
        """Wait until something was committed, at most *seconds*; true if so.  Clears fileno()."""

    def fileno(self) -> int:
        """A descriptor that is readable when something was committed, for select()."""


class Commands(Protocol):
    """Where an uplink hands the verbs a platform sends."""

    def refusal(self, command: Command) -> str | None:
        """Why *command* is not carried out for this platform, or None if it will be."""

    def submit(self, command: Command, answer: Callable[[Result], None]) -> None:
        """Carry out *command*; *answer* is called once, from any thread, at once or later."""


ALLOWABLE = (  # groups of verbs, station/commands.py; every one is off until a platform is given it
    "set_clock",
    "set_interval",
    "set_timeouts",
    "set_password",
    "reporting",
    "calibrate",
    "check",
    "sample",
    "clean",
    "set_parameter",
    "maintenance",
    "set_key",
    "set_mn",
    "tunnel",
)


PERIODIC = ("realtime", "minute", "hour", "day")
# What happens, from records of that name (station/records.py).  Off unless named: a platform that does not know one
# may refuse it or fall silent, and no generation makes one a duty as far as we have read.
EVENTS = (
    "raw", "equipment", "equipment_hours", "noise", "check", "kept_sample", "identity", "site_info", "alarm",
    "seal_head", "snapshot",
)  # fmt: skip
FURNACE = "furnace"  # the five-minute mean of 2025 (B), a duty of waste incinerators alone


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkSettings:
    """The keys every [[uplink]] table has; a protocol's Settings adds its own."""

    name: str = setting(text="what the platform is called in logs and on screens")
    protocol: str = setting("hj212", text="how it is spoken to (uplink/__init__.py)")
    realtime_seconds: int = setting(
        60, low=5, high=3600, text="interval of real-time data; the standard allows 30 to 3600"
    )
    reconnect_seconds: int = setting(
        300, low=1, high=3600, text="longest pause between two tries to connect; they start at 1 s, drawn by chance"
    )
    kinds: tuple[str, ...] = setting(PERIODIC, choices=(*PERIODIC, *EVENTS, FURNACE), text="which records are reported")
    backlog_kinds: tuple[str, ...] = setting(
        PERIODIC,
        choices=PERIODIC,
        text="which records are re-supplied after an outage; the others are dropped, counted",
    )
    equipment_seconds: int = setting(
        0, low=0, high=3600, text="interval at which equipment status is told again; 0 tells changes alone"
    )
    revisions: bool = setting(
        True,
        text="whether a period that late data changed is reported again; what was not there yet is told either way",
    )
    indicative: bool = setting(
        False, text="whether values reckoned from others, such as Leq from slow readings, are reported too"
    )
    maintenance_person: str = setting(
        "", text="who answers for maintenance it switches on; nothing is marked until somebody signs when empty"
    )
    allow: tuple[str, ...] = setting(
        (), choices=ALLOWABLE, text="what this platform may change; reading is always allowed"
    )

    def faults(self, catalogue: Mapping[str, Parameter]) -> Iterable[tuple[str, str]]:
        """What only shows against the *catalogue*, as (key path, sentence)."""
        return ()


def _unnoted(code: str, /, **fields: object) -> None:
    """Record nothing: an uplink without a station."""


def _no_still(file: str, sha256: str) -> bytes:
    return b""


def _as_written(name: str) -> Path:
    return Path(name)


def _trusted() -> bool:
    return True


def _nothing_remembered(platform: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the station lends an uplink: its words, its zone, its clocks and its secrets."""

    catalogue: Mapping[str, Parameter]
    zone: tzinfo
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    secret: Callable[[str], str]  # the text of a credential file named in the settings
    started: datetime  # when this run of the station began
    trusted: Callable[[], bool] = _trusted  # whether somebody vouches for the time
    note: Callable[..., None] = _unnoted  # records an event by its code
    remembered: Callable[[str], Mapping[str, str]] = _nothing_remembered  # what the platform named has set
    where: Callable[[str], Path] = _as_written  # where a file named in the settings lies
    still: Callable[[str, str], bytes] = _no_still  # a camera's picture by its file and SHA-256, or nothing
    folder: Path | None = None  # where an uplink may keep what a platform gave it: a key, an MN


class Uplink(Protocol):
    """Carries one platform's messages and brings its commands."""

    def compose(self, report: Report) -> str | None:
        """The text this platform will get for *report*, digits frozen; None if it takes no such report."""

    def run(self, outbox: Outbox, commands: Commands, stop: Event) -> None:
        """Serve the platform until *stop* is set.

        Raise UplinkError when the link is down: the caller backs off and calls again.
        """


class Backoff:
    """Exponential back-off with full jitter: uniform between 0 and a limit that doubles up to *longest*.

    >>> waits = Backoff(first=1, longest=300, uniform=lambda low, high: high)
    >>> [next(waits) for _ in range(10)]
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    >>> waits.reset(); next(waits)
    1
    """

    def __init__(
        self,
        first: float = 1.0,
        longest: float = 300.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first, self._longest, self._uniform = first, longest, uniform
        self._limit = first

    def __next__(self) -> float:
        limit = self._limit
        self._limit = min(self._longest, limit * 2)
        return self._uniform(0, limit)

    def reset(self) -> None:
        """Start again from the first limit, after a good answer."""
        self._limit = self._first
