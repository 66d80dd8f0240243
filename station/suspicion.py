"""Whether a value is to be believed: a reason beside it, never a mark, and nothing leaves a mean for it.

The order also runs the other way round: what looks strange is looked at on site, and who finds a fault marks the
values with name and reason (station marks).  Ideas of HJ 356-2019 chapter 5 and practice (medium); the tolerances
are ours.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from station.model import Mark, Reading, Reason, dataclass, field, replace
from station.parameters import catalogue

HOUR = 3600.0
# Minutes a value may stand still before it is odd, where the instrument's own settings say nothing.
CONSTANT_MINUTES: Mapping[str, float] = {
    **dict.fromkeys(("pm1", "pm25", "pm10", "tsp", "noise"), 60),
    **dict.fromkeys(("air_temperature", "humidity", "air_pressure"), 360),
    **dict.fromkeys(("ph", "dissolved_oxygen", "conductivity", "turbidity", "water_temperature", "orp"), 360),
}
ORDERS: Sequence[tuple[Reason, tuple[str, ...]]] = (  # from the smallest to the largest
    (Reason.PM_ORDER, ("pm1", "pm25", "pm10", "tsp")),
    (Reason.NITROGEN_ORDER, ("ammonia_nitrogen", "total_nitrogen")),
    (Reason.LEVEL_ORDER, ("noise_l95", "noise_l90", "noise_l50", "noise_l10", "noise_l5")),
)
TOLERANCE: Mapping[Reason, tuple[float, float]] = {  # share of the larger, and in its unit
    Reason.PM_ORDER: (0.10, 5.0),
    Reason.NITROGEN_ORDER: (0.10, 0.2),
    Reason.LEVEL_ORDER: (0.0, 0.2),
}
TOGETHER: Mapping[Reason, float] = {  # seconds within which two values speak of the same air or water
    Reason.PM_ORDER: 120.0,
    Reason.NITROGEN_ORDER: 4 * HOUR,
    Reason.LEVEL_ORDER: 120.0,
}
HUMID_PERCENT = 90.0  # optical particulate monitors read droplets as dust above it
HUMID_SECONDS = 600.0
OPTICAL = ("pm1", "pm25", "pm10", "tsp")
CONCENTRATIONS = ("mg/m³", "µg/m³", "mg/L", "µg/L", "NTU")
RECENT = 12  # values a spike is held against
FEWEST_RECENT = 6
CONSISTENT = 1.4826  # makes the median deviation comparable to a standard deviation


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two in the middle.

    >>> median([3, 1, 2]), median([4, 1, 2, 3])
    (2, 2.5)
    """
    rising = sorted(values)  # the standard library's would cost the service a dozen modules
    half = len(rising) // 2
    return rising[half] if len(rising) % 2 else (rising[half - 1] + rising[half]) / 2


