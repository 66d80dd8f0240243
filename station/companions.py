"""What stands in the same sample: whoever gives an instrument a standard spoils these values as well.

A zero filter on an inlet takes PM10 away with PM2.5, a span gas fills the cell of every gas of a stack's analyser, and
a probe in a buffer measures the temperature of the buffer.  A probe that reckons COD from its UV absorption and takes
the turbidity off is in the standard with both (Yosemitech Y551).  Analysers that one box speaks for have a sample
each, and so are companions of none.  The groups are ours, by how the instruments of devices.md are built.
"""

from __future__ import annotations

from collections.abc import Iterable

from station.calibration_limits import GASES, PARTICLES

NITROGEN = ("no", "no2", "nox")  # one chamber, two measurements
IMMERSED = (
    "ph", "ph_potential", "orp", "water_temperature", "dissolved_oxygen", "oxygen_saturation", "conductivity",
    "salinity", "dissolved_solids", "turbidity", "chlorophyll", "blue_green_algae", "ammonium", "potassium",
)  # fmt: skip
ABSORBED = ("cod", "bod5", "toc", "permanganate_index", "sac254")  # what a probe reckons from absorption at 254 nm
PROBED = {*ABSORBED, "turbidity", "water_temperature"}  # all that such a probe delivers; a box that has more is none
STACK, STACK_GASES = "31", (*GASES, "gas_oxygen")


def companions(system: str, parameter: str, delivered: Iterable[str]) -> list[str]:
    """Those of *delivered*, by one instrument at a point of *system*, that share the sample of *parameter*.

    >>> companions("39", "pm25", ["pm25", "pm10", "humidity"]), companions("32", "cod", ["cod", "ammonia_nitrogen"])
    (['pm10'], [])
    >>> companions("31", "so2", ["so2", "nox", "gas_oxygen"]), companions("22", "so2", ["so2", "o3"])
    (['nox', 'gas_oxygen'], [])
    >>> companions("32", "cod", ["water_temperature", "cod", "turbidity"])
    ['water_temperature', 'turbidity']
    """
    delivered = list(delivered)
    groups = [PARTICLES, NITROGEN, IMMERSED, *([STACK_GASES] if system == STACK else [])]
    if len(delivered) > 1 and PROBED.issuperset(delivered):
        groups.append(tuple(PROBED))
    shared = {one for group in groups if parameter in group for one in group} - {parameter}
    return [one for one in delivered if one in shared]
