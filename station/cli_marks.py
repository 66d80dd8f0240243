"""`station marks`: marks that people set, with name and reason, and why a value carries the mark it has."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, moment_in, parameter_key, point_code, print_json, read_config
from station.i18n import language, t
from station.model import StoreError
from station.own_reasons import worded as own_words
from station.texts import Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded


@click.group("marks", cls=Group, help="help.marks")
@lang_option
def marks() -> None:
    """What people say of values, and what the record says."""


_user = option("--user", key="user", required=True)
_reason = option("--reason", key="reason", required=True)


@marks.command("set", help="help.marks_set")
@click.argument("point")
@option("--mark", key="mark", type=click.Choice(["M", "C", "D", "F", "S"]), required=True)
@option("--parameter", key="only_parameter", default="")
@option("--from", "start", key="from")
@option("--to", "end", key="to")
@_user
@_reason
@config_option
@json_option
@lang_option
def set_mark(
    point: str, mark: str, parameter: str, start: str | None, end: str | None, user: str, reason: str, config: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """A spell of values gets a mark beside what was stored."""
    point, parameter = point_code(read_config(config), point), parameter_key(parameter) if parameter else ""
    fields = {"do": "mark", "point": point, "mark": mark, "parameter": parameter, "user": user, "reason": reason}
    _enter(config, as_json, fields, start=start, end=end)


@marks.command("end", help="help.marks_end")
@click.argument("name")
@option("--to", "end", key="to")
@_user
@_reason
@config_option
@json_option
@lang_option
def end_mark(name: str, end: str | None, user: str, reason: str, config: Path, as_json: bool) -> None:
    """A mark that is still on is over."""
    _enter(config, as_json, {"do": "end", "name": name, "user": user, "reason": reason}, end=end)


@marks.command("withdraw", help="help.marks_withdraw")
@click.argument("name")
@_user
@_reason
@config_option
@json_option
@lang_option
def withdraw(name: str, user: str, reason: str, config: Path, as_json: bool) -> None:
    """A mark set by mistake counts no more; it stays on record."""
    _enter(config, as_json, {"do": "withdraw", "name": name, "user": user, "reason": reason})


@marks.command("list", help="help.marks_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Every mark set by hand."""
    from station.explain import _hand

    loaded = read_config(config)
    with closing(_store(loaded)) as store:
        book = _marks(store)
    rows = [_hand(one) | {"point": one.point, "parameter": one.parameter} for one in book]
    if as_json:
        print_json({"marks": rows})
        return
    if not rows:
        print(t("marks.none"))
        return
    from station.screen import show_rows

    columns = ("name", "point", "parameter", "mark", "from", "to", "user", "reason")
    show_rows([(c, t(f"marks.{c}")) for c in columns], [_worded(row, loaded) for row in rows])


@marks.command("explain", help="help.marks_explain")
@click.argument("point")
@click.argument("parameter")
@click.argument("at", metavar="TIME")
@config_option
@json_option
@lang_option
def explain(point: str, parameter: str, at: str, config: Path, as_json: bool) -> None:
    """Everything on record about one value."""
    from station.explain import explain as gather

    loaded = read_config(config)
    point, parameter = point_code(loaded, point), parameter_key(parameter)
    moment = moment_in(at, loaded.zone)
    assert moment is not None
    ask_station(loaded, "commit")
    with closing(_store(loaded)) as store:
        found = gather(store, _marks(store), loaded, point, parameter, moment, _instrument(loaded, point, parameter))
    if as_json:
        print_json(found)
    else:
        for line in _sentences(found, loaded):
            print(line)


def _instrument(loaded: Loaded, point: str, parameter: str) -> tuple[str, float]:
    """Which instrument measures *parameter* at *point*, and the seconds from one value to the next; 0 without one."""
    from drivers.bus import Bus
    from station.poller import Task

    for bus in loaded.config.bus:
        for device, settings in zip(loaded.devices(bus, Bus(bus)), bus.device, strict=True):
            task = Task(device, settings, due=0.0)
            if parameter in device.units and task.point(parameter) == point:
                return settings.name, task.pace_seconds
    return "", 0.0


def _store(loaded: Loaded) -> Any:
    from station.store import Store, connect

    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    return Store(connect(loaded.database, read_only=True), str(loaded.database))


def _marks(store: Any) -> Any:
    from station.fieldbook import BEGINNING, END
    from station.marks import KIND, HandMarks

    return HandMarks(store.records(KIND, BEGINNING, END))


