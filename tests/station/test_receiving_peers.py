"""Senders of HJ 212 against real peers: our own uplink in each edition, frames from the field, bad company."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import threading
import time
import tty
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import BadReply
from drivers.bus import Bus
from drivers.emulator import emulated_bus
from station import receiving
from station.clock import SystemClock
from station.config import BusConfig, load
from station.engine import Engine
from station.model import Average, ConfigError, Kind, Mark, Report
from station.parameters import catalogue
from station.receiving import FRAME_SECONDS, Sender, faults
from station.screen import show_status
from station.status import live
from station.store import Store
from tests.station.test_poller import Line as PolledLine
from tests.station.test_receiving import MN, NOW, REAL, Rig, answer, free_port, host, listening, uploaded
from tests.uplink.conftest import Link
from tests.uplink.test_frame import samples
from uplink.hj212.frame import FrameError, Segment, decode, encode, modbus_crc
from uplink.hj212.link import PointSettings

MARKS = (Mark.N, Mark.S, Mark.C, Mark.M, Mark.T, Mark.D, Mark.F, Mark.B)


@contextlib.contextmanager
def sending(rig: Rig, standard: str, reports: list[Report], **changes: Any) -> Iterator[Link]:
    """The station's own uplink of *standard*, connected to *rig*, owing *reports*."""
    points = (PointSettings(point="P1", mn=MN),)
    link = Link(rig.port, systems={"P1": "31"}, standard=standard, point=points, **changes)
    for report in reports:
        text = link.uplink.compose(report)
        assert text is not None
        link.outbox.add(text, kind=report.kind, start=report.start)
    try:
        with link.up():
            yield link
    finally:
        link.outbox.close()


def known(standard: str) -> tuple[str, ...]:
    """Parameters that have a factor code of their own in *standard*."""
    kind = "old_code" if standard == "2005" else "code"
    by_code = {code: key for key, one in catalogue().items() if (code := getattr(one, kind)) and "-" not in code}
    return tuple(key for key in by_code.values() if catalogue()[key].suffix == "Rtd" and key != "furnace_temperature")


# -- the station's own uplink


@pytest.mark.parametrize("standard", ["2005", "2017", "2025"])
def test_what_our_own_uplink_sends_is_read_whole_and_its_answer_is_enough(tmp_path: Path, standard: str) -> None:
    """Every parameter that has a code, which makes split messages, with each mark; acknowledged, so not sent again."""
    keys = known(standard)
    averages = [Average(key, 1.0 + n, mark=MARKS[n % len(MARKS)]) for n, key in enumerate(keys)]
    with listening(tmp_path, host(standard=standard, parameters=keys)) as rig:
        with sending(rig, standard, [Report(Kind.REALTIME, "P1", NOW, averages)]) as link:
            assert link.drained()
            assert link.errors == []
        found = {one.parameter: one for one in rig.samples(least=len(keys))}
        assert set(found) == set(keys)
        assert {key: one.value for key, one in found.items()} == {a.parameter: pytest.approx(a.mean) for a in averages}
        broken = Mark.D if standard == "2005" else Mark.B  # 2005 has no letter for a broken line
        assert [found[key].mark for key in keys[:8]] == [*MARKS[:7], broken]
        if standard != "2005":
            assert rig.hub.counts["frames"] > 1  # it was split
        assert rig.senders[0].statistics.unasked == rig.senders[0].statistics.bad_replies == 0


@pytest.mark.parametrize("standard", ["2005", "2017", "2025"])
def test_minutes_of_our_own_uplink_are_read_for_their_own_time(tmp_path: Path, standard: str) -> None:
    starts = [NOW - timedelta(minutes=5 - n) for n in range(3)]
    reports = [
        Report(Kind.MINUTE, "P1", start, [Average("nox", 30.0 + n, 29.0, 35.0)]) for n, start in enumerate(starts)
    ]
    settings = host(standard=standard, parameters=("nox",), takes="minute", every_seconds=60)
    with listening(tmp_path, settings) as rig, sending(rig, standard, reports) as link:
        assert link.drained()
        assert [(one.time, one.value) for one in rig.samples(least=3)] == list(zip(starts, (30, 31, 32), strict=True))


def test_our_own_uplink_repeats_what_had_no_answer_and_it_is_read_once(tmp_path: Path) -> None:
    reports = [Report(Kind.REALTIME, "P1", NOW, [Average("nox", 35.5)])]
    with listening(tmp_path, host(parameters=("nox",), answers=False)) as rig, sending(rig, "2017", reports):
        rig.until("frames", 3)
        assert [one.value for one in rig.samples()] == [35.5]
        assert rig.senders[0].read() == []
        assert rig.senders[0].statistics.unasked >= 2


