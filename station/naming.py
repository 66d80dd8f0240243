"""What people call a parameter or a measuring point, to the word the station uses for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from station.model import WrongArgument, did_you_mean
from station.parameters import catalogue


def parameter_named(word: str) -> str:
    """The key of the parameter with this key, name or HJ 212 code, whatever its case; raise WrongArgument.

    >>> parameter_named("风速"), parameter_named("PM10"), parameter_named("a34002"), parameter_named("pm10")
    ('wind_speed', 'pm10', 'pm10', 'pm10')
    """
    names = {
        one.key: [one.key, *filter(None, (one.zh, one.en, one.code, one.old_code))] for one in catalogue().values()
    }
    return _named(word, "parameter", names, "station status names what is measured")


def point_named(word: str, points: Iterable[Any]) -> str:
    """The code of the point among *points* with this code or name; raise WrongArgument."""
    names = {one.code: [one.code, one.name] for one in points}
    known = ", ".join(code if name == code else f"{code} ({name})" for code, (_, name) in names.items())
    return _named(word, "point", names, f"known: {known}")


def _named(word: str, what: str, names: Mapping[str, list[str]], otherwise: str) -> str:
    if word in names:
        return word
    folded = word.strip().casefold()
    found = [key for key, ways in names.items() if folded in (way.casefold() for way in ways)]
    if len(found) == 1:
        return found[0]
    if found:
        raise WrongArgument(f'"{word}" may be {" or ".join(found)}; say which of them')
    near = did_you_mean(word, dict.fromkeys(way for ways in names.values() for way in ways))
    raise WrongArgument(f'there is no {what} "{word}"{near or "; " + otherwise}')
