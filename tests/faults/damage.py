"""Rows 14, 15 and 48: bits, pages and readings of the database that are not what was written."""

from __future__ import annotations

import importlib.util
import random
import shutil
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from station.backup import take
from station.config import load
from station.model import StoreDamaged, StoreError
from station.salvage import recover
from station.store import PAGE_SIZE, Store
from tests.faults.outcome import CannotRun, Outcome, p99
from tests.faults.suites import passed
from tests.station.conftest import CONFIG, Rig
from tests.station.test_salvage import contents, with_pages_overwritten


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


def bits(folder: Path, flips: int) -> Outcome:
    """Row 14: one bit of the file is another one; what of the readings changed, and who says so."""
    rig = Rig(folder)
    rig.run(1800)
    rig.engine.shut_down()
    database = rig.loaded.database
    whole, true = database.read_bytes(), contents(database)["reading"]
    chance, changed, seen, unseen, broken = random.Random(14), 0, 0, 0, 0
    for _ in range(flips):
        spoilt = bytearray(whole)
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        database.write_bytes(bytes(spoilt))
        try:
            found = contents(database)["reading"]
        except (StoreDamaged, StoreError, OSError):
            seen += 1
            continue
        except Exception as error:  # noqa: BLE001 - what SQLite raises of a damaged file is seen
            broken += type(error).__module__ != "sqlite3"
            seen += 1
            continue
        if found != true:
            changed += 1
            unseen += 1
    raise CannotRun(
        f"bits that change a reading within a page that still reads are seen by seals alone, which are not landed:"
        f" of {flips} flips {seen} made the file unreadable and were seen, {changed} changed a reading unseen"
    )


def seals(folder: Path, times: int) -> Outcome:
    """Row 48: nine attacks on the sealed chain."""
    if importlib.util.find_spec("station.seal") is None:
        raise CannotRun("not landed: station/seal.py with its nine attacks")
    good, bad, said = passed(("tests/station/test_seal.py",), folder)
    return Outcome(good, f"nine attacks by their own tests: {said}", not bad)
