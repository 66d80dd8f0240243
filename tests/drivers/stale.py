"""Slaves whose replies come late, on a port whose time is virtual: what the bus takes for whose answer.

An even register holds its address + 1000, an odd one the number of the request: a value that belongs to another
request shows at once, and so does an old value of the right register.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import minimalmodbus

from drivers.base import DriverError
from drivers.bus import Bus
from drivers.line import crc16
from drivers.profile import Profile, parse
from drivers.registers import Request
from tests.drivers.fakes import FakePort, FakeTime, settings

MODES = {
    "queue": "answers every request, one after the other",
    "drop": "does not hear a request while a reply is due",
    "apart": "answers each request in its own time, later ones first if they are quicker",
}
ROW = '[[register]]\nparameter = "p{0}"\ntable = "holding"\naddress = {0}\ntype = "u16"\nexample = 1\n'
HEAD = 'title = "t"\nbaudrate = 115200\nunit_id = 1\ngap_ms = 0\nreply_delay_ms = 2\nworst_reply_ms = 50\n'
MAPS = {
    "neighbours": (range(42), 2, "can be read along: the length tells replies apart"),
    "pairs": ([0, 1, 10, 11, 20, 21, 30, 31], 2, "nothing to read along: half of it is asked first"),
    "single": ([0, 10, 20, 30], 1, "one length only: waited for, asked twice, compared"),
}


def profile_of(name: str) -> Profile:
    """The instrument of MAPS[*name*]."""
    addresses, _, _ = MAPS[name]
    bridge = "" if name == "neighbours" else "bridge_gaps = false\n"
    return parse(HEAD + bridge + "".join(map(ROW.format, addresses)), name)


class Slave:
    """A unit that answers a share *late* of its requests *by* so many seconds after *timeout*, others after 2 ms.

    To a share *busy* of them, late ones among these, it says that it is busy.
    """

    def __init__(self, mode: str, late: float, by: tuple[float, float], seed: int, busy: float = 0.0) -> None:
        self.mode, self.timeout, self.late, self.by, self.busy = mode, 0.0, late, by, busy
        self.port: FakePort
        self.served = self.were_late = 0
        self._random = random.Random(seed)
        self._free_at = 0.0

    def __call__(self, request: bytes) -> list[tuple[float, bytes]]:
        """When which reply to *request* comes, if any does."""
        now = self.port.time.now
        if self.mode == "drop" and now < self._free_at:
            return []
        self.served += 1
        delay = 0.002
        if self._random.random() < self.late:
            self.were_late += 1
            delay = self.timeout + self._random.uniform(*self.by)
        if self.mode == "queue":
            delay = max(delay, self._free_at - now)
        address, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        registers = range(address, address + count)
        words = b"".join((self.served & 0xFFFF if a % 2 else 1000 + a).to_bytes(2, "big") for a in registers)
        reply = request[:2] + bytes([2 * count]) + words
        if self.busy and self._random.random() < self.busy:
            reply = bytes((request[0], request[1] | 0x80, 6))
        reply += crc16(reply)
        self._free_at = now + delay + len(reply) * self.port.character
        return [(delay - len(request) * self.port.character, reply)]


def requests_of(name: str) -> list[Request]:
    """Reads of four places of MAPS[*name*]."""
    return [Request("holding", first, MAPS[name][1], ()) for first in (0, 10, 20, 30)]


def bus_of(slave: Slave, profile: Profile, request: Request) -> Bus:
    """The master of *slave*, which is late when *request* would be given up."""
    time = FakeTime()
    port = slave.port = FakePort(time, slave, 10 / 115200)
    bus = Bus(settings(baudrate=115200, gap_ms=0), lambda _: port, time.monotonic, time.sleep)
    slave.timeout = profile.timeout_seconds(bus.line, request)
    return bus


def run(
    name: str, mode: str, reads: int, late: float, by: tuple[float, float], seed: int = 7, busy: float = 0.0
) -> Counter[str]:
    """*reads* of four places in turn, back to back, by the real Bus: how many were good, wrong and none."""
    profile, (_, count, _) = profile_of(name), MAPS[name]
    requests = requests_of(name)
    slave = Slave(mode, late, by, seed, busy)
    bus = bus_of(slave, profile, requests[0])
    port, time = slave.port, slave.port.time
    found: Counter[str] = Counter(good=0, wrong=0, failed=0)
    began = time.now
    for request in _turns(requests, reads):
        try:
            payload = bus.read(1, request, profile)
        except DriverError:
            found["failed"] += 1
        else:
            wanted = (1000 + request.address).to_bytes(2, "big")
            wanted += (slave.served & 0xFFFF).to_bytes(2, "big") if count > 1 else b""
            found["good" if payload == wanted else "wrong"] += 1
        port.written.clear()
        time.sleeps.clear()
        minimalmodbus._latest_read_times.clear()  # the library's own silence is in real time
    found.update(late=slave.were_late, requests=slave.served, milliseconds=round(1000 * (time.now - began)))
    return found


def _turns(requests: list[Request], reads: int) -> Iterator[Request]:
    for number in range(reads):
        yield requests[number % len(requests)]
