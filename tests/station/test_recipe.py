"""Recipes: each is written in both languages, passes the check, and runs end to end on emulated instruments."""

from __future__ import annotations

import json
import logging
import re
import stat
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers import DRIVERS
from drivers.base import Device, DeviceSettings
from drivers.bus import Bus
from drivers.profile import load as load_profile
from station import recipe as recipes
from station.clock import ManualClock
from station.config import Loaded, load, resolve
from station.demo import LISTENS, _free_port
from station.emulate import Lines, lines
from station.engine import Engine
from station.model import Kind, StoreError, WrongArgument
from station.poller import Poller, Task
from station.receiving import Sender
from station.recipe import FOLDER, recipe
from station.report import gather, span_of
from station.store import Store, connect
from tests.station.commands import station
from uplink.hj212.emulator import Platform

NAMES = recipes.names()
START = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def written(folder: Path, name: str, language: str = "en", port: int = 9212) -> Path:
    recipes.write(recipe(name, language), folder, [])
    path = folder / "station.toml"
    text = path.read_text(encoding="utf-8").replace("port = 9212", f"port = {port}\nspacing_seconds = 0")  # by hand
    text = LISTENS.sub(lambda found: f"{found[1]}{_free_port()}", text)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_recipes_are_those_of_the_duties() -> None:
    assert NAMES == [
        "air-station", "black-odour", "boiler", "boiler-house", "dustfall-network", "filling-station", "kitchen-fume",
        "park-boundary", "phosphorus-control", "production-power", "river-outlet", "sewage-plant", "site-dust",
        "stockyard", "storm-outlet", "village-plant", "voc-treatment",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_names_its_duty_its_partner_and_its_dialect(name: str) -> None:
    about = recipe(name, "en").about
    assert re.match(r"A\d+ ", about["duty"])
    assert about["partner"]
    assert "HJ 212" in about["dialect"] or name == "dustfall-network"


def test_each_row_of_the_plan_has_a_recipe_or_a_home() -> None:
    """A1 to A30 but A28, which asks for nothing online; a recipe that is named is one, and names the row or its kin."""
    text = Path(__file__).parents[2].joinpath("station", "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (A\d+) \| (.+) \|$", text, flags=re.M))
    assert list(rows) == [f"A{n}" for n in range(1, 31) if n != 28]
    named = {row: re.findall(r"`([a-z-]+)`", re.sub(r".*recipes? ", "", home)) for row, home in rows.items()}
    assert {name for some in named.values() for name in some} & set(NAMES) == set(NAMES)
    for name in NAMES:
        for row in re.findall(r"A\d+", recipe(name, "en").about["duty"]):
            assert name in rows[row], (name, row)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_the_same_in_both_languages(name: str) -> None:
    """One side of everything: English without Chinese, nothing left of the other, the same keys."""
    english, chinese = recipe(name, "en"), recipe(name, "zh")
    assert not CHINESE.search(english.text.replace("数采仪", ""))
    assert " | " not in english.text + chinese.text
    assert CHINESE.search(chinese.text)
    one, other = (re.sub(r'"[^"]*"', '""', re.sub(r"#.*", "", each.text)) for each in (english, chinese))
    assert one.split() == other.split()
    assert len(english.text.splitlines()) == len(chinese.text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_passes_the_check_as_it_is_written(name: str, tmp_path: Path) -> None:
    loaded = load(written(tmp_path, name))
    notes = [text for text in loaded.warnings if "is not there now" not in text]
    assert all("no factor code" in text or "template of grade D, confirmed here" in text for text in notes), notes


def test_every_placeholder_profile_is_one_and_is_used() -> None:
    """Grade D, and it says what has to be checked."""
    used = {path for name in NAMES for path in recipe(name, "en").profiles}
    shipped = set((FOLDER / "profiles").glob("*.toml"))
    assert used == shipped
    for path in shipped:
        profile = load_profile(path.stem, [path.parent])
        assert (profile.grade, bool(profile.uncertain)) == ("D", True)


# -- running


class Hurry:
    """A monotonic clock that can be put forward: warm-ups, wipers and means of ten reads take no time."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Running:
    """A recipe's station over its emulated lines and an emulated platform; its clock is moved by hand."""

    def __init__(self, loaded: Loaded, emulated: Lines | None = None) -> None:
        self.clock, self.hurry = ManualClock(START), Hurry()
        self.store = Store.open(loaded.database)
        buses = [(bus, Bus(bus, monotonic=self.hurry)) for bus in loaded.config.bus]
        for unit in (emulated.units if emulated else {}).values():
            unit._monotonic = self.hurry  # type: ignore[union-attr]
        self.engine = Engine(
            loaded,
            self.store,
            self.clock,
            buses=[(bus, [self.device(one, line, loaded) for one in bus.device], line) for bus, line in buses],
            reader=lambda: connect(loaded.database, read_only=True),
            trusted=lambda: "host",
        )
        for sender in self.engine.senders:
            sender.start()

    def device(self, settings: DeviceSettings, line: Bus, loaded: Loaded) -> Device:
        """The instrument as config.make_device makes it, by the clock that is moved by hand."""
        made: Device = resolve(DRIVERS[settings.driver])(settings, line, loaded.profile_folders, self.clock.now)
        return made

    def minutes(self, count: int) -> None:
        """Every instrument is read once a minute, and every minute is closed."""
        for _ in range(count):
            for poller in self.engine.pollers:
                for task in poller.tasks:
                    self.read(poller, task)
            self.clock.advance(60)
            self.engine.tick()

    def hear_senders(self) -> None:
        """Who sends by itself comes in its own time: once each."""
        senders = [(p, t) for p in self.engine.pollers for t in p.tasks if isinstance(t.device, Sender)]
        end = time.monotonic() + 20
        for poller, task in senders:
            poller.poll(task)
        while any(not task.device.statistics.latency[0] for _, task in senders):
            assert time.monotonic() < end
            time.sleep(0.01)

    def read(self, poller: Poller, task: Task) -> None:
        """As often as it takes until there is a value, the time between put forward."""
        for _ in range(20):
            poller.poll(task)
            pending = getattr(task.device, "pending_seconds", None)
            if pending is None:
                return
            self.hurry.ahead += pending
        raise AssertionError(f"{task.device.name} has no value")

    def until(self, holds: Callable[[], bool], seconds: float = 30) -> bool:
        end = time.monotonic() + seconds
        while not (true := holds()) and time.monotonic() < end:
            self.engine.tick()
            self.engine.stop.wait(0.01)
        return true


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform().start()
    yield made
    made.stop()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs_from_its_instruments_to_its_platform(
    name: str, tmp_path: Path, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """Every device is read, every point's minute reaches the platform, and the day's report shows them."""
    loaded = load(written(tmp_path, name, port=platform.port))
    discharges = [point.code for point in loaded.config.point if point.st in ("31", "32")]
    caplog.set_level(logging.WARNING)
    with lines(loaded, {}) as emulated:
        running = Running(loaded, emulated)
        try:
            running.hear_senders()
            running.minutes(3)
            running.clock.advance(30)
            running.engine.tick()
            wanted = {point.mn for uplink in loaded.config.uplink for point in uplink.point}
            assert running.until(
                seconds=8, holds=lambda: wanted <= {r.mn for r in platform.records() if r.cn == "2051"}
            )
            read = {(r.device, r.parameter) for r in running.store.readings_by_id(1, 1 << 40) if r.mark.name == "N"}
            due = {
                (task.device.name, p)
                for poller in running.engine.pollers
                for task in poller.tasks
                for p in task.device.units
            }
            assert due - read == set()
            assert running.store.noted("second_logger") == bool(discharges)
            assert ("not a type-approved 数采仪" in caplog.text) == bool(discharges)
            day = span_of("day", "2026-03-01", running.clock.now(), loaded.zone)
            found = gather(running.store, loaded, day)
            assert found["events"]["counts"].get("second_logger", 0) == bool(discharges)
            minutes = running.store.averages(Kind.MINUTE, START, running.clock.now())
            assert {report.point for report in minutes} == {
                p.code for p in loaded.config.point if p.code not in ("school", "park")
            }
        finally:
            running.engine.shut_down()


def test_what_a_second_logger_is_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = written(tmp_path, "river-outlet").read_text(encoding="utf-8").split("[[uplink]]")[0]
    (tmp_path / "station.toml").write_text(text, encoding="utf-8")
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        running = Running(load(tmp_path / "station.toml"))
        running.engine.shut_down()
    assert caplog.text.count("not a type-approved") == 1


# -- as typed


def test_init_lists_the_recipes_in_both_languages() -> None:
    done = station("init", "--lang", "en")
    assert (done.code, done.err) == (0, "")
    assert all(name in done.out for name in NAMES)
    assert "Write one down with: station init --recipe NAME --output FOLDER" in done.out
    assert "乡镇空气自动站" in station("init", "--lang", "zh").out
    listed = json.loads(station("init", "--json", "--lang", "en").out)["recipes"]
    assert [one["name"] for one in listed] == NAMES


def test_init_writes_a_station_with_a_placeholder_that_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    done = station("init", "--recipe", "boiler", "--output", folder, "--lang", "en")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"written: {folder / 'station.toml'}",
        f"written: {folder / 'profiles' / 'cems-logger.toml'}",
        f"written: {folder / 'ecology.password'}",
        f"{folder / 'ecology.password'} holds a placeholder; put in the password that the platform gave",
        f"Edit what the comments name, then: station check {folder / 'station.toml'}",
    ]
    assert stat.S_IMODE((folder / "ecology.password").stat().st_mode) == 0o600
    text = (folder / "station.toml").read_text(encoding="utf-8")
    assert text.startswith("# for: Gas boiler, read beside its logger\n# duty: A6 A5 gas boilers")
    assert tomllib.loads(text)["point"][0]["reference_oxygen"] == 3.5
    assert station("check", folder / "station.toml", "--lang", "en").code == 0
    again = station("init", "--recipe", "boiler", "--output", folder, "--lang", "en")
    assert (again.code, again.said) == (74, [f"{folder / 'station.toml'}: is there already; name another --output"])


def test_a_password_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "ecology.password").write_text("real\n")
    _, made = recipes.write(recipe("boiler", "zh"), tmp_path, [])
    assert made == []
    assert (tmp_path / "ecology.password").read_text() == "real\n"
    with pytest.raises(StoreError, match="is there already"):
        recipes.write(recipe("boiler", "zh"), tmp_path, [])


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(WrongArgument, match='there is no recipe "site-dst"; did you mean site-dust'):
        recipe("site-dst", "en")
