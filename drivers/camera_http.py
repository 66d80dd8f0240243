"""A request to a camera over HTTP, with the Digest answer that cameras ask for, and an end whatever it does.

Nothing is followed elsewhere, no proxy is asked, and nobody gets the password in clear: Basic is answered over https
alone.  Digest as in RFC 7616 (A): MD5 and SHA-256, with and without qop=auth.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Timer
from urllib.parse import urlsplit

from drivers.base import BadReply, NoReply
from station.model import dataclass, field

DIGESTS: Mapping[str, Callable[[bytes], hashlib._Hash]] = {"md5": hashlib.md5, "sha-256": hashlib.sha256}
CHALLENGE = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks; the password stands in no text of an object."""

    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    challenges: tuple[str, ...] = ()


def fetch(
    method: str, url: str, *, account: Account, seconds: float, most_bytes: int,
    alive: Callable[[], bool] = lambda: True, body: bytes = b"", headers: Mapping[str, str] | None = None,
) -> Answer:  # fmt: skip
    """What *url* answers within *seconds*, asked a second time where it wants to know who asks; raise DeviceError."""
    until = time.monotonic() + seconds
    given = dict(headers or {})
    answer = _once(method, url, body, given, until, seconds, most_bytes)
    if answer.status == 401 and account.user and alive():
        given["Authorization"] = authorization(method, url, answer.challenges, account)
        answer = _once(method, url, body, given, until, seconds, most_bytes)
    if answer.status in (401, 403):
        raise BadReply(f"{_place(url)}: does not let this account in ({answer.status}); look at user and password_file")
    return answer


def _once(
    method: str, url: str, body: bytes, headers: Mapping[str, str], until: float, seconds: float, most_bytes: int
) -> Answer:
    parts, where = urlsplit(url), _place(url)
    left = until - time.monotonic()
    if left <= 0:
        raise NoReply(f"{where}: no answer within {seconds:g} s")
    if parts.scheme == "https":
        context = ssl.create_default_context()
        link: http.client.HTTPConnection = http.client.HTTPSConnection(parts.netloc, timeout=left, context=context)
    else:
        link = http.client.HTTPConnection(parts.netloc, timeout=left)
    timer: Timer | None = None
    try:
        link.connect()
        # One that says a byte now and then never meets a time-out of the socket.
        timer = Timer(max(0.0, until - time.monotonic()), _shut, (link.sock,))
        timer.daemon = True
        timer.start()
        link.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body or None,
                     {"Connection": "close", **headers})  # fmt: skip
        response = link.getresponse()
        data = response.read(most_bytes + 1)
        whole = response.length in (None, 0)
        challenges = tuple(response.headers.get_all("WWW-Authenticate") or ())
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= until or isinstance(error, TimeoutError):
            raise NoReply(f"{where}: no answer within {seconds:g} s") from error
        if isinstance(error, OSError):
            raise NoReply(f"{where}: cannot be asked ({error.strerror or error})") from error
        raise BadReply(f"{where}: what it answers is no HTTP ({type(error).__name__})") from error
    finally:
        if timer is not None:
            timer.cancel()
        link.close()
    if len(data) > most_bytes:
        raise BadReply(f"{where}: the answer has more than {most_bytes >> 10} KiB")
    if time.monotonic() >= until:
        raise NoReply(f"{where}: no whole answer within {seconds:g} s")
    if not whole:
        raise BadReply(f"{where}: the answer broke off after {len(data)} bytes")
    return Answer(response.status, data, challenges)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def authorization(
    method: str, url: str, challenges: tuple[str, ...], account: Account, nonce: str | None = None
) -> str:
    """The header that answers *challenges*; raise BadReply where none can be answered.

    The example of RFC 7616 3.9.1:

    >>> asked = ('Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
    ...          'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe"',)
    >>> account = Account("Mufasa", "Circle of Life")
    >>> made = authorization("GET", "http://a/dir/index.html", asked, account,
    ...                      "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    >>> "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1" in made
    True
    """
    for challenge in challenges:
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme.lower() == "basic" and urlsplit(url).scheme == "https":
            return "Basic " + b64encode(f"{account.user}:{account.password}".encode()).decode()
        if scheme.lower() != "digest":
            continue
        asked = {key.lower(): quoted or plain for key, quoted, plain in CHALLENGE.findall(rest)}
        algorithm = asked.get("algorithm", "MD5")
        digest = DIGESTS.get(algorithm.lower())
        qops = [word.strip() for word in asked.get("qop", "").split(",") if word.strip()]
        if digest is None or "nonce" not in asked or (qops and "auth" not in qops):
            continue
        return _digest(method, url, asked, algorithm, bool(qops), account, nonce or os.urandom(16).hex())
    raise BadReply(
        f"{_place(url)}: asks for a way to sign in that is not taken here; Digest is, and Basic over https alone"
    )


def _digest(
    method: str, url: str, asked: Mapping[str, str], algorithm: str, qop: bool, account: Account, nonce: str
) -> str:
    def hashed(*words: str) -> str:
        return DIGESTS[algorithm.lower()](":".join(words).encode()).hexdigest()

    parts = urlsplit(url)
    uri = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    realm = asked.get("realm", "")
    first, second = hashed(account.user, realm, account.password), hashed(method, uri)
    middle = (asked["nonce"], "00000001", nonce, "auth") if qop else (asked["nonce"],)
    words = {
        "username": account.user, "realm": realm, "nonce": asked["nonce"], "uri": uri,
        "response": hashed(first, *middle, second), **({"opaque": asked["opaque"]} if "opaque" in asked else {}),
    }  # fmt: skip
    said = ", ".join(f'{key}="{value}"' for key, value in words.items())
    counted = f', qop=auth, nc=00000001, cnonce="{nonce}"' if qop else ""
    return f"Digest {said}, algorithm={algorithm}{counted}"
