"""The service files as systemd reads them, and the README that explains each line."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "station.service"
HELPER = FOLDER / "clock-helper.service"
SOCKET = FOLDER / "clock-helper.socket"
BACKUP = FOLDER / "backup.service"
TIMER = FOLDER / "backup.timer"
PAGE = FOLDER / "page.service"
SYSUSERS = FOLDER / "sysusers.d" / "niutang-station.conf"
RULES = FOLDER / "udev" / "61-niutang-serial.rules"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze here (apt-get install systemd)"
)


def directives(path: Path) -> list[tuple[str, str]]:
    """Every `Key=value` line of a unit file, in order, without the sections."""
    pairs = re.findall(r"^(\w+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert pairs, f"{path} has no directives"
    return pairs


def values(key: str) -> list[str]:
    return [value for name, value in directives(UNIT) if name == key]


def explained() -> list[str]:
    """The directives in the first column of the README's tables that say why."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8").split("## Why each line")[1]
    return re.findall(r"^\| `(\w+)=` \| .{15,} \|$", text, re.MULTILINE)


@pytest.fixture
def runnable(tmp_path: Path) -> Path:
    """A copy of the unit whose program and account exist on any machine."""
    text = UNIT.read_text(encoding="utf-8")
    text = text.replace("/opt/niutang-station/venv/bin/station", shutil.which("true") or "/bin/true")
    text = re.sub(r"^(User|Group)=station$", r"\1=root", text, flags=re.MULTILINE)
    path = tmp_path / "station.service"
    path.write_text(text, encoding="utf-8")
    return path


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@needs_analyze
def test_systemd_finds_nothing_to_say_about_the_unit(runnable):
    done = run("systemd-analyze", "verify", runnable)
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_systemd_would_complain_about_a_misspelt_line(runnable):
    runnable.write_text(runnable.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in run("systemd-analyze", "verify", runnable).stderr


@needs_analyze
def test_the_exposure_is_at_most_two(tmp_path):
    unit = shutil.copy(UNIT, tmp_path)
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    assert done.returncode == 0, done.stdout


@needs_analyze
def test_the_readme_states_the_exposure_that_is_measured(tmp_path):
    if not run("systemd-analyze", "--version").stdout.startswith("systemd 252"):
        pytest.skip("the figure in the README is that of systemd 252; other versions weigh differently")
    out = run("systemd-analyze", "security", "--offline=true", shutil.copy(UNIT, tmp_path)).stdout
    level = re.search(r"Overall exposure level for station\.service: ([\d.]+)", out)
    assert level is not None, out
    assert f"an exposure of {level[1]} " in (FOLDER / "README.md").read_text(encoding="utf-8")


@needs_analyze
def test_the_unit_is_still_good_with_the_drop_ins(runnable):
    folder = Path(shutil.copytree(FOLDER / "station.service.d", runnable.with_name("station.service.d")))
    assert sorted(path.name for path in folder.iterdir()) == ["pins.conf", "platform.conf"]
    pins = folder / "pins.conf"
    program = "/opt/niutang-station/venv/bin/station"
    pins.write_text(pins.read_text(encoding="utf-8").replace(program, shutil.which("true") or "/bin/true"))
    done = run("systemd-analyze", "verify", runnable)
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_the_exposure_is_the_same_with_the_drop_in_for_pins(tmp_path):
    """Pins need no right the unit does not have already."""
    unit = shutil.copy(UNIT, tmp_path)
    bare = run("systemd-analyze", "security", "--offline=true", unit).stdout
    (tmp_path / "station.service.d").mkdir()
    shutil.copy(FOLDER / "station.service.d" / "pins.conf", tmp_path / "station.service.d")
    assert run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit).stdout == bare


def test_the_drop_in_for_pins_calls_a_command_that_exists():
    from station.cli import cli

    (line,) = [value for key, value in directives(FOLDER / "station.service.d" / "pins.conf") if key == "ExecStopPost"]
    binary, group, command, option, file = shlex.split(line)
    assert (binary, file) == ("/opt/niutang-station/venv/bin/station", "/etc/niutang-station/station.toml")
    found = cli.commands[group].commands[command]
    assert option in {name for parameter in found.params for name in parameter.opts}


def test_every_line_of_the_unit_is_explained_and_nothing_else_is():
    assert sorted(explained()) == sorted({key for key, _ in directives(UNIT)})


def test_every_file_to_install_is_in_the_readme():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = [path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()]
    assert len(files) > 4
    assert [name for name in files if name != "README.md" and f"| `{name}` |" not in text] == []


def test_the_unit_starts_commands_that_exist():
    commands = importlib.import_module("station.cli").cli.commands
    for line, command in ((values("ExecStartPre"), "migrate"), (values("ExecStart"), "run")):
        binary, *words = shlex.split(line[0])
        assert binary == "/opt/niutang-station/venv/bin/station"
        assert words[0] == command
        options = {name for option in commands[command].params for name in option.opts}
        assert words[1] in options, f"station {command} has no {words[1]}"


