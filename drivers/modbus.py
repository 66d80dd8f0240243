"""An instrument described by a profile, read over a bus."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from drivers.base import DeviceError, DeviceException, DeviceSettings, DriverError, NoReply, ProfileError
from drivers.bus import Bus
from drivers.profile import Profile, Status, load
from drivers.registers import marked, samples_and_conditions
from station.model import Mark, Reason, Sample, dataclass, did_you_mean, replace, setting

log = logging.getLogger(__name__)

SILENT_POLLS = 2  # one reply may get lost; an instrument that was switched off misses the second try too


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSettings(DeviceSettings):
    """The keys of a [[bus.device]] table whose driver is "modbus"."""

    profile: str = setting(text="which instrument it is: a file of drivers/profiles or of your own folder")
    unit_id: int = setting(low=1, high=247, text="its Modbus address")
    variant: str | None = setting(None, text="which layout of the profile, where it has several")


class ModbusDevice:
    """An instrument on *bus*, as its profile says.

    An instrument that comes back after *SILENT_POLLS* polls without a reply was switched off: for the profile's
    warm-up its samples carry Mark.M (Reason.WARMING_UP), for it works but does not measure yet, which
    is neither a fault nor a value to average.  A start of the station does not count as silence.
    """

    Settings = ModbusSettings

    def __init__(
        self, settings: ModbusSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]
    ) -> None:
        profile = load(settings.profile, folders).chosen(settings.variant)
        self.name = settings.name
        self.parameters = _selected(settings, profile)
        self.units: Mapping[str, str] = {
            r.parameter: r.unit for r in profile.registers if r.parameter in self.parameters
        }
        self.poll_minimum_seconds = profile.poll_minimum_seconds
        self.conditions: tuple[str, ...] = ()  # what the instrument says of itself, in words
        self._unit_id, self._profile, self._bus, self._now = settings.unit_id, profile, bus, now
        self._requests = profile.plan(bus.line, self.parameters, bus.settings.gap_ms)
        self.actions = self._all_actions()
        self._unanswered = 0
        self._warm_at = 0.0  # on the bus's monotonic clock

    def read(self) -> list[Sample]:
        """One set of samples, all of the same time; what was had before a failure is in the error's *samples*."""
        time = self._now()
        samples: list[Sample] = []
        conditions: list[Status] = []
        failure: DriverError | None = None
        for request in self._requests:
            try:
                payload = self._bus.read(self._unit_id, request, self._profile)
            except DriverError as error:
                failure = failure or error
                if isinstance(error, DeviceException):
                    continue  # it is there, and refuses these registers only
                break
            found, reported = samples_and_conditions(request, payload, time)
            samples += found
            conditions += reported
        self._heard(failure)
        self._note(conditions, complete=failure is None)
        samples = self._warming(marked(samples, conditions))
        if failure is not None:
            failure.samples = samples
            raise failure
        return samples

    def identify(self) -> dict[str, str]:
        """The texts by which the instrument names itself, such as its serial number."""
        texts: dict[str, str] = {}
        for request in self._profile.plan_identity(self._bus.line):
            payload = self._bus.read(self._unit_id, request, self._profile)
            for register, raw in zip(request.places, request.raws(payload), strict=True):
                texts[getattr(register, "parameter", "")] = raw.decode("ascii", "replace").strip("\0 ")
        return texts

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Do what the profile's actions of *verb* say, or read who the instrument is; raise DriverError."""
        if verb == "read_identity":
            texts = self.identify()
            return texts | {"serial": texts.get("serial_number") or next(iter(texts.values()), "")}
        parameter, half = arguments.get("parameter"), arguments.get("type", "")
        fitting = [
            action
            for action in self._profile.actions
            if action.verb == verb
            and (parameter is None or parameter in (action.parameters or self.parameters))
            and action.type in ("", half)
        ]
        if not fitting:
            raise DeviceError(f"{self.name}: has no way to {verb} {parameter or ''} {half}".rstrip())
        for action in fitting:
            log.warning("device %s: %s", self.name, action.text)
            self._bus.write(self._unit_id, action, self._profile)
        return {}

    def _all_actions(self) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        for action in self._profile.actions:
            concerned = [p for p in self.parameters if not action.parameters or p in action.parameters]
            found[action.verb] = tuple(dict.fromkeys([*found.get(action.verb, ()), *concerned]))
        if any(register.type == "ascii" for register in self._profile.registers):
            found["read_identity"] = self.parameters
        return found

    def close(self) -> None:
        """Nothing: the port belongs to the bus."""

    def _heard(self, failure: DriverError | None) -> None:
        if isinstance(failure, NoReply):
            self._unanswered += 1
        elif failure is None or isinstance(failure, DeviceException):
            if self._unanswered >= SILENT_POLLS:
                self._warm_at = self._bus.monotonic() + self._profile.warm_up_seconds
            self._unanswered = 0

    def _warming(self, samples: list[Sample]) -> list[Sample]:
        if self._bus.monotonic() >= self._warm_at:
            return samples
        return [
            sample if sample.mark > Mark.M else replace(sample, mark=Mark.M, reason=Reason.WARMING_UP)
            for sample in samples
        ]

    def _note(self, conditions: Iterable[Status], *, complete: bool) -> None:
        """Keep what the instrument reports of itself, and log it when it changes."""
        texts = tuple(dict.fromkeys(condition.reason for condition in conditions))
        if texts == self.conditions or not (texts or complete):
            return
        self.conditions = texts
        log.warning("device %s: reports %s", self.name, "; ".join(texts) or "no fault any more")


def _selected(settings: ModbusSettings, profile: Profile) -> tuple[str, ...]:
    for parameter in settings.parameters:
        if parameter not in profile.parameters:
            raise ProfileError(
                f"profile {profile.name}: does not measure {parameter!r}"
                f"{did_you_mean(parameter, profile.parameters)};"
                f" it has {', '.join(profile.parameters)}"
            )
    return tuple(p for p in profile.parameters if not settings.parameters or p in settings.parameters)
