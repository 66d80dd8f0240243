"""A report as one page that needs nothing else: no script, nothing from elsewhere, light or dark, printed on A4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from station.events import about, title
from station.i18n import language, t, texts
from station.model import Averaging
from station.own_reasons import worded as own_words
from station.parameters import catalogue
from station.report_chart import chart, rose
from station.rounding import rounded
from station.suspicion import HUMID_PERCENT

STYLE = """
:root { --ink: #16202a; --dim: #5b6875; --line: #c9d1d9; --soft: #eef2f5; --page: #fff; --mean: #0b63b0;
  --reach: #9ec3e6; --bad: #b3261e; --good: #1b6e3c; color-scheme: light; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e9ef; --dim: #9aa7b4; --line: #3a4552; --soft: #1d252e;
  --page: #11171d; --mean: #6db3f2; --reach: #2f5478; --bad: #ff8a80; --good: #7fd49b; color-scheme: dark; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC",
  "WenQuanYi Micro Hei", sans-serif; color: var(--ink); background: var(--page); max-width: 1000px;
  margin: 0 auto; padding: 20px 16px 40px; }
h1 { font-size: 22px; line-height: 1.3; margin: 0 0 4px; } h2 { font-size: 18px; margin: 30px 0 4px;
  border-bottom: 2px solid var(--line); padding-bottom: 3px; } h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 4px 0; } .dim, .note { color: var(--dim); } .note { font-size: 13px; }
.box { border: 1.5px solid var(--line); border-radius: 6px; padding: 8px 14px; margin: 12px 0;
  background: var(--soft); }
