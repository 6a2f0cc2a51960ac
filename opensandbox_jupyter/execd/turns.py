"""One run in a process that stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from opensandbox_jupyter.execd.processes import Process

if TYPE_CHECKING:
    from opensandbox_jupyter.execd.resident import Resident

__all__ = ["Turn"]


class Turn:
    """One run. It is read like a command's execution.

    Attributes:
        id: that of the session or context.
        exit_code: the status of the last command; -1 when a signal or the timeout ended it.
        drained: whether all of its output has been read.
        goes_on: whether it outlives its client.
    """

    def __init__(self, resident: Resident) -> None:
        self.id = resident.id
        self.process: Process | None = resident.process
        self.exit_code: int | None = None
        self.error: str | None = None
        self.drained = False
        self.goes_on = False
        self.on_change: Callable[[], None] = lambda: None
        self.feeds: Mapping[str, Callable[[bytes], None]] = {}
        self.reason: str | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.began = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._start = time.monotonic()
        self._took = 0.0
        self._resident = resident

    @property
    def milliseconds(self) -> int:
        """How long it took."""
        return int(self._took * 1000)

    def finish(self, exit_code: int, error: str | None) -> None:
        """Take the result; its output may still be on the way."""
        self._took = time.monotonic() - self._start
        self.exit_code, self.error = exit_code, error
        if self.timer is not None:
            self.timer.cancel()
        if self.reason:
            self.exit_code, self.error = -1, self.reason

    def pause(self) -> None:
        """Stop reading output for now."""
        self._resident.pause()

    def resume(self) -> None:
        """Go on reading output."""
        self._resident.resume()

    def discard(self) -> None:
        """Nobody looks any more; what still runs is interrupted, unless it shall go on."""
        self.feeds = {}
        self.on_change = lambda: None
        self._resident.resume()
        if not (self.drained or self.goes_on):
            self._resident.abandon(self)
