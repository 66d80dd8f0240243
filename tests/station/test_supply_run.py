"""A running station with [supply] and [position]: the mains by a contact, a kill and the report of the next start."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread

import pytest
from gpiozero.pins.mock import MockFactory

from drivers.gpio import Pins
from station.beside import Beside
from station.config import load
from station.engine import Engine
from station.position import Position
from station.supply import Supply
from station.supplyemulator import EmulatedSupply
from tests.station.commands import answer, daemon, station, until
from tests.station.conftest import CONFIG, FakeLine, Rig

CONTACT = """
[[input]]
name = "mains"
kind = "mains"
pin = 26
affects = ["site"]

[supply]
source = "input"
input = "mains"
stop_minutes = 1
uplink_seconds = 0
settle_minutes = 3
"""


class Wired(Rig):
    """The rig with a mains contact on a pin, held low while there is mains."""

    def start(self) -> Engine:
        self.factory = MockFactory()
        self.pin = self.factory.pin(26)
        made = Engine(
            self.loaded,
            self.open_store(),
            self.clock,
            buses=[(self.loaded.config.bus[0], [self.instrument], FakeLine())],
            uplinks=[(self.loaded.config.uplink[0], self.uplink)],
            reader=self.reader,
            trusted=lambda: self.trust,
            pins=Pins(self.factory),
        )
        self.pin.drive_low()
        return made


def test_a_contact_is_debounced_once_and_told_once(tmp_path: Path) -> None:
    rig = Wired(tmp_path, CONFIG + CONTACT)
    (supply,) = rig.engine.beside
    assert isinstance(supply, Supply)
    linkage = rig.engine.linkage
    assert linkage is not None
    rig.engine.committed = lambda patience=5.0: rig.engine.commit()  # type: ignore[method-assign]

    def pass_time(seconds: int) -> None:
        for _ in range(seconds):
            linkage.turn()
            supply._one_turn()
            rig.run(1)

    pass_time(200)
    rig.pin.drive_high()
    pass_time(10)
    assert supply.gone
    assert [code for code in rig.events() if code in ("mains_lost", "supply_lost")] == ["mains_lost"]
    assert not supply.path.exists()
    pass_time(65)
    assert supply.path.exists()
    assert [code for code in rig.events() if code.startswith("supply")] == ["supply_stopping", "supply_power_off"]
    rig.pin.drive_low()
    pass_time(10)
    assert not supply.path.exists()
    assert "supply_stop_cancelled" in rig.events()
    rig.engine.shut_down()


def test_a_station_that_is_killed_reports_its_gap_and_a_stopped_one_its_stop(tmp_path: Path) -> None:
    ups = EmulatedSupply(tmp_path / "ups")
    config = tmp_path / "station.toml"
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    table = f'\n[supply]\nsource = "power_supply"\nfolder = {json.dumps(str(ups.folder))}\nstop_percent = 20\n'
    clock = 'data_folder = "data"\nclock = "host"\n'
    config.write_text(CONFIG.replace('data_folder = "data"\n', clock) + table + "\n[position]\nport = 1\n")
    where = ("--config", config)

    def codes() -> list[str]:
        rows = json.loads(station("events", "--json", *where).out)["events"]
        return [row["code"] for row in rows if row["code"].startswith("restart")]

    with daemon(config) as first:
        socket = load(config).control_socket
        rows = until(lambda: answer(socket)["beside"])
        assert {row["table"] for row in rows} == {"supply", "position"}
        until(lambda: answer(socket)["beside"][0]["known"])
        until(lambda: "is gpsd running" in answer(socket)["beside"][1]["error"])
        shown = station("status", *where, env={"LANG": "zh_CN.UTF-8"}).out
        assert "市电正常" in shown
        first.process.kill()
    with daemon(config) as second:
        until(lambda: codes() == ["restart_crash"], why=lambda: station("events", *where).out)
        assert second.stop() == 0, second.text
    with daemon(config):
        until(lambda: "restart_stopped" in codes(), why=lambda: station("events", *where).out)


@pytest.mark.parametrize("kind", [Supply, Position])
def test_nothing_of_a_thread_is_overridden(kind: type[Beside]) -> None:
    """A method called _stop would end the whole station, and only when it stops."""
    of_threads = set(dir(Thread)) - set(dir(object))
    assert set(vars(kind)) & of_threads - {"__doc__", "__module__", "__init__", "__dict__", "__weakref__"} == set()
