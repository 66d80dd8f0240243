"""The live screen as lines of a given width: what `station live` shows, whatever it is shown on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

from station.cells import BOLD, LOUD, PLAIN, Line, Piece, Script
from station.i18n import t
from station.model import dataclass
from station.screen import _limit, _mark, _name, _point, _unit, _why
from station.screen_words import SILENCES, age, number

WIDE = 64  # from so many columns on a mark has its word, and a value its instrument
SECTIONS = ("values", "devices", "platforms", "outputs", "alarms")
COUNTS = ("requests", "timeouts", "bad_replies", "exceptions", "late", "worst_ms")
OWED = ("answered", "unconfirmed", "parked", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a screen is laid out for: its width and script, the station's zone, the names of its points."""

    width: int
    script: Script
    zone: tzinfo
    points: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the screen with its lines; *key* is one of SECTIONS."""

    key: str
    lines: Sequence[Line]

    @property
    def title(self) -> Line:
        """Its heading, with the key that leads to it."""
        return [(f"-- {SECTIONS.index(self.key) + 1} {t(f'live.{self.key}')} --", BOLD)]


def aged(found: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """*found* as it is *seconds* later without news: every age has grown."""

    def later(value: Mapping[str, Any]) -> dict[str, Any]:
        return {**value, "age_seconds": value["age_seconds"] + seconds}

    time = datetime.fromisoformat(found["time"]) + timedelta(seconds=seconds)
    devices = [{**one, "values": [later(value) for value in one["values"]]} for one in found["devices"]]
    return {**found, "time": time.isoformat(), "devices": devices}


def sections(found: Mapping[str, Any], place: Place) -> list[Section]:
    """Everything that `station.status` found, part by part; what a station does not have has no part."""
    made = [
        Section("values", _values(found, place)),
        Section("devices", _devices(found, place)),
        Section("platforms", _platforms(found["platforms"], place)),
    ]
    if "pins" in found:
        made.append(Section("outputs", _pins(found["pins"], place)))
    if found.get("alarms"):
        made.append(Section("alarms", _alarms(found["alarms"], place)))
    return made


def head(found: Mapping[str, Any] | None, name: str, trouble: str, place: Place) -> list[Line]:
    """Station and time; then how it is in one line.  *trouble* is why nothing new was learnt."""
    time = "" if found is None else f"{datetime.fromisoformat(found['time']).astimezone(place.zone):%Y-%m-%d %H:%M:%S}"
    if place.script.width(name) + 1 + len(time) > place.width:
        time = time[11:]
    lines = [_ends((name, BOLD), (time, PLAIN), place)]
    if trouble:
        lines += [[(text, LOUD)] for text in place.script.wrapped(trouble, place.width)]
    if found is None:
        return lines
    if not found["running"]:
        lines += [[(text, LOUD)] for text in place.script.wrapped(t("status.stopped"), place.width)]
    if error := found["store"]["error"]:
        lines += _said(t("status.store_error", text=error), place, LOUD)
    lines += flowing(_summary(found), place)
    return lines


def under_maintenance(found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Every maintenance that is under way."""
    return (found.get("field") or {}).get("maintenance") or ()


def _summary(found: Mapping[str, Any]) -> list[Piece]:
    devices, platforms = found["devices"], found["platforms"]
    answering = sum(device["answers"] for device in devices)
    pieces: list[Piece] = []
    if found["running"]:
        short = answering < len(devices)
        pieces.append((t("live.answering", n=answering, of=len(devices)), LOUD if short else PLAIN))
    if (alarms := found.get("alarms")) is not None:
        on = sum(row["state"] == "alarm" for row in alarms)
        pieces.append((t("live.alarms_on", n=on), LOUD if on else PLAIN))
    if spans := under_maintenance(found):
        pieces.append((t("live.maintained", names=", ".join(one["name"] for one in spans)), BOLD))
    away = found["running"] and any(not platform["connected"] for platform in platforms)
    owed = sum(platform["owed"] for platform in platforms)
    pieces.append((t("live.owed", n=owed), LOUD if away else PLAIN))
    return pieces


def pages(parts: Iterable[Section], height: int) -> tuple[list[list[Line]], dict[str, int]]:
    """The parts over pages of *height* lines, and on which page each begins; a heading never stands last."""
    made: list[list[Line]] = [[]]
    begins: dict[str, int] = {}
    for part in parts:
        if made[-1] and len(made[-1]) + 1 + min(len(part.lines), 2) > height:
            made.append([])
        begins[part.key] = len(made) - 1
        made[-1].append(part.title)
        for line in part.lines:
            if len(made[-1]) >= height:
                made.append([part.title] if height > 2 else [])
            made[-1].append(line)
    return made, begins