def test_both_commands_read_the_same_configuration():
    files = {shlex.split(line)[-1] for line in values("ExecStartPre") + values("ExecStart")}
    assert files == {"/etc/niutang-station/station.toml"}


def test_the_station_is_always_started_again():
    assert (values("Restart"), values("StartLimitIntervalSec")) == (["always"], ["0"])


def test_drivers_are_loaded_before_their_devices_are_looked_up():
    wanted = values("Wants")[0].split()
    assert set(wanted) < set(values("After")[0].split())
    assert {"modprobe@usbserial.service", "modprobe@sc16is7xx.service"} <= set(wanted)


def test_sysusers_makes_the_account_of_the_unit_and_its_groups(tmp_path):
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed (apt-get install systemd)")
    (tmp_path / "etc").mkdir()
    done = run("systemd-sysusers", "--dry-run", f"--root={tmp_path}", SYSUSERS)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert f"Creating user '{values('User')[0]}'" in said
    assert set(re.findall(r"Creating group '(\w+)'", said)) == {"station", "dialout", "gpio"}


def test_the_account_is_a_member_of_the_groups_that_own_ports_and_pins():
    lines = SYSUSERS.read_text(encoding="utf-8").splitlines()
    members = {tuple(line.split()[1:]) for line in lines if line.startswith("m ")}
    assert members == {("station", "dialout"), ("station", "gpio")}


def test_the_hardware_watchdog_is_fed_before_the_chip_gives_up():
    settings = dict(directives(FOLDER / "system.conf.d" / "60-niutang-watchdog.conf"))
    assert 0 < int(settings["RuntimeWatchdogSec"]) < 15


