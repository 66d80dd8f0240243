"""Text as the cells of a terminal: how wide it is, what the terminal's encoding can show, what of a screen changed."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from rich.cells import cell_len

PLAIN, BOLD, LOUD = "", "1", "7"  # what a VT100 has: bold and reverse are told apart without colours
Piece = tuple[str, str]  # text and look
Line = list[Piece]
Cell = tuple[str, str]  # a character and its look; the second cell of a wide character is empty
BLANK: Cell = (" ", PLAIN)

TWO_BYTES = ("gbk", "gb2312", "gb18030", "big5", "big5hkscs", "euc_jp", "shift_jis", "euc_kr", "cp949")
INSTEAD = {
    **{"µ": "u", "μ": "u", "²": "2", "³": "3", "°": "deg", "·": ".", "≤": "<=", "≥": ">=", "±": "+-"},
    **{"…": "...", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "→": "->", "℃": "degC"},
}  # for an encoding without them
LONGEST_RUN = 60  # cells written without a new position, so that a run fits a slow line's allowance
LEAST_ROOM = 256  # bytes: the longest run with its position and looks
BRIDGE = 5  # unchanged cells that are written again, since a new position would cost as much


class Script:
    """What a terminal that speaks *encoding* can show, and in how many cells.

    In a double-byte encoding every character of two bytes takes two cells, also ° and ≤.

    >>> gbk, utf8 = Script("gbk"), Script("utf-8")
    >>> gbk.shown("35 µg/m³"), utf8.shown("35 µg/m³"), Script("ascii").shown("21 °C 站")
    ('35 ug/m3', '35 µg/m³', '21 degC ??')
    >>> gbk.width("21 °C"), utf8.width("21 °C"), utf8.width("浊度")
    (6, 5, 4)
    """

    def __init__(self, encoding: str) -> None:
        self.encoding = codecs.lookup(encoding).name
        self._double = self.encoding in TWO_BYTES
        self._shown = cache(self._show)
        self._wide = cache(self._measure)

    def can(self, text: str) -> bool:
        """Whether the encoding has all of *text*."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    def shown(self, text: str) -> str:
        """*text* as the terminal can show it: no control characters, nothing its encoding has not."""
        return "".join(map(self._shown, text))

    def _show(self, char: str) -> str:
        if not char.isprintable():
            return " " if char.isspace() else "?"
        if self.can(char):
            return char
        return INSTEAD.get(char, "?" * cell_len(char))

    def width(self, text: str) -> int:
        """The cells that *text* takes."""
        return sum(map(self._wide, self.shown(text)))

    def _measure(self, char: str) -> int:
        if self._double and len(char.encode(self.encoding)) == 2:
            return 2
        return cell_len(char)

    def cells(self, line: Iterable[Piece], width: int) -> list[Cell]:
        """*line* in exactly *width* cells; a wide character that would be cut is left out."""
        found: list[Cell] = []
        for text, look in line:
            for char in self.shown(text):
                takes = self._wide(char)
                if len(found) + takes > width:
                    return found + [BLANK] * (width - len(found))
                if takes:
                    found += [(char, look), ("", look)][:takes]
        return found + [BLANK] * (width - len(found))

    def wrapped(self, text: str, width: int) -> list[str]:
        """*text* in lines of at most *width* cells, broken at spaces and between Chinese characters.

        >>> Script("utf-8").wrapped("no reply within 0.5 s", 12)
        ['no reply', 'within 0.5 s']
        >>> Script("utf-8").wrapped("仪器无应答,请检查", 8)
        ['仪器无应', '答,请检', '查']
        """
        lines, line, used = [], "", 0
        for word in self._words(self.shown(text)):
            takes = sum(map(self._wide, word))
            if used + sum(map(self._wide, word.rstrip())) > width and line:
                lines.append(line.rstrip())
                line, used = "", 0
            while takes > width:  # one word wider than the line
                cut = self._fitting(word, width)
                lines.append(word[:cut])
                word = word[cut:]
                takes = sum(map(self._wide, word))
            line, used = line + word, used + takes
        return [*lines, line.rstrip()] if line.strip() or not lines else lines

    def _words(self, text: str) -> list[str]:
        """*text* in pieces between which a line may break; the space stays with the word before it."""
        words, word = [], ""
        for char in text:
            wide = self._wide(char) == 2 and not unicodedata.category(char).startswith("P")
            if (
                word
                and (wide or (word[-1] == " " and char != " ") or self._wide(word[-1]) == 2)
                and not (unicodedata.category(char).startswith("P") or char == " ")
            ):
                words.append(word)
                word = ""
            word += char
        return [*words, word] if word else words

    def _fitting(self, word: str, width: int) -> int:
        used = 0
        for number, char in enumerate(word):
            used += self._wide(char)
            if used > width:
                return max(number, 1)
        return len(word)


