"""The flow from a poll to a platform's message, driven second by second."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from drivers.base import DeviceException, PortLost
from station.clock import to_ms
from station.model import Kind, Lane, Mark, Reading, Reason, Report, Sample, StoreError, replace
from station.recorder import MOST_EVENTS, Batch
from station.status import orphans
from station.store import connect
from tests.station.conftest import CONFIG, START, Rig

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_minute_becomes_an_average_and_a_message_in_one_commit(rig: Rig) -> None:
    """At 00:01:02 the minute that began at 00:00 is closed; it held the readings of its second half alone."""
    rig.run(33)
    (report,) = rig.engine.store.averages(Kind.MINUTE, MIDNIGHT, MIDNIGHT + DAY)
    assert report.start == MIDNIGHT
    assert [(a.parameter, a.mean, a.valid, a.expected) for a in report.averages] == [
        ("pm10", 60.0, 6, 12),
        ("pm25", 35.0, 6, 12),
    ]
    assert rig.texts("MINUTE") == ["MINUTE site pm10=60D pm25=35D"]  # half of what was due: no normal minute


def test_real_time_data_go_out_at_every_interval(rig: Rig) -> None:
    """Every 30 s, two seconds after the boundary, with the newest values."""
    rig.instrument.show(pm25=36.0)
    rig.run(33)
    rig.instrument.show(pm25=37.0)
    rig.run(30)
    assert rig.texts("REALTIME") == ["REALTIME site pm10=60N pm25=36N", "REALTIME site pm10=60N pm25=37N"]


def test_an_instrument_slower_than_its_polls_is_neither_silent_nor_incomplete(rig: Rig) -> None:
    """One value in a quarter of an hour, asked for every 5 s: its hour has the four that were due."""
    rig.instrument.every_seconds = 900.0
    rig.restart()
    for value in (10.0, 20.0, 30.0, 40.0):
        rig.instrument.show(pm25=value, pm10=value)
        rig.run(1)
        rig.instrument.show_nothing()
        rig.run(899)
    rig.run(33)
    assert {text.rpartition("pm25=")[2] for text in rig.texts("REALTIME")} == {"10N", "20N", "30N", "40N"}
    (hour,) = rig.engine.store.averages(Kind.HOUR, MIDNIGHT, MIDNIGHT + DAY)
    assert [(a.mean, a.mark, a.valid, a.expected) for a in hour.averages] == [(25.0, Mark.N, 4, 4)] * 2


def test_a_wiper_takes_nothing_out_of_a_mean(rig: Rig) -> None:
    """Twenty seconds of a minute without a value, at 5 s: neither silent nor incomplete."""
    rig.instrument.patience_seconds = 50.0
    rig.run(40)
    rig.instrument.held = ("pm25", "pm10")
    rig.instrument.show_nothing()
    rig.run(20)
    rig.instrument.held = ()
    rig.instrument.show(pm25=35.0, pm10=60.0)
    rig.run(60)
    minute = rig.engine.store.averages(Kind.MINUTE, MIDNIGHT + timedelta(minutes=1), MIDNIGHT + timedelta(minutes=2))
    assert [(a.mean, a.mark, a.valid, a.expected) for a in minute[0].averages] == [
        (60.0, Mark.N, 8, 8),
        (35.0, Mark.N, 8, 8),
    ]
    assert not any("B" in text for text in rig.texts("REALTIME"))


def test_status_says_what_an_instrument_reports_and_what_is_uncertain_of_it(rig: Rig) -> None:
    """Words for a person, beside the figures."""
    from station.status import live

    rig.instrument.conditions = ("no reagent",)
    rig.instrument.hints = ("it is a template",)
    (device,) = live(rig.engine)["devices"]
    assert device["notes"] == ["no reagent", "it is a template"]


def test_an_instrument_that_repeats_its_last_result_is_told_at_the_start_which_is_stored(rig: Rig) -> None:
    """So that a restart delivers nothing for the second time."""
    resumed: list[datetime | None] = []
    rig.instrument.resume = resumed.append
    rig.restart()
    rig.run(12)
    rig.engine.commit()
    rig.restart()
    assert resumed == [None, START + timedelta(seconds=10)]


def test_only_normal_readings_enter_a_mean(rig: Rig) -> None:
    """A reading above its range is kept and marked, and left out."""
    rig.run(31.0)
    rig.instrument.show(mark=Mark.T, reason=Reason.ABOVE_RANGE, pm25=9000.0)
    rig.run(10)
    rig.instrument.show(pm25=37.0)
    rig.run(53)
    reports = rig.engine.store.averages(Kind.MINUTE, MIDNIGHT, MIDNIGHT + DAY)
    pm25 = next(a for a in reports[-1].averages if a.parameter == "pm25")
    assert (pm25.mean, pm25.maximum, pm25.valid, pm25.total, pm25.mark) == (36.8, 37.0, 10, 12, Mark.N)


def test_a_device_with_a_calibration_a_range_and_another_point_is_measured(tmp_path: Path) -> None:
    """What the loader hands out for such tables is read-only mappings; the start once failed on them."""
    more = """parameters = ["pm25", "pm10"]
