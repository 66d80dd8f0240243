"""Tables for a person's terminal, made with rich."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from rich.console import Console
from rich.table import Table

from station.i18n import language, t
from station.own_reasons import worded as own_words
from station.parameters import catalogue
from station.screen_words import SILENCES, age, number
from station.texts import wall

BACKUP_OLD = 2 * 86400  # seconds; a nightly copy that failed once is not red yet
GOOD, BAD, DIM = "green", "bold red", "dim"


def console() -> Console:
    """Where the tables go: as wide as the terminal, or 100 columns into a pipe."""
    made = Console(highlight=False, emoji=False, markup=False)
    return made if made.is_terminal else Console(width=100, highlight=False, emoji=False, markup=False)


def show_status(found: Mapping[str, Any], points: Mapping[str, str], zone: tzinfo) -> None:
    """The screen of `station status`; *points* are the names of the measuring points by their codes."""
    out = console()
    out.print(t("status.title", name=found["station"]), style="bold")
    since = f"{wall(found['started'], zone)} ({zone})" if found["running"] else ""
    out.print(t("status.running", since=since) if since else t("status.stopped"), style=DIM)
    if found["store"]["error"]:
        out.print(t("status.store_error", text=found["store"]["error"]), style=BAD)
    if found["store"].get("low"):
        out.print(t("status.disk_low", free=f"{found['store']['free_bytes'] / 1e6:.0f}"), style=BAD)
    now = datetime.fromisoformat(found["time"])
    for line in clock_lines(found.get("clock") or {}):
        out.print(line, style=BAD)
    out.print(_devices(found["devices"], now) if found["devices"] else t("status.no_devices"))
    counted = [device for device in found["devices"] if device.get("line")]
    if counted:
        out.print(_lines(counted))
    values = [(device, value) for device in found["devices"] for value in device["values"]]
    if values:
        out.print(_values(values, points, found["running"]))
    out.print(_platforms(found["platforms"]) if found["platforms"] else t("status.no_platforms"))
    if found.get("alarms"):
        show_alarms(found["alarms"], zone)
    if found.get("beside"):
        out.print(_beside(found["beside"]))
    if "pins" in found:
        show_pins(out, found["pins"], zone)
    if disk := found.get("disk"):
        out.print(disk_line(disk), style=BAD if disk["low"] else DIM, soft_wrap=True)
        if disk["low"]:
            out.print(t("disk.low"), style=BAD, soft_wrap=True)
    if seal := found.get("seal"):
        out.print(t("status.seal", head=_grouped(seal["head"]), block=seal["epoch"]), style=DIM)
    if copy := found.get("backup"):
        seconds = (now - datetime.fromisoformat(copy["time"])).total_seconds()
        style = DIM if seconds < BACKUP_OLD else BAD
        out.print(t("status.backup", age=age(seconds), path=copy["path"]), style=style)
        if copy.get("since"):
            out.print(t("status.backup_rests", month=copy["since"]), style=style)
    elif found.get("backup_wanted"):
        out.print(t("status.no_backup"), style=BAD)
    if "field" in found:
        show_field(out, found["field"], zone)
    for thing in (*found["devices"], *found["platforms"]):
        if thing["error"]:
            out.print(t("status.error", name=thing["name"], text=thing["error"]), style=BAD)
        if thing.get("next_try"):
            out.print(t("status.next_try", name=thing["name"], at=wall(thing["next_try"], zone)), style=DIM)
        for note in thing.get("notes", ()):
            out.print(t("status.error", name=thing["name"], text=note), style=DIM)


def disk_line(disk: Mapping[str, Any]) -> str:
    """Room, days of it, and what is written to the medium, in one line."""
    days = t("disk.days_unknown") if disk["days_left"] is None else t("disk.days", days=f"{disk['days_left']:.0f}")
    wear = ""
    if disk["written_by"]:
        counted, mb = disk["written_by"] == "kernel", f"{disk['written_bytes_a_day'] / 1e6:.1f}"
        wear = t("disk.written_kernel" if counted else "disk.written_database", mb=mb)
    figures = {key: f"{disk[f'{key}_bytes'] / 1e6:.0f}" for key in ("used", "inside", "free")}
    return t("disk.line", days=days, wear=wear, **figures)


def clock_lines(clock: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the time, if anything."""
    if against := clock.get("doubt"):
        told = {"records": t("status.clock_records"), "rtc": t("status.clock_rtc_name"), "gnss": "GNSS"}.get(
            against, against
        )
        yield t("status.clock_doubt", against=told)
    if clock.get("waits"):
        yield t("status.clock_waits", age=age(clock["waiting_seconds"]), count=clock["waiting"])
    elif clock.get("waiting"):
        yield t("status.clock_dating", count=clock["waiting"])
    elif clock.get("trust") == "rtc":
        yield t("status.clock_rtc")
    for name, error in clock.get("platforms", {}).items():
        if error["large"]:
            seconds = f"{error['seconds']:+g}"
            low = error["confidence"] == "low"
            yield (
                t("status.clock_error_low", name=name, seconds=seconds)
                if low
                else t("status.clock_error_medium", name=name, seconds=seconds)
            )


