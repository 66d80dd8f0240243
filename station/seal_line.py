"""The newest head of the seal chain as a line of a page: whoever keeps the paper can show later what was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import tzinfo
from html import escape
from typing import TYPE_CHECKING, Any

from station.clock import from_ms
from station.i18n import t
from station.model import StoreError
from station.seal import short

if TYPE_CHECKING:
    from station.config import Loaded


def seal_line(loaded: Loaded) -> str:
    """The line for a page about *loaded*, or nothing where no block was sealed or the database cannot be read."""
    from station.sealing import shown
    from station.store import Store, connect

    if not loaded.database.exists():
        return ""
    try:
        with closing(Store(connect(loaded.database, read_only=True), str(loaded.database))) as store:
            return line_of(shown(store), loaded.zone)
    except StoreError:  # the page is one all the same; what is wrong with the database is said elsewhere
        return ""


def line_of(found: Mapping[str, Any] | None, zone: tzinfo) -> str:
    """The line for a head as sealing.shown has it."""
    if found is None:
        return ""
    at = f"{from_ms(found['at_ms']).astimezone(zone):%Y-%m-%d %H:%M}"
    said = t("sheet.seal_head", head=short(bytes.fromhex(found["head"])), block=found["epoch"], at=at)
    return f'<p class="hash">{escape(said)}</p>'