calibration = { pm25 = [2.0, 1.0] }
range = { pm10 = [0, 50] }
points = { pm10 = "gate" }
"""
    gate = '[[point]]\ncode = "gate"\nname = "Gate"\nst = "39"\n\n[[bus]]'
    rig = Rig(tmp_path, CONFIG.replace('parameters = ["pm25", "pm10"]', more).replace("[[bus]]", gate, 1))
    rig.run(6)
    rig.engine.commit()
    found = {r.parameter: r for r in rig.engine.store.readings(START, START + DAY)}
    rig.engine.shut_down()

    assert (found["pm25"].raw, found["pm25"].value, found["pm25"].point, found["pm25"].mark) == (35, 71, "site", Mark.N)
    assert (found["pm10"].value, found["pm10"].point, found["pm10"].mark) == (60, "gate", Mark.T)


def test_a_missed_poll_is_tried_again_at_once_and_counted(rig: Rig) -> None:
    """One lost reply costs nothing but a count with its reason."""
    rig.run(6)
    rig.instrument.go_silent(times=1)
    rig.run(28)
    assert rig.engine.store.query("SELECT device, reason, count FROM missed") == [("dust", Reason.NO_REPLY, 1)]
    marks = rig.engine.store.query("SELECT DISTINCT mark FROM reading")
    assert marks == [(0,)]
    assert "device_lost" not in rig.events()


def test_b_is_set_only_when_a_whole_interval_had_no_good_reply(rig: Rig) -> None:
    """A silent instrument is marked B after the 30 s of the real-time interval, not at the first miss."""
    rig.run(12)
    rig.instrument.go_silent()
    rig.run(15)
    rig.engine.commit()
    assert rig.engine.store.query("SELECT count(*) FROM reading WHERE raw IS NULL") == [(0,)]
    rig.run(45)
    found = rig.engine.store.readings(START, START + DAY)
    missing = [r for r in found if r.value is None]
    assert {(r.parameter, r.mark, r.reason) for r in missing} == {
        ("pm10", Mark.B, Reason.NO_REPLY),
        ("pm25", Mark.B, Reason.NO_REPLY),
    }
    assert rig.texts("REALTIME")[-1] == "REALTIME site pm10=B pm25=B"
    assert rig.events().count("device_lost") == 1


def test_a_parameter_whose_registers_fail_is_marked_although_the_rest_answers(rig: Rig) -> None:
    """Exceptions for PM2.5 alone: it gets its B, PM10 its values."""
    rig.run(10)
    error = DeviceException("dust: exception 2")
    error.samples = [Sample("pm10", rig.clock.now(), 61.0)]
    rig.instrument.go_silent(error=error)
    rig.run(90)
    assert rig.texts("REALTIME")[-1] == "REALTIME site pm10=61N pm25=B"
    assert rig.texts("MINUTE")[-1].endswith("pm25=B")


def test_a_value_from_before_a_silence_is_not_sent_as_the_present_one(rig: Rig) -> None:
    """The instrument comes back in the two seconds before the report is made: the moment reported had nothing."""
    rig.run(31)
    rig.instrument.go_silent()
    rig.run(89.0)
    rig.instrument.show(pm25=99.0, pm10=99.0)
    rig.instrument.come_back()
    for task in rig.engine.pollers[0].tasks:
        task.due = rig.clock.monotonic() + 1
    rig.run(3)
    assert rig.texts("REALTIME")[-1] == "REALTIME site pm10=B pm25=B"


def test_a_clock_set_back_does_not_keep_a_dead_instrument_alive(rig: Rig) -> None:
    """Silence is measured on the clock that never steps."""
    rig.run(10)
    rig.instrument.go_silent()
    rig.clock.step(-3600)
    rig.run(120)
    assert rig.texts("REALTIME")[-1] == "REALTIME site pm10=B pm25=B"


def test_a_clock_set_forward_marks_no_healthy_instrument(rig: Rig) -> None:
    """An hour ahead, and not one B."""
    rig.run(20)
    rig.clock.step(3600)
    rig.run(120)
    assert rig.engine.store.query("SELECT count(*) FROM reading WHERE raw IS NULL") == [(0,)]


def test_one_lost_reply_after_many_exceptions_costs_no_minute(rig: Rig) -> None:
    """Exceptions are answers: they do not lengthen the back-off."""
    rig.instrument.go_silent(error=DeviceException("dust: exception 2"))
    rig.run(300)
    rig.instrument.go_silent(times=1)
    rig.run(6)
    asked = rig.instrument.asked
    rig.instrument.come_back()
    rig.run(6)
    assert rig.instrument.asked > asked


def test_a_silent_unit_is_asked_ever_more_rarely_and_found_again(rig: Rig) -> None:
    """Probes at 1, 2, 4 … 60 s instead of every poll; the polls it would have had are counted."""
    rig.run(5)
    rig.instrument.go_silent()
    before = rig.instrument.asked
    rig.run(600)
    assert rig.instrument.asked - before < 20
    rig.instrument.come_back()
    rig.run(61)
    rig.engine.commit()
    assert "device_back" in rig.events()
    reasons = dict(rig.engine.store.query("SELECT reason, sum(count) FROM missed GROUP BY reason"))
    assert reasons[Reason.BACKING_OFF] > 80
    assert rig.engine.recorder.state("dust").failures == 0


def test_an_instrument_that_answers_exceptions_keeps_its_cadence(rig: Rig) -> None:
    """It answered, so it is not backed off."""
    rig.instrument.go_silent(error=DeviceException("dust: exception 2"))
    rig.run(60)
    assert rig.instrument.asked == 12


def test_a_lost_port_is_waited_for_and_said_once(rig: Rig) -> None:
    """Pulled out for a minute: one event lost, one event back."""
    rig.run(5)
    rig.instrument.go_silent(error=PortLost("/dev/ttyUSB0: cannot be opened: No such file or directory"))
    rig.run(60)
    rig.instrument.come_back()
    rig.run(10)
    rig.engine.commit()
    assert [e for e in rig.events() if e.startswith("port")] == ["port_lost", "port_back"]


def test_hours_and_days_are_closed_from_what_lies_below_them(rig: Rig) -> None:
    """A day at +08:00 ends at 16:00 UTC; its mean is of its hours, their means of their minutes."""
    rig.run(3600 * 16 + 40, step=5)
    store = rig.engine.store
    hours = store.averages(Kind.HOUR, MIDNIGHT, MIDNIGHT + DAY)
    days = store.averages(Kind.DAY, MIDNIGHT - DAY, MIDNIGHT + DAY)
    assert [r.start for r in hours] == [MIDNIGHT + timedelta(hours=n) for n in range(16)]
    assert [r.start for r in days] == [MIDNIGHT - timedelta(hours=8)]
    assert {a.parameter: a.mean for a in days[0].averages} == {"pm25": 35.0, "pm10": 60.0}
    assert rig.texts("DAY") == ["DAY site pm10=60D pm25=35D"]  # 16 of 24 hours: under three quarters


def test_periods_that_a_crash_left_open_are_closed_at_the_next_start(rig: Rig) -> None:
    """Killed right before the minute's commit: the readings that were committed still make the minute."""
    rig.run(20)
    rig.engine.commit()
    rig.restart()
    rig.clock.advance(600)
    rig.run(3)
    starts = [r.start for r in rig.engine.store.averages(Kind.MINUTE, MIDNIGHT, MIDNIGHT + DAY)]
    assert starts == [MIDNIGHT]
    assert rig.texts("MINUTE") == ["MINUTE site pm10=60D pm25=35D"]


