"""The test alarm of a commissioning goes the way of a real one: screens, events, rules, outputs; no upload."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from station import alarming, commissioning
from station.clock import EPOCH
from station.i18n import texts
from station.resumption import FOREVER
from tests.station.conftest import Rig
from tests.station.test_alarming import DUST, FOLLOWS, NOON, AlarmRig
from tests.station.test_linkage import WIRED, PinRig
from tests.station.test_maintenance import Asked


def drills(rig: Rig) -> list[tuple[str, str, bool]]:
    """Code, name and mark as a test of each event about an alarm."""
    rows = rig.engine.store.query("SELECT code, arguments FROM event WHERE code LIKE '%alarm%' ORDER BY id")
    said = [(code, json.loads(text)) for code, text in rows]
    return [(code, one["name"], one.get("test", False)) for code, one in said if one.get("name") == "dust"]


def state(rig: Rig) -> dict[str, Any]:
    assert rig.engine.alarms is not None
    return next(row for row in rig.engine.alarms.states() if row["name"] == "dust")


def begun(rig: Rig) -> Asked:
    entered = Asked(rig)
    entered.of("commissioning", "begin", user="Wang Fang")
    return entered


def test_an_output_follows_the_test_through_its_rule_and_goes_off_behind_it(tmp_path: Path) -> None:
    rig = PinRig(tmp_path, WIRED + DUST + FOLLOWS, NOON - timedelta(seconds=30))
    rig.instrument.show(pm10=60.0)
    rig.run(400)
    assert not rig.factory.pin(24).state
    entered = begun(rig)
    entered.of("commissioning", "raise_test", alarm="dust", output="", user="Wang Fang")
    rig.run(20)
    assert rig.factory.pin(24).state
    (on,) = [said for said in rig.said("output_on") if said["output"] == "horn"]
    assert (on["why"], on["rule"], on["alarm"]) == ("alarm", "horn", "dust")
    row = state(rig)
    assert (row["state"], row["cause"], row["test"]) == ("alarm", "test", True)
    entered.of("commissioning", "clear_test", user="Wang Fang")
    rig.run(600)
    assert not rig.factory.pin(24).state
    assert (state(rig)["state"], "test" in state(rig)) == ("normal", False)
    assert [one for one in drills(rig) if one[2]] == [("alarm", "dust", True), ("alarm_over", "dust", True)]
    rig.engine.shut_down()


def test_no_platform_and_no_report_is_told_of_it(tmp_path: Path) -> None:
    """There is no record of an alarm, which is what both are made of."""
    rig = AlarmRig(tmp_path)
    rig.instrument.show(pm10=60.0)
    rig.run(400)
    before = len(rig.engine.store.records(alarming.KIND, EPOCH, FOREVER))
    entered = begun(rig)
    entered.of("commissioning", "raise_test", alarm="dust", output="", user="Wang Fang")
    rig.run(60)
    entered.of("commissioning", "clear_test", user="Wang Fang")
    rig.run(60)
    assert len(rig.engine.store.records(alarming.KIND, EPOCH, FOREVER)) == before
    rig.engine.shut_down()


def test_a_real_alarm_during_the_test_is_told_and_stays_behind_it(tmp_path: Path) -> None:
    rig = AlarmRig(tmp_path)
    rig.instrument.show(pm10=120.0)
    rig.run(200)
    entered = begun(rig)
    entered.of("commissioning", "raise_test", alarm="dust", output="", user="Wang Fang")
    rig.run(200)
    entered.of("commissioning", "clear_test", user="Wang Fang")
    rig.run(60)
    assert state(rig)["state"] == "alarm"
    assert ("alarm", "dust", False) in drills(rig)
    rig.engine.shut_down()


def test_a_test_that_nobody_clears_ends_by_itself_and_with_the_station(tmp_path: Path) -> None:
    rig = AlarmRig(tmp_path)
    rig.instrument.show(pm10=60.0)
    rig.run(400)
    entered = begun(rig)
    entered.of("commissioning", "raise_test", alarm="dust", output="", user="Wang Fang")
    rig.run(400)
    assert state(rig)["state"] == "normal"
    assert drills(rig)[-1] == ("alarm_over", "dust", True)
    entered.of("commissioning", "clear_test", user="Wang Fang")
    entered.of("commissioning", "raise_test", alarm="dust", output="", user="Wang Fang")
    rig.run(10)
    assert state(rig)["state"] == "alarm"
    rig.restart()
    rig.run(10)
    assert state(rig)["state"] != "alarm"
    rig.engine.shut_down()


def test_the_test_of_a_name_that_is_no_alarm_is_an_event_of_the_commissioning_alone(tmp_path: Path) -> None:
    rig = AlarmRig(tmp_path)
    entered = begun(rig)
    entered.of("commissioning", "raise_test", alarm="commissioning", output="", user="Wang Fang")
    rig.run(10)
    assert [one for one in drills(rig) if one[2]] == []
    assert "commissioning_raise_test" in rig.events()
    assert alarming.COMMISSIONING == commissioning.KIND
    assert texts("zh")["alarm_why.test"] == "测试,并非实测报警"
    rig.engine.shut_down()
