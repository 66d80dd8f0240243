"""Random steps of the clock: what is dated wrongly, doubled or lost.  `python -m tests.bench.bench_clock 1000`."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.station.test_timekeeping import wander


def main() -> int:
    """Print a line of figures; 1 where anything went wrong."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    logging.disable(logging.CRITICAL)
    wrong = doubled = missing = closed = 0
    began = time.monotonic()
    for seed in range(first, first + count):
        with TemporaryDirectory() as folder:
            found = wander(Path(folder), seed)
        if any(found[:3]):
            print(f"seed {seed}: {found[0][:2]} {found[1][:2]} {sorted(found[2])[:2]}")
        wrong, doubled, missing = wrong + len(found[0]), doubled + len(found[1]), missing + len(found[2])
        closed += found[3]
    print(
        f"{count} sequences of steps, restarts and power cuts: {closed} minutes closed, {wrong} readings dated wrongly,"
        f" {doubled} periods doubled, {missing} missing, in {time.monotonic() - began:.0f} s"
    )
    return bool(wrong or doubled or missing)


if __name__ == "__main__":
    sys.exit(main())