def _beside(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Modem, screen, sampler and the like: each with its state in words (`beside.more` of its own texts)."""
    table = Table(title=t("status.beside"), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(t("beside.what"))
    table.add_column(t("beside.name"))
    table.add_column(t("beside.state"))
    for row in rows:
        state = t("beside.fails", reason=row["error"]) if row["error"] else t("beside.well")
        if row["silent"] > 60:
            state = t("beside.silent", age=age(row["silent"]))
        said = "; ".join(t(f"beside_more.{key}", value=value) for key, value in (row.get("words") or {}).items())
        table.add_row(t(f"beside_table.{row['table']}"), row["name"], f"{state}; {said}" if said else state)
    return table


def _grouped(head: str) -> str:
    """The first 16 digits of *head*, as people write them down."""
    return "-".join(head[at : at + 4] for at in range(0, 16, 4))


def show_field(out: Console, field: Mapping[str, Any], zone: tzinfo) -> None:
    """Maintenance, the visit under way, parts that are overdue: a line each."""
    for one in field["maintenance"]:
        what, user = one["what"] or t("maintenance.station"), one["user"] or t("maintenance.unsigned")
        last = wall(one["last"], zone)
        out.print(t("field.maintenance", name=one["name"], what=what, last=last, user=user), style="yellow")
    for one in field["unsigned"]:
        out.print(t("field.unsigned", name=one["name"], first=wall(one["first"], zone)), style=BAD)
    visit = field["visit"]
    if visit:
        first, who = wall(visit["started"], zone), visit["person"]
        out.print(t("field.visit", name=visit["name"], who=who, first=first, purpose=visit["purpose"]))
    if field["visit_forgotten"]:
        out.print(t("field.forgotten", name=visit["name"]), style="yellow")
    for one in field["parts_overdue"]:
        device = one["device"] or t("maintenance.station")
        out.print(t("field.part", name=one["name"], part=one["part"], device=device, due=one["due"]), style=BAD)


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=t(f"status.{title}"), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(t(f"status.{column}"), justify="right" if column in right else "left", header_style=DIM)
    return table


def _devices(devices: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    table = _table("devices", "device", "bus", "state", "last_reply", "missed", right=("last_reply", "missed"))
    for device in devices:
        last = device["last_reply"]
        seconds = (now - datetime.fromisoformat(last)).total_seconds() if last else None
        good = device["answers"]
        state = t("status.answers") if good else _why_silent(device)
        if not device["bus"]:
            state, good = t("status.unknown"), True
        style = GOOD if good else BAD
        table.add_row(device["name"], device["bus"], state, age(seconds), str(device["missed"]), style=style)
    return table


def _lines(devices: Sequence[Mapping[str, Any]]) -> Table:
    """How the devices answered since the start: what a cable or a slow instrument looks like in numbers."""
    counts = ("requests", "timeouts", "bad_replies", "exceptions", "late", "worst_ms")
    table = _table("lines", "device", *counts, right=counts)
    for device in devices:
        table.add_row(device["name"], *(str(round(device["line"][name])) for name in counts))
    return table


def _why_silent(device: Mapping[str, Any]) -> str:
    """No answer, and in which way: a lost port is another errand than a wrong reply."""
    key = SILENCES.get(device.get("reason", ""))
    return f"{t('status.silent')}: {t(key)}" if key else t("status.silent")


def _values(
    values: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], points: Mapping[str, str], running: bool
) -> Table:
    table = _table("values", "device", "point", "parameter", "value", "unit", "mark", "age", right=("value", "age"))
    for device, value in values:
        outdated = running and not value["current"]
        table.add_row(
            device["name"],
            _point(value["point"], points),
            _name(value["parameter"]),
            number(value["value"], value["parameter"]),
            _unit(value["unit"]),
            t("mark.outdated") if outdated else _mark(value["mark"]),
            age(value["age_seconds"]),
            style="" if value["mark"] == "N" and not outdated else BAD,
        )
    return table


def _platforms(platforms: Sequence[Mapping[str, Any]]) -> Table:
    counts = ("owed", "oldest", "answered", "unconfirmed", "parked", "dropped")
    table = _table("platforms", "platform", "link", *counts, right=counts)
    for platform in platforms:
        table.add_row(
            platform["name"],
            t("status.connected" if platform["connected"] else "status.disconnected"),
            str(platform["owed"]),
            age(platform["oldest_seconds"]) if platform["owed"] else t("status.unknown"),
            *(str(platform[name]) for name in counts[2:]),
            style=GOOD if platform["connected"] else BAD,
        )
    return table


def show_pins(out: Console, pins: Mapping[str, Any], zone: tzinfo) -> None:
    """Inputs and outputs with their rules, and why each output is as it is."""
    if pins["mock"]:
        out.print(t("output.mock"), style=BAD)
    if pins["inputs"]:
        table = _table("inputs", "input", "pin", "state", "since")
        for one in pins["inputs"]:
            since = wall(one["since"], zone) if one["since"] else ""
            state = t(f"contact.{one['state']}") if one["known"] else t("output.unknown")
            table.add_row(one["name"], _wire(one), state, since)
        out.print(table)
    if pins["outputs"]:
        out.print(_outputs(pins["outputs"]))
    for one in (*pins["inputs"], *pins["outputs"]):
        if one["error"]:
            out.print(t("status.error", name=one["name"], text=one["error"]), style=BAD)


def _wire(one: Mapping[str, Any]) -> str:
    """Where an input or output hangs."""
    return f"{one['module']} {one['channel']}" if one["module"] else f"GPIO {one['pin']}"


def _outputs(outputs: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("outputs", "output", "pin", "state", "why", "today", "rule", right=("today",))
    for one in outputs:
        state = t("output.on") if one["on"] else t("output.off")
        style = GOOD if one["on"] else BAD if one["locked"] else ""
        rules = "; ".join(_rule(rule) for rule in one["rules"])
        used = age(one["used_today_seconds"])
        table.add_row(one["name"], _wire(one), state, _why(one), used, rules, style=style)
    return table


def _why(one: Mapping[str, Any]) -> str:
    """Why an output is as it is, and what holds it back; who locked it."""
    said = t(f"why.{one['why']}")
    if one["lock"]:
        return t("output.locked_by", why=said, user=one["lock"]["user"], reason=own_words(one["lock"]["reason"]))
    return said if one["held"] in ("", one["why"]) else f"{said} ({t('why.' + one['held'])})"


def _rule(rule: Mapping[str, Any]) -> str:
    """A rule with the value it looks at."""
    if not rule["parameter"]:
        return str(rule["name"])
    value = t(f"why.{rule['trouble']}") if rule["trouble"] else number(rule["value"], rule["parameter"])
    return f"{rule['name']}: {_name(rule['parameter'])} {value} ({rule['start']:g} / {rule['stop']:g})"


STATES = {"normal": GOOD, "pre_alarm": "yellow", "alarm": BAD, "undetermined": "yellow", "stale": BAD}


def show_alarms(rows: Sequence[Mapping[str, Any]], zone: tzinfo) -> None:
    """Every alarm with its state, and the value and limit it was held against."""
    columns = ("name", "point", "value", "limit", "state", "why", "since")
    table = Table(title=t("alarms.title"), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(t(f"alarms.{column}"), header_style=DIM, overflow="fold")
    for row in rows:
        since = wall(row["since"], zone) if row["since"] else ""
        why = t(f"alarm_why.{row['cause']}", count=row["count"], allowed=row.get("allowed_per_day", 0))
        if row["acknowledged"]:
            why += "; " + t("alarms.seen_by", user=row["acknowledged"]["user"])
        value = f"{_name(row['parameter'])} {number(row['value'], row['parameter'])} {row['unit']}".rstrip()
        if row["beside"] is not None:
            value += f" / {row['beside']:g}"
        state = t(f"alarm_state.{row['state']}")
        table.add_row(row["name"], row["point"], value, _limit(row), state, why, since, style=STATES[row["state"]])
    console().print(table)


def _limit(row: Mapping[str, Any]) -> str:
    """A limit with where it is from."""
    if row.get("limit") is None:
        return ""
    sign = {"most": "≤", "below": "<", "least": "≥"}[row["sense"]]
    source = t("alarms.own") if row["standard"] == "own" else f"{row['standard']} {row['class']}".rstrip()
    return f"{sign} {row['limit']:g} ({source}, {row['period']})"


def show_samples(samples: Sequence[Mapping[str, Any]]) -> None:
    """What one reading of a device gave."""
    table = _table("values", "parameter", "value", "unit", "mark", right=("value",))
    for sample in samples:
        value = number(sample["value"], sample["parameter"])
        table.add_row(_name(sample["parameter"]), value, _unit(sample["unit"]), _mark(sample["mark"]))
    console().print(table)


def show_rows(columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, str]]) -> None:
    """A plain table: *columns* are (key, heading), every row has the keys."""
    table = Table(box=None, pad_edge=False, header_style=DIM)
    for _, heading in columns:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(row[key] for key, _ in columns))
    console().print(table)


def _point(code: str, points: Mapping[str, str]) -> str:
    """The name of a point, with its code where that is another word: commands take either.

    >>> _point("a", {"a": "Outlet"}), _point("a", {"a": "a"}), _point("c", {})
    ('Outlet (a)', 'a', 'c')
    """
    name = points.get(code, code)
    return name if name == code else f"{name} ({code})"


def _unit(unit: str) -> str:
    """The unit a person reads: the catalogue's levels are A-weighted, which Chinese readers expect beside them."""
    return "dB(A)" if unit == "dB" and language() == "zh" else unit


def _name(parameter: str) -> str:
    known = catalogue().get(parameter)
    return known.name(language()) if known else parameter


def _mark(letter: str) -> str:
    return f"{letter} {t(f'mark.{letter}')}"
