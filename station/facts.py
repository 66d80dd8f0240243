"""What systemd/install.sh asks the program it installs, before anything of the station is touched.

`python -I -m station.facts CONFIG [ROOT]` prints a `key value` line for each fact; `python -I -m station.facts` those
that need no configuration.  A *ROOT* stands before absolute names: a system that is mounted there and does not run.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from station.model import StationError

if TYPE_CHECKING:
    from station.config import Loaded

Fact = tuple[str, str]


def of_program() -> Iterator[Fact]:
    """Its version, its schema, and the older schemas that `station migrate` leads away from."""
    from station.migrations import STEPS
    from station.store import SCHEMA_VERSION
    from station.version import VERSION

    first = SCHEMA_VERSION
    while first - 1 in STEPS:
        first -= 1
    yield "version", VERSION
    yield "schema", str(SCHEMA_VERSION)
    yield "migrates", " ".join(map(str, range(first, SCHEMA_VERSION)))


def of_station(loaded: Loaded, root: Path) -> Iterator[Fact]:
    """Where the data lie and in which schema, what has to be handed over, and what else has to be installed."""
    config = loaded.config
    database = beneath(root, loaded.database)
    yield "data_folder", str(loaded.data_folder)
    yield "database", str(database)
    yield "database_schema", schema_of(database)
    yield "credentials", " ".join(credentials(loaded))
    yield "copies", config.backup.folder
    yield "networked", "yes" if any("://" in bus.port for bus in config.bus) else ""
    yield "wired", "yes" if config.wired else ""
    yield "outputs", "yes" if config.output else ""
    yield "ciphered", "yes" if any(getattr(one, "key_file", "") for one in config.uplink) else ""


def beneath(root: Path, path: Path) -> Path:
    """*path* of the system that is mounted at *root*.

    >>> beneath(Path("/mnt"), Path("/var/lib/x")).as_posix(), beneath(Path("/"), Path("/var/lib/x")).as_posix()
    ('/mnt/var/lib/x', '/var/lib/x')
    """
    return path if path.is_relative_to(root) else root / path.relative_to("/")


def schema_of(database: Path) -> str:
    """The schema of the file at *database*; nothing when there is none.  Raise sqlite3.Error when it is no database."""
    if not database.exists():
        return ""
    log = "" if database.with_name(f"{database.name}-wal").exists() else "&immutable=1"  # or SQLite makes one
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro{log}", uri=True)) as connection:
        return str(connection.execute("PRAGMA user_version").fetchone()[0])


def credentials(loaded: Loaded) -> list[str]:
    """Names of the secrets that systemd can hand over: files of the configuration's folder, not of one below it."""
    found: list[str] = []
    for uplink in loaded.config.uplink:
        if hasattr(uplink, "files"):
            found += [name for _, name, hidden in uplink.files() if hidden]
        else:
            found += [getattr(uplink, key, "") for key in ("password_file", "key_file")]
    return sorted({name for name in found if name and "/" not in name})


def main(words: list[str]) -> int:
    """Print the facts; 1 with a sentence when the configuration or the database cannot be read."""
    from station.config import load

    try:
        facts = list(of_program())
        if words:
            facts += of_station(load(Path(words[0]), secrets=False), Path(*words[1:2] or ["/"]))
    except (StationError, sqlite3.Error) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"{key} {value}\n" for key, value in facts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