def test_no_period_is_closed_twice_over_restarts(rig: Rig) -> None:
    """Five kills in five minutes: five minutes, each once."""
    for _ in range(5):
        rig.run(60)
        rig.restart()
    rig.run(5)
    starts = [r.start for r in rig.engine.store.averages(Kind.MINUTE, MIDNIGHT, MIDNIGHT + DAY)]
    assert starts == [MIDNIGHT + timedelta(minutes=n) for n in range(5)]
    assert len(rig.texts("MINUTE")) == 5


def test_a_station_that_was_off_for_days_reports_no_empty_minutes(rig: Rig) -> None:
    """Nothing was measured, so nothing is made up."""
    rig.run(120)
    rig.clock.advance(3 * 86400)
    rig.restart()
    rig.run(120)
    starts = [r.start for r in rig.engine.store.averages(Kind.MINUTE, MIDNIGHT, MIDNIGHT + 4 * DAY)]
    before = [MIDNIGHT + timedelta(minutes=n) for n in range(3)]
    assert starts == [*before, *(MIDNIGHT + timedelta(days=3, minutes=n) for n in (2, 3))]


def test_a_clock_set_back_an_hour_is_an_event_and_life_goes_on_there(rig: Rig) -> None:
    """The step stands in the clock table; minutes and real-time data of the new present are closed and sent."""
    rig.run(100)
    before = len(rig.texts("MINUTE"))
    reported = len(rig.texts("REALTIME"))
    rig.clock.step(-3600)
    rig.run(100)
    assert "clock_step" in rig.events()
    assert len(rig.texts("MINUTE")) == before + 1
    assert len(rig.texts("REALTIME")) == reported + 3
    offsets = [row[0] for row in rig.engine.store.query("SELECT offset_ms FROM clock ORDER BY id")]
    assert offsets[1] - offsets[0] == -3_600_000


