"""Alarms in a station whose clock is moved by hand: rung with the commit that closes the period, and never twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.alarm import BEGINNING, AlarmSettings, Seen
from station.alarming import LimitRule, Watch
from station.clock import EPOCH
from station.config import load
from station.control import ControlServer, ask
from station.model import ConfigError, Kind, Mark, Reading, Record, WrongArgument
from station.verbs import verbs
from tests.station.commands import station
from tests.station.conftest import CONFIG, Rig
from tests.station.test_linkage import PIN, WIRED, PinRig

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2100, 1, 1, tzinfo=UTC)
DUST = """
[[alarm]]
name = "dust"
point = "site"
parameter = "pm10"
period = "5min"
above = 100.0
pre_alarm_share = 0.8
hysteresis = 10.0
"""
NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)  # of the station's day, so that a day's counts are not cut


class AlarmRig(Rig):
    """The rig with an alarm; it begins 30 s before the hour."""

    def __init__(self, folder: Path, more: str = DUST) -> None:
        super().__init__(folder, CONFIG + more, NOON - timedelta(seconds=30))

    def rung(self, code: str = "") -> list[dict[str, Any]]:
        """Arguments of the events about alarms, with their code, in the order they were kept."""
        rows = self.engine.store.query("SELECT code, arguments FROM event WHERE code LIKE '%alarm%' ORDER BY id")
        return [{"code": c} | json.loads(said) for c, said in rows if code in ("", c)]

    def codes(self) -> list[str]:
        return [one["code"] for one in self.rung()]

    def minutes(self, count: float) -> None:
        self.run(count * 60)

    def state(self, name: str = "dust") -> dict[str, Any]:
        assert self.engine.alarms is not None
        return next(row for row in self.engine.alarms.states() if row["name"] == name)


@pytest.fixture
def dust(tmp_path: Path) -> Iterator[AlarmRig]:
    made = AlarmRig(tmp_path)
    yield made
    made.engine.shut_down()


def test_a_period_past_the_limit_rings_with_the_commit_that_closes_it(dust: AlarmRig) -> None:
    """Five minutes from the full hour; the event names rule, value, limit and standard."""
    dust.instrument.show(pm10=120.0)
    dust.minutes(5)
    assert dust.codes() == []
    dust.minutes(1)
    (rung,) = dust.rung()
    assert rung["code"] == "alarm"
    assert {key: rung[key] for key in ("name", "value", "limit", "standard", "confidence", "start", "cause")} == {
        "name": "dust",
        "value": 120.0,
        "limit": 100.0,
        "standard": "own",
        "confidence": "own",
        "start": "2026-03-01T04:00:00+00:00",
        "cause": "limit",
    }
    (record,) = dust.engine.store.records("alarm", EPOCH, END)
    assert (record.device, record.point, record.body["state"]) == ("dust", "site", "alarm")
    closed = dust.engine.store.average(Kind.MINUTE, "site", NOON + timedelta(minutes=4))
    assert closed is not None


def test_each_change_is_one_event_and_an_unchanged_state_none(dust: AlarmRig) -> None:
    for value in (60.0, 120.0, 130.0, 95.0, 85.0, 60.0):
        dust.instrument.show(pm10=value)
        dust.minutes(5)
    dust.minutes(1)
    assert dust.codes() == ["alarm_over", "alarm", "pre_alarm", "alarm_over"]
    assert dust.state()["state"] == "normal"


def test_an_instrument_that_went_silent_makes_it_undetermined(dust: AlarmRig) -> None:
    dust.minutes(5.6)
    dust.instrument.go_silent()
    dust.minutes(5)
    assert dust.codes() == ["alarm_over", "alarm_undetermined"]
    assert (dust.state()["cause"], dust.state()["value"]) == ("no_value", None)


def test_marked_minutes_do_not_count_and_too_few_are_no_value(dust: AlarmRig) -> None:
    """Three of five minutes are below the three quarters of the capture rule; four are enough."""
    dust.instrument.show(pm10=120.0)
    dust.minutes(0.5)
    for good in (4, 3):
        dust.instrument.show(pm10=120.0)
        dust.minutes(good)
        dust.instrument.show(Mark.D, pm10=9000.0)
        dust.minutes(5 - good)
    dust.minutes(0.5)
    assert [(one["code"], one["value"]) for one in dust.rung()] == [("alarm", 120.0), ("alarm_undetermined", None)]


def test_a_restart_rings_nothing_a_second_time_and_goes_on_with_the_hysteresis(dust: AlarmRig) -> None:
    dust.instrument.show(pm10=120.0)
    dust.minutes(6)
    episode = dust.state()["episode"]
    dust.restart()
    dust.instrument.show(pm10=95.0)
    assert (dust.state()["state"], dust.state()["episode"]) == ("alarm", episode)
    dust.minutes(11)
    assert dust.codes() == ["alarm"]
    assert dust.state()["cause"] == "hysteresis"


def test_what_was_closed_by_a_crash_in_between_rings_at_the_next_start(dust: AlarmRig) -> None:
    """The minutes are on file, nobody has held them against the limit."""
    dust.instrument.show(pm10=60.0)
    dust.minutes(6)
    dust.instrument.show(pm10=120.0)
    dust.minutes(4.3)
    dust.restart()
    dust.minutes(1)
    assert dust.codes() == ["alarm_over", "alarm"]


def late(rig: Rig, first: datetime, value: float, minutes: int = 5) -> None:
    """Readings of *minutes* from *first* on that came late."""
    times = [first + timedelta(seconds=5 * n + 1) for n in range(12 * minutes)]
    rig.engine.recorder.add([Reading("dust", "site", "pm10", at, value, value) for at in times], rig.clock.monotonic())


def test_a_later_version_of_the_newest_period_does_not_ring_twice(dust: AlarmRig) -> None:
    dust.instrument.show(pm10=120.0)
    dust.minutes(6)
    late(dust, NOON, 140.0)
    dust.minutes(2)
    assert dust.codes() == ["alarm"]
    assert dust.state()["value"] == 130.0


def test_a_later_version_that_turns_a_past_verdict_is_on_record_and_rings_nothing(dust: AlarmRig) -> None:
    """The first five minutes come to 110 instead of 60 once the late readings are in; now it is normal."""
    dust.minutes(12)
    late(dust, NOON, 160.0)
    dust.minutes(2)
    assert dust.codes() == ["alarm_over", "alarm_revised"]
    (said,) = dust.rung("alarm_revised")
    assert (said["was"], said["value"], said["was_past_the_limit"], said["past_the_limit"]) == (
        60.0, 110.0, False, True,
    )  # fmt: skip
    assert [r.body["start"] for r in dust.engine.store.records("alarm_revised", EPOCH, END)] == [NOON.isoformat()]


def test_marks_by_hand_take_an_alarm_back(dust: AlarmRig) -> None:
    """The five minutes were maintenance: no value is left of them."""
    from station.marks import enter

    dust.instrument.show(pm10=120.0)
    dust.minutes(6)
    who = {"user": "Wang Fang", "reason": "filter"}
    spell = {"from": NOON.isoformat(), "to": (NOON + timedelta(minutes=5)).isoformat()}
    given = {"do": "mark", "point": "site", "mark": "M", **who, **spell}
    dust.engine.keep(enter(dust.engine.periods.marks, given, {"site": None}, dust.clock.now()), urgent=True)
    dust.minutes(0.2)
    assert dust.codes() == ["alarm", "alarm_revised", "alarm_undetermined"]


def test_a_station_that_was_off_says_that_what_it_knew_is_out_of_date(dust: AlarmRig) -> None:
    dust.minutes(6)
    dust.clock.advance(3 * 3600)
    dust.restart()
    dust.engine.tick()
    dust.engine.commit()
    assert dust.codes() == ["alarm_over", "alarm_stale"]
    dust.minutes(11)
    assert dust.codes() == ["alarm_over", "alarm_stale", "alarm_over"]


def test_a_commit_that_fails_rings_once_when_it_succeeds(dust: AlarmRig, monkeypatch: pytest.MonkeyPatch) -> None:
    from station.model import StoreError

    dust.instrument.show(pm10=120.0)
    dust.minutes(5)
    real = dust.engine.store.add_messages

    def full(rows: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(dust.engine.store, "add_messages", full)
    dust.minutes(1)
    assert dust.codes() == []
    assert dust.state()["state"] == "undetermined"
    monkeypatch.setattr(dust.engine.store, "add_messages", real)
    dust.minutes(1)
    assert dust.codes() == ["alarm"]


def test_a_clock_that_was_set_back_rings_nothing_twice(dust: AlarmRig) -> None:
    dust.instrument.show(pm10=120.0)
    dust.minutes(6)
    dust.clock.step(-300)
    dust.minutes(7)
    assert [code for code in dust.codes() if code != "alarm_revised"] == ["alarm"]


@given(
    first=st.lists(st.one_of(st.none(), st.floats(0, 200)), min_size=1, max_size=12),
    later=st.lists(st.tuples(st.integers(0, 11), st.one_of(st.none(), st.floats(0, 200))), max_size=12),
)
def test_whatever_the_order_in_which_versions_come_the_state_is_that_of_their_times(
    first: list[float | None], later: list[tuple[int, float | None]]
) -> None:
    """Later versions one by one, in any order, end where a fold over the last version of each period ends."""
    settings = AlarmSettings(
        name="dust", point="site", parameter="pm10", period="5min", above=100.0, hysteresis=10.0, pre_alarm=80.0,
        in_a_row=2, allowed_per_day=1,
    )  # fmt: skip
    rule = LimitRule(settings, ())

    def seen(number: int, value: float | None) -> Seen:
        return Seen(start=NOON + timedelta(minutes=5 * number), day=NOON.date(), value=value)

    watch, last = Watch(rule=rule, following=NOON), dict(enumerate(first))
    for number, value in enumerate(first):
        watch = watch.with_next(seen(number, value))
    for number, value in later:
        if number in last:
            last[number] = value
            watch = watch.again({seen(number, value).start: seen(number, value)})
    assert watch.standing == reduce(rule.step, [seen(n, v) for n, v in sorted(last.items())], BEGINNING)


# -- acknowledged by a person


def test_an_acknowledgement_names_a_person_and_belongs_to_its_episode(dust: AlarmRig) -> None:
    alarms = dust.engine.alarms
    assert alarms is not None
    with pytest.raises(WrongArgument, match=r'^"dust" has no alarm to acknowledge: it is undetermined$'):
        alarms.acknowledge({"name": "dust", "user": "Wang Fang"}, dust.clock.now())
    dust.instrument.show(pm10=120.0)
    dust.minutes(6)
    for fields, said in (
        ({"name": "dst", "user": "Wang Fang"}, 'there is no alarm "dst"; did you mean dust?; known: dust'),
        ({"name": "dust", "user": " "}, "an acknowledgement needs a name (--user)"),
        ({"name": "dust", "user": "Wang", "note": "a\x1b[2J"}, "the note holds characters that cannot be printed"),
    ):
        with pytest.raises(WrongArgument) as caught:
            alarms.acknowledge(fields, dust.clock.now())
        assert str(caught.value) == said
    alarms.acknowledge({"name": "dust", "user": "Wang Fang", "note": "truck unloading"}, dust.clock.now())
    dust.minutes(0.1)
    assert dust.state()["acknowledged"]["user"] == "Wang Fang"
    with pytest.raises(WrongArgument, match=r'^"dust" was acknowledged by Wang Fang at '):
        alarms.acknowledge({"name": "dust", "user": "Li Wei"}, dust.clock.now())
    dust.restart()
    assert dust.state()["acknowledged"]["note"] == "truck unloading"
    for value in (60.0, 120.0):
        dust.instrument.show(pm10=value)
        dust.minutes(6)
    assert (dust.state()["state"], dust.state()["acknowledged"]) == ("alarm", {})


# -- limits of standards


def test_a_standards_limit_is_named_and_the_citys_air_decides_when_it_is_told(tmp_path: Path) -> None:
    """PM10 of an hour above the city's of the same hour (DB32/4437-2022, medium): open until the city is known."""
    hour = DUST.replace("above = 100.0", 'standard = "DB32/4437-2022"').replace("5min", "1h")
    rig = AlarmRig(tmp_path, hour.replace("pre_alarm_share = 0.8", "").replace("hysteresis = 10.0", ""))
    rig.run(3630, step=5)
    rig.instrument.show(pm10=200.0)
    rig.run(3690, step=5)
    open_ = rig.rung()[-1]
    assert (open_["code"], open_["cause"], open_["standard"], open_["class"]) == (
        "alarm_undetermined", "city", "DB32/4437-2022", "site boundary",
    )  # fmt: skip
    assert (open_["limit"], open_["offset"], open_["confidence"]) == (80.0, "city-pm10", "medium")
    assert open_["clause"] == "recalled from texts that quote table 1; the text was not found"
    city = Record("city", NOON + timedelta(hours=1), {"pm10": 110.0, "aqi": None, "primary": [], "source": "by hand"})
    rig.engine.keep(city, urgent=True)
    rig.run(5)
    assert rig.codes() == ["alarm_over", "alarm_undetermined", "alarm_revised", "alarm"]
    assert rig.state()["city"] == {"pm10": 110.0, "aqi": None, "primary": []}
    rig.engine.shut_down()


