"""Tells people of alarms: webhooks of 企业微信 and 钉钉 groups, a plain JSON one, and text messages by the modem.

One thread for all of them, never in the way of anything else: each try is bounded, what fails is tried again with
growing pauses for a day and then given up, and every outcome is a record.  Before each try a record says that it is
under way, so that nothing is sent twice after a restart.  Requests and answers of the robots: the vendors' public
pages for group robots as retold by users (medium); both take about 20 messages a minute.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from station import people
from station.i18n import texts
from station.model import Record, StationError, WrongArgument, dataclass, did_you_mean, field
from station.parameters import catalogue
from station.people import Due, NotifySettings
from station.rounding import rounded

if TYPE_CHECKING:
    from station.engine import Engine

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
SPACING_SECONDS = 4.0  # between two messages to one robot
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
MOST_LINES = 10
MOST_BYTES = 2000  # of a text; a group robot of 企业微信 takes 2048
PATIENCE = 240.0  # seconds the thread may be silent
BUSY_CODES = (45009, 130101, -1)  # too many messages, or busy: not the fault of what was sent


class NotTold(StationError):
    """Error raised when a message did not go out; it is tried again."""


class Transport(Protocol):
    """What is used of uplink/http/transport.py."""

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Means:
    """How messages get out: *connect* makes a transport to an address, *text* sends one to a number by modem."""

    connect: Callable[[str, NotifySettings], Transport]
    stopped: type[Exception] = InterruptedError  # what a transport raises when the station stops meanwhile
    text: Callable[[str, str], None] | None = None


# -- words


def line_of(due: Due, language: str, place: str, zone: Any) -> str:
    """One message as a person reads it."""
    said, one = texts(language), due.episode
    parameter = str(one.first.get("parameter") or "")
    known = catalogue().get(parameter)
    words = {
        "alarm": one.alarm,
        "place": place,
        "what": known.name(language) if known else parameter,
        "value": _number(one.first.get("value"), known, language),
        "limit": _number(one.first.get("limit"), known, language),
        "since": f"{one.since.astimezone(zone):%m-%d %H:%M}",
        "at": f"{due.at.astimezone(zone):%m-%d %H:%M}",
        "number": due.number,
        "user": one.word.get("user", ""),
        "minutes": round((due.at - one.since).total_seconds() / 60),
    }
    return said[f"people_line.{due.what}"].format(**words)


def _number(value: Any, known: Any, language: str) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "-"
    return f"{rounded(value, known.decimals)} {known.unit}".strip() if known else f"{value:g}"


def text_of(station: str, lines: Sequence[str]) -> str:
    """A whole message: the station's name and its *lines*, as many bytes as a robot takes."""
    text = "\n".join((f"【{station}】", *lines))
    while len(text.encode()) > MOST_BYTES:
        text = text.encode()[: MOST_BYTES - 3].decode("utf-8", "ignore") + "…"
    return text


def _hidden(number: str) -> str:
    """A telephone number as logs, events and exports may have it.

    >>> _hidden("13800001234")
    '…1234'
    """
    return f"…{number[-4:]}"


# -- requests


def request(
    person: NotifySettings, text: str, items: Sequence[Mapping[str, Any]], secret: str, now: datetime
) -> tuple[str, bytes, dict[str, str]]:
    """What stands behind the webhook's address, the body, and headers.

    >>> from datetime import UTC
    >>> one = NotifySettings(name="duty", kind="wecom", numbers=("13800000000",))
    >>> request(one, "dust", [], "", datetime(2026, 3, 1, tzinfo=UTC))[1].decode()
    '{"msgtype":"text","text":{"content":"dust","mentioned_mobile_list":["13800000000"]}}'
    """
    headers, query = {"Content-Type": "application/json; charset=utf-8"}, ""
    body: dict[str, Any]
    if person.kind == "wecom":
        body = {"msgtype": "text", "text": {"content": text}}
        if person.numbers:
            body["text"]["mentioned_mobile_list"] = list(person.numbers)
    elif person.kind == "dingtalk":
        body = {"msgtype": "text", "text": {"content": text}, "at": {"atMobiles": list(person.numbers)}}
        if secret:
            stamp = str(int(now.timestamp() * 1000))
            digest = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), "sha256").digest()
            query = f"timestamp={stamp}&sign={quote(base64.b64encode(digest), safe='')}"
    else:
        body = {"text": text, "messages": list(items)}
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    if person.kind == "json" and secret:
        headers["X-Niutang-Signature"] = hmac.new(secret.encode(), data, "sha256").hexdigest()
    return query, data, headers


