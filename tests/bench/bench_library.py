"""Every shipped instrument on an emulated line of its own speed.  Run by hand; asserts nothing.

    python tests/bench/bench_library.py [--rounds 20]

One line for each setting the makers ship, all instruments of that setting on it, paced as on the wire; every variant
is an instrument.  A value is wrong when it is not its example.  Steps, wipers and means take their time.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from drivers.base import BusSettings, DriverError
from drivers.bus import Bus
from drivers.emulator import emulated_bus
from drivers.modbus import ModbusDevice, ModbusSettings
from drivers.profile import SHIPPED, load
from station.model import Mark

Setting = tuple[int, str, int]


def lines() -> dict[Setting, list[ModbusSettings]]:
    """The instruments by the line setting they come with, each variant with an address of its own."""
    found: dict[Setting, list[ModbusSettings]] = {}
    for name in sorted(path.stem for path in SHIPPED.glob("*.toml")):
        profile = load(name)
        mates = found.setdefault((profile.baudrate, profile.parity, profile.stopbits), [])
        for variant in [v.name for v in profile.variants] or [None]:
            mates.append(
                ModbusSettings(
                    name=f"{name} {variant or ''}".strip(),
                    point="p",
                    profile=name,
                    unit_id=len(mates) + 1,
                    variant=variant,
                    confirmed=True,
                    start_address=profile.start_address,
                )
            )
    return found


def serve(setting: Setting, devices: list[ModbusSettings], rounds: int, totals: Counter[str]) -> None:
    """Read all *devices* on one line until each has brought all its values *rounds* times."""
    baudrate, parity, stopbits = setting
    settings = BusSettings(name="l", port="", baudrate=baudrate, parity=parity, stopbits=stopbits)
    with emulated_bus(settings, devices) as line:
        bus = Bus(BusSettings(name="l", port=line.path, baudrate=baudrate, parity=parity, stopbits=stopbits))
        waiting = {ModbusDevice(one, bus, (), lambda: datetime.now(UTC)): (rounds, one) for one in devices}
        while waiting:
            busy = False
            for device, (left, one) in list(waiting.items()):
                if device.pending_seconds:
                    continue
                busy = True
                try:
                    samples = device.read()
                except DriverError as error:
                    totals["failures"] += 1
                    print(f"{one.name}: {error}")
                    continue
                if not samples:
                    continue
                examples = {r.parameter: r.example for r in load(one.profile).chosen(one.variant).registers}
                totals["values"] += len(samples)
                for sample in samples:
                    near = sample.value is not None and abs(sample.value - float(examples[sample.parameter])) < 1e-3
                    totals["wrong"] += not (near and sample.mark is Mark.N)
                waiting[device] = (left - 1, one)
                if left == 1:
                    del waiting[device]
            if not busy:
                time.sleep(0.05)
        totals["requests"] += sum(one.requests for one in bus.statistics.values())
        totals["time-outs"] += sum(one.timeouts for one in bus.statistics.values())
        bus.close()


def main() -> None:
    """All lines at once, and what came of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=20)
    rounds = options.parse_args().rounds
    totals: Counter[str] = Counter()
    found = lines()
    began = time.monotonic()
    threads = [
        threading.Thread(target=serve, args=(setting, devices, rounds, totals)) for setting, devices in found.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    print(f"{len(list(SHIPPED.glob('*.toml')))} profiles, {sum(map(len, found.values()))} layouts, {len(found)} lines")
    print(f"{rounds} rounds in {took:.0f} s: " + ", ".join(f"{totals[k]} {k}" for k in ("requests", "values")))
    print(", ".join(f"{totals[k]} {k}" for k in ("wrong", "failures", "time-outs")))


if __name__ == "__main__":
    main()