@dataclass(slots=True)
class _Seen:
    """What is remembered of one series."""

    value: float | None = None
    since: float = 0.0  # when it began to stand still, in seconds of the clock that never steps
    at: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What is odd for one instrument's parameters: minutes standing still, change a minute, spikes; by parameter.

    A spike is so many times the usual scatter of the last values away from their median.  0 minutes switch the first
    check off; the others are off unless given.
    """

    constant_minutes: Mapping[str, float] = field(default_factory=dict)
    rate: Mapping[str, float] = field(default_factory=dict)
    spike: Mapping[str, float] = field(default_factory=dict)


class Suspicion:
    """Looks at readings as they come, in the order they were taken; *checks* are by device."""

    def __init__(self, checks: Mapping[str, Checks]) -> None:
        self._checks = checks
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._newest: dict[tuple[str, str], Reading] = {}  # by point and parameter

    def judge(self, readings: Iterable[Reading]) -> list[Reading]:
        """*readings* of one poll, with a reason beside those that are odd and have none yet."""
        readings = list(readings)
        for reading in readings:
            self._newest[reading.point, reading.parameter] = reading
        return [self._judged(reading) for reading in readings]

    def _judged(self, reading: Reading) -> Reading:
        if reading.mark is not Mark.N or reading.value is None:
            return reading
        reason = self._alone(reading) or self._beside_others(reading) or _below_zero(reading)
        return replace(reading, reason=reason) if reason and reading.reason is Reason.NONE else reading

    # -- a series by itself

    def _alone(self, reading: Reading) -> Reason:
        assert reading.value is not None
        key, checks = reading.parameter, self._checks.get(reading.device, Checks())
        seen = self._seen.setdefault((reading.device, key), _Seen())
        reason = Reason.NONE
        if seen.value is not None:
            reason = self._moved(reading.value, reading.heard, seen, checks, key)
        if seen.value != reading.value:
            seen.since = reading.heard
        seen.value, seen.at = reading.value, reading.heard
        seen.recent.append(reading.value)
        return reason

    def _moved(self, value: float, heard: float, seen: _Seen, checks: Checks, key: str) -> Reason:
        assert seen.value is not None
        if value == 0.0 < seen.value and _counts(key):
            return Reason.COUNTER_NOUGHT
        minutes = checks.constant_minutes.get(key, CONSTANT_MINUTES.get(key, 0))
        if minutes and value == seen.value and heard - seen.since >= minutes * 60:
            return Reason.CONSTANT
        rate, passed = checks.rate.get(key), heard - seen.at
        if rate is not None and passed > 0 and abs(value - seen.value) > rate * max(passed, 1.0) / 60:
            return Reason.RATE
        times = checks.spike.get(key)
        if times is not None and len(seen.recent) >= FEWEST_RECENT:
            middle = median(seen.recent)
            scatter = CONSISTENT * median(abs(one - middle) for one in seen.recent)
            if abs(value - middle) > times * max(scatter, abs(middle) * 0.01, 1e-9):
                return Reason.SPIKE
        return Reason.NONE

    # -- beside others of the same point

    def _beside_others(self, reading: Reading) -> Reason:
        for reason, order in ORDERS:
            if reading.parameter in order and self._out_of_order(reading, reason, order):
                return reason
        if reading.parameter in OPTICAL:
            humidity = self._near(reading, "humidity", HUMID_SECONDS)
            if humidity is not None and humidity > HUMID_PERCENT:
                return Reason.HUMID
        return Reason.NONE

    def _out_of_order(self, reading: Reading, reason: Reason, order: tuple[str, ...]) -> bool:
        place = order.index(reading.parameter)
        assert reading.value is not None
        for number, other in enumerate(order):
            value = None if number == place else self._near(reading, other, TOGETHER[reason])
            if value is None:
                continue
            small, large = (value, reading.value) if number < place else (reading.value, value)
            share, fixed = TOLERANCE[reason]
            if small > large + abs(large) * share + fixed:
                return True
        return False

    def _near(self, reading: Reading, parameter: str, seconds: float) -> float | None:
        """The newest normal value of *parameter* at the same point, if taken within *seconds* of *reading*."""
        other = self._newest.get((reading.point, parameter))
        if other is None or other.mark is not Mark.N or other.value is None or not math.isfinite(other.value):
            return None
        return other.value if abs((reading.time - other.time).total_seconds()) <= seconds else None


def _counts(parameter: str) -> bool:
    from station.counter import is_counter  # hardly ever: a value that falls to exactly 0

    return is_counter(parameter)


def _below_zero(reading: Reading) -> Reason:
    """Noise about zero belongs into a mean, or the mean is too high; it is said all the same.

    What is impossible for an instrument is its own range's to mark (HJ 356-2019, HJ 818-2018 recalled, medium).
    """
    known = catalogue().get(reading.parameter)
    below = reading.value is not None and reading.value < 0
    return Reason.NEGATIVE if below and known is not None and known.unit in CONCENTRATIONS else Reason.NONE
