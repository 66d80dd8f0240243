"""Screens beside the station show exactly what is uploaded: the digits of the texts made for a platform.

A screen reads the committed text that the platform gets, and never a reading, so the two cannot differ in rounding,
unit, kind of mean or moment.  In place of digits it shows a word (维护, 校准, 故障, --) where the text's mark is not
N or S, where the point is under maintenance or calibration or its instrument faulty right now, and where it is old.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from station.beside import Beside
from station.clock import from_ms, to_ms
from station.config import resolve, screen_class
from station.i18n import texts
from station.led_template import Place, columns, parse, plain
from station.loader import Fault
from station.model import Kind, Mark, StationError, WrongArgument, did_you_mean
from station.parameters import catalogue
from station.store import SEQUENCE_BITS

if TYPE_CHECKING:
    from station.config import Config
    from station.engine import Engine
    from station.led_settings import ScreenSettings

LOOK_SECONDS = 2.0  # between two looks whether there is something new to show
RENEW_SECONDS = 20.0  # what stays as it is is sent again so often: a screen that lost its supply comes back
LONGEST_AWAY = 30.0  # seconds; twice that is the longest pause between two tries
LOOKED_BACK = 20_000  # messages of a platform looked through at the start
OLD = {"minute": 45 * 60.0, "hour": 195 * 60.0}  # seconds from the start of a period
LEAST_OLD = 120.0
FUTURE_SECONDS = 30.0  # between two looks at records that are dated later than now
AHEAD = timedelta(minutes=1)  # a record dated later than this is none of today's
TEST_SECONDS = 30.0
WORDS = {
    Mark.T: "over", Mark.D: "fault", Mark.C: "calibrating", Mark.M: "maintenance", Mark.F: "stopped", Mark.B: "none",
}  # fmt: skip
AT_ONCE = (Mark.D, Mark.C, Mark.M, Mark.F)  # marks of this moment that do not wait for the next text


class Uploaded:
    """The newest text of each point among the messages of one platform and kind."""

    def __init__(self, engine: Engine, platform: str, kind: Kind) -> None:
        self._engine, self._kind = engine, kind
        self._sender = next(sender for sender in engine.senders if sender.outbox.name == platform)
        self._seen = 0  # message id
        self._at: dict[str, tuple[int, int]] = {}  # start in ms and version
        self._told: dict[str, Mapping[str, tuple[str, Mark, str]]] = {}
        self._again: float | None = None  # when records of a future are looked for once more

    def look(self) -> None:
        """Take in what was committed since the last look; a later version of an older period changes nothing."""
        store, number = self._engine.store, self._sender.outbox.id
        newest, base = store.newest_message(number), number << SEQUENCE_BITS
        limit, now = to_ms(self._engine.clock.now() + AHEAD), self._engine.clock.monotonic()
        self._at = {point: at for point, at in self._at.items() if at[0] <= limit}
        if newest < self._seen or (self._again is not None and now >= self._again):
            self._seen, self._again = 0, None
        rows = store.query(
            "SELECT id, point, start_ms, version FROM message WHERE id > ? AND id <= ? AND kind = ? ORDER BY id",
            (max(base, newest - LOOKED_BACK, self._seen), newest, int(self._kind)),
        )
        self._seen, found = newest, dict[str, int]()
        for key, point, start, version in rows:
            if start > limit:  # the clock was set back, or stands in the past until somebody sets it
                self._again = self._again or now + FUTURE_SECONDS
            elif self._at.get(point, (0, 0)) <= (start, version):
                self._at[point], found[point] = (start, version), key
        for point, key in found.items():
            for (text,) in store.query("SELECT text FROM message WHERE id = ?", (key,)):
                self._told[point] = self._sender.uplink.told(self._kind, text)  # type: ignore[attr-defined]

    def of(self, place: Place) -> tuple[tuple[str, Mark, str] | None, datetime | None]:
        """Digits, mark and unit of a placeholder in the newest text of its point, and when the record begins."""
        at = self._at.get(place.point)
        return (None, None) if at is None else (self._told[place.point].get(place.parameter), from_ms(at[0]))

    def data_time(self, point: str) -> str:
        """The DataTime of the newest text of *point*: 14 digits."""
        return self._told[point]["DataTime"][0]


class LedScreen(Beside):
    """One screen; a turn sends the page that is due, where it differs from what is there or has to be renewed."""

    def __init__(self, engine: Engine, settings: ScreenSettings) -> None:
        super().__init__(engine, "screen", settings.name)
        self.settings = settings
        self._kind = Kind[settings.shows.upper()]
        made = screen_class(settings.protocol)
        self._screen = made(settings, resolve("drivers.screens:way_to")(settings))
        self._uploaded = Uploaded(engine, settings.platform, self._kind)
        points, parameters = known_points(engine.config, settings), catalogue()
        self._pages = [[parse(line, points, parameters) for line in page] for page in settings.pages]
        self._words = {key: word for key, word in texts(settings.language).items() if key.startswith("led.")}
        self._names = {point.code: point.name for point in engine.config.point}
        self._shown: list[str] = []
        self._shown_at = self._test_until = -RENEW_SECONDS
        self._test: list[str] = []

    def turn(self) -> float:
        """Show what is due."""
        now = self.engine.clock.monotonic()
        self._uploaded.look()
        lines = self._test if now < self._test_until else self.page(int(now // self.settings.page_seconds))
        if lines != self._shown or now - self._shown_at >= RENEW_SECONDS:
            try:
                self._screen.show(lines)
            except (StationError, OSError):
                self._shown, self.pause = [], min(self.pause, LONGEST_AWAY)
                raise
            self._shown, self._shown_at = lines, now
        return min(LOOK_SECONDS, self.settings.page_seconds)

    def page(self, number: int) -> list[str]:
        """Every row of page *number*, which goes round, as it is now."""
        lines = self._pages[number % len(self._pages)]
        width = self.settings.columns
        rows = [line.filled(self._said, width) for line in lines]
        return rows + [" " * width] * (self.settings.rows - len(rows))

    def _said(self, place: Place) -> str:
        return plain(self._word(place), self.settings.encoding)

    def _word(self, place: Place) -> str:
        zone = self.engine.loaded.zone
        if not place.parameter:
            now = self.engine.clock.now().astimezone(zone)
            plain_words = {"station": self.engine.config.station.name, "name": self._names.get(place.point, "")}
            return plain_words.get(place.what) or now.strftime("%H:%M" if place.what == "time" else "%Y-%m-%d")
        parameter = catalogue()[place.parameter]
        if place.what == "name":
            return parameter.name(self.settings.language)
        told, at = self._uploaded.of(place)
        if place.what == "unit":
            return (told[2] if told else "") or parameter.unit
        if told is None or at is None or self._is_old(at):
            return self._words["led.none"]
        digits, mark, _ = told
        if place.what == "time":
            digits = self._uploaded.data_time(place.point)
            return f"{digits[8:10]}:{digits[10:12]}"
        mark = max(mark, self._mark_now(place))
        if place.what == "mark":
            return mark.name
        if mark in WORDS:
            return self._words[f"led.{WORDS[mark]}"]
        return digits or self._words["led.none"]

    def _is_old(self, at: datetime) -> bool:
        limit = self.settings.old_seconds or OLD.get(self.settings.shows, 0.0)
        limit = limit or max(LEAST_OLD, 3 * self.engine.realtime[self.settings.platform])
        return (self.engine.clock.now() - at).total_seconds() > limit

    def _mark_now(self, place: Place) -> Mark:
        """What the place is marked with at this moment, by a person or its instrument, where that keeps digits off."""
        marks = [self.engine.periods.marks.mark(place.point, place.parameter, self.engine.clock.now(), Mark.N)]
        for (_, parameter), reading in list(self.engine.recorder.current.items()):
            if (reading.point, parameter) == (place.point, place.parameter):
                marks.append(reading.mark)
        return max((mark for mark in marks if mark in AT_ONCE), default=Mark.N)

    def test(self, seconds: float) -> None:
        """Show a pattern for *seconds*: a word, then rows of blocks; from any thread."""
        width = self.settings.columns
        full = ("■" * (width // 2)).ljust(width // 2 + width % 2)
        word = self._words["led.test"]
        first = (word if columns(word) <= width else "") + " " * max(0, width - columns(word))
        self._test = [first[:width], *[full] * (self.settings.rows - 1)]
        self._test_until = self.engine.clock.monotonic() + seconds
        self.ask()

    def more(self) -> dict[str, Any]:
        """What it shows, and since when it was last sent."""
        shown = [line.rstrip() for line in self._shown]
        return {
            "protocol": self.settings.protocol,
            "port": self.settings.port,
            "platform": self.settings.platform,
            "shows": self.settings.shows,
            "lines": shown,
            "testing": self.engine.clock.monotonic() < self._test_until,
            "words": {"screen_shows": " / ".join(line for line in shown if line)} if any(shown) else {},
        }

    def close(self) -> None:
        """Let go of the port."""
        self._screen.close()


def known_points(config: Config, settings: ScreenSettings) -> list[str]:
    """Codes of the points that its platform is told of, as they stand there; all points where it is not known."""
    for uplink in config.uplink:
        if uplink.name == settings.platform and hasattr(uplink, "point"):
            return [one.point for one in uplink.point]
    return [point.code for point in config.point]


def faults(config: Config, folder: Path) -> Iterator[Fault]:
    """What is wrong in the [[screen]] tables."""
    from station.led_faults import faults as found  # only a check and a start look

    return found(config)


def make(engine: Engine) -> list[Beside]:
    """Every screen of station.toml."""
    return [LedScreen(engine, settings) for settings in engine.config.screen]


def shown(engine: Engine, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each screen shows; with test, person and seconds, have one show a pattern, which is an event."""
    screens = {one.called: one for one in engine.beside if isinstance(one, LedScreen)}
    name = request.get("test")
    if name is not None:
        person, seconds = str(request.get("person") or "").strip(), request.get("seconds") or TEST_SECONDS
        if name not in screens:
            raise WrongArgument(f'there is no screen "{name}"{did_you_mean(str(name), screens)}')
        if not person:
            raise WrongArgument("a pattern in public is on record with a person: --by NAME")
        if not isinstance(seconds, int | float) or not 1 <= seconds <= 600:
            raise WrongArgument("a pattern is shown for 1 to 600 seconds")
        engine.note("screen_test", urgent=True, screen=str(name), user=person, seconds=seconds)
        screens[str(name)].test(float(seconds))
    return [one.shown() for one in screens.values()]
