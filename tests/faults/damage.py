"""Rows 14, 15 and 48: bits, pages and readings of the database that are not what was written."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from station.backup import take
from station.config import load
from station.model import StoreError
from station.salvage import recover
from station.seal import Key, Query, verify
from station.sealing import give_key, shown
from station.store import PAGE_SIZE, Store, connect
from tests.faults.outcome import Outcome, p99
from tests.powercut import Disk, PowerCutVfs
from tests.station.conftest import CONFIG, Rig
from tests.station.test_powercut import CutRig
from tests.station.test_salvage import contents, with_pages_overwritten
from tests.station.test_seal import ATTACKS, KEY, Copy


def pages(folder: Path, runs: int) -> Outcome:
    """Row 15: one to four pages of rubbish anywhere, the file cut off, or its first page; the newest copy is there."""
    rig = Rig(folder, CONFIG + '\n[backup]\nfolder = "usb"\n')
    (folder / "usb").mkdir()
    rig.run(3600)
    rig.engine.commit()
    copy, _ = take(rig.loaded.database, folder / "usb", rig.clock.now())
    rig.run(3600)
    rig.engine.shut_down()
    true, now, database = contents(rig.loaded.database), rig.clock.now() + timedelta(hours=1), rig.loaded.database
    whole, kept = database.read_bytes(), copy.last_ids["reading"]
    loaded = load(folder / "station.toml")
    shares, took, altered, below = list[float](), list[float](), 0, 0
    for number in range(runs):
        rng = random.Random(number)
        shutil.rmtree(loaded.data_folder)
        loaded.data_folder.mkdir()
        database.write_bytes(_spoilt(whole, rng, database))
        began = time.monotonic()
        recover(loaded, now)
        with closing(Store.open(database)) as store:
            took.append(time.monotonic() - began)
            assert store.noted("database_damaged")
        found = contents(database)
        altered += sum(
            table != "event" and true[table].get(key) != row for table in true for key, row in found[table].items()
        )
        shares.append(len(found["reading"]) / len(true["reading"]))
        below += len(found["reading"]) < kept
    figure = (
        f"readings there again: mean {100 * sum(shares) / runs:.1f} %, least {100 * min(shares):.1f} % (the copy alone"
        f" {100 * kept / len(true['reading']):.1f} %), less than the copy {below} times; resumed within"
        f" {p99(took):.2f} s (p99); {len(whole) // PAGE_SIZE} pages of {PAGE_SIZE} B"
    )
    return Outcome(runs, figure, below == 0 and max(took) < 60, 0, 0, altered, max(took))


def _spoilt(whole: bytes, rng: random.Random, scratch: Path) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return whole[: rng.randrange(len(whole) // 4, len(whole))]
    scratch.write_bytes(whole)
    count = len(whole) // PAGE_SIZE
    with_pages_overwritten(scratch, [0] if kind == 1 else rng.sample(range(count), rng.randint(1, 4)), rng)
    spoilt = scratch.read_bytes()
    scratch.unlink()
    return spoilt


class Sealed:
    """A station's hours, sealed with a key from the first block on, and the head that was noted elsewhere."""

    def __init__(self, folder: Path, seconds: int) -> None:
        rig = Rig(folder)
        with rig.engine.store.transaction():
            give_key(rig.engine.store, KEY)
        rig.run(seconds, 5)
        rig.engine.shut_down()
        self.database = rig.loaded.database
        with closing(Store(connect(self.database, read_only=True))) as store:
            found = shown(store)
        assert found is not None
        self.head = bytes.fromhex(found["head"])

    def sees(self, query: Query) -> bool:
        """Whether *query*'s database is found to be another one."""
        try:
            return not verify(query, head=self.head, key=Key(1, KEY)).sound
        except (StoreError, ValueError, TypeError, OverflowError, sqlite3.Error):
            return True


def bits(folder: Path, flips: int) -> Outcome:
    """Row 14: one bit of the file is another one; what of the readings changed, and who says so."""
    made = Sealed(folder, 1800)
    whole, true = made.database.read_bytes(), contents(made.database)["reading"]
    chance, changed, unreadable, sealed = random.Random(14), 0, 0, 0
    for _ in range(flips):
        spoilt = bytearray(whole)
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        made.database.write_bytes(bytes(spoilt))
        try:
            found = contents(made.database)["reading"]
        except (StoreError, sqlite3.Error, UnicodeDecodeError):
            unreadable += 1
            continue
        if found != true:
            changed += 1
            with closing(sqlite3.connect(f"file:{made.database}?mode=ro", uri=True)) as db:
                sealed += made.sees(lambda sql, values, db=db: db.execute(sql, values).fetchall())  # type: ignore[misc]
    figure = (
        f"{flips} flips: {unreadable} make the file unreadable (row 15), {changed} change readings that can be read:"
        f" {sealed} of them seen by station verify; the others change no reading"
    )
    return Outcome(flips, figure, sealed == changed, 0, 0, changed - sealed)


