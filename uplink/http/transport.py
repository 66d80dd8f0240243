"""One request, one answer: TLS with its pins, proxy, limits, and every way to fail as one sentence.

Requests blocks, resolvers cannot be told to hurry, and a server may send a byte a second for ever.  So each exchange
runs in a thread of its own, while the uplink's thread shows that it lives and gives up at a deadline.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from http.client import IncompleteRead, RemoteDisconnected, responses
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.retry import Retry

from station.model import ConfigError, StationError
from uplink.base import LinkDown, NotAcknowledged
from uplink.trust import PinMismatch, Trust, certificate_words, check_pins, said

ANSWER_LIMIT = 64 * 1024
WAIT_SECONDS = 0.25  # a look at stop and a sign of life in between
CONNECT_TRIES = 1  # more by urllib3, of connections alone: a request once sent is never repeated by it
TUNNEL = "Tunnel connection failed: "  # http.client's words
BROKEN = (ConnectionResetError, BrokenPipeError, RemoteDisconnected, IncompleteRead, urllib3.exceptions.ProtocolError)


class Stopped(Exception):
    """The station stops while an answer is awaited; what was sent is owed again."""


class Answer(NamedTuple):
    """What came back; *text* is at most ANSWER_LIMIT bytes, *cut* says that there was more."""

    status: int
    headers: Mapping[str, str]
    text: str
    cut: bool = False

    @property
    def phrase(self) -> str:
        """The status in words."""
        return f"{self.status} {responses.get(self.status, '')}".strip()


class _Adapter(HTTPAdapter):
    """Requests over our own TLS context, each new connection held against the pins before a byte is sent."""

    def __init__(self, trust: Trust, secure: bool, opened: list[Any]) -> None:
        self._context = trust.context() if secure else None

        class Connection(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                opened[:] = [self]
                try:
                    check_pins(self.sock, trust.pins)
                except PinMismatch:
                    self.close()
                    raise

        class Pool(HTTPSConnectionPool):
            ConnectionCls = Connection

        self._pools = {"http": _plain_pool(opened), "https": Pool}
        tries = Retry(total=CONNECT_TRIES, connect=CONNECT_TRIES, read=0, redirect=0, status=0, other=0)
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=tries)

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        made = super().proxy_manager_for(proxy, **more, ssl_context=self._context)
        made.pool_classes_by_scheme = self._pools
        return made

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Ours is the context's: requests would add a bundle of its own to the system's trust."""


def _plain_pool(opened: list[Any]) -> type[HTTPConnectionPool]:
    class Connection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            opened[:] = [self]

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


