"""The real daemon on a host whose time service is a file: nobody vouches for its clock until that is there.

python -m tests.faults.unsure FOLDER CONFIG: FOLDER/synchronized is what systemd-timesyncd would make; the wall clock is
off by the seconds in FOLDER/offset: for the whole process, OpenSSL and SQLite too, where libfaketime is (Debian's
package faketime), else for Python alone.
"""

from __future__ import annotations

import datetime
import os
import select
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def shift(folder: Path, seconds: float) -> None:
    """Let the clock be off by *seconds* from now on."""
    new = folder / "offset.new"
    new.write_text(f"{seconds:+.0f}\n", encoding="ascii")
    new.replace(folder / "offset")


def loading(folder: Path) -> Mapping[str, str]:
    """What loads libfaketime into a process, with the offset of *folder*; nothing where it is not installed."""
    if not FAKETIME:
        return {}
    return {
        "LD_PRELOAD": str(FAKETIME[0]), "FAKETIME_TIMESTAMP_FILE": str(folder / "offset"), "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }  # fmt: skip


def lay(folder: Path) -> None:
    """Have this process's clocks shifted by *folder*/offset, before anything that reads them is loaded."""
    if "LD_PRELOAD" in os.environ:
        # libfaketime 0.9.10 shifts the end of a clock_nanosleep on CLOCK_MONOTONIC too: sleeps of Python never ended
        time.sleep = lambda seconds: select.select((), (), (), seconds) and None
        return
    true, offset = time.time, folder / "offset"

    def shifted() -> float:
        return true() + float(offset.read_text(encoding="ascii"))

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(shifted(), tz)

    time.time = shifted
    datetime.datetime = Shifted  # type: ignore[misc]


def serve(folder: Path, config: str) -> int:
    """The daemon on *config*, on a host that has systemd; its time service is *folder*/synchronized."""
    from station import clock, service

    clock.SYSTEMD, clock.SYNCHRONISED, clock.CHRONY = folder, folder / "synchronized", ()  # type: ignore[assignment]
    return service.main(["run", "--config", config])


if __name__ == "__main__":
    lay(Path(sys.argv[1]))
    sys.exit(serve(Path(sys.argv[1]), sys.argv[2]))
