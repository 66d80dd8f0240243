"""The acceptance rig: scripts, verdicts, and stations that answer otherwise than the standard says."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from station.model import Kind, Message, Outcome, Result, WrongArgument
from tests.uplink import conftest
from uplink.hj212.emulator import Platform
from uplink.hj212.frame import Segment, fence
from uplink.hj212.rig import Exchange, faults, missing, read_script

MN = "0A1B2C3D4E5F60718293A4B5"
KEY = b"k3J9-xQ2m7Zp0sWd"
SCRIPT = """
seconds = 5

[[step]]
name = "two minutes arrive"
uploads = 2

[[step]]
cn = "1011"
expect = { accepted = 1, result = 1, data = "SystemTime=" }

[[step]]
cn = "2051"
data = "BeginTime=20260301080000;EndTime=20260301080100"
expect = { result = 1, records = 2 }

[[step]]
cn = "1012"
data = "SystemTime=20260301080000"
expect = { accepted = 2 }

[[step]]
cn = "1011"
pw = "000000"
expect = { accepted = 3 }

[[step]]
fault = "lost"
"""
WORDS = {
    "read_clock": Result(Outcome.DONE, {"time": "2026-03-01T08:00:00+08:00"}),
}


def minutes(count):
    at, text = datetime(2026, 3, 1, tzinfo=UTC), "DataTime=2026030108{:02d}00;a01001-Avg=21.5,a01001-Flag=N"
    return [Message(n, Kind.MINUTE, "P1", at, 1, text.format(n)) for n in range(count)]


def test_a_script_is_run_and_passed(link, tmp_path):
    (script := tmp_path / "script.toml").write_text(SCRIPT)
    with Platform() as platform:
        station = link(platform.port, timeout_seconds=2)
        station.commands.results = WORDS | {"recall": Result(Outcome.DONE, records=minutes(2))}
        with station.up():
            station.add(2, kind=Kind.MINUTE)
            verdict = platform.run_script(script)
            station.add(1, first=2, kind=Kind.MINUTE)
            assert station.drained()
    assert verdict.passed, verdict
    assert (verdict.summary["records"], verdict.summary["duplicates"], verdict.missing) == (2, 0, 0)
    assert verdict.as_dict()["steps"][1] == {"name": "1011", "faults": []}


def test_what_was_not_expected_fails_the_verdict(link, tmp_path):
    (script := tmp_path / "script.toml").write_text(
        '[[step]]\ncn = "1011"\nexpect = { accepted = 9, reslt = 1 }\n[[step]]\nuploads = 5\nseconds = 0.1\n'
        '[[step]]\nmn = "nobody"\ncn = "1011"\nseconds = 0.1\n[[step]]\nwait = 0.01\n'
    )
    with Platform() as platform:
        station = link(platform.port)
        station.commands.results = WORDS
        station.add()
        with station.up():
            assert station.drained()
            verdict = platform.run_script(script)
    assert not verdict.passed
    assert [step.faults for step in verdict.steps] == [
        ['accepted is "1", "9" was expected', "expect.reslt: unknown; did you mean result?"],
        ["not 5 uploads within 0.1 s"],
        ["station nobody did not connect within 0.1 s"],
        [],
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "tables are needed"),
        ("[[step]]\ncnn = '1'", r"step\[0\].cnn: unknown key; did you mean cn\?"),
        ("x = ", "Invalid value"),
    ],
)
def test_a_script_that_cannot_be_used_says_why(tmp_path, text, complaint):
    (script := tmp_path / "script.toml").write_text(text)
    with pytest.raises(WrongArgument, match=complaint):
        read_script(script)
    with pytest.raises(WrongArgument, match="No such file"):
        read_script(Path(tmp_path / "none.toml"))


def exchange(cn, *answers, st="22", records=()):
    asked = Segment(qn="1", st="22", cn=cn, pw="123456", mn=MN, flag="5", cp=fence("BeginTime=1;EndTime=9"))
    made = Exchange("1", asked)
    for answer in answers:
        code, _, rest = answer.partition(":")
        answer_st = "91" if code.startswith("90") else st
        made.note(Segment(qn="1", st=answer_st, cn=code, pw="123456", mn=MN, flag="4", cp=fence(rest)))
    made.records += [Segment(cn=cn, **record) for record in records]
    return made


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (exchange("1011", "9011:QnRtn=1", "1011:SystemTime=1", "9012:ExeRtn=1"), []),
        (exchange("1011", "9011:QnRtn=3"), []),
        (exchange("2012", "9013"), []),
        (exchange("2012", "9011:QnRtn=2"), []),
        (exchange("1011"), ["no answer"]),
        (exchange("1011", "1011:SystemTime=1", "9011:QnRtn=1", "9012:ExeRtn=1"), [
            "1011 came before 9011", "9011 came between 9011 and 9012"]),
        (exchange("1011", "9011:QnRtn=2", "9012:ExeRtn=1"), ["9012 came after a refusal"]),
        (exchange("1011", "9011:QnRtn=1", "1061:x=1"), [
            "the exchange does not end with one 9012: 9011, 1061", ]),
        (exchange("1011", "9011:QnRtn=1", "1011:x", "9012:ExeRtn=77", st="91"), [
            "1011 has another ST", '9012 has ExeRtn "77"']),
        (exchange("2012", "9013", "9012:ExeRtn=1"), ["a notice is answered by 9013 alone, not by 9013, 9012"]),
        (exchange("2051", "9011:QnRtn=1", "9012:ExeRtn=1", records=[
            {"qn": "1", "rf": "1", "cp": "&&DataTime=2&&"}, {"qn": "1", "cp": "&&DataTime=1&&"}]), [
            "records do not have QNs of their own", "a recalled record has RF",
            "records are not in the order of their time"]),
    ],
)  # fmt: skip
def test_answers_are_held_against_the_standard(made, expected):
    assert faults(made) == expected


def test_missing_periods_are_counted_by_the_least_step_seen():
    times = [f"2026030108{minute:02d}00" for minute in (0, 10, 20, 40)]
    assert missing({(MN, "2051"): times, (MN, "2011"): times}, UTC) == {f"{MN} 2051": 1}
    assert missing({(MN, "2061"): ["20260301080000"]}, UTC) == {f"{MN} 2061": 0}


# -- faults of the platform


def test_a_lost_answer_is_made_good_by_a_repetition(link):
    with Platform() as platform:
        platform.fault("lost")
        station = link(platform.port)
        station.add(3)
        with station.up():
            assert station.drained()
        assert [record.duplicate for record in platform.records()] == [False, True, False, False]
        assert not station.errors


@pytest.mark.parametrize("name", ["split", "slow"])
def test_answers_in_pieces_are_answers(link, name):
    with Platform() as platform:
        platform.fault(name)
        station = link(platform.port, timeout_seconds=200)
        station.commands.results = WORDS
        station.add(2, kind=Kind.MINUTE)
        with station.up():
            assert station.wait(lambda: platform.summary()["records"])
            if name == "slow":
                time.sleep(1.5)
                assert station.outbox.acknowledged == []
                platform.fault(None)
            assert station.drained()
        assert not station.errors


def test_a_half_open_connection_is_found_by_its_silence(link):
    with Platform() as platform:
        station = link(platform.port, timeout_seconds=0.2, resends=1)
        with station.up():
            station.add()
            assert station.drained()
            platform.fault("half-open")
            station.add(1, first=1)
            assert station.wait(lambda: station.errors)
            platform.fault(None)
            assert station.drained()
        assert "no answer to QN" in str(station.errors[0])
        assert platform.summary()["unique"] == 2


def test_a_platform_sets_the_clock_when_asked(link):
    with Platform(sets_clock=True) as platform:
        station = link(platform.port, ask_clock=True)
        station.commands.results = {"set_clock": Result(Outcome.DONE)}
        with station.up():
            assert station.wait(lambda: station.commands.asked)
    assert station.uplink.counts["unanswered notices"] == 0


def test_three_generations_at_once_each_with_an_outage_lose_nothing(link, monkeypatch):
    """2005, 2017 and an encrypted 2025 in one process: lost 0, contradictions 0, every record once after dedup."""
    pytest.importorskip("cryptography", reason="the extra [sm4] is not installed")
    monkeypatch.setitem(conftest.SECRETS, "key", KEY.decode())
    cases = [{"standard": "2005"}, {"standard": "2017", "window": 8}]
    cases += [{"standard": "2025", "window": 4, "encrypt": "always", "key_file": "key"}]
    platforms = [Platform(key=KEY) for _ in cases]
    stations = []
    try:
        for platform, case in zip(platforms, cases, strict=True):
            stations.append(link(platform.start().port, **case))
        ups = [station.up() for station in stations]
        for up in ups:
            up.__enter__()
        for part in range(3):
            for platform, station in zip(platforms, stations, strict=True):
                platform.fault(("down", "silent", "lost")[part])
                station.add(20, first=20 * part, kind=Kind.MINUTE)
                time.sleep(0.1)
                platform.fault(None)
        assert all(station.drained(10) for station in stations)
        for up in ups:
            up.__exit__(None, None, None)
        for platform in platforms:
            summary = platform.summary()
            assert (summary["unique"], summary["missing"], summary["contradictions"]) == (60, {f"{MN} 2051": 0}, 0)
            assert set(summary["deviations"]) <= {"CrcWrong"}
        assert platforms[2].summary()["enciphered"] >= 60
        assert platforms[1].summary()["enciphered"] == 0
    finally:
        for platform in platforms:
            platform.stop()


# -- what the rig takes from a station and from a script without falling over


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[step]]\nfault = "smoke"', r"step\[0\].fault: unknown fault"),
        ('[[step]]\nfault = "dwon"', r"did you mean down\?"),
        ('[[step]]\nuploads = "3"', r"step\[0\].uploads: '3' is not a whole number"),
        ("[[step]]\nuploads = -1", r"step\[0\].uploads: -1 is not a whole number"),
        ('[[step]]\nseconds = "soon"', r"step\[0\].seconds: 'soon' is not a number"),
        ("[[step]]\nwait = true", r"step\[0\].wait: True is not a number"),
        ("[[step]]\ncn = 1011", r"step\[0\].cn: 1011 is not a text"),
        ("[[step]]\nexpect = 1", r"step\[0\].expect: 1 is not a table"),
    ],
)
def test_a_script_with_a_value_of_the_wrong_kind_says_where(tmp_path, text, complaint):
    (script := tmp_path / "script.toml").write_text(text)
    with pytest.raises(WrongArgument, match=complaint):
        read_script(script)


def test_a_time_that_is_none_is_no_period(link):
    """A station may send anything; the platform goes on."""
    assert missing(
        {(MN, "2051"): ["20261301080000", "2026", "２０２６０３０１０８００００", "20260301080000"]}, UTC
    ) == {
        f"{MN} 2051": 0
    }
    assert missing({(MN, "2111"): ["20260301080000", "20260301081000"]}, UTC) == {f"{MN} 2111": 0}


def test_a_wrong_password_of_one_command_is_not_used_for_the_next(link):
    """Answers repeat the password they were asked with."""
    with Platform() as platform:
        station = link(platform.port)
        station.add()
        with station.up():
            assert station.drained()
            wrong = platform.send(MN, "1061", pw="000000")
            assert wrong.wait(5)
            station.commands.results = {"read_realtime_interval": Result(Outcome.DONE, {"seconds": "30"})}
            right = platform.send(MN, "1061")
            assert right.wait(5)
    assert (wrong.accepted, right.accepted, right.result) == ("3", "1", "1")


def test_two_alarms_of_2005_are_no_duplicates(link):
    """They are known by AlarmTime, as others by DataTime."""
    with Platform() as platform:
        station = link(platform.port, standard="2005", kinds=("alarm",))
        for second in (1, 2):
            station.outbox.add(f"AlarmTime=2026030112000{second};011-Ala=105.0,AlarmType=1", kind=Kind.ALARM)
        with station.up():
            assert station.drained()
        assert (platform.summary()["records"], platform.summary()["duplicates"]) == (2, 0)


@pytest.mark.parametrize("encrypt", ["always", "never"])
def test_a_platform_with_a_key_says_what_came_in_clear(link, encrypt, tmp_path, monkeypatch):
    pytest.importorskip("cryptography", reason="the extra [sm4] is not installed")
    (script := tmp_path / "script.toml").write_text("[[step]]\nuploads = 2\n")
    monkeypatch.setitem(conftest.SECRETS, "key", "k3J9-xQ2m7Zp0sWd")
    with Platform(key=b"k3J9-xQ2m7Zp0sWd") as platform:
        station = link(platform.port, standard="2025", encrypt=encrypt, key_file="key")
        station.add(2)
        with station.up():
            verdict = platform.run_script(script)
            assert station.drained()
    sealed = 2 if encrypt == "always" else 0
    assert (verdict.summary["enciphered"], verdict.summary["unenciphered"]) == (sealed, 2 - sealed)
    assert verdict.passed == (encrypt == "always")
