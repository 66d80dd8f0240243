"""Row 38: a start at 1970, or at the time of the last shutdown, while nobody knows better; the real daemon."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests.faults.killed import Site, owed, site
from tests.faults.outcome import Outcome
from tests.faults.unsure import FAKETIME, loading, shift
from tests.station.commands import ROOT, answer, environment, until

READINGS = 12  # of each of two parameters, that have to wait before somebody knows the time
APART_MS = 150  # a reading's date, and its monotonic time with the true offset of this host
KILLED = (1, 2)  # of four runs
BEIJING = timezone(timedelta(hours=8))
DATA_TIME = re.compile(r"DataTime=(\d{14})")


def start(folder: Path, runs: int) -> Outcome:
    """Row 38: at 1970 or three days back, the link up or down, killed on the way or not, until the time is known."""
    waited = wrong = sent = lost = doubled = altered = 0
    back = []
    for number in range(runs):
        where = folder / str(number)
        where.mkdir()
        with site(where) as here:
            found = _one(here, at_1970=number % 2 == 0, network=number % 8 < 4, killed=number % 4 in KILLED)
        waited, wrong, sent = waited + found["waited"], wrong + found["wrong"], sent + found["sent"]
        lost, doubled, altered = lost + found["lost"], doubled + found["doubled"], altered + found["altered"]
        back.append(found["seconds"])
    kills = sum(number % 4 in KILLED for number in range(runs))
    how = "libfaketime" if FAKETIME else "Python alone, libfaketime is not here"
    figure = (
        f"the daemon's clock ({how}) at 1970 or three days back: {waited} readings waited; sent before anybody knew the"
        f" time {sent}; wrongly dated of all that was stored or sent {wrong}; {kills} starts were killed meanwhile"
    )
    return Outcome(runs, figure, waited > 0 and wrong == 0 and sent == 0, lost, doubled, altered, max(back))


def _one(here: Site, *, at_1970: bool, network: bool, killed: bool) -> dict[str, Any]:
    folder = here.path.parent / "host"
    folder.mkdir()
    began = datetime.now(UTC)
    shift(folder, 20 - began.timestamp() if at_1970 else -3 * 86400)
    here.platform.fault(None if network else "down")
    if killed:
        with _daemon(here, folder) as process:
            until(lambda: _waiting(here) >= READINGS, 40)
            process.kill()
            process.wait(5)
    with _daemon(here, folder) as process:
        until(lambda: _waiting(here) >= 2 * READINGS, 40)
        sent = len(here.platform.records()) + here.rows("SELECT count(*) FROM message")[0][0]
        here.platform.fault(None)
        shift(folder, 0)  # a time server is heard: it steps the clock and vouches for it then
        (folder / "synchronized").touch()
        known = time.monotonic()
        until(lambda: _waiting(here) == 0 and owed(here.socket) == 0 and here.platform.records(), 60)
        seconds = time.monotonic() - known
        process.terminate()
        assert process.wait(15) == 0, (here.path.parent / "log").read_text(errors="replace")
    lost, doubled, altered = here.verdict()
    found = {"sent": sent, "seconds": seconds, "waited": here.rows("SELECT count(*) FROM waiting")[0][0]}
    more_lost, wrong = _dates(here, began)
    return found | {"wrong": wrong, "lost": lost + more_lost, "doubled": doubled, "altered": altered}


def _dates(here: Site, began: datetime) -> tuple[int, int]:
    """How many that waited are not stored under their true time with their value; how many dates are no true ones.

    The daemon's monotonic clock is this host's, so the true time of everything that waited is known here.
    """
    offset = round(1000 * (time.time() - time.monotonic()))
    stored: dict[int, list[tuple[int, Any]]] = {}
    for series, at, raw in here.rows("SELECT series, at_ms, raw FROM reading WHERE raw IS NOT NULL"):
        stored.setdefault(series, []).append((at, raw))
    lost = sum(
        not any(abs(at - mono - offset) <= APART_MS and raw == value for at, value in stored.get(series, ()))
        for series, mono, raw in here.rows("SELECT series, mono_ms, raw FROM waiting")
        if raw is not None
    )
    first, last = began - timedelta(seconds=1), datetime.now(UTC) + timedelta(seconds=1)
    wrong = sum(not first.timestamp() <= at / 1000 <= last.timestamp() for rows in stored.values() for at, _ in rows)
    for record in here.platform.records():
        if said := DATA_TIME.search(record.data):
            told = datetime.strptime(said[1], "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
            wrong += not began - timedelta(minutes=1) <= told <= last  # a minute is named by its start
    return lost, wrong


def _waiting(here: Site) -> int:
    """How many readings wait; -1 when nobody says."""
    found = answer(here.socket)
    return -1 if found is None else int(found["clock"].get("waiting", 0))


@contextmanager
def _daemon(here: Site, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon of tests/faults/unsure.py, once it answers."""
    words = [sys.executable, "-m", "tests.faults.unsure", str(folder), str(here.path)]
    with (here.path.parent / "log").open("ab") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(**loading(folder)), stdout=log, stderr=log)
        try:
            until(lambda: answer(here.socket), 30, lambda: (here.path.parent / "log").read_text(errors="replace"))
            yield process
        finally:
            process.kill()
            process.wait()
