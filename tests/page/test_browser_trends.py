"""Trends and downloads in a real Chromium: drawn, zoomed, compared, read by keyboard and as tables, and taken away."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from station.page.accounts import Accounts
from station.page.guard import SESSION
from station.page.trends import SPANS
from tests.page.filled import NOW, FixedSource, served, station
from tests.page.house import PASSWORD
from tests.programs import program

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
HEAVIEST = 60_000
"""Bytes over the air of one view, everything in it counted (issue 8)."""


class Look:
    """A page in a browser, and everything it asked for or complained of."""

    def __init__(self, context: BrowserContext, url: str, source: FixedSource) -> None:
        self.context, self.url, self.source = context, url, source
        self.page: Page = context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda one: self.asked.append(one.url))
        self.page.on("console", lambda one: self.complaints.append(one.text))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))

    def open(self, path: str, *, language: str = "en", size: dict[str, int] = DESK, theme: str = "light") -> Page:
        """The view at *path*; charts are drawn."""
        self.context.add_cookies(
            [{"name": "station_language", "value": language, "url": self.url},
             {"name": "station_theme", "value": theme, "url": self.url}]
        )  # fmt: skip
        self.page.set_viewport_size(size)  # type: ignore[arg-type]
        self.page.goto(self.url + path)
        if path.startswith("/trends"):
            self.drawn()
        return self.page

    def drawn(self, count: int = 1) -> None:
        """Wait until *count* charts or more are drawn."""
        self.page.wait_for_function(
            "n => !document.querySelector('#trends-charts[aria-busy]')"
            " && document.querySelectorAll('#trends-charts canvas').length >= n",
            arg=count,
        )

    def after(self, act: Any) -> dict[str, Any]:
        """What the data said that came of *act*."""
        with self.page.expect_response(lambda one: "/trends/data" in one.url) as coming:
            act()
        found: dict[str, Any] = coming.value.json()
        self.drawn()
        return found

    def close(self) -> None:
        """Nothing went elsewhere, and nothing was complained of."""
        assert self.complaints == []
        assert {one for one in self.asked if not one.startswith((self.url, "blob:", "data:"))} == set()
        self.page.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FixedSource:
    return FixedSource(station(tmp_path_factory.mktemp("station")))


@pytest.fixture(scope="module")
def context(source: FixedSource, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrowserContext, str]]:
    """A browser far from the station: its own zone is New York's."""
    with served(source) as url, sync_playwright() as playwright:
        made = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("browser"), executable_path=program("chromium"), headless=True, args=FLAGS,
            timezone_id="America/New_York", has_touch=True, accept_downloads=True, reduced_motion="reduce",
        )  # fmt: skip
        made.set_default_timeout(15_000)
        yield made, url
        made.close()


@pytest.fixture
def look(context: tuple[BrowserContext, str], source: FixedSource) -> Iterator[Look]:
    made = Look(*context, source)
    yield made
    made.close()


def readout(page: Page) -> str:
    return page.locator(".trends-now").first.inner_text()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_span_is_drawn(look: Look, language: str) -> None:
    page = look.open("/trends?s=gate:pm25&span=1y", language=language, size=PHONE)

    for word in SPANS:
        button = page.locator(f"button[name=span][value='{word}']")
        found = look.after(button.click)
        assert (found["span"], len(found["series"][0]["at"]) > 40) == (word, True)
        expect(button).to_have_attribute("aria-pressed", "true")
        assert inked(page) > 300
    assert page.locator("h1").inner_text() == {"en": "Trends", "zh": "趋势"}[language]


