"""The technician's handbook does what it says, in both languages, on emulated instruments."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.station.handbook import BOOKS, TYPED, Block, Player, blocks, fits
from tests.station.handbook_seeds import PREPARATIONS

TEXTS = {language: path.read_text(encoding="utf-8") for language, path in BOOKS.items()}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def played(language: str) -> list[Block]:
    """The blocks of one handbook."""
    return list(blocks(TEXTS[language]))


def differing(player: Player, block: Block) -> list[str]:
    """What *block* shows instead of what the handbook says."""
    return [
        f"{BOOKS[player.language].name}:{block.line}: {command.words}\n--- the handbook\n"
        + "\n".join(command.shown)
        + f"\n--- shown\n{shown}"
        for command, shown, good in player.play(block)
        if not good
    ]


def test_every_command_of_the_handbook_shows_what_it_says() -> None:
    """Both books at once, block by block, each at a station of its own, in a folder whose name is short as a home's.

    What runs in a terminal of its own does so for both at the same time.
    """
    wrong: list[str] = []
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory(dir="/tmp"))) for _ in BOOKS]
        players = [
            stack.enter_context(closing(Player(folder, language, PREPARATIONS)))
            for folder, language in zip(folders, BOOKS, strict=True)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(len(players)))
        for pair in zip_longest(*map(played, BOOKS)):
            each = pool.map if all(block and block.terminal for block in pair) else map
            for found in each(differing, players, pair):
                wrong += found
    if wrong:
        pytest.fail("\n\n".join(wrong), pytrace=False)


def plainly(words: str) -> str:
    """A command without what a person says in it."""
    return re.sub(r'"[^"]*"|\S+\.html', "…", words)


def test_both_handbooks_have_the_same_chapters_tables_and_commands() -> None:
    """In the same order; names and remarks are in the reader's language."""
    for pattern in (r"^(#+) ", r"^\|", r"^<!-- test: (\w+) -->$", r"^```(.*)$"):
        found = [re.findall(pattern, text, flags=re.M) for text in TEXTS.values()]
        assert found[0] == found[1], pattern
    typed = [[plainly(c.words) for block in played(language) for c in block.commands] for language in BOOKS]
    assert typed[0] == typed[1]


def test_the_chinese_handbook_shows_chinese_screens() -> None:
    """What is shown has Chinese in it; logs and errors are English everywhere, and this is where they come."""
    english = []
    for block in played("zh"):
        for command in block.commands:
            said = " ".join(line for line in command.shown if not line.endswith(TYPED))
            if re.search(r"[A-Za-z]{3,} [a-z]{2,} [a-z]{2,}", said) and not CHINESE.search(said):
                english.append(command.words)
    assert english == ["station uplink test housing"]
    assert not CHINESE.search(re.sub(r"\[中文\]|l 中文", "", TEXTS["en"]))


@pytest.mark.parametrize(
    ("expected", "shown", "same"),
    [
        (["12 rows at 2026-03-01 08:00:00"], "7 rows at 2027-11-30 23:59:59\n", True),
        (["a", "…", "d"], "a\nb\nc\nd\n", True),
        (["a", "…", "d"], "a\nb\nc\n", False),
        (["no reply to … within 0.5 s"], "no reply to input register 4 within 0.53 s\n", True),
        (["state   good"], "state good\n", True),
        (["state good"], "state bad\n", False),
        (["Your name: Wang⏎", "done"], "Your name: done\n", True),
        ([], "", True),
        ([], "something\n", False),
    ],
)
def test_what_counts_as_the_same_screen(expected: list[str], shown: str, same: bool) -> None:
    """Numbers, times and spaces do not; words do."""
    assert fits(expected, shown) is same
