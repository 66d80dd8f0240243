"""gpsd over its JSON socket: a small client, and what one line of it says.

gpsd answers `?WATCH={"enable":true,"json":true};` with a line of JSON for each report, ended by CR LF; a TPV has mode
(0 and 1 no fix, 2 without height, 3 with), time in UTC, lat and lon in degrees, eph as the estimated horizontal error
in m; a SKY has hdop (gpsd_json(5), recalled, B).  A line is rubbish until every field of it was looked at.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from station.model import StationError, dataclass

WATCH = b'?WATCH={"enable":true,"json":true};\n'
LONGEST_LINE = 16384  # bytes; a SKY with every satellite in view has about 6000
CONNECT_SECONDS = 5.0
EARTH = 6371008.8  # mean radius, m (IUGG; recalled, B)


class NoGpsd(StationError):
    """Error raised when gpsd is not there, is silent or says what is no report."""

    exit_code = 69


@dataclass(frozen=True, slots=True)
class Fix:
    """One TPV: *mode* 0 to 3, degrees north and east, *error_m* as estimated, UTC *time*; None for what it lacks."""

    mode: int
    latitude: float | None = None
    longitude: float | None = None
    error_m: float | None = None
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sky:
    """The dilution of a SKY."""

    hdop: float


def parse(line: bytes) -> Fix | Sky | None:
    """What *line* says; None for a report of another class; raise ValueError for what is none.

    >>> parse(b'{"class":"TPV","mode":2,"lat":31.2,"lon":121.5}')
    Fix(mode=2, latitude=31.2, longitude=121.5, error_m=None, time=None)
    """
    try:
        found = json.loads(line)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(found, dict) or not isinstance(found.get("class"), str):
        raise ValueError("no report of gpsd")
    if found["class"] == "SKY" and (hdop := _number(found.get("hdop"), 0, 1000)) is not None:
        return Sky(hdop)
    if found["class"] != "TPV":
        return None
    mode = found.get("mode")
    if isinstance(mode, bool) or mode not in (0, 1, 2, 3):
        raise ValueError("a TPV without a mode")
    return Fix(
        int(mode),
        _number(found.get("lat"), -90, 90),
        _number(found.get("lon"), -180, 180),
        _number(found.get("eph"), 0, 1e6),
        _time(found.get("time")),
    )


def _number(value: Any, low: float, high: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if low <= value <= high and math.isfinite(value) else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    with suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo is not None else None
    return None


def metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The distance of two positions (degrees north, degrees east), m, on a sphere (haversine).

    >>> round(metres((31.0, 121.0), (31.001, 121.0)))
    111
    """
    north_a, east_a, north_b, east_b = map(math.radians, (*a, *b))
    half = math.sin((north_b - north_a) / 2) ** 2
    half += math.cos(north_a) * math.cos(north_b) * math.sin((east_b - east_a) / 2) ** 2
    return 2 * EARTH * math.asin(min(1.0, math.sqrt(half)))


class Gpsd:
    """A connection; every wait of it is bounded."""

    def __init__(self, host: str, port: int) -> None:
        self._where = f"gpsd at {host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), CONNECT_SECONDS)
        except OSError as error:
            raise NoGpsd(f"{self._where}: cannot be reached ({error.strerror or error}); is gpsd running?") from error
        self._rest = b""
        try:
            self._socket.sendall(WATCH)
        except OSError as error:
            self.close()
            raise NoGpsd(f"{self._where}: the connection is lost ({error.strerror or error})") from error

    def lines(self, seconds: float) -> Iterator[bytes]:
        """What has come when at most *seconds* have passed, a line each."""
        self._socket.settimeout(seconds)
        try:
            some = self._socket.recv(LONGEST_LINE)
        except TimeoutError:
            return
        except OSError as error:
            raise NoGpsd(f"{self._where}: the connection is lost ({error.strerror or error})") from error
        if not some:
            raise NoGpsd(f"{self._where}: it has closed the connection")
        *whole, self._rest = (self._rest + some).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise NoGpsd(f"{self._where}: a line of more than {LONGEST_LINE} bytes")
        yield from (line.strip() for line in whole if line.strip())

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
