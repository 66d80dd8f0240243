"""What a station is doing, as plain data: for the status screen, the control socket and --json."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from station.model import Reading, Sample, StationError, WrongArgument
from station.outbox import OWED, State
from station.parameters import catalogue
from station.store import SEQUENCE_BITS

if TYPE_CHECKING:
    from station.engine import Engine
    from station.store import Store

SILENT_DAYS = timedelta(days=7)  # how far back the last reply of a silent instrument is looked for
READ_PATIENCE = 20.0  # seconds a borrowed reading may take


class NoSuchDevice(WrongArgument):
    """Error raised when a device is asked for that the configuration does not have."""


class ReadFailed(StationError):
    """Error raised when a borrowed reading could not be had."""

    exit_code = 69


def live(engine: Engine) -> dict[str, Any]:
    """Everything about the running *engine*."""
    now = engine.clock.now()
    return {
        "station": engine.config.station.name,
        "running": True,
        "time": now.isoformat(),
        "started": engine.started.isoformat(),
        "trust": engine.trust(),
        "store": {
            "file": engine.store.where,
            "readings": engine.store.newest("reading"),
            "taken": engine.recorder.taken,
            "error": engine.store_error,
            **({} if engine.room is None else {"free_bytes": engine.room.free, "low": engine.room.low}),
            **sizes(engine.store),
        },
        "clock": _clock(engine),
        "backup": last_backup(engine.store),
        "seal": _seal(engine.store),
        "silent_threads": engine.watchdog.silent(),
        "devices": [_device(engine, name, now) for name in engine.tasks],
        "platforms": [
            *(_platform(sender, now) for sender in engine.senders),
            *orphans(engine.store, [sender.outbox.name for sender in engine.senders], now),
        ],
        **({} if engine.alarms is None else {"alarms": engine.alarms.states()}),
        **({} if engine.checking is None else {"qc": engine.checking.rows(now)}),
        **({} if engine.telling is None else {"people": engine.telling.shown()}),
        **({"beside": [one.shown() for one in engine.beside]} if engine.beside else {}),
        **({} if engine.linkage is None else {"pins": engine.linkage.live()}),
        **({} if engine.maintaining is None else {"field": engine.maintaining.live()}),
    }


def _clock(engine: Engine) -> dict[str, Any]:
    """What the time is known by, what waits because it is not, and the clocks of the platforms against it."""
    waiting, clocks = engine.waiting, engine.desk.clocks
    return {
        "trust": engine.time.trust(),
        "waits": engine.time.waits,
        "waiting_seconds": round(engine.time.waiting_seconds),
        "doubt": engine.time.against,
        "waiting": 0 if waiting is None else waiting.count(),
        "platforms": {} if clocks is None else clocks.shown(),
    }


def _device(engine: Engine, name: str, now: datetime) -> dict[str, Any]:
    state = engine.recorder.state(name)
    values = [
        value(reading, now) | {"current": engine.is_current(name, parameter), "mark": _mark(engine, reading)}
        for (device, parameter), reading in list(engine.recorder.current.items())
        if device == name
    ]
    return {
        "name": name,
        "bus": next(p.bus_name for p in engine.pollers if any(t.device.name == name for t in p.tasks)),
        "answers": state.last_reply is not None and not state.failures,
        "last_reply": state.last_reply.isoformat() if state.last_reply else None,
        "missed": state.missed,
        "reason": state.reason.name.lower() if state.failures else "",
        "error": state.error,
        "notes": _notes(engine.tasks[name].device),
        "line": engine.tasks[name].line(),
        "values": values,
    }


def _notes(device: Any) -> list[str]:
    """What an instrument says of itself, and what is uncertain about how it is read."""
    return [*getattr(device, "conditions", ()), *getattr(device, "hints", ())]


def _mark(engine: Engine, reading: Reading) -> str:
    """The mark that counts: the stored one, or a worse one that a person set."""
    return engine.periods.marks.mark(reading.point, reading.parameter, reading.time, reading.mark).name


def value(reading: Reading, now: datetime) -> dict[str, Any]:
    """One reading with its unit, mark and age in seconds."""
    known = catalogue().get(reading.parameter)
    return {
        "point": reading.point,
        "parameter": reading.parameter,
        "value": reading.value,
        "raw": reading.raw,
        "unit": known.unit if known else "",
        "mark": reading.mark.name,
        "own_mark": reading.mark.name,
        "reason": reading.reason.name.lower() if reading.reason else "",
        "time": reading.time.isoformat(),
        "age_seconds": round((now - reading.time).total_seconds(), 1),
    }


def _platform(sender: Any, now: datetime) -> dict[str, Any]:
    depth = sender.outbox.depth()
    up = sender.outbox.connected_at
    return {
        "name": sender.outbox.name,
        "connected": up is not None,
        "connected_since": up.isoformat() if up else None,
        "owed": depth.owed,
        "oldest_seconds": round((now - depth.oldest).total_seconds(), 1) if depth.oldest else None,
        "answered": depth.answered,
        "unconfirmed": depth.unconfirmed,
        "parked": depth.parked,
        "dropped": depth.dropped,
        "error": sender.outbox.complaint if up else sender.error,
        "next_try": again.isoformat() if (again := sender.outbox.next_try) else None,
    }


def read_device(engine: Engine, name: str) -> list[dict[str, Any]]:
    """One reading of device *name*, taken by its bus's thread between two polls; the record is not touched."""
    poller = next((p for p in engine.pollers if any(t.device.name == name for t in p.tasks)), None)
    if poller is None:
        raise NoSuchDevice(f'there is no device "{name}"; known: {", ".join(engine.tasks)}')
    done, found = Event(), list[Any]()

    def errand() -> None:
        try:
            found.append(poller.read_now(name))
        except StationError as error:
            found.append(error)
        finally:
            done.set()

    poller.submit(errand)
    if not done.wait(READ_PATIENCE):
        raise ReadFailed(f"{name}: the bus was busy for {READ_PATIENCE:g} s")
    if isinstance(found[0], StationError):
        raise failed(name, found[0])
    return [sample(one) for one in found[0]]


