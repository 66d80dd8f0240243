"""Secrets that a platform may change: replaced whole, in the file that holds them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from station.config import secret_path

FILES = {"password": "password_file", "key": "key_file"}  # the key of [[uplink]] that names the file


def replace(settings: Any, folder: Path, which: str, text: str) -> str | None:
    """Put *text* in place of the "password" or "key" of the uplink *settings*, at once; or why that cannot be.

    What systemd hands over (`LoadCredential`) is its own and stays as it is.  A key leaves the one before it
    beside it, as `.old`.
    """
    name = getattr(settings, FILES[which], "")
    if not name:
        return f"there is no {which} file for {settings.name}"
    path, credentials = secret_path(name, folder), os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and path.is_relative_to(credentials):
        return f"the {which} of {settings.name} is systemd's, and is changed there"
    try:
        _replace(path, text, keep=which == "key")
    except OSError as error:
        return f"the {which} file of {settings.name} cannot be written ({error.strerror})"
    return None


def _replace(path: Path, text: str, *, keep: bool) -> None:
    new, old = path.with_name(f"{path.name}.new"), path.with_name(f"{path.name}.old")
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, f"{text}\n".encode())
        os.fsync(file)
    finally:
        os.close(file)
    if keep:
        old.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            os.link(path, old)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