.box p { margin: 3px 0; } .bad { color: var(--bad); } .good { color: var(--good); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 13px; margin: 6px 0; }
th, td { border: 1px solid var(--line); padding: 3px 7px; text-align: left; vertical-align: top; }
th { background: var(--soft); font-weight: 600; } td.n { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; } td.s, th.s { white-space: nowrap; }
.value { font-weight: 600; } .charts { display: grid; gap: 6px 14px; margin: 8px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 310px), 1fr)); }
figure { margin: 0; break-inside: avoid; } figcaption { font-size: 13px; font-weight: 600; margin-top: 6px; }
svg { display: block; width: 100%; height: auto; } svg.rose { width: 190px; }
.tick { font-size: 10.5px; fill: var(--dim); } .grid { stroke: var(--line); stroke-width: 0.7; fill: none; }
.line { stroke: var(--mean); stroke-width: 1.5; fill: none; } .reach { stroke: var(--reach); stroke-width: 3; }
.dot { fill: var(--mean); stroke: var(--mean); } .bar { fill: var(--mean); stroke: var(--mean); }
.hollow { fill: var(--page); stroke-width: 1.2; }
@media (max-width: 700px) { .wide table { min-width: 680px; } }
@page { size: A4; margin: 14mm 12mm; }
@media print { :root { --ink: #000; --dim: #444; --line: #999; --soft: #f2f2f2; --page: #fff; --mean: #0b63b0;
  --reach: #9ec3e6; --bad: #900; --good: #063; color-scheme: light; }
  body { max-width: none; margin: 0; padding: 0; font-size: 10pt; } .wide { overflow: visible; }
  .wide table { min-width: 0; }
  table, .note, figcaption { font-size: 8.5pt; } h2, h3 { break-after: avoid; } tr { break-inside: avoid; }
  .charts { grid-template-columns: 1fr 1fr; } th, td { padding: 1px 4px; } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
SPREAD = (Averaging.MEAN, Averaging.ENERGY, Averaging.SUM)  # whose largest part is worth a word
SHORT = 10  # characters of a cell that are not broken
NUMBER = set("0123456789.-<%+ ")


def shown(value: float | None, parameter: str) -> str:
    """*value* with the decimals of the catalogue, rounded once and half to even (GB/T 8170).

    >>> shown(7.125, "ph"), shown(None, "ph"), shown(-0.001, "ph")
    ('7.12', '-', '0.00')
    """
    return "-" if value is None else rounded(value, catalogue()[parameter].decimals)


def name_of(parameter: str) -> str:
    """What a person calls *parameter*."""
    known = catalogue().get(parameter)
    return known.name(language()) if known else parameter


def page(found: Mapping[str, Any]) -> str:
    """The page of a report (station/report.py), in the language in use."""
    title = t(f"report_title.{found['report']}", period=found["period"])
    names = {point["point"]: point["name"] for point in found["points"]}
    parts = [
        f"<h1>{escape(title)}</h1>",
        _p(found["station"], "dim"),
        _p(t("report.span", start=_minute(found["start"]), end=_minute(found["end"]), zone=found["start"][-6:]), "dim"),
        *_summary(found),
        *(text for point in found["points"] for text in _point(point, found)),
        *_dustfall(found["dustfall"]),
        *_people(found, names),
        *_boundaries(found, names),
        *_working(found, names),
        *_platforms(found["platforms"], names),
        *_happened(found),
        *_method(found),
        *_seal(found),
        _p(t("report.made", time=_minute(found["made"])), "note"),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f"<title>{escape(title)} · {escape(found['station'])}</title><style>{STYLE}</style>"
    )
    lang = "zh-CN" if language() == "zh" else "en"
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="{lang}"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _seal(found: Mapping[str, Any]) -> Iterator[str]:
    """The newest head of the record that this was made from."""
    if found.get("seal"):
        from station.seal_line import line_of

        yield line_of(found["seal"], datetime.fromisoformat(found["made"]).tzinfo or UTC)


# -- small parts


def _p(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def _h(level: int, key: str) -> str:
    return f"<h{level}>{escape(t(f'report.{key}'))}</h{level}>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = [t(f"report_column.{column}") for column in columns]
    head = "".join(f"<th{' class=s' * (len(one) <= SHORT // 2)}>{escape(one)}</th>" for one in heads)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    dated = text[:4].isdigit() and text[4:5] == "-"
    if text and set(text) <= NUMBER and not dated:
        return f'<td class="n">{escape(text)}</td>'
    short = ' class="s"' if len(text) <= SHORT or (dated and len(text) <= 16) else ""
    return f"<td{short}>{escape(text)}</td>"


def _minute(moment: str | None) -> str:
    return "" if moment is None else moment[:16].replace("T", " ")


def _percent(share: float | None) -> str:
    """A share in percent with one decimal; less than all is never shown as all.

    >>> _percent(0.99996), _percent(1.0), _percent(None)
    ('99.9 %', '100.0 %', '-')
    """
    if share is None:
        return "-"
    return f"{min(share * 100, 99.9) if share < 1 else 100.0:.1f} %"


def _mark(mark: str) -> str:
    return f"{mark} {t(f'mark.{mark}')}"


def _join(some: Sequence[str]) -> str:
    return t("report.and").join(one for one in some if one)


# -- what one sees first


def _summary(found: Mapping[str, Any]) -> Iterator[str]:
    rows = [row for point in found["points"] for row in point["parameters"]]
    valid = sum(row["is_valid"] is True for row in rows)
    said = [] if found["over"] else [_p(t("report.not_over", time=_minute(found["made"])), "bad")]
    if not rows:
        said.append(_p(t("report.nothing"), "bad"))
    elif found["over"]:
        said.append(_p(t("report.holding", valid=valid, all=len(rows)), "" if valid == len(rows) else "bad"))
    for point in found["points"]:
        said += [_p(f"{point['name']}{t('report.colon')}{text}") for text in _index_said(point["index"])]
    if found["dustfall"]:
        said.append(_p(_dustfall_verdict(found["dustfall"])))
    if found["hand_marks"]:
        said.append(_p(t("report.some_hand_marks", count=len(found["hand_marks"]))))
    rang = sum(one["state"] == "alarm" for one in found["alarms"])
    if rang:
        said.append(_p(t("report.rang", count=rang), "bad"))
    later = sum(point["later_versions"] for point in found["points"])
    if later:
        said.append(_p(t("report.later_versions", count=later)))
    yield f'<div class="box">{"".join(said)}</div>'


def _index_said(index: Mapping[str, Any] | None) -> Iterator[str]:
    if index is None:
        return
    if index["index"] == "water_class":
        if index["odour"]:
            yield t("index.odour", grade=t(f"odour.{index['odour']}"))
        if index["rural"]:
            yield t("index.rural", names=_join([name_of(p) for p in index["rural"]]))
        few = _join([f"{name_of(p)} {days}" for p, days in index["short_of_days"].items()])
        if few:
            yield t("report.few_days", needed=index["needed_days"], few=few)
        if index["grade"] is None:
            yield t("report.no_class", why=t(f"water_why.{index['because']}"))
            return
        deciding = _join([name_of(p) for p in index["deciding"]]) or t("report.none_deciding")
        yield t(
            "report.class_month" if index["official"] else "report.class_now",
            grade=_grade(index["grade"]),
            deciding=deciding,
            judged=_join([name_of(p) for p in index["each"]]),
        )
    elif index["absent"]:
        yield t("report.no_aqi_here", missing=_join([name_of(p) for p in index["absent"]]))
    else:
        for one in index["days"] if len(index["days"]) == 1 else ():
            yield _aqi_said(one)
        levels = [one["level"] for one in index["days"] if one["level"]]
        if len(index["days"]) != 1:
            counts = {level: levels.count(level) for level in dict.fromkeys(levels)}
            each = _join([f"{t(f'report_level.{level}')} {count}" for level, count in counts.items()])
            yield t("report.aqi_days", days=len(levels), all=len(index["days"]), each=each or "-")


def _grade(grade: str) -> str:
    return t("report.worse_than_v") if grade.startswith("worse") else t("report.class", grade=grade)


def _aqi_said(day: Mapping[str, Any]) -> str:
    if day["aqi"] is None:
        return t("report.no_aqi", missing=_join([name_of(p) for p in day["without"]]))
    primary = _join([name_of(p) for p in day["primary"]]) or t("report.none_deciding")
    return t("report.aqi", aqi=day["aqi"], level=t(f"report_level.{day['level']}"), primary=primary)


# -- a point


def _point(point: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    place = escape(f"({point['point']}, ST {point['st']})")
    yield f'<h2>{escape(point["name"])} <span class="dim">{place}</span></h2>'
    yield _p(_rule(point), "note")
    rows = point["parameters"]
    if not rows:
        yield _p(t("report.nothing_here"), "bad")
        return
    columns = ("parameter", "value", "minimum", "maximum", "parts", "holds", "mark", "captured", "remark")
    yield _table(columns, [_row(row, point) for row in rows])
    yield from _marks(rows)
    if any(row["load_kg"] is not None or row["converted"] is not None for row in rows):
        yield from _discharge(rows, point)
    if any(row["parameter"] == "noise_leq" for row in rows) or any(row["indicative"] for row in rows):
        yield _p(t("report.day_night"), "note")
    yield from _charts(rows, found)
    yield from _wind(point["wind"], found)
    yield from _index_table(point["index"])


def _rule(point: Mapping[str, Any]) -> str:
    said = t("report.rule", use=t(f"report_use.{point['use']}"), hour=point["hour_needs"], day=point["day_needs"])
    month = point["month_needs"]
    return said + (t("report.rule_month", month=month) if month else "")


def _row(row: Mapping[str, Any], point: Mapping[str, Any]) -> Sequence[str]:
    key, parts = row["parameter"], row["parts"]
    unit = f" ({row['unit']})" if row["unit"] else ""
    direction = row["averaging"] == Averaging.VECTOR  # from 1° to 359° says nothing
    holds = {True: t("report.yes"), False: t("report.no"), None: t("report.open")}[row["is_valid"]]
    return (
        name_of(key) + unit,
        shown(row["value"], key),
        "-" if direction else shown(row["minimum"], key),
        "-" if direction else shown(row["maximum"], key),
        t("report.of_due", valid=parts["valid"], due=parts["due"], needed=parts["needed"]),
        holds,
        _mark(row["mark"]),
        _percent(row["captured"]),
        _remark(row, point),
    )


def _remark(row: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    key, said = row["parameter"], []
    if row["why"] and row["why"] != "not_over":
        said.append(t(f"report_why.{row['why']}"))
    if row["value"] is not None:
        said.append(t(f"report_made.{row['made_of']}", count=row["parts"]["valid"]))
    if row["indicative"]:
        said.append(t("report.indicative"))
    if row["rise"] is not None:
        said.append(t("report.rise", value=shown(row["rise"], key), unit=row["unit"]))
    if row["highest"] and row["highest"]["value"] and row["parts"]["valid"] > 1 and row["averaging"] in SPREAD:
        at = row["highest"]["start"]
        when = at[5:10].replace("-", "/") if point["month_needs"] else at[11:16]
        said.append(t("report.highest", value=shown(row["highest"]["value"], key), when=when))
    return t("report.semicolon").join(said)


def _marks(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Marks of hours and of readings, and reasons beside values: only what is not plainly normal."""
    table = []
    for row in rows:
        hours = {mark: count for mark, count in row["hours_by_mark"].items() if mark != "N"}
        readings = {mark: count for mark, count in row["readings_by_mark"].items() if mark != "N"}
        if not (hours or readings or row["reasons"] or row["hours_missing"]):
            continue
        normal = row["hours_by_mark"].get("N", 0)
        table.append(
            (
                name_of(row["parameter"]),
                str(normal),
                _join([f"{_mark(mark)} {count}" for mark, count in sorted(hours.items())]),
                str(row["hours_missing"]),
                _join(
                    [f"{_mark(mark)} {count}" for mark, count in sorted(readings.items())]
                    + _reasons(row["mark_reasons"])
                ),
                _join(_reasons(row["reasons"])),
            )
        )
    if table:
        yield _h(3, "marks")
        yield _table(("parameter", "normal_hours", "marked_hours", "no_hours", "marked_readings", "reasons"), table)
        yield _p(t("report.reasons_note"), "note")


def _reasons(counts: Mapping[str, int]) -> list[str]:
    return [f"{t(f'reason.{why}')} {count}" for why, count in sorted(counts.items())]


def _discharge(rows: Sequence[Mapping[str, Any]], point: Mapping[str, Any]) -> Iterator[str]:
    yield _h(3, "discharge")
    table = [
        (
            name_of(row["parameter"]),
            f"{shown(row['value'], row['parameter'])} {row['unit']}",
            "-" if row["load_kg"] is None else rounded(row["load_kg"], 3),
            "-" if row["converted"] is None else f"{shown(row['converted'], row['parameter'])} {row['unit']}",
        )
        for row in rows
        if row["load_kg"] is not None or row["converted"] is not None
    ]
    yield _table(("parameter", "measured", "load", "converted"), table)
    yield _p(t("report.load_note"), "note")
    if point["reference_oxygen"] is not None:
        yield _p(t("report.converted_note", oxygen=f"{point['reference_oxygen']:g}"), "note")


def _charts(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> Iterator[str]:
    made = [figure for row in rows if (figure := _chart(row, found))]
    if made:
        yield _h(3, f"charts_{found['report']}")
        yield f'<div class="charts">{"".join(made)}</div>'
        yield _p(t("report.chart_note"), "note")


def _chart(row: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The days of a month or the hours of a day; directions have their rose."""
    if row["averaging"] == Averaging.VECTOR:
        return ""
    start, month = datetime.fromisoformat(found["start"]), found["report"] == "month"
    length = 86400 if month else 3600
    slots = int((datetime.fromisoformat(found["end"]) - start).total_seconds() // length)
    labels = {n: str(n + 1) for n in range(0, slots, 5)} if month else {n: f"{n:02}" for n in range(0, slots, 4)}
    plain = row["averaging"] in (Averaging.LAST, Averaging.SUM)  # a total's way through a day is no spread
    dots = []
    for dot in row["series"]:
        when = dot["start"][5:10] if month else dot["start"][11:16]
        dots.append(
            {
                "slot": int((datetime.fromisoformat(dot["start"]) - start).total_seconds() // length),
                "value": dot["value"],
                "minimum": None if plain else dot["minimum"],
                "maximum": None if plain else dot["maximum"],
                "is_valid": dot["is_valid"],
                "text": f"{when} {shown(dot['value'], row['parameter'])} {row['unit']} {dot['mark']}",
            }
        )
    caption = name_of(row["parameter"]) + (f", {row['unit']}" if row["unit"] else "")
    drawn = chart(dots, slots, labels, bars=row["averaging"] == Averaging.SUM, title=caption)
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}</figure>" if drawn else ""


def _wind(wind: Mapping[str, Any] | None, found: Mapping[str, Any]) -> Iterator[str]:
    if wind is None:
        return
    yield _h(3, "wind")
    names = [t(f"report.{side}") for side in ("north", "east", "south", "west")]
    yield rose(wind["rose"], wind["calm_hours"], names, title=t("report.rose"))
    direction = "-" if wind["direction"] is None else shown(wind["direction"], "wind_direction")
    speeds = {key: rounded(wind[key], 1) for key in ("vector_speed", "scalar_speed")}
    yield _p(t("report.wind_said", direction=direction, **speeds, hours=wind["hours"], calm=wind["calm_hours"]))


def _index_table(index: Mapping[str, Any] | None) -> Iterator[str]:
    if index is None:
        return
    yield _h(3, "water_class" if index["index"] == "water_class" else "aqi_title")
    for text in _index_said(index):
        yield _p(text)
    if index["index"] == "water_class" and index["each"]:
        grades = [(name_of(p), _grade(grade)) for p, grade in index["each"].items()]
        yield _table(("parameter", "class"), grades)
        yield _p(t("report.class_note"), "note")
    if len(index.get("days", ())) > 1:
        rows = [
            (
                one["day"],
                "-" if one["aqi"] is None else str(one["aqi"]),
                t(f"report_level.{one['level']}") if one["level"] else "-",
                _join([name_of(p) for p in one["primary"]]),
                "" if one["aqi"] is not None else _aqi_said(one),
            )
            for one in index["days"]
        ]
        yield _table(("day", "aqi", "level", "primary", "remark"), rows)


# -- beside the points


def _dustfall_verdict(found: Mapping[str, Any]) -> str:
    from station.dustfall_sheet import verdict

    return f"{t('report.dustfall')}{t('report.colon')}{verdict(found)}"


def _dustfall(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    from station.dustfall_sheet import point_row, verdict

    yield _h(2, "dustfall")
    yield _p(verdict(found), "value")
    yield _table(
        ("point", "jars", "days", "dustfall", "remark"), [list(point_row(p).values()) for p in found["points"]]
    )
    yield _p(t("report.dustfall_note", limit=f"{found['detection_limit']:g}"), "note")


def _result(one: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    key, unit = one["parameter"], catalogue()[one["parameter"]].unit
    value = f"<{one['below']:g}" if one["value"] is None else f"{one['value']:g}"
    own = "-" if one["own_hour"] is None else f"{shown(one['own_hour'], key)} {one['own_mark']}"
    remark = (
        t("marks.withdrawn", reason=one["remark"] or "-", why=one["withdrawn"]) if one["withdrawn"] else one["remark"]
    )
    return (
        one["name"], _minute(one["sampled"]), names.get(one["point"], one["point"]), name_of(key),
        f"{value} {unit} S", own, one["person"], " ".join((one["laboratory"], one["report"])).strip(), remark,
    )  # fmt: skip


def _exchange(one: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    reason = one["reason"]
    return (
        one["name"],
        _minute(one["at"]),
        names.get(one["point"], one["point"]),
        name_of(one["parameter"]),
        shown(one["old"], one["parameter"]),
        shown(one["new"], one["parameter"]),
        one["user"],
        t("marks.withdrawn", reason=reason, why=one["withdrawn"]) if one["withdrawn"] else reason,
    )


def _sample(one: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
    from station.bottles import why

    state = t(f"bottle_state.{one['state']}")
    return (
        _minute(one["at"]),
        names.get(one["point"], one["point"]),
        one["sampler"],
        str(one["bottle"]),
        f"{state} ({one['reason']})" if one["reason"] else state,
        why(one["why"]) if one["why"] else "",
        one["by"],
        one["laboratory"],
    )


def _people(found: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """What people said and set: marks by hand, coefficients, checks; and alarms."""
    if found["hand_marks"]:
        yield _h(2, "hand_marks")
        columns = ("name", "point", "parameter", "mark", "from", "to", "user", "reason")
        yield _table(columns, [_hand_mark(one, names) for one in found["hand_marks"]])
    if found["laboratory"]:
        yield _h(2, "laboratory")
        results = [_result(one, names) for one in found["laboratory"]]
        yield _table(("name", "at", "point", "parameter", "value", "own_hour", "user", "laboratory", "remark"), results)
        yield _p(t("lab.note"), "note")
    if found["exchanges"]:
        yield _h(2, "exchanges")
        columns = ("name", "at", "point", "parameter", "old_meter", "new_meter", "user", "reason")
        yield _table(columns, [_exchange(one, names) for one in found["exchanges"]])
    if found["coefficients"]:
        yield _h(2, "coefficients")
        rows = [
            (names.get(c["point"], ""), c["device"], name_of(c["parameter"]), f"{c['slope']:g}", f"{c['intercept']:g}")
            for c in found["coefficients"]
        ]
        yield _table(("point", "device", "parameter", "slope", "intercept"), rows)
    if found["calibrations"]:
        yield _h(2, "calibrations")
        runs = [_calibration(one, names) for one in found["calibrations"]]
        yield _table(("name", "at", "point", "device", "parameter", "procedure", "state", "coefficients", "user"), runs)
    if found["drift"]:
        yield _h(2, "drift")
        yield _table(("point", "device", "parameter", "said"), [_drift(one, names) for one in found["drift"]])
        yield _p(t("drift.beside"), "note")
    if found["samples"]:
        yield _h(2, "samples")
        columns = ("at", "point", "device", "bottle", "state", "reason", "user", "laboratory")
        yield _table(columns, [_sample(one, names) for one in found["samples"]])
    if found["checks"]:
        yield _h(2, "checks")
        yield _table(("at", "point", "device", "said"), [_check(one, names) for one in found["checks"]])
    if found["alarms"]:
        yield _h(2, "alarms")
        columns = ("at", "alarm", "point", "state", "value", "limit", "why", "seen_by")
        yield _table(columns, [_alarm(one, names) for one in found["alarms"]])
    if found["snapshots"]:
        yield _h(2, "snapshots")
        stills = [_snapshot(one, names) for one in found["snapshots"]]
        yield _table(("at", "number", "camera", "point", "alarm", "still", "sha256"), stills)


def _drift(one: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    from station.drifting import sentences

    where = (names.get(one["point"], one["point"]), one["device"], name_of(one["parameter"]))
    return (*where, " ".join(said.strip() for said in sentences(one)))


def _hand_mark(one: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    reason = own_words(one["reason"])
    if one["withdrawn"]:
        reason = t("marks.withdrawn", reason=reason, why=one["withdrawn"])
    return (
        one["name"],
        names.get(one["point"], one["point"]),
        name_of(one["parameter"]) if one["parameter"] else t("marks.all"),
        _mark(one["mark"]),
        _minute(one["from"]),
        _minute(one["to"]) or t("marks.still_on"),
        one["user"],
        reason,
    )


def _calibration(one: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    pairs = [one["before"], one["coefficients"]]
    return (
        one["name"],
        _minute(one["begun"]),
        names.get(one["point"], one["point"]),
        one["device"],
        name_of(one["parameter"]),
        t(f"procedure.{one['procedure']}"),
        t(f"run_state.{one['state']}"),
        " → ".join(f"{pair[0]:.6g}, {pair[1]:.6g}" for pair in pairs if pair),
        one["user"],
    )


def _boundaries(found: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """What lies between points around a yard or a park, and at each point what comes from where."""
    for one in found["boundaries"]:
        unit = catalogue()[one["parameter"]].unit
        about = t("report.boundary", name=one["name"], parameter=name_of(one["parameter"]), unit=unit)
        yield f"<h2>{escape(about)}</h2>"
        yield _p(t("report.boundary_hours", **{key: one[key] for key in BOUNDARY_HOURS}), "note")
        if one["paired"]:
            means = {key: shown(one[key], one["parameter"]) for key in ("upwind", "downwind", "difference")}
            largest = one["largest"]
            most = {"largest": shown(largest["value"], one["parameter"]), "at": _minute(largest["start"])}
            yield _p(t("report.boundary_said", **means, **most, above=one["hours_above"], paired=one["paired"]))
        rows = [
            (names.get(point, point), f"{one['bearings'][point]:g}°", *(_sector(p, one["parameter"]) for p in parts))
            for point, parts in one["sectors"].items()
        ]
        yield _table(
            ("point", "bearing", "from_n", "from_ne", "from_e", "from_se", "from_s", "from_sw", "from_w", "from_nw"),
            rows,
        )


BOUNDARY_HOURS = ("hours", "paired", "calm", "across", "unknown")


def _sector(part: Mapping[str, Any], parameter: str) -> str:
    """The mean of the hours in which the wind came from there, and how many these were."""
    return f"{shown(part['mean'], parameter)} ({part['hours']})" if part["hours"] else "-"


def _working(found: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """Loads against permits, and lines against dispatch orders."""
    if found["permits"]:
        yield _h(2, "permits")
        rows = [
            (
                one["name"],
                names.get(one["point"], one["point"]),
                name_of(one["parameter"]),
                f"{one['used_kg'] / 1000:.4g} / {one['tonnes']:g} t",
                _percent(one["share"]) if one["share"] < 1 else f"{one['share']:.1%}",
                t("load.counted", known=one["days"], missing=one["missing"]),
                t(f"load_why.{one['why']}", day=one["exhausted"]),
            )
            for one in found["permits"]
        ]
        yield _table(("name", "point", "parameter", "used", "share", "counted", "said"), rows)
    if found["orders"]:
        yield _h(2, "orders")
        lines = [
            (
                one["name"],
                _minute(one["from"]),
                _minute(one["to"]) or t("order.on"),
                f"{one['percent']:g} %",
                names.get(one["point"], one["point"]),
                *("-" if one[key] is None else rounded(one[key], 1) for key in ("used_kwh", "allowed_kwh")),
                t(f"order_verdict.{one['verdict']}"),
                t(f"order_why.{one['why']}"),
            )
            for one in found["orders"]
        ]
        columns = ("name", "from", "to", "percent", "point", "used_kwh", "allowed_kwh", "verdict", "why")
        yield _table(columns, lines)


def _check(one: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    parameter = str(one.get("parameter") or "")
    outcomes: Mapping[Any, str] = {True: t("report.passed"), False: t("report.failed")}
    passed = outcomes.get(one.get("passed"), "")
    figures = [f"{t(f'report_check.{key}')} {one[key]:g}" for key in ("value", "standard") if _is_number(one.get(key))]
    where = names.get(one["point"], one["point"])
    return _minute(one["at"]), where, one["device"], _join([name_of(parameter), *figures, passed])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _snapshot(one: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    if one["reason"]:
        said = t("snapshot.missed", reason=one["reason"])
    else:
        said = t("snapshot.has_left", file=one["file"]) if one["left"] else one["file"]
    return (
        _minute(one["at"]), f"{one['number']}", one["camera"], names.get(one["point"], one["point"]),
        one["alarm"] or one["by"], said, one["sha256"],
    )  # fmt: skip


def _alarm(one: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    from station.screen import _limit

    known, value = one["parameter"] in catalogue(), one["value"]
    said = f"{name_of(one['parameter'])} {shown(value, one['parameter'])} {one['unit']}" if known else ""
    return (
        _minute(one["at"]),
        one["name"],
        names.get(one["point"], one["point"]),
        t(f"alarm_state.{one['state']}"),
        said.rstrip(),
        _limit(one),
        t(f"alarm_why.{one['cause']}", count=one["count"], allowed=one.get("allowed_per_day", 0)),
        one["seen_by"],
    )


def _platforms(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[str]:
    if not rows:
        return
    yield _h(2, "platforms")
    columns = ("platform", "point", "kind", "expected", "answered", "owed", "refused", "dropped", "missing", "rate")
    yield _table(
        columns,
        [
            (
                row["platform"],
                names.get(row["point"], row["point"]),
                t(f"kind.{row['kind']}"),
                *(str(row[key]) for key in columns[3:9]),
                _percent(row["capture_rate"]),
            )
            for row in rows
        ],
    )
    yield _p(t("report.platforms_note"), "note")


def _happened(found: Mapping[str, Any]) -> Iterator[str]:
    """When nothing was measured, and what else has to be known."""
    events = found["events"]
    if not (found["silences"] or found["missed"] or events["listed"]):
        return
    yield _h(2, "happened")
    off = sum(one["minutes"] for one in found["silences"])
    if found["silences"]:
        yield _p(t("report.silences", count=len(found["silences"]), minutes=rounded(off, 1)))
        spells: list[Sequence[str]] = [
            (_minute(one["from"]), _minute(one["to"]), rounded(one["minutes"], 1), t(f"gap.{one['why']}"))
            for one in found["silences"][:MOST]
        ]
        yield _table(("from", "to", "minutes", "what"), spells)
        yield from _more(len(found["silences"]))
    if found["missed"]:
        yield _h(3, "missed")
        spells = [
            (
                one["device"],
                t(f"reason.{one['reason']}"),
                _minute(one["from"]),
                _minute(one["to"]),
                rounded(one["minutes"], 1),
                str(one["polls"]),
            )
            for one in found["missed"][:MOST]
        ]
        yield _table(("device", "what", "from", "to", "minutes", "polls"), spells)
        yield from _more(len(found["missed"]))
    if events["listed"]:
        zone = datetime.fromisoformat(found["start"]).tzinfo
        yield _h(3, "events")
        counts = _join([f"{title(code, language())} {count}" for code, count in events["counts"].items()])
        yield _p(counts)
        spells = [
            (_minute(e["at"]), title(e["code"], language()), about(e["arguments"], language(), zone))
            for e in events["listed"][:MOST]
        ]
        yield _table(("at", "what", "said"), spells)
        yield from _more(sum(events["counts"].values()))


MOST = 40  # rows of a table of what happened; the file beside it and --json have them all


def _more(count: int) -> Iterator[str]:
    if count > MOST:
        yield _p(t("report.more", count=count - MOST), "note")


def _method(found: Mapping[str, Any]) -> Iterator[str]:
    yield _h(2, "method")
    rules = [key for key in texts("en") if key.startswith("report_method.")]
    for key in rules:
        words = key.removeprefix("report_method.")
        if words.endswith("_month") and found["report"] != "month":
            continue
        yield _p(t(key, humid=f"{HUMID_PERCENT:g}"), "note")
