"""Thinned series: what a bucket says, gaps that stay gaps, marks apart, and no more than a screen can show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from station.average import leq
from station.clock import to_ms
from station.model import Average, Kind, Mark, Reading, Record, Report, WrongArgument
from station.page.series import LONGEST, MOST, Line, check, kind_for, line
from station.store import Series, Store

ZONE = timezone(timedelta(hours=8))
START = datetime(2026, 3, 1, tzinfo=ZONE)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path / "station.db")
    made.begin_boot("boot")
    yield made
    made.close()


def close(store: Store, kind: Kind, start: datetime, *averages: Average, version: int = 1, point: str = "air") -> None:
    with store.transaction():
        store.add_average(Report(kind, point, start, averages, version))


def hours(store: Store, values: Sequence[float | None], parameter: str = "pm25", mark: Mark = Mark.N) -> None:
    with store.transaction():
        for n, value in enumerate(values):
            spread = None if value is None else value
            average = Average(parameter, value, spread, spread, mark, 60, 60, 60, 60)
            store.add_average(Report(Kind.HOUR, "air", START + n * HOUR, [average]))


def read(
    store: Store, *rows: tuple[datetime, float | None, Mark], parameter: str = "pm25", device: str = "dust"
) -> None:
    one = Series(device, "air", parameter)
    with store.transaction():
        store.register([one])
        store.add_readings(
            [Reading(device, "air", parameter, at, value, value, mark) for at, value, mark in rows],
            {(device, parameter): one},
        )


def shown(store: Store, kind: str, span: timedelta, parameter: str = "pm25", start: datetime = START) -> Line:
    return line(store, kind, "air", parameter, start, start + span, ZONE)


def test_a_short_span_has_every_value_where_it_was_measured(store: Store) -> None:
    read(store, *[(START + n * 10 * SECOND, 20.0 + n, Mark.N) for n in range(6)])

    found = shown(store, "readings", MINUTE)

    assert found.at == [to_ms(START) + n * 10_000 for n in range(6)]
    assert found.mean == [20, 21, 22, 23, 24, 25]
    assert (found.count, found.width_ms, set(found.marks)) == (6, 1000, {""})


def test_a_month_of_minutes_is_thinned_and_keeps_its_extremes(store: Store) -> None:
    with store.transaction():
        for n in range(43_200):
            value = 1000.0 if n == 12_345 else float(n % 60)
            average = Average("pm25", value, value - 1, value + 1, Mark.N, 6, 6, 6)
            store.add_average(Report(Kind.MINUTE, "air", START + n * MINUTE, [average]))

    found = shown(store, "minute", 30 * DAY)

    assert found.count == 43_200
    assert len(found.at) == 720 <= MOST
    assert (max(v for v in found.high if v is not None), min(v for v in found.low if v is not None)) == (1001, -1)
    assert found.mean[0] == pytest.approx(29.5)
    assert found.valid == [60] * 720


def test_a_year_of_days_begins_its_days_in_the_stations_zone(store: Store) -> None:
    for n in range(3):
        close(store, Kind.DAY, START + n * DAY, Average("pm25", 5.0 + n, 1.0, 9.0))

    found = shown(store, "day", 365 * DAY)

    assert found.at == [to_ms(START + n * DAY) for n in range(3)]


def test_wide_buckets_begin_with_the_stations_day(store: Store) -> None:
    hours(store, [1.0] * 96)

    found = shown(store, "hour", 600 * DAY)

    assert found.width_ms == 86_400_000
    assert found.at == [to_ms(START + n * DAY) for n in range(4)]


def test_a_gap_stays_a_gap(store: Store) -> None:
    hours(store, [1.0, 2.0])
    close(store, Kind.HOUR, START + 5 * HOUR, Average("pm25", 6.0, 6.0, 6.0))

    found = shown(store, "hour", DAY)

    assert found.mean == [1, 2, None, 6]
    assert found.at == [to_ms(START + n * HOUR) for n in (0, 1, 2, 5)]


def test_a_gap_among_readings_is_told_by_their_usual_distance(store: Store) -> None:
    times = [0, 10, 20, 30, 90, 100, 115]
    read(store, *[(START + n * SECOND, 1.0, Mark.N) for n in times])

    found = shown(store, "readings", HOUR)

    assert [value is None for value in found.mean] == [False] * 4 + [True] + [False] * 3
    assert found.at[4] == to_ms(START) + 40_000


def test_a_period_without_a_value_is_nothing_and_says_why(store: Store) -> None:
    hours(store, [1.0])
    close(store, Kind.HOUR, START + HOUR, Average("pm25", None, mark=Mark.B))

    found = shown(store, "hour", DAY)

    assert (found.mean, found.marks, found.valid, found.flags) == ([1, None], ["", "B"], [1, 0], [0, 1])


def test_marked_values_stand_apart(store: Store) -> None:
    read(store, *[(START + n * SECOND, 10.0 * n, Mark.T if n > 7 else Mark.N) for n in range(10)])

    found = line(store, "readings", "air", "pm25", START, START + DAY, ZONE)

    assert found.width_ms == 120_000
    assert (found.mean, found.low, found.high) == ([35.0], [0.0], [70.0])
    assert (found.flagged, found.valid, found.flags, found.marks) == ([85.0], [8], [2], ["T"])


def test_the_worst_mark_of_a_bucket_is_told(store: Store) -> None:
    read(store, (START, 1.0, Mark.T), (START + SECOND, 2.0, Mark.M), (START + 2 * SECOND, None, Mark.D))

    found = shown(store, "readings", 3 * DAY)

    assert (found.mean, found.flagged, found.flags, found.marks) == ([None], [1.5], [3], ["M"])


def test_a_mark_by_hand_takes_readings_out_of_the_normal_ones(store: Store) -> None:
    read(store, *[(START + n * MINUTE, 10.0, Mark.N) for n in range(4)])
    body = {"do": "mark", "name": "M1", "parameter": "", "last": (START + 2 * MINUTE).isoformat(), "mark": "M",
            "user": "Li", "reason": "filter changed"}  # fmt: skip
    with store.transaction():
        store.add_records([Record("mark", START + MINUTE, body, "air")])

    assert shown(store, "readings", HOUR).marks == ["", "M", "", ""]

    with store.transaction():
        store.add_records([Record("mark", START, {"do": "withdraw", "name": "M1", "user": "Li", "reason": "x"}, "air")])

    assert set(shown(store, "readings", HOUR).marks) == {""}


def test_a_mark_by_hand_that_is_still_on_reaches_to_the_end(store: Store) -> None:
    read(store, *[(START + n * MINUTE, 10.0, Mark.N) for n in range(3)])
    body = {"do": "mark", "name": "M1", "parameter": "pm25", "last": None, "mark": "C", "user": "Li", "reason": "x"}
    with store.transaction():
        store.add_records([Record("mark", START + MINUTE, body, "air")])

    assert shown(store, "readings", HOUR).marks == ["", "C", "C"]


def test_the_newest_version_of_a_period_counts(store: Store) -> None:
    close(store, Kind.HOUR, START, Average("pm25", 1.0, 1.0, 1.0))
    close(store, Kind.HOUR, START, Average("pm25", 2.0, 2.0, 2.0, Mark.M), version=2)

    found = shown(store, "hour", DAY)

    assert (found.count, found.mean, found.flagged) == (1, [None], [2.0])


def test_a_reading_that_was_stored_late_is_found(store: Store) -> None:
    read(store, (START, 1.0, Mark.N))
    for hour in range(6):
        with store.transaction():
            store.tick(to_ms(START + hour * HOUR) // 3_600_000)
        read(store, (START + hour * HOUR + MINUTE, float(hour), Mark.N))
    read(store, (START + 10 * MINUTE, 77.0, Mark.N))

    assert 77.0 in shown(store, "readings", HOUR).mean


def test_directions_are_averaged_as_vectors_and_have_no_extremes(store: Store) -> None:
    hours(store, [350.0, 30.0], "wind_direction")

    found = line(store, "hour", "air", "wind_direction", START, START + 800 * DAY, ZONE)

    assert (found.mean, found.low, found.high) == ([pytest.approx(10.0)], [None], [None])


def test_winds_that_cancel_have_no_direction(store: Store) -> None:
    hours(store, [90.0, 270.0], "wind_direction")

    assert line(store, "hour", "air", "wind_direction", START, START + 800 * DAY, ZONE).mean == [None]


def test_sound_is_averaged_by_its_energy(store: Store) -> None:
    hours(store, [60.0, 70.0], "noise_leq")

    found = line(store, "hour", "air", "noise_leq", START, START + 800 * DAY, ZONE)

    assert found.mean == [pytest.approx(leq([60.0, 70.0]))]


def test_rain_is_summed_up_and_a_counter_stands_where_it_stands(store: Store) -> None:
    hours(store, [1.5, 0.5], "rain")
    read(store, (START, 10.0, Mark.N), (START + SECOND, 12.0, Mark.N), parameter="rain")
    read(store, (START, 100.0, Mark.N), (START + SECOND, 101.0, Mark.N), parameter="water_total")

    assert line(store, "hour", "air", "rain", START, START + 800 * DAY, ZONE).mean == [2.0]
    assert line(store, "readings", "air", "rain", START, START + DAY, ZONE).mean == [12.0]
    assert line(store, "readings", "air", "water_total", START, START + DAY, ZONE).mean == [101.0]


def test_values_that_are_no_numbers_travel_as_nothing(store: Store) -> None:
    read(store, (START, math.inf, Mark.N), (START + SECOND, 1.0, Mark.N))

    assert shown(store, "readings", MINUTE).mean == [None, 1.0]


def test_another_point_and_another_parameter_stay_out(store: Store) -> None:
    close(store, Kind.HOUR, START, Average("pm25", 1.0, 1.0, 1.0), Average("pm10", 2.0, 2.0, 2.0))
    close(store, Kind.HOUR, START, Average("pm25", 9.0, 9.0, 9.0), point="roof")

    assert shown(store, "hour", DAY).mean == [1.0]
    assert shown(store, "hour", DAY, "so2").at == []


@pytest.mark.parametrize(
    ("parameter", "kind", "span", "said"),
    [
        ("pm25'--", "hour", DAY, 'there is no parameter "pm25\'--"'),
        ("pm25", "week", DAY, '"week" is not one of readings, minute, hour, day'),
        ("pm25", "hour", -DAY, "a span ends after it has begun"),
        ("pm25", "readings", 4 * DAY, "readings are shown for 3 days at the most; choose longer averages"),
        ("pm25", "minute", LONGEST["minute"] + SECOND, "minute averages are shown for 62 days at the most"),
    ],
)
def test_what_cannot_be_shown_is_refused(parameter: str, kind: str, span: timedelta, said: str) -> None:
    with pytest.raises(WrongArgument, match=said):
        check(parameter, kind, START, START + span)


def test_what_a_span_is_shown_by_follows_its_length(store: Store) -> None:
    now = START + 400 * DAY
    hours(store, [1.0])

    spans = (HOUR, 6 * HOUR, DAY, 7 * DAY, 90 * DAY, 365 * DAY)
    assert [kind_for(store, now - span, now, now) for span in spans] == [
        "readings", "readings", "minute", "hour", "hour", "day",
    ]  # fmt: skip


def test_a_young_station_is_shown_by_what_it_has(store: Store) -> None:
    read(store, (START, 1.0, Mark.N))

    assert kind_for(store, START - 364 * DAY, START + DAY, START + HOUR) == "readings"
    assert kind_for(store, START - 364 * DAY, START + DAY, START + 20 * HOUR) == "minute"


def test_a_store_without_anything_has_an_empty_line(store: Store) -> None:
    assert kind_for(store, START, START + DAY, datetime(2026, 3, 5, tzinfo=UTC)) == "minute"
    assert shown(store, "readings", DAY).at == []
