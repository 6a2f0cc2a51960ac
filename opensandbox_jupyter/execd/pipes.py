"""The reading end of a command's output, read by the event loop."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import termios
from collections.abc import Callable

__all__ = ["Pipe"]

_USUAL = 64 * 1024
_LARGE = 1024 * 1024
_SET_SIZE = 1031  # F_SETPIPE_SZ, which only Linux has


class Pipe:
    """A pipe that a command writes and the loop reads, as fast as ``on_data`` allows.

    Args:
        on_data: called with each block.
        on_end: called once, when no process holds the other end any more.

    A pipe that is read full is enlarged, once: quiet commands cost no more than they need.
    """

    def __init__(
        self,
        on_data: Callable[[bytes], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_data, self._on_end = on_data, on_end
        self._fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        self._size = _USUAL
        self.is_open = True
        self._reading = False

    def start(self) -> None:
        """Close our copy of the writing end and start to read."""
        self.close_write()
        self.resume()

    def close_write(self) -> None:
        """Close our copy of the writing end."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def pause(self) -> None:
        """Stop reading: the command will wait once the pipe is full."""
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def resume(self) -> None:
        """Go on reading."""
        if self.is_open and not self._reading:
            self._loop.add_reader(self._fd, self._read)
            self._reading = True

    def read_waiting(self) -> None:
        """Read now what has been written so far."""
        left = self.waiting
        while left > 0 and self.is_open:
            before = self.waiting
            self._read()
            left -= max(1, before - self.waiting)

    def discard(self) -> None:
        """From now on, read and forget, so that whoever still writes is not held up."""
        self._on_data = self._on_end = None
        self.resume()

    @property
    def waiting(self) -> int:
        """How many bytes have been written and not been read."""
        if not self.is_open:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._fd, termios.FIONREAD, count)
        return count[0]

    def close(self) -> None:
        """Close both ends."""
        self.pause()
        self.close_write()
        if self.is_open:
            self.is_open = False
            os.close(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, self._size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            on_end = self._on_end
            self.close()
            if on_end is not None:
                on_end()
            return
        if len(data) == _USUAL == self._size:
            self._enlarge()
        if self._on_data is not None:
            self._on_data(data)

    def _enlarge(self) -> None:
        self._size = _LARGE
        try:
            fcntl.fcntl(self._fd, _SET_SIZE, _LARGE)
        except OSError:
            self._size = _USUAL + 1  # the user's share of pipe memory is used up; do not ask again
