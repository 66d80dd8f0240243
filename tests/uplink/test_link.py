"""The station's end of HJ 212 against the emulated platform and a raw listener, over loopback."""

import logging
import random
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event, Thread

import pytest

from station.model import ConfigError, Kind, Lane, Outcome, Report, Result, replace
from station.parameters import catalogue
from tests.uplink.judge import judge
from uplink.base import LinkDown, NotAcknowledged
from uplink.hj212.dialects import Habits
from uplink.hj212.emulator import Platform
from uplink.hj212.frame import FrameReader, Segment, encode, fence, modbus_crc
from uplink.hj212.link import PointSettings
from uplink.hj212.messages import UPLOADS
from uplink.hj212.requests import same

MN = "0A1B2C3D4E5F60718293A4B5"
OTHER_MN = "0A1B2C3D4E5F60718293A4C6"
CLOCK = Result(Outcome.DONE, {"time": "2026-03-01T00:16:00+00:00"})
TWO_POINTS = (PointSettings(point="P1", mn=MN), PointSettings(point="P2", mn=OTHER_MN, st="32"))


@pytest.fixture
def platform():
    with Platform() as platform:
        yield platform


class Listener:
    """A platform of raw bytes: everything the station wrote, and a hand to answer with."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(5)
        self.port = self._server.getsockname()[1]
        self.heard = b""

    def accept(self):
        self._peer, _ = self._server.accept()
        self._peer.settimeout(0.05)
        self._reader = FrameReader()

    def frames(self, count=1, seconds=5):
        """The next *count* frames as fields, judged by the standard's own rules."""
        end, found = time.monotonic() + seconds, []
        while len(found) < count and time.monotonic() < end:
            try:
                data = self._peer.recv(65536)
            except TimeoutError:
                continue
            if not data:
                break
            self.heard += data
            found += [Segment.parse(item) for item in self._reader.feed(data)]
        return found

    def say(self, cn, data="", *, qn="20260301081600001", st="22", pw="123456", mn=MN, flag="5", **rest):
        self.write(encode(Segment(qn=qn, st=st, cn=cn, pw=pw, mn=mn, flag=flag, cp=fence(data), **rest).build()))

    def acknowledge(self, segment, **changes):
        self.say("9014", **{"qn": segment.qn, "st": "91", "mn": segment.mn, "flag": "4", **changes})

    def write(self, data):
        self._peer.sendall(data)

    def hang_up(self):
        self._peer.close()

    def close(self):
        self._server.close()
        if hasattr(self, "_peer"):
            self._peer.close()


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()
    judge(listener.heard[: listener.heard.rfind(b"\r\n") + 2])  # whatever a test did, every byte sent was sound


@contextmanager
def talking(link, listener, **changes):
    """A link that has connected to *listener*."""
    made = link(listener.port, **changes)
    with made.up():
        listener.accept()
        yield made


# -- uploads


@pytest.mark.parametrize("standard", ["2005", "2017", "2025"])
def test_every_message_is_answered_and_kept_once(link, platform, standard):
    station = link(platform.port, standard=standard, window=8)
    with station.up():
        assert station.wait(lambda: station.uplink.counts["connections"])
        station.add(20, kind=Kind.MINUTE)
        assert station.drained()
    summary = platform.summary()
    assert (summary["records"], summary["duplicates"], summary["deviations"]) == (20, 0, {})
    assert station.outbox.acknowledged == list(range(1, 21))


def test_an_upload_looks_as_the_standard_prints_it(link, listener):
    with talking(link, listener) as station:
        station.outbox.add("DataTime=20260301081500;a34004-Rtd=35.0,a34004-Flag=N")
        (upload,) = listener.frames()
        listener.acknowledge(upload)
        assert station.drained()
    assert judge(listener.heard) == [
        {
            "QN": upload.qn,
            "ST": "22",
            "CN": "2011",
            "PW": "123456",
            "MN": MN,
            "Flag": "5",
            "CP": "DataTime=20260301081500;a34004-Rtd=35.0,a34004-Flag=N",
        }
    ]
    assert upload.qn[:8] == datetime.now(UTC).astimezone(station.uplink._context.zone).strftime("%Y%m%d")


def test_kinds_have_their_commands(link, platform):
    station = link(platform.port)
    for kind in UPLOADS:  # no CN carries a picture, and `station check` refuses a kind without one
        station.add(kind=kind)
    with station.up():
        assert station.drained()
    assert platform.summary()["by_cn"] == dict.fromkeys(sorted(UPLOADS.values()), 1)


