"""Reports: figures held against hand-worked ones, what they are made of, and the page in both languages."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from station import cli_report, i18n
from station.cli_report import gathered, written
from station.clock import to_ms
from station.config import Loaded, load
from station.model import Average, Kind, Mark, Reading, Reason, Record, Report, WrongArgument
from station.replay import Column, read_series, replay
from station.report import gather, span_of
from station.report_beside import missed
from station.report_page import page
from station.store import Event, Miss, Series, Store, connect
from tests.station.commands import Done, configure, station
from tests.station.conftest import Rig

WEEK = Path(cli_report.__file__).with_name("example") / "beijing-week.csv"
ZONE = timezone(timedelta(hours=8))
NOW = datetime(2026, 5, 1, 8, tzinfo=ZONE)
MARCH = datetime(2026, 3, 1, tzinfo=ZONE)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POINTS = {"air": "22", "river": "21", "out": "32", "stack": "31", "site": "39", "power": "44"}


def configuration(names: Mapping[str, str] | None = None) -> str:
    """A station with a point of every kind that a report treats in its own way, and one instrument."""
    text = '[station]\nname = "test"\ndata_folder = "data"\n'
    for code, st in POINTS.items():
        name = (names or {}).get(code, code.title())
        text += f"[[point]]\ncode = {json.dumps(code)}\nname = {json.dumps(name)}\nst = '{st}'\n"
        text += "reference_oxygen = 3.5\n" if code == "stack" else ""
    return text + (
        '[[bus]]\nname = "line"\nport = "port"\nbaudrate = 19200\nparity = "E"\n'
        '[[bus.device]]\nname = "dust"\nprofile = "deltaohm-pmsense"\nunit_id = 1\npoint = "site"\n'
        'parameters = ["pm25", "pm10"]\n'
    )


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    i18n.use("en")
    yield
    i18n.use("en")


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    (tmp_path / "station.toml").write_text(configuration(), encoding="utf-8")
    return load(tmp_path / "station.toml")


@pytest.fixture
def store(loaded: Loaded) -> Iterator[Store]:
    made = Store.open(loaded.database)
    yield made
    made.close()


def hour(parameter: str, mean: float | None, *, parts: int = 60, **more: Any) -> Average:
    """An hour of an instrument that was read every minute."""
    return Average(parameter, mean, mean, mean, valid=parts, total=60, expected=60, parts=parts, **more)


def day(parameter: str, mean: float | None, *, parts: int = 24, **more: Any) -> Average:
    return Average(parameter, mean, mean, mean, valid=60 * parts, total=1440, expected=1440, parts=parts, **more)


def put(store: Store, kind: Kind, point: str, start: datetime, *averages: Average, version: int = 1) -> None:
    with store.transaction():
        store.add_average(Report(kind, point, start.astimezone(UTC), averages, version))


def report(store: Store, loaded: Loaded, word: str = "month", which: str = "2026-03", now: datetime = NOW) -> Any:
    return gather(store, loaded, span_of(word, which, now, ZONE))


def row(found: Any, point: str, parameter: str) -> Any:
    (one,) = [one for one in found["points"] if one["point"] == point]
    return next(one for one in one["parameters"] if one["parameter"] == parameter)


# -- values


def fill_dust(store: Store) -> None:
    """27 valid days, 26 of 30 µg/m³ and one of 57; one day with 19 valid hours, three without anything."""
    for n in range(26):
        put(store, Kind.DAY, "site", MARCH + n * DAY, day("pm25", 30.0))
    put(store, Kind.DAY, "site", MARCH + 26 * DAY, day("pm25", 57.0, parts=20))
    put(store, Kind.DAY, "site", MARCH + 27 * DAY, day("pm25", 999.0, parts=19, mark=Mark.D))


def test_a_month_is_the_mean_of_its_valid_days(store: Store, loaded: Loaded) -> None:
    """(26 x 30 + 57) / 27 = 31; the day of 999 has one hour too few."""
    fill_dust(store)
    found = row(report(store, loaded), "site", "pm25")
    assert (found["value"], found["made_of"], found["is_valid"], found["why"]) == (31.0, "mean_day", True, "")
    assert found["parts"] == {"kind": "day", "valid": 27, "there": 28, "due": 31, "needed": 27}
    assert found["highest"] == {"start": "2026-03-27T00:00+08:00", "value": 57.0}
    assert found["mark"] == "N"


def test_one_valid_day_too_few_and_the_month_does_not_hold(store: Store, loaded: Loaded) -> None:
    fill_dust(store)
    again = day("pm25", 57.0, parts=18)
    put(store, Kind.DAY, "site", MARCH + 26 * DAY, again, version=2)
    found = report(store, loaded)
    dust = row(found, "site", "pm25")
    assert (dust["value"], dust["is_valid"], dust["why"], dust["parts"]["valid"]) == (30.0, False, "too_few", 26)
    (site,) = [one for one in found["points"] if one["point"] == "site"]
    assert site["later_versions"] == 1
    assert "too few valid parts" in page(found)


def test_a_period_that_is_not_over_is_open_and_says_so(store: Store, loaded: Loaded) -> None:
    fill_dust(store)
    found = report(store, loaded, now=datetime(2026, 3, 29, 9, tzinfo=ZONE))
    dust = row(found, "site", "pm25")
    assert (found["over"], dust["is_valid"], dust["why"], dust["parts"]["due"]) == (False, None, "not_over", 28)
    assert "As it stood on 2026-03-29 09:00" in page(found)


def test_a_discharge_is_weighted_by_its_flow_and_its_loads_are_added_up(store: Store, loaded: Loaded) -> None:
    """(50 x 10 + 80 x 30 + 500 x 0) / 40 = 72.5 mg/L; 864 m³ x 50 g + 2,592 m³ x 80 g = 250.56 kg."""
    for n, (cod, flow, load_kg) in enumerate([(50.0, 10.0, 43.2), (80.0, 30.0, 207.36), (500.0, 0.0, 0.0)]):
        put(store, Kind.DAY, "out", MARCH + n * DAY, day("flow_water", flow), day("cod", cod, load_kg=load_kg))
    found = row(report(store, loaded), "out", "cod")
    assert (found["value"], found["made_of"]) == (72.5, "flow_day")
    assert found["load_kg"] == pytest.approx(250.56)
    assert (found["is_valid"], found["parts"]["needed"]) == (False, 24)  # 75 % of 31 days
    assert row(report(store, loaded), "out", "flow_water")["made_of"] == "mean_day"
    text = page(report(store, loaded))
    assert '<td class="n">250.560</td>' in text
    assert "3 valid days, weighted by flow" in text


def test_a_value_at_reference_oxygen_stands_beside_the_measured_one(store: Store, loaded: Loaded) -> None:
    put(store, Kind.DAY, "stack", MARCH, day("nox", 40.0, converted=46.6666))
    put(store, Kind.DAY, "stack", MARCH + DAY, day("nox", 60.0, converted=70.0))
    found = row(report(store, loaded), "stack", "nox")
    assert (found["value"], found["converted"]) == (50.0, pytest.approx(58.3333))
    assert "Converted to 3.5 % reference oxygen" in page(report(store, loaded))


def test_sound_is_reckoned_by_energy_from_hours_by_day_and_by_night(store: Store, loaded: Loaded) -> None:
    """16 h of 60 dB and 8 h of 50 dB: Ld 60, Ln 50, Ldn 60.0, Leq 10 lg 700,000 = 58.45."""
    for n in range(24):
        level = 60.0 if 6 <= n < 22 else 50.0
        put(store, Kind.HOUR, "site", MARCH + n * HOUR, hour("noise_leq", level, indicative=True))
    put(store, Kind.DAY, "site", MARCH, *(day(p, 0.0, indicative=True) for p in ("noise_leq", "noise_ld", "noise_ldn")))
    found = report(store, loaded)
    values = {p: row(found, "site", p)["value"] for p in ("noise_leq", "noise_ld", "noise_ldn")}
    assert values == {
        "noise_leq": pytest.approx(58.451, abs=0.001),
        "noise_ld": pytest.approx(60.0),
        "noise_ldn": pytest.approx(60.0, abs=0.01),
    }
    text = page(found)
    assert "indicative: reckoned from slow readings" in text
    assert "day is 06:00 to 22:00" in text


def test_wind_is_the_mean_of_vectors(store: Store, loaded: Loaded) -> None:
    """3 m/s from 350° and from 20°: 5°, 2.898 m/s; an hour of calm has no direction."""
    for n, (speed, direction) in enumerate([(3.0, 350.0), (3.0, 20.0)]):
        put(store, Kind.HOUR, "air", MARCH + n * HOUR, hour("wind_speed", speed), hour("wind_direction", direction))
    found = report(store, loaded)
    wind = next(point for point in found["points"] if point["point"] == "air")["wind"]
    assert (round(wind["direction"], 6), round(wind["vector_speed"], 3), wind["scalar_speed"]) == (5.0, 2.898, 3.0)
    assert (wind["hours"], wind["calm_hours"], wind["rose"][0], wind["rose"][1]) == (2, 0, 1, 1)
    put(store, Kind.HOUR, "air", MARCH + 2 * HOUR, hour("wind_speed", 0.1), hour("wind_direction", 180.0))
    wind = next(point for point in report(store, loaded)["points"] if point["point"] == "air")["wind"]
    assert (round(wind["direction"], 6), wind["hours"], wind["calm_hours"], sum(wind["rose"])) == (5.0, 3, 1, 2)


def test_rain_is_a_sum_and_of_a_meter_the_rise_is_told(store: Store, loaded: Loaded) -> None:
    """100 before the month, 101, 103, then another meter that shows 0.5: 3.5 kWh."""
    for n, rain in enumerate([1.2, 0.4]):
        put(store, Kind.DAY, "site", MARCH + n * DAY, day("rain", rain))
    put(store, Kind.HOUR, "power", MARCH - HOUR, hour("energy_total", 100.0))
    for n, stand in enumerate([101.0, 103.0, 0.5]):
        put(store, Kind.HOUR, "power", MARCH + n * HOUR, hour("energy_total", stand))
    found = report(store, loaded)
    rain, energy = row(found, "site", "rain"), row(found, "power", "energy_total")
    assert (rain["value"], rain["made_of"]) == (pytest.approx(1.6), "sum_day")
    assert energy["rise"] == pytest.approx(3.5)
    assert "advanced by 3.50 kWh" in page(found)


def test_what_a_meter_counted_while_it_was_silent_over_midnight_is_of_the_next_day(
    store: Store, loaded: Loaded
) -> None:
    """100, 102 by 21:00, silent to 03:00, then 110, 112: 2 kWh and 10 kWh, as the register says in all."""
    for number, value in ((-4, 100.0), (-3, 102.0), (3, 110.0), (4, 112.0)):
        put(store, Kind.HOUR, "power", MARCH + timedelta(hours=24 + number), hour("energy_total", value))
    rises = [
        row(report(store, loaded, "day", day), "power", "energy_total")["rise"] for day in ("2026-03-01", "2026-03-02")
    ]
    assert rises == [2.0, 10.0]


def test_a_day_is_as_it_was_closed_and_shows_its_hours(store: Store, loaded: Loaded) -> None:
    for n in range(24):
        put(store, Kind.HOUR, "air", MARCH + n * HOUR, hour("pm25", float(n), parts=60 if n else 44))
    put(store, Kind.DAY, "air", MARCH, day("pm25", 12.0, parts=23))
    found = row(report(store, loaded, "day", "2026-03-01"), "air", "pm25")
    assert (found["value"], found["made_of"], found["is_valid"]) == (12.0, "mean_hour", True)
    assert found["parts"] == {"kind": "hour", "valid": 23, "there": 24, "due": 24, "needed": 20}
    assert [dot["is_valid"] for dot in found["series"]] == [False, *[True] * 23]
    assert found["captured"] == pytest.approx((23 * 60 + 44) / 1440)


def test_what_is_measured_every_four_hours_is_held_against_six_hours_a_day(store: Store, loaded: Loaded) -> None:
    for n in range(0, 24, 4):
        one = Average("cod", 30.0, 30.0, 30.0, valid=1, total=1, expected=1, parts=1)
        put(store, Kind.HOUR, "river", MARCH + n * HOUR, one)
    put(store, Kind.DAY, "river", MARCH, Average("cod", 30.0, 30.0, 30.0, valid=6, total=6, expected=6, parts=6))
    found = row(report(store, loaded, "day", "2026-03-01"), "river", "cod")
    assert found["parts"] == {"kind": "hour", "valid": 6, "there": 6, "due": 6, "needed": 5}
    assert (found["is_valid"], found["captured"], found["hours_missing"]) == (True, 1.0, 0)


def test_what_cannot_be_computed_says_why(store: Store, loaded: Loaded) -> None:
    put(store, Kind.DAY, "river", MARCH, day("ph", None, parts=0, mark=Mark.B))
    found = report(store, loaded)
    ph = row(found, "river", "ph")
    assert (ph["value"], ph["why"], ph["mark"]) == (None, "no_valid_part", "B")
    assert "no value: no part of it is valid" in page(found)


# -- single readings


def add(
    store: Store, at: datetime, *marks: tuple[Mark, Reason], coefficients: tuple[float, float] = (1.0, 0.0)
) -> None:
    one = Series("dust", "site", "pm25", coefficients)
    readings = [Reading("dust", "site", "pm25", at, 5.0, 5.0, mark, reason) for mark, reason in marks]
    with store.transaction():
        store.tick(to_ms(at) // 3_600_000)
        store.register([one])
        store.add_readings(readings, {("dust", "pm25"): one})


def test_readings_are_counted_by_mark_and_by_the_reason_beside_them(store: Store, loaded: Loaded) -> None:
    store.begin_boot("boot")
    add(store, MARCH - HOUR, (Mark.T, Reason.ABOVE_RANGE))
    add(
        store,
        MARCH + HOUR,
        (Mark.N, Reason.NONE),
        (Mark.N, Reason.SPRAYING),
        (Mark.N, Reason.HUMID),
        (Mark.N, Reason.HUMID),
        (Mark.B, Reason.NO_REPLY),
        coefficients=(1.2, -2.0),
    )
    add(store, MARCH + 40 * DAY, (Mark.D, Reason.STATUS))
    found = report(store, loaded)
    dust = row(found, "site", "pm25")
    assert dust["readings_by_mark"] == {"N": 4, "B": 1}
    assert dust["reasons"] == {"spraying": 1, "humid": 2}
    assert dust["mark_reasons"] == {"no_reply": 1}
    assert found["coefficients"] == [
        {"point": "site", "parameter": "pm25", "device": "dust", "slope": 1.2, "intercept": -2.0}
    ]


def test_readings_dated_into_the_month_after_a_clock_was_set_back_are_counted_too(store: Store, loaded: Loaded) -> None:
    store.begin_boot("boot")
    add(store, MARCH, (Mark.N, Reason.NONE))
    add(store, MARCH + 40 * DAY, (Mark.N, Reason.NONE))
    with store.transaction():
        store.add_clock(0.0, MARCH + DAY, "none")
    add(store, MARCH + DAY, (Mark.D, Reason.STATUS))
    assert row(report(store, loaded), "site", "pm25")["readings_by_mark"] == {"N": 1, "D": 1}


# -- beside the figures


def test_marks_by_hand_stand_with_name_and_reason(store: Store, loaded: Loaded) -> None:
    fill_dust(store)
    body = {"do": "mark", "name": "M1", "parameter": "", "last": (MARCH + DAY).isoformat(), "mark": "M"}
    with store.transaction():
        store.add_records([Record("mark", MARCH, body | {"user": "Wang Fang", "reason": "inlet <cleaned>"}, "site")])
        april = body | {"name": "M2", "last": None, "user": "x", "reason": "later"}
        store.add_records([Record("mark", MARCH + 40 * DAY, april, "site")])
    found = report(store, loaded)
    assert [(one["name"], one["mark"], one["user"]) for one in found["hand_marks"]] == [("M1", "M", "Wang Fang")]
    assert "inlet &lt;cleaned&gt;" in page(found)


def test_alarms_and_checks_are_told_with_limit_and_word(store: Store, loaded: Loaded) -> None:
    body = {
        "state": "alarm", "cause": "limit", "episode": "e1", "parameter": "tsp", "period": "1h", "value": 801.25,
        "unit": "µg/m³", "count": 1, "limit": 500, "sense": "most", "standard": "own", "class": "",
    }  # fmt: skip
    with store.transaction():
        store.add_records([Record("alarm", MARCH + HOUR, body, "site", "dust-high")])
        store.add_records([Record("alarm_ack", MARCH + 40 * DAY, {"episode": "e1", "user": "Li Wei"}, "", "dust-high")])
        check = {"parameter": "pm25", "value": 0.4, "standard": 0, "passed": True}
        store.add_records([Record("check", MARCH + DAY, check, "site", "dust")])
    text = page(report(store, loaded))
    cells = ["dust-high", "Site", "ALARM", "TSP 801.2 µg/m³", "≤ 500 (own limit, 1h)", "past the limit", "Li Wei"]
    assert "".join(f"<td>{cell}</td>" for cell in cells) in text.replace(' class="s"', "")
    assert "1 alarm was raised" in text
    assert "<td>PM2.5, value 0.4, standard 0, passed</td>" in text


def test_a_permit_tells_what_the_year_has_carried_by_the_end_of_the_month(tmp_path: Path) -> None:
    """10 kg a day in March are 310 kg of a tonne; January and February have no load and are counted as such."""
    permit = '[[permit]]\nname = "dust"\npoint = "site"\nparameter = "pm10"\ntonnes = 1.0\n'
    text = configuration().replace("st = '39'", "st = '31'") + permit
    (tmp_path / "station.toml").write_text(text, encoding="utf-8")
    loaded = load(tmp_path / "station.toml")
    store = Store.open(loaded.database)
    for n in range(35):
        put(store, Kind.DAY, "site", MARCH + n * DAY, day("pm10", 50.0, load_kg=10.0))
    found = report(store, loaded)
    store.close()
    (one,) = found["permits"]
    assert (one["used_kg"], one["share"], one["days"], one["missing"]) == (310.0, 0.31, 31, 59)
    text = page(found)
    assert "0.31 / 1 t" in text
    assert "<h2>Loads against permits" in text


def test_an_order_is_told_with_how_its_line_kept_to_it(store: Store, loaded: Loaded) -> None:
    """2 kWh an hour go on although half of it was ordered: 48 kWh used, 24 allowed."""
    for n in range(15 * 24):
        put(store, Kind.HOUR, "power", MARCH + n * HOUR, hour("energy_total", 2.0 * (n + 1)))
    body = {
        "do": "add", "name": "O1", "last": (MARCH + 11 * DAY).isoformat(), "points": ["power"], "percent": 50.0,
        "baseline_days": 5, "user": "Wang Fang", "reason": "orange",
    }  # fmt: skip
    with store.transaction():
        store.add_records([Record("order", MARCH + 10 * DAY, body)])
    found = report(store, loaded)
    (one,) = found["orders"]
    assert (one["verdict"], one["used_kwh"], one["allowed_kwh"]) == ("exceeds", pytest.approx(48), pytest.approx(24))
    assert '<td class="n">48.0</td><td class="n">24.0</td>' in page(found)


def test_a_calibration_stands_with_what_it_changed(store: Store, loaded: Loaded) -> None:
    begin = {
        "do": "begin", "name": "C1", "parameter": "pm25", "procedure": "zero", "standards": [], "rule": {},
        "full_scale": None, "before": [1.0, 0.0], "user": "Li Wei", "mark": "",
    }  # fmt: skip
    done = {"do": "done", "name": "C1", "parameter": "pm25", "coefficients": [1.0, -0.5], "changes": True}
    with store.transaction():
        store.add_records([Record("calibration", MARCH + DAY, begin, "site", "dust")])
        store.add_records([Record("calibration", MARCH + DAY + HOUR, done, "site", "dust")])
    found = report(store, loaded)
    assert [(one["name"], one["state"], one["coefficients"]) for one in found["calibrations"]] == [
        ("C1", "done", [1.0, -0.5])
    ]
    assert "1, 0 → 1, -0.5" in page(found)


def test_drift_between_calibrations_is_said_beside_the_figures(store: Store, loaded: Loaded) -> None:
    """Left 0 and 100, found 2 and 107 five days later: gain 1.05, offset 2; before and after nothing can be said."""
    for number, (low, high) in enumerate(((0.0, 100.0), (2.0, 107.0)), 1):
        at, name = MARCH + (5 * number) * DAY, f"K{number}"
        rows = [
            {"standard": s, "raw": found, "as_found": found, "as_left": s} for s, found in ((0.0, low), (100.0, high))
        ]
        begin = {
            "do": "begin", "name": name, "parameter": "pm25", "procedure": "two-point", "standards": [], "rule": {},
            "full_scale": None, "before": [1.0, 0.0], "user": "Li Wei", "mark": "",
        }  # fmt: skip
        done = {"do": "done", "name": name, "parameter": "pm25", "coefficients": [1.0, 0.0], "changes": True}
        with store.transaction():
            store.add_records([Record("calibration", at, begin, "site", "dust")])
            store.add_records([Record("calibration", at + HOUR, {**done, "rows": rows}, "site", "dust")])
    found = report(store, loaded)
    assert [(one["from_calibration"], one["because"], one["gain"]) for one in found["drift"]] == [
        ("", "none_before", None), ("K1", "", pytest.approx(1.05)), ("", "under_way", None), ("K2", "none_after", None),
    ]  # fmt: skip
    assert "at the end gain 1.05, offset 2" in page(found)
    assert "no reading, mean or message was changed" in page(found)


def test_silent_instruments_and_events_that_matter_are_told(store: Store, loaded: Loaded) -> None:
    minute = timedelta(minutes=1)
    with store.transaction():
        for n in range(30):
            at = MARCH + n * minute
            store.add_missed([Miss("dust", Reason.PORT_LOST, at, at + minute, 12)])
        store.add_missed([Miss("dust", Reason.PORT_LOST, MARCH + DAY, MARCH + DAY, 1)])
        store.add_events([Event(MARCH + HOUR, "clock_step", {"seconds": -3.5}), Event(MARCH, "purged", {"rows": 1})])
        store.add_events([Event(MARCH - HOUR, "start", {})])
    found = report(store, loaded)
    spells = [(one["device"], one["reason"], one["minutes"], one["polls"]) for one in found["missed"]]
    assert spells == [("dust", "port_lost", 30.0, 360), ("dust", "port_lost", 0.0, 1)]
    assert found["events"]["counts"] == {"clock_step": 1}
    assert missed(store, loaded, span_of("month", "2026-03", NOW, ZONE), {"air"}) == []
    text = page(found)
    assert "clock stepped" in text
    assert "seconds: -3.5" in text


def test_the_platforms_share_is_that_of_the_ledger(rig: Rig) -> None:
    """Ten minutes were measured and nobody answered: all is owed, nothing captured."""
    for _ in range(10 * 12):
        rig.clock.advance(5)
        for poller in rig.engine.pollers:
            for task in poller.tasks:
                poller.poll(task)
        rig.engine.tick()
    rig.clock.advance(600)
    rig.engine.tick()
    now = rig.clock.now()
    found = gather(rig.engine.store, rig.loaded, span_of("day", "2026-03-01", now, rig.loaded.zone))
    minutes = next(one for one in found["platforms"] if one["kind"] == "minute")
    assert minutes["answered"] == 0
    assert minutes["owed"] >= 9
    assert minutes["expected"] == minutes["owed"] + minutes["missing"]
    assert minutes["capture_rate"] == 0.0


def test_a_body_of_water_has_its_class_by_the_worst_parameter(store: Store, loaded: Loaded) -> None:
    """P of 0.12 mg/L is class III in a river, oxygen of 5.6 too, ammonia of 0.8 III."""
    for n in range(31):
        values = {"dissolved_oxygen": 5.6, "ammonia_nitrogen": 0.8, "total_phosphorus": 0.25}
        put(store, Kind.DAY, "river", MARCH + n * DAY, *(day(p, v) for p, v in values.items()))
    found = report(store, loaded)
    index = next(point for point in found["points"] if point["point"] == "river")["index"]
    assert (index["grade"], index["deciding"], index["official"]) == ("IV", ["total_phosphorus"], True)
    assert "River: class IV by monthly means" in page(found)
    i18n.use("zh")
    assert "River:按月均值为IV 类" in page(found)


@pytest.mark.parametrize(
    ("days", "values", "said"),
    [
        (31, {"ph": 7.6}, {"en": "River: class of water not computable: only pH has a valid value",
                           "zh": "River:水质类别无法判定:仅 pH 有有效值"}),
        (3, {"ph": 7.6, "ammonia_nitrogen": 0.8}, {
            "en": "River: class III as an indication (GB 3838-2002); judged: pH, Ammonia nitrogen; decided by: ",
            "zh": "III 类,仅供参考(GB 3838-2002);参评因子:pH值、氨氮;决定因子:氨氮",
        }),
    ],
)  # fmt: skip
def test_a_month_that_tells_no_class_says_why(
    store: Store, loaded: Loaded, days: int, values: dict[str, float], said: dict[str, str]
) -> None:
    """pH alone has none; means of three days do not hold and give an indication."""
    for n in range(days):
        put(store, Kind.DAY, "river", MARCH + n * DAY, *(day(p, v) for p, v in values.items()))
    found = report(store, loaded)
    index = next(point for point in found["points"] if point["point"] == "river")["index"]
    assert index["official"] is False
    for language, text in said.items():
        i18n.use(language)
        assert text in page(found)
    few = "有效日数不足以形成月均值(须 24 日),不参加正式评价:氨氮 3、pH值 3"
    assert (few in page(found)) is (days == 3)


GASES = {"so2": 0.02, "no2": 0.03, "co": 0.8, "pm10": 60.0, "pm25": 75.0}


def test_a_day_of_all_six_pollutants_has_an_index(store: Store, loaded: Loaded) -> None:
    """PM2.5 of 75 µg/m³ is 114 by HJ 633-2026; ozone of 100 µg/m³ over eight hours is 50."""
    when = datetime(2026, 4, 2, tzinfo=ZONE)
    for n in range(24):
        put(store, Kind.HOUR, "air", when + n * HOUR, hour("o3", 0.1), *(hour(p, v) for p, v in GASES.items()))
    put(store, Kind.DAY, "air", when, day("o3", 0.1), *(day(p, v) for p, v in GASES.items()))
    found = report(store, loaded, "day", "2026-04-02")
    index = next(point for point in found["points"] if point["point"] == "air")["index"]
    (one,) = index["days"]
    assert (one["aqi"], one["level"], one["primary"], one["indices"]["o3"]) == (114, "light", ["pm25"], 50)
    assert "AQI 114, lightly polluted; primary pollutant: PM2.5" in page(found)
    month = report(store, loaded, "month", "2026-04")
    index = next(point for point in month["points"] if point["point"] == "air")["index"]
    assert [(one["day"], one["aqi"]) for one in index["days"]] == [("2026-04-02", 114)]


def test_a_station_of_dust_alone_publishes_no_index(store: Store, loaded: Loaded) -> None:
    put(store, Kind.DAY, "air", MARCH, day("pm25", 75.0))
    found = report(store, loaded, "day", "2026-03-01")
    index = next(point for point in found["points"] if point["point"] == "air")["index"]
    assert (index["days"], index["absent"]) == ([], ["so2", "no2", "co", "o3", "pm10"])
    assert "no AQI: not measured here: Sulphur dioxide" in page(found)


# -- page and table


class _Tags(HTMLParser):
    """Every tag of a page, and those left open."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href", "onload", "onclick")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1:] != [tag]:
            self.wrong.append(tag)
        else:
            self.open.pop()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_needs_nothing_else_and_names_are_text(tmp_path: Path, language: str) -> None:
    """A point called <script> is no script."""
    names = {"site": '<script>alert("1")</script>', "air": "a & b"}
    (tmp_path / "station.toml").write_text(configuration(names), encoding="utf-8")
    loaded = load(tmp_path / "station.toml")
    store = Store.open(loaded.database)
    fill_dust(store)
    put(store, Kind.HOUR, "air", MARCH, hour("wind_speed", 3.0), hour("wind_direction", 90.0), hour("rain", 0.2))
    put(store, Kind.DAY, "air", MARCH, day("wind_speed", 3.0), day("rain", 0.2))
    i18n.use(language)
    text = page(report(store, loaded))
    store.close()
    tags = _Tags()
    tags.feed(text)
    assert (tags.open, tags.wrong, tags.outside) == ([], [], [])
    assert "script" not in tags.seen
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;" in text
    assert "a &amp; b" in text
    assert {"svg", "polygon", "table"} <= tags.seen
    assert not [word for word in ("http://", "https://", "url(", "@import") if word in text]


