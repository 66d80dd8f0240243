"""Mains and battery: what is told, when the host is asked to power off, and what takes that back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from station import poweroff, restartreport
from station.clock import boot_id
from station.config import load
from station.model import ConfigError, Mark
from station.supply import AGAIN_SECONDS, OFF_SECONDS, Supply
from station.supplyemulator import EmulatedSupply
from station.supplysource import Seen, SupplyUnknown, ask_nut, of_kernel, of_nut
from tests.station.conftest import CONFIG, Rig

SITE_INFO = 'kinds = ["realtime", "minute", "hour", "day", "site_info"]\n'


def configured(table: str) -> str:
    """A station whose platform takes site information, with [supply]."""
    return CONFIG.replace("realtime_seconds = 30\n", "realtime_seconds = 30\n" + SITE_INFO) + "\n[supply]\n" + table


class Bench:
    """A station with an emulated UPS; seconds pass, and the supply takes its turns with the main thread."""

    def __init__(self, folder: Path, more: str = "stop_percent = 20\n") -> None:
        self.ups = EmulatedSupply(folder / "ups")
        table = f'source = "power_supply"\nfolder = {json.dumps(str(self.ups.folder))}\n{more}'
        self.rig = Rig(folder, configured(table))
        self.rig.clock.advance(1)
        self.begin()

    def begin(self) -> None:
        (made,) = self.rig.engine.beside
        assert isinstance(made, Supply)
        self.supply = made
        self.rig.engine.committed = self._committed  # type: ignore[method-assign]  # the main thread is this one

    def _committed(self, patience: float = 5.0) -> bool:
        return self.rig.engine.commit()

    def pass_time(self, seconds: float, step: float = 2.0) -> None:
        for _ in range(round(seconds / step)):
            self.supply._one_turn()
            self.rig.run(step)

    def restart(self, seconds: float = 0.0) -> None:
        self.rig.clock.advance(seconds)
        self.rig.restart()
        self.begin()

    def stop_and_start(self, seconds: float) -> None:
        self.rig.engine.shut_down()
        self.rig.clock.advance(seconds)
        self.rig.engine = self.rig.start()
        self.begin()

    def codes(self) -> list[str]:
        self.rig.engine.commit()
        return [code for code in self.rig.events() if code.startswith(("supply", "restart", "beside"))]

    def arguments(self, code: str) -> dict[str, object]:
        self.rig.engine.commit()
        rows = self.rig.engine.store.query("SELECT arguments FROM event WHERE code = ? ORDER BY id DESC", (code,))
        found: dict[str, object] = json.loads(rows[0][0])
        return found

    def told(self) -> list[str]:
        self.rig.engine.commit()
        now = self.rig.clock.now()
        records = self.rig.engine.store.records("site_info", now - timedelta(days=2), now + timedelta(hours=1))
        return [str(record.body["value"]) for record in records if record.body["item"] == "logger_log"]

    @property
    def asked(self) -> bool:
        return self.supply.path.exists()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    made.pass_time(660)  # past settle_minutes
    yield made
    made.rig.engine.shut_down()


def nothing_owed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.rig.engine, "depths", dict)


class Refusing:
    """A disk that takes no request."""

    count = 0

    def __call__(self, *words: object) -> None:
        self.count += 1
        raise OSError(28, "No space left on device")


# -- the mains


def test_a_lost_mains_is_told_at_once_and_a_short_dip_is_not(bench: Bench) -> None:
    bench.ups.lose()
    bench.pass_time(4)
    bench.ups.restore()
    bench.pass_time(10)
    assert bench.codes() == []
    bench.ups.lose()
    bench.pass_time(10)
    assert bench.codes() == ["supply_lost"]
    assert bench.told() == ["mains power lost, on battery"]
    assert any("SITE_INFO" in text for text in bench.rig.texts())
    bench.pass_time(110)
    assert bench.supply.shown()["words"] == {"supply_battery": "2", "supply_level": "100 %, 4.10 V"}
    bench.ups.restore()
    bench.pass_time(10)
    assert bench.codes() == ["supply_lost", "supply_back"]
    assert bench.arguments("supply_back")["lasted_seconds"] == 126
    assert not bench.asked


def test_the_lost_mains_is_durable_before_anything_else_comes(bench: Bench) -> None:
    bench.ups.lose()
    bench.pass_time(10)
    bench.restart()  # kill -9
    assert "supply_lost" in bench.rig.events()


# -- the stop


def test_a_low_battery_ends_with_last_words_and_a_request(bench: Bench) -> None:
    bench.ups.lose()
    bench.pass_time(60)
    bench.ups.drain(20)
    bench.pass_time(10)
    assert bench.codes() == ["supply_lost", "supply_stopping"]
    assert bench.arguments("supply_stopping")["reason"] == "20 %"
    assert "battery low (20 %), the station stops" in bench.told()
    assert not bench.asked  # the platform is owed something, and has uplink_seconds for it
    bench.pass_time(62)
    assert bench.asked
    assert bench.codes()[-1] == "supply_power_off"
    assert poweroff.why_not(bench.supply.path, boot_id(), poweroff.boot_seconds(), least=0) == ""
    bench.stop_and_start(7200)
    assert bench.rig.events().count("stop") == 1


def test_a_request_that_cannot_be_written_is_tried_again_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not leave a battery to run down between two looks."""
    nothing_owed(bench, monkeypatch)
    monkeypatch.setattr(poweroff, "request", refuses := Refusing())
    bench.ups.lose()
    bench.ups.drain(10)
    bench.pass_time(60)
    assert refuses.count > 3
    assert bench.supply.complaint == "[Errno 28] No space left on device"
    assert bench.supply.pause <= 2.0
    monkeypatch.undo()
    nothing_owed(bench, monkeypatch)
    bench.pass_time(10)
    assert bench.asked


