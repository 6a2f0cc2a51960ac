"""Reading a file piece by piece, in threads, so that a slow disk holds nobody else up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from io import FileIO

__all__ = ["PIECE", "in_threads", "read_pieces"]

PIECE = 1024 * 1024
"""The size of a piece."""


def read_pieces(file: FileIO, start: int, end: int) -> Iterator[bytes]:
    """Read the bytes from ``start`` up to ``end``, or to where the file ends now."""
    while start < end and (piece := os.pread(file.fileno(), min(PIECE, end - start), start)):
        start += len(piece)
        yield piece


async def in_threads(file: FileIO, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield ``pieces``, each made while the one before is sent; closes ``file`` at the end."""
    following = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
    try:
        while (piece := await following) is not None:
            following = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
            if piece:
                yield piece
    finally:
        # A thread may still be reading: what it reads from is closed when it is done.
        following.add_done_callback(lambda _: file.close())
