"""How one platform wants its requests: a TOML file of texts with $names, read and held against its own rules.

The texts are those of `string.Template`: a name is replaced by its value, escaped for where it stands; nothing is
computed, nothing is evaluated.  A text that names what is not there is a fault of the template, found when
station.toml is read.
"""

from __future__ import annotations

import json
import re
import tomllib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from string import Template as Text
from typing import Any
from urllib.parse import quote_plus

from station.model import ConfigError, Kind, Mark, dataclass, did_you_mean, field, fields

STILL = re.compile(r"@still:([0-9TZ]{16}-[0-9a-f]{16}\.jpg):([0-9a-f]{64})@")
SHIPPED = Path(__file__).with_name("templates")
ESCAPES = ("json", "form")
DIGESTS = ("md5", "hmac-sha256")
FORMS = ("hex", "HEX", "base64")
MODES = ("aes-cbc", "aes-ecb")

# What a text may name, and where.
VALUE_NAMES: Mapping[str, str] = {
    "parameter": "key of the catalogue, such as pm25",
    "code": "factor code: codes of [[uplink]], else that of HJ 212-2017, else the key",
    "unit": "unit the digits are in",
    "value": "mean of the period, sum of what is summed, latest reading in real-time data; digits, or null",
    "min": "smallest reading of the period; digits, or null",
    "max": "largest reading of the period; digits, or null",
    "converted": "mean at reference oxygen; digits, or null",
    "mark": "quality mark N S T D C M F B, or what [marks] makes of it",
    "valid": "number of readings that entered",
    "expected": "number of readings the poll interval promised",
}
RECORD_NAMES: Mapping[str, str] = {
    "id": "what the record is, the same whenever it is sent: point, kind, start and version",
    "point": "code of the station's point",
    "device": "what the platform calls the point",
    "kind": "realtime, minute, hour, day ..., or what [kinds] makes of it",
    "start": "start of the period, or the moment of real-time data",
    "end": "end of the period; the start in real-time data",
    "version": "1, and more when late data changed a period that was reported",
    "event": "JSON of what happened; in the event and snapshot texts alone",
    "picture": "a still as base64, empty where it is larger than picture_kb or gone; in the snapshot text alone",
}
REQUEST_NAMES: Mapping[str, str] = {
    "records": "the records of this request, separated by commas",
    "count": "how many they are",
    "key": "the Idempotency-Key of these records",
    "resupply": "true where they are sent late, from the backlog; else false",
    "now": "the time of sending, written as `time` says",
    "timestamp": "the time of sending, seconds since 1970",
    "timestamp_ms": "the time of sending, milliseconds since 1970",
    "nonce": "32 hexadecimal digits, new for every request",
    "token": "what the login brought",
    "cipher": "the plain text enciphered, base64; with [cipher]",
    "signature": "with [sign]; not in what it is made of",
    "body": "the body as sent; in the text that is signed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTexts:
    """[record]: the text of one record; *lists* are made of its values, one text each, joined by commas.

    *snapshot* is that of a camera's still, whose picture has up to *picture_kb* KiB; without it none is sent.
    """

    text: str
    event: str = ""
    snapshot: str = ""
    picture_kb: int = 1024
    lists: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTexts:
    """[request]: where a group of records goes and what stands around it; *plain* is what [cipher] enciphers."""

    text: str
    path: str = ""
    method: str = "POST"
    plain: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)  # by kind, where not all go one way


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """[login]: what is asked for a token, in which field of the answer it comes, and how long it lives."""

    path: str
    text: str = ""
    method: str = "POST"
    token: str = "token"
    lifetime: str = ""  # field with seconds
    lifetime_seconds: int = 3600  # where the answer has none
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """[sign]: what $signature is."""

    method: str
    text: str
    key: str = ""
    form: str = "hex"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cipher:
    """[cipher]: how the plain text of a request becomes $cipher (AES, PKCS 7, base64)."""

    mode: str
    key: str
    iv: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """[success]: what of an answer says that the platform has the records.

    *field* is a path such as result.code into the JSON answer.  Its values in *equals* are a yes, those in
    *login_again* a token that ran out, those in *later* a platform that is busy; all else is a no.
    """

    statuses: tuple[int, ...] = ()  # all of 200 to 299 where empty
    field: str = ""
    equals: tuple[str, ...] = ()
    login_again: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One platform's template."""

    title: str
    source: str
    record: RecordTexts
    request: RequestTexts
    success: Success = field(default_factory=Success)
    login: Login | None = None
    sign: Sign | None = None
    cipher: Cipher | None = None
    content: str = "application/json"
    escape: str = "json"
    time: str = "iso"
    missing: str = "null"
    marks: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    def written(self, moment: datetime, zone: tzinfo) -> str:
        """*moment* as this platform reads times."""
        if self.time == "unix":
            return str(int(moment.timestamp()))
        if self.time == "unix_ms":
            return str(int(moment.timestamp()) * 1000)
        local = moment.astimezone(zone)
        return local.isoformat(timespec="seconds") if self.time == "iso" else local.strftime(self.time)

    def escaped(self, text: str) -> str:
        """*text* as it may stand in a body."""
        return json.dumps(text, ensure_ascii=False)[1:-1] if self.escape == "json" else quote_plus(text)

    def asked(self) -> set[str]:
        """The names that the station has no value for: [uplink.values] and [uplink.secrets] must have them."""
        found: set[str] = set()
        for _, text, names in self._request_texts():
            found |= set(Text(text).get_identifiers()) - set(names)
        return found

    def _request_texts(self) -> Iterator[tuple[str, str, Iterable[str]]]:
        """Place, text and the names it may use beside those of the platform's table, of all but records."""
        before = {"now", "timestamp", "timestamp_ms", "nonce"}
        every = set(REQUEST_NAMES) - {"body"}
        unsigned = every - {"signature"}
        if self.login:
            yield "login.path", self.login.path, before
            yield "login.text", self.login.text, before
            yield from ((f"login.headers.{name}", text, before) for name, text in self.login.headers.items())
        signs_body = self.sign is not None and "body" in Text(self.sign.text).get_identifiers()
        inside = unsigned if signs_body or not self.sign else every
        if not self.cipher:
            inside = inside - {"cipher"}
        yield "request.text", self.request.text, inside
        yield "request.plain", self.request.plain, unsigned - {"cipher"}
        for name, text in self.request.headers.items():
            yield f"request.headers.{name}", text, every if self.sign else unsigned
        for place, text in (("path", self.request.path), *((f"paths.{k}", p) for k, p in self.request.paths.items())):
            yield f"request.{place}", text, (every if self.sign else unsigned) - {"records", "cipher"}
        if self.sign:
            yield "sign.text", self.sign.text, unsigned | {"body"}
            yield "sign.key", self.sign.key, {"token"}
        if self.cipher:
            yield "cipher.key", self.cipher.key, ()
            yield "cipher.iv", self.cipher.iv, ()

    # -- what is wrong with it

    def faults(self) -> Iterator[tuple[str, str]]:
        """Place and sentence of what cannot work."""
        yield from self._word_faults()
        good = True
        for place, text, names in self._all_texts():
            if not Text(text).is_valid():
                yield place, "has a $ that begins no name; write $$ for the sign itself"
                good = False
                continue
            if names is None:  # what a request names is asked of [uplink.values]
                continue
            for name in Text(text).get_identifiers():
                if name not in names:
                    yield place, f"${name} is not known here{did_you_mean(name, names)}"
                    good = False
        for place, text, names in self._request_texts():
            for name in Text(text).get_identifiers() if Text(text).is_valid() else ():
                if name in REQUEST_NAMES and name not in names:
                    yield place, f"${name} has no value here"
                    good = False
        if good and self.escape == "json":
            yield from self._json_faults()

    def _all_texts(self) -> Iterator[tuple[str, str, Iterable[str] | None]]:
        lists = self.record.lists
        plain = set(RECORD_NAMES) - {"event", "picture"}
        yield "record.text", self.record.text, plain | set(lists)
        yield "record.event", self.record.event, plain | {"event"}
        yield "record.snapshot", self.record.snapshot, set(RECORD_NAMES)
        yield from ((f"record.lists.{name}", text, VALUE_NAMES) for name, text in lists.items())
        yield from ((place, text, None) for place, text, _ in self._request_texts())

    def _word_faults(self) -> Iterator[tuple[str, str]]:
        choices: list[tuple[str, str, Sequence[str]]] = [
            ("escape", self.escape, ESCAPES),
            ("missing", self.missing, ("null", "omit")),
        ]
        if self.sign:
            choices += [("sign.method", self.sign.method, DIGESTS), ("sign.form", self.sign.form, FORMS)]
        if self.cipher:
            choices += [("cipher.mode", self.cipher.mode, MODES)]
        for place, word, known in choices:
            if word not in known:
                yield place, f'"{word}" is not one of {", ".join(known)}{did_you_mean(word, known)}'
        for name in self.marks:
            if name not in Mark.__members__:
                yield f"marks.{name}", "is no mark: N S T D C M F B"
        for table, names in (("kinds", self.kinds), ("request.paths", self.request.paths)):
            for name in names:
                if name.upper() not in Kind.__members__:
                    yield f"{table}.{name}", "is no kind of record"
        if self.sign and self.sign.method == "hmac-sha256" and not self.sign.key:
            yield "sign.key", "is missing: HMAC needs one"
        if self.cipher and self.cipher.mode == "aes-cbc" and not self.cipher.iv:
            yield "cipher.iv", "is missing: CBC needs one"
        if self.success.field and not self.success.equals:
            yield "success.equals", f"is missing: which values of {self.success.field} are a yes?"
        if not self.success.field and (self.success.equals or self.success.later or self.success.login_again):
            yield "success.field", "is missing: whose values are they?"

    def _json_faults(self) -> Iterator[tuple[str, str]]:
        """Texts that are no JSON once their names are filled in."""
        values = dict.fromkeys(VALUE_NAMES, "1")
        lists = {name: Text(text).substitute(values) for name, text in self.record.lists.items()}
        named = {**dict.fromkeys(RECORD_NAMES, "1"), **lists}
        record = Text(self.record.text).substitute(named)
        request = {**dict.fromkeys([*REQUEST_NAMES, *self.asked()], "1"), "records": record, "resupply": "false"}
        texts = [("record.text", record)]
        for key in ("event", "snapshot"):
            texts.append((f"record.{key}", Text(getattr(self.record, key)).substitute(named)))
        texts += [("request.text", Text(self.request.text).substitute(request))]
        texts += [("request.plain", Text(self.request.plain).substitute(request))]
        for place, text in texts:
            try:
                json.loads(text or "{}")
            except ValueError as error:
                yield place, f"is no JSON once its names are filled in ({error})"


