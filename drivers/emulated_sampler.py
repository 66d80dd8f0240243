"""An emulated sampler: it fills the bottle it is told to, takes its time, and fails as samplers do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from drivers.emulated import BUSY, DEVICE_FAILURE, WRITE_ONE, EmulatedUnit, number_at
from drivers.profile import Action, Profile

TROUBLES: Mapping[str, str] = {
    "jammed": "the turntable does not move: the sample fails",
    "stuck": "takes the order and never says that it is done",
    "full": "says that no bottle is left, and refuses",
    "warm": "the box stands at 12 °C",
    "door": "the door is open",
    "wrong-bottle": "fills the bottle behind the one it was told",
}
COLD, WARM = 3.5, 12.0  # °C
JAMMED = 3  # as the list Dahu numbers it: retention failed
VOLUME = 500.0  # mL
FILL_SECONDS = 60.0


class EmulatedSampler(EmulatedUnit):
    """A sampler that answers as its *profile* says and needs *fill_seconds* of *monotonic* for a bottle.

    *filled* is what lies in its bottles, by number: how often each was filled.  Troubles are those of TROUBLES; one
    that is silent is made with `fail("silent")`, as of any unit.
    """

    def __init__(
        self,
        profile: Profile,
        unit_id: int | None = None,
        *,
        fill_seconds: float = FILL_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(profile, unit_id, values=self._state, monotonic=monotonic)
        self.fill_seconds = fill_seconds
        self.filled: dict[int, int] = {}
        self.troubles: set[str] = set()
        self._bottle, self._sampled, self._good = 0, 0, True
        self._at_work: tuple[int, float] | None = None  # the bottle, and when it is done

    events: Mapping[str, str] = {**EmulatedUnit.events, **TROUBLES}

    def happen(self, event: str) -> None:
        """Let a trouble begin, or what happens to any unit."""
        if event not in TROUBLES:
            super().happen(event)
            return
        self.trouble(*self.troubles, event)

    def recover(self) -> None:
        """Work properly again."""
        super().recover()
        self.trouble()

    def trouble(self, *troubles: str) -> None:
        """Have *troubles* of TROUBLES alone, none without."""
        unknown = {*troubles} - {*TROUBLES}
        if unknown:
            raise ValueError(f"{unknown.pop()!r} is not one of {', '.join(TROUBLES)}")
        self.troubles = {*troubles}

    def by_panel(self, bottle: int) -> None:
        """Somebody keeps a sample at the panel, which no station asked for."""
        self._fill(bottle, good=True)

    def _state(self) -> Mapping[str, float | None]:
        self._go_on()
        return {
            "box_temperature": WARM if "warm" in self.troubles else COLD,
            "door": float("door" in self.troubles),
            "full": float("full" in self.troubles),
            "fault": float(JAMMED if "jammed" in self.troubles and not self._good else 0),
            "sampled": float(self._sampled),
            "bottle": float(self._bottle),
            "result": float(self._good),
            "volume": VOLUME,
        }

    def _go_on(self) -> None:
        if self._at_work is None or self._monotonic() < self._at_work[1] or "stuck" in self.troubles:
            return
        bottle, self._at_work = self._at_work[0], None
        self._fill(bottle + ("wrong-bottle" in self.troubles), good="jammed" not in self.troubles)

    def _fill(self, bottle: int, *, good: bool) -> None:
        self._bottle, self._good, self._sampled = bottle, good, self._sampled + 1
        if good:
            self.filled[bottle] = self.filled.get(bottle, 0) + 1

    def _acted(self, action: Action, body: bytes) -> bytes:
        if action.verb != "keep_sample":
            return super()._acted(action, body)
        self._go_on()
        if self._at_work is not None:
            return self._exception(body[0], BUSY)
        if self.troubles & {"full", "door"}:
            return self._exception(body[0], DEVICE_FAILURE)
        reply = super()._acted(action, body)
        self._at_work = number_at(body, 3 if body[0] == WRITE_ONE else 6), self._monotonic() + self.fill_seconds
        return reply
