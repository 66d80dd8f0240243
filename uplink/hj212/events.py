"""What happens, worded: equipment, checks, kept samples, identities, site information, raw measurements, alarms.

Fields of 2021, 2041, 3015, 3019 and 3020 are those of HJ 212-2017 (read); of 2013, 2052 and 2062 those a project
maps from the appendix of 2025 (B); of 2071 and 2072 of 2005 those of two code bases (B).  Loaded with the first
such report or request.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from station.model import Average, Kind, Mark, Record, Report
from uplink.hj212.messages import Wording, digits, timestamp
from uplink.hj212.verbs import SERIAL_CHARACTERS

log = logging.getLogger(__name__)

ITEMS: Mapping[str, str] = {  # codes of site information, 2017 table (read)
    "i11001": "instrument_log",
    "i12001": "instrument_state",
    "i12002": "instrument_link",
    "i13001": "range",
    "i13004": "digestion_temperature",
    "i13005": "digestion_minutes",
    "i13007": "intercept",
    "i13008": "slope",
    "i13009": "detection_limit",
    "i21001": "logger_log",
    "i22001": "logger_state",
    "i22003": "platform_link",
}
CODES = {word: code for code, word in ITEMS.items()}
# The station's words (station/records.py) as the tables of 2017 number them (read).
EQUIPMENT: Mapping[str, str] = {
    "off": "0",
    "running": "1",
    "calibrating": "2",
    "maintenance": "3",
    "alarm": "4",
    "blow_back": "5",
}
VALUES: Mapping[str, Mapping[str, str]] = {  # of the items whose values are words
    "instrument_state": {
        "running": "0",
        "maintenance": "1",
        "fault": "2",
        "calibrating": "3",
        "blow_back": "5",
        "power_fault": "6",
        "measuring": "7",
        "standardising": "8",
        "standby": "9",
        "service": "10",
    },
    "instrument_link": {"good": "0", "bad": "1"},
    "logger_state": {"running": "0", "stopped": "1", "fault": "2", "maintenance": "3"},
    "platform_link": {"good": "0", "bad": "1"},  # as i12002 has it: the digest names no values (C)
}
LOG_CHARACTERS = 890  # of a log text (2017, read)
LOG_BYTES = 840  # what a data area has room for beside DataTime, PolId and the item, however long the MN


def number_of(item: str, value: object) -> str:
    """What stands for *value* of *item* on the wire.

    >>> number_of("instrument_state", "calibrating"), number_of("slope", 1.02), number_of("logger_log", "restart")
    ('3', '1.02', '//restart//')
    """
    if item.endswith("_log"):
        return f"//{clean(str(value))}//"
    if item in VALUES:
        return VALUES[item][str(value)]
    return f"{value:g}" if isinstance(value, float) else clean(str(value))


def clean(text: str) -> str:
    """*text* as it may stand in a data area: nothing that is part of its syntax, no line ends.

    >>> clean("a;b=1, c//d & #")
    'a b 1 c/d'
    """
    return re.sub(r"/{2,}", "/", " ".join(re.sub(r"[;,=&#\x00-\x20\x7f]+", " ", text).split()))


def pieces(text: str) -> list[str]:
    """A log text in pieces that each fit a frame.

    >>> [len(piece) for piece in pieces("x" * 1000)], [len(piece) for piece in pieces("清" * 300)]
    ([840, 160], [280, 20])
    """
    found, size = [""], 0
    for character in clean(text):
        width = len(character.encode("utf-8", "replace"))
        if size + width > LOG_BYTES or len(found[-1]) >= LOG_CHARACTERS:
            found.append("")
            size = 0
        found[-1] += character
        size += width
    return found


def said(report: Report, wording: Wording) -> str | None:
    """The data area of a report of something that happened; None where this platform has no words for it.

    A record whose body is not what its kind says is logged and not told: it must not stop the measuring.
    """
    try:
        items = list(_raw(report, wording) if report.kind is Kind.RAW else _recorded(report, wording))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        log.error("a record of kind %s cannot be worded: %r in %s", report.kind.name.lower(), error, report.record)
        return None
    name = wording.dialect.alarm_time if report.kind is Kind.ALARM else "DataTime"
    return ";".join([f"{name}={timestamp(report.start, wording.zone)}", *items]) if items else None


def _recorded(report: Report, wording: Wording) -> Iterator[str]:
    if report.record is not None:
        yield from _WORDED[report.kind](report.record, wording)


def _raw(report: Report, wording: Wording) -> Iterator[str]:
    """Each factor with its own times, as an analyser's cycle or as a reading that took no time."""
    body: Mapping[str, object] = report.record.body if report.record else {}
    sampled, completed = (_moment(body.get(key), report.start) for key in ("sampled", "completed"))
    for average in _measured(report):
        factor = wording.factors.get(average.parameter)
        if factor is None:
            continue
        parts = [("SampleTime", timestamp(sampled, wording.zone)), ("CompleteTime", timestamp(completed, wording.zone))]
        parts += [("SampleType", clean(str(body["type"])))] if body.get("type") else []
        parts += [("Avg", digits(average.mean, factor.decimals, factor.shift))] if average.mean is not None else []
        parts.append(("Flag", wording.dialect.marks[average.mark]))
        yield ",".join(f"{factor.name(name)}={value}" for name, value in parts)