def inked(page: Page) -> int:
    """How many pixels of the first chart have the colour of its line."""
    return int(
        page.evaluate(
            """() => {
              const canvas = document.querySelector('#trends-charts canvas'), ctx = canvas.getContext('2d');
              const hex = getComputedStyle(document.documentElement).getPropertyValue('--accent').trim();
              const want = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
              const { data } = ctx.getImageData(0, 0, canvas.width, canvas.height);
              let count = 0;
              for (let i = 0; i < data.length; i += 4)
                if (data[i + 3] > 200 && want.every((one, at) => Math.abs(data[i + at] - one) < 12)) count++;
              return count;
            }"""
        )
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_it_fits_and_has_the_colours_of_its_theme(look: Look, theme: str, size: dict[str, int]) -> None:
    four = "s=gate:pm25&s=gate:rain&s=gate:wind_direction&s=roof:pm10"
    page = look.open(f"/trends?{four}&span=7d", theme=theme, size=size)

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert inked(page) > 300
    assert page.locator("#trends-charts canvas").count() == 4
    assert page.locator("#trends-add").is_disabled()
    small = page.evaluate(
        """[...document.querySelectorAll('main button, main select, main summary')].filter((one) => one.offsetParent)
           .map((one) => [one.id || one.textContent, one.getBoundingClientRect().height])
           .filter(([, tall]) => tall < 43.5)"""
    )
    assert small == []


def test_a_drag_looks_closer_and_there_is_a_way_back(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25&s=gate:pm10&span=30d")
    box = page.locator(".u-over").first.bounding_box()
    assert box is not None

    def drag() -> None:
        page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + 60, steps=4)
        page.mouse.up()

    asked = sum("/trends/data" in one for one in look.asked)
    found = look.after(drag)
    assert (found["to"] - found["from"]) / 86_400_000 == pytest.approx(1.2, abs=0.2)
    assert found["kind"] == "minute"
    assert sum("/trends/data" in one for one in look.asked) == asked + 1
    assert "from=" in page.url
    assert look.after(page.go_back)["kind"] == "hour"
    assert look.after(page.go_forward)["kind"] == "minute"
    assert look.after(page.locator("#trends-out").click)["span"] == "24h"
    assert page.locator("#trends-out").is_disabled()


def test_two_fingers_look_closer(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25&span=30d", size=PHONE)
    box = page.locator(".u-over").first.bounding_box()
    assert box is not None
    touch = look.context.new_cdp_session(page)
    middle, height = box["x"] + box["width"] / 2, box["y"] + 50

    def at(apart: float) -> dict[str, Any]:
        places = enumerate((middle - apart, middle + apart))
        return {"touchPoints": [{"x": x, "y": height, "id": n} for n, x in places]}

    def spread() -> None:
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", **at(20)})
        for apart in (40, 60, 80):
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", **at(apart)})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    found = look.after(spread)

    assert (found["to"] - found["from"]) / 86_400_000 == pytest.approx(7.5, rel=0.1)
    assert abs((found["to"] + found["from"]) / 2 - (NOW.timestamp() * 1000 - 15 * 86_400_000)) < 86_400_000


def test_the_keyboard_reads_every_value_in_the_stations_time(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25&span=1h")
    chart = page.locator("[role=slider]")
    chart.focus()

    page.keyboard.press("End")
    last = chart.get_attribute("aria-valuetext") or ""
    assert re.match(r"2026-03-01 (09:59|10:00):\d\d  \d+", last), last
    assert readout(page) == " ".join(last.split())
    page.keyboard.press("ArrowLeft")
    assert (chart.get_attribute("aria-valuetext") or "") < last
    page.keyboard.press("Home")
    assert (chart.get_attribute("aria-valuetext") or "").startswith("2026-03-01 09:0")
    assert chart.get_attribute("aria-valuenow") == "0"
    near = look.after(lambda: page.keyboard.press("+"))
    assert near["to"] - near["from"] == 30 * 60_000
    assert page.evaluate("document.activeElement.getAttribute('role')") == "slider"
    far = look.after(lambda: page.keyboard.press("-"))
    assert far["to"] - far["from"] == 60 * 60_000
    assert look.after(lambda: page.keyboard.press("Escape"))["span"] == "24h"


def test_parameters_are_added_and_taken_away(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25")
    remove = page.locator(".trends-remove")
    assert remove.is_disabled()

    found = look.after(lambda: page.select_option("#trends-add", "roof:pm10"))
    assert [one["parameter"] for one in found["series"]] == ["pm25", "pm10"]
    look.drawn(2)
    assert page.locator("#trends-chosen li").all_inner_texts() == [
        "PM2.5 · West gate\n×", "PM10 · <img src=x onerror=alert(1)>\n×",
    ]  # fmt: skip
    found = look.after(remove.first.click)
    assert [one["parameter"] for one in found["series"]] == ["pm10"]
    assert page.evaluate("document.activeElement.id") == "trends-add"


def test_the_kind_can_be_chosen_where_it_is_not_too_long(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25&span=24h")

    assert look.after(lambda: page.select_option("#trends-kind", "readings"))["kind"] == "readings"
    assert look.after(page.locator("button[value='7d']").click)["kind"] == "hour"
    assert page.locator("#trends-kind option[value=readings]").is_disabled()


def test_a_free_span_is_typed_in_the_stations_time(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25&span=24h")
    page.locator("#trends-free summary").click()
    page.fill("#trends-from", "2026-02-28 08:00")
    page.fill("#trends-to", "2026-02-28 10:30")

    found = look.after(page.locator("#trends-show").click)

    assert found["from"] == NOW.replace(month=2, day=28, hour=8, minute=0, second=0).timestamp() * 1000
    assert found["to"] - found["from"] == 150 * 60_000


def test_the_same_is_there_as_a_table(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25&span=24h", language="zh")
    page.locator(".trends-table summary").click()
    table = page.locator(".trends-table table")

    assert table.locator("caption").inner_text() == "PM2.5, µg/m³"
    assert table.locator("thead th").all_inner_texts()[:4] == ["时间", "均值", "最小值", "最大值"]
    rows = table.locator("tbody tr")
    assert rows.count() > 500
    assert re.match(r"2026-02-28 \d\d:\d\d", rows.first.locator("th").inner_text())
    assert "维护" in " ".join(table.locator("tbody td:last-child").all_inner_texts())


def test_what_cannot_be_had_is_said(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25")
    page.route("**/trends/data*", lambda route: route.abort())

    page.locator("button[value='7d']").click()

    expect(page.locator("#trends-said")).to_contain_text("The data could not be had:")
    page.unroute("**/trends/data*")
    look.after(page.locator("button[value='6h']").click)
    expect(page.locator("#trends-said")).to_be_hidden()
    look.complaints = [one for one in look.complaints if "ERR_FAILED" not in one]


def test_a_view_weighs_little(look: Look) -> None:
    page = look.open("/trends?s=gate:pm25&span=24h")

    weights = page.evaluate(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".map((one) => [new URL(one.name).pathname, one.encodedBodySize])"
    )

    assert sum(size for _, size in weights) <= HEAVIEST, weights
    assert any(name.endswith("uPlot.iife.min.js") for name, _ in weights)


# -- downloads


@pytest.mark.parametrize(("language", "button"), [("en", "CSV table"), ("zh", "CSV 表格")])
def test_a_table_is_taken_away_by_name(look: Look, language: str, button: str, tmp_path: Path) -> None:
    accounts = Accounts(look.source.loaded.data_folder / "page", look.source.settings)
    accounts.enrol(accounts.issue_code(), "Wang Fang", PASSWORD)
    token = accounts.open_session("Wang Fang", "127.0.0.1")
    look.context.add_cookies([{"name": SESSION, "value": token, "url": look.url, "sameSite": "Strict"}])
    page = look.open("/downloads", language=language, size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.fill("#d-from", "2026-02-28")
    page.fill("#d-to", "2026-02-28")
    page.select_option("#d-what", "gate:pm25")
    with page.expect_download() as coming:
        page.locator("form[action$='/table']").get_by_role("button", name=button).click()
    coming.value.save_as(tmp_path / "table.csv")

    text = (tmp_path / "table.csv").read_text(encoding="utf-8-sig")
    assert len(list(csv.reader(io.StringIO(text)))) == 25
    assert coming.value.suggested_filename == "Lakeside_park-hour-gate-pm25-20260228-0000-20260301-0000.csv"
    assert look.source.told[-1]["user"] == "Wang Fang"
    page.locator("button[name=look]").first.click()
    page.wait_for_url("**/downloads/report*")
    assert page.locator("h1").count() == 1
    look.context.clear_cookies()
