"""Every command of the table in a whole dialogue: what the platform asks, what the desk gets, what comes back.

The shapes are those of HJ 212-2017 appendix C (read) and, for 2025, of projects that map it (B).
"""

from datetime import UTC, datetime
from threading import Event
from typing import NamedTuple

import pytest

from station.model import Kind, Message, Outcome, Result, replace
from tests.uplink.judge import judge
from tests.uplink.test_frame import SAMPLES, samples
from tests.uplink.test_link import MN, Listener, talking
from uplink.hj212.dialects import Habits
from uplink.hj212.frame import Segment, crc, fence
from uplink.hj212.messages import COMMANDS, UPLOADS
from uplink.hj212.requests import MOST_TOLD
from uplink.hj212.verbs import MEANINGS
from uplink.hj212.voice import Answers

QN = "20260301081600001"
NOON = "2026-03-01T12:00:00+08:00"


class Dialogue(NamedTuple):
    """A request's data, the arguments it becomes, the values the desk gives, the data that answer it."""

    data: str = ""
    arguments: dict = {}  # noqa: RUF012 - never changed
    values: dict = {}  # noqa: RUF012
    answer: str = ""


KEY = "k3J9-xQ2m7Zp0sWd"
OF = {"parameter": "cod"}
BOUNDS = "BeginTime=20260301080000;EndTime=20260301080200"
FROM_TO = {"from": "2026-03-01T08:00:00+08:00", "to": "2026-03-01T08:02:00+08:00"}
DIALOGUES = {
    "1000": Dialogue("OverTime=5;ReCount=3", {"seconds": "5", "resends": "3"}),
    "1002": Dialogue("i23005-Info=010000A8900016F000169DC0", {"mn": "010000A8900016F000169DC0"}),
    "1011": Dialogue("PolId=w01018", OF, {"time": NOON}, "PolId=w01018;SystemTime=20260301120000"),
    "1012": Dialogue("PolId=w01018;SystemTime=20260301120000", {**OF, "time": NOON}),
    "1014": Dialogue(
        "SKCreateTime=20260301120000;NewSK=k3J9-xQ2m7Zp0sWd", {"created": NOON, "key": "k3J9-xQ2m7Zp0sWd"}
    ),
    "1061": Dialogue("", {}, {"seconds": "30"}, "RtdInterval=30"),
    "1062": Dialogue("RtdInterval=30", {"seconds": "30"}),
    "1063": Dialogue("", {}, {"minutes": "10"}, "MinInterval=10"),
    "1064": Dialogue("MinInterval=10", {"minutes": "10"}),
    "1072": Dialogue("NewPW=654321", {"password": "654321"}),
    "2011": Dialogue(),
    "2012": Dialogue(),
    "2021": Dialogue(),
    "2022": Dialogue(),
    "3011": Dialogue("PolId=w01018", OF),
    "3012": Dialogue("PolId=w01018", OF),
    "3013": Dialogue("PolId=w01018", OF),
    "3014": Dialogue("PolId=w01018", OF),
    "3015": Dialogue("", {}, {"time": NOON, "vase": "1"}, "DataTime=20260301120000;VaseNo=1"),
    "3016": Dialogue("PolId=w01018;CstartTime=000000;CTime=2", {**OF, "start": "00:00:00", "hours": "2"}),
    "3017": Dialogue("PolId=w01018", OF, {"start": "00:00:00", "hours": "2"}, "PolId=w01018;CstartTime=000000;CTime=2"),
    "3018": Dialogue("PolId=w01018", OF, {"minutes_to_result": "30"}, "PolId=w01018;Stime=30"),
    "3019": Dialogue("PolId=w01018", OF, {"serial": "SN-7"}, "PolId=w01018;w01018-SN=SN-7"),
    "3020": Dialogue(
        "PolId=w01018;InfoId=i12001",
        {**OF, "item": "instrument_state"},
        {"time": NOON, "value": "maintenance"},
        "DataTime=20260301120000;PolId=w01018;i12001-Info=1",
    ),
    "3021": Dialogue(
        "PolId=w01018;InfoId=i13004;i13004-Info=168.0", {**OF, "item": "digestion_temperature", "value": "168.0"}
    ),
    "3022": Dialogue("PolId=w01018", OF),
    "3024": Dialogue("PolId=w01018", OF),
}
RECALLS = {"2013": "raw", "2031": "day", "2041": "equipment_hours", "2051": "minute", "2052": "noise", "2061": "hour"}
RECALLS["2062"] = "check"
# Of 2005 alone, whose text was not read: limits no platform is to set, addresses and times none is to move, equipment
# the station does not switch; and alarms where they are not asked for in the configuration.
REFUSED = {"1001", "1021", "1022", "1031", "1032", "1042", "3013", "3014"}
BY_SETTING = {
    "1041": "test_the_daily_report_time_is_told_where_its_form_is_known",
    "2071": "test_alarm_records_are_recalled_where_alarms_are_told",
}
UP = {  # what goes up of the station's own accord, or in an answer, and where that is tested
    "1001": "test_provisioning_tells_the_hardware_and_takes_the_mn",
    "1013": "test_the_clock_is_asked_for_after_connecting",
    **BY_SETTING,
    "1014": "test_an_old_key_is_asked_to_be_renewed",
    **dict.fromkeys(
        ("2013", "2021", "2041", "2052", "2062", "3015", "3019", "3020"), "test_a_report_goes_up_under_its_command"
    ),
    "2011": "test_a_report_goes_up_under_its_command",
    "2031": "test_a_report_goes_up_under_its_command",
    "2051": "test_a_report_goes_up_under_its_command",
    "2061": "test_a_report_goes_up_under_its_command",
    "2072": "test_an_alarm_is_told_and_answered_either_way",
    "2081": "test_a_report_goes_up_under_its_command",
    "2111": "test_a_report_goes_up_under_its_command",
    "9011": "test_a_request_is_answered_in_its_order",
    "9012": "test_a_request_is_answered_in_its_order",
    "9013": "test_a_notice_is_answered_by_9013_alone",
    "9015": "test_a_heartbeat_is_sent_for_every_mn",
}


