"""Reads HJ 212 frames out of a log or a capture and names every fault; builds frames by hand.

Nothing is refused here: a frame with a wrong length or check is still taken apart as far as it can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from station.model import Parameter, asdict, dataclass, field
from uplink.hj212.frame import (
    CP_LIMIT,
    FIELDS,
    HEADER,
    SEGMENT_LIMIT,
    VERSION_SHIFT,
    Segment,
    StructureWrong,
    cp_length,
    crc,
    crc_variant,
    encode,
    factors,
    fence,
)
from uplink.hj212.messages import deviations
from uplink.hj212.sm4 import Envelope, cipher_of
from uplink.hj212.tap import SECRETS

FAILURES: Mapping[str, str] = {  # what makes a frame not ok
    "no-header": "no ## before the length",
    "wrong-length": "the length is no number, above 1024, or not that of the segment",
    "wrong-crc": "the check digits are not those of the segment",
    "wrong-key": "the key makes no text of an enciphered data area",
    "no-key": "enciphered, and no key was given: the check cannot be made",
    "unfinished": "the frame has no end",
    "structure": "the segment is not fields and a data area",
}
REMARKS: Mapping[str, str] = {  # what a receiver can live with, besides the names in messages.CHECKS
    "no-tail": "no CR LF behind the check digits",
    "odd-tail": "a lone CR or LF behind the check digits",
    "lower-case-crc": "check digits in lower case",
    "serial-station-prefix": "a station number of a serial relay before the length",
    "mn-not-hex": "MN is not 24 hexadecimal digits, as 2017 has it",
    "field-order": "fields not in the standard's order",
    "stray-spaces": "spaces around a name, a value or &&",
    "long-cp": "CP of more than 950 bytes",
    "unknown-code": "a factor that is not in the catalogue",
}
SPAN_LIMIT = 16 * 1024  # how far the end of a broken frame is looked for

_NAME = rb"(?:QN|ST|CN|PW|MN|Flag|PNUM|PNO|CP)="
_BEGIN = re.compile(rb"##(?!#)(?=\d{4}|.{0,8}?" + _NAME + rb")|(?<![#0-9A-Za-z])(?=\d{4}" + _NAME + rb")", re.DOTALL)
_RELAY = re.compile(rb"##\d{4}(?=\d{4}" + _NAME + rb")")
_END = re.compile(rb"&&([0-9A-Fa-f]{4})(?![0-9A-Za-z=\-])")
_DIGITS = re.compile(rb"\d{4}")
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_MN = re.compile(r"[0-9A-F]{24}")
_MN_OF_2005 = 14  # characters, of any kind; more than that is the MN of a later generation
_NO_FACTOR = re.compile(r"i\d{5}|SB\d+")  # items of site information and equipment: tables of their own (2017, read)
_SPACES = re.compile(r"(^|[;,=&])[ \t]+|[ \t]+($|[;,=&])")
_TAILS = {b"\r\n": "", b"\\r\\n": "", b"\r": "odd-tail", b"\n": "odd-tail"}


@dataclass(frozen=True, slots=True)
class Inspection:
    """One frame found: *ok* is false exactly when length, check or structure fails."""

    at: int  # where in the data it begins
    ok: bool
    faults: list[str]
    hints: list[str]
    dialect: str
    encrypted: bool
    fields: dict[str, str]
    parameters: dict[str, str]  # what stands in CP and belongs to no factor
    data: list[dict[str, Any]]
    text: str

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON, which is for programs: nothing is masked, `text` is the plain segment.

        A row of `data` has its values by their names, too.
        """
        return asdict(self) | {"data": [{**row["values"], **row} for row in self.data]}


def masked(named: Mapping[str, str]) -> dict[str, str]:
    """*named* without what a frame holds of secrets.

    >>> masked({"PW": "123456", "CN": "1072", "NewPW": ""})
    {'PW': '***', 'CN': '1072', 'NewPW': ''}
    """
    return {name: "***" if name in SECRETS and value else value for name, value in named.items()}


class _Cut(NamedTuple):
    """What was cut out of the data: the segment as it stands there, its check digits, where it ends."""

    segment: bytes
    check: bytes
    end: int
    declared: int | None


@dataclass(slots=True)
class _Finding:
    faults: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def add(self, name: str, hint: str = "") -> None:
        self.faults.append(name)
        if hint:
            self.hints.append(hint)


