"""What a person does at the page: carried out by the station, and on record with the name."""

from __future__ import annotations

from typing import Any

import pytest

from station.control import ControlRefused
from station.i18n import t
from station.page.happenings import ON_A_PAGE
from tests.page.house import House, Visitor
from tests.station.commands import until


@pytest.fixture
def visitor(house: House) -> Visitor:
    return house.signed_in("Wang Fang")


def events(house: House, code: str) -> list[dict[str, Any]]:
    """The arguments of every event with *code*, as committed."""
    house.source.ask("commit")
    return [said for one, said in house.bench.events(code) if one == code]


def test_an_alarm_is_acknowledged_with_a_name_and_a_note(house: House, visitor: Visitor) -> None:
    until(lambda: "ALARM" in visitor.get("/alarms").text, 20)
    answer = visitor.post("/alarms", alarm="so2-high", note="boiler started")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/alarms?done=acknowledged")
    page = visitor.get(answer.headers["Location"]).text
    assert "The alarm is acknowledged, with your name." in page
    assert "Seen by Wang Fang" in page
    assert "boiler started" in page
    (said,) = events(house, "alarm_acknowledged")
    assert (said["name"], said["user"], said["note"]) == ("so2-high", "Wang Fang", "boiler started")
    again = visitor.post("/alarms", alarm="so2-high")
    assert again.status_code == 409
    assert "The station refused:" in again.text
    assert visitor.post("/alarms", alarm="no-such").status_code == 409


def test_maintenance_is_begun_and_ended_and_its_values_are_marked(house: House, visitor: Visitor) -> None:
    visitor.get("/field")
    answer = visitor.post("/field/maintenance", do="on", where="device:sonde", hours="2", reason="wiper")
    assert answer.headers["Location"] == "/field?done=maintenance_on"
    until(lambda: "M maintenance" in visitor.get("/overview").text or "M under" in visitor.get("/overview").text, 10)
    assert "wiper" in visitor.get("/field").text
    (span,) = house.source.status()["field"]["maintenance"]
    assert (span["user"], span["what"]) == ("Wang Fang", "sonde")
    refused = visitor.post("/field/maintenance", do="on", where="device:sonde", hours="2", reason="wiper")
    assert refused.status_code == 409
    assert "under maintenance already" in refused.text
    visitor.get("/field")
    assert visitor.post("/field/maintenance", do="off", name=span["name"]).status_code == 303
    assert [one["user"] for one in events(house, "maintenance_on")] == ["Wang Fang"]
    assert [one["user"] for one in events(house, "maintenance_off")] == ["Wang Fang"]
    for wrong in (
        {"do": "on", "where": "moon:x", "hours": "1"},
        {"do": "on", "where": "station:", "hours": "999"},
        {"do": "x"},
    ):
        assert visitor.post("/field/maintenance", **wrong).status_code == 400


def test_a_visit_is_begun_noted_and_ended(house: House, visitor: Visitor) -> None:
    visitor.get("/field")
    for fields in (
        {"do": "start", "purpose": "monthly check", "company": "Niutang"},
        {"do": "note", "text": "cleaned the cell"},
        {"do": "end", "result": "all in order"},
    ):
        assert visitor.post("/field/visit", **fields).status_code == 303
    page = visitor.get("/field").text
    assert "monthly check" in page
    assert "all in order" in page
    assert len(events(house, "visit_start")) == len(events(house, "visit_end")) == 1
    assert visitor.post("/field/visit", do="end", result="twice").status_code == 409
    assert visitor.post("/field/visit", do="burn").status_code == 400


def test_a_check_is_started_and_stopped(house: House, visitor: Visitor) -> None:
    visitor.get("/checks")
    answer = until(lambda: _begun(visitor), 30)
    assert answer.headers["Location"] == "/checks?done=check_begun"
    until(lambda: "Stop the check" in visitor.get("/checks").text, 20)
    assert visitor.post("/checks", check="span", action="stop", reason="gas is empty").status_code == 303
    assert [one["by"] for one in events(house, "qc_begun")][-1] == "Wang Fang"
    assert visitor.post("/checks", check="no such", action="run").status_code == 400
    assert visitor.post("/checks", check="span", action="burn").status_code == 400


def _begun(visitor: Visitor) -> Any:
    """The answer once nothing speaks against a check any more: the tail of the one before marks its values C."""
    answer = visitor.post("/checks", check="span", action="run")
    return answer if answer.status_code == 303 else None


def test_who_comes_and_goes_is_on_record(house: House) -> None:
    visitor = house.signed_in("Li Wei")
    visitor.get("/overview")
    visitor.post("/sign-out")
    done = [one["do"] for one in events(house, "page") if one["user"] == "Li Wei"]
    assert done == ["enrolled", "signed_in", "signed_out"]
    page = house.signed_in().get("/events?group=page").text
    assert "local page" in page
    assert "chose a password with a one-time code" in page


@pytest.mark.parametrize(
    "fields", [{}, {"do": "burn", "user": "Li"}, {"do": "signed_in"}, {"do": "signed_in", "user": " "}]
)
def test_the_station_keeps_no_nonsense_of_the_page(house: House, fields: dict[str, str]) -> None:
    with pytest.raises(ControlRefused, match="the page tells of signed_in"):
        house.source.ask("page", fields=fields)


def test_a_long_list_of_events_is_turned_over_page_by_page(house: House, visitor: Visitor) -> None:
    for _ in range(2 * ON_A_PAGE):
        house.source.tell("downloaded", "Wang Fang", name="minutes", rows=60)
    house.source.ask("commit")
    first = visitor.get("/events?group=page").text
    assert first.count("<li><time") == ON_A_PAGE
    older = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    second = visitor.get(older).text
    assert second.count("<li><time") == ON_A_PAGE
    assert "Newest" in second
    assert visitor.get("/events?before=x").status_code == 400
    assert visitor.get("/events?day=yesterday").status_code == 400
    assert t("events.none") in visitor.get("/events?day=2020-01-01").text
    assert "station started" in visitor.get("/events?code=start&day=2026-03-01").text
