"""The command desk: who may ask what, how often, with what; what is done, and what is on record afterwards."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import BadReply, DeviceBusy, NoReply
from station.commands import INSTRUMENT_SECONDS, MOST_REFUSALS, VERBS
from station.model import Command, Outcome, Result, replace
from station.store import MOST_SEEN
from tests.station.conftest import CONFIG, START, Rig
from uplink.base import ALLOWABLE

EVERYTHING = CONFIG.replace("realtime_seconds = 30", f"realtime_seconds = 30\nallow = {json.dumps(ALLOWABLE)}")
PERIOD = {"from": "2026-03-01T08:00:00+08:00", "to": "2026-03-01T09:00:00+08:00"}
USUAL: dict[str, dict[str, str]] = {
    "set_clock": {"time": "2026-03-01T08:01:00+08:00"},
    "set_realtime_interval": {"seconds": "60"},
    "set_minute_interval": {"minutes": "10"},
    "set_timeouts": {"seconds": "5", "resends": "3"},
    "set_password": {"password": "abc123"},
    "recall": {"kind": "minute"} | PERIOD,
    "set_sampling_period": {"parameter": "pm25", "start": "08:00:00", "hours": "2"},
    "read_site_info": {"item": "instrument_state", "parameter": "pm25"},
    "set_parameter": {"item": "digestion_minutes", "value": "15", "parameter": "pm25"},
    "maintain": {"item": "instrument_state", "value": "maintenance", "parameter": "pm25"},
    "set_key": {"created": "2026-03-01T08:00:00+08:00", "key": "q7Zp2Lw9Xe4Rt6Ys"},
    "tunnel": {"order": "{}", "signature": "-"},
    "set_mn": {"mn": "88888880000001"},
} | {
    verb: {"parameter": "pm25"}
    for verb in (
        "calibrate", "sample_now", "clean", "compare_sample", "read_sampling_period", "read_analysis_time",
        "read_identity", "start_check",
    )
}  # fmt: skip


class Allowed(Rig):
    """A rig whose platform may do everything; commands get a fresh identity each."""

    numbers = itertools.count(1)

    def __init__(self, folder: Path, config: str = EVERYTHING) -> None:
        super().__init__(folder, config)
        self.results: list[Result] = []

    def command(self, verb: str, **more: Any) -> Command:
        arguments = more.pop("arguments", None)
        command = Command(
            verb,
            "district",
            "site",
            USUAL.get(verb, {}) if arguments is None else arguments,
            identity=f"Q{next(self.numbers)}",
            issued=self.clock.now(),
        )
        return replace(command, **more)

    def ask(self, command: Command | str, **more: Any) -> Result:
        """What the desk answers to *command* once the bus and the engine have come round."""
        if isinstance(command, str):
            command = self.command(command, **more)
        before = len(self.results)
        if (reason := self.engine.desk.refusal(command)) is not None:
            return Result(Outcome.REFUSED, reason=reason)
        self.engine.desk.submit(command, self.results.append)
        self.work()
        self.engine.tick()
        assert len(self.results) == before + 1
        self.clock.advance(0.001)
        return self.results[-1]

    def work(self) -> None:
        """Let each bus do what waits for it."""
        for poller in self.engine.pollers:
            while not poller._errands.empty():
                poller.turn()

    def told(self, code: str) -> list[dict[str, Any]]:
        """The arguments of every event *code*."""
        self.engine.commit()
        rows = self.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id", (code,))
        return [json.loads(text) for (text,) in rows]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Allowed]:
    made = Allowed(tmp_path)
    made.instrument.actions = {verb: ("pm25", "pm10") for verb in VERBS}
    yield made
    made.engine.shut_down()


class FakeClockSetter:
    """Sets the rig's clock."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def set(self, moment: datetime, *, trusted: bool) -> str | None:
        self.rig.clock.step((moment - self.rig.clock.now()).total_seconds())
        return None


# -- who may ask


