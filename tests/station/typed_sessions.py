"""One description for each procedure, the instrument it is done at, and what is left on record and in force."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drivers.emulated import EmulatedUnit
from drivers.emulator import EmulatedBus, emulated_bus
from station.calibration_entry import calibration_book
from station.calibration_run import Book, Run
from station.config import load
from station.fieldbook import BEGINNING, END
from station.marks import KIND as MARKS
from station.model import Record, asdict
from station.store import Store, connect
from tests.station.commands import configure
from tests.station.conftest import Rig
from tests.station.typed import Processes, Typed, typed

USER, SERIAL = "Wang Fang", "PM-42"
DUST, CELL, PROBE, POINTS, Y532 = "deltaohm-pmsense", "rs485-load-cell", "probe", "points", "yosemitech-y532"
# K and B of the Yosemitech family, without its wiper and its mean of ten, and behind a lock as other makes have one.
PROBE_PROFILE = """
title = "probe"
baudrate = 9600
unit_id = 1
bridge_gaps = false
[[register]]
parameter = "ammonia_nitrogen"
table = "holding"
address = 0x2800
type = "f32"
order = "DCBA"
unit = "mg/L"
example = 7.625
[[register]]
parameter = "serial_number"
table = "holding"
address = 0x0900
type = "ascii"
length = 7
example = "YL6818040001"
[[unlock]]
do = "write"
address = 5
values = [0x5AA5]
[[lock]]
do = "write"
address = 5
values = [0]
[[coefficients]]
parameters = ["ammonia_nitrogen"]
slope = { address = 0x3400, type = "f32", order = "DCBA" }
intercept = { address = 0x3402, type = "f32", order = "DCBA" }
"""
# Begin, two standards, confirmed with name and date, or given up: as the Aqualabo probes, which want more time.
POINTS_PROFILE = """
title = "probe with steps"
baudrate = 9600
unit_id = 1
bridge_gaps = false
[[register]]
parameter = "ph"
table = "holding"
address = 0x55
type = "f32"
unit = ""
example = 7.625
[[action]]
verb = "calibrate"
type = "begin"
step = [{ do = "write", address = 0x14C, values = [0, 0] }]
[[action]]
verb = "calibrate"
type = "point"
number = 1
step = [{ do = "write", address = 0x204, given = "standard", type = "f32", example = 4 }]
[[action]]
verb = "calibrate"
type = "point"
number = 2
step = [{ do = "write", address = 0x206, given = "standard", type = "f32", example = 10 }]
[[action]]
verb = "calibrate"
type = "end"
step = [{ do = "write", address = 0x28E, given = "operator", type = "ascii", length = 8, example = "Wang Fang" }]
[[action]]
verb = "calibrate"
type = "cancel"
step = [{ do = "write", address = 0x14C, values = [0, 1] }]
"""
HOUR = timedelta(hours=1)
SERIES_START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Session:
    """A procedure as a person goes through it: at which instrument, with which standards, in how many answers.

    The element of the instrument gives *line* of what it is put in; *former* is the calibration in force before, the
    station's, or the instrument's where *inside*.  Behind the write *stays_from* giving up says that the instrument
    keeps what it made (0: it never does).
    """

    procedure: str
    answers: int
    begins: int  # behind so many answers it is on record
    standards: Sequence[str] = ()
    shown: Sequence[float] = ()  # typed from a display
    profile: str = DUST
    parameter: str = "pm25"
    st: str = "39"
    more: Sequence[str] = ()
    line: tuple[float, float] = (0.8, 2.0)
    former: tuple[float, float] = (1.1, -0.5)
    leaves: tuple[float, float] | None = None  # the coefficients in force afterwards; None: the former ones
    inside: bool = False
    stays_from: int = 0
    gives: Mapping[float, float] = field(default_factory=dict)  # of a standard, what it is put in
    in_force: str = "K1: on record; nothing was changed"
    name: str = ""
    poll: int = 60  # seconds; so rarely that the line is free for what is asked
    writes: int = 0  # words that the instrument is told, unlocking and locking with them

    def __str__(self) -> str:
        return self.name or self.procedure

    @property
    def measured(self) -> int:
        """How many times a person puts something in that is measured then."""
        if self.procedure in ("k-factor", "flow-check"):
            return 0
        return 3 if self.procedure == "repeat-check" else len(self.standards)


PUT = "K1: in force; values stay marked C for the tail"
IN_IT = "K1: in force in the instrument; values stay marked C for the tail"
TEN = ("0", "10", "20", "30", "40", "50", "60", "70", "80", "90,GBW-17,2,2099-06-30")
_SET = Session("", 0, 0, in_force=PUT)
_CELL = replace(_SET, profile=CELL, parameter="collector_mass", more=("--full-scale", "500"))
_INSIDE = Session(
    "", 0, 0, profile=PROBE, parameter="ammonia_nitrogen", st="32", former=(1.05, 0.1), inside=True, line=(0.8, 0.5),
    in_force=IN_IT, writes=3,
)  # fmt: skip
_ITSELF = replace(_CELL, former=(1.0, 0.0), inside=True, stays_from=1, in_force=IN_IT, writes=3)
_PH = replace(_INSIDE, parameter="ph", former=(1.0, 0.0))

IN_STATION = [
    replace(_SET, procedure="zero", answers=6, begins=4, standards=["0"], leaves=(1.1, -2.2)),
    replace(
        _SET, procedure="span", answers=6, begins=4, standards=["100,GBW-17,2,2099-06-30"], leaves=(100.5 / 82, -0.5)
    ),
    replace(_SET, procedure="two-point", answers=8, begins=5, standards=["0", "100,GBW-17"], leaves=(1.25, -2.5)),
    replace(_SET, procedure="multi-point", answers=11, begins=7, standards=["0", "50", "100"], leaves=(1.25, -2.5)),
    replace(
        _SET, procedure="multi-point", answers=24, begins=13, standards=TEN, leaves=(1.25, -2.5), name="ten-points"
    ),
]
BESIDE = [
    replace(
        _CELL, procedure="weights", answers=11, begins=7, standards=["0", "100,F1-7", "200,F1-8"], leaves=(1.25, -2.5)
    ),
    replace(_SET, procedure="k-factor", answers=5, begins=3, leaves=(0.5, 0.0)),
    Session("check", 8, 6, ["10", "100,GBW-17"]),
    Session("repeat-check", 7, 4, ["100,GBW-17"], more=("--times", "3")),
    Session("flow-check", 8, 6, ["16.7,FL-3", "16"], shown=[17, 16.5], former=(1.0, 0.0)),
]
IN_INSTRUMENT = [
    replace(_INSIDE, procedure="two-point", answers=7, begins=4, standards=["0", "10,GSB-05"], leaves=(1.25, -0.625)),
    replace(_INSIDE, procedure="zero", answers=5, begins=3, standards=["0"], leaves=(1.05, -0.525)),
    replace(_INSIDE, procedure="span", answers=5, begins=3, standards=["10"], leaves=(1.05 / 0.9025, 0.1 / 0.9025)),
]
BY_ITSELF = [
    replace(
        _ITSELF, procedure="instrument-zero", answers=5, begins=4, standards=["0"], line=(1.0, 3.0), leaves=(1.0, -3.0)
    ),
    replace(
        _ITSELF,
        procedure="instrument-span",
        answers=5,
        begins=4,
        standards=["100,F1-7"],
        line=(0.8, 0.0),
        leaves=(1.25, 0.0),
    ),
    replace(
        _PH,
        procedure="ph-buffers",
        answers=8,
        begins=5,
        standards=["", "", ""],
        profile=Y532,
        writes=3,
        gives={4.0: 3.5, 6.86: 6.3, 9.18: 8.6},
    ),
    replace(
        _PH,
        procedure="instrument-points",
        answers=8,
        begins=6,
        standards=["4", "10"],
        profile=POINTS,
        writes=4,
        stays_from=3,
        leaves=(1.25, -0.625),
    ),
]


class Place:
    """An instrument on the line of a station, as a *session* finds it; *given* is what it is put into."""

    def __init__(self, folder: Path, session: Session, processes: Processes) -> None:
        self.folder, self.session, self.processes = folder, session, processes
        self.config = configure(folder, *_changes(folder, session))
        (folder / "profiles").mkdir(exist_ok=True)
        for name, text in ((PROBE, PROBE_PROFILE), (POINTS, POINTS_PROFILE)):
            (folder / "profiles" / f"{name}.toml").write_text(text, encoding="utf-8")
        self.loaded = load(self.config)
        (bus,) = self.loaded.config.bus
        self.given, self.noise = 0.0, [0.0]
        self._turn = 0
        self.line: EmulatedBus = emulated_bus(  # type: ignore[assignment, call-overload]
            bus, bus.device, folders=self.loaded.profile_folders, values={"dust": self}, link=Path(bus.port), pace=False
        )
        self.unit: EmulatedUnit = self.line.units[1]
        if session.inside:
            self.unit.calibrator._set(session.parameter, session.former)

    def __call__(self) -> dict[str, float]:
        slope, intercept = self.session.line
        self._turn += 1
        return {self.session.parameter: slope * self.given + intercept + self.noise[self._turn % len(self.noise)]}

    def words(self) -> list[str]:
        """What is typed behind `station calibrate`."""
        quick = ("--readings", "3", "--stay", "0", "--every", "0.005", "--wait", "8")
        return ["dust", self.session.parameter, *self.session.more, *quick, "--config", str(self.config)]

    def calibrate(self, *more: str, language: str = "en") -> Any:
        """The command on a terminal."""
        return typed(self.processes, *self.words(), *more, language=language)

    # -- the person

    def answer(self, key: str, found: re.Match[str]) -> str:
        """What a person types to the question *key*."""
        session = self.session
        match key:
            case "ask_user":
                return "" if "[" in found[0] else USER
            case "ask_procedure":
                return session.procedure
            case "ask_standard" | "ask_further":
                number = int(found["number"])
                return session.standards[number - 1] if number <= len(session.standards) else ""
            case "ask_serial":
                return "" if "[" in found[0] else SERIAL
            case "put_in":
                value = float(found["value"].split()[0])
                self.given = session.gives.get(value, value)
                return ""
            case "ask_shown":
                return str(session.shown[int(found["number"]) - 1])
            case "ask_reference":
                return str(self.folder / "reference.csv")
            case "ask_write" | "ask_instrument":
                return "y"
        raise AssertionError(f"asks {found[0]!r}, which nobody expected")

    def answer_all(self, person: Typed, most: int = 100) -> tuple[str, re.Match[str]] | None:
        """Answer until *most* questions are answered, or it ends; the question that is open then."""
        while (asked := person.question()) is not None and person.asked < most:
            person.type(self.answer(*asked))
        return asked

    # -- what is left

    @property
    def book(self) -> Book:
        """All calibrations on record."""
        if not self.loaded.database.exists():
            return Book()
        with closing(Store(connect(self.loaded.database, read_only=True), "")) as store:
            return calibration_book(store)

    def record(self) -> dict[str, Any]:
        """The run on record and the marks it left, without the times."""
        (run,) = self.book.runs.values()
        with closing(Store(connect(self.loaded.database, read_only=True), "")) as store:
            marks = store.records(MARKS, BEGINNING, END)
        told: dict[str, Any] = json.loads(json.dumps(_timeless(asdict(run)), default=str))
        return {"run": told, "marks": [_mark(one) for one in sorted(marks, key=lambda one: one.id)]}

    @property
    def run(self) -> Run:
        """The only run there is."""
        (run,) = self.book.runs.values()
        return run

    @property
    def coefficients(self) -> tuple[float, float]:
        """Those in force: the station's, or the instrument's where it is calibrated inside."""
        if self.session.inside:
            return self.unit.calibrator._line(self.session.parameter)
        found = self.book.in_force.get(("dust", self.session.parameter))
        return found[0] if found is not None else self.session.former


def _changes(folder: Path, session: Session) -> list[tuple[str, str]]:
    """What is another in the fakes' station.toml."""
    every = 300 if session.procedure == "k-factor" else session.poll
    slope, intercept = session.former
    own = "" if session.inside else f"calibration = {{ {session.parameter} = [{slope}, {intercept}] }}\n"
    both = f'parameters = ["{session.parameter}"]\n' if session.profile != DUST else 'parameters = ["pm25", "pm10"]\n'
    return [
        ("poll_seconds = 5", f"poll_seconds = {every}"),
        ('port = "port"', f'port = "{folder}/port"\ngap_ms = 0'),
        ('profile = "deltaohm-pmsense"', f'profile = "{session.profile}"'),
        ('parameters = ["pm25", "pm10"]\n', both + own),
        ('st = "39"', f'st = "{session.st}"'),
        *([('baudrate = 19200\nparity = "E"', "baudrate = 9600")] if session.profile != DUST else []),
    ]


