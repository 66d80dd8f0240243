"""What the views show of a station that runs."""

from __future__ import annotations

from tests.page.house import House, Visitor
from tests.station.commands import until


def test_nobody_sees_anything_before_signing_in(house: House) -> None:
    answer = Visitor(house.client()).get("/overview")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/sign-in?next=/overview")


def test_the_overview_has_each_value_with_unit_mark_age_and_limit(house: House) -> None:
    visitor = house.signed_in()
    until(lambda: "≤ 100 (1min)" in visitor.get("/overview").text, 20, lambda: "no minute was closed")
    page = visitor.get("/overview").text
    assert "1# 锅炉烟囱" in page
    assert "120" in page
    assert "mg/m³" in page
    assert "N normal" in page


def test_every_view_speaks_the_language_that_was_chosen(house: House) -> None:
    visitor = house.signed_in()
    visitor.get("/overview")
    done = visitor.post("/preferences", language="zh", next="/overview")
    assert (done.status_code, done.headers["Location"]) == (302, "/overview")
    page = visitor.get("/overview").text
    assert '<html lang="zh-CN"' in page
    assert "总览" in page
    assert "N 正常" in page


def test_each_view_can_be_opened_in_both_languages(house: House) -> None:
    visitor = house.signed_in()
    for language in ("en", "zh"):
        visitor.get("/overview")
        visitor.post("/preferences", language=language)
        for path in ("overview", "alarms", "uplinks", "instruments", "calibrations", "checks", "field", "events"):
            answer = visitor.get(f"/{path}")
            assert answer.status_code == 200, (path, answer.text)
