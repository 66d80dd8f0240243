"""An HJ 212 platform as the station sees it: its settings, the wording of its reports, the way to it.

The station is the TCP client of a fixed address and keeps one long connection; no version of the
standard fixes that, all practice does (B).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import select
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from threading import Event, Thread
from typing import Any

from station.model import ConfigError, Kind, Mark, Parameter, Report, dataclass, did_you_mean, field, replace, setting
from uplink.base import Commands, Context, LinkDown, NotAcknowledged, Outbox, UplinkSettings
from uplink.hj212.dialects import DIALECTS, ENDS, VARIANTS, Dialect, Habits, adapted, dialect
from uplink.hj212.frame import DIGITS_LIMIT, SEGMENT_LIMIT
from uplink.hj212.keys import KeyRing
from uplink.hj212.messages import Wording, conversion, tells, units_like
from uplink.hj212.sm4 import FORMS
from uplink.hj212.tap import Tap
from uplink.hj212.voice import Answers, Guard, Terms, Timing

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
WAIT_SECONDS = 0.25  # a look at stop and a sign of life in between

_MN = re.compile(r"[!-~]{1,27}")
_CODE = re.compile(r"[A-Za-z0-9_]{1,12}(-[A-Za-z0-9]{1,6})?")
_ST = re.compile(r"[0-9A-Z]{2}")
_TAKEN = ";,=&#"  # what frames are made of


def _table(text: str) -> Any:
    return field(default_factory=dict, metadata={"text": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSettings:
    """One [[uplink.point]] table: a measuring point as this platform knows it."""

    point: str = setting(text="code of a [[point]] of the station")
    mn: str = setting(text="the MN this platform assigned, 1 to 27 characters")
    st: str = setting("", text="system code here, where it is not the point's own")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hj212Settings(UplinkSettings):
    """One [[uplink]] table with protocol = "hj212"."""

    standard: str = setting(
        choices=tuple(DIALECTS), text="the generation spoken; settle it with the platform, there is no default"
    )
    dialect: str | None = setting(
        None,
        choices=tuple(VARIANTS),
        text="the variant spoken (README.md here); without it the generation itself",
    )
    host: str = setting(text="name or address of the platform")
    port: int = setting(low=1, high=65535, text="its TCP port; no version of the standard names one")
    password_file: str = setting(text="file or systemd credential that holds PW, up to 6 characters")
    point: tuple[PointSettings, ...] = setting(text="the points reported here, one table each")
    ack: str | None = setting(
        None,
        choices=("strict", "any", "none"),
        text="what counts as an answer: its QN and MN, any 9014 of the MN, or TCP having the bytes",
    )
    window: int = setting(1, low=1, high=64, text="uploads that may await their answers at once")
    spacing_seconds: float = setting(0.05, low=0, high=60, text="least time between two frames")
    timeout_seconds: float = setting(10.0, low=0.1, high=99, text="time an answer may take")
    resends: int = setting(3, low=0, high=99, text="times a frame is sent again before the link is given up")
    heartbeat_seconds: int | None = setting(None, low=0, high=3600, text="interval of 9015; 0 sends none")
    codes: Mapping[str, str] = _table("parameter to factor code, where not the catalogue's")
    units: Mapping[str, str] = _table("parameter to unit, where not the catalogue's")
    missing: str | None = setting(
        None, choices=("flag", "omit", "extreme"), text="a factor without value: its Flag, nothing, or an extreme value"
    )
    datatime: str | None = setting(None, choices=ENDS, text="which end of every period DataTime names")
    habits: Habits = field(default_factory=Habits, metadata={"text": "single habits over the dialect's"})
    ask_clock: bool = setting(False, text="ask with 1013 after connecting; the platform then sends 1012")
    encrypt: str = setting("never", choices=("always", "never"), text="SM4 of 2025 for 2000-2999, 1014 and 3020")
    cipher_text: str = setting("raw", choices=FORMS, text="cipher bytes as they are, or printed; both are read")
    key_file: str = setting("", text="file or systemd credential that holds the SM4 key")
    receive_ceiling: int = setting(
        SEGMENT_LIMIT, low=SEGMENT_LIMIT, high=DIGITS_LIMIT, text="longest segment taken from the platform"
    )

    def faults(self, catalogue: Mapping[str, Parameter]) -> Iterator[tuple[str, str]]:
        """Place and sentence of everything wrong that single values do not show."""
        if not self.host.strip():
            yield "host", "is empty"
        elif not _is_host(self.host):
            yield "host", f'"{ascii(self.host)[1:-1]}" is no name or address of a host'
        if not self.point:
            yield "point", "no point is reported: an [[uplink.point]] table is needed"
        for index, point in enumerate(self.point):
            yield from _point_faults(f"point[{index}]", point, self.point[:index])
        yield from _code_faults(self.codes, catalogue)
        yield from _unit_faults(self.units, catalogue)
        yield from self._dialect_faults(catalogue)

    def _dialect_faults(self, catalogue: Mapping[str, Parameter]) -> Iterator[tuple[str, str]]:
        yield from self.habits.faults()
        for name in self.kinds:
            if not tells(self.standard, Kind[name.upper()]):
                yield "kinds", f'"{name}" has no command in {self.standard}'
        for key in self.habits.decimals:
            if key not in catalogue:
                yield f"habits.decimals.{key}", f"unknown parameter{did_you_mean(key, catalogue)}"
        if self.dialect and self.standard not in VARIANTS[self.dialect].standards:
            spoken = ", ".join(VARIANTS[self.dialect].standards)
            yield "dialect", f'"{self.dialect}" is spoken in {spoken}, not in {self.standard}'
        if self.encrypt == "always" and not DIALECTS[self.standard].cipher:
            yield "encrypt", f"{self.standard} knows no encryption"
        if self.encrypt == "always" and not self.key_file:
            yield "key_file", "encryption needs a key"

    def spoken(self) -> Dialect:
        """The dialect with everything this platform's table changes."""
        keys = ("ack", "heartbeat_seconds", "missing")
        changes = {key: value for key in keys if (value := getattr(self, key)) is not None}
        if self.datatime is not None:
            changes |= dict.fromkeys(("minute_datatime", "hour_datatime", "day_datatime"), self.datatime)
        return adapted(dialect(self.standard, self.dialect or ""), changes | self.habits.changes())


