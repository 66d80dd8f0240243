"""What each browser likes: its language and theme, kept in cookies of its own for a year."""

from __future__ import annotations

from flask import Flask, g, request

from station.i18n import LANGUAGES, use_here
from station.page.source import Source

LANGUAGE, THEME = "station_language", "station_theme"
THEMES = ("auto", "light", "dark")
YEAR = 365 * 86400


def install(app: Flask, source: Source) -> None:
    """Every view speaks the language that its browser asked for."""

    def choose() -> None:
        wanted = request.cookies.get(LANGUAGE)
        g.language = wanted if wanted in LANGUAGES else request.accept_languages.best_match(LANGUAGES) or "en"
        g.theme = theme if (theme := request.cookies.get(THEME)) in THEMES else "auto"
        use_here(g.language)

    app.before_request_funcs.setdefault(None, []).insert(0, choose)
    app.context_processor(lambda: {"language": g.language, "theme": g.theme})
