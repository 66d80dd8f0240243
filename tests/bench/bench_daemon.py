"""The whole daemon on one line, against the limit of the wire.  Run by hand; asserts nothing.

    python tests/bench/bench_daemon.py [--seconds 20] [--settle 31]

`station run` is a process of its own, the emulated line another, the platform a thread of this one.
Each row is 8 units × 10 registers, always due, over --seconds of wall time, commits and uploads
included (30 s of them hold one commit, 60 s close a minute as well):

    util %       least time the answered exchanges need on the wire, of the time that passed
    of limit %   the same against a wire on which only units that answer values are asked
    violations   requests that came before 3.5 characters of silence were over, counted by the line
    silence ms   the shortest silence before a request
    CPU %        of one core, by the daemon

The dead unit is watched from the end of its back-off (1, 2, 4, 8, 16 s: --settle 31) over the next
interval and its one probe.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from station.model import dataclass, replace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus
from drivers.line import Line
from drivers.profile import load
from tests.bench.rig import command, factors, write_profile, write_station
from uplink.hj212.emulator import Platform

UNITS, REGISTERS = 8, 10


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    label: str
    baudrate: int = 9600
    delay_ms: float = 20
    chunk: int = 1
    fault: str = ""
    probing: bool = False  # watch a dead unit from the end of its back-off over one probe


CASES = (
    Case("9600 8N1, 20 ms"),
    Case("  one unit answers exceptions", fault="exception"),
    Case("115200 8N1, 2 ms, 8-byte chunks", baudrate=115200, delay_ms=2, chunk=8),
    Case("  one unit dead, 9600 8N1, 20 ms", fault="silent", probing=True),
)


def serve(pipe: Connection, folder: Path, case: Case) -> None:
    """The line, in its own process; hands out its statistics when asked."""
    profile = load("bench", (folder / "profiles",))
    units = [EmulatedUnit(profile, number) for number in range(1, UNITS + 1)]
    if case.fault:
        units[-1].fail(case.fault)
    with EmulatedBus(case.baudrate, 10, units, chunk=case.chunk, link=folder / "line") as line:
        pipe.send("ready")
        while pipe.recv() == "statistics":
            pipe.send((time.monotonic(), replace(line.statistics)))
            line.statistics.shortest_silence = float("inf")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of *pid*."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def row(case: Case, seconds: float, settle: float) -> None:
    """Run *case* and print its row."""
    with tempfile.TemporaryDirectory(prefix="bench-daemon-") as name, Platform() as platform:
        folder = Path(name)
        write_profile(folder, "bench", factors(REGISTERS), case.delay_ms)
        devices = [("bench", f"p{number}") for number in range(1, UNITS + 1)]
        path = write_station(
            folder, devices, port=platform.port, baudrate=case.baudrate, poll_seconds=0.05, realtime=30
        )
        ours, theirs = multiprocessing.Pipe()
        line = multiprocessing.Process(target=serve, args=(theirs, folder, case), daemon=True)
        line.start()
        ours.recv()
        with command(["run", "--config", str(path)], folder / "log") as daemon:
            time.sleep(3)
            if case.probing:
                time.sleep(settle)
                seconds = settle + 1
            ours.send("statistics")
            (began, before), cpu = ours.recv(), cpu_seconds(daemon.pid)
            time.sleep(seconds)
            ours.send("statistics")
            (ended, after), cpu = ours.recv(), cpu_seconds(daemon.pid) - cpu
        ours.send("stop")
        line.join(5)
        records = platform.summary()["records"]
    took = ended - began
    wire = after.wire_seconds - before.wire_seconds
    # A unit that answers exceptions or not at all: what the others could do if it were not there.
    least = Line(case.baudrate).exchange(REGISTERS, case.delay_ms / 1000)
    requests = after.requests - before.requests
    answered = after.replies - before.replies
    values = (after.reply_bytes - before.reply_bytes - 5 * answered) // (2 * REGISTERS)
    print(
        f"{case.label:36}{100 * wire / took:8.1f}{100 * values * least / took:12.1f}"
        f"{after.violations - before.violations:12}{1000 * after.shortest_silence:12.2f}"
        f"{requests / took:9.1f}{100 * cpu / took:8.1f}{records:9}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--settle", type=float, default=31)
    parser.add_argument("--only", type=int, help="one row, by its number from 1")
    options = parser.parse_args()
    print(
        f"{'8 units x 10 registers, gap 0':36}{'util %':>8}{'of limit %':>12}{'violations':>12}{'silence ms':>12}"
        f"{'tx/s':>9}{'CPU %':>8}{'records':>9}"
    )
    for case in CASES[options.only - 1 : options.only] if options.only else CASES:
        row(case, options.seconds, options.settle)


if __name__ == "__main__":
    main()
