"""The units that power the host off when the battery ends: what they may, and that each line is explained."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from station import poweroff
from station.clock import boot_id
from tests.systemd.test_unit import FOLDER, directives, run

SERVICE = FOLDER / "supply" / "supply-poweroff.service"
PATH = SERVICE.with_suffix(".path")


def test_systemd_finds_nothing_to_say_and_little_exposed(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here (apt-get install systemd)")
    exposed = run("systemd-analyze", "security", "--offline=true", "--threshold=20", shutil.copy(SERVICE, tmp_path))
    assert exposed.returncode == 0, exposed.stdout
    if run("systemd-analyze", "--version").stdout.startswith("systemd 252"):
        level = re.search(r"Overall exposure level for [\w.-]+: ([\d.]+)", exposed.stdout)
        assert level is not None
        section = (FOLDER / "README.md").read_text(encoding="utf-8").split("## Power off when the battery ends")[1]
        assert f"The exposure of this unit is {level[1]}." in section.split("\n## ")[0]
    text = SERVICE.read_text(encoding="utf-8").replace(
        "/opt/niutang-station/venv/bin/python", shutil.which("true") or "/bin/true"
    )
    text = re.sub(r"^(User|Group)=station$", r"\1=root", text, flags=re.MULTILINE)
    (tmp_path / SERVICE.name).write_text(text, encoding="utf-8")
    done = run("systemd-analyze", "verify", tmp_path / SERVICE.name, shutil.copy(PATH, tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_every_line_is_explained_and_nothing_else_is() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8").split("## Power off when the battery ends")[1]
    said = re.findall(r"^\| `(\w+)=` \| .{3,} \|$", text.split("\n## ")[0], re.MULTILINE)
    assert sorted(said) == sorted({key for path in (SERVICE, PATH) for key, _ in directives(path)})


def test_only_the_file_of_the_station_starts_it_and_nothing_left_over() -> None:
    lines, watched = dict(directives(SERVICE)), dict(directives(PATH))
    assert "WantedBy" not in lines
    assert "PathExists" not in watched  # a file of an earlier boot must start nothing
    assert watched["Unit"] == SERVICE.name
    words = shlex.split(lines["ExecStart"])
    assert words[1:4] == ["-I", "-m", "station.poweroff"]
    assert words[4] == watched["PathChanged"] == "/var/lib/niutang-station/supply/poweroff"
    assert float(words[words.index("--least") + 1]) == poweroff.LEAST_SECONDS
    assert lines["SuccessAction"] == "poweroff"
    assert lines["CapabilityBoundingSet"] == lines["AmbientCapabilities"] == ""


def judged(path: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "station.poweroff", str(path), *more]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=FOLDER.parent)


def test_the_program_refuses_a_request_of_another_boot(tmp_path: Path) -> None:
    path = tmp_path / "poweroff"
    poweroff.request(path, boot_id()[::-1], poweroff.boot_seconds())
    with judged(path) as child:
        assert child.stderr is not None
        assert "the host stays on: the request is of another boot" in child.stderr.read()
    assert child.returncode == poweroff.REFUSED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_judge_that_is_stopped_powers_nothing_off(tmp_path: Path, number: int) -> None:
    """By default systemd takes an end by these signals for success."""
    path = tmp_path / "poweroff"
    os.mkfifo(path)  # it looks, and waits
    with judged(path) as child, path.open("wb"):  # opened by both: its handlers stand
        child.send_signal(number)
        child.wait(20)
    assert child.returncode == poweroff.REFUSED
