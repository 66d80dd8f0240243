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
