"""Who may ask: the Host it is asked by, the session, the token of every write, and the headers of every answer.

A view is closed to everybody who is not signed in unless it says otherwise with `access`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, redirect, request, url_for

from station.page.accounts import Accounts
from station.page.hosts import Hosts
from station.page.source import Source
from station.page.throttle import Throttle, address_group

CSP = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
SHEET_CSP = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""Of a page or picture that other parts of the station draw with styles of their own: no script, no origin."""
SESSION, VISIT = "station_session", "station_visit"
SAFE = ("GET", "HEAD", "OPTIONS")
LEVELS = ("anyone", "viewer", "person")
_View = TypeVar("_View", bound=Callable[..., Any])


def access(level: str) -> Callable[[_View], _View]:
    """Let *level* see a view: "anyone", a "viewer" (who needs no name where open_view is set), a "person"."""
    if level not in LEVELS:
        raise ValueError(f'"{level}" is not one of {", ".join(LEVELS)}')

    def marked(view: _View) -> _View:
        view.page_access = level  # type: ignore[attr-defined]
        return view

    return marked


def wants_page() -> bool:
    """Whether who asks can do something with a page, as browsers can; a program that wants JSON says so."""
    accepted = request.headers.get("Accept") or "*/*"
    return "text/html" in accepted or "*/*" in accepted


class Guard:
    """Stands before every view of the page."""

    def __init__(self, source: Source, accounts: Accounts) -> None:
        self.accounts = accounts
        self.passwords, self.codes = Throttle(), Throttle(of_all=False)
        self._settings = source.settings
        self._hosts = Hosts(source.settings.hosts)
        self._secret = secrets.token_bytes(32)

    def install(self, app: Flask) -> None:
        """Stand before every view of *app* and behind every answer."""
        app.extensions["guard"] = self
        app.before_request(self._admit)
        app.after_request(self._headers)
        app.context_processor(lambda: {"person": self.person(), "csrf": self.csrf})

    def person(self) -> str:
        """The name of who asks; empty when nobody is signed in."""
        return g.session.name if g.get("session") else ""

    def address(self) -> str:
        """Where the request comes from, as the throttle counts it."""
        return address_group(request.remote_addr or "")

    # -- before

    def _admit(self) -> Response | None:
        g.session, g.visit = None, ""
        if not self._hosts.knows(request.host):
            abort(421)
        token = request.cookies.get(SESSION, "")
        g.session = self.accounts.session(token) if token else None
        g.visit = request.cookies.get(VISIT, "")[:64] or secrets.token_urlsafe(16)
        if request.method not in SAFE:
            self._check_write()
        if request.endpoint is None:
            return None  # 404 or 405, said by Flask
        level = getattr(self._app_view(), "page_access", "person")
        if level == "anyone" or g.session or (level == "viewer" and self._settings.open_view):
            return None
        if request.method in SAFE and wants_page():
            return redirect(url_for("signing.sign_in", next=request.full_path.rstrip("?")))  # type: ignore[return-value]
        abort(401)

    @staticmethod
    def _app_view() -> Any:
        from flask import current_app

        return current_app.view_functions[str(request.endpoint)]

    def _check_write(self) -> None:
        """A form counts only with the token of this very session, and from a page of this very host."""
        origin = request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != request.host
        if foreign or request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            abort(403, "origin")
        given = request.form.get("csrf", "") or request.headers.get("X-CSRF", "")
        salt, _, signature = given.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signed(salt).encode()):
            abort(403, "csrf")

    # -- the token of a form

    def csrf(self) -> str:
        """A token for a form, another one each time, so that compression tells nothing of it."""
        salt = secrets.token_urlsafe(9)
        return f"{salt}.{self._signed(salt)}"

    def _signed(self, salt: str) -> str:
        bound = g.session.key if g.session else f"visit {g.visit}"
        return hmac.new(self._secret, f"{salt} {bound}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    # -- behind

    def sign_in(self, answer: Response, name: str) -> None:
        """Open a session of *name* with *answer*; its token is new, whatever the browser had before."""
        token = self.accounts.open_session(name, self.address())
        if old := request.cookies.get(SESSION):
            self.accounts.close_session(old)
        self._cookie(answer, SESSION, token, self._settings.session_hours * 3600)
        answer.delete_cookie(VISIT)
        g.keep_visit = False

    def sign_out(self, answer: Response) -> None:
        """Close the session."""
        self.accounts.close_session(request.cookies.get(SESSION, ""))
        answer.delete_cookie(SESSION)

    @staticmethod
    def _cookie(answer: Response, name: str, value: str, seconds: int | None) -> None:
        answer.set_cookie(name, value, max_age=seconds, httponly=True, samesite="Strict", secure=request.is_secure)

    def _headers(self, answer: Response) -> Response:
        headers = answer.headers
        headers.setdefault("Content-Security-Policy", CSP)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["X-Frame-Options"] = "DENY"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        headers.setdefault("Cache-Control", "no-store")
        anonymous = g.get("visit") and not g.get("session") and g.get("keep_visit", True)
        if anonymous and g.visit != request.cookies.get(VISIT) and answer.mimetype == "text/html":
            self._cookie(answer, VISIT, g.visit, None)
        return answer
