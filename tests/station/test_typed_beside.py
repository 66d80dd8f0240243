"""Typed, cut and resumed at every step: weights on a load cell, K against a reference series, and the three checks."""

from __future__ import annotations

from tests.station.typed_cuts import Cuts
from tests.station.typed_sessions import BESIDE


class TestBesideAReference(Cuts):
    sessions = BESIDE
