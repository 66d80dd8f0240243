"""A calibration as a page to print and sign, or as a table: standards, as found, as left, limits, what it rests on."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

from station.dustfall_sheet import STYLE, digest
from station.i18n import language, t
from station.own_reasons import worded as own_words
from station.parameters import catalogue
from station.seal_line import seal_line

if TYPE_CHECKING:
    from station.calibration_run import Run
    from station.config import Loaded
    from station.model import Record

FEW = 5  # standards that the page shows at ease; with more of them it draws closer, up to ten on one side
ROWS_SHOWN = 10  # of standards; a reference series is drawn and not listed
WIDTH, HEIGHT, MARGIN = 640, 160, 48  # of the chart, in its own units
STEPS = 4  # marks on each axis, at most
TIGHT = """
body { font-size: 9.5pt; line-height: 1.35; margin: 5mm auto; } h1 { font-size: 15pt; margin: 0 0 1mm; }
h2 { font-size: 10.5pt; margin: 3mm 0 1mm; } table { font-size: 8.5pt; }
th, td { padding: .5mm 1.5mm; }
.result { padding: 1.5mm 4mm; margin: 2mm 0; } .sign { margin-top: 8mm; }
.qr { position: absolute; right: 0; top: 0; } .qr svg { width: 20mm; height: 20mm; display: block; }
body { position: relative; } h1, .sub { margin-right: 24mm; margin-left: 24mm; } .sub { min-height: 12mm; }
@media print { @page { size: A4; margin: 9mm; } }
"""
DENSE = """
table { font-size: 7.5pt; line-height: 1.2; } th, td { padding: .2mm 1.5mm; } h2 { margin: 2mm 0 .5mm; }
.sign { margin-top: 6mm; } p { margin: .5mm 0; } body > svg { height: 36mm; }
"""


def sheet(run: Run, entries: Sequence[Record], loaded: Loaded) -> str:
    """The page for *run*, which is done, with the *entries* it is made of, in the language in use."""
    result, known = run.result, catalogue()[run.parameter]
    title = t("certificate.title", name=run.name)
    unit = known.unit
    mark = digest(entries)
    parts = [
        f'<div class="qr">{qr(f"{run.name} {mark}")}</div>',
        f"<h1>{escape(title)}</h1>",
        f'<p class="sub">{escape(loaded.config.station.name)}</p>',
        f'<div class="result">{escape(_verdict(run))}</div>',
        _pairs(_facts(run, loaded, f"{known.name(language())} ({unit})" if unit else known.name(language()))),
        *_standards(run),
        f"<h2>{escape(t('certificate.figures'))}</h2>",
        *_figures(result["rows"]),
        chart(result["rows"]),
        f"<h2>{escape(t('certificate.judgements'))}</h2>",
        _table(JUDGED_COLUMNS, [_judged(one) for one in result["judgements"]])
        if result["judgements"]
        else f"<p>{escape(t('calibration_verdict.none'))}</p>",
        f"<h2>{escape(t('certificate.record'))}</h2>",
        _table(ENTRY_COLUMNS, _entries(entries, loaded)),
        *_photos(run),
        f'<p class="hash">SHA-256 {mark}</p>',
        seal_line(loaded),
        f"<p>{escape(t('sheet.printed', time=f'{datetime.now(UTC).astimezone(loaded.zone):%Y-%m-%d %H:%M}'))}</p>",
        '<div class="sign">' + "".join(f"<div>{escape(t(f'sheet.{who}'))}</div>" for who in SIGNED) + "</div>",
    ]
    style = STYLE + TIGHT + (DENSE if len(run.standards) > FEW else "")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
    lang = "zh-CN" if language() == "zh" else "en"
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="{lang}"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


SIGNED = ("did", "checked", "approved")


def qr(text: str) -> str:
    """*text* as a QR code, to be read off the printed page."""
    import segno  # only who prints a certificate pays for it

    return str(segno.make(text, error="m", micro=False).svg_inline(border=2, omitsize=True))


def table(run: Run, entries: Sequence[Record], loaded: Loaded) -> str:
    """The same as CSV: facts, standards, figures, limits and the hash, with a blank line between."""
    out = io.StringIO()
    writer = csv.writer(out)
    known = catalogue()[run.parameter]
    writer.writerow([t("certificate.title", name=run.name), _verdict(run)])
    writer.writerows([t(f"certificate.{key}"), text] for key, text in _facts(run, loaded, known.name(language())))
    blocks: list[tuple[Sequence[str], list[Sequence[str]]]] = [
        (STANDARD_COLUMNS, [_standard_row(run, i) for i in range(len(run.standards))]),
        (FIGURE_COLUMNS, [_figures_row(row) for row in run.result["rows"]]),
        (JUDGED_COLUMNS, [_judged(one) for one in run.result["judgements"]]),
        (ENTRY_COLUMNS, [_entry(one, loaded) for one in entries]),
    ]
    for columns, rows in blocks:
        writer.writerow([])
        writer.writerow([t(f"certificate.{column}") for column in columns])
        writer.writerows(rows)
    writer.writerow([])
    writer.writerow(["SHA-256", digest(entries)])
    return out.getvalue()


STANDARD_COLUMNS = ("number", "value", "certificate", "uncertainty", "expires", "stable")
ROW = ("standard", "raw", "as_found", "found_error", "as_left", "left_error")
FIGURE_COLUMNS = ("value", "raw", "as_found", "error", "as_left", "error")
JUDGED_COLUMNS = ("what", "found", "limit", "judged", "source", "confidence")
ENTRY_COLUMNS = ("at", "entry", "by", "remark")


def _standards(run: Run) -> Sequence[str]:
    if not run.standards:
        return ()
    rows = [_standard_row(run, i) for i in range(len(run.standards))]
    return f"<h2>{escape(t('certificate.standards'))}</h2>", _table(STANDARD_COLUMNS, rows)


def _figures(rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Each standard with what was shown; of a long series how long it is."""
    if len(rows) > ROWS_SHOWN:
        return (f"<p>{escape(t('calibrate.pairs', count=len(rows)))}</p>",)
    return (_table(FIGURE_COLUMNS, [_figures_row(row) for row in rows]),)


