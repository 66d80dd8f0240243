"""Pins of a daemon of its own, over gpiozero's stand-ins: dust, a cannon, its events, and the commands about it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.emulator import EmulatedBus, emulated_bus
from station.clock import EPOCH
from station.config import load
from station.model import Average, Kind, Mark, Reason
from station.periods import Periods
from station.store import Store, connect
from tests.station.commands import Here, answer, configure, daemon, station, until

MOCK = {"GPIOZERO_PIN_FACTORY": "mock"}
WIRED = """
[[input]]
name = "door"
kind = "door"
pin = 13
affects = ["site"]

[[input]]
name = "rain"
kind = "rain"
pin = 12
point = "site"
mm_per_tip = 0.2
poll_seconds = 0.5

[[output]]
name = "cannon"
kind = "relay"
pin = 5
active_high = false
affects = ["site"]
affects_seconds_after = 0
equipment = "SB1"

[[rule]]
name = "dust"
kind = "spray"
output = "cannon"
point = "site"
parameter = "pm10"
start = 150
stop = 100
minimum_run_seconds = 3
cool_down_seconds = 2
"""


def wired(folder: Path) -> Path:
    """A station with a cannon, a door and a tipping bucket, quick enough for a test."""
    quick = (
        ('data_folder = "data"', 'data_folder = "data"\ncommit_seconds = 1'),
        ("poll_seconds = 5", "poll_seconds = 1"),
    )
    path = configure(folder, *quick)
    path.write_text(path.read_text() + WIRED)
    return path


@contextmanager
def line(path: Path) -> Iterator[EmulatedBus]:
    """The dust monitor of *path* on an emulated line."""
    (bus,) = load(path).config.bus
    with emulated_bus(bus, bus.device, link=Path(bus.port), pace=False) as emulated:  # type: ignore[arg-type]
        yield emulated


def output(path: Path) -> Any:
    """The cannon as `station status` shows it."""
    return answer(load(path).control_socket)["pins"]["outputs"][0]


@contextmanager
def reader(path: Path) -> Iterator[Store]:
    """The station's database, read beside it."""
    loaded = load(path)
    store = Store(connect(loaded.database, read_only=True), str(loaded.database))
    try:
        yield store
    finally:
        store.close()


def events(path: Path, code: str) -> list[dict[str, Any]]:
    """Arguments of the committed events of one code."""
    with reader(path) as store:
        rows = store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
        return [json.loads(text) for (text,) in rows]


def test_dust_from_an_instrument_starts_the_cannon_and_clean_air_stops_it(tmp_path: Path) -> None:
    """The whole way: register, reading, rule, pin, event, reason; and the sprayed readings are normal ones."""
    path = wired(tmp_path)
    with line(path) as emulated, daemon(path, env=MOCK) as process:
        assert "GPIOZERO_PIN_FACTORY=mock: no pin of this host is read or switched" in process.text
        assert station("emulate", "pin", "door", "inactive", "--config", path).code == 0
        unit = emulated.units[1]
        unit.values = {"pm10": 60.0}
        until(lambda: (output(path)["rules"][0]["value"] or 999) < 100, 10, lambda: output(path))
        assert output(path)["on"] is False
        unit.values = {"pm10": 320.0}
        until(lambda: output(path)["on"], 10, lambda: output(path))
        unit.values = {"pm10": 40.0}
        until(lambda: output(path)["why"] == "minimum_run", 5, lambda: output(path))
        until(lambda: not output(path)["on"], 10, lambda: output(path))
        until(lambda: events(path, "output_off"), 5, lambda: process.text)
        assert process.stop() == 0
    (started,), (stopped,) = events(path, "output_on"), events(path, "output_off")
    assert (started["rule"], started["why"], started["value"]) == ("dust", "level", 320.0)
    assert (stopped["why"], stopped["value"]) == ("below", 40.0)
    assert stopped["ran_seconds"] >= 3
    assert [e["cause"] for e in events(path, "rule_held")] == ["below"]
    assert events(path, "pins_are_mock") == [{}]
    with reader(path) as store:
        dust = [r for r in store.readings_by_id(1, store.newest("reading")) if r.parameter == "pm10"]
    sprayed = [r for r in dust if r.reason is Reason.SPRAYING]
    assert len(sprayed) >= 3
    assert {r.mark for r in dust} == {Mark.N}
    exported = station("export", "--parameter", "pm10", "--config", path).out
    assert exported.count(",N,spraying") == len(sprayed)
    assert sum(a.valid for a in minutes(path)) == len(dust)


def minutes(path: Path) -> list[Average]:
    """The averages of PM10 over every minute that has readings; the last is closed as the station would have."""
    loaded = load(path)
    store = Store.open(loaded.database)
    try:
        newest = store.newest_time()
        assert newest is not None
        periods = Periods(store, loaded.config.point, loaded.zone, {}, newest)
        with store.transaction():
            periods.close(newest + timedelta(minutes=1))
        reports = store.averages(Kind.MINUTE, EPOCH, newest + timedelta(minutes=1))
        return [a for report in reports for a in report.averages if a.parameter == "pm10"]
    finally:
        store.close()


