"""Replies spoilt in every way a line knows, against the real bus: what is accepted, and how it is marked."""

from __future__ import annotations

import random
from collections import Counter

import minimalmodbus

from drivers.base import DriverError
from drivers.bus import Bus
from drivers.line import crc16
from drivers.profile import Profile, parse
from drivers.registers import decode
from station.model import Mark
from tests.drivers.fakes import NOON, FakePort, FakeTime, settings

RANGES = {"air_temperature": (-40.0, 80.0), "humidity": (0.0, 100.0), "pm25": (0.0, 999.0)}
ROWS = (
    ("air_temperature", 0, "i16", 'scale = 0.1\nunit = "°C"\nno_value = [32767]\n'),
    ("humidity", 1, "u16", 'scale = 0.1\nunit = "%"\n'),
    ("pm25", 2, "f32", 'unit = "µg/m³"\n'),
)
GOOD = bytes((3, 4, 8, 0, 215, 2, 51, 0x42, 0x14, 0, 0))  # 21.5 °C, 56.3 %, 37.0 µg/m³


def instrument() -> Profile:
    """Three values, each with its range."""
    text = 'title = "t"\nbaudrate = 115200\nunit_id = 3\ngap_ms = 0\nworst_reply_ms = 20\nreply_delay_ms = 1\n'
    for parameter, address, kind, extra in ROWS:
        low, high = RANGES[parameter]
        text += (
            f'[[register]]\nparameter = "{parameter}"\ntable = "input"\naddress = {address}\ntype = "{kind}"\n{extra}'
            f"range = [{low}, {high}]\nexample = 1\n"
        )
    return parse(text, "mutated")


def mutated(frame: bytes, chance: random.Random) -> bytes:
    """*frame* with bits, bytes, its length, its neighbours or its values changed; some with a CRC that fits again."""
    kind = chance.randrange(9)
    data = bytearray(frame)
    if kind <= 1:  # one to three bits
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(data)
    if kind == 2:
        return frame[: chance.randrange(len(frame))]
    if kind == 3:
        return chance.randbytes(chance.randrange(1, 40))
    if kind == 4:  # bytes before and behind
        return chance.randbytes(chance.randrange(4)) + frame + chance.randbytes(chance.randrange(12))
    if kind == 5:  # a byte lost or doubled
        at = chance.randrange(len(data))
        data[at : at + 1] = data[at : at + 1] * chance.choice((0, 2))
        return bytes(data)
    if kind == 6:  # another unit, function or length, sound
        data[chance.randrange(3)] = chance.randrange(256)
        return _signed(data)
    if kind == 7:  # any values, sound
        data[3:-2] = chance.randbytes(len(data) - 5)
        return _signed(data)
    return frame


def _signed(data: bytearray) -> bytes:
    return bytes(data[:-2]) + crc16(bytes(data[:-2]))


def run(replies: int, seed: int = 5) -> Counter[str]:
    """*replies* of them: how many were refused and accepted, and what of the accepted ought not to have been."""
    chance, profile, time = random.Random(seed), instrument(), FakeTime()
    (request,) = profile.plan(Bus(settings(baudrate=115200)).line)
    came: list[bytes] = []

    def answer(sent: bytes) -> list[tuple[float, bytes]]:
        came.append(mutated(GOOD + crc16(GOOD), chance))
        return [(0.001, came[-1])]

    port = FakePort(time, answer, 10 / 115200)
    bus = Bus(settings(baudrate=115200, gap_ms=0), lambda _: port, time.monotonic, time.sleep)
    found: Counter[str] = Counter(refused=0, accepted=0, unsound=0, unmarked=0)
    while len(came) < replies:
        before = len(came)
        try:
            payload = bus.read(3, request, profile)
        except DriverError:
            found["refused"] += len(came) - before
        else:
            found["refused"] += len(came) - before - 1
            found["accepted"] += 1
            whole = bytes((3, 4, len(payload))) + payload
            found["unsound"] += whole + crc16(whole) not in came[-1]
            found["unmarked"] += any(
                s.mark is Mark.N
                and (s.value is None or not RANGES[s.parameter][0] <= s.value <= RANGES[s.parameter][1])
                for s in decode(request, payload, NOON)
            )
        bus.owed.clear()  # each reply stands for itself: what is owed is another bench's matter
        port.written.clear()
        port.arriving.clear()
        time.sleeps.clear()
        minimalmodbus._latest_read_times.clear()
    return found
