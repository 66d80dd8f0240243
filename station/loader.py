"""TOML tables into frozen dataclasses: every fault at once, each with its place; nothing is coerced.

A class's annotations are its schema and its field names are the keys; bounds come from
`station.model.setting`.  A field whose metadata holds *pick* chooses the class of each table itself.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from station.model import MISSING, Field, dataclass, did_you_mean, fields, is_dataclass

MOST = sys.float_info.max
CONTROL = r"[\x00-\x1f\x7f-\x9f]"  # no name, file or text to send holds one
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_INDEX = r"\[[0-9]+\]"
_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true/false", list: "a list", dict: "a table"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place of a configuration."""

    path: str
    text: str


class Unusable(Exception):
    """The value at a place cannot be used; its faults are already noted."""


def build(cls: type[Any], table: Mapping[str, Any], path: str, faults: list[Fault]) -> Any:
    """An instance of *cls* from *table*; raise Unusable when it has faults, which are added to *faults*."""
    known = {f.name: f for f in fields(cls)}
    hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable; mypy 2.4 doubts type[Any]
    values: dict[str, Any] = {}
    usable = True
    for key in table:
        if key not in known:
            faults.append(Fault(_join(path, key), f"unknown key{did_you_mean(key, known)}"))
            usable = False
    for name, description in known.items():
        place = _join(path, name)
        if name in table:
            try:
                values[name] = _value(hints[name], table[name], place, description, faults)
            except Unusable:
                usable = False
        elif description.default is MISSING and description.default_factory is MISSING:
            faults.append(Fault(place, f"is missing{_meaning(description)}"))
            usable = False
    if not usable:
        raise Unusable
    return cls(**values)


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return get_type_hints(cls)


def _meaning(description: Field[Any]) -> str:
    text = description.metadata.get("text")
    return f" ({text})" if text else ""


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _value(hint: Any, value: Any, place: str, description: Field[Any], faults: list[Fault]) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
        origin = get_origin(hint)
    if origin is tuple:
        return _sequence(get_args(hint), value, place, description, faults)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(get_args(hint)[1], value, place, description, faults)
    pick: Callable[[Mapping[str, Any]], type[Any]] | None = description.metadata.get("pick")
    if pick is not None or is_dataclass(hint):
        if not isinstance(value, dict):
            _complain(faults, place, f"{_show(value)} is {_kind(value)}, not a table")
        try:
            chosen = pick(value) if pick else hint
        except (KeyError, ImportError, ValueError) as error:
            _complain(faults, place, str(error.args[0]))
        return build(chosen, value, place, faults)
    return _scalar(hint, value, place, description, faults)


def _sequence(kinds: tuple[Any, ...], value: Any, place: str, description: Field[Any], faults: list[Fault]) -> Any:
    if not isinstance(value, list):
        tables = description.metadata.get("pick") or is_dataclass(kinds[0])
        hint = f"; write [[{re.sub(_INDEX, '', place)}]]" if isinstance(value, dict) and tables else ""
        _complain(faults, place, f"{_show(value)} is {_kind(value)}, not a list{hint}")
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        _complain(faults, place, f"needs {len(kinds)} values, has {len(value)}")
    items, usable = [], True
    for index, item in enumerate(value):
        kind = kinds[0] if kinds[-1] is Ellipsis else kinds[index]
        try:
            items.append(_value(kind, item, f"{place}[{index}]", description, faults))
        except Unusable:
            usable = False
    if not usable:
        raise Unusable
    return tuple(items)


def _mapping(kind: Any, value: Any, place: str, description: Field[Any], faults: list[Fault]) -> Any:
    if not isinstance(value, dict):
        _complain(faults, place, f"{_show(value)} is {_kind(value)}, not a table")
    items, usable = {}, True
    for key, item in value.items():
        try:
            items[key] = _value(kind, item, _join(place, key), description, faults)
        except Unusable:
            usable = False
    if not usable:
        raise Unusable
    return types.MappingProxyType(items)


def _scalar(kind: Any, value: Any, place: str, description: Field[Any], faults: list[Fault]) -> Any:
    right = type(value) is kind or (kind is float and type(value) is int)  # bool is an int to isinstance
    if not right:
        hint = f'; put it in quotes: "{value}"' if kind is str and type(value) in (int, float) else ""
        _complain(faults, place, f"{_show(value)} is {_kind(value)}, not {_WORDS[kind]}{hint}")
    if kind is str and (control := re.search(CONTROL, value)):
        _complain(faults, place, f"holds the control character U+{ord(control[0]):04X}")
    low, high = description.metadata.get("low"), description.metadata.get("high")
    if kind is float and not -MOST <= value <= MOST:
        _complain(faults, place, f"{value if type(value) is float else 'this'} is not a number that can be used")
    if low is not None and value < low:
        _complain(faults, place, f"{value} is below {low:g}")
    if high is not None and value > high:
        _complain(faults, place, f"{value} is above {high:g}")
    choices = description.metadata.get("choices") or ()
    if choices and value not in choices:
        words = {str(choice): None for choice in choices}
        hint = did_you_mean(str(value), words) if kind is str else ""
        _complain(faults, place, f"{_show(value)} is not one of {', '.join(words)}{hint}")
    return float(value) if kind is float else value


def _complain(faults: list[Fault], place: str, text: str) -> None:
    faults.append(Fault(place, text))
    raise Unusable


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return "this"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), f"a {type(value).__name__}")
