"""What stands beside the figures of a report: hand marks, checks, alarms, platforms, dust-fall, silences, indices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from station import ledger
from station.clock import from_ms, period_start, to_ms
from station.fieldbook import BEGINNING, END, dustfall_book
from station.marks import KIND as HAND
from station.marks import HandMarks
from station.model import Kind, Reason, Report
from station.store import Store

if TYPE_CHECKING:
    from station.config import Loaded, PointSettings
    from station.report import Span

# Events a reader of figures has to know of; each has a text event.CODE.
EVENTS = (
    "start", "stop", "clock_step", "clock_waits", "clock_trusted", "clock_by_rtc", "clock_error", "undatable",
    "store_back", "disk_low", "disk_full", "disk_room", "log_missing", "instrument_swapped", "setting_overruled",
    "link_down",
    "platform_refuses", "message_parked", "pin_lost", "pin_back", "pins_are_mock", "bus_written", "bus_raw",
    "instrument_told", "counting_resumed", "second_logger", "sample_kept", "sample_failed",
    "qc_failed", "qc_stopped", "qc_missed", "mains_lost", "mains_back", "supply_lost", "supply_back", "supply_stopping",
    "supply_stop_cancelled", "supply_power_off", "restart_stopped", "restart_announced", "restart_unfinished",
    "restart_crash", "restart_cut", "position_moved", "position_back", "gnss_refused", "gnss_contradicts",
)  # fmt: skip
MOST_EVENTS = 200
ONE_SILENCE = timedelta(minutes=5)  # misses nearer to one another are one
NEVER_SHOWN = ("password", "key")


def _iso(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).isoformat(timespec="seconds")


def hand_marks(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """Marks that people set over some of *span*, those withdrawn included."""
    return [
        {
            "name": one.name,
            "point": one.point,
            "parameter": one.parameter,
            "mark": one.mark.name,
            "from": _iso(one.first, zone),
            "to": _iso(one.last, zone) if one.last else None,
            "user": one.user,
            "reason": one.reason,
            "withdrawn": one.withdrawn,
        }
        for one in HandMarks(store.records(HAND, BEGINNING, END))
        if one.point in points and one.first < span.end and (one.last is None or one.last > span.start)
    ]


def exchanges(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """Meters that were exchanged in *span*, withdrawn ones included: what a counter rose goes over them."""
    if not store.kept("meter"):
        return []
    from station.counter import in_store

    keys = ("name", "point", "parameter", "old", "new", "user", "reason", "withdrawn")
    return [
        {key: getattr(one, key) for key in keys} | {"at": _iso(one.at, zone)}
        for one in in_store(store)
        if one.point in points and span.start <= one.at < span.end
    ]


def laboratory(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """Results of laboratories sampled in *span*, withdrawn ones included, each with the station's own hour."""
    if not store.kept("laboratory"):
        return []
    from station.laboratory import beside, in_store

    keys = ("name", "point", "parameter", "value", "below", "person", "report", "laboratory", "remark", "withdrawn")
    found = []
    for one in in_store(store):
        if one.point in points and span.start <= one.sampled < span.end:
            own, mark = beside(store, one)
            said = {key: getattr(one, key) for key in keys}
            found.append(said | {"sampled": _iso(one.sampled, zone), "own_hour": own, "own_mark": mark})
    return found


