"""A stream that is held: its client may come back after the connection broke, and miss nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.execd.streams import STREAM_HEADERS, CommandStream, Source

__all__ = ["MOST_HELD", "HeldStream"]

MOST_HELD = 16
"""How many streams are held at once, each with up to twice ``_KEPT`` bytes."""

_FOR = 60.0
_KEPT = 8 * 1024 * 1024
_AHEAD = 1024 * 1024
_PIECE = 64 * 1024


class HeldStream:
    """The events of one execution, kept for a while behind the client's back.

    What was sent last is kept, because nobody knows how much of it arrived. While the client is
    away the command goes on until what it writes fills the room; after a minute it is let go.

    Args:
        execution: what the stream tells of.
        stream: its events.
        on_drop: called once when it is held no more.
    """

    def __init__(
        self, execution: Source, stream: CommandStream, on_drop: Callable[[HeldStream], None]
    ) -> None:
        self._execution = execution
        self._stream = stream
        self._on_drop = on_drop
        self._kept = bytearray()
        self._start = self._sent = 0
        self._is_over = self._is_dropped = False
        self._client: object = None
        self._more, self._room = asyncio.Event(), asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._filling = asyncio.ensure_future(self._fill())

    def since(self, offset: int) -> ASGIApp:
        """Return the answer that goes on behind the first ``offset`` bytes.

        Raises:
            Refusal: 410 when they are no longer there, 400 when there are not so many.
        """
        if offset > self._start + len(self._kept):
            raise bad_request("The stream is not that long yet.")
        if self._is_dropped or offset < self._start:
            raise Refusal(410, "RUNTIME_ERROR", "What came then is held no more.")

        async def app(_: Scope, receive: Receive, send: Send) -> None:
            await self._serve(offset, receive, send)

        return app

    async def _fill(self) -> None:
        async for piece in self._stream.pieces():
            self._kept += piece
            self._more.set()
            while self._start + len(self._kept) - self._sent >= _AHEAD:
                self._room.clear()
                await self._room.wait()
            surplus = self._sent - self._start - _KEPT
            if surplus > _KEPT // 2:
                del self._kept[:surplus]
                self._start += surplus
        self._is_over = True
        self._more.set()

    async def _serve(self, at: int, receive: Receive, send: Send) -> None:
        """Send what there is and what comes, until the client leaves or another takes its place."""
        me = self._client = object()
        if self._timer is not None:
            self._timer.cancel()
        self._more.set()
        watcher = asyncio.ensure_future(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            while self._client is me and not watcher.done():
                begin = at - self._start
                piece = bytes(self._kept[begin : begin + _PIECE])
                if piece:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    at += len(piece)
                    self._sent = max(self._sent, at)
                    self._room.set()
                elif self._is_over:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                else:
                    self._more.clear()
                    await self._more.wait()
        finally:
            watcher.cancel()
            if self._client is me:
                self._timer = asyncio.get_running_loop().call_later(_FOR, self.drop)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._more.set()

    def drop(self) -> None:
        """Hold it no more; the command goes on without anybody who looks."""
        self._is_dropped = True
        self._filling.cancel()
        self._kept.clear()
        self._execution.discard()
        self._on_drop(self)
