"""Reasons the station gives by itself: in the operator's words; what people wrote stays."""

from __future__ import annotations

import re
from datetime import UTC

import pytest

from station import events, i18n
from station.i18n import texts
from station.own_reasons import PHRASES, worded
from tests.station.test_i18n import CHINESE

SAID = {
    "switch key": "维护开关 key",
    "asked for by platform district": "平台 district 的要求",
    "asked for by the platform": "平台的要求",
    "its time is over": "时间已到",
    "end of W1": "W1 结束",
    "maintenance W1: switch key": "维护 W1:维护开关 key",
    "maintenance W1: 换泵管": "维护 W1:换泵管",
    "calibration K3: ph-buffers": "校准 K3:pH 三点缓冲液校准(在仪器上)",
    "check Q2: zero 0": "核查 Q2:零点 0",
    "check Q2: span 400": "核查 Q2:量程 400",
    "check Q2: check 400": "核查 Q2:标准 400",
    "Q2 failed: lamp is weak": "Q2 不合格:lamp is weak",
    "the station stopped; the instrument is not configured any more": "监测站曾停止,且该仪器已不在配置中",
    "the station was stopped while it was under way": "进行中监测站被停止",
    "cems was not told within 3 h": "3 小时内未能通知 cems",
    "cems brought no result within 3 h: marked D": "cems 在 3 小时内没有给出结果:marked D",
    "nobody knows whether cems was told to calibrate its span": (
        "无法确定是否已命令 cems 校准(量程校准),仪器也无法查询:请到现场查看仪器,用标准核查,必要时重新校准"
    ),
    '[retention] when_full = "answered"': "磁盘已满,按 [retention] when_full 的设置",
}


@pytest.mark.parametrize("stored", SAID)
def test_a_reason_of_the_stations_own_is_chinese_on_a_chinese_screen(stored: str) -> None:
    assert worded(stored, "zh") == SAID[stored]
    assert not CHINESE.search(worded(stored, "en").replace("换泵管", ""))


def test_every_phrase_has_a_case_and_words() -> None:
    met = {phrase for phrase in PHRASES for stored in SAID if re.fullmatch(phrase, stored)}
    assert met == set(PHRASES)
    assert {f"own_reason.{key}" for key in PHRASES.values()} == {k for k in texts("zh") if k.startswith("own_reason.")}


@pytest.mark.parametrize("written", ["new lamp", "switch off for the painter", "The end of W1", "calibration K3", ""])
def test_what_a_person_wrote_stays_as_it_is(written: str) -> None:
    for language in i18n.LANGUAGES:
        assert worded(written, language) == written


def test_an_event_says_it_too() -> None:
    told = {"name": "W1", "reason": "switch key"}
    assert events.about(told, "zh", UTC).endswith("维护开关 key")
