r"""Onbon (上海仰邦) BX-5K/6K font-card controllers (字库卡): lines of text as dynamic areas, command A3 06.

Frame, all numbers low byte first: A5 eight times; screen address (2), source 8000, six reserved bytes, device type FE
(any), protocol version 02, length of what follows (2); the command; CRC-16 (polynomial A001 reversed, start 0) over
everything behind the A5s; 5A.  Between the A5s and the 5A, A5 is written A6 02, A6 as A6 01, 5A as 5B 02, 5B as 5B 01.

Grade B for what is sent: three independent public programs agree on header, area, CRC and command (a Delphi unit
UMgrLEDDisp, a C program BX4K, an analyser strongercjd/Onbon-Protocol-Analysis by somebody at the maker's), and the CRC
of three recorded frames of a fourth fits.  Escaping: C, whole in one of them.  Grade C for the answer (group, command,
error, two reserved bytes), from the first's record, and for the error words (the second's header).  The maker's own
text was not read, and this has never met a real screen.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from drivers.screens import ScreenRefused, Way

HEAD, END = b"\xa5" * 8, b"\x5a"
ESCAPES = {0xA5: b"\xa6\x02", 0xA6: b"\xa6\x01", 0x5A: b"\x5b\x02", 0x5B: b"\x5b\x01"}
PLAIN = {written: bytes([sign]) for sign, written in ESCAPES.items()}
PREAMBLE = struct.Struct("<HH6xBBH")  # address, source, device type, version, length
AREA = struct.Struct("<BHHHHBBBHBBBBBBBBBI")
SOURCE, ANY_TYPE, VERSION = 0x8000, 0xFE, 2
SHOW = b"\xa3\x06"
ANSWERS, ANSWERS_NOT = b"\x01", b"\x02"
STAYS, GONE_WHEN_STALE = 1, 2  # how an area runs: its last page stays; it is deleted when not renewed in time
FONTS = {16: "0", 24: "1", 32: "2"}  # height in dots -> the size in a font's code \FO00n (GB2312, Song)
FONT = re.compile(rb"^\\F[OEK][0-9]{3}")
STATIC, STAY_SECONDS = 1, 1
ERRORS = {
    1: "unknown command group", 2: "unknown command", 3: "busy", 4: "no memory left", 5: "checksum wrong",
    12: "the font is not on the card", 13: "wrong controller type",
}  # fmt: skip


class Area(NamedTuple):
    """One dynamic area: a line of text at a place, in dots; x and width in whole bytes of eight."""

    number: int
    x: int
    y: int
    width: int
    height: int
    text: bytes
    run: int = STAYS
    timeout: int = 2  # seconds, for GONE_WHEN_STALE
    spacing: int = 0
    speed: int = 0
    stay: int = 2 * STAY_SECONDS

    def packed(self) -> bytes:
        """The area as it stands in a command, with its length before it."""
        body = AREA.pack(
            0, self.x // 8, self.y, self.width // 8, self.height, self.number, self.spacing, self.run, self.timeout,
            0, 0, 0, 1, 1, STATIC, 0, self.speed, self.stay, len(self.text),
        ) + self.text  # fmt: skip
        return struct.pack("<H", len(body)) + body


def crc(data: bytes) -> bytes:
    """CRC-16 with start 0 (CRC-16/ARC), low byte first.

    >>> crc(b"123456789").hex()
    '3dbb'
    """
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")


def frame(command: bytes, address: int, source: int = SOURCE) -> bytes:
    """The whole frame of *command*.

    >>> frame(bytes.fromhex("A2 00 01 00 00"), 1)[8:].hex(" ")
    '01 00 00 80 00 00 00 00 00 00 fe 02 05 00 a2 00 01 00 00 68 f8 5a'
    """
    body = PREAMBLE.pack(address, source, ANY_TYPE, VERSION, len(command)) + command
    body += crc(body)
    return HEAD + b"".join(ESCAPES.get(byte, bytes([byte])) for byte in body) + END


class Frame(NamedTuple):
    """What a sound frame says, and how many bytes of what was read it and the rubbish before it took."""

    address: int
    source: int
    command: bytes
    taken: int


def first_frame(data: bytes) -> Frame | None:
    """The first sound frame in *data*; None where there is none, or not the whole of it yet."""
    at = data.find(HEAD[:4])
    while at >= 0:
        start = at
        while data[start : start + 1] == b"\xa5":
            start += 1
        end = data.find(END, start)
        if end < 0:
            return None
        body = re.sub(rb"[\xa6\x5b][\x01\x02]", lambda found: PLAIN[found[0]], data[start:end])
        if len(body) >= PREAMBLE.size + 2 and crc(body[:-2]) == body[-2:]:
            address, source, _, _, length = PREAMBLE.unpack_from(body)
            command = body[PREAMBLE.size : -2]
            if length == len(command):
                return Frame(address, source, command, end + 1)
        at = data.find(HEAD[:4], start)
    return None


def areas(command: bytes) -> list[Area]:
    """The areas that a command A3 06 brings; ValueError where it is none."""
    if command[:2] != SHOW:
        raise ValueError("no command A3 06")
    try:
        at = 6 + command[5]  # behind the numbers of areas to delete
        count, at, found = command[at], at + 1, []
        for _ in range(count):
            (length,) = struct.unpack_from("<H", command, at)
            body, at = command[at + 2 : at + 2 + length], at + 2 + length
            _, x, y, width, height, number, spacing, run, timeout, *_, speed, stay, size = AREA.unpack_from(body)
            text = body[AREA.size : AREA.size + size]
            found.append(Area(number, 8 * x, y, 8 * width, height, text, run, timeout, spacing, speed, stay))
    except (struct.error, IndexError) as error:
        raise ValueError("the command is cut short") from error
    return found


class OnbonScreen:
    """A BX-5K/6K controller; each row is an area, each area a frame of its own, as seen in the field."""

    def __init__(self, settings: Any, way: Way) -> None:
        self._settings, self._way = settings, way

    @staticmethod
    def faults(settings: Any) -> Iterator[tuple[str, str]]:
        """What the card cannot do."""
        if settings.font not in FONTS:
            yield "font", f"the card has fonts of {', '.join(map(str, FONTS))} dots"
        if settings.encoding != "gb2312":
            yield "encoding", "the card's fonts are GB2312"
        if settings.width % 8:
            yield "width", f"the card counts in eights of dots, such as {settings.width // 8 * 8}"
        if any("\\" in line for page in settings.pages for line in page):
            yield "pages", "a backslash begins a command of the card"
        if settings.port.startswith("udp://"):
            yield "port", "the card is spoken to over TCP or a serial line"

    def show(self, lines: Sequence[str]) -> None:
        """Have *lines* shown; with *acknowledge* each is answered before the next."""
        said = self._settings
        height, blank = said.font, said.blank_seconds
        for row, line in enumerate(lines):
            text = f"\\FO00{FONTS[height]}".encode("ascii") + line.encode("gb2312")
            run, timeout = (GONE_WHEN_STALE, blank) if blank else (STAYS, 2)
            area = Area(row, 0, row * height, said.width // 8 * 8, height, text, run, timeout)
            wanted = ANSWERS if said.acknowledge else ANSWERS_NOT
            asked = frame(SHOW + wanted + b"\0\0" + b"\0\x01" + area.packed(), said.address)
            if said.acknowledge:
                self._judge(self._way.ask(asked, first_frame))
            else:
                self._way.send(asked)

    def _judge(self, answer: Frame) -> None:
        if len(answer.command) < 3:
            raise ScreenRefused(f"{self._settings.port}: the screen's answer is too short")
        if code := answer.command[2]:
            words = ERRORS.get(code, "see the maker's list")
            raise ScreenRefused(f"{self._settings.port}: the screen refused the text with error {code} ({words})")

    def close(self) -> None:
        """Let go of the way."""
        self._way.close()
