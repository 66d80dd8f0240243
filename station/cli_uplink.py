"""Commands about platforms: what they lack, sending it again, trying the way to them, watching it, being taken on."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, moment_in, must_be_known, print_json, read_config, say
from station.i18n import t
from station.model import StationError, StoreError, WrongArgument, asdict
from station.records import PERIODIC, TOLD
from station.texts import Command, Group, config_option, json_option, lang_option, option, wall
from station.written import write_whole

if TYPE_CHECKING:
    from station.config import Loaded

LOOK_EVERY = 0.5  # seconds between two looks at a live link
KIND_WORDS = (*PERIODIC, *TOLD)


class NotRunningHere(StationError):
    """Error raised when only a running station could do what was asked."""

    exit_code = 69


class PlatformRefuses(StationError):
    """Error raised when the link is up and the platform says no to what it is sent."""

    exit_code = 69


@click.command("gaps", cls=Command, help="help.gaps")
@option("--platform", key="platform")
@option("--from", "start", key="from")
@option("--to", "end", key="to")
@config_option
@json_option
@lang_option
def gaps(platform: str | None, start: str | None, end: str | None, config: Path, as_json: bool) -> int:
    """What each platform was due and does not have, and why; 0 when nothing is missing, else 1."""
    loaded = read_config(config)
    since, until = _range(loaded, start, end)
    found = [_ledger(loaded, name, since, until) for name in _platforms(loaded, platform)]
    if as_json:
        print_json({"from": since.isoformat(), "to": until.isoformat(), "platforms": found})
    else:
        _show_gaps(found, since, until, loaded)
    return 1 if any(one["gaps"] for one in found) else 0


def _range(loaded: Loaded, start: str | None, end: str | None) -> tuple[datetime, datetime]:
    """From the first of this month to now, unless said otherwise."""
    now = datetime.now(UTC)
    month = now.astimezone(loaded.zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since, until = moment_in(start, loaded.zone) or month, moment_in(end, loaded.zone) or now
    if since >= until:
        raise WrongArgument(f"{since.isoformat()} is not before {until.isoformat()}")
    return since, until


def _platforms(loaded: Loaded, wanted: str | None) -> list[str]:
    names = [uplink.name for uplink in loaded.config.uplink]
    if wanted is None:
        return names
    must_be_known(wanted, set(names), "platform")
    return [wanted]


def _ledger(loaded: Loaded, name: str, since: datetime, until: datetime) -> dict[str, Any]:
    """The rows and gaps of one platform: from the running station, else from its database."""
    asked = {"platform": name, "from": since.isoformat(), "to": until.isoformat()}
    found = ask_station(loaded, "gaps", **asked)
    if found is None:
        found = _stored_ledger(loaded, name, since, until)
    return {"platform": name, **found}


def _stored_ledger(loaded: Loaded, name: str, since: datetime, until: datetime) -> dict[str, Any]:
    from station import ledger
    from station.store import Store, connect

    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        asked = (store, name, since, until, datetime.now(UTC), loaded.zone)
        return {
            "gaps": [{**asdict(gap), "kind": gap.kind.name.lower()} for gap in ledger.gaps(*asked)],
            "rows": [{**asdict(row), "kind": row.kind.name.lower()} for row in ledger.completeness(*asked)],
        }


def _show_gaps(found: Sequence[Mapping[str, Any]], since: datetime, until: datetime, loaded: Loaded) -> None:
    from rich.table import Table

    from station.screen import BAD, DIM, GOOD, console

    out = console()
    words = [wall(at, loaded.zone) for at in (since, until)]
    out.print(t("gaps.title", start=words[0], end=words[1]), style="bold")
    for one in found:
        table = Table(title=one["platform"], title_justify="left", title_style="bold", box=None, pad_edge=False)
        for title in (t("gaps.point"), t("gaps.kind")):
            table.add_column(title, header_style=DIM)
        for title in (
            t("gaps.expected"),
            t("gaps.answered"),
            t("gaps.unconfirmed"),
            t("gaps.owed"),
            t("gaps.given_up"),
            t("gaps.capture"),
            t("gaps.validity"),
        ):
            table.add_column(title, justify="right", header_style=DIM)
        for row in one["rows"]:
            table.add_row(row["point"], t(f"kind.{row['kind']}"), *_counts(row))
        out.print(table)
        for gap in one["gaps"]:
            first, last = (wall(gap[key], loaded.zone) for key in ("first", "last"))
            reason = t(f"gap.{gap['reason']}") + (f" ({gap['detail']})" if gap["detail"] else "")
            kind = t(f"kind.{gap['kind']}")
            text = t("gaps.gap", point=gap["point"], kind=kind, first=first, last=last, count=gap["periods"])
            out.print(f"  {text}  {reason}", style=BAD)
        if not one["gaps"]:
            out.print(f"  {t('gaps.none')}", style=GOOD)


def _counts(row: Mapping[str, Any]) -> list[str]:
    given_up = row["refused"] + row["parked"] + row["dropped"]
    capture = f"{row['answered'] / row['expected']:.1%}" if row["expected"] else t("status.unknown")
    validity = f"{row['normal'] / row['averages']:.1%}" if row["averages"] else t("status.unknown")
    counts = (row["expected"], row["answered"], row["unconfirmed"], row["owed"], given_up)
    return [*map(str, counts), capture, validity]


@click.command("resend", cls=Command, help="help.resend")
@option("--platform", key="platform", required=True)
@option("--from", "start", key="from", required=True)
@option("--to", "end", key="to", required=True)
@option("--kind", "kinds", key="resend_kind", multiple=True, type=click.Choice(KIND_WORDS))
@config_option
@lang_option
def resend(platform: str, start: str, end: str, kinds: tuple[str, ...], config: Path) -> None:
    """Queue what was sent to a platform once more; the running station does it."""
    loaded = read_config(config)
    _platforms(loaded, platform)
    since, until = _range(loaded, start, end)
    asked = {"platform": platform, "from": since.isoformat(), "to": until.isoformat(), "kinds": list(kinds)}
    done = ask_station(loaded, "resend", **asked)
    if done is None:
        raise NotRunningHere("no station is running; start it first, it does the sending")
    print(t("resend.queued", count=done["queued"], platform=platform))


@click.group("uplink", cls=Group, help="help.uplink")
@lang_option
def uplink() -> None:
    """The way to a platform."""


@uplink.command("test", help="help.uplink_test")
@click.argument("name")
@config_option
@json_option
@lang_option
def test(name: str, config: Path, as_json: bool) -> None:
    """Connect, one exchange, the difference of the clocks; beside a running station its own link is reported."""
    loaded = read_config(config)
    _platforms(loaded, name)
    live = ask_station(loaded, "status")
    if live is not None:
        found = next(p for p in live["platforms"] if p["name"] == name)
        if as_json:
            print_json(found)
        elif found["connected"]:
            since = wall(found["connected_since"], loaded.zone)
            print(t("uplink.live", name=name, since=since, answered=found["answered"], owed=found["owed"]))
            print(t("uplink.not_tried"))
        if not found["connected"]:
            raise NotRunningHere(f"{name}: the running station is not connected: {found['error'] or 'no reason yet'}")
        if found["error"]:
            again = f"; tried again at {found['next_try']}" if found["next_try"] else ""
            raise PlatformRefuses(f"{name}: connected, and the platform refuses records: {found['error']}{again}")
        return
    found = asdict(_probed(loaded, name))
    if as_json:
        print_json({"name": name, **found})
        return
    print(t("uplink.answered", name=name, connect=found["connect_seconds"], answer=found["answer_seconds"]))
    clock = found["clock_seconds"]
    print(t("uplink.clock", seconds=f"{clock:+.1f}") if clock is not None else t("uplink.no_clock"))


def _probed(loaded: Loaded, name: str) -> Any:
    """What came of one exchange with platform *name*: connect_seconds, answer_seconds, clock_seconds."""
    settings: Any = next(u for u in loaded.config.uplink if u.name == name)
    if not hasattr(settings, "standard"):
        return _made(loaded, settings).probe()
    from uplink.hj212.probe import probe

    point = settings.point[0]
    return probe(
        settings.host,
        settings.port,
        password=loaded.secret(settings.password_file),
        st=point.st or loaded.systems[point.point],
        mn=point.mn,
        standard=settings.standard,
        zone=loaded.zone,
    )


def _made(loaded: Loaded, settings: Any) -> Any:
    """The uplink of *settings* outside a station."""
    from station.config import resolve
    from station.parameters import catalogue
    from uplink import UPLINKS
    from uplink.base import Context

    now = datetime.now(UTC)
    context = Context(
        catalogue=catalogue(), zone=loaded.zone, now=lambda: datetime.now(UTC), monotonic=time.monotonic,
        secret=loaded.secret, started=now, where=loaded.file,
    )  # fmt: skip
    return resolve(UPLINKS[settings.protocol])(settings, context, loaded.systems)


@uplink.command("trace", help="help.uplink_trace")
@click.argument("name")
@option("--for", "seconds", key="trace_for", type=click.FloatRange(min=0), default=0.0)
@config_option
@lang_option
def trace(name: str, seconds: float, config: Path) -> None:
    """The frames of the running station's link as they pass, secrets masked."""
    loaded = read_config(config)
    _platforms(loaded, name)
    end, after = time.monotonic() + seconds, 0
    while True:
        seen = ask_station(loaded, "trace", platform=name, after=after)
        if seen is None:
            raise NotRunningHere("no station is running; there is no link to watch")
        for one in seen:
            after = one["number"]
            say(f"{'→' if one['way'] == 'out' else '←'} {one['text']}")
        if seconds and time.monotonic() >= end:
            return
        time.sleep(LOOK_EVERY)


