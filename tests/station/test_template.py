"""Templates for analysers: nothing in them is guessed, nothing runs before it was filled in and confirmed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from drivers.analyser import Analyser, AnalyserSettings
from drivers.emulated_analyser import EmulatedAnalyser
from station.config import load
from station.model import ConfigError, Mark
from station.template import ANALYSERS, template, unknown_in
from tests.drivers import fakes
from tests.drivers.fakes import FakePort, FakeTime
from tests.station.commands import Here
from tests.station.conftest import EXAMPLE

FOUR = EXAMPLE.with_name("analysers.toml")
NOON = datetime(2026, 6, 18, 4, 0, tzinfo=UTC)
HEAD = """
[station]
name = "works"
data_folder = "data"
[[point]]
code = "outlet"
name = "Outlet"
st = "32"
[[bus]]
name = "analysers"
port = "port"
"""
# What a contract's register list might say, by the place of each "?" of the template.
LIST: Mapping[str, Any] = {
    "unit_id": 7, "point": '"outlet"', "sampling_minutes": 40, "type": '"f32"', "order": '"CDAB"', "range": "[0, 500]",
}  # fmt: skip


def filled(text: str) -> str:
    """The template *text* with every place filled in: addresses that lie apart, numbers that differ."""
    numbers = iter(range(10, 10_000, 4))
    lines = []
    for line in text.splitlines():
        key = line.partition("=")[0].strip()
        if key in LIST and '"?"' in line.partition("#")[0]:
            line = f"{key} = {LIST[key]}"
        bits = line.startswith('"')  # of alarms
        lines.append(re.sub(r'"\?"', lambda _, b=bits: str(1 << next(numbers) // 4 % 16 if b else next(numbers)), line))
    return "\n".join(lines)


def written(folder: Path, table: str) -> Path:
    """A station.toml with *table* on its line."""
    path = folder / "station.toml"
    path.write_text(HEAD + table.rstrip("\n") + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ANALYSERS)
def test_a_template_as_it_comes_is_refused_place_by_place(tmp_path: Path, name: str, language: str) -> None:
    """Each "?" that is no value for its key is a fault with its line; not one address stands in it."""
    text = template(name, language)
    assert not re.search(r"address = \d", text)
    assert unknown_in(text) == 36
    assert bool(re.search("[\u4e00-\u9fff]", text)) == (language == "zh")
    assert " | " not in text
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    faults = str(caught.value).splitlines()
    parameter = ANALYSERS[name]
    for place in (f"results.{parameter}.address", "result_time.address", "states.idle[0]", "commands.clean.values[0]"):
        assert sum(f"bus[0].device[0].{place}: " in fault for fault in faults) == 1, place
    assert len(faults) >= 30


@pytest.mark.parametrize("name", ANALYSERS)
def test_a_template_that_was_filled_in_is_refused_until_it_was_confirmed(tmp_path: Path, name: str) -> None:
    """And then it measures what it is for."""
    text = filled(template(name, "en"))
    with pytest.raises(ConfigError, match="check state, result and time on the instrument, then write confirmed"):
        load(written(tmp_path, text))
    loaded = load(written(tmp_path, text.replace("confirmed = false", "confirmed = true")))
    (device,) = loaded.config.bus[0].device
    assert isinstance(device, AnalyserSettings)
    assert ([*device.results], device.sampling_minutes) == ([ANALYSERS[name]], 40)
    found = polled(device, 200)
    assert {sample.parameter for sample in found} == {ANALYSERS[name]}
    assert {sample.mark for sample in found} == {Mark.N}


def polled(settings: AnalyserSettings, minutes: int) -> list[Any]:
    """What the analyser of *settings*, emulated, brings the driver, asked once a minute on a clock that is moved."""
    time = FakeTime()
    began = time.now

    def now() -> datetime:
        return NOON + timedelta(seconds=time.now - began)

    unit = EmulatedAnalyser(settings, None, time.monotonic, now)
    port = FakePort(time, lambda request: [(0.02, reply)] if (reply := unit.answer(request)) else [])
    device = Analyser(settings, fakes.bus_with(port, time), (), now)
    found = []
    for _ in range(minutes):
        found += device.read()
        time.now += 60
    return found


def test_each_of_the_four_emulated_analysers_brings_a_result_an_hour() -> None:
    """Floats in either order, thousandths, BCD and Unix times, a flag: dated to the sampling, none twice."""
    devices = load(FOUR).config.bus[0].device
    assert [device.name for device in devices] == ["cod", "nh3n", "tp", "tn"]
    for device in devices:
        assert isinstance(device, AnalyserSettings)
        found = polled(device, 185)
        assert [sample.parameter for sample in found] == [*device.results] * 3, device.name
        assert [(sample.value, sample.mark) for sample in found] == [(1.0, Mark.N)] * 3
        times = [sample.time for sample in found]
        assert [round((b - a).total_seconds() / 60) for a, b in pairwise(times)] == [60, 60]


def test_the_example_says_that_its_addresses_are_made_up() -> None:
    """Whoever copies it must not believe them."""
    text = FOUR.read_text(encoding="utf-8")
    assert "EVERY ADDRESS HERE IS MADE UP" in text
    assert "for the emulator alone" in text


def test_templates_are_listed_printed_and_written_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A file that is there stays as it is."""
    monkeypatch.chdir(tmp_path)
    run = Here(monkeypatch, capfd)
    assert [line.split()[0] for line in run("profile", "template").out.splitlines()] == [*ANALYSERS]
    assert run("profile", "template", "analyser-tp", "--lang", "zh").out == template("analyser-tp", "zh")
    done = run("profile", "template", "analyser-tp", "--output", "tp.toml")
    assert done.out.startswith("tp.toml written: 36 places to fill in; put it below its [[bus]]")
    assert (tmp_path / "tp.toml").read_text(encoding="utf-8") == template("analyser-tp", "en")
    again = run("profile", "template", "analyser-cod", "--output", "tp.toml")
    assert (again.code, again.said) == (2, ["tp.toml: is there already; name another --output"])
    lost = run("profile", "template", "analyser-cod", "--output", "no/tp.toml")
    assert (lost.code, lost.said) == (74, ["no/tp.toml: cannot be written (No such file or directory)"])
    unknown = run("profile", "template", "analyser-cdo")
    assert (unknown.code, len(unknown.said)) == (2, 1)
    assert unknown.err.startswith('there is no template "analyser-cdo"; did you mean analyser-cod?; known: ')
