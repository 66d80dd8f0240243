"""How templates say things: texts, times in the station's zone, ages, numbers with their decimals, names."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask

from station.i18n import language, t, texts
from station.page.live import thousands
from station.page.source import Source
from station.parameters import catalogue
from station.screen_words import age, number

__all__ = ["install", "straight"]
_TURNING = dict.fromkeys(map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))


def install(app: Flask, source: Source) -> None:
    """Give the templates of *app* their words."""

    def wall(moment: datetime | str | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
        """A time as an operator reads it: the station's own, 24 hours."""
        if not moment:
            return ""
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return at.astimezone(source.zone).strftime(form)

    def text(key: str, **values: Any) -> str:
        """The text of *key*; what has none (a code of a later version) stays as it is."""
        return t(key, **values) if key in texts(language()) else key.rpartition(".")[2]

    app.jinja_env.finalize = lambda said: straight(said) if isinstance(said, str) else said
    app.jinja_env.globals.update(
        t=t,
        t_in=lambda one, key: texts(one)[key],
        word=text,
        thousands=thousands,
        percent=percent,
        station_name=source.loaded.config.station.name,
    )
    app.jinja_env.filters.update(
        wall=wall,
        age=age,
        number=number,
        unit=unit,
        parameter=parameter,
        point=lambda code: source.point_names.get(code, code),
    )


def straight(text: str) -> str:
    """*text* without the signs that turn what follows around: in a name they would turn the figures beside it.

    >>> straight("gate\u202e 51")
    'gate 51'
    """
    return text.translate(_TURNING)


def percent(share: float) -> str:
    """A share that can be compared: 100 % only when it is whole.

    >>> percent(1.0), percent(0.9999), percent(0.5), percent(0.00004)
    ('100 %', '99.9 %', '50.0 %', '<0.1 %')
    """
    if 0 < share < 0.001:
        return "<0.1 %"
    return "100 %" if share >= 1 else f"{int(share * 1000) / 10:.1f} %"


def unit(text: str) -> str:
    """The unit a person reads: the catalogue's levels are A-weighted, which Chinese readers expect beside them."""
    return "dB(A)" if text == "dB" and language() == "zh" else text


def parameter(key: str) -> str:
    """The name of a parameter in the language in use."""
    known = catalogue().get(key)
    return known.name(language()) if known else key