def dialogue_test(row):
    """The name of the test that holds *row*, "" where the station neither sends nor takes it."""
    if row.direction == "up":
        answered = any(row.cn == cn and (talk.answer or cn in RECALLS) for cn, talk in DIALOGUES.items())
        recalled = "test_recalled_records_come_one_by_one" if row.cn in RECALLS else ""
        return UP.get(row.cn) or ("test_a_request_is_answered_in_its_order" if answered else recalled)
    if row.kind == "A":
        return {"9013": UP["1013"], "9014": UP["2011"]}[row.cn]
    if not row.verb:
        return "test_what_2005_alone_asks_is_refused"
    if row.cn in BY_SETTING:
        return BY_SETTING[row.cn]
    if row.kind == "N":
        return "test_a_notice_is_answered_by_9013_alone"
    return "test_recalled_records_come_one_by_one" if row.cn in RECALLS else "test_a_request_is_answered_in_its_order"


def test_every_command_has_its_dialogue():
    for row in COMMANDS:
        if row.direction == "down" and row.verb:
            assert row.cn in DIALOGUES or row.cn in RECALLS or row.cn in BY_SETTING, row
        elif row.direction == "down" and row.kind != "A":
            assert row.cn in REFUSED, row
    assert set(DIALOGUES) | set(RECALLS) | set(BY_SETTING) == set(MEANINGS)


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()
    judge(listener.heard[: listener.heard.rfind(b"\r\n") + 2])


def done(listener, station, cn, flag, records=(), values=None, outcome=Outcome.DONE):
    verb = next(row.verb for row in COMMANDS if row.cn == cn and row.verb)
    station.commands.results = {verb: Result(outcome, values or {}, records=records)}
    return verb


REQUESTS = [
    pytest.param(row.cn, standard, id=f"{row.cn}-{standard}")
    for row in COMMANDS
    for standard in ("2005", "2017", "2025")
    if row.direction == "down" and row.kind == "R" and row.cn in DIALOGUES and row.spoken(standard) and row.verb
    if row.cn != "1014"
]


@pytest.mark.parametrize(("cn", "standard"), REQUESTS)
def test_a_request_is_answered_in_its_order(link, listener, cn, standard):
    """9011, the direct answer with QN and ST of the request, 9012; all without the answer bit."""
    talk, version = DIALOGUES[cn], {"2005": 0, "2017": 4, "2025": 8}[standard]
    codes = {"cod": "w01018"}  # the same code in 2005, to have one table
    with talking(link, listener, standard=standard, codes=codes) as station:
        verb = done(listener, station, cn, version, values=talk.values)
        listener.say(cn, talk.data, flag=str(version + 1))
        count = 3 if talk.answer else 2
        answers = listener.frames(count)
    inside = f"QN={QN};" if standard == "2005" else ""
    direct = [(cn, "22", talk.answer)] if talk.answer else []
    expected = [("9011", "91", f"{inside}QnRtn=1"), *direct, ("9012", "91", f"{inside}ExeRtn=1")]
    assert [(a.cn, a.st, a.data) for a in answers] == expected
    assert {(a.qn, a.flag, a.mn, a.pw) for a in answers} == {(QN, str(version), MN, "123456")}
    (command,) = station.commands.asked
    assert (command.verb, command.point, dict(command.arguments)) == (verb, "P1", talk.arguments)
    assert (command.identity, command.issued) == (QN, datetime(2026, 3, 1, 0, 16, 0, 1000, tzinfo=UTC))


@pytest.mark.parametrize("cn", ["2012", "2022"])
def test_a_notice_is_answered_by_9013_alone(link, listener, cn):
    with talking(link, listener) as station:
        done(listener, station, cn, 4)
        listener.say(cn)
        assert station.wait(lambda: station.commands.asked)
        answers = listener.frames(2, seconds=0.2)
    assert [(a.cn, a.st, a.qn, a.flag, a.data) for a in answers] == [("9013", "91", QN, "4", "")]


ALARMS = {"1001": "AlarmTime=10", "1022": "w01018-LowValue=1,w01018-UpValue=9", "1032": "ReportTarget=10.0.0.1"}