def test_platforms_that_have_everything_are_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_owed(bench, monkeypatch)
    bench.ups.lose()
    bench.ups.drain(10)
    bench.pass_time(20)
    assert bench.asked


def test_mains_that_comes_back_cancels_the_stop_before_and_after_the_request(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.ups.lose()
    bench.ups.drain(10)
    bench.pass_time(20)
    assert bench.codes()[-1] == "supply_stopping"
    bench.ups.restore()
    bench.pass_time(10)
    assert bench.codes()[-2:] == ["supply_back", "supply_stop_cancelled"]
    bench.pass_time(120)
    assert not bench.asked
    nothing_owed(bench, monkeypatch)
    bench.ups.lose()
    bench.pass_time(20)
    assert bench.asked
    bench.ups.restore()
    bench.pass_time(10)
    assert not bench.asked
    assert bench.arguments("supply_stop_cancelled")["after_asking"] is True


def test_a_single_low_value_is_no_low_battery(bench: Bench) -> None:
    bench.ups.lose()
    bench.pass_time(10)
    bench.ups.drain(3)
    bench.pass_time(2)
    bench.ups.drain(90)
    bench.pass_time(30)
    assert bench.codes() == ["supply_lost"]


def test_a_host_that_does_not_power_off_is_told_once_and_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_owed(bench, monkeypatch)
    bench.ups.lose()
    bench.ups.drain(10)
    bench.pass_time(20 + OFF_SECONDS + 10)
    assert bench.codes()[-1] == "supply_no_power_off"
    assert "supply_no_power_off" in bench.supply.shown()["words"]
    assert not bench.asked
    bench.pass_time(AGAIN_SECONDS + 10)
    assert bench.asked
    bench.pass_time(OFF_SECONDS + 10)
    assert bench.codes().count("supply_no_power_off") == 1


def test_soon_after_a_start_only_a_critical_battery_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    nothing_owed(bench, monkeypatch)
    bench.ups.lose()
    bench.ups.drain(15)
    bench.pass_time(120)
    assert bench.codes() == ["supply_lost", "supply_stop_held"]
    bench.ups.drain(5)
    bench.pass_time(20)
    assert bench.codes()[-1] == "supply_power_off"
    bench.rig.engine.shut_down()


def test_minutes_on_battery_stop_it_where_nothing_says_how_full_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "stop_minutes = 15\n")
    nothing_owed(bench, monkeypatch)
    bench.ups.lose()
    bench.pass_time(20)
    bench.ups.rubbish()  # also from now on: what ran on battery does so until somebody says otherwise
    bench.pass_time(860)
    assert not bench.asked
    bench.pass_time(60)
    assert bench.asked
    assert bench.arguments("supply_stopping")["reason"] == "15 min"
    assert "beside_failed" in bench.codes()
    bench.rig.engine.shut_down()


