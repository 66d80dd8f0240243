"""Senders of HJ 212 as instruments: their data with their marks, answered; rubbish, strangers and floods in no way."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import DeviceError, NoReply, PortLost, ProfileError
from drivers.bus import Bus
from station.config import BusConfig
from station.emulated_sender import FAULTS, EmulatedSender, emulated_senders
from station.model import Mark, Reason, Sample
from station.receiving import (
    IDLE_SECONDS,
    MOST_CONNECTIONS,
    MOST_OF_ONE_ADDRESS,
    MOST_WRONG,
    Sender,
    SenderSettings,
    address_of,
    hub_of,
)
from uplink.hj212.frame import FrameReader, Segment, encode, fence

NOW = datetime(2026, 3, 1, 0, 0, tzinfo=UTC)  # 08:00 there
MN = "NT0000000000000000000031"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Rig:
    """A bus that listens, with senders on it, and clocks that are moved by hand."""

    def __init__(self, folder: Path, *senders: SenderSettings, port: str = "") -> None:
        self.port = free_port()
        self.seconds, self.now = 0.0, NOW
        self.notes: list[tuple[str, dict[str, Any]]] = []
        settings = BusConfig(name="hosts", port=port or f"hj212+tcp://127.0.0.1:{self.port}", device=senders)
        self.bus = Bus(settings, monotonic=lambda: self.seconds,
                       note=lambda code, **words: self.notes.append((code, words)))  # fmt: skip
        folders = (folder / "profiles",)
        self.senders = [Sender(one, self.bus, folders, lambda: self.now) for one in senders]
        self.hub = hub_of(self.bus)

    def listen(self) -> None:
        for one in self.senders:
            one.read()

    def close(self) -> None:
        for one in self.senders:
            one.close()

    def connect(self) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", self.port), 5)
        link.settimeout(5)
        return link

    def until(self, key: str, count: int) -> None:
        deadline = time.monotonic() + 10
        while self.hub.counts[key] < count:
            assert time.monotonic() < deadline, self.hub.counts
            time.sleep(0.005)

    def samples(self, sender: int = 0, least: int = 1) -> list[Sample]:
        found: list[Sample] = []
        deadline = time.monotonic() + 10
        while len(found) < least:
            assert time.monotonic() < deadline, self.hub.counts
            found += self.senders[sender].read()
            time.sleep(0.005)
        return found


def host(**more: Any) -> SenderSettings:
    told = {"name": "cems", "driver": "hj212", "point": "stack", "mn": MN, "parameters": ("nox", "gas_oxygen")} | more
    return SenderSettings(**told)


def uploaded(data: str, **more: str) -> bytes:
    told = {"qn": "20260301080000001", "st": "31", "cn": "2011", "pw": "123456", "mn": MN, "flag": "5"} | more
    return encode(Segment(cp=fence(data), **told).build())


def answer(link: socket.socket) -> Segment:
    reader = FrameReader()
    while True:
        data = link.recv(4096)
        assert data
        for item in reader.feed(data):
            assert isinstance(item, bytes)
            return Segment.parse(item)


REAL = "DataTime=20260301080000;a21002-Rtd=35.5,a21002-Flag=N;a19001-Rtd=6.5,a19001-Flag=C"


@contextlib.contextmanager
def listening(folder: Path, *senders: SenderSettings) -> Iterator[Rig]:
    rig = Rig(folder, *senders)
    rig.listen()
    try:
        yield rig
    finally:
        rig.close()


# -- what comes becomes samples, and is answered


def test_an_upload_is_read_with_its_marks_and_answered(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        link.sendall(uploaded(REAL))
        said = answer(link)
        assert (said.cn, said.qn, said.st, said.mn, said.flag) == ("9014", "20260301080000001", "91", MN, "4")
        assert rig.samples() == [
            Sample("nox", NOW, 35.5),
            Sample("gas_oxygen", NOW, 6.5, Mark.C, Reason.STATUS),
        ]
        assert rig.senders[0].read() == []


@pytest.mark.parametrize("standard", ["2005", "2017", "2025"])
def test_each_edition_is_understood_by_its_own_codes(tmp_path: Path, standard: str) -> None:
    one = EmulatedSender(host(standard=standard))
    with listening(tmp_path, host(standard=standard)) as rig, rig.connect() as link:
        link.sendall(one.frame(rig.senders[0], NOW + timedelta(seconds=2)))
        assert answer(link).cn == "9014"
        assert [(s.parameter, s.value) for s in rig.samples()] == [("nox", 35.0), ("gas_oxygen", 6.5)]


def test_plain_names_of_older_dust_hosts_are_read_and_not_answered(tmp_path: Path) -> None:
    settings = host(standard="2005", dialect="site-dust-names", parameters=("tsp", "pm10"), sent_units={"tsp": "mg/m³"})
    with listening(tmp_path, settings) as rig, rig.connect() as link:
        frame = encode(f"ST=39;CN=2011;PW=1;MN={MN};CP=&&DataTime=20260301080000;TSP-Rtd=0.09,TSP-Flag=N&&".encode())
        link.sendall(frame)
        (one,) = rig.samples()
        assert (one.parameter, one.value) == ("tsp", pytest.approx(90.0))
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            link.recv(100)


def test_codes_and_units_are_told_where_they_are_not_the_standards(tmp_path: Path) -> None:
    settings = host(parameters=("nox",), codes={"nox": "x1"}, sent_units={"nox": "µg/m³"})
    with listening(tmp_path, settings) as rig, rig.connect() as link:
        link.sendall(uploaded("DataTime=20260301080000;x1-Rtd=35500"))
        assert [one.value for one in rig.samples()] == [35.5]


@pytest.mark.parametrize(
    ("item", "value", "mark", "reason"),
    [
        ("a21002-Rtd=35.5", 35.5, Mark.N, Reason.NONE),
        ("a21002-Rtd=35.5,a21002-Flag=B", 35.5, Mark.B, Reason.STATUS),
        ("a21002-Rtd=35.5,a21002-Flag=?", 35.5, Mark.D, Reason.STATUS),
        ("a21002-Rtd=,a21002-Flag=N", None, Mark.D, Reason.NO_VALUE),
        ("a21002-Rtd=nan", None, Mark.D, Reason.NO_VALUE),
        ("a21002-Rtd=1e999", None, Mark.D, Reason.NO_VALUE),
        ("a21002-Rtd=0x10", None, Mark.D, Reason.NO_VALUE),
        ("a21002-Flag=M", None, Mark.M, Reason.NO_VALUE),
        ("a21002-Rtd=-3.5", -3.5, Mark.N, Reason.NONE),
    ],
)
def test_what_is_no_value_is_marked(tmp_path: Path, item: str, value: float, mark: Mark, reason: Reason) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        link.sendall(uploaded(f"DataTime=20260301080000;{item}"))
        assert rig.samples() == [Sample("nox", NOW, value, mark, reason)]


def test_minutes_are_dated_by_the_sender_and_taken_once(tmp_path: Path) -> None:
    with listening(tmp_path, host(takes="minute", every_seconds=60)) as rig, rig.connect() as link:
        for said in ("20260301075900", "20260301075900", "20260301064500", "20260301055900", "20260301081100", "x"):
            link.sendall(uploaded(f"DataTime={said};a21002-Avg=35.5", cn="2051"))
            assert answer(link).cn == "9014"  # it has told us; that it is too old is no reason to tell us again
        found = rig.samples(least=2)
        assert [one.time for one in found] == [NOW - timedelta(minutes=1), NOW - timedelta(minutes=75)]
        assert rig.senders[0].statistics.unasked == 1
        assert rig.senders[0].statistics.late == 3


def test_a_repetition_is_answered_again_and_read_once(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        for qn in ("20260301080000001", "20260301080005001"):
            link.sendall(uploaded(REAL, qn=qn))
            assert answer(link).qn == qn
        assert len(rig.samples()) == 2


def test_real_time_data_that_were_re_sent_are_not_taken_for_the_present(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        for step in ("{:02d}00", "30{:02d}"):
            for n in range(10):
                link.sendall(uploaded(f"DataTime=2026030107{step.format(n)};a21002-Rtd={n}"))
                answer(link)
        link.sendall(uploaded("DataTime=20260301080000;a21002-Rtd=99"))
        assert [one.value for one in rig.samples()] == [99]
        assert rig.senders[0].statistics.late == 20


def test_a_sender_with_a_slow_clock_is_dated_by_this_station_and_it_is_said(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        for turn in range(3):
            rig.now = NOW + timedelta(seconds=30 * turn)
            link.sendall(uploaded(f"DataTime={rig.now + timedelta(hours=7):%Y%m%d%H%M%S};a21002-Rtd={turn}"))
            answer(link)
        assert [(one.value, one.time) for one in rig.samples(least=2)] == [
            (1.0, NOW + timedelta(seconds=30)),
            (2.0, NOW + timedelta(seconds=60)),
        ]
        assert rig.senders[0].condition == "its clock is -3600 s from this station's"


def test_several_senders_share_a_port_and_one_of_them_has_two_connections(tmp_path: Path) -> None:
    others = [host(name=f"host{n}", mn=f"DUST{n:04d}", parameters=("pm10",)) for n in range(5)]
    with listening(tmp_path, *others) as rig, rig.connect() as one, rig.connect() as two:
        for n in range(5):
            link = one if n % 2 else two
            link.sendall(uploaded(f"DataTime=20260301080000;a34002-Rtd={n}", mn=f"DUST{n:04d}"))
            assert answer(link).mn == f"DUST{n:04d}"
        assert [[s.value for s in rig.samples(n)] for n in range(5)] == [[0.0], [1.0], [2.0], [3.0], [4.0]]


def test_notices_are_answered_and_bring_nothing(tmp_path: Path) -> None:
    with listening(tmp_path, host(standard="2025")) as rig, rig.connect() as link:
        link.sendall(uploaded("", cn="9015", flag="9"))
        assert answer(link).cn == "9013"
        assert rig.senders[0].read() == []


def test_who_is_not_to_be_answered_is_not(tmp_path: Path) -> None:
    with listening(tmp_path, host(answers=False)) as rig, rig.connect() as link:
        link.sendall(uploaded(REAL))
        assert len(rig.samples()) == 2
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            link.recv(100)


# -- silence, and what it cannot do


def test_silence_is_told_as_of_any_instrument_and_ends(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig:
        rig.seconds = 79.0
        assert rig.senders[0].read() == []
        rig.seconds = 81.0
        with pytest.raises(NoReply, match=f"nothing from MN {MN} for 81 s"):
            rig.senders[0].read()
        with rig.connect() as link:
            link.sendall(uploaded(REAL))
            answer(link)
        assert len(rig.samples()) == 2


def test_nothing_can_be_asked_of_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, host())
    with pytest.raises(DeviceError, match="has no way to calibrate"):
        rig.senders[0].act("calibrate", {})
    with pytest.raises(PortLost, match="nothing can be asked"):
        rig.bus.open()


def test_a_port_that_is_taken_is_a_lost_port_and_is_tried_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, host())
    with socket.create_server(("127.0.0.1", rig.port)), pytest.raises(PortLost, match="cannot be listened on"):
        rig.senders[0].read()
    assert rig.senders[0].read() == []
    rig.close()


# -- strangers, rubbish, floods


def test_a_wrong_password_is_answered_as_such_and_brings_nothing(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("654321\n")
    with listening(tmp_path, host(password_file="pw")) as rig, rig.connect() as link:
        link.sendall(uploaded(REAL))
        said = answer(link)
        assert (said.cn, said.data) == ("9011", "QnRtn=3")
        link.sendall(uploaded(REAL, pw="654321"))
        assert answer(link).cn == "9014"
        assert len(rig.samples()) == 2
        assert rig.notes[0] == (
            "sender_refused", {"bus": "hosts", "reason": "wrong password", "address": "127.0.0.1", "count": 1}
        )  # fmt: skip


def test_a_foreign_mn_and_a_foreign_address_bring_nothing_and_hear_nothing(tmp_path: Path) -> None:
    with listening(tmp_path, host(addresses=("10.0.0.7",))) as rig, rig.connect() as link:
        link.sendall(uploaded(REAL) + uploaded(REAL, mn="SOMEBODY"))
        rig.until("foreign address", 1)
        rig.until("foreign MN", 1)
        assert rig.senders[0].read() == []
        link.settimeout(0.1)
        with pytest.raises(TimeoutError):
            link.recv(100)
        assert [words["reason"] for _, words in rig.notes] == ["foreign address", "foreign MN"]


@pytest.mark.parametrize("seed", range(5))
def test_rubbish_of_any_kind_costs_a_connection_and_no_reading(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    good = uploaded(REAL)
    with listening(tmp_path, host()) as rig:
        for _ in range(40):
            with rig.connect() as link, contextlib.suppress(OSError):
                kind = chance.randrange(5)
                spoilt = bytearray(good)
                if kind == 0:
                    link.sendall(chance.randbytes(chance.randrange(1, 9000)))
                elif kind == 1:
                    spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
                    link.sendall(spoilt)
                elif kind == 2:
                    link.sendall(good[: chance.randrange(len(good))])
                elif kind == 3:
                    link.sendall(b"##9999" + b"#" * 5000)
                else:
                    link.sendall(encode(chance.randbytes(200).replace(b"#", b"x")))
        taken = rig.hub.counts["frames"]
        with rig.connect() as link:
            link.sendall(uploaded("DataTime=20260301080001;a21002-Rtd=1;a19001-Rtd=2"))
            assert answer(link).cn == "9014"
        assert rig.hub.counts["frames"] == taken + 1
        values = {(one.parameter, one.value) for one in rig.samples(least=2)}
        assert values <= {("nox", 35.5), ("gas_oxygen", 6.5), ("nox", 1.0), ("gas_oxygen", 2.0)}


def test_one_who_is_wrong_all_the_time_is_cut_off(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        with contextlib.suppress(OSError):
            for _ in range(MOST_WRONG + 5):
                link.sendall(uploaded(REAL, mn="SOMEBODY"))
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(10) == b""
        assert rig.hub.counts["foreign MN"] > MOST_WRONG
        assert [code for code, _ in rig.notes].count("sender_refused") == 2  # of each kind once an hour


def test_connections_are_bounded_and_idle_ones_end(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, contextlib.ExitStack() as stack:
        for _ in range(MOST_OF_ONE_ADDRESS + 20):
            stack.enter_context(rig.connect())
        rig.until("too many connections", 20)
        assert rig.hub.links() == MOST_OF_ONE_ADDRESS <= MOST_CONNECTIONS
        rig.seconds = IDLE_SECONDS + 1
        rig.connect().close()  # it looks around when something happens, else every few seconds
        rig.until("idle connection closed", MOST_OF_ONE_ADDRESS)
        with rig.connect() as link:
            link.sendall(uploaded(REAL))
            assert answer(link).cn == "9014"


def test_one_who_reads_no_answers_is_cut_off_and_the_next_is_served(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(0.5)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 200_000:
                link.sendall(uploaded(REAL))
                sent += 1
        with rig.connect() as other:
            other.sendall(uploaded("DataTime=20260301080001;a21002-Rtd=1"))
            assert answer(other).cn == "9014"
        assert sent < 200_000
        assert len(rig.samples()) <= 2 * 2 + 1


def test_a_flood_of_good_frames_is_bounded_in_memory(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        link.settimeout(20)
        for batch in range(150):
            for turn in range(20):
                link.sendall(uploaded(f"DataTime=20260301080000;a21002-Rtd={20 * batch + turn};a19001-Rtd=1"))
            answers = b""
            while answers.count(b"\r\n") < 20:
                answers += link.recv(65536)
        assert rig.hub.counts["frames"] == 3000
        assert len(rig.samples()) == 2000


# -- a serial port, and the emulated sender


@pytest.mark.parametrize("fault", ["", "twice", "split", "flag"])
def test_a_sender_on_a_serial_port_is_read_and_answered(tmp_path: Path, fault: str) -> None:
    settings, link = host(every_seconds=1), tmp_path / "line"
    rig = Rig(tmp_path, settings, port=str(link))
    rig.bus.monotonic = time.monotonic
    rig.now = datetime.now(UTC)
    senders = emulated_senders(rig.bus.settings, {"cems": rig.senders[0]}, {}, link, lambda: datetime.now(UTC), {})
    senders.fail(fault)
    with senders:
        deadline = time.monotonic() + 20
        found: list[Sample] = []
        while len(found) < 4 or senders.senders["cems"][0].answered < 1:
            assert time.monotonic() < deadline
            rig.now = datetime.now(UTC)
            found += rig.senders[0].read()
        assert {(one.parameter, one.value) for one in found} == {("nox", 35.0), ("gas_oxygen", 6.5)}
        assert {one.mark for one in found} == {Mark.D if fault == "flag" else Mark.N}
        rig.bus.close()


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"twice", "split", "flag", "silent"}))
def test_what_an_emulated_sender_does_wrong_brings_no_value(tmp_path: Path, fault: str) -> None:
    settings = host(every_seconds=1, password_file="pw")
    (tmp_path / "pw").write_text("123456")
    with listening(tmp_path, settings) as rig:
        rig.now = datetime.now(UTC)
        senders = emulated_senders(rig.bus.settings, {"cems": rig.senders[0]}, {}, None, lambda: rig.now, {})
        senders.fail(fault)
        with senders:
            deadline = time.monotonic() + 10
            while senders.senders["cems"][0].sent < 1:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.1)
            assert rig.senders[0].read() == []
            senders.recover()
            rig.now += timedelta(seconds=3)
            assert {one.value for one in rig.samples()} == {35.0, 6.5}


# -- configuration


@pytest.mark.parametrize(
    "port", ["hj212+tcp://gate:9001", "hj212+tcp://127.0.0.1", "hj212+tcp://999.0.0.1:9", "hj212+tcp://0.0.0.0:70000"]
)
def test_an_address_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="hj212"):
        address_of(port)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"parameters": ("noxx",)}, "did you mean nox"),
        ({"parameters": ("nox",), "codes": {"nox": "a"}, "sent_units": {"nox": "ppm"}}, "cannot be turned into"),
        ({"parameters": ("nox", "gas_oxygen"), "codes": {"nox": "a", "gas_oxygen": "a"}}, "two parameters have one"),
        ({"timezone": "8"}, "is not an offset"),
    ],
)
def test_what_a_sender_cannot_be_is_said(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        Rig(tmp_path, host(**more))
