"""What happens between being let in by a broker and losing it: records, their PUBACKs, status, commands.

A record is done when the broker acknowledged it, and never before.  What a PUBACK means:

* success: the record is answered.
* no matching subscribers: the broker threw it away.  Owed still, the platform rests a minute (unheard = "wait").
* not authorized, topic, size or payload not accepted: the record is put off; parked with the reason where others were
  taken since, so a broker that refuses everything parks nothing, and is tried again after ten minutes.
* a quota: the whole platform rests a minute.  Other errors: the record is put off for a while, never parked.

A broken connection parks nothing.  The next one begins with one record at a time, so a record over which a broker ends
the connection (3.1.1 has no other way to say no) comes to stand alone, and steps aside after two tries.
"""

from __future__ import annotations

import json
import time
from collections import deque
from threading import Event
from typing import TYPE_CHECKING

from station.model import ConfigError, Lane, Message, dataclass
from uplink.base import Commands, LinkDown, NotAcknowledged, Outbox, Refused
from uplink.http.signing import idempotency_key
from uplink.http.template import fill
from uplink.memory import MemoryCommands
from uplink.mqtt.client import EXTRA, Acked, Limits, Link, Refusal
from uplink.mqtt.commands import Asking
from uplink.mqtt.reasons import BLAMES, NO_SUBSCRIBERS, QUOTA, STUBBORN, words
from uplink.trust import Trust
from uplink.wording import identity_of

if TYPE_CHECKING:
    from uplink.mqtt.link import MqttUplink

