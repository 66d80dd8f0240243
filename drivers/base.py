"""What every driver promises, and how instruments and their lines fail.

* DriverError
  * ProfileError           a device profile contradicts itself
  * PortError
    * PortLost             the serial port cannot be opened, or vanished
  * DeviceError
    * NoReply              nothing came back in time
    * BadReply             bytes came back that are not the answer
    * DeviceException      the instrument answered with a Modbus exception
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from station.model import Reason, Sample, StationError


class DriverError(StationError):
    """Base of what goes wrong between the station and an instrument."""

    reason = Reason.BAD_REPLY


class ProfileError(DriverError, ValueError):
    """Error raised when a device profile contradicts itself or cannot be found."""


class PortError(DriverError, OSError):
    """Base of what goes wrong with a serial port."""

    reason = Reason.PORT_LOST


class PortLost(PortError):
    """Error raised when a serial port cannot be opened, or vanished while in use."""


class DeviceError(DriverError):
    """Base of what goes wrong with one instrument while its line works."""


class NoReply(DeviceError, TimeoutError):
    """Error raised when an instrument does not answer in time."""

    reason = Reason.NO_REPLY


class BadReply(DeviceError, ValueError):
    """Error raised when what came back is not the answer to what was asked."""

    reason = Reason.BAD_REPLY


class DeviceException(DeviceError):
    """Error raised when an instrument answers with a Modbus exception."""

    reason = Reason.EXCEPTION


class Device(Protocol):
    """An instrument on a bus."""

    name: str

    def read(self) -> Sequence[Sample]:
        """Take one set of samples; raise DriverError when that is not possible."""

    def close(self) -> None:
        """Let go of what the device holds."""
