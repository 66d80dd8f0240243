"""Cells: what an encoding can show and how wide, and that a painted screen is the wanted one, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.cells import BOLD, LEAST_ROOM, LOUD, PLAIN, Allowance, Line, Painter, Script
from tests.station.terminal import Vt100

SIGNS = "ab7 浊度µ³°≤…,。·-"
PIECES = st.lists(st.tuples(st.text(SIGNS, max_size=9), st.sampled_from([PLAIN, BOLD, LOUD])), max_size=5)


def shown(line: Line, width: int, encoding: str) -> str:
    """A line as it ought to be seen."""
    return "".join(char for char, _ in Script(encoding).cells(line, width)).rstrip()


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
@settings(max_examples=60, deadline=None)
@given(screens=st.lists(st.lists(PIECES, min_size=4, max_size=4), min_size=1, max_size=4), width=st.integers(1, 30))
def test_whatever_was_shown_before_a_terminal_ends_with_the_wanted_screen(
    encoding: str, screens: list[list[Line]], width: int
) -> None:
    """Wide characters over narrow ones and back, in both encodings, never past the edge."""
    script = Script(encoding)
    terminal, painter = Vt100(width, 4, encoding), Painter(script)
    painter.cleared(width, 4)
    for screen in screens:
        wanted = [script.cells(line, width) for line in screen]
        data, whole = painter.paint(wanted, 1 << 20)
        terminal.feed(data)
        assert whole
        assert terminal.lines == [shown(line, width, encoding) for line in screen]
        assert painter.paint(wanted, 1 << 20) == (b"", True)


@settings(max_examples=40, deadline=None)
@given(screen=st.lists(PIECES, min_size=6, max_size=6), room=st.integers(LEAST_ROOM, 600))
def test_a_refresh_never_sends_more_than_it_may_and_goes_on_where_it_stopped(screen: list[Line], room: int) -> None:
    """Each portion within the room, and in the end all of the screen."""
    script = Script("utf-8")
    terminal, painter = Vt100(40, 6), Painter(script)
    painter.cleared(40, 6)
    wanted = [script.cells(line, 40) for line in screen]
    for _ in range(200):
        data, whole = painter.paint(wanted, room)
        assert len(data) <= room
        terminal.feed(data)
        if whole:
            break
    assert terminal.lines == [shown(line, 40, "utf-8") for line in screen]


def test_one_changed_digit_is_a_few_bytes() -> None:
    """A position and what changed; nothing for what stands already."""
    script, painter = Script("utf-8"), Painter(Script("utf-8"))
    painter.cleared(80, 24)
    rows = [script.cells([(f"row {n}: 35.0 µg/m³ 浊度", PLAIN)], 80) for n in range(24)]
    painter.paint(rows, 1 << 20)
    rows[7] = script.cells([("row 7: 36.0 µg/m³ 浊度", PLAIN)], 80)
    assert painter.paint(rows, 1 << 20) == (b"\x1b[8;9H6", True)


def test_a_sign_that_some_terminals_draw_wide_moves_nothing_behind_it() -> None:
    """What is written behind ³ or ° is placed anew, whatever the terminal made of it."""
    script, painter = Script("utf-8"), Painter(Script("utf-8"))
    painter.cleared(20, 1)
    data, _ = painter.paint([script.cells([("5 m³ 6 °C", PLAIN)], 20)], 1 << 20)
    assert data.decode() == "\x1b[1;1H5 m³\x1b[1;6H6 °\x1b[1;9HC"


def test_control_characters_of_a_reply_never_reach_the_terminal() -> None:
    """An instrument's text may hold an escape sequence."""
    assert Script("utf-8").shown("x\x1b]0;owned\x07\x9b2J\ty") == "x?]0;owned??2J y"


def test_a_wide_character_is_not_cut_in_two_and_a_combining_one_takes_no_cell() -> None:
    """The cell stays blank."""
    script = Script("utf-8")
    assert [char for char, _ in script.cells([("a浊度", PLAIN)], 4)] == ["a", "浊", "", " "]
    assert [char for char, _ in script.cells([("e\u0301x", PLAIN)], 3)] == ["e", "x", " "]


@pytest.mark.parametrize("width", [1, 2, 7, 12, 40])
def test_wrapped_text_loses_nothing_and_fits(width: int) -> None:
    """Words, Chinese and one long word."""
    text = "端口 /dev/serial/by-path/platform-3f980000 没有应答,请检查接线 and the speed."
    for encoding in ("utf-8", "gbk"):
        script = Script(encoding)
        lines = script.wrapped(text, width)
        assert "".join("".join(lines).split()) == "".join(text.split())
        if width > 1:
            assert max(map(script.width, lines)) <= width


def test_an_allowance_is_never_more_than_was_saved_and_a_spent_one_fills_again() -> None:
    """9600 baud with half the line: 480 bytes a second."""
    slow = Allowance(rate=480, most=480, now=10.0)
    sent = 0
    for tenth in range(50):
        room = slow.room(10.0 + tenth / 10)
        slow.spend(room)
        sent += room
    assert 480 + 48 * 49 - 49 <= sent <= 480 + 48 * 49