def test_udev_accepts_the_rules():
    if shutil.which("udevadm") is None:
        pytest.skip("udevadm is not installed (apt-get install udev)")
    if int(run("udevadm", "--version").stdout) < 254:
        pytest.skip("udevadm verify came with systemd 254")
    done = run("udevadm", "verify", "--resolve-names=never", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_is_made_of_comparisons_then_assignments():
    rules = re.findall(r"^[^#\n].*$", RULES.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rules) == 4
    for rule in rules:
        parts = [re.fullmatch(r'[A-Z]+(?:\{\w+\})?(==|\+=|=)"[^"]+"', part) for part in rule.split(", ")]
        assert all(parts), rule
        operators = [part[1] for part in parts if part]
        assert operators[0] == "==", rule
        assert operators[-1] in ("=", "+="), rule


def test_the_rules_come_after_the_one_that_finds_out_the_socket():
    """Udev reads files in the order of their names, and 60-serial.rules sets ID_PATH."""
    assert RULES.name > "60-serial.rules"


# -- the clock helper


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """A copy of the helper's units whose program and group exist on any machine."""
    text = HELPER.read_text(encoding="utf-8").replace(
        "/opt/niutang-station/venv/bin/python", shutil.which("true") or ""
    )
    (path := tmp_path / HELPER.name).write_text(text, encoding="utf-8")
    socket = SOCKET.read_text(encoding="utf-8").replace("SocketGroup=station", "SocketGroup=root")
    (tmp_path / SOCKET.name).write_text(socket, encoding="utf-8")
    return path


@needs_analyze
def test_systemd_finds_nothing_to_say_about_the_clock_helper(helper):
    for path in (helper, helper.with_name(SOCKET.name)):
        done = run("systemd-analyze", "verify", path)
        assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_the_clock_helper_is_exposed_to_at_most_two_and_a_half(tmp_path):
    unit = shutil.copy(HELPER, tmp_path)
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=25", unit)
    assert done.returncode == 0, done.stdout
    if run("systemd-analyze", "--version").stdout.startswith("systemd 252"):
        level = re.search(r"Overall exposure level for clock-helper\.service: ([\d.]+)", done.stdout)
        assert level is not None
        assert f"the clock helper has {level[1]})" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_clock_helper_has_the_right_to_set_the_clock_and_no_other():
    lines = dict(directives(HELPER))
    assert (lines["CapabilityBoundingSet"], lines["AmbientCapabilities"]) == ("CAP_SYS_TIME", "")
    assert (lines["ProtectClock"], lines["PrivateUsers"], lines["PrivateNetwork"]) == ("no", "no", "yes")
    filters = [value for key, value in directives(HELPER) if key == "SystemCallFilter"]
    assert filters[-1] == "@clock"  # taken back what ~@privileged took away


def test_the_station_itself_cannot_set_the_clock():
    assert (values("ProtectClock"), values("CapabilityBoundingSet")) == (["yes"], [""])
    assert "~@privileged @resources" in values("SystemCallFilter")


def test_the_helper_is_a_module_of_the_station_and_its_socket_the_configured_one():
    *_, module = shlex.split(dict(directives(HELPER))["ExecStart"])
    assert callable(importlib.import_module(module).main)
    from station.config import StationSettings

    assert StationSettings(name="x", data_folder="x").clock_socket == dict(directives(SOCKET))["ListenStream"]
    assert dict(directives(SOCKET))["SocketGroup"] == values("Group")[0]


def test_every_line_of_the_clock_helper_is_explained_and_nothing_else_is():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = text.split("## The clock helper")[1].split("\n## ")[0]
    said = re.findall(r"^\| `(\w+)=` \| .{3,} \|$", section, re.MULTILINE)
    assert sorted(said) == sorted({key for key, _ in [*directives(HELPER), *directives(SOCKET)]})


# -- the nightly copy


@needs_analyze
def test_systemd_finds_nothing_to_say_about_the_copy_and_its_timer(tmp_path):
    text = BACKUP.read_text(encoding="utf-8").replace(
        "/opt/niutang-station/venv/bin/station", shutil.which("true") or ""
    )
    text = re.sub(r"^(User|Group)=station$", r"\1=root", text, flags=re.MULTILINE)
    (tmp_path / BACKUP.name).write_text(text, encoding="utf-8")
    shutil.copy(TIMER, tmp_path)
    for name in (BACKUP.name, TIMER.name):
        done = run("systemd-analyze", "verify", tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_the_copy_is_exposed_to_at_most_two(tmp_path):
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", shutil.copy(BACKUP, tmp_path))
    assert done.returncode == 0, done.stdout


def test_the_copy_calls_a_command_that_exists_and_may_write_what_it_needs():
    lines = dict(directives(BACKUP))
    binary, *words = shlex.split(lines["ExecStart"])
    commands = importlib.import_module("station.cli").cli.commands
    assert binary == "/opt/niutang-station/venv/bin/station"
    assert words[0] == "backup"
    assert words[1] in {name for option in commands["backup"].params for name in option.opts}
    example = re.search(r'\[backup\]\nfolder = "(.+)"', (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert example is not None
    written = lines["ReadWritePaths"].split()
    folders = {f"/var/lib/{values('StateDirectory')[0]}", f"/run/{values('RuntimeDirectory')[0]}", example[1]}
    assert set(written) == folders
    assert lines["RequiresMountsFor"] == example[1]


def test_every_line_of_the_copy_is_explained_and_nothing_else_is():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = text.split("## Copies of the database")[1].split("\n## ")[0]
    said = re.findall(r"^\| `(\w+)=` \| .{3,} \|$", section, re.MULTILINE)
    assert sorted(said) == sorted({key for key, _ in [*directives(BACKUP), *directives(TIMER)]})


# -- the local page


@needs_analyze
def test_systemd_finds_nothing_to_say_about_the_page(tmp_path):
    text = PAGE.read_text(encoding="utf-8").replace("/opt/niutang-station/venv/bin/station", shutil.which("true") or "")
    text = re.sub(r"^(User|Group)=station$", r"\1=root", text, flags=re.MULTILINE)
    (tmp_path / PAGE.name).write_text(text.replace(" station.service", ""), encoding="utf-8")
    done = run("systemd-analyze", "verify", tmp_path / PAGE.name)
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_the_page_is_exposed_to_at_most_two(tmp_path):
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", shutil.copy(PAGE, tmp_path))
    assert done.returncode == 0, done.stdout
    if run("systemd-analyze", "--version").stdout.startswith("systemd 252"):
        level = re.search(r"Overall exposure level for page\.service: ([\d.]+)", done.stdout)
        assert level is not None
        assert f"Its exposure is {level[1]}." in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_page_calls_a_command_that_exists_and_writes_where_the_program_does():
    from station.page.app import FOLDER as WRITTEN

    lines = dict(directives(PAGE))
    binary, *words = shlex.split(lines["ExecStart"])
    command = importlib.import_module("station.cli").cli.commands[words[0]]
    assert binary == "/opt/niutang-station/venv/bin/station"
    assert words[1] in {name for option in command.params for name in option.opts}
    assert lines["StateDirectory"] == f"{values('StateDirectory')[0]}/{WRITTEN}"
    assert "ReadWritePaths" not in lines
    assert (lines["User"], lines["Group"]) == (values("User")[0], values("Group")[0])


def test_every_line_of_the_page_is_explained_and_nothing_else_is():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = text.split("## The local page")[1].split("\n## ")[0]
    said = re.findall(r"^\| `(\w+)=` \| .{3,} \|$", section, re.MULTILINE)
    assert sorted(said) == sorted({key for key, _ in directives(PAGE)})
