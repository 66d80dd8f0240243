"""Frames found in a stream by a bystander, and paired."""

from __future__ import annotations

import random

import pytest

from drivers.frames import LONGEST, Piece, Splitter, from_hex, is_sound, paired, sealed, to_hex
from drivers.line import read_request

ASKED = read_request(1, "holding", 500, 2)
REPLY = sealed(bytes.fromhex("01 03 04 00 25 00 00"))
WRITE = sealed(bytes.fromhex("01 06 00 10 12 34"))


def pieces(*chunks: bytes) -> list[Piece]:
    """What a splitter makes of *chunks*, ten milliseconds apart, and of the silence behind them."""
    splitter, found = Splitter(), []
    for number, chunk in enumerate(chunks):
        found += splitter.feed(chunk, number / 100)
    return found + list(splitter.silence(len(chunks) / 100))


def ways(*chunks: bytes) -> list[tuple[str, bytes]]:
    return [(piece.way, piece.data) for piece in pieces(*chunks)]


def test_a_request_and_its_reply_are_told_apart_whatever_the_pieces_they_come_in() -> None:
    """Byte by byte, all at once, or broken anywhere."""
    whole = ASKED + REPLY
    wanted = [("request", ASKED), ("reply", REPLY)]
    assert ways(whole) == wanted
    assert ways(*(bytes((byte,)) for byte in whole)) == wanted
    for cut in range(1, len(whole)):
        assert ways(whole[:cut], whole[cut:]) == wanted


def test_a_write_and_its_confirmation_look_alike_and_take_turns() -> None:
    """Function 6 answers with the request over again."""
    assert [way for way, _ in ways(WRITE, WRITE, WRITE, WRITE)] == ["request", "reply", "request", "reply"]


def test_a_request_that_nobody_answers_is_followed_by_a_request() -> None:
    """Not taken for its own reply."""
    assert [way for way, _ in ways(ASKED, ASKED, ASKED, REPLY)] == ["request", "request", "request", "reply"]


def test_noise_between_frames_is_set_apart() -> None:
    """And what follows the silence is found again."""
    assert ways(ASKED + b"\x00\xff\x13") == [("request", ASKED), ("noise", b"\x00\xff\x13")]
    assert ways(b"\x00" + ASKED + REPLY) == [("noise", b"\x00"), ("request", ASKED), ("reply", REPLY)]


def test_an_exception_is_a_reply() -> None:
    """Five bytes, the function's highest bit set."""
    exception = sealed(bytes.fromhex("01 83 02"))
    assert ways(ASKED, exception) == [("request", ASKED), ("reply", exception)]


def test_a_function_of_the_makers_own_is_found_by_the_gap() -> None:
    """PZEM resets its energy with function 0x42."""
    reset = sealed(bytes.fromhex("01 42"))
    assert ways(reset) == [("request", reset)]


def test_pairs_know_what_was_left_alone() -> None:
    """A request without a reply, a reply without a request."""
    found = list(paired(iter(pieces(REPLY, ASKED, ASKED, REPLY))))
    assert [(one.request, one.reply) for one in found] == [(b"", REPLY), (ASKED, b""), (ASKED, REPLY)]


def test_no_frame_is_invented_out_of_noise() -> None:
    """20,000 random bytes: what is called a frame has its CRC."""
    noise = random.Random(7).randbytes(20_000)
    for way, data in ways(*(noise[i : i + 40] for i in range(0, len(noise), 40))):
        assert way == "noise" or is_sound(data)


def test_a_line_that_never_falls_silent_is_not_kept_for_ever() -> None:
    """A flood comes out as it came in, and a frame behind it is found before there is a silence."""
    flood = random.Random(3).randbytes(5000)
    splitter, found = Splitter(), []
    for i in range(0, len(flood), 100):
        found += splitter.feed(flood[i : i + 100], i / 1000)
        assert len(splitter._buffer) <= LONGEST
    found += splitter.feed(ASKED + REPLY + bytes(LONGEST), 6.0)
    assert {ASKED, REPLY} <= {piece.data for piece in found if piece.way != "noise"}
    assert b"".join(piece.data for piece in found) == (flood + ASKED + REPLY + bytes(LONGEST))[:-LONGEST]


def test_all_bytes_come_out_again_in_their_order() -> None:
    """Nothing is lost on the way."""
    stream = b"\x07" + ASKED + REPLY + b"\xff\xff" + WRITE + WRITE + b"\x01"
    assert b"".join(data for _, data in ways(stream)) == stream


@pytest.mark.parametrize("text", ["", "0x", "010", "zz", "0103 4", "01 03 0g", "01 0", "0x1 3"])
def test_what_is_no_hex_is_refused(text: str) -> None:
    """An odd digit is half a byte, not a byte."""
    with pytest.raises(ValueError, match=r"is not pairs of hexadecimal digits$"):
        from_hex(text)


def test_hex_is_shown_as_manuals_print_it() -> None:
    """And read back, in whatever way it was printed."""
    assert to_hex(WRITE) == "01 06 00 10 12 34 85 78"
    for text in (
        to_hex(WRITE),
        WRITE.hex(),
        "0x" + WRITE.hex(" ").replace(" ", " 0x"),
        WRITE.hex(":"),
        "0x1 0x6 0x0 0x10 0x12 0x34 0x85 0x78",
    ):
        assert from_hex(text) == WRITE
