"""What the benches of the whole station share: a configuration of any size, and processes that end by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from station.model import Averaging
from station.parameters import catalogue

CHECKOUT = Path(__file__).resolve().parents[2]


def factors(count: int) -> list[str]:
    """The first *count* parameters of the catalogue that are plain means and have a factor code."""
    return [key for key, p in catalogue().items() if p.averaging is Averaging.MEAN and p.code][:count]


def write_profile(folder: Path, name: str, parameters: Sequence[str], reply_delay_ms: float = 20) -> None:
    """A profile of adjacent u16 registers, one a parameter, beside the station.toml of *folder*."""
    head = (
        f'title = "bench"\nbaudrate = 9600\nunit_id = 1\ngap_ms = 0\n'
        f"reply_delay_ms = {reply_delay_ms:g}\npoll_minimum_seconds = 0.05\n"
    )
    rows = [
        f'[[register]]\nparameter = "{key}"\nunit = "{catalogue()[key].unit}"\ntable = "holding"\n'
        f'address = {address}\ntype = "u16"\nscale = 0.1\nexample = {10 + address / 2}\n'
        for address, key in enumerate(parameters)
    ]
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / f"{name}.toml").write_text(head + "".join(rows), encoding="utf-8")


def write_station(
    folder: Path, devices: Sequence[tuple[str, str]], *, port: int, baudrate: int, poll_seconds: float, realtime: int
) -> Path:
    """station.toml with one bus, the *devices* (profile, point) on it and one HJ 212 platform at *port*."""
    points = sorted({point for _, point in devices})
    text = '[station]\nname = "bench"\ndata_folder = "data"\nclock = "host"\n'
    for point in points:
        text += f'[[point]]\ncode = "{point}"\nname = "{point}"\nst = "22"\n'
    text += f'[[bus]]\nname = "line"\nport = "line"\nbaudrate = {baudrate}\ngap_ms = 0\n'
    for number, (profile, point) in enumerate(devices, 1):
        text += (
            f'[[bus.device]]\nname = "d{number}"\nprofile = "{profile}"\nunit_id = {number}\n'
            f'poll_seconds = {poll_seconds:g}\npoint = "{point}"\n'
        )
    text += f'[[uplink]]\nname = "district"\nstandard = "2017"\nhost = "127.0.0.1"\nport = {port}\n'
    text += f'password_file = "password"\nrealtime_seconds = {realtime}\n'
    for number, point in enumerate(points, 1):
        text += f'[[uplink.point]]\npoint = "{point}"\nmn = "NT{number:022d}"\n'
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text("123456\n", encoding="utf-8")
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def command(words: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`station` *words* as a process of its own that ends with the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "station.entry", *words],
            cwd=CHECKOUT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
            if process.poll() is not None:
                sys.exit(f"{' '.join(words)} ended by itself:\n{log.read_text(encoding='utf-8')}")
        finally:
            process.terminate()
            process.wait(15)
