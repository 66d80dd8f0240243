"""A platform behind an MQTT broker as the station sees it: its settings, its topics, the way to it.

No library is loaded here: paho-mqtt comes with the first connection.
"""

from __future__ import annotations

import logging
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from station.model import Message, Parameter, Report, dataclass, field, setting
from uplink.base import Commands, Context, LinkDown, Outbox, UplinkSettings
from uplink.http.tap import HttpTap
from uplink.http.template import SHIPPED, load
from uplink.mqtt import topics
from uplink.trust import pin_faults
from uplink.wording import Wording, word_faults

_log = logging.getLogger(__name__)

PORTS: Mapping[str, int] = {"mqtts": 8883, "mqtt": 1883}
REST_SECONDS = 60.0  # after a CONNECT that was refused; doubles, up to an hour
LONGEST_REST = 3600.0
_MN = re.compile(r"[!-~]{0,64}")


def _table(text: str) -> Any:
    return field(default_factory=dict, metadata={"text": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSettings:
    """One [[uplink.point]] table: a measuring point as this platform knows it."""

    point: str = setting(text="code of a [[point]] of the station")
    mn: str = setting("", text="what the platform calls it, its MN; the code itself when empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings(UplinkSettings):
    """One [[uplink]] table with protocol = "mqtt"."""

    url: str = setting(text="mqtts://host[:port] of the broker; port 8883 unless said")
    version: str = setting("5", choices=("5", "3.1.1"), text="of MQTT; in 3.1.1 a broker cannot say no to a record")
    client_id: str = setting("", text="what the broker knows the station by; niutang- and the first MN when empty")
    point: tuple[PointSettings, ...] = setting(text="the points reported here, one table each")
    topic: str = setting("niutang/{mn}/{kind}", text="where records go")
    status_topic: str = setting(
        "niutang/{client}/status", text="where online and offline are told, retained; nowhere when empty"
    )
    command_topic: str = setting("", text="where commands come from; none are taken when empty")
    reply_topic: str = setting("niutang/{client}/reply", text="where commands are answered")
    username: str = setting("", text="user name, where the broker asks for one")
    password_file: str = setting("", text="file or credential with the password for it")
    window: int = setting(20, low=1, high=100, text="records that may await their PUBACK at once")
    timeout_seconds: float = setting(20.0, low=0.1, high=300, text="time a PUBACK may take")
    connect_seconds: float = setting(10.0, low=0.1, high=60, text="time a connection may take, and CONNACK once more")
    keepalive_seconds: int = setting(60, low=5, high=3600, text="silence after which the broker is asked for a sign")
    unheard: str = setting(
        "wait", choices=("wait", "accept"), text="what nobody subscribes to is owed still, or counts as delivered"
    )
    pin_sha256: tuple[str, ...] = setting(
        (), text="SHA-256 of the broker's certificate or of its public key (SPKI), hexadecimal; one must fit"
    )
    ca_file: str = setting("", text="PEM file of who signs the broker's certificate, in place of the system's trust")
    client_certificate: str = setting("", text="PEM file or credential with our certificate, where one is asked for")
    client_key: str = setting("", text="PEM file or credential with its key, unencrypted")
    plain: bool = setting(False, text="true lets url begin with mqtt://: everything can be read and changed on the way")
    codes: Mapping[str, str] = _table("parameter to factor code, where not the catalogue's")
    units: Mapping[str, str] = _table("parameter to unit, where not the catalogue's")

    @property
    def client(self) -> str:
        """The client identifier in use."""
        first = self.point[0] if self.point else PointSettings(point="")
        return self.client_id or f"niutang-{first.mn or first.point}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the broker."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.url.startswith("mqtts:")

    def faults(self, catalogue: Mapping[str, Parameter]) -> Iterator[tuple[str, str]]:
        """Place and sentence of everything wrong that single values do not show."""
        yield from self._address_faults()
        yield from self._topic_faults()
        if not self.point:
            yield "point", "no point is reported: an [[uplink.point]] table is needed"
        for index, one in enumerate(self.point):
            if not _MN.fullmatch(one.mn):
                yield f"point[{index}].mn", f'"{one.mn}" is not up to 64 printable ASCII characters'
            for key in ("point", "mn"):
                value = getattr(one, key)
                if value and any(value == getattr(other, key) for other in self.point[:index]):
                    yield f"point[{index}].{key}", f'"{value}" is there twice'
        if not self.client.isprintable() or len(self.client.encode(errors="replace")) > 256:
            yield "client_id", "is not up to 256 printable characters"
        if not self.username.isprintable() or len(self.username.encode(errors="replace")) > 1024:
            yield "username", "is not up to 1024 printable characters"
        yield from word_faults(self.codes, self.units, catalogue)
        yield from pin_faults(self.pin_sha256)

    def _address_faults(self) -> Iterator[tuple[str, str]]:
        try:
            parts = urlsplit(self.url)
            good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good or parts.scheme not in PORTS or " " in self.url or parts.path.strip("/") or parts.query:
            yield "url", f'"{self.url}" is no address such as mqtts://host or mqtts://host:8883'
            return
        if parts.username or parts.password:
            yield "url", "holds a user or password: set username and password_file"
        elif not self.secure and not self.plain:
            yield "url", "is not encrypted: use mqtts://, or set plain = true and know that anyone can read it"
        if (self.pin_sha256 or self.ca_file or self.client_certificate) and not self.secure:
            yield "url", "mqtt:// shows no certificate that could be checked"
        if self.client_key and not self.client_certificate:
            yield "client_key", "has no meaning without client_certificate"
        if self.allow and not self.command_topic:
            yield "allow", "has no meaning without command_topic, which commands come from"
        if self.password_file and not self.username:
            yield "password_file", "has no meaning without username"

    def _topic_faults(self) -> Iterator[tuple[str, str]]:
        wrong = False
        for key in ("topic", "status_topic", "command_topic", "reply_topic"):
            text, needed = getattr(self, key), key == "topic" or (key == "reply_topic" and self.command_topic)
            if not text and not needed:
                continue
            for said in topics.faults(text, tuple(topics.NAMES) if key == "topic" else topics.SHARED):
                wrong = True
                yield key, said
        if wrong:
            return
        if len(self.point) > 1 and not {"mn", "point"} & topics.named(self.topic):
            yield "topic", "tells several points apart by nothing: it needs {mn} or {point}"
        own = {"status_topic": self.status_topic, "reply_topic": self.reply_topic if self.command_topic else ""}
        for key, text in own.items():
            if self.command_topic and text == self.command_topic:
                yield key, "is the topic that commands come from"

    def files(self) -> Iterator[tuple[str, str, bool]]:
        """Key path and name of every file these settings name, and whether it is a secret."""
        for key, hidden in (
            ("ca_file", False), ("client_certificate", False), ("client_key", True), ("password_file", True),
        ):  # fmt: skip
            if name := getattr(self, key):
                yield key, name, hidden

    def file_faults(self, where: Callable[[str], Path]) -> Iterator[tuple[str, str]]:
        """What is wrong with the files named, and whether the library is there; *where* says where a file lies."""
        from importlib.util import find_spec

        for key, name, _ in self.files():
            if not os.access(where(name), os.R_OK):
                yield key, f"{where(name)} is not there or cannot be read"
            elif key == "password_file" and not _is_word(where(name)):
                yield key, f"{where(name)} holds no usable password: one line of printable characters"
        if find_spec("paho") is None:
            yield "protocol", "mqtt needs the package paho-mqtt: pip install 'niutang-station[mqtt]'"


def _is_word(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return bool(text) and text.isprintable()


class MqttUplink:
    """Carries one platform's messages to its broker with QoS 1, and brings its commands."""

    Settings = MqttSettings

    def __init__(self, settings: MqttSettings, context: Context, systems: Mapping[str, str]) -> None:
        self.settings, self.context = settings, context
        self.counts: Counter[str] = Counter()
        self.tap = HttpTap(context.monotonic)
        self.template = load(SHIPPED / "niutang.toml")
        self.slow = False  # whether the next connection begins with one record at a time
        self.refused: dict[int, int] = {}  # id to how many records were answered when it was refused
        self.suspects: list[int] = []  # refused since a record was answered last
        self.mute: dict[str, float] = {}  # topics of our own, not of records, that the broker refused, and until when
        self.replies: dict[str, str] = {}  # what the newest commands were answered, by their id
        self._devices = {one.point: one.mn or one.point for one in settings.point}
        self._wording = Wording(
            self.template, context, devices=self._devices, kinds=settings.kinds,
            codes=settings.codes, units=settings.units,
        )  # fmt: skip
        self._up: bool | None = None
        self._said: dict[str, str] = {}
        self._rests = 0
        self._rest_until = float("-inf")

    # -- wording

    def compose(self, report: Report) -> str | None:
        """The station's own JSON of *report*, digits frozen; None for what the platform does not get."""
        return self._wording.compose(report)

    def topic_of(self, message: Message) -> str:
        """Where *message* goes."""
        mn = self._devices.get(message.point, message.point)
        return topics.topic(self.settings.topic, {**self._names(message.point, mn), "kind": message.kind.name.lower()})

    def topic_for(self, key: str) -> str:
        """The topic of the setting *key*; nothing where there is none."""
        first = self.settings.point[0]
        text = getattr(self.settings, key)
        return topics.topic(text, self._names(first.point, first.mn or first.point)) if text else ""

    def _names(self, point: str, mn: str) -> dict[str, str]:
        return {"platform": self.settings.name, "client": self.settings.client, "mn": mn, "point": point}

    # -- the way

    def rest(self) -> None:
        """Have the next connection wait: what the broker refuses for good reason it will refuse again."""
        seconds = min(REST_SECONDS * 2.0**self._rests, LONGEST_REST)
        self._rests = min(self._rests + 1, 16)
        self._rest_until = self.context.monotonic() + random.uniform(seconds / 2, seconds)

    def resting(self) -> float:
        """Seconds until the broker may be asked again."""
        return max(0.0, self._rest_until - self.context.monotonic())

    def run(self, outbox: Outbox, commands: Commands, stop: Event) -> None:
        """Reach the broker and serve until *stop*; raise UplinkError when that fails."""
        from uplink.mqtt.session import Session  # paho and TLS come with the first connection

        session = Session(self, outbox, commands, stop)
        try:
            if not session.patient() or not session.reach():
                return
            self._rests = 0
            self.counts["connections"] += 1
            outbox.connected()
            self._changed(True)
            session.serve()
        except LinkDown:
            self._changed(False)  # the caller says why, once
            raise
        finally:
            session.close()

    def _changed(self, up: bool) -> None:
        if up and not self._up:
            _log.info("%s: connected to %s", self.settings.name, self.settings.url)
        self._up = up

    def muted(self, topic: str) -> bool:
        """Whether *topic*, one of our own, is left alone for now."""
        return self.mute.get(topic, float("-inf")) > self.context.monotonic()

    def said(self, topic: str, words: str) -> None:
        """Log *words* once for *topic*, until others are said."""
        if self._said.get(topic) != words:
            self._said[topic] = words
            _log.warning("%s: %s", self.settings.name, words)

    def probe(self) -> Any:
        """One connection, to see whether the broker lets the station in."""
        from uplink.mqtt.session import probe

        return probe(self)
