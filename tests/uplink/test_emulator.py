"""The emulated platform: what it keeps, how it fails, what it says about what it got."""

import socket
import sqlite3

import pytest

from uplink.base import UplinkError
from uplink.hj212.emulator import FAULTS, Platform
from uplink.hj212.frame import FrameReader, Segment, encode, fence

MN = "0A1B2C3D4E5F60718293A4B5"
DATA = "DataTime=20260301081500;a34004-Rtd=35.0,a34004-Flag=N"


class Station:
    """A station of a few lines: writes segments, reads answers."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=0.5)
        self._reader = FrameReader()

    def say(self, *, qn="20260301081500123", cn="2011", data=DATA, flag="5", **rest):
        fields = {"st": "22", "pw": "123456", "mn": MN, **rest}
        self._socket.sendall(encode(Segment(qn=qn, cn=cn, flag=flag, cp=fence(data), **fields).build()))

    def raw(self, data):
        self._socket.sendall(data)

    def answers(self, count=1):
        """*count* answers, or fewer where no more come."""
        found = []
        while len(found) < count:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                break
            if not data:
                break
            found += [Segment.parse(item) for item in self._reader.feed(data)]
        return found

    def close(self):
        self._socket.close()


@pytest.fixture
def platform():
    with Platform() as platform:
        yield platform


@pytest.fixture
def station(platform):
    station = Station(platform.port)
    yield station
    station.close()


@pytest.mark.parametrize(("flag", "answered"), [("1", "0"), ("5", "4"), ("9", "8")])
def test_an_upload_is_kept_and_answered_in_its_own_generation(platform, station, flag, answered):
    station.say(flag=flag, rf="1")
    (answer,) = station.answers()
    expected = Segment(qn="20260301081500123", st="91", cn="9014", pw="123456", mn=MN, flag=answered, cp="&&&&")
    assert answer == expected
    (record,) = platform.records()
    assert record[1:] == (MN, "22", "2011", "20260301081500123", "20260301081500", "", "1", DATA, False)


def test_what_asks_for_no_answer_is_kept_without_one(platform, station):
    station.say(flag="4")
    station.say(flag="", qn="")
    assert platform.wait_until(lambda: platform.summary()["records"] == 2, 2)
    assert station.answers() == []


def test_a_notice_is_answered_with_9013(station):
    station.say(cn="1013", data="")
    assert [answer.cn for answer in station.answers()] == ["9013"]


def test_a_repeated_identity_is_kept_and_called_a_duplicate(platform, station):
    for qn, rest in enumerate([{}, {}, {"cn": "2051"}, {"mn": "M2"}, {"pno": "2", "pnum": "2"}]):
        station.say(qn=f"2026030108150012{qn}", **rest)
    station.answers(5)
    assert [record.duplicate for record in platform.records()] == [False, True, False, False, False]
    summary = platform.summary()
    assert (summary["records"], summary["unique"], summary["duplicates"]) == (5, 4, 1)
    assert summary["stations"] == [MN, "M2"]


def test_records_outlive_the_platform(tmp_path):
    file = tmp_path / "platform.db"
    for duplicate in (False, True):
        with Platform(database=file) as platform:
            station = Station(platform.port)
            station.say()
            assert station.answers()
            station.close()
            assert platform.records()[-1].duplicate is duplicate
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*), sum(duplicate) FROM record").fetchone() == (2, 1)
    db.close()


def test_each_record_is_handed_to_who_wants_to_print_it():
    seen = []
    with Platform(on_record=seen.append) as platform:
        station = Station(platform.port)
        station.say()
        station.answers()
        station.close()
    assert [record.data for record in seen] == [DATA]


def test_deviations_are_counted_by_name(platform, station):
    station.say(qn="2026", st="ZZ")
    station.raw(b"##0004CN=10000\r\n")
    assert station.answers()
    assert platform.wait_until(lambda: len(platform.summary()["deviations"]) == 3, 2)
    assert platform.summary()["deviations"] == {"QN is not 17 digits": 1, "ST is in no table": 1, "CrcWrong": 1}


@pytest.mark.parametrize(
    ("fault", "answers", "kept"),
    [
        ("silent", [], 0),
        ("duplicate", [("9014", "20260301081500123", "")] * 2, 1),
        ("wrong-qn", [("9014", "19700101000000000", "")], 1),
        ("refuse", [("9011", "20260301081500123", "QnRtn=2")], 0),
        ("late", [], 1),
    ],
)
def test_a_fault_does_what_its_name_says(platform, station, fault, answers, kept):
    platform.fault(fault)
    station.say()
    assert [(a.cn, a.qn, a.data) for a in station.answers(2)] == answers
    assert len(platform.records()) == kept
    platform.fault(None)
    station.say(qn="20260301081500124")
    assert [a.qn for a in station.answers()] == ["20260301081500124"]


def test_down_refuses_connections_and_comes_back_on_the_same_port(platform, station):
    port = platform.port
    platform.fault("down")
    assert station.answers() == []
    with pytest.raises(ConnectionRefusedError):
        Station(port)
    platform.fault(None)
    assert platform.port == port
    Station(port).close()


def test_only_the_first_answer_is_late(platform, station):
    platform.late_seconds = 0.2
    platform.fault("late")
    station.say(qn="20260301081500001")
    station.say(qn="20260301081500002")
    assert [a.qn[-1] for a in station.answers(2)] == ["2", "1"]


def test_an_unknown_fault_is_refused_with_the_list(platform):
    with pytest.raises(ValueError, match="unknown fault deaf; there are down, silent, late"):
        platform.fault("deaf")
    assert all(FAULTS.values())


def test_a_command_goes_to_its_station_and_its_answers_are_collected(platform, station):
    station.say(flag="9", pw="654321")
    station.answers()
    exchange = platform.send(MN, "1061")
    (asked,) = station.answers()
    assert (asked.cn, asked.pw, asked.flag, asked.st) == ("1061", "654321", "9", "22")
    assert not exchange.wait(0.01)
    station.say(qn=asked.qn, cn="9011", st="91", data="QnRtn=1", flag="8")
    station.say(qn=asked.qn, cn="1061", data="RtdInterval=60", flag="8")
    station.say(qn=asked.qn, cn="9012", st="91", data="ExeRtn=1", flag="8")
    assert exchange.wait(2)
    assert (exchange.accepted, exchange.result, [a.data for a in exchange.data]) == ("1", "1", ["RtdInterval=60"])
    assert platform.summary()["records"] == 1


def test_a_command_may_be_sent_by_its_verb(platform, station):
    station.say()
    station.answers()
    platform.send(MN, "set_clock", "SystemTime=20260301081500")
    platform.send(MN, "keep_sample")
    assert [asked.cn for asked in station.answers(2)] == ["1012", "3015"]


def test_a_refused_command_is_over_at_once(platform, station):
    station.say()
    station.answers()
    exchange = platform.send(MN, "1012", "SystemTime=20260301081500", pw="wrong")
    (asked,) = station.answers()
    assert asked.pw == "wrong"
    station.say(qn=asked.qn, cn="9011", st="91", data="QnRtn=3", flag="4")
    assert exchange.wait(2)
    assert (exchange.accepted, exchange.result) == ("3", "")


def test_a_command_to_nobody_is_said_so(platform):
    with pytest.raises(UplinkError, match=f"no station {MN} is connected"):
        platform.send(MN, "1011")


def test_several_stations_are_served_at_once(platform):
    stations = [Station(platform.port) for _ in range(5)]
    for number, each in enumerate(stations):
        each.say(mn=f"M{number}")
    assert all(each.answers() for each in stations)
    for each in stations:
        each.close()
    assert platform.summary()["stations"] == [f"M{number}" for number in range(5)]


def test_a_stopped_platform_says_so():
    platform = Platform()
    with pytest.raises(UplinkError, match="the platform is not running"):
        platform.summary()
    with platform:
        pass
    platform.stop()
