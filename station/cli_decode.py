"""`station decode`: what a captured exchange means."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.command_line import print_json
from station.i18n import t
from station.model import StoreError, WrongArgument
from station.texts import Command, default_config, json_option, lang_option, option

if TYPE_CHECKING:
    from drivers.captured import Fault, Meaning
    from drivers.frames import Exchange
    from drivers.profile import Profile


@click.command("decode", cls=Command, help="help.decode")
@click.argument("profile")
@option("--request", key="request")
@option("--response", key="response")
@option("--log", key="log", type=click.Path(path_type=Path))
@option("--unit", "unit_id", key="decode_unit", type=click.IntRange(0, 255))
@option("--variant", key="variant")
@json_option
@lang_option
def decode(
    profile: str,
    request: str | None,
    response: str | None,
    log: Path | None,
    unit_id: int | None,
    variant: str | None,
    as_json: bool,
) -> int:
    """One exchange, or each of a log; 0 when all are whole and known, else 1."""
    from drivers.captured import Fault, Meaning, meaning
    from drivers.frames import from_hex

    described = find_profile(profile, variant)
    if log is not None:
        return _decode_log(described, log, unit_id, variant, as_json)
    if request is None or response is None:
        raise WrongArgument("an exchange is --request HEX and --response HEX, or --log FILE holds many")
    frames: dict[str, bytes] = {}
    faults: list[Fault] = []
    for name, text in (("request", request), ("response", response)):
        try:
            frames[name] = from_hex(text) if text.strip() else b""  # nothing came
        except ValueError:
            faults.append(Fault("hex", {"frame": name}))
    found = Meaning(tuple(faults))
    if not faults:
        asked, answered = frames["request"], frames["response"]
        found = meaning(described, asked, answered, datetime.now(UTC), unit_id=unit_id, variant=variant)
    if as_json:
        print_json(found.as_dict())
    else:
        show_meaning(found)
    return 0 if found.ok else 1


def find_profile(name: str, variant: str | None = None) -> Profile:
    """The profile called *name*, of the operator's folder or a shipped one, or in the file of that name."""
    from drivers.base import ProfileError
    from drivers.profile import load, read

    try:
        path = Path(name)
        found = read(path) if path.suffix == ".toml" else load(name, profile_folders())
        if variant is not None:
            found.chosen(variant)
    except ProfileError as error:
        raise WrongArgument(str(error)) from error
    return found


def profile_folders() -> tuple[Path, ...]:
    """The operator's own profiles: beside the station.toml in use."""
    return (default_config().resolve().parent / "profiles",)


def show_meaning(found: Meaning) -> None:
    """Values as a table, or each fault as a sentence."""
    from station.screen import console

    for fault in (*found.faults, *found.notes):
        print(fault_text(fault))
    if found.faults and not found.values:
        return
    if not found.values:
        print(t("decode.nothing"))
        return
    console().print(_table(found))
    if found.layouts:
        print(t("decode.layouts", names=", ".join(found.layouts)))


def _table(found: Meaning) -> Any:
    from rich.table import Table

    from station.screen import BAD, DIM

    table = Table(box=None, pad_edge=False)
    for title in (t("status.parameter"), t("bus.register")):
        table.add_column(title, header_style=DIM)
    table.add_column(t("status.value"), justify="right", header_style=DIM)
    for title in (t("status.unit"), t("status.mark")):
        table.add_column(title, header_style=DIM)
    for value in found.values:
        shown = t("status.unknown") if value.value is None else _figure(value.value)
        mark = f"{value.mark} {t(f'mark.{value.mark}')}" if value.mark else ""
        name = parameter_name(value.parameter) if value.parameter else ""
        table.add_row(name, f"{value.register}", shown, value.unit, mark, style="" if value.mark in ("", "N") else BAD)
    return table


def _figure(value: float | str) -> str:
    """A number with the digits it has; a 32-bit float has seven."""
    return value if isinstance(value, str) else f"{value:.7g}"


def parameter_name(parameter: str) -> str:
    """What *parameter* is called in the language in use."""
    from station.i18n import language
    from station.parameters import catalogue

    known = catalogue().get(parameter)
    return known.name(language()) if known else parameter


def fault_text(fault: Fault) -> str:
    """The fault's name and its sentence."""
    key = "exception" if fault.name.startswith("exception-") else fault.name.replace("-", "_")
    figures = dict(fault.figures)
    if figures.get("elsewhere"):
        return f"{fault.name}: {t('fault.other_table', **figures)}"
    if "frame" in figures:
        figures["frame"] = t("fault.request") if figures["frame"] == "request" else t("fault.response")
    return f"{fault.name}: {t(f'fault.{key}', **figures)}"


# -- logs


def _decode_log(profile: Profile, log: Path, unit_id: int | None, variant: str | None, as_json: bool) -> int:
    """Every exchange of a hex log, such as `station bus sniff --raw` writes."""
    from drivers.captured import Fault, Meaning, meaning
    from drivers.frames import to_hex

    now, wrong, seen = datetime.now(UTC), 0, 0
    for exchange in _exchanges(log):
        frame = exchange.request or exchange.reply
        if unit_id is not None and frame[:1] != bytes((unit_id,)):
            continue
        seen += 1
        if exchange.request and exchange.reply:
            found = meaning(profile, exchange.request, exchange.reply, now, variant=variant)
        else:
            found = Meaning((Fault("alone", {"frame": "request" if exchange.request else "response"}),))
        wrong += not found.ok
        if as_json:
            frames = {"request": to_hex(exchange.request), "response": to_hex(exchange.reply)}
            print_json({**found.as_dict(), **frames})
        else:
            print(f"> {to_hex(exchange.request) or '-'}\n< {to_hex(exchange.reply) or '-'}")
            show_meaning(found)
    if not seen:
        print(t("decode.empty", path=log), file=sys.stderr)
    return 0 if seen and not wrong else 1


def _exchanges(log: Path) -> Iterator[Exchange]:
    """The exchanges of a log whose lines end in hex, behind > (request), < (reply), ? (noise) or nothing."""
    from drivers.frames import Piece, from_hex, paired

    def pieces(lines: Sequence[str]) -> Iterator[Piece]:
        asked = False
        for number, line in enumerate(lines):
            way, text = _line(line, asked)
            try:
                data = from_hex(text)
            except ValueError:
                continue  # a headline, a comment
            asked = way == "request"
            yield Piece(float(number), way, data)

    try:
        lines = sys.stdin.read().splitlines() if str(log) == "-" else log.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise StoreError(f"{log}: cannot be read ({error.strerror})") from error
    return paired(pieces(lines))


def _line(line: str, asked: bool) -> tuple[str, str]:
    for sign, way in ((">", "request"), ("<", "reply"), ("?", "noise")):
        if sign in line:
            return way, line.partition(sign)[2]
    return "reply" if asked else "request", line
