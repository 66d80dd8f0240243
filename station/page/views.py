"""The views of what the station measures and does: values, alarms, uplinks, instruments, events."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.exceptions import BadRequest

from station.control import ControlRefused, NotRunning
from station.page import happenings, live
from station.page.deeds import do, done_text, field, sorted_by
from station.page.guard import Guard, access
from station.page.source import Source
from station.page.stills import stills_beside
from station.screen_words import age

ALARM_ORDER = {"alarm": 0, "stale": 1, "pre_alarm": 2, "undetermined": 3, "normal": 4}
ALARM_LEVEL = {"alarm": "bad", "stale": "warn", "pre_alarm": "warn", "undetermined": "idle", "normal": "good"}
SPANS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}


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

    @made.get("/alarms")
    @access("viewer")
    def alarms(said: str = "") -> Any:
        rows, running = alarm_rows(source)
        shown = sorted_by(rows, "state", ALARM_ORDER)
        stills = stills_beside(source, guard.person(), rows)
        return render_template("alarms.html", stills=stills, rows=shown, levels=ALARM_LEVEL, limit=live.limit_text,
                               running=running, said=said, done=done_text())  # fmt: skip

    @made.post("/alarms")
    def acknowledge() -> Any:
        fields = {"name": request.form.get("alarm", ""), "user": guard.person(), "note": field("note")}
        return do(source, lambda: source.ask("alarms", action="ack", fields=fields), "views.alarms", "acknowledged",
                  alarms)  # fmt: skip

    @made.get("/uplinks")
    @access("viewer")
    def outbox() -> Any:
        span = request.args.get("span", "day")
        found = source.status()
        rows = completeness(source, SPANS.get(span, SPANS["day"]), [one["name"] for one in found["platforms"]])
        return render_template("outbox.html", found=found, rows=rows, span=span if span in SPANS else "day",
                               spans=list(SPANS), age=age)  # fmt: skip

    @made.get("/instruments")
    @access("viewer")
    def bus() -> Any:
        found = source.status()
        by_bus: dict[str, list[Any]] = {}
        for device in found["devices"]:
            by_bus.setdefault(device["bus"] or "-", []).append(device)
        now = datetime.fromisoformat(found["time"])
        return render_template("bus.html", found=found, buses=by_bus, silence=live.silence, answered=live.answered,
            ago=lambda at: age((now - datetime.fromisoformat(at)).total_seconds() if at else None),
        )  # fmt: skip

    @made.get("/events")
    @access("viewer")
    def events() -> Any:
        group, code = request.args.get("group", ""), request.args.get("code", "")
        day, before = _day(request.args.get("day", "")), _number(request.args.get("before", ""))
        with source.store() as store:
            rows, more = happenings.page(store, source.zone, group=group, code=code, day=day, before=before)
        return render_template("events.html", rows=rows, more=more, group=group, code=code, before=before,
                               day=day.isoformat() if day else "", groups=list(happenings.GROUPS))  # fmt: skip

    return made


def alarm_rows(source: Source) -> tuple[list[dict[str, Any]], bool]:
    """Every alarm as it stands, and whether the station runs; else as the database was left."""
    try:
        return source.ask("alarms", action="list"), True
    except (NotRunning, ControlRefused):
        from station.alarming import as_left

        with source.store() as store:
            return as_left(store, source.loaded.config, source.loaded.folder), False


def completeness(source: Source, span: timedelta, platforms: list[str]) -> dict[str, list[Any]]:
    """What each platform was due in the last *span* and has, by point and kind."""
    from station import ledger

    now = source.now()
    with source.store() as store:
        return {
            name: ledger.completeness(store, name, now - span, now, now, source.loaded.zone, marks=False)
            for name in platforms
        }


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BadRequest from error
    if found is not None and not date(1970, 1, 1) <= found < date(9000, 1, 1):
        raise BadRequest
    return found


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 18):
        raise BadRequest
    return int(text)
