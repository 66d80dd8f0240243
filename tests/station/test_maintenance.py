"""Maintenance in a station: by hand, by a switch, by a platform; marked with a name, ended by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from station import maintaining
from station.clock import EPOCH
from station.config import load
from station.control import ControlRefused, ControlServer, ask
from station.maintenance import Book
from station.marks import enter as mark_by_hand
from station.model import Command, ConfigError, Kind, Mark, Outcome, Result, StoreError, WrongArgument
from station.resumption import FOREVER
from station.verbs import verbs
from tests.station.commands import answer, configure, daemon, station, until
from tests.station.conftest import CONFIG, START, Rig
from tests.station.test_linkage import PinRig

WHO = {"user": "Wang Fang", "reason": "filter changed"}
KEY = 22  # GPIO of the key switch
SWITCH = """
[[input]]
name = "key"
kind = "maintenance"
pin = 22
person = "Li Wei, operator on duty"
longest_hours = 2
"""


class Asked:
    """The control verb `field` of a station that is stepped by hand: each entry is committed as the socket would."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def __call__(self, do: str, **fields: Any) -> dict[str, Any]:
        return self.of("maintenance", do, **fields)

    def of(self, what: str, do: str, **fields: Any) -> dict[str, Any]:
        work = self.rig.engine.field_work()
        with self.rig.engine.one_entry:
            made = work.enter(what, do=do, **fields)
        self.rig.engine.commit()
        return dict(made[0].body)

    @property
    def spans(self) -> Book:
        """As the database has them."""
        return Book(self.rig.engine.store.records("maintenance", EPOCH, FOREVER))


def realtime(rig: Rig) -> str:
    return rig.texts("REALTIME")[-1]


def events(rig: Rig, code: str) -> list[dict[str, Any]]:
    rig.engine.commit()
    rows = rig.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
    return [json.loads(text) for (text,) in rows]


@pytest.fixture
def entered(rig: Rig) -> Asked:
    return Asked(rig)


# -- by hand


def test_while_a_person_works_values_are_marked_m_and_normal_again_by_themselves(rig: Rig, entered: Asked) -> None:
    rig.run(120)
    assert realtime(rig) == "REALTIME site pm10=60N pm25=35N"
    body = entered("on", **WHO, seconds=1800)
    assert (body["name"], body["places"], body["marks"]) == ("W1", [["site", ""]], ["M1"])
    rig.run(60)
    assert realtime(rig) == "REALTIME site pm10=60M pm25=35M"
    rig.run(1800)
    assert realtime(rig) == "REALTIME site pm10=60N pm25=35N"
    (span,) = entered.spans
    assert (span.over, span.why, span.user) == (span.first + timedelta(minutes=30), "time", "Wang Fang")
    codes = [code for code in rig.events() if code.startswith("maintenance")]
    assert codes == ["maintenance_on", "maintenance_ends_soon", "maintenance_off"]
    at = dict(rig.engine.store.query("SELECT code, at_ms FROM event WHERE code LIKE 'maintenance%'"))
    assert 0 <= at["maintenance_ends_soon"] - at["maintenance_on"] - 1_200_000 < 3000  # ten minutes before the end
    assert 0 <= at["maintenance_off"] - at["maintenance_on"] - 1_800_000 < 3000
    means = [a.mark.name for r in rig.engine.store.averages(Kind.MINUTE, EPOCH, FOREVER) for a in r.averages]
    assert means.count("M") >= 2 * 29
    assert "N" in means


def test_one_instrument_under_maintenance_leaves_the_others_alone(rig: Rig, entered: Asked) -> None:
    body = entered("on", device="dust", **WHO)
    assert body["places"] == [["site", "pm25"], ["site", "pm10"]]
    assert body["marks"] == ["M1", "M2"]
    marks = rig.engine.periods.marks
    assert marks.mark("site", "wind_speed", rig.clock.now() + timedelta(minutes=1), Mark.N) is Mark.N
    rig.run(40)
    assert realtime(rig) == "REALTIME site pm10=60M pm25=35M"


def test_it_is_ended_by_hand_and_the_mark_with_it(rig: Rig, entered: Asked) -> None:
    entered("on", point="site", **WHO, seconds=7200)
    rig.run(120)
    body = entered("off", user="Wang Fang", note="done")
    assert (body["name"], body["why"]) == ("W1", "hand")
    rig.run(61)
    assert realtime(rig) == "REALTIME site pm10=60N pm25=35N"
    with pytest.raises(Exception, match="no maintenance is under way"):
        entered("off", user="Wang Fang")
    with pytest.raises(Exception, match="W1 was over at 2026-03-01T00:02:3"):
        entered("off", name="W1", user="Wang Fang")