def test_a_limit_of_the_stations_own_file_is_held_and_its_faults_are_the_configurations(tmp_path: Path) -> None:
    row = '[[limit]]\nstandard = "permit"\nperiod = "5min"\nunit = "mg/m³"\nmost = { pm10 = 0.1 }\nsource = "page 7"\n'
    (tmp_path / "limits.toml").write_text(row, encoding="utf-8")
    rig = AlarmRig(tmp_path, DUST.replace("above = 100.0", 'standard = "permit"'))
    rig.instrument.show(pm10=101.0)
    rig.minutes(6)
    (rung,) = rig.rung()
    assert (rung["limit"], rung["standard"], rung["clause"], rung["confidence"]) == (100.0, "permit", "page 7", "low")
    rig.engine.shut_down()
    (tmp_path / "limits.toml").write_text(row.replace("pm10", "a34002"), encoding="utf-8")
    found = faults(tmp_path, DUST.replace("above = 100.0", 'standard = "permit"'))
    assert found[0] == f"alarm: {tmp_path / 'limits.toml'}: limit[0].most.a34002: is not in the catalogue"
    assert found[1].startswith('alarm[0].standard: there is no standard "permit"')


def test_counts_of_a_day_survive_a_restart(tmp_path: Path) -> None:
    """One exceedance a day is allowed: the second rings, whether or not the station was killed in between."""
    rig = AlarmRig(tmp_path, DUST + "allowed_per_day = 1\n")
    rig.instrument.show(pm10=120.0)
    rig.minutes(6)
    assert rig.state()["cause"] == "allowed"
    rig.restart()
    rig.instrument.show(pm10=60.0)
    rig.minutes(5)
    rig.instrument.show(pm10=120.0)
    rig.minutes(10)
    assert rig.codes() == ["pre_alarm", "alarm_over", "alarm"]
    assert rig.state()["count"] >= 2
    rig.engine.shut_down()


