"""Output as it is kept: millions of pieces in little more memory than their text."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["KeptOutput", "OutputMessage"]

_BLOCK = 512


@dataclass(slots=True)
class OutputMessage:
    """A piece of output, line ends included, also where a daemon took them away.

    ``timestamp`` is Unix ms.
    """

    text: str
    timestamp: int = 0
    is_error: bool = False


class KeptOutput:
    """One stream of output. Pieces become :class:`OutputMessage` when they are asked for.

    Older pieces lie in blocks: their text as UTF-8, how many characters each has, and when it came.
    """

    def __init__(self, *, is_error: bool = False) -> None:
        self._is_error = is_error
        self._blocks: list[tuple[bytes, Sequence[int], Sequence[int]]] = []
        self._texts: list[str] = []
        self._times: list[int] = []
        self._messages: list[OutputMessage] | None = None

    def add(self, texts: list[str], times: list[int]) -> None:
        """Keep pieces, each with its Unix ms."""
        if self._messages is not None:
            self._messages += self._made(texts, times)
            return
        self._texts += texts
        self._times += times
        if len(self._texts) >= _BLOCK:
            self._pack()

    def text(self) -> str:
        """Return all of it as one text."""
        if self._messages is not None:
            return "".join(message.text for message in self._messages)
        older = b"".join(block[0] for block in self._blocks)
        return older.decode("utf-8", "surrogatepass") + "".join(self._texts)

    def messages(self) -> list[OutputMessage]:
        """Return the pieces. The list is the caller's, and what comes later is added to it."""
        if self._messages is None:
            self._messages = made = []
            for data, lengths, times in self._blocks:
                made += self._made(_cut(data.decode("utf-8", "surrogatepass"), lengths), times)
            made += self._made(self._texts, self._times)
            self._blocks, self._texts, self._times = [], [], []
        return self._messages

    def _pack(self) -> None:
        data = "".join(self._texts).encode("utf-8", "surrogatepass")
        lengths, times = array("I", map(len, self._texts)), self._times
        try:
            self._blocks.append((data, lengths, array("q", times)))
        except OverflowError:  # a clock beyond reason
            self._blocks.append((data, lengths, times))
        self._texts, self._times = [], []

    def _made(self, texts: Sequence[str], times: Sequence[int]) -> list[OutputMessage]:
        is_error = self._is_error
        return [OutputMessage(text, at, is_error) for text, at in zip(texts, times, strict=True)]


def _cut(text: str, lengths: Sequence[int]) -> list[str]:
    pieces, start = [], 0
    for length in lengths:
        pieces.append(text[start : start + length])
        start += length
    return pieces
