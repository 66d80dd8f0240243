"""Classes of water and black, odorous water: the tables' own edges."""

from __future__ import annotations

import math

import pytest

from station.water import WORSE, black_odour, odour, rural_black_odour, water_class


@pytest.mark.parametrize(
    ("values", "grade", "deciding"),
    [
        ({"cod": 15.0}, "I", ()),
        ({"cod": 15.1}, "III", ("cod",)),
        ({"cod": 40.1}, WORSE, ("cod",)),
        ({"dissolved_oxygen": 7.5}, "I", ()),
        ({"dissolved_oxygen": 7.4}, "II", ("dissolved_oxygen",)),
        ({"dissolved_oxygen": 7.4, "oxygen_saturation": 90.0}, "I", ()),
        ({"dissolved_oxygen": 1.9}, WORSE, ("dissolved_oxygen",)),
        ({"ammonia_nitrogen": 0.15, "total_phosphorus": 0.1}, "II", ("total_phosphorus",)),
        ({"permanganate_index": 6.0, "bod5": 4.0, "ammonia_nitrogen": 0.9}, "III",
         ("permanganate_index", "bod5", "ammonia_nitrogen")),
        ({"ph": 9.1, "cod": 10.0}, WORSE, ("ph",)),
    ],
)  # fmt: skip
def test_the_worst_parameter_decides(values: dict[str, float], grade: str, deciding: tuple[str, ...]) -> None:
    """GB 3838-2002 table 1."""
    found = water_class(values)
    assert (found.grade, found.deciding) == (grade, deciding)


def test_a_lake_has_its_own_phosphorus_column_and_nitrogen_counts_there_only() -> None:
    values = {"total_phosphorus": 0.04, "total_nitrogen": 1.6}
    assert water_class(values).grade == "II"
    assert (water_class(values, lake=True).grade, water_class(values, lake=True).deciding) == ("V", ("total_nitrogen",))


def test_without_a_parameter_of_the_table_there_is_no_class_and_a_reason() -> None:
    found = water_class({"turbidity": 12.0, "cod": None, "ph": math.nan})
    assert (found.grade, found.why) == (None, "no parameter of GB 3838 table 1 was measured")


def test_ph_alone_tells_no_class_within_its_range_and_the_worst_one_outside() -> None:
    """GB 3838-2002 table 1 asks for 6 to 9 in all classes."""
    for value in (6.0, 7.4, 9.0):
        found = water_class({"ph": value, "oxygen_saturation": 95.0})
        assert (found.grade, found.because, found.each) == (None, "ph_alone", None)
        assert found.why == "pH alone tells no class: table 1 asks for 6 to 9 in each of them"
    assert (water_class({"ph": 9.1}).grade, water_class({"ph": 7.0, "cod": 14.0}).grade) == (WORSE, "I")


@pytest.mark.parametrize(
    ("parameter", "value", "grade"),
    [
        ("transparency", 25.1, "none"), ("transparency", 25.0, "light"), ("transparency", 10.0, "light"),
        ("transparency", 9.9, "severe"), ("dissolved_oxygen", 2.0, "light"), ("dissolved_oxygen", 0.19, "severe"),
        ("orp", 50.0, "light"), ("orp", -200.0, "light"), ("orp", -200.1, "severe"), ("orp", 51.0, "none"),
        ("ammonia_nitrogen", 7.9, "none"), ("ammonia_nitrogen", 15.0, "light"), ("ammonia_nitrogen", 15.1, "severe"),
    ],
)  # fmt: skip
def test_the_bands_of_the_urban_guide_have_these_edges(parameter: str, value: float, grade: str) -> None:
    assert odour(parameter, value) == grade


def test_shallow_water_is_held_against_a_share_of_its_depth() -> None:
    """40 % of 20 cm is 8 cm."""
    assert [odour("transparency", cm, depth_cm=20.0) for cm in (7.9, 8.0)] == ["light", "none"]


def test_a_place_is_severe_by_one_parameter_often_or_two_rather_often() -> None:
    """More than 60 % of one, or more than 30 % of each of two."""
    bad, well = {"dissolved_oxygen": 0.1, "ammonia_nitrogen": 20.0}, {"dissolved_oxygen": 5.0, "ammonia_nitrogen": 1.0}
    assert black_odour([bad] * 4 + [well] * 6).grade == "severe"
    one = [{"dissolved_oxygen": 0.1}] * 6 + [{"dissolved_oxygen": 5.0}] * 4
    assert black_odour(one).grade == "light"
    assert black_odour([*one, {"dissolved_oxygen": 0.1}]).grade == "severe"
    assert black_odour([well] * 10).grade == "none"
    assert black_odour([{"cod": 300.0}]).grade is None


def test_in_the_country_any_one_is_enough() -> None:
    assert rural_black_odour({"transparency": 24.0, "dissolved_oxygen": 1.0, "ammonia_nitrogen": 16.0}) == (
        "transparency",
        "dissolved_oxygen",
        "ammonia_nitrogen",
    )
    assert rural_black_odour({"transparency": 25.0, "dissolved_oxygen": None}) == ()
