"""An emulated module of inputs and outputs: wires bridged, pulses, coils that stick, a watchdog of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from drivers.dio import COUNTING, READ_COILS, READ_INPUTS, WRITE_COIL, Bits, DioSettings
from drivers.emulated import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, EmulatedUnit, number_at
from drivers.profile import Profile

READ_HOLDING = 3


class EmulatedDio(EmulatedUnit):
    """The module of *settings*.  *watchdog_seconds* without a request switch its outputs off; 0: it has none on."""

    def __init__(self, settings: DioSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        profile = Profile(name="io-module", title="", grade="D", baudrate=9600, unit_id=settings.unit_id, registers=())
        super().__init__(profile, settings.unit_id, monotonic=monotonic)
        self.map = settings.map
        self.levels = [False] * self.map.inputs.size
        self.coils = [False] * self.map.outputs.size
        self.counts = [0] * self.map.inputs.size
        self.modes = [COUNTING] * self.map.inputs.size
        self.stuck: dict[int, bool] = {}  # outputs, from 1, that take no other state
        self.watchdog_seconds = 0.0
        self.tripped = False
        self.writes = 0
        self._asked_at = monotonic()

    def bridge(self, channel: int, level: bool) -> None:
        """Put *level* on input *channel*, from 1."""
        self.levels[channel - 1] = level

    def pulse(self, channel: int, times: int = 1) -> None:
        """Let *times* pulses come to input *channel*."""
        self.counts[channel - 1] = (self.counts[channel - 1] + times) % (1 << 32)

    def stick(self, channel: int, on: bool) -> None:
        """Have output *channel* stand *on* or off whatever it is told; it acknowledges all the same."""
        self.stuck[channel] = on
        self.coils[channel - 1] = on

    def power_cycle(self) -> None:
        """Off and on again: outputs off, counters at zero."""
        super().power_cycle()
        self.coils = [self.stuck.get(n + 1, False) for n in range(len(self.coils))]
        self.counts = [0] * len(self.counts)

    def on(self, channel: int) -> bool:
        """What output *channel* is now."""
        self._watch()
        return self.coils[channel - 1]

    def _watch(self) -> None:
        if 0 < self.watchdog_seconds <= self._monotonic() - self._asked_at and not self.tripped:
            self.tripped = True
            self.coils = [self.stuck.get(n + 1, False) for n in range(len(self.coils))]

    def answer(self, request: bytes) -> bytes | None:
        """The reply to a sound *request*."""
        self._watch()
        self._asked_at = self._monotonic()
        function, address, number = request[1], number_at(request, 2), number_at(request, 4)
        if function == WRITE_COIL:
            return self._coil(request, address, number)
        if function in (READ_COILS, READ_INPUTS):
            for row, levels in ((self.map.inputs, self.levels), (self.map.outputs, self.coils)):
                if row.function == function and _within(row, address, number):
                    return self._packed(function, levels[address - row.first :][:number])
            return self._exception(function, ILLEGAL_ADDRESS)
        if function == READ_HOLDING:
            return self._holding(address, number)
        return self._exception(function, ILLEGAL_FUNCTION)

    def _coil(self, request: bytes, address: int, number: int) -> bytes:
        if number not in (0, 0xFF00):
            return self._exception(WRITE_COIL, ILLEGAL_VALUE)
        if not _within(self.map.outputs, address, 1):
            return self._exception(WRITE_COIL, ILLEGAL_ADDRESS)
        channel = address - self.map.outputs.first
        self.coils[channel] = self.stuck.get(channel + 1, number != 0)
        self.tripped, self.writes = False, self.writes + 1
        return self._frame(request[1:6])

    def _packed(self, function: int, levels: list[bool]) -> bytes:
        raw = sum(1 << n for n, level in enumerate(levels) if level)
        data = raw.to_bytes((len(levels) + 7) // 8, "little")
        return self._frame(bytes((function, len(data))) + data)

    def _holding(self, address: int, count: int) -> bytes:
        words: dict[int, int] = {}
        if self.map.counters is not None:
            for n, total in enumerate(self.counts):
                first = self.map.counters.first + 2 * n
                words |= {first: total & 0xFFFF, first + 1: total >> 16, self.map.counters.modes + n: self.modes[n]}
        if self.map.watchdog is not None:
            words |= {self.map.watchdog: int(self.watchdog_seconds > 0), self.map.watchdog + 1: int(self.tripped)}
        wanted = range(address, address + count)
        if not wanted or any(one not in words for one in wanted):
            return self._exception(READ_HOLDING, ILLEGAL_ADDRESS)
        data = b"".join(words[one].to_bytes(2, "big") for one in wanted)
        return self._frame(bytes((READ_HOLDING, len(data))) + data)


def _within(row: Bits, address: int, count: int) -> bool:
    return count > 0 and row.first <= address and address + count <= row.first + row.size
