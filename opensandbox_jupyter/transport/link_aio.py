"""One async connection: a transport of asyncio, read by ``httptools``."""

from __future__ import annotations

import asyncio
from math import inf
from typing import cast

from opensandbox_jupyter.transport.answer import DRIPS, Answer, Body
from opensandbox_jupyter.transport.failures import Broken, Failure, TooSlow
from opensandbox_jupyter.transport.pool import is_quiet, watch
from opensandbox_jupyter.transport.request import Request, Upload

__all__ = ["READ", "Link"]

READ = 64 * 1024
"""How much is read at once, in bytes."""

_HELD = 1024 * 1024
_BREATHE = 16


class Link(asyncio.BufferedProtocol):
    """One connection. Everything happens on its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        self._loop = loop
        self._buffer = buffer  # shared: what is read is used up before the loop goes on
        self._waiter: asyncio.Future[None] | None = None
        self._timeout: float | None = None
        self._moved = 0.0
        self._end = inf
        self._timer: asyncio.TimerHandle | None = None
        self._failure: Failure | None = None
        self._streamed = self._stuck = self._paused = False
        self._body: Body | None = None
        self.gone: asyncio.Future[None] = loop.create_future()
        self.idle_since = 0.0
        self.used = False
        self.sent = False
        self.whole = False
        self.answer = Answer(streamed=False)

    # -- what asyncio calls --------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("sslcontext") is None:  # a limit of 0 stops TLS for good
            self._transport.set_write_buffer_limits(high=0)
        self._poll = watch(transport.get_extra_info("socket").fileno())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        return self._buffer if self._body is None else self._body.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Read what has come."""
        answer, body = self.answer, self._body
        if body is not None:
            self._moved = self._loop.time()
            body.took(nbytes)
            if body.full:
                self._body = None
                answer.complete()
                self._wake()
            return
        try:
            answer.feed(self._buffer[:nbytes])
        except Failure as failure:
            self._fail(failure)
            return
        if self._timeout is not None:
            self._moved = self._loop.time()
        if self._waiter is None:
            if self._streamed and len(answer.pieces) and not answer.done:
                self._hold_back()
        elif answer.done or (self._streamed and answer.headed):
            self._wake()

    def eof_received(self) -> bool:
        """End the answer; the transport closes itself."""
        try:
            self.answer.end()
        except Failure as failure:
            self._fail(failure)
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        self._fail(Broken(exc or ConnectionError("the connection is closed")))
        if not self.gone.done():
            self.gone.set_result(None)

    def pause_writing(self) -> None:
        """Wait with the rest of an upload."""
        self._stuck = True

    def resume_writing(self) -> None:
        """Go on with an upload."""
        self._stuck = False
        self._moved = self._loop.time()
        self._wake()

    # -- what the client calls -----------------------------------------------------------------
    def fit(self) -> bool:
        """Return whether another request may be sent."""
        return not self._transport.is_closing() and is_quiet(self._poll)

    def drop(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    async def send(self, request: Request, timeout: float, *, streamed: bool) -> None:
        """Send a request and read the head of its answer, or all of it if it is not streamed."""
        self.answer = answer = Answer(streamed=streamed)
        self.sent = self.whole = False
        self._streamed = streamed
        self._end = inf
        self._bound(timeout if request.upload is not None or not streamed else None)
        self.sent = not self._transport.is_closing()
        self._transport.write(request.head)
        self.whole = request.upload is None or await self._upload(request.upload)
        self._bound(request.patience if streamed else timeout)
        self._end = inf if streamed else self._moved + DRIPS * timeout
        while not (answer.headed if streamed else answer.done):
            await self._news()
        if streamed:
            self._bound(None)

    async def read(self) -> bytes:
        """Return what has come of the body, or an empty one at its end."""
        answer = self.answer
        while not answer.pieces:
            if answer.done:
                return b""
            await self._news()
        data = answer.take()
        self._go_on()
        return data

    async def receive(self, body: Body, timeout: float) -> None:
        """Read the rest of an answer to where it will stay."""
        self._bound(timeout)
        self._body = body
        self._go_on()
        try:
            while not self.answer.done:
                await self._news()
        finally:
            self._body = None
        self._bound(None)

    async def finish(self) -> None:
        """Read the rest of the answer."""
        while not self.answer.done:
            await self.read()

    async def _upload(self, upload: Upload) -> bool:
        """Send an upload; stop when the server answers before its end."""
        for count, piece in enumerate(upload.pieces()):
            if count % _BREATHE == _BREATHE - 1:
                await asyncio.sleep(0)
            if isinstance(piece, bytes | memoryview):
                if not await self._say(upload.framed(piece)):
                    return False
                continue
            async for chunk in piece:
                if not await self._say(upload.framed(chunk)):
                    return False
        await self._say(upload.tail)
        while self._stuck and self.answer.silent:
            await self._news()
        return not self._stuck

    async def _say(self, piece: bytes | memoryview) -> bool:
        """Send a piece of an upload, if the server still listens."""
        while self._stuck and self.answer.silent:
            await self._news()
        if not self.answer.silent:
            return False
        if self._failure is not None:
            raise self._failure
        self._transport.write(piece)
        return True

    async def _news(self) -> None:
        """Wait until something has happened."""
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
            self._transport.abort()
        self._wake()

    def _hold_back(self) -> None:
        """Stop reading while nobody takes what was read."""
        if not self._paused and sum(map(len, self.answer.pieces)) > _HELD:
            self._paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _bound(self, timeout: float | None) -> None:
        """Bound how long the connection may stand still; one timer serves many requests."""
        self._timeout = timeout
        if timeout is not None:
            self._moved = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_at(self._moved + timeout, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._timeout is None or self._waiter is None:
            return
        end = self._moved + self._timeout
        if end <= self._loop.time():
            self._fail(TooSlow(TimeoutError("nothing moved for too long")))
        elif self._end <= self._loop.time():
            self._fail(TooSlow("the answer dripped"))
        else:
            self._timer = self._loop.call_at(end, self._look)
