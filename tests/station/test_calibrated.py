"""A calibration in the running station: in force with the next poll, marked C meanwhile, old readings as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from station import calibrated
from station.calibrate import KIND
from station.calibration import Book
from station.calibration_entry import calibration_book, enter_calibration
from station.calibration_run import read_book
from station.config import load
from station.fieldbook import BEGINNING, END
from station.model import ConfigError, Record, StoreError, WrongArgument, replace
from station.store import Store
from tests.station.commands import configure
from tests.station.conftest import CONFIG, START, Rig

BEGIN = {"do": "begin", "device": "dust", "parameter": "pm25", "procedure": "two-point",
         "standards": [{"value": 0}, {"value": 100, "certificate": "GBW-17"}], "user": "Wang Fang"}  # fmt: skip


def enter(rig: Rig, **fields: Any) -> Mapping[str, Any]:
    """An entry as the socket makes it, committed."""
    engine = rig.engine
    made = enter_calibration(engine.store, rig.loaded, {"user": "Wang Fang"} | fields, rig.clock.now(), engine.trust())
    engine.keep(*made, urgent=True)
    assert engine.commit()
    return made[0].body


def steady(rig: Rig, value: float) -> list[list[Any]]:
    return [[(rig.clock.now() + timedelta(seconds=i)).isoformat(), value] for i in range(6)]


def calibrate(rig: Rig, low: float = 2.0, high: float = 82.0, **more: Any) -> str:
    """Zero and 100 with the raw values given: 2 and 82 make slope 1.25 and intercept -2.5."""
    name = str(enter(rig, **BEGIN)["name"])
    for index, raw in enumerate((low, high)):
        enter(rig, do="step", name=name, index=index, readings=steady(rig, raw))
    enter(rig, do="done", name=name, **more)
    return name


def errands(rig: Rig) -> None:
    """What was handed to the bus's thread is done."""
    for poller in rig.engine.pollers:
        poller.turn()


def poll(rig: Rig, parameter: str = "pm25") -> float | None:
    (poller,) = rig.engine.pollers
    poller.poll(poller.tasks[0])
    return rig.engine.recorder.current["dust", parameter].value


def stored(rig: Rig, parameter: str = "pm25") -> list[tuple[float, float, list[float]]]:
    """Raw, value and coefficients of every reading, in order."""
    rows = rig.engine.store.query(
        "SELECT raw, coalesce(value, raw), coefficients FROM reading JOIN series ON series.id = reading.series"
        " WHERE parameter = ? AND raw IS NOT NULL ORDER BY reading.id",
        (parameter,),
    )
    return [(raw, value, json.loads(coefficients)) for raw, value, coefficients in rows]


def book(rig: Rig) -> Book:
    return calibration_book(rig.engine.store)


def test_new_coefficients_hold_from_the_next_poll_and_old_readings_stay(rig: Rig) -> None:
    """35 is 35 before and 1.25 · 35 - 2.5 = 41.25 after; the other parameter is left alone."""
    assert poll(rig) == 35.0
    calibrate(rig)
    errands(rig)
    assert (poll(rig), poll(rig, "pm10")) == (41.25, 60.0)
    assert rig.engine.commit()
    assert stored(rig) == [(35.0, 35.0, [1.0, 0.0]), (35.0, 41.25, [1.25, -2.5]), (35.0, 41.25, [1.25, -2.5])]
    assert {tuple(row[2]) for row in stored(rig, "pm10")} == {(1.0, 0.0)}


def test_readings_of_one_commit_keep_what_each_was_made_with(rig: Rig) -> None:
    """One poll before the switch and one behind it reach the disk together."""
    calibrate(rig)
    assert poll(rig) == 35.0
    errands(rig)
    assert poll(rig) == 41.25
    assert rig.engine.commit()
    assert stored(rig)[-2:] == [(35.0, 35.0, [1.0, 0.0]), (35.0, 41.25, [1.25, -2.5])]


