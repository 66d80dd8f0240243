"""An instrument that has its line to itself: it talks by itself, or answers a question with a line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

from drivers.base import BadReply, DeviceError, DeviceSettings, NoReply, PortLost, ProfileError
from drivers.bus import Bus
from drivers.records import FORMATS, MOST_HELD, Field, Format, Record, Records, es642
from drivers.statistics import Statistics
from station.model import Mark, Reason, Sample, dataclass, did_you_mean, replace, setting

log = logging.getLogger(__name__)

PERIODS_OF_PATIENCE = 2.5  # a stream is silent when for so many of its own periods no record came
LONGEST_LISTENING = 5.0  # seconds one poll listens at most; a slower stream is listened to over several
MOST_ASKED = 3  # answers taken until two agree
GAP_SECONDS = 0.3  # nobody pauses so long within a record: what comes after it begins one
ONLY_UNIT = 0  # under which the line's statistics are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings(DeviceSettings):
    """The keys of a [[bus.device]] table whose driver is "stream"."""

    alone: ClassVar[bool] = True  # nothing else can be on its line

    profile: str = setting(text="which instrument it is: a row of the table of stream instruments")
    variant: str | None = setting(None, text="what its inlet lets through, where it can be fitted with several")
    every_seconds: float | None = setting(
        None, low=0.1, high=86400, text="how often it sends a record, where it was set otherwise than as shipped"
    )
    verify_checksum: bool = setting(True, text="false only where an instrument's lines all fail by their checksum")


class StreamDevice:
    """An instrument that is alone on *bus* and delivers whole records.

    A record counts when it is completed while somebody listens, and is dated by that moment.  What waited in
    the port came since the last poll: it is taken if that is no longer ago than the instrument's own period,
    else it is stale and the next one is waited for.  No record is delivered twice.
    """

    Settings = StreamSettings

    def __init__(
        self, settings: StreamSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]
    ) -> None:
        self._format = format_of(settings)
        self._fields = chosen_fields(settings, self._format)
        self.name = settings.name
        self.parameters = tuple(field.parameter for field in self._fields)
        self.units: Mapping[str, str] = {field.parameter: field.unit for field in self._fields}
        self.every_seconds = 0.0 if self._format.ask else self._format.every_seconds
        self.poll_minimum_seconds = min(1.0, self._format.every_seconds)
        self.actions: Mapping[str, Sequence[str]] = dict.fromkeys(self._format.orders or {}, self.parameters)
        self.hints = _hints(self._format, bus)
        self.condition = ""  # what the instrument says of itself
        self._bus, self._now = bus, now
        read = partial(es642, checksum=False) if self._format.read is es642 and not settings.verify_checksum else None
        self._records = Records(self._format, read)
        self._listened: float | None = None  # when the line was last listened to, on the clock that never steps
        self._heard = 0.0  # when the last record came
        self._came = 0  # bytes in the present poll

    @property
    def statistics(self) -> Statistics:
        """What the line has brought."""
        return self._bus.statistics[ONLY_UNIT]

    def read(self) -> list[Sample]:
        """The newest record's samples; none if a slow stream has nothing new yet; raise DriverError on silence."""
        patience = self._patience()
        if self._listened is None:
            self._heard = self._bus.monotonic()
        deadline = self._bus.monotonic() + min(patience, LONGEST_LISTENING)
        self.statistics.requests += not self._format.ask  # a poll, where nothing is asked
        bad, dropped, self._came = self._records.bad, self._records.dropped_bytes, 0
        try:
            record = self._agreed(patience) if self._format.ask else self._waiting() or self._next(deadline)
        except PortLost:
            self._records.restart()
            raise
        finally:
            self.statistics.bad_replies += self._records.bad - bad
            self.statistics.leftover_bytes += self._records.dropped_bytes - dropped
            self._listened = self._bus.monotonic()
        if record is not None:
            self._heard = self._listened
            return self._samples(record)
        if self._listened - self._heard < patience:
            return []
        raise self._silence(patience, self._records.bad - bad)

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Send the order for *verb* and wait for the answer it has; raise DeviceError when it was not done."""
        order = (self._format.orders or {}).get(verb)
        if order is None:
            raise DeviceError(f"{self.name}: has no way to {verb}")
        log.warning("device %s: %s", self.name, verb)
        self._bus.say(order.sent)
        answer = b""
        deadline = self._bus.monotonic() + LONGEST_LISTENING
        while order.done and b"\n" not in answer and (left := deadline - self._bus.monotonic()) > 0:
            answer += self._bus.listen(left)[: MOST_HELD - len(answer)]
        if not answer.startswith(order.done):
            said = answer.decode("ascii", "replace").strip() or "nothing"
            raise DeviceError(f"{self.name}: {verb} was not done, the answer is {said!r}")
        return {}

    def close(self) -> None:
        """Nothing: the port belongs to the bus."""

    def _patience(self) -> float:
        return self._format.reply_seconds if self._format.ask else PERIODS_OF_PATIENCE * self._format.every_seconds

    def _next(self, deadline: float) -> Record | None:
        """The next record that is completed before *deadline*."""
        record = None
        while record is None and (left := deadline - self._bus.monotonic()) > 0:
            record = self._newest(self._hear(left))
        return record

    def _agreed(self, patience: float) -> Record | None:
        """The answer that agrees with one before it, None where an answer is missing; raise BadReply if none does."""
        seen: list[Record] = []
        while len(seen) < MOST_ASKED:
            self._records.restart()
            self.statistics.requests += 1
            asked_at = self._bus.monotonic()
            self._bus.say(self._format.ask)
            record = self._next(asked_at + patience)
            if record is not None:
                self.statistics.answered(self._bus.monotonic() - asked_at)
            if record is None or self._format.agree is None:
                return record
            if any(_same(record, other, self._format.agree) for other in seen):
                return record
            seen.append(record)
        self.statistics.bad_replies += 1
        said = ", ".join(str(next(iter(record.values.values()))) for record in seen)
        raise BadReply(f"{self._bus.settings.port}: of {MOST_ASKED} answers of {self.name} no two agree: {said}")

    def _waiting(self) -> Record | None:
        """The newest record that waited in the port, unless it may be older than the instrument's period."""
        record = self._newest(self._bus.listen(0))
        if self._listened is None or self._bus.monotonic() - self._listened > self._format.every_seconds:
            return None
        return record

    def _hear(self, patience: float) -> bytes:
        """What comes within *patience* seconds, the records told if it came after a silence."""
        began = self._bus.monotonic()
        data = self._bus.listen(patience)
        if data and self._bus.monotonic() - began >= GAP_SECONDS:
            self._records.begin()
        return data

    def _newest(self, data: bytes) -> Record | None:
        self._came += len(data)
        found = self._records.feed(data)
        return found[-1] if found else None

    def _samples(self, record: Record) -> list[Sample]:
        time = self._now()
        self._note(record.condition)
        return [_sample(field, record, time) for field in self._fields]

    def _note(self, condition: str) -> None:
        """Keep what the instrument reports of itself, and log it when it changes."""
        if condition != self.condition:
            self.condition = condition
            log.warning("device %s: reports %s", self.name, condition or "no fault any more")

    def _silence(self, patience: float, bad: int) -> DeviceError:
        port = self._bus.settings.port
        if not self._came:
            self.statistics.timeouts += 1
            asked = " to the question" if self._format.ask else ""
            return NoReply(f"{port}: no record of {self.name}{asked} within {patience:g} s")
        self.statistics.bad_replies += not bad
        why = f"; {bad} were none, the last for {self._records.last_fault}" if bad else ""
        hint = f"; {self.hints[0]}" if self.hints else ""
        return BadReply(f"{port}: {self._came} bytes and no record of {self.name} within {patience:g} s{why}{hint}")


