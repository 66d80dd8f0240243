"""systemd/install.sh on a system in a folder: install, upgrade, a cut at each step, back, away.

The program is a stand-in (standin.py); `python -m tests.field` does the same with the real one in a Debian 12.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.field.packing import ROOT, packed, seal
from tests.programs import program

SERVICES = Path(__file__).with_name("services.sh")
DIED = -9


class Machine:
    """A system in a folder, and the station on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opt, self.conf = root / "opt/niutang-station", root / "etc/niutang-station"
        self.data = root / "var/lib/niutang-station"
        self.database = self.data / "station.db"

    def run(self, *words: str | Path, cut: str = "", typed: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Start the install.sh that the first of *words* is."""
        return subprocess.run(
            [*words, "--root", self.root, "--python", sys.executable, "--services", SERVICES],
            capture_output=True, text=True, check=False, input=typed, timeout=60,
            env=os.environ | {"ROOT": str(self.root), "NIUTANG_CUT": cut, "NIUTANG_PAUSE": "0.05", "LC_ALL": "C.UTF-8",
                              "NIUTANG_PATIENCE": "200"} | more,
        )  # fmt: skip

    def install(self, bundle: Path, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Start *bundle*'s install.sh."""
        return self.run(bundle / "install.sh", *words, **more)

    def services(self, verb: str) -> str:
        """What the service manager would do or say."""
        done = subprocess.run([SERVICES, verb], capture_output=True, text=True, check=True,
                              env=os.environ | {"ROOT": str(self.root)})  # fmt: skip
        return done.stdout.strip()

    def restart(self) -> str:
        """The power comes back: what was in memory is gone, station-resume.service runs, then the station."""
        if (pid := self.services("pid")) != "0":
            os.kill(int(pid), 9)
        shutil.rmtree(self.root / "run", ignore_errors=True)
        said = ""
        if (self.opt / "install.sh").exists():
            done = self.run(self.opt / "install.sh", "resume", INVOCATION_ID="of systemd")
            assert done.returncode == 0, done.stderr
            said = done.stdout
        self.services("start")
        self.wait()
        return said

    def wait(self) -> None:
        """Return when the station is well."""
        until = time.monotonic() + 20
        while self.station("health", "--config", self.conf / "station.toml").returncode:
            assert time.monotonic() < until, (self.root / "run/station.log").read_text()
            time.sleep(0.02)

    def station(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the installed program."""
        return subprocess.run([self.opt / "venv/bin/python", "-I", self.opt / "venv/bin/station", *words],
                              capture_output=True, text=True, check=False)  # fmt: skip

    @property
    def version(self) -> str:
        """The version that the link leads to."""
        return self.station("--version").stdout.strip()

    def rows(self, database: Path | None = None) -> list[tuple[int, str]]:
        """Every reading: its number and the version that stored it."""
        with closing(sqlite3.connect(database or self.database)) as connection:
            return connection.execute("SELECT id, version FROM reading ORDER BY id").fetchall()

    def tree(self) -> dict[str, bytes | str]:
        """Everything below the root but what runs."""
        return {
            path.relative_to(self.root).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
            for path in self.root.rglob("*")
            if (path.is_symlink() or path.is_file()) and "run" not in path.relative_to(self.root).parts
        }


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked bundles of the stand-in by version."""
    folder = tmp_path_factory.mktemp("bundles")
    packed(folder / "1.0", "1.0")
    packed(folder / "real", "1.0", pip="real")
    packed(folder / "1.1", "1.1")
    packed(folder / "2.0", "2.0", schema=2)
    for breaks in ("import", "start", "later", "health"):
        packed(folder / breaks, f"2.1.{len(breaks)}", schema=2, breaks=breaks)
    packed(folder / "same-later", "1.2", breaks="later")
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine without a station."""
    program("systemd-sysusers")
    (tmp_path / "root").mkdir()
    found = Machine(tmp_path / "root")
    yield found
    found.services("stop")


@pytest.fixture
def running(machine: Machine, bundles: Path) -> Machine:
    """A machine with version 1.0, which measures."""
    done = machine.install(bundles / "1.0", "--recipe", "plain")
    assert done.returncode == 0, done.stderr
    machine.services("start")
    machine.wait()
    return machine


# -- the first time


def test_a_recipe_makes_a_station_that_only_wants_its_ports_and_passwords(machine: Machine, bundles: Path) -> None:
    done = machine.install(bundles / "1.0", "--recipe", "plain")
    assert done.returncode == 0, done.stderr
    assert machine.version == "1.0"
    assert "version 1.0 is installed" in done.stdout
    assert "not started: put your ports" in done.stdout
    assert 'data_folder = "/var/lib/niutang-station"   # beside' in (machine.conf / "station.toml").read_text()
    assert not (machine.conf / "platform").exists()
    assert (machine.conf / "secrets").stat().st_mode & 0o777 == 0o700
    assert (machine.conf / "secrets/platform").stat().st_mode & 0o777 == 0o600
    units = machine.root / "etc/systemd/system"
    assert (units / "station.service").read_bytes() == (ROOT / "systemd/station.service").read_bytes()
    drop_in = (units / "station.service.d/credentials.conf").read_text()
    assert drop_in.endswith("[Service]\nLoadCredential=platform:/etc/niutang-station/secrets/platform\n")
    assert sorted(path.name for path in units.glob("*.wants/*")) == [
        "clock-helper.socket", "page.service", "station-resume.service", "station.service",
    ]  # fmt: skip
    assert "station:x:" in (machine.root / "etc/passwd").read_text()
    assert (machine.root / "etc/udev/rules.d/61-niutang-serial.rules").exists()
    assert str((machine.root / "usr/local/bin/station").readlink()) == "/opt/niutang-station/venv/bin/station"


def test_the_same_again_changes_nothing(running: Machine, bundles: Path) -> None:
    before = running.tree()
    assert running.install(bundles / "1.0", "--recipe", "plain").returncode == 0
    after = running.tree()
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= {
        f"var/lib/niutang-station/station.db{end}" for end in ("", "-wal", "-shm")
    }


def test_a_stick_brings_the_configuration_and_the_station_starts(
    machine: Machine, bundles: Path, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "station.toml").write_text('data_folder = "data"\npassword_file = "pw"\n# copies, pins\n')
    (stick / "pw").write_text("123456\n")
    (stick / "profiles").mkdir()
    (stick / "profiles/own.toml").write_text("")
    done = machine.install(bundles / "1.0", "--config", stick)
    assert done.returncode == 0, done.stderr
    assert machine.rows()
    assert (machine.conf / "profiles/own.toml").stat().st_mode & 0o777 == 0o644
    units = machine.root / "etc/systemd/system"
    assert (units / "timers.target.wants/backup.timer").is_symlink()
    assert (units / "station.service.d/pins.conf").exists()
    assert (stick / "pw").exists()


def test_a_configuration_that_is_there_is_kept_beside_the_new_one(
    running: Machine, bundles: Path, tmp_path: Path
) -> None:
    (running.conf / "station.toml").write_text('data_folder = "/var/lib/niutang-station"  # edited\n')
    done = running.install(bundles / "1.0", "--recipe", "plain")
    assert done.returncode == 1
    assert "is there already and is not the recipe" in done.stderr
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick/station.toml").write_text('data_folder = "x"  # from the stick\n')
    assert running.install(bundles / "1.0", "--config", tmp_path / "stick").returncode == 0
    (kept,) = running.conf.parent.glob("niutang-station.before-*")
    assert "# edited" in (kept / "station.toml").read_text()
    assert "# from the stick" in (running.conf / "station.toml").read_text()
    assert (running.conf / "secrets/platform").exists()


def test_a_configuration_on_a_data_partition_stays_there(machine: Machine, bundles: Path, tmp_path: Path) -> None:
    (machine.root / "data").mkdir()
    machine.conf.parent.mkdir()
    machine.conf.symlink_to("../data/config")
    for text in ("# first", "# second"):
        (tmp_path / "stick").mkdir(exist_ok=True)
        (tmp_path / "stick/station.toml").write_text(f'data_folder = "x"  {text}\n')
        done = machine.install(bundles / "1.0", "--config", tmp_path / "stick")
        assert done.returncode == 0, done.stderr
        assert machine.conf.is_symlink()
        assert text in (machine.root / "data/config/station.toml").read_text()
    (kept,) = (machine.root / "data").glob("config.before-*")
    assert "# first" in (kept / "station.toml").read_text()


def test_two_installers_do_not_work_at_once(machine: Machine, bundles: Path) -> None:
    (machine.root / "run").mkdir()
    with (machine.root / "run/niutang-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = machine.install(bundles / "1.0", "--recipe", "plain")
    assert (done.returncode, machine.tree()) == (1, {})
    assert "another install.sh is at work; wait for it" in done.stderr


def test_a_configuration_with_faults_is_not_taken(running: Machine, bundles: Path, tmp_path: Path) -> None:
    before = running.tree()
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick/station.toml").write_text('data_folder = "x"\nfault\n')
    done = running.install(bundles / "1.0", "--config", tmp_path / "stick")
    assert done.returncode == 1
    assert "station.toml:1: fault" in done.stdout
    assert "the configuration has faults, see above" in done.stderr
    after = running.tree()
    assert {name: after[name] for name in after if name.startswith("etc/niutang-station/")} == {
        name: before[name] for name in before if name.startswith("etc/niutang-station/")
    }


# -- what is refused before anything is changed


def spoil(path: Path) -> None:
    """Change one byte in the middle of the file at *path*."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def add(path: Path) -> None:
    """Put a file there that was not packed."""
    path.write_text("[Service]\nExecStart=/bin/false\n")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "a wheel": (
        lambda bundle: spoil(next((bundle / "wheels").glob("niutang*"))),
        "wheels/niutang_station-1.0-py3-none-any.whl is not as it was packed",
    ),
    "a unit": (
        lambda bundle: spoil(bundle / "systemd/station.service"),
        "systemd/station.service is not as it was packed",
    ),
    "the manifest": (lambda bundle: spoil(bundle / "MANIFEST"), "MANIFEST is not as it was packed"),
    "a file that is gone": (lambda bundle: (bundle / "sbom.json").unlink(), "sbom.json is not as it was packed"),
    "a file that was added": (
        lambda bundle: add(bundle / "systemd/other.service"),
        "systemd/other.service is in the bundle and not in its MANIFEST",
    ),
    "no manifest": (lambda bundle: (bundle / "MANIFEST").unlink(), "is no bundle: it has no MANIFEST"),
    "another machine": (
        lambda bundle: seal(bundle, "1.0", machine="armv7l"),
        "this bundle is for armv7l and this machine is",
    ),
    "another Python": (
        lambda bundle: seal(bundle, "1.0", python="3.9 3.10"),
        "this bundle has libraries for Python 3.9 3.10 and this machine has 3.",
    ),
    "no room": (
        lambda bundle: seal(bundle, "1.0", room="999999999"),
        "MiB free and 999999999 are needed (the program)",
    ),
    "what the system lacks": (
        lambda bundle: seal(bundle, "1.0", system="cffi no_such_module python3-cffi-backend"),
        "cffi is not for this machine in the bundle and not in the operating system: install python3-cffi-backend",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bundle_that_is_not_right_is_refused_and_nothing_is_changed(
    machine: Machine, bundles: Path, tmp_path: Path, what: str
) -> None:
    bundle = Path(shutil.copytree(bundles / "1.0", tmp_path / "bundle"))
    make, sentence = BAD[what]
    make(bundle)
    done = machine.install(bundle, "--recipe", "plain")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert machine.tree() == {}
    if what == "what the system lacks":
        assert machine.install(bundle, "--recipe", "plain", "--without", "sm4").returncode == 0


def test_a_sentence_is_chinese_where_the_technician_is(machine: Machine, bundles: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundles / "1.0", tmp_path / "bundle"))
    spoil(bundle / "sbom.json")
    done = machine.install(bundle, "--lang", "zh")
    assert done.stderr == "install.sh: sbom.json 与打包时不一致（SHA-256 不符）；请重新拷贝安装包，未作任何改动\n"


def test_without_a_configuration_nothing_is_installed(machine: Machine, bundles: Path) -> None:
    done = machine.install(bundles / "1.0")
    assert (done.returncode, machine.tree()) == (1, {})
    assert "there is no configuration yet: add --recipe NAME" in done.stderr
    assert machine.install(bundles / "1.0", "--recipe", "none-such").returncode == 1
    assert not machine.conf.exists()


def test_a_station_that_was_installed_by_hand_is_left_alone(machine: Machine, bundles: Path) -> None:
    (machine.opt / "venv/bin").mkdir(parents=True)
    done = machine.install(bundles / "1.0", "--recipe", "plain")
    assert done.returncode == 1
    assert "was made by hand: stop the station and move it away" in done.stderr


def test_where_a_key_is_installed_a_bundle_has_to_be_signed_by_it(
    machine: Machine, bundles: Path, tmp_path: Path
) -> None:
    keygen = program("ssh-keygen")
    for name in ("ours", "theirs"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / name], check=True)
    machine.conf.mkdir(parents=True)
    (machine.conf / "allowed_signers").write_text(f"release {(tmp_path / 'ours.pub').read_text()}")
    bundle = Path(shutil.copytree(bundles / "1.0", tmp_path / "bundle"))
    unsigned = machine.install(bundle, "--recipe", "plain")
    assert "the bundle is not signed, and " in unsigned.stderr
    from tests.field.packing import PACKER

    PACKER.sign(bundle / "MANIFEST", tmp_path / "theirs")
    assert "signature is by none of the keys" in machine.install(bundle, "--recipe", "plain").stderr
    assert list(machine.tree()) == ["etc/niutang-station/allowed_signers"]
    (bundle / "MANIFEST.sig").unlink()
    PACKER.sign(bundle / "MANIFEST", tmp_path / "ours")
    done = machine.install(bundle, "--recipe", "plain")
    assert done.returncode == 0, done.stderr
    assert (machine.conf / "allowed_signers").exists()


# -- the next version


def test_an_upgrade_keeps_every_reading_and_the_way_back(running: Machine, bundles: Path) -> None:
    measured = running.rows()
    done = running.install(bundles / "1.1")
    assert done.returncode == 0, done.stderr
    assert running.version == "1.1"
    assert running.services("pid") != "0"
    rows = running.rows()
    assert rows[: len(measured)] == measured
    assert {version for _, version in rows} == {"1.0", "1.1"}
    back = running.run(running.opt / "install.sh", "rollback")
    assert (back.returncode, running.version) == (0, "1.0"), back.stderr
    assert running.rows()[: len(rows)] == rows


def test_a_migration_leaves_a_copy_and_no_way_back_that_loses_data(running: Machine, bundles: Path) -> None:
    assert running.install(bundles / "2.0").returncode == 0
    assert running.version == "2.0"
    (copy,) = running.data.glob("station.db.before-2.0-*")
    assert {version for _, version in running.rows(copy)} == {"1.0"}
    done = running.run(running.opt / "install.sh", "rollback")
    assert done.returncode == 1
    assert "cannot read the database any more (schema 2): going back would lose" in done.stderr
    assert running.version == "2.0"
    older = running.install(bundles / "1.1")
    assert older.returncode == 1
    assert "the database has schema 2 and version 1.1 knows 1" in older.stderr
    assert (running.version, running.services("pid") != "0") == ("2.0", True)


def test_nothing_leaves_the_machine_while_a_migration_is_on_trial(running: Machine, bundles: Path) -> None:
    assert running.install(bundles / "2.0", cut="trial").returncode == DIED
    running.services("start-offline")
    running.wait()
    said = (running.root / "run/niutang-station/health.json").read_text()
    assert '"offline": true' in said
    running.services("stop")


@pytest.mark.parametrize("breaks", ["start", "later", "health", "same-later"])
def test_a_version_that_does_not_run_well_gives_way_to_the_one_before(
    running: Machine, bundles: Path, breaks: str
) -> None:
    measured = running.rows()
    done = running.install(bundles / breaks, NIUTANG_PATIENCE="10")
    assert done.returncode == 1
    assert f"does not run well; the station runs on with {running.opt.joinpath('venv').readlink()}" in done.stderr
    assert (running.version, running.services("pid") != "0") == ("1.0", True)
    rows = running.rows()
    assert rows[: len(measured)] == measured
    aside = sorted(path for path in running.data.glob("station.db.tried-*") if path.suffix != ".db-shm")
    if breaks in ("later", "health"):  # it had measured something, which is kept
        assert {version for _, version in running.rows(aside[0])} > {"1.0"}
        assert {version for _, version in rows} == {"1.0"}
    if breaks == "same-later":  # nothing was migrated, so what it measured is where it belongs
        assert {version for _, version in rows} == {"1.0", "1.2"}
        assert aside == []


def test_a_version_that_does_not_load_never_stops_the_station(running: Machine, bundles: Path) -> None:
    pid = running.services("pid")
    done = running.install(bundles / "import")
    assert done.returncode == 1
    assert "the new program does not start, see above; the station runs on as it was" in done.stderr
    assert (running.services("pid"), running.version) == (pid, "1.0")


def test_an_upgrade_that_is_cut_anywhere_comes_up_whole_at_the_next_start(running: Machine, bundles: Path) -> None:
    steps = ("venv", "libraries", "program", "prepared", "stopped", "copied", "switched", "trial")
    measured = running.rows()
    for step in steps:
        done = running.install(bundles / "2.0", cut=step)
        assert done.returncode == DIED, (step, done.stderr)
        said = running.restart()
        assert running.version == "1.0", step
        assert ("an upgrade was cut short: back to 1.0" in said) == (step not in steps[:3])
        rows = running.rows()
        assert rows[: len(measured)] == measured, step
        assert not (running.opt / "unfinished").exists()
        measured = rows
    assert running.install(bundles / "2.0", cut="committed").returncode == DIED
    running.restart()
    assert running.version == "2.0"
    assert running.rows()[: len(measured)] == measured
    done = running.install(bundles / "2.0")
    assert (done.returncode, running.version) == (0, "2.0"), done.stderr


def test_a_way_back_that_is_cut_anywhere_is_gone_to_the_end(running: Machine, bundles: Path) -> None:
    for step in ("undo", "undo-wal", "undo-shm", "undo.open", "undo-database", "undo-program"):
        measured = running.rows()
        assert running.install(bundles / "later", cut=step).returncode == DIED, step
        running.restart()
        assert running.version == "1.0", step
        rows = running.rows()
        assert rows[: len(measured)] == measured, step
        assert {version for _, version in rows} == {"1.0"}
        assert list(running.data.glob("*.before-*")) == []


def test_a_first_installation_that_is_cut_anywhere_is_finished_by_the_same_command(
    machine: Machine, bundles: Path
) -> None:
    for step in ("venv", "libraries", "program", "config-ready", "config", "units", "account", "linked", "settled"):
        assert machine.install(bundles / "1.0", "--recipe", "plain", cut=step).returncode == DIED, step
    done = machine.install(bundles / "1.0", "--recipe", "plain")
    assert done.returncode == 0, done.stderr
    assert machine.version == "1.0"
    assert list(machine.conf.parent.glob("niutang-station.*")) == []


def test_a_killed_upgrade_is_cleared_up_by_the_next_one_while_the_machine_runs_on(
    running: Machine, bundles: Path
) -> None:
    measured = running.rows()
    assert running.install(bundles / "2.0", cut="trial").returncode == DIED
    done = running.install(bundles / "2.0")
    assert (done.returncode, running.version) == (0, "2.0"), done.stderr
    assert "an upgrade was cut short: back to 1.0" in done.stdout
    assert running.rows()[: len(measured)] == measured


# -- away


def test_uninstalling_keeps_what_was_measured_and_the_configuration(running: Machine, bundles: Path) -> None:
    done = running.run(running.opt / "install.sh", "uninstall")
    assert done.returncode == 0, done.stderr
    assert not running.opt.exists()
    assert running.rows()
    assert (running.conf / "station.toml").exists()
    assert list((running.root / "etc/systemd/system").rglob("*.service")) == []
    assert running.install(bundles / "1.0").returncode == 0
    assert {version for _, version in running.rows()} == {"1.0"}


def test_deleting_the_data_wants_the_words_typed(running: Machine) -> None:
    for typed in ("", "yes\n", "delete all\n"):
        done = running.run(running.opt / "install.sh", "uninstall", "--purge-data", typed=typed)
        assert done.returncode == 1
        assert "that was not typed; nothing was changed" in done.stderr
    assert running.services("pid") != "0"
    assert running.rows()
    assert (
        running.run(running.opt / "install.sh", "uninstall", "--purge-data", typed="delete all data\n").returncode == 0
    )
    assert list(running.data.iterdir()) == []
    assert not running.conf.exists()
    assert not running.opt.exists()
