"""What is wrong in the [[screen]] tables: ports that are somebody else's, platforms, lines that do not fit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from station.config import resolve, screen_class, uplink_class
from station.i18n import texts
from station.led import RENEW_SECONDS, WORDS, known_points
from station.led_template import WIDEST_VALUE, Line, Place, Wrong, columns, parse, plain
from station.loader import Fault
from station.model import did_you_mean
from station.parameters import catalogue

if TYPE_CHECKING:
    from station.config import Config
    from station.led_settings import ScreenSettings


def faults(config: Config) -> Iterator[Fault]:
    """What is wrong in the [[screen]] tables."""
    taken = {_real(bus.port): f'the line "{bus.name}"' for bus in config.bus}
    names: set[str] = set()
    for index, settings in enumerate(config.screen):
        place = f"screen[{index}]"
        if settings.name in names:
            yield Fault(f"{place}.name", f'"{settings.name}" is the name of another screen')
        names.add(settings.name)
        yield from _port_faults(place, settings, taken)
        taken.setdefault(_real(settings.port), f'the screen "{settings.name}"')
        try:
            made = screen_class(settings.protocol)
        except ValueError as error:
            yield Fault(f"{place}.protocol", str(error))
        else:
            for key, said in getattr(made, "faults", lambda settings: ())(settings):
                yield Fault(f"{place}.{key}", said)
        if 0 < settings.blank_seconds < 3 * RENEW_SECONDS:
            yield Fault(f"{place}.blank_seconds", f"it is renewed every {RENEW_SECONDS:g} s; at least 60, or 0")
        yield from _platform_faults(place, settings, config)
        yield from _page_faults(f"{place}.pages", settings, config)


def _real(port: str) -> str:
    """The port itself: links to one device are one port, and so are the ways to speak to one serial server."""
    return port.removeprefix("rtu+").rstrip("/") if "://" in port else os.path.realpath(port)


def _port_faults(place: str, settings: ScreenSettings, taken: Mapping[str, str]) -> Iterator[Fault]:
    if "://" in settings.port:
        try:
            resolve("drivers.screens:address_of")(settings.port)
        except ValueError as error:
            yield Fault(f"{place}.port", str(error))
    elif not settings.port.strip():
        yield Fault(f"{place}.port", "is empty")
    if (other := taken.get(_real(settings.port))) is not None:
        yield Fault(
            f"{place}.port",
            f"{settings.port} belongs to {other}; a screen needs a port of its own: instruments would take its text "
            "for noise, and it their answers",
        )


def _platform_faults(place: str, settings: ScreenSettings, config: Config) -> Iterator[Fault]:
    platforms = {uplink.name: uplink for uplink in config.uplink}
    uplink = platforms.get(settings.platform)
    if uplink is None:
        hint = did_you_mean(settings.platform, platforms) or f"; known: {', '.join(platforms) or 'none'}"
        yield Fault(f"{place}.platform", f'there is no uplink "{settings.platform}"{hint}')
        return
    if not hasattr(uplink_class(uplink.protocol), "told"):
        yield Fault(f"{place}.platform", f'"{uplink.name}" speaks {uplink.protocol}; a screen reads the texts of hj212')
    if settings.shows not in uplink.kinds:
        yield Fault(f"{place}.shows", f'"{uplink.name}" is sent no {settings.shows} records: {", ".join(uplink.kinds)}')


def _page_faults(place: str, settings: ScreenSettings, config: Config) -> Iterator[Fault]:
    points, names = known_points(config, settings), {point.code: point.name for point in config.point}
    if not settings.pages or not all(settings.pages):
        yield Fault(place, "a screen needs pages, and a page lines")
    for number, page in enumerate(settings.pages):
        if len(page) > settings.rows:
            room = f"{settings.height} dots hold {settings.rows} rows of {settings.font}"
            yield Fault(f"{place}[{number}]", f"the page has {len(page)} lines; {room}")
        for row, template in enumerate(page):
            try:
                line = parse(template, points, catalogue())
            except Wrong as error:
                yield Fault(f"{place}[{number}][{row}]", str(error))
                continue
            said = _line_fault(template, line, settings, names, config.station.name)
            if said:
                yield Fault(f"{place}[{number}][{row}]", said)


def _line_fault(
    template: str, line: Line, settings: ScreenSettings, names: Mapping[str, str], station: str
) -> str | None:
    """What is wrong with a line, filled with the widest there is; None where nothing is."""

    def widest(place: Place) -> str:
        words = {"date": "2026-11-30", "time": "00:00", "mark": "N", "station": station}
        if place.what == "name":
            key = catalogue().get(place.parameter)
            return key.name(settings.language) if key else names.get(place.point, "")
        if place.what == "unit":
            return catalogue()[place.parameter].unit
        return words.get(place.what) or "8" * (place.width or WIDEST_VALUE)

    text = "".join(part if isinstance(part, str) else widest(part) for part in line.parts)
    try:
        plain(text, settings.encoding).encode(settings.encoding)
    except UnicodeEncodeError as error:
        sign = plain(text, settings.encoding)[error.start]
        return f'"{template}": {settings.encoding} has no "{sign}"'
    longest = max((texts(settings.language)[f"led.{word}"] for word in WORDS.values()), key=columns)
    for place in line.places:
        if place.what == "value" and 0 < place.width < columns(longest):
            return f'"{template}": "{longest}" may stand there, which needs {columns(longest)} columns'
        if place.width and columns(plain(widest(place), settings.encoding)) > place.width:
            return f'"{template}": "{widest(place)}" does not fit into {place.width} columns'
    needed = columns(line.joined(lambda place: plain(widest(place), settings.encoding)))
    if needed > settings.columns:
        room = f"{settings.width} dots hold {settings.columns} columns of a font of {settings.font}"
        return f'"{template}" may need {needed} columns; {room}'
    return None