def test_a_disk_that_refuses_in_between_mixes_nothing_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate(rig)
    assert poll(rig) == 35.0
    errands(rig)
    assert poll(rig) == 41.25

    def full(*_: object) -> None:
        raise StoreError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Store, "add_messages", full)
        assert not rig.engine.commit()
    calibrate_again = poll(rig)
    assert calibrate_again == 41.25
    assert rig.engine.commit()
    assert [row[1:] for row in stored(rig)[-3:]] == [
        (35.0, [1.0, 0.0]),
        (41.25, [1.25, -2.5]),
        (41.25, [1.25, -2.5]),
    ]


def test_a_restart_goes_on_with_the_newest_calibration_not_with_station_toml(rig: Rig) -> None:
    calibrate(rig)
    calibrate(rig, 4.0, 104.0)
    before = [one for one in rig.engine.series.values() if one.parameter == "pm25"]
    rig.restart()
    assert poll(rig) == 31.0
    (after,) = [one for one in rig.engine.series.values() if one.parameter == "pm25"]
    assert (after.coefficients, after.config != before[0].config) == ((1.0, -4.0), True)
    assert book(rig).named("K2").before == (1.25, -2.5)


def test_what_is_calibrated_starts_from_station_toml(tmp_path: Any) -> None:
    changed = CONFIG.replace('point = "site"\n', 'point = "site"\ncalibration = { pm25 = [2.0, 1.0] }\n', 1)
    rig = Rig(tmp_path, changed)
    try:
        assert poll(rig) == 71.0
        enter(rig, **BEGIN | {"procedure": "zero", "standards": [{"value": 0}]})
        enter(rig, do="step", name="K1", index=0, readings=steady(rig, 3.0))
        assert enter(rig, do="done", name="K1")["coefficients"] == [2.0, -6.0]
        errands(rig)
        assert poll(rig) == 64.0
    finally:
        rig.engine.shut_down()


def test_values_are_marked_c_while_it_lasts_and_two_minutes_on(rig: Rig) -> None:
    enter(rig, **BEGIN)
    mark, other = rig.engine.periods.marks  # PM10 comes through the same inlet
    assert (other.name, other.mark.name, other.parameter, other.last) == ("M2", "C", "pm10", None)
    assert (mark.name, mark.mark.name, mark.parameter, mark.first, mark.last, mark.user, mark.reason) == (
        "M1", "C", "pm25", START, None, "Wang Fang", "calibration K1: two-point",
    )  # fmt: skip
    for index, raw in enumerate((2.0, 82.0)):
        enter(rig, do="step", name="K1", index=index, readings=steady(rig, raw))
    rig.clock.advance(600)
    enter(rig, do="done", name="K1")
    for name in ("M1", "M2"):
        assert rig.engine.periods.marks.named(name).last == START + timedelta(seconds=720)


def test_a_mark_that_somebody_ended_is_left_as_it_is(rig: Rig) -> None:
    from station import marks

    enter(rig, **BEGIN)
    rig.clock.advance(60)
    ended = {"do": "end", "name": "M1", "user": "Li Wei", "reason": "mistake"}
    rig.engine.keep(marks.enter(rig.engine.periods.marks, ended, {}, rig.clock.now()))
    rig.engine.commit()
    rig.clock.advance(60)
    enter(rig, do="cancel", name="K1", reason="gas is empty")
    assert rig.engine.periods.marks.named("M1").last == START + timedelta(seconds=60)


def test_a_power_cut_at_any_step_resumes_at_that_step(rig: Rig) -> None:
    """The station is killed after each entry; what was kept is there, and the mark still stands."""
    enter(rig, **BEGIN)
    for index, raw in enumerate((2.0, 82.0)):
        rig.restart()
        run = book(rig).named("K1")
        assert (run.state, len(run.steps), run.user) == ("open", index, "Wang Fang")
        assert rig.engine.periods.marks.named("M1").last is None
        enter(rig, do="step", name="K1", index=index, readings=steady(rig, raw))
    rig.restart()
    assert poll(rig) == 35.0
    enter(rig, do="done", name="K1")
    rig.restart()
    assert (poll(rig), book(rig).named("K1").state) == (41.25, "done")