def test_readings_of_before_a_step_keep_its_offset(rig: Rig) -> None:
    """The clock table says from which reading on the new offset holds, to within the poll that ran meanwhile."""
    rig.run(40)
    stored_before = rig.engine.store.newest("reading")
    rig.clock.step(-3600)
    rig.run(40)
    first = rig.engine.store.query("SELECT first_reading FROM clock ORDER BY id DESC LIMIT 1")[0][0]
    times = rig.engine.store.query("SELECT id, at_ms FROM reading WHERE id >= ? ORDER BY id", (stored_before,))
    back = next(number for number, at in times if at < to_ms(START))
    assert first - back in (0, 2)


def test_a_period_lived_twice_has_two_versions_and_no_third(rig: Rig) -> None:
    """Two minutes back: what was reported stays, what is measured now stands beside it."""
    rig.run(120)
    rig.clock.step(-60)
    rig.instrument.show(pm25=99.0)
    rig.run(150)
    rows = rig.engine.store.query("SELECT start_ms, version FROM average WHERE kind = ? ORDER BY id", (Kind.MINUTE,))
    assert len(rows) == len(set(rows))
    assert max(version for _, version in rows) == 2
    sent = rig.engine.store.query("SELECT kind, start_ms, version FROM message WHERE kind <> ?", (Kind.POWER_ON,))
    assert len(sent) == len(set(sent))