def _local(text: str | None, loaded: Loaded) -> str:
    """A moment on the station's clock, to the second."""
    return "" if text is None else f"{datetime.fromisoformat(text).astimezone(loaded.zone):%Y-%m-%d %H:%M:%S}"


def _worded(row: dict[str, Any], loaded: Loaded) -> dict[str, str]:
    reason = own_words(row["reason"])
    if row["withdrawn"]:
        reason = t("marks.withdrawn", reason=reason, why=own_words(row["withdrawn"]))
    return {
        **{key: str(row[key]) for key in ("name", "point", "user")},
        "parameter": row["parameter"] or t("marks.all"),
        "mark": f"{row['mark']} {t('mark.' + row['mark'])}",
        "from": _local(row["from"], loaded),
        "to": _local(row["to"], loaded) or t("marks.was_withdrawn" if row["withdrawn"] else "marks.still_on"),
        "reason": reason,
    }


def _sentences(found: dict[str, Any], loaded: Loaded) -> list[str]:
    """The record of one value in sentences, the value first."""
    from station.screen_words import number

    parameter, said = found["parameter"], []
    reading = found["reading"]
    if reading is None:
        said.append(t("explain.no_reading"))
    else:
        said.append(
            t(
                "explain.reading",
                time=_local(reading["time"], loaded),
                device=reading["device"],
                value=number(reading["value"], parameter),
                raw=number(reading["raw"], parameter),
                mark=f"{reading['mark']} {t('mark.' + reading['mark'])}",
            )
        )
        if reading["reason"]:
            said.append("  " + t("explain.because", reason=t(f"reason.{reading['reason']}")))
        if reading["effective_mark"] != reading["mark"]:
            mark = reading["effective_mark"]
            said.append("  " + t("explain.effective", mark=f"{mark} {t(f'mark.{mark}')}"))
    for one in found["by_hand"]:
        name, mark = one["name"], f"{one['mark']} {t('mark.' + one['mark'])}"
        text = t("explain.by_hand", name=name, mark=mark, user=one["user"], reason=own_words(one["reason"]))
        said.append("  " + (t("marks.withdrawn", reason=text, why=one["withdrawn"]) if one["withdrawn"] else text))
    for one in found["missed"]:
        said.append("  " + t("explain.missed", count=one["count"], reason=t(f"reason.{one['reason']}")))
    for period in found["periods"]:
        said += [_period_sentence(period, version, parameter, loaded) for version in period["versions"]]
    said += [_event_sentence(event, loaded) for event in found["events"]]
    return said


def _event_sentence(event: dict[str, Any], loaded: Loaded) -> str:
    """An event with what it is about."""
    from station.events import about, title

    said = about(json.loads(event["arguments"]), language(), loaded.zone)
    return t("explain.event", time=_local(event["at"], loaded), code=title(event["code"], language()), about=said)


def _period_sentence(period: dict[str, Any], version: dict[str, Any], parameter: str, loaded: Loaded) -> str:
    from station.screen_words import number

    holds = t("explain.valid" if version["is_valid"] else "explain.not_valid")
    rule = t("explain.of_minute", valid=version["valid"], expected=version["expected"])
    if period["needed"] is not None:
        rule = t("explain.of_parts", parts=version["parts"], due=period["due"], needed=period["needed"])
    return t(
        "explain.period",
        kind=t(f"kind.{period['kind']}"),
        start=_local(period["start"], loaded),
        version=version["version"],
        mean=number(version["mean"], parameter),
        mark=version["mark"],
        validity=holds,
        rule=rule,
    )


def _enter(
    config: Path, as_json: bool, fields: dict[str, Any], *, start: str | None = None, end: str | None = None
) -> None:
    """Have an entry kept by the running station, or, when none runs, in its database for the next start."""
    loaded = read_config(config)
    first, last = moment_in(start, loaded.zone), moment_in(end, loaded.zone)
    fields |= {"from": first.isoformat() if first else None, "to": last.isoformat() if last else None}
    body = ask_station(loaded, "marks", fields=fields)
    alone = body is None
    if body is None:
        body = _enter_alone(loaded, fields)
    if as_json:
        print_json(body)
        return
    print(t(f"marked.{body['do']}", name=body["name"]))
    if alone:
        print(t("marks.at_next_start"))


def _enter_alone(loaded: Loaded, fields: dict[str, Any]) -> dict[str, Any]:
    from station.marks import enter
    from station.service import own_folder
    from station.store import Store, check_folder

    check_folder(loaded.data_folder)
    points = {point.code: point for point in loaded.config.point}
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        record = enter(_marks(store), fields, points, datetime.now(UTC))
        with store.transaction():
            store.add_records([record])
        return dict(record.body)