class Painter:
    """Knows what a terminal shows and says the bytes that make it show something else: only what changed."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._shown: list[list[Cell]] = []
        self._next = 0  # the row to go on with, so that a slow line shows all of a screen in turn

    def cleared(self, width: int, height: int) -> None:
        """The terminal shows *height* rows of *width* blanks."""
        self._shown = [[BLANK] * width for _ in range(height)]
        self._next = 0

    def paint(self, wanted: Sequence[Sequence[Cell]], room: int) -> tuple[bytes, bool]:
        """At most *room* bytes towards *wanted*, and whether that is all of it."""
        out, height = bytearray(), len(self._shown)
        for row in ((self._next + n) % height for n in range(height)):
            shown, want = self._shown[row], wanted[row]
            at = 0
            while (run := self._run(shown, want, at)) is not None:
                start, end, erase = run
                piece = self._bytes(row, start, want[start:end], erase)
                if len(out) + len(piece) > room:
                    self._next = row
                    return bytes(out), False
                out += piece
                shown[start : len(shown) if erase else end] = want[start : len(shown) if erase else end]
                at = end
        self._next = 0
        return bytes(out), True

    def _run(self, shown: Sequence[Cell], want: Sequence[Cell], at: int) -> tuple[int, int, bool] | None:
        """The next cells to write: from, to before, and whether the rest of the row is erased with them."""
        width = len(want)
        start = next((n for n in range(at, width) if shown[n] != want[n]), None)
        if start is None:
            return None
        filled = max((n + 1 for n in range(width) if want[n] != BLANK), default=0)
        if start >= filled:
            return start, start, True
        while want[start][0] == "":
            start -= 1
        end = last = start
        while end < width and end - start < LONGEST_RUN and end - last <= BRIDGE:
            char = want[end][0]
            if shown[end] != want[end]:
                last = end
            end += 1
            if unicodedata.east_asian_width(char or " ") == "A":
                break  # one cell or two, as the terminal pleases: what follows is placed anew
        end = max(last + 1, start + 1)
        while end < width and want[end][0] == "":
            end += 1
        erase = end >= filled and any(cell != BLANK for cell in shown[end:])
        return start, end, erase

    def _bytes(self, row: int, column: int, cells: Sequence[Cell], erase: bool) -> bytes:
        text, look = f"\x1b[{row + 1};{column + 1}H", PLAIN
        for char, wanted in cells:
            if wanted != look:
                text += f"\x1b[0;{wanted}m" if wanted and look else f"\x1b[{wanted}m"
                look = wanted
            text += char
        text += "\x1b[m" * (look != PLAIN) + "\x1b[K" * erase
        return text.encode(self._script.encoding, "replace")


class Allowance:
    """How many bytes may go out by now: *rate* a second, at most *most* saved up.

    >>> slow = Allowance(rate=480, most=480, now=0.0)
    >>> slow.room(0.0), slow.spend(300), slow.room(0.5), slow.room(60.0)
    (480, None, 420, 480)
    """

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate, self._most, self._left, self._at = rate, most, most, now

    def room(self, now: float) -> int:
        """The bytes that may go out at *now*, in seconds of a monotonic clock."""
        self._left = min(self._most, self._left + self._rate * (now - self._at))
        self._at = now
        return int(self._left)

    def spend(self, count: int) -> None:
        """*count* bytes went out."""
        self._left -= count
