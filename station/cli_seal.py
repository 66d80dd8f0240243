"""`station verify` and `station seal`: whether the record was changed, and what shows it later."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from station.clock import to_ms
from station.command_line import EX_FAULTS, ask_station, print_json, read_config
from station.control import EX_UNAVAILABLE, ControlRefused
from station.i18n import t
from station.model import StationError, StoreError, StoreVersionError, WrongArgument
from station.texts import Command, Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from station.config import Loaded
    from station.seal import Key, Origin, Query, Verdict


@click.command("verify", cls=Command, help="help.verify")
@option("--head", key="verify_head")
@option("--key-file", key="verify_key", type=click.Path(path_type=Path))
@option("--database", key="verify_database", type=click.Path(path_type=Path))
@config_option
@json_option
@lang_option
def verify(head: str | None, key_file: Path | None, database: Path | None, config: Path, as_json: bool) -> int:
    """Every block of the chain; 0 when nothing speaks against the record, else 1."""
    from station.seal import head_in
    from station.seal import verify as walk
    from station.store import connect, rows_of

    loaded = read_config(config)
    try:
        wanted = None if head is None else head_in(head)
    except ValueError as error:
        raise WrongArgument(f'"{head}" is no head: {error}') from error
    key = None if key_file is None else _key_in(key_file)
    path = database or loaded.database
    if not path.exists():
        raise StoreError(f"{path}: is not there")
    keep = loaded.config.retention
    kept = min(keep.readings_days, keep.averages_days, keep.messages_days, keep.events_days, keep.records_days)
    since = to_ms(datetime.now(UTC) - timedelta(days=kept))
    with closing(connect(path, read_only=True)) as db:  # also a copy, which has no log and is no store to write to
        query = partial(rows_of, db, str(path))
        query("BEGIN")  # one state of it, however often the station commits meanwhile
        _known_schema(query, path)
        origin, last, left = _begins(query)
        if key is not None and last is not None and key.epoch > last:
            key = None  # it seals what came behind this file
        kept_from = max(since, left)
        found = walk(query, head=wanted, key=key, kept_from_ms=kept_from, origin=origin)
        bad_months = [] if database else _bad_months(loaded, query)
        bad_stills = [] if database else _bad_stills(loaded, query)
    if as_json:
        whole = found.sound and not bad_months and not bad_stills
        print_json(_plain(found) | {"ok": whole, "bad_months": bad_months, "bad_stills": bad_stills})
    else:
        bad = [t("seal.bad_month", path=one) for one in bad_months]
        bad += [t(f"seal.still_{one['state']}", number=one["number"], path=one["path"]) for one in bad_stills]
        print("\n".join([*_lines(found, loaded), *bad]))
    return 0 if found.sound and not bad_months and not bad_stills else EX_FAULTS


def _begins(query: Query) -> tuple[Origin, int | None, int]:
    """Where the blocks of a file begin, the last one where it is a month's, and what may have left before (ms)."""
    from station.months import piece_of
    from station.tail import rests_on

    if (piece := piece_of(query)) is not None:
        return piece.before, piece.after.epoch, piece.kept_from_ms
    _, origin, left = rests_on(query)
    return origin, None, left


def _bad_months(loaded: Loaded, query: Query) -> list[str]:
    """The files of closed months that are not as they are on record."""
    from station.months import FOLDER, is_whole, recorded

    folder = loaded.data_folder / FOLDER
    paths = [(folder / month.file, month) for month in recorded(query)]
    return [str(path) for path, month in paths if not is_whole(path, month, read=True)]


def _bad_stills(loaded: Loaded, query: Query) -> list[dict[str, Any]]:
    """Stills of cameras whose file is gone or not as it is on record."""
    if not query("SELECT 1 FROM record WHERE kind = 'snapshot' LIMIT 1", ()):
        return []
    from station.snapshots import FOLDER, faulty, in_rows

    folder, stills = loaded.data_folder / FOLDER, in_rows(query)
    return [
        {"number": one.id, "path": str(folder / str(one.body["file"])), "state": why}
        for one, why in faulty(folder, stills)
    ]


def _known_schema(query: Query, path: Path) -> None:
    from station.store import SCHEMA_VERSION

    version = int(query("PRAGMA user_version", ())[0][0])
    if version != SCHEMA_VERSION:
        raise StoreVersionError(f"{path}: has schema {version}, this version verifies {SCHEMA_VERSION}")


def _plain(found: Verdict) -> dict[str, Any]:
    from station.model import asdict

    return asdict(found) | {"head": found.head.hex(), "ok": found.sound}


