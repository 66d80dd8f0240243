"""Everything beside the station broken at once, against a station that has none of it.

    python -m tests.broken_all [--for 300] [--markdown]

Two stations of the same emulated instruments run side by side for so many seconds, each with a platform of its own: one
plain, one with a receiver that is fed rubbish, a modem that hangs, screens that are absent or mute, cameras that never
answer or never end, webhooks that answer 500 or nothing, a sampler nobody answers for, a UPS program that hangs, a
position that is rubbish and a flood of forged orders for the tunnel.  Printed: cadence, records, lags, what the daemon
took.  Exit code 0 only where readings and records agree within 5 % and nothing was lost or doubled.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tty
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from station import demo
from station.config import Loaded, load
from station.control import ask
from station.model import Kind, StationError, dataclass, field
from station.store import connect
from uplink.hj212.emulator import Platform
from uplink.hj212.frame import Segment, encode, fence

TOLERANCE = 0.05
SETTLED = 15.0  # seconds at the start that count for nothing
BESIDE = ("screen", "camera", "sampler", "supply", "position", "modem")  # what has to be seen failing

BROKEN = """
[[bus]]
name = "hosts"
port = "hj212+tcp://127.0.0.1:{hosts}"
[[bus.device]]
name = "cems"
driver = "hj212"
mn = "CEMS0001"
every_seconds = 5
poll_seconds = 1
point = "site"
parameters = ["tsp"]

[[bus]]
name = "bottles"
port = "{bottles}"
device = []

[[screen]]
name = "absent"
port = "tcp://127.0.0.1:{absent}"
platform = "district"
pages = [["{{site.pm10.value:>6}}"]]
[[screen]]
name = "mute"
protocol = "onbon"
port = "tcp://127.0.0.1:{mute}"
platform = "district"
width = 160
pages = [["{{site.pm10.value:>6}}"]]

[[camera]]
name = "endless"
kind = "jpeg"
url = "http://127.0.0.1:{endless}/still.jpg"
timeout_seconds = 5
look_minutes = 1
[[camera]]
name = "silent"
url = "rtsp://127.0.0.1:{mute}/main"
timeout_seconds = 5
look_minutes = 1

[[alarm]]
name = "dust"
point = "site"
parameter = "pm10"
period = "1min"
above = 0.1

[[notify]]
name = "refusing"
kind = "json"
url_file = "refusing.url"
[[notify]]
name = "mute"
kind = "json"
url_file = "mute.url"
timeout_seconds = 5

[[sampler]]
name = "outlet"
point = "river"
bus = "bottles"
profile = "dahu-24"
confirmed = true
poll_seconds = 1

[supply]
source = "nut"
upsc = "{upsc}"
power_off = "none"
stop_percent = 20

[position]
port = {gpsd}

[modem]
kind = "at"
port = "{modem}"
look_seconds = 5
answer_seconds = 1
after_minutes = 1

[tunnel]
state_file = "state.json"
"""


@dataclass(slots=True)
class Found:
    """What came of one station."""

    readings: int = 0  # times an instrument that both have was read, behind SETTLED
    cadence: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # p50, p99, longest, seconds
    records: dict[str, int] = field(default_factory=dict)  # by CN, at the platform
    minutes: int = 0
    lost: int = 0
    doubled: int = 0
    lag: tuple[float, float] = (0.0, 0.0)  # p50, p99 of real-time data, seconds
    cpu_seconds: float = 0.0
    rss_mb: float = 0.0
    threads: int = 0
    stop_seconds: float = 0.0
    code: int | None = None
    told: dict[str, int] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)


def free_port() -> int:
    """A port of loopback nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Peers:
    """Everything that is wrong, on loopback, until closed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.over = folder, threading.Event()
        self.hosts, self.absent = free_port(), free_port()
        self._listeners: list[socket.socket] = []
        self._terminals: list[int] = []
        self.mute = self._listen(self._silent)
        self.endless = self._listen(self._endless)
        self.refusing = self._listen(self._refusing)
        self.gpsd = self._listen(self._rubbish)
        self.modem, self.bottles = self._terminal("modem"), self._terminal("bottles")
        self.upsc = folder / "upsc"
        self.upsc.write_text("#!/bin/sh\nexec sleep 3600\n")
        self.upsc.chmod(0o700)

    def text(self) -> str:
        """Their tables of station.toml; the webhooks' addresses go into files."""
        for name, port in (("refusing", self.refusing), ("mute", self.mute)):
            path = self.folder / f"{name}.url"
            path.touch(mode=0o600)
            path.write_text(f"http://127.0.0.1:{port}/hook\n")
        (self.folder / "state.json").write_text('{"state":')
        names = ("hosts", "absent", "mute", "endless", "gpsd", "modem", "bottles", "upsc")
        return BROKEN.format(**{name: getattr(self, name) for name in names})

    def begin(self, loaded: Loaded) -> None:
        """Feed the receiver and the control socket."""
        for work in (self._feed, self._feed, self._orders):
            threading.Thread(target=work, args=(loaded,), daemon=True).start()

    def close(self) -> None:
        """Let go of all of them."""
        self.over.set()
        for one in self._listeners:
            one.close()
        for terminal in self._terminals:
            os.close(terminal)

    def _listen(self, serve: Any) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        self._listeners.append(listener)

        def loop() -> None:
            while not self.over.is_set():
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=self._served, args=(serve, link), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        return int(listener.getsockname()[1])

    def _served(self, serve: Any, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            serve(link)

    def _silent(self, link: socket.socket) -> None:
        self.over.wait(3600)

    def _endless(self, link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self.over.wait(0.05):
            link.sendall(b"400\r\n" + b"\xff\xd8" + bytes(1022) + b"\r\n")

    def _refusing(self, link: socket.socket) -> None:
        link.recv(65536)
        link.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def _rubbish(self, link: socket.socket) -> None:
        chance = random.Random(1)
        while not self.over.wait(0.01):
            link.sendall(chance.randbytes(512))

    def _terminal(self, name: str) -> Path:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self._terminals += [ours, theirs]
        path = self.folder / f"line-{name}"
        path.symlink_to(os.ttyname(theirs))
        return path

    def _feed(self, loaded: Loaded) -> None:
        chance = random.Random(2)
        strange = encode(Segment(qn="20260301080000001", st="31", cn="2011", pw="1", mn="NOBODY", flag="5",
                                 cp=fence("DataTime=20260301080000;a34001-Rtd=1")).build())  # fmt: skip
        while not self.over.wait(0.02):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.hosts), 2) as link:
                kind = chance.randrange(3)
                link.sendall(chance.randbytes(4000) if kind == 0 else strange * 5 if kind == 1 else strange[:40])

    def _orders(self, loaded: Loaded) -> None:
        while not self.over.wait(0.2):
            with contextlib.suppress(StationError, OSError):
                ask(loaded.control_socket, "tunnel", timeout=5, fields={"do": "order", "order": "{}", "signature": "x"})


