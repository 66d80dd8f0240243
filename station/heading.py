"""The head of the seal chain to the platforms that take it, once a day and when a month was closed.

Whoever keeps a head outside can show later that nothing sealed up to it was changed or cut off; a platform keeps it
without anybody thinking of it.  A platform takes it that has `seal_head` among its `kinds`: over HJ 212 as a log text
of the logger (3020, i21001: 2017 read, 2025 by projects, B; a station without it says nothing), over HTTPS and MQTT as
an event whose fields are those of the record:

* kind `seal_head`: platform, the one that is told; block (its number), head (64 hexadecimal digits), sealed (ISO 8601,
  by the station's clock), month (the newest closed one, "" where there is none).

An uplink words it as it does any report: Report(Kind.SEAL_HEAD, point, at, record=...); what it returns None for is not
told.  When the platform has answered, an event `head_acknowledged` says which block it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from station.clock import from_ms
from station.model import Kind, Record

if TYPE_CHECKING:
    from station.engine import Engine
    from station.store import Store

KIND = "seal_head"
Query = Callable[[str, Sequence[Any]], Sequence[Any]]


def tell(engine: Engine) -> None:
    """A block is durable: keep its head for the platforms that were told of none today, or of none of this month."""
    from station.sealing import shown

    newest = shown(engine.store)
    if newest is None or engine.time.waits:
        return
    now, month = engine.clock.now(), _closed(engine.store)
    told = {record.body["platform"]: record for record in engine.store.newest_records(KIND, "$.platform")}
    for sender in engine.serving(KIND):
        name = sender.outbox.name
        last = told.get(name)
        if last is not None and last.body["month"] == month and _day(engine, last.at) >= _day(engine, now):
            continue
        body = {
            "platform": name,
            "block": newest["epoch"],
            "head": newest["head"],
            "sealed": from_ms(newest["at_ms"]).isoformat(),
            "month": month,
        }
        for point in engine.points_of(name)[:1]:
            engine.keep(Record(KIND, now, body, point))


def _closed(store: Store) -> str:
    found = store.newest_records("month", "kind")
    return str(found[0].body["month"]) if found else ""


def _day(engine: Engine, moment: datetime) -> str:
    return f"{moment.astimezone(engine.loaded.zone):%Y-%m-%d}"


def acknowledged(query: Query, platform: str, messages: Sequence[int]) -> list[dict[str, Any]]:
    """The block and head of each of *messages* (ids) that told *platform* one."""
    found = []
    for number in messages:
        rows = query(
            "SELECT r.body FROM message m JOIN record r ON r.kind = ? AND r.at_ms = m.start_ms AND r.point = m.point"
            " WHERE m.id = ? AND m.kind = ? AND json_extract(r.body, '$.platform') = ?",
            (KIND, number, int(Kind.SEAL_HEAD), platform),
        )
        found += [{"block": said["block"], "head": said["head"]} for said in (json.loads(body) for (body,) in rows)]
    return found
