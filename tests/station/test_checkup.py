"""`station doctor`: each finding from what the host, the database and the running station say."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from station import cli_doctor, doctor
from station.capacity import Capacity
from station.doctor import FINDINGS, LEVELS, Finding
from station.host import Host
from station.i18n import LANGUAGES, texts
from station.model import Record
from station.sealing import give_key
from station.store import Event, Store, connect, suspect
from tests.station.commands import Here, configure, daemon, until
from tests.station.conftest import START, Rig

PLATFORM: dict[str, Any] = {
    "name": "district", "connected": True, "owed": 0, "oldest_seconds": None, "parked": 0, "dropped": 0, "error": "",
}  # fmt: skip
RUNNING: dict[str, Any] = {"running": True, "started": "2026-03-01T00:00:00+00:00", "store": {"error": ""}}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capfd)


def codes(findings: Iterable[Finding]) -> list[str]:
    """The codes of *findings*; each has its sentence in both languages."""
    found = list(findings)
    for one in found:
        for language in LANGUAGES:
            loaded: Any = SimpleNamespace(zone=UTC)
            assert "{" not in cli_doctor.sentence(one, language, loaded)
            assert "{" not in cli_doctor.advice(one, language)
    return [one.code for one in found]


class Board:
    """A host's files below *root*, put there one by one."""

    def __init__(self, root: Path, model: str = "Raspberry Pi 4 Model B Rev 1.5\0") -> None:
        self.root = root
        self.put("proc/device-tree/model", model)

    def put(self, name: str, text: str) -> Board:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return self

    @property
    def host(self) -> Host:
        return Host(self.root)


THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


# -- the board


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0x0", ["never_throttled", "supply_good"]),
        ("0\n", ["never_throttled", "supply_good"]),
        ("0x50000", ["was_throttled", "supply_was_low"]),
        ("0x50005", ["throttled", "supply_low"]),
        ("0x10000", ["never_throttled", "supply_was_low"]),
        ("throttled=0x4", ["throttled", "supply_good"]),
        ("2", ["never_throttled", "supply_good"]),  # another bit than those we know
        ("rubbish", ["supply_unknown"]),
    ],
)
def test_the_bits_of_the_firmware_tell_heat_and_supply(tmp_path: Path, bits: str, expected: list[str]) -> None:
    board = Board(tmp_path).put("sys/class/thermal/thermal_zone0/temp", "48312\n").put(THROTTLED, bits)
    assert codes(doctor.of_board(board.host)) == ["cool", *expected]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("69999", "cool"),
        ("70000", "warm"),
        ("79900", "warm"),
        ("80000", "hot"),
        ("-5000", "cool"),
        ("", "heat_unknown"),
        ("n/a", "heat_unknown"),
    ],
)  # fmt: skip
def test_heat_is_judged_by_the_temperature_at_which_the_board_slows_down(tmp_path: Path, text: str, code: str) -> None:
    board = Board(tmp_path).put("sys/class/thermal/thermal_zone0/temp", text)
    assert codes(doctor.of_board(board.host))[0] == code


def test_the_supplys_own_monitor_counts_where_the_firmwares_word_is_not_there(tmp_path: Path) -> None:
    board = Board(tmp_path).put("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    assert codes(doctor.of_board(board.host)) == ["heat_unknown", "supply_unknown"]
    board.put("sys/class/hwmon/hwmon1/name", "rpi_volt\n").put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    assert codes(doctor.of_board(board.host)) == ["heat_unknown", "supply_good"]
    board.put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert codes(doctor.of_board(board.host)) == ["heat_unknown", "supply_was_low"]


@pytest.mark.parametrize("model", ["", "Some other board\0"])
def test_another_host_is_not_judged_as_a_raspberry_pi(tmp_path: Path, model: str) -> None:
    board = Board(tmp_path, model).put(THROTTLED, "0x50005").put("sys/class/thermal/thermal_zone0/temp", "90000")
    assert codes(doctor.of_board(board.host)) == ["no_pi"]


# -- the disk


def room(monkeypatch: pytest.MonkeyPatch, *, free: int, flags: int = 0) -> None:
    """The file system says it has *free* bytes."""
    said = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_blocks=8 << 18, f_flag=flags)
    monkeypatch.setattr(os, "statvfs", lambda folder: said)


