"""How platforms speak HJ 212: three generations, and variants of them, as tables that inherit.

HJ 212-2017 was read in full; the generations of 2005 and 2025 are B or C.  A variant changes a few
habits of whatever generation it is spoken in.  Every habit can be set in [uplink.habits], so that a
platform no table foresees is served without code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from station.model import Kind, Mark, dataclass, did_you_mean, field, fields, replace, setting
from uplink.hj212.frame import ANSWER_BIT, CRC_VARIANTS, SPLIT_BIT, VERSION_SHIFT

ENDS = ("start", "end")
_QN_RTN = frozenset({*range(1, 10), 100})
_EXE_RTN = frozenset({*range(1, 7), 100})


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Everything in which one platform's HJ 212 may differ from another's."""

    standard: str  # the generation
    name: str  # the generation's own, or a variant
    version: int  # Flag bits 7-2
    mn_width: int = 24
    split_digits: int = 4  # width of PNUM and PNO
    crc: str = "hj212"  # of what is received; what is sent always has the standard's
    code: str = "code"  # which of a parameter's codes: Parameter.code or .old_code
    codes: Mapping[str, str] = field(default_factory=dict)  # over the catalogue's
    units: Mapping[str, str] = field(default_factory=dict)
    decimals: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[Mark, str] = field(default_factory=lambda: {mark: mark.name for mark in Mark})
    st: str = ""  # system code where points are not given one
    st_check: str = "known"
    resupply: bool = False  # RF=1 marks what is re-supplied on the station's own account
    heartbeat: bool = False  # 9015 is part of the standard
    heartbeat_seconds: int = 0
    bare: bool = False  # an upload that wants no answer goes without QN and Flag
    flagless: bool = False  # a request without Flag wants an answer
    qn_inside: bool = False  # 9011 to 9014 repeat the QN inside CP
    one_qn: bool = False  # the packets of a split message share a QN
    ack: str = "strict"
    recall_answer: str = "asked"
    minute_datatime: str = "start"
    hour_datatime: str = "start"
    day_datatime: str = "start"
    report_time: str = ""  # 1041 is refused
    alarm_time: str = "AlarmTime"  # of 2072
    alarm_over: str = ""  # AlarmType of an alarm that is over; without it the end is not told
    furnace_flag: bool = False  # 2111 has a Flag where all is normal, too
    noise: str = "data"
    flags: str = "each"
    missing: str = "flag"
    cipher: bool = False  # SM4 is part of the standard
    qn_rtn: frozenset[int] = _QN_RTN  # what 9011 may say; anything else becomes 2
    exe_rtn: frozenset[int] = _EXE_RTN  # what 9012 may say; anything else becomes 2

    def flag(self, *, answer: bool, split: bool = False) -> str:
        """The Flag field (positions of the bits: read in 2017, B for 2025).

        >>> [DIALECTS[name].flag(answer=True) for name in ("2005", "2017", "2025")]
        ['1', '5', '9']
        """
        return str(self.version << VERSION_SHIFT | SPLIT_BIT * split | ANSWER_BIT * answer)

    def ends(self, kind: Kind) -> bool:
        """Whether DataTime names the end of a period of *kind*."""
        name = "minute" if kind is Kind.FURNACE else kind.name.lower()
        return getattr(self, f"{name}_datatime", "start") == "end"


_2017 = Dialect(standard="2017", name="2017", version=1)
DIALECTS: Mapping[str, Dialect] = {
    "2005": replace(
        _2017,
        standard="2005",
        name="2005",
        version=0,
        mn_width=14,
        code="old_code",
        bare=True,
        flagless=True,
        qn_inside=True,
        qn_rtn=frozenset({1, 2, 3}),
        exe_rtn=frozenset({1, 2, 100}),
        marks={**_2017.marks, Mark.B: "D"},  # 2005 has no mark for a broken line (C)
    ),
    "2017": _2017,
    "2025": replace(
        _2017, standard="2025", name="2025", version=2, split_digits=1, resupply=True, heartbeat=True, cipher=True
    ),
}


class Variant(NamedTuple):
    """A row of VARIANTS: what it is, which variant it builds on, where it is spoken, what it changes."""

    text: str
    changes: Mapping[str, Any]
    parent: str = ""
    standards: tuple[str, ...] = ("2005", "2017", "2025")


VARIANTS: Mapping[str, Variant] = {
    "site-dust": Variant("construction-site dust, ST=39 or 22, codes of 2017 in all generations (B)", {"code": "code"}),
    "site-dust-names": Variant(
        "site dust in the older style: plain names, no QN, no Flag, no answers (B)",
        {
            "bare": True,
            "ack": "none",
            "codes": {
                "tsp": "TSP",
                "pm10": "PM10",
                "pm25": "PM25",
                "air_temperature": "TEM",
                "humidity": "RH",
                "wind_direction": "WD",
                "wind_speed": "WS",
                "noise": "B03",
            },
        },
        "site-dust",
    ),
    "ambient-air": Variant("ambient air; set hour_datatime where hours are named by their end", {"code": "code"}),
    "ambient-air-national": Variant(
        "ambient air with the marks of the national platforms (B); M and S have no letter there and stay",
        {"marks": {**_2017.marks, Mark.D: "B", Mark.T: "H"}},
        "ambient-air",
    ),
    "surface-water": Variant(
        "HJ 212 legacy form of surface-water stations: ST=21, Flag 8 and 9, 9015 (C); HJ 1404-2024 was not read",
        {"version": 2, "heartbeat": True, "st": "21"},
        standards=("2017", "2025"),
    ),
    "electricity-44": Variant(
        "electricity use of 2025, ST=44; codes d2iinn and d3iinn (C) depend on the unit: set codes",
        {"st": "44"},
        standards=("2025",),
    ),
    "electricity-80": Variant(
        "provincial electricity supervision, ST=80: a node code with suffixes, one Flag (B)",
        {
            "st": "80",
            "flags": "one",
            "codes": {
                "voltage_l1": "100000-Ua",
                "voltage_l2": "100000-Ub",
                "voltage_l3": "100000-Uc",
                "current_l1": "100000-Ia",
                "current_l2": "100000-Ib",
                "current_l3": "100000-Ic",
                "power_total": "100000-Pt",
                "energy_total": "100000-Ept",
            },
        },
        standards=("2017", "2025"),
    ),
    "electricity-80-points": Variant(
        "the same with a code a quantity, as ea30010101 (B): set codes",
        {"flags": "each", "codes": {}},
        "electricity-80",
        ("2017", "2025"),
    ),
}


