"""What HJ 212 messages say: commands and codes as tables, and the wording of a report.

Facts of HJ 212-2017 come from its full text.  HJ/T 212-2005 and HJ 212-2025 were not read: their rows
come from projects that quote them (confidence B, or C where one source stands alone) and each is a
setting somewhere, so that a platform that differs can be served.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple, TypeGuard

from station.model import Average, Averaging, ConfigError, Kind, Mark, Outcome, Parameter, Report, dataclass
from uplink.hj212.dialects import Dialect
from uplink.hj212.frame import (
    CP_LIMIT,
    SEGMENT_LIMIT,
    SPLIT_BIT,
    VERSION_SHIFT,
    FrameTooLong,
    Segment,
    factors,
    fence,
    pairs,
)

# -- systems and commands

INTERACTION = "91"  # the ST of every answer that is no data

SYSTEMS: Mapping[str, str] = {
    "21": "surface water quality",
    "22": "ambient air quality",
    "23": "ambient noise",
    "24": "groundwater quality",
    "25": "soil quality",
    "26": "sea water quality",
    "27": "volatile organic compounds",
    "31": "air pollution source",
    "32": "surface-water source",
    "33": "groundwater source",
    "34": "marine source",
    "35": "soil source",
    "36": "noise source",
    "37": "vibration source",
    "38": "radiation source",
    "39": "construction-site dust source",
    "41": "electromagnetic source",
    "44": "electricity use",  # 2025 (B)
    "45": "key production conditions",  # 2025 (B)
    "51": "flue-gas process",
    "52": "waste-water process",
    "91": "system interaction",
}


class Row(NamedTuple):
    """One command in one direction: *kind* is R (request), U (upload), N (notice) or A (answer)."""

    cn: str
    direction: str  # "down" platform to station, "up" station to platform
    kind: str
    purpose: str
    fields: str = ""
    since: str = "2005"
    until: str = "2025"
    verb: str = ""  # what the station does about a request; without one it is refused

    def spoken(self, standard: str) -> bool:
        """Whether *standard* knows this command."""
        return self.since <= standard <= self.until


# HJ 212-2017 appendix C (read); rows of 2005 and 2025 are B, 2005's numbering of the rest is assumed.
COMMANDS: Sequence[Row] = (
    Row("1000", "down", "R", "set time-out and resend count", "OverTime, ReCount", verb="set_timeouts"),
    Row("1001", "down", "R", "set alarm-limit time", until="2005"),
    Row("1001", "up", "N", "report hardware numbers before activation", "i23005-Info … i23008-Info", "2025"),
    Row("1002", "down", "R", "assign the MN", "i23005-Info", "2025", verb="set_mn"),
    Row("1011", "down", "R", "read the clock", "PolId", verb="read_clock"),
    Row("1011", "up", "A", "clock", "PolId, SystemTime"),
    Row("1012", "down", "R", "set the clock", "PolId, SystemTime", verb="set_clock"),
    Row("1013", "up", "N", "ask for the clock to be set", "PolId", "2017"),
    Row("1014", "up", "N", "ask for a new SM4 key", "SKCreateTime", "2025"),
    Row("1014", "down", "R", "set a new SM4 key", "SKCreateTime, NewSK", "2025", verb="set_key"),
    Row("1021", "down", "R", "read alarm limits", until="2005"),
    Row("1022", "down", "R", "set alarm limits", until="2005"),
    Row("1031", "down", "R", "read the platform's address", until="2005"),
    Row("1032", "down", "R", "set the platform's address", until="2005"),
    Row("1041", "down", "R", "read the daily report time", until="2005", verb="read_report_time"),
    Row("1041", "up", "A", "daily report time", "ReportTime", until="2005"),
    Row("1042", "down", "R", "set the daily report time", until="2005"),
    Row("1061", "down", "R", "read the real-time interval", verb="read_realtime_interval"),
    Row("1061", "up", "A", "real-time interval", "RtdInterval"),
    Row("1062", "down", "R", "set the real-time interval", "RtdInterval", verb="set_realtime_interval"),
    Row("1063", "down", "R", "read the minute-data interval", "", "2017", verb="read_minute_interval"),
    Row("1063", "up", "A", "minute-data interval", "MinInterval", "2017"),
    Row("1064", "down", "R", "set the minute-data interval", "MinInterval", "2017", verb="set_minute_interval"),
    Row("1072", "down", "R", "set the password", "NewPW", verb="set_password"),
    Row("2011", "down", "R", "start real-time upload; history with BeginTime (2025, C)", verb="start_realtime"),
    Row("2011", "up", "U", "real-time data", "DataTime; SampleTime of an analyser (from 2017 on), Rtd, Flag"),
    Row("2012", "down", "N", "stop real-time upload", verb="stop_realtime"),
    Row("2013", "down", "R", "query raw periodic measurements", "BeginTime, EndTime", "2025", verb="recall"),
    Row("2013", "up", "U", "raw periodic measurements", "SampleTime, CompleteTime, SampleType, Avg", "2025"),
    Row("2021", "down", "R", "start equipment-status upload", verb="start_equipment"),
    Row("2021", "up", "U", "equipment status", "DataTime; SBn-RS"),
    Row("2022", "down", "N", "stop equipment-status upload", verb="stop_equipment"),
    Row("2031", "down", "R", "query daily data", "BeginTime, EndTime", verb="recall"),
    Row("2031", "up", "U", "daily data", "DataTime; Cou, Min, Avg, Max, Flag"),
    Row("2041", "down", "R", "query daily equipment running time", "BeginTime, EndTime", verb="recall"),
    Row("2041", "up", "U", "daily equipment running time", "DataTime; SBn-RT"),
    Row("2051", "down", "R", "query minute data", "BeginTime, EndTime", verb="recall"),
    Row("2051", "up", "U", "minute data", "DataTime; Cou, Min, Avg, Max, Flag"),
    Row("2052", "down", "R", "query single noise measurements", "BeginTime, EndTime", "2025", verb="recall"),
    Row("2052", "up", "U", "single noise measurement", "DataTime; Data", "2025"),
    Row("2061", "down", "R", "query hourly data", "BeginTime, EndTime", verb="recall"),
    Row("2061", "up", "U", "hourly data", "DataTime; Cou, Min, Avg, Max, Flag"),
    Row("2062", "down", "R", "query standard-sample checks", "BeginTime, EndTime", "2025", verb="recall"),
    Row("2062", "up", "U", "standard-sample check", "DataTime; SampleRd, StandardValue, ResultType", "2025"),
    Row("2071", "down", "R", "query alarm records", "BeginTime, EndTime", until="2005", verb="recall"),
    Row("2071", "up", "U", "alarm records", "DataTime; Ala", until="2005"),
    Row("2072", "up", "U", "alarm event", "AlarmTime; Ala, AlarmType", until="2005"),
    Row("2081", "up", "U", "power-on report", "DataTime, RestartTime", "2017"),
    Row("2111", "up", "U", "furnace temperature, 5-minute mean", "DataTime; a01901-Avg", "2025"),
    Row("3011", "down", "R", "zero and span calibration", "PolId, CalibrationType (2025)", verb="calibrate"),
    Row("3012", "down", "R", "sample now", "PolId", verb="sample_now"),
    Row("3013", "down", "R", "operate equipment", until="2005"),
    Row("3013", "down", "R", "start cleaning or blow-back", "PolId", "2017", verb="clean"),
    Row("3014", "down", "R", "set the sampling period", until="2005"),
    Row("3014", "down", "R", "comparison sampling", "PolId", "2017", verb="compare_sample"),
    Row("3015", "down", "R", "keep an over-limit sample", since="2017", verb="keep_sample"),
    Row("3015", "up", "U", "over-limit sample kept", "DataTime, VaseNo", "2017"),
    Row("3016", "down", "R", "set the sampling period", "PolId, CstartTime, CTime", "2017", verb="set_sampling_period"),
    Row("3017", "down", "R", "read the sampling period", "PolId", "2017", verb="read_sampling_period"),
    Row("3017", "up", "A", "sampling period", "PolId, CstartTime, CTime", "2017"),
    Row("3018", "down", "R", "read the sample-to-result time", "PolId", "2017", verb="read_analysis_time"),
    Row("3018", "up", "A", "sample-to-result time", "PolId, Stime", "2017"),
    Row("3019", "down", "R", "read the instrument's identity", "PolId", "2017", verb="read_identity"),
    Row("3019", "up", "U", "instrument identity", "DataTime, PolId, xxxxxx-SN", "2017"),
    Row(
        "3020", "down", "R", "read site information", "PolId, InfoId, BeginTime, EndTime", "2017", verb="read_site_info"
    ),
    Row("3020", "up", "U", "site information", "DataTime, PolId, ixxxxx-Info", "2017"),
    Row("3021", "down", "R", "set a station parameter", "PolId, InfoId, ixxxxx-Info", "2017", verb="set_parameter"),
    Row("3022", "down", "R", "keep a sample now", "PolId", "2025", verb="keep_sample"),
    Row("3024", "down", "R", "start a standard-sample check", "PolId", "2025", verb="start_check"),
    Row("9011", "up", "A", "request accepted or refused", "QnRtn"),
    Row("9012", "up", "A", "execution result", "ExeRtn"),
    Row("9013", "up", "A", "notice answered"),
    Row("9013", "down", "A", "notice answered"),
    Row("9014", "up", "A", "data answered"),
    Row("9014", "down", "A", "data answered"),
    Row("9015", "up", "N", "heartbeat", since="2025"),
)

_CN_OF: Mapping[str, str] = {  # by the name of a kind, so that the station may add kinds
    "REALTIME": "2011",
    "MINUTE": "2051",
    "HOUR": "2061",
    "DAY": "2031",
    "POWER_ON": "2081",
    "RAW": "2013",
    "EQUIPMENT": "2021",
    "EQUIPMENT_HOURS": "2041",
    "NOISE": "2052",
    "CHECK": "2062",
    "KEPT_SAMPLE": "3015",
    "IDENTITY": "3019",
    "SITE_INFO": "3020",
    "SEAL_HEAD": "3020",
    "ALARM": "2072",
    "FURNACE": "2111",
}
UPLOADS: Mapping[Kind, str] = {kind: _CN_OF[kind.name] for kind in Kind if kind.name in _CN_OF}
RESUPPLIED = frozenset({"2011", "2031", "2051", "2061", "2111"})  # what RF=1 may stand in (2025, B)


def tells(standard: str, kind: Kind) -> bool:
    """Whether *standard* has a command that reports *kind*.

    >>> tells("2005", Kind.POWER_ON), tells("2017", Kind.POWER_ON), tells("2017", Kind.RAW), tells("2025", Kind.RAW)
    (False, True, False, True)
    """
    return any(row.cn == UPLOADS.get(kind) and row.direction == "up" and row.spoken(standard) for row in COMMANDS)


def tells_time(standard: str) -> bool:
    """Whether a station of *standard* may ask what time it is (1013).

    >>> tells_time("2005"), tells_time("2017")
    (False, True)
    """
    return any(row.cn == "1013" and row.spoken(standard) for row in COMMANDS)


def request(cn: str, standard: str) -> Row | None:
    """What a platform of *standard* asks for with *cn*; None if there is no such request.

    >>> request("1011", "2017").verb, request("1063", "2005"), request("9014", "2017")
    ('read_clock', None, None)
    """
    rows = (row for row in COMMANDS if row.cn == cn and row.direction == "down" and row.kind in "RN")
    return next((row for row in rows if row.spoken(standard)), None)


# -- answer codes (HJ 212-2017, read)

ACCEPTED = 1
QN_RTN: Mapping[int, str] = {
    1: "will execute",
    2: "refused",
    3: "PW wrong",
    4: "MN wrong",
    5: "ST wrong",
    6: "Flag wrong",
    7: "QN wrong",
    8: "CN wrong",
    9: "CRC wrong",
    100: "unknown",
}
EXE_RTN: Mapping[int, str] = {
    1: "done",
    2: "failed, cause unknown",
    3: "request conditions wrong",
    4: "communication time-out",
    5: "busy",
    6: "system fault",
    100: "no data",
}
OUTCOMES: Mapping[Outcome, int] = {
    Outcome.DONE: 1,
    Outcome.FAILED: 2,
    Outcome.REFUSED: 3,
    Outcome.CONDITIONS: 3,
    Outcome.TIMED_OUT: 4,
    Outcome.BUSY: 5,
    Outcome.FAULT: 6,
    Outcome.NO_DATA: 100,
}

# -- units

# Powers of ten within one family: exact, so a converted value keeps its digits.
_UNITS: Sequence[dict[str, int]] = (
    {"kg/m³": 3, "g/m³": 0, "mg/m³": -3, "µg/m³": -6, "ng/m³": -9},
    {"g/L": 0, "mg/L": -3, "µg/L": -6, "ng/L": -9},
    {"S/cm": 0, "S/m": -2, "mS/cm": -3, "mS/m": -5, "µS/cm": -6},
    {"MPa": 6, "bar": 5, "kPa": 3, "hPa": 2, "mbar": 2, "Pa": 0},
    {"m³/s": 0, "L/s": -3},
    {"m/s": 0, "cm/s": -2},
    {"m": 0, "cm": -2, "mm": -3},
    {"m²": 0, "cm²": -4},
    {"kg": 3, "g": 0, "mg": -3},
    {"kV": 3, "V": 0, "mV": -3},
    {"A": 0, "mA": -3},
    {"MW": 6, "kW": 3, "W": 0},
    {"MWh": 6, "kWh": 3, "Wh": 0},
    {"kW/m²": 3, "W/m²": 0},
    {"klx": 3, "lx": 0},
)


def units_like(unit: str) -> Sequence[str]:
    """The units that *unit* can be sent in.

    >>> units_like("µS/cm")
    ('S/cm', 'S/m', 'mS/cm', 'mS/m', 'µS/cm')
    """
    return next((tuple(family) for family in _UNITS if unit in family), (unit,))


def conversion(unit: str, wanted: str) -> int | None:
    """The power of ten that takes *unit* to *wanted*; None where there is none.

    >>> conversion("µg/m³", "mg/m³"), conversion("µg/m³", "ppm")
    (-3, None)
    """
    wanted = wanted.replace("\u03bc", "\u00b5")  # Greek mu looks the same as the micro sign
    if unit == wanted:
        return 0
    family = next((family for family in _UNITS if unit in family and wanted in family), None)
    return family[unit] - family[wanted] if family else None


def digits(value: float, decimals: int, shift: int = 0) -> str:
    """*value* rounded once to *decimals* (half to even, GB/T 8170, on its decimal digits), times 10**shift.

    A float's shortest decimal text is what the instrument meant; its binary value would round 0.15 down.

    >>> digits(0.15, 1), digits(0.25, 1), digits(75.6, 1, -3), digits(75.63, 1, 3), digits(-0.04, 1)
    ('0.2', '0.2', '0.0756', '75600', '0.0')
    """
    mantissa, exponent = _decimal(value)
    count = _half_even(abs(mantissa), exponent + decimals)
    sign = "-" if mantissa < 0 and count else ""
    places = decimals - shift
    if places <= 0:
        return f"{sign}{count * 10**-places}"
    text = f"{count:0{places + 1}d}"
    return f"{sign}{text[:-places]}.{text[-places:]}"


def _decimal(value: float) -> tuple[int, int]:
    """Mantissa and exponent of ten of the shortest text of *value*."""
    text, _, exponent = repr(float(value)).partition("e")
    whole, _, fraction = text.partition(".")
    return int(whole + fraction), int(exponent or 0) - len(fraction)


def _half_even(mantissa: int, power: int) -> int:
    unit: int = 10 ** abs(power)
    if power >= 0:
        return mantissa * unit
    quotient, rest = divmod(mantissa, unit)
    return quotient + (2 * rest > unit or (2 * rest == unit and quotient % 2 == 1))


# -- time


def timestamp(moment: datetime, zone: tzinfo) -> str:
    """*moment* as 14 digits of local time; no field of HJ 212 names a zone (2017, read).

    >>> from datetime import timezone
    >>> timestamp(datetime(2026, 3, 1, tzinfo=timezone.utc), timezone(timedelta(hours=8)))
    '20260301080000'
    """
    local = moment.astimezone(zone)
    return f"{local:%Y%m%d%H%M%S}"


def moment(text: str, zone: tzinfo) -> datetime:
    """The moment that 14 digits of local time name; ValueError where they name none.

    >>> from datetime import timezone
    >>> moment("20260301080000", timezone(timedelta(hours=8))).isoformat()
    '2026-03-01T08:00:00+08:00'
    """
    if not (text.isascii() and text.isdigit() and len(text) == 14):
        raise ValueError(f"{text[:20]!a} is not 14 digits")
    return datetime(int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2)), tzinfo=zone)  # type: ignore[misc, arg-type]


# -- wording a report

PERIODS: Mapping[Kind, timedelta] = {
    Kind.MINUTE: timedelta(minutes=1),
    Kind.HOUR: timedelta(hours=1),
    Kind.DAY: timedelta(days=1),
    Kind.FURNACE: timedelta(minutes=5),
}
# Told under a command of its own (2111) and, where an uplink's codes name it, in the other records, too.
APART = "furnace_temperature"


def _finite(value: float | None) -> TypeGuard[float]:
    """Whether there is a value that has digits."""
    return value is not None and math.isfinite(value)


LOAD_DECIMALS = 4  # of a load in kg; ours, a tenth of a gram


@dataclass(frozen=True, slots=True)
class Factor:
    """How one parameter is written for one platform; a *code* with a dash is its whole name (electricity)."""

    code: str
    suffix: str  # "Rtd", or what a noise statistic carries in the records of a period
    decimals: int
    shift: int = 0  # power of ten from the catalogue's unit to the platform's
    total: bool = False  # a period has its total (Cou) in place of a mean
    flow: int | None = None  # power of ten to m³/s: a period has its volume (Cou) too

    def values(self, kind: Kind, average: Average, seconds: float) -> Iterator[str]:
        """The values there are, as name=digits, over so many *seconds*."""
        if "-" not in self.code:
            yield from self._beside(kind, average, seconds)
        for suffix, value in self.named(kind, average):
            if _finite(value):
                yield f"{self.name(suffix)}={digits(value, self.decimals, self.shift)}"

    def _beside(self, kind: Kind, average: Average, seconds: float) -> Iterator[str]:
        """Cou and the value at reference oxygen, which stand before the measured ones."""
        if kind in PERIODS and self.flow is not None and _finite(average.mean):
            # What was measured, in m³ (2017, read); the decimals are ours, a litre.  Nothing is discharged backwards,
            # as in the loads beside it; the mean says what the meter said.
            volume = max(0.0, average.mean) * 10**self.flow * seconds * average.share
            yield f"{self.name('Cou')}={digits(volume, 3)}"
        if kind in PERIODS and _finite(average.load_kg):
            yield f"{self.name('Cou')}={digits(average.load_kg, LOAD_DECIMALS)}"  # kg (2017, read)
        if _finite(average.converted):
            suffix = "ZsRtd" if kind is Kind.REALTIME else "ZsAvg"
            yield f"{self.name(suffix)}={digits(average.converted, self.decimals, self.shift)}"

    def name(self, suffix: str) -> str:
        """The name of one value."""
        return self.code if "-" in self.code else f"{self.code}-{suffix}"

    def named(self, kind: Kind, average: Average) -> tuple[tuple[str, float | None], ...]:
        """What a report of *kind* says of the factor: suffix and value."""
        if kind is Kind.REALTIME or "-" in self.code:
            return (("Rtd", average.mean),)
        if kind is Kind.FURNACE:
            return (("Avg", average.mean),)
        if self.total:
            return (("Cou", average.mean),)
        if self.suffix != "Rtd":
            return ((self.suffix, average.mean),)
        return (("Min", average.minimum), ("Avg", average.mean), ("Max", average.maximum))

    def flagged(self, kind: Kind, mark: Mark) -> bool:
        """Noise statistics are printed without Flag (2017 appendix C, read); ours keep it when not normal."""
        return kind is Kind.REALTIME or self.suffix in ("Rtd", "Avg") or mark is not Mark.N


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How reports become data areas for one platform, and its codes become our words."""

    dialect: Dialect
    factors: Mapping[str, Factor]
    apart: Factor | None  # how 2111 names the temperature of a furnace, where other records do not have it
    zone: tzinfo
    started: datetime

    @classmethod
    def of(
        cls,
        dialect: Dialect,
        catalogue: Mapping[str, Parameter],
        *,
        zone: tzinfo,
        started: datetime,
        codes: Mapping[str, str],
        units: Mapping[str, str],
    ) -> Wording:
        """*codes* and *units* go over the dialect's and the catalogue's; what has no code is not sent."""
        codes, units = {**dialect.codes, **codes}, {**dialect.units, **units}
        chosen = {
            key: Factor(
                code,
                _suffix(parameter, dialect),
                _decimals(parameter, dialect),
                _shift(parameter, units),
                parameter.averaging is Averaging.SUM,
                conversion(parameter.unit, "m³/s"),
            )
            for key, parameter in catalogue.items()
            if (code := codes.get(key) or getattr(parameter, dialect.code))
        }
        apart = chosen.get(APART) if APART in codes else chosen.pop(APART, None)
        return cls(dialect=dialect, factors=chosen, apart=apart, zone=zone, started=started)

    def compose(self, report: Report) -> str | None:
        """The data area of *report*, digits frozen; None where it has nothing to say."""
        if report.kind > Kind.POWER_ON and report.kind is not Kind.FURNACE:
            from uplink.hj212.events import said as happened  # most platforms are told of periods alone

            return happened(report, self)
        head = f"DataTime={timestamp(self._datatime(report), self.zone)}"
        if report.kind is Kind.POWER_ON:
            restarted = report.record.at if report.record else self.started
            return f"{head};RestartTime={timestamp(restarted, self.zone)}"
        items, said = [], []
        for average in report.averages:
            if item := self._item(report, average):
                items.append(item)
                said.append(average)
        if items and self.dialect.flags == "one":
            items.append(f"Flag={self.dialect.marks[max(average.mark for average in said)]}")
        return ";".join([head, *items]) if items else None

    def _datatime(self, report: Report) -> datetime:
        return report.start + _length(report) if self.dialect.ends(report.kind) else report.start

    def _item(self, report: Report, average: Average) -> str:
        kind = report.kind
        factor = self.apart if kind is Kind.FURNACE else self.factors.get(average.parameter)
        if factor is None:
            return ""
        said = list(factor.values(kind, average, _length(report).total_seconds()))
        if said and average.sampled is not None and self.dialect.code == "code":  # 2005 had no such field
            said.insert(0, f"{factor.name('SampleTime')}={timestamp(average.sampled, self.zone)}")
        one = self.dialect.flags == "one"
        if not said and self.dialect.missing == "extreme":
            from uplink.hj212.types import extreme  # few platforms want it

            said = list(extreme(factor, kind, average))
        if not said and (one or self.dialect.missing == "omit"):
            return ""
        plain = kind is Kind.FURNACE and average.mark is Mark.N and not self.dialect.furnace_flag
        if not one and (not said or (factor.flagged(kind, average.mark) and not plain)):
            said.append(f"{factor.code}-Flag={self.dialect.marks[average.mark]}")
        return ",".join(said)

    # -- the platform's words in ours

    def parameter(self, code: str) -> str:
        """The parameter a PolId names; ValueError where this platform is told of none with that code."""
        known = self.factors if self.apart is None else {**self.factors, APART: self.apart}
        for key, factor in known.items():
            if code and factor.code == code:
                return key
        raise ValueError(f"{code[:12]!a} is no factor of this station")

    def moment(self, text: str) -> datetime:
        """The moment that 14 digits of local time name."""
        return moment(text, self.zone)