def test_orders_by_hand_are_refused_in_a_sentence_and_kept_with_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    station = Here(monkeypatch, capfd)
    path = wired(tmp_path)
    with line(path), daemon(path, env=MOCK):
        bare = station("output", "lock", "cannon", "--config", path)
        assert (bare.code, bare.err) == (2, "lock needs a person and a reason: --user NAME --reason TEXT\n")
        locked = station("output", "lock", "cannon", "--user", "Wang", "--reason", "hose", "--config", path)
        assert (locked.code, locked.out) == (0, "cannon: off (locked)\n")
        refused = station("output", "on", "cannon", "--config", path)
        assert (refused.code, refused.err) == (1, "cannon: stays off (locked)\n")
        shown = station("output", "list", "--config", path)
        assert "locked by Wang: hose" in shown.out
        assert "stand-ins" in shown.out
        chinese = station("output", "list", "--lang", "zh", "--config", path)
        assert "已闭锁,操作人 Wang:hose" in chinese.out
        assert json.loads(station("output", "list", "--json", "--config", path).out)["outputs"][0]["locked"] is True
        free = station("output", "unlock", "cannon", "--user", "Wang", "--reason", "done", "--json", "--config", path)
        assert json.loads(free.out)["locked"] is False
        assert (
            station("output", "off", "cannon", "--for", "10s", "--config", path).out
            == "cannon: off (switched off by hand)\n"
        )
        assert station("output", "emptied", "cannon", "--user", "W", "--reason", "r", "--config", path).code == 1
        too_long = station("output", "off", "cannon", "--for", "900h", "--config", path)
        assert (too_long.code, too_long.err[:34]) == (2, "an order holds for 1 to 2592000 se")
        wrong = station("output", "on", "canon", "--config", path)
        assert (wrong.code, wrong.err) == (
            2, 'there is no output "canon"; did you mean cannon?; known: cannon\n',
        )  # fmt: skip
    locked_by = events(path, "output_locked")[0]
    assert (locked_by["user"], locked_by["uid"]) == ("Wang", os.getuid())


def test_the_bucket_of_a_mock_station_tips_and_its_rain_is_stored(tmp_path: Path) -> None:
    path = wired(tmp_path)
    with line(path), daemon(path, env=MOCK) as process:
        for _ in range(2):
            assert station("emulate", "pin", "rain", "tip", "--config", path).out == "rain (GPIO 12): tip\n"
        assert station("emulate", "pin", "roof", "tip", "--config", path).code == 2
        assert process.stop() == 0
    with reader(path) as store:
        rain = [r.value for r in store.readings_by_id(1, store.newest("reading")) if r.parameter == "rain"]
    assert rain[-1] == 0.4


def test_a_host_without_pins_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """One sentence and exit 69; and no database."""
    path = wired(tmp_path)
    done = station("run", "--config", path, env={"GPIOZERO_PIN_FACTORY": "lgpio", "PYTHONSAFEPATH": "1"})
    assert done.code == 69
    errors = [said for said in done.said if " ERROR " in said]
    assert len(errors) == 1
    assert "pins are configured and no pin library works on this host" in errors[0]
    assert "Traceback" not in done.err
    assert not load(path).database.exists()


NO_STATION = (
    "no station is running here, and only the running one reads inputs and switches outputs;"
    " start it first: station run --config FILE\n"
)


def test_without_a_station_orders_say_so_and_safe_works(tmp_path: Path) -> None:
    """What the unit's drop-in calls after the station has ended, however it ended."""
    path = wired(tmp_path)
    (tmp_path / "data").mkdir()
    for words in (("list",), ("on", "cannon")):
        done = station("output", *words, "--config", path)
        assert (done.code, done.err) == (69, NO_STATION)
    safe = station("output", "safe", "--config", path, env=MOCK)
    assert (safe.code, safe.out) == (0, "Outputs off and let go of: 1\n")
    with line(path), daemon(path, env=MOCK):
        assert station("output", "safe", "--config", path, env=MOCK).code == 75


def test_a_station_without_pins_says_that_it_has_none(tmp_path: Path) -> None:
    path = configure(tmp_path)
    with line(path), daemon(path):
        done = station("output", "list", "--config", path)
        assert (done.code, done.err) == (2, "the configuration has no input, output or rule\n")
        assert "pins" not in answer(load(path).control_socket)


def test_status_shows_inputs_and_outputs(tmp_path: Path) -> None:
    path = wired(tmp_path)
    with line(path), daemon(path, env=MOCK):
        until(lambda: output(path)["rules"][0]["value"] is not None, 10, lambda: output(path))
        shown = station("status", "--config", path).out
    assert re.search(r"door +GPIO 13", shown)
    assert re.search(r"cannon +GPIO 5 +off +nothing asks for it", shown)
