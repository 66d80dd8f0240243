"""What a row of the fault matrix came to, and why one cannot be run here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


class CannotRun(Exception):
    """Raised by a row that this host or this version cannot run; the text says why."""


@dataclass(frozen=True)
class Outcome:
    """A row that ran: *held* says whether the station survived as the matrix wants it.

    *runs* is how often the fault was put in; *lost*, *doubled* and *altered* count records or readings, None where
    the fault is none of storing or sending; *recover_seconds* is the longest time until all was well again.
    """

    runs: int
    figure: str
    held: bool
    lost: int | None = None
    doubled: int | None = None
    altered: int | None = None
    recover_seconds: float | None = None

    @property
    def sound(self) -> bool:
        """Held, and nothing lost, doubled or altered whatever the row says of itself."""
        return self.held and self.runs > 0 and not any((self.lost, self.doubled, self.altered))


def p99(values: Sequence[float]) -> float:
    """The 99th percentile of *values*; of fewer than a hundred the largest, 0 of none.

    >>> p99([1.0, 3.0, 2.0]), p99([])
    (3.0, 0.0)
    """
    if len(values) < 100:
        return max(values, default=0.0)
    return statistics.quantiles(values, n=100)[98]
