"""What a configuration may get wrong about automatic checks, and what is no fault and yet unusual."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from station.checks import START, STOP, WATER_HOURS, CheckSettings, accepted, gaps, half_of, interval, scale_of
from station.loader import Fault
from station.model import did_you_mean

if TYPE_CHECKING:
    from station.config import Config


def faults(
    config: Config, units_of: Mapping[str, Mapping[str, str]], instruments: Mapping[str, Any]
) -> Iterator[Fault]:
    """What is wrong in the [[qc]] tables; *units_of* says what each of the *instruments* delivers."""
    settings = {one.name: one for bus in config.bus for one in bus.device}
    points = {point.code: point.st for point in config.point}
    taken = {one.name: "an alarm" for one in config.alarms}
    for index, one in enumerate(config.qc):
        place = f"qc[{index}]"
        if one.name in taken:
            yield Fault(f"{place}.name", f'"{one.name}" is already {taken[one.name]}')
        taken[one.name] = place
        yield from _schedule_faults(place, one)
        yield from _standard_faults(place, one)
        if one.device not in settings:
            yield Fault(f"{place}.device", f'there is no device "{one.device}"{did_you_mean(one.device, settings)}')
            continue
        if one.device not in units_of:
            continue  # what it measures is not known: its own fault is said
        yield from _instrument_faults(place, one, units_of[one.device], instruments[one.device])
        device = settings[one.device]
        system = points.get(device.points.get(one.parameter, device.point), "")
        yield from _limit_faults(place, one, system, scale_of(one, device))


_TIME = r"([01]\d|2[0-3]):[0-5]\d"


def _schedule_faults(place: str, one: CheckSettings) -> Iterator[Fault]:
    if not one.at and one.every_hours is None:
        yield Fault(f"{place}.at", "when it is due is missing: at or every_hours")
    if one.every_hours is not None and len(one.at) > 1:
        yield Fault(f"{place}.at", "beside every_hours one time is enough: from it is counted")
    for index, text in enumerate(one.at):
        if not re.fullmatch(_TIME, text):
            yield Fault(f"{place}.at[{index}]", f'"{text}" is not a time of day such as 03:00')
        elif text in one.at[:index]:
            yield Fault(f"{place}.at[{index}]", f"{text} is there twice")
    takes = timedelta(minutes=one.longest_minutes, seconds=one.settle_seconds + one.tail_seconds)
    whole = all(re.fullmatch(_TIME, text) for text in one.at)
    if whole and (one.at or one.every_hours) and takes >= min(gaps(one)):
        yield Fault(f"{place}.longest_minutes", "a check might not be over when the next one is due")
    if one.settle_seconds >= 60 * one.longest_minutes:
        yield Fault(f"{place}.settle_seconds", "leaves no time for a reading within longest_minutes")


def _standard_faults(place: str, one: CheckSettings) -> Iterator[Fault]:
    if one.standard is None and one.check != "zero":
        yield Fault(f"{place}.standard", f"is missing: what value has the {one.check}?")
    elif one.check == "zero" and one.value != 0:
        yield Fault(f"{place}.standard", f"{one.value:g} is no zero; check a low standard as standard or span")
    elif one.check == "span" and one.value == 0:
        yield Fault(f"{place}.standard", "0 is no span; check it as zero")
    if one.expires:
        try:
            date.fromisoformat(one.expires)
        except ValueError:
            yield Fault(f"{place}.expires", f'"{one.expires}" is not a day such as 2027-06-30')


def _instrument_faults(place: str, one: CheckSettings, units: Mapping[str, str], instrument: Any) -> Iterator[Fault]:
    if one.parameter not in units:
        hint = did_you_mean(one.parameter, units)
        yield Fault(f"{place}.parameter", f"{one.device} does not deliver {one.parameter}{hint}")
    elif not _can_check(one, instrument):
        yield Fault(
            f"{place}.device",
            f'{one.device} has no way to be given a {one.check}: its profile needs an [[action]] with verb = "{START}"'
            f" (type zero or span), a cyclic analyser commands.{START}",
        )
    elif (ends := instrument.actions.get(STOP)) and one.parameter not in ends:
        said = f"{one.device} would stay at its standard: {STOP} concerns {', '.join(ends)} and not {one.parameter}"
        yield Fault(f"{place}.device", said)


def _can_check(one: CheckSettings, instrument: Any) -> bool:
    """Whether its profile or its commands can start a check of this type."""
    if one.parameter not in instrument.actions.get(START, ()):
        return False
    can = getattr(instrument, "can", None)
    return can is None or bool(can(START, one.parameter, half_of(one.check)))


def _limit_faults(place: str, one: CheckSettings, system: str, full_scale: float | None) -> Iterator[Fault]:
    if one.limit_percent is not None and one.value == 0:
        yield Fault(f"{place}.limit_percent", "a share of zero is nothing; give limit or limit_drift_percent")
        return
    if one.check == "standard" and one.limit_drift_percent is not None:
        yield Fault(f"{place}.limit_drift_percent", "is of zero and span checks; give limit or limit_percent")
        return
    limits = accepted(one, system)
    usable = [a for a in limits if full_scale is not None or not a.what.endswith("_drift")]
    if limits and not usable:
        yield Fault(f"{place}.full_scale", "is missing: drift is a share of it (or give the device a range)")
    elif not limits:
        yield Fault(
            f"{place}.limit",
            f"is missing: no acceptance limit is known for a {one.check} check of {one.parameter} at ST={system};"
            " give limit, limit_percent or limit_drift_percent",
        )


def hints(config: Config, units_of: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """What is no fault and yet unusual."""
    settings = {one.name: one for bus in config.bus for one in bus.device}
    points = {point.code: point.st for point in config.point}
    for index, one in enumerate(config.qc):
        device = settings.get(one.device)
        if device is None or one.parameter not in units_of.get(one.device, ()) or not (one.at or one.every_hours):
            continue
        system = points.get(device.points.get(one.parameter, device.point), "")
        water = system in ("21", "32") and any(a.what == "error_percent" for a in accepted(one, system))
        if one.check == "standard" and water and interval(one) > timedelta(hours=WATER_HOURS):
            yield Fault(
                f"qc[{index}].every_hours",
                f"a standard check of waste water is due every {WATER_HOURS} h (HJ 355-2019 ch. 8, recalled: medium)",
            )
