"""Provisioning: hardware numbers go up, an MN comes down."""

import socket
from threading import Thread

import pytest

from tests.uplink.judge import judge
from tests.uplink.test_link import Listener
from uplink.base import LinkDown, NotAcknowledged, Refused
from uplink.hj212.emulator import Platform
from uplink.hj212.provision import UNASSIGNED, hardware, provision

NUMBERS = {"logger": "10000000abcdef01", "cpu": "10000000abcdef01", "mac1": "B8:27:EB:00:00:01"}
MN = "010000A8900016F000169DC0"


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


def test_provisioning_tells_the_hardware_and_takes_the_mn():
    with Platform(assigns=MN) as platform:
        assert provision(platform.host, platform.port, NUMBERS, password="123456", seconds=5) == MN
        (exchange,) = platform._exchanges.values()
        assert exchange.wait(2)
        assert (exchange.accepted, exchange.result) == ("1", "1")


class Asking(Thread):
    """provision() in a thread, with what it raised or returned."""

    def __init__(self, port, **changes):
        super().__init__()
        self._port, self._changes, self.said = port, {"seconds": 5, **changes}, None
        self.start()

    def run(self):
        try:
            self.said = provision("127.0.0.1", self._port, NUMBERS, password="123456", **self._changes)
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.said = error


def test_the_notice_looks_as_it_is_quoted_and_a_wrong_password_assigns_nothing(listener):
    asking = Asking(listener.port)
    listener.accept()
    (notice,) = listener.frames()
    listener.say("9013", qn=notice.qn, st="91", flag="8", mn=UNASSIGNED)
    listener.say("1002", f"i23005-Info={MN}", pw="000000", flag="9", mn=UNASSIGNED)
    assert listener.frames()[0].data == "QnRtn=3"
    listener.say("1002", "i23005-Info=", flag="9", mn=UNASSIGNED)
    assert listener.frames()[0].data == "QnRtn=2"
    listener.write(b"##0004abcd0000\r\n")
    listener.say("1002", f"i23005-Info={MN}", flag="9", mn=UNASSIGNED)
    assert [a.data for a in listener.frames(2)] == ["QnRtn=1", "ExeRtn=1"]
    asking.join(5)
    assert asking.said == MN
    fields = judge(listener.heard)[0]
    assert (fields["CN"], fields["Flag"], fields["MN"]) == ("1001", "9", UNASSIGNED)
    assert fields["CP"] == ("i23005-Info=10000000abcdef01;i23006-Info=10000000abcdef01;i23007-Info=B8:27:EB:00:00:01")


def test_an_unanswered_notice_is_sent_again_and_then_given_up(listener):
    asking = Asking(listener.port, seconds=0.4, resends=1)
    listener.accept()
    assert len({notice.qn for notice in listener.frames(2)}) == 1
    asking.join(5)
    assert isinstance(asking.said, NotAcknowledged)
    assert str(asking.said) == f"127.0.0.1:{listener.port}: no MN was assigned within 0.4 s"


def test_a_refusal_and_a_broken_connection_are_said(listener):
    asking = Asking(listener.port)
    listener.accept()
    (notice,) = listener.frames()
    listener.say("9011", "QnRtn=2", qn=notice.qn, st="91", flag="8")
    asking.join(5)
    assert isinstance(asking.said, Refused)
    listener.hang_up()
    asking = Asking(listener.port)
    listener.accept()
    listener.frames()
    listener.hang_up()
    asking.join(5)
    assert str(asking.said).endswith("the platform closed the connection")


def test_nobody_listening_is_said():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LinkDown, match="connection refused"):
        provision("127.0.0.1", port, NUMBERS, password="123456", seconds=1)


def test_hardware_numbers_are_those_linux_tells(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nSerial\t\t: 10000000abcdef01\nModel\t: Raspberry Pi 4\n")
    for name, mac in (("eth0", "b8:27:eb:00:00:01"), ("wlan0", "b8:27:eb:00:00:02"), ("lo", "00:00:00:00:00:00")):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "address").write_text(mac + "\n")
    assert hardware(tmp_path) == {
        "logger": "10000000abcdef01",
        "cpu": "10000000abcdef01",
        "mac1": "B8:27:EB:00:00:01",
        "mac2": "B8:27:EB:00:00:02",
    }
    assert hardware(tmp_path / "nothing") == {}