def test_volts_stop_it_and_none_only_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 'stop_volts = 3.3\npower_off = "none"\n')
    bench.pass_time(660)
    bench.ups.lose()
    bench.ups.drain(30, 3.25)
    bench.pass_time(120)
    assert bench.codes() == ["supply_lost", "supply_low"]
    assert bench.arguments("supply_low")["reason"] == "3.25 V"
    assert not bench.asked
    bench.rig.engine.shut_down()


def test_a_request_of_an_earlier_run_is_taken_away(bench: Bench) -> None:
    poweroff.request(bench.supply.path, boot_id(), poweroff.boot_seconds())
    bench.restart(60)
    bench.pass_time(2)
    assert not bench.asked


# -- the report of a start


def test_the_first_start_has_nothing_to_report(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pass_time(10)
    assert bench.codes() == []
    bench.rig.engine.shut_down()


@pytest.mark.parametrize("boot", ["same", "other"])
def test_a_kill_and_a_power_cut_are_told_apart_with_the_gap(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, boot: str
) -> None:
    bench.rig.engine.commit()
    last = bench.rig.engine.store.newest_time()
    assert last is not None
    if boot == "other":
        monkeypatch.setattr("station.engine.boot_id", lambda: "a boot later")
    bench.restart(3700)
    began = bench.rig.clock.now()
    bench.pass_time(4)
    code = "restart_cut" if boot == "other" else "restart_crash"
    assert bench.codes() == [code]
    found = bench.arguments(code)
    assert abs(float(str(found["seconds"])) - (began - last).total_seconds()) <= 5
    assert found["minutes"] in (60, 61)
    assert found["hours"] in (0, 1)
    assert any(text.startswith("start after 37") for text in bench.told())


def test_a_stop_that_was_asked_for_is_clean_and_one_by_the_supply_was_announced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.stop_and_start(600)
    bench.pass_time(660)
    assert bench.codes() == ["restart_stopped"]
    nothing_owed(bench, monkeypatch)
    bench.ups.lose()
    bench.ups.drain(10)
    bench.pass_time(20)
    assert bench.asked
    bench.ups.restore()
    bench.stop_and_start(7200)
    bench.pass_time(10)
    assert bench.codes()[-1] == "restart_announced"


def test_a_battery_that_ended_before_the_stop_did_is_told(bench: Bench) -> None:
    bench.ups.lose()
    bench.ups.drain(10)
    bench.pass_time(20)
    bench.ups.restore()
    bench.restart(7200)
    bench.pass_time(10)
    assert bench.codes()[-1] == "restart_unfinished"


def test_a_stop_that_was_cancelled_announces_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.ups.lose()
    bench.ups.drain(10)
    bench.pass_time(20)
    bench.ups.restore()
    bench.pass_time(20)
    monkeypatch.setattr("station.engine.boot_id", lambda: "a boot later")
    bench.restart(7200)
    bench.pass_time(10)
    assert bench.codes()[-1] == "restart_cut"


def test_without_a_clock_the_gap_is_told_when_there_is_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("station.engine.boot_id", lambda: "a boot later")
    bench.rig.trust = "none"
    bench.restart(3600)
    bench.pass_time(30)
    assert bench.codes() == []
    bench.rig.trust = "ntp"
    bench.pass_time(10)
    assert bench.codes() == ["restart_cut"]
    assert 3590 <= float(str(bench.arguments("restart_cut")["seconds"])) <= 3640  # what was not committed is lost


def test_the_report_does_not_wait_for_a_first_start_on_record(bench: Bench) -> None:
    assert restartreport.before(bench.rig.engine.store, bench.rig.engine.started) is None


# -- what watches it


def test_a_hat_with_a_loose_wire_is_told_once_and_loses_no_mains(bench: Bench) -> None:
    bench.ups.rubbish()
    bench.pass_time(60)
    assert bench.codes() == ["beside_failed"]
    assert not bench.supply.gone
    assert bench.supply.pause <= 30
    bench.ups.restore()
    bench.pass_time(10)
    assert bench.codes() == ["beside_failed", "beside_well"]


def test_a_folder_of_the_kernel_that_says_nothing_is_told_with_what_to_do(tmp_path: Path) -> None:
    ups = EmulatedSupply(tmp_path)
    assert of_kernel(ups.folder) == Seen(True, 100.0, 4.1)
    ups.lose()
    assert of_kernel(ups.folder, battery="ups-battery").online is False
    (ups.folder / "ups-mains" / "type").write_text("Unknown\n")  # a HAT with a fuel gauge alone
    assert of_kernel(ups.folder).online is False
    ups.restore()
    (ups.folder / "ups-mains" / "type").write_text("Unknown\n")
    assert of_kernel(ups.folder).online is True
    with pytest.raises(SupplyUnknown, match="there is no supply other; there are ups-battery, ups-mains"):
        of_kernel(ups.folder, mains="other")
    ups.vanish()
    with pytest.raises(SupplyUnknown, match="is the driver of the UPS loaded"):
        of_kernel(ups.folder)
    with pytest.raises(SupplyUnknown, match="cannot be read"):
        of_kernel(tmp_path / "none")


def test_nut_is_asked_by_its_own_program(tmp_path: Path) -> None:
    ups = EmulatedSupply(tmp_path)
    ups.lose()
    ups.drain(44)
    ups.be_low()
    assert ask_nut(str(ups.upsc), "ups@localhost", 20, lambda: True) == Seen(False, 44.0, 4.1, 900.0, True)
    with pytest.raises(SupplyUnknown, match="nut-client"):
        ask_nut(str(tmp_path / "none"), "ups@localhost", 1, lambda: True)
    ups.rubbish()
    with pytest.raises(SupplyUnknown, match="neither OL nor OB"):
        ask_nut(str(ups.upsc), "ups@localhost", 20, lambda: True)
    ups.hang()
    with pytest.raises(SupplyUnknown, match=r"no answer within 0\.2 s"):
        ask_nut(str(ups.upsc), "ups@localhost", 0.2, lambda: True)
    ups.upsc.write_text("#!/bin/sh\necho Error: Unknown UPS; exit 1\n")
    with pytest.raises(SupplyUnknown, match="Error: Unknown UPS"):
        ask_nut(str(ups.upsc), "ups@localhost", 20, lambda: True)
    ups.upsc.write_text("#!/bin/sh\nexec yes\n")
    with pytest.raises(SupplyUnknown, match="more than 65536 bytes"):
        ask_nut(str(ups.upsc), "ups@localhost", 20, lambda: True)


@pytest.mark.parametrize("text", ["", "ups.status:\n", "ups.status: WAIT\n", ":::\n", "battery.charge: 4\n"])
def test_an_answer_of_nut_that_says_nothing_is_no_lost_mains(text: str) -> None:
    with pytest.raises(SupplyUnknown):
        of_nut(text)


def test_a_voltage_that_is_measured_counts_while_it_is_fresh_and_good(tmp_path: Path) -> None:
    table = 'source = "device"\ndevice = "dust"\nparameter = "pm25"\nlost_volts = 20\nstop_minutes = 5\n'
    rig = Rig(tmp_path, configured(table))
    (supply,) = rig.engine.beside
    assert isinstance(supply, Supply)
    with pytest.raises(SupplyUnknown, match="no pm25 for 60 s"):
        supply._source()
    rig.run(10)
    assert supply._source() == Seen(True, volts=35.0)
    rig.instrument.show(pm25=12.0)
    rig.run(10)
    assert supply._source() == Seen(False, volts=12.0)
    rig.instrument.show(mark=Mark.D, pm25=0.0)
    rig.run(10)
    with pytest.raises(SupplyUnknown, match="is marked D"):
        supply._source()
    rig.engine.shut_down()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('source = "ups"\nstop_percent = 20\n', "supply.source"),
        ('source = "power_supply"\n', "supply.stop_percent: is missing"),
        ('source = "nut"\nups = "ups@10.0.0.1"\nstop_percent = 20\n', "is not a UPS on this machine"),
        ('source = "nut"\nups = "-x"\nstop_percent = 20\n', "is not a UPS on this machine"),
        ('source = "input"\ninput = "mains"\nstop_minutes = 5\n', "is not an [[input]] of kind mains (none)"),
        ('source = "device"\ndevice = "dusk"\nlost_volts = 20\nstop_minutes = 5\n', "did you mean dust"),
        ('source = "device"\ndevice = "dust"\nstop_minutes = 5\n', "supply.lost_volts: is missing"),
        ('source = "device"\ndevice = "dust"\nlost_volts = 20\nstop_volts = 22\n', "22 V is not below lost_volts"),
        ('source = "device"\ndevice = "dust"\nlost_volts = 20\nstop_percent = 22\n', "means nothing with a voltage"),
        ('source = "power_supply"\nstop_percent = 5\ncritical_percent = 10\n', "10 % is not below stop_percent"),
    ],
)
def test_a_table_that_cannot_be_is_refused(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "station.toml").write_text(configured(table), encoding="utf-8")
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "station.toml")
    assert said in str(refused.value)


