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


@cache
def catalogue() -> Mapping[str, Parameter]:
    """Every parameter by its key.

    >>> catalogue()["pm25"].code, catalogue()["pm25"].unit
    ('a34004', 'µg/m³')
    """
    rows = tomllib.loads(Path(__file__).with_name("parameters.toml").read_text(encoding="utf-8"))
    return MappingProxyType({key: _parameter(key, row) for key, row in rows.items()})


def _parameter(key: str, row: dict[str, str | int]) -> Parameter:
    averaging = Averaging(str(row.pop("averaging")))
    return Parameter(key=key, averaging=averaging, **row)  # type: ignore[arg-type]
