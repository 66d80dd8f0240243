"""The page's own process: waitress with limits for clients that are slow, many or greedy."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from station.config import Loaded, load
from station.model import StationError
from station.page.app import LARGEST_BODY, create_app
from station.page.settings import FIRST_FREE_PORT, PageSettings, low_port

log = logging.getLogger(__name__)

THREADS = 4
MOST_CONNECTIONS, MOST_OF_ONE_ADDRESS = 80, 24
LARGEST_HEADER = 16 << 10  # bytes
WHOLE_REQUEST_SECONDS = 15.0  # from its first byte to its last, however the bytes drip
IDLE_SECONDS = 30
STUCK_SECONDS = 60.0  # an answer of which nobody takes a byte
CLEAN_UP_SECONDS = 2
EX_UNAVAILABLE = 69


class NoAddress(StationError):
    """Error raised when the page cannot listen where it is told to."""

    exit_code = EX_UNAVAILABLE


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows since when a request has been coming in."""

    began: float | None = None

    def received(self, data: bytes) -> bool:
        """Take in *data*; note when the request in it began."""
        more: bool = super().received(data)
        if self.request is None:
            self.began = None
        elif self.began is None:
            self.began = time.monotonic()
        return more

    def too_slow(self) -> bool:
        """Whether its request has been on the way for too long, or its answer is not being taken."""
        if self.began is not None and time.monotonic() - self.began > self.server.whole_request_seconds:
            return True
        return bool(self.total_outbufs_len) and time.time() - self.last_activity > STUCK_SECONDS


class Server(TcpWSGIServer):  # type: ignore[misc]
    """waitress, with a time for the whole of a request and a number of connections for each address."""

    channel_class = Channel
    whole_request_seconds = WHOLE_REQUEST_SECONDS

    def getsockname(self) -> tuple[str, str]:
        """Where it listens, in numbers: a name would be asked of a name server, which a cabinet does not have."""
        host, port = self.socket.getsockname()[:2]
        return str(host), str(port)

    def maintenance(self, now: float) -> None:
        """Close what stands still, drips, or is one of too many from one address."""
        super().maintenance(now)
        count: Counter[str] = Counter()
        for channel in list(self.active_channels.values()):
            count[str(channel.addr[0])] += 1
            if channel.too_slow():
                channel.will_close = True

    def handle_accept(self) -> None:
        """Let a connection in, unless its address has enough of them."""
        super().handle_accept()
        channels = list(self.active_channels.values())
        if not channels:
            return
        newest = channels[-1]
        if newest.addr[0] == self.adj.trusted_proxy:
            return  # many stand behind it
        if sum(one.addr[0] == newest.addr[0] for one in channels) > MOST_OF_ONE_ADDRESS:
            newest.will_close = True


def make_server(app: Any, settings: PageSettings, port: int | None = None, threads: int = THREADS) -> Server:
    """A server of *app* that listens and does not run yet; raise NoAddress."""
    listen = settings.listen or "0.0.0.0"
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((listen, settings.port if port is None else port))
    except OSError as error:
        sock.close()
        place = f"{listen} port {settings.port if port is None else port}"
        if isinstance(error, PermissionError) and settings.port < FIRST_FREE_PORT:
            raise NoAddress(f"{place}: the page may not listen there; {low_port(settings.port)}") from error
        raise NoAddress(
            f"{place}: the page cannot listen there ({error.strerror or error}); see listen and port under [page]"
        ) from error
    proxy: dict[str, Any] = {}
    if settings.trusted_proxy:
        headers = {"x-forwarded-for", "x-forwarded-proto"}
        mapped = family == socket.AF_INET6 and ":" not in settings.trusted_proxy  # as it comes to such a socket
        address = f"::ffff:{settings.trusted_proxy}" if mapped else settings.trusted_proxy
        proxy = {"trusted_proxy": address, "trusted_proxy_count": 1, "trusted_proxy_headers": headers}
    adjustments = Adjustments(
        sockets=[sock], threads=threads, connection_limit=MOST_CONNECTIONS, cleanup_interval=CLEAN_UP_SECONDS,
        channel_timeout=IDLE_SECONDS, max_request_header_size=LARGEST_HEADER, max_request_body_size=LARGEST_BODY,
        ident=None, expose_tracebacks=False, clear_untrusted_proxy_headers=True, backlog=64, **proxy,
    )  # fmt: skip
    info = (sock.family, sock.type, sock.proto, sock.getsockname())
    return Server(app, {}, True, sock, adj=adjustments, sockinfo=info, bind_socket=False)


def serve(loaded: Loaded) -> None:
    """Serve the page of *loaded* until SIGTERM."""
    server = make_server(create_app(loaded), loaded.config.page or PageSettings())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    gc.collect()
    gc.freeze()  # what is loaded stays
    gc.enable()
    log.info("page of %s: http://%s:%s", loaded.config.station.name, server.effective_host, server.effective_port)
    try:
        server.run()  # ends with SystemExit, which it takes for a wish to stop
    finally:
        server.close()


def _stop(*_: object) -> None:
    raise SystemExit(0)


def main(arguments: Sequence[str]) -> int:
    """Serve the page of the station described by `--config FILE`; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # says for each click that a thread was busy
    try:
        serve(load(Path(arguments[arguments.index("--config") + 1]), secrets=False))
    except StationError as error:
        for line in str(error).splitlines():
            log.error("%s", line)
        return error.exit_code
    return 0
