"""Typed, cut and resumed at every step: one, two, three and ten points, with the station's own coefficients."""

from __future__ import annotations

from tests.station.typed_cuts import Cuts
from tests.station.typed_sessions import IN_STATION


class TestInTheStation(Cuts):
    sessions = IN_STATION