def judge(kind: str, status: int, text: str) -> None:
    """Raise NotTold unless the answer says that the message was taken."""
    if not 200 <= status < 300:
        raise NotTold(f"answered {status}")
    if kind == "json":
        return
    try:
        answer = json.loads(text)
        code = answer.get("errcode") if isinstance(answer, dict) else None
    except (ValueError, RecursionError):
        code = None
    if code is None or isinstance(code, bool):
        raise NotTold("its answer is not that of a group robot; is the address right?")
    if code != 0:
        said = str(answer.get("errmsg") or "")[:80]
        raise NotTold(f"errcode {code}{', too many messages' if code in BUSY_CODES else ''}: {said}")


def parted(url: str, query: str = "") -> tuple[str, str]:
    """Scheme and host of *url*, and what stands behind them with *query* added.

    >>> parted("https://oapi.dingtalk.com/robot/send?access_token=1", "sign=2")
    ('https://oapi.dingtalk.com', '/robot/send?access_token=1&sign=2')
    """
    found = re.fullmatch(r"(https?://[^/?#]+)([^?#]*)(?:\?([^#]*))?", url)
    if found is None:
        raise NotTold("its address is none such as https://host/path")
    asked = "&".join(part for part in (found[3], query) if part)
    return found[1], (found[2] or "/") + (f"?{asked}" if asked else "")


# -- the thread


@dataclass(slots=True)
class _Way:
    """How it stands with one person's way."""

    next_at: float = 0.0  # on the monotonic clock
    pause: float = 0.0
    complaint: str = ""
    last: datetime | None = None
    owed: int = 0
    given_up: set[str] = field(default_factory=set)  # said once, though a disk that refuses has no record of it yet