def test_a_platform_does_not_command_an_instrument_that_somebody_calibrates(rig: Rig) -> None:
    """Busy from the beginning to the end, over a restart too; another person is told by whom."""
    from station.model import Command, Outcome, Result

    rig.instrument.actions = {"clean": ("pm25",)}
    results: list[Result] = []

    def command() -> str:
        del results[:]
        told = Command("clean", "district", "site", {"parameter": "pm25"}, f"q{rig.clock.now().timestamp()}")
        found = rig.engine.desk._on_instrument(told, results.append)
        return "" if found is None else f"{found.outcome is Outcome.BUSY} {found.reason}"

    assert rig.engine.calibrated_by("dust") == ""
    enter(rig, **BEGIN)
    assert command() == "True dust is being calibrated on site (K1)"
    rig.restart()
    assert command() == "True dust is being calibrated on site (K1)"
    enter(rig, do="cancel", name="K1", reason="gas is empty")
    assert command() == ""


def test_a_cancelled_calibration_changes_nothing(rig: Rig) -> None:
    enter(rig, **BEGIN)
    enter(rig, do="step", name="K1", index=0, readings=steady(rig, 9.0))
    enter(rig, do="cancel", name="K1", reason="gas is empty", user="Li Wei")
    rig.restart()
    assert poll(rig) == 35.0
    with pytest.raises(WrongArgument, match="K1 is cancelled already"):
        enter(rig, do="step", name="K1", index=1, readings=steady(rig, 80.0))


def test_a_calibration_taken_back_restores_what_was_before(rig: Rig) -> None:
    calibrate(rig)
    errands(rig)
    assert poll(rig) == 41.25
    enter(rig, do="revert", name="K1", reason="the bottle was the wrong one")
    errands(rig)
    assert poll(rig) == 35.0
    rig.engine.commit()
    assert [row[1] for row in stored(rig)][-2:] == [41.25, 35.0]


def test_coefficients_in_force_outlive_the_retention_of_records(rig: Rig) -> None:
    """Five years on, and nobody has calibrated it since: they are not those of station.toml again after a restart."""
    calibrate(rig)
    late = rig.clock.now() + timedelta(days=3000)
    assert rig.engine.store.purge("record", late, late + timedelta(days=1)) > 0  # marks, which are past their time
    assert rig.engine.store.purge("record", late, late + timedelta(days=1)) == 0
    rig.restart()
    assert poll(rig) == 41.25


def test_a_name_is_not_given_twice_though_the_first_ones_are_past_their_retention(rig: Rig) -> None:
    calibrate(rig)
    calibrate(rig)
    rows = rig.engine.store.records(KIND, BEGINNING, END)
    kept = read_book(one for one in rows if one.body["name"] != "K1")
    assert kept.next_number == 3


@pytest.mark.parametrize("field", [{"full_scale": float("inf")}, {"rule": {"noise_percent": float("inf")}},
                                   {"rule": {"drift_percent": float("nan")}}])  # fmt: skip
def test_no_full_scale_and_no_rule_makes_every_signal_stable(rig: Rig, field: dict[str, Any]) -> None:
    with pytest.raises(WrongArgument, match="above 0"):
        enter(rig, **BEGIN, **field)


def test_a_serial_number_that_nobody_types_is_that_of_last_time(rig: Rig) -> None:
    calibrate(rig)
    assert book(rig).named("K1").instrument == {}
    enter(rig, **BEGIN, serial="SN-7")
    enter(rig, do="cancel", name="K2", reason="gas is empty")
    enter(rig, **BEGIN)
    assert book(rig).named("K3").instrument == {"serial": "SN-7"}


