"""`station live`: one screen over SSH or a serial console; plain text where there is no screen."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from station.command_line import read_config, say, stop_signal
from station.i18n import t, use
from station.model import StoreError
from station.texts import Command, config_option, in_zone, lang_option, option

if TYPE_CHECKING:
    from station.cells import Script
    from station.config import Loaded

LEAST_SECONDS, MOST_SECONDS = 0.5, 3600
EVERY_SECONDS = 2.0


@click.command("live", cls=Command, help="help.live")
@option("--every", key="live_every", type=click.FloatRange(LEAST_SECONDS, MOST_SECONDS))
@option("--columns", key="screen_columns", type=click.IntRange(20, 500))
@config_option
@lang_option
def live(every: float | None, columns: int | None, config: Path) -> None:
    """The screen on a terminal; else its text once, or every so many seconds."""
    from station.terminal import screens

    loaded = read_config(config)
    encoding = sys.stdout.encoding or "utf-8"
    if sys.stdin.isatty() and sys.stdout.isatty() and screens(os.environ.get("TERM", "")):
        from station.live_session import Session
        from station.terminal import Terminal

        with Terminal(sys.stdin.fileno(), sys.stdout.fileno(), encoding) as terminal:
            _speak(terminal.script)
            Session(loaded, terminal, every or EVERY_SECONDS, columns or 0).run()
        return
    _print(loaded, every, columns or 0, encoding)


def _speak(script: Script) -> None:
    """English where the terminal's encoding has no Chinese."""
    if not script.can(t("live.me")):
        use("en")


def _print(loaded: Loaded, every: float | None, columns: int, encoding: str) -> None:
    """The text of the screen; what cannot be had once is an error, and again and again a line."""
    from station.cells import Script
    from station.live import Place, aged, plain
    from station.live_source import Source

    script, source = Script(encoding), Source(loaded)
    _speak(script)
    width = columns or shutil.get_terminal_size((80, 24)).columns
    place = Place(
        width=width, script=script, zone=loaded.zone, points={point.code: point.name for point in loaded.config.point}
    )
    stop = stop_signal() if every else None
    last = None
    while True:
        looked = source.look()
        last = looked if looked.found is not None else last
        if stop is None and looked.found is None:
            raise StoreError(looked.trouble)
        found = None if last is None or last.found is None else aged(last.found, time.monotonic() - last.at)
        say(
            plain(found, loaded.config.station.name, in_zone(looked.trouble, loaded.zone), place)
            if found
            else looked.trouble
        )
        if stop is None or stop.wait(every):
            return
        say("")
