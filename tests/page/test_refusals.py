"""What the station refuses at the page is read in Chinese and English, and what was typed is not too long for it."""

from __future__ import annotations

import re
from datetime import timedelta, timezone
from pathlib import Path

import pytest

from station.config import load
from station.i18n import texts, use_here
from station.maintenance import LONGEST_TEXT
from station.page.refusals import FORMS, known, worded
from station.page.source import Source
from tests.page.house import HOST, House, Visitor
from tests.station.commands import configure, until

ZONE = timezone(timedelta(hours=8))
AT = "2026-03-01T01:02:03.5+00:00"
SENTENCES = {
    "no_alarm": 'there is no alarm "a"; did you mean "b"?; known: b',
    "alarm_over": '"so2 "high"" has no alarm to acknowledge: it is normal',
    "alarm_seen": f'"so2" was acknowledged by Li at Wei at {AT}',
    "maintenance_on": (
        f"the station is under maintenance already: W3 until {AT}; end it first: station maintenance off W3"
    ),
    "maintenance_over": f"W3 was over at {AT}",
    "visit_on": f"V2 of 王芳 is under way since {AT}; end it first: station visit end",
    "no_visit": "no visit is under way; begin one: station visit start --user NAME --purpose TEXT",
    "check_on": "span: Q7 is under way at cems",
    "no_check": "span: no check span is under way",
    "check_marked": "span: stack is marked M (M4, Li: filter: new (1))",
    "check_calibrated": "span: cems is being calibrated (K1)",
    "check_silent": "span: cems does not answer",
    "check_measuring": "span: sonde: a measurement is under way",
    "check_expired": "span: expired: the standard GBW 07 was good until 2026-02-01",
    "check_command": "span: bus line is at work on a platform's command",
    "unanswered": "/run/x.sock: the station did not answer within 10 s",
    "may_not": "/run/x.sock: this user may not ask the station; use sudo or the group station",
    "not_running": "/run/x.sock: no station is running (No such file or directory)",
    "no_database": "/data/station.db: is not there yet; start the station first: station run --config",
}


@pytest.mark.parametrize("key", FORMS)
@pytest.mark.parametrize("speaks", ["en", "zh"])
def test_each_form_is_known_by_itself_and_said_whole(key: str, speaks: str) -> None:
    use_here(speaks)
    try:
        said = known(SENTENCES[key], ZONE)
    finally:
        use_here(None)
    pattern = re.escape(texts(speaks)[f"page_refused.{key}"])
    assert re.fullmatch(re.sub(r"\\{\w+\\}", ".+", pattern), said), said
    assert "T01:02" not in said
    assert "None" not in said


def test_what_is_not_known_is_shown_as_it_is() -> None:
    use_here("zh")
    try:
        assert worded("the moon is full", ZONE) == "监测站拒绝:the moon is full"
    finally:
        use_here(None)


def chinese(house: House) -> Visitor:
    visitor = house.signed_in("王芳")
    visitor.client.set_cookie("station_language", "zh", domain="localhost")
    visitor.get("/field")
    return visitor


def said_of(visitor: Visitor, path: str, **fields: str) -> str:
    """The sentence of a refusal."""
    answer = visitor.post(path, **fields)
    assert answer.status_code == 409, answer.text
    found = re.search(r'<div class="said bad" role="alert">(.*?)</div>', answer.text)
    assert found
    assert found[1].startswith("监测站拒绝:")
    return found[1].removeprefix("监测站拒绝:")


