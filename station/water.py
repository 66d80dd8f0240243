"""What a body of water is: its class (GB 3838-2002) and whether it is black and odorous.

Single factor, the worst parameter decides (GB 3838-2002 table 1, read, high).  One sample gives an indication, the
official class uses monthly means.  Bands of the 2015 urban guide: high; its percentages and the rural guide of
2019: medium.  Concentrations are in mg/L, transparency in cm, oxidation-reduction potential in mV.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from station.model import dataclass

CLASSES = ("I", "II", "III", "IV", "V")
WORSE = "worse than V"

# The most a class allows; of dissolved oxygen the least.
_MOST: Mapping[str, tuple[float, ...]] = {
    "permanganate_index": (2, 4, 6, 10, 15),
    "cod": (15, 15, 20, 30, 40),
    "bod5": (3, 3, 4, 6, 10),
    "ammonia_nitrogen": (0.15, 0.5, 1.0, 1.5, 2.0),
}
_PHOSPHORUS = {"river": (0.02, 0.1, 0.2, 0.3, 0.4), "lake": (0.01, 0.025, 0.05, 0.1, 0.2)}
_NITROGEN_LAKE = (0.2, 0.5, 1.0, 1.5, 2.0)  # total nitrogen classes lakes only
_OXYGEN = (7.5, 6.0, 5.0, 3.0, 2.0)
_PH = (6.0, 9.0)  # all classes
WHYS = {
    "no_parameter": "no parameter of GB 3838 table 1 was measured",
    "ph_alone": "pH alone tells no class: table 1 asks for 6 to 9 in each of them",
}
_SATURATION_I = 90.0  # %: instead of 7.5 mg/L, class I


@dataclass(frozen=True, slots=True)
class WaterClass:
    """A class with what decided it; *grade* is None where nothing could be judged, *why* says so, by a key of WHYS."""

    grade: str | None
    deciding: tuple[str, ...] = ()
    each: Mapping[str, str] | None = None
    because: str = ""

    @property
    def why(self) -> str:
        """*because* as a sentence."""
        return WHYS.get(self.because, "")


def water_class(values: Mapping[str, float | None], *, lake: bool = False) -> WaterClass:
    """The class of *values* by parameter; what is missing or no number is left out.

    *oxygen_saturation* in % may stand in for class I's 7.5 mg/L.  No text that was read names a smallest set of
    parameters; but pH has one range for all classes, so within it pH alone tells none (outside it is worse than V).

    >>> water_class({"dissolved_oxygen": 5.6, "ammonia_nitrogen": 0.8, "total_phosphorus": 0.12}).grade
    'III'
    """
    known = {p: v for p, v in values.items() if v is not None and math.isfinite(v)}
    each = {parameter: grade for parameter, value in known.items() if (grade := _grade(parameter, value, known, lake))}
    if not each:
        return WaterClass(None, because="no_parameter")
    if each == {"ph": "I"}:
        return WaterClass(None, because="ph_alone")
    order = (*CLASSES, WORSE)
    worst = max(each.values(), key=order.index)
    deciding = tuple(p for p, grade in each.items() if grade == worst) if worst != "I" else ()
    return WaterClass(worst, deciding, each)


def _grade(parameter: str, value: float, known: Mapping[str, float], lake: bool) -> str | None:
    if parameter == "dissolved_oxygen":
        if known.get("oxygen_saturation", 0.0) >= _SATURATION_I:
            return "I"
        return next((name for name, least in zip(CLASSES, _OXYGEN, strict=True) if value >= least), WORSE)
    if parameter == "ph":
        return "I" if _PH[0] <= value <= _PH[1] else WORSE
    limits = _MOST.get(parameter)
    if parameter == "total_phosphorus":
        limits = _PHOSPHORUS["lake" if lake else "river"]
    if parameter == "total_nitrogen" and lake:
        limits = _NITROGEN_LAKE
    if limits is None:
        return None
    return next((name for name, most in zip(CLASSES, limits, strict=True) if value <= most), WORSE)


# -- black and odorous

# parameter → (light from here on, severe beyond here); the first four of the 2015 guide's table 2.
_URBAN: Mapping[str, tuple[float, float]] = {
    "transparency": (25.0, 10.0),
    "dissolved_oxygen": (2.0, 0.2),
    "orp": (50.0, -200.0),
    "ammonia_nitrogen": (8.0, 15.0),
}
_RISING = ("ammonia_nitrogen",)  # of the others less is worse
_RURAL = {"transparency": 25.0, "dissolved_oxygen": 2.0, "ammonia_nitrogen": 15.0}
SHALLOW_CM = 25.0
SHALLOW_SHARE = 0.4  # transparency of shallow water is held against this share of its depth
ONE_SEVERE, TWO_SEVERE = 0.60, 0.30  # shares of the data (medium)


def odour(parameter: str, value: float, depth_cm: float | None = None) -> str:
    """Of one value: "severe", "light" or "none" (urban guide of 2015).

    In water shallower than 25 cm transparency is held against 40 % of *depth_cm*, without a severe band of its own.

    >>> odour("dissolved_oxygen", 0.1), odour("ammonia_nitrogen", 8.0), odour("orp", 120)
    ('severe', 'light', 'none')
    """
    light, severe = _URBAN[parameter]
    if parameter == "transparency" and depth_cm is not None and depth_cm < SHALLOW_CM:
        return "light" if value < SHALLOW_SHARE * depth_cm else "none"
    if parameter in _RISING:
        return "severe" if value > severe else "light" if value >= light else "none"
    return "severe" if value < severe else "light" if value <= light else "none"


@dataclass(frozen=True, slots=True)
class Odour:
    """The grade of a place over a spell: "severe", "light", "none" or None, with the shares it rests on."""

    grade: str | None
    severe: Mapping[str, float]
    abnormal: Mapping[str, float]
    why: str = ""


def black_odour(samples: Iterable[Mapping[str, float | None]], depth_cm: float | None = None) -> Odour:
    """The grade of one place from *samples* of transparency, dissolved_oxygen, orp and ammonia_nitrogen.

    Severe when one parameter is severe in more than 60 % of its data, or two or more in more than 30 % each
    (medium); else light when any value is out of the normal band, else none.

    >>> black_odour([{"dissolved_oxygen": 0.1}, {"dissolved_oxygen": 0.1}, {"dissolved_oxygen": 3.0}]).grade
    'severe'
    """
    found: dict[str, list[str]] = {}
    for sample in samples:
        for parameter, value in sample.items():
            if parameter in _URBAN and value is not None and math.isfinite(value):
                found.setdefault(parameter, []).append(odour(parameter, value, depth_cm))
    if not found:
        return Odour(None, {}, {}, "neither transparency, dissolved oxygen, ORP nor ammonia nitrogen was measured")
    severe = {p: grades.count("severe") / len(grades) for p, grades in found.items()}
    abnormal = {p: 1 - grades.count("none") / len(grades) for p, grades in found.items()}
    often = sum(share > TWO_SEVERE for share in severe.values())
    if max(severe.values()) > ONE_SEVERE or often >= 2:
        return Odour("severe", severe, abnormal)
    return Odour("light" if any(abnormal.values()) else "none", severe, abnormal)


def rural_black_odour(values: Mapping[str, float | None]) -> tuple[str, ...]:
    """Which of *values* make a rural body of water black and odorous: any one does (guide of 2019, medium).

    >>> rural_black_odour({"transparency": 20.0, "dissolved_oxygen": 3.0})
    ('transparency',)
    """
    known = {p: v for p, v in values.items() if p in _RURAL and v is not None and math.isfinite(v)}
    return tuple(p for p, v in known.items() if (v > _RURAL[p] if p in _RISING else v < _RURAL[p]))