@click.command("provision", cls=Command, help="help.provision")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@option("--host", key="platform_host")
@option("--port", key="platform_port", type=click.IntRange(1, 65535))
@option("--password-file", key="password_file", type=click.Path(path_type=Path))
@json_option
@lang_option
def provision(file: Path | None, host: str | None, port: int | None, password_file: Path | None, as_json: bool) -> None:
    """Show the hardware numbers; with an address send them (1001), keep the MN assigned (1002) in *file*."""
    from uplink.hj212.provision import hardware
    from uplink.hj212.provision import provision as take

    numbers = hardware()
    mn = None
    if host or port or password_file:
        if not (host and port and password_file):
            raise WrongArgument("--host, --port and --password-file go together")
        mn = take(host, port, numbers, password=_password(password_file))
        if file is not None:
            _write_mn(file, mn)
    if as_json:
        print_json({"numbers": numbers, "mn": mn})
        return
    for key, number in numbers.items():
        print(f"{key:8}{number}")
    if not numbers:
        print(t("provision.no_numbers"), file=sys.stderr)
    if mn is not None:
        print(t("provision.assigned", mn=mn))


def _password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: the password cannot be read ({error})") from error


def _write_mn(path: Path, mn: str) -> None:
    """Keep the MN in a file of its own, for the [[uplink.point]] that takes it over."""
    try:
        write_whole(path, f"{mn}\n")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
