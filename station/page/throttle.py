"""How often somebody may try: each failure doubles the wait, for one address and, more mildly, for all of them.

The wait of all would let one who goes on failing keep everybody out: it is not for an address that was right before,
nor for codes, of which nobody guesses one (59 bits, for a day).  Kept in memory: whoever stands at the machine is never
locked out, `station page` does not pass here, and a one-time code from it has a count of its own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

FREE_TRIES, FREE_TRIES_OF_ALL = 5, 50  # failures before the first wait
LONGEST_WAIT, LONGEST_WAIT_OF_ALL = 900.0, 30.0  # seconds
FORGET_AFTER = 3600.0  # seconds without a failure
MOST_ADDRESSES, MOST_KNOWN = 4096, 256


class Throttle:
    """Counts failures of one kind of try."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, of_all: bool = True) -> None:
        self._clock, self._for_all = clock, of_all
        self._lock = Lock()
        self._by_address: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._of_all = (0, 0.0)
        self._known: OrderedDict[str, None] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until *address* may try again; 0 when it may now."""
        with self._lock:
            now = self._clock()
            own = self._left(self._by_address.get(address, (0, 0.0)), FREE_TRIES, LONGEST_WAIT, now)
            if address in self._known or not self._for_all:
                return own
            return max(own, self._left(self._of_all, FREE_TRIES_OF_ALL, LONGEST_WAIT_OF_ALL, now))

    def failed(self, address: str) -> None:
        """*address* tried and was wrong."""
        with self._lock:
            now = self._clock()
            self._by_address[address] = self._counted(self._by_address.pop(address, (0, 0.0)), now)
            self._of_all = self._counted(self._of_all, now)
            while len(self._by_address) > MOST_ADDRESSES:
                self._by_address.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """*address* was right: its own count begins anew, that of all does not, and keeps it out no more."""
        with self._lock:
            self._by_address.pop(address, None)
            self._known.pop(address, None)
            self._known[address] = None
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

    def forget_all(self) -> None:
        """Begin anew."""
        with self._lock:
            self._by_address.clear()
            self._known.clear()
            self._of_all = (0, 0.0)

    @staticmethod
    def _counted(seen: tuple[int, float], now: float) -> tuple[int, float]:
        count, last = seen
        return (1 if now - last > FORGET_AFTER else count + 1), now

    @staticmethod
    def _left(seen: tuple[int, float], free: int, longest: float, now: float) -> float:
        count, last = seen
        if count < free or now - last > FORGET_AFTER:
            return 0.0
        return max(0.0, last + min(longest, 2.0 ** min(count - free, 20)) - now)


def address_group(address: str) -> str:
    """What counts as one address: an IPv6 host has a whole /64 to itself.

    >>> address_group("192.168.1.20"), address_group("fe80::1:2:3:4%eth0"), address_group("::ffff:10.0.0.1")
    ('192.168.1.20', 'fe80:0000:0000:0000', '10.0.0.1')
    """
    from ipaddress import IPv6Address, ip_address

    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped) if found.ipv4_mapped else found.exploded[:19]
    return str(found)
