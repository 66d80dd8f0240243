"""Who is told of an alarm, when, and in which words: everything but the sending.

What is due follows from the records alone: the changes of the alarms, people's acknowledgements, and what was told
before.  So a start goes on where the station stopped.  A message that was under way when the station died may have
arrived: it is not sent a second time, and said to be uncertain; a reminder follows where the alarm still stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from station.alarm import State
from station.clock import from_ms, to_ms
from station.loader import Fault
from station.model import Record, dataclass, did_you_mean, field, setting

if TYPE_CHECKING:
    from pathlib import Path

    from station.config import Config
    from station.store import Store

KIND = "told"  # of records: what became of a message to a person
ALARM, ACKNOWLEDGED = "alarm", "alarm_ack"  # as station/alarming.py keeps them
FORGOTTEN = timedelta(hours=24)  # what could not be told for so long is given up
LOOK_BACK = timedelta(days=7)  # an alarm that has stood for longer is reminded of no more
RAISED, PRE, AGAIN, TAKEN, OVER = "raised", "pre", "again", "acknowledged", "over"
SENDING, SENT, TRIED, UNCERTAIN, GIVEN_UP = "sending", "sent", "tried", "uncertain", "given_up"
KINDS = ("wecom", "dingtalk", "json", "sms")
URL = re.compile(r"(https?://[A-Za-z0-9.\-\[\]:]+)((?:/[!-~]*)?(?:\?[!-~]*)?)")
QUIET = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """One [[notify]] table: a person, or a group, who is told of alarms."""

    name: str = setting(text="whom it reaches, such as duty or manager")
    kind: str = setting(choices=KINDS, text="group robot wecom 企业微信 or dingtalk 钉钉, our own json, sms by modem")
    url_file: str = setting("", text="file with the webhook's address, which is a secret; not for sms")
    secret_file: str = setting("", text="file with the secret by which messages are signed; dingtalk and json")
    numbers: tuple[str, ...] = setting((), text="telephone numbers: mentioned by robots, receivers of an sms")
    language: str = setting("zh", choices=("zh", "en"), text="language of the messages")
    alarms: tuple[str, ...] = setting((), text="names of the alarms; all when empty")
    pre_alarms: bool = setting(False, text="pre-alarms, too")
    after_minutes: float = setting(0.0, low=0, high=1440, text="told only when nobody has acknowledged it for so long")
    repeat_minutes: float = setting(
        60.0, low=0, high=1440, text="minutes between reminders, until it is acknowledged or over"
    )
    repeat_times: int = setting(3, low=0, high=100, text="and so often at most")
    quiet: str = setting("", text="told only after these hours, such as 22:00-06:30, of what still stands then")
    always: tuple[str, ...] = setting((), text="alarms that are told in quiet hours, too")
    timeout_seconds: float = setting(10.0, low=1, high=60, text="a webhook that takes longer is tried again later")


@dataclass(slots=True)
class Episode:
    """One alarm from when it rang to when it was over; *first* is its record's body."""

    alarm: str
    key: str
    since: datetime
    first: Mapping[str, Any]
    is_pre: bool = False
    over: datetime | None = None
    last: Mapping[str, Any] = field(default_factory=dict)
    taken: datetime | None = None
    word: Mapping[str, Any] = field(default_factory=dict)

    def stands(self, now: datetime) -> bool:
        """Whether it rings on, and nobody has acknowledged it."""
        return (self.over is None or self.over > now) and (self.taken is None or self.taken > now)


@dataclass(frozen=True, slots=True)
class Due:
    """A message that one person is owed: *what* of which *episode*; *key* is its own for ever."""

    key: str
    what: str
    at: datetime
    episode: Episode
    number: int = 0  # of a reminder


def episodes(records: Iterable[Record]) -> list[Episode]:
    """The episodes in *records* of alarms and acknowledgements, oldest first."""
    found: list[Episode] = []
    open_of: dict[str, Episode] = {}
    pre_of: dict[str, Episode] = {}
    for record in sorted(records, key=lambda one: (one.at, one.id)):
        name, body = record.device, record.body
        if record.kind == ACKNOWLEDGED:
            one = open_of.get(name)
            if one is not None and one.key == f"{name} {body['episode']}":
                one.taken, one.word = record.at, body
            continue
        key = f"{name} {body['episode']}"
        standing = open_of.get(name)
        if standing is not None and standing.key != key:
            standing.over, standing.last = record.at, body
            del open_of[name]
        if name in pre_of and body["state"] != State.PRE_ALARM:
            pre_of.pop(name).over = record.at
        if body["episode"] and name not in open_of:
            # An alarm goes stale and comes back within one episode: its first record may lie before those looked at.
            found.append(Episode(name, key, _begun(record), body))
            open_of[name] = found[-1]
        elif body["state"] == State.PRE_ALARM and body["before"] != State.ALARM and name not in pre_of:
            found.append(Episode(name, f"{name} pre {record.at.isoformat()}", record.at, body, is_pre=True))
            pre_of[name] = found[-1]
    return found