def _photos(run: Run) -> Sequence[str]:
    found = [*run.photos, *run.result.get("photos", ())]
    return [f'<p class="hash">{escape(one["name"])} SHA-256 {one["sha256"]}</p>' for one in found]


def _verdict(run: Run) -> str:
    said = t(f"calibration_verdict.{run.result['verdict']}")
    return said + (t("certificate.reverted") if run.state == "reverted" else "")


def _facts(run: Run, loaded: Loaded, parameter: str) -> Sequence[tuple[str, str]]:
    """What was calibrated, by whom, when and how, as label and text."""
    result = run.result
    names = {point.code: point.name for point in loaded.config.point}
    begun, ended = (_minute(one, loaded) for one in (run.begun, run.ended or run.begun))
    found = [
        ("device", run.device),
        ("parameter", parameter),
        ("point", f"{names.get(run.point, run.point)} ({run.point})"),
        ("procedure", t(f"procedure.{run.procedure}")),
        ("time", f"{begun} – {ended[-5:] if ended[:10] == begun[:10] else ended}"),
        ("clock", t(f"certificate_clock.{_trust(run)}")),
        ("by", _signed(run)),
        ("serial", run.instrument.get("serial", "–")),
        ("firmware", run.instrument.get("firmware", "–")),
        ("environment", run.environment or "–"),
        ("next_due", _next_due(run, loaded)),
        *_coefficients(run),
    ]
    if result.get("valid_from"):
        found.append(("valid_from", _minute(datetime.fromisoformat(result["valid_from"]), loaded)))
    if result["response"] is not None:
        found.append(("response", _pair([result["response"]["slope"], result["response"]["intercept"]])))
    if run.full_scale is not None:
        found.append(("full_scale", f"{run.full_scale:g}"))
    found += [(key, f"{result[key]:.5f}") for key in ("r", "factor") if result.get(key) is not None]
    found += [(key, f"{result[key]:+.2f} %") for key in SHARES if result.get(key) is not None]
    return found


