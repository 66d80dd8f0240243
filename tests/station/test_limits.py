"""Limits: the table is whole, the right row holds on its day, and a missing feed leaves open only what it decides."""

from __future__ import annotations

import math
import tomllib
from datetime import date
from pathlib import Path

import pytest

from station.limits import PERIODS, City, Verdict, find, limits, of_station, read_own
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


# -- limits of a station's own

PERMIT = """
[[limit]]
standard = "permit 320400-12"
class = "boiler"
period = "1h"
unit = "mg/m³"
most = { nox = 50, so2 = 35 }
confidence = "high"
source = "the permit, page 7"

[[limit]]
standard = "DB32/4437-2022"
class = "site boundary"
period = "15min"
from = 2026-01-01
unit = "mg/m³"
most = { tsp = 0.45 }
source = "the text itself, table 1"
"""


def test_a_stations_own_file_adds_limits_and_stands_in_the_place_of_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text(PERMIT, encoding="utf-8")
    rows, wrong = of_station(tmp_path)
    assert wrong == []
    (nox,) = find("nox", TODAY, "permit 320400-12", rows=rows)
    assert (nox.value, nox.class_, nox.confidence, nox.medium) == (50, "boiler", "high", "own")
    (tsp,) = find("tsp", TODAY, "DB32/4437-2022", rows=rows)
    assert (tsp.value, tsp.offset, tsp.source) == (450.0, "", "the text itself, table 1")
    assert find("tsp", date(2025, 12, 31), "DB32/4437-2022", rows=rows) == []
    assert [one.value for one in find("pm10", TODAY, "DB32/4437-2022", rows=rows)] == [80]
    assert find("tsp", TODAY, "DB32/4437-2022")[0].value == 500


def test_a_station_without_a_file_has_the_shipped_limits(tmp_path: Path) -> None:
    assert of_station(tmp_path) == (limits(), [])
    (tmp_path / "limits.toml").write_bytes(b"\xff")
    assert of_station(tmp_path)[1] == [f"{tmp_path / 'limits.toml'}: cannot be read (it is not UTF-8 text)"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nox = 50", "a21002 = 50", "limit[0].most.a21002: is not in the catalogue"),
        ("nox = 50", "no_x = 50", "limit[0].most.no_x: is not in the catalogue; did you mean nox?"),
        ("nox = 50", "nox = nan", "limit[0].most.nox: nan is no number"),
        ("nox = 50", 'nox = "50"', "limit[0].most.nox: 50 is no number"),
        ("nox = 50", "ph = 9", 'limit[0].most.ph: comes in "mg/m³", the catalogue has ""'),
        ('period = "1h"', 'period = "2h"', "limit[0].period: '2h' is not one of"),
        ('period = "1h"\n', "", "limit[0].period: is missing"),
        ('source = "the permit, page 7"', "", "limit[0].source: is missing"),
        ('confidence = "high"', 'confidence = "sure"', "limit[0].confidence: 'sure' is not one of high, medium, low"),
        ('confidence = "high"', 'offset = "moon"', "limit[0].offset: 'moon' is not one of"),
        ('confidence = "high"', "per_day = -1", "limit[0].per_day: is no whole number from 0 on"),
        ('confidence = "high"', 'from = "2026"', "limit[0].from: is no day such as 2026-03-01"),
        ('confidence = "high"', "from = 2026-03-01\nuntil = 2026-02-01", "limit[0].until: is before from"),
        ('confidence = "high"', "unitt = 5", "limit[0].unitt: unknown key; did you mean unit?"),
        ("most = { nox = 50, so2 = 35 }", "", "limit[0]: needs one of most, below, least"),
        ("most = { nox = 50, so2 = 35 }", "most = 5", "limit[0].most: is no table such as { pm10 = 80 }"),
        ('unit = "mg/m³"', "unit = [5]", "limit[0].unit: is no text"),
    ],
)
def test_each_fault_of_an_own_file_is_named_and_its_row_left_out(old: str, new: str, said: str) -> None:
    assert old in PERMIT
    found, wrong = read_own(PERMIT.replace(old, new, 1))
    assert [one for one in wrong if one.startswith(said)], wrong
    assert [one.standard for one in found] == ["DB32/4437-2022"]


@pytest.mark.parametrize("text", ["limit = 5", "limit = [1]", "[limit]\nvalue = 5", "[[limit"])
def test_what_is_no_list_of_limits_is_one_fault(text: str) -> None:
    found, wrong = read_own(text)
    assert (found, len(wrong)) == ([], 1)