TURN_SECONDS = 1.0
REST_SECONDS = 60.0  # of a platform that has nobody listening, or whose quota is used up
AGAIN_SECONDS = 60.0  # a refused record of which it is not known whether it is to blame
REFUSED_ALL_SECONDS = 600.0
SUSPECTS = 3  # refused records before any was taken: then it is not the records
GOODBYE_SECONDS = 2.0
MUTE_SECONDS = 3600.0  # a topic of our own that the broker refused
MOST_KNOWN = 2000  # refused records remembered
MOST_OWN = 64  # of our own messages waiting; above it the oldest is dropped
OVERHEAD = 32  # bytes of a PUBLISH beside topic and payload


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of a try: time until the broker let us in; its clock is nowhere in MQTT."""

    connect_seconds: float
    answer_seconds: float
    clock_seconds: float | None = None


@dataclass(slots=True)
class Flying:
    """A record on its way."""

    message: Message
    topic: str
    deadline: float


class Session:
    """One connection of *uplink*, from reaching the broker to losing it."""

    def __init__(self, uplink: MqttUplink, outbox: Outbox, commands: Commands, stop: Event) -> None:
        self._uplink, self._outbox, self._stop = uplink, outbox, stop
        self._settings, self._context = uplink.settings, uplink.context
        self._now = uplink.context.monotonic
        self._flying: dict[int, Flying] = {}
        self._own: dict[int, tuple[str, float]] = {}  # packet identifier of what is no record to its topic and deadline
        self._says: deque[tuple[str, str, bool, bytes]] = deque()  # of these, what is not sent yet
        self._refused_last = False  # what the newest PUBACK of a record said: mosquitto may close after a no
        self._room = 1 if uplink.slow else self._settings.window
        self._limits = Limits()
        self._link = self._made_link()
        self._asking = Asking(uplink, commands, self._reply) if self._settings.command_topic else None

    def _made_link(self) -> Link:
        s, where = self._settings, self._context.where
        password = self._context.secret(s.password_file).strip() if s.password_file else ""
        if s.password_file and not (password and password.isprintable()):
            raise ConfigError(f"{s.name}: {s.password_file} holds no usable password")
        trust = Trust(
            where(s.ca_file) if s.ca_file else None,
            where(s.client_certificate) if s.client_certificate else None,
            where(s.client_key) if s.client_key else None,
            s.pin_sha256,
        )
        return Link(s, trust, password, s.url.rstrip("/"), lambda: self._moment("minutes"))

    def _moment(self, spec: str = "seconds") -> str:
        return self._context.now().astimezone(self._context.zone).isoformat(timespec=spec)

    def _alive(self) -> bool:
        self._outbox.wait(0)
        return not self._stop.is_set()

    def close(self) -> None:
        """Let the connection go; what is on its way is owed again."""
        if self._asking:
            self._asking.close()
        self._link.close()

    # -- before the first record

    def patient(self) -> bool:
        """Wait until the broker may be asked again; false when the station stops first."""
        while (left := max(self._outbox.held(), self._uplink.resting())) > 0 and not self._stop.is_set():
            self._outbox.wait(min(TURN_SECONDS, left))
        return not self._stop.is_set()

    def reach(self, *, will: bool = True) -> bool:
        """Connect and be let in; false when the station stops first."""
        topic = self._uplink.topic_for("status_topic")
        if topic and will:
            self._link.will(topic, self._status("offline", reason="lost", connected=self._moment()))
        self._uplink.tap.tell("out", f"CONNECT {self._settings.client}", {}, "")
        try:
            limits = self._link.open(self._alive, self._now)
        except LinkDown as error:
            self._uplink.tap.tell("in", str(error), {}, "")
            if isinstance(error, Refusal) and error.code in STUBBORN:
                self._uplink.rest()
            raise
        if limits is None:
            return False
        self._uplink.tap.tell("in", "CONNACK", {}, "")
        self._limits = limits
        if topic and will:
            self._say(topic, self._status("online", time=self._moment()), retain=True)
        return True

    def _status(self, state: str, **more: str) -> str:
        return json.dumps({"format": "niutang-status-1", "state": state, **more}, separators=(",", ":"))

    # -- serving

    def serve(self) -> None:
        """Send what is owed, the newest first in line, until the station stops."""
        topic = self._uplink.topic_for("command_topic")
        if self._asking and not self._uplink.muted(topic):
            self._own[self._link.subscribe(topic)] = (topic, self._deadline())
        try:
            while not self._stop.is_set():
                self._one_turn()
            self._leave()
        except LinkDown as error:
            self._took()  # what a broker said before it closed
            self._lost(error)
            if not self._stop.is_set():
                raise

    def _one_turn(self) -> None:
        self._outbox.wait(0)
        if self._asking:
            self._asking.results()
        self._speak()
        self._fill()
        others = (self._outbox.fileno(), *((self._asking.fileno(),) if self._asking else ()))
        self._link.turn(others, self._sleep())
        self._took()
        self._late()

    def _sleep(self) -> float:
        waiting = [one.deadline for one in self._flying.values()]
        return max(0.0, min([TURN_SECONDS, *(at - self._now() for at in waiting[:1])]))

    def _deadline(self) -> float:
        return self._now() + self._settings.timeout_seconds

    def _fill(self) -> None:
        """Records as far as window and broker allow, live ones before the backlog."""
        most = self._limits.receive_maximum - len(self._own)
        room = min(self._room, self._settings.window, most) - len(self._flying)
        while room > 0:
            found = self._outbox.next(Lane.LIVE, room) or self._outbox.next(Lane.HISTORY, room)
            if not found:
                return
            for message in found:
                self._send(message)
            room -= len(found)

    def _send(self, message: Message) -> None:
        topic, payload = self._uplink.topic_of(message), self._payload(message)
        size = len(topic.encode()) + len(payload.encode()) + OVERHEAD
        if size > self._limits.packet_bytes:
            said = f"the packet is too large ({size} bytes, the broker takes {self._limits.packet_bytes})"
            self._uplink.counts["parked"] += 1
            self._outbox.park(message.id, said)
            return
        self._uplink.tap.tell("out", f"PUBLISH {topic}", {}, payload)
        mid = self._link.publish(topic, payload)
        self._uplink.counts["published"] += 1
        self._flying[mid] = Flying(message, topic, self._deadline())

    def _payload(self, message: Message) -> str:
        """One record in the envelope of the station's own format."""
        values = {
            "records": message.text,
            "key": idempotency_key([identity_of(message)]),
            "now": self._moment(),
            "resupply": "true" if message.resupply else "false",
        }
        return fill(self._uplink.template.request.text, values)

    # -- of our own

    def _say(self, topic: str, payload: str, *, retain: bool = False, correlation: bytes = b"") -> None:
        if self._uplink.muted(topic):
            return
        if len(self._says) >= MOST_OWN:
            self._says.popleft()
        self._says.append((topic, payload, retain and self._limits.retains, correlation))

    def _reply(self, payload: str, correlation: bytes) -> None:
        self._say(self._uplink.topic_for("reply_topic"), payload, correlation=correlation)

    def _speak(self) -> None:
        """Status and replies, before records."""
        while self._says and len(self._own) < EXTRA:
            if len(self._own) + len(self._flying) >= self._limits.receive_maximum:
                return
            topic, payload, retain, correlation = self._says.popleft()
            self._uplink.tap.tell("out", f"PUBLISH {topic}", {}, payload)
            mid = self._link.publish(topic, payload, retain=retain, correlation=correlation)
            self._own[mid] = (topic, self._deadline())

    def _leave(self) -> None:
        """Wait a moment for what is on its way, tell that we are offline, and say good-bye."""
        topic = self._uplink.topic_for("status_topic")
        if topic:
            self._say(topic, self._status("offline", reason="stopped", time=self._moment()), retain=True)
        end = self._now() + GOODBYE_SECONDS
        while (self._says or self._own or self._flying) and self._now() < end:
            self._speak()
            self._link.turn((), 0.1)
            self._took()
        self._link.leave()

    # -- what came

    def _took(self) -> None:
        for one in self._link.take():
            if not isinstance(one, Acked):
                if self._asking:
                    self._asking.asked(one)
            elif one.mid in self._own:
                topic, _ = self._own.pop(one.mid)
                if one.code >= 0x80:
                    self._own_refused(topic, one)
            elif one.mid in self._flying:
                self._acknowledged(self._flying.pop(one.mid), one)

    def _own_refused(self, topic: str, one: Acked) -> None:
        """Say it, and leave that topic alone for a while: some brokers end the connection over it."""
        self._uplink.counts["refused topics"] += 1
        self._uplink.mute[topic] = self._now() + MUTE_SECONDS
        self._uplink.said(topic, f"the broker refuses {topic}: {words(one.code, one.words)}")

    def _acknowledged(self, flying: Flying, ack: Acked) -> None:
        """Settle what *ack* says of a record."""
        message, code = flying.message, ack.code
        self._uplink.tap.tell("in", f"PUBACK {words(code, ack.words) if code else ''} {flying.topic}", {}, "")
        if code == NO_SUBSCRIBERS and self._settings.unheard == "wait":
            self._nobody(flying)
        self._refused_last = code >= 0x80
        if code < 0x80:
            self._uplink.suspects.clear()
            self._uplink.counts["answered"] += 1
            self._uplink.refused.pop(message.id, None)
            self._outbox.answered([message.id])
            self._room = min(self._settings.window, self._room + 1)
            self._uplink.slow = self._uplink.slow and self._room < self._settings.window
            return
        reason = f"{words(code, ack.words)} on {flying.topic}"
        self._uplink.counts["refused"] += 1
        if code in BLAMES:
            self._suspect(message, reason)
            return
        self._outbox.later([message.id], AGAIN_SECONDS, reason, hold=code == QUOTA, refused=True)
        if code == QUOTA:
            raise LinkDown(f"{self._link.place}: rests for {REST_SECONDS:.0f} s: {reason}")

    def _nobody(self, flying: Flying) -> None:
        said = f"nobody subscribes to {flying.topic}, so the broker keeps nothing of it"
        self._outbox.later([flying.message.id], REST_SECONDS, said, hold=True, refused=True)
        raise LinkDown(
            f"{self._link.place}: {said}; records wait.  Where a rule of the broker takes them, set unheard = "
            '"accept"; where they are not wanted, leave their kind out of kinds'
        )

    def _suspect(self, message: Message, reason: str) -> None:
        """Park *message* where others were taken since it was refused first, else put it off."""
        known, answered = self._uplink.refused, self._uplink.counts["answered"]
        if answered > known.get(message.id, answered):
            del known[message.id]
            self._uplink.counts["parked"] += 1
            self._outbox.park(message.id, reason)
            return
        known[message.id] = answered
        while len(known) > MOST_KNOWN:
            del known[next(iter(known))]
        suspects = self._uplink.suspects
        suspects.append(message.id)
        if len(suspects) >= SUSPECTS:
            self._outbox.later(sorted(set(suspects)), REFUSED_ALL_SECONDS, reason, hold=True, refused=True)
            suspects.clear()
            raise Refused(f"{self._link.place}: refuses everything so far, nothing is parked: {reason}")
        self._outbox.later([message.id], AGAIN_SECONDS, reason, refused=True)

    # -- what did not come

    def _late(self) -> None:
        """Give the connection up where a PUBACK is overdue: brokers answer in the order they were sent to."""
        now, seconds = self._now(), self._settings.timeout_seconds
        oldest = next(iter(self._flying.values()), None)
        if oldest is not None and now >= oldest.deadline:
            raise NotAcknowledged(f"{self._link.place}: no PUBACK within {seconds:g} s")
        if any(now >= at for _, at in self._own.values()):
            raise NotAcknowledged(f"{self._link.place}: no answer to status or subscription within {seconds:g} s")

    def _lost(self, error: LinkDown) -> None:
        """The connection is over: who is to blame, and how the next one begins."""
        self._uplink.tap.tell("in", str(error), {}, "")
        if isinstance(error, Refusal) and error.code in STUBBORN and not (error.code in BLAMES and self._flying):
            self._uplink.rest()
        if not self._flying or self._refused_last:
            return
        self._uplink.slow = True
        flying = [one.message for one in self._flying.values()]
        if isinstance(error, NotAcknowledged):
            self._outbox.unanswered(flying[0].id)
        elif len(flying) == 1:
            if isinstance(error, Refusal) and error.code in BLAMES:
                self._suspect(flying[0], words(error.code))
            else:
                self._outbox.unanswered(flying[0].id)


class _Nobody:
    """An outbox with nothing in it, for a try."""

    def wait(self, seconds: float) -> bool:
        """Return at once."""
        return False


def probe(uplink: MqttUplink) -> Probe:
    """Be let in once and leave; raise UplinkError where that fails."""
    session = Session(uplink, _Nobody(), MemoryCommands(), Event())  # type: ignore[arg-type]
    try:
        began = time.monotonic()
        session.reach(will=False)
        ended = time.monotonic()
        session._link.leave()
    finally:
        session.close()
    return Probe(round(ended - began, 3), round(session._link.answer_seconds, 3))


