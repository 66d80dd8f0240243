"""The shared words: what is sampled, marked, averaged, reported and commanded, and what can go wrong.

Standard library only, imported by everything and importing nothing of ours but how value classes are made.

Our errors:

* StationError
  * ConfigError            the configuration cannot be used
  * StoreError             the data folder or the database cannot be used
    * StoreFull            the disk takes nothing any more
    * StoreDamaged         the database is not what it was
    * StoreVersionError    the database was written by another version
  * AlreadyRunning         another station owns the data folder
  * DriverError            an instrument or its line  (drivers/base.py)
  * UplinkError            a platform or the way to it  (uplink/base.py)
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # ours are used as the standard's are
    from dataclasses import MISSING as MISSING
    from dataclasses import Field as Field
    from dataclasses import asdict as asdict
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import is_dataclass as is_dataclass
    from dataclasses import replace as replace
else:
    from station.values import MISSING, Field, asdict, dataclass, field, fields, is_dataclass, replace  # noqa: F401 (handed on: CONTRIBUTING.md says why)


SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)  # the host is short of it: tried again later


class StationError(Exception):
    """Base of every error the station raises on purpose; its text is one sentence for a person.

    *exit_code* is what a command ends with when the error stops it (sysexits.h where it has a name).
    """

    exit_code = 1

    @property
    def outcome(self) -> Outcome:
        """How a command ends that it stopped."""
        return Outcome.TIMED_OUT if isinstance(self, TimeoutError) else Outcome.FAILED


class ConfigError(StationError, ValueError):
    """Error raised when the configuration cannot be used."""

    exit_code = 78  # EX_CONFIG


class StoreError(StationError, OSError):
    """Error raised when the data folder or the database cannot be used."""

    exit_code = 74  # EX_IOERR


class StoreFull(StoreError):
    """Error raised when the disk of the database is full."""


class StoreDamaged(StoreError):
    """Error raised when the database cannot be read where it should be: the next start puts it aside."""


class StoreVersionError(StoreError):
    """Error raised when the database was written by another version of the station."""

    exit_code = 65  # EX_DATAERR


class AlreadyRunning(StationError):
    """Error raised when another station owns the data folder."""

    exit_code = 75  # EX_TEMPFAIL


class WrongArgument(StationError, ValueError):
    """Error raised when a command is given an argument it cannot use."""

    exit_code = 2  # as click's usage errors


class Mark(enum.IntEnum):
    """Quality mark of a value (HJ 212-2017 table 8), ordered so that the worst of several wins.

    The order puts causes above symptoms: during maintenance or calibration an out-of-range value or
    a fault bit is expected, so M and C outrank T and D; B outranks all, since nothing was received.

    >>> max(Mark.T, Mark.C).name
    'C'
    """

    N = 0  # normal
    S = 1  # entered by hand
    T = 2  # above the measuring range
    D = 3  # instrument fault, or a value that cannot be
    C = 4  # calibrating
    M = 5  # under maintenance
    F = 6  # instrument stopped
    B = 7  # no communication with the instrument


class Reason(enum.IntEnum):
    """Why a value carries its mark, or why a reading could not be had; stored beside the mark."""

    NONE = 0
    ABOVE_RANGE = 1
    BELOW_RANGE = 2
    NO_VALUE = 3  # the instrument sent its "no value" sentinel
    STATUS = 4  # a status register of the instrument said so
    NO_REPLY = 5
    BAD_REPLY = 6  # wrong CRC, length, unit or function
    EXCEPTION = 7  # the instrument answered with a Modbus exception
    PORT_LOST = 8
    BACKING_OFF = 9  # not asked: the unit is being probed at longer intervals
    NOT_A_NUMBER = 10
    WARMING_UP = 11
    NOT_READY = 12  # a step of its measurement did not end in time
    LOOP_BROKEN = 13  # 4–20 mA: below 3.6 mA, or the module says so
    LOOP_HIGH = 14  # 4–20 mA: above 21 mA, the transmitter reports its own failure
    # Beside a value (station/conditions.py): it stays in every mean.  Of these the larger is stored, all are records.
    ON_BATTERY = 20
    CONTACT = 21  # a level switch or contact that is named for the point
    DOOR_OPEN = 22
    SPRAYING = 23  # a fog cannon or sprinkler runs, or ran a moment ago
    # Beside a normal value that looks odd (station/suspicion.py): it stays in every mean.
    CONSTANT = 30  # it has stood still
    SPIKE = 31  # far from the last ones
    RATE = 32  # changed faster than believable
    PM_ORDER = 33  # PM2.5 above PM10 above TSP
    NITROGEN_ORDER = 34  # ammonia nitrogen above total nitrogen
    LEVEL_ORDER = 35  # L90 above L50 above L10
    HUMID = 36  # optical dust in fog
    NEGATIVE = 37  # a concentration below zero: noise about zero, or a zero that has drifted
    COUNTER_NOUGHT = 38  # a counter that had counted shows 0: one bad reading, a restart or another meter


class Kind(enum.IntEnum):
    """What a report is about."""

    REALTIME = 1
    MINUTE = 2
    HOUR = 3
    DAY = 4
    POWER_ON = 5
    # What is told when it happens, from records of the same name (station/records.py):
    RAW = 6
    EQUIPMENT = 7
    EQUIPMENT_HOURS = 8
    NOISE = 9
    CHECK = 10
    KEPT_SAMPLE = 11
    IDENTITY = 12
    SITE_INFO = 13
    ALARM = 14
    # A period of its own, of one parameter (station/furnace.py):
    FURNACE = 15
    # The head of the sealed blocks, from records of that name (station/heading.py):
    SEAL_HEAD = 16
    # A still of a camera, from records of that name (station/snapshots.py):
    SNAPSHOT = 17


class Averaging(enum.StrEnum):
    """How readings of one parameter become the value of a period."""

    MEAN = "mean"
    VECTOR = "vector"  # directions
    ENERGY = "energy"  # sound levels (Leq)
    SUM = "sum"  # increments of a counter
    LAST = "last"  # a total, reported as it stands
    MAX = "max"
    MIN = "min"


class Lane(enum.IntEnum):
    """Which of a platform's two lines of work a message travels in."""

    LIVE = 1
    HISTORY = 2


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the catalogue: what can be measured, in which unit, and its HJ 212 codes."""

    key: str
    en: str
    zh: str
    unit: str
    decimals: int
    averaging: Averaging
    code: str | None = None  # HJ 212-2017
    old_code: str | None = None  # HJ/T 212-2005
    suffix: str = "Rtd"  # noise statistics carry "Data"

    def name(self, language: str) -> str:
        """The name an operator reads, in *language* ("zh" or "en")."""
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True, slots=True)
class Sample:
    """One value as decoded from an instrument, in the unit of the catalogue.

    *value* is None where the instrument answered but had no value; *time* is aware.
    """

    parameter: str
    time: datetime
    value: float | None
    mark: Mark = Mark.N
    reason: Reason = Reason.NONE


@dataclass(frozen=True, slots=True)
class Reading:
    """A calibrated, marked value at a measuring point; *raw* is what the instrument said.

    *heard* is when it came, in seconds of the clock that never steps, and *taken* what *time* is on that clock, where
    that is known; neither is stored.
    """

    device: str
    point: str
    parameter: str
    time: datetime
    raw: float | None
    value: float | None
    mark: Mark = Mark.N
    reason: Reason = Reason.NONE
    heard: float = field(default=0.0, compare=False)
    taken: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Average:
    """One parameter over one period, from readings marked N only; unrounded, in the catalogue's unit.

    *valid* of *total* readings were normal, *expected* is what the poll interval promised; *parts* are the shorter
    periods that were valid and entered.  In a REALTIME report *mean* is the latest reading and the extremes are None.
    An *indicative* value was reckoned from others that are no measurement of it, such as Leq from slow readings.
    Of a discharge, *load_kg* is what was carried away, *converted* the mean at reference oxygen.
    """

    parameter: str
    mean: float | None
    minimum: float | None = None
    maximum: float | None = None
    mark: Mark = Mark.N
    valid: int = 0
    total: int = 0
    expected: int = 0
    parts: int = 0
    indicative: bool = False
    load_kg: float | None = None
    converted: float | None = None
    sampled: datetime | None = None  # in a REALTIME report: when the sample was taken, of what is dated back

    @property
    def share(self) -> float:
        """Share of valid data in the period, 0 to 1."""
        return min(1.0, self.valid / self.expected) if self.expected else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one measuring point has to say about one period (or one moment), before it is worded.

    *start* is the start of the period, or the moment of a REALTIME or POWER_ON report.  *record* is what a report of
    something that happened is about; *asked* says that the platform asked for it, whatever it takes otherwise.
    """

    kind: Kind
    point: str
    start: datetime
    averages: Sequence[Average] = ()
    version: int = 1
    record: Record | None = None
    asked: bool = False
    minutes: int = 1  # how many a MINUTE report spans
    added: Sequence[str] = ()  # of a later version: parameters that no version before had


