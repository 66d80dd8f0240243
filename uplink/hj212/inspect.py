"""Reads HJ 212 frames out of a log or a capture and names every fault; builds frames by hand.

Nothing is refused here: a frame with a wrong length or check is still taken apart as far as it can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
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
    "no-crc": "no check digits behind the segment",
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
    "line-break": "a line break inside the segment, as of a log that wraps its lines",
    "not-utf-8": "text that is not UTF-8, such as GBK",
    "unknown-code": "a factor that is not in the catalogue",
}
SPAN_LIMIT = 16 * 1024  # how far the end of a broken frame is looked for

_NAME = rb"(?:QN|ST|CN|PW|MN|Flag|PNUM|PNO|CP)="
_BEGIN = re.compile(rb"##(?!#)(?=\d{4}|[^#]{0,8}?" + _NAME + rb")|(?<!##)(?<![0-9A-Za-z])(?=\d{4}" + _NAME + rb")")
_FIRST = re.compile(rb"[^#]{0,8}?(?=" + _NAME + rb")")
_FIELD = re.compile(_NAME)
_RELAY = re.compile(rb"##\d{4}(?=\d{4}" + _NAME + rb")")
_END = re.compile(rb"&&([0-9A-Fa-f]{4})(?![0-9A-Za-z=\-])")
_AREA = b"CP=&&"
_HEADED = re.compile(rb"##(?:\d{4}){1,2}" + _NAME)
_HEAD = len("##00010144Flag=") - 1  # bytes of a header that may lie behind a cut which runs into it
_REST = re.compile(rb"\s*\Z")
_BEHIND = re.compile(rb"[^\r\n#&]*")
_DIGITS = re.compile(rb"\d{4}")
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_FLAG = re.compile(rb"(?:^|;) *Flag *= *(\d{1,3}) *;")
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
    data: bytes, key: bytes | Sequence[bytes] | None = None, catalogue: Mapping[str, Parameter] | None = None
) -> Iterator[Inspection]:
    """Every frame in *data*, in order; *key*, one or several, opens SM4, *catalogue* names parameters.

    >>> [found] = inspect(b"10:00 <- ##0036QN=20240601085857223;CN=1011;CP=&&&&2640 ok")
    >>> found.ok, found.fields["CN"], found.faults
    (True, '1011', ['unknown-st', 'bad-pw', 'no-mn', 'no-flag', 'no-tail'])
    """
    keys = (key,) if isinstance(key, bytes) else tuple(key or ())
    known = _by_code(catalogue or {})
    at = 0
    while begin := _BEGIN.search(data, at):
        start = begin.start()
        at = start + len(HEADER)
        if _noise(data, start, keys):
            continue
        finding = _Finding()
        cut = _cut(data, start, keys, finding)
        yield _judged(data, start, cut, keys, known, finding)
        at = max(cut.end, at)


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


def _noise(data: bytes, start: int, keys: Sequence[bytes]) -> bool:
    """Whether ## and four digits at *start* begin no frame: no field follows in the line, no check at their end."""
    digits = _DIGITS.match(data, start + len(HEADER)) if data.startswith(HEADER, start) else None
    if digits is None or _REST.match(data, digits.end()):  # a capture may end there
        return False
    if _by_length(data, digits.end(), int(digits[0]), keys):
        return False
    return not _FIELD.search(data, digits.end(), _line_end(data, digits.end()))


def _line_end(data: bytes, begin: int) -> int:
    """Where the line ends, or the next frame begins, if that is sooner."""
    following, line = _BEGIN.search(data, begin), data.find(b"\n", begin)
    ends = (following.start() if following else len(data), line if line >= 0 else len(data), begin + SPAN_LIMIT)
    return min(ends)


def _cut(data: bytes, start: int, keys: Sequence[bytes], finding: _Finding) -> _Cut:
    """The frame that begins at *start*: by its length if check or line end are there, else by its apparent end."""
    begin = start
    if relay := _RELAY.match(data, start):
        finding.add("serial-station-prefix")
        begin = relay.end()
    elif data.startswith(HEADER, start):
        begin += len(HEADER)
    else:
        finding.add("no-header")
    digits = _DIGITS.match(data, begin) or _FIRST.match(data, begin)
    declared = int(digits[0]) if digits and _DIGITS.fullmatch(digits[0]) else None
    begin = digits.end() if digits else begin
    found = _by_length(data, begin, declared, keys)
    alone = found is not None and not _HEADED.search(data, begin, found.end + _HEAD)  # reaching into no other frame
    if found and (_checks(found, keys) or (alone and data.startswith(b"\r\n", found.end))):
        return found
    if by_end := _by_end(data, begin, declared):
        return by_end
    if found and alone:
        return found
    return _without_check(data, begin, declared, finding) or _unfinished(data, begin, declared, finding)


