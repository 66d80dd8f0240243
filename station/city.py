"""The city's air, hour by hour: pulled from a small table over HTTP, or entered by hand; limits take it off a value.

The table is CSV with a heading, or JSON (a list of objects, or an object whose "hours" is one), with time, pm10
(µg/m³), aqi and primary.  What cannot be believed is refused row by row, with its reason.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from station.aqi import DAILY
from station.model import Record, StationError, WrongArgument, dataclass, did_you_mean, setting

if TYPE_CHECKING:
    from station.engine import Engine
    from station.store import Store

log = logging.getLogger(__name__)

KIND = "city"
HOUR = timedelta(hours=1)
BY_HAND, FEED = "by hand", "feed"
LARGEST = 1 << 20  # bytes of a table; a year of hours has half of that
MOST_PM10, MOST_AQI = 10_000.0, 500  # the index ends there (HJ 633-2026)
COLUMNS = ("time", "pm10", "aqi", "primary")
SPELLINGS = {"pm2.5": "pm25", "pm2_5": "pm25", "pm₂.₅": "pm25", "pm₁₀": "pm10"}  # as platforms write them
NOTHING = ("", "-", "—", "/", "na", "n/a", "null", "none")
PATIENCE = 240.0  # seconds the thread may be silent: a name that is not resolved, and a slow table


@dataclass(frozen=True, slots=True, kw_only=True)
class CitySettings:
    """The [city] table: where the city's hourly air comes from."""

    url: str = setting("", text="table of hours, pulled over HTTP(S); by hand alone when empty (station city set)")
    every_minutes: float = setting(15.0, low=1, high=720, text="minutes from one pull to the next")
    timeout_seconds: float = setting(10.0, low=1, high=60, text="a pull that takes longer is given up")
    labelled: str = setting("start", choices=("start", "end"), text="what the table's times are of their hours")


