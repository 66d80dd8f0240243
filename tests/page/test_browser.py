"""The page in a real browser, as people use it: every view, both languages, phone and desk, with and without script.

With STATION_SCREENSHOTS=FOLDER each view is left there as a picture, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from station.i18n import texts
from tests.page.house import PASSWORD, House, served
from tests.programs import program

PHONE, DESK = (390, 844), (1280, 900)
VIEWS = ("overview", "alarms", "outbox", "bus", "calibrations", "checks", "field", "events", "trends", "downloads")
WARM = {"en": ("en-GB", "light"), "zh": ("zh-CN", "dark")}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    path = program("chromium")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def address(house: House) -> Iterator[str]:
    """Where the page is served."""
    with served(house) as (_, url):
        yield url


class Watched:
    """A page of a browser, and everything about it that must not be."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(10_000)
        self.wrong: list[str] = []
        host = urlsplit(address).netloc
        self.page.on("console", lambda said: self._console(said.type, said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        self.page.on(
            "request",
            lambda one: self.wrong.append(f"external: {one.url}") if urlsplit(one.url).netloc != host else None,
        )

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.wrong.append(f"{kind}: {text}")

    def fits(self) -> None:
        """Nothing stands out of the window sideways."""
        over = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{self.page.url} is {over} px too wide"


@contextmanager
def opened(
    browser: Browser, address: str, size: tuple[int, int] = PHONE, language: str = "en", *, script: bool = True
) -> Iterator[Watched]:
    """A browser of its own, at whose end nothing may have gone wrong."""
    locale, scheme = WARM[language]
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, locale=locale, timezone_id="UTC",
        color_scheme=scheme, java_script_enabled=script,  # type: ignore[arg-type]
    )  # fmt: skip
    watched = Watched(context, address)
    try:
        yield watched
        assert watched.wrong == []
    finally:
        context.close()


def enrol(watched: Watched, house: House, address: str, name: str) -> None:
    """Come in by a one-time code."""
    page = watched.page
    page.goto(f"{address}/code")
    page.fill("#code", house.accounts.issue_code())
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.click("button.main")
    page.wait_for_url("**/overview")


def go(page: Page, size: tuple[int, int], language: str, word: str) -> None:
    """Press what leads to a view: in the bar of a phone, perhaps under More, or at the side of a desk."""
    name = texts(language)[f"page_nav.{word}"]
    if size == DESK:
        page.locator("nav.side").get_by_role("link", name=name, exact=True).click()
        return
    link = page.locator("nav.bar > a", has_text=name)
    if not link.count():
        page.locator("nav.bar summary").click()
        link = page.locator("nav.bar .sheet a", has_text=name)
    link.click()


def picture(page: Page, name: str) -> None:
    """Leave a picture where somebody wants to look at them."""
    if folder := os.environ.get("STATION_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_view_is_reached_by_clicking(
    browser: Browser, house: House, address: str, size: tuple[int, int], language: str
) -> None:
    with opened(browser, address, size, language) as watched:
        page, said = watched.page, texts(language)
        enrol(watched, house, address, f"Wang {language} {size[0]}")
        for word in VIEWS:
            go(page, size, language, word)
            expect(page.locator("h1")).to_have_text(said[f"page_nav.{word}"])
            assert page.get_attribute("html", "lang") == {"en": "en", "zh": "zh-CN"}[language]
            assert page.locator("[aria-current=page]").count() >= 1
            watched.fits()
            picture(page, f"{word}-{size[0]}-{language}")
        go(page, size, language, "overview")
        page.locator("details.legend summary").click()
        expect(page.get_by_text(said["page_mark.T"])).to_be_visible()
        watched.fits()


def test_somebody_comes_in_and_goes_out_by_the_keyboard_alone(browser: Browser, house: House, address: str) -> None:
    house.signed_in("Li Wei")
    with opened(browser, address, DESK) as watched:
        page, keys = watched.page, watched.page.keyboard
        page.goto(f"{address}/alarms")
        page.wait_for_url("**/sign-in?next=/alarms")
        expect(page.locator("#name")).to_be_focused()
        keys.type("Li Wei")
        keys.press("Tab")
        keys.type("not the password")
        keys.press("Enter")
        expect(page.get_by_role("alert")).to_have_text(texts("en")["page.wrong_password"])
        expect(page.locator("#name")).to_have_value("Li Wei")
        assert ["401" in one for one in watched.wrong] == [True]  # as it must
        watched.wrong.clear()
        keys.press("Tab")
        keys.type(PASSWORD)
        keys.press("Enter")
        page.wait_for_url("**/alarms")
        keys.press("Tab")
        expect(page.locator("a.skip")).to_be_focused()
        expect(page.locator("a.skip")).to_be_in_viewport()
        keys.press("Enter")
        expect(page.locator("main")).to_be_focused()
        out = page.locator("nav.side").get_by_role("button", name="Sign out")
        for _ in range(30):
            keys.press("Shift+Tab")
            if out.evaluate("one => one === document.activeElement"):
                break
        expect(out).to_be_focused()
        assert out.evaluate("one => getComputedStyle(one).outlineWidth") == "3px"  # one sees where one is
        keys.press("Enter")
        page.wait_for_url("**/sign-in")
        page.goto(f"{address}/overview")
        page.wait_for_url("**/sign-in?next=/overview")
    house.app.extensions["guard"].passwords.forget_all()


def test_an_alarm_is_acknowledged_maintenance_begun_and_ended_and_a_check_started(
    browser: Browser, house: House, address: str
) -> None:
    with opened(browser, address) as watched:
        page = watched.page
        enrol(watched, house, address, "王芳")
        go(page, PHONE, "en", "alarms")
        expect(page.get_by_text("ALARM", exact=True)).to_be_visible(timeout=20_000)
        page.locator("#alarms summary").click()
        page.fill("#note-1", "锅炉点火")
        page.get_by_role("button", name="Acknowledge").click()
        expect(page.get_by_role("status")).to_have_text("The alarm is acknowledged, with your name.")
        expect(page.locator("#alarms")).to_contain_text("Seen by 王芳")
        picture(page, "acknowledged-390-en")

        go(page, PHONE, "en", "field")
        page.select_option("#where", "device:sonde")
        page.fill("#reason", "new wiper")
        page.get_by_role("button", name="Begin maintenance").click()
        expect(page.get_by_role("status")).to_have_text("Maintenance has begun; the values are marked M.")
        picture(page, "maintenance-390-en")
        go(page, PHONE, "en", "overview")
        expect(page.locator(".tile.warn .badge").first).to_contain_text("M ")
        picture(page, "marked-390-en")
        go(page, PHONE, "en", "field")
        page.get_by_role("button", name="End maintenance").click()
        expect(page.get_by_role("status")).to_have_text("Maintenance is over.")

        go(page, PHONE, "en", "checks")
        page.get_by_role("button", name="Start span now").click()
        expect(page.get_by_role("status")).to_have_text("The check has begun.")
        expect(page.get_by_role("button", name="Stop the check")).to_be_visible()
        page.locator("img.picture").scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('img.picture').naturalWidth > 0")
        picture(page, "check-390-en")
        page.fill("#reason-1", "only a try")
        page.get_by_role("button", name="Stop the check").click()
        expect(page.get_by_role("status")).to_have_text(texts("en")["page_done.check_stopped"])
        go(page, PHONE, "en", "events")
        page.select_option("#group", "field")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#events")).to_contain_text("new wiper")


def test_language_and_theme_are_switched_and_remembered(browser: Browser, house: House, address: str) -> None:
    with opened(browser, address) as watched:
        page = watched.page
        enrol(watched, house, address, "Zhao Min")
        page.get_by_role("button", name="切换到中文").click()
        expect(page.locator("h1")).to_have_text("总览")
        page.reload()
        expect(page.locator("h1")).to_have_text("总览")
        page.get_by_role("button", name="Switch to English").click()
        expect(page.locator("h1")).to_have_text("Overview")
        ground = "getComputedStyle(document.body).backgroundColor"
        seen = []
        for theme in ("dark", "light", "auto"):
            page.locator("button[name=theme]").click()
            expect(page.locator("html")).to_have_attribute("data-theme", theme)
            page.reload()
            seen.append(page.evaluate(ground))
        assert seen == ["rgb(12, 19, 18)", "rgb(238, 242, 241)", "rgb(238, 242, 241)"]
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(ground) == seen[0]  # as the device has it


def test_values_are_renewed_where_they_stand(browser: Browser, house: House, address: str) -> None:
    with opened(browser, address) as watched:
        page = watched.page
        enrol(watched, house, address, "Qian Li")
        page.evaluate("document.body.dataset.kept = 'yes'")
        page.locator("details.legend summary").click()
        before = page.locator("#when").inner_text()
        expect(page.locator("#when")).not_to_have_text(before)
        assert page.get_attribute("body", "data-kept") == "yes"  # the page was not loaded anew
        expect(page.locator("details.legend dl")).to_be_visible()


def test_what_is_touched_is_large_enough_and_named(browser: Browser, house: House, address: str) -> None:
    small = """() => [...document.querySelectorAll("button, .button, nav a, summary, input:not([type=hidden]), select")]
      .filter(one => one.offsetParent && one.getBoundingClientRect().height < 43.5).map(one => one.outerHTML)"""
    nameless = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
      .filter(one => !one.labels.length).map(one => one.outerHTML)"""
    untold = """() => [...document.querySelectorAll("th:not([scope]), img:not([alt]), svg:not([aria-hidden])")]
      .map(one => one.outerHTML)"""
    with opened(browser, address) as watched:
        page = watched.page
        enrol(watched, house, address, "Sun Hao")
        for path in (
            *("overview", "alarms", "uplinks", "instruments", "calibrations", "checks", "field", "events", "trends"),
            "downloads",
        ):
            page.goto(f"{address}/{path}")
            assert page.evaluate(small) == [], path
            assert page.evaluate(nameless) == [], path
            assert page.evaluate(untold) == [], path
            assert page.locator("main").count() == page.locator("h1").count() == 1
            twice = page.evaluate("""() => { const ids = [...document.querySelectorAll("[id]")].map(one => one.id);
              return ids.filter((one, n) => ids.indexOf(one) !== n); }""")
            assert twice == [], path


def test_everything_but_renewing_works_without_script(browser: Browser, house: House, address: str) -> None:
    with opened(browser, address, script=False) as watched:
        page = watched.page
        enrol(watched, house, address, "Zhou Yu")
        for word in VIEWS:
            go(page, PHONE, "en", word)
            expect(page.locator("h1")).to_have_text(texts("en")[f"page_nav.{word}"])
        go(page, PHONE, "en", "field")
        page.locator("summary", has_text="Begin a visit").click()
        page.fill("#purpose", "monthly check")
        page.get_by_role("button", name="Begin a visit").click()
        expect(page.get_by_role("status")).to_have_text("The visit has begun.")
        page.fill("#text", "cleaned the cell")
        page.get_by_role("button", name="Write it down").click()
        page.fill("#result", "all in order")
        page.get_by_role("button", name="End the visit").click()
        expect(page.get_by_role("status")).to_have_text("The visit is over.")


def test_a_certificate_and_a_chart_open_on_their_own(browser: Browser, house: House, address: str) -> None:
    with opened(browser, address, DESK, "zh") as watched:
        page = watched.page
        enrol(watched, house, address, "Wu Lei")
        go(page, DESK, "zh", "calibrations")
        with page.expect_popup() as popup:
            page.get_by_role("link", name="K1 的记录单").click()
        expect(popup.value.locator("h1")).to_have_text("校准记录单 K1")
        go(page, DESK, "zh", "checks")
        page.locator("img.picture").click()
        page.wait_for_url("**/chart.svg?check=span")
        assert page.locator("svg").count() == 1
