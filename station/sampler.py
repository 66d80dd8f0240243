"""A sampler beside the station: one bottle an event, in order, on record before anything moves.

An alarm's rule, a platform and a person ask for a bottle in the same way.  It is reserved, and the order is sent when a
commit has made that durable: whatever cuts the power afterwards, the bottle counts as used and is not filled again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from queue import Empty, SimpleQueue
from threading import RLock
from typing import TYPE_CHECKING, Any

from station.beside import Beside
from station.bottles import ARMED, BOTTLE, BUSY, COLLECTED, KEPT, Bottle, Bottles, State, kept_by
from station.clock import EPOCH
from station.loader import Fault
from station.model import Command, Outcome, Record, Result, StationError, WrongArgument, dataclass
from station.resumption import FOREVER
from station.rules import in_hours
from station.sampler_box import Box
from station.sampler_reach import ByContact, ByLine, Errand, Reach
from station.sampler_seen import Seen
from station.sampler_settings import SamplerSettings
from station.sampler_settings import faults as _faults

if TYPE_CHECKING:
    from pathlib import Path

    from station.config import Config
    from station.engine import Engine

log = logging.getLogger(__name__)

TABLE = "sampler"
SOON = 1.0  # seconds to the next look while an order is under way
ERRAND_SECONDS = 20.0  # a bus has so long for an errand, as for a platform's command (station/commands.py)
RECORD_SECONDS = 60.0  # the disk has so long to take an order's record, until the order is called off
STALE_LOOKS = 3  # of poll_seconds; what was seen longer ago is not acted on
LATE = timedelta(minutes=10)  # an order that waited longer, as through a power cut, is not carried out any more
MOST_NAME = 200


class SampleRefused(StationError):
    """Error raised when no bottle is filled for whoever asked; *how* is what a platform is answered."""

    exit_code = 75

    def __init__(self, text: str, how: Outcome = Outcome.CONDITIONS, word: str = "") -> None:
        super().__init__(text)
        self.how, self.word = how, word

    @property
    def outcome(self) -> Outcome:
        """What a platform is answered."""
        return self.how


@dataclass(slots=True, eq=False)
class Order:
    """A bottle that was promised; *stage* is how far it has come."""

    bottle: int
    cause: Mapping[str, Any]
    answer: Callable[[Result], None] | None = None
    stage: str = "reserved"  # then written, sent, filling
    since: float = 0.0  # on the clock that never steps, of the stage
    commit: int = 0  # that makes its record durable
    errand: Errand | None = None


class Sampler(Beside):
    """One [[sampler]]; what is asked of it comes from any thread, what it does is done in its own."""

    def __init__(self, engine: Engine, settings: SamplerSettings, reach: Reach) -> None:
        super().__init__(engine, TABLE, settings.name)
        self.settings, self._reach, self._clock = settings, reach, engine.clock
        self._lock = RLock()
        self._rules = [rule for rule in engine.config.rule if getattr(rule, "sampler", "") == settings.name]
        self._came: SimpleQueue[tuple[Order | None, Any]] = SimpleQueue()  # of an order, or of a look
        self._looking: tuple[Errand, float] | None = None
        self._look_at = 0.0
        self._missing = ""  # why it cannot be asked for anything
        self.seen: Seen | None = None
        self._seen_at = 0.0
        self._counted: int | None = None  # samples it told of, as last seen
        self._held: dict[str, str] = {}  # by rule: why its exceedance has no bottle, told once
        self.queue: list[Order] = []
        self.box = Box(settings, self._note)
        self.book = Bottles(settings.bottles, kept_by(engine.store, settings.name, EPOCH, FOREVER))
        self._resume()

    # -- what a start finds

    def _resume(self) -> None:
        """Orders a power cut overtook: sent ones may have been carried out, promised ones may be late."""
        now = self._clock.now()
        for one in self.book.of(State.FILLING):
            self._doubt(one.number, one.cause, "the station ended while it was being filled")
        for one in sorted(self.book.of(State.RESERVED), key=lambda bottle: bottle.at or now):
            order = Order(one.number, one.cause, since=self._clock.monotonic())
            if one.at is None or not timedelta(0) <= now - one.at <= LATE:
                self._call_off(order, "the station was off and it is too late", again=False)
            else:
                self.queue.append(order)

    # -- asked, from any thread

    def ask_for(
        self, cause: Mapping[str, Any], bottle: int | None = None, answer: Callable[[Result], None] | None = None
    ) -> int:
        """Promise a bottle, *bottle* if that one is wanted; raise SampleRefused with the reason otherwise.

        *answer* is called once, when the sampler has taken the order or it was not carried out.
        """
        with self._lock:
            self._may()
            number = self._chosen(bottle)
            order = Order(number, dict(cause), answer, since=self._clock.monotonic())
            self._keep(BOTTLE, state=State.RESERVED, bottle=number, cause=order.cause)
            self._note("sample_asked", bottle=number, **_told(cause))
            self.queue.append(order)
        self.ask()
        return number

    def _chosen(self, bottle: int | None) -> int:
        if bottle is None:
            number = self.book.following(self.settings.bottles)
            if number is None:
                raise SampleRefused(
                    f"{self.called}: all {self.settings.bottles} bottles are used; collect them and say so with"
                    f" station sampler empty {self.called} --by NAME",
                    word="no_bottle",
                )
            return number
        if not 1 <= bottle <= self.settings.bottles:
            raise WrongArgument(f"{self.called}: bottles are numbered from 1 to {self.settings.bottles}")
        if self.book.all[bottle].state is not State.FREE:
            raise SampleRefused(f"{self.called}: bottle {bottle} is {self.book.all[bottle].state}", word="used")
        return bottle

    def _may(self) -> None:
        """Raise SampleRefused where the sampler itself says that no sample can be taken."""
        seen = self.seen
        stale = self._clock.monotonic() - self._seen_at > STALE_LOOKS * self.settings.poll_seconds + ERRAND_SECONDS
        if seen is None or self._missing or stale:
            why = self._missing or "nothing was heard of it yet"
            raise SampleRefused(f"{self.called}: cannot be reached ({why})", Outcome.TIMED_OUT, "unreachable")
        if seen.fault:
            raise SampleRefused(f"{self.called}: says that it has a fault ({seen.fault})", Outcome.FAULT, "fault")
        if seen.full:
            raise SampleRefused(f"{self.called}: says that all its bottles are full", word="full")
        if seen.door:
            raise SampleRefused(f"{self.called}: its door is open", word="door")

    def by_platform(self, command: Command, answer: Callable[[Result], None]) -> Result | None:
        """Carry out a platform's order; None when *answer* is called, when the sampler has taken it or said no.

        Behind another order, which may take minutes, the answer is that the bottle is promised.
        """
        cause = {"what": "platform", "platform": command.platform, "identity": command.identity, "verb": command.verb}
        if "parameter" in command.arguments:
            cause["parameter"] = command.arguments["parameter"]
        waits = bool(self.queue)
        try:
            number = self.ask_for(cause, None, None if waits else answer)
        except StationError as error:
            self._note("sample_refused", urgent=True, reason=str(error), **_told(cause))
            return Result(error.outcome, reason=str(error))
        if not waits:
            return None
        return Result(Outcome.DONE, {"time": self._clock.now().isoformat(), "vase": str(number)})  # promised

    def by_person(self, user: str, reason: str, bottle: int | None, uid: object = None) -> dict[str, Any]:
        """Carry out a person's order; *uid* is the account as the kernel knows it."""
        cause = {"what": "person", "user": _name(user), "reason": reason.strip()[:MOST_NAME]} | _account(uid)
        number = self.ask_for(cause, bottle)
        return {"sampler": self.called, "bottle": number}

    def collect(
        self, user: str, reason: str, bottles: Sequence[int], numbers: Mapping[int, str], uid: object = None
    ) -> dict[str, Any]:
        """Bottles were taken out by *user*: all that were used, or *bottles*; *numbers* are the laboratory's."""
        user = _name(user)
        with self._lock:
            used = {one.number: one for one in self.book.used}
            for number in (*bottles, *numbers):
                if number not in used:
                    state = self.book.all[number].state if number in self.book.all else "not there"
                    raise WrongArgument(f"{self.called}: bottle {number} is {state}, so there is nothing to collect")
            chosen = [used[number] for number in (sorted({*bottles, *numbers} if bottles else used))]
            if not chosen:
                raise WrongArgument(f"{self.called}: no bottle is used, so there is nothing to collect")
            rows = [one.row() | {"laboratory": numbers.get(one.number, "")[:MOST_NAME]} for one in chosen]
            self._keep(COLLECTED, user=user, reason=reason.strip()[:MOST_NAME], bottles=rows, **_account(uid))
            self._held.clear()
            numbered = [one.number for one in chosen]
            self._note("bottles_collected", urgent=True, user=user, bottles=numbered, **_account(uid))
        self.ask()
        return {"sampler": self.called, "user": user, "bottles": rows}

    # -- its own thread

    def turn(self) -> float:
        """Hear what came, ask what the rules want, go on with the order under way, look when that is due."""
        with self._lock:
            self._hear()
            self._follow_rules()
            self._go_on()
            self._look()
            if self._missing:
                raise SampleRefused(self._missing)
            return self._next()

    def _next(self) -> float:
        under_way = bool(self.queue) or self._looking is not None
        return SOON if under_way else max(0.0, min(self.settings.poll_seconds, self._look_at - self._clock.monotonic()))

    def _hear(self) -> None:
        while True:
            try:
                order, result = self._came.get_nowait()
            except Empty:
                break
            if order is None:
                self._looked(result)
            elif order.stage == "sent" and order in self.queue:
                self._answered(order, result)
        if self._looking is not None and self._clock.monotonic() - self._looking[1] > ERRAND_SECONDS:
            self._looking[0].give_up()
            self._looked(SampleRefused(f"{self.called}: its line does not come round within {ERRAND_SECONDS:g} s"))

    def _looked(self, result: Seen | StationError) -> None:
        self._looking = None
        if isinstance(result, StationError):
            self._missing = str(result)
            return
        self._missing, before = "", self._counted
        self.seen, self._seen_at = result, self._clock.monotonic()
        self.box.look(result, self._seen_at, bottles=len(self.book.used))
        self._counted = result.sampled
        if result.sampled is None or before is None or result.sampled == before:
            return
        order = self.queue[0] if self.queue and self.queue[0].stage == "filling" else None
        if order is not None:
            self._done(order, result)
        elif not (self.queue and self.queue[0].stage == "sent"):
            self._foreign(result)

    def _look(self) -> None:
        now = self._clock.monotonic()
        busy = bool(self.queue) and self.queue[0].stage == "filling"
        if self._looking is None and (now >= self._look_at or (busy and now - self._seen_at >= SOON)):
            self._look_at = now + self.settings.poll_seconds
            errand = self._reach.look(lambda result: self._bring(None, result))
            self._looking = errand, now
            self._hear()  # a contact says at once

    def _bring(self, order: Order | None, result: Any) -> None:
        self._came.put((order, result))
        self.ask()

    # -- rules

    def _follow_rules(self) -> None:
        for rule in self._rules:
            level = self._level(rule)
            if level is None:
                continue
            if not level:
                if rule.name in self.book.disarmed:
                    self._keep(BOTTLE, state=ARMED, rule=rule.name)
                self._held.pop(rule.name, None)
            elif rule.name not in self.book.disarmed:
                self._follow(rule)

    def _level(self, rule: Any) -> bool | None:
        """Whether the alarm of *rule* is on; None while nobody knows."""
        engine = self.engine
        if engine.checking is not None and rule.alarm in engine.checking.names:
            found = engine.checking.level(rule.alarm)
        elif engine.alarms is not None:
            found = engine.alarms.level(rule.alarm, pre_alarm=rule.from_pre_alarm)
        else:
            return None
        return None if found.trouble is not None or found.value is None else found.value >= 1

    def _follow(self, rule: Any) -> None:
        now = self._clock.now()
        last = self.book.given.get(rule.name)
        try:
            if not in_hours(rule.hours, now.astimezone(self.engine.loaded.zone).time()):
                raise SampleRefused(f"{self.called}: outside the hours {rule.hours} of rule {rule.name}", word="hours")
            if last is not None and timedelta(0) <= now - last < timedelta(seconds=rule.cool_down_seconds):
                raise SampleRefused(f"{self.called}: rule {rule.name} rests after its last bottle", word="cool_down")
            self.ask_for({"what": "rule", "rule": rule.name, "alarm": rule.alarm})
        except SampleRefused as error:
            if self._held.get(rule.name) != error.word:
                self._held[rule.name] = error.word
                self._note("sample_refused", urgent=True, rule=rule.name, alarm=rule.alarm, reason=str(error))

    # -- an order

    def _go_on(self) -> None:
        """One thing at a time: the order that came first goes on."""
        if not self.queue:
            return
        order, now = self.queue[0], self._clock.monotonic()
        waited = now - order.since
        if order.stage == "reserved":
            self._begin(order, waited)
        elif order.stage == "written":
            if self.engine.made(order.commit):
                self._send(order)
            elif waited > RECORD_SECONDS:
                self._call_off(order, "it could not be put on record", Outcome.FAULT)
        elif order.stage == "sent" and waited > ERRAND_SECONDS:
            if order.errand is not None and order.errand.give_up():
                self._call_off(order, "its line did not come round", Outcome.TIMED_OUT)
            else:
                self._lost(order, "the sampler did not say whether it took the order", Outcome.TIMED_OUT)
        elif order.stage == "filling" and waited > self.settings.fill_seconds:
            self._lost(order, f"it did not say that it was done within {self.settings.fill_seconds:g} s")

    def _begin(self, order: Order, waited: float) -> None:
        try:
            self._may()
        except SampleRefused as error:
            if error.word == "unreachable" and self.seen is None and waited < LATE.total_seconds():
                return  # a start: nothing was heard yet
            self._call_off(order, str(error), error.how)
            return
        self._keep(BOTTLE, state=State.FILLING, bottle=order.bottle, cause=order.cause)
        order.commit = self.engine.behind()  # no bottle is filled on the word of a memory that a power cut forgets
        self._to(order, "written")

    def _send(self, order: Order) -> None:
        self._to(order, "sent")
        who = str(order.cause.get("user") or order.cause.get("platform") or order.cause.get("rule") or "")
        order.errand = self._reach.take(order.bottle, who, lambda result: self._bring(order, result))
        self._hear()  # a contact says at once

    def _answered(self, order: Order, result: StationError | None) -> None:
        if isinstance(result, StationError):
            over = self._lost if self._reach.may_have_moved(result) else self._call_off
            over(order, str(result), result.outcome)
        else:
            self._answer(order, Result(Outcome.DONE, self._values(order)))
            self._to(order, "filling")
            if not self._reach.tells:
                self._finish(order, order.bottle, confirmed=False)

    def _values(self, order: Order) -> dict[str, str]:
        return {"time": self._clock.now().isoformat(), "vase": str(order.bottle)}

    def _done(self, order: Order, seen: Seen) -> None:
        """The sampler says that a sample is done."""
        if seen.good is False:
            self._lost(order, "the sampler says that it failed", Outcome.FAILED)
            return
        vase = order.bottle if seen.bottle is None else seen.bottle
        if vase != order.bottle:
            other = self.book.all.get(vase, Bottle(vase))
            self._note("sample_elsewhere", urgent=True, bottle=order.bottle, vase=vase, before=str(other.state))
            if other.state is not State.FREE or not 1 <= vase <= self.settings.bottles:
                self._lost(order, f"the sampler says that it filled {vase}, which was {other.state}")
                if vase in self.book.all:
                    self._doubt(vase, other.cause, f"filled twice: for bottle {order.bottle}, too")
                return
        self._finish(order, vase, confirmed=True, volume=seen.volume)

    def _finish(self, order: Order, vase: int, *, confirmed: bool, volume: float | None = None) -> None:
        temperature = self.seen.temperature if self.seen else None
        self._keep(
            KEPT, vase=vase, asked=order.bottle, cause=order.cause, confirmed=confirmed, volume=volume,
            temperature=temperature,
        )  # fmt: skip
        self._note("sample_in_bottle", urgent=True, bottle=vase, confirmed=confirmed, **_told(order.cause))
        self.queue.remove(order)

    def _lost(self, order: Order, reason: str, how: Outcome = Outcome.FAILED) -> None:
        """Nobody knows what is in the bottle: it is not used again until it was collected."""
        self._doubt(order.bottle, order.cause, reason)
        self.queue.remove(order)
        self._answer(order, Result(how, reason=reason))

    def _doubt(self, number: int, cause: Mapping[str, Any], reason: str) -> None:
        log.warning("sampler %s: bottle %s is uncertain: %s", self.called, number, reason)
        self._keep(BOTTLE, state=State.UNCERTAIN, bottle=number, cause=dict(cause), reason=reason)
        self._note("sample_uncertain", urgent=True, bottle=number, reason=reason, **_told(cause))

    def _call_off(self, order: Order, reason: str, how: Outcome = Outcome.CONDITIONS, *, again: bool = True) -> None:
        """Nothing moved: the bottle is free, and an exceedance that goes on asks *again*."""
        self._keep(BOTTLE, state=State.FREE, bottle=order.bottle, cause=order.cause, reason=reason, again=again)
        self._note("sample_refused", urgent=True, bottle=order.bottle, reason=reason, **_told(order.cause))
        if again and "rule" in order.cause:
            self._held[str(order.cause["rule"])] = "called_off"
        if order in self.queue:
            self.queue.remove(order)
        self._answer(order, Result(how, reason=reason))

    def _foreign(self, seen: Seen) -> None:
        """A sample nobody here waits for: of an order that was given up, or taken at the sampler's own panel."""
        if seen.bottle == 0:
            return  # it forgot what it had counted: it was switched off
        known = self.book.all.get(seen.bottle or 0)
        if known is not None and known.state is State.UNCERTAIN:
            self._note("sample_late", urgent=True, bottle=seen.bottle, **_told(known.cause))
            return
        self._note("sample_foreign", urgent=True, bottle=seen.bottle)
        if seen.bottle is None or not 1 <= seen.bottle <= self.settings.bottles or seen.good is False:
            return
        bottle = self.book.all[seen.bottle]
        if bottle.state is State.FREE:
            self._keep(BOTTLE, state=State.FOREIGN, bottle=seen.bottle, cause={"what": "panel"})
        elif bottle.state not in BUSY:
            self._doubt(seen.bottle, bottle.cause, "filled again, and not by the station's order")

    def _answer(self, order: Order, result: Result) -> None:
        answer, order.answer = order.answer, None
        if answer is not None:
            answer(result)

    def _to(self, order: Order, stage: str) -> None:
        order.stage, order.since = stage, self._clock.monotonic()

    # -- told

    def _keep(self, kind: str, **body: Any) -> None:
        plain = {key: str(value) if isinstance(value, State) else value for key, value in body.items()}
        record = Record(kind, self._clock.now(), plain, self.settings.point, self.called)
        self.book.take(record)
        self.engine.keep(record, urgent=True)

    def _note(self, code: str, *, urgent: bool = False, **arguments: Any) -> None:
        self.engine.note(code, urgent=urgent, sampler=self.called, **arguments)

    def state(self) -> dict[str, Any]:
        """How it and its bottles stand, for people."""
        with self._lock:
            seen, free = self.seen, len(self.book.of(State.FREE))
            return {
                "name": self.called,
                "point": self.settings.point,
                "reachable": seen is not None and not self._missing,
                "error": self._missing,
                "temperature": seen.temperature if seen else None,
                "door": seen.door if seen else None,
                "full": seen.full if seen else None,
                "fault": seen.fault if seen else "",
                "free": free,
                "used": len(self.book.used),
                "under_way": [{"bottle": one.bottle, "stage": one.stage, "why": dict(one.cause)} for one in self.queue],
                "bottles": [one.row() for one in self.book.of(*State) if one.state is not State.FREE],
            }

    def more(self) -> dict[str, Any]:
        """Used bottles, and what is not as it should be."""
        words: dict[str, Any] = {"bottles_used": f"{len(self.book.used)}/{self.settings.bottles}"}
        seen = self.seen
        if self.queue:
            words["bottle_filling"] = self.queue[0].bottle
        if seen is not None and seen.temperature is not None:
            words["box_temperature"] = f"{seen.temperature:.1f}"
        if seen is not None and seen.door:
            words["door_open"] = "!"
        if seen is not None and seen.full:
            words["sampler_full"] = "!"
        if seen is not None and seen.fault:
            words["sampler_fault"] = seen.fault
        return {"words": words}