class CityFeedFailed(StationError):
    """Error raised when the city's table could not be had or read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CityHour:
    """What a table says of one hour, by its start."""

    start: datetime
    pm10: float | None
    aqi: int | None
    primary: tuple[str, ...]


# -- from a table to hours


def hour_of(row: Mapping[str, Any], zone: tzinfo, now: datetime, *, labelled: str = "start") -> CityHour:
    """The hour that *row* tells of; raise WrongArgument for what cannot be.

    >>> from datetime import UTC
    >>> row = {"time": "2026-04-01T08:00", "pm10": "85", "aqi": 120, "primary": "PM10 PM2.5"}
    >>> hour_of(row, UTC, datetime(2026, 4, 2, tzinfo=UTC)).primary
    ('pm10', 'pm25')
    """
    unknown = set(row) - set(COLUMNS)
    if unknown:
        raise WrongArgument(f'there is no column "{min(unknown)}"{did_you_mean(min(unknown), COLUMNS)}')
    start = _start(row.get("time"), zone, labelled)
    if start > now:
        raise WrongArgument(f"{start.isoformat()} has not begun")
    pm10, aqi = _number(row, "pm10", MOST_PM10), _number(row, "aqi", MOST_AQI)
    if pm10 is None and aqi is None:
        raise WrongArgument("neither pm10 nor aqi is given")
    if aqi is not None and aqi != int(aqi):
        raise WrongArgument(f"aqi: {aqi:g} is not a whole number")
    primary = _primary(row.get("primary"))
    return CityHour(start=start, pm10=pm10, aqi=None if aqi is None else int(aqi), primary=primary)


def _start(said: Any, zone: tzinfo, labelled: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(said).strip())
    except ValueError as error:
        raise WrongArgument(f'"{said}" is not a time such as 2026-03-01T08:00') from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    local = moment.astimezone(zone)
    if (local.minute, local.second, local.microsecond) != (0, 0, 0):
        raise WrongArgument(f"{said} is not a full hour")
    return moment - HOUR if labelled == "end" else moment


def _number(row: Mapping[str, Any], key: str, most: float) -> float | None:
    said = row.get(key)
    if said is None or str(said).strip().lower() in NOTHING:
        return None
    try:
        value = math.nan if isinstance(said, bool) else float(said)
    except (TypeError, ValueError) as error:
        raise WrongArgument(f'{key}: "{said}" is not a number') from error
    if not 0 <= value <= most:  # neither is NaN
        raise WrongArgument(f"{key}: {value:g} is not between 0 and {most:g}")
    return value


def _primary(said: Any) -> tuple[str, ...]:
    if said is None or str(said).strip().lower() in NOTHING:
        return ()
    words = said if isinstance(said, list | tuple) else re.split(r"[\s,;+、,]+", str(said).strip())
    found = [SPELLINGS.get(str(word).strip().lower(), str(word).strip().lower()) for word in words]
    for one in found:
        if one not in DAILY:
            raise WrongArgument(f'primary: "{one}" is not one of {", ".join(DAILY)}')
    return tuple(dict.fromkeys(found))


def read_table(text: str, zone: tzinfo, now: datetime, *, labelled: str = "start") -> tuple[list[CityHour], list[str]]:
    """The hours of a CSV or JSON *text*, and what is wrong with the rows that were refused.

    Raise CityFeedFailed where it is no such table at all.
    """
    hours: dict[datetime, CityHour] = {}
    refused: list[str] = []
    for number, row in enumerate(_rows(text), start=1):
        try:
            one = hour_of(row, zone, now, labelled=labelled)
        except WrongArgument as error:
            refused.append(f"row {number}: {error}")
            continue
        hours[one.start] = one  # of two rows for an hour the later one
    return [hours[start] for start in sorted(hours)], refused


def _rows(text: str) -> list[Mapping[str, Any]]:
    if text.lstrip().startswith(("[", "{")):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CityFeedFailed(f"not JSON ({error})") from error
        rows = found.get("hours") if isinstance(found, dict) else found
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise CityFeedFailed('not a list of hours, nor an object whose "hours" is one')
        return rows
    import csv  # a feed may be JSON

    lines = list(csv.DictReader(text.lstrip("\ufeff").splitlines()))
    if not lines or "time" not in lines[0]:
        raise CityFeedFailed(f"not a table with the heading {','.join(COLUMNS)}")
    return [{key: value for key, value in line.items() if key is not None} for line in lines]


# -- from hours to records


def records(store: Store, hours: Iterable[CityHour], source: str, now: datetime, user: str = "") -> list[Record]:
    """The records that *hours* make beside what *store* has: none for what is known, none over what a person said."""
    made = []
    for one in hours:
        known = latest(store, one.start)
        body = {"pm10": one.pm10, "aqi": one.aqi, "primary": list(one.primary), "source": source}
        if known is not None and source == FEED and known.body["source"] == BY_HAND:
            continue
        same = known is not None and all(known.body[key] == body[key] for key in body)
        if not same:
            more = {"user": user} if user else {}
            made.append(Record(KIND, one.start, body | more | {"entered": now.isoformat(timespec="seconds")}))
    return made


def latest(store: Store, start: datetime) -> Record | None:
    """What was said last of the hour from *start* on."""
    found = store.records(KIND, start, start + timedelta(milliseconds=1))
    return max(found, key=lambda record: record.id, default=None)


def by_hand(store: Store, rows: Sequence[Mapping[str, Any]], user: str, zone: tzinfo, now: datetime) -> list[Record]:
    """Records of *rows* that a person entered; raise WrongArgument, in which case nothing is to be kept."""
    if not user.strip() or not user.isprintable():
        raise WrongArgument("the city's air by hand needs a name (--user)")
    return records(store, [hour_of(row, zone, now) for row in rows], BY_HAND, now, user.strip())


def faults(settings: CitySettings) -> str | None:
    """What is wrong with its address, or None.

    >>> faults(CitySettings(url="ftp://city/air.csv"))
    '"ftp://city/air.csv" is not an address such as https://host/air.csv'
    """
    good = not settings.url or re.fullmatch(r"https?://[^\s/?#@]+(?:[/?][^\s#]*)?", settings.url)
    return None if good else f'"{settings.url}" is not an address such as https://host/air.csv'


# -- the thread that pulls


def fetch(url: str, timeout_seconds: float) -> str:
    """The text at *url*; raise CityFeedFailed when it is not had whole within *timeout_seconds*."""
    import requests  # only who pulls pays for it

    give_up = time.monotonic() + timeout_seconds
    try:
        with requests.Session() as session:
            session.trust_env = False  # neither proxies nor passwords of whoever started the service
            with session.get(url, timeout=timeout_seconds, stream=True, allow_redirects=False) as answer:
                if answer.status_code != 200:
                    raise CityFeedFailed(f"{url}: answered {answer.status_code}")
                body = bytearray()
                for piece in answer.iter_content(8192):
                    body += piece
                    if len(body) > LARGEST:
                        raise CityFeedFailed(f"{url}: more than {LARGEST} bytes")
                    if time.monotonic() > give_up:
                        raise CityFeedFailed(f"{url}: not whole within {timeout_seconds:g} s")
    except (requests.RequestException, OSError) as error:
        said = "no answer in time" if isinstance(error, requests.Timeout) else type(error).__name__
        raise CityFeedFailed(f"{url}: {said}") from error
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CityFeedFailed(f"{url}: is not UTF-8 text") from error


class CityFeed(Thread):
    """Pulls the city's table now and then; a feed that is lost or back is an event, once."""

    def __init__(self, engine: Engine, settings: CitySettings, beat: Callable[[], None]) -> None:
        super().__init__(name="city", daemon=True)
        self._engine, self._settings, self._beat = engine, settings, beat
        self._over = Event()
        self.complaint = ""
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Pull until stopped; anything unforeseen is kept for the main thread, which ends the process."""
        try:
            while not self._over.is_set():
                self.turn()
                self._rest(self._settings.every_minutes * 60)
        except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
            self.failed = error

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._over.is_set() and (left := until - time.monotonic()) > 0:
            self._beat()
            self._over.wait(min(left, 10.0))

    def turn(self) -> int:
        """One pull; how many hours were new."""
        self._beat()
        engine, settings = self._engine, self._settings
        now = engine.clock.now()
        try:
            text = fetch(settings.url, settings.timeout_seconds)
            hours, refused = read_table(text, engine.loaded.zone, now, labelled=settings.labelled)
        except CityFeedFailed as error:
            self._complain(str(error))
            return 0
        self._complain("; ".join(refused[:3]) if refused and not hours else "")
        made = records(engine.store, hours, FEED, now)
        for record in made:
            engine.keep(record, urgent=record is made[-1])
        return len(made)

    def _complain(self, said: str) -> None:
        if said and not self.complaint:
            log.warning("city's air: %s", said)
            self._engine.note("city_feed_lost", reason=said)
        elif self.complaint and not said:
            log.info("city's air: is back")
            self._engine.note("city_feed_back")
        self.complaint = said

    def wake(self) -> None:
        """End the present rest, so that a stop is seen at once."""
        self._over.set()
