"""Keeps the server's log small while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

__all__ = ["keep_small"]

_MOST = 4 << 20
_KEPT = 1 << 20
_SECONDS = 2.0


async def keep_small(log: Path, descriptor: int = 2) -> None:
    """Cut ``log`` again and again to its end, as long as it is what ``descriptor`` writes to."""
    while True:
        with contextlib.suppress(OSError):
            _cut(log, descriptor)
        await asyncio.sleep(_SECONDS)


def _cut(log: Path, descriptor: int) -> None:
    """Everybody who writes there appends, so that the file may be cut under their hands."""
    info = os.fstat(descriptor)
    if info.st_size <= _MOST or not os.path.samestat(info, os.lstat(log)):
        return
    with log.open("rb") as file:
        file.seek(-_KEPT, os.SEEK_END)
        end = file.read()
    os.ftruncate(descriptor, 0)
    os.write(descriptor, end.partition(b"\n")[2])
