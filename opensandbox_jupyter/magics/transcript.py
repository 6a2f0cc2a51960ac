"""The shown form of one run's output: bounded, folded and harmless, whatever the program prints."""

from __future__ import annotations

from opensandbox_jupyter.magics.backlog import Backlog, Chunk, Gap
from opensandbox_jupyter.magics.escape import Cleaner
from opensandbox_jupyter.magics.fold import Folder
from opensandbox_jupyter.magics.pages import Pages

__all__ = ["ERROR_STYLE", "Transcript"]

ERROR_STYLE = "31"
"""How standard error is drawn where the program gave it no colour of its own."""

_FRONT, _BACK = 384 * 1024, 160 * 1024
_BACK_OF_MOVES = 48 * 1024


class Transcript:
    """``feed`` may be called from any thread; all else belongs to the cell.

    Args:
        hint: how to see what is hidden, for example ``%sandbox show 12``.
        head: show the beginning, too; otherwise there is one pane, with the end only.
    """

    def __init__(self, hint: str, *, head: bool = True) -> None:
        self._backlog = Backlog(front=_FRONT if head else 0, back=_BACK)
        self._pages = Pages(hint, head=head)
        self._folder = Folder(self._pages.add)
        self._cleaners = (Cleaner(), Cleaner(ERROR_STYLE))
        self._closed = False

    def feed(self, text: str, is_error: bool = False) -> None:
        """Take in output, cut anywhere."""
        self._backlog.add(text, is_error)

    def advance(self) -> bool:
        """Fold what has come since the last time; return whether anything has."""
        waiting = self._backlog.take()
        for item in waiting:
            if isinstance(item, Chunk):
                self._folder.feed(self._cleaners[item.is_error].feed(item.text))
            else:
                self._skip(item)
        if self._folder.moves:
            self._backlog.limit(front=0, back=_BACK_OF_MOVES)
        elif self._pages.in_head:
            self._backlog.limit(front=_FRONT, back=_BACK)
        else:
            self._backlog.limit(front=0, back=_BACK)
        return bool(waiting)

    def close(self) -> None:
        """Take note that no more output will come."""
        if not self._closed:
            self._closed = True
            self.advance()
            for cleaner in self._cleaners:
                self._folder.feed(cleaner.close())
            self._folder.flush()

    def frozen(self) -> str | None:
        """Return the next pane that will not change any more, once each."""
        frozen = self._pages.frozen
        return frozen.popleft() if frozen else None

    def pane(self) -> str:
        """Return the pane that is live, or the last one once closed. Empty: nothing to show."""
        live = [] if self._closed else self._folder.live()
        return self._pages.text(live, final=self._closed).rstrip("\n")

    def _skip(self, gap: Gap) -> None:
        if self._folder.moves and not gap.lines:
            return  # frames of a progress bar that nobody would have seen
        self._folder.flush(partial=False)
        self._pages.skip(gap)
        for cleaner in self._cleaners:
            cleaner.reset()