def _begun(record: Record) -> datetime:
    """When the episode that *record* is of began, which its name says (station/alarming.py)."""
    try:
        return min(record.at, datetime.fromisoformat(record.body["episode"]))
    except (ValueError, TypeError):  # a name that is no moment with its zone
        return record.at


def begun_before(store: Store, alarm: str, at: datetime) -> datetime | None:
    """When the episode of *alarm* that stood at *at* began; None where it did not ring then."""
    which = "kind = ? AND at_ms < ? AND device = ? ORDER BY at_ms DESC, id DESC LIMIT 1"
    query = f"SELECT at_ms, body FROM record WHERE {which}"
    for at_ms, body in store.query(query, (ALARM, to_ms(at), alarm)):
        record = Record(ALARM, from_ms(at_ms), json.loads(body), "", alarm)
        return _begun(record) if record.body.get("episode") else None
    return None


def told(records: Iterable[Record]) -> dict[str, dict[str, tuple[str, datetime]]]:
    """By person: what became of each message last, and when."""
    found: dict[str, dict[str, tuple[str, datetime]]] = {}
    for record in sorted(records, key=lambda one: one.id):
        for key in record.body["keys"]:
            found.setdefault(record.device, {})[key] = (record.body["state"], record.at)
    return found


def reached(records: Iterable[Record]) -> dict[tuple[str, str], set[str]]:
    """By person and message: the numbers that a text message has gone to already."""
    found: dict[tuple[str, str], set[str]] = {}
    for record in records:
        for key in record.body["keys"] if record.body.get("reached") else ():
            found.setdefault((record.device, key), set()).update(record.body["reached"])
    return found


def due(
    person: NotifySettings, all_of_them: Sequence[Episode], done: Mapping[str, tuple[str, datetime]], now: datetime,
    zone: tzinfo,
) -> Iterator[Due]:  # fmt: skip
    """Everything *person* is owed at *now* and not told of yet, in the order of its time."""
    yield from (one for one in open_for(person, all_of_them, done, now, zone) if one.at <= now)


def open_for(
    person: NotifySettings, all_of_them: Sequence[Episode], done: Mapping[str, tuple[str, datetime]], now: datetime,
    zone: tzinfo,
) -> list[Due]:  # fmt: skip
    """What `due` has, and behind it what will be due later as things stand, in the order of its time."""
    found: list[Due] = []
    for one in all_of_them:
        if _concerns(person, one) and now - (one.over or now) < LOOK_BACK:
            found += _due_of(person, one, done, now, zone)
    return sorted((one for one in found if _open(done, one.key)), key=lambda one: one.at)


def _concerns(person: NotifySettings, one: Episode) -> bool:
    return (not person.alarms or one.alarm in person.alarms) and (person.pre_alarms or not one.is_pre)


def _open(done: Mapping[str, tuple[str, datetime]], key: str) -> bool:
    return done.get(key, (TRIED,))[0] == TRIED


def _due_of(
    person: NotifySettings, one: Episode, done: Mapping[str, tuple[str, datetime]], now: datetime, zone: tzinfo
) -> Iterator[Due]:
    urgent = one.alarm in person.always
    first_key = f"{one.key} {PRE if one.is_pre else RAISED}"
    at = one.since + timedelta(minutes=person.after_minutes)
    waited = person.after_minutes > 0
    if not urgent and (later := end_of_quiet(person.quiet, at, zone)) is not None:
        at, waited = later, True
    known = done.get(first_key)
    if known is None and ((waited and not one.stands(at)) or now - one.since >= LOOK_BACK):
        return  # it was over, or in good hands, before anybody had to be told; or nobody was told while it was news
    yield Due(first_key, PRE if one.is_pre else RAISED, at, one)
    if known is None or known[0] not in (SENT, UNCERTAIN, GIVEN_UP):
        return  # of one that was given up, people hear when the way is free again: that it stands, or is over
    begun = known[1]
    for number in range(1, person.repeat_times + 1):
        again = begun + number * timedelta(minutes=person.repeat_minutes)
        if not person.repeat_minutes or one.is_pre or again - one.since >= LOOK_BACK or not one.stands(again):
            break
        if not urgent and end_of_quiet(person.quiet, again, zone) is not None:
            continue
        if again > now:
            yield Due(f"{one.key} {AGAIN} {number}", AGAIN, again, one, number)
            break
        nxt = again + timedelta(minutes=person.repeat_minutes)
        if now < nxt:  # of several that were slept through the last one alone
            yield Due(f"{one.key} {AGAIN} {number}", AGAIN, again, one, number)
    if one.taken is not None and not one.is_pre:
        yield Due(f"{one.key} {TAKEN}", TAKEN, _awake(person, one.taken, urgent, zone), one)
    if one.over is not None:
        yield Due(f"{one.key} {OVER}", OVER, _awake(person, one.over, urgent, zone), one)