def _point_faults(place: str, point: PointSettings, before: tuple[PointSettings, ...]) -> Iterator[tuple[str, str]]:
    if not _MN.fullmatch(point.mn) or any(sign in point.mn for sign in _TAKEN):
        yield f"{place}.mn", f'"{point.mn}" is not 1 to 27 printable characters without {_TAKEN}'
    if point.st and not _ST.fullmatch(point.st):
        yield f"{place}.st", f'"{point.st}" is not two characters 0-9 A-Z'
    for key in ("point", "mn"):
        if any(getattr(point, key) == getattr(other, key) for other in before):
            yield f"{place}.{key}", f'"{getattr(point, key)}" is there twice'


def _code_faults(codes: Mapping[str, str], catalogue: Mapping[str, Parameter]) -> Iterator[tuple[str, str]]:
    users: dict[str, str] = {}
    for key, code in codes.items():
        if key not in catalogue:
            yield f"codes.{key}", f"unknown parameter{did_you_mean(key, catalogue)}"
        if not _CODE.fullmatch(code):
            yield f"codes.{key}", f'"{code}" is not 1 to 12 letters, digits or _'
        if users.setdefault(code, key) != key:
            yield f"codes.{key}", f'"{code}" is already the code of {users[code]}'


def _unit_faults(units: Mapping[str, str], catalogue: Mapping[str, Parameter]) -> Iterator[tuple[str, str]]:
    for key, unit in units.items():
        if key not in catalogue:
            yield f"units.{key}", f"unknown parameter{did_you_mean(key, catalogue)}"
        elif conversion(catalogue[key].unit, unit) is None:
            possible = ", ".join(units_like(catalogue[key].unit))
            yield f"units.{key}", f'{key} cannot be sent in "{unit}", only in {possible or "its own unit"}'


