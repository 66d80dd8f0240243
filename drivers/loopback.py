"""A port tried on its own: what is sent has to come back, whole and at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from drivers.base import BusSettings, PortLost
from drivers.port import Port, Speed, cause, open_port
from station.model import dataclass, replace

SPEEDS = (Speed(2400), Speed(9600), Speed(19200, "E"), Speed(38400), Speed(115200))
PATTERN = bytes((0x55, 0xAA, 0x00, 0xFF, 0x01, 0x80, 0x7F, 0xFE)) + random.Random(485).randbytes(56)
ROUNDS = 4  # patterns at each speed
PATIENCE = 0.3  # seconds beyond the bytes' own time
HELD_MS = 10.0  # beyond the bytes' own time: the adapter collects them
VERDICTS = ("clean", "nothing", "damaged", "held", "fails_fast", "other_side")


@dataclass(frozen=True, slots=True)
class Result:
    """One speed: bytes *sent*, those of them that came back *right*, all that came, and how late the first was."""

    speed: Speed
    sent: int
    right: int
    received: int
    latency_ms: float | None

    @property
    def good(self) -> bool:
        """Whether everything came back and nothing else."""
        return self.sent == self.right == self.received

    def as_dict(self) -> dict[str, Any]:
        """The result for programs."""
        return {
            "speed": str(self.speed),
            "sent": self.sent,
            "right": self.right,
            "received": self.received,
            "latency_ms": self.latency_ms,
        }


def trial(
    sender: str,
    receiver: str | None = None,
    speeds: Sequence[Speed] = SPEEDS,
    open_port: Callable[[BusSettings], Port] = open_port,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Result]:
    """Send the pattern from *sender* to *receiver* (or back to itself) at each of *speeds*."""
    for speed in speeds:
        settings = BusSettings(
            name=sender, port=sender, baudrate=speed.baudrate, parity=speed.parity, stopbits=speed.stopbits
        )
        ports = [_opened(settings, open_port)]
        try:
            if receiver is not None:
                ports.append(_opened(replace(settings, name=receiver, port=receiver), open_port))
            yield _rounds(ports[0], ports[-1], speed, monotonic)
        finally:
            for port in ports:
                port.close()


def _opened(settings: BusSettings, open_port: Callable[[BusSettings], Port]) -> Port:
    try:
        return open_port(settings)
    except PortLost:
        raise
    except (OSError, ValueError) as error:
        raise PortLost(f"{settings.port}: cannot be opened: {cause(error)}") from error


def _rounds(sender: Port, receiver: Port, speed: Speed, monotonic: Callable[[], float]) -> Result:
    sent = right = received = 0
    latencies = []
    character = speed.line.character
    for _ in range(ROUNDS):
        receiver.reset_input_buffer()
        began = monotonic()
        sender.write(PATTERN)
        receiver.timeout = len(PATTERN) * character + PATIENCE
        got = bytes(receiver.read(1))
        if got:
            latencies.append(1000 * (monotonic() - began - character))
        while got and len(got) < 2 * len(PATTERN):
            receiver.timeout = PATIENCE if len(got) < len(PATTERN) else 4 * character + 0.03
            more = bytes(receiver.read(max(1, len(PATTERN) - len(got))))
            if not more:
                break
            got += more
        sent, received = sent + len(PATTERN), received + len(got)
        right += sum(a == b for a, b in zip(got, PATTERN, strict=False))
        if not received:
            break  # nothing came of 64 bytes; more of them would not either
    latency = round(sorted(latencies)[len(latencies) // 2], 1) if latencies else None
    return Result(speed, sent, right, received, latency)


def verdict(results: Sequence[Result], two: bool) -> str:
    """What *results* say in one of VERDICTS; *two* adapters, or one with its ends joined.

    >>> verdict([Result(Speed(9600), 64, 0, 0, None)], False)
    'nothing'
    """
    if not any(one.received for one in results):
        return "other_side" if two else "nothing"
    if all(one.good for one in results):
        held = [one.latency_ms for one in results if one.speed.baudrate >= 9600 and one.latency_ms is not None]
        return "held" if held and min(held) > HELD_MS else "clean"
    slow = [one for one in results if one.speed.baudrate <= 19200]
    return "fails_fast" if slow and all(one.good for one in slow) else "damaged"
