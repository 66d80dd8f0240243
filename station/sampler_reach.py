"""How a sampler is reached: by its line, in the thread of its bus, or by an output and contacts.

Neither waits: what comes of an errand is handed to whoever asked, from whichever thread did it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from station.model import StationError, replace
from station.sampler_seen import Seen, seen

if TYPE_CHECKING:
    from station.engine import Engine
    from station.sampler_settings import SamplerSettings

Came = Callable[[Seen | StationError | None], None]  # what was seen, an order that was taken (None), or what failed


class Unreachable(StationError):
    """Error raised when a sampler cannot be asked for anything."""


class Errand:
    """Something a bus's thread is to do; *begin* says whether it still may, *give_up* whether it had not begun."""

    def __init__(self) -> None:
        self._lock, self._begun, self._over = Lock(), False, False

    def begin(self) -> bool:
        """Whether it may begin; after that it cannot be given up."""
        with self._lock:
            self._begun = not self._over
            return self._begun

    def give_up(self) -> bool:
        """Have it not done any more; false where it has begun."""
        with self._lock:
            self._over = True
            return not self._begun


class Reach(Protocol):
    """A way to a sampler."""

    tells: bool  # whether it says that a sample is done

    def look(self, came: Came) -> Errand:
        """Have it looked at."""

    def take(self, bottle: int, who: str, came: Came) -> Errand:
        """Have *bottle* filled, for *who*."""

    def may_have_moved(self, error: StationError) -> bool:
        """Whether something may be in the bottle after an order that ended with *error*."""


class ByLine:
    """A sampler on an RS-485 line; its errands go between two polls of that bus."""

    def __init__(self, engine: Engine, settings: SamplerSettings) -> None:
        poller = next((one for one in engine.pollers if one.bus_name == settings.bus), None)
        if poller is None:
            raise Unreachable(f'sampler {settings.name}: there is no bus "{settings.bus}"')
        self._submit = poller.submit
        self._engine, self._door = engine, settings.door
        self._unit = engine.loaded.sampler(settings, engine.lines[settings.bus])
        self.tells = self._unit.tells

    def look(self, came: Came) -> Errand:
        return self._do(self._look, came)

    def take(self, bottle: int, who: str, came: Came) -> Errand:
        return self._do(lambda: self._unit.take(bottle), came)

    def may_have_moved(self, error: StationError) -> bool:
        return bool(self._unit.may_have_moved(error))

    def _look(self) -> Seen:
        found = seen(self._unit.read(), self._unit.conditions)
        door = _contact(self._engine, self._door)
        return found if door is None else replace(found, door=door or bool(found.door))

    def _do(self, work: Callable[[], Seen | None], came: Came) -> Errand:
        errand = Errand()

        def run() -> None:
            if not errand.begin():
                return
            try:
                result: Seen | StationError | None = work()
            except StationError as error:
                result = error
            came(result)

        self._submit(run)
        return errand


class ByContact:
    """A sampler behind an output and contacts: it counts one more sample with every pulse of *done*."""

    def __init__(self, engine: Engine, settings: SamplerSettings) -> None:
        if engine.linkage is None:
            raise Unreachable(f"sampler {settings.name}: this station has no pins")
        self._engine, self._settings, self._linkage = engine, settings, engine.linkage
        self.tells = bool(settings.done)
        self._before = self._linkage.contact(settings.done) if settings.done else None
        self._count = 0

    def look(self, came: Came) -> Errand:
        errand, settings = Errand(), self._settings
        errand.begin()
        try:
            found = {key: _contact(self._engine, getattr(settings, key)) for key in ("full", "door", "fault")}
        except StationError as error:
            came(error)
            return errand
        fault = "fault" if found["fault"] else ""
        came(Seen(full=found["full"], door=found["door"], fault=fault, sampled=self._done()))
        return errand

    def _done(self) -> int | None:
        """One more for each time it was closed; one that is open again since the last look was closed in between."""
        if not self._settings.done:
            return None
        state = self._linkage.contact(self._settings.done)
        if state is not None and state != self._before:
            was = bool(self._before and self._before[0])
            self._count += not was or state[0]
            self._before = state
        return self._count

    def take(self, bottle: int, who: str, came: Came) -> Errand:
        errand, settings = Errand(), self._settings
        errand.begin()
        try:
            self._linkage.order("on", settings.output, settings.pulse_seconds, f"bottle {bottle}", who)
        except StationError as error:
            came(error)
        else:
            came(None)
        return errand

    def may_have_moved(self, error: StationError) -> bool:
        return False  # a lock, a limit, a pin that cannot be switched: there was no pulse


def _contact(engine: Any, name: str) -> bool | None:
    """Whether contact *name* is active, None where there is none; raise Unreachable where its pin cannot be read."""
    if not name:
        return None
    state = engine.linkage.contact(name) if engine.linkage is not None else None
    if state is None:
        raise Unreachable(f'input "{name}" of the sampler cannot be read')
    return bool(state[0])