@contextlib.contextmanager
def running(folder: Path, broken: bool) -> Iterator[tuple[Loaded, Platform, subprocess.Popen[bytes], Peers | None]]:
    """A station on its emulated instruments, with its platform and, where *broken*, everything that is wrong."""
    folder.mkdir()
    peers = Peers(folder) if broken else None
    with Platform(database=folder / "platform.db") as platform:
        loaded = demo._configure(folder, platform.port, "2017", False, "")
        instruments = load(Path(shutil.copy(loaded.path, folder / "instruments.toml")))  # these are well in both
        if peers is not None:
            with loaded.path.open("a", encoding="utf-8") as file:
                file.write(peers.text())
        loaded = load(loaded.path)
        with demo._instruments(instruments, folder, demo.REPLAYS), demo._station(loaded, folder) as process:
            if peers is not None:
                peers.begin(loaded)
            try:
                yield loaded, platform, process, peers
            finally:
                if peers is not None:
                    peers.close()


def look(loaded: Loaded, process: subprocess.Popen[bytes], found: Found) -> None:
    """What the daemon takes and says, while it runs."""
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    found.cpu_seconds = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    found.rss_mb = int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    found.threads = int(stat[17])
    status = ask(loaded.control_socket, "status", timeout=10)
    for row in status.get("beside", ()):
        if row["error"] or row["silent"] > 2:
            found.failing[f"{row['table']} {row['name']}"] = row["error"] or f"silent for {row['silent']} s"
    for row in status.get("people", ()):
        if row["error"]:
            found.failing[f"notify {row['name']}"] = row["error"]


def judge(loaded: Loaded, platform: Platform, began: float, ended: float, found: Found) -> None:
    """What is in the store and at the platform."""
    devices = {"weather", "sonde", "collector", "meter", "dust"}
    first, last = int((began + SETTLED) * 1000), int(ended * 1000)
    with contextlib.closing(connect(loaded.database, read_only=True)) as db:
        rows = db.execute(
            "SELECT device, parameter, at_ms FROM reading JOIN series ON series.id = series "
            "WHERE at_ms BETWEEN ? AND ? ORDER BY at_ms", (first, last),
        ).fetchall()  # fmt: skip
        found.minutes = db.execute("SELECT count(*) FROM average WHERE kind = ?", (int(Kind.MINUTE),)).fetchone()[0]
        events = Counter(code for (code,) in db.execute("SELECT code FROM event"))
    found.told = {code: count for code, count in events.items() if code in ("beside_failed", "sender_refused",
                  "people_not_told", "tunnel_refused", "beside_well")}  # fmt: skip
    times: dict[str, dict[str, list[int]]] = {}
    for device, parameter, at in rows:
        if device in devices:
            times.setdefault(device, {}).setdefault(parameter, []).append(at)
    for device, by in times.items():
        longest = max(by.values(), key=len)
        found.readings += len(longest)
        gaps = sorted((b - a) / 1000 for a, b in pairwise(longest)) or [0.0]
        found.cadence[device] = (statistics.median(gaps), gaps[int(0.99 * (len(gaps) - 1))], gaps[-1])
    records = platform.records()
    found.records = dict(Counter(one.cn for one in records))
    lags = sorted(
        one.received_at_ms / 1000 - datetime.strptime(f"{one.datatime}+0800", "%Y%m%d%H%M%S%z").timestamp()
        for one in records if one.cn == "2011"
    )  # fmt: skip
    if lags:
        found.lag = statistics.median(lags), lags[int(0.99 * (len(lags) - 1))]
    summary = demo.judge(loaded, records, "2017", False)
    found.lost, found.doubled = summary.lost, summary.duplicates


