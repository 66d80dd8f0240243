"""The Met One BAM-1020 beta attenuation monitor: one value an hour, asked for as a line of comma fields.

ESC QC CR brings the custom query's last record and ESC QCH CR its header, ESC Q CR and ESC QH CR the standard ones
(BAM-1020-9800 manual rev W p. 94, grade A).  Which fields there are is the instrument's set-up and not in the pages
read, so station.toml says which column is which parameter, and the header has to agree.  How the time is written
and whether it names the hour's end are recalled (D) and settings for that reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar

from drivers.base import BadReply, DeviceError, DeviceSettings, NoReply, ProfileError, closing_delay
from drivers.bus import Bus
from drivers.records import MOST_HELD, NotARecord, number
from drivers.statistics import Statistics
from drivers.stream import ONLY_UNIT
from station.model import Mark, Reason, Sample, dataclass, did_you_mean, field, setting

BAUDRATE = 9600  # as shipped (recalled, D)
REPLY_SECONDS = 3.0
HOUR = timedelta(hours=1)
FAST_CLOCK = timedelta(minutes=30)  # a clock may be ahead so far; its hour is still the right one

# Units of the catalogue, and the words for them a header may hold, each with what brings it there.
UNITS: Mapping[str, Mapping[str, float]] = {
    "µg/m³": {"mg/m3": 1000.0, "ug/m3": 1.0, "µg/m3": 1.0},
    "°C": {"c": 1.0, "degc": 1.0},
    "%": {"%": 1.0},
    "kPa": {"mmhg": 0.133322387, "hpa": 0.1, "mbar": 0.1, "kpa": 1.0},
    "m/s": {"m/s": 1.0, "mps": 1.0},
    "°": {"deg": 1.0},
}
PARAMETERS = dict.fromkeys(("tsp", "pm10", "pm25", "pm1"), "µg/m³") | {
    "air_temperature": "°C",
    "humidity": "%",
    "air_pressure": "kPa",
    "wind_speed": "m/s",
    "wind_direction": "°",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BamSettings(DeviceSettings):
    """The keys of a [[bus.device]] table whose driver is "bam1020"."""

    alone: ClassVar[bool] = True

    columns: Mapping[str, str] = field(
        metadata={"text": 'parameter = the column\'s name as the header has it, such as "Conc(mg/m3)"'}
    )
    column_units: Mapping[str, str] = field(
        default_factory=dict, metadata={"text": "parameter = unit of its column, where the name holds none"}
    )
    query: str = setting("QC", choices=("QC", "Q"), text="which record is asked for: custom or standard")
    time_column: str = setting("Time", text="the column with the record's time")
    time_format: str = setting("%m/%d/%y %H:%M", text="how the time is written (strptime)")
    timezone: str = setting("+08:00", text="what the instrument's clock is set to, as an offset from UTC")
    stamp: str = setting("end", choices=("end", "start"), text="which end of its hour a record's time names")


class Bam1020:
    """A BAM-1020 alone on *bus*; each hour's record is asked for twice and delivered once, dated to its start."""

    Settings = BamSettings

    def __init__(self, settings: BamSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]) -> None:
        self._settings, self._bus, self._now = settings, bus, now
        self._factors = {parameter: factor(settings, parameter) for parameter in settings.columns}
        self._zone = offset(settings.timezone)
        self.name = settings.name
        self.units: Mapping[str, str] = {parameter: PARAMETERS[parameter] for parameter in settings.columns}
        self.every_seconds = 3600.0
        self.closing_seconds = closing_delay(0)  # an hour's record is there when the hour is over
        self.poll_minimum_seconds = 30.0
        self.actions: Mapping[str, Sequence[str]] = {}
        found = f"{bus.settings.baudrate} 8{bus.settings.parity}{bus.settings.stopbits}"
        shipped = f"{BAUDRATE} 8N1"
        self.hints = (
            () if found == shipped else (f"the line is set to {found}, the instrument is shipped with {shipped}",)
        )
        self._header: list[str] = []
        self._last: datetime | None = None  # time of the record delivered last

    @property
    def statistics(self) -> Statistics:
        """What was asked and answered."""
        return self._bus.statistics[ONLY_UNIT]

    def resume(self, last: datetime | None) -> None:
        """The station's newest reading of this instrument, from before it was started: delivered already."""
        self._last = last

    def read(self) -> list[Sample]:
        """The last hour's samples, if they are new; raise DriverError when the instrument does not answer."""
        try:
            if not self._header:
                self._header = self._read_header()
            words = self._answer(self._settings.query, len(self._header))
            row = dict(zip(self._header, words, strict=True))
            time = self._time(row[self._settings.time_column.lower()])
            if time == self._last:
                return []
            # A flipped bit makes another digit and nothing in the line would tell: it has to come the same twice.
            again = self._answer(self._settings.query, len(self._header))
            if again != words:
                raise self._bad("asked twice, it says two things", [",".join(words), ",".join(again)])
        except DeviceError:
            self._header = []  # it may have been set up anew
            raise
        samples = [self._sample(parameter, row, time) for parameter in self._settings.columns]
        self._last = time
        return samples

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing can be ordered."""
        raise DeviceError(f"{self.name}: has no way to {verb}")

    def close(self) -> None:
        """Nothing: the port belongs to the bus."""

    def _read_header(self) -> list[str]:
        header = [word.lower() for word in self._answer(f"{self._settings.query}H", 0)]
        for column in (self._settings.time_column, *self._settings.columns.values()):
            if column.lower() not in header:
                raise self._bad(f"its header has no column {column!r}{did_you_mean(column.lower(), header)}", header)
        return header

    def _answer(self, command: str, count: int) -> list[str]:
        """The comma fields of the answer to ESC *command*: the first line that has *count* of them, or any."""
        self.statistics.requests += 1
        asked_at = self._bus.monotonic()
        self._bus.say(f"\x1b{command}\r".encode())
        held, lines = b"", list[str]()
        deadline = asked_at + REPLY_SECONDS
        while (left := deadline - self._bus.monotonic()) > 0 and len(held) < MOST_HELD:
            held += self._bus.listen(left)
            *whole, _ = re.split(rb"[\r\n]+", held)
            lines = [line.decode("ascii", "replace").strip() for line in whole if b"," in line]
            for line in lines:
                words = [word.strip() for word in line.split(",")]
                if count in (0, len(words)):
                    self.statistics.answered(self._bus.monotonic() - asked_at)
                    return words
        if not held.strip():  # the end of the answer before may come late
            self.statistics.timeouts += 1
            raise NoReply(
                f"{self._bus.settings.port}: no answer of {self.name} to ESC {command} in {REPLY_SECONDS:g} s"
            )
        wanted = f"{count} comma fields" if count else "comma fields"
        raise self._bad(f"no line of {wanted} in answer to ESC {command}", lines or [held.decode("ascii", "replace")])

    def _bad(self, why: str, found: Sequence[str]) -> BadReply:
        self.statistics.bad_replies += 1
        return BadReply(f"{self._bus.settings.port}: {self.name}: {why}; there is {', '.join(found)[:200]!r}")

    def _time(self, text: str) -> datetime:
        """Start of the hour a record with time *text* is about."""
        try:
            stamp = datetime.strptime(text.strip('" '), self._settings.time_format).replace(tzinfo=self._zone)
            start = (stamp - HOUR if self._settings.stamp == "end" else stamp).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self._bad(f"time_format {self._settings.time_format!r} does not fit", [text]) from error
        if start + HOUR > self._now() + FAST_CLOCK:
            raise self._bad("its hour is not over yet; set its clock, or timezone and stamp here", [text])
        return start

    def _sample(self, parameter: str, row: Mapping[str, str], time: datetime) -> Sample:
        text = row[self._settings.columns[parameter].lower()]
        try:
            value = float(f"{number(text) * self._factors[parameter]:.9g}")
        except NotARecord:
            return Sample(parameter, time, None, Mark.D, Reason.NO_VALUE)
        return Sample(parameter, time, value)


def factor(settings: BamSettings, parameter: str) -> float:
    """What brings *parameter*'s column to the catalogue's unit; a unit that is not said is asked for, never guessed."""
    if parameter not in PARAMETERS:
        known = ", ".join(PARAMETERS)
        raise ProfileError(f"columns.{parameter}: is none of {known}{did_you_mean(parameter, PARAMETERS)}")
    column = settings.columns[parameter]
    within = re.search(r"\(([^)]+)\)\s*$", column)
    unit = settings.column_units.get(parameter, within[1] if within else "")
    words = UNITS[PARAMETERS[parameter]]
    if not unit:
        raise ProfileError(f'columns.{parameter}: "{column}" names no unit; say it in column_units')
    if unit.lower() not in words:
        raise ProfileError(f'column_units.{parameter}: "{unit}" is none of {", ".join(words)}')
    return words[unit.lower()]


def offset(text: str) -> timezone:
    """The fixed offset written as ±hh:mm."""
    match = re.fullmatch(r"([+-])(\d\d):(\d\d)", text)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        raise ProfileError(f'timezone: "{text}" is not an offset such as +08:00')
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)
