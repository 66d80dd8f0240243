"""Signing in and out, the first password by a one-time code, and what a browser likes to see."""

from __future__ import annotations

import logging
import math
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from station.i18n import LANGUAGES, t
from station.model import WrongArgument
from station.page.accounts import LONGEST_NAME, LONGEST_PASSWORD, SHORTEST_PASSWORD
from station.page.guard import Guard, access
from station.page.preferences import LANGUAGE, THEME, THEMES, YEAR
from station.page.source import Source
from station.page.throttle import Throttle

log = logging.getLogger(__name__)


def blueprint(source: Source, guard: Guard) -> Blueprint:
    """The views of signing in, of whom *guard* lets in."""
    made = Blueprint("signing", __name__)

    @made.get("/sign-in")
    @access("anyone")
    def sign_in() -> Any:
        return redirect(_next()) if guard.person() else _form("sign_in.html")

    @made.post("/sign-in")
    @access("anyone")
    def try_sign_in() -> Any:
        if refused := _wait(guard.passwords, guard.address(), "sign_in.html"):
            return refused
        name = " ".join(request.form.get("name", "").split())[:LONGEST_NAME]
        if not guard.accounts.knows(name, request.form.get("password", "")):
            return _failed(guard.passwords, "sign_in.html", t("page.wrong_password"), source, guard)
        guard.passwords.succeeded(guard.address())
        return _let_in(name)

    @made.get("/code")
    @access("anyone")
    def code() -> Any:
        return _form("code.html")

    @made.post("/code")
    @access("anyone")
    def try_code() -> Any:
        if refused := _wait(guard.codes, guard.address(), "code.html"):
            return refused
        typed, name, password = (request.form.get(key, "") for key in ("code", "name", "password"))
        if not guard.accounts.code_holds(typed):
            return _failed(guard.codes, "code.html", t("page.wrong_code"), source, guard)
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            return _form("code.html", t("page.short_password", least=SHORTEST_PASSWORD), 400)
        try:
            name = guard.accounts.enrol(typed, name, password)
        except WrongArgument:
            return _form("code.html", t("page.bad_name", most=LONGEST_NAME), 400)
        guard.codes.succeeded(guard.address())
        source.tell("enrolled", name, address=guard.address())
        return _let_in(name)

    @made.post("/sign-out")
    @access("anyone")
    def sign_out() -> Any:
        answer = redirect(url_for("signing.sign_in"))
        if name := guard.person():
            guard.sign_out(answer)  # type: ignore[arg-type]
            source.tell("signed_out", name)
        return answer

    @made.post("/preferences")
    @access("anyone")
    def preferences() -> Any:
        answer = redirect(_next())
        for cookie, field, known in ((LANGUAGE, "language", LANGUAGES), (THEME, "theme", THEMES)):
            if (chosen := request.form.get(field)) in known:
                answer.set_cookie(cookie, str(chosen), YEAR, httponly=True, samesite="Lax", secure=request.is_secure)
        return answer

    def _let_in(name: str) -> Response:
        answer = redirect(_next(), 303)
        guard.sign_in(answer, name)  # type: ignore[arg-type]
        source.tell("signed_in", name, address=guard.address())
        return answer  # type: ignore[return-value]

    return made


def _form(template: str, said: str = "", code: int = 200) -> Response:
    limits = {"shortest": SHORTEST_PASSWORD, "longest_password": LONGEST_PASSWORD, "longest_name": LONGEST_NAME}
    return make_response(render_template(template, said=said, next=_next(), **limits), code)


def _next() -> str:
    """Where to go afterwards: a path of ours, never another host.

    A browser takes "//host" and "/\\\\host" for another host, and drops tabs and newlines first.
    """
    wanted = request.values.get("next", "")
    foreign = not wanted.startswith("/") or wanted[1:2] in ("/", "\\") or not wanted.isprintable()
    return url_for("root") if foreign else wanted


def _wait(throttle: Throttle, address: str, template: str) -> Response | None:
    seconds = math.ceil(throttle.wait(address))
    if not seconds:
        return None
    said = t("page.wait", seconds=seconds)
    browser = "text/html" in request.headers.get("Accept", "")  # what tries by the thousand is told in few words
    answer = _form(template, said, 429) if browser else Response(said, 429, mimetype="text/plain")
    answer.headers["Retry-After"] = str(seconds)
    return answer


def _failed(throttle: Throttle, template: str, said: str, source: Source, guard: Guard) -> Response:
    throttle.failed(guard.address())
    seconds = math.ceil(throttle.wait(guard.address()))
    if seconds:  # not for every slip of a finger, nor for every try of a machine: those are refused unheard
        log.warning("sign-in from %s failed again; the next try in %d s", guard.address(), seconds)
        source.tell("refused", "", address=guard.address())
    return _form(template, said, 401)
