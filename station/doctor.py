"""One look at everything a station rests on: disk, clock, lines, platforms, seals, copies, the board.

Each finding is a line that is good, a warning or bad, with what to do about it; what cannot be known here is said to
be unknown.  Texts are under `checkup` and `checkup_advice` in station/locale.  The limits are our own unless it says
otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.clock import to_ms
from station.host import THROTTLED, UNDERVOLTAGE, Host
from station.model import dataclass

if TYPE_CHECKING:
    from station.capacity import Capacity
    from station.store import Store

GOOD, WARNING, BAD, UNKNOWN = "good", "warning", "bad", "unknown"
SCARCE, FULL = 512 << 20, 64 << 20  # bytes free
SHORT_DAYS = 90  # of room: time to get another card
BUSY_MEDIUM = 2e9  # bytes a day, written by everything on the host
WORN, WORN_OUT = 80, 110  # percent of its life, as an eMMC says
STEPS_DAYS = timedelta(days=7)
LONG_OFFLINE = 3600.0  # seconds that a message waits before a link that is down is bad
HEAD_OLD = timedelta(minutes=30)
CLOCK_APART = 30.0  # seconds that the operator's clock may be from ours
BLOCKS = 12  # the newest ones whose rows are read again: an hour
MONTH_LATE = timedelta(days=7)  # behind the day a month may be closed on
COPY_OLD, COPY_VERY_OLD = timedelta(days=2), timedelta(days=7)
WARM, HOT = 70.0, 80.0  # °C; at 80 a Raspberry Pi slows down (confidence B)
# What a line cannot work with, of the advice of drivers/doctor.py.
BROKEN_LINES = ("two_masters", "all_silent", "silent_now", "settings", "dead")

# Every finding by topic: its code and its level.
FINDINGS: Mapping[str, Mapping[str, str]] = {
    "station": {
        "running": GOOD, "not_running": BAD, "store_refuses": BAD, "threads_silent": BAD, "damage_suspected": BAD,
    },
    "disk": {
        "room": GOOD, "room_scarce": WARNING, "room_gone": BAD, "read_only": BAD, "room_unknown": UNKNOWN,
        "wear": GOOD, "wear_high": WARNING, "wear_unknown": UNKNOWN,
        "lasts": GOOD, "lasts_short": WARNING, "lasts_no_more": BAD, "lasts_unknown": UNKNOWN,
        "life": GOOD, "life_short": WARNING, "life_over": BAD,
    },
    "clock": {
        "clock_ntp": GOOD, "clock_platform": GOOD, "clock_gnss": GOOD, "clock_network": GOOD,
        "clock_alone": WARNING, "clock_stepped": WARNING,
        "clock_behind": BAD,
    },
    "bus": {"line_sound": GOOD, "line_weak": WARNING, "line_broken": BAD, "line_unknown": UNKNOWN},
    "uplink": {
        "link_up": GOOD, "link_waits": WARNING, "link_gone": BAD, "link_unknown": UNKNOWN, "link_parked": WARNING,
        "link_dropped": WARNING, "link_foreign": WARNING,
    },
    "modem": {
        "modem_well": GOOD, "modem_no_link": BAD, "modem_fails": BAD, "modem_weak": WARNING, "modem_apn": WARNING,
        "modem_clock": WARNING, "modem_budget_near": WARNING, "modem_budget_over": BAD, "modem_steps": WARNING,
        "modem_unknown": UNKNOWN,
    },
    "seals": {
        "sealed": GOOD, "seal_old": WARNING, "seal_none": UNKNOWN, "seal_rows": BAD, "seal_keyed": GOOD,
        "seal_keyless": WARNING,
    },
    "backup": {
        "copy": GOOD, "copy_old": WARNING, "copy_very_old": BAD, "copy_none": WARNING, "copy_here": WARNING,
        "months": GOOD, "month_due": WARNING, "month_gone": BAD,
    },
    "board": {
        "no_pi": UNKNOWN, "cool": GOOD, "warm": WARNING, "hot": BAD, "heat_unknown": UNKNOWN,
        "never_throttled": GOOD, "was_throttled": WARNING, "throttled": BAD,
        "supply_good": GOOD, "supply_was_low": WARNING, "supply_low": BAD, "supply_unknown": UNKNOWN,
    },
}  # fmt: skip
LEVELS = {code: level for findings in FINDINGS.values() for code, level in findings.items()}
TOPICS = {code: topic for topic, findings in FINDINGS.items() for code in findings}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: its *code* of FINDINGS and the figures of its sentence."""

    code: str
    figures: Mapping[str, Any]

    @property
    def topic(self) -> str:
        """What it is about."""
        return TOPICS[self.code]

    @property
    def level(self) -> str:
        """good, warning, bad or unknown."""
        return LEVELS[self.code]


