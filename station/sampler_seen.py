"""What a sampler says of itself, in the station's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from station.model import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a sampler says of itself; None where it does not say."""

    temperature: float | None = None  # of the box, °C
    door: bool | None = None
    full: bool | None = None
    fault: str = ""
    sampled: int | None = None  # another number after every sample
    bottle: int | None = None  # of the last one
    good: bool | None = None  # whether that went well
    volume: float | None = None  # mL


def seen(said: Mapping[str, float | None], conditions: Sequence[str]) -> Seen:
    """What the registers of drivers/sampler.py say.

    >>> seen({"door": 1.0, "fault": 3.0, "box_temperature": 3.5}, ["maintenance"]).fault
    'maintenance, fault 3'
    """

    def whole(word: str) -> int | None:
        value = said.get(word)
        return None if value is None else int(value)

    def flag(word: str) -> bool | None:
        value = whole(word)
        return None if value is None else value != 0

    number = whole("fault")
    return Seen(
        temperature=said.get("box_temperature"),
        door=flag("door"),
        full=flag("full"),
        fault=", ".join([*conditions, *([f"fault {number}"] if number else ())]),
        sampled=whole("sampled"),
        bottle=whole("bottle"),
        good=flag("result"),
        volume=said.get("volume"),
    )
