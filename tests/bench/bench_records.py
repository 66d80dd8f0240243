"""Mutated records of stream instruments: how many are taken although they are not what was sent.

python tests/bench/bench_records.py [--count 1000000]

A sum of bytes sees every single flip and every burst that is not its own counterweight; it is no CRC, and what a
format lets through is printed here.  Formats without any check are shown for comparison: the driver asks balances
twice, and an AQT530's line is only as good as its wire.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from drivers.records import FORMATS, Records
from tests.drivers.test_records import AQT, ES, PMS

SDS = bytes.fromhex("AA C0 D4 04 3A 0A A1 60 1D AB")
SENT = {
    "plantower-pms5003": PMS,
    "nova-sds011": SDS,
    "metone-es642": ES,
    "vaisala-aqt530": AQT,
    "mtsics-balance": b"S S    1042.3817 g\r\n",
}


def mutated(record: bytes, chance: random.Random) -> bytes:
    """One to three flipped bits, a burst of up to four bytes, a lost byte, or one too many."""
    kind = chance.randrange(4)
    data = bytearray(record)
    at = chance.randrange(len(data))
    if kind == 0:
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        for i in range(at, min(len(data), at + chance.randrange(1, 5))):
            data[i] = chance.randrange(256)
    elif kind == 2:
        del data[at]
    else:
        data.insert(at, chance.randrange(256))
    return bytes(data)


def main() -> None:
    """One row a format."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1_000_000)
    count = parser.parse_args().count // len(SENT)
    print(f"{'format':20} {'mutated':>9} {'taken wrong':>12} {'share':>9} {'records/s':>10}")
    for name, record in SENT.items():
        chance, wrong, began = random.Random(1), 0, time.perf_counter()
        sound = Records(FORMATS[name])
        expected = [r.values for r in sound.feed(b"\n" + record)][-1:]
        for _ in range(count):
            records = Records(FORMATS[name])
            bad = mutated(record, chance)
            found = records.feed((b"" if FORMATS[name].begins or FORMATS[name].ask else b"\n") + bad)
            wrong += any([one.values] != expected for one in found)
        seconds = time.perf_counter() - began
        print(f"{name:20} {count:9d} {wrong:12d} {wrong / count:9.2%} {count / seconds:10.0f}")


if __name__ == "__main__":
    main()