def test_the_page_says_the_same_in_chinese(store: Store, loaded: Loaded) -> None:
    fill_dust(store)
    i18n.use("zh")
    text = page(report(store, loaded))
    assert '<html lang="zh-CN">' in text
    for said in ("监测月报 2026-03", "27 个有效日的均值", "月须有 27 个有效日", "27/31,须 27", "数据处理说明"):
        assert said in text
    assert '<td class="n">31.0</td>' in text


def test_the_files_are_a_page_and_a_table_that_spreadsheets_open(store: Store, loaded: Loaded, tmp_path: Path) -> None:
    fill_dust(store)
    store.close()
    span = span_of("month", "2026-03", NOW, ZONE)
    html, table = written(gathered(loaded, span), tmp_path / "out", loaded.zone)
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert table.read_bytes().startswith(b"\xef\xbb\xbfperiod,start (UTC+08:00),point,")
    with table.open(encoding="utf-8-sig", newline="") as file:
        first, *days = csv.DictReader(file)
    assert (first["period"], first["value"], first["valid"], first["made_of"]) == ("month", "31.0", "1", "mean_day")
    assert [(one["period"], one["value"], one["valid"]) for one in days[-2:]] == [
        ("day", "57.0", "1"),
        ("day", "999.0", "0"),
    ]
    assert len(days) == 28