def test_ozones_largest_eight_hours_are_watched_hour_by_hour(rig: Rig) -> None:
    """GB 3095-2026: 160 µg/m³ as the day's largest mean over 8 h; the catalogue has mg/m³."""
    from station.alarming import Sources
    from station.limits import limits
    from station.model import Average, Report

    store, beijing = rig.engine.store, rig.loaded.zone
    first = datetime(2026, 4, 1, tzinfo=beijing).astimezone(UTC)
    with store.transaction():
        for number in range(24):
            ozone = Average("o3", 0.2 if number >= 12 else 0.05, valid=720, total=720, expected=720, parts=60)
            store.add_average(Report(Kind.HOUR, "site", first + timedelta(hours=number), (ozone,)))
    settings = AlarmSettings(
        name="ozone", point="site", parameter="o3", period="8h-max", standard="GB 3095-2026", limit_class="grade-2"
    )
    rule, standing, found = LimitRule(settings, limits()), BEGINNING, []
    sources = Sources(rig.loaded.config, store, rig.engine.periods, beijing)
    for number in range(24):
        standing = rule.step(standing, rule.seen(sources, first + timedelta(hours=number)))
        found.append(str(standing.state))
    # Hours 12 to 17 at 200 and 10 and 11 at 50: 162.5 in the window that ends at 18.
    assert found == ["undetermined"] * 7 + ["normal"] * 10 + ["alarm"] * 7


