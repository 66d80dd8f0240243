"""Long values and long names in a real browser: a unit stays with its number, and a name does not fall apart."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.page.house import House, served
from tests.page.test_browser import DESK, PHONE, browser, enrol, go, opened, picture

__all__ = ["browser"]  # a fixture

VALUES = [
    ("cod", 1234.5, "mg/L"), ("pressure", 101325.0, "Pa"), ("so2", 1234.5678, "mg/m³"), ("co", 12345.678, "mg/m³"),
    ("turbidity", -12345.67, "NTU"), ("conductivity", 43750.5, "µS/cm"), ("blue_green_algae", 1250000.0, "cells/mL"),
    ("noise_leq", 102.4, "dB"),
]  # fmt: skip


@pytest.fixture
def address(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    look = house.source._look

    def more() -> dict[str, Any]:
        found = copy.deepcopy(look())
        values = found["devices"][0]["values"]
        for parameter, value, unit in VALUES:
            values.append({**values[0], "point": "long", "parameter": parameter, "value": value, "unit": unit})
        return found

    monkeypatch.setattr(house.source, "_look", more)
    house.source.forget_status()
    with served(house) as (_, url):
        yield url


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_a_unit_stands_beside_its_number(
    browser: Browser, house: House, address: str, size: tuple[int, int], language: str
) -> None:
    with opened(browser, address, size, language) as watched:
        page = watched.page
        enrol(watched, house, address, f"With a name as long as it may be {language} {size[0]}")
        rows = page.eval_on_selector_all(
            ".tile .value:has(small)",
            """all => all.map(one => [one.textContent, one.getBoundingClientRect().height,
                                       one.scrollWidth - one.clientWidth])""",
        )
        assert len(rows) >= len(VALUES)
        assert [row for row in rows if row[1] > 40 or row[2] > 0] == []  # one line has 28 px
        watched.fits()
        picture(page, f"long-{size[0]}-{language}")


def test_a_long_name_has_a_line_of_its_own(browser: Browser, house: House, address: str) -> None:
    with opened(browser, address, DESK) as watched:
        page = watched.page
        enrol(watched, house, address, "Wang Fang of the second shift, district")
        go(page, DESK, "en", "alarms")
        assert page.locator("nav.side .who p").bounding_box()["height"] < 70  # type: ignore[index]
