"""Calibrations in force: at the start those on record, and each new one from its commit on.

The newest calibration that changed the station's coefficients counts from its time on, whatever station.toml says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from station import calibrate
from station.model import Record, replace
from station.poller import Poller, Task, series_of
from station.recorder import Recorder
from station.store import Store

if TYPE_CHECKING:
    from station.engine import Engine
    from station.unattended import Unattended


def in_force(store: Store, tasks: Mapping[str, Task], systems: Mapping[str, str]) -> None:
    """Put the newest calibration of each series that changed the station's coefficients in force.

    *systems* are the system codes of the points: where one number must show (calibrate.LOCKED) coefficients of
    before the point was of that system hold no longer.
    """
    for record in store.newest_records(calibrate.KIND, "device", "$.parameter", "$.changes"):
        if record.body.get("changes") and systems.get(record.point) not in calibrate.LOCKED:
            recalibrate(tasks, record)


def recalibrate(tasks: Mapping[str, Task], record: Record) -> Task | None:
    """Put the coefficients of *record* in force; None where its instrument is no more."""
    task = tasks.get(record.device)
    if task is None or record.body["parameter"] not in task.device.units:
        return None
    slope, intercept = record.body["coefficients"]
    calibration = {**task.settings.calibration, record.body["parameter"]: (slope, intercept)}
    task.settings = replace(task.settings, calibration=calibration)
    return task


def hand_over(
    records: Iterable[Record], pollers: Sequence[Poller], tasks: Mapping[str, Task], recorder: Recorder
) -> None:
    """Committed calibrations go to the threads that own the instruments: between two polls, never within one."""
    for record in records:
        if record.kind != calibrate.KIND or not record.body.get("changes"):
            continue
        poller = next((p for p in pollers if any(t.device.name == record.device for t in p.tasks)), None)
        if poller is not None:
            poller.submit(partial(_switch, record, tasks, recorder))


def _switch(record: Record, tasks: Mapping[str, Task], recorder: Recorder) -> None:
    """From the bus's own thread: the next reading is made with the coefficients of *record*."""
    if (task := recalibrate(tasks, record)) is not None:
        recorder.switch(series_of(task))


class AtWork:
    """Who is calibrating what at *engine*'s instruments; what runs unattended is led on, after a restart too."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        named = "SELECT json_extract(body, '$.name'), device FROM record WHERE kind = ? AND json_extract(body, '$.do')"
        attended = (
            f"{named} = 'begin' AND coalesce(json_extract(body, '$.unattended'), 0) = 0"
            f" EXCEPT {named} IN ('done', 'cancel')"
        )
        self._at_hand: dict[str, str] = dict(engine.store.query(attended, (calibrate.KIND, calibrate.KIND)))
        alone = "SELECT 1 FROM record WHERE kind = ? AND json_extract(body, '$.unattended') = 1 LIMIT 1"
        self.unattended: Unattended | None = self._attend() if engine.store.query(alone, (calibrate.KIND,)) else None

    def by(self, device: str) -> str:
        """The name of the calibration under way at *device*, by a person or unattended; empty where there is none."""
        alone = "" if self.unattended is None else self.unattended.at(device)
        return alone or next((name for name, one in list(self._at_hand.items()) if one == device), "")

    def note(self, records: Iterable[Record]) -> None:
        """Know of the calibrations among *records*, which are committed."""
        for record in records:
            if record.kind != calibrate.KIND:
                continue
            match record.body["do"]:
                case "begin" if record.body.get("unattended"):
                    self.unattended = self._attend()
                case "begin":
                    self._at_hand[record.body["name"]] = record.device
                case "done" | "cancel":
                    self._at_hand.pop(record.body["name"], None)

    def turn(self) -> None:
        """Lead what nobody attends."""
        if self.unattended is not None:
            self.unattended.turn()
            self.unattended = None if self.unattended.idle else self.unattended

    def _attend(self) -> Unattended:
        from station.unattended import Unattended  # only who leaves an analyser to itself pays for it

        return Unattended(self._engine)
