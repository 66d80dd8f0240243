"""Rows 30, 32 and 34 to 36: a serial line in trouble, in virtual time and on pseudo-terminals."""

from __future__ import annotations

import os
import time
from pathlib import Path

from station.config import load
from tests.bench.bench_line import periods, unplug
from tests.bench.bench_stale import LATENESS
from tests.drivers.mutated import run as mutated
from tests.drivers.stale import MAPS, MODES, run
from tests.faults.outcome import Outcome, p99
from tests.faults.suites import stuck_line
from tests.station.commands import answer, configure, daemon, until
from tests.station.test_service import QUICK, instruments


def late_replies(folder: Path, reads: int) -> Outcome:
    """Row 30: a tenth of the replies late by 1 ms to 1.5 s, three maps, slaves that queue or drop; *reads* each."""
    wrong = good = late = count = 0
    least = 1.0
    for name in MAPS:
        for mode in MODES:
            if mode == "apart" and name != "neighbours":
                continue  # replies that overtake each other need lengths to be told apart: drivers/README.md
            for by in LATENESS.values():
                found = run(name, mode, reads, 0.1, by)
                wrong, good, late = wrong + found["wrong"], good + found["good"], late + found["late"]
                count, least = count + reads, min(least, found["good"] / reads)
    figure = (
        f"{count} reads, {late} of them late: wrong {wrong}; good {100 * good / count:.1f} %, least {100 * least:.1f} %"
    )
    return Outcome(count, figure, wrong == 0 and good / count >= 0.89, 0, 0, wrong)


def noise(folder: Path, replies: int) -> Outcome:
    """Row 32: replies with changed bits, bytes, lengths and neighbours."""
    found = mutated(replies)
    figure = (
        f"{found['refused']} refused, {found['accepted']} accepted, of these {found['unsound']} without a sound CRC and"
        f" {found['unmarked']} outside their range and unmarked"
    )
    wrong = found["unsound"] + found["unmarked"]
    return Outcome(replies, figure, wrong == 0, 0, 0, wrong)


def dead_unit(folder: Path, hours: int) -> Outcome:
    """Row 34: one of ten does not answer."""
    parts, ratios = [], []
    for seconds in (5.0, 2.0):
        before, _ = periods(seconds, hours, frozenset(), folder)
        after, _ = periods(seconds, hours, frozenset({1}), folder)
        ratios.append(after / before)
        parts.append(
            f"polled each {seconds:g} s: p99 {before:.3f} s before, {after:.3f} s after (x {after / before:.3f})"
        )
    figure = f"{'; '.join(parts)}; {hours} h each in virtual time, goal x 1.1"
    return Outcome(2 * hours, figure, max(ratios) <= 1.1)


FLOOD_SECONDS = 20.0


def stuck(folder: Path, times: int) -> Outcome:
    """Row 35: bytes without end on a real daemon's line; and the tests of the bus and the emulated line."""
    suite = stuck_line(folder / "tests", times)
    path = configure(folder / "site", *QUICK)
    told, back, busy, grown = list[float](), list[float](), list[float](), list[float]()
    with instruments(path) as line, daemon(path) as process:
        socket, pid = load(path).control_socket, process.process.pid

        def device() -> dict[str, object]:
            found = answer(socket)
            return found["devices"][0] if found else {"answers": None, "error": ""}

        for _ in range(times):
            until(lambda: device()["answers"] is True, 30, lambda: (device(), process.text))
            size, used, began = _size(pid), _used(pid), time.monotonic()
            line.fail("flood")
            until(lambda: "does not fall silent" in str(device()["error"]), 60, lambda: (device(), process.text))
            told.append(time.monotonic() - began)
            time.sleep(max(0.0, FLOOD_SECONDS - told[-1]))
            busy.append(100 * (_used(pid) - used) / (time.monotonic() - began))
            grown.append((_size(pid) - size) / 1e6)
            line.recover()
            began = time.monotonic()
            until(lambda: device()["answers"] is True, 60, lambda: (device(), process.text))
            back.append(time.monotonic() - began)
    figure = (
        f"a daemon whose line is flooded for {FLOOD_SECONDS:.0f} s, {times} times: said in the status after"
        f" {max(told):.1f} s at most, {max(busy):.0f} % of a core meanwhile, memory {max(grown):+.1f} MB at most;"
        f" {suite.figure}"
    )
    held = suite.held and max(told) < 60 and max(busy) < 50 and max(grown) < 5
    return Outcome(times + suite.runs, figure, held, recover_seconds=max(back))


def _used(pid: int) -> float:
    """Seconds of a processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _size(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def unplugged(folder: Path, cycles: int) -> Outcome:
    """Row 36: the adapter is pulled out and comes back under another name; the port is tried each 0.1 s."""
    took, names, before, after = unplug(cycles, 0.1)
    figure = (
        f"a reading {p99(took):.2f} s (p99), {max(took):.2f} s (longest) after it is back, tried each 0.1 s (shipped:"
        f" 2 s); {names} names; descriptors {before} before, {after} after"
    )
    return Outcome(cycles, figure, p99(took) < 5 and after <= before, recover_seconds=max(took))