def failed(name: str, error: StationError) -> ReadFailed:
    """*error* as what came of reading device *name*, which it need not know."""
    said = str(error)
    return ReadFailed(said if said.startswith(f"{name}:") else f"{name}: {said}")


def sample(one: Sample) -> dict[str, Any]:
    """One sample with its unit and mark."""
    known = catalogue().get(one.parameter)
    return {
        "parameter": one.parameter,
        "value": one.value,
        "unit": known.unit if known else "",
        "mark": one.mark.name,
        "reason": one.reason.name.lower() if one.reason else "",
        "time": one.time.isoformat(),
    }


def stored(store: Store, now: datetime) -> dict[str, Any]:
    """What the database alone says, while no station runs: the newest reading of each series, what is owed."""
    newest: dict[str, list[dict[str, Any]]] = {}
    for reading in last_readings(store):
        newest.setdefault(reading.device, []).append(value(reading, now) | {"current": False})
    return {
        "running": False,
        "time": now.isoformat(),
        "store": {"file": store.where, "readings": store.newest("reading"), "taken": 0, "error": "", **sizes(store)},
        "devices": [
            {
                "name": name,
                "bus": "",
                "answers": False,
                "last_reply": _last_reply(store, name, values),
                "missed": 0,
                "error": "",
                "notes": [],
                "values": values,
            }
            for name, values in newest.items()
        ],
        "platforms": stored_platforms(store, now, {}),
        "backup": last_backup(store),
        "seal": _seal(store),
    }


