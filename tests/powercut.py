"""A disk that loses power: an SQLite VFS that writes down every operation, and the images a cut can leave.

What was synced is there.  Of what was not, each write may be missing, whole, or torn at 512-byte
sectors; a file that was made but not synced may be missing; a deletion may not have happened.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512


class _Journaled(apsw.VFSFile):
    def __init__(self, vfs: PowerCutVfs, name: Any, flags: list[int]) -> None:
        path = name.filename() if hasattr(name, "filename") else name
        self._key = Path(path).name if path else None
        self._log = vfs.log
        made = bool(path) and not Path(path).exists()
        super().__init__("", name, flags)
        if self._key and made:
            self._log.append(("make", self._key, None, None))

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._key:
            self._log.append(("write", self._key, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        if self._key:
            self._log.append(("cut", self._key, size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        if self._key:
            self._log.append(("sync", self._key, None, None))


class PowerCutVfs(apsw.VFS):
    """Passes everything to the real file system and keeps *log* of it; `note` adds the program's own marks."""

    def __init__(self, name: str) -> None:
        self.log: list[tuple[str, str | None, Any, Any]] = []
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> _Journaled:
        return _Journaled(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:
        self.log.append(("delete", Path(name).name, sync, None))
        super().xDelete(name, sync)

    def note(self, what: Any) -> None:
        """Remember that the program was told or told others *what*, at this place in the log."""
        self.log.append(("note", None, what, None))

    def connect(self, path: Path) -> apsw.Connection:
        """A connection through this VFS; without shared memory WAL needs exclusive locking."""
        connection = apsw.Connection(str(path), vfs=self.name)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        return connection


@dataclass
class Disk:
    """What the medium certainly holds, and what is still under way."""

    certain: dict[str, bytearray] = field(default_factory=dict)
    pending: dict[str, list[tuple[str, int, bytes | None]]] = field(default_factory=dict)
    uncertain_files: set[str] = field(default_factory=set)

    def follow(self, kind: str, key: str, where: Any, data: bytes | None) -> None:
        """Take in one operation of the log."""
        if kind == "make":
            self.certain[key], self.pending[key] = bytearray(), []
            self.uncertain_files.add(key)
        elif kind in ("write", "cut"):
            self.certain.setdefault(key, bytearray())
            self.pending.setdefault(key, []).append((kind, where, data))
        elif kind == "sync":
            for operation in self.pending.get(key, []):
                _apply(self.certain.setdefault(key, bytearray()), *operation)
            self.pending[key] = []
            self.uncertain_files.discard(key)
        elif kind == "delete":
            self.certain.pop(key, None)
            self.pending.pop(key, None)

    def image(self, chance: random.Random | None, *, everything: bool = False, torn: bool = False) -> dict[str, bytes]:
        """What a start after the cut could find: nothing pending, *everything*, or a draw by *chance*.

        With *torn* every write that is pending is in pieces.
        """
        files = {}
        for key, content in self.certain.items():
            if key in self.uncertain_files and not everything and (chance is None or chance.random() < 0.3):
                continue
            found = bytearray(content)
            for operation in self.pending.get(key, []):
                if everything:
                    _apply(found, *operation)
                elif chance is not None:
                    _apply_by_chance(found, operation, chance, torn=torn)
            files[key] = bytes(found)
        return files


def _apply(content: bytearray, kind: str, where: int, data: bytes | None) -> None:
    if kind == "cut" or data is None:
        del content[where:]
        return
    content.extend(bytes(max(0, where - len(content))))
    content[where : where + len(data)] = data


def _apply_by_chance(
    content: bytearray, operation: tuple[str, int, bytes | None], chance: random.Random, *, torn: bool
) -> None:
    kind, where, data = operation
    luck = 1.0 if torn else chance.random()
    if luck < 0.35:
        return
    if kind == "cut" or data is None or luck < 0.7:
        _apply(content, kind, where, data)
        return
    for start in range(0, len(data), SECTOR):
        if chance.random() < 0.5:
            _apply(content, "write", where + start, data[start : start + SECTOR])


def cuts(log: list[tuple[str, str | None, Any, Any]]) -> Iterator[tuple[Disk, list[Any]]]:
    """After every operation of *log*: the disk, and what the program had noted by then."""
    disk, notes = Disk(), list[Any]()
    for kind, key, where, data in log:
        if kind == "note":
            notes.append(where)
            continue
        assert key is not None
        disk.follow(kind, key, where, data)
        yield disk, notes
