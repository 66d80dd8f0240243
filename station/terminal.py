"""A person's terminal as a screen: keys in, changed cells out, and as it was before on every way out.

No curses: it needs a terminfo entry (a serial console's TERM often names none that is installed), refuses TERM=dumb,
knows wide characters only under a UTF-8 locale (GBK terminals are still met), and its bytes a refresh are not ours
to bound.  What is used is in every VT100: cursor position, erase, bold and reverse.
"""

from __future__ import annotations

import codecs
import errno
import os
import select
import signal
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from station.cells import LEAST_ROOM, Allowance, Cell, Painter, Script

# Local lines pass these on at once; slower ones are serial consoles, whose speed is the kernel's to say.
FAST = 38400  # bit/s, what a pseudo-terminal has unless somebody set it
FAST_RATE = 100_000.0  # bytes/s on those
BITS = 10  # on a serial line, of a byte
SHARE = 0.5  # of a slow line for the screen: keys and what else is said go between
ESCAPE_SECONDS = 0.2  # so long may the rest of a key's sequence take; 9600 baud need 3 ms
LEAVE_SECONDS = 0.5  # for the last bytes, on a terminal that was stopped with Ctrl-S
PLAIN_TERMS = ("", "dumb", "unknown", "vt52")
ALTERNATE = ("xterm", "screen", "tmux", "putty", "rxvt", "linux", "alacritty", "foot", "vte", "konsole")
NEXT, PREVIOUS, ESCAPE, ENTER, RUBOUT, STOP, LOOK, INTERRUPT = (
    *("next", "previous", "escape", "enter", "rubout"),
    *("stop", "look", "interrupt"),
)
SEQUENCES = {
    **dict.fromkeys(("[B", "[C", "[6~", "OB", "OC"), NEXT),
    **dict.fromkeys(("[A", "[D", "[5~", "OA", "OD"), PREVIOUS),
}
CONTROLS = {"\r": ENTER, "\n": ENTER, "\x7f": RUBOUT, "\b": RUBOUT, "\x03": INTERRUPT, "\x04": STOP}
SIGNALS = ("SIGWINCH", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTSTP", "SIGCONT")


def screens(term: str) -> bool:
    """Whether a terminal of this TERM takes a screen rather than lines.

    >>> screens("vt100"), screens("xterm-256color"), screens("dumb"), screens("")
    (True, True, False, False)
    """
    return term not in PLAIN_TERMS


class Terminal:
    """The terminal behind two descriptors, as a screen for as long as the block lasts."""

    def __init__(self, keys: int, screen: int, encoding: str, environment: Mapping[str, str] = os.environ) -> None:
        self._keys, self._screen = keys, screen
        self._environment = environment
        self.script = Script(encoding)
        self._painter = Painter(self.script)
        self._decoder: Any = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._pending = bytearray()
        self._typed = ""
        self._wake: tuple[int, int] = (-1, -1)
        self._own = -1
        self._handlers: dict[int, Any] = {}
        self._lock = threading.Lock()
        self.size = (80, 24)
        self.sent = 0

    # -- in and out

    def __enter__(self) -> Terminal:
        self._before = termios.tcgetattr(self._keys)
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._wake = reading, writing
        try:
            # A description of our own: that it does not block is nothing to the shell that shares the other one.
            self._own = os.open(os.ttyname(self._screen), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._own = os.dup(self._screen)
        self._wake_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for name in SIGNALS:
            number = getattr(signal, name)
            self._handlers[number] = signal.signal(number, lambda *_: None)
        self._set_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._take_down()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wake_before)
            with self._lock:
                for descriptor in (*self._wake, self._own):
                    os.close(descriptor)
                self._wake = (-1, -1)

    def _set_up(self) -> None:
        """Keys come one by one and unseen; signals stay keys of the kernel's; the screen is blank."""
        self._before = termios.tcgetattr(self._keys)
        mode = termios.tcgetattr(self._keys)
        mode[0] |= termios.ICRNL
        mode[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        mode[6][termios.VQUIT] = b"\x00"  # Ctrl-\ would dump core over the screen
        termios.tcsetattr(self._keys, termios.TCSANOW, mode)
        self._ours = termios.tcgetattr(self._keys)
        speed = _speed(self._before[5])
        slow = speed is not None and speed < FAST
        rate = speed / BITS * SHARE if slow and speed else FAST_RATE
        self._allowance = Allowance(rate, max(rate, LEAST_ROOM), time.monotonic())
        self._pending.clear()
        self._queue(b"\x1b[?1049h\x1b[?25l" * self._alternate())
        self.look()

    def _take_down(self) -> None:
        """Settings first: they hold even where nothing can be written any more."""
        with suppress(termios.error):
            termios.tcsetattr(self._keys, termios.TCSANOW, self._before)
            for flow in (termios.TCOOFF, termios.TCOON):  # takes back a Ctrl-S, which TCOON alone does not
                termios.tcflow(self._screen, flow)
        cut = b"\x18" * bool(self._pending)  # CAN ends a sequence that is cut in the middle
        self._pending.clear()
        back = b"\x1b[?25h\x1b[?1049l" if self._alternate() else b"\x1b[%d;1H\r\n" % self.size[1]
        self._pending += cut + b"\x1b[m" + back
        with suppress(OSError):
            end = time.monotonic() + LEAVE_SECONDS
            while self._pending and (left := end - time.monotonic()) > 0:
                if select.select([], [self._own], [], left)[1]:
                    self._flush()

    def _alternate(self) -> bool:
        return self._environment.get("TERM", "").startswith(ALTERNATE)

    # -- out

    def look(self) -> None:
        """Find the size anew and begin with a blank screen."""
        self.size = self._find_size()
        self._queue(b"\x1b[m\x1b[H\x1b[J")
        self._painter.cleared(*self.size)

    def _find_size(self) -> tuple[int, int]:
        """Columns and rows; a serial console says 0 × 0, then COLUMNS and LINES do, else 80 × 24."""
        try:
            found = os.get_terminal_size(self._screen)
        except OSError:
            found = os.terminal_size((0, 0))
        told = (self._environment.get(name, "") for name in ("COLUMNS", "LINES"))
        columns, rows = (int(text) if text.isdecimal() and 0 < int(text) < 1000 else 0 for text in told)
        return found.columns or columns or 80, found.lines or rows or 24

    def show(self, rows: Sequence[Sequence[Cell]]) -> bool:
        """Send what the line allows now of what differs; whether all of *rows* is shown."""
        if self._pending:
            return False  # the terminal has not taken the last ones
        data, whole = self._painter.paint(rows, self._allowance.room(time.monotonic()))
        self._queue(data)
        return whole

    def _queue(self, data: bytes) -> None:
        self._pending += data
        self._allowance.spend(len(data))
        self.sent += len(data)
        self._flush()

    def _flush(self) -> None:
        try:
            del self._pending[: os.write(self._own, self._pending)]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # the far end is gone: its signal comes
                raise
            self._pending.clear()

    # -- in

    def wake(self) -> None:
        """Have `wait` return; from any thread."""
        with self._lock, suppress(BlockingIOError):
            if self._wake[1] >= 0:
                os.write(self._wake[1], b"\0")

    def wait(self, seconds: float) -> list[str]:
        """What happened within *seconds*: keys, characters, LOOK (paint anew) and STOP; nothing when woken."""
        partial = self._typed.startswith("\x1b")
        patience = min(seconds, ESCAPE_SECONDS) if partial else seconds
        writing = [self._own] if self._pending else []
        ready, writable, _ = select.select([self._keys, self._wake[0]], writing, [], patience)
        if writable:
            self._flush()
        events = self._signals() if self._wake[0] in ready else []
        if self._keys in ready:
            events += self._read_keys()
        elif partial:
            events += self._parsed(ended=True)
        return events

    def _signals(self) -> list[str]:
        try:
            numbers = os.read(self._wake[0], 1024)
        except BlockingIOError:
            return []
        events = []
        for number in numbers:
            if number == signal.SIGTSTP:
                self._suspend()
                events.append(LOOK)
            elif number == signal.SIGWINCH:
                self.look()
                events.append(LOOK)
            elif number == signal.SIGCONT:  # stopped by a signal that cannot be met, or by ours
                if termios.tcgetattr(self._keys) != self._ours:
                    self._set_up()
                self.look()
                events.append(LOOK)
            elif number:
                events.append(INTERRUPT if number == signal.SIGINT else STOP)
        return events

    def _suspend(self) -> None:
        """Ctrl-Z: the shell gets its terminal as it was; with fg the screen comes back."""
        self._take_down()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)  # this thread's, so that it holds at once
        signal.signal(signal.SIGTSTP, ours)
        self._set_up()

    def _read_keys(self) -> list[str]:
        try:
            data = os.read(self._keys, 1024)
        except OSError:
            data = b""
        if not data:
            return [STOP]  # nobody is there any more
        self._typed += self._decoder.decode(data)
        return list(self._parsed(ended=False))

    def _parsed(self, *, ended: bool) -> Iterator[str]:
        """The keys of what was typed; a sequence that is not whole is kept unless it has *ended*."""
        typed, self._typed = self._typed, ""
        at = 0
        while at < len(typed):
            char = typed[at]
            if char != "\x1b":
                at += 1
                if char in CONTROLS or char.isprintable():
                    yield CONTROLS.get(char, char)
                continue
            length = _sequence(typed[at:])
            if length is None and not ended:
                self._typed = typed[at:]
                return
            yield SEQUENCES.get(typed[at + 1 : at + (length or 1)], ESCAPE if length in (None, 1) else LOOK)
            at += length or len(typed) - at


def _sequence(text: str) -> int | None:
    """The length of the key sequence that *text* begins with; None while it is not whole.

    >>> _sequence("\\x1b[C"), _sequence("\\x1b[5~x"), _sequence("\\x1b"), _sequence("\\x1b["), _sequence("\\x1bq")
    (3, 4, None, None, 1)
    """
    if len(text) < 2:
        return None
    if text[1] not in "[O":
        return 1
    return next((n + 1 for n, char in enumerate(text) if n > 1 and "@" <= char <= "~"), None)


def _speed(code: int) -> int | None:
    """bit/s of a termios speed code; None for 0 (hung up) and what has no name."""
    for name in ("300", "600", "1200", "2400", "4800", "9600", "19200", "38400", "57600", "115200", "230400"):
        if code == getattr(termios, f"B{name}"):
            return int(name)
    return None