def _by_length(data: bytes, begin: int, declared: int | None, keys: Sequence[bytes]) -> _Cut | None:
    if declared is None:
        return None
    printed = Envelope(lambda: keys).surplus(data[begin - 6 : begin + 6 * SEGMENT_LIMIT])
    end = begin + declared + (printed or 0)
    check = data[end : end + 4]
    return _Cut(data[begin:end], check, end + 4, declared) if _HEX.fullmatch(check) else None


def _opened(segment: bytes, keys: Sequence[bytes]) -> list[bytes]:
    """What *segment* says in plain under each of *keys* that opens it."""
    return list(Envelope(lambda: keys).open(segment)) if keys else []


def _checks(cut: _Cut, keys: Sequence[bytes]) -> bool:
    return any(crc(plain) == int(cut.check, 16) for plain in (*_opened(cut.segment, keys), cut.segment))


def _by_end(data: bytes, begin: int, declared: int | None) -> _Cut | None:
    following = _BEGIN.search(data, begin)
    limit = min(following.start() if following else len(data), begin + SPAN_LIMIT)
    end = _END.search(data, begin, limit)
    return _Cut(data[begin : end.start() + 2], end[1], end.end(), declared) if end else None


def _without_check(data: bytes, begin: int, declared: int | None, finding: _Finding) -> _Cut | None:
    """A frame with a data area, and behind it something else than four hexadecimal digits."""
    end, limit = begin + (declared or 0), _line_end(data, begin)
    inside = end <= limit or not _HEADED.search(data, begin, end + _HEAD)
    if not (inside and _AREA in data[begin : end - 2] and data[begin:end].endswith(b"&&")):
        area = data.find(_AREA, begin, limit)
        end = data.rfind(b"&&", area + len(_AREA), limit) + 2 if area >= 0 else 1
    behind = _BEHIND.match(data, end)
    if end < begin or behind is None:
        return None
    check = behind[0].strip()
    if len(check) == 4:
        finding.add("wrong-crc", f"{check.decode('ascii', 'backslashreplace')} are no hexadecimal digits")
    else:
        finding.add("no-crc")
    return _Cut(data[begin:end], b"", end + len(check) if len(check) <= 4 else end, declared)


def _unfinished(data: bytes, begin: int, declared: int | None, finding: _Finding) -> _Cut:
    finding.add("unfinished")
    end = _line_end(data, begin)
    return _Cut(data[begin:end].rstrip(b"\r\n"), b"", end, declared)


# -- judging


def _judged(
    data: bytes,
    start: int,
    cut: _Cut,
    keys: Sequence[bytes],
    known: Mapping[str, str],
    finding: _Finding,
) -> Inspection:
    plain, sealed = _plain(cut, keys, finding)
    closed = sealed and plain is cut.segment
    if not closed:
        _judge_length(cut, plain, finding)
    if cut.check and "no-key" not in finding.faults:
        _judge_check(cut, plain, finding)
    text = plain if closed else _in_utf_8(plain, finding)
    segment = _parsed(_without_area(text) if closed else text, finding)
    if segment:
        _judge_fields(segment, plain, text, known, finding)
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
        data=_values(segment, known) if segment else [],
        text=text.decode("utf-8", "backslashreplace"),
    )


def _plain(cut: _Cut, keys: Sequence[bytes], finding: _Finding) -> tuple[bytes, bool]:
    """The segment as it is in plain, as far as it opens, and whether it is enciphered."""
    if cipher_of(cut.segment) is None:
        return cut.segment, False
    plains = _opened(cut.segment, keys)
    if not plains and _is_plain(cut):
        return cut.segment, False
    if not plains:
        finding.add("wrong-key" if keys else "no-key")
        return cut.segment, True
    sound = (plain for plain in plains if cut.check and crc(plain) == int(cut.check, 16))
    return next(sound, plains[0]), True


def _is_plain(cut: _Cut) -> bool:
    """Whether a segment that is no text is so by itself (GBK, control characters).

    Its check is over what stands there; or its Flag is of a generation that does not encipher.
    """
    if cut.check and crc(cut.segment) == int(cut.check, 16) and _decoded(cut.segment):
        return True
    flag = _FLAG.search(cut.segment)
    return flag is not None and int(flag[1]) >> VERSION_SHIFT < 2 and _AREA + b"{0x" not in cut.segment


