"""A month's dust-fall as plain values, and as a page to print and sign: results, the weighings, the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from station.dustfall import (
    DETECTION_LIMIT,
    DETERMINATION_LIMIT,
    Book,
    PointMonth,
    Weighing,
    month,
    reported,
    township,
    withdrawn,
)
from station.i18n import t
from station.model import Record
from station.sheet import STYLE as STYLE
from station.sheet import digest as digest
from station.sheet import page

if TYPE_CHECKING:
    from station.config import Loaded

METHOD = ("method_1", "method_2", "method_3", "method_4", "method_5")


def summary(book: Book, which: str, loaded: Loaded) -> dict[str, Any]:
    """Month *which* as plain values: points with their exposures, the township's mean, and the target."""
    points = month(book, which, datetime.now(UTC), loaded.zone)
    mean, target = township(points), loaded.config.dustfall.target
    waiting = [name for point in points for name in (*point.open, *point.blankless)]
    doubtful = [name for point in points for name in point.doubtful]
    now = datetime.now(UTC)
    return {
        "month": which,
        "unit": "t/(km²·30d)",
        "code": "a34011",
        "points": [_point(book, point, loaded) for point in points],
        "mean": mean,
        "reported": None if mean is None else reported(mean),
        "target": target,
        "below_target": None if mean is None else mean < target,
        "provisional": bool(waiting),
        "doubtful": doubtful,
        "withdrawn": [exposure_row(book, e.name, loaded) for e in withdrawn(book, which, now, loaded.zone)],
        "open": waiting,
        "detection_limit": DETECTION_LIMIT,
        "determination_limit": DETERMINATION_LIMIT,
    }


def _point(book: Book, point: PointMonth, loaded: Loaded) -> dict[str, Any]:
    names = {one.code: one.name for one in loaded.config.point}
    value = point.value
    return {
        "point": point.point,
        "name": names.get(point.point, point.point),
        "value": value,
        "reported": None if value is None else reported(value),
        "days": point.days,
        "usual_days": point.usual,
        "below_determination": value is not None and DETECTION_LIMIT <= value < DETERMINATION_LIMIT,
        "open": list(point.open),
        "blankless": list(point.blankless),
        "doubtful": list(point.doubtful),
        "exposures": [exposure_row(book, e.name, loaded) for e in point.exposures],
    }


def exposure_row(book: Book, name: str, loaded: Loaded) -> dict[str, Any]:
    """Exposure *name* as plain values, times in the station's own."""
    one = book.exposures[name]
    net, value = book.net_g(one), book.value(one)
    return {
        "name": name,
        "point": one.point,
        "jar": one.jar,
        "state": book.state(one),
        "diameters_cm": list(one.diameters_cm),
        "area_cm2": one.area_cm2,
        "started": one.started.astimezone(loaded.zone).isoformat(timespec="minutes"),
        "stopped": one.stopped.astimezone(loaded.zone).isoformat(timespec="minutes") if one.stopped else None,
        "days": one.days,
        "net_mg": None if net is None else round(net * 1000, 4),
        "value": value,
        "void": one.void,
        "notes": list(one.notes),
    }


def point_row(point: Mapping[str, Any]) -> dict[str, str]:
    """A point's result in words, by column."""
    remarks = [t("dustfall.waiting", names=", ".join(point["open"]))] * bool(point["open"])
    remarks += [t("dustfall.blankless", names=", ".join(point["blankless"]))] * bool(point["blankless"])
    remarks += [t("dustfall.doubtful", names=", ".join(point["doubtful"]))] * bool(point["doubtful"])
    if point["value"] is not None:
        remarks += [t("dustfall.unusual_days")] * (not point["usual_days"])
        remarks += [t("dustfall.below_determination")] * point["below_determination"]
    return {
        "point": f"{point['name']} ({point['point']})",
        "jars": str(len(point["exposures"])),
        "days": f"{point['days']:.1f}",
        "value": point["reported"] or "-",
        "remark": "; ".join(remarks),
    }


def verdict(found: Mapping[str, Any]) -> str:
    """The township's mean and whether it is below the target, in words."""
    if found["doubtful"]:
        return t("dustfall.no_judgement", names=", ".join(found["doubtful"]))
    if found["mean"] is None:
        return t("dustfall.no_mean")
    verdict = t("dustfall.reached" if found["below_target"] else "dustfall.missed", target=f"{found['target']:g}")
    text = t("dustfall.mean", value=found["reported"], verdict=verdict)
    return text + (t("dustfall.provisional") if found["provisional"] else "")


