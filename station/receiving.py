"""Senders of HJ 212 as instruments: hosts of CEMS, dust monitors and other loggers that already report by it.

A [[bus]] whose port is `hj212+tcp://ADDRESS:PORT` listens there for any number of senders, a serial port reads what
one writes; each [[bus.device]] with `driver = "hj212"` is one sender, known by its MN.  What it uploads becomes samples
with the mark it gave, and it is answered (9014, 9013, 9011) as a platform answers.  An answer says that the data came:
like a reading of any instrument they are on the disk with the next commit.

Frames and dialects are those of uplink/hj212, where the confidence of each fact stands (2017 read in full, 2005 and
2025 B or C).  Nothing that comes is trusted: frames are bounded, connections are few, a foreign MN or a wrong password
brings nothing and is counted, and no sender can be in the way of another.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import math
import re
import selectors
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from weakref import WeakKeyDictionary

from drivers.base import BadReply, DeviceError, DeviceSettings, NoReply, PortLost, ProfileError
from drivers.bus import Bus
from drivers.statistics import Statistics
from station.config import secret_path
from station.model import Mark, Reason, Sample, dataclass, did_you_mean, field, setting
from station.parameters import catalogue
from uplink.hj212.dialects import Dialect, dialect
from uplink.hj212.frame import (
    ANSWER_BIT,
    CHUNK,
    CRC_VARIANTS,
    SEGMENT_LIMIT,
    SPLIT_BIT,
    VERSION_SHIFT,
    FrameError,
    FrameReader,
    Segment,
    crc,
    encode,
    factors,
    fence,
)
from uplink.hj212.messages import COMMANDS, INTERACTION, conversion, moment

log = logging.getLogger(__name__)

SCHEME = "hj212+tcp://"
PORT = re.compile(r"hj212\+tcp://(?:\[([0-9a-fA-F:]+)\]|([0-9.]+)):(\d{1,5})/?")
MOST_CONNECTIONS, MOST_OF_ONE_ADDRESS = 64, 16
LOOK_SECONDS = 5.0  # between two looks for idle connections
IDLE_SECONDS = 600.0  # a connection that brings no sound frame for so long is closed
MOST_WRONG = 20  # faults on one connection before it is closed
MOST_UNSENT = 4096  # bytes a client may leave unread
MOST_HELD = 2000  # samples between two polls
MOST_KNOWN = 512  # data areas remembered, to take a repetition for one
MOST_LEFT = 8  # addresses remembered that a sender came from before
TOLD_SECONDS = 3600.0  # a refusal is told so often
PATIENCE = 2.5  # silent for so many of its own intervals, a sender is offline
SLACK_SECONDS = 5.0
LISTEN_SECONDS = 0.2  # one poll of a serial port waits so long for a first byte
PUMP_SECONDS, PUMP_BYTES = 2.0, 16 * CHUNK  # one poll takes no more of a line that never falls silent
FRAME_SECONDS = 5.0  # a frame begun must be there by then
MOST_AHEAD = timedelta(minutes=10)  # a sender's clock may be ahead so far
OLDEST_MINUTE = timedelta(hours=2)  # an older minute would rewrite hours that were reported long ago
STALE = timedelta(minutes=2)  # real-time data that are older were re-sent: nobody saw them when they were real
CLOCK_ERROR = timedelta(seconds=30)  # is said of a sender whose clock is further off
FAULTS: Mapping[str, str] = {  # what is wrong with a frame, by the error of uplink/hj212/frame.py
    "CrcWrong": "CRC wrong",
    "LengthWrong": "length wrong",
    "StructureWrong": "structure wrong",
    "FrameUnfinished": "frame not finished",
}
UPLOADED = frozenset(row.cn for row in COMMANDS if row.direction == "up" and row.kind == "U")
NOTICED = frozenset(row.cn for row in COMMANDS if row.direction == "up" and row.kind == "N")
PASSWORD_WRONG = 3  # of QnRtn (HJ 212-2017 table 6, read)
TAKEN = {"realtime": ("2011", ("Rtd",)), "minute": ("2051", ("Avg", "Rtd"))}


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings(DeviceSettings):
    """The keys of a [[bus.device]] table whose driver is "hj212": one sender."""

    mn: str = setting(text="the MN it sends under")
    standard: str = setting("2017", choices=("2005", "2017", "2025"), text="the edition it speaks")
    dialect: str = setting("", text="a variant, as for uplinks, such as site-dust-names")
    takes: str = setting("realtime", choices=tuple(TAKEN), text="what is taken of it: 2011 or 2051")
    every_seconds: float = setting(30.0, low=1, high=3600, text="how often it sends that")
    password_file: str = setting("", text="the file with its PW; any is taken when empty")
    codes: Mapping[str, str] = field(
        default_factory=dict, metadata={"text": "parameter = the factor code it uses, where it is not the standard's"}
    )
    sent_units: Mapping[str, str] = field(
        default_factory=dict, metadata={"text": "parameter = the unit it sends in, where it is not the catalogue's"}
    )
    timezone: str = setting("+08:00", text="of its DataTime, as an offset from UTC")
    answers: bool = setting(True, text="whether it is answered where it asks to be")
    crc: str = setting("hj212", choices=tuple(CRC_VARIANTS), text="its check digits; some relays send those of Modbus")
    addresses: tuple[str, ...] = setting((), text="the IP addresses it may come from; any when empty")


# -- configuration


def address_of(port: str) -> tuple[str, int]:
    """Where to listen; ValueError with a sentence for what is no address.

    >>> address_of("hj212+tcp://127.0.0.1:9001"), address_of("hj212+tcp://[::1]:9001")
    (('127.0.0.1', 9001), ('::1', 9001))
    """
    found = PORT.fullmatch(port)
    if found is None:
        raise ValueError(f"{port} is no address to listen on, such as {SCHEME}127.0.0.1:9001")
    host, number = found[1] or found[2], int(found[3])
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{port}: {host} is no IP address of this machine, such as 127.0.0.1 or 0.0.0.0") from None
    if not 1 <= number <= 65535:
        raise ValueError(f"{port}: {number} is no TCP port")
    return host, number


def faults(bus: Any) -> Iterator[tuple[str, str]]:
    """What is wrong in a [[bus]] table that has senders: the key, and a sentence."""
    listens = bus.port.startswith(SCHEME)
    if listens:
        try:
            address_of(bus.port)
        except ValueError as error:
            yield "port", str(error)
    seen: dict[tuple[str, str], str] = {}
    for d, device in enumerate(bus.device):
        if device.driver != "hj212":
            if listens:
                yield f"device[{d}].driver", f'{SCHEME}… is where senders of HJ 212 (driver = "hj212") come in'
            continue
        if (name := seen.setdefault((device.mn, device.takes), device.name)) != device.name:
            yield f"device[{d}].mn", f'"{device.mn}" is already "{name}" on this bus'
        if device.crc != bus.device[0].crc and bus.device[0].driver == "hj212":
            yield f"device[{d}].crc", f'all senders of a bus have one kind; that of "{bus.device[0].name}" is another'
        for key, text in _sender_faults(device):
            yield f"device[{d}].{key}", text


def _sender_faults(device: SenderSettings) -> Iterator[tuple[str, str]]:
    if not device.parameters:
        yield "parameters", "which parameters it sends has to be said: no profile knows it"
    if not re.fullmatch(r"[!-~]{1,27}", device.mn) or set(device.mn) & set(";,=&#"):
        yield "mn", f'"{device.mn}" is not 1 to 27 printable characters without ;,=&#'
    for address in device.addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            yield "addresses", f'"{address}" is no IP address'
    for key in ("codes", "sent_units"):
        for parameter in getattr(device, key):
            if parameter not in device.parameters:
                yield f"{key}.{parameter}", f"is none of its parameters{did_you_mean(parameter, device.parameters)}"


def warnings(bus: Any) -> Iterator[tuple[str, str]]:
    """What is no fault and yet to be thought about."""
    if not bus.port.startswith(SCHEME):
        return
    with contextlib.suppress(ValueError):
        host, _ = address_of(bus.port)
        if not ipaddress.ip_address(host).is_loopback and not all(device.addresses for device in bus.device):
            yield "port", "whoever reaches it may send: name the addresses of its senders, HJ 212 itself proves nothing"


# -- senders


class Sender:
    """One sender on *bus*; what it brought since the last poll is what a poll reads."""

    Settings = SenderSettings

    def __init__(
        self, settings: SenderSettings, bus: Bus, folders: Sequence[Path], now: Callable[[], datetime]
    ) -> None:
        self.settings, self._bus, self._now = settings, bus, now
        self.name = settings.name
        self.spoken: Dialect = dialect(settings.standard, settings.dialect)
        self._zone = _zone(settings.timezone)
        self._codes = {_code(settings, self.spoken, one): one for one in settings.parameters}
        if len(self._codes) != len(settings.parameters):
            raise ProfileError("codes: two parameters have one factor code")
        self._shifts = {one: _shift(settings, self.spoken, one) for one in settings.parameters}
        self._marks = {text: mark for mark, text in self.spoken.marks.items()} | {mark.name: mark for mark in Mark}
        self.units: Mapping[str, str] = {one: catalogue()[one].unit for one in settings.parameters}
        self.every_seconds = settings.every_seconds
        self.poll_minimum_seconds = 0.5
        self.speaks = True  # asking it more rarely would only mean to hear it later
        self.patience_seconds = PATIENCE * settings.every_seconds + SLACK_SECONDS
        self.closing_seconds = 120.0 if settings.takes == "minute" else 0.0
        self.actions: Mapping[str, Sequence[str]] = {}
        self.hints: Sequence[str] = ()
        self.condition = ""
        self._secret = secret_path(settings.password_file, folders[0].parent) if settings.password_file else None
        self._heard: float | None = None  # when it last brought a value
        self._other = ""  # what came since then and was none
        self._holder = ""  # the address it comes from
        self._left: deque[str] = deque(maxlen=MOST_LEFT)  # and those it came from before
        self._held_at = 0.0
        self._behind: tuple[timedelta, datetime] | None = None
        self._lock = Lock()
        self._inbox: deque[Sample] = deque(maxlen=MOST_HELD)
        self._known: deque[bytes] = deque(maxlen=MOST_KNOWN)  # digests
        self.statistics: Statistics = bus.statistics[crc(f"{settings.mn} {settings.takes}".encode())]
        hub_of(bus).seat(self)

    @property
    def conditions(self) -> Sequence[str]:
        """What `station status` says of it, and of its bus beside the first sender of that."""
        return [text for text in (self.condition, hub_of(self._bus).refused(self)) if text]

    def read(self) -> list[Sample]:
        """What came since the last poll; raise NoReply when it was silent for too long, BadReply when it sent no value.

        A value is what counts: a sender that goes on with other commands or other codes is as good as gone.
        """
        hub = hub_of(self._bus)
        hub.serve(self)
        if self._heard is None:
            self._heard = self._bus.monotonic()
        self.statistics.requests += 1
        with self._lock:
            found = list(self._inbox)
            self._inbox.clear()
        if found:
            return found
        silent = self._bus.monotonic() - self._heard
        if silent < self.patience_seconds:
            return []
        who = f"{self._bus.settings.port}: nothing from MN {self.settings.mn} for {silent:.0f} s"
        if self._other:
            raise BadReply(f"{who} that is a value; {self._other}")
        self.statistics.timeouts += 1
        raise NoReply(who)

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing can be ordered: a sender is listened to."""
        raise DeviceError(f"{self.name}: has no way to {verb}")

    def close(self) -> None:
        """Its seat is free; nobody left, nobody listens."""
        hub_of(self._bus).leave(self)

    # -- from the thread that listens

    def welcome(self, segment: Segment, address: str) -> str:
        """Why *segment* is not taken, "" if it is."""
        if self.settings.addresses and address and address not in self.settings.addresses:
            return "foreign address"
        if self._secret is not None:
            try:
                wanted = self._secret.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                return "its password file cannot be read"
            if not wanted or segment.pw != wanted:  # an emptied file lets nobody in
                return "wrong password"
        return "" if self._is_one(address) else "one MN from two addresses"

    def _is_one(self, address: str) -> bool:
        """Whether *address* is where it comes from: it may move, as with a new connection of 4G, but not to and fro.

        When the address it left speaks again while the new one does, two senders have one MN, and mixing them would
        make one series of two instruments.  The newer one is kept, until it is silent.
        """
        now = self._bus.monotonic()
        alive = bool(self._holder) and now - self._held_at < self.patience_seconds
        if not alive:
            self._left.clear()
        elif address != self._holder:
            if address in self._left:
                return False
            self._left.append(self._holder)
        self._holder, self._held_at = address, now
        return True

    def take(self, segment: Segment) -> None:
        """Put what *segment* says into the inbox, once."""
        cn, suffixes = TAKEN[self.settings.takes]
        if segment.cn != cn:
            self._other = self._other or f"it sends {segment.cn}, and {cn} is taken (takes)"
            return
        found = factors(segment.data)
        said = found.get("", {}).get("DataTime", "")
        if said and self._repeated(f"{said} {segment.pno} {segment.data}"):
            self.statistics.unasked += 1  # it had no answer, or lost it
            self._other = "it repeats what it has sent"
            return
        own = [(one, found[code]) for code, one in self._codes.items() if code in found]
        if not own:
            self._strange(segment, found)
            return
        at = self._dated(said)
        if at is None:
            self.statistics.late += 1
            self._other = f"its DataTime is {said[:14]!a}"
            return
        self.statistics.answered(0.0)
        self._heard, self._other = self._bus.monotonic(), ""
        with self._lock:
            self._inbox.extend(self._sample(one, values, suffixes, at) for one, values in own)

    def _repeated(self, text: str) -> bool:
        """Whether the same was said before."""
        key = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).digest()
        if key in self._known:
            return True
        self._known.append(key)
        return False

    def _strange(self, segment: Segment, found: Mapping[str, Mapping[str, str]]) -> None:
        """None of its parameters came; a packet of several may have only others'."""
        if (segment.flags or 0) & SPLIT_BIT:
            return
        self.statistics.bad_replies += 1
        codes = ", ".join(code[:12].encode("ascii", "replace").decode() for code in list(found)[:6] if code)
        self._other = self.condition = f"sends none of its parameters; it sends {codes or 'no factor'} (codes)"

    def _dated(self, said: str) -> datetime | None:
        """When what is said of *said* was; None for what is too old, or not yet."""
        now = self._now()
        try:
            at = moment(said, self._zone)
        except ValueError:
            self.condition = "its DataTime is none; dated by this station"
            return now if self.settings.takes == "realtime" else None
        error = at - now
        if self.settings.takes == "minute":
            self.condition = ""
            return at if -OLDEST_MINUTE <= error <= MOST_AHEAD else None
        if error < -STALE and not self._steady(error, now):
            return None
        off = abs(error) > CLOCK_ERROR
        self.condition = f"its clock is {error.total_seconds():+.0f} s from this station's" if off else ""
        return now  # this station's clock dates what is measured now

    def _steady(self, error: timedelta, now: datetime) -> bool:
        """Whether a sender that is so far behind is so every time: then its clock is slow, and nothing is re-sent."""
        before, self._behind = self._behind, (error, now)
        if before is None:
            return False
        apart, every = (now - before[1]).total_seconds(), self.settings.every_seconds
        return abs(before[0] - error).total_seconds() < every / 3 and apart > every / 2

    def _sample(self, parameter: str, values: Mapping[str, str], suffixes: Sequence[str], at: datetime) -> Sample:
        usual = catalogue()[parameter].suffix
        text = next((values[name] for name in (*suffixes, usual) if name in values), "")
        flag = values.get("Flag", "")
        mark = self._marks.get(flag, Mark.D) if flag else Mark.N
        try:
            value = float(text) if re.fullmatch(r"[+-]?\d{1,12}(\.\d{1,12})?([eE][+-]?\d{1,2})?", text) else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            return Sample(parameter, at, None, max(mark, Mark.D), Reason.NO_VALUE)
        shift = self._shifts[parameter]
        value = value / 10**-shift if shift < 0 else value * 10**shift
        return Sample(parameter, at, value, mark, Reason.NONE if mark is Mark.N else Reason.STATUS)


