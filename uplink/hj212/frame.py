"""HJ 212 frames: bytes on the wire to segments, segments to fields, and back.

Layout, CRC and limits are those of HJ 212-2017, which was read in full; its worked example and one of
HJ 212-2025 (appendix A.1, quoted by others) are tests.

* FrameError               a frame that cannot be read or built
  * LengthWrong            no four digits behind ##, or more than the receiver takes
  * CrcWrong               the check digits do not belong to the segment
  * StructureWrong         the segment is not fields and a data area
  * FrameUnfinished        the rest of a frame did not come in time
  * FrameTooLong           what should be sent is above a limit of the standard
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from station.model import dataclass, field
from uplink.base import UplinkError

HEADER = b"##"
TAIL = b"\r\n"
SEGMENT_LIMIT = 1024  # bytes of a segment
CP_LIMIT = 950  # bytes of the CP field, its name and = included, as the standard's table counts
DIGITS_LIMIT = 9999  # what four digits can declare; real senders pass the standard's 1024
CHUNK = 4096  # what the reader takes in at a time, and so all it holds beyond one frame

_AHEAD = len(HEADER) + 4  # header and length digits
_CRC_DIGITS = 4


class FrameError(UplinkError, ValueError):
    """Base of what is wrong with one frame; the connection may go on."""


class LengthWrong(FrameError):
    """Error raised when the length behind ## is no number or more than is taken."""


class CrcWrong(FrameError):
    """Error raised when a segment and its check digits disagree."""


class StructureWrong(FrameError):
    """Error raised when a segment cannot be taken apart into fields."""


class FrameUnfinished(FrameError):
    """Error raised when a frame was begun and its rest did not come in time."""


class FrameTooLong(FrameError):
    """Error raised when a segment to be sent is above a limit of the standard."""


# -- check digits


