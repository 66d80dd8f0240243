"""Where the station stands and what GNSS says of the time, against an emulated gpsd with its faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.config import load
from station.gpsd import Fix, Gpsd, NoGpsd, Sky, metres, parse
from station.gpsdemulator import FAULTS, ROLLOVER, EmulatedGpsd
from station.model import ConfigError
from station.position import Position
from tests.station.conftest import CONFIG, START, Rig

SITE_INFO = 'realtime_seconds = 30\nkinds = ["realtime", "minute", "hour", "day", "site_info"]\n'
DEGREE = 111_195.0  # metres of latitude


def configured(port: int, more: str = "") -> str:
    return CONFIG.replace("realtime_seconds = 30\n", SITE_INFO) + f"\n[position]\nport = {port}\n{more}"


def set_clock(rig: Rig, moment: datetime) -> None:
    rig.clock.step((moment - rig.clock.now()).total_seconds())


class Setter:
    """Sets the clock of a rig, or says why not."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.refusal = rig, ""
        self.asked: list[tuple[datetime, bool]] = []

    def set(self, moment: datetime, *, trusted: bool) -> str | None:
        self.asked.append((moment, trusted))
        if self.refusal:
            return self.refusal
        set_clock(self.rig, moment)
        return None


class Bench:
    """A station and a receiver: each second a report, a turn of the position and one of the main thread."""

    def __init__(self, folder: Path, more: str = "", now: datetime = START) -> None:
        self.gpsd = EmulatedGpsd()
        self.rig = Rig(folder, configured(self.gpsd.port, more), now)
        self.true = now  # what time it is, whatever the station's clock says
        self.begin()

    def begin(self) -> None:
        (made,) = self.rig.engine.beside
        assert isinstance(made, Position)
        self.position, self.setter = made, Setter(self.rig)
        assert made.time is not None
        made.time._setter = self.setter
        assert made._one_turn() >= 0
        assert self.gpsd.watched()

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.rig.run(1)
            self.true += timedelta(seconds=1)
            self.gpsd.report(self.true)
            self.position._one_turn() if self.gpsd.fault != "silent" else self._without_waiting()

    def _without_waiting(self) -> None:
        if self.position._gpsd is not None:
            silent = self.rig.clock.monotonic() - self.position._heard
            if silent <= 60:
                return  # nothing can come: a turn would wait its second
        self.position._one_turn()

    def restart(self) -> None:
        self.position.close()
        self.rig.restart()
        self.begin()

    def move(self, north_m: float) -> None:
        self.gpsd.latitude += north_m / DEGREE

    def codes(self) -> list[str]:
        self.rig.engine.commit()
        return [code for code in self.rig.events() if code.startswith(("position", "gnss", "beside", "clock"))]

    def arguments(self, code: str) -> dict[str, object]:
        self.rig.engine.commit()
        rows = self.rig.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id DESC", (code,))
        found: dict[str, object] = json.loads(rows[0][0])
        return found

    def kept(self) -> list[str]:
        self.rig.engine.commit()
        rows = self.rig.engine.store.query("SELECT body FROM record WHERE kind = 'position' ORDER BY id")
        return [json.loads(body)["what"] for (body,) in rows]

    def close(self) -> None:
        self.position.close()
        self.rig.engine.shut_down()
        self.gpsd.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


# -- where it stands


def test_the_first_position_that_stands_is_the_place_and_is_kept_over_a_kill(bench: Bench) -> None:
    bench.pass_time(50)
    assert bench.kept() == ["at"]
    bench.pass_time(30)
    assert bench.kept() == ["at", "home"]
    assert bench.codes() == ["position_first"]
    assert bench.arguments("position_first") == {"latitude": "31.23040", "longitude": "121.47370"}
    words = bench.position.shown()["words"]
    assert words == {"position_fix": "3D", "position_at": "31.23040, 121.47370"}
    bench.restart()
    bench.pass_time(90)
    assert bench.kept() == ["at", "home"]
    assert bench.codes() == ["position_first"]


def test_a_station_that_is_carried_away_is_told_after_minutes_and_when_it_is_back(bench: Bench) -> None:
    bench.pass_time(90)
    bench.move(1000)
    bench.pass_time(200)
    assert "position_moved" not in bench.codes()
    bench.pass_time(130)
    assert bench.codes() == ["position_first", "position_moved"]
    assert 990 <= int(str(bench.arguments("position_moved")["metres"])) <= 1010
    assert any("SITE_INFO" in text for text in bench.rig.texts())
    assert bench.position.shown()["words"]["position_moved"] == "1000"
    bench.restart()
    bench.pass_time(400)
    assert bench.codes().count("position_moved") == 1  # also over a kill
    bench.move(-830)  # 170 m: nearer than moved_metres, and not near enough
    bench.pass_time(400)
    assert "position_back" not in bench.codes()
    bench.move(-70)
    bench.pass_time(330)
    assert bench.codes()[-1] == "position_back"


