"""Row 45: bytes that are no frames, or frames that lie, at everything that reads a platform's bytes."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from tests.faults.outcome import Outcome
from tests.fuzz.target import one_input
from uplink.hj212.frame import FrameReader, Segment, encode

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


def malformed(folder: Path, inputs: int) -> Outcome:
    """Row 45: *inputs* of the corpus changed by chance; a length that lies, 10 MB without an end, cuts at each byte."""
    chance, began, longest = random.Random(45), time.monotonic(), 0.0
    samples = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    one_input(samples[0])
    before = _memory()
    for _ in range(inputs):
        data = _changed(chance, samples)
        at = time.monotonic()
        one_input(data)
        longest = max(longest, time.monotonic() - at)
    grown = _memory() - before
    hand = _by_hand(samples)
    figure = (
        f"{inputs} changed frames and {hand} made by hand: 0 errors escaped, longest {1000 * longest:.0f} ms, memory"
        f" {grown / 1e6:+.1f} MB, {inputs / (time.monotonic() - began):.0f}/s; coverage-guided runs: tests/fuzz"
    )
    return Outcome(inputs + hand, figure, longest < 1 and grown < 20e6)


def _changed(chance: random.Random, samples: list[bytes]) -> bytes:
    data = bytearray(chance.choice(samples))
    for _ in range(chance.randint(1, 6)):
        kind, at = chance.randrange(6), chance.randrange(len(data) + 1)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.randrange(40)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randrange(12))
        elif kind == 3:
            data[at:at] = chance.choice(samples)[: chance.randrange(200)]
        elif kind == 4:
            data[2:6] = b"%04d" % chance.randrange(10_000)
        else:
            data[at:at] = chance.choice((b"&&", b"\r\n", b"##", b";", "数采仪".encode("gbk"), "数采仪".encode(), b"="))
    return bytes(data[:8192])


def _by_hand(samples: list[bytes]) -> int:
    """A frame in two pieces at each byte is one frame; a flood without an end stays small."""
    whole = encode(
        Segment(qn="20260301080000000", st="22", cn="1011", pw="123456", mn="M1", flag="5", cp="&&&&").build()
    )
    for at in range(len(whole)):
        reader = FrameReader()
        found = [*reader.feed(whole[:at]), *reader.feed(whole[at:])]
        assert sum(isinstance(item, str | bytes) for item in found) == 1, at
    for flood in (b"#" * 10_000_000, b"##9999" + b"x" * 10_000_000, b"\r\n" * 5_000_000, bytes(10_000_000)):
        reader = FrameReader()
        for start in range(0, len(flood), 65536):
            list(reader.feed(flood[start : start + 65536]))
        assert len(reader._buffer) < 200_000
    deep = b"&&" + b"a=" * 5000 + b";" * 5000 + b"&&"
    for data in (deep, *(b"##%04d" % size + samples[0][6:] for size in range(0, 10_000, 7))):
        one_input(data)
    return len(whole) + 4 + 1 + len(range(0, 10_000, 7))


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