def inspect(
    data: bytes, key: bytes | None = None, catalogue: Mapping[str, Parameter] | None = None
) -> Iterator[Inspection]:
    """Every frame in *data*, in order; *key* opens SM4, *catalogue* names parameters.

    >>> [found] = inspect(b"10:00 <- ##0036QN=20240601085857223;CN=1011;CP=&&&&2640 ok")
    >>> found.ok, found.fields["CN"], found.faults
    (True, '1011', ['unknown-st', 'bad-pw', 'no-mn', 'no-flag', 'no-tail'])
    """
    at = 0
    while begin := _BEGIN.search(data, at):
        finding = _Finding()
        cut = _cut(data, begin.start(), key, finding)
        yield _judged(data, begin.start(), cut, key, catalogue or {}, finding)
        at = max(cut.end, begin.start() + 2)


def build(fields: Mapping[str, str], data: str = "", key: bytes | None = None) -> bytes:
    """The frame of *fields* (QN, ST, CN … by their names) and *data*, enciphered with *key*.

    >>> build({"QN": "20240601085857223", "CN": "1011"})
    b'##0036QN=20240601085857223;CN=1011;CP=&&&&2640\\r\\n'
    """
    known = {name.lower(): text for name, text in fields.items() if name in FIELDS}
    others = tuple((name, text) for name, text in fields.items() if name not in FIELDS)
    segment = Segment(**{"cn": "", **known, "cp": fence(data)}, others=others)
    return encode(segment.build(), Envelope(lambda: [key]).seal if key else None)


# -- cutting


def _cut(data: bytes, start: int, key: bytes | None, finding: _Finding) -> _Cut:
    """The frame that begins at *start*: by its length if check or line end are there, else by its apparent end."""
    begin = start
    if relay := _RELAY.match(data, start):
        finding.add("serial-station-prefix")
        begin = relay.end()
    elif data.startswith(HEADER, start):
        begin += len(HEADER)
    else:
        finding.add("no-header")
    digits = _DIGITS.match(data, begin)
    declared = int(digits[0]) if digits else None
    begin = digits.end() if digits else begin
    found = _by_length(data, begin, declared, key)
    if found and (_checks(found, key) or data.startswith(b"\r\n", found.end)):
        return found
    return _by_end(data, begin, declared, finding) or found or _unfinished(data, begin, declared, finding)


def _by_length(data: bytes, begin: int, declared: int | None, key: bytes | None) -> _Cut | None:
    if declared is None:
        return None
    printed = Envelope(lambda: [key] if key else []).surplus(data[begin - 6 : begin + 6 * SEGMENT_LIMIT])
    end = begin + declared + (printed or 0)
    check = data[end : end + 4]
    return _Cut(data[begin:end], check, end + 4, declared) if _HEX.fullmatch(check) else None


def _checks(cut: _Cut, key: bytes | None) -> bool:
    plains = [*(Envelope(lambda: [key]).open(cut.segment) if key else ()), cut.segment]
    return any(crc(plain) == int(cut.check, 16) for plain in plains)


def _by_end(data: bytes, begin: int, declared: int | None, finding: _Finding) -> _Cut | None:
    following = _BEGIN.search(data, begin)
    limit = min(following.start() if following else len(data), begin + SPAN_LIMIT)
    end = _END.search(data, begin, limit)
    return _Cut(data[begin : end.start() + 2], end[1], end.end(), declared) if end else None


def _unfinished(data: bytes, begin: int, declared: int | None, finding: _Finding) -> _Cut:
    finding.add("unfinished")
    following = _BEGIN.search(data, begin)
    line = data.find(b"\n", begin)
    ends = [len(data), begin + SPAN_LIMIT, *([following.start()] if following else []), *([line] if line >= 0 else [])]
    end = min(ends)
    return _Cut(data[begin:end].rstrip(b"\r\n"), b"", end, declared)


# -- judging


def _judged(
    data: bytes,
    start: int,
    cut: _Cut,
    key: bytes | None,
    catalogue: Mapping[str, Parameter],
    finding: _Finding,
) -> Inspection:
    sealed = cipher_of(cut.segment) is not None and not _is_plain(cut, key)
    plain = _opened(cut, key, finding) if sealed else cut.segment
    _judge_length(cut, plain, sealed, finding)
    if cut.check and not (sealed and "no-key" in finding.faults):
        _judge_check(cut, plain, finding)
    segment = _parsed(plain, finding)
    if segment:
        _judge_fields(segment, plain, catalogue, finding)
    if cut.check:
        tail = next((fault for tail, fault in _TAILS.items() if data.startswith(tail, cut.end)), "no-tail")
        finding.faults += [tail] * bool(tail)
    return Inspection(
        at=start,
        ok=FAILURES.keys().isdisjoint(finding.faults),
        faults=finding.faults,
        hints=finding.hints,
        dialect=_dialect(segment, finding.faults),
        encrypted=sealed,
        fields=_fields(segment),
        parameters=dict(factors(segment.data).get("", {})) if segment else {},
        data=_values(segment, catalogue) if segment else [],
        text=plain.decode("utf-8", "backslashreplace"),
    )


