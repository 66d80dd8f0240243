"""`station bus sniff` and `station bus loopback`: what is on a line, and whether a port is sound."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from station.cli_bus import bus
from station.cli_decode import fault_text, find_profile, parameter_name
from station.cli_line import Reached, Shared, line_options, reached
from station.command_line import print_json, stop_signal
from station.i18n import t
from station.model import StationError, WrongArgument
from station.texts import json_option, lang_option, option

if TYPE_CHECKING:
    from drivers.captured import Meaning
    from drivers.frames import Exchange, Piece
    from drivers.profile import Profile

LOOK_EVERY = 0.3  # seconds between two looks at the running station's line
QUIET_SECONDS = 0.03  # an adapter hands over bytes in pieces of 16 ms; a longer pause ends a frame
ENDED_SECONDS = 1.0  # how long after the last byte a request counts as unanswered
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}


@bus.command("sniff", help="help.bus_sniff")
@click.argument("bus", metavar="BUS")
@option("--for", "seconds", key="trace_for", type=click.FloatRange(min=0.1))
@option("--profile", "profiles", key="sniff_profile", multiple=True)
@option("--raw", key="raw", is_flag=True)
@line_options
@json_option
@lang_option
def sniff(
    bus: str,
    seconds: float | None,
    profiles: tuple[str, ...],
    raw: bool,
    config: Path,
    baudrate: str | None,
    parity: str | None,
    stopbits: int | None,
    as_json: bool,
) -> int:
    """Frames with time and meaning until Ctrl-C; 0 when something was heard, else 1."""
    from drivers.frames import paired

    named = dict(_unit_profile(text) for text in profiles)
    stop = stop_signal()
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    counted = {"exchanges": 0, "unanswered": 0, "noise": 0}
    with reached(bus, config, baudrate, parity, stopbits) as line:
        known = _configured(line) | {unit: (profile, None) for unit, profile in named.items()}
        if not as_json:
            print(t("sniff.begin", bus=line.name, speed=line.speed), file=sys.stderr, flush=True)
        pieces = _pieces(line, lambda: stop.is_set() or time.monotonic() > end)
        if raw:
            for piece in pieces:
                counted["noise" if piece.way == "noise" else "exchanges"] += 1
                print(_raw_line(piece), flush=True)
            return 0 if counted["exchanges"] else 1
        for exchange in paired(pieces):
            counted[_kind(exchange)] += 1
            _show(exchange, known, as_json)
    if not as_json:
        print(t("sniff.end", **counted), file=sys.stderr)
    return 0 if counted["exchanges"] or counted["unanswered"] else 1


def _unit_profile(text: str) -> tuple[int, Profile]:
    unit, equals, name = text.partition("=")
    if not equals or not unit.isdecimal():
        raise WrongArgument(f'"{text}" is not UNIT=PROFILE, such as 3=yosemitech-y4000')
    return int(unit), find_profile(name)


def _configured(line: Reached) -> dict[int, tuple[Profile, str | None]]:
    """The profile of every configured instrument, by its address."""
    from drivers.base import ProfileError
    from drivers.profile import load

    found: dict[int, tuple[Profile, str | None]] = {}
    for settings in line.devices:
        unit, profile = getattr(settings, "unit_id", None), getattr(settings, "profile", None)
        try:
            if unit is not None and profile is not None:
                found[unit] = load(profile, line.folders), getattr(settings, "variant", None)
        except ProfileError:
            continue  # the running station has another configuration by now
    return found


def _kind(exchange: Exchange) -> str:
    from drivers.frames import is_sound

    if exchange.request and not exchange.reply:
        return "unanswered"
    return "exchanges" if exchange.request and is_sound(exchange.reply) else "noise"


# -- where frames come from


def _pieces(line: Reached, ended: Any) -> Iterator[Piece]:
    return _live(line, ended) if isinstance(line, Shared) else _heard(line, ended)


def _live(line: Shared, ended: Any) -> Iterator[Piece]:
    """The frames of the running station, which knows its own requests."""
    after, asked, last = 0, b"", False
    while not last:
        last = ended()  # one look more, for the reply that was under way
        for seen in line.call("frames", after=after):
            after, data = seen["number"], bytes.fromhex(seen["data"])
            yield from split_live(seen["at"], seen["way"], data, asked)
            if seen["way"] == "out":
                asked = data
        time.sleep(LOOK_EVERY)


def split_live(at: float, way: str, data: bytes, asked: bytes) -> Iterator[Piece]:
    """The pieces in *data*, which went *way*; behind the request *asked* its echo comes first, then the reply."""
    from drivers.frames import Piece, Splitter, is_sound

    if way == "out":
        yield Piece(at, "request", data)
        return
    if asked and data.startswith(asked) and len(data) > len(asked):
        yield Piece(at, "noise", asked)
        data = data[len(asked) :]
    if is_sound(data):
        yield Piece(at, "reply", data)
        return
    splitter = Splitter()
    for piece in [*splitter.feed(data, at), *splitter.silence(at)]:
        yield piece._replace(way="reply" if piece.way == "request" else piece.way)


def _heard(line: Any, ended: Any) -> Iterator[Piece]:
    """The frames of a line that others speak on; nothing is sent."""
    from drivers.base import PortLost
    from drivers.frames import Splitter
    from drivers.port import cause, open_port

    try:
        port = open_port(line.settings)
    except StationError:
        raise
    except (OSError, ValueError) as error:
        raise PortLost(f"{line.settings.port}: cannot be opened: {cause(error)}") from error
    splitter = Splitter()
    try:
        while not ended():
            port.timeout = max(QUIET_SECONDS, line.speed.line.silence)
            data = bytes(port.read(1))
            if data:
                data += bytes(port.read(min(port.in_waiting, 512))) if port.in_waiting else b""
                yield from splitter.feed(data, time.time())
            else:
                yield from splitter.silence(time.time())
        yield from splitter.silence(time.time())
    except OSError as error:
        raise PortLost(f"{line.settings.port}: the port is lost: {cause(error)}") from error
    finally:
        port.close()


# -- showing them


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%H:%M:%S.%f}"[:-3]


def _raw_line(piece: Piece) -> str:
    from drivers.frames import to_hex

    sign = {"request": ">", "reply": "<", "noise": "?"}[piece.way]
    return f"{_clock(piece.at)} {sign} {to_hex(piece.data)}"


def _show(exchange: Exchange, known: Mapping[int, tuple[Profile, str | None]], as_json: bool) -> None:
    from drivers.captured import meaning
    from drivers.frames import to_hex

    found: Meaning | None = None
    frame = exchange.request or exchange.reply
    profile, variant = known.get(frame[0], (None, None))
    if profile is not None and exchange.request and exchange.reply:
        found = meaning(profile, exchange.request, exchange.reply, datetime.now(UTC), variant=variant)
    if as_json:
        print_json(
            {
                "time": datetime.fromtimestamp(exchange.at, UTC).isoformat(),
                "request": to_hex(exchange.request),
                "response": to_hex(exchange.reply),
                "milliseconds": round(1000 * exchange.seconds, 1),
                **(found.as_dict() if found is not None else {"ok": _kind(exchange) == "exchanges"}),
            }
        )
        sys.stdout.flush()
        return
    asked = _asked(exchange.request) if exchange.request else t("sniff.unasked")
    took = f"  {1000 * exchange.seconds:.0f} ms" if exchange.request and exchange.reply else ""
    print(f"{_clock(exchange.at)}  {asked}{took}  {_answered(exchange, found)}", flush=True)


def _asked(request: bytes) -> str:
    """The unit, and what it was asked for."""
    unit, function = request[0], request[1]
    if function in TABLES and len(request) == 8:
        first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        span = f"{first}" if count == 1 else f"{first}-{first + count - 1}"
        return t("sniff.read", unit=unit, table=TABLES[function], span=span)
    if function in (5, 6, 15, 16) and len(request) >= 8:
        return t("sniff.write", unit=unit, address=int.from_bytes(request[2:4], "big"))
    return t("sniff.function", unit=unit, function=function)


def _answered(exchange: Exchange, found: Meaning | None) -> str:
    from drivers.frames import is_sound, to_hex

    if not exchange.reply:
        return t("sniff.silent")
    if found is not None and found.ok and found.values:
        return ", ".join(_value(value) for value in found.values)
    if found is not None and not found.ok:
        return "; ".join(fault_text(fault) for fault in found.faults)
    shown = to_hex(exchange.reply)
    return shown if is_sound(exchange.reply) else t("sniff.noise", data=shown)


def _value(value: Any) -> str:
    name = parameter_name(value.parameter) if value.parameter else str(value.register)
    figure = t("status.unknown") if value.value is None else value.value
    number = f"{figure:.7g}" if isinstance(figure, float) else f"{figure}"
    mark = f" [{value.mark}]" if value.mark not in ("", "N") else ""
    return f"{name} {number} {value.unit}".rstrip() + mark


# -- loopback


@bus.command("loopback", help="help.bus_loopback")
@click.argument("port")
@click.argument("other", required=False)
@json_option
@lang_option
def loopback(port: str, other: str | None, as_json: bool) -> int:
    """Patterns at several speeds; 0 when all came back whole, else 1."""
    from drivers.loopback import trial, verdict

    if not as_json:
        print(t("loopback.begin", port=port, other=other or port), file=sys.stderr)
    results = []
    for one in trial(port, other):
        results.append(one)
        if not as_json:
            latency = t("status.unknown") if one.latency_ms is None else f"{one.latency_ms:g}"
            counts = {"speed": one.speed, "sent": one.sent, "right": one.right, "received": one.received}
            print(t("loopback.good" if one.good else "loopback.bad", **counts, latency=latency))
    said = verdict(results, other is not None)
    if as_json:
        print_json({"verdict": said, "speeds": [one.as_dict() for one in results]})
    else:
        print(t(f"verdict.{said}"))
    return 0 if said in ("clean", "held") else 1
