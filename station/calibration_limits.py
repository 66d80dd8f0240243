"""What rules say of a calibration (digest B5, each with what it is known by), and how often they want one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from station.model import dataclass

WATER = ("cod", "ammonia_nitrogen", "total_phosphorus", "total_nitrogen")
GASES = ("so2", "nox", "no", "no2", "co", "o3")
PARTICLES = ("pm1", "pm25", "pm10", "tsp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One acceptance limit: of *what*, for which systems and parameters (all when empty)."""

    what: str  # a figure of calibration.outcome: error, error_percent, zero_drift, r …
    limit: float
    parameters: tuple[str, ...]
    systems: tuple[str, ...] = ()
    confidence: str = "medium"
    source: str = ""

    def concerns(self, system: str, parameter: str) -> bool:
        """Whether it holds for *parameter* at a point of *system*."""
        return parameter in self.parameters and (not self.systems or system in self.systems)


_HJ355 = "HJ 355-2019 ch. 8, recalled"
_HJ355_1 = "HJ 355-2019 table 1, recalled"
_HJ75 = "HJ 75-2017, recalled"
_GRID = "Beijing TSP grid specification, light scattering, second hand"
LIMITS: Sequence[Limit] = (
    Limit(what="error_percent", limit=10, parameters=WATER, systems=("21", "32"), source=_HJ355),
    Limit(what="error", limit=0.5, parameters=("ph",), systems=("21", "32"), source=_HJ355_1),
    Limit(what="error", limit=0.5, parameters=("water_temperature",), systems=("21", "32"), source=_HJ355_1),
    Limit(what="error_percent", limit=10, parameters=("flow_water",), systems=("21", "32"), source=_HJ355_1),
    Limit(what="r", limit=0.995, parameters=WATER, source="HJ 355, recalled"),
    Limit(what="zero_drift", limit=5, parameters=GASES, systems=("31",), source=_HJ75),
    Limit(what="span_drift", limit=10, parameters=GASES, systems=("31",), source=_HJ75),
    Limit(what="zero_drift", limit=8, parameters=("smoke_dust",), systems=("31",), source=_HJ75),
    Limit(what="span_drift", limit=8, parameters=("smoke_dust",), systems=("31",), source=_HJ75),
    Limit(what="r", limit=0.999, parameters=GASES, source="HJ 818, recalled"),
    Limit(what="r", limit=0.90, parameters=PARTICLES, source="DB11, against a reference, recalled"),
    Limit(what="series_percent", limit=20, parameters=PARTICLES, source=_GRID),
    Limit(what="flow_percent", limit=5, parameters=PARTICLES, systems=("22",), source="HJ 817-2018, recalled"),
    Limit(what="flow_percent", limit=10, parameters=PARTICLES, systems=("39",), source=_GRID),
    Limit(what="error", limit=2, parameters=("air_temperature",), systems=("22",), source="HJ 817-2018, recalled"),
    Limit(what="error", limit=1, parameters=("air_pressure",), systems=("22",), source="HJ 817-2018, recalled"),
    Limit(what="error", limit=0.012, parameters=("water_level",), systems=("21", "32"), source=_HJ355_1),
    Limit(what="mean_percent", limit=10, parameters=WATER, systems=("21", "32"), source=_HJ355),
    Limit(what="rsd", limit=10, parameters=WATER, confidence="low", source="repeatability, recalled without a text"),
    Limit(
        what="full_scale_percent", limit=0.1, parameters=("collector_mass",), confidence="low",
        source="ours: no rule for weighing collectors was found",
    ),
    Limit(
        what="error", limit=0.5, parameters=("noise", "noise_leq"), confidence="high",
        source="GB 3096, acoustic calibrator",
    ),
)  # fmt: skip
AS_FOUND = ("zero_drift", "span_drift")  # how it was found says whether it was out of control, not whether it is now


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One figure held against one limit."""

    what: str
    value: float
    limit: float
    passed: bool
    confidence: str
    source: str


def judge(system: str, parameter: str, figures: Mapping[str, float | None]) -> list[Judgement]:
    """What the rules for *parameter* at a point of *system* say of *figures*; nothing where no rule is known.

    >>> [(one.what, one.passed) for one in judge("31", "so2", {"zero_drift": -5.1, "span_drift": 9.0, "r": None})]
    [('zero_drift', False), ('span_drift', True)]
    """
    found = []
    for rule in LIMITS:
        value = figures.get(rule.what)
        if value is None or not rule.concerns(system, parameter):
            continue
        passed = value >= rule.limit if rule.what == "r" else abs(value) <= rule.limit
        found.append(
            Judgement(
                what=rule.what, value=value, limit=rule.limit, passed=passed, confidence=rule.confidence,
                source=rule.source,
            )
        )  # fmt: skip
    return found


def verdict(judgements: Sequence[Judgement]) -> str:
    """passed, failed, or none where no rule is known."""
    if not judgements:
        return "none"
    return "passed" if all(one.passed for one in judgements) else "failed"


# -- how often rules want one


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """How often a *kind* of run is wanted, in *days*: check (or whatever tells as much), calibration, or flow."""

    kind: str
    days: float
    parameters: tuple[str, ...]
    systems: tuple[str, ...]
    confidence: str = "medium"
    source: str = ""


INTERVALS: Sequence[Interval] = (
    Interval(kind="check", days=1, parameters=WATER, systems=("21", "32"), source=_HJ355),
    Interval(kind="calibration", days=7, parameters=WATER, systems=("21", "32"), source=_HJ355),
    Interval(kind="check", days=31, parameters=("ph", "water_temperature"), systems=("21", "32"), source=_HJ355_1),
    Interval(kind="check", days=1, parameters=(*GASES, "smoke_dust"), systems=("31",), source=_HJ75),
    Interval(kind="flow", days=31, parameters=("pm10", "pm25"), systems=("22",), source="HJ 817-2018, recalled"),
)


def intervals_of(system: str, parameter: str) -> list[Interval]:
    """What rules want for *parameter* at a point of *system*; nothing where no rule is known.

    >>> [(one.kind, one.days) for one in intervals_of("32", "cod")]
    [('check', 1), ('calibration', 7)]
    """
    return [one for one in INTERVALS if parameter in one.parameters and system in one.systems]
