"""Row 2: a real daemon on a real ext4 whose disk is copied in the middle of its work, and started again on the copy.

The file system lies in a file.  What the kernel has not written to it yet is not in the copy: as after a power cut
with an honest disk.  The daemon is held (SIGSTOP) for the moment of the copy.
"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path

from station.store import connect
from tests.faults.disk import made_image, mounted
from tests.faults.killed import Site
from tests.faults.outcome import Outcome
from tests.faults.power import quick_folder
from tests.station.commands import answer, served, until
from uplink.hj212.emulator import Platform


def whole_process(folder: Path, cycles: int) -> Outcome:
    """Row 2: *cycles* cuts of a running daemon with its line and platform."""
    chance, lost, altered, broken = random.Random(2), 0, 0, 0
    with quick_folder(folder, "images") as images, ExitStack() as stack:
        place = stack.enter_context(mounted(made_image(images / "disk"), folder / "disk"))
        platform = stack.enter_context(Platform())
        here = Site(place / "site", platform, stack)
        process = stack.enter_context(served("run", "--config", here.path))
        until(lambda: answer(here.socket), 30, lambda: process.text)
        for _ in range(cycles):
            time.sleep(chance.uniform(0.02, 1.0))
            process.process.send_signal(signal.SIGSTOP)
            here.look()
            shutil.copyfile(images / "disk", images / "copy")
            process.process.send_signal(signal.SIGCONT)
            gone, other, bad = _judged(here, images / "copy", folder / "copy")
            lost, altered, broken = lost + gone, altered + other, broken + bad
        until(lambda: not here.undelivered(), 60, lambda: process.text)
        here.drained(process)
        readings, (more, doubled, wrong) = len(here.seen["reading"]), here.verdict()
    figure = (
        f"{cycles} cuts of a daemon on ext4 in a file ({readings} readings): {broken} databases that were not whole"
    )
    return Outcome(cycles, figure, broken == 0, lost + more, doubled, altered + wrong)


def _judged(here: Site, image: Path, place: Path) -> tuple[int, int, int]:
    """Of what was seen committed: rows gone, rows that are others; and whether the database is not whole."""
    with mounted(image, place):
        database = place / here.database.relative_to(here.path.parents[1])
        try:
            with closing(connect(database)) as db:
                if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                    return 0, 0, 1
                lost = altered = 0
                for table, seen in here.seen.items():
                    now = {row[0]: row for row in db.execute(f"SELECT * FROM {table}")}
                    lost += sum(number not in now for number in seen)
                    altered += sum(number in now and now[number] != row for number, row in seen.items())
                return lost, altered, 0
        except sqlite3.Error:
            return 0, 0, 1