def _length(report: Report) -> timedelta:
    return PERIODS.get(report.kind, timedelta()) * report.minutes


def _suffix(parameter: Parameter, dialect: Dialect) -> str:
    return "Avg" if parameter.suffix != "Rtd" and dialect.noise == "average" else parameter.suffix


def _decimals(parameter: Parameter, dialect: Dialect) -> int:
    return dialect.decimals.get(parameter.key, parameter.decimals)


def _shift(parameter: Parameter, units: Mapping[str, str]) -> int:
    wanted = units.get(parameter.key, parameter.unit)
    shift = conversion(parameter.unit, wanted)
    if shift is None:
        raise ConfigError(f"{parameter.key} in {parameter.unit} cannot be sent in {wanted}")
    return shift


# -- segments


def split(data: str, head: int, split_head: int, width: int) -> list[str]:
    """*data* in as few data areas as both limits allow, never cut inside a factor, DataTime repeated.

    *head* is the length of the fields before CP, *split_head* with PNUM and PNO of *width* digits.

    >>> split("DataTime=20260301080000;a=1;b=2", head=80, split_head=99, width=4)
    ['DataTime=20260301080000;a=1;b=2']
    >>> split("DataTime=20260301080000;a=1;b=2", head=989, split_head=989, width=4)
    ['DataTime=20260301080000;a=1', 'DataTime=20260301080000;b=2']
    """
    if _size(data) <= _room(head):
        return [data]
    time, *items = data.split(";")
    room = _room(split_head)
    parts: list[str] = []
    for item in items:
        if parts and _size(longer := f"{parts[-1]};{item}") <= room:
            parts[-1] = longer
        else:
            parts.append(f"{time};{item}")
    longest = max(map(_size, parts or [data]))
    if longest > room:
        raise FrameTooLong(f"one factor makes a data area of {longest} bytes, the limit is {room}")
    if len(str(len(parts))) > width:
        raise FrameTooLong(f"{len(parts)} packets, PNUM has {width} digits")
    return parts


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _room(head: int) -> int:
    fences = len("CP=" + fence(""))
    return min(CP_LIMIT, SEGMENT_LIMIT - head) - fences


