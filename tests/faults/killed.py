"""Rows 5 to 8 and 11: a real daemon, an emulated line and platform, and an end nobody announced."""

from __future__ import annotations

import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from station.config import load
from station.store import connect
from tests.faults.outcome import CannotRun, Outcome, p99
from tests.station.commands import ROOT, Served, answer, configure, environment, served, until
from tests.station.test_service import QUICK, instruments
from uplink.hj212.emulator import Platform

LINK = "\ntimeout_seconds = 2\nreconnect_seconds = 1\nspacing_seconds = 0\n"
TABLES = ("reading", "average", "event", "message")


class Site:
    """A station's folder with its instruments and platform, and all that was ever seen committed in it."""

    def __init__(self, folder: Path, platform: Platform, stack: ExitStack) -> None:
        self.platform = platform
        self.path = configure(
            folder, *QUICK, ("port = 9\n", f"port = {platform.port}{LINK}"),
            ("realtime_seconds = 30", "realtime_seconds = 5"),
        )  # fmt: skip
        self.database = load(self.path).database
        self.socket = load(self.path).control_socket
        stack.enter_context(instruments(self.path))
        self.seen: dict[str, dict[int, tuple[Any, ...]]] = {table: {} for table in TABLES}

    def look(self) -> None:
        """Take in what is committed by now."""
        if not self.database.exists():
            return
        try:
            with closing(connect(self.database, read_only=True)) as db:
                for table in TABLES:
                    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone():
                        last = max(self.seen[table], default=0)
                        rows = db.execute(f"SELECT * FROM {table} WHERE id > ? ORDER BY id", (last,))
                        self.seen[table] |= {row[0]: row for row in rows}
        except sqlite3.OperationalError:
            return  # the very first start has not made its tables yet

    def missing_and_altered(self) -> tuple[int, int]:
        """How many rows that were seen committed are gone now, and how many are others."""
        lost = altered = 0
        with closing(connect(self.database, read_only=True)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            for table, seen in self.seen.items():
                now = {row[0]: row for row in db.execute(f"SELECT * FROM {table}")}
                lost += sum(number not in now for number in seen)
                altered += sum(number in now and now[number] != row for number, row in seen.items())
        return lost, altered

    def rows(self, sql: str) -> list[Any]:
        """Rows of the database."""
        with closing(connect(self.database, read_only=True)) as db:
            return db.execute(sql).fetchall()

    def undelivered(self) -> int:
        """Messages committed that the platform has not kept."""
        kept = {record.data for record in self.platform.records()}
        return sum(text not in kept for (text,) in self.rows("SELECT text FROM message"))

    def drained(self, process: Served, seconds: float = 60) -> None:
        """Wait until the platform has answered all but what was made this moment, and stop."""
        until(lambda: owed(self.socket) == 0, seconds, lambda: process.text)
        assert process.stop(15) == 0, process.text

    def verdict(self) -> tuple[int, int, int]:
        """Lost, doubled and altered, of the database and of the platform's table after dedup."""
        self.look()
        lost, altered = self.missing_and_altered()
        summary = self.platform.summary()
        kept = {record.data for record in self.platform.records()}
        texts = [text for (text,) in self.rows("SELECT text FROM message")]
        owed_still = sum(row[0] for row in self.rows(
            "SELECT coalesce(sum(last - first + 1), 0) FROM span UNION ALL"
            " SELECT (SELECT max(id) FROM message) - live FROM platform"))  # fmt: skip
        lost += max(0, sum(text not in kept for text in texts) - owed_still)
        sql = "SELECT count(*) - count(DISTINCT series || ' ' || at_ms) FROM reading WHERE raw IS NOT NULL"
        doubled = self.rows(sql)[0][0]
        return lost, doubled, altered + summary["contradictions"]


def owed(socket: Path) -> int:
    """How much the platform is owed, a large number when nobody says."""
    found = answer(socket)
    return 1 << 30 if found is None else int(found["platforms"][0]["owed"])


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """A station's folder with its line and its platform."""
    with ExitStack() as stack:
        platform = stack.enter_context(Platform())
        yield Site(folder / "site", platform, stack)


def at_random(folder: Path, cycles: int) -> Outcome:
    """Row 5: kill -9 at a moment drawn by chance, from the first instruction of a start to its second second."""
    chance, back = random.Random(5), list[float]()
    with site(folder) as here:
        began = 0.0
        for _ in range(cycles):
            with served("run", "--config", here.path) as process:
                moment = time.monotonic() + chance.uniform(0.0, 2.0)
                while time.monotonic() < moment:
                    if began and answer(here.socket) is not None:
                        back.append(time.monotonic() - began)
                        began = 0.0
                    time.sleep(0.05)
                here.look()
                began = began or time.monotonic()
                process.process.kill()
                process.ended()
        with served("run", "--config", here.path) as process:
            until(lambda: answer(here.socket), 15, lambda: process.text)
            here.drained(process)
        lost, doubled, altered = here.verdict()
        summary = here.platform.summary()
        readings = len(here.seen["reading"])
    figure = (
        f"{cycles} cycles, {readings} readings, {summary['unique']} records at the platform after dedup,"
        f" {summary['duplicates']} came again with the key they had"
    )
    return Outcome(cycles, figure, readings > 0, lost, doubled, altered, p99(back))


POINTS = {
    "heard": "the answer has come, nothing is done about it yet",
    "unmarked": "the answer is understood, the record not marked yet",
    "marked": "the record is marked in memory alone",
    "in-commit": "the mark is written, its transaction still open",
    "committed": "the mark is durable, memory does not know it yet",
}


def between(folder: Path, rounds: int) -> Outcome:
    """Row 6: kill -9 between a platform's answer and its mark, at each of POINTS."""
    again = 0
    with site(folder) as here:
        for turn in range(rounds):
            for point in POINTS:
                _die_at(here, point, 1 + turn % 3)
                here.look()
        with served("run", "--config", here.path) as process:
            until(lambda: answer(here.socket), 15, lambda: process.text)
            here.drained(process)
        lost, doubled, altered = here.verdict()
        again = here.platform.summary()["duplicates"]
    points = f"{len(POINTS)} of {len(POINTS)} points ({', '.join(POINTS)})"
    figure = f"{points}; {again} records came again with the same key"
    return Outcome(rounds * len(POINTS), figure, again > 0, lost, doubled, altered)


def _die_at(here: Site, point: str, count: int) -> None:
    """Run the daemon of tests/faults/dying.py until it dies by itself at *point*."""
    words = [sys.executable, "-m", "tests.faults.dying", point, str(count), str(here.path)]
    with (here.path.parent / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=log, stderr=log)
        try:
            code = process.wait(60)
        finally:
            process.kill()
            process.wait()
    assert code == -signal.SIGKILL, (point, code, (here.path.parent / "log").read_text(errors="replace"))


def stopped(folder: Path, cycles: int) -> Outcome:
    """Row 7: SIGTERM, and the next start."""
    stops, starts = list[float](), list[float]()
    with site(folder) as here:
        for _ in range(cycles):
            began = time.monotonic()
            with served("run", "--config", here.path) as process:
                until(lambda: answer(here.socket), 30, lambda text=process: text.text)
                starts.append(time.monotonic() - began)
                time.sleep(0.5)
                here.look()
                began = time.monotonic()
                assert process.stop(15) == 0, process.text
                stops.append(time.monotonic() - began)
        lost, doubled, altered = here.verdict()
    figure = f"stop p99 {p99(stops):.2f} s (goal 10), start p99 {p99(starts):.2f} s (goal 30)"
    return Outcome(cycles, figure, p99(stops) < 10 and p99(starts) < 30, lost, doubled, altered, p99(starts))


def starved(folder: Path, cycles: int) -> Outcome:
    """Row 8: no memory to be had any more; the process goes on or ends, and the next start has everything."""
    return _limited(folder, cycles, resource.RLIMIT_AS, _memory, "memory at its limit for 3 s")


def without_descriptors(folder: Path, cycles: int) -> Outcome:
    """Row 11: no descriptor to be had any more; nothing may end because of it."""
    return _limited(folder, cycles, resource.RLIMIT_NOFILE, _descriptors, "no descriptor left for 3 s")


def _memory(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _limited(folder: Path, cycles: int, which: int, used: Callable[[int], int], words: str) -> Outcome:
    """Give a running daemon no more than it has got; its platform goes meanwhile, so that it has to ask for some."""
    ended, hung, back = 0, 0, list[float]()
    if not hasattr(resource, "prlimit"):
        raise CannotRun("this system has no prlimit")
    with site(folder) as here:
        for _ in range(cycles):
            with served("run", "--config", here.path) as process:
                until(lambda: owed(here.socket) < 1 << 30, 30)
                here.look()
                pid = process.process.pid
                hard = resource.prlimit(pid, which)[1]
                resource.prlimit(pid, which, (used(pid), hard))
                here.platform.fault("down")
                end = time.monotonic() + 3
                while time.monotonic() < end and process.process.poll() is None:
                    time.sleep(0.05)
                here.platform.fault(None)
                began = time.monotonic()
                if process.process.poll() is None:
                    resource.prlimit(pid, which, (hard, hard))
                    if _well_again(here, process):
                        back.append(time.monotonic() - began)
                        continue
                    hung += 1
                else:
                    ended += 1
                    assert process.process.returncode in (70, 74, -signal.SIGABRT), process.text
            with served("run", "--config", here.path) as process:  # as systemd would
                until(lambda: answer(here.socket), 30, lambda text=process: text.text)
                here.drained(process)
                back.append(time.monotonic() - began)
        lost, doubled, altered = here.verdict()
    figure = f"{words}: went on {cycles - ended - hung} times, ended {ended}, hung and was killed {hung} times"
    held = which != resource.RLIMIT_NOFILE or (ended, hung) == (0, 0)
    return Outcome(cycles, figure, held, lost, doubled, altered, p99(back))


def _well_again(here: Site, process: Served) -> bool:
    """Whether what was owed is delivered and an orderly stop works; else it is killed, as systemd would."""
    end = time.monotonic() + 20
    while here.undelivered() and time.monotonic() < end:
        time.sleep(0.05)
    try:
        return process.stop(15) == 0
    except subprocess.TimeoutExpired:
        process.process.kill()
        process.ended()
        return False
