"""The command desk: a platform's verb to what the station does about it, and who may ask, with what, how often.

A command that passes is on record before anything is done about it, so a repetition is known for one
even after a crash.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from station.clock import trust
from station.model import (
    Command,
    Kind,
    Message,
    Outcome,
    Record,
    Result,
    StationError,
    StoreError,
    dataclass,
    field,
)
from station.parameters import catalogue
from station.records import ITEMS, LOGS

if TYPE_CHECKING:
    from station.engine import Engine
    from station.platformclock import PlatformClocks
    from station.poller import Poller, Task

FRESH = timedelta(minutes=5)  # a command is issued this near to the best time there is
LARGEST_STEP = timedelta(minutes=10)  # of a clock that is trusted
NTP_AGREES = timedelta(seconds=30)  # a time server that differs by more is believed, and the platform is not
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # no clock is set before there was this station
INSTRUMENT_SECONDS = 20.0  # an instrument's bus has so long to carry a command out
SECRETS = ("password", "key")  # never in an event, a log line or a refusal
MOST_REFUSALS = 64  # different ones told apart between two commits; the rest is counted together
SHOWN = 40  # characters of a foreign text in an event

Answer = Callable[[Result], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a platform may change of how it is reported to, as it stands."""

    realtime_seconds: int
    minute_minutes: int = 1
    realtime: bool = True
    equipment: bool = True

    def changed(self, values: Mapping[str, str]) -> Terms:
        """These terms with the settings *values*, of which some may concern others."""
        return Terms(
            realtime_seconds=int(values.get("realtime_seconds", self.realtime_seconds)),
            minute_minutes=int(values.get("minute_minutes", self.minute_minutes)),
            realtime=values.get("realtime", "on" if self.realtime else "off") == "on",
            equipment=values.get("equipment", "on" if self.equipment else "off") == "on",
        )


def configured(settings: Any, key: str) -> str | None:
    """What station.toml says of *key*, which a platform may set; None where it says nothing of the kind."""
    if key.startswith("mn."):
        return next((str(p.mn) for p in getattr(settings, "point", ()) if p.point == key.removeprefix("mn.")), None)
    value = getattr(settings, key, None)
    return None if value is None else str(value)


def overruled(stored: Mapping[str, str], settings: Any) -> dict[str, str]:
    """What of a platform's *stored* settings station.toml has changed since, with the values it has now.

    A platform sets against what was configured then, which is stored beside it: whoever edits the file later means it.
    """
    found = {key: configured(settings, key) for key in stored if f"{key}.configured" in stored}
    return {key: now for key, now in found.items() if now is not None and now != stored[f"{key}.configured"]}


def with_configured(values: Mapping[str, str], settings: Any) -> dict[str, str]:
    """*values* a platform sets, each beside what is configured at that time."""
    beside = {f"{key}.configured": configured(settings, key) for key in values}
    return {**values, **{key: value for key, value in beside.items() if value is not None}}


class ClockSetter(Protocol):
    """Whoever may set the host's clock."""

    def set(self, moment: datetime, *, trusted: bool) -> str | None:
        """Set the clock, *trusted* or not, to *moment*, or say in one sentence why not."""


# Keeps a "password" or "key" of a platform (platform, which, text), or says in one sentence why not.
CredentialWriter = Callable[[str, str, str], str | None]


# -- what an argument may be: None, or what is wrong with it

Check = Callable[[str], str | None]


def whole(low: int, high: int) -> Check:
    """A whole number from *low* to *high*.

    >>> whole(30, 3600)("20"), whole(30, 3600)("60")
    ('is not a whole number from 30 to 3600', None)
    """
    said = f"is not a whole number from {low} to {high}"
    return lambda text: None if re.fullmatch(r"[0-9]{1,9}", text) and low <= int(text) <= high else said


