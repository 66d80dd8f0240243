"""What the commands share: the configuration, the running station's answers, words and times that people type."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.i18n import t
from station.model import WrongArgument
from station.texts import SYSTEM_CONFIG

if TYPE_CHECKING:
    from station.clock import Wake
    from station.config import Loaded

EX_FAULTS = 1
LONGEST_SECONDS = 7  # digits, more than a hundred days
SYSTEM_SOCKET = Path("/run/niutang-station/control.sock")  # the unit's RuntimeDirectory


class Spoken:
    """The zone that an operator's times are in, once a configuration is read."""

    zone: tzinfo | None = None


def read_config(path: Path, *, secrets: bool = False) -> Loaded:
    """The configuration; its credentials only where they are about to be used."""
    from station.config import load

    loaded = load(path, secrets=secrets)
    Spoken.zone = loaded.zone
    return loaded


def read_running(path: Path) -> Loaded:
    """The configuration a station runs with: that of *path*, or the last good one where *path* is cut short."""
    from station.lastgood import read

    loaded = read(path)
    Spoken.zone = loaded.zone
    return loaded


def ask_station(loaded: Loaded, verb: str, **arguments: Any) -> Any:
    """What the running station answers, or None when none runs."""
    from station.control import NotRunning, ask

    for socket in (loaded.control_socket, *[SYSTEM_SOCKET] * (loaded.path == SYSTEM_CONFIG)):
        with suppress(NotRunning):
            return ask(socket, verb, **arguments)
    return None


def parameter_key(word: str) -> str:
    """The key of the parameter that *word* names."""
    from station.naming import parameter_named

    return parameter_named(word)


def point_code(loaded: Loaded, word: str) -> str:
    """The code of the measuring point that *word* names."""
    from station.naming import point_named

    return point_named(word, loaded.config.point)


def must_be_known(word: str | None, known: set[str], what: str) -> None:
    """Raise WrongArgument when *word* is none of *known*; the sentence names the nearest."""
    if word is not None and word not in known:
        from station.model import did_you_mean

        raise WrongArgument(f'there is no {what} "{word}"{did_you_mean(word, dict.fromkeys(sorted(known)))}')


def moment_in(text: str | None, zone: tzinfo) -> datetime | None:
    """The moment *text* names; without an offset it is the station's own time.

    >>> from datetime import UTC
    >>> moment_in("2026-03-01T08:00", UTC)
    datetime.datetime(2026, 3, 1, 8, 0, tzinfo=datetime.timezone.utc)
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a time such as 2026-03-01 or 2026-03-01T08:00') from error
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def whole_seconds(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    """The whole seconds in "150s", "150" or "5m"; a callback of click's."""
    factor = {"s": 1, "m": 60, "h": 3600}.get(value[-1:])
    number = value[:-1] if factor else value
    if not (number.isascii() and number.isdecimal() and len(number) <= LONGEST_SECONDS):
        raise click.BadParameter(t("click.not_seconds", value=value))
    return int(number) * (factor or 1)


def pair(text: str, name: str) -> tuple[str, str]:
    """Both sides of a "left=right" that was given to the option *name*."""
    left, equals, right = text.partition("=")
    if not equals or not left or not right:
        raise click.BadParameter(t("click.not_a_pair", value=text), param_hint=name)
    return left, right


def stop_signal() -> Wake:
    """Set by SIGINT or SIGTERM from here on, so that what was set up is also taken down."""
    from station.clock import Wake

    stop = Wake()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def say(text: str) -> None:
    """Print *text* at once, for who reads along through a pipe."""
    print(text, flush=True)


def print_json(value: Any) -> None:
    """Print *value* as one line of JSON that the terminal's encoding can show."""
    plain = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    print(json.dumps(value, ensure_ascii=plain, default=str))