# -- what is unlike the standard

_QN = re.compile(r"[0-9]{17}")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_NUMBERS = frozenset(
    f"{zs}{name}" for zs in ("", "Zs") for name in ("Rtd", "Min", "Avg", "Max", "Cou", "Data", "DayData", "NightData")
)
_MARKS_2017 = frozenset(mark.name for mark in Mark)  # table 8 (read)
_CONDITIONS = "45"  # whose values are letters, such as St (2025, C)


_TEXT = re.compile(r"//.*?//", re.DOTALL)  # of a log, which may hold any
_EMPTY = re.compile(r"^ *[;,]|[;,] *[;,]")
_GENERATIONS = {0: "2005", 1: "2017", 2: "2025"}  # by the version bits of Flag


def _generation(segment: Segment) -> str:
    """The generation that Flag names, "" where it names none."""
    return _GENERATIONS.get(segment.flags >> VERSION_SHIFT, "") if segment.flags is not None else ""


def _of_its_generation(segment: Segment) -> bool:
    """Whether the generation that Flag names has this command; one that is in no table is another matter."""
    rows = [row for row in COMMANDS if row.cn == segment.cn]
    generation = _generation(segment)
    return not (rows and generation) or any(row.spoken(generation) for row in rows)


def _once_each(data: str) -> bool:
    """Whether no factor has a value of one name twice; what belongs to none may (PolId and CTime of 2005)."""
    names = [name for name, _ in pairs(data) if "-" in name]
    return len(names) == len(set(names))


