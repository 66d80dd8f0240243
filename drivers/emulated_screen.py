"""An emulated LED screen: takes what the protocols send, answers as a controller does, and draws its lines.

    screen = EmulatedScreen(settings)          # a [[screen]] table
    with serve(screen, "tcp") as where:        # or "udp", or "pty"
        ...
    screen.lines                               # what stands there, row by row
    screen.svg()                               # the same as a picture

*fault* makes it fail: "silent" (it never answers), "refuse" (it says no), "rubbish" (it answers noise), "drip" (a byte
of the answer now and then), "deaf" (the text never arrives).
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from drivers import onbon
from drivers.screens import address_of

FAULTS = ("silent", "refuse", "rubbish", "drip", "deaf")
LONGEST_TEXT = 1 << 16  # bytes kept of what is no line yet
LIT, UNLIT, CASE = "#ff3b1f", "#1d0d0a", "#0b0b0b"


class EmulatedScreen:
    """One screen with *rows* of text; *settings* is a [[screen]] table, whose protocol is text or onbon."""

    def __init__(self, settings: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self.fault = settings, ""
        self.taken = 0  # texts that arrived
        self._clock, self._buffer, self._row = clock, b"", 0
        self._lines: dict[int, str] = {}
        self._gone_at: dict[int, float] = {}  # when a line deletes itself
        self._lock = threading.Lock()
        self.changed = threading.Event()

    @property
    def lines(self) -> list[str]:
        """The rows as they stand there, blanks at the end cut off."""
        with self._lock:
            now, rows = self._clock(), range(self.settings.height // self.settings.font)
            gone = {row for row, at in self._gone_at.items() if at <= now}
            return ["" if row in gone else self._lines.get(row, "").rstrip() for row in rows]

    def feed(self, data: bytes) -> bytes:
        """Take *data* as it comes in; what the screen answers."""
        if self.fault == "deaf":
            return b""
        self._buffer = (self._buffer + data)[-LONGEST_TEXT:]
        answer = self._feed_frames() if self.settings.protocol == "onbon" else self._feed_lines()
        self.changed.set()
        if self.fault == "silent":
            return b""
        return b"\xa5\xa5\xff\x00noise\x5a" if answer and self.fault == "rubbish" else answer

    def _feed_frames(self) -> bytes:
        answers = b""
        while (found := onbon.first_frame(self._buffer)) is not None:
            self._buffer = self._buffer[found.taken :]
            if found.address not in (self.settings.address, 0xFFFE):
                continue
            code = 3 if self.fault == "refuse" else self._show_areas(found.command)
            if found.command[2:3] == onbon.ANSWERS:
                reply = bytes([0xA0, 1 if code else 0, code, 0, 0])
                answers += onbon.frame(reply, found.source, found.address)
        return answers

    def _show_areas(self, command: bytes) -> int:
        try:
            areas = onbon.areas(command)
            texts = [onbon.FONT.sub(b"", area.text, count=1).decode("gb2312") for area in areas]
        except ValueError:
            return 2
        with self._lock:
            for area, text in zip(areas, texts, strict=True):
                row = area.y // self.settings.font
                self._lines[row] = text
                self._gone_at.pop(row, None)
                if area.run == onbon.GONE_WHEN_STALE:
                    self._gone_at[row] = self._clock() + area.timeout
                self.taken += 1
        return 0

    def _feed_lines(self) -> bytes:
        end, prefix = (_pattern(text) for text in (self.settings.line_end, self.settings.prefix))
        while (found := re.search(end, self._buffer)) is not None and found.end():
            line, self._buffer = self._buffer[: found.start()], self._buffer[found.end() :]
            head = re.match(prefix, line)
            if head is None:
                continue  # of another screen on the line, or cut
            number = head.groupdict().get("row")
            rows = max(1, self.settings.height // self.settings.font)
            self._row = self._row % rows if number is None else _number(number, self.settings.prefix) - 1
            with self._lock:
                self._lines[self._row] = line[head.end() :].decode(self.settings.encoding, errors="replace")
                self.taken += 1
            self._row += 1
        return b""

    def svg(self) -> str:
        """A picture of the screen: lit characters on a grid of dots, each in its cell."""
        font, margin, scale = self.settings.font, 8, 3
        wide, high = self.settings.width, self.settings.height
        cells = []
        for row, line in enumerate(self.lines):
            column = 0
            for sign in line:
                size = 1 if sign.isascii() else 2
                if sign != " ":
                    x, y = column * font / 2 + size * font / 4, (row + 0.82) * font
                    cells.append(f'<text x="{x:g}" y="{y:g}">{escape(sign)}</text>')
                column += size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{scale * (wide + 2 * margin)}" '
            f'height="{scale * (high + 2 * margin)}" '
            f'viewBox="{-margin} {-margin} {wide + 2 * margin} {high + 2 * margin}">'
            f'<defs><pattern id="grid" width="1" height="1" patternUnits="userSpaceOnUse">'
            f'<rect width="1" height="1" fill="none" stroke="{CASE}" stroke-width=".3"/></pattern></defs>'
            f'<rect x="{-margin}" y="{-margin}" width="{wide + 2 * margin}" height="{high + 2 * margin}" rx="3" '
            f'fill="{CASE}"/><rect width="{wide}" height="{high}" fill="{UNLIT}"/>'
            f'<g fill="{LIT}" font-size="{font * 0.88:g}" text-anchor="middle" '
            f'font-family="SimSun, Noto Sans Mono CJK SC, WenQuanYi Zen Hei, monospace">{"".join(cells)}</g>'
            f'<rect width="{wide}" height="{high}" fill="url(#grid)"/></svg>'
        )


def _pattern(text: str) -> bytes:
    """What finds a prefix or a line end of a [[screen]] table again; a group "row" where it has a number."""
    if text.startswith("hex:"):
        parts = re.split(r"(\{row\}|\{address\})", text[4:].replace(" ", ""))
        return b"".join(
            b"(?P<row>.)" if part == "{row}" else b"." if part == "{address}" else re.escape(bytes.fromhex(part))
            for part in parts
        )
    made = re.escape(text).replace(r"\{row\}", r"(?P<row>\d)").replace(r"\{address\}", r"\d+")
    return made.encode("ascii")


def _number(found: bytes, prefix: str) -> int:
    return found[0] if prefix.startswith("hex:") else int(found)


@contextlib.contextmanager
def serve(screen: EmulatedScreen, how: str, port: int = 0, link: Path | None = None) -> Iterator[str]:
    """Have *screen* at a pseudo-terminal ("pty", linked at *link*), or at loopback "tcp" or "udp"; where that is."""
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        if how == "pty":
            mine, theirs = pty.openpty()
            tty.setraw(theirs)
            stack.callback(os.close, mine)
            stack.callback(os.close, theirs)
            where = os.ttyname(theirs)
            if link is not None:
                link.unlink(missing_ok=True)
                link.symlink_to(where)
                stack.callback(link.unlink, missing_ok=True)
                where = str(link)
            thread = threading.Thread(target=_serve_terminal, args=(screen, mine, stop), daemon=True)
        else:
            kind = socket.SOCK_DGRAM if how == "udp" else socket.SOCK_STREAM
            listener = stack.enter_context(socket.socket(socket.AF_INET, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            where = f"{how}://127.0.0.1:{listener.getsockname()[1]}"
            if how == "tcp":
                listener.listen()
            target = _serve_datagrams if how == "udp" else _serve_connections
            thread = threading.Thread(target=target, args=(screen, listener, stop), daemon=True)
        thread.start()
        try:
            yield where
        finally:
            stop.set()
            thread.join(5)


def _is_ready(one: Any, stop: threading.Event) -> bool:
    """Whether *one* has something to read before *stop*."""
    while not stop.is_set():
        if select.select([one], [], [], 0.05)[0]:
            return True
    return False


def _serve_terminal(screen: EmulatedScreen, terminal: int, stop: threading.Event) -> None:
    while _is_ready(terminal, stop):
        _send(screen, screen.feed(os.read(terminal, 4096)), lambda data: os.write(terminal, data), stop)


def _serve_datagrams(screen: EmulatedScreen, listener: socket.socket, stop: threading.Event) -> None:
    while _is_ready(listener, stop):
        data, peer = listener.recvfrom(65535)
        _send(screen, screen.feed(data), lambda answer, to=peer: listener.sendto(answer, to), stop)  # type: ignore[misc]


def _serve_connections(screen: EmulatedScreen, listener: socket.socket, stop: threading.Event) -> None:
    while _is_ready(listener, stop):
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            while _is_ready(connection, stop) and (data := connection.recv(4096)):
                _send(screen, screen.feed(data), connection.sendall, stop)


def _send(screen: EmulatedScreen, answer: bytes, send: Callable[[bytes], Any], stop: threading.Event) -> None:
    if answer and screen.fault == "drip":
        for byte in answer:
            send(bytes([byte]))
            if stop.wait(0.05) or screen.fault != "drip":
                return
    elif answer:
        send(answer)


@contextlib.contextmanager
def at_port(screen: EmulatedScreen) -> Iterator[str]:
    """Have *screen* at the port of its own table; ValueError where that is not on this machine."""
    port = screen.settings.port
    if "://" not in port:
        path = Path(port)
        if path.exists() and not path.is_symlink():
            raise ValueError(f"{port} is there already, and no link: a real port is not replaced")
        with serve(screen, "pty", link=path) as where:
            yield where
        return
    scheme, host, number = address_of(port)
    if host != "127.0.0.1":
        raise ValueError(f"{port}: an emulated screen is served on 127.0.0.1 alone")
    with serve(screen, scheme, number) as where:
        yield where
