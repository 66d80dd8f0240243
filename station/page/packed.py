"""The configuration as a ZIP file that may leave the station: what was typed, without what must stay secret.

Files with passwords, keys and tokens are no part of it, since station.toml only names them; values that look like one
are masked all the same, for templates may carry headers.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from station.i18n import t
from station.version import VERSION

if TYPE_CHECKING:
    from station.config import Loaded

FOLDERS = ("profiles", "templates", "recipes")
"""Beside station.toml: what an operator adds as TOML files."""
LARGEST = 1 << 20
"""Bytes of one file; no configuration is that long."""
MOST = 500
MASK = "***"
_WORDS = "password|passwd|passphrase|secret|token|credential|authorization|cookie|psk"
_SECRET = rf"[A-Za-z0-9_.\"'-]*(?:{_WORDS})[A-Za-z0-9_.\"'-]*|[\"']?(?:[A-Za-z0-9_.-]+[_-])?key[\"']?"
_TEXT = r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
_PAIR = re.compile(rf"(?P<key>(?<![\w-])(?:{_SECRET}))(?P<equals>\s*=\s*)(?P<value>{_TEXT})", re.IGNORECASE | re.DOTALL)
_IN_URL = re.compile(r"(?<=://)[^/@\s\"']+:[^/@\s\"']+(?=@)")


def masked(text: str) -> str:
    """A TOML *text* with every value masked whose key sounds secret; names of files (…_file) stay.

    >>> masked('password = "x"  # y'), masked('password_file = "district"'), masked('h = { X-Token = "a", b = "c" }')
    ('password = "***"  # y', 'password_file = "district"', 'h = { X-Token = "***", b = "c" }')
    >>> masked('url = "https://me:word@host/x"')
    'url = "https://***@host/x"'
    """

    def hidden(found: re.Match[str]) -> str:
        if found["key"].strip("\"'").lower().endswith(("_file", "-file")):
            return found[0]
        return f'{found["key"]}{found["equals"]}"{MASK}"'

    return _IN_URL.sub(MASK, _PAIR.sub(hidden, text))


def packed(loaded: Loaded, now: datetime) -> bytes:
    """The files of the configuration of *loaded*, packed at *now*."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        about = t("page_downloads.about", version=VERSION, time=f"{now.astimezone(loaded.zone):%Y-%m-%d %H:%M}")
        archive.writestr("README.txt", about + "\n")
        for path in files(loaded):
            text = path.read_bytes().decode("utf-8", "replace")
            archive.writestr(path.relative_to(loaded.folder).as_posix(), masked(text))
    return body.getvalue()


def files(loaded: Loaded) -> Iterator[Path]:
    """station.toml and what stands beside it as TOML; links and what is no file of ours stay out."""
    found = [loaded.path, loaded.folder / "limits.toml"]
    for name in FOLDERS:
        folder = loaded.folder / name
        found += [] if folder.is_symlink() else sorted(folder.glob("*.toml"))
    for path in found[:MOST]:
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST:
            yield path
