"""What each step of a commissioning looks at, and what it says of it: facts, and one sentence where it fails."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.command_line import ask_station
from station.i18n import t
from station.model import StationError, dataclass, field

if TYPE_CHECKING:
    from station.config import Loaded

FIXED_UARTS = re.compile(r"/dev/(serial[01]|tty(AMA|SC|S)\d{1,2})")  # names that do not depend on what is plugged in
STABLE_FOLDERS = ("by-id", "by-path")
LOOK_EVERY = 0.5  # seconds between two looks at a running station


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a step found: *trouble* is why it fails, "" where it does not; *lines* are for a person to look at."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of the steps: the addresses looked for, where the copy goes, how long is waited."""

    loaded: Loaded
    units: str = "1-16"
    backup_to: Path | None = None
    wait: float = 30.0


def _first(troubles: list[str]) -> str:
    return "; ".join(troubles)


def clock(asked: Asked) -> Found:
    """By what the clock is known."""
    from station.clock import trust

    live = ask_station(asked.loaded, "status")
    known = trust() if live is None else str(live.get("trust") or "none")
    now = datetime.now(UTC).astimezone(asked.loaded.zone)
    facts = {"trust": known, "time": now.isoformat(timespec="seconds")}
    trouble = ""
    if known == "none":
        trouble = t("commission_trouble.clock")
    return Found(facts=facts, trouble=trouble, lines=(f"{facts['time']}  {known}",))


def adapters(asked: Asked) -> Found:
    """Whether every line has a port that is there, by a name that stays."""
    rows, troubles = [], []
    for bus in asked.loaded.config.bus:
        port = Path(bus.port)
        there = port.exists()
        stable = port.parent.name in STABLE_FOLDERS or bool(FIXED_UARTS.fullmatch(bus.port))
        rows.append({"bus": bus.name, "port": bus.port, "is": str(port.resolve()) if there else "", "stable": stable})
        if not there:
            troubles.append(t("commission_trouble.no_adapter", bus=bus.name, port=bus.port))
        elif not stable:
            troubles.append(t("commission_trouble.unstable", bus=bus.name, port=bus.port))
    if not rows:
        troubles.append(t("commission_trouble.no_line"))
    lines = tuple(f"{row['bus']}: {row['port']} -> {row['is'] or '-'}" for row in rows)
    return Found(facts={"buses": rows}, trouble=_first(troubles), lines=lines)


def scan(asked: Asked) -> Found:
    """Who answers on each line: every configured address, and nobody who is not configured."""
    from station.cli_bus import _Search
    from station.cli_line import reached

    rows: list[dict[str, Any]] = []
    troubles: list[str] = []
    for bus in asked.loaded.config.bus:
        own = {one.unit_id: one.name for one in bus.device if hasattr(one, "unit_id")}
        if not own:
            continue  # a stream instrument has no address to be asked at
        units = sorted({*own, *_units(asked.units)})
        try:
            with reached(bus.name, asked.loaded.path) as line:
                search = _Search(line, 0.2, thorough=False)
                search.run([line.speed], units, 0.0, lambda: False)
                found = {unit: search.known(speed, unit) for speed, unit in search.found}
        except StationError as error:
            troubles.append(str(error))
            continue
        rows += [{"bus": bus.name, "unit_id": unit, "device": name or ""} for unit, name in sorted(found.items())]
        troubles += [
            t("commission_trouble.missing", device=name, unit=unit, bus=bus.name)
            for unit, name in own.items()
            if unit not in found
        ]
        troubles += [
            t("commission_trouble.stranger", unit=unit, bus=bus.name) for unit, name in found.items() if not name
        ]
    lines = tuple(f"{row['bus']} {row['unit_id']}: {row['device'] or '?'}" for row in rows)
    return Found(facts={"found": rows, "looked_for": asked.units}, trouble=_first(troubles), lines=lines)


def _units(text: str) -> list[int]:
    from drivers.scan import units_in
    from station.model import WrongArgument

    try:
        return units_in(text)
    except ValueError as error:
        raise WrongArgument(str(error)) from error


def profiles(asked: Asked) -> Found:
    """By which profile each instrument is read, for a person to hold against its nameplate."""
    rows: list[dict[str, Any]] = []
    for bus in asked.loaded.config.bus:
        for one in bus.device:
            instrument = asked.loaded.instrument(one.name)
            rows.append(
                {
                    "device": one.name,
                    "read_by": str(getattr(one, "profile", "") or one.driver),
                    "variant": str(getattr(one, "variant", "") or ""),
                    "unit_id": getattr(one, "unit_id", None),
                    "parameters": list(instrument.units) if instrument else [],
                    "hints": [str(hint) for hint in getattr(instrument, "hints", ())],
                }
            )
    lines = [f"{r['device']}: {r['read_by']} {r['variant']} ({', '.join(r['parameters'])})" for r in rows]
    lines += [f"  {hint}" for row in rows for hint in row["hints"]]
    trouble = "" if rows else t("commission_trouble.no_instrument")
    return Found(facts={"devices": rows}, trouble=trouble, lines=tuple(lines))


