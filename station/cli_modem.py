"""`station modem`: how the link stands, what it costs a month, and a person's reset; an emulated modem to try it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, must_be_known, print_json, read_config, say, stop_signal
from station.i18n import t
from station.model import ConfigError, StationError
from station.texts import Command, Group, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded

SHOWN = (
    "why_down", "operator", "registration", "apn", "iccid", "imei", "rsrp", "sinr", "rssi", "verdict", "clock_offset",
    "clock_refused", "bytes", "steps_today",
)  # fmt: skip
COSTS = ("platform", "kind", "records", "size", "estimate", "count", "actual")


class NoStation(StationError):
    """Error raised when only a running station could do what was asked."""

    exit_code = 69


@click.group("modem", cls=Group, help="help.modem")
@lang_option
def modem() -> None:
    """The link of the station."""


@modem.command("status", help="help.modem_status")
@config_option
@json_option
@lang_option
def status(config: Path, as_json: bool) -> None:
    """What the running station sees of its modem."""
    loaded = _loaded(config)
    found = ask_station(loaded, "status")
    if found is None:
        raise NoStation("no station runs that could see its modem; start it first: station run --config")
    row = next((one for one in found.get("beside", ()) if one["table"] == "modem"), None)
    if row is None:
        raise NoStation("the running station was started without this [modem]; start it anew")
    if as_json:
        print_json({"name": row["name"], "error": row["error"], **row["modem"]})
        return
    seen = row["modem"]
    if row["error"]:
        print(t("modem.fails", reason=row["error"]))
    for key in SHOWN:
        if (said := _said(key, seen)) is not None:
            print(t("modem.line", what=t(f"modem_row.{key}"), value=said))


def _said(key: str, seen: Mapping[str, Any]) -> str | None:
    """What stands behind *key* on the screen; None where nothing is known."""
    if key == "bytes":
        if not seen["month"]:
            return None
        total = (seen["received"] + seen["sent"]) / 1e6
        budget = t("modem.of_budget", budget=seen["budget_mb"]) if seen["budget_mb"] else ""
        return t("modem.bytes", month=seen["month"], mb=f"{total:.1f}", budget=budget)
    value = seen[key]
    if key == "why_down":
        return t(f"modem_why.{value}") if value else t("modem.up") if seen["looked"] else t("modem.not_looked")
    if value in (None, "") or (key == "rssi" and seen["rsrp"] is not None):
        return None
    if key == "registration":
        return t(f"modem_why.{value}")
    if key == "verdict":
        return t(f"modem_verdict.{value}")
    if key == "apn" and seen["wanted_apn"] and seen["wanted_apn"] != value:
        return t("modem.other_apn", apn=value, wanted=seen["wanted_apn"])
    if key in ("rsrp", "rssi"):
        return f"{value} dBm"
    if key == "sinr":
        return f"{value:g} dB"
    if key == "clock_offset":
        return f"{value:+.0f} s"
    if key == "steps_today":
        return t("modem.steps", count=value, most=seen["most_a_day"]) if value else None
    return str(value)


@modem.command("budget", help="help.modem_budget")
@config_option
@json_option
@lang_option
def budget(config: Path, as_json: bool) -> None:
    """What each platform costs a month, and what the interface has carried."""
    from station.modem import traffic
    from station.store import Store, connect

    loaded = read_config(config)
    settings = loaded.config.modem
    start = datetime.now(UTC).astimezone(loaded.zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if loaded.database.exists():
        with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
            rows = list(traffic.rows(store, loaded.config.uplink, start))
            months = traffic.months(store, settings.interface) if settings and settings.interface else {}
    else:
        rows, months = list(traffic.rows(None, loaded.config.uplink, start)), {}
    if as_json:
        print_json({
            "rows": [{key: getattr(one, key) for key in (*COSTS, "measured")} for one in rows],
            "months": {name: {"received": one.received, "sent": one.sent} for name, one in months.items()},
            "budget_mb": settings.budget_mb if settings else 0,
        })  # fmt: skip
        return
    _show(rows, months, settings.budget_mb if settings else 0)


def _show(rows: list[Any], months: Mapping[str, Any], budget_mb: int) -> None:
    from station.screen import show_rows

    shown = [
        {key: str(getattr(one, key)) for key in COSTS}
        | {"size": f"{one.size}" if one.measured else t("modem.assumed", size=one.size)}
        | {"kind": t(f"modem_kind.{one.kind}")}
        | {key: f"{getattr(one, key) / 1e6:.1f}" for key in ("estimate", "actual")}
        for one in rows
    ]  # fmt: skip
    show_rows([(key, t(f"modem_cost.{key}")) for key in COSTS], shown)
    total = sum(one.estimate for one in rows) / 1e6
    print(t("modem.total", mb=f"{total:.1f}", budget=t("modem.of_budget", budget=budget_mb) if budget_mb else ""))
    for name, one in months.items():
        print(t("modem.month", month=name, received=f"{one.received / 1e6:.1f}", sent=f"{one.sent / 1e6:.1f}"))
    print(t("modem.costs_note"))


@modem.command("reset", help="help.modem_reset")
@option("--step", key="modem_step", type=click.Choice(["redial", "reset", "power"]), default="reset")
@option("--user", key="user", required=True)
@option("--reason", key="reason", required=True)
@config_option
@lang_option
def reset(step: str, user: str, reason: str, config: Path) -> None:
    """A step by hand, on record with who and why."""
    loaded = _loaded(config)
    if ask_station(loaded, "modem", timeout=180, step=step, person=user, reason=reason, user="") is None:
        raise NoStation("no station runs that could do it; start it first: station run --config")
    print(t("modem.done", step=t(f"modem_step.{step}")))


def _loaded(config: Path) -> Loaded:
    loaded = read_config(config)
    if loaded.config.modem is None:
        raise ConfigError(f"{loaded.path}: there is no [modem] in it")
    return loaded


@click.command("modem", cls=Command, help="help.emulate_modem")
@option("--link", key="modem_link", type=click.Path(path_type=Path))
@option("--fault", key="modem_fault")
@lang_option
def emulate_modem(link: Path | None, fault: str | None) -> None:
    """A modem on a pseudo-terminal, until it is told to stop."""
    from station.emulate import listen
    from station.modem.emulator import FAULTS, EmulatedModem

    def obey(words: str) -> str:
        if words != "none":
            must_be_known(words, set(FAULTS), "fault")
        made.fault = "" if words == "none" else words
        return t("emulate.fault_set", name="modem", fault=words)

    if fault is not None:
        must_be_known(fault, set(FAULTS), "fault")
    stop = stop_signal()
    with EmulatedModem(link, fault=fault or "") as made:
        print(t("emulate.modem", port=made.path))
        print(t("emulate.prompt_platform", faults=", ".join(FAULTS)))
        print(t("emulate.ready"), flush=True)
        listen(sys.stdin, obey, say)
        stop.wait()
        for number, text in made.texts:
            print(t("emulate.texted", number=number, text=text))