def _zone(text: str) -> tzinfo:
    found = re.fullmatch(r"([+-])(\d\d):(\d\d)", text)
    if found is None or int(found[2]) > 14 or int(found[3]) > 59:
        raise ProfileError(f'timezone: "{text}" is not an offset such as +08:00')
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-offset if found[1] == "-" else offset)


def _code(settings: SenderSettings, spoken: Dialect, parameter: str) -> str:
    known = catalogue().get(parameter)
    if known is None:
        raise ProfileError(f'parameters: there is no "{parameter}"{did_you_mean(parameter, catalogue())}')
    code = settings.codes.get(parameter) or spoken.codes.get(parameter) or getattr(known, spoken.code)
    if not code:
        raise ProfileError(f"codes.{parameter}: has no factor code in {spoken.name}; say which it is sent under")
    return str(code)


def _shift(settings: SenderSettings, spoken: Dialect, parameter: str) -> int:
    """The power of ten from what is sent to the catalogue's unit."""
    unit = catalogue()[parameter].unit
    sent = settings.sent_units.get(parameter) or spoken.units.get(parameter) or unit
    shift = conversion(sent, unit)
    if shift is None:
        raise ProfileError(f"sent_units.{parameter}: {sent} cannot be turned into {unit}")
    return shift


# -- where they come in


