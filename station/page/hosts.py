"""By which names the page may be called: a foreign one is a page elsewhere that points a browser here.

That is called DNS rebinding; it needs a name, which is why our own addresses are good however they come about.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

LOOK_AGAIN = 5.0  # seconds; an address can come with the network at any time
_LOCAL = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL")


class Hosts:
    """The names that are ours: those of the configuration, this host's, and its own addresses."""

    def __init__(self, names: Iterable[str], net: Path = Path("/proc/net")) -> None:
        host = socket.gethostname().lower().rstrip(".")
        short = host.partition(".")[0]
        self._names = {"localhost", host, short, f"{short}.local", *(name.lower().rstrip(".") for name in names)}
        self._net = net
        self._addresses: frozenset[str] = frozenset()
        self._looked = -LOOK_AGAIN

    def knows(self, given: str) -> bool:
        """Whether a request for the Host *given* is meant for us."""
        name = bare(given)
        if name is None:
            return False
        if name in self._names:
            return True
        try:
            address = str(ip_address(name))
        except ValueError:
            return False
        return address in self.addresses()

    def addresses(self) -> frozenset[str]:
        """This host's own addresses, loopback among them."""
        if time.monotonic() - self._looked > LOOK_AGAIN:
            self._addresses, self._looked = frozenset(own_addresses(self._net)), time.monotonic()
        return self._addresses


def bare(given: str) -> str | None:
    """The name in a Host header without its port, in small letters; None where it is no such header.

    >>> bare("Pi.local:8080"), bare("[::1]:80"), bare("[::1]"), bare("a b"), bare("a:b:c"), bare("x:")
    ('pi.local', '::1', '::1', None, None, None)
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", given, re.ASCII)
    return (match[1] or match[2]).lower().rstrip(".") if match else None


def own_addresses(net: Path = Path("/proc/net")) -> set[str]:
    """The addresses of this host as the kernel lists them."""
    found = {"127.0.0.1", "::1"}
    with suppress(OSError):
        found |= set(_LOCAL.findall((net / "fib_trie").read_text(encoding="ascii", errors="replace")))
    with suppress(OSError, ValueError, IndexError):
        for line in (net / "if_inet6").read_text(encoding="ascii", errors="replace").splitlines():
            found.add(str(ip_address(bytes.fromhex(line.split()[0]))))
    return found