class Telling(Thread):
    """Tells every person in [[notify]] what is due."""

    def __init__(
        self, engine: Engine, people_: Sequence[NotifySettings], secrets: Mapping[str, tuple[str, str]],
        means: Means, beat: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(name="telling", daemon=True)
        self._engine, self._people, self._secrets, self._means, self._beat = engine, people_, secrets, means, beat
        self._over = Event()
        self.failed: BaseException | None = None
        self._ways = {one.name: _Way() for one in people_}
        self._points = {point.code: point.name for point in engine.config.point}
        self._settled = False
        self._seen = -1  # the newest record that was looked at
        self._next_at: datetime | None = None  # when something becomes due as things stand
        self._offset = 0.0  # of the clock when that was reckoned
        self._back_to: datetime | None = None  # how far back alarms that are not told as over began
        self._reached: dict[tuple[str, str], set[str]] = {}

    def run(self) -> None:
        """Tell until stopped; anything unforeseen is kept for the main thread, which ends the process."""
        try:
            while not self._over.is_set():
                self._beat()
                self.turn()
                self._over.wait(LOOK_SECONDS)
        except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
            self.failed = error

    def wake(self) -> None:
        """Stop soon."""
        self._over.set()

    @property
    def running(self) -> bool:
        """Whether it is not to stop."""
        return not self._over.is_set()

    def shown(self) -> list[dict[str, Any]]:
        """Each person's way, for status."""
        return [
            {
                "name": one.name, "kind": one.kind, "owed": way.owed, "error": way.complaint,
                "last": way.last.isoformat() if way.last else None,
            }
            for one in self._people
            for way in (self._ways[one.name],)
        ]  # fmt: skip

    def turn(self) -> int:
        """Tell what is due of each person whose way is free; how many messages went out."""
        engine = self._engine
        now = engine.clock.now()
        if not self._is_due(now):
            return 0
        watched = {row["name"] for row in engine.alarms.states()} if engine.alarms is not None else set()
        since, soon = self._since(now, watched), now + timedelta(days=1)
        records = [r for kind in (people.ALARM, people.ACKNOWLEDGED) for r in engine.store.records(kind, since, soon)]
        self._next_at = None
        if not records:
            return 0
        known = engine.store.records(people.KIND, since, soon)
        told = people.told(known)
        self._keep_in_mind(people.reached(known), told)
        self._settle(told, now)
        # One that was taken out of station.toml has no end on record, and nobody could acknowledge it.
        all_of_them, went = [one for one in people.episodes(records) if one.alarm in watched], 0
        self._back_to = min(
            (one.since for one in all_of_them if now - (one.over or now) < people.LOOK_BACK), default=now
        )
        for one in self._people:
            coming = people.open_for(one, all_of_them, told.get(one.name, {}), now, engine.loaded.zone)
            owed = [due for due in coming if due.at <= now]
            later = [due.at for due in coming if due.at > now] + ([] if self._next_at is None else [self._next_at])
            self._next_at = min(later, default=None)
            way = self._ways[one.name]
            stale = [due for due in owed if now - due.at > people.FORGOTTEN]
            owed = [due for due in owed if due not in stale]
            stale = [due for due in stale if due.key not in way.given_up]
            if stale:
                way.given_up.update(due.key for due in stale)
                self._keep(one, people.GIVEN_UP, stale, now)
                engine.note("people_given_up", person=one.name, count=len(stale), reason=way.complaint)
            way.owed = len(owed)
            if owed and engine.clock.monotonic() >= way.next_at and self.running:
                went += self._tell(one, owed[:MOST_LINES], now)
        return went

    def _is_due(self, now: datetime) -> bool:
        """Whether there is anything new on record, or something is due by now; else seven days need not be read."""
        clock = self._engine.clock
        newest, offset = self._engine.store.newest("record"), now.timestamp() - clock.monotonic()
        stepped, self._offset = abs(offset - self._offset) > 1.0, offset
        again = any(way.owed and clock.monotonic() >= way.next_at for way in self._ways.values())
        if newest != self._seen:
            kinds = (people.ALARM, people.ACKNOWLEDGED, people.KIND)
            new = self._seen < 0 or self._engine.store.has_newer(self._seen, kinds)
            self._seen = newest
            if new:
                return True
        return stepped or again or (self._next_at is not None and now >= self._next_at)

    def _since(self, now: datetime, watched: Iterable[str]) -> datetime:
        """From when on records matter: seven days, and back to where an alarm that still stands began."""
        since = now - people.LOOK_BACK
        if self._back_to is None:
            begun = [people.begun_before(self._engine.store, name, since) for name in sorted(watched)]
            self._back_to = min((one for one in begun if one is not None), default=since)
        return min(since, self._back_to)

    def _keep_in_mind(
        self, reached: dict[tuple[str, str], set[str]], told: Mapping[str, Mapping[str, tuple[str, datetime]]]
    ) -> None:
        """Which numbers have what is not through with all of them, though the disk may not have it yet."""
        found = {key: reached.get(key, set()) | self._reached.get(key, set()) for key in (*reached, *self._reached)}
        ended = (people.SENT, people.GIVEN_UP, people.UNCERTAIN)
        self._reached = {
            key: numbers for key, numbers in found.items()
            if told.get(key[0], {}).get(key[1], ("",))[0] not in ended
        }  # fmt: skip

    def _settle(self, told: dict[str, dict[str, tuple[str, datetime]]], now: datetime) -> None:
        """What was under way when the station stopped may have arrived: once, at the first look."""
        if self._settled:
            return
        self._settled = True
        for one in self._people:
            done = told.setdefault(one.name, {})
            keys = [key for key, (state, _) in done.items() if state == people.SENDING]
            if keys:
                self._record(one, people.UNCERTAIN, keys, now)
                done |= dict.fromkeys(keys, (people.UNCERTAIN, now))
                self._engine.note("people_uncertain", person=one.name, count=len(keys))

    def _tell(self, one: NotifySettings, owed: Sequence[Due], now: datetime) -> int:
        way, clock = self._ways[one.name], self._engine.clock
        if not self._begun(one, owed, now):
            return 0
        try:
            if one.kind == "sms":
                self._text_each(one, owed, now)
            else:
                self._send(one, owed)
        except (self._means.stopped, InterruptedError):
            return 0  # it may have arrived: the next start will say so
        except StationError as error:
            way.pause = min(max(FIRST_PAUSE, 2 * way.pause), LONGEST_PAUSE)
            way.next_at = clock.monotonic() + way.pause
            self._keep(one, people.TRIED, owed, clock.now(), str(error))
            if not way.complaint:
                log.warning("people: %s: %s", one.name, error)
                self._engine.note("people_not_told", person=one.name, reason=str(error))
            way.complaint = str(error)
            return 0
        self._keep(one, people.SENT, owed, clock.now())
        if way.complaint:
            self._engine.note("people_told_again", person=one.name)
        way.pause, way.complaint, way.last = 0.0, "", clock.now()
        way.next_at, way.owed = clock.monotonic() + SPACING_SECONDS, max(0, way.owed - len(owed))
        return len(owed)

    def _begun(self, one: NotifySettings, owed: Sequence[Due], now: datetime) -> bool:
        """Have it on the disk that *owed* is under way: nothing goes out that could not be remembered."""
        sending = self._keep(one, people.SENDING, owed, now)
        if self._engine.committed():
            return True
        self._ways[one.name].next_at = self._engine.clock.monotonic() + FIRST_PAUSE
        if not self._engine.withdraw([sending]):  # a slow commit has it, or is at it: nothing went out all the same
            self._keep(one, people.TRIED, owed, now, "the disk did not take it in time")
        return False

    def _text_each(self, one: NotifySettings, owed: Sequence[Due], now: datetime) -> None:
        """A text message to each number, of what it has not had yet; what one number got it is not sent again."""
        failed: list[str] = []
        under_way = True  # as `_begun` has put on record
        for number in one.numbers:
            left = [due for due in owed if number not in self._reached.get((one.name, due.key), ())]
            if not left:
                continue
            if not (under_way or self._begun(one, left, now)):
                raise NotTold("the disk did not take it in time")
            try:
                self._means_text(number, self._text(one, left))
            except StationError as error:
                failed.append(f"{_hidden(number)}: {error}")
            else:
                for due in left:
                    self._reached.setdefault((one.name, due.key), set()).add(number)
                self._keep(one, people.TRIED, left, self._engine.clock.now(), reached=[number])
                under_way = False
        if failed:
            raise NotTold("; ".join(failed))

    def _text(self, one: NotifySettings, owed: Sequence[Due]) -> str:
        zone = self._engine.loaded.zone
        lines = [line_of(due, one.language, self._place(due), zone) for due in owed]
        return text_of(self._engine.config.station.name, lines)

    def _send(self, one: NotifySettings, owed: Sequence[Due]) -> None:
        zone = self._engine.loaded.zone
        lines = [line_of(due, one.language, self._place(due), zone) for due in owed]
        items = [self._item(due, line) for due, line in zip(owed, lines, strict=True)]
        self._say(one, text_of(self._engine.config.station.name, lines), items)

    def _say(self, one: NotifySettings, text: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Send *text*; raise NotTold, or what *means* raises when the station stops meanwhile."""
        if one.kind == "sms":
            self._test_text(one, text)
            return
        url, secret = self._secrets[one.name]
        query, body, headers = request(one, text, items, secret, self._engine.clock.now())
        base, path = parted(url, query)
        transport = self._means.connect(base, one)
        try:
            answer = transport.ask("POST", path, body, headers)
        except StationError as error:
            raise NotTold(str(error)) from error  # it names the host alone: the rest of the address is a secret
        finally:
            transport.close()
        judge(one.kind, answer.status, answer.text)

    def _test_text(self, one: NotifySettings, text: str) -> None:
        """To every number, whatever becomes of the others."""
        failed = []
        for number in one.numbers:
            try:
                self._means_text(number, text)
            except StationError as error:
                failed.append(f"{_hidden(number)}: {error}")
        if failed:
            raise NotTold("; ".join(failed))

    def _means_text(self, number: str, text: str) -> None:
        if self._means.text is None:
            raise NotTold("there is no modem to send a text message by ([modem] in station.toml)")
        self._means.text(number, text)

    def _place(self, due: Due) -> str:
        code = str(due.episode.first.get("point") or "")
        return self._points.get(code, code)

    def _item(self, due: Due, line: str) -> dict[str, Any]:
        first = due.episode.first
        named = {key: first.get(key) for key in ("point", "parameter", "period", "value", "unit", "limit", "cause")}
        return {
            "id": due.key, "what": due.what, "alarm": due.episode.alarm, "since": due.episode.since.isoformat(),
            "at": due.at.isoformat(), "text": line, **named,
        }  # fmt: skip

    def _keep(
        self, one: NotifySettings, state: str, owed: Sequence[Due], now: datetime, error: str = "",
        reached: Sequence[str] = (),
    ) -> Record:  # fmt: skip
        return self._record(one, state, [due.key for due in owed], now, error, reached)

    def _record(
        self, one: NotifySettings, state: str, keys: Sequence[str], now: datetime, error: str = "",
        reached: Sequence[str] = (),
    ) -> Record:  # fmt: skip
        more = {**({"error": error} if error else {}), **({"reached": list(reached)} if reached else {})}
        body = {"state": state, "keys": list(keys), **more}
        made = Record(people.KIND, now, body, "", one.name)
        self._engine.keep(made, urgent=True)
        return made

    def test(self, name: str) -> None:
        """Send one person a word that is no alarm; raise StationError where that does not go out."""
        one = next((one for one in self._people if one.name == name), None)
        if one is None:
            known = ", ".join(self._ways) or "none"
            raise WrongArgument(f'there is no [[notify]] "{name}"{did_you_mean(name, self._ways)}; known: {known}')
        self._say(one, text_of(self._engine.config.station.name, [texts(one.language)["people_line.test"]]), [])