def test_a_restart_in_the_middle_goes_on_and_one_behind_the_end_says_so_once(rig: Rig, entered: Asked) -> None:
    entered("on", **WHO, seconds=1200)
    rig.run(60)
    rig.restart()
    rig.run(61)
    assert realtime(rig) == "REALTIME site pm10=60M pm25=35M"
    rig.engine.store.close()
    rig.clock.advance(3600)  # off over its end
    rig.engine = rig.start()
    rig.run(61)
    assert realtime(rig) == "REALTIME site pm10=60N pm25=35N"
    rig.restart()
    rig.run(5)
    (over,) = events(rig, "maintenance_off")
    assert (over["name"], over["why"]) == ("W1", "time")
    (span,) = entered.spans
    assert span.over == span.last


def test_nothing_of_it_is_loaded_where_there_is_none(rig: Rig) -> None:
    rig.run(30)
    assert rig.engine.maintaining is None
    Asked(rig)("on", **WHO)
    rig.restart()
    assert rig.engine.maintaining is not None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"user": ""}, "maintenance needs the name of who does it (--user)"),
        ({"user": "a\x1b[2J"}, "user holds characters that cannot be printed"),
        ({"reason": " "}, "maintenance needs a reason (--reason)"),
        ({"reason": "x" * 201}, "reason has 201 characters; 200 are enough"),
        ({"to": "2026-03-01T00:00:00+00:00"}, "is not behind the beginning"),
        ({"to": "2026-03-01T00:00:00"}, "needs its offset from UTC"),
        ({"to": "soon"}, '"soon" is not a time'),
        ({"seconds": 0}, '"0" is no number of seconds above 0'),
        ({"seconds": "3600"}, '"3600" is no number of seconds above 0'),
        ({"seconds": 90 * 86400}, "is more than 72 hours, and would hide what is measured"),
        ({"to": "2026-06-01T00:00:00+08:00"}, "is more than 72 hours, and would hide what is measured"),
        ({"to": "2026-03-01T09:00:00+08:00", "seconds": 60}, "not both"),
        ({"device": "dusty"}, 'there is no device "dusty"; did you mean dust?; known: dust'),
        ({"point": "side"}, 'there is no point "side"; did you mean site?; known: site'),
        ({"point": "site", "device": "dust"}, "name one, or neither for the whole station"),
    ],
)
def test_a_wrong_entry_is_one_sentence_and_nothing_is_kept(
    rig: Rig, entered: Asked, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its words are compared
        entered("on", **{**WHO, **fields})
    assert said in str(caught.value)
    rig.engine.commit()
    assert len(entered.spans) == 0
    assert len(rig.engine.periods.marks) == 0


def test_what_is_under_maintenance_is_not_begun_twice_and_its_part_neither(rig: Rig, entered: Asked) -> None:
    entered("on", **WHO)
    for fields in ({}, {"point": "site"}, {"device": "dust"}):
        with pytest.raises(
            Exception, match=r"is under maintenance already: W1 of Wang Fang until .* maintenance off W1"
        ):
            entered("on", **WHO, **fields)


def test_maintenance_outranks_a_calibration_and_the_calibration_goes_on_behind_it(rig: Rig, entered: Asked) -> None:
    """Mark order: M above C.  The calibration's own mark stands when the maintenance is over."""
    rig.run(35)
    words = {"do": "mark", "point": "site", "parameter": "pm10", "mark": "C", **WHO, "reason": "calibration K1: zero"}
    made = [mark_by_hand(rig.engine.periods.marks, words, {"site": None}, rig.clock.now(), rig.engine.next_mark())]
    rig.engine.keep(*made)
    rig.engine.commit()
    rig.run(35)
    assert realtime(rig) == "REALTIME site pm10=60C pm25=35N"
    assert entered("on", device="dust", **WHO, seconds=600)["marks"] == ["M2", "M3"]  # M1 is the calibration's
    rig.run(35)
    assert realtime(rig) == "REALTIME site pm10=60M pm25=35M"
    rig.run(600)
    assert realtime(rig) == "REALTIME site pm10=60C pm25=35N"


# -- by the key switch


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[Callable[..., PinRig]]:
    made: list[PinRig] = []

    def rig(text: str = SWITCH) -> PinRig:
        made.append(PinRig(tmp_path, CONFIG + text))
        return made[-1]

    yield rig
    for one in made:
        one.engine.shut_down()


def turn(rig: PinRig, on: bool) -> None:
    pin = rig.factory.pin(KEY)
    pin.drive_low() if on else pin.drive_high()


def test_a_switch_marks_in_the_name_its_configuration_gives(wired: Callable[..., PinRig]) -> None:
    rig = wired()
    entered = Asked(rig)
    rig.run(40)
    turn(rig, True)
    rig.run(61)
    assert realtime(rig) == "REALTIME site pm10=60M pm25=35M"
    (span,) = entered.spans
    assert (span.user, span.reason, span.by, span.source) == (
        "Li Wei, operator on duty", "switch key", "switch", "key",
    )  # fmt: skip
    turn(rig, False)
    rig.run(30)
    assert entered.spans.running()  # values settle for a minute
    rig.run(75)
    rig.engine.commit()
    assert [one.why for one in entered.spans] == ["switch"]
    rig.run(31)
    assert realtime(rig) == "REALTIME site pm10=60N pm25=35N"


def test_a_switch_that_names_nobody_marks_nothing_until_somebody_signs(wired: Callable[..., PinRig]) -> None:
    """M needs a named person (design); signed for, all of its time is marked."""
    rig = wired(SWITCH.replace('person = "Li Wei, operator on duty"', ""))
    entered = Asked(rig)
    rig.run(40)
    turn(rig, True)
    rig.run(120)
    assert realtime(rig) == "REALTIME site pm10=60N pm25=35N"
    shown = rig.engine.field_work().live()
    assert [(one["name"], one["signed"]) for one in shown["maintenance"]] == [("W1", False)]
    turn(rig, False)
    rig.run(70)
    assert [one["name"] for one in rig.engine.field_work().live()["unsigned"]] == ["W1"]
    body = entered("sign", name="W1", user="王芳", reason="更换滤膜")
    assert body["marks"] == ["M1"]
    rig.run(10)
    report = rig.engine.store.averages(Kind.MINUTE, START, START + timedelta(minutes=10))
    again = [(r.start.minute, a.mark.name) for r in report if r.version == 2 for a in r.averages]
    assert (2, "M") in again
    assert rig.engine.field_work().live()["unsigned"] == []
    with pytest.raises(Exception, match="W1 is signed by 王芳"):
        entered("sign", name="W1", user="x", reason="y")


def test_a_switch_that_flaps_is_one_span_and_is_said_once(wired: Callable[..., PinRig]) -> None:
    rig = wired()
    rig.run(40)
    for _ in range(12):
        turn(rig, True)
        rig.run(5)
        turn(rig, False)
        rig.run(5)
    rig.run(70)
    assert len(Asked(rig).spans) == 1
    (said,) = events(rig, "maintenance_switch_flaps")
    assert (said["input"], said["changes"]) == ("key", 8)


def test_a_switch_left_on_ends_at_its_longest_and_begins_nothing_before_it_was_off(
    wired: Callable[..., PinRig],
) -> None:
    rig = wired(SWITCH.replace("longest_hours = 2", "longest_hours = 0.1"))
    entered = Asked(rig)
    turn(rig, True)
    rig.run(500)
    assert [one.why for one in entered.spans] == ["time"]
    rig.restart()
    turn(rig, True)
    rig.run(100)
    assert len(entered.spans) == 1  # nor does a restart take the key for a new one
    turn(rig, False)
    rig.run(70)
    turn(rig, True)
    rig.run(10)
    rig.engine.commit()
    assert [one.name for one in entered.spans] == ["W1", "W2"]


def test_a_switch_is_ended_by_hand_while_it_is_on(wired: Callable[..., PinRig]) -> None:
    rig = wired()
    entered = Asked(rig)
    turn(rig, True)
    rig.run(10)
    entered("off", user="Wang Fang")
    rig.run(100)
    assert [one.why for one in entered.spans] == ["hand"]


def test_a_switch_over_a_restart_goes_on_or_is_over_as_it_stands(wired: Callable[..., PinRig]) -> None:
    rig = wired()
    entered = Asked(rig)
    turn(rig, True)
    rig.run(10)
    rig.restart()
    turn(rig, True)
    rig.run(100)
    assert [one.why for one in entered.spans] == [""]
    rig.restart()  # and off meanwhile
    turn(rig, False)
    rig.run(100)
    rig.engine.commit()
    assert [one.why for one in entered.spans] == ["switch"]


def test_a_switch_beside_maintenance_by_hand_begins_no_second_one(wired: Callable[..., PinRig]) -> None:
    rig = wired()
    entered = Asked(rig)
    entered("on", **WHO, seconds=1800)
    turn(rig, True)
    rig.run(30)
    assert [one.by for one in entered.spans] == ["hand"]
    rig.run(1800)
    assert [(one.by, one.why) for one in entered.spans] == [("hand", "time"), ("switch", "")]  # the key is still on


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('covers_point = "yard"', 'there is no point "yard"'),
        ('covers_device = "dusty"', 'there is no device "dusty"; did you mean dust?'),
        ('covers_point = "site"\ncovers_device = "dust"', "stands beside covers_point; name one of them"),
    ],
)
def test_a_switch_of_nothing_is_a_fault(tmp_path: Path, change: str, said: str) -> None:
    (tmp_path / "station.toml").write_text(CONFIG + SWITCH + change + "\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "station.toml")
    assert said in str(caught.value)


# -- by a platform


def told(rig: Rig, **arguments: str) -> Result:
    answers: list[Result] = []
    now = rig.clock.now()
    identity = now.strftime("%Y%m%d%H%M%S%f")[:17]
    rig.engine.desk.submit(Command("maintain", "district", "site", arguments, identity, now), answers.append)
    rig.engine.commit()
    rig.clock.advance(1)
    return answers[0]


def allowed(folder: Path, more: str = "") -> Rig:
    text = CONFIG.replace("realtime_seconds = 30", f'realtime_seconds = 30\nallow = ["maintenance"]\n{more}')
    return Rig(folder, text)


def test_a_platform_that_may_switches_maintenance_in_the_name_its_configuration_gives(tmp_path: Path) -> None:
    rig = allowed(tmp_path, 'maintenance_person = "Zhao Min, district centre"\nkinds = ["realtime", "site_info"]')
    entered = Asked(rig)
    assert told(rig, item="logger_state", value="maintenance").outcome is Outcome.DONE
    rig.run(40)
    assert realtime(rig) == "REALTIME site pm10=60M pm25=35M"
    (span,) = entered.spans
    assert (span.user, span.scope, span.what) == ("Zhao Min, district centre", "point", "site")
    assert told(rig, item="logger_state", value="running").outcome is Outcome.DONE
    rig.run(40)
    assert realtime(rig) == "REALTIME site pm10=60N pm25=35N"
    assert told(rig, item="logger_state", value="running").reason == "no maintenance that district began is under way"
    logs = [r.body["value"] for r in rig.engine.store.records("site_info", EPOCH, FOREVER) if "log" in r.body["item"]]
    assert logs[0].startswith("maintenance on: name W1; scope point; what site; last 2026-03-01T04:00:30")
    assert len([text for text in rig.texts("SITE_INFO")]) >= 2
    rig.engine.shut_down()


def test_a_platform_without_a_person_begins_what_waits_for_a_signature(tmp_path: Path) -> None:
    rig = allowed(tmp_path)
    assert told(rig, item="instrument_state", value="maintenance", parameter="pm10").outcome is Outcome.DONE
    (span,) = Asked(rig).spans
    assert (span.user, span.scope, span.what, span.marks) == ("", "device", "dust", ())
    assert told(rig, item="instrument_state", value="maintenance", parameter="ph").outcome is Outcome.CONDITIONS
    rig.engine.shut_down()


def test_what_a_platform_ends_is_what_it_names(tmp_path: Path) -> None:
    """That of the instrument goes on while that of the point is ended."""
    rig = allowed(tmp_path)
    for item, value in (("instrument_state", "maintenance"), ("logger_state", "maintenance")):
        assert told(rig, item=item, value=value, parameter="pm10").outcome is Outcome.DONE
    entered = Asked(rig)
    assert told(rig, item="instrument_state", value="running", parameter="pm10").outcome is Outcome.DONE
    assert [(one.scope, one.over is None) for one in entered.spans] == [("device", False), ("point", True)]
    assert told(rig, item="instrument_state", value="running", parameter="pm10").outcome is Outcome.CONDITIONS
    assert told(rig, item="logger_state", value="running").outcome is Outcome.DONE
    assert not entered.spans.running()
    rig.engine.shut_down()


def test_a_platform_does_not_wait_for_an_entry_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session would stand still, and the watchdog end the station."""
    monkeypatch.setattr(maintaining, "PATIENCE", 0.01)
    rig = allowed(tmp_path, 'maintenance_person = "Zhao Min, district centre"')
    entered = Asked(rig)
    with rig.engine.one_entry:
        result = told(rig, item="logger_state", value="maintenance")
    assert result.outcome is Outcome.BUSY
    assert result.reason == "another entry at the station was not done within 0.01 s; ask again"
    assert not len(entered.spans)
    assert told(rig, item="logger_state", value="maintenance").outcome is Outcome.DONE
    rig.engine.shut_down()


def test_a_platform_that_may_not_is_refused(rig: Rig) -> None:
    assert told(rig, item="logger_state", value="maintenance").reason == "maintain is not allowed for district"
    assert len(Asked(rig).spans) == 0


# -- over the socket


def test_the_socket_answers_when_it_is_durable_and_refuses_nonsense(rig: Rig, entered: Asked) -> None:
    from threading import Event, Thread

    server, stop = ControlServer(rig.loaded.control_socket), Event()
    server.start(verbs(rig.engine))

    def ticking() -> None:
        while not stop.wait(0.01):
            rig.engine.tick()

    thread = Thread(target=ticking)
    thread.start()
    try:
        fields = {"do": "on", **WHO}
        body = ask(rig.loaded.control_socket, "field", what="maintenance", fields=fields)
        assert body["name"] == "W1"
        status = ask(rig.loaded.control_socket, "status")
        assert [one["name"] for one in status["field"]["maintenance"]] == ["W1"]
        for what, wrong in (("maintenance", {}), ("party", {"do": "on"}), ("visit", {"do": "note", "photos": [1]})):
            with pytest.raises(ControlRefused):
                ask(rig.loaded.control_socket, "field", what=what, fields=wrong)
        marked = {"do": "mark", "point": "site", "mark": "D", **WHO}
        assert ask(rig.loaded.control_socket, "marks", fields=marked)["name"] == "M2"
    finally:
        stop.set()
        thread.join()
        server.close()


def test_an_entry_that_the_disk_refuses_is_not_made_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither kept, nor shown, nor in the way of the next one, which gets its name."""
    refused = {"what": "maintenance", "fields": {"do": "on", **WHO}}
    with monkeypatch.context() as patched:
        patched.setattr(rig.engine, "committed", lambda patience=5.0: False)
        with pytest.raises(StoreError, match="nothing was entered"):
            verbs(rig.engine)["field"](refused)
    rig.run(35)
    assert rig.engine.store.query("SELECT kind FROM record WHERE kind IN ('maintenance', 'mark')") == []
    assert rig.engine.field_work().live()["maintenance"] == []
    assert realtime(rig) == "REALTIME site pm10=60N pm25=35N"
    assert Asked(rig)("on", **WHO)["name"] == "W1"


def test_a_key_turned_at_a_daemon_is_seen_by_whoever_looks(tmp_path: Path) -> None:
    """The whole way: pin, contact, span, mark, status; in Chinese as in English."""
    quick = ('data_folder = "data"', 'data_folder = "data"\ncommit_seconds = 1')
    path = configure(tmp_path, quick)
    switch = SWITCH.replace("Li Wei, operator on duty", "李伟").replace("longest", "bounce_seconds = 0.1\nlongest")
    path.write_text(path.read_text(encoding="utf-8") + switch, encoding="utf-8")
    words = ("--config", path)
    with daemon(path, env={"GPIOZERO_PIN_FACTORY": "mock"}):
        assert station("emulate", "pin", "key", "active", *words).code == 0
        field = until(lambda: (answer(load(path).control_socket).get("field") or {}).get("maintenance"), 10)
        assert [(one["name"], one["user"], one["source"]) for one in field] == [("W1", "李伟", "key")]
        assert "维护中:W1 整站" in station("status", *words, "--lang", "zh").out
        ended = station("maintenance", "off", "--user", "王芳", *words, "--lang", "zh")
        assert (ended.code, ended.out) == (0, "W1:维护结束\n")
        listed = station("maintenance", "list", *words, "--lang", "en")
        assert "switch key" in listed.out
        assert station("maintenance", "off", "--user", "Wang", *words).err == "no maintenance is under way\n"


def test_half_a_character_is_no_reason(rig: Rig) -> None:
    """A terminal set to GBK makes them of every Chinese word; a commit with one in it would end the station."""
    rig.run(10)
    typed = os.fsdecode("清洗".encode("gbk"))
    ask = verbs(rig.engine)
    with pytest.raises(WrongArgument, match="set the terminal to UTF-8"):
        ask["field"]({"what": "commissioning", "fields": {"do": "begin", "user": typed}})
    with pytest.raises(WrongArgument, match="set the terminal to UTF-8"):
        ask["backup_taken"]({"at": "2026-03-01T00:00:00+00:00", "body": {"path": typed}})
    rig.run(10)