def found(code: str, /, **figures: Any) -> Finding:
    """The finding *code* with its figures."""
    return Finding(code, figures)


def of_station(status: Mapping[str, Any], *, suspected: bool) -> Iterator[Finding]:
    """Whether it runs, and what it says of itself."""
    yield found("running", since=status["started"]) if status["running"] else found("not_running")
    if status["store"]["error"]:
        yield found("store_refuses", error=status["store"]["error"])
    if status.get("silent_threads"):
        yield found("threads_silent", threads=", ".join(status["silent_threads"]))
    if suspected:
        yield found("damage_suspected")


def of_disk(host: Host, folder: Path) -> Iterator[Finding]:
    """Room, whether it can be written, and wear."""
    room = host.room(folder)
    if room is None:
        yield found("room_unknown", folder=folder)
    elif room.read_only:
        yield found("read_only", folder=folder)
    else:
        code = "room_gone" if room.free < FULL else "room_scarce" if room.free < SCARCE else "room"
        yield found(code, folder=folder, free=f"{room.free / 1e6:.0f}", total=f"{room.total / 1e6:.0f}")
    written = host.written(folder)
    if written is None:
        yield found("wear_unknown")
    else:
        code = "wear_high" if written.a_day > BUSY_MEDIUM else "wear"
        yield found(code, mb=f"{written.a_day / 1e6:.0f}", hours=f"{written.seconds / 3600:.1f}")
    life = host.life_used(folder)
    if life is not None:
        yield found("life_over" if life >= WORN_OUT else "life_short" if life >= WORN else "life", percent=life)


def of_capacity(capacity: Capacity | None) -> Iterator[Finding]:
    """How many days of room there are until the floor or the budget of [disk]."""
    if capacity is None or (capacity.days_left is None and not capacity.low):
        yield found("lasts_unknown")
        return
    figures = {"days": f"{capacity.days_left or 0:.0f}", "mb": f"{(capacity.growth or 0) / 1e6:.1f}"}
    short = capacity.days_left is not None and capacity.days_left < SHORT_DAYS
    yield found("lasts_no_more" if capacity.low else "lasts_short" if short else "lasts", **figures)


def of_clock(store: Store, trust: str, now: datetime) -> Iterator[Finding]:
    """What it is known by, how often it was stepped, and whether it is behind what is stored."""
    yield found(f"clock_{trust}" if trust in ("ntp", "platform", "gnss", "network") else "clock_alone")
    rows = store.query(
        "SELECT count(*) FROM event WHERE code = 'clock_step' AND at_ms BETWEEN ? AND ?",
        (to_ms(now - STEPS_DAYS), to_ms(now)),
    )
    if rows[0][0]:
        yield found("clock_stepped", count=rows[0][0], days=STEPS_DAYS.days)
    newest = store.newest_time()
    if newest is not None and newest - now > timedelta(minutes=5):
        yield found("clock_behind", newest=newest.isoformat(), now=now.isoformat())


