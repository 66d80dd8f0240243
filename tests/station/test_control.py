"""The control socket: who may ask, what is understood, and that nobody can hold it up."""

from __future__ import annotations

import errno
import grp
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from station import control
from station.control import ControlRefused, ControlServer, NotRunning, ask
from station.model import StationError, StoreError
from tests.station.commands import ROOT

NOT_A_REQUEST = {"ok": False, "error": "not a request; known: echo, refuse, slow"}


class Spent(StationError):
    """What a verb may raise."""

    exit_code = 69


class Verbs:
    """Verbs that echo, refuse, and wait until they are told to end."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def echo(self, request: Mapping[str, Any]) -> Any:
        """The request itself."""
        return dict(request)

    def refuse(self, request: Mapping[str, Any]) -> Any:
        """What the station cannot do, with a word that came from outside."""
        raise Spent(f"{request.get('what', 'the reagent')} is spent")

    def slow(self, request: Mapping[str, Any]) -> Any:
        """Nothing, in the end."""
        self.begun.set()
        self.go_on.wait(10)
        return {}

    def broken(self, request: Mapping[str, Any]) -> Any:
        """A fault of the program."""
        raise KeyError("no such thing")

    def odd(self, request: Mapping[str, Any]) -> Any:
        """What JSON cannot write, though its default can write much."""
        return {(1, 2): "a key that is no text"}

    def table(self) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """By name."""
        return {"echo": self.echo, "refuse": self.refuse, "slow": self.slow}


@pytest.fixture
def verbs() -> Verbs:
    """What the server can do."""
    return Verbs()


@pytest.fixture
def path(tmp_path: Path, verbs: Verbs) -> Iterator[Path]:
    """A socket that is served."""
    server = ControlServer(tmp_path / "control.sock")
    server.start(verbs.table())
    yield tmp_path / "control.sock"
    verbs.go_on.set()
    server.close()


def raw(path: Path, data: bytes) -> bytes:
    """What comes back for *data*, byte for byte."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_a_verb_is_carried_out_with_its_arguments(path: Path) -> None:
    """Any text goes there and back."""
    assert ask(path, "echo", device="点位 µ \udcff") == {"do": "echo", "device": "点位 µ \udcff"}


def test_the_socket_is_for_owner_and_group(path: Path) -> None:
    """0660 under any umask, and the umask is left as it was."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    before = os.umask(0o022)
    os.umask(before)
    other = ControlServer(path.with_name("other.sock"))
    other.close()
    after = os.umask(before)
    assert after == before


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"status\n", b"{}\n", b"[]\n", b"null\n", b'"do"\n', b'{"do": "reboot"}\n', b'{"do": ["echo"]}\n',
        b'{"do": null}\n', b"\x00\xff\xfe\n", b"[" * 50000 + b"\n", b'{"do": "echo"', b"",
        b'{"do": "echo", "n": ' + b"9" * 5000 + b"}\n",
    ],
)  # fmt: skip
def test_rubbish_is_answered_and_forgotten(path: Path, line: bytes) -> None:
    """It is not a request; the next one is served as ever."""
    assert json.loads(raw(path, line)) == NOT_A_REQUEST
    assert ask(path, "echo") == {"do": "echo"}


def test_a_line_without_an_end_is_cut_off(path: Path) -> None:
    """After 64 KiB nobody reads on."""
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rwb") as lines:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"x" * control.LONGEST_REQUEST)
        assert json.loads(lines.readline()) == NOT_A_REQUEST


def test_a_refusal_carries_its_sentence_and_its_exit_code(path: Path) -> None:
    """As if the command had met it itself."""
    with pytest.raises(ControlRefused) as caught:
        ask(path, "refuse", what="\udcff 试剂")
    assert (str(caught.value), caught.value.exit_code) == ("\udcff 试剂 is spent", 69)


def test_an_answer_may_be_long(path: Path) -> None:
    """A station of a thousand readings fills more than one packet."""
    assert len(ask(path, "echo", text="x" * 60000)["text"]) == 60000

    server = ControlServer(path.with_name("long.sock"))
    server.start({"long": lambda request: ["x" * 1000] * 1000})
    try:
        assert len(ask(path.with_name("long.sock"), "long")) == 1000
    finally:
        server.close()


def test_a_client_that_says_nothing_holds_nobody_up(path: Path) -> None:
    """It has five seconds; others are served meanwhile."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        began = time.monotonic()
        assert ask(path, "echo") == {"do": "echo"}
        assert time.monotonic() - began < control.PATIENCE / 2


