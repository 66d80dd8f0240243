"""A measuring point that ends, and the one its instruments go to: the old archive stays, under its own code and MN.

A dust monitor that leaves a building site measures at a new point with an MN of its own; under the old code nothing
is due from the moment it was closed, and what its platforms are owed until then still goes to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from station.clock import EPOCH
from station.loader import Fault
from station.model import Record, did_you_mean

if TYPE_CHECKING:
    from station.config import Config, PointSettings
    from station.engine import Engine

KIND = "resiting"


def closed_at(point: PointSettings, zone: tzinfo) -> datetime | None:
    """When *point* was closed, or None; ValueError where its text is no moment."""
    if not point.closed:
        return None
    moment = datetime.fromisoformat(point.closed)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def faults(config: Config) -> Iterator[Fault]:
    """What is wrong with points that are closed or took over from one."""
    from station.config import parse_zone  # which asks here

    points = {point.code: point for point in config.point}
    try:
        zone = parse_zone(config.station.timezone)
    except ValueError:
        return  # said elsewhere
    heirs: dict[str, str] = {}
    for index, point in enumerate(config.point):
        place = f"point[{index}]"
        try:
            at = closed_at(point, zone)
        except ValueError:
            yield Fault(f"{place}.closed", f'"{point.closed}" is not a time such as 2026-11-30T10:00')
        else:
            if at is not None and at > datetime.now(UTC):
                yield Fault(f"{place}.closed", f"{point.closed} has not come yet; a point is closed when it is")
        if point.moved_from:
            yield from _moved(place, point, points, heirs)
    yield from _instruments(config, {code for code, point in points.items() if point.closed})
    yield from _numbers(config, points)


def _moved(
    place: str, point: PointSettings, points: Mapping[str, PointSettings], heirs: dict[str, str]
) -> Iterator[Fault]:
    old = points.get(point.moved_from)
    where = f"{place}.moved_from"
    if old is None:
        yield Fault(where, f'there is no point "{point.moved_from}"{did_you_mean(point.moved_from, points)}')
    elif old is point:
        yield Fault(where, "is the point itself")
    elif not old.closed:
        yield Fault(where, f'point "{old.code}" is not closed; give it closed = "2026-11-30T10:00"')
    elif old.st != point.st:
        yield Fault(where, f'point "{old.code}" has st {old.st}; what moves stays of one kind')
    elif old.code in heirs:
        yield Fault(where, f'point "{heirs[old.code]}" took over from "{old.code}" already')
    heirs.setdefault(point.moved_from, point.code)


def _instruments(config: Config, closed: set[str]) -> Iterator[Fault]:
    for b, bus in enumerate(config.bus):
        for d, device in enumerate(bus.device):
            for code in sorted({device.point, *device.points.values()} & closed):
                yield Fault(f"bus[{b}].device[{d}].point", f'point "{code}" is closed; nothing measures there any more')


def _numbers(config: Config, points: Mapping[str, PointSettings]) -> Iterator[Fault]:
    """An MN at both places: the platform would take the new place's data for the old one's."""
    for u, uplink in enumerate(config.uplink):
        told: dict[str, Any] = {one.point: one for one in getattr(uplink, "point", ())}
        for index, one in enumerate(getattr(uplink, "point", ())):
            old = getattr(points.get(one.point), "moved_from", "")
            mn = getattr(one, "mn", None)
            if old in told and mn is not None and getattr(told[old], "mn", None) == mn:
                text = f'"{mn}" is the number of point "{old}"; the new place needs an MN of its own'
                yield Fault(f"uplink[{u}].point[{index}].mn", text)


def since(point: PointSettings, zone: tzinfo, started: datetime) -> datetime | None:
    """From when on nothing is due of *point* for a station that *started*; None while it is open."""
    closed = closed_at(point, zone)
    return min(closed, started) if closed is not None and closed <= started else None


def note_closed(engine: Engine) -> None:
    """Put on record, once, each point that the configuration closes, and who took over from it."""
    heirs = {point.moved_from: point.code for point in engine.config.point if point.moved_from}
    told = {record.point for record in engine.store.records(KIND, EPOCH, datetime.max.replace(tzinfo=UTC))}
    for point in engine.config.point:
        at = closed_at(point, engine.loaded.zone)
        if at is None or at > engine.clock.now() or point.code in told:
            continue
        to = heirs.get(point.code, "")
        engine.keep(Record(KIND, at, {"do": "closed", "to": to}, point.code), urgent=True)
        engine.note("point_closed", urgent=True, point=point.code, since=at.isoformat(), to=to)
