"""A small terminal screen, for output that moves the cursor.

The model is pyte's. It is driven by tokens that are already clean, never by the program's bytes,
and the SGR code of a cell travels in its ``fg``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import count, groupby
from operator import itemgetter

import pyte
from pyte.screens import Char

from opensandbox_jupyter.magics.escape import Move

__all__ = ["COLUMNS", "LINES", "Piece", "Row", "Screen"]

LINES = 60
COLUMNS = 2048

Piece = tuple[str, str]
"""Text and the SGR code that it is drawn with."""
Row = list[Piece]
"""One line, without its end."""

_BLANK = Char(" ")


class Screen(pyte.Screen):
    """A screen too wide to wrap ordinary lines.

    Args:
        on_scroll: is handed each row that leaves the screen at its top.
    """

    def __init__(self, on_scroll: Callable[[Row], None]) -> None:
        super().__init__(COLUMNS, LINES)
        self._on_scroll = on_scroll

    def write(self, text: str, style: str) -> None:
        """Draw text at the cursor; a line feed also returns to the first column."""
        self.cursor.attrs = _char(style)
        for number, line in enumerate(text.split("\n")):
            if number:
                self.index()
                self.cursor.x = 0
            for column, part in enumerate(line.split("\t")):
                if column:
                    self.cursor.x = min(self.cursor.x // 8 * 8 + 8, COLUMNS - 1)
                if part:
                    self.draw(part)

    def move(self, token: Move) -> None:
        """Carry out a movement or an erasure."""
        name, numbers = token
        self.cursor.attrs = _BLANK
        if name in _WITH_MODE:
            getattr(self, _WITH_MODE[name])(numbers[0] if numbers else 0)
        elif name in "Hf":
            self.cursor_position(*numbers)
        elif name in "ST":
            self._scroll(name, numbers[0] if numbers else 1)
        elif name in _COUNTED:
            getattr(self, _COUNTED[name])(numbers[0] if numbers else 1)
        else:
            getattr(self, _PLAIN[name])()

    def rows(self) -> list[Row]:
        """Return what is on the screen, down to the last row in use."""
        last = max((y for y, line in self.buffer.items() if line), default=0)
        return [_row(self.buffer[y]) for y in range(max(last, self.cursor.y) + 1)]

    def index(self) -> None:
        """Go down a row; at the bottom, the top row leaves."""
        if self.cursor.y == self.lines - 1:
            self._on_scroll(_row(self.buffer[0]))
        super().index()

    def draw(self, data: str) -> None:
        """Draw text without line ends. What is ASCII takes a short way, many times as fast."""
        if not data.isascii():
            super().draw(data)
            return
        cells = _cells(self.cursor.attrs.fg)
        while data:
            if self.cursor.x >= COLUMNS:
                self.index()
                self.cursor.x = 0
            x = self.cursor.x
            part, data = data[: COLUMNS - x], data[COLUMNS - x :]
            self.buffer[self.cursor.y].update(zip(count(x), map(cells.__getitem__, part)))
            self.cursor.x = x + len(part)

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        """Erase the cursor's row: to its end (0), to its beginning (1), all of it (2)."""
        line, x = self.buffer[self.cursor.y], self.cursor.x
        for column in [c for c in line if how == 2 or (c >= x if how == 0 else c <= x)]:
            del line[column]

    def erase_in_display(self, how: int = 0, *args: object, **kwargs: object) -> None:
        """Erase the screen: below (0) or above (1) the cursor, or all of it (2, 3)."""
        y = self.cursor.y
        for row in [r for r in self.buffer if how > 1 or (r > y if how == 0 else r < y)]:
            del self.buffer[row]
        if how < 2:
            self.erase_in_line(how)

    def erase_characters(self, count: int | None = None) -> None:
        """Erase ``count`` cells from the cursor on."""
        line, x = self.buffer[self.cursor.y], self.cursor.x
        for column in [c for c in line if x <= c < x + (count or 1)]:
            del line[column]

    def _scroll(self, name: str, count: int) -> None:
        x, y = self.cursor.x, self.cursor.y
        self.cursor.y = 0
        (self.delete_lines if name == "S" else self.insert_lines)(min(count, LINES))
        self.cursor.x, self.cursor.y = x, y


_WITH_MODE = {"J": "erase_in_display", "K": "erase_in_line"}
_COUNTED = {
    "A": "cursor_up",
    "B": "cursor_down",
    "C": "cursor_forward",
    "D": "cursor_back",
    "E": "cursor_down1",
    "F": "cursor_up1",
    "G": "cursor_to_column",
    "`": "cursor_to_column",
    "L": "insert_lines",
    "M": "delete_lines",
    "X": "erase_characters",
    "a": "cursor_forward",
    "d": "cursor_to_line",
    "e": "cursor_down",
}
_PLAIN = {
    "\r": "carriage_return",
    "\b": "backspace",
    "RI": "reverse_index",
    "s": "save_cursor",
    "u": "restore_cursor",
}


class _Cells(dict[str, Char]):
    """The cell of each character in one style, made when it is first asked for."""

    def __init__(self, style: str) -> None:
        self._style = style

    def __missing__(self, char: str) -> Char:
        self[char] = cell = Char(char, fg=self._style)
        return cell


_cells = functools.lru_cache(maxsize=256)(_Cells)


@functools.lru_cache(maxsize=256)
def _char(style: str) -> Char:
    return Char(" ", fg=style or "default")


def _row(line: dict[int, Char]) -> Row:
    """Turn the cells of a line into pieces, without the blank end."""
    cells: Row = []
    place = 0
    for x in sorted(line):
        char = line[x]
        if x > place:
            cells.append((" " * (x - place), ""))
        cells.append((char.data, "" if char.fg == "default" else char.fg))
        place = x + 1
    pieces = [("".join(t for t, _ in run), code) for code, run in groupby(cells, itemgetter(1))]
    if pieces and not pieces[-1][1]:
        text = pieces.pop()[0].rstrip(" ")
        pieces.extend([(text, "")] * bool(text))
    return pieces
