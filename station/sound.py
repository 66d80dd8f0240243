"""What of a configuration with faults is sound, so that it can be checked further: loaded only when there are any."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from station.loader import Fault

# A table that can be left out by itself; an uplink's own points stand and fall with it.
_TABLE = r"(?<![.\w])(?:(point|uplink)\[(\d+)\]|(bus)\[(\d+)\](?:\.device\[(\d+)\])?)"
# Tables that name one another: a fault in one leaves them all out.
_TOGETHER = ("input", "output", "rule", "alarm", "pair", "dry_flow", "permit", "collector")
_STAND_IN = {"name": "-", "data_folder": "-"}  # for a [station] with faults: nothing else depends on it


class Sound:
    """The tables without faults, and where they stood.

    >>> table = {"point": [{"code": 1}, {"code": "a"}], "colour": "red"}
    >>> sound = Sound(table, [Fault("point[0].code", "1 is no text"), Fault("colour", "unknown key")])
    >>> sound.table
    {'point': [{'code': 'a'}]}
    >>> sound.shown([Fault("point[0].st", 'is already point[0]')])
    [Fault(path='point[1].st', text='is already point[1]')]
    """

    def __init__(self, table: Mapping[str, Any], faults: Sequence[Fault]) -> None:
        self._faulty = {_owner(fault.path) for fault in faults}
        self._stood: dict[str, list[int]] = {}
        self.table = {name: value for name, value in table.items() if name not in self._faulty}
        if any(owner.partition("[")[0] in _TOGETHER for owner in self._faulty):
            self.table = {name: value for name, value in self.table.items() if name not in _TOGETHER}
        if "station" in self._faulty:
            self.table["station"] = _STAND_IN
        for name in ("point", "bus", "uplink"):
            if isinstance(self.table.get(name), list):
                self.table[name] = [self._bus(name, i, one) for i, one in self._kept(name, self.table[name])]

    def _kept(self, path: str, tables: Sequence[Any]) -> list[tuple[int, Any]]:
        kept = [(i, one) for i, one in enumerate(tables) if f"{path}[{i}]" not in self._faulty]
        self._stood[path] = [i for i, _ in kept]
        return kept

    def _bus(self, name: str, index: int, table: Any) -> Any:
        if name != "bus" or not isinstance(table.get("device"), list):
            return table
        return table | {"device": [one for _, one in self._kept(f"bus[{index}].device", table["device"])]}

    def shown(self, found: Iterator[Fault] | Sequence[Fault]) -> list[Fault]:
        """The faults *found* in the sound tables, at the places where these stood; none that a left-out table makes."""
        points = any(owner.startswith("point") for owner in self._faulty)
        lines = any(owner.startswith("bus") for owner in self._faulty)
        placed = (Fault(self._placed(fault.path), self._placed(fault.text)) for fault in found)
        return [
            fault
            for fault in placed
            if not (points and fault.text.startswith("there is no point"))
            and not (lines and fault.text.startswith("there is no module"))
            and _owner(fault.path).partition(".")[0] not in self._faulty
        ]

    def _placed(self, text: str) -> str:
        return re.sub(_TABLE, self._stood_at, text)

    def _stood_at(self, found: re.Match[str]) -> str:
        name, index = found[1] or found[3], int(found[2] or found[4])
        stood = self._stood[name][index]
        if found[5] is None:
            return f"{name}[{stood}]"
        return f"bus[{stood}].device[{self._stood[f'bus[{stood}].device'][int(found[5])]}]"


def _owner(path: str) -> str:
    """The table that a fault at *path* spoils.

    >>> _owner("bus[0].device[2].range.ph[0]"), _owner("uplink[1].point[0].mn"), _owner("station.name"), _owner("bus")
    ('bus[0].device[2]', 'uplink[1]', 'station', 'bus')
    """
    table = re.match(_TABLE, path)
    return table[0] if table else path.partition(".")[0]
