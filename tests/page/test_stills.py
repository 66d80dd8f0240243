"""Stills of cameras on the page: beside the alarm, for who is signed in alone, and never another file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from drivers.onvif_emulator import Camera as Emulated
from drivers.onvif_emulator import Face
from station import snapshots
from station.camera import Camera, entry
from station.i18n import texts
from tests.page.house import CONFIG, HOST, House, Visitor, served
from tests.page.test_browser import ARGUMENTS, DESK, PHONE, enrol, opened, picture
from tests.programs import program
from tests.station.commands import until

TABLE = """
[[camera]]
name = "gate <b>"
kind = "onvif"
url = "URL"
user = "admin"
password_file = "gate.password"
timeout_seconds = 10
"""


@cache
def seen() -> bytes:
    """What a camera would see."""
    command = [program("ffmpeg"), "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=1280x720", "-frames:v", "1",
               "-f", "image2pipe", "-c:v", "mjpeg", "pipe:1"]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stdout


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("s")
    (folder / "gate.password").write_text("pass")
    (folder / "gate.password").chmod(0o600)
    with Emulated(Face(jpeg=seen())) as eye:
        made = House(folder, CONFIG + TABLE.replace("URL", eye.url))
        made.begin()
        engine = made.bench.engine
        camera = next(one for one in engine.beside if isinstance(one, Camera))
        until(lambda: engine.alarms is not None and engine.alarms.states()[0]["episode"], 20, lambda: "no alarm")
        camera._one_turn()
        assert camera.complaint == ""
        entry(engine, {"by": "Wang Fang", "note": "look"})
        yield made
        made.close()


def stills(house: House) -> list[snapshots.Kept]:
    with house.source.store() as store:
        return snapshots.kept(store)


def test_the_still_of_an_alarm_is_shown_to_a_person_by_its_number(watched: House) -> None:
    ours, asked = stills(watched)
    assert (ours.body["alarm"], asked.body["by"]) == ("so2-high", "Wang Fang")
    visitor = watched.signed_in()
    page = visitor.get("/alarms").text
    assert f'src="/stills/{ours.id}"' in page
    assert f'src="/stills/{asked.id}"' in page
    assert ours.body["sha256"] in page
    assert "gate &lt;b&gt;" in page
    answer = visitor.client.get(f"/stills/{ours.id}", headers=HOST)
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "image/jpeg", seen())
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_nobody_else_sees_one(watched: House) -> None:
    (ours, *_) = stills(watched)
    answer = watched.client().get(f"/stills/{ours.id}", headers=HOST)
    assert answer.status_code == 302
    assert "/sign-in" in answer.headers["Location"]


@pytest.mark.parametrize(
    "path", ["0", "-1", "99999", str(1 << 63), "1.jpg", "..%2f..%2fetc%2fpasswd", "%2e%2e/station.toml", "1/../../x"]
)
def test_no_other_number_and_no_path_leads_to_a_file(watched: House, path: str) -> None:
    visitor = watched.signed_in()
    assert visitor.client.get(f"/stills/{path}", headers=HOST).status_code == 404


def test_the_number_of_another_record_is_no_still(watched: House) -> None:
    with watched.source.store() as store:
        ((number,),) = store.query("SELECT min(id) FROM record WHERE kind != 'snapshot'")
    assert watched.signed_in().client.get(f"/stills/{number}", headers=HOST).status_code == 404


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_a_browser_draws_the_stills(watched: House, size: tuple[int, int], language: str) -> None:
    with served(watched) as (_, address), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program("chromium"), headless=True, args=ARGUMENTS)
        with opened(chromium, address, size, language) as browser:
            enrol(browser, watched, address, f"Li {language} {size[0]}")
            page = browser.page
            page.goto(f"{address}/alarms")
            page.locator("#stills").scroll_into_view_if_needed()
            expect(page.locator("#stills h2")).to_have_text(texts(language)["page_stills.title"])
            expect(page.locator("figure.still img")).to_have_count(2)
            page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth === 1280)")
            browser.fits()
            picture(page, f"stills-{size[0]}-{language}")
        chromium.close()


def test_a_changed_or_missing_file_is_said_and_not_shown(watched: House) -> None:
    (ours, *_) = stills(watched)
    path: Path = watched.loaded.data_folder / snapshots.FOLDER / ours.file
    data, visitor = path.read_bytes(), watched.signed_in()
    try:
        path.write_bytes(data[:-2] + b"\0\0")
        answer = visitor.get(f"/stills/{ours.id}")
        assert answer.status_code == 409
        assert "not as it was taken" in answer.text
        path.unlink()
        answer = visitor.get(f"/stills/{ours.id}")
        assert answer.status_code == 410
        assert "not there any more" in answer.text
    finally:
        path.write_bytes(data)


def test_an_open_view_shows_no_stills(tmp_path: Path) -> None:
    (tmp_path / "gate.password").write_text("pass")
    with Emulated(Face(jpeg=seen())) as eye:
        config = CONFIG.replace("[page]\n", "[page]\nopen_view = true\n") + TABLE.replace("URL", eye.url)
        house = House(tmp_path, config)
        house.begin()
        try:
            entry(house.bench.engine, {"by": "Wang Fang"})
            page = Visitor(house.client()).get("/alarms")
            assert page.status_code == 200
            assert "/stills/" not in page.text
            (ours,) = stills(house)
            assert house.client().get(f"/stills/{ours.id}", headers=HOST).status_code == 302
        finally:
            house.close()
