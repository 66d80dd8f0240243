"""One exchange a tool wants of a line: any function, any serial settings, and what came of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from drivers.base import BadReply, DeviceException, NoReply
from drivers.bus import Bus, Owed
from drivers.line import TABLE
from drivers.port import Speed
from drivers.profile import Profile, Write
from drivers.registers import Request
from drivers.statistics import Statistics

LONGEST_PATIENCE = 3.0  # seconds; a borrowed line is to be given back
GAP_MS = 20.0  # silence before a request (raspberry-pi-io.md, Timing: after changing the device)
MARGIN_SECONDS = 0.1  # silence before it, this machine
SWITCH_SECONDS = 0.2  # a change of speed there and back
LONGEST_FRAMES = 270  # bytes of a request and its reply, where nothing says how long the reply is
WRITES = (5, 6, 15, 16, 22, 23)
HARMLESS = (1, 2, 3, 4, 7, 11, 12, 17)  # functions of the standard that only read

REPLY, EXCEPTION, NOTHING, BROKEN = "reply", "exception", "nothing", "broken"


class Ask(NamedTuple):
    """What is asked: *data* stands between *function* and CRC; *patience* is how long the unit may think."""

    unit_id: int
    function: int
    data: bytes
    speed: Speed | None = None  # the line's own without it
    patience: float = 0.3
    answer_bytes: int | None = None  # of the data of a reply whose first byte is not their number

    def as_dict(self) -> dict[str, Any]:
        """The question as it goes through the control socket."""
        return self._asdict() | {"data": self.data.hex(), "speed": list(self.speed) if self.speed else None}

    def seconds(self, speed: Speed) -> float:
        """How long it may take at *speed*, where it names none itself."""
        count = int.from_bytes(self.data[2:4], "big") if self.function in TABLE and len(self.data) == 4 else 125
        wire = min(LONGEST_FRAMES, 13 + 2 * count) * (self.speed or speed).line.character
        switch = SWITCH_SECONDS if self.speed not in (None, speed) else 0.0
        return min(self.patience, LONGEST_PATIENCE) + wire + MARGIN_SECONDS + switch


class Answer(NamedTuple):
    """What came: *state* is reply, exception, nothing or broken; *data* is the reply's, registers for a read."""

    state: str
    data: bytes = b""
    code: int = 0  # of an exception
    text: str = ""  # what went wrong, for logs

    def as_dict(self) -> dict[str, Any]:
        """The answer as it goes through the control socket."""
        return self._asdict() | {"data": self.data.hex()}


def ask_of(raw: Mapping[str, Any]) -> Ask:
    """The question in *raw*, as Ask.as_dict made it; ValueError where it is none."""
    try:
        speed = raw.get("speed")
        made = Ask(
            int(raw["unit_id"]),
            int(raw["function"]),
            bytes.fromhex(raw["data"]),
            Speed(int(speed[0]), str(speed[1]), int(speed[2])) if speed else None,
            float(raw.get("patience") or 0.3),
            None if raw.get("answer_bytes") is None else int(raw["answer_bytes"]),
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a question: {error}") from error
    if not (0 <= made.unit_id <= 255 and 1 <= made.function <= 127 and len(made.data) <= 252):
        raise ValueError("unit_id is 0 to 255, function 1 to 127, data at most 252 bytes")
    return made


def answer_of(raw: Mapping[str, Any]) -> Answer:
    """The answer in *raw*, as Answer.as_dict made it."""
    return Answer(raw["state"], bytes.fromhex(raw["data"]), int(raw["code"]), raw["text"])


class Asker(Protocol):
    """Whoever can have something asked on a line: a bus of our own, or the running station."""

    speed: Speed  # the line's own

    def ask(self, question: Ask) -> Answer:
        """Have *question* asked; raise StationError where the line cannot be had."""

    def close(self) -> None:
        """Let go of the line."""


def perform(bus: Bus, question: Ask) -> Answer:
    """Ask *question* on *bus*, from its own thread.

    What a tool asks is none of the line's statistics: a scan would fill them with units that are not there.
    """
    kept, bus.statistics = bus.statistics, defaultdict(Statistics)
    try:
        with bus.speaking(question.speed), _owed_apart(bus, question):
            return Answer(REPLY, _exchange(bus, question))
    except DeviceException as error:
        found = re.search(r"exception (\d+)", str(error))
        return Answer(EXCEPTION, b"", int(found[1]) if found else 0, str(error))
    except NoReply as error:
        return Answer(NOTHING, b"", 0, str(error))
    except BadReply as error:
        return Answer(BROKEN, b"", 0, str(error))
    finally:
        bus.statistics = kept


# What is owed on a line by units that were asked at other speeds than their own, by that speed.
_owed_at: WeakKeyDictionary[Bus, dict[Speed, dict[int, list[Owed]]]] = WeakKeyDictionary()


@contextmanager
def _owed_apart(bus: Bus, question: Ask) -> Iterator[None]:
    """Have the replies owed at the speed of *question* alone awaited: others would be noise at it."""
    own = bus.speeds.get(question.unit_id, bus.own_speed)
    if question.speed in (None, own):
        yield
        return
    kept, bus.owed = bus.owed, _owed_at.setdefault(bus, {}).setdefault(question.speed or own, {})
    try:
        yield
    finally:
        bus.owed = kept


def _exchange(bus: Bus, question: Ask) -> bytes:
    patience = min(question.patience, LONGEST_PATIENCE)
    profile = Profile(
        name="tool",
        title="",
        baudrate=bus.settings.baudrate,
        unit_id=1,
        worst_reply_ms=1000 * patience,
        gap_ms=GAP_MS,
        bridge_gaps=False,
    )
    function, data = question.function, question.data
    if function in TABLE and len(data) == 4 and 1 <= int.from_bytes(data[2:], "big") <= 125:
        address, count = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:], "big")
        return bus.read(question.unit_id, Request(TABLE[function], address, count, ()), profile)
    if (write := _write(function, data)) is not None:
        bus.write(question.unit_id, write, profile)
        return data[:4]
    return bus.raw(question.unit_id, function, data, profile, answer_bytes=question.answer_bytes)


def _write(function: int, data: bytes) -> Write | None:
    """The write in *data*, where the profile language knows it."""
    address = int.from_bytes(data[:2], "big")
    words = data[2:4] if function in (5, 6) else data[5:]
    values = tuple(int.from_bytes(words[i : i + 2], "big") for i in range(0, len(words), 2))
    if function == 5:
        values = (int(bool(values and values[0])),)
    made = Write(address=address, function=function, values=values) if function in (5, 6, 16) and values else None
    return made if made is not None and made.body == data else None
