"""Downloads: tables of a span, reports of a day or month, certificates, and the configuration without its secrets.

Only a person who is signed in takes anything away, and each time is an event with the name.  Tables are read and sent
window by window, so that neither the memory nor the length of a read grows with the span: the station can fold its
log between two windows, and an answer that breaks off ends in an error, never in a table that looks whole.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from functools import partial
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, render_template, request

from station.i18n import language, t, use_here
from station.model import Kind, WrongArgument
from station.page.guard import SHEET_CSP, Guard, access
from station.page.trends import measured, moment

if TYPE_CHECKING:
    from station.page.source import Source
    from station.store import Store

log = logging.getLogger(__name__)

KINDS = ("readings", "minute", "hour", "day")
FORMS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
SHEETS = {
    "html": "text/html; charset=utf-8",
    "csv": FORMS["csv"],
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
WINDOWS = {"readings": timedelta(minutes=10), "minute": timedelta(hours=6), "hour": timedelta(days=10),
           "day": timedelta(days=90)}  # fmt: skip
"""What is read at once: a few thousand rows of a large station."""
AT_ONCE = 2
"""Downloads under way at one time; the other threads go on serving the page."""
_ONE_REPORT = Lock()  # that of 200 points takes 55 MiB, and its workbook 70 in a process of its own: two are too much
CERTIFICATES = 50
NAME = re.compile(r"[^A-Za-z0-9._-]+")


class Busy(Exception):
    """Too many downloads are under way."""


def blueprint(source: Source, guard: Guard) -> Blueprint:
    """The view and what it hands out."""
    made = Blueprint("downloads", __name__)
    slots = BoundedSemaphore(AT_ONCE)

    @made.get("/downloads")
    @access("person")
    def downloads() -> Any:
        return _view(source)

    @made.get("/downloads/table")
    @access("person")
    def table() -> Any:
        try:
            wanted = _wanted(source)
        except WrongArgument as error:
            return _view(source, str(error)), 400
        return _sent(source, guard, slots, wanted)

    @made.get("/downloads/report")
    @access("person")
    def report() -> Any:
        try:
            return _report(source, guard)
        except WrongArgument as error:
            return _view(source, str(error)), 400

    @made.get("/downloads/certificate/<name>")
    @access("person")
    def certificate(name: str) -> Any:
        return _certificate(source, guard, name)

    @made.get("/downloads/configuration")
    @access("person")
    def configuration() -> Any:
        from station.page.packed import packed

        name = f"{_station(source)}-configuration-{_day(source.now(), source.zone)}.zip"
        body = packed(source.loaded, source.now())
        source.tell("downloaded", guard.person(), file=name, kind="configuration")
        return _attached(Response(body, mimetype="application/zip"), name)

    @made.errorhandler(Busy)
    def busy(error: Busy) -> Any:
        answer = Response(_view(source, str(error) or t("page_downloads.busy")), 503)
        answer.headers["Retry-After"] = "30"
        return answer

    return made


def _view(source: Source, refused: str = "") -> str:
    from station.calibrate import KIND as CALIBRATION
    from station.calibration_run import read_book
    from station.capacity import ALL

    with source.store() as store:
        there = measured(store, [point.code for point in source.loaded.config.point])
        book = read_book(store.records(CALIBRATION, *ALL))
    runs = [run for run in book.runs.values() if run.state in ("done", "reverted")]
    today = source.now().astimezone(source.zone)
    return render_template(
        "downloads.html",
        there=there, kinds=KINDS, forms=FORMS, refused=refused, given=request.args,
        first=f"{today - timedelta(days=1):%Y-%m-%d}", last=f"{today:%Y-%m-%d}",
        month=f"{today.replace(day=1) - timedelta(days=1):%Y-%m}",
        runs=sorted(runs, key=lambda run: run.begun, reverse=True)[:CERTIFICATES],
    )  # fmt: skip


def _station(source: Source) -> str:
    return safe(source.loaded.config.station.name) or "station"


def safe(text: str) -> str:
    """*text* as part of a file's name that every system takes: no path, no spaces, ASCII.

    >>> safe("../../etc/passwd"), safe("1# 锅炉"), safe("a" * 99) == "a" * 40, safe("..")
    ('etc_passwd', '1', True, '')
    """
    return NAME.sub("_", text).strip("._-")[:40]


def _day(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y%m%d-%H%M}"


def _attached(answer: Response, name: str) -> Response:
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    answer.headers["Content-Security-Policy"] = SHEET_CSP
    return answer


# -- tables


def _wanted(source: Source) -> Mapping[str, Any]:
    """What table is asked for; raise WrongArgument in the operator's words."""
    given = request.args
    kind, form = given.get("kind") or "hour", given.get("format") or "csv"
    if kind not in KINDS or form not in FORMS:
        raise WrongArgument(t("page_downloads.no_kind"))
    start, end = (moment(given.get(key) or "", source.zone) for key in ("from", "to"))
    if len(given.get("to") or "") == len("2026-03-01"):
        end += timedelta(days=1)  # a day that is named is in it
    if start >= end:
        raise WrongArgument(t("page_downloads.bad_span"))
    with source.store() as store:
        there = measured(store, [point.code for point in source.loaded.config.point])
        ends = _ends(store, kind, source.now())
    point, _, parameter = (given.get("s") or ":").rpartition(":")
    if (point and point not in there) or (parameter and parameter not in there.get(point, ())):
        raise WrongArgument(t("page_trends.unknown", name=(given.get("s") or "")[:60]))
    return {"kind": kind, "form": form, "start": start, "end": end, "point": point, "parameter": parameter,
            "read": (max(start, ends[0]), min(end, ends[1]))}  # fmt: skip


