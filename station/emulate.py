"""Emulated instruments and platforms, served until stopped; faults are switched by typing them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from drivers.emulated import EmulatedUnit
from drivers.emulated_meter import EmulatedMeter, emulated_meters
from drivers.emulated_stream import EmulatedBam, EmulatedInstrument, emulated_stream
from drivers.emulator import EmulatedBus, emulated_bus
from drivers.replay import CsvReplay
from station.config import BusConfig, Loaded
from station.i18n import t
from station.model import ConfigError, StationError, WrongArgument, dataclass, did_you_mean, field

if TYPE_CHECKING:
    from station.emulated_sender import EmulatedSenders
    from uplink.hj212.emulator import Platform
    from uplink.http.emulator import Receiver


@dataclass(frozen=True, slots=True)
class Replay:
    """What the emulated device plays back, and how."""

    path: Path
    columns: Mapping[str, Any] | None = None
    interpolate: bool = True
    speed: float = 1.0
    start_seconds: float = 0.0

    def values(self) -> CsvReplay:
        """The running replay."""
        try:
            return CsvReplay(
                self.path,
                self.columns,
                interpolate=self.interpolate,
                speed=self.speed,
                start_seconds=self.start_seconds,
            )
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path}: cannot be replayed: {error}") from error


@dataclass(slots=True)
class Lines:
    """Every emulated line of a configuration, by bus name, and its units by device name."""

    buses: dict[str, EmulatedBus] = field(default_factory=dict)
    units: dict[str, EmulatedUnit | EmulatedInstrument | EmulatedBam | EmulatedMeter] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)  # of those behind an emulated gateway

    def set_fault(self, device: str, fault: str) -> None:
        """Let a device, or a bus, fail in the way *fault* says ("late:0.1,noise:0.02"), or recover with "none"."""
        found = self.units.get(device) or self.buses.get(device)
        if found is None:
            names = dict.fromkeys((*self.units, *self.buses))
            raise WrongArgument(f'there is no device "{device}"; known: {", ".join(names)}')
        if fault == "none":
            found.recover()
            return
        if isinstance(found, EmulatedUnit) and fault in found.events:
            found.happen(fault)
            return
        for name in (one.partition(":")[0].strip() for one in fault.split(",")):
            if name not in found.faults:
                raise WrongArgument(f'there is no fault "{name}"; known: none, {", ".join(found.faults)}')
        try:
            found.fail(fault)
        except ValueError as error:
            raise WrongArgument(f"{device}: {error}") from error

    def give(self, device: str, parameter: str, text: str) -> float:
        """Put a Modbus device into something: what it measures of *parameter* is the number *text* from here on."""
        unit = self.units.get(device)
        if not isinstance(unit, EmulatedUnit):
            raise WrongArgument(f'"{device}" is no emulated Modbus device; known: {", ".join(self.units)}')
        if parameter not in unit.profile.parameters:
            known = unit.profile.parameters
            raise WrongArgument(
                f'{device} measures no "{parameter}"{did_you_mean(parameter, dict.fromkeys(known))}; '
                f"known: {', '.join(known)}"
            )
        try:
            value = float(text)
        except ValueError as error:
            raise WrongArgument(f'{device}: "{text}" is not a number such as 12.5') from error
        if not math.isfinite(value):
            raise WrongArgument(f'{device}: "{text}" is not a number such as 12.5')
        before = unit.values
        unit.values = lambda: {**(before() if callable(before) else before), parameter: value}
        return value


def _link(bus: BusConfig, links: Path | None) -> Path | None:
    """Where the terminal of *bus* is linked; None for a line behind a network."""
    if "://" in bus.port:
        return None
    return Path(bus.port) if links is None else links / bus.name.replace("/", "_")


def _behind_gateway(stack: contextlib.ExitStack, bus: BusConfig, emulated: Any, found: Lines) -> None:
    """Serve *emulated* where station.toml says that *bus* is, if that is behind a network on this machine."""
    if "://" not in bus.port:
        return
    from drivers.emulated_network import EmulatedGateway
    from drivers.network import address_of
    from drivers.port import Speed

    address = address_of(bus.port)
    if address.host != "127.0.0.1":
        raise WrongArgument(f"{bus.port}: an emulated gateway is on this machine alone; set the port to tcp://127.0.0.1:…")
    try:
        speed = Speed(bus.baudrate, bus.parity, bus.stopbits)
        stack.enter_context(EmulatedGateway(emulated, numbered=address.numbered, port=address.port, speed=speed))
    except OSError as error:
        raise WrongArgument(f"{bus.port}: cannot be served ({error.strerror})") from error
    found.addresses[bus.name] = bus.port


@contextlib.contextmanager
def lines(
    loaded: Loaded, replays: Mapping[str, Replay], links: Path | None = None, seed: int = 0, speed: float = 1.0
) -> Iterator[Lines]:
    """The devices of *loaded* on pseudo-terminals, linked at their configured ports or in the folder *links*.

    Analysers work *speed* times as fast as they would.
    """
    names = {device.name for bus in loaded.config.bus for device in bus.device}
    for name in replays:
        if name not in names:
            raise WrongArgument(f'there is no device "{name}" to replay for; known: {", ".join(sorted(names))}')
    found = Lines()
    with contextlib.ExitStack() as stack:
        for bus in loaded.config.bus:
            link = _link(bus, links)
            if link is not None:
                stack.enter_context(_claimed(link))
                _clear(link)
            values = {d.name: replays[d.name].values() for d in bus.device if d.name in replays}
            settings: Sequence[Any] = bus.device
            if settings and settings[0].driver == "hj212":
                senders = _senders(loaded, bus, values, link)
                found.buses[bus.name] = stack.enter_context(senders)  # type: ignore[assignment]
                found.units |= {name: one for name, (one, _) in senders.senders.items()}  # type: ignore[misc]
                continue
            if settings and settings[0].alone:
                stream = emulated_stream(bus, settings[0], values.get(settings[0].name), link=link, seed=seed)
                found.buses[bus.name] = stack.enter_context(stream)
                found.units[settings[0].name] = stream.instrument
                _behind_gateway(stack, bus, stream, found)
                continue
            if settings and settings[0].driver == "dlt645":
                meters = emulated_meters(bus, settings, values, link=link, seed=seed)
                found.buses[bus.name] = stack.enter_context(meters)
                found.units |= {d.name: meters.meters[d.address] for d in settings}
                _behind_gateway(stack, bus, meters, found)
                continue
            emulated = emulated_bus(bus, settings, loaded.profile_folders, values, link=link, seed=seed, speed=speed)
            found.buses[bus.name] = stack.enter_context(emulated)
            found.units |= {d.name: emulated.units[d.unit_id] for d in settings}
            _samplers(loaded, bus.name, emulated, found, speed)
            _behind_gateway(stack, bus, emulated, found)
        yield found


def _senders(loaded: Loaded, bus: BusConfig, values: Mapping[str, Any], link: Path | None) -> EmulatedSenders:
    """Senders of HJ 212 that come to where the station listens, or write to its serial port."""
    from datetime import UTC, datetime

    from drivers.bus import Bus
    from station.emulated_sender import emulated_senders

    devices: dict[str, Any] = {one.name: one for one in loaded.devices(bus, Bus(bus))}
    secrets = {d.name: loaded.secret(d.password_file) for d in bus.device if d.password_file}  # type: ignore[attr-defined]
    return emulated_senders(bus, devices, secrets, link, lambda: datetime.now(UTC), values)


def _samplers(loaded: Loaded, bus: str, emulated: EmulatedBus, found: Lines, speed: float) -> None:
    """The samplers of station.toml that hang on *bus*."""
    here = [one for one in loaded.config.sampler if one.bus == bus]
    if not here:
        return
    from drivers.emulated_sampler import FILL_SECONDS, EmulatedSampler
    from drivers.sampler import profile_of

    for one in here:
        profile = profile_of(one.profile, loaded.profile_folders)
        unit = EmulatedSampler(profile, one.unit_id, fill_seconds=FILL_SECONDS / speed)
        emulated.units[one.unit_id] = found.units[one.name] = unit


@contextlib.contextmanager
def _claimed(link: Path) -> Iterator[None]:
    """*link* as this process's own: by a socket's name, which the kernel forgets with the process."""
    name = hashlib.sha256(os.fsencode(link.parent.resolve() / link.name)).hexdigest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        try:
            claim.bind(f"\0niutang-line-{name}")
        except OSError as error:
            raise ConfigError(f"{link}: is served by another emulator; stop it, or use --links FOLDER") from error
        yield


def _clear(path: Path) -> None:
    """Make way for a link to a pseudo-terminal; never over a real device, nor over udev's link to one."""
    try:
        taken = path.exists() and not (path.is_symlink() and path.resolve().is_relative_to("/dev/pts"))
        if taken:
            raise ConfigError(f"{path}: is there already and no emulated line; use --links FOLDER")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: a link cannot be made there ({error.strerror}); use --links FOLDER") from error


