"""A receiver to try a station against: it takes records over HTTP or HTTPS, counts them, and can be made to fail.

It prints nothing.  A record is known by its id, a group by its Idempotency-Key; a group it has under the same key is
answered again and not counted again, as the station's format asks of a receiver.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import ssl
import time
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Any, NamedTuple

from station.model import ConfigError
from uplink.http import template as templates
from uplink.http.certificates import make
from uplink.http.template import Platform

FAULTS: Mapping[str, str] = {
    "lost": "keeps the next request and closes without an answer, the following ones are answered",
    "late": "keeps the next request and answers after late_seconds, the following ones in time",
    "500": "answers 500 to everything",
    "503": "answers 503 with Retry-After to everything",
    "429": "answers 429 with Retry-After to everything",
    "400": "answers 400 to everything",
    "401": "takes no token until somebody logs in again",
    "no": "answers 200 with a no in the field that decides",
    "html": "answers 200 with a web page",
    "redirect": "answers 302 to another address",
    "huge": "answers without end",
    "drip": "answers one byte a second",
    "garbage": "answers what is no HTTP",
    "refused": "stops listening",
    "half-open": "takes connections and never answers",
    "expired": "shows a certificate that has expired",
    "early": "shows a certificate that is not valid yet",
    "other-name": "shows a certificate of another name",
    "self-signed": "shows a certificate that nobody has signed",
}
CERTIFICATES = ("expired", "early", "other-name", "self-signed")
BODY_LIMIT = 16 << 20
RETRY_AFTER = 2


class Received(NamedTuple):
    """One request that was taken."""

    key: str
    path: str
    headers: Mapping[str, str]
    body: str
    records: int
    new: int
    duplicate: bool


class Receiver:
    """An HTTP platform in threads of its own; with *tls* (a folder, filled when empty) over HTTPS.

    *platform* is the template whose answers and login it speaks, *refuses* says of a record why it is not taken,
    *asks_client* wants the client's certificate, *keep* keeps requests for a look.

    >>> with Receiver() as receiver:
    ...     receiver.summary()["records"], receiver.url.startswith("http://127.0.0.1:")
    (0, True)
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, tls: Path | None = None, platform: Platform | None = None,
        asks_client: bool = False, late_seconds: float = 1.0, retry_after: int = RETRY_AFTER, keep: bool = True,
        delay: float = 0.0, refuses: Callable[[Mapping[str, Any]], str] = lambda record: "",
        on_request: Callable[[Received], None] = lambda received: None, token_seconds: int = 3600,
    ) -> None:  # fmt: skip
        self.host, self.port, self.tls = host, port, tls
        self.platform = platform or templates.load(templates.SHIPPED / "niutang.toml")
        self.late_seconds, self.retry_after, self.delay = late_seconds, retry_after, delay
        self._asks_client, self._keep, self.refuses, self._on_request = asks_client, keep, refuses, on_request
        self.token_seconds = token_seconds
        self._token = ""
        self._fault: str | None = None
        self._changed = Condition()
        self.counts: Counter[str] = Counter()
        self.seen: dict[str, bytes] = {}  # id to digest
        self.keys: set[str] = set()
        self.requests: list[Received] = []
        self._server: _Server | None = None
        self._thread: Thread | None = None
        self.stopping = Event()

    # -- life

    def start(self) -> Receiver:
        """Listen and serve; raise OSError where that cannot be."""
        if self.tls:
            make(self.tls)
        self._listen()
        return self

    def _listen(self) -> None:
        self._server = _Server((self.host, self.port), self)
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="receiver", daemon=True)
        self._thread.start()

    def _quiet(self) -> None:
        if self._server and self._thread:
            self._server.shutdown()
            self._server.server_close()
            self._server.drop()
            self._thread.join(5)
            self._server = self._thread = None

    def stop(self) -> None:
        """Serve no more."""
        self.stopping.set()
        self._quiet()

    def __enter__(self) -> Receiver:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def fault(self, name: str | None) -> None:
        """Fail as FAULTS says from now on; None recovers.  Raise ValueError for a name that is none."""
        if name is not None and name not in FAULTS:
            raise ValueError(f"{name} is not one of {', '.join(FAULTS)}")
        if name in CERTIFICATES and not self.tls:
            raise ValueError(f"{name} needs certificates: give a folder with --tls-dir")
        before, self._fault = self._fault, name
        if name == "401":
            self._token = ""
        if name == "refused":
            self._quiet()
        elif self._server is None and not self.stopping.is_set():
            self._listen()
        elif self._server and {before, name} & {*CERTIFICATES, "half-open"}:
            self._server.drop()  # connections made before would not show it

    def context(self) -> ssl.SSLContext | None:
        """What the next connection is met with."""
        if not self.tls:
            return None
        name = self._fault if self._fault in CERTIFICATES else "server"
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.tls / f"{name}.pem", self.tls / f"{name}.key")
        if self._asks_client:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(self.tls / "ca.pem")
        return made

    # -- what came

    def summary(self) -> dict[str, Any]:
        """Counts: requests, records as they came, unique ones, those that came again, contradictions."""
        with self._changed:
            return {
                "requests": self.counts["requests"],
                "records": self.counts["records"],
                "unique": len(self.seen),
                "duplicates": self.counts["duplicates"],
                "repeated_groups": self.counts["repeated groups"],
                "contradictions": self.counts["contradictions"],
                "logins": self.counts["logins"],
            }

    def wait_until(self, holds: Callable[[], bool], seconds: float = 10.0) -> bool:
        """Wait until *holds*, looked at whenever something came."""
        end = time.monotonic() + seconds
        with self._changed:
            while not holds():
                if not self._changed.wait(min(0.1, max(0.0, end - time.monotonic()))) and time.monotonic() > end:
                    return holds()
            return True

    @property
    def failing(self) -> str | None:
        """The fault that is on."""
        return self._fault

    def once(self) -> None:
        """The fault was for one request alone."""
        self._fault = None

    def answer_to(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What a sound receiver says."""
        self.counts["requests"] += 1
        login = self.platform.login
        if login and path == login.path:
            self._token = hashlib.sha256(f"{time.monotonic_ns()}".encode()).hexdigest()
            self.counts["logins"] += 1
            return self._json(200, _put(login.token, self._token, _put(login.lifetime, self.token_seconds, {})))
        if login and (not self._token or self._token not in " ".join(headers.values())):
            return self._json(401, self._said("token"))
        try:
            records = _records(json.loads(self._opened(headers, body)))
        except (ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
            return self._json(400, self._said(f"no JSON with records: {error}"))
        for record in records:
            if reason := _spoiled(record) or self.refuses(record):
                return self._json(400, self._said(reason))
        self._take(path, headers, self._opened(headers, body), records)
        return self._json(200, self._good(len(records)))

    def _opened(self, headers: Mapping[str, str], body: bytes) -> str:
        return (gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body).decode()

    def _take(self, path: str, headers: Mapping[str, str], body: str, records: list[dict[str, Any]]) -> None:
        key = headers.get("idempotency-key", "")
        with self._changed:
            before = len(self.seen)
            for record in records:
                name = str(record.get("id") or json.dumps(record, sort_keys=True))
                digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
                known = self.seen.setdefault(name, digest)
                self.counts["contradictions"] += known != digest
            new = len(self.seen) - before
            self.counts["records"] += len(records)
            self.counts["duplicates"] += len(records) - new
            self.counts["repeated groups"] += key in self.keys
            self.keys.add(key)
            received = Received(key, path, headers, body, len(records), new, new < len(records))
            if self._keep:
                self.requests.append(received)
            self._changed.notify_all()
        self._on_request(received)

    def _good(self, count: int) -> dict[str, Any]:
        success = self.platform.success
        word: Any = success.equals[0] if success.equals else "ok"
        said = _put(success.field, True if word == "true" else word, {"accepted": count})
        return said

    def _said(self, text: str) -> dict[str, Any]:
        success = self.platform.success
        return _put(success.message or "message", text, _put(success.field, "no", {}))

    def no(self) -> tuple[int, dict[str, str], bytes]:
        """A no with status 200."""
        return self._json(200, self._said("not as it should be"))

    def _json(self, status: int, said: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return status, {"Content-Type": "application/json"}, json.dumps(said).encode()


def _spoiled(record: Mapping[str, Any]) -> str:
    """Why the picture of *record* cannot be taken: it is no base64, or not that of its hash."""
    picture, event = record.get("picture"), record.get("event")
    if not picture or not isinstance(event, dict):
        return ""
    try:
        data = b64decode(picture, validate=True)
    except (ValueError, TypeError):
        return "the picture is no base64"
    return "" if hashlib.sha256(data).hexdigest() == event.get("sha256") else "the picture is not that of its sha256"


def _put(path: str, value: Any, into: dict[str, Any]) -> dict[str, Any]:
    """*into* with *value* at *path*."""
    at = into
    *parts, last = path.split(".") if path else [""]
    for part in parts:
        at = at.setdefault(part, {})
    if last:
        at[last] = value
    return into


def _records(body: Any) -> list[dict[str, Any]]:
    """The records of a request: the first list of tables in it; what is enciphered counts as one."""
    if isinstance(body, list):
        return [one for one in body if isinstance(one, dict)]
    if not isinstance(body, dict):
        raise ValueError("no table")
    for value in body.values():
        if isinstance(value, list) and all(isinstance(one, dict) for one in value):
            return value
    return [body]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], receiver: Receiver) -> None:
        self.receiver = receiver
        self.open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The handshake belongs to the connection's thread: one that never ends it stops nobody else."""
        self.open.add(request)
        try:
            if self.receiver.failing == "half-open":
                self.receiver.stopping.wait(60)
                return
            context = self.receiver.context()
            if context is not None:
                request.settimeout(30)
                wrapped = context.wrap_socket(request, server_side=True)
                self.open.discard(request)
                self.open.add(request := wrapped)
            super().process_request_thread(request, client_address)
        except (OSError, ssl.SSLError):
            self.receiver.counts["broken connections"] += 1
        finally:
            self.open.discard(request)
            self.shutdown_request(request)

    def drop(self) -> None:
        """Close every connection."""
        for one in list(self.open):
            try:
                socket.socket.shutdown(one, socket.SHUT_RDWR)
            except (OSError, ValueError):
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A station that goes away is no fault of the receiver."""
        self.receiver.counts["broken connections"] += 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 75
    server: _Server

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    do_PUT = do_POST

    def _serve(self) -> None:
        receiver = self.server.receiver
        size = int(self.headers.get("content-length") or 0)
        if not 0 <= size <= BODY_LIMIT:
            self._write(413, {}, b"")
            self.close_connection = True
            return
        body = self.rfile.read(size)
        fault = receiver.failing
        if fault == "half-open":
            receiver.stopping.wait(60)
            self.close_connection = True
            return
        if self.command == "HEAD" and fault != "redirect":
            self._write(200, {}, b"")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        if fault in ("lost", "late"):
            receiver.once()
            said = receiver.answer_to(self.path, headers, body)
            if fault == "lost":
                self.close_connection = True
                return
            receiver.stopping.wait(receiver.late_seconds)
            self._write(*said)
            return
        if fault and self._failed(fault, receiver):
            return
        if receiver.delay:
            time.sleep(receiver.delay)
        self._write(*receiver.answer_to(self.path, headers, body))
        if fault == "401" and receiver.platform.login and self.path == receiver.platform.login.path:
            receiver.once()

    def _failed(self, fault: str, receiver: Receiver) -> bool:
        """Answer as *fault* says; false where it has no answer of its own."""
        later = {"Retry-After": str(receiver.retry_after)}
        page = b"<!DOCTYPE html><html><body>Welcome, please log in</body></html>"
        answers: Mapping[str, tuple[int, dict[str, str], bytes]] = {
            "500": (500, {"Content-Type": "text/html"}, page),
            "503": (503, later, b"busy"),
            "429": (429, later, b"slow down"),
            "400": (400, {"Content-Type": "application/json"}, b'{"status":"error","message":"unknown device"}'),
            "html": (200, {"Content-Type": "text/html; charset=utf-8"}, page),
            "redirect": (302, {"Location": "http://127.0.0.1:9/elsewhere"}, b""),
            "no": receiver.no(),
        }
        if fault in answers:
            receiver.counts["requests"] += 1
            self._write(*answers[fault])
        elif fault == "garbage":
            self.wfile.write(b"\x00\xff nothing of the kind\r\n\r\n")
            self.close_connection = True
        elif fault in ("huge", "drip"):
            self._write_on(fault, receiver)
        else:
            return False
        return True

    def _write_on(self, fault: str, receiver: Receiver) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.close_connection = True
        while not receiver.stopping.is_set() and receiver.failing == fault:
            self.wfile.write(b" " * (1 if fault == "drip" else 65536))
            self.wfile.flush()
            if fault == "drip":
                receiver.stopping.wait(1)

    def _write(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


def platform_named(name: str) -> Platform:
    """The template a receiver speaks: one that ships, or a file."""
    path = Path(name) if name.endswith(".toml") else templates.SHIPPED / f"{name}.toml"
    if not name.endswith(".toml") and name not in templates.shipped():
        raise ConfigError(f'there is no template "{name}"; there are {", ".join(templates.shipped())}')
    return templates.load(path)
