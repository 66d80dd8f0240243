"""Emissions: concentration at reference oxygen, flow-weighted means, and loads."""

from __future__ import annotations

import math
from collections.abc import Sequence

AIR_OXYGEN = 21.0  # %, GB 13271-2014
NO_VALUE_ABOVE = 20.0  # % measured: nearer to air the conversion says nothing but the analyser's noise (ours)


def at_reference_oxygen(concentration: float, oxygen: float, reference: float) -> float | None:
    """*concentration* in mg/m³ converted from *oxygen* to *reference* oxygen, both in % (GB 13271-2014, high).

    3.5 % for gas and oil, 9 % for coal and biomass.  None near 21 %: a huge number would be no measurement.  The
    value measured is kept beside it.

    >>> at_reference_oxygen(40.0, 6.0, 3.5), at_reference_oxygen(40.0, 20.9, 3.5)
    (46.666666666666664, None)
    """
    if not (math.isfinite(concentration) and math.isfinite(oxygen)) or not 0 <= oxygen <= NO_VALUE_ABOVE:
        return None
    return concentration * (AIR_OXYGEN - reference) / (AIR_OXYGEN - oxygen)


def flow_weighted(concentrations: Sequence[float | None], flows: Sequence[float | None]) -> float | None:
    """Mean of *concentrations* weighted by *flows*, over pairs that have both and a flow above 0.

    HJ 356-2019 as digested (high for the formula): without flow a concentration says nothing of the discharge.

    >>> flow_weighted([50.0, 80.0, 500.0], [10.0, 30.0, 0.0]), flow_weighted([50.0], [0.0])
    (72.5, None)
    """
    pairs = [(c, q) for c, q in zip(concentrations, flows, strict=True) if c is not None and q is not None and q > 0]
    volume = math.fsum(q for _, q in pairs)
    return math.fsum(c * q for c, q in pairs) / volume if pairs else None


def water_load(concentrations: Sequence[float | None], volumes: Sequence[float | None]) -> float | None:
    """Mass in kg of *concentrations* in mg/L in *volumes* in m³ (HJ 212-2017 appendix D, high).

    None where no period has both; one without flow carries nothing, whatever its concentration.

    >>> water_load([50.0, 80.0, 500.0], [10.0, 30.0, 0.0])
    2.9
    """
    return _load(concentrations, volumes, 1e3)


def gas_load(concentrations: Sequence[float | None], volumes: Sequence[float | None]) -> float | None:
    """Mass in kg of *concentrations* in mg/m³ in *volumes* in m³ (HJ 212-2017 appendix D, high).

    >>> gas_load([35.0], [120_000.0])
    4.2
    """
    return _load(concentrations, volumes, 1e6)


def _load(concentrations: Sequence[float | None], volumes: Sequence[float | None], per_kg: float) -> float | None:
    masses = [
        0.0 if volume == 0 else (concentration or 0.0) * volume / per_kg
        for concentration, volume in zip(concentrations, volumes, strict=True)
        if volume is not None and (concentration is not None or volume == 0)
    ]
    return math.fsum(masses) if masses else None
