"""The catalogue's quick reader says what tomllib says, or nothing."""

from __future__ import annotations

import tomllib

from hypothesis import example, given
from hypothesis import strategies as st

from station.parameters import FILE, plain_rows

LINES = st.sampled_from(
    [
        "[ph]",
        "[pm25]",
        "[a.b]",
        "[[ph]]",
        "[ph] # pH",
        " [noise]",
        "# [ph]",
        "",
        'en = "pH"',
        'zh = "细颗粒物"',
        'unit = ""',
        "en = 'pH'",
        'en = "pH" # "x"',
        'en = "a\\tb"',
        'en = """a"""',
        'en="pH"',
        "decimals = 2",
        "decimals = 02",
        "decimals = +2",
        "decimals = 1_0",
        "decimals = ２",
        "decimals = 2.5",
        "decimals = true",
        "a.b = 1",
        "pH值 = 1",
        'x = "tab\there"',
        "x = [1]",
        "] = 1",
        "y = ",
    ]
)


@given(st.lists(LINES, max_size=8).map("\n".join))
@example("[ph]\r\nen = 1\r\n")
@example('[ph]\nen = "\x00"')
def test_the_quick_reader_never_says_anything_but_what_tomllib_says(text):
    rows = plain_rows(text)

    assert rows is None or rows == tomllib.loads(text)


def test_the_catalogue_that_ships_is_read_the_quick_way():
    """Else each start pays for it: write its rows as plain texts and whole numbers."""
    text = FILE.read_text(encoding="utf-8")

    assert plain_rows(text) == tomllib.loads(text)
