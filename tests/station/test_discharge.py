"""Discharges: means weighted by flow, loads, values at reference oxygen, from readings to frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from station.config import PointSettings
from station.model import Average, Kind, Mark, Reading, Report
from station.periods import Periods
from station.store import Series, Store, pack_averages, unpack_averages

ZONE = timezone(timedelta(hours=8))
MIDNIGHT = datetime(2026, 3, 1, tzinfo=ZONE)
Values = Callable[[int], float | None]


class Outfall:
    """A store with readings of one discharge put in by hand, and its periods closed."""

    def __init__(
        self, store: Store, st: str, reference_oxygen: float | None = None, paces: dict[str, float] | None = None
    ) -> None:
        point = PointSettings(code="out", name="Outfall", st=st, reference_oxygen=reference_oxygen)
        self.store, self.periods = store, Periods(store, [point], ZONE, {}, MIDNIGHT)
        self.periods._paces |= {("out", parameter): pace for parameter, pace in (paces or {}).items()}

    def put(self, seconds: int, step: int, **values: Values) -> None:
        series = {("unit", p): Series("unit", "out", p) for p in values}
        readings = [
            Reading("unit", "out", p, MIDNIGHT + timedelta(seconds=n), v(n), v(n), Mark.N)
            for n in range(0, seconds, step)
            for p, v in values.items()
        ]
        with self.store.transaction():
            self.store.register(series.values())
            self.store.add_readings(readings, series)

    def close(self, hours: int) -> dict[Kind, list[Report]]:
        found: dict[Kind, list[Report]] = {kind: [] for kind in (Kind.MINUTE, Kind.HOUR, Kind.DAY)}
        while True:
            with self.store.transaction():
                reports, upto = self.periods.close(MIDNIGHT + timedelta(hours=hours))
            self.periods.committed(upto, MIDNIGHT + timedelta(hours=hours), [])
            for report in reports:
                found[report.kind].append(report)
            if not reports:
                return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "station.db")
    made.begin_boot("boot")
    yield made
    made.close()


def value(report: Report, parameter: str) -> Average:
    return next(a for a in report.averages if a.parameter == parameter)


def test_an_hour_of_waste_water_is_weighted_by_its_flow(store: Store) -> None:
    """Half an hour of 10 L/s at 50 mg/L, half of 30 L/s at 80 mg/L: 72.5 mg/L, 72 m³, 5.22 kg."""
    outfall = Outfall(store, "32")
    outfall.put(3600, 60, flow_water=lambda n: 10.0 if n < 1800 else 30.0, cod=lambda n: 50.0 if n < 1800 else 80.0,
                ph=lambda n: 7.0 if n < 1800 else 8.0)  # fmt: skip
    (hour,) = outfall.close(1)[Kind.HOUR]
    cod = value(hour, "cod")
    assert (round(cod.mean or 0, 6), round(cod.load_kg or 0, 6)) == (72.5, 5.22)
    assert (value(hour, "ph").mean, value(hour, "ph").load_kg) == (7.5, None)
    assert (value(hour, "flow_water").mean, value(hour, "flow_water").load_kg) == (20.0, None)


def test_without_flow_a_concentration_counts_for_nothing(store: Store) -> None:
    """The last quarter of an hour stands: 500 mg/L there are no discharge, and the flow of 0 is kept."""
    outfall = Outfall(store, "32")
    outfall.put(3600, 60, flow_water=lambda n: 20.0 if n < 2700 else 0.0, cod=lambda n: 60.0 if n < 2700 else 500.0)
    (hour,) = outfall.close(1)[Kind.HOUR]
    assert (value(hour, "cod").mean, value(hour, "flow_water").mean) == (60.0, 15.0)
    assert (value(hour, "cod").minimum, value(hour, "cod").maximum) == (60.0, 60.0)
    assert round(value(hour, "cod").load_kg or 0, 6) == 3.24


def test_an_outfall_that_stands_all_hour_has_no_mean_and_no_load(store: Store) -> None:
    outfall = Outfall(store, "32")
    outfall.put(3600, 60, flow_water=lambda n: 0.0, cod=lambda n: 60.0)
    (hour,) = outfall.close(1)[Kind.HOUR]
    assert (value(hour, "cod").mean, value(hour, "cod").load_kg) == (None, 0.0)


def test_without_a_flow_meter_means_are_arithmetic_and_there_is_no_load(store: Store) -> None:
    outfall = Outfall(store, "32")
    outfall.put(3600, 60, cod=lambda n: 50.0 if n < 1800 else 80.0)
    (hour,) = outfall.close(1)[Kind.HOUR]
    assert (value(hour, "cod").mean, value(hour, "cod").load_kg) == (65.0, None)


def test_a_days_load_is_the_sum_of_its_hours_and_its_mean_goes_by_volume(store: Store) -> None:
    """Twelve hours of 10 L/s at 50 mg/L and twelve of 30 L/s at 80 mg/L."""
    outfall = Outfall(store, "32")
    outfall.put(86400, 60, flow_water=lambda n: 10.0 if n < 43200 else 30.0, cod=lambda n: 50.0 if n < 43200 else 80.0)
    closed = outfall.close(24)
    (day,) = closed[Kind.DAY]
    assert round(value(day, "cod").mean or 0, 6) == 72.5
    assert round(value(day, "cod").load_kg or 0, 4) == round(12 * (36 * 0.050 + 108 * 0.080), 4)
    assert store.averages(Kind.DAY, MIDNIGHT, MIDNIGHT + timedelta(days=1))[0].averages == day.averages


def slow(outfall: Outfall, every: int, results: dict[int, float | None], flow: Values, seconds: int = 86400) -> None:
    """A flow every minute, and a result of COD (None: marked D) at some seconds of the day."""
    outfall.put(seconds, 60, flow_water=flow)
    series = {("cod", "cod"): Series("cod", "out", "cod")}
    readings = [
        Reading("cod", "out", "cod", MIDNIGHT + timedelta(seconds=at), v, v, Mark.D if v is None else Mark.N)
        for at, v in results.items()
    ]
    with outfall.store.transaction():
        outfall.store.register(series.values())
        outfall.store.add_readings(readings, series)


def test_a_result_every_two_hours_carries_both_of_them(store: Store) -> None:
    """Twelve results of 50 mg/L, 10 L/s all day: 864 m³ and 43.2 kg, not the 21.6 kg of the hours with a result."""
    outfall = Outfall(store, "32", paces={"cod": 7200.0})
    slow(outfall, 7200, {n: 50.0 for n in range(600, 86400, 7200)}, lambda n: 10.0)
    (day,) = outfall.close(24)[Kind.DAY]
    cod = value(day, "cod")
    assert (round(cod.mean or 0, 9), round(cod.load_kg or 0, 6), cod.parts) == (50.0, 43.2, 12)


def test_a_slow_result_weighs_as_much_as_flows_while_it_holds(store: Store) -> None:
    """40 mg/L at 00:10 and 80 mg/L from 02:10 on, every two hours; 10 L/s, but 30 L/s from 03:00 to 04:00."""
    outfall = Outfall(store, "32", paces={"cod": 7200.0})
    flow = lambda n: 30.0 if 10800 <= n < 14400 else 10.0  # noqa: E731
    slow(outfall, 7200, {600: 40.0, 7800: 80.0}, flow, 14400)
    outfall.put(86400, 86400, ph=lambda n: 7.0)
    closed = outfall.close(24)
    (day,) = closed[Kind.DAY]
    cod = value(day, "cod")
    volumes = (72.0, 36.0 + 108.0)  # m³ in two hours each
    assert round(cod.load_kg or 0, 6) == round(0.040 * volumes[0] + 0.080 * volumes[1], 6)
    assert round(cod.mean or 0, 6) == round((40 * volumes[0] + 80 * volumes[1]) / sum(volumes), 6)


def test_a_result_holds_for_its_cycle_and_no_longer(store: Store) -> None:
    """One result at 00:10 of a cycle of two hours: three hours of the grid, nothing is filled in behind them."""
    outfall = Outfall(store, "32", paces={"cod": 7200.0})
    slow(outfall, 7200, {600: 50.0}, lambda n: 10.0)
    (day,) = outfall.close(24)[Kind.DAY]
    assert round(value(day, "cod").load_kg or 0, 6) == round(3 * 36 * 0.050, 6)


def test_an_hour_whose_result_is_marked_carries_nothing_and_ends_what_held(store: Store) -> None:
    """50 mg/L at 00:10, a fault at 02:10: two hours are known."""
    outfall = Outfall(store, "32", paces={"cod": 7200.0})
    slow(outfall, 7200, {600: 50.0, 7800: None}, lambda n: 10.0)
    (day,) = outfall.close(24)[Kind.DAY]
    assert round(value(day, "cod").load_kg or 0, 6) == round(2 * 36 * 0.050, 6)


def test_the_last_result_of_the_day_before_holds_over_midnight(store: Store) -> None:
    """Sampled at 23:10, 50 mg/L: the first hour of the next day carries its concentration."""
    outfall = Outfall(store, "32", paces={"cod": 7200.0})
    results: dict[int, float | None] = {23 * 3600 + 600: 50.0, 25 * 3600 + 600: 100.0}
    slow(outfall, 7200, results, lambda n: 10.0, 2 * 86400)
    closed = outfall.close(48)
    second = closed[Kind.DAY][1]
    assert round(value(second, "cod").load_kg or 0, 6) == round(36 * 0.050 + 3 * 36 * 0.100, 6)


def test_an_hour_in_which_nothing_flows_carries_nothing_of_a_slow_result(store: Store) -> None:
    """It holds for the hour; no water carries it."""
    outfall = Outfall(store, "32", paces={"cod": 7200.0})
    slow(outfall, 7200, {600: 50.0}, lambda n: 10.0 if n < 3600 else 0.0, 10800)
    outfall.put(86400, 86400, ph=lambda n: 7.0)
    (day,) = outfall.close(24)[Kind.DAY]
    assert round(value(day, "cod").load_kg or 0, 6) == round(36 * 0.050, 6)


def test_a_river_is_no_discharge(store: Store) -> None:
    """ST 21: arithmetic, whatever flows."""
    river = Outfall(store, "21")
    river.put(3600, 60, flow_water=lambda n: 10.0 if n < 1800 else 30.0, cod=lambda n: 50.0 if n < 1800 else 80.0)
    (hour,) = river.close(1)[Kind.HOUR]
    assert (value(hour, "cod").mean, value(hour, "cod").load_kg) == (65.0, None)


def test_flue_gas_is_converted_to_reference_oxygen_beside_the_measured_value(store: Store) -> None:
    """A gas boiler at 6 % oxygen, reference 3.5 %: 40 mg/m³ measured, 46.67 converted; load by gas flow."""
    stack = Outfall(store, "31", 3.5)
    stack.put(3600, 60, nox=lambda n: 40.0, gas_oxygen=lambda n: 6.0, gas_flow=lambda n: 2.0)
    (hour,) = stack.close(1)[Kind.HOUR]
    nox = value(hour, "nox")
    assert (nox.mean, round(nox.converted or 0, 2), round(nox.load_kg or 0, 6)) == (40.0, 46.67, 0.288)
    assert value(hour, "gas_oxygen").converted is None


def test_near_the_oxygen_of_air_nothing_is_converted(store: Store) -> None:
    """The boiler is off for half of the hour: the conversion is made of the other half."""
    stack = Outfall(store, "31", 3.5)
    stack.put(3600, 60, nox=lambda n: 40.0 if n < 1800 else 1.0, gas_oxygen=lambda n: 6.0 if n < 1800 else 20.8)
    (hour,) = stack.close(1)[Kind.HOUR]
    assert round(value(hour, "nox").converted or 0, 2) == 46.67
    assert value(hour, "nox").mean == 20.5


def test_what_is_converted_is_what_is_measured(store: Store) -> None:
    """Ten minutes at 19 % oxygen are no valid hour: the day's mean leaves them out, and so does the converted one."""
    stack = Outfall(store, "31", 3.5)
    stack.put(4200, 60, nox=lambda n: 40.0, gas_oxygen=lambda n: 6.0 if n < 3600 else 19.0)
    (day,) = stack.close(24)[Kind.DAY]
    nox = value(day, "nox")
    assert (nox.mean, nox.parts, round(nox.converted or 0, 2)) == (40.0, 1, 46.67)


@pytest.mark.parametrize(
    "average",
    [
        Average("cod", 1.5, 1.0, 2.0, Mark.N, 3, 4, 5),
        Average("cod", 1.5, 1.0, 2.0, Mark.N, 3, 4, 5, parts=6),
        Average("cod", 1.5, 1.0, 2.0, Mark.N, 3, 4, 5, parts=6, indicative=True),
        Average("cod", 1.5, 1.0, 2.0, Mark.N, 3, 4, 5, load_kg=0.0),
        Average("cod", None, None, None, Mark.B, converted=0.5),
    ],
)
def test_what_is_rare_in_an_average_comes_back_from_the_store(average: Average) -> None:
    assert unpack_averages(pack_averages([average])) == (average,)