@pytest.mark.parametrize(("standard", "mark"), [("2025", "1"), ("2017", "")])
def test_an_outage_is_survived_and_only_2025_marks_what_is_resupplied(link, platform, standard, mark):
    station = link(platform.port, standard=standard)
    with station.up():
        station.add(2, kind=Kind.MINUTE)
        assert station.drained()
        platform.fault("down")
        assert station.wait(lambda: station.errors)
        station.add(5, first=2, kind=Kind.MINUTE)
        station.add(kind=Kind.POWER_ON)
        platform.fault(None)
        assert station.drained()
        station.add(1, first=7, kind=Kind.MINUTE)
        assert station.drained()
    records = platform.records()
    assert [record.rf for record in records if record.cn == "2051"][2:] == [mark] * 5 + [""]
    assert [record.rf for record in records if record.cn == "2081"] == [""]
    assert platform.summary()["duplicates"] == 0
    assert len({record.datatime for record in records}) == 8


def test_live_goes_before_backlog_and_history_keeps_a_fifth_of_the_turns(link, listener):
    station = link(listener.port)
    station.add(50, kind=Kind.MINUTE)
    with station.up():
        listener.accept()
        assert station.wait(lambda: station.uplink.counts["sent"])  # the first of the backlog
        station.add(200, first=50)
        order = []
        for _ in range(101):
            (upload,) = listener.frames()
            order.append("history" if upload.cn == "2051" else "live")
            listener.acknowledge(upload)
    assert order[:6] == ["history", "live", "live", "live", "history", "live"]
    assert order[1:].count("history") == 20


def test_a_window_of_eight_has_eight_in_flight_and_no_more(link, listener):
    with talking(link, listener, window=8, timeout_seconds=5) as station:
        station.add(20)
        first = listener.frames(8)
        assert listener.frames(1, seconds=0.2) == []
        listener.acknowledge(first[5])
        assert len(listener.frames(2, seconds=0.2)) == 1
    assert len({upload.qn for upload in first}) == 8
    assert station.outbox.acknowledged == [6]


def test_frames_keep_their_distance(link, listener):
    with talking(link, listener, window=8, spacing_seconds=0.1, timeout_seconds=5) as station:
        station.add(4)
        begun = time.monotonic()
        listener.frames(4)
    assert time.monotonic() - begun >= 0.28


def test_no_qn_is_used_twice(link, platform):
    station = link(platform.port, window=32)
    station.add(300)
    with station.up():
        assert station.drained()
    qns = [record.qn for record in platform.records()]
    assert len(set(qns)) == 300
    assert qns == sorted(qns)


def test_two_points_report_under_their_own_mn_and_system(link, platform):
    station = link(platform.port, point=TWO_POINTS)
    station.add(point="P1")
    station.add(point="P2")
    with station.up():
        assert station.drained()
    assert {(record.mn, record.st) for record in platform.records()} == {(MN, "22"), (OTHER_MN, "32")}


def test_a_point_this_platform_does_not_know_is_refused_without_harm(link, platform):
    station = link(platform.port)
    stranger = station.add(point="P9")
    station.add()
    with station.up():
        assert station.wait(lambda: station.outbox.acknowledged)
    assert station.outbox.refusals == [(stranger[0], 'no MN for point "P9"')]


# -- splitting

LONG = "DataTime=20260301080000;" + ";".join(f"a{n}-Min=10.0,a{n}-Avg=20.0,a{n}-Flag=N" for n in range(30001, 30031))


@pytest.mark.parametrize(("standard", "flag"), [("2017", "7"), ("2025", "11")])
def test_a_long_record_is_answered_when_every_part_is(link, listener, standard, flag):
    with talking(link, listener, standard=standard, window=4, timeout_seconds=5) as station:
        (record,) = [station.outbox.add(LONG, kind=Kind.HOUR)]
        parts = listener.frames(2)
        listener.acknowledge(parts[1])
        assert not station.wait(lambda: station.outbox.acknowledged, 0.2)
        listener.acknowledge(parts[0])
        assert station.wait(lambda: station.outbox.acknowledged == [record])
    assert [(part.flag, part.pnum, part.pno) for part in parts] == [(flag, "2", "1"), (flag, "2", "2")]
    assert parts[0].qn < parts[1].qn
    assert all(part.data.startswith("DataTime=20260301080000;") for part in parts)