def test_a_minute_cut_off_by_a_step_forward_is_closed_though_the_clock_had_been_set_back(rig: Rig) -> None:
    """The first reading behind it by its number is one of the later time that was lived before."""
    rig.run(200)
    rig.clock.step(-1800)
    rig.run(205)
    cut_off = rig.clock.now().replace(second=0)
    rig.clock.step(3 * 86400)
    rig.run(130)
    (average,) = (a for a in rig.engine.store.average(Kind.MINUTE, "site", cut_off).averages if a.parameter == "pm25")
    assert 0 < average.total < 12


def test_a_clock_that_ran_ahead_does_not_stop_the_present(rig: Rig) -> None:
    """A month ahead for three minutes, corrected, restarted: minutes and hours are closed as ever."""
    rig.run(60)
    rig.clock.step(30 * 86400)
    rig.run(200)
    rig.clock.step(-30 * 86400)
    rig.restart()
    before = len(rig.texts("MINUTE"))
    rig.run(2 * 3600, step=5)
    assert len(rig.texts("MINUTE")) - before >= 119
    assert len(rig.texts("HOUR")) >= 2


def test_a_restart_inside_the_first_minute_of_an_hour_loses_none_of_its_readings(rig: Rig) -> None:
    """Twelve durable readings, twelve in the average."""
    rig.run(3600 - 30)
    rig.instrument.show(pm25=10.0)
    rig.run(20)
    rig.engine.commit()
    rig.restart()
    rig.instrument.show(pm25=70.0)
    rig.run(50)
    start = MIDNIGHT + timedelta(hours=1)
    (report,) = rig.engine.store.averages(Kind.MINUTE, start, start + timedelta(minutes=1))
    found = next(a for a in report.averages if a.parameter == "pm25")
    stored = [r.value for r in rig.engine.store.readings(start, start + timedelta(minutes=1)) if r.parameter == "pm25"]
    assert (found.total, found.minimum, found.maximum) == (len(stored), 10.0, 70.0)


def test_a_reading_that_comes_late_makes_a_new_version_of_its_minute_and_hour(rig: Rig) -> None:
    """Recorded after its minute and hour were closed: both are closed again, and sent again."""
    rig.run(3700)
    late = Reading("dust", "site", "pm25", MIDNIGHT + timedelta(minutes=59, seconds=59), 935.0, 935.0)
    rig.engine.recorder.add([late], rig.clock.monotonic())
    rig.run(40)
    store = rig.engine.store
    minute = store.average(Kind.MINUTE, "site", MIDNIGHT + timedelta(minutes=59))
    hour = store.average(Kind.HOUR, "site", MIDNIGHT)
    assert minute is not None
    assert hour is not None
    assert (minute.version, hour.version) == (2, 2)
    assert next(a.maximum for a in hour.averages if a.parameter == "pm25") == 935.0
    versions = store.query("SELECT kind, version FROM message WHERE version > 1 ORDER BY id")
    assert versions == [(Kind.MINUTE, 2), (Kind.HOUR, 2)]


def test_an_error_in_the_middle_of_a_commit_loses_no_reading(rig: Rig) -> None:
    """The batch is put back; the last commit of the shutdown stores it."""
    rig.run(10)

    def fail(report: Report) -> str:
        raise ZeroDivisionError("a bug in the wording")

    rig.uplink.compose, compose = fail, rig.uplink.compose  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        rig.run(60)
    rig.uplink.compose = compose  # type: ignore[method-assign]
    rig.engine.commit()
    times = [r.time for r in rig.engine.store.readings(START, START + DAY) if r.parameter == "pm25"]
    assert times == [START + timedelta(seconds=5 * n) for n in range(len(times))]
    assert len(times) >= 6


