"""Points around a yard: upwind and downwind by the hour's wind, worked by hand; and what is wrong in the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station import i18n
from station.boundary import BoundarySettings, Hour, compare
from station.config import Loaded, load
from station.model import Average, ConfigError, Kind, Report
from station.recipe import recipe, write
from station.report import gather, span_of
from station.report_page import page
from station.store import Store

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
YARD = BoundarySettings(name="yard", parameter="pm10", bearings={"north": 0.0, "south": 180.0}, wind_point="north")


def hours(*rows: tuple[float | None, float | None, dict[str, float]]) -> list[Hour]:
    return [
        Hour(start=START + n * HOUR, speed=speed, direction=direction, means=means)
        for n, (speed, direction, means) in enumerate(rows)
    ]


def test_the_wind_says_which_point_is_upwind() -> None:
    """North wind 100 to 160, south wind 90 to 120: upwind (100 + 90) / 2, downwind (160 + 120) / 2, difference 45."""
    found = compare(
        YARD,
        hours((3.0, 350.0, {"north": 100.0, "south": 160.0}), (2.0, 190.0, {"north": 120.0, "south": 90.0})),
    )
    assert (found["upwind"], found["downwind"], found["difference"]) == (95.0, 140.0, 45.0)
    assert (found["paired"], found["hours_above"]) == (2, 2)
    assert found["largest"] == {"start": START, "value": 60.0}


def test_what_cannot_be_compared_is_counted_apart() -> None:
    """Calm, across, a value that is not there, a wind that is not there; a vane without direction in a wind."""
    both = {"north": 100.0, "south": 160.0}
    found = compare(
        YARD,
        hours((0.2, 0.0, both), (3.0, 90.0, both), (3.0, 0.0, {"north": 100.0}), (None, None, both), (3.0, None, both)),
    )
    assert {key: found[key] for key in ("hours", "paired", "calm", "across", "unknown")} == {
        "hours": 5, "paired": 0, "calm": 1, "across": 1, "unknown": 3,
    }  # fmt: skip
    assert (found["upwind"], found["difference"], found["largest"]) == (None, None, None)


def test_the_edge_of_the_sector_belongs_to_it() -> None:
    """45° is upwind, 45.1° is across."""
    both = {"north": 1.0, "south": 2.0}
    assert compare(YARD, hours((3.0, 45.0, both)))["paired"] == 1
    assert compare(YARD, hours((3.0, 45.1, both)))["across"] == 1


def test_the_means_by_direction_are_those_of_each_eighth_of_the_compass() -> None:
    found = compare(
        YARD,
        hours((3.0, 350.0, {"north": 10.0}), (3.0, 22.0, {"north": 30.0}), (3.0, 91.0, {"north": 50.0, "south": 7.0})),
    )
    north, south = found["sectors"]["north"], found["sectors"]["south"]
    assert north[0] == {"hours": 2, "mean": 20.0}
    assert (north[2], south[2]) == ({"hours": 1, "mean": 50.0}, {"hours": 1, "mean": 7.0})
    assert north[4] == {"hours": 0, "mean": None}


def test_one_point_alone_has_its_directions_and_no_pair() -> None:
    one = BoundarySettings(name="park", parameter="tvoc", bearings={"gate": 180.0}, wind_point="gate")
    found = compare(one, hours((3.0, 0.0, {"gate": 0.5})))
    assert (found["paired"], found["across"], found["sectors"]["gate"][0]["mean"]) == (0, 1, 0.5)


def test_no_hours_say_nothing() -> None:
    found = compare(YARD, [])
    assert (found["hours"], found["difference"]) == (0, None)


# -- from the store to the page


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    write(recipe("stockyard", "en"), tmp_path, [])
    return load(tmp_path / "station.toml")


def hour(parameter: str, mean: float, parts: int = 60) -> Average:
    return Average(parameter, mean, mean, mean, valid=6 * parts, total=360, expected=360, parts=parts)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "Upwind 100.0, downwind 160.0, difference 60.0; downwind was higher in 3 of 3 hours, by 60.0 at most"),
        ("zh", "上风向 100.0,下风向 160.0,差值 60.0"),
    ],
)
def test_the_report_of_the_stockyard_recipe_tells_it(loaded: Loaded, language: str, said: str) -> None:
    """Three hours of north wind; in a fourth the south had 44 valid minutes, so that it does not hold."""
    store = Store.open(loaded.database)
    with store.transaction():
        for n in range(4):
            wind = (hour("pm10", 100.0), hour("wind_direction", 5.0), hour("wind_speed", 3.0))
            store.add_average(Report(Kind.HOUR, "north", START + n * HOUR, wind))
            south = hour("pm10", 160.0, 60 if n < 3 else 44)
            store.add_average(Report(Kind.HOUR, "south", START + n * HOUR, (south,)))
    day = span_of("day", "2026-03-01", START + 40 * HOUR, loaded.zone)
    found = gather(store, loaded, day)
    (yard,) = found["boundaries"]
    assert (yard["hours"], yard["paired"], yard["unknown"], yard["difference"]) == (4, 3, 1, 60.0)
    i18n.use(language)
    text = page(found)
    i18n.use("en")
    assert said in text
    assert gather(store, loaded, day, "south")["boundaries"] == found["boundaries"]
    store.close()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('parameter = "pm10"\nbearings', 'parameter = "pm11"\nbearings',
         'boundary[0].parameter: there is no parameter "pm11"; did you mean pm1'),
        ("south = 180 }", "soth = 180 }", 'boundary[0].bearings: there is no point "soth"; did you mean south?'),
        ("south = 180 }", "south = 360 }", "boundary[0].bearings: 360 of south is not between 0 and 360 degrees"),
        ("{ north = 0, south = 180 }", "{}", "boundary[0].bearings: names no point"),
        ('wind_point = "north"', 'wind_point = "south"',
         'boundary[0].wind_point: nothing measures wind_speed at point "south"'),
        ('wind_point = "north"', 'wind_point = "norht"',
         'boundary[0].wind_point: there is no point "norht"; did you mean north?'),
        ('parameter = "pm10"\nbearings', 'parameter = "tsp"\nbearings',
         'boundary[0].bearings: nothing measures tsp at point "north"'),
        ('parameter = "pm10"\nbearings', 'parameter = "wind_direction"\nbearings',
         "boundary[0].parameter: wind_direction has no plain mean: there is no difference of two to be had"),
        ('wind_point = "north"', 'wind_point = "north"\nhalf_width = 91', "boundary[0].half_width: "),
    ],
)  # fmt: skip
def test_a_wrong_table_is_one_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    write(recipe("stockyard", "en"), tmp_path, [])
    path = tmp_path / "station.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert said in str(refused.value)