def test_a_nights_level_is_held_against_the_night(rig: Rig) -> None:
    """GB 3096-2008 class 2: 50 dB at night; the day's record holds it."""
    from station.alarm import limits_on

    night = AlarmSettings(
        name="night", point="site", parameter="noise_ln", period="day", standard="GB 3096-2008", limit_class="2"
    )
    (limit,) = limits_on(night, MIDNIGHT.date())
    assert (limit.value, limit.period, limit.confidence) == (50, "night", "high")


# -- outputs follow alarms


FOLLOWS = """
[[output]]
name = "horn"
kind = "buzzer"
pin = 24

[[rule]]
name = "horn"
kind = "signal"
output = "horn"
alarm = "dust"
"""


def test_an_output_follows_an_alarm_through_its_rule(tmp_path: Path) -> None:
    rig = PinRig(tmp_path, WIRED + DUST + FOLLOWS, NOON - timedelta(seconds=30))
    pin = rig.factory.pin(24)
    rig.instrument.show(pm10=120.0)
    rig.run(300)
    assert not pin.state
    rig.run(60)
    assert pin.state
    (on,) = [said for said in rig.said("output_on") if said["output"] == "horn"]
    assert (on["why"], on["rule"], on["alarm"]) == ("alarm", "horn", "dust")
    rig.instrument.show(pm10=60.0)
    rig.run(600)
    assert not pin.state
    assert PIN["lamp"] == 23
    rig.engine.shut_down()


