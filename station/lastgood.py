"""A station.toml that was cut short does not start a station: it goes on with the one it ran with last, and says so.

An editor, a copy over the network or a power cut may leave the beginning of a file, and half a file may well be a
configuration: `poll_seconds = 60` cut to 6, or the last platform gone.  So a file must end with a line end
(config.load), and a station that has started keeps the bytes it started with in its data folder.  A file that is the
beginning of those bytes, that is empty, or that has lost its last line end or holds zero bytes, is taken for cut.
Whoever takes the end out on purpose puts a comment line in its place.  Any other fault is somebody at work: it is
refused in words as ever, and nothing else is run.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from station.config import GOOD, Loaded, load
from station.model import ConfigError
from station.written import write_whole

log = logging.getLogger(__name__)

FOLDER = re.compile(rb"""^\s*data_folder\s*=\s*["']([^"'\n]+)["']""", re.MULTILINE)
ADVICE = (
    "the last configuration that ran is used; look at the file's end. Was something taken out there on purpose,"
    " put a comment line (# end) in its place and start again"
)


def keep(loaded: Loaded) -> None:
    """A station runs with *loaded*: keep its text; a disk that refuses is only logged."""
    path = loaded.good_file
    try:
        if not path.exists() or path.read_bytes() != loaded.content:
            write_whole(path, loaded.content, mode=0o600)
    except OSError as error:
        log.warning("%s: cannot be written (%s); a station.toml cut short could not be told", path, error.strerror)


def instead(path: Path, content: bytes, *, secrets: bool = True) -> Loaded | None:
    """The configuration that ran last where *content* of *path* is it cut short; else None."""
    for place in _places(path, content):
        try:
            good = place.read_bytes()
        except OSError:
            continue
        if is_cut(content, good):
            try:
                return load(path, secrets=secrets, content=good)
            except ConfigError:  # a credential is gone, or another version knows other keys: the fault says it all
                return None
    return None


def whole(loaded: Loaded) -> None:
    """Raise ConfigError where *loaded* is only the beginning of the configuration that ran last."""
    with suppress(OSError):
        if is_cut(loaded.content, loaded.good_file.read_bytes()):
            where = loaded.path
            raise ConfigError(f"{where}: is the beginning of the configuration that ran last, cut short; {ADVICE}")


def is_cut(content: bytes, good: bytes) -> bool:
    """Whether *content* is what a cut leaves of a file, seen beside the *good* one.

    >>> [is_cut(one, b"a = 1\\nb = 22\\n# end\\n") for one in (b"a = 1\\nb = 2", b"a = 1\\n", b"a = 1\\nb = 22\\n")]
    [True, True, False]
    """
    if content == good:
        return False
    if b"\0" in content or (content and not content.endswith(b"\n")):
        return True
    return good.startswith(content) and any(
        line.strip() and not line.lstrip().startswith(b"#") for line in good[len(content) :].splitlines()
    )


def _places(path: Path, content: bytes) -> list[Path]:
    """Where the good one may lie: the folder that *content* still names, that of systemd, the usual one."""
    named = [path.parent / os.fsdecode(found) for found in FOLDER.findall(content)[:1]]
    systemd = [Path(one) for one in os.environ.get("STATE_DIRECTORY", "").split(":") if one]
    return [folder / GOOD for folder in (*named, *systemd, path.parent / "data")]


def read(path: Path, *, secrets: bool = False) -> Loaded:
    """For a command that has to work beside a station that goes on with its last good configuration."""
    try:
        content = path.read_bytes()
    except OSError:
        return load(path, secrets=secrets)  # which says it in words
    found = instead(path, content, secrets=secrets)
    if found is None:
        return load(path, secrets=secrets, content=content)
    log.warning("%s: is cut short; %s", path, ADVICE)
    return found
