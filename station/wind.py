"""Mean winds: the direction and speed of the vector sum, and the scalar speed beside them.

Directions are degrees the wind comes from, clockwise from north; speeds m/s.  No clause was found; this is the
practice of meteorology (medium), with the calm rule: below CALM a vane tells nothing, so its direction is not used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from station.model import dataclass

CALM = 0.3  # m/s; 0.2 to 0.3 in practice (medium)


@dataclass(frozen=True, slots=True)
class Wind:
    """A mean wind: *direction* is None where all was calm or the winds cancel."""

    direction: float | None
    vector_speed: float
    scalar_speed: float


def mean_wind(speeds: Sequence[float], directions: Sequence[float], *, weighted: bool = True) -> Wind:
    """The mean of pairs of *speeds* and *directions*; not *weighted*, every wind counts alike for the direction.

    >>> found = mean_wind([3.0, 3.0], [350.0, 20.0])
    >>> round(found.direction, 1), round(found.vector_speed, 3), found.scalar_speed
    (5.0, 2.898, 3.0)
    """
    if not speeds or len(speeds) != len(directions):
        raise ValueError(f"{len(speeds)} speeds and {len(directions)} directions are no pairs")
    blowing = [(speed, math.radians(at)) for speed, at in zip(speeds, directions, strict=True) if speed >= CALM]
    east = math.fsum(speed * math.sin(at) for speed, at in blowing) / len(speeds)
    north = math.fsum(speed * math.cos(at) for speed, at in blowing) / len(speeds)
    return Wind(_direction(blowing, weighted=weighted), math.hypot(east, north), math.fsum(speeds) / len(speeds))


def _direction(blowing: Sequence[tuple[float, float]], *, weighted: bool) -> float | None:
    east = math.fsum((speed if weighted else 1.0) * math.sin(at) for speed, at in blowing)
    north = math.fsum((speed if weighted else 1.0) * math.cos(at) for speed, at in blowing)
    if math.hypot(east, north) < 1e-9 * max(1, len(blowing)):
        return None
    return math.degrees(math.atan2(east, north)) % 360 % 360  # a hair below 0 would round to 360