@pytest.mark.parametrize("cn", sorted(REFUSED))
def test_what_2005_alone_asks_is_refused(link, listener, cn):
    """9011 with QnRtn=2, one of the three codes of 2005 (B), and nothing reaches the desk."""
    with talking(link, listener, standard="2005") as station:
        listener.say(cn, ALARMS.get(cn, ""), flag="1")
        (answer,) = listener.frames()
        assert listener.frames(1, seconds=0.1) == []
        assert station.commands.asked == []
    assert (answer.cn, answer.st, answer.data) == ("9011", "91", f"QN={QN};QnRtn=2")


ALARM = "AlarmTime=20260301120000;011-Ala=105.0,AlarmType=1"


@pytest.mark.parametrize("answer", ["9014", "9013"])
@pytest.mark.parametrize("inside", [True, False])
def test_an_alarm_is_told_and_answered_either_way(link, listener, answer, inside):
    """2072 (2005, B): one code base waits for a notice's answer, whose QN may stand in CP."""
    with talking(link, listener, standard="2005", kinds=("alarm",)) as station:
        station.outbox.add(ALARM, kind=Kind.ALARM)
        (upload,) = listener.frames()
        if inside:
            listener.say(answer, f"QN={upload.qn}", qn="", st="91", flag="0")
        else:
            listener.say(answer, qn=upload.qn, st="91", flag="0")
        assert station.drained()
    assert (upload.cn, upload.flag, upload.data) == ("2072", "1", ALARM)


def test_the_answer_of_a_notice_is_none_to_measured_data(link, listener):
    with talking(link, listener, standard="2005") as station:
        station.add()
        (upload,) = listener.frames()
        listener.say("9013", f"QN={upload.qn}", qn="", st="91", flag="0")
        assert station.wait(lambda: station.uplink.counts["stray answers"])
        assert not station.outbox.acknowledged
        listener.acknowledge(upload, flag="0")
        assert station.drained()


def test_alarm_records_are_recalled_where_alarms_are_told(link, listener):
    """2071 (2005, B) in the digits of 2072; an alarm's end is no record; refused where alarms are not told."""
    told = [*records(1, Kind.ALARM), *records(2, Kind.ALARM)[1:]]
    told = [replace(told[0], text=ALARM), replace(told[1], text=ALARM.replace("Type=1", "Type=0"))]
    with talking(link, listener, standard="2005", kinds=("alarm",), timeout_seconds=5) as station:
        done(listener, station, "2071", 0, [told[0], None, told[1]])
        listener.say("2071", BOUNDS, flag="1")
        accepted, record = listener.frames(2)
        listener.acknowledge(record, flag="0")
        (end,) = listener.frames(1)
    assert accepted.data == f"QN={QN};QnRtn=1"
    assert (record.cn, record.data) == ("2071", "DataTime=20260301120000;011-Ala=105.0")
    assert end.data == f"QN={QN};ExeRtn=1"
    assert dict(station.commands.asked[0].arguments) == {"kind": "alarm", **FROM_TO}
    other = Listener()
    with talking(link, other, standard="2005") as station:
        other.say("2071", BOUNDS, flag="1")
        assert other.frames()[0].data == f"QN={QN};QnRtn=2"
        assert station.commands.asked == []
    other.close()


@pytest.mark.parametrize(("form", "said"), [("HHMM", "0000"), ("HHMMSS", "000000")])
def test_the_daily_report_time_is_told_where_its_form_is_known(link, listener, form, said):
    """The name of the field is B, its form C: without the habit 1041 is refused."""
    with talking(link, listener, standard="2005", habits=Habits(report_time=form)) as station:
        station.commands.results = {"read_report_time": Result(Outcome.DONE, {"time": "00:00:00"})}
        listener.say("1041", flag="1")
        answers = listener.frames(3)
    assert [(a.cn, a.data) for a in answers] == [
        ("9011", f"QN={QN};QnRtn=1"),
        ("1041", f"ReportTime={said}"),
        ("9012", f"QN={QN};ExeRtn=1"),
    ]


def test_the_daily_report_time_is_not_told_in_a_form_nobody_has_named(link, listener):
    with talking(link, listener, standard="2005") as station:
        listener.say("1041", flag="1")
        assert listener.frames()[0].data == f"QN={QN};QnRtn=2"
        assert station.commands.asked == []


@pytest.mark.parametrize("kind", list(UPLOADS))
def test_a_report_goes_up_under_its_command(link, listener, kind):
    with talking(link, listener) as station:
        station.add(kind=kind)
        (upload,) = listener.frames()
        listener.acknowledge(upload)
        assert station.drained()
    assert (upload.cn, upload.st, upload.flag) == (UPLOADS[kind], "22", "5")


def test_the_clock_is_asked_for_after_connecting(link, listener):
    with talking(link, listener, ask_clock=True) as station:
        done(listener, station, "1012", 4)
        (asked,) = listener.frames()
        assert (asked.cn, asked.st, asked.flag, asked.data) == ("1013", "22", "5", "")
        listener.say("9013", qn=asked.qn, st="91", flag="4")
        listener.say("1012", "SystemTime=20260301120000")
        answers = listener.frames(2)
        assert listener.frames(1, seconds=0.4) == []  # the answered notice is not repeated
    assert [a.data for a in answers] == ["QnRtn=1", "ExeRtn=1"]
    assert station.commands.asked[0].arguments == {"time": NOON}


