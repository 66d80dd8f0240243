"""The SM4 keys of one platform: read from a credential, replaced by 1014, never shown.

A key file holds a line a key, the one in use first: 16 characters or 32 hexadecimal digits, and,
after a space, when it was made (ISO 8601).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from station.model import ConfigError

SIZE = 16
LONGEST_AGE = timedelta(days=90)  # 2025 asks for renewal by then (B)
LEAST_DIFFERENT = 6  # different characters in a key that is not "patterned" (the text's word, B; the number is ours)


class Key(NamedTuple):
    """One key and when it was made, if that is known."""

    secret: bytes
    created: datetime | None = None

    def __repr__(self) -> str:
        return f"Key(<secret>, {self.created})"


def weakness(secret: bytes) -> str:
    """Why *secret* is no key to be used, "" if it is one.

    >>> weakness(b"0000000000000000"), weakness(b"abcdefghijklmnop"), weakness(b"k3J9-xQ2m7Zp0sWd")
    ('is patterned', 'is patterned', '')
    """
    if len(secret) != SIZE:
        return f"has {len(secret)} bytes, {SIZE} are needed"
    repeats = any(secret == (secret[:size] * SIZE)[:SIZE] for size in range(1, SIZE // 2 + 1))
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    return "is patterned" if repeats or len(steps) == 1 or len(set(secret)) < LEAST_DIFFERENT else ""


def parse_key(text: str) -> bytes:
    """The 16 bytes of a key written as characters or as hexadecimal digits.

    >>> parse_key("30" * 16) == parse_key("0" * 16)
    True
    """
    if len(text) == 2 * SIZE:
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise ConfigError("32 characters of a key that are not hexadecimal digits") from error
    if len(text) != SIZE or not text.isascii():
        raise ConfigError(f"a key of {len(text)} characters, 16 or 32 hexadecimal digits are needed")
    return text.encode()


def _read(text: str) -> list[Key]:
    rows = [line.split() for line in text.splitlines() if line.strip()]
    try:
        return [Key(parse_key(row[0]), datetime.fromisoformat(row[1]) if len(row) > 1 else None) for row in rows]
    except ValueError as error:  # ConfigError is one
        raise ConfigError(f"the key file cannot be used: {error}") from error


class KeyRing:
    """The key in use, and the one before it until the platform has answered a frame under the new one.

    *text* is the credential as delivered.  *kept* is where replaced keys are written, which wins over it;
    without it the station has kept a new key before it is used here.

    >>> ring = KeyRing("k3J9-xQ2m7Zp0sWd 2026-03-01T00:00:00+08:00")
    >>> ring.replace(b"0" * 16, None), ring.replace(b"Qw7!x0Zt5#Lm2$Rv", None), len(ring.secrets())
    ('is patterned', '', 2)
    """

    def __init__(self, text: str, kept: Path | None = None) -> None:
        self._kept = kept
        self._keys = _read(kept.read_text(encoding="ascii") if kept and kept.exists() else text)
        if not self._keys:
            raise ConfigError("the key file holds no key")

    def secrets(self) -> Sequence[bytes]:
        """The key in use, then the one before it."""
        return [key.secret for key in self._keys]

    @property
    def created(self) -> datetime | None:
        """When the key in use was made."""
        return self._keys[0].created

    def old(self, now: datetime) -> bool:
        """Whether the key in use should have been renewed."""
        return self.created is not None and now - self.created > LONGEST_AGE

    def replace(self, secret: bytes, created: datetime | None) -> str:
        """Use *secret* from now on; why not, or ""."""
        if reason := weakness(secret):
            return reason
        if secret in self.secrets():
            return "was in use before"
        return self._write([Key(secret, created), self._keys[0]])

    def confirm(self) -> None:
        """The platform answered under the key in use: the one before it is forgotten."""
        if len(self._keys) > 1:
            self._write(self._keys[:1])

    def doubt(self) -> None:
        """The platform fell silent under a new key: try the one before it on the next connection."""
        if len(self._keys) > 1:
            self._write(self._keys[::-1])

    def _write(self, keys: list[Key]) -> str:
        """Make *keys* durable, whole or not at all, and then use them; why that failed, or ""."""
        lines = [f"{key.secret.hex()} {key.created.isoformat() if key.created else ''}".strip() for key in keys]
        try:
            if self._kept:
                _write_whole(self._kept, "\n".join(lines) + "\n")
        except OSError as error:
            return f"cannot be kept ({error.strerror})"
        self._keys = keys
        return ""


def _write_whole(path: Path, text: str) -> None:
    """*text* into *path*: beside it, flushed, renamed, and the rename flushed."""
    beside = path.with_name(path.name + ".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