@pytest.mark.parametrize(
    ("free", "flags", "code"),
    [
        (4 << 30, 0, "room"),
        (400 << 20, 0, "room_scarce"),
        (20 << 20, 0, "room_gone"),
        (4 << 30, os.ST_RDONLY, "read_only"),
    ],
)
def test_room_is_judged_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, flags: int, code: str
) -> None:
    room(monkeypatch, free=free, flags=flags)
    assert codes(doctor.of_disk(Host(tmp_path), tmp_path)) == [code, "wear_unknown"]


def test_a_folder_that_is_gone_has_no_room_that_is_known(tmp_path: Path) -> None:
    assert codes(doctor.of_disk(Host(tmp_path), tmp_path / "gone")) == ["room_unknown", "wear_unknown"]


def medium(board: Board, folder: Path) -> str:
    """Where the board's files say something of what *folder* lies on."""
    number = folder.stat().st_dev
    return f"sys/dev/block/{os.major(number)}:{os.minor(number)}"


@pytest.mark.parametrize(
    ("sectors", "uptime", "expected", "mb"),
    [
        (200_000, "43200.5 1.0", "wear", "205"),
        (20_000_000, "86400 1.0", "wear_high", "10240"),
        (20_000_000, "599 1.0", "wear_unknown", None),
        (20_000_000, "", "wear_unknown", None),
    ],
)
def test_wear_is_what_the_kernel_counted_since_the_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sectors: int, uptime: str, expected: str, mb: str | None
) -> None:
    monkeypatch.setattr(os, "major", lambda number: 179)  # of a folder that lies on a card
    board = Board(tmp_path).put("proc/uptime", uptime)
    board.put(f"{medium(board, tmp_path)}/stat", f"  11 2 33 44 55 66 {sectors} 88 0 1 2 0 0 0 0 0 0\n")
    found = list(doctor.of_disk(board.host, tmp_path))
    assert codes(found)[1:] == [expected]
    assert found[1].figures.get("mb") == mb


@pytest.mark.parametrize(
    ("text", "code"), [("0x01 0x02", "life"), ("0x08 0x01", "life_short"), ("0x0b 0x01", "life_over"), ("?", None)]
)
def test_an_emmc_says_itself_how_worn_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: str | None
) -> None:
    monkeypatch.setattr(os, "major", lambda number: 179)
    board = Board(tmp_path)
    board.put(f"{medium(board, tmp_path)}/device/life_time", text)
    assert codes(doctor.of_disk(board.host, tmp_path))[2:] == ([code] if code else [])


def test_a_folder_on_no_device_of_blocks_has_no_wear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "major", lambda number: 0)
    board = Board(tmp_path).put("proc/uptime", "99999 1.0")
    assert board.host.written(tmp_path) is None
    assert board.host.life_used(tmp_path) is None


@pytest.mark.parametrize(
    ("left", "growth", "code"),
    [
        (100, 1.0, "lasts"),
        (80, 1.0, "lasts_short"),
        (-1, 1.0, "lasts_no_more"),
        (-1, None, "lasts_no_more"),
        (100, None, "lasts_unknown"),
    ],
)
def test_days_of_room_are_judged_by_what_another_card_takes(left: int, growth: float | None, code: str) -> None:
    capacity = Capacity(used=10, inside=0, free=left + 5, budget=0, floor=5, growth=growth)
    assert codes(doctor.of_capacity(capacity)) == [code]
    assert codes(doctor.of_capacity(None)) == ["lasts_unknown"]


# -- clock, lines, platforms, copies


def test_a_clock_is_judged_by_who_vouches_for_it_by_its_steps_and_by_what_is_stored(rig: Rig) -> None:
    rig.run(70)
    store, now = rig.engine.store, rig.clock.now()
    assert codes(doctor.of_clock(store, "ntp", now)) == ["clock_ntp"]
    assert codes(doctor.of_clock(store, "platform", now)) == ["clock_platform"]
    assert codes(doctor.of_clock(store, "none", now)) == ["clock_alone"]
    with store.transaction():
        store.add_events([Event(now - timedelta(days=day), "clock_step", {}) for day in (1, 6, 8)])
    found = list(doctor.of_clock(store, "ntp", now))
    assert codes(found) == ["clock_ntp", "clock_stepped"]
    assert found[1].figures["count"] == 2
    assert codes(doctor.of_clock(store, "none", now - timedelta(days=20))) == ["clock_alone", "clock_behind"]


def test_what_this_boot_stored_tells_who_set_the_clock(rig: Rig) -> None:
    store = rig.engine.store
    (boot,) = store.query("SELECT kernel FROM boot ORDER BY id DESC LIMIT 1")[0]
    with store.transaction():
        store.add_clock(1.0, START, "platform")
    assert cli_doctor._trust(store, "ntp", boot) == "ntp"
    assert cli_doctor._trust(store, "none", boot) == "platform"
    assert cli_doctor._trust(store, "none", "another boot") == "none"


