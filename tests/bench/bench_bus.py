"""The driver against the limits of the line: utilisation, coalescing, CPU.  Run by hand; asserts nothing.

    python tests/bench/bench_bus.py [--seconds 20]

The line is emulated in a process of its own; figures are ratios and carry over to a Pi, µs do not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from station.model import replace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import minimalmodbus
import serial

from drivers.base import BusSettings, DeviceError
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus, LineStatistics
from drivers.profile import Profile, parse
from drivers.registers import Request, plan_reads

UNITS = range(1, 9)


def instrument(registers: int, reply_delay_ms: float) -> Profile:
    """An instrument with *registers* adjacent u16 values."""
    head = f'title = "bench"\nbaudrate = 9600\nunit_id = 1\ngap_ms = 0\nreply_delay_ms = {reply_delay_ms}\n'
    row = '[[register]]\nparameter = "p{0}"\ntable = "holding"\naddress = {0}\ntype = "u16"\nexample = {0}\n'
    return parse(head + "".join(row.format(i) for i in range(registers)), "bench")


def _serve(pipe: Connection, profile: Profile, baudrate: int, chunk: int, pace: bool, faulty: str) -> None:
    units = [EmulatedUnit(profile, unit_id) for unit_id in UNITS]
    if faulty:
        units[-1].fail(faulty)
    with EmulatedBus(baudrate, 10, units, chunk=chunk, pace=pace) as line:
        pipe.send(line.path)
        pipe.recv()
        pipe.send(line.statistics)


@contextmanager
def emulated(
    profile: Profile, baudrate: int, chunk: int = 1, pace: bool = True, faulty: str = ""
) -> Iterator[tuple[str, Callable[[], LineStatistics]]]:
    """A line in a process of its own: its path, and a call that ends it and brings its statistics."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve, args=(theirs, profile, baudrate, chunk, pace, faulty), daemon=True)
    process.start()

    def finish() -> LineStatistics:
        ours.send("stop")
        return ours.recv()

    try:
        yield ours.recv(), finish
    finally:
        process.join(5)


def utilisation(
    label: str, seconds: float, baudrate: int, delay: float, chunk: int = 1, coalesce: bool = True, faulty: str = ""
) -> float:
    """Poll 8 units × 10 registers for *seconds*; returns registers a second."""
    profile = instrument(10, delay)
    with emulated(profile, baudrate, chunk, faulty=faulty) as (path, finish):
        bus = Bus(BusSettings(name="bench", port=path, baudrate=baudrate))
        requests = [
            r
            for one in ([profile.registers] if coalesce else [[register] for register in profile.registers])
            for r in plan_reads(one, baudrate, 10, delay)
        ]
        registers, began, cpu = 0, time.monotonic(), time.process_time()
        while time.monotonic() < began + seconds:
            for unit_id in UNITS:
                for request in requests:
                    registers += _read(bus, unit_id, request, profile)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        bus.close()
        seen = finish()
    print(
        f"{label:44}{100 * seen.wire_seconds / took:8.1f}{seen.violations:12}{seen.requests / took:9.1f}"
        f"{registers / took:10.0f}{1e6 * cpu / seen.requests:9.0f}"
    )
    return registers / took


def _read(bus: Bus, unit_id: int, request: Request, profile: Profile) -> int:
    try:
        return len(request.raws(bus.read(unit_id, request, profile)))
    except DeviceError:  # an exception, or a machine so busy that the emulated line stalled
        return 0


def cpu_per_register(count: int, seconds: float) -> None:
    """CPU µs per register, ours and minimalmodbus's public read_registers, replies at once."""
    profile = replace(instrument(count, 0), worst_reply_ms=500)
    (request,) = plan_reads(profile.registers, 115200, 10, 0)
    with emulated(profile, 115200, pace=False) as (path, finish):
        bus = Bus(BusSettings(name="bench", port=path, baudrate=115200))
        ours = _cpu(lambda: request.raws(bus.read(1, request, profile)), seconds) / count
        bus.close()
        with serial.Serial(path, 115200, timeout=0.5) as port:
            plain = minimalmodbus.Instrument(port, 1)
            theirs = _cpu(lambda: plain.read_registers(0, count), seconds) / count
        finish()
    print(
        f"{f'CPU µs/register, {count} registers':44}ours {ours:.2f}, minimalmodbus {theirs:.2f}: {ours / theirs:.2f}x"
    )


def _cpu(call: Callable[[], object], seconds: float) -> float:
    call()
    calls, began, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() < began + seconds:
        call()
        calls += 1
    return 1e6 * (time.process_time() - cpu) / calls


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    print(f"{'8 units x 10 registers, gap 0':44}{'util %':>8}{'violations':>12}{'tx/s':>9}{'reg/s':>10}{'µs/tx':>9}")
    together = utilisation("9600 8N1, 20 ms", seconds, 9600, 20)
    alone = utilisation("  one request per register", seconds, 9600, 20, coalesce=False)
    print(f"{'  coalesced against one per register':44}{together / alone:7.1f}x")
    utilisation("9600 8N1, 20 ms, one unit answers exceptions", seconds, 9600, 20, faulty="exception")
    utilisation("115200 8N1, 2 ms, 8-byte chunks", seconds, 115200, 2, chunk=8)
    cpu_per_register(100, seconds / 4)
    cpu_per_register(10, seconds / 4)


if __name__ == "__main__":
    main()
