"""What says whether there is mains and how full the battery is: the kernel or NUT; a source of `[supply]`.

The kernel's power_supply class (Documentation/ABI/testing/sysfs-class-power in the kernel's tree: `type`, `online`,
`status`, `capacity` in %, `voltage_now` in µV; read, B) is what drivers of UPS HATs offer alike.  `upsc` of NUT
prints `name: value` lines (ups.status with OL, OB, LB; battery.charge in %, battery.voltage in V, battery.runtime in
s: NUT's list of variables, B).  None of them is believed beyond what is plausible.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from station.model import StationError, dataclass

LONGEST_FILE = 256  # bytes of one value of the kernel
MOST_SUPPLIES = 32
LONGEST_ANSWER = 65536  # bytes of upsc
MAINS_TYPES = ("Mains", "USB", "UPS", "Wireless")
MOST_VOLTS = 1000.0
NUT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(@(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?)?")


class SupplyUnknown(StationError):
    """Error raised when what watches the supply says nothing that can be used."""

    exit_code = 69


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the supply: *online* is whether there is mains, None where that cannot be told.

    *percent* of charge, *volts* of the battery or cabinet, *runtime_seconds* as the UPS reckons it; *low* is its word.
    """

    online: bool | None
    percent: float | None = None
    volts: float | None = None
    runtime_seconds: float | None = None
    low: bool = False


Source = Callable[[], Seen]


def between(text: str, low: float, high: float) -> float | None:
    """*text* as a number from *low* to *high*, else None.

    >>> between("54", 0, 100), between("-1", 0, 100), between("nan", 0, 100)
    (54.0, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and low <= value <= high else None


# -- the kernel


def of_kernel(folder: Path, mains: str = "", battery: str = "") -> Seen:
    """What the power_supply folder says; of supplies *mains* and *battery*, or the first of each type."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())[:MOST_SUPPLIES]
    except OSError as error:
        raise SupplyUnknown(f"{folder}: cannot be read ({error.strerror}); is the driver of the UPS loaded?") from error
    types = {name: _value(folder / name / "type") for name in names}
    chosen_mains = _chosen(mains, types, lambda kind: kind in MAINS_TYPES, folder)
    chosen_battery = _chosen(battery, types, lambda kind: kind == "Battery", folder)
    if not chosen_mains and not chosen_battery:
        raise SupplyUnknown(
            f"{folder}: neither a mains supply nor a battery is there; is the driver of the UPS loaded?"
        )
    online = {"1": True, "2": True, "0": False}.get(_value(folder / chosen_mains / "online")) if chosen_mains else None
    percent = volts = None
    if chosen_battery:
        at = folder / chosen_battery
        percent = between(_value(at / "capacity"), 0, 100)
        microvolts = between(_value(at / "voltage_now"), 1, 1e6 * MOST_VOLTS)
        volts = None if microvolts is None else microvolts / 1e6
        if not chosen_mains:
            status = _value(at / "status")
            online = {"Discharging": False, "Charging": True, "Full": True, "Not charging": True}.get(status)
    if online is None and percent is None and volts is None:
        raise SupplyUnknown(f"{folder}: no supply says whether there is mains, nor how full its battery is")
    return Seen(online, percent, volts)


def _chosen(name: str, types: Mapping[str, str], fits: Callable[[str], bool], folder: Path) -> str:
    if name:
        if name not in types:
            raise SupplyUnknown(f"{folder}: there is no supply {name}; there are {', '.join(types) or 'none'}")
        return name
    return next((one for one, kind in types.items() if fits(kind)), "")


def _value(path: Path) -> str:
    """The text of a value of the kernel; nothing where it cannot be read (a HAT that does not answer on I2C)."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST_FILE).decode("ascii", "replace").strip()
    except OSError:
        return ""


# -- NUT


def of_nut(text: str) -> Seen:
    """What `upsc` has printed.

    >>> of_nut("battery.charge: 71\\nups.status: OB LB\\n")
    Seen(online=False, percent=71.0, volts=None, runtime_seconds=None, low=True)
    """
    values = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values[key.strip()] = value.strip()
    words = values.get("ups.status", "").split()
    if not {"OL", "OB"} & set(words):
        raise SupplyUnknown(f"upsc: ups.status says neither OL nor OB ({' '.join(words)[:40] or 'nothing'})")
    return Seen(
        "OB" not in words,
        between(values.get("battery.charge", ""), 0, 100),
        between(values.get("battery.voltage", ""), 0.001, MOST_VOLTS),
        between(values.get("battery.runtime", ""), 0, 1e6),
        "LB" in words,
    )


def ask_nut(command: str, name: str, seconds: float, running: Callable[[], bool]) -> Seen:
    """Run `upsc NAME` for up to *seconds*; its whole group is ended when that is over, or the station stops."""
    try:
        with subprocess.Popen(
            [command, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as child:  # fmt: skip
            try:
                out = _output(child, seconds, running)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
    except OSError as error:
        raise SupplyUnknown(f"{command}: {error.strerror or error}; it comes with the package nut-client") from error
    if out is None:
        raise SupplyUnknown(f"{command} {name}: no answer within {seconds:g} s")
    text = out.decode("utf-8", "replace")
    if child.returncode not in (0, -signal.SIGKILL):
        last = text.strip().rpartition("\n")[2][:120]
        raise SupplyUnknown(f"{command} {name}: {last or f'exit code {child.returncode}'}")
    return of_nut(text)


def _output(child: subprocess.Popen[bytes], seconds: float, running: Callable[[], bool]) -> bytes | None:
    """What *child* prints until it closes, LONGEST_ANSWER bytes at most; None when that takes too long."""
    import selectors
    import time

    out, end = b"", time.monotonic() + seconds
    pipe: IO[bytes] | None = child.stdout
    assert pipe is not None
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while running() and (left := end - time.monotonic()) > 0:
            if not ready.select(min(left, 0.5)):
                continue
            some = os.read(pipe.fileno(), 4096)
            out += some
            if not some:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.1, left))
                return out
            if len(out) > LONGEST_ANSWER:
                raise SupplyUnknown(f"upsc: more than {LONGEST_ANSWER} bytes came back")
    return None