def _told(cause: Mapping[str, Any]) -> dict[str, Any]:
    """What an event says of whom a bottle was wanted by; the person's own reason has a word of its own."""
    said = {key: cause[key] for key in ("rule", "alarm", "platform", "user", "uid") if cause.get(key) not in (None, "")}
    return said | ({"wanted_for": cause["reason"]} if cause.get("reason") else {})


def _account(uid: object) -> dict[str, Any]:
    return {} if uid is None else {"uid": uid}


def _name(user: str) -> str:
    user = user.strip()
    if not user or not user.isprintable() or len(user) > MOST_NAME:
        raise WrongArgument("a bottle needs a person: --by NAME")
    return user


def make(engine: Engine) -> list[Sampler]:
    """Every [[sampler]]."""
    return [Sampler(engine, one, _reach(engine, one)) for one in engine.config.sampler]


def _reach(engine: Engine, settings: SamplerSettings) -> Reach:
    return ByLine(engine, settings) if settings.bus else ByContact(engine, settings)


def of_point(engine: Engine, point: str | None) -> Sampler | None:
    """The sampler that takes the water of *point*."""
    samplers = (one for one in engine.beside if isinstance(one, Sampler))
    return next((one for one in samplers if point in (None, one.settings.point)), None)


def called(engine: Engine, name: str) -> Sampler:
    """The sampler *name*, the only one without; raise WrongArgument."""
    found = {one.called: one for one in engine.beside if isinstance(one, Sampler)}
    if not found:
        raise WrongArgument("there is no [[sampler]] in station.toml")
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise WrongArgument(f'there is no sampler "{name}"; known: {", ".join(found)}')
    return found[name]


def faults(config: Config, folder: Path) -> Iterator[Fault]:
    """What is wrong in the [[sampler]] tables."""
    yield from _faults(config, (folder / "profiles",))
