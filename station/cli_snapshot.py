"""`station snapshot`: stills of cameras as they are on record, one taken for a person, their files held against it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import EX_FAULTS, ask_station, print_json, read_config
from station.control import NotRunning
from station.i18n import t
from station.model import StoreError
from station.texts import Command, Group, config_option, json_option, lang_option, option, wall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from station.config import Loaded
    from station.snapshots import Kept
    from station.store import Store


@click.group("snapshot", cls=Group, help="help.snapshot")
@lang_option
def snapshot() -> None:
    """Stills of cameras."""


def _reader(loaded: Loaded) -> closing[Store]:
    from station.store import Store, connect

    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    return closing(Store(connect(loaded.database, read_only=True), str(loaded.database)))


@snapshot.command("list", cls=Command, help="help.snapshot_list")
@option("--last", key="snapshot_last", type=click.IntRange(1, 10000), default=20, show_default=True)
@config_option
@json_option
@lang_option
def show(last: int, config: Path, as_json: bool) -> None:
    """The newest stills, and the alarms since the oldest of these that have none."""
    from station import snapshots

    loaded = read_config(config)
    ask_station(loaded, "commit")
    with _reader(loaded) as store:
        found = snapshots.kept(store)[-last:]
        since = found[0].at if found else snapshots.BEGINNING
        missed = snapshots.missed(store, since, snapshots.END)[-last:]
    if as_json:
        stills = [snapshots.shown(one) for one in found]
        print_json({"stills": stills, "missed": [{"at": one.at.isoformat(), **one.body} for one in missed]})
        return
    if not found and not missed:
        print(t("snapshot.none"))
        return
    if found:
        _table(found, loaded)
    for one in missed:
        said = {key: one.body[key] for key in ("camera", "alarm", "reason")}
        print(t("snapshot.lost", time=wall(one.at, loaded.zone), **said))


def _table(found: Sequence[Kept], loaded: Loaded) -> None:
    from rich.table import Table

    from station.screen import DIM, console

    made = Table(box=None, pad_edge=False, header_style=DIM)
    for key in ("number", "taken", "camera", "for", "size", "hash"):
        made.add_column(t(f"snapshot.{key}"))
    for one in found:
        body = one.body
        size = f"{body['width']} × {body['height']}, {one.size / 1000:.0f} kB"
        made.add_row(str(one.id), wall(one.at, loaded.zone), body["camera"], body["alarm"] or body["by"], size,
                     body["sha256"][:16])  # fmt: skip
    console().print(made)


@snapshot.command("take", cls=Command, help="help.snapshot_take")
@option("--by", key="snapshot_by", required=True)
@option("--camera", key="snapshot_camera", default="")
@option("--note", key="snapshot_note", default="")
@config_option
@json_option
@lang_option
def take(by: str, camera: str, note: str, config: Path, as_json: bool) -> None:
    """A still now, by the running station."""
    loaded = read_config(config)
    longest = max((one.timeout_seconds for one in loaded.config.camera), default=20.0)
    body: dict[str, Any] | None = ask_station(
        loaded, "snapshot", timeout=2 * longest + 20, by=by, camera=camera, note=note
    )
    if body is None:
        raise NotRunning("no station is running; it alone takes stills: station run --config")
    if as_json:
        print_json(body)
        return
    said = {key: body[key] for key in ("camera", "file", "width", "height")}
    print(t("snapshot.made", size=f"{body['bytes'] / 1000:.0f} kB", **said))


@snapshot.command("verify", cls=Command, help="help.snapshot_verify")
@config_option
@json_option
@lang_option
def verify(config: Path, as_json: bool) -> int:
    """Every still on record; 0 where each file is as it was taken, else 1."""
    from station import snapshots

    loaded = read_config(config)
    ask_station(loaded, "commit")
    folder = loaded.data_folder / snapshots.FOLDER
    with _reader(loaded) as store:
        taken, left = snapshots.read(snapshots.everything(store))
    stills = [one for one in taken if one.id not in left]
    bad = list(snapshots.faulty(folder, stills))
    unknown = snapshots.strangers(folder, taken)
    if as_json:
        rows = [snapshots.shown(one, why) for one, why in bad]
        print_json({"ok": not bad, "stills": len(stills), "bad": rows, "unknown_files": unknown})
        return EX_FAULTS if bad else 0
    for one, why in bad:
        print(t(f"seal.still_{why}", number=one.id, path=folder / str(one.body["file"])))
    for name in unknown:
        print(t("snapshot.stranger", file=name))
    print(t("snapshot.bad", count=len(bad), total=len(stills)) if bad else t("snapshot.whole", count=len(stills)))
    return EX_FAULTS if bad else 0
