"""The running station lends its lines to tools: one short exchange at a time, by the bus's own thread."""

from __future__ import annotations

import logging
import pwd
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, TypeVar

from drivers.asking import HARMLESS, WRITES, Answer, Ask, ask_of, perform
from drivers.base import DeviceSettings, DriverError
from drivers.bus import Bus
from drivers.port import LATENCY_TIMERS
from drivers.profile import Profile, Step, Write, load
from drivers.tap import Tap
from station.model import Reason, StationError, WrongArgument, did_you_mean

if TYPE_CHECKING:
    from station.engine import Engine
    from station.poller import Poller

log = logging.getLogger(__name__)

PATIENCE = 50.0  # seconds until a line that is never idle has lent itself
ACTION_SECONDS = 2.0  # what the steps of an action take, as a rule
QUESTION_SECONDS = 0.3  # and what it takes an instrument to show its coefficients, or its name
T = TypeVar("T")


class NotLent(StationError):
    """Error raised when a line was too busy to be lent."""

    exit_code = 69


class Protected(WrongArgument):
    """Error raised when a tool is about to write what only an action of the profile may change."""


def line(engine: Engine, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the line is and how it fares: its settings, its units by address, their statistics."""
    poller, bus = _found(engine, request)
    names = {task.settings.unit_id: task.device.name for task in poller.tasks if hasattr(task.settings, "unit_id")}
    return {
        "bus": bus.settings.name,
        "port": bus.settings.port,
        "speed": list(bus.own_speed),
        "devices": {str(unit): name for unit, name in names.items()},
        "units": {str(unit): counts.so_far() for unit, counts in list(bus.statistics.items())},
        "patience_ms": {str(unit): ms for unit, ms in _patience(engine, poller).items()},
        "silent": {str(unit): told for unit, name in names.items() if (told := _silence(engine, name))},
        "foreign": bus.foreign,
        "latency_ms": latency_ms(bus.settings.port),
    }


def _silence(engine: Engine, device: str) -> dict[str, Any] | None:
    """Since when *device* gives no reply at all, and how many polls that is; None while it answers in any way."""
    state = engine.recorder.state(device)
    if not state.failures or state.reason is not Reason.NO_REPLY:
        return None
    seconds = (engine.clock.now() - (state.last_reply or engine.started)).total_seconds()
    return {"seconds": round(max(0.0, seconds), 1), "polls": state.failures}


def ask(engine: Engine, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have a question asked that changes nothing; what else there is goes through poke."""
    poller, bus = _found(engine, request)
    question = _question(request)
    if question.function in WRITES:
        raise WrongArgument(f"function {question.function} writes; station bus poke does that")
    refuse_chorus(bus.settings.name, question.unit_id, len(poller.tasks))
    if question.function not in HARMLESS:
        refuse_private([task.settings for task in poller.tasks], engine.loaded.profile_folders, question)
        figures = {"unit_id": question.unit_id, "function": question.function, "data": question.data.hex(" ").upper()}
        engine.note("bus_raw", urgent=True, bus=bus.settings.name, **figures)
    return _asked(poller, bus, question).as_dict()


def poke(engine: Engine, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have registers written, once; an event says who, what, and with what reason."""
    poller, bus = _found(engine, request)
    question, override, uid = _question(request), str(request.get("override") or ""), request.get("user")
    if not isinstance(uid, int):
        raise WrongArgument("a write needs its user")
    if written(question) is None or not 1 <= question.unit_id <= 247:
        raise WrongArgument("poke writes with function 5, 6 or 16, to one unit (1 to 247)")
    refuse_protected([task.settings for task in poller.tasks], engine.loaded.profile_folders, question, override)
    answer = _asked(poller, bus, question)
    told = told_of_write(bus.settings.name, question, answer, user_name(uid), override)
    engine.note("bus_written", urgent=True, **told)
    log.warning("bus %s unit %d: %s wrote %s", told["bus"], told["unit_id"], told["user"], told["data"])
    return answer.as_dict()


def act(engine: Engine, device: str, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
    """What *device* says to *verb*: it calibrates itself, names itself, or shows or takes its coefficients."""
    for poller in engine.pollers:
        for task in poller.tasks:
            if task.device.name == device:
                takes = QUESTION_SECONDS if verb.startswith("read_") else ACTION_SECONDS
                return _lent(poller, lambda it=task.device: it.act(verb, arguments), takes)  # type: ignore[misc]
    raise WrongArgument(f'there is no device "{device}"')


def tell(engine: Engine, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have an instrument do what its profile says it can be told; an event says who told it, and what came of it."""
    name, verb, uid = str(request.get("device") or ""), str(request.get("action") or ""), request.get("user")
    for poller in engine.pollers:
        for task in poller.tasks:
            if task.device.name == name:
                refuse_untold(task.device, verb)
                if not isinstance(uid, int):
                    raise WrongArgument("telling an instrument needs its user")
                told = {"device": name, "verb": verb, "user": user_name(uid)}
                try:
                    _lent(poller, lambda it=task.device: it.act(verb, {}), ACTION_SECONDS)  # type: ignore[misc]
                except DriverError as error:
                    engine.note("instrument_told", urgent=True, **told, state=str(error))
                    raise
                engine.note("instrument_told", urgent=True, **told, state="done")
                return told
    raise WrongArgument(f'there is no device "{name}"')


def refuse_untold(device: Any, verb: str) -> None:
    """Raise WrongArgument where *device* cannot be told *verb* by hand."""
    known = tellable(device)
    if verb == "calibrate":
        raise WrongArgument(f"{device.name}: station calibrate does that, and keeps what came of it")
    if verb not in known:
        can = f"it can be told to {', '.join(known)}" if known else "it can be told nothing"
        raise WrongArgument(f"{device.name}: has no way to {verb}{did_you_mean(verb, known)}; {can}")


def tellable(device: Any) -> Sequence[str]:
    """What *device* can be told by hand: the verbs of its profile's actions, but calibrations, which leave records."""
    return [verb for verb in getattr(device, "actions", {}) if verb not in ("calibrate", "read_identity")]


def told_of_write(bus: str, question: Ask, answer: Answer, user: str, reason: str) -> dict[str, Any]:
    """What the event of a write says."""
    return {
        "bus": bus,
        "unit_id": question.unit_id,
        "function": question.function,
        "data": question.data.hex(" ").upper(),
        "state": answer.state,
        "user": user,
        "reason": reason,
    }


def frames(engine: Engine, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bytes on the line numbered above `after`; noted for as long as one asks."""
    poller, bus = _found(engine, request)
    tap: Tap | None = bus.tap
    if tap is None or not tap.wanted:
        tap = Tap(bus.monotonic, idle=lambda: bus.watch(None))
        tap.look(0)
        _lent(poller, lambda: bus.watch(tap), 0.0)
    now = engine.clock.now().timestamp() - bus.monotonic()
    return [
        {"number": seen.number, "at": round(now + seen.at, 4), "way": seen.way, "data": seen.data.hex()}
        for seen in tap.look(int(request.get("after") or 0))
    ]


def refuse_protected(
    devices: Sequence[DeviceSettings], folders: Sequence[Path], question: Ask, override: str | None
) -> None:
    """Raise Protected where *question* writes what the profile of a configured instrument protects."""
    for settings in devices:
        name = getattr(settings, "profile", None)
        if name is None or getattr(settings, "unit_id", None) != question.unit_id or override:
            continue
        profile: Profile = load(name, folders).chosen(getattr(settings, "variant", None))
        write = written(question)
        if write is not None and profile.protects(write):
            raise Protected(
                f"{settings.name}: {write.text} would change what profile {profile.name} protects"
                " (calibration, address or line settings); give --override REASON if that is meant"
            )


def refuse_chorus(bus: str, unit_id: int, instruments: int) -> None:
    """Raise WrongArgument where several instruments would answer at once."""
    if not 1 <= unit_id <= 247 and instruments > 1:
        raise WrongArgument(
            f"address {unit_id} is answered by every instrument of {bus} at once"
            f" ({instruments} of them); only a lonely one can be asked so"
        )


def refuse_private(devices: Sequence[DeviceSettings], folders: Sequence[Path], question: Ask) -> None:
    """Raise Protected where *question*, of a code of the maker's own, does what only an action of a profile may."""
    sent = Step(do="raw", function=question.function, data=question.data)
    for settings in devices:
        name = getattr(settings, "profile", None)
        if name is None or getattr(settings, "unit_id", None) != question.unit_id:
            continue
        profile: Profile = load(name, folders).chosen(getattr(settings, "variant", None))
        if profile.protects(sent):
            raise Protected(
                f"{settings.name}: function {question.function} does what profile {profile.name} lets only an"
                f" action do; station bus tell {settings.name} asks before it does"
            )


def written(question: Ask) -> Write | None:
    """The write that *question* is, or None."""
    address = int.from_bytes(question.data[:2], "big")
    if question.function in (5, 6):
        return Write(function=question.function, address=address, values=(int.from_bytes(question.data[2:4], "big"),))
    if question.function == 16:
        words = question.data[5:]
        values = tuple(int.from_bytes(words[i : i + 2], "big") for i in range(0, len(words), 2))
        return Write(function=16, address=address, values=values)
    return None


def latency_ms(port: str) -> int | None:
    """How long the USB adapter behind *port* holds bytes, where it says so."""
    try:
        return int((LATENCY_TIMERS / Path(port).resolve().name / "latency_timer").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _patience(engine: Engine, poller: Poller) -> dict[int, float]:
    found: dict[int, float] = {}
    for task in poller.tasks:
        if hasattr(task.settings, "profile") and hasattr(task.settings, "unit_id"):
            found[task.settings.unit_id] = load(task.settings.profile, engine.loaded.profile_folders).worst_reply_ms
    return found


def _found(engine: Engine, request: Mapping[str, Any]) -> tuple[Poller, Bus]:
    name = request.get("bus")
    poller = next((p for p in engine.pollers if p.bus_name == name), None)
    bus = engine.lines.get(str(name))
    if poller is None or not isinstance(bus, Bus):
        raise WrongArgument(f'there is no bus "{name}"; known: {", ".join(engine.lines) or "none"}')
    return poller, bus


def _question(request: Mapping[str, Any]) -> Ask:
    try:
        return ask_of(request.get("question") or {})
    except ValueError as error:
        raise WrongArgument(str(error)) from error


def _asked(poller: Poller, bus: Bus, question: Ask) -> Answer:
    return _lent(poller, lambda: perform(bus, question), question.seconds(bus.own_speed))


def _lent(poller: Poller, errand: Callable[[], T], seconds: float) -> T:
    """What *errand* returns, done by the bus's thread where no poll has to wait *seconds* for it."""
    done, found, turn = Event(), list[Any](), Lock()
    begun = given_up = False

    def carry_out() -> None:
        nonlocal begun
        with turn:
            begun = not given_up
        if not begun:
            return  # nobody waits for it any more, and a write comes at its time or not at all
        try:
            found.append(errand())
        except StationError as error:
            found.append(error)
        finally:
            done.set()

    poller.lend(carry_out, seconds)
    if not done.wait(PATIENCE):
        with turn:
            given_up = not begun
        if given_up:
            raise NotLent(f"{poller.bus_name}: the line was busy for {PATIENCE:g} s")
        done.wait()  # it is under way: whoever asked is told what came of it, and so is the record
    if isinstance(found[0], StationError):
        raise found[0]
    result: T = found[0]
    return result


def user_name(uid: int) -> str:
    """Who that is."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
