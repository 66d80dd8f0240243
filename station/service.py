"""`station run`: the daemon.  Loads nothing that its configuration does not need."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from station import status
from station.clock import SystemClock
from station.config import Loaded, load
from station.control import ControlServer
from station.engine import Engine
from station.model import AlreadyRunning, StationError, StoreError
from station.store import Store, check_folder
from station.verbs import verbs

log = logging.getLogger(__name__)

EX_SOFTWARE, EX_INTERRUPTED = 70, 130


def main(arguments: Sequence[str]) -> int:
    """Run the station described by `--config FILE` until SIGTERM; the exit code."""
    path = Path(arguments[arguments.index("--config") + 1])
    _log_to_stderr()
    try:
        run(load(path))
    except StationError as error:
        for line in str(error).splitlines():
            log.error("%s", line)
        return error.exit_code
    except KeyboardInterrupt:
        return EX_INTERRUPTED  # before the station had begun; later SIGINT stops it in order
    except Exception as error:
        if sys.stderr.isatty():
            log.error(
                "the station stopped on an unforeseen error (%s: %s); please report it", type(error).__name__, error
            )
        else:
            log.exception("the station stopped on an unforeseen error")
        return EX_SOFTWARE
    return 0


def run(loaded: Loaded) -> None:
    """Run the station of *loaded* in this process and thread until it is asked to stop."""
    for warning in loaded.warnings:
        log.warning("%s", warning)
    check_folder(loaded.data_folder)
    with ExitStack() as stack:
        stack.enter_context(own_folder(loaded.data_folder))
        control = ControlServer(loaded.control_socket)  # whatever can be refused is, before anything is written
        stack.callback(control.close)
        pins = _pins(loaded, stack)
        engine = Engine(loaded, Store.open(loaded.database), SystemClock(), pins=pins)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: engine.ask_to_stop())
        control.start(verbs(engine))
        if pins is not None and pins.mock:
            engine.note("pins_are_mock", urgent=True)
        configured = [sender.outbox.name for sender in engine.senders]
        for platform in status.orphans(engine.store, configured, engine.clock.now()):
            log.warning("platform %s: %s (%d messages)", platform["name"], platform["error"], platform["owed"])
            engine.note("platform_not_configured", platform=platform["name"], owed=platform["owed"])
        log.info("station %s: %d devices, %d platforms, data in %s", loaded.config.station.name, len(engine.tasks),
                 len(engine.senders), loaded.data_folder)  # fmt: skip
        gc.freeze()  # what is loaded stays: the collector need not look at it again
        gc.enable()
        engine.run()
    log.info("station %s: stopped, everything committed", loaded.config.station.name)


def _pins(loaded: Loaded, stack: ExitStack) -> Any:
    """The board's pins, where the configuration has any; raise NoPins where it has and the board has not."""
    if not loaded.config.wired:
        return None
    pins = loaded.pins()
    stack.callback(pins.close)
    if pins.mock:
        log.warning("GPIOZERO_PIN_FACTORY=mock: no pin of this host is read or switched, all of them are stand-ins")
    return pins


def own_folder(folder: Path) -> IO[str]:
    """Own *folder* for as long as the file is open; the kernel lets go when the process ends."""
    path = folder / "station.lock"
    try:
        file = path.open("a+")
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened ({error.strerror}); check who owns the data folder") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise AlreadyRunning(f"{folder}: another station already runs on this data folder; stop it first") from error
    return file


def _log_to_stderr() -> None:
    """Plain lines; the journal adds the time itself."""
    form = "%(levelname)s %(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=form)
