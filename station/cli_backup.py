"""`station backup` and `station restore`: a copy that was read back, and the way back from it."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from station.command_line import ask_station, print_json, read_config, read_running
from station.i18n import t
from station.model import StationError, StoreError, WrongArgument
from station.texts import Command, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.backup import Copy
    from station.config import Loaded
    from station.months import Month

FOLDER = "archive"  # station/months.py: the files of closed months, beside the database and beside the copies


@click.command("backup", cls=Command, help="help.backup")
@option("--to", "folder", key="backup_to", type=click.Path(path_type=Path))
@option("--keep", key="backup_keep", type=click.IntRange(1, 1000))
@option("--whole", key="backup_whole", is_flag=True)
@config_option
@json_option
@lang_option
def backup(folder: Path | None, keep: int | None, whole: bool, config: Path, as_json: bool) -> None:
    """Months that are over become files of their own; a copy of all that is committed, read back."""
    from station.backup import take

    loaded = read_running(config)
    settings = loaded.config.backup
    if folder is None and not settings.folder:
        raise WrongArgument("where to? name a folder with --to, or [backup] folder in station.toml")
    target = (folder or loaded.folder / settings.folder).resolve()
    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    if not target.is_dir():
        raise StoreError(f"{target}: is not a folder; make it, or plug in the disk it is on")
    ask_station(loaded, "commit")
    now = datetime.now(UTC)
    kept_from_ms = _kept_from(loaded, now)
    months, new = _months(loaded, target, now, kept_from_ms)
    copy, removed = take(
        loaded.database, target, now, keep=keep or settings.keep, held=_held(loaded),
        months=() if whole else months, kept_from_ms=kept_from_ms,
    )  # fmt: skip
    body = _plain(copy) | {"seconds": round((datetime.now(UTC) - now).total_seconds(), 1), **_told(new, copy)}
    _kept(loaded, now, body | {"removed": [one.name for one in removed], "last_ids": copy.last_ids})
    left = _let_leave(loaded, copy, now)
    if as_json:
        print_json(body | {"removed": [str(one) for one in removed]} | ({"released": left} if left else {}))
        return
    for month in new:
        path = target / FOLDER / month.file
        print(t("backup.month", month=month.piece.month, path=path, size=_megabytes(month.size)))
    print(t("backup.done", path=copy.path, size=_size(copy), newest=_newest(copy, loaded)))
    if copy.months:
        print(t("backup.rests", count=len(copy.months), last=copy.months[-1].piece.month, folder=target / FOLDER))
    for one in removed:
        print(t("backup.removed", path=one))
    if target.stat().st_dev == loaded.data_folder.stat().st_dev:
        print(t("backup.same_disk"))
    if left:
        print(t("disk.released", rows=left["rows"], before=wall(left["before"], loaded.zone)[:7], copy=copy.path))


@click.command("restore", cls=Command, help="help.restore")
@click.argument("file", type=click.Path(path_type=Path))
@option("--check", "only_check", key="restore_check", is_flag=True)
@option("--user", key="user", default="")
@option("--reason", key="reason", default="")
@config_option
@json_option
@lang_option
def restore(file: Path, only_check: bool, user: str, reason: str, config: Path, as_json: bool) -> None:
    """The copy FILE takes the place of the database; the former one is kept beside it."""
    from station.backup import check

    loaded = read_config(config)
    copy = check(file, loaded.data_folder / FOLDER)
    if only_check:
        if as_json:
            print_json(_plain(copy))
        else:
            print(t("backup.sound", path=file, size=_size(copy), newest=_newest(copy, loaded)))
        return
    if not user.strip() or not reason.strip():
        raise WrongArgument("a restore is on record with a person and a reason: give --user NAME and --reason TEXT")
    former = _restored(loaded, copy, user.strip(), reason.strip())
    if as_json:
        print_json(_plain(copy) | {"former": None if former is None else str(former)})
        return
    print(t("backup.restored", path=loaded.database, copy=file, newest=_newest(copy, loaded)))
    if former is not None:
        print(t("backup.former", path=former))


def _kept_from(loaded: Loaded, now: datetime) -> int:
    """When [retention] begins, in ms."""
    from station.clock import to_ms

    keep = loaded.config.retention
    days = min(keep.readings_days, keep.averages_days, keep.messages_days, keep.events_days, keep.records_days)
    return to_ms(now - timedelta(days=days))


def _months(loaded: Loaded, target: Path, now: datetime, kept_from_ms: int) -> tuple[list[Month], list[Month]]:
    """The closed months whose files lie in *target* too, and which of them were closed just now.

    Where that cannot be had the night's copy is a whole one: said, and tried again with the next.
    """
    from station.months import brought, close

    new: list[Month] = []
    try:
        months, new = close(loaded.database, now, loaded.zone, partial(_closed, loaded, now), kept_from_ms)
        brought(loaded.data_folder / FOLDER, target / FOLDER, months)
    except StationError as error:
        click.echo(t("backup.no_months", text=error), err=True)
        return [], new
    return months, new


def _closed(loaded: Loaded, now: datetime, body: Mapping[str, Any]) -> None:
    """Have a closed month on record, or raise."""
    _on_record(loaded, "month", now, body)


def _told(new: Sequence[Month], copy: Copy) -> dict[str, Any]:
    closed = {"closed": [one.piece.month for one in new]} if new else {}
    return closed | ({"since": copy.months[-1].piece.month, "months": len(copy.months)} if copy.months else {})


def _held(loaded: Loaded) -> set[str]:
    """Names of the copies that hold what has left the database."""
    from station.capacity import held
    from station.store import Store, connect

    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        return held(store)


def _let_leave(loaded: Loaded, copy: Copy, now: datetime) -> dict[str, Any] | None:
    """What the copy just taken allows to leave, where [disk] wants that and there is too little room."""
    if loaded.config.disk.release != "copied":
        return None
    from station.cli_disk import after_copy

    try:
        return after_copy(loaded, copy, now)
    except StationError as error:  # the copy is one all the same
        click.echo(t("disk.not_released", text=error), err=True)
        return None


def _restored(loaded: Loaded, copy: Copy, user: str, reason: str) -> Path | None:
    """Do it and put it on record in the database that holds from now on."""
    from station.backup import restore as put_in_place
    from station.store import Event, Store

    now = datetime.now(UTC)
    with _owned(loaded):
        former = put_in_place(copy, loaded.database, now)
        said = {"copy": copy.path.name, "sha256": copy.sha256, "newest": copy.newest, "user": user, "reason": reason}
        with closing(Store.open(loaded.database)) as store, store.transaction():
            store.add_events([Event(now, "restored", said | {"former": former and former.name, "login": _login()})])
    return former


def _owned(loaded: Loaded) -> IO[str]:
    """The data folder, which no station runs on meanwhile."""
    from station.model import AlreadyRunning
    from station.service import own_folder
    from station.store import check_folder

    check_folder(loaded.data_folder)
    try:
        return own_folder(loaded.data_folder)
    except AlreadyRunning as error:
        where = loaded.data_folder
        raise AlreadyRunning(f"{where}: a station runs on it; stop it first: systemctl stop station") from error


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return ""


def _kept(loaded: Loaded, now: datetime, body: Mapping[str, Any]) -> None:
    """Have it on record: by the running station, else alone; a copy is one even where the record fails."""
    from station.backup import KIND

    try:
        _on_record(loaded, KIND, now, body)
    except StationError as error:
        click.echo(t("backup.not_on_record", text=error), err=True)


def _on_record(loaded: Loaded, kind: str, now: datetime, body: Mapping[str, Any]) -> None:
    from station.model import Record
    from station.service import own_folder
    from station.store import Store

    verb = {"backup": "backup_taken", "month": "month_closed"}[kind]
    if ask_station(loaded, verb, at=now.isoformat(), body=body) is None:
        with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store, store.transaction():
            store.add_records([Record(kind, now, body)])


def _plain(copy: Copy) -> dict[str, Any]:
    newest = copy.newest.isoformat() if copy.newest else None
    return {"path": str(copy.path), "bytes": copy.size, "sha256": copy.sha256, "newest": newest}


def _size(copy: Copy) -> str:
    return _megabytes(copy.size)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _newest(copy: Copy, loaded: Loaded) -> str:
    return wall(copy.newest, loaded.zone) if copy.newest else t("backup.nothing_read")


@click.command("salvage", cls=Command, help="help.salvage")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@json_option
@lang_option
def salvage(file: Path, config: Path, as_json: bool) -> None:
    """What a damaged database FILE still holds and the station's lacks."""
    from station.salvage import parted, plain
    from station.salvage import salvage as bring
    from station.store import Event, Store

    loaded = read_config(config)
    if not file.is_file():
        raise StoreError(f"{file}: is not there")
    if file.resolve() == loaded.database.resolve():
        raise WrongArgument(f"{file} is the station's own database; a start puts it aside when it is damaged")
    now = datetime.now(UTC)
    with _owned(loaded), closing(Store.open(loaded.database)) as store:
        if parted(file, loaded.database):
            raise StoreError(
                f"{file}: has other rows under the numbers of {loaded.database}, which went on from an older copy; "
                "nothing was brought over, keep the file"
            )
        found = bring(file, store, now)
        with store.transaction():
            store.add_events([Event(now, "salvaged", {"file": file.name, "login": _login(), **plain(found)})])
    if as_json:
        print_json(plain(found))
        return
    from station.screen import show_rows

    tables = sorted({*found.rows, *found.lost, *found.there})
    headings = {
        "table": t("backup.table"),
        "rows": t("backup.rows"),
        "there": t("backup.there"),
        "lost": t("backup.lost"),
    }
    counts = [
        {"table": one, **{k: str(getattr(found, k).get(one, 0)) for k in ("rows", "there", "lost")}} for one in tables
    ]
    show_rows(list(headings.items()), counts)
