"""Indices and classes over a store: what suffices is computed, what does not says why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from station.config import load
from station.index import AirIndex, Validity, WaterIndex, air_day, air_hour, as_json, gather, short_of_days, span
from station.model import Average, Kind, Mark, Report, WrongArgument, replace
from station.store import Store
from tests.station.commands import station
from tests.station.conftest import CONFIG

BEIJING = timezone(timedelta(hours=8))
START = datetime(2026, 4, 1, tzinfo=BEIJING)
FIRST = date(2026, 4, 1)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CONFIGURED = (
    CONFIG.replace('st = "39"', 'st = "22"', 1)
    + """
[[point]]
code = "river"
name = "River"
st = "21"

[[point]]
code = "pond"
name = "Pond"
st = "21"
water = "lake"
depth_cm = 20.0

[[point]]
code = "ditch"
name = "Ditch"
st = "21"
water = "rural"

[[point]]
code = "outlet"
name = "Outlet"
st = "32"
"""
)
CLEAN = {"so2": 0.010, "no2": 0.030, "co": 0.8, "pm10": 80.0, "pm25": 40.0}  # as the catalogue has them: gases in mg/m³


class Kept:
    """A store with averages that hold, or do not."""

    def __init__(self, folder: Path) -> None:
        (folder / "station.toml").write_text(CONFIGURED, encoding="utf-8")
        (folder / "password").write_text("123456")
        self.loaded = load(folder / "station.toml", secrets=False)
        self.store = Store.open(self.loaded.database)
        self.validity = Validity(self.loaded)

    def day(self, values: Mapping[str, float | None], point: str = "site", number: int = 0, parts: int = 24) -> None:
        self._add(Kind.DAY, point, START + number * DAY, values, parts)

    def hours(self, values: Mapping[str, float | None], count: int = 24, point: str = "site", first: int = 0) -> None:
        for number in range(first, first + count):
            self._add(Kind.HOUR, point, START + number * HOUR, values, 60)

    def _add(self, kind: Kind, point: str, start: datetime, values: Mapping[str, float | None], parts: int) -> None:
        averages = tuple(Average(p, v, mark=Mark.N, valid=parts, total=parts, expected=parts, parts=parts)
                         for p, v in values.items())  # fmt: skip
        with self.store.transaction():
            self.store.add_average(Report(kind, point, start.astimezone(UTC), averages))

    def air(self, on: date = FIRST) -> AirIndex:
        return air_day(self.store, self.validity, "site", START.astimezone(UTC), on)

    def water(self, point: str, *, days: int = 30) -> WaterIndex:
        (found,) = gather(self.store, self.loaded, [point], "month", START, START + days * DAY)
        assert isinstance(found, WaterIndex)
        return found


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.store.close()


def test_the_index_of_a_day_is_made_of_day_means_and_ozones_largest_eight_hours(kept: Kept) -> None:
    """HJ 633-2026: PM2.5 40 → 60, PM10 80 → 72, O3 150 → 92; gases from mg/m³, CO stays in them."""
    kept.day(CLEAN)
    kept.hours({"o3": 0.060}, 12)
    kept.hours({"o3": 0.150}, 12, first=12)
    found = kept.air()
    assert dict(found.concentrations) == {"so2": 10.0, "no2": 30.0, "co": 0.8, "pm10": 80.0, "pm25": 40.0, "o3": 150.0}
    assert dict(found.found.indices) == {"so2": 10, "no2": 38, "co": 20, "pm10": 72, "pm25": 60, "o3": 92}
    assert (found.found.index, found.found.primary, found.found.level) == (92, ("o3",), "good")
    assert found.windows_8h == 17


def test_ozone_above_its_limit_counts_with_fewer_than_fourteen_means(kept: Kept) -> None:
    """10 of 17 windows: up to 160 µg/m³ they tell no day, above it they do (HJ 663, medium)."""
    kept.day(CLEAN)
    kept.hours({"o3": 0.160}, 15)
    kept.hours({"o3": None}, 9, first=15)
    low = kept.air()
    assert (low.windows_8h, low.concentrations["o3"], low.found.index) == (10, None, None)
    kept.store.close()
    (kept.loaded.database).unlink()
    kept.store = Store.open(kept.loaded.database)
    kept.day(CLEAN)
    kept.hours({"o3": 0.200}, 15)
    high = kept.air()
    assert (high.windows_8h, high.concentrations["o3"]) == (10, 200.0)
    assert (high.found.index, high.found.primary) == (137, ("o3",))


def test_the_edition_is_that_of_the_day(kept: Kept) -> None:
    """P4: PM2.5 75 is 114 by HJ 633-2026 and 100 by HJ 633-2012."""
    kept.day(CLEAN | {"pm25": 75.0})
    kept.hours({"o3": 0.060})
    assert [kept.air(on).found.index for on in (date(2026, 3, 1), date(2026, 2, 28))] == [114, 100]


def test_a_station_that_measures_dust_alone_has_no_index(kept: Kept) -> None:
    """Single concentrations and sub-indices, never "AQI"."""
    kept.day({"pm10": 150.0, "pm25": 75.0})
    found = kept.air()
    assert (found.found.index, dict(found.found.indices)) == (None, {"pm10": 112, "pm25": 114})
    assert found.found.why == "not measured here: so2, no2, co, o3"


def test_a_day_of_too_few_hours_has_no_value_and_blocks_an_index_up_to_100(kept: Kept) -> None:
    """20 of 24 hours by GB 3095-2026 table 4; above 100 the rest suffices (5.3)."""
    kept.day(CLEAN, parts=20)
    kept.hours({"o3": 0.060}, 24)
    assert kept.air().found.index == 72
    short = replace(kept.store.average(Kind.DAY, "site", START.astimezone(UTC)), version=2)  # type: ignore[type-var]
    averages = tuple(replace(a, parts=19) if a.parameter == "so2" else a for a in short.averages)
    with kept.store.transaction():
        kept.store.add_average(replace(short, averages=averages))
    assert (kept.air().found.index, kept.air().found.why) == (None, "no valid value of so2")
    high = tuple(replace(a, mean=200.0) if a.parameter == "pm10" else a for a in averages)
    with kept.store.transaction():
        kept.store.add_average(replace(short, averages=high, version=3))
    assert kept.air().found.index == 131


def test_ozone_needs_fourteen_means_over_eight_hours(kept: Kept) -> None:
    kept.day(CLEAN)
    kept.hours({"o3": 0.060}, 18)
    assert kept.air().found.why == "no valid value of o3"


@pytest.mark.parametrize("wrong", [-0.001, float("nan"), float("inf"), None])
def test_a_mean_below_zero_or_no_number_is_missing(kept: Kept, wrong: float | None) -> None:
    kept.day(CLEAN | {"so2": wrong})
    kept.hours({"o3": 0.060})
    assert kept.air().found.why == "no valid value of so2"


def test_an_hour_has_an_index_of_its_own(kept: Kept) -> None:
    """SO2 of an hour ends at 200; dust by the columns of the day."""
    kept.hours(CLEAN | {"o3": 0.060, "so2": 0.9}, 1)
    found = air_hour(kept.store, kept.validity, "site", START.astimezone(UTC), START.date())
    assert (found.found.index, found.found.primary) == (200, ("so2",))


def test_a_class_is_that_of_the_worst_monthly_mean(kept: Kept) -> None:
    """GB 3838-2002: means over valid days; a day of few hours does not count."""
    for number, phosphorus in enumerate((0.10, 0.14, 0.90)):
        values = {"dissolved_oxygen": 6.5, "ammonia_nitrogen": 0.4, "total_phosphorus": phosphorus}
        kept.day(values, "river", number, parts=24 if phosphorus < 0.5 else 17)
    found = kept.water("river")
    assert (found.found.grade, found.found.deciding) == ("III", ("total_phosphorus",))
    assert found.means["total_phosphorus"] == pytest.approx(0.12)
    assert found.days["total_phosphorus"] == 2


def test_a_month_is_official_by_the_means_that_hold_alone(kept: Kept) -> None:
    """75 % of 30 days are 23 (HJ 356-2019 as digested, medium); what has fewer is not judged, and said."""
    for number in range(23):
        kept.day({"ammonia_nitrogen": 0.4} | ({"total_phosphorus": 0.9} if number < 22 else {}), "river", number)
    found = kept.water("river")
    assert (found.found.grade, found.official, found.needed_days) == ("II", True, 23)
    assert short_of_days(found) == {"total_phosphorus": 22}
    said = {lang: station("index", "river", "--month", "2026-04", "--config", kept.loaded.path, "--lang", lang).out
            for lang in ("en", "zh")}  # fmt: skip
    assert "class II (GB 3838-2002)" in said["en"]
    assert "not judged, fewer than the 23 valid days of a monthly mean: Total phosphorus 22" in said["en"]
    assert "不参评,不足月均值所需的 23 个有效日:总磷 22" in said["zh"]


def test_a_month_of_which_no_mean_holds_is_an_indication(kept: Kept) -> None:
    kept.day({"ammonia_nitrogen": 0.4, "ph": 7.0}, "river")
    found = kept.water("river")
    assert (found.found.grade, found.official) == ("II", False)
    config = kept.loaded.path
    said = station("index", "river", "--month", "2026-04", "--config", config, "--lang", "en").out
    assert "an indication: no monthly mean that tells a class has its 23 valid days: Ammonia nitrogen 1, pH 1" in said
    assert "能判定类别的月均值均不足 23 个有效日" in station(
        "index", "river", "--month", "2026-04", "--config", config, "--lang", "zh"
    ).out  # fmt: skip


def test_a_month_of_ph_alone_has_no_class(kept: Kept) -> None:
    """However many days it has: all classes want the same of it."""
    for number in range(30):
        kept.day({"ph": 7.6}, "river", number)
    row = as_json(kept.water("river"), BEIJING)
    assert (row["class"], row["official"], row["because"]) == (None, False, "ph_alone")
    said = station("index", "river", "--month", "2026-04", "--config", kept.loaded.path, "--lang", "zh").out
    assert "水质类别无法判定:仅 pH 有有效值,而表 1 各类别对 pH 的要求都是 6 至 9" in said


def test_a_lake_is_held_against_the_lakes_columns(kept: Kept) -> None:
    kept.day({"total_phosphorus": 0.12, "total_nitrogen": 0.8}, "pond")
    kept.day({"total_phosphorus": 0.12, "total_nitrogen": 0.8}, "river")
    assert [kept.water(one).found.grade for one in ("pond", "river")] == ["V", "III"]


def test_black_and_odorous_water_is_judged_by_its_hours(kept: Kept) -> None:
    """Severe: one parameter in more than 60 % of the data (medium); shallow water by 40 % of its depth."""
    kept.hours({"dissolved_oxygen": 0.1}, 7, "river")
    kept.hours({"dissolved_oxygen": 3.0}, 3, "river", first=7)
    kept.hours({"transparency": 9.0, "orp": 120.0}, 10, "pond")
    kept.day({"dissolved_oxygen": 1.5, "ammonia_nitrogen": -0.2}, "ditch")
    odour = kept.water("river").odour
    assert odour is not None
    assert (odour.grade, odour.severe["dissolved_oxygen"]) == ("severe", 0.7)
    shallow = kept.water("pond").odour
    assert shallow is not None
    assert shallow.grade == "none"
    ditch = kept.water("ditch")
    assert (ditch.rural, ditch.missing) == (("dissolved_oxygen",), ("ammonia_nitrogen",))


def test_what_was_not_measured_is_said(kept: Kept) -> None:
    found = as_json(kept.water("river"), BEIJING)
    assert (found["class"], found["why"]) == (None, "no parameter of GB 3838 table 1 was measured")
    assert as_json(kept.air(), BEIJING)["why"].startswith("not measured here: so2, no2, co")


def test_an_outlet_has_no_class_and_a_month_no_index_of_air(kept: Kept) -> None:
    kept.day(CLEAN)
    assert gather(kept.store, kept.loaded, ["outlet"], "month", START, START + DAY) == []
    assert gather(kept.store, kept.loaded, ["site"], "month", START, START + DAY) == []


def test_spans_are_of_the_stations_time() -> None:
    now = datetime(2026, 4, 1, 1, 30, tzinfo=BEIJING)
    assert span("day", None, now, BEIJING) == (START - DAY, START)
    assert span("hour", None, now, BEIJING) == (START, START + HOUR)
    assert span("month", None, now, BEIJING) == (START.replace(month=3), START)
    assert span("month", "2026-12", now, BEIJING)[1] == datetime(2027, 1, 1, tzinfo=BEIJING)
    for kind, text in (("month", "2026-13"), ("day", "yesterday")):
        with pytest.raises(WrongArgument):
            span(kind, text, now, BEIJING)


def test_the_command_says_it_in_both_languages(kept: Kept) -> None:
    kept.day(CLEAN)
    kept.hours({"o3": 0.060})
    kept.day({"dissolved_oxygen": 1.0, "ammonia_nitrogen": 3.0}, "river")
    config = kept.loaded.path

    def said(*words: str, lang: str = "en") -> str:
        done = station("index", *words, "--config", config, "--lang", lang)
        assert (done.code, done.err) == (0, "")
        return done.out

    day = said("--day", "2026-04-01")
    assert "Site (site), 2026-04-01: AQI 72, good; primary: PM10" in day
    assert "River (river), 2026-04-01: class worse than V (GB 3838-2002)" in day
    assert "one day is an indication; the class is one of monthly means" in day
    assert "空气质量指数 72,良;首要污染物:PM10" in said("site", "--day", "2026-04-01", lang="zh")
    assert "劣 V 类" in said("river", "--month", "2026-04", lang="zh")
    assert "AQI not computable, because no valid value: " not in day
    assert "AQI not computable, because" in said("site", "--day", "2026-04-02")
    rows = json.loads(said("--day", "2026-04-01", "--json"))["indices"]
    assert [(row["point"], row.get("aqi"), row.get("class")) for row in rows][:2] == [
        ("site", 72, None), ("river", None, "worse than V"),
    ]  # fmt: skip
    wrong = station("index", "outlet", "--config", config)
    assert (wrong.code, wrong.err) == (
        2,
        '"outlet" has neither an index of air (st 22, 39) nor a class of water (st 21)\n',
    )
    both = station("index", "--day", "2026-04-01", "--month", "2026-04", "--config", config)
    assert (both.code, both.err) == (2, "one of --day, --month, not several\n")
