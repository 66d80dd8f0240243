"""What every driver promises, and how instruments and their lines fail.

* DriverError
  * ProfileError           a device profile contradicts itself
  * PortError
    * PortLost             the serial port cannot be opened, or vanished
      * LineStuck          bytes come without end, or another master speaks without pause
  * DeviceError
    * NoReply              nothing came back in time
    * BadReply             bytes came back that are not the answer
    * DeviceException      the instrument answered with a Modbus exception
      * DeviceBusy         it is at work and wants to be asked again later
    * NotReady             the instrument did not get to where the next step may begin
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from station.model import Outcome, Reason, Sample, StationError, dataclass, field, setting

BAUDRATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)


class DriverError(StationError):
    """Base of what goes wrong between the station and an instrument.

    *samples* holds what was read from the instrument before it failed.
    """

    exit_code = 69  # EX_UNAVAILABLE
    reason = Reason.BAD_REPLY
    samples: Sequence[Sample] = ()


class ProfileError(DriverError, ValueError):
    """Error raised when a device profile contradicts itself or cannot be found."""


class PortError(DriverError, OSError):
    """Base of what goes wrong with a serial port."""

    reason = Reason.PORT_LOST


class PortLost(PortError):
    """Error raised when a serial port cannot be opened, or vanished while in use."""

    event = "port_lost"


class LineStuck(PortLost):
    """Error raised when a line does not fall silent, so that nobody on it can be asked anything."""

    event = "line_stuck"


class DeviceError(DriverError):
    """Base of what goes wrong with one instrument while its line works."""


class NoReply(DeviceError, TimeoutError):
    """Error raised when an instrument does not answer in time."""

    reason = Reason.NO_REPLY


class BadReply(DeviceError, ValueError):
    """Error raised when what came back is not the answer to what was asked."""

    reason = Reason.BAD_REPLY


class DeviceException(DeviceError):
    """Error raised when an instrument answers with a Modbus exception, of *code* where that is known."""

    reason = Reason.EXCEPTION

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class DeviceBusy(DeviceException):
    """Error raised when an instrument is at work and wants to be asked again later: codes 5 and 6."""

    @property
    def outcome(self) -> Outcome:
        """Busy: the same command may succeed later."""
        return Outcome.BUSY


class NotReady(DeviceError, TimeoutError):
    """Error raised when an instrument does not get in time to where the next step may begin."""

    reason = Reason.NOT_READY


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """One [[bus]] table of station.toml: a serial line and how it is spoken on."""

    name: str = setting(text="what the line is called in logs and on screens")
    port: str = setting(
        text="device file, best a /dev/serial/by-path link; or tcp://ADDRESS:502 for Modbus TCP, "
        "rtu+tcp://ADDRESS:PORT for a serial server"
    )
    baudrate: int = setting(9600, choices=BAUDRATES, text="bit/s")
    parity: str = setting("N", choices=("N", "E", "O"), text="none, even or odd")
    stopbits: int = setting(1, choices=(1, 2), text="stop bits")
    gap_ms: float | None = setting(
        None, low=0, high=1000, text="silence before each request, ms; without it the profile's own"
    )
    rs485: str = setting(
        "hardware",
        choices=("hardware", "kernel"),
        text="what switches the transmitter: the adapter, or the UART's driver",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    """The keys every [[bus.device]] table has; a driver's Settings adds its own."""

    alone: ClassVar[bool] = False  # whether nothing else can be on its line

    name: str = setting(text="what the instrument is called in logs and on screens")
    driver: str = setting("modbus", text="which driver speaks to it (drivers/__init__.py)")
    poll_seconds: float = setting(5.0, low=0.05, high=86400, text="seconds from one reading to the next")
    point: str = setting(text="code of the measuring point its values belong to")
    points: Mapping[str, str] = field(
        default_factory=dict,
        metadata={"text": "parameters that belong to another point: parameter = point code"},
    )
    parameters: tuple[str, ...] = setting((), text="which parameters are taken; all of the profile when empty")
    calibration: Mapping[str, tuple[float, float]] = field(
        default_factory=dict,
        metadata={"text": "station coefficients: parameter = [slope, intercept], value = slope · raw + intercept"},
    )
    range: Mapping[str, tuple[float, float]] = field(
        default_factory=dict,
        metadata={"text": "narrower limits than the profile's: parameter = [low, high]; outside is marked"},
    )
    rollover: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"text": "where a counter is 0 again, in the parameter's unit: parameter = 10000 for four digits"},
    )
    constant_minutes: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"text": "minutes a value may stand still before that is noted beside it; 0: never"},
    )
    closing_delay_minutes: float | None = setting(
        None,
        low=0,
        high=120,
        text="hours and days of its values are closed so much later; without it as the instrument needs: "
        "an analyser its cycle and 15 minutes, 120 at most",
    )
    calibrate_days: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"text": "days to the next calibration or check: parameter = days, 0 never; what rules want without"},
    )
    rate: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"text": "largest believable change a minute, noted beside what exceeds it: parameter = change"},
    )
    spike: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"text": "times the usual scatter away from the last values, noted beside what exceeds it"},
    )


ANALYSER_GRACE, LONGEST_CLOSING = 900.0, 7200.0  # seconds (ours: no rule was found)


def closing_delay(cycle_seconds: float) -> float:
    """Seconds behind the end of a period in which a result of it may come: the cycle and 15 minutes, 2 h at most.

    >>> [closing_delay(60 * minutes) / 60 for minutes in (30, 60, 120)]
    [45.0, 75.0, 120.0]
    """
    return min(LONGEST_CLOSING, cycle_seconds + ANALYSER_GRACE)


class Device(Protocol):
    """An instrument on a bus.

    One that has nothing new at every poll says its own pace in *every_seconds*, and brings no samples between.

    One that needs time may have *pending_seconds*, in how many seconds a read that was begun goes on (None when
    none is under way), *held*, the parameters of which the last read brought nothing because a wiper spoils them,
    and *patience_seconds*, how long no value may come while all is well.

    One that is not asked, but heard, has *speaks*: it is polled at its pace however long it has been silent.

    One whose results are dated back to their sampling says in *closing_seconds* how long behind the end of a period
    a result that belongs to it may still come.
    """

    name: str
    units: Mapping[str, str]  # unit of each parameter it delivers
    poll_minimum_seconds: float  # the maker's shortest interval
    actions: Mapping[str, Sequence[str]]  # what it can be told to do, by verb, and the parameters each concerns

    def read(self) -> Sequence[Sample]:
        """Take one set of samples; raise DriverError when that is not possible.

        None come while a measurement is under way, or while they would be worth nothing.
        """

    def act(self, verb: str, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Do *verb*, one of *actions*, and return what it brought; raise DriverError when that is not possible."""

    def close(self) -> None:
        """Let go of what the device holds."""
