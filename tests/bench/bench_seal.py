"""Seals: cost of a block, bytes a year, readings verified a second, and nine attacks, 300 times each.

.venv/bin/python -m tests.bench.bench_seal [--tries 300]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from station.clock import to_ms
from station.seal import EPOCH_SECONDS, Key, verify
from station.sealing import give_key, seal_due, shown
from station.store import READING, SEALS, Series, Store, connect
from tests.station.test_seal import ATTACKS, KEY, Copy

START = datetime(2026, 3, 1, tzinfo=UTC)


def filled(path: Path, epochs: int, readings: int) -> float:
    """A database of so many *epochs* of *readings* each; seconds that sealing took."""
    spent = 0.0
    with closing(Store.open(path)) as store:
        store.begin_boot("bench")
        with store.transaction() as db:
            store.register([Series("dust", "site", f"p{n}") for n in range(20)])
            give_key(store, KEY)
        for epoch in range(epochs):
            now = START + timedelta(seconds=EPOCH_SECONDS * epoch)
            rows = [(n % 20 + 1, to_ms(now) + n * 250, 20 + n / 7, None, 0) for n in range(readings)]
            with store.transaction() as db:
                db.executemany(READING, rows)
                begun = time.perf_counter()
                seal_due(store, now)
                spent += time.perf_counter() - begun
        return spent


def cost(folder: Path) -> None:
    """Time: of a block, and readings verified a second."""
    epochs, readings = 200, 1200
    spent = filled(folder / "cost.db", epochs, readings)
    with closing(Store.open(folder / "cost.db")) as store:
        begun = time.perf_counter()
        found = verify(store.query, key=Key(1, KEY))
        took = time.perf_counter() - begun
    assert found.sound
    total = epochs * readings
    print(f"sealing        {spent / total * 1e6:.1f} us a reading, {spent / epochs * 1e3:.1f} ms a block of {readings}")
    print(f"verifying      {total / took:,.0f} readings/s ({total:,} readings in {epochs} blocks)")


def size(written: Path, folder: Path) -> None:
    """Bytes that a year of the blocks of a station takes in a file of its own: those in *written*, over and over."""
    with closing(connect(written, read_only=True)) as db:
        blocks = db.execute("SELECT at_ms, more, digest, tag FROM seal ORDER BY epoch").fetchall()
    year = round(365 * 86400 / EPOCH_SECONDS)
    path = folder / "year.db"
    with closing(connect(path)) as db:
        db.execute("PRAGMA page_size=1024")
        for statement in SEALS.strip().removesuffix(";").split(";\n"):
            db.execute(statement)
        db.execute("BEGIN")
        put = "INSERT INTO seal(at_ms, more, digest, tag) VALUES (?, ?, ?, ?)"
        db.executemany(put, (blocks[1 + n % (len(blocks) - 1)] for n in range(year)))
        db.execute("COMMIT")
    held = path.stat().st_size
    print(
        f"size           {held / year:.0f} B a block, {held / 1e6:.1f} MB a year at {EPOCH_SECONDS:g} s, one platform"
    )


def attacks(folder: Path, tries: int) -> None:
    """How many of *tries* attacks of each kind show, with head and key, and with the key alone."""
    from tests.station.conftest import Rig

    rig = Rig(folder)
    with rig.engine.store.transaction():
        give_key(rig.engine.store, KEY)
    rig.run(3 * 3600, step=5)
    rig.engine.shut_down()
    with closing(Store.open(rig.loaded.database)) as store:
        last = shown(store)
    assert last is not None
    head = bytes.fromhex(last["head"])
    size(rig.loaded.database, folder)
    for name, attack in ATTACKS.items():
        seen = [0, 0]
        for seed in range(tries):
            copy = Copy(rig.loaded.database)
            attack(copy, random.Random(seed))
            seen[0] += not copy.check(head=head, key=Key(1, KEY)).sound
            seen[1] += not copy.check(key=Key(1, KEY)).sound
        print(f"{name:42} with head and key {seen[0]}/{tries}, with the key alone {seen[1]}/{tries}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tries", type=int, default=300)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        cost(Path(made))
        (Path(made) / "site").mkdir()
        attacks(Path(made) / "site", chosen.tries)
