"""The box in which a sampler keeps its bottles: temperature, door, full, fault; each change told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from station.sampler_seen import Seen

if TYPE_CHECKING:
    from station.sampler_settings import SamplerSettings


class Box:
    """What is told of the box of *settings*' sampler with *note*."""

    def __init__(self, settings: SamplerSettings, note: Callable[..., None]) -> None:
        self._settings, self._note = settings, note
        self._outside_since: float | None = None
        self.outside = False  # it is on record that the temperature is
        self._door = self._full = False
        self._fault = ""

    def look(self, seen: Seen, now: float, *, bottles: int) -> None:
        """Tell of what changed; *bottles* are those that lie in it, *now* is on the clock that never steps."""
        if seen.temperature is not None:
            self._warm(seen.temperature, now, bottles)
        if seen.door is not None and seen.door is not self._door:
            self._door = seen.door
            self._note("sampler_door_open" if seen.door else "sampler_door_closed", urgent=True, bottles=bottles)
        if seen.full is not None and seen.full is not self._full:
            self._full = seen.full
            self._note("sampler_full" if seen.full else "sampler_not_full", urgent=True)
        if seen.fault != self._fault:
            said, self._fault = seen.fault or self._fault, seen.fault
            self._note("sampler_fault" if seen.fault else "sampler_fault_over", urgent=True, reason=said)

    def _warm(self, temperature: float, now: float, bottles: int) -> None:
        if self._settings.box_low <= temperature <= self._settings.box_high:
            if self.outside:
                self._note("sampler_box_well", urgent=True, temperature=temperature, bottles=bottles)
            self._outside_since, self.outside = None, False
            return
        self._outside_since = now if self._outside_since is None else self._outside_since
        if not self.outside and now - self._outside_since >= 60 * self._settings.box_minutes:
            self.outside = True
            self._note(
                "sampler_box_warm" if temperature > self._settings.box_high else "sampler_box_cold",
                urgent=True, temperature=temperature, minutes=round((now - self._outside_since) / 60), bottles=bottles,
            )  # fmt: skip
