"""What a broker's reason codes mean for what is kept (MQTT 5.0 2.4, 3.4.2.1, 3.14.2.1; 3.1.1 3.2.2.3; confidence A).

A record is to blame only where the code speaks of its topic, its size or its form, or of the right to publish it.
All else passes with time and never parks anything.
"""

from __future__ import annotations

from collections.abc import Mapping

NO_SUBSCRIBERS = 0x10
NOT_AUTHORIZED, TOPIC_INVALID, TOO_LARGE, QUOTA, PAYLOAD_INVALID, TAKEN_OVER = 0x87, 0x90, 0x95, 0x97, 0x99, 0x8E

WORDS: Mapping[int, str] = {
    0x80: "an error it does not name",
    0x81: "it takes our packet for malformed",
    0x82: "it takes our packet for a breach of the protocol",
    0x83: "an error of its own",
    0x84: "it does not speak this version of MQTT: set version to the other one",
    0x85: "it does not accept client_id",
    0x86: "user name or password is wrong",
    0x87: "not authorized",
    0x88: "it is not available",
    0x89: "it is busy",
    0x8A: "this client is banned",
    0x8B: "it shuts down",
    0x8C: "it wants another way to authenticate",
    0x8D: "it did not hear from us in time",
    0x8E: "another client with the same client_id has taken over: each needs its own",
    0x8F: "it does not accept the topic filter",
    0x90: "it does not accept the topic",
    0x91: "it takes the packet identifier for used",
    0x93: "it was sent more at once than it takes",
    0x95: "the packet is too large",
    0x96: "it was sent too much in a short time",
    0x97: "a quota is used up",
    0x98: "somebody there ended the connection",
    0x99: "it does not accept the form of the payload",
    0x9A: "it keeps no retained messages: set status_topic = \"\"",
    0x9B: "it knows no QoS 1, without which nothing is sure to arrive",
    0x9C: "it wants another server to be used for now; put its address into url",
    0x9D: "it has moved; put its new address into url",
    0x9F: "too many connections in a short time",
    0xA0: "a connection may not last longer there",
}
# Of CONNECT, DISCONNECT: what another try at once cannot mend, and what may get a client banned.
STUBBORN = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8E, 0x9A, 0x9B, 0x9C, 0x9D})
# Of PUBACK, and of DISCONNECT where one record was on its way: the record as it is.
BLAMES = frozenset({NOT_AUTHORIZED, TOPIC_INVALID, TOO_LARGE, PAYLOAD_INVALID})


def words(code: int, said: str = "") -> str:
    """A reason *code* as a sentence's end, with what the broker *said* beside it.

    >>> words(0x87), words(0x86, "go away"), words(0xEE)
    ('not authorized (0x87)', 'user name or password is wrong (0x86: go away)', 'a reason without meaning (0xEE)')
    """
    shown = "".join(sign if sign.isprintable() else "?" for sign in said)[:120]
    return f"{WORDS.get(code, 'a reason without meaning')} (0x{code:02X}{': ' + shown if shown else ''})"
