"""Limits: the table is whole, the right row holds on its day, and a missing feed leaves open only what it decides."""

from __future__ import annotations

import math
import tomllib
from datetime import date
from pathlib import Path

import pytest

from station.limits import PERIODS, City, Verdict, find, limits
from station.model import WrongArgument
from station.parameters import catalogue

DIGEST = Path(__file__).parents[3] / "shared" / "reference" / "limits.toml"
TODAY = date(2026, 11, 25)


def test_every_row_can_be_used() -> None:
    """Known parameters, periods and words; a day on which it holds; its confidence and source said."""
    assert len(limits()) > 100
    for one in limits():
        assert one.parameter in catalogue()
        assert one.period in PERIODS
        assert one.sense in ("most", "below", "least")
        assert one.confidence in ("high", "medium", "low")
        assert one.status in ("in-force", "superseded", "target", "check")
        assert one.offset in ("", "city-aqi", "city-pm10", "county-pm10")
        assert math.isfinite(one.value)
        assert one.source
        assert one.since is None or one.until is None or one.since <= one.until


def test_no_two_rows_say_different_things_of_one_day() -> None:
    """Of one standard, class, period, condition and parameter; the Shanghai limits differ by their counts a day."""
    for day in (date(2020, 6, 1), date(2025, 6, 1), TODAY, date(2031, 1, 1)):
        keys = [
            (o.standard, o.class_, o.period, o.condition, o.parameter, o.sense, o.per_day)
            for o in limits()
            if o.holds(day)
        ]
        assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("day", "standard", "value"),
    [
        (date(2026, 2, 28), "GB 3095-2012", [75]),
        (date(2026, 3, 1), "GB 3095-2012", []),
        (date(2026, 3, 1), "GB 3095-2026", [60]),
        (date(2030, 12, 31), "GB 3095-2026", [60]),
        (date(2031, 1, 1), "GB 3095-2026", [50]),
    ],
)
def test_a_days_limit_is_that_of_its_standard_and_stage(day: date, standard: str, value: list[float]) -> None:
    """GB 3095-2026 table 1 for PM2.5 of a day, grade 2; the 2012 edition until 2026-02-28."""
    assert [one.value for one in find("pm25", day, standard, "grade-2", "24h")] == value


def test_limits_are_in_the_catalogues_unit() -> None:
    """SO2 of 150 µg/m³ is 0.15 mg/m³ here, 2.0 mg/m³ of dust are 2000 µg/m³."""
    assert find("so2", TODAY, "GB 3095-2026", "grade-2", "24h")[0].value == 0.15
    assert sorted(one.value for one in find("tsp", TODAY, "DB31/964-2016")) == [1000, 2000]


def test_the_edge_itself_complies_unless_the_rule_says_below() -> None:
    (day,) = find("pm10", TODAY, "GB 3095-2026", "grade-2", "24h")
    assert (day.verdict(day.value), day.verdict(day.value + 0.01)) == (Verdict.COMPLIES, Verdict.EXCEEDS)
    (town,) = find("dust_fall", date(2020, 6, 1), "2020 Niutang plan")
    assert (town.verdict(4.49), town.verdict(4.5)) == (Verdict.COMPLIES, Verdict.EXCEEDS)


@pytest.mark.parametrize(
    ("value", "city", "verdict"),
    [
        (600.0, None, Verdict.UNDETERMINED),
        (600.0, City(aqi=250, primary=("pm10",)), Verdict.COMPLIES),
        (600.0, City(aqi=250, primary=("o3",)), Verdict.EXCEEDS),
        (600.0, City(aqi=199, primary=("pm25",)), Verdict.EXCEEDS),
        (701.0, City(aqi=300, primary=("pm25",)), Verdict.EXCEEDS),
        (500.0, None, Verdict.COMPLIES),
    ],
)
def test_the_citys_dust_is_taken_off_where_the_rule_says_so(value: float, city: City | None, verdict: Verdict) -> None:
    """DB32/4437-2022 as recalled (medium): 200 µg/m³ off TSP while the city is at 200 to 300 by particulates."""
    (tsp,) = find("tsp", TODAY, "DB32/4437-2022")
    assert tsp.verdict(value, city) is verdict


def test_a_difference_to_the_city_needs_the_city_only_where_it_could_decide() -> None:
    (pm10,) = find("pm10", TODAY, "DB32/4437-2022")
    assert [pm10.verdict(v) for v in (80.0, 81.0, 900.0)] == [
        Verdict.COMPLIES,
        Verdict.UNDETERMINED,
        Verdict.UNDETERMINED,
    ]
    assert [pm10.verdict(v, City(pm10=60.0)) for v in (140.0, 141.0)] == [Verdict.COMPLIES, Verdict.EXCEEDS]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_verdict(value: float) -> None:
    with pytest.raises(ValueError, match="is no value"):
        limits()[0].verdict(value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tsp", TODAY, "GB 3095-2025"), 'there is no standard "GB 3095-2025"; did you mean GB 3095-2026?'),
        (("tsp", TODAY, "GB 3095-2026", "grade2"), 'GB 3095-2026 has no class "grade2"; did you mean grade-2?'),
        (("cod", TODAY, "GB 3095-2026"), 'GB 3095-2026 has no limit for "cod"'),
    ],
)
def test_an_unknown_standard_class_or_parameter_is_named(words: tuple[str, date, str], said: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        find(*words)
    assert said in str(caught.value)


@pytest.mark.skipif(not DIGEST.exists(), reason="the digest lies beside a developer's checkout only")
def test_every_figure_of_the_digest_is_there() -> None:
    """As many limits of each standard as the digest has, its classes of water and what has no code left aside."""
    elsewhere = ("surface-water", "black-odorous", "oil-gas recovery", "catering")
    rows = [r for r in tomllib.loads(DIGEST.read_text(encoding="utf-8"))["limit"] if r["medium"] not in elsewhere]
    units = {"ug/m3": "µg/m³", "mg/m3": "mg/m³"}
    for row in (r for r in rows if r["status"] != "method" and r["code"].startswith(("a", "w"))):
        parameter = next(p for p in catalogue().values() if p.code == row["code"])
        scale = {("µg/m³", "mg/m³"): 1e-3, ("mg/m³", "µg/m³"): 1e3}.get((units.get(row["unit"], ""), parameter.unit), 1)
        found = [
            one.value
            for one in limits()
            if one.standard == row["standard"].split(" (")[0]
            and one.class_ in row["class"].split(",")
            and one.parameter == parameter.key
        ]
        assert any(math.isclose(value, row["limit"] * scale) for value in found), row
