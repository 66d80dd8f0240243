"""Text messages in PDU mode: SMS-SUBMIT with UCS2 for every text, in parts where it is longer than 70 characters.

3GPP TS 23.040 (9.2.2.2, 9.1.2.5, 9.2.3.24.1) and 23.038 as retold by public descriptions (confidence B).  UCS2 for all
texts: a station's messages are Chinese, and one alphabet needs no table that could be wrong.  A character outside the
BMP is two units of UTF-16, which phones take; no part begins in the middle of one.
"""

from __future__ import annotations

import re

from station.model import StationError

ONE, PART = 70, 67  # units of UTF-16 in a message alone, and beside the 6 bytes that number a part
MOST_PARTS = 8
NUMBER = re.compile(r"\+?\d{3,20}")


class NoNumber(StationError, ValueError):
    """Error raised when a telephone number is none."""


def semi_octets(digits: str) -> str:
    """Digits by two, each pair swapped, an odd one filled with F.

    >>> semi_octets("8613800138000")
    '683108108300F0'
    """
    padded = digits + "F" * (len(digits) % 2)
    return "".join(padded[at + 1] + padded[at] for at in range(0, len(padded), 2))


def parts(text: str) -> list[str]:
    """*text* as it goes out: whole up to 70 characters, else in parts of 67; cut behind the eighth.

    >>> [len(one) for one in parts("限" * 71)]
    [67, 4]
    """
    if _units(text) <= ONE:
        return [text]
    made, piece, used = list[str](), list[str](), 0
    for sign in text:
        size = _units(sign)
        if used + size > PART:
            made.append("".join(piece))
            piece, used = [], 0
        piece.append(sign)
        used += size
    made.append("".join(piece))
    if len(made) > MOST_PARTS:
        made = [*made[: MOST_PARTS - 1], made[MOST_PARTS - 1]]
        last = made[-1]
        made[-1] = last[:-2] + "…"
    return made


def _units(text: str) -> int:
    return len(text.encode("utf-16-be", "replace")) // 2


def submit(number: str, text: str, reference: int = 0) -> list[tuple[int, str]]:
    """The PDUs that carry *text* to *number*: the length that AT+CMGS is given, and the digits with the SMSC's length.

    *reference* (0–255) marks the parts that belong together.  The SMSC is the SIM card's own.

    >>> submit("+8613800138000", "测试")
    [(18, '0001000D91683108108300F00008046D4B8BD5')]
    """
    if NUMBER.fullmatch(number) is None:
        raise NoNumber(f'"{number}" is no telephone number')
    digits = number.removeprefix("+")
    address = f"{len(digits):02X}{'91' if number.startswith('+') else '81'}{semi_octets(digits)}"
    pieces = parts(text)
    made = []
    for index, piece in enumerate(pieces, 1):
        header = "" if len(pieces) == 1 else f"050003{reference % 256:02X}{len(pieces):02X}{index:02X}"
        data = header + piece.encode("utf-16-be", "replace").hex().upper()
        first = "41" if header else "01"  # SMS-SUBMIT, no validity period; 0x40: the data begin with a header
        pdu = f"{first}00{address}0008{len(data) // 2:02X}{data}"
        made.append((len(pdu) // 2, f"00{pdu}"))
    return made


def read(pdu: str) -> tuple[str, str, tuple[int, int, int] | None]:
    """Number, text and (reference, parts, part) of an SMS-SUBMIT such as `submit` makes; ValueError for others.

    >>> read("0001000D91683108108300F00008046D4B8BD5")
    ('+8613800138000', '测试', None)
    """
    data = bytes.fromhex(pdu)
    data = data[1 + data[0] :]
    first, digits, kind = data[0], data[2], data[3]
    if first & 3 != 1:
        raise ValueError("no SMS-SUBMIT")
    end = 4 + (digits + 1) // 2
    swapped = "".join(f"{one & 15:X}{one >> 4:X}" for one in data[4:end])[:digits]
    protocol, coding, length, body = data[end], data[end + 1], data[end + 2], data[end + 3 :]
    if protocol or coding != 8 or length != len(body) or length > 140 or first & 0x18:
        raise ValueError("not coded as said")
    which = None
    if first & 0x40:
        if body[:3] != b"\x05\x00\x03":
            raise ValueError("no header of a part")
        which = (body[3], body[4], body[5])
        body = body[6:]
    return ("+" if kind == 0x91 else "") + swapped, body.decode("utf-16-be"), which
