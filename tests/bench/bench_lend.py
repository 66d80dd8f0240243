"""What a scan does to the instruments of its line: their periods without one and while one runs; prints.

python -m tests.bench.bench_lend --seconds 60
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from pathlib import Path

from drivers.asking import Ask, perform
from drivers.base import BusSettings
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus
from drivers.modbus import ModbusDevice, ModbusSettings
from station.clock import SystemClock
from station.lend import _lent
from station.poller import Poller
from station.recorder import Recorder
from tests.drivers.fakes import NOON, thermometer

UNITS = 10


def periods(folder: Path, seconds: float, poll_seconds: float, scanning: bool) -> tuple[list[float], int, int]:
    """The periods of all polls, how many there were, and how many addresses were tried meanwhile."""
    (folder / "thermometer.toml").write_text(
        'title = "thermometer"\nbaudrate = 9600\nunit_id = 1\ngap_ms = 0\n[[register]]\nparameter = "air_temperature"\n'
        'table = "input"\naddress = 1\ntype = "i16"\nscale = 0.1\nunit = "°C"\nexample = 21.5\n',
        encoding="utf-8",
    )
    units = [EmulatedUnit(thermometer(), unit_id) for unit_id in range(1, UNITS + 1)]
    began: dict[str, list[float]] = {}
    tried = 0
    with EmulatedBus(9600, 10, units, link=folder / "port"):
        bus = Bus(BusSettings(name="line", port=str(folder / "port")))
        devices = []
        for unit in units:
            name = f"t{unit.unit_id}"
            settings = ModbusSettings(
                name=name, profile="thermometer", unit_id=unit.unit_id, point="p", poll_seconds=poll_seconds
            )
            device = ModbusDevice(settings, bus, [folder], lambda: NOON)
            read, began[name] = device.read, []

            def timed(read=read, times=began[name]):
                times.append(time.monotonic())
                return read()

            device.read = timed
            devices.append((device, settings))
        stop = threading.Event()
        poller = Poller("line", devices, Recorder(), SystemClock(), stop, lambda: None, bus.close)
        poller.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not scanning:
                time.sleep(0.1)
                continue
            ask_one(poller, bus, Ask(100 + tried % 140, 3, b"\0\0\0\1", None, 0.2))
            tried += 1
        stop.set()
        poller.wake()
        poller.join(5)
    gaps = [b - a for times in began.values() for a, b in itertools.pairwise(times)]
    return sorted(gaps), sum(map(len, began.values())), tried


def ask_one(poller: Poller, bus: Bus, question: Ask) -> None:
    """One address, as the running station has it asked for a tool."""
    _lent(poller, lambda: perform(bus, question), question.seconds(bus.own_speed))


def main() -> None:
    """Both runs, side by side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--poll", type=float, default=2)
    options = parser.parse_args()
    print(f"{UNITS} units, 9600 8N1, polled every {options.poll:g} s, {options.seconds:g} s each")
    for scanning in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            gaps, polls, tried = periods(Path(folder), options.seconds, options.poll, scanning)
        p99 = gaps[int(0.99 * len(gaps))]
        print(
            f"{'with a scan' if scanning else 'alone':11}: {polls} polls, period median {gaps[len(gaps) // 2]:.3f} s,"
            f" p99 {p99:.3f} s, longest {gaps[-1]:.3f} s; {tried} addresses tried"
        )


if __name__ == "__main__":
    main()
