"""`station doctor` and `station health`: what is wrong and what to do about it, for a person and for monitoring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import EX_FAULTS, SYSTEM_SOCKET, ask_station, print_json, read_config
from station.i18n import LANGUAGES, t, texts
from station.model import StoreError
from station.texts import SYSTEM_CONFIG, Command, config_option, in_zone, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded
    from station.doctor import Finding
    from station.host import Host
    from station.store import Store

EX_UNAVAILABLE = 69


def the_host() -> Host:
    """The host that is looked at."""
    from station.host import Host

    return Host()


@click.command("doctor", cls=Command, help="help.doctor")
@config_option
@json_option
@lang_option
def doctor(config: Path, as_json: bool) -> int:
    """Everything the station rests on, a line each; 0 when nothing is bad, else 1."""
    from station.doctor import BAD, worst
    from station.store import Store, connect

    loaded = read_config(config)
    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        store.query("BEGIN")  # one state of it, however often the station commits meanwhile
        findings = list(_findings(loaded, store, the_host(), datetime.now(UTC)))
    level = worst(findings)
    if as_json:
        print_json({"level": level, "findings": [_plain(one, loaded) for one in findings]})
    else:
        _show(findings, level, loaded)
    return EX_FAULTS if level == BAD else 0


def _findings(loaded: Loaded, store: Store, host: Host, now: datetime) -> Iterator[Finding]:
    from station import doctor as look
    from station.capacity import capacity
    from station.clock import boot_id, trust
    from station.status import stored
    from station.store import suspect

    live = ask_station(loaded, "status")
    status = live or stored(store, now)
    yield from look.of_station(status, suspected=suspect(loaded.database).exists())
    yield from look.of_disk(host, loaded.data_folder)
    yield from look.of_capacity(capacity(status["store"], host.room(loaded.data_folder), loaded.config.disk))
    yield from look.of_clock(store, _trust(store, trust(), boot_id()), now)
    for bus in loaded.config.bus:
        yield from look.of_line(bus.name, _advice(loaded, bus.name))
    configured = {one.name for one in loaded.config.uplink}
    for platform in status["platforms"]:
        known = platform["name"] in configured
        yield from look.of_platform(platform, running=live is not None, configured=known)
    if loaded.config.modem is not None:
        rows = [one for one in status.get("beside", ()) if one["table"] == "modem"]
        yield from look.of_modem(rows, running=live is not None)
    yield from look.of_seals(store, now, running=live is not None)
    yield from look.of_backup(status["backup"], loaded.data_folder, now)
    yield from look.of_months(store, loaded.data_folder, now, loaded.zone)
    yield from look.of_board(host)


def _trust(store: Store, host: str, boot: str) -> str:
    """What the clock is known by: the host's word, else that of this boot's newest row in the store."""
    if host != "none":
        return host
    rows = store.query(
        "SELECT trust FROM clock WHERE boot = (SELECT max(id) FROM boot WHERE kernel = ?) ORDER BY id DESC LIMIT 1",
        (boot,),
    )
    return str(rows[0][0]) if rows else "none"


def _advice(loaded: Loaded, bus: str) -> list[str] | None:
    """What drivers/doctor.py says of a line from figures that are there; no instrument is asked for it."""
    from drivers.doctor import advice, asked_enough
    from station.cli_bus import known_health

    health = known_health(loaded, bus)
    if health is None:
        return None
    keys = list(dict.fromkeys(one.key for one in advice(health)))
    return keys if keys or asked_enough(health) else None


def sentence(one: Finding, language: str, loaded: Loaded) -> str:
    """The line of *one*."""
    figures = dict(one.figures)
    if isinstance(figures.get("advice"), list):
        said = [texts(language)[f"advice.{key}"] for key in figures["advice"]]
        figures["advice"] = texts(language)["report.semicolon"].join(said)
    if one.topic == "modem" and "why" in figures:
        figures["why"] = texts(language)[f"modem_why.{figures['why']}"]
    return in_zone(texts(language)[f"checkup.{one.code}"].format(**figures), loaded.zone)


def advice(one: Finding, language: str) -> str:
    """What to do about *one*, or nothing."""
    return texts(language).get(f"checkup_advice.{one.code}", "").format(**one.figures)


def _plain(one: Finding, loaded: Loaded) -> dict[str, Any]:
    words = {
        language: {"text": sentence(one, language, loaded), "advice": advice(one, language)} for language in LANGUAGES
    }
    return {"topic": one.topic, "level": one.level, "code": one.code, "figures": dict(one.figures), "words": words}


def _show(findings: list[Finding], level: str, loaded: Loaded) -> None:
    from station.i18n import language
    from station.screen import BAD, DIM, GOOD, console

    styles: Mapping[str, str] = {"good": GOOD, "warning": "yellow", "bad": BAD, "unknown": DIM}
    out = console()
    for one in findings:
        line = t("doctor.line", level=t(f"checkup_level.{one.level}"), topic=t(f"checkup_topic.{one.topic}"),
                 text=sentence(one, language(), loaded))  # fmt: skip
        out.print(line, style=styles[one.level], soft_wrap=True)
        if one.level in ("warning", "bad"):
            out.print("  " + advice(one, language()), style=DIM, soft_wrap=True)
    out.print(t(f"checkup_end.{level}"), style=styles[level])


@click.command("health", cls=Command, help="help.health")
@option("--max-age", "longest", key="health_age", type=click.FloatRange(1, 86400), default=90.0, show_default=True)
@config_option
@json_option
@lang_option
def health(longest: float, config: Path, as_json: bool) -> int:
    """The running station's sign of life: 0 fresh and well, 1 fresh with a complaint, 69 stale or not there."""
    from station.health import read

    loaded = read_config(config)
    path = loaded.health_file
    if path is None:
        path = (SYSTEM_SOCKET if loaded.path == SYSTEM_CONFIG else loaded.control_socket).with_name("health.json")
    seen = read(path, longest)
    if as_json:
        print_json({"state": seen.state, "age_seconds": seen.age_seconds, "file": str(path), "said": seen.body})
    else:
        why = ", ".join(t(f"health_trouble.{one}") for one in seen.troubles)
        age = t("status.unknown") if seen.age_seconds is None else f"{seen.age_seconds:.0f}"
        print(t(f"health.{seen.state}", age=age, path=path, why=why))
    return {"well": 0, "trouble": EX_FAULTS}.get(seen.state, EX_UNAVAILABLE)
