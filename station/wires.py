"""What inputs and outputs hang on: the board's own pins, modules on a line, or both, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from station.config import Config
    from station.poller import Poller


class Wires:
    """As drivers.gpio.Pins; what names a module goes to it, the rest to *pins*, which may be None."""

    def __init__(self, pins: Any, modules: Mapping[str, Any]) -> None:
        self._pins, self._modules = pins, modules
        self._pollers: dict[str, Poller] = {}

    @property
    def library(self) -> str:
        """What reaches the pins; nothing where there are none."""
        return "" if self._pins is None else str(self._pins.library)

    @property
    def mock(self) -> bool:
        """Whether the pins are stand-ins; modules never are."""
        return self._pins is not None and bool(self._pins.mock)

    def reach(self, pollers: Iterable[Poller]) -> None:
        """Let outputs be switched by the threads that own the modules' lines."""
        self._pollers = {
            task.device.name: poller for poller in pollers for task in poller.tasks if task.device.name in self._modules
        }

    def counter(self, settings: Any, unit: str, now: Callable[[], datetime], monotonic: Callable[[], float]) -> Any:
        """What counts the pulses of an input."""
        if settings.module:
            return self._modules[settings.module].counter(settings, unit, now)
        return self._pins.counter(settings, unit, now, monotonic)

    def line(self) -> Line:
        """What counters are read over."""
        return Line()

    def contact(self, settings: Any, ring: Callable[[], None]) -> Any:
        """The contact of an input."""
        if settings.module:
            return self._modules[settings.module].contact(settings)
        return self._pins.contact(settings, ring)

    def output(self, settings: Any) -> Any:
        """The output of an [[output]]."""
        if not settings.module:
            return self._pins.output(settings)
        name = settings.module
        return self._modules[name].output(settings, lambda errand: self._pollers[name].submit(errand))

    def drive(self, pin: int, high: bool) -> None:
        """Put a level on mock *pin*."""
        self._pins.drive(pin, high)

    def close(self) -> None:
        """Let go of the pins; the modules belong to their lines."""
        if self._pins is not None:
            self._pins.close()


class Line:
    """What counters are read over, as a bus is: nothing that could be lost, and nothing to close."""

    def close(self) -> None:
        """Pins and modules are let go of by others."""


def named(config: Config) -> set[str]:
    """The modules that inputs and outputs name."""
    return {item.module for item in (*config.input, *config.output) if item.module}


def wires(config: Config, pins: Any, devices: Iterable[Any]) -> Any:
    """*pins* as they are where no module is named, else pins and modules together."""
    wanted = named(config)
    return Wires(pins, {one.name: one for one in devices if one.name in wanted}) if wanted else pins
