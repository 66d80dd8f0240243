"""Commands about HJ 212 itself: frames out of a log or by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from station.command_line import print_json
from station.i18n import language, t
from station.model import ConfigError, StoreError, WrongArgument
from station.texts import Group, json_option, lang_option, option

MOST_BYTES = 64 * 1024 * 1024  # of a log that is read whole


@click.group("frame", cls=Group, help="help.frame")
@lang_option
def frame() -> None:
    """What is on the wire."""


@frame.command("decode", help="help.frame_decode")
@click.argument("file", type=click.Path(path_type=Path), default="-")
@option("--key-file", key="key_file", type=click.Path(path_type=Path))
@json_option
@lang_option
def decode(file: Path, key_file: Path | None, as_json: bool) -> int:
    """Every frame in a log or capture; 0 when all are whole, 1 when one is not or none is there."""
    from station.parameters import catalogue
    from uplink.hj212.inspect import inspect

    found, broken = 0, 0
    for one in inspect(_bytes(file), keys_in(key_file), catalogue()):
        found, broken = found + 1, broken + (not one.ok)
        if as_json:
            print_json(one.as_dict())
        else:
            _show(one)
    if not found:
        print(t("frame.none"), file=sys.stderr)
    return 0 if found and not broken else 1


@frame.command("encode", help="help.frame_encode")
@click.argument("fields", nargs=-1, required=True)
@option("--data", key="data", default="")
@option("--key-file", key="key_file", type=click.Path(path_type=Path))
@lang_option
def encode(fields: tuple[str, ...], data: str, key_file: Path | None) -> None:
    """A frame from NAME=VALUE fields and a data area, to standard output."""
    from uplink.base import UplinkError
    from uplink.hj212.inspect import build

    named: dict[str, str] = {}
    for text in fields:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise WrongArgument(f'"{text}" is not NAME=VALUE, such as CN=2011')
        if name in named:
            raise WrongArgument(f"{name} is given twice")
        if ";" in value and name != "CP":
            raise WrongArgument(f"{name}: a semicolon ends a field; the data area is given by --data")
        named[name] = value
    if not named.get("CN"):
        raise WrongArgument("a frame needs its command, such as CN=2011")
    area = _area(named.pop("CP", ""), data)
    try:
        made = build(named, area, next(iter(keys_in(key_file)), None))
    except UplinkError as error:
        raise WrongArgument(str(error)) from error
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()


def _area(cp: str, data: str) -> str:
    """The data area, given as CP=… or by --data, with its && or without."""
    if cp and data:
        raise WrongArgument("the data area is given by CP=… or by --data, not by both")
    text = cp or data
    if len(text) >= 4 and text.startswith("&&") and text.endswith("&&"):
        text = text[2:-2]
    if "&&" in text:
        raise WrongArgument("&& stands only around the data area")
    return text


def _bytes(file: Path) -> bytes:
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with file.open("rb") as source:
                data = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise StoreError(f"{file}: cannot be read ({error.strerror})") from error
    if len(data) > MOST_BYTES:
        raise WrongArgument(f"{file}: more than {MOST_BYTES // 2**20} MiB; cut the log into pieces (split -C 32m)")
    return data


def keys_in(file: Path | None) -> Sequence[bytes]:
    """The SM4 keys in *file*, a line a key, the one in use first: 16 characters, or 32 hexadecimal digits."""
    if file is None:
        return []
    from uplink.hj212.keys import KeyRing

    try:
        return KeyRing(file.read_text(encoding="utf-8")).secrets()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{file}: holds no SM4 key: {error}") from error


def _show(one: Any) -> None:
    """A frame as tables a person reads."""
    from rich.table import Table

    from station.screen import BAD, DIM, GOOD, console
    from uplink.hj212.inspect import masked
    from uplink.hj212.tap import shown

    out = console()
    state = t("frame.good") if one.ok else t("frame.bad")
    secret = f"  {t('frame.encrypted')}" if one.encrypted else ""
    out.print(t("frame.title", at=one.at, dialect=one.dialect, state=state) + secret, style=GOOD if one.ok else BAD)
    for named in filter(None, (one.fields, one.parameters)):
        out.print(shown("  ".join(f"{name}={value}" for name, value in masked(named).items())))
    if one.data:
        table = Table(box=None, pad_edge=False)
        for title in (t("frame.code"), t("frame.parameter"), t("frame.values")):
            table.add_column(title, header_style=DIM)
        for row in one.data:
            values = {name: value for name, value in row.items() if name not in ("code", "parameter")}
            nested = values.pop("values", None)
            values |= nested if isinstance(nested, Mapping) else {}
            said = shown("  ".join(f"{name}={value}" for name, value in values.items()))
            table.add_row(shown(row["code"]), _name(row.get("parameter")), said)
        out.print(table)
    for text in (*one.faults, *one.hints):
        out.print(f"  {shown(text)}", style=BAD if not one.ok else "yellow")
    out.print()


def _name(parameter: str | None) -> str:
    from station.parameters import catalogue

    known = catalogue().get(parameter or "")
    return known.name(language()) if known else parameter or ""