def test_a_station_that_does_not_know_the_time_asks_for_it_unasked(link, listener, monkeypatch):
    """After connecting and once in a while, whatever `ask_clock` says, until it knows; nothing else waits for that."""
    monkeypatch.setattr("uplink.hj212.session.ASK_SECONDS", 0.2)
    with talking(link, listener, trusted=False) as station:
        done(listener, station, "1012", 4)
        asked = listener.frames(2)
        assert (len({one.qn for one in asked}) > 1, {one.cn for one in asked}) == (True, {"1013"})
        monkeypatch.setattr("uplink.hj212.session.ASK_SECONDS", 60.0)  # a loaded machine does not keep up for ever
        for one in asked:
            listener.say("9013", qn=one.qn, st="91", flag="4")
        listener.say("1012", "SystemTime=20260301120000")
        while (answer := listener.frames(1)[0]).cn == "1013":
            listener.say("9013", qn=answer.qn, st="91", flag="4")
        assert answer.data == "QnRtn=1"
        station.trusted = True
        assert station.commands.asked[0].arguments == {"time": NOON}
        assert station.errors == []


def test_a_generation_without_1013_does_not_ask(link, listener):
    with talking(link, listener, trusted=False, standard="2005") as station:
        station.add()
        assert [frame.cn for frame in listener.frames(1)] == ["2011"]


def test_a_notice_nobody_answers_is_given_up_without_harm(link, listener):
    with talking(link, listener, ask_clock=True, timeout_seconds=0.1, resends=1) as station:
        assert len({asked.qn for asked in listener.frames(2)}) == 1
        assert station.wait(lambda: station.uplink.counts["unanswered notices"])
        assert station.errors == []


# -- recalls


def records(count, kind=Kind.MINUTE, point="P1"):
    return [
        Message(n, kind, point, datetime(2026, 3, 1, tzinfo=UTC), 1, f"DataTime=2026030108{n:02d}00;w01018-Avg=1{n}.50")
        for n in range(count)
    ]


@pytest.mark.parametrize("cn", sorted(RECALLS))
def test_recalled_records_come_one_by_one(link, listener, cn):
    """Each record under its own new QN and answered before the next; 9012 under the request's; no RF (B)."""
    with talking(link, listener, standard="2025", timeout_seconds=5, window=8) as station:
        done(listener, station, cn, 8, records(3))
        listener.say(cn, BOUNDS, flag="9")
        accepted, record = listener.frames(2)
        found = [record]
        for _ in range(2):
            assert listener.frames(1, seconds=0.05) == []
            listener.acknowledge(record, flag="8")
            (record,) = listener.frames(1)
            found.append(record)
        listener.acknowledge(record, flag="8")
        (end,) = listener.frames(1)
    assert accepted.data == "QnRtn=1"
    assert [(r.cn, r.st, r.flag, r.rf, r.data) for r in found] == [
        (cn, "22", "9", "", message.text) for message in records(3)
    ]
    assert len({QN, *(r.qn for r in found)}) == 4
    assert (end.cn, end.qn, end.data) == ("9012", QN, "ExeRtn=1")
    assert dict(station.commands.asked[0].arguments) == {"kind": RECALLS[cn], **FROM_TO}


def test_real_time_history_is_asked_with_2011_and_bounds(link, listener):
    """ST=44 of 2025 does so (C)."""
    with talking(link, listener, standard="2025") as station:
        station.commands.results = {"recall": Result(Outcome.NO_DATA)}
        listener.say("2011", BOUNDS, st="44", flag="9")
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=100"]
    assert station.commands.asked[0].arguments["kind"] == "realtime"


@pytest.mark.parametrize("result", [Result(Outcome.NO_DATA), Result(Outcome.DONE, records=iter(()))])
def test_nothing_found_is_said_with_100(link, listener, result):
    with talking(link, listener) as station:
        station.commands.results = {"recall": result}
        listener.say("2051", BOUNDS)
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=100"]


def test_records_flow_where_no_answer_is_asked_for(link, listener):
    with talking(link, listener) as station:
        done(listener, station, "2051", 4, records(20))
        listener.say("2051", BOUNDS.replace(";", ","), flag="4")  # joined by a comma, as three examples print it
        answers = listener.frames(22)
    assert {a.flag for a in answers} == {"4"}
    assert [a.cn for a in answers] == ["9011", *["2051"] * 20, "9012"]


def test_no_qn_of_ours_is_one_the_platform_has_just_used(link, listener):
    """Both ends make QNs of the time in milliseconds."""
    with talking(link, listener, timeout_seconds=5) as station:
        first = station.outbox._number = 1_900_000_000_000  # ahead of any clock
        from uplink.hj212.voice import qn_of

        done(listener, station, "2051", 4, records(2))
        ahead = qn_of(first + 1, station.uplink._terms.context.zone)
        listener.say("2051", BOUNDS, qn=ahead, flag="4")
        answers = listener.frames(4)
    assert [a.qn for a in answers if a.cn == "2051"] == [f"{ahead[:-1]}{int(ahead[-1]) + n}" for n in (1, 2)]