def test_the_record_holds_all_it_rests_on(rig: Rig) -> None:
    calibrate(rig, note="sample line changed")
    records = rig.engine.store.records(KIND, BEGINNING, END, device="dust")
    assert [one.body["do"] for one in records] == ["begin", "step", "step", "done"]
    begun, _, step, done = (one.body for one in records)
    assert (begun["trust"], begun["standards"][1]["certificate"], begun["full_scale"]) == ("ntp", "GBW-17", None)
    assert len(step["readings"]) == 6
    assert (done["before"], done["coefficients"], done["configured"], done["note"]) == (
        [1.0, 0.0], [1.25, -2.5], [1.0, 0.0], "sample line changed",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"do": "burn"}, "not an entry of calibrations"),
        ({"do": "begin"}, "not an entry of calibrations"),
        ({**BEGIN, "device": "dst"}, 'there is no device "dst"; did you mean dust'),
        ({**BEGIN, "parameter": "pm1"}, 'dust does not deliver "pm1"'),
        ({**BEGIN, "standards": 3}, "not an entry of calibrations"),
        ({**BEGIN, "rule": {"speed": 3}}, "not an entry of calibrations"),
        ({**BEGIN, "rule": {"readings": 1}}, "takes 3 to 500 readings"),
        ({**BEGIN, "user": ""}, "the person's name"),
        ({**BEGIN, "full_scale": -1}, "a full scale of -1 is not above 0"),
        ({"do": "step", "name": "K9", "index": 0, "readings": []}, 'there is no calibration "K9"'),
    ],
)
def test_nonsense_keeps_nothing(rig: Rig, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongArgument, match=said):
        enter(rig, **fields)
    assert rig.engine.store.records(KIND, BEGINNING, END) == []
    assert len(rig.engine.periods.marks) == 0


def test_a_full_scale_comes_from_the_configured_range(tmp_path: Any) -> None:
    rig = Rig(tmp_path, CONFIG.replace('point = "site"\n', 'point = "site"\nrange = { pm25 = [0, 500] }\n', 1))
    try:
        assert enter(rig, **BEGIN)["full_scale"] == 500
    finally:
        rig.engine.shut_down()


@pytest.mark.parametrize(("st", "slope", "told"), [("39", 2.0, 0), ("31", 1.0, 0), ("31", 2.0, 1), ("52", 2.0, 1)])
def test_coefficients_where_one_number_must_show_are_a_fault(tmp_path: Path, st: str, slope: float, told: int) -> None:
    """Coefficients of the station are 1 and 0 there."""
    path = configure(
        tmp_path,
        ('st = "39"', f'st = "{st}"'),
        ('point = "site"\n', f'point = "site"\ncalibration = {{ pm25 = [{slope}, 0.0] }}\n'),
    )
    if not told:
        assert load(path).config.point[0].st == st
        return
    with pytest.raises(ConfigError) as refused:
        load(path)
    (said,) = str(refused.value).splitlines()
    assert f"calibration.pm25: ST={st} wants one number in instrument, station and platform" in said


def test_coefficients_of_before_a_point_was_locked_hold_no_longer(rig: Rig) -> None:
    """The record stays; what it says of the station's coefficients is over."""
    body = {"do": "done", "name": "K1", "parameter": "pm25", "changes": True, "coefficients": [2.0, 0.0]}
    with rig.engine.store.transaction():
        rig.engine.store.add_records([Record(KIND, rig.clock.now(), body, "site", "dust")])
    for st, slope in (("39", 2.0), ("31", 1.0)):
        calibrated.in_force(rig.engine.store, rig.engine.tasks, {"site": st})
        assert rig.engine.tasks["dust"].settings.calibration.get("pm25", (1.0, 0.0))[0] == slope
        rig.engine.tasks["dust"].settings = replace(rig.engine.tasks["dust"].settings, calibration={})
