"""The MQTT client of one connection: paho made to keep nothing, TLS with its pins, every way to fail as one sentence.

paho can hold messages, send them again and connect anew by itself; here it does none of that.  A client serves one
connection and is thrown away: what it had not delivered the outbox still has.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from station.model import StationError
from uplink.base import LinkDown, NotAcknowledged
from uplink.mqtt.link import MqttSettings
from uplink.mqtt.reasons import words
from uplink.trust import PinMismatch, Trust, certificate_words, check_pins, said

WAIT_SECONDS = 0.25  # a look at stop and a sign of life in between
LARGEST_PACKET = 256 * 1024  # taken from a broker; commands are small
EXTRA = 8  # of our own messages that may await their PUBACK beside the records
PROTOCOL, SILENT = 0x82, 0x8D
NO_MQTT = (MQTTException, ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError, struct.error)


class Refusal(LinkDown):
    """Error raised when a broker does not let the station in, or sends it away, by reason *code*."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Limits(NamedTuple):
    """What the broker said of itself in CONNACK: unacknowledged messages, bytes of a packet, retained messages."""

    receive_maximum: int = 65_535
    packet_bytes: int = 268_435_455
    retains: bool = True


class Acked(NamedTuple):
    """A PUBACK: of which packet, with which reason code, and the broker's words."""

    mid: int
    code: int
    words: str


