"""Where removed trees go: out of the way at once, off the disk by a thread of its own.

A tree of 100,000 files takes seconds to remove, and whoever ends a sandbox does not wait for that.
"""

from __future__ import annotations

import logging
import threading
import uuid
from pathlib import Path
from queue import SimpleQueue

from opensandbox_jupyter.hosting.removal import remove_tree
from opensandbox_jupyter.runtime_file import private_directory
from opensandbox_jupyter.server.space import space_of

__all__ = ["Trash"]

_LOG = logging.getLogger(__name__)


class Trash:
    """What is left of removed trees, below ``data``, the server's data directory."""

    def __init__(self, data: Path) -> None:
        self._folder = private_directory(data / "trash")
        self._waiting: SimpleQueue[Path] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def throw(self, path: Path) -> None:
        """Take a tree out of the way, to be removed soon. Nothing there is no error.

        Where space is scarce it is removed now, since that is what it is wanted for. Blocks then.
        """
        gone = self._take(path)
        if gone is None:
            return
        if space_of(self._folder).is_scarce:
            _remove(gone)
        else:
            self._soon(gone)

    def remove(self, path: Path) -> None:
        """Remove a tree now. Nothing there is no error. Blocks."""
        gone = self._take(path)
        if gone is not None:
            _remove(gone)

    def empty(self) -> None:
        """Remove soon what an earlier server left."""
        for path in self._folder.iterdir():
            self._soon(path)

    def close(self, patience: float) -> None:
        """Wait so many seconds at most; the rest is left to the next server."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(patience)

    def _take(self, path: Path) -> Path | None:
        gone = self._folder / uuid.uuid4().hex
        try:
            return path.rename(gone)
        except FileNotFoundError:
            return None

    def _soon(self, path: Path) -> None:
        self._waiting.put(path)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="trash", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._waiting.empty():
                    self._thread = None
                    return
            _remove(self._waiting.get())


def _remove(path: Path) -> None:
    """Remove a tree; what cannot be removed now is tried again when the server starts."""
    try:
        remove_tree(path)
    except OSError as error:
        _LOG.warning("could not remove %s: %s", path, error)
