"""A sign of life for monitoring: a small file that the running station replaces, and whether it is fresh.

Age is reckoned on the boot's monotonic clock: a wall clock that is stepped makes no station look dead or alive.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.clock import boot_id
from station.model import dataclass
from station.version import VERSION

if TYPE_CHECKING:
    from station.engine import Engine

MODE = 0o640  # the station's group may look: monitoring runs under an account of its own


@dataclass(frozen=True, slots=True)
class Seen:
    """What the file says: *state* is well, trouble, stale or absent; *age_seconds* only of the same boot."""

    state: str
    age_seconds: float | None
    body: dict[str, Any]

    @property
    def troubles(self) -> list[str]:
        """What the station complains of, by code."""
        return [str(one) for one in self.body.get("troubles", ())]


def of(engine: Engine) -> dict[str, Any]:
    """How *engine* is, as the file says it."""
    lost = sorted(name for name, state in engine.recorder.devices.items() if state.failures)
    silent = engine.watchdog.silent()
    platforms = [
        {"name": one.outbox.name, "connected": one.outbox.connected_at is not None, "owed": one.outbox.depth().owed}
        for one in engine.senders
    ]
    troubles = [
        *(["store"] if engine.store_error else []),
        *(["threads"] if silent else []),
        *(["clock"] if engine.time.against else []),
        *(["devices"] if engine.tasks and len(lost) == len(engine.tasks) else []),
    ]
    return {
        "station": engine.config.station.name,
        "version": VERSION,
        "time": engine.clock.now().isoformat(timespec="seconds"),
        "monotonic": round(engine.clock.monotonic(), 1),
        "boot": boot_id(),
        "troubles": troubles,
        "store_error": engine.store_error,
        "silent_threads": silent,
        "devices": len(engine.tasks),
        "devices_lost": lost,
        "platforms": platforms,
    }


def write(path: Path, body: dict[str, Any]) -> None:
    """Put *body* in place of the file at *path*: whoever reads it meets the former one or this one, whole."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(body, ensure_ascii=False) + "\n", encoding="utf-8")
    new.chmod(MODE)
    new.replace(path)


def read(
    path: Path, longest: float, monotonic: Callable[[], float] = time.monotonic, boot: Callable[[], str] = boot_id
) -> Seen:
    """What the file at *path* says; it is stale when it is older than *longest* seconds or of another boot."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Seen("absent", None, {})
    except ValueError:
        return Seen("stale", None, {})
    if not isinstance(body, dict) or not isinstance(body.get("monotonic"), int | float) or body.get("boot") != boot():
        return Seen("stale", None, body if isinstance(body, dict) else {})
    age = round(monotonic() - body["monotonic"], 1)
    if not 0 <= age + 1 <= longest + 1:
        return Seen("stale", age, body)
    return Seen("trouble" if body.get("troubles") else "well", age, body)
