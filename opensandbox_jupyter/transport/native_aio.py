"""The async HTTP/1.1 client: asyncio's own transports, read by ``httptools``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.retry import RetryCause
from opensandbox_jupyter.transport.failures import (
    BadAddress,
    Broken,
    Failure,
    TooSlow,
    Unreachable,
    Unusable,
)
from opensandbox_jupyter.transport.link_aio import READ, Link
from opensandbox_jupyter.transport.pool import MAX_CONNECTIONS, Idle, keep_alive, tls_context
from opensandbox_jupyter.transport.request import Door, Request, RequestWriter
from opensandbox_jupyter.wire.base import Call, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

__all__ = ["Client"]

_GOODBYE = 1.0


class Stream:
    """An answer that is read while it comes."""

    def __init__(self, client: Client, request: Request, link: Link) -> None:
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
        self._buffer = memoryview(bytearray(READ))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: Idle[Link] = Idle()
        self._links: set[Link] = set()
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

    def give_back(self, request: Request, link: Link) -> None:
        """Keep a connection for the next request, or close it if it cannot carry one."""
        link.used = True
        if link.whole and link.answer.reusable and not self._closed:
            self._idle.put(request.door, link)
        else:
            link.drop()
        self._room.release()

    async def _send(self, request: Request, *, streamed: bool) -> Link:
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

    async def _link(self, door: Door, *, fresh: bool) -> Link:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._settle(loop)
        try:
            await _within(self._room.acquire(), self._timeout if self._room.locked() else None)
        except asyncio.TimeoutError as cause:
            raise TooSlow(cause, RetryCause.PRE_SEND) from cause
        try:
            if self._closed:
                raise Unusable(ConnectionError("it was closed by close()"))
            link = None if fresh else self._idle.take(door)
            return link or await self._connect(loop, door)
        except BaseException:
            self._room.release()
            raise

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move to ``loop``, if that of the last use is over."""
        if self._loop is not None and not self._loop.is_closed():
            raise Unusable(RuntimeError("it belongs to another event loop"))
        self._loop = loop
        self._idle, self._links = Idle(), set()
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)

    async def _connect(self, loop: asyncio.AbstractEventLoop, door: Door) -> Link:
        link: Link
        options: dict[str, Any] = {}
        if door.secure:
            self._tls = self._tls or await asyncio.to_thread(tls_context)
            options.update(ssl=self._tls, server_hostname=door.host)
        if not door.host[-1:].isdigit():
            options["happy_eyeballs_delay"] = 0.25
        connecting = loop.create_connection(
            lambda: Link(loop, self._buffer), door.host, door.port, **options
        )
        try:
            transport, link = await _within(connecting, self._timeout)
            keep_alive(transport.get_extra_info("socket"))
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