def _is_time(text: str, length: int = 14) -> bool:
    """Whether *text* is so many digits that begin with a time."""
    try:
        moment(text[:14], UTC)
    except ValueError:
        return False
    return len(text) == length and text.isascii() and text.isdigit()


class Check(NamedTuple):
    """One way to differ from the standard: its name for programs, its sentence for people."""

    name: str
    text: str
    holds: Callable[[Segment], bool]


CHECKS: Sequence[Check] = (
    Check("no-qn", "no QN", lambda s: bool(s.qn)),
    Check("bad-qn", "QN is not 17 digits", lambda s: not s.qn or bool(_QN.fullmatch(s.qn))),
    Check("qn-no-time", "QN is no time", lambda s: not _QN.fullmatch(s.qn) or _is_time(s.qn, 17)),
    Check("unknown-st", "ST is in no table", lambda s: s.st in SYSTEMS),
    Check("unknown-cn", "CN is in no table", lambda s: any(s.cn == row.cn for row in COMMANDS)),
    Check("bad-pw", "PW is not 1 to 6 characters", lambda s: 1 <= len(s.pw) <= 6),
    Check("no-mn", "no MN", lambda s: bool(s.mn)),
    Check("bad-mn", "MN is longer than 24 characters", lambda s: len(s.mn) <= 24),
    Check("no-flag", "no Flag", lambda s: bool(s.flag)),
    Check("bad-flag", "Flag is no number of one byte", lambda s: not s.flag or s.flags is not None),
    Check(
        "packet-numbers",
        "PNUM and PNO contradict Flag or each other",
        lambda s: bool((s.flags or 0) & SPLIT_BIT) == bool(s.pnum or s.pno) and _numbered(s.pnum, s.pno),
    ),
    Check("cn-of-other-generation", "CN is not of the generation that Flag names", lambda s: _of_its_generation(s)),
    Check(
        "wide-packet-numbers",
        "PNUM or PNO of more than one digit, which is what 2025 has",
        lambda s: _generation(s) != "2025" or max(len(s.pnum), len(s.pno)) < 2,
    ),
    Check("bad-rf", "RF is not 1", lambda s: s.rf in ("", "1")),
    Check("rf-before-2025", "RF in a generation that has none", lambda s: not s.rf or _generation(s) in ("", "2025")),
    Check("unknown-field", "an unknown field", lambda s: not s.others),
    Check("no-cp", "no CP", lambda s: bool(s.cp)),
    Check(
        "bad-datatime",
        "DataTime is not 14 digits",
        lambda s: all(len(v) == 14 and v.isdigit() for name, v in pairs(s.data) if name == "DataTime"),
    ),
    Check(
        "datatime-no-time",
        "DataTime is no time",
        lambda s: all(_is_time(v) for n, v in pairs(s.data) if n == "DataTime" and len(v) == 14 and v.isdigit()),
    ),
    Check("bad-value", "a value is no number", lambda s: s.st == _CONDITIONS or _numbers(s.data)),
    Check("unknown-mark", "a Flag that is no mark", lambda s: all(_is_mark(m, s.flags) for m in _marks(s.data))),
    Check("bare-flag", "a Flag that belongs to no factor", lambda s: "Flag" not in factors(s.data).get("", {})),
    Check("repeated-value", "a factor's value is there twice", lambda s: _once_each(s.data)),
    Check("empty-item", "nothing between two separators", lambda s: not _EMPTY.search(_TEXT.sub("", s.data))),
    Check("double-suffix", "a value with two suffixes", lambda s: all(n.count("-") < 2 for n, _ in pairs(s.data))),
    Check("trailing-semicolon", "a semicolon before the last &&", lambda s: not s.data.endswith((";", ","))),
    Check("nameless-value", "a value without a name", lambda s: all(n and "=" in s.data for n, _ in pairs(s.data))),
)


