"""An emulated sender of HJ 212: what a CEMS host or a dust host does all day, and what it does wrong.

It connects to where a station listens, or writes to a pseudo-terminal, uploads 2011 or 2051 at its own pace in its own
dialect, and waits for its answer as real ones do.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import time
import tty
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from drivers.base import BusSettings
from drivers.port import Speed
from station.model import Mark
from station.parameters import catalogue
from station.receiving import SCHEME, TAKEN, Sender, SenderSettings, address_of
from uplink.hj212.frame import FrameError, FrameReader, Segment, encode, fence
from uplink.hj212.messages import timestamp

FAULTS: Mapping[str, str] = {
    "silent": "sends nothing",
    "rubbish": "sends bytes that are no frames",
    "crc": "its check digits are wrong",
    "password": "has a wrong password",
    "mn": "sends under another MN",
    "half": "its frames break off in the middle",
    "twice": "sends each frame twice",
    "split": "writes byte by byte",
    "flag": "says that its instruments are faulty (D)",
    "old": "its DataTime is an hour behind",
}
USUAL = {"nox": 35.0, "so2": 12.0, "smoke_dust": 8.0, "gas_oxygen": 6.5, "pm10": 45.0, "tsp": 90.0}
ANSWER_SECONDS = 2.0


class EmulatedSender:
    """One sender; *values* gives what it measures, by parameter."""

    def __init__(self, settings: SenderSettings, password: str = "123456", values: Any = None) -> None:
        self.settings, self.password = settings, password
        self.values: Any = values or {one: USUAL.get(one, 20.0) for one in settings.parameters}
        self.fault, self.events, self.faults = "", (), FAULTS
        self.sent = self.answered = 0
        self.marks: dict[str, Mark] = {}

    def fail(self, fault: str) -> None:
        """Go wrong as FAULTS says."""
        self.fault = fault.strip()

    def recover(self) -> None:
        """Be well again."""
        self.fault = ""

    def frame(self, sender: Sender, now: datetime) -> bytes:
        """The next frame, by the words of *sender*."""
        spoken, settings = sender.spoken, self.settings
        cn, (suffix, *_) = TAKEN[settings.takes]
        found = self.values() if callable(self.values) else self.values
        items = [
            f"{code}-{suffix}={_sent(found[one], sender, one)},{code}-Flag={self._mark(one, spoken.marks)}"
            for code, one in sender._codes.items()
            if found.get(one) is not None
        ]
        qn = "" if spoken.bare and not settings.answers else f"{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}"
        return encode(
            Segment(
                qn=qn, st="31", cn=cn, pw="000000" if self.fault == "password" else self.password,
                mn="X" + settings.mn[1:] if self.fault == "mn" else settings.mn,
                flag=spoken.flag(answer=settings.answers) if qn else "",
                cp=fence(";".join([f"DataTime={timestamp(now, sender._zone)}", *items])),
            ).build()
        )  # fmt: skip

    def _mark(self, parameter: str, words: Mapping[Mark, str]) -> str:
        return words[Mark.D if self.fault == "flag" else self.marks.get(parameter, Mark.N)]


def _sent(value: float, sender: Sender, parameter: str) -> str:
    decimals = catalogue()[parameter].decimals + max(0, sender._shifts[parameter])
    return f"{value / 10.0 ** sender._shifts[parameter]:.{decimals}f}"


class EmulatedSenders:
    """The senders of one bus, each with a thread; a context manager, as emulated lines are."""

    def __init__(
        self, bus: BusSettings, senders: Mapping[str, tuple[EmulatedSender, Sender]], link: Path | None,
        now: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._port, self._link, self._now = bus.port, link, now
        self.path, self.line = str(link or bus.port), Speed(bus.baudrate, bus.parity, bus.stopbits)
        self.senders = self.units = senders
        self.faults = FAULTS
        self._over = Event()
        self._threads: list[Thread] = []
        self._terminal = -1

    def fail(self, fault: str) -> None:
        """All go wrong."""
        for one, _ in self.senders.values():
            one.fail(fault)

    def recover(self) -> None:
        """All are well again."""
        for one, _ in self.senders.values():
            one.recover()

    def __enter__(self) -> EmulatedSenders:
        if not self._port.startswith(SCHEME):
            self._terminal, other = pty.openpty()
            tty.setraw(other)
            self._other = other  # kept open: the line is there whether or not somebody reads
            if self._link is not None:
                self._link.symlink_to(os.ttyname(other))
        for one, sender in self.senders.values():
            thread = Thread(target=self._send, args=(one, sender), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(5)
        if self._terminal >= 0:
            if self._link is not None:
                self._link.unlink(missing_ok=True)
            os.close(self._terminal)
            os.close(self._other)

    def _send(self, one: EmulatedSender, sender: Sender) -> None:
        reader, link = FrameReader(), None
        while not self._over.is_set():
            if one.fault != "silent":
                try:
                    if link is None:
                        link = _Wire(self._port, self._terminal)
                    self._once(one, sender, link, reader)
                except OSError:
                    if link is not None:
                        link.close()
                    link = None
                    self._over.wait(0.2)
                    continue
            self._over.wait(one.settings.every_seconds)
        if link is not None:
            link.close()

    def _once(self, one: EmulatedSender, sender: Sender, link: _Wire, reader: FrameReader) -> None:
        now = self._now()
        frame = one.frame(sender, now if one.fault != "old" else now.replace(year=now.year - 1))
        if one.fault == "rubbish":
            frame = bytes(range(256)) * 4
        elif one.fault == "crc":
            frame = frame[:-6] + b"0000\r\n"
        elif one.fault == "half":
            frame = frame[: len(frame) // 2]
        for _ in range(2 if one.fault == "twice" else 1):
            for piece in [frame[n : n + 1] for n in range(len(frame))] if one.fault == "split" else [frame]:
                link.write(piece)
            one.sent += 1
        if one.settings.answers:
            end = time.monotonic() + ANSWER_SECONDS
            while (left := end - time.monotonic()) > 0 and not self._over.is_set():
                data = link.read(min(left, 0.2))
                found = [item for item in reader.feed(data) if not isinstance(item, FrameError)]
                with contextlib.suppress(FrameError):
                    if any(Segment.parse(item).cn == "9014" for item in found):
                        one.answered += 1
                        return


class _Wire:
    """A connection, or the terminal that all senders of a line share."""

    def __init__(self, port: str, terminal: int) -> None:
        self._terminal, self._socket = terminal, None
        if terminal < 0:
            host, number = address_of(port)
            self._socket = socket.create_connection((host, number), 2)

    def write(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.sendall(data)
        else:
            os.write(self._terminal, data)

    def read(self, seconds: float) -> bytes:
        at = self._terminal if self._socket is None else self._socket.fileno()
        if not select.select([at], [], [], seconds)[0]:
            return b""
        data = os.read(at, 4096)
        if not data:
            raise OSError("closed")
        return data

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def emulated_senders(
    bus: Any, devices: Mapping[str, Sender], passwords: Mapping[str, str], link: Path | None,
    now: Callable[[], datetime], values: Mapping[str, Any],
) -> EmulatedSenders:  # fmt: skip
    """The senders of *bus*, each with the words of its device."""
    made = {
        name: (EmulatedSender(sender.settings, passwords.get(name, "123456"), values.get(name)), sender)
        for name, sender in devices.items()
    }
    return EmulatedSenders(bus, made, link, now)
