"""One commit of the engine under way: what it brings, and what is in force once it is durable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from station.model import Kind, Reading, dataclass, field
from station.recorder import Batch

if TYPE_CHECKING:
    from station.commands import Terms
    from station.store import Series


@dataclass(frozen=True, slots=True)
class Change:
    """Settings a platform made, to be in force from the next commit on; *done* is told what went wrong, or ""."""

    platform: str
    values: Mapping[str, str]
    who: str
    done: Callable[[str], None]


@dataclass(slots=True)
class Turn:
    """The commit made at *now*, of periods that ended by *ready*; what stands below is found on its way."""

    now: datetime
    ready: datetime
    batch: Batch
    changes: Sequence[Change]
    series: dict[tuple[str, str], Series] = field(default_factory=dict)
    candidates: list[Reading] = field(default_factory=list)
    latest: dict[tuple[str, str], Reading] = field(default_factory=dict)
    pins: Counter[int] = field(default_factory=Counter)
    fired: dict[str, datetime] = field(default_factory=dict)  # when each platform's real-time data are due next
    minutes: dict[str, datetime] = field(default_factory=dict)  # each platform's next minute record
    again: dict[str, datetime] = field(default_factory=dict)  # when each was told of all equipment
    closed: dict[Kind, datetime] = field(default_factory=dict)
    progress: dict[str, str] = field(default_factory=dict)
    changed: dict[str, Terms] = field(default_factory=dict)
    sealed: float = 0.0  # when the next block is sealed, on monotonic time
