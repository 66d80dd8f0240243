"""Recorded measurements played back."""

from pathlib import Path

import pytest

import station
from drivers.emulated import EmulatedUnit
from drivers.line import read_request
from drivers.profile import load
from drivers.replay import Column, CsvReplay

DEMO = Path(station.__file__).with_name("example")
FILE = (
    "time,ph,wind\n2026-06-18T00:00,7.0,N\n2026-06-18T01:00,8.0,NNW\n2026-06-18T02:00,NA,NA\n2026-06-18T03:00,6.0,S\n"
)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "x.csv").write_text(FILE)
    return tmp_path / "x.csv"


def test_values_are_interpolated_between_rows(path):
    replay = CsvReplay(path, {"ph": "ph"})
    assert replay.at(0) == {"ph": 7.0}
    assert replay.at(1800) == {"ph": 7.5}


def test_values_are_stepped_when_asked(path):
    assert CsvReplay(path, {"ph": "ph"}, interpolate=False).at(3599) == {"ph": 7.0}


def test_a_gap_has_no_value_and_nothing_is_made_up_beside_it(path):
    replay = CsvReplay(path, {"ph": "ph"})
    assert replay.at(3600 + 1800) == {"ph": 8.0}
    assert replay.at(7200) == {"ph": None}
    assert replay.at(10799) == {"ph": None}


def test_directions_come_in_degrees_and_are_never_interpolated(path):
    assert CsvReplay(path, {"wind_direction": "wind"}).at(1800) == {"wind_direction": 0}
    assert CsvReplay(path, {"wind_direction": "wind"}).at(3600) == {"wind_direction": 337.5}


def test_it_starts_over_at_the_end(path):
    replay = CsvReplay(path, {"ph": "ph"})
    assert replay.length_seconds == 4 * 3600
    assert replay.at(4 * 3600) == replay.at(0)


def test_it_plays_from_where_and_as_fast_as_asked(path):
    now = [50.0]
    replay = CsvReplay(path, {"ph": "ph"}, start_seconds=1800, speed=60, monotonic=lambda: now[0])
    assert replay() == {"ph": 7.5}
    now[0] += 15
    assert replay() == {"ph": 7.75}


def test_a_column_can_be_brought_to_another_unit():
    replay = CsvReplay(DEMO / "beijing-week.csv", {"air_pressure": Column("PRES", 0.1), "pm25": "PM2.5"})
    assert 98 < replay.at(0)["air_pressure"] < 106
    assert replay.at((5 * 24 + 15) * 3600)["pm25"] is None
    assert replay.length_seconds == 7 * 86400


def test_every_column_of_the_river_day_is_a_parameter_of_the_sonde():
    replay = CsvReplay(DEMO / "river-day.csv")
    assert set(replay()) == {*load("yosemitech-y4000").parameters}
    assert max(replay.at(s)["turbidity"] for s in range(0, 86400, 300)) > 150


def test_a_gap_is_served_as_no_value_or_as_silence(path):
    replay = CsvReplay(path, {"ph": "ph", "pm1": "ph"}, start_seconds=7200, monotonic=lambda: 0.0)
    sonde = EmulatedUnit(load("yosemitech-y4000"), values=replay)
    assert sonde.answer(read_request(1, "holding", 0x2607, 2))[3:-2] == bytes(4)
    monitor = EmulatedUnit(load("deltaohm-pmsense"), values=replay)
    assert monitor.answer(read_request(1, "input", 3, 3)) is None
    assert monitor.answer(read_request(1, "input", 4, 1)) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,ph\n", "has no rows"),
        ("time,ph\nyesterday,7\n", "a row needs time"),
        ("a,ph\n1,7\n", "a row needs time"),
        ("time,ph\n2026-06-18,seven\n", "'seven' in column ph is not a number"),
        ("time,ph\n2026-06-18,7\n2026-06-18,8\n", "its times do not rise"),
        ("time,orp\n2026-06-18,7\n", "has no column 'ph'; it has time, orp"),
    ],
)
def test_a_file_that_cannot_be_played_says_why(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        CsvReplay(tmp_path / "x.csv", {"ph": "ph"})
