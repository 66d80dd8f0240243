"""What the driver tests share: a clock that only sleeping moves, and a port that answers from a function."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from drivers.base import BusSettings
from drivers.bus import Bus, Port
from drivers.profile import Profile, parse

NOON = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)

THERMOMETER = """
title = "thermometer"
baudrate = 9600
unit_id = 1
gap_ms = 0
[[register]]
parameter = "air_temperature"
table = "input"
address = 1
type = "i16"
scale = 0.1
unit = "°C"
example = 21.5
[[register]]
parameter = "humidity"
table = "input"
address = 2
type = "u16"
scale = 0.1
unit = "%"
example = 56.3
"""


def thermometer(extra: str = "") -> Profile:
    """A small instrument; *extra* keys go before its first table."""
    return parse(extra + THERMOMETER, "thermometer")


def settings(port: str = "/dev/ttyUSB0", baudrate: int = 9600, gap_ms: float | None = None) -> BusSettings:
    return BusSettings(name="test", port=port, baudrate=baudrate, gap_ms=gap_ms)


class FakeTime:
    """Monotonic time that passes only in sleep and in waiting for bytes."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class FakePort:
    """A serial port at *character* seconds a byte; *answer* says what a request brings, and when.

    It returns pieces (seconds after the request is out, bytes); each byte then takes its time on the wire.
    """

    def __init__(
        self,
        time: FakeTime,
        answer: Callable[[bytes], list[tuple[float, bytes]]],
        character: float = 10 / 9600,
    ) -> None:
        self.time, self.answer, self.character = time, answer, character
        self.timeout: float | None = 1
        self.written: list[tuple[float, bytes]] = []
        self.arriving: list[tuple[float, int]] = []
        self.reads = self.resets = 0
        self.closed = False

    @property
    def in_waiting(self) -> int:
        return sum(at <= self.time.now for at, _ in self.arriving)

    def read(self, size: int = 1, /) -> bytes:
        """Blocks, as pyserial does, until *size* bytes are there or the timeout has passed."""
        self.reads += 1
        deadline = self.time.now + (self.timeout or 0)
        while self.in_waiting < size:
            due = [at for at, _ in self.arriving if at > self.time.now]
            if not due or min(due) > deadline:
                self.time.now = deadline
                break
            self.time.now = min(due)
        taken, self.arriving = self.arriving[: min(size, self.in_waiting)], self.arriving[min(size, self.in_waiting) :]
        return bytes(byte for _, byte in taken)

    def write(self, data: bytes, /) -> int:
        self.written.append((self.time.now, data))
        out = self.time.now + len(data) * self.character
        for delay, piece in self.answer(data):
            self.put(piece, out + delay - self.time.now)
        return len(data)

    def put(self, data: bytes, delay: float = 0.0) -> None:
        """Let *data* begin to arrive after *delay* seconds."""
        begins = self.time.now + delay
        self.arriving += [(begins + (i + 1) * self.character, byte) for i, byte in enumerate(data)]
        self.arriving.sort(key=lambda entry: entry[0])

    def reset_input_buffer(self) -> None:
        self.resets += 1
        self.arriving = [entry for entry in self.arriving if entry[0] > self.time.now]

    def close(self) -> None:
        self.closed = True


def bus_with(port: Port, time: FakeTime, gap_ms: float | None = 0) -> Bus:
    return Bus(settings(gap_ms=gap_ms), lambda _: port, time.monotonic, time.sleep)
