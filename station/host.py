"""What the host says of itself: disk, card, heat, supply; every file below one root, which tests replace.

Sources: the bits of get_throttled and throttling at 80 °C are the firmware's (confidence B); its file and the
supply's alarm (hwmon `rpi_volt`) are those of Raspberry Pi OS's kernel (recalled, C: not run on a board here);
`life_time` is the kernel's report of eMMC (recalled, C), SD cards have none.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SECTOR = 512  # bytes, whatever the medium's own sectors are (Documentation/block/stat of Linux)
WRITTEN = 6  # the field of a device's stat that counts sectors written
UNDERVOLTAGE, THROTTLED = (1 << 0, 1 << 16), (1 << 2, 1 << 18)  # now, and since the boot
THROTTLED_FILES = ("sys/devices/platform/soc/soc:firmware/get_throttled", "sys/class/rpi/get_throttled")
LEAST_UPTIME = 600.0  # seconds before a rate of writing is spoken of


class Room(NamedTuple):
    """A file system: bytes free for this user, bytes in all, and whether it can only be read."""

    free: int
    total: int
    read_only: bool


class Written(NamedTuple):
    """What went to a medium since the boot: bytes, and over how many seconds."""

    bytes: int
    seconds: float

    @property
    def a_day(self) -> float:
        """Bytes a day."""
        return self.bytes / self.seconds * 86400


class Host:
    """The host whose files lie below *root*."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def _text(self, name: str) -> str | None:
        """What the file *name* says; None where it is not there or not for us."""
        try:
            return (self._root / name).read_text(encoding="ascii", errors="replace").strip("\0\n ")
        except OSError:
            return None

    @property
    def model(self) -> str:
        """The board's own name, or nothing."""
        return self._text("proc/device-tree/model") or ""

    @property
    def is_raspberry_pi(self) -> bool:
        """Whether the board calls itself one."""
        return "Raspberry Pi" in self.model

    def celsius(self) -> float | None:
        """Temperature of the processor, °C."""
        text = self._text("sys/class/thermal/thermal_zone0/temp")
        with suppress(ValueError):
            return None if text is None else int(text) / 1000
        return None

    def throttled(self) -> int | None:
        """The firmware's get_throttled; None where it cannot be read."""
        for name in THROTTLED_FILES:
            text = self._text(name)
            with suppress(ValueError):
                if text:
                    return int(text.removeprefix("throttled=").removeprefix("0x"), 16)
        return None

    def supply_alarm(self) -> bool | None:
        """Whether the supply's own monitor saw it too low; None where there is none."""
        for folder in sorted((self._root / "sys/class/hwmon").glob("hwmon*")):
            name = folder.relative_to(self._root)
            if self._text(f"{name}/name") == "rpi_volt":
                text = self._text(f"{name}/in0_lcrit_alarm")
                return None if text is None else text != "0"
        return None

    def room(self, folder: Path) -> Room | None:
        """The file system of *folder*."""
        try:
            found = os.statvfs(folder)
        except OSError:
            return None
        read_only = bool(found.f_flag & os.ST_RDONLY)
        return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, read_only)

    def _device(self, folder: Path) -> str | None:
        """Major and minor number of what *folder* lies on; None where that is no device of blocks."""
        try:
            number = folder.stat().st_dev
        except OSError:
            return None
        return f"{os.major(number)}:{os.minor(number)}" if os.major(number) else None

    def written(self, folder: Path) -> Written | None:
        """What was written to the medium of *folder* since the boot, by everything on this host."""
        device, uptime = self._device(folder), self._text("proc/uptime")
        text = self._text(f"sys/dev/block/{device}/stat") if device else None
        try:
            seconds = float((uptime or "").split()[0])
            count = int((text or "").split()[WRITTEN])
        except (IndexError, ValueError):
            return None
        return Written(count * SECTOR, seconds) if seconds >= LEAST_UPTIME else None

    def life_used(self, folder: Path) -> int | None:
        """Percent of its life that an eMMC says it has used (rounded up to tens; 110: more); None for other media."""
        device = self._device(folder)
        if device is None:
            return None
        for above in ("device", "../device"):  # of a disk, and of a partition of one
            text = self._text(f"sys/dev/block/{device}/{above}/life_time")
            with suppress(ValueError):
                if text:
                    return max(int(one, 16) for one in text.split()) * 10
        return None
