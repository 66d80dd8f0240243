"""The two-point check of a 4–20 mA loop: what is fed and measured, what is wrong with it, restarts, the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from station import loop
from station.clock import EPOCH
from station.model import Mark, Reason, WrongArgument
from station.resumption import FOREVER
from tests.station.commands import answering, station
from tests.station.conftest import CONFIG, Rig
from tests.station.test_maintenance import Asked

WHO = {"user": "Wang Fang"}
TOLD = {**WHO, "device": "dust", "parameter": "pm25", "calibrator": "Fluke 707, No. 1234"}
CHANNELS = """driver = "current"
module = "adam-4117"
unit_id = 1
channels.pm25 = { channel = 1, low = 0, high = 1000, unit = "µg/m³" }
channels.pm10 = { channel = 2, low = 0, high = 1000, unit = "µg/m³" }"""
CURRENT = CONFIG.replace('profile = "deltaohm-pmsense"\nunit_id = 1', CHANNELS)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, CURRENT)
    yield made
    made.engine.shut_down()


@pytest.fixture
def entered(rig: Rig) -> Asked:
    asked = Asked(rig)
    asked.of("maintenance", "on", device="dust", reason="loop check", **WHO)
    return asked


def feed(rig: Rig, current: float, **more: Any) -> None:
    """What the module reads of *current*, in mA, for some polls."""
    rig.instrument.show(pm25=(current - 4) / 16 * 1000, pm10=60.0, **more)
    rig.run(20)
    rig.engine.commit()


def book(rig: Rig) -> loop.Book:
    return loop.Book(rig.engine.store.records("loop", EPOCH, FOREVER))


def test_two_currents_within_the_limit_pass_and_are_kept(rig: Rig, entered: Asked) -> None:
    assert entered.of("loop", "begin", **TOLD)["name"] == "L1"
    feed(rig, 4.016)
    low = entered.of("loop", "point", fed=4)
    assert (low["measured"], low["error"], low["expected"]) == (4.016, 0.1, 0)
    feed(rig, 19.952)
    assert entered.of("loop", "point", fed=20)["error"] == -0.3
    assert entered.of("loop", "end", note="terminal tightened")["verdict"] == "passed"
    (one,) = book(rig)
    assert (one.user, one.calibrator, one.verdict, one.worst, one.note) == (
        "Wang Fang", "Fluke 707, No. 1234", "passed", 0.3, "terminal tightened",
    )  # fmt: skip
    assert [code for code in rig.events() if code.startswith("loop")] == [
        "loop_begin", "loop_point", "loop_point", "loop_end",
    ]  # fmt: skip


def test_an_error_beyond_the_limit_fails_and_a_point_fed_once_more_counts_anew(rig: Rig, entered: Asked) -> None:
    entered.of("loop", "begin", **TOLD)
    feed(rig, 4.2)
    entered.of("loop", "point", fed=4)
    feed(rig, 20.0)
    entered.of("loop", "point", fed=20)
    assert entered.of("loop", "end")["verdict"] == "failed"
    assert entered.of("loop", "begin", **TOLD)["name"] == "L2"
    feed(rig, 4.2)
    entered.of("loop", "point", fed=4)
    feed(rig, 4.0)
    entered.of("loop", "point", fed=4)
    feed(rig, 20.0)
    entered.of("loop", "point", fed=20)
    assert entered.of("loop", "end")["verdict"] == "passed"
    assert [one.verdict for one in book(rig)] == ["failed", "passed"]


def test_a_check_goes_on_after_a_power_cut(rig: Rig, entered: Asked) -> None:
    entered.of("loop", "begin", **TOLD)
    feed(rig, 4.0)
    entered.of("loop", "point", fed=4)
    rig.restart()
    feed(rig, 12.0)
    entered.of("loop", "point", fed=12)
    assert entered.of("loop", "end")["verdict"] == "passed"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"user": ""}, "a loop check needs the name of who does it (--user)"),
        ({"calibrator": ""}, "a loop check needs the current source and its number (--calibrator)"),
        ({"device": "dusk"}, 'there is no module of 4–20 mA "dusk"; did you mean dust?; known: dust'),
        ({"parameter": "cod"}, 'on no channel of "dust" hangs cod'),
        ({"limit": 0}, "limit: 0 is no share of the span"),
        ({"limit": "much"}, "limit: 'much' is no number"),
    ],
)
def test_a_wrong_beginning_is_one_sentence(rig: Rig, entered: Asked, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        entered.of("loop", "begin", **{**TOLD, **fields})
    assert said in str(caught.value)
    assert list(book(rig)) == []


def test_without_maintenance_nothing_is_begun(rig: Rig) -> None:
    with pytest.raises(WrongArgument, match=r"pm25 at site is not under maintenance.*station maintenance on"):
        Asked(rig).of("loop", "begin", **TOLD)


def test_maintenance_that_ended_meanwhile_is_said_at_the_point(rig: Rig, entered: Asked) -> None:
    entered.of("loop", "begin", **TOLD)
    entered.of("maintenance", "off", name="W1", **WHO)
    feed(rig, 4.0)
    with pytest.raises(WrongArgument, match="is not under maintenance"):
        entered.of("loop", "point", fed=4)


def test_what_cannot_be_a_point_is_said(rig: Rig, entered: Asked) -> None:
    with pytest.raises(WrongArgument, match="no loop check is under way; begin one: station loop begin"):
        entered.of("loop", "point", fed=4)
    entered.of("loop", "begin", **TOLD)
    with pytest.raises(WrongArgument, match="L1 of Wang Fang is under way for it"):
        entered.of("loop", "begin", **TOLD)
    with pytest.raises(WrongArgument, match="0 readings of pm25, 3 are needed"):
        entered.of("loop", "point", fed=4)
    for fed in (3.5, 21):
        with pytest.raises(WrongArgument, match=r"feed 3.8 to 20.5; beyond that a current is a fault"):
            entered.of("loop", "point", fed=fed)
    with pytest.raises(WrongArgument, match="fed: 'four' is no number"):
        entered.of("loop", "point", fed="four")
    rig.instrument.show(mark=Mark.D, reason=Reason.LOOP_BROKEN, pm25=None, pm10=60.0)
    rig.run(20)
    rig.engine.commit()
    with pytest.raises(WrongArgument, match=r"3 are needed \(the newest: loop_broken\)"):
        entered.of("loop", "point", fed=4)
    with pytest.raises(WrongArgument, match="two currents are needed, 8 mA apart or more"):
        entered.of("loop", "end")
    feed(rig, 12.0)
    entered.of("loop", "point", fed=12)
    feed(rig, 19.0)
    entered.of("loop", "point", fed=19)
    with pytest.raises(WrongArgument, match="two currents are needed, 8 mA apart or more"):
        entered.of("loop", "end")
    with pytest.raises(WrongArgument, match='there is no loop check "L7"'):
        entered.of("loop", "end", name="L7")
    with pytest.raises(WrongArgument, match="say why it is cancelled"):
        entered.of("loop", "cancel")
    entered.of("loop", "cancel", reason="no time")
    with pytest.raises(WrongArgument, match=r"L1 is over \(cancelled\)"):
        entered.of("loop", "point", name="L1", fed=4)


def test_a_current_that_still_moves_is_no_point(rig: Rig, entered: Asked) -> None:
    entered.of("loop", "begin", **TOLD)
    feed(rig, 4.0)
    rig.instrument.show(pm25=500.0, pm10=60.0)
    rig.run(6)
    rig.engine.commit()
    with pytest.raises(WrongArgument, match=r"not steady, the last 3 readings are 8.000 mA apart"):
        entered.of("loop", "point", fed=12)


def test_the_commands_lead_through_a_check_and_print_it(rig: Rig, entered: Asked) -> None:
    here = ("--config", rig.folder / "station.toml")
    with answering(rig):
        begun = station("loop", "begin", "dust", "pm25", "--user", "Wang Fang", "--calibrator", "F1", *here)
        assert "3 are needed" in station("loop", "point", "4", *here).err
    assert (begun.code, begun.out) == (0, "L1 has begun; feed a current and then: station loop point 4\n")
    feed(rig, 4.016)
    with answering(rig):
        fed = station("loop", "point", "4", *here)
    assert "fed 4.000 mA, measured 4.016 mA" in fed.out
    assert "error +0.10 % of the span" in fed.out
    feed(rig, 20.0)
    with answering(rig):
        station("loop", "point", "20", *here)
        assert "L1 is under way." in station("loop", "show", *here).out
        assert "L1 passed: largest error 0.10 %" in station("loop", "end", *here).out
        shown = json.loads(station("loop", "show", "L1", "--json", *here).out)
        printed = station("loop", "show", "L1", "--lang", "zh", *here).out
    assert shown["loops"][0]["verdict"] == "passed"
    assert "F1" in printed
    assert "+0.10 %" in printed
