"""A real mosquitto on loopback, who listens there, and a station's end of an MQTT uplink run in a thread."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from station.model import Average, ConfigError, Kind, Lane, Mark, Message, Report
from station.parameters import catalogue
from tests.programs import program
from uplink.base import Context, UplinkError
from uplink.memory import MemoryCommands, MemoryOutbox
from uplink.mqtt.link import MqttSettings, MqttUplink, PointSettings

BEIJING = timezone(timedelta(hours=8))
START = datetime(2026, 3, 1, tzinfo=UTC)


def wait(holds: Any, seconds: float = 15) -> bool:
    """Wait until *holds* is true, and say whether it came to be."""
    end = time.monotonic() + seconds
    while not (true := holds()) and time.monotonic() < end:
        time.sleep(0.005)
    return bool(true)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Broker:
    """mosquitto with a configuration of its own in *folder*; *lines* are added to it, *listener* to its port."""

    def __init__(self, folder: Path, *lines: str, listener: tuple[str, ...] = (), anonymous: bool = True) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "mosquitto.conf"
        self.write(*lines, listener=listener, anonymous=anonymous)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, *lines: str, listener: tuple[str, ...] = (), anonymous: bool = True) -> None:
        """The configuration; in force from the next start on."""
        head = [f"listener {self.port} 127.0.0.1", *listener, f"allow_anonymous {str(anonymous).lower()}"]
        own = ["user root", "log_type all", f"log_dest file {self.folder}/log", "max_queued_messages 0"]
        self.config.write_text("\n".join([*head, *own, *lines, ""]), encoding="utf-8")

    def start(self) -> Broker:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(
            [program("mosquitto"), "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert wait(self._listens), self.log()
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def log(self) -> str:
        """What it wrote."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else "no log"

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def stop(self) -> None:
        """SIGTERM, as its service does it: with persistence it writes its database."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(self, *failed: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Its address without TLS."""
        return f"mqtt://127.0.0.1:{self.port}"


class Listener:
    """A platform: it subscribes with a session that outlives connections and keeps what comes."""

    def __init__(self, port: int, *filters: str, name: str = "platform", **login: str) -> None:
        self.got: list[tuple[str, str, bool, Any]] = []  # topic, payload, retained, properties
        self._filters, self._ready = filters or ("#",), Event()
        self.client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        if login:
            self.client.username_pw_set(**login)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *args: self._ready.set()
        self.client.on_message = lambda client, data, m: self.got.append(
            (m.topic, m.payload.decode(), bool(m.retain), m.properties)
        )
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
        self.client.loop_start()
        assert self._ready.wait(10)

    def _on_connect(self, client: Client, *rest: Any) -> None:
        client.subscribe([(one, 1) for one in self._filters])

    def publish(self, topic: str, payload: str, *, retain: bool = False, correlation: bytes = b"") -> None:
        """Publish with QoS 1, and wait until the broker has it."""
        properties = Properties(PacketTypes.PUBLISH)
        if correlation:
            properties.CorrelationData = correlation
        self.client.publish(topic, payload, 1, retain, properties).wait_for_publish(10)

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def bodies(self) -> list[dict[str, Any]]:
        """The envelopes that came, in their order."""
        found = [json.loads(text) for _, text, _, _ in list(self.got)]
        return [one for one in found if one["format"] == "niutang-1"]

    def ids(self) -> Counter[str]:
        """How often each record came."""
        return Counter(record["id"] for body in self.bodies() for record in body["records"])

    def status(self) -> list[dict[str, Any]]:
        """What was told of the station's state."""
        found = [json.loads(text) for _, text, _, _ in list(self.got)]
        return [one for one in found if one["format"] == "niutang-status-1"]

    def replies(self) -> list[dict[str, Any]]:
        """Answers to commands."""
        found = [json.loads(text) for _, text, _, _ in list(self.got)]
        return [one for one in found if one["format"] == "niutang-reply-1"]