def test_each_start_reports_power_on_once(rig: Rig) -> None:
    """2081 is queued by the start itself."""
    rig.run(60)
    rig.restart()
    assert rig.texts("POWER_ON") == ["POWER_ON site", "POWER_ON site"]


def test_commits_come_once_a_real_time_interval(rig: Rig) -> None:
    """The smaller of commit_seconds (60) and the interval (30): four in two minutes, not one a poll."""
    commits = []
    commit = rig.engine.commit
    rig.engine.commit = lambda **more: commits.append(rig.clock.now()) or commit(**more)  # type: ignore[method-assign]
    rig.run(120)
    assert len(commits) == 4


def test_readings_wait_in_memory_while_the_disk_is_full(rig: Rig) -> None:
    """Nothing is lost, one line is logged, and an event tells of it afterwards."""
    rig.run(10)
    store = rig.engine.store
    pages = store.query("PRAGMA page_count")[0][0]
    store.query(f"PRAGMA max_page_count={pages}")
    rig.run(1200)
    assert "the disk is full" in rig.engine.store_error
    store.query("PRAGMA max_page_count=1000000")
    rig.run(60)
    assert rig.engine.store_error == ""
    assert "store_back" in rig.events()
    times = [r.time for r in store.readings(START, START + DAY) if r.parameter == "pm25"]
    assert len(times) >= 250
    assert {(b - a).total_seconds() for a, b in pairwise(times)} == {5.0}


def test_a_flood_of_commands_while_the_disk_is_full_fills_no_memory(rig: Rig) -> None:
    """What was asked and could not be kept is an event each: the first of them stay, the rest is counted."""
    store, recorder = rig.engine.store, rig.engine.recorder
    rig.run(10)
    store.query(f"PRAGMA max_page_count={store.query('PRAGMA page_count')[0][0]}")
    rig.instrument.go_silent()
    rig.run(1200)
    assert "the disk is full" in rig.engine.store_error
    for number in range(MOST_EVENTS + 500):
        rig.engine.note("command", verb="read_clock", identity=str(number))
    rig.engine.note("calibration", urgent=True)
    held = recorder.take()
    recorder.put_back(held)
    assert len(held.events) == MOST_EVENTS + 1
    assert held.events[-1].code == "calibration"
    misses = recorder.take().misses
    recorder.put_back(Batch(misses=[*misses], events=held.events))
    assert len(misses) == len({miss.reason for miss in misses})
    store.query("PRAGMA max_page_count=1000000")
    rig.run(60)
    (back,) = [json.loads(row[0]) for row in store.query("SELECT arguments FROM event WHERE code = 'store_back'")]
    assert back["events_dropped"] >= 500
    rig.engine.commit()
    assert store.query("SELECT sum(count) FROM missed") == [(recorder.state("dust").missed,)]


def purge(rig: Rig, believed: str = "ntp") -> None:
    """Retention's work of one hour, with a clock that a time server vouches for."""
    rig.engine.purge._believed = lambda: believed
    rig.clock.advance(3600)
    for _ in range(60):
        rig.engine.purge.turn()


def test_purge_keeps_what_a_platform_is_still_owed(rig: Rig) -> None:
    """Past retention, but unanswered: it stays."""
    rig.run(120)
    owed = rig.engine.depths()["district"].owed
    rig.clock.advance(1828 * 86400)
    purge(rig)
    assert rig.engine.store.query("SELECT count(*) FROM reading") == [(0,)]
    assert rig.engine.depths()["district"].owed == owed == len(rig.texts())
    outbox = rig.engine.senders[0].outbox
    outbox.connected()
    outbox.answered([m.id for m in (*outbox.next(Lane.LIVE, 99), *outbox.next(Lane.HISTORY, 99))])
    purge(rig)
    assert rig.texts() == []


