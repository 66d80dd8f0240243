"""Commands from a topic: read, held against what may not be, handed to the desk, answered on the reply topic.

A command is JSON: {"format":"niutang-command-1","id":...,"verb":...,"issued":...,"point":...,"arguments":{...}}.  Each
one needs an id that was never used and says when it was issued, also where only something is read; the desk
(station/commands.py) judges right, age, repetition and rate as for HJ 212.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from station.model import Command, Outcome, Result
from uplink.base import Commands

if TYPE_CHECKING:
    from uplink.mqtt.link import MqttUplink

_log = logging.getLogger(__name__)

FORMAT = "niutang-command-1"
REPLY = "niutang-reply-1"
LARGEST = 16 * 1024  # bytes of a command
MOST_PENDING = 16
MOST_REPLIES = 64  # kept for a command that comes again word for word
MOST_CORRELATION = 256
TELL_SECONDS = 60.0
MOST_TOLD = 64
# What has its place in HJ 212 alone: its credentials and time-outs, and records sent again under a QN.
ELSEWHERE = frozenset({"set_password", "set_key", "set_mn", "set_timeouts", "recall"})
KEYS = frozenset({"format", "id", "verb", "issued", "point", "arguments"})


class WrongCommand(Exception):
    """A message on the command topic is none; the text says why."""


class Mailbox:
    """Results on their way from any thread to the session's; once closed it swallows them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._bell: int | None = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._results: deque[tuple[Any, Result]] = deque()

    def post(self, asked: Any, result: Result) -> None:
        """Leave *result* and wake the session."""
        with self._lock:
            if self._bell is not None:
                self._results.append((asked, result))
                os.eventfd_write(self._bell, 1)

    def take(self) -> list[tuple[Any, Result]]:
        """What was left since the last time."""
        with self._lock:
            if self._results and self._bell is not None:
                os.eventfd_read(self._bell)
            taken, self._results = list(self._results), deque()
        return taken

    def fileno(self) -> int:
        """Readable while something waits."""
        assert self._bell is not None
        return self._bell

    def close(self) -> None:
        """Swallow what comes from now on."""
        with self._lock:
            if self._bell is not None:
                os.close(self._bell)
            self._bell = None


def read(payload: bytes, platform: str) -> Command:
    """The command in *payload*; raise WrongCommand with what is wrong.

    >>> said = '{"format":"niutang-command-1","id":"7","verb":"read_clock","issued":"2026-03-01T08:00:00+08:00"}'
    >>> read(said.encode(), "city").verb
    'read_clock'
    """
    if len(payload) > LARGEST:
        raise WrongCommand(f"the command has more than {LARGEST >> 10} KiB")
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError):
        raise WrongCommand("the command is no JSON") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise WrongCommand(f"the command is no {FORMAT}")
    if odd := sorted(set(data) - KEYS):
        raise WrongCommand(f"the command has a key {odd[0][:40]!a} that is not known")
    texts = {key: data.get(key, "") for key in ("id", "verb", "issued")}
    for key, text in texts.items():
        if not isinstance(text, str) or not 0 < len(text) <= 64 or not text.isprintable():
            raise WrongCommand(f"{key} is not a text of 1 to 64 printable characters")
    point, arguments = data.get("point"), data.get("arguments", {})
    if point is not None and not isinstance(point, str):
        raise WrongCommand("point is no text")
    if not isinstance(arguments, dict) or not all(isinstance(one, str) for one in arguments.values()):
        raise WrongCommand("arguments is no table of texts")
    try:
        issued = datetime.fromisoformat(texts["issued"])
    except ValueError:
        raise WrongCommand("issued is no time such as 2026-03-01T08:00:00+08:00") from None
    if issued.tzinfo is None:
        raise WrongCommand("issued has no offset from UTC")
    return Command(texts["verb"], platform, point, arguments, f"mqtt:{texts['id']}", issued)


