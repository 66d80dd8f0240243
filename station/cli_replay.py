"""`station replay`: a recorded series through calibration, marks, averages, limits and messages, at full speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from station.command_line import pair, print_json, read_config
from station.i18n import t
from station.model import WrongArgument, asdict
from station.texts import Command, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.replay import Column


@click.command("replay", cls=Command, help="help.replay")
@click.argument("file", type=click.Path(path_type=Path))
@option("--column", "columns", key="replay_column", multiple=True, required=True)
@option("--where", "where", key="where", multiple=True)
@option("--output", key="replay_output", type=click.Path(path_type=Path), default="replay")
@config_option
@json_option
@lang_option
def replay(
    file: Path, columns: tuple[str, ...], where: tuple[str, ...], output: Path, config: Path, as_json: bool
) -> None:
    """What the station would have made of a series."""
    from station.replay import read_series
    from station.replay import replay as run

    loaded = read_config(config)
    chosen = [_column(text) for text in columns]
    series = read_series(file, loaded.zone, dict(pair(text, "--where") for text in where))
    began = time.perf_counter()
    outcome = run(loaded, series, chosen, output)
    seconds = time.perf_counter() - began
    speed = outcome.simulated_seconds / seconds
    if as_json:
        print_json(asdict(outcome) | {"seconds": round(seconds, 2), "speed": round(speed), "output": str(output)})
        return
    print(t("replay.series", rows=outcome.rows, begin=outcome.begin, end=outcome.end))
    odd = outcome.unordered + outcome.repeated + outcome.unreadable
    if odd:
        print(
            t(
                "replay.odd",
                unordered=outcome.unordered,
                repeated=outcome.repeated,
                unreadable=outcome.unreadable,
            )
        )
    marks = ", ".join(f"{mark} {count}" for mark, count in outcome.marks.items())
    print(t("replay.readings", count=outcome.readings, marks=marks))
    print(t("replay.averages", **{kind: outcome.averages.get(kind, 0) for kind in ("minute", "hour", "day")}))
    for platform, count in outcome.messages.items():
        print(t("replay.messages", platform=platform, count=count))
    print(t("replay.done", seconds=f"{seconds:.1f}", speed=f"{speed:.0f}", output=output))


def _column(text: str) -> Column:
    """DEVICE.PARAMETER=COLUMN, with a factor behind an asterisk.

    >>> made = _column("dust.pm25=PM2.5*1")
    >>> made.device, made.parameter, made.name, made.factor
    ('dust', 'pm25', 'PM2.5', 1.0)
    """
    from station.replay import Column

    place, equals, name = text.partition("=")
    device, dot, parameter = place.rpartition(".")
    name, _, factor = name.partition("*")
    try:
        number = float(factor or 1)
    except ValueError:
        number = 0.0
    if not (equals and dot and device and parameter and name and number):
        raise WrongArgument(f'"{text}" is not DEVICE.PARAMETER=COLUMN, such as dust.pm25=PM2.5 or met.pressure=P*0.1')
    return Column(device=device, parameter=parameter, name=name, factor=number)
