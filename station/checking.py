"""The automatic checks of a running station: begun when due and nothing speaks against it, judged, and brought back.

The main thread leads each check from turn to turn and keeps its records; what is told to an instrument is told by its
bus's thread between two polls, so polling goes on all the while.  Nothing is told before the record that a check has
begun is durable, and the values of a check carry C until the instrument is back at its sample and its tail is over.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any

from station import marks
from station.calibrate import KIND as CALIBRATION
from station.calibration_figures import Rule, signal
from station.check_rows import alarm_rows, due_rows
from station.checks import (
    KIND,
    READ,
    RULE_READINGS,
    START,
    STOP,
    Accepted,
    Book,
    Check,
    CheckSettings,
    accepted,
    figures,
    half_of,
    judged,
    plan,
    read_book,
    record_of,
    scale_of,
    wants_adjusting,
)
from station.clock import EPOCH
from station.model import (
    Mark,
    Outcome,
    Record,
    Result,
    StationError,
    WrongArgument,
    dataclass,
    did_you_mean,
    field,
    replace,
)
from station.parameters import catalogue
from station.rules import Level, Why

if TYPE_CHECKING:
    from station.engine import Engine
    from station.poller import Poller, Task
    from station.store import Store

log = logging.getLogger(__name__)

TELL_SECONDS = 60.0  # so long a bus may take to come to what an instrument is to be told
READ_SECONDS = 15.0  # from one question for the result of an instrument's own check to the next
BACK_SECONDS = 60.0  # from one try to bring an instrument back to the next; it is tried until it is
ASK_SECONDS = 75.0  # who asks for a check waits no longer to hear that it has begun
LOOK_SECONDS = 5.0  # from one look at what speaks against a check to the next
MOST_READINGS = 500
MOST_LOGGED = 240  # characters of a line in an instrument's log
USABLE = (Mark.N, Mark.T, Mark.C)
MARKED = (Mark.M, Mark.C, Mark.F)  # spans in which nothing is begun: maintenance, a calibration, a stop
FREE = "idle"  # the state in which a cyclic analyser takes a command (drivers/analyser.py)
STATION = "station"  # who sets marks and begins checks by schedule


@dataclass(slots=True)
class Told:
    """What an instrument was told, and what came of it; *given_up* once nobody waits any more."""

    verb: str
    until: float
    done: bool = False
    given_up: bool = False
    brought: Mapping[str, str] = field(default_factory=dict)
    error: StationError | None = None


@dataclass(slots=True)
class Work:
    """A check under way: its instrument, and how far it has come."""

    check: Check
    task: Task
    poller: Poller
    settings: CheckSettings | None  # None of one that a restart found and station.toml has no more
    phase: str = "telling"  # then reading, then returning
    told: Told | None = None
    ready_at: float = 0.0  # readings count from here on, on the clock that never steps
    give_up: float = 0.0
    heard: float = 0.0
    series: list[tuple[float, float]] = field(default_factory=list)
    trouble: str = "no reading came"
    again_at: float = 0.0
    tries: int = 0
    answer: Callable[[Result], None] | None = None


@dataclass(slots=True)
class Asked:
    """Somebody's word from another thread: begin *check*, or stop the one that is under way."""

    do: str
    check: str
    by: str
    answer: Callable[[Result], None]
    reason: str = ""


