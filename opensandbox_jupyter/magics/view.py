"""Where output is seen: in the running cell, pinned to a cell that has ended, in a terminal.

A view is fed on the portal's thread and draws on the thread of its owner.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from opensandbox_jupyter.magics.bucket import Bucket
from opensandbox_jupyter.magics.escape import Cleaner, Text
from opensandbox_jupyter.magics.footer import plain_wanted
from opensandbox_jupyter.magics.sgr import painted
from opensandbox_jupyter.magics.transcript import Transcript

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.escape import Token

__all__ = ["CellView", "NoView", "PinnedView", "StreamView", "View", "show_text"]

_MAX_WAITING = 4 * 1024 * 1024


class View(Protocol):
    """Shows one run."""

    @property
    def is_full(self) -> bool:
        """Whether the run should pause until something has been drawn."""

    def feed(self, text: str, is_error: bool) -> None:
        """Take in output, from any thread."""

    def draw(self) -> None:
        """Show what has come, if it is time to."""

    def finish(self, footer: str) -> None:
        """Show the final state, with one line about how the run ended."""


def show_text(text: str) -> Any:
    """Display plain text that may hold colours; return a handle to update it by."""
    from IPython.display import display  # type: ignore[attr-defined,unused-ignore]

    return display({"text/plain": text}, raw=True, display_id=True)  # type: ignore[no-untyped-call,unused-ignore]


class NoView:
    """Shows nothing (``--quiet``)."""

    is_full = False

    def feed(self, text: str, is_error: bool) -> None:
        """Let output pass."""

    def draw(self) -> None:
        """Show nothing."""

    def finish(self, footer: str) -> None:
        """Show nothing."""


class CellView:
    """Panes in the output of the running cell; see :mod:`~opensandbox_jupyter.magics.pages`."""

    is_full = False

    def __init__(self, hint: str) -> None:
        self._transcript = Transcript(hint)
        self.feed = self._transcript.feed
        self._bucket = Bucket()
        self._handle: Any = None
        self._shown = ""
        self._is_live = not plain_wanted()
        self._changed = False

    def draw(self) -> None:
        """Show what has come, as far as the front end's share allows."""
        self._changed |= self._transcript.advance()
        if not self._is_live:
            return
        while self._bucket.ready():
            frozen = self._transcript.frozen()
            if frozen is None:
                break
            self._put(frozen)
            self._handle, self._shown = None, ""
        else:
            return
        if self._changed:
            self._changed = False
            self._put(self._transcript.pane())

    def finish(self, footer: str) -> None:
        """Show all that is left."""
        self._transcript.close()
        while (frozen := self._transcript.frozen()) is not None:
            self._put(frozen)
            self._handle, self._shown = None, ""
        self._put(self._transcript.pane())
        show_text(footer)

    def _put(self, text: str) -> None:
        if text == self._shown:
            return
        self._bucket.spend(text)
        if self._handle is None:
            self._handle = show_text(text)
        else:
            self._handle.update({"text/plain": text}, raw=True)
        self._shown = text


class PinnedView:
    """One pane, made in a cell and updated from the portal's thread, also after the cell ended.

    An update names its display, and front ends find it by that. It must come in the name of the
    cell that runs now, not of the one that made it: nbclient no longer listens to the latter.

    Args:
        hint: how to see what is hidden.
        waiting: what is shown below the output until the run ends.
        context: returns the context of the latest cell.
    """

    is_full = False

    def __init__(self, hint: str, waiting: str, context: Callable[[], contextvars.Context]) -> None:
        self._transcript = Transcript(hint, head=False)
        self.feed = self._transcript.feed
        self._bucket = Bucket()
        self._waiting = waiting
        self._context = context
        self._shown = waiting
        self._handle = show_text(waiting)

    def draw(self) -> None:
        """Show what has come."""
        if self._transcript.advance() and not plain_wanted() and self._bucket.ready():
            self._put(self._waiting)

    def finish(self, footer: str) -> None:
        """Show the final state."""
        self._transcript.close()
        self._put(footer)

    def _put(self, footer: str) -> None:
        pane = self._transcript.pane()
        text = f"{pane}\n{footer}" if pane else footer
        if text != self._shown:
            self._shown = text
            self._bucket.spend(text)
            self._context().copy().run(self._handle.update, {"text/plain": text}, raw=True)


class StreamView:
    """Standard output and error of this process, for shells that are no kernel."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[tuple[str, bool]] = deque()
        self._size = 0
        self._cleaners = (Cleaner(), Cleaner())
        self._column_used = False

    @property
    def is_full(self) -> bool:
        """Whether the terminal is slower than the run."""
        return self._size > _MAX_WAITING

    def feed(self, text: str, is_error: bool) -> None:
        """Take in output."""
        with self._guard:
            self._waiting.append((text, is_error))
            self._size += len(text)

    def draw(self) -> None:
        """Write what has come."""
        with self._guard:
            waiting, self._waiting = self._waiting, deque()
            self._size = 0
        for text, is_error in waiting:
            self._write(self._cleaners[is_error].feed(text), is_error)
        sys.stdout.flush()
        sys.stderr.flush()

    def finish(self, footer: str) -> None:
        """Write the rest."""
        self.draw()
        for is_error in (False, True):
            self._write(self._cleaners[is_error].close(), is_error)
        sys.stdout.flush()
        line = Cleaner().feed(footer + "\n")
        text = "".join(_for_terminal(token, sys.stderr) for token in line)
        sys.stderr.write(("\n" if self._column_used else "") + text)
        sys.stderr.flush()

    def _write(self, tokens: list[Token], is_error: bool) -> None:
        stream = sys.stderr if is_error else sys.stdout
        text = "".join(_for_terminal(token, stream) for token in tokens)
        if text:
            stream.write(text)
            self._column_used = not text.endswith("\n")


def _for_terminal(token: Token, stream: TextIO) -> str:
    is_terminal = stream.isatty()
    if isinstance(token, Text):
        return painted(token.style, token.text) if is_terminal else token.text
    if token.name in "\r\b":
        return token.name
    if not is_terminal or len(token.name) > 1:
        return ""
    return f"\x1b[{';'.join(str(n) for n in token.numbers)}{token.name}"
