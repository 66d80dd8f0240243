"""Bytes a month of the link, and what each platform costs of them.

The kernel's counters of an interface begin at nothing with each boot and each time the modem comes back.  What they
grew by since the last look is added to the month's sum, which is a record once an hour and at a stop: a power cut
loses what came since, a killed service nothing.

What a record costs: its own frame, 52 bytes of IPv4 and TCP headers (with time stamps) for every segment of it, the
platform's answer, and an acknowledgement for each.  Counted by IP, as operators do; retransmissions and what lies
below are not in it.  The answer's size and what HTTP, MQTT and TLS add are typical figures of our own (D).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.clock import EPOCH, from_ms, to_ms
from station.commands import Terms
from station.model import Kind, dataclass, replace
from station.store import SEQUENCE_BITS

if TYPE_CHECKING:
    from station.store import Store

KIND = "modem_bytes"  # of records: the month's sum so far
NET = Path("/sys/class/net")
HOUR = 3600.0
MONTH_SECONDS = 30 * 86400
MB = 1_000_000
HEADERS = 52  # bytes of IPv4 (20) and TCP (20) with the option of time stamps (12)
SEGMENT = 1388  # bytes of payload in one, on a link with an MTU of 1440 (D)
# By protocol: bytes around a record's text, and those of the answer to it.
AROUND: Mapping[str, tuple[int, int]] = {"hj212": (12, 110), "http": (480, 260), "mqtt": (60, 4)}
TYPICAL: Mapping[str, int] = {"realtime": 420, "minute": 700, "hour": 700, "day": 700}  # before any was sent (D)
TOLD_AT = (80, 100)  # percent of the budget


@dataclass(frozen=True, slots=True)
class Counters:
    """What an interface has carried since it is there, in bytes."""

    received: int
    sent: int


def read(interface: str, folder: Path = NET) -> Counters | None:
    """The kernel's counters of *interface*; None where it is not there."""
    found = []
    for name in ("rx_bytes", "tx_bytes"):
        try:
            found.append(int((folder / interface / "statistics" / name).read_text(encoding="ascii")))
        except (OSError, ValueError):
            return None
    return Counters(*found) if min(found) >= 0 else None


@dataclass(frozen=True, slots=True)
class Month:
    """The sum of a *month* (such as 2026-12), and the counters it was last carried on from, of *boot*."""

    month: str = ""
    received: int = 0
    sent: int = 0
    last: Counters = Counters(0, 0)
    boot: str = ""
    told: int = 0  # percent of the budget that was told

    @property
    def total(self) -> int:
        """Bytes both ways."""
        return self.received + self.sent

    def body(self) -> dict[str, Any]:
        """It as a record."""
        return {
            "month": self.month, "received": self.received, "sent": self.sent, "told": self.told, "boot": self.boot,
            "counters": [self.last.received, self.last.sent],
        }  # fmt: skip


def month_of(body: Mapping[str, Any]) -> Month:
    """The month in a record's *body*."""
    last = Counters(*body["counters"])
    return Month(body["month"], body["received"], body["sent"], last, body["boot"], body["told"])


def carried_on(month: Month, seen: Counters, boot: str, at: datetime) -> Month:
    """*month* with what *seen* is more, at local time *at*; counters that are less have begun anew.

    >>> first = carried_on(Month(), Counters(1000, 500), "a", datetime(2026, 11, 30, 23, 59))
    >>> first.total, carried_on(first, Counters(1200, 700), "a", datetime(2026, 11, 30, 23, 59, 30)).total
    (1500, 1900)
    >>> after = carried_on(first, Counters(100, 50), "b", datetime(2026, 12, 1))
    >>> after.month, after.total
    ('2026-12', 150)
    """
    anew = boot != month.boot or seen.received < month.last.received or seen.sent < month.last.sent
    base = Counters(0, 0) if anew else month.last
    name = f"{at:%Y-%m}"
    if name != month.month:
        month = Month(name)
    return replace(
        month, received=month.received + seen.received - base.received, sent=month.sent + seen.sent - base.sent,
        last=seen, boot=boot,
    )  # fmt: skip


