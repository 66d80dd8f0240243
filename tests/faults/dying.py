"""The real daemon, ended by its own SIGKILL at one of five points between a platform's answer and the durable mark.

python -m tests.faults.dying POINT COUNT CONFIG: at the COUNT-th time it comes by there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from station import service
from station.outbox import PlatformOutbox
from uplink.hj212.uploads import Uploads


class Death:
    """Counts how often a point is passed behind a first answer."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.answers = 0  # since the last commit

    def passed(self) -> None:
        """Once more; the last time is the end."""
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: Any, name: str, *, before: Callable[[], None] | None, after: Callable[[], None] | None) -> None:
    """Call *before* and *after* around every call of the method *name* of *owner*."""
    method = getattr(owner, name)

    def wrapped(*given: Any, **named: Any) -> Any:
        if before is not None:
            before()
        found = method(*given, **named)
        if after is not None:
            after()
        return found

    setattr(owner, name, wrapped)


def lay(point: str, death: Death) -> None:
    """Have *death* met at *point* (tests/faults/killed.py names them)."""

    def marked() -> None:
        death.answers += 1

    def with_answers() -> None:
        if death.answers:
            death.passed()

    def over() -> None:
        death.answers = 0

    wrap(PlatformOutbox, "answered", before=None, after=marked)
    if point == "heard":
        wrap(Uploads, "acknowledged", before=death.passed, after=None)
    elif point == "unmarked":
        wrap(PlatformOutbox, "answered", before=death.passed, after=None)
    elif point == "marked":
        wrap(PlatformOutbox, "answered", before=None, after=death.passed)
    elif point == "in-commit":
        wrap(PlatformOutbox, "write", before=None, after=with_answers)
        wrap(PlatformOutbox, "committed", before=None, after=over)
    elif point == "committed":
        wrap(PlatformOutbox, "committed", before=with_answers, after=over)
    else:
        raise SystemExit(f"no point {point}")


if __name__ == "__main__":
    lay(sys.argv[1], Death(int(sys.argv[2])))
    sys.exit(service.main(["run", "--config", sys.argv[3]]))