class Asking:
    """Judges what comes on the command topic; *reply* sends a payload with the correlation data of its request."""

    def __init__(self, uplink: MqttUplink, commands: Commands, reply: Callable[[str, bytes], None]) -> None:
        self._uplink, self._commands, self._reply = uplink, commands, reply
        self._points = {one.point for one in uplink.settings.point}
        self._mailbox = Mailbox()
        self._pending = 0
        self._untold: Counter[tuple[str, str]] = Counter()
        self._tell_at = uplink.context.monotonic() + TELL_SECONDS

    def fileno(self) -> int:
        """Readable while a result waits."""
        return self._mailbox.fileno()

    def close(self) -> None:
        """Nobody hears results any more."""
        self._tell(now=True)
        self._mailbox.close()

    def asked(self, message: Any) -> None:
        """One message of the command topic (a paho MQTTMessage)."""
        self._uplink.counts["commands"] += 1
        self._uplink.tap.tell("in", "PUBLISH command", {}, bytes(message.payload[:LARGEST]).decode("utf-8", "replace"))
        if message.retain:  # the broker's memory of an old one: it would come at every connection
            self._count("", "a retained message is no command; publish it without retain")
            return
        correlation = bytes(getattr(message.properties, "CorrelationData", b"") or b"")[:MOST_CORRELATION]
        try:
            command = read(bytes(message.payload), self._uplink.settings.name)
        except WrongCommand as fault:
            self._count("", str(fault))
            self._answer("", "", Result(Outcome.REFUSED, reason=str(fault)), correlation)
            return
        word = repr((command, correlation))
        if (before := self._uplink.replies.get(word)) is not None:  # QoS 1 may bring it twice
            self._uplink.counts["repeated commands"] += 1
            if before:
                self._reply(before, correlation)
            return
        if reason := self._against(command):
            self._count(command.verb, reason)
            self._done((command, correlation), Result(Outcome.REFUSED, reason=reason), counted=False)
            return
        self._pending += 1
        self._remember(word, "")
        self._commands.submit(command, partial(self._mailbox.post, (command, correlation)))

    def _against(self, command: Command) -> str:
        if command.verb in ELSEWHERE:
            return f"{command.verb} is not taken over MQTT"
        if command.point is not None and command.point not in self._points:
            return "point is not one that is reported here"
        return "too many commands are being carried out" if self._pending >= MOST_PENDING else ""

    def results(self) -> None:
        """Answer what was done since the last time."""
        for asked, result in self._mailbox.take():
            self._done(asked, result)
        self._tell()

    def _done(self, asked: tuple[Command, bytes], result: Result, *, counted: bool = True) -> None:
        command, correlation = asked
        self._pending -= counted
        text = self._answer(command.identity.removeprefix("mqtt:"), command.verb, result, correlation)
        if counted:
            self._remember(repr((command, correlation)), text)

    def _remember(self, word: str, text: str) -> None:
        replies = self._uplink.replies
        replies.pop(word, None)
        replies[word] = text
        while len(replies) > MOST_REPLIES:
            del replies[next(iter(replies))]

    def _answer(self, identity: str, verb: str, result: Result, correlation: bytes) -> str:
        now = self._uplink.context.now().astimezone(self._uplink.context.zone).isoformat(timespec="seconds")
        told: Mapping[str, Any] = {
            "format": REPLY, "id": identity, "verb": verb, "time": now, "outcome": result.outcome.value,
            **({"reason": result.reason} if result.reason else {}), "values": dict(result.values),
        }  # fmt: skip
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        self._reply(text, correlation)
        return text

    def _count(self, verb: str, reason: str) -> None:
        """Have it told that something was not done; a flood makes few events."""
        key = (ascii(verb)[1:-1][:40], reason)
        known = key in self._untold or len(self._untold) < MOST_TOLD
        self._untold[key if known else ("", "more of other kinds")] += 1

    def _tell(self, *, now: bool = False) -> None:
        monotonic = self._uplink.context.monotonic()
        if not (now or monotonic >= self._tell_at):
            return
        self._tell_at = monotonic + TELL_SECONDS
        untold, self._untold = self._untold, Counter()
        for (verb, reason), count in untold.items():
            self._uplink.context.note(
                "command_refused", platform=self._uplink.settings.name, verb=verb, reason=reason, count=count
            )
