"""Emulated meters of DL/T 645-2007 on one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from drivers import faults
from drivers.base import BusSettings
from drivers.dlt645 import (
    ANSWER,
    ITEMS,
    READ,
    REFUSED,
    USUAL,
    MeterSettings,
    digits_of,
    frame,
    frames_in,
)
from drivers.emulated import Values
from drivers.emulator import EmulatedBus
from drivers.line import bits_per_character

FAULTS: Mapping[str, str] = {
    "silent": "does not answer",
    "late": "answers when the master has given up",
    "noise": "its answers arrive with flipped bits, cut short, or as garbage",
    "half": "its answers end in the middle",
    "lacks": "refuses every item: no such data",
    "blank": "has FF for digits",
}
NO_SUCH_DATA = b"\x02"
THINKING_SECONDS = 0.05
LATE_SECONDS = 1.3  # behind the time that the driver waits


class EmulatedMeter:
    """A meter that shows *values* by parameter; what they leave out comes from the examples."""

    faults = FAULTS

    def __init__(self, settings: MeterSettings, values: Values | Callable[[], Values] | None = None) -> None:
        self.address = settings.address
        self.parameters = tuple(settings.parameters or USUAL)
        self.values: Values | Callable[[], Values] = {} if values is None else values
        self.fault: str | None = None

    def fail(self, fault: str) -> None:
        """Show *fault* until recover: one of FAULTS, or several with their rates."""
        self.fault = faults.checked(fault, FAULTS)

    def recover(self) -> None:
        """Answer properly again."""
        self.fault = None

    def answer(self, asked: bytes, fault: str | None = None) -> bytes:
        """What it says to a request for the item *asked*."""
        known = {ITEMS[name].identifier.to_bytes(4, "little"): name for name in self.parameters}
        name = known.get(asked)
        if name is None or fault == "lacks":
            return frame(self.address, REFUSED, NO_SUCH_DATA)
        values = self.values() if callable(self.values) else self.values
        item = ITEMS[name]
        value = values.get(name, item.example)
        blank = value is None or fault == "blank"
        digits = b"\xff" * item.size if blank else digits_of(value or 0.0, item)
        return b"\xfe\xfe" + frame(self.address, ANSWER, asked + digits)


class EmulatedMeters(EmulatedBus):
    """Meters behind the pseudo-terminal at *path*."""

    faults: Mapping[str, str] = {}  # the meters' own are what can fail

    def __init__(
        self, meters: Sequence[EmulatedMeter], baudrate: int = 2400, bits: int = 11, *, pace: bool = True,
        link: Path | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(baudrate, bits, (), pace=pace, chunk=4, link=link, seed=seed)
        self.meters = {meter.address: meter for meter in meters}

    def _receive(self, data: bytes, now: float) -> None:
        self._received = (self._received + data)[-300:]
        for one in frames_in(self._received):
            self._received = b""
            self.statistics.requests += 1
            meter = self.meters.get(one.address)
            if meter is None or one.control != READ:
                continue
            fault = faults.drawn(meter.fault, self._random)
            if fault == "silent":
                continue
            reply = meter.answer(one.data, fault)
            if fault == "noise":
                reply = faults.spoilt(reply, self._random)
            elif fault == "half":
                reply = reply[: len(reply) // 2]
            self.statistics.replies += 1
            late = LATE_SECONDS if fault == "late" else THINKING_SECONDS if self.pace else 0.0
            self._schedule(reply, max(time.monotonic() + late, self._busy_until))


def emulated_meters(
    settings: BusSettings,
    devices: Sequence[MeterSettings],
    values: Mapping[str, Values | Callable[[], Values]] | None = None,
    *,
    link: Path | None = None,
    pace: bool = True,
    seed: int = 0,
) -> EmulatedMeters:
    """The line of *settings* with the meters *devices* on it; *values* holds a replay by device name."""
    given = values or {}
    meters = [EmulatedMeter(device, given.get(device.name)) for device in devices]
    bits = bits_per_character(settings.parity, settings.stopbits)
    return EmulatedMeters(meters, settings.baudrate, bits, link=link, pace=pace, seed=seed)
