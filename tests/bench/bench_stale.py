"""Late replies against the real bus: is one ever taken for another request's?  Run by hand; asserts nothing.

    python tests/bench/bench_stale.py [--reads 100000] [--late 0.1] [--terminal 2000]

The first table runs in virtual time (tests/drivers/stale.py says what the slaves do), the second on a
pseudo-terminal in real time, with an emulated line whose unit is late as often.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from drivers.base import BusSettings, DriverError
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus
from drivers.profile import parse
from drivers.registers import Request
from tests.drivers.stale import HEAD, MAPS, MODES, ROW, run

LATENESS = {"1-20 ms": (0.001, 0.02), "10-120 ms": (0.01, 0.12), "0.2-1.5 s": (0.2, 1.5)}
COLUMNS = f"{'reads':>8}{'late':>8}{'wrong':>7}{'good %':>8}{'requests a read':>17}{'s':>7}"


def virtual(reads: int, late: float) -> None:
    """Every map, slave and lateness."""
    print(f"{'virtual time: map, slave, late by':44}{COLUMNS}")
    for name in MAPS:
        for mode in MODES:
            for label, by in LATENESS.items():
                began = time.monotonic()
                found = run(name, mode, reads, late, by)
                _print(f"{name}, {mode}, {label}", reads, found, time.monotonic() - began)


def terminal(reads: int, late: float) -> None:
    """A unit late by 30 ms behind the master's time-out, registers whose value is their address."""
    rows = "".join(ROW.format(i).replace("example = 1", f"example = {1000 + i}") for i in range(42))
    profile = parse(HEAD.replace("worst_reply_ms = 50", "worst_reply_ms = 20") + rows, "late")
    unit = EmulatedUnit(profile)
    found = {"good": 0, "wrong": 0}
    began = time.monotonic()
    with EmulatedBus(115200, 10, [unit], pace=False, seed=7) as line:
        unit.fail(f"late:{late}")
        bus = Bus(BusSettings(name="bench", port=line.path, baudrate=115200, gap_ms=0))
        for number in range(reads):
            first = 10 * (number % 4)
            request = Request("holding", first, 2, ())
            try:
                payload = bus.read(1, request, profile)
            except DriverError:
                continue
            right = (1000 + first).to_bytes(2, "big") + (1001 + first).to_bytes(2, "big")
            found["good" if payload == right else "wrong"] += 1
        found |= {"late": bus.statistics[1].timeouts, "requests": line.statistics.requests}
        bus.close()
    print(f"{'pseudo-terminal: map, late by':44}{COLUMNS}")
    _print("neighbours, 30 ms", reads, found, time.monotonic() - began)


def _print(label: str, reads: int, found: dict[str, int], seconds: float) -> None:
    print(
        f"{label:44}{reads:8}{found['late']:8}{found['wrong']:7}{100 * found['good'] / reads:8.2f}"
        f"{found['requests'] / reads:17.3f}{seconds:7.1f}",
        flush=True,
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--late", type=float, default=0.1)
    parser.add_argument("--terminal", type=int, default=2000)
    given = parser.parse_args()
    virtual(given.reads, given.late)
    terminal(given.terminal, given.late)


if __name__ == "__main__":
    main()