def test_the_packets_of_a_message_may_share_a_qn(link, listener):
    """Open question 9: one QN for the set, or several."""
    with talking(link, listener, habits=Habits(one_qn=True), window=4, timeout_seconds=5) as station:
        station.outbox.add(LONG, kind=Kind.HOUR)
        parts = listener.frames(2)
        for part in parts:
            listener.acknowledge(part)
        assert station.drained()
    assert len({part.qn for part in parts}) == 1
    assert [part.pno for part in parts] == ["1", "2"]


def test_a_platform_may_check_otherwise_and_want_its_own_st(link, listener):
    with talking(link, listener, habits=Habits(crc="modbus", st_check="own")) as station:
        station.commands.results = {"read_clock": CLOCK}
        for st in ("22", "32"):
            raw = Segment(qn="20260301081600001", st=st, cn="1011", pw="123456", mn=MN, flag="5", cp=fence("")).build()
            listener.write(b"##%04d%b%04X\r\n" % (len(raw), raw, modbus_crc(raw)))
        answers = [a.data for a in listener.frames(4)]
    # The refusal of the second falls anywhere between the answers to the first: two writes, one reader.
    assert [answer for answer in answers if answer != "QnRtn=5"] == [
        "QnRtn=1",
        "SystemTime=20260301081600",
        "ExeRtn=1",
    ]
    assert answers.count("QnRtn=5") == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"standard": "2017", "dialect": "surface-water"}, ("21", "9")),
        ({"standard": "2025", "dialect": "electricity-44"}, ("44", "9")),
        ({"standard": "2017", "dialect": "site-dust"}, ("22", "5")),
        ({"standard": "2005", "dialect": "site-dust-names"}, ("22", "")),
    ],
)
def test_a_dialect_shows_in_every_upload(link, listener, changes, expected):
    with talking(link, listener, **changes) as station:
        station.add()
        (upload,) = listener.frames()
        if upload.flag:
            listener.acknowledge(upload)
        assert station.drained()
    assert (upload.st, upload.flag) == expected


def test_a_record_that_cannot_be_framed_is_refused_and_the_rest_flows(link, platform):
    station = link(platform.port)
    with station.up():
        too_long = station.outbox.add("DataTime=20260301080000;" + "x" * 1000)
        station.add()
        assert station.wait(lambda: station.outbox.acknowledged)
    assert station.outbox.refusals == [
        (too_long, "one factor makes a data area of 1024 bytes, the limit is 918"),
    ]


# -- answers


def test_a_late_answer_still_counts_and_its_echo_is_ignored(link, platform):
    platform.late_seconds = 0.45
    platform.fault("late")
    station = link(platform.port)
    station.add()
    with station.up():
        assert station.drained()
        assert station.wait(lambda: station.uplink.counts["stray answers"])
    assert station.uplink.counts["resent"] == 1
    assert not station.errors
    records = platform.records()
    assert [record.duplicate for record in records] == [False, True]
    assert records[0].qn == records[1].qn


def test_a_duplicate_answer_is_counted_and_ignored(link, platform):
    platform.fault("duplicate")
    station = link(platform.port)
    station.add(5)
    with station.up():
        assert station.drained()
        assert station.wait(lambda: station.uplink.counts["stray answers"] == 5)
    assert station.outbox.acknowledged == [1, 2, 3, 4, 5]


def test_a_foreign_qn_answers_nothing_when_strict(link, platform):
    platform.fault("wrong-qn")
    station = link(platform.port, timeout_seconds=0.1, resends=1)
    station.add()
    with station.up(again=False) as thread:
        thread.join(5)
    assert station.outbox.acknowledged == []
    assert isinstance(station.errors[0], NotAcknowledged)
    assert "no answer to QN" in str(station.errors[0])
    assert "after 2 tries" in str(station.errors[0])


def test_a_foreign_mn_answers_nothing_when_strict(link, listener):
    with talking(link, listener, timeout_seconds=5) as station:
        station.add()
        (upload,) = listener.frames()
        listener.acknowledge(upload, mn=OTHER_MN)
        assert station.wait(lambda: station.uplink.counts["stray answers"])
        assert station.outbox.owed


def test_any_answer_of_the_mn_counts_for_its_oldest_upload(link, listener):
    with talking(link, listener, ack="any", window=2, timeout_seconds=5) as station:
        station.add(2)
        uploads = listener.frames(2)
        listener.acknowledge(uploads[1], qn="19700101000000000")
        assert station.wait(lambda: station.outbox.acknowledged == [1])