def test_our_own_uplink_is_told_that_its_password_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("654321")
    reports = [Report(Kind.REALTIME, "P1", NOW, [Average("nox", 35.5)])]
    with listening(tmp_path, host(password_file="pw")) as rig, sending(rig, "2017", reports) as link:
        assert link.wait(lambda: bool(link.outbox.refusals or link.outbox.postponed or link.outbox.parked))
        assert rig.hub.counts["wrong password"] >= 1
        assert rig.senders[0].read() == []


# -- frames from the field


@pytest.mark.parametrize("sample", samples("frame"))
def test_frames_from_the_field_are_taken_or_counted(tmp_path: Path, sample: dict[str, Any]) -> None:
    raw = sample["raw"].encode("utf-8", "surrogateescape")
    try:
        segment = Segment.parse(decode(raw))
    except FrameError:
        segment = None
    with listening(tmp_path, host(mn=(segment and segment.mn) or MN)) as rig, rig.connect() as link:
        link.sendall(raw)
        link.sendall(b"\r\n" + uploaded(REAL, mn="SOMEBODY"))  # what comes behind is heard, whatever that was
        rig.until("foreign MN", 1)
        assert rig.hub.counts["frames"] == (segment is not None and bool(segment.mn))
        assert rig.hub.links() == 1
        link.sendall(uploaded("", cn="9015", flag="9", mn=rig.senders[0].settings.mn))
        said = b""
        while b"CN=9013" not in said:
            said += (data := link.recv(4096))
            assert data


def test_check_digits_of_modbus_are_read_where_they_are_told(tmp_path: Path) -> None:
    segment = Segment.parse(decode(uploaded(REAL))).build()
    frame = b"##%04d%b%04X\r\n" % (len(segment), segment, modbus_crc(segment))
    with listening(tmp_path, host(crc="modbus")) as rig, rig.connect() as link:
        link.sendall(frame)
        assert answer(link).cn == "9014"
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        link.sendall(frame)
        rig.until("CRC wrong", 1)
        assert "CRC wrong 1" in rig.senders[0].conditions[0]


def test_text_that_is_gbk_spoils_no_value(tmp_path: Path) -> None:
    data = REAL.encode() + ";i21001-Info=//烟气 设备;正常//".encode("gbk")
    head = f"QN=20260301080000001;ST=31;CN=2011;PW=123456;MN={MN};Flag=5;CP=&&".encode()
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        link.sendall(encode(head + data + b"&&"))
        assert answer(link).cn == "9014"
        assert [one.value for one in rig.samples(least=2)] == [35.5, 6.5]


# -- one that is there and brings nothing


@pytest.mark.parametrize(
    ("data", "cn", "said"),
    [
        ("DataTime=2026030108{:02d}00;a21002-Avg=1", "2051", "it sends 2051, and 2011 is taken"),
        ("DataTime=2026030108{:02d}00;zz1-Rtd=1", "2011", "sends none of its parameters; it sends zz1"),
        ("DataTime=20260301080000;a21002-Rtd=1", "2011", "it repeats what it has sent"),
        ("DataTime=2026022808{:02d}00;a21002-Rtd=1", "2011", "its DataTime is '2026022808"),
    ],
)
def test_a_sender_that_talks_and_brings_no_value_is_offline_and_the_reason_is_said(
    tmp_path: Path, data: str, cn: str, said: str
) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        for turn in range(4):
            rig.seconds += 30
            rig.now += timedelta(seconds=1)
            link.sendall(uploaded(data.format(turn), cn=cn))
            answer(link)
            if turn == 0:
                rig.senders[0].read()
        with pytest.raises(BadReply, match=said):
            rig.senders[0].read()
        link.sendall(uploaded("DataTime=20260301080004;a21002-Rtd=7"))
        answer(link)
        assert [one.value for one in rig.samples()] == [7.0]


