"""How long the disk will last, an alarm before it is full, and raw readings that leave it: counted, copied, on record.

Raw readings are what fills a disk; averages, messages, events and records stay for their legal time.  Readings leave
by whole months, the oldest first, and only such as are a month old at least and of which no platform is owed a message
any more: after a copy on another disk that holds them was read back, or by a person with a name and a reason.  What
leaves is a record of kind `released`, written with the first of them, and an event with counts; `station verify` takes
missing readings for what such a record says.  A copy that holds what has left is never rotated away.  The file does
not shrink: its free pages take what comes, and count as room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.clock import EPOCH
from station.host import Host, Room
from station.model import Record, StoreError, WrongArgument, dataclass
from station.store import Event

if TYPE_CHECKING:
    from station.clock import Clock
    from station.config import DiskSettings, Loaded
    from station.seal import Query
    from station.store import Store

log = logging.getLogger(__name__)

KIND = "released"
YOUNG = timedelta(days=31)  # averages of it may still be closed again
LOOK_SECONDS = 60.0
BACK = 1.1  # times the floor, before an alarm is over
CHUNK = 5000  # readings of one transaction
LEAST_SPAN = timedelta(days=1)  # of readings, before growth is spoken of
MB = 1_000_000
PAUSE = 0.01  # seconds between two transactions: a commit that waits comes first
ALL = (EPOCH, datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Capacity:
    """Bytes: what the record takes, what of that is free inside the database, what is free on the disk; what follows.

    The record is the database and, of that *archive*, the files of closed months beside it.

    *growth* is bytes a day, from the size and age of what is stored; *days_left* until the floor or the budget is
    reached; both None while the readings span less than a day.
    """

    used: int
    inside: int
    free: int
    budget: int
    floor: int
    growth: float | None
    archive: int = 0

    @property
    def left(self) -> int:
        """Bytes that may still come before the floor or the budget is reached; negative below it."""
        within = [self.free + self.inside - self.floor]
        return min([*within, *([self.budget - self.used + self.inside] if self.budget else [])])

    @property
    def low(self) -> bool:
        """Whether the floor or the budget is reached."""
        return self.left < 0

    @property
    def days_left(self) -> float | None:
        """Days until then, at the growth so far."""
        return None if not self.growth else max(0.0, self.left / self.growth)


def capacity(sizes: Mapping[str, Any], room: Room | None, settings: DiskSettings) -> Capacity | None:
    """What *sizes* (of status.sizes) and the *room* on the disk come to; None where the room is not known."""
    if room is None or not sizes:
        return None
    growth, archive = None, sizes.get("archive", 0)
    used = sizes["bytes"] + archive
    if sizes["oldest"] and sizes["newest"]:
        span = datetime.fromisoformat(sizes["newest"]) - datetime.fromisoformat(sizes["oldest"])
        if span >= LEAST_SPAN:
            growth = (used - sizes["inside"]) / (span / timedelta(days=1))
    budget, floor = settings.budget_mb * MB, settings.floor_mb * MB
    return Capacity(used, sizes["inside"], room.free, budget, floor, growth, archive)


def told(found: Capacity, host: Host, folder: Path) -> dict[str, Any]:
    """*found* as status says it, with what is written to the medium a day, and by whose count."""
    written = host.written(folder)
    wear, by = (written.a_day, "kernel") if written else (found.growth, "database" if found.growth else "")
    return {
        "used_bytes": found.used,
        "inside_bytes": found.inside,
        "archive_bytes": found.archive,
        "free_bytes": found.free,
        "left_bytes": found.left,
        "growth_bytes_a_day": None if found.growth is None else round(found.growth),
        "days_left": None if found.days_left is None else round(found.days_left, 1),
        "low": found.low,
        "written_bytes_a_day": None if wear is None else round(wear),
        "written_by": by,
    }


class Watch:
    """Looks at the room once a minute; an event when the floor or the budget is reached, and when there is room."""

    def __init__(
        self, store: Store, loaded: Loaded, clock: Clock, note: Callable[..., None], host: Host | None = None
    ) -> None:
        self._store, self._folder, self._settings = store, loaded.data_folder, loaded.config.disk
        self._clock, self._note, self._host = clock, note, host or Host()
        self._next = clock.monotonic()
        self.low = False

    def turn(self) -> None:
        """Look, if it is time."""
        monotonic = self._clock.monotonic()
        if monotonic < self._next:
            return
        self._next = monotonic + LOOK_SECONDS
        from station.status import sizes

        found = capacity(sizes(self._store), self._host.room(self._folder), self._settings)
        if found is None:
            return
        figures = {"free_mb": round(found.free / MB), "used_mb": round((found.used - found.inside) / MB)}
        if found.low and not self.low:
            log.error("%s: %d MB free, the database takes %d MB: its floor or budget is reached; station disk says what"
                      " may leave", self._folder, figures["free_mb"], figures["used_mb"])  # fmt: skip
            self._note("capacity_low", urgent=True, **figures, floor_mb=self._settings.floor_mb,
                       budget_mb=self._settings.budget_mb)  # fmt: skip
            self.low = True
        elif self.low and found.left > (BACK - 1) * max(found.floor, found.budget):
            self._note("capacity_back", **figures)
            self.low = False


# -- what may leave


def month_in(text: str, zone: tzinfo) -> datetime:
    """The beginning of the month that *text* (2026-03) names, in *zone*."""
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=zone)
    except ValueError as error:
        raise WrongArgument(f'"{text}" is not a month such as 2026-03') from error


def months(store: Store, now: datetime, zone: tzinfo) -> list[datetime]:
    """The ends of the months whose readings may leave, the oldest first: a month old, and nothing of them owed."""
    oldest = store.oldest_reading()
    if oldest is None:
        return []
    until, owed = now - YOUNG, owed_since(store, now)
    if owed is not None:
        until = min(until, owed[1])
    found, end = [], following(oldest.astimezone(zone))
    while end <= until:
        found.append(end)
        end = following(end)
    return found


def following(moment: datetime) -> datetime:
    """The beginning of the month behind that of *moment*, in its zone."""
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def owed_since(store: Store, now: datetime) -> tuple[str, datetime] | None:
    """The platform that waits longest for a message, configured or not, and since when its period is."""
    from station.status import stored_platforms

    waiting = [
        (now - timedelta(seconds=one["oldest_seconds"]), one["name"])
        for one in stored_platforms(store, now, ())
        if one["oldest_seconds"] is not None
    ]
    return (min(waiting)[1], min(waiting)[0]) if waiting else None


def covering(store: Store, last: int, before: datetime) -> Record | None:
    """The newest copy on record that went beyond *before* and the reading *last*."""
    from station.backup import KIND as COPY

    for record in reversed(store.records(COPY, *ALL)):
        newest, ids = record.body.get("newest"), record.body.get("last_ids") or {}
        if newest and datetime.fromisoformat(newest) >= before and int(ids.get("reading") or 0) >= last:
            return record
    return None


def held(store: Store) -> set[str]:
    """File names of the copies that hold readings which have left: they stay."""
    found = store.records(KIND, *ALL)
    return {Path(record.body["copy"]).name for record in found if record.body.get("copy")}


def release(store: Store, before: datetime, now: datetime, who: Mapping[str, str], *, copied: bool) -> dict[str, Any]:
    """Let the readings of months before *before* leave; what the record says of it.

    With *copied* only after a copy on record that holds them.  Raise WrongArgument where they are too young, owed to
    a platform, or in no copy; StoreError when the disk refuses.  May be called beside a running engine.
    """
    if before > now - YOUNG:
        raise WrongArgument(f"readings of the last {YOUNG.days} days stay; {before:%Y-%m} is too late a month")
    owed = owed_since(store, now)
    if owed is not None and owed[1] < before:
        raise WrongArgument(f"{owed[0]} is owed messages since {owed[1].isoformat(timespec='seconds')}; what is"
                            " owed does not leave")  # fmt: skip
    last = store.reading_floor(before)
    ((first, rows),) = store.query("SELECT min(id), count(*) FROM reading WHERE id <= ?", (last,))
    if not rows:
        raise WrongArgument(f"there are no readings of months before {before:%Y-%m}")
    copy = covering(store, last, before)
    if copied and copy is None:
        raise WrongArgument("no copy on record holds these readings; station backup first, to another disk")
    body: dict[str, Any] = {
        "before": before.isoformat(), "rows": rows, "first": first, "last": last, **who,
        "copy": copy.body["path"] if copied and copy else None,
        "sha256": copy.body["sha256"] if copied and copy else None,
    }  # fmt: skip
    with store.transaction():
        store.add_records([Record(KIND, now, body)])
        _delete(store, min(first + CHUNK - 1, last))
    done = first + CHUNK - 1
    while done < last:
        time.sleep(PAUSE)
        done = min(done + CHUNK, last)
        with store.transaction():
            _delete(store, done)
    with store.transaction():
        store.add_events([Event(now, "readings_released", {**body, "copy": body["copy"] and Path(body["copy"]).name})])
    log.warning("%d readings of months before %s have left (%s: %s)", rows, f"{before:%Y-%m}", who["user"],
                who["reason"])  # fmt: skip
    return body


def _delete(store: Store, last: int) -> None:
    with store.transaction_open() as db:
        db.execute("DELETE FROM reading WHERE id <= ?", (last,))
        db.execute("DELETE FROM late WHERE reading <= ?", (last,))


def raw_from(store: Store) -> datetime | None:
    """Until when raw readings have left: what is older is not closed again."""
    found = store.newest_records(KIND, "kind")
    return datetime.fromisoformat(found[0].body["before"]) if found else None


def compare(copy: Query, where: str, query: Query, last: int, after: int = 0) -> int:
    """Hold every reading behind *after* up to *last* against that in the *copy* at *where*; how many.

    Raise StoreError where one differs.
    """
    from station.seal import digest

    ((first,),) = query("SELECT min(id) FROM reading", ())
    done, rows = max((first or 1) - 1, after), 0
    while done < last:
        upto = min(done + CHUNK, last)
        found, kept = (digest(one, {"reading": done}, {"reading": upto}) for one in (query, copy))
        if found != kept:
            raise StoreError(f"{where}: does not hold readings {done + 1} to {upto} as the database does")
        done, rows = upto, rows + found[1]
    return rows