def _awake(person: NotifySettings, at: datetime, urgent: bool, zone: tzinfo) -> datetime:
    return at if urgent else end_of_quiet(person.quiet, at, zone) or at


def end_of_quiet(quiet: str, at: datetime, zone: tzinfo) -> datetime | None:
    """When the quiet hours that *at* lies in end; None where it lies in none.

    >>> from datetime import UTC
    >>> at = datetime(2026, 3, 1, 23, 15, tzinfo=UTC)
    >>> str(end_of_quiet("22:00-06:30", at, UTC)), end_of_quiet("00:00-06:30", at, UTC)
    ('2026-03-02 06:30:00+00:00', None)
    """
    found = QUIET.fullmatch(quiet)
    if found is None:
        return None
    begin, end = (time(int(found[n]), int(found[n + 1])) for n in (1, 3))
    local = at.astimezone(zone)
    clock = local.time().replace(tzinfo=None)
    inside = begin <= clock < end if begin < end else (clock >= begin or clock < end)
    if not inside:
        return None
    day = local if clock < end else local + timedelta(days=1)
    return day.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0).astimezone(at.tzinfo)


# -- what is wrong in a configuration


def faults(config: Config, rules: Iterable[str]) -> Iterator[Fault]:
    """What is wrong in the [[notify]] tables of *config*, whose alarms are called as *rules* says."""
    known, names = list(rules), set[str]()
    for index, one in enumerate(config.notify):
        place = f"notify[{index}]"
        if one.name in names:
            yield Fault(f"{place}.name", f'"{one.name}" is already there')
        names.add(one.name)
        for key in ("alarms", "always"):
            for name in getattr(one, key):
                if name not in known:
                    hint = did_you_mean(name, known)
                    yield Fault(f"{place}.{key}", f'there is no alarm "{name}"{hint}')
        if one.quiet and QUIET.fullmatch(one.quiet) is None:
            yield Fault(f"{place}.quiet", f'"{one.quiet}" is no span of hours such as 22:00-06:30')
        if one.kind == "sms":
            if getattr(config, "modem", None) is None:
                yield Fault(f"{place}.kind", "an sms needs a modem: the [modem] table")
            if not one.numbers:
                yield Fault(f"{place}.numbers", "an sms needs a number to go to")
        elif not one.url_file:
            yield Fault(f"{place}.url_file", "a webhook needs its address: the name of a file that holds it")
        if one.secret_file and one.kind not in ("dingtalk", "json"):
            yield Fault(f"{place}.secret_file", f"{one.kind} signs nothing")
        for number in one.numbers:
            if not re.fullmatch(r"\+?\d{3,20}", number):
                yield Fault(f"{place}.numbers", f'"{number}" is no telephone number')


def secret_faults(config: Config, place_of: Callable[[str], Path]) -> Iterator[Fault]:
    """Addresses and secrets of webhooks that are not there, or are none."""
    for index, one in enumerate(config.notify):
        for key in ("url_file", "secret_file"):
            if not (name := getattr(one, key)):
                continue
            path = place_of(name)
            try:
                text = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "it is not UTF-8 text"
                yield Fault(f"notify[{index}].{key}", f"{path} cannot be read ({why})")
                continue
            if key == "url_file" and not URL.fullmatch(text):
                yield Fault(f"notify[{index}].{key}", f"{path} holds no address such as https://host/path")
            elif not text or not text.isprintable():
                yield Fault(f"notify[{index}].{key}", f"{path} holds no usable secret")


def secrets_of(person: NotifySettings, place_of: Callable[[str], Path]) -> tuple[str, str]:
    """The address of *person*'s webhook and the secret it is signed with; "" where there is none."""
    names = (person.url_file, person.secret_file)
    url, secret = (place_of(name).read_text(encoding="utf-8").strip() if name else "" for name in names)
    return url, secret