def of_line(bus: str, advice: Sequence[str] | None) -> Iterator[Finding]:
    """What the statistics of a line say; *advice* are keys of drivers/doctor.py, None where it was hardly asked."""
    if advice is None:
        yield found("line_unknown", bus=bus)
    elif not advice:
        yield found("line_sound", bus=bus)
    else:
        broken = any(key in BROKEN_LINES for key in advice)
        yield found("line_broken" if broken else "line_weak", bus=bus, advice=list(advice))


def of_platform(platform: Mapping[str, Any], *, running: bool, configured: bool) -> Iterator[Finding]:
    """Whether it is connected, what it is owed, what it refused, what it will never get."""
    name, owed, oldest = platform["name"], platform["owed"], platform["oldest_seconds"] or 0
    if not configured:
        yield found("link_foreign", platform=name, owed=owed)
    elif not running:
        yield found("link_unknown", platform=name, owed=owed)
    elif platform["connected"]:
        yield found("link_up", platform=name, owed=owed)
    else:
        code = "link_gone" if owed and oldest > LONG_OFFLINE else "link_waits"
        yield found(code, platform=name, owed=owed, minutes=round(oldest / 60), error=platform["error"] or "-")
    if platform["parked"]:
        yield found("link_parked", platform=name, parked=platform["parked"])
    if platform["dropped"]:
        yield found("link_dropped", platform=name, dropped=platform["dropped"])


def of_modem(rows: Sequence[Mapping[str, Any]], *, running: bool) -> Iterator[Finding]:
    """Its link, its signal, its APN, its clock, its bytes, and how often it was helped; *rows* are those of status."""
    for row in rows:
        name, one = row["name"], row["modem"]
        if row["error"]:
            yield found("modem_fails", modem=name, error=row["error"])
            continue
        if not one["looked"]:
            yield found("modem_unknown")
            continue
        if one["why_down"]:
            yield found("modem_no_link", modem=name, why=one["why_down"])
        else:
            yield found("modem_well", modem=name, operator=one["operator"] or "-", apn=one["apn"] or "-",
                        iccid=one["iccid"] or "-", imei=one["imei"] or "-")  # fmt: skip
        if one["verdict"] in ("weak", "bad"):
            rsrp, sinr = ("-" if one[key] is None else f"{one[key]:g}" for key in ("rsrp", "sinr"))
            yield found("modem_weak", modem=name, rsrp=rsrp, sinr=sinr)
        if one["wanted_apn"] and one["apn"] and one["apn"] != one["wanted_apn"]:
            yield found("modem_apn", modem=name, apn=one["apn"], wanted=one["wanted_apn"])
        if one["clock_offset"] is not None and abs(one["clock_offset"]) > CLOCK_APART:
            yield found("modem_clock", modem=name, seconds=f"{one['clock_offset']:+.0f}")
        if one["budget_mb"]:
            share = (one["received"] + one["sent"]) / (1e4 * one["budget_mb"])
            if share >= 80:
                code = "modem_budget_over" if share >= 100 else "modem_budget_near"
                yield found(code, modem=name, percent=f"{share:.0f}", budget=one["budget_mb"])
        if one["steps_today"]:
            yield found("modem_steps", modem=name, count=one["steps_today"], most=one["most_a_day"])
    if not rows and not running:
        yield found("modem_unknown")


def of_seals(store: Store, now: datetime, *, running: bool) -> Iterator[Finding]:
    """The newest block, whether the last ones still hold, and whether they have tags."""
    from station.clock import from_ms
    from station.seal import short
    from station.sealing import shown, state

    newest = shown(store)
    if newest is None:
        yield found("seal_none")
        return
    wrong, checked = _changed(store)
    at = from_ms(newest["at_ms"])
    if wrong is not None:
        yield found("seal_rows", block=wrong)
    else:
        code = "seal_old" if running and now - at > HEAD_OLD else "sealed"
        head = short(bytes.fromhex(newest["head"]))
        yield found(code, block=newest["epoch"], at=at.isoformat(), head=head, checked=checked)
    yield found("seal_keyless" if state(store)[2] is None else "seal_keyed")


