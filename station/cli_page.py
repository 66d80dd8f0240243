"""`station page`: the local page, and who may sign in there."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, must_be_known, print_json, read_config
from station.i18n import t
from station.texts import Group, config_option, json_option, lang_option, wall

if TYPE_CHECKING:
    from station.config import Loaded
    from station.page.accounts import Accounts
    from station.page.settings import PageSettings


@click.group("page", cls=Group, help="help.page", invoke_without_command=True)
@config_option
@lang_option
@click.pass_context
def page(ctx: click.Context, config: Path) -> None:
    """Serve the page, in this process, unless a command says what else."""
    if ctx.invoked_subcommand is None:
        from station.page.start import main as serve

        sys.exit(serve(["page", "--config", str(config)]))


@page.command("code", help="help.page_code")
@config_option
@json_option
@lang_option
def code(config: Path, as_json: bool) -> None:
    """A one-time code, on this screen alone."""
    loaded = read_config(config)
    accounts, settings = _accounts(loaded)
    made = accounts.issue_code()
    addresses = where(settings)
    if as_json:
        print_json({"code": made, "hours": settings.code_hours, "addresses": addresses})
        return
    print(t("page_said.code", code=made, hours=settings.code_hours))
    print(t("page_said.open", addresses="  ".join(f"{one}code" for one in addresses)))


@page.command("people", help="help.page_people")
@config_option
@json_option
@lang_option
def people(config: Path, as_json: bool) -> None:
    """Who has a password."""
    loaded = read_config(config)
    found = _accounts(loaded)[0].people()
    if as_json:
        print_json({"people": [{"name": name, "since": _iso(since)} for name, since in found.items()]})
        return
    for name, since in found.items():
        print(t("page_said.person", name=name, since=wall(_iso(since), loaded.zone)))
    if not found:
        print(t("page_said.nobody"))


@page.command("sessions", help="help.page_sessions")
@config_option
@json_option
@lang_option
def sessions(config: Path, as_json: bool) -> None:
    """Who is signed in."""
    loaded = read_config(config)
    rows = [
        {"name": one.name, "since": _iso(one.since), "seen": _iso(one.seen), "address": one.address}
        for one in _accounts(loaded)[0].sessions()
    ]
    if as_json:
        print_json({"sessions": rows})
        return
    for row in rows:
        since, seen = wall(row["since"], loaded.zone), wall(row["seen"], loaded.zone)
        print(t("page_said.session", name=row["name"], address=row["address"], since=since, seen=seen))
    if not rows:
        print(t("page_said.no_session"))


@page.command("forget", help="help.page_forget")
@click.argument("name", required=False)
@config_option
@lang_option
def forget(name: str | None, config: Path) -> None:
    """Take NAME's password and sessions away; without one, sign everybody out."""
    loaded = read_config(config)
    accounts, _ = _accounts(loaded)
    if name is None:
        count = accounts.close_all()
        print(t("page_said.all_out", count=count))
        _tell(loaded, do="all_out", sessions=count)
        return
    if not accounts.forget(name):
        must_be_known(name, set(accounts.people()), "name")
    print(t("page_said.forgotten", name=name))
    _tell(loaded, do="forgotten", name=name)


def _tell(loaded: Loaded, **fields: Any) -> None:
    """On record, where a station runs that keeps it."""
    import getpass

    ask_station(loaded, "page", fields={**fields, "user": getpass.getuser()})


def _accounts(loaded: Loaded) -> tuple[Accounts, PageSettings]:
    from station.page.accounts import Accounts
    from station.page.settings import PageSettings

    settings = loaded.config.page or PageSettings()
    return Accounts(loaded.data_folder / "page", settings), settings


def where(settings: PageSettings, port: int | None = None) -> list[str]:
    """The addresses under which the page can be opened from elsewhere, the host's name first."""
    import socket

    from station.page.hosts import own_addresses

    port = settings.port if port is None else port
    suffix = "" if port == 80 else f":{port}"
    if settings.listen.startswith("127.") or settings.listen == "::1":
        return [f"http://localhost{suffix}/"]
    own = sorted(one for one in own_addresses() if ":" not in one and not one.startswith("127."))
    return [f"http://{name}{suffix}/" for name in (f"{socket.gethostname().partition('.')[0]}.local", *own)]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