# -- who lets the host power off


BOOT = "01234567-89ab-cdef-0123-456789abcdef"


def test_the_helper_believes_only_a_fresh_request_of_this_boot(tmp_path: Path) -> None:
    path = tmp_path / "supply" / "poweroff"
    assert "no request" in poweroff.why_not(path, BOOT, 1000)
    poweroff.request(path, BOOT, 1000)
    assert path.stat().st_mode & 0o777 == 0o640
    assert poweroff.why_not(path, BOOT, 1010) == ""
    assert "of another boot" in poweroff.why_not(path, BOOT[::-1], 1010)
    assert "not of the last" in poweroff.why_not(path, BOOT, 1200)
    assert "not of the last" in poweroff.why_not(path, BOOT, 900)
    poweroff.request(path, BOOT, 100)
    assert "started less than 180 s ago" in poweroff.why_not(path, BOOT, 110)


@pytest.mark.parametrize("content", [b"", b"\xff" * 200, b"reboot\n", BOOT.encode() + b" -4\n", b"0" * 36 + b" 1" * 9])
def test_the_helper_takes_no_rubbish(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "poweroff"
    path.write_bytes(content)
    assert "not understood" in poweroff.why_not(path, BOOT, 1000)


def test_a_request_that_is_taken_back_while_it_looks_does_nothing(tmp_path: Path) -> None:
    path = tmp_path / "poweroff"
    poweroff.request(path, BOOT, 1000)
    assert poweroff.judge(path, BOOT, 180, lambda: 1001.0, lambda _: path.unlink(missing_ok=True)) == poweroff.REFUSED
    poweroff.request(path, BOOT, 1000)
    assert poweroff.judge(path, BOOT, 180, lambda: 1001.0, lambda _: None) == 0
    assert poweroff.main([str(tmp_path / "none")]) == poweroff.REFUSED
