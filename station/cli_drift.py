"""`station drift`: what calibrations say of the drift between them, and the readings without it, beside the record."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from station.command_line import ask_station, moment_in, parameter_key, print_json, read_config
from station.i18n import t
from station.model import StoreError, WrongArgument
from station.texts import Command, config_option, json_option, lang_option, option

if TYPE_CHECKING:
    from station.config import Loaded
    from station.store import Store


@click.command("drift", cls=Command, help="help.drift")
@click.argument("device")
@click.argument("parameter")
@option("--from", "start", key="from")
@option("--to", "end", key="to")
@option("--model", key="drift_model", type=click.Choice(["auto", "offset", "gain"]), default="auto")
@option("--format", "form", key="drift_format", type=click.Choice(["csv", "json"]))
@option("--output", key="output", type=click.Path(path_type=Path), default="-")
@config_option
@json_option
@lang_option
def drift(
    device: str, parameter: str, start: str | None, end: str | None, model: str, form: str | None, output: Path,
    config: Path, as_json: bool,
) -> None:  # fmt: skip
    """The spans between calibrations, or with --format every reading of them."""
    from station.drifting import COLUMNS, known_series, plain_span, rows, sentences, spans_of, touching
    from station.export import write_csv, write_json

    loaded, parameter = read_config(config), parameter_key(parameter)
    since, until = moment_in(start, loaded.zone), moment_in(end, loaded.zone)
    if since is not None and until is not None and since >= until:
        raise WrongArgument(f"{since.isoformat()} is not before {until.isoformat()}")
    with closing(_store(loaded)) as store:
        known_series(store, device, parameter)
        if form is not None:
            found = rows(store, device, parameter, loaded.zone, start=since, end=until, model=model)

            def write(file: TextIO) -> int:
                return write_csv(found, file, COLUMNS, loaded.zone) if form == "csv" else write_json(found, file)

            _write(output, write)
            return
        spans = touching(spans_of(store, device, parameter, model=model), since, until)
    plain = [plain_span(one, loaded.zone) for one in spans]
    if as_json:
        print_json({"device": device, "parameter": parameter, "spans": plain})
        return
    for one in plain:
        print("\n".join(sentences(one)))
    print(t("drift.beside"))


def every_series(
    loaded: Loaded, start: datetime | None, end: datetime | None, point: str | None, parameter: str | None
) -> Iterator[dict[str, Any]]:
    """The rows of every series on record, for `station export drift`."""
    from station.drifting import rows, series_of

    with closing(_store(loaded)) as store:
        for device, key in series_of(store):
            if parameter in (None, key):
                yield from rows(store, device, key, loaded.zone, start=start, end=end, point=point)


def _store(loaded: Loaded) -> Store:
    from station.store import Store, connect

    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    ask_station(loaded, "commit")
    return Store(connect(loaded.database, read_only=True), str(loaded.database))


def _write(output: Path, write: Any) -> None:
    if str(output) == "-":
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        write(sys.stdout)
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as file:
            count = write(file)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{output}: cannot be written ({error.strerror})") from error
    print(t("export.done", rows=count, path=output))
