"""Sample to corrected value: pure functions."""

from __future__ import annotations

from station.model import Reading, Sample

KIND = "calibration"  # of the records of station/calibration.py; one that *changes* brings its coefficients
Coefficients = tuple[float, float]  # slope, intercept
IDENTITY: Coefficients = (1.0, 0.0)
LOCKED = ("31", "32", "51", "52")  # systems whose instrument, station and platform must show one number


def reading(
    sample: Sample,
    device: str,
    point: str,
    coefficients: Coefficients = IDENTITY,
    heard: float = 0.0,
    taken: float | None = None,
) -> Reading:
    """The reading made of *sample* with slope and intercept, *heard* at that moment; the raw value is kept beside it.

    *taken* is the sample's time on the monotonic clock.

    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 3, 1, tzinfo=UTC)
    >>> made = reading(Sample("pm25", now, 35.0), "dust", "site", (1.2, -2.0))
    >>> made.raw, made.value
    (35.0, 40.0)
    """
    slope, intercept = coefficients
    raw = sample.value
    value = raw if raw is None or coefficients == IDENTITY else slope * raw + intercept
    return Reading(device, point, sample.parameter, sample.time, raw, value, sample.mark, sample.reason, heard, taken)