def test_a_platform_that_never_answers_is_served_unconfirmed(link, platform):
    platform.fault("silent")
    station = link(platform.port, ack="none", window=4)
    station.add(10)
    with station.up():
        assert station.drained()
    assert sorted(station.outbox.unconfirmed) == list(range(1, 11))
    assert station.outbox.acknowledged == []


@pytest.mark.parametrize(("standard", "head"), [("2005", "ST=22;"), ("2017", "QN=")])
def test_what_wants_no_answer_says_so(link, listener, standard, head):
    """2005 leaves QN and Flag out (B); 2017 clears the answer bit."""
    with talking(link, listener, ack="none", standard=standard) as station:
        station.add()
        (upload,) = listener.frames()
        assert station.drained()
    assert upload.flag == {"2005": "", "2017": "4"}[standard]
    assert listener.heard[6:].startswith(head.encode())


def test_a_2005_answer_may_carry_its_qn_inside(link, listener):
    with talking(link, listener, standard="2005") as station:
        station.add()
        (upload,) = listener.frames()
        listener.say("9014", f"QN={upload.qn};CN=2011", qn="", st="91", flag="")
        assert station.drained()


def test_a_refusal_goes_to_the_outbox_with_its_reason(link, platform):
    platform.fault("refuse")
    station = link(platform.port)
    station.add(2)
    with station.up():
        assert station.wait(lambda: len(station.outbox.refusals) == 2)
    assert station.outbox.refusals[0] == (1, "9011 QnRtn=2: refused")
    assert not station.errors
    assert platform.records() == []


@pytest.mark.parametrize("data", ["ExeRtn=5", "ExeRtn=77", "", "ExeRtn=x"])
def test_a_result_other_than_done_refuses_every_part(link, listener, data):
    with talking(link, listener, window=4, timeout_seconds=5) as station:
        station.outbox.add(LONG)
        parts = listener.frames(2)
        listener.say("9012", data, qn=parts[0].qn, st="91", flag="4")
        assert station.wait(lambda: station.outbox.refusals)
        listener.acknowledge(parts[1])
        assert station.wait(lambda: station.uplink.counts["stray answers"])
    assert station.outbox.refusals[0][1].startswith("9012 ExeRtn=")


def test_a_silent_platform_costs_the_connection_and_nothing_else(link, platform):
    platform.fault("silent")
    station = link(platform.port, timeout_seconds=0.05, resends=1)
    station.add(3)
    with station.up():
        assert station.wait(lambda: len(station.errors) >= 2)
        platform.fault(None)
        assert station.drained()
    assert platform.summary()["unique"] == 3
    assert all(isinstance(error, NotAcknowledged) for error in station.errors)


# -- commands


def test_a_clock_is_read_in_three_answers(link, listener):
    with talking(link, listener) as station:
        station.commands.results = {"read_clock": CLOCK}
        listener.say("1011")
        answers = listener.frames(3)
    assert [(a.cn, a.st, a.flag, a.data) for a in answers] == [
        ("9011", "91", "4", "QnRtn=1"),
        ("1011", "22", "4", "SystemTime=20260301081600"),
        ("9012", "91", "4", "ExeRtn=1"),
    ]
    assert {a.qn for a in answers} == {"20260301081600001"}
    assert station.commands.asked[0].point == "P1"


@pytest.mark.parametrize(
    ("cn", "verb", "values", "data"),
    [
        ("1061", "read_realtime_interval", {"seconds": "60"}, "RtdInterval=60"),
        ("1063", "read_minute_interval", {"minutes": "1"}, "MinInterval=1"),
    ],
)
def test_intervals_are_read(link, platform, cn, verb, values, data):
    station = link(platform.port, standard="2025")
    station.commands.results = {verb: Result(Outcome.DONE, values)}
    station.add()
    with station.up():
        assert platform.wait_for(MN, 5)
        exchange = platform.send(MN, cn)
        assert exchange.wait(5)
    assert (exchange.accepted, exchange.result, [a.data for a in exchange.data]) == ("1", "1", [data])
    assert {a.flag for a in exchange.answers} == {"8"}
    assert platform.summary()["deviations"] == {}


