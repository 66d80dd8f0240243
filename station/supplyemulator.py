"""A supply for tests and demonstrations: a folder as the kernel's power_supply class, and a stand-in for `upsc`."""

from __future__ import annotations

import sys
from pathlib import Path


class EmulatedSupply:
    """A UPS whose mains one takes away and brings back: `supply.lose()`, `supply.drain(20)`, `supply.restore()`.

    *folder* gets `power_supply/` (mains and battery) and `upsc`, a program that prints what NUT would.
    """

    def __init__(self, folder: Path, percent: float = 100.0, volts: float = 4.1) -> None:
        self.folder, self.upsc = folder / "power_supply", folder / "upsc"
        self.online, self.percent, self.volts, self.low = True, percent, volts, False
        self._said = folder / "upsc.txt"
        for name, kind in (("ups-mains", "Mains"), ("ups-battery", "Battery")):
            (self.folder / name).mkdir(parents=True)
            (self.folder / name / "type").write_text(f"{kind}\n", encoding="ascii")
        self.upsc.write_text(f'#!{sys.executable} -IS\nprint(open({str(self._said)!r}).read(), end="")\n')
        self.upsc.chmod(0o755)
        self._show()

    def lose(self) -> None:
        """The mains goes."""
        self.online = False
        self._show()

    def restore(self) -> None:
        """The mains comes back."""
        self.online, self.low = True, False
        self._show()

    def drain(self, percent: float, volts: float | None = None) -> None:
        """The battery empties to *percent*."""
        self.percent, self.volts = percent, self.volts if volts is None else volts
        self._show()

    def be_low(self) -> None:
        """The UPS itself says that its battery is nearly empty."""
        self.low = True
        self._show()

    def rubbish(self) -> None:
        """What a HAT with a loose I2C wire says."""
        (self.folder / "ups-mains" / "online").write_bytes(b"\xff\xff??\n")
        (self.folder / "ups-battery" / "capacity").write_text("-200\n", encoding="ascii")
        (self.folder / "ups-battery" / "voltage_now").write_text("nan\n", encoding="ascii")
        self._said.write_bytes(b"Error: Data stale\n")

    def hang(self) -> None:
        """`upsc` never answers."""
        self.upsc.write_text(f"#!{sys.executable} -IS\nimport time\ntime.sleep(600)\n", encoding="ascii")

    def vanish(self) -> None:
        """The driver is gone."""
        for name in ("ups-mains", "ups-battery"):
            for value in (self.folder / name).iterdir():
                value.unlink()
            (self.folder / name).rmdir()

    def _show(self) -> None:
        battery = self.folder / "ups-battery"
        (self.folder / "ups-mains" / "online").write_text(f"{self.online:d}\n", encoding="ascii")
        (battery / "capacity").write_text(f"{self.percent:.0f}\n", encoding="ascii")
        (battery / "voltage_now").write_text(f"{self.volts * 1e6:.0f}\n", encoding="ascii")
        (battery / "status").write_text("Charging\n" if self.online else "Discharging\n", encoding="ascii")
        words = ("OL CHRG" if self.online else "OB DISCHRG") + (" LB" if self.low else "")
        self._said.write_text(
            f"battery.charge: {self.percent:.0f}\nbattery.runtime: 900\nbattery.voltage: {self.volts:.2f}\n"
            f"device.type: ups\nups.status: {words}\n",
            encoding="ascii",
        )