def test_a_client_that_says_nothing_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is closed without an answer."""
    monkeypatch.setattr(control, "PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(10)
        silent.connect(str(path))
        assert silent.recv(100) == b""


def test_a_verb_that_takes_its_time_holds_nobody_up(path: Path, verbs: Verbs) -> None:
    """Each client has its own thread."""
    waiting = threading.Thread(target=ask, args=(path, "slow"))
    waiting.start()
    assert verbs.begun.wait(5)
    assert ask(path, "echo") == {"do": "echo"}
    verbs.go_on.set()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_station_that_does_not_answer_in_time_is_said_to(path: Path) -> None:
    """With the patience that was had."""
    with pytest.raises(ControlRefused) as caught:
        ask(path, "slow", timeout=0.1)
    assert (str(caught.value), caught.value.exit_code) == (f"{path}: the station did not answer within 0.1 s", 69)


def test_a_station_that_hangs_up_is_said_to(tmp_path: Path) -> None:
    """Half an answer is none."""
    path = tmp_path / "half.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def half() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(100)
                client.sendall(b'{"ok": tr')

        thread = threading.Thread(target=half)
        thread.start()
        with pytest.raises(ControlRefused) as caught:
            ask(path, "status")
        thread.join(5)
    assert str(caught.value) == f"{path}: the station closed the connection before it had answered"


def test_a_path_that_is_too_long_for_the_kernel_works(tmp_path: Path) -> None:
    """sun_path holds 108 bytes; the folder may be deeper."""
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    path = folder / "control.sock"
    server = ControlServer(path)
    server.start({"echo": lambda request: "heard"})
    try:
        assert ask(path, "echo") == "heard"
        assert path.is_socket()
    finally:
        server.close()
    assert not path.exists()


def test_nobody_listens(tmp_path: Path, path: Path) -> None:
    """No socket, one that a killed station left behind, and one that was closed."""
    with pytest.raises(NotRunning) as caught:
        ask(tmp_path / "none.sock", "status")
    assert str(caught.value) == f"{tmp_path}/none.sock: no station is running (No such file or directory)"
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    with pytest.raises(NotRunning) as caught:
        ask(stale, "status")
    assert str(caught.value) == f"{stale}: no station is running (Connection refused)"
    server = ControlServer(stale)
    server.start({"echo": lambda request: "heard"})
    assert ask(stale, "echo") == "heard"
    server.close()
    with pytest.raises(NotRunning):
        ask(stale, "echo")


def test_close_ends_the_listening_thread(tmp_path: Path) -> None:
    """Whether it had been started or not."""
    server = ControlServer(tmp_path / "a.sock")
    server.start({})
    server.close()
    assert "control" not in {thread.name for thread in threading.enumerate()}
    ControlServer(tmp_path / "b.sock").close()
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_cannot_be_made_is_said_to(tmp_path: Path) -> None:
    """Where, why, and which key names another place."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "control.sock"
    with pytest.raises(StoreError) as caught:
        ControlServer(path)
    assert str(caught.value) == (
        f"{path}: the control socket cannot be made (File exists); station.control_socket may name another place"
    )


# -- who may ask


class Peer:
    """A client as the kernel describes it."""

    def __init__(self, uid: int, gid: int, *groups: int) -> None:
        self._uid, self._gid, self._groups = uid, gid, groups

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """SO_PEERCRED or SO_PEERGROUPS, with the limits of the real one."""
        assert 0 < size <= 1024
        if option == socket.SO_PEERCRED:
            return struct.pack("iii", 1234, self._uid, self._gid)
        assert option == control.SO_PEERGROUPS
        if 4 * len(self._groups) > size:
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
        return struct.pack(f"{len(self._groups)}i", *self._groups)


@pytest.mark.parametrize(
    ("peer", "may"),
    [
        (Peer(0, 0), True),
        (Peer(990, 77), True),
        (Peer(1000, 980), True),
        (Peer(1000, 1000, 4, 980, 27), True),
        (Peer(1000, 1000, 4, 27), False),
        (Peer(1000, 1000), False),
        (Peer(1000, 0), False),
        (Peer(1000, 1000, *range(1, 300)), False),
    ],
    ids=[
        "root",
        "the station's user",
        "its group",
        "a further group",
        "other groups",
        "no groups",
        "root's group",
        "too many groups",
    ],
)
def test_root_the_stations_user_and_its_group_may_ask(peer: Peer, may: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else."""
    monkeypatch.setattr(os, "getuid", lambda: 990)
    monkeypatch.setattr(os, "getgid", lambda: 980)
    assert control._may_ask(peer) is may  # type: ignore[arg-type]


ASK_AS_NOBODY = """
import os, sys
from pathlib import Path
from station.control import ControlRefused, ask
os.setgroups([int(group) for group in sys.argv[2:]])
os.setgid(65534)
os.setuid(65534)
try:
    print(ask(Path(sys.argv[1]), "echo"))
except ControlRefused as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_refused(verbs: Verbs) -> None:
    """By the socket's mode, and by the kernel's word where the mode lets them in; a member of the group is heard."""

    def as_nobody(group: int | None = None) -> str:
        words = [sys.executable, "-c", ASK_AS_NOBODY, str(path), *([] if group is None else [str(group)])]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()

    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o711)
        path = Path(folder) / "control.sock"
        server = ControlServer(path)
        server.start(verbs.table())
        group = grp.getgrgid(os.getgid()).gr_name
        join = f"join group {group} (sudo usermod -aG {group} YOU, then log in again)"
        try:
            assert as_nobody() == f"{path}: this user may not ask the station; use sudo or {join}"
            assert as_nobody(os.getgid()) == "{'do': 'echo'}"
            path.chmod(0o666)
            assert as_nobody() == f"this user may not ask; use sudo or {join}"
        finally:
            server.close()


@pytest.mark.parametrize(
    ("verb", "kind"), [("broken", "KeyError: 'no such thing'"), ("odd", "TypeError: keys must be")]
)
def test_a_fault_in_a_verb_is_answered_logged_and_the_next_one_is_served(
    verbs: Verbs, tmp_path: Path, caplog: pytest.LogCaptureFixture, verb: str, kind: str
) -> None:
    """Not a connection that closes without a word."""
    server = ControlServer(tmp_path / "control.sock")
    server.start({**verbs.table(), "broken": verbs.broken, "odd": verbs.odd})
    try:
        with pytest.raises(ControlRefused) as refused:
            ask(tmp_path / "control.sock", verb)
        assert str(refused.value).startswith(f"{verb} failed in the station ({kind}")
        assert str(refused.value).endswith("; its log (journalctl -u station) has the rest")
        assert refused.value.exit_code == 70
        assert ask(tmp_path / "control.sock", "echo", n=1)["n"] == 1
    finally:
        server.close()
    (record,) = [one for one in caplog.records if one.exc_info]
    assert record.getMessage() == f"control socket: {verb} failed"
