"""`station disk`: how long the disk will last, what may leave it, and a person's word that it does."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import ask_station, print_json, read_config
from station.i18n import t
from station.model import StoreError, WrongArgument
from station.texts import Command, Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.backup import Copy
    from station.capacity import Capacity
    from station.config import Loaded
    from station.store import Store

PATIENCE = 1800.0  # seconds that a running station may take to let readings leave


@click.group("disk", cls=Group, help="help.disk")
@lang_option
def disk() -> None:
    """Room, and what may leave."""


def room(loaded: Loaded, sizes: dict[str, Any]) -> Capacity | None:
    """What the sizes of the database and the room on its disk come to."""
    from station.capacity import capacity
    from station.host import Host

    return capacity(sizes, Host().room(loaded.data_folder), loaded.config.disk)


def seen(loaded: Loaded, sizes: dict[str, Any]) -> dict[str, Any] | None:
    """The same for status, with the wear of the medium."""
    from station.capacity import told
    from station.host import Host

    found = room(loaded, sizes)
    return None if found is None else told(found, Host(), loaded.data_folder)


def reader(loaded: Loaded) -> closing[Store]:
    """The database, for reading."""
    from station.store import Store, connect

    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    return closing(Store(connect(loaded.database, read_only=True), str(loaded.database)))


@disk.command("show", cls=Command, help="help.disk_show")
@config_option
@json_option
@lang_option
def show(config: Path, as_json: bool) -> None:
    """The room, days left, wear, and the months that may leave."""
    from station.capacity import covering, months
    from station.screen import disk_line
    from station.status import sizes

    loaded = read_config(config)
    ask_station(loaded, "commit")
    now = datetime.now(UTC)
    with reader(loaded) as store:
        found = seen(loaded, sizes(store))
        ends = months(store, now, loaded.zone)
        copied = [covering(store, store.reading_floor(end), end) is not None for end in ends]
    if as_json:
        rows = [{"before": f"{end:%Y-%m}", "copied": one} for end, one in zip(ends, copied, strict=True)]
        print_json({"disk": found, "may_leave": rows})
        return
    if found is not None:
        print(disk_line(found))
        if found["archive_bytes"]:
            mb = f"{found['archive_bytes'] / 1e6:.0f}"
            print(t("disk.archive", mb=mb, used=f"{found['used_bytes'] / 1e6:.0f}"))
    if not ends:
        print(t("disk.nothing"))
        return
    print(t("disk.may_leave", before=f"{ends[-1]:%Y-%m}", count=len(ends)))
    print(t("disk.copied" if copied[-1] else "disk.not_copied"))


@disk.command("release", cls=Command, help="help.disk_release")
@option("--before", key="disk_before", required=True)
@option("--user", key="user", required=True)
@option("--reason", key="reason", required=True)
@option("--without-copy", "without", key="disk_without", is_flag=True)
@config_option
@json_option
@lang_option
def release(before: str, user: str, reason: str, without: bool, config: Path, as_json: bool) -> None:
    """Raw readings of the months before BEFORE leave; a copy is read back first unless it is said otherwise."""
    from station.capacity import month_in

    loaded = read_config(config)
    if not user.strip() or not reason.strip():
        raise WrongArgument("what leaves is on record with a person and a reason: --user NAME --reason TEXT")
    end = month_in(before, loaded.zone)
    if not without:
        _read_back(loaded, end)
    body = _let_leave(loaded, end, user.strip(), reason.strip(), copied=not without)
    if as_json:
        print_json(body)
        return
    copy = body["copy"] or t("disk.no_copy")
    print(t("disk.released", rows=body["rows"], before=wall(body["before"], loaded.zone)[:7], copy=copy))


def _read_back(loaded: Loaded, end: datetime) -> None:
    """The copy that holds what is to leave, read whole and held against the database; raise where there is none."""
    from station.backup import check
    from station.capacity import compare, covering
    from station.store import connect, rows_of
    from station.tail import pieces

    ask_station(loaded, "commit")
    with reader(loaded) as store:
        last = store.reading_floor(end)
        record = covering(store, last, end)
        if record is None:
            raise WrongArgument(
                "no copy on record holds these readings: station backup to another disk first, or --without-copy"
            )
        copy = check(Path(str(record.body["path"])))
        if copy.sha256 != record.body["sha256"]:
            raise StoreError(f"{copy.path}: is not the copy that is on record; take another: station backup")
        for path, after, until in pieces(copy):
            with closing(connect(path, read_only=True)) as kept:
                compare(partial(rows_of, kept, str(path)), str(path), store.query, min(until, last), after)


def _let_leave(loaded: Loaded, end: datetime, user: str, reason: str, *, copied: bool) -> dict[str, Any]:
    """By the running station, else alone."""
    from station.capacity import release as let_leave
    from station.service import own_folder
    from station.store import Store

    told = {"before": end.isoformat(), "person": user, "reason": reason, "copied": copied}
    found = ask_station(loaded, "release", timeout=PATIENCE, **told)
    if found is not None:
        return dict(found)
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store:
        return let_leave(store, end, datetime.now(UTC), {"user": user, "reason": reason}, copied=copied)


def after_copy(loaded: Loaded, copy: Copy, now: datetime) -> dict[str, Any] | None:
    """The older half of the months that may leave, behind *copy* on another disk, where there is too little room."""
    from station.capacity import months
    from station.status import sizes

    with reader(loaded) as store:
        found = room(loaded, sizes(store))
        ends = months(store, now, loaded.zone)
    if found is None or not found.low or not ends:
        return None
    if copy.path.parent.stat().st_dev == loaded.data_folder.stat().st_dev:
        raise StoreError(f"{copy.path}: lies on the disk of the database; nothing leaves for a copy on the same disk")
    end = ends[(len(ends) - 1) // 2]
    _read_back(loaded, end)
    return _let_leave(loaded, end, "station backup", "[disk] release = copied", copied=True)
