"""Digests, signatures and ciphers that platforms ask for.  MD5 and AES-ECB are theirs to choose; TLS protects."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from station.model import ConfigError
from uplink.http.template import Cipher, Sign, fill

KEY_SIZES = (16, 24, 32)
BLOCK = 16


def signature(sign: Sign, values: Mapping[str, str]) -> str:
    """$signature of a request whose names have these *values*.

    >>> signature(Sign(method="md5", text="$body"), {"body": "abc"})
    '900150983cd24fb0d6963f7d28e17f72'
    >>> signature(Sign(method="hmac-sha256", text="$body", key="$k", form="base64"), {"body": "", "k": ""})
    'thNnmggU2ex3L5XXeMNfxf8Wl8STcVZTxscSFEKSxa0='
    """
    text = fill(sign.text, values).encode()
    if sign.method == "md5":
        made = hashlib.md5(text, usedforsecurity=False).digest()
    else:
        made = hmac.new(fill(sign.key, values).encode(), text, "sha256").digest()
    if sign.form == "base64":
        return base64.b64encode(made).decode()
    return made.hex().upper() if sign.form == "HEX" else made.hex()


def enciphered(cipher: Cipher, values: Mapping[str, str], plain: str) -> str:
    """$cipher: *plain* under AES with PKCS 7 padding, base64; keys are 16, 24 or 32 bytes or their hexadecimal digits.

    Loads cryptography, which the extra [sm4] brings.
    """
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher as Engine
        from cryptography.hazmat.primitives.ciphers import algorithms, modes
    except ImportError as error:
        raise ConfigError("AES needs the package cryptography: pip install 'niutang-station[sm4]'") from error
    key = _bytes(fill(cipher.key, values), KEY_SIZES, "AES key")
    mode: modes.CBC | modes.ECB
    if cipher.mode == "aes-cbc":
        mode = modes.CBC(_bytes(fill(cipher.iv, values), (BLOCK,), "initialisation vector"))
    else:
        mode = modes.ECB()  # the platform's choice
    data = plain.encode()
    data += bytes([BLOCK - len(data) % BLOCK]) * (BLOCK - len(data) % BLOCK)
    engine = Engine(algorithms.AES(key), mode).encryptor()
    return base64.b64encode(engine.update(data) + engine.finalize()).decode()


def _bytes(text: str, sizes: Sequence[int], what: str) -> bytes:
    if len(text.encode()) in sizes:
        return text.encode()
    try:
        if len(made := bytes.fromhex(text)) in sizes:
            return made
    except ValueError:
        pass
    raise ConfigError(f"the {what} has {len(text.encode())} bytes, {' or '.join(map(str, sizes))} are needed")


def spki_of(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo inside a DER *certificate* (RFC 5280 4.1): what a pin of the key is made of.

    Raise ValueError where that is no certificate.
    """
    _, outer, _ = _element(certificate, 0)
    _, at, end = _element(certificate, outer)  # TBSCertificate
    tag, _, after = _element(certificate, at)
    if tag == 0xA0:  # the version stands before the serial number
        at = after
    for _ in range(5):  # serialNumber, signature, issuer, validity, subject
        _, _, at = _element(certificate, at)
    tag, _, after = _element(certificate, at)
    if tag != 0x30 or after > end:
        raise ValueError("no SubjectPublicKeyInfo")
    return certificate[at:after]


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start of the content and end of the DER element at *at*."""
    if at + 2 > len(data):
        raise ValueError("DER ends early")
    tag, size, start = data[at], data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or start + count > len(data):
            raise ValueError("DER of no usable length")
        size, start = int.from_bytes(data[start : start + count], "big"), start + count
    if start + size > len(data):
        raise ValueError("DER ends early")
    return tag, start, start + size


def pins_of(certificate: bytes) -> tuple[str, str]:
    """SHA-256 of the public key and of the whole certificate, hexadecimal: either may be pinned."""
    return hashlib.sha256(spki_of(certificate)).hexdigest(), hashlib.sha256(certificate).hexdigest()


def idempotency_key(identities: Sequence[str]) -> str:
    """The Idempotency-Key of a group: the same for the same records, whenever and by whichever start they are sent.

    >>> idempotency_key(["a", "b"]) == idempotency_key(["a", "b"]) != idempotency_key(["ab"])
    True
    """
    return hashlib.sha256("\n".join(identities).encode()).hexdigest()[:32]
