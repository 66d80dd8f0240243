"""Asks chronyd on this host whether it hears a time server, as `chronyc tracking` does: one datagram each way.

The form is that of chrony's protocol version 6 (since chrony 3.0; read in its header candm.h): a request 33 of 104
bytes to 127.0.0.1:323, an answer of form 5.  Tried with chronyd 4.3 of Debian 12 (tests/station/test_chronyd.py).
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

ADDRESS = ("127.0.0.1", 323)
PATIENCE = 0.2  # seconds an answer may take; it comes from the same host
KEPT_SECONDS = 10.0  # how long an answer is believed
TRACKING, TRACKING_REPLY = 33, 5
REQUEST = struct.Struct(">BBxxHHIII84x")
HEAD = struct.Struct(">BBxxHHHxxxxxxIxxxxxxxx")
BODY = struct.Struct(">I20xHHIIIi")  # reference, its address, stratum, leap, time of the reference, correction left
NOT_SYNCHRONISED = 3  # leap indicator
ITSELF = 0x7F7F0101  # 127.127.1.1: chronyd's `local`, which is this host's own clock
CLOSE = 1.0  # seconds; a larger correction is still under way


class Chronyd:
    """What chronyd said last; *now* is monotonic."""

    def __init__(self, address: tuple[str, int] = ADDRESS, now: Callable[[], float] = time.monotonic) -> None:
        self._address, self._now = address, now
        self._until, self._said = -KEPT_SECONDS, False

    def synchronised(self) -> bool:
        """Whether a time server is heard and the clock is within a second of it."""
        if self._now() >= self._until:
            self._said, self._until = self._ask(), self._now() + KEPT_SECONDS
        return self._said

    def _ask(self) -> bool:
        sequence = time.monotonic_ns() & 0xFFFFFFFF
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talk:
            talk.settimeout(PATIENCE)
            try:
                talk.connect(self._address)
                talk.send(REQUEST.pack(6, 1, TRACKING, 0, sequence, 0, 0))
                return tracks(talk.recv(1024), sequence)
            except OSError:  # nobody there, or silent
                return False


CHRONYD = Chronyd()  # one for the process: its answer is kept for a while


def tracks(answer: bytes, sequence: int) -> bool:
    """Whether *answer* to request *sequence* says that a time server is followed."""
    if len(answer) < HEAD.size + BODY.size:
        return False
    version, kind, command, form, status, echoed = HEAD.unpack_from(answer)
    if (version, kind, command, form, status, echoed) != (6, 2, TRACKING, TRACKING_REPLY, 0, sequence):
        return False
    reference, stratum, leap, _, _, _, correction = BODY.unpack_from(answer, HEAD.size)
    if leap == NOT_SYNCHRONISED or not 0 < stratum < 16 or reference in (0, ITSELF):
        return False
    return abs(number(correction)) < CLOSE


def number(packed: int) -> float:
    """chrony's float: a signed exponent of 7 bits above a signed coefficient of 25.

    >>> number(0x04800000)  # 2**23 * 2**(2 - 25)
    1.0
    >>> number((2 << 25) | 0x1800000)
    -1.0
    """
    exponent, coefficient = packed >> 25 & 0x7F, packed & 0x1FFFFFF
    exponent -= (exponent & 0x40) << 1
    coefficient -= (coefficient & 0x1000000) << 1
    return float(coefficient * 2.0 ** (exponent - 25))