def number(low: float, high: float) -> Check:
    """A number from *low* to *high*, written plainly.

    >>> number(100, 200)("168.0"), number(100, 200)("1e2")
    (None, 'is not a number from 100 to 200')
    """
    said = f"is not a number from {low:g} to {high:g}"
    return lambda text: (
        None if re.fullmatch(r"-?[0-9]{1,6}(\.[0-9]{1,6})?", text) and low <= float(text) <= high else said
    )


def one_of(*words: str) -> Check:
    """One of *words*."""
    return lambda text: None if text in words else f"is not one of {', '.join(words)}"


def matching(pattern: str, said: str) -> Check:
    """A text of the form *pattern*, which *said* describes."""
    return lambda text: None if re.fullmatch(pattern, text) else f"is not {said}"


def moment(text: str) -> str | None:
    """A time with its offset from UTC, of this century."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return "is not a time"
    return None if at.tzinfo is not None and 2000 <= at.year < 2100 else "is not a time of this century with its offset"


def known_parameter(text: str) -> str | None:
    """A key of the catalogue."""
    return None if text in catalogue() else "is not a parameter"


def key_text(text: str) -> str | None:
    """An SM4 key that was not made up in a hurry: 16 characters, 8 of them different, not in a row.

    >>> key_text("0123456789abcdef"), key_text("q7Zp2Lw9Xe4Rt6Ys")
    ('is patterned', None)
    """
    if not re.fullmatch(r"[!-~]{16}", text):
        return "is not 16 printable characters"
    steps = Counter(ord(after) - ord(before) for before, after in pairwise(text))
    return "is patterned" if len(set(text)) < 8 or steps.most_common(1)[0][1] > 7 else None


# -- the desk


@dataclass(frozen=True, slots=True)
class Verb:
    """One row of the table: who may (*group*), with what, how often, and what is done.

    *group* is one of uplink.base.ALLOWABLE, or "read".  The rate holds for one platform, point and parameter.
    *action* gives the result, or None when it will be answered later.
    """

    group: str
    action: Callable[[CommandDesk, Command, Answer], Result | None]
    needs: Mapping[str, Check] = field(default_factory=dict)
    takes: Mapping[str, Check] = field(default_factory=dict)  # may be missing
    rate: tuple[int, int] = (60, 3600)  # at most so many in so many seconds


class _Once:
    """An answer that is given once, by whoever comes first; *begun* once it cannot be called off."""

    def __init__(self, answer: Answer, deadline: float) -> None:
        self._answer: Answer | None = answer
        self._lock = Lock()
        self.deadline, self.begun = deadline, False

    def begin(self) -> bool:
        """Whether the work may still begin."""
        with self._lock:
            self.begun = self._answer is not None
            return self.begun

    def __call__(self, result: Result) -> None:
        with self._lock:
            answer, self._answer = self._answer, None
        if answer is not None:
            answer(result)


class CommandDesk:
    """Carries out what platforms ask, within what *allow* gives each: groups of verbs by platform.

    *trusted* says what the clock is known by, "none" where by nothing.
    """

    def __init__(
        self,
        engine: Engine,
        allow: Mapping[str, Sequence[str]],
        *,
        clock_setter: ClockSetter | None = None,
        credentials: CredentialWriter | None = None,
        trusted: Callable[[], str] = trust,
    ) -> None:
        self._engine, self._allow, self._trusted = engine, allow, trusted
        self._clock_setter = clock_setter
        self._credentials = credentials
        self._lock = Lock()
        self._refused: Counter[tuple[str, str, str]] = Counter()
        self._at_work: dict[str, _Once] = {}  # by bus
        self.clocks: PlatformClocks | None = None  # of the platforms, against ours

    def refusal(self, command: Command) -> str | None:
        """Why *command* is not carried out, or None if it will be."""
        reason = self._refusal(command)
        if reason is not None:
            self._note_refusal(command, reason)
        return reason

    def submit(self, command: Command, answer: Answer) -> None:
        """Carry out *command* if nothing speaks against it; *answer* is called once, now or from another thread."""
        if (reason := self.refusal(command)) is not None:
            answer(Result(Outcome.REFUSED, reason=reason))
            return
        verb, now = VERBS[command.verb], self._engine.clock.now()

        def finish(result: Result) -> None:
            self._note(command, verb, result)
            answer(result)

        try:
            with self._engine.store.transaction():
                self._engine.store.take_command(command, _subject(command), now)
        except StoreError as error:
            finish(Result(Outcome.FAULT, reason=str(error)))
            return
        result = verb.action(self, command, finish)
        if result is not None:
            finish(result)

    def remembered(self, platform: str) -> dict[str, str]:
        """What *platform* has set: timeout_seconds, resends, mn.<point> … each as text, if it ever did."""
        return self._engine.store.remembered(platform)

    def tell(self) -> None:
        """Note what was refused since the last call, like ones counted: a flood makes few events."""
        with self._lock:
            refused, self._refused = self._refused, Counter()
        for (platform, verb, reason), count in refused.items():
            self._engine.note("command_refused", platform=platform, verb=verb, reason=reason, count=count)

    def expire(self) -> None:
        """Answer for instruments that took too long; what had not begun is called off."""
        now = self._engine.clock.monotonic()
        for bus, once in list(self._at_work.items()):
            if now >= once.deadline:
                once(Result(Outcome.TIMED_OUT, reason=f"bus {bus} took longer than {INSTRUMENT_SECONDS:g} s"))
                if not once.begun:
                    self._at_work.pop(bus, None)

    def at_work(self, bus: str) -> bool:
        """Whether *bus* is carrying a platform's command out."""
        return bus in self._at_work

    # -- what speaks against a command, in the order it is asked

    def _refusal(self, command: Command) -> str | None:
        verb = VERBS.get(command.verb)
        if verb is None:
            return f"{command.verb[:SHOWN]!a} is not a verb of this station"
        if command.platform not in self._allow:
            return f"{command.platform[:SHOWN]!a} is not a platform of this station"
        self._hear_time(command)
        asked = (self._not_allowed, self._repeated, self._stale, self._unusable, self._too_often)
        return next((reason for ask in asked if (reason := ask(command, verb))), None)

    def _not_allowed(self, command: Command, verb: Verb) -> str | None:
        if verb.group == "read" or verb.group in self._allow[command.platform]:
            return None
        if verb.group == "set_clock" and not self._clock_is_trusted():
            return None  # on a private network the platform may be the only clock there is
        return f"{command.verb} is not allowed for {command.platform}"

    def _repeated(self, command: Command, verb: Verb) -> str | None:
        if not command.identity:
            return None if verb.group == "read" else f"{command.verb} carries nothing to know a repetition by"
        return "this command was taken before" if self._engine.store.was_taken(command) else None

    def _stale(self, command: Command, verb: Verb) -> str | None:
        issued, trusted = command.issued, self._clock_is_trusted()
        if issued is None or issued.tzinfo is None:
            return None if verb.group == "read" else f"{command.verb} does not say when it was issued"
        now = self._engine.clock.now()
        if verb.group == "set_clock" and not trusted:
            return None
        if trusted and abs(issued - now) > FRESH:
            return f"the command was issued {(issued - now).total_seconds():+.0f} s from now, more than 300 s"
        last = self._engine.store.last_issued(command, now + FRESH if trusted else datetime.max.replace(tzinfo=UTC))
        return "a younger command of this kind was taken before" if last is not None and issued <= last else None

    def _hear_time(self, command: Command) -> None:
        """Note how far the platform's clock is from ours, where ours is known, whatever becomes of *command*."""
        time, field = command.issued, "QN"
        said = command.arguments.get("time", "") if command.verb == "set_clock" else ""
        if said and "parameter" not in command.arguments and moment(said) is None:
            time, field = datetime.fromisoformat(said), "SystemTime"
        if time is None or time.tzinfo is None or self._engine.store.was_taken(command):
            return
        self._engine.time.doubt.hear(command.platform, time)
        if self._engine.time.waits:
            return
        if self.clocks is None:
            from station.platformclock import PlatformClocks  # most platforms hardly ever ask

            self.clocks = PlatformClocks(self._engine.note)
        self.clocks.told(command.platform, time, self._engine.clock.now(), field)

    def _unusable(self, command: Command, verb: Verb) -> str | None:
        for name in verb.needs:
            if name not in command.arguments:
                return f"{command.verb} needs {name}"
        for name, check in {**verb.needs, **verb.takes}.items():
            if name in command.arguments and (fault := check(command.arguments[name])):
                shown = "" if name in SECRETS else f" {command.arguments[name][:SHOWN]!a}"
                return f"{name}{shown} {fault}"
        return self._wrong_time(command) if command.verb == "set_clock" else None

    def _wrong_time(self, command: Command) -> str | None:
        """The clock moves little once it is trusted, and never back before what was trusted last."""
        to, now = datetime.fromisoformat(command.arguments["time"]), self._engine.clock.now()
        if self._trusted() == "ntp" and abs(to - now) > NTP_AGREES:
            return f"a time server is heard, and disagrees by {abs(to - now).total_seconds():.0f} s"
        if self._clock_is_trusted() and abs(to - now) > LARGEST_STEP:
            return "the clock is trusted, and would move more than 600 s"
        known = max(EARLIEST, self._engine.store.last_trusted() or EARLIEST)
        return None if to >= known else f"time was {known.isoformat(timespec='seconds')} before"

    def _too_often(self, command: Command, verb: Verb) -> str | None:
        most, seconds = verb.rate
        taken = self._engine.store.taken_within(command, _subject(command), self._engine.clock.now(), seconds)
        return f"{command.verb} was carried out {taken} times within {seconds} s" if taken >= most else None

    def _clock_is_trusted(self) -> bool:
        return self._trusted() != "none"

    # -- what is done

    def _read_clock(self, command: Command, answer: Answer) -> Result:
        if "parameter" in command.arguments:
            return _cannot("no instrument's clock can be read")
        return Result(Outcome.DONE, {"time": self._engine.clock.now().isoformat()})

    def _set_clock(self, command: Command, answer: Answer) -> Result:
        if "parameter" in command.arguments:
            return _cannot("no instrument's clock can be set")
        if why_not := self.set_clock(datetime.fromisoformat(command.arguments["time"])):
            return _cannot(why_not)
        self._engine.clock_was_set()
        return Result(Outcome.DONE)

    def set_clock(self, to: datetime) -> str | None:
        """Have the host's clock set to *to*, or say in one sentence why not."""
        if self._clock_setter is None:
            from station.clockhelper import HelperClock  # few platforms set a clock

            self._clock_setter = HelperClock(Path(self._engine.config.station.clock_socket))
        return self._clock_setter.set(to, trusted=self._clock_is_trusted())

    def _read_realtime_interval(self, command: Command, answer: Answer) -> Result:
        return Result(Outcome.DONE, {"seconds": str(self._engine.terms[command.platform].realtime_seconds)})

    def _read_minute_interval(self, command: Command, answer: Answer) -> Result:
        return Result(Outcome.DONE, {"minutes": str(self._engine.terms[command.platform].minute_minutes)})

    def _change(self, command: Command, answer: Answer, values: Mapping[str, str]) -> None:
        """Have *values* remembered and in force; answered by the commit that does it."""

        def changed(error: str) -> None:
            answer(Result(Outcome.FAULT, reason=error) if error else Result(Outcome.DONE, dict(command.arguments)))

        self._engine.change(command.platform, values, command.identity or command.platform, changed)

    def _set_credential(self, command: Command, answer: Answer) -> Result:
        which = command.verb.removeprefix("set_")
        if self._credentials is None:
            return _cannot("this station keeps no credential that could be changed")
        text = command.arguments[which]
        if created := command.arguments.get("created"):
            text = f"{text} {created}"  # from which the reminder to renew a key is reckoned
        why_not = self._credentials(command.platform, which, text)
        return _cannot(why_not) if why_not else Result(Outcome.DONE, dict(command.arguments))

    def _tunnel(self, command: Command, answer: Answer) -> Result | None:
        """Do what a signed order says; who sends it need not be trusted, who signed it is."""
        from station import tunnel

        try:
            shown = tunnel.of(self._engine).obey(command.arguments["order"], command.arguments["signature"])
        except StationError as error:
            return Result(Outcome.CONDITIONS, reason=str(error))
        return Result(Outcome.DONE, values={"until": str(shown["until"] or "")})

    def _read_report_time(self, command: Command, answer: Answer) -> Result:
        return Result(Outcome.DONE, {"time": "00:00:00"})  # a day is reported when it is over

    def _recall(self, command: Command, answer: Answer) -> Result:
        kind = Kind[command.arguments["kind"].upper()]
        first, last = (datetime.fromisoformat(command.arguments[name]) for name in ("from", "to"))
        if first > last:
            return _cannot("from is after to")
        if command.platform not in self._engine.outboxes:
            return Result(Outcome.NO_DATA)
        if kind is Kind.MINUTE and command.arguments.get("named_by") == "end":
            return _brought(self._engine.minutes_ended(command.platform, command.point, first, last))
        if kind <= Kind.POWER_ON:
            return _brought(self._engine.outboxes[command.platform].recall(kind, command.point, first, last))
        from station.recall import recalled  # most platforms ask for periods alone

        return _brought(recalled(self._engine, command.platform, kind, command.point, first, last))

    def _read_site_info(self, command: Command, answer: Answer) -> Result | None:
        """What the station knows of itself and its instruments; the rest is asked of the instrument."""
        from station import site

        item, asked = command.arguments["item"], command.arguments
        if item in LOGS:
            if "from" not in asked or "to" not in asked:
                return _cannot(f"{item} needs from and to")
            from station.recall import logged

            bounds = (datetime.fromisoformat(asked[name]) for name in ("from", "to"))
            return _brought(
                logged(self._engine, command.platform, command.point, item, asked.get("parameter"), *bounds)
            )
        value = site.known(self._engine, command.platform, command.point, item, asked.get("parameter"))
        if value is None:
            return self._on_instrument(command, answer)
        return Result(Outcome.DONE, {"time": self._engine.clock.now().isoformat(), "value": value})

    def _set_parameter(self, command: Command, answer: Answer) -> Result | None:
        """Only what SETTABLE lists, within its limits, and only by an instrument whose profile has an action for it."""
        item, value = command.arguments["item"], command.arguments["value"]
        if item not in SETTABLE:
            return _cannot(f"{item} is not set from afar")
        fault = SETTABLE[item](value)
        return _cannot(f"{item} {value[:SHOWN]!a} {fault}") if fault else self._on_instrument(command, answer)

    def _maintain(self, command: Command, answer: Answer) -> Result:
        """Maintenance of an instrument or a point begins or ends; a platform names no person, its settings may."""
        asked, work = command.arguments, self._engine.field_work()
        device = ""
        if asked["item"] == "instrument_state":
            measured = (t for t in self._engine.tasks.values() if asked.get("parameter", "") in t.device.units)
            found = next((t for t in measured if command.point in (None, t.point(asked["parameter"]))), None)
            if found is None:
                return _cannot("no instrument of this point measures that")
            device = found.device.name
        from station.maintaining import EntryBusy  # loaded with the work itself

        try:
            why_not = work.by_platform(command.platform, command.point, device, asked["value"] == "maintenance")
        except EntryBusy as error:
            return Result(Outcome.BUSY, reason=str(error))
        return _cannot(why_not) if why_not else Result(Outcome.DONE, dict(asked))

    def _start_check(self, command: Command, answer: Answer) -> Result | None:
        """The check of station.toml that is meant, answered when the instrument was told; else the instrument's own."""
        checking = self._engine.checking
        name = checking.for_parameter(command.point, command.arguments.get("parameter")) if checking else ""
        if checking is None or not name:
            return self._on_instrument(command, answer)
        once = _Once(answer, self._engine.clock.monotonic() + INSTRUMENT_SECONDS)
        checking.ask("start", name, command.platform, once)
        return None

    def _sample(self, command: Command, answer: Answer) -> Result | None:
        """A bottle of the point's sampler; where there is none, or an instrument samples by itself, the instrument."""
        at_once = command.verb == "sample_now" and self._instrument(command) is not None
        if at_once or "sampler" not in self._engine.config.beside:
            return self._on_instrument(command, answer)
        from station.sampler import of_point  # loaded with the sampler itself

        sampler = of_point(self._engine, command.point)
        return self._on_instrument(command, answer) if sampler is None else sampler.by_platform(command, answer)

    def _on_instrument(self, command: Command, answer: Answer) -> Result | None:
        """Have an instrument's own bus do it between two polls; answered then, or when its time is up."""
        found = self._instrument(command)
        if found is None:
            return self._on_pins(command) or _cannot("no instrument of this point can do that")
        poller, task = found
        if self._engine.checking is not None and (name := self._engine.checking.at_work(task.device.name)):
            return Result(Outcome.BUSY, reason=f"{task.device.name} is being checked ({name})")
        if VERBS[command.verb].group != "read" and (run := self._engine.calibrated_by(task.device.name)):
            return Result(Outcome.BUSY, reason=f"{task.device.name} is being calibrated on site ({run})")
        once = _Once(answer, self._engine.clock.monotonic() + INSTRUMENT_SECONDS)
        with self._lock:
            if poller.bus_name in self._at_work:
                return Result(Outcome.BUSY, reason=f"bus {poller.bus_name} is at work on another command")
            self._at_work[poller.bus_name] = once

        def errand() -> None:
            if not once.begin():
                return
            try:
                result = Result(
                    Outcome.DONE, self._kept(command, task, task.device.act(command.verb, command.arguments))
                )
            except StationError as error:
                result = Result(error.outcome, reason=str(error))
            self._at_work.pop(poller.bus_name, None)
            once(result)

        poller.submit(errand)
        return None

    def _on_pins(self, command: Command) -> Result | None:
        """A sample kept by the sampler on the board's own pins; None where that is not what is asked."""
        linkage = self._engine.linkage
        if command.verb != "keep_sample" or linkage is None:
            return None
        try:
            kept = linkage.keep_sample(command.point, command.arguments.get("parameter"), command.platform)
        except StationError as error:
            return Result(Outcome.CONDITIONS, reason=str(error))
        return None if kept is None else Result(Outcome.DONE, kept)

    def _kept(self, command: Command, task: Task, brought: Mapping[str, str]) -> Mapping[str, str]:
        """What an instrument's action *brought*, kept as a record where it is one."""
        keep = KEPT.get(command.verb)
        if keep is None or not keep[1] <= set(brought):
            return brought
        at = datetime.fromisoformat(brought["time"]) if "time" in brought else self._engine.clock.now()
        point, body = command.point or task.settings.point, keep[2](command, brought)
        self._engine.keep(Record(keep[0], at, body, point, task.device.name), urgent=True)
        return {"time": at.isoformat(), **brought}

    def _instrument(self, command: Command) -> tuple[Poller, Task] | None:
        """The first instrument that measures *command*'s parameter at its point and can do it."""
        wanted = command.arguments.get("parameter")
        for poller in self._engine.pollers:
            for task in poller.tasks:
                concerned = task.device.actions.get(command.verb, ())
                if any(command.point in (None, task.point(p)) for p in concerned if wanted in (None, p)):
                    return poller, task
        return None

    # -- what is told

    def _note_refusal(self, command: Command, reason: str) -> None:
        key = (command.platform[:SHOWN], command.verb[:SHOWN], reason)
        with self._lock:
            known = key in self._refused or len(self._refused) < MOST_REFUSALS
            self._refused[key if known else ("", "", "more of other kinds")] += 1

    def _note(self, command: Command, verb: Verb, result: Result) -> None:
        shown = {
            name: "***" if name in SECRETS else text[:SHOWN]
            for name, text in command.arguments.items()
            if name in verb.needs or name in verb.takes
        }
        more = {"reason": result.reason} if result.reason else {}
        self._engine.note(
            "command",
            urgent=verb.group != "read",
            platform=command.platform,
            point=command.point,
            verb=command.verb,
            arguments=shown,
            identity=command.identity[:SHOWN],
            outcome=result.outcome.value,
            **more,
        )


