"""A station without hardware: a configuration, a clock that is moved by hand, instruments that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from drivers.base import Device, DriverError, NoReply
from station.clock import ManualClock
from station.commands import ClockSetter
from station.config import BusConfig, Loaded, load
from station.engine import Engine
from station.model import Mark, Reason, Report, Sample
from station.store import Store, connect
from uplink.base import Commands, Outbox, UplinkSettings

if TYPE_CHECKING:
    from tests.station.typed import Processes

START = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[2] / "station" / "example" / "station.toml"


class FakeInstrument:
    """Shows what it is told to show; counts how often it was asked."""

    poll_minimum_seconds = 0.0
    every_seconds = patience_seconds = 0.0
    pending_seconds: float | None = None
    held: Sequence[str] = ()

    def __init__(self, name: str, clock: ManualClock, **units: str) -> None:
        self.name, self.units = name, units
        self._clock = clock
        self._shown: dict[str, tuple[float | None, Mark, Reason]] = {}
        self._failure: DriverError | None = None
        self._failures_left = 0
        self.asked = 0
        self.actions: dict[str, Sequence[str]] = {}
        self.acted: list[tuple[str, dict[str, str]]] = []

    def show(self, mark: Mark = Mark.N, reason: Reason = Reason.NONE, **values: float | None) -> None:
        """Measure these *values* from now on."""
        self._shown |= {parameter: (value, mark, reason) for parameter, value in values.items()}

    def show_nothing(self) -> None:
        """Answer, and have no new value."""
        self._shown = {}

    def go_silent(self, times: int = 1 << 30, error: DriverError | None = None) -> None:
        """Do not answer (or fail with *error*) the next *times* times."""
        self._failure, self._failures_left = error or NoReply(f"{self.name}: no reply within 0.5 s"), times

    def come_back(self) -> None:
        """Answer again."""
        self._failures_left = 0

    def read(self) -> Sequence[Sample]:
        """What is shown, at the clock's time."""
        self.asked += 1
        if self._failures_left and self._failure is not None:
            self._failures_left -= 1
            raise self._failure
        now = self._clock.now()
        return [Sample(p, now, value, mark, reason) for p, (value, mark, reason) in self._shown.items()]

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Note what was to be done; fail as reading would."""
        if self._failures_left and self._failure is not None:
            raise self._failure
        self.acted.append((verb, dict(arguments)))
        return {"serial": "S1"} if verb == "read_identity" else {}

    def close(self) -> None:
        """Nothing to let go of."""


class FakeLine:
    """A line that only knows whether it was closed."""

    closed = False

    def close(self) -> None:
        """Let go."""
        self.closed = True


class FakeUplink:
    """Words a report as plain text and carries nothing; *run_with* may stand in for the connection."""

    def __init__(self, run_with: Callable[[Outbox, Commands, Event], None] | None = None) -> None:
        self._run_with = run_with

    def compose(self, report: Report) -> str | None:
        """kind, point and values, readable in a test."""
        values = " ".join(f"{a.parameter}={a.mean:g}{a.mark.name}" if a.mean is not None else
                          f"{a.parameter}={a.mark.name}" for a in report.averages)  # fmt: skip
        return f"{report.kind.name} {report.point} {values}".strip()

    def run(self, outbox: Outbox, commands: Commands, stop: Event) -> None:
        """Do as told, or wait for the end."""
        if self._run_with is None:
            stop.wait()
        else:
            self._run_with(outbox, commands, stop)


class Rig:
    """An engine over one dust monitor at one point, reporting to one platform, driven step by step."""

    def __init__(self, folder: Path, config: str | None = None, now: datetime = START) -> None:
        self.folder = folder
        (folder / "station.toml").write_text(CONFIG if config is None else config, encoding="utf-8")
        (folder / "password").write_text("123456")
        (folder / "password").chmod(0o600)
        self.loaded: Loaded = load(folder / "station.toml")
        self.clock = ManualClock(now)
        self.instrument = FakeInstrument("dust", self.clock, pm25="µg/m³", pm10="µg/m³")
        self.instrument.show(pm25=35.0, pm10=60.0)
        self.uplink = FakeUplink()
        self.trust = "ntp"
        self.clock_setter: ClockSetter | None = None
        self.engine = self.start()

    def start(self) -> Engine:
        """A station on the same folder, clock and instrument."""
        store = self.open_store()
        buses: list[tuple[BusConfig, Sequence[Device], FakeLine]] = [
            (self.loaded.config.bus[0], [self.instrument], FakeLine())
        ]
        uplinks: list[tuple[UplinkSettings, FakeUplink]] = [(self.loaded.config.uplink[0], self.uplink)]
        return Engine(
            self.loaded,
            store,
            self.clock,
            buses=buses,
            uplinks=uplinks,
            reader=self.reader,
            clock_setter=self.clock_setter,
            trusted=lambda: self.trust,
        )

    def open_store(self) -> Store:
        """The store of the configured data folder."""
        return Store.open(self.loaded.database)

    def reader(self) -> object:
        """A connection for an outbox."""
        return connect(self.loaded.database, read_only=True)

    def run(self, seconds: float, step: float = 1.0) -> None:
        """Let *seconds* pass: poll what is due, tick, second by second."""
        for _ in range(round(seconds / step)):
            for poller in self.engine.pollers:
                for task in poller.tasks:
                    if task.due <= self.clock.monotonic():
                        poller.poll(task)
            self.engine.tick()
            self.clock.advance(step)

    def restart(self) -> None:
        """Kill the station (nothing in memory survives) and start it again."""
        self.engine.store.close()
        for sender in self.engine.senders:
            sender.outbox.close()
        self.engine = self.start()

    def texts(self, word: str = "") -> list[str]:
        """Texts of the messages in the store, those of one kind."""
        rows = self.engine.store.query("SELECT text FROM message ORDER BY id")
        return [text for (text,) in rows if text.startswith(word)]

    def events(self) -> list[str]:
        """Codes of the events in the store."""
        return [code for (code,) in self.engine.store.query("SELECT code FROM event ORDER BY id")]


CONFIG = """
[station]
name = "test"
data_folder = "data"
closing_delay_seconds = 2

[[point]]
code = "site"
name = "Site"
st = "39"

[[bus]]
name = "line"
port = "port"
baudrate = 19200
parity = "E"

[[bus.device]]
name = "dust"
profile = "deltaohm-pmsense"
unit_id = 1
poll_seconds = 5
point = "site"
parameters = ["pm25", "pm10"]

[[uplink]]
name = "district"
standard = "2017"
host = "127.0.0.1"
port = 9
password_file = "password"
realtime_seconds = 30

[[uplink.point]]
point = "site"
mn = "M1"
"""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A station in a folder of its own."""
    made = Rig(tmp_path)
    yield made
    made.engine.shut_down()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """`station` as processes that begin at once (tests/station/typed.py)."""
    from tests.station.typed import Processes

    made = Processes()
    yield made
    made.close()
