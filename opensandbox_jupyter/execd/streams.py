"""The answer to a foreground command: its events, as they happen, as fast as the client reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from opensandbox_jupyter.execd import events
from opensandbox_jupyter.execd.events import Encoder
from opensandbox_jupyter.execd.processes import Process

__all__ = ["STREAM_HEADERS", "CommandStream", "Output", "Source"]

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

_PING_EVERY = 3.0
_HOLD_LINE = 0.1
"""Seconds for which the start of a line waits for its end; a prompt is seen that much later."""
_HOLD_CHUNK = 0.005
_AHEAD = 1024 * 1024
_SLICE = 64 * 1024
_EVENT = "event"


class Source(Protocol):
    """What a stream tells of: an execution, or a run in a session."""

    id: str
    process: Process | None
    exit_code: int | None
    error: str | None
    drained: bool
    on_change: Callable[[], None]

    @property
    def milliseconds(self) -> int:
        """How long it took."""

    def pause(self) -> None:
        """Stop reading output for now."""

    def resume(self) -> None:
        """Go on reading output."""

    def discard(self) -> None:
        """Nobody will look at the output any more."""


class Output:
    """What a command has written and the stream has not sent yet; bounded by pausing the pipes."""

    def __init__(self, execution: Source) -> None:
        self._execution = execution
        self._blocks: list[tuple[str, bytes]] = []
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        execution.on_change = self.wake

    def feed_stdout(self, data: bytes) -> None:
        """Take a block of standard output."""
        self._feed("stdout", data)

    def feed_stderr(self, data: bytes) -> None:
        """Take a block of standard error."""
        self._feed("stderr", data)

    def feed_event(self, event: bytes) -> None:
        """Take an event that stands between blocks of output."""
        self._feed(_EVENT, event)

    def _feed(self, stream: str, data: bytes) -> None:
        self._blocks.append((stream, data))
        self._size += len(data)
        if self._size >= _AHEAD:
            self._execution.pause()
        self.wake()

    def take(self) -> list[tuple[str, bytes]]:
        """Return the blocks so far and make room for more."""
        blocks, self._blocks, self._size = self._blocks, [], 0
        self._execution.resume()
        return blocks

    def wake(self) -> None:
        """Let :meth:`wait` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, until: float) -> None:
        """Return when something has happened, or at ``until`` of the loop's clock."""
        if self._blocks:
            return
        self._waiter = self._loop.create_future()
        timer = self._loop.call_at(until, self.wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None


class CommandStream:
    """An ASGI answer that sends the events of one execution. The client may leave at any time.

    Args:
        execution: started, or failed to start.
        output: where its pipes are read into.
        lines: one event a line, or else events of many lines.
    """

    def __init__(self, execution: Source, output: Output, *, lines: bool) -> None:
        self._execution, self._output = execution, output
        self._encoders = {name: Encoder(name, lines=lines) for name in ("stdout", "stderr")}
        self._due: dict[str, float] = {}
        self._sent = 0.0
        self._gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        watcher = asyncio.ensure_future(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            await send(_body(self._first()))
            async for piece in self._events():
                await send(_body(piece))
            await send(_body(self._last(), more=False))
        finally:
            watcher.cancel()
            self._leave()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the whole stream, for somebody else to send."""
        yield self._first()
        async for piece in self._events():
            yield piece
        yield self._last()

    def _leave(self) -> None:
        """Nobody listens any more, or all was said."""
        self._execution.discard()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._output.wake()

    async def _events(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + _PING_EVERY
        while not self._gone:
            ended = self._execution.drained
            for stream, data in self._output.take():
                if stream == _EVENT:
                    yield self._flushed() + data
                    continue
                encoder = self._encoders[stream]
                for at in range(0, len(data), _SLICE):
                    if piece := encoder.feed(data[at : at + _SLICE]):
                        self._sent = loop.time()
                        self._due.pop(stream, None)
                        yield piece
                        if self._gone:
                            return
            now = loop.time()
            if piece := self._late(now, final=ended):
                yield piece
            if ended:
                return
            if now >= ping_at:
                yield events.ping()
                ping_at = now + _PING_EVERY
            await self._output.wait(min([ping_at, *self._due.values()]))

    def _flushed(self) -> bytes:
        """Return all text that is held."""
        self._due.clear()
        return b"".join(encoder.flush() for encoder in self._encoders.values())

    def _late(self, now: float, *, final: bool) -> bytes:
        """Return the events of text that was held long enough, and remember when to look again."""
        out = b""
        for stream, encoder in self._encoders.items():
            if final:
                out += encoder.flush(final=True)
            elif encoder.has_lines:
                due = self._due[stream] = self._sent + _HOLD_CHUNK
                if now >= due:
                    out += encoder.flush_lines()
                    self._due[stream] = now + _HOLD_LINE
            elif encoder.held and now >= self._due.setdefault(stream, now + _HOLD_LINE):
                out += encoder.flush()
            if not encoder.held:
                self._due.pop(stream, None)
        if out:
            self._sent = now
        return out

    def _first(self) -> bytes:
        """Return the events that begin the stream."""
        return events.init(self._execution.id) + events.ping()

    def _last(self) -> bytes:
        """Return the one event that ends the stream."""
        execution = self._execution
        if execution.process is None:
            return events.failed(execution.error or "", [])
        if execution.exit_code:
            return events.failed(str(execution.exit_code), [execution.error or ""])
        return events.complete(execution.milliseconds)


def _body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