def _cannot(reason: str) -> Result:
    return Result(Outcome.CONDITIONS, reason=reason)


def _brought(records: Iterator[Message | None]) -> Result:
    for oldest in records:
        return Result(Outcome.DONE, records=chain([oldest], records))
    return Result(Outcome.NO_DATA)


def _subject(command: Command) -> str:
    return command.arguments.get("parameter", "")[:SHOWN]


def _setting(*pairs: tuple[str, str]) -> Callable[[CommandDesk, Command, Answer], None]:
    """An action that remembers arguments: (setting, argument) each."""
    return lambda desk, command, answer: desk._change(
        command, answer, {key: command.arguments[argument] for key, argument in pairs}
    )


def _switch(key: str, to: str) -> Callable[[CommandDesk, Command, Answer], None]:
    return lambda desk, command, answer: desk._change(command, answer, {key: to})


def _set_mn(desk: CommandDesk, command: Command, answer: Answer) -> None:
    desk._change(command, answer, {f"mn.{command.point or ''}": command.arguments["mn"]})


RECALLED = ("realtime", "minute", "hour", "day", "raw", "equipment", "equipment_hours", "noise", "check", "alarm")

# What of an instrument may be set from afar, and to what (ours: about what such analysers are set to; grade D).
SETTABLE: Mapping[str, Check] = {
    "digestion_temperature": number(100, 200),
    "digestion_minutes": number(1, 120),
}