def _timeless(value: Any) -> Any:
    """*value* without moments: what a run says of when."""
    if isinstance(value, Mapping):
        times = ("at", "begun", "ended", "valid_from", "tell_at")
        return {key: _timeless(one) for key, one in value.items() if key not in times}
    if isinstance(value, (list, tuple)):
        return [_timeless(one) for one in value if not _is_moment(one)]
    return value


def _is_moment(value: Any) -> bool:
    return isinstance(value, datetime) or (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value) is not None)


def _mark(record: Record) -> tuple[str, ...]:
    return tuple(str(record.body.get(key, "")) for key in ("do", "name", "mark", "parameter", "reason", "user"))


# -- hours for a factor

_LIVED: list[Path] = []  # a data folder with the hours in it


def twelve_hours(place: Place) -> None:
    """Half a day of readings with a mean of 51 µg/m³, and the file of a reference that has half of it."""
    if not _LIVED:
        _live(place.folder.parent / "hours", place.config.read_text(encoding="utf-8"))
        _LIVED.append(place.folder.parent / "hours" / "data")
    shutil.copytree(_LIVED[0], place.folder / "data", dirs_exist_ok=True)
    hours = [SERIES_START + n * HOUR for n in range(12)]
    lines = [f"{hour.isoformat()},{25 + n % 2}" for n, hour in enumerate(hours)]
    (place.folder / "reference.csv").write_text("hour,value\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _live(folder: Path, config: str) -> None:
    folder.mkdir()
    rig = Rig(folder, config, SERIES_START + timedelta(seconds=1))
    for hour in range(12):
        rig.instrument.show(pm25=50.0 + 2 * (hour % 2))
        rig.run(3600, 300)
    rig.engine.shut_down()


__all__ = ["BESIDE", "BY_ITSELF", "IN_INSTRUMENT", "IN_STATION", "Place", "Session", "twelve_hours"]
