"""How emulated instruments and their lines fail: by name, each at a rate, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache

from drivers.line import crc16, read_request
from station.model import did_you_mean

UNIT_FAULTS: Mapping[str, str] = {
    "silent": "does not answer",
    "exception": "answers every request with exception 4, device failure",
    "busy": "answers every request with exception 6, device busy",
    "late": "answers when the master has given up",
    "noise": "its replies arrive with flipped bits, cut short, or as garbage",
    "truncated": "its replies end too early",
    "glued": "its replies have half of another frame behind them",
    "twice": "answers twice, as two units with one address do",
    "wrong-unit": "answers under the next unit's address",
    "wrong-function": "answers with another function code",
    "wrong-length": "answers with one register too many",
}
LINE_FAULTS: Mapping[str, str] = {
    "echo": "the adapter hears itself: each request comes back before the reply",
    "short-echo": "the same, and the first byte of it is lost",
    "crackle": "bytes that nobody sent, before the reply",
    "flood": "bytes without end, or for two seconds from a request on when it has a rate",
    "foreign": "another master asks the same instruments, behind each exchange",
}
FLOOD_SECONDS = 2.0
FOREIGN_SECONDS = 0.02  # how long after an exchange another master asks


@cache
def parsed(mix: str) -> tuple[tuple[str, float], ...]:
    """The faults of *mix* with their rates.

    >>> parsed("late:0.1,noise:0.02"), parsed("silent")
    ((('late', 0.1), ('noise', 0.02)), (('silent', 1.0),))
    """
    return tuple((name.strip(), float(rate or 1)) for name, _, rate in (one.partition(":") for one in mix.split(",")))


def checked(mix: str, known: Mapping[str, str]) -> str:
    """*mix*; raise ValueError where it names no *known* fault, or a rate that is not within 0 to 1."""
    for one in mix.split(","):
        name, colon, rate = (part.strip() for part in one.partition(":"))
        if name not in known:
            raise ValueError(f"no fault {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
        try:
            usable = not colon or 0 <= float(rate) <= 1
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"{one.strip()}: the rate is not a number from 0 to 1, as in {name}:0.1")
    return mix


def drawn(mix: str | None, chance: random.Random) -> str | None:
    """The fault that shows this time, by the rates of *mix*, or None; one draw decides between all of them."""
    if mix is None:
        return None
    left = chance.random()
    for name, rate in parsed(mix):
        if left < rate:
            return name
        left -= rate
    return None


def spoilt(reply: bytes, chance: random.Random) -> bytes:
    """*reply* as noise leaves it."""
    damage = chance.randrange(3)
    if damage == 0:
        bit = chance.randrange(8 * len(reply))
        return (int.from_bytes(reply, "big") ^ 1 << bit).to_bytes(len(reply), "big")
    if damage == 1:
        return reply[: chance.randrange(1, len(reply))]
    return chance.randbytes(len(reply))


def _signed(body: bytes) -> bytes:
    return body + crc16(body)


def _longer(reply: bytes) -> bytes:
    return _signed(reply[:2] + bytes((reply[2] + 2 & 0xFF,)) + reply[3:-2] + b"\0\0")


DAMAGE: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "noise": spoilt,
    "truncated": lambda reply, chance: reply[: chance.randrange(1, len(reply))],
    "glued": lambda reply, chance: reply + reply[: len(reply) // 2],
    "twice": lambda reply, chance: reply + reply,
    "wrong-unit": lambda reply, chance: _signed(bytes((reply[0] % 247 + 1,)) + reply[1:-2]),
    "wrong-function": lambda reply, chance: _signed(reply[:1] + bytes((reply[1] ^ 7,)) + reply[2:-2]),
    "wrong-length": lambda reply, chance: _longer(reply),
}


def foreign_exchange(unit_id: int, chance: random.Random) -> tuple[bytes, bytes]:
    """What another master asks *unit_id*, and what it is answered: two registers, as ours may be."""
    body = bytes((unit_id, 3, 4)) + chance.randbytes(4)
    return read_request(unit_id, "holding", chance.randrange(0x1000), 2), _signed(body)
