"""Stills of cameras as they are kept: a file each, and a record that holds its SHA-256.

A record of kind `snapshot`, of the camera as device and the alarm's point, is told to platforms that take it:

* do "taken": camera, file, sha256, bytes, width, height, asked and taken (ISO 8601), alarm and episode ("" when a
  person had it taken), by (the person, "" for the station), note.

Records of kind `snapshot_note` stay here:

* do "missed": an alarm of which there is no still, and why; camera, alarm, episode, asked, reason;
* do "left": files that left, which records (ids), bytes, why: "budget" or "age".

The blocks of the record are sealed, so a still is as whole as its hash: `station verify` reads every file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.clock import from_ms
from station.model import Record, StoreError, dataclass

if TYPE_CHECKING:
    from station.store import Store

KIND, NOTE, FOLDER = "snapshot", "snapshot_note", "snapshots"
FILE = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{16}\.jpg")
BEGINNING, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
LARGEST = 64 << 20  # bytes of a file that is read whole
GONE, CHANGED = "gone", "changed"


@dataclass(frozen=True, slots=True)
class Kept:
    """A still on record; *id* is its number."""

    id: int
    at: datetime
    point: str
    body: Mapping[str, Any]

    @property
    def file(self) -> str:
        """Its name in the folder; never a path."""
        name = str(self.body["file"])
        return name if FILE.fullmatch(name) else ""

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.body["bytes"])


def read(records: Iterable[Record]) -> tuple[list[Kept], set[int]]:
    """Every still that was taken, the oldest first, and the numbers of those that have left."""
    taken, left = [], set[int]()
    for one in records:
        if one.body.get("do") == "taken":
            taken.append(Kept(one.id, one.at, one.point, one.body))
        elif one.body.get("do") == "left":
            left.update(one.body["ids"])
    return taken, left


def everything(store: Store, start: datetime = BEGINNING, device: str | None = None) -> list[Record]:
    """Every record about stills from *start* on, of the camera *device* alone where one is named."""
    found = [store.records(kind, start, END, device=device) for kind in (KIND, NOTE)]
    return [*found[0], *found[1]]


def kept(store: Store, start: datetime = BEGINNING, end: datetime = END) -> list[Kept]:
    """The stills taken from *start* to *end* that have not left, the oldest first."""
    taken, left = read(everything(store, start))
    return [one for one in taken if one.id not in left and one.at < end]


def in_rows(query: Callable[[str, Sequence[Any]], Sequence[Any]]) -> list[Kept]:
    """The same of the whole record, through a connection that is no store."""
    rows = query("SELECT id, at_ms, body FROM record WHERE kind IN (?, ?) ORDER BY id", (KIND, NOTE))
    taken, left = read(Record(KIND, from_ms(at), json.loads(body), id=number) for number, at, body in rows)
    return [one for one in taken if one.id not in left]


def by_number(store: Store, number: int) -> Kept | None:
    """The still of record *number*, also one that has left; None where that is no still."""
    rows = store.query("SELECT at_ms FROM record WHERE id = ? AND kind = ?", (number, KIND))
    if not rows:
        return None
    at = from_ms(rows[0][0])
    for one in store.records(KIND, at, END):
        if one.id == number:
            return Kept(one.id, one.at, one.point, one.body) if one.body.get("do") == "taken" else None
    return None


def name_for(at: datetime, digest: str) -> str:
    """What the file of a still is called.

    >>> name_for(datetime(2026, 3, 1, tzinfo=UTC), "ab" * 32)
    '20260301T000000Z-abababababababab.jpg'
    """
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%S}Z-{digest[:16]}.jpg"


def put(folder: Path, at: datetime, jpeg: bytes) -> tuple[str, str]:
    """Keep *jpeg*, on the disk when this returns; its file's name and SHA-256.  Raise StoreError."""
    digest = hashlib.sha256(jpeg).hexdigest()
    name = name_for(at, digest)
    path, new = folder / name, folder / f"{name}.new"
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
        with os.fdopen(file, "wb") as out:
            out.write(jpeg)
            out.flush()
            os.fsync(out.fileno())
        new.replace(path)
        made = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(made)
        finally:
            os.close(made)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise StoreError(f"{folder}: the still cannot be kept ({error.strerror})") from error
    return name, digest


def look(folder: Path, one: Kept) -> tuple[bytes, str]:
    """The picture of *one*, and "" where it is as on record; else nothing, and "gone" or "changed"."""
    if not one.file:
        return b"", GONE
    try:
        with (folder / one.file).open("rb") as file:
            data = file.read(min(one.size, LARGEST) + 1)
    except OSError:
        return b"", GONE
    return (data, "") if hashlib.sha256(data).hexdigest() == one.body["sha256"] else (b"", CHANGED)


def by_name(folder: Path, name: str, digest: str) -> bytes:
    """The picture called *name*, where it is as its *digest* says; else nothing."""
    if not FILE.fullmatch(name):
        return b""
    try:
        data = (folder / name).read_bytes()
    except OSError:
        return b""
    return data if hashlib.sha256(data).hexdigest() == digest else b""


def faulty(folder: Path, stills: Iterable[Kept]) -> Iterator[tuple[Kept, str]]:
    """Those of *stills* whose file is gone or was changed, and which of both."""
    for one in stills:
        _, why = look(folder, one)
        if why:
            yield one, why


def strangers(folder: Path, known: Sequence[Kept]) -> list[str]:
    """Files of the folder that no record knows, such as one whose record a power cut took."""
    names = {one.file for one in known}
    try:
        return sorted(one.name for one in folder.iterdir() if one.name not in names)
    except OSError:
        return []


def shown(one: Kept, why: str = "") -> dict[str, Any]:
    """A still as tools and reports have it."""
    keys = ("camera", "alarm", "episode", "asked", "taken", "by", "note", "sha256", "bytes", "width", "height", "file")
    return {"number": one.id, "point": one.point, **{key: one.body[key] for key in keys}, "state": why or "whole"}


def missed(store: Store, start: datetime, end: datetime) -> list[Record]:
    """Alarms from *start* to *end* of which there is no still."""
    return [one for one in store.records(NOTE, start, end) if one.body.get("do") == "missed"]


def newest_first(store: Store, most: int, episodes: Iterable[str] = ()) -> list[Kept]:
    """The newest *most* stills, and those of *episodes*; read from the newest record backwards."""
    wanted, found = set(episodes), list[Kept]()
    rows = store.query("SELECT id FROM record WHERE kind = ? ORDER BY id DESC LIMIT 200", (KIND,))
    if not rows:
        return []
    ids = {row[0] for row in rows}
    first = store.query("SELECT min(at_ms) FROM record WHERE id >= ? AND kind = ?", (min(ids), KIND))[0][0]
    for one in reversed(kept(store, from_ms(first))):
        if len(found) < most or one.body["episode"] in wanted:
            found.append(one)
    return found

