"""The running station's local socket: one JSON line asks, one JSON line answers.

Whoever needs an instrument, the store's writer or an uplink goes through it.  The socket is 0660 and
the kernel's peer credentials are checked: root, the station's own user, or a member of its group.
"""

from __future__ import annotations

import grp
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from station.model import SHORT, StationError, StoreError

log = logging.getLogger(__name__)

LONGEST_REQUEST = 65536
LONGEST_REPLY = 16 << 20
PATIENCE = 5.0  # seconds a client has to say what it wants
AGAIN = 1.0  # seconds between two looks while the host is short of descriptors
SO_PEERGROUPS = 59  # linux/socket.h
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70

Verb = Callable[[Mapping[str, Any]], Any]


class NotRunning(StationError):
    """Error raised when no station listens on the socket."""

    exit_code = EX_UNAVAILABLE


class ControlRefused(StationError):
    """Error raised when the running station cannot do what was asked; ends as what went wrong there would."""

    def __init__(self, text: str, exit_code: int = EX_UNAVAILABLE, kind: str = "") -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.kind = kind  # the name of the error there


class ControlServer:
    """Owns the socket at *path* from the first; hands each request to its verb once started."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._verbs: Mapping[str, Verb] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o117)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # left by a station that was killed; the data folder's lock says so
            with _address(path) as address:
                self._listener.bind(address)
        except OSError as error:
            self._listener.close()
            raise StoreError(
                f"{path}: the control socket cannot be made ({error.strerror or error}); "
                "station.control_socket may name another place"
            ) from error
        finally:
            os.umask(before)
        self._listener.listen(8)
        self._thread = Thread(target=self._serve, name="control", daemon=True)

    def start(self, verbs: Mapping[str, Verb]) -> None:
        """Begin to answer with *verbs*; whoever asked before has waited."""
        self._verbs = verbs
        self._thread.start()

    def close(self) -> None:
        """Stop listening and take the socket away."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake accept
        if self._thread.is_alive():
            self._thread.join(timeout=2)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as error:
                if error.errno not in SHORT:
                    return  # closed
                time.sleep(AGAIN)  # whoever asks waits until there is a descriptor again
                continue
            Thread(target=self._answer, args=(client,), name="control-client", daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            client.settimeout(PATIENCE)
            try:
                line = _read_line(client, LONGEST_REQUEST)  # read first: closing on unread bytes loses the answer
                uid = _peer(client)
                if _may_ask(client):
                    reply = self._carry_out(line, uid)
                else:
                    reply = _no(f"this user may not ask; use sudo or {_join(self._path)}")
                client.sendall(reply.encode() + b"\n")
            except OSError:
                return  # the client went away

    def _carry_out(self, line: bytes, uid: int) -> str:
        try:
            request = json.loads(line)
            verb = self._verbs[request["do"]]
            if "user" in request:
                request["user"] = uid  # as the kernel knows, whatever the client wrote
        except (ValueError, KeyError, TypeError, RecursionError):
            return _no(f"not a request; known: {', '.join(self._verbs)}")
        try:
            return json.dumps({"ok": True, "result": verb(request)}, default=str)
        except StationError as error:
            return _no(str(error), exit_code=error.exit_code, kind=type(error).__name__)
        except Exception as error:  # a fault of ours in one verb: who asked is told, and the others are served
            log.exception("control socket: %s failed", request["do"])
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            said = f"{request['do']} failed in the station ({what}); its log (journalctl -u station) has the rest"
            return _no(said, exit_code=EX_SOFTWARE)


def _no(text: str, **more: Any) -> str:
    return json.dumps({"ok": False, "error": text, **more})


def ask(path: Path, verb: str, *, timeout: float = 30.0, **arguments: Any) -> Any:
    """What the running station answers; raise NotRunning or ControlRefused."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(timeout)
        try:
            with _address(path) as address:
                client.connect(address)
        except PermissionError as error:
            raise ControlRefused(f"{path}: this user may not ask the station; use sudo or {_join(path)}") from error
        except OSError as error:
            raise NotRunning(f"{path}: no station is running ({error.strerror or error})") from error
        try:
            client.sendall(json.dumps({"do": verb, **arguments}).encode() + b"\n")
            line = _read_line(client, LONGEST_REPLY)
        except TimeoutError as error:
            raise ControlRefused(f"{path}: the station did not answer within {timeout:g} s") from error
        except OSError as error:
            raise ControlRefused(f"{path}: the station went away ({error.strerror or error})") from error
    if not line.endswith(b"\n"):
        raise ControlRefused(f"{path}: the station closed the connection before it had answered")
    reply = json.loads(line)
    if not reply["ok"]:
        code, kind = int(reply.get("exit_code", EX_UNAVAILABLE)), str(reply.get("kind", ""))
        raise ControlRefused(str(reply["error"]), code, kind)
    return reply["result"]


def _join(path: Path) -> str:
    """How to come into the group that may ask at the socket *path*, by its name where it can be had."""
    for place in (path, path.parent):
        try:
            group = grp.getgrgid(place.stat().st_gid).gr_name
        except (OSError, KeyError):
            continue
        return f"join group {group} (sudo usermod -aG {group} YOU, then log in again)"
    return "join the group of station run"


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The socket's address; one too long for sun_path (108 bytes) goes through its folder's descriptor."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _read_line(sock: socket.socket, limit: int) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n") and len(data) < limit:
        more = sock.recv(65536)
        if not more:
            break
        data += more
    return bytes(data)


def _peer(client: socket.socket) -> int:
    uid: int = struct.unpack("iii", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return uid


def _may_ask(client: socket.socket) -> bool:
    _, uid, gid = struct.unpack("iii", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid in (0, os.getuid()) or gid == os.getgid():
        return True
    try:
        groups = client.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)  # Python's limit, 256 groups
    except OSError:
        return False  # in more groups than that
    return os.getgid() in struct.unpack(f"{len(groups) // 4}i", groups)
