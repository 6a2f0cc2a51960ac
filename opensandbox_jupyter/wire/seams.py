"""Puts line ends back that a daemon took away.

Daemons before 1.1 send one event a line without its line end, ``"\\n"`` for an empty one; later
ones, and ours, send the text as it was printed. Which of them it is shows in the stream itself.
"""

from __future__ import annotations

__all__ = ["Seams"]

_ENDS = ("\n", "\r")


class Seams:
    """The pieces of one stream of output, in order, until it is clear that they are ``exact``."""

    def __init__(self) -> None:
        self.exact = False
        self._begun = False
        self._owed = ""

    def join(self, texts: list[str]) -> list[str]:
        """Return pieces with the line ends before them that they need."""
        return texts if self.exact else [self._joined(text) for text in texts]

    def _joined(self, text: str) -> str:
        if self.exact:
            return text
        empty_line = text in ("\n", "\r\n")
        if text.endswith(_ENDS) and not empty_line:
            self.exact = True
            owed, self._owed = self._owed, ""
            return owed + text
        if empty_line and not self._begun:
            self._owed = text
        before = "\n" if self._begun else ""
        self._begun = True
        return before if empty_line else before + text