def lying(folder: Path, cuts: int) -> Outcome:
    """Row 4: from some moment on the disk says that it has synced and has not; then the power goes."""
    (folder / "data").mkdir()
    vfs = PowerCutVfs("lying")
    heads = _run_sealed(folder, vfs)
    chance, lost, seen, behind, ends = random.Random(4), 0, 0, 0, Counter[str]()
    image = folder / "image" / "station.db"
    image.parent.mkdir()
    for _ in range(cuts):
        last = chance.randrange(len(vfs.log) // 4, len(vfs.log))
        honest = chance.randrange(last // 2, last)
        disk, told, head = Disk(), 0, b""
        for number, (kind, key, where, data) in enumerate(vfs.log[:last]):
            if kind == "note":
                told, head = where
            elif kind != "sync" or number < honest:
                disk.follow(kind, str(key), where, data)
        for old in image.parent.iterdir():
            old.unlink()
        for name, content in disk.image(chance).items():
            if not name.endswith("-shm"):
                image.with_name(name).write_bytes(content)
        state = _state_of(image, told, head)
        ends[state] += 1
        lost += state != "whole"
        seen += state in ("broken", "head")
        behind += state == "behind"
    figure = (
        f"{lost} of {cuts} cuts lost what was said to be synced: {ends['broken']} seen by a file that cannot be read,"
        f" {ends['head']} by the head outside ({heads} heads noted), {behind} lost only what came after the newest head"
        f" and are seen by nobody, {ends['unseen']} lost more unseen"
    )
    return Outcome(cuts, figure, ends["unseen"] == 0 and seen > 0)


def _run_sealed(folder: Path, vfs: PowerCutVfs) -> int:
    """Half an hour of the real engine; after each commit the number of readings and the newest head are noted."""
    CutRig.vfs = vfs
    rig, heads = CutRig(folder), set[bytes]()
    for _ in range(1800):
        rig.run(1)
        store = rig.engine.store
        found = shown(store)
        head = b"" if found is None else bytes.fromhex(found["head"])
        heads.add(head)
        vfs.note((store.newest("reading"), head))
    rig.connection.close()
    return len(heads - {b""})


def _state_of(image: Path, told: int, head: bytes) -> str:
    """What a start and a verifier with *head* find: whole, broken, head, behind (only unsealed rows) or unseen."""
    try:
        with closing(sqlite3.connect(image)) as db:
            if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return "broken"

            def query(sql: str, values: Sequence[Any] = ()) -> list[Any]:
                return db.execute(sql, values).fetchall()

            if (query("SELECT max(id) FROM reading")[0][0] or 0) >= told:
                return "whole"
            verdict = verify(query, head=head or None)
            if not verdict.sound:
                return "head"
            return "behind" if not head or verdict.anchored is not None else "unseen"
    except sqlite3.Error:
        return "broken"


def seals(folder: Path, tries: int) -> Outcome:
    """Row 48: nine attacks on the sealed record, with the head and the key outside."""
    made = Sealed(folder, 3 * 3600)
    found, sound = Counter[str](), Copy(made.database)
    true = {table: sound.query(f"SELECT * FROM {table}") for table in ("reading", "seal")}
    for name, attack in ATTACKS.items():
        for number in range(tries):
            copy = Copy(made.database)
            attack(copy, random.Random(number))
            alike = all(copy.query(f"SELECT * FROM {table}") == rows for table, rows in true.items())
            found[name] += alike or made.sees(copy.query)  # two readings that are alike were swapped
            copy.db.close()
    missed = {name: tries - found[name] for name in ATTACKS if found[name] < tries}
    seen = f"{sum(found.values())} seen by station verify with the head; unseen: {missed or 'none'}"
    figure = f"{len(ATTACKS)} attacks x {tries}: {seen}"
    return Outcome(tries * len(ATTACKS), figure, not missed, 0, 0, sum(missed.values()))
