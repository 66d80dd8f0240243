"""Rows 1 and 3: the power goes at every write of the real store and of the real engine."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.outcome import Outcome
from tests.station.test_powercut import judge, judge_engine

MEMORY = Path("/dev/shm")  # images are many and small: no disk need see them


@contextmanager
def quick_folder(folder: Path, name: str) -> Iterator[Path]:
    """A folder in memory where the host has one, else in *folder*."""
    if os.access(MEMORY, os.W_OK):
        with tempfile.TemporaryDirectory(dir=MEMORY, prefix=f"fault-{name}-") as made:
            yield Path(made)
    else:
        (folder / name).mkdir()
        yield folder / name


def at_each_write(folder: Path, commits: int) -> Outcome:
    """Row 1: every write of *commits* commits, 16 images each; the engine beside it; controls that must fail."""
    with quick_folder(folder, "store") as where:
        images, found = judge(where, commits, draws=14)
    with quick_folder(folder, "engine") as where:
        more, restarts, wrong = judge_engine(where, 2 * commits, draws=6)
    controls = {}
    for weaker in ("NORMAL", "OFF"):
        with quick_folder(folder, weaker) as where:
            controls[weaker] = judge(where, 6, 1, weaker)
    found += wrong
    seen = {weaker: f"{bad['lost']} of {count}" for weaker, (count, bad) in controls.items()}
    figure = (
        f"{images} images of the store, {more} of the engine ({restarts} started again): lost {found['lost']}, corrupt"
        f" {found['corrupt']}, partial {found['partial']}, ghost {found['ghost']}, number reused {found['reused']};"
        f" controls lose commits as they must: synchronous=NORMAL in {seen['NORMAL']} images, OFF in {seen['OFF']}"
    )
    held = all(bad["lost"] for _, bad in controls.values())
    return _outcome(images + more, figure, held, found)


def torn(folder: Path, commits: int) -> Outcome:
    """Row 3: every write that was not synced is there in some of its sectors."""
    with quick_folder(folder, "torn") as where:
        images, found = judge(where, commits, draws=6, torn=True)
    figure = f"{images} images with writes torn at 512 bytes: corrupt {found['corrupt']}, partial {found['partial']}"
    return _outcome(images, figure, True, found)


def _outcome(images: int, figure: str, held: bool, found: Counter[str]) -> Outcome:
    doubled = found["reused"] + found["doubled"]
    return Outcome(images, figure, held, found["lost"], doubled, found["corrupt"] + found["partial"] + found["ghost"])
