"""Texts for the operator's eyes: t("key") in the language in use, from locale/en.toml and locale/zh.toml."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import local

LANGUAGES = ("zh", "en")
_language = "en"
_thread = local()  # a thread that serves one person at a time speaks that person's language


def use(language: str) -> None:
    """Speak *language* ("zh" or "en") from here on."""
    global _language
    if language not in LANGUAGES:
        raise ValueError(f'"{language}" is not one of {", ".join(LANGUAGES)}')
    _language = language


def use_here(language: str | None) -> None:
    """Speak *language* in this thread alone from here on; None goes back to the language of all."""
    if language not in (*LANGUAGES, None):
        raise ValueError(f'"{language}" is not one of {", ".join(LANGUAGES)}')
    _thread.language = language


def language() -> str:
    """The language in use, in this thread."""
    return getattr(_thread, "language", None) or _language


def preferred(environment: Mapping[str, str] = os.environ) -> str:
    """The language that LC_ALL, LC_MESSAGES or LANG ask for.

    >>> preferred({"LANG": "zh_CN.UTF-8"}), preferred({"LANG": "C"}), preferred({})
    ('zh', 'en', 'en')
    """
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(name):
            return "zh" if environment[name].startswith("zh") else "en"
    return "en"


@cache
def texts(language: str) -> Mapping[str, str]:
    """Every text of *language* by its dotted key."""
    path = Path(__file__).with_name("locale") / f"{language}.toml"
    found: dict[str, str] = {}
    _flatten("", tomllib.loads(path.read_text(encoding="utf-8")), found)
    return found


def _flatten(prefix: str, table: Mapping[str, object], found: dict[str, str]) -> None:
    for key, value in table.items():
        if isinstance(value, dict):
            _flatten(f"{prefix}{key}.", value, found)
        else:
            found[f"{prefix}{key}"] = str(value)


def t(key: str, **values: object) -> str:
    """The text of *key* in the language in use, with *values* filled in.

    >>> use("en"); t("age.seconds", n=5)
    '5 s'
    """
    text = texts(language())[key]
    said = text.format(**values)
    return numbered(said) if _CHOICE.search(text) else said


# What an English text leaves to the number before it: "(s)" and "(es)" of many, "(one|many)".
_CHOICE = re.compile(r"\((?:e?s|[a-z]*\|[a-z]*)\)")
_NUMBERED = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)([^\d()]*)\((?:(e?s)|([a-z]*)\|([a-z]*))\)")


def numbered(said: str) -> str:
    """*said* with each word as its number wants it.

    >>> numbered("1 message(s) (is|are) owed"), numbered("0 message(s) (is|are) owed"), numbered("2 tr(y|ies)")
    ('1 message is owed', '0 messages are owed', '2 tries')
    """

    def chosen(found: re.Match[str]) -> str:
        number, between, suffix, one, many = found.groups()
        return f"{number}{between}{(one or '') if number == '1' else suffix or many or ''}"

    while (now := _NUMBERED.sub(chosen, said)) != said:
        said = now
    return said