def _unset(**rest: Any) -> Any:
    return setting(None, **rest)


def _table(text: str) -> Any:
    return field(default_factory=dict, metadata={"text": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """The [uplink.habits] table: single habits of one platform, over its dialect's."""

    version: int | None = _unset(low=0, high=63, text="version bits of Flag")
    split_digits: int | None = _unset(low=1, high=4, text="digits of PNUM and PNO")
    crc: str | None = _unset(choices=tuple(CRC_VARIANTS), text="check of what the platform sends")
    bare: bool | None = _unset(text="an upload that wants no answer goes without QN and Flag")
    flagless: bool | None = _unset(text="a request without Flag wants an answer")
    qn_inside: bool | None = _unset(text="9011 to 9014 repeat the QN inside CP")
    one_qn: bool | None = _unset(text="the packets of a split message share a QN")
    resupply: bool | None = _unset(text="RF=1 on what is re-supplied; only 2025 has it (B)")
    st_check: str | None = _unset(choices=("known", "own"), text="ST of a request: any of the standard, or the point's")
    recall_answer: str | None = _unset(
        choices=("asked", "never"), text="whether records of a recall want 9014: as the request's Flag says, or never"
    )
    minute_datatime: str | None = _unset(choices=ENDS, text="which end of a minute DataTime names")
    hour_datatime: str | None = _unset(choices=ENDS, text="which end of an hour")
    day_datatime: str | None = _unset(choices=ENDS, text="which end of a day")
    report_time: str | None = _unset(
        choices=("HHMM", "HHMMSS"), text="how 1041 of 2005 is answered (its form is C); without it 1041 is refused"
    )
    alarm_time: str | None = _unset(
        choices=("AlarmTime", "DataTime"), text="name of the time in 2072 of 2005: of two code bases (B), or of one (C)"
    )
    alarm_over: str | None = _unset(text="AlarmType, a digit, of an alarm that is over (C); without it no end is told")
    furnace_flag: bool | None = _unset(text="2111 has its Flag where the mark is N, too")
    noise: str | None = _unset(choices=("data", "average"), text="noise statistics as L5-Data, or L5-Avg with a Flag")
    flags: str | None = _unset(choices=("each", "one"), text="a Flag for each factor, or one for all: the worst")
    marks: Mapping[str, str] = _table("letter of our mark to the platform's letter")
    decimals: Mapping[str, int] = _table("parameter to decimals, where not the catalogue's")

    def changes(self) -> dict[str, Any]:
        """What is set here and nothing else."""
        set_here = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in (None, {})}
        if "marks" in set_here:
            set_here["marks"] = {Mark[name]: letter for name, letter in self.marks.items()}
        return set_here

    def faults(self) -> Iterator[tuple[str, str]]:
        """Place and sentence of what the loader does not see."""
        for name, letter in self.marks.items():
            if name not in Mark.__members__:
                yield f"habits.marks.{name}", f"unknown mark{did_you_mean(name, Mark.__members__)}"
            if not (letter.isascii() and letter.isalnum() and len(letter) == 1):
                yield f"habits.marks.{name}", f'"{letter}" is not one letter or digit'
        if self.alarm_over is not None and not (self.alarm_over.isascii() and re.fullmatch("[02-9]", self.alarm_over)):
            yield "habits.alarm_over", f'"{self.alarm_over}" is not one digit other than 1, which begins an alarm'
        for key, decimals in self.decimals.items():
            if not 0 <= decimals <= 6:
                yield f"habits.decimals.{key}", f"{decimals} is not 0 to 6"


def dialect(standard: str, name: str = "") -> Dialect:
    """The dialect *name* as spoken in *standard*; the generation itself without one.

    >>> dialect("2025", "site-dust-names").ack, dialect("2017", "surface-water").flag(answer=True)
    ('none', '9')
    """
    if not name:
        return DIALECTS[standard]
    variant = VARIANTS[name]
    return replace(dialect(standard, variant.parent), name=name, **variant.changes)


def adapted(base: Dialect, changes: Mapping[str, Any]) -> Dialect:
    """*base* with a platform's own *changes*; marks and decimals are laid over the dialect's.

    >>> adapted(DIALECTS["2017"], {"marks": {Mark.B: "O"}}).marks[Mark.B]
    'O'
    """
    laid = {key: {**getattr(base, key), **changes[key]} for key in ("marks", "decimals") if key in changes}
    return replace(base, **{**changes, **laid})