def test_the_database_is_only_read(store: Store, loaded: Loaded) -> None:
    fill_dust(store)
    with pytest.raises(Exception, match="readonly"):
        connect(loaded.database, read_only=True).execute("DELETE FROM average")
    before = store.query("SELECT count(*), max(id) FROM average")
    gathered(loaded, span_of("month", "2026-03", NOW, ZONE))
    assert store.query("SELECT count(*), max(id) FROM average") == before


# -- a recorded week


def test_a_replayed_week_has_the_means_of_its_rows(tmp_path: Path) -> None:
    """The shipped week of Beijing, hour by hour: the day's mean is that of its 24 rows, by the code that runs live."""
    rows = list(csv.DictReader(WEEK.read_text(encoding="utf-8").splitlines()))
    first = [float(one["PM2.5"]) for one in rows if (one["month"], one["day"]) == ("12", "2")]
    assert len(first) == 24
    (tmp_path / "station.toml").write_text(configuration(), encoding="utf-8")
    loaded = load(tmp_path / "station.toml")
    series = read_series(WEEK, loaded.zone)
    outcome = replay(loaded, series, [Column(device="dust", parameter="pm25", name="PM2.5")], tmp_path / "data")
    assert outcome.rows == len(rows)
    span = span_of("day", "2016-12-02", NOW, ZONE)
    found = gathered(loaded, span)
    dust = row(found, "site", "pm25")
    assert (dust["value"], dust["is_valid"]) == (pytest.approx(sum(first) / 24), True)
    assert (dust["minimum"], dust["maximum"]) == (min(first), max(first))
    assert [dot["value"] for dot in dust["series"]] == first
    html, _ = written(found, tmp_path / "out", loaded.zone)
    assert html.read_text(encoding="utf-8").count("<circle") >= 24


