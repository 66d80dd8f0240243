"""A three-way check as a page to print and sign: the three numbers of each factor, the rule, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from station.i18n import language, t
from station.parameters import catalogue
from station.seal_line import seal_line
from station.sheet import QR_STYLE, TIGHT, digest, page, pairs, qr, signatures, table

if TYPE_CHECKING:
    from station.comparison import Check, Row
    from station.config import Loaded
    from station.model import Record

COLUMNS = ("factor", "display", "station", "difference", "platform", "then", "difference", "allowed", "verdict")


def sheet(one: Check, entries: Sequence[Record], loaded: Loaded) -> str:
    """The page for *one*, which is done, with the *entries* it is made of, in the language in use."""
    title, hashed = t("compare_sheet.title", name=one.name), digest(entries)
    photos = [row.photo for row in one.rows.values() if row.photo]
    verdict = t("compare_sheet.conclusion", verdict=t(f"compare_verdict.{one.verdict}"))
    missing = [_name(parameter) for _, parameter in one.left]
    parts = [
        qr(f"{one.name} SHA-256 {hashed}"),
        f"<h1>{escape(title)}</h1>",
        f'<p class="sub">{escape(loaded.config.station.name)}</p>',
        f'<div class="result">{escape(verdict)}</div>',
        pairs([(t(f"compare_sheet.{key}"), text) for key, text in _facts(one, loaded)]),
        f"<h2>{escape(t('compare_sheet.values'))}</h2>",
        table([t(f"compare_sheet.{c}") for c in COLUMNS], [_row(one, row, loaded) for row in one.rows.values()]),
        *([f"<p>{escape(t('compare_sheet.missing', factors=', '.join(missing)))}</p>"] if missing else []),
        f"<h2>{escape(t('compare_sheet.rule_title'))}</h2>",
        f"<p>{escape(t('compare_sheet.rule', per_mille=f'{one.per_mille:g}'))}</p>",
        *(f'<p class="hash">{escape(each["name"])} SHA-256 {each["sha256"]}</p>' for each in photos),
        f'<p class="hash">SHA-256 {hashed}</p>',
        seal_line(loaded),
        f"<p>{escape(t('sheet.printed', time=f'{datetime.now(UTC).astimezone(loaded.zone):%Y-%m-%d %H:%M}'))}</p>",
        signatures([t(f"sheet.{who}") for who in ("did", "checked", "approved")]),
    ]
    return page(title, [part for part in parts if part], TIGHT + QR_STYLE)


def _facts(one: Check, loaded: Loaded) -> Sequence[tuple[str, str]]:
    done = one.done or one.begun
    return (
        ("what", one.what),
        ("by", one.user),
        ("begun", _minute(one.begun, loaded)),
        ("done", _minute(done, loaded)),
        ("platform_name", one.platform or "-"),
        ("note", one.note or "-"),
    )


def _minute(moment: datetime, loaded: Loaded) -> str:
    return f"{moment.astimezone(loaded.zone):%Y-%m-%d %H:%M}"


def _name(parameter: str) -> str:
    return catalogue()[parameter].name(language())


def _row(one: Check, row: Row, loaded: Loaded) -> Sequence[str]:
    known, found = catalogue()[row.parameter], row.judged(one.per_mille)
    display = row.display or (t("compare_sheet.photo", name=row.photo["name"]) if row.photo else "-")
    sent = row.platform_value()
    platform = "-" if sent is None else f"{row.platform} ({_how(row, loaded)})"
    return (
        f"{known.name(language())} {known.unit}".strip(),
        display,
        t(f"compare_trouble.{row.trouble}")
        if row.trouble
        else f"{_value(row.station)} ({_second(row.station_at, loaded)})",
        _difference(found["display"]),
        platform,
        _value(row.then),
        _difference(found["platform"]),
        _allowed(found),
        t(f"compare_verdict.{found['verdict']}"),
    )


def _how(row: Row, loaded: Loaded) -> str:
    said = t(f"compare_how.{row.how}")
    return f"{said} {_second(row.platform_at, loaded)}" if row.platform_at else said


def _second(moment: str, loaded: Loaded) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(loaded.zone):%H:%M:%S}" if moment else "-"


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.7g}"


def _difference(held: Mapping[str, Any] | None) -> str:
    return "-" if held is None else f"{round(held['difference'], 9) + 0.0:+.4g}"


def _allowed(found: Mapping[str, Any]) -> str:
    allowed = [f"±{held['allowed']:.3g}" for key in ("display", "platform") if (held := found[key]) is not None]
    return " / ".join(dict.fromkeys(allowed)) or "-"
