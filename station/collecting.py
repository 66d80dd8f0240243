"""The configured collectors: fed with what is committed, kept over restarts, asked and decided on by people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from station.collector import Collector, Happening, Held, Result, Terms
from station.config import CollectorSettings, Config
from station.model import Mark, Reading, Record, WrongArgument, did_you_mean
from station.store import Store

KIND = "collector"
SNAPSHOT = timedelta(hours=6)  # between two records of a collector to which nothing happens
LOOK_BACK = tuple(timedelta(days=n) for n in (1, 40, 3660))  # for the last record: most starts find it in the last day


class Collectors:
    """Every [[collector]] of *config*; what happens goes to *event*, what must survive to *keep*.

    A record holds the collector's whole state.  It is kept with whatever happened, in one commit, and now and then
    besides; at a start the readings since are taken again.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        event: Callable[..., None],
        keep: Callable[[Record], None],
        started: datetime,
    ) -> None:
        self._event, self._keep, self._lock = event, keep, Lock()
        self._settings = {settings.name: settings for settings in config.collector}
        self._jars = {name: _collector(settings, config) for name, settings in self._settings.items()}
        self._points = _points(config)
        self._since: dict[str, datetime] = {}  # up to when the last record of each holds what was told
        self._seen: dict[tuple[str, str, str], datetime] = {}  # the newest told, by collector, device and parameter
        self._kept: dict[str, datetime] = {}
        for name, jar in self._jars.items():
            record = last_record(store, name, started)
            if record is not None:
                jar.restore(record.body["state"])
                self._since[name] = self._kept[name] = record.at
        if self._since:
            oldest = min(self._since.values())
            self.take(store.readings(oldest, started, store.reading_floor(oldest)))

    def take(self, readings: Iterable[Reading]) -> None:
        """Go on with *readings*, which are committed; only sound ones tell something."""
        sound = [r for r in readings if r.mark is Mark.N and r.value is not None]
        with self._lock:
            for reading in sorted(sound, key=lambda r: r.time):
                for name, jar in self._jars.items():
                    told = self._seen.get((name, reading.device, reading.parameter)) or self._since.get(name)
                    if told is None or reading.time > told:
                        self._tell(name, jar, reading)

    def decide(self, name: str, verb: str, user: str, at: datetime) -> None:
        """Have what a person decided kept; raise WrongArgument when it cannot be."""
        with self._lock:
            jar = self._named(name)
            try:
                happened = jar.decide(verb, at)
            except ValueError as error:
                raise WrongArgument(str(error)) from error
            self._note(name, jar, at, happened, user=user)

    def results(self, at: datetime) -> list[dict[str, Any]]:
        """What each collector has to say now."""
        with self._lock:
            return [
                {"name": name, "at": at.isoformat(), **as_json(jar.result(at), jar)} for name, jar in self._jars.items()
            ]

    def _named(self, name: str) -> Collector:
        if name not in self._jars:
            hint = did_you_mean(name, self._jars)
            raise WrongArgument(f'there is no collector "{name}"; known: {", ".join(self._jars)}{hint}')
        return self._jars[name]

    def _tell(self, name: str, jar: Collector, reading: Reading) -> None:
        settings, value = self._settings[name], reading.value
        assert value is not None
        match reading.device, reading.parameter:
            case settings.device, "collector_mass":
                happened = jar.weigh(reading.time, value)
            case settings.rain, "rain":
                happened = jar.rain(reading.time, value)
            case settings.temperature, "air_temperature":
                happened = jar.temperature(reading.time, value)
            case _:
                return
        self._seen[name, reading.device, reading.parameter] = reading.time
        if happened or reading.time - self._kept.setdefault(name, reading.time) >= SNAPSHOT:
            self._note(name, jar, reading.time, happened)

    def _note(self, name: str, jar: Collector, at: datetime, happened: Sequence[Happening], **more: str) -> None:
        for one in happened:
            self._event(one.at, one.code, collector=name, **one.arguments, **more)
        body = {"state": jar.state(), "result": as_json(jar.result(at), jar)}
        self._keep(Record(KIND, at, body, self._points.get(self._settings[name].device, ""), name))
        self._kept[name] = at


def last_record(store: Store, name: str, before: datetime) -> Record | None:
    """The newest record of collector *name*."""
    for back in LOOK_BACK:
        found = store.records(KIND, before - back, before + timedelta(seconds=1), device=name)
        if found:
            return found[-1]
    return None


def as_json(result: Result, jar: Collector) -> dict[str, Any]:
    """*result* as JSON carries it, with when the jar was tared."""
    held: Held | None = result.held
    return {
        "tared": jar.tare.at.isoformat() if jar.tare else None,
        "mass_mg": None if result.mass_g is None else round(result.mass_g * 1000, 2),
        "days": None if result.days is None else round(result.days, 1),
        "value": result.value,
        "doubt": result.doubt,
        "reportable": jar.cell.reportable,
        "held": held.code if held else None,
        "figures": dict(held.arguments) if held else {},
    }


def _collector(settings: CollectorSettings, config: Config) -> Collector:
    terms = Terms(
        diameter_cm=settings.diameter_cm,
        cell="balance" if force_compensated(settings, config) else "strain-gauge",
        dry_hours=settings.dry_hours,
        celsius=settings.celsius,
        band_kelvin=settings.band_kelvin,
        drift_mg=settings.drift_mg,
    )
    return Collector(terms, thermometer=bool(settings.temperature), gauge=bool(settings.rain))


def force_compensated(settings: CollectorSettings, config: Config) -> bool:
    """Whether a balance weighs: what speaks as one (the driver of instruments alone on their line), if nobody objects.

    A weighing transmitter on a bus is a strain gauge, and no setting makes it a balance.
    """
    drivers = {device.name: device.driver for bus in config.bus for device in bus.device}
    return drivers.get(settings.device) == "stream" and not settings.events_only


def _points(config: Config) -> Mapping[str, str]:
    return {
        device.name: device.points.get("collector_mass", device.point) for bus in config.bus for device in bus.device
    }
