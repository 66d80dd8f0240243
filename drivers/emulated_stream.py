"""Emulated instruments that have a line to themselves: they talk at their own pace, or answer when asked."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drivers import faults
from drivers.bam1020 import REPLY_SECONDS, BamSettings, factor, offset
from drivers.base import BusSettings
from drivers.emulated import Values
from drivers.emulator import LATE_SECONDS, EmulatedBus
from drivers.line import bits_per_character
from drivers.records import Format
from drivers.stream import StreamSettings, chosen_fields, format_of

FAULTS: Mapping[str, str] = {
    "silent": "sends nothing",
    "late": "sends when the station has given up",
    "noise": "its records arrive with flipped bits, cut short, or as garbage",
    "half": "its records break off in the middle",
    "status": "reports a fault of its own, or a weight that is not stable",
}
LATE_PERIODS = 4  # a late stream pauses for so many of its periods
COMMANDS_HELD = 256  # bytes of unfinished questions kept

Raw = Mapping[str, float]  # by the record's own field names


def _es642(raw: Raw, faulty: bool) -> bytes:
    body = (
        f"{raw['concentration']:07.3f},2.0,{raw['temperature']:+05.1f},043,"
        f"{raw['pressure']:06.1f},{4 if faulty else 0:02d},"
    )
    return f"{body}*{sum(body.encode()) & 0xFFFF:05d}\r\n".encode()


def _aqt530(raw: Raw, faulty: bool) -> bytes:
    digits = {"T": 1, "H": 1, "P": 1, "PM1": 1, "PM2.5": 1, "PM10": 1}
    words = ["" if faulty else f"{value:.{digits.get(name, 3)}f}" for name, value in raw.items()]
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return ",".join([stamp, *words, ":".join(raw), f"{time.monotonic():.0f}"]).encode() + b"\r\n"


def _plantower(raw: Raw, faulty: bool) -> bytes:
    masses = [round(raw[name]) for name in ("pm1", "pm25", "pm10")]
    words = [28, *masses, *masses, 534, 166, 28, 2, 0, 0, 0x9700 + faulty]  # counts and version of the captured frame
    frame = b"\x42\x4d" + b"".join(max(0, min(word, 0xFFFF)).to_bytes(2, "big") for word in words)
    return frame + sum(frame).to_bytes(2, "big")


def _sds011(raw: Raw, faulty: bool) -> bytes:
    del faulty  # it has no word for a fault
    tenths = [max(0, min(round(raw[name] * 10), 9999)) for name in ("pm25", "pm10")]
    body = b"".join(word.to_bytes(2, "little") for word in tenths) + b"\xa1\x60"
    return b"\xaa\xc0" + body + bytes((sum(body) & 0xFF, 0xAB))


def _sics(raw: Raw, faulty: bool) -> bytes:
    return f"S {'D' if faulty else 'S'} {raw['mass']:12.4f} g\r\n".encode()


def _sbi(raw: Raw, faulty: bool) -> bytes:
    sign = "-" if raw["mass"] < 0 else "+"
    return f"{sign} {abs(raw['mass']):8.3f} {'' if faulty else 'g':<3}\r\n".encode()


WRITERS: Mapping[str, Callable[[Raw, bool], bytes]] = {
    "metone-es642": _es642,
    "vaisala-aqt530": _aqt530,
    "plantower-pms5003": _plantower,
    "nova-sds011": _sds011,
    "mtsics-balance": _sics,
    "sbi-balance": _sbi,
}


class _Faulty:
    """Something that can be told to fail."""

    faults = FAULTS
    fault: str | None = None

    def fail(self, fault: str) -> None:
        """Show *fault* until recover: one of FAULTS, or several with their rates ("half:0.1,noise:0.02")."""
        self.fault = faults.checked(fault, FAULTS)

    def recover(self) -> None:
        """Talk properly again."""
        self.fault = None


class EmulatedInstrument(_Faulty):
    """What talks: its records follow *values*, by parameter; what they leave out comes from the examples.

    A value of None is one the instrument does not have: it then says nothing, a balance that it is not stable.
    """

    def __init__(self, settings: StreamSettings, values: Values | Callable[[], Values] | None = None) -> None:
        self.format: Format = format_of(settings)
        self.values: Values | Callable[[], Values] = {} if values is None else values
        self.done: list[str] = []  # the orders it was given
        self.every_seconds = 0.0 if self.format.ask else self.format.every_seconds
        self.reply_seconds = self.format.reply_seconds
        orders = (self.format.orders or {}).values()
        self.questions = tuple(filter(None, (self.format.ask, *(order.sent for order in orders))))
        self._fields = chosen_fields(settings, self.format)
        self._write = WRITERS[settings.profile]

    def record(self, fault: str | None = None) -> bytes | None:
        """The present record, showing *fault* if it is its own, or None where the instrument would say nothing."""
        values = self.values() if callable(self.values) else self.values
        shown = {f.parameter: values.get(f.parameter, f.example) for f in self._fields}
        missing = any(value is None for value in shown.values())
        if missing and not self.format.ask:
            return None
        raw = {f.name: (shown[f.parameter] or 0.0) / f.scale for f in self._fields}
        for other in self.format.fields:  # a frame holds what was not asked for, too
            if other.name not in raw and other.parameter not in self.format.optional:
                raw[other.name] = other.example / other.scale
        return self._write(raw, missing or fault == "status")

    def answer(self, request: bytes, fault: str | None = None) -> bytes | None:
        """What it says to *request*, or None."""
        if request == self.format.ask:
            return self.record(fault)
        for verb, order in (self.format.orders or {}).items():
            if request == order.sent:
                self.done.append(verb)
                return (order.done + b"     0.0000 g\r\n") if order.done else None
        return None


class EmulatedBam(_Faulty):
    """A BAM-1020: a record for the last full hour, from *values* by parameter, and the header of the columns."""

    every_seconds = 0.0
    reply_seconds = REPLY_SECONDS
    questions = (b"\x1bQCH\r", b"\x1bQC\r", b"\x1bQH\r", b"\x1bQ\r")

    def __init__(
        self,
        settings: BamSettings,
        values: Values | Callable[[], Values] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.values: Values | Callable[[], Values] = {} if values is None else values
        self._settings, self._now = settings, now
        self._hour: tuple[str, Values] = ("", {})  # its stamp, and what its record says until the next one

    def record(self, fault: str | None = None) -> bytes | None:
        """The last full hour's record."""
        stamp = self._stamp()
        if callable(self.values) and self._hour[0] != stamp:
            self._hour = stamp, self.values()
        values = self._hour[1] if callable(self.values) else self.values
        words = [stamp]
        for parameter in self._settings.columns:
            value = values.get(parameter, 20.0)
            missing = value is None or fault == "status"
            words.append(" " * 7 if missing else f"{(value or 0.0) / factor(self._settings, parameter):7.3f}")
        return ",".join(words).encode() + b"\r\n"

    def answer(self, request: bytes, fault: str | None = None) -> bytes | None:
        """The header, or the record."""
        if request in (b"\x1bQCH\r", b"\x1bQH\r"):
            return ",".join([self._settings.time_column, *self._settings.columns.values()]).encode() + b"\r\n"
        return self.record(fault)

    def _stamp(self) -> str:
        hour = self._now().astimezone(offset(self._settings.timezone)).replace(minute=0, second=0, microsecond=0)
        if self._settings.stamp == "start":
            hour -= timedelta(hours=1)
        return hour.strftime(self._settings.time_format)


