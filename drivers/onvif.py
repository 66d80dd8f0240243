"""Where an ONVIF camera has its still and its stream: four requests of SOAP, no more of ONVIF than that.

Sources: ONVIF Core and Media service specifications as retold by open clients (B); WS-UsernameToken digest:
Base64(SHA-1(nonce + created + password)), OASIS UsernameToken profile 1.0 (A).  The camera's own clock dates the
token, for cameras refuse one that is minutes off.  Addresses in its answers are taken for their path and port alone:
behind a router a camera names an address of its inside, and no answer may send the password to another host.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from drivers.base import BadReply, DeviceError
from drivers.camera_http import Account, fetch
from drivers.still import Limits, Still, bare, from_http, from_stream

LONGEST = 256 << 10  # bytes of an answer
SOAP = "http://www.w3.org/2003/05/soap-envelope"
SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
PROFILE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0"
ENCODING = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0"
DEVICE = "http://www.onvif.org/ver10/device/wsdl"
MEDIA = "http://www.onvif.org/ver10/media/wsdl"
SCHEMA = "http://www.onvif.org/ver10/schema"


class Onvif:
    """A camera by the address of its device service, such as http://192.168.1.64/onvif/device_service."""

    def __init__(self, url: str, account: Account, limits: Limits, alive: Callable[[], bool]) -> None:
        self.url, self.account, self.limits, self.alive = url, account, limits, alive
        self._ahead = timedelta(0)

    def still(self) -> Still:
        """A picture by its still's address, or else by its stream; raise DeviceError."""
        self._ahead = self._clock()
        media = self._media()
        profile = self._profile(media)
        token = escape(profile, {'"': "&quot;"})
        try:
            address = self._uri(media, f'<GetSnapshotUri xmlns="{MEDIA}"><ProfileToken>{token}</ProfileToken>'
                                       "</GetSnapshotUri>", ("http", "https"))  # fmt: skip
        except BadReply:
            address = ""  # stills are optional in ONVIF; a stream is not
        if address:
            return from_http(address, self.account, self.limits, self.alive)
        setup = (
            f'<StreamSetup><Stream xmlns="{SCHEMA}">RTP-Unicast</Stream>'
            f'<Transport xmlns="{SCHEMA}"><Protocol>RTSP</Protocol></Transport></StreamSetup>'
        )
        asked = f'<GetStreamUri xmlns="{MEDIA}">{setup}<ProfileToken>{token}</ProfileToken></GetStreamUri>'
        return from_stream(self._uri(media, asked, ("rtsp",)), self.account, self.limits, self.alive)

    def _clock(self) -> timedelta:
        """How far the camera's clock is ahead of ours; nothing where it does not say."""
        try:
            found = self._ask(self.url, f'<GetSystemDateAndTime xmlns="{DEVICE}"/>', signed=False)
            utc = found.find(f".//{{{SCHEMA}}}UTCDateTime")
            words = ("Date", "Year"), ("Date", "Month"), ("Date", "Day"), ("Time", "Hour"), ("Time", "Minute"), (
                "Time", "Second")  # fmt: skip
            read = [int(_text(utc, f"{{{SCHEMA}}}{a}/{{{SCHEMA}}}{b}")) for a, b in words] if utc is not None else []
            return datetime(*read, tzinfo=UTC) - datetime.now(UTC) if read else timedelta(0)  # type: ignore[misc,arg-type]
        except (BadReply, ValueError, OverflowError):
            return timedelta(0)

    def _media(self) -> str:
        found = self._ask(
            self.url, f'<GetCapabilities xmlns="{DEVICE}"><Category>Media</Category></GetCapabilities>'
        )
        address = _text(found, f".//{{{SCHEMA}}}Media/{{{SCHEMA}}}XAddr")
        if not address:
            raise BadReply(f"{bare(self.url)}: names no media service")
        return self._here(address, ("http", "https"))

    def _profile(self, media: str) -> str:
        found = self._ask(media, f'<GetProfiles xmlns="{MEDIA}"/>')
        first = found.find(f".//{{{MEDIA}}}Profiles")
        token = "" if first is None else first.get("token", "")
        if not token or len(token) > 256:
            raise BadReply(f"{bare(self.url)}: has no media profile")
        return token

    def _uri(self, media: str, asked: str, schemes: tuple[str, ...]) -> str:
        address = _text(self._ask(media, asked), f".//{{{SCHEMA}}}Uri")
        if not address:
            raise BadReply(f"{bare(self.url)}: named no address")
        return self._here(address, schemes)

    def _here(self, address: str, schemes: tuple[str, ...]) -> str:
        """*address* at the host that we were told of; raise BadReply where it is of another kind."""
        try:
            parts, ours = urlsplit(address.strip()), urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise BadReply(f"{bare(self.url)}: named an address that is none") from error
        if parts.scheme not in schemes or not address.strip().isprintable() or " " in address.strip():
            raise BadReply(f"{bare(self.url)}: named an address that is not {' or '.join(schemes)}")
        host = ours.hostname or ""
        host = f"[{host}]" if ":" in host else host
        if parts.hostname != ours.hostname and parts.scheme == ours.scheme:
            port = ours.port  # the router's, for the camera knows only its own
        return urlunsplit(parts._replace(netloc=host + (f":{port}" if port else "")))

    def _ask(self, url: str, body: str, *, signed: bool = True) -> ElementTree.Element:
        """The answer's body; raise DeviceError."""
        head = self._token() if signed and self.account.user else ""
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{SOAP}">{head}<s:Body>{body}</s:Body>'
            "</s:Envelope>"
        )
        answer = fetch(
            "POST", url, account=self.account if signed else Account(), seconds=self.limits.seconds,
            most_bytes=LONGEST, alive=self.alive, body=text.encode(),
            headers={"Content-Type": "application/soap+xml; charset=utf-8"},
        )  # fmt: skip
        found = parsed(answer.body, bare(url))
        fault = found.find(f".//{{{SOAP}}}Fault")
        if fault is not None or answer.status != 200:
            said = "" if fault is None else " ".join("".join(fault.itertext()).split())[:120]
            refused = "otauthorized" in said.replace(" ", "").lower()
            why = "does not let this account in; look at user and password_file" if refused else "answered with a fault"
            raise (Refused if refused else BadReply)(f"{bare(url)}: {why} ({said or answer.status})")
        return found

    def _token(self) -> str:
        nonce = os.urandom(16)
        created = (datetime.now(UTC) + self._ahead).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            f'<s:Header><Security xmlns="{SECURITY}" s:mustUnderstand="1"><UsernameToken>'
            f"<Username>{escape(self.account.user)}</Username>"
            f'<Password Type="{PROFILE}#PasswordDigest">{password_digest(nonce, created, self.account.password)}'
            f'</Password><Nonce EncodingType="{ENCODING}#Base64Binary">{b64encode(nonce).decode()}</Nonce>'
            f'<Created xmlns="{UTILITY}">{created}</Created></UsernameToken></Security></s:Header>'
        )


class Refused(DeviceError):
    """Error raised when a camera knows the account not, or its password."""


def password_digest(nonce: bytes, created: str, password: str) -> str:
    """What stands in the token in place of the password.

    The example of the ONVIF programmer's guide (B):

    >>> from base64 import b64decode
    >>> password_digest(b64decode("LKqI6G/AikKCQrN0zqZFlg=="), "2010-09-16T07:50:45Z", "userpassword")
    'tuOSpGlFlIXsozq4HFNeeGeFLEI='
    """
    return b64encode(hashlib.sha1(nonce + created.encode() + password.encode()).digest()).decode()


def parsed(data: bytes, where: str) -> ElementTree.Element:
    """The XML in *data*; raise BadReply.  A document type is refused: entities can be made to grow without end."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise BadReply(f"{where}: answered with XML that defines entities")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise BadReply(f"{where}: answered with what is no SOAP ({len(data)} bytes)") from error


def _text(element: ElementTree.Element | None, path: str) -> str:
    found = None if element is None else element.find(path)
    return "" if found is None else (found.text or "").strip()
