"""The supply: mains, battery, and a clean stop before it is empty; what a start finds of the run before it.

    mains ── lost ──→ battery ── low ──→ stopping (platforms get their last words) ──→ power off is asked for
      ↑───────────────── back ─────────────┘ cancelled

The station has no right to power off.  It puts a request into its data folder (supply/poweroff), which units of
systemd judge and carry out (station/poweroff.py, systemd/README.md).  Power-off stops the station as any stop does:
everything is committed, and `stop` is on record.
"""

from __future__ import annotations

import logging
import math
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station import poweroff, restartreport
from station.beside import Beside
from station.clock import boot_id
from station.loader import Fault
from station.model import Mark, Record, dataclass, did_you_mean, setting
from station.supplysource import NUT_NAME, Seen, Source, SupplyUnknown, ask_nut, of_kernel

if TYPE_CHECKING:
    from station.config import Config
    from station.engine import Engine

log = logging.getLogger(__name__)

KERNEL, NUT, INPUT, DEVICE = "power_supply", "nut", "input", "device"
NONE = "none"
HURRY_SECONDS = 10.0  # on battery, so much is lost at most when it ends
OFF_SECONDS = 180.0  # then the host should have been off; the units take some seconds, a stop of the station 90 at most
AGAIN_SECONDS = 600.0
NUT_SECONDS = 5.0
STALE_SECONDS = 60.0
LONGEST_PAUSE = 30.0  # until a source that says nothing is asked again; on battery sooner
NEVER = -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplySettings:
    """The [supply] table: what watches mains and battery, and when the host is to power off."""

    source: str = setting(
        choices=(KERNEL, NUT, INPUT, DEVICE),
        text="power_supply (a UPS HAT with a driver), nut (upsc), input (a contact of kind mains), device (a voltage)",
    )
    folder: str = setting("/sys/class/power_supply", text="of power_supply: where the kernel shows its supplies")
    mains: str = setting("", text="of power_supply: the supply that says whether there is mains; the first when empty")
    battery: str = setting("", text="of power_supply: the battery; the first when empty")
    ups: str = setting("ups@localhost", text="of nut: the UPS, on this machine")
    upsc: str = setting("upsc", text="of nut: the program that asks it")
    input: str = setting("", text="of input: the name of an [[input]] of kind mains")
    device: str = setting("", text="of device: the instrument that measures the supply")
    parameter: str = setting("voltage", text="of device: what it measures of it, in V")
    lost_volts: float | None = setting(None, low=0.1, high=1000, text="of device: below it the mains is gone")
    debounce_seconds: float = setting(5.0, low=0, high=60, text="how long a state must stand before it counts")
    poll_seconds: float = setting(2.0, low=0.5, high=60, text="between two looks")
    stop_percent: float | None = setting(None, low=1, high=99, text="on battery, power off at this charge")
    stop_volts: float | None = setting(None, low=0.1, high=1000, text="on battery, power off at this voltage")
    stop_minutes: float | None = setting(None, low=0.5, high=1440, text="power off after so long on battery")
    critical_percent: float = setting(5.0, low=0, high=50, text="at this charge settle_minutes do not count")
    uplink_seconds: float = setting(60.0, low=0, high=600, text="how long platforms may take for what they are owed")
    settle_minutes: float = setting(10.0, low=3, high=120, text="no power-off so soon after a start: no loop of boots")
    power_off: str = setting("host", choices=("host", NONE), text="host, or none: say so, and go on to the end")