def sheet(found: Mapping[str, Any], book: Book, entries: Sequence[Record], loaded: Loaded) -> str:
    """The page for the month *found* (see summary), with the *entries* it rests on, in the language in use."""
    now = datetime.now(UTC).astimezone(loaded.zone)
    title = t("sheet.title", month=found["month"])
    signatures = "".join(f"<div>{escape(t(f'sheet.{who}'))}</div>" for who in ("did", "checked", "approved"))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="sub">{escape(loaded.config.station.name)}</p>',
        f'<div class="result">{escape(verdict(found))}</div>',
        f"<h2>{escape(t('sheet.results'))}</h2>",
        _table(("point", "jars", "days", "value", "remark"), [_result(one) for one in found["points"]]),
        f"<h2>{escape(t('sheet.exposures'))}</h2>",
        _table(
            ("exposure", "diameters", "area", "out", "in", "n", "m0", "m1", "blank", "net", "value"),
            [_exposure(row, book) for one in found["points"] for row in one["exposures"]],
            [_exposure(row, book) for row in found["withdrawn"]],
        ),
        f"<h2>{escape(t('sheet.blanks'))}</h2>",
        _table(("blank", "m0", "m1", "residue", "at", "by"), _blanks(found, book, loaded)),
        f"<h2>{escape(t('sheet.log'))}</h2>",
        _table(
            ("at", "entry", "by", "entered", "remark"),
            [_entry(record, loaded, counts=_counts(record, entries, book)) for record in entries],
        ),
        f"<h2>{escape(t('sheet.method'))}</h2>",
        *(f"<p>{escape(t(f'sheet.{one}', **_limits(found)))}</p>" for one in METHOD),
        f'<p class="hash">SHA-256 {digest(entries)}</p>',
        f"<p>{escape(t('sheet.printed', time=f'{now:%Y-%m-%d %H:%M}'))}</p>",
        f'<div class="sign">{signatures}</div>',
    ]
    return page(title, parts)


def _limits(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{found[name]:g}" for name in ("target", "detection_limit", "determination_limit")}


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], struck: Sequence[Sequence[str]] = ()) -> str:
    """A table; rows that are *struck* count no more."""
    head = "".join(f"<th>{escape(t(f'sheet.{column}'))}</th>" for column in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    body += "".join('<tr class="struck">' + "".join(map(_cell, row)) + "</tr>" for row in struck)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    digits = text.lstrip("<-").replace(".", "").isdigit()
    return f"<td{' class=n' if digits else ''}>{escape(text)}</td>"


def _result(point: Mapping[str, Any]) -> Sequence[str]:
    return list(point_row(point).values())


def _exposure(row: Mapping[str, Any], book: Book) -> Sequence[str]:
    weighing = book.exposures[row["name"]].weighing
    masses = ("", "", "") if weighing is None else (*_series(weighing), weighing.blank)
    return (
        row["name"],
        " ".join(f"{one:.1f}" for one in row["diameters_cm"]),
        f"{row['area_cm2']:.2f}",
        _minute(row["started"]),
        _minute(row["stopped"]),
        "" if row["days"] is None else f"{row['days']:.1f}",
        *masses,
        "" if row["net_mg"] is None else f"{row['net_mg']:.1f}",
        "" if row["value"] is None else reported(row["value"]),
    )


def _series(weighing: Weighing) -> tuple[str, str]:
    first, second = (" ".join(f"{one:.4f}" for one in of) for of in (weighing.crucible_g, weighing.residue_g))
    return first, second


def _blanks(found: Mapping[str, Any], book: Book, loaded: Loaded) -> Sequence[Sequence[str]]:
    names = [row["name"] for point in found["points"] for row in point["exposures"]]
    used = dict.fromkeys(w.blank for name in names if (w := book.exposures[name].weighing) and w.blank in book.blanks)
    return [
        (
            name,
            *_series(one),
            f"{one.residue * 1000:.1f}",
            _minute(one.at.astimezone(loaded.zone).isoformat()),
            one.user,
        )
        for name, one in ((name, book.blanks[name]) for name in used)
    ]


def _counts(record: Record, entries: Sequence[Record], book: Book) -> bool:
    """Whether an entry still counts: not withdrawn, and not weighed again since."""
    name, do = record.body["name"], record.body["do"]
    if do == "void":
        return True
    if name in book.exposures and book.exposures[name].void:
        return False
    later = [r.body["do"] for r in entries if r.id > record.id and r.body["name"] == name]
    return do not in later and not (do == "blank" and "void" in later)


def _entry(record: Record, loaded: Loaded, *, counts: bool) -> Sequence[str]:
    body = record.body
    masses = {which: " ".join(f"{one:.4f}" for one in body.get(f"{which}_g", ())) for which in ("crucible", "residue")}
    remarks = [
        masses["crucible"] and t("sheet.weighed", **masses),
        body.get("blank") and f"{t('sheet.blank')} {body['blank']}",
        body.get("balance") and t("sheet.balance", name=body["balance"]),
        body.get("note", ""),
        "" if counts else t("sheet.counts_no_more"),
    ]
    at = _minute(record.at.astimezone(loaded.zone).isoformat())
    said = f"{t('dustfall_entry.' + body['do'])} {body['name']}"
    entered = _minute(datetime.fromisoformat(body["entered"]).astimezone(loaded.zone).isoformat())
    return at, said, body["user"], entered, "; ".join(filter(None, remarks))


def _minute(moment: str | None) -> str:
    return "" if moment is None else moment[:16].replace("T", " ")
