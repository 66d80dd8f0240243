"""Calibrations of analysers that nobody attends: the station tells, waits, and leaves the result to be signed.

A step takes an analyser half an hour or more.  What it was told is on record before its result is waited for, so that a
restart goes on where it was; a turn that brings nothing within *LIMIT* ends the run, the former calibration in force.
An instrument is told to calibrate itself once: where a cut, or a reply that did not come, leaves it open whether it
was, it is asked what it is doing, and where that does not tell either the run ends and a person is asked to look.
The standard is at its inlet all the while: who began the run has put it there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from station.calibrate import KIND
from station.calibration import tell, told
from station.calibration_entry import Hands, calibration_book, enter_calibration
from station.calibration_run import Run
from station.model import Mark, Outcome, Reading, Record, StationError, WrongArgument

if TYPE_CHECKING:
    from station.engine import Engine

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0  # between two looks at what has come
AGAIN_SECONDS = 60.0  # until an analyser that was busy, or did not answer, is told again
CLOCKS = timedelta(minutes=10)  # by how much the clock of an analyser may be behind
SOON = timedelta(minutes=2)  # ours: no calibration of an instrument that works in cycles is over by then
TOLD, NOT_TOLD = "told", "not told"
FREE, AT_IT = "idle", "calibrating"  # what an analyser says it is doing (drivers/analyser.py)
LIMIT = timedelta(hours=3)  # ours: a cycle takes up to two hours, its result may be late by one


class Unattended:
    """Leads the open runs of *engine* that nobody attends; from the main thread, which never waits for a line."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._look_at = 0.0
        self._book_of, self._runs = -1, list[Run]()
        self._kept: set[str] = set()  # runs of which a record waits for its commit
        self._asked: dict[str, list[StationError | None]] = {}  # what came of what the instrument was told
        self._looks: dict[str, list[StationError | str]] = {}  # and of what it was asked
        self._mine: set[tuple[str, int]] = set()  # acts that nobody but this process tells of, none of which was lost
        self._again_at: dict[str, float] = {}
        self._came: dict[str, tuple[datetime, float]] = {}  # to where each run is: when, by either clock
        self._complaints: dict[str, str] = {}

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to lead."""
        return self._book_of >= 0 and not self._runs

    def at(self, device: str) -> str:
        """The name of the run that is led at *device*; empty where there is none."""
        return next((run.name for run in self._runs if run.device == device), "")

    def turn(self) -> None:
        """Look at each run, and do what is next."""
        now = self._engine.clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        newest = self._engine.store.newest_record(KIND)
        if newest != self._book_of:
            runs = calibration_book(self._engine.store).runs.values()
            self._runs = [run for run in runs if run.unattended and run.state == "open" and run.turn is not None]
            self._book_of = newest
            self._kept.clear()
        for run in self._runs:
            if run.name not in self._kept:
                self._lead(run)

    def _lead(self, run: Run) -> None:
        """Do what is next in *run*, or end it where that takes too long."""
        assert run.turn is not None
        if self._there_seconds(run) > LIMIT.total_seconds():
            self._halt(run)
        elif run.turn[0] == "act" and run.telling <= len(run.acts):
            if self._is_free(run):
                self._mine.add((run.name, len(run.acts)))
                self._enter(run, "tell")
        elif run.turn[0] == "act" and (run.name, len(run.acts)) not in self._mine:
            self._find_out(run)
        elif run.turn[0] == "act":
            self._tell(run, "calibrate", "act", **self._arguments(run))
        elif run.told_at is None:
            self._tell(run, "sample_now", "told")
        else:
            self._look_for_result(run)

    def _there_seconds(self, run: Run) -> float:
        """How long *run* has been where it is; the wall clock says so only of what was before this start."""
        since, clock = self._since(run), self._engine.clock
        if run.name not in self._came or self._came[run.name][0] != since:
            before = 0.0 if self._engine.time.waits else max(0.0, (clock.now() - since).total_seconds())
            self._came[run.name] = since, clock.monotonic() - before
        return clock.monotonic() - self._came[run.name][1]

    def _since(self, run: Run) -> datetime:
        """When *run* came to where it is."""
        times = [run.begun, *(one.at for one in run.steps), *(one.at for one in run.acts)]
        return max([*times, run.told_at] if run.told_at else times)

    # -- what the instrument is told

    def _tell(self, run: Run, verb: str, do: str, **arguments: str) -> None:
        """Have the instrument told *verb*, once; what came of it is kept as *do*."""
        answers = self._asked.get(run.name)
        if answers is None:
            if self._engine.clock.monotonic() >= self._again_at.get(run.name, 0.0):
                self._ask(run, verb, {"parameter": run.parameter, **arguments})
            return
        if not answers:
            return  # the line has not come to it yet
        del self._asked[run.name]
        (error,) = answers
        if error is None:
            self._enter(run, do)
            return
        if do == "act" and not isinstance(error, WrongArgument) and error.outcome is not Outcome.BUSY:
            self._mine.discard((run.name, len(run.acts)))  # it may have obeyed all the same
        self._complain(run, error)

    def _complain(self, run: Run, error: StationError) -> None:
        """Try again later; say why when that is new."""
        self._again_at[run.name] = self._engine.clock.monotonic() + AGAIN_SECONDS
        if str(error) != self._complaints.get(run.name):
            self._complaints[run.name] = str(error)
            busy = error.outcome is Outcome.BUSY
            log.log(logging.INFO if busy else logging.WARNING, "calibration %s: %s", run.name, error)

    def _is_free(self, run: Run) -> bool:
        """Whether the instrument takes a command now, so that it is told at once when that is on record."""
        state = self._doing(run)
        if state not in (None, "", FREE):
            self._complain(run, _AtWork(f"{run.device}: is {state}, and takes no command"))
        return state in ("", FREE)

    def _find_out(self, run: Run) -> None:
        """Whether the instrument was told before the cut, or before its reply was lost; else it is told now."""
        answers = self._looks.get(run.name)
        if answers is None:
            self._look(run, partial(self._tell_if_not_told, run))
            return
        if not answers:
            return  # the line has not come to it yet
        (found,) = self._looks.pop(run.name)
        if isinstance(found, StationError):
            self._complain(run, found)
        elif found == TOLD:
            self._enter(run, "act")
        elif found == NOT_TOLD:
            self._mine.add((run.name, len(run.acts)))
        else:
            self._enter(run, "halt", reason=f"nobody knows whether {run.device} was told to calibrate its {run.tells}")

    def _tell_if_not_told(self, run: Run, device: Any) -> str:
        """From the bus's own thread: look and act without anything in between."""
        doing = getattr(device, "doing", None)
        state = doing() if doing is not None else ""
        if state == AT_IT:
            log.info("calibration %s: %s is calibrating, so it was told", run.name, run.device)
            return TOLD
        if not state or run.tell_at is None or self._engine.clock.now() - run.tell_at >= SOON:
            return ""
        log.info("calibration %s: %s is %s, so it was not told", run.name, run.device, state)
        if state != FREE:
            return NOT_TOLD
        device.act("calibrate", self._arguments(run))
        return TOLD

    @staticmethod
    def _arguments(run: Run) -> dict[str, str]:
        return {"parameter": run.parameter, "type": run.tells, "standard": repr(run.standards[0].value)}

    def _doing(self, run: Run) -> str | None:
        """What the instrument says it is doing; "" where it cannot be asked, None until it has answered."""
        answers = self._looks.get(run.name)
        if answers is None:
            task = self._engine.tasks.get(run.device)
            if task is None or not hasattr(task.device, "doing"):
                return ""
            self._look(run, lambda device: str(device.doing()))
            return None
        if not answers:
            return None  # the line has not come to it yet
        (found,) = self._looks.pop(run.name)
        if isinstance(found, StationError):
            self._complain(run, found)
            return None
        return found

    def _look(self, run: Run, what: Callable[[Any], str]) -> None:
        """Have the bus's own thread do *what* with the instrument."""
        if self._engine.clock.monotonic() < self._again_at.get(run.name, 0.0):
            return
        task = self._engine.tasks.get(run.device)
        poller = next((p for p in self._engine.pollers if task in p.tasks), None)
        if task is None or poller is None:
            self._complain(run, WrongArgument(f'there is no device "{run.device}" any more'))
            return
        answers: list[StationError | str] = []
        self._looks[run.name] = answers
        poller.submit(partial(_answered, what, task.device, answers))

    def _ask(self, run: Run, verb: str, arguments: dict[str, str]) -> None:
        task = self._engine.tasks.get(run.device)
        poller = next((p for p in self._engine.pollers if task in p.tasks), None)
        if task is None or poller is None:
            self._asked[run.name] = [WrongArgument(f'there is no device "{run.device}" any more')]
            return
        if verb == "sample_now" and run.parameter not in task.device.actions.get(verb, ()):
            self._asked[run.name] = [None]  # it measures by its own clock
            return
        answers: list[StationError | None] = []
        self._asked[run.name] = answers
        poller.submit(partial(_carry_out, task.device, verb, arguments, answers))

    # -- what it says

    def _look_for_result(self, run: Run) -> None:
        """Take the first result of a sample that was taken after it was told, as its clock and ours have it."""
        reading = self._last(run)
        if reading is None or reading.raw is None or run.told_at is None or reading.time < run.told_at - CLOCKS:
            return
        if run.told_after and reading.time <= datetime.fromisoformat(run.told_after):
            return
        if reading.mark not in (Mark.N, Mark.T):
            self._complaints[run.name] = f"{run.device} marks its result {reading.mark.name}"
            return
        self._enter(run, "step", index=len(run.steps), readings=[[reading.time.isoformat(), reading.raw]])

    def _last(self, run: Run) -> Reading | None:
        return self._engine.recorder.current.get((run.device, run.parameter))

    # -- what is kept

    def _enter(self, run: Run, do: str, **fields: Any) -> None:
        """Keep an entry of *run* and tell of it; an entry that somebody came before with is let go."""
        engine, now = self._engine, self._engine.clock.now()
        try:
            made: list[Record]
            if do == "tell":
                made = [tell(run, user=run.user, now=now)]
            elif do == "told":
                last = self._last(run)
                made = [told(run, now=now, after=last.time.isoformat() if last else "")]
            else:
                words = {"do": do, "name": run.name, "user": run.user, **fields}
                made = enter_calibration(engine.store, engine.loaded, words, now, engine.trust(), hands=_OBEYED)
        except StationError as error:
            log.warning("calibration %s: %s", run.name, error)
            self._again_at[run.name] = engine.clock.monotonic() + AGAIN_SECONDS
            return
        self._kept.add(run.name)
        self._complaints.pop(run.name, None)
        engine.keep(*made, urgent=True)
        through = do == "step" and len(run.steps) + len(run.acts) + 1 == len(run.turns)
        what = "ready" if through else do
        if what not in ("tell", "told"):
            engine.note("calibration", urgent=True, do=what, name=run.name, device=run.device, user=run.user)

    def _halt(self, run: Run) -> None:
        hours = LIMIT.total_seconds() / 3600
        waited = "was not told" if (run.turn and run.turn[0] == "act") or run.told_at is None else "brought no result"
        reason = f"{run.device} {waited} within {hours:g} h"
        if said := self._complaints.get(run.name):
            reason = f"{reason}: {said}"
        self._enter(run, "halt", reason=reason)


class _AtWork(StationError):
    """Error raised when the instrument does something else."""

    outcome = Outcome.BUSY


def _answered(what: Callable[[Any], str], device: Any, answers: list[StationError | str]) -> None:
    """From the bus's own thread."""
    try:
        answers.append(what(device))
    except StationError as error:
        answers.append(error)


def _carry_out(device: Any, verb: str, arguments: dict[str, str], answers: list[StationError | None]) -> None:
    """From the bus's own thread."""
    try:
        device.act(verb, arguments)
    except StationError as error:
        answers.append(error)
    else:
        answers.append(None)


def _said_nothing(device: str, verb: str, arguments: Any) -> dict[str, str]:
    return {}


_OBEYED = Hands(talk=_said_nothing)  # the instrument was told before its entry is made
