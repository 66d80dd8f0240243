"""A line in trouble: a dead unit, spoilt replies, an adapter that comes and goes.  Run by hand; asserts nothing.

    python tests/bench/bench_line.py [dead] [spoilt] [unplug] [--replies 1000000] [--cycles 500] [--real 20]

The dead unit and the spoilt replies run in virtual time.  The adapter is a pseudo-terminal behind a link, under
another name each time; its cycles are shortened by trying the port every 0.1 s (500 times), and as shipped (--real).
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import itertools

import minimalmodbus

from drivers.base import BusSettings
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus
from drivers.modbus import ModbusDevice, ModbusSettings
from station import poller as polling
from station.clock import SystemClock
from station.model import Reading
from station.poller import Poller
from station.recorder import Recorder
from tests.drivers.fakes import FakePort, FakeTime
from tests.drivers.mutated import run

START = datetime(2026, 3, 1, tzinfo=UTC)
PROFILE = 'title = "bench"\nbaudrate = 9600\nunit_id = 1\ngap_ms = 0\npoll_minimum_seconds = 0\n' + "".join(
    f'[[register]]\nparameter = "p{i}"\ntable = "holding"\naddress = {i}\ntype = "u16"\nexample = {i}\n'
    for i in range(10)
)


class VirtualClock:
    """A station's clock that follows *time*, which only sleeping moves."""

    def __init__(self, time: FakeTime) -> None:
        self.monotonic, self._began = time.monotonic, time.monotonic()

    def now(self) -> datetime:
        """The wall clock."""
        return START + timedelta(seconds=self.monotonic() - self._began)


class Seen(Recorder):
    """Remembers when each device was read."""

    def __init__(self) -> None:
        super().__init__()
        self.at: defaultdict[str, list[float]] = defaultdict(list)
        self.any = Event()

    def add(self, readings: Iterable[Reading], monotonic: float) -> None:
        """Note the moment; keep nothing."""
        self.at[next(iter(readings)).device].append(monotonic)
        self.any.set()


def _devices(bus: Bus, folder: Path, count: int, seconds: float) -> list[tuple[ModbusDevice, ModbusSettings]]:
    (folder / "bench.toml").write_text(PROFILE)
    made = []
    for unit in range(1, count + 1):
        settings = ModbusSettings(name=f"u{unit}", point="p", profile="bench", unit_id=unit, poll_seconds=seconds)
        made.append((ModbusDevice(settings, bus, (folder,), lambda: START), settings))
    return made


def periods(seconds: float, hours: float, dead: frozenset[int], folder: Path) -> tuple[float, int]:
    """p99 of the live units' periods, of ten on the line, in *seconds*; and how often the dead one was asked."""
    virtual = FakeTime()
    clock = VirtualClock(virtual)
    units: dict[int, EmulatedUnit] = {}
    asked: defaultdict[int, int] = defaultdict(int)

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        asked[request[0]] += 1
        reply = None if request[0] in dead else units[request[0]].answer(request)
        return [] if reply is None else [(0.02, reply)]

    port = FakePort(virtual, answer)
    bus = Bus(BusSettings(name="bench", port="bench"), lambda _: port, virtual.monotonic, virtual.sleep)
    devices = _devices(bus, folder, 10, seconds)
    units |= {unit: EmulatedUnit(device._profile, unit) for unit, (device, _) in enumerate(devices, 1)}
    recorder = Seen()
    poller = Poller("bench", devices, recorder, clock, Event(), lambda: None)
    while clock.now() < START + timedelta(hours=hours):
        due = min(task.due for task in poller.tasks)
        if due > clock.monotonic():
            virtual.sleep(due - clock.monotonic())
        poller.turn()
        port.written.clear()
        virtual.sleeps.clear()
        minimalmodbus._latest_read_times.clear()
    spans = [b - a for name, at in recorder.at.items() if name != "u1" for a, b in itertools.pairwise(at)]
    return statistics.quantiles(spans, n=100)[98], asked[1]


