"""Keeps sandboxes from filling the disk.

Without quotas a sandbox's files can only be counted now and then. One that is over its own limit,
or that grows while the disk is nearly full, is paused: nothing of it is lost, and whoever owns it
may delete it, or resume it to clean up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.records import Record
from opensandbox_jupyter.server.sandboxes import Sandboxes

__all__ = ["DISK_SECONDS", "DiskWatch", "reserve_of", "size_of_tree"]

_LOG = logging.getLogger(__name__)
DISK_SECONDS = 2.0
"""How often the disk is looked at."""
_MOST_RESERVE = 1 << 30
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
        room = os.statvfs(self._data)
        free, reserve = room.f_bavail * room.f_frsize, reserve_of(room)
        running = self._running()
        sizes = await self._measured(self._watched(running, is_near=free < 2 * reserve))
        for record in running:
            if record.disk is not None and sizes[record.id] > record.disk:
                await self._stop(record, f"its files are over its limit of {record.disk} bytes")
        if free < reserve:
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


def reserve_of(room: os.statvfs_result) -> int:
    """Return the bytes that shall stay free: a twentieth of the disk, 1 GiB at most."""
    return min(_MOST_RESERVE, room.f_blocks * room.f_frsize // 20)


def size_of_tree(path: Path) -> int:
    """Return the bytes on the disk of ``path`` and all below it, as far as one may look. Blocks.

    ``du`` counts: it follows no link that is put in its way, and no path is too long for it.
    """
    du = ["du", "-skx", "--", str(path)]
    said = subprocess.run(du, capture_output=True, check=False).stdout
    kibibytes = said.partition(b"\t")[0]
    return int(kibibytes) * 1024 if kibibytes.isdigit() else 0