def plain(found: Mapping[str, Any], name: str, trouble: str, place: Place) -> str:
    """The whole of it as text, for a pipe or a terminal without cursor addressing."""
    lines = [*head(found, name, trouble, place)]
    for part in sections(found, place):
        lines += [part.title, *part.lines]
    return "\n".join("".join(place.script.shown(text) for text, _ in line).rstrip() for line in lines)


# -- the parts


def _values(found: Mapping[str, Any], place: Place) -> list[Line]:
    rows: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for device in found["devices"]:
        for value in device["values"]:
            rows.setdefault(value["point"], []).append((device, value))
    if not rows:
        return [[(t("live.no_values"), PLAIN)]]
    texts = {
        id(value): (
            number(value["value"], value["parameter"]),
            _unit(value["unit"]),
            _marked(value, found["running"], place),
            age(value["age_seconds"]),
        )
        for some in rows.values()
        for _, value in some
    }
    widths = [max(place.script.width(text[n]) for text in texts.values()) for n in range(4)]
    names = max(place.script.width(_name(value["parameter"])) for some in rows.values() for _, value in some)
    lines: list[Line] = []
    for point, some in rows.items():
        lines.append([(_point(point, place.points), BOLD)])
        for device, value in some:
            lines += _value(device, value, texts[id(value)], [*widths, names], found["running"], place)
    return lines


def _marked(value: Mapping[str, Any], running: bool, place: Place) -> str:
    if running and not value["current"]:
        return t("live.outdated")
    return _mark(value["mark"]) if place.width >= WIDE else str(value["mark"])


def _value(
    device: Mapping[str, Any], value: Mapping[str, Any], texts: Sequence[str], widths: Sequence[int], running: bool,
    place: Place,
) -> list[Line]:  # fmt: skip
    """A value in columns; where its name does not fit before them it has a line of its own."""
    width = place.script.width
    shown, unit, mark, old = texts
    good = value["mark"] == "N" and (value["current"] or not running)
    right: Line = [
        (" " * (widths[0] - width(shown)) + shown, PLAIN),
        (f" {unit}" + " " * (widths[1] - width(unit) + 1), PLAIN),
        (mark, PLAIN if good else LOUD),
        (" " * (widths[2] - width(mark) + 1 + widths[3] - width(old)) + old, PLAIN),
    ]
    left = f" {_name(value['parameter'])}"
    if place.width >= WIDE:
        wide = left + " " * (widths[4] + 3 - width(left)) + device["name"]
        left = wide if width(wide) + sum(widths[:4]) + 4 <= place.width else left
    gap = place.width - width(left) - sum(width(text) for text, _ in right)
    if gap >= 1:
        return [[(left + " " * gap, PLAIN), *right]]
    takes = sum(width(text) for text, _ in right)
    if takes <= place.width:
        return [[(left, PLAIN)], [(" " * (place.width - takes), PLAIN), *right]]
    return [[(left, PLAIN)], [(f"  {shown} {unit}", PLAIN)], _ends((f"  {mark}", right[2][1]), (old, PLAIN), place)]


def _devices(found: Mapping[str, Any], place: Place) -> list[Line]:
    """Each line with what is on it and how it answered; a silent instrument with the reason."""
    now = datetime.fromisoformat(found["time"])
    if not found["devices"]:
        return [[(t("status.no_devices"), PLAIN)]]
    lines: list[Line] = []
    for bus in dict.fromkeys(device["bus"] for device in found["devices"]):
        some = [device for device in found["devices"] if device["bus"] == bus]
        if bus:
            counted = [device["line"] for device in some if device.get("line")]
            pieces: list[Piece] = [(t("live.bus", name=bus), BOLD)]
            if counted:
                pieces += _counts(counted)
            lines += flowing(pieces, place)
        for device in some:
            lines += _device(device, now, place)
    return lines