class EmulatedStream(EmulatedBus):
    """One instrument behind the pseudo-terminal at *path*, at its own pace; *every_seconds* replaces that pace."""

    faults: Mapping[str, str] = {}  # the instrument's own are what can fail

    def __init__(
        self,
        instrument: EmulatedInstrument | EmulatedBam,
        baudrate: int = 9600,
        bits: int = 10,
        *,
        every_seconds: float | None = None,
        pace: bool = True,
        link: Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(baudrate, bits, (), pace=pace, chunk=8, link=link, seed=seed)
        self.instrument = instrument
        self._every = instrument.every_seconds if every_seconds is None else every_seconds
        self._next_at = 0.0

    # -- in the emulator's own thread

    def _connect(self) -> None:
        super()._connect()
        self._plan(time.monotonic() + self._every)

    def _plan(self, at: float) -> None:
        """The next record is due *at*; an empty piece wakes the thread then."""
        if self._every:
            self._next_at = at
            self._order += 1
            heapq.heappush(self._pending, (at, self._order, b""))

    def _send_due(self) -> None:
        now = time.monotonic()
        if self._next_at and self._next_at <= now and self._terminal is not None:
            fault = self._emit()
            self._plan(now + self._every * (LATE_PERIODS if fault == "late" else 1))
        super()._send_due()

    def _emit(self) -> str | None:
        """Send a record; the fault it shows."""
        fault = faults.drawn(self.instrument.fault, self._random)
        self._send(self.instrument.record(fault), time.monotonic(), fault)
        return fault

    def _send(self, record: bytes | None, begins: float, fault: str | None) -> None:
        if record is None or fault == "silent":
            return
        if fault == "noise":
            record = faults.spoilt(record, self._random)
        elif fault == "half":
            record = record[: len(record) // 2]
        self.statistics.replies += 1
        self.statistics.reply_bytes += len(record)
        self._schedule(record, max(begins, self._busy_until))

    def _receive(self, data: bytes, now: float) -> None:
        self._received = (self._received + data)[-COMMANDS_HELD:]
        while begun := [(at, q) for q in self.instrument.questions if (at := self._received.find(q)) >= 0]:
            at, question = min(begun)
            self._received = self._received[at + len(question) :]
            self.statistics.requests += 1
            fault = faults.drawn(self.instrument.fault, self._random)
            late = self.instrument.reply_seconds + LATE_SECONDS if fault == "late" else 0.0
            self._send(self.instrument.answer(question, fault), now + late, fault)


def emulated_stream(
    settings: BusSettings,
    device: StreamSettings | BamSettings,
    values: Values | Callable[[], Values] | None = None,
    *,
    link: Path | None = None,
    pace: bool = True,
    seed: int = 0,
) -> EmulatedStream:
    """The line of *settings* with *device* on it; *values* holds a replay."""
    bits = bits_per_character(settings.parity, settings.stopbits)
    instrument = EmulatedBam(device, values) if isinstance(device, BamSettings) else EmulatedInstrument(device, values)
    return EmulatedStream(instrument, settings.baudrate, bits, link=link, pace=pace, seed=seed)