def fill(text: str, values: Mapping[str, str]) -> str:
    """*text* with its names replaced.

    >>> fill('{"t":"$now"}', {"now": "1"})
    '{"t":"1"}'
    """
    return Text(text).substitute(values)


def still_mark(file: str, sha256: str) -> str:
    """What stands in the text of a still in place of its picture, until it is sent."""
    return f"@still:{file}:{sha256}@"


def with_picture(text: str, still: Callable[[str, str], bytes], most_kb: int) -> str:
    """*text* with the picture that it names as base64; with none where that is gone or larger.

    >>> text = still_mark("20260301T000000Z-0123456789abcdef.jpg", "0" * 64)
    >>> with_picture(text, lambda file, sha256: b"jpeg", 1), with_picture(text, lambda file, sha256: b"", 1)
    ('anBlZw==', '')
    """

    def encoded(found: re.Match[str]) -> str:
        data = still(found[1], found[2])
        return b64encode(data).decode() if len(data) <= most_kb << 10 else ""

    return STILL.sub(encoded, text, count=1)


def inside(answer: Any, path: str) -> Any:
    """What stands at *path* of an answer, None where nothing does.

    >>> inside({"result": {"code": 0}}, "result.code"), inside([], "x") is None
    (0, True)
    """
    for part in path.split("."):
        if not isinstance(answer, Mapping) or part not in answer:
            return None
        answer = answer[part]
    return answer