def test_what_people_meet_is_said_in_chinese_by_a_living_station(house: House) -> None:
    """The forms are those of the station's own sentences: a changed one fails here and not in the field."""
    visitor = chinese(house)
    assert said_of(visitor, "/field/visit", do="note", text="x").startswith("当前没有正在进行的巡检")
    visitor.post("/field/visit", do="start", purpose="巡检")
    assert re.match(
        "王芳 的巡检 V1 自 2026-03-01 .* 起正在进行", said_of(visitor, "/field/visit", do="start", purpose="x")
    )
    visitor.post("/field/visit", do="end", result="好")

    begin = {"do": "on", "where": "device:sonde", "hours": "1", "reason": "清洗"}
    visitor.post("/field/maintenance", **begin)
    again = said_of(visitor, "/field/maintenance", **begin)
    assert re.match("“sonde”已在维护中\\(W1,王芳,至 2026-03-01 .*\\)。", again)
    visitor.post("/field/maintenance", do="off", name="W1")
    assert said_of(visitor, "/field/maintenance", do="off", name="W1").startswith("维护 W1 已于 2026-03-01")

    assert said_of(visitor, "/alarms", alarm="nowhere").startswith("已没有名为“nowhere”的报警")
    until(lambda: visitor.post("/alarms", alarm="so2-high").status_code == 303, 20)
    assert said_of(visitor, "/alarms", alarm="so2-high").startswith("“so2-high”已由 王芳 于 2026-03-01")

    assert said_of(visitor, "/checks", check="span", action="stop", reason="x").startswith("“span”未停止")
    until(lambda: visitor.post("/checks", check="span", action="run").status_code == 303, 30)
    on = said_of(visitor, "/checks", check="span", action="run")
    assert re.match("“span”未开始:", on)
    visitor.post("/checks", check="span", action="stop", reason="x")


def test_signs_that_cannot_be_seen_are_left_out_of_what_was_typed(house: House) -> None:
    """A zero-width joiner in an emoji, or a mark that turns the line around, is no reason to refuse a note."""
    visitor = chinese(house)
    visitor.post("/field/visit", do="start", purpose="换膜\u200d\u202e 完成")
    assert house.source.status()["field"]["visit"]["purpose"] == "换膜 完成"
    visitor.post("/field/visit", do="end", result="好")


def test_no_field_takes_more_than_the_station_does(house: House) -> None:
    """What the station would refuse for its length cannot be typed, for the text would be lost."""
    visitor = chinese(house)
    visitor.post("/field/visit", do="start", purpose="x")
    for path in ("/field", "/checks", "/alarms"):
        lengths = re.findall(
            r'name="(?:text|reason|note|purpose|company|result)"[^>]*maxlength="(\d+)"', visitor.get(path).text
        )
        assert all(int(one) <= LONGEST_TEXT for one in lengths)
    assert visitor.post("/field/visit", do="note", text="记" * LONGEST_TEXT).status_code == 303
    visitor.post("/field/visit", do="end", result="好")


def test_before_the_first_start_it_is_said_in_chinese(tmp_path: Path) -> None:
    from station.page.app import create_app

    loaded = load(configure(tmp_path), secrets=False)
    config = loaded.path.read_text(encoding="utf-8")
    loaded.path.write_text(f"{config}\n[page]\nopen_view = true\n", encoding="utf-8")
    loaded = load(loaded.path, secrets=False)
    answer = create_app(loaded, Source(loaded)).test_client().get("/overview", headers=HOST | {"Accept-Language": "zh"})
    assert answer.status_code == 503
    assert "数据库尚不存在,请先启动监测站。" in answer.text


@pytest.mark.parametrize("speaks", ["en", "zh"])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/alarms", {"alarm": "so2-high"}),
        ("/checks", {"check": "span", "action": "run"}),
        ("/checks", {"check": "span", "action": "stop", "reason": "x"}),
        ("/field/maintenance", {"do": "on", "where": "station:", "hours": "1", "reason": "x"}),
        ("/field/maintenance", {"do": "off", "name": "W1"}),
        ("/field/visit", {"do": "start", "purpose": "x"}),
        ("/field/visit", {"do": "note", "text": "x"}),
        ("/field/visit", {"do": "end", "result": "x"}),
    ],
)
def test_with_the_station_stopped_each_deed_says_so(
    stopped: Visitor, speaks: str, path: str, fields: dict[str, str]
) -> None:
    stopped.client.set_cookie("station_language", speaks, domain="localhost")
    stopped.get("/overview")
    answer = stopped.post(path, **fields)
    assert answer.status_code == 503
    assert texts(speaks)["page.not_running_act"] in answer.text


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """At the page of a station that has stopped."""
    made = House(tmp_path_factory.mktemp("s"))
    made.past()
    made.close()
    return made.signed_in()
