"""Output as it is kept: millions of pieces in little more memory than their text."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from opensandbox_jupyter.models.dumping import Dumped

__all__ = ["MOST_KEPT", "KeptOutput", "OutputMessage", "by_line"]

MOST_KEPT = 256 * 1024 * 1024
"""How much of each stream of output is kept when nothing else is said, in characters."""

_BLOCK = 512
_LARGE = 256 * 1024


@dataclass(slots=True)
class OutputMessage(Dumped):
    """A piece of output, line ends included, also where a daemon took them away.

    ``timestamp`` is Unix ms.
    """

    text: str
    timestamp: int = 0
    is_error: bool = False


class _Block(NamedTuple):
    """Pieces in a row: their text as UTF-8, how many characters each has, and when it came."""

    data: bytes
    lengths: Sequence[int]
    times: Sequence[int]
    size: int

    @classmethod
    def of(cls, texts: list[str], times: Sequence[int]) -> _Block:
        """Return pieces as a block."""
        lengths = array("I", map(len, texts))
        with suppress(OverflowError):  # a clock beyond reason
            times = array("q", times)
        data = "".join(texts).encode("utf-8", "surrogatepass")
        return cls(data, lengths, times, sum(lengths))

    def text(self) -> str:
        """Return their text."""
        return self.data.decode("utf-8", "surrogatepass")

    def texts(self) -> list[str]:
        """Return their texts one by one."""
        text, pieces, start = self.text(), [], 0
        for length in self.lengths:
            pieces.append(text[start : start + length])
            start += length
        return pieces


class KeptOutput:
    """One stream of output. Its lines become :class:`OutputMessage` when they are asked for.

    Args:
        limit: the most characters that are kept; of more, the beginning and the end are, and what
            lies between is counted.
        is_error: whether it is error output.

    Attributes:
        dropped_messages: how many pieces are left out, but for a few characters at its borders.
        dropped_characters: how many characters are left out.
    """

    def __init__(self, limit: int | None = None, *, is_error: bool = False) -> None:
        self._is_error = is_error
        self._most = None if limit is None else limit - limit // 2
        self._room = None if limit is None else limit // 2
        self._head: list[_Block] = []
        self._tail: deque[_Block] = deque()
        self._tail_size = 0
        self._texts: list[str] = []
        self._times: list[int] = []
        self._loose = 0
        self._messages: list[OutputMessage] | None = None
        self.dropped_messages = self.dropped_characters = 0

    def add(self, texts: list[str], times: list[int]) -> None:
        """Keep pieces, each with its Unix ms."""
        if self._messages is not None:
            self._messages += self._made(texts, times)
            return
        self._texts += texts
        self._times += times
        self._loose += sum(map(len, texts))
        if len(self._texts) >= _BLOCK or self._loose >= _LARGE:
            self._pack()

    def settle(self) -> None:
        """Bring what is kept within its limit, exactly."""
        if self._most is None or (not self._tail and self._loose <= (self._room or 0)):
            return
        self._pack()
        over = self._tail_size - self._most
        if over > 0:
            first = self._tail.popleft()
            _, kept = _split(first.texts(), first.times, over)
            self.dropped_messages += len(first.lengths) - len(kept[0])
            self.dropped_characters += over
            self._tail.appendleft(_Block.of(*kept))
            self._tail_size -= over

    def text(self) -> str:
        """Return all of it as one text, with a line of ours where something is left out."""
        if self._messages is not None:
            return "".join(message.text for message in self._messages)
        self.settle()
        head = b"".join(block.data for block in self._head).decode("utf-8", "surrogatepass")
        tail = "".join(block.text() for block in self._tail)
        return head + "".join(self._marker()) + tail + "".join(self._texts)

    def messages(self) -> list[OutputMessage]:
        """Return the lines. The list is the caller's, and what comes later is added to it."""
        if self._messages is None:
            self.settle()
            self._messages = made = []
            for block in self._head:
                made += self._made(block.texts(), block.times)
            marker = self._marker()
            made += self._made(marker, [made[-1].timestamp if made else 0] * len(marker))
            for block in self._tail:
                made += self._made(block.texts(), block.times)
            made += self._made(self._texts, self._times)
            self._head, self._tail, self._texts, self._times = [], deque(), [], []
        return self._messages

    def _marker(self) -> list[str]:
        count = self.dropped_characters
        return [f"\n[... {count} characters are left out here ...]\n"] if count else []

    def _pack(self) -> None:
        texts: list[str] = self._texts
        times: Sequence[int] = self._times
        size, self._texts, self._times, self._loose = self._loose, [], [], 0
        if self._room is None or size <= self._room:
            if self._room is not None:
                self._room -= size
            self._head.append(_Block.of(texts, times))
            return
        if self._room:
            fits, (texts, times) = _split(texts, times, self._room)
            self._head.append(_Block.of(*fits))
        self._room = 0
        self._tail.append(_Block.of(texts, times))
        self._tail_size += self._tail[-1].size
        while self._tail and self._tail_size - self._tail[0].size >= (self._most or 0):
            block = self._tail.popleft()
            self._tail_size -= block.size
            self.dropped_messages += len(block.lengths)
            self.dropped_characters += block.size

    def _made(self, texts: Sequence[str], times: Sequence[int]) -> list[OutputMessage]:
        is_error = self._is_error
        lines, times = by_line(texts, times)
        return [OutputMessage(text, at, is_error) for text, at in zip(lines, times, strict=True)]


def by_line(texts: Sequence[str], times: Sequence[int]) -> tuple[list[str], list[int]]:
    """Return pieces cut after each line, and each line with the time of its piece."""
    lines: list[str] = []
    moments: list[int] = []
    for text, at in zip(texts, times, strict=True):
        if text.find("\n", 0, -1) < 0:
            lines.append(text)
            moments.append(at)
            continue
        *whole, rest = text.split("\n")
        found = [f"{line}\n" for line in whole] + [rest] * bool(rest)
        lines += found
        moments += [at] * len(found)
    return lines, moments


_Pieces = tuple[list[str], Sequence[int]]


def _split(texts: list[str], times: Sequence[int], count: int) -> tuple[_Pieces, _Pieces]:
    """Return the first ``count`` characters of pieces, and the rest; one piece may be cut."""
    at = 0
    while count >= len(texts[at]):
        count -= len(texts[at])
        at += 1
        if at == len(texts):
            return (texts, times), ([], [])
    first, rest = texts[:at], texts[at:]
    if not count:
        return (first, times[:at]), (rest, times[at:])
    begin, rest[0] = rest[0][:count], rest[0][count:]
    return ([*first, begin], times[: at + 1]), (rest, times[at:])