def test_every_group_of_the_table_can_be_allowed_and_every_one_is_used() -> None:
    """The table and the configuration know the same groups."""
    assert {verb.group for verb in VERBS.values()} == {*ALLOWABLE, "read"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_taken_where_it_is_allowed(rig: Allowed, verb: str) -> None:
    """The usual arguments, the first of its kind: never refused."""
    assert rig.engine.desk.refusal(rig.command(verb)) is None


@pytest.mark.parametrize("verb", VERBS)
def test_a_platform_may_only_read_until_it_is_allowed_more(tmp_path: Path, verb: str) -> None:
    """Read-only by default, and a desk that is not asked first refuses all the same."""
    rig = Allowed(tmp_path, CONFIG)
    rig.instrument.actions = {verb: ("pm25",)}
    command = rig.command(verb)
    if VERBS[verb].group == "read":
        assert rig.engine.desk.refusal(command) is None
    else:
        assert rig.engine.desk.refusal(command) == f"{verb} is not allowed for district"
        rig.engine.desk.submit(command, rig.results.append)
        assert rig.results == [Result(Outcome.REFUSED, reason=f"{verb} is not allowed for district")]
        assert (rig.instrument.acted, rig.engine.store.query("SELECT * FROM setting")) == ([], [])
        assert rig.told("command_refused") == [
            {"platform": "district", "verb": verb, "reason": f"{verb} is not allowed for district", "count": 2}
        ]
    rig.engine.shut_down()


def test_a_platform_the_station_does_not_have_is_refused(rig: Allowed) -> None:
    """Whatever it asks."""
    assert rig.ask("read_clock", platform="mars").reason == "'mars' is not a platform of this station"


# -- with what


@pytest.mark.parametrize(
    ("verb", "arguments", "reason"),
    [
        ("set_realtime_interval", {"seconds": "29"}, "seconds '29' is not a whole number from 30 to 3600"),
        (
            "set_realtime_interval",
            {"seconds": "３０"},
            "seconds '\\uff13\\uff10' is not a whole number from 30 to 3600",
        ),
        ("set_realtime_interval", {}, "set_realtime_interval needs seconds"),
        ("set_minute_interval", {"minutes": "7"}, "minutes '7' is not one of 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30"),
        ("set_timeouts", {"seconds": "0", "resends": "3"}, "seconds '0' is not a whole number from 1 to 99"),
        ("set_timeouts", {"seconds": "5", "resends": "100"}, "resends '100' is not a whole number from 1 to 99"),
        ("set_password", {"password": "a;CN=1"}, "password is not 1 to 6 printable characters"),
        ("set_key", {"created": PERIOD["to"], "key": "1234567812345678"}, "key is patterned"),
        ("set_mn", {"mn": "M 1"}, "mn 'M 1' is not 1 to 24 letters and digits"),
        ("calibrate", {"parameter": "gold"}, "parameter 'gold' is not a parameter"),
        ("recall", {"kind": "minute", "from": "yesterday", "to": PERIOD["to"]}, "from 'yesterday' is not a time"),
        ("set_clock", {"time": "2026-03-01T00:12:00+00:00"}, "a time server is heard, and disagrees by 690 s"),
    ],
)
def test_a_value_outside_its_limits_is_refused(rig: Allowed, verb: str, arguments: dict[str, str], reason: str) -> None:
    """One sentence that names the argument; a secret is not repeated."""
    assert rig.ask(verb, arguments=arguments) == Result(Outcome.REFUSED, reason=reason)


# -- when, and how often


def test_ten_thousand_replays_of_recorded_commands_carry_out_none(rig: Allowed) -> None:
    """Recorded as they were obeyed, played back at once, later, and after a restart."""
    recorded = [rig.command(verb) for verb in VERBS if verb != "set_clock"]
    for command in recorded:
        rig.ask(command)
    answered, acted = len(rig.results), len(rig.instrument.acted)
    chance = random.Random(3)
    for turn in range(10_000):
        if turn == 5000:
            rig.engine.commit()
            rig.restart()
        command = chance.choice(recorded)
        assert rig.engine.desk.refusal(command) is not None
        if turn % 100 == 0:
            rig.clock.advance(1)
    rig.work()
    assert (len(rig.results), len(rig.instrument.acted)) == (answered, acted)
    assert sum(event["count"] for event in rig.told("command_refused")) == 10_000


def test_the_list_of_commands_seen_survives_a_restart_and_stays_small(rig: Allowed) -> None:
    """1,024 for each platform, and the newest of each verb however old it is."""
    first = rig.command("clean")
    rig.ask(first)
    with rig.engine.store.transaction():
        for number in range(3000):
            one = replace(first, verb="read_clock", identity=f"R{number}")
            rig.engine.store.take_command(one, "", rig.clock.now())
    rig.restart()
    assert rig.engine.store.query("SELECT count(*) FROM seen") == [(MOST_SEEN + 1,)]
    assert rig.engine.desk.refusal(first) == "this command was taken before"
    assert rig.engine.desk.refusal(replace(first, verb="read_clock", identity="R2999")) is not None


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-299, True), (299, True), (301, False)])
def test_a_command_is_issued_within_five_minutes_of_now(rig: Allowed, seconds: int, taken: bool) -> None:
    """Both ways, while the clock is trusted."""
    reason = rig.engine.desk.refusal(rig.command("clean", issued=rig.clock.now() + timedelta(seconds=seconds)))
    assert reason == (None if taken else f"the command was issued {seconds:+d} s from now, more than 300 s")