def test_a_packet_with_others_factors_is_no_fault(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        for pno, data in (("1", REAL), ("2", "DataTime=20260301080000;zz-Rtd=1")):
            link.sendall(uploaded(data, flag="7", pnum="2", pno=pno))
            assert answer(link).cn == "9014"
        assert rig.senders[0].conditions == []
        assert rig.senders[0].statistics.bad_replies == 0


def test_what_was_refused_stands_beside_the_first_sender_of_the_bus(tmp_path: Path) -> None:
    two = (host(), host(name="dust", mn="DUST", parameters=("pm10",)))
    with listening(tmp_path, *two) as rig, rig.connect() as link:
        link.sendall(b"junk" + uploaded(REAL, mn="SOMEBODY") + uploaded(REAL))
        answer(link)
        assert rig.senders[0].conditions == ["refused on hosts: foreign MN 1, bytes of no frame 4"]
        assert rig.senders[1].conditions == []


# -- two with one MN


def test_of_two_senders_with_one_mn_only_one_is_read_and_it_is_told(tmp_path: Path) -> None:
    """The addresses are those of this machine's loopback net."""
    with listening(tmp_path, host(parameters=("nox",))) as rig, rig.connect() as one:
        two = socket.create_connection(("127.0.0.1", rig.port), 5, source_address=("127.0.0.2", 0))
        with two:
            two.settimeout(5)
            for turn, link in enumerate((one, two)):
                link.sendall(uploaded(f"DataTime=2026030108000{turn};a21002-Rtd={turn}"))
                answer(link)  # the first could have come back with another address: that is taken
            for turn in range(2, 6):
                (one, two)[turn % 2].sendall(uploaded(f"DataTime=2026030108000{turn};a21002-Rtd={turn}"))
            rig.until("one MN from two addresses", 2)
            rig.until("frames", 4)
            assert [s.value for s in rig.samples(least=4)] == [0.0, 1.0, 3.0, 5.0]
            rig.seconds += rig.senders[0].patience_seconds + 1  # the second is gone
            one.sendall(uploaded("DataTime=20260301080009;a21002-Rtd=9"))
            assert answer(one).cn == "9014"


def test_each_seat_of_an_mn_asks_for_its_own_password(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("zzz")
    both = (host(), host(name="minutes", takes="minute", password_file="pw"))
    with listening(tmp_path, *both) as rig, rig.connect() as link:
        link.sendall(uploaded("DataTime=20260301075900;a21002-Avg=1", cn="2051"))
        answer(link)
        assert rig.senders[1].read() == []
        assert rig.hub.counts["wrong password"] == 1


# -- crowds, bursts, frames that do not end


def test_a_burst_of_good_frames_is_answered_whole(tmp_path: Path) -> None:
    with listening(tmp_path, host(standard="2025")) as rig, rig.connect() as link:
        frames = [uploaded("", cn="9015", flag="9", qn=f"202603010800{n:05d}") for n in range(200)]
        link.sendall(b"".join(frames))
        got = b""
        while got.count(b"\r\n") < len(frames):
            data = link.recv(65536)
            assert data, rig.hub.counts
            got += data


def test_who_is_silent_gives_way_and_who_was_of_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "MOST_CONNECTIONS", 12)
    with listening(tmp_path, host()) as rig, rig.connect() as good, contextlib.ExitStack() as stack:
        good.sendall(uploaded(REAL))
        answer(good)
        for n in range(40):
            source = (f"127.0.1.{1 + n % 20}", 0)
            stack.enter_context(socket.create_connection(("127.0.0.1", rig.port), 5, source_address=source))
        rig.until("too many connections", 29)
        end = time.monotonic() + 10
        while rig.hub.links() != 12:  # the one that gave way is counted before the next has its place
            assert time.monotonic() < end
            time.sleep(0.005)
        good.sendall(uploaded("DataTime=20260301080030;a21002-Rtd=2"))
        assert answer(good).cn == "9014"
        with rig.connect() as late:
            late.sendall(uploaded("DataTime=20260301080031;a21002-Rtd=3"))
            assert answer(late).cn == "9014"


def test_a_stranger_takes_no_place_from_one_whose_address_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "MOST_CONNECTIONS", 2)
    with listening(tmp_path, host(addresses=("127.0.0.1",))) as rig, rig.connect() as one, rig.connect() as two:
        one.sendall(uploaded(REAL))
        answer(one)
        with socket.create_connection(("127.0.0.1", rig.port), 5, source_address=("127.0.0.9", 0)) as stranger:
            assert stranger.recv(1) == b""
        two.sendall(uploaded("DataTime=20260301080031;a21002-Rtd=3"))
        assert answer(two).cn == "9014"