def _next_due(run: Run, loaded: Loaded) -> str:
    """The day by which the parameter wants the next run, by station.toml or by rules; "–" where nothing wants one."""
    from station.calibration_due import wanted

    chosen = {one.name: one.calibrate_days for bus in loaded.config.bus for one in bus.device}
    intervals = wanted(loaded.systems.get(run.point, ""), run.parameter, chosen.get(run.device, {}))
    if not intervals or run.ended is None:
        return "–"
    due = run.ended + timedelta(days=min(one.days for one in intervals))
    return f"{due.astimezone(loaded.zone):%Y-%m-%d}"


SHARES = ("zero_drift", "span_drift", "mean_percent", "rsd", "flow_percent", "series_percent")


def _signed(run: Run) -> str:
    signer = str(run.result.get("user", run.user))
    return run.user if signer == run.user else t("certificate.begun_and_signed", begun=run.user, signed=signer)


def _coefficients(run: Run) -> Sequence[tuple[str, str]]:
    """The station's before and now, or the instrument's where it was calibrated in itself."""
    before, after = run.result.get("instrument_before", {}), run.result.get("instrument_after", {})
    if after:
        return ("instrument_before", before.get("numbers", "–")), ("instrument_after", after.get("numbers", "–"))
    return (
        ("coefficients_before", _pair(run.result["before"])),
        ("coefficients_after", _pair(run.result["coefficients"])),
    )


def _trust(run: Run) -> str:
    return run.trust if run.trust in ("ntp", "platform", "gnss", "network", "host", "rtc") else "none"