def test_a_command_must_be_younger_than_the_last_of_its_verb(rig: Allowed) -> None:
    """An older one that was held back is refused, one of another verb is not."""
    held = rig.command("clean", issued=rig.clock.now() - timedelta(seconds=1))
    assert rig.ask("clean").outcome is Outcome.DONE
    assert rig.ask(held).reason == "a younger command of this kind was taken before"
    assert rig.ask("sample_now", issued=held.issued).outcome is Outcome.DONE


def test_what_changes_something_must_say_who_and_when_it_is(rig: Allowed) -> None:
    """Reading does without (2005 has platforms that send no QN)."""
    assert rig.ask("read_clock", identity="", issued=None).outcome is Outcome.DONE
    assert rig.ask("clean", identity="").reason == "clean carries nothing to know a repetition by"
    assert rig.ask("clean", issued=None).reason == "clean does not say when it was issued"
    assert rig.ask("clean", issued=datetime(2026, 3, 1)).reason == "clean does not say when it was issued"  # noqa: DTZ001


def test_without_trust_only_the_order_of_commands_counts(rig: Allowed) -> None:
    """The station cannot tell old from new by its own clock."""
    rig.trust = "none"
    assert rig.ask("clean", issued=START + timedelta(days=400)).outcome is Outcome.DONE
    assert rig.ask("clean", issued=START + timedelta(days=399)).outcome is Outcome.REFUSED


def test_a_far_future_command_does_not_lock_a_verb_once_there_is_trust(rig: Allowed) -> None:
    """What was taken while time was unknown is not held against true commands."""
    rig.trust = "none"
    rig.ask("clean", issued=START + timedelta(days=400))
    rig.trust = "ntp"
    assert rig.ask("clean").outcome is Outcome.DONE


def test_the_clock_is_set_once_an_hour_and_calibrated_twice_a_day(rig: Allowed) -> None:
    """Counted over restarts; each parameter for itself."""
    rig.clock_setter = FakeClockSetter(rig)
    rig.restart()
    rig.instrument.actions = {"calibrate": ("pm25", "pm10")}

    def set_clock() -> Result:
        return rig.ask("set_clock", arguments={"time": (rig.clock.now() + timedelta(seconds=1)).isoformat()})

    assert set_clock().outcome is Outcome.DONE
    rig.clock.advance(3000)
    assert set_clock().reason == "set_clock was carried out 1 times within 3600 s"
    rig.clock.advance(700)
    assert set_clock().outcome is Outcome.DONE
    assert [rig.ask("calibrate").outcome for _ in range(2)] == [Outcome.DONE] * 2
    rig.restart()
    assert rig.ask("calibrate").reason == "calibrate was carried out 2 times within 86400 s"
    assert rig.ask("calibrate", arguments={"parameter": "pm10"}).outcome is Outcome.DONE
    rig.clock.advance(86500)
    assert rig.ask("calibrate").outcome is Outcome.DONE


# -- the clock


def test_without_a_clock_helper_the_clock_is_not_set(rig: Allowed) -> None:
    """The station's user may not, and says so."""
    assert rig.ask("set_clock") == Result(Outcome.CONDITIONS, reason="there is no clock helper on this host")


