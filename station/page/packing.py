"""What goes over the air: answers packed with gzip, and static files under a name that changes with their content."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import cache
from pathlib import Path

from flask import Flask, Response, abort, request, url_for

from station.page.guard import access

STATIC = Path(__file__).with_name("static")
WORTH_IT = 400  # bytes; less is not made smaller by gzip's own 20
PACKED = ("text/", "application/json", "application/javascript", "image/svg+xml")
FOREVER = "public, max-age=31536000, immutable"


@cache
def stamp(name: str) -> str:
    """Ten digits of what a static file holds."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]


@cache
def _static(name: str) -> tuple[bytes, bytes]:
    """A static file as it is, and packed."""
    plain = (STATIC / name).read_bytes()
    return plain, gzip.compress(plain, 9, mtime=0)


def asset(name: str) -> str:
    """Where the static file *name* is to be had, good for ever."""
    return url_for("static", name=name.rpartition("/")[2], v=stamp(name))


def install(app: Flask) -> None:
    """Serve what lies in static/, and pack what is worth it."""
    names = {path.name: path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}

    @access("anyone")
    def static(name: str) -> Response:
        file = names.get(name)  # a list made at the start: no path can lead anywhere else
        if file is None:
            abort(404)
        plain, packed = _static(file)
        small = _takes_gzip() and len(packed) < len(plain)
        answer = Response(packed if small else plain, mimetype=mimetypes.guess_type(name)[0] or "text/plain")
        if small:
            answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Vary"] = "Accept-Encoding"
        answer.headers["Cache-Control"] = FOREVER if request.args.get("v") == stamp(file) else "no-cache"
        return answer

    app.add_url_rule("/static/<name>", "static", static)
    app.after_request(_pack)
    app.context_processor(lambda: {"asset": asset})


def _takes_gzip() -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "")


def _pack(answer: Response) -> Response:
    """*answer* with gzip where the browser takes it; what is streamed stays as it is."""
    if not (answer.mimetype or "").startswith(PACKED):
        return answer
    answer.vary.add("Accept-Encoding")
    if answer.is_streamed or answer.direct_passthrough or "Content-Encoding" in answer.headers or not _takes_gzip():
        return answer
    body = answer.get_data()
    if len(body) > WORTH_IT:
        answer.set_data(gzip.compress(body, 6, mtime=0))
        answer.headers["Content-Encoding"] = "gzip"
    return answer