class Transport:
    """Requests to one platform, each within *seconds*; *alive* is called while an answer is awaited.

    *alive* returns false when the station stops.
    """

    def __init__(
        self, base: str, trust: Trust, *, seconds: float, connect_seconds: float, proxy: str, alive: Callable[[], bool],
        now: Callable[[], str], monotonic: Callable[[], float],
    ) -> None:  # fmt: skip
        self.base, self._seconds, self._connect_seconds = base.rstrip("/"), seconds, connect_seconds
        self._alive, self._now, self._monotonic = alive, now, monotonic
        self._opened: list[Any] = []  # the newest connection, to be cut off at a deadline
        self._session = requests.Session()
        self._session.trust_env = False  # no proxies and no .netrc from the environment of a service
        self._session.mount("https://", _Adapter(trust, base.startswith("https:"), self._opened))
        self._session.mount("http://", _Adapter(Trust(), False, self._opened))
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}

    def close(self) -> None:
        """Let the connections go."""
        self._session.close()

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send it, and what came back; raise LinkDown, NotAcknowledged or Stopped."""
        done: list[Any] = []
        url = self.base + (path if path.startswith("/") or not path else f"/{path}")

        def exchange() -> None:
            try:
                done.append(self._exchange(method, url, body, headers))
            except BaseException as error:  # noqa: BLE001 - carried to the uplink's thread, raised there
                done.append(error)

        thread = Thread(target=exchange, name="exchange", daemon=True)
        thread.start()
        deadline = self._monotonic() + self._seconds + self._connect_seconds * (CONNECT_TRIES + 1)
        while thread.is_alive():
            thread.join(WAIT_SECONDS)
            going = self._alive()
            if thread.is_alive() and (not going or self._monotonic() > deadline):
                self._cut()
                if not going:
                    raise Stopped
                raise NotAcknowledged(f"{self.base}: no whole answer within {self._seconds:g} s")
        (came,) = done
        if isinstance(came, Answer):
            return came
        raise self._as_ours(came) from came

    def _exchange(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        response = self._session.request(
            method, url, data=body, headers={"User-Agent": "niutang-station", **headers}, stream=True,
            timeout=(self._connect_seconds, self._seconds), allow_redirects=False, proxies=self._proxies,
        )  # fmt: skip
        with contextlib.closing(response):
            text = b""
            for piece in response.iter_content(4096):
                text += piece
                if len(text) > ANSWER_LIMIT:
                    break
            cut = len(text) > ANSWER_LIMIT
            return Answer(
                response.status_code,
                {name.lower(): value for name, value in response.headers.items()},
                text[:ANSWER_LIMIT].decode("utf-8", "replace"),
                cut,
            )

    def _cut(self) -> None:
        for connection in self._opened:
            with contextlib.suppress(OSError, AttributeError, TypeError, ValueError):  # none yet, or closed
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def _as_ours(self, error: BaseException) -> BaseException:
        """*error* as one of ours, with one sentence."""
        if not isinstance(error, Exception):
            return error
        chain = list(_causes(error))
        for one in chain:
            if isinstance(one, ConfigError):
                return one
        if any(isinstance(one, BROKEN) for one in chain):
            return NotAcknowledged(f"{self.base}: the connection broke before the answer was whole")
        if any(isinstance(one, requests.ReadTimeout | TimeoutError) for one in chain):
            if any(isinstance(one, requests.ConnectTimeout | urllib3.exceptions.ConnectTimeoutError) for one in chain):
                return LinkDown(f"{self.base}: no connection within {self._connect_seconds:g} s")
            return NotAcknowledged(f"{self.base}: no answer within {self._seconds:g} s")
        if any(isinstance(one, requests.exceptions.ContentDecodingError) for one in chain):
            return NotAcknowledged(f"{self.base}: its answer cannot be unpacked")
        if isinstance(error, UnicodeError):
            return LinkDown(f"{self.base}: a header would hold what is not Latin-1, which HTTP cannot carry")
        known = requests.RequestException | urllib3.exceptions.HTTPError | OSError | StationError | ValueError
        if isinstance(error, known):
            return LinkDown(f"{self.base}: {self._words(chain)}")
        return error

    def _words(self, chain: Sequence[BaseException]) -> str:
        by_proxy = any(isinstance(one, requests.exceptions.ProxyError | urllib3.exceptions.ProxyError) for one in chain)
        for one in chain:
            if str(one).startswith(TUNNEL):
                return f"the proxy lets nothing through ({str(one).removeprefix(TUNNEL)[:80]})"
            if isinstance(one, PinMismatch):
                return str(one)
            if isinstance(one, ssl.SSLCertVerificationError):
                return certificate_words(one, self._now())
            if isinstance(one, ssl.SSLError):
                return f"TLS cannot be agreed on ({said(one)})"
            if isinstance(one, socket.gaierror):
                return "the proxy's name has no address" if by_proxy else "the name has no address"
            if isinstance(one, ConnectionRefusedError):
                return "the proxy: connection refused" if by_proxy else "connection refused"
        for one in chain:
            if isinstance(one, OSError) and one.strerror and not isinstance(one, requests.RequestException):
                return one.strerror.lower()
        return f"the request could not be made ({type(chain[0]).__name__})"


def _causes(error: BaseException) -> Any:
    """*error* and everything it wraps, however it does so."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (getattr(one, name, None) for name in ("reason", "original_error", "__cause__", "__context__"))
        waiting += [*inner, *(arg for arg in one.args if isinstance(arg, BaseException))]


def proxy_with(proxy: str, account: str) -> str:
    """*proxy* with the "user:password" of a credential in it.

    >>> proxy_with("http://10.0.0.1:3128", "me:p@ss")
    'http://me:p%40ss@10.0.0.1:3128'
    """
    if not account:
        return proxy
    scheme, _, rest = proxy.partition("://")
    user, _, word = account.partition(":")
    return f"{scheme}://{quote(user, safe='')}:{quote(word, safe='')}@{rest}"