def test_a_wrong_clock_purges_nothing(rig: Rig) -> None:
    """Ten years ahead for a moment, and nobody vouches for it: five years of records are not at its mercy."""
    rig.run(120)
    before = rig.engine.store.newest("reading")
    rig.clock.step(10 * 365 * 86400)
    rig.run(10)
    purge(rig, believed="none")
    rig.engine.commit()
    assert rig.engine.store.query("SELECT count(*) FROM reading WHERE id <= ?", (before,)) == [(before,)]
    assert "purge_waits" in rig.events()


def test_purge_takes_one_portion_a_turn(rig: Rig) -> None:
    """Years of rows do not hold up the commits."""
    many = [Reading("dust", "site", "pm25", START - 2000 * DAY, 1.0, 1.0)] * 12_000
    with rig.engine.store.transaction():
        rig.engine.store.add_readings(many, rig.engine.series)
    rig.engine.purge._believed = lambda: "ntp"
    rig.clock.advance(3600)
    left = []
    for _ in range(12):
        rig.engine.purge.turn()
        left.append(rig.engine.store.query("SELECT count(*) FROM reading")[0][0])
    assert left[-1] == 0
    assert {a - b for a, b in pairwise([12_000, *left])} == {0, 2000, 5000}


def test_a_purge_that_the_disk_refuses_ends_nothing(rig: Rig) -> None:
    """The readings in memory are kept for when it works again."""
    rig.run(120)
    rig.engine.purge._believed = lambda: "ntp"
    rig.clock.advance(1828 * 86400)
    store = rig.engine.store
    read_only = connect(rig.loaded.database, read_only=True)
    writable, store._connection = store._connection, read_only
    rig.engine.tick()
    rig.engine.tick()
    assert "is read-only" in rig.engine.store_error
    store._connection = writable
    read_only.close()


def test_an_unforeseen_error_in_a_thread_reaches_the_main_thread(rig: Rig) -> None:
    """The process ends and systemd starts it clean."""
    rig.engine.pollers[0].failed = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        rig.engine.tick()


def test_the_schedule_of_each_platform_is_noted_once(rig: Rig) -> None:
    """What was due can be reckoned later; a restart adds nothing."""
    rig.restart()
    rows = rig.engine.store.query("SELECT kind, interval_seconds, from_ms FROM schedule ORDER BY kind")
    assert rows == [
        (kind, seconds, to_ms(START))
        for kind, seconds in ((Kind.REALTIME, 30), (Kind.MINUTE, 60), (Kind.HOUR, 3600), (Kind.DAY, 86400))
    ]


def test_a_renamed_platform_is_shown_with_what_it_is_owed(rig: Rig) -> None:
    """Its backlog is neither sent under the new name nor forgotten."""
    rig.run(70)
    owed = rig.engine.depths()["district"].owed
    (found,) = orphans(rig.engine.store, ["district-new"], rig.clock.now())
    assert (found["name"], found["owed"]) == ("district", owed)
    assert found["error"] == "not in the configuration; what it is owed is kept"
    assert orphans(rig.engine.store, ["district"], rig.clock.now()) == []


def late_over_hours(rig: Rig) -> list[datetime]:
    """A reading for one closed minute of each of three hours, all in one poll, as from an instrument's own memory."""
    times = [MIDNIGHT + timedelta(hours=n, minutes=20, seconds=1) for n in range(3)]
    readings = [Reading("dust", "site", "pm25", at, 935.0, 935.0) for at in times]
    rig.engine.recorder.add(readings, rig.clock.monotonic())
    return times


def minute_versions(rig: Rig, times: list[datetime]) -> list[int]:
    found = [rig.engine.store.average(Kind.MINUTE, "site", at.replace(second=0)) for at in times]
    return [report.version for report in found if report]