def test_a_sender_whose_lost_connections_stay_open_is_always_let_in(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, contextlib.ExitStack() as stack:
        for n in range(40):
            link = stack.enter_context(rig.connect())
            rig.seconds += 1
            link.sendall(uploaded(f"DataTime=202603010800{n:02d};a21002-Rtd={n}"))
            assert answer(link).cn == "9014"
        assert rig.hub.links() == receiving.MOST_OF_ONE_ADDRESS


def test_a_frame_that_stopped_swallows_the_next_only_for_a_while(tmp_path: Path) -> None:
    with listening(tmp_path, host()) as rig, rig.connect() as link:
        link.sendall(b"##0900QN=1;ST=31;" + uploaded(REAL))
        end = time.monotonic() + 10
        while not any(one.begun is not None for one in list(rig.hub._links.values())):
            assert time.monotonic() < end
            time.sleep(0.005)
        rig.seconds += FRAME_SECONDS + 1
        rig.connect().close()  # it looks around when something happens, else every few seconds
        assert answer(link).cn == "9014"
        assert rig.hub.counts["frame not finished"] == 1


# -- serial lines


@contextlib.contextmanager
def terminal(folder: Path, *senders: Any) -> Iterator[tuple[int, Rig]]:
    own, other = pty.openpty()
    tty.setraw(other)
    rig = Rig(folder, *senders, port=os.ttyname(other))
    try:
        yield own, rig
    finally:
        rig.bus.close()
        os.close(own)
        os.close(other)


def test_a_half_frame_on_a_serial_line_is_given_up(tmp_path: Path) -> None:
    with terminal(tmp_path, host()) as (own, rig):
        rig.senders[0].read()  # opening drops what had come
        os.write(own, b"##0900QN=1;")
        assert rig.senders[0].read() == []
        rig.seconds += FRAME_SECONDS + 2
        assert rig.senders[0].read() == []
        os.write(own, uploaded(REAL))
        assert [one.value for one in rig.senders[0].read()] == [35.5, 6.5]
        assert rig.hub.counts["frame not finished"] == 1


def test_a_line_that_never_falls_silent_ends_the_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "PUMP_SECONDS", 0.2)
    with terminal(tmp_path, host()) as (own, rig):
        rig.senders[0].read()
        began = time.monotonic()
        rig.bus.monotonic = lambda: time.monotonic() - began
        over = threading.Event()

        def talk() -> None:
            while not over.is_set():
                os.write(own, b"##1000" + b"x" * 50)
                over.wait(0.01)

        talker = threading.Thread(target=talk)
        talker.start()
        try:
            assert rig.senders[0].read() == []  # it comes back at all
        finally:
            over.set()
            talker.join(5)
        assert rig.hub.counts["line that never falls silent"] == 1


class Line:
    """A serial port on which a second host begins to speak while the first is answered."""

    timeout: float | None = 1.0

    def __init__(self, first: bytes, second: bytes) -> None:
        self._waiting, self._second, self.written = first, second, b""

    @property
    def in_waiting(self) -> int:
        return len(self._waiting)

    def read(self, size: int = 1) -> bytes:
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        if data and not self._waiting:
            self._waiting, self._second = self._second, b""
        return data

    def write(self, data: bytes) -> None:
        self.written += data

    def reset_input_buffer(self) -> None:
        self._waiting = b""

    def close(self) -> None:
        pass


def test_an_answer_costs_no_byte_of_the_next_host(tmp_path: Path) -> None:
    line = Line(uploaded(REAL), uploaded("DataTime=20260301080000;a34002-Rtd=45", mn="DUST"))
    senders = (host(), host(name="dust", mn="DUST", parameters=("pm10",)))
    bus = Bus(BusConfig(name="hosts", port="/dev/none", device=senders), open_port=lambda settings: line)
    made = [Sender(one, bus, (tmp_path / "profiles",), lambda: NOW) for one in senders]
    found = [one for _ in range(3) for sender in made for one in sender.read()]
    assert [one.value for one in found] == [35.5, 6.5, 45.0]
    assert line.written.count(b"CN=9014") == 2


# -- the whole station

CONFIG = """
[station]
name = "house"
data_folder = "data"

[[point]]
code = "stack"
name = "Stack"
st = "31"

[[bus]]
name = "hosts"
port = "hj212+tcp://127.0.0.1:{port}"

[[bus.device]]
name = "new"
driver = "hj212"
mn = "{mn}"
password_file = "new.password"
point = "stack"
parameters = ["nox", "so2"]

[[bus.device]]
name = "old"
driver = "hj212"
mn = "OLD00000000001"
standard = "2005"
point = "stack"
parameters = ["smoke_dust"]

[[bus]]
name = "water"
port = "water"
baudrate = 115200
gap_ms = 0

[[bus.device]]
name = "scale"
profile = "laumas-tlb"
unit_id = 1
point = "stack"
"""


