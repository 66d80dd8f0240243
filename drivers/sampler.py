"""An automatic sampler on an RS-485 line: what it says of itself, and the order to keep a bottle.

Its registers stand in a profile as those of an instrument do (drivers/samplers, or the operator's own folder), under
the names of WORDS; its action `keep_sample` is given the bottle.  The line is its bus's: whoever calls does so in the
bus's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from drivers.base import DeviceException, ProfileError
from drivers.bus import Bus
from drivers.modbus import ModbusDevice, ModbusSettings
from drivers.profile import Profile, load
from station.model import StationError

SAMPLERS = Path(__file__).parent / "samplers"
WORDS: Mapping[str, str] = {
    "box_temperature": "where the bottles stand, °C",
    "door": "1 while the door is open",
    "full": "1 while no bottle is left",
    "fault": "a number other than 0 while there is one",
    "sampled": "another number after every sample: a counter, or a time",
    "bottle": "the bottle of the last sample",
    "result": "0 where the last sample failed",
    "volume": "volume of the last sample, mL",
}
DONE = "sampled"
# Modbus exceptions after which nothing has moved: the request was not understood or the sampler was busy (V1.1b3, 7);
# 4 is a failure in the middle of it, 5 that it goes on.
NOT_BEGUN = (1, 2, 3, 6)


def profile_of(name: str, folders: Sequence[Path] = ()) -> Profile:
    """The profile *name* of a sampler; raise ProfileError where it is none."""
    found = load(name, (*folders, SAMPLERS), frames=False)
    unknown = [one for one in found.parameters if one not in WORDS]
    if unknown:
        raise ProfileError(f"profile {name}: {unknown[0]} is nothing a sampler says; it is one of {', '.join(WORDS)}")
    if not any(action.verb == "keep_sample" for action in found.actions):
        raise ProfileError(f"profile {name}: has no action keep_sample, so no bottle could be asked for")
    return found


class SamplerUnit:
    """A sampler at *unit_id* of *bus* that speaks as *profile* says."""

    def __init__(
        self,
        name: str,
        unit_id: int,
        profile: str,
        bus: Bus,
        folders: Sequence[Path],
        now: Callable[[], datetime],
        *,
        confirmed: bool = False,
    ) -> None:
        self.profile = profile_of(profile, folders)
        settings = ModbusSettings(name=name, unit_id=unit_id, profile=profile, confirmed=confirmed, point="")
        self._device = ModbusDevice(settings, bus, (*folders, SAMPLERS), now)

    def read(self) -> Mapping[str, float | None]:
        """What it says now, by words of WORDS, of those that it has; raise DriverError where it says nothing."""
        return {sample.parameter: sample.value for sample in self._device.read()}

    @property
    def conditions(self) -> Sequence[str]:
        """What its status words say is wrong, as read last."""
        return self._device.conditions

    @property
    def tells(self) -> bool:
        """Whether it says that a sample is done."""
        return DONE in self.profile.parameters

    @staticmethod
    def may_have_moved(error: StationError) -> bool:
        """Whether something may be in the bottle after an order that ended with *error*."""
        return not (isinstance(error, DeviceException) and error.code in NOT_BEGUN)

    def take(self, bottle: int) -> None:
        """Have a sample put into *bottle*; it says later that it is done.  Raise DriverError."""
        self._device.act("keep_sample", {"bottle": str(bottle)})
