"""Output that waits to be drawn, bounded: when there is too much, the middle is let go."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

__all__ = ["Backlog", "Chunk", "Gap"]


class Chunk(NamedTuple):
    """A piece of output. ``is_error`` tells standard error."""

    text: str
    is_error: bool


class Gap(NamedTuple):
    """Output that was let go: how many line ends and characters."""

    lines: int
    size: int


class Backlog:
    """Filled by the portal's thread, emptied by the cell. Sizes are in characters.

    Args:
        front: how much of the oldest output is kept.
        back: how much of the latest output is kept.
    """

    def __init__(self, *, front: int, back: int) -> None:
        self._lock = threading.Lock()
        self._front_limit, self._back_limit = front, back
        self._front: list[Chunk] = []
        self._front_size = self._back_size = 0
        self._back: deque[Chunk] = deque()
        self._lost_lines = self._lost_size = 0

    def limit(self, *, front: int, back: int) -> None:
        """Change the limits; they hold for what is added from now on."""
        with self._lock:
            self._front_limit, self._back_limit = front, back

    def add(self, text: str, is_error: bool) -> None:
        """Add a piece of output."""
        with self._lock:
            if not self._back and self._front_size + len(text) <= self._front_limit:
                self._front.append(Chunk(text, is_error))
                self._front_size += len(text)
                return
            room = self._front_limit - self._front_size if not self._back else 0
            end = text.rfind("\n", 0, room) + 1 if room > 0 else 0
            if end:
                self._front.append(Chunk(text[:end], is_error))
                self._front_size += end
                text = text[end:]
            self._add_back(text, is_error)

    def take(self) -> list[Chunk | Gap]:
        """Return all that waits, oldest first, with a :class:`Gap` where output was let go."""
        with self._lock:
            gap = Gap(self._lost_lines, self._lost_size)
            front, back = self._front, self._back
            self._front, self._back = [], deque()
            self._front_size = self._back_size = self._lost_lines = self._lost_size = 0
        taken: list[Chunk | Gap] = []
        if gap.size:
            gap = _at_line_ends(front, back, gap)
            taken.append(gap)
        return [*front, *taken, *back]

    def _add_back(self, text: str, is_error: bool) -> None:
        if len(text) > self._back_limit:
            cut = len(text) - self._back_limit
            self._lose(text[:cut])
            text = text[cut:]
        self._back.append(Chunk(text, is_error))
        self._back_size += len(text)
        while self._back_size > self._back_limit:
            oldest = self._back.popleft()
            self._back_size -= len(oldest.text)
            self._lose(oldest.text)

    def _lose(self, text: str) -> None:
        self._lost_lines += text.count("\n")
        self._lost_size += len(text)


def _at_line_ends(front: list[Chunk], back: deque[Chunk], gap: Gap) -> Gap:
    """Widen a gap to whole lines where a line end is near, so that no half line is shown."""
    lines, size = gap
    if front:
        last = front.pop()
        end = last.text.rfind("\n") + 1
        keep = end or len(last.text)
        size += len(last.text) - keep
        front.append(Chunk(last.text[:keep], last.is_error))
    if back and lines:
        first = back.popleft()
        start = first.text.find("\n") + 1
        if start:
            lines, size = lines + 1, size + start
        back.appendleft(Chunk(first.text[start:], first.is_error))
    return Gap(lines, size)
