"""A real chronyd without power over the clock (-x), on loopback: what the station takes from it."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from station.chrony import Chronyd
from tests.programs import program
from tests.station.commands import until

CLIENT = """port 0
cmdport {port}
bindcmdaddress 127.0.0.1
bindcmdaddress {folder}/{name}.sock
pidfile {folder}/{name}.pid
"""
SERVER = """port {port}
bindaddress 127.0.0.1
cmdport 0
bindcmdaddress {folder}/{name}.sock
pidfile {folder}/{name}.pid
allow 127.0.0.1
local stratum 5
"""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def chronyd(folder: Path, name: str, text: str) -> Iterator[subprocess.Popen[str]]:
    """A chronyd of its own, that sets no clock and is found by nobody else."""
    folder.chmod(0o700)
    path = folder / f"{name}.conf"
    path.write_text(text, encoding="ascii")
    words = [program("chronyd"), "-d", "-x", "-U", "-u", getpass.getuser(), "-f", path]
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, text=True)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


def leap(port: int) -> str:
    """What chrony's own command says of the same daemon: the last field of `chronyc -c tracking`."""
    words = [program("chronyc"), "-n", "-c", "-h", "127.0.0.1", "-p", str(port), "tracking"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip().rpartition(",")[2]


@pytest.mark.parametrize(
    ("sources", "said", "believed"),
    [
        ("server 127.0.0.1 port {server} iburst minpoll -4 maxpoll -4\n", "Normal", True),
        ("server 127.0.0.1 port {nobody} iburst minpoll -4 maxpoll -4\n", "Not synchronised", False),
        ("local stratum 5\n", "Normal", False),  # it answers for itself: the host's own clock
    ],
    ids=("follows a server", "hears nobody", "its own clock"),
)
def test_a_real_chronyd_is_believed_where_it_follows_a_server(
    tmp_path: Path, sources: str, said: str, believed: bool
) -> None:
    server, port, nobody = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        serves = SERVER.format(port=server, folder=tmp_path, name="server")
        stack.enter_context(chronyd(tmp_path, "server", serves))
        asks = CLIENT.format(port=port, folder=tmp_path, name="client") + sources.format(server=server, nobody=nobody)
        stack.enter_context(chronyd(tmp_path, "client", asks))
        until(lambda: leap(port) == said, 15, lambda: (leap(port), (tmp_path / "client.log").read_text()))
        assert Chronyd(("127.0.0.1", port)).synchronised() is believed


def test_where_chronyd_has_ended_nobody_vouches_for_the_clock() -> None:
    """Port unreachable: no waiting, no trust."""
    assert Chronyd(("127.0.0.1", free_port())).synchronised() is False