@pytest.mark.parametrize(
    ("outcome", "code", "old_code"),
    [
        (Outcome.FAILED, "2", "2"),
        (Outcome.BUSY, "5", "2"),
        (Outcome.NO_DATA, "100", "100"),
        (Outcome.TIMED_OUT, "4", "2"),
    ],
)
def test_how_a_command_ended_is_told(link, platform, outcome, code, old_code):
    for standard, expected in (("2017", code), ("2005", old_code)):
        station = link(platform.port, standard=standard)
        station.commands.results = {"read_clock": Result(outcome)}
        station.add()
        with station.up():
            assert platform.wait_for(MN, 5)
            exchange = platform.send(MN, "1011")
            assert exchange.wait(5)
        assert exchange.result == expected
        assert exchange.data == []


def test_a_result_without_its_value_has_failed(link, listener):
    with talking(link, listener) as station:
        station.commands.results = {"read_clock": Result(Outcome.DONE, {"time": "noon"})}
        listener.say("1011")
        assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=2"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"cn": "1011", "mn": OTHER_MN}, "4"),
        ({"cn": "1011", "pw": "000000"}, "3"),
        ({"cn": "1011", "pw": ""}, "3"),
        ({"cn": "1011", "qn": ""}, "7"),
        ({"cn": "8888"}, "8"),
        ({"cn": "1012", "data": "SystemTime=20260301081600"}, "2"),
        ({"cn": "2012"}, "2"),
        ({"cn": "1063"}, "2"),  # a verb, but not one this station's desk carries out
    ],
)
def test_what_is_not_done_is_refused_with_its_code(link, listener, asked, code):
    with talking(link, listener) as station:
        station.commands.results = {"read_clock": CLOCK}
        listener.say(**asked)
        (answer,) = listener.frames()
    assert (answer.cn, answer.data) == ("9011", f"QnRtn={code}")
    assert station.commands.asked == []
    assert b"123456" not in listener.heard or asked.get("pw") is None


def test_2005_answers_with_the_codes_it_has(link, listener):
    with talking(link, listener, standard="2005"):
        listener.say("1011", mn=OTHER_MN, flag="1")
        (answer,) = listener.frames()
    assert (answer.flag, answer.data) == ("0", "QN=20260301081600001;QnRtn=2")


def test_a_request_without_the_answer_bit_does_nothing(link, listener):
    with talking(link, listener) as station:
        station.commands.results = {"read_clock": CLOCK}
        listener.say("1011", flag="4")
        listener.say("1011", flag="")
        assert station.wait(lambda: station.uplink.counts["ignored requests"] == 2)
        assert station.commands.asked == []


@pytest.mark.parametrize("window", [1, 8])
def test_a_command_is_answered_at_once_while_uploads_wait(link, platform, window):
    station = link(platform.port, window=window, timeout_seconds=30)
    station.commands.results = {"read_clock": CLOCK}
    station.add()
    with station.up():
        assert station.drained()
        platform.fault("silent")
        station.add(window)
        assert station.wait(lambda: station.uplink.counts["sent"] == 1 + window)
        begun = time.monotonic()
        exchange = platform.send(MN, "1011")
        assert exchange.wait(5)
        assert time.monotonic() - begun < 0.4
        assert len(station.outbox.owed) == window


def test_a_slow_command_holds_up_no_upload_and_is_answered_from_another_thread(link, platform):
    station = link(platform.port)
    station.commands.held = frozenset({"read_clock"})
    station.add()
    with station.up():
        assert station.drained()
        exchange = platform.send(MN, "1011")
        assert station.wait(lambda: station.commands.waiting)
        station.add(3)
        assert station.drained()
        begun = time.monotonic()
        station.commands.release(CLOCK)
        assert exchange.wait(5)
        assert time.monotonic() - begun < 0.4
    assert exchange.result == "1"


def test_a_result_that_comes_after_the_connection_is_swallowed(link, platform):
    station = link(platform.port)
    station.commands.held = frozenset({"read_clock"})
    station.add()
    with station.up():
        assert station.drained()
        platform.send(MN, "1011")
        assert station.wait(lambda: station.commands.waiting)
    station.commands.release(CLOCK)


def test_commands_that_never_end_are_bounded(link, listener):
    with talking(link, listener) as station:
        station.commands.held = frozenset({"read_clock"})
        for number in range(20):
            listener.say("1011", qn=f"202603010816000{number:02d}")
        answers = [answer.data for answer in listener.frames(20)]
    assert answers == ["QnRtn=1"] * 16 + ["QnRtn=2"] * 4


