"""Keeps sandboxes from filling the disk.

Without quotas a sandbox's files can only be counted now and then. One that is over its own limit,
or that grows while the disk is nearly full, is paused: nothing of it is lost, and whoever owns it
may delete it, or resume it to clean up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.records import Record
from opensandbox_jupyter.server.sandboxes import Sandboxes
from opensandbox_jupyter.server.space import size_of_tree, space_of

__all__ = ["DISK_SECONDS", "DiskWatch"]

_LOG = logging.getLogger(__name__)
DISK_SECONDS = 2.0
"""How often the disk is looked at."""
_GROWTH = 8 << 20
"""Bytes more than a moment ago, from which on a sandbox is one that fills the disk."""


class DiskWatch:
    """Looks at the disk of ``data``; ``layer`` tells where a sandbox's files are."""

    def __init__(self, data: Path, sandboxes: Sandboxes, layer: Callable[[Record], Path]) -> None:
        self._data = data
        self._sandboxes = sandboxes
        self._layer = layer
        self._sizes: dict[str, int] = {}
        self._turn = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        self._sizes = await self._measured(self._running())
        while True:
            await asyncio.sleep(DISK_SECONDS)
            try:
                await self._look()
            except OSError as error:
                _LOG.warning("the disk could not be looked at: %s", error)

    async def _look(self) -> None:
        space = space_of(self._data)
        running = self._running()
        sizes = await self._measured(self._watched(running, is_near=space.is_scarce))
        for record in running:
            if record.disk is not None and sizes[record.id] > record.disk:
                await self._stop(record, f"its files are over its limit of {record.disk} bytes")
        if space.free < space.reserve:
            # one that was never seen is new, and all of it has come since the last look
            grown = {one: sizes[one] - self._sizes.get(one, 0) for one in sizes}
            worst = max(running, key=lambda one: grown[one.id], default=None)
            if worst is not None and grown[worst.id] > _GROWTH:
                await self._stop(worst, "the disk is nearly full, and it was filling it")
        known = self._sizes | sizes
        self._sizes = {one.id: known[one.id] for one in running}

    def _running(self) -> list[Record]:
        return [one for one in self._sandboxes.records() if one.state == "Running"]

    def _watched(self, running: list[Record], *, is_near: bool) -> list[Record]:
        """Those to measure now: all when it matters, else new and limited ones and one in turn."""
        if is_near or not running:
            return running
        self._turn += 1
        next_one = running[self._turn % len(running)]
        return [
            one
            for one in running
            if one is next_one or one.disk is not None or one.id not in self._sizes
        ]

    async def _measured(self, records: list[Record]) -> dict[str, int]:
        return {one.id: await asyncio.to_thread(size_of_tree, self._layer(one)) for one in records}

    async def _stop(self, record: Record, why: str) -> None:
        _LOG.warning("%s is paused: %s", record.id, why)
        with contextlib.suppress(Refusal):
            message = f"It was paused because {why}. Resume it to clean up, or delete it."
            await self._sandboxes.pause(record.id, "DISK_FULL", message)