def faults(config: Config, folder: Path) -> Iterator[Fault]:
    """What is wrong in [supply]."""
    one: SupplySettings = config.supply
    if one.source == NUT and not NUT_NAME.fullmatch(one.ups):
        yield Fault("supply.ups", f'"{one.ups}" is not a UPS on this machine, such as ups@localhost')
    if one.source == INPUT:
        names = [item.name for item in config.input if getattr(item, "urgent", False)]
        if one.input not in names:
            known = ", ".join(names) or "none"
            text = f'"{one.input}" is not an [[input]] of kind mains ({known}){did_you_mean(one.input, names)}'
            yield Fault("supply.input", text)
    if one.source == DEVICE:
        names = [device.name for bus in config.bus for device in bus.device]
        if one.device not in names:
            text = f'there is no instrument "{one.device}"{did_you_mean(one.device, names)}'
            yield Fault("supply.device", text)
        if one.lost_volts is None:
            yield Fault("supply.lost_volts", "is missing: below which voltage the mains is gone")
    if one.power_off != NONE and one.stop_percent is one.stop_volts is one.stop_minutes is None:
        yield Fault("supply.stop_percent", "is missing, with stop_volts and stop_minutes: one says when to power off")
    if one.source == INPUT and (one.stop_percent is not None or one.stop_volts is not None):
        yield Fault("supply.stop_percent", "and stop_volts mean nothing with a contact; use stop_minutes")
    if one.source == DEVICE and one.stop_percent is not None:
        yield Fault("supply.stop_percent", "means nothing with a voltage; use stop_volts or stop_minutes")
    if one.lost_volts is not None and one.stop_volts is not None and one.stop_volts >= one.lost_volts:
        yield Fault("supply.stop_volts", f"{one.stop_volts:g} V is not below lost_volts ({one.lost_volts:g})")
    if one.stop_percent is not None and one.critical_percent >= one.stop_percent:
        yield Fault("supply.critical_percent", f"{one.critical_percent:g} % is not below stop_percent")


def make(engine: Engine) -> list[Beside]:
    """The supply's thread."""
    return [Supply(engine)]


def source_of(engine: Engine, settings: SupplySettings, one: Beside) -> Source:
    """What is looked at."""
    if settings.source == KERNEL:
        return partial(of_kernel, Path(settings.folder), settings.mains, settings.battery)
    if settings.source == NUT:
        command = shutil.which(settings.upsc) or settings.upsc
        return lambda: ask_nut(command, settings.ups, NUT_SECONDS, lambda: one.running)
    if settings.source == INPUT:
        return partial(_of_contact, engine, settings.input)
    return partial(_of_device, engine, settings)


def _of_contact(engine: Engine, name: str) -> Seen:
    found = None if engine.linkage is None else engine.linkage.contact(name)
    if found is None:
        raise SupplyUnknown(f"input {name}: its pin cannot be read")
    return Seen(not found[0])


def _of_device(engine: Engine, settings: SupplySettings) -> Seen:
    key = (settings.device, settings.parameter)
    reading, heard = engine.recorder.current.get(key), engine.recorder.heard.get(key, NEVER)
    if reading is None or reading.value is None or engine.clock.monotonic() - heard > STALE_SECONDS:
        raise SupplyUnknown(f"{settings.device}: no {settings.parameter} for {STALE_SECONDS:.0f} s")
    if reading.mark not in (Mark.N, Mark.M) or settings.lost_volts is None:
        raise SupplyUnknown(f"{settings.device}: {settings.parameter} is marked {reading.mark.name}")
    return Seen(reading.value >= settings.lost_volts, volts=reading.value)


