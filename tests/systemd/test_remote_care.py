"""The units of the tunnel for remote care, and a reverse SSH through a real sshd on this host."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from station import tunnelhold
from station.clock import boot_id
from station.tunnel import LONGEST_HOURS, TunnelSettings, boot_seconds
from tests.programs import program
from tests.systemd.test_unit import FOLDER, directives, run

TUNNEL = FOLDER / "tunnel"
SERVICES = (TUNNEL / "tunnel-ssh.service", TUNNEL / "tunnel-wireguard.service")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_to_say_and_little_exposed(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here (apt-get install systemd)")
    exposed = run("systemd-analyze", "security", "--offline=true", "--threshold=20", shutil.copy(unit, tmp_path))
    assert exposed.returncode == 0, exposed.stdout
    if run("systemd-analyze", "--version").stdout.startswith("systemd 252"):
        level = re.search(r"Overall exposure level for [\w.-]+: ([\d.]+)", exposed.stdout)
        assert level is not None
        name = "SSH" if "ssh" in unit.stem else "WireGuard"
        assert f"{name} unit {'is ' if name == 'SSH' else ''}{level[1]}" in (FOLDER / "README.md").read_text()
    text = unit.read_text(encoding="utf-8").replace("/opt/niutang-station/venv/bin/python", shutil.which("true") or "")
    text = re.sub(r"^(User|Group)=niutang-tunnel$", r"\1=root", text, flags=re.MULTILINE)
    text = text.replace("SupplementaryGroups=station\n", "")
    (tmp_path / unit.name).write_text(text, encoding="utf-8")
    path = shutil.copy(unit.with_suffix(".path"), tmp_path)
    done = run("systemd-analyze", "verify", tmp_path / unit.name, path)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_line_of_the_units_is_explained_and_nothing_else_is() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| `(\w+)=` \| .{3,} \|$", text.split("## Remote care")[1].split("\n## ")[0], re.MULTILINE)
    files = [path for unit in SERVICES for path in (unit, unit.with_suffix(".path"))]
    assert sorted(said) == sorted({key for path in files for key, _ in directives(path)})


def test_nothing_opens_a_tunnel_but_the_file_of_the_station() -> None:
    for unit in SERVICES:
        lines = dict(directives(unit))
        assert "WantedBy" not in lines  # a path unit starts it, nothing else does
        watched = dict(directives(unit.with_suffix(".path")))
        assert watched["Unit"] == unit.name
        words = shlex.split(lines["ExecStart"])
        assert words[1:4] == ["-I", "-m", "station.tunnelhold"]
        assert words[words.index("--until") + 1] == watched["PathChanged"] == "/var/lib/niutang-station/tunnel/until"
        assert words[words.index("--state") + 1] == TunnelSettings().state_file
        assert float(words[words.index("--most") + 1]) == LONGEST_HOURS
        assert lines["RuntimeMaxSec"] == f"{LONGEST_HOURS + 1:g}h"


def test_ssh_believes_no_host_it_does_not_know_and_asks_nobody() -> None:
    words = shlex.split(dict(directives(SERVICES[0]))["ExecStart"])
    options = {words[n + 1] for n, word in enumerate(words) if word == "-o"}
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "ExitOnForwardFailure=yes"} <= options
    assert "-N" in words


# -- a real sshd


class FarEnd:
    """An sshd on loopback whose only key may open one forward, and an echo server that stands for the station's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.forwarded = free_port(), free_port()
        for name in ("host", "key"):
            words = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        only = f'restrict,port-forwarding,permitlisten="127.0.0.1:{self.forwarded}"'
        (folder / "authorized").write_text(f"{only} {(folder / 'key.pub').read_text()}")
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nStrictModes no\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        )
        host = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host}\n")
        self.echo = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        (folder / "config").write_text(
            f"Host care\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" RemoteForward 127.0.0.1:{self.forwarded} 127.0.0.1:{self.echo.getsockname()[1]}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self.echo.accept()
            except OSError:
                return
            with link:
                link.sendall(b"station " + link.recv(100))

    def start(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        self.process = subprocess.Popen([program("sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config")],
                                        stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip

    def stop(self) -> None:
        """End it with its sessions, as a far end does that loses its power."""
        if self.process is not None:
            words = ["pgrep", "-P", str(self.process.pid)]
            children = subprocess.run(words, capture_output=True, text=True, check=False)
            self.process.kill()
            self.process.wait(10)
            for pid in children.stdout.split():
                subprocess.run(["kill", "-9", pid], check=False)
            self.process = None

    def reached(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.forwarded), 2) as link:
                link.sendall(b"gate")
                return link.recv(100) == b"station gate"
        except OSError:
            return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def awaited(what: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def far_end(tmp_path: Path) -> Iterator[FarEnd]:
    made = FarEnd(tmp_path)
    made.start()
    yield made
    made.stop()
    made.echo.close()


def held(far_end: FarEnd) -> subprocess.Popen[bytes]:
    """What the unit runs, with its own words for ssh."""
    words = shlex.split(dict(directives(SERVICES[0]))["ExecStart"])
    ssh = [word.replace("${CREDENTIALS_DIRECTORY}", str(far_end.folder)) for word in words[words.index("--") :]]
    ssh[1] = program("ssh")
    far_end.folder.joinpath("until").write_text(f"{boot_id()} {boot_seconds() + 600:.0f}\n")
    return subprocess.Popen(
        [sys.executable, "-I", tunnelhold.__file__, "--until", str(far_end.folder / "until"),
         "--state", str(far_end.folder / "state"), "run", *ssh],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def said(far_end: FarEnd) -> dict[str, str]:
    path = far_end.folder / "state"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def test_who_looks_after_the_station_gets_in_while_it_is_wanted_and_no_longer(far_end: FarEnd) -> None:
    process = held(far_end)
    try:
        awaited(far_end.reached)
        far_end.stop()
        awaited(lambda: said(far_end).get("state") == "trying" and said(far_end).get("reason", "") != "")
        far_end.start()
        awaited(far_end.reached)
        (far_end.folder / "until").unlink()
        assert process.wait(20) == 0
        assert not far_end.reached()
        assert said(far_end)["state"] == "down"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_a_far_end_with_another_host_key_gets_nothing(far_end: FarEnd) -> None:
    (far_end.folder / "known_hosts").write_text(
        f"[127.0.0.1]:{far_end.port} {' '.join((far_end.folder / 'key.pub').read_text().split()[:2])}\n"
    )
    process = held(far_end)
    try:
        awaited(lambda: "verification failed" in said(far_end).get("reason", ""))
        assert not far_end.reached()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