# Actions that bring something to keep: the record's kind, the values that make it one, and its body.
KEPT: Mapping[str, tuple[str, set[str], Callable[[Command, Mapping[str, str]], dict[str, Any]]]] = {
    "keep_sample": ("kept_sample", {"vase"}, lambda command, brought: {"vase": int(brought["vase"])}),
    "start_check": (
        "check",
        {"value", "standard", "passed"},
        lambda command, brought: {
            "parameter": command.arguments["parameter"],
            "value": float(brought["value"]),
            "standard": float(brought["standard"]),
            "passed": brought["passed"] == "1",
        },
    ),
}

_OF: Mapping[str, Check] = {"parameter": known_parameter}
_ITEM: Mapping[str, Check] = {"item": one_of(*ITEMS)}
_BOUNDS: Mapping[str, Check] = {"from": moment, "to": moment}
_ORDER = matching(r"[^\0]{1,4096}", "a text of up to 4096 characters")
_TEXT = matching(r"[^\0-\x1f]{1,900}", "a text")
_INSTRUMENT = CommandDesk._on_instrument
_OFTEN, _SELDOM = (3600, 3600), (24, 86400)

VERBS: Mapping[str, Verb] = {
    "read_clock": Verb("read", CommandDesk._read_clock, takes=_OF, rate=_OFTEN),
    "set_clock": Verb("set_clock", CommandDesk._set_clock, {"time": moment}, _OF, rate=(1, 3600)),
    "read_realtime_interval": Verb("read", CommandDesk._read_realtime_interval, rate=_OFTEN),
    "set_realtime_interval": Verb(
        "set_interval", _setting(("realtime_seconds", "seconds")), {"seconds": whole(30, 3600)}
    ),
    "read_minute_interval": Verb("read", CommandDesk._read_minute_interval, rate=_OFTEN),
    "set_minute_interval": Verb(
        "set_interval",
        _setting(("minute_minutes", "minutes")),
        {"minutes": one_of("1", "2", "3", "4", "5", "6", "10", "12", "15", "20", "30")},
    ),
    "set_timeouts": Verb(
        "set_timeouts",
        _setting(("timeout_seconds", "seconds"), ("resends", "resends")),
        {"seconds": whole(1, 99), "resends": whole(1, 99)},
    ),
    "set_password": Verb(
        "set_password",
        CommandDesk._set_credential,
        {"password": matching(r"(?![^;,&=]*[;,&=])[!-~]{1,6}", "1 to 6 printable characters")},
        rate=(6, 3600),
    ),
    "start_realtime": Verb("reporting", _switch("realtime", "on")),
    "stop_realtime": Verb("reporting", _switch("realtime", "off")),
    "start_equipment": Verb("reporting", _switch("equipment", "on")),
    "stop_equipment": Verb("reporting", _switch("equipment", "off")),
    "recall": Verb(
        "read", CommandDesk._recall, {"kind": one_of(*RECALLED), **_BOUNDS}, {"named_by": one_of("end")}, (600, 3600)
    ),
    "calibrate": Verb("calibrate", _INSTRUMENT, _OF, {"type": one_of("zero", "span")}, rate=(2, 86400)),
    "sample_now": Verb("sample", CommandDesk._sample, _OF, rate=_SELDOM),
    "clean": Verb("clean", _INSTRUMENT, _OF, rate=_SELDOM),
    "compare_sample": Verb("sample", _INSTRUMENT, _OF, rate=_SELDOM),
    "keep_sample": Verb("sample", CommandDesk._sample, takes=_OF, rate=_SELDOM),
    "read_kept_sample": Verb("read", _INSTRUMENT, takes=_OF),
    "set_sampling_period": Verb(
        "sample",
        _INSTRUMENT,
        {**_OF, "start": matching(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d", "a time of day"), "hours": whole(1, 24)},
        rate=_SELDOM,
    ),
    "read_sampling_period": Verb("read", _INSTRUMENT, _OF),
    "read_analysis_time": Verb("read", _INSTRUMENT, _OF),
    "read_identity": Verb("read", _INSTRUMENT, _OF),
    "read_report_time": Verb("read", CommandDesk._read_report_time),
    "read_site_info": Verb("read", CommandDesk._read_site_info, _ITEM, {**_OF, **_BOUNDS}, rate=(600, 3600)),
    "set_parameter": Verb("set_parameter", CommandDesk._set_parameter, {**_ITEM, "value": _TEXT}, _OF),
    "maintain": Verb(
        "maintenance",
        CommandDesk._maintain,
        {"item": one_of("instrument_state", "logger_state"), "value": one_of("maintenance", "running")},
        _OF,
        rate=_SELDOM,
    ),
    "start_check": Verb("check", CommandDesk._start_check, _OF, rate=_SELDOM),
    "tunnel": Verb("tunnel", CommandDesk._tunnel, {"order": _ORDER, "signature": _ORDER}, rate=(10, 3600)),
    "set_key": Verb("set_key", CommandDesk._set_credential, {"created": moment, "key": key_text}, rate=(6, 3600)),
    "set_mn": Verb("set_mn", _set_mn, {"mn": matching(r"[0-9A-Za-z_-]{1,24}", "1 to 24 letters and digits")}),
}