def _same(record: Record, other: Record, within: float) -> bool:
    """Whether both say the same, numbers *within* so much."""
    if record.condition != other.condition or record.values.keys() != other.values.keys():
        return False
    pairs = [(value, other.values[name]) for name, value in record.values.items()]
    return all(a == b or (a is not None and b is not None and abs(a - b) <= within) for a, b in pairs)


def _sample(field: Field, record: Record, time: datetime) -> Sample:
    raw = record.values.get(field.name)
    if raw is None:
        reason = Reason.STATUS if record.condition else Reason.NO_VALUE
        return Sample(field.parameter, time, None, max(record.mark, Mark.D), reason)
    value = float(f"{raw * field.scale:.9g}")  # 1013.2 hPa are 101.32 kPa, not 101.32000000000001
    mark, reason = record.mark, Reason.STATUS if record.mark is not Mark.N else Reason.NONE
    low, high = field.range or (value, value)
    if value > high and mark < Mark.T:
        mark, reason = Mark.T, Reason.ABOVE_RANGE
    if value < low and mark < Mark.D:
        mark, reason = Mark.D, Reason.BELOW_RANGE
    return Sample(field.parameter, time, value, mark, reason)


def format_of(settings: StreamSettings) -> Format:
    """How the instrument of *settings* writes; raise ProfileError when there is none of its name."""
    form = FORMATS.get(settings.profile)
    if form is None:
        hint = did_you_mean(settings.profile, FORMATS) or f"; there are {', '.join(FORMATS)}"
        raise ProfileError(f"there is no stream instrument {settings.profile!r}{hint}")
    if settings.every_seconds is None:
        return form
    if form.ask:
        raise ProfileError(f"{settings.profile}: is asked at each poll; every_seconds is for what sends by itself")
    return replace(form, every_seconds=settings.every_seconds)


def chosen_fields(settings: StreamSettings, form: Format) -> list[Field]:
    """The fields taken, the nameless one under the parameter the variant gives it."""
    if settings.variant not in (form.variants or (None,)):
        known = f"variant is one of {', '.join(form.variants)}" if form.variants else "it has no variants"
        raise ProfileError(f"{settings.profile}: {known}{did_you_mean(settings.variant or '', form.variants)}")
    known_fields = {f.parameter or str(settings.variant): f for f in form.fields}
    for parameter in settings.parameters:
        if parameter not in known_fields:
            raise ProfileError(
                f"{settings.profile}: does not measure {parameter!r}{did_you_mean(parameter, known_fields)};"
                f" it has {', '.join(known_fields)}"
            )
    wanted = settings.parameters or [p for p in known_fields if p not in form.optional]
    return [
        Field(f.name, parameter, f.unit, f.scale, f.example, f.range)
        for parameter, f in known_fields.items()
        if parameter in wanted
    ]


def _hints(form: Format, bus: Bus) -> tuple[str, ...]:
    """What is no fault and yet unusual about the line."""
    line = bus.settings
    shipped, found = (f"{s.baudrate} 8{s.parity}{s.stopbits}" for s in (form, line))
    return () if shipped == found else (f"the line is set to {found}, the instrument is shipped with {shipped}",)