def test_a_rule_may_follow_the_pre_alarm_too(dust: AlarmRig) -> None:
    dust.instrument.show(pm10=90.0)
    dust.minutes(6)
    alarms = dust.engine.alarms
    assert alarms is not None
    assert [alarms.level("dust").value, alarms.level("dust", pre_alarm=True).value] == [0.0, 1.0]


def test_an_output_goes_off_when_nobody_knows_how_its_alarm_stands(tmp_path: Path) -> None:
    """As with a stale value: half a minute of grace."""
    rig = PinRig(tmp_path, WIRED + DUST + FOLLOWS, NOON - timedelta(seconds=30))
    rig.instrument.show(pm10=120.0)
    rig.run(360)
    assert rig.factory.pin(24).state
    rig.instrument.go_silent()
    rig.run(360)
    assert not rig.factory.pin(24).state
    rig.engine.shut_down()


# -- settings


def faults(folder: Path, more: str) -> list[str]:
    (folder / "station.toml").write_text(CONFIG + more, encoding="utf-8")
    (folder / "password").write_text("123456")
    with pytest.raises(ConfigError) as caught:
        load(folder / "station.toml")
    return [said.split(": ", 1)[1] for said in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"site"', '"sight"', 'alarm[0].point: there is no point "sight"; did you mean site?'),
        ('"pm10"', '"pm100"', 'alarm[0].parameter: "pm100" is not in the catalogue; did you mean pm10?'),
        ('"pm10"', '"so2"', 'alarm[0].parameter: nothing measures so2 at point "site"'),
        ("above = 100.0", "", "alarm[0].standard: one of standard, above and below is needed, none is given"),
        ("above = 100.0", "above = 100.0\nbelow = 1.0",
         "alarm[0].standard: one of standard, above and below is needed, above and below are given"),
        ("above = 100.0", 'standard = "GB 3095-2062"',
         'alarm[0].standard: there is no standard "GB 3095-2062"; did you mean GB 3095-2026?'),
        ("above = 100.0", 'standard = "GB 3095-2026"\nlimit_class = "grade-3"',
         'alarm[0].standard: GB 3095-2026 has no class "grade-3"; did you mean grade-2?; it has grade-1, grade-2'),
        ("above = 100.0", 'standard = "GB 3095-2026"\nlimit_class = "grade-2"',
         "alarm[0].period: GB 3095-2026 has no limit for pm10 over 5min; it has year, 24h"),
        ('period = "5min"\nabove = 100.0', 'period = "day"\nstandard = "GB 3095-2026"',
         "alarm[0].limit_class: is missing: GB 3095-2026 has grade-1, grade-2"),
        ('period = "5min"', 'period = "10min"', 'alarm[0].period: "10min" is not one of'),
        ('period = "5min"', 'period = "8h-max"', "alarm[0].period: 8h-max is a value of o3 alone (GB 3095-2026)"),
        ("pre_alarm_share = 0.8", "pre_alarm_share = 1.2", "alarm[0].pre_alarm: 120 is not below the limit 100"),
        ("pre_alarm_share = 0.8", "pre_alarm = 80.0\npre_alarm_share = 0.8",
         "alarm[0].pre_alarm_share: has no meaning beside pre_alarm"),
        ("hysteresis = 10.0", "hysteresis = -1.0", "alarm[0].hysteresis: -1.0 is below 0"),
        ("hysteresis = 10.0", "hysteresis = nan", "alarm[0].hysteresis: nan is"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in DUST
    found = faults(tmp_path, DUST.replace(old, new, 1))
    assert [one for one in found if one.startswith(said)], found


def test_faults_of_two_alarms_and_of_the_rest_come_at_once(tmp_path: Path) -> None:
    """One in a key of its own, and one that only shows against another table."""
    found = faults(
        tmp_path, DUST + DUST + DUST.replace('"dust"', '"other"').replace('"site"', '"yard"') + '[[rule]]\nname = "x"\n'
        'kind = "signal"\noutput = "horn"\nalarm = "dst"\n[[output]]\nname = "horn"\nkind = "lamp"\npin = 24\n',
    )  # fmt: skip
    assert found == [
        'alarm[1].name: "dust" is already alarm[0]',
        'alarm[2].point: there is no point "yard"',
        'rule[0].alarm: there is no alarm "dst"; did you mean dust?',
    ]
    both = faults(tmp_path, DUST.replace("above", "over", 1) + '[[point]]\ncode = "site"\nname = "again"\nst = "22"\n')
    assert [one.split(":")[0] for one in both] == ["alarm[0].over", "point[1].code"]


def test_a_rule_follows_one_thing(tmp_path: Path) -> None:
    rule = FOLLOWS.replace('alarm = "dust"', 'alarm = "dust"\nparameter = "pm10"\nstart = 5.0\nstop = 1.0')
    assert faults(tmp_path, DUST + rule) == [
        "rule[0].parameter: has no meaning beside alarm",
        "rule[0].start: has no meaning beside alarm",
        "rule[0].stop: has no meaning beside alarm",
    ]


# -- as typed


def test_alarms_are_listed_acknowledged_and_shown_by_status(dust: AlarmRig) -> None:
    """Through the running station, in both languages; and from the database when none runs."""
    from threading import Event, Thread

    dust.instrument.show(pm10=120.0)
    dust.minutes(6)
    server, stop = ControlServer(dust.loaded.control_socket), Event()

    def main_thread() -> None:
        while not stop.wait(0.01):
            dust.engine.tick()

    thread = Thread(target=main_thread)
    thread.start()
    server.start(verbs(dust.engine))
    config = dust.folder / "station.toml"

    def said(*words: str, lang: str = "en") -> str:
        done = station(*words, "--config", config, "--lang", lang)
        assert (done.code, done.err) == (0, "")
        return done.out

    listed = " ".join(said("alarms", "list").split())
    assert "dust site PM10 120.0 µg/m³ ≤ 100 (own limit, 5min) ALARM past the limit" in listed
    assert "超限" in said("alarms", "list", lang="zh")
    assert "ALARM" in said("status")
    assert said("alarms", "ack", "dust", "--user", "王芳", "--note", "卸车", lang="zh") == "dust:王芳 已确认\n"
    (row,) = json.loads(said("alarms", "list", "--json"))["alarms"]
    assert (row["state"], row["acknowledged"]["user"], row["acknowledged"]["note"]) == ("alarm", "王芳", "卸车")
    assert "alarm_acknowledged" in dust.codes()
    assert ask(dust.loaded.control_socket, "status")["alarms"][0]["name"] == "dust"
    server.close()
    stop.set()
    thread.join()
    dust.engine.store.close()
    left = json.loads(said("alarms", "list", "--json"))
    assert (left["running"], left["alarms"][0]["state"], left["alarms"][0]["value"]) == (False, "alarm", 120.0)
    assert "no station runs; this is what was told last" in said("alarms", "list")
    again = station("alarms", "ack", "dust", "--user", "Li Wei", "--config", config)
    assert (again.code, again.out) == (2, "")
    assert '"dust" was acknowledged by 王芳 at' in again.err
    dust.engine = dust.start()


def test_a_station_without_alarms_says_so(rig: Rig) -> None:
    rig.run(5)
    rig.engine.store.close()
    done = station("alarms", "list", "--config", rig.folder / "station.toml")
    assert done.out == "station.toml has no [[alarm]], [[pair]], [[dry_flow]] or [[permit]]\n"
    rig.engine = rig.start()


def test_records_of_alarms_are_kept_as_records_are(dust: AlarmRig) -> None:
    """An acknowledgement that was entered without a station is taken up by the next start."""
    dust.instrument.show(pm10=120.0)
    dust.minutes(6)
    record = Record(
        "alarm_ack", dust.clock.now(), {"episode": dust.state()["episode"], "user": "Li", "note": ""}, "", "dust"
    )
    with dust.engine.store.transaction():
        dust.engine.store.add_records([record])
    dust.restart()
    assert dust.state()["acknowledged"]["user"] == "Li"