def test_a_clock_without_trust_is_set_by_any_platform_but_never_back(tmp_path: Path) -> None:
    """On a private network the platform may be the only clock; what was trusted last is its floor."""
    rig = Allowed(tmp_path, CONFIG)
    rig.clock_setter = FakeClockSetter(rig)
    rig.restart()
    with rig.engine.store.transaction():
        rig.engine.store.add_clock(rig.clock.monotonic(), rig.clock.now(), "ntp")
    rig.run(600)
    assert rig.ask("set_clock").reason == "set_clock is not allowed for district"
    rig.trust = "none"
    last = rig.engine.store.last_trusted()
    assert last is not None
    before = rig.ask("set_clock", arguments={"time": (last - timedelta(seconds=1)).isoformat()}, issued=START)
    assert before.reason.endswith(" before")
    far = START + timedelta(days=30)
    assert rig.ask("set_clock", arguments={"time": far.isoformat()}, issued=far).outcome is Outcome.DONE
    assert abs(rig.clock.now() - far) < timedelta(seconds=1)
    rig.engine.shut_down()


def test_a_time_server_is_believed_over_a_platform(rig: Allowed) -> None:
    """Within 30 s they agree; beyond, the platform is wrong or the server is, and neither is for us to say."""
    for seconds, reason in ((31, "a time server is heard, and disagrees by 31 s"), (30, "")):
        to = rig.clock.now() + timedelta(seconds=seconds)
        rig.clock_setter = FakeClockSetter(rig)
        rig.restart()
        assert rig.ask("set_clock", arguments={"time": to.isoformat()}).reason == reason


def test_what_a_platform_set_is_trusted_until_the_next_boot(tmp_path: Path) -> None:
    """From then on within ten minutes, where it is allowed, and no longer by anybody; also after a restart."""
    rig = Allowed(tmp_path, CONFIG)
    rig.trust, rig.clock_setter = "none", FakeClockSetter(rig)
    rig.restart()
    assert rig.engine.trust() == "none"
    far = START + timedelta(days=30)
    assert rig.ask("set_clock", arguments={"time": far.isoformat()}, issued=far).outcome is Outcome.DONE
    for _ in range(2):
        assert rig.engine.trust() == "platform"
        assert rig.ask("set_clock").reason == "set_clock is not allowed for district"
        rig.engine.commit()
        rig.restart()
    assert rig.engine.store.query("SELECT trust FROM clock ORDER BY id")[-1] == ("platform",)
    rig.trust = "ntp"
    assert rig.engine.trust() == "ntp"
    rig.engine.shut_down()


def test_a_clock_known_by_a_platform_moves_ten_minutes_at_most(rig: Allowed) -> None:
    rig.trust, rig.clock_setter = "none", FakeClockSetter(rig)
    rig.restart()
    assert rig.ask("set_clock").outcome is Outcome.DONE
    rig.clock.advance(3601)
    far = (rig.clock.now() + timedelta(seconds=601)).isoformat()
    refused = rig.ask("set_clock", arguments={"time": far})
    assert refused.reason == "the clock is trusted, and would move more than 600 s"
    near = (rig.clock.now() + timedelta(seconds=599)).isoformat()
    assert rig.ask("set_clock", arguments={"time": near}).outcome is Outcome.DONE


# -- intervals and switches


def test_a_real_time_interval_holds_at_once_and_after_a_restart(rig: Allowed) -> None:
    """From the next instant of the new interval on; the schedule says since when."""
    rig.run(65)
    assert rig.ask("set_realtime_interval", arguments={"seconds": "60"}).outcome is Outcome.DONE
    assert rig.ask("read_realtime_interval").values == {"seconds": "60"}
    before = len(rig.texts("REALTIME"))
    rig.run(240)
    assert len(rig.texts("REALTIME")) - before == 4
    rig.restart()
    assert rig.ask("read_realtime_interval").values == {"seconds": "60"}
    rows = rig.engine.store.query("SELECT interval_seconds FROM schedule WHERE kind = 1 ORDER BY id")
    assert rows == [(30,), (60,)]
    assert rig.engine.store.query("SELECT platform, key, value FROM setting") == [
        ("district", "realtime_seconds", "60"),
        ("district", "realtime_seconds.configured", "30"),
    ]