def test_late_readings_of_many_hours_are_all_worked_in_though_the_station_stops_between(rig: Rig) -> None:
    """An hour a commit: what was left when the power went is closed again by the next start, once."""
    rig.run(3 * 3600)
    times = late_over_hours(rig)
    rig.engine.commit()
    assert minute_versions(rig, times) == [2, 1, 1]
    rig.restart()
    rig.run(5)
    assert minute_versions(rig, times) == [2, 2, 2]
    hours = rig.engine.store.averages(Kind.HOUR, MIDNIGHT, MIDNIGHT + timedelta(hours=3))
    assert [(hour.version, max(a.maximum or 0 for a in hour.averages)) for hour in hours] == [(2, 935.0)] * 3
    assert rig.engine.store.remembered("")["late_hours"] == ""
    rig.restart()
    rig.run(5)
    assert minute_versions(rig, times) == [2, 2, 2]


def test_a_disk_that_is_full_while_late_readings_are_worked_in_loses_none(rig: Rig, mocker: MockerFixture) -> None:
    """The commit in the middle fails; the readings, the versions and what is left are as if it had not been tried."""
    rig.run(3 * 3600)
    times = late_over_hours(rig)
    full = mocker.patch.object(rig.engine.store, "add_average", side_effect=StoreError("the disk is full"))
    assert not rig.engine.commit()
    assert minute_versions(rig, times) == [1, 1, 1]
    mocker.stop(full)
    rig.run(15)
    assert minute_versions(rig, times) == [2, 2, 2]


@pytest.mark.parametrize("revisions", [True, False])
def test_a_minute_that_had_nothing_until_its_only_value_came_late_is_sent_all_the_same(
    rig: Rig, revisions: bool
) -> None:
    """An analyser by itself, its result dated to its sampling: no revision, but the first that is known of it."""
    settings = rig.engine._settings["district"]
    rig.engine._settings["district"] = replace(settings, revisions=revisions)
    rig.instrument.show_nothing()
    rig.instrument.every_seconds = 7200.0
    rig.run(2 * 3600)
    assert [*rig.texts("MINUTE"), *rig.texts("HOUR")] == []
    late = Reading("dust", "site", "pm25", MIDNIGHT + timedelta(minutes=20, seconds=1), 935.0, 935.0)
    rig.engine.recorder.add([late], rig.clock.monotonic())
    rig.run(5)
    assert rig.texts("MINUTE") == ["MINUTE site pm25=935N"]
    found = rig.engine.outboxes["district"].recall(Kind.MINUTE, "site", MIDNIGHT, MIDNIGHT + timedelta(hours=1))
    assert [(one.start, one.text) for one in found] == [(MIDNIGHT + timedelta(minutes=20), "MINUTE site pm25=935N")]


def test_a_ten_minute_record_is_revised_once_for_all_that_came_late_and_for_its_point_alone(rig: Rig) -> None:
    """Three of its minutes at once: one new version, not three."""
    rig.engine._minute_plans["district"] = [(MIDNIGHT, 10)]
    rig.engine._next_minutes["district"] = MIDNIGHT
    rig.run(3600)
    before = rig.texts("MINUTE")
    times = [MIDNIGHT + timedelta(minutes=n, seconds=1) for n in (21, 22, 23, 41)]
    rig.engine.recorder.add([Reading("dust", "site", "pm25", at, 95.0, 95.0) for at in times], rig.clock.monotonic())
    rig.run(5)
    assert len(rig.texts("MINUTE")) - len(before) == 2


def test_a_clock_that_is_set_back_loses_nothing_of_the_minutes_that_come_twice(rig: Rig) -> None:
    """Five minutes once more, each time other values: the later version of every one of them holds both."""
    rig.run(600)
    rig.clock.step(-300)
    rig.instrument.show(pm25=45.0, pm10=60.0)
    rig.run(360)
    twice = [
        r for r in rig.engine.store.averages(Kind.MINUTE, MIDNIGHT, MIDNIGHT + timedelta(hours=1)) if r.version > 1
    ]
    found = [(a.mean, a.valid) for report in twice[1:] for a in report.averages if a.parameter == "pm25"]
    assert found == [(40.0, 24)] * 4
