"""The handover sheet of a commissioned station: what was looked at, how it came out, by whom; a page to sign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from station.commissioning import STEPS
from station.i18n import language, t
from station.parameters import catalogue
from station.seal_line import seal_line
from station.sheet import QR_STYLE, TIGHT, digest, page, pairs, qr, signatures, table
from station.version import VERSION

if TYPE_CHECKING:
    from station.commissioning import Commissioning, Step
    from station.config import Loaded
    from station.model import Record

SIGNED = ("handed_over", "taken_over")


def sheet(one: Commissioning, entries: Sequence[Record], loaded: Loaded, serials: Mapping[str, str]) -> str:
    """The page for *one*, which is done, with the *entries* it is made of, in the language in use.

    *serials* are the numbers on record (from calibrations), by instrument; the others stay open to be written in.
    """
    title, hashed = t("commission_sheet.title", name=loaded.config.station.name), digest(entries)
    steps = [one.steps[name] for name in STEPS if name in one.steps]
    skipped = sum(step.verdict == "skipped" for step in steps)
    verdict = t("commission_sheet.verdict", passed=len(steps) - skipped, skipped=skipped)
    parts = [
        qr(f"{one.name} SHA-256 {hashed}"),
        f"<h1>{escape(title)}</h1>",
        f'<p class="sub">{escape(one.name)}</p>',
        f'<div class="result">{escape(verdict)}</div>',
        pairs([(t(f"commission_sheet.{key}"), text) for key, text in _facts(one, loaded)]),
        f"<h2>{escape(t('commission_sheet.steps'))}</h2>",
        table(
            [t(f"commission_sheet.{c}") for c in ("step", "result", "at", "by", "found")],
            [_row(s, loaded) for s in steps],
        ),
        f"<h2>{escape(t('commission_sheet.instruments'))}</h2>",
        table(
            [t(f"commission_sheet.{c}") for c in ("device", "serial", "read_by", "address", "measures")],
            [_device(each, serials) for each in one.steps["profiles"].facts.get("devices", ())]
            if "profiles" in one.steps
            else [],
        ),
        f'<p class="hash">SHA-256 {hashed}</p>',
        seal_line(loaded),
        f"<p>{escape(t('sheet.printed', time=_minute(datetime.now(UTC), loaded)))}</p>",
        signatures([t(f"commission_sheet.{who}") for who in SIGNED]),
    ]
    return page(title, [part for part in parts if part], TIGHT + QR_STYLE)


def _facts(one: Commissioning, loaded: Loaded) -> Sequence[tuple[str, str]]:
    config = loaded.config
    return (
        ("by", one.user),
        ("version", VERSION),
        ("begun", _minute(one.begun, loaded)),
        ("done", _minute(one.done or one.begun, loaded)),
        ("points", ", ".join(f"{point.name} ({point.code}, ST={point.st})" for point in config.point)),
        ("platforms", ", ".join(uplink.name for uplink in config.uplink) or "-"),
        ("note", one.note or "-"),
    )


def _minute(moment: datetime, loaded: Loaded) -> str:
    return f"{moment.astimezone(loaded.zone):%Y-%m-%d %H:%M}"


def _row(step: Step, loaded: Loaded) -> Sequence[str]:
    return (
        t(f"commission_step.{step.step}"),
        t(f"commission_verdict.{step.verdict}"),
        _minute(step.at, loaded),
        step.user,
        step.reason or "; ".join(_found(step.step, step.facts)),
    )


def _found(step: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts of a step as short texts."""
    if step == "clock":
        yield t(f"certificate_clock.{facts['trust']}")
    if step == "profiles":
        yield t("commission_sheet.below")
    for row in facts.get("buses", ()):
        yield f"{row['bus']}: {row['port']}"
    for row in facts.get("found", ()):
        yield f"{row['bus']} {row['unit_id']}: {row['device']}"
    for row in facts.get("values", ()):
        yield f"{_name(row['parameter'])} {row['value']:.6g} {row['unit']}"
    for row in facts.get("platforms", ()):
        yield t("commission_sheet.answered", name=row["name"], count=row["answered"])
    if step == "alarm":
        yield t("commission_sheet.tested", alarm=facts["alarm"], output=facts["output"] or "-")
    if step == "backup":
        yield f"{facts['path']} SHA-256 {facts['sha256'][:16]}…"


def _device(row: Mapping[str, Any], serials: Mapping[str, str]) -> Sequence[str]:
    read_by = f"{row['read_by']} {row['variant']}".strip()
    address = "-" if row["unit_id"] is None else str(row["unit_id"])
    return row["device"], serials.get(row["device"], ""), read_by, address, ", ".join(map(_name, row["parameters"]))


def _name(parameter: str) -> str:
    known = catalogue().get(parameter)
    return known.name(language()) if known else parameter