def test_a_platform_may_never_answer_records(link, listener):
    with talking(link, listener, habits=Habits(recall_answer="never")) as station:
        done(listener, station, "2051", 4, records(3))
        listener.say("2051", BOUNDS)
        assert [a.cn for a in listener.frames(5)] == ["9011", "2051", "2051", "2051", "9012"]


def test_live_data_go_between_recalled_records(link, listener):
    with talking(link, listener, timeout_seconds=5) as station:
        done(listener, station, "2051", 4, records(8))
        listener.say("2051", BOUNDS)
        order = []
        for frame in listener.frames(2)[1:]:
            station.add(40)
            listener.acknowledge(frame)
        while len(order) < 30:
            for frame in listener.frames(1):
                order.append(frame.cn)
                if frame.cn in ("2011", "2051"):
                    listener.acknowledge(frame)
    assert order.count("2051") in (5, 6, 7)
    assert order.count("2011") >= 20


def test_live_data_go_while_a_recall_still_searches(link, listener):
    """A year looked through for nothing takes a while."""
    found, (record,) = Event(), records(1)

    def search():
        while not found.is_set():
            yield None
        yield record

    with talking(link, listener, timeout_seconds=5) as station:
        done(listener, station, "2051", 4, search())
        listener.say("2051", BOUNDS)
        assert listener.frames()[0].data == "QnRtn=1"
        station.add(kind=Kind.REALTIME)
        (live,) = listener.frames()
        listener.acknowledge(live)
        assert station.drained()
        found.set()
        (recalled,) = listener.frames()
        listener.acknowledge(recalled)
        assert (live.cn, recalled.cn, listener.frames()[0].data) == ("2011", "2051", "ExeRtn=1")


def test_a_record_nobody_answers_ends_the_recall_and_not_the_link(link, listener):
    with talking(link, listener, timeout_seconds=0.1, resends=1) as station:
        done(listener, station, "2051", 4, records(3))
        listener.say("2051", BOUNDS)
        answers = listener.frames(4)
        assert [(a.cn, a.data) for a in (answers[0], answers[3])] == [("9011", "QnRtn=1"), ("9012", "ExeRtn=4")]
        assert answers[1].qn == answers[2].qn
        assert station.errors == []
        station.add()
        (upload,) = listener.frames()
        listener.acknowledge(upload)
        assert station.drained()


def test_an_identity_that_holds_signs_of_a_frame_is_written_without_them(link, listener):
    """It comes from an instrument; as in what is told of its own accord, it has 24 characters at the most."""
    with talking(link, listener) as station:
        done(listener, station, "3019", 4, values={"serial": "SN;7&&=,#\r\n" + "x" * 40})
        listener.say("3019", "PolId=w01018")
        assert listener.frames(3)[1].data == "PolId=w01018;w01018-SN=SN 7 " + "x" * 19


def test_a_split_record_nobody_answers_ends_the_recall_once(link, listener):
    """All its packets are overdue in the same turn: the first ends the recall, the others are gone with it."""
    items = ";".join(f"w{n}-Min=10.0,w{n}-Avg=20.0,w{n}-Flag=N" for n in range(30001, 30031))
    long = Message(1, Kind.MINUTE, "P1", datetime(2026, 3, 1, tzinfo=UTC), 1, f"DataTime=20260301080000;{items}")
    with talking(link, listener, window=4, timeout_seconds=0.1, resends=1) as station:
        done(listener, station, "2051", 4, [long])
        listener.say("2051", BOUNDS)
        answers = listener.frames(6)
        assert [a.data for a in answers if a.cn[0] == "9"] == ["QnRtn=1", "ExeRtn=4"]
        assert [a.pno for a in answers if a.cn == "2051"] == ["1", "2", "1", "2"]
        station.commands.results = {"read_clock": Result(Outcome.DONE, {"time": NOON})}
        listener.say("1011", qn="20260301081600002")
        assert [a.cn for a in listener.frames(3)] == ["9011", "1011", "9012"]
        assert station.errors == []


def test_a_recall_that_is_refused_midway_or_breaks_is_closed(link, listener):
    from station.model import StoreError

    def broken():
        yield records(1)[0]
        raise StoreError("the disk is gone")

    with talking(link, listener, timeout_seconds=5) as station:
        done(listener, station, "2051", 4, broken())
        listener.say("2051", BOUNDS)
        _, record = listener.frames(2)
        listener.acknowledge(record)
        assert listener.frames()[0].data == "ExeRtn=6"
        done(listener, station, "2051", 4, records(2))
        listener.say("2051", BOUNDS, qn="20260301081600002")
        _, record = listener.frames(2)
        listener.say("9011", "QnRtn=2", qn=record.qn, st="91", flag="4")
        assert listener.frames()[0].data == "ExeRtn=4"


def test_bounds_are_starts_of_periods_also_where_hours_are_named_by_their_end(link, listener):
    with talking(link, listener, datatime="end") as station:
        station.commands.results = {"recall": Result(Outcome.NO_DATA)}
        listener.say("2061", "BeginTime=20260301090000;EndTime=20260301100000")
        listener.frames(2)
    assert dict(station.commands.asked[0].arguments) == {
        "kind": "hour",
        "from": "2026-03-01T08:00:00+08:00",
        "to": "2026-03-01T09:00:00+08:00",
    }