def dead_unit(hours: float) -> None:
    """The others' p99 with all alive and with one dead, at several intervals."""
    print(f"{'ten units of ten registers, 9600 8N1':44}{'p99 alive':>11}{'p99, one dead':>15}{'ratio':>8}{'asked':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for seconds in (5.0, 2.0, 1.0, 0.1):
            before, _ = periods(seconds, hours, frozenset(), Path(folder))
            after, asked = periods(seconds, hours, frozenset({1}), Path(folder))
            label = f"polled every {seconds:g} s" if seconds > 0.5 else "polled as fast as the line is"
            print(f"{label:44}{before:10.3f}s{after:14.3f}s{after / before:8.3f}{asked:8}", flush=True)


def spoilt(replies: int) -> None:
    """What of them is accepted."""
    began = time.monotonic()
    found = run(replies)
    print(
        f"{replies} spoilt replies: {found['refused']} refused, {found['accepted']} accepted,"
        f" {found['unsound']} of these without a sound CRC, {found['unmarked']} with a value outside its range"
        f" and unmarked ({time.monotonic() - began:.0f} s)",
        flush=True,
    )


def unplug(cycles: int, retry: float) -> tuple[list[float], int, int, int]:
    """How long after the adapter is back a reading comes, under how many names; descriptors before and after."""
    polling.PORT_RETRY = retry
    before = _descriptors()
    chance, took = random.Random(1), []
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "by-path"
        (Path(folder) / "bench.toml").write_text(PROFILE)
        unit = EmulatedUnit(_devices(Bus(BusSettings(name="b", port="b")), Path(folder), 1, 1)[0][0]._profile, 1)
        with EmulatedBus(115200, 10, [unit], pace=False, link=link) as line:
            bus = Bus(BusSettings(name="bench", port=str(link), baudrate=115200))
            recorder, stop = Seen(), Event()
            devices = _devices(bus, Path(folder), 1, 0.05)
            poller = Poller("bench", devices, recorder, SystemClock(), stop, lambda: None, bus.close, bus.open)
            poller.start()
            names = set()
            for _ in range(cycles):
                recorder.any.wait(10)
                names.add(link.resolve().name)
                line.unplug()
                time.sleep(chance.uniform(0.05, 0.05 + retry))
                taken = os.openpty()  # by another device: the adapter comes back under another name
                recorder.any.clear()
                back = time.monotonic()
                line.plug_in()
                for side in taken:
                    os.close(side)
                if not recorder.any.wait(10):
                    sys.exit("the port was not opened again within 10 s")
                took.append(time.monotonic() - back)
            stop.set()
            poller.wake()
            poller.join(5)
    return took, len(names), before, _descriptors()


def _unplug(cycles: int, retry: float) -> None:
    took, names, before, after = unplug(cycles, retry)
    p99 = statistics.quantiles(took, n=100)[98]
    print(
        f"adapter pulled out and put back {cycles} times, tried every {retry:g} s: a reading after"
        f" {statistics.median(took):.3f} s (median), {p99:.3f} s (p99), {max(took):.3f} s (longest);"
        f" {names} names; descriptors {before} before, {after} after",
        flush=True,
    )


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    """Print what was asked for, or everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="dead|spoilt|unplug")
    parser.add_argument("--hours", type=float, default=2)
    parser.add_argument("--replies", type=int, default=1_000_000)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--real", type=int, default=20)
    given = parser.parse_args()
    logging.disable()
    parts = given.parts or ["dead", "spoilt", "unplug"]
    if "dead" in parts:
        dead_unit(given.hours)
    if "unplug" in parts:
        _unplug(given.cycles, 0.1)
        _unplug(given.real, 2.0)
    if "spoilt" in parts:
        spoilt(given.replies)


if __name__ == "__main__":
    main()