class Supply(Beside):
    """Mains and battery, and what follows from them."""

    def __init__(self, engine: Engine, source: Source | None = None) -> None:
        super().__init__(engine, "supply", engine.config.supply.source)
        self.settings: SupplySettings = engine.config.supply
        self.path = engine.loaded.data_folder / "supply" / "poweroff"
        self._source = source or source_of(engine, self.settings, self)
        self._began = engine.clock.monotonic()
        self._before = restartreport.before(engine.store, None if engine.time.waits else engine.started)
        self._reported = self._before is None
        self._taken_back = False
        self.seen = Seen(None)
        self.gone = False  # the mains, debounced
        self._turned: float | None = None  # since when the source says otherwise
        self._lost_at = NEVER
        self._low_since: float | None = None
        self._held = self._failed = False
        self._why, self._low_again = "", NEVER
        self._last_words: float | None = None  # until when platforms may take theirs
        self._asked_at: float | None = None
        self._told_none = False
        self._hurried = NEVER

    def turn(self) -> float:
        """Look, and do what is due; on battery the last state counts on where the source falls silent."""
        now = self.engine.clock.monotonic()
        if not self._taken_back:
            self.path.unlink(missing_ok=True)  # of an earlier run
            self._taken_back = True
        self._report_restart(now)
        try:
            self.seen = self._source()
        except SupplyUnknown:
            self.seen = Seen(None)
            self._follow(now)
            self.pause = 0.0 if self.gone else min(self.pause, LONGEST_PAUSE / 2)  # the next pause is twice this
            raise
        self._debounce(now)
        try:
            self._follow(now)
        except OSError:  # the request cannot be written: the battery does not wait for long pauses
            self.pause = 0.0
            raise
        return self.settings.poll_seconds

    def _follow(self, now: float) -> None:
        if not self.gone:
            return
        if now - self._hurried >= HURRY_SECONDS:
            self._hurried = now
            self.engine.hurry()
        if self._asked_at is not None:
            self._wait_for_the_end(now)
        elif self._last_words is not None:
            self._end(now)
        elif reason := self._low(now):
            self._begin_to_stop(now, reason)

    # -- the mains

    def _debounce(self, now: float) -> None:
        """A state counts once it has stood; what cannot be told changes nothing."""
        online = self.seen.online
        if online is None or online is not self.gone:
            self._turned = None
            return
        if self._turned is None:
            self._turned = now
        if self.settings.source != INPUT and now - self._turned < self.settings.debounce_seconds:
            return  # a contact has its own bounce_seconds
        began, self._turned = self._turned, None
        if online:
            self._back(now)
        else:
            self._lost(began)

    def _lost(self, began: float) -> None:
        self.gone, self._lost_at, self._low_since = True, began, None
        self._held = self._failed = self._told_none = False
        self._hurried = self.engine.clock.monotonic()
        if self.settings.source != INPUT:  # else the contact has said so (station/linkage.py)
            log.warning("supply: the mains is gone, on battery (%s)", self._level())
            self._note("supply_lost")
            self._tell("mains power lost, on battery")

    def _back(self, now: float) -> None:
        lasted = round(now - self._lost_at)
        self.gone = False
        if self.settings.source != INPUT:
            log.warning("supply: the mains is back after %d s", lasted)
            self._note("supply_back", lasted_seconds=lasted)
            self._tell("mains power is back")
        if self._last_words is not None or self._asked_at is not None:
            self.path.unlink(missing_ok=True)
            log.warning("supply: the stop is cancelled")
            self._note("supply_stop_cancelled", after_asking=self._asked_at is not None)
            self._tell("the stop is cancelled, mains power is back")
        self._last_words = self._asked_at = None

    # -- the battery

    def _low(self, now: float) -> str:
        """Why the battery counts as low, once that has stood; nothing where it does not."""
        reason = self._level_is_low(now)
        if not reason:
            self._low_since = None
            return ""
        if self._low_since is None:
            self._low_since = now
        return reason if now - self._low_since >= self.settings.debounce_seconds else ""

    def _level_is_low(self, now: float) -> str:
        seen, settings = self.seen, self.settings
        if settings.stop_percent is not None and seen.percent is not None and seen.percent <= settings.stop_percent:
            return f"{seen.percent:.0f} %"
        if settings.stop_volts is not None and seen.volts is not None and seen.volts <= settings.stop_volts:
            return f"{seen.volts:.2f} V"
        if settings.stop_minutes is not None and now - self._lost_at >= 60 * settings.stop_minutes:
            return f"{(now - self._lost_at) / 60:.0f} min"
        return "the UPS says it is low" if seen.low else ""

    def _is_critical(self) -> bool:
        return self.seen.low or (self.seen.percent is not None and self.seen.percent <= self.settings.critical_percent)

    def _begin_to_stop(self, now: float, reason: str) -> None:
        if self.settings.power_off == NONE:
            if not self._told_none:
                self._told_none = True
                self._note("supply_low", reason=reason)
                self._tell(f"battery low ({reason})")
            return
        if now - self._began < 60 * self.settings.settle_minutes and not self._is_critical():
            if not self._held:
                self._held = True
                self._note("supply_stop_held", reason=reason, minutes=f"{self.settings.settle_minutes:g}")
            return
        if self._failed and now - self._low_again < AGAIN_SECONDS:
            return
        self._why, self._last_words = reason, now + self.settings.uplink_seconds
        log.warning("supply: the battery ends (%s), the host is to power off", reason)
        self._note("supply_stopping", reason=reason, battery_seconds=round(now - self._lost_at))
        self._tell(f"battery low ({reason}), the station stops")

    def _end(self, now: float) -> None:
        """Once platforms have what they are owed, or had their time: ask for power-off."""
        assert self._last_words is not None
        if now < self._last_words and any(depth.owed for depth in self.engine.depths().values()):
            return
        if not self.engine.committed():
            log.error("supply: the last words are not committed; the host is powered off all the same")
        poweroff.request(self.path, boot_id(), poweroff.boot_seconds())
        self._asked_at = now
        self.engine.note("supply_power_off", urgent=True, reason=self._why)

    def _wait_for_the_end(self, now: float) -> None:
        """Still here long after it was asked for: nobody powers this host off, which is said."""
        assert self._asked_at is not None
        if now - self._asked_at < OFF_SECONDS:
            return
        self.path.unlink(missing_ok=True)
        self._last_words = self._asked_at = None
        self._low_again = now
        if not self._failed:
            self._failed = True
            log.error("supply: the host does not power off; is supply-poweroff.path enabled (systemd/README.md)?")
            self._note("supply_no_power_off")

    # -- the run before

    def _report_restart(self, now: float) -> None:
        """How long the gap is, once a clock can say."""
        if self._reported or self._before is None or self.engine.time.waits:
            return
        self._reported = True
        began = self.engine.clock.now() - timedelta(seconds=now - self._began)
        found = restartreport.gap(self._before.last, began)
        self.engine.note(self._before.code, urgent=True, last=self._before.last.isoformat(timespec="seconds"), **found)
        words = re.sub("^restart_", "", self._before.code)
        text = f"start after {found['seconds']} s ({words}), {found['minutes']} minutes and {found['hours']} hours"
        self._tell(f"{text} without data")

    # -- telling

    def _level(self) -> str:
        seen = self.seen
        said = [f"{seen.percent:.0f} %"] if seen.percent is not None else []
        said += [f"{seen.volts:.2f} V"] if seen.volts is not None else []
        return ", ".join(said) or "-"

    def _note(self, code: str, **arguments: object) -> None:
        self.engine.note(code, urgent=True, battery=self._level(), **arguments)

    def _tell(self, text: str) -> None:
        """A log text to the platforms that take site information, for each point; committed at once."""
        at = self.engine.time.now()
        for point in self.engine.config.point:
            self.engine.keep(Record("site_info", at, {"item": "logger_log", "value": text}, point.code), urgent=True)

    def more(self) -> dict[str, Any]:
        """Mains or battery, how full it is, and whether a stop is on its way."""
        now, seen = self.engine.clock.monotonic(), self.seen
        words: dict[str, str] = {}
        if self.gone:
            words["supply_battery"] = f"{(now - self._lost_at) / 60:.0f}"
        elif seen.online:
            words["supply_mains"] = self.settings.source
        if seen.percent is not None or seen.volts is not None:
            words["supply_level"] = self._level()
        stopping = self._last_words is not None
        if stopping:
            words["supply_stopping"] = self._why
        if self._failed:
            words["supply_no_power_off"] = "supply-poweroff.path"
        return {
            "on_battery": self.gone, "known": seen.online is not None, "percent": seen.percent, "volts": seen.volts,
            "stopping": stopping, **({"words": words} if words else {}),
        }  # fmt: skip
