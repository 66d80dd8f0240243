"""Photos beside a calibration: their hash goes on record, and a copy into the data folder where that is wanted."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from station.model import StoreError, WrongArgument

MOST_BYTES = 50_000_000
MOST_PHOTOS = 20


def seen(photos: Sequence[Path], folder: Path | None) -> list[dict[str, Any]]:
    """Name, SHA-256 and size of each of *photos*, copied under its hash into *folder*/photos unless that is None."""
    if len(photos) > MOST_PHOTOS:
        raise WrongArgument(f"{len(photos)} photos; a calibration takes up to {MOST_PHOTOS}")
    found = []
    for path in photos:
        try:
            size = path.stat().st_size
            if not path.is_file() or not 0 < size <= MOST_BYTES:
                raise WrongArgument(f"{path}: is no picture of 1 byte to {MOST_BYTES // 1_000_000} MB")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise WrongArgument(f"{path}: cannot be read ({error.strerror})") from error
        found.append({"name": path.name, "sha256": digest, "bytes": size})
        if folder is not None:
            _copy(path, folder / "photos", digest)
    return found


def _copy(path: Path, folder: Path, digest: str) -> None:
    try:
        folder.mkdir(mode=0o750, exist_ok=True)
        target = folder / f"{digest}{path.suffix.lower()}"
        if not target.exists():
            shutil.copyfile(path, target)
    except OSError as error:
        raise StoreError(f"{folder}: the photo {path.name} cannot be kept there ({error.strerror})") from error
