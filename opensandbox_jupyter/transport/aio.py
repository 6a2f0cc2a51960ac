"""The async driver: runs operations on a client, our own or one over httpx."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.transport._choice import (
    MAX_ERROR_BODY,
    TAIL_BOUND,
    attempts_of,
    censored,
    common_headers,
    describe,
    go_on,
    located,
    log_call,
    needs_httpx,
    pause_after,
    policy_of,
    refuse_other_kind,
)
from opensandbox_jupyter.transport.failures import Failure, TooSlow
from opensandbox_jupyter.transport.redirects import Trail
from opensandbox_jupyter.transport.tracing import span, tracer
from opensandbox_jupyter.wire.base import Call, Effect, Operation, Reply, Sleep
from opensandbox_jupyter.wire.errors import api_error

if TYPE_CHECKING:
    from opensandbox_jupyter.settings import Settings
    from opensandbox_jupyter.transport.socket_aio import Socket

__all__ = ["AsyncTransport", "Pieces"]

T = TypeVar("T")
Check = Callable[[], Awaitable[bool] | bool]

_CLEANUP_BOUND = 6.0


class _Answer(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def whole(self, timeout: float) -> bytes | None: ...
    async def finish(self, bound: float) -> None: ...
    async def close(self) -> None: ...


class _Client(Protocol):
    async def fetch(self, call: Call) -> Reply: ...
    async def stream(self, call: Call) -> _Answer: ...
    async def close(self) -> None: ...


class Pieces(AsyncIterator[T]):
    """What comes piece by piece: ``async for`` takes it, with or without an ``await`` before."""

    def __init__(self, pieces: AsyncGenerator[T, None]) -> None:
        self._pieces = pieces

    def __await__(self) -> Generator[None, None, Pieces[T]]:
        return self
        yield

    async def __anext__(self) -> T:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """Take no more."""
        await self._pieces.aclose()


class AsyncTransport:
    """Carries out what operations ask for. Belongs to the event loop that first uses it."""

    def __init__(self, settings: Settings, *, embedded: bool = False) -> None:
        self._client = _client(settings, embedded=embedded)
        self._timeout = settings.request_timeout.total_seconds()
        self._headers = common_headers(settings)
        self._embedded = embedded
        self._policy = policy_of(settings)
        self._follow = settings.follow_redirects
        self._tracer = tracer(settings.enable_tracing)

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
                    effect = go_on(operation, effect, answer, self._headers)
        except StopIteration as end:
            result: T = end.value
            return result

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send ``call`` and give the chunks of its answer as they come.

        Raises:
            SandboxApiException: when the answer is not a success.
        """
        async with self._answer(call) as answer:
            yield answer.chunks()
            await answer.finish(TAIL_BOUND)

    async def read(self, call: Call) -> bytes:
        """Send ``call`` and return the body of its answer, however long, in one copy.

        Raises:
            SandboxApiException: when the answer is not a success.
        """
        async with self._answer(call) as answer:
            body = await answer.whole(self._timeout)
            if body is not None:
                return body
            content = BytesIO()  # gives its bytes away without a copy
            async for chunk in answer.chunks():
                content.write(chunk)
            return content.getvalue()

    async def connect(self, call: Call) -> Socket:
        """Open a WebSocket. It does not go through a transport given by the user.

        Raises:
            SandboxApiException: when the server refuses it.
        """
        from opensandbox_jupyter.transport.socket_aio import open_socket

        log_call(call)
        return await open_socket(call, self._headers, self._timeout, embedded=self._embedded)

    async def insist(self, operation: Operation[Any]) -> None:
        """Run a clean-up, even while being cancelled; bounded in time, and silent when it fails."""
        task = asyncio.ensure_future(self.run(operation))
        with suppress(SandboxException, asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), _CLEANUP_BOUND)
        if not task.done():
            task.cancel()

    async def secure(self, operation: Operation[T], undo: Callable[[T], Operation[Any]]) -> T:
        """Run an operation whose result must not be lost.

        Whoever is cancelled meanwhile still waits a little for the result, which is then undone.
        """
        task = asyncio.ensure_future(self.run(operation))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=_CLEANUP_BOUND)
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                await self.insist(undo(task.result()))
            raise

    async def tell(self, handler: Callable[..., Any] | None, *news: object) -> Any:
        """Call a user's function, plain or async, and return what it says."""
        answer = None if handler is None else handler(*news)
        if answer is not None and inspect.isawaitable(answer):
            return await answer
        return answer

    def give(self, pieces: AsyncGenerator[T, None]) -> Pieces[T]:
        """Return what a caller iterates over."""
        return Pieces(pieces)

    async def pause(self, seconds: float) -> None:
        """Wait so many seconds."""
        await asyncio.sleep(seconds)

    async def offload(self, function: Callable[[], T]) -> T:
        """Run a blocking function without holding the event loop."""
        return await asyncio.to_thread(function)

    async def close(self) -> None:
        """Close the connections; a transport given by the user is left open."""
        await self._client.close()

    @asynccontextmanager
    async def _answer(self, call: Call) -> AsyncIterator[_Answer]:
        """Send ``call`` and give its answer, which is a success."""
        headers: Mapping[str, str] = {}
        with span(self._tracer, call) as traced:
            try:
                answer = await self._open(call)
                headers = answer.headers
                traced.answered(answer.status)
                try:
                    if answer.status not in (200, 206):
                        body = await _head(answer)
                        reply = Reply(answer.status, answer.headers, body)
                        raise api_error(call, censored(reply, self._headers))
                    refuse_other_kind(call, answer.headers)
                    yield answer
                except SandboxException as error:
                    describe(error, call, headers)
                    raise
                finally:
                    await answer.close()
            except Failure as failure:
                raise located(failure, call, headers or failure.headers) from failure.reason

    async def _open(self, call: Call) -> _Answer:
        """Begin a stream, which is never asked for twice."""
        trail = Trail(follow=self._follow)
        while True:
            log_call(call)
            answer = await self._client.stream(call)
            onward = trail.onward(call, answer.status, answer.headers)
            if onward is None:
                return answer
            await answer.close()
            call = onward

    async def _fetch(self, call: Call) -> Reply:
        with span(self._tracer, call) as traced:
            trail = Trail(follow=self._follow)
            while True:
                reply = await self._insistent(call)
                onward = trail.onward(call, reply.status, reply.headers)
                if onward is None:
                    traced.answered(reply.status)
                    return reply if reply.status < 300 else censored(reply, self._headers)
                call = onward

    async def _insistent(self, call: Call) -> Reply:
        """Send ``call``, again and again as far as the policy goes."""
        attempts = attempts_of(self._policy, call)
        while True:
            log_call(call)
            within = None if attempts is None else attempts.bound()
            try:
                if within is None:
                    reply = await self._client.fetch(call)
                else:
                    reply = await _within(self._client.fetch(call), within)
            except Failure as failure:
                pause = pause_after(attempts, failure, embedded=self._embedded)
                if pause is None:
                    raise located(failure, call, failure.headers) from failure.reason
            else:
                if attempts is None:
                    return reply
                pause = attempts.after_answer(reply.status, reply.headers)
                if pause is None:
                    return reply
            await asyncio.sleep(pause)

    async def _perform(self, effect: Effect, check: Check | None) -> object:
        if isinstance(effect, Call):
            return await self._fetch(effect)
        if isinstance(effect, Sleep):
            await asyncio.sleep(effect.seconds)
            return None
        return await self.tell(check) if check is not None else True


async def _head(answer: _Answer) -> bytes:
    body = b""
    async for chunk in answer.chunks():
        body += chunk
        if len(body) >= MAX_ERROR_BODY:
            break
    return body[:MAX_ERROR_BODY]


def _client(settings: Settings, *, embedded: bool) -> _Client:
    headers = common_headers(settings)
    if needs_httpx(settings, embedded=embedded):
        from opensandbox_jupyter.transport import httpx_aio

        return httpx_aio.Client(settings, headers)
    from opensandbox_jupyter.transport import native_aio

    return native_aio.Client(headers, settings.request_timeout.total_seconds())


async def _within(work: Awaitable[T], seconds: float) -> T:
    """Await ``work`` for so many seconds at most.

    Raises:
        TooSlow: when it takes longer.
    """
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError as cause:
        raise TooSlow(cause) from cause