class Hj212Uplink:
    """Carries one platform's messages over HJ 212 and brings its commands.

    *systems* names the ST of each measuring point, where its table here does not.
    """

    Settings = Hj212Settings

    def __init__(self, settings: Hj212Settings, context: Context, systems: Mapping[str, str]) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()  # what happened since the start, for status
        self._context = context
        self._states: dict[str, str] = {}
        self._keys: KeyRing | None = None
        self.note = context.note
        remembered = context.remembered(settings.name)
        self.dialect = settings.spoken()
        self._wording = Wording.of(
            self.dialect,
            context.catalogue,
            zone=context.zone,
            started=context.started,
            codes=settings.codes,
            units=settings.units,
        )
        points = {
            p.point: replace(
                p,
                st=p.st or self.dialect.st or systems[p.point],
                mn=remembered.get(f"mn.{p.point}", p.mn),
            )
            for p in settings.point
        }
        named = {Kind.POWER_ON, *(Kind[name.upper()] for name in settings.kinds)}
        self._kinds = {kind for kind in named if tells(settings.standard, kind)}
        self.timing = Timing(
            float(remembered.get("timeout_seconds", settings.timeout_seconds)),
            int(remembered.get("resends", settings.resends)),
        )
        self.tap = Tap(context.monotonic)
        self._terms = Terms(
            settings=settings,
            context=context,
            dialect=self.dialect,
            wording=self._wording,
            points=points,
            devices={point.mn: point for point in points.values()},
            counts=self.counts,
            changed=self._changed,
            note=lambda code, /, **fields: self.note(code, **fields),
            guard=Guard(context.monotonic),
            timing=self.timing,
            answers=Answers(context.monotonic),
            tap=self.tap,
        )

    def compose(self, report: Report) -> str | None:
        """The data area for *report*, digits frozen; None for a kind or point this platform does not get."""
        if report.point not in self._terms.points or not (report.asked or report.kind in self._kinds):
            return None
        return self._wording.compose(report)

    def told(self, kind: Kind, text: str) -> Mapping[str, tuple[str, Mark, str]]:
        """Digits, mark and unit ("" for the catalogue's) of each parameter in a *text* that compose has made."""
        from uplink.hj212.readback import told  # only a screen beside the station asks

        return told(self._wording, {**self.dialect.units, **self.settings.units}, kind, text)

    def pieces(self, text: str) -> list[str]:
        """A log *text* in pieces that each fit one message."""
        from uplink.hj212.events import pieces

        return pieces(text)

    def run(self, outbox: Outbox, commands: Commands, stop: Event) -> None:
        """Connect and serve until *stop*; raise LinkDown when that fails."""
        from uplink.hj212.session import Session  # what a connection needs comes with the first one

        password, ring = self._password(), self._ring()
        try:
            connection = self._connect(outbox, stop)
            if connection is None:
                return
            with connection:
                self.counts["connections"] += 1
                self._changed("link", "up", f"{self.settings.name}: connected to {self._place()}")
                outbox.connected()
                Session(self._terms, connection, outbox, commands, password, ring).serve(stop)
        except LinkDown as error:
            if ring and isinstance(error, NotAcknowledged):
                ring.doubt()
            self._changed("link", "down", "")  # the caller says why, once
            raise

    def _password(self) -> str:
        password = self._context.secret(self.settings.password_file).strip()
        if not password or not password.isprintable() or ";" in password:
            raise ConfigError(f"{self.settings.name}: {self.settings.password_file} holds no usable password")
        return password

    def _ring(self) -> KeyRing | None:
        """The keys, where this platform has any; they outlive a connection."""
        name, folder = self.settings.key_file, self._context.folder
        if name and self._keys is None:
            texts = [self._context.secret(name)]
            with contextlib.suppress(ConfigError):
                texts.append(self._context.secret(f"{name}.old"))  # what station/credentials.py leaves beside it
            self._keys = KeyRing("\n".join(texts), folder / f"{self.settings.name}.sm4" if folder else None)
        return self._keys

    def _connect(self, outbox: Outbox, stop: Event) -> socket.socket | None:
        """An open connection, or None when *stop* came first."""
        reason = "the name has no address"
        for family, kind, protocol, _, address in self._addresses(outbox, stop):
            try:
                connection = socket.socket(family, kind, protocol)
            except OSError as error:  # no descriptor left, or a family this kernel does not have
                reason = socket_words(error.errno or 0)
                continue
            try:
                reason = self._open(connection, address, outbox, stop)
            except BaseException:
                connection.close()
                raise
            if not reason and not stop.is_set():
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            connection.close()
        if stop.is_set():
            return None
        raise LinkDown(f"{self._place()}: {reason}")

    def _open(self, connection: socket.socket, address: Any, outbox: Outbox, stop: Event) -> str:
        """Connect without blocking; why it failed, or nothing."""
        connection.setblocking(False)
        code = connection.connect_ex(address)
        deadline = self._context.monotonic() + CONNECT_SECONDS
        while code == errno.EINPROGRESS and not stop.is_set():
            if self._context.monotonic() > deadline:
                return f"no connection within {CONNECT_SECONDS:g} s"
            outbox.wait(0)
            if select.select([], [connection], [], WAIT_SECONDS)[1]:
                code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return socket_words(code) if code else ""

    def _addresses(self, outbox: Outbox, stop: Event) -> list[Any]:
        host, port = self.settings.host, self.settings.port
        try:
            # As bytes: for a text Python loads the tables of internationalised names first, 0.5 MiB of them.
            return socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            return self._looked_up(outbox, stop)

    def _looked_up(self, outbox: Outbox, stop: Event) -> list[Any]:
        """The addresses of a name: asked for in a thread, since a resolver cannot be given a time-out."""
        found: list[Any] = []
        thread = Thread(target=_look_up, args=(self.settings.host, self.settings.port, found), daemon=True)
        thread.start()
        deadline = self._context.monotonic() + CONNECT_SECONDS
        while thread.is_alive() and not stop.is_set() and self._context.monotonic() < deadline:
            outbox.wait(0)
            thread.join(WAIT_SECONDS)
        return list(found)

    def _changed(self, topic: str, state: str, words: str) -> None:
        """Log *words* when *topic* comes into a new state; a state without words is only remembered."""
        if self._states.get(topic) != state and words:
            _log.log(logging.INFO if state == "up" else logging.WARNING, "%s", words)
        self._states[topic] = state

    def _place(self) -> str:
        return self._terms.place


def _is_host(text: str) -> bool:
    """Whether *text* can be a host: no spaces or controls, and no label that a resolver would stumble over.

    >>> [_is_host(text) for text in ("10.0.0.1", "::1", "city.gov.cn.", "city..gov.cn", "a b", "x" * 64)]
    [True, True, True, False, False, False]
    """
    if not text.isprintable() or " " in text:
        return False
    return ":" in text or all(0 < len(label) < 64 for label in text.removesuffix(".").split("."))


def _look_up(host: str, port: int, found: list[Any]) -> None:
    try:
        found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):  # the caller says that there is no address
        return


def socket_words(code: int) -> str:
    """An errno in words.

    >>> socket_words(errno.ECONNREFUSED)
    'connection refused'
    """
    import os

    return os.strerror(code).lower()
