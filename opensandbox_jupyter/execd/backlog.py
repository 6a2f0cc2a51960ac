"""What a background command wrote: one file, bounded."""

from __future__ import annotations

import os
from io import FileIO

__all__ = ["Log"]

LIMIT = 1024 * 1024 * 1024
_MARKER = b"\n[output beyond %d MiB was dropped]\n"


class Log:
    """A file that output is appended to. What it says is the sandbox's, not ours: never trusted."""

    def __init__(self, path: str, limit: int = LIMIT) -> None:
        self.path = path
        self._limit = limit
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._size = 0
        self._full = False

    def write(self, data: bytes) -> None:
        """Append ``data``; at the limit, or when the disk is full, a marker is the last of it."""
        if self._full:
            return
        room = self._limit - self._size
        try:
            self._size += os.write(self._fd, data[:room])
            if len(data) > room:
                self._full = True
                os.write(self._fd, _MARKER % (self._limit >> 20))
        except OSError:
            self._full = True

    def close(self) -> None:
        """Write no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def open(self) -> tuple[FileIO, int]:
        """Return the file to read from, and the size now.

        Raises:
            OSError: when the file is no longer there.
        """
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        return FileIO(fd), os.fstat(fd).st_size

    def remove(self) -> None:
        """Close it and delete the file."""
        self.close()
        try:
            os.unlink(self.path)
        except OSError:
            return
