"""`station run`: the daemon.  Loads nothing that its configuration does not need."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from station import marks, status
from station.clock import EPOCH, SystemClock
from station.config import Loaded, load
from station.control import ControlServer, Verb
from station.engine import Engine
from station.model import AlreadyRunning, Kind, Record, StationError, StoreError, WrongArgument, asdict
from station.records import PERIODIC, TOLD
from station.store import Store, check_folder

if TYPE_CHECKING:
    from station.linkage import Linkage

log = logging.getLogger(__name__)

EX_SOFTWARE, EX_INTERRUPTED = 70, 130
FOREVER = datetime.max.replace(tzinfo=UTC)
LONGEST_ORDER = 30 * 86400  # seconds a person's word about an output may hold


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


def verbs(engine: Engine) -> dict[str, Any]:
    """What tools may ask of a running station."""

    def read(request: Mapping[str, Any]) -> Any:
        return status.read_device(engine, str(request.get("device", "")))

    def commit(request: Mapping[str, Any]) -> Any:
        engine.committed()
        return {"error": engine.store_error}

    def resend(request: Mapping[str, Any]) -> Any:
        """Queue messages again: platform, from, to (ISO 8601, to excluded), kinds; how many that adds."""
        outbox = engine.outboxes.get(str(request.get("platform")))
        if outbox is None:
            raise WrongArgument(f"there is no such platform; known: {', '.join(engine.outboxes) or 'none'}")
        start, end = (_moment(request, name) for name in ("from", "to"))
        words = request.get("kinds") or PERIODIC
        if not isinstance(words, Sequence) or not all(word in (*PERIODIC, *TOLD) for word in words):
            raise WrongArgument(f"kinds are {', '.join((*PERIODIC, *TOLD))}")
        return {"queued": outbox.resend(start, end, [Kind[word.upper()] for word in words])}

    def trace(request: Mapping[str, Any]) -> Any:
        """Frames of a platform's link numbered above `after`, secrets masked; noted for as long as one asks."""
        sender = next((s for s in engine.senders if s.outbox.name == request.get("platform")), None)
        if sender is None:
            raise WrongArgument(f"there is no such platform; known: {', '.join(engine.outboxes) or 'none'}")
        tap = getattr(sender.uplink, "tap", None)
        if tap is None:
            raise WrongArgument(f"{sender.outbox.name}: this protocol shows no frames")
        after = request.get("after") or 0
        if not isinstance(after, int):
            raise WrongArgument("after is the number of a frame")
        return [seen._asdict() for seen in tap.look(after)]

    def gaps(request: Mapping[str, Any]) -> Any:
        """What a platform does not have from .. to, as committed just now, and its completeness."""
        from station import ledger  # only who asks pays for it

        engine.committed()
        start, end = (_moment(request, name) for name in ("from", "to"))
        asked = (engine.store, str(request.get("platform")), start, end, engine.clock.now(), engine.loaded.zone)
        return {
            "gaps": [{**asdict(gap), "kind": gap.kind.name.lower()} for gap in ledger.gaps(*asked)],
            "rows": [{**asdict(row), "kind": row.kind.name.lower()} for row in ledger.completeness(*asked)],
        }

    one_entry = Lock()  # two technicians at once: the second is checked against what the first has entered

    def make_durable(see: str, *entries: Record) -> None:
        """Return when *entries* are committed; what the disk refuses is taken back, so that a refusal is one."""
        engine.keep(*entries, urgent=True)
        if engine.committed():
            return
        why = engine.store_error or "the station did not commit in time"
        if engine.recorder.withdraw(entries):
            raise StoreError(f"{why}; nothing was entered")
        raise StoreError(f"{why}; it is entered as soon as that is possible, see station {see}")

    def enter(request: Mapping[str, Any]) -> Any:
        """Keep an entry of the field book, committed when this returns."""
        from station.fieldbook import enter_dustfall

        with one_entry:
            points = [point.code for point in engine.config.point]
            keep = partial(make_durable, "dustfall list")
            now, zone = engine.clock.now(), engine.loaded.zone
            made = enter_dustfall(engine.store, keep, _fields(request), points, now, zone)
            engine.note("dustfall", urgent=True, do=made.body["do"], name=made.body["name"], user=made.body["user"])
        return dict(made.body)

    issued = 0  # marks by hand named so far, also those that wait for a commit

    def set_mark(request: Mapping[str, Any]) -> Any:
        """Keep a mark by hand, committed when this returns; what is closed already follows by itself."""
        nonlocal issued
        with one_entry:
            points = {point.code: point for point in engine.config.point}
            book, fields = engine.periods.marks, _fields(request)
            number = max(issued + 1, book.next_number)
            made = marks.enter(book, fields, points, engine.clock.now(), number)
            issued = number if made.body["do"] == "mark" else issued
            make_durable("marks list", made)
            engine.note("mark_by_hand", urgent=True, point=made.point, **made.body)
        return dict(made.body)

    def calibrate(request: Mapping[str, Any]) -> Any:
        """Keep an entry of a calibration with its mark, committed when this returns; coefficients then hold at once."""
        nonlocal issued
        from station.fieldbook import enter_calibration

        with one_entry:
            fields, number = _fields(request), max(issued + 1, engine.periods.marks.next_number)
            made = enter_calibration(engine.store, engine.loaded, fields, engine.clock.now(), engine.trust(), number)
            body = made[0].body
            if body["do"] == "act":  # kept once the instrument has obeyed; where it has not, it is told again
                from station import lend
                from station.fieldbook import told_to_act

                lend.act(engine, *told_to_act(engine.store, made[0]))
            issued = number if body["do"] == "begin" else issued
            engine.keep(*made, urgent=True)
            told = {key: body[key] for key in ("parameter", "procedure", "coefficients", "verdict") if key in body}
            engine.note(
                "calibration", urgent=True, do=body["do"], name=body["name"], device=made[0].device,
                user=body["user"], **told,
            )  # fmt: skip
            if not engine.committed():
                raise StoreError(
                    engine.store_error or "the station did not commit in time; see station calibrations list"
                )
        return dict(body)

    def alarms(request: Mapping[str, Any]) -> Any:
        """How every alarm stands; with action ack and fields, a person's word about one, committed first."""
        if engine.alarms is None:
            return []
        if request.get("action") == "ack":
            with one_entry:
                made = engine.alarms.acknowledge(request.get("fields") or {}, engine.clock.now())
                if not engine.committed():
                    raise StoreError(engine.store_error or "the station did not commit in time; see station alarms")
            return {"name": made.device, **made.body}
        return engine.alarms.states()

    def city(request: Mapping[str, Any]) -> Any:
        """Keep hours of the city's air that a person entered, committed when this returns."""
        from station.city import by_hand

        with one_entry:
            rows, who = request.get("rows") or [], str(request.get("person") or "")
            made = by_hand(engine.store, rows, who, engine.loaded.zone, engine.clock.now())
            for record in made:
                engine.keep(record, urgent=True)
            if made:
                engine.note("city_by_hand", urgent=True, hours=len(made), first=made[0].at, user=who)
            if not engine.committed():
                raise StoreError(engine.store_error or "the station did not commit in time; see station city list")
        return {"kept": len(made)}

    ordered = 0  # orders named so far, also those that wait for a commit

    def order(request: Mapping[str, Any]) -> Any:
        """Keep an entry about a dispatch order, committed when this returns."""
        nonlocal ordered
        from station import orders

        with one_entry:
            points = {point.code: point for point in engine.config.point}
            book = orders.Orders(engine.store.records(orders.KIND, EPOCH, FOREVER))
            number = max(ordered + 1, book.next_number)
            made = orders.enter(book, _fields(request), points, engine.clock.now(), number)
            ordered = number if made.body["do"] == "add" else ordered
            engine.keep(made, urgent=True)
            engine.note("order", urgent=True, **made.body)
            if not engine.committed():
                raise StoreError(engine.store_error or "the station did not commit in time; see station order list")
        return dict(made.body)

    def collector(request: Mapping[str, Any]) -> Any:
        """What the collectors say; with name, decision and by, a person's decision about one, committed first."""
        if engine.collectors is None:
            raise WrongArgument("there is no [[collector]] in station.toml")
        if "decision" in request:
            name, verb, by = (str(request.get(key) or "") for key in ("name", "decision", "by"))
            engine.collectors.decide(name, verb, by, engine.clock.now())
            if not engine.committed():
                raise StoreError(engine.store_error or "the station did not commit in time; see station collector show")
        return engine.collectors.results(engine.clock.now())

    def output(request: Mapping[str, Any]) -> Any:
        """What outputs do, or a person's order for one: name, seconds, reason, person."""
        linkage = _linkage(engine)
        if request.get("action") == "list":
            return linkage.live()
        words = (str(request.get(key) or "") for key in ("action", "name", "reason", "person"))
        action, name, reason, person = words
        found = linkage.order(action, name, _duration(request), reason, person, request.get("user"))
        if not engine.committed():
            raise StoreError(f"{name}: done, and not on record yet ({engine.store_error or 'the commit takes long'})")
        return found

    def pin(request: Mapping[str, Any]) -> Any:
        """With mock pins alone: do to an input what its wire would (active, inactive or tip)."""
        return _linkage(engine).drive(str(request.get("name") or ""), str(request.get("action") or ""))

    def lent(name: str) -> Verb:
        """What tools do on a line that is lent to them."""

        def carry_out(request: Mapping[str, Any]) -> Any:
            from station import lend  # only who asks pays for it

            return getattr(lend, name)(engine, request)

        return carry_out

    return {
        "alarms": alarms,
        "calibrate": calibrate,
        "city": city,
        "collector": collector,
        "order": order,
        "dustfall": enter,
        "marks": set_mark,
        "status": lambda request: status.live(engine),
        "read": read,
        "commit": commit,
        "resend": resend,
        "trace": trace,
        "gaps": gaps,
        "output": output,
        "pin": pin,
        **{name: lent(name) for name in ("line", "ask", "poke", "frames")},
    }


def _duration(request: Mapping[str, Any]) -> float | None:
    """How long an order holds, in seconds; None where nothing is said."""
    seconds = request.get("seconds")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_ORDER:
        raise WrongArgument(f"an order holds for 1 to {LONGEST_ORDER} seconds; a lock without a time holds for good")
    return float(seconds)


def _fields(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an entry consists of, by name."""
    fields = request.get("fields") or {}
    if not isinstance(fields, Mapping):
        raise WrongArgument("the fields of an entry are names with values")
    return fields


def _linkage(engine: Engine) -> Linkage:
    if engine.linkage is None:
        raise WrongArgument("the configuration has no input, output or rule")
    return engine.linkage


def _moment(request: Mapping[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(request.get(name)))
    except ValueError as error:
        raise WrongArgument(f"{name} is not a time such as 2026-03-01T08:00:00+08:00") from error
    if moment.tzinfo is None:
        raise WrongArgument(f"{name} needs its offset from UTC")
    return moment


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
