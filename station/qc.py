"""Reading to mark: pure functions.  The worst mark wins; a value is marked, never discarded."""

from __future__ import annotations

import math

from station.model import Mark, Reading, Reason, replace

Limits = tuple[float, float]  # lowest and highest believable value, inclusive


def mark(reading: Reading, limits: Limits | None = None) -> Reading:
    """*reading* with the mark that the configured *limits* give it, unless it carries a worse one.

    Above the limits is T; below them is D, since HJ 212-2017 has no mark for "too low".  A value
    that is no number is withheld: the store has no honest way to keep it.
    """
    value = reading.value
    if value is None:
        return reading
    if not math.isfinite(value):
        return _worse(replace(reading, raw=None, value=None), Mark.D, Reason.NOT_A_NUMBER)
    if limits is None:
        return reading
    if value > limits[1]:
        return _worse(reading, Mark.T, Reason.ABOVE_RANGE)
    if value < limits[0]:
        return _worse(reading, Mark.D, Reason.BELOW_RANGE)
    return reading


def _worse(reading: Reading, found: Mark, reason: Reason) -> Reading:
    if reading.mark >= found:
        return reading
    return replace(reading, mark=found, reason=reason)