@pytest.mark.parametrize(
    ("advice", "code"),
    [(None, "line_unknown"), ([], "line_sound"), (["bias", "late"], "line_weak"), (["noise", "dead"], "line_broken")],
)
def test_a_line_is_judged_by_what_its_statistics_say(advice: list[str] | None, code: str) -> None:
    assert codes(doctor.of_line("line", advice)) == [code]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["link_up"]),
        ({"connected": False}, ["link_waits"]),
        ({"connected": False, "owed": 9, "oldest_seconds": 600.0}, ["link_waits"]),
        ({"connected": False, "owed": 9, "oldest_seconds": 7200.0, "error": "no route"}, ["link_gone"]),
        ({"parked": 2, "dropped": 1}, ["link_up", "link_parked", "link_dropped"]),
    ],
)
def test_a_platform_is_judged_by_its_link_and_by_what_it_lacks(changes: dict[str, Any], expected: list[str]) -> None:
    platform = PLATFORM | changes
    assert codes(doctor.of_platform(platform, running=True, configured=True)) == expected
    assert codes(doctor.of_platform(platform, running=False, configured=True))[0] == "link_unknown"
    assert codes(doctor.of_platform(platform, running=True, configured=False))[0] == "link_foreign"


@pytest.mark.parametrize(("hours", "code"), [(1, "copy"), (47, "copy"), (49, "copy_old"), (169, "copy_very_old")])
def test_copies_are_judged_by_their_age_and_by_the_disk_they_lie_on(tmp_path: Path, hours: int, code: str) -> None:
    now = datetime(2026, 3, 10, tzinfo=UTC)
    copy = {"time": (now - timedelta(hours=hours)).isoformat(), "path": str(tmp_path / "usb" / "station.db")}
    assert codes(doctor.of_backup(copy, tmp_path, now)) == [code]  # the stick is not plugged in
    (tmp_path / "usb").mkdir()
    assert codes(doctor.of_backup(copy, tmp_path, now)) == [code, "copy_here"]
    assert codes(doctor.of_backup(None, tmp_path, now)) == ["copy_none"]


@pytest.mark.parametrize(
    ("changes", "suspected", "expected"),
    [
        ({}, False, ["running"]),
        ({"running": False}, True, ["not_running", "damage_suspected"]),
        (
            {"store": {"error": "full"}, "silent_threads": ["bus a"]},
            False,
            ["running", "store_refuses", "threads_silent"],
        ),
    ],
)
def test_a_station_says_itself_what_stands_still(changes: dict[str, Any], suspected: bool, expected: list[str]) -> None:
    assert codes(doctor.of_station(RUNNING | changes, suspected=suspected)) == expected


# -- seals


def test_seals_are_judged_by_their_age_their_rows_and_their_tags(rig: Rig) -> None:
    rig.run(10)
    store = rig.engine.store
    assert codes(doctor.of_seals(store, rig.clock.now(), running=True)) == ["seal_none"]
    rig.run(3600, step=5)
    found = list(doctor.of_seals(store, rig.clock.now(), running=True))
    assert codes(found) == ["sealed", "seal_keyless"]
    assert found[0].figures["checked"] == found[0].figures["block"] > 5
    with store.transaction():
        give_key(store, bytes(32))
    later = rig.clock.now() + timedelta(hours=1)
    assert codes(doctor.of_seals(store, later, running=True)) == ["seal_old", "seal_keyed"]
    assert codes(doctor.of_seals(store, later, running=False)) == ["sealed", "seal_keyed"]


@pytest.mark.parametrize("back", [1, 5, 11])
def test_a_changed_row_of_the_last_hour_is_seen_at_once(rig: Rig, back: int) -> None:
    rig.run(7200, step=5)
    store = rig.engine.store
    (newest, _), *_ = store.query("SELECT epoch, at_ms FROM seal ORDER BY epoch DESC LIMIT 1")
    (at,) = store.query("SELECT at_ms FROM seal WHERE epoch = ?", (newest - back,))[0]
    with store.transaction() as db:
        changed = db.execute(
            "UPDATE reading SET raw = raw + 1 WHERE id ="
            " (SELECT max(id) FROM reading WHERE at_ms BETWEEN ? AND ?)", (at - 200_000, at - 100_000)
        ).rowcount  # fmt: skip
    assert changed == 1
    found = list(doctor.of_seals(store, rig.clock.now(), running=True))
    assert codes(found)[0] == "seal_rows"
    assert found[0].figures["block"] == newest - back