def _lines(found: Verdict, loaded: Loaded) -> list[str]:
    """The verdict in words, the worst first, then what it does not show."""
    from station.seal import short

    def at(milliseconds: int | None) -> str:
        return "-" if milliseconds is None else wall(datetime.fromtimestamp(milliseconds / 1000, UTC), loaded.zone)

    lines = []
    if found.bad is None:
        lines.append(t("seal.sound", blocks=found.blocks, rows=found.rows, head=short(found.head)))
    else:
        span = {"after": at(found.bad_from_ms), "before": at(found.bad_to_ms)}
        lines.append(t(f"seal_bad.{found.why}", block=found.bad, **span))
    if found.gone:
        lines.append(t("seal.gone", blocks=found.gone))
    if found.unsealed:
        lines.append(t("seal.unsealed", rows=found.unsealed))
    if found.keyed_from is None:
        lines.append(t("seal.without_key"))
    else:
        lines.append(t("seal.keyed", blocks=found.keyed, first=found.keyed_from))
    lines.append(t("seal.without_head") if found.anchored is None else t("seal.anchored", block=found.anchored))
    return lines


def _key_in(path: Path) -> Key:
    from station.seal import Key

    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["epoch"] is None:
            raise WrongArgument(f'{path}: has no "epoch" (the first block it seals); the event "seal_key" names it')
        found = Key(int(body["epoch"]), bytes.fromhex(body["key"]))
    except OSError as error:
        raise WrongArgument(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WrongArgument(f"{path}: is no key file of station seal key") from error
    return found


@click.group("seal", cls=Group, help="help.seal")
@lang_option
def seal() -> None:
    """The head to note elsewhere, and the key that leaves the station once."""


@seal.command("head", help="help.seal_head")
@config_option
@json_option
@lang_option
def head(config: Path, as_json: bool) -> None:
    """The newest head."""
    from station.seal import short
    from station.sealing import shown
    from station.store import Store, connect

    loaded = read_config(config)
    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        found = shown(store)
    if as_json:
        print_json(found)
        return
    if found is None:
        print(t("seal.none"))
        return
    when = wall(datetime.fromtimestamp(found["at_ms"] / 1000, UTC), loaded.zone)
    print(t("seal.head", head=short(bytes.fromhex(found["head"])), block=found["epoch"], at=when))


@seal.command("key", help="help.seal_key")
@option("--out", "file", key="seal_out", type=click.Path(path_type=Path), required=True)
@option("--user", key="user", required=True)
@config_option
@lang_option
def key(file: Path, user: str, config: Path) -> None:
    """A key for the tags; FILE is the only place outside that ever has it."""
    loaded = read_config(config)
    if not user.strip():
        raise WrongArgument("who takes the key along? give --user NAME")
    made = secrets.token_bytes(32)
    with os.fdopen(_only_copy(file), "r+", encoding="utf-8") as out:
        _put(out, loaded.config.station.name, None, made)  # it is outside before the station seals with it
        try:
            epoch = _given(loaded, made, user.strip())
        except StationError as error:
            if isinstance(error, ControlRefused) and error.exit_code == EX_UNAVAILABLE:  # it may have taken the key
                click.echo(t("seal.key_kept", path=file), err=True)
            else:
                file.unlink(missing_ok=True)
            raise
        _put(out, loaded.config.station.name, epoch, made)
    print(t("seal.key", path=file, block=epoch))
    print(t("seal.key_goes"))


def _put(out: IO[str], station: str, epoch: int | None, made: bytes) -> None:
    out.seek(0)
    json.dump({"station": station, "epoch": epoch, "key": made.hex()}, out, ensure_ascii=False)
    out.truncate()
    out.flush()
    os.fsync(out.fileno())


def _only_copy(file: Path) -> int:
    """A new file for the owner alone."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise WrongArgument(f"{file}: is there already; name another file") from error
    except OSError as error:
        raise StoreError(f"{file}: cannot be written ({error.strerror})") from error


def _given(loaded: Loaded, made: bytes, user: str) -> int:
    """Have the station seal with the key, or do it in its database while none runs; the first epoch."""
    found = ask_station(loaded, "seal_key", key=made.hex(), person=user)
    if found is not None:
        return int(found["epoch"])
    from station.sealing import give_key
    from station.service import own_folder
    from station.store import Event, Store, check_folder

    check_folder(loaded.data_folder)
    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store, store.transaction():
        epoch = give_key(store, made)
        store.add_events([Event(datetime.now(UTC), "seal_key", {"epoch": epoch, "user": user})])
    return epoch