def test_bounds_before_any_calendar_are_a_condition_that_is_not_met(link, listener):
    """Nothing ends there; it must not end the station either."""
    with talking(link, listener, datatime="end") as station:
        station.commands.results = {"recall": Result(Outcome.NO_DATA)}
        listener.say("2061", "BeginTime=00010101000000;EndTime=20260301100000")
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=3"]
        assert station.commands.asked == []


def test_a_refusal_in_thousands_of_digits_is_a_refusal(link, listener):
    with talking(link, listener, receive_ceiling=9999, timeout_seconds=5) as station:
        station.add(kind=Kind.MINUTE)
        (upload,) = listener.frames()
        code = Segment(qn=upload.qn, st="91", cn="9011", mn=MN, flag="4", cp=fence("QnRtn=" + "7" * 5000)).build()
        listener.write(b"##%04d%b%04X\r\n" % (len(code), code, crc(code)))
        assert station.wait(lambda: station.outbox.refusals)
        assert station.outbox.refusals[0][1] == "9011 QnRtn=77777777: no code"


def test_a_log_is_recalled_and_a_state_is_answered_directly(link, listener):
    """2017 appendix C: log records have QNs of their own, a state has the request's."""
    log = [Message(1, Kind.REALTIME, "P1", datetime(2026, 3, 1, tzinfo=UTC), 1, "DataTime=1;i11001-Info=//a;b//")]
    with talking(link, listener, timeout_seconds=5) as station:
        station.commands.results = {"read_site_info": Result(Outcome.DONE, records=log)}
        listener.say("3020", f"PolId=w01018;InfoId=i11001;{BOUNDS}")
        _, record = listener.frames(2)
        listener.acknowledge(record)
        assert listener.frames()[0].data == "ExeRtn=1"
    assert (record.cn, record.data) == ("3020", log[0].text)
    assert record.qn != QN
    assert dict(station.commands.asked[0].arguments) == {"parameter": "cod", "item": "instrument_log", **FROM_TO}


# -- what is not done is told


def test_what_is_refused_before_it_reaches_the_desk_is_an_event_too_like_ones_counted(link, listener):
    """MN, password, an unknown CN, a field, a repetition; at most one event a minute and reason."""
    with talking(link, listener) as station:
        noted = []
        station.uplink.note = lambda code, /, **fields: noted.append((code, fields))
        station.commands.results = {"clean": Result(Outcome.DONE)}
        for _ in range(5):
            listener.say("1011", mn="somebody")
        listener.say("1011", pw="000000")
        listener.say("7777")
        listener.say("3012", "PolId=w99999")
        listener.say("3013", "PolId=w01018")
        listener.say("3013", "PolId=w01018")
        listener.frames(13)
    assert all(code == "request_not_done" and fields["platform"] == "city" for code, fields in noted)
    assert {(f["cn"], f["reason"], f["count"]) for _, f in noted} == {
        ("1011", "MN wrong", "5"),
        ("1011", "PW wrong", "1"),
        ("7777", "CN wrong", "1"),
        ("3012", "PolId cannot be used", "1"),
        ("3013", "repeated", "1"),
    }
    assert len(noted) == 5


def test_a_flood_of_different_rubbish_makes_few_events(link, listener):
    with talking(link, listener, timeout_seconds=30) as station:
        noted = []
        station.uplink.note = lambda code, /, **fields: noted.append(fields)
        for number in range(200):
            listener.say(f"7{number:03d}")
        listener.frames(200)
    assert len(noted) == MOST_TOLD + 1
    assert sum(int(fields["count"]) for fields in noted) == 200
    assert noted[-1]["reason"] == "more of other kinds"


# -- what comes again


def test_a_request_that_comes_again_is_answered_again_and_done_once(link, listener):
    """Its 9011 was lost: the platform repeats it, QN unchanged, over a new connection too."""
    with talking(link, listener) as station:
        station.commands.results = {"clean": Result(Outcome.DONE)}
        listener.say("3013", "PolId=w01018")
        first = listener.frames(2)
        listener.say("3013", "PolId=w01018")
        assert listener.frames(2) == first
        assert [a.data for a in first] == ["QnRtn=1", "ExeRtn=1"]
        listener.hang_up()
        listener.accept()
        listener.say("3013", "PolId=w01018")
        assert listener.frames(2) == first
        assert len(station.commands.asked) == 1
        assert station.uplink.counts["repeated requests"] == 2


def test_a_request_that_comes_again_while_it_is_carried_out_is_accepted_again(link, listener):
    with talking(link, listener) as station:
        station.commands.held = frozenset({"clean"})
        for _ in range(2):
            listener.say("3013", "PolId=w01018")
            assert [a.data for a in listener.frames()] == ["QnRtn=1"]
        station.commands.release()
        assert [a.data for a in listener.frames()] == ["ExeRtn=1"]
        assert listener.frames(1, seconds=0.1) == []
        assert len(station.commands.asked) == 1