# -- rubbish and silence


def test_rubbish_is_logged_once_and_the_next_frame_is_read(link, listener, caplog):
    with caplog.at_level(logging.INFO), talking(link, listener) as station:
        station.add()
        (upload,) = listener.frames()
        listener.write(b"##00x1 nonsense ##0004abcd0000\r\n" * 20)
        listener.acknowledge(upload)
        assert station.drained()
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == f"city: connected to 127.0.0.1:{listener.port}"
    assert len(told) == 2
    assert told[1].startswith("city sends what is no frame: four digits belong behind ##")


def test_no_bytes_of_a_platform_end_the_thread_with_anything_but_a_broken_link(link, listener):
    source = random.Random(212)
    with talking(link, listener, timeout_seconds=20, receive_ceiling=9999) as station:
        station.add()
        (upload,) = listener.frames()
        for cn in ("1011", "9011", "9012", "9013", "9014", "2011", "\u0661011", ""):
            for _ in range(40):
                data = source.choice(["", "QnRtn=\u00b2", "ExeRtn=", "QN=;=,//;PolId", "\udcff", "a" * 700])
                segment = Segment(
                    cn=cn, mn=source.choice([MN, ""]), qn=source.choice(["", "1"]), flag="5", cp=fence(data)
                )
                wire = bytearray(encode(segment.build()))
                if source.random() < 0.5:
                    wire[source.randrange(len(wire))] = source.randrange(256)
                listener.write(wire)
        listener.write(b"\r\n" * 6000)
        listener.acknowledge(upload)
        assert station.drained(10)
        assert station.errors == []
    listener.heard = b""  # what was echoed is not ASCII, which the judge rightly minds


def test_nothing_but_noise_costs_the_connection(link, listener):
    station = link(listener.port)
    with station.up(again=False) as thread:
        listener.accept()
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - until the station hangs up
            for _ in range(1000):
                listener.write(bytes(4096))
                time.sleep(0.001)
        thread.join(5)
    assert "bytes without a frame" in str(station.errors[0])


def test_a_frame_that_never_ends_gives_way_after_its_time(link, listener, monkeypatch):
    monkeypatch.setattr("uplink.hj212.session.FRAME_SECONDS", 0.1)
    with talking(link, listener, timeout_seconds=20) as station:
        station.add()
        (upload,) = listener.frames()
        listener.write(b"##0999QN=")
        listener.acknowledge(upload)
        assert station.drained()
        assert station.uplink.counts["faults"] == 1


def test_echoed_fields_as_long_as_a_frame_are_not_answered(link, listener):
    with talking(link, listener) as station:
        listener.say("1011", mn="x" * 960)
        assert station.wait(lambda: station.uplink.counts["ignored requests"])
        listener.say("1011", mn="é\udcff"[:1])
        assert listener.frames(1)[0].data == "QnRtn=4"
    listener.heard = b""  # what was echoed is not ASCII, which the judge rightly minds


def test_a_platform_that_reads_nothing_is_given_up(link, listener):
    station = link(listener.port, ack="none", window=64, timeout_seconds=0.3, resends=0)
    for n in range(12_000):
        station.outbox.add(f"DataTime=20260301080000;a{n}-Rtd={'1' * 700}")
    with station.up(again=False) as thread:
        listener.accept()
        thread.join(15)
    assert isinstance(station.errors[0], NotAcknowledged)


def test_a_heartbeat_is_sent_for_every_mn(link, listener):
    with talking(link, listener, standard="2025", heartbeat_seconds=1, point=TWO_POINTS):
        beats = listener.frames(2)
    assert [(beat.cn, beat.mn, beat.flag, beat.data) for beat in beats] == [
        ("9015", MN, "8", ""),
        ("9015", OTHER_MN, "8", ""),
    ]


# -- connecting and stopping


def test_nobody_listening_is_said_in_one_sentence(link):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    station = link(port)
    with pytest.raises(LinkDown, match=f"^127.0.0.1:{port}: connection refused$"):
        station.uplink.run(station.outbox, station.commands, Event())


def test_a_name_without_address_is_said_in_one_sentence(link):
    station = link(9212, host="no-such-host.invalid")
    with pytest.raises(LinkDown, match=r"^no-such-host.invalid:9212: the name has no address$"):
        station.uplink.run(station.outbox, station.commands, Event())


