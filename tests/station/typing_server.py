"""Processes of `station` as fast as they can be had: one process loads everything once, and forks for each command.

A forked command is a process of its own, on the terminal that it is told, and may be killed like any other; only the
interpreter and the modules are not loaded again.  A request is a line of JSON on standard input, as are the answers.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import select
import signal
import sys
import termios
import traceback
from typing import Any

LOADED = (
    "station.cli", "station.cli_calibrate_desk", "station.calibration", "station.calibration_entry",
    "station.calibration_outcome", "station.calibration_standard", "station.config", "station.service",
    "station.store", "station.engine", "station.control", "station.verbs", "drivers.modbus", "drivers.bus",
    "station.parameters", "station.screen",
)  # fmt: skip
PIPE_LIMIT = 65536


def _become(asked: dict[str, Any]) -> None:
    """Run the command that was *asked* for in this (forked) process, and end with it."""
    from station.entry import main

    signal.set_wakeup_fd(-1)
    for name in (signal.SIGCHLD, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background begins without
    os.setsid()
    terminal = asked["terminal"]
    descriptor = os.open(terminal or asked["output"], os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    if terminal:
        fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    for standard in range(3):
        os.dup2(descriptor, standard)
    os.closerange(3, 256)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - to its end
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 - to its end
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 - to its end
    sys.argv = ["station", *asked["words"]]
    code = 1
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody is at the terminal any more
            code = code or 1
    os._exit(code)


def _told(**body: Any) -> None:
    os.write(1, json.dumps(body).encode() + b"\n")


def serve() -> None:
    """Fork for each line that comes; tell each process's number, and how it ended."""
    for module in LOADED:
        importlib.import_module(module)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _told(ready=True)
    rest = b""
    while True:
        ready, _, _ = select.select([0, reading], [], [])
        if reading in ready:
            os.read(reading, PIPE_LIMIT)
            _reap()
        if 0 in ready:
            data = os.read(0, PIPE_LIMIT)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _fork(json.loads(line))


def _fork(asked: dict[str, Any]) -> None:
    child = os.fork()
    if child == 0:
        _become(asked)
    _told(begun=child)


def _reap() -> None:
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if child == 0:
            return
        _told(ended=child, code=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve()
