"""The async HTTP/1.1 client: asyncio's own transports, read by ``httptools``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from opensandbox_jupyter.transport.answer import Answer, Body
from opensandbox_jupyter.transport.failures import (
    BadAddress,
    Broken,
    Failure,
    TooSlow,
    Unreachable,
)
from opensandbox_jupyter.transport.pool import MAX_CONNECTIONS, Idle, is_quiet, tls_context, watch
from opensandbox_jupyter.transport.request import Door, Request, RequestWriter, Upload
from opensandbox_jupyter.wire.base import Call, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

__all__ = ["Client"]

_READ = 64 * 1024
_HELD = 1024 * 1024
_BREATHE = 16
_GOODBYE = 1.0


class _Link(asyncio.BufferedProtocol):
    """One connection. Everything happens on its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        self._loop = loop
        self._buffer = buffer  # shared: what is read is used up before the loop goes on
        self._waiter: asyncio.Future[None] | None = None
        self._timeout: float | None = None
        self._moved = 0.0
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
        self._bound(timeout if request.upload is not None or not streamed else None)
        self.sent = not self._transport.is_closing()
        self._transport.write(request.head)
        self.whole = request.upload is None or await self._upload(request.upload)
        self._bound(request.patience if streamed else timeout)
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
        else:
            self._timer = self._loop.call_at(end, self._look)


class Stream:
    """An answer that is read while it comes."""

    def __init__(self, client: Client, request: Request, link: _Link) -> None:
        self.status = link.answer.status
        self.headers = link.answer.headers
        self._client, self._request, self._link = client, request, link

    def chunks(self) -> Stream:
        """Give the body as it comes."""
        return self

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        data = await self._link.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def whole(self, timeout: float) -> bytes | None:
        """Return the body if its length is known; nothing of it was read before."""
        body = self._link.answer.past_parser()
        if body is None:
            return None
        await self._link.receive(body, timeout)
        return body.value()

    async def finish(self, bound: float) -> None:
        """Read the answer's end if it is about to come, so that the connection can go on."""
        if not self._link.answer.done:
            with suppress(Failure, asyncio.TimeoutError):
                await asyncio.wait_for(self._link.finish(), bound)

    async def close(self) -> None:
        """Give the connection back, or close it when the answer was not read to its end."""
        self._client.give_back(self._request, self._link)


class Client:
    """Sends requests and reads answers. Belongs to the event loop that first uses it."""

    def __init__(self, headers: Mapping[str, str], timeout: float) -> None:
        self._writer = RequestWriter(headers)
        self._timeout = timeout
        self._buffer = memoryview(bytearray(_READ))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: Idle[_Link] = Idle()
        self._links: set[_Link] = set()
        self._tls: SSLContext | None = None
        self._closed = False

    async def fetch(self, call: Call) -> Reply:
        """Send ``call`` and return its whole answer."""
        request = self._writer.write(call)
        link = await self._send(request, streamed=False)
        answer = link.answer
        reply = Reply(answer.status, answer.headers, answer.take())
        self.give_back(request, link)
        return reply

    async def stream(self, call: Call) -> Stream:
        """Send ``call`` and return its answer as soon as its head has come."""
        request = self._writer.write(call)
        return Stream(self, request, await self._send(request, streamed=True))

    async def close(self) -> None:
        """Close all connections, also those in use."""
        self._closed = True
        if self._loop is not asyncio.get_running_loop():
            return
        for _ in self._idle.empty():
            pass
        links = list(self._links)
        for link in links:
            link.drop()
        if links:
            await asyncio.wait([link.gone for link in links], timeout=_GOODBYE)

    def give_back(self, request: Request, link: _Link) -> None:
        """Keep a connection for the next request, or close it if it cannot carry one."""
        link.used = True
        if link.whole and link.answer.reusable and not self._closed:
            self._idle.put(request.door, link)
        else:
            link.drop()
        self._room.release()

    async def _send(self, request: Request, *, streamed: bool) -> _Link:
        fresh = False
        while True:
            link = await self._link(request.door, fresh=fresh)
            reused = link.used
            try:
                await link.send(request, self._timeout, streamed=streamed)
                return link
            except BaseException as error:
                if isinstance(error, Failure):
                    error.headers = link.answer.headers
                link.answer.reusable = False
                self.give_back(request, link)
                closed_while_idle = reused and link.answer.silent and isinstance(error, Broken)
                if not (closed_while_idle and request.may_repeat(sent=link.sent)):
                    raise
            fresh = True

    async def _link(self, door: Door, *, fresh: bool) -> _Link:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._settle(loop)
        try:
            await _within(self._room.acquire(), self._timeout if self._room.locked() else None)
        except asyncio.TimeoutError as cause:
            raise TooSlow(cause) from cause
        try:
            if self._closed:
                raise Broken(ConnectionError("it was closed by close()"))
            link = None if fresh else self._idle.take(door)
            return link or await self._connect(loop, door)
        except BaseException:
            self._room.release()
            raise

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move to ``loop``, if that of the last use is over."""
        if self._loop is not None and not self._loop.is_closed():
            raise Broken(RuntimeError("it belongs to another event loop"))
        self._loop = loop
        self._idle, self._links = Idle(), set()
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)

    async def _connect(self, loop: asyncio.AbstractEventLoop, door: Door) -> _Link:
        link: _Link
        options: dict[str, Any] = {}
        if door.secure:
            self._tls = self._tls or await asyncio.to_thread(tls_context)
            options.update(ssl=self._tls, server_hostname=door.host)
        if not door.host[-1:].isdigit():
            options["happy_eyeballs_delay"] = 0.25
        connecting = loop.create_connection(
            lambda: _Link(loop, self._buffer), door.host, door.port, **options
        )
        try:
            _, link = await _within(connecting, self._timeout)
        except UnicodeError as cause:
            raise BadAddress(cause) from cause
        except (OSError, asyncio.TimeoutError) as cause:
            raise Unreachable(cause) from cause
        if self._closed:
            link.drop()
        self._links.add(link)
        link.gone.add_done_callback(lambda _: self._links.discard(link))
        return link


async def _within(work: Any, seconds: float | None) -> Any:
    """Await ``work`` within so many seconds."""
    return await (work if seconds is None else asyncio.wait_for(work, seconds))