def _ends(store: Store, kind: str, now: datetime) -> tuple[datetime, datetime]:
    """Between which times there can be anything of *kind*."""
    oldest = store.oldest_reading() if kind == "readings" else store.oldest_period(Kind[kind.upper()])
    newest = store.newest_time()
    later = timedelta(days=2)  # a clock that was wrong, or a station's that is ahead of this one's
    return oldest or now, max(now, newest or now) + later


def _sent(source: Source, guard: Guard, slots: BoundedSemaphore, wanted: Mapping[str, Any]) -> Response:
    """The table, streamed; one of *slots* is taken until it was sent or given up."""
    if not slots.acquire(blocking=False):
        raise Busy
    try:
        names = [one for one in (safe(wanted["point"]), wanted["parameter"]) if one]
        span = [_day(wanted[key], source.zone) for key in ("start", "end")]
        name = "-".join([_station(source), wanted["kind"], *names, *span]) + f".{wanted['form']}"
        who = {"point": wanted["point"], "parameter": wanted["parameter"]}
        source.tell("downloaded", guard.person(), file=name, kind=wanted["kind"], **who,
                    first=wanted["start"].astimezone(source.zone).isoformat(timespec="minutes"),
                    last=wanted["end"].astimezone(source.zone).isoformat(timespec="minutes"))  # fmt: skip
        parts = _Parts(table_parts(source, wanted, language()), slots.release)
        return _attached(Response(parts, content_type=FORMS[wanted["form"]]), name)
    except BaseException:
        slots.release()
        raise


class _Parts:
    """An answer in parts; *done* is called once, when it was sent or given up, begun or not."""

    def __init__(self, parts: Generator[bytes, None, None], done: Callable[[], None]) -> None:
        self._parts, self._done = parts, done
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._parts
        finally:
            self.close()

    def close(self) -> None:
        """The server calls it in any case, also of an answer that nobody began to take."""
        if not self._closed:
            self._closed = True
            try:
                self._parts.close()
            finally:
                self._done()


def table_parts(source: Source, wanted: Mapping[str, Any], speaks: str) -> Generator[bytes, None, None]:
    """The table of *wanted* window by window, in the language that who asked for it *speaks*."""
    is_csv, begun = wanted["form"] == "csv", False
    yield _spoken(speaks, partial(_head, source, wanted)) if is_csv else b"["
    for first, last in windows(wanted["kind"], *wanted["read"]):
        part = _spoken(speaks, partial(_window, source, wanted, first, last))
        if part:
            yield part if is_csv or begun else part[1:]  # no comma before the first row
            begun = True
    if not is_csv:
        yield b"\n]\n"


