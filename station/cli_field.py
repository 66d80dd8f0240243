"""What the commands of field work share: an entry kept by the running station, else in its database."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.command_line import ask_station
from station.model import WrongArgument

if TYPE_CHECKING:
    from station.config import Loaded
    from station.store import Store

CHUNK = 1 << 20


def enter(loaded: Loaded, what: str, do: str, **fields: Any) -> tuple[dict[str, Any], bool]:
    """Have an entry kept; its body, and whether it waits in the database for the next start."""
    given = {"do": do, **{key: value for key, value in fields.items() if value is not None}}
    body = ask_station(loaded, "field", what=what, fields=given)
    return (_alone(loaded, what, given), True) if body is None else (body, False)


def _alone(loaded: Loaded, what: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    from station import fieldwork
    from station.clock import trust
    from station.marks import KIND as MARK
    from station.marks import HandMarks
    from station.service import own_folder
    from station.store import Event, Store, check_folder

    check_folder(loaded.data_folder)
    now = datetime.now(UTC)
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        given = HandMarks(store.records(MARK, fieldwork.BEGINNING, fieldwork.END)).next_number
        desk = fieldwork.Desk(store=store, loaded=loaded, now=now, trust=trust(), mark=count(given).__next__)
        made = fieldwork.enter(desk, what, fields)
        told = made[0].body["do"] not in fieldwork.QUIET
        logs = fieldwork.log_records(made[0], loaded, now) if told and fieldwork.telling(loaded) else []
        code, said = fieldwork.event(made[0])
        with store.transaction():
            store.add_records([*made, *logs])
            store.add_events([Event(now, code, said)] * told)
        return dict(made[0].body)


def reader(loaded: Loaded) -> closing[Store]:
    """The station's database, what was taken so far committed first; raise StoreError where there is none."""
    from station.cli_marks import _store

    ask_station(loaded, "commit")
    return closing(_store(loaded))


def book(loaded: Loaded, kind: str) -> Any:
    """Everything on record of *kind*, as its records leave it."""
    from station.fieldwork import BEGINNING, BOOKS, END

    with reader(loaded) as store:
        return BOOKS[kind](store.records(kind, BEGINNING, END))


def photo(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of the photo at *path*; raise WrongArgument where it is not there, or is empty."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise WrongArgument(f"{path}: the photo cannot be read ({error.strerror}); nothing was entered") from error
    if not size:
        raise WrongArgument(f"{path}: the photo is empty; nothing was entered")
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest()}
