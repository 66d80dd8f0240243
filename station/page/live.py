"""What the overview shows: values by measuring point with mark, age and limit, and lamps for the whole station."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from station.i18n import t
from station.model import Mark
from station.screen_words import SILENCES, age, number

LEVEL_OF_MARK = {
    Mark.N.name: "good", Mark.S.name: "note", Mark.C.name: "note", Mark.M.name: "warn",
    Mark.T.name: "bad", Mark.D.name: "bad", Mark.F.name: "bad", Mark.B.name: "bad",
}  # fmt: skip
SIGNS = {"most": "≤", "below": "<", "least": "≥"}
NEAR = 0.8  # of a limit: from here on a bar is amber


class Tile(NamedTuple):
    """One value: *share* is how far it is towards its limit (1 = at it), None without an upper one."""

    device: str
    parameter: str
    value: str
    unit: str
    mark: str
    level: str
    stale: bool
    age: str
    reason: str
    limit: str
    share: float | None
    bar: str
    alarm: str


class Lamp(NamedTuple):
    """How one side of the station is: *level* good, warn, bad or idle, and the view that says more."""

    level: str
    name: str
    text: str
    endpoint: str


def points(found: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, list[Tile]]]:
    """Code and tiles of each measuring point, those of the configuration first and in its order."""
    limits: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in found.get("alarms") or ():
        if row.get("limit") is not None:
            limits.setdefault((row["point"], row["parameter"]), []).append(row)
    values = [(device["name"], one) for device in found["devices"] for one in device["values"]]
    twice = Counter((one["point"], one["parameter"]) for _, one in values)
    for code in dict.fromkeys([*names, *(one["point"] for _, one in values)]):
        tiles = [
            _tile(device if twice[code, one["parameter"]] > 1 else "", one, limits, running=found["running"])
            for device, one in values
            if one["point"] == code
        ]
        if tiles:
            yield code, tiles


def _tile(
    device: str, one: Mapping[str, Any], limits: Mapping[tuple[str, str], list[Mapping[str, Any]]], *, running: bool
) -> Tile:
    stale = running and not one["current"]
    limit = min(limits.get((one["point"], one["parameter"]), ()), key=lambda row: float(row["limit"]), default=None)
    share = None
    if limit and limit["sense"] != "least" and limit["limit"] > 0 and one["value"] is not None:
        share = max(0.0, one["value"] / limit["limit"])
    return Tile(
        device=device,
        parameter=one["parameter"],
        value=number(one["value"], one["parameter"]),
        unit=one["unit"],
        mark=one["mark"],
        level="bad" if stale else LEVEL_OF_MARK.get(one["mark"], "bad"),
        stale=stale,
        age=age(one["age_seconds"]),
        reason=t(f"reason.{one['reason']}") if one["reason"] and one["mark"] != "N" else "",
        limit=limit_text(limit) if limit else "",
        share=None if share is None else min(1.25, share),
        alarm=_loudest(limits.get((one["point"], one["parameter"]), ())),
        bar="" if share is None else "bad" if share > 1 else "warn" if share > NEAR else "good",
    )


def _loudest(rows: Sequence[Mapping[str, Any]]) -> str:
    """The state of the alarms at one value that is to be seen there; empty when all is well."""
    states = {row["state"] for row in rows}
    return next((state for state in ("alarm", "pre_alarm") if state in states), "")


def limit_text(row: Mapping[str, Any]) -> str:
    """A limit with the period it holds for, all its figures.

    >>> limit_text({"sense": "most", "limit": 101325.5, "period": "1h"})
    '≤ 101325.5 (1h)'
    """
    return f"{SIGNS[row['sense']]} {row['limit']:.10g} ({row['period']})"


def lamps(found: Mapping[str, Any]) -> list[Lamp]:
    """What somebody wants to know at one look, each with the view that tells it whole."""
    made = [_instruments(found["devices"], found["running"]), _uplinks(found["platforms"], found["running"])]
    if "alarms" in found:
        made.append(_alarms(found["alarms"]))
    made.append(_record(found))
    if maintenance := (found.get("field") or {}).get("maintenance"):
        made.append(Lamp("warn", t("page.lamp_maintenance"), str(len(maintenance)), "work.field_work"))
    return made


def _instruments(devices: Sequence[Mapping[str, Any]], running: bool) -> Lamp:
    name, of = t("page.lamp_instruments"), len(devices)
    if not running or not devices:
        return Lamp("idle", name, t("page.lamp_none") if not of else str(of), "views.bus")
    well = sum(device["answers"] for device in devices)
    level = "good" if well == of else "bad" if not well else "warn"
    return Lamp(level, name, t("page.lamp_answer", count=well, of=of), "views.bus")


def _uplinks(platforms: Sequence[Mapping[str, Any]], running: bool) -> Lamp:
    name, of = t("page.lamp_uplinks"), len(platforms)
    owed = sum(one["owed"] for one in platforms)
    if not running or not platforms:
        return Lamp("idle", name, t("page.lamp_none") if not of else t("page.lamp_owed", count=owed), "views.outbox")
    up = sum(one["connected"] for one in platforms)
    waits = t("page.lamp_owed", count=owed).replace(" ", "\u00a0")  # a number does not stand on a line of its own
    text = t("page.lamp_connected", count=up, of=of) + (f" · {waits}" if owed else "")
    return Lamp("good" if up == of else "bad" if not up else "warn", name, text, "views.outbox")


def _alarms(rows: Sequence[Mapping[str, Any]]) -> Lamp:
    states = Counter(row["state"] for row in rows)
    on = states["alarm"]
    unseen = any(row["state"] == "alarm" and not row["acknowledged"] for row in rows)
    level = "bad" if unseen else "warn" if on or states["pre_alarm"] or states["stale"] else "good"
    text = t("page.lamp_alarms", count=on) if on else t("page.lamp_no_alarm")
    return Lamp(level, t("page.lamp_alarm"), text, "views.alarms")


def _record(found: Mapping[str, Any]) -> Lamp:
    """Whether what is measured is also kept and dated."""
    name, store, clock = t("page.lamp_record"), found["store"], found.get("clock") or {}
    if not found["running"]:
        return Lamp("bad", name, t("page.lamp_stopped"), "views.events")
    if store["error"]:
        return Lamp("bad", name, t("page.lamp_store"), "views.events")
    if store.get("low"):
        return Lamp("bad", name, t("page.lamp_disk", free=f"{store['free_bytes'] / 1e6:.0f}"), "views.events")
    if clock.get("waits"):
        return Lamp("warn", name, t("page.lamp_clock"), "views.events")
    return Lamp("good", name, t("page.lamp_kept", count=thousands(store["readings"])), "views.events")


def thousands(count: int) -> str:
    """A count that can be read: 12,345 and, in Chinese too, by thousands.

    >>> thousands(1234567)
    '1,234,567'
    """
    return f"{count:,}"


def notes(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong, as (level, sentence), beyond what a lamp can say."""
    if not found["running"]:
        yield "bad", t("page.not_running")
    if found["store"]["error"]:
        yield "bad", t("status.store_error", text=found["store"]["error"])
    if found.get("silent_threads"):
        yield "bad", t("page.silent_threads", names=", ".join(found["silent_threads"]))
    clock = found.get("clock") or {}
    if clock.get("waits"):
        yield "warn", t("status.clock_waits", age=age(clock["waiting_seconds"]), count=clock["waiting"])
    elif clock.get("trust") == "rtc":
        yield "warn", t("status.clock_rtc")
    for one in (found.get("field") or {}).get("maintenance", ()):
        what = one["what"] or t("maintenance.station")
        yield "warn", t("page.under_maintenance", what=what, user=one["user"] or t("maintenance.unsigned"))


def silence(device: Mapping[str, Any]) -> str:
    """In which way an instrument does not answer: a lost port is another errand than a wrong reply."""
    key = SILENCES.get(device.get("reason", ""))
    return f"{t('status.silent')}: {t(key)}" if key else t("status.silent")


def answered(line: Mapping[str, Any]) -> float | None:
    """The share of its requests that an instrument answered, and well; None before the first.

    >>> answered({"requests": 200, "timeouts": 1, "bad_replies": 1}), answered({"requests": 0})
    (0.99, None)
    """
    if not line["requests"]:
        return None
    return max(0.0, 1 - float(line["timeouts"] + line["bad_replies"]) / float(line["requests"]))