def test_a_jump_that_does_not_last_is_no_alarm(bench: Bench) -> None:
    bench.pass_time(90)
    for _ in range(3):
        bench.gpsd.fault = "jump"
        bench.pass_time(120)
        bench.gpsd.fault = ""
        bench.pass_time(30)
    assert bench.codes() == ["position_first"]


@pytest.mark.parametrize("poor", ["two_d", "error", "hdop", "no_fix"])
def test_a_poor_fix_moves_nothing(bench: Bench, poor: str) -> None:
    bench.pass_time(90)
    bench.move(5000)
    if poor == "error":
        bench.gpsd.error_m = 80
    elif poor == "hdop":
        bench.gpsd.hdop = 12
    else:
        bench.gpsd.fault = poor
    bench.pass_time(400)
    assert bench.codes() == ["position_first"]
    assert not bench.position.moved
    assert "position_no_fix" in bench.position.shown()["words"]


def test_a_configured_place_counts_from_the_first_fix(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "latitude = 31.3\nlongitude = 121.4737\nmoved_minutes = 1\n")
    bench.pass_time(90)
    assert bench.codes() == ["position_moved"]
    bench.close()


# -- what gpsd does wrong


def test_a_daemon_that_is_started_again_is_told_once_and_taken_up_again(bench: Bench) -> None:
    bench.pass_time(20)
    bench.gpsd.restart()
    bench.position._one_turn()
    assert bench.codes() == ["beside_failed"]
    bench.position._one_turn()
    assert bench.gpsd.watched()
    bench.pass_time(90)
    assert bench.codes() == ["beside_failed", "beside_well", "position_first"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("rubbish", "does another program listen there?"),
        ("huge_line", "a line of more than 16384 bytes"),
        ("silent", "is the receiver connected?"),
    ],
)
def test_rubbish_and_silence_are_told_with_what_to_do(bench: Bench, fault: str, said: str) -> None:
    bench.pass_time(20)
    bench.gpsd.fault = fault
    bench.pass_time(8 if fault != "silent" else 63)
    assert "beside_failed" in bench.codes()
    assert said in str(bench.arguments("beside_failed")["reason"])
    assert bench.rig.instrument.asked > 0
    assert fault in FAULTS


def test_without_a_daemon_it_is_told_what_is_missing() -> None:
    gone = EmulatedGpsd()
    gone.close()
    with pytest.raises(NoGpsd, match="is gpsd running"):
        Gpsd("127.0.0.1", gone.port)


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff", b"[]", b"{}", b'{"class":1}', b'{"class":"TPV"}', b'{"class":"TPV","mode":true}',
     b'{"class":"TPV","mode":7}', b"[" * 5000, b'{"class":"TPV","mode":{}}'],
)  # fmt: skip
def test_a_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(line)


def test_a_field_that_cannot_be_is_not_there() -> None:
    line = b'{"class":"TPV","mode":3,"lat":91,"lon":"12","eph":-1,"time":"yesterday"}'
    assert parse(line) == Fix(3)
    assert parse(b'{"class":"TPV","mode":3,"lat":NaN,"lon":1e999,"time":"2026-03-01T00:00:00"}') == Fix(3)
    assert parse(b'{"class":"SKY","hdop":1.5}') == Sky(1.5)
    assert parse(b'{"class":"SKY","hdop":true}') is None
    assert parse(b'{"class":"DEVICES"}') is None
    assert round(metres((0, 179.999), (0, -179.999))) == 222


# -- the time


def test_without_another_clock_gnss_gives_the_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pass_time(5)
    bench.rig.trust = "none"
    bench.restart()
    set_clock(bench.rig, bench.rig.clock.now() - timedelta(hours=3))
    bench.pass_time(5)
    assert bench.rig.engine.time.waits
    bench.pass_time(15)
    assert not bench.rig.engine.time.waits
    assert bench.rig.engine.trust() == "gnss"
    assert abs((bench.rig.clock.now() - bench.true).total_seconds()) <= 1
    assert [trusted for _, trusted in bench.setter.asked] == [False]
    assert bench.arguments("clock_trusted")["trust"] == "gnss"
    bench.pass_time(10)
    bench.restart()
    assert bench.rig.engine.trust() == "gnss"  # it holds for the boot
    bench.close()