@dataclass(frozen=True, slots=True)
class Message:
    """A report as worded for one platform, digits frozen; *resupply* is true outside the live lane."""

    id: int
    kind: Kind
    point: str
    start: datetime
    version: int
    text: str
    resupply: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """What a platform asks of the station, as a verb of station/commands.py.

    *arguments* are in the station's own words: times as ISO 8601 with offset, durations in seconds,
    a kind by its name.  *identity* makes a repetition recognisable, *issued* is when the platform
    says it asked; both come from the protocol (HJ 212: the QN).
    """

    verb: str
    platform: str
    point: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    issued: datetime | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Something found, done or counted that is no reading: a check, an exposure, an hour of a line's statistics.

    *kind* says what *body* holds (values that JSON can carry, in the station's own words); *point* and *device*
    are "" where it belongs to none.  Kept once, never changed: what is learnt later is a record of its own.
    """

    kind: str
    at: datetime
    body: Mapping[str, Any]
    point: str = ""
    device: str = ""
    id: int = 0  # given by the store


class Outcome(enum.Enum):
    """How a command ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CONDITIONS = "conditions not met"
    TIMED_OUT = "timed out"
    BUSY = "busy"
    FAULT = "system fault"
    NO_DATA = "no data"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a command; *values* answer it, *reason* says why it was not done.

    *records* are the messages a recall brings, oldest first, read as they are sent: only the
    uplink's own thread may iterate over them.  A None: nothing was found yet, what else is to do may be done.
    """

    outcome: Outcome
    values: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    records: Iterable[Message | None] = ()


def setting(
    default: Any = ...,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] = (),
    text: str = "",
) -> Any:
    """A field of a settings class with its bounds and its meaning, read by the configuration loader.

    Bounds are inclusive.  Without *default* the key is required.
    """
    metadata = {"low": low, "high": high, "choices": tuple(choices), "text": text}
    if default is ...:
        return field(metadata=metadata)
    if isinstance(default, list | dict | set):
        raise TypeError("a default is shared: use a tuple, or field(default_factory=...)")
    return field(default=default, metadata=metadata)


def line_in(text: str, path: str) -> int | None:
    """The line where *path*, such as bus[0].name, or the nearest thing around it stands in a TOML *text*.

    >>> line_in("[[bus]]\\nname = 1\\n", "bus[0].name[2]"), line_in("", "bus")
    (2, None)
    """
    from station.places import line_of, locate  # only what is wrong pays for it

    return line_of(path, locate(text))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest of the *known* words, or nothing.

    >>> did_you_mean("buadrate", ["baudrate", "parity"]), did_you_mean("x", ["baudrate"])
    ('; did you mean baudrate?', '')
    """
    from difflib import get_close_matches  # only what is wrong pays for it

    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