def test_two_senders_and_a_modbus_device_are_one_station_whatever_else_comes_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uplinks of two editions and an emulated instrument, with rubbish beside them: stored with marks, and shown."""
    (tmp_path / "station.toml").write_text(CONFIG.format(port=free_port(), mn=MN))
    (tmp_path / "new.password").write_text("123456")
    loaded = load(tmp_path / "station.toml")
    loaded.data_folder.mkdir()
    hosts, water = loaded.config.bus
    port = receiving.address_of(hosts.port)[1]
    with emulated_bus(water, water.device, link=Path(water.port)), contextlib.ExitStack() as stack:  # type: ignore[arg-type]
        engine = Engine(loaded, Store.open(loaded.database), SystemClock())
        stack.callback(engine.shut_down)
        began = engine.clock.now()

        def poll() -> None:
            for poller in engine.pollers:
                for task in poller.tasks:
                    poller.poll(task)

        poll()  # it listens from now on
        stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        stranger.sendall(os.urandom(500) + uploaded(REAL, mn="SOMEBODY") + uploaded(REAL)[:40])
        for standard, mn, averages in (
            ("2017", MN, [Average("nox", 35.5), Average("so2", 12.0, mark=Mark.M)]),
            ("2005", "OLD00000000001", [Average("smoke_dust", 8.0)]),
        ):
            link = Link(port, systems={"P1": "31"}, standard=standard, point=(PointSettings(point="P1", mn=mn),))
            stack.callback(link.outbox.close)
            text = link.uplink.compose(Report(Kind.REALTIME, "P1", engine.clock.now(), averages))
            assert text is not None
            link.outbox.add(text)
            with link.up():
                assert link.drained()
        poll()
        engine.commit()
        stored = {
            (one.device, one.parameter): (one.value, one.mark)
            for one in engine.store.readings(began - timedelta(minutes=1), began + timedelta(minutes=5))
        }
        found = live(engine)
        show_status(found, {}, UTC)
        for poller in engine.pollers:
            poller._close()
    assert stored["new", "nox"] == (35.5, Mark.N)
    assert stored["new", "so2"] == (12.0, Mark.M)
    assert stored["old", "smoke_dust"] == (8.0, Mark.N)
    assert any(device == "scale" for device, _ in stored)
    assert {one["name"] for one in found["devices"] if one["answers"]} == {"new", "old", "scale"}
    assert "foreign MN 1" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("held", "said"), [(None, "there is no file"), ("", "holds no usable password")])
def test_a_senders_password_that_is_not_there_is_a_fault_with_its_line(
    tmp_path: Path, held: str | None, said: str
) -> None:
    (tmp_path / "station.toml").write_text(CONFIG.format(port=free_port(), mn=MN))
    if held is not None:
        (tmp_path / "new.password").write_text(held)
    with pytest.raises(ConfigError, match=rf"station.toml:19: .*password_file: .*{said}"):
        load(tmp_path / "station.toml")


def test_an_emptied_password_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("")
    with listening(tmp_path, host(password_file="pw")) as rig, rig.connect() as link:
        link.sendall(uploaded(REAL, pw=""))
        rig.until("wrong password", 1)
        assert rig.senders[0].read() == []


# -- configuration, and the poller


def test_senders_of_a_bus_have_one_kind_of_check_digits() -> None:
    both = (host(), host(name="dust", mn="DUST", parameters=("pm10",), crc="modbus"))
    found = list(faults(BusConfig(name="hosts", port="hj212+tcp://127.0.0.1:9031", device=both)))
    assert found == [("device[1].crc", 'all senders of a bus have one kind; that of "cems" is another')]


def test_one_that_is_only_heard_is_polled_at_its_pace_however_long_it_was_silent(tmp_path: Path) -> None:
    """A silent instrument is asked ever more rarely; what speaks by itself would only be heard later for it."""
    line = PolledLine()
    for instrument in line.instruments:
        instrument.go_silent()
    line.instruments[0].speaks = True  # type: ignore[attr-defined]
    line.run(300)
    assert line.instruments[0].asked == 61  # every 5 s, the first failure tried again at once
    assert line.instruments[1].asked < 20
    assert Sender(host(), Rig(tmp_path, host()).bus, (tmp_path / "profiles",), lambda: NOW).speaks
