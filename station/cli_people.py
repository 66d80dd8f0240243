"""`station people`: who is told of alarms, what became of the messages, and a try."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, print_json, read_config
from station.i18n import t
from station.model import StationError
from station.texts import Group, config_option, json_option, lang_option, wall

if TYPE_CHECKING:
    from station.config import Loaded

WAYS = ("name", "kind", "owed", "last", "error")
MESSAGES = ("at", "person", "alarm", "what", "state", "error")


class NoStation(StationError):
    """Error raised when no station runs that could send."""

    exit_code = 69


@click.group("people", cls=Group, help="help.people")
@lang_option
def people() -> None:
    """Who is told of alarms."""


@people.command("list", help="help.people_list")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """Each person, and the messages of the last seven days."""
    loaded = read_config(config)
    ways = [{key: row.get(key) for key in WAYS} for row in _ways(loaded)]
    messages = _messages(loaded)
    if as_json:
        print_json({"people": ways, "messages": messages})
        return
    if not ways:
        print(t("people.none"))
        return
    from station.screen import show_rows

    shown = [
        {key: "" if row[key] is None else str(row[key]) for key in WAYS}
        | {"last": wall(row["last"], loaded.zone) if row["last"] else "-"}
        for row in ways
    ]
    show_rows([(key, t(f"people.{key}")) for key in WAYS], shown)
    if messages:
        shown = [
            row | {"at": wall(row["at"], loaded.zone), "what": t(f"people_what.{row['what']}"),
                   "state": t(f"people_state.{row['state']}")}
            for row in messages
        ]  # fmt: skip
        show_rows([(key, t(f"people.{key}")) for key in MESSAGES], shown)


@people.command("test", help="help.people_test")
@click.argument("name")
@config_option
@lang_option
def test(name: str, config: Path) -> None:
    """A word that is no alarm, to one person."""
    loaded = read_config(config)
    if ask_station(loaded, "people_test", timeout=600, name=name) is None:
        raise NoStation("no station runs that could send it; start it first: station run --config")
    print(t("people.tried", name=name))


def _ways(loaded: Loaded) -> list[dict[str, Any]]:
    body = ask_station(loaded, "status")
    if body is not None:
        return list(body.get("people", ()))
    return [{"name": one.name, "kind": one.kind} for one in loaded.config.notify]


def _messages(loaded: Loaded) -> list[dict[str, Any]]:
    """What became of each message of the last seven days, the newest first."""
    from station.people import KIND, LOOK_BACK
    from station.store import Store, connect

    if not loaded.database.exists():
        return []
    now = datetime.now(UTC)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        for record in sorted(store.records(KIND, now - LOOK_BACK, now), key=lambda one: one.id):
            for key in record.body["keys"]:
                alarm, what = _parts(key)
                found[record.device, key] = {
                    "at": record.at.isoformat(), "person": record.device, "alarm": alarm, "what": what,
                    "state": record.body["state"], "error": record.body.get("error", ""),
                }  # fmt: skip
    return sorted(found.values(), key=lambda row: str(row["at"]), reverse=True)[:50]


def _parts(key: str) -> tuple[str, str]:
    """Alarm and kind of message in *key* (station/people.py).

    >>> _parts("dust 2026-03-01T08:00:00+00:00 again 2"), _parts("dust pre 2026-03-01T08:00:00+00:00 pre")
    (('dust', 'again'), ('dust', 'pre'))
    """
    words = key.split(" ")
    what = words[-2] if words[-1].isdecimal() else words[-1]
    named = words[: -2 if what != "again" else -3]
    return " ".join(named[:-1] if named[-1] == "pre" and len(named) > 1 else named), what
