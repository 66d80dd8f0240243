"""`station index`: the air's index, the water's class and whether it is black and odorous, or why none can be had."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, point_code, print_json, read_config
from station.i18n import language, t
from station.model import WrongArgument
from station.texts import Command, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded


@click.command("index", cls=Command, help="help.index")
@click.argument("point", required=False)
@option("--hour", key="hour")
@option("--day", key="day")
@option("--month", key="month")
@config_option
@json_option
@lang_option
def index(point: str | None, hour: str | None, day: str | None, month: str | None, config: Path, as_json: bool) -> None:
    """Over the last day that is over, unless an hour, day or month is named."""
    from station.cli_marks import _store
    from station.index import AIR, WATER, gather, span
    from station.index import as_json as plain

    loaded = read_config(config)
    point = None if point is None else point_code(loaded, point)
    named = {kind: text for kind, text in (("hour", hour), ("day", day), ("month", month)) if text is not None}
    if len(named) > 1:
        raise WrongArgument(f"one of {', '.join(f'--{kind}' for kind in named)}, not several")
    kind, text = next(iter(named.items()), ("day", None))
    start, end = span(kind, text, datetime.now(UTC), loaded.zone)
    points = [p.code for p in loaded.config.point if point in (None, p.code)]
    if point is not None and next(p.st for p in loaded.config.point if p.code == point) not in (*AIR, *WATER):
        raise WrongArgument(f'"{point}" has neither an index of air (st {", ".join(AIR)}) nor a class of water (st 21)')
    ask_station(loaded, "commit")
    with closing(_store(loaded)) as store:
        found = [plain(one, loaded.zone) for one in gather(store, loaded, points, kind, start, end)]
    if as_json:
        print_json({"indices": found})
        return
    for row in found:
        for line in _air(row, loaded) if row["kind"] == "air" else _water(row, loaded):
            print(line)
    if not found:
        print(t("index.none"))


def _title(row: Mapping[str, Any], loaded: Loaded) -> str:
    name = next(p.name for p in loaded.config.point if p.code == row["point"])
    length = {"month": 7, "day": 10, "hour": 16}[row["period"]]
    return f"{name} ({row['point']}), {row['start'][:length].replace('T', ' ')}"


def _comma() -> str:
    return "、" if language() == "zh" else ", "


def _names(parameters: Any) -> str:
    from station.parameters import catalogue

    return _comma().join(catalogue()[one].name(language()) for one in parameters)


def _air(row: Mapping[str, Any], loaded: Loaded) -> list[str]:
    if row["aqi"] is None:
        said = [f"{_title(row, loaded)}: {t('index.no_aqi', why=_why(row))}"]
    else:
        primary = _names(row["primary"]) or "-"
        level = t(f"air_level.{row['level']}")
        said = [f"{_title(row, loaded)}: {t('index.aqi', aqi=row['aqi'], level=level, primary=primary)}"]
    for parameter, value in row["concentrations"].items():
        unit = "mg/m³" if parameter == "co" else "µg/m³"
        shown = "-" if value is None else f"{value:.1f} {unit}"
        said.append("  " + t("index.iaqi", name=_names([parameter]), value=shown, iaqi=row["iaqi"].get(parameter, "-")))
    return said


def _why(row: Mapping[str, Any]) -> str:
    """Why there is no index: what is not measured here, or has no valid value."""
    from station.aqi import DAILY

    absent = [one for one in DAILY if one not in row["concentrations"]]
    if absent:
        return t("index.absent", names=_names(absent))
    return t("index.missing", names=_names(one for one in DAILY if one not in row["iaqi"]))


def _water(row: Mapping[str, Any], loaded: Loaded) -> list[str]:
    if row["class"] is None:
        why = t("index.no_class", why=t(f"water_why.{row['because']}"))
        said = [f"{_title(row, loaded)}: {why}"]
    else:
        worse = row["class"] == "worse than V"
        grade = t("index.worse") if worse else row["class"]
        deciding = _names(row["deciding"]) or "-"
        said = [f"{_title(row, loaded)}: {t('index.class', grade=grade, deciding=deciding)}"]
    if row["period"] == "day":
        said.append("  " + t("index.indication"))
    if row["short_of_days"]:
        few = _comma().join(f"{_names([p])} {days}" for p, days in row["short_of_days"].items())
        needed = row["needed_days"]
        said.append("  " + t("index.left_out" if row["official"] else "index.few_days", needed=needed, few=few))
    for parameter, mean in row["means"].items():
        from station.screen_words import number

        value = number(mean, parameter)
        said.append("  " + t("index.mean", name=_names([parameter]), value=value, days=row["days"][parameter]))
    if row["missing"]:
        said.append("  " + t("index.missing", names=_names(row["missing"])))
    if row["black_odour"] is not None:
        said.append("  " + t("index.odour", grade=t(f"odour.{row['black_odour']}")))
    if row["rural_black_odour"]:
        said.append("  " + t("index.rural", names=_names(row["rural_black_odour"])))
    return said