def test_what_was_done_while_the_link_was_down_is_answered_when_it_is_asked_again(link, listener):
    with talking(link, listener) as station:
        station.commands.held = frozenset({"set_timeouts"})
        listener.say("1000", "OverTime=7;ReCount=2")
        assert [a.data for a in listener.frames()] == ["QnRtn=1"]
        listener.hang_up()
        listener.accept()
        assert station.wait(lambda: station.uplink.counts["connections"] == 2)
        station.commands.release()
        assert station.uplink.timing.timeout_seconds == 7.0  # in force though nobody could be told
        listener.say("1000", "OverTime=7;ReCount=2")
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=1"]
        assert len(station.commands.asked) == 1


def test_a_recall_that_comes_again_brings_no_record_twice(link, listener):
    with talking(link, listener) as station:
        done(listener, station, "2051", 4, records(2))
        listener.say("2051", BOUNDS, flag="4")
        assert [a.cn for a in listener.frames(4)] == ["9011", "2051", "2051", "9012"]
        listener.say("2051", BOUNDS, flag="4")
        assert [a.cn for a in listener.frames(3, seconds=0.3)] == ["9011", "9012"]


def test_one_qn_for_two_requests_is_judged_by_the_desk(link, listener):
    """Only a repetition word for word is one; the station itself refuses what has a QN it has seen."""
    with talking(link, listener) as station:
        station.commands.results = {"clean": Result(Outcome.DONE)}
        listener.say("3013", "PolId=w01018")
        listener.frames(2)
        listener.say("3013", "PolId=w01018;x=1")
        listener.frames(2)
        assert len(station.commands.asked) == 2


def test_a_refusal_is_not_remembered_and_a_wrong_password_counts_every_time(link, listener):
    with talking(link, listener) as station:
        for _ in range(3):
            listener.say("1011", pw="000000")
        assert [a.data for a in listener.frames(3)] == ["QnRtn=3"] * 3
        assert station.uplink.counts["locks"] == 1


def test_answers_are_kept_for_few_requests_and_for_five_minutes():
    now = [0.0]
    answers = Answers(lambda: now[0])
    for number in range(40):
        answers.note(b"%d" % number, b"9011")
    assert [answers.repeated(b"%d" % number) for number in (7, 8)] == [None, [b"9011"]]
    now[0] = 301.0
    assert answers.repeated(b"39") is None


# -- what cannot be understood


@pytest.mark.parametrize(
    ("cn", "data"),
    [
        ("1000", "OverTime=x;ReCount=3"),
        ("1012", "SystemTime=20260230120000"),
        ("1012", ""),
        ("1062", "RtdInterval=99999"),
        ("2051", "BeginTime=20260301080000"),
        ("3012", "PolId=w99999"),
        ("3016", "PolId=w01018;CstartTime=250000;CTime=2"),
        ("3021", "PolId=w01018;InfoId=i13004"),
    ],
)
def test_what_cannot_be_read_is_said_and_reaches_nobody(link, listener, cn, data):
    with talking(link, listener) as station:
        done(listener, station, cn, 4)
        listener.say(cn, data)
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=3"]
        assert station.commands.asked == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"st": "99"}, "5"),
        ({"flag": "300"}, "6"),
        ({"qn": "2026030108160000"}, "7"),
        ({"qn": "20260230081600001"}, "7"),
        ({"cn": "1063"}, "2"),
        ({"cn": "8888"}, "8"),
        ({"cn": "9015"}, "8"),
    ],
)
def test_each_fault_of_a_request_has_its_code(link, listener, changes, code):
    with talking(link, listener) as station:
        listener.say(**{"cn": "1011", **changes})
        assert [a.data for a in listener.frames(1)] == [f"QnRtn={code}"]
        assert station.commands.asked == []
    listener.heard = b""  # a QN that is none was echoed, which the judge rightly minds


def test_three_wrong_passwords_silence_commands_for_ten_minutes_and_no_upload(link, listener, caplog):
    with talking(link, listener, timeout_seconds=5) as station:
        noted = []
        station.uplink.note = lambda code, /, **fields: noted.append((code, fields))
        station.commands.results = {"read_clock": Result(Outcome.DONE, {"time": NOON})}
        for _ in range(2):
            listener.say("1011", pw="000000")
        listener.say("1011")  # a right one in between begins the count anew
        assert [a.data for a in listener.frames(5)][:2] == ["QnRtn=3"] * 2
        for _ in range(3):
            listener.say("1011", pw="000000")
        listener.frames(3)
        listener.say("1011")
        assert station.wait(lambda: station.uplink.counts["ignored requests"] == 1)
        station.add()
        (upload,) = listener.frames()
        listener.acknowledge(upload)
        assert station.drained()
        station.uplink._terms.guard._until = 0  # ten minutes later
        listener.say("1011")
        assert listener.frames()[0].data == "QnRtn=1"
    assert noted[0] == ("commands_locked", {"platform": "city"})
    assert [(fields["reason"], fields["count"]) for _, fields in noted[1:]] == [
        ("PW wrong", "5"),
        ("locked", "1"),
        ("repeated", "1"),
    ]
    assert [r.getMessage() for r in caplog.records if "password" in r.getMessage()] == [
        "city: three wrong passwords, its commands are ignored for 10 min"
    ]


