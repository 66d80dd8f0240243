"""Typed, cut and resumed at every step: coefficients that are computed here and written into the instrument."""

from __future__ import annotations

from tests.station.typed_cuts import CutsWithin
from tests.station.typed_sessions import IN_INSTRUMENT


class TestCoefficientsInTheInstrument(CutsWithin):
    sessions = IN_INSTRUMENT