def _without_area(segment: bytes) -> bytes:
    """*segment* as if its data area, which cannot be read, were empty."""
    parts = cipher_of(segment)
    return parts[0] + b"&&" if parts else segment


def _in_utf_8(plain: bytes, finding: _Finding) -> bytes:
    """*plain* in UTF-8: from GBK, or with what is neither written as \\xNN."""
    text, name = _decoded(plain) or (plain.decode("utf-8", "backslashreplace"), "neither UTF-8 nor GBK")
    if name != "UTF-8":
        finding.add("not-utf-8", f"the text is {name}")
    return text.encode()


def _decoded(plain: bytes) -> tuple[str, str] | None:
    """*plain* as text, and how it is written: in UTF-8 or in GBK."""
    for name in ("UTF-8", "GBK"):
        with suppress(UnicodeDecodeError):
            return plain.decode(name), name
    return None


def _judge_length(cut: _Cut, plain: bytes, finding: _Finding) -> None:
    size = len(plain)
    if cut.declared == size <= SEGMENT_LIMIT:
        return
    hint = f"{cut.declared if cut.declared is not None else 'nothing'} declared, {size} bytes there"
    if cut.declared == size:
        hint += f": above {SEGMENT_LIMIT}"
    elif cut.declared == size + 6:
        hint += ": CRC, CR and LF were counted"
    elif cut.declared in (len(plain.decode("utf-8", "replace")), len(plain.decode("gbk", "replace"))):
        hint += ": characters were counted, not bytes"
    finding.add("wrong-length", hint)


def _judge_check(cut: _Cut, plain: bytes, finding: _Finding) -> None:
    received = int(cut.check, 16)
    if cut.check != cut.check.upper():
        finding.add("lower-case-crc")
    wanted = crc(plain)
    if received == wanted:
        return
    variant = crc_variant(plain, received)
    hint = f"CRC {cut.check.decode()}, {wanted:04X} computed"
    if variant:
        hint += f": it is the {variant} variant"
    elif received == (wanted >> 8 | (wanted & 0xFF) << 8):
        hint += ": its bytes are swapped"
    elif received == crc(cut.segment):
        hint += ": it is that of the cipher, not of the plain segment"
    finding.add("wrong-crc", hint)


def _parsed(plain: bytes, finding: _Finding) -> Segment | None:
    try:
        return Segment.parse(plain)
    except StructureWrong as fault:
        finding.add("structure", str(fault))
        return None


def _judge_fields(
    segment: Segment, plain: bytes, text: bytes, known: Mapping[str, str], finding: _Finding
) -> None:
    for check in deviations(segment):
        finding.add(check.name, check.text)
    later = (segment.flags or 0) >> VERSION_SHIFT or len(segment.mn) > _MN_OF_2005
    if later and segment.mn and not _MN.fullmatch(segment.mn):
        finding.add("mn-not-hex")
    if b"\n" in text or b"\r" in text:
        finding.add("line-break")
    if (size := cp_length(plain)) > CP_LIMIT:
        finding.add("long-cp", f"CP of {size} bytes")
    head = text.decode("utf-8", "replace").partition(";CP=")[0]
    names = [part.partition("=")[0].strip() for part in head.split(";")]
    places = [FIELDS.index(name) for name in names if name in FIELDS]
    if places != sorted(places):
        finding.add("field-order")
    # The text of a log, between // and //, may hold any.
    sealed = {"no-key", "wrong-key"} & {*finding.faults}
    said = head if sealed else re.sub(r"//.*?//", "//", text.decode("utf-8", "replace"), flags=re.DOTALL)
    if _SPACES.search(said):
        finding.add("stray-spaces")
    codes = [code for code in factors(segment.data) if code and not _NO_FACTOR.fullmatch(code)]
    strangers = [code for code in codes if known and code not in known]
    if strangers:
        finding.add("unknown-code", f"not in the catalogue: {', '.join(strangers[:8])}")


# -- what it says


def _fields(segment: Segment | None) -> dict[str, str]:
    if segment is None:
        return {}
    named = {name: getattr(segment, name.lower()) for name in FIELDS if name != "CP"}
    return {name: text for name, text in {**named, **dict(segment.others)}.items() if text}


def _values(segment: Segment, known: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"code": code, "parameter": known.get(code), "values": values}
        for code, values in factors(segment.data).items()
        if code
    ]


def _by_code(catalogue: Mapping[str, Parameter]) -> dict[str, str]:
    """The parameter of each code, new and old; the first that has it."""
    found: dict[str, str] = {}
    for key, row in catalogue.items():
        for code in filter(None, (row.code, row.old_code)):
            found.setdefault(code, key)
    return found


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
