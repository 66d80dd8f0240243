"""`station events`: what happened, in words."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from station.command_line import ask_station, moment_in, must_be_known, print_json, read_config
from station.i18n import language, t
from station.model import StoreError, WrongArgument
from station.texts import Command, config_option, json_option, lang_option, option, wall

DAYS = 7  # without --from
MOST = 1000


@click.command("events", cls=Command, help="help.events")
@option("--from", "start", key="from")
@option("--to", "end", key="to")
@option("--code", key="events_code")
@option("--most", key="events_most", type=click.IntRange(1, 1_000_000), default=MOST, show_default=True)
@config_option
@json_option
@lang_option
def events(start: str | None, end: str | None, code: str | None, most: int, config: Path, as_json: bool) -> None:
    """Of the last seven days unless it is said otherwise; with a code, of all times."""
    from station.events import codes, lines, plain, told
    from station.store import Store, connect

    loaded = read_config(config)
    first, last = moment_in(start, loaded.zone), moment_in(end, loaded.zone)
    if first and last and first >= last:
        raise WrongArgument(f"{first.isoformat()} is not before {last.isoformat()}")
    if first is None and code is None:
        first = (last or datetime.now(UTC)) - timedelta(days=DAYS)
    if not loaded.database.exists():
        raise StoreError(f"{loaded.database}: is not there yet; start the station first: station run --config")
    ask_station(loaded, "commit")
    with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
        found = told(store, first, last, code, most)
    if code is not None and not found:
        must_be_known(code, set(codes()), "code of events")
    if as_json:
        print_json({"events": [plain(one, loaded.zone) for one in found]})
        return
    for one, title, about in lines(found, language(), loaded.zone):
        print(t("events.line", time=wall(one.at, loaded.zone), code=one.code, title=title, about=about).rstrip())
    if not found:
        print(t("events.none"))
    elif len(found) == most:
        print(t("events.more", most=most))
