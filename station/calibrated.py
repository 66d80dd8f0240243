"""Calibrations in force: at the start those on record, and each new one from its commit on.

The newest calibration that changed the station's coefficients counts from its time on, whatever station.toml says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from station import calibrate
from station.model import Record, replace
from station.poller import Poller, Task, series_of
from station.recorder import Recorder
from station.store import Store


def in_force(store: Store, tasks: Mapping[str, Task]) -> None:
    """Put the newest calibration of each series that changed the station's coefficients in force."""
    for record in store.newest_records(calibrate.KIND, "device", "$.parameter", "$.changes"):
        if record.body.get("changes"):
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