def test_real_time_data_stop_and_start(rig: Allowed) -> None:
    """2012 and 2011: minutes go on, the stop outlives a restart."""
    rig.run(65)
    assert rig.ask("stop_realtime").outcome is Outcome.DONE
    before = len(rig.texts("REALTIME"))
    rig.run(120)
    rig.restart()
    rig.run(120)
    assert len(rig.texts("REALTIME")) == before
    assert len(rig.texts("MINUTE")) >= 4
    assert rig.ask("start_realtime").outcome is Outcome.DONE
    rig.run(90)
    assert len(rig.texts("REALTIME")) == before + 3


def test_minute_records_take_the_length_a_platform_wants(rig: Allowed) -> None:
    """Ten minutes from the next whole ten on: the mean of the stored, unrounded minutes; none lost, none twice."""
    rig.run(200)
    assert rig.ask("set_minute_interval", arguments={"minutes": "10"}).values == {"minutes": "10"}
    for level in range(30):
        rig.instrument.show(pm25=float(level))
        rig.run(60)
        if level == 12:
            rig.restart()
    rows = rig.engine.store.query("SELECT start_ms, text FROM message WHERE kind = 2 ORDER BY id")
    starts = [(start - rows[0][0]) // 60_000 for start, _ in rows]
    assert starts == [*range(10), 10, 20]
    stored = {
        report.start: report.averages for report in rig.engine.store.averages(
            rig.engine.store.query("SELECT 2")[0][0], START, START + timedelta(days=1)
        )
    }  # fmt: skip
    ten = START.replace(minute=10, second=0)
    means = [a.mean for n in range(10) for a in stored[ten + timedelta(minutes=n)] if a.parameter == "pm25"]
    mean = sum(m for m in means if m is not None) / 10
    assert rows[10][1] == f"MINUTE site pm10=60N pm25={mean:g}N"


def test_a_change_that_cannot_be_written_is_answered_as_a_fault(rig: Allowed) -> None:
    """Nothing changes, and nothing is pretended."""
    rig.run(40)
    pages = rig.engine.store.query("PRAGMA page_count")[0][0]
    rig.engine.store.query(f"PRAGMA max_page_count={pages}")
    results = [rig.ask("set_timeouts") for _ in range(40)]
    assert results[-1].outcome is Outcome.FAULT
    assert "the disk is full" in results[-1].reason
    assert results[0].outcome is Outcome.DONE  # there was a page left
    rig.engine.store.query("PRAGMA max_page_count=1000000")


# -- secrets


def test_a_new_password_goes_to_its_file_and_nowhere_else(rig: Allowed) -> None:
    """Replaced at once; neither event nor database knows it."""
    result = rig.ask("set_password", arguments={"password": "s3cr3t"})
    assert (result.outcome, result.values) == (Outcome.DONE, {"password": "s3cr3t"})
    path = rig.folder / "password"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("s3cr3t\n", 0o600)
    assert rig.told("command")[-1]["arguments"] == {"password": "***"}
    rig.engine.store.query("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"s3cr3t" not in rig.loaded.database.read_bytes()


def test_a_secret_of_systemd_is_changed_in_systemd(rig: Allowed, monkeypatch: pytest.MonkeyPatch) -> None:
    """LoadCredential hands over a copy; writing it would change nothing."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(rig.folder))
    result = rig.ask("set_password")
    assert result.reason == "the password of district is systemd's, and is changed there"
    assert rig.ask("set_key").reason == "there is no key file for district"


# -- instruments


def test_an_instrument_is_told_by_its_own_bus(rig: Allowed) -> None:
    """Not before the bus comes round; what it answers is the result."""
    rig.engine.desk.submit(rig.command("clean"), rig.results.append)
    assert (rig.results, rig.instrument.acted) == ([], [])
    rig.work()
    assert (rig.results[0].outcome, rig.instrument.acted) == (Outcome.DONE, [("clean", {"parameter": "pm25"})])
    assert rig.ask("read_identity").values == {"serial": "S1"}


def test_a_bus_takes_one_command_at_a_time(rig: Allowed) -> None:
    """The second is told so at once."""
    rig.engine.desk.submit(rig.command("clean"), rig.results.append)
    rig.engine.desk.submit(rig.command("sample_now"), rig.results.append)
    assert [result.outcome for result in rig.results] == [Outcome.BUSY]


def test_a_command_whose_time_is_up_is_not_carried_out_any_more(rig: Allowed) -> None:
    """The platform was told that it timed out."""
    rig.engine.desk.submit(rig.command("clean"), rig.results.append)
    rig.clock.advance(INSTRUMENT_SECONDS)
    rig.engine.tick()
    rig.work()
    assert ([r.outcome for r in rig.results], rig.instrument.acted) == ([Outcome.TIMED_OUT], [])
    assert rig.ask("clean").outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NoReply("dust: no reply"), Outcome.TIMED_OUT),
        (BadReply("dust: rubbish"), Outcome.FAILED),
        (DeviceBusy("dust: is measuring, and takes no command"), Outcome.BUSY),
    ],
)
def test_an_instrument_that_fails_is_answered_for(rig: Allowed, error: Any, outcome: Outcome) -> None:
    """Silence is a time-out, everything else a failure, with the driver's sentence."""
    rig.instrument.go_silent(error=error)
    assert rig.ask("clean") == Result(outcome, reason=str(error))


def test_what_no_instrument_of_the_point_can_do_is_said(rig: Allowed) -> None:
    """Another parameter, another point, another verb."""
    rig.instrument.actions = {"clean": ("pm25",)}
    said = Result(Outcome.CONDITIONS, reason="no instrument of this point can do that")
    assert rig.ask("calibrate") == said
    assert rig.ask("clean", arguments={"parameter": "pm10"}) == said
    assert rig.ask("clean", point="elsewhere") == said


# -- on record


def test_every_command_is_an_event(rig: Allowed) -> None:
    """Obeyed or not, with what it asked and what came of it."""
    rig.ask("set_timeouts")
    rig.ask("set_timeouts", arguments={})
    (obeyed,) = rig.told("command")
    assert obeyed | {"identity": ""} == {
        "platform": "district", "point": "site", "verb": "set_timeouts", "identity": "",
        "arguments": {"seconds": "5", "resends": "3"}, "outcome": "done",
    }  # fmt: skip
    (refused,) = rig.told("command_refused")
    assert (refused["reason"], refused["count"]) == ("set_timeouts needs seconds", 1)
    assert rig.engine.desk.remembered("district") == {"timeout_seconds": "5", "resends": "3"}


def test_a_flood_of_refusals_makes_few_events(rig: Allowed) -> None:
    """Told apart up to a limit, counted beyond it."""
    for number in range(1000):
        rig.engine.desk.refusal(rig.command(f"v{number}"))
    told = rig.told("command_refused")
    assert (len(told), sum(event["count"] for event in told)) == (MOST_REFUSALS + 1, 1000)


@pytest.mark.parametrize("seed", range(3))
def test_no_verb_and_no_argument_makes_the_desk_stumble(rig: Allowed, seed: int) -> None:
    """Random verbs with random arguments: each is answered once or refused."""
    chance = random.Random(seed)
    names = sorted({name for verb in VERBS.values() for name in (*verb.needs, *verb.takes)})
    texts = ["", "0", "-1", "9" * 30, "1e9", "\0", "é" * 50, "pm25", "nan", "minute", "raw", "on", "' OR 1=1 --"]
    texts += ["2026-03-01T08:00:00", "9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00-14:00", *PERIOD.values()]
    moments = [None, rig.clock.now(), datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]
    for _ in range(1500):
        verb = chance.choice([*VERBS, "", "drop table", "é\0"])
        arguments = {name: chance.choice(texts) for name in chance.sample(names, chance.randrange(len(names)))}
        usual = {**USUAL.get(verb, {}), **arguments} if chance.random() < 0.5 else arguments
        more: dict[str, Any] = {"issued": chance.choice(moments)} if chance.random() < 0.3 else {}
        rig.trust = chance.choice(["ntp", "none"])
        rig.ask(verb, arguments=usual, point=chance.choice(["site", None, "no"]), **more)
    assert all(isinstance(result, Result) for result in rig.results)
