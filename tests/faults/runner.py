"""Runs rows of the matrix, each in a process of its own, and prints what came of them."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from tests.faults.matrix import ROWS, Row
from tests.faults.outcome import CannotRun, Outcome

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 3 * 3600  # seconds a row may take
CUT = "the run was ended before this row was done"
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


class Processes:
    """The processes of the rows under way, each with all it has started in a session of its own."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = Lock()
        self.ended = False

    def run(self, words: Sequence[str]) -> tuple[int | None, str]:
        """Run *words*: the exit code, None where they took too long, and the end of what they said."""
        with self._lock:
            if self.ended:
                return -signal.SIGKILL, ""
            process = subprocess.Popen(
                words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}, text=True,
                errors="replace", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
        try:
            said = process.communicate(timeout=LONGEST)[1]
        except subprocess.TimeoutExpired:
            self._kill(process)
            return None, process.communicate()[1]
        finally:
            with self._lock:
                self._running.discard(process)
        return process.returncode, said[-600:]

    @staticmethod
    def _kill(process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def end(self) -> None:
        """End all of them; none begins any more."""
        with self._lock:
            self.ended = True
            for process in self._running:
                self._kill(process)


def run_apart(row: Row, processes: Processes, *, long: bool) -> Line:
    """Run *row* in a process of its own; one that dies has failed."""
    with tempfile.TemporaryDirectory(prefix="fault-line-", ignore_cleanup_errors=True) as folder:
        report = Path(folder) / "line.json"
        words = [sys.executable, "-m", "tests.faults", "--here", str(row.number), "--json", str(report)]
        began = time.monotonic()
        code, said = processes.run([*words, *(["--long"] if long else [])])
        took = time.monotonic() - began
        if processes.ended:
            return Line(row.number, row.fault, "not run", reason=CUT)
        if code is None:
            return Line(row.number, row.fault, "FAILED", took, reason=f"not done within {LONGEST} s")
        if not report.exists():
            return Line(row.number, row.fault, "FAILED", took, reason=f"ended with {code}: {said}")
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


class Matrix:
    """Runs *rows*, each once; what *done* has of them is taken over."""

    def __init__(self, rows: Sequence[Row], *, long: bool, done: Iterable[Line] = ()) -> None:
        self._rows, self._long = rows, long
        self._done = {line.number: line for line in done}

    @property
    def lines(self) -> list[Line]:
        """One for each row; of those that are not done, that they are not."""
        return [
            self._done.get(row.number, Line(row.number, row.fault, "not run", reason=row.reason or CUT))
            for row in self._rows
        ]

    def run(self, jobs: int, say: Callable[[str], object], kept: Callable[[], object]) -> None:
        """Run *jobs* at a time: *kept* is called whenever one is done, *say* gets their lines in the rows' order.

        SIGINT and SIGTERM end what is under way, which counts as not run; every row has its line all the same.
        """
        processes, said = Processes(), 0
        left = [row for row in self._rows if row.number not in self._done]
        with ThreadPoolExecutor(jobs) as pool:
            tasks = [pool.submit(run_apart, row, processes, long=self._long) for row in left]
            try:
                for task in as_completed(tasks):
                    line = task.result()
                    self._done[line.number] = line
                    kept()
                    while said < len(self._rows) and self._rows[said].number in self._done:
                        say(printed(self._done[self._rows[said].number]))
                        said += 1
            except KeyboardInterrupt:
                processes.end()
        for line in self.lines[said:]:
            say(printed(line))


def verdict(lines: Sequence[Line]) -> int:
    """The exit code: 0 when every row that ran held, any ran and none was cut off."""
    ran = [line for line in lines if line.state != "not run" or line.reason == CUT]
    return 0 if ran and all(line.state == "held" for line in ran) else 1


def main(arguments: Sequence[str], rows: Sequence[Row] = ROWS) -> int:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--long", action="store_true", help="the long set")
    parser.add_argument("--row", type=int, action="append", default=[], metavar="N", help="this row alone")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matrix there too, whenever a row is done")
    parser.add_argument("--go-on", action="store_true", help="do not run again what FILE says held, at this commit")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)  # the process of one row
    given = parser.parse_args(arguments)
    wanted = [row for row in rows if row.number in (given.row or [given.here]) or not (given.row or given.here)]
    if not wanted:
        parser.error("there are rows 1 to 50")
    if given.go_on and given.json is None:
        parser.error("--go-on needs --json FILE")
    head = about(long=given.long)
    if given.here:
        lines = [run(wanted[0], long=given.long)]
    else:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        found = Matrix(wanted, long=given.long, done=held_before(given.json, head) if given.go_on else ())
        print("; ".join(f"{key} {value}" for key, value in head.items()), HEAD, sep="\n", flush=True)
        found.run(given.jobs, lambda text: print(text, flush=True), lambda: write(given.json, head, found.lines))
        signal.signal(signal.SIGTERM, before)
        lines = found.lines
        states = [line.state for line in lines]
        print(", ".join(f"{states.count(s)} {s}" for s in ("held", "FAILED", "not run")), flush=True)
    write(given.json, head, lines)
    return verdict(lines)


def write(path: Path | None, head: Mapping[str, str], lines: Iterable[Line]) -> None:
    """Put the matrix as it stands into *path*, whole whenever somebody looks."""
    if path is None:
        return
    new = path.with_name(f"{path.name}.new")
    text = json.dumps({**head, "rows": [asdict(line) for line in lines]}, ensure_ascii=False, indent=1)
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def held_before(path: Path, head: Mapping[str, str]) -> list[Line]:
    """Lines that held in a run of the same set and commit that *path* tells of; none where it is of another."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if any(found.get(key) != head[key] for key in ("set", "commit", "machine")) or head["commit"].endswith("-dirty"):
        return []
    return [line for line in map(line_of, found["rows"]) if line.state == "held"]
