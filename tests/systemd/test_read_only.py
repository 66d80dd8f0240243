"""The read-only root of systemd/README.md: fstab's lines as systemd reads them, and where the station writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.programs import program

FOLDER = Path(__file__).parents[2] / "systemd"
FSTAB = FOLDER / "fstab.example"
GENERATOR = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")


def mounts() -> dict[str, list[str]]:
    """The lines of the example by the place they are for."""
    lines = [line.split() for line in FSTAB.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert all(len(line) == 6 for line in lines)
    return {line[1]: line for line in lines}


def test_the_root_is_read_only_and_every_folder_of_the_units_is_on_the_data_partition() -> None:
    found = mounts()
    assert "ro" in found["/"][3].split(",")
    assert found["/data"][2] == "ext4"
    assert "ro" not in found["/data"][3].split(",")
    for unit in ("station.service", "clock-helper.service"):
        text = (FOLDER / unit).read_text(encoding="utf-8")
        folder = re.search(r"^StateDirectory=(.+)$", text, re.M)
        assert folder is not None
        source, _, kind, options, *_ = found[f"/var/lib/{folder[1]}"]
        assert source.startswith("/data/")
        assert (kind, "bind" in options.split(",")) == ("none", True)
        assert "x-systemd.requires-mounts-for=/data" in options


def test_the_readme_makes_the_folders_that_are_bound() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^sudo mkdir -p (/data.*)$", text, re.M)
    assert command.split() == [line[0] for line in mounts().values() if line[2] == "none"]


def test_systemd_makes_units_of_the_lines_that_verify(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    if not GENERATOR.exists():
        pytest.skip("no systemd-fstab-generator here")
    units = tmp_path / "units"
    for name in ("normal", "early", "late"):
        (units / name).mkdir(parents=True)
    done = subprocess.run(
        [GENERATOR, units / "normal", units / "early", units / "late"], capture_output=True, text=True, check=False,
        env=os.environ | {"SYSTEMD_FSTAB": str(FSTAB), "SYSTEMD_LOG_TARGET": "console", "SYSTEMD_PROC_CMDLINE": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (units / "normal").glob("*.mount")}
    assert {"var-lib-niutang\\x2dstation.mount", "opt-niutang\\x2dstation.mount", "data.mount"} <= made
    text = (units / "normal" / "var-lib-niutang\\x2dstation.mount").read_text()
    assert "RequiresMountsFor=/data" in text
    for path in (units / "normal").glob("*.mount"):
        said = subprocess.run([analyze, "verify", path], capture_output=True, text=True, check=False).stderr
        assert [line for line in said.splitlines() if path.name in line and "fsck" not in line] == [], said


def test_the_journal_stays_in_memory() -> None:
    text = (FOLDER / "journald.conf.d/60-niutang-volatile.conf").read_text(encoding="utf-8")
    assert "\n[Journal]\nStorage=volatile\n" in text


def test_every_line_of_the_unit_that_resumes_is_explained_and_nothing_else_is() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = text.split("| line of station-resume | why |")[1].split("\n## ")[0]
    said = re.findall(r"^\| `(\w+)=` \| .{3,} \|$", section, re.MULTILINE)
    lines = re.findall(r"^(\w+)=", (FOLDER / "station-resume.service").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(said) == sorted(lines)


def test_the_unit_that_resumes_verifies_and_calls_what_the_installer_has(tmp_path: Path) -> None:
    text = (FOLDER / "station-resume.service").read_text(encoding="utf-8")
    (call,) = re.findall(r"^ExecStart=(.+)$", text, re.M)
    assert call == "/opt/niutang-station/install.sh resume"
    assert "\ndo_resume() {" in (FOLDER / "install.sh").read_text(encoding="utf-8")
    (unit := tmp_path / "station-resume.service").write_text(text.replace(call, shutil.which("true") or "/bin/true"))
    done = subprocess.run([program("systemd-analyze"), "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installer_is_plain_sh() -> None:
    """What shellcheck finds is looked at by hand; here a shell reads it, and the scripts of the tests."""
    for path in (FOLDER / "install.sh", *Path(__file__).parents[1].glob("field/*.sh")):
        assert path.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
        assert os.access(path, os.X_OK)
        done = subprocess.run(["sh", "-n", path], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
