"""A line's statistics turned into advice: what to look at first, and the figures that say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from drivers.statistics import BUCKETS_MS
from station.model import dataclass, field

ENOUGH = 20  # requests before a share is spoken of
SILENT = 4  # requests without any reply; who is silent is asked ever more rarely
NOISE = 0.01  # of the replies broken: wiring
BROKEN = 0.5  # of the replies broken: not wiring, settings
RARE = 0.5  # of the requests unanswered: not a matter of timing any more
LOST = 0.02  # of the requests unanswered while the rest is answered
UNASKED = 0.01  # of the replies where none was owed
ECHOED = 0.5  # of the requests coming back
FLOOD_BYTES = 20.0  # a request, asked for by nobody
STRAY_BYTES = 0.05  # a request: a floating line makes single bytes out of nothing
MASTERS = 3  # sound frames that nobody here asked for
LATENCY_MS = 1  # what an adapter should hold bytes for
SLOW_SHARE = 0.02  # of the replies in the last fifth of the time that is waited

# Every advice and what it rests on; drivers/README.md lists them, station/locale words them, the first is the worst.
ADVICE = {
    "two_masters": "frames that nobody here asked for: another master is on the line",
    "flood": "many bytes that nobody asked for: something sends without end, or the line is open",
    "all_silent": "no unit answers: cable and plugs, addresses, speed, supply, A and B, termination",
    "silent_now": "a unit that answered before is silent now: its plugs, address, supply, A and B",
    "settings": "bytes come and make no frame: speed, parity or stop bits differ",
    "duplicate": "replies come where none is owed: two instruments with one address, or a repeater",
    "dead": "one unit never answers while others do: its plugs, address, speed, supply, A and B",
    "rare": "it answers now and then: plugs, address, supply",
    "other_unit": "another unit answers in this one's place",
    "termination": "broken frames at several units: termination, ground, screen, or a star instead of a line",
    "noise": "broken frames at the only unit: its cable, plugs, termination, or supply",
    "branch": "broken frames at one unit: its branch, plugs, or supply",
    "bias": "single bytes out of nothing between the frames: the line floats, bias is missing",
    "late": "replies come after they were given up: the unit needs more time than its profile grants",
    "slow": "replies come shortly before they would be given up",
    "gap": "requests get lost while nothing is broken: plugs and supply, then more silence before each request",
    "busy": "the unit is at work when it is asked: ask it more seldom",
    "wrong_map": "exceptions 1 to 3: the profile or its variant does not fit this instrument",
    "failing": "exception 4 or above: the instrument reports its own failure",
    "echo": "the adapter hears itself; that is dropped and does no harm",
    "latency": "the adapter holds bytes back; that slows the line and breaks nothing",
}


# What another master's traffic looks like from here; it says nothing of cables and instruments.
BY_ANOTHER_MASTER = {
    "flood",
    "duplicate",
    "other_unit",
    "termination",
    "noise",
    "branch",
    "bias",
    "late",
    "slow",
    "rare",
    "gap",
}


@dataclass(frozen=True, slots=True)
class Silence:
    """That a unit does not answer now, whatever it did before: for how long, and how often it was asked."""

    seconds: float
    polls: int


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a line: each unit's Statistics.so_far by address, and the line's own figures."""

    units: Mapping[int, Mapping[str, Any]]
    foreign: int = 0  # sound frames nobody here asked for
    latency_ms: int | None = None  # how long the adapter holds bytes, where it tells
    patience_ms: Mapping[int, float] = field(default_factory=dict)  # how long each unit is waited for
    silent: Mapping[int, Silence] = field(default_factory=dict)  # who does not answer now


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to look at: *key* of ADVICE, the *units* it concerns (all when empty), and its *figures*."""

    key: str
    units: tuple[int, ...]
    figures: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The advice for programs."""
        return {"advice": self.key, "units": list(self.units), "figures": dict(self.figures)}


