"""The catalogue of parameters, read from parameters.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from station.model import Averaging, Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    Rows = dict[str, dict[str, str | int]]

FILE = Path(__file__).with_name("parameters.toml")


@cache
def catalogue() -> Mapping[str, Parameter]:
    """Every parameter by its key.

    >>> catalogue()["pm25"].code, catalogue()["pm25"].unit
    ('a34004', 'µg/m³')
    """
    text = FILE.read_text(encoding="utf-8")
    rows = plain_rows(text)
    if rows is None:
        rows = tomllib.loads(text)
    return MappingProxyType({key: _parameter(key, row) for key, row in rows.items()})


def plain_rows(text: str) -> Rows | None:
    """What tomllib makes of *text* as long as each line is a table, a text or a whole number; None otherwise.

    Four times faster, and the catalogue is the longest file that every start reads.

    >>> plain_rows('[ph]\\nen = "pH"  \\ndecimals = 2')
    {'ph': {'en': 'pH', 'decimals': 2}}
    >>> plain_rows("[ph]\\nen = 'pH'"), plain_rows('[ph]\\nen = "a" # "b"'), plain_rows('en = "a"')
    (None, None, None)
    """
    rows: Rows = {}
    row: dict[str, str | int] = {}
    if not text.replace("\n", "").isprintable():
        return None
    for line in map(str.strip, text.split("\n")):
        if not line or line[0] == "#":
            continue
        name, _, value = line.partition(" = ")
        if line[0] == "[" and line[-1] == "]" and line[1:-1] not in rows and _is_bare(line[1:-1]):
            rows[line[1:-1]] = row = {}
        elif not rows or name in row or not _is_bare(name):
            return None
        elif value[:1] == '"' == value[-1:] and value.count('"') == 2 and "\\" not in value:
            row[name] = value[1:-1]
        elif value.isdecimal() and value.isascii() and (value[0] != "0" or value == "0"):
            row[name] = int(value)
        else:
            return None
    return rows


def _is_bare(key: str) -> bool:
    return key.isidentifier() and key.isascii()


def _parameter(key: str, row: dict[str, str | int]) -> Parameter:
    averaging = Averaging(str(row.pop("averaging")))
    return Parameter(key=key, averaging=averaging, **row)  # type: ignore[arg-type]
