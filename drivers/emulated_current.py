"""An emulated module of eight current inputs: currents injected, ranges set wrong, loops cut."""

from __future__ import annotations

from collections.abc import Callable

from drivers.current import (
    BROKEN_BELOW,
    CHANNELS,
    CURRENT,
    LOW,
    MODULES,
    READ_COILS,
    SPAN,
    ChannelSettings,
    CurrentSettings,
    profile_of,
)
from drivers.emulated import ILLEGAL_FUNCTION, EmulatedUnit, Values


class EmulatedCurrents(EmulatedUnit):
    """The module of *settings*; without *values* each transmitter gives 12 mA."""

    def __init__(self, settings: CurrentSettings, values: Values | Callable[[], Values] | None = None) -> None:
        super().__init__(profile_of(settings), settings.unit_id, values=values)
        self.settings = settings
        self.broken: set[int] = set()  # channels whose burn-out flag is set
        module = MODULES.get(settings.module)
        self.flags = module is not None and module.burn_out  # whether it knows them

    def inject(self, channel: int, current: float) -> None:
        """Have *current*, in mA, flow through *channel*, from 1."""
        parameter, one = self._on(channel)
        given = dict(self.values() if callable(self.values) else self.values)
        given[parameter] = one.low + (current - LOW) / SPAN * (one.high - one.low)
        given[f"{CURRENT}{channel}"] = current
        self.values = given
        (self.broken.add if current < BROKEN_BELOW else self.broken.discard)(channel)

    def set_range(self, channel: int, code: int) -> None:
        """Set *channel* to the range whose code is *code*."""
        parameter, _ = self._on(channel)
        self.quality |= {parameter: code, f"{CURRENT}{channel}": code}

    def _on(self, channel: int) -> tuple[str, ChannelSettings]:
        for parameter, one in self.settings.channels.items():
            if one.channel == channel:
                return parameter, one
        raise ValueError(f"nothing hangs on channel {channel}")

    def answer(self, request: bytes) -> bytes | None:
        """The burn-out flags, or what any instrument answers."""
        body = request[1:-2]
        if body[0] != READ_COILS:
            return super().answer(request)
        if not self.flags or body[1:] != bytes((0, 0, 0, CHANNELS)):
            return self._exception(body[0], ILLEGAL_FUNCTION)
        return self._frame(bytes((READ_COILS, 1, sum(1 << channel - 1 for channel in self.broken))))