@dataclass(slots=True, eq=False)
class _Link:
    """One connection."""

    connection: Any  # a socket; None is the serial port
    address: str
    reader: FrameReader
    heard: float
    sound: bool = False  # whether a frame of one of the senders came by it
    begun: float | None = None  # when the frame that is being received began
    unsent: bytearray = field(default_factory=bytearray)
    wrong: int = 0


class Hub:
    """What the senders of one bus come in by: a listening socket with a thread of its own, or a serial port."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._senders: dict[tuple[str, str], Sender] = {}
        self.counts: Counter[str] = Counter()
        self._told: dict[str, float] = {}
        self._listens = bus.settings.port.startswith(SCHEME)
        self._serial: _Link | None = None
        # How long the longest frame takes, by its bits: 8.5 s at 1200 bit/s.
        self._frame_seconds = 0.0 if self._listens else 10 * SEGMENT_LIMIT / bus.settings.baudrate
        self._noise = 0  # bytes that belonged to no frame
        self._links: dict[socket.socket, _Link] = {}
        self._thread: Thread | None = None
        self._stop = Event()
        self._bell: socket.socket | None = None

    def seat(self, sender: Sender) -> None:
        """Know *sender* from now on; nobody listens yet."""
        self._senders[sender.settings.mn, sender.settings.takes] = sender

    def serve(self, sender: Sender) -> None:
        """Have *sender* listened to; raise PortLost where that is not possible."""
        self.seat(sender)
        if not self._listens:
            self._pump()
            return
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def leave(self, sender: Sender) -> None:
        """*sender* is listened to no longer."""
        self._senders.pop((sender.settings.mn, sender.settings.takes), None)
        if not self._senders and self._thread is not None:
            self._stop.set()
            if self._bell is not None:
                self._bell.close()  # readable at the other end
            self._thread.join(5)
            self._thread = self._bell = None

    def links(self) -> int:
        """How many connections there are."""
        return len(self._links)

    # -- a serial port

    def _pump(self) -> None:
        """Take what came by the serial port; called by whoever is polled."""
        began, taken, frames = self._bus.monotonic(), 0, self.counts["frames"]
        link = self._serial = self._serial or _Link(None, "", self._new_reader(), began)
        while data := self._bus.listen(LISTEN_SECONDS if link.reader.unfinished else 0.02):
            self._bus.beat()
            for answer in self._answers(link, data):
                self._bus.say(answer, keep=True)  # another may be speaking already
            taken += len(data)
            if len(data) < CHUNK and not link.reader.unfinished:
                return
            if self._bus.monotonic() - began > PUMP_SECONDS + self._frame_seconds or taken > PUMP_BYTES:
                if self.counts["frames"] == frames:
                    self.count("line that never falls silent", "")
                return
        for answer in self._overdue(link):
            self._bus.say(answer, keep=True)

    # -- a network

    def _start(self) -> None:
        where = self._bus.settings.port
        try:
            host, port = address_of(where)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=16)
        except OSError as error:
            raise PortLost(f"{where}: cannot be listened on ({error.strerror})") from error
        listener.setblocking(False)
        self._stop.clear()
        name = f"hj212 {self._bus.settings.name}"
        self._bell, hears = socket.socketpair()
        self._thread = Thread(target=self._serve, args=(listener, hears), name=name, daemon=True)
        self._thread.start()

    def _serve(self, listener: socket.socket, bell: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, listener, bell:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(bell, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, events in selector.select(LOOK_SECONDS):
                    try:
                        if key.fileobj is listener:
                            self._accept(listener, selector)
                        elif (link := self._links.get(key.fileobj)) is not None:  # type: ignore[call-overload]
                            self._ready(link, events, selector)
                    except Exception:  # one sender's rubbish is not the end of the others
                        log.exception("%s", self._bus.settings.port)
                        if (link := self._links.get(key.fileobj)) is not None:  # type: ignore[call-overload]
                            self._drop(link, selector)
                self._look_around(selector)
            for link in list(self._links.values()):
                self._drop(link, selector)

    def _look_around(self, selector: selectors.BaseSelector) -> None:
        """End what is idle; wait no longer for frames that do not end."""
        now = self._bus.monotonic()
        for link in list(self._links.values()):
            if now - link.heard > IDLE_SECONDS:
                self.count("idle connection closed", link.address)
                self._drop(link, selector)
                continue
            if answers := list(self._overdue(link)):
                link.unsent += b"".join(answers)
                self._flush(link, selector)

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            connection, peer = listener.accept()
        except OSError as error:  # gone again, or no descriptor left
            self.count("connection not accepted", str(error.strerror))
            self._stop.wait(0.1)
            return
        address = str(peer[0])
        if not self._make_room(address, selector):
            self.count("too many connections", address)
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MOST_UNSENT)  # what the kernel holds for it
        self._links[connection] = _Link(connection, address, self._new_reader(), self._bus.monotonic())
        selector.register(connection, selectors.EVENT_READ)

    def _expected(self, address: str) -> bool:
        """Whether any sender may come from *address*."""
        seats = list(self._senders.values())
        return any(not one.settings.addresses or address in one.settings.addresses for one in seats)

    def _make_room(self, address: str, selector: selectors.BaseSelector) -> bool:
        """Whether there is room for one more of *address*, if need be that of one who has said nothing of use.

        Whoever connects and is silent gives way to the next, so nobody keeps a sender out by being there, and one
        whose address is nobody's gives way first.  Of one address the oldest goes, even one that was of use: behind
        a mobile link, connections that are lost are never closed.
        """
        if self._crowd(address) is None:
            return True
        self._look_around(selector)
        crowd = self._crowd(address)
        if crowd is None:
            return True
        going = min(crowd, key=lambda link: (self._expected(link.address), link.sound, link.heard), default=None)
        if going is None or (self._expected(going.address) and not self._expected(address)):
            return False
        self.count("too many connections", going.address)
        self._drop(going, selector)
        return True

    def _crowd(self, address: str) -> list[_Link] | None:
        """Those of whom one has to go before another of *address* may come; None where there is room."""
        of_it = [link for link in self._links.values() if link.address == address]
        if len(of_it) >= MOST_OF_ONE_ADDRESS:
            return of_it
        if len(self._links) >= MOST_CONNECTIONS:
            return [link for link in self._links.values() if not link.sound]
        return None

    def _drop(self, link: _Link, selector: selectors.BaseSelector) -> None:
        self._links.pop(link.connection, None)
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(link.connection)
        link.connection.close()

    def _ready(self, link: _Link, events: int, selector: selectors.BaseSelector) -> None:
        if events & selectors.EVENT_READ:
            try:
                data = link.connection.recv(CHUNK)
            except BlockingIOError:
                data = None
            except OSError:
                data = b""
            if data == b"":
                self._drop(link, selector)
                return
            if data:
                link.unsent += b"".join(self._answers(link, data))
        self._flush(link, selector)

    def _flush(self, link: _Link, selector: selectors.BaseSelector) -> None:
        """Send what *link* takes; drop it where too much was wrong, or is left unread."""
        try:
            if link.unsent:
                del link.unsent[: link.connection.send(link.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(link, selector)
            return
        if link.wrong > MOST_WRONG or len(link.unsent) > MOST_UNSENT:
            why = "too much that was wrong" if link.wrong > MOST_WRONG else "answers left unread"
            self.count(f"connection closed: {why}", link.address)
            self._drop(link, selector)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.unsent else 0)
        selector.modify(link.connection, wanted, None)

    # -- what they say

    def _new_reader(self) -> FrameReader:
        crcs = [one.settings.crc for one in self._senders.values()]
        return FrameReader(SEGMENT_LIMIT, crcs[0] if crcs else "hj212")

    def _answers(self, link: _Link, data: bytes) -> Iterator[bytes]:
        """What is answered to *data*."""
        noise = link.reader.noise
        yield from self._understood(link, link.reader.feed(data))
        self._noise += link.reader.noise - noise
        if link.reader.noise - noise > CHUNK // 2:
            self._wrong("rubbish", link)
        if not link.reader.unfinished:
            link.begun = None
        elif link.begun is None:
            link.begun = self._bus.monotonic()

    def _overdue(self, link: _Link) -> Iterator[bytes]:
        """Wait no longer for the rest of a frame: what is answered to the good ones it had swallowed."""
        now = self._bus.monotonic()
        if link.begun is None or now - link.begun < FRAME_SECONDS + self._frame_seconds:
            return
        noise = link.reader.noise
        yield from self._understood(link, link.reader.give_up())
        self._noise += link.reader.noise - noise
        link.begun = now if link.reader.unfinished else None

    def _understood(self, link: _Link, items: list[bytes | FrameError]) -> Iterator[bytes]:
        for item in items:
            link.begun = None
            try:
                if isinstance(item, FrameError):
                    raise item
                segment = Segment.parse(item)
            except FrameError as error:
                self._wrong(FAULTS.get(type(error).__name__, "no frame"), link)
                continue
            yield from self._heard(segment, link)

    def _heard(self, segment: Segment, link: _Link) -> Iterator[bytes]:
        seats = [one for (mn, _), one in list(self._senders.items()) if mn == segment.mn]
        if not seats:
            self._wrong("foreign MN", link)
            return
        refused = {one.name: why for one in seats if (why := one.welcome(segment, link.address))}
        for why in sorted(set(refused.values())):
            self._wrong(why, link)
        seats, turned_away = [one for one in seats if one.name not in refused], seats
        if not seats:
            if "wrong password" in refused.values() and turned_away[0].settings.answers:
                yield from self._answer(segment, "9011", f"QnRtn={PASSWORD_WRONG}", turned_away[0])
            return
        self.counts["frames"] += 1
        link.heard, link.sound, link.wrong = self._bus.monotonic(), True, 0
        if segment.cn in UPLOADED:
            for seat in seats:
                seat.take(segment)
        if not seats[0].settings.answers or segment.cn not in UPLOADED | NOTICED:
            return
        yield from self._answer(segment, "9014" if segment.cn in UPLOADED else "9013", "", seats[0])

    def _answer(self, segment: Segment, cn: str, data: str, seat: Sender) -> Iterator[bytes]:
        asked = bool(segment.flags & ANSWER_BIT) if segment.flags is not None else seat.spoken.flagless
        if not asked or (cn != "9011" and seat.spoken.bare and not segment.qn):
            return
        if cn != "9011" and seat.spoken.qn_inside and segment.qn:
            data = f"QN={segment.qn}"
        flag = "" if segment.flags is None else str(segment.flags >> VERSION_SHIFT << VERSION_SHIFT)
        answer = Segment(qn=segment.qn, st=INTERACTION, cn=cn, pw=segment.pw, mn=segment.mn, flag=flag, cp=fence(data))
        with contextlib.suppress(FrameError, UnicodeEncodeError):
            yield encode(answer.build())

    def _wrong(self, why: str, link: _Link) -> None:
        link.wrong += 1
        self.count(why, link.address)

    def refused(self, sender: Sender) -> str:
        """What was refused on this bus since the start, for the first of its senders; "" where nothing was."""
        first = next(iter(self._senders.values()), None)
        told = [f"{why} {count}" for why, count in sorted(self.counts.items()) if why != "frames"]
        told += [f"bytes of no frame {self._noise}"] if self._noise else []
        return f"refused on {self._bus.settings.name}: {', '.join(told)}" if told and first is sender else ""

    def count(self, why: str, address: str) -> None:
        """Count what was refused; the first of an hour is told."""
        self.counts[why] += 1
        now = self._bus.monotonic()
        if now - self._told.get(why, -math.inf) >= TOLD_SECONDS:
            self._told[why] = now
            self._bus.note("sender_refused", bus=self._bus.settings.name, reason=why, address=address or "-",
                           count=self.counts[why])  # fmt: skip


_hubs: WeakKeyDictionary[Bus, Hub] = WeakKeyDictionary()
_making = Lock()


def hub_of(bus: Bus) -> Hub:
    """The one hub of *bus*."""
    with _making:
        if bus not in _hubs:
            _hubs[bus] = Hub(bus)
        return _hubs[bus]