def _is_plain(cut: _Cut, key: bytes | None) -> bool:
    """Whether a segment that is no text is so by itself (GBK, control characters): the check is over the plain one."""
    opened = key is not None and any(Envelope(lambda: [key]).open(cut.segment))
    return not opened and bool(cut.check) and crc(cut.segment) == int(cut.check, 16)


def _opened(cut: _Cut, key: bytes | None, finding: _Finding) -> bytes:
    if key is None:
        finding.add("no-key")
        return cut.segment
    plains = list(Envelope(lambda: [key]).open(cut.segment))
    if not plains:
        finding.add("wrong-key")
    return plains[0] if plains else cut.segment


def _judge_length(cut: _Cut, plain: bytes, sealed: bool, finding: _Finding) -> None:
    size = len(plain)
    if cut.declared == size <= SEGMENT_LIMIT or (sealed and plain is cut.segment):
        return
    hint = f"{cut.declared if cut.declared is not None else 'nothing'} declared, {size} bytes there"
    if cut.declared == size + 6:
        hint += ": CRC, CR and LF were counted"
    elif cut.declared == len(plain.decode("utf-8", "replace")):
        hint += ": characters were counted, not bytes"
    finding.add("wrong-length", hint)


def _judge_check(cut: _Cut, plain: bytes, finding: _Finding) -> None:
    received = int(cut.check, 16)
    if cut.check != cut.check.upper():
        finding.add("lower-case-crc")
    if received == crc(plain):
        return
    variant = crc_variant(plain, received)
    hint = f"CRC {cut.check.decode()}, {crc(plain):04X} computed"
    finding.add("wrong-crc", f"{hint}: it is the {variant} variant" if variant else hint)


def _parsed(plain: bytes, finding: _Finding) -> Segment | None:
    try:
        return Segment.parse(plain)
    except StructureWrong as fault:
        finding.add("structure", str(fault))
        return None


def _judge_fields(segment: Segment, plain: bytes, catalogue: Mapping[str, Parameter], finding: _Finding) -> None:
    for check in deviations(segment):
        finding.add(check.name, check.text)
    later = (segment.flags or 0) >> VERSION_SHIFT or len(segment.mn) > _MN_OF_2005
    if later and segment.mn and not _MN.fullmatch(segment.mn):
        finding.add("mn-not-hex")
    if (size := cp_length(plain)) > CP_LIMIT:
        finding.add("long-cp", f"CP of {size} bytes")
    head = plain.decode("utf-8", "replace").partition(";CP=")[0]
    names = [part.partition("=")[0].strip() for part in head.split(";")]
    places = [FIELDS.index(name) for name in names if name in FIELDS]
    if places != sorted(places):
        finding.add("field-order")
    # The text of a log, between // and //, may hold any.
    sealed = {"no-key", "wrong-key"} & {*finding.faults}
    text = head if sealed else re.sub(r"//.*?//", "//", plain.decode("utf-8", "replace"), flags=re.DOTALL)
    if _SPACES.search(text):
        finding.add("stray-spaces")
    codes = [code for code in factors(segment.data) if code and not _NO_FACTOR.fullmatch(code)]
    strangers = [code for code in codes if catalogue and not _parameter(code, catalogue)]
    if strangers:
        finding.add("unknown-code", f"not in the catalogue: {', '.join(strangers[:8])}")


# -- what it says


def _fields(segment: Segment | None) -> dict[str, str]:
    if segment is None:
        return {}
    named = {name: getattr(segment, name.lower()) for name in FIELDS if name != "CP"}
    return {name: text for name, text in {**named, **dict(segment.others)}.items() if text}


def _values(segment: Segment, catalogue: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    return [
        {"code": code, "parameter": _parameter(code, catalogue), "values": values}
        for code, values in factors(segment.data).items()
        if code
    ]


def _parameter(code: str, catalogue: Mapping[str, Parameter]) -> str | None:
    return next((key for key, row in catalogue.items() if code in (row.code, row.old_code)), None)


def _dialect(segment: Segment | None, faults: list[str]) -> str:
    """The most telling sign first; Flag alone proves little (9 was sent years before 2025, B)."""
    if "serial-station-prefix" in faults:
        return "serial-relay"
    if segment is None:
        return "unknown"
    if segment.st in _BY_ST:
        return _BY_ST[segment.st]
    if segment.st == "21" and (segment.flags or 0) >> VERSION_SHIFT == 2:
        return "surface-water"
    version = segment.flags >> VERSION_SHIFT if segment.flags is not None else 0
    return {0: "2005", 1: "2017", 2: "2025"}.get(version, "unknown")


_BY_ST: Mapping[str, str] = {"39": "site-dust", "44": "electricity-44", "80": "electricity-80"}