def test_a_clock_that_is_right_is_vouched_for_and_not_set(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.rig.trust = "none"
    bench.pass_time(2)
    set_clock(bench.rig, bench.rig.clock.now() + timedelta(seconds=5))  # a step that nobody vouches for
    bench.pass_time(2)
    set_clock(bench.rig, bench.true)
    bench.pass_time(15)
    assert bench.setter.asked == []
    assert bench.rig.engine.trust() == "gnss"
    bench.close()


def test_a_helper_that_refuses_is_told_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.setter.refusal = "there is no clock helper on this host"
    bench.rig.trust = "none"
    set_clock(bench.rig, bench.true - timedelta(hours=1))
    bench.pass_time(700)
    assert bench.codes().count("gnss_clock_not_set") == 1
    assert len(bench.setter.asked) == 2
    assert bench.rig.engine.trust() == "none"
    bench.close()


def test_a_receiver_whose_weeks_have_rolled_over_is_not_believed(bench: Bench) -> None:
    bench.rig.trust = "none"
    bench.gpsd.fault = "week_rollover"
    bench.pass_time(60)
    assert bench.codes().count("gnss_refused") == 1
    assert "1 x 1024 weeks off" in str(bench.arguments("gnss_refused")["reason"])
    assert bench.setter.asked == []
    bench.gpsd.fault = ""
    bench.pass_time(20)
    assert bench.codes().count("gnss_refused") == 1


@pytest.mark.parametrize(
    ("off", "said"),
    [(ROLLOVER, "rolled over"), (timedelta(days=4200), "years after what is stored"), (timedelta(days=-3), "before")],
)
def test_a_time_that_cannot_be_is_refused_either_way(bench: Bench, off: timedelta, said: str) -> None:
    bench.rig.trust = "none"
    bench.true += off
    bench.pass_time(20)
    assert said in str(bench.arguments("gnss_refused")["reason"])
    assert bench.setter.asked == []


def test_a_lying_receiver_against_a_time_server_is_told_once_and_not_followed(bench: Bench) -> None:
    bench.pass_time(30)
    bench.true += timedelta(minutes=7)
    bench.pass_time(60)
    assert bench.codes().count("gnss_contradicts") == 1
    said = bench.arguments("gnss_contradicts")
    assert said["trust"] == "ntp"
    assert 418 <= float(str(said["seconds"])) <= 422
    assert bench.setter.asked == []
    bench.true -= timedelta(minutes=7)
    bench.pass_time(30)
    assert "gnss_agrees" in bench.codes()


def test_a_time_server_that_lies_is_doubted_because_gnss_does_not_jump_along(bench: Bench) -> None:
    bench.pass_time(30)
    set_clock(bench.rig, bench.rig.clock.now() + timedelta(hours=2))
    bench.pass_time(5)
    assert bench.rig.engine.time.against == "gnss"
    assert "clock_doubted" in bench.codes()
    set_clock(bench.rig, bench.true)
    bench.pass_time(20)
    assert bench.rig.engine.time.against == ""


def test_uneven_seconds_and_two_dimensions_give_no_time(bench: Bench) -> None:
    bench.rig.trust = "none"
    set_clock(bench.rig, bench.true - timedelta(hours=1))
    for number in range(40):
        bench.true += timedelta(seconds=2 * (number % 2) - 1 + 0.5)
        bench.pass_time(1)
    bench.gpsd.fault = "two_d"
    bench.pass_time(30)
    assert bench.setter.asked == []
    bench.gpsd.fault = ""
    bench.pass_time(15)
    assert len(bench.setter.asked) == 1


# -- the table


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('host = "10.0.0.2"\n', "is not an address of this machine"),
        ('host = "localhost"\n', "is not an address of this machine"),
        ("latitude = 31.2\n", "and longitude belong together"),
        ("latitude = 91\nlongitude = 1\n", "position.latitude"),
        ("keep_metres = 500\n", "are more than moved_metres"),
        ("metres = 1\n", "unknown key"),
    ],
)
def test_a_table_that_cannot_be_is_refused(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "station.toml").write_text(configured(2947, table), encoding="utf-8")
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "station.toml")
    assert said in str(refused.value)


def test_the_emulator_says_utc() -> None:
    one = EmulatedGpsd()
    one.close()
    assert parse(json.dumps(one._tpv(START)).encode()) == Fix(3, 31.2304, 121.4737, 4.0, START.astimezone(UTC))
