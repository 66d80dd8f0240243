"""Rows 39, 41, 49 and 50: clocks that step, hosts in any zone, configurations cut off, and a month of running."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
import tomllib
import zoneinfo
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from station.clock import from_ms, period_start
from station.config import load
from station.lastgood import is_cut
from station.model import Average, ConfigError, Kind, Report
from station.parameters import catalogue
from tests.faults.outcome import Outcome
from tests.station.conftest import CONFIG, EXAMPLE, START, Rig
from tests.station.test_clock_doubt import Served
from uplink.base import Context
from uplink.hj212.link import Hj212Settings, Hj212Uplink, PointSettings

HOUR, YEAR = 3600, 365 * 86400
EDGES = (datetime(2026, 12, 31, 15, 59, 50, tzinfo=UTC), datetime(2028, 2, 29, 15, 59, 50, tzinfo=UTC))


def steps(folder: Path, sequences: int) -> Outcome:
    """Row 39: three steps of up to an hour or a year, either way, in a quarter of an hour; midnights and leap days."""
    missed = doubled = wrong = stepped = again = ahead = 0
    for number in range(sequences):
        chance = random.Random(number)
        where = folder / str(number)
        where.mkdir()
        begin = EDGES[number % 2] if number % 3 == 0 else START + timedelta(seconds=chance.randrange(86400))
        rig = Rig(where, now=begin)
        for _ in range(3):
            rig.run(chance.randrange(90, 300))
            rig.clock.step(chance.choice((-1, 1)) * chance.choice((3, 61, HOUR, YEAR)) * chance.uniform(0.5, 1))
            stepped += 1
        rig.run(400)
        rig.engine.commit()
        faults = _period_faults(rig)
        missed, doubled, wrong = missed + faults["missed"], doubled + faults["doubled"], wrong + faults["wrong"]
        again, ahead = again + faults["again"], ahead + faults["ahead"]
        rig.engine.shut_down()
    lies = max(1, sequences // 4)
    followed, dated = _lies(folder / "lies", lies)
    figure = (
        f"{stepped} steps: periods missed {missed}, doubled {doubled}, with another number of readings {wrong};"
        f" {again} minutes told again in the same words; {ahead} that a step back cut off wait until the clock is there"
        f" again; a time server that lies against a platform's clock {lies} times: followed {followed} times, readings"
        f" and real-time data dated wrong {dated}"
    )
    return Outcome(sequences + lies, figure, followed == dated == 0, missed, doubled, wrong)


def _lies(folder: Path, times: int) -> tuple[int, int]:
    """A time server moves the clock by ten minutes to a year for a while: how often it was followed, what was dated."""
    followed = dated = 0
    for number in range(times):
        chance = random.Random(number)
        where = folder / str(number)
        where.mkdir(parents=True)
        rig = Served(where)
        rig.run(chance.randrange(90, 300))
        rig.platform_says(chance.uniform(-50, 50))
        lie = chance.choice((-1, 1)) * chance.choice((601, HOUR, YEAR)) * chance.uniform(1, 1.5)
        rig.lies(lie)
        followed += rig.doubted == ""
        rig.run(chance.randrange(1, 400))
        rig.lies(-lie)
        rig.run(90)
        followed += rig.engine.time.waits
        dated += len(rig.wrongly_dated())
        rig.engine.shut_down()
    return followed, dated


def _period_faults(rig: Rig) -> Counter[str]:
    """Minutes that have readings and no average, two texts for one version, or the count of other readings.

    What lies ahead of a clock that was set back is not over: it is counted apart.
    """
    found: Counter[str] = Counter()
    query, store, zone = rig.engine.store.query, rig.engine.store, rig.loaded.zone
    rows = query(
        "SELECT at_ms FROM reading r JOIN series s ON s.id = r.series WHERE parameter = 'pm25' AND raw NOT NULL"
    )
    readings = Counter(period_start(Kind.MINUTE, from_ms(at), zone) for (at,) in rows)
    present = period_start(Kind.MINUTE, rig.clock.now() - timedelta(seconds=65), zone)
    for minute, count in readings.items():
        report = store.average(Kind.MINUTE, "site", minute)
        total = 0 if report is None else next(a.total for a in report.averages if a.parameter == "pm25")
        if minute > present:
            found["ahead"] += total != count and (minute - present).total_seconds() > 120
        else:
            found["missed" if report is None else "wrong"] += total != count
    told = query("SELECT start_ms, version, count(*), count(DISTINCT text) FROM message WHERE kind = ? GROUP BY 1, 2",
                 (int(Kind.MINUTE),))  # fmt: skip
    for _, _, times, texts in told:
        found["doubled"] += texts - 1
        found["again"] += times - texts
    return found


def zones(folder: Path, share: int) -> Outcome:
    """Row 41: the host is in every zone there is; what is stored and said stays the same."""
    names = sorted(zoneinfo.available_timezones())[:: 1 if share > 1 else 20]
    wrong, before = 0, os.environ.get("TZ")
    right = _said(folder / "right", "UTC")
    try:
        for name in names:
            wrong += _said(folder / name.replace("/", "-"), name) != right
    finally:
        os.environ.pop("TZ", None)
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()
    return Outcome(len(names), f"{len(names)} zones of the host: mismatches {wrong}", wrong == 0, 0, 0, wrong)


def _said(folder: Path, zone: str) -> object:
    """What a station whose host is in *zone* stores and reports."""
    os.environ["TZ"] = zone
    time.tzset()
    folder.mkdir()
    rig = Rig(folder)
    rig.run(130)
    found = [
        rig.engine.store.query(sql)
        for sql in ("SELECT at_ms, raw FROM reading", "SELECT start_ms, body FROM average", "SELECT text FROM message")
    ]
    rig.engine.shut_down()
    context = Context(
        catalogue=catalogue(), zone=timezone(timedelta(hours=8)), now=lambda: START, monotonic=lambda: 0.0,
        secret=lambda name: "123456", started=START,
    )  # fmt: skip
    settings = Hj212Settings(
        name="city", standard="2017", host="127.0.0.1", port=9, password_file="pw",
        point=(PointSettings(point="site", mn="M1"),),
    )  # fmt: skip
    uplink = Hj212Uplink(settings, context, {"site": "39"})
    return found, uplink.compose(Report(Kind.HOUR, "site", START, (Average("pm25", 35.0, 34.0, 36.0),)))


def configurations(folder: Path, changes: int) -> Outcome:
    """Row 49: station.toml cut off at any byte, and with bytes changed: nothing starts on what is no whole file."""
    path = folder / "station.toml"
    (folder / "password").touch(mode=0o600)
    (folder / "district.password").touch(mode=0o600)
    for name in ("password", "district.password"):
        (folder / name).write_text("123456")
    refused = taken = crashed = between = kept = runs = 0
    chance = random.Random(49)
    for text in (CONFIG.encode(), EXAMPLE.read_bytes()):
        cut = range(len(text)) if changes > 10_000 else range(0, len(text), 7)
        for size in cut:
            path.write_bytes(text[:size])
            state = _loads(path)
            runs, refused, crashed = runs + 1, refused + (state == "refused"), crashed + (state == "crashed")
            if state == "taken":
                taken += 1
                between += _is_whole(text, size)
                kept += is_cut(text[:size], text)
        for _ in range(changes // 2):
            data = bytearray(text)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            path.write_bytes(data)
            crashed += _loads(path) == "crashed"
            runs += 1
    figure = (
        f"cut off: {refused} refused, {taken} start, {between} of them cut where a line ends and all that is required"
        f" stands before it (a shorter file that is one), and of these {kept} give way to the whole one where a station"
        f" ran with it before (the others lack comments); {crashed} unforeseen errors"
    )
    return Outcome(runs, figure, crashed == 0 and taken == between)


def _loads(path: Path) -> str:
    try:
        load(path)
    except ConfigError:
        return "refused"
    except Exception:  # noqa: BLE001 - that is what is looked for
        return "crashed"
    return "taken"


def _is_whole(text: bytes, size: int) -> bool:
    """Whether a cut behind *size* bytes leaves every line whole, or no more than a comment or a blank unfinished."""
    line = text[:size].rpartition(b"\n")[2]
    rest = text[size:].partition(b"\n")[0]
    if not line.strip() or not rest.strip() or line.lstrip().startswith(b"#"):
        return True
    try:  # the line says the same without its rest: a comment, or blanks
        return tomllib.loads(line.decode()) == tomllib.loads((line + rest).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False


def soak(folder: Path, days: int) -> Outcome:
    """Row 50: *days* of a station by the minute; memory, descriptors and threads from the second day on."""
    config = CONFIG.replace("poll_seconds = 5", "poll_seconds = 60").replace(
        "realtime_seconds = 30", "realtime_seconds = 60"
    )
    rig = Rig(folder, config)
    outbox = rig.engine.senders[0].outbox
    outbox.connected()
    sizes = []
    for _ in range(days + 1):
        for _ in range(24):
            rig.run(3600, 60)
            _answer(outbox)
        gc.collect()
        sizes.append(_memory())
        rig.instrument.acted.clear()
    after = (len(list(Path("/proc/self/fd").iterdir())), threading.active_count())
    slope = (sizes[-1] - sizes[0]) / days / 1e6
    size = rig.loaded.database.stat().st_size
    rig.engine.shut_down()
    figure = (
        f"{days} days behind the first: {slope:+.3f} MB/day of memory (goal 1), {after[0]} descriptors, {after[1]}"
        f" threads; the file {size / 1e6:.1f} MB; by the minute, without a real line and link"
    )
    return Outcome(days, figure, slope < 1 and after[0] < 40)


def _answer(outbox: object) -> None:
    from station.model import Lane

    for lane in Lane:
        while found := outbox.next(lane, 100):  # type: ignore[attr-defined]
            outbox.answered([message.id for message in found])  # type: ignore[attr-defined]


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
