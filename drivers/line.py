"""The arithmetic of a Modbus RTU line: how long characters, silences and exchanges take, and the CRC."""

from __future__ import annotations

from station.model import dataclass

REQUEST_BYTES = 8  # unit, function, address, count, CRC: every read request
OVERHEAD_BYTES = 5  # unit, function, byte count, CRC: what a reply carries beside its registers
FUNCTION = {"holding": 3, "input": 4}
TABLE = {code: table for table, code in FUNCTION.items()}


def _crc_row(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_CRC = tuple(_crc_row(byte) for byte in range(256))


def crc16(frame: bytes) -> bytes:
    """The CRC that ends an RTU frame, low byte first (Modbus over serial line V1.02, 6.2.2).

    >>> crc16(bytes.fromhex("01 03 01 F4 00 10")).hex(" ")
    '04 08'
    """
    crc = 0xFFFF
    for byte in frame:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def read_request(unit_id: int, table: str, address: int, count: int) -> bytes:
    """The frame that asks *unit_id* for *count* registers.

    >>> read_request(1, "holding", 500, 16).hex(" ")
    '01 03 01 f4 00 10 04 08'
    """
    body = bytes((unit_id, FUNCTION[table])) + address.to_bytes(2, "big") + count.to_bytes(2, "big")
    return body + crc16(body)


def is_request(frame: bytes) -> bool:
    """Whether the sound *frame* has the form of a master's request; the reply to a written register has it too.

    >>> is_request(read_request(1, "holding", 500, 16)), is_request(bytes.fromhex("01 03 02 56 38 7A 00 00"))
    (True, False)
    """
    single = len(frame) == REQUEST_BYTES and 1 <= frame[1] <= 6 and crc16(frame[:-2]) == frame[-2:]
    many = len(frame) > 9 and frame[1] in (15, 16) and len(frame) == 9 + frame[6]
    return single or many


def frames_in(data: bytes) -> list[bytes]:
    """The frames with a sound CRC in *data*, in their order; what lies between them is passed over.

    >>> [f.hex() for f in frames_in(b"?" + read_request(1, "holding", 500, 16) + bytes.fromhex("01 83 02 C0 F1"))]
    ['010301f400100408', '018302c0f1']
    """
    found: list[bytes] = []
    at = 0
    while at + OVERHEAD_BYTES <= len(data):
        for size in _lengths(data[at:]):
            frame = data[at : at + size]
            if len(frame) == size and crc16(frame[:-2]) == frame[-2:]:
                found.append(frame)
                at += size
                break
        else:
            at += 1
    return found


def _lengths(data: bytes) -> tuple[int, ...]:
    """How long the frame that begins *data* may be, by its function."""
    function = data[1]
    if function & 0x80:
        return (OVERHEAD_BYTES,)
    if function in (15, 16):
        return (REQUEST_BYTES, *((9 + data[6],) if len(data) > 6 else ()))
    if function in (5, 6):
        return (REQUEST_BYTES,)
    return OVERHEAD_BYTES + data[2], REQUEST_BYTES


def bits_per_character(parity: str, stopbits: int) -> int:
    """Bits one byte occupies on the wire: start, eight data, parity if any, stop.

    >>> bits_per_character("N", 1), bits_per_character("E", 1)
    (10, 11)
    """
    return 1 + 8 + (parity != "N") + stopbits


@dataclass(frozen=True, slots=True)
class Line:
    """A line's speed, in *baudrate* bit/s and *bits* per character."""

    baudrate: int
    bits: int = 10

    @property
    def character(self) -> float:
        """Seconds one byte takes."""
        return self.bits / self.baudrate

    @property
    def silence(self) -> float:
        """t3.5 in seconds: 3.5 characters, 1.75 ms above 19200 baud (Modbus over serial line V1.02, 2.5.1.1)."""
        return 3.5 * self.character if self.baudrate <= 19200 else 0.00175

    def exchange(self, count: int, reply_delay: float, gap: float = 0.0) -> float:
        """The least seconds one read of *count* registers takes, the silence before the next included.

        >>> round(1 / Line(9600, 10).exchange(10, 0.020), 1)  # reads a second
        17.2
        """
        wire = (REQUEST_BYTES + OVERHEAD_BYTES + 2 * count) * self.character
        return wire + max(self.silence, reply_delay) + max(self.silence, gap)

    def widest_gap(self, reply_delay: float, gap: float = 0.0) -> float:
        """How many unused registers are cheaper to read along than to start a new request for.

        >>> round(Line(9600, 10).widest_gap(0.020)), round(Line(19200, 11).widest_gap(0.020))
        (18, 26)
        """
        return self.exchange(0, reply_delay, gap) / (2 * self.character)
