"""Electricity meters that speak DL/T 645-2007, several on one line of their own.

A frame is 68, the address (six bytes of BCD, the lowest first), 68, the control code, the length, the data with 33
hexadecimal added to each byte, the sum of all of that modulo 256, and 16; up to four FE may stand before it.  11 reads,
91 answers, D1 refuses.  An answer repeats the address and what was asked for, so that a late one is never taken for
another's; one to the same question asked before may be, and is seconds old.  Frame, control codes and identifiers as
two public code bases have them (medium); the standard was not read.  Values are BCD, the lowest byte first; of
currents, powers and power factors the highest bit is the sign.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from drivers.base import BadReply, DeviceError, DeviceException, DeviceSettings, NoReply, ProfileError
from drivers.bus import Bus
from drivers.statistics import Statistics
from station.model import Mark, Reason, Sample, dataclass, did_you_mean, setting

START, END, WAKE, SHIFT = 0x68, 0x16, 0xFE, 0x33
READ, ANSWER, REFUSED = 0x11, 0x91, 0xD1
LEAST_FRAME, MOST_DATA = 12, 200
REPLY_SECONDS = 0.6  # a meter answers within 500 ms (as the code bases wait)
MOST_LISTENED = 512
LACKS_SECONDS = 3600.0  # then it is asked again: one refusal is no proof, and meters are exchanged
BAUDRATE, PARITY = 2400, "E"  # as most meters are shipped (recalled, D)
REFUSALS = {  # bits of the error byte
    1: "other error", 2: "no such data", 4: "password or authority", 8: "speed cannot be changed",
    16: "too many year zones", 32: "too many day time zones", 64: "too many tariffs",
}  # fmt: skip


class Item(NamedTuple):
    """One value: its identifier, bytes, decimals, whether the highest bit is a sign, and an example."""

    identifier: int
    size: int
    decimals: int
    signed: bool
    unit: str
    example: float


ITEMS: Mapping[str, Item] = {
    "energy_total": Item(0x00000000, 4, 2, True, "kWh", 12345.67),
    "energy_import": Item(0x00010000, 4, 2, False, "kWh", 12345.67),
    "energy_spike": Item(0x00010100, 4, 2, False, "kWh", 120.5),
    "energy_peak": Item(0x00010200, 4, 2, False, "kWh", 5120.25),
    "energy_flat": Item(0x00010300, 4, 2, False, "kWh", 4100.42),
    "energy_valley": Item(0x00010400, 4, 2, False, "kWh", 3004.5),
    "energy_export": Item(0x00020000, 4, 2, False, "kWh", 12.34),
    **{f"voltage_l{n}": Item(0x02010000 + 0x100 * n, 2, 1, False, "V", 229.0 + n) for n in (1, 2, 3)},
    **{f"current_l{n}": Item(0x02020000 + 0x100 * n, 3, 3, True, "A", 10.0 + n / 8) for n in (1, 2, 3)},
    "power_total": Item(0x02030000, 3, 4, True, "kW", 6.9012),
    **{f"power_l{n}": Item(0x02030000 + 0x100 * n, 3, 4, True, "kW", 2.3004) for n in (1, 2, 3)},
    "power_factor": Item(0x02060000, 2, 3, True, "", 0.98),
    "frequency": Item(0x02800002, 2, 2, False, "Hz", 50.02),
}
USUAL = ("energy_import", "power_total", "voltage_l1", "current_l1")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings(DeviceSettings):
    """The keys of a [[bus.device]] table whose driver is "dlt645"."""

    address: str = setting(text="the twelve digits on the meter's plate (表号)")


# -- frames


def frame(address: str, control: int, data: bytes) -> bytes:
    """A frame, without what wakes the meter.

    >>> frame("000000000001", 0x11, bytes.fromhex("00010000")).hex(" ")
    '68 01 00 00 00 00 00 68 11 04 33 34 33 33 b3 16'
    """
    body = bytes((START, *reversed(bytes.fromhex(address)), START, control, len(data)))
    body += bytes((one + SHIFT) & 0xFF for one in data)
    return body + bytes((sum(body) & 0xFF, END))


class Frame(NamedTuple):
    """A sound frame."""

    address: str
    control: int
    data: bytes


def frames_in(received: bytes) -> Iterator[Frame]:
    """Every sound frame in *received*."""
    at = 0
    while (at := received.find(START, at)) >= 0:
        size = LEAST_FRAME + received[at + 9] if len(received) >= at + LEAST_FRAME else 0
        whole = received[at : at + size]
        if (
            size
            and len(whole) == size
            and size <= LEAST_FRAME + MOST_DATA
            and whole[7] == START
            and whole[-1] == END
            and sum(whole[:-2]) & 0xFF == whole[-2]
        ):
            data = bytes((one - SHIFT) & 0xFF for one in whole[10:-2])
            yield Frame(bytes(reversed(whole[1:7])).hex(), whole[8], data)
            at += size
        else:
            at += 1


def number_of(data: bytes, item: Item) -> float | None:
    """The value in *data*, the lowest byte first; None where it is no BCD: a meter fills FF into what it has not.

    >>> number_of(bytes.fromhex("0522"), ITEMS["voltage_l1"]), number_of(bytes.fromhex("015081"), ITEMS["current_l1"])
    (220.5, -15.001)
    """
    digits = bytearray(reversed(data))
    negative = item.signed and bool(digits[0] & 0x80)
    if negative:
        digits[0] &= 0x7F
    text = digits.hex()
    if not text.isdecimal():
        return None
    value: float = int(text) / 10**item.decimals
    return -value if negative else value


def digits_of(value: float, item: Item) -> bytes:
    """*value* as a meter sends it, the lowest byte first.

    >>> digits_of(220.5, ITEMS["voltage_l1"]).hex()
    '0522'
    """
    text = f"{round(abs(value) * 10**item.decimals):0{2 * item.size}d}"[-2 * item.size :]
    digits = bytearray.fromhex(text)
    if value < 0 and item.signed:
        digits[0] |= 0x80
    return bytes(reversed(digits))


# -- the instrument


class Meter:
    """A meter on *bus*, asked for one value after the other."""

    Settings = MeterSettings

    def __init__(self, settings: MeterSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]) -> None:
        if re.fullmatch(r"\d{12}", settings.address) is None:
            raise ProfileError(f'address: "{settings.address}" is not the twelve digits of a meter')
        chosen = settings.parameters or USUAL
        for parameter in chosen:
            if parameter not in ITEMS:
                raise ProfileError(f'parameters: no meter gives "{parameter}"{did_you_mean(parameter, ITEMS)}')
        self.name, self._address, self._bus, self._now = settings.name, settings.address, bus, now
        self._chosen = tuple(chosen)
        self.units: Mapping[str, str] = {parameter: ITEMS[parameter].unit for parameter in chosen}
        self.every_seconds, self.poll_minimum_seconds = 0.0, 1.0
        self.actions: Mapping[str, Sequence[str]] = {}
        found = f"{bus.settings.baudrate} 8{bus.settings.parity}"
        shipped = f"{BAUDRATE} 8{PARITY}"
        self.hints = (
            () if found == shipped else (f"the line is set to {found}, most meters are shipped with {shipped}",)
        )
        self._lacks: dict[str, float] = {}  # what this meter said that it has not, and when on the bus's clock

    @property
    def statistics(self) -> Statistics:
        """What was asked and answered."""
        return self._bus.statistics[int(self._address)]

    def read(self) -> list[Sample]:
        """A sample of each parameter; raise DriverError when the meter does not answer."""
        samples = []
        for parameter in self._chosen:
            if self._bus.monotonic() - self._lacks.get(parameter, -math.inf) < LACKS_SECONDS:
                samples.append(Sample(parameter, self._now(), None, Mark.D, Reason.NO_VALUE))
                continue
            try:
                value = self._value(parameter)
            except DeviceException as error:
                if not error.code & 2:
                    raise
                self._lacks[parameter] = self._bus.monotonic()
                value = None
            else:
                self._lacks.pop(parameter, None)
            at = self._now()
            samples.append(
                Sample(parameter, at, None, Mark.D, Reason.NO_VALUE) if value is None else Sample(parameter, at, value)
            )
        if len(self._lacks) == len(self._chosen):
            self._lacks.clear()  # another meter, or one that had not come to itself
        return samples

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing can be ordered: a meter's settings are the supplier's."""
        raise DeviceError(f"{self.name}: has no way to {verb}")

    def close(self) -> None:
        """Nothing: the port belongs to the bus."""

    def _value(self, parameter: str) -> float | None:
        item = ITEMS[parameter]
        asked = item.identifier.to_bytes(4, "little")
        where = f"{self._bus.settings.port}: meter {self._address}"
        self.statistics.requests += 1
        asked_at = self._bus.monotonic()
        self._bus.beat()
        self._bus.say(bytes((WAKE,) * 4) + frame(self._address, READ, asked))
        received = b""
        wire = (LEAST_FRAME + 8 + 4 + MOST_DATA // 8) * self._bus.line.character
        deadline = asked_at + REPLY_SECONDS + 2 * wire
        while (left := deadline - self._bus.monotonic()) > 0 and len(received) < MOST_LISTENED:
            received += self._bus.listen(left)
            for one in frames_in(received):
                if one.address != self._address or one.control not in (ANSWER, REFUSED):
                    continue  # our own request come back, or somebody else's
                if one.control == REFUSED:
                    code = one.data[0] if one.data else 0
                    self.statistics.refused(code)
                    said = ", ".join(word for bit, word in REFUSALS.items() if code & bit) or "no reason"
                    raise DeviceException(f"{where}: refuses {parameter} ({said})", code)
                if one.data[:4] != asked:
                    continue  # what was asked for before
                if len(one.data) != 4 + item.size:
                    self.statistics.bad_replies += 1
                    raise BadReply(f"{where}: {len(one.data) - 4} bytes of {parameter}, not {item.size}")
                self.statistics.answered(self._bus.monotonic() - asked_at)
                return number_of(one.data[4:], item)
        if not received:
            self.statistics.timeouts += 1
            raise NoReply(f"{where}: no reply to {parameter} within {REPLY_SECONDS:g} s")
        self.statistics.bad_replies += 1
        raise BadReply(f"{where}: {received.hex(' ').upper()[:120]} is not the answer to {parameter}")
