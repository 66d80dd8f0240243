"""What views that let a person act share: the deed goes to the running station, and what came of it is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import redirect, request, url_for

from station.control import ControlRefused, NotRunning
from station.i18n import t, texts
from station.page.refusals import worded
from station.page.source import Source

LONGEST_FIELD = 500  # characters of one field of a form


def field(name: str) -> str:
    """What was typed into *name*, in one line, without signs that cannot be seen: phones write them into emoji."""
    line = " ".join(request.form.get(name, "").split())
    return "".join(sign for sign in line if sign.isprintable())[:LONGEST_FIELD]


def done_text() -> str:
    """What the deed came to that led here, by the word of the address; foreign words say nothing."""
    key = f"page_done.{request.args.get('done', '')}"
    return t(key) if key in texts("en") else ""


def do(source: Source, deed: Callable[[], Any], then: str, done: str, again: Callable[..., Any]) -> Any:
    """Carry *deed* out, and go to the view *then* that says *done*; *again* shows the view with what was refused."""
    try:
        deed()
    except NotRunning:
        return again(said=t("page.not_running_act")), 503
    except ControlRefused as error:
        return again(said=worded(str(error), source.zone)), 409
    finally:
        source.forget_status()
    return redirect(url_for(then, done=done), 303)


def sorted_by(rows: list[Any], key: str, order: Mapping[str, int]) -> list[Any]:
    """*rows* by the place of their *key* in *order*, else as they were."""
    return sorted(rows, key=lambda row: order.get(row[key], len(order)))