def sizes(store: Store) -> dict[str, Any]:
    """What the database and the files of its months take, what is free inside (bytes), and what its readings span."""
    ((size,),), ((pages,),), ((unused,),) = (
        store.query(f"PRAGMA {name}") for name in ("page_size", "page_count", "freelist_count")
    )
    oldest, newest = store.oldest_reading(), store.newest_time()
    return {
        "bytes": size * pages,
        "inside": size * unused,
        "archive": _archived(Path(store.where).parent / "archive"),
        "oldest": oldest.isoformat() if oldest else None,
        "newest": newest.isoformat() if newest else None,
    }


def _archived(folder: Path) -> int:
    """Bytes of the files of closed months (station/months.py)."""
    try:
        return sum(path.stat().st_size for path in folder.glob("*.db"))
    except OSError:
        return 0  # one goes just now, or the folder cannot be read


def last_backup(store: Store) -> dict[str, Any] | None:
    """The newest copy of the database that was taken and read back: its time, path, size in bytes."""
    newest = store.newest_records("backup", "kind")
    return {"time": newest[0].at.isoformat(), **newest[0].body} if newest else None


def _seal(store: Store) -> dict[str, Any] | None:
    """The newest head of the sealed blocks: epoch, head, at_ms, keyed."""
    from station.sealing import shown  # only who looks pays for it

    return shown(store)


def _last_reply(store: Store, name: str, values: Sequence[Mapping[str, Any]]) -> str | None:
    """When *name* last brought a value, though its newest rows may say that it is silent; of the last days before."""
    newest = datetime.fromisoformat(max(v["time"] for v in values))
    last = store.last_time(name, newest - SILENT_DAYS)
    return last.isoformat() if last else None


def stored_platforms(store: Store, now: datetime, configured: Container[str]) -> list[dict[str, Any]]:
    """What the database says of the platforms that are not among the *configured* ones."""
    rows = store.query("SELECT id, name, live, answered, unconfirmed, dropped FROM platform ORDER BY id")
    return [_stored_platform(store, row, now) for row in rows if row[1] not in configured]


def _stored_platform(store: Store, row: Sequence[Any], now: datetime) -> dict[str, Any]:
    number, name, at, answered, unconfirmed, dropped = row
    spans = store.query("SELECT first, last, state, kinds FROM span WHERE platform = ?", (number,))
    owed = [(first, until, kinds) for first, until, state, kinds in spans if State(state) in OWED]
    owed.append((max(at, number << SEQUENCE_BITS) + 1, store.newest_message(number), -1))
    counted = "SELECT count(*), min(start_ms) FROM message WHERE id BETWEEN ? AND ? AND (1 << kind) & ?"
    counts = [store.query(counted, one)[0] for one in owed]
    oldest = min((ms for _, ms in counts if ms is not None), default=None)
    return {
        "name": name,
        "connected": False,
        "connected_since": None,
        "owed": sum(count for count, _ in counts),
        "oldest_seconds": None if oldest is None else round(now.timestamp() - oldest / 1000, 1),
        "answered": answered,
        "unconfirmed": unconfirmed,
        "parked": sum(u - f + 1 for f, u, state, _ in spans if state == State.PARKED),
        "dropped": dropped,
        "error": "",
        "next_try": None,
    }


def orphans(store: Store, configured: Container[str], now: datetime) -> list[dict[str, Any]]:
    """Platforms that are owed something and are not among the *configured* ones: a renamed or removed [[uplink]]."""
    error = "not in the configuration; what it is owed is kept"
    found = stored_platforms(store, now, configured)
    return [platform | {"error": error} for platform in found if platform["owed"]]


def last_readings(store: Store, look_back: int = 20000) -> list[Reading]:
    """The newest reading of every series among the last *look_back*."""
    rows = store.query(
        "SELECT series, max(id) FROM reading WHERE id > ? GROUP BY series", (store.newest("reading") - look_back,)
    )
    found: dict[tuple[str, str], Reading] = {}
    for _, number in rows:
        for reading in store.readings_by_id(number, number):
            known = found.get((reading.device, reading.parameter))
            if known is None or known.time < reading.time:
                found[reading.device, reading.parameter] = reading
    return [found[key] for key in sorted(found)]
