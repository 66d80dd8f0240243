"""The views of what the station measures and does."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template

from station.page import live
from station.page.guard import Guard, access
from station.page.source import Source


def blueprint(source: Source, guard: Guard) -> Blueprint:
    """Every view of this module."""
    made = Blueprint("views", __name__)

    @made.get("/overview")
    @access("viewer")
    def overview() -> Any:
        found = source.status()
        return render_template(
            "overview.html",
            found=found,
            points=list(live.points(found, source.point_names)),
            lamps=live.lamps(found),
            notes=list(live.notes(found)),
        )

    return made
