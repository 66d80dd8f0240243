"""SM4 for HJ 212-2025: whole blocks of the data area enciphered, the rest plain (B, both printed examples verify).

The library `cryptography` (the extra [sm4]) is imported when the first block is enciphered, so a
station without a key never loads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from station.model import ConfigError

BLOCK = 16
PRINTED_LIMIT = 8 * 1024  # bytes of a frame in the printed form, five characters a cipher byte
FORMS = ("raw", "braces")

_BEGIN, _END = b"CP=&&", b"&&"
_PRINTED = re.compile(rb"\{\s*0x[0-9A-Fa-f]{2}(?:\s*,\s*0x[0-9A-Fa-f]{2})*\s*\}")
_PRINTED_BEGIN = re.compile(rb"\{\s*0x[0-9A-Fa-f]{2}")  # a raw block may begin with a brace, too
_HEX = re.compile(rb"0x([0-9A-Fa-f]{2})")


def enciphered(cn: str) -> bool:
    """Whether *cn* is one of the commands whose data area is enciphered (2025, B).

    >>> [cn for cn in ("1011", "1014", "2011", "3019", "3020", "9014") if enciphered(cn)]
    ['1014', '2011', '3020']
    """
    return "2000" <= cn <= "2999" or cn in ("1014", "3020")


def encrypt(data: bytes, key: bytes) -> bytes:
    """*data* with its whole blocks enciphered."""
    return _blocks(data, lambda cipher: cipher.encryptor(), key)


def decrypt(data: bytes, key: bytes) -> bytes:
    """What encrypt() was given."""
    return _blocks(data, lambda cipher: cipher.decryptor(), key)


def _blocks(data: bytes, way: Callable[[Any], Any], key: bytes) -> bytes:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as error:
        raise ConfigError(
            "encryption needs the library cryptography: pip install 'niutang-station[sm4]', or python3-cryptography"
        ) from error
    whole = len(data) // BLOCK * BLOCK
    turned: bytes = way(Cipher(algorithms.SM4(key), modes.ECB())).update(data[:whole])
    return turned + data[whole:]


def printed(cipher: bytes) -> bytes:
    """Cipher bytes as the 2025 appendix prints them.

    >>> printed(b"\\xe4>")
    b'{0xE4,0x3E}'
    """
    return b"{%b}" % b",".join(b"0x%02X" % byte for byte in cipher)


class Envelope:
    """Seals and opens segments; *keys* gives the keys that may apply, the one to seal with first."""

    def __init__(self, keys: Callable[[], Sequence[bytes]], form: str = "raw") -> None:
        self._keys, self._form = keys, form

    def seal(self, segment: bytes) -> bytes:
        """*segment* with its data area enciphered."""
        before, data = _parted(segment)
        cipher = encrypt(data, self._keys()[0])
        if self._form == "braces" and (whole := len(data) // BLOCK * BLOCK):
            cipher = printed(cipher[:whole]) + cipher[whole:]
        return before + cipher + _END

    def surplus(self, buffer: bytes | bytearray) -> int | None:
        """How much longer the printed form makes the frame at the front of *buffer*; None while it has no end."""
        begin = buffer.find(_BEGIN, 0, 1024) + len(_BEGIN)
        if begin < len(_BEGIN) or len(buffer) > PRINTED_LIMIT or not _PRINTED_BEGIN.match(buffer, begin):
            return 0
        end = buffer.find(b"}", begin)
        if end < 0:
            return None
        found = _PRINTED.fullmatch(buffer, begin, end + 1)
        return end + 1 - begin - len(_HEX.findall(found[0])) if found else 0

    def open(self, segment: bytes) -> Iterator[bytes]:
        """What *segment* says under each key, if it is enciphered and the key makes text of it."""
        parts = cipher_of(segment)
        if parts is None:
            return
        before, data = parts
        for key in self._keys():
            plain = decrypt(data, key)
            if readable(plain):
                yield before + plain + _END


def cipher_of(segment: bytes) -> tuple[bytes, bytes] | None:
    """What stands before an enciphered data area, and the data area with its cipher bytes raw; None if it is plain."""
    before, data = _parted(segment)
    if found := _PRINTED.match(data):
        return before, bytes.fromhex(b"".join(_HEX.findall(found[0])).decode()) + data[found.end() :]
    return None if len(data) < BLOCK or readable(data) else (before, data)


def readable(data: bytes) -> bool:
    """Whether *data* is text: sixteen cipher bytes are so by chance once in ten million.

    >>> readable("a01001-Rtd=21.5;重启".encode()), readable(bytes(16))
    (True, False)
    """
    try:
        return data.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _parted(segment: bytes) -> tuple[bytes, bytes]:
    begin = segment.find(_BEGIN) + len(_BEGIN)
    if begin < len(_BEGIN) or not segment.endswith(_END) or len(segment) < begin + len(_END):
        return segment, b""
    return segment[:begin], segment[begin : -len(_END)]
