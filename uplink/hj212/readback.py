"""What a text that was made for a platform says of each parameter: its digits as they stand, and its mark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from station.model import Average, Kind, Mark
from uplink.hj212.frame import factors
from uplink.hj212.messages import Wording


class Told(NamedTuple):
    """One parameter in a text: *digits* are the text's own ("" where it has no value), *unit* the platform's."""

    digits: str
    mark: Mark
    unit: str


def told(wording: Wording, units: Mapping[str, str], kind: Kind, text: str) -> dict[str, Told]:
    """What *text* says of each parameter that *wording* has a code for, and its DataTime under that name.

    *units* are those that are not the catalogue's.  Of a period its mean counts, of a counter its total.  Of marks that
    the dialect writes alike the least counts (N, or D where B is written so, too); a letter nobody knows is a fault.
    """
    said = factors(text)
    letters: dict[str, Mark] = {}
    for mark, letter in wording.dialect.marks.items():
        letters[letter] = min(mark, letters.get(letter, mark))
    whole = said.get("", {}).get("Flag")
    found = {"DataTime": Told(said.get("", {}).get("DataTime", ""), Mark.N, "")}
    for key, factor in wording.factors.items():
        code, dash, name = factor.code.partition("-")
        values = said.get(code)
        if values is None:
            continue
        suffixes = [suffix for suffix, _ in factor.named(kind, Average(key, None))]
        chosen = name if dash else "Avg" if "Avg" in suffixes else suffixes[0]
        if chosen not in values and "Flag" not in values:
            continue
        digits, flag = values.get(chosen, ""), values.get("Flag", whole)
        mark = Mark.N if flag is None and digits else letters.get(flag or "", Mark.D)
        found[key] = Told(digits, mark, units.get(key, ""))
    return found
