"""The bottles of a sampler: which are free, what is in the others and why, folded from records.

A bottle is given away once.  It is free again when its order was refused before anything moved, or when a person has
collected it; whatever may have been filled, as by an order that a power cut overtook, is not filled again.

Records, all with the sampler as their device and its point:

* bottle: state, a word of State or "armed" (a rule whose exceedance is over), bottle, cause (what it was taken for),
  reason.
* kept_sample: vase, asked (the bottle that was asked for), cause, volume in mL, temperature in °C, confirmed (whether
  the sampler said so); platforms are told (station/records.py).
* bottles_collected: user, reason, bottles: rows of bottle, state, at, why, laboratory (the number it got there).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from station.model import Record, dataclass, field

BOTTLE, KEPT, COLLECTED = "bottle", "kept_sample", "bottles_collected"
ARMED = "armed"


class State(enum.StrEnum):
    """What is known of a bottle."""

    FREE = "free"
    RESERVED = "reserved"  # promised to somebody, nothing was sent
    FILLING = "filling"  # the order is on its way, or taken
    KEPT = "kept"
    UNCERTAIN = "uncertain"  # something may be in it
    FOREIGN = "foreign"  # filled, and not by the station's order


BUSY = (State.RESERVED, State.FILLING)


@dataclass(slots=True)
class Bottle:
    """One bottle since it was collected last."""

    number: int
    state: State = State.FREE
    at: datetime | None = None  # when its state began
    cause: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""  # why it is uncertain
    temperature: float | None = None
    volume: float | None = None

    def row(self) -> dict[str, Any]:
        """As JSON and screens show it."""
        return {
            "bottle": self.number,
            "state": str(self.state),
            "at": self.at.isoformat() if self.at else None,
            "why": dict(self.cause),
            "reason": self.reason,
            "temperature": self.temperature,
            "volume": self.volume,
        }


class Bottles:
    """The *count* bottles of one sampler, as *records* leave them; records in the order they were kept."""

    def __init__(self, count: int, records: Iterable[Record] = ()) -> None:
        self.all = {number: Bottle(number) for number in range(1, count + 1)}
        self.last = 0  # the one given away last
        self.disarmed: set[str] = set()  # rules whose exceedance has its bottle
        self.given: dict[str, datetime] = {}  # when each rule was given its last one
        for record in sorted(records, key=lambda one: one.id):
            self.take(record)

    def take(self, record: Record) -> None:
        """What *record* says."""
        body = record.body
        if record.kind == COLLECTED:
            for row in body["bottles"]:
                self._put(int(row["bottle"]), State.FREE, record)
        elif record.kind == KEPT:
            asked, vase = int(body.get("asked", body["vase"])), int(body["vase"])
            if asked != vase:
                self._put(asked, State.UNCERTAIN, record, f"the sampler says that it filled {vase} instead")
            self._put(vase, State.KEPT, record)
        elif body["state"] == ARMED:
            self.disarmed.discard(str(body["rule"]))
        else:
            self._told(record)

    def _told(self, record: Record) -> None:
        body, state = record.body, State(record.body["state"])
        number, rule = int(body["bottle"]), str((body.get("cause") or {}).get("rule", ""))
        self._put(number, state, record, str(body.get("reason", "")))
        if state is State.RESERVED:
            self.last = number
            if rule:
                self.disarmed.add(rule)
                self.given[rule] = record.at
        elif state is State.FREE and body.get("again") and rule:
            self.disarmed.discard(rule)  # its exceedance has no bottle yet
            self.given.pop(rule, None)

    def _put(self, number: int, state: State, record: Record, reason: str = "") -> None:
        """A bottle that is beyond the count, since it was lowered or the sampler says so, is known all the same."""
        body = record.body
        if state is State.FREE:
            self.all[number] = Bottle(number, at=record.at)
            return
        self.all[number] = Bottle(
            number, state, record.at, body.get("cause") or {}, reason, body.get("temperature"), body.get("volume")
        )

    def following(self, count: int) -> int | None:
        """The next free bottle of *count*, in order behind the one given away last; None when there is none."""
        order = [*range(self.last + 1, count + 1), *range(1, min(self.last, count) + 1)]
        return next((number for number in order if self.all[number].state is State.FREE), None)

    def of(self, *states: State) -> Sequence[Bottle]:
        """The bottles in one of *states*, by number."""
        return [one for _, one in sorted(self.all.items()) if one.state in states]

    @property
    def used(self) -> Sequence[Bottle]:
        """What a person has to collect."""
        return self.of(State.KEPT, State.UNCERTAIN, State.FOREIGN)


def kept_by(store: Any, name: str, since: datetime, until: datetime) -> list[Record]:
    """Every record of sampler *name* in *store*."""
    return [one for kind in (BOTTLE, KEPT, COLLECTED) for one in store.records(kind, since, until, device=name)]


def custody(name: str, records: Iterable[Record]) -> list[dict[str, Any]]:
    """Each bottle of sampler *name* that something went into: when, why, and who collected it when, oldest first."""
    found: list[dict[str, Any]] = []
    book, lying = Bottles(0), dict[int, dict[str, Any]]()
    for record in sorted(records, key=lambda one: one.id):
        if record.kind == COLLECTED:
            for row in record.body["bottles"]:
                if (one := lying.pop(int(row["bottle"]), None)) is not None:
                    one |= {
                        "collected": record.at.isoformat(),
                        "by": record.body["user"],
                        "laboratory": row.get("laboratory", ""),
                    }
        book.take(record)
        for bottle in book.used:
            row = {"sampler": name, "point": record.point, **bottle.row()}
            if bottle.number in lying:
                lying[bottle.number] |= row
            else:
                lying[bottle.number] = row | {"collected": None, "by": "", "laboratory": ""}
                found.append(lying[bottle.number])
    return found


def why(cause: Mapping[str, Any]) -> str:
    """What a bottle was filled for, in a person's words."""
    from station.i18n import t

    what = str(cause.get("what", "panel"))
    return t(f"bottle_why.{what}", who=cause.get("rule") or cause.get("platform") or cause.get("user") or "-")
