"""How a tool gets at a line: through the running station, which lends it between two polls, or by opening the port."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from station.command_line import ask_station, read_config
from station.i18n import t
from station.model import ConfigError, WrongArgument, did_you_mean
from station.texts import config_option, option

if TYPE_CHECKING:
    from drivers.asking import Answer, Ask
    from drivers.base import BusSettings, DeviceSettings
    from drivers.bus import Bus
    from drivers.port import Speed
    from station.config import Loaded

_F = TypeVar("_F", bound=Callable[..., Any])
BAUDRATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
MASTERS = 3  # sound frames that nobody here asked for
LOAN_PATIENCE = 60.0  # seconds a busy line may take until it lends itself


def line_options(function: _F) -> _F:
    """The options that say which line, and how it is spoken on where no configuration says so."""
    for add in (
        option("--stopbits", key="stopbits", type=click.IntRange(1, 2)),
        option("--parity", key="parity", type=click.Choice(["N", "E", "O"])),
        option("--baudrate", key="baudrate", type=click.Choice([str(rate) for rate in BAUDRATES])),
        config_option,
    ):
        function = add(function)
    return function


class Alone:
    """A line whose port this process opened itself."""

    shared = False

    def __init__(
        self,
        settings: BusSettings,
        devices: tuple[DeviceSettings, ...] = (),
        folders: tuple[Path, ...] = (),
        loaded: Loaded | None = None,
    ) -> None:
        from drivers.bus import Bus

        self.folders, self.loaded = folders, loaded
        self.name, self.settings, self.devices = settings.name, settings, devices
        self.bus: Bus = Bus(settings)
        self.speed: Speed = self.bus.own_speed
        for device in devices:
            if hasattr(device, "unit_id") and hasattr(device, "speed"):
                self.bus.speeds[device.unit_id] = device.speed(settings)

    def ask(self, question: Ask) -> Answer:
        """Have it asked, here and now; not what several would answer, nor what only an action may do."""
        from drivers.asking import HARMLESS, WRITES, perform
        from station.lend import refuse_chorus, refuse_private

        refuse_chorus(self.name, question.unit_id, len(self.devices))
        if question.function not in (*HARMLESS, *WRITES):
            refuse_private(self.devices, self.folders, question)
        return perform(self.bus, question)

    def poke(self, question: Ask, override: str | None) -> Answer:
        """Write; a protected register of a configured instrument only with a reason.  The database remembers it."""
        from station.lend import refuse_protected, told_of_write, user_name

        refuse_protected(self.devices, self.folders, question, override)
        answer = self.ask(question)
        if self.loaded is not None and self.loaded.database.exists():
            told = told_of_write(self.name, question, answer, user_name(os.getuid()), override or "")
            remember(self.loaded, "bus_written", told)
        return answer

    def close(self) -> None:
        """Let go of the port."""
        self.bus.close()


class Shared:
    """A line of the running station, lent for one exchange at a time."""

    shared = True

    def __init__(self, loaded: Loaded, settings: BusSettings, devices: tuple[DeviceSettings, ...]) -> None:
        from drivers.port import Speed

        self.name, self.settings, self.devices = settings.name, settings, devices
        self.speed = Speed(settings.baudrate, settings.parity, settings.stopbits)
        self.folders = loaded.profile_folders
        self._loaded = loaded

    def ask(self, question: Ask) -> Answer:
        """Have it asked by the bus's own thread, between two polls."""
        from drivers.asking import answer_of

        return answer_of(self.call("ask", question=question.as_dict()))

    def poke(self, question: Ask, override: str | None) -> Answer:
        """Have it written by the bus's own thread; the station refuses, or logs it with the user."""
        from drivers.asking import answer_of

        return answer_of(self.call("poke", question=question.as_dict(), override=override, user=0))

    def call(self, verb: str, **arguments: Any) -> Any:
        """What the running station answers to *verb* about this line."""
        from station.control import NotRunning

        found = ask_station(self._loaded, verb, timeout=LOAN_PATIENCE, bus=self.name, **arguments)
        if found is None:
            raise NotRunning(f"{self._loaded.control_socket}: the station has stopped meanwhile; ask again")
        return found

    def close(self) -> None:
        """Nothing: the port is the station's."""


Reached = Alone | Shared


@contextmanager
def reached(
    name: str,
    config: Path,
    baudrate: str | None = None,
    parity: str | None = None,
    stopbits: int | None = None,
    shipped: Speed | None = None,
) -> Iterator[Reached]:
    """The line called *name* in the configuration, or the port of that name; given back at the end.

    A port that no configuration has is spoken on as given, else as *shipped*, else 9600 8N1.
    """
    line = _reach(name, config, {"baudrate": int(baudrate or 0), "parity": parity, "stopbits": stopbits}, shipped)
    try:
        yield line
    finally:
        line.close()
        if isinstance(line, Alone) and line.bus.foreign >= MASTERS:
            print(t("bus.two_masters"), file=sys.stderr)


def _reach(name: str, config: Path, wanted: Mapping[str, Any], shipped: Speed | None) -> Reached:
    from drivers.base import BusSettings

    loaded = _configuration(config, needed="/" not in name)
    known = {bus.name: bus for bus in loaded.config.bus} if loaded else {}
    bus = known.get(name) or next((b for b in known.values() if _same_port(b.port, name)), None)
    if bus is not None and loaded is not None:
        if ask_station(loaded, "line", bus=bus.name) is not None:
            if _with(bus, wanted) != bus:
                speed = f"{bus.baudrate} 8{bus.parity}{bus.stopbits}"
                raise WrongArgument(f"{bus.name}: the running station speaks at {speed}; stop it to speak otherwise")
            return Shared(loaded, bus, bus.device)
        return Alone(_with(bus, wanted), bus.device, loaded.profile_folders, loaded)
    if "/" not in name and not Path(name).exists():
        hint = did_you_mean(name, known)
        raise WrongArgument(f'there is no bus "{name}"{hint}; known: {", ".join(known) or "none"}, or name a port')
    usual = BusSettings(name=name, port=name)
    if shipped is not None:
        usual = _with(usual, shipped._asdict())
    return Alone(_with(usual, wanted), (), (config.resolve().parent / "profiles",))


def remember(loaded: Loaded, code: str, told: Mapping[str, Any]) -> None:
    """Keep an event in the database of a station that does not run."""
    from station.service import own_folder
    from station.store import Event, Store

    with own_folder(loaded.data_folder), closing(Store.open(loaded.database)) as store, store.transaction():
        store.add_events([Event(datetime.now(UTC), code, told)])


def _with(settings: BusSettings, wanted: Mapping[str, Any]) -> BusSettings:
    from station.model import replace

    return replace(settings, **{key: value for key, value in wanted.items() if value})


def _same_port(port: str, name: str) -> bool:
    return port == name or ("/" in name and Path(port).resolve() == Path(name).resolve())


def _configuration(config: Path, *, needed: bool) -> Loaded | None:
    """The configuration, where there is one; a port can be tried without, and with one that is not finished."""
    if not config.exists():
        return None
    try:
        return read_config(config)
    except ConfigError:
        if needed:
            raise
        print(t("bus.no_config", path=config), file=sys.stderr)
        return None