# -- as typed


def asked(config: Path, *words: str) -> Done:
    return station("report", *words, "--config", config, "--lang", "en")


def test_a_report_as_typed(tmp_path: Path) -> None:
    config = configure(tmp_path)
    done = asked(config, "month", "2026-03")
    assert (done.code, "start the station first" in done.err) == (74, True)
    made = load(config)
    code = made.config.point[0].code
    filled = Store.open(made.database)
    put(filled, Kind.DAY, code, MARCH, day("pm25", 31.25))
    filled.close()
    done = asked(config, "month", "2026-03", "--output", str(tmp_path / "out"), "--point", code)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"written: {tmp_path / 'out' / f'report-2026-03-{code}.html'}",
        f"written: {tmp_path / 'out' / f'report-2026-03-{code}.csv'}",
    ]
    found = json.loads(asked(config, "day", "2026-03-01", "--json").out)
    assert row(found, code, "pm25")["value"] == 31.25


def test_what_cannot_be_a_period_is_refused(tmp_path: Path) -> None:
    config = configure(tmp_path)
    assert asked(config, "month", "2026-3x").said == ['"2026-3x" is not a month such as 2026-03']
    assert asked(config, "day", "2026-02-30").said == ['"2026-02-30" is not a day such as 2026-03-01']
    assert asked(config, "day", "--point", "nowhere").code == 2
    with pytest.raises(WrongArgument, match="2026-06 has not begun"):
        span_of("month", "2026-06", NOW, ZONE)


def test_an_analysers_result_that_came_later_is_no_correction(store: Store, loaded: Loaded) -> None:
    """A version that adds a parameter changes nothing that was said; one that changes a value does."""
    put(store, Kind.HOUR, "site", MARCH, hour("pm25", 30.0))
    put(store, Kind.HOUR, "site", MARCH, hour("pm10", 60.0), hour("pm25", 30.0), version=2)
    (point,) = [one for one in report(store, loaded)["points"] if one["point"] == "site"]
    assert point["later_versions"] == 0
    put(store, Kind.HOUR, "site", MARCH, hour("pm10", 60.0), hour("pm25", 31.0), version=3)
    (point,) = [one for one in report(store, loaded)["points"] if one["point"] == "site"]
    assert point["later_versions"] == 1
