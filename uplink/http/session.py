"""What happens between reaching a platform and losing it: groups of records, their answers, logins.

A record is done when the platform said so, and never before.  What an answer means:

* yes (template's [success]): the group is answered.
* 401: the token is let go and asked for anew; a second 401 ends the connection, nothing is parked.
* 408, 425, 429, 503 with Retry-After: the whole platform is left alone until then; the time is in the database.
* other 4xx, or a no in the answer: the group is halved until the records that are refused stand alone.  One is parked
  with the reason where others of its group were taken, or where it is refused again after others were; so a platform
  that refuses everything (a wrong address, a right withdrawn) parks nothing, and is tried again.
* 5xx, time-outs, broken connections, HTML, redirects: never a reason to park.  A group that meets a 5xx or a time-out
  steps aside for a while, so that the rest goes on, and the connection begins anew.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from station.model import ConfigError, Kind, Lane, Message, dataclass
from uplink.base import LinkDown, NotAcknowledged, Outbox, Refused
from uplink.hj212.tap import shown
from uplink.http.signing import enciphered, idempotency_key, signature
from uplink.http.tap import masked
from uplink.http.template import EPOCH, fill, inside, with_picture
from uplink.http.transport import ANSWER_LIMIT, Answer, Stopped, Transport, proxy_with
from uplink.trust import Trust
from uplink.wording import identity_of

if TYPE_CHECKING:
    from uplink.http.link import HttpUplink

TURN_SECONDS = 1.0
LATER = frozenset({408, 425, 429})
LATER_SECONDS = 60.0  # where the platform does not say for how long
LONGEST_LATER = 86_400.0
ASIDE_SECONDS = 60.0  # a group that met a 5xx or a time-out; doubles, up to an hour
LONGEST_ASIDE = 3600.0
MOST_ASIDE = 8  # groups; a platform that fails with everything is not taken for one that fails with some
REFUSED_ALL_SECONDS = 600.0
AGAIN_SECONDS = 60.0  # a refused record of which it is not known whether it is to blame
SUSPECTS = 3  # refused records before any was taken: then it is not the records
TOKEN_MARGIN = 30.0  # seconds before its end that a token is renewed
LEAST_TOKEN_SECONDS = 5.0
MOST_KNOWN = 2000  # refused records and failed groups remembered
WORDS = 160  # characters of an answer that are quoted
CONTENT_LIMIT = 1 << 20  # bytes of records in a request


class LaterPlease(LinkDown):
    """Error raised when the platform asked to be left alone for *seconds*."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class Failing(NotAcknowledged):
    """Error raised when the platform failed over a group, which says nothing about its records."""


class No(Exception):
    """The platform said no to this group, and why."""


