"""click with its help in the operator's language: help texts are keys, looked up when they are shown."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, TypeVar

import click

from station.i18n import LANGUAGES, language, t, texts, use

CLICK = "click."  # the keys of what click itself says
SYSTEM_CONFIG = Path("/etc/niutang-station/station.toml")
_F = TypeVar("_F", bound=Callable[..., Any])


def _ours(said: str) -> str:
    """What click says, in the language in use; as it is where the texts do not have it."""
    key = next((key for key, text in texts("en").items() if text == said and key.startswith(CLICK)), None)
    return said if key is None else texts(language())[key]


def _ours_of_many(one: str, more: str, count: int) -> str:
    return _ours(one if count == 1 else more)


# click asks gettext, which would want compiled catalogues and the language in the environment: --lang is neither.
for _module in (click.core, click.exceptions, click.parser, click.types):
    for _name, _instead in (("_", _ours), ("ngettext", _ours_of_many)):
        if _name in vars(_module):
            vars(_module)[_name] = _instead


def wall(moment: datetime | str, zone: tzinfo | None) -> str:
    """*moment* as an operator reads it: the station's own time, to the second.

    >>> from datetime import timedelta, timezone
    >>> wall("2026-11-25T19:34:22.114409+00:00", timezone(timedelta(hours=8)))
    '2026-11-26 03:34:22'
    """
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?[+-]\d\d:\d\d")


def in_zone(sentence: str, zone: tzinfo | None) -> str:
    """*sentence* with its moments as an operator reads them; errors carry them with their offset, for logs.

    >>> from datetime import timedelta, timezone
    >>> in_zone("M1 ended at 2026-11-25T19:34:22.114409+00:00", timezone(timedelta(hours=8)))
    'M1 ended at 2026-11-26 03:34:22'
    """
    return sentence if zone is None else _MOMENT.sub(lambda found: wall(found[0], zone), sentence)


_format_missing = click.MissingParameter.format_message


def _missing(error: click.MissingParameter) -> str:
    """What is missing, with the full stop of the language: click writes its own behind what it had translated."""
    said = _format_missing(error)
    return said.replace("'. ", "'。").removesuffix(".") + "。" * said.endswith(".") if language() == "zh" else said


setattr(click.MissingParameter, "format_message", _missing)  # noqa: B010 - a type checker forbids the assignment


class _Formatter(click.HelpFormatter):
    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, prefix or f"{t('heading.Usage')}: ")

    def write_heading(self, heading: str) -> None:
        super().write_heading(t(f"heading.{heading}") if f"heading.{heading}" in texts("en") else heading)


class _Context(click.Context):
    formatter_class = _Formatter


def _said(key: str | None) -> str | None:
    return t(key) if key is not None and key in texts(language()) else key


class Option(click.Option):
    """An option whose help is a key."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help, in the language in use."""
        key = self.help
        try:
            self.help = _said(key)
            return super().get_help_record(ctx)
        finally:
            self.help = key


class _Translated:
    context_class: type[click.Context] = _Context
    help: str | None

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.help = t("help.option_help")
        return option  # type: ignore[no-any-return]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(_said(self.help) or "")

    def get_short_help_str(self, limit: int = 45) -> str:
        return _said(self.help) or ""


class Command(_Translated, click.Command):
    """A command whose help is a key."""


class Group(_Translated, click.Group):
    """A group whose help is a key."""

    command_class = Command


def option(*names: str, key: str, **more: Any) -> Callable[[_F], _F]:
    """An option whose help is the text help.option_*key*."""
    return click.option(*names, help=f"help.option_{key}", cls=Option, **more)


def _choose(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        use(value)


lang_option = option(
    "--lang", key="lang", type=click.Choice(LANGUAGES), expose_value=False, is_eager=True, callback=_choose
)
json_option = option("--json", "as_json", key="json", is_flag=True)


def default_config() -> Path:
    """STATION_CONFIG, else station.toml here, else the installed one."""
    if named := os.environ.get("STATION_CONFIG"):
        return Path(named)
    here = Path("station.toml")
    return here if here.exists() or not SYSTEM_CONFIG.exists() else SYSTEM_CONFIG


config_option = option("--config", key="config", type=click.Path(path_type=Path), default=default_config)
