"""Texts for the operator's eyes: t("key") in the language in use, from locale/en.toml and locale/zh.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LANGUAGES = ("zh", "en")
_language = "en"


def use(language: str) -> None:
    """Speak *language* ("zh" or "en") from here on."""
    global _language
    if language not in LANGUAGES:
        raise ValueError(f'"{language}" is not one of {", ".join(LANGUAGES)}')
    _language = language


def language() -> str:
    """The language in use."""
    return _language


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
    return texts(_language)[key].format(**values)