class Swallowing:
    """A proxy before a broker that can swallow packets the broker sends, by their type, or cut the connection."""

    PUBACK = 0x40

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.swallow: set[int] = set()
        self.swallowed = 0
        self.after: int | None = None  # PUBACKs let through before the connection is cut
        self._ends: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:  # the broker is down: so is the way to it
                    near.close()
                    continue
                self._ends += [near, far]
                Thread(target=self._up, args=(near, far), daemon=True).start()
                Thread(target=self._down, args=(far, near), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65_536):
                far.sendall(data)
        self._shut(near, far)

    def _down(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while packet := self._packet(far):
                kind = packet[0] & 0xF0
                if kind in self.swallow:
                    self.swallowed += 1
                    continue
                if kind == self.PUBACK and self.after is not None:
                    self.after -= 1
                    if self.after < 0:
                        self.after = None
                        break
                near.sendall(packet)
        self._shut(near, far)

    @staticmethod
    def _packet(far: socket.socket) -> bytes:
        head = far.recv(1)
        if not head:
            return b""
        size = shift = 0
        while True:
            byte = far.recv(1)
            head += byte
            size |= (byte[0] & 127) << shift
            shift += 7
            if not byte[0] & 128:
                break
        body = b""
        while len(body) < size:
            body += far.recv(size - len(body))
        return head + body

    @staticmethod
    def _shut(*ends: socket.socket) -> None:
        for one in ends:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections."""
        ends, self._ends = self._ends, []
        self._shut(*ends)
        for one in ends:
            one.close()

    def __enter__(self) -> Swallowing:
        return self

    def __exit__(self, *failed: object) -> None:
        self._shut(self._server)
        self._server.close()
        self.cut()


class PatientOutbox(MemoryOutbox):
    """An outbox in memory where what was put off rests until `release`, as in station/outbox.py until its time."""

    def __init__(self) -> None:
        super().__init__()
        self.resting: set[int] = set()
        self.holding = False

    def later(
        self, ids: Sequence[int], seconds: float, reason: str, *, hold: bool = False, refused: bool = False
    ) -> None:
        """Note it; the messages rest."""
        super().later(ids, seconds, reason, hold=hold, refused=refused)
        self.resting.update(ids)
        self.holding |= hold

    def next(self, lane: Lane, room: int) -> Sequence[Message]:
        """What does not rest."""
        while found := super().next(lane, room):
            if awake := [message for message in found if message.id not in self.resting]:
                return awake
        return []

    def held(self) -> float:
        """A second, while the whole platform rests."""
        return float(self.holding)

    def release(self) -> None:
        """The time has come: what rests is owed from the next connection on."""
        self.resting.clear()
        self.holding = False


class MqttLink:
    """One uplink with its outbox; `up()` serves in a thread, as station/sender.py does."""

    def __init__(self, url: str, folder: Path | None = None, files: dict[str, str] | None = None, **changes: Any):
        defaults: dict[str, Any] = {
            "name": "city",
            "protocol": "mqtt",
            "plain": url.startswith("mqtt:"),
            "point": (PointSettings(point="P1", mn="NT-7"),),
            "timeout_seconds": 5.0,
            "connect_seconds": 3.0,
        }
        self.settings = MqttSettings(**{**defaults, "url": url, **changes})
        assert list(self.settings.faults(catalogue())) == []
        self.later = 0.0  # how far the uplink's clock runs ahead
        self.notes: list[tuple[str, dict[str, object]]] = []
        held = files or {}

        def secret(name: str) -> str:
            if name not in held:
                raise ConfigError(f"{name}: the credential cannot be read (No such file or directory)")
            return held[name]

        self.context = Context(
            catalogue=catalogue(), zone=BEIJING, now=lambda: datetime.now(UTC),
            monotonic=lambda: time.monotonic() + self.later, secret=secret, started=START,
            where=lambda name: (folder or Path()) / name,
            note=lambda code, /, **fields: self.notes.append((code, fields)),
        )  # fmt: skip
        self.outbox, self.errors, self.commands = PatientOutbox(), list[UplinkError](), MemoryCommands()
        self.start()

    def start(self) -> None:
        """An uplink that remembers nothing, as after a restart."""
        self.uplink = MqttUplink(self.settings, self.context, {})

    def add(self, count: int = 1, first: int = 0, kind: Kind = Kind.MINUTE, text: str = "") -> list[int]:
        """Commit records, one for each minute."""
        made = []
        for number in range(first, first + count):
            dust = Average("pm25", 35.04, 30.0, 40.06, Mark.N, 12, 12, 12)
            report = Report(kind, "P1", START + timedelta(minutes=number), (dust,))
            composed = self.uplink.compose(report)
            assert composed is not None
            made.append(self.outbox.add(text or composed, kind=kind, point="P1", start=report.start))
        return made

    @contextmanager
    def up(self, again: bool = True) -> Iterator[Thread]:
        """Serve; after an error connect again at once, or not."""
        stop, end = Event(), time.monotonic() + 60

        def serve() -> None:
            while not stop.is_set() and time.monotonic() < end:
                try:
                    self.uplink.run(self.outbox, self.commands, stop)
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
            thread.join(15)
            assert not thread.is_alive()

    def drained(self, seconds: float = 15) -> bool:
        """Wait until nothing is owed."""
        return wait(lambda: not self.outbox.owed, seconds)

    def failed(self, seconds: float = 15) -> str:
        """The first error, waited for."""
        assert wait(lambda: self.errors, seconds)
        return str(self.errors[0])