class Checking:
    """Every [[qc]] of a running station."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = {one.name: one for one in engine.config.qc}
        self._asked: SimpleQueue[Asked] = SimpleQueue()
        self._works: dict[str, Work] = {}  # by device
        self._waiting: dict[str, tuple[datetime, str]] = {}  # slots that wait, and what was said of them
        self._again: dict[str, float] = {}  # when what speaks against one that waits is looked at again
        self._ahead: dict[str, datetime] = {}  # what was said not to be done again
        self._stepped = 0.0
        self._fresh = True  # the first look after a start
        self.book: Book = _book_of(engine.store)
        self._number = self.book.next_number
        self._find_interrupted()
        self._new = [one for one in self._settings.values() if one.name not in self.book.seen_to]

    # -- for other threads

    def ask(self, do: str, check: str, by: str, answer: Callable[[Result], None], reason: str = "") -> None:
        """Have the check *check* begun or stopped by the main thread; *answer* is called once."""
        self._asked.put(Asked(do, check, by, answer, reason))

    def ask_and_wait(self, do: str, check: str, by: str, reason: str = "") -> Result:
        """As `ask`, for who waits."""
        done, found = Event(), list[Result]()

        def answer(result: Result) -> None:
            found.append(result)
            done.set()

        self.ask(do, check, by, answer, reason)
        if not done.wait(ASK_SECONDS):
            return Result(Outcome.TIMED_OUT, reason=f"{check}: nobody came to it within {ASK_SECONDS:g} s")
        return found[0]

    def at_work(self, device: str) -> str:
        """The check that is under way at *device*, or nothing."""
        work = self._works.get(device)
        return "" if work is None else work.check.name

    def for_parameter(self, point: str | None, parameter: str | None) -> str:
        """The check a platform means that names a point and a parameter: one of a standard rather than another."""
        found = [
            one
            for one in self._settings.values()
            if parameter in (None, one.parameter) and point in (None, self._task(one).point(one.parameter))
        ]
        return min(found, key=lambda one: one.check != "standard").name if found else ""

    def level(self, name: str) -> Level:
        """What a rule that follows the check *name* looks at: 1 while its newest verdict is that it failed."""
        if self.book.last_pass(name) is None and self.book.locked_by(name) is None:
            return Level(None, Why.NO_VALUE)
        return Level(float(self.book.locked_by(name) is not None))

    @property
    def names(self) -> tuple[str, ...]:
        """Every [[qc]] by its name."""
        return tuple(self._settings)

    # -- the main thread

    def turn(self) -> None:
        """Go on with what is under way, begin what is due or asked for."""
        self._take_asked()
        for work in list(self._works.values()):
            if self._stepped < 0:
                self._mark_again(work)
            self._go_on(work)
        now, known = self._engine.clock.now(), not self._engine.time.waits
        if known and self._new:
            self._keep(*(self._schedule(one, "new") for one in self._new))
            self._new = []
        for one in self._settings.values():
            if one.name in self.book.seen_to:
                self._look(one, now, known=known)
        self._stepped, self._fresh = 0.0, self._fresh and not known

    def clock_was_stepped(self, seconds: float) -> None:
        """The wall clock was corrected: what is passed over or not done again for it is said."""
        self._stepped += seconds

    def take_word(self, records: list[Record]) -> None:
        """A person has confirmed or dismissed what a failed check casts doubt on."""
        for record in records:
            if record.kind == KIND:
                self.book.take(record)

    # -- when

    def _look(self, one: CheckSettings, now: datetime, *, known: bool) -> None:
        """Begin *one* if it is due; say what is passed over.  Nothing is due where the time is not *known*."""
        made = plan(one, self.book.seen_to[one.name], now, self._engine.loaded.zone, settled=known)
        if made.ahead is not None:
            self._is_ahead(one, made.ahead, now, restarts=made.restarts)
            return
        if not known:
            return
        if made.missed is not None:
            waited = self._waiting.pop(one.name, None)
            why = "off" if self._fresh else "clock" if self._stepped > 0 else "waited"
            self._passed_over(one, *made.missed, why, waited[1] if waited and why == "waited" else "")
        monotonic = self._engine.clock.monotonic()
        if made.due is None or (one.name in self._waiting and monotonic < self._again[one.name]):
            return
        self._again[one.name] = monotonic + LOOK_SECONDS
        if (why_not := self._against(one, now)) is None:
            self._waiting.pop(one.name, None)
            self._begin(one, STATION, made.due)
        elif why_not.startswith("expired"):
            self._passed_over(one, made.due, made.due, 1, "expired", why_not)
        elif self._waiting.get(one.name) != (made.due, why_not):
            self._waiting[one.name] = (made.due, why_not)
            due = made.due.isoformat()
            self._engine.note("qc_waiting", check=one.name, device=one.device, due=due, reason=why_not)

    def _passed_over(
        self, one: CheckSettings, first: datetime, last: datetime, count: int, why: str, said: str
    ) -> None:
        """Keep that nothing was begun *count* times from *first* to *last*, and *why*: a word of checks.MISSED."""
        body = {
            "do": "missed", "check": one.name, "from": first.isoformat(), "to": last.isoformat(), "count": count,
            "why": why, "reason": said,
        }  # fmt: skip
        log.warning("check %s: %d due from %s on not done: %s %s", one.name, count, first.isoformat(), why, said)
        self._keep(Record(KIND, self._engine.clock.now(), body, self._task(one).point(one.parameter), one.device))
        about = {key: value for key, value in body.items() if key != "do"}
        self._engine.note("qc_missed", urgent=True, device=one.device, **about)

    def _is_ahead(self, one: CheckSettings, following: datetime, now: datetime, *, restarts: bool) -> None:
        """The clock was set back: what was done is not done again, unless that would stop the checks for long."""
        seen_to = self.book.seen_to[one.name]
        if restarts:
            self._keep(self._schedule(one, "clock"))
            was, at = seen_to.isoformat(), now.isoformat()
            self._engine.note("qc_schedule_restarted", check=one.name, was_seen_to=was, now=at)
        elif self._ahead.get(one.name) != seen_to:
            self._ahead[one.name] = seen_to
            self._engine.note("qc_not_repeated", check=one.name, due=seen_to.isoformat(), next=following.isoformat())

    def _schedule(self, one: CheckSettings, why: str) -> Record:
        """From now on *one* is due."""
        now = self._engine.clock.now()
        body = {"do": "schedule", "check": one.name, "to": now.isoformat(), "why": why}
        return Record(KIND, now, body, self._task(one).point(one.parameter), one.device)

    # -- what speaks against it: the interlock of everybody who begins a check

    def _against(self, one: CheckSettings, now: datetime) -> str | None:
        engine, task = self._engine, self._task(one)
        day = now.astimezone(engine.loaded.zone).date()
        if one.expired(day):
            return f"expired: the standard {one.certificate or f'{one.value:g}'} was good until {one.expires}"
        if engine.store_error:
            return f"nothing can be kept: {engine.store_error}"
        if name := self.at_work(one.device):
            return f"{name} is under way at {one.device}"
        bus = self._poller(one).bus_name
        if engine.desk.at_work(bus):
            return f"bus {bus} is at work on a platform's command"
        if one.parameter in getattr(task.device, "held", ()):
            return f"{one.device}: its wiper has just run"
        if getattr(task.device, "pending_seconds", None) is not None:
            return f"{one.device}: a measurement is under way"
        if (state := getattr(task.device, "state", "")) not in ("", FREE):
            return f"{one.device} is {state}"
        point = task.point(one.parameter)
        for hand in engine.periods.marks.at(point, one.parameter, now):
            if hand.mark in MARKED:
                return f"{point} is marked {hand.mark.name} ({hand.name}, {hand.user}: {hand.reason})"
        if run := self._calibration(one.device):
            return f"{one.device} is being calibrated ({run})"
        if engine.recorder.state(one.device).failures:
            return f"{one.device} does not answer"
        return None

    def _calibration(self, device: str) -> str:
        """The calibration that is open at *device*, or nothing."""
        if not self._engine.store.kept(CALIBRATION):
            return ""
        from station.calibration_entry import calibration_book

        run = calibration_book(self._engine.store).open_at(device)
        return "" if run is None else run.name

    # -- begun

    def _take_asked(self) -> None:
        while True:
            try:
                asked = self._asked.get_nowait()
            except Empty:
                return
            try:
                asked.answer(self._answered(asked)) if asked.do == "stop" else self._start_asked(asked)
            except WrongArgument as error:
                asked.answer(Result(Outcome.CONDITIONS, reason=str(error)))

    def _start_asked(self, asked: Asked) -> None:
        one = self._named(asked.check)
        why = self._against(one, self._engine.clock.now())
        if why is not None and not (why.startswith("expired") and asked.reason):
            busy = "under way" in why or "at work" in why
            asked.answer(Result(Outcome.BUSY if busy else Outcome.CONDITIONS, reason=why))
            return
        if (work := self._begin(one, asked.by, None, override=asked.reason)) is None:
            reason = self._engine.store_error or "the station did not commit in time"
            asked.answer(Result(Outcome.FAULT, reason=f"{reason}; nothing was begun"))
            return
        work.answer = asked.answer

    def _answered(self, asked: Asked) -> Result:
        """Stop what is under way, as somebody asked."""
        one = self._named(asked.check)
        work = self._works.get(one.device)
        if work is None or work.check.check != one.name or work.phase == "returning":
            return Result(Outcome.CONDITIONS, reason=f"no check {one.name} is under way")
        self._stop(work, "cancelled", f"{asked.by}: {asked.reason}")
        return Result(Outcome.DONE, {"name": work.check.name})

    def _named(self, name: str) -> CheckSettings:
        if name not in self._settings:
            known = ", ".join(self._settings) or "none"
            raise WrongArgument(f'there is no [[qc]] "{name}"{did_you_mean(name, self._settings)}; known: {known}')
        one: CheckSettings = self._settings[name]
        return one

    def _begin(self, one: CheckSettings, by: str, slot: datetime | None, override: str = "") -> Work | None:
        """Keep that it has begun, with its mark; durable before the instrument hears of it.  None where that fails."""
        engine, task, now = self._engine, self._task(one), self._engine.clock.now()
        point = task.point(one.parameter)
        check = Check(
            name=f"Q{self._number}", check=one.name, device=one.device, parameter=one.parameter, point=point,
            type=one.check, standard=one.value, begun=now, by=by, mark=f"M{engine.next_mark()}", slot=slot,
        )  # fmt: skip
        seen_to = slot or self.book.seen_to.get(one.name, now)  # one by hand leaves the schedule where it is
        more = {"certificate": one.certificate, "trust": engine.trust(), "override": override}
        said = {key: value for key, value in more.items() if value}
        made = record_of(check, "begin", now, seen_to=seen_to.isoformat(), **said)
        entries = [made, *self._marks(check, task, now)]
        engine.keep(*entries, urgent=True)
        if not engine.commit() and engine.withdraw(entries):
            return None
        self._number += 1
        self.book.take(made)
        work = Work(check=check, task=task, poller=self._poller(one), settings=one)
        self._works[one.device] = work
        about = {"standard": one.value, "by": by, "point": point}
        self._note("qc_begun", check, **about)
        self._tell(work, START)
        return work

    def _marks(self, check: Check, task: Task, now: datetime) -> Iterator[Record]:
        """C for all that the standard reaches: a gas that one cell is given flows through the others, too."""
        concerned = getattr(task.device, "concerned", None)
        half = half_of(check.type)
        reached = concerned(START, check.parameter, half) if concerned is not None else (check.parameter,)
        points = {point.code: point for point in self._engine.config.point}
        number = int(check.mark[1:])
        for parameter in (one for one in reached if one in catalogue()):
            entry = {
                "do": "mark", "point": task.point(parameter), "parameter": parameter, "mark": "C", "user": check.by,
                "reason": _reason(check),
            }  # fmt: skip
            yield marks.enter(self._engine.periods.marks, entry, points, now, number or self._engine.next_mark())
            number = 0  # of the first alone: it is the one that the check names

    def _mark_again(self, work: Work) -> None:
        """The clock was set back under way: from here on its values lie before the marks it began with."""
        now, check = self._engine.clock.now(), replace(work.check, mark=f"M{self._engine.next_mark()}")
        self._keep(*self._marks(check, work.task, now))

    def _tell(self, work: Work, verb: str) -> None:
        """Have the bus's thread tell the instrument, where it comes to it in time."""
        told = Told(verb, self._engine.clock.monotonic() + TELL_SECONDS)
        arguments = {"parameter": work.check.parameter, "type": half_of(work.check.type)}
        device = work.task.device

        def errand() -> None:
            if told.given_up:
                return
            try:
                told.brought = device.act(verb, arguments)
            except StationError as error:
                told.error = error
            told.done = True

        work.told = told
        work.poller.submit(errand)

    # -- under way

    def _go_on(self, work: Work) -> None:
        now = self._engine.clock.monotonic()
        told = work.told
        if told is not None and not told.done and now >= told.until:
            told.given_up = True
            told.error = BusBusy(f"bus {work.poller.bus_name} did not come to it within {TELL_SECONDS:g} s")
            told.done = True
        if told is not None and not told.done:
            return
        work.told = None
        match work.phase:
            case "telling":
                self._was_told(work, told, now)
            case "reading":
                self._read(work, told, now)
            case _:
                self._return(work, told, now)

    def _was_told(self, work: Work, told: Told | None, now: float) -> None:
        assert told is not None
        assert work.settings is not None
        one = work.settings
        if told.error is not None:
            self._answer(work, Result(told.error.outcome, reason=str(told.error)))
            self._stop(work, _outcome_of(told.error), str(told.error))
            return
        self._answer(work, Result(Outcome.DONE, {"name": work.check.name}))
        work.phase = "reading"
        work.ready_at, work.give_up = now + one.settle_seconds, now + 60 * one.longest_minutes
        work.heard, work.again_at = now, work.ready_at
        if "value" in told.brought:
            self._conclude(work, told.brought["value"])

    def _read(self, work: Work, told: Told | None, now: float) -> None:
        """Take what the instrument shows, until it is steady or the check is given up."""
        if self._taken_over(work):
            return
        if told is not None:
            self._has_said(work, told)
        elif work.check.parameter in work.task.device.actions.get(READ, ()):
            if now >= work.again_at:
                work.again_at = now + READ_SECONDS
                self._tell(work, READ)
        else:
            self._listen(work)
        if work.phase == "reading" and work.told is None and now >= work.give_up:
            assert work.settings is not None
            outcome = "unstable" if work.series else "not_ready"
            said = f"{work.check.device} came to no value within {work.settings.longest_minutes:g} min: {work.trouble}"
            self._stop(work, outcome, said)

    def _taken_over(self, work: Work) -> bool:
        """Whether somebody has begun to work there, which ends the check."""
        check = work.check
        for hand in self._engine.periods.marks.at(check.point, check.parameter, self._engine.clock.now()):
            if hand.mark in (Mark.M, Mark.F):
                said = f"{check.point} was marked {hand.mark.name} ({hand.name}, {hand.user}: {hand.reason})"
                self._stop(work, "cancelled", said)
                return True
        return False

    def _has_said(self, work: Work, told: Told) -> None:
        """The answer of an instrument that checks itself."""
        if told.error is None and "value" in told.brought:
            self._conclude(work, told.brought["value"])
        elif told.error is not None:
            work.trouble = str(told.error)

    def _listen(self, work: Work) -> None:
        """A reading of the usual polls."""
        one, check = work.settings, work.check
        assert one is not None
        reading = self._engine.recorder.current.get((check.device, check.parameter))
        if reading is None or reading.heard <= work.heard or reading.heard < work.ready_at:
            return
        work.heard = reading.heard
        cyclic = work.task.pace_seconds > work.task.settings.poll_seconds
        if cyclic and reading.time < check.begun:
            return  # the result of a sample from before
        if reading.value is None or reading.mark not in USABLE:
            work.trouble = f"its last reading was marked {reading.mark.name} ({reading.reason.name.lower()})"
            return
        work.series = [*work.series, (reading.heard, reading.value)][-MOST_READINGS:]
        wanted = one.readings or (1 if cyclic else RULE_READINGS)
        if wanted < 3:
            if len(work.series) >= wanted:
                last = [value for _, value in work.series[-wanted:]]
                self._conclude(work, sum(last) / len(last))
            return
        rule = Rule(readings=wanted, noise_percent=one.noise_percent, drift_percent=one.drift_percent)
        found = signal(work.series, rule, scale_of(one, work.task.settings) or abs(one.value) or 1.0)
        if found.stable:
            self._conclude(work, found.mean, found.noise, found.drift)
        else:
            work.trouble = (
                f"noise {found.noise:.3g} (limit {found.noise_limit:.3g}), drift {found.drift:.3g}"
                f" (limit {found.drift_limit:.3g}) over {found.count} of {wanted} readings"
            )

    # -- its end

    def _conclude(self, work: Work, value: str | float, noise: float | None = None, drift: float | None = None) -> None:
        """A value: hold it against its limits, keep the verdict, tell the platforms, and go back."""
        one, check = work.settings, work.check
        assert one is not None
        try:
            shown = float(value)
        except ValueError:
            shown = math.nan
        if not math.isfinite(shown):
            self._stop(work, "refused", f'{check.device} brought "{value}", which is no number')
            return
        system = self._engine.loaded.systems[check.point]
        limits: list[Accepted] = accepted(one, system)
        found = figures(one, shown, self._reference(one), scale_of(one, work.task.settings))
        verdicts = judged(limits, found)
        verdict = "passed" if verdicts and all(v.passed for v in verdicts) else "failed"
        now = self._engine.clock.now()
        body = {
            "verdict": verdict, "value": shown, "noise": noise, "drift": drift, **found,
            "adjust": wants_adjusting(one, system, found), "readings": len(work.series) or 1,
            "judgements": [
                {name: getattr(v, name) for name in ("what", "value", "limit", "passed", "confidence", "source")}
                for v in verdicts
            ],
        }  # fmt: skip
        done = record_of(check, "done", now, **body)
        told = {"parameter": check.parameter, "value": shown, "standard": check.standard, "passed": verdict == "passed"}
        self._keep(done, Record("check", now, told, check.point, check.device))
        about = {"value": shown, "standard": check.standard, "verdict": verdict, "point": check.point}
        self._note(f"qc_{verdict}", check, **about)
        self._log(
            work, f"{check.type} check {check.name} of {check.parameter}: {shown:g} in {check.standard:g}, {verdict}"
        )
        if verdict == "failed":
            log.warning("check %s: %s failed: %g in %g", check.check, check.name, shown, check.standard)
        self._go_back(work)

    def _reference(self, one: CheckSettings) -> float:
        """What the last calibration that changed anything left at this standard; else the standard itself.

        That is so where it did not use the standard, where nobody knows what it left, and where it was taken back.
        """
        if not self._engine.store.kept(CALIBRATION):
            return one.value
        from station.calibration_run import PROCEDURES

        found = self._engine.store.newest_records(CALIBRATION, "device", "$.do", "$.name")
        back = {record.body["name"] for record in found if record.body["do"] == "revert"}
        for record in reversed(found):
            body = record.body
            mine = (record.device, body.get("parameter"), body["do"]) == (one.device, one.parameter, "done")
            procedure = PROCEDURES.get(str(body.get("procedure")))
            adjusts = procedure is None or procedure.sets or procedure.acts
            if mine and adjusts and body["name"] not in back:
                left = [row["as_left"] for row in body.get("rows", ()) if row["standard"] == one.value]
                return one.value if not left or left[0] is None else float(left[0])
        return one.value

    def _stop(self, work: Work, outcome: str, reason: str) -> None:
        """No value and no verdict: say why, and go back."""
        check = work.check
        self._answer(work, Result(Outcome.FAILED, reason=reason))
        self._keep(record_of(check, "stopped", self._engine.clock.now(), outcome=outcome, reason=reason))
        log.warning("check %s: %s stopped (%s): %s", check.check, check.name, outcome, reason)
        self._note("qc_stopped", check, outcome=outcome, reason=reason, point=check.point)
        self._log(work, f"{check.type} check {check.name} of {check.parameter}: stopped, {outcome}: {reason}")
        self._go_back(work)

    def _go_back(self, work: Work) -> None:
        """To the sample: told where the instrument has to be told, at once where it goes back by itself."""
        if work.told is not None:
            work.told.given_up = True  # not begun after all, where nobody has come to it
        work.phase, work.tries = "returning", 0
        work.again_at = self._engine.clock.monotonic()
        if work.check.parameter in work.task.device.actions.get(STOP, ()):
            work.tries = 1
            self._tell(work, STOP)
        else:
            self._is_back(work)

    def _return(self, work: Work, told: Told | None, now: float) -> None:
        if told is None:
            if now >= work.again_at:
                work.tries += 1
                self._tell(work, STOP)
            return
        if told.error is None:
            self._is_back(work)
            return
        work.again_at = now + BACK_SECONDS
        if work.tries == 1:
            log.error("check %s: %s is not back at its sample: %s", work.check.name, work.check.device, told.error)
            self._note("qc_not_back", work.check, reason=str(told.error), point=work.check.point)

    def _is_back(self, work: Work) -> None:
        """The instrument measures again: the mark ends after its tail."""
        check, now = self.book.checks[work.check.name], self._engine.clock.now()
        one = work.settings
        tail = 0.0 if one is None else one.tail_seconds
        if (
            one is not None
            and check.state == "stopped"
            and check.parameter not in work.task.device.actions.get(STOP, ())
        ):
            # Nobody can tell whether it is still at its own check, which it ends by itself.
            left = check.begun + timedelta(minutes=one.longest_minutes) - now
            tail += max(0.0, left.total_seconds())
        self._keep(record_of(check, "back", now), *self._unmark(check, now, tail))
        if work.tries > 1:
            self._note("qc_back", check, tries=work.tries, point=check.point)
        self._works.pop(check.device, None)

    def _unmark(self, check: Check, now: datetime, tail_seconds: float) -> list[Record]:
        """The end of the marks it has set; nothing where a person has ended them."""
        hand, reason, found = self._engine.periods.marks, _reason(check), []
        for one in list(hand):
            if one.reason != reason or one.last is not None or one.withdrawn:
                continue
            to = max(now + timedelta(seconds=tail_seconds), one.first + timedelta(milliseconds=1))
            entry = {
                "do": "end", "name": one.name, "to": to.isoformat(), "user": check.by, "reason": f"end of {check.name}",
            }  # fmt: skip
            found.append(marks.enter(hand, entry, {}, now))
        return found

    # -- after a power cut

    def _find_interrupted(self) -> None:
        """Checks that a cut or a stop found under way: recorded as interrupted, and the instrument brought back."""
        newest = {check.check: check for check in sorted(self.book.checks.values(), key=lambda one: one.number)}
        for check in newest.values():  # of the others the newest of each kind alone are known here
            if check.back is not None:
                continue
            task = self._engine.tasks.get(check.device)
            if task is None:
                self._keep(record_of(check, "stopped", self._engine.clock.now(), outcome="interrupted",
                                     reason="the station stopped; the instrument is not configured any more"),
                           record_of(check, "back", self._engine.clock.now()),
                           *self._unmark(check, self._engine.clock.now(), 0.0))  # fmt: skip
                continue
            poller = next(p for p in self._engine.pollers if task in p.tasks)
            work = Work(check=check, task=task, poller=poller, settings=self._settings.get(check.check))
            self._works[check.device] = work
            if check.state == "open":
                self._stop(work, "interrupted", "the station stopped or lost its power while it was under way")
            else:
                self._go_back(work)

    def finish(self) -> None:
        """The station stops in order: what is under way ends, and instruments are told to go back while they can be.

        The bus threads have ended; where one is told in vain, the next start tells it again.
        """
        for work in list(self._works.values()):
            if work.poller.is_alive():
                continue
            self._engine.commit()
            if work.phase != "returning":
                self._keep(record_of(work.check, "stopped", self._engine.clock.now(), outcome="interrupted",
                                     reason="the station was stopped while it was under way"))  # fmt: skip
                self._note("qc_stopped", work.check, outcome="interrupted", point=work.check.point)
            if work.check.parameter in work.task.device.actions.get(STOP, ()):
                try:
                    work.task.device.act(STOP, {"parameter": work.check.parameter, "type": half_of(work.check.type)})
                except StationError as error:
                    log.error("check %s: %s is not back at its sample: %s", work.check.name, work.check.device, error)
                    continue
            self._is_back(work)

    # -- helpers

    def _answer(self, work: Work, result: Result) -> None:
        answer, work.answer = work.answer, None
        if answer is not None:
            answer(result)

    def _keep(self, *records: Record) -> None:
        for record in records:
            if record.kind == KIND:
                self.book.take(record)
        if records:
            self._engine.keep(*records, urgent=True)

    def _note(self, code: str, check: Check, **more: object) -> None:
        about = {"name": check.name, "check": check.check, "device": check.device, "parameter": check.parameter}
        self._engine.note(code, urgent=True, **about, **more)

    def _log(self, work: Work, text: str) -> None:
        """A line in the instrument's log, for the platforms that take it (3020)."""
        check = work.check
        body = {"item": "instrument_log", "value": text[:MOST_LOGGED], "parameters": [check.parameter]}
        self._engine.keep(Record("site_info", self._engine.clock.now(), body, check.point, check.device))

    def _task(self, one: CheckSettings) -> Task:
        return self._engine.tasks[one.device]

    def _poller(self, one: CheckSettings) -> Poller:
        return next(p for p in self._engine.pollers if any(t.device.name == one.device for t in p.tasks))

    # -- what is asked

    def alarms(self) -> list[dict[str, Any]]:
        """Every [[qc]] as an alarm: on while its newest verdict is that it failed."""
        return alarm_rows(list(self._settings.values()), self.book, self._point_of)

    def _point_of(self, one: CheckSettings) -> str:
        return self._task(one).point(one.parameter)

    def rows(self, now: datetime) -> list[dict[str, Any]]:
        """Every [[qc]]: what it did last, when it is due, and what speaks against it."""
        return due_rows(list(self._settings.values()), self.book, now, self._engine.loaded.zone, {
            work.check.check: (work.check.name, work.phase) for work in list(self._works.values())
        }, {name: why for name, (_, why) in list(self._waiting.items())})  # fmt: skip


def _book_of(store: Store) -> Book:
    """The newest of everything is enough to go on; since when a trend is locked, all of them say."""
    book = read_book(store.newest_records(KIND, "device", "$.check", "$.do", "$.verdict"))
    locked = any(book.locked_by(one.check) for one in book.checks.values())
    return read_book(store.records(KIND, EPOCH, datetime.max.replace(tzinfo=UTC))) if locked else book


def _reason(check: Check) -> str:
    """What the marks of *check* say; its name is used once."""
    return f"check {check.name}: {check.type} {check.standard:g}"


class BusBusy(StationError, TimeoutError):
    """Error raised when a bus did not come to what its instrument was to be told."""


def _outcome_of(error: StationError) -> str:
    """How a check ends that this error stopped, a word of checks.OUTCOMES."""
    if error.outcome is Outcome.BUSY:
        return "busy"
    return "no_reply" if isinstance(error, TimeoutError | OSError) else "refused"
