"""Validity beside the mark: what an hour and a day are made of, winds weighed by speed, statistics of sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from station.average import USES, Use, roll_up
from station.clock import period_start
from station.config import PointSettings
from station.model import Average, Averaging, Kind, Mark, Reading, Report, replace
from station.periods import Periods, use_of
from station.store import Series, Store
from tests.station.conftest import Rig

ZONE = timezone(timedelta(hours=8))
MIDNIGHT = datetime(2026, 3, 1, tzinfo=ZONE)


def minute(value: float | None, mark: Mark = Mark.N, valid: int = 12) -> Average:
    return Average("pm25", value, value, value, mark, valid, 12, 12)


def hour_of(parts: list[Average], use: Use) -> Average:
    """An hour of *parts*, sixty of which were due."""
    valid = lambda part: use.valid(part, Kind.MINUTE, 60)  # noqa: E731 - as the periods hand it over
    return roll_up("pm25", Averaging.MEAN, parts, expected_inputs=60, strict=use.strict, valid=valid)


def test_forty_eight_valid_minutes_make_a_valid_hour() -> None:
    """P2: 48 valid minutes of 100.0 and 12 marked D: valid, mean 100.0, divided by 48."""
    made = hour_of([minute(100.0)] * 48 + [minute(None, Mark.D, valid=0)] * 12, USES["air"])
    assert (made.mean, made.parts, made.mark) == (100.0, 48, Mark.N)
    assert USES["air"].valid(made, Kind.HOUR, 60)
    assert not USES["site-dust-shanghai"].valid(made, Kind.HOUR, 60)


def test_the_mark_and_the_validity_of_water_say_different_things() -> None:
    """One bad reading in one minute: HJ 212 flags the hour, the capture rule keeps it, and the minute enters."""
    parts = [minute(10.0)] * 59 + [minute(70.0, Mark.T, valid=11)]
    made = hour_of(parts, USES["water"])
    assert (made.mark, made.mean, made.parts) == (Mark.T, 11.0, 60)
    assert USES["water"].valid(made, Kind.HOUR, 60)


def test_a_minute_with_too_few_readings_enters_no_hour() -> None:
    made = hour_of([minute(10.0)] * 45 + [minute(99.0, Mark.D, valid=8)] * 15, USES["air"])
    assert (made.mean, made.parts) == (10.0, 45)


@pytest.mark.parametrize(
    ("use", "minutes", "hours"),
    [("air", 45, 20), ("site-dust", 45, 20), ("site-dust-shanghai", 54, 21), ("flue-gas", 45, 20), ("water", 45, 18)],
)
def test_each_use_has_its_thresholds(use: str, minutes: int, hours: int) -> None:
    """regulations digest B1: GB 3095-2026 table 4 and HJ 76-2017 (high), the others medium."""
    rule = USES[use]
    for kind, least, due in ((Kind.HOUR, minutes, 60), (Kind.DAY, hours, 24)):
        enough, short = (Average("pm25", 1.0, parts=n) for n in (least, least - 1))
        assert (rule.valid(enough, kind, due), rule.valid(short, kind, due)) == (True, False)


def test_a_points_use_follows_its_system_code_unless_it_names_one() -> None:
    found = {st: use_of(PointSettings(code="p", name="P", st=st)) for st in ("22", "39", "31", "32", "21", "23")}
    assert found == {
        "22": USES["air"], "39": USES["site-dust"], "31": USES["flue-gas"], "32": USES["water"], "21": USES["water"],
        "23": USES["air"],
    }  # fmt: skip
    assert use_of(PointSettings(code="p", name="P", st="39", use="site-dust-shanghai")) is USES["site-dust-shanghai"]


class Bench:
    """A store with readings put in by hand, and its periods closed."""

    def __init__(self, store: Store, wind_mean: str = "weighted") -> None:
        self.store = store
        points = [PointSettings(code="site", name="Site", st="39")]
        self.periods = Periods(store, points, ZONE, {}, MIDNIGHT, wind_mean=wind_mean)

    def put(self, start: datetime, seconds: int, step: int, **values: Callable[[int], float | None]) -> None:
        """Readings of *values* (from seconds since *start*) every *step* seconds."""
        series = {("unit", p): Series("unit", "site", p) for p in values}
        readings = [
            Reading("unit", "site", p, start + timedelta(seconds=n), v(n), v(n), Mark.N)
            for n in range(0, seconds, step)
            for p, v in values.items()
        ]
        with self.store.transaction():
            self.store.register(series.values())
            self.store.tick(int(start.timestamp()) // 3600)
            self.store.add_readings(readings, series)

    def close(self, until: datetime) -> dict[Kind, list[Report]]:
        found: dict[Kind, list[Report]] = {kind: [] for kind in (Kind.MINUTE, Kind.HOUR, Kind.DAY)}
        while True:
            with self.store.transaction():
                reports, upto = self.periods.close(until)
            self.periods.committed(upto, until, [])
            for report in reports:
                found[report.kind].append(report)
            if not reports:
                return found


def value(report: Report, parameter: str) -> Average:
    return next(a for a in report.averages if a.parameter == parameter)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "station.db")
    made.begin_boot("boot")
    yield made
    made.close()


@pytest.mark.parametrize(("wind_mean", "direction"), [("weighted", 71.6), ("unit", 45.0)])
def test_winds_are_weighed_by_their_speed_where_the_station_says_so(
    store: Store, wind_mean: str, direction: float
) -> None:
    """Half an hour of 1 m/s from the north and half of 3 m/s from the east, within each minute and over the hour."""
    bench = Bench(store, wind_mean)
    bench.put(MIDNIGHT, 3600, 10, wind_speed=lambda n: 1.0 if n < 1800 else 3.0,
              wind_direction=lambda n: 0.0 if n < 1800 else 90.0)  # fmt: skip
    (hour,) = bench.close(MIDNIGHT + timedelta(hours=1))[Kind.HOUR]
    found = value(hour, "wind_direction").mean
    assert found is not None
    assert round(found, 1) == direction
    assert value(hour, "wind_speed").mean == 2.0


def test_in_a_calm_the_vane_says_nothing(store: Store) -> None:
    """0.2 m/s for most of each minute, with the vane hanging at 200°; it blows from 90° for the rest."""
    bench = Bench(store)
    bench.put(MIDNIGHT, 3600, 10, wind_speed=lambda n: 2.0 if n % 60 == 0 else 0.2,
              wind_direction=lambda n: 90.0 if n % 60 == 0 else 200.0)  # fmt: skip
    closed = bench.close(MIDNIGHT + timedelta(hours=1))
    assert {round(value(r, "wind_direction").mean or 0, 6) for r in closed[Kind.MINUTE]} == {90.0}
    assert round(value(closed[Kind.HOUR][0], "wind_direction").mean or 0, 6) == 90.0


def test_a_vane_is_weighed_by_an_anemometer_that_is_read_a_moment_later(store: Store) -> None:
    """As two instruments on one line are: the calm rule looks at the speed that is nearest in time."""
    bench = Bench(store)
    bench.put(MIDNIGHT, 600, 10, wind_direction=lambda n: 90.0 if n % 60 == 0 else 200.0)
    bench.put(MIDNIGHT + timedelta(seconds=2), 600, 10, wind_speed=lambda n: 2.0 if n % 60 == 0 else 0.2)
    closed = bench.close(MIDNIGHT + timedelta(minutes=10))
    assert {round(value(r, "wind_direction").mean or 0, 6) for r in closed[Kind.MINUTE]} == {90.0}


def test_an_hour_of_sound_has_its_statistics_marked_as_indicative(store: Store) -> None:
    """54 minutes of 50 dB and 6 of 70 dB: Leq 60.4, L10 70, L50 50."""
    bench = Bench(store)
    bench.put(MIDNIGHT, 3600, 5, noise=lambda n: 70.0 if n >= 3240 else 50.0)
    (hour,) = bench.close(MIDNIGHT + timedelta(hours=1))[Kind.HOUR]
    found = {a.parameter: round(a.mean or 0, 1) for a in hour.averages}
    assert found == {
        "noise": 60.4, "noise_leq": 60.4, "noise_l5": 70.0, "noise_l10": 70.0, "noise_l50": 50.0, "noise_l90": 50.0,
        "noise_l95": 50.0, "noise_lmax": 70.0, "noise_lmin": 50.0,
    }  # fmt: skip
    assert {a.parameter for a in hour.averages if not a.indicative} == {"noise"}
    (stored,) = store.averages(Kind.HOUR, MIDNIGHT, MIDNIGHT + timedelta(hours=1))
    assert stored.averages == hour.averages


def test_a_day_of_sound_has_day_night_and_the_extremes_of_its_hours(store: Store) -> None:
    """60 dB from 6 to 22, 50 at night, one second of 80."""
    bench = Bench(store)
    bench.put(
        MIDNIGHT, 86400, 60,
        noise=lambda n: 80.0 if n == 43200 else 60.0 if 6 <= n // 3600 < 22 else 50.0,
    )  # fmt: skip
    (day,) = bench.close(MIDNIGHT + timedelta(days=1))[Kind.DAY]
    found = {a.parameter: round(a.mean or 0, 1) for a in day.averages}
    assert (found["noise_ln"], found["noise_lmax"], found["noise_lmin"]) == (50.0, 80.0, 50.0)
    assert found["noise_ld"] == 60.4  # 959 minutes of 60 and one of 80
    assert {a.parameter for a in day.averages if a.parameter in ("noise_ld", "noise_ln", "noise_ldn")} == {
        "noise_ld",
        "noise_ln",
        "noise_ldn",
    }
    assert value(day, "noise_ldn").indicative


def test_a_meter_that_delivers_leq_itself_is_believed(store: Store) -> None:
    bench = Bench(store)
    bench.put(MIDNIGHT, 3600, 60, noise=lambda n: 50.0, noise_leq=lambda n: 55.0)
    (hour,) = bench.close(MIDNIGHT + timedelta(hours=1))[Kind.HOUR]
    leq = value(hour, "noise_leq")
    assert (round(leq.mean or 0, 1), leq.indicative) == (55.0, False)


def test_a_platform_gets_indicative_values_only_where_it_wants_them(rig: Rig) -> None:
    """The default is the level as it is measured (LA)."""
    (sender,), (settings,) = rig.engine.senders, rig.loaded.config.uplink
    averages = (Average("noise", 60.0), Average("noise_leq", 61.0, indicative=True))
    report = Report(Kind.HOUR, "site", MIDNIGHT, averages)
    assert [text for *_, text in rig.engine._worded(sender, report)] == ["HOUR site noise=60N"]
    rig.engine._settings[settings.name] = replace(settings, indicative=True)
    assert [text for *_, text in rig.engine._worded(sender, report)] == ["HOUR site noise=60N noise_leq=61N"]


def test_an_hour_starts_on_the_hour_of_the_stations_time() -> None:
    """Whatever the host's zone: periods are those of UTC+8."""
    assert period_start(Kind.DAY, datetime(2026, 3, 1, 15, 59, tzinfo=UTC), ZONE) == datetime(2026, 3, 1, tzinfo=ZONE)
    assert period_start(Kind.DAY, datetime(2026, 3, 1, 16, 0, tzinfo=UTC), ZONE) == datetime(2026, 3, 2, tzinfo=ZONE)