# -- by platform


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of records costs a platform: bytes of a record on the wire, and bytes a month.

    *actual* is what was sent this month, by the records alone; *measured* whether sizes are of real ones.
    """

    platform: str
    kind: str
    size: int
    records: int  # a month
    estimate: int
    count: int  # sent this month
    actual: int
    measured: bool


def on_the_wire(text: int, protocol: str) -> int:
    """Bytes by IP that a record of *text* bytes costs, its answer and all acknowledgements included.

    >>> on_the_wire(520, "hj212")
    850
    """
    around, answer = AROUND.get(protocol, AROUND["http"])
    out = text + around
    segments = -(-out // SEGMENT)
    return out + answer + HEADERS * (2 * segments + 2)


def rows(store: Store | None, uplinks: Sequence[Any], start: datetime) -> Iterator[Row]:
    """By platform and kind of its periodic records, with what was sent since *start* of the month."""
    for one in uplinks:
        sizes = _sizes(store, one.name, start) if store is not None else {}
        for kind, seconds in _paces(one, store):
            points = max(1, len(getattr(one, "point", ())))
            records = round(MONTH_SECONDS / seconds) * points
            count, total, newest = sizes.get(kind, (0, 0, 0))
            size = newest or TYPICAL[kind]
            cost = on_the_wire(size, one.protocol)
            actual = 0 if not count else count * on_the_wire(round(total / count), one.protocol)
            yield Row(one.name, kind, cost, records, cost * records, count, actual, bool(newest))


def _paces(one: Any, store: Store | None) -> Iterator[tuple[str, float]]:
    """Kinds that a platform takes at an interval, and their seconds: as configured, and as it has set since."""
    terms = Terms(realtime_seconds=one.realtime_seconds).changed({} if store is None else store.remembered(one.name))
    realtime = terms.realtime_seconds if terms.realtime else 0
    known = {"realtime": realtime, "minute": 60 * terms.minute_minutes, "hour": 3600, "day": 86400}
    yield from ((kind, seconds) for kind, seconds in known.items() if kind in one.kinds and seconds)


def _sizes(store: Store, platform: str, start: datetime) -> dict[str, tuple[int, int, int]]:
    """By kind: how many were handed out since *start*, their bytes, and the mean size of the newest."""
    found = store.query("SELECT id, tried FROM platform WHERE name = ?", (platform,))
    if not found:
        return {}
    number, tried = found[0]
    low = number << SEQUENCE_BITS
    first = _first_since(store, low, tried, to_ms(start))
    what = "kind, count(*), sum(length(CAST(text AS BLOB)))"
    query = f"SELECT {what} FROM message WHERE id >= ? AND id <= ? GROUP BY kind"
    sizes = {Kind(kind).name.lower(): (count, total, round(total / count))
             for kind, count, total in store.query(query, (first, tried))}  # fmt: skip
    for kind, count, total in store.query(query, (max(low, tried - 2000), tried)):
        name = Kind(kind).name.lower()
        sizes.setdefault(name, (0, 0, round(total / count)))
    return sizes


def _first_since(store: Store, low: int, high: int, start_ms: int) -> int:
    """The first id from which on messages are of *start_ms* or later, but for late ones: ids follow time."""
    high += 1
    while low < high:
        middle = (low + high) // 2
        query = "SELECT id, start_ms FROM message WHERE id >= ? AND id < ? ORDER BY id LIMIT 1"
        found = store.query(query, (middle, high))
        if found and found[0][1] < start_ms:
            low = found[0][0] + 1
        else:
            high = middle
    return low


def newest(store: Store, interface: str) -> Month:
    """The sum that was last kept of *interface*; an empty one where there is none."""
    found = [one for one in store.newest_records(KIND, "device") if one.device == interface]
    try:
        return month_of(found[-1].body) if found else Month()
    except (KeyError, TypeError, ValueError):
        return Month()


def months(store: Store, interface: str) -> dict[str, Month]:
    """The last sum of each month of *interface*."""
    far = from_ms(to_ms(EPOCH) + round(timedelta(days=65000).total_seconds() * 1000))
    found = {}
    for record in store.records(KIND, EPOCH, far, device=interface):
        month = month_of(record.body)
        found[month.month] = month
    return found