class Made(NamedTuple):
    """A request, ready to be sent."""

    path: str
    headers: dict[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of a try; *clock_seconds* is the platform's clock minus ours, None where it did not say."""

    connect_seconds: float
    answer_seconds: float
    clock_seconds: float | None


class Session:
    """One connection of *uplink*, from reaching the platform to losing it."""

    def __init__(self, uplink: HttpUplink, outbox: Outbox, stop: Event) -> None:
        self._uplink, self._outbox, self._stop = uplink, outbox, stop
        self._settings, self._platform, self._context = uplink.settings, uplink.platform, uplink.context
        self._taken = False  # whether the platform took anything on this connection
        self._values = self._given()
        self._transport = self._made_transport()

    def _given(self) -> dict[str, str]:
        """[uplink.values] and what the files of [uplink.secrets] hold."""
        secrets = {}
        for name, file in self._settings.secrets.items():
            text = self._context.secret(file)
            if not text or not text.isprintable():
                raise ConfigError(f"{self._settings.name}: {file} holds no usable secret")
            secrets[name] = text
        self._uplink.tap.secrets |= set(secrets.values())
        return {**self._settings.values, **secrets}

    def _made_transport(self) -> Transport:
        s, where = self._settings, self._context.where
        account = self._context.secret(s.proxy_password_file) if s.proxy_password_file else ""
        if account:
            self._uplink.tap.secrets.add(account.partition(":")[2])
        trust = Trust(
            where(s.ca_file) if s.ca_file else None,
            where(s.client_certificate) if s.client_certificate else None,
            where(s.client_key) if s.client_key else None,
            s.pin_sha256,
        )
        return Transport(
            s.url, trust, seconds=s.timeout_seconds, connect_seconds=s.connect_seconds,
            proxy=proxy_with(s.proxy, account), alive=self._alive, monotonic=self._context.monotonic,
            now=lambda: self._context.now().astimezone(self._context.zone).isoformat(timespec="minutes"),
        )  # fmt: skip

    def _alive(self) -> bool:
        self._outbox.wait(0)
        return not self._stop.is_set()

    def close(self) -> None:
        """Let the connection go."""
        self._transport.close()

    # -- before the first record

    def patient(self) -> bool:
        """Wait until the platform may be asked again, also after a reboot; false when the station stops first."""
        while (left := self._outbox.held()) > 0 and not self._stop.is_set():
            self._outbox.wait(min(TURN_SECONDS, left))
        return not self._stop.is_set()

    def reach(self) -> Answer | None:
        """A login where one is due, else a HEAD: any answer shows that the platform is there."""
        try:
            if self._platform.login and self._context.monotonic() >= self._uplink.token_until:
                return self._login()
            answer = self._asked("HEAD", "", None, {})
        except Stopped:
            return None
        if 300 <= answer.status < 400 and answer.status != 304:
            raise self._redirected(answer)
        return answer

    def serve(self) -> None:
        """Send what is owed, the newest first in line, until the station stops."""
        try:
            while not self._stop.is_set():
                group = self._outbox.next(Lane.LIVE, self._uplink.room)
                group = group or self._outbox.next(Lane.HISTORY, self._uplink.room)
                if not group:
                    self._outbox.wait(TURN_SECONDS)
                    continue
                for part in self._parts(group):
                    self._send(part)
        except Stopped:
            return

    def _parts(self, group: Sequence[Message]) -> list[list[Message]]:
        """*group* by the path each kind goes, none longer than a request may be."""
        paths: dict[str, list[list[Message]]] = {}
        sizes: dict[str, int] = {}
        for message in group:
            path, size = self._path(message), len(message.text)
            if message.kind is Kind.SNAPSHOT:
                size = CONTENT_LIMIT  # a picture goes alone
            if path not in paths or sizes[path] + size > CONTENT_LIMIT:
                paths.setdefault(path, []).append([])
                sizes[path] = 0
            paths[path][-1].append(message)
            sizes[path] += size
        return [part for parts in paths.values() for part in parts]

    def _path(self, message: Message) -> str:
        request = self._platform.request
        return request.paths.get(message.kind.name.lower(), request.path)

    # -- a group

    def _send(self, group: Sequence[Message]) -> None:
        """Deliver *group*, and settle what each of its records came to."""
        suspects: list[tuple[Message, str]] = []
        ids = [message.id for message in group]
        try:
            self._deliver(group, suspects)
        except LaterPlease as error:
            self._outbox.later(ids, error.seconds, str(error), hold=True)
            raise
        except Failing as error:
            self._aside(ids, str(error))
            raise
        except Refused as error:
            for message, _ in suspects:
                _bounded(self._uplink.refused).setdefault(message.id, self._uplink.counts["answered"])
            self._outbox.later(ids, REFUSED_ALL_SECONDS, str(error), refused=True)
            raise
        self._settle(group, suspects)

    def _settle(self, group: Sequence[Message], suspects: Sequence[tuple[Message, str]]) -> None:
        """Park what was refused where it is proven that the records are to blame, else put it off."""
        answered, known = self._uplink.counts["answered"], self._uplink.refused
        proven = len(suspects) < len(group)  # others of this very group were taken
        waiting: dict[str, list[int]] = {}
        for message, reason in suspects:
            if proven or answered > known.get(message.id, answered):
                known.pop(message.id, None)
                self._uplink.counts["parked"] += 1
                self._outbox.park(message.id, reason)
            else:
                _bounded(known)[message.id] = answered
                waiting.setdefault(reason, []).append(message.id)
        for reason, ids in waiting.items():
            self._outbox.later(ids, AGAIN_SECONDS, reason, refused=True)
        if len(suspects) == len(group) > 1 and waiting:
            raise Refused(self._everything(suspects[0][1]))

    def _aside(self, ids: Sequence[int], reason: str) -> None:
        """Have the group step aside the second time it fails, a few groups at the most."""
        rounds = self._uplink.failures.get(ids[0], 0) + 1
        _bounded(self._uplink.failures)[ids[0]] = rounds
        now, aside = self._context.monotonic(), self._uplink.aside
        for number in [number for number, due in aside.items() if due + LONGEST_ASIDE < now]:
            del aside[number]
        if rounds > 1 and (ids[0] in aside or len(aside) < MOST_ASIDE):
            wait = min(ASIDE_SECONDS * 2.0 ** (rounds - 2), LONGEST_ASIDE)
            aside[ids[0]] = now + wait
            self._outbox.later(ids, wait, reason)

    def _everything(self, reason: str) -> str:
        return f"{self._settings.url}: refuses everything so far, nothing is parked: {reason}"

    def _deliver(self, group: Sequence[Message], suspects: list[tuple[Message, str]]) -> None:
        """Send *group*; halve it where it is refused, until the records to blame stand alone."""
        try:
            self._post(group)
        except No as refusal:
            if len(group) > 1:
                middle = len(group) // 2
                self._deliver(group[:middle], suspects)
                self._deliver(group[middle:], suspects)
                return
            suspects.append((group[0], str(refusal)))
            self._uplink.counts["refused"] += 1
            if not self._taken and len(suspects) >= SUSPECTS:  # it is not the records
                raise Refused(self._everything(str(refusal))) from refusal
            return
        self._taken = True
        self._uplink.counts["answered"] += len(group)
        self._uplink.failures.pop(group[0].id, None)
        self._uplink.aside.pop(group[0].id, None)
        self._outbox.answered([message.id for message in group])

    def _post(self, group: Sequence[Message]) -> None:
        """One request, with one more after a new login; return where the platform said yes."""
        for again in (False, True):
            if self._platform.login and self._context.monotonic() >= self._uplink.token_until:
                self._login()
            made = self._request(group)
            answer = self._asked(self._platform.request.method, made.path, made.body, made.headers)
            if not self._wants_login(answer):
                break
            self._uplink.token_until = float("-inf")
            if again or not self._platform.login:
                raise LinkDown(f"{self._settings.url}: does not accept the credentials ({self._quoted(answer)})")
        if answer.status == 413 and len(group) > 1:
            self._uplink.room = max(1, min(self._uplink.room, len(group) // 2))
        self._judge(answer)

    def _wants_login(self, answer: Answer) -> bool:
        if answer.status == 401:
            return True
        words = self._platform.success.login_again
        return bool(words) and answer.status < 300 and self._word(answer) in words

    # -- what an answer says

    def _judge(self, answer: Answer) -> None:
        """Return where *answer* is a yes; raise No, or why the connection ends."""
        success, status = self._platform.success, answer.status
        if 300 <= status < 400:
            raise self._redirected(answer)
        if status in LATER or (status == 503 and "retry-after" in answer.headers):
            raise self._later(answer)
        if status >= 500 or status < 200:
            raise Failing(f"{self._settings.url}: answered {self._quoted(answer)}")
        if status >= 400:
            raise No(self._quoted(answer))
        if answer.cut:
            raise Failing(f"{self._settings.url}: answered {answer.phrase} with more than {ANSWER_LIMIT >> 10} KiB")
        if self._is_page(answer):
            raise LinkDown(
                f"{self._settings.url}: answered {answer.phrase} with a web page, which is no answer to records; "
                "is the address right, does a login page of the network stand in between?"
            )
        if success.statuses and status not in success.statuses:
            raise No(self._quoted(answer))
        if not success.field:
            return
        word = self._word(answer)
        if word in success.later:
            raise self._later(answer)
        if word is None:
            said = f"answered {answer.phrase} without {success.field}: {self._words(answer)}"
            raise Failing(f"{self._settings.url}: {said}")
        if word not in success.equals:
            raise No(f"{success.field}={self._clean(word)[:WORDS]}: {self._words(answer)}")

    def _word(self, answer: Answer) -> str | None:
        """What stands in the field that decides, as text; None where it is not there."""
        found = inside(_json(answer.text), self._platform.success.field)
        if found is None:
            return None
        return found if isinstance(found, str) else json.dumps(found)

    def _is_page(self, answer: Answer) -> bool:
        kind = answer.headers.get("content-type", "").lower()
        return "html" in kind or answer.text.lstrip()[:15].lower().startswith(("<!doctype html", "<html"))

    def _later(self, answer: Answer) -> LaterPlease:
        seconds = _seconds(answer.headers.get("retry-after", ""), self._context.now())
        return LaterPlease(
            f"{self._settings.url}: asks to come again in {seconds:.0f} s ({self._quoted(answer)})", seconds
        )

    def _redirected(self, answer: Answer) -> LinkDown:
        to = self._clean(answer.headers.get("location", "nowhere"))[:WORDS]
        return LinkDown(
            f"{self._settings.url}: answered {answer.phrase} to {to}; redirects are not followed, "
            "put the right address into url"
        )

    def _quoted(self, answer: Answer) -> str:
        """Status and the platform's words, masked, for a reason."""
        words = "a web page" if self._is_page(answer) else self._words(answer)
        return f"{answer.phrase}: {words}" if words else answer.phrase

    def _words(self, answer: Answer) -> str:
        told = inside(_json(answer.text), self._platform.success.message) if self._platform.success.message else None
        return self._clean(told if isinstance(told, str) else answer.text)[:WORDS]

    def _clean(self, text: str) -> str:
        return " ".join(shown(masked(text, self._uplink.tap.secrets).replace("\n", " ")).split())

    # -- requests

    def _login(self) -> Answer:
        """Ask for a token; raise LinkDown where none comes."""
        login, values = self._platform.login, {**self._values, **self._moment()}
        assert login is not None
        escaped = {name: self._platform.escaped(value) for name, value in values.items()}
        headers = {"Content-Type": self._platform.content} if login.text else {}
        headers |= {name: fill(text, values) for name, text in login.headers.items()}
        quoted = {name: quote(value, safe="") for name, value in values.items()}
        body = fill(login.text, escaped) or None
        answer = self._asked(login.method, fill(login.path, quoted), body, headers, told=False)
        data = _json(answer.text)
        token = inside(data, login.token)
        if isinstance(token, str):
            self._uplink.tap.secrets.add(token)  # before anything of the answer is shown
        self._uplink.tap.tell("in", answer.phrase, answer.headers, answer.text)
        if 300 <= answer.status < 400:
            raise self._redirected(answer)
        if answer.status in LATER:
            raise LinkDown(str(self._later(answer)))
        if answer.status >= 300 or not isinstance(token, str) or not token.isprintable() or not token:
            raise LinkDown(f"{self._settings.url}: the login brought no {login.token} ({self._quoted(answer)})")
        lifetime = inside(data, login.lifetime) if login.lifetime else None
        good = isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and lifetime > 0
        seconds = float(lifetime) if good and lifetime is not None else float(login.lifetime_seconds)
        self._uplink.token = token
        life = max(LEAST_TOKEN_SECONDS, seconds - TOKEN_MARGIN)
        self._uplink.token_until = self._context.monotonic() + min(life, LONGEST_LATER)
        self._uplink.counts["logins"] += 1
        return answer

    def _moment(self) -> dict[str, str]:
        now = self._context.now()
        ms = int((now - EPOCH).total_seconds() * 1000)
        return {
            "now": self._platform.written(now, self._context.zone),
            "timestamp": str(ms // 1000),
            "timestamp_ms": str(ms),
            "nonce": os.urandom(16).hex(),
        }

    def _request(self, group: Sequence[Message]) -> Made:
        """Path, headers and body of *group*, signed and enciphered as the template says."""
        platform = self._platform
        key = idempotency_key([identity_of(message) for message in group])
        values = {
            **self._values,
            **self._moment(),
            "records": ",".join(self._whole(message) for message in group),
            "count": str(len(group)),
            "key": key,
            "resupply": "true" if all(message.resupply for message in group) else "false",
            "token": self._uplink.token,
        }
        if platform.cipher:
            plain = fill(platform.request.plain, self._for_body(values))
            values["cipher"] = enciphered(platform.cipher, values, plain)
        signs_body = platform.sign is not None and "$body" in platform.sign.text.replace("${body}", "$body")
        if platform.sign and not signs_body:
            values["signature"] = signature(platform.sign, values)
        values["body"] = fill(platform.request.text, self._for_body(values))
        if platform.sign and signs_body:
            values["signature"] = signature(platform.sign, values)
        headers = {name: fill(text, values) for name, text in platform.request.headers.items()}
        headers |= {"Content-Type": platform.content, "Idempotency-Key": key}
        quoted = {name: quote(value, safe="") for name, value in values.items()}
        return Made(fill(self._path(group[0]), quoted), headers, values["body"])

    def _whole(self, message: Message) -> str:
        """The text of *message*, a still with its picture."""
        if message.kind is not Kind.SNAPSHOT:
            return message.text
        return with_picture(message.text, self._context.still, self._platform.record.picture_kb)

    def _for_body(self, values: Mapping[str, str]) -> dict[str, str]:
        """*values* escaped; records are texts of the template's own, a cipher and a flag need none in JSON."""
        return {name: value if name == "records" else self._platform.escaped(value) for name, value in values.items()}

    def _asked(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str], *, told: bool = True
    ) -> Answer:
        """One exchange, shown to who looks (the answer only if *told*); raise LinkDown where none came about."""
        tap = self._uplink.tap
        tap.tell("out", f"{method} {self._settings.url}{path}", headers, body or "")
        sent, data = dict(headers), body.encode() if body is not None else None
        if data is not None and self._settings.gzip:
            sent["Content-Encoding"] = "gzip"
            data = gzip.compress(data, 6, mtime=0)
        self._uplink.counts["requests"] += 1
        try:
            answer = self._transport.ask(method, path, data, sent)
        except NotAcknowledged as error:
            tap.tell("in", masked(str(error), tap.secrets), {}, "")
            raise Failing(str(error)) from error
        except LinkDown as error:
            tap.tell("in", masked(str(error), tap.secrets), {}, "")
            raise
        if told:
            tap.tell("in", answer.phrase, answer.headers, answer.text)
        return answer


def _bounded(known: dict[int, int]) -> dict[int, int]:
    """*known* without its oldest entries when it has grown: what is forgotten is tried once more."""
    while len(known) > MOST_KNOWN:
        del known[next(iter(known))]
    return known


def _json(text: str) -> Any:
    """The answer as JSON, None where it is none; one nested without end is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _seconds(text: str, now: datetime) -> float:
    """What Retry-After says, as seconds: a number or a date (RFC 9110 10.2.3), within reason.

    >>> _seconds("120", EPOCH), _seconds("Thu, 01 Jan 1970 00:05:00 GMT", EPOCH), _seconds("soon", EPOCH)
    (120.0, 300.0, 60.0)
    """
    if text.isascii() and text.isdigit():
        return min(max(1.0, float(text[:9])), LONGEST_LATER)
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return LATER_SECONDS
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(1.0, (at - now).total_seconds()), LONGEST_LATER)


class _Nobody:
    """An outbox with nothing in it, for a try."""

    def wait(self, seconds: float) -> bool:
        """Return at once."""
        return False


def probe(uplink: HttpUplink) -> Probe:
    """Reach the platform once; raise UplinkError where that fails."""
    session: Session = Session(uplink, _Nobody(), Event())  # type: ignore[arg-type]
    try:
        began = time.monotonic()
        session.reach()
        between = time.monotonic()
        answer = session._asked("HEAD", "", None, {})
        ended = time.monotonic()
    finally:
        session.close()
    return Probe(round(between - began, 3), round(ended - between, 3), _clock(answer, uplink.context.now()))


def _clock(answer: Answer, now: datetime) -> float | None:
    """How far the Date of *answer*, whole seconds, is from *now*."""
    try:
        at = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, TypeError, ValueError):
        return None
    return round(((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds(), 1)