def _shifted(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value


_STEP = tuple(_shifted(byte) for byte in range(256))
_CARRY = bytes(value >> 8 for value in _STEP)  # all that a step hands on to the next byte


def crc(segment: bytes) -> int:
    """Check value of *segment* (HJ 212-2017 appendix A, read in full); it is not the Modbus CRC.

    Only the register's high byte reaches the next step, and that step is linear over XOR; applied
    eight times it changes nothing.  Bytes eight apart may thus be XORed together before the loop.

    >>> f"{crc(b'123456789'):04X}"
    '2F80'
    """
    if not segment:
        return 0xFFFF
    folded = int.from_bytes(segment, "big") ^ (0xFF << 8 * (len(segment) - 1))
    width = 64 << ((len(segment) - 1) // 8).bit_length()
    while width > 64:
        width >>= 1
        folded = (folded >> width) ^ (folded & ((1 << width) - 1))
    state = 0
    for byte in folded.to_bytes(8, "big"):
        state = _CARRY[state] ^ byte
    return _STEP[state]


def modbus_crc(segment: bytes) -> int:
    """CRC-16/Modbus, which some senders put into HJ 212 frames.

    >>> f"{modbus_crc(b'123456789'):04X}"
    '4B37'
    """
    register = 0xFFFF
    for byte in segment:
        register = (register >> 8) ^ _STEP[(register ^ byte) & 0xFF]
    return register


def modbus_crc_low_first(segment: bytes) -> int:
    """CRC-16/Modbus printed low byte first, as serial relays were seen to do (two samples verify).

    >>> f"{modbus_crc_low_first(b'123456789'):04X}"
    '374B'
    """
    value = modbus_crc(segment)
    return value >> 8 | (value & 0xFF) << 8


CRC_VARIANTS: Mapping[str, Callable[[bytes], int]] = {
    "hj212": crc,
    "modbus": modbus_crc,
    "modbus-low-first": modbus_crc_low_first,
}


def crc_variant(segment: bytes, received: int) -> str | None:
    """Which of CRC_VARIANTS makes *received* of *segment*, or None.

    >>> crc_variant(b"123456789", 0x4B37)
    'modbus'
    """
    return next((name for name, check in CRC_VARIANTS.items() if check(segment) == received), None)


# -- frames


def encode(segment: bytes, seal: Callable[[bytes], bytes] | None = None) -> bytes:
    """The frame that carries *segment*, within both limits of the standard.

    With *seal* its data area is enciphered; length and CRC stay those of the plain segment (2025, B).

    >>> encode(b"QN=20240601085857223;CN=1011;CP=&&&&")
    b'##0036QN=20240601085857223;CN=1011;CP=&&&&2640\\r\\n'
    """
    if len(segment) > SEGMENT_LIMIT:
        raise FrameTooLong(f"segment of {len(segment)} bytes, the limit is {SEGMENT_LIMIT}")
    if (length := cp_length(segment)) > CP_LIMIT:
        raise FrameTooLong(f"CP of {length} bytes, the limit is {CP_LIMIT}")
    return b"##%04d%b%04X\r\n" % (len(segment), seal(segment) if seal else segment, crc(segment))


def cp_length(segment: bytes) -> int:
    """Bytes of the CP field of *segment*, its name and = included."""
    at = 0 if segment.startswith(b"CP=") else segment.find(b";CP=") + 1
    return len(segment) - at if segment.startswith(b"CP=", at) else 0


def decode(frame: bytes, *, ceiling: int = SEGMENT_LIMIT, variant: str = "hj212") -> bytes:
    """The segment of one whole *frame*, whose tail may be missing.

    >>> decode(b"##0009123456789" + b"2f80")
    b'123456789'
    """
    if not frame.startswith(HEADER):
        raise StructureWrong(f"a frame begins with ##, got {frame[:2]!r}")
    end = _declared_end(frame, ceiling)
    if len(frame) < end or frame[end:].strip(TAIL):
        raise LengthWrong(f"{len(frame.rstrip(TAIL))} bytes where the declared length makes {end}")
    return _checked(frame, end, variant)


def _declared_end(buffer: bytes | bytearray, ceiling: int) -> int:
    digits = bytes(buffer[len(HEADER) : _AHEAD])
    if len(digits) != 4 or not digits.isdigit():
        raise LengthWrong(f"four digits belong behind ##, got {digits!r}")
    if int(digits) > ceiling:
        raise LengthWrong(f"declared length {int(digits)} is above {ceiling}")
    return _AHEAD + int(digits) + _CRC_DIGITS


_HEX = re.compile(rb"[0-9A-Fa-f]{4}")


class Opener(Protocol):
    """Reads enciphered segments (sm4.py): the CRC is over what they say in plain."""

    def surplus(self, buffer: bytes | bytearray) -> int | None:
        """By how many bytes the frame is longer than it declares; None while that cannot be told."""

    def open(self, segment: bytes) -> Iterable[bytes]:
        """What *segment* may say in plain, nothing if it is plain already."""


def _checked(buffer: bytes | bytearray, end: int, variant: str, opener: Opener | None = None) -> bytes:
    segment, received = bytes(buffer[_AHEAD : end - _CRC_DIGITS]), bytes(buffer[end - _CRC_DIGITS : end])
    if not _HEX.fullmatch(received):
        raise CrcWrong(f"four hexadecimal digits belong behind the segment, got {received!r}")
    check = CRC_VARIANTS[variant]
    for plain in opener.open(segment) if opener else ():
        if int(received, 16) == check(plain):
            return plain
    wanted = check(segment)
    if int(received, 16) != wanted:
        kind = crc_variant(segment, int(received, 16))
        hint = f", which is the {kind} variant" if kind else ""
        raise CrcWrong(f"CRC {received.decode()} received{hint}, {wanted:04X} computed")
    return segment


class FrameReader:
    """Cuts a stream into segments by their declared length, and finds the next frame after any rubbish.

    It never holds more than CHUNK and one frame of *ceiling* bytes.  The search goes on inside a frame
    that failed, since the frame may be the rubbish and what it swallowed the next good one.

    >>> reader = FrameReader()
    >>> reader.feed(b"noise##00091234"), reader.feed(b"567892F80" + b"\\r\\n"), reader.noise
    ([], [b'123456789'], 5)
    """

    def __init__(self, ceiling: int = SEGMENT_LIMIT, variant: str = "hj212", opener: Opener | None = None) -> None:
        self._ceiling, self._variant, self._opener = ceiling, variant, opener
        self._buffer = bytearray()
        self.noise = 0  # bytes that belonged to no frame, CR and LF not counted

    @property
    def unfinished(self) -> bool:
        """Whether a frame was begun and its rest is awaited."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes | FrameError]:
        """The segments and the faults that *data* completes, in order."""
        found: list[bytes | FrameError] = []
        for at in range(0, len(data), CHUNK):
            self._buffer += data[at : at + CHUNK]
            found.extend(self._cut())
        return found

    def give_up(self) -> list[bytes | FrameError]:
        """Wait no longer for the frame begun: its fault, and whatever good frames it had swallowed."""
        if not self._buffer:
            return []
        fault = FrameUnfinished(f"a frame stopped after {len(self._buffer)} bytes")
        self._drop(1)
        return [fault, *self._cut()]

    def _cut(self) -> Iterator[bytes | FrameError]:
        while self._find_header():
            try:
                end = _declared_end(self._buffer, self._ceiling)
                surplus = self._opener.surplus(self._buffer) if self._opener else 0
                if surplus is None or len(self._buffer) < end + surplus:
                    return
                end += surplus
                segment = _checked(self._buffer, end, self._variant, self._opener)
            except FrameError as fault:
                self._drop(1)
                yield fault
            else:
                del self._buffer[:end]
                yield segment

    def _find_header(self) -> bool:
        """Throw away what stands before the last # pair of a run; true once the length digits are there."""
        at = self._buffer.find(HEADER)
        while at >= 0 and self._buffer.startswith(HEADER, at + 1):
            at += 1
        if at < 0:
            at = len(self._buffer) - self._buffer.endswith(b"#")
        self._drop(at)
        return len(self._buffer) >= _AHEAD

    def _drop(self, count: int) -> None:
        dropped = self._buffer[:count]
        self.noise += count - dropped.count(b"\r") - dropped.count(b"\n")
        del self._buffer[:count]


# -- segments

FIELDS = ("QN", "ST", "CN", "PW", "MN", "Flag", "PNUM", "PNO", "RF", "CP")  # in the standard's order
_NAMES = {name: name.lower() for name in FIELDS}  # no error below quotes a field: one of them is PW
_FENCE = "&&"

ANSWER_BIT = 0b01  # the sender wants an answer
SPLIT_BIT = 0b10  # PNUM and PNO are present
VERSION_SHIFT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The fields of one segment as text, "" where absent, found by name and never by position.

    >>> segment = Segment.parse(b"ST=21;CN=2011;MN=DM000001;PNO=2;PNUM=2;CP=&&DataTime=20191225155200&&")
    >>> segment.cn, segment.pno, segment.data
    ('2011', '2', 'DataTime=20191225155200')
    """

    qn: str = ""
    st: str = ""
    cn: str
    pw: str = field(default="", repr=False)  # a secret: kept out of every log
    mn: str = ""
    flag: str = ""
    pnum: str = ""
    pno: str = ""
    rf: str = ""
    cp: str = ""
    others: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, segment: bytes) -> Segment:
        """The fields of *segment*; text is UTF-8, and bytes that are not survive the way back."""
        head, cp = _divide(segment.decode("utf-8", "surrogateescape"))
        known: dict[str, str] = {"cp": _fenced(cp)}
        others: list[tuple[str, str]] = []
        for name, value in _head_fields(head):
            if name not in _NAMES:
                others.append((name, value))
            elif _NAMES[name] in known:
                raise StructureWrong(f"field {name} occurs twice")
            else:
                known[_NAMES[name]] = value
        if not known.get("cn"):
            raise StructureWrong(f"no CN in a segment of {len(segment)} bytes")
        return cls(**known, others=tuple(others))

    def build(self) -> bytes:
        """The segment as it is framed: present fields in the standard's order, unknown ones before CP."""
        fields = [(name, value) for name, key in _NAMES.items() if (value := getattr(self, key))]
        before_cp = len(fields) - bool(self.cp)
        fields[before_cp:before_cp] = self.others
        return ";".join(f"{name}={value}" for name, value in fields).encode("utf-8", "surrogateescape")

    @property
    def data(self) -> str:
        """What stands between the two && of CP."""
        return self.cp[len(_FENCE) : -len(_FENCE)]

    @property
    def flags(self) -> int | None:
        """Flag as a number; None where it is absent or no number of one byte."""
        number = int(self.flag) if self.flag.isascii() and self.flag.isdigit() and len(self.flag) < 4 else 256
        return number if number < 256 else None


def fence(data: str) -> str:
    """The CP value around a data area.

    >>> fence("QnRtn=1")
    '&&QnRtn=1&&'
    """
    return f"{_FENCE}{data}{_FENCE}"


def _divide(text: str) -> tuple[str, str]:
    """Split at CP, the last field: what follows it may hold anything."""
    if text.startswith("CP="):
        return "", text[3:]
    head, _, cp = text.partition(";CP=")
    return head, cp


def _fenced(cp: str) -> str:
    cp = cp.strip()
    if cp and not (len(cp) >= 2 * len(_FENCE) and cp.startswith(_FENCE) and cp.endswith(_FENCE)):
        raise StructureWrong(f"CP of {len(cp)} characters does not stand between && and &&")
    return cp


def _head_fields(head: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, map(str.strip, head.split(";"))):
        name, equals, value = part.partition("=")
        if not equals:
            raise StructureWrong(f"{len(part)} characters between two semicolons are not name=value")
        yield name.rstrip(), value.lstrip()


# -- the data area

# One name=value; the text of a log stands between // and // and may hold ; and ,.
_PAIR = re.compile(r"(?://.*?//|[^;,])+", re.DOTALL)


def pairs(data: str) -> list[tuple[str, str]]:
    """Names and values of a data area; , and ; are taken alike, since senders mix them up.

    >>> pairs("BeginTime=20240601010522,EndTime=20240601085857;")
    [('BeginTime', '20240601010522'), ('EndTime', '20240601085857')]
    >>> pairs("i11001-Info=//rinsed, restarted; ok//")
    [('i11001-Info', '//rinsed, restarted; ok//')]
    """
    parts = (match.group().strip() for match in _PAIR.finditer(data))
    cut = (part.partition("=") for part in parts if part)
    return [(name.rstrip(), value.lstrip()) for name, _, value in cut]


def factors(data: str) -> dict[str, dict[str, str]]:
    """The values of each factor by their suffix; names without a dash come under "".

    >>> factors("DataTime=20260301081500;a34004-Rtd=35.0,a34004-Flag=N")
    {'': {'DataTime': '20260301081500'}, 'a34004': {'Rtd': '35.0', 'Flag': 'N'}}
    """
    found: dict[str, dict[str, str]] = {}
    for name, value in pairs(data):
        code, dash, suffix = name.partition("-")
        found.setdefault(code if dash else "", {})[suffix if dash else name] = value
    return found
