"""A file that is there whole or not at all, whenever the power goes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, mode: int | None = None) -> None:
    """Put *content* (text as UTF-8) into *path*: beside it, flushed, renamed, and the rename flushed.

    A file that was there keeps its mode, unless *mode* says another.  Raise OSError; the former file is then as it was.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    if mode is None:
        mode = path.stat().st_mode & 0o777 if path.exists() else None
    beside = path.with_name(f".{path.name}.new")
    number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 if mode is None else mode)
    try:
        with os.fdopen(number, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