def run(folder: Path, seconds: float) -> tuple[Found, Found]:
    """Both stations for *seconds*: the plain one, and the one with everything broken."""
    plain, broken = Found(), Found()
    with running(folder / "plain", False) as one, running(folder / "broken", True) as other:
        began = time.time()
        while time.time() < began + seconds:
            time.sleep(min(5.0, seconds / 5))
            for (loaded, _, process, _), found in ((one, plain), (other, broken)):
                look(loaded, process, found)
        ended = time.time()
        for (loaded, platform, process, _), found in ((one, plain), (other, broken)):
            drained(loaded)
            at = time.monotonic()
            found.code = demo._stop(process)
            found.stop_seconds = time.monotonic() - at
            judge(loaded, platform, began, ended, found)
    return plain, broken


def drained(loaded: Loaded) -> None:
    """Wait until the platform has answered for everything."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if all(not one["owed"] for one in ask(loaded.control_socket, "status", timeout=10)["platforms"]):
            return
        time.sleep(0.2)


def faults(plain: Found, broken: Found) -> list[str]:
    """Why it did not hold; nothing where it did."""
    wrong = []
    for what, a, b in (
        ("readings", plain.readings, broken.readings),
        ("records at the platform", sum(plain.records.values()), sum(broken.records.values())),
    ):
        if not a or abs(b - a) > max(TOLERANCE * a, len(plain.cadence)):  # they do not begin at the same moment
            wrong.append(f"{what}: {a} and {b}")
    for name, one in (("plain", plain), ("broken", broken)):
        if one.lost or one.doubled or one.code:
            wrong.append(f"{name}: lost {one.lost}, doubled {one.doubled}, exit code {one.code}")
    seen = {name.split()[0] for name in broken.failing}
    if missing := [name for name in (*BESIDE, "notify") if name not in seen]:
        wrong.append(f"not seen in status: {', '.join(missing)}")
    return wrong


def table(plain: Found, broken: Found) -> list[tuple[str, str, str]]:
    """The rows that are printed: what, plain, everything broken."""

    def both(what: str, show: Any) -> tuple[str, str, str]:
        return what, show(plain), show(broken)

    rows = [both("instruments read, times", lambda one: str(one.readings))]
    rows += [
        both(f"{device}: s from one to the next, p50 / p99 / longest",
             lambda one, device=device: " / ".join(f"{part:.2f}" for part in one.cadence.get(device, ())))
        for device in sorted(plain.cadence)
    ]  # fmt: skip
    rows += [
        both("records at the platform", lambda one: ", ".join(f"{cn}: {n}" for cn, n in sorted(one.records.items()))),
        both("real-time data, s behind, p50 / p99", lambda one: f"{one.lag[0]:.2f} / {one.lag[1]:.2f}"),
        both("minutes closed", lambda one: str(one.minutes)),
        both("lost / doubled", lambda one: f"{one.lost} / {one.doubled}"),
        both("processor, s", lambda one: f"{one.cpu_seconds:.1f}"),
        both("memory, MiB", lambda one: f"{one.rss_mb:.1f}"),
        both("threads", lambda one: str(one.threads)),
        both("stop, s, and exit code", lambda one: f"{one.stop_seconds:.1f}, {one.code}"),
        both("events about it", lambda one: ", ".join(f"{code}: {n}" for code, n in sorted(one.told.items())) or "-"),
    ]
    return rows


def main(words: list[str]) -> int:
    """Run, print, judge."""
    read = argparse.ArgumentParser(prog="python -m tests.broken_all", description="everything beside it broken at once")
    read.add_argument("--for", dest="seconds", type=float, default=300.0, metavar="SECONDS")
    read.add_argument("--markdown", action="store_true")
    given = read.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="broken-all-") as folder:
        plain, broken = run(Path(folder), given.seconds)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip()}, {given.seconds:g} s side by side"
    print(f"{head}\n")
    rows = [("", "plain", "everything broken"), *table(plain, broken)]
    if given.markdown:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        print("\n".join([lines[0], "| --- | --- | --- |", *lines[1:]]))
    else:
        print("\n".join(f"{row[0]:50} {row[1]:36} {row[2]}" for row in rows))
    print("\nin status of the broken one, at one time or another:")
    for name, said in sorted(broken.failing.items()):
        print(f"  {name}: {said}")
    wrong = faults(plain, broken)
    print("\n" + ("; ".join(wrong) if wrong else "held"))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
