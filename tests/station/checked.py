"""A station over emulated instruments that can be checked, all on one clock that is moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from drivers import DRIVERS
from drivers.bus import Bus
from drivers.emulated import EmulatedUnit
from drivers.emulated_analyser import EmulatedAnalyser
from drivers.profile import load as load_profile
from station.checks import KIND, Book, Check, read_book
from station.clock import ManualClock
from station.config import load, resolve
from station.engine import Engine
from station.fieldbook import BEGINNING, END
from station.model import Mark, Record
from station.store import Store, connect
from tests.drivers.fakes import FakePort

ANALYSER = """
title = "SO2 analyser with a valve for zero and span gas"
baudrate = 9600
unit_id = 1

[[register]]
parameter = "so2"
table = "input"
address = 0
type = "f32"
order = "ABCD"
unit = "mg/m³"
range = [-50, 1000]
example = 120.0

[[action]]
verb = "start_check"
type = "zero"
address = 100
function = 6
values = [1]

[[action]]
verb = "start_check"
type = "span"
address = 100
function = 6
values = [2]

[[action]]
verb = "end_check"
address = 100
function = 6
values = [0]
"""

STATION = """
[station]
name = "test"
data_folder = "data"
closing_delay_seconds = 2
commit_seconds = 10

[[point]]
code = "stack"
name = "Stack"
st = "31"

[[bus]]
name = "line"
port = "port"
gap_ms = 0

[[bus.device]]
name = "cems"
profile = "valved"
unit_id = 1
poll_seconds = 5
point = "stack"
range = { so2 = [-50, 500] }

[[qc]]
name = "span"
device = "cems"
parameter = "so2"
check = "span"
standard = 400.0
at = ["09:00"]

[[uplink]]
name = "district"
standard = "2025"
host = "127.0.0.1"
port = 9
password_file = "password"
realtime_seconds = 30
kinds = ["realtime", "hour", "check", "site_info"]
allow = ["check", "calibrate"]

[[uplink.point]]
point = "stack"
mn = "M1"
"""

START = datetime.fromisoformat("2026-03-01T08:55:00+08:00")


class ClockTime:
    """The clock as a fake port knows it: reading and sleeping move it."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    @property
    def now(self) -> float:
        return self._clock.monotonic()

    @now.setter
    def now(self, value: float) -> None:
        self._clock.advance(value - self._clock.monotonic())

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Bench:
    """The station and its instruments; it may be killed and started again at any moment."""

    def __init__(self, folder: Path, config: str = STATION, profile: str = ANALYSER, now: datetime = START) -> None:
        self.folder = folder
        (folder / "profiles").mkdir()
        (folder / "profiles" / "valved.toml").write_text(profile, encoding="utf-8")
        (folder / "station.toml").write_text(config, encoding="utf-8")
        (folder / "password").write_text("123456")
        (folder / "password").chmod(0o600)
        self.clock, self.trust = ManualClock(now), "ntp"
        self.time = ClockTime(self.clock)
        self.loaded = load(folder / "station.toml")
        (self.bus,) = self.loaded.config.bus
        self.units = [self._unit(one) for one in self.bus.device]
        self.unit: Any = self.units[0]
        self.mute: Callable[[bytes], bool] = lambda request: False  # requests that get no answer
        self.engine = self.start()

    def _unit(self, settings: Any) -> EmulatedUnit:
        if settings.driver == "analyser":
            return EmulatedAnalyser(settings, monotonic=self.time.monotonic, now=self.clock.now)
        profile = load_profile(settings.profile, self.loaded.profile_folders)
        return EmulatedUnit(profile, settings.unit_id, monotonic=self.time.monotonic)

    def start(self) -> Engine:
        """A station on the same folder, clock and instruments."""
        port = FakePort(self.time, self._answer)  # type: ignore[arg-type]
        line = Bus(self.bus, lambda _: port, self.time.monotonic, self.time.sleep)
        devices = [
            resolve(DRIVERS[one.driver])(one, line, self.loaded.profile_folders, self.clock.now)
            for one in self.bus.device
        ]
        return Engine(
            self.loaded, Store.open(self.loaded.database), self.clock, buses=[(self.bus, devices, line)],
            reader=lambda: connect(self.loaded.database, read_only=True), trusted=lambda: self.trust,
        )  # fmt: skip

    def _answer(self, request: bytes) -> list[tuple[float, bytes]]:
        if self.mute(request):
            return []
        found = [unit.answer(request) for unit in self.units if unit.unit_id == request[0]]
        return [(0.01, reply) for reply in found if reply is not None]

    def run(self, seconds: float, step: float = 1.0) -> None:
        """Let *seconds* pass: poll what is due, do the errands, tick."""
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            self.turn()
            self.clock.advance(step)

    def turn(self) -> None:
        """One round of every thread."""
        for poller in self.engine.pollers:
            while not poller._errands.empty():
                errand = poller._errands.get_nowait()
                if errand is not None:
                    errand()
            for task in poller.tasks:
                if task.due <= self.clock.monotonic():
                    poller.poll(task)
        self.engine.tick()

    def run_until(self, done: Callable[[], bool], most: float = 7200, step: float = 1.0) -> None:
        """Let time pass until *done*."""
        until = self.clock.monotonic() + most
        while not done():
            assert self.clock.monotonic() < until, self.events()
            self.turn()
            self.clock.advance(step)

    def cut(self) -> None:
        """Pull the plug, and start again: nothing in memory survives."""
        self.engine.store.close()
        for sender in self.engine.senders:
            sender.outbox.close()
        self.engine = self.start()

    def stop(self) -> None:
        """Stop in order, and start again."""
        self.engine.shut_down()
        self.engine = self.start()

    @property
    def book(self) -> Book:
        """The checks as the disk has them."""
        return read_book(self.engine.store.records(KIND, BEGINNING, END))

    @property
    def checks(self) -> list[Check]:
        """Every check on record, the oldest first."""
        return sorted(self.book.checks.values(), key=lambda one: one.number)

    def records(self, kind: str) -> list[Record]:
        return self.engine.store.records(kind, BEGINNING, END)

    def events(self, code: str = "qc_") -> list[tuple[str, dict[str, Any]]]:
        """Codes and arguments of the events whose code begins so."""
        rows = self.engine.store.query("SELECT code, arguments FROM event ORDER BY id")
        return [(one, json.loads(text)) for one, text in rows if one.startswith(code)]

    def told(self, word: str = "") -> list[str]:
        """The texts of messages with *word* in them, as the platform's dialect has them."""
        return [text for (text,) in self.engine.store.query("SELECT text FROM message ORDER BY id") if word in text]

    def effective(self, at: datetime, parameter: str = "so2", point: str = "stack") -> Mark:
        """The mark by hand at a moment."""
        return self.engine.periods.marks.mark(point, parameter, at, Mark.N)