def test_a_platform_without_a_message_does_not_make_its_blocks_look_changed(rig: Rig) -> None:
    """Backwards it cannot be seen whether an earlier block knew it already."""
    rig.run(600, step=5)
    with rig.engine.store.transaction() as db:
        db.execute(
            "INSERT INTO platform(name, live, tried, reserved, answered, unconfirmed, resupplied, dropped)"
            " VALUES ('new', 0, 0, 0, 0, 0, 0, 0)"
        )
    rig.run(1200, step=5)
    assert codes(doctor.of_seals(rig.engine.store, rig.clock.now(), running=True))[0] == "sealed"


# -- the command


def test_every_finding_has_its_words_and_whoever_is_warned_is_told_what_to_do() -> None:
    assert len(LEVELS) == sum(len(one) for one in FINDINGS.values())
    for language in LANGUAGES:
        said = texts(language)
        assert [code for code in LEVELS if f"checkup.{code}" not in said] == []
        told = {code for code in LEVELS if f"checkup_advice.{code}" in said}
        assert told == {code for code, level in LEVELS.items() if level in ("warning", "bad")}


def test_the_level_of_all_is_the_worst_one() -> None:
    good, warning, bad, unknown = (Finding(code, {}) for code in ("cool", "warm", "hot", "no_pi"))
    assert doctor.worst([good, unknown]) == doctor.worst([]) == "good"
    assert doctor.worst([good, warning, unknown]) == "warning"
    assert doctor.worst([warning, bad, good]) == "bad"


def test_the_doctor_looks_at_a_running_station(tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path / "root").put("sys/class/thermal/thermal_zone0/temp", "45000").put(THROTTLED, "0x50000")
    monkeypatch.setattr(cli_doctor, "the_host", lambda: board.host)
    room(monkeypatch, free=4 << 30)
    config = configure(tmp_path / "s")
    with daemon(config) as process:
        done = here("doctor", "--json", "--config", config)
        found = {one["code"]: one for one in json.loads(done.out)["findings"]}
        assert {"running", "room", "line_unknown", "link_waits", "copy_none", "cool", "supply_was_low"} <= set(found)
        assert found["supply_was_low"]["level"] == "warning"
        assert "欠压" in found["supply_was_low"]["words"]["zh"]["text"]
        assert done.code == 0
        assert process.stop() == 0
    done = here("doctor", "--config", config)
    assert done.code == 1
    assert "[bad] station: no station is running on this configuration" in done.out
    assert "  systemctl status station, then journalctl -u station" in done.out
    assert done.out.splitlines()[-1] == "Begin with what is bad."
    done = here("doctor", "--config", config, "--lang", "zh")
    assert "[异常] 监测站:没有监测站在此配置下运行" in done.out


def test_the_doctor_asks_no_instrument_and_writes_nothing(
    rig: Rig, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.run(400)
    rig.engine.keep(Record("backup", rig.clock.now(), {"path": "/mnt/usb/station.db", "bytes": 1}), urgent=True)
    rig.run(5)
    suspect(rig.loaded.database).touch()
    asked, size = rig.instrument.asked, rig.loaded.database.stat().st_size
    with closing(Store(connect(rig.loaded.database, read_only=True))) as store:
        ends = [store.newest(table) for table in ("reading", "event", "record")]
    done = here("doctor", "--json", "--config", rig.loaded.path)
    found = json.loads(done.out)
    assert (done.code, found["level"]) == (1, "bad")
    assert {"damage_suspected", "not_running"} <= {one["code"] for one in found["findings"]}
    assert (rig.instrument.asked, rig.loaded.database.stat().st_size) == (asked, size)
    with closing(Store(connect(rig.loaded.database, read_only=True))) as store:
        assert [store.newest(table) for table in ("reading", "event", "record")] == ends


def test_without_a_database_the_doctor_says_what_to_do(tmp_path: Path, here: Here) -> None:
    done = here("doctor", "--config", configure(tmp_path / "s"))
    assert (done.code, len(done.said)) == (74, 1)
    assert "is not there yet; start the station first" in done.err


def test_the_sign_of_the_daemon_and_the_doctor_agree(tmp_path: Path, here: Here) -> None:
    """Both look at the same station: while it runs the doctor does not call it stopped."""
    config = configure(tmp_path / "s")
    with daemon(config) as process:
        until(lambda: '"running"' in here("doctor", "--json", "--config", config).out)
        assert process.stop() == 0
