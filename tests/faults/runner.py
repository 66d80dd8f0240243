"""Runs rows of the matrix, each in a process of its own, and prints what came of them."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.matrix import ROWS, Row
from tests.faults.outcome import CannotRun, Outcome

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 3 * 3600  # seconds a row may take
HEAD = f"{'#':>2} {'fault':44}{'runs':>9}{'lost':>6}{'doubled':>8}{'altered':>8}{'recover':>9}  result"


@dataclass(frozen=True)
class Line:
    """One line of the printed matrix; *state* is held, FAILED or not run."""

    number: int
    fault: str
    state: str
    seconds: float = 0.0
    outcome: Outcome | None = None
    reason: str = ""


def run(row: Row, *, long: bool) -> Line:
    """Run *row* in this process."""
    if row.function is None:
        return Line(row.number, row.fault, "not run", reason=row.reason)
    module, _, name = row.function.partition(":")
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix=f"fault-{row.number}-") as folder:
            found: Outcome = getattr(importlib.import_module(module), name)(
                Path(folder), row.long if long else row.quick
            )
    except CannotRun as why:
        return Line(row.number, row.fault, "not run", reason=str(why))
    except Exception as error:  # noqa: BLE001 - whatever a row dies of, the others are run and it has failed
        said = f"{type(error).__name__}: {error}"
        return Line(row.number, row.fault, "FAILED", time.monotonic() - began, reason=said[-600:])
    state = "held" if found.sound else "FAILED"
    return Line(row.number, row.fault, state, time.monotonic() - began, found)


def run_apart(row: Row, *, long: bool) -> Line:
    """Run *row* in a process of its own; one that dies has failed."""
    with tempfile.TemporaryDirectory(prefix="fault-line-") as folder:
        report = Path(folder) / "line.json"
        words = [sys.executable, "-m", "tests.faults", "--here", str(row.number), "--json", str(report)]
        env = os.environ | {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
        began = time.monotonic()
        try:
            done = subprocess.run(
                [*words, *(["--long"] if long else [])], cwd=ROOT, env=env, timeout=LONGEST, check=False,
                capture_output=True, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Line(row.number, row.fault, "FAILED", LONGEST, reason=f"not done within {LONGEST} s")
        if not report.exists():
            said = f"ended with {done.returncode}: {done.stderr[-600:]}"
            return Line(row.number, row.fault, "FAILED", time.monotonic() - began, reason=said)
        return line_of(json.loads(report.read_text(encoding="utf-8"))["rows"][0])


def line_of(found: dict[str, object]) -> Line:
    """A Line from its JSON."""
    outcome = found.pop("outcome")
    return Line(**found, outcome=None if outcome is None else Outcome(**outcome))  # type: ignore[arg-type]


def printed(line: Line) -> str:
    """*line* as a row of the table, its figure or reason below it.

    >>> print(printed(Line(2, "Power cut", "not run", reason="no LazyFS here")))
     2 Power cut                                           -     -       -       -        -  not run
         no LazyFS here
    """
    found = line.outcome
    cells = ["-"] * 5
    if found is not None:
        counts = ["-" if count is None else str(count) for count in (found.lost, found.doubled, found.altered)]
        recover = "-" if found.recover_seconds is None else f"{found.recover_seconds:.2f} s"
        cells = [str(found.runs), *counts, recover]
    head = f"{line.number:2} {line.fault:44}{cells[0]:>9}{cells[1]:>6}{cells[2]:>8}{cells[3]:>8}{cells[4]:>9}"
    took = f" ({line.seconds:.0f} s)" if line.seconds else ""
    below = "; ".join(filter(None, (found.figure if found else "", line.reason)))
    return "\n".join([f"{head}  {line.state}{took}", *(f"     {part}" for part in textwrap.wrap(below, 110))])


def about(*, long: bool) -> dict[str, str]:
    """When, where and of what the matrix is."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "set": "long" if long else "quick",
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{cpu}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "commit": commit or "unknown",
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def matrix(rows: Iterable[Row], *, long: bool, jobs: int, say: Callable[[str], object]) -> list[Line]:
    """Run *rows*, *jobs* at a time, and *say* each as soon as those before it are done."""
    found = []
    with ThreadPoolExecutor(jobs) as pool:
        for line in pool.map(lambda row: run_apart(row, long=long), rows):
            say(printed(line))
            found.append(line)
    return found


def verdict(lines: Sequence[Line]) -> int:
    """The exit code: 0 when every row that ran held and any ran."""
    ran = [line for line in lines if line.state != "not run"]
    return 0 if ran and all(line.state == "held" for line in ran) else 1


def main(arguments: Sequence[str], rows: Sequence[Row] = ROWS) -> int:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--long", action="store_true", help="the long set")
    parser.add_argument("--row", type=int, action="append", default=[], metavar="N", help="this row alone")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matrix there too")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)  # the process of one row
    given = parser.parse_args(arguments)
    wanted = [row for row in rows if row.number in (given.row or [given.here]) or not (given.row or given.here)]
    if not wanted:
        parser.error("there are rows 1 to 50")
    head = about(long=given.long)
    if given.here:
        lines = [run(wanted[0], long=given.long)]
    else:
        print("; ".join(f"{key} {value}" for key, value in head.items()), HEAD, sep="\n", flush=True)
        lines = matrix(wanted, long=given.long, jobs=given.jobs, say=lambda text: print(text, flush=True))
        states = [line.state for line in lines]
        print(", ".join(f"{states.count(s)} {s}" for s in ("held", "FAILED", "not run")), flush=True)
    if given.json:
        text = json.dumps({**head, "rows": [asdict(line) for line in lines]}, ensure_ascii=False, indent=1)
        given.json.write_text(text, encoding="utf-8")
    return verdict(lines)
