"""Ages and numbers as a person reads them, on a terminal and on the page."""

from __future__ import annotations

import math

from station.i18n import t
from station.parameters import catalogue
from station.rounding import rounded

SILENCES = {
    "port_lost": "silence.port",
    "bad_reply": "silence.rubbish",
    "exception": "silence.exception",
    "no_reply": "silence.nothing",
}


def age(seconds: float | None) -> str:
    """How long ago, in one unit.

    >>> age(59), age(3600), age(90000), age(None)
    ('59 s', '60 min', '25 h', 'never')
    """
    if seconds is None:
        return t("age.never")
    for key, length, limit in (("seconds", 1, 120), ("minutes", 60, 120), ("hours", 3600, 48)):
        if seconds < length * limit:
            return t(f"age.{key}", n=int(seconds // length))
    return t("age.days", n=int(seconds // 86400))


def number(value: float | None, parameter: str) -> str:
    """*value* with the decimals that the catalogue sends.

    >>> number(7.126, "ph"), number(None, "ph"), number(7.125, "ph")
    ('7.13', '-', '7.12')
    """
    if value is None:
        return t("status.unknown")
    known = catalogue().get(parameter)
    return rounded(value, known.decimals) if known and math.isfinite(value) else f"{value:g}"