def checks(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """Zero, span and other checks of the period."""
    return [
        {"at": _iso(one.at, zone), "point": one.point, "device": one.device, **one.body}
        for one in store.records("check", span.start, span.end)
        if one.point in points or not one.point
    ]


def samples(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """Every bottle that something went into in the period: why, what is known of it, and who collected it."""
    if not store.kept("kept_sample", "bottle"):
        return []
    from station.bottles import BOTTLE, KEPT, custody, kept_by

    own = {one.device for one in store.records(BOTTLE, BEGINNING, END)}
    rows = [row for name in sorted(own) for row in custody(name, kept_by(store, name, BEGINNING, END))]
    # One that a platform had an instrument keep, or a rule's bare pulse: a bottle without a custody of its own.
    rows += [
        {"sampler": one.device, "point": one.point, "bottle": one.body["vase"], "state": "kept", "by": ""}
        | {"at": one.at.isoformat(), "why": {}, "reason": "", "laboratory": "", "collected": None}
        for one in store.records(KEPT, span.start, span.end)
        if one.device not in own
    ]
    within = (row | {"at": datetime.fromisoformat(row["at"])} for row in rows)
    return [
        row | {"at": _iso(row["at"], zone)}
        for row in sorted(within, key=lambda row: (row["at"], row["bottle"]))
        if span.start <= row["at"] < span.end and row["point"] in points
    ]


def alarms(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """Every change of state that an alarm told, with who has seen it, whenever that was."""
    from station.alarming import ACKNOWLEDGED, KIND

    seen = {(one.device, one.body["episode"]): one.body["user"] for one in store.records(ACKNOWLEDGED, BEGINNING, END)}
    return [
        {**one.body, "at": _iso(one.at, zone), "point": one.point, "name": one.device}
        | {"seen_by": seen.get((one.device, one.body["episode"]), "") if one.body["episode"] else ""}
        for one in store.records(KIND, span.start, span.end)
        if one.point in points or not one.point
    ]


def snapshots(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """Stills taken in the period with their hash, those that have left included, and alarms that have none."""
    if not (store.kept("snapshot") or store.kept("snapshot_note")):
        return []
    from station.snapshots import everything, read

    keys = ("camera", "alarm", "by", "file", "sha256", "bytes")
    records = everything(store, span.start)
    _, left = read(records)
    return [
        {"at": _iso(one.at, zone), "point": one.point, "number": one.id, "left": one.id in left,
         "reason": one.body.get("reason", ""), **{key: one.body.get(key, "") for key in keys}}
        for one in sorted(records, key=lambda one: one.at)
        if one.body["do"] != "left" and one.at < span.end and (one.point in points or not one.point)
    ]  # fmt: skip


def platforms(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """What each platform was due and answered, by point and kind; a month rolled up before as it was then."""
    found = []
    for platform in ledger.platforms(store):
        rows = ledger.kept(store, platform, span.title) if span.word == "month" else []
        rows = rows or ledger.completeness(store, platform, span.start, span.end, span.now, zone, marks=False)
        found += [_capture(row) for row in rows if row.point in points and row.expected]
    return found


def _capture(row: ledger.Row) -> dict[str, Any]:
    return {
        "platform": row.platform,
        "point": row.point,
        "kind": row.kind.name.lower(),
        "expected": row.expected,
        "answered": row.answered,
        "unconfirmed": row.unconfirmed,
        "owed": row.owed,
        "refused": row.refused + row.parked,
        "dropped": row.dropped,
        "missing": row.expected - row.stored,
        "capture_rate": row.capture_rate,
    }


def dustfall(store: Store, loaded: Loaded, span: Span, points: set[str]) -> dict[str, Any] | None:
    """A month's dust-fall by hand, where jars were out."""
    if span.word != "month":
        return None
    from station.dustfall_sheet import summary

    found = summary(dustfall_book(store), span.title, loaded)
    if points != {one.code for one in loaded.config.point}:  # the township's mean is of all points, or of none
        found |= {"points": [one for one in found["points"] if one["point"] in points], "mean": None}
    return found if found["points"] else None


def silences(store: Store, span: Span, zone: tzinfo) -> list[dict[str, Any]]:
    """When the station itself was off, or its clock was set forward: nothing was measured."""
    start, end = to_ms(span.start), to_ms(span.end)
    return [
        {
            "from": _iso(from_ms(since), zone),
            "to": _iso(from_ms(until), zone),
            "minutes": round((until - since) / 60000, 1),
            "why": why,
        }
        for since, until, why in ledger.silences(store)
        if since < end and until > start
    ]


def missed(store: Store, loaded: Loaded, span: Span, points: set[str]) -> list[dict[str, Any]]:
    """Spells in which an instrument did not answer or its port was lost, the longest first."""
    here = {
        device.name
        for bus in loaded.config.bus
        for device in bus.device
        if {device.point, *device.points.values()} & points
    }
    rows = store.query(
        "SELECT device, reason, first_ms, last_ms, count FROM missed WHERE last_ms >= ? AND first_ms < ? ORDER BY id",
        (to_ms(span.start), to_ms(span.end)),
    )
    open_: dict[tuple[str, int], list[int]] = {}
    done: list[tuple[str, int, list[int]]] = []
    for device, reason, first, last, count in rows:
        # An instrument that is probed at longer intervals is silent for the reason it was before.
        if device not in here or Reason(reason) in (Reason.BACKING_OFF, Reason.NONE):
            continue
        spell = open_.get((device, reason))
        if spell is not None and first - spell[1] <= ONE_SILENCE // timedelta(milliseconds=1):
            spell[1], spell[2] = max(spell[1], last), spell[2] + count
            continue
        open_[device, reason] = spell = [first, last, count]
        done.append((device, reason, spell))
    done.sort(key=lambda one: one[2][0] - one[2][1])
    return [
        {
            "device": device,
            "reason": Reason(reason).name.lower(),
            "from": _iso(from_ms(first), loaded.zone),
            "to": _iso(from_ms(last), loaded.zone),
            "minutes": round((last - first) / 60000, 1),
            "polls": count,
        }
        for device, reason, (first, last, count) in done
    ]


def events(store: Store, span: Span, zone: tzinfo) -> dict[str, Any]:
    """Events that matter to the figures, the first MOST_EVENTS of them, and how many of each kind."""
    wanted = ", ".join("?" * len(EVENTS))
    rows = store.query(
        f"SELECT at_ms, code, arguments FROM event WHERE at_ms >= ? AND at_ms < ? AND code IN ({wanted})"
        " ORDER BY at_ms, id",
        (to_ms(span.start), to_ms(span.end), *EVENTS),
    )
    counts: dict[str, int] = {}
    for _, code, _ in rows:
        counts[code] = counts.get(code, 0) + 1
    listed = [
        {"at": _iso(from_ms(at), zone), "code": code, "arguments": dict(_shown(json.loads(arguments)))}
        for at, code, arguments in rows[:MOST_EVENTS]
    ]
    return {"counts": counts, "listed": listed}


def _shown(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in arguments.items():
        if not any(word in name for word in NEVER_SHOWN):
            yield name, value


def calibrations(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """Calibrations and checks led by the station that began or ended in the period."""
    from station.calibrate import KIND
    from station.calibration_run import read_book

    return [
        {
            "name": run.name,
            "begun": _iso(run.begun, zone),
            "ended": _iso(run.ended, zone) if run.ended else None,
            "point": run.point,
            "device": run.device,
            "parameter": run.parameter,
            "procedure": run.procedure,
            "state": run.state,
            "before": list(run.before),
            "coefficients": run.result.get("coefficients"),
            "user": run.user,
        }
        for run in read_book(store.records(KIND, BEGINNING, END)).runs.values()
        if run.point in points and run.begun < span.end and (run.ended or run.begun) >= span.start
    ]


def drift(store: Store, span: Span, points: set[str], zone: tzinfo) -> list[dict[str, Any]]:
    """What calibrations say of the drift in the period: a statement beside its figures, which are not corrected."""
    from station.calibrate import KIND

    if not store.kept(KIND):
        return []
    from station.calibration_entry import calibration_book
    from station.drifting import plain_span, spans_of, touching

    runs = calibration_book(store).runs.values()
    series = {(r.device, r.parameter): r.point for r in runs if r.point in points and r.state in ("done", "reverted")}
    return [
        {"point": point, "device": device, "parameter": parameter, **plain_span(one, zone)}
        for (device, parameter), point in sorted(series.items())
        for one in touching(spans_of(store, device, parameter), span.start, span.end)
    ]


def permits(store: Store, loaded: Loaded, span: Span, points: set[str]) -> list[dict[str, Any]]:
    """What each permit's year has carried by the end of the period."""
    if not any(one.point in points for one in loaded.config.permit):
        return []
    from station.working import year_of

    last = (min(span.end, span.now) - timedelta(milliseconds=1)).astimezone(loaded.zone).date()
    found = [(one, year_of(store, one, last, loaded.zone)) for one in loaded.config.permit if one.point in points]
    return [
        {
            **{"name": one.name, "point": one.point, "parameter": one.parameter, "tonnes": one.tonnes},
            **{"used_kg": used.used_kg, "share": used.share, "days": used.days, "missing": used.missing},
            **{"exhausted": used.exhausted.isoformat() if used.exhausted else None, "why": used.why},
        }
        for one, used in found
    ]


def orders(
    store: Store, span: Span, points: set[str], zone: tzinfo, rollovers: Mapping[tuple[str, str], float]
) -> list[dict[str, Any]]:
    """Dispatch orders that were in force in the period, and how each of their lines kept to them."""
    from station.orders import KIND, Orders, lines

    return [
        {
            "name": one.name,
            "from": _iso(one.first, zone),
            "to": _iso(one.last, zone) if one.last else None,
            "percent": one.percent,
            "point": line.point,
            "used_kwh": line.used_kwh,
            "allowed_kwh": line.allowed_kwh,
            "verdict": line.verdict,
            "why": line.why,
        }
        for one in Orders(store.records(KIND, BEGINNING, END))
        if not one.withdrawn and one.first < span.end and (one.last is None or one.last > span.start)
        for line in lines(store, one, span.now, zone, rollovers)
        if line.point in points
    ]


def boundaries(store: Store, loaded: Loaded, span: Span, points: set[str]) -> list[dict[str, Any]]:
    """Points around a yard or a park, compared by the wind."""
    if not loaded.config.boundary:
        return []
    from station.boundary import compared

    return compared(store, loaded, span.start, span.end, points)


# -- what the values make of the place


def index(
    store: Store, loaded: Loaded, point: PointSettings, span: Span, reports: Iterable[Report]
) -> dict[str, Any] | None:
    """The class of surface water, or the air quality index of each day (station/index.py), or why there is none."""
    if point.st == "21":
        return _water(store, loaded, point, span)
    return _air(store, loaded, point, span, reports) if point.st == "22" else None


def _water(store: Store, loaded: Loaded, point: PointSettings, span: Span) -> dict[str, Any]:
    from station.index import Validity, short_of_days, water

    made = water(store, Validity(loaded), point, span.start, span.end, monthly=span.word == "month")
    return {
        "index": "water_class",
        "grade": made.found.grade,
        "deciding": list(made.found.deciding),
        "each": dict(made.found.each or {}),
        "official": made.official and span.over,
        "because": made.found.because,
        "needed_days": made.needed_days,
        "short_of_days": short_of_days(made) if span.over else {},
        "odour": made.odour.grade if made.odour else None,
        "rural": None if made.rural is None else list(made.rural),
    }


def _air(store: Store, loaded: Loaded, point: PointSettings, span: Span, reports: Iterable[Report]) -> dict[str, Any]:
    """AQI of a day; of a month one a day on which anything was closed."""
    from station.aqi import DAILY
    from station.index import Validity, air_day

    validity, zone = Validity(loaded), loaded.zone
    starts = sorted({period_start(Kind.DAY, report.start, zone) for report in reports})
    found = [air_day(store, validity, point.code, at, at.astimezone(zone).date()) for at in starts]
    measured = {parameter for one in found for parameter in one.concentrations}
    absent = [parameter for parameter in DAILY if parameter not in measured]
    days = [
        {
            "day": f"{one.start.astimezone(zone):%Y-%m-%d}",
            "aqi": one.found.index,
            "level": one.found.level,
            "primary": list(one.found.primary),
            "indices": dict(one.found.indices),
            "without": [p for p in DAILY if p not in one.found.indices],
        }
        for one in found
    ]
    return {"index": "aqi", "absent": absent, "days": [] if absent else days}
