"""The views of what people do at a station: calibrations and their certificates, checks and their charts, visits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, render_template, request
from werkzeug.exceptions import BadRequest

from station import calibrate, checks, fieldwork
from station.control import ControlRefused, NotRunning
from station.i18n import t
from station.model import Record
from station.page.deeds import do, done_text, field
from station.page.guard import SHEET_CSP, Guard, access
from station.page.source import Source

SHOWN = 40  # of what grows for ever, the newest so many
RUN_LEVEL = {"open": "note", "ready": "warn", "done": "good", "failed": "bad", "cancelled": "idle", "reverted": "idle"}
CHECK_LEVEL = {"open": "note", "passed": "good", "failed": "bad", "stopped": "warn", "never": "idle"}
DUE_LEVEL = {"ok": "good", "soon": "warn", "overdue": "bad", "never": "idle"}
HOURS = (1, 2, 4, 8, 24)
BEGINNING, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def blueprint(source: Source, guard: Guard) -> Blueprint:
    """Every view of this module."""
    made = Blueprint("work", __name__)
    _calibrations(made, source)
    _checks(made, source, guard)
    _field(made, source, guard)
    return made


def _kept(source: Source, kind: str) -> list[Record]:
    with source.store() as store:
        return sorted(store.records(kind, BEGINNING, END), key=lambda record: record.id)


# -- calibrations


def _calibrations(made: Blueprint, source: Source) -> None:
    from station.calibration_run import read_book

    @made.get("/calibrations")
    @access("viewer")
    def calibrations() -> Any:
        from station.cli_calibrated import due_rows

        book = read_book(_kept(source, calibrate.KIND))
        runs = sorted(book.runs.values(), key=lambda run: run.begun, reverse=True)
        due = sorted(due_rows(source.loaded, book), key=lambda one: list(DUE_LEVEL)[::-1].index(one.state))
        return render_template("calibrations.html", runs=runs[:SHOWN], count=len(runs), due=due, levels=RUN_LEVEL,
                               due_levels=DUE_LEVEL, printed=("done", "reverted"))  # fmt: skip

    @made.get("/calibrations/<name>")
    @access("viewer")
    def certificate(name: str) -> Any:
        from station.calibration_sheet import sheet

        entries = _kept(source, calibrate.KIND)
        run = read_book(entries).runs.get(name)
        if run is None or run.state not in ("done", "reverted"):
            abort(404)
        page = sheet(run, [one for one in entries if one.body["name"] == name], source.loaded)
        return Response(page, mimetype="text/html", headers={"Content-Security-Policy": SHEET_CSP})


# -- automatic checks


def _checks(made: Blueprint, source: Source, guard: Guard) -> None:
    names = {one.name for one in source.loaded.config.qc}

    @made.get("/checks")
    @access("viewer")
    def checked(said: str = "") -> Any:
        book = checks.read_book(_kept(source, checks.KIND))
        rows, running = _due(source, book)
        done = sorted(book.checks.values(), key=lambda one: one.number, reverse=True)[:SHOWN]
        drawn = {one.check for one in book.checks.values() if len(book.judged(one.check)) > 1}  # one makes no chart
        return render_template("checks.html", rows=rows, running=running, checks=done, drawn=drawn, levels=CHECK_LEVEL,
                               said=said, done=done_text(), remark=_remark)  # fmt: skip

    @made.get("/chart.svg")
    @access("viewer")
    def chart() -> Any:
        from station import shewhart
        from station.cli_qc import chart_notes, points_of

        name, book = request.args.get("check", ""), checks.read_book(_kept(source, checks.KIND))
        points = points_of(book, name, source.loaded)
        if not points:
            abort(404)
        drawn = shewhart.chart(points)
        note = chart_notes(drawn, shewhart.BASE, name, book, source.loaded)[0]
        picture = shewhart.svg_chart(drawn, t("qc.chart_title", check=name), note)
        return Response(picture, mimetype="image/svg+xml", headers={"Content-Security-Policy": SHEET_CSP})

    @made.post("/checks")
    def act() -> Any:
        name, action = request.form.get("check", ""), request.form.get("action", "")
        if name not in names or action not in ("run", "stop"):
            raise BadRequest
        fields = {"name": name, "user": guard.person(), "reason": field("reason")}
        return do(source, lambda: source.ask("qc", action=action, fields=fields), "work.checked",
                  "check_begun" if action == "run" else "check_stopped", checked)  # fmt: skip


def _due(source: Source, book: checks.Book) -> tuple[list[dict[str, Any]], bool]:
    """When each check is due, from the running station, else by what is on record."""
    if not source.loaded.config.qc:
        return [], True
    try:
        return source.ask("qc", action="list"), True
    except (NotRunning, ControlRefused):
        from station.check_rows import due_rows

        return due_rows(list(source.loaded.config.qc), book, source.now(), source.zone, {}, {}), False


def _remark(one: checks.Check) -> str:
    from station.cli_qc import remark

    return remark(one)


# -- field work


def _field(made: Blueprint, source: Source, guard: Guard) -> None:
    @made.get("/field")
    @access("viewer")
    def field_work(said: str = "") -> Any:
        now = source.now()
        with source.store() as store:
            books = {kind: fieldwork.BOOKS[kind](store.records(kind, BEGINNING, END)) for kind in fieldwork.KINDS}
        spans = sorted(books["maintenance"], key=lambda one: one.first, reverse=True)
        visits = sorted(books["visit"], key=lambda one: one.started, reverse=True)
        today = now.astimezone(source.zone).date()
        devices = [one.name for bus in source.loaded.config.bus for one in bus.device]
        return render_template(
            "field.html", on=[one for one in spans if one.on(now)], past=[one for one in spans if not one.on(now)][:10],
            visit=books["visit"].open(), visits=[one for one in visits if one.ended][:10],
            parts=[one.plain(today) for one in books["part"] if not one.dropped], devices=devices, hours=HOURS,
            points=source.loaded.config.point, said=said, done=done_text(), now=now,
        )  # fmt: skip

    @made.post("/field/maintenance")
    def maintain() -> Any:
        fields = {"do": request.form.get("do", ""), "user": guard.person()}
        if fields["do"] == "on":
            fields |= _maintenance(request.form)
            done = "maintenance_on"
        elif fields["do"] == "off":
            fields |= {"name": request.form.get("name", ""), "note": field("note")}
            done = "maintenance_off"
        else:
            raise BadRequest
        return do(source, lambda: source.ask("field", what="maintenance", fields=fields), "work.field_work", done,
                  field_work)  # fmt: skip

    @made.post("/field/visit")
    def visit() -> Any:
        known = {"start": ("purpose", "company"), "note": ("text",), "end": ("result",)}
        what = request.form.get("do", "")
        if what not in known:
            raise BadRequest
        fields = {"do": what, "user": guard.person(), **{key: field(key) for key in known[what]}}
        return do(source, lambda: source.ask("field", what="visit", fields=fields), "work.field_work",
                  f"visit_{what}", field_work)  # fmt: skip


def _maintenance(form: Mapping[str, str]) -> dict[str, Any]:
    """Of what, why and how long: what begins a maintenance."""
    kind, _, code = form.get("where", "").partition(":")
    hours = form.get("hours", "")
    if kind not in ("station", "point", "device") or hours not in {str(one) for one in HOURS}:
        raise BadRequest
    where = {} if kind == "station" else {kind: code}
    return {**where, "reason": field("reason"), "seconds": int(hours) * 3600}
