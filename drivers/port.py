"""The serial port under a bus: who may have it, how fast it is, and which way an RS-485 adapter faces."""

from __future__ import annotations

import errno
import logging
import os
import termios
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import serial

from drivers.base import BAUDRATES, BusSettings, PortLost
from drivers.line import Line, bits_per_character

log = logging.getLogger(__name__)

LATENCY_TIMERS = Path("/sys/bus/usb-serial/devices")
TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY}
HINTS = {  # what a technician does about it
    errno.EACCES: "; the station's user has to be in the group dialout",
    **dict.fromkeys(TAKEN, ": another program has it, and a line has one master; stop that one (fuser -v names it)"),
}


class Port(Protocol):
    """What is used of a serial port: pyserial's, a fake, or a mock."""

    timeout: float | None

    @property
    def in_waiting(self) -> int: ...

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, data: bytes, /) -> Any: ...

    def reset_input_buffer(self) -> None: ...

    def close(self) -> None: ...


class Speed(NamedTuple):
    """How characters are sent: what both ends of a line have to agree on."""

    baudrate: int
    parity: str = "N"
    stopbits: int = 1

    @property
    def line(self) -> Line:
        """The times that follow from it."""
        return Line(self.baudrate, bits_per_character(self.parity, self.stopbits))

    def __str__(self) -> str:
        """As technicians write it.

        >>> str(Speed(9600, "E"))
        '9600 8E1'
        """
        return f"{self.baudrate} 8{self.parity}{self.stopbits}"


def open_port(settings: BusSettings) -> Port:
    """The serial port of *settings*, for this process alone; a link is followed anew each time."""
    if settings.port.startswith("hj212+"):
        raise PortLost(f"{settings.port}: senders of HJ 212 are listened to here, nothing can be asked")
    if "://" in settings.port:
        from drivers.network import open_network  # most lines hang on this machine

        return open_network(settings)
    speed = Speed(settings.baudrate, settings.parity, settings.stopbits)
    pseudo = is_pseudo(settings.port)
    port = serial.Serial(
        settings.port,
        speed.baudrate,
        parity="N" if pseudo else speed.parity,
        stopbits=speed.stopbits,
        timeout=1,
        write_timeout=2,
        exclusive=True,
    )
    try:
        if pseudo:
            _tell_parity(port, speed.parity)
            return port
        if settings.rs485 == "kernel":
            _face_by_kernel(port, settings.port)
        _hurry(port, settings.port)
    except BaseException:
        port.close()
        raise
    return port


def change_speed(port: Any, path: str, speed: Speed) -> None:
    """Speak with *speed* from now on; what was received at the former one is dropped."""
    if "://" in path:
        raise PortLost(f"{path}: the speed of a line behind a network is set where it is, not from here")
    if is_pseudo(path):
        port.apply_settings({"baudrate": speed.baudrate, "stopbits": speed.stopbits})
        _tell_parity(port, speed.parity)
    else:
        port.apply_settings({"baudrate": speed.baudrate, "parity": speed.parity, "stopbits": speed.stopbits})
    port.reset_input_buffer()


def seen_speed(terminal: int) -> Speed:
    """What the program at the other end of the pseudo-terminal *terminal* has set (see _tell_parity)."""
    _, oflag, cflag, _, _, code, _ = termios.tcgetattr(terminal)
    baudrate = next((rate for rate in BAUDRATES if getattr(termios, f"B{rate}") == code), 0)
    parity = "O" if oflag & termios.OFDEL else "E" if oflag & termios.OFILL else "N"
    return Speed(baudrate, parity, 2 if cflag & termios.CSTOPB else 1)


def is_pseudo(path: str) -> bool:
    """Whether *path* leads to a pseudo-terminal: an emulated line."""
    return str(Path(path).resolve()).startswith("/dev/pts/")


def _tell_parity(port: Any, parity: str) -> None:
    """Leave *parity* where an emulated line can see it.

    A pseudo-terminal has no parity: setting one fails (errno 22), from the second time on for every setting.
    Two output flags that have no effect without OPOST are kept, and the other end can read them.
    """
    settings = termios.tcgetattr(port.fd)
    settings[1] &= ~(termios.OFILL | termios.OFDEL)
    settings[1] |= {"N": 0, "E": termios.OFILL, "O": termios.OFDEL}[parity]
    termios.tcsetattr(port.fd, termios.TCSANOW, settings)


def _face_by_kernel(port: Any, path: str) -> None:
    """Have the kernel switch the driver with RTS (TIOCSRS485); from Python it would come 1-10 ms late."""
    from serial.rs485 import RS485Settings

    try:
        port.rs485_mode = RS485Settings()
    except (ValueError, OSError) as error:
        raise PortLost(
            f'{path}: its driver has no RS-485 mode; set rs485 = "hardware" if the adapter switches by itself'
        ) from error


def _hurry(port: Any, path: str) -> None:
    """Have the adapter hand over bytes as they come; some collect them for 16 ms, 7 % of a line at 9600 baud."""
    try:
        port.set_low_latency_mode(True)
    except (ValueError, OSError, AttributeError, NotImplementedError):
        log.info("%s: no low-latency mode; a USB adapter may delay each reply by up to 16 ms", path)
    timer, held = LATENCY_TIMERS / Path(path).resolve().name / "latency_timer", 16
    try:
        held = int(timer.read_text(encoding="ascii"))
        if held > 1:
            timer.write_text("1", encoding="ascii")
    except FileNotFoundError:
        return  # not an FTDI chip
    except (OSError, ValueError):
        log.warning("%s: the adapter holds replies back for up to %s ms; write 1 to %s", path, held, timer)


def cause(error: BaseException) -> str:
    """What the system said, without the repetitions pyserial adds, and what to do where that is known."""
    number = getattr(error, "errno", None) or (error.args[0] if error.args else None)
    if not isinstance(number, int):
        return str(error)
    return os.strerror(number) + HINTS.get(number, "")