def windows(kind: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """*start* to *end* in portions of *kind*.

    >>> [str(b - a) for a, b in windows("minute", datetime(2026, 3, 1), datetime(2026, 3, 1, 10))]
    ['6:00:00', '4:00:00']
    """
    while start < end:
        last = min(start + WINDOWS[kind], end)
        yield start, last
        start = last


def _head(source: Source, wanted: Mapping[str, Any]) -> bytes:
    from station.export import columns, write_head

    text = io.StringIO()
    write_head(text, columns(wanted["kind"]), source.zone)
    return text.getvalue().encode()


def _window(source: Source, wanted: Mapping[str, Any], first: datetime, last: datetime) -> bytes:
    """Rows from *first* to before *last*: lines of CSV, or of JSON with a comma before each."""
    from station.export import columns, rows_through, write_rows

    kind, chosen = wanted["kind"], {key: wanted[key] or None for key in ("point", "parameter")}
    with source.connection() as db:
        found = rows_through(db, source.loaded.database, kind, source.zone, start=first, end=last, **chosen)
        if wanted["form"] == "json":
            return "".join(f",\n{json.dumps(row, ensure_ascii=False)}" for row in found).encode()
        text = io.StringIO()
        write_rows(found, text, columns(kind))
    return text.getvalue().encode()


def _spoken(speaks: str, make: Callable[[], bytes]) -> bytes:
    """What *make* makes while this thread *speaks* a person's language: parts are made behind the request's end."""
    use_here(speaks)
    try:
        return make()
    finally:
        use_here(None)


# -- sheets


def _report(source: Source, guard: Guard) -> Response:
    """A day or a month, as a page to print or a table; to look at, or to keep."""
    from station.report import gather, span_of
    from station.report_xlsx import NotMade, NoWorkbooks

    word, form = request.args.get("report", "day"), request.args.get("format", "html")
    if word not in ("day", "month") or form not in SHEETS:
        raise WrongArgument(t("page_downloads.no_report"))
    try:
        span = span_of(word, request.args.get(word, "").strip(), source.now(), source.zone)
    except WrongArgument as error:
        raise WrongArgument(t(f"page_downloads.bad_{word}", text=request.args.get(word, "")[:20])) from error
    point = request.args.get("point") or None
    if point not in (None, *(one.code for one in source.loaded.config.point)):
        raise WrongArgument(t("page_trends.unknown", name=str(point)[:60]))
    if not _ONE_REPORT.acquire(blocking=False):
        raise Busy(t("page_downloads.busy_report"))
    try:
        with source.store() as store:
            found = gather(store, source.loaded, span, point)
        body = _sheet(found, form, source.zone)
    except NoWorkbooks as error:
        raise WrongArgument(t("page_downloads.no_workbooks")) from error
    except NotMade as error:
        log.warning("a workbook of %s: %s", span.title, error)
        raise WrongArgument(t("page_downloads.not_made")) from error
    finally:
        _ONE_REPORT.release()
    name = "-".join(filter(None, [_station(source), "report", span.title, safe(point or "")])) + f".{form}"
    if form == "html" and "look" in request.args:
        return Response(body, mimetype="text/html", headers={"Content-Security-Policy": SHEET_CSP})
    source.tell("downloaded", guard.person(), file=name, kind=f"report_{word}", point=point or "")
    return _attached(Response(body, content_type=SHEETS[form]), name)


def _sheet(found: dict[str, Any], form: str, zone: tzinfo) -> str | bytes:
    if form == "xlsx":
        from station.report_xlsx import made_apart

        return made_apart(found)
    if form == "html":
        from station.report_page import page

        return page(found)
    from station.export import write_csv
    from station.report_table import COLUMNS, rows

    text = io.StringIO()
    write_csv(rows(found), text, COLUMNS, zone)
    return text.getvalue()


def _certificate(source: Source, guard: Guard, name: str) -> Response:
    from station.calibrate import KIND as CALIBRATION
    from station.calibration_run import read_book
    from station.calibration_sheet import sheet
    from station.capacity import ALL

    with source.store() as store:
        entries = store.records(CALIBRATION, *ALL)
    run = read_book(entries).runs.get(name)
    if run is None or run.state not in ("done", "reverted"):
        abort(404)
    body = sheet(run, [one for one in entries if one.body["name"] == name], source.loaded)
    file = f"{_station(source)}-certificate-{safe(name)}.html"
    source.tell("downloaded", guard.person(), file=file, kind="certificate", point=run.point, parameter=run.parameter)
    return _attached(Response(body, content_type="text/html; charset=utf-8"), file)
