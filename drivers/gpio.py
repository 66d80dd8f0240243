"""Pins of a Raspberry Pi, over gpiozero: pulses counted, contacts watched, relays, lamps and buzzers driven.

gpiozero itself is loaded when pins are opened, so that a configuration can be checked on any machine.
What it does was read in its source (2.0.1, grade A): with lgpio `bounce_time` is a debounce of the kernel,
which loses a pulse shorter than it, up to 5 s (lg's own limit, grade D); RPi.GPIO ignores what follows an edge.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

from drivers.base import DriverError
from station.model import Reason, Sample, dataclass, setting

log = logging.getLogger(__name__)

KERNEL_BOUNCE_SECONDS = 0.02  # contacts: the rest of their debounce is reckoned by whoever watches them
LOWEST_PIN, HIGHEST_PIN = 2, 27  # GPIO 0 and 1 are a HAT's memory

PIN = "GPIO number (not the header's pin number); without one, module and channel"
MODULE = "name of the [[bus.device]] with driver \"dio\" it hangs on, instead of a pin"
CHANNEL = "its number on that module, the first one 1"
PULL = "the board's own resistor: up, down or none; GPIO 2 and 3 are always pulled up"
AFFECTS = "points whose readings carry this as a reason while it lasts; their marks stay as they are"
EQUIPMENT = "its name among a platform's treatment equipment, such as SB1; each change is kept as a record"
EQUIPMENT_POINT = "point whose platforms are told of that; the first of affects when empty, else the only point"


class PinError(DriverError):
    """Error raised when a pin cannot be used as configured."""


class NoPins(PinError):
    """Error raised when this host has no pins, or no library that reaches them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSettings:
    """The keys every [[input]] table has."""

    name: str = setting(text="what it is called in events and on screens; unique among inputs, outputs and devices")
    kind: str = setting(text="rain, pulse, door, mains, level, maintenance or contact")
    pin: int | None = setting(None, low=LOWEST_PIN, high=HIGHEST_PIN, text=PIN)
    module: str = setting("", text=MODULE)
    channel: int | None = setting(None, low=1, high=64, text=CHANNEL)
    pull: str = setting("up", choices=("up", "down", "none"), text=PULL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSettings(InputSettings):
    """What counts pulses; a source of samples, with the keys a device's settings have."""

    active: str = setting("low", choices=("low", "high"), text="the level that counts, or means what the kind says")
    point: str = setting(text="code of the measuring point the count belongs to")
    poll_seconds: float = setting(10.0, low=0.05, high=3600, text="seconds from one reading of the count to the next")
    bounce_seconds: float = setting(0.01, low=0, high=5, text="how long a level must stand; shorter ones are bounce")
    dead_seconds: float = setting(0.0, low=0, high=10, text="a pulse this soon after the last one is not counted")

    driver: ClassVar[str] = "pins"
    points: ClassVar[Mapping[str, str]] = {}
    calibration: ClassVar[Mapping[str, tuple[float, float]]] = {}
    range: ClassVar[Mapping[str, tuple[float, float]]] = {}
    constant_minutes: ClassVar[Mapping[str, float]] = {}
    rate: ClassVar[Mapping[str, float]] = {}
    spike: ClassVar[Mapping[str, float]] = {}

    @property
    def parameters(self) -> tuple[str, ...]:
        """What it delivers."""
        return (self.counted[0],)

    @property
    def counted(self) -> tuple[str, float]:
        """The parameter, and how much of it one pulse is."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class RainSettings(CounterSettings):
    """A tipping bucket: a reed that closes for 30 to 100 ms at each tip and bounces for 1 to 10 (grade C)."""

    mm_per_tip: float = setting(low=0.01, high=5, text="rain that one tip is, in mm: 0.1, 0.2, 0.254, 0.2794 or 0.5")
    dead_seconds: float = setting(0.1, low=0, high=10, text="a pulse this soon after the last one is not counted")

    @property
    def counted(self) -> tuple[str, float]:
        """Rain, in mm."""
        return "rain", self.mm_per_tip


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseSettings(CounterSettings):
    """A meter with a pulse output: water, air, electricity."""

    parameter: str = setting(text="what is counted: a parameter that is a total or a sum")
    per_pulse: float = setting(low=1e-9, high=1e9, text="how much of it one pulse is, in the catalogue's unit")
    bounce_seconds: float = setting(0.001, low=0, high=5, text="how long a level must stand; shorter ones are bounce")

    @property
    def counted(self) -> tuple[str, float]:
        """As configured."""
        return self.parameter, self.per_pulse


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactSettings(InputSettings):
    """A dry contact: bottle full, a pump runs, a fault."""

    active: str = setting("low", choices=("low", "high"), text="the level that counts, or means what the kind says")
    bounce_seconds: float = setting(0.1, low=0, high=60, text="how long a level must stand; shorter ones are bounce")
    affects: tuple[str, ...] = setting((), text=AFFECTS)
    equipment: str = setting("", text=EQUIPMENT)
    equipment_point: str = setting("", text=EQUIPMENT_POINT)

    reason: ClassVar[Reason] = Reason.CONTACT
    codes: ClassVar[tuple[str, str]] = ("contact_made", "contact_gone")
    urgent: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSettings(ContactSettings):
    """A level switch: the float has risen."""

    bounce_seconds: float = setting(1.0, low=0, high=60, text="how long a level must stand; shorter ones are bounce")

    codes: ClassVar[tuple[str, str]] = ("level_reached", "level_gone")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSettings(ContactSettings):
    """A door or lid: its reed is closed to ground while it is shut, so a high level means open."""

    active: str = setting("high", choices=("low", "high"), text="the level that counts, or means what the kind says")
    bounce_seconds: float = setting(0.5, low=0, high=60, text="how long a level must stand; shorter ones are bounce")

    reason: ClassVar[Reason] = Reason.DOOR_OPEN
    codes: ClassVar[tuple[str, str]] = ("door_open", "door_closed")


@dataclass(frozen=True, slots=True, kw_only=True)
class MainsSettings(ContactSettings):
    """Mains behind a relay or optocoupler that pulls to ground while it is there: a high level means gone."""

    active: str = setting("high", choices=("low", "high"), text="the level that counts, or means what the kind says")
    bounce_seconds: float = setting(5.0, low=3, high=10, text="how long a level must stand; shorter ones are bounce")

    reason: ClassVar[Reason] = Reason.ON_BATTERY
    codes: ClassVar[tuple[str, str]] = ("mains_lost", "mains_back")
    urgent: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceSettings(ContactSettings):
    """A key switch that is closed while somebody works: it begins maintenance, and its end once it was off a while."""

    bounce_seconds: float = setting(1.0, low=0, high=60, text="how long a level must stand; shorter ones are bounce")
    covers_point: str = setting("", text="point whose values are marked M; with neither this nor a device, all points")
    covers_device: str = setting("", text="instrument whose values are marked M, instead of a whole point")
    person: str = setting(
        "", text="who answers for what this switch marks; nothing is marked until somebody signs when empty"
    )
    longest_hours: float = setting(8.0, low=0.1, high=72, text="ends by itself after so long, whatever it says")
    release_seconds: float = setting(60.0, low=0, high=3600, text="off for so long before it is over: a tail")

    codes: ClassVar[tuple[str, str]] = ("maintenance_switch_on", "maintenance_switch_off")
    maintains: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings:
    """The keys every [[output]] table has."""

    name: str = setting(text="what it is called in events and on screens; unique among inputs, outputs and devices")
    kind: str = setting(text="relay, lamp or buzzer")
    pin: int | None = setting(None, low=LOWEST_PIN, high=HIGHEST_PIN, text=PIN)
    module: str = setting("", text=MODULE)
    channel: int | None = setting(None, low=1, high=64, text=CHANNEL)
    active_high: bool = setting(True, text="false for a board that switches on a low level")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings(OutputSettings):
    """A relay with a contactor, pump, valve or sampler behind it."""

    minimum_on_seconds: float = setting(0.0, low=0, high=3600, text="no rule switches it off sooner")
    minimum_off_seconds: float = setting(0.0, low=0, high=3600, text="nothing switches it on again sooner")
    maximum_on_seconds: float = setting(3600.0, low=0.1, high=86400, text="off after so long, whatever asked for it")
    affects: tuple[str, ...] = setting((), text=AFFECTS)
    affects_seconds_after: float = setting(
        60.0, low=0, high=7200, text="how long after it went off readings still carry the reason"
    )
    equipment: str = setting("", text=EQUIPMENT)
    equipment_point: str = setting("", text=EQUIPMENT_POINT)

    blink_seconds: ClassVar[float] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LampSettings(OutputSettings):
    """A lamp or a buzzer."""

    blink_seconds: float = setting(0.0, low=0, high=10, text="on and off for so long in turn; 0: steady")

    minimum_on_seconds: ClassVar[float] = 0.0
    minimum_off_seconds: ClassVar[float] = 0.0
    maximum_on_seconds: ClassVar[float] = float("inf")
    affects: ClassVar[tuple[str, ...]] = ()
    affects_seconds_after: ClassVar[float] = 0.0
    equipment: ClassVar[str] = ""
    equipment_point: ClassVar[str] = ""


AnyOutput = RelaySettings | LampSettings


class Pins:
    """The pins of this host, taken one by one and let go together."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self._held: list[Any] = []
        self.library = type(factory).__module__.rpartition(".")[2]

    @classmethod
    def open(cls) -> Pins:
        """Reach the pins as GPIOZERO_PIN_FACTORY says, else with lgpio, RPi.GPIO or pigpio; never mock ones unasked.

        gpiozero's own last resort, which it calls experimental, is not taken: it may lose pulses without a word.
        """
        from gpiozero import Device, NativePinFactoryFallback

        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                Device.ensure_pin_factory()
        except Exception as error:  # gpiozero lets through whatever its libraries raise
            raise NoPins(_advice([*(str(w.message) for w in said), str(error)])) from error
        if any(issubclass(w.category, NativePinFactoryFallback) for w in said):
            Device.pin_factory.close()
            Device.pin_factory = None
            raise NoPins(_advice([str(w.message) for w in said][:-1]))
        return cls(Device.pin_factory)

    @property
    def mock(self) -> bool:
        """Whether these are no pins at all, but gpiozero's stand-ins."""
        return self.library == "mock"

    def counter(
        self, settings: CounterSettings, unit: str, now: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> PulseCounter:
        """The pulses at a pin, counted from now on."""
        return PulseCounter(settings, unit, now, monotonic, self._input(settings, settings.bounce_seconds))

    def line(self) -> PinLine:
        """The line of the counted pins."""
        return PinLine()

    def contact(self, settings: ContactSettings, ring: Callable[[], None]) -> Contact:
        """The contact at a pin; *ring* is called from another thread when its level changes."""
        made = self._input(settings, min(settings.bounce_seconds, KERNEL_BOUNCE_SECONDS))
        made.on_change(ring)
        return made

    def output(self, settings: AnyOutput) -> Output:
        """The relay, lamp or buzzer at a pin, switched off."""
        from gpiozero import OutputDevice

        where = f"GPIO {settings.pin} ({settings.name})"
        with _translated(where):
            device = OutputDevice(
                settings.pin, active_high=settings.active_high, initial_value=False, pin_factory=self._factory
            )
        self._held.append(device)
        return Output(device)

    def _input(self, settings: CounterSettings | ContactSettings, bounce_seconds: float) -> Contact:
        from gpiozero import DigitalInputDevice

        high = settings.active == "high"
        pull = {"up": True, "down": False, "none": None}[settings.pull]
        with _translated(f"GPIO {settings.pin} ({settings.name})"):
            device = DigitalInputDevice(
                settings.pin,
                pull_up=pull,
                active_state=high if pull is None else None,
                bounce_time=bounce_seconds or None,
                pin_factory=self._factory,
            )
        self._held.append(device)
        # gpiozero calls the level against the resistor active; ours may be the other one.
        return Contact(device, turned=pull is not None and high == pull)

    def drive(self, pin: int, high: bool) -> None:
        """Put a level on mock *pin*, as a wire would."""
        wire = self._factory.pin(pin)
        wire.drive_high() if high else wire.drive_low()

    def close(self) -> None:
        """Let go of every pin, outputs switched off first; what is let go of becomes an input."""
        for device in self._held:
            if hasattr(device, "off") and not device.closed:
                _quietly(device, device.off)
        for device in self._held:
            _quietly(device, device.close)
        self._held.clear()


class PinLine:
    """What counted pins are read over, as a bus is: nothing that could be lost, and nothing to close."""

    def close(self) -> None:
        """The pins are let go of together."""


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """gpiozero and its libraries raise errors of many families; a person needs the pin and the sentence."""
    try:
        yield
    except Exception as error:
        raise PinError(f"{where}: cannot be used ({error})") from error


def _quietly(device: Any, act: Callable[[], None]) -> None:
    """Do *act* of *device*: one that fails is said, and keeps no other from being switched off."""
    try:
        with _translated(str(device.pin)):
            act()
    except PinError as error:
        log.error("%s", error)


def _advice(said: Sequence[str]) -> str:
    causes = "; ".join(text.removeprefix("Falling back from ") for text in dict.fromkeys(said))
    return (
        f"pins are configured and no pin library works on this host ({causes}); "
        "install lgpio (systemd/README.md), or set GPIOZERO_PIN_FACTORY=mock to try it without hardware"
    )


class Contact:
    """A pin's level as it stands; *turned* if what the configuration calls active is what gpiozero calls inactive."""

    def __init__(self, device: Any, turned: bool) -> None:
        self._device, self._turned = device, turned

    @property
    def active(self) -> bool:
        """The level right now."""
        with _translated(str(self._device.pin)):
            return bool(self._device.is_active) is not self._turned

    def on_active(self, call: Callable[[], None]) -> None:
        """Have *call* made at each change to active, from the library's own thread."""
        if self._turned:
            self._device.when_deactivated = call
        else:
            self._device.when_activated = call

    def on_change(self, call: Callable[[], None]) -> None:
        """Have *call* made at each change."""
        self._device.when_activated = call
        self._device.when_deactivated = call

    def close(self) -> None:
        """Let go of the pin."""
        self._device.close()


class Output:
    """A relay, lamp or buzzer."""

    def __init__(self, device: Any) -> None:
        self._device = device

    @property
    def on(self) -> bool:
        """What the pin says."""
        return bool(self._device.value)

    def drive(self, on: bool) -> None:
        """Switch it."""
        with _translated(str(self._device.pin)):
            self._device.value = on


class PulseCounter:
    """A pin that is counted: a device whose reading is the total so far, in the parameter's unit.

    The total goes on from *begin*, which its owner takes from the store.
    """

    poll_minimum_seconds = 0.0
    actions: Mapping[str, Sequence[str]] = {}

    def __init__(
        self,
        settings: CounterSettings,
        unit: str,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        source: Contact,
    ) -> None:
        self.name = settings.name
        self._parameter, self._per_pulse = settings.counted
        self.units: Mapping[str, str] = {self._parameter: unit}
        self._dead_seconds, self._now, self._source = settings.dead_seconds, now, source
        self._edges: SimpleQueue[float] = SimpleQueue()
        self._last = float("-inf")
        self._base = 0.0
        self.pulses = 0  # counted since the start
        self.ignored = 0  # came within the dead time
        source.on_active(lambda: self._edges.put(monotonic()))  # nothing else: the next edge waits for this thread

    def begin(self, total: float) -> None:
        """Count on from *total*."""
        self._base = total

    def read(self) -> Sequence[Sample]:
        """The total, with every pulse that has come."""
        while True:
            try:
                at = self._edges.get_nowait()
            except Empty:
                break
            if at - self._last < self._dead_seconds:
                self.ignored += 1
                continue
            self._last = at
            self.pulses += 1
        return [Sample(self._parameter, self._now(), round(self._base + self.pulses * self._per_pulse, 9))]

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing can be asked of a reed."""
        raise PinError(f"{self.name}: a counted pin cannot do {verb}")

    def close(self) -> None:
        """Let go of the pin."""
        self._source.close()