def listen(source: TextIO | None, obey: Callable[[str], str], say: Callable[[str], None]) -> None:
    """Read lines from *source* in a thread and have them obeyed, for as long as the process lives."""
    if source is None:  # started with its standard input closed
        return
    if isinstance(source, io.TextIOWrapper):
        source.reconfigure(errors="replace")

    def loop() -> None:
        for line in source:
            words = line.strip()
            if not words:
                continue
            try:
                say(obey(words))
            except StationError as error:
                say(str(error))

    threading.Thread(target=loop, name="prompt", daemon=True).start()


def obey_lines(found: Lines) -> Callable[[str], str]:
    """What a typed "DEVICE FAULT" does, or "DEVICE PARAMETER=VALUE"."""

    def obey(words: str) -> str:
        place, equals, value = words.partition("=")
        if equals:
            device, _, parameter = (part.strip() for part in place.strip().rpartition(" "))
            value = f"{found.give(device, parameter, value.strip()):g}"
            return t("emulate.given", name=device, parameter=parameter, value=value)
        device, space, fault = words.rpartition(" ")
        if not space or words in found.units or words in found.buses:  # a name alone recovers
            device, fault = words, "none"
        found.set_fault(device.strip(), fault)
        return t("emulate.fault_set", name=device.strip(), fault=fault)

    return obey


def obey_platform(platform: Platform | Receiver, name: str) -> Callable[[str], str]:
    """What a typed fault name does."""

    def obey(words: str) -> str:
        try:
            platform.fault(None if words == "none" else words)
        except ValueError as error:
            return t("emulate.fault_unknown", text=error)
        except OSError as error:  # the port was taken while the platform was down
            return t("emulate.cannot_listen", host=platform.host, port=platform.port, text=error.strerror)
        return t("emulate.fault_set", name=name, fault=words)

    return obey
