"""An ONVIF camera on loopback, to try out and to test with: it checks who asks, and can go wrong in several ways."""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType

from drivers.camera_http import CHALLENGE
from drivers.onvif import DEVICE, MEDIA, SCHEMA, SOAP, password_digest
from station.model import dataclass

TOLERANCE = timedelta(seconds=30)
FAULTS = ("", "silent", "rubbish", "dribble", "huge", "endless", "entities", "elsewhere", "no_stills", "broken_picture")


@dataclass(slots=True, kw_only=True)
class Face:
    """How the camera is: its account, its clock, its picture, its stream's address, and what is wrong with it."""

    user: str = "admin"
    password: str = "pass"
    ahead: timedelta = timedelta(0)
    jpeg: bytes = b""
    stream: str = ""
    fault: str = ""


class Camera:
    """Serves until closed; `face` may be changed meanwhile."""

    def __init__(self, face: Face) -> None:
        self.face, self.over = face, Event()
        self.asked: list[str] = []
        self.nonces: set[str] = set()
        camera = self

        class Handler(_Handler):
            owner = camera

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), name="camera", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address of its device service."""
        return f"http://127.0.0.1:{self.port}/onvif/device_service"

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    owner: Camera

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests look at `asked`."""

    def do_GET(self) -> None:
        """The picture."""
        face = self.owner.face
        self.owner.asked.append(f"GET {self.path}")
        if self._wrong():
            return
        if face.user and not self._digest_is_good():
            nonce = os.urandom(8).hex()
            self.owner.nonces.add(nonce)
            self.send_response(401)
            self.send_header("WWW-Authenticate", f'Digest realm="camera", qop="auth", nonce="{nonce}", algorithm=MD5')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = face.jpeg[: len(face.jpeg) // 2] if face.fault == "broken_picture" else face.jpeg
        self._answer(200, data + b"\0" * (64 << 20) if face.fault == "huge" else data, "image/jpeg")

    def do_POST(self) -> None:
        """SOAP."""
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        verb = re.search(r"<s:Body><(\w+)", text)
        name = verb[1] if verb else ""
        self.owner.asked.append(name)
        if self._wrong():
            return
        if name != "GetSystemDateAndTime" and self.owner.face.user and not self._token_is_good(text):
            self._soap(f'<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value xmlns:t="{DEVICE}">'
                       "t:NotAuthorized</s:Value></s:Subcode></s:Code></s:Fault>", 400)  # fmt: skip
            return
        made = getattr(self, f"_{name}", None)
        if made is None or (name == "GetSnapshotUri" and self.owner.face.fault == "no_stills"):
            self._soap("<s:Fault><s:Reason><s:Text>not implemented</s:Text></s:Reason></s:Fault>", 500)
            return
        self._soap(made())

    def _GetSystemDateAndTime(self) -> str:
        at = datetime.now(UTC) + self.owner.face.ahead
        return (
            f'<a xmlns="{SCHEMA}"><UTCDateTime><Time><Hour>{at.hour}</Hour><Minute>{at.minute}</Minute>'
            f"<Second>{at.second}</Second></Time><Date><Year>{at.year}</Year><Month>{at.month}</Month>"
            f"<Day>{at.day}</Day></Date></UTCDateTime></a>"
        )

    def _GetCapabilities(self) -> str:
        return f'<a xmlns="{SCHEMA}"><Media><XAddr>http://192.168.1.64/onvif/Media</XAddr></Media></a>'

    def _GetProfiles(self) -> str:
        return f'<a xmlns:m="{MEDIA}"><m:Profiles token="main&amp;1"/><m:Profiles token="sub"/></a>'

    def _GetSnapshotUri(self) -> str:
        where = "file:///etc/passwd" if self.owner.face.fault == "elsewhere" else "http://192.168.1.64/still?channel=1"
        return f'<a xmlns="{SCHEMA}"><Uri>{where}</Uri></a>'

    def _GetStreamUri(self) -> str:
        return f'<a xmlns="{SCHEMA}"><Uri>{self.owner.face.stream}</Uri></a>'

    def _soap(self, body: str, status: int = 200) -> None:
        doctype = '<!DOCTYPE a [<!ENTITY b "bb">]>' if self.owner.face.fault == "entities" else ""
        text = f'{doctype}<s:Envelope xmlns:s="{SOAP}"><s:Body>{body}</s:Body></s:Envelope>'
        self._answer(status, text.encode(), "application/soap+xml")

    def _answer(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True

    def _wrong(self) -> bool:
        """Whether it did something else than to answer."""
        fault, over = self.owner.face.fault, self.owner.over
        try:
            if fault == "silent":
                over.wait(60)
            elif fault == "rubbish":
                self.wfile.write(os.urandom(400))
            elif fault == "dribble":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(0.05):
                    self.wfile.write(b"x")
                    self.wfile.flush()
            elif fault == "endless":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n\xff\xd8\xff")
                while not over.is_set():
                    self.wfile.write(b"\0" * 65536)
            else:
                return False
        except OSError:
            pass
        self.close_connection = True
        return True

    def _token_is_good(self, text: str) -> bool:
        face = self.owner.face
        keys = ("Username", "Password", "Nonce", "Created")
        parts = {key: re.search(rf"<{key}(?: [^>]*)?>([^<]*)<", text) for key in keys}
        if any(part is None for part in parts.values()):
            return False
        user, given, nonce, created = (part[1] for part in parts.values() if part is not None)
        at = datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        fresh = abs(at - datetime.now(UTC) - face.ahead) < TOLERANCE
        return fresh and user == face.user and given == password_digest(b64decode(nonce), created, face.password)

    def _digest_is_good(self) -> bool:
        face = self.owner.face
        given = self.headers.get("Authorization", "")
        words = {key: quoted or plain for key, quoted, plain in CHALLENGE.findall(given.partition(" ")[2])}
        if words.get("nonce") not in self.owner.nonces or words.get("username") != face.user:
            return False

        def hashed(*parts: str) -> str:
            return hashlib.md5(":".join(parts).encode()).hexdigest()

        first = hashed(face.user, "camera", face.password)
        middle = (words["nonce"], words.get("nc", ""), words.get("cnonce", ""), "auth")
        return words.get("response") == hashed(first, *middle, hashed("GET", self.path))
