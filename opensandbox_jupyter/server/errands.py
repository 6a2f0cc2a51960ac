"""Work that nobody waits for: kept until it is done, and what goes wrong is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

__all__ = ["Errands"]

_LOG = logging.getLogger(__name__)


class Errands:
    """Tasks in the running loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, work: Coroutine[None, None, None]) -> None:
        """Begin ``work``."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def cancel(self) -> None:
        """Cancel all of them and wait for their ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("unexpected: %r", task.exception(), exc_info=task.exception())
