"""The local page as a WSGI application: who may ask, in which language, and what stands around every view.

A view is a blueprint of its own: a module named in `MODULES` with `blueprint(source, guard) -> flask.Blueprint`.  Its
templates extend "layout.html" (blocks title, content, scripts); `t`, `asset`, `csrf` and the filters of
station/page/words.py are there.  A view that renews itself renders `{% extends layout %}` and has regions with
`data-live` and an id: `layout` is fragment.html when the page's script asks for these alone.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from flask import Flask, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from station.config import Loaded
from station.control import NotRunning
from station.i18n import t, texts, use_here
from station.model import StationError, StoreError
from station.page import packing, preferences, words
from station.page.accounts import Accounts
from station.page.guard import Guard, access, wants_page
from station.page.navigation import ITEMS
from station.page.refusals import known
from station.page.source import Source
from station.texts import in_zone

log = logging.getLogger(__name__)

MODULES = (
    "station.page.signing",
    "station.page.views",
    "station.page.work",
    "station.page.trends",
    "station.page.downloads",
    "station.page.metrics",
    "station.page.stills",
)
FOLDER = "page"  # in the data folder: the one place that the page writes to
LARGEST_BODY = 64 << 10
"""Bytes of a form; nothing here takes files."""


def create_app(loaded: Loaded, source: Source | None = None, accounts: Accounts | None = None) -> Flask:
    """The page of the station *loaded*, ready to be served."""
    source = source or Source(loaded)
    accounts = accounts or Accounts(loaded.data_folder / FOLDER, source.settings)
    app = Flask(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_BODY, MAX_FORM_MEMORY_SIZE=LARGEST_BODY, MAX_FORM_PARTS=100)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    guard = Guard(source, accounts)
    guard.install(app)
    preferences.install(app, source)
    words.install(app, source)
    packing.install(app)
    for name in MODULES:
        app.register_blueprint(import_module(name).blueprint(source, guard))
    app.context_processor(lambda: _frame(app, source))
    _say_errors(app, source)
    app.add_url_rule("/", "root", access("viewer")(lambda: redirect(url_for("views.overview"))))
    app.teardown_request(lambda error: use_here(None))
    return app


def _frame(app: Flask, source: Source) -> dict[str, Any]:
    """What stands around every view."""
    return {
        "nav": [item for item in ITEMS if item.endpoint in app.view_functions],
        "endpoints": app.view_functions,
        "viewing": source.settings.open_view,
        "refresh": source.settings.refresh_seconds,
        "layout": "fragment.html" if "X-Fragment" in request.headers else "layout.html",
    }


def _say_errors(app: Flask, source: Source) -> None:
    """Whatever goes wrong is a page with one sentence; nothing of the program's inside is shown."""

    def page(code: int, said: str) -> tuple[str, int]:
        if not wants_page():
            return f"{code}\n", code
        return render_template("error.html", code=code, said=said), code

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Any:
        if error.response is not None or (error.code or 500) < 400:
            return error
        code = error.code or 500
        return page(code, t(f"page_error.{code}" if f"page_error.{code}" in texts("en") else "page_error.other"))

    @app.errorhandler(StationError)
    def station_said(error: StationError) -> Any:
        said = known(str(error), source.zone) or in_zone(str(error), source.zone)
        return page(503 if isinstance(error, StoreError | NotRunning) else 409, said)

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Any:
        log.error("%s %s met an unforeseen error", request.method, request.path, exc_info=error)
        return page(500, t("page_error.500"))