def test_a_counters_late_value_is_not_counted_twice(store: Store) -> None:
    """It rose 0.2 by 00:00:50, which was read late, and 0.4 by 00:01:10: the minute behind is closed again, too."""
    bench = Bench(store)
    values = {0: 10.0, 70: 10.4, 130: 10.4}
    for seconds, total in values.items():
        bench.put(MIDNIGHT + timedelta(seconds=seconds), 1, 1, rain=lambda n, total=total: total)
    bench.close(MIDNIGHT + timedelta(minutes=3))
    late = Reading("unit", "site", "rain", MIDNIGHT + timedelta(seconds=50), 10.2, 10.2)
    with store.transaction():
        store.add_readings([late], {("unit", "rain"): Series("unit", "site", "rain")})
        bench.periods.reopen([late], late.time)
    minutes = store.averages(Kind.MINUTE, MIDNIGHT, MIDNIGHT + timedelta(minutes=3))
    assert [(r.version, value(r, "rain").mean) for r in minutes] == [(2, 0.2), (2, 0.2), (1, 0.0)]


def test_an_hour_with_too_few_minutes_makes_no_level_of_the_day(store: Store) -> None:
    """Five minutes of 90 dB are all there is of the hour from ten: neither Leq of the day nor Ld takes them."""
    bench = Bench(store)
    bench.put(MIDNIGHT, 36000, 60, noise=lambda n: 50.0)
    bench.put(MIDNIGHT + timedelta(hours=10), 300, 10, noise=lambda n: 90.0)
    bench.put(MIDNIGHT + timedelta(hours=11), 46800, 60, noise=lambda n: 50.0)
    (day,) = bench.close(MIDNIGHT + timedelta(days=1))[Kind.DAY]
    assert {name: round(value(day, name).mean or 0, 6) for name in ("noise_leq", "noise_ld", "noise_ln")} == {
        "noise_leq": 50.0,
        "noise_ld": 50.0,
        "noise_ln": 50.0,
    }