def _pair(coefficients: Sequence[float]) -> str:
    return " / ".join(f"{one:.6g}" for one in coefficients)


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Labels and texts, two pairs a row."""
    cells = [f"<th>{escape(t(f'certificate.{key}'))}</th><td>{escape(text)}</td>" for key, text in rows]
    if len(cells) % 2:
        cells.append("<th></th><td></td>")
    body = "".join(f"<tr>{a}{b}</tr>" for a, b in zip(cells[::2], cells[1::2], strict=True))
    return f"<table>{body}</table>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(t(f'certificate.{column}'))}</th>" for column in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    digits = text.lstrip("+-±≥").replace(".", "").removesuffix(" %").isdigit()
    return f"<td{' class=n' if digits else ''}>{escape(text)}</td>"


def _standard_row(run: Run, index: int) -> Sequence[str]:
    one, step = run.standards[index], run.taken("found")[index]
    said = t("certificate.is_stable" if step.stable else "certificate.not_stable", reason=step.override)
    return (
        str(index + 1),
        f"{one.value:g}",
        one.certificate or t("calibrations.no_certificate"),
        "" if one.uncertainty is None else f"{one.uncertainty:g}",
        one.expires.isoformat() if one.expires else "",
        f"{said} ({len(step.readings)}; {round(step.noise, 6):.2g}; {round(step.drift, 6) + 0.0:+.2g})",
    )


def _figures_row(row: Mapping[str, Any]) -> Sequence[str]:
    known = {key: None if row[key] is None else round(row[key], 9) + 0.0 for key in ROW}  # no 1e-14
    plain = ["–" if known[key] is None else f"{known[key]:.5g}" for key in ("standard", "raw", "as_found", "as_left")]
    errors = ["–" if known[key] is None else f"{known[key]:+.4g}" for key in ("found_error", "left_error")]
    return plain[0], plain[1], plain[2], errors[0], plain[3], errors[1]


def _judged(one: Mapping[str, Any]) -> Sequence[str]:
    percent = " %" if one["what"].endswith(("_drift", "_percent")) or one["what"] == "rsd" else ""
    value = f"{one['value']:.5f}" if one["what"] == "r" else f"{one['value']:+.3g}{percent}"
    sign = "≥" if one["what"] == "r" else "±"
    return (
        t(f"judged.{one['what']}"),
        value,
        f"{sign}{one['limit']:g}{percent}",
        t("calibration_verdict.passed" if one["passed"] else "calibration_verdict.failed"),
        one["source"],
        t(f"confidence.{one['confidence']}"),
    )


def _entry(record: Record, loaded: Loaded) -> Sequence[str]:
    body = record.body
    told = body.get("type") if body["do"] == "act" else ""
    what = t(f"calibration_entry.{body['do']}{f'_{told}' if told in ('point', 'write') else ''}")
    if body["do"] == "step":
        what = f"{what} {body['index'] + 1}"
    remarks = [own_words(str(body.get(key, ""))) for key in ("note", "override", "reason")]
    return _minute(record.at, loaded), what, body["user"], "; ".join(filter(None, remarks))


def _minute(moment: datetime, loaded: Loaded) -> str:
    return f"{moment.astimezone(loaded.zone):%Y-%m-%d %H:%M}"


def round_numbers(low: float, high: float) -> list[float]:
    """Some round numbers from *low* to *high* for an axis.

    >>> round_numbers(-0.3, 103.0), round_numbers(4.0, 9.18)
    ([0.0, 50.0, 100.0], [4.0, 6.0, 8.0])
    """
    rough = (high - low) / STEPS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _entries(entries: Sequence[Record], loaded: Loaded) -> Sequence[Sequence[str]]:
    """Each entry; many standards one after another, of which nothing else is to be said, in one row."""
    rows: list[Sequence[str]] = []
    steps: list[Record] = []
    for one in [*entries, None]:
        if one is not None and one.body["do"] == "step" and not one.body.get("override"):
            steps.append(one)
            continue
        if len(steps) > MOST_STEPS:
            first, last = (_entry(step, loaded) for step in (steps[0], steps[-1]))
            rows.append((f"{first[0]} – {last[0][-5:]}", f"{first[1]} – {last[1].split()[-1]}", first[2], ""))
        else:
            rows += [_entry(step, loaded) for step in steps]
        steps = []
        if one is not None:
            rows.append(_entry(one, loaded))
    return rows


MOST_STEPS = 4  # in a row each


def chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the instrument showed over its standards, as found (open) and as left (filled)."""
    every = [row[key] for row in rows for key in ("standard", "as_found", "as_left")]
    shown: list[float] = [value for value in every if value is not None]
    low, high = min(0.0, *shown), max(shown)
    if high <= low:
        high = low + 1.0

    def x(value: float) -> float:
        return MARGIN + (value - low) / (high - low) * (WIDTH - 2 * MARGIN)

    def y(value: float) -> float:
        return HEIGHT - MARGIN * 0.7 - (value - low) / (high - low) * (HEIGHT - MARGIN * 1.2)

    ticks = round_numbers(low, high)
    lines = [
        f'<line x1="{x(low):.1f}" y1="{y(one):.1f}" x2="{x(high):.1f}" y2="{y(one):.1f}" stroke="#ddd"/>'
        f'<text x="{x(low) - 5:.1f}" y="{y(one) + 4:.1f}" text-anchor="end">{one:.4g}</text>'
        f'<text x="{x(one):.1f}" y="{y(low) + 15:.1f}" text-anchor="middle">{one:.4g}</text>'
        for one in ticks
    ]
    lines.append(f'<line x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(high):.1f}" y2="{y(high):.1f}" stroke="#777"/>')
    for row in rows:
        at = f'cx="{x(row["standard"]):.1f}"'
        if row["as_left"] is not None:
            lines.append(f'<circle {at} cy="{y(row["as_left"]):.1f}" r="3" fill="#111"/>')
        lines.append(f'<circle {at} cy="{y(row["as_found"]):.1f}" r="5" fill="none" stroke="#b00" stroke-width="1.5"/>')
    lines.append(f'<text x="{MARGIN + 10}" y="18">{escape(t("certificate.chart"))}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" font-size="11" font-family="sans-serif">'
        + "".join(lines)
        + "</svg>"
    )