def _counts(lines: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """How a bus answered since the start; only requests and the longest answer are shown when they are 0."""
    pieces = []
    for key in COUNTS:
        counted = [round(line[key]) for line in lines]
        total = max(counted) if key == "worst_ms" else sum(counted)
        if total or key in ("requests", "worst_ms"):
            bad = key in ("timeouts", "bad_replies") and total
            pieces.append((f"{t(f'status.{key}')} {total}", LOUD if bad else PLAIN))
    return pieces


def _device(device: Mapping[str, Any], now: datetime, place: Place) -> list[Line]:
    last = device["last_reply"]
    seconds = (now - datetime.fromisoformat(last)).total_seconds() if last else None
    state, good = t("status.answers" if device["answers"] else "status.silent"), device["answers"]
    if not device["bus"]:
        state, good = t("status.unknown"), True
    lines = [_ends((f" {device['name']}  {state}", PLAIN if good else LOUD), (age(seconds), PLAIN), place)]
    if not good:
        if key := SILENCES.get(device.get("reason", "")):
            lines += _said(t(key), place)
        if device["missed"]:
            lines += _said(f"{t('status.missed')} {device['missed']}", place)
        if device["error"]:
            lines += _said(device["error"], place)
    for note in device.get("notes", ()):
        lines += _said(note, place)
    return lines


def _platforms(platforms: Sequence[Mapping[str, Any]], place: Place) -> list[Line]:
    if not platforms:
        return [[(t("status.no_platforms"), PLAIN)]]
    lines: list[Line] = []
    for one in platforms:
        state = t("status.connected" if one["connected"] else "status.disconnected")
        owed = f"{t('status.owed')} {one['owed']}"
        if one["owed"]:
            owed += f" ({age(one['oldest_seconds'])})"
        left = (f" {one['name']}  {state}", PLAIN if one["connected"] else LOUD)
        lines += flowing([left, (owed, PLAIN)], place)
        counts = [(f"{t(f'status.{key}')} {one[key]}", PLAIN) for key in OWED if one[key] or key == "answered"]
        lines += flowing(counts, place, indent=2)
        if one["error"]:
            lines += _said(one["error"], place)
        if one.get("next_try"):
            at = datetime.fromisoformat(one["next_try"]).astimezone(place.zone)
            lines += _said(t("status.next_try", name=one["name"], at=f"{at:%H:%M:%S}"), place)
    return lines


def _pins(pins: Mapping[str, Any], place: Place) -> list[Line]:
    lines: list[Line] = _said(t("output.mock"), place, LOUD) if pins["mock"] else []
    for one in pins["inputs"]:
        state = t(f"contact.{one['state']}") if one["known"] else t("output.unknown")
        lines.append(_ends((f" {one['name']}", PLAIN), (state, PLAIN), place))
    for one in pins["outputs"]:
        state, look = (t("output.on"), BOLD) if one["on"] else (t("output.off"), LOUD if one["locked"] else PLAIN)
        lines.append(_ends((f" {one['name']}", PLAIN), (state, look), place))
        lines += _said(_why(one), place)
    for one in (*pins["inputs"], *pins["outputs"]):
        if one["error"]:
            lines += _said(t("status.error", name=one["name"], text=one["error"]), place, LOUD)
    return lines


def _alarms(rows: Sequence[Mapping[str, Any]], place: Place) -> list[Line]:
    """What is not normal first: an alarm, then what nobody can judge, then pre-alarms."""
    order = ("alarm", "stale", "undetermined", "pre_alarm", "normal")
    lines: list[Line] = []
    for row in sorted(rows, key=lambda row: order.index(row["state"])):
        look = {"normal": PLAIN, "pre_alarm": BOLD}.get(row["state"], LOUD)
        state = t(f"alarm_state.{row['state']}")
        lines.append(_ends((f" {row['name']}", PLAIN), (state, look), place))
        value = f"{_name(row['parameter'])} {number(row['value'], row['parameter'])} {row['unit']}".rstrip()
        why = t(f"alarm_why.{row['cause']}", count=row["count"], allowed=row.get("allowed_per_day", 0))
        lines += _said("  ".join(filter(None, (value, _limit(row), why))), place)
        if row["acknowledged"]:
            lines += _said(t("alarms.seen_by", user=row["acknowledged"]["user"]), place)
    return lines


# -- lines


def _ends(left: Piece, right: Piece, place: Place) -> Line:
    """Both at the ends of a line; *left* gives way."""
    width = place.script.width
    room = place.width - width(right[0]) - 1
    text = left[0]
    if width(text) > room:
        text = place.script.wrapped(text, max(room, 1))[0]
    return [(text, left[1]), (" " * (place.width - width(text) - width(right[0])), PLAIN), right]


def _said(text: str, place: Place, look: str = PLAIN) -> list[Line]:
    """A sentence, wrapped and set in."""
    return [[("  ", PLAIN), (line, look)] for line in place.script.wrapped(text, max(1, place.width - 2))]


def flowing(pieces: Iterable[Piece], place: Place, indent: int = 0) -> list[Line]:
    """Pieces one behind the other, two spaces between them, on as many lines as they need."""
    lines: list[Line] = []
    used = place.width
    for text, look in pieces:
        for part in place.script.wrapped(text, max(1, place.width - indent)):
            takes = place.script.width(part)
            if used + 2 + takes > place.width:
                lines.append([(" " * indent, PLAIN)] if indent else [])
                used = indent
            elif lines[-1]:
                lines[-1].append(("  ", PLAIN))
                used += 2
            lines[-1].append((part, look))
            used += takes
    return lines
