"""The async driver: runs operations on an ``httpx.AsyncClient``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.transport._http import (
    MAX_ERROR_BODY,
    TAIL_BOUND,
    client_options,
    errors_of,
    reply_of,
    request_arguments,
    without_read_timeout,
)
from opensandbox_jupyter.wire.base import Call, Effect, Operation, Reply, Sleep
from opensandbox_jupyter.wire.errors import api_error

if TYPE_CHECKING:
    from opensandbox_jupyter.config import ConnectionConfig

__all__ = ["AsyncTransport"]

T = TypeVar("T")
Check = Callable[[], Awaitable[bool]]

_CLEANUP_BOUND = 6.0


class AsyncTransport:
    """Carries out what operations ask for. Belongs to the event loop that first uses it."""

    def __init__(self, config: ConnectionConfig, *, embedded: bool = False) -> None:
        self._client = httpx.AsyncClient(**client_options(config, embedded=embedded))
        self._owns_client = config.transport is None

    async def run(self, operation: Operation[T], check: Check | None = None) -> T:
        """Run ``operation`` to its end and return its result.

        An error of a step, a cancellation included, is raised inside the operation, which may
        still clean up behind itself.
        """
        try:
            effect = next(operation)
            while True:
                try:
                    answer = await self._perform(effect, check)
                except BaseException as error:
                    effect = operation.throw(error)
                else:
                    effect = operation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send ``call`` and give the chunks of its answer as they come.

        Raises:
            SandboxApiException: when the answer is not a success.
        """
        with errors_of(call):
            request = self._client.build_request(
                **request_arguments(call), timeout=without_read_timeout(self._client)
            )
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code not in (200, 206):
                    body = await _head(response)
                    raise api_error(call, Reply(response.status_code, response.headers, body))
                chunks = response.aiter_bytes()
                yield chunks
                await _finish(chunks)
            finally:
                await response.aclose()

    async def insist(self, operation: Operation[Any]) -> None:
        """Run a clean-up, even while being cancelled; bounded in time, and silent when it fails."""
        task = asyncio.ensure_future(self.run(operation))
        with suppress(SandboxException, asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), _CLEANUP_BOUND)
        if not task.done():
            task.cancel()

    async def tell(self, handler: Callable[[Any], Any] | None, news: object) -> None:
        """Call a user's handler, plain or async."""
        if handler is not None:
            answer = handler(news)
            if inspect.isawaitable(answer):
                await answer

    async def offload(self, function: Callable[[], T]) -> T:
        """Run a blocking function without holding the event loop."""
        return await asyncio.to_thread(function)

    async def close(self) -> None:
        """Close the connections; a transport given by the user is left open."""
        if self._owns_client:
            await self._client.aclose()

    async def _perform(self, effect: Effect, check: Check | None) -> object:
        if isinstance(effect, Call):
            with errors_of(effect):
                request = self._client.build_request(**request_arguments(effect))
                return reply_of(await self._client.send(request))
        if isinstance(effect, Sleep):
            await asyncio.sleep(effect.seconds)
            return None
        return await check() if check is not None else True


async def _head(response: httpx.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= MAX_ERROR_BODY:
            break
    return body[:MAX_ERROR_BODY]


async def _finish(chunks: AsyncIterator[bytes]) -> None:
    """Read an answer's end if it is about to come, so that the connection can be used again."""
    with suppress(httpx.HTTPError, httpx.StreamError, asyncio.TimeoutError):
        await asyncio.wait_for(anext(chunks, None), TAIL_BOUND)
