"""Folds output as a terminal would: movements change what is shown, and only the result counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from opensandbox_jupyter.magics.escape import Text, Token
from opensandbox_jupyter.magics.screen import LINES, Piece, Row, Screen

__all__ = ["Folder"]

_MAX_LINE = 16 * 1024
_MAX_RECENT = 16 * 1024


class Folder:
    """Takes tokens, gives lines.

    As long as nothing moves the cursor, lines are kept as they are (fast). With the first movement
    the latest lines go to a :class:`Screen`; a long plain text leads back.

    Args:
        commit: is handed each line that no movement can change any more.
    """

    def __init__(self, commit: Callable[[Row], None]) -> None:
        self._commit = commit
        self._recent: deque[tuple[Row, int]] = deque()
        self._recent_size = 0
        self._current: Row = []
        self._current_size = 0
        self._screen: Screen | None = None

    @property
    def moves(self) -> bool:
        """Whether the cursor is being moved, which makes drawing slow."""
        return self._screen is not None

    def feed(self, tokens: Iterable[Token]) -> None:
        """Draw tokens."""
        for token in tokens:
            if isinstance(token, Text):
                self._text(*token)
            elif not (token.name == "\r" and self._screen is None and not self._current):
                self._enter_screen().move(token)

    def live(self) -> list[Row]:
        """Return the lines that may still change; the last one has not ended."""
        if self._screen is not None:
            return self._screen.rows()
        return [row for row, _ in self._recent] + [self._current]

    def flush(self, *, partial: bool = True) -> None:
        """Commit all that is live; without ``partial``, a last line that has not ended is lost."""
        self._leave_screen()
        while self._recent:
            self._commit_oldest()
        if self._current and partial:
            self._commit(self._current)
        self._current, self._current_size = [], 0

    def _text(self, text: str, style: str) -> None:
        if self._screen is not None and text.count("\n") >= 2 * LINES:
            lines = text.split("\n", LINES)
            self._screen.write("\n".join(lines[:-1]) + "\n", style)
            self._leave_screen()  # all that was on it has been overwritten or has left
            text = lines[-1]
        if self._screen is not None:
            self._screen.write(text, style)
        else:
            self._append(text, style)

    def _append(self, text: str, style: str) -> None:
        start = 0
        while (end := text.find("\n", start)) >= 0:
            self._extend(text[start:end], style)
            self._end_line()
            start = end + 1
        self._extend(text[start:], style)

    def _extend(self, text: str, style: str) -> None:
        while self._current_size + len(text) > _MAX_LINE:
            room = _MAX_LINE - self._current_size
            self._current.append((text[:room], style))
            self._current_size = _MAX_LINE
            self._end_line()
            text = text[room:]
        if text:
            piece: Piece = (text, style)
            if self._current and self._current[-1][1] == style:
                piece = (self._current.pop()[0] + text, style)
            self._current.append(piece)
            self._current_size += len(text)

    def _end_line(self) -> None:
        self._recent.append((self._current, self._current_size))
        self._recent_size += self._current_size
        self._current, self._current_size = [], 0
        while len(self._recent) >= LINES or self._recent_size > _MAX_RECENT:
            self._commit_oldest()

    def _commit_oldest(self) -> None:
        row, size = self._recent.popleft()
        self._recent_size -= size
        self._commit(row)

    def _enter_screen(self) -> Screen:
        if self._screen is None:
            self._screen = Screen(self._commit)
            rows = [*(row for row, _ in self._recent), self._current]
            self._recent.clear()
            self._recent_size = self._current_size = 0
            self._current = []
            for number, row in enumerate(rows):
                if number:
                    self._screen.write("\n", "")
                for text, style in row:
                    self._screen.write(text, style)
        return self._screen

    def _leave_screen(self) -> None:
        if self._screen is None:
            return
        *rows, last = self._screen.rows()
        self._screen = None
        for row in rows:
            self._commit(row)
        self._current = last
        self._current_size = sum(len(text) for text, _ in last)