def summed(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The statistics of several hours as those of one stretch of time.

    >>> summed([{"requests": 5, "codes": {"2": 1}, "latency": [3, 2], "worst_ms": 9.5, "bus": "a"},
    ...         {"requests": 2, "codes": {"2": 1}, "latency": [1, 0], "worst_ms": 7.0, "bus": "a"}])
    {'requests': 7, 'codes': {'2': 2}, 'latency': [4, 2], 'worst_ms': 9.5}
    """
    total: dict[str, Any] = {}
    for row in rows:
        for name, value in row.items():
            known = total.get(name)
            if name == "worst_ms":
                total[name] = max(known or 0.0, value)
            elif isinstance(value, Mapping):
                known = known or {}
                total[name] = {key: known.get(key, 0) + value.get(key, 0) for key in {**known, **value}}
            elif isinstance(value, list):
                total[name] = [a + b for a, b in zip(known or [0] * len(value), value, strict=True)]
            elif isinstance(value, int | float):
                total[name] = (known or 0) + value
    return total


def advice(health: Health) -> list[Advice]:
    """What to do about the line, the worst first; nothing where it is sound or was hardly asked yet."""
    units = {unit: _Unit(unit, counts, health.silent.get(unit)) for unit, counts in health.units.items()}
    asked = [unit for unit in units.values() if unit.requests >= ENOUGH or unit.is_silent]
    found = [*_about_line(health, asked), *_about_units(health, asked)]
    if health.foreign >= MASTERS:
        found = [one for one in found if one.key not in BY_ANOTHER_MASTER]
    order = list(ADVICE)
    return sorted(found, key=lambda one: (order.index(one.key), one.units))


def asked_enough(health: Health) -> bool:
    """Whether there is enough to judge by."""
    return any(_Unit(0, counts).is_silent or counts.get("requests", 0) >= ENOUGH for counts in health.units.values())


class _Unit:
    """One unit's counts, and the shares that follow from them."""

    def __init__(self, unit_id: int, counts: Mapping[str, Any], silence: Silence | None = None) -> None:
        self.unit_id, self._counts = unit_id, counts
        self.silence = silence if silence is not None and silence.polls >= SILENT else None
        self.requests, self.timeouts = self["requests"], self["timeouts"]
        self.exceptions, self.broken = self["exceptions"], self["crc_errors"]
        self.replies = max(0, self.requests - self.timeouts)  # of whatever kind
        self.good = max(0, self.replies - self["bad_replies"])  # exceptions are sound frames

    def __getitem__(self, name: str) -> int:
        return int(self._counts.get(name, 0))

    @property
    def codes(self) -> dict[int, int]:
        return {int(code): count for code, count in self._counts.get("codes", {}).items()}

    @property
    def worst_ms(self) -> float:
        return float(self._counts.get("worst_ms", 0))

    @property
    def latency(self) -> Sequence[int]:
        return self._counts.get("latency") or [0] * (len(BUCKETS_MS) + 1)

    def share(self, count: int, of: int) -> float:
        return count / of if of else 0.0

    @property
    def is_silent(self) -> bool:
        """Whether it was asked often enough to say that it does not answer."""
        return self.requests == self.timeouts >= SILENT

    @property
    def broken_share(self) -> float:
        return self.share(self.broken, self.replies)


def _percent(count: int, of: int) -> float:
    return round(100 * count / of, 1) if of else 0.0


def _about_line(health: Health, asked: Sequence[_Unit]) -> Iterator[Advice]:
    requests = sum(unit.requests for unit in asked)
    if health.foreign >= MASTERS:
        yield Advice("two_masters", (), {"frames": health.foreign})
    if health.latency_ms is not None and health.latency_ms > LATENCY_MS:
        yield Advice("latency", (), {"milliseconds": health.latency_ms})
    if not requests:
        return
    echoes, stray = sum(unit["echoes"] for unit in asked), sum(unit["leftover_bytes"] for unit in asked)
    if echoes / requests >= ECHOED:
        yield Advice("echo", (), {"echoes": echoes, "requests": requests})
    if stray / requests >= FLOOD_BYTES:
        yield Advice("flood", (), {"bytes": stray, "requests": requests})
    elif stray / requests >= STRAY_BYTES and not sum(u["unasked"] + u["late"] + u["wrong_unit"] for u in asked):
        yield Advice("bias", (), {"bytes": stray, "requests": requests})
    noisy = [unit for unit in asked if NOISE <= unit.broken_share < BROKEN and unit.silence is None]
    if noisy and len(asked) == 1:
        yield Advice("noise", (noisy[0].unit_id,), _share(noisy[0]))
    if len(noisy) > 1:
        broken, replies = sum(u.broken for u in noisy), sum(u.replies for u in noisy)
        figures = {"broken": broken, "replies": replies, "percent": _percent(broken, replies)}
        yield Advice("termination", tuple(unit.unit_id for unit in noisy), figures)
    if all(unit.is_silent for unit in asked):
        yield Advice("all_silent", tuple(unit.unit_id for unit in asked), {"requests": requests})


def _about_units(health: Health, asked: Sequence[_Unit]) -> Iterator[Advice]:
    others_answer = any(unit.good for unit in asked)
    quiet = [unit for unit in asked if unit.broken_share < NOISE]
    for unit in asked:
        here = (unit.unit_id,)
        if unit.is_silent:
            if others_answer:
                yield Advice("dead", here, {"requests": unit.requests})
            continue  # of somebody who never answered nothing else is known
        if unit.silence is not None:
            figures = {"seconds": round(unit.silence.seconds), "polls": unit.silence.polls}
            yield Advice("silent_now", here, figures)
            continue  # what it did while it answered hides what it does now
        if unit.broken_share >= BROKEN:
            yield Advice("settings", here, _share(unit))
        elif unit.broken_share >= NOISE and len(asked) > 1 and len(quiet) == len(asked) - 1:
            yield Advice("branch", here, _share(unit))
        yield from _about_replies(unit, health.patience_ms.get(unit.unit_id))


def _share(unit: _Unit) -> dict[str, Any]:
    return {"broken": unit.broken, "replies": unit.replies, "percent": _percent(unit.broken, unit.replies)}


def _about_replies(unit: _Unit, patience_ms: float | None) -> Iterator[Advice]:
    here = (unit.unit_id,)
    if unit["unasked"] / max(1, unit.replies) >= UNASKED:
        yield Advice("duplicate", here, {"unasked": unit["unasked"], "replies": unit.replies})
    if unit["wrong_unit"]:
        yield Advice("other_unit", here, {"frames": unit["wrong_unit"], "requests": unit.requests})
    lost = unit.share(unit.timeouts, unit.requests) >= LOST
    if unit["late"]:
        yield Advice("late", here, {"late": unit["late"], "worst": round(unit.worst_ms), "enough": _enough(unit)})
    elif lost and unit.broken_share < NOISE:
        figures = {"timeouts": unit.timeouts, "requests": unit.requests}
        rare = unit.share(unit.timeouts, unit.requests) >= RARE
        yield Advice("rare" if rare else "gap", here, figures | {"percent": _percent(unit.timeouts, unit.requests)})
    elif patience_ms and (slow := _slower_than(unit, 0.8 * patience_ms)) >= SLOW_SHARE * max(1, unit.good):
        yield Advice("slow", here, {"slow": slow, "replies": unit.good, "patience": round(patience_ms)})
    if unit["busy"]:
        yield Advice("busy", here, {"busy": unit["busy"], "requests": unit.requests})
    codes = unit.codes
    if refused := sum(codes.get(code, 0) for code in (1, 2, 3)):
        yield Advice("wrong_map", here, {"refused": refused, "codes": ", ".join(str(c) for c in codes if c <= 3)})
    if failing := sum(count for code, count in codes.items() if code in (4, 8, 10, 11) or code > 11):
        yield Advice("failing", here, {"failures": failing, "codes": ", ".join(str(c) for c in codes if c >= 4)})


def _enough(unit: _Unit) -> int:
    """A worst_reply_ms with room above the longest reply seen: half as much again, in hundreds."""
    return int(-(-1.5 * unit.worst_ms // 100) * 100)


def _slower_than(unit: _Unit, milliseconds: float) -> int:
    """How many replies took longer: those of the buckets that lie wholly above."""
    lower = (0, *BUCKETS_MS)
    return sum(count for low, count in zip(lower, unit.latency, strict=True) if low >= milliseconds)