def _numbers(data: str) -> bool:
    """Whether every value that is a number by its name is one."""
    values = (found for code, found in factors(data).items() if code)
    return all(_NUMBER.fullmatch(v) for one in values for name, v in one.items() if name in _NUMBERS)


def _marks(data: str) -> list[str]:
    """What stands in the Flag of factors."""
    return [found["Flag"] for found in factors(data).values() if "Flag" in found]


def _is_mark(text: str, flags: int | None) -> bool:
    """Whether *text* is a mark: of 2017's table where Flag says 2017, else one letter or digit, for nothing is read."""
    if flags is not None and flags >> VERSION_SHIFT == 1:
        return text in _MARKS_2017
    return len(text) == 1 and text.isascii() and text.isalnum()


def _numbered(pnum: str, pno: str) -> bool:
    """Whether packet *pno* of *pnum* can be one, or neither is there."""
    if not (pnum or pno):
        return True
    digits = all(re.fullmatch(r"[0-9]{1,4}", number) for number in (pnum, pno))
    return digits and 1 <= int(pno) <= int(pnum)


def deviations(segment: Segment) -> list[Check]:
    """What a readable *segment* does otherwise than HJ 212 says; none of it keeps us from reading it.

    >>> segment = Segment(qn="20180507000558", st="39", cn="2011", pw="123456", mn="A1", cp="&&&&")
    >>> [check.name for check in deviations(segment)]
    ['bad-qn', 'no-flag']
    """
    return [check for check in CHECKS if not check.holds(segment)]


def field_of(data: str, name: str) -> str:
    """The value of *name* in a data area, "" if it is not there.

    >>> field_of("QnRtn=1", "QnRtn")
    '1'
    """
    return factors(data).get("", {}).get(name, "")
