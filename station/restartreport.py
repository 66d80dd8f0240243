"""What a start finds of the run before it: how long the gap is, and whether that run ended cleanly.

A run that ended by itself has a `stop` behind its `start`; one whose supply ended has `supply_stopping` too.  Without
a stop the same boot means that the program was ended, another boot that the power was cut (or the machine was reset).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from station.clock import from_ms, to_ms
from station.model import dataclass

if TYPE_CHECKING:
    from station.store import Store

CODES = ("restart_stopped", "restart_announced", "restart_unfinished", "restart_crash", "restart_cut")
STOPPED, ANNOUNCED, UNFINISHED, CRASH, CUT = CODES


@dataclass(frozen=True, slots=True)
class Before:
    """How the run before ended: *code* of CODES, and the last moment there is anything of."""

    code: str
    last: datetime


def before(store: Store, started: datetime | None) -> Before | None:
    """What the store says of the run before the one that began at *started*; None where there was none.

    To be asked before the new run has stored readings.  *started* is None where the new run waits for a clock: its own
    `start` waits with it.
    """
    starts = store.query("SELECT id, at_ms FROM event WHERE code = 'start' ORDER BY id DESC LIMIT 2")
    until = 1 << 62
    if starts and started is not None and starts[0][1] >= to_ms(started):  # this run's own, as committed
        until, starts = starts[0][0], starts[1:]
    if not starts:
        return None
    first, began = starts[0]
    rows = store.query(
        "SELECT code, at_ms FROM event WHERE id > ? AND id < ? AND code IN ('stop', 'supply_stopping',"
        " 'supply_stop_cancelled') ORDER BY id",
        (first, until),
    )
    codes = [str(code) for code, _ in rows]
    announced = [code for code in codes if code != "stop"][-1:] == ["supply_stopping"]
    if "stop" in codes:
        code = ANNOUNCED if announced else STOPPED
    elif announced:
        code = UNFINISHED
    else:
        code = CRASH if _same_boot(store) else CUT
    newest = store.newest_time()
    last = max(began, *(at for _, at in rows), 0 if newest is None else to_ms(newest), began)
    ((event_at,),) = store.query("SELECT max(at_ms) FROM event WHERE id >= ? AND id < ?", (first, until))
    return Before(code, from_ms(max(last, event_at or 0)))


def _same_boot(store: Store) -> bool:
    """Whether the run before was of the same boot: each run notes the clock once at its start."""
    rows = store.query("SELECT boot FROM clock ORDER BY id DESC LIMIT 2")
    return len(rows) == 2 and rows[0][0] == rows[1][0]


def gap(last: datetime, began: datetime) -> dict[str, Any]:
    """How long there is nothing, and how many whole minutes and hours of the clock have no reading.

    >>> from datetime import datetime, UTC
    >>> gap(datetime(2026, 3, 1, 7, 59, 30, tzinfo=UTC), datetime(2026, 3, 1, 9, 2, 10, tzinfo=UTC))
    {'seconds': 3760, 'minutes': 62, 'hours': 1}
    """
    return {
        "seconds": max(0, round((began - last).total_seconds())),
        "minutes": _whole(last, began, 60),
        "hours": _whole(last, began, 3600),
    }


def _whole(last: datetime, began: datetime, seconds: int) -> int:
    """How many periods of the clock lie between wholly."""
    length = timedelta(seconds=seconds)
    epoch = datetime.fromtimestamp(0, tz=last.tzinfo)
    return int(max(0, (began - epoch) // length - -((epoch - last) // length)))