def values(asked: Asked) -> Found:
    """Whether every instrument brings current, normal values; a person says whether they can be."""
    live = _awaited(asked, lambda status: all(_trouble_of(one) == "" for one in status["devices"]))
    if live is None:
        return Found(trouble=t("commission_trouble.not_running"))
    rows = [
        {"device": one["name"], **{key: v[key] for key in ("parameter", "value", "unit", "mark")}}
        for one in live["devices"]
        for v in one["values"]
    ]
    troubles = [text for one in live["devices"] if (text := _trouble_of(one))]
    lines = tuple(f"{r['device']} {r['parameter']}: {r['value']} {r['unit']} {r['mark']}" for r in rows)
    return Found(facts={"values": rows}, trouble=_first(troubles), lines=lines)


def _trouble_of(device: Mapping[str, Any]) -> str:
    name = device["name"]
    if not device["answers"]:
        return t("commission_trouble.silent", device=name, error=device["error"] or "-")
    if not device["values"]:
        return t("commission_trouble.no_value", device=name)
    odd = [v for v in device["values"] if not v["current"] or v["value"] is None or v["mark"] not in ("N", "M")]
    return "; ".join(
        t("commission_trouble.odd", device=name, **{key: v[key] for key in ("parameter", "value", "mark")}) for v in odd
    )


def platform(asked: Asked) -> Found:
    """Whether every platform is connected and refuses nothing; without a station one exchange with each."""
    uplinks = asked.loaded.config.uplink
    if not uplinks:
        return Found(trouble=t("commission_trouble.no_platform"))
    names = {one.name for one in uplinks}

    def good(status: Mapping[str, Any]) -> bool:
        return all(one["connected"] and not one["error"] for one in status["platforms"] if one["name"] in names)

    live = _awaited(asked, good)
    if live is None:
        return Found(trouble=t("commission_trouble.not_running"))
    shown = [one for one in live["platforms"] if one["name"] in names]
    rows = [{key: one[key] for key in ("name", "connected", "answered", "unconfirmed", "error")} for one in shown]
    troubles = [
        t(
            "commission_trouble.refuses" if one["connected"] else "commission_trouble.not_connected",
            name=one["name"],
            error=one["error"] or "-",
        )
        for one in rows
        if one["error"] or not one["connected"]
    ]
    lines = tuple(f"{row['name']}: {row['answered']} answered" for row in rows)
    return Found(facts={"platforms": rows}, trouble=_first(troubles), lines=lines)


def _awaited(asked: Asked, holds: Callable[[Mapping[str, Any]], bool]) -> Any:
    return awaited(asked.loaded, asked.wait, holds)


def awaited(loaded: Loaded, wait: float, holds: Callable[[Mapping[str, Any]], bool]) -> Any:
    """The running station's status as soon as *holds*, or as it is after *wait* seconds; None without a station."""
    end = time.monotonic() + wait
    while True:
        live = ask_station(loaded, "status")
        if live is None or holds(live) or time.monotonic() >= end:
            return live
        time.sleep(LOOK_EVERY)


def backup(asked: Asked) -> Found:
    """A first copy of the database, read back."""
    from station.backup import take
    from station.cli_backup import _kept, _plain

    settings = asked.loaded.config.backup
    folder = asked.backup_to or (asked.loaded.folder / settings.folder if settings.folder else None)
    if folder is None:
        return Found(trouble=t("commission_trouble.no_folder"))
    if not folder.is_dir():
        return Found(trouble=t("commission_trouble.not_a_folder", folder=folder))
    if not asked.loaded.database.exists():
        return Found(trouble=t("commission_trouble.no_database", path=asked.loaded.database))
    ask_station(asked.loaded, "commit")
    now = datetime.now(UTC)
    try:
        copy, removed = take(asked.loaded.database, folder.resolve(), now, keep=settings.keep)
    except StationError as error:
        return Found(trouble=str(error))
    facts = _plain(copy)
    _kept(asked.loaded, now, {**facts, "removed": [one.name for one in removed]})
    return Found(facts=facts, lines=(f"{facts['path']}  SHA-256 {facts['sha256']}",))


CHECKS: Mapping[str, Callable[[Asked], Found]] = {
    "clock": clock,
    "adapters": adapters,
    "scan": scan,
    "profiles": profiles,
    "values": values,
    "platform": platform,
    "backup": backup,
}
CONFIRMED = ("profiles", "values", "alarm")  # steps that a person has to say yes to
