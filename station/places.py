"""Where in a TOML text something stands: tomllib gives no positions."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HEADER = r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?"
_KEY = r"""^\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)\s*(?:=|\.)"""


def locate(text: str) -> dict[str, int]:
    """Line number of every table and key of a TOML *text*, by path (tomllib gives no positions).

    >>> locate("[[bus]]\\nname = 'a'\\n[[bus.device]]\\nunit_id = 3\\n")
    {'bus[0]': 1, 'bus[0].name': 2, 'bus[0].device[0]': 3, 'bus[0].device[0].unit_id': 4}
    """
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(_HEADER, line):
            prefix = ""
            parts = [part.strip().strip("\"'") for part in header[2].split(".")]
            for part in parts[:-1]:
                prefix = _indexed(_join(prefix, part), counts)
            prefix = _join(prefix, parts[-1])
            if header[1] == "[[":
                counts[prefix] = counts.get(prefix, 0) + 1
                prefix = _indexed(prefix, counts)
            lines.setdefault(prefix, number)
        elif key := re.match(_KEY, line):
            lines.setdefault(_join(prefix, key[1].strip("\"'")), number)
    return lines


def _indexed(path: str, counts: Mapping[str, int]) -> str:
    return f"{path}[{counts[path] - 1}]" if path in counts else path


def line_of(path: str, lines: Mapping[str, int]) -> int | None:
    """The line of *path*, or of the nearest thing around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
