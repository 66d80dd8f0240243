"""`station run`: the daemon.  Loads nothing that its configuration does not need."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from station import status
from station.clock import SystemClock
from station.config import Loaded, load
from station.control import ControlServer
from station.engine import Engine
from station.model import AlreadyRunning, ConfigError, StationError, StoreDamaged, StoreError
from station.store import Store, check_folder, suspect
from station.verbs import verbs

log = logging.getLogger(__name__)

EX_SOFTWARE, EX_INTERRUPTED = 70, 130


def main(arguments: Sequence[str]) -> int:
    """Run the station described by `--config FILE` until SIGTERM; the exit code."""
    path = Path(arguments[arguments.index("--config") + 1])
    _log_to_stderr()
    try:
        run(configured(path))
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


def configured(path: Path) -> Loaded:
    """The configuration in *path*; the one that ran last where *path* is cut short (station/lastgood.py)."""
    content = b""
    with suppress(OSError):
        content = path.read_bytes()
    loaded: Loaded | None = None
    try:
        loaded = load(path, content=content or None)
        good = loaded.good_file
        if not good.exists() or good.stat().st_size <= len(content):
            return loaded
    except ConfigError:
        pass  # what is wrong is said below, if no other holds
    from station.lastgood import instead  # only a file that is shorter than the last one, or faulty, pays for it

    return instead(path, content) or loaded or load(path)


def _keep_configuration(loaded: Loaded, engine: Engine) -> None:
    """The station has started: what it started with is the last good one; say so where *path* holds another."""
    good = loaded.good_file
    with suppress(OSError):
        if good.exists() and good.read_bytes() == loaded.content:
            if loaded.content != loaded.path.read_bytes():
                from station.lastgood import ADVICE

                log.error("%s: is cut short; %s", loaded.path, ADVICE)
                engine.note("config_cut_short", urgent=True, file=loaded.path.name)
            return
    from station.lastgood import keep

    keep(loaded)


def run(loaded: Loaded) -> None:
    """Run the station of *loaded* in this process and thread until it is asked to stop."""
    for warning in loaded.warnings:
        log.warning("%s", warning)
    check_folder(loaded.data_folder)
    with ExitStack() as stack:
        stack.enter_context(own_folder(loaded.data_folder))
        stack.enter_context(_damage_remembered(loaded.database))
        control = ControlServer(loaded.control_socket)  # whatever can be refused is, before anything is written
        stack.callback(control.close)
        pins = _pins(loaded, stack)
        engine = Engine(loaded, _store(loaded), SystemClock(), pins=pins)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: engine.ask_to_stop())
        control.start(verbs(engine))
        if pins is not None and pins.mock:
            engine.note("pins_are_mock", urgent=True)
        if loaded.content:
            _keep_configuration(loaded, engine)
        known = [sender.outbox.name for sender in engine.senders]
        for platform in status.orphans(engine.store, known, engine.clock.now()):
            log.warning("platform %s: %s (%d messages)", platform["name"], platform["error"], platform["owed"])
            engine.note("platform_not_configured", platform=platform["name"], owed=platform["owed"])
        log.info("station %s: %d devices, %d platforms, data in %s", loaded.config.station.name, len(engine.tasks),
                 len(engine.senders), loaded.data_folder)  # fmt: skip
        gc.freeze()  # what is loaded stays: the collector need not look at it again
        gc.enable()
        engine.run()
    log.info("station %s: stopped, everything committed", loaded.config.station.name)


def _store(loaded: Loaded) -> Store:
    """The store of *loaded*; a database that is damaged is put aside and replaced first."""
    if not suspect(loaded.database).exists():
        with suppress(StoreDamaged):
            return Store.open(loaded.database)
    from station import salvage  # only who needs it pays for it

    if salvage.begun(loaded.database)[0] is not None or not salvage.is_sound(loaded.database):
        salvage.recover(loaded, datetime.now(UTC))
    else:
        log.warning("%s: was said to be damaged, and all of it can be read", loaded.database)
        suspect(loaded.database).unlink(missing_ok=True)
    return Store.open(loaded.database)


@contextmanager
def _damage_remembered(database: Path) -> Iterator[None]:
    """Damage that ends the station makes its next start read all of *database*."""
    try:
        yield
    except StoreDamaged:
        with suppress(OSError):  # a disk that takes nothing any more: the damage is what is to be said
            suspect(database).touch()
        raise


def _pins(loaded: Loaded, stack: ExitStack) -> Any:
    """The board's pins, where the configuration has any; raise NoPins where it has and the board has not."""
    if not loaded.config.pinned:
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
