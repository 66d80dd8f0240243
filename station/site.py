"""What the station notices of its instruments, itself and its links, and what a platform may know of them.

Loaded where a platform takes records of kind identity or site_info, or asks for site information.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from station.model import Mark, Record, StationError

if TYPE_CHECKING:
    from station.engine import Engine
    from station.poller import Poller, Task

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0  # a change is kept when two looks in a row see it
LOST_AFTER = 2  # polls without a reply: from then on an instrument may have been swapped
AGAIN_SECONDS = 600.0  # after an identity that could not be read

# The state that goes with the worst mark of what an instrument measures (ours).  B says nothing of the instrument,
# only of the link to it.
_STATES = {Mark.D: "fault", Mark.C: "calibrating", Mark.M: "maintenance", Mark.F: "standby"}


def known(engine: Engine, platform: str, point: str | None, item: str, parameter: str | None) -> str | None:
    """What the station itself knows of *item*, a word of records.ITEMS; None where it knows nothing."""
    if item == "logger_state":
        return _logger_state(engine)
    if item == "platform_link":
        return "good" if engine.outboxes[platform].connected_at else "bad"
    task = next((t for _, t in _instruments(engine) if _measures(t, point, parameter)), None)
    if task is None or parameter is None:
        return None
    slope, intercept = task.coefficients(parameter)
    of_instrument: dict[str, Callable[[], str | None]] = {
        "instrument_state": lambda: _instrument_state(engine, task),
        "instrument_link": lambda: _instrument_link(engine, task),
        "slope": lambda: f"{slope:g}",
        "intercept": lambda: f"{intercept:g}",
    }
    return of_instrument[item]() if item in of_instrument else None


def _instruments(engine: Engine) -> Iterator[tuple[Poller, Task]]:
    for poller in engine.pollers:
        for task in poller.tasks:
            yield poller, task


def _measures(task: Task, point: str | None, parameter: str | None) -> bool:
    return parameter in task.device.units and point in (None, task.point(str(parameter)))


def _instrument_state(engine: Engine, task: Task) -> str | None:
    name = task.device.name
    by_hand = engine.periods.marks
    marks = [
        by_hand.mark(reading.point, reading.parameter, engine.clock.now(), reading.mark)
        for (device, _), reading in list(engine.recorder.current.items())
        if device == name
    ]
    seen = [mark for mark in marks if mark is not Mark.B]
    return _STATES.get(max(seen), "running") if seen else None


def _instrument_link(engine: Engine, task: Task) -> str:
    return "bad" if engine.recorder.state(task.device.name).failures >= LOST_AFTER else "good"


def _logger_state(engine: Engine) -> str:
    if engine.store_error:
        return "fault"
    return "maintenance" if engine.maintaining is not None and engine.maintaining.whole else "running"


class Site:
    """Keeps a record of every change; the last ones are read back at a start, so that nothing is told twice."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._next_look = engine.clock.monotonic()
        self._seen: dict[tuple[str, str], str] = {}  # by the last look
        self._told: dict[tuple[str, str], str] = {}  # (item, instrument or platform) → value
        for record in engine.store.newest_records("site_info", "device", "$.item", "$.platform"):
            self._told[record.body["item"], record.device or record.body.get("platform", "")] = record.body["value"]
        self._serials = {r.device: r.body["serial"] for r in engine.store.newest_records("identity", "device")}
        self._ask_at: dict[str, float] = {task.device.name: 0.0 for _, task in _instruments(engine)}

    def turn(self) -> None:
        """Look, if it is time; only the main thread."""
        if self._engine.clock.monotonic() < self._next_look:
            return
        self._next_look = self._engine.clock.monotonic() + LOOK_SECONDS
        for item, owner, value, more in self._look():
            key = (item, owner)
            usual = self._told.get(key, "running" if item.endswith("_state") else "good")
            if value != usual and self._seen.get(key) == value:
                self._keep(item, owner, value, more)
            self._seen[key] = value
        for poller, task in _instruments(self._engine):
            self._identify(poller, task)

    def stop(self) -> None:
        """The station stops: the platforms get to know with what they are sent next."""
        self._keep("logger_state", "", "stopped", {})

    def _look(self) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
        engine = self._engine
        for _, task in _instruments(engine):
            name, more = task.device.name, {"parameters": list(task.device.units)}
            if state := _instrument_state(engine, task):
                yield "instrument_state", name, state, more
            yield "instrument_link", name, _instrument_link(engine, task), more
        yield "logger_state", "", _logger_state(engine), {}
        for sender in engine.senders:
            name = sender.outbox.name
            yield "platform_link", name, known(engine, name, None, "platform_link", None) or "bad", {"platform": name}

    def _keep(self, item: str, owner: str, value: str, more: Mapping[str, Any]) -> None:
        """Keep the change, at each point it concerns: a platform knows every point by an MN of its own."""
        engine = self._engine
        self._told[item, owner] = value
        device = owner if item.startswith("instrument") else ""
        for point in _points(engine, device):
            engine.keep(Record("site_info", engine.clock.now(), {"item": item, "value": value, **more}, point, device))

    # -- who an instrument is

    def _identify(self, poller: Poller, task: Task) -> None:
        """Have an instrument's bus ask who it is: once after a start, and whenever it came back."""
        name, now = task.device.name, self._engine.clock.monotonic()
        state = self._engine.recorder.state(name)
        if "read_identity" not in task.device.actions or state.last_reply is None:
            return
        if state.failures >= LOST_AFTER:
            self._ask_at[name] = 0.0
        elif now >= self._ask_at[name]:
            self._ask_at[name] = float("inf")
            poller.submit(lambda: self._ask(task))

    def _ask(self, task: Task) -> None:
        """In the bus's own thread."""
        name = task.device.name
        try:
            serial = task.device.act("read_identity", {}).get("serial", "")
        except StationError as error:
            log.info("device %s: does not say who it is (%s)", name, error)
            self._ask_at[name] = self._engine.clock.monotonic() + AGAIN_SECONDS
            return
        before = self._serials.get(name, "")
        if not serial or serial == before:
            return
        self._serials[name] = serial
        now: datetime = self._engine.clock.now()
        if before:
            log.warning("device %s: is another instrument now, %s instead of %s", name, serial, before)
            self._engine.note("instrument_swapped", device=name, serial=serial, before=before)
        body = {"serial": serial, "before": before, "parameters": list(task.device.units)}
        for point in _points(self._engine, name):
            self._engine.keep(Record("identity", now, body, point, name), urgent=bool(before))


def _points(engine: Engine, device: str) -> list[str]:
    """The points an instrument measures at; all of them for what is no instrument."""
    if not device:
        return [point.code for point in engine.config.point]
    task = engine.tasks[device]
    return sorted({task.point(parameter) for parameter in task.device.units})