class Link:
    """One connection to a broker, used by one thread; what came is in `take()`."""

    def __init__(self, settings: MqttSettings, trust: Trust, password: str, place: str, now: Callable[[], str]) -> None:
        self._settings, self.place, self._now = settings, place, now
        self._happened: deque[Acked | MQTTMessage] = deque()
        self._connected: Limits | None = None
        self._ended: LinkDown | None = None
        self._given_up = False
        self.answer_seconds = 0.0  # from CONNECT to CONNACK
        self._opened: list[Any] = []  # TLS sockets, to be cut off at a deadline
        five = settings.version == "5"
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id=settings.client, clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False,
        )  # fmt: skip
        client.connect_timeout = settings.connect_seconds
        client.max_inflight_messages_set(settings.window + EXTRA)
        client.max_queued_messages_set(settings.window + EXTRA)  # paho counts what is under way too: it queues none
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish, client.on_message = self._on_publish, self._on_message
        client.on_subscribe = self._on_subscribe
        # With this set paho writes in `turn` alone, after reading: a broker may say why and close in one breath.
        client.on_socket_register_write = lambda *_: None
        if settings.username:
            client.username_pw_set(settings.username, password or None)
        if settings.secure:
            client.tls_set_context(self._pinned(trust.context(), trust))

    def _pinned(self, context: ssl.SSLContext, trust: Trust) -> ssl.SSLContext:
        """*context* whose sockets hold the certificate against the pins before a byte of MQTT is sent."""
        opened = self._opened

        class Socket(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:
                opened[:] = [self]
                super().do_handshake(block)
                check_pins(self, trust.pins)

        context.sslsocket_class = Socket
        return context

    def will(self, topic: str, payload: str) -> None:
        """Leave *payload* with the broker, for when the connection breaks."""
        self._client.will_set(topic, payload.encode(), qos=1, retain=True)

    # -- connecting

    def open(self, alive: Callable[[], bool], monotonic: Callable[[], float]) -> Limits | None:
        """Connect and be let in; None where the station stops first, raise LinkDown where it fails."""
        failed: list[BaseException] = []
        thread = Thread(target=self._dial, args=(failed,), name="dial", daemon=True)
        thread.start()
        seconds = self._settings.connect_seconds
        deadline = monotonic() + 2 * seconds  # name and address, then TLS
        while thread.is_alive():
            thread.join(WAIT_SECONDS)
            going = alive()
            if thread.is_alive() and (not going or monotonic() > deadline):
                self._give_up()
                if not going:
                    return None
                raise LinkDown(f"{self.place}: no connection within {seconds:g} s")
        if failed:
            raise self._as_ours(failed[0]) from failed[0]
        begun = monotonic()
        deadline = begun + seconds
        while self._connected is None:
            if not alive():
                return None
            if monotonic() > deadline:
                raise NotAcknowledged(f"{self.place}: takes the connection and does not answer within {seconds:g} s")
            self.turn((), WAIT_SECONDS)
        self.answer_seconds = monotonic() - begun
        return self._connected

    def _dial(self, failed: list[BaseException]) -> None:
        host, port = self._settings.address
        more: dict[str, Any] = {}
        if self._settings.version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
            properties.MaximumPacketSize = LARGEST_PACKET
            properties.ReceiveMaximum = EXTRA
            more = {"clean_start": True, "properties": properties}
        try:
            self._client.connect(host, port, keepalive=self._settings.keepalive_seconds, **more)
        except BaseException as error:  # noqa: BLE001 - carried to the uplink's thread, raised there
            failed.append(error)
        if self._given_up:
            self.close()

    def _give_up(self) -> None:
        self._given_up = True
        for connection in self._opened:
            with contextlib.suppress(OSError, ValueError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _as_ours(self, error: BaseException) -> BaseException:
        """*error* as one of ours, with one sentence."""
        if isinstance(error, PinMismatch):
            return LinkDown(f"{self.place}: {error}")
        if isinstance(error, ssl.SSLCertVerificationError):
            return LinkDown(f"{self.place}: {certificate_words(error, self._now())}")
        if isinstance(error, ssl.SSLError):
            return LinkDown(f"{self.place}: TLS cannot be agreed on ({said(error)})")
        if isinstance(error, TimeoutError):
            return LinkDown(f"{self.place}: no connection within {self._settings.connect_seconds:g} s")
        if isinstance(error, socket.gaierror | UnicodeError):
            return LinkDown(f"{self.place}: the name has no address")
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return LinkDown(f"{self.place}: the broker closed the connection; is it a port of MQTT, with TLS or not?")
        if isinstance(error, OSError):
            return LinkDown(f"{self.place}: {(error.strerror or str(error)).lower()}")
        return error

    # -- a turn

    def turn(self, others: tuple[int, ...], seconds: float) -> None:
        """Read, write and keep alive for at most *seconds*, less when one of *others* is readable.

        Raise LinkDown when the connection is over.
        """
        import select

        held: Any = self._client.socket()
        if held is not None:
            writing = [held] if self._client.want_write() else []
            pending = isinstance(held, ssl.SSLSocket) and held.pending()
            readable, writable, _ = select.select([held, *others], writing, [], 0 if pending else seconds)
            with self._speaking():
                if held in readable or pending:
                    self._read(held)
                if writable and self._client.socket() is not None:
                    self._client.loop_write()
                self._client.loop_misc()
        if self._ended is not None:
            raise self._ended
        if self._client.socket() is None:
            raise self._broken()

    def _read(self, held: Any) -> None:
        while True:
            self._client.loop_read()
            # paho reads a packet whole whatever its length, and keeps what comes with QoS 2, which nobody asked for.
            if self._client._in_packet["remaining_length"] > LARGEST_PACKET:
                raise LinkDown(f"{self.place}: sends a packet of more than {LARGEST_PACKET >> 10} KiB")
            if self._client._in_messages:
                raise LinkDown(f"{self.place}: sends with QoS 2, which was not asked for")
            if self._client.socket() is None or not (isinstance(held, ssl.SSLSocket) and held.pending()):
                return

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except StationError:
            raise
        except OSError as error:
            raise self._broken() from error
        except NO_MQTT as error:
            raise self._no_mqtt() from error

    def _no_mqtt(self) -> LinkDown:
        return LinkDown(f"{self.place}: sends what is no MQTT {self._settings.version}; set version to the other one?")

    def _broken(self, code: int = 0) -> LinkDown:
        """Why the connection is over, where paho ended it with reason *code* or nobody said anything."""
        if code == PROTOCOL:
            return self._no_mqtt()
        if code == SILENT:
            return NotAcknowledged(f"{self.place}: no sign of life within {self._settings.keepalive_seconds} s")
        if self._connected is None:
            return LinkDown(
                f"{self.place}: the connection ended before the broker answered; does it speak MQTT "
                f"{self._settings.version} on this port?"
            )
        return LinkDown(f"{self.place}: the connection broke")

    def take(self) -> Iterator[Acked | MQTTMessage]:
        """What came since the last time."""
        while self._happened:
            yield self._happened.popleft()

    # -- what paho calls

    def _on_connect(self, client: Client, data: Any, flags: ConnectFlags, reason: Any, properties: Any) -> None:
        code = int(reason.value)
        if code >= 0x80:
            text = f"{self.place}: the broker refuses the station: {words(code, _told(properties))}"
            self._ended = Refusal(text, code)
            return
        if getattr(properties, "MaximumQoS", 1) < 1:
            self._ended = Refusal(f"{self.place}: the broker cannot be used: {words(0x9B)}", 0x9B)
            return
        defaults = Limits()
        self._connected = Limits(
            max(1, getattr(properties, "ReceiveMaximum", defaults.receive_maximum)),
            getattr(properties, "MaximumPacketSize", defaults.packet_bytes),
            bool(getattr(properties, "RetainAvailable", 1)),
        )

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self._ended is not None:
            return
        if flags.is_disconnect_packet_from_server:
            code = int(reason.value)
            said = f"the broker ended the connection: {words(code, _told(properties))}"
            self._ended = Refusal(f"{self.place}: {said if code else 'the broker ended the connection'}", code)
        else:
            self._ended = self._broken(int(reason.value))

    def _on_publish(self, client: Client, data: Any, mid: int, reason: Any, properties: Any) -> None:
        self._happened.append(Acked(mid, int(reason.value), _told(properties)))

    def _on_subscribe(self, client: Client, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        self._happened.append(Acked(-mid, max((int(one.value) for one in reasons), default=0x80), _told(properties)))

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self._happened.append(message)

    # -- sending

    def publish(self, topic: str, payload: str, *, retain: bool = False, correlation: bytes = b"") -> int:
        """Hand *payload* to the socket with QoS 1; the packet's identifier.  Raise LinkDown where nothing takes it."""
        properties = None
        if correlation and self._settings.version == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        if not self._client.is_connected():
            raise self._ended or self._broken()
        info: MQTTMessageInfo = self._client.publish(topic, payload.encode(), 1, retain, properties)
        if info.rc != 0:
            raise self._ended or self._broken()
        return info.mid

    def subscribe(self, topic: str) -> int:
        """Ask for *topic*; the negative identifier its Acked will have."""
        code, mid = self._client.subscribe(topic, 1)
        if code != 0 or mid is None:
            raise self._ended or self._broken()
        return -mid

    def leave(self) -> None:
        """Say good-bye, so that the broker lets the will go."""
        self._ended = self._ended or LinkDown(f"{self.place}: left")
        self._client.disconnect()
        self._client.loop_write()

    def close(self) -> None:
        """Let the connection go without a word: where `leave` was not called the broker tells the will."""
        held = self._client.socket()
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None
        self._client.on_message = self._client.on_subscribe = None
        if held is not None:
            with contextlib.suppress(OSError):
                held.close()


def _told(properties: Any) -> str:
    """The broker's own words beside a reason code."""
    return str(getattr(properties, "ReasonString", "") or "")
