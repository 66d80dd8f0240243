"""What the views show of a station that runs."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from flask import render_template

from station.page import live, packing
from station.page.app import create_app
from tests.page import filled
from tests.page.house import HOST, House, Visitor
from tests.station.commands import until

PATHS = ("overview", "alarms", "uplinks", "instruments", "calibrations", "checks", "field", "events")


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
        for path in PATHS:
            answer = visitor.get(f"/{path}")
            assert answer.status_code == 200, (path, answer.text)


# -- what it weighs, and whether it can be read

LIMIT = 60_000  # bytes over the air for the first view of all, packed
STATIC = Path(packing.__file__).with_name("static")


def weight(visitor: Visitor, path: str) -> int:
    """Bytes of a view with everything it asks for, as a browser gets them."""
    page = visitor.client.get(path, headers=HOST | {"Accept-Encoding": "gzip"})
    assert page.status_code == 200
    assert page.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(page.data).decode()
    total = len(page.data)
    for asked in re.findall(r'(?:href|src)="(/static/[^"]+|/chart\.svg[^"]+)"', text):
        answer = visitor.client.get(asked.replace("&amp;", "&"), headers=HOST | {"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        total += len(answer.data)
    return total


def test_no_view_weighs_more_than_sixty_kilobytes(house: House) -> None:
    visitor = house.signed_in()
    weights = {path: weight(visitor, f"/{path}") for path in PATHS}
    assert max(weights.values()) <= LIMIT, weights


def test_a_station_of_many_instruments_stays_within_it(house: House) -> None:
    found = json.loads(json.dumps(house.source.status()))
    (first, *_) = found["devices"]
    found["devices"] = [first | {"name": f"{first['name']}-{number}"} for number in range(20)]  # 160 values
    with house.app.test_request_context("/overview", headers=HOST):
        house.app.preprocess_request()
        text = render_template("overview.html", found=found, points=list(live.points(found, house.source.point_names)),
                               lamps=live.lamps(found), notes=[])  # fmt: skip
    assert text.count('<div class="tile') == 161 - 1
    rest = weight(house.signed_in(), "/overview")
    assert len(gzip.compress(text.encode())) + rest <= LIMIT


def test_what_is_kept_for_ever_has_a_name_that_changes_with_it(house: House) -> None:
    client = house.client()
    name = re.search(r'"(/static/page\.css\?v=\w{10})"', Visitor(client).get("/sign-in").text)
    assert name is not None
    kept = client.get(name[1], headers=HOST)
    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.get("/static/page.css?v=old", headers=HOST).headers["Cache-Control"] == "no-cache"
    assert gzip.decompress(client.get(name[1], headers=HOST | {"Accept-Encoding": "gzip"}).data) == kept.data


def test_a_part_that_is_renewed_is_smaller_than_the_page(house: House) -> None:
    visitor = house.signed_in()
    whole, part = visitor.get("/overview").text, visitor.get("/overview", **{"X-Fragment": "1"}).text
    assert "<nav" not in part
    assert 'id="now"' in part
    assert len(part) < len(whole) - 3000


def _colours(block: str) -> dict[str, tuple[int, int, int]]:
    found = {}
    for name, value in re.findall(r"--([\w-]+): #([0-9a-f]{3,6})\b", block):
        digits = value if len(value) == 6 else "".join(one * 2 for one in value)
        found[name] = (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))
    return found


def _luminance(colour: tuple[int, int, int]) -> float:
    shares = [one / 255 for one in colour]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """WCAG 2's contrast ratio, 1 to 21."""
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(theme: str) -> None:
    css = (STATIC / "page.css").read_text(encoding="utf-8")
    light, dark, auto = re.findall(r":root(?:\[[^]]*\])? \{\n(.*?)\n\s*\}", css, re.DOTALL)
    assert _colours(dark) == _colours(auto)
    colours = _colours({"light": light, "dark": dark}[theme])
    pairs = [
        *((text, ground) for text in ("ink", "soft", "accent") for ground in ("panel", "ground", "sunk")),
        *((level, ground) for level in ("good", "warn", "bad", "note") for ground in ("panel", f"{level}-soft")),
        *(("ink", f"{level}-soft") for level in ("good", "warn", "bad", "note")),
        ("on-accent", "accent"), ("accent", "accent-soft"),
    ]  # fmt: skip
    weak = {pair: round(_contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


def test_no_name_turns_the_figures_beside_it_around(tmp_path: Path) -> None:
    """A right-to-left override in a name shows 15 where 51 was measured."""
    config = filled.CONFIG.replace('name = "West gate"', 'name = "West\\u202e\\u2067 gate"')
    loaded = filled.station(tmp_path, config)
    source = filled.FixedSource(loaded)
    assert "\u202e" in source.point_names["gate"]
    client = create_app(loaded, source).test_client()
    for path in ("/overview", "/trends", "/trends/data?s=gate:pm25", "/alarms"):
        text = client.get(path, headers=HOST).text
        assert "West gate" in text or path == "/alarms", path
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", text), path
