"""Typed, cut and resumed at every step: an instrument that calibrates itself to zero, span, buffers, points."""

from __future__ import annotations

from tests.station.typed_cuts import CutsWithin
from tests.station.typed_sessions import BY_ITSELF


class TestTheInstrumentCalibratesItself(CutsWithin):
    sessions = BY_ITSELF