def _changed(store: Store) -> tuple[int | None, int]:
    """The first of the newest blocks whose rows are not those that were sealed, and how many blocks were read."""
    from station.seal import digest
    from station.sealing import state

    block, _, _ = state(store)
    upto = {} if block is None else dict(block.upto)
    wrong, checked = None, 0
    for epoch, more, made in store.query("SELECT epoch, more, digest FROM seal ORDER BY epoch DESC LIMIT ?", (BLOCKS,)):
        try:
            grown = {str(table): int(count) for table, count in json.loads(more).items()}
        except (ValueError, TypeError, AttributeError):
            return int(epoch), checked
        before = {table: last - grown.get(table, 0) for table, last in upto.items()}
        checked += 1
        if digest(store.query, before, upto)[0] != bytes(made):
            wrong = int(epoch)
        upto = before
    return wrong, checked


def of_backup(copy: Mapping[str, Any] | None, data_folder: Path, now: datetime) -> Iterator[Finding]:
    """How old the newest copy is, and whether it lies where the database does."""
    if copy is None:
        yield found("copy_none")
        return
    at, path = datetime.fromisoformat(copy["time"]), Path(str(copy.get("path", "")))
    age = now - at
    code = "copy_very_old" if age > COPY_VERY_OLD else "copy_old" if age > COPY_OLD else "copy"
    yield found(code, hours=round(age.total_seconds() / 3600), path=path)
    try:
        if os.stat(path.parent).st_dev == os.stat(data_folder).st_dev:  # noqa: PTH116 - of both the same way
            yield found("copy_here", path=path)
    except OSError:
        return  # the disk of the copies is not plugged in now


def of_months(store: Store, data_folder: Path, now: datetime, zone: tzinfo) -> Iterator[Finding]:
    """Whether the files of closed months are there, by their sizes, and whether one more should be."""
    from station.months import FOLDER, due, is_whole, recorded

    known = recorded(store.query)
    for month in known:
        path = data_folder / FOLDER / month.file
        if not is_whole(path, month, read=False):
            yield found("month_gone", path=path)
    if known:
        megabytes = sum(month.size for month in known) / 1e6
        yield found("months", count=len(known), last=known[-1].piece.month, mb=f"{megabytes:.1f}")
    late = due(store.query, known[-1].piece if known else None, now - MONTH_LATE, zone)
    if late is not None:
        yield found("month_due", month=late.month)


def of_board(host: Host) -> Iterator[Finding]:
    """Heat, throttling and the supply of a Raspberry Pi."""
    if not host.is_raspberry_pi:
        yield found("no_pi", model=host.model or "?")
        return
    celsius = host.celsius()
    if celsius is None:
        yield found("heat_unknown")
    else:
        code = "hot" if celsius >= HOT else "warm" if celsius >= WARM else "cool"
        yield found(code, celsius=f"{celsius:.1f}")
    bits, alarm = host.throttled(), host.supply_alarm()
    if bits is not None:
        now, since = (bool(bits & bit) for bit in THROTTLED)
        yield found("throttled" if now else "was_throttled" if since else "never_throttled")
    if bits is None and alarm is None:
        yield found("supply_unknown")
        return
    low_now, was_low = ((bits or 0) & UNDERVOLTAGE[0]) != 0, ((bits or 0) & UNDERVOLTAGE[1]) != 0 or bool(alarm)
    yield found("supply_low" if low_now else "supply_was_low" if was_low else "supply_good")


def worst(findings: Sequence[Finding]) -> str:
    """The level of all of them together; what is unknown counts as good."""
    levels = {one.level for one in findings}
    return BAD if BAD in levels else WARNING if WARNING in levels else GOOD
