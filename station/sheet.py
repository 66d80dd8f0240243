"""What every page to print and sign is made of: its style, tables, the hash of what it rests on, a QR code of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC
from html import escape
from importlib import import_module
from io import BytesIO

from station.i18n import language
from station.model import Record

STYLE = """
body { font: 11pt/1.45 "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", sans-serif; color: #111;
  max-width: 180mm; margin: 12mm auto; }
h1 { font-size: 17pt; text-align: center; margin: 0 0 2mm; } h2 { font-size: 12pt; margin: 7mm 0 2mm; }
p { margin: 1mm 0; } .sub { text-align: center; color: #444; }
table { border-collapse: collapse; width: 100%; font-size: 9.5pt; }
th, td { border: 1px solid #777; padding: 1mm 1.5mm; text-align: left; vertical-align: top; }
th { background: #eee; } td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.struck td { text-decoration: line-through; color: #555; }
.result { font-size: 12.5pt; border: 1.5px solid #111; padding: 2.5mm 4mm; margin: 3mm 0; }
.sign { display: flex; gap: 8mm; margin-top: 14mm; }
.sign div { flex: 1; border-top: 1px solid #111; padding-top: 1mm; }
.hash { font: 8pt monospace; word-break: break-all; color: #444; }
@media print { body { margin: 0; } h2, tr { break-inside: avoid; break-after: auto; } }
"""
TIGHT = """
body { font-size: 9.5pt; line-height: 1.35; margin: 5mm auto; } h1 { font-size: 15pt; margin: 0 0 1mm; }
h2 { font-size: 10.5pt; margin: 3mm 0 1mm; } table { font-size: 8.5pt; }
th, td { padding: .5mm 1.5mm; }
.result { padding: 1.5mm 4mm; margin: 2mm 0; } .sign { margin-top: 8mm; }
@media print { @page { size: A4; margin: 9mm; } }
"""
QR_STYLE = """
.qr { float: right; width: 26mm; margin: 0 0 2mm 4mm; } .qr svg { width: 100%; height: auto; }
.result { display: flow-root; } td.s { white-space: nowrap; }
"""


WHOLE = 7  # characters of a text that stay together
_MINUTE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")


def digest(entries: Sequence[Record]) -> str:
    """SHA-256 of *entries* in the order they were made: the same entries print the same letters years later."""
    plain = [[r.id, r.at.astimezone(UTC).isoformat(), r.point, r.body] for r in sorted(entries, key=lambda r: r.id)]
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def page(title: str, parts: Sequence[str], style: str = "") -> str:
    """A whole page of *parts*, which are HTML, in the language in use."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}{style}</style>'
    lang = "zh-CN" if language() == "zh" else "en"
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="{lang}"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Labels and texts, two pairs a row."""
    cells = [f"<th>{escape(label)}</th><td>{escape(text)}</td>" for label, text in rows]
    if len(cells) % 2:
        cells.append("<th></th><td></td>")
    body = "".join(f"<tr>{a}{b}</tr>" for a, b in zip(cells[::2], cells[1::2], strict=True))
    return f"<table>{body}</table>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; what is a number stands to the right."""
    head = "".join(f"<th>{escape(one)}</th>" for one in headings)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    digits = text.lstrip("+-±≥≤<").replace(".", "").removesuffix(" %").isdigit()
    whole = len(text) <= WHOLE or _MINUTE.fullmatch(text)  # not broken over two lines
    return f"<td{' class=n' if digits else ' class=s' if whole else ''}>{escape(text)}</td>"


def signatures(words: Sequence[str]) -> str:
    """Lines to sign on."""
    return '<div class="sign">' + "".join(f"<div>{escape(word)}</div>" for word in words) + "</div>"


def qr(text: str) -> str:
    """*text* as a QR code to stand in a page, or nothing where the library for it is not installed."""
    try:
        segno = import_module("segno")
    except ImportError:
        return ""
    drawn = BytesIO()
    segno.make(text, error="m").save(drawn, kind="svg", xmldecl=False, svgns=True, border=2, omitsize=True)
    return f'<div class="qr">{drawn.getvalue().decode()}</div>'