def _moment(text: object, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(str(text)) if text else otherwise


def _measured(report: Report) -> Sequence[Average]:
    if report.record is None:
        return report.averages
    return [Average(key, value, mark=Mark[mark]) for key, (value, mark) in report.record.body["values"].items()]


def _equipment(record: Record, wording: Wording) -> Iterator[str]:
    for number, state in record.body["states"].items():
        yield f"SB{number}-RS={EQUIPMENT[state]}"


def _hours(record: Record, wording: Wording) -> Iterator[str]:
    for number, hours in record.body["hours"].items():
        yield f"SB{number}-RT={digits(hours, 2)}"


def _noise(record: Record, wording: Wording) -> Iterator[str]:
    for parameter, level in record.body["levels"].items():
        if factor := wording.factors.get(parameter):
            yield f"{factor.name('Data')}={digits(level, factor.decimals)}"


def _check(record: Record, wording: Wording) -> Iterator[str]:
    body = record.body
    if factor := wording.factors.get(body["parameter"]):
        read, standard = (digits(body[key], factor.decimals, factor.shift) for key in ("value", "standard"))
        names = (("SampleRd", read), ("StandardValue", standard), ("ResultType", f"{bool(body['passed']):d}"))
        yield ",".join(f"{factor.name(name)}={value}" for name, value in names)


def _kept_sample(record: Record, wording: Wording) -> Iterator[str]:
    yield f"VaseNo={record.body['vase']}"


def _identity(record: Record, wording: Wording) -> Iterator[str]:
    """A swap; what was read for the first time replaces nothing."""
    if record.body["before"] and (code := _instrument(record, wording)):
        yield f"PolId={code}"
        yield f"{code}-SN={clean(record.body['serial'])[:SERIAL_CHARACTERS]}"


def _site_info(record: Record, wording: Wording) -> Iterator[str]:
    item = record.body["item"]
    code = _instrument(record, wording)
    if item.startswith("instrument") and not code:
        return
    if code:
        yield f"PolId={code}"
    yield f"{CODES[item]}-Info={number_of(item, record.body['value'])}"


def _seal_head(record: Record, wording: Wording) -> Iterator[str]:
    """The head of the sealed blocks as a log text of the logger: a platform keeps what it does not understand."""
    body = record.body
    said = f"seal block {int(body['block'])} head {body['head']} sealed {body['sealed']} month {body['month'] or '-'}"
    yield f"{CODES['logger_log']}-Info={number_of('logger_log', said)}"


ALARM_BEGINS = "1"  # AlarmType, as the example has it that two code bases repeat (B)


def _alarm(record: Record, wording: Wording) -> Iterator[str]:
    """A limit that begins to be exceeded, and its end where the platform has a number for that."""
    body = record.body
    factor, value = wording.factors.get(body["parameter"]), body["value"]
    begins = body["state"] == "alarm"
    ends = body["before"] == "alarm" and body["state"] in ("normal", "pre_alarm")
    word = ALARM_BEGINS if begins else wording.dialect.alarm_over if ends else ""
    if body["rule"] == "alarm" and factor is not None and value is not None and word:
        yield f"{factor.name('Ala')}={digits(value, factor.decimals, factor.shift)},AlarmType={word}"


def as_alarm_record(text: str) -> str | None:
    """What was told of an alarm by 2072 as 2071 has it, the digits as they were; None for the end of one.

    >>> as_alarm_record("AlarmTime=20260301120000;011-Ala=105.0,AlarmType=1")
    'DataTime=20260301120000;011-Ala=105.0'
    """
    time, _, item = text.partition(";")
    value, _, word = item.rpartition(",AlarmType=")
    return f"DataTime={time.partition('=')[2]};{value}" if word == ALARM_BEGINS else None


def _instrument(record: Record, wording: Wording) -> str:
    """The code by which this platform knows the instrument: that of the first factor it gets from it."""
    known = (wording.factors.get(parameter) for parameter in record.body.get("parameters", ()))
    return next((factor.code for factor in known if factor), "")


_WORDED: Mapping[Kind, Callable[[Record, Wording], Iterator[str]]] = {
    Kind.EQUIPMENT: _equipment,
    Kind.EQUIPMENT_HOURS: _hours,
    Kind.NOISE: _noise,
    Kind.CHECK: _check,
    Kind.KEPT_SAMPLE: _kept_sample,
    Kind.IDENTITY: _identity,
    Kind.SITE_INFO: _site_info,
    Kind.ALARM: _alarm,
    Kind.SEAL_HEAD: _seal_head,
}