def test_a_new_password_and_new_times_hold_at_once(link, listener):
    """1072 is answered under the old password, as the 2017 example prints it."""
    with talking(link, listener) as station:
        station.commands.results = {v: Result(Outcome.DONE) for v in ("set_password", "set_timeouts")}
        listener.say("1072", "NewPW=654321")
        assert {a.pw for a in listener.frames(2)} == {"123456"}
        listener.say("1000", "OverTime=7;ReCount=2", pw="654321")
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=1"]
        station.add()
        assert listener.frames()[0].pw == "654321"
        timing = station.uplink.timing
        assert (timing.timeout_seconds, timing.resends, timing.tries_seconds) == (7.0, 2, 21.0)


def test_a_split_request_is_joined_before_it_is_carried_out(link, listener):
    with talking(link, listener) as station:
        done(listener, station, "3021", 4)
        listener.say("3021", "InfoId=i13004;i13004-Info=168.0", flag="7", pnum="2", pno="2")
        listener.say("3021", "PolId=w01018", flag="7", pnum="2", pno="1", qn="20260301081600002")
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=1"]
    assert dict(station.commands.asked[0].arguments) == {**OF, "item": "digestion_temperature", "value": "168.0"}


@pytest.mark.parametrize("sample", [s for s in samples("segment") if s.id != "no samples"] or samples("segment"))
def test_every_request_among_the_samples_is_understood(link, listener, sample):
    """Requests as appendix C prints them reach the desk as commands, with nothing lost."""
    from uplink.hj212.frame import Segment, encode

    segment = Segment.parse(sample["raw"].encode())
    row = next((r for r in COMMANDS if r.cn == segment.cn and r.direction == "down" and r.verb), None)
    if row is None or segment.data.startswith("DataTime"):
        return
    with talking(link, listener, standard=sample["dialect"], codes={"cod": "w01018"}) as station:
        verb = "recall" if "BeginTime" in segment.data and segment.cn == "2011" else row.verb
        station.commands.results = {verb: Result(Outcome.FAILED)}
        changed = segment.build().replace(segment.mn.encode(), MN.encode()).replace(b"PW=100000", b"PW=123456")
        listener.write(encode(changed))
        first = listener.frames()[0]
    assert first.data in ("QnRtn=1", "")
    assert station.commands.asked[0].verb == verb
    assert SAMPLES.exists()


def test_nothing_outside_an_empty_allow_list_is_executed(link, listener):
    """Every CN from 0000 to 9999 with chance parameters: each is refused or ignored, none reaches the desk."""
    import random

    source = random.Random(212)
    names = ["PolId", "SystemTime", "RtdInterval", "BeginTime", "EndTime", "NewPW", "InfoId", "i13004-Info", "NewSK"]
    values = ["w01018", "20260301120000", "30", "", "9" * 40, "//x//", "k3J9-xQ2m7Zp0sWd", "-1"]
    with talking(link, listener, standard="2025", timeout_seconds=30, resends=9) as station:
        for number in range(10_000):
            picked = source.sample(names, source.randrange(4))
            data = ";".join(f"{name}={source.choice(values)}" for name in picked)
            listener.say(f"{number:04d}", data, flag=source.choice(["9", "9", "8", "5", "1"]))
            if number % 50 == 49:
                listener.frames(30)
        assert station.wait(lambda: station.uplink.counts["stray answers"] >= 4, 10)
        assert station.errors == []
        assert station.commands.asked == []
        assert station.uplink.counts["refused requests"] > 7000


@pytest.mark.parametrize(
    ("data", "arguments"),
    [
        ("InfoId=i22001;i22001-Info=3", {"item": "logger_state", "value": "maintenance"}),
        ("InfoId=i22001;i22001-Info=0", {"item": "logger_state", "value": "running"}),
        ("PolId=w01018;InfoId=i12001;i12001-Info=1", {**OF, "item": "instrument_state", "value": "maintenance"}),
    ],
)
def test_a_state_that_is_written_is_maintenance(link, listener, data, arguments):
    """No command begins it (C); other states are nothing a platform can set."""
    with talking(link, listener, codes={"cod": "w01018"}) as station:
        station.commands.results = {"maintain": Result(Outcome.DONE, {})}
        listener.say("3021", data, flag="5")
        answers = listener.frames(2)
    assert [(a.cn, a.data) for a in answers] == [("9011", "QnRtn=1"), ("9012", "ExeRtn=1")]
    (command,) = station.commands.asked
    assert (command.verb, dict(command.arguments)) == ("maintain", arguments)


@pytest.mark.parametrize("data", ["InfoId=i22001;i22001-Info=1", "PolId=w01018;InfoId=i12001;i12001-Info=2"])
def test_another_state_cannot_be_written(link, listener, data):
    with talking(link, listener, codes={"cod": "w01018"}) as station:
        listener.say("3021", data, flag="5")
        answers = listener.frames(2)
    assert [(a.cn, a.data) for a in answers] == [("9011", "QnRtn=1"), ("9012", "ExeRtn=3")]
    assert station.commands.asked == []