def test_a_password_file_without_password_is_a_configuration_fault(link):
    station = link(9212)
    station.uplink._context.secret.__self__["pw"] = " \n"
    with pytest.raises(ConfigError, match="city: pw holds no usable password"):
        station.uplink.run(station.outbox, station.commands, Event())


def test_a_closed_connection_is_said_and_made_again(link, listener):
    with talking(link, listener) as station:
        listener.hang_up()
        listener.accept()
        assert station.wait(lambda: station.uplink.counts["connections"] == 2)
    assert str(station.errors[0]) == f"127.0.0.1:{listener.port}: the platform closed the connection"


@pytest.mark.parametrize("fault", [None, "silent"])
def test_stop_ends_the_run_within_a_second(link, platform, fault):
    platform.fault(fault)
    station, stop = link(platform.port, timeout_seconds=30), Event()
    station.add()
    thread = Thread(target=station.uplink.run, args=(station.outbox, station.commands, stop))
    thread.start()
    assert station.wait(lambda: station.uplink.counts["sent"])
    begun = time.monotonic()
    stop.set()
    thread.join(5)
    assert time.monotonic() - begun < 1


def test_the_thread_shows_that_it_lives(link, platform):
    station = link(platform.port)
    with station.up():
        assert station.wait(lambda: station.outbox.beats >= 3, 3)


def test_no_log_and_no_error_holds_the_password(link, platform, caplog):
    with caplog.at_level(logging.DEBUG):
        station = link(platform.port, timeout_seconds=0.05, resends=0)
        platform.fault("silent")
        station.add()
        with station.up():
            assert station.wait(lambda: len(station.errors) > 1)
    assert "123456" not in caplog.text + "".join(map(str, station.errors)) + repr(station.settings)


def test_secrets_compare_by_every_character():
    assert same("é123", "é123")
    assert not any(same(given, "123456") for given in ("", "123457", "023456", "1234561", "123456123456", "12345"))
    assert not same("123456", "")


# -- settings


def test_a_report_is_composed_for_the_kinds_and_points_of_the_platform(link):
    station = link(9212, kinds=("hour",))
    at = datetime(2026, 3, 1, tzinfo=UTC)
    assert station.uplink.compose(Report(Kind.POWER_ON, "P1", at)) is not None
    assert station.uplink.compose(Report(Kind.POWER_ON, "P9", at)) is None
    assert station.uplink.compose(Report(Kind.MINUTE, "P1", at)) is None


def test_a_host_that_no_resolver_takes_is_a_fault(link):
    settings = replace(link(9212).settings, host="city..gov.cn")
    assert list(settings.faults(catalogue())) == [("host", '"city..gov.cn" is no name or address of a host')]


def test_cross_faults_name_place_and_remedy(link):
    points = (
        PointSettings(point="P1", mn=MN),
        PointSettings(point="P1", mn=MN, st="2"),
        PointSettings(point="P2", mn="a;b"),
    )
    settings = link(9212).settings
    faulty = type(settings)(
        name="city",
        standard="2017",
        host=" ",
        port=1,
        password_file="pw",
        point=points,
        units={"pm2": "mg/m³", "pm25": "ppm"},
        codes={"pm25": "a34004", "pm10": "a34004", "no": "a 1"},
    )
    assert list(faulty.faults(catalogue())) == [
        ("host", "is empty"),
        ("point[1].st", '"2" is not two characters 0-9 A-Z'),
        ("point[1].point", '"P1" is there twice'),
        ("point[1].mn", f'"{MN}" is there twice'),
        ("point[2].mn", '"a;b" is not 1 to 27 printable characters without ;,=&#'),
        ("codes.pm10", '"a34004" is already the code of pm25'),
        ("codes.no", '"a 1" is not 1 to 12 letters, digits or _'),
        ("units.pm2", "unknown parameter; did you mean pm25?"),
        ("units.pm25", 'pm25 cannot be sent in "ppm", only in kg/m³, g/m³, mg/m³, µg/m³, ng/m³'),
    ]
    assert list(settings.faults(catalogue())) == []


def test_a_memory_outbox_hands_out_each_message_once(link):
    outbox = link(9212).outbox
    first, second = outbox.add("a"), outbox.add("b")
    assert [message.id for message in outbox.next(Lane.LIVE, 1)] == [first]
    assert [message.id for message in outbox.next(Lane.LIVE, 9)] == [second]
    assert outbox.number(7) == 7
    assert outbox.number(3) == 8
