"""Lines of output as panes: the head in full, then a bounded tail.

A pane is the text of one display. Only the last one is live; when it is full it is frozen, and the
next one begins, so that drawing costs the same however much was printed.
"""

from __future__ import annotations

from collections import deque

from opensandbox_jupyter.magics.backlog import Gap
from opensandbox_jupyter.magics.screen import Row
from opensandbox_jupyter.magics.sgr import painted

__all__ = ["Pages", "rendered"]

_PANE = 32 * 1024
_HEAD_LINES, _HEAD = 4000, 384 * 1024
_TAIL_LINES, _TAIL = 1000, 128 * 1024
_LIVE_TAIL = 24 * 1024
_MAX_COLOURS, _LINE_COLOURS = 2000, 200


def rendered(row: Row) -> str:
    """Return a line with its colours."""
    return "".join(painted(style, text) for text, style in row)


class Pages:
    """Takes committed lines, gives panes.

    Args:
        hint: how to see what is hidden, for example ``%sandbox show 12``.
        head: keep the beginning.
    """

    def __init__(self, hint: str, *, head: bool = True) -> None:
        self.frozen: deque[str] = deque()
        """Panes that are full and wait to be shown, oldest first."""
        self.hidden_lines = self.hidden_size = 0
        self.in_head = head
        self._hint = hint
        self._pane: list[str] = []
        self._pane_size = self._colours = 0
        self._head_lines = self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0

    def add(self, row: Row) -> None:
        """Add a line."""
        line = self._draw(row)
        if not self.in_head:
            self._add_tail(line)
            return
        self._colours += sum(1 for _, style in row if style)
        self._pane.append(line)
        self._pane_size += len(line) + 1
        self._head_lines += 1
        self._head_size += len(line) + 1
        is_full = self._head_lines >= _HEAD_LINES or self._head_size >= _HEAD
        if is_full or self._pane_size >= _PANE:
            self._freeze()
        if is_full:
            self.in_head = False

    def skip(self, gap: Gap) -> None:
        """Take note of output that was let go; the tail before it goes, too."""
        self._freeze()
        self.in_head = False
        self.hidden_lines += gap.lines + len(self._tail)
        self.hidden_size += gap.size + self._tail_size
        self._tail.clear()
        self._tail_size = 0

    def text(self, live: list[Row], *, final: bool) -> str:
        """Return the last pane; ``live`` are the lines that may still change."""
        lines = [self._draw(row) for row in live]
        if self.in_head:
            return "\n".join([*self._pane, *lines])
        lines = [*self._tail, *lines]
        hidden, size = self.hidden_lines, self.hidden_size
        if not final:
            lines, over, over_size = _last(lines)
            hidden, size = hidden + over, size + over_size
        if hidden or size:
            lines.insert(0, self._marker(hidden, size, final))
        return "\n".join(lines)

    def _marker(self, lines: int, size: int, final: bool) -> str:
        what = f"{lines:,} lines hidden" if lines != 1 else "1 line hidden"
        if not lines:
            what = f"{size:,} characters hidden"
        return f"\x1b[36m… {what} — {self._hint if final else 'still running'} …\x1b[0m"

    def _draw(self, row: Row) -> str:
        """Draw a line; where colours are too many, without them (each costs the browser)."""
        coloured = sum(1 for _, style in row if style)
        if coloured > _LINE_COLOURS or self._colours > _MAX_COLOURS:
            return "".join(text for text, _ in row)
        return rendered(row)

    def _freeze(self) -> None:
        if self._pane:
            self.frozen.append("\n".join(self._pane))
        self._pane, self._pane_size, self._colours = [], 0, 0

    def _add_tail(self, line: str) -> None:
        self._tail.append(line)
        self._tail_size += len(line) + 1
        while len(self._tail) > _TAIL_LINES or self._tail_size > _TAIL:
            size = len(self._tail.popleft()) + 1
            self._tail_size -= size
            self.hidden_lines += 1
            self.hidden_size += size


def _last(lines: list[str]) -> tuple[list[str], int, int]:
    """Return the last lines that a live pane holds; how many lines and characters it does not."""
    size, count = 0, 0
    for line in reversed(lines):
        size += len(line) + 1
        if count and size > _LIVE_TAIL:
            break
        count += 1
    over = lines[: len(lines) - count]
    return lines[len(over) :], len(over), sum(len(line) + 1 for line in over)
