"""Modbus RTU frames as a bystander sees them: read from hex, measured, found in a stream, paired."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from drivers.line import OVERHEAD_BYTES, REQUEST_BYTES, crc16
from station.model import dataclass

SHORTEST, LONGEST = 4, 256  # bytes of a frame (Modbus over serial line V1.02, 2.5.1)
EXCEPTION_BIT = 0x80
READS = (1, 2, 3, 4)
WRITES = (5, 6, 15, 16)
ALONE = 248  # addresses from here on are answered by whoever is there, under its own address or this one
PARTED_SECONDS = 2.0  # a request that was not answered for so long was answered by nobody


class Piece(NamedTuple):
    """Bytes from the line: *way* is "request", "reply" or "noise"; *at* is when they came, in seconds."""

    at: float
    way: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request with what answered it; either may be missing (empty)."""

    at: float
    request: bytes
    reply: bytes
    seconds: float = 0.0  # from the request's end to the reply, where both were timed


def from_hex(text: str) -> bytes:
    """The bytes written in *text*: in any case, with or without spaces, 0x, colons, commas; ValueError if none.

    >>> from_hex("0x01 0x03, 00:0A").hex(), from_hex("0103000a").hex(), from_hex("0x1 0x3 0x0 0xa").hex()
    ('0103000a', '0103000a', '0103000a')
    """
    padded = re.sub(r"(?i)0x([0-9a-f])(?![0-9a-f])", r"0\1", text)
    digits = "".join(re.split(r"(?i)\\x|0x|[\s,:-]", padded))
    if not digits or not re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", digits):
        raise ValueError(f"{text!r} is not pairs of hexadecimal digits")
    return bytes.fromhex(digits)


def to_hex(data: bytes) -> str:
    """*data* as pages and logs show it.

    >>> to_hex(b"\\x01\\x0a")
    '01 0A'
    """
    return data.hex(" ").upper()


def sealed(body: bytes) -> bytes:
    """*body* with its CRC."""
    return body + crc16(body)


def is_sound(frame: bytes) -> bool:
    """Whether *frame* is long enough to be one and ends with its CRC."""
    return len(frame) >= SHORTEST and crc16(frame[:-2]) == frame[-2:]


def request_length(data: bytes) -> int | None:
    """How long the request that begins with *data* is; None where its function does not tell, or not yet.

    >>> request_length(bytes.fromhex("0103")), request_length(bytes.fromhex("01100000000204"))
    (8, 13)
    """
    function = data[1] if len(data) > 1 else 0
    if function in (*READS, 5, 6):
        return REQUEST_BYTES
    if function in (15, 16):
        return 9 + data[6] if len(data) > 6 else None
    return {7: 4, 11: 4, 12: 4, 17: 4, 22: 10}.get(function)


def reply_length(data: bytes) -> int | None:
    """How long the reply that begins with *data* is; None where its function does not tell, or not yet.

    >>> reply_length(bytes.fromhex("010304")), reply_length(bytes.fromhex("0183"))
    (9, 5)
    """
    function = data[1] if len(data) > 1 else 0
    if function & EXCEPTION_BIT:
        return OVERHEAD_BYTES
    if function in (*READS, 12, 17, 23):
        return OVERHEAD_BYTES + data[2] if len(data) > 2 else None
    if function in WRITES:
        return REQUEST_BYTES
    return {7: 5, 11: 8, 22: 10}.get(function)


class Splitter:
    """Finds frames in a stream: a length that its function states, a CRC that holds, and whose turn it is.

    Feed it what comes and tell it of silences; what no frame explains is noise.
    """

    def __init__(self) -> None:
        self._buffer, self._at = b"", 0.0
        self._asked: tuple[float, bytes] | None = None  # the request that awaits its reply

    def feed(self, data: bytes, at: float) -> Iterator[Piece]:
        """The frames that *data*, come at second *at*, completes, and what is too long by now to become one."""
        if not self._buffer:
            self._at = at
        self._buffer += data
        noise = b""
        while len(self._buffer) >= SHORTEST:
            frame = self._front()
            if frame is None and len(self._buffer) <= LONGEST:
                break
            if frame is None:
                noise, self._buffer = noise + self._buffer[:1], self._buffer[1:]
                continue
            if noise:
                yield Piece(self._at, "noise", noise)
                noise = b""
            yield self._taken(frame, at)
        if noise:
            yield Piece(self._at, "noise", noise)

    def silence(self, at: float) -> Iterator[Piece]:
        """Nothing came for longer than a frame can pause: what is left is judged as it is."""
        noise = b""
        while self._buffer:
            frame = self._front() if len(self._buffer) >= SHORTEST else None
            if frame is None and is_sound(self._buffer):  # a function of the maker's own, told by the gap alone
                frame = self._buffer
            if frame is None:
                noise, self._buffer = noise + self._buffer[:1], self._buffer[1:]
                continue
            if noise:
                yield Piece(self._at, "noise", noise)
                noise = b""
            yield self._taken(frame, at)
        if noise:
            yield Piece(self._at, "noise", noise)

    def _front(self) -> bytes | None:
        """The frame the buffer begins with; the reply first where one is awaited."""
        lengths = [request_length(self._buffer), reply_length(self._buffer)]
        if self._awaits(self._buffer):
            lengths.reverse()
        for length in lengths:
            if length is not None and SHORTEST <= length <= len(self._buffer) and is_sound(self._buffer[:length]):
                return self._buffer[:length]
        return None

    def _awaits(self, data: bytes) -> bool:
        """Whether the request that was seen last is answered by a frame that begins with *data*."""
        if self._asked is None:
            return False
        at, asked = self._asked
        fits = (data[0] == asked[0] or asked[0] >= ALONE) and data[1] & ~EXCEPTION_BIT == asked[1]
        return fits and self._at - at < PARTED_SECONDS

    def _taken(self, frame: bytes, at: float) -> Piece:
        self._buffer = self._buffer[len(frame) :]
        awaited = self._awaits(frame) and (frame[1] & EXCEPTION_BIT or reply_length(frame) in (len(frame), None))
        reply = bool(awaited or frame[1] & EXCEPTION_BIT or request_length(frame) not in (len(frame), None))
        piece = Piece(self._at, "reply" if reply else "request", frame)
        self._asked = None if reply else (self._at, frame)
        self._at = at
        return piece


def paired(pieces: Iterator[Piece]) -> Iterator[Exchange]:
    """Requests with their replies, in the order of the line; noise stands for a reply that could not be read."""
    asked: Piece | None = None
    for piece in pieces:
        if piece.way == "request":
            if asked is not None:
                yield Exchange(asked.at, asked.data, b"")
            asked = piece
        elif asked is not None:
            yield Exchange(asked.at, asked.data, piece.data, max(0.0, piece.at - asked.at))
            asked = None
        else:
            yield Exchange(piece.at, b"", piece.data)
    if asked is not None:
        yield Exchange(asked.at, asked.data, b"")
