"""What a platform's request means to the station: its verb, its arguments, and what answers it.

Codes of HJ 212 end here.  Field names are those of HJ 212-2017 appendix C (read) and, for 2025, of
projects that map its appendix (B).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import NamedTuple

from station.model import Kind, dataclass, field
from uplink.hj212.frame import pairs
from uplink.hj212.messages import PERIODS, Wording, timestamp

SERIAL_CHARACTERS = 24  # of an instrument's identity (2017, read)

_Parser = Callable[[str, Wording], str]
_Writer = Callable[[Mapping[str, str], Mapping[str, str], Wording], str]


class WrongField(ValueError):
    """Error raised when a field of a request cannot be read; its text names the field."""


# -- reading


def _number(text: str, wording: Wording) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ValueError
    return str(int(text))


def _moment(text: str, wording: Wording) -> str:
    return wording.moment(text).isoformat()


def _parameter(text: str, wording: Wording) -> str:
    return wording.parameter(text)


def _text(text: str, wording: Wording) -> str:
    if not text or not text.isprintable():
        raise ValueError
    return text


def _time_of_day(text: str, wording: Wording) -> str:
    if not (text.isascii() and text.isdigit() and len(text) == 6):
        raise ValueError
    return time(int(text[:2]), int(text[2:4]), int(text[4:])).isoformat()


def _item(text: str, wording: Wording) -> str:
    from uplink.hj212.events import ITEMS  # comes with the first request about site information

    return ITEMS[text]


def _type(text: str, wording: Wording) -> str:
    return {"0": "zero", "1": "span"}[text]


def _instrument_state(text: str, wording: Wording) -> str:
    return {"0": "running", "1": "maintenance"}[text]


def _logger_state(text: str, wording: Wording) -> str:
    return {"0": "running", "3": "maintenance"}[text]


class Reads(NamedTuple):
    """One field of CP and the argument it becomes; "*-Info" is whatever item is set."""

    field: str
    argument: str
    parse: _Parser
    needed: bool = True


# -- writing


def _echo(name: str) -> _Writer:
    """The field as it was asked, if it was."""
    return lambda asked, values, wording: f"{name}={asked[name]}" if asked.get(name) else ""


def _plain(name: str, key: str) -> _Writer:
    return lambda asked, values, wording: f"{name}={values[key]}"


def _stamp(name: str, key: str, *, needed: bool = True) -> _Writer:
    def write(asked: Mapping[str, str], values: Mapping[str, str], wording: Wording) -> str:
        if not needed and key not in values:
            return ""
        return f"{name}={timestamp(datetime.fromisoformat(values[key]), wording.zone)}"

    return write


def _start(asked: Mapping[str, str], values: Mapping[str, str], wording: Wording) -> str:
    return "CstartTime=" + values["start"].replace(":", "")


def _serial(asked: Mapping[str, str], values: Mapping[str, str], wording: Wording) -> str:
    from uplink.hj212.events import clean  # comes with the first request about an instrument

    return f"{asked['PolId']}-SN={clean(values['serial'])[:SERIAL_CHARACTERS]}"


def _info(asked: Mapping[str, str], values: Mapping[str, str], wording: Wording) -> str:
    from uplink.hj212.events import ITEMS, number_of

    return f"{asked['InfoId']}-Info={number_of(ITEMS[asked['InfoId']], values['value'])}"


def _report_time(asked: Mapping[str, str], values: Mapping[str, str], wording: Wording) -> str:
    return "ReportTime=" + values["time"].replace(":", "")[: len(wording.dialect.report_time)]


@dataclass(frozen=True, slots=True)
class Meaning:
    """A request in the station's words; *when* names a field that must be there for it to apply.

    *answers* are the fields of the direct answer; *optional* ones may be missing as a whole.
    """

    verb: str
    reads: Sequence[Reads] = ()
    answers: Sequence[_Writer] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    when: str = ""
    optional: bool = False

    def arguments(self, data: str, wording: Wording) -> dict[str, str]:
        """The arguments in data area *data*; raise WrongField at the first that cannot be read."""
        found = dict(pairs(data))
        arguments = dict(self.fixed)
        for name, argument, parse, needed in self.reads:
            value = _value(name, found)
            if value is None and not needed:
                continue
            try:
                arguments[argument] = parse(value or "", wording)
            except (ValueError, KeyError) as error:
                raise WrongField(f"{name} cannot be used") from error
        try:
            return _by_start(arguments, wording)
        except OverflowError as error:  # no hour ends at the first moment of the calendar
            raise WrongField("BeginTime cannot be used") from error

    def answer(self, data: str, values: Mapping[str, str], wording: Wording) -> str:
        """The data area of the direct answer, "" where there is none; KeyError or ValueError without its *values*."""
        asked = dict(pairs(data))
        try:
            written = [write(asked, values, wording) for write in self.answers]
        except KeyError:
            if self.optional:
                return ""
            raise
        return ";".join(filter(None, written))


def _value(name: str, found: Mapping[str, str]) -> str | None:
    if name == "*-Info":
        return next((value for key, value in found.items() if key.endswith("-Info")), None)
    # The field table of 2017 writes Ctime, its examples CTime.
    return found.get(name, found.get("Ctime") if name == "CTime" else None)


def _by_start(arguments: dict[str, str], wording: Wording) -> dict[str, str]:
    """Bounds of a recall as starts of periods, also where DataTime names their ends.

    How many minutes a record of minutes has, the station knows: it is told that the bounds are ends.
    """
    kind = Kind.__members__.get(arguments.get("kind", "").upper())
    if kind is None or not wording.dialect.ends(kind):
        return arguments
    if kind is Kind.MINUTE:
        return arguments | {"named_by": "end"}
    earlier: timedelta = PERIODS[kind]
    bounds = {key: (datetime.fromisoformat(arguments[key]) - earlier).isoformat() for key in ("from", "to")}
    return arguments | bounds


# -- the table

_OF = Reads("PolId", "parameter", _parameter)
_OF_ANY = Reads("PolId", "parameter", _parameter, needed=False)
_ITEM = Reads("InfoId", "item", _item)
_BOUNDS = (Reads("BeginTime", "from", _moment), Reads("EndTime", "to", _moment))
_BOUNDS_IF_ANY = tuple(bound._replace(needed=False) for bound in _BOUNDS)


_STATE = (_OF_ANY, _ITEM)


def _recall(kind: str, when: str = "") -> Meaning:
    return Meaning("recall", _BOUNDS, fixed={"kind": kind}, when=when)


_KEPT = (_stamp("DataTime", "time"), _plain("VaseNo", "vase"))

MEANINGS: Mapping[str, Sequence[Meaning]] = {
    "1000": (Meaning("set_timeouts", (Reads("OverTime", "seconds", _number), Reads("ReCount", "resends", _number))),),
    "1002": (Meaning("set_mn", (Reads("i23005-Info", "mn", _text),)),),
    "1011": (Meaning("read_clock", (_OF_ANY,), (_echo("PolId"), _stamp("SystemTime", "time"))),),
    "1012": (Meaning("set_clock", (_OF_ANY, Reads("SystemTime", "time", _moment))),),
    "1014": (Meaning("set_key", (Reads("SKCreateTime", "created", _moment), Reads("NewSK", "key", _text))),),
    "1041": (Meaning("read_report_time", (), (_report_time,)),),
    "1061": (Meaning("read_realtime_interval", (), (_plain("RtdInterval", "seconds"),)),),
    "1062": (Meaning("set_realtime_interval", (Reads("RtdInterval", "seconds", _number),)),),
    "1063": (Meaning("read_minute_interval", (), (_plain("MinInterval", "minutes"),)),),
    "1064": (Meaning("set_minute_interval", (Reads("MinInterval", "minutes", _number),)),),
    "1072": (Meaning("set_password", (Reads("NewPW", "password", _text),)),),
    "2011": (_recall("realtime", when="BeginTime"), Meaning("start_realtime")),  # history by 2011: ST=44 (C)
    "2012": (Meaning("stop_realtime"),),
    "2013": (_recall("raw"),),
    "2021": (Meaning("start_equipment"),),
    "2022": (Meaning("stop_equipment"),),
    "2031": (_recall("day"),),
    "2041": (_recall("equipment_hours"),),
    "2051": (_recall("minute"),),
    "2052": (_recall("noise"),),
    "2061": (_recall("hour"),),
    "2062": (_recall("check"),),
    "2071": (_recall("alarm"),),
    "3011": (Meaning("calibrate", (_OF, Reads("CalibrationType", "type", _type, needed=False))),),
    "3012": (Meaning("sample_now", (_OF,)),),
    "3013": (Meaning("clean", (_OF,)),),
    "3014": (Meaning("compare_sample", (_OF,)),),
    "3015": (Meaning("keep_sample", (_OF_ANY,), _KEPT, optional=True),),
    "3016": (
        Meaning(
            "set_sampling_period", (_OF, Reads("CstartTime", "start", _time_of_day), Reads("CTime", "hours", _number))
        ),
    ),
    "3017": (Meaning("read_sampling_period", (_OF,), (_echo("PolId"), _start, _plain("CTime", "hours"))),),
    "3018": (Meaning("read_analysis_time", (_OF,), (_echo("PolId"), _plain("Stime", "minutes_to_result"))),),
    "3019": (Meaning("read_identity", (_OF,), (_echo("PolId"), _serial)),),
    "3020": (
        Meaning(
            "read_site_info",
            (_OF_ANY, _ITEM, *_BOUNDS_IF_ANY),
            (_stamp("DataTime", "time", needed=False), _echo("PolId"), _info),
        ),
    ),
    "3021": (
        # No command of 2017 or 2025 begins maintenance; a state that is written is taken for it (C).
        Meaning("maintain", (*_STATE, Reads("i12001-Info", "value", _instrument_state)), when="i12001-Info"),
        Meaning("maintain", (*_STATE, Reads("i22001-Info", "value", _logger_state)), when="i22001-Info"),
        Meaning("set_parameter", (_OF_ANY, _ITEM, Reads("*-Info", "value", _text))),
    ),
    "3022": (Meaning("keep_sample", (_OF_ANY,)),),
    "3024": (Meaning("start_check", (_OF,)),),
}


def meaning(cn: str, data: str) -> Meaning:
    """What a request *cn* with *data* asks for.

    >>> meaning("2011", "").verb, meaning("2011", "BeginTime=20260301000000").verb
    ('start_realtime', 'recall')
    """
    names = dict(pairs(data))
    return next(each for each in MEANINGS[cn] if not each.when or each.when in names)