def shipped() -> list[str]:
    """The names of the templates that ship."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(path: Path) -> Platform:
    """The template at *path*; raise ConfigError with everything that is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the template cannot be read ({getattr(error, 'strerror', error)})") from error
    return parse(text, str(path))


def parse(text: str, where: str = "template") -> Platform:
    """The template in *text*.

    >>> parse('titel = "x"')
    Traceback (most recent call last):
        ...
    station.model.ConfigError: template: titel: unknown key; did you mean title?; title: is missing; source: is \
missing; record: is missing; request: is missing
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: is no TOML ({error})") from error
    faults: list[str] = []
    made: Platform | None = _build(Platform, table, "", faults)
    if made is not None and not faults:
        faults = [f"{place}: {said}" for place, said in made.faults()]
    if faults or made is None:
        raise ConfigError(f"{where}: {'; '.join(faults)}")
    return made


_PARTS = {
    "record": RecordTexts,
    "request": RequestTexts,
    "success": Success,
    "login": Login,
    "sign": Sign,
    "cipher": Cipher,
}


def _build(cls: type[Any], table: Mapping[str, Any], place: str, faults: list[str]) -> Any:
    """An instance of *cls*, or None with what is wrong in *faults*."""
    known = {one.name: one for one in fields(cls)}
    before = len(faults)
    faults += [f"{place}{key}: unknown key{did_you_mean(key, known)}" for key in table if key not in known]
    made: dict[str, Any] = {}
    for name, one in known.items():
        here = f"{place}{name}"
        if name not in table:
            if _needed(one):
                faults.append(f"{here}: is missing")
        elif name in _PARTS and cls is Platform:
            if isinstance(table[name], dict):
                made[name] = _build(_PARTS[name], table[name], f"{here}.", faults)
            else:
                faults.append(f"{here}: is not a table")
        else:
            made[name] = _plain(str(one.type), table[name], here, faults)
    return cls(**made) if len(faults) == before else None


def _needed(one: Any) -> bool:
    from station.model import MISSING

    return one.default is MISSING and one.default_factory is MISSING


def _plain(kind: str, value: Any, place: str, faults: list[str]) -> Any:
    """*value* as a text, number, table of texts or list, whichever *kind* asks for."""
    if kind == "int":
        good, words = type(value) is int and value > 0, "a whole number above 0"
    elif kind.startswith("Mapping"):
        good, words = isinstance(value, dict) and all(isinstance(v, str) for v in value.values()), "a table of texts"
    elif kind.startswith("tuple[int"):
        good, words = isinstance(value, list) and all(type(v) is int for v in value), "a list of whole numbers"
    elif kind.startswith("tuple"):
        good, words = isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of texts"
    else:
        good, words = isinstance(value, str), "a text"
    if not good:
        faults.append(f"{place}: is not {words}")
    return tuple(value) if isinstance(value, list) else value


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
